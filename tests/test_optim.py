"""Optimisers against a float64 transcription of their formulas; states, options, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref

import rosenblatt as rb
from rosenblatt import Parameter, optim

pytestmark = pytest.mark.quick
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)

SGD = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.2},
    {"lr": 0.05, "momentum": 0.9},
    {"lr": 0.05, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    {"lr": 0.05, "momentum": 0.8, "dampening": 1.0, "weight_decay": 0.1},
]
ADAM = [{}, {"lr": 0.1, "betas": (0.5, 0.9)}, {"eps": 1e-3, "weight_decay": 0.1}, {"betas": (0.0, 0.0), "eps": 1e-2}]


def gradients(n=5, shape=(7, 3)):
    rng = np.random.default_rng(0)
    return rng.standard_normal(shape), [rng.standard_normal(shape) for _ in range(n)]


def run(make, dtype):
    """Parameter values after each of five steps on given gradients."""
    start, steps = gradients()
    p = Parameter(start.astype(dtype))
    opt = make([p])
    out = []
    for g in steps:
        p.grad = rb.Tensor(g.astype(dtype))
        opt.step()
        out.append(p.data.copy())
    return out


def compare(got, want, dtype):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6 if dtype == F32 else 1e-14, atol=2e-6 if dtype == F32 else 1e-15)
        assert a.dtype == dtype


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("options", SGD, ids=str)
def test_sgd(options, dtype):
    p, steps = gradients()
    m = np.zeros_like(p)
    want = []
    o = dict(options)
    lr = o.pop("lr")
    for i, g in enumerate(steps):
        p, m = ref.sgd(p, g, m, lr, first=i == 0, **o)
        want.append(p)
    compare(run(lambda ps: optim.SGD(ps, **options), dtype), want, dtype)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
@pytest.mark.parametrize("options", ADAM, ids=str)
def test_adam(kind, options, dtype):
    o = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0 if kind == "Adam" else 0.01, **options}
    p, steps = gradients()
    m, v = np.zeros_like(p), np.zeros_like(p)
    want = []
    for i, g in enumerate(steps):
        p, m, v = ref.adam(p, g, m, v, o["lr"], *o["betas"], o["eps"], o["weight_decay"], kind == "AdamW", i + 1)
        want.append(p)
    compare(run(lambda ps: getattr(optim, kind)(ps, **options), dtype), want, dtype)


def test_default_values():
    p = [Parameter([1.0])]
    assert optim.SGD(p).options() == {
        "name": "SGD",
        "lr": 0.01,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
    }
    assert optim.Adam(p).options() == {
        "name": "Adam",
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
    }
    assert optim.AdamW(p).weight_decay == 1e-2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.SGD(p, -1.0), "SGD: lr must be a number"),
        (lambda p: optim.SGD(p, "a"), "SGD: lr"),
        (lambda p: optim.SGD(p, float("nan")), "SGD: lr"),
        (lambda p: optim.SGD(p, True), "SGD: lr"),
        (lambda p: optim.SGD(p, momentum=-0.1), "SGD: momentum"),
        (lambda p: optim.SGD(p, dampening=1.1), "SGD: dampening"),
        (lambda p: optim.SGD(p, weight_decay=-1), "SGD: weight_decay"),
        (lambda p: optim.SGD(p, nesterov=True), "nesterov needs"),
        (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), "nesterov needs"),
        (lambda p: optim.Adam(p, betas=(1.0, 0.9)), r"Adam: betas\[0\]"),
        (lambda p: optim.Adam(p, betas=(0.9, 1.5)), r"Adam: betas\[1\]"),
        (lambda p: optim.Adam(p, betas=0.9), "Adam: betas must be a pair"),
        (lambda p: optim.AdamW(p, eps=-1e-8), "AdamW: eps"),
        (lambda p: optim.Adam(p, weight_decay=float("inf")), "Adam: weight_decay"),
        (lambda p: optim.SGD([]), "at least one parameter"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make([Parameter([1.0])])


def test_bad_parameters_and_gradients():
    with pytest.raises(TypeError, match="SGD: expected parameters, got ndarray at position 1"):
        optim.SGD([Parameter([1.0]), np.ones(2)])
    p = Parameter(np.ones(3, F32))
    opt = optim.SGD([p])
    for bad in (np.ones(4, F32), np.ones(3, F64)):
        p.grad = rb.Tensor(bad)
        with pytest.raises(ValueError, match=r"SGD: expected a gradient of shape \(3,\) and float32 for parameter 0"):
            opt.step()
    assert p.data.tolist() == [1.0, 1.0, 1.0]
    q = Parameter(np.ones((3, 4), F32).T)
    q.grad = rb.Tensor(np.ones((4, 3), F32))
    with pytest.raises(ValueError, match="contiguous"):
        optim.SGD([q]).step()


def test_parameters_without_gradient_stay():
    p, q = Parameter([1.0]), Parameter([1.0])
    opt = optim.Adam([p, q], 0.1)
    p.grad = rb.Tensor([1.0])
    opt.step()
    assert q.item() == 1.0 and p.item() < 1.0
    opt.zero_grad()
    assert p.grad is None
    moved = p.item()
    opt.step()
    assert p.item() == moved and opt.steps == 2
    q.grad = rb.Tensor([1.0])
    opt.step()
    np.testing.assert_allclose(
        q.item(), 0.9, rtol=1e-6
    )  # the first update of q, with the bias correction of a first one


def test_updates_are_in_place_and_leave_the_gradient():
    p = Parameter(np.ones(5, F32))
    data = p.data
    p.grad = rb.Tensor(np.ones(5, F32))
    optim.AdamW([p], 0.1).step()
    assert p.data is data and p.grad.tolist() == [1.0] * 5


def test_learning_rate_may_change():
    p = Parameter(np.array([1.0]))
    opt = optim.SGD([p], 0.5)
    for lr in (0.5, 0.25):
        opt.lr = lr
        p.grad = rb.Tensor(np.array([1.0]))
        opt.step()
    assert p.item() == 0.25


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1, momentum=0.9), lambda p: optim.Adam(p, 0.1)])
def test_state_resumes_bit_for_bit(make):
    start, steps = gradients(8)

    def go(p, opt, part):
        for g in part:
            p.grad = rb.Tensor(g)
            opt.step()

    p = Parameter(start.copy())
    opt = make([p])
    go(p, opt, steps)
    q = Parameter(start.copy())
    half = make([q])
    go(q, half, steps[:4])
    state, data = half.state_dict(), q.data.copy()
    go(q, half, steps[4:])  # the state is a copy
    r = Parameter(data)
    rest = make([r])
    rest.lr = 99.0
    rest.load_state_dict(state)
    go(r, rest, steps[4:])
    assert ref.same_bits(r.data, p.data) and ref.same_bits(q.data, p.data) and rest.steps == 8


def test_foreign_state_is_refused():
    opt = optim.Adam([Parameter(np.ones(3))])
    p = Parameter(np.ones(4))
    other = optim.Adam([p])
    p.grad = rb.Tensor(np.ones(4))
    other.step()
    with pytest.raises(ValueError, match=r"parameter 0: expected shape \(3,\), got \(4,\)"):
        opt.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="expected state for 1 parameters, got 2"):
        opt.load_state_dict(optim.Adam([p, p]).state_dict())
