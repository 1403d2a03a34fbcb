"""Operations on sounds: noise, shift, gain, speed, time stretch, pitch; and random ones for batches.

A sound is an array of real numbers with time along one axis, the last by default: [T] or [N,T]; `load_wav` gives [T,C],
which is axis=0. Results are float32 (float64 for float64) and new. The phase vocoder uses NumPy's FFT: it prepares
data, and is no part of a network. The random classes take batches [N,T] or [N,T,C] and are called as
transform(x, generator); every sound draws its own numbers, and its length is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import ops
from .._options import whole
from ..tensor import float_array
from ._arrays import Array, interval, normal_like, number

__all__ = [
    "RandomGain",
    "RandomPitch",
    "RandomShift",
    "RandomSignalNoise",
    "RandomSpeed",
    "RandomTimeStretch",
    "add_noise",
    "gain",
    "pitch_shift",
    "resample",
    "shift",
    "speed",
    "time_stretch",
]

ZEROS = 24  # zero crossings of the interpolating sinc on each side
LIMIT = 64.0  # rates beyond it, or below its inverse, are mistakes


def _rows(who: str, x: Any, axis: int) -> tuple[Array, Callable[[Array], Array]]:
    """(sounds as contiguous rows [M,T], function that gives rows [M,T'] the layout of `x`)."""
    a = float_array(who, x)
    if not a.ndim or not -a.ndim <= axis < a.ndim:
        raise ValueError(f"{who}: expected sounds with time along axis {axis}, got shape {list(a.shape)}")
    moved = np.moveaxis(a, axis, -1)
    rows = np.ascontiguousarray(moved).reshape(math.prod(moved.shape[:-1]), moved.shape[-1])

    def back(y: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(y.reshape(*moved.shape[:-1], y.shape[-1]), -1, axis))

    return rows, back


def add_noise(x: Any, snr_db: float, generator: np.random.Generator, *, axis: int = -1) -> Array:
    """White Gaussian noise added at a signal-to-noise ratio of `snr_db` decibels, exactly, for each sound.

    The ratio is that of mean squares over time; silence stays silent.
    """
    rows, back = _rows("add_noise", x, axis)
    ratio = 10.0 ** (-number("add_noise", "snr_db", snr_db) / 20)
    if not rows.size:
        return back(np.array(rows))
    noise = normal_like(rows, generator)
    power = [np.sqrt(np.square(a, dtype=np.float64).mean(1, keepdims=True)) for a in (rows, noise)]
    scale = (ratio * power[0] / np.maximum(power[1], 1e-30)).astype(rows.dtype)
    return back(ops.add(rows, ops.mul(noise, scale)))


def gain(x: Any, decibels: float) -> Array:
    """The sounds made louder by so many decibels of amplitude (6.02 doubles it); nothing is cut."""
    return ops.mul(float_array("gain", x), 10.0 ** (number("gain", "decibels", decibels) / 20))


def shift(x: Any, steps: int, *, wrap: bool = False, axis: int = -1) -> Array:
    """Sounds moved by `steps` samples to later times (negative: earlier); silence comes in, or what left, if wrap."""
    rows, back = _rows("shift", x, axis)
    steps = whole("shift", "steps", steps, -(2**62))
    if wrap:
        return back(np.roll(rows, steps, 1))
    y = np.zeros_like(rows)
    length = rows.shape[1]
    if abs(steps) < length:
        y[:, max(steps, 0) : length + min(steps, 0)] = rows[:, max(-steps, 0) : length - max(steps, 0)]
    return back(y)


def _rate(who: str, name: str, value: Any) -> float:
    return number(who, name, value, 1 / LIMIT, LIMIT)


def _interpolate(a: Array, step: float, count: int) -> Array:
    """Rows [M,T] read at times 0, step, 2 step, ...: [M,count]. Band-limited; silence outside.

    A sinc with ZEROS zero crossings under a Hann window; for steps above 1 as much wider as removes what the new rate
    cannot carry.
    """
    times = np.arange(count) * step
    base = np.floor(times).astype(np.int64)
    part = times - base  # [count], in [0, 1)
    band = min(1.0, 1.0 / step)
    reach = math.ceil(ZEROS / band)
    out, total = np.zeros((len(a), count), a.dtype), np.zeros(count)
    if not a.shape[1]:  # shrunk to nothing: silence everywhere
        return out
    for tap in range(1 - reach, reach + 1):
        distance = tap - part
        window = np.where(np.abs(distance) < reach, 0.5 + 0.5 * np.cos(np.pi / reach * distance), 0.0)
        weight = np.sinc(band * distance) * window
        total += weight
        at = base + tap
        weight = np.where((at >= 0) & (at < a.shape[1]), weight, 0.0).astype(a.dtype)
        out += weight * a[:, np.clip(at, 0, a.shape[1] - 1)]
    return ops.div(out, total.astype(a.dtype))


def resample(x: Any, old: float, new: float, *, axis: int = -1) -> Array:
    """Sounds of T samples at rate `old` as round(T new / old) samples at rate `new`, band-limited (windowed sinc).

    Source: J. O. Smith, P. Gossett, A flexible sampling-rate conversion method, ICASSP 1984.
    """
    rows, back = _rows("resample", x, axis)
    step = _rate("resample", "old / new", number("resample", "old", old, 1e-9) / number("resample", "new", new, 1e-9))
    count = round(rows.shape[1] / step)
    if not rows.shape[1] or step == 1:
        return back(np.array(rows[:, :count]))
    return back(_interpolate(rows, step, count))


def speed(x: Any, rate: float, *, axis: int = -1) -> Array:
    """Played `rate` times as fast, like a tape: round(T / rate) samples, the pitch rises with the rate."""
    rate = _rate("speed", "rate", rate)
    rows, back = _rows("speed", x, axis)
    return back(resample(rows, rate, 1.0))


def _nearest_peak(size: Array) -> Array:
    """For every bin of [M,F,bins] the bin of the nearest peak, a value larger than its two neighbours on each side."""
    bins = size.shape[-1]
    wide = np.pad(size, ((0, 0), (0, 0), (2, 2)))
    peak = np.ones(size.shape, bool)
    for i in (0, 1, 3, 4):
        other = wide[..., i : i + bins]
        peak &= size > other if i < 2 else size >= other  # of equal neighbours the first
    number_of = np.arange(bins)
    below = np.maximum.accumulate(np.where(peak, number_of, -bins), axis=-1)
    above = np.minimum.accumulate(np.where(peak, number_of, 2 * bins)[..., ::-1], axis=-1)[..., ::-1]
    nearest = np.where(number_of - below <= above - number_of, below, above)
    return np.where((nearest < 0) | (nearest >= bins), number_of, nearest)  # no peak at all: every bin by itself


def _stretch(rows: Array, rate: float, window: int) -> Array:
    """Rows [M,T] -> [M,round(T/rate)] by a phase vocoder."""
    length = rows.shape[1]
    count = round(length / rate)
    hop = window // 4
    shape = 0.5 - 0.5 * np.cos(2 * np.pi / window * np.arange(window))  # Hann, periodic
    frames = length // hop + 2  # so that two frames lie around every time of the sound
    padded = np.zeros((len(rows), (frames - 1) * hop + window), np.float64)
    padded[:, window // 2 : window // 2 + length] = rows
    at = hop * np.arange(frames)[:, None] + np.arange(window)
    spectrum = np.fft.rfft(padded[:, at] * shape, axis=-1)  # [M,frames,bins]
    size, phase = np.abs(spectrum), np.angle(spectrum)
    turn = np.diff(phase, axis=1)  # [M,frames-1,bins]: in one hop, whole turns do not matter
    times = np.arange(count // hop + 2) * rate
    times = times[times <= frames - 1]
    low = np.minimum(times.astype(np.int64), frames - 2)
    part = (times - low)[:, None]
    size = (1 - part) * size[:, low] + part * size[:, low + 1]  # [M,F,bins]
    phase, peak = phase[:, low], _nearest_peak(size)
    angle = np.empty_like(phase)
    angle[:, 0] = phase[:, 0]
    for f in range(1, len(low)):
        # A peak turns on at its own frequency; the bins around it keep their phases relative to it ("identity phase
        # locking"): turned by themselves they drift apart, and the sound becomes hollow and fainter.
        lead = angle[:, f - 1] + turn[:, low[f - 1]] - phase[:, f]
        angle[:, f] = phase[:, f] + np.take_along_axis(lead, peak[:, f], 1)
    pieces = np.fft.irfft(size * np.exp(1j * angle), window, axis=-1) * shape  # [M,F,window]
    steps = pieces.shape[1]
    out = np.zeros((len(rows), steps + 3, hop))
    norm = np.zeros((steps + 3, hop))
    for quarter in range(4):  # overlap and add
        part_of = slice(quarter * hop, (quarter + 1) * hop)
        out[:, quarter : quarter + steps] += pieces[:, :, part_of]
        norm[quarter : quarter + steps] += np.square(shape[part_of])
    y = (out / np.maximum(norm, 1e-3)).reshape(len(rows), -1)[:, window // 2 :]
    return _fitted(y, count).astype(rows.dtype)


def _fitted(rows: Array, length: int) -> Array:
    """Rows [M,T] cut or continued by silence to [M,length]."""
    y = np.zeros((len(rows), length), rows.dtype)
    y[:, : rows.shape[1]] = rows[:, :length]
    return y


def _window(who: str, window: Any, length: int) -> int:
    """A window that divides into four hops; shorter for sounds shorter than it."""
    size = whole(who, "window", window, 16)
    if size % 4:
        raise ValueError(f"{who}: window must be a multiple of 4, got {size}")
    return min(size, max(16, length // 4 * 4))


def time_stretch(x: Any, rate: float, *, window: int = 1024, axis: int = -1) -> Array:
    """`rate` times as fast at the same pitch: round(T / rate) samples, by a phase vocoder with Hann windows.

    window : samples of one analysis window, a multiple of 4: about 25 to 50 ms of sound.
    Sources: J. L. Flanagan, R. M. Golden, Phase vocoder, Bell System Technical Journal 45, 1966; J. Laroche, M. Dolson,
    Improved phase vocoder time-scale modification of audio, IEEE Trans. Speech and Audio Processing 7(3), 1999.
    """
    rows, back = _rows("time_stretch", x, axis)
    rate = _rate("time_stretch", "rate", rate)
    size = _window("time_stretch", window, rows.shape[1])
    if not rows.size or rate == 1:
        return back(_fitted(rows, round(rows.shape[1] / rate)))
    return back(_stretch(rows, rate, size))


def pitch_shift(x: Any, semitones: float, *, window: int = 1024, axis: int = -1) -> Array:
    """The pitch raised by `semitones` (12: twice the frequency), the length kept: time stretch, then resampling."""
    rows, back = _rows("pitch_shift", x, axis)
    factor = 2.0 ** (number("pitch_shift", "semitones", semitones, -48, 48) / 12)
    size = _window("pitch_shift", window, rows.shape[1])
    if not rows.size or factor == 1:
        return back(np.array(rows))
    return back(_fitted(_interpolate(_stretch(rows, 1 / factor, size), factor, rows.shape[1]), rows.shape[1]))


# --- for batches


def _batch(who: str, x: Any) -> Array:
    a = float_array(who, x)
    if a.ndim not in (2, 3):
        raise ValueError(f"{who}: expected sounds [N,T] or [N,T,C], got shape {list(a.shape)}")
    return a


class _RandomSound:
    """Base: a subclass names its `_range` and implements `_one(sound [T] or [T,C], value, generator)`."""

    needs_labels: ClassVar[bool] = False
    p: float

    def _range(self) -> tuple[float, float]:
        raise TypeError(f"{type(self).__name__} names no range")

    def _one(self, sound: Array, value: float, generator: np.random.Generator) -> Array:
        raise TypeError(f"{type(self).__name__} defines no operation")

    def __call__(self, x: Any, generator: np.random.Generator) -> Array:
        """A new batch of the same shape. Raises ValueError when `x` is not [N,T] or [N,T,C]."""
        a = _batch(type(self).__name__, x)
        low, high = self._range()
        values, chosen = generator.uniform(low, high, len(a)), generator.random(len(a)) < self.p
        y = np.array(a)
        for i in np.flatnonzero(chosen).tolist():
            changed = self._one(a[i], float(values[i]), generator)
            length = min(len(changed), len(y[i]))
            y[i, :length], y[i, length:] = changed[:length], 0
        return y


def _checked(sound: Any, name: str, value: Any, low: float, high: float) -> None:
    who = type(sound).__name__
    object.__setattr__(sound, name, interval(who, name, value, low, high))
    number(who, "p", sound.p, 0, 1)


Range = float | tuple[float, float]


@dataclass(frozen=True)
class RandomSignalNoise(_RandomSound):
    """White noise at a signal-to-noise ratio drawn from `snr_db`, on a part p of the sounds; see `add_noise`."""

    snr_db: Range = (10.0, 30.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        _checked(self, "snr_db", self.snr_db, -200, 200)

    def _range(self) -> tuple[float, float]:
        return self.snr_db  # type: ignore[return-value]  # a pair since __post_init__

    def _one(self, sound: Array, value: float, generator: np.random.Generator) -> Array:
        return add_noise(sound, value, generator, axis=0)


@dataclass(frozen=True)
class RandomGain(_RandomSound):
    """Made louder by decibels drawn from `decibels`, on a part p of the sounds; see `gain`."""

    decibels: Range = (-6.0, 6.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        _checked(self, "decibels", self.decibels, -200, 200)

    def _range(self) -> tuple[float, float]:
        return self.decibels  # type: ignore[return-value]

    def _one(self, sound: Array, value: float, generator: np.random.Generator) -> Array:
        return gain(sound, value)


@dataclass(frozen=True)
class RandomShift(_RandomSound):
    """Moved in time by a part of the length drawn from `part` (negative: earlier); see `shift`."""

    part: Range = (-0.1, 0.1)
    wrap: bool = False
    p: float = 1.0

    def __post_init__(self) -> None:
        _checked(self, "part", self.part, -1, 1)

    def _range(self) -> tuple[float, float]:
        return self.part  # type: ignore[return-value]

    def _one(self, sound: Array, value: float, generator: np.random.Generator) -> Array:
        return shift(sound, round(value * len(sound)), wrap=self.wrap, axis=0)


@dataclass(frozen=True)
class RandomSpeed(_RandomSound):
    """Played faster by a rate drawn from `rate`, the pitch with it; cut or continued by silence; see `speed`."""

    rate: Range = (0.9, 1.1)
    p: float = 1.0

    def __post_init__(self) -> None:
        _checked(self, "rate", self.rate, 1 / LIMIT, LIMIT)

    def _range(self) -> tuple[float, float]:
        return self.rate  # type: ignore[return-value]

    def _one(self, sound: Array, value: float, generator: np.random.Generator) -> Array:
        return speed(sound, value, axis=0)


@dataclass(frozen=True)
class RandomTimeStretch(_RandomSound):
    """Faster by a rate drawn from `rate` at the same pitch; cut or continued by silence; see `time_stretch`."""

    rate: Range = (0.9, 1.1)
    window: int = 1024
    p: float = 1.0

    def __post_init__(self) -> None:
        _checked(self, "rate", self.rate, 1 / LIMIT, LIMIT)
        _window("RandomTimeStretch", self.window, 16)

    def _range(self) -> tuple[float, float]:
        return self.rate  # type: ignore[return-value]

    def _one(self, sound: Array, value: float, generator: np.random.Generator) -> Array:
        return time_stretch(sound, value, window=self.window, axis=0)


@dataclass(frozen=True)
class RandomPitch(_RandomSound):
    """The pitch raised by semitones drawn from `semitones`, the length kept; see `pitch_shift`."""

    semitones: Range = (-2.0, 2.0)
    window: int = 1024
    p: float = 1.0

    def __post_init__(self) -> None:
        _checked(self, "semitones", self.semitones, -48, 48)
        _window("RandomPitch", self.window, 16)

    def _range(self) -> tuple[float, float]:
        return self.semitones  # type: ignore[return-value]

    def _one(self, sound: Array, value: float, generator: np.random.Generator) -> Array:
        return pitch_shift(sound, value, window=self.window, axis=0)
