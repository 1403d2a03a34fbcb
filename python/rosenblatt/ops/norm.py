"""Normalisation: over the batch for each channel (S. Ioffe, C. Szegedy, ICML 2015), over neighbouring channels for each
pixel (A. Krizhevsky, I. Sutskever, G. E. Hinton, NIPS 2012).

    batch:   y = weight (x - mean) / sqrt(var + eps) + bias,   mean and var of each channel over all other axes
    local:   y_c = x_c / (k + alpha / size sum x_j**2)**beta,  j over `size` channels around c, those beyond the ends 0

Channels are the last axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from ..autograd import mark_written
from . import elementwise as e
from . import reduce as r
from ._common import Array, Tensor, X, contiguous, kept, new_array, operand, operands, record, whole
from .pad import pad
from .shape import getitem

__all__ = ["batch_norm", "local_response_norm"]


def _level(where: str, name: str, value: Any, low: float = 0.0, high: float = float("inf")) -> float:
    """`value` as a float. Raises ValueError naming op and option unless it is a number in [low, high]."""
    kinds = (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high or value == float("inf"):
        limit = "" if high == float("inf") else f" and at most {high}"
        raise ValueError(f"{where}: {name} must be a number of at least {low}{limit}, got {value!r}")
    return float(value)


def store(buffer: Tensor, value: Array) -> None:
    """Writes `value` into the tensor's array by a kernel, which captured steps repeat; graphs that saved it know."""
    _core.copy(value, buffer._data)
    mark_written((buffer,))


def _as(given: Any, array: Any) -> Any:
    """What was given, in the dtype of the array that `operands` has made of it."""
    if not isinstance(given, Tensor):
        return array
    return given if given.dtype == array.dtype else e.astype(given, array.dtype)


def batch_norm(
    x: X, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float | Array = 0.1, eps: float = 1e-5,
) -> X:
    """weight * (x - mean) / sqrt(var + eps) + bias for each channel of x [...,C].

    Parameters
    ----------
    running_mean, running_var : [C] or None. Without `training` these are the statistics. With it the statistics are
        those of x over all axes but the last (the variance divided by their number), and tensors given here take
        (1 - momentum) of themselves plus momentum of the statistics (that variance divided by the number less 1)
    weight, bias : [C], or None for 1 and 0
    momentum : a number in [0, 1], or an array [] or [1] of one
    eps : a number of at least 0

    Raises ValueError for shapes that do not fit, fewer than two values per channel in training, missing statistics.
    """
    name = "batch_norm"
    eps = _level(name, "eps", eps)
    if not isinstance(momentum, np.ndarray):
        momentum = _level(name, "momentum", momentum, 0.0, 1.0)
    a, w, b, m, v = operands(name, x, weight, bias, running_mean, running_var)
    if a.ndim < 2:
        raise ValueError(f"{name}: expected x [N,...,C], got shape {a.shape}")
    channels = a.shape[-1]
    for what, value in (("weight", w), ("bias", b), ("running_mean", m), ("running_var", v)):
        if value is not None and value.shape != (channels,):
            raise ValueError(f"{name}: expected {what} of shape ({channels},), got {value.shape}")
    if (m is None) != (v is None):
        raise ValueError(f"{name}: give running_mean and running_var, or neither")
    if not training:
        if m is None:
            raise ValueError(f"{name}: running_mean and running_var are needed when not training")
        scale = e.div(1.0, e.sqrt(e.add(_as(running_var, v), eps)))
        y = e.mul(e.sub(_as(x, a), _as(running_mean, m)), scale if w is None else e.mul(_as(weight, w), scale))
        return y if b is None else e.add(y, _as(bias, b))
    n = a.size // channels if channels else 0
    if n < 2:
        raise ValueError(f"{name}: expected more than one value per channel in training, got shape {a.shape}")
    axes = tuple(range(a.ndim - 1))
    mean = r.mean(a, axes)  # [C]
    centred = e.sub(a, mean)
    var = r.mean(e.square(centred), axes)
    inverse = e.div(1.0, e.sqrt(e.add(var, eps)))
    out = e.mul(centred, inverse if w is None else e.mul(inverse, w))
    out = out if b is None else e.add(out, b)
    if isinstance(running_mean, Tensor) and isinstance(running_var, Tensor):
        follow(running_mean, mean, momentum)
        follow(running_var, e.mul(var, n / (n - 1)), momentum)
    elif m is not None:
        raise ValueError(f"{name}: running statistics that training updates must be tensors, got arrays")
    saved = (kept(x, a), None if w is None else kept(weight, w), centred, inverse, axes, eps)
    return record(name, out, _batch_norm_grad, (x, weight, bias), saved)


