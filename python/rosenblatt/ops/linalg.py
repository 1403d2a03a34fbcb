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
    kept,
    new_array,
    operands,
    pair,
    record,
)
from .elementwise import bias_activation_grad
from .reduce import sum_to
from .shape import reshape, transpose

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
    if out is None and bias is None and activation is None and alpha == 1.0 and not (trans_a or trans_b or beta):
        y: Array | None = _core.product(a, b)
        if y is not None:
            return y
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
    if type(a) is np.ndarray:
        short = _core.product(a, b)
        if short is not None:
            return short
    x, z = pair("matmul", a, b)
    xs, zs = x.shape, z.shape
    if len(xs) == 2 and len(zs) == 2 and xs[1] == zs[0]:
        y = new_array((xs[0], zs[1]), x)
        _core.gemm(x, z, None, y, 1.0, 0.0, 0)
    else:
        if not xs or not zs:
            raise ValueError(f"matmul: expected at least one axis each, got shapes {xs} and {zs}")
        if xs[-1] != (zs[0] if len(zs) == 1 else zs[-2]):
            raise ValueError(f"matmul: inner sizes differ: {xs} @ {zs}")
        if len(xs) == 1 or len(zs) == 1:
            return _with_vector(a, b, len(xs), len(zs))
        y = _product(x, z)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return y
    return record("matmul", y, _matmul_grad, (a, b), (kept(a, x), kept(b, z)))


def _with_vector(a: Any, b: Any, axes_a: int, axes_b: int) -> Any:
    """a @ b where one is 1-D: as a matrix of one row or column."""
    if axes_a == 1 and axes_b == 1:
        return reshape(matmul(reshape(a, (1, -1)), reshape(b, (-1, 1))), ())
    if axes_a == 1:
        y = matmul(reshape(a, (1, -1)), b)
        return reshape(y, (*y.shape[:-2], y.shape[-1]))
    y = matmul(a, reshape(b, (-1, 1)))
    return reshape(y, y.shape[:-1])


def _product(x: Array, z: Array) -> Array:
    """[...,M,K] @ [...,K,N] with leading axes that broadcast, as one batched call."""
    m, k, n = x.shape[-2], x.shape[-1], z.shape[-1]
    if z.ndim == 2:  # one product over all rows of x
        y = empty((math.prod(x.shape[:-1]), n), x.dtype)
        _core.gemm(contiguous(x).reshape(y.shape[0], k), z, None, y, 1.0, 0.0, 0)
        return y.reshape(*x.shape[:-1], n)
    try:
        lead: tuple[int, ...] = np.broadcast_shapes(x.shape[:-2], z.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul: leading axes do not broadcast: {x.shape} @ {z.shape}") from None
    if len(lead) > 6:  # more axes than a view of the kernel has
        x = contiguous(np.broadcast_to(x, (*lead, m, k))).reshape(math.prod(lead), m, k)
        z = contiguous(np.broadcast_to(z, (*lead, k, n))).reshape(math.prod(lead), k, n)
        return _product(x, z).reshape(*lead, m, n)
    y = empty((*lead, m, n), x.dtype)  # a matrix that several products share is not copied: its stride is 0
    if x.shape[:-2] != lead:
        x = np.broadcast_to(x, (*lead, m, k))
    if z.shape[:-2] != lead:
        z = np.broadcast_to(z, (*lead, k, n))
    _core.gemm(x, z, None, y, 1.0, 0.0, 0)
    return y


def _swap(x: Any) -> Any:
    if len(x.shape) == 2:
        return x.T
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
    shape = xa.shape
    if not shape or shape[-1] != c:
        raise ValueError(f"linear: expected x of shape [..., {c}] for weight {wa.shape}, got {shape}")
    if ba is not None and ba.shape != (k,):
        raise ValueError(f"linear: expected bias of shape ({k},), got {ba.shape}")
    rows = xa if len(shape) == 2 else contiguous(xa).reshape(math.prod(shape[:-1]), c)
    y = new_array((len(rows), k), xa)
    _core.gemm(rows, wa.T, ba, y, 1.0, 0.0, code)
    if rows is not xa:
        y = y.reshape(*shape[:-1], k)
    saved = (kept(x, xa), kept(weight, wa), OUT if code else None, code)
    return record("linear", y, _linear_grad, (x, weight, bias), saved)


def _linear_grad(g: Any, needs: Any, x: Any, w: Any, y: Any, code: int) -> tuple[Any, ...]:
    g, gb = bias_activation_grad(code, y, g, needs[2])
    shape = x.shape
    if len(shape) != 2:
        rows = math.prod(shape[:-1])
        g, x = reshape(g, (rows, g.shape[-1])), reshape(x, (rows, shape[-1]))
    gx = gw = None
    if isinstance(g, Tensor):  # taped: the composed form
        gx = matmul(g, w) if needs[0] else None
        gw = matmul(g.T, x) if needs[1] else None
    else:
        if needs[0]:
            gx = new_array(x.shape, g)
            _core.gemm(g, w, None, gx, 1.0, 0.0, 0)
        if needs[1]:
            gw = new_array(w.shape, g)
            _core.gemm(g.T, x, None, gw, 1.0, 0.0, 0)
    if gx is not None and len(shape) != 2:
        gx = reshape(gx, shape)
    return gx, gw, gb
