"""Readers for the binary formats of the classic image sets: IDX (MNIST and its kin), CIFAR-10 and CIFAR-100.

Every header is checked against the length of the file before anything is allocated; a compressed file is unpacked
only up to the size its header declares. Bytes become float32 in [0, 1]; CIFAR's planes [C,H,W] become [H,W,C].
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from .dataset import DataError, Dataset

__all__ = ["load_cifar10", "load_cifar100", "load_idx", "load_mnist_idx"]

Array = npt.NDArray[Any]
PathLike = str | os.PathLike[str]
Split = Literal["train", "test"]

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAX_RATIO = 1032  # deflate cannot expand further
_CHUNK = 1 << 20  # bytes
_GET_MNIST = (
    "The four MNIST files (train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
    "t10k-labels-idx1-ubyte, each plain or .gz) are published at yann.lecun.com/exdb/mnist and its mirrors"
)
_GET_CIFAR = "Get the 'binary version' of the set from www.cs.toronto.edu/~kriz/cifar.html and unpack it"


def _read_exactly(file: io.BufferedIOBase | IO[bytes], size: int) -> bytes:
    """Up to `size` bytes, read in pieces so that a false size cannot make us allocate it."""
    data = bytearray()
    while len(data) < size:
        piece = file.read(min(_CHUNK, size - len(data)))
        if not piece:
            break
        data += piece
    return bytes(data)


def _open(path: Path, how_to_get: str) -> io.BufferedIOBase:
    """The file for reading, unpacked when it is gzip (told by its first two bytes)."""
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        return gzip.open(path, "rb") if packed else path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}. {how_to_get}") from error


def load_idx(path: PathLike) -> Array:
    """One IDX file, plain or gzip: an array of the declared shape and type, in native byte order.

    Raises
    ------
    DataError
        the file is missing, or its magic number, sizes or length are not what IDX requires.

    Source: the format description on the MNIST page, Y. LeCun, C. Cortes, C. J. C. Burges.
    """
    return _load_idx(Path(path), "An IDX file starts with the bytes 0, 0, type, number of dimensions")


def _load_idx(path: Path, how_to_get: str) -> Array:
    with _open(path, how_to_get) as file:
        try:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not 1 <= magic[3] <= 32:
                raise DataError(
                    f"{path}: not an IDX file: expected magic 00 00 <type 08|09|0B|0C|0D|0E> <dimensions 01..20>, "
                    f"found {magic.hex(' ') or 'an empty file'}. {how_to_get}"
                )
            dtype, rank = np.dtype(_IDX_TYPES[magic[2]]), magic[3]
            header = file.read(4 * rank)
            if len(header) < 4 * rank:
                raise DataError(f"{path}: header cut short: expected {4 + 4 * rank} bytes, found {4 + len(header)}")
            shape = struct.unpack(f">{rank}I", header)
            size = math.prod(shape) * dtype.itemsize
            stored = os.path.getsize(path)
            packed = isinstance(file, gzip.GzipFile)
            if size > (stored * _GZIP_MAX_RATIO if packed else stored):
                raise DataError(
                    f"{path}: header declares {list(shape)} = {size} bytes of {dtype.name}, "
                    f"found a file of {stored} bytes"
                )
            data = _read_exactly(file, size)
            if len(data) < size or file.read(1):
                found = f"only {len(data)}" if len(data) < size else "more"
                raise DataError(f"{path}: header declares {list(shape)} = {size} bytes of {dtype.name}, found {found}")
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged or unreadable: {error}") from error
    values: Array = np.frombuffer(data, dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _one_of(folder: Path, names: Sequence[str], how_to_get: str) -> Path:
    """The first of `names` (plain, then .gz) that exists in `folder`."""
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    state = "not found" if folder.is_dir() else f"{folder} is not a folder"
    raise DataError(f"{folder / names[0]}: {state} (neither plain nor .gz). {how_to_get}")


def load_mnist_idx(source: PathLike | tuple[PathLike, PathLike], split: Split = "train") -> Dataset:
    """MNIST, Fashion-MNIST, KMNIST or any set in their form, from IDX files.

    Parameters
    ----------
    source : the folder with the four files under their published names, or the two files (images, labels).
    split : which half of the folder; not used with two files.

    Returns
    -------
    x float32 [N,H,W,1] in [0, 1], y int64 [N], classes "0".."9" (more when the labels go further).

    Raises
    ------
    DataError
        a file is missing or damaged, is not 8-bit images/labels, or the counts differ.
    """
    if split not in ("train", "test"):
        raise ValueError(f"load_mnist_idx: split must be 'train' or 'test', got {split!r}")
    if isinstance(source, tuple):
        image_file, label_file = Path(source[0]), Path(source[1])
    else:
        prefix, folder = {"train": "train", "test": "t10k"}[split], Path(source)
        image_file, label_file = (
            _one_of(folder, [f"{prefix}-{kind}-idx{d}-ubyte", f"{prefix}-{kind}.idx{d}-ubyte"], _GET_MNIST)
            for kind, d in (("images", 3), ("labels", 1))
        )
    images, labels = _load_idx(image_file, _GET_MNIST), _load_idx(label_file, _GET_MNIST)
    for file, array, rank, what in ((image_file, images, 3, "images [N,H,W]"), (label_file, labels, 1, "labels [N]")):
        if array.ndim != rank or array.dtype != np.uint8:
            raise DataError(
                f"{file}: expected {what} of uint8, found shape {list(array.shape)} of {array.dtype}. {_GET_MNIST}"
            )
    if len(images) != len(labels):
        raise DataError(
            f"{label_file}: expected {len(images)} labels for the images of {image_file.name}, found {len(labels)}"
        )
    count = max(10, int(labels.max()) + 1) if len(labels) else 10
    x = np.divide(images[..., None], np.float32(255), dtype=np.float32)  # [N,H,W,1]
    return Dataset(x, labels.astype(np.int64), tuple(str(i) for i in range(count)), image_file.name)


def _cifar_records(path: Path, label_bytes: int) -> Array:
    """The records [N, label_bytes + 3072] of one CIFAR file, uint8."""
    record = label_bytes + 3072
    try:
        size = path.stat().st_size
        if size == 0 or size % record:
            raise DataError(
                f"{path}: expected a whole number of records of {record} bytes, "
                f"found {size} bytes = {size // record} records and {size % record} bytes over. {_GET_CIFAR}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}. {_GET_CIFAR}") from error
    if len(data) != size:
        raise DataError(f"{path}: expected {size} bytes, found {len(data)}")
    return np.frombuffer(data, np.uint8).reshape(-1, record)


def _cifar(folder: Path, files: Sequence[str], labels: tuple[int, int], count: int, names: str, title: str) -> Dataset:
    """Files of records; `labels` is (bytes per record, which of them), `count` classes named in file `names`."""
    label_bytes, column = labels
    if not (folder / files[0]).is_file():
        for inner in ("cifar-10-batches-bin", "cifar-100-binary"):
            if (folder / inner / files[0]).is_file():
                folder = folder / inner
    parts = [_cifar_records(folder / name, label_bytes) for name in files]
    for name, part in zip(files, parts, strict=True):
        bad = np.flatnonzero(part[:, column] >= count)
        if len(bad):
            raise DataError(
                f"{folder / name}: expected labels 0..{count - 1}, found {int(part[bad[0], column])} "
                f"in record {int(bad[0])}"
            )
    total = sum(len(part) for part in parts)
    x = np.empty((total, 32, 32, 3), np.float32)
    y = np.empty(total, np.int64)
    at = 0
    for part in parts:
        planes = part[:, label_bytes:].reshape(-1, 3, 32, 32)  # [n,C,H,W]
        np.divide(planes.transpose(0, 2, 3, 1), np.float32(255), out=x[at : at + len(part)], dtype=np.float32)
        y[at : at + len(part)] = part[:, column]
        at += len(part)
    classes = tuple(str(i) for i in range(count))
    try:
        text = (folder / names).read_text("utf-8", errors="replace")
        listed = tuple(line.strip() for line in text.splitlines() if line.strip())
        if len(listed) == count:
            classes = listed
    except OSError:
        pass  # the names are a convenience; the numbers serve without them
    return Dataset(x, y, classes, title)


def load_cifar10(folder: PathLike, split: Split = "train") -> Dataset:
    """CIFAR-10, binary version: x float32 [N,32,32,3] in [0, 1], y int64 [N].

    `folder` holds data_batch_1.bin .. data_batch_5.bin and test_batch.bin (or the folder cifar-10-batches-bin).

    Raises
    ------
    DataError
        a file is missing, is not a whole number of 3073-byte records, or holds a label above 9.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    if split not in ("train", "test"):
        raise ValueError(f"load_cifar10: split must be 'train' or 'test', got {split!r}")
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    return _cifar(Path(folder), files, (1, 0), 10, "batches.meta.txt", f"CIFAR-10 {split}")


def load_cifar100(folder: PathLike, split: Split = "train", labels: Literal["fine", "coarse"] = "fine") -> Dataset:
    """CIFAR-100, binary version: x float32 [N,32,32,3] in [0, 1], y int64 [N] (100 fine or 20 coarse classes).

    `folder` holds train.bin and test.bin (or the folder cifar-100-binary).

    Raises
    ------
    DataError
        a file is missing, is not a whole number of 3074-byte records, or holds a label out of range.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    if split not in ("train", "test") or labels not in ("fine", "coarse"):
        raise ValueError(
            f"load_cifar100: expected split 'train'|'test' and labels 'fine'|'coarse', got {split!r}, {labels!r}"
        )
    column, count = (1, 100) if labels == "fine" else (0, 20)
    return _cifar(Path(folder), [f"{split}.bin"], (2, column), count, f"{labels}_label_names.txt", f"CIFAR-100 {split}")
