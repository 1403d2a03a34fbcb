"""Pictures from files: one image, or a folder with one subfolder per class.

Pillow decodes PNG, JPEG and BMP only, sizes are checked before decoding, and pictures above 16 megapixels are
refused. Truncated files are errors, never half-grey pictures.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..io.extras import require
from .augment import _pair
from .dataset import DataError, Dataset

__all__ = ["IMAGE_SUFFIXES", "image_folder", "load_image"]

Array = npt.NDArray[Any]
PathLike = str | os.PathLike[str]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_MAX_PIXELS = 16_000_000


def load_image(path: PathLike, size: int | Sequence[int] | None = None, grayscale: bool = False) -> Array:
    """One picture as float32 [H,W,C] in [0, 1]; C is 1 with `grayscale`, else 3.

    Parameters
    ----------
    path : a PNG, JPEG or BMP file.
    size : (rows, columns) to resample to (bilinear with antialiasing); None keeps the picture's own.
    grayscale : luma by ITU-R 601 instead of RGB.

    Raises
    ------
    DataError
        the file is missing or damaged, of another format, or above 16 megapixels.
    MissingExtraError
        pillow is not installed.
    """
    image_module = require("PIL.Image", "images", "reading pictures")
    file = Path(path)
    target = None if size is None else _pair(size, "load_image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            with image_module.open(file, formats=("PNG", "JPEG", "BMP")) as picture:
                columns, rows = picture.size
                if columns * rows > _MAX_PIXELS:
                    raise DataError(f"{file}: {columns} x {rows} pixels: more than the {_MAX_PIXELS} allowed")
                converted = picture.convert("L" if grayscale else "RGB")
                if target is not None and target != (rows, columns):
                    converted = converted.resize((target[1], target[0]), image_module.Resampling.BILINEAR)
                pixels = np.asarray(converted, np.uint8)
    except DataError:
        raise
    except (image_module.DecompressionBombWarning, image_module.DecompressionBombError) as error:
        raise DataError(f"{file}: more pixels than the {_MAX_PIXELS} allowed") from error
    except FileNotFoundError as error:
        raise DataError(f"{file}: not found") from error
    except image_module.UnidentifiedImageError as error:
        raise DataError(f"{file}: expected a PNG, JPEG or BMP picture, found something else") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise DataError(f"{file}: damaged picture: {error}") from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels  # [H,W,C]
    return pixels.astype(np.float32) / np.float32(255)


def image_folder(path: PathLike, size: int | Sequence[int] | None = None, grayscale: bool = False) -> Dataset:
    """A labelled set from a folder with one subfolder per class (names sorted give the class order).

    Parameters
    ----------
    path : the folder; files with other endings than .png, .jpg, .jpeg, .bmp and hidden ones are passed over.
    size : (rows, columns) of every picture; None requires that all have the same size.
    grayscale : one channel instead of three.

    Returns
    -------
    x float32 [N,H,W,C] in [0, 1], y int64 [N]; files in sorted order within each class.

    Raises
    ------
    DataError
        the folder is missing, has no class or a class without pictures, or a picture is refused.
    MissingExtraError
        pillow is not installed.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with one subfolder per class, found no folder")
    classes = sorted(d.name for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))
    if not classes:
        raise DataError(f"{folder}: expected one subfolder per class, found none")
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        found = sorted(
            f
            for f in (folder / name).iterdir()
            if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".") and f.is_file()
        )
        if not found:
            raise DataError(f"{folder / name}: expected pictures ({', '.join(IMAGE_SUFFIXES)}), found none")
        files += [(f, label) for f in found]
    first = load_image(files[0][0], size, grayscale)
    x = np.empty((len(files), *first.shape), np.float32)  # [N,H,W,C]
    for i, (file, _) in enumerate(files):
        picture = load_image(file, size, grayscale)
        if picture.shape != first.shape:
            raise DataError(
                f"{file}: expected {first.shape[0]} x {first.shape[1]} pixels (rows x columns) as in "
                f"{files[0][0].name}, found {picture.shape[0]} x {picture.shape[1]}; give a size to resample to"
            )
        x[i] = picture
    return Dataset(x, np.array([label for _, label in files], np.int64), tuple(classes), folder.name)
