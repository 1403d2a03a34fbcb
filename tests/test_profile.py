"""`rb.profile`: FLOPs and bytes by hand, attribution to layers by sleeping ones, and nothing left behind."""

from __future__ import annotations

import json
import sys
import threading

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import _core, nn, ops
from rosenblatt.tensor import Tensor
from rosenblatt.train.profile import profile

RNG = np.random.default_rng(0)


def batch(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def rows(p):
    return {r.name: r for r in p.rows}


def kernels(p, layer, phase):
    return {o.op: o for o in p.ops if o.layer == layer and o.phase == phase}


class Clock:
    """Stands for the clock of the profile: every look at it takes a microsecond, and only sleeping takes longer."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        self.now += 1000
        return self.now

    def sleep(self, seconds):
        self.now += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sys.modules[rb.profile.__module__], "_now", clock)
    return clock


class Slow(nn.Module):
    """Sleeps in both directions."""

    def __init__(self, clock, forward=0.0, backward=0.0):
        super().__init__()
        self.clock = clock
        self.times = (forward, backward)

    def forward(self, x):
        clock, (ahead, back) = self.clock, self.times

        class Sleep(rb.Function):
            @staticmethod
            def forward(ctx, x):
                clock.sleep(ahead)
                return x * 1.0

            @staticmethod
            def backward(ctx, g):
                clock.sleep(back)
                return g

        return Sleep.apply(x)


# --- arithmetic and bytes


def test_flops_of_dense_layers_by_hand():
    model = nn.Sequential(nn.Linear(3, 5, activation="relu"), nn.Linear(5, 2))
    p = profile(model, batch(4, 3), batch(4, 2), loss=nn.MSELoss(), steps=2, warmup=0, peak=1.0)
    first, second = kernels(p, "0", "forward")["gemm"], kernels(p, "1", "forward")["gemm"]
    assert (first.calls, first.flops) == (2, 2 * 2 * 4 * 3 * 5)
    assert (second.calls, second.flops) == (2, 2 * 2 * 4 * 5 * 2)
    # backward: the weight's gradient everywhere, the input's only where somebody wants it
    assert kernels(p, "0", "backward")["gemm"].flops == 2 * 2 * 4 * 3 * 5
    assert kernels(p, "1", "backward")["gemm"].flops == 2 * (2 * 4 * 5 * 2) * 2
    assert kernels(p, "0", "backward")["relu_dx"].calls == 2
    assert "relu_dx" not in kernels(p, "1", "backward")
    for name in ("0", "1"):
        assert rows(p)[name].flops == sum(o.flops for o in p.ops if o.layer == name)
    assert rows(p)["0"].output_bytes == 2 * 4 * 5 * 4
    assert rows(p)["1"].output_bytes == 2 * 4 * 2 * 4


def test_flops_agree_with_the_summary_and_pooling_by_hand():
    model = rb.models.build("lenet5")
    p = profile(model, batch(2, 32, 32, 1), np.array([1, 2]), steps=1, warmup=0, peak=1.0)
    for row in model.summary((32, 32, 1)).rows:
        if row.macs:
            assert sum(o.flops for o in kernels(p, row.name, "forward").values()) == 2 * 2 * row.macs
    assert kernels(p, "1", "forward")["max_pool"].flops == 2 * 14 * 14 * 6 * 4
    assert {"conv2d_dx", "conv2d_dw"} <= kernels(p, "2", "backward").keys()
    assert "conv2d_dx" not in kernels(p, "0", "backward")


def test_flops_of_grouped_convolution_and_average_pooling_by_hand():
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, stride=2), nn.AvgPool2d(2))
    p = profile(model, batch(2, 9, 9, 4), batch(2, 2, 2, 6), loss=nn.MSELoss(), steps=1, warmup=0, peak=1.0)
    one_way = 2 * (2 * 4 * 4 * 6) * (3 * 3 * 2)
    assert kernels(p, "0", "forward")["conv2d"].flops == one_way
    assert kernels(p, "0", "backward")["conv2d_dw"].flops == one_way
    assert kernels(p, "1", "forward")["avg_pool"].flops == 2 * 2 * 2 * 6 * 4
    assert kernels(p, "1", "backward")["avg_pool_dx"].flops == 2 * 2 * 2 * 6 * 4
    x = Tensor(batch(2, 9, 9, 4), requires_grad=True)
    with profile(model, peak=1.0) as p:
        model(x).sum().backward()
    assert kernels(p, "0", "backward")["conv2d_dx"].flops == one_way


def test_percentages_refer_to_the_peak_that_is_given():
    model = nn.Sequential(nn.Linear(8, 8))
    p = profile(model, batch(16, 8), steps=1, warmup=0, peak=50.0)
    row = rows(p)["0"]
    line = next(x for x in str(p).splitlines() if x.startswith("0 (Linear)"))
    speed = row.flops / row.forward * 1e-9
    assert float(line.split()[-1]) == pytest.approx(100 * speed / 50.0, abs=0.051)
    assert float(line.split()[-2]) == pytest.approx(speed, abs=0.0051)
    assert "% of peak" in str(p)
    assert row.backward == 0.0
    assert not [o for o in p.ops if o.phase == "backward"]


def test_the_peak_is_measured_and_labelled():
    p = profile(nn.Sequential(nn.Linear(2, 2)), batch(1, 2), steps=1)
    assert p.peak > 0.05
    assert "% of gemm" in str(p)
    assert "512x512x512" in p.peak_from


# --- attribution


def test_time_goes_to_the_layer_that_takes_it(clock):
    inner = nn.Sequential(nn.Linear(4, 4), Slow(clock, 0.0, 0.15))
    model = nn.Sequential(nn.Linear(4, 4), Slow(clock, 0.1, 0.0), inner)
    p = profile(model, batch(2, 4), batch(2, 4), loss=nn.MSELoss(), steps=1, warmup=0, peak=1.0)
    r = rows(p)
    assert [x.name for x in p.rows[:2]] == ["2.1", "1"]
    assert 0.1 <= r["1"].forward < 0.101
    assert 0.15 <= r["2.1"].backward < 0.151
    assert 0 < r["1"].backward < 0.001
    assert 0 < r["2.1"].forward < 0.001
    for other in ("0", "2", "2.0", "top", "(MSELoss)"):
        assert 0 < r[other].seconds < 0.001, other
    assert sum(x.seconds for x in p.rows) <= p.seconds < 0.252


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 4)

    def forward(self, x):
        h = ops.tanh(x)  # ours, not a layer's
        return ops.add(self.outer(ops.sigmoid(self.inner(h))), h)


def test_functions_in_forward_belong_to_the_module_around_them():
    model = nn.Sequential(nn.Linear(4, 4), Residual())
    with profile(model, peak=1.0) as p:
        model(Tensor(batch(3, 4))).sum().backward()
    assert {"tanh", "sigmoid", "add"} <= kernels(p, "1", "forward").keys()
    assert {"sigmoid_dx", "tanh_dx"} <= kernels(p, "1", "backward").keys()
    for name in ("0", "1.inner", "1.outer"):
        assert "gemm" in kernels(p, name, "backward"), name
        assert not {"sigmoid_dx", "tanh_dx"} & kernels(p, name, "backward").keys()
    assert kernels(p, "1.inner", "backward")["gemm"].calls == 2


def test_checkpoint_computes_again_as_forward():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with profile(model, peak=1.0) as p:
        x = Tensor(batch(3, 4), requires_grad=True)
        rb.checkpoint(model, x).sum().backward()
    for name in ("0", "1"):
        assert rows(p)[name].calls == 2
        assert kernels(p, name, "forward")["gemm"].calls == 2
        assert kernels(p, name, "backward")["gemm"].calls == 2


def test_the_time_of_computing_again_is_forward_time(clock):
    model = nn.Sequential(nn.Linear(4, 4), Slow(clock, 0.1, 0.15), nn.Linear(4, 4))

    class Behind(rb.Function):  # of no layer, in the pass before the second run
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, g):
            clock.sleep(0.3)
            return g

    with profile(model, peak=1.0) as p:
        x = Tensor(batch(3, 4), requires_grad=True)
        Behind.apply(rb.checkpoint(model, x)).sum().backward()
    r = rows(p)
    assert 0.2 <= r["1"].forward < 0.201 and 0.15 <= r["1"].backward < 0.151
    assert sum(row.backward for row in r.values()) == pytest.approx(0.45, abs=2e-3)
    assert sum(row.forward for row in r.values()) == pytest.approx(0.2, abs=2e-3)


def test_update_and_other_work_is_outside():
    model = nn.Sequential(nn.Linear(4, 4))
    optimizer = rb.optim.Adam(model.parameters())
    before = model.state_dict()
    p = profile(model, batch(3, 4), batch(3, 4), optimizer=optimizer, steps=3, warmup=0, peak=1.0)
    assert sum(o.calls for o in p.ops if o.op == "adam_update") == 3 * 2
    assert {o.phase for o in p.ops if o.op == "adam_update"} == {"other"}
    assert rows(p)["(outside)"].forward > 0
    assert any((model.state_dict()[k] != v).any() for k, v in before.items())


def test_its_own_bookkeeping_is_left_out(clock):
    model = nn.Sequential(nn.Linear(4, 4))
    with profile(model, peak=1.0) as p:
        note = p._note

        def slow(*args):
            clock.sleep(0.1)
            note(*args)

        p._note = slow
        model(Tensor(batch(3, 4))).sum().backward()
    assert p.seconds > 0.3
    assert sum(r.seconds for r in p.rows) < 0.001


def test_other_threads_are_not_followed():
    model = nn.Sequential(nn.Linear(4, 4))
    with profile(model, peak=1.0) as p:
        thread = threading.Thread(target=lambda: model(Tensor(batch(3, 4))).sum().backward())
        thread.start()
        thread.join()
        assert not p.rows
        assert not p.ops
        model(Tensor(batch(3, 4)))
    assert rows(p)["0"].calls == 1


TRACED = """
import collections, json, sys
import numpy as np
import rosenblatt as rb
from rosenblatt import nn, ops

rng = np.random.default_rng(0)
model = nn.Sequential(
    nn.Conv2d(1, 3, 3, activation="tanh"), nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(16, 8, activation="sigmoid"), nn.Dropout(0.2), nn.Linear(8, 3),
)
x, y = rng.random((5, 14, 14, 1), np.float32), rng.integers(0, 3, 5)
optimizers = [rb.optim.Adam(model.parameters()), rb.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, clipnorm=1.0)]
print("BEGIN", file=sys.stderr, flush=True)
with rb.profile(model, peak=1.0) as p:
    for optimizer in optimizers:
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(rb.Tensor(x)), y) + ops.mean(model[0].weight ** 2)
        loss.backward()
        optimizer.step()
    a = rng.random((4, 4))
    ops.gemm(a, a), ops.gemm(a, a, alpha=2.0), ops.matmul(a, a[None])
