"""Optimisers against a float64 transcription of their formulas; states, options, refusals."""

from __future__ import annotations

import json

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
    for lr in (np.float32(0.5), np.int64(2)):
        assert optim.SGD(p, lr).lr == lr and type(optim.SGD(p, lr).lr) is float


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.SGD(p, -1.0), "SGD: lr must be a number"),
        (lambda p: optim.SGD(p, np.float32("nan")), "SGD: lr must be a number"),
        (lambda p: optim.SGD(p, np.bool_(True)), "SGD: lr must be a number"),
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


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.Adagrad, optim.RMSprop, optim.Adadelta])
def test_updates_together_are_updates_one_by_one(kind):
    """Parameters of equal age are updated by one native call; one that was frozen for a while makes them go singly."""
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (5,), (), (2, 0)]
    start = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    together = [rb.Parameter(a.copy()) for a in start]
    single = [rb.Parameter(a.copy()) for a in start]
    one = kind(together)
    many = [kind([p]) for p in single]
    for t in range(6):
        frozen = 1 if t in (2, 3) else None
        for i, (p, q) in enumerate(zip(together, single, strict=True)):
            g = rng.standard_normal(p.shape).astype(np.float32)
            p.grad = q.grad = None if i == frozen else rb.Tensor(g)
        one.step()
        for o in many:
            o.step()
        for p, q in zip(together, single, strict=True):
            assert p.data.tobytes() == q.data.tobytes()
    assert not np.array_equal(together[0].data, start[0])


def test_a_gradient_that_does_not_fit_changes_nothing():
    first, second = rb.Parameter(np.ones(3, np.float32)), rb.Parameter(np.ones(2, np.float32))
    optimizer = optim.SGD([first, second], lr=1.0)
    first.grad, second.grad = rb.Tensor(np.ones(3, np.float32)), rb.Tensor(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="SGD: expected a gradient of shape \\(2,\\)"):
        optimizer.step()
    assert np.array_equal(first.data, np.ones(3)) and optimizer._updates == [0, 0]


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
    with pytest.raises(ValueError, match=r"parameter 0: expected shape \(3,\) and float64, got \(4,\)"):
        opt.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="expected state for 1 parameters, got 2"):
        opt.load_state_dict(optim.Adam([p, Parameter(np.ones(4))]).state_dict())
    with pytest.raises(ValueError, match="SGD: expected state of SGD, got 'Adam'"):
        optim.SGD([p]).load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match=r"expected parameter groups of sizes \[1\], got \[0, 1\]"):
        opt.load_state_dict(optim.Adam([{"params": []}, {"params": [Parameter(np.ones(3))]}]).state_dict())


# --- the other first-order optimisers, against PyTorch and the notes

TORCH = [
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "maximize": True}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1, "maximize": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.1, "centered": True, "alpha": 0.8}),
    ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.5, "eps": 1e-2, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
]


@pytest.mark.parametrize(("kind", "options"), TORCH, ids=str)
def test_like_torch(kind, options):
    torch = pytest.importorskip("torch")
    start, steps = gradients(8)
    p = torch.tensor(start, requires_grad=True)
    opt = getattr(torch.optim, kind)([p], **options)
    want = []
    for g in steps:
        p.grad = torch.tensor(g)
        opt.step()
        want.append(p.detach().numpy().copy())
    q = Parameter(start.copy())
    ours = getattr(optim, kind)([q], **options)
    for g, w in zip(steps, want, strict=True):
        q.grad = rb.Tensor(g)
        ours.step()
        np.testing.assert_allclose(q.data, w, rtol=1e-11, atol=1e-13)


def test_defaults_are_torchs():
    torch = pytest.importorskip("torch")
    for kind in ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "Adadelta"):
        ours = getattr(optim, kind)([Parameter([1.0])]).defaults
        theirs = getattr(torch.optim, kind)([torch.ones(1)]).defaults
        for name in set(ours) & set(theirs):
            expected = 0.01 if (kind, name) == ("SGD", "lr") else theirs[name]
            assert ours[name] == expected, (kind, name)


