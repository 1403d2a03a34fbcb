"""`rosenblatt predict`: classes and probabilities for pictures, arrays, or samples of the digits' test half."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import data, models
from ..data import DataError
from ..data.folders import IMAGE_SUFFIXES, load_image
from ..data.tables import load_array
from . import runs
from .main import UsageError

__all__ = ["predict"]

Array = npt.NDArray[Any]


def _as_samples(name: str, values: Array, shape: tuple[int, ...]) -> Array:
    """An array from a file as samples [N,*shape]: one sample or many, the channel axis may be missing."""
    if values.dtype.kind not in "buif":
        raise DataError(f"{name}: expected numbers, found {values.dtype}")
    x = values.astype(np.float32)
    if values.dtype == np.uint8:
        x /= np.float32(255)
    for candidate in (x, x[None]):
        if candidate.shape[1:] == shape:
            return candidate
        if len(shape) == 3 and shape[2] == 1 and candidate.ndim == 3 and candidate.shape[1:] == shape[:2]:
            return candidate[..., None]
        if candidate.ndim == 2 and candidate.shape[1] == math.prod(shape):
            return candidate.reshape(-1, *shape)
    raise DataError(f"{name}: expected samples of shape {list(shape)}, found an array {list(values.shape)}")


def _read(name: str, shape: tuple[int, ...], invert: bool) -> Array:
    """The samples [N,*shape] of one file."""
    file = Path(name)
    suffix = file.suffix.lower()
    if suffix in (".npy", ".npz"):
        return _as_samples(name, load_array(file), shape)
    if suffix not in IMAGE_SUFFIXES:
        raise DataError(f"{name}: expected a picture ({', '.join(IMAGE_SUFFIXES)}), .npy or .npz")
    if len(shape) != 3:
        raise DataError(f"{name}: the network takes samples of shape {list(shape)}, not pictures")
    picture = load_image(file, grayscale=shape[2] == 1)  # [H,W,C]
    if picture.shape[:2] != shape[:2]:
        print(f"rosenblatt: {name}: {picture.shape[0]} x {picture.shape[1]} pixels (rows x columns) brought to "
              f"{shape[0]} x {shape[1]}, the size of the training data", file=sys.stderr)
        picture = load_image(file, size=shape[:2], grayscale=shape[2] == 1)
    picture = picture[None]  # [1,H,W,C]
    return np.float32(1) - picture if invert else picture


def _digits(indices: list[int], shape: tuple[int, ...]) -> tuple[Array, list[str], Array]:
    """(samples, labels for the listing, true classes) of the digits' test half."""
    _, test = data.digits(split=True)
    if max(indices) >= len(test):
        raise UsageError(f"--digits-test: the test half has samples 0..{len(test) - 1}, got {max(indices)}")
    if test.x.shape[1:] != shape:
        raise UsageError(f"--digits-test: the network takes samples of shape {list(shape)}, the digits are [8, 8, 1]")
    index = np.array(indices)
    return test.x[index], [f"digits[{i}]" for i in indices], test.y[index]


def predict(options: argparse.Namespace) -> int:
    """Carry out `rosenblatt predict`; one line per sample: name, class, probability (or net input)."""
    if not options.files and not options.digits_test:
        raise UsageError("predict: give files, or --digits-test INDEX ...")
    runs.set_threads(options.threads)
    model, config = runs.load_run(options.folder)
    entry = models.info(config["model"]).at(config["input_shape"])
    shape = tuple(config["data_shape"])
    names: list[str] = []
    parts: list[Array] = []
    truth: list[int | None] = []
    for name in options.files:
        samples = _read(name, shape, options.invert)
        if not np.isfinite(samples).all():
            raise DataError(f"{name}: expected finite numbers, found NaN or infinity")
        parts.append(samples)
        names += [name] if len(samples) == 1 else [f"{name}[{i}]" for i in range(len(samples))]
        truth += [None] * len(samples)
    if options.digits_test:
        samples, labels, true = _digits(options.digits_test, shape)
        parts.append(samples)
        names += labels
        truth += [int(t) for t in true]
    outputs = np.asarray(model.predict(entry.prepare(np.concatenate(parts))))  # [N,K]
    if entry.recipe.reconstructs:
        x = entry.prepare(np.concatenate(parts))
        errors = ((outputs.astype(np.float64) - x) ** 2).reshape(len(x), -1).mean(1)
        width = max(len(n) for n in names)
        for name, error in zip(names, errors, strict=True):
            print(f"{name:<{width}}  squared error of the reconstruction {error:.6f}")
        return 0
    perceptron = entry.recipe.loss == "perceptron"
    scores = outputs
    if not perceptron:
        e = np.exp(outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True))
        scores = e / e.sum(axis=1, keepdims=True)
    classes, width = config["classes"], max(len(n) for n in names) if names else 0
    for name, row, true_class in zip(names, scores, truth, strict=True):
        best = np.argsort(-row, kind="stable")[: options.top]
        answers = "  ".join(f"{classes[k]} {row[k]:.4g}" if perceptron else f"{classes[k]} {row[k]:.4f}" for k in best)
        check = (
            "" if true_class is None else ("  right" if true_class == best[0] else f"  wrong: {classes[true_class]}")
        )
        print(f"{name:<{width}}  {answers}{check}")
    return 0
