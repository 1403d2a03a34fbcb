"""`fit`, `predict`, `evaluate`: histories, repeatability, callbacks, interruption, checks, progress, refusals."""

from __future__ import annotations

import io

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import nn, optim, train
from rosenblatt.train import Callback, History, LearningRateSchedule, NonFiniteError, Progress, evaluate, fit, predict

pytestmark = pytest.mark.quick
F32 = np.float32


def blobs(n=60, classes=3, features=4, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (rng.standard_normal((n, features)) * 0.5 + np.eye(classes, features)[y] * 3).astype(F32), y


def mlp(seed=0, features=4, classes=3):
    rb.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, 16, activation="tanh"), nn.Linear(16, classes))


def weights(model):
    return b"".join(v.tobytes() for v in model.state_dict().values())


# --- what it returns


def test_history():
    x, y = blobs()
    history = mlp().fit(x, y, epochs=3, batch_size=16, progress=False)
    assert isinstance(history, History) and history.epoch == [1, 2, 3] and not history.interrupted
    assert set(history.history) == {"loss", "accuracy", "lr", "seconds"}
    assert all(len(v) == 3 for v in history.history.values())
    assert (
        history.history["loss"][2] < history.history["loss"][0] and history.last("loss") == history.history["loss"][-1]
    )
    history = mlp().fit(x, y, epochs=2, validation_data=(x, y), progress=False)
    assert set(history.history) == {"loss", "accuracy", "lr", "seconds", "val_loss", "val_accuracy"}
    assert set(history.to_json()) == {"epoch", "history", "interrupted"}
    with pytest.raises(KeyError, match="nothing logged as 'f1'"):
        history.last("f1")
    assert mlp().fit(x, y, epochs=0, progress=False).epoch == []


def test_reported_loss_is_the_mean_over_examples():
    x, y = blobs(10)
    model = mlp()
    before = evaluate(model, x, y)
    history = model.fit(x, y, epochs=1, batch_size=4, optimizer=optim.SGD(model.parameters(), 0.0), progress=False)
    assert history.last("loss") == pytest.approx(before["loss"], rel=1e-5)
    assert history.last("accuracy") == pytest.approx(before["accuracy"])
    total = mlp().fit(
        x,
        y,
        epochs=1,
        batch_size=4,
        loss=nn.CrossEntropyLoss("sum"),
        progress=False,
        optimizer=optim.SGD(model.parameters(), 0.0),
    )
    assert total.last("loss") == pytest.approx(before["loss"], rel=1e-5)


def test_defaults_follow_the_targets():
    x, y = blobs()
    soft = np.eye(3, dtype=F32)[y]
    assert "accuracy" in mlp().fit(x, y, epochs=1, progress=False).history
    assert "accuracy" not in mlp().fit(x, soft, epochs=1, progress=False).history
    assert "accuracy" not in mlp().fit(x, soft, epochs=1, loss=nn.CrossEntropyLoss(), progress=False).history
    assert "accuracy" in mlp().fit(x.tolist(), y.tolist(), epochs=1, progress=False).history


def test_float64_models_train_in_float64():
    x, y = blobs()
    model = mlp().astype(np.float64)
    model.fit(x, y, epochs=1, progress=False)
    assert all(p.dtype == np.float64 for p in model.parameters()) and model.predict(x).dtype == np.float64


# --- repeatability


def test_seed_and_shuffle():
    x, y = blobs()

    def go(**options):
        model = mlp()
        model.fit(x, y, epochs=2, batch_size=7, progress=False, **options)
        return weights(model)

    assert go(seed=1) == go(seed=1) != go(seed=2)
    assert go() == go()  # the global stream was restarted by mlp()
    assert go(shuffle=False, seed=1) == go(shuffle=False, seed=2) != go(seed=1)
    seen = []

    def watch(batch, rng):
        seen.append(batch[:, 0].copy())
        return batch

    mlp().fit(x, y, epochs=2, batch_size=60, augment=watch, progress=False, shuffle=False)
    assert np.array_equal(seen[0], x[:, 0]) and np.array_equal(seen[1], x[:, 0])
    seen.clear()
    mlp().fit(x, y, epochs=2, batch_size=60, augment=watch, progress=False, seed=1)
    assert not np.array_equal(seen[0], seen[1]) and np.array_equal(np.sort(seen[0]), np.sort(x[:, 0]))


