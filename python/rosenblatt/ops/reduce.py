"""Reductions over one, several or all axes. Sums are blocked by shape: the same bits for any number of threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import _core
from ._common import OUT, Array, Kernel, X, axis_index, contiguous, empty, operand, record

__all__ = ["argmax", "max", "mean", "min", "sum", "sum_to"]

Axis = int | Sequence[int] | None


def _axes(name: str, axis: Axis, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, Sequence) else (axis,)
    axes = tuple(sorted(axis_index(name, a, ndim) for a in given))
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name}: axis {axis!r} names an axis twice")
    return axes


def _reduce(kernel: Kernel, x: Array, axes: tuple[int, ...], *params: float) -> Array:
    """Applies the [A,R,B] -> [A,B] kernel to each run of neighbouring axes, last run first; params to the last one."""
    shape = list(x.shape)
    runs: list[tuple[int, int]] = []
    for a in axes:
        if runs and runs[-1][1] == a:
            runs[-1] = (runs[-1][0], a + 1)
        else:
            runs.append((a, a + 1))
    if not runs:
        runs = [(0, 0)]
    x = contiguous(x)
    for i, (begin, end) in enumerate(reversed(runs)):
        a, r, b = math.prod(shape[:begin]), math.prod(shape[begin:end]), math.prod(shape[end:])
        y = empty((a, b), x.dtype)
        last = i == len(runs) - 1
        kernel(x.reshape(a, r, b), y, *(params if last else [1.0] * len(params)))
        del shape[begin:end]
        x = y
    return x.reshape(shape)


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _stretch(g: Any, kept: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    from .shape import broadcast_to, reshape

    return broadcast_to(reshape(g, kept), shape)


def sum(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The sum over `axis` (an axis, several, or None for all). An empty sum is 0."""
    a = operand("sum", x)
    axes = _axes("sum", axis, a.ndim)
    kept = _kept(a.shape, axes)
    y = _reduce(_core.sum, a, axes, 1.0)
    return record("sum", y.reshape(kept) if keepdims else y, _sum_grad, (x,), (kept, a.shape))


def _sum_grad(g: Any, needs: Any, kept: Any, shape: Any) -> tuple[Any, ...]:
    return (_stretch(g, kept, shape),)


def mean(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The mean over `axis`. Raises ValueError over an axis of length 0."""
    a = operand("mean", x)
    axes = _axes("mean", axis, a.ndim)
    n = math.prod(a.shape[i] for i in axes)
    if n == 0:
        raise ValueError(f"mean: nothing to average over axes {axes} of shape {a.shape}")
    kept = _kept(a.shape, axes)
    y = _reduce(_core.sum, a, axes, 1.0 / n)
    return record("mean", y.reshape(kept) if keepdims else y, _mean_grad, (x,), (kept, a.shape, 1.0 / n))


def _mean_grad(g: Any, needs: Any, kept: Any, shape: Any, scale: float) -> tuple[Any, ...]:
    from .elementwise import mul

    return (_stretch(mul(g, scale), kept, shape),)


def _extreme(name: str, kernel: Kernel, x: Any, axis: Axis, keepdims: bool) -> Any:
    a = operand(name, x)
    axes = _axes(name, axis, a.ndim)
    if math.prod(a.shape[i] for i in axes) == 0:
        raise ValueError(f"{name}: no element along axes {axes} of shape {a.shape}")
    kept = _kept(a.shape, axes)
    y = _reduce(kernel, a, axes)
    return record(name, y.reshape(kept) if keepdims else y, _extreme_grad, (x,), (x, OUT, kept, axes))


def _extreme_grad(g: Any, needs: Any, x: Any, y: Any, kept: Any, axes: Any) -> tuple[Any, ...]:
    from .elementwise import div, equal, mul
    from .shape import reshape

    chosen = equal(x, reshape(y, kept))
    share = div(chosen, sum(chosen, axes, keepdims=True))
    return (mul(reshape(g, kept), share),)


def max(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The maximum over `axis`; NaN wins. Equal maxima share the gradient. Raises ValueError for no element."""
    return _extreme("max", _core.max, x, axis, keepdims)


def min(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The minimum over `axis`; NaN wins. Equal minima share the gradient. Raises ValueError for no element."""
    return _extreme("min", _core.min, x, axis, keepdims)


def argmax(x: Any, axis: int | None = None) -> Array:
    """Index (int64) of the first maximum along `axis`, or in the flattened array; the first NaN wins. No gradient."""
    a = contiguous(operand("argmax", x))
    i = 0 if axis is None else axis_index("argmax", axis, a.ndim)
    shape = (a.size,) if axis is None else a.shape
    if shape[i] == 0:
        raise ValueError(f"argmax: no element along axis {i} of shape {a.shape}")
    outer, inner = math.prod(shape[:i]), math.prod(shape[i + 1 :])
    y = _core.empty((outer, inner), 2)
    _core.argmax(a.reshape(outer, shape[i], inner), y)
    return y.reshape(shape[:i] + shape[i + 1 :])


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """`g` summed over the axes along which `shape` was broadcast to g's shape: the gradient of broadcasting."""
    if g.shape == shape:
        return g
    lead = len(g.shape) - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1
    )
    from .shape import reshape

    return reshape(sum(g, axes), shape)
