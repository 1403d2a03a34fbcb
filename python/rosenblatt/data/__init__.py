"""Data: built-in sets, readers for common file formats, and augmentation. Nothing is ever downloaded.

Images are float32 [N,H,W,C] with bytes scaled to [0, 1]; labels are int64 [N]. The modules `images`, `audio` and
`text` hold operations as plain functions, `transforms` random ones for `fit(augment=...)`,
`generate` makes data.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import augment
from .augment import Affine, place, resize
from .builtin import digits
from .dataset import DataError, Dataset
from .folders import image_folder, load_image
from .formats import load_cifar10, load_cifar100, load_idx, load_mnist_idx
from .signals import load_text, load_wav
from .sources import NAMED, load
from .tables import load_array, load_csv, load_npz

if TYPE_CHECKING:
    from . import audio, generate, images, text, transforms

# read when they are used: the command line does without them
_LAZY = ("audio", "generate", "images", "text", "transforms")

__all__ = [
    "NAMED",
    "Affine",
    "DataError",
    "Dataset",
    "audio",
    "augment",
    "digits",
    "generate",
    "image_folder",
    "images",
    "load",
    "load_array",
    "load_cifar10",
    "load_cifar100",
    "load_csv",
    "load_idx",
    "load_image",
    "load_mnist_idx",
    "load_npz",
    "load_text",
    "load_wav",
    "place",
    "resize",
    "text",
    "transforms",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
