"""Pooling over [N,L,C], [N,H,W,C] and [N,D,H,W,C] (channels never mix).

Sizes follow PyTorch: P = floor((H + 2*padding - dilation*(kernel-1) - 1) / stride) + 1, with `ceil_mode` rounded up,
except that no window begins behind the input and its front padding. One kernel serves one, two and three dimensions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _core
from ._common import Array, X, contiguous, new_array, operand, record
from ._geometry import AXES, int_tuple
from .elementwise import abs as absolute
from .elementwise import equal, mul, pow, where

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool", "min_pool1d", "min_pool2d", "min_pool3d",
]

_INT32 = 3  # dtype code of the kernels
Window = tuple[int, ...]  # kernel, stride, padding, dilation, three axes each; then whether adaptive


def _volume(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[N,D,H,W,C] of a batch of any number of spatial axes, which become the last ones."""
    return (shape[0], *(1,) * (5 - len(shape)), *shape[1:])


def _three(values: tuple[int, ...], missing: int) -> tuple[int, ...]:
    return (missing,) * (3 - len(values)) + values


def _batch(where: str, x: Any, count: int) -> Array:
    a: Array = operand(where, x)
    if a.ndim != count + 2:
        raise ValueError(f"{where}: expected x {AXES[count]}, got shape {a.shape}")
    return a


def _outputs(where: str, size: int, kernel: int, stride: int, pad: int, dilation: int, ceil_mode: bool) -> int:
    room = size + 2 * pad - dilation * (kernel - 1) - 1
    out = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (out - 1) * stride >= size + pad:
        out -= 1  # the last window would lie behind the input
    if out < 1 and size > 0:
        raise ValueError(
            f"{where}: a window of {kernel} (dilation {dilation}) does not fit an input of {size}, padding {pad}"
        )
    return max(out, 0)


def _sliding(
    where: str, x: Any, count: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Array, tuple[int, ...], Window]:
    """The array, the result's shape and the window of a pool with `count` spatial axes."""
    k = int_tuple(where, "kernel_size", kernel_size, count, 1)
    s = k if stride is None else int_tuple(where, "stride", stride, count, 1)
    p = int_tuple(where, "padding", padding, count, 0)
    d = int_tuple(where, "dilation", dilation, count, 1)
    for i in range(count):
        if 2 * p[i] > d[i] * (k[i] - 1) + 1:
            raise ValueError(f"{where}: padding {p} is more than half of kernel_size {k}")
    a = _batch(where, x, count)
    sizes = (_outputs(where, a.shape[i + 1], k[i], s[i], p[i], d[i], ceil_mode) for i in range(count))
    return a, (a.shape[0], *sizes, a.shape[-1]), (*_three(k, 1), *_three(s, 1), *_three(p, 0), *_three(d, 1), 0)


def _adaptive(where: str, x: Any, count: int, output_size: Any) -> tuple[Array, tuple[int, ...], Window]:
    a = _batch(where, x, count)
    given = list(output_size) if isinstance(output_size, (tuple, list)) else [output_size] * count
    if len(given) == count:
        given = [n if o is None else o for n, o in zip(a.shape[1:-1], given, strict=True)]
    sizes = int_tuple(where, "output_size", tuple(given), count, 1)
    if 0 in a.shape[1:-1]:
        raise ValueError(f"{where}: there is nothing to pool in an input of shape {a.shape}")
    return a, (a.shape[0], *sizes, a.shape[-1]), (*(1,) * 6, *(0,) * 3, *(1,) * 3, 1)


# --- maximum and minimum


def _extreme(
    name: str, x: Any, found: tuple[Array, tuple[int, ...], Window], minimum: int, return_indices: bool
) -> Any:
    a, shape, window = found
    a = contiguous(a)
    y, index = new_array(shape, a), new_array(shape, _INT32)
    v = _volume(shape)
    params = (*window, minimum)
    _core.max_pool(a.reshape(_volume(a.shape)), y.reshape(v), index.reshape(v), *params)
    result = record(name, y, _extreme_grad, (x,), (index, a.shape, window))
    return (result, index) if return_indices else result


