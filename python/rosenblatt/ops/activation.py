"""Activations beyond ReLU, tanh and sigmoid (`elementwise`) and softmax (`loss`); notes B:2.4, C:2.

All take tensors or arrays of any shape, keep the shape unless said otherwise, and do not overflow at +-1000. Those with
a gradient have a second one, too. Raises ValueError for parameters out of range.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _core
from ._common import CODE, Array, Tensor, X, axis_index, broadcast_shape, new_array, operand, pair, record
from .elementwise import (
    add,
    clip,
    erf,
    exp,
    greater,
    greater_equal,
    less,
    log,
    minimum,
    mul,
    neg,
    pow,
    sigmoid,
    square,
    sub,
    tanh,
    where,
)
from .loss import softmax
from .reduce import max as max_
from .reduce import sum as sum_
from .reduce import sum_to
from .shape import reshape

__all__ = [
    "algebraic_sigmoid", "bipolar_sigmoid", "bipolar_step", "dead_zone", "elu", "gelu", "hard_tanh", "leaky_relu",
    "log_sum_exp", "logistic", "maxout", "prelu", "ramp", "shifted_relu", "silu", "softplus", "step",
]

_LEAKY, _ELU, _SOFTPLUS, _GELU, _GELU_TANH, _SILU, _ALGEBRAIC = range(7)  # Fn of the kernels
_GATE, _CUBE = 2.0 * math.sqrt(2.0 / math.pi), 0.044715


def _number(name: str, option: str, value: Any, above: float = -math.inf) -> float:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > above
    if not ok:
        limit = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(f"{name}: {option} must be a finite number{limit}, got {value!r}")
    return float(value)


def _real(name: str, x: Any) -> Any:
    """x, a tensor or an array. Raises what other ops raise, but in the name of this one."""
    return x if isinstance(x, Tensor) else operand(name, x)


def _activate(name: str, fn: int, x: Any, p: float = 1.0) -> Any:
    a: Array = operand(name, x)
    y = new_array(a.shape, CODE[a.dtype])
    _core.activate(a, y, fn, p)
    return record(name, y, _activate_grad, (x,), (x, fn, p))


def _activate_grad(g: Any, needs: Any, x: Any, fn: int, p: float) -> tuple[Any, ...]:
    if isinstance(g, Tensor):  # taped: the composed form
        return (mul(g, _slope(fn, p, x)),)
    dx = new_array(x.shape, CODE[x.dtype])
    _core.activate_dx(x, g, dx, fn, p)
    return (dx,)


def _slope(fn: int, p: float, x: Any) -> Any:
    """f'(x), differentiable."""
    if fn == _LEAKY:
        return add(mul(greater(x, 0.0), 1.0 - p), p)
    if fn == _ELU:
        return where(greater(x, 0.0), 1.0, mul(exp(minimum(x, 0.0)), p))
    if fn == _SOFTPLUS:
        return sigmoid(mul(x, p))
    if fn == _GELU:
        bell = mul(mul(exp(mul(square(x), -0.5)), x), 1.0 / math.sqrt(2.0 * math.pi))
        return add(mul(add(erf(mul(x, math.sqrt(0.5))), 1.0), 0.5), bell)
    if fn == _GELU_TANH:
        s = sigmoid(mul(x, add(mul(square(x), _GATE * _CUBE), _GATE)))
        inner = mul(x, add(mul(square(x), 3.0 * _GATE * _CUBE), _GATE))
        return mul(s, add(mul(inner, sub(1.0, s)), 1.0))
    if fn == _SILU:
        s = sigmoid(x)
        return mul(s, add(mul(x, sub(1.0, s)), 1.0))
    return pow(add(square(x), 1.0), -1.5)


# --- steps: no gradient


def step(x: X, strict: bool = False) -> X:
    """1 where x >= 0 (strict: x > 0), else 0; NaN gives 0. The threshold unit (notes B:2.4, A:M4). No gradient."""
    x = _real("step", x)
    return greater(x, 0.0) if strict else greater_equal(x, 0.0)


def bipolar_step(x: X, strict: bool = False) -> X:
    """1 where x >= 0 (strict: x > 0), else -1 (notes B:2.4). No gradient."""
    return sub(mul(step(_real("bipolar_step", x), strict), 2.0), 1.0)


def dead_zone(x: X, threshold: float) -> X:
    """1 above the threshold, -1 below its negative, 0 between: three levels (notes B:2.4). No gradient."""
    t = _number("dead_zone", "threshold", threshold)
    if t < 0.0:
        raise ValueError(f"dead_zone: threshold must not be negative, got {threshold!r}")
    x = _real("dead_zone", x)
    return sub(greater(x, t), less(x, -t))


# --- sigmoids


def logistic(x: X, steepness: float = 1.0) -> X:
    """1 / (1 + e**(-steepness x)), the binary sigmoid (notes B:2.4)."""
    return sigmoid(mul(_real("logistic", x), _number("logistic", "steepness", steepness)))


def bipolar_sigmoid(x: X, steepness: float = 1.0) -> X:
    """2 / (1 + e**(-steepness x)) - 1 = tanh(steepness x / 2) (notes B:2.4)."""
    return tanh(mul(_real("bipolar_sigmoid", x), 0.5 * _number("bipolar_sigmoid", "steepness", steepness)))


