"""Capture and replay: the same bits as eager steps, for every form of arguments and results."""

from __future__ import annotations

import gc
import itertools
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from capture_runs import F32, OPTIMIZERS, WARM, Pair, Run, batch, network, quick_networks, small

import rosenblatt as rb
from rosenblatt import _capture, _core, models, nn, ops, optim

# --- the page


def test_the_script_of_the_page_runs(capsys):
    page = (Path(__file__).parent.parent / "docs" / "capture.md").read_text(encoding="utf-8")
    exec(compile(page.split("```python\n")[1].split("```")[0], "docs/capture.md", "exec"), {"__name__": "page"})
    out = capsys.readouterr().out
    assert out.startswith("2 ") and "adam_update" in out


def dense(*sizes):
    layers = [nn.Linear(a, b, activation="relu") for a, b in itertools.pairwise(sizes[:-1])]
    return nn.Sequential(*layers, nn.Linear(*sizes[-2:]))


@pytest.mark.parametrize(
    "row, build, shape",
    [
        ("MLP 64-128-10, batch 32", lambda: dense(64, 128, 10), (32, 64)),
        ("MLP 784-512-512-10, batch 64", lambda: dense(784, 512, 512, 10), (64, 784)),
        ("autoencoder 784-64-784, batch 128", lambda: dense(784, 64, 784), (128, 784)),
        ("`lenet5`, batch 64", models.lenet5, (64, 32, 32, 1)),
    ],
)
def test_the_calls_of_the_page_are_those_of_the_program(row, build, shape):
    rng = np.random.default_rng(0)
    model, target = build(), rng.integers(0, 10, shape[0])
    optimizer = optim.Adam(model.parameters())

    @rb.capture
    def step(x, y):
        optimizer.zero_grad()
        loss = ops.mse_loss(model(x), y) if row.startswith("auto") else ops.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(WARM + 1):
        x = rb.Tensor(rng.standard_normal(shape).astype(F32))
        step(x, x.data.copy() if row.startswith("auto") else target)
    page = (Path(__file__).parent.parent / "docs" / "capture.md").read_text(encoding="utf-8")
    assert f"| {row} | {step.programs[0].calls} |" in page


# --- the same bits


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", quick_networks())
def test_twenty_steps_of_every_network_have_the_bits_of_eager_steps(name, threads, optimizer):
    rb.set_num_threads(threads)
    build, shape, loss = network(name)
    pair = Pair(model=build, optimizer=optimizer, loss=loss)
    rng = np.random.default_rng(3)
    for i in range(20):
        x, y = rng.standard_normal((4, *shape)).astype(F32), rng.integers(0, 10, 4)
        if models.info(name).recipe.reconstructs:
            x = rng.random((4, *shape)).astype(F32)
            y = x.copy()
        try:
            pair.train(x, y)
        except rb.CaptureError as error:
            assert name == "perceptron", error
            assert "outside the ops" in str(error)
            return
        assert pair.step.replays == max(0, i + 1 - WARM)


def test_a_learning_rate_changed_between_steps_is_used():
    for optimizer in OPTIMIZERS:
        pair = Pair(optimizer=optimizer)
        for i in range(8):
            for run in pair.runs:
                run.optimizer.lr = 0.1 / (1 + i)
            pair.train(*batch(i))
        assert pair.step.replays == 8 - WARM


def test_momentum_changed_between_steps_is_used():
    pair = Pair()
    for i in range(8):
        for run in pair.runs:
            run.optimizer.momentum = 0.5 + i / 20
        pair.train(*batch(i))
    assert pair.step.replays == 8 - WARM


def test_dropout_masks_are_those_of_the_eager_step_and_differ_from_step_to_step():
    pair = Pair(model=lambda: small(0.5))
    for i in range(8):
        pair.train(*batch(i))
    model = small(0.5)
    forward = rb.capture(lambda x: model(rb.Tensor(x)))
    x, _ = batch(0)
    seen = {forward(x).data.tobytes() for _ in range(10)}
    assert forward.replays == 10 - WARM
    assert len(seen) == 10


def test_a_random_draw_between_replays_moves_the_masks_as_in_eager_steps():
    pair = Pair(model=lambda: small(0.5))
    for i in range(8):
        pair.both(lambda run: ops.uniform((5,)))
        pair.train(*batch(i))


