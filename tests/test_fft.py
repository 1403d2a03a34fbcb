"""`rb.fft` against NumPy and PyTorch; errors, the cache of tables, accuracy, gradients' adjoint."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import _core
from rosenblatt.ops import _fourier

fft = rb.fft
RNG = np.random.default_rng(7)

CALLS = [
    ("fft", ()), ("fft", (12, 1, "ortho")), ("ifft", (5, 0, "forward")), ("rfft", (9, -2)), ("irfft", (9, 0)),
    ("irfft", (37, 1, "forward")), ("hfft", (8, 1, "ortho")), ("hfft", ()), ("ihfft", (7, 1, "forward")), ("fft2", ()),
    ("ifft2", ((4, 5), (0, 1))), ("rfft2", ((7, 8), (0, 2), "ortho")), ("irfft2", ()), ("fftn", ()),
    ("ifftn", (None, (0, 2))), ("rfftn", ((5, -1), (1, 2))), ("irfftn", ((6, 5, 4), (0, 1, 2))),
    ("fftn", (None, (1, 1))),
]  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, np.float16, np.float32, np.float64, np.int16, np.bool_])
@pytest.mark.parametrize("order", ["C", "F"])
def test_names_shapes_dtypes_and_values_of_numpy(dtype, order):
    a = RNG.standard_normal((6, 10, 7)) * 5
    if np.dtype(dtype).kind == "c":
        a = a + 1j * RNG.standard_normal(a.shape)
    a = np.asarray(a.astype(dtype), order=order)
    exact = a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)
    for name, args in CALLS:
        if a.dtype.kind == "c" and name in ("rfft", "rfft2", "rfftn", "ihfft"):
            with pytest.raises(TypeError, match=f"{'rfft' if name == 'rfft' else name}: expected real numbers"):
                getattr(fft, name)(a, *args)
            continue
        want = getattr(np.fft, name)(exact, *args)
        got = getattr(fft, name)(a, *args)
        single = a.dtype in (np.complex64, np.float32, np.float16)
        kind = np.complex128 if want.dtype.kind == "c" else np.float64
        assert got.dtype == ({np.complex128: np.complex64, np.float64: np.float32}[kind] if single else kind), name
        assert got.shape == want.shape, name
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert error <= (3e-7 if single else 1e-15), f"{name} {args}: {error}"


@pytest.mark.quick
@pytest.mark.parametrize("n", [1, 2, 5, 8, 31, 36, 62, 97, 128])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_line_alone_has_the_values_of_a_row(n, dtype):
    """Lines on their own take a shorter way: in every layout the values of NumPy and the bits of a row."""
    bound = 3e-7 if dtype == np.float32 else 1e-15
    bound *= 4 if n in (31, 62, 97) else 1  # Bluestein
    real = RNG.standard_normal(n).astype(dtype)
    turned = (real + 1j * RNG.standard_normal(n)).astype(np.complex64 if dtype == np.float32 else np.complex128)
    fixed = real.copy()
    fixed.flags.writeable = False
    swapped = real.astype(real.dtype.newbyteorder())
    for name, line in [
        ("rfft", real), ("rfft", fixed), ("rfft", np.repeat(real, 2)[::2]), ("rfft", swapped),
        ("fft", turned), ("ifft", turned), ("fft", np.repeat(turned, 3)[::3]), ("ifft", turned[::-1]), ("fft", real),
    ]:
        for axis in (0, -1):
            got = getattr(fft, name)(line, axis=axis)
            want = getattr(np.fft, name)(line.astype(np.result_type(line, "f8")))
            assert got.shape == want.shape and got.dtype == turned.dtype and got.flags.writeable, name
            assert np.linalg.norm(got - want) <= bound * np.linalg.norm(want), name
            assert got.tobytes() == getattr(fft, name)(np.ascontiguousarray(line)[None])[0].tobytes(), name
    for call in (lambda: fft.fft(turned, axis=1), lambda: fft.rfft(real, axis=1)):
        with pytest.raises(ValueError, match="axis 1 is out of range for 1 axes"):
            call()


@pytest.mark.quick
def test_helpers():
    for n in range(1, 12):
        assert np.array_equal(fft.fftfreq(n, 0.3), np.fft.fftfreq(n, 0.3))
        assert np.array_equal(fft.rfftfreq(n, 0.3), np.fft.rfftfreq(n, 0.3))
    x = RNG.standard_normal((4, 5))
    for axes in (None, 0, (1,), (0, 1), -1):
        assert np.array_equal(fft.fftshift(x, axes), np.fft.fftshift(x, axes))
        assert np.array_equal(fft.ifftshift(x, axes), np.fft.ifftshift(x, axes))


@pytest.mark.quick
def test_errors_name_the_function():
    for call, error, says in [
        (lambda: fft.fft(np.ones(4), 0), ValueError, "fft: the length n of the transform must be at least 1, got 0"),
        (lambda: fft.fft(np.ones(0)), ValueError, "fft: the length n of the transform must be at least 1, got 0"),
        (lambda: fft.fft(1.0), ValueError, "fft: expected at least one axis"),
        (lambda: fft.ifft(np.ones(4), axis=1), ValueError, "ifft: axis 1 is out of range for 1 axes"),
        (lambda: fft.fft(np.ones(4), norm="x"), ValueError, "fft: norm must be"),
        (lambda: fft.hfft(np.ones(4), norm="x"), ValueError, "hfft: norm must be"),
        (lambda: fft.fft(np.array(["a"])), TypeError, "fft: expected numbers"),
        (lambda: fft.fft(rb.Tensor([1.0])), TypeError, "fft: expected an array, got a Tensor"),
        (lambda: fft.fftn(np.ones((2, 2)), (2,), (0, 1)), ValueError, "fftn: s and axes must be of one length"),
        (lambda: fft.rfftn(np.ones((2, 2)), axes=()), ValueError, "rfftn: expected at least one axis"),
        (lambda: fft.fft(np.ones(4), 2.0), TypeError, "fft: n must be an integer"),
        (lambda: fft.stft(np.ones(10), 64), ValueError, "stft: reflecting 32 samples needs a longer signal than 10"),
        (lambda: fft.stft(np.ones(99), 64, window=np.ones(65)), ValueError, "stft: expected a window of at most"),
        (lambda: fft.istft(np.ones((9, 4), complex), 64), ValueError, "istft: expected y"),
        (lambda: fft.istft(np.ones((9, 4), complex), 16, 32), ValueError, "istft: the windows leave samples uncovered"),
        (lambda: fft.stft(np.ones(99), 16, 0), ValueError, "stft: hop_length must be at least 1, got 0"),
        (lambda: fft.stft(np.ones(99), 0), ValueError, "stft: n_fft must be at least 1, got 0"),
        (lambda: fft.istft(np.ones((9, 4), complex), 16, 4, 1.5), TypeError, "istft: win_length must be an integer"),
        (lambda: _core.fft_table(0, 0, 0), ValueError, "fft_table: expected"),
    ]:
        with pytest.raises(error) as caught:
            call()
        assert says in str(caught.value)


LENGTHS = [*range(1, 40), 60, 64, 97, 100, 121, 128, 169, 243, 343, 360, 1000, 1024, 1331, 2197, 3125, 4096, 10_000]


@pytest.mark.parametrize("n", [*LENGTHS, 509, 1009, 10_007, 2 * 1009, 65_536])
def test_accuracy(n):
    """Relative L2 errors against float64 stay below the documented bounds for every length."""
    smooth = max(
        (p for p in range(2, n + 1) if n % p == 0 and all(p % q for q in range(2, int(p**0.5) + 1))), default=1
    )
    z = RNG.standard_normal((3, n)) + 1j * RNG.standard_normal((3, n))
    for dtype, bound in [
        (np.complex64, 3e-7 if smooth <= 13 else 1e-6),
        (np.complex128, 5e-16 * max(1.0, np.log2(max(n, 2)) ** 0.5) if smooth <= 13 else 5e-15),
    ]:
        x = z.astype(dtype)
        exact = x.astype(np.clongdouble)
        for got, want in [
            (fft.fft(x), np.fft.fft(exact)),
            (fft.ifft(x[:1]), np.fft.ifft(exact[:1])),
            (fft.rfft(np.ascontiguousarray(x.real)), np.fft.rfft(exact.real)),
            (fft.irfft(x[:, : n // 2 + 1], n), np.fft.irfft(exact[:, : n // 2 + 1], n)),
        ]:
            assert np.linalg.norm(got - want) <= bound * np.linalg.norm(want), dtype


def test_round_trip_and_parseval_on_large_arrays():
    x = RNG.standard_normal((3, 70, 1 << 10)).astype(np.float32)
    y = fft.rfft2(x)
    assert np.abs(fft.irfft2(y, x.shape[1:]) - x).max() < 2e-6
    z = fft.fftn(x, norm="ortho")
    assert abs(np.linalg.norm(z) / np.linalg.norm(x) - 1) < 1e-6


def test_threads_change_no_bit():
    for n in (1 << 15, 3 * 5000, 10_007):
        x = (RNG.standard_normal(n) + 1j * RNG.standard_normal(n)).astype(np.complex64)
        rb.set_num_threads(1)
        first, real = fft.fft(x), fft.rfft(x.real)
        for threads in (2, 5):
            rb.set_num_threads(threads)
            assert fft.fft(x).tobytes() == first.tobytes() and fft.rfft(x.real).tobytes() == real.tobytes()


def test_tables_are_kept_within_their_limit_and_shared_between_threads(monkeypatch):
    monkeypatch.setattr(_fourier, "_tables", {})
    monkeypatch.setattr(_fourier, "_bytes", 0)
    monkeypatch.setattr(_fourier, "TABLE_BYTES", 100_000)
    x = RNG.standard_normal(3000) + 0j
    results = {}

    def work(i):
        for n in (1000, 1500, 2000, 3000, 777):
            results[i, n] = fft.fft(x, n)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    for (_, n), y in results.items():
        assert np.allclose(y, np.fft.fft(x, n))
    assert sum(t.nbytes for t in _fourier._tables.values()) == _fourier._bytes
    assert _fourier._bytes <= 100_000 or len(_fourier._tables) == 1


def test_short_time_transforms_are_those_of_torch():
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((3, 1000)).astype(np.float32)
    for n, hop, width, normalized in [(64, None, None, False), (100, 30, 80, True), (63, 20, None, False)]:
        window = torch.hann_window(width or n)
        options = {"center": True, "normalized": normalized}
        want = torch.stft(torch.from_numpy(x), n, hop, width or n, window, return_complex=True, **options)
        got = fft.stft(x, n, hop, width, **options)
        assert got.dtype == np.complex64
        assert np.allclose(got, want.numpy(), atol=2e-5)
        for length in (None, 990):
            back = fft.istft(got, n, hop, width, length=length, **options)
            again = torch.istft(want, n, hop, width or n, window, length=length, **options).numpy()
            assert back.shape == again.shape and np.allclose(back, again, atol=1e-5)
    plain = torch.stft(torch.from_numpy(x), 64, 16, 64, torch.ones(64), center=False, return_complex=True)
    assert np.allclose(fft.stft(x, 64, 16, window=np.ones(64), center=False), plain.numpy(), atol=2e-5)


@pytest.mark.parametrize("length", [None, 990, 1010])
def test_short_time_transforms_of_one_and_of_stacked_signals_are_those_of_rows(length):
    x = RNG.standard_normal((2, 2, 1000))
    rows = fft.stft(x.reshape(4, -1), 64)
    back = fft.istft(rows, 64, length=length)
    assert back.shape == (4, length or 992)
    np.testing.assert_allclose(back[:, :990], x.reshape(4, -1)[:, :990], atol=1e-12)
    for shape in ((2, 2), (1, 4), (4, 1)):
        y = fft.stft(x.reshape(*shape, -1), 64)
        assert np.array_equal(y, rows.reshape(*shape, *rows.shape[1:]))
        assert np.array_equal(fft.istft(y, 64, length=length), back.reshape(*shape, -1))
    assert np.array_equal(fft.istft(fft.stft(x[0, 1], 64), 64, length=length), back[1])


def test_transforms_of_tensors_inside_a_network_train():
    """A circular convolution learnt through its spectrum: the gradient of rfft and irfft, end to end."""
    rb.manual_seed(0)
    target, x = RNG.standard_normal(32), RNG.standard_normal((64, 32))
    y = np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(target))
    w = rb.Tensor(np.zeros(32), requires_grad=True)
    swap = np.array([[0.0, 1.0], [-1.0, 0.0]])  # (a + ib) -> i (a + ib) as a row times a matrix
    spectrum = rb.ops.rfft(x)
    for _ in range(60):
        k = rb.ops.rfft(w)
        re, im = k[:, :1], k[:, 1:]
        product = rb.ops.add(rb.ops.mul(spectrum, re), rb.ops.mul(rb.ops.matmul(spectrum, swap), im))
        loss = rb.ops.mse_loss(rb.ops.irfft(product), y)
        w.grad = None
        loss.backward()
        w = rb.Tensor(w.data - 0.4 * w.grad, requires_grad=True)
    assert np.abs(w.data - target).max() < 1e-2


def test_a_captured_step_replays_transforms(monkeypatch):
    """The table is made during the first recorded step; replays must read it as a constant."""
    monkeypatch.setattr(_fourier, "_tables", {})

    def train(capture):
        rng = np.random.default_rng(1)
        w = rb.Parameter(rng.standard_normal(62).astype(np.float32))
        optimizer = rb.optim.SGD([w], lr=0.1)
        y = rng.standard_normal((8, 62)).astype(np.float32)

        def step(x):
            optimizer.zero_grad()
            loss = rb.ops.mse_loss(rb.ops.irfft(rb.ops.rfft(rb.ops.mul(x, w))), y)
            loss.backward()
            optimizer.step()
            return loss

        run = rb.capture(step) if capture else step
        for _ in range(6):
            run(rng.standard_normal((8, 62)).astype(np.float32))
        return w.data

    assert train(True).tobytes() == train(False).tobytes()


def test_axes_and_lengths_that_are_none_are_refused():
    x = np.ones(8, np.float32)
    for f in (rb.fft.fft, rb.fft.rfft):
        with pytest.raises(TypeError, match="axis"):
            f(x, axis=0.0)
    y = rb.fft.stft(np.ones(64, np.float32), 16)
    for length in (-3, 0, 2.5):
        with pytest.raises(ValueError, match="istft: length must be an integer of at least 1"):
            rb.fft.istft(y, 16, length=length)
