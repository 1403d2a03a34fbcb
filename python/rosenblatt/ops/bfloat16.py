"""bfloat16: the upper half of a float32, as bit patterns in uint16 arrays; conversions and the matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from ._common import CODE, Array, Tensor, activation_code, empty, float32, float64, new_array, operand

__all__ = ["from_bfloat16", "gemm_bf16", "to_bfloat16"]

_UINT16 = 4  # as the kernels know it


def _is_patterns(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "u" and x.dtype.itemsize == 2


def to_bfloat16(x: Any) -> Array:
    """The nearest bfloat16 numbers, halves to even, as bit patterns: uint16 of the shape of `x`.

    Parameters
    ----------
    x : float array of any shape; float64 is rounded once, not by way of float32

    What is too large becomes infinite, NaN stays NaN. Raises TypeError for other dtypes.
    """
    given = operand("to_bfloat16", x)
    y: Array = new_array(given.shape, _UINT16)
    _core.to_bfloat16(given, y)
    return y


def from_bfloat16(u: Array, dtype: Any = float32) -> Array:
    """The numbers that bit patterns of bfloat16 stand for; exact.

    Parameters
    ----------
    u : uint16 array of any shape
    dtype : float32 or float64, of the result

    Raises TypeError for other dtypes.
    """
    if not _is_patterns(u):
        got = u.dtype if isinstance(u, np.ndarray) else type(u).__name__
        raise TypeError(f"from_bfloat16: expected an array of uint16, got {got}")
    kind = np.dtype(dtype)
    if kind not in CODE:
        raise TypeError(f"from_bfloat16: expected dtype float32 or float64, got {kind}")
    y = empty(u.shape, kind)
    _core.from_bfloat16(y, u)
    return y


def _factor(x: Any) -> Array:
    """The array that the kernel reads: bit patterns, or float32 to be rounded."""
    x = x.data if isinstance(x, Tensor) else x
    if isinstance(x, np.ndarray) and x.dtype.name == "bfloat16":
        return x.view(np.uint16)
    if _is_patterns(x):
        return x
    given: Array = operand("gemm_bf16", x)
    if given.dtype == float64:
        raise TypeError("gemm_bf16: expected uint16 (bfloat16 bit patterns), bfloat16 or float32, got float64")
    return given


def gemm_bf16(a: Any, b: Any, bias: Any = None, activation: str | None = None) -> Array:
    """activation(a @ b + bias) of bfloat16 matrices, added up and returned in float32; plain arrays, no tape.

    Parameters
    ----------
    a : [M,K], b : [K,N], any strides (`w.T` costs no copy): uint16 bit patterns, arrays of a dtype named bfloat16, or
        float32, which is rounded as by `to_bfloat16`
    bias : [N] float32, optional
    activation : None, "relu", "tanh" or "sigmoid"

    Returns [M,N] in float32. The product has the same bits on every x86-64 processor, with AVX512_BF16 or without:
    fused multiply-adds, the odd k of each pair first, K in blocks of at most 1280, numbers below 2**-126 counting as 0.
    Raises ValueError for shapes that do not fit, TypeError for other dtypes.
    """
    xa, xb = _factor(a), _factor(b)
    if xa.ndim != 2 or xb.ndim != 2 or xa.shape[1] != xb.shape[0]:
        raise ValueError(f"gemm_bf16: expected [M,K] and [K,N], got {xa.shape} and {xb.shape}")
    shape = (xa.shape[0], xb.shape[1])
    row = None if bias is None else operand("gemm_bf16", bias)
    if row is not None and row.dtype == float64:
        raise TypeError("gemm_bf16: expected a bias of float32, got float64")
    if row is not None and row.shape != shape[1:]:
        raise ValueError(f"gemm_bf16: expected a bias of shape {shape[1:]}, got {row.shape}")
    code = activation_code("gemm_bf16", activation)
    c = empty(shape, float32)
    _core.gemm_bf16(c, xa, xb, row, code)
    return c
