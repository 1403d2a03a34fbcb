"""Fourier transforms of plain arrays, with NumPy's names and meaning (`numpy.fft`); short-time transforms.

Any length: products of 2, 3, 5, 7, 11 and 13 by mixed radices, all others by Bluestein's algorithm. float32 gives
complex64, float64 and integers give complex128. Each function takes arrays, not tensors: the tape has no complex
numbers; `ops.fft`, `ops.rfft` and their inverses, on [..., 2], have gradients.

>>> import numpy as np, rosenblatt as rb
>>> rb.fft.rfft(np.array([1.0, 0.0, -1.0, 0.0]))
array([0.+0.j, 2.+0.j, 0.+0.j])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from ._options import whole
from .ops._common import CODE, axis_index, new_array
from .ops._fourier import length, scale_of, table, transform, transform_back, transform_real
from .tensor import Tensor

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "istft",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
    "stft",
]

Array = npt.NDArray[Any]

_COMPLEX: dict[Any, Any] = {np.dtype(np.float32): np.dtype(np.complex64), np.dtype(np.float64): np.dtype(np.complex128)}
_REAL: dict[Any, Any] = {v: k for k, v in _COMPLEX.items()}
_SWAPPED: dict[Any, str] = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def _numbers(where: str, a: Any, want: str) -> Array:
    """a as an array of at least one axis, of complex ("c") or real ("r") numbers in one of two precisions."""
    if isinstance(a, Tensor):
        raise TypeError(f"{where}: expected an array, got a Tensor; rb.ops.fft and its kin take tensors [..., 2]")
    x = np.asarray(a)
    if x.dtype.kind not in "biufc":
        raise TypeError(f"{where}: expected numbers, got {x.dtype}")
    if x.ndim == 0:
        raise ValueError(f"{where}: expected at least one axis, got a number")
    if x.dtype.kind == "c" and want == "r":
        raise TypeError(f"{where}: expected real numbers, got {x.dtype}")
    single = x.dtype.itemsize <= (8 if x.dtype.kind == "c" else 4) and x.dtype.kind in "fc"
    real = np.dtype(np.float32 if single else np.float64)
    y: Array = x.astype(real if want == "r" else _COMPLEX[real], copy=False)
    return y


def _pairs(x: Array) -> Array:
    """Complex numbers as [..., 2], without a copy if they are contiguous."""
    x = x if x.flags.c_contiguous else x.copy(order="C")
    y: Array = x.view(_REAL[x.dtype])
    return y.reshape(*x.shape, 2)


def _joined(y: Array) -> Array:
    z: Array = y.view(_COMPLEX[y.dtype])
    return z.reshape(y.shape[:-1])


def _along(where: str, a: Any, n: Any, axis: Any, norm: str | None, inverse: bool) -> Array:
    if n is None and norm is None and type(a) is np.ndarray and a.ndim == 1 and a.size and a.flags.c_contiguous:
        real = _REAL.get(a.dtype)
        if real is not None and type(axis) is int and axis in (0, -1):  # the usual call, without the conversions below
            code, size = CODE[real], a.size
            y = new_array((1, size, 1, 2), code)
            x = a.view(real).reshape(1, size, 1, 2)
            _core.fft(x, table(size, False, code), y, inverse, 1.0 / size if inverse else 1.0)
            z: Array = y.view(a.dtype)
            return z.reshape(size)
    x = _numbers(where, a, "c")
    at = axis_index(where, axis, x.ndim)
    size = length(where, n, x.shape[at])
    return _joined(transform(_pairs(x), at, size, inverse, scale_of(where, size, norm, inverse)))


def fft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """sum_i a[i] e^(-2 pi i k / n) for k < n along `axis`; a is cut or continued by zeros to length n.

    norm : "backward" (no factor here, 1/n in the inverse), "ortho" (1/sqrt(n) in both), "forward" (1/n here).

    Raises ValueError for lengths below 1, axes out of range and unknown norms, TypeError for anything but numbers.
    """
    return _along("fft", a, n, axis, norm, False)


def ifft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The inverse of `fft`."""
    return _along("ifft", a, n, axis, norm, True)


def rfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The bins 0 .. n/2 of the transform of real numbers; the others are their mirrored conjugates. See `fft`."""
    if n is None and norm is None and type(a) is np.ndarray and a.ndim == 1 and a.size and a.flags.c_contiguous:
        kind = _COMPLEX.get(a.dtype)
        if kind is not None and type(axis) is int and axis in (0, -1):
            code, size = CODE[a.dtype], a.size
            y = new_array((1, size // 2 + 1, 1, 2), code)
            _core.rfft(a.reshape(1, size, 1), table(size, True, code), y, size, 1.0)
            z: Array = y.view(kind)
            return z.reshape(size // 2 + 1)
    x = _numbers("rfft", a, "r")
    at = axis_index("rfft", axis, x.ndim)
    size = length("rfft", n, x.shape[at])
    return _joined(transform_real(x, at, size, scale_of("rfft", size, norm, False)))


def irfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The inverse of `rfft`: n real numbers, by default 2 (bins - 1)."""
    return _back("irfft", a, n, axis, norm)


def _back(where: str, a: Any, n: Any, axis: Any, norm: str | None) -> Array:
    x = _numbers(where, a, "c")
    at = axis_index(where, axis, x.ndim)
    size = length(where, n, 2 * (x.shape[at] - 1))
    return transform_back(_pairs(x), at, size, scale_of(where, size, norm, True))


def _swapped(where: str, norm: str | None) -> str:
    try:
        return _SWAPPED[norm]
    except (KeyError, TypeError):
        raise ValueError(f"{where}: norm must be 'backward', 'ortho', 'forward' or None, got {norm!r}") from None


def hfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The real spectrum of a signal with Hermitian symmetry, given by its first half."""
    return _back("hfft", np.conjugate(_numbers("hfft", a, "c")), n, axis, _swapped("hfft", norm))


def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The inverse of `hfft`."""
    y = rfft(_numbers("ihfft", a, "r"), n, axis, _swapped("ihfft", norm))
    return np.conjugate(y, out=y)


# --- several axes


def _axes(where: str, x: Array, s: Any, axes: Any) -> tuple[list[int], list[int | None]]:
    """Axes and lengths; s without axes means the last ones, -1 in s the whole axis, as in NumPy."""
    for name, value in (("s", s), ("axes", axes)):
        if value is not None and not np.iterable(value):
            raise TypeError(f"{where}: {name} must be a sequence or None, got {value!r}")
    if axes is None:
        count = x.ndim if s is None else len(tuple(s))
        if count > x.ndim:
            raise ValueError(f"{where}: s has {count} lengths for {x.ndim} axes")
        at = list(range(x.ndim - count, x.ndim))
    else:
        at = [axis_index(where, axis, x.ndim) for axis in axes]
    sizes: list[int | None] = [None] * len(at) if s is None else [None if v == -1 else v for v in s]
    if len(sizes) != len(at):
        raise ValueError(f"{where}: s and axes must be of one length, got {len(sizes)} and {len(at)}")
    return at, sizes


def _over(where: str, a: Any, s: Any, axes: Any, norm: str | None, inverse: bool) -> Array:
    x = _numbers(where, a, "c")
    at, sizes = _axes(where, x, s, axes)
    if not at:
        return x.copy()
    y = _pairs(x)
    for axis, n in zip(reversed(at), reversed(sizes), strict=True):
        size = length(where, n, y.shape[axis])
        y = transform(y, axis, size, inverse, scale_of(where, size, norm, inverse))
    return _joined(y)


def fftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Array:
    """`fft` along several axes (all by default); s: their lengths."""
    return _over("fftn", a, s, axes, norm, False)


def ifftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Array:
    """The inverse of `fftn`."""
    return _over("ifftn", a, s, axes, norm, True)


def fft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Array:
    """`fft` along two axes."""
    return _over("fft2", a, s, axes, norm, False)


def ifft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Array:
    """The inverse of `fft2`."""
    return _over("ifft2", a, s, axes, norm, True)


def rfftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Array:
    """`rfft` along the last of several axes, `fft` along the others."""
    return _real_over("rfftn", a, s, axes, norm)


def rfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Array:
    """`rfftn` along two axes."""
    return _real_over("rfft2", a, s, axes, norm)


