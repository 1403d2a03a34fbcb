"""Events of a training run and the history it leaves. Event names are Keras's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..nn import Module
    from ..optim import Optimizer, ReduceLROnPlateau, Schedule

Logs = dict[str, float]


class Run:
    """What callbacks see of a run: the model, the optimiser, sizes; set `stop = True` to end after this batch.

    `epoch` counts the epochs done, `batch` the batches done in the epoch in progress.
    """

    def __init__(self, model: Module, optimizer: Optimizer, epochs: int, batches: int, history: History) -> None:
        self.model = model
        self.optimizer = optimizer
        self.epochs = epochs
        self.batches = batches  # per epoch
        self.history = history
        self.stop = False
        self.epoch = 0
        self.batch = 0


class Callback:
    """Override what you need. `self.run` is the `Run`, set before `on_train_begin`.

    What a callback must remember for a run to be resumed exactly, it returns from `state_dict` (a tree of dicts with
    text keys, lists, arrays, numbers and text) and takes back in `load_state_dict`, after `on_train_begin`.
    """

    run: Run
    reads_gradients = False  # whether `on_batch_end` looks at `.grad` of the parameters

    def on_train_begin(self) -> None: ...
    def on_epoch_begin(self, epoch: int) -> None: ...
    def on_batch_begin(self, batch: int) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs) -> None: ...
    def on_train_end(self) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback; nothing by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned. Raises KeyError or ValueError for a state of another kind."""
        if state:
            raise ValueError(f"{type(self).__name__}: expected no state, got {sorted(state)}")


def end_training(callbacks: Sequence[Callback]) -> None:
    """Calls every `on_train_end`, in order, also after one that raises; of several errors the last one has the others
    as its context."""
    for i, c in enumerate(callbacks):
        try:
            c.on_train_end()
        except BaseException:
            end_training(callbacks[i + 1 :])
            raise


@dataclass
class History:
    """`history["loss"][i]` is the loss of epoch number `epoch[i]` (from 1), and so on for every logged value."""

    epoch: list[int] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)
    interrupted: bool = False

    def append(self, epoch: int, logs: Logs) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))

    def last(self, name: str) -> float:
        """The latest value of `name`. Raises KeyError listing what was logged."""
        values = self.history.get(name)
        if not values:
            raise KeyError(f"History: nothing logged as {name!r}; there is {sorted(self.history)}")
        return values[-1]

    def to_json(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "history": self.history, "interrupted": self.interrupted}


class LearningRateSchedule(Callback):
    """Drives the learning rate of a run.

    schedule : a schedule of `rosenblatt.optim` made on the run's optimiser, stepped after every epoch or batch as its
        `per` says (`ReduceLROnPlateau` gets the value logged as `monitor`); or a function of progress, from 0 to 1 over
        the run: every group's rate is its first one times that, and is put back at the end.
    monitor : default "val_loss" where it is logged, else "loss"

    `LearningRateSchedule.cosine(warmup=0.1)` is half a cosine after a linear warm-up (Loshchilov & Hutter 2017).
    Raises ValueError for a schedule of another optimiser, KeyError for a monitor that is not logged.
    """

    def __init__(
        self, schedule: Schedule | ReduceLROnPlateau | Callable[[float], float], monitor: str | None = None
    ) -> None:
        if not callable(schedule) and not hasattr(schedule, "optimizer"):
            raise TypeError(f"LearningRateSchedule: expected a schedule or a function of progress, got {schedule!r}")
        self.schedule = schedule
        self.monitor = monitor
        self._bases: list[float] = []
        self._epoch = 0

    @classmethod
    def cosine(cls, warmup: float = 0.0) -> LearningRateSchedule:
        import math

        if not 0.0 <= warmup < 1.0:
            raise ValueError(f"cosine: warmup must be in [0, 1), got {warmup!r}")

        def factor(t: float) -> float:
            if t < warmup:
                return (t + 1e-3) / (warmup + 1e-3)
            return 0.5 * (1.0 + math.cos(math.pi * (t - warmup) / (1.0 - warmup)))

        return cls(factor)

    def on_train_begin(self) -> None:
        self._bases = [g["lr"] for g in self.run.optimizer.param_groups]
        self._epoch = 0
        if not callable(self.schedule) and self.schedule.optimizer is not self.run.optimizer:
            raise ValueError(
                f"LearningRateSchedule: {type(self.schedule).__name__} belongs to another optimiser than this run's"
            )

    def on_epoch_begin(self, epoch: int) -> None:
        self._epoch = epoch - 1

    def on_batch_begin(self, batch: int) -> None:
        if callable(self.schedule):
            total = self.run.epochs * self.run.batches
            factor = self.schedule((self._epoch * self.run.batches + batch) / total)
            for group, base in zip(self.run.optimizer.param_groups, self._bases, strict=True):
                group["lr"] = base * factor

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        self._step("batch", logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._step("epoch", logs)

    def _step(self, unit: str, logs: Logs) -> None:
        from ..optim import ReduceLROnPlateau

        schedule = self.schedule
        if callable(schedule) or schedule.per != unit:
            return
        if not isinstance(schedule, ReduceLROnPlateau):
            schedule.step()
            return
        name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if name not in logs:
            raise KeyError(f"LearningRateSchedule: nothing logged as {name!r}; there is {sorted(logs)}")
        schedule.step(logs[name])

    def on_train_end(self) -> None:
        if callable(self.schedule):
            for group, base in zip(self.run.optimizer.param_groups, self._bases, strict=True):
                group["lr"] = base

    def state_dict(self) -> dict[str, Any]:
        schedule = {} if callable(self.schedule) else self.schedule.state_dict()
        return {"bases": list(self._bases), "epoch": self._epoch, "schedule": schedule}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["bases"]) != len(self._bases):
            raise ValueError(
                f"LearningRateSchedule: expected state for {len(self._bases)} parameter groups, "
                f"got {len(state['bases'])}"
            )
        self._bases, self._epoch = [float(b) for b in state["bases"]], int(state["epoch"])
        if not callable(self.schedule):
            self.schedule.load_state_dict(state["schedule"])
