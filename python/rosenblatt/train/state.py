"""What a training run must remember to continue to the bit: the progress of `fit`, its checkpoints, and signals."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from .. import _core, ops
from .._options import whole
from ..io.checkpoint import Checkpoint, CheckpointError, list_checkpoints, load_checkpoint, save_checkpoint
from ..nn.losses import Loss
from ..ops.random import stream
from ..tensor import Array, Tensor
from .callbacks import Callback, Logs, Run
from .loader import Loader

__all__ = ["Progression", "Saver", "Signals", "Sums", "deferred_signals"]


@dataclass
class Sums:
    """Running sums of the epoch in progress: of losses times weights, weights, right answers, examples."""

    loss: float = 0.0
    weight: float = 0.0
    right: float = 0  # a whole number unless examples have several labels
    examples: int = 0
    counts: bool = False  # whether right answers are counted
    values: dict[str, float] = field(default_factory=dict)  # a step of the user's: values times examples

    def add(self, loss: Loss, value: Tensor, out: Tensor, batch: tuple[Array, ...]) -> None:
        size = len(batch[0])
        weight = float(size) if len(batch) < 3 else float(batch[2].sum(dtype="f8"))
        self.loss += value.item() * (weight if loss.reduction == "mean" else 1.0)
        self.weight += weight
        self.examples += size
        self.counts = loss.classifies and batch[1].dtype.kind == "i"
        if self.counts:
            hits = ops.argmax(out.data, batch[1].ndim) == batch[1]  # [N], or [N,H,W] of labels of pixels
            self.right += int(hits.sum()) if hits.ndim == 1 else float(hits.mean()) * size

    def logs(self) -> Logs:
        """{"loss"} of the epoch so far, the weighted mean over its examples, and "accuracy", which has no weights."""
        logs = {"loss": self.loss / self.weight if self.weight else 0.0}
        if self.counts:
            logs["accuracy"] = self.right / self.examples
        return logs


class Progression:
    """Where a run stands, apart from the weights: position, sums, best weights; saved and restored as one tree."""

    def __init__(self, run: Run, loader: Loader, callbacks: Sequence[Callback], keep_best: bool, first: int) -> None:
        self.run, self.loader, self.callbacks, self.keep_best = run, loader, callbacks, keep_best
        self.sums = Sums()
        self.resumed = False  # in the middle of an epoch, which has begun already
        self.best_value = float("inf")
        self.best_state: dict[str, Array] | None = None
        self.processes = 1
        run.epoch = first

    @property
    def steps(self) -> int:
        """Batches since the first epoch."""
        return self.run.epoch * self.run.batches + self.run.batch

    def note_best(self, logs: Logs) -> None:
        current = logs.get("val_loss", logs["loss"])
        if self.keep_best and current < self.best_value:
            self.best_value, self.best_state = current, self.run.model.state_dict()

    def next_epoch(self) -> None:
        self.run.epoch, self.run.batch = self.run.epoch + 1, 0
        self.sums = Sums()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, as a tree for `save_checkpoint`."""
        run = self.run
        return {
            "epoch": run.epoch, "batch": run.batch, "batches": run.batches, "finished": run.stop,
            "model": run.model.state_dict(),
            "optimizer": {"name": type(run.optimizer).__name__, "state": run.optimizer.state_dict()},
            "random": {"key": stream.key, "counter": stream.counter},
            "loader": self.loader.state_dict(),
            "callbacks": [{"name": type(c).__name__, "state": c.state_dict()} for c in self.callbacks],
            "history": {"epoch": list(run.history.epoch), "values": run.history.history},
            "sums": vars(self.sums),
            "best": {"value": self.best_value, "state": self.best_state},
            "isa": str(_core.config()["isa"]), "processes": self.processes,
        }

    def check(self, saved: Checkpoint) -> None:
        """Whether `saved` belongs to this run. Raises CheckpointError saying what differs; nothing is changed."""
        run, state = self.run, saved.state
        try:
            pairs = [
                ("optimizer", type(run.optimizer).__name__, state["optimizer"]["name"]),
                ("batches in an epoch", run.batches, state["batches"]),
                ("callbacks", [type(c).__name__ for c in self.callbacks], [c["name"] for c in state["callbacks"]]),
            ]
            pairs += [(k, v, state["loader"][k]) for k, v in self.loader.state_dict().items() if k != "position"]
            own = {k: (a.shape, str(a.dtype)) for k, a in run.model.state_dict().items()}
            theirs = {k: (a.shape, str(a.dtype)) for k, a in state["model"].items()}
            pairs += [(f"parameter {k}", own.get(k), theirs.get(k)) for k in sorted(own.keys() | theirs.keys())]
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(saved.path, f"not the state of a training run: {error!r}") from error
        for name, mine, stored in pairs:
            if mine != stored:
                raise CheckpointError(saved.path, f"belongs to another run: {name}: expected {mine}, it has {stored}")
        isa = str(_core.config()["isa"])
        if state["isa"] != isa:
            warnings.warn(
                f"fit: {saved.path} was written with {state['isa']} kernels, now {isa}: results round differently",
                RuntimeWarning, stacklevel=3,
            )
        processes = state.get("processes", 1)
        if processes != self.processes:
            warnings.warn(
                f"fit: {saved.path} was written by {processes} processes, now {self.processes}: "
                "results round differently", RuntimeWarning, stacklevel=3,
            )

    def restore(self, saved: Checkpoint, watchers: Sequence[Callback]) -> None:
        """Continue from `saved`, which `check` has accepted, after every `on_train_begin`.

        An epoch in progress is begun again for the callbacks first, so that their states come last. Raises
        CheckpointError, with the model as it was, when a part does not fit.
        """
        run, state, before = self.run, saved.state, self.run.model.state_dict()
        run.epoch, run.batch, run.stop = int(state["epoch"]), int(state["batch"]), bool(state["finished"])
        run.history.epoch[:] = state["history"]["epoch"]
        run.history.history.update(state["history"]["values"])
        self.resumed = run.batch > 0
        if self.resumed:
            for watcher in watchers:
                watcher.on_epoch_begin(run.epoch + 1)
        try:
            run.model.load_state_dict(state["model"])
            self.loader.load_state_dict(state["loader"])
            self.sums = Sums(**state["sums"])
            self.best_value, self.best_state = state["best"]["value"], state["best"]["state"]
            for c, entry in zip(self.callbacks, state["callbacks"], strict=True):
                c.load_state_dict(entry["state"])
            run.optimizer.load_state_dict(state["optimizer"]["state"])  # after schedules, which set the rate
            stream.seed(state["random"]["key"], state["random"]["counter"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            run.model.load_state_dict(before)
            raise CheckpointError(saved.path, f"cannot be resumed from: {type(error).__name__}: {error}") from error


class Saver:
    """When checkpoints are written, and where."""

    def __init__(self, folder: str | os.PathLike[str], every: int, steps: int | None, keep: int) -> None:
        self.folder = Path(folder)
        self.every = whole("fit", "checkpoint_every", every, 1)
        self.steps = None if steps is None else whole("fit", "checkpoint_steps", steps, 1)
        self.keep = whole("fit", "checkpoint_keep", keep, 1)

    def open(self, resume: bool, fallback: bool) -> Checkpoint | None:
        """The checkpoint to continue from. Raises CheckpointError for a damaged one, or one when not resuming."""
        there = list_checkpoints(self.folder)
        if there and not resume:
            raise CheckpointError(self.folder, "there are checkpoints of an earlier run here; resume=True continues it")
        return load_checkpoint(self.folder, fallback=fallback) if there else None

    def seed(self, saved: Checkpoint) -> int:
        """The seed of the run that `saved` belongs to. Raises CheckpointError."""
        try:
            return whole("fit", "seed", saved.state["loader"]["seed"], 0)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(saved.path, f"not the state of a training run: {error!r}") from error

    def due(self, steps: int) -> bool:
        return self.steps is not None and steps % self.steps == 0

    def save(self, state: Progression, score: float | None) -> None:
        save_checkpoint(self.folder, state.state_dict(), keep=self.keep, score=score, keep_best=True)


class Signals:
    """The signal that asked the run to end, if any."""

    def __init__(self) -> None:
        self.caught = 0

    def leave(self) -> None:
        """End the run when a signal asked for it: KeyboardInterrupt for SIGINT, exit status 143 for SIGTERM."""
        if self.caught == signal.SIGTERM:
            raise SystemExit(143)
        if self.caught:
            raise KeyboardInterrupt

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.caught:
            self.caught = number
            self.leave()
        self.caught = number


@contextlib.contextmanager
def deferred_signals(active: bool) -> Iterator[Signals]:
    """SIGINT and SIGTERM wait for the end of the step; the second one does not. Only in the main thread.

    A handler that somebody else has installed stays in place.
    """
    signals = Signals()
    previous: dict[int, Any] = {}
    if active and threading.current_thread() is threading.main_thread():
        usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        for number, default in usual.items():
            if signal.getsignal(number) == default:
                previous[number] = signal.signal(number, signals)
    try:
        yield signals
    finally:
        for installed, handler in previous.items():
            signal.signal(installed, handler)
    signals.leave()