def test_adagrad_as_printed():
    """Notes B:2.7: the rate is lr / sqrt(sum of squares + eps)."""
    p, steps = gradients()
    total, want = 0.0, []
    for g in steps:
        total = total + g * g
        p = p - 0.1 / np.sqrt(total + 0.3) * g
        want.append(p)
    compare(run(lambda ps: optim.Adagrad(ps, 0.1, eps=0.3, eps_inside=True), F64), want, F64)


def test_rmsprop_as_printed():
    """Notes B:2.7: rho = 0.9, eps = 1e-10 inside the root."""
    p, steps = gradients()
    v, want = 0.0, []
    for g in steps:
        v = 0.9 * v + 0.1 * g * g
        p = p - 0.1 / np.sqrt(v + 1e-10) * g
        want.append(p)
    compare(run(lambda ps: optim.RMSprop(ps, 0.1, alpha=0.9, eps=1e-10, eps_inside=True), F64), want, F64)
    q = Parameter(np.array([1.0]))
    q.grad = rb.Tensor(np.array([1e-6]))
    optim.RMSprop([q], 0.1, alpha=0.9, eps=1e-10, eps_inside=True).step()
    assert q.item() == pytest.approx(1.0 - 0.1 * 1e-6 / np.sqrt(1e-13 + 1e-10), rel=1e-12)


def test_delta_bar_delta_by_hand():
    """Jacobs 1988, with kappa 0.1, phi 0.5, theta 0.5 and rates that begin at 0.2."""
    p = Parameter(np.array([0.0, 0.0]))
    opt = optim.DeltaBarDelta([p], 0.2, kappa=0.1, phi=0.5, theta=0.5)
    #        g          rate after    bar after       p after
    rows = [([1, 1], [0.2, 0.2], [0.5, 0.5], [-0.2, -0.2]),  # no history yet
            ([1, -2], [0.3, 0.1], [0.75, -0.75], [-0.5, 0.0]),  # agreement adds 0.1, disagreement halves
            ([0, -1], [0.3, 0.2], [0.375, -0.875], [-0.5, 0.2])]
    for g, rate, bar, value in rows:
        p.grad = rb.Tensor(np.array(g, float))
        opt.step()
        state = opt.state_dict()["state"][0]
        np.testing.assert_allclose(state["rate"], rate, rtol=1e-14)
        np.testing.assert_allclose(state["bar"], bar, rtol=1e-14)
        np.testing.assert_allclose(p.data, value, rtol=1e-14, atol=1e-15)
    opt.lr = 0.1  # half the first: steps halve
    p.grad = rb.Tensor(np.array([0.0, -1.0]))
    opt.step()
    np.testing.assert_allclose(p.data, [-0.5, 0.2 + 0.5 * 0.3], rtol=1e-14)


def quadratic(p):
    """A closure for f = (p0**2 + 10 p1**2) / 2."""

    def closure():
        p.grad = None
        loss = ((p * p) * rb.Tensor(np.array([0.5, 5.0]))).sum()
        loss.backward()
        return loss

    return closure


def nesterov_by_hand(n, lr=0.05, mu=0.9):
    x, v = np.array([3.0, -2.0]), np.zeros(2)
    out = []
    for _ in range(n):
        ahead = x + mu * v  # 1: look ahead
        g = np.array([1.0, 10.0]) * ahead  # 2: the gradient there
        v = mu * v - lr * g  # 3
        x = x + v  # 4
        out.append((x.copy(), x + mu * v))
    return out


def test_nesterov_in_four_steps():
    p = Parameter(np.array([3.0, -2.0]))
    opt = optim.Nesterov([p], 0.05, 0.9)
    closure = quadratic(p)
    for x, _ in nesterov_by_hand(12):
        opt.step(closure)
        np.testing.assert_allclose(p.data, x, rtol=1e-12, atol=1e-14)