def test_the_last_partial_batch_is_a_program_of_its_own_and_is_not_recorded_again():
    pair = Pair()
    for epoch in range(5):
        for i, n in enumerate((4, 4, 3)):
            pair.train(*batch(10 * epoch + i, n))
        if epoch == 2:
            assert len(pair.step.programs) == 2
            before = pair.step.replays
    assert pair.step.replays == before + 6
    assert len(pair.step.programs) == 2


def test_the_number_of_programs_is_bounded_and_the_one_unused_longest_goes():
    run = Run(True, max_programs=2)
    for n in (1, 2):
        for _ in range(WARM + 1):
            run.step(*batch(0, n))
    assert run.step.replays == 2
    run.step(*batch(0, 1))
    for _ in range(WARM):
        run.step(*batch(0, 3))  # 2 was used longest ago
    assert len(run.step.programs) == 2
    before = run.step.replays
    run.step(*batch(0, 1))
    assert run.step.replays == before + 1
    run.step(*batch(0, 2))
    assert run.step.replays == before + 1


def test_training_and_evaluation_mode_have_programs_of_their_own():
    model = small(0.5)
    forward = rb.capture(lambda x: model(rb.Tensor(x)))
    x, _ = batch()
    for mode in (True, False):
        model.train(mode)
        for _ in range(WARM + 1):
            forward(x)
    assert forward.replays == 2
    assert len({forward(x).data.tobytes() for _ in range(3)}) == 1
    model.train()
    assert len({forward(x).data.tobytes() for _ in range(3)}) == 3
    assert forward.replays == 8
    with rb.no_grad():
        expected = model.eval()(rb.Tensor(x)).data
    assert forward(x).data.tobytes() == expected.tobytes()


def test_a_mode_switched_while_the_step_is_being_recorded():
    model = small(0.5)
    forward = rb.capture(lambda x: model(rb.Tensor(x)))
    x, _ = batch()
    for i, mode in enumerate((True, True, False, False, True, True, True, True, False, False)):
        assert model.train(mode) is model
        rb.manual_seed(i)
        got = forward(x).data
        rb.manual_seed(i)
        assert got.tobytes() == model(rb.Tensor(x)).data.tobytes(), (i, mode)
    assert forward.replays == 3  # from the fourth call of each mode on


def test_gradient_mode_is_part_of_the_signature():
    model = small()
    forward = rb.capture(lambda x: model(rb.Tensor(x)).sum())
    x, _ = batch()
    for _ in range(4):
        forward(x)
    with rb.no_grad():
        for _ in range(4):
            forward(x)
    assert forward.replays == 2
    assert len(forward.programs) == 2


@pytest.mark.parametrize("threads", [(1, 2), (2, 1)])
def test_the_number_of_threads_may_change_between_replays(threads):
    build, shape, loss = network("lenet5")
    pair = Pair(model=build, loss=loss)
    rng = np.random.default_rng(5)
    for i in range(7):
        rb.set_num_threads(threads[i >= 5])
        pair.train(rng.standard_normal((16, *shape)).astype(F32), rng.integers(0, 10, 16))


# --- arguments


FORMS = ["tensor", "array", "fortran", "strided", "float64", "swapped", "misaligned", "readonly"]


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_inputs(form):
    def made(x, y):
        if form == "tensor":
            return rb.Tensor(x), y
        if form == "fortran":
            return np.asfortranarray(x), y
        if form == "strided":
            return np.repeat(x, 2, axis=1)[:, ::2], np.repeat(y, 3)[::3]
        if form == "float64":
            return x.astype(np.float64), y
        if form == "swapped":
            return x.astype(">f4"), y.astype(">i8")
        if form == "misaligned":
            raw = np.empty(x.nbytes + 1, np.uint8)
            raw[1:] = np.frombuffer(x.tobytes(), np.uint8)
            return raw[1:].view(F32).reshape(x.shape), y
        if form == "readonly":
            x.flags.writeable = y.flags.writeable = False
        return x, y

    pair = Pair()
    for i in range(6):
        pair.train(*made(*batch(i)))
    assert pair.step.replays == 6 - WARM


def test_float64_networks():
    pair = Pair(model=lambda: small().astype(np.float64))
    for i in range(6):
        x, y = batch(i)
        pair.train(x.astype(np.float64), y)
    assert pair.step.replays == 6 - WARM


def test_another_layout_of_the_same_shape_uses_the_same_program():
    pair = Pair()
    for i in range(5):
        pair.train(*batch(i))
    x, y = batch(9)
    pair.train(np.asfortranarray(x), y)
    pair.train(x.astype(">f4"), np.repeat(y, 2)[::2])
    assert len(pair.step.programs) == 1
    assert pair.step.replays == 4


