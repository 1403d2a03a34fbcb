"""Filters for scripts: one kernel over every channel of images; convolution, deconvolution and FIR filters of signals.

Images are plain arrays [H,W], [H,W,C] or [N,H,W,C] of any integer or float dtype; there are no gradients. As everywhere
in `ops`, float64 is computed in float64 and all else in float32, which is the dtype of the result, too (the kernel of
an image follows the image); `dtype=` asks for another one, and integers are then rounded and clipped to their range.
Edges go on as in `scipy.ndimage`:

    reflect  d c b a | a b c d | d c b a        mirror  d c b | a b c d | c b a
    nearest  a a a a | a b c d | d d d d        wrap    a b c d | a b c d | a b c d
    constant k k k k | a b c d | k k k k        (k = cval)

Kernels run by one of three algorithms, chosen by cost or by `algo`: "direct" (one multiply-add per tap and pixel),
"separable" (kernels that are a sum of few products of a column and a row), "fft" (transforms of overlapping tiles; its
rounding errors are relative to the largest values nearby, and a NaN spreads over its tile).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from ._common import CODE, Array, axis_index, contiguous, empty, new_array, operand, operands
from ._filter_plan import best_tile, choose, separable_terms
from ._fourier import good_length, table, transform, transform_back, transform_real

__all__ = ["deconvolve", "fftconv", "filter2d", "filter_bank", "lfilter_fir", "sep_filter2d"]

MODES = {
    "constant": 0, "grid-constant": 0, "nearest": 1, "reflect": 2, "grid-mirror": 2, "mirror": 3, "wrap": 4,
    "grid-wrap": 4,
}  # fmt: skip
ALGOS = ("auto", "direct", "separable", "fft")
LONGEST = 2**20  # taps of a kernel along an axis that the kernels take


def images(where: str, x: Any) -> tuple[Array, tuple[int, ...]]:
    """x as [N,H,W,C], and its own shape."""
    a = operand(where, x)
    if not 2 <= a.ndim <= 4:
        raise ValueError(f"{where}: expected an image [H,W], [H,W,C] or [N,H,W,C], got shape {a.shape}")
    shape = a.shape
    if a.ndim == 2:
        a = a[None, :, :, None]
    elif a.ndim == 3:
        a = a[None]
    if 0 in a.shape[1:3]:
        raise ValueError(f"{where}: expected images with pixels, got shape {shape}")
    return contiguous(a), shape


def _kernel(where: str, w: Any, ndim: int, name: str = "kernel") -> Array:
    k = operand(where, w)
    if k.ndim != ndim or k.size == 0:
        raise ValueError(f"{where}: expected a {name} with {ndim} axes, none of them empty, got shape {k.shape}")
    return k


def _one_of(where: str, name: str, value: Any, known: Any) -> Any:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{where}: {name} must be one of {', '.join(map(str, known))}, got {value!r}")
    return value


def given_as(where: str, y: Array, dtype: Any) -> Array:
    """y in `dtype`; integers rounded (halves to even) and clipped."""
    if dtype is None:
        return y
    to = np.dtype(dtype)
    if to.kind == "f":
        return y.astype(to, copy=False)
    if to.kind not in "iu":
        raise TypeError(f"{where}: dtype must be an integer or float type, got {to}")
    info = np.iinfo(to)
    top = y.dtype.type(info.max)
    if int(top) <= info.max:
        return np.clip(np.rint(y), info.min, info.max).astype(to)
    # The largest integer is no float of y's dtype: from the next larger float on, which would wrap around, it is taken.
    rounded = np.clip(np.rint(y), info.min, np.nextafter(top, y.dtype.type(0))).astype(to)
    rounded[y >= top] = info.max
    return rounded


def _pair(where: str, name: str, value: Any) -> tuple[int, int]:
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(v, (int, np.integer)) for v in both):
        raise ValueError(f"{where}: {name} must be an integer or a pair of integers, got {value!r}")
    return int(both[0]), int(both[1])


def _centre(where: str, size: int, origin: int, flip: bool) -> int:
    """Taps before the centre of a kernel, by SciPy's rules for even sizes and origins."""
    at = size // 2 + origin if not flip else size // 2 - origin - (1 - size % 2)
    if not 0 <= at < size:
        raise ValueError(f"{where}: origin {origin} lies outside a kernel of {size}")
    return at


