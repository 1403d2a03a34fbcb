"""What `fit` does differently in a job of several processes.

Every process has the whole data set and computes the loss of its rows of each batch, scaled by their share of the
batch's weight, so that the gradients of all processes add up to those of the joint batch. After the sum every process
makes the same update. Process 0 alone runs callbacks, prints and writes checkpoints; what callbacks change (the
optimiser's options, `run.stop`, at the end of an epoch the weights) it passes on.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import mark_written
from ..io.checkpoint import Checkpoint
from ..nn.losses import BCELoss, CategoricalCrossEntropyLoss, CrossEntropyLoss, DetectionLoss, Loss, RMSELoss
from ..nn.module import Module, _observers
from ..ops.random import stream
from ..optim.constraints import Constraint
from ..tensor import Array, Tensor
from ..train.callbacks import Callback, Logs
from ..train.captured import captured_step
from ..train.progress import Progress
from ..train.state import Progression, Saver, Signals, Sums
from .buckets import Bucket, Layout
from .comm import DistributedError, Group, PeerError
from .shard import ShardedLoader, shard

if TYPE_CHECKING:
    from ..optim import Optimizer

__all__ = ["DataParallel"]

Gradients = Callable[..., tuple[Tensor, Tensor]]  # (x, y, weights or None, share [], part []) -> (loss, output)
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: keys of neighbouring processes far apart
# Places in the report of a step that every process sends to every other.
_LOSS, _RIGHT, _EXAMPLES, _AGAIN, _SIGNAL, _COUNTER, _REPORT = range(7)


def _importance(loss: Loss, y: Array, weights: Array | None) -> Array | None:
    """What an example counts in a batch's mean, [N], or None for 1. Raises ValueError for a loss that does not add up.

    A loss adds up when the mean over a batch is the mean, by weight, of the means over its parts.
    """
    if loss.reduction == "mean" and isinstance(loss, (RMSELoss, DetectionLoss)):
        raise ValueError(
            f"fit: {type(loss).__name__} of a batch is not the mean over its parts, which several processes need; "
            "use MSELoss, or one process"
        )
    own = getattr(loss, "class_weight", None)
    if own is None or weights is not None or loss.reduction != "mean":
        return weights
    plain = isinstance(loss, (CrossEntropyLoss, CategoricalCrossEntropyLoss)) and not isinstance(loss, BCELoss)
    if not plain or y.ndim != 1 or y.dtype.kind != "i":
        raise ValueError(
            f"fit: class_weight of {type(loss).__name__} needs integer labels [N] in several processes, got y of "
            f"{y.dtype} and shape {y.shape}; fit(class_weight=...) and sample_weight work for every loss"
        )
    return np.asarray(own, np.float64)[y]


class DataParallel:
    """The part of one process in a data-parallel `fit`."""

    def __init__(self, group: Group, model: Module, optimizer: Optimizer, loss: Loss) -> None:
        if loss.reduction not in ("mean", "sum"):
            raise ValueError(f"fit: expected a loss that reduces to one number, got {loss.reduction!r}")
        self.group, self.model, self.optimizer, self.loss = group, model, optimizer, loss
        self.parameters: list[Tensor] = list(optimizer.parameters)
        self.loader: ShardedLoader
        self.importance: Array | None = None
        self.buckets: list[Bucket] = []
        self._wants: list[bool] = []
        self.overlap = True  # until a gradient turns out to come in late
        self.early = 0  # buckets sent during backward passes
        self._started = 0  # buckets of this step that are on their way
        self._waiting: list[int] = []  # of each parameter: calls whose gradient is not there yet; -1: not called
        self._total = (0.0, 0.0, 0, 0)
        self.signals: Signals | None = None
        self.agreed = Signals()
        self._checksum = 0

    # --- before the first step

    def open(self, saver: Saver | None, resume: bool, fallback: bool) -> Checkpoint | None:
        """The checkpoint to continue from, read by process 0 alone: no file system need be shared."""
        group = self.group
        saved: Checkpoint | None = None
        failed = True
        if not group.leads:
            failed, content = group.share(None, "reading the checkpoint")
            if failed:
                raise PeerError("process 0 cannot read the checkpoint")
            if content is None:
                return None
            saved = Checkpoint(Path(content[0]), content[1])
            nobody: list[Any] = []  # the callbacks are process 0's, and so are warnings about the checkpoint
            return dataclasses.replace(saved, state={**saved.state, "callbacks": nobody, "processes": group.size})
        try:
            saved = None if saver is None else saver.open(resume, fallback)
            failed = False
        finally:
            content = None if saved is None else (str(saved.path), saved.state)
            group.share((failed, content), "reading the checkpoint")
        return saved

    def make_loader(self, *args: Any, **options: Any) -> ShardedLoader:
        """The `Loader` of this process's rows."""
        self.loader = ShardedLoader(self.group.rank, self.group.size, *args, **options)
        return self.loader

    def begin(self, state: Progression) -> None:
        """Checks that all processes do the same, and gives them process 0's weights. Raises DistributedError."""
        loader = self.loader
        self.importance = _importance(self.loss, loader.y, loader.weights)
        state.processes = self.group.size
        shapes = [(n, p.shape, str(p.dtype)) for n, p in self.model.named_parameters()]
        facts: dict[str, Any] = {
            "parameters": shapes,
            "optimiser": self.optimizer.options(),
            "loss": repr(self.loss),
            "epochs and batches": (state.run.epochs, state.run.batches),
            "order of examples": loader.state_dict(),
            "inputs x": (loader.x.shape, str(loader.x.dtype), _checksum(loader.x)),
            "targets y": (loader.y.shape, str(loader.y.dtype), _checksum(loader.y)),
            "weights of examples": None if loader.weights is None else _checksum(loader.weights),
        }
        self.group.agree(facts, "fit")
        self._send_weights()

    def _send_weights(self) -> None:
        for p in self.model.parameters():
            self.group.broadcast(p.data, 0, "the weights of process 0")
        mark_written(self.model.parameters())
        self._checksum = self._weights()

    def _weights(self) -> int:
        """A checksum of all parameters."""
        value = 0
        for p in self.model.parameters():
            value = zlib.crc32(np.ascontiguousarray(p.data).reshape(-1).view(np.uint8).data, value)
        return value

    def watchers(self, callbacks: Sequence[Callback]) -> list[Callback]:
        """Process 0's callbacks and one that passes on what they change; in the others, one that takes it over."""
        return [*callbacks, _Leader(self, callbacks)] if self.group.leads else [_Follower(self)]

    def saver(self, saver: Saver | None) -> Saver:
        """Says in all processes when checkpoints are due; process 0 writes them."""
        return _SharedSaver(saver, self.group.leads)

    # --- the step

    def step(self, gradients: Gradients, capture: bool | None, watched: bool) -> Callable[..., tuple[Any, Any]]:
        """The training step (x, y[, weights]) -> (loss, output) of this process's rows, None without rows.

        capture : as in `fit`; None captures when there is one bucket, so that nothing could overlap
        watched : somebody looks at gradients: nothing is captured
        """
        self._plan()
        captures = not watched and (capture or (capture is None and len(self.buckets) == 1))
        if captures:
            gradients = captured_step(gradients, required=capture is True)
        optimizer = self.optimizer

        def update(there: tuple[bool, ...]) -> Any:
            """`there` says which gradients there are: for a captured update, another choice is another program."""
            optimizer.step()

        groups = optimizer.param_groups
        if captures and all(g["constraint"] is None or isinstance(g["constraint"], Constraint) for g in groups):
            update = captured_step(update, required=False)
        mean, dtype = self.loss.reduction == "mean", self.loader.x.dtype

        def step(xb: Array, yb: Array, wb: Array | None = None) -> tuple[Any, Any]:
            totals = self.loader.totals(self.loader.position - 1, self.importance)
            rows, weight, own_rows, own_weight = totals
            share = (own_weight / weight if weight else 0.0) if mean else 1.0
            value = out = None
            report = np.zeros(_REPORT, np.float64)
            if [p.requires_grad for p in self.parameters] != self._wants:
                self._plan()
            self._started = 0
            self.optimizer.zero_grad()
            key, counter = stream.key, stream.counter
            if own_rows:
                stream.seed((key + self.group.rank * _GOLDEN) % 2**64, counter)
                observed = self.overlap and not captures and len(self.buckets) > 1
                self._waiting = [-1] * len(self.parameters)
                if observed:
                    _observers.append(self._observe)
                try:
                    value, out = gradients(xb, yb, wb, np.array(share, dtype), np.array(own_rows / rows, dtype))
                finally:
                    if observed:
                        _observers.remove(self._observe)
                local = Sums()
                local.add(self.loss, value, out, (xb, yb))
                report[_LOSS] = value.item() * share
                report[_RIGHT], report[_EXAMPLES] = local.right, own_rows
            mine = [p.grad for p in self.parameters]
            report[_AGAIN] = self._send_rest(mine)
            report[_SIGNAL] = 0 if self.signals is None else self.signals.caught
            report.view(np.uint64)[_COUNTER] = stream.counter
            everything = np.empty((self.group.size, _REPORT), np.float64)
            request = self.group.start_gather(report, everything)
            self._receive()
            self.group.wait(request, "the report of a step")
            if everything[:, _AGAIN].any():
                self.overlap = False
                self._started = 0
                self._send_rest(mine)
                self._receive()
            stream.seed(key, int(everything.view(np.uint64)[:, _COUNTER].max()))
            update(tuple([p.grad is not None for p in self.parameters]))
            self.agreed.caught = max(self.agreed.caught, int(everything[:, _SIGNAL].max()))
            loss = 0.0
            for r in range(self.group.size):  # in order of rank
                loss += float(everything[r, _LOSS])
            counted = weight if wb is not None else float(rows)
            self._total = (loss * (counted if mean else 1.0), counted, int(everything[:, _RIGHT].sum()), rows)
            return value, out

        return step

    def _plan(self) -> None:
        """Buckets for the parameters that want gradients now."""
        self._wants = [p.requires_grad for p in self.parameters]
        wanted = [(i, p.shape, p.dtype) for i, p in enumerate(self.parameters) if p.requires_grad]
        layouts = Layout.plan(wanted, self.group.bucket_bytes, self.group.size)
        self.buckets = [Bucket(layout, self.group, i) for i, layout in enumerate(layouts)]
        self._numbers = {id(p): i for i, p in enumerate(self.parameters)}

    def _observe(self, module: Module, given: Any, _: Any) -> None:
        """After a layer's call: its parameters' gradients are complete when the pass reaches what it was given.

        The pass goes back in time, and everything the call computed is younger than its input. A parameter that is
        also used elsewhere, outside its layer's calls, is found out after the pass.
        """
        own = [self._numbers[id(p)] for p in module._parameters.values() if id(p) in self._numbers]
        if not own:
            return
        for i in own:
            self._waiting[i] = max(self._waiting[i], 0) + 1
        if isinstance(given, Tensor) and given.requires_grad and not given.is_leaf:
            given.register_hook(lambda _: self._arrived(own))

    def _arrived(self, own: list[int]) -> None:
        """In the backward pass: one call of these parameters' layer is done. Sends the buckets that are complete."""
        for i in own:
            self._waiting[i] -= 1
        gradients = [p.grad for p in self.parameters]
        while self._started < len(self.buckets) - 1:  # the last one is always sent after the pass
            bucket = self.buckets[self._started]
            if any(self._waiting[p.index] or gradients[p.index] is None for p in bucket.layout.pieces):
                break
            bucket.start(gradients)
            self._started += 1
            self.early += 1
        for bucket in self.buckets[: self._started]:
            if not bucket.advance():  # second exchanges begin in order
                break

    def _send_rest(self, gradients: Sequence[Tensor | None]) -> bool:
        """Sends what the pass has not; whether a gradient that had been sent has changed since."""
        late = not all(b.complete(gradients) for b in self.buckets[: self._started])
        for bucket in self.buckets[self._started :]:
            bucket.start(gradients)
        return late

    def _receive(self) -> None:
        """Waits for every bucket; `.grad` is then the sum over the processes."""
        for bucket in self.buckets:
            bucket.finish_first()
        sums = [pair for bucket in self.buckets for pair in bucket.finish()]
        for i, g in sums:
            self.parameters[i].grad = g

    def add(self, sums: Sums, loss: Loss, y: Array) -> None:
        """Adds the joint batch of the last step to the sums of the epoch."""
        value, weight, right, rows = self._total
        sums.loss += value
        sums.weight += weight
        sums.examples += rows
        sums.right += right
        sums.counts = loss.classifies and y.dtype.kind == "i"

    # --- around epochs

    def predict(self, model: Module, x: Any, batch_size: int = 256) -> Array:
        """`predict`, each process for some of the batches; the bits of one process."""
        from ..train.fit import predict

        pieces = -(-len(x) // batch_size)
        bounds = [min(shard(pieces, r, self.group.size)[0] * batch_size, len(x)) for r in range(self.group.size)]
        bounds.append(len(x))
        begin, end = bounds[self.group.rank], bounds[self.group.rank + 1]
        mine = predict(model, x[begin:end], batch_size) if end > begin else None
        shape, dtype = self.group.share(None if mine is None else (mine.shape[1:], mine.dtype), "validation")
        out = np.empty((len(x), *shape), dtype)
        if mine is not None:
            out[begin:end] = mine
        for r in range(self.group.size):
            if bounds[r + 1] > bounds[r]:
                self.group.broadcast(out[bounds[r] : bounds[r + 1]], r, "validation")
        return out

    def logs(self, logs: Logs) -> Logs:
        """Process 0's logs everywhere. Raises DistributedError when weights are no longer equal."""
        found = self.group.gather(np.array([self._weights()], np.int64), "comparing weights")[:, 0]
        wrong = next((r for r in range(self.group.size) if found[r] != found[0]), 0)
        if wrong:
            raise DistributedError(
                f"the weights of process {wrong} are no longer those of process 0: callbacks, which only process 0 "
                "runs, may change weights at the end of an epoch only"
            )
        self._checksum = int(found[0])
        shared: Logs = self.group.share(logs, "the values of an epoch")
        return shared

    def send_changed_weights(self) -> None:
        """Passes process 0's weights on when a callback has changed them."""
        changed = self.group.leads and self._weights() != self._checksum
        if self.group.share(changed, "changed weights"):
            self._send_weights()

    def watch(self, signals: Signals) -> Signals:
        """Signals as all processes know them; they are told of `signals` at the end of each step."""
        self.signals = signals
        return self.agreed

    def interrupted(self) -> None:
        """After KeyboardInterrupt: unless all agreed on it, a second signal here, which ends the job at once."""
        if not self.agreed.caught:
            self.group.abort("interrupted", 130)

    def finish(self) -> None:
        """After the last epoch: a signal that came too late for a step ends all processes alike."""
        if self.signals is not None:
            caught = self.group.gather(np.array([self.signals.caught], np.int64), "the end of training")
            self.signals.caught = self.agreed.caught = int(caught.max())


class _SharedSaver(Saver):
    """The same decisions in every process; only process 0 writes."""

    def __init__(self, saver: Saver | None, leads: bool) -> None:
        self.real, self.leads = saver, leads
        self.every = 1 if saver is None else saver.every
        self.steps = None if saver is None else saver.steps

    def save(self, state: Progression, score: float | None) -> None:
        if self.real is not None and self.leads:
            self.real.save(state, score)


_EVENTS = ("on_batch_begin", "on_batch_end")


class _Messenger(Callback):
    """Carries what callbacks may change in a run from process 0 to the others."""

    def __init__(self, parallel: DataParallel) -> None:
        self.parallel = parallel
        self.events: set[str] = set()  # after which batches' events there is a message

    def on_train_begin(self) -> None:
        self.events = set(self.parallel.group.share(sorted(self.events), "the start of training"))
        self._pass()

    def on_epoch_begin(self, epoch: int) -> None:
        self._pass()

    def on_batch_begin(self, batch: int) -> None:
        if "on_batch_begin" in self.events:
            self._pass()

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        if "on_batch_end" in self.events:
            self._pass()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._pass()
        self.parallel.send_changed_weights()

    def _pass(self) -> None:
        run = self.run
        keys = ("params", "constraint")
        groups = [{k: v for k, v in g.items() if k not in keys} for g in run.optimizer.param_groups]
        stop, options = self.parallel.group.share((run.stop, groups), "what callbacks have changed")
        if not self.parallel.group.leads:
            run.stop = stop
            for own, new in zip(run.optimizer.param_groups, options, strict=True):
                own.update(new)


class _Leader(_Messenger):
    """Process 0's last callback."""

    def __init__(self, parallel: DataParallel, callbacks: Sequence[Callback]) -> None:
        super().__init__(parallel)
        for c in callbacks:
            if type(c) is not Progress:  # it only looks
                self.events |= {e for e in _EVENTS if _overrides(c, e)}


def _overrides(callback: Callback, event: str) -> bool:
    """Whether it does anything at this event, by its class or by a function of its own (`LambdaCallback`)."""
    return getattr(getattr(callback, event), "__func__", None) is not getattr(Callback, event)


class _Follower(_Messenger):
    """The only callback of the other processes."""


def _checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