def test_another_dtype_or_kind_is_another_signature():
    pair = Pair()
    for i in range(WARM + 1):
        pair.train(*batch(i))
    x, y = batch(9)
    pair.train(x.astype(np.float64), y)
    pair.train(rb.Tensor(x), y)
    assert pair.step.replays == 1
    with pytest.raises(ValueError, match="probabilities of shape"):
        pair.step(x, y.astype(F32))


def test_labels_out_of_range_at_replay_change_nothing():
    for optimizer in OPTIMIZERS:
        pair = Pair(optimizer=optimizer)
        for i in range(5):
            pair.train(*batch(i))
        x, y = batch(9)
        run = pair.runs[1]
        before, steps, updates = run.bits(), run.optimizer.steps, list(run.optimizer._updates)
        with pytest.raises(ValueError, match=r"label"):
            run.step(x, y + 100)
        assert run.bits() == before
        assert (run.optimizer.steps, run.optimizer._updates) == (steps, updates)
        pair.train(x, y)  # and the next step has the right bias correction


def test_arguments_that_are_not_arrays_are_part_of_the_signature():
    seen = []

    @rb.capture
    def scaled(x, k, flag=None):
        seen.append(k)
        return ops.mul(x, k)

    x, _ = batch()
    for _ in range(WARM + 1):
        assert scaled(x, 2.0).tobytes() == (x * F32(2)).tobytes()
        assert scaled(x, 3.0).tobytes() == (x * F32(3)).tobytes()
    assert scaled.replays == 2
    for _ in range(WARM + 1):
        assert np.signbit(scaled(np.abs(x), 0.0)).sum() == 0
        assert np.signbit(scaled(np.abs(x), -0.0)).sum() == x.size
    with pytest.raises(rb.CaptureError, match="hashable"):
        scaled(x, [1])
    with pytest.raises(TypeError):
        scaled(x, k=2.0)


def test_bad_options_and_steps_are_refused():
    with pytest.raises(TypeError, match="function"):
        rb.capture(3)
    for bad in (0, True, 1.5):
        with pytest.raises(ValueError, match="max_programs"):
            rb.capture(len, max_programs=bad)


def test_an_argument_with_a_gradient_is_refused_as_a_copy_would_get_it():
    w = rb.Parameter(np.ones(3, F32))
    step = rb.capture(lambda t: ops.sum(ops.square(t)))
    with pytest.raises(rb.CaptureError, match="requires a gradient"):
        step(w)
    with rb.no_grad():
        for _ in range(5):
            assert step(w).item() == 3.0


def test_writing_into_an_argument_is_refused():
    @rb.capture
    def step(x):
        _core.fill(x, 1.0)
        return ops.sum(x)

    x, _ = batch()
    step(x)
    with pytest.raises(rb.CaptureError, match=r"fill \(call 0\), y: the step writes into one of its arguments"):
        step(x)


# --- results


def test_results_are_copies():
    model = small()
    forward = rb.capture(lambda x: (model(rb.Tensor(x)), x))
    x, _ = batch()
    expected = model(rb.Tensor(x)).data.copy()
    for _ in range(7):
        y, same = forward(x)
        assert y.data.tobytes() == expected.tobytes()
        assert same.tobytes() == x.tobytes()
        y.data[...] = 5
        same[...] = 7
        assert not y.requires_grad


def test_returned_weights_are_copies():
    run = Run(True)
    inner = run.step
    step = rb.capture(lambda x, y: (inner(x, y), run.model[0].weight))
    for i in range(6):
        _, w = step(*batch(i))
        assert w.data.tobytes() == run.model[0].weight.data.tobytes()
        w.data[...] = 0
    assert run.model[0].weight.data.any()
    assert step.replays == 3


Point = namedtuple("Point", "x y")


def test_containers_come_back_as_they_were():
    @rb.capture
    def step(x):
        t = ops.relu(rb.Tensor(x))
        return {"t": t, "list": [t, ops.relu(x)], "tuple": (t, None, 3, 1.5, "a", True), "point": Point(t, {"z": t})}

    for i in range(6):
        x, _ = batch(i)
        r = step(x)
        assert r["list"][1].tobytes() == np.maximum(x, 0).tobytes()
        assert isinstance(r["list"][0], rb.Tensor) and type(r["list"][1]) is np.ndarray
        assert r["tuple"][1:] == (None, 3, 1.5, "a", True)
        assert type(r["point"]) is Point
        assert r["point"].y["z"].data.tobytes() == r["t"].data.tobytes()
    assert step.replays == 3


