"""Callbacks, stop rules, weights of examples, and the loader: rules on prepared numbers, not on training luck."""

from __future__ import annotations

import csv
import threading

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import nn, optim
from rosenblatt.train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    Loader,
    ModelCheckpoint,
    ReduceLROnPlateau,
    StopWhen,
    TerminateOnNaN,
    fit,
)

pytestmark = pytest.mark.quick
F32 = np.float32


def data(n=12):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 3)).astype(F32), np.arange(n) % 2


def network():
    rb.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4, activation="tanh"), nn.Linear(4, 2))


class Script(Callback):
    """Puts prepared values into the logs, before the callbacks that follow; and the epoch's number into a weight."""

    def __init__(self, **values):
        self.values = values

    def on_epoch_end(self, epoch, logs):
        for name, row in self.values.items():
            logs[name] = row[epoch - 1]
        self.run.model[1].bias.data[0] = epoch


def run(*callbacks, epochs=9, lr=0.0, **options):
    model, (x, y) = network(), data()
    opt = optim.SGD(model.parameters(), lr)
    history = fit(model, x, y, epochs=epochs, optimizer=opt, callbacks=callbacks, progress=False, seed=0,
                  **{"batch_size": 6, **options})
    return model, opt, history


# --- early stopping


@pytest.mark.parametrize(
    ("values", "options", "last", "best"),
    [
        ([5, 4, 3, 4, 5, 6, 1], {"patience": 2}, 5, 3),
        ([5, 4, 3, 4, 5, 6, 1], {"patience": 0}, 4, 3),
        ([5, 4, 3, 4, 5, 6, 1], {"patience": 1}, 4, 3),
        ([5, 4, 3, 4, 5, 2, 3, 3], {"patience": 3}, 8, 6),  # an improvement starts the wait again
        ([5, 4.95, 4.9, 4.85, 4.8], {"patience": 2, "min_delta": 0.5}, 3, 1),
        ([1, 2, 3, 2, 1], {"patience": 2, "mode": "max"}, 5, 3),
        ([3, 2, 1, 2], {"patience": 2, "mode": "max"}, 3, 1),
        ([5, 4, 3, 2, 1], {"patience": 2}, 5, 5),
        ([1, 2, 3, 4, 5, 6], {"patience": 1, "start_from_epoch": 3}, 5, 4),
        ([5, 4, 3, 2.5, 2.4], {"patience": 2, "baseline": 1.0}, 2, 2),  # better, but never as good as asked
        ([float("nan")] * 5, {"patience": 2}, 2, 0),
    ],
)
def test_early_stopping(values, options, last, best):
    stop = EarlyStopping("v", **options)
    _, _, history = run(Script(v=values), stop, epochs=len(values))
    assert history.epoch[-1] == last and stop.best_epoch == best
    assert stop.stopped_epoch == (0 if last == len(values) and stop.wait < stop.patience else last)


def test_early_stopping_restores_the_best_weights():
    values = [5, 4, 3, 4, 5, 6]
    model, _, history = run(Script(v=values), EarlyStopping("v", patience=2, restore_best_weights=True), epochs=6)
    assert model[1].bias.data[0] == 3 and history.epoch[-1] == 5
    model, _, _ = run(Script(v=values), EarlyStopping("v", patience=2), epochs=6)
    assert model[1].bias.data[0] == 5
    model, _, _ = run(Script(v=[3, 2, 1]), EarlyStopping("v", patience=2, restore_best_weights=True), epochs=3)
    assert model[1].bias.data[0] == 3
    stop = EarlyStopping("accuracy", patience=1)  # accuracy rises
    assert run(Script(accuracy=[0.1, 0.2, 0.3, 0.2]), stop, epochs=4)[2].epoch[-1] == 4 and stop.best_epoch == 3


def test_a_monitor_that_is_not_logged():
    for callback in (EarlyStopping(), ReduceLROnPlateau(), ModelCheckpoint("x", save_best_only=True)):
        with pytest.raises(KeyError, match=r"monitor 'val_loss' was not logged; there is \['accuracy', 'loss'"):
            run(callback)


# --- rates


