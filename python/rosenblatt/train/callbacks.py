"""Events of a training run and the history it leaves. Event names are Keras's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..nn import Module
    from ..optim import Optimizer

Logs = dict[str, float]


class Run:
    """What callbacks see of a run: the model, the optimiser, sizes; set `stop = True` to end after this batch."""

    def __init__(self, model: Module, optimizer: Optimizer, epochs: int, batches: int, history: History) -> None:
        self.model = model
        self.optimizer = optimizer
        self.epochs = epochs
        self.batches = batches  # per epoch
        self.history = history
        self.stop = False


class Callback:
    """Override what you need. `self.run` is the `Run`, set before `on_train_begin`."""

    run: Run

    def on_train_begin(self) -> None: ...
    def on_epoch_begin(self, epoch: int) -> None: ...
    def on_batch_begin(self, batch: int) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs) -> None: ...
    def on_train_end(self) -> None: ...


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
    """Sets the learning rate before every batch to base * factor(progress), progress running from 0 to 1 over the run.

    `factor` is a function of progress; `LearningRateSchedule.cosine(warmup=0.1)` is half a cosine after a linear
    warm-up (Loshchilov & Hutter 2017).
    """

    def __init__(self, factor: Callable[[float], float]) -> None:
        self.factor = factor
        self._base = 0.0
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
        self._base = self.run.optimizer.lr

    def on_epoch_begin(self, epoch: int) -> None:
        self._epoch = epoch - 1

    def on_batch_begin(self, batch: int) -> None:
        total = self.run.epochs * self.run.batches
        self.run.optimizer.lr = self._base * self.factor((self._epoch * self.run.batches + batch) / total)

    def on_train_end(self) -> None:
        self.run.optimizer.lr = self._base
