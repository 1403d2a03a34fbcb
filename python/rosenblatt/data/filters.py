"""Kernel filters of images: blur, sharpen, emboss, edges; denoising; boundaries; erosion and dilation.

Images are [N,H,W,C] or [H,W,C], float or uint8 (divided by 255); the result is float of the same size. Filters are
depthwise `ops.conv2d` calls (cross-correlation), separable ones two of them. `border` says how an image goes on
outside: "reflect" (mirrored at the centre of the border pixel), "edge", "symmetric", "wrap", or a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole
from ._arrays import Array, choice, clip, give, largest, number, product, take_images
from .color import luma, without_nan
from .geometry import Fill, check_fill, extend

__all__ = [
    "bilateral",
    "boundary",
    "box_blur",
    "canny",
    "denoise",
    "dilate",
    "edges",
    "emboss",
    "erode",
    "filter2d",
    "gaussian_blur",
    "gaussian_taps",
    "laplacian",
    "median",
    "sharpen",
    "sobel",
]


def _depthwise(a: Array, kernel: Array) -> Array:
    """Each channel of [N,H,W,C] correlated with kernel [R,S], no padding."""
    c = int(a.shape[3])
    weight = np.ascontiguousarray(np.broadcast_to(kernel.astype(a.dtype), (c, *kernel.shape)))[..., None]
    return ops.conv2d(a, weight, groups=c)


def _correlate(a: Array, kernel: Array, border: Fill) -> Array:
    r, s = kernel.shape
    top, left = (r - 1) // 2, (s - 1) // 2
    return _depthwise(extend(a, top, r - 1 - top, left, s - 1 - left, border), kernel)


def _pixels(who: str, x: Any, channels: tuple[int, ...] = ()) -> tuple[Array, bool]:
    """`take_images`, refusing images without pixels."""
    a, single = take_images(who, x, channels)
    if 0 in a.shape[1:]:
        raise ValueError(f"{who}: expected images with pixels, got shape {list(a.shape)}")
    return a, single


def filter2d(x: Any, kernel: Any, *, border: Fill = "reflect") -> Array:
    """Each channel correlated with kernel [R,S]: y[h,w] = sum kernel[r,s] x[h + r - (R-1)//2, w + s - (S-1)//2]."""
    a, single = _pixels("filter2d", x)
    k = np.asarray(kernel, np.float64)
    if k.ndim != 2 or 0 in k.shape:
        raise ValueError(f"filter2d: expected a kernel [R,S], got shape {list(k.shape)}")
    return give(_correlate(a, k, check_fill("filter2d", border)), single)


def gaussian_taps(sigma: float, size: int | None = None) -> npt.NDArray[np.float64]:
    """Weights exp(-d^2 / 2 sigma^2) on `size` pixels (odd), summing to 1; by default 2 ceil(3 sigma) + 1 pixels."""
    sigma = number("gaussian_taps", "sigma", sigma, 1e-6)
    size = 2 * math.ceil(3 * sigma) + 1 if size is None else whole("gaussian_taps", "size", size, 1)
    if size % 2 == 0:
        raise ValueError(f"gaussian_taps: size must be odd, got {size}")
    d = np.arange(size) - size // 2
    taps = np.exp(-0.5 * (d / sigma) ** 2)
    return np.asarray(taps / taps.sum())


def _separable(a: Array, taps: Array, border: Fill) -> Array:
    return _correlate(_correlate(a, taps[:, None], border), taps[None], border)


def gaussian_blur(x: Any, sigma: float, size: int | None = None, *, border: Fill = "reflect") -> Array:
    """Blurred with a Gaussian of `sigma` pixels, on `size` x `size` pixels (see `gaussian_taps`)."""
    a, single = _pixels("gaussian_blur", x)
    return give(_separable(a, gaussian_taps(sigma, size), check_fill("gaussian_blur", border)), single)


def box_blur(x: Any, size: int = 3, *, border: Fill = "reflect") -> Array:
    """The mean over size x size pixels."""
    a, single = _pixels("box_blur", x)
    taps = np.full(whole("box_blur", "size", size, 1), 1.0)
    return give(_separable(a, taps / len(taps), check_fill("box_blur", border)), single)


def sharpen(x: Any, amount: float = 1.0, sigma: float = 1.0, *, border: Fill = "reflect") -> Array:
    """Unsharp masking x + amount (x - blurred x), cut to [0, 1]."""
    a, single = _pixels("sharpen", x)
    amount = number("sharpen", "amount", amount, 0)
    soft = _separable(a, gaussian_taps(sigma), check_fill("sharpen", border))
    return give(clip(ops.add(a, ops.mul(ops.sub(a, soft), amount))), single)


def emboss(x: Any, strength: float = 1.0, *, border: Fill = "edge") -> Array:
    """A relief lit from the top left: the image plus strength times its slope along the diagonal, cut to [0, 1].

    The kernel is [[-s, -s, 0], [-s, 1, s], [0, s, s]].
    """
    a, single = _pixels("emboss", x)
    s = number("emboss", "strength", strength, 0)
    kernel = np.array([[-s, -s, 0], [-s, 1, s], [0, s, s]])
    return give(clip(_correlate(a, kernel, check_fill("emboss", border))), single)


# --- edges and boundaries


def _slopes(a: Array, border: Fill) -> tuple[Array, Array]:
    """Sobel's derivatives (down, right) in values per pixel."""
    smooth, slope = np.array([0.25, 0.5, 0.25]), np.array([-0.5, 0.0, 0.5])
    return _correlate(a, np.outer(slope, smooth), border), _correlate(a, np.outer(smooth, slope), border)


def sobel(x: Any, *, border: Fill = "edge") -> Array:
    """The length of the gradient by Sobel's kernels (divided by 8: values per pixel), per channel."""
    a, single = _pixels("sobel", x)
    down, right = _slopes(a, check_fill("sobel", border))
    squares: Any = ops.add(ops.square(down), ops.square(right))
    return give(ops.sqrt(squares), single)


def laplacian(x: Any, *, border: Fill = "edge") -> Array:
    """The sum of second differences: kernel [[0, 1, 0], [1, -4, 1], [0, 1, 0]]."""
    return filter2d(x, [[0, 1, 0], [1, -4, 1], [0, 1, 0]], border=border)


def edges(x: Any, method: str = "sobel", **options: Any) -> Array:
    """Edges by "sobel", "laplacian" (its absolute value) or "canny"; options go to that function."""
    choice("edges", "method", method, ("sobel", "laplacian", "canny"))
    if method == "laplacian":
        return np.abs(laplacian(x, **options))
    return sobel(x, **options) if method == "sobel" else canny(x, **options)


def _grow(strong: Array, weak: Array) -> Array:
    """The weak pixels [N,H,W,1] that are connected to a strong one (8 neighbours), the strong ones included."""
    while True:
        more: Array = ops.minimum(largest(strong, 3), weak)
        if np.array_equal(more, strong):
            return more
        strong = more


def canny(x: Any, low: float = 0.05, high: float = 0.1, sigma: float = 1.0) -> Array:
    """Thin edges [N,H,W,1] of 0 and 1 by Canny's method on grey values.

    Gaussian blur, Sobel gradient, only local maxima along the gradient (rounded to 8 directions) stay, and of these the
    ones above `high` together with those above `low` that are connected to them. Thresholds in values per pixel.
    Source: J. Canny, IEEE Trans. PAMI 8(6), 1986.
    """
    a, single = _pixels("canny", x, (1, 3))
    low = number("canny", "low", low, 0)
    high = number("canny", "high", high, low)
    grey = without_nan("canny", luma(a))
    down, right = _slopes(_separable(grey, gaussian_taps(sigma), "edge"), "edge")
    size = np.hypot(down, right)
    around = np.pad(size, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = size.shape[1:3]

    def neighbour(r: int, s: int) -> Array:
        return around[:, 1 + r : 1 + r + h, 1 + s : 1 + s + w]

    sector = np.rint(np.arctan2(down, right) * (4 / np.pi)).astype(np.int64) % 4  # in steps of 45 degrees
    peak = np.zeros(size.shape, bool)
    for i, (r, s) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        # of two equal neighbours across the edge one must give way, or a step between two pixels is drawn twice
        peak |= (sector == i) & (size >= neighbour(-r, -s)) & (size > neighbour(r, s))
    weak, strong = peak & (size > low), peak & (size > high)
    return give(_grow(strong.astype(a.dtype), weak.astype(a.dtype)), single)


def dilate(x: Any, size: int = 3) -> Array:
    """The largest value within size x size pixels (odd): bright areas grow."""
    a, single = _pixels("dilate", x)
    size = whole("dilate", "size", size, 1)
    if size % 2 == 0:
        raise ValueError(f"dilate: size must be odd, got {size}")
    return give(largest(a, size), single)


def erode(x: Any, size: int = 3) -> Array:
    """The smallest value within size x size pixels (odd): bright areas shrink."""
    a, single = _pixels("erode", x)
    return give(ops.neg(dilate(ops.neg(a), size)), single)


def boundary(x: Any, size: int = 3) -> Array:
    """The inner boundary of binary images: x - erode(x), the pixels of an area that touch what is outside of it."""
    a, single = _pixels("boundary", x)
    return give(ops.sub(a, erode(a, size)), single)


# --- noise


def _windows(a: Array, size: int, border: Fill) -> list[Array]:
    """The size * size shifted views [N,H,W,C] that make up every pixel's neighbourhood."""
    half, (h, w) = size // 2, a.shape[1:3]
    wide = extend(a, half, half, half, half, border)
    return [wide[:, r : r + h, s : s + w] for r in range(size) for s in range(size)]


def median(x: Any, size: int = 3, *, border: Fill = "symmetric") -> Array:
    """The median of size x size pixels (odd), per channel: removes salt and pepper, keeps edges."""
    a, single = _pixels("median", x)
    size = whole("median", "size", size, 1)
    if size % 2 == 0:
        raise ValueError(f"median: size must be odd, got {size}")
    views = [np.array(v) for v in _windows(a, size, check_fill("median", border))]
    # Selection by compare and exchange of whole arrays: each round takes the least and the greatest of enough values
    # that neither can be the median, which leaves one. Far fewer passes than sorting every neighbourhood.
    count = len(views) // 2 + 2
    pool, rest = views[:count], views[count:]
    if len(views) < 3:
        return give(views[0], single)
    while True:
        for i in range(1, len(pool)):  # the least to the front
            pool[0], pool[i] = ops.minimum(pool[0], pool[i]), ops.maximum(pool[0], pool[i])
        for i in range(1, len(pool) - 1):  # the greatest to the back
            pool[i], pool[-1] = ops.minimum(pool[i], pool[-1]), ops.maximum(pool[i], pool[-1])
        pool = pool[1:-1]
        if not rest:
            return give(pool[0], single)
        pool.append(rest.pop())


def bilateral(
    x: Any, size: int = 5, sigma_space: float = 1.5, sigma_value: float = 0.1, *, border: Fill = "symmetric"
) -> Array:
    """A mean over size x size pixels, weighted by nearness in place and in colour: smooths, but not across edges.

    Weights are exp(-d^2 / 2 sigma_space^2 - e^2 / 2 sigma_value^2), e the Euclidean distance of the colours.
    Source: C. Tomasi, R. Manduchi, Bilateral filtering for gray and color images, ICCV 1998.
    """
    a, single = _pixels("bilateral", x)
    size = whole("bilateral", "size", size, 1)
    if size % 2 == 0:
        raise ValueError(f"bilateral: size must be odd, got {size}")
    place = 0.5 / number("bilateral", "sigma_space", sigma_space, 1e-6) ** 2
    value = 0.5 / number("bilateral", "sigma_value", sigma_value, 1e-6) ** 2
    total, weights = np.zeros_like(a), np.zeros_like(a[..., :1])
    minus = np.full((a.shape[3], 1), -value, a.dtype)  # sums squares over the channels
    for i, view in enumerate(_windows(a, size, check_fill("bilateral", border))):
        r, s = i // size - size // 2, i % size - size // 2
        e = product(ops.square(ops.sub(view, a)), minus)
        weight = ops.exp(ops.sub(e, place * (r * r + s * s)))
        total = ops.add(total, ops.mul(view, weight))
        weights = ops.add(weights, weight)
    return give(ops.div(total, weights), single)


def denoise(x: Any, method: str = "median", **options: float | Sequence[float]) -> Array:
    """Noise removed by "median", "gaussian" (`gaussian_blur`, sigma 1 by default), "mean" (`box_blur`) or "bilateral".

    Median suits salt and pepper, Gaussian and mean suit white noise, bilateral keeps edges. Options go to the function.
    """
    methods: dict[str, Any] = {"median": median, "gaussian": gaussian_blur, "mean": box_blur, "bilateral": bilateral}
    choice("denoise", "method", method, tuple(methods))
    if method == "gaussian":
        options = {"sigma": 1.0, **options}
    result: Array = methods[method](x, **options)
    return result