def test_nesterov_without_a_closure_stands_ahead():
    p = Parameter(np.array([3.0, -2.0]))
    opt = optim.Nesterov([p], 0.05, 0.9)
    closure = quadratic(p)
    for x, ahead in nesterov_by_hand(12):
        closure()
        opt.step()
        np.testing.assert_allclose(p.data, ahead, rtol=1e-12, atol=1e-14)
        opt.settle()
        opt.settle()  # twice is once
        np.testing.assert_allclose(p.data, x, rtol=1e-12, atol=1e-14)
        with pytest.raises(RuntimeError, match="call look_ahead"):
            opt.step()
        opt.look_ahead()
        opt.look_ahead()
        np.testing.assert_allclose(p.data, ahead, rtol=1e-12, atol=1e-14)
    opt.settle()
    opt.step(closure)  # a closure looks ahead by itself
    np.testing.assert_allclose(p.data, nesterov_by_hand(13)[-1][0], rtol=1e-12, atol=1e-14)


def test_gradient_ascent():
    p = Parameter(np.array([1.0]))
    p.grad = rb.Tensor(np.array([2.0]))
    optim.SGD([p], 0.25, maximize=True).step()
    assert p.item() == 1.5


# --- groups


def test_parameter_groups():
    p, q = Parameter(np.array([1.0])), Parameter(np.array([1.0]))
    opt = optim.SGD([{"params": [p]}, {"params": q, "lr": 0.5, "weight_decay": 0.5}], lr=0.25, weight_decay=0.0)
    for t in (p, q):
        t.grad = rb.Tensor(np.array([1.0]))
    opt.step()
    assert p.item() == 0.75 and q.item() == 1 - 0.5 * 1.5
    assert opt.lr == 0.25 and [g["lr"] for g in opt.param_groups] == [0.25, 0.5]
    opt.lr = 0.125
    assert [g["lr"] for g in opt.param_groups] == [0.125, 0.125]
    r = Parameter(np.array([1.0]))
    opt.add_param_group({"params": [r], "maximize": True})
    r.grad = rb.Tensor(np.array([1.0]))
    p.grad = q.grad = None
    opt.step()
    assert r.item() == 1.25 and len(opt.state_dict()["param_groups"]) == 3
    assert [g["weight_decay"] for g in opt.options()["param_groups"]] == [0.0, 0.5, 0.0]


def test_bad_groups():
    p = Parameter([1.0])
    with pytest.raises(ValueError, match="SGD: parameter 1 is parameter 0 again"):
        optim.SGD([{"params": [p]}, {"params": [p]}])
    with pytest.raises(ValueError, match="SGD: a parameter group has no option 'beta'"):
        optim.SGD([{"params": [p], "beta": 1}])
    with pytest.raises(ValueError, match="SGD: momentum must be a number"):
        optim.SGD([{"params": [p], "momentum": -1.0}])
    with pytest.raises(TypeError, match="SGD: expected a parameter group"):
        optim.SGD([{"lr": 1.0}])
    with pytest.raises(TypeError, match="SGD: unexpected option 'clip'"):
        optim.SGD([p], clip=1.0)
    with pytest.raises(ValueError, match="at least one parameter"):
        optim.SGD([{"params": []}])


# --- clipping


def two(a, b):
    p, q = Parameter(np.zeros(len(a))), Parameter(np.zeros(len(b)))
    p.grad, q.grad = rb.Tensor(np.array(a, float)), rb.Tensor(np.array(b, float))
    return p, q