def test_inputs_are_left_alone():
    x, y = blobs()
    kept = x.copy(), y.copy()

    def spoil(batch, rng):
        batch *= 0
        return batch

    mlp().fit(x, y, epochs=1, augment=spoil, progress=False, seed=0)
    assert np.array_equal(x, kept[0]) and np.array_equal(y, kept[1])
    mlp().fit(x, y, epochs=1, batch_size=60, augment=spoil, progress=False, shuffle=False)
    assert np.array_equal(x, kept[0])


def test_augment():
    x, y = blobs(20)
    calls = []

    def noise(batch, rng):
        calls.append((batch.shape, isinstance(rng, np.random.Generator)))
        return batch.astype(np.float64) + rng.standard_normal(batch.shape)

    def run():
        model = mlp()
        model.fit(x, y, epochs=2, batch_size=8, augment=noise, progress=False, seed=3, validation_data=(x, y))
        return weights(model)

    assert run() == run()
    assert calls[:6] == [((8, 4), True), ((8, 4), True), ((4, 4), True)] * 2


# --- callbacks


class Log(Callback):
    def __init__(self):
        self.events = []

    def on_train_begin(self):
        self.events.append("begin")

    def on_epoch_begin(self, epoch):
        self.events.append(f"epoch {epoch}")

    def on_batch_begin(self, batch):
        self.events.append(f"batch {batch}")

    def on_batch_end(self, batch, logs):
        assert "loss" in logs
        self.events.append(f"/batch {batch}")

    def on_epoch_end(self, epoch, logs):
        assert self.run.history.epoch[-1] == epoch
        self.events.append(f"/epoch {epoch}")

    def on_train_end(self):
        self.events.append("end")


def test_order_of_events():
    x, y = blobs(10)
    log = Log()
    model = mlp()
    model.fit(x, y, epochs=2, batch_size=6, callbacks=[log], progress=False)
    one = ["batch 0", "/batch 0", "batch 1", "/batch 1"]
    assert log.events == ["begin", "epoch 1", *one, "/epoch 1", "epoch 2", *one, "/epoch 2", "end"]
    assert (log.run.model, log.run.epochs, log.run.batches) == (model, 2, 2)


def test_stop_ends_after_the_batch():
    x, y = blobs(30)

    class Stop(Log):
        def on_batch_end(self, batch, logs):
            super().on_batch_end(batch, logs)
            self.run.stop = batch == 1

    log = Stop()
    history = mlp().fit(x, y, epochs=5, batch_size=10, callbacks=[log], progress=False)
    assert history.epoch == [1] and "batch 2" not in log.events and log.events[-2:] == ["/epoch 1", "end"]
    assert not history.interrupted


def test_an_epoch_that_is_stopped_before_its_first_batch_leaves_nothing(tmp_path):
    x, y = blobs(30)

    class StopAtBegin(Callback):
        def on_epoch_begin(self, epoch):
            self.run.stop = epoch == 3

    log, model = Log(), mlp()
    options = {"epochs": 9, "keep_best": True, "checkpoint": tmp_path / "c", "progress": False, "seed": 1}
    history = model.fit(x, y, callbacks=[log, StopAtBegin()], **options)
    assert history.epoch == [1, 2] and min(history.history["loss"]) > 0 and log.events[-1] == "end"
    assert {len(v) for v in history.history.values()} == {2}
    want = mlp()
    want.fit(x, y, epochs=2, keep_best=True, progress=False, seed=1)
    assert all(np.array_equal(a, model.state_dict()[k]) for k, a in want.state_dict().items())
    trainer = train.Trainer(model, optim.SGD(model.parameters()), train.Loader(x, y), callbacks=[StopAtBegin()],
                            progress=False, checkpoint=tmp_path / "t")
    assert trainer.run(lambda xb, yb: {"loss": 1.0}, 9).epoch == [1, 2]


