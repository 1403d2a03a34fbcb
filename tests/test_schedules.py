"""Learning-rate schedules against written-out values, PyTorch, and a resumed run."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import reference as ref

import rosenblatt as rb
from rosenblatt import Parameter, optim
from rosenblatt.train import LearningRateSchedule
from rosenblatt.train.callbacks import Run

pytestmark = pytest.mark.quick


def sgd(lr=1.0, **options):
    return optim.SGD([Parameter([1.0])], lr, **options)


def rates(schedule, n):
    """The first group's rate before each of n steps."""
    out = []
    for _ in range(n):
        out.append(schedule.optimizer.lr)
        schedule.step()
    return out


WRITTEN = [
    (lambda o: optim.LambdaLR(o, lambda t: 1 / (1 + t)), [1, 1 / 2, 1 / 3, 1 / 4]),
    (lambda o: optim.StepLR(o, 2, 0.5), [1, 1, 0.5, 0.5, 0.25]),
    (lambda o: optim.MultiStepLR(o, [4, 1], 0.1), [1, 0.1, 0.1, 0.1, 0.01, 0.01]),
    (lambda o: optim.MultiStepLR(o, [2, 2], 0.1), [1, 1, 0.01]),
    (lambda o: optim.ConstantLR(o, 0.5, 2), [0.5, 0.5, 1, 1]),
    (lambda o: optim.ExponentialLR(o, 0.5), [1, 0.5, 0.25, 0.125]),
    (lambda o: optim.LinearLR(o, 0.2, 1.0, 4), [0.2, 0.4, 0.6, 0.8, 1, 1]),
    (lambda o: optim.LinearLR(o, 1.0, 0.0, 2), [1, 0.5, 0, 0]),
    (lambda o: optim.PolynomialLR(o, 4, 2.0), [1, 9 / 16, 4 / 16, 1 / 16, 0, 0]),
    (lambda o: optim.CosineAnnealingLR(o, 4, 0.2),
     [1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2, 0.6 - 0.4 * math.sqrt(0.5)]),
    (lambda o: optim.CosineAnnealingWarmRestarts(o, 2), [1, 0.5, 1, 0.5, 1]),
    (lambda o: optim.CosineAnnealingWarmRestarts(o, 1, 2, 0.5), [1, 1, 0.75, 1, 0.75 + 0.25 * math.sqrt(0.5), 0.75]),
    (lambda o: optim.WarmUp(o, 4), [0, 0.25, 0.5, 0.75, 1, 1]),
    (lambda o: optim.WarmUp(optim.ExponentialLR(o, 0.5), 2, 0.5), [0.5, 0.75, 1, 0.5, 0.25]),
    (lambda o: optim.SequentialLR(o, [optim.ConstantLR(o, 0.1, 9), optim.ExponentialLR(o, 0.5)], [2]),
     [0.1, 0.1, 1, 0.5, 0.25]),
    (lambda o: optim.OneCycleLR(o, 2.0, 11, pct_start=5 / 11, div_factor=4, final_div_factor=10, cycle_momentum=False,
                                anneal_strategy="linear"),
     [0.5, 0.875, 1.25, 1.625, 2, *(2 - (2 - 0.05) * k / 6 for k in range(1, 7))]),
]


@pytest.mark.parametrize("number", range(len(WRITTEN)))
def test_written_values(number):
    make, want = WRITTEN[number]
    schedule = make(sgd())
    np.testing.assert_allclose(rates(schedule, len(want)), want, rtol=1e-13, atol=1e-15)
    schedule = make(sgd(0.1))  # in proportion to the first rate where nothing absolute is given
    if "Cosine" not in type(schedule).__name__ and "Cycle" not in type(schedule).__name__:
        np.testing.assert_allclose(rates(schedule, len(want)), 0.1 * np.array(want), rtol=1e-13, atol=1e-15)