def test_clip_grad_norm():
    p, q = two([3.0, 0.0], [0.0, 4.0])
    total = optim.clip_grad_norm_([p, q], 1.0)
    assert total.shape == () and total.item() == 5.0
    np.testing.assert_allclose([*p.grad.data, *q.grad.data], np.array([3, 0, 0, 4]) / (5 + 1e-6), rtol=1e-14)
    p, q = two([3.0, 0.0], [0.0, -4.0])
    assert optim.clip_grad_norm_(iter([p, q]), 2.0, float("inf")).item() == 4.0
    np.testing.assert_allclose([*p.grad.data, *q.grad.data], np.array([3, 0, 0, -4]) * (2 / (4 + 1e-6)), rtol=1e-14)
    p, q = two([3.0, 0.0], [0.0, 4.0])
    assert optim.clip_grad_norm_([p, q], 5.1).item() == 5.0 and p.grad.tolist() == [3.0, 0.0]
    assert optim.clip_grad_norm_([Parameter([1.0])], 1.0).item() == 0.0
    p, q = two([3.0, float("nan")], [0.0, 4.0])
    with pytest.raises(ArithmeticError, match="the joint norm of the gradients is nan"):
        optim.clip_grad_norm_([p, q], 1.0, error_if_nonfinite=True)
    assert q.grad.tolist() == [0.0, 4.0]
    for bad in (0.0, -1.0, "a", True):
        with pytest.raises(ValueError, match="clip_grad_norm_: max_norm must be a positive number"):
            optim.clip_grad_norm_([p], bad)
    with pytest.raises(ValueError, match="norm_type must be 2 or infinity, got 1"):
        optim.clip_grad_norm_([p], 1.0, 1)
    with pytest.raises(TypeError, match="expected parameters, got ndarray"):
        optim.clip_grad_norm_([np.ones(2)], 1.0)


def test_clip_grad_norm_of_both_precisions():
    p, q = Parameter(np.zeros(1, F32)), Parameter(np.zeros(1, F64))
    p.grad, q.grad = rb.Tensor(np.array([3.0], F32)), rb.Tensor(np.array([4.0]))
    total = optim.clip_grad_norm_([p, q], 1.0)
    assert total.dtype == F64 and total.item() == 5.0
    np.testing.assert_allclose([p.grad.item(), q.grad.item()], [0.6, 0.8], rtol=1e-6)
    assert p.grad.dtype == F32


def test_clip_grad_norm_like_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for n in (1, 100, 20000):
        data = [rng.standard_normal(n) for _ in range(3)]
        ours = [Parameter(np.zeros(n)) for _ in data]
        theirs = [torch.zeros(n, dtype=torch.float64) for _ in data]
        for p, t, g in zip(ours, theirs, data, strict=True):
            p.grad, t.grad = rb.Tensor(g.copy()), torch.tensor(g)
        a, b = optim.clip_grad_norm_(ours, 0.7), torch.nn.utils.clip_grad_norm_(theirs, 0.7)
        assert a.item() == pytest.approx(b.item(), rel=1e-13)
        for p, t in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.grad.data, t.grad.numpy(), rtol=1e-12)


def test_clip_grad_value():
    p, q = two([3.0, -0.5], [-4.0, 0.0])
    optim.clip_grad_value_([p, q], 1.0)
    assert p.grad.tolist() == [1.0, -0.5] and q.grad.tolist() == [-1.0, 0.0]
    p.grad = rb.Tensor(np.ones((2, 3)).T[:2, 0] * 5)
    p.grad.data.flags.writeable = False
    optim.clip_grad_value_(p, 2.0)
    assert p.grad.tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="clip_value must be a positive number"):
        optim.clip_grad_value_([p], 0)