def _extreme_grad(g: Any, needs: Any, index: Array, shape: Any, window: Window) -> tuple[Any, ...]:
    return (_to_chosen(g, index, shape, window),)


def _to_chosen(g: X, index: Array, shape: tuple[int, ...], window: Window) -> X:
    """dx: each pixel collects the gradients of the windows that chose it."""
    a = contiguous(operand("max_pool_dx", g))
    dx = new_array(shape, a)
    v = _volume(a.shape)
    _core.max_pool_dx(a.reshape(v), index.reshape(v), dx.reshape(_volume(shape)), *window)
    return record("max_pool_dx", dx, _to_chosen_grad, (g,), (index, window))


def _to_chosen_grad(h: Any, needs: Any, index: Array, window: Window) -> tuple[Any, ...]:
    return (_at_chosen(h, index, window),)


def _at_chosen(x: X, index: Array, window: Window | None) -> X:
    """x at the chosen pixels; its gradient goes back by windows, or one by one where there are none."""
    a = contiguous(operand("max_pool_gather", x))
    y = new_array(index.shape, a)
    v = _volume(index.shape)
    _core.max_pool_gather(a.reshape(_volume(a.shape)), index.reshape(v), y.reshape(v))
    return record("max_pool_gather", y, _at_chosen_grad, (x,), (index, a.shape, window))


def _at_chosen_grad(g: Any, needs: Any, index: Array, shape: Any, window: Window | None) -> tuple[Any, ...]:
    return (_unpool(g, index, shape) if window is None else _to_chosen(g, index, shape, window),)


def max_pool1d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, *,
    return_indices: bool = False,
) -> X | tuple[X, Array]:
    """`max_pool2d` over x [N,L,C]."""
    found = _sliding("max_pool1d", x, 1, kernel_size, stride, padding, dilation, ceil_mode)
    return _extreme("max_pool1d", x, found, 0, return_indices)


def max_pool2d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, *,
    return_indices: bool = False,
) -> X | tuple[X, Array]:
    """The largest value of each window; padding never wins, the first of equal values does, NaN wins over all.

    x : [N,H,W,C]; kernel_size, stride (default kernel_size), padding, dilation : int or one per axis.
    Returns [N,P,Q,C]; with return_indices also the int32 position h*W + w of each winner, of the same shape.
    Raises ValueError for windows that do not fit and padding of more than half a window.
    """
    found = _sliding("max_pool2d", x, 2, kernel_size, stride, padding, dilation, ceil_mode)
    return _extreme("max_pool2d", x, found, 0, return_indices)


def max_pool3d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, *,
    return_indices: bool = False,
) -> X | tuple[X, Array]:
    """`max_pool2d` over x [N,D,H,W,C]; indices are (d*H + h)*W + w."""
    found = _sliding("max_pool3d", x, 3, kernel_size, stride, padding, dilation, ceil_mode)
    return _extreme("max_pool3d", x, found, 0, return_indices)


def min_pool1d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, *,
    return_indices: bool = False,
) -> X | tuple[X, Array]:
    """`min_pool2d` over x [N,L,C]."""
    found = _sliding("min_pool1d", x, 1, kernel_size, stride, padding, dilation, ceil_mode)
    return _extreme("min_pool1d", x, found, 1, return_indices)


def min_pool2d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, *,
    return_indices: bool = False,
) -> X | tuple[X, Array]:
    """The smallest value of each window; everything else as in `max_pool2d`."""
    found = _sliding("min_pool2d", x, 2, kernel_size, stride, padding, dilation, ceil_mode)
    return _extreme("min_pool2d", x, found, 1, return_indices)


def min_pool3d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, *,
    return_indices: bool = False,
) -> X | tuple[X, Array]:
    """`min_pool2d` over x [N,D,H,W,C]."""
    found = _sliding("min_pool3d", x, 3, kernel_size, stride, padding, dilation, ceil_mode)
    return _extreme("min_pool3d", x, found, 1, return_indices)