TORCH = [
    ("StepLR", {"step_size": 3}),
    ("MultiStepLR", {"milestones": [2, 5, 6]}),
    ("ConstantLR", {}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LinearLR", {}),
    ("PolynomialLR", {"total_iters": 7, "power": 1.5}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3}),
    ("OneCycleLR", {"max_lr": [2.0, 1.0], "total_steps": 20}),
    ("OneCycleLR", {"max_lr": 2.0, "epochs": 4, "steps_per_epoch": 5, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 2.0, "total_steps": 20, "anneal_strategy": "linear", "pct_start": 0.5}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "options"), TORCH, ids=str)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_like_torch(name, options, kind):
    torch = pytest.importorskip("torch")
    extra = {"momentum": 0.9} if kind == "SGD" else {}
    theirs = getattr(torch.optim, kind)([{"params": [torch.ones(1)]}, {"params": [torch.ones(1)], "lr": 0.3}], 0.1,
                                        **extra)
    ours = getattr(optim, kind)([{"params": [Parameter([1.0])]}, {"params": [Parameter([1.0])], "lr": 0.3}], 0.1,
                                **extra)
    a = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    b = getattr(optim, name)(ours, **options)
    for t in range(20):
        for g, h in zip(theirs.param_groups, ours.param_groups, strict=True):
            assert h["lr"] == pytest.approx(g["lr"], rel=1e-9), t
            if name == "OneCycleLR":
                key = "momentum" if kind == "SGD" else "betas"
                assert h[key] == pytest.approx(g[key], rel=1e-9), t
        if t < 19:
            a.step()
            b.step()
    assert b.get_last_lr() == [g["lr"] for g in ours.param_groups]


def test_one_cycle_ends():
    schedule = optim.OneCycleLR(sgd(momentum=0.9), 1.0, 4)
    for _ in range(3):
        schedule.step()
    last = schedule.optimizer.lr
    schedule.step()  # after the last batch
    assert schedule.optimizer.lr == last == pytest.approx(1 / 25 / 1e4) and schedule.optimizer.momentum == 0.95
    with pytest.raises(ValueError, match="OneCycleLR: step 5 of a cycle of 4 steps"):
        schedule.step()


def test_warm_up_passes_the_momentum_on():
    opt = sgd(momentum=0.9)
    schedule = optim.WarmUp(optim.OneCycleLR(opt, 1.0, 10), 2)
    got = []
    for _ in range(6):
        got.append(opt.momentum)
        schedule.step()
    plain = sgd(momentum=0.9)
    cycle = optim.OneCycleLR(plain, 1.0, 10)
    want = [0.95, 0.95]
    for _ in range(4):
        want.append(plain.momentum)
        cycle.step()
    assert got == want and min(got) < 0.9


# --- plateau


def test_plateau_by_hand():
    opt = sgd()
    schedule = optim.ReduceLROnPlateau(opt, factor=0.5, patience=1, cooldown=2, min_lr=0.2)
    metrics = [1.0, 0.5, 0.49999, 0.6, 0.6, 0.6, 0.6, 0.6, 0.4, float("nan"), 0.5, 0.5, 0.5, 0.5, 0.5]
    #            best: 1, .5; bad, bad -> halve; two of cooldown; bad, bad -> halve; best .4 in cooldown; ...
    want = [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2]
    got = []
    for m in metrics:
        schedule.step(m)
        got.append(opt.lr)
    assert got == want


@pytest.mark.parametrize("options", [
    {"patience": 2}, {"mode": "max", "patience": 1, "threshold": 0.05}, {"patience": 0, "cooldown": 1, "min_lr": 1e-3},
    {"threshold_mode": "abs", "threshold": 0.1, "patience": 1}, {"mode": "max", "threshold_mode": "abs", "patience": 3},
], ids=str)
def test_plateau_like_torch(options):
    torch = pytest.importorskip("torch")
    theirs, ours = torch.optim.SGD([torch.ones(1)], 1.0), sgd()
    a, b = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options), optim.ReduceLROnPlateau(ours, **options)
    rng = np.random.default_rng(0)
    for t in range(60):
        metric = float(1 / (1 + t / 10) + 0.1 * rng.standard_normal())
        a.step(metric)
        b.step(metric)
        assert ours.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12), t
    assert ours.lr < 1.0


# --- state


STATEFUL = [make for make, _ in WRITTEN] + [lambda o: optim.OneCycleLR(o, 2.0, 12)]


