"""Reductions over one, several or all axes. Sums are blocked by shape: the same bits for any number of threads."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from .. import _core
from . import elementwise as _elementwise
from . import shape as _shape
from ._common import CODE, OUT, Array, Kernel, Tensor, X, axis_index, contiguous, new_array, operand, record

__all__ = ["argmax", "max", "mean", "min", "std", "sum", "sum_to", "var"]

Axis = int | Sequence[int] | None


class _Plan:
    """A reduction of `shape` over `axes` (rising): runs of neighbouring axes are one kernel call each, last run first.

    stages : the [A,R,B] of each call; kept : the shape with length 1 along the axes; left : the shape without them;
    count : how many elements make one of the result
    """

    __slots__ = ("axes", "count", "kept", "last", "left", "stages")

    def __init__(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
        runs: list[tuple[int, int]] = []
        for a in axes:
            if runs and runs[-1][1] == a:
                runs[-1] = (runs[-1][0], a + 1)
            else:
                runs.append((a, a + 1))
        left = list(shape)
        stages = []
        for begin, end in reversed(runs or [(0, 0)]):
            stages.append((math.prod(left[:begin]), math.prod(left[begin:end]), math.prod(left[end:])))
            del left[begin:end]
        self.axes = axes
        self.stages, self.last = tuple(stages[:-1]), stages[-1]
        self.kept = tuple([1 if i in axes else n for i, n in enumerate(shape)])
        self.left = tuple(left)
        self.count = math.prod([shape[i] for i in axes])


def _plan(name: str, shape: tuple[int, ...], axis: Axis) -> _Plan:
    ndim = len(shape)
    if axis is None:
        return _plan_of(shape, tuple(range(ndim)))
    if type(axis) is int and -ndim <= axis < ndim:
        return _plan_of(shape, (axis % ndim,))
    if isinstance(axis, Sequence):
        axes = tuple(sorted([axis_index(name, a, ndim) for a in axis]))
        if len(set(axes)) != len(axes):
            raise ValueError(f"{name}: axis {axis!r} names an axis twice")
        return _plan_of(shape, axes)
    return _plan_of(shape, (axis_index(name, axis, ndim),))


_plan_of = functools.lru_cache(maxsize=4096)(_Plan)


def _reduce(kernel: Kernel, x: Array, plan: _Plan, keepdims: bool, *params: float) -> Array:
    """Applies the [A,R,B] -> [A,B] kernel stage by stage; params belong to the last."""
    code = CODE[x.dtype]
    x = contiguous(x)
    for a, r, b in plan.stages:
        y = new_array((a, b), code)
        kernel(x.reshape(a, r, b), y, *([1.0] * len(params)))
        x = y
    a, r, b = plan.last
    y = new_array(plan.kept if keepdims else plan.left, code)
    kernel(x.reshape(a, r, b), y.reshape(a, b), *params)
    return y


def _stretch(g: Any, kept: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    if isinstance(g, Tensor):
        return _shape.broadcast_to(_shape.reshape(g, kept), shape)
    y = new_array(shape, CODE[g.dtype])
    _core.copy(contiguous(g).reshape(kept), y)
    return y


def sum(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The sum over `axis` (an axis, several, or None for all). An empty sum is 0."""
    a = operand("sum", x)
    plan = _plan("sum", a.shape, axis)
    y = _reduce(_core.sum, a, plan, keepdims, 1.0)
    return record("sum", y, _sum_grad, (x,), (plan.kept, a.shape))


def sum_leading(g: Any) -> Any:
    """The sum over all axes but the last, the gradient of a bias: [..., K] -> [K]."""
    if isinstance(g, Tensor) or not g.size:
        return sum(g, tuple(range(len(g.shape) - 1)))
    k = g.shape[-1]
    y = new_array((k,), g)
    _core.sum(contiguous(g).reshape(1, -1, k), y.reshape(1, k), 1.0)
    return y


def _sum_grad(g: Any, needs: Any, kept: Any, shape: Any) -> tuple[Any, ...]:
    return (_stretch(g, kept, shape),)


