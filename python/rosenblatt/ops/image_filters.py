"""Well-known filters of images: smoothing, edges, sharpening, Gabor's. Arguments and edges as in `ops.filters`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._common import Array, axis_index
from .filters import MODES, _one_of, given_as, images, separable

__all__ = ["blur", "gabor_bank", "gabor_kernel", "gaussian_filter", "scharr", "sharpen", "sobel"]


def gaussian_taps(sigma: float, order: int = 0, truncate: float = 4.0) -> Array:
    """Samples of a Gaussian of sum 1, or of its derivative, from -r to r with r = round(truncate * sigma)."""
    radius = int(truncate * sigma + 0.5)
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    phi = np.exp(-0.5 * (x / sigma) ** 2)
    phi /= phi.sum()
    p = np.polynomial.Polynomial([1.0])  # phi^(k) = p_k phi with p_{k+1} = p_k' - x / sigma^2 p_k
    for _ in range(order):
        p = p.deriv() - np.polynomial.Polynomial([0.0, 1.0 / sigma**2]) * p
    return np.asarray(p(x) * phi)


def _both(where: str, name: str, value: Any) -> tuple[Any, Any]:
    both = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{where}: {name} must be a number or a pair of numbers, got {value!r}")
    return both[0], both[1]


def gaussian_filter(
    x: Any,
    sigma: Any,
    *,
    order: Any = 0,
    truncate: float = 4.0,
    mode: str = "reflect",
    cval: float = 0.0,
    dtype: Any = None,
) -> Array:
    """An image smoothed by a Gaussian, or convolved with its derivatives (`scipy.ndimage.gaussian_filter`).

    sigma, order : number or pair (vertical, horizontal); sigma 0 leaves an axis as it is
    truncate : sigmas after which the kernel ends
    """
    a, shape = images("gaussian_filter", x)
    sigmas, orders = _both("gaussian_filter", "sigma", sigma), _both("gaussian_filter", "order", order)
    code = MODES[_one_of("gaussian_filter", "mode", mode, MODES)]
    if not 0.0 <= truncate < math.inf:
        raise ValueError(f"gaussian_filter: truncate must not be negative or infinite, got {truncate!r}")
    taps = []
    for s, k in zip(sigmas, orders, strict=True):
        if not (0.0 <= s < math.inf):
            raise ValueError(f"gaussian_filter: sigma must not be negative or infinite, got {sigma!r}")
        if not isinstance(k, (int, np.integer)) or k < 0:
            raise ValueError(f"gaussian_filter: order must be integers of at least 0, got {order!r}")
        taps.append(gaussian_taps(s, int(k), truncate)[::-1] if s > 0 else np.ones(1))
    u, v = taps
    y = separable(a, u, v, len(u) // 2, len(v) // 2, code, cval)
    return given_as("gaussian_filter", y.reshape(shape), dtype)


def _derivative(where: str, x: Any, axis: Any, smooth: Any, mode: str, cval: float, dtype: Any) -> Array:
    a, shape = images(where, x)
    code = MODES[_one_of(where, "mode", mode, MODES)]
    slope = np.array([-1.0, 0.0, 1.0])
    if axis is None:
        gh, gw = separable(a, slope, smooth, 1, 1, code, cval), separable(a, smooth, slope, 1, 1, code, cval)
        y = np.hypot(gh, gw, out=gh)
    elif axis_index(where, axis, 2) == 0:
        y = separable(a, slope, smooth, 1, 1, code, cval)
    else:
        y = separable(a, smooth, slope, 1, 1, code, cval)
    return given_as(where, y.reshape(shape), dtype)


def sobel(x: Any, axis: int | None = -1, *, mode: str = "reflect", cval: float = 0.0, dtype: Any = None) -> Array:
    """Sobel's derivative along an image axis: differences [-1, 0, 1], smoothed by [1, 2, 1] across.

    axis : 0 down, 1 or -1 to the right, None for the length of the gradient
    """
    return _derivative("sobel", x, axis, np.array([1.0, 2.0, 1.0]), mode, cval, dtype)


def scharr(x: Any, axis: int | None = -1, *, mode: str = "reflect", cval: float = 0.0, dtype: Any = None) -> Array:
    """`sobel` with Scharr's weights [3, 10, 3], which depend less on the direction of an edge."""
    return _derivative("scharr", x, axis, np.array([3.0, 10.0, 3.0]), mode, cval, dtype)