def test_clipping_options():
    """As in Keras: g * c / max(norm, c), per parameter or of all together; or every element."""
    for option, limit, want in [
        ("clipvalue", 1.0, ([1.0, 0.0], [0.0, 1.0])),
        ("clipnorm", 2.0, ([2.0, 0.0], [0.0, 2.0])),
        ("clipnorm", 3.5, ([3.0, 0.0], [0.0, 3.5])),
        ("global_clipnorm", 1.0, ([0.6, 0.0], [0.0, 0.8])),
        ("global_clipnorm", 6.0, ([3.0, 0.0], [0.0, 4.0])),
    ]:
        p, q = two([3.0, 0.0], [0.0, 4.0])
        opt = optim.SGD([p, q], 1.0, **{option: limit})
        opt.step()
        np.testing.assert_allclose([-p.data, -q.data], want, rtol=1e-14, err_msg=option)
        assert opt.options()[option] == limit
    with pytest.raises(ValueError, match="SGD: expected at most one of clipnorm, clipvalue, global_clipnorm"):
        optim.SGD([p], clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match="Adam: clipnorm must be positive, got 0"):
        optim.Adam([p], clipnorm=0.0)


# --- constraints


def norms(a):
    return np.sqrt((a.reshape(len(a), -1).astype(float) ** 2).sum(1))


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_constraints(dtype):
    rng = np.random.default_rng(0)
    for shape in [(4, 3), (5, 3, 3, 2)]:
        start = (rng.standard_normal(shape) * 2).astype(dtype)
        start[0] = 0.0
        start[1] *= 0.01
        for constraint, low, high in [
            (optim.MaxNorm(2.0), 0, 2), (optim.UnitNorm(), 1, 1), (optim.MinMaxNorm(0.5, 1.5), 0.5, 1.5),
        ]:
            a = start.copy()
            constraint(a)
            before = norms(start)
            want = np.where(before > 0, np.clip(before, low, high), 0)
            np.testing.assert_allclose(norms(a), want, rtol=1e-6 if dtype == F32 else 1e-14)
            same = (before >= low) & (before <= high)
            assert ref.same_bits(a[same], start[same])
            keep = before > 0
            turn = (a.reshape(len(a), -1) * start.reshape(len(a), -1)).sum(1)[keep]
            np.testing.assert_allclose(turn, (norms(a) * before)[keep], rtol=1e-6)  # the direction stays
    vector = np.array([3.0, 4.0], dtype)
    optim.MaxNorm(1.0)(vector)  # one row
    np.testing.assert_allclose(vector, [0.6, 0.8], rtol=1e-6)
    a = np.array([-1.0, 0.0, 2.0, np.nan], dtype)
    optim.NonNegative()(a)
    assert a[:3].tolist() == [0.0, 0.0, 2.0] and np.isnan(a[3])
    a = np.array([-1.0, 0.25, 2.0], dtype)
    optim.Box(0.0, 1.0)(a)
    assert a.tolist() == [0.0, 0.25, 1.0]


def test_bad_constraints():
    for make in (lambda: optim.MaxNorm(0.0), lambda: optim.MaxNorm(-1), lambda: optim.MinMaxNorm(2, 1),
                 lambda: optim.Box(1, 0), lambda: optim.MaxNorm(float("nan"))):
        with pytest.raises(ValueError, match=r"MaxNorm|Box|MinMaxNorm"):
            make()
    with pytest.raises(ValueError, match="MaxNorm: expected an array that is contiguous"):
        optim.MaxNorm(1.0)(np.ones((4, 4)).T[:, :2])
    with pytest.raises(TypeError, match="constraint must be callable or None, got 2"):
        optim.SGD([Parameter([1.0])], constraint=2)
    with pytest.raises(TypeError, match="ProjectedGD: expected a projection"):
        optim.ProjectedGD([Parameter([1.0])])


def test_constraint_of_one_group_only():
    p, q = two([-1.0, 1.0], [-1.0, 1.0])
    opt = optim.SGD([{"params": p, "constraint": optim.NonNegative()}, {"params": q}], 1.0)
    opt.step()
    assert p.data.tolist() == [1.0, 0.0] and q.data.tolist() == [1.0, -1.0]


