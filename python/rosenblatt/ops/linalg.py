"""Matrix products: `gemm` for scripts, `matmul` as in NumPy, and `linear`, the fused dense layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _core
from ._common import (
    OUT,
    Array,
    Tensor,
    X,
    activation_code,
    contiguous,
    empty,
    operands,
    record,
)
from .elementwise import activation_grad
from .reduce import sum as sum_
from .reduce import sum_to
from .shape import broadcast_to, reshape, transpose

__all__ = ["gemm", "linear", "matmul"]


def gemm(
    a: Any,
    b: Any,
    bias: Any = None,
    *,
    alpha: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
    activation: str | None = None,
    out: Array | None = None,
    beta: float = 0.0,
) -> Array:
    """activation(alpha * a @ b + bias + beta * out) on plain arrays, no tape.

    Parameters
    ----------
    a : [M,K] ([K,M] with trans_a), b : [K,N] ([N,K] with trans_b), bias : [N], optional; any strides
    activation : None, "relu", "tanh" or "sigmoid"
    out : [M,N] C-ordered array of the result's dtype to write into, optional (needed when beta is not 0)

    Returns the [M,N] result. Raises ValueError for shapes that do not fit, TypeError for dtypes.
    """
    xa, xb, xbias = operands("gemm", a, b, bias)
    xa = xa.T if trans_a else xa
    xb = xb.T if trans_b else xb
    if xa.ndim != 2 or xb.ndim != 2 or xa.shape[1] != xb.shape[0]:
        raise ValueError(f"gemm: expected [M,K] and [K,N], got {xa.shape} and {xb.shape}")
    shape = (xa.shape[0], xb.shape[1])
    if xbias is not None and xbias.shape != shape[1:]:
        raise ValueError(f"gemm: expected a bias of shape {shape[1:]}, got {xbias.shape}")
    code = activation_code("gemm", activation)
    if out is None:
        if beta != 0.0:
            raise ValueError("gemm: beta needs out")
        out = empty(shape, xa.dtype)
    elif not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != xa.dtype:
        got = f"{out.shape} of {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"gemm: expected out of shape {shape} of {xa.dtype}, got {got}")
    _core.gemm(xa, xb, xbias, out, alpha, beta, code)
    return out


def matmul(a: X | Any, b: X | Any) -> X:
    """a @ b with NumPy's rules: 1-D operands are vectors, leading axes broadcast.

    Raises ValueError, with both shapes, when the inner sizes differ or the leading axes do not broadcast.
    """
    x, z = operands("matmul", a, b)
    if not x.ndim or not z.ndim:
        raise ValueError(f"matmul: expected at least one axis each, got shapes {x.shape} and {z.shape}")
    inner_b = z.shape[0] if z.ndim == 1 else z.shape[-2]
    if x.shape[-1] != inner_b:
        raise ValueError(f"matmul: inner sizes differ: {x.shape} @ {z.shape}")
    if x.ndim == 1 and z.ndim == 1:
        return reshape(matmul(reshape(a, (1, -1)), reshape(b, (-1, 1))), ())
    if x.ndim == 1:
        y: Any = matmul(reshape(a, (1, -1)), b)
        return reshape(y, (*y.shape[:-2], y.shape[-1]))
    if z.ndim == 1:
        y = matmul(a, reshape(b, (-1, 1)))
        return reshape(y, y.shape[:-1])
    m, k, n = x.shape[-2], x.shape[-1], z.shape[-1]
    if z.ndim == 2:  # one product over all rows of a
        y2 = empty((math.prod(x.shape[:-1]), n), x.dtype)
        rows = x if x.ndim == 2 else contiguous(x).reshape(-1 if k else y2.shape[0], k)
        _core.gemm(rows, z, None, y2, 1.0, 0.0, 0)
        y = y2.reshape(*x.shape[:-1], n)
    else:
        try:
            lead: tuple[int, ...] = np.broadcast_shapes(x.shape[:-2], z.shape[:-2])
        except ValueError:
            raise ValueError(f"matmul: leading axes do not broadcast: {x.shape} @ {z.shape}") from None
        batch = math.prod(lead)
        x3 = contiguous(broadcast_to(x, (*lead, m, k)) if x.shape[:-2] != lead else x).reshape(batch, m, k)
        z3 = contiguous(broadcast_to(z, (*lead, k, n)) if z.shape[:-2] != lead else z).reshape(batch, k, n)
        y3 = empty((batch, m, n), x.dtype)
        _core.gemm(x3, z3, None, y3, 1.0, 0.0, 0)
        y = y3.reshape(*lead, m, n)
    keep_a = a if isinstance(a, Tensor) and a.dtype == x.dtype else x
    keep_b = b if isinstance(b, Tensor) and b.dtype == z.dtype else z
    return record("matmul", y, _matmul_grad, (a, b), (keep_a, keep_b))


def _swap(x: Any) -> Any:
    order = list(range(len(x.shape)))
    order[-1], order[-2] = order[-2], order[-1]
    return transpose(x, order)


def _matmul_grad(g: Any, needs: Any, a: Any, b: Any) -> tuple[Any, ...]:
    ga = gb = None
    if needs[0]:
        ga = sum_to(matmul(g, _swap(b)), a.shape)
    if needs[1]:
        if len(b.shape) == 2 and len(a.shape) > 2:
            rows = math.prod(a.shape[:-1])
            gb = matmul(transpose(reshape(a, (rows, a.shape[-1]))), reshape(g, (rows, g.shape[-1])))
        else:
            gb = sum_to(matmul(_swap(a), g), b.shape)
    return ga, gb


def linear(x: X, weight: Any, bias: Any = None, *, activation: str | None = None) -> X:
    """The dense layer activation(x @ weight.T + bias) as one fused kernel.

    Parameters
    ----------
    x : [..., C] ; weight : [K, C] ; bias : [K], optional
    activation : None, "relu", "tanh" or "sigmoid"

    Returns [..., K]. Raises ValueError naming the argument whose shape does not fit.
    """
    code = activation_code("linear", activation)
    xa, wa, ba = operands("linear", x, weight, bias)
    if wa.ndim != 2:
        raise ValueError(f"linear: expected weight [K,C], got shape {wa.shape}")
    k, c = wa.shape
    if not xa.ndim or xa.shape[-1] != c:
        raise ValueError(f"linear: expected x of shape [..., {c}] for weight {wa.shape}, got {xa.shape}")
    if ba is not None and ba.shape != (k,):
        raise ValueError(f"linear: expected bias of shape ({k},), got {ba.shape}")
    if xa.ndim == 2:
        y = empty((xa.shape[0], k), xa.dtype)
        _core.gemm(xa, wa.T, ba, y, 1.0, 0.0, code)
    else:
        rows = math.prod(xa.shape[:-1])
        y = empty((rows, k), xa.dtype)
        _core.gemm(contiguous(xa).reshape(rows, c), wa.T, ba, y, 1.0, 0.0, code)
        y = y.reshape(*xa.shape[:-1], k)
    keep_x = x if isinstance(x, Tensor) and x.dtype == xa.dtype else xa
    keep_w = weight if isinstance(weight, Tensor) and weight.dtype == wa.dtype else wa
    return record(
        "linear", y, _linear_grad, (x, weight, bias), (keep_x, keep_w, OUT if code else None, code)
    )


def _linear_grad(g: Any, needs: Any, x: Any, w: Any, y: Any, code: int) -> tuple[Any, ...]:
    g = activation_grad(code, y, g)
    if len(x.shape) != 2:
        rows = math.prod(x.shape[:-1])
        g2, x2 = reshape(g, (rows, g.shape[-1])), reshape(x, (rows, x.shape[-1]))
    else:
        g2, x2 = g, x
    gx = matmul(g, w) if needs[0] else None
    gw = matmul(transpose(g2), x2) if needs[1] else None
    gb = sum_(g2, 0) if needs[2] else None
    return gx, gw, gb