def mean(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The mean over `axis`. Raises ValueError over an axis of length 0."""
    a = operand("mean", x)
    plan = _plan("mean", a.shape, axis)
    if plan.count == 0:
        raise ValueError(f"mean: nothing to average over axes {plan.axes} of shape {a.shape}")
    y = _reduce(_core.sum, a, plan, keepdims, 1.0 / plan.count)
    return record("mean", y, _mean_grad, (x,), (plan.kept, a.shape, 1.0 / plan.count))


def _mean_grad(g: Any, needs: Any, kept: Any, shape: Any, scale: float) -> tuple[Any, ...]:
    if isinstance(g, Tensor):
        return (_stretch(_elementwise.mul(g, scale), kept, shape),)
    y = new_array(shape, CODE[g.dtype])
    _core.mul(contiguous(g).reshape(kept), np.array(scale, g.dtype), y)
    return (y,)


def _extreme(name: str, kernel: Kernel, x: Any, axis: Axis, keepdims: bool) -> Any:
    a = operand(name, x)
    plan = _plan(name, a.shape, axis)
    if plan.count == 0:
        raise ValueError(f"{name}: no element along axes {plan.axes} of shape {a.shape}")
    y = _reduce(kernel, a, plan, keepdims)
    return record(name, y, _extreme_grad, (x,), (x, OUT, plan.kept, plan.axes))


def _extreme_grad(g: Any, needs: Any, x: Any, y: Any, kept: Any, axes: Any) -> tuple[Any, ...]:
    chosen = _elementwise.equal(x, _shape.reshape(y, kept))
    share = _elementwise.div(chosen, sum(chosen, axes, keepdims=True))
    return (_elementwise.mul(_shape.reshape(g, kept), share),)


def max(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The maximum over `axis`; NaN wins. Equal maxima share the gradient. Raises ValueError for no element."""
    return _extreme("max", _core.max, x, axis, keepdims)


def min(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The minimum over `axis`; NaN wins. Equal minima share the gradient. Raises ValueError for no element."""
    return _extreme("min", _core.min, x, axis, keepdims)


def argmax(x: Any, axis: int | None = None) -> Array:
    """Index (int64) of the first maximum along `axis`, or in the flattened array; the first NaN wins. No gradient."""
    return _first_extreme("argmax", _core.argmax, x, axis)


def _first_extreme(name: str, kernel: Kernel, x: Any, axis: int | None) -> Array:
    a = contiguous(operand(name, x))
    i = 0 if axis is None else axis_index(name, axis, a.ndim)
    shape = (a.size,) if axis is None else a.shape
    if shape[i] == 0:
        raise ValueError(f"{name}: no element along axis {i} of shape {a.shape}")
    outer, inner = math.prod(shape[:i]), math.prod(shape[i + 1 :])
    y = _core.empty((outer, inner), 2)
    kernel(a.reshape(outer, shape[i], inner), y)
    return y.reshape(shape[:i] + shape[i + 1 :])


def var(x: X, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> X:
    """The variance over `axis`: squared distances from the mean, divided by their number less `ddof`.

    Raises ValueError when nothing is left to divide by.
    """
    return cast(X, _variance("var", x, axis, keepdims, ddof))


def std(x: X, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> X:
    """The square root of `var`. The gradient where all elements are equal is 0."""
    return cast(X, root(_variance("std", x, axis, keepdims, ddof)))


def root(x: Any) -> Any:
    """sqrt(x), with gradient 0 at 0: sqrt has no slope there, so sqrt(1) - 1 is taken, whose slope is finite.

    For the root of a sum of squares, whose own gradient is 0 where it is 0.
    """
    zero = _elementwise.equal(x, 0.0)
    return _elementwise.sub(_elementwise.sqrt(_elementwise.add(x, zero)), zero)


def _variance(name: str, x: Any, axis: Axis, keepdims: bool, ddof: int) -> Any:
    a = operand(name, x)
    count = _plan(name, a.shape, axis).count
    if count - ddof <= 0:
        raise ValueError(f"{name}: {count} elements with ddof={ddof} leave nothing to divide by")
    given: Any = x if isinstance(x, Tensor) else a
    away = _elementwise.sub(given, mean(given, axis, keepdims=True))
    return _elementwise.mul(sum(_elementwise.square(away), axis, keepdims), 1.0 / (count - ddof))


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """`g` summed over the axes along which `shape` was broadcast to g's shape: the gradient of broadcasting."""
    if g.shape == shape:
        return g
    return _shape.reshape(sum(g, _stretched(tuple(g.shape), shape)), shape)


@functools.lru_cache(maxsize=4096)
def _stretched(wide: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of `wide` along which `shape` was broadcast."""
    lead = len(wide) - len(shape)
    return tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and wide[lead + i] != 1)
