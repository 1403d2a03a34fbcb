"""Order, running sums and rows by index. Indices are int64 arrays and carry no gradient; values do.

Sorting is stable and puts NaN last; sums over equal indices are added in their order, whatever the number of threads.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from .. import _core
from ._common import CODE, OUT, Array, Kernel, Tensor, X, axis_index, contiguous, new_array, operand, record
from .elementwise import add, div, equal, mul, where
from .reduce import _first_extreme
from .shape import concat, getitem

__all__ = [
    "argmin", "argsort", "cumprod", "cumsum", "embedding", "gather", "scatter_add", "sort", "take", "topk",
]

_INT64 = 2  # dtype code of the kernels


def _columns(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """[A,R,B] of an array whose axis is in the middle."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _index(name: str, index: Any) -> Array:
    a = index.data if isinstance(index, Tensor) else np.asarray(index)
    if a.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer indices, got dtype {a.dtype}")
    return np.asarray(a, np.int64, order="C")


def _call(name: str, kernel: Kernel, *args: Any) -> None:
    """kernel(*args); what it refuses is said in the name of the op."""
    try:
        kernel(*args)
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).partition(': ')[2]}") from None


def argmin(x: Any, axis: int | None = None) -> Array:
    """Index (int64) of the first minimum along `axis`, or in the flattened array; the first NaN wins. No gradient."""
    return _first_extreme("argmin", _core.argmin, x, axis)


# --- order


def _ordered(name: str, x: Any, axis: int, k: Any, descending: bool) -> tuple[Any, Array]:
    a: Array = contiguous(operand(name, x))
    i: int = axis_index(name, axis, a.ndim)
    n = a.shape[i] if k is None else k
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 0 <= n <= a.shape[i]:
        raise ValueError(f"{name}: k must be in 0 .. {a.shape[i]}, the length of axis {i}, got {k!r}")
    n = int(n)
    outer, rows, inner = _columns(a.shape, i)
    shape = (*a.shape[:i], n, *a.shape[i + 1 :])
    y = new_array(shape, CODE[a.dtype])
    index = new_array(shape, _INT64)
    _core.sort(a.reshape(outer, rows, inner), y.reshape(outer, n, inner), index.reshape(outer, n, inner), descending)
    return record(name, y, _gather_grad, (x,), (index, i, a.shape)), index


def sort(x: X, axis: int = -1, descending: bool = False) -> tuple[X, Array]:
    """(x sorted along the axis, where each value stood). Stable; NaN last in either direction."""
    return _ordered("sort", x, axis, None, descending)


def argsort(x: Any, axis: int = -1, descending: bool = False) -> Array:
    """The indices that sort x along the axis. Stable; NaN last in either direction."""
    return _ordered("argsort", operand("argsort", x), axis, None, descending)[1]


def topk(x: X, k: int, axis: int = -1, largest: bool = True) -> tuple[X, Array]:
    """(the k largest or smallest along the axis, best first, where they stood); of equal ones the first come first.

    NaN counts as worst. Raises ValueError unless 0 <= k <= the length of the axis.
    """
    return _ordered("topk", x, axis, k, largest)


# --- running sums and products


def _cumulate(a: Array, axis: int, product: bool, reverse: bool) -> Array:
    a = contiguous(a)
    y = new_array(a.shape, CODE[a.dtype])
    shape = _columns(a.shape, axis)
    _core.cumulate(a.reshape(shape), y.reshape(shape), product, reverse)
    return y


def cumsum(x: X, axis: int = -1, reverse: bool = False) -> X:
    """Running sums along the axis, from its end when `reverse`. Long rows are summed in blocks, set by their length."""
    a: Array = operand("cumsum", x)
    i: int = axis_index("cumsum", axis, a.ndim)
    return record("cumsum", _cumulate(a, i, False, reverse), _cumsum_grad, (x,), (i, reverse))


def _cumsum_grad(g: Any, needs: Any, axis: int, reverse: bool) -> tuple[Any, ...]:
    return (cumsum(g, axis, not reverse),)


def cumprod(x: X, axis: int = -1) -> X:
    """Running products along the axis. The gradient is exact also where factors are 0."""
    a: Array = operand("cumprod", x)
    i: int = axis_index("cumprod", axis, a.ndim)
    return record("cumprod", _cumulate(a, i, True, False), _cumprod_grad, (x,), (x, OUT, i))


def _cumprod_grad(g: Any, needs: Any, x: Any, y: Any, axis: int) -> tuple[Any, ...]:
    if isinstance(g, Tensor):  # taped: a form without divisions and choices, so that its own gradient is exact at 0
        return (mul(_shifted(y, axis, 1, 1.0), _weighted_tails(g, _shifted(x, axis, -1, 0.0), axis)),)
    # d y_i / d x_k = y_i / x_k for k <= i; at the first zero, the products without it; behind it, nothing.
    zero = equal(x, 0.0)
    seen = cumsum(zero, axis)
    first = mul(zero, equal(seen, 1.0))
    filled = add(x, first)
    usual = div(cumsum(mul(g, y), axis, reverse=True), where(zero, 1.0, x))
    at_first = cumsum(mul(g, cumprod(filled, axis)), axis, reverse=True)
    return (where(equal(seen, 0.0), usual, mul(first, at_first)),)


def _shifted(x: Any, axis: int, by: int, fill: float) -> Any:
    """x moved by `by` places along the axis, cells of `fill` behind it."""
    n = x.shape[axis]
    edge = np.full((*x.shape[:axis], min(abs(by), n), *x.shape[axis + 1 :]), fill, x.dtype)
    rest = getitem(x, (slice(None),) * axis + (slice(max(-by, 0), max(n - max(by, 0), 0)),))
    return concat([edge, rest] if by > 0 else [rest, edge], axis)


