"""Data: built-in sets, readers for common file formats, and augmentation. Nothing is ever downloaded.

Images are float32 [N,H,W,C] with bytes scaled to [0, 1]; labels are int64 [N].
"""

from __future__ import annotations

from . import augment
from .augment import Affine, place, resize
from .builtin import digits
from .dataset import DataError, Dataset
from .folders import image_folder, load_image
from .formats import load_cifar10, load_cifar100, load_idx, load_mnist_idx
from .signals import load_text, load_wav
from .sources import load
from .tables import load_array, load_csv, load_npz

__all__ = [
    "Affine",
    "DataError",
    "Dataset",
    "augment",
    "digits",
    "image_folder",
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
]
