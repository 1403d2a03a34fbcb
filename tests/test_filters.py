"""Filters for scripts: SciPy as oracle over dtypes, modes and algorithms; the laws of convolution; the choice."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndimage
import scipy.signal as signal

import rosenblatt as rb
from rosenblatt.ops import _filter_plan

ops = rb.ops
RNG = np.random.default_rng(11)
MODES = ["reflect", "mirror", "nearest", "wrap", "constant", "grid-mirror", "grid-wrap", "grid-constant"]
ALGOS = ["direct", "fft"]


def off(got, want):
    return np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30)


@pytest.mark.quick
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, np.int32, np.float16, np.float32, np.float64, np.bool_]
)
def test_every_image_dtype_and_mode_as_scipy(mode, dtype):
    x = (RNG.uniform(0, 120, (23, 31))).astype(dtype)
    w = RNG.standard_normal((5, 4))
    for algo in ("auto", *ALGOS):
        for flip, peer in ((False, ndimage.correlate), (True, ndimage.convolve)):
            want = peer(x.astype(np.float64), w, mode=mode, cval=3.0)
            got = ops.filter2d(x, w, mode=mode, cval=3.0, convolution=flip, algo=algo)
            assert got.dtype == (np.float64 if dtype == np.float64 else np.float32)
            assert off(got, want) < (1e-13 if dtype == np.float64 else 1e-6), algo


@pytest.mark.quick
def test_results_in_another_dtype_are_rounded_and_clipped():
    x = np.array([[0, 100, 200, 255]], np.uint8)
    assert ops.filter2d(x, [[2.0]], dtype=np.uint8).tolist() == [[0, 200, 255, 255]]
    assert ops.filter2d(x, [[-0.01]], dtype=np.int8).tolist() == [[0, -1, -2, -3]]
    assert ops.blur(x, 1, dtype=np.float64).dtype == np.float64


@pytest.mark.quick
def test_channels_and_batches_are_filtered_alone():
    x = RNG.standard_normal((3, 17, 40, 4)).astype(np.float32)
    w = RNG.standard_normal((7, 5))
    for algo in ALGOS:
        whole = ops.filter2d(x, w, algo=algo)
        for n in range(3):
            assert off(ops.filter2d(x[n], w, algo=algo), whole[n]) < 1e-6
            for c in range(4):
                assert off(whole[n, :, :, c], ndimage.correlate(x[n, :, :, c].astype(np.float64), w)) < 1e-6


@pytest.mark.quick
def test_direct_filters_keep_nan_and_infinity_in_their_windows():
    x = RNG.standard_normal((40, 90)).astype(np.float32)
    x[13, 50], x[2, 3] = np.nan, np.inf
    touched = np.zeros(x.shape, bool)
    touched[11:16, 49:52] = touched[0:5, 2:5] = True
    for y in (
        ops.filter2d(x, np.ones((5, 3)), algo="direct"),
        ops.sep_filter2d(x, np.ones(5), np.ones(3)),
    ):
        assert np.array_equal(~np.isfinite(y), touched)


@pytest.mark.parametrize("algo", ALGOS)
def test_random_shapes_agree_with_scipy(algo):
    """One-pixel images, kernels larger than the image, prime sizes."""
    rng = np.random.default_rng(5)
    for trial in range(120):
        h, w, r, s = (int(v) for v in rng.choice([1, 2, 3, 5, 13, 31, 64, 97], 4))
        x = rng.standard_normal((h, w)).astype(np.float32)
        k = rng.standard_normal((r, s)).astype(np.float32)
        for mode in ("full", "same", "valid"):
            if mode == "valid" and not (h >= r and w >= s):
                continue
            want = signal.convolve(x.astype(np.float64), k.astype(np.float64), mode)
            got = ops.fftconv(x, k, mode, algo=algo)
            scale = np.linalg.norm(k) * max(np.linalg.norm(x), 1e-3)
            assert got.shape == want.shape and np.abs(got - want).max() <= 2e-6 * scale, (trial, x.shape, k.shape, mode)


def test_one_and_three_axes_and_complex_numbers():
    for x, k in [((1000,), (9,)), ((70_000,), (301,)), ((70_000,), (20_001,)), ((9, 30, 31), (3, 4, 5))]:
        a, b = RNG.standard_normal(x).astype(np.float32), RNG.standard_normal(k).astype(np.float32)
        for mode in ("full", "same", "valid"):
            want = signal.fftconvolve(a.astype(np.float64), b.astype(np.float64), mode)
            assert off(ops.fftconv(a, b, mode), want) < 1e-6
        z = a + 1j * RNG.standard_normal(x).astype(np.float32)
        got = ops.fftconv(z, b, "same")
        assert got.dtype == np.complex64 and off(got, signal.fftconvolve(z.astype(np.complex128), b, "same")) < 1e-6


def test_low_rank_kernels_are_found_and_used():
    x = RNG.standard_normal((64, 80)).astype(np.float32)
    u, v = RNG.standard_normal((2, 21)), RNG.standard_normal((2, 19))
    for rank in (1, 2):
        w = u[:rank].T @ v[:rank]
        found = _filter_plan.separable_terms(w.astype(np.float32), 3, 1.2e-7)
        assert found is not None and len(found[0]) == rank
        assert np.abs(found[0].T @ found[1] - w).max() < 1e-6 * np.abs(w).max()
        assert _filter_plan.choose(1024, 1024, 21, 19, rank)[0] == ("separable" if rank == 1 else "fft")
        for algo in ("auto", "separable"):
            assert off(ops.filter2d(x, w, algo=algo), ndimage.correlate(x.astype(np.float64), w)) < 2e-6
    assert _filter_plan.separable_terms(RNG.standard_normal((9, 9)), 3, 2e-16) is None
    assert len(_filter_plan.separable_terms(np.zeros((4, 5)), 3, 2e-16)[0]) == 1
    with pytest.raises(ValueError, match="filter2d: the kernel is not a sum of 3 separable ones"):
        ops.filter2d(np.full((4, 4), 1.0), np.full((3, 3), np.nan), algo="separable")


def test_the_choice_grows_from_direct_to_transforms():
    names = [_filter_plan.choose(512, 512, k, k, 0)[0] for k in (1, 3, 5, 31, 63)]
    assert names[:3] == ["direct"] * 3 and names[3:] == ["fft"] * 2
    assert _filter_plan.choose(1, 1 << 20, 1, 3, 0)[0] == "direct"
    assert _filter_plan.choose(1, 1 << 20, 1, 5000, 0)[0] == "fft"


@pytest.mark.parametrize("algo", ALGOS)
def test_laws_of_convolution(algo):
    """Shift, associativity, distributivity, commutativity, cascade; correlation is the adjoint of convolution."""
    rng = np.random.default_rng(3)

    def conv(a, b, mode="full"):
        return ops.fftconv(a, b, mode, algo=algo)

    for _ in range(10):
        x = rng.standard_normal(rng.integers(3, 40, 2))
        f, g = rng.standard_normal(rng.integers(1, 9, 2)), rng.standard_normal(rng.integers(1, 9, 2))
        both = conv(x, f)
        assert np.allclose(conv(f, x), both)
        assert np.allclose(conv(conv(x, f), g), conv(x, conv(f, g)))
        h = rng.standard_normal(f.shape)
        assert np.allclose(conv(x, f + h), both + conv(x, h))
        shifted = np.zeros((x.shape[0] + 2, x.shape[1] + 3))
        shifted[2:, 3:] = x
        assert np.allclose(conv(shifted, f)[2:, 3:], both)
        y = rng.standard_normal(both.shape)
        assert np.isclose(np.vdot(both, y), np.vdot(x, conv(y, f[::-1, ::-1], "valid")))


def test_deconvolution_undoes_convolution():
    for x, k in [((300,), (9,)), ((40, 50), (5, 4)), ((9, 10, 11), (2, 3, 2))]:
        a = RNG.standard_normal(x)
        b = RNG.standard_normal(k) * 0.1
        b[(0,) * len(k)] = 2.0
        back = ops.deconvolve(ops.fftconv(a, b), b, noise=0.0)
        assert back.shape == a.shape and off(back, a) < 1e-10
        circular = np.fft.ifftn(np.fft.fftn(a) * np.fft.fftn(b, x, tuple(range(len(x))))).real
        assert off(ops.deconvolve(circular, b, noise=0.0, mode="circular"), a) < 1e-10
        assert off(ops.deconvolve(ops.fftconv(a, b), b, noise=0.1), a) < 0.2


def test_scipy_names_with_integers_and_threads():
    x = RNG.integers(0, 255, (200, 301)).astype(np.uint8)
    real = x.astype(np.float64)
    for threads in (1, 2, 5):
        rb.set_num_threads(threads)
        for got, want in [
            (ops.gaussian_filter(x, 2.5), ndimage.gaussian_filter(real, 2.5)),
            (ops.sobel(x, 0), ndimage.sobel(real, 0)),
            (ops.sobel(x), ndimage.sobel(real)),
            (ops.blur(x, 7, mode="wrap"), ndimage.uniform_filter(real, 7, mode="wrap")),
            (ops.gaussian_filter(x, (1, 3), order=1), ndimage.gaussian_filter(real, (1, 3), order=1)),
        ]:
            assert off(got, want) < 2e-6
    taps = RNG.standard_normal(200)
    signals = RNG.standard_normal((3, 5000))
    assert off(ops.lfilter_fir(taps, signals), signal.lfilter(taps, 1.0, signals)) < 1e-12
    assert ops.lfilter_fir(taps, np.empty((3, 0))).shape == (3, 0)
    with pytest.raises(TypeError, match="lfilter_fir: axis must be an integer, got None"):
        ops.lfilter_fir(taps, signals, None)


def test_kernels_longer_than_the_filters_take():
    k = RNG.standard_normal(2**20 + 3).astype(np.float32)
    x = RNG.standard_normal(2**20 + 9).astype(np.float32)
    for mode in ("full", "same", "valid"):
        got = ops.fftconv(x, k, mode)
        want = signal.fftconvolve(x.astype(np.float64), k.astype(np.float64), mode)
        assert got.shape == want.shape and off(got, want) < 1e-6
    with pytest.raises(ValueError, match="fftconv: a kernel may have at most 1048576 taps"):
        ops.fftconv(x, k, algo="direct")
    with pytest.raises(ValueError, match="lfilter_fir: a kernel may have at most 1048576 taps"):
        ops.lfilter_fir(k, x)


@pytest.mark.quick
@pytest.mark.parametrize("to", [np.int8, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integers_are_clipped_to_their_range(to, dtype):
    """Also where the largest integer is no float: the next larger float would wrap around."""
    info = np.iinfo(to)
    x = np.array([[-1e30, 1e30, 3.5], [info.min, info.max, 100.0]], dtype)
    want = [[info.min, info.max, 4], [info.min, info.max, 100]]
    assert ops.blur(x, 1, dtype=to).tolist() == want
