"""The records for Fourier transforms and filters; references from NumPy and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.ndimage as ndimage
import scipy.signal as signal
from optable import Sample, err, normal, op, unreal, zeros
from optable_select import SPECS

__all__ = ["SPECS"]


def _complex(z: Any) -> Any:
    return np.stack([z.real, z.imag], -1)


def _numbers(x: Any) -> Any:
    return x[..., 0] + 1j * x[..., 1]


def _near(y: Any) -> Any:
    """y and the root mean square of all of it, which the errors of transforms are relative to."""
    return y, np.full(y.shape, np.sqrt(np.mean(y**2)) if y.size else 1.0)


def _options() -> Any:
    yield (3, 10), {}
    yield (13,), {"norm": "ortho"}
    yield (2, 6, 5), {"axis": 1, "n": 4, "norm": "forward"}
    yield (4, 3), {"axis": 0, "n": 7}
    yield (17,), {"n": 1}
    yield (0, 3), {}


_ERRORS = (
    err(zeros(4, 2), 0, says="the length n of the transform must be at least 1, got 0"),
    err(zeros(4, 2), 3, 1, says="axis 1 is out of range for 1 axes"),
    err(zeros(4, 2), norm="half", says="norm must be 'backward', 'ortho', 'forward' or None, got 'half'"),
    err(zeros(4, 2), 2.5, kind=TypeError, says="n must be an integer"),
    *unreal(),
)

for _name, _peer in (("fft", np.fft.fft), ("ifft", np.fft.ifft)):
    op(
        _name,
        lambda rng: [Sample((normal(rng, (*s, 2)),), o) for s, o in _options()],
        lambda x, f=_peer, **o: _near(_complex(f(_numbers(x), **o))),
        8,
        gradients=(0,),
        errors=(*_ERRORS, err(zeros(4), says="expected complex numbers [..., 2], got shape (4,)")),
    )
op(
    "rfft",
    lambda rng: [Sample((normal(rng, s),), o) for s, o in _options()],
    lambda x, **o: _near(_complex(np.fft.rfft(x, **o))),
    8,
    gradients=(0,),
    errors=(
        err(zeros(4), 0, says="must be at least 1, got 0"),
        err(zeros(4), 3, 1, says="axis 1 is out of range"),
        *unreal(),
    ),
)
op(
    "irfft",
    lambda rng: [Sample((normal(rng, (*s, 2)),), o) for s, o in _options()],
    lambda x, **o: _near(np.fft.irfft(_numbers(x), **o)),
    8,
    gradients=(0,),
    errors=(*_ERRORS, err(zeros(1, 2), says="must be at least 1, got 0")),
)

# --- filters

_SHAPES = [(7, 9), (5, 6, 3), (2, 4, 5, 1), (1, 1), (40, 70)]
_MODES = ["reflect", "mirror", "nearest", "wrap", "constant"]


def _planes(function: Any) -> Any:
    """`function` of a plane [H,W], applied to every channel of every image."""

    def whole(x: Any, *args: Any, **options: Any) -> Any:
        y = np.empty(x.shape)
        a = x.reshape((1, *x.shape, 1) if x.ndim == 2 else (1, *x.shape) if x.ndim == 3 else x.shape)
        b = y.reshape(a.shape)
        for n in range(a.shape[0]):
            for c in range(a.shape[3]):
                b[n, :, :, c] = function(a[n, :, :, c], *args, **options)
        return y, np.full(y.shape, max(1.0, float(np.abs(x).max(initial=0.0))))

    return whole


_IMAGE_ERRORS = (
    err(zeros(5), 1, says="expected an image [H,W], [H,W,C] or [N,H,W,C], got shape (5,)"),
    err(zeros(5, 0), 1, says="expected images with pixels, got shape (5, 0)"),
)


def _kernels(rng: Any) -> Any:
    yield normal(rng, (3, 3))
    yield normal(rng, (2, 5))
    yield np.outer([1.0, 2.0, 3.0, 1.0], [1.0, -1.0, 2.0])
    yield np.outer(np.ones(9), np.arange(7.0)) / 20


def _filter_samples(rng: Any) -> Any:
    out = []
    for i, s in enumerate(_SHAPES):
        for j, k in enumerate(_kernels(rng)):
            o = {
                "mode": _MODES[(i + j) % 5],
                "cval": 0.5,
                "convolution": bool(i % 2),
                "algo": ("auto", "direct", "fft")[j % 3],
            }
            out.append(Sample((normal(rng, s),), {"kernel": k, **o}))
    out.append(Sample((normal(rng, (6, 7)),), {"kernel": np.outer([1.0, 2.0], [1.0, 3.0]), "algo": "separable"}))
    out.append(Sample((normal(rng, (6, 7)),), {"kernel": normal(rng, (4, 3)), "origin": (1, -1)}))
    return [*out, Sample((normal(rng, (6, 7)),), {"kernel": normal(rng, (4, 5)), "origin": -1, "convolution": True})]


def _filtered(x: Any, kernel: Any, convolution: bool = False, algo: str = "", **o: Any) -> Any:
    return (ndimage.convolve if convolution else ndimage.correlate)(x, kernel, **o)


op(
    "filter2d",
    _filter_samples,
    _planes(_filtered),
    120,
    tensors=False,
    errors=(
        *_IMAGE_ERRORS,
        err(zeros(5, 5), zeros(3), says="expected a kernel with 2 axes"),
        err(zeros(5, 5), zeros(3, 3), mode="around", says="mode must be one of"),
        err(
            zeros(5, 5), zeros(3, 3), algo="quick", says="algo must be one of auto, direct, separable, fft, got 'quick'"
        ),
        err(zeros(5, 5), zeros(3, 3), origin=2, says="origin 2 lies outside a kernel of 3"),
        err(zeros(5, 5), np.eye(3), algo="separable", dtype=complex, kind=TypeError, says="dtype must be"),
        *unreal(np.ones((3, 3))),
    ),
)


def _sep_samples(rng: Any) -> Any:
    out = [Sample((normal(rng, s),), {"column": [1.0, 2.0, -1.0, 0.5], "row": [2.0, 1.0, 1.0], "mode": m})
           for s, m in zip(_SHAPES, _MODES, strict=True)]  # fmt: skip
    return [*out, Sample((normal(rng, (6, 7)),), {"column": [1.0, 3.0], "row": [2.0], "convolution": True})]


op(
    "sep_filter2d",
    _sep_samples,
    _planes(lambda x, column, row, convolution=False, **o: _filtered(x, np.outer(column, row), convolution, **o)),
    120,
    tensors=False,
    errors=(
        *(err(e.args[0], [1.0], [1.0], says=e.says) for e in _IMAGE_ERRORS),
        err(zeros(5, 5), zeros(3, 3), zeros(3), says="expected a column with 1 axes"),
        err(zeros(5, 5), zeros(3), zeros(0), says="expected a row with 1 axes, none of them empty"),
        err(zeros(5, 5), zeros(3), zeros(3), mode=1, says="mode must be one of"),
    ),
)
op(
    "filter_bank",
    lambda rng: [
        Sample((normal(rng, (6, 7)),), {"kernels": [normal(rng, (3, 3)), normal(rng, (5, 2))], "mode": "wrap"})
    ],
    lambda x, kernels, **o: (np.stack([ndimage.correlate(x, k, **o) for k in kernels]), np.full((2, 6, 7), 9.0)),
    40,
    tensors=False,
    errors=(err(zeros(5, 5), [], says="expected at least one kernel"),),
)
op(
    "gaussian_filter",
    lambda rng: [
        Sample((normal(rng, s),), {"sigma": g, "mode": m, "order": k})
        for s, g, m, k in zip(_SHAPES, (1.0, (0.5, 2.0), 3.0, 1.5, (0, 2.5)), _MODES, (0, (1, 0), 2, 0, 3), strict=True)
    ],
    _planes(ndimage.gaussian_filter),
    40,
    tensors=False,
    errors=(
        *_IMAGE_ERRORS,
        err(zeros(5, 5), -1.0, says="sigma must not be negative or infinite, got -1.0"),
        err(zeros(5, 5), 1.0, order=0.5, says="order must be integers"),
        err(zeros(5, 5), (1, 2, 3), says="sigma must be a number or a pair"),
        err(zeros(5, 5), 1.0, mode="?", says="mode must be one of"),
    ),
)


def _edge(x: Any, axis: Any = -1, weights: Any = (1.0, 2.0, 1.0), **o: Any) -> Any:
    if axis is None:
        return np.hypot(_edge(x, 0, weights, **o), _edge(x, 1, weights, **o))
    slope, smooth = np.array([[-1.0, 0.0, 1.0]]), np.array([weights])
    return ndimage.correlate(x, smooth.T @ slope if axis else slope.T @ smooth, **o)


for _name, _weights in (("sobel", (1.0, 2.0, 1.0)), ("scharr", (3.0, 10.0, 3.0))):
    op(
        _name,
        lambda rng: [
            Sample((normal(rng, s),), {"axis": a, "mode": m})
            for s, a, m in zip(_SHAPES, (0, 1, None, -1, None), _MODES, strict=True)
        ],
        _planes(lambda x, w=_weights, **o: _edge(x, weights=w, **o)),
        80,
        tensors=False,
        errors=(
            *_IMAGE_ERRORS,
            err(zeros(5, 5), 2, says="axis 2 is out of range for 2 axes"),
            err(zeros(5, 5), mode="?", says="mode must be one of"),
        ),
    )
op(
    "blur",
    lambda rng: [
        Sample((normal(rng, s),), {"size": g, "mode": m})
        for s, g, m in zip(_SHAPES, (1, (2, 3), 5, 4, (9, 1)), _MODES, strict=True)
    ],
    _planes(ndimage.uniform_filter),
    20,
    tensors=False,
    errors=(*_IMAGE_ERRORS, err(zeros(5, 5), 0, says="size must be integers of at least 1, got 0")),
)
op(
    "sharpen",
    lambda rng: [Sample((normal(rng, s),), {"amount": 0.5, "sigma": 1.2}) for s in _SHAPES],
    _planes(lambda x, amount, sigma: x + amount * (x - ndimage.gaussian_filter(x, sigma))),
    20,
    tensors=False,
    errors=(*_IMAGE_ERRORS, err(zeros(5, 5), 1.0, 0.0, says="sigma must be positive, got 0.0")),
)

# --- signals


def _fftconv_samples(rng: Any) -> Any:
    out = []
    for x, k in [((9,), (4,)), ((3,), (8,)), ((1,), (1,)), ((300,), (40,)), ((6, 7), (3, 4)), ((40, 30), (11, 12)),
                 ((4, 5, 6), (2, 3, 4))]:  # fmt: skip
        for mode in ("full", "same", "valid"):
            for algo in ("auto", "direct", "fft") if len(x) < 3 else ("auto",):
                out.append(Sample((normal(rng, x), normal(rng, k)), {"mode": mode, "algo": algo}))
    return out


def _convolved(x: Any, k: Any, mode: str = "full", algo: str = "auto") -> Any:
    y = signal.convolve(x, k, mode, method="direct")
    return y, np.full(y.shape, np.linalg.norm(x) * np.linalg.norm(k))


op(
    "fftconv",
    _fftconv_samples,
    _convolved,
    10,
    tensors=False,
    errors=(
        err(zeros(5), zeros(3, 3), says="expected two arrays of 1 to 3 axes each"),
        err(zeros(5), zeros(0), says="expected arrays that are not empty"),
        err(zeros(5, 2), zeros(2, 5), mode="valid", says="needs one array within the other"),
        err(zeros(5), zeros(3), mode="half", says="mode must be one of full, same, valid, got 'half'"),
        err(zeros(5), zeros(3), algo="?", says="algo must be one of"),
    ),
)
op(
    "lfilter_fir",
    lambda rng: [
        Sample((normal(rng, b), normal(rng, x)), {"axis": axis, "algo": algo})
        for b, x, axis in [
            ((4,), (9,), -1),
            ((30,), (5,), 0),
            ((3,), (2, 50, 4), 1),
            ((7,), (8, 3), 0),
        ]
        for algo in ("auto", "direct", "fft")
    ],
    lambda b, x, axis, algo: (
        signal.lfilter(b, 1.0, x, axis),
        np.full(x.shape, np.linalg.norm(b) * max(1.0, float(np.linalg.norm(x)))),
    ),
    10,
    tensors=False,
    errors=(
        err(zeros(3, 3), zeros(9), says="expected a filter b [J]"),
        err(zeros(3), zeros(9), 1, says="axis 1 is out of range for 1 axes"),
        err(zeros(3), 1.0, says="expected at least one axis"),
        err(zeros(3), zeros(9), algo="separable", says="algo must be one of auto, direct, fft"),
    ),
)


def _deconvolve_samples(rng: Any) -> Any:
    for x, k in [((40,), (5,)), ((12, 15), (3, 4)), ((5, 6, 7), (2, 2, 3))]:
        kernel = normal(rng, k) * 0.1
        kernel[(0,) * len(k)] += 2.0
        yield Sample((normal(rng, x), kernel), {"mode": "circular", "noise": 0.25})


def _wiener(y: Any, k: Any, mode: str, noise: float) -> Any:
    K = np.fft.fftn(k, y.shape, tuple(range(y.ndim)))
    x = np.fft.ifftn(np.fft.fftn(y) * np.conj(K) / (np.abs(K) ** 2 + noise)).real
    return x, np.full(x.shape, np.linalg.norm(y))


op(
    "deconvolve",
    lambda rng: list(_deconvolve_samples(rng)),
    _wiener,
    8,
    tensors=False,
    errors=(
        err(zeros(5), zeros(9), says="expected k within y"),
        err(zeros(5), zeros(2), noise=-1.0, says="noise must not be negative"),
        err(zeros(5), zeros(2), noise=0.0, says="the kernel's spectrum has zeros"),
        err(zeros(5), zeros(2), mode="same", says="mode must be one of full, circular"),
    ),
)


def _gabor_values(*args: Any, **o: Any) -> Any:
    y = _gabor(*args, **o)
    return y, np.full(y.shape, 1.0)


def _gabor(wave: Any, theta: Any, sigma: float, gamma: float, phase: float, size: int) -> Any:
    y = np.empty((size, size))
    for i, j in np.ndindex(size, size):
        h, w = i - (size - 1) / 2, j - (size - 1) / 2
        u, v = w * np.cos(theta) + h * np.sin(theta), h * np.cos(theta) - w * np.sin(theta)
        y[i, j] = np.exp(-(u * u + gamma**2 * v * v) / (2 * sigma**2)) * np.cos(2 * np.pi * u / wave + phase)
    return y


op(
    "gabor_kernel",
    lambda rng: [
        Sample((wave, 0.3), {"sigma": 2.0, "gamma": 0.7, "phase": 0.4, "size": n}) for wave, n in [(4.0, 9), (7.0, 4)]
    ],
    _gabor_values,
    4,
    tensors=False,
    errors=(
        err(-1.0, says="expected positive wavelength, sigma, gamma"),
        err(4.0, size=0, says="size must be an integer of at least 1, got 0"),
    ),
)
op(
    "gabor_bank",
    lambda rng: [Sample(((3.0, 6.0), 3), {"sigma": 1.5, "gamma": 1.0, "phase": 0.0, "size": 7})],
    lambda waves, count, **o: (
        np.stack([_gabor(w, np.pi * i / count, **o) for w in waves for i in range(count)]),
        np.ones((len(waves) * count, 7, 7)),
    ),
    4,
    tensors=False,
    errors=(err([], says="expected wavelengths and orientations"), err([3.0], 0, says="expected wavelengths")),
)
