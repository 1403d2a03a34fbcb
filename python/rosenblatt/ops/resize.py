"""Bringing rows, pictures and volumes to another size, with every gradient."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ._common import Array, X, operand
from ._geometry import int_tuple, shape_of
from .elementwise import add, mul
from .select import take

__all__ = ["interpolate"]

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}


@functools.lru_cache(maxsize=256)
def _nearest(size: int, out: int, scale: float | None) -> Array:
    """The cell of an axis of `size` that each of `out` positions falls into; no scale: out / size, without rounding."""
    at = np.arange(out, dtype=np.int64)
    if scale is None:
        return at * size // out
    return np.minimum(np.floor(at / scale).astype(np.int64), size - 1)


@functools.lru_cache(maxsize=256)
def _places(
    size: int, out: int, scale: float, align_corners: bool, behind: int, dtype: np.dtype[Any]
) -> tuple[Array, Array, Array, Array]:
    """(lower neighbour, upper neighbour, their weights, with `behind` axes of 1) for `out` positions on an axis."""
    i = np.arange(out, dtype=np.float64)
    if align_corners:
        at = i * ((size - 1) / (out - 1)) if out > 1 else i
    else:
        at = np.maximum((i + 0.5) / scale - 0.5, 0.0)
    low = np.minimum(np.floor(at).astype(np.int64), size - 1)
    upper = (at - low).reshape(-1, *(1,) * behind)
    return low, np.minimum(low + 1, size - 1), (1 - upper).astype(dtype), upper.astype(dtype)


def interpolate(
    x: X, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
) -> X:
    """x [N,..,C] with one to three spatial axes brought to another size; names and positions as in PyTorch.

    size : the new size, one number or one per axis; or scale_factor : a factor, or one per axis
    mode : "nearest" (the cell that position i/scale falls into), or "linear", "bilinear", "trilinear": weighted means
        of neighbours, with cells as areas, or as points with the corners kept when align_corners
    Raises ValueError unless exactly one of size and scale_factor is given, and for a mode of another dimension.
    """
    where = "interpolate"
    shape = shape_of(where, x)
    count = len(shape) - 2
    if count not in (1, 2, 3) or 0 in shape[1:-1]:
        raise ValueError(f"{where}: expected x [N,..,C] with one to three axes that are not empty, got shape {shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{where}: expected either size or scale_factor")
    if mode != "nearest" and _LINEAR.get(mode) not in (1, count):
        raise ValueError(f"{where}: mode must be 'nearest', 'linear' or the linear one of {count} axes, got {mode!r}")
    if mode == "nearest" and align_corners:
        raise ValueError(f"{where}: align_corners has no meaning for mode 'nearest'")
    if size is not None:
        sizes = int_tuple(where, "size", size, count, 1)
        scales = tuple(o / n for o, n in zip(sizes, shape[1:-1], strict=True))
    else:
        factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * count
        numbers = all(isinstance(f, (int, float, np.number)) and math.isfinite(f) for f in factors)
        scales = tuple(float(f) for f in factors) if numbers else ()
        sizes = tuple(math.floor(n * f) for n, f in zip(shape[1:-1], scales, strict=False))
        if len(scales) != count or min(sizes) < 1:
            raise ValueError(f"{where}: scale_factor must be one number or one per axis and leave one cell at least, "
                             f"got {scale_factor!r}")  # fmt: skip
    y: Any = x
    for i in range(count):
        n, out = shape[i + 1], sizes[i]
        if mode == "nearest":
            if out != n or scales[i] != 1.0:
                y = take(y, _nearest(n, out, scales[i] if size is None else None), i + 1)
            continue
        dtype = operand(where, y).dtype
        low, high, lower, upper = _places(n, out, scales[i], align_corners, len(shape) - i - 2, dtype)
        y = add(mul(take(y, low, i + 1), lower), mul(take(y, high, i + 1), upper))
    return y