def blur(x: Any, size: Any, *, mode: str = "reflect", cval: float = 0.0, dtype: Any = None) -> Array:
    """The mean over a box of `size` (number or pair) pixels (`scipy.ndimage.uniform_filter`)."""
    a, shape = images("blur", x)
    sizes = _both("blur", "size", size)
    if not all(isinstance(s, (int, np.integer)) and s >= 1 for s in sizes):
        raise ValueError(f"blur: size must be integers of at least 1, got {size!r}")
    code = MODES[_one_of("blur", "mode", mode, MODES)]
    u, v = (np.full(s, 1.0 / s) for s in sizes)
    return given_as("blur", separable(a, u, v, len(u) // 2, len(v) // 2, code, cval).reshape(shape), dtype)


def sharpen(x: Any, amount: float = 1.0, sigma: float = 1.0, *, mode: str = "reflect", dtype: Any = None) -> Array:
    """x + amount * (x - gaussian_filter(x, sigma)): an unsharp mask."""
    a, shape = images("sharpen", x)
    code = MODES[_one_of("sharpen", "mode", mode, MODES)]
    if not 0.0 < sigma < math.inf:
        raise ValueError(f"sharpen: sigma must be positive, got {sigma!r}")
    taps = gaussian_taps(sigma)
    y = separable(a, taps, taps, len(taps) // 2, len(taps) // 2, code, 0.0)
    y *= -amount
    y += np.asarray(1.0 + amount, a.dtype) * a
    return given_as("sharpen", y.reshape(shape), dtype)


def gabor_kernel(
    wavelength: float,
    theta: float = 0.0,
    *,
    sigma: float | None = None,
    gamma: float = 0.5,
    phase: float = 0.0,
    size: int | None = None,
    dtype: Any = np.float32,
) -> Array:
    """A Gabor kernel [size, size]: exp(-(u^2 + gamma^2 v^2) / 2 sigma^2) cos(2 pi u / wavelength + phase).

    u = w cos(theta) + h sin(theta) and v = h cos(theta) - w sin(theta), from the centre.

    wavelength : pixels; theta : direction of the wave, radians; sigma : default 0.56 wavelengths (one octave);
    gamma : width over length of the envelope; size : default 2 ceil(3 sigma / min(gamma, 1)) + 1

    J. G. Daugman, Uncertainty relation for resolution in space, spatial frequency, and orientation, JOSA A 2(7), 1985.
    """
    s = 0.56 * wavelength if sigma is None else sigma
    if not (wavelength > 0 and s > 0 and gamma > 0):
        raise ValueError(f"gabor_kernel: expected positive wavelength, sigma, gamma, got {wavelength}, {s}, {gamma}")
    side = 2 * math.ceil(3 * s / min(gamma, 1.0)) + 1 if size is None else size
    if not isinstance(side, (int, np.integer)) or side < 1:
        raise ValueError(f"gabor_kernel: size must be an integer of at least 1, got {size!r}")
    at = np.arange(side) - (side - 1) / 2
    h, w = at[:, None], at[None, :]
    u, v = w * math.cos(theta) + h * math.sin(theta), h * math.cos(theta) - w * math.sin(theta)
    wave = np.exp(-(u * u + (gamma * v) ** 2) / (2 * s * s)) * np.cos(2 * np.pi * u / wavelength + phase)
    return np.asarray(wave, dtype)


def gabor_bank(wavelengths: Sequence[float], orientations: int = 4, **options: Any) -> Array:
    """Gabor kernels [K, size, size] for `filter_bank`: every wavelength in `orientations` directions over half a turn.

    options : of `gabor_kernel`; all kernels have the size of the largest unless it is given.
    """
    if not len(wavelengths) or orientations < 1:
        raise ValueError(f"gabor_bank: expected wavelengths and orientations, got {wavelengths!r} and {orientations!r}")
    if options.get("size") is None:
        options["size"] = max(len(gabor_kernel(wave, **options)) for wave in wavelengths)
    angles = [math.pi * i / orientations for i in range(orientations)]
    return np.stack([gabor_kernel(wave, angle, **options) for wave in wavelengths for angle in angles])
