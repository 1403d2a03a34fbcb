"""What all data operations share: how images and sounds are taken in and handed back, and checks of options."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core, ops
from ..tensor import float_array

Array = npt.NDArray[Any]
LUMA = (0.299, 0.587, 0.114)  # weights of R, G and B in a grey value, ITU-R BT.601


def take_images(who: str, x: Any, channels: tuple[int, ...] = ()) -> tuple[Array, bool]:
    """(images [N,H,W,C] in float32 or float64, whether one image [H,W,C] was given); bytes are divided by 255.

    channels : the numbers of channels allowed; any by default. Raises ValueError/TypeError naming `who`.
    """
    array = x if isinstance(x, np.ndarray) else np.asarray(x)
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        raise TypeError(f"{who}: expected images as floats in [0, 1] or as uint8, got {array.dtype}")
    if array.ndim not in (3, 4):
        raise ValueError(f"{who}: expected images [N,H,W,C] or [H,W,C], got shape {list(array.shape)}")
    single = array.ndim == 3
    out = np.ascontiguousarray(float_array(who, array))  # NumPy's sums depend on the layout
    if array.dtype == np.uint8:
        out /= np.float32(255)
    if single:
        out = out[None]
    if channels and out.shape[3] not in channels:
        allowed = " or ".join(map(str, channels))
        raise ValueError(f"{who}: expected images with {allowed} channels, got shape {list(array.shape)}")
    return out, single


def give(y: Array, single: bool) -> Array:
    """The result for the caller: an image when an image was given."""
    return y[0] if single else y


def number(who: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a finite float in [low, high]. Raises ValueError naming operation and option."""
    good = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{who}: {name} must be a finite number in [{low:g}, {high:g}], got {value!r}")
    return float(value)


def interval(who: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """(first, last) of a range inside [low, high]; one number means the range of that number alone."""
    pair = (value, value) if isinstance(value, (int, float, np.number)) else value
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"{who}: {name} must be a number or a pair (low, high), got {value!r}")
    a, b = number(who, name, pair[0], low, high), number(who, name, pair[1], low, high)
    if a > b:
        raise ValueError(f"{who}: {name} must be a pair (low, high) in this order, got {value!r}")
    return a, b


def choice(who: str, name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of the allowed words. Raises ValueError listing them."""
    if value not in allowed:
        raise ValueError(f"{who}: {name} must be one of {', '.join(allowed)}, got {value!r}")
    return str(value)


def clip(x: Array) -> Array:
    """x cut to [0, 1], in place: for arrays that an operation has just made."""
    return np.clip(x, 0, 1, out=x)


def per_sample(values: Any, like: Array) -> Array:
    """values [N] in the shape [N,1,...] and the dtype that broadcast against `like` [N,...]."""
    return np.asarray(values, like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


def fill_random(kernel: Callable[..., None], like: Array, a: float, b: float, generator: np.random.Generator) -> Array:
    """An array like `like` filled by `_core.normal` (mean a, deviation b) or `_core.uniform` ([a, b)).

    Our counter-based kernels are several times faster than NumPy's generators; the key is drawn from `generator`.
    """
    y = np.empty(like.shape, like.dtype)
    kernel(y, a, b, int(generator.integers(2**63)), 0)
    return y


def normal_like(like: Array, generator: np.random.Generator) -> Array:
    """Standard normal numbers in the shape and dtype of `like`."""
    return fill_random(_core.normal, like, 0.0, 1.0, generator)


def uniform_like(like: Array, generator: np.random.Generator) -> Array:
    """Numbers uniform in [0, 1) in the shape and dtype of `like`."""
    return fill_random(_core.uniform, like, 0.0, 1.0, generator)


def product(a: Array, b: Array) -> Array:
    """a @ b of plain arrays by our kernel."""
    y: Any = ops.matmul(a, b)
    return np.asarray(y)


def largest(a: Array, size: int) -> Array:
    """The largest value within size x size pixels (odd) of [N,H,W,C]."""
    y: Any = ops.max_pool2d(a, size, 1, size // 2)
    return np.asarray(y)
