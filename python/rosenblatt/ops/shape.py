"""Moving data: reshape, transpose, slices, concatenation. Views where NumPy gives views; copies by our own kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from . import reduce as _reduce
from ._common import CODE, Array, X, axis_index, contiguous, empty, ghost, ghosts, new_array, operand, operands, record

__all__ = ["broadcast_to", "concat", "copy", "flatten", "getitem", "ones", "reshape", "stack", "transpose", "zeros"]


def zeros(shape: Sequence[int], dtype: Any = np.float32) -> Array:
    """A plain array of zeros."""
    return _filled("zeros", shape, dtype, 0.0)


def ones(shape: Sequence[int], dtype: Any = np.float32) -> Array:
    """A plain array of ones."""
    return _filled("ones", shape, dtype, 1.0)


def _filled(name: str, shape: Sequence[int], dtype: Any, value: float) -> Array:
    target = np.dtype(dtype)
    if target not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{name}: expected float32 or float64, got {target}")
    if ghosts.on:
        return ghost(tuple(shape), target)
    y = empty(tuple(shape), target)
    _core.fill(y, value)
    return y


def copy(x: X) -> X:
    """A contiguous copy."""
    a = operand("copy", x)
    y = empty(a.shape, a.dtype)
    _core.copy(a, y)
    return record("copy", y, _copy_grad, (x,), ())


def _copy_grad(g: Any, needs: Any) -> tuple[Any, ...]:
    return (g,)


def broadcast_to(x: X, shape: Sequence[int]) -> X:
    """x repeated along new and length-1 axes to `shape`. Raises ValueError when it does not fit."""
    a = operand("broadcast_to", x)
    target = tuple(shape)
    lead = len(target) - a.ndim
    fits = lead >= 0 and all(n in (1, m) for n, m in zip(a.shape, target[lead:], strict=True))
    if not fits or min(target, default=0) < 0:
        raise ValueError(f"broadcast_to: an array of shape {a.shape} does not broadcast to {target}")
    y = new_array(target, CODE[a.dtype])
    _core.copy(a, y)
    return record("broadcast_to", y, _broadcast_grad, (x,), (a.shape,))


def _broadcast_grad(g: Any, needs: Any, shape: Any) -> tuple[Any, ...]:
    return (_reduce.sum_to(g, shape),)


def reshape(x: X, *shape: Any) -> X:
    """The same elements in row-major order in another shape; one -1 is inferred. A view when x is contiguous.

    Raises ValueError when the number of elements differs.
    """
    a = operand("reshape", x)
    target = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list, Sequence)) else shape
    old = a.shape
    if target == old:
        y = a
    else:
        try:
            y = contiguous(a).reshape(target)
        except (ValueError, TypeError):
            raise ValueError(f"reshape: {a.size} elements of shape {old} do not fit {tuple(target)}") from None
    return record("reshape", y, _reshape_grad, (x,), (old,))


def _reshape_grad(g: Any, needs: Any, shape: Any) -> tuple[Any, ...]:
    return (reshape(g, shape),)


def flatten(x: X, start_axis: int = 0) -> X:
    """All axes from `start_axis` on joined into one, row-major."""
    a: Array = operand("flatten", x)
    start: int = axis_index("flatten", start_axis, a.ndim) if a.ndim else 0
    return reshape(x, (*a.shape[:start], math.prod(a.shape[start:])))


def transpose(x: X, *axes: Any) -> X:
    """x with its axes permuted (reversed when none are given): a view. Raises ValueError for a bad permutation."""
    a = operand("transpose", x)
    if not axes:
        return record("transpose", a.T, _transpose_grad, (x,), (None,))
    given = tuple(axes[0]) if len(axes) == 1 and isinstance(axes[0], Sequence) else axes
    try:
        y = a.transpose(given)
    except (ValueError, TypeError):
        for i in given:
            axis_index("transpose", i, a.ndim)
        raise ValueError(f"transpose: {tuple(given)} is not a permutation of {a.ndim} axes") from None
    return record("transpose", y, _transpose_grad, (x,), (given,))


def _transpose_grad(g: Any, needs: Any, order: Any) -> tuple[Any, ...]:
    if order is None:
        return (transpose(g),)
    inverse = [0] * len(order)
    for i, j in enumerate(order):
        inverse[j] = i  # also from the end, where j is negative
    return (transpose(g, inverse),)


def getitem(x: X, index: Any) -> X:
    """x[index] for integers, slices, None and Ellipsis: a view. Other indices raise TypeError."""
    a = operand("getitem", x)
    parts = index if isinstance(index, tuple) else (index,)
    for p in parts:
        if p is not None and p is not Ellipsis and not isinstance(p, slice) and not (
            hasattr(p, "__index__") and not isinstance(p, (bool, np.ndarray))
        ):
            raise TypeError(f"getitem: expected integers, slices, None or Ellipsis, got {type(p).__name__}")
    try:
        y = a[_view_index(index)]
    except IndexError as error:
        raise IndexError(f"getitem: {error}") from None
    return record("getitem", y, _getitem_grad, (x,), (index, a.shape))


def _view_index(index: Any) -> tuple[Any, ...]:
    """The index with an Ellipsis, so that NumPy answers with a view even when every axis is fixed."""
    parts = index if isinstance(index, tuple) else (index,)
    return parts if any(p is Ellipsis for p in parts) else (*parts, Ellipsis)


def _getitem_grad(g: Any, needs: Any, index: Any, shape: Any) -> tuple[Any, ...]:
    return (_place(g, index, shape),)


def _place(g: X, index: Any, shape: tuple[int, ...]) -> X:
    """Zeros of `shape` with g written at `index`: the adjoint of getitem."""
    a = operand("getitem", g)
    y = zeros(shape, a.dtype)
    _core.copy(a, y[_view_index(index)])
    return record("place", y, _place_grad, (g,), (index,))


def _place_grad(h: Any, needs: Any, index: Any) -> tuple[Any, ...]:
    return (getitem(h, index),)


def concat(xs: Sequence[X], axis: int = 0) -> X:
    """The arrays joined along an existing axis. Raises ValueError, with both shapes, when they do not fit."""
    if not xs:
        raise ValueError("concat: expected at least one array")
    arrays = operands("concat", *xs)
    first: Array = arrays[0]
    i: int = axis_index("concat", axis, first.ndim)
    for k, a in enumerate(arrays):
        if a.ndim != first.ndim or a.shape[:i] + a.shape[i + 1 :] != first.shape[:i] + first.shape[i + 1 :]:
            raise ValueError(
                f"concat: shape {a.shape} of array {k} does not fit shape {first.shape} of array 0 along axis {i}"
            )
    sizes = [a.shape[i] for a in arrays]
    y = empty((*first.shape[:i], sum(sizes), *first.shape[i + 1 :]), first.dtype)
    at = 0
    slices = []
    for a, n in zip(arrays, sizes, strict=True):
        where = (slice(None),) * i + (slice(at, at + n),)
        _core.copy(a, y[where])
        slices.append(where)
        at += n
    return record("concat", y, _concat_grad, tuple(xs), (tuple(slices),))


def _concat_grad(g: Any, needs: Any, slices: Any) -> tuple[Any, ...]:
    return tuple(getitem(g, where) if need else None for need, where in zip(needs, slices, strict=True))


def stack(xs: Sequence[X], axis: int = 0) -> X:
    """The arrays, all of one shape, joined along a new axis."""
    if not xs:
        raise ValueError("stack: expected at least one array")
    shapes = [operand("stack", x).shape for x in xs]
    for k, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(f"stack: expected arrays of one shape, got {shapes[0]} and, as array {k}, {shape}")
    i = axis_index("stack", axis, len(shapes[0]) + 1)
    index = (slice(None),) * i + (None,)
    return concat([getitem(x, index) for x in xs], i)