@pytest.mark.parametrize("value", [None, 3, True, "text", ()])
def test_a_step_may_return_no_arrays(value):
    run = Run(False)

    def step(x, y):
        run.step(x, y)
        return value

    captured = rb.capture(step)
    other = Run(False)
    for i in range(6):
        assert captured(*batch(i)) == value
        other.step(*batch(i))
    assert captured.replays == 3
    assert run.bits() == other.bits()


@pytest.mark.parametrize("value", [object(), {1}, np.float32(1)], ids=["object", "set", "scalar"])
def test_other_results_are_refused_at_the_first_call(value):
    with pytest.raises(rb.CaptureError, match=f"got {type(value).__name__}"):
        rb.capture(lambda x: value)(batch()[0])


def test_a_number_that_changes_is_refused_as_a_result():
    counter = itertools.count()
    step = rb.capture(lambda x: (ops.sum(x), next(counter)))
    with pytest.raises(rb.CaptureError, match="a number or the structure of the result changed"):
        for i in range(WARM):
            step(batch(i)[0])


def test_a_result_computed_by_numpy_is_refused():
    step = rb.capture(lambda x: (ops.sum(x), x.mean(1)))
    with pytest.raises(rb.CaptureError, match="result 1: it was computed outside the ops"):
        for i in range(WARM):
            step(batch(i)[0])


def test_argmax_and_constants_as_results():
    model = small()
    step = rb.capture(lambda x: (ops.argmax(model(rb.Tensor(x)), 1), ops.zeros((2,))))
    for i in range(6):
        x, _ = batch(i)
        labels, zeros = step(x)
        assert np.array_equal(labels, model(rb.Tensor(x)).data.argmax(1))
        assert not zeros.any()
    assert step.replays == 3


# --- gradients


def test_gradients_of_a_step_without_an_optimiser_are_left_on_the_parameters():
    pair = []
    for capture in (False, True):
        rb.manual_seed(1)
        model = small()
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def gradients(x, y, model=model):
            model.zero_grad()
            loss = ops.cross_entropy(model(rb.Tensor(x)), y)
            loss.backward()
            return loss

        step = rb.capture(gradients) if capture else gradients
        grads = []
        for i in range(7):
            step(*batch(i))
            optimizer.step()
            grads.append([p.grad.data.tobytes() for p in model.parameters()])
        pair.append((grads, model.state_dict()))
    assert step.replays == 4
    assert pair[0][0] == pair[1][0]
    for k in pair[0][1]:
        assert pair[0][1][k].tobytes() == pair[1][1][k].tobytes()


def test_gradients_that_an_update_used_up_are_gone_after_a_replay():
    run = Run(True)
    for i in range(5):
        run.step(*batch(i))
    assert all(p.grad is None for p in run.model.parameters())


def test_gradients_of_an_eager_step_do_not_survive_a_replay():
    run = Run(True)
    for i in range(5):
        run.step(*batch(i))
    run.step(*batch(9, 3))  # another signature: eager
    assert all(p.grad is not None for p in run.model.parameters())
    run.step(*batch(5))
    assert all(p.grad is None for p in run.model.parameters())