def adaptive_max_pool1d(x: X, output_size: Any, *, return_indices: bool = False) -> X | tuple[X, Array]:
    """`adaptive_max_pool2d` over x [N,L,C]."""
    found = _adaptive("adaptive_max_pool1d", x, 1, output_size)
    return _extreme("adaptive_max_pool1d", x, found, 0, return_indices)


def adaptive_max_pool2d(x: X, output_size: Any, *, return_indices: bool = False) -> X | tuple[X, Array]:
    """The largest value of each of P x Q windows [floor(p*H/P), ceil((p+1)*H/P)), which may overlap by a pixel.

    x : [N,H,W,C]; output_size : P, or one per axis, None for the input's. Raises ValueError for empty inputs.
    """
    found = _adaptive("adaptive_max_pool2d", x, 2, output_size)
    return _extreme("adaptive_max_pool2d", x, found, 0, return_indices)


def adaptive_max_pool3d(x: X, output_size: Any, *, return_indices: bool = False) -> X | tuple[X, Array]:
    """`adaptive_max_pool2d` over x [N,D,H,W,C]."""
    found = _adaptive("adaptive_max_pool3d", x, 3, output_size)
    return _extreme("adaptive_max_pool3d", x, found, 0, return_indices)


def max_unpool(x: X, indices: Any, output_size: Any) -> X:
    """Zeros with each value of x at the pixel its index names: x, indices [N,P,Q,C] -> [N,*output_size,C].

    indices : int32, as `max_pool1d`, `max_pool2d` and `max_pool3d` give them; output_size : the size before pooling.
    Values that name the same pixel add up, so that this is the exact adjoint of reading at the indices.
    Raises ValueError for shapes that differ and indices outside the output.
    """
    a: Array = operand("max_unpool", x)
    count = a.ndim - 2
    if count not in AXES:
        raise ValueError(f"max_unpool: expected x [N,L,C], [N,H,W,C] or [N,D,H,W,C], got shape {a.shape}")
    index: Array = _index(indices)
    if index.shape != a.shape:
        raise ValueError(f"max_unpool: expected indices of shape {a.shape}, got {index.shape}")
    size: tuple[int, ...] = int_tuple("max_unpool", "output_size", output_size, count, 1)
    return _unpool(x, index, (a.shape[0], *size, a.shape[-1]))


def _index(indices: Any) -> Array:
    """Indices as the kernels read them. Raises TypeError for anything but integers."""
    a = np.asarray(indices)
    if a.dtype == np.int32:
        return np.ascontiguousarray(a)
    if a.dtype.kind not in "iu":
        raise TypeError(f"max_unpool: expected integer indices, got dtype {a.dtype}")
    return np.asarray(np.clip(a, -1, 2**31 - 1), np.int32, order="C")  # what does not fit is outside any output


def _unpool(x: X, index: Array, shape: tuple[int, ...]) -> X:
    a = contiguous(operand("max_unpool", x))
    y = new_array(shape, a)
    v = _volume(index.shape)
    _core.max_unpool(a.reshape(v), index.reshape(v), y.reshape(_volume(shape)))
    return record("max_unpool", y, _unpool_grad, (x,), (index,))


def _unpool_grad(h: Any, needs: Any, index: Array) -> tuple[Any, ...]:
    return (_at_chosen(h, index, None),)


# --- averages


def _average(name: str, x: X, found: tuple[Array, tuple[int, ...], Window], include: bool) -> X:
    params: tuple[int, ...] = (*found[2][:9], found[2][12], int(include))
    return _mean_of_windows(name, x, found[0], found[1], params)


def _mean_of_windows(name: str, x: X, a: Array, shape: tuple[int, ...], params: tuple[int, ...]) -> X:
    a = contiguous(a)
    y = new_array(shape, a)
    _core.avg_pool(a.reshape(_volume(a.shape)), y.reshape(_volume(shape)), *params)
    return record(name, y, _average_grad, (x,), (params, a.shape))


def _average_grad(g: Any, needs: Any, params: Any, shape: Any) -> tuple[Any, ...]:
    return (_spread(g, params, shape),)


