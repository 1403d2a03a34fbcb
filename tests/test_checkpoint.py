"""Checkpoints: whole after any crash, refused when damaged, and a resumed run equals one that was never stopped."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import io, models, nn, optim
from rosenblatt.io import CheckpointError, atomic, list_checkpoints, load_checkpoint, save_checkpoint
from rosenblatt.train import (
    Callback,
    EarlyStopping,
    LearningRateSchedule,
    LearningRateScheduler,
    Loader,
    Trainer,
    fit,
)

F32 = np.float32
GOLDEN = Path(__file__).parent / "golden" / "checkpoint-v1"


def tree(step):
    """A state whose every part says which step it is of."""
    return {"step": step, "w": np.full(257, step, F32), "more": {"b": np.full((3, 5), step, np.float64)}}


def step_of(state):
    step = state["step"]
    assert (state["w"] == step).all() and (state["more"]["b"] == step).all()
    assert state["w"].shape == (257,) and state["more"]["b"].shape == (3, 5)
    return step


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


# --- what is saved


def test_a_tree_comes_back_as_it_was(tmp_path):
    state = {
        "numbers": [1, -(2**70), 0.1, 1e-310, float("inf"), True, None], "text": 'é "\n', "empty": {},
        "pair": (1, (2.5, [])), "scalar": np.float32(0.5), "count": np.int64(7),
        "arrays": {
            name: np.arange(6).reshape(2, 3).astype(name) for name in ("f2", "f4", "f8", "i4", "i8", "u1", "u8", "?")
        },
        "strided": np.arange(24.0).reshape(4, 6)[::2, ::-3], "big": np.arange(3, dtype=">f4"),
        "none": np.zeros((0, 3)), "point": np.array(3.0), "a/b": np.ones(1), "a": {"b": np.zeros(1)},
        "nan": np.array([np.nan, -0.0], F32), "__metadata__": np.ones(2),
    }
    path = save_checkpoint(tmp_path / "x" / "y", state)
    assert path == tmp_path / "x" / "y" / "checkpoint-00000001"
    assert sorted(f.name for f in path.iterdir()) == ["arrays.safetensors", "state.json"]
    back = load_checkpoint(tmp_path / "x" / "y").state
    assert back.keys() == state.keys()
    for key in ("numbers", "text", "empty", "pair", "scalar", "count"):
        assert back[key] == state[key] and type(back[key]) is not np.generic
    assert type(back["pair"]) is tuple and type(back["pair"][1]) is tuple
    for name, array in state["arrays"].items():
        assert back["arrays"][name].dtype == array.dtype and np.array_equal(back["arrays"][name], array)
        assert back["arrays"][name].flags.writeable
    for key in ("strided", "none", "point", "a/b", "big", "__metadata__"):
        assert back[key].shape == state[key].shape and np.array_equal(back[key], state[key])
    assert back["a"]["b"] == 0 and back["nan"].tobytes() == state["nan"].tobytes()
    json.loads((path / "state.json").read_text(), parse_constant=pytest.fail)  # strict JSON
    safetensors = pytest.importorskip("safetensors.numpy")
    assert np.array_equal(safetensors.load_file(path / "arrays.safetensors")["strided"], state["strided"])


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ([1], TypeError, "save_checkpoint: expected a dict, got list"),
        ({"a": {"b": {1, 2}}}, TypeError, "a/b: expected arrays, numbers.*got set"),
        ({"a": np.array(["x"])}, TypeError, "a: arrays of <U1 cannot be saved"),
        ({"a": np.array([None])}, TypeError, "a: arrays of object cannot be saved"),
        ({"a": np.array([1j])}, TypeError, "a: arrays of complex128"),
        ({"a": {"$array": 1}}, TypeError, "keys must be text that does not begin"),
        ({"a": {3: 1}}, TypeError, "keys must be text"),
        ({"a": pytest}, TypeError, "got module"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path, state, error, message):
    with pytest.raises(error, match=message):
        save_checkpoint(tmp_path / "c", state)
    assert not (tmp_path / "c").exists()


def test_keep(tmp_path):
    for step, score in enumerate([5.0, 1.0, 3.0, 1.0, 4.0, float("nan"), None], 1):
        save_checkpoint(tmp_path, tree(step), keep=2, score=score, keep_best=True)
    assert [int(p.name[-8:]) for p in list_checkpoints(tmp_path)] == [4, 6, 7]  # of equal ones the newer is the best
    save_checkpoint(tmp_path, tree(8), keep=1)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["checkpoint-00000008"]
    assert [f.name for f in tmp_path.iterdir()] == ["checkpoint-00000008"]
    for keep in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="keep must be an integer of at least 1"):
            save_checkpoint(tmp_path, tree(9), keep=keep)
    assert list_checkpoints(tmp_path / "nowhere") == []
    with pytest.raises(CheckpointError, match="there is no checkpoint here"):
        load_checkpoint(tmp_path / "nowhere")


# --- failures of the disk


class Faulty(atomic.Files):
    """Fails at call number `at`, in the way `how`; counts all calls."""

    def __init__(self, at=None, how=errno.EIO):
        self.at, self.how, self.calls, self.failed = at, how, [], None

    def _call(self, name, path, *arguments):
        self.calls.append(name)
        if len(self.calls) == self.at:
            self.failed = name
            if name == "close":
                os.close(arguments[0])
            if self.how == "short" and name == "write":
                os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
            code = errno.ENOSPC if self.how == "short" else self.how
            raise OSError(code, os.strerror(code), *([] if path is None else [str(path)]))
        return getattr(super(), name)(*arguments)


for _name in ("create", "replace", "make_folder", "sync_folder", "read", "names", "remove", "remove_folder"):
    setattr(Faulty, _name, lambda self, path, *rest, _name=_name: self._call(_name, path, path, *rest))
for _name in ("write", "sync", "close"):
    setattr(Faulty, _name, lambda self, *arguments, _name=_name: self._call(_name, None, *arguments))


def test_everything_is_on_the_disk_and_read_back_before_the_name_appears(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, tree(1))
    shim = Faulty()
    monkeypatch.setattr(atomic, "files", shim)
    save_checkpoint(tmp_path, tree(2), keep=1)
    file = ["create", "write", "sync", "close"]
    assert [c for c in shim.calls if c != "names"] == [
        "make_folder", *file, *file, "sync_folder", "read", "read", "replace", "sync_folder",  # the new one
        "replace", "remove", "remove", "remove_folder",  # then the old one, out of sight first
    ]


@pytest.mark.quick
@pytest.mark.parametrize("how", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EDQUOT, "short"])
@pytest.mark.parametrize("existing", [0, 1, 2])
def test_every_system_call_may_fail(tmp_path, monkeypatch, how, existing):
    reached, at = set(), 0
    while True:
        at += 1
        folder = tmp_path / f"{at}"
        for step in range(1, existing + 1):
            save_checkpoint(folder, tree(step), keep=2)
        if existing:  # as after a crash: something to clean up
            (folder / ".new-1-0123abcd").mkdir()
            (folder / ".new-1-0123abcd" / "arrays.safetensors").write_bytes(b"half")
        before = contents(folder)
        shim = Faulty(at, how)
        monkeypatch.setattr(atomic, "files", shim)
        error = None
        try:
            save_checkpoint(folder, tree(existing + 1), keep=2)
        except CheckpointError as caught:
            error = caught
        monkeypatch.undo()
        if shim.failed is None:
            assert error is None and len(shim.calls) < at
            break
        reached.add(shim.failed)
        assert error is not None, f"call {at} ({shim.failed}) failed and nobody was told"
        code = errno.ENOSPC if how == "short" else how
        assert os.strerror(code) in str(error) and str(tmp_path) in str(error) and error.reason and error.path
        committed = "replace" in shim.calls[: at - 1]  # the rename was done: the new one is there, and whole
        assert step_of(load_checkpoint(folder).state if existing or committed else tree(0)) == existing + committed
        after = contents(folder)
        if not committed:  # the ones before are untouched
            assert {k: v for k, v in before.items() if k.startswith("checkpoint")} == {
                k: v for k, v in after.items() if k.startswith("checkpoint")
            }
        save_checkpoint(folder, tree(99), keep=2)  # and the next one cleans up
        assert step_of(load_checkpoint(folder).state) == 99
        assert all(p.name.startswith("checkpoint-") for p in folder.iterdir())
        assert len(list_checkpoints(folder)) <= 2
    wanted = {"create", "write", "sync", "close", "replace", "make_folder", "sync_folder", "read", "names"}
    assert reached >= wanted | ({"remove", "remove_folder"} if existing else set())


def test_short_writes_are_continued_and_wrong_ones_found(tmp_path, monkeypatch):
    class Short(atomic.Files):
        def write(self, fd, data):
            return os.write(fd, data[:100])

    monkeypatch.setattr(atomic, "files", Short())
    save_checkpoint(tmp_path, tree(1))
    assert step_of(load_checkpoint(tmp_path).state) == 1

    class Lying(atomic.Files):
        def write(self, fd, data):
            return os.write(fd, bytes(data[:-1]) + b"?")

    monkeypatch.setattr(atomic, "files", Lying())
    with pytest.raises(CheckpointError, match="the file read back differs"):
        save_checkpoint(tmp_path, tree(2))

    class Full(atomic.Files):
        def write(self, fd, data):
            return 0

    monkeypatch.setattr(atomic, "files", Full())
    with pytest.raises(CheckpointError, match="took no bytes"):
        save_checkpoint(tmp_path, tree(2))
    monkeypatch.undo()
    assert step_of(load_checkpoint(tmp_path).state) == 1 and len(list(tmp_path.iterdir())) == 1


def test_cleaning_up_after_a_failure_may_fail_too(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, tree(1))

    class Broken(atomic.Files):
        def sync(self, fd):
            raise OSError(errno.EIO, "first")

        def remove(self, path):
            raise OSError(errno.EIO, "second")

    monkeypatch.setattr(atomic, "files", Broken())
    with pytest.raises(CheckpointError, match="first") as caught:
        save_checkpoint(tmp_path, tree(2))
    assert "second" in caught.value.__cause__.__notes__[0]
    monkeypatch.undo()
    assert step_of(load_checkpoint(tmp_path).state) == 1
    save_checkpoint(tmp_path, tree(2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-00000001", "checkpoint-00000002"]


def test_a_file_size_limit_of_the_system(tmp_path, run_python):
    code = """