def test_interruption_keeps_what_was_reached():
    x, y = blobs(30)

    class Interrupt(Log):
        def on_batch_begin(self, batch):
            super().on_batch_begin(batch)
            if self.run.history.epoch == [1, 2]:
                raise KeyboardInterrupt

    log = Interrupt()
    model = mlp()
    history = model.fit(x, y, epochs=9, callbacks=[log], progress=False)
    assert history.interrupted and history.epoch == [1, 2] and log.events[-1] == "end" and model.training


def test_errors_in_callbacks_reach_the_caller_and_end_the_run():
    x, y = blobs(30)

    class Fail(Callback):
        def on_epoch_end(self, epoch, logs):
            raise RuntimeError("mine")

    log = Log()
    model = mlp().eval()
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(x, y, callbacks=[log, Fail()], progress=False)
    assert log.events[-1] == "end" and not model.training

    class FailAtTheEnd(Callback):
        def on_train_end(self):
            raise RuntimeError("at the end")

    log = Log()
    with pytest.raises(RuntimeError, match="at the end") as caught:
        model.fit(x, y, callbacks=[Fail(), FailAtTheEnd(), log], progress=False)
    assert log.events[-1] == "end"  # the callback that holds a file open closes it
    assert str(caught.value.__context__) == "mine"


def test_keep_best():
    x, y = blobs(30)

    class Spoil(Callback):
        def on_epoch_begin(self, epoch):
            if epoch == 4:
                self.kept = weights(self.run.model)
                for p in self.run.model.parameters():
                    p.data[...] = 50.0

    spoil = Spoil()
    model = mlp()
    history = model.fit(
        x,
        y,
        epochs=4,
        callbacks=[spoil],
        keep_best=True,
        validation_data=(x, y),
        progress=False,
        optimizer=optim.Adam(model.parameters(), 0.05),
    )
    losses = history.history["val_loss"]
    assert int(np.argmin(losses)) == 2 and weights(model) == spoil.kept
    assert model.evaluate(x, y)["loss"] == pytest.approx(min(losses), rel=1e-6)
    model = mlp()
    history = model.fit(x, y, epochs=4, callbacks=[Spoil()], keep_best=False, validation_data=(x, y), progress=False)
    assert model.evaluate(x, y)["loss"] == pytest.approx(history.history["val_loss"][-1], rel=1e-6)

    class Interrupt(Spoil):
        def on_batch_begin(self, batch):
            if self.run.history.epoch == [1, 2, 3]:
                raise KeyboardInterrupt

    model = mlp()
    history = model.fit(
        x,
        y,
        epochs=9,
        callbacks=[Interrupt()],
        keep_best=True,
        validation_data=(x, y),
        progress=False,
        optimizer=optim.Adam(model.parameters(), 0.05),
    )
    assert history.interrupted and model.evaluate(x, y)["loss"] == pytest.approx(
        min(history.history["val_loss"]), rel=1e-6
    )


def test_learning_rate_schedules():
    x, y = blobs(20)
    rates = []

    class Watch(Callback):
        def on_batch_end(self, batch, logs):
            rates.append(self.run.optimizer.lr)

    model = mlp()
    opt = optim.SGD(model.parameters(), 0.4)
    model.fit(
        x,
        y,
        epochs=2,
        batch_size=10,
        optimizer=opt,
        progress=False,
        callbacks=[LearningRateSchedule(lambda t: 1 - t), Watch()],
    )
    np.testing.assert_allclose(rates, [0.4, 0.3, 0.2, 0.1])
    assert opt.lr == 0.4
    factor = LearningRateSchedule.cosine(0.25).schedule
    assert factor(0.25) == 1.0 and factor(1.0) == pytest.approx(0.0) and 0 < factor(0.0) < factor(0.1) < 1
    with pytest.raises(ValueError, match="warmup"):
        LearningRateSchedule.cosine(1.0)


# --- non-finite numbers