@pytest.mark.parametrize("number", range(len(STATEFUL)))
def test_state_resumes_to_the_bit(number):
    make = STATEFUL[number]
    whole = make(sgd(0.3, momentum=0.9))
    want = rates(whole, 8)
    half = make(sgd(0.3, momentum=0.9))
    first = rates(half, 4)
    opt = sgd(0.3, momentum=0.9)
    rest = make(opt)
    opt.load_state_dict(half.optimizer.state_dict())
    rest.load_state_dict(json.loads(json.dumps(half.state_dict(), allow_nan=False)))
    assert first + rates(rest, 4) == want
    assert rest.optimizer.momentum == whole.optimizer.momentum
    alone = make(sgd(0.3, momentum=0.9))
    alone.load_state_dict(half.state_dict())  # sets the rate, whatever the optimiser had
    assert alone.optimizer.lr == half.optimizer.lr


def test_plateau_state():
    metrics = [1.0] + [0.9] * 9  # reduced at the 4th, when the state is saved in the cooldown, and at the 7th

    def go(schedule, part):
        out = []
        for m in part:
            schedule.step(m)
            out.append(schedule.optimizer.lr)
        return out

    def make():
        return optim.ReduceLROnPlateau(sgd(), patience=1, cooldown=1)

    want = go(make(), metrics)
    half, rest = make(), make()
    json.dumps(half.state_dict(), allow_nan=False)  # also before the first metric
    first = go(half, metrics[:4])
    rest.optimizer.load_state_dict(half.optimizer.state_dict())
    rest.load_state_dict(json.loads(json.dumps(half.state_dict(), allow_nan=False)))
    assert first + go(rest, metrics[4:]) == want and want[-1] < 0.1


def test_a_rate_set_by_hand_is_a_new_base():
    opt = sgd()
    optim.ExponentialLR(opt, 0.5).step()
    assert opt.lr == 0.5
    assert optim.StepLR(opt, 1).base_lrs == [1.0]  # the first rate, as in PyTorch
    opt.lr = 0.25
    assert optim.StepLR(opt, 1).base_lrs == [0.25]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: optim.StepLR(o, 0), ValueError, "StepLR: step_size must be an integer of at least 1"),
        (lambda o: optim.StepLR(0.1, 1), TypeError, "StepLR: expected an optimiser, got float"),
        (lambda o: optim.MultiStepLR(o, [1.5]), ValueError, "MultiStepLR: milestones"),
        (lambda o: optim.ExponentialLR(o, -1), ValueError, "ExponentialLR: gamma"),
        (lambda o: optim.LinearLR(o, 2.0), ValueError, "LinearLR: start_factor"),
        (lambda o: optim.CosineAnnealingLR(o, 0), ValueError, "CosineAnnealingLR: T_max"),
        (lambda o: optim.OneCycleLR(o, 1.0), ValueError, "OneCycleLR: expected total_steps, or epochs"),
        (lambda o: optim.OneCycleLR(o, [1.0, 2.0], 9), ValueError, "max_lr for 1 parameter groups, got 2"),
        (lambda o: optim.OneCycleLR(o, 1.0, 9, anneal_strategy="log"), ValueError, "anneal_strategy must be"),
        (lambda o: optim.OneCycleLR(optim.Adagrad(o.parameters), 1.0, 9), ValueError, "Adagrad has no momentum"),
        (lambda o: optim.LambdaLR(o, 0.5), TypeError, "LambdaLR: factor must be callable"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]), ValueError, "expected 0 ascending milestones"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(sgd(), 1)], []), ValueError, "belongs to another optimiser"),
        (lambda o: optim.SequentialLR(o, [optim.ReduceLROnPlateau(o)], []), TypeError, "got ReduceLROnPlateau"),
        (lambda o: optim.WarmUp(o, 0), ValueError, "WarmUp: steps"),
        (lambda o: optim.WarmUp(3, 1), TypeError, "WarmUp: expected a schedule or an optimiser, got int"),
        (lambda o: optim.ReduceLROnPlateau(o, mode="up"), ValueError, "mode must be 'min' or 'max'"),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1.0), ValueError, "ReduceLROnPlateau: factor"),
        (lambda o: optim.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "threshold_mode must be"),
    ],
)
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make(sgd(momentum=0.9))