def test_reduce_on_plateau():
    rates = []
    watch = LambdaCallback(on_epoch_end=lambda epoch, logs: rates.append(logs["lr"]))

    def go(values, **options):
        rates.clear()
        _, opt, _ = run(watch, Script(v=values), ReduceLROnPlateau("v", **options), epochs=len(values), lr=8.0)
        return [*rates[1:], opt.lr]

    assert go([1, 1, 1, 1, 1, 1], factor=0.5, patience=2) == [8, 8, 4, 4, 2, 2]
    assert go([1, 1, 1, 0.5, 0.5, 0.5], factor=0.5, patience=2) == [8, 8, 4, 4, 4, 2]
    assert go([1, 1, 1, 1, 1, 1], factor=0.5, patience=1, cooldown=2) == [8, 4, 4, 2, 2, 1]
    assert go([1, 1, 1, 1, 1], factor=0.5, patience=1, min_lr=3) == [8, 4, 3, 3, 3]
    assert go([1, 1.5, 2, 2.5], factor=0.5, patience=1, mode="max") == [8, 8, 8, 8]
    assert go([1, 0.95, 0.9], factor=0.5, patience=2, min_delta=0.2) == [8, 8, 4]


def test_reduce_on_plateau_keeps_the_ratio_of_the_groups():
    model, (x, y) = network(), data()
    groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[1].parameters(), "lr": 0.125}]
    opt = optim.SGD(groups)
    reduce = ReduceLROnPlateau("v", factor=0.5, patience=1, min_lr=0.05)
    fit(model, x, y, epochs=5, optimizer=opt, callbacks=[Script(v=[1] * 5), reduce], progress=False, seed=0)
    assert [g["lr"] for g in opt.param_groups] == [0.05, 0.05]
    fit(model, x, y, epochs=2, optimizer=opt, callbacks=[Script(v=[1] * 2), reduce], progress=False, seed=0)
    assert [g["lr"] for g in opt.param_groups] == [0.05, 0.05]
    opt.param_groups[0]["lr"], opt.param_groups[1]["lr"] = 0.5, 0.125
    fit(model, x, y, epochs=2, optimizer=opt, callbacks=[Script(v=[1] * 2), reduce], progress=False, seed=0)
    assert [g["lr"] for g in opt.param_groups] == [0.25, 0.0625]


def test_learning_rate_scheduler():
    seen = []
    watch = LambdaCallback(on_batch_begin=lambda batch: seen.append(watch.run.optimizer.lr))
    run(LearningRateScheduler(lambda epoch, lr: lr / epoch), watch, epochs=3, lr=12.0)
    assert seen == [12, 12, 6, 6, 2, 2]
    with pytest.raises(ValueError, match=r"LearningRateScheduler: schedule\(1\) must be a number of at least 0"):
        run(LearningRateScheduler(lambda epoch, lr: -1))


# --- files


def test_model_checkpoint(tmp_path):
    values = [5.0, 3.0, 4.0, 2.0]
    run(Script(v=values), ModelCheckpoint(tmp_path / "w-{epoch:02d}-{v:.1f}.safetensors"), epochs=4)
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        "w-01-5.0.safetensors", "w-02-3.0.safetensors", "w-03-4.0.safetensors", "w-04-2.0.safetensors",
    ]
    model = network()
    for epoch in (1, 3):
        rb.io.load_weights(model, next(tmp_path.glob(f"w-0{epoch}*")))
        assert model[1].bias.data[0] == epoch

    def kept(**options):
        for file in tmp_path.iterdir():
            file.unlink()
        epochs = options.pop("epochs", 4)
        run(Script(v=values), ModelCheckpoint(tmp_path / "{epoch}-{batch}", **options), epochs=epochs)
        return sorted(f.name for f in tmp_path.iterdir())

    assert kept(monitor="v", save_best_only=True) == ["1-1", "2-1", "4-1"]
    assert kept(monitor="v", save_best_only=True, mode="max") == ["1-1"]
    assert kept(monitor="v", save_best_only=True, initial_value_threshold=3.5) == ["2-1", "4-1"]
    assert kept(monitor="v", save_best_only=True, initial_value_threshold=3.0) == ["4-1"]
    assert kept(monitor="v", save_best_only=True, mode="max", initial_value_threshold=4.5) == ["1-1"]
    assert kept(monitor="v", save_best_only=True, mode="max", initial_value_threshold=5.0) == []
    assert kept(save_freq=3) == ["2-0", "3-1"]
    with pytest.raises(KeyError, match="'f1' was not logged"):
        run(ModelCheckpoint(tmp_path / "{f1}"))
    with pytest.raises(OSError, match="No such file"):
        run(ModelCheckpoint(tmp_path / "no" / "w"))


