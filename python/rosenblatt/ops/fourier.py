"""Fourier transforms of tensors, complex numbers as a last axis (real part, imaginary part).

The tape has real dtypes only, so a spectrum is an array [..., 2]; `rb.fft` has NumPy's complex arrays, without
gradients. All are linear maps, and each one's gradient is another of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import shape as _shape
from ._common import Array, X, axis_index, operand, record
from ._fourier import length, scale_of, transform, transform_back, transform_real
from .elementwise import mul

__all__ = ["fft", "ifft", "irfft", "rfft"]


def fft(x: X, n: int | None = None, axis: int = -1, norm: str | None = None) -> X:
    """sum_i x[i] e^(-2 pi i k / n) along an axis of complex numbers.

    Parameters
    ----------
    x : [..., 2], real and imaginary parts last
    n : length of the transform; x is cut or continued by zeros to it. Default: the length of x
    axis : among the axes before the last
    norm : "backward" (no factor here, 1/n in the inverse), "ortho" (1/sqrt(n) in both), "forward" (1/n here)

    Returns [..., 2]. Raises ValueError for shapes, axes and norms that do not fit. A. V. Oppenheim, R. W. Schafer,
    Discrete-Time Signal Processing.
    """
    return _complex("fft", x, n, axis, norm, False)


def ifft(x: X, n: int | None = None, axis: int = -1, norm: str | None = None) -> X:
    """The inverse of `fft`, with the same arguments."""
    return _complex("ifft", x, n, axis, norm, True)


def _pairs(where: str, x: Any, axis: Any) -> tuple[Array, int]:
    a = operand(where, x)
    if a.ndim < 2 or a.shape[-1] != 2:
        raise ValueError(f"{where}: expected complex numbers [..., 2], got shape {a.shape}")
    return a, axis_index(where, axis, a.ndim - 1)


def _complex(where: str, x: X, n: Any, axis: Any, norm: str | None, inverse: bool) -> X:
    a, at = _pairs(where, x, axis)
    size = length(where, n, a.shape[at])
    return _dft(x, at, size, inverse, scale_of(where, size, norm, inverse))


def _dft(x: X, axis: int, n: int, inverse: bool, scale: float) -> X:
    a = operand("fft", x)
    y = transform(a, axis, n, inverse, scale)
    return record("fft", y, _dft_grad, (x,), (axis, n, a.shape[axis], inverse, scale))


def _dft_grad(g: Any, needs: Any, axis: int, n: int, m: int, inverse: bool, scale: float) -> tuple[Any, ...]:
    return (_resized(_dft(g, axis, n, not inverse, scale), axis, m),)


def _resized(x: Any, axis: int, m: int) -> Any:
    """The first m elements along `axis`, zeros behind what there is."""
    shape = x.shape
    if shape[axis] > m:
        return _shape.getitem(x, (slice(None),) * axis + (slice(0, m),))
    if shape[axis] < m:
        more = _shape.zeros((*shape[:axis], m - shape[axis], *shape[axis + 1 :]), x.dtype)
        return _shape.concat([x, more], axis)
    return x


def rfft(x: X, n: int | None = None, axis: int = -1, norm: str | None = None) -> X:
    """`fft` of real numbers: x [...] -> the bins 0 .. n/2 along `axis`, as [..., 2]; the others mirror them."""
    a = operand("rfft", x)
    if a.ndim < 1:
        raise ValueError("rfft: expected at least one axis, got a number")
    at = axis_index("rfft", axis, a.ndim)
    size = length("rfft", n, a.shape[at])
    return _rdft(x, at, size, scale_of("rfft", size, norm, False))


def _rdft(x: X, axis: int, n: int, scale: float) -> X:
    a = operand("rfft", x)
    y = transform_real(a, axis, n, scale)
    return record("rfft", y, _rdft_grad, (x,), (axis, n, a.shape[axis], scale))


def _rdft_grad(g: Any, needs: Any, axis: int, n: int, m: int, scale: float) -> tuple[Any, ...]:
    halved = mul(g, _weights(g, axis, n, 0.5))  # the inverse counts every mirrored bin twice
    return (_resized(_idft(halved, axis, n, scale), axis, m),)


def irfft(x: X, n: int | None = None, axis: int = -1, norm: str | None = None) -> X:
    """The inverse of `rfft`: bins x [..., 2] -> n real numbers along `axis`; n defaults to 2 (bins - 1).

    The imaginary parts of bin 0 and, for even n, of bin n/2 have no meaning and are ignored.
    """
    a, at = _pairs("irfft", x, axis)
    size = length("irfft", n, 2 * (a.shape[at] - 1))
    return _idft(x, at, size, scale_of("irfft", size, norm, True))


def _idft(x: X, axis: int, n: int, scale: float) -> X:
    a = operand("irfft", x)
    y = transform_back(a, axis, n, scale)
    return record("irfft", y, _idft_grad, (x,), (axis, n, a.shape[axis], scale))


def _idft_grad(g: Any, needs: Any, axis: int, n: int, m: int, scale: float) -> tuple[Any, ...]:
    bins = _rdft(g, axis, n, scale)
    return (_resized(mul(bins, _weights(bins, axis, n, 2.0)), axis, m),)


def _weights(bins: Any, axis: int, n: int, mirrored: float) -> Array:
    """`mirrored` for the bins that have a mirror image, 1 for 0 and n/2; shaped to multiply `bins` [..., 2]."""
    w = np.full(n // 2 + 1, mirrored, bins.dtype)
    w[0] = 1.0
    if n % 2 == 0:
        w[-1] = 1.0
    return w.reshape(-1, *(1,) * (len(bins.shape) - axis - 1))