import resource, sys
import numpy as np
from rosenblatt import io
io.save_checkpoint(sys.argv[1], {"step": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    io.save_checkpoint(sys.argv[1], {"w": np.zeros(100_000)})
except io.CheckpointError as error:
    print(error)
assert io.load_checkpoint(sys.argv[1]).state == {"step": 1}
"""
    assert "File too large" in run_python(code, tmp_path).stdout
    assert len(list(tmp_path.iterdir())) == 1


KILLS = """
import os, random, signal, sys, time
import numpy as np
from rosenblatt.io import list_checkpoints, load_checkpoint, save_checkpoint
from test_checkpoint import step_of, tree

folder, kills = sys.argv[1], int(sys.argv[2])
chance, last, saved = random.Random(int(sys.argv[3])), 0, 0
begun = time.perf_counter()
for step in range(5):
    save_checkpoint(folder + "-timing", tree(step))
longest = max(0.02, 4 * (time.perf_counter() - begun) / 5)
for kill in range(kills):
    listen, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            step = last
            while True:
                step += 1
                save_checkpoint(folder, tree(step))
                os.write(tell, step.to_bytes(8, "little"))
        finally:
            os._exit(1)
    os.close(tell)
    time.sleep(chance.uniform(0.0, longest))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "the child stopped by itself"
    told = os.read(listen, 1 << 20)
    os.close(listen)
    acknowledged = int.from_bytes(told[-8:], "little") if told else last
    saved += len(told) // 8
    if list_checkpoints(folder):
        found = load_checkpoint(folder)
        assert not found.damaged
        last = step_of(found.state)
    assert last >= acknowledged, f"kill {kill}: {acknowledged} was acknowledged, {last} is there"
    assert last <= acknowledged + 1
save_checkpoint(folder, tree(last + 1))
names = sorted(os.listdir(folder))
assert all(n.startswith("checkpoint-") for n in names) and len(names) == 2, names
print("saved", saved, "kills", kills)
"""


@pytest.mark.parametrize("kills", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_kills_lose_nothing(tmp_path, run_python, kills):
    out = run_python(KILLS, tmp_path / "c", kills, 7, env={"OPENBLAS_NUM_THREADS": "1"}, timeout=280).stdout.split()
    assert out[2:] == ["kills", str(kills)] and int(out[1]) > kills // 10, out


# --- damage


def test_damage_is_found_and_named_and_the_previous_one_offered(tmp_path):
    save_checkpoint(tmp_path, tree(1))
    newest = save_checkpoint(tmp_path, tree(2))
    chance = random.Random(3)
    for name in ("state.json", "arrays.safetensors"):
        file = newest / name
        whole = file.read_bytes()
        flips = [chance.randrange(8 * len(whole)) for _ in range(300)]
        damaged = []
        for bit in flips:
            blob = bytearray(whole)
            blob[bit // 8] ^= 1 << bit % 8
            damaged.append(bytes(blob))
        lengths = [*range(80), *(chance.randrange(len(whole)) for _ in range(40)), len(whole) - 1]
        damaged += [whole[:n] for n in lengths] + [whole + b"\0", whole[::-1], b"[" * 100_000, b"null", b"{}"]
        for blob in damaged:
            file.write_bytes(blob)
            with pytest.raises(CheckpointError) as caught:
                load_checkpoint(tmp_path)
            assert caught.value.path == file and caught.value.previous == tmp_path / "checkpoint-00000001"
            assert str(file) in str(caught.value) and "fallback=True" in str(caught.value)
        with pytest.warns(RuntimeWarning, match=name.replace(".", r"\.")):
            found = load_checkpoint(tmp_path, fallback=True)
        assert step_of(found.state) == 1 and [e.path for e in found.damaged] == [file]
        file.write_bytes(whole)
        assert step_of(load_checkpoint(tmp_path).state) == 2
    (newest / "arrays.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors: cannot be read: No such file"):
        load_checkpoint(tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-00000001")
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        load_checkpoint(tmp_path, fallback=True)
    assert caught.value.previous is None and "fallback" not in str(caught.value)


def test_a_later_format_is_refused(tmp_path):
    from rosenblatt.io.checkpoint import _sealed

    path = save_checkpoint(tmp_path, tree(1)) / "state.json"
    content = json.loads(path.read_bytes())
    del content["sha256"]
    path.write_bytes(_sealed({**content, "version": 2}))
    with pytest.raises(CheckpointError, match="expected format version 1, got 2"):
        load_checkpoint(tmp_path)


# --- resuming


def data(n=50):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return (rng.standard_normal((n, 4)) * 0.5 + np.eye(3, 4)[y] * 2).astype(F32), y


def images(n=26):
    rng = np.random.default_rng(1)
    return rng.random((n, 32, 32, 1), F32), np.arange(n) % 10


def network(name):
    rb.manual_seed(11)
    if name == "dropout":
        return nn.Sequential(nn.Linear(4, 16, activation="relu"), nn.Dropout(0.3), nn.Linear(16, 3)), *data()
    if name == "lenet5":
        return models.build("lenet5", input_shape=(32, 32, 1), classes=10), *images()
    if name == "vae":
        return models.vae(input_shape=(4,), hidden=(6,), latent=2), data()[0], data()[0]
    return models.build(name, input_shape=(4,), classes=3), *data()


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.05, momentum=0.9),
    "adam": lambda p: optim.Adam(p, 0.01),
    "adamw": lambda p: optim.AdamW(p, 0.01),
}


class Crash(Exception):
    pass


class CrashAt(Callback):
    def __init__(self, at):
        self.at, self.count = at, 0

    def on_batch_begin(self, batch):
        self.count += 1
        if self.count - 1 == self.at:
            raise Crash


def leaves(value):
    """Every array and number of a nested state, as bytes."""
    if isinstance(value, dict):
        return b"".join(k.encode() + leaves(v) for k, v in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return b"".join(map(leaves, value))
    return value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()


def go(name, optimizer, callbacks=(), **options):
    """The bytes of weights, optimiser and random stream after a run, and its history."""
    model, x, y = network(name)
    opt = OPTIMIZERS[optimizer](model.parameters())
    loss = nn.PerceptronLoss() if name == "perceptron" else None
    penalty = nn.ActivityPenalty() if name == "vae" else None
    options = {"batch_size": 8, "progress": False, "epochs": 4, "penalty": penalty, **options}
    history = fit(model, x, y, optimizer=opt, loss=loss, callbacks=list(callbacks), **options)
    values = {k: v for k, v in history.history.items() if k != "seconds"}
    where = rb.ops.random.stream
    return leaves(model.state_dict()), leaves(opt.state_dict()), (where.key, where.counter), history.epoch, values


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["perceptron", "mlp", "lenet5", "vae"])
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path, name, optimizer, threads):
    rb.set_num_threads(threads)
    epochs = 2 if name == "lenet5" else 4
    whole = go(name, optimizer, epochs=epochs)
    assert go(name, optimizer, epochs=epochs // 2, checkpoint=tmp_path / "a")[0] != whole[0]
    assert go(name, optimizer, epochs=epochs, checkpoint=tmp_path / "a", resume=True) == whole
    batches = -(-len(network(name)[1]) // 8)
    for at in (1, batches * epochs // 2 + 2):  # in the middle of an epoch
        folder = tmp_path / f"{at}"
        with pytest.raises(Crash):
            go(name, optimizer, [CrashAt(at)], epochs=epochs, checkpoint=folder, checkpoint_steps=1)
        saved = load_checkpoint(folder).state
        assert saved["batch"] > 0
        assert go(name, optimizer, [CrashAt(-1)], epochs=epochs, checkpoint=folder, resume=True) == whole


class Spoil(Callback):
    def on_epoch_begin(self, epoch):
        if epoch == 3:
            for p in self.run.model.parameters():
                p.data[...] = 9.0


def test_resume_after_the_best_epoch_and_inside_one_that_set_the_rate(tmp_path):
    """The best weights are older than the checkpoint; a rate that each epoch cuts is cut once in the one resumed."""
    def run(crash, **options):
        callbacks = [Spoil(), LearningRateScheduler(lambda epoch, lr: lr * 0.5), CrashAt(crash)]
        return go("mlp", "adam", callbacks, keep_best=True, **options)

    whole = run(-1)
    assert int(np.argmin(whole[4]["loss"])) < 2 and whole[4]["lr"] == [0.005, 0.0025, 0.00125, 0.000625]
    for at in (17, 24):
        with pytest.raises(Crash):
            run(at, checkpoint=tmp_path / f"{at}", checkpoint_steps=1)
        assert run(-1, checkpoint=tmp_path / f"{at}", resume=True) == whole


@pytest.mark.parametrize("make", [
    lambda opt: optim.StepLR(opt, 2), lambda opt: optim.WarmUp(optim.ExponentialLR(opt, 0.5), 3),
    lambda opt: optim.ReduceLROnPlateau(opt, patience=0, factor=0.5), lambda opt: optim.OneCycleLR(opt, 0.1, 28),
])
def test_resume_with_a_schedule_of_the_optimiser(tmp_path, make):
    def run(crash, **options):
        model, x, y = network("mlp")
        opt = OPTIMIZERS["adam"](model.parameters())
        fit(model, x, y, optimizer=opt, callbacks=[LearningRateSchedule(make(opt)), CrashAt(crash)], epochs=4,
            batch_size=8, progress=False, **options)
        return leaves(model.state_dict()), opt.lr

    whole = run(-1)
    for at in (14, 17):
        with pytest.raises(Crash):
            run(at, checkpoint=tmp_path / f"{at}", checkpoint_steps=1)
        assert run(-1, checkpoint=tmp_path / f"{at}", resume=True) == whole


def test_resume_with_dropout_augmentation_schedule_and_validation(tmp_path):
    x, y = data(21)

    def augment(batch, rng):
        return batch + rng.standard_normal(batch.shape).astype(F32) * 0.1

    def options():
        return {
            "augment": augment, "validation_data": (x, y), "keep_best": True, "epochs": 6, "steps_per_epoch": 5,
            "class_weight": {0: 2.0}, "seed": 5,
        }

    def callbacks():
        return [
            LearningRateSchedule.cosine(0.2), LearningRateScheduler(lambda epoch, lr: lr * 0.9),
            EarlyStopping(patience=4, restore_best_weights=True),
        ]

    whole = go("dropout", "adamw", [*callbacks(), CrashAt(-1)], **options())
    for at in (3, 10, 13, 29):
        folder = tmp_path / f"{at}"
        for _ in range(2):  # crashed again after it was resumed
            with pytest.raises(Crash):
                go("dropout", "adamw", [*callbacks(), CrashAt(at)], checkpoint=folder, checkpoint_steps=2, resume=True,
                   **options())
            at = 1
        again = go("dropout", "adamw", [*callbacks(), CrashAt(-1)], checkpoint=folder, resume=True, **options())
        assert again == whole
    assert go("dropout", "adamw", [*callbacks(), CrashAt(-1)], **{**options(), "seed": 6}) != whole


def own_loop(crash, folder=None, epochs=3, **options):
    """Two models with an optimiser each, trained in turn."""
    rb.manual_seed(2)
    x, y = data(20)
    one, two = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.2)), nn.Sequential(nn.Linear(3, 3))
    first, second = optim.Adam(one.parameters(), 0.01), optim.SGD(two.parameters(), 0.1, momentum=0.9)
    loss = nn.CrossEntropyLoss()

    def step(xb, yb):
        first.zero_grad()
        second.zero_grad()
        value = loss(two(one(rb.Tensor(xb))), yb)
        value.backward()
        first.step()
        second.step()
        return {"loss": value, "two": 2.0 * value.item()}

    trainer = Trainer(one, first, Loader(x, y, 8, seed=4), parts={"two": two, "second": second}, progress=False,
                      callbacks=[CrashAt(crash)], checkpoint=folder, checkpoint_steps=1 if folder else None)
    history = trainer.run(step, epochs, evaluate=lambda: {"val_loss": float(two[0].bias.data[0])}, **options)
    values = {k: v for k, v in history.history.items() if k != "seconds"}
    return leaves([one.state_dict(), two.state_dict(), first.state_dict(), second.state_dict()]), values


def test_trainer_resumes_to_the_bit(tmp_path):
    whole = own_loop(-1)
    assert whole[1].keys() == {"loss", "two", "val_loss", "lr"} and len(whole[1]["loss"]) == 3
    np.testing.assert_allclose(whole[1]["two"], 2 * np.array(whole[1]["loss"]), rtol=1e-12)
    for at in (1, 3, 5, 8):
        with pytest.raises(Crash):
            own_loop(at, tmp_path / f"{at}")
        assert own_loop(-1, tmp_path / f"{at}", resume=True) == whole
    with pytest.raises(ValueError, match=r"Trainer\.run: resume needs checkpoint"):
        own_loop(-1, resume=True)
    model, x, y = network("mlp")
    opt = OPTIMIZERS["sgd"](model.parameters())
    with pytest.raises(KeyError, match="the step must return 'loss'"):
        Trainer(model, opt, Loader(x, y), progress=False).run(lambda xb, yb: {}, 1)
    used, values = Loader(x, y, 4, seed=4), []
    next(iter(used))
    for loader in (used, Loader(x, y, 4, seed=4)):  # a run begins with the first batch, also of a loader in use
        values.append([])
        Trainer(model, opt, loader, progress=False).run(
            lambda xb, yb: values[-1].append(xb.tobytes()) or {"loss": 0.0}, 2
        )
        assert loader.position == 2 * len(loader)
    assert values[0] == values[1]
    with pytest.raises(TypeError, match="part 'p' has no state_dict"):
        Trainer(model, opt, Loader(x, y), parts={"p": 3})
    with pytest.raises(CheckpointError, match="expected the parts"):
        Trainer(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.2)), optim.Adam(model.parameters()),
                Loader(*data(20), 8, seed=4), callbacks=[CrashAt(-1)], checkpoint=tmp_path / "1", progress=False,
                ).run(lambda *_: {}, 9, resume=True)


CHILD = """
import sys
import test_checkpoint as t
t.go("dropout", "adam", checkpoint=sys.argv[1], checkpoint_steps=1, resume=True, epochs=int(sys.argv[2]))
print("done")
"""


def child(folder, epochs):
    package, tests = os.path.dirname(os.path.dirname(os.path.abspath(rb.__file__))), os.path.dirname(__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.path.abspath(tests)])}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(epochs)], env=environment, stdout=subprocess.PIPE, text=True
    )


def newest(folder):
    """The number of the newest checkpoint, 0 without any."""
    return max((int(p.name[-8:]) for p in list_checkpoints(folder)), default=0)


def wait_for_checkpoints(folder, number):
    import time

    for _ in range(3000):
        if newest(folder) >= number:
            return
        time.sleep(0.01)
    pytest.fail(f"no checkpoint {number} in 30 s")


def test_a_process_killed_asked_to_end_and_interrupted(tmp_path):
    """SIGKILL, SIGTERM (status 143) and SIGINT at some instant of a long run; then the rest in this process."""
    for sent, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 0)):
        before = newest(tmp_path)  # a signal before this process's own first checkpoint might come before its handlers
        process = child(tmp_path, 300)
        wait_for_checkpoints(tmp_path, before + 3)
        process.send_signal(sent)
        assert (process.communicate(timeout=60)[0], process.returncode) == ("done\n" if status == 0 else "", status)
    reached = load_checkpoint(tmp_path).state
    assert 0 < reached["epoch"] < 299
    epochs = reached["epoch"] + 2
    resumed = go("dropout", "adam", checkpoint=tmp_path, resume=True, epochs=epochs)
    assert resumed == go("dropout", "adam", epochs=epochs)


def test_checkpoints_in_fit(tmp_path):
    go("mlp", "sgd", epochs=5, checkpoint=tmp_path / "a", checkpoint_every=2, checkpoint_keep=9)
    epochs = [io.checkpoint._read(p)["epoch"] for p in list_checkpoints(tmp_path / "a")]
    assert epochs == [2, 4, 5]
    go("mlp", "sgd", epochs=2, checkpoint=tmp_path / "b", checkpoint_every=9, checkpoint_steps=3, checkpoint_keep=9)
    states = [io.checkpoint._read(p) for p in list_checkpoints(tmp_path / "b")]
    assert [(s["epoch"], s["batch"]) for s in states] == [(0, 3), (0, 6), (1, 2), (1, 5), (2, 0)]
    with pytest.raises(CheckpointError, match="there are checkpoints of an earlier run here; resume=True"):
        go("mlp", "sgd", checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="fit: resume needs checkpoint"):
        go("mlp", "sgd", resume=True)
    for key in ("checkpoint_every", "checkpoint_steps", "checkpoint_keep"):
        with pytest.raises(ValueError, match=f"fit: {key} must be an integer of at least 1, got 0"):
            go("mlp", "sgd", checkpoint=tmp_path / "c", **{key: 0})
    done = go("mlp", "sgd", epochs=5, checkpoint=tmp_path / "a", resume=True)  # nothing left to do
    assert done == go("mlp", "sgd", epochs=5)


def test_another_run_is_not_continued(tmp_path):
    folder = tmp_path / "a"
    go("mlp", "sgd", checkpoint=folder, epochs=1, seed=3)
    for change, message in (
        ({"batch_size": 9}, "batch_size: expected 9, it has 8|batches in an epoch: expected 6, it has 7"),
        ({"shuffle": False}, "shuffle: expected False, it has True"),
        ({"seed": 4}, "seed: expected 4, it has 3"),
        ({"callbacks": [CrashAt(-1)]}, r"callbacks: expected \['CrashAt'\], it has \[\]"),
        ({"optimizer": "adam"}, "optimizer: expected Adam, it has SGD"),
        ({"name": "perceptron"}, "parameter .*: expected"),
        ({"validation_split": 0.5}, "batches in an epoch"),
    ):
        options = {"name": "mlp", "optimizer": "sgd", **change}
        with pytest.raises(CheckpointError, match=rf"belongs to another run: ({message})"):
            go(checkpoint=folder, resume=True, epochs=2, **options)
    save_checkpoint(tmp_path / "b", tree(1))
    with pytest.raises(CheckpointError, match="not the state of a training run"):
        go("mlp", "sgd", checkpoint=tmp_path / "b", resume=True)


def test_a_state_that_does_not_fit_leaves_the_model_alone(tmp_path):
    go("mlp", "sgd", checkpoint=tmp_path, epochs=1)
    state = load_checkpoint(tmp_path).state
    state["optimizer"]["state"] = {}
    save_checkpoint(tmp_path, state)
    model, x, y = network("mlp")
    before = leaves(model.state_dict())
    with pytest.raises(CheckpointError, match="cannot be resumed from: KeyError"):
        fit(model, x, y, batch_size=8, optimizer=OPTIMIZERS["sgd"](model.parameters()), checkpoint=tmp_path,
            resume=True, progress=False)
    assert leaves(model.state_dict()) == before


def test_fallback_in_fit(tmp_path):
    whole = go("mlp", "sgd", epochs=4)
    go("mlp", "sgd", checkpoint=tmp_path, epochs=3)
    file = list_checkpoints(tmp_path)[-1] / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="the previous one is whole"):
        go("mlp", "sgd", checkpoint=tmp_path, epochs=4, resume=True)
    with pytest.warns(RuntimeWarning, match="is left out"):
        assert go("mlp", "sgd", checkpoint=tmp_path, epochs=4, resume=True, fallback=True) == whole


def test_a_checkpoint_that_cannot_be_written_ends_the_run(tmp_path, monkeypatch):
    go("mlp", "sgd", checkpoint=tmp_path, epochs=1)
    whole = go("mlp", "sgd", epochs=2)
    monkeypatch.setattr(atomic, "files", Faulty(5, errno.ENOSPC))
    with pytest.raises(CheckpointError, match="No space left"):
        go("mlp", "sgd", checkpoint=tmp_path, epochs=2, resume=True)
    monkeypatch.undo()
    assert go("mlp", "sgd", checkpoint=tmp_path, epochs=2, resume=True) == whole


# --- old files


def golden_state():
    """What the golden checkpoint holds, from formulas; written once with version 0.1.0."""
    shapes = {"0.weight": (5, 4), "0.bias": (5,), "1.weight": (3, 5), "1.bias": (3,)}
    ramps = {k: (np.arange(np.prod(s)).reshape(s) / 8 - 1).astype(F32) for k, s in shapes.items()}
    return {
        "model": ramps,
        "slots": [{"m": a / 16, "v": a * a} for a in ramps.values()],
        "values": {"loss": [1.5, 0.75], "lr": [0.01, 0.01], "seconds": [0.5, 0.25]},
    }


def golden_run(folder, **options):
    x, y = data(20)
    model = nn.Sequential(nn.Linear(4, 5, activation="tanh"), nn.Linear(5, 3))
    opt = optim.Adam(model.parameters(), 0.5)
    stop = EarlyStopping("loss", patience=3, restore_best_weights=True)
    history = fit(model, x, y, batch_size=8, optimizer=opt, callbacks=[stop], checkpoint=folder, progress=False,
                  seed=9, **options)
    return model, opt, stop, history


@pytest.mark.filterwarnings("ignore:fit.*kernels:RuntimeWarning")
def test_the_golden_checkpoint_loads(tmp_path):
    """Every later version reads this folder: no change of format may break it."""
    shutil.copytree(GOLDEN, tmp_path / "c")
    want = golden_state()
    model, opt, stop, history = golden_run(tmp_path / "c", resume=True, epochs=2)  # all its epochs are done
    for name, array in model.state_dict().items():
        assert array.dtype == F32 and np.array_equal(array, want["model"][name])
    state = opt.state_dict()
    assert (state["steps"], state["updates"], opt.lr) == (6, [6, 6, 6, 6], 0.01)
    for slot, expected in zip(state["state"], want["slots"], strict=True):
        assert slot.keys() == {"m", "v"} and all(np.array_equal(slot[k], expected[k]) for k in slot)
    assert history.epoch == [1, 2] and history.history == want["values"]
    assert (stop.wait, stop.best_epoch) == (0, 2)
    where = rb.ops.random.stream
    assert (where.key, where.counter) == (9, 1234)
    history = golden_run(tmp_path / "c", resume=True, epochs=3)[3]
    assert history.epoch == [1, 2, 3] and np.isfinite(history.last("loss"))


# --- the command line


def command(*words):
    from rosenblatt.cli.main import main

    return main(["train", *map(str, words)])


def run_files(folder):
    return (folder / "weights.safetensors").read_bytes(), [
        {k: v for k, v in json.loads((folder / "history.json").read_text()).items() if k != "seconds"}
    ]


def test_train_resume_on_the_command_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    options = ["mlp", "--epochs", 4, "--quiet", "--seed", 3, "--validation", 0.2]
    assert command(*options, "--out", tmp_path / "whole", "--no-report") == 0
    assert not (tmp_path / "whole" / "checkpoints").exists()
    run = tmp_path / "run"
    real = rb.train.fit

    def crashing(model, x, y, *, callbacks, **more):
        callbacks.append(CrashAt(40))
        return real(model, x, y, callbacks=callbacks, **more)

    monkeypatch.setattr(rb.train, "fit", crashing)
    with pytest.raises(Crash):
        command(*options, "--out", run, "--no-report", "--checkpoint-every", 2, "--checkpoint-steps", 7)
    assert sorted(f.name for f in run.iterdir()) == ["checkpoints", "resume.json"]

    def going_on(model, x, y, *, callbacks, **more):
        callbacks.append(CrashAt(-1))
        return real(model, x, y, callbacks=callbacks, **more)

    monkeypatch.setattr(rb.train, "fit", going_on)
    assert command("--resume", run) == 0
    assert run_files(run) == run_files(tmp_path / "whole")
    monkeypatch.undo()
    capsys.readouterr()
    for words, message in (
        (["--resume", run, "--lr", 1], "--resume continues with the options of the run: --lr cannot be given"),
        (["lenet5", "--resume", run], "the run trains mlp, not lenet5"),
        (["--resume", tmp_path / "no"], "not a run folder (no resume.json)"),
        ([], "train: expected NAME or --resume RUN_FOLDER"),
        (["mlp", "--fallback"], "--fallback goes with --resume"),
    ):
        assert command(*words) == 2
        assert message in capsys.readouterr().err
    assert command(*options, "--out", run, "--overwrite", "--no-report") == 0  # a run without checkpoints
    assert sorted(f.name for f in run.iterdir()) == ["config.json", "history.json", "weights.safetensors"]
    (run / "resume.json").write_text('{"command": ["train", "mlp", "--epochs", "x"]}')
    assert command("--resume", run) == 2 and "resume.json: damaged: argument --epochs" in capsys.readouterr().err
