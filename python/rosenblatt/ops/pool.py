"""Maximum and average pooling over [N,H,W,C] (channels never mix)."""

from __future__ import annotations

from typing import Any

from .. import _core
from ._common import Array, X, empty, int_pair, operand, record
from .conv import output_size

__all__ = ["avg_pool2d", "max_pool2d"]


def _window(
    name: str, x: Any, kernel_size: Any, stride: Any, padding: Any
) -> tuple[Array, tuple[int, ...], tuple[int, ...]]:
    kh, kw = int_pair(name, "kernel_size", kernel_size, 1)
    sh, sw = (kh, kw) if stride is None else int_pair(name, "stride", stride, 1)
    ph, pw = int_pair(name, "padding", padding, 0)
    if 2 * ph > kh or 2 * pw > kw:
        raise ValueError(f"{name}: padding {(ph, pw)} is more than half of kernel_size {(kh, kw)}")
    a = operand(name, x)
    if a.ndim != 4:
        raise ValueError(f"{name}: expected x [N,H,W,C], got shape {a.shape}")
    n, h, w, c = a.shape
    p, q = output_size(name, h, kh, sh, 2 * ph, 1), output_size(name, w, kw, sw, 2 * pw, 1)
    return a, (n, p, q, c), (kh, kw, sh, sw, ph, pw)


def max_pool2d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, *, return_indices: bool = False
) -> X | tuple[X, Array]:
    """The largest value of each window; padding never wins, the first of equal values does, NaN wins over all.

    x : [N,H,W,C]; kernel_size, stride (default kernel_size), padding : int or pair.
    Returns [N,P,Q,C]; with return_indices also the int32 position h*W + w of each winner, of the same shape.
    """
    window: tuple[int, ...]
    a, shape, window = _window("max_pool2d", x, kernel_size, stride, padding)
    y = empty(shape, a.dtype)
    index = _core.empty(shape, 3)
    _core.max_pool2d(a, y, index, *window)
    result = record("max_pool2d", y, _max_grad, (x,), (index, a.shape))
    return (result, index) if return_indices else result


def _max_grad(g: Any, needs: Any, index: Array, shape: Any) -> tuple[Any, ...]:
    return (_scatter(g, index, shape),)


def _scatter(g: X, index: Array, shape: tuple[int, ...]) -> X:
    a = operand("max_pool2d", g)
    dx = empty(shape, a.dtype)
    _core.max_pool2d_dx(a, index, dx)
    return record("max_pool2d_dx", dx, _scatter_grad, (g,), (index,))


def _scatter_grad(h: Any, needs: Any, index: Array) -> tuple[Any, ...]:
    return (_gather(h, index),)


def _gather(x: X, index: Array) -> X:
    a = operand("max_pool2d", x)
    y = empty(index.shape, a.dtype)
    _core.max_pool2d_gather(a, index, y)
    return record("max_pool2d_gather", y, _max_grad, (x,), (index, a.shape))


def avg_pool2d(x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, *, count_include_pad: bool = True) -> X:
    """The mean of each window of x [N,H,W,C]; padded zeros count unless count_include_pad is False. See max_pool2d."""
    window: tuple[int, ...]
    a, shape, window = _window("avg_pool2d", x, kernel_size, stride, padding)
    y = empty(shape, a.dtype)
    params = (*window, int(count_include_pad))
    _core.avg_pool2d(a, y, *params)
    return record("avg_pool2d", y, _avg_grad, (x,), (params, a.shape))


def _avg_grad(g: Any, needs: Any, params: Any, shape: Any) -> tuple[Any, ...]:
    return (_spread(g, params, shape),)


def _spread(g: X, params: Any, shape: tuple[int, ...]) -> X:
    a = operand("avg_pool2d", g)
    dx = empty(shape, a.dtype)
    _core.avg_pool2d_dx(a, dx, *params)
    return record("avg_pool2d_dx", dx, _spread_grad, (g,), (params, a.shape))


def _spread_grad(h: Any, needs: Any, params: Any, shape: Any) -> tuple[Any, ...]:
    kh, kw, sh, sw, ph, pw, include = params
    return (avg_pool2d(h, (kh, kw), (sh, sw), (ph, pw), count_include_pad=bool(include)),)
