"""Elementwise arithmetic with NumPy broadcasting, and activations.

Every function takes tensors (taped) or plain arrays and numbers (no tape) and returns the same kind. Shapes broadcast
as in NumPy; a shape that does not fit raises ValueError with both shapes.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from .. import _core
from ..autograd import use_ops
from ..tensor import wrap
from . import shape as _shape
from ._common import (
    CODE,
    OUT,
    Array,
    Kernel,
    Tensor,
    X,
    broadcast_shape,
    contiguous,
    kept,
    new_array,
    operand,
    pair,
    record,
)
from ._common import cast as _cast_array
from .reduce import sum_leading, sum_to

__all__ = [
    "abs", "add", "astype", "ceil", "clip", "div", "equal", "erf", "exp", "expm1", "floor", "greater",
    "greater_equal", "less", "less_equal", "log", "log1p", "maximum", "minimum", "mul", "neg", "not_equal", "pow",
    "relu", "round", "sigmoid", "sign", "sqrt", "square", "sub", "tanh", "where",
]


def _binary(name: str, kernel: Kernel, rule: Any, a: Any, b: Any) -> Any:
    """kernel(a, b) broadcast; its rule gets the shapes, or the inputs, or these and the result (see the file's end)."""
    x, z = pair(name, a, b)
    shape = x.shape
    if z.shape != shape and z.shape != ():
        shape = broadcast_shape(name, shape, z.shape)
    y = new_array(shape, CODE[x.dtype])
    kernel(x, z, y)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return y
    if rule is None:
        return wrap(y)
    saved: tuple[Any, ...]
    if rule in _BY_SHAPE:
        saved = (x.shape, z.shape)
    elif rule in _BY_RESULT:
        saved = (kept(a, x), kept(b, z), OUT)
    else:
        saved = (kept(a, x), kept(b, z))
    return record(name, y, rule, (a, b), saved)


def _unary(name: str, kernel: Kernel, x: Any) -> Array:
    a = operand(name, x)
    y = new_array(a.shape, CODE[a.dtype])
    kernel(a, y)
    return y


# --- arithmetic. In the rules, sa/sb are the input shapes that a gradient is summed back to.


def add(a: X | Any, b: X | Any) -> X:
    """a + b."""
    return _binary("add", _core.add, _add_grad, a, b)


def _add_grad(g: Any, needs: Any, sa: Any, sb: Any) -> tuple[Any, ...]:
    return (sum_to(g, sa) if needs[0] else None, sum_to(g, sb) if needs[1] else None)


def sub(a: X | Any, b: X | Any) -> X:
    """a - b."""
    return _binary("sub", _core.sub, _sub_grad, a, b)


def _sub_grad(g: Any, needs: Any, sa: Any, sb: Any) -> tuple[Any, ...]:
    return (sum_to(g, sa) if needs[0] else None, neg(sum_to(g, sb)) if needs[1] else None)


def mul(a: X | Any, b: X | Any) -> X:
    """a * b."""
    return _binary("mul", _core.mul, _mul_grad, a, b)


def _mul_grad(g: Any, needs: Any, a: Any, b: Any) -> tuple[Any, ...]:
    return (sum_to(mul(g, b), a.shape) if needs[0] else None, sum_to(mul(g, a), b.shape) if needs[1] else None)


def div(a: X | Any, b: X | Any) -> X:
    """a / b."""
    return _binary("div", _core.div, _div_grad, a, b)


def _div_grad(g: Any, needs: Any, a: Any, b: Any, y: Any) -> tuple[Any, ...]:
    ga = div(g, b)
    return (sum_to(ga, a.shape) if needs[0] else None, sum_to(neg(mul(ga, y)), b.shape) if needs[1] else None)


def pow(a: X | Any, b: X | Any) -> X:
    """a ** b; NaN for a negative base with a fractional exponent, as in NumPy."""
    return _binary("pow", _core.pow, _pow_grad, a, b)


def _pow_grad(g: Any, needs: Any, a: Any, b: Any, y: Any) -> tuple[Any, ...]:
    ga = None
    if needs[0]:  # b a**(b-1), with exponent 0 for b = 0: the product is 0 also at a = 0, where a**-1 is infinite
        ga = sum_to(mul(g, mul(b, pow(a, add(sub(b, 1.0), equal(b, 0.0))))), a.shape)
    # d/db a**b = a**b log a, and 0 where a is 0 (the limit for b > 0).
    gb = sum_to(mul(g, mul(y, log(add(a, equal(a, 0.0))))), b.shape) if needs[1] else None
    return ga, gb


def maximum(a: X | Any, b: X | Any) -> X:
    """The larger of a and b; NaN if either is NaN. At ties the gradient is shared equally."""
    return _binary("maximum", _core.maximum, _maximum_grad, a, b)


def _pick_grad(g: Any, needs: Any, a: Any, b: Any, kernel: Any) -> tuple[Any, ...]:
    half = mul(equal(a, b), 0.5)
    return (
        sum_to(mul(g, add(kernel(a, b), half)), a.shape) if needs[0] else None,
        sum_to(mul(g, add(kernel(b, a), half)), b.shape) if needs[1] else None,
    )


def _maximum_grad(g: Any, needs: Any, a: Any, b: Any) -> tuple[Any, ...]:
    return _pick_grad(g, needs, a, b, greater)


def minimum(a: X | Any, b: X | Any) -> X:
    """The smaller of a and b; NaN if either is NaN. At ties the gradient is shared equally."""
    return _binary("minimum", _core.minimum, _minimum_grad, a, b)


def _minimum_grad(g: Any, needs: Any, a: Any, b: Any) -> tuple[Any, ...]:
    return _pick_grad(g, needs, a, b, less)


# --- comparisons: 1.0 where true, 0.0 elsewhere; no gradient


def greater(a: X | Any, b: X | Any) -> X:
    """1.0 where a > b, else 0.0."""
    return _binary("greater", _core.greater, None, a, b)


def greater_equal(a: X | Any, b: X | Any) -> X:
    """1.0 where a >= b, else 0.0."""
    return _binary("greater_equal", _core.greater_equal, None, a, b)


def less(a: X | Any, b: X | Any) -> X:
    """1.0 where a < b, else 0.0."""
    return _binary("less", _core.greater, None, b, a)


def less_equal(a: X | Any, b: X | Any) -> X:
    """1.0 where a <= b, else 0.0."""
    return _binary("less_equal", _core.greater_equal, None, b, a)


def equal(a: X | Any, b: X | Any) -> X:
    """1.0 where a == b, else 0.0."""
    return _binary("equal", _core.equal, None, a, b)


def not_equal(a: X | Any, b: X | Any) -> X:
    """1.0 where a != b or either is NaN, else 0.0."""
    return _binary("not_equal", _core.not_equal, None, a, b)


def where(condition: Any, a: X | Any, b: X | Any) -> X:
    """a where the condition is not 0 (or True), b elsewhere; the three broadcast. No gradient to the condition."""
    x, z = pair("where", a, b)
    c = _cast_array(operand("where", condition), x.dtype)
    shape = broadcast_shape("where", broadcast_shape("where", x.shape, z.shape), c.shape)
    y = new_array(shape, CODE[x.dtype])
    _core.where(c, x, z, y)
    if not any(isinstance(t, Tensor) for t in (condition, a, b)):
        return y
    return record("where", y, _where_grad, (a, b), (c, x.shape, z.shape))


def _where_grad(g: Any, needs: Any, c: Array, sa: Any, sb: Any) -> tuple[Any, ...]:
    return (
        sum_to(where(c, g, 0.0), sa) if needs[0] else None,
        sum_to(where(c, 0.0, g), sb) if needs[1] else None,
    )


# --- functions of one argument


def neg(x: X) -> X:
    """-x."""
    return record("neg", _unary("neg", _core.neg, x), _neg_grad, (x,), ())


def _neg_grad(g: Any, needs: Any) -> tuple[Any, ...]:
    return (neg(g),)


def abs(x: X) -> X:
    """|x|; the gradient at 0 is 0."""
    return record("abs", _unary("abs", _core.abs, x), _abs_grad, (x,), (x,))


def _abs_grad(g: Any, needs: Any, x: Any) -> tuple[Any, ...]:
    return (mul(g, sign(x)),)


def sign(x: X) -> X:
    """-1, 0 or 1; NaN stays NaN. No gradient."""
    y = _unary("sign", _core.sign, x)
    return wrap(y) if isinstance(x, Tensor) else y


def square(x: X) -> X:
    """x * x."""
    return record("square", _unary("square", _core.square, x), _square_grad, (x,), (x,))


def _square_grad(g: Any, needs: Any, x: Any) -> tuple[Any, ...]:
    return (mul(g, mul(x, 2.0)),)


def sqrt(x: X) -> X:
    """The square root; NaN below 0."""
    return record("sqrt", _unary("sqrt", _core.sqrt, x), _sqrt_grad, (x,), (OUT,))


def _sqrt_grad(g: Any, needs: Any, y: Any) -> tuple[Any, ...]:
    return (div(g, mul(y, 2.0)),)


def exp(x: X) -> X:
    """e**x."""
    return record("exp", _unary("exp", _core.exp, x), _exp_grad, (x,), (OUT,))


def _exp_grad(g: Any, needs: Any, y: Any) -> tuple[Any, ...]:
    return (mul(g, y),)


def log(x: X) -> X:
    """The natural logarithm; -inf at 0, NaN below."""
    return record("log", _unary("log", _core.log, x), _log_grad, (x,), (x,))


def _log_grad(g: Any, needs: Any, x: Any) -> tuple[Any, ...]:
    return (div(g, x),)


def log1p(x: X) -> X:
    """log(1 + x), exact for small x; -inf at -1, NaN below."""
    return record("log1p", _unary("log1p", _core.log1p, x), _log1p_grad, (x,), (x,))


def _log1p_grad(g: Any, needs: Any, x: Any) -> tuple[Any, ...]:
    return (div(g, add(x, 1.0)),)


def expm1(x: X) -> X:
    """e**x - 1, exact for small x."""
    return record("expm1", _unary("expm1", _core.expm1, x), _expm1_grad, (x,), (OUT,))


def _expm1_grad(g: Any, needs: Any, y: Any) -> tuple[Any, ...]:
    return (mul(g, add(y, 1.0)),)


def erf(x: X) -> X:
    """The error function 2/sqrt(pi) times the integral of e**-t**2 from 0 to x."""
    return record("erf", _unary("erf", _core.erf, x), _erf_grad, (x,), (x,))


def _erf_grad(g: Any, needs: Any, x: Any) -> tuple[Any, ...]:
    return (mul(g, mul(exp(neg(square(x))), 1.1283791670955126)),)  # 2 / sqrt(pi)


def _plain(name: str, kernel: Kernel, x: Any) -> Any:
    """A step function: its gradient is 0 wherever it has one, so nothing is recorded."""
    y = _unary(name, kernel, x)
    return wrap(y) if isinstance(x, Tensor) else y


def floor(x: X) -> X:
    """The largest whole number not above x. No gradient."""
    return cast(X, _plain("floor", _core.floor, x))


def ceil(x: X) -> X:
    """The smallest whole number not below x. No gradient."""
    return cast(X, _plain("ceil", _core.ceil, x))


def round(x: X) -> X:
    """The nearest whole number, halves to the even one. No gradient."""
    return cast(X, _plain("round", _core.round, x))


def clip(x: X, low: Any = None, high: Any = None) -> X:
    """x kept within [low, high]; NaN stays NaN. The gradient passes where low < x < high, not at the bounds.

    low, high : numbers, None for no bound, or arrays and tensors that broadcast with x (`minimum` of `maximum`, with
        their gradients). Raises ValueError when a number low is above a number high, TypeError for other bounds.
    """
    if not all(b is None or isinstance(b, (int, float, np.number)) for b in (low, high)):
        for b in (low, high):
            if b is not None:
                operand("clip", b)
        above: Any = x if low is None else maximum(x, low)
        return cast(X, above if high is None else minimum(above, high))
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    a = operand("clip", x)
    y = new_array(a.shape, CODE[a.dtype])
    _core.clip(a, y, float(low), float(high))
    return record("clip", y, _clip_grad, (x,), (x, float(low), float(high)))


def _clip_grad(g: Any, needs: Any, x: Any, low: float, high: float) -> tuple[Any, ...]:
    if isinstance(g, Tensor):
        return (mul(g, mul(greater(x, low), less(x, high))),)
    dx = new_array(x.shape, CODE[x.dtype])
    _core.clip_dx(x, g, dx, low, high)
    return (dx,)


def relu(x: X) -> X:
    """max(x, 0); the gradient at 0 is 0 (coverage O10)."""
    return record("relu", _unary("relu", _core.relu, x), _relu_grad, (x,), (OUT,))


def _relu_grad(g: Any, needs: Any, y: Any) -> tuple[Any, ...]:
    return (activation_grad(1, y, g),)


def tanh(x: X) -> X:
    """The hyperbolic tangent."""
    return record("tanh", _unary("tanh", _core.tanh, x), _tanh_grad, (x,), (OUT,))


def _tanh_grad(g: Any, needs: Any, y: Any) -> tuple[Any, ...]:
    return (activation_grad(2, y, g),)


def sigmoid(x: X) -> X:
    """1 / (1 + e**-x), without overflow."""
    return record("sigmoid", _unary("sigmoid", _core.sigmoid, x), _sigmoid_grad, (x,), (OUT,))


def _sigmoid_grad(g: Any, needs: Any, y: Any) -> tuple[Any, ...]:
    return (activation_grad(3, y, g),)


_ACT_DX: tuple[Any, ...] = (None, _core.relu_dx, _core.tanh_dx, _core.sigmoid_dx)


def activation_grad(code: int, y: Any, g: Any) -> Any:
    """g * f'(x) of a fused activation, in terms of its output y; differentiable."""
    if code == 0:
        return g
    a, b = pair("activation", y, g)
    out = new_array(a.shape, CODE[a.dtype])
    _ACT_DX[code](a, b, out)
    return record("activation_grad", out, _activation_grad_grad, (y, g), (code, y, g))


def bias_activation_grad(code: int, y: Any, g: Any, wants_bias: bool) -> tuple[Any, Any]:
    """(`activation_grad`, its sum over all axes but the last or None): in one pass where the pass is not taped and rows
    are wide enough to fill registers."""
    if not wants_bias or not code or isinstance(g, Tensor) or not g.size or g.shape[-1] < 32:
        inner = activation_grad(code, y, g)
        return inner, sum_leading(inner) if wants_bias else None
    a, b = pair("activation", y, g)
    k = a.shape[-1]
    out, bias = new_array(a.shape, a), new_array((k,), a)
    _core.bias_act_dx(a.reshape(-1, k), contiguous(b).reshape(-1, k), out.reshape(-1, k), bias, code)
    return out, bias


def _activation_grad_grad(h: Any, needs: Any, code: int, y: Any, g: Any) -> tuple[Any, ...]:
    gy = None
    if needs[0] and code == 2:  # d/dy g (1 - y^2)
        gy = mul(h, mul(g, mul(y, -2.0)))
    elif needs[0] and code == 3:  # d/dy g y (1 - y)
        gy = mul(h, mul(g, sub(1.0, mul(y, 2.0))))
    return gy, (activation_grad(code, y, h) if needs[1] else None)


def astype(x: X, dtype: Any) -> X:
    """x in float32 or float64; the gradient comes back in x's dtype. Raises TypeError for another dtype."""
    a = operand("astype", x)
    target = np.dtype(dtype)
    if target not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"astype: expected float32 or float64, got {target}")
    return record("astype", _cast_array(a, target), _astype_grad, (x,), (a.dtype,))


def _astype_grad(g: Any, needs: Any, dtype: Any) -> tuple[Any, ...]:
    return (astype(g, dtype),)


def _promoted(x: Tensor, a: Array) -> Any:
    """`a`, which is `x` in another dtype, as a tensor that hangs on `x`."""
    return record("astype", a, _astype_grad, (x,), (x.dtype,))


_core.tape_use({"promoted": _promoted})

# What `_binary` saves for a rule other than the two inputs.
_BY_SHAPE = frozenset({_add_grad, _sub_grad})
_BY_RESULT = frozenset({_div_grad, _pow_grad})

use_ops(add, astype, _shape.copy)