def test_check_finite_names_layer_and_step():
    x, y = blobs(30)

    class Overflow(nn.Module):
        on = False

        def forward(self, t):
            return t * (float("inf") if self.on else 1.0)

    layer = Overflow()
    model = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.Tanh(), layer), nn.Linear(5, 3))

    class Switch(Callback):
        def on_batch_begin(self, batch):
            layer.on = batch == 1 and self.run.history.epoch == [1]

    with pytest.raises(NonFiniteError, match=r"first in layer 1\.1 \(Overflow\) at epoch 2, batch 2"):
        model.fit(x, y, epochs=3, batch_size=10, callbacks=[Switch()], check_finite=True, progress=False)
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(NonFiniteError, match="in the input x at epoch 1, batch 1"):
        mlp().fit(bad, y, batch_size=30, check_finite=True, progress=False)
    model = mlp()
    model[1].bias.data[0] = np.inf
    with pytest.raises(NonFiniteError, match=r"in parameter 1\.bias at epoch 1, batch 1"):
        model.fit(x, y, check_finite=True, progress=False)
    before = weights(model)
    with pytest.raises(NonFiniteError):
        model.fit(x, y, check_finite=True, progress=False)
    assert weights(model) == before
    assert mlp().fit(x, y, epochs=1, check_finite=True, progress=False).epoch == [1]


# --- progress


def test_progress_on_a_stream_that_is_no_terminal(capsys):
    x, y = blobs(20)
    mlp().fit(x, y, epochs=30, progress=True)
    err = capsys.readouterr().err
    assert "epoch 30/30" in err and "loss" in err and "accuracy" in err
    assert "\r" not in err and "\033" not in err and 1 <= len(err.splitlines()) <= 30
    mlp().fit(x, y, epochs=2, progress=False)
    out = capsys.readouterr()
    assert out.err == "" and out.out == ""
    stream = io.StringIO()
    mlp().fit(x, y, epochs=1, progress=False, callbacks=[Progress(stream)])
    assert stream.getvalue().startswith("epoch 1/1")


@pytest.mark.parametrize("rich", [True, False])
def test_progress_on_a_terminal(rich, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    if rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    stream = Terminal()
    x, y = blobs(20)
    mlp().fit(x, y, epochs=2, progress=False, callbacks=[Progress(stream)])
    assert "2/2" in stream.getvalue() and "loss" in stream.getvalue() and "\n" in stream.getvalue()


# --- refusals


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": np.arange(5)}, ValueError, r"fit: expected y for 30 examples like x, got shape \(5,\)"),
        ({"x": np.zeros((0, 4), F32), "y": np.zeros(0, int)}, ValueError, "fit: there are no examples"),
        ({"x": np.float32(3)}, ValueError, "fit: expected x with a batch axis"),
        ({"x": np.zeros((30, 5), F32)}, ValueError, r"layer 0 \(Linear\): linear: expected x of shape \[\.\.\., 4\]"),
        ({"x": [["a"] * 4] * 30}, TypeError, "fit: x: expected real numbers"),
        ({"y": np.arange(30)}, ValueError, r"cross_entropy: labels must be in \[0, 3\)"),
        ({"y": np.full(30, -1)}, ValueError, "labels must be in"),
        ({"y": np.zeros((30, 2), F32)}, ValueError, "mse_loss: expected a target of shape"),
        ({"epochs": -1}, ValueError, "fit: epochs must be an integer of at least 0, got -1"),
        ({"epochs": 1.5}, ValueError, "fit: epochs"),
        ({"batch_size": 0}, ValueError, "fit: batch_size must be an integer of at least 1"),
        ({"batch_size": True}, ValueError, "fit: batch_size"),
        ({"seed": -1}, ValueError, "fit: seed"),
        ({"loss": nn.CrossEntropyLoss("none")}, ValueError, "the loss must reduce to one number"),
        ({"validation_data": (1, 2, 3)}, ValueError, r"validation_data must be a pair"),
    ],
)
def test_bad_data_is_refused_before_any_weight_changes(change, error, message):
    x, y = blobs(30)
    model = mlp()
    before = weights(model)
    with pytest.raises(error, match=message):
        fit(model, **{"x": x, "y": y, "progress": False, **change})
    assert weights(model) == before and model.training


