"""Initialisers: variance, range, shape of the distribution, orthogonality, repeatability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference as ref

import rosenblatt as rb
from rosenblatt.nn import init

pytestmark = pytest.mark.quick
DENSE, CONV = (120, 200), (32, 5, 3, 16)  # fans (200, 120) and (240, 480)


def moments(a):
    """Mean and kurtosis of a flat sample, its variance, and how far the variance of n such samples may stray."""
    x = a.astype(np.float64).ravel()
    return x.mean(), x.var(), (x**4).mean() / x.var() ** 2, 5 * x.var() * math.sqrt(2.0 / x.size)


@pytest.mark.parametrize("shape", [DENSE, CONV], ids=str)
@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot", lambda i, o: 2 / (i + o)),
        ("he", lambda i, o: 2 / i),
        ("lecun", lambda i, o: 1 / i),
    ],
)
def test_variance(name, variance, shape):
    fans = {DENSE: (200, 120), CONV: (240, 480)}[shape]
    want = variance(*fans)
    u = getattr(init, f"{name}_uniform")(shape)
    mean, var, kurtosis, slack = moments(u)
    assert u.shape == shape and u.dtype == np.float32
    assert abs(var - want) < slack and abs(mean) < 5 * math.sqrt(want / u.size)
    assert abs(u).max() <= math.sqrt(3 * want) * (1 + 1e-6) and kurtosis == pytest.approx(1.8, abs=0.1)
    mean, var, kurtosis, slack = moments(getattr(init, f"{name}_normal")(shape))
    assert abs(var - want) < slack and abs(mean) < 5 * math.sqrt(want / u.size)
    assert kurtosis == pytest.approx(3.0, abs=0.3)


def test_constants():
    assert init.zeros((2, 3)).tolist() == [[0.0] * 3] * 2 and init.ones((2,)).tolist() == [1.0, 1.0]
    assert init.constant((2, 2), 0.25).tolist() == [[0.25, 0.25]] * 2 and init.constant((0, 3), 1.0).shape == (0, 3)


def test_small_random():
    a = init.small_normal((200, 100))
    assert a.std() == pytest.approx(0.01, rel=0.03) and moments(a)[2] == pytest.approx(3, abs=0.2)
    b = init.small_uniform((200, 100))
    assert b.std() == pytest.approx(0.05 / math.sqrt(3), rel=0.03) and b.min() >= -0.05 and b.max() < 0.05
    for bad in (-1.0, float("inf"), True):
        with pytest.raises(ValueError, match="small_normal: std must be"):
            init.small_normal((2,), bad)
        with pytest.raises(ValueError, match="small_uniform: limit must be"):
            init.small_uniform((2,), bad)


@pytest.mark.parametrize("shape", [(40, 40), (10, 50), (50, 10), (33, 65), (100, 7), (8, 3, 3, 4), (1, 5), (5, 1)])
def test_orthogonal(shape):
    w = init.orthogonal(shape, 1.5)
    assert w.shape == shape and w.dtype == np.float32 and w.flags.c_contiguous
    m = w.reshape(shape[0], -1).astype(float)
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(gram, 2.25 * np.eye(len(gram)), atol=3e-7)


def test_orthogonal_is_uniform():
    """Entries of a random rotation of R^n have variance 1/n and no preferred sign; the determinant has either sign."""
    many = np.array([init.orthogonal((3, 3)) for _ in range(400)], float)
    np.testing.assert_allclose((many**2).mean(0), 1 / 3, atol=0.08)
    np.testing.assert_allclose(many.mean(0), 0.0, atol=0.15)
    assert 0.4 < (np.linalg.det(many) > 0).mean() < 0.6


def test_orthogonal_stays_exact_on_a_large_matrix():
    w = init.orthogonal((400, 400)).astype(float)
    assert abs(w @ w.T - np.eye(400)).max() < 3e-7


def phi(x):
    return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


@pytest.mark.parametrize(("low", "high"), [(-2, 2), (-0.1, 0.2), (1, 3), (-3.0, -1.5), (2.5, 9.0), (-50.0, 0.0)])
def test_truncated_normal(low, high):
    """Mean and variance of the truncated distribution (Johnson, Kotz & Balakrishnan 1994, 10.1)."""
    a = init.truncated_normal((300, 200), 1.0, 0.5, low, high).astype(float)
    z = (a - 1.0) / 0.5
    assert low - 1e-6 <= z.min() and z.max() <= high + 1e-6
    mass = cdf(high) - cdf(low)
    mean = (phi(low) - phi(high)) / mass
    variance = 1 + (low * phi(low) - high * phi(high)) / mass - mean**2
    assert z.mean() == pytest.approx(mean, abs=5 * math.sqrt(variance / z.size) + 1e-6)
    assert z.var() == pytest.approx(variance, rel=0.04)


def test_truncated_normal_edges():
    assert init.truncated_normal((0, 3)).shape == (0, 3)
    a = init.truncated_normal((50,))
    assert a.dtype == np.float32 and abs(a).max() <= np.float32(0.04)
    for bad in ({"std": 0.0}, {"low": 1.0, "high": 1.0}, {"mean": float("nan")}, {"low": 2.0}):
        with pytest.raises(ValueError, match="truncated_normal"):
            init.truncated_normal((2,), **bad)


def test_everything_comes_from_the_seed():
    for name in init.names():
        rb.manual_seed(3)
        a, b = init.initialise(name, (6, 7)), init.initialise(name, (6, 7))
        rb.manual_seed(3)
        c = init.initialise(name, (6, 7))
        assert ref.same_bits(a, c), name
        assert name in ("zeros", "ones") or not ref.same_bits(a, b), name
        assert a.shape == (6, 7) and a.dtype == np.float32


def test_threads_change_no_bit():
    made = []
    for threads in (1, 2):
        rb.set_num_threads(threads)
        rb.manual_seed(3)
        made.append([init.orthogonal((300, 200)), init.truncated_normal((500, 400))])
    assert all(ref.same_bits(a, b) for a, b in zip(*made, strict=True))


def test_by_name_and_by_function():
    layer = rb.nn.Linear(6, 4, weight_init="orthogonal")
    w = layer.weight.data.astype(float)
    np.testing.assert_allclose(w @ w.T, np.eye(4), atol=1e-6)
    layer = rb.nn.Linear(3, 2, weight_init=lambda shape: init.constant(shape, 0.5))
    assert layer.weight.tolist() == [[0.5] * 3] * 2
    with pytest.raises(ValueError, match=r"init: expected an array of shape \(2, 3\), got \(3, 2\)"):
        rb.nn.Linear(3, 2, weight_init=lambda shape: init.zeros(shape[::-1]))
    with pytest.raises(ValueError, match=r"init must be one of .*orthogonal.*, got 'nothing'"):
        init.initialise("nothing", (2, 2))
    for f in (init.orthogonal, init.fans):
        with pytest.raises(ValueError, match="at least two axes"):
            f((3,))


def test_truncated_normal_far_in_a_tail():
    """Bounds where a normal number hardly ever falls: as fast as elsewhere, with the mean of the tail."""
    for low in (5.0, 100.0, 1e4):
        z = init.truncated_normal((40_000,), std=1.0, low=low, high=math.inf)
        away = z.astype(np.float64) - low
        assert away.min() >= 0.0
        if low < 1e4:  # beyond, float32 has no digits left for the distance
            assert abs(away.mean() * low - (1.0 - 2.0 / low**2)) < 0.03
        mirrored = init.truncated_normal((100,), std=1.0, low=-math.inf, high=-low)
        assert mirrored.max() <= -low