def rows(file, **options):
    with open(file, newline="") as f:
        return list(csv.reader(f, **options))


def test_csv_logger(tmp_path):
    file = tmp_path / "log.csv"
    _, _, history = run(Script(v=[0.1, 2.0, 1e-300]), CSVLogger(file), epochs=3)
    head, *body = rows(file)
    assert head == ["epoch", "loss", "accuracy", "lr", "seconds", "v"] and [r[0] for r in body] == ["1", "2", "3"]
    assert [float(r[1]) for r in body] == history.history["loss"] and [float(r[5]) for r in body] == [0.1, 2.0, 1e-300]
    run(Script(v=[4, 5]), CSVLogger(file, append=True), epochs=2)
    assert rows(file)[:4] == [head, *body] and [r[0] for r in rows(file)[4:]] == ["1", "2"]
    run(CSVLogger(file, separator=";"), epochs=1)
    assert rows(file, delimiter=";")[0] == head[:-1] and len(rows(file)) == 2

    class Late(Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 2:
                logs["new"] = 1.0

    with pytest.raises(ValueError, match=r"CSVLogger: .*epoch 2 also logs \['new'\]"):
        run(Late(), CSVLogger(file))


def test_csv_log_of_a_resumed_run_has_every_epoch_once(tmp_path):
    file = tmp_path / "log.csv"

    class Crash(Exception):
        pass

    class CrashIn(Callback):
        def __init__(self, epoch):
            self.epoch = epoch

        def on_epoch_begin(self, epoch):
            if epoch == self.epoch:
                raise Crash

    options = {"checkpoint": tmp_path / "c", "checkpoint_every": 2, "epochs": 6}
    for epoch in (2, 4, 6):  # before the first checkpoint, and with a line more than the checkpoint knows
        with pytest.raises(Crash):
            run(CSVLogger(file), CrashIn(epoch), resume=True, **options)
    run(CSVLogger(file), CrashIn(0), resume=True, **options)
    assert [r[0] for r in rows(file)] == ["epoch", "1", "2", "3", "4", "5", "6"]


def test_csv_log_that_was_appended_to_is_resumed_without_what_came_after_the_checkpoint(tmp_path):
    file = tmp_path / "log.csv"
    run(CSVLogger(file), epochs=2)

    class Crash(Callback):
        def __init__(self, crashes):
            self.crashes = crashes

        def on_epoch_end(self, epoch, logs):
            if self.crashes:
                raise RuntimeError

    options = {"checkpoint": tmp_path / "c", "checkpoint_steps": 1, "epochs": 3, "resume": True}
    with pytest.raises(RuntimeError):  # the checkpoint lies in the first epoch, whose line is written
        run(CSVLogger(file, append=True), Crash(True), **options)
    assert [r[0] for r in rows(file)] == ["epoch", "1", "2", "1"]
    run(CSVLogger(file, append=True), Crash(False), **options)
    assert [r[0] for r in rows(file)] == ["epoch", "1", "2", "1", "2", "3"]


# --- ends


def test_terminate_on_nan():
    class Spoil(Callback):
        def on_epoch_begin(self, epoch):
            if epoch == 3:
                self.run.model[0].weight.data[0, 0] = np.nan

    count = []
    watch = LambdaCallback(on_batch_end=lambda batch, logs: count.append(batch))
    history = run(Spoil(), TerminateOnNaN(), watch)[2]
    assert history.epoch == [1, 2, 3] and count == [0, 1, 0, 1, 0] and np.isnan(history.last("loss"))


def test_stop_rules():
    def last(lr=0.0, callbacks=(), **rules):
        rule = StopWhen(**rules)
        history = run(*callbacks, rule, lr=lr, batch_size=12, shuffle=False)[2]
        return len(history.epoch), rule.reason

    assert last(max_iterations=3) == (3, "3 iterations")
    assert last(error_below=1.5, monitor="v", callbacks=[Script(v=[3, 2, 1, 0] * 3)]) == (3, "v 1 is below 1.5")
    assert last(no_weight_changed=True) == (1, "no weight changed")
    assert last(lr=0.1, no_weight_changed=True)[0] == 9

    class Halve(Callback):  # moves one weight by 1, 1/2, 1/4, ...
        def on_epoch_end(self, epoch, logs):
            self.run.model[0].weight.data[1, 2] += 0.5 ** (epoch - 1)

    assert last(weight_change=0.26, callbacks=[Halve()])[0] == 3
    assert last(weight_change=0.2, callbacks=[Halve()])[0] == 4
    assert last(gradient_change=0.0) == (2, "the gradient changed by 0")  # the same weights and batch
    assert last(lr=0.5, gradient_change=1e-6)[0] == 9
    with pytest.raises(KeyError, match="StopWhen: monitor 'f1' was not logged"):
        run(StopWhen(error_below=1, monitor="f1"))


def test_the_gradient_rule_measures_the_euclidean_norm():
    """One weight, squared error of w*x against 0 at x = 1: gradient 2w, so steps of w show in it doubled."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    model[0].weight.data[...] = 1.0
    rule = StopWhen(gradient_change=0.45)
    x, y = np.ones((1, 1), F32), np.zeros((1, 1), F32)
    sgd = optim.SGD(model.parameters(), 0.25)
    history = fit(model, x, y, epochs=20, optimizer=sgd, callbacks=[rule], progress=False)
    # w = 1, 1/2, 1/4, 1/8: gradients 2, 1, 1/2, 1/4 with differences 1, 1/2, 1/4
    assert len(history.epoch) == 4 and rule.reason == "the gradient changed by 0.25"


def test_lambda_callback():
    seen = []
    run(LambdaCallback(on_train_begin=lambda: seen.append("a"), on_epoch_begin=seen.append), epochs=2)
    assert seen == ["a", 1, 2]
    with pytest.raises(TypeError, match="LambdaCallback: expected events of"):
        LambdaCallback(on_epoch=print)
    with pytest.raises(TypeError, match="on_epoch_end: expected a function, got int"):
        LambdaCallback(on_epoch_end=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(patience=-1), "EarlyStopping: patience must be an integer of at least 0, got -1"),
        (lambda: EarlyStopping(mode="up"), "EarlyStopping: mode must be 'auto', 'min' or 'max', got 'up'"),
        (lambda: EarlyStopping(min_delta=-0.1), "EarlyStopping: min_delta must be a number of at least 0"),
        (lambda: EarlyStopping(baseline="x"), "EarlyStopping: baseline must be a number, got 'x'"),
        (lambda: ReduceLROnPlateau(factor=1.0), "ReduceLROnPlateau: factor must be below 1, got 1.0"),
        (lambda: ReduceLROnPlateau(cooldown=1.5), "ReduceLROnPlateau: cooldown must be an integer"),
        (lambda: ModelCheckpoint("x", save_freq=0), "ModelCheckpoint: save_freq must be an integer of at least 1"),
        (lambda: StopWhen(), "StopWhen: expected at least one rule, got none"),
        (lambda: StopWhen(max_iterations=0), "StopWhen: max_iterations must be an integer of at least 1"),
        (lambda: StopWhen(weight_change=-1), "StopWhen: weight_change must be a number of at least 0"),
        (lambda: StopWhen(error_below=float("nan")), "StopWhen: error_below must be a number"),
    ],
)
def test_options_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- weights of examples


def softmax_losses(model, x, y):
    """Cross-entropy of every example, in float64 with NumPy alone."""
    w1, b1, w2, b2 = (p.data.astype(np.float64) for p in model.parameters())
    z = np.tanh(x @ w1.T + b1) @ w2.T + b2
    return np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]


def test_weighted_loss_is_the_weighted_mean():
    x, y = data()
    w = np.random.default_rng(3).random(12)
    w[4] = 0
    losses, both = softmax_losses(network(), x, y), w * np.where(y == 1, 3.0, 1.0)

    def reported(**options):
        return run(epochs=1, **options)[2].last("loss")

    for size in (12, 5):
        assert reported(batch_size=size) == pytest.approx(losses.mean(), rel=1e-5)
        assert reported(batch_size=size, sample_weight=w) == pytest.approx((w * losses).sum() / w.sum(), rel=1e-5)
        got = reported(batch_size=size, sample_weight=w, class_weight={1: 3.0})
        assert got == pytest.approx((both * losses).sum() / both.sum(), rel=1e-5)
        got = reported(batch_size=size, sample_weight=w, loss=nn.CrossEntropyLoss("sum"))
        assert got == pytest.approx((w * losses).sum() / w.sum(), rel=1e-5)
    ones = run(lr=0.1, sample_weight=np.ones(12), epochs=2)[0].state_dict()
    plain = run(lr=0.1, epochs=2)[0].state_dict()
    for name in plain:
        np.testing.assert_allclose(ones[name], plain[name], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_whole_weights_are_repetitions(reduction):
    """Weight k for an example does what k copies of it do, in one step over all the data."""
    x, y = data()
    counts = np.array([1, 2, 0, 3, 1, 1, 2, 0, 1, 1, 4, 1])
    end = []
    for xs, ys, w in ((x, y, counts), (np.repeat(x, counts, 0), np.repeat(y, counts), None)):
        model = network().astype(np.float64)
        fit(model, xs, ys, epochs=3, batch_size=99, optimizer=optim.SGD(model.parameters(), 0.1), sample_weight=w,
            loss=nn.CrossEntropyLoss(reduction), progress=False, shuffle=False)
        end.append(model.state_dict())
    for name in end[0]:
        np.testing.assert_allclose(end[0][name], end[1][name], rtol=1e-12, atol=1e-12)


def test_weights_for_losses_with_more_axes():
    x, _ = data()
    target = np.random.default_rng(5).standard_normal((12, 2)).astype(F32)
    w = np.arange(12.0)
    model = network()
    w1, b1, w2, b2 = (p.data.astype(np.float64) for p in model.parameters())
    squares = (np.tanh(x @ w1.T + b1) @ w2.T + b2 - target) ** 2
    for reduction, each in (("mean", squares.mean(1)), ("sum", squares.sum(1))):
        history = fit(model, x, target, epochs=1, batch_size=5, loss=nn.MSELoss(reduction), sample_weight=w,
                      optimizer=optim.SGD(model.parameters(), 0.0), progress=False)
        assert history.last("loss") == pytest.approx((w * each).sum() / w.sum(), rel=1e-5)


def test_a_batch_without_weight_changes_nothing():
    w = np.zeros(12)
    w[:6] = 1
    after = run(lr=0.5, sample_weight=w, shuffle=False, epochs=1)[0]
    model, (x, y) = network(), data()
    fit(model, x[:6], y[:6], epochs=1, batch_size=6, optimizer=optim.SGD(model.parameters(), 0.5), shuffle=False,
        progress=False, sample_weight=np.ones(6))
    want = model.state_dict()
    assert all(np.array_equal(a, want[k]) for k, a in after.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": np.ones(5)}, r"sample_weight: expected shape \(12,\), got \(5,\)"),
        ({"sample_weight": -np.ones(12)}, "sample_weight: expected finite weights of at least 0"),
        ({"sample_weight": np.full(12, np.nan)}, "sample_weight: expected finite"),
        ({"sample_weight": np.zeros(12)}, "every example has weight 0"),
        ({"sample_weight": np.arange(12) // 8, "validation_split": 0.5}, "every example has weight 0"),
        ({"class_weight": {0: -1.0}}, r"fit: class_weight\[0\]: expected a weight of at least 0, got -1.0"),
        ({"class_weight": {"a": 1.0}}, "class_weight: a label must be an integer"),
        ({"validation_split": 1.0}, r"validation_split must be in \[0, 1\), got 1.0"),
        ({"validation_split": 0.01, "validation_data": data()}, "validation_data or validation_split, not both"),
        ({"validation_split": 0.99}, "validation_split 0.99 leaves 0 of 12 examples"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be an integer of at least 1"),
        ({"initial_epoch": -1}, "initial_epoch must be an integer of at least 0"),
        ({"workers": -1}, "workers must be an integer of at least 0"),
    ],
)
def test_options_of_fit_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_class_weight_needs_labels():
    x, _ = data()
    with pytest.raises(ValueError, match="fit: class_weight needs integer labels"):
        fit(network(), x, np.zeros((12, 2), F32), class_weight={0: 1.0}, progress=False)


def test_penalty_is_added_to_the_loss_that_is_minimised():
    """Zero inputs and targets: all gradient is the penalty's, 2 s w for s * sum of w**2 over the weights."""
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    before = model[0].weight.data.copy()
    history = fit(model, np.zeros((4, 3), F32), np.zeros((4, 2), F32), epochs=2, batch_size=4, progress=False,
                  optimizer=optim.SGD(model.parameters(), 0.1), penalty=lambda m: (m[0].weight**2).sum() * 0.5)
    np.testing.assert_allclose(model[0].weight.data, before * 0.9**2, rtol=1e-6)
    assert history.history["loss"] == [0.0, 0.0]


# --- which examples, when


def test_validation_split_takes_the_last_examples():
    x, y = data()
    a = run(validation_split=0.3, epochs=2, lr=0.1)  # floor(12 * 0.7) = 8 stay
    model = network()
    b = fit(model, x[:8], y[:8], validation_data=(x[8:], y[8:]), epochs=2, batch_size=6, seed=0, progress=False,
            optimizer=optim.SGD(model.parameters(), 0.1))
    assert {k: v for k, v in a[2].history.items() if k != "seconds"} == {
        k: v for k, v in b.history.items() if k != "seconds"
    }


def test_initial_epoch_continues_the_count_and_the_order():
    seen = []

    def watch(batch, rng):
        seen.append(batch.tobytes() + rng.bytes(4))
        return batch

    history = run(augment=watch, epochs=4)[2]
    whole = list(seen)
    seen.clear()
    part = run(augment=watch, epochs=4, initial_epoch=2)[2]
    assert history.epoch == [1, 2, 3, 4] and part.epoch == [3, 4]
    assert seen == whole[4:] and len(set(whole)) == 8
    assert run(epochs=2, initial_epoch=2)[2].epoch == []


def test_steps_per_epoch():
    seen = []
    watch = LambdaCallback(on_batch_begin=seen.append)
    history = run(watch, steps_per_epoch=5, epochs=2)[2]
    assert history.epoch == [1, 2] and seen == [0, 1, 2, 3, 4] * 2
    a = run(lr=0.1, epochs=5)[0].state_dict()
    b = run(lr=0.1, epochs=2, steps_per_epoch=5)[0].state_dict()  # the same ten batches
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_optimisers_that_evaluate_the_loss_themselves():
    """Least squares in one weight and bias through points of a line: second-order methods find it in a few steps."""
    x = np.linspace(-1, 1, 9).reshape(9, 1)
    for make, epochs in ((optim.LBFGS, 5), (optim.ConjugateGradient, 20), (optim.Nesterov, 300)):
        model = nn.Sequential(nn.Linear(1, 1)).astype(np.float64)
        options = {"lr": 0.1} if make is optim.Nesterov else {}
        history = fit(model, x, 3 * x - 2, batch_size=9, epochs=epochs, optimizer=make(model.parameters(), **options),
                      progress=False)
        assert model[0].weight.data[0, 0] == pytest.approx(3, abs=1e-3), make
        assert model[0].bias.data[0] == pytest.approx(-2, abs=1e-3)
        assert history.history["loss"][0] > 1 > history.last("loss")


def test_a_search_without_gradients_trains():
    x = np.linspace(-1, 1, 9).reshape(9, 1)
    model = nn.Sequential(nn.Linear(1, 1)).astype(np.float64)
    search = optim.GeneticSearch(model.parameters(), population=30, scale=0.3, spread=3.0, seed=1)
    history = fit(model, x, 3 * x - 2, batch_size=9, epochs=60, optimizer=search, progress=False)
    assert model[0].weight.data[0, 0] == pytest.approx(3, abs=0.3)
    assert model[0].bias.data[0] == pytest.approx(-2, abs=0.3)
    assert model[0].weight.grad is None and history.last("loss") < history.history["loss"][0]


# --- the loader


def test_loader_order():
    x, y = np.arange(10), np.arange(10) * 10
    loader = Loader(x, y, 4, shuffle=False)
    assert len(loader) == 3
    for _ in range(2):
        batches = list(loader)
        assert [xb.tolist() for xb, _ in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert all((yb == xb * 10).all() for xb, yb in batches)
    loader = Loader(x, y, 4, seed=3, weights=x)
    passes = [np.concatenate([b[0] for b in loader]) for _ in range(3)]
    assert all(sorted(p) == list(range(10)) for p in passes) and len({p.tobytes() for p in passes}) == 3
    assert loader.position == 9
    assert passes[0].tolist() == np.random.default_rng([3, 1]).permutation(10).tolist()
    xb, yb, wb = loader.batch(0)
    assert (wb == xb).all() and (yb == 10 * xb).all()


def noisy(batch, rng):
    return batch + rng.standard_normal(batch.shape)


def test_loader_bytes_do_not_depend_on_threads():
    x, y = data(40)

    def collect(**options):
        loader = Loader(x, y, 6, seed=2, augment=noisy, **options)
        return b"".join(xb.tobytes() + yb.tobytes() for _ in range(3) for xb, yb in loader)

    whole = collect(workers=0)
    assert all(collect(workers=w, prefetch=p) == whole for w in (1, 2, 4) for p in (1, 2, 7))
    results = [run(lr=0.1, augment=noisy, workers=w, epochs=3)[0].state_dict() for w in (0, 1, 3)]
    assert all(np.array_equal(results[0][k], r[k]) for r in results for k in r)


def test_every_batch_is_augmented_with_numbers_of_its_own():
    loader = Loader(np.zeros((12, 1)), np.zeros(12), 4, seed=3, augment=lambda b, rng: rng.standard_normal(b.shape))
    assert len({xb.tobytes() for _ in range(3) for xb, _ in loader}) == 9
    other = Loader(np.zeros((12, 1)), np.zeros(12), 4, seed=4, augment=loader.augment)
    assert other.batch(0)[0].tobytes() != loader.batch(0)[0].tobytes()


def test_loader_position():
    x, y = data(20)
    loader = Loader(x, y, 6, seed=2, augment=noisy, workers=2)
    rest = iter(loader)
    first = [next(rest) for _ in range(2)]
    state = loader.state_dict()
    assert state["position"] == 2 and len(first) == 2
    want = [b[0].tobytes() for b in rest] + [b[0].tobytes() for b in loader]
    again = Loader(x, y, 6, seed=2, augment=noisy, workers=0)
    again.load_state_dict(state)
    assert [b[0].tobytes() for b in again] + [b[0].tobytes() for b in again] == want and len(want) == 6
    for key, value in (("seed", 3), ("batch_size", 5), ("shuffle", False), ("examples", 21)):
        with pytest.raises(ValueError, match=f"Loader: expected {key}"):
            again.load_state_dict({**state, key: value})


def test_loader_threads_work_ahead_and_end():
    before = set(threading.enumerate())
    names, ready = [], threading.Semaphore(0)

    def augment(batch, rng):
        names.append(threading.current_thread().name)
        ready.release()
        return batch

    x, y = data(40)
    loader = Loader(x, y, 4, augment=augment, prefetch=3)
    stream = loader.stream()
    next(stream)
    for _ in range(4):  # the batch that was handed out, and three ahead
        assert ready.acquire(timeout=10)
    assert not ready.acquire(timeout=0.05) and loader.position == 1
    assert all(n.startswith("rosenblatt-loader") for n in names)
    stream.close()
    assert set(threading.enumerate()) == before


def test_an_error_in_augment_comes_at_its_batch():
    def augment(batch, rng):
        if (batch[:, 0] == 8).any():
            raise RuntimeError("mine")
        return batch

    x = np.arange(20.0).reshape(20, 1)
    before = set(threading.enumerate())
    for workers in (0, 1, 3):
        loader = Loader(x, x, 4, shuffle=False, augment=augment, workers=workers)
        seen = []
        with pytest.raises(RuntimeError, match="mine"):
            for xb, _ in loader:
                seen.append(xb[0, 0])
        assert seen == [0, 4] and loader.position == 2
    assert set(threading.enumerate()) == before


def test_an_augmentation_keeps_the_number_of_examples():
    loader = Loader(np.zeros((8, 2)), np.zeros(8), 4, augment=lambda batch, rng: batch[:1])
    with pytest.raises(ValueError, match=r"augment: expected x for 4 examples, got shape \(1, 2\)"):
        next(iter(loader))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.zeros((0, 2)), np.zeros(0)), {}, "expected x with at least one example"),
        ((np.zeros(3), np.zeros(4)), {}, "expected y for 3 examples"),
        ((np.zeros(3), np.zeros(3)), {"weights": np.zeros(2)}, "expected weights for 3 examples"),
        ((np.zeros(3), np.zeros(3)), {"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ((np.zeros(3), np.zeros(3)), {"workers": -1}, "workers must be"),
        ((np.zeros(3), np.zeros(3)), {"prefetch": 0}, "prefetch must be"),
        ((np.zeros(3), np.zeros(3)), {"seed": 1.5}, "seed must be"),
    ],
)
def test_loader_refusals(arguments, options, message):
    with pytest.raises(ValueError, match=f"Loader: {message}"):
        Loader(*arguments, **options)
