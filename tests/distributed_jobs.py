"""What the processes of test_distributed.py run: mpiexec -n K python distributed_jobs.py JOB [ARGUMENT ...]

Each job asserts on its own; an assertion that fails in any process ends the job with its traceback and a status.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import rosenblatt as rb
from rosenblatt import distributed, nn, ops
from rosenblatt.distributed import comm
from rosenblatt.distributed.buckets import Bucket, Layout
from rosenblatt.distributed.data_parallel import DataParallel

warnings.simplefilter("error")
GROUP = distributed.init()


def alone(function):
    """The result of a fit in one process, computed in every process."""
    comm._current = None
    try:
        return function()
    finally:
        comm._current = GROUP


def digest(model):
    return hashlib.sha256(b"".join(p.data.tobytes() for p in model.parameters())).hexdigest()


def everywhere(text):
    """Asserts that all processes have the same text."""
    found = GROUP.texts(text, "a test")
    assert len(set(found)) == 1, found
    return text


def data(n, dtype=np.float64, classes=3, features=5):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((n, features)).astype(dtype)
    return x, rng.integers(0, classes, n), rng.uniform(0.1, 3.0, n)


def mlp(dtype=np.float64, *extra):
    rb.manual_seed(3)
    layers = [nn.Linear(5, 16, activation="tanh"), *extra, nn.Linear(16, 9, activation="tanh"), nn.Linear(9, 3)]
    return nn.Sequential(*layers).astype(dtype)


class Tied(nn.Module):
    """Uses its second layer's weight again, before that layer is called: its gradient comes in two parts."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 16), nn.Linear(16, 16, activation="tanh"), nn.Linear(16, 3)

    def forward(self, x):
        h = self.first(x)
        h = ops.tanh(ops.matmul(h, self.second.weight))
        return self.last(self.second(h))


def sums():
    """Bucket sums have the bits of a sum in order of rank, for every dtype, and absent gradients count as zero."""
    rank, size = GROUP.rank, GROUP.size
    shapes = [((3, 5), np.float32), ((7,), np.float32), ((4, 4), np.float64), ((1,), np.float64), ((1000,), np.float32)]
    layouts = Layout.plan([(i, *s) for i, s in enumerate(shapes)], 256, size)
    assert len(layouts) >= 3
    grads = [
        [(np.random.default_rng([r, i]).standard_normal(s) * 10.0**r).astype(t) for i, (s, t) in enumerate(shapes)]
        for r in range(size)
    ]
    buckets = [Bucket(layout, GROUP, i) for i, layout in enumerate(layouts)]
    for turn in range(2):  # buffers are used again
        mine = [rb.Tensor(g) for g in grads[rank]]
        if rank == 1:
            mine[1] = None
        mine[3] = None
        for b in buckets:
            b.start(mine)
        for b in buckets:
            b.finish_first()
        found = dict(pair for b in buckets for pair in b.finish())
        assert sorted(found) == list(range(len(shapes))) and found[3] is None, turn
        for i in (0, 1, 2, 4):
            expected = np.zeros(shapes[i][0], shapes[i][1])
            for r in range(size):
                expected = expected + (grads[r][i] if (i, r) != (1, 1) else 0)
            assert found[i].data.tobytes() == expected.astype(shapes[i][1]).tobytes(), (turn, i)