def test_options_are_keywords_only_and_known():
    x, y = blobs()
    with pytest.raises(TypeError):
        mlp().fit(x, y, 3)
    with pytest.raises(TypeError):
        mlp().fit(x, y, nepochs=3)


# --- predict and evaluate


def test_predict():
    x, _ = blobs(11)
    model = mlp()
    whole = model.predict(x, batch_size=11)
    assert whole.shape == (11, 3) and type(whole) is np.ndarray
    for size in (1, 4, 10, 11, 12, 256):
        np.testing.assert_allclose(model.predict(x, batch_size=size), whole, rtol=1e-6, atol=1e-6)
    assert model.predict(x[:0]).shape == (0, 3) and model.predict(x.tolist()).shape == (11, 3)
    model.add(nn.Dropout(0.9))
    assert np.array_equal(model.predict(x), whole) and model.training
    model.eval()
    model.predict(x)
    assert not model.training
    with pytest.raises(ValueError, match="predict: batch_size"):
        model.predict(x, batch_size=0)
    with pytest.raises(ValueError, match=r"layer 0 \(Linear\)"):
        model.train().predict(x[:, :2])
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert np.array_equal(predict(model, x), whole)


def test_evaluate():
    x, y = blobs(10)
    model = mlp()
    p = model.predict(x).astype(np.float64)
    logp = p - np.log(np.exp(p).sum(1, keepdims=True))
    want = -logp[np.arange(10), y].mean()
    for loss in (None, nn.CrossEntropyLoss(), nn.CrossEntropyLoss("sum"), nn.CrossEntropyLoss("none")):
        got = model.evaluate(x, y, loss=loss)
        assert got["loss"] == pytest.approx(want, rel=1e-5) and got["accuracy"] == (p.argmax(1) == y).mean()
    assert model.evaluate(x, y, batch_size=3)["loss"] == pytest.approx(want, rel=1e-5)
    wanted = np.random.default_rng(1).standard_normal(p.shape).astype(np.float32)
    squares = (p - wanted) ** 2
    for loss, want in (("mean", squares.mean()), ("none", squares.mean()), ("sum", squares.sum() / 10)):
        assert model.evaluate(x, wanted, loss=nn.MSELoss(loss))["loss"] == pytest.approx(want, rel=1e-5)
    with pytest.raises(ValueError, match="evaluate: there are no examples"):
        model.evaluate(x[:0], y[:0])
    with pytest.raises(ValueError, match="evaluate: expected y for 10 examples"):
        model.evaluate(x, y[:4])