def _real_over(where: str, a: Any, s: Any, axes: Any, norm: str | None) -> Array:
    x = _numbers(where, a, "r")
    at, sizes = _axes(where, x, s, axes)
    if not at:
        raise ValueError(f"{where}: expected at least one axis")
    size = length(where, sizes[-1], x.shape[at[-1]])
    y = transform_real(x, at[-1], size, scale_of(where, size, norm, False))
    for axis, n in zip(reversed(at[:-1]), reversed(sizes[:-1]), strict=True):
        size = length(where, n, y.shape[axis])
        y = transform(y, axis, size, False, scale_of(where, size, norm, False))
    return _joined(y)


def irfftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Array:
    """The inverse of `rfftn`; the last length is by default 2 (bins - 1)."""
    return _back_over("irfftn", a, s, axes, norm)


def irfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Array:
    """`irfftn` along two axes."""
    return _back_over("irfft2", a, s, axes, norm)


def _back_over(where: str, a: Any, s: Any, axes: Any, norm: str | None) -> Array:
    x = _numbers(where, a, "c")
    at, sizes = _axes(where, x, s, axes)
    if not at:
        raise ValueError(f"{where}: expected at least one axis")
    y = _pairs(x)
    for axis, n in zip(at[:-1], sizes[:-1], strict=True):
        size = length(where, n, y.shape[axis])
        y = transform(y, axis, size, True, scale_of(where, size, norm, True))
    size = length(where, sizes[-1], 2 * (x.shape[at[-1]] - 1))
    return transform_back(y, at[-1], size, scale_of(where, size, norm, True))


# --- frequencies and their order