def _spread(g: X, params: tuple[int, ...], shape: tuple[int, ...]) -> X:
    a = contiguous(operand("avg_pool_dx", g))
    dx = new_array(shape, a)
    _core.avg_pool_dx(a.reshape(_volume(a.shape)), dx.reshape(_volume(shape)), *params)
    return record("avg_pool_dx", dx, _spread_grad, (g,), (params, a.shape))


def _spread_grad(h: Any, needs: Any, params: Any, shape: Any) -> tuple[Any, ...]:
    return (_mean_of_windows("avg_pool", h, operand("avg_pool", h), shape, params),)


def avg_pool1d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, *,
    count_include_pad: bool = True,
) -> X:
    """`avg_pool2d` over x [N,L,C]."""
    return _average("avg_pool1d", x, _sliding("avg_pool1d", x, 1, kernel_size, stride, padding, 1, ceil_mode),
                    count_include_pad)  # fmt: skip


def avg_pool2d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, *,
    count_include_pad: bool = True,
) -> X:
    """The mean of each window of x [N,H,W,C]; padded zeros count unless count_include_pad is False. See max_pool2d."""
    return _average("avg_pool2d", x, _sliding("avg_pool2d", x, 2, kernel_size, stride, padding, 1, ceil_mode),
                    count_include_pad)  # fmt: skip


def avg_pool3d(
    x: X, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, *,
    count_include_pad: bool = True,
) -> X:
    """`avg_pool2d` over x [N,D,H,W,C]."""
    return _average("avg_pool3d", x, _sliding("avg_pool3d", x, 3, kernel_size, stride, padding, 1, ceil_mode),
                    count_include_pad)  # fmt: skip


def adaptive_avg_pool1d(x: X, output_size: Any) -> X:
    """`adaptive_avg_pool2d` over x [N,L,C]."""
    return _average("adaptive_avg_pool1d", x, _adaptive("adaptive_avg_pool1d", x, 1, output_size), False)


def adaptive_avg_pool2d(x: X, output_size: Any) -> X:
    """The mean of each of P x Q windows of x [N,H,W,C]; windows and output_size as in `adaptive_max_pool2d`."""
    return _average("adaptive_avg_pool2d", x, _adaptive("adaptive_avg_pool2d", x, 2, output_size), False)


def adaptive_avg_pool3d(x: X, output_size: Any) -> X:
    """`adaptive_avg_pool2d` over x [N,D,H,W,C]."""
    return _average("adaptive_avg_pool3d", x, _adaptive("adaptive_avg_pool3d", x, 3, output_size), False)


# --- power means without the mean: (sum of |x|**p) ** (1/p)


def _lp(op_name: str, x: Any, count: int, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Any:
    p = norm_type
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 1.0 <= p < math.inf:
        raise ValueError(f"{op_name}: norm_type must be a number of at least 1, got {p!r}")
    taps = math.prod(int_tuple(op_name, "kernel_size", kernel_size, count, 1))
    _sliding(op_name, x, count, kernel_size, stride, 0, 1, ceil_mode)  # raises before anything is computed
    powers: Any = absolute(x) if p == 1.0 else mul(x, x) if p == 2.0 else pow(absolute(x), float(p))
    found = _sliding(op_name, powers, count, kernel_size, stride, 0, 1, ceil_mode)
    total = mul(_average(op_name, powers, found, True), float(taps))
    if p == 1.0:
        return total
    # Where every value is 0 the root has no slope; like PyTorch's, the gradient there is 0.
    none = equal(total, 0.0)
    return where(none, 0.0, pow(where(none, 1.0, total), 1.0 / float(p)))


def lp_pool1d(x: X, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> X:
    """`lp_pool2d` over x [N,L,C]."""
    return _lp("lp_pool1d", x, 1, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(x: X, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> X:
    """(sum of |x|**p over each window)**(1/p), p = norm_type >= 1; x [N,H,W,C]. The gradient is 0 where the sum is.

    As in PyTorch, a window that `ceil_mode` cuts off is scaled up to the size of a whole one.
    """
    return _lp("lp_pool2d", x, 2, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(x: X, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> X:
    """`lp_pool2d` over x [N,D,H,W,C]."""
    return _lp("lp_pool3d", x, 3, norm_type, kernel_size, stride, ceil_mode)