def _weighted_tails(g: Any, x: Any, axis: int) -> Any:
    """s[k] = g[k] + x[k] s[k+1] along the axis, by doubling: after each pass s spans twice as many places."""
    step = 1
    while step < g.shape[axis]:
        g = add(g, mul(x, _shifted(g, axis, -step, 0.0)))
        x = mul(x, _shifted(x, axis, -step, 0.0))
        step *= 2
    return g


# --- rows by index


def take(x: X, index: Any, axis: int = 0) -> X:
    """x at the indices along the axis: [A..., R, B...] and index [K...] -> [A..., K..., B...].

    Indices count from 0; others than 0 .. R-1 raise ValueError, other dtypes than integers TypeError.
    """
    return cast(X, _take("take", x, index, axis))


def _take(name: str, x: Any, index: Any, axis: int) -> Any:
    a: Array = contiguous(operand(name, x))
    at: Array = _index(name, index)
    i: int = axis_index(name, axis, a.ndim)
    outer, rows, inner = _columns(a.shape, i)
    y = new_array((*a.shape[:i], *at.shape, *a.shape[i + 1 :]), CODE[a.dtype])
    _call(name, _core.take, a.reshape(outer, rows, inner), at.reshape(-1), y.reshape(outer, at.size, inner))
    return record(name, y, _take_grad, (x,), (at, rows, i))


def _take_grad(g: Any, needs: Any, index: Array, rows: int, axis: int) -> tuple[Any, ...]:
    return (scatter_add(g, index, rows, axis),)


def scatter_add(values: X, index: Any, size: int, axis: int = 0) -> X:
    """Zeros of length `size` along the axis with values[..., k, ...] added at index[k]: the adjoint of `take`.

    values [A..., K..., B...] and index [K...] -> [A..., size, B...]. Values of one index are added in the order
    in which they stand. Raises ValueError for shapes that differ and indices outside 0 .. size-1.
    """
    a: Array = contiguous(operand("scatter_add", values))
    at: Array = _index("scatter_add", index)
    i: int = axis_index("scatter_add", axis, max(a.ndim - at.ndim + 1, 0))
    if a.shape[i : i + at.ndim] != at.shape:
        raise ValueError(f"scatter_add: expected index of shape {a.shape[i : i + at.ndim]} from axis {i} of "
                         f"{a.shape}, got {at.shape}")  # fmt: skip
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
        raise ValueError(f"scatter_add: size must be a whole number, got {size!r}")
    size = int(size)
    before: tuple[int, ...] = a.shape[:i]
    after: tuple[int, ...] = a.shape[i + at.ndim :]
    outer, inner = math.prod(before), math.prod(after)
    y = new_array((*before, size, *after), CODE[a.dtype])
    _call(
        "scatter_add", _core.take_dx, a.reshape(outer, at.size, inner), at.reshape(-1), y.reshape(outer, size, inner)
    )
    return record("scatter_add", y, _scatter_add_grad, (values,), (at, i))


def _scatter_add_grad(g: Any, needs: Any, index: Array, axis: int) -> tuple[Any, ...]:
    return (take(g, index, axis),)


def embedding(weight: X, index: Any) -> X:
    """Rows of weight [V,D] at the indices [...] -> [...,D]. Raises ValueError for indices outside 0 .. V-1."""
    a: Array = operand("embedding", weight)
    if a.ndim != 2:
        raise ValueError(f"embedding: expected weight [V,D], got shape {a.shape}")
    return cast(X, _take("embedding", weight, index, 0))


def gather(x: X, index: Any, axis: int = -1) -> X:
    """One index per element: y[.., k, ..] = x[.., index[.., k, ..], ..] along the axis (`numpy.take_along_axis`).

    index has x's shape except along the axis. Raises ValueError for other shapes and indices out of range.
    """
    a: Array = contiguous(operand("gather", x))
    at: Array = _index("gather", index)
    i: int = axis_index("gather", axis, a.ndim)
    if at.ndim != a.ndim or at.shape[:i] + at.shape[i + 1 :] != a.shape[:i] + a.shape[i + 1 :]:
        raise ValueError(f"gather: expected index of x's shape {a.shape} except along axis {i}, got {at.shape}")
    y = new_array(at.shape, CODE[a.dtype])
    shape = _columns(at.shape, i)
    _call("gather", _core.gather, a.reshape(_columns(a.shape, i)), at.reshape(shape), y.reshape(shape))
    return record("gather", y, _gather_grad, (x,), (at, i, a.shape))


def _gather_grad(g: Any, needs: Any, index: Array, axis: int, shape: tuple[int, ...]) -> tuple[Any, ...]:
    return (_scatter(g, index, axis, shape),)


def _scatter(g: X, index: Array, axis: int, shape: tuple[int, ...]) -> X:
    """The adjoint of `gather`: g added into zeros of `shape`."""
    a: Array = contiguous(operand("gather", g))
    y = new_array(shape, CODE[a.dtype])
    columns = _columns(index.shape, axis)
    _core.gather_dx(a.reshape(columns), index.reshape(columns), y.reshape(_columns(shape, axis)))
    return record("gather_grad", y, _scatter_grad, (g,), (index, axis))


def _scatter_grad(h: Any, needs: Any, index: Array, axis: int) -> tuple[Any, ...]:
    return (gather(h, index, axis),)