def test_a_gradient_set_before_a_step_that_clears_at_its_end():
    def made(capture):
        rb.manual_seed(1)
        model = small()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            loss = ops.cross_entropy(model(rb.Tensor(x)), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return model, (rb.capture(step) if capture else step)

    states = []
    for capture in (False, True):
        model, step = made(capture)
        for i in range(8):
            if i == 6:  # eager adds to it
                model[0].weight.grad = rb.Tensor(np.ones((8, 6), F32))
            step(*batch(i))
        states.append({k: v.tobytes() for k, v in model.state_dict().items()})
    assert states[0] == states[1]


def test_two_optimisers_with_a_backward_pass_between_them():
    states = []
    for capture in (False, True):
        rb.manual_seed(1)
        a, b = small(), small()
        first, second = optim.SGD(a.parameters(), lr=0.1), optim.Adam(b.parameters(), lr=0.01)

        def step(x, y, a=a, b=b, first=first, second=second):
            for model, optimizer in ((a, first), (b, second)):
                optimizer.zero_grad()
                loss = ops.cross_entropy(model(rb.Tensor(x)), y)
                loss.backward()
                optimizer.step()
            return loss

        run = rb.capture(step) if capture else step
        for i in range(8):
            first.lr, second.lr = 0.1 / (i + 1), 0.01 / (i + 1)
            run(*batch(i))
        states.append([m.state_dict() for m in (a, b)])
    assert run.replays == 5
    for one, two in zip(*states, strict=True):
        for k in one:
            assert one[k].tobytes() == two[k].tobytes()


# --- life and death


def test_an_exception_in_the_step_leaves_no_record_and_the_next_call_works():
    fail = []
    run = Run(False)
    other = Run(False)

    def step(x, y):
        value = run.step(x, y)
        if fail:
            raise KeyError(fail.pop())
        return value

    captured = rb.capture(step)
    for i in range(9):
        if i in (0, 1, 3):
            fail.append(i)
        try:
            captured(*batch(i))
        except KeyError as error:
            assert error.args == (i,)
        assert not _core.recording() and _capture.recording() is None
        other.step(*batch(i))
    assert captured.replays == 2
    assert run.bits() == other.bits()


def test_a_captured_function_inside_another_is_part_of_it():
    run = Run(True)
    other = Run(False)
    outer = rb.capture(lambda x, y: run.step(x, y))
    for i in range(6):
        outer(*batch(i))
        other.step(*batch(i))
    assert outer.replays == 3
    assert run.step.replays == 0 and not run.step.programs
    assert run.bits() == other.bits()


def test_results_have_no_graph_from_the_first_call_on():
    model = small()
    forward = rb.capture(lambda x: model(rb.Tensor(x)).sum())
    for i in range(5):
        with pytest.raises(RuntimeError, match="depends on nothing"):
            forward(batch(i)[0]).backward()


def test_buffers_return_to_the_pool_when_the_captured_function_dies():
    def live():
        gc.collect()
        return _core.pool_stats()["live_bytes"]

    model = nn.Sequential(nn.Linear(64, 256, activation="relu"), nn.Linear(256, 256))
    start = live()
    forward = rb.capture(lambda x: model(rb.Tensor(x)))
    x = np.zeros((512, 64), F32)
    with rb.no_grad():
        for _ in range(5):
            forward(x)
    assert live() - start >= forward.programs[0].peak_bytes > 2 * 512 * 256 * 4
    del forward
    assert live() == start


def test_sharing_saves_memory_and_the_program_can_be_printed(run_python):
    run = Run(True, model=lambda: nn.Sequential(*[nn.Linear(6, 6, activation="tanh") for _ in range(6)]))
    for i in range(5):
        run.step(*batch(i, 64))
    info = run.step.programs[0]
    assert info.peak_bytes > 0 and info.saved_bytes > 0
    assert "gemm" in str(info) and f"{info.calls} calls" in str(info)
    code = """
import numpy as np, rosenblatt as rb
f = rb.capture(lambda x: rb.ops.relu(x))
for _ in range(5): f(np.ones(4, np.float32))
"""
    assert "relu" in run_python(code, env={"RB_TRACE": "program"}).stderr
    assert "relu" not in run_python(code).stderr


def test_two_threads_on_one_captured_step_take_turns():
    model = nn.Sequential(nn.Linear(64, 512, activation="relu"), nn.Linear(512, 8))
    forward = rb.capture(lambda x: model(rb.Tensor(x)))
    xs = [np.random.default_rng(i).standard_normal((128, 64)).astype(F32) for i in range(4)]
    with rb.no_grad():
        expected = [model(rb.Tensor(x)).data.tobytes() for x in xs]
    wrong = []

    def work(k):
        with rb.no_grad():
            for i in range(60):
                j = (i + k) % 4
                if forward(xs[j]).data.tobytes() != expected[j]:
                    wrong.append((k, i))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert forward.replays == 120 - WARM


def test_recording_on_one_thread_leaves_another_alone():
    start, finish = threading.Event(), threading.Event()
    run, other = Run(False), Run(False)
    calls = itertools.count()

    def slow(x, y):
        value = run.step(x, y)
        if next(calls) == 1:
            start.set()
            assert finish.wait(20)
        return value

    captured = rb.capture(slow)

    def work():
        for i in range(5):
            captured(*batch(i))

    thread = threading.Thread(target=work)
    thread.start()
    assert start.wait(20)
    value = other.step(*batch(0))
    assert np.isfinite(value.item())  # reading is fine: this thread records nothing
    finish.set()
    thread.join()
    assert captured.replays == 2
    for i in range(1, 5):
        other.step(*batch(i))
    assert run.bits() == other.bits()


def test_results_are_copies_unless_asked_otherwise():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)

    def step(a):
        y = ops.mul(rb.Tensor(a), 2.0)
        return y, ops.sum(y)

    kept = rb.capture(step)
    for i in range(5):
        first, _total = kept(x + 4 - i)
    kept(x + 1)
    assert kept.replays and np.array_equal(first.data, 2 * x) and first.data.flags.writeable
    windows = rb.capture(step, copy=False)
    for i in range(5):
        first, total = windows(x + 4 - i)
    assert np.array_equal(first.data, 2 * x) and total.item() == 30.0
    assert not first.data.flags.writeable
    windows(x + 1)
    assert np.array_equal(first.data, 2 * (x + 1)), "the same memory, written by the next replay"
    window = first.data
    del windows, first, total
    gc.collect()
    assert np.array_equal(window, 2 * (x + 1)), "a window keeps its program alive"