def follow(buffer: Tensor, value: Array, momentum: float | Array) -> None:
    """buffer = (1 - momentum) * buffer + momentum * value, in place."""
    rest = 1.0 - momentum if isinstance(momentum, float) else e.sub(1.0, momentum)
    store(buffer, e.astype(e.add(e.mul(buffer._data, rest), e.mul(value, momentum)), buffer.dtype))


def _batch_norm_grad(
    g: Any, needs: Any, x: Any, w: Any, centred: Any, inverse: Any, axes: tuple[int, ...], eps: float
) -> tuple[Any, ...]:
    """dbias = sum g, dweight = i sum g c, dx = w i (g - mean g - c i^2 mean(g c)), c = x - mean, i = 1/sqrt(var + eps).

    When the gradient is to be differentiated in turn, c and i are computed again from the tensor x.
    """
    if isinstance(g, Tensor):
        centred = e.sub(x, r.mean(x, axes))
        inverse = e.div(1.0, e.sqrt(e.add(r.mean(e.square(centred), axes), eps)))
    n = centred.size // centred.shape[-1]
    gb = r.sum(g, axes)  # [C]
    gc = r.sum(e.mul(g, centred), axes) if needs[0] or needs[1] else None
    dx = None
    if needs[0]:
        scale = inverse if w is None else e.mul(inverse, w)
        slope = e.mul(e.mul(e.square(inverse), scale), e.mul(gc, -1.0 / n))
        dx = e.add(e.mul(g, scale), e.add(e.mul(centred, slope), e.mul(e.mul(gb, scale), -1.0 / n)))
    return dx, e.mul(gc, inverse) if needs[1] else None, gb if needs[2] else None


# --- across channels


def _windows(x: Any, before: int, after: int) -> Any:
    """Sums of x [...,C] over the channels c - before .. c + after, those beyond the ends 0; [...,C]."""
    channels = x.shape[-1]
    if isinstance(x, Tensor):
        wide = pad(x, ((0, 0),) * (len(x.shape) - 1) + ((before, after),))
        total: Any = None
        for shift in range(before + after + 1):
            part = getitem(wide, (..., slice(shift, shift + channels)))
            total = part if total is None else e.add(total, part)
        return total
    cells: Array = pad(contiguous(x), ((0, 0),) * (x.ndim - 1) + ((before, after),))
    sums: Array = cells[..., :channels]
    for shift in range(1, before + after + 1):
        y = new_array(x.shape, x)
        _core.add(sums, cells[..., shift : shift + channels], y)
        sums = y
    return sums


def local_response_norm(x: X, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> X:
    """x [...,C] over (k + alpha * mean of the squares in a window)**beta; the window is `size` channels wide.

    It reaches from c - size // 2 to c + (size - 1) // 2; channels beyond the ends count as 0 in the mean (of `size`
    values). AlexNet's own normalisation has the sum in place of the mean: alpha is then `size` times theirs.
    Raises ValueError for fewer than two axes, a size below 1, negative alpha and beta, and a k that is not above 0.
    """
    name = "local_response_norm"
    size = whole(name, "size", size, 1)
    alpha, beta, k = (_level(name, n, v) for n, v in (("alpha", alpha), ("beta", beta), ("k", k)))
    if k == 0.0:
        raise ValueError(f"{name}: k must be above 0, got 0")
    a: Array = operand(name, x)
    if a.ndim < 2:
        raise ValueError(f"{name}: expected x [N,...,C], got shape {a.shape}")
    before, after = size // 2, (size - 1) // 2
    base = e.add(e.mul(_windows(e.square(a), before, after), alpha / size), k)
    y = e.mul(a, e.pow(base, -beta))
    return record(name, y, _local_response_norm_grad, (x,), (kept(x, a), base, before, after, alpha / size, beta, k))


def _local_response_norm_grad(
    g: Any, needs: Any, x: Any, base: Any, before: int, after: int, scale: float, beta: float, k: float
) -> tuple[Any, ...]:
    """dx_c = g_c b_c**-beta - 2 beta scale x_c sum_j g_j x_j b_j**(-beta-1), j over the windows that c lies in."""
    if isinstance(g, Tensor):
        base = e.add(e.mul(_windows(e.square(x), before, after), scale), k)
    damped = e.mul(g, e.pow(base, -beta))
    inner = _windows(e.div(e.mul(damped, x), base), after, before)
    return (e.sub(damped, e.mul(e.mul(x, inner), 2.0 * beta * scale)),)