def test_groups_must_stay():
    opt = sgd()
    schedule = optim.StepLR(opt, 1)
    state = schedule.state_dict()
    opt.add_param_group({"params": [Parameter([1.0])]})
    with pytest.raises(ValueError, match="StepLR: expected 1 parameter groups, got 2"):
        schedule.step()
    with pytest.raises(ValueError, match="expected state for 2 parameter groups, got 1"):
        optim.StepLR(opt, 1).load_state_dict(state)


# --- in fit


X = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
Y = X[:, :1].copy()


def fit(schedule_of, epochs=3, **options):
    """(history, optimiser, rate used for every batch)."""
    rb.manual_seed(1)
    model = rb.nn.Sequential(rb.nn.Linear(3, 1))
    opt = optim.SGD(model.parameters(), 0.1, momentum=0.5)
    used = []

    class Watch(rb.train.Callback):
        def on_batch_end(self, batch, logs):
            used.append(self.run.optimizer.lr)

    history = rb.train.fit(model, X, Y, epochs=epochs, batch_size=4, optimizer=opt, progress=False, seed=0,
                           callbacks=[Watch(), LearningRateSchedule(schedule_of(opt), **options)])
    return history, opt, used


def test_fit_steps_per_epoch_or_batch():
    history, opt, used = fit(lambda o: optim.ExponentialLR(o, 0.5))
    assert used == [0.1] * 3 + [0.05] * 3 + [0.025] * 3 and opt.lr == 0.0125
    assert history.history["lr"] == [0.1, 0.05, 0.025]

    def per_batch(o):
        schedule = optim.ExponentialLR(o, 0.5)
        schedule.per = "batch"
        return schedule

    assert fit(per_batch)[2] == [0.1 * 0.5**k for k in range(9)]
    _, opt, used = fit(lambda o: optim.OneCycleLR(o, 1.0, 9))
    assert used[0] == pytest.approx(0.04) and max(used) > 0.9 and used[-1] == pytest.approx(0.04e-4)


def test_fit_reduces_on_a_plateau():
    _, _, used = fit(lambda o: optim.ReduceLROnPlateau(o, patience=0, factor=0.5, threshold=1.0))
    assert used == [0.1] * 3 + [0.1] * 3 + [0.05] * 3  # nothing beats a threshold of 100 %
    with pytest.raises(KeyError, match="nothing logged as 'val_loss'"):
        fit(lambda o: optim.ReduceLROnPlateau(o), monitor="val_loss")


def test_fit_with_a_function_of_progress():
    _, opt, used = fit(lambda o: lambda t: 1 - t)
    np.testing.assert_allclose(used, [0.1 * (1 - k / 9) for k in range(9)], rtol=1e-12)
    assert opt.lr == 0.1  # put back


def test_fit_refuses_a_foreign_schedule():
    with pytest.raises(ValueError, match="StepLR belongs to another optimiser than"):
        fit(lambda o: optim.StepLR(sgd(), 1))
    with pytest.raises(TypeError, match=r"expected a schedule or a function of progress, got 0.1"):
        LearningRateSchedule(0.1)


def test_the_callbacks_state_resumes():
    opt = sgd(0.2)
    callback = LearningRateSchedule(optim.ExponentialLR(opt, 0.5))
    callback.run = Run(rb.nn.Linear(1, 1), opt, 4, 1, rb.train.History())
    callback.on_train_begin()
    for epoch in (1, 2):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"loss": 1.0})
    state = json.loads(json.dumps(callback.state_dict()))
    opt2 = sgd(0.2)
    other = LearningRateSchedule(optim.ExponentialLR(opt2, 0.5))
    other.run = Run(rb.nn.Linear(1, 1), opt2, 4, 1, rb.train.History())
    opt2.load_state_dict(opt.state_dict())
    other.on_train_begin()
    other.load_state_dict(state)
    other.on_epoch_end(3, {"loss": 1.0})
    assert opt2.lr == 0.025 and other.state_dict()["epoch"] == 1
    assert ref.same_bits(np.array(opt2.lr), np.array(0.2 * 0.5**3))