# --- calls that are told apart natively


def scaled(values):
    """A captured x * k and the results that the eager form gives for `values` of (x, k)."""

    def step(x, k):
        return ops.mul(rb.Tensor(x) if isinstance(x, np.ndarray) else x, k)

    return rb.capture(step), step


def test_a_replayed_signature_does_not_swallow_calls_that_look_alike():
    x = np.arange(1, 5, dtype=F32)
    others = [
        (x, True), (x, 1.0), (x, 2), (x[:2], 1), (x.reshape(2, 2), 1), (x.astype(float), 1), (rb.Tensor(x), 1),
        (x, -0.0), (x, 0.0), (x[::-1], 1), (np.array(x, order="F"), 1), (x.view(type("Mine", (np.ndarray,), {})), 1),
    ]  # fmt: skip
    for x2, k in others:
        step, eager = scaled(None)
        for i in range(WARM + 2):
            step(x + F32(i), 1)  # not the same twice: the program then asks for no contents
        assert step._ready is not None and step.replays == 2
        for _ in range(WARM + 2):
            got, want = step(x2, k).data, eager(x2, k).data
            assert got.dtype == want.dtype and got.tobytes() == want.tobytes() and got.shape == want.shape
            np.testing.assert_array_equal(step(x, 1).data, x)


def test_a_ready_program_refuses_and_misses_what_the_first_look_would():
    x = np.ones(3, F32)
    step, _ = scaled(None)
    for i in range(WARM + 2):
        step(rb.Tensor(x + F32(i)), 2)
    assert step._ready is not None
    with pytest.raises(rb.CaptureError, match="requires a gradient"):
        step(rb.Tensor(x, requires_grad=True), 2)
    replays = step.replays
    with rb.no_grad():  # a signature of its own
        step(rb.Tensor(x), 2)
    assert step.replays == replays
    with pytest.raises(TypeError):
        step(rb.Tensor(x))
    with pytest.raises(rb.CaptureError, match="hashable"):
        step(rb.Tensor(x), [2])


def test_a_ready_program_that_was_dropped_is_not_used_again():
    x = np.ones(3, F32)
    table = {"k": 2.0}
    step = rb.capture(lambda a: ops.mul(rb.Tensor(a), table["k"]), max_programs=1)
    for _ in range(WARM + 2):
        step(x)
    table["k"] = 3.0
    np.testing.assert_array_equal(step(x).data, 3 * x)
    for n in (4, 5):  # pushes the first signature out
        for _ in range(WARM + 2):
            step(np.ones(n, F32))
    replays = step.replays
    np.testing.assert_array_equal(step(x).data, 3 * x)
    assert step.replays == replays and len(step.programs) == 0


def test_losses_with_factors_of_their_own_replay_for_any_input():
    """The factor of the mean is no constant of the step: inputs that stood still while recording may change."""
    w = rb.Parameter(np.ones((2, 1), F32))
    for loss in (ops.mse_loss, ops.bce_with_logits):

        @rb.capture
        def step(x, t, loss=loss):
            w.grad = None
            value = loss(ops.matmul(x, w), t)
            value.backward()
            return value, w.grad

        x, t = np.ones((4, 2), F32), np.ones((4, 1), F32)
        for _ in range(WARM + 1):
            step(rb.Tensor(x), t)
        for i in range(3):
            step(rb.Tensor(x * i), t)
        assert step.replays == 4


def test_counts_of_a_group_rise_together_or_not_at_all():
    counts = [3, 7, 3]
    assert _core.count_up(counts, (0, 2)) == 4
    assert counts == [4, 7, 4]
    assert _core.count_up(counts, (0, 1)) == 0
    assert counts == [4, 7, 4]