def fftfreq(n: int, d: float = 1.0) -> Array:
    """The frequencies of the bins of `fft`: [0, 1, ..., -1] / (n d)."""
    size = length("fftfreq", n, 0)
    return np.concatenate([np.arange((size + 1) // 2), np.arange(-(size // 2), 0)]) * (1.0 / (size * d))


def rfftfreq(n: int, d: float = 1.0) -> Array:
    """The frequencies of the bins of `rfft`: [0, 1, ..., n/2] / (n d)."""
    size = length("rfftfreq", n, 0)
    return np.arange(size // 2 + 1) * (1.0 / (size * d))


def _rolled(where: str, x: Any, axes: int | Sequence[int] | None, sign: int) -> Array:
    a = np.asarray(x)
    names = range(a.ndim) if axes is None else [axes] if isinstance(axes, (int, np.integer)) else axes
    at = [axis_index(where, axis, a.ndim) for axis in names]
    shifts = [a.shape[i] // 2 if sign > 0 else -(a.shape[i] // 2) for i in at]
    return np.roll(a, shifts, at)


def fftshift(x: Any, axes: int | Sequence[int] | None = None) -> Array:
    """Frequency 0 moved to the middle of each axis."""
    return _rolled("fftshift", x, axes, 1)


def ifftshift(x: Any, axes: int | Sequence[int] | None = None) -> Array:
    """The inverse of `fftshift`."""
    return _rolled("ifftshift", x, axes, -1)


# --- short-time transforms


def _frame_options(
    where: str, n_fft: Any, hop: Any, window: Any, win_length: Any, dtype: Any
) -> tuple[int, int, Array]:
    size = length(where, n_fft, 0, "n_fft")
    step = length(where, hop, max(size // 4, 1), "hop_length")
    inner = length(where, win_length, size if window is None else len(window), "win_length")
    if inner > size:
        raise ValueError(f"{where}: expected a window of at most n_fft = {size} samples, got {inner}")
    w = 0.5 - 0.5 * np.cos(2 * np.pi / inner * np.arange(inner)) if window is None else np.asarray(window, np.float64)
    if w.shape != (inner,):
        raise ValueError(f"{where}: expected a window [{inner}], got shape {w.shape}")
    left = (size - inner) // 2
    return size, step, np.pad(w, (left, size - inner - left)).astype(dtype)


def stft(
    x: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    *,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
) -> Array:
    """Spectra of overlapping windowed frames, with the conventions of `torch.stft` (one-sided).

    Parameters
    ----------
    x : real [..., samples]
    n_fft : samples of a frame
    hop_length : samples from one frame to the next, default n_fft / 4
    win_length, window : a window [win_length], by default Hann's, periodic; put in the middle of n_fft zeros
    center : frame t is centred at t * hop_length, x being continued by n_fft / 2 samples on both sides
    pad_mode : how, see `numpy.pad`
    normalized : divide by sqrt(n_fft)

    Returns complex [..., n_fft/2 + 1, frames]. Raises ValueError for a signal shorter than a frame.
    J. B. Allen, L. R. Rabiner, A unified approach to short-time Fourier analysis and synthesis, Proc. IEEE 65, 1977.
    """
    a = _numbers("stft", x, "r")
    size, hop, w = _frame_options("stft", n_fft, hop_length, window, win_length, a.dtype)
    if center:
        half = size // 2
        if pad_mode == "reflect" and a.shape[-1] <= half:
            raise ValueError(f"stft: reflecting {half} samples needs a longer signal than {a.shape[-1]}")
        a = np.pad(a, [(0, 0)] * (a.ndim - 1) + [(half, half)], mode=pad_mode)  # type: ignore[call-overload]
    if a.shape[-1] < size:
        raise ValueError(f"stft: expected at least n_fft = {size} samples, got {a.shape[-1]}")
    frames = np.lib.stride_tricks.sliding_window_view(a, size, axis=-1)[..., ::hop, :]
    cut = new_array(frames.shape, CODE[a.dtype])
    _core.mul(frames, w, cut)
    y = transform_real(cut, cut.ndim - 1, size, 1.0 / math.sqrt(size) if normalized else 1.0)
    return np.swapaxes(_joined(y), -1, -2)


def istft(
    y: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    *,
    center: bool = True,
    normalized: bool = False,
    length: int | None = None,
) -> Array:
    """The signal whose `stft` is nearest to y [..., n_fft/2 + 1, frames] in least squares; options as there.

    length : samples to return, default all that the frames cover.

    Returns real [..., samples]. Raises ValueError where the windows leave samples uncovered. D. W. Griffin, J. S. Lim,
    Signal estimation from modified short-time Fourier transform, IEEE Trans. ASSP 32(2), 1984.
    """
    z = _numbers("istft", y, "c")
    real = _REAL[z.dtype]
    size, hop, w = _frame_options("istft", n_fft, hop_length, window, win_length, real)
    if z.ndim < 2 or z.shape[-2] != size // 2 + 1 or z.shape[-1] < 1:
        raise ValueError(f"istft: expected y [..., {size // 2 + 1}, frames], got shape {z.shape}")
    spectra = _pairs(np.swapaxes(z, -1, -2))
    cut = transform_back(spectra, z.ndim - 1, size, 1.0 / math.sqrt(size) if normalized else 1.0 / size)
    frames = new_array(cut.shape, CODE[real])
    _core.mul(cut, w, frames)
    signal = _overlapped(frames, hop)
    weight = _overlapped(np.broadcast_to(w * w, (z.shape[-1], size)), hop)
    begin = size // 2 if center else 0
    if length is not None:
        length = whole("istft", "length", length, 1)
    end = begin + length if length is not None else signal.shape[-1] - begin
    covered = weight[begin : min(end, signal.shape[-1])]
    if covered.size == 0 or covered.min() < 1e-11:
        raise ValueError("istft: the windows leave samples uncovered; choose a smaller hop_length or another window")
    out = signal[..., begin:end] / covered
    missing = end - begin - out.shape[-1]
    return np.pad(out, [(0, 0)] * (out.ndim - 1) + [(0, missing)]) if missing > 0 else out


def _overlapped(frames: Array, hop: int) -> Array:
    """Frames [..., F, size] added up at distances of hop: [..., (F - 1) hop + size]."""
    *outer, count, size = frames.shape
    parts = -(-size // hop)
    whole = np.zeros((*outer, count, parts * hop), frames.dtype)
    whole[..., :size] = frames
    pieces = whole.reshape(*outer, count, parts, hop)
    out = np.zeros((*outer, count + parts - 1, hop), frames.dtype)
    for p in range(parts):
        out[..., p : p + count, :] += pieces[..., p, :]
    return out.reshape(*outer, -1)[..., : (count - 1) * hop + size]
