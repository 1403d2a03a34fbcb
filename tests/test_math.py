"""Accuracy of the elementary functions in units in the last place (docs/performance.md quotes these bounds), the worked
values of activations (notes B:3.2), and identities between them."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.special as special

import rosenblatt as rb
from rosenblatt import _core

F32 = np.float32
ops = rb.ops


def activate(fn):
    return lambda x, y: _core.activate(x, y, fn, 1.0)


# name: op to force, kernel, float64 reference, bound at avx2 and avx512, bound at base
UNARY = {
    "exp": ("exp", _core.exp, np.exp, 1.1, 1.1),
    "expm1": ("expm1", _core.expm1, np.expm1, 1.7, 2.0),
    "log": ("log", _core.log, np.log, 0.9, 0.9),
    "log1p": ("log1p", _core.log1p, np.log1p, 1.5, 1.5),
    "tanh": ("tanh", _core.tanh, np.tanh, 2.5, 2.6),
    "sigmoid": ("sigmoid", _core.sigmoid, special.expit, 2.5, 2.6),
    "erf": ("erf", _core.erf, special.erf, 1.6, 2.5),
    "softplus": ("activate", activate(2), lambda x: np.logaddexp(0.0, x), 2.5, 2.6),
    "silu": ("activate", activate(5), lambda x: x * special.expit(x), 3.1, 3.5),
    "algebraic": ("activate", activate(6), lambda x: x / np.hypot(1.0, x), 2.6, 3.0),
}
LEVELS = [level for level in ("base", "avx2", "avx512") if any(i.startswith(level) for i in _core.impls("exp"))]


def worst(kernel, reference, x):
    """(largest error in ULP, where) over the floats x; what is below the normal floats counts as 0."""
    y = np.empty_like(x)
    kernel(x, y)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        wide[np.abs(wide) < np.finfo(F32).tiny] = 0.0  # float ops read denormals as 0
        want = reference(wide)
        tiny = np.finfo(F32).tiny
        want = np.where(np.abs(want) < tiny, np.where(np.abs(y) == tiny, y, 0.0), want)
        near = (np.abs(want) < 2.0**-118) & (np.abs(y) < 2.0**-118)  # an intermediate result may have been flushed
        want = np.where(near, y, want)
        rounded = want.astype(F32)
        finite = np.isfinite(rounded)
        assert ((rounded == y) | (np.isnan(rounded) & np.isnan(y)))[~finite].all()
        error = np.abs(y[finite] - want[finite]) / np.maximum(np.spacing(np.abs(rounded[finite])), 2.0**-149)
    at = int(error.argmax()) if error.size else 0
    return (float(error[at]), float(x[finite][at])) if error.size else (0.0, 0.0)


def floats(start, stop, step):
    return np.arange(start, stop, step, dtype=np.uint64).astype(np.uint32).view(F32)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", UNARY)
def test_unary_bounds_on_a_sample(name, level):
    op, kernel, reference, bound, base = UNARY[name]
    _core.force_impl(op, level)
    error, at = worst(kernel, reference, floats(0, 2**32, 20_011))
    assert error <= (base if level == "base" else bound), f"{name} at {level}: {error:.3f} ULP at {at!r}"


@pytest.mark.long
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", UNARY)
def test_unary_bounds_on_every_float(name, level):
    op, kernel, reference, bound, base = UNARY[name]
    _core.force_impl(op, level)
    part = 2**24
    error, at = max(worst(kernel, reference, floats(k * part, (k + 1) * part, 1)) for k in range(256))
    print(f"{name} {level}: {error:.4f} ULP at {at!r}")
    assert error <= (base if level == "base" else bound), f"{name} at {level}: {error:.3f} ULP at {at!r}"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf"])
def test_double_bounds(name, level):
    op, kernel, _, bound, base = UNARY[name]
    _core.force_impl(op, level)
    exact = {"sigmoid": lambda t: 1 / (1 + mpmath.exp(-t))}.get(name) or getattr(mpmath, name)
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.standard_normal(300) * s for s in (1e-3, 0.3, 1.0, 5.0, 20.0)])
    x = np.abs(x) if name == "log" else np.maximum(x, -0.999) if name == "log1p" else x
    y = np.empty_like(x)
    kernel(x, y)
    with mpmath.workprec(200):
        error = [
            abs(float((mpmath.mpf(b) - exact(mpmath.mpf(a))) / np.spacing(abs(b)))) for a, b in zip(x, y, strict=True)
        ]
    most = (base if level == "base" else bound) + 0.5
    assert max(error) <= most, f"{name} at {level}: {max(error)} ULP at {x[int(np.argmax(error))]!r}"


def test_pow_bound_and_special_cases():
    rng = np.random.default_rng(0)
    a = np.exp(rng.uniform(-40, 40, 200_000)).astype(F32)
    b = rng.uniform(-9, 9, a.size).astype(F32)
    y = ops.pow(a, b)
    with np.errstate(all="ignore"):
        want = np.power(a.astype(np.float64), b.astype(np.float64))
        normal = (want > np.finfo(F32).tiny) & (want < np.finfo(F32).max)
        error = np.abs(y - want)[normal] / np.spacing(want.astype(F32))[normal]
    assert error.max() <= 1.5, error.max()
    s = np.array(
        [0, -0.0, 1, -1, 2, -2, 0.5, -0.5, np.inf, -np.inf, np.nan, 3, -3, 1e30, -1e30, 1e-30, 2.5, 2.0**25], F32
    )
    for dtype in (F32, np.float64):
        a, b = (v.astype(dtype).copy() for v in np.meshgrid(s, s))
        with np.errstate(all="ignore"):
            want = np.power(a, b)
        y = ops.pow(a, b)
        tiny = np.abs(want) < np.finfo(dtype).tiny
        assert np.allclose(np.where(tiny, 0, y), np.where(tiny, 0, want), rtol=3e-7, atol=0, equal_nan=True)
        assert (np.signbit(y) == np.signbit(want))[~np.isnan(want)].all()


# --- worked values

X = np.array([-2, -1, -0.5, 0, 0.5, 1, 2])
VECTORS = {  # notes B:3.2
    "logistic": [0.1192029, 0.2689414, 0.3775407, 0.5, 0.6224593, 0.7310586, 0.8807971],
    "bipolar_sigmoid": [-0.7615942, -0.4621172, -0.2449187, 0, 0.2449187, 0.4621172, 0.7615942],
    "gelu": [-0.0455003, -0.1586553, -0.1542688, 0, 0.3457312, 0.8413447, 1.9544997],
    "softplus": [0.1269280, 0.3132617, 0.4740770, 0.6931472, 0.9740770, 1.3132617, 2.1269280],
    "elu": [-0.8646647, -0.6321206, -0.3934693, 0, 0.5, 1, 2],
    "algebraic_sigmoid": [-0.8944272, -0.7071068, -0.4472136, 0, 0.4472136, 0.7071068, 0.8944272],
    "leaky_relu": [-0.02, -0.01, -0.005, 0, 0.5, 1, 2],
}


@pytest.mark.quick
@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("dtype", [F32, np.float64])
def test_reference_vectors(name, dtype):
    atol = 6e-8 if dtype is np.float64 else 2e-7
    assert np.allclose(getattr(ops, name)(X.astype(dtype)), VECTORS[name], rtol=0, atol=atol)


@pytest.mark.quick
def test_named_points():
    assert np.allclose(ops.softmax(np.array([1.0, 2.0, 3.0])), [0.0900306, 0.2447285, 0.6652410], atol=5e-8)
    low = np.array([-0.7517914])
    assert np.allclose(ops.gelu(low), -0.1699712, atol=5e-8)  # its minimum
    x = rb.Tensor(low, requires_grad=True)
    ops.sum(ops.gelu(x)).backward()
    assert abs(x.grad.item()) < 1e-7
    for a, holds in [(0.25, True), (1.0, True), (-0.5, True), (1.5, False)]:
        assert np.allclose(ops.prelu(X, np.array(a)), np.maximum(X, a * X)) is holds
    assert np.array_equal(ops.hard_tanh(X), [-1, -1, -0.5, 0, 0.5, 1, 1])
    assert np.array_equal(ops.ramp(X), [0, 0, 0, 0, 0.5, 1, 1])
    assert np.array_equal(ops.step(X), [0, 0, 0, 1, 1, 1, 1])
    assert np.array_equal(ops.step(X, strict=True), [0, 0, 0, 0, 1, 1, 1])
    assert np.array_equal(ops.bipolar_step(X), [-1, -1, -1, 1, 1, 1, 1])
    assert np.array_equal(ops.dead_zone(X, 1.0), [-1, 0, 0, 0, 0, 0, 1])
    assert np.array_equal(ops.shifted_relu(X, 1.0), [-1, -1, -0.5, 0, 0.5, 1, 2])
    assert np.allclose(ops.log_sum_exp(np.log([[1.0, 2.0, 5.0]])), np.log(8.0))
    assert np.allclose(ops.log_sum_exp(np.log([[1.0, 2.0, 4.0]]), zero=True), np.log(8.0))


@pytest.mark.quick
@pytest.mark.parametrize("dtype", [F32, np.float64])
def test_identities_and_no_overflow(dtype):
    x = np.linspace(-30, 30, 997).astype(dtype)
    eps = np.finfo(dtype).eps
    assert np.allclose(ops.tanh(x), 2 * ops.sigmoid(2 * x) - 1, rtol=0, atol=4 * eps)
    assert np.allclose(ops.bipolar_sigmoid(x, 3.0), ops.tanh(1.5 * x), rtol=0, atol=4 * eps)
    assert np.allclose(ops.gelu(x) - ops.gelu(-x), x, rtol=4 * eps)
    assert np.allclose(ops.softplus(x) - ops.softplus(-x), x, rtol=8 * eps, atol=8 * eps)
    edge = np.array([1000.0, -1000.0], dtype)
    want = {
        "logistic": [1, 0], "bipolar_sigmoid": [1, -1], "algebraic_sigmoid": [1, -1], "gelu": [1000, 0],
        "silu": [1000, 0], "softplus": [1000, 0], "elu": [1000, -1], "tanh": [1, -1], "sigmoid": [1, 0],
        "leaky_relu": [1000, -10], "ramp": [1, 0],
    }  # fmt: skip
    for name, values in want.items():
        t = rb.Tensor(edge, requires_grad=True)
        y = getattr(ops, name)(t)
        assert np.allclose(y.data, values, atol=1e-6), name
        ops.sum(y).backward()
        assert np.isfinite(t.grad.numpy()).all(), name
    big = np.array([[1000.0, 1000.0], [-1000.0, -1000.0], [np.inf, 0.0], [-np.inf, -np.inf]], dtype)
    want_rows = [1000 + np.log(2), -1000 + np.log(2), np.inf, -np.inf]
    assert np.allclose(ops.log_sum_exp(big), want_rows)
    most = 0.9 * np.finfo(dtype).max
    assert np.allclose(ops.log_sum_exp(np.array([[most, 0.0], [-most, -most]], dtype)), [most, -most])


def test_elementwise_rows_and_columns_broadcast_to_the_same_bits():
    """Short rows, columns and strided operands run other loops: the same numbers."""
    rng = np.random.default_rng(1)
    for rows, n in [(1000, 10), (3, 127), (37, 129), (5, 3)]:
        a = rng.standard_normal((rows, n)).astype(F32)
        for b in (rng.standard_normal((rows, 1)), rng.standard_normal((1, n)), rng.standard_normal((n, rows)).T):
            b = b.astype(F32)
            full = np.ascontiguousarray(np.broadcast_to(b, a.shape))
            assert np.array_equal(ops.sub(a, b), ops.sub(a, full))
            assert np.array_equal(ops.sub(b, a), ops.sub(full, a))
        assert np.array_equal(ops.exp(np.asfortranarray(a)), ops.exp(a))


@pytest.mark.long
def test_outputs_past_the_cache_have_the_same_bits():
    n = 9_000_001  # above the size from which results are written past the caches
    x = np.random.default_rng(0).standard_normal(n + 1).astype(F32)
    want = np.empty(n, F32)
    for i in range(0, n, 4096):
        _core.add(x[i : min(i + 4096, n)], x[i + 1 : min(i + 4096, n) + 1], want[i : i + 4096])
    for threads in (1, 2):
        rb.set_num_threads(threads)
        assert np.array_equal(ops.add(x[:-1], x[1:]), want)