@pytest.mark.parametrize(
    ("task", "metric"),
    [("regression", "rmse"), ("binary", "accuracy"), ("multi-class", "accuracy"), ("multi-label", "accuracy")],
)
def test_naming_the_task_is_enough(task, metric):
    """Coverage P05: loss, form of the targets and metric follow from the task; each learns a rule it is shown."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((256, 4)).astype(np.float32)
    score = x @ rng.standard_normal((4, 3)).astype(np.float32)
    y, outputs = {
        "regression": (score[:, 0], 1),
        "binary": ((score[:, 0] > 0).astype(np.int64), 1),
        "multi-class": (score.argmax(1), 3),
        "multi-label": ((score > 0).astype(np.float32), 3),
    }[task]
    rb.manual_seed(0)
    model = rb.nn.Linear(4, outputs)
    history = model.fit(
        x, y, task=task, epochs=40, seed=0, progress=False, validation_data=(x, y),
        optimizer=rb.optim.Adam(model.parameters(), lr=0.05),
    )
    found = model.evaluate(x, y, task=task)
    assert found[metric] == history.last(f"val_{metric}")
    if task == "regression":  # a linear rule is learnt exactly; RMSE against NumPy
        expected = np.sqrt(np.mean((model.predict(x)[:, 0].astype(np.float64) - y) ** 2))
        assert found["rmse"] == pytest.approx(expected, rel=1e-5) and found["rmse"] < 0.02
    else:
        out = model.predict(x)
        decided = out.argmax(1) == y if task == "multi-class" else (out > 0) == y.reshape(out.shape).astype(bool)
        assert found["accuracy"] == pytest.approx(np.mean(decided)) and found["accuracy"] > 0.95


def test_a_task_excludes_a_loss_and_unknown_tasks_are_refused():
    model = rb.nn.Linear(2, 1)
    x, y = np.zeros((4, 2), np.float32), np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="fit: give task or loss"):
        model.fit(x, y, task="regression", loss=rb.nn.MSELoss(), progress=False)
    with pytest.raises(ValueError, match="expected one of regression"):
        model.fit(x, y, task="ranking", progress=False)
    with pytest.raises(ValueError, match="targets 0 and 1"):
        model.fit(x, y + 2, task="binary", progress=False)


def test_predict_at_once_sees_every_change():
    """From the fifth call on `predict` replays before it looks at anything else; what counts must still count."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4)).astype(np.float32)

    def model_of():
        model = rb.nn.Sequential(rb.nn.Linear(4, 3, activation="tanh"), rb.nn.Dropout(0.5), rb.nn.Linear(3, 2))
        model.train()
        return model

    def expected(model, a):
        first, _, last = model
        h = np.tanh(a.astype(np.float64) @ first.weight.data.T + first.bias.data)
        return h @ last.weight.data.T + last.bias.data

    def replace_array(model):
        model[0].weight.data = model[0].weight.data * 2

    def write(model):
        model[0].weight.data[...] *= 2

    def replace_parameter(model):
        model[2].bias = rb.Parameter(np.ones(2, np.float32))

    def load(model):
        model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()})

    for change in (replace_array, write, replace_parameter, load):
        model = model_of()
        for _ in range(6):
            out = model.predict(x)
        assert model._captured_forward.known, "the short way must be open for this test to mean anything"
        np.testing.assert_allclose(out, expected(model, x), atol=1e-5)
        assert model.training and model[1].training  # dropout is off all the same
        change(model)
        for _ in range(6):
            np.testing.assert_allclose(model.predict(x), expected(model, x), atol=1e-5)
    kept = model.predict(x)
    copy = kept.copy()
    np.testing.assert_allclose(model.predict(-x), expected(model, -x), atol=1e-5)
    assert np.array_equal(kept, copy), "a result is the caller's"
    np.testing.assert_allclose(model.predict(x[::-1]), expected(model, x[::-1]), atol=1e-5)
    np.testing.assert_allclose(model.predict(x.astype(np.float64)), expected(model, x), atol=1e-5)
    np.testing.assert_allclose(model.predict(x, batch_size=1), expected(model, x), atol=1e-5)
    handle = model[0].register_forward_hook(lambda module, args, out: out * 0.0)
    np.testing.assert_allclose(model.predict(x), np.broadcast_to(model[2].bias.data, (2, 2)), atol=1e-6)
    handle.remove()
    np.testing.assert_allclose(model.predict(x), expected(model, x), atol=1e-5)


def test_predict_says_when_it_cannot_replay():
    class Looks(rb.nn.Module):
        def forward(self, x):
            return x * 2.0 if x.data.size and x.sum().item() >= 0.0 else x

    model, x = Looks(), np.ones((2, 3), np.float32)
    assert np.array_equal(model.predict(x), x * 2)  # the first call is eager
    with pytest.warns(RuntimeWarning, match="predict: runs without capture"):
        assert np.array_equal(model.predict(x), x * 2)
    assert np.array_equal(model.predict(-x), -x)  # eager from now on: the branch is taken anew


def test_bytes_with_augmentation_are_pointed_out():
    x = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 1), np.uint8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    with pytest.warns(UserWarning, match="pass x / 255"):
        fit(model, x, np.arange(8) % 2, epochs=1, augment=lambda batch, generator: batch, progress=False)