def correlate(
    a: Array, w: Array, shape: tuple[int, int], top: int, left: int, mode: int, cval: float, algo: str, where: str
) -> Array:
    """y [N,*shape,C] of a [N,H,W,C] and w [R,S]; see `filter2d` in ops.def."""
    n, _, _, c = a.shape
    r, s = w.shape
    y = empty((n, *shape, c), a.dtype)
    if y.size == 0:
        return y
    if max(r, s) > LONGEST:
        raise ValueError(f"{where}: a kernel may have at most {LONGEST} taps along an axis, got shape {w.shape}")
    terms = None
    if algo == "separable" or (algo == "auto" and min(r, s) > 2 and r * s > 49):
        most = min(r, s) if algo == "separable" else max(1, r * s // (2 * (r + s)))
        terms = separable_terms(w, most, float(np.finfo(a.dtype).eps))
        if terms is None and algo == "separable":
            raise ValueError(f"{where}: the kernel is not a sum of {most} separable ones; choose another algo")
    if algo == "auto":
        algo, th, tw = choose(*shape, r, s, 0 if terms is None else len(terms[0]))
    elif algo == "fft":
        th, tw = best_tile(*shape, r, s)
    if algo == "separable" and terms is not None:
        u, v = terms
        _core.filter2d_sep(a, u.astype(a.dtype), v.astype(a.dtype), y, top, left, mode, cval)
    elif algo == "fft":
        code = CODE[a.dtype]
        tables = table(th, False, code), table(tw, True, code)
        _core.filter2d_fft(a, contiguous(w.astype(a.dtype, copy=False)), *tables, y, th, tw, top, left, mode, cval)
    else:
        _core.filter2d(a, contiguous(w.astype(a.dtype, copy=False)), y, top, left, mode, cval)
    return y


def filter2d(
    x: Any,
    kernel: Any,
    *,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    convolution: bool = False,
    algo: str = "auto",
    dtype: Any = None,
) -> Array:
    """Each channel of an image correlated with one kernel; the result has the size of the image.

    Parameters
    ----------
    x : [H,W], [H,W,C] or [N,H,W,C], any real dtype
    kernel : [R,S], centred at [R // 2, S // 2]
    mode, cval : how the image goes on outside, see `ops.filters`
    origin : integer or pair; moves the centre of the kernel, as in `scipy.ndimage`
    convolution : turn the kernel by half a turn, i.e. convolve (`scipy.ndimage.convolve`) instead of correlate
    algo : "auto", "direct", "separable" or "fft"
    dtype : of the result

    Raises ValueError for shapes, modes and algorithms that do not fit, TypeError for anything but real numbers.
    """
    a, shape = images("filter2d", x)
    w = _kernel("filter2d", kernel, 2)
    code = MODES[_one_of("filter2d", "mode", mode, MODES)]
    _one_of("filter2d", "algo", algo, ALGOS)
    oh, ow = _pair("filter2d", "origin", origin)
    top = _centre("filter2d", w.shape[0], oh, convolution)
    left = _centre("filter2d", w.shape[1], ow, convolution)
    if convolution:
        w = w[::-1, ::-1]
    y = correlate(a, w, a.shape[1:3], top, left, code, float(cval), algo, "filter2d")
    return given_as("filter2d", y.reshape(shape), dtype)


def sep_filter2d(
    x: Any,
    column: Any,
    row: Any,
    *,
    mode: str = "reflect",
    cval: float = 0.0,
    convolution: bool = False,
    dtype: Any = None,
) -> Array:
    """`filter2d` with the kernel column [R] times row [S]: R + S multiply-adds per pixel instead of R S."""
    a, shape = images("sep_filter2d", x)
    u, v = _kernel("sep_filter2d", column, 1, "column"), _kernel("sep_filter2d", row, 1, "row")
    code = MODES[_one_of("sep_filter2d", "mode", mode, MODES)]
    top = _centre("sep_filter2d", len(u), 0, convolution)
    left = _centre("sep_filter2d", len(v), 0, convolution)
    if convolution:
        u, v = u[::-1], v[::-1]
    return given_as("sep_filter2d", separable(a, u, v, top, left, code, cval).reshape(shape), dtype)


def separable(a: Array, u: Array, v: Array, top: int, left: int, mode: int, cval: float) -> Array:
    y = empty(a.shape, a.dtype)
    u, v = (np.ascontiguousarray(t, a.dtype)[None] for t in (u, v))
    _core.filter2d_sep(a, u, v, y, top, left, mode, float(cval))
    return y


def filter_bank(x: Any, kernels: Any, **options: Any) -> Array:
    """`filter2d` with each of several kernels (a sequence, or [K,R,S]): [K, *x.shape]."""
    results = [filter2d(x, k, **options) for k in kernels]
    if not results:
        raise ValueError("filter_bank: expected at least one kernel")
    return np.stack(results)


# --- convolution of signals


def fftconv(x: Any, k: Any, mode: str = "full", *, algo: str = "auto") -> Array:
    """The convolution of two arrays of 1, 2 or 3 axes, zeros outside, as `scipy.signal.fftconvolve`.

    Parameters
    ----------
    x, k : real, or complex, of the same number of axes
    mode : "full" (every overlap, x + k - 1 long), "same" (the middle of that, as long as x), "valid" (where the shorter
        lies within the longer)
    algo : "auto" takes the cheapest of "direct", "separable" (2-D) and "fft"; three axes, complex numbers and, but for
        "direct" and "separable", kernels longer than 2**20 go by one transform over everything

    Returns float64 if one is, else float32; complex numbers likewise. Raises ValueError for shapes and modes that do
    not fit, TypeError for anything but numbers.
    """
    _one_of("fftconv", "mode", mode, ("full", "same", "valid"))
    _one_of("fftconv", "algo", algo, ALGOS)
    a, w = _numbers("fftconv", x, k)
    if a.ndim != w.ndim or not 1 <= a.ndim <= 3:
        raise ValueError(f"fftconv: expected two arrays of 1 to 3 axes each, got shapes {a.shape} and {w.shape}")
    if a.size == 0 or w.size == 0:
        raise ValueError(f"fftconv: expected arrays that are not empty, got shapes {a.shape} and {w.shape}")
    if mode == "valid" and all(p <= q for p, q in zip(a.shape, w.shape, strict=True)):
        a, w = w, a
    if mode == "valid" and any(p < q for p, q in zip(a.shape, w.shape, strict=True)):
        raise ValueError(f"fftconv: mode 'valid' needs one array within the other, got {a.shape} and {w.shape}")
    long = max(w.shape) > LONGEST and algo in ("auto", "fft")
    if a.dtype.kind == "c" or w.dtype.kind == "c" or a.ndim == 3 or long:
        return _whole(a, w, mode)
    rows, kernel = (v[None] if v.ndim == 1 else v for v in (a, w))
    (p, top), (q, left) = (_span(mode, m, n) for m, n in zip(rows.shape, kernel.shape, strict=True))
    image = contiguous(rows)[None, :, :, None]
    y = correlate(image, kernel[::-1, ::-1], (p, q), top, left, 0, 0.0, algo, "fftconv")
    return y.reshape(q if a.ndim == 1 else (p, q))


def _numbers(where: str, x: Any, k: Any) -> tuple[Array, Array]:
    """Two arrays of one dtype, real or complex, in one of two precisions."""
    a, w = (v if isinstance(v, np.ndarray) and v.dtype.kind == "c" else operand(where, v) for v in (x, k))
    if "c" not in (a.dtype.kind, w.dtype.kind):
        return tuple(operands(where, a, w))
    dtype = np.complex64 if all(v.dtype in (np.float32, np.complex64) for v in (a, w)) else np.complex128
    return np.ascontiguousarray(a, dtype), np.ascontiguousarray(w, dtype)


def _span(mode: str, p: int, q: int) -> tuple[int, int]:
    """(results along an axis of p against q, taps before the first)."""
    if mode == "full":
        return p + q - 1, q - 1
    return (p, q // 2) if mode == "same" else (p - q + 1, 0)


def _whole(a: Array, w: Array, mode: str) -> Array:
    """The convolution by one transform over all axes."""
    is_complex = a.dtype.kind == "c"
    real = a.real.dtype
    full = [p + q - 1 for p, q in zip(a.shape, w.shape, strict=True)]
    sizes = [good_length(n) for n in full]
    spectra = [_spectrum(v, sizes, real, is_complex) for v in (a, w)]
    y = empty(spectra[0].shape, real)
    flat = (1, -1, 2)
    _core.complex_mul(spectra[0].reshape(flat), spectra[1].reshape(flat)[0], y.reshape(flat), 0)
    out = _signal(y, sizes, is_complex)
    begin = [0 if mode == "full" else (q - 1) // 2 if mode == "same" else q - 1 for q in w.shape]
    count = [_span(mode, p, q)[0] for p, q in zip(a.shape, w.shape, strict=True)]
    cut = out[tuple(slice(b, b + n) for b, n in zip(begin, count, strict=True))]
    return np.ascontiguousarray(cut)


def _spectrum(v: Array, sizes: Sequence[int], real: np.dtype[Any], is_complex: bool) -> Array:
    """The transform of v over all axes, as [..., 2]."""
    last = v.ndim - 1
    if is_complex:
        z = np.ascontiguousarray(v, np.result_type(real, np.complex64))
        y = transform(z.view(real).reshape(*z.shape, 2), last, sizes[last], False, 1.0)
    else:
        y = transform_real(np.ascontiguousarray(v, real), last, sizes[last], 1.0)
    for axis in range(last):
        y = transform(y, axis, sizes[axis], False, 1.0)
    return y


def _signal(y: Array, sizes: Sequence[int], is_complex: bool) -> Array:
    """The inverse of `_spectrum`."""
    last = y.ndim - 2
    for axis in range(last):
        y = transform(y, axis, sizes[axis], True, 1.0 / sizes[axis])
    if not is_complex:
        return transform_back(y, last, sizes[last], 1.0 / sizes[last])
    y = transform(y, last, sizes[last], True, 1.0 / sizes[last])
    return y.view(np.result_type(y.dtype, np.complex64)).reshape(y.shape[:-1])


def deconvolve(y: Any, k: Any, *, noise: float = 1e-3, mode: str = "full") -> Array:
    """The signal whose convolution with k is y, by a regularised inverse filter (Wiener's for white noise).

    Parameters
    ----------
    y : real, 1 to 3 axes
    k : real, of the same number of axes, no longer than y along any
    noise : power of the noise relative to the signal's; the spectrum is Y conj(K) / (|K|^2 + noise). 0 inverts exactly,
        and raises ValueError where K is 0
    mode : "full": y = fftconv(x, k), and x [y - k + 1] is returned; "circular": y is x convolved around its ends, and x
        is as long as y

    N. Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series, 1949.
    """
    _one_of("deconvolve", "mode", mode, ("full", "circular"))
    a, w = operands("deconvolve", y, k)
    if a.ndim != w.ndim or not 1 <= a.ndim <= 3 or any(p < q for p, q in zip(a.shape, w.shape, strict=True)):
        raise ValueError(f"deconvolve: expected k within y, 1 to 3 axes, got shapes {w.shape} and {a.shape}")
    if w.size == 0:
        raise ValueError("deconvolve: expected a kernel that is not empty")
    if not noise >= 0.0:
        raise ValueError(f"deconvolve: noise must not be negative, got {noise}")
    real = a.dtype
    sizes = list(a.shape)
    if mode == "full":  # the sum of all of y's overlaps is circular already at this length
        sizes = [good_length(n) for n in sizes]
    kernel = _spectrum(w, sizes, np.dtype(np.float64), False)
    power = np.sum(kernel * kernel, -1, keepdims=True) + noise
    if power.min() <= np.finfo(np.float64).tiny:
        raise ValueError("deconvolve: the kernel's spectrum has zeros; give a noise above 0")
    inverse = (kernel * np.array([1.0, -1.0]) / power).astype(real)
    spectrum = _spectrum(a, sizes, real, False)
    product = new_array(spectrum.shape, CODE[real])
    flat = (1, -1, 2)
    _core.complex_mul(spectrum.reshape(flat), inverse.reshape(flat)[0], product.reshape(flat), 0)
    out = _signal(product, sizes, False)
    if mode == "circular":
        return out
    return np.ascontiguousarray(out[tuple(slice(0, p - q + 1) for p, q in zip(a.shape, w.shape, strict=True))])


def lfilter_fir(b: Any, x: Any, axis: int = -1, *, algo: str = "auto") -> Array:
    """The causal filter y[i] = sum_j b[j] x[i - j] along an axis, x being 0 before its beginning.

    b : taps [J]; x : real, any number of axes; returns an array of x's shape (`scipy.signal.lfilter(b, 1, x)`).
    """
    _one_of("lfilter_fir", "algo", algo, ("auto", "direct", "fft"))
    taps, a = operands("lfilter_fir", b, x)
    if taps.ndim != 1 or taps.size == 0:
        raise ValueError(f"lfilter_fir: expected a filter b [J] that is not empty, got shape {taps.shape}")
    if a.ndim == 0:
        raise ValueError("lfilter_fir: expected at least one axis, got a number")
    at = axis_index("lfilter_fir", axis, a.ndim)
    a = contiguous(a)
    before, after = math.prod(a.shape[:at]), math.prod(a.shape[at + 1 :])
    lines = a.reshape(before, 1, a.shape[at], after)
    shape = (1, a.shape[at])
    y = correlate(lines, taps[None, ::-1], shape, 0, len(taps) - 1, 0, 0.0, algo, "lfilter_fir")
    return y.reshape(a.shape)