def algebraic_sigmoid(x: X) -> X:
    """x / sqrt(1 + x**2) (notes B:2.4)."""
    return _activate("algebraic_sigmoid", _ALGEBRAIC, x)


def hard_tanh(x: X) -> X:
    """x kept within [-1, 1]; the gradient at the corners is 0."""
    return clip(_real("hard_tanh", x), -1.0, 1.0)


def ramp(x: X) -> X:
    """x kept within [0, 1]; the gradient at the corners is 0."""
    return clip(_real("ramp", x), 0.0, 1.0)


# --- rectifiers and their smooth relatives


def leaky_relu(x: X, slope: float = 0.01) -> X:
    """x above 0, slope * x elsewhere (Maas, Hannun, Ng 2013)."""
    return _activate("leaky_relu", _LEAKY, x, _number("leaky_relu", "slope", slope))


def prelu(x: X, slope: Any) -> X:
    """Leaky ReLU with a learned slope that broadcasts to x (He, Zhang, Ren, Sun 2015)."""
    a, s = pair("prelu", x, slope)
    broadcast_shape("prelu", a.shape, s.shape)
    y = where(greater(a, 0.0), a, mul(s, a))
    return record("prelu", y, _prelu_grad, (x, slope), (x, slope))


def _prelu_grad(g: Any, needs: Any, x: Any, slope: Any) -> tuple[Any, ...]:
    gx = mul(g, where(greater(x, 0.0), 1.0, slope)) if needs[0] else None
    return gx, (sum_to(mul(g, minimum(x, 0.0)), tuple(slope.shape)) if needs[1] else None)


def shifted_relu(x: X, shift: float) -> X:
    """max(-shift, x) (notes B:2.4); the gradient at the corner is 0."""
    return clip(_real("shifted_relu", x), -_number("shifted_relu", "shift", shift), math.inf)


def elu(x: X, scale: float = 1.0) -> X:
    """x above 0, scale * (e**x - 1) elsewhere (Clevert, Unterthiner, Hochreiter 2016)."""
    return _activate("elu", _ELU, x, _number("elu", "scale", scale))


def gelu(x: X, approximate: bool = False) -> X:
    """x Phi(x), Phi the normal distribution; approximate: its form with tanh (Hendrycks, Gimpel 2016)."""
    return _activate("gelu", _GELU_TANH if approximate else _GELU, x)


def silu(x: X) -> X:
    """x sigmoid(x) (Elfwing, Uchibe, Doya 2018)."""
    return _activate("silu", _SILU, x)


def softplus(x: X, sharpness: float = 1.0) -> X:
    """log(1 + e**(sharpness x)) / sharpness (notes B:2.4)."""
    k = _number("softplus", "sharpness", sharpness, above=0.0)
    return _activate("softplus", _SOFTPLUS, x, k)


# --- over an axis


def log_sum_exp(x: X, axis: int = -1, keepdims: bool = False, zero: bool = False) -> X:
    """log sum e**x along the axis; zero: log(1 + sum e**x), as if a 0 stood among the numbers (notes B:2.4).

    x [..., C, ...] -> without the axis, or with length 1 for keepdims. The gradient is softmax(x), or
    e**(x - log_sum_exp) with zero. Raises ValueError when the axis is out of range or, without zero, empty.
    """
    a: Array = operand("log_sum_exp", x)
    i: int = axis_index("log_sum_exp", axis, a.ndim)
    if a.shape[i] == 0 and not zero:
        raise ValueError(f"log_sum_exp: no element along axis {i} of shape {a.shape}")
    top = max_(a, i, keepdims=True) if a.shape[i] else sum_(a, i, keepdims=True)
    most = float(np.finfo(a.dtype).max)
    top = clip(top, 0.0 if zero else -most, most)  # finite, so that infinities subtract to infinities
    total = sum_(exp(sub(a, top)), i, keepdims=True)
    y = add(log(add(total, exp(neg(top))) if zero else total), top)
    left = a.shape[:i] + a.shape[i + 1 :]
    out = y if keepdims else reshape(y, left)
    return record("log_sum_exp", out, _log_sum_exp_grad, (x,), (x, i, zero, y.shape))


def _log_sum_exp_grad(g: Any, needs: Any, x: Any, axis: int, zero: bool, kept: tuple[int, ...]) -> tuple[Any, ...]:
    share = exp(sub(x, log_sum_exp(x, axis, keepdims=True, zero=True))) if zero else softmax(x, axis)
    return (mul(reshape(g, kept), share),)


def maxout(x: X, pieces: int, axis: int = -1) -> X:
    """The largest of each run of `pieces` neighbours along the axis (Goodfellow et al. 2013).

    x [..., C, ...] -> [..., C / pieces, ...]. Equal maxima share the gradient. Raises ValueError unless
    pieces is positive and divides C.
    """
    a: Array = operand("maxout", x)
    i: int = axis_index("maxout", axis, a.ndim)
    n = a.shape[i]
    if isinstance(pieces, bool) or not isinstance(pieces, int) or pieces < 1 or n % pieces:
        raise ValueError(f"maxout: pieces must be a positive divisor of {n}, the length of axis {i}, got {pieces!r}")
    parts = reshape(x, (*a.shape[:i], n // pieces, pieces, *a.shape[i + 1 :]))
    return max_(parts, i + 1)