def test_projected_gradient_descent():
    """Least |x - (2, 1)|**2 on the unit disc and on a box, and with a projection of one's own."""
    target = rb.Tensor(np.array([2.0, 1.0]))

    def ball(a):
        a /= max(1.0, np.sqrt((a * a).sum()))

    for projection, want in [
        (optim.MaxNorm(1.0), np.array([2.0, 1.0]) / np.sqrt(5.0)),
        (ball, np.array([2.0, 1.0]) / np.sqrt(5.0)),
        (optim.Box(-0.5, 0.75), [0.75, 0.75]),
    ]:
        p = Parameter(np.zeros(2))
        opt = optim.ProjectedGD([p], 0.1, projection)
        for _ in range(100):
            p.grad = None
            d = p - target
            (d * d).sum().backward()
            opt.step()
        np.testing.assert_allclose(p.data, want, rtol=1e-8)


def test_recipe_against_exploding_gradients():
    """Notes A:N6: Glorot weights, Adam with clipnorm 1, max-norm 2: training on huge inputs stays bounded."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((64, 10)) * 1e4).astype(F32)
    y = (x[:, :1] * 1e3).astype(F32)
    layers = [rb.nn.Linear(10, 32, weight_init="glorot_uniform"), rb.nn.Linear(32, 1, weight_init="glorot_uniform")]
    model = rb.nn.Sequential(*layers)
    weights = [layer.weight for layer in layers]
    assert abs(weights[0].data).max() <= np.sqrt(6 / 42)
    biases = [layer.bias for layer in layers]
    groups = [{"params": weights, "constraint": optim.MaxNorm(2.0)}, {"params": biases}]
    opt = optim.Adam(groups, 0.5, clipnorm=1.0)
    largest = 0.0
    for _ in range(30):
        opt.zero_grad()
        loss = ((model(rb.Tensor(x)) - rb.Tensor(y)) * 1e-4).square().mean()
        loss.backward()
        opt.step()
        largest = max(largest, *(norms(w.data).max() for w in weights))
        assert all(norms(p.grad.data.reshape(1, -1))[0] <= 1 + 1e-6 for p in opt.parameters)
        assert np.isfinite(loss.item())
    assert 1.9 < largest <= 2 + 1e-6


# --- saved state of every optimiser


def everything(p):
    """One of each, on the parameters p."""
    return [
        optim.SGD(p, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
        optim.Nesterov(p, 0.1, 0.8),
        optim.Adagrad(p, 0.1, lr_decay=0.1),
        optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
        optim.Adadelta(p),
        optim.DeltaBarDelta(p, 0.05),
        optim.Adam(p, 0.1, global_clipnorm=1.0),
        optim.AdamW(p, 0.1),
        optim.ProjectedGD(p, 0.1, optim.MaxNorm(1.0)),
        optim.LBFGS(p, max_iter=2),
        optim.LBFGS(p, 0.01, max_iter=2, line_search_fn=None),
        optim.ConjugateGradient(p, max_iter=2),
        optim.GeneticSearch(p, 6, seed=1),
    ]


COUNT = 13


def plain(value, arrays):
    """`value` with arrays replaced by names, as JSON text would hold it."""
    if isinstance(value, np.ndarray):
        arrays.append(value.copy())
        return {"array": len(arrays) - 1}
    if isinstance(value, dict):
        assert all(isinstance(k, str) for k in value)
        return {k: plain(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v, arrays) for v in value]
    assert value is None or isinstance(value, (bool, int, float, str)), value
    return value


def back(value, arrays):
    if isinstance(value, dict):
        return arrays[value["array"]] if list(value) == ["array"] else {k: back(v, arrays) for k, v in value.items()}
    return [back(v, arrays) for v in value] if isinstance(value, list) else value


def test_every_optimiser_is_in_the_list():
    made = everything([Parameter(np.ones(2))])
    assert len(made) == COUNT
    classes = {getattr(optim, n) for n in optim.__all__ if isinstance(getattr(optim, n), type)}
    assert {c for c in classes if issubclass(c, optim.Optimizer)} - {type(o) for o in made} == {optim.Optimizer}


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("number", range(COUNT))
def test_every_state_survives_json(number, dtype):
    """Six steps = three steps, save as JSON and arrays, load into a fresh optimiser, three steps: the same bits."""

    def build(data):
        p = [Parameter(data[0].copy()), Parameter(data[1].copy())]
        return p, everything(p)[number]

    def go(p, opt, n):
        def closure():
            opt.zero_grad()
            a, b = p[0] - 0.5, p[1] * 3.0 + p[0]
            loss = (a * a * a * a).sum() + (b * b).sum()
            loss.backward()
            return loss

        for _ in range(n):
            opt.lr = opt.lr * 0.9
            if isinstance(opt, optim.GeneticSearch):
                with rb.no_grad():
                    opt.step(lambda: (p[0] * p[0]).sum() + (p[1] - 1.0).square().sum())
            elif isinstance(opt, (optim.LBFGS, optim.ConjugateGradient)):
                opt.step(closure)
            else:
                closure()
                opt.step()

    start = [np.array([1.0, -2.0], dtype), np.array([0.3, 0.2], dtype)]
    p, whole = build(start)
    go(p, whole, 6)
    q, half = build(start)
    go(q, half, 3)
    arrays = []
    text = json.dumps(plain(half.state_dict(), arrays), allow_nan=False)
    middle = [t.data.copy() for t in q]
    go(q, half, 3)
    r, rest = build(middle)
    rest.load_state_dict(back(json.loads(text), arrays))
    go(r, rest, 3)
    assert rest.steps == 6 and rest.options() == whole.options()
    for a, b, c in zip(p, q, r, strict=True):
        assert ref.same_bits(a.data, b.data) and ref.same_bits(a.data, c.data)
    assert any(not ref.same_bits(a.data, b) for a, b in zip(p, start, strict=True))


def test_loading_keeps_the_arrays_in_use():
    p = Parameter(np.ones(3))
    opt = optim.Adam([p])
    opt.prepare()
    m = opt._state[0]["m"]
    saved = opt.state_dict()
    p.grad = rb.Tensor(np.ones(3))
    opt.step()
    assert opt._state[0]["m"] is m and m[0] != 0
    opt.load_state_dict(saved)
    assert opt._state[0]["m"] is m and m[0] == 0


# --- under capture


@pytest.mark.parametrize("number", range(9))
def test_captured_steps_are_eager_steps(number):
    """Clipping, constraints, schedules and every first-order optimiser replay to the same bits."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 4)).astype(F32), rng.standard_normal((8, 1)).astype(F32)
    weight = rng.standard_normal((1, 4)).astype(F32)
    results = []
    for captured in (False, True):
        p = Parameter(weight.copy())
        opt = everything([p])[number]
        schedule = optim.ExponentialLR(opt, 0.9)

        def step(a, b, p=p, opt=opt):
            opt.zero_grad()
            loss = (rb.ops.matmul(a, p.T) - b).square().mean()
            loss.backward()
            opt.step()
            return loss

        run = rb.capture(step) if captured else step
        for _ in range(10):
            run(rb.Tensor(x), rb.Tensor(y))
            schedule.step()
        assert not captured or run.replays > 3
        results.append(p.data.copy())
        assert opt.steps == 10 and opt.state_dict()["updates"] == [10]
    assert ref.same_bits(*results)
    assert not ref.same_bits(results[0], weight)


def test_capture_refuses_a_python_projection():
    p = Parameter(np.ones((1, 4), F32))
    opt = optim.ProjectedGD([p], 0.1, lambda a: None)

    @rb.capture
    def step(a):
        opt.zero_grad()
        (a * p).sum().backward()
        opt.step()

    a = rb.Tensor(np.ones((1, 4), F32))
    step(a)
    with pytest.raises(rb.CaptureError, match=r"the constraint .* is a Python function"):
        for _ in range(3):
            step(a)