def equal(*names):
    """The weights after some epochs are those of one process on the joint batches; all processes agree to the bit."""
    x, y, w = data(23)  # batches of 8, 8, 7 rows
    small = 64  # bytes in a bucket: one for each parameter
    cases = {
        "plain": ({}, {}),
        "weighted": ({"class_weight": {0: 2.0, 2: 0.25}, "sample_weight": w}, {}),
        "class weights of the loss": ({"loss": nn.CrossEntropyLoss(class_weight=[0.5, 2.0, 1.0])}, {}),
        "smoothed": ({"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, {}),
        "sum": ({"loss": nn.CrossEntropyLoss("sum")}, {"lr": 0.01}),
        "penalties": ({"penalty": nn.L2(0.05) + nn.ActivityPenalty()}, {"extra": (nn.ActivityL1(0.3),)}),
        "clipped": ({}, {"global_clipnorm": 0.05}),
        "one row": ({"batch_size": 22}, {}),  # batches of 22 and 1: all processes but one have none
        "validated": ({"validation_split": 0.3, "keep_best": True}, {}),
    }
    for name in names or cases:
        options, more = cases[name][0], dict(cases[name][1])
        extra = more.pop("extra", ())

        def run(capture, options=options, more=more, extra=extra):
            model = mlp(np.float64, *extra)
            optimizer = rb.optim.SGD(model.parameters(), **{"lr": 0.2, "momentum": 0.5, **more})
            settings = {"epochs": 5, "batch_size": 8, "seed": 1, "progress": False, "capture": capture, **options}
            return model, model.fit(x, y, optimizer=optimizer, **settings)

        reference, expected = alone(lambda run=run: run(False))
        found = set()
        for capture, bucket in ((False, small), (False, 1 << 20), (True, small), (None, 1 << 20)):
            GROUP.bucket_bytes = bucket
            model, history = run(capture)
            for (key, p), q in zip(model.named_parameters(), reference.parameters(), strict=True):
                np.testing.assert_allclose(p.data, q.data, rtol=1e-11, atol=1e-13, err_msg=f"{name}: {key}")
            for key, values in expected.history.items():
                if key != "seconds":
                    np.testing.assert_allclose(history.history[key], values, rtol=1e-11, err_msg=f"{name}: {key}")
            everywhere(json.dumps(history.to_json()))
            found.add(everywhere(digest(model)))
        assert len(found) == 1, f"{name}: capture or buckets change the bits"


def overlapped():
    """Buckets leave during the backward pass; a gradient that came in late is sent again, and nothing else changes."""
    x, y, _ = data(24)
    made = []
    original = DataParallel.__init__

    def noted(self, *args):
        original(self, *args)
        made.append(self)

    DataParallel.__init__ = noted
    for build, overlaps in ((mlp, True), (lambda: Tied().astype(np.float64), False)):
        results = []
        for bucket in (64, 1 << 20):
            GROUP.bucket_bytes = bucket
            rb.manual_seed(3)
            model = build()
            model.fit(x, y, epochs=3, batch_size=8, seed=1, progress=False, capture=False)
            results.append(digest(model))
            parallel = made[-1]
            if bucket == 64:
                assert parallel.overlap is overlaps and parallel.early > 0, (parallel.overlap, parallel.early)
                if overlaps:  # of the six gradients the first layer's two wait for the end of the pass
                    assert parallel.early == 9 * 4, parallel.early
            else:
                assert parallel.early == 0
        assert results[0] == results[1]
        rb.manual_seed(3)
        reference = build()
        alone(lambda m=reference: m.fit(x, y, epochs=3, batch_size=8, seed=1, progress=False, capture=False))
        for p, q in zip(model.parameters(), reference.parameters(), strict=True):
            np.testing.assert_allclose(p.data, q.data, rtol=1e-9, atol=1e-12)


class Stop(rb.train.Callback):
    def on_batch_begin(self, batch):
        self.run.optimizer.lr = 0.1 / (1 + self.run.epoch)

    def on_epoch_end(self, epoch, logs):
        if epoch == 3:
            self.run.stop = True
            for p in self.run.model.parameters():
                p.data *= 0.5


def agreed():
    """Callbacks run in process 0 alone, and what they change reaches the others; dropout differs between processes."""
    x, y, _ = data(23, np.float32)  # the last batch has one row more in process 0, whose dropout draws more
    rb.manual_seed(GROUP.rank)  # process 0's weights count
    model = nn.Sequential(nn.Linear(5, 16, activation="tanh"), nn.Dropout(0.5), nn.Linear(16, 3))
    optimizer = rb.optim.Adam(model.parameters())
    calls, masks = [], []
    model[1].register_forward_hook(lambda module, args, out: masks.append((out.data == 0).tobytes()))
    watch = rb.train.LambdaCallback(on_batch_end=lambda batch, logs: calls.append(batch))
    history = model.fit(
        x, y, optimizer=optimizer, epochs=9, batch_size=8, seed=1, progress=False, callbacks=[Stop(), watch]
    )
    assert history.epoch == [1, 2, 3] and len(calls) == (9 if GROUP.leads else 0)
    assert optimizer.lr == 0.1 / 3
    everywhere(digest(model))
    everywhere(f"{ops.random.stream.key} {ops.random.stream.counter}")
    last = rb.train.LambdaCallback(on_batch_end=lambda batch, logs: setattr(last.run, "stop", batch == 1))
    calls.clear()
    model.fit(x, y, epochs=9, batch_size=8, seed=1, progress=False, callbacks=[last, watch])
    assert calls == ([0, 1] if GROUP.leads else [])
    everywhere(digest(model))
    hidden = GROUP.texts(hashlib.sha256(masks[0]).hexdigest(), "a test")
    assert len(set(hidden)) == GROUP.size
    try:
        model.fit(x + GROUP.rank, y, epochs=1, progress=False, seed=1)
    except comm.DistributedError as error:
        assert "inputs x: process 0 has" in str(error)
    else:
        raise AssertionError("different data were accepted")
    for loss in (nn.RMSELoss(), nn.BCEWithLogitsLoss(class_weight=[1.0, 2.0])):
        try:
            model.fit(x, np.zeros((23, 3), np.float32), loss=loss, epochs=1, progress=False, seed=1)
        except ValueError as error:
            assert type(loss).__name__ in str(error)
        else:
            raise AssertionError("a loss that does not add up was accepted")
    if GROUP.size == 2 and "RB_THREADS" not in os.environ:
        everywhere(str(rb.get_num_threads()))


def train(folder, epochs, trouble="", at="0"):
    """A run with checkpoints after every second batch; `trouble` happens in process 1 when batch `at` is prepared."""
    x, y, _ = data(20, np.float32)
    count = [0]

    def augment(batch, rng):
        count[0] += 1
        if GROUP.rank == 1 and count[0] == int(at):
            if trouble == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif trouble == "raise":
                raise ValueError("this batch cannot be read")
            elif trouble == "hang":
                time.sleep(60)
            elif trouble:
                os.kill(os.getpid(), signal.SIGTERM if trouble == "terminate" else signal.SIGINT)
        return batch + rng.standard_normal(batch.shape).astype(batch.dtype)

    rb.manual_seed(5)
    model = nn.Sequential(nn.Linear(5, 16, activation="relu"), nn.Dropout(0.25), nn.Linear(16, 3))
    history = model.fit(
        x,
        y,
        epochs=int(epochs),
        batch_size=8,
        seed=2,
        progress=False,
        augment=augment,
        workers=0,
        checkpoint=folder,
        checkpoint_steps=2,
        resume=bool(list(Path(folder).glob("checkpoint-*"))),
        callbacks=[rb.train.LearningRateSchedule.cosine()],
    )
    everywhere(f"{history.epoch} {history.interrupted} {history.history['loss'] if history.epoch else ''}")
    everywhere(digest(model))
    if GROUP.leads:
        print(
            json.dumps(
                {
                    "digest": digest(model),
                    "epochs": history.epoch,
                    "interrupted": history.interrupted,
                    "loss": history.history.get("loss"),
                }
            )
        )


if __name__ == "__main__":
    {f.__name__: f for f in (sums, equal, overlapped, agreed, train)}[sys.argv[1]](*sys.argv[2:])
