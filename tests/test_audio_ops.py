"""Operations on sounds: against SciPy, formulas and sines whose frequency is known before and after."""

from __future__ import annotations

import numpy as np
import pytest

from rosenblatt.data import audio

signal = pytest.importorskip("scipy.signal")
pytestmark = pytest.mark.quick
RATE = 8000


def sine(frequency=440.0, length=8000, dtype=np.float64):
    return np.sin(2 * np.pi * frequency / RATE * np.arange(length)).astype(dtype)


def pitch(x):
    """The strongest frequency in Hz, between the bins by a parabola through the logarithms."""
    power = np.log(np.abs(np.fft.rfft(x * np.hanning(len(x)), 8 * len(x))) ** 2 + 1e-30)
    k = int(power.argmax())
    a, b, c = power[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE / (8 * len(x))


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_has_the_ratio_that_was_asked_for(snr):
    x = np.stack([sine(), 0.01 * sine(1000), np.zeros(8000)])
    y = audio.add_noise(x, snr, generator())
    noise = y - x
    measured = 10 * np.log10((x[:2] ** 2).mean(1) / (noise[:2] ** 2).mean(1))
    np.testing.assert_allclose(measured, snr, atol=1e-6)
    assert not y[2].any()  # silence stays
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(noise[0] / noise[0].std(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[0, 1:], noise[0, :-1])[0, 1]) < 0.05  # white
    assert np.array_equal(audio.add_noise(x, snr, generator()), y)


def test_gain_and_shift():
    np.testing.assert_allclose(audio.gain(sine(), 20), 10 * sine())
    x = np.arange(1.0, 6.0)
    assert audio.shift(x, 2).tolist() == [0, 0, 1, 2, 3]
    assert audio.shift(x, -2).tolist() == [3, 4, 5, 0, 0]
    assert audio.shift(x, 2, wrap=True).tolist() == [4, 5, 1, 2, 3]
    assert not audio.shift(x, 9).any() and audio.shift(x, 0).tolist() == x.tolist()


@pytest.mark.parametrize("name", ["shift", "speed", "time_stretch", "pitch_shift", "add_noise"])
def test_axis_and_kinds(name):
    x = generator().standard_normal((3, 500)).astype(np.float32)
    args = {"shift": (7,), "speed": (1.3,), "time_stretch": (0.8,), "pitch_shift": (3.0,), "add_noise": (9.0,)}[name]

    def call(value, **options):
        more = (generator(),) if name == "add_noise" else ()
        return getattr(audio, name)(value, *args, *more, **options)

    before = x.copy()
    y = call(x)
    assert y.dtype == np.float32 and np.array_equal(x, before) and y.flags.c_contiguous
    np.testing.assert_array_equal(call(x.T, axis=0), y.T)
    np.testing.assert_array_equal(call(x[0]), call(x[:1])[0])
    wide = call(x.astype("f8"))
    assert wide.dtype == np.float64
    if name == "add_noise":  # other numbers are drawn in float64, of the same strength
        np.testing.assert_allclose(20 * np.log10(x.std() / (wide - x).std()), 9, atol=0.1)
    else:
        np.testing.assert_allclose(wide, y, atol=1e-5)
    assert call(x[:, :0]).shape == (3, 0)
    with pytest.raises(ValueError, match=name):
        call(x, axis=2)


@pytest.mark.parametrize("step", [0.5, 0.93, 1.4, 2.0])
def test_resampled_sine_is_the_sine(step):
    """A sine below both Nyquist frequencies keeps its values at the new times."""
    y = audio.resample(sine(440), step, 1.0)
    assert len(y) == round(8000 / step)
    exact = np.sin(2 * np.pi * 440 / RATE * step * np.arange(len(y)))
    inner = slice(100, -100)
    np.testing.assert_allclose(y[inner], exact[inner], atol=2e-3)
    np.testing.assert_allclose(audio.resample(np.ones(500), step, 1.0)[60:-60], 1, atol=1e-3)


def test_resampling_is_scipys_for_whole_ratios():
    x = signal.resample_poly(generator().standard_normal(400), 8, 1)  # nothing in the upper 7/8 of the band
    y = audio.resample(x, 2, 1)
    np.testing.assert_allclose(y[80:-80], signal.resample_poly(x, 1, 2)[80:-80], atol=0.01)
    up = audio.resample(x, 1, 3)
    np.testing.assert_allclose(up[240:-240], signal.resample_poly(x, 3, 1)[240:-240], atol=0.01)


def test_resampling_down_removes_what_the_new_rate_cannot_carry():
    high = audio.resample(sine(3500), 2.0, 1.0)  # above the new Nyquist frequency of 2000 Hz
    assert np.abs(high[100:-100]).max() < 0.01


def test_speed_changes_length_and_pitch():
    y = audio.speed(sine(440), 1.25)
    assert len(y) == 6400 and pitch(y) == pytest.approx(550, abs=0.5)


def tones(y, *frequencies):
    """The amplitudes of sines of these frequencies in y, and the part of y that is none of them."""
    times = 2 * np.pi / RATE * np.arange(len(y))
    basis = np.stack([f(times * v) for v in frequencies for f in (np.sin, np.cos)], 1)
    weights, *_ = np.linalg.lstsq(basis, y, rcond=None)
    return np.hypot(weights[::2], weights[1::2]), np.linalg.norm(y - basis @ weights) / np.linalg.norm(y)


@pytest.mark.parametrize("rate", [0.6, 0.9, 1.0, 1.5])
def test_time_stretch_keeps_the_pitch(rate):
    x = sine(440) + 0.5 * sine(1234.5)
    y = audio.time_stretch(x, rate)
    assert len(y) == round(8000 / rate)
    assert pitch(y) == pytest.approx(440, abs=0.5)
    middle = y[1000:-1000]
    assert pitch(middle - signal.filtfilt(*signal.butter(4, 800 / 4000), middle)) == pytest.approx(1234.5, abs=1)
    amplitudes, rest = tones(middle, 440, 1234.5)
    assert amplitudes == pytest.approx([1, 0.5], rel=1e-3) and rest < 0.002  # and the loudness; nothing else sounds


def test_time_stretch_moves_events():
    """A burst at 30 % of the sound is at 30 % of the longer one."""
    x = np.zeros(8000)
    x[2400:2800] = sine(600, 400)
    y = audio.time_stretch(x, 0.5, window=256)
    energy = (y**2).cumsum() / (y**2).sum()
    assert np.searchsorted(energy, 0.5) == pytest.approx(2 * 2600, abs=150)


@pytest.mark.parametrize("semitones", [-7.0, -1.0, 0.0, 4.0, 12.0])
def test_pitch_shift_keeps_the_length(semitones):
    y = audio.pitch_shift(sine(440), semitones)
    assert len(y) == 8000 and pitch(y[500:-500]) == pytest.approx(440 * 2 ** (semitones / 12), rel=1e-3)
    amplitude, rest = tones(y[1000:-1000], 440 * 2 ** (semitones / 12))
    assert amplitude == pytest.approx([1], rel=1e-4) and rest < 5e-4


def test_short_sounds():
    for length in (1, 5, 40):
        x = generator().standard_normal(length)
        assert audio.time_stretch(x, 0.5).shape == (2 * length,) and audio.pitch_shift(x, 3).shape == (length,)
        assert audio.speed(x, 0.5).shape == (2 * length,)
        low = audio.pitch_shift(x, -48)  # stretched to a sixteenth first: of five samples nothing is left
        assert low.shape == (length,) and np.isfinite(low).all() and (length > 5 or not low.any())


def test_wrong_options():
    x = sine(length=100)
    for call, words in (
        (lambda: audio.speed(x, 0), "rate must be"),
        (lambda: audio.time_stretch(x, -1), "rate must be"),
        (lambda: audio.time_stretch(x, 2, window=30), "multiple of 4"),
        (lambda: audio.shift(x, 1.5), "steps must be"),
        (lambda: audio.pitch_shift(x, 100), "semitones must be"),
        (lambda: audio.resample(x, 0, 1), "old must be"),
        (lambda: audio.add_noise(x, np.nan, generator()), "snr_db must be"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="gain"):
        audio.gain(["a"], 3)