print("END", file=sys.stderr, flush=True)
counts = collections.Counter()
for o in p.ops:
    counts[o.op] += o.calls
print(json.dumps(counts))
"""


def test_no_kernel_call_goes_unseen(run_python):
    """Against the trace that the core itself prints, one line per call."""
    done = run_python(TRACED, env={"RB_TRACE": "1"})
    lines = done.stderr.split("BEGIN\n")[1].split("END\n")[0].splitlines()
    traced: dict[str, int] = {}
    for line in lines:
        op = line.split()[1]
        traced[op] = traced.get(op, 0) + 1
    seen = json.loads(done.stdout)
    # an input whose layout a kernel cannot take is copied on the way, within the time of that kernel
    assert seen.pop("copy", 0) <= traced.pop("copy", 0)
    assert seen == traced
    assert {"adam_update", "sgd_update", "gemm", "conv2d_dw"} <= seen.keys()


# --- nothing is left behind, nothing is changed


def originals():
    from rosenblatt.ops import elementwise

    return nn.Module.__call__, Tensor.backward, _core.gemm, ops.elementwise._core.relu_dx, elementwise._ACT_DX


def test_everything_is_put_back_also_after_an_error():
    before = originals()
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"layer 0 \(Linear\)"), profile(model, peak=1.0):
        assert nn.Module.__call__ is not before[0]
        assert _core.gemm is not before[2]
        model(Tensor(batch(3, 5)))
    assert all(a is b for a, b in zip(originals(), before, strict=True))
    from rosenblatt.nn import module

    assert not module._observers


def test_only_one_profile_at_a_time():
    model = nn.Sequential(nn.Linear(4, 4))
    with profile(model, peak=1.0), pytest.raises(RuntimeError, match="another profile is open"):
        profile(model, batch(1, 4))
    profile(model, batch(1, 4), steps=1, peak=1.0)


def test_a_profile_changes_neither_the_model_nor_the_random_stream():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 3)).eval()
    model[0].weight.grad = Tensor(batch(4, 4))
    grad, weights = model[0].weight.grad, model.state_dict()
    profile(model, batch(6, 4), np.arange(6) % 3, steps=2)
    assert model[0].weight.grad is grad
    assert model[2].weight.grad is None
    assert not model.training
    assert not model[1].training
    assert all((model.state_dict()[k] == v).all() for k, v in weights.items())
    drawn = ops.normal((3,))
    rb.manual_seed(0)
    nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    assert (ops.normal((3,)) == drawn).all()


def test_fit_inside_has_the_same_bits_and_replays_afterwards():
    x, y = batch(40, 4), np.arange(40) % 3

    def run(profiled):
        rb.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8, activation="tanh"), nn.Dropout(0.2), nn.Linear(8, 3))
        if profiled:
            with profile(model, peak=1.0) as p:
                model.fit(x, y, epochs=4, batch_size=10, seed=1, progress=False)
            assert rows(p)["0"].calls == 16  # eager, although fit captures
            assert kernels(p, "0", "backward")["gemm"].calls == 16
        else:
            model.fit(x, y, epochs=4, batch_size=10, seed=1, progress=False)
        return model.state_dict()

    a, b = run(False), run(True)
    assert all((a[k] == b[k]).all() for k in a)


def test_a_captured_step_replays_again_afterwards():
    model = nn.Sequential(nn.Linear(4, 4))
    optimizer = rb.optim.SGD(model.parameters(), lr=0.1)

    @rb.capture
    def step(x):
        optimizer.zero_grad()
        loss = ops.mean(model(Tensor(x)))
        loss.backward()
        optimizer.step()
        return loss

    x = batch(3, 4)
    for _ in range(5):
        step(x)
    replays = step.replays
    assert replays
    with profile(model, peak=1.0) as p:
        step(x)
    assert rows(p)["0"].calls == 1
    assert step.replays == replays
    step(x)
    assert step.replays == replays + 1


# --- results


def test_json_text_and_file(tmp_path):
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(5)])
    p = profile(model, batch(3, 4), batch(3, 4), steps=2, peak=1.0)
    p.save(str(tmp_path / "p.json"))
    stored = json.loads((tmp_path / "p.json").read_text())
    assert stored == json.loads(json.dumps(p.to_json()))
    assert stored["steps"] == 2
    assert {r["name"] for r in stored["layers"]} >= {"0", "1", "2", "3", "4", "(MSELoss)"}
    assert [r["forward"] + r["backward"] for r in stored["layers"]] == sorted((r.seconds for r in p.rows), reverse=True)
    assert "... and" in p.to_text(most=2)
    assert p.peak_bytes >= 5 * 3 * 4 * 4


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((None,), TypeError, "expected a Module, got NoneType"),
        ((nn.Linear(2, 2), None, [1]), ValueError, "go with x"),
        ((nn.Linear(2, 2), [[1, 2]], [[1, 2], [3, 4]]), ValueError, "expected y for 1 examples"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        profile(*arguments)


def test_wrong_options():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="peak must be"):
        profile(model, peak=0)
    with pytest.raises(ValueError, match="go with y"):
        profile(model, batch(1, 2), loss=nn.MSELoss())
    with pytest.raises(ValueError, match="steps"):
        profile(model, batch(1, 2), steps=0)
