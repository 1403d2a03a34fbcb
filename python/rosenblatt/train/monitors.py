"""Callbacks that stop a run, change its rate, or write it down. Names and rules are Keras's; epochs count from 1."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from .._options import whole
from ..io import save_weights
from ..tensor import Array
from .callbacks import Callback, Logs

__all__ = [
    "CSVLogger", "EarlyStopping", "LambdaCallback", "LearningRateScheduler", "ModelCheckpoint", "ReduceLROnPlateau",
    "StopWhen", "TerminateOnNaN",
]

Mode = Literal["auto", "min", "max"]


def _number(where: str, name: str, value: Any, low: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value < math.inf:
        raise ValueError(f"{where}: {name} must be a number" + (f" of at least {low}" if low > -math.inf else "")
                         + f", got {value!r}")
    return float(value)


class _Monitor:
    """The best value so far of one logged number. `mode` "auto" is "max" for accuracy and the like, else "min"."""

    def __init__(self, where: str, name: str, mode: Mode, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{where}: mode must be 'auto', 'min' or 'max', got {mode!r}")
        rising = name.removeprefix("val_").startswith(("acc", "auc", "f1", "fmeasure", "precision", "recall"))
        self.where, self.name = where, name
        self.sign = -1.0 if mode == "max" or (mode == "auto" and rising) else 1.0
        self.min_delta = _number(where, "min_delta", min_delta, 0.0)
        self.best = math.inf  # of sign * value

    def read(self, logs: Logs) -> float:
        """sign * value. Raises KeyError listing what was logged."""
        if self.name not in logs:
            raise KeyError(f"{self.where}: monitor {self.name!r} was not logged; there is {sorted(logs)}")
        return self.sign * logs[self.name]

    def improves(self, value: float, over: float) -> bool:
        return value < over - self.min_delta


class EarlyStopping(Callback):
    """Stops when `monitor` has not improved by more than `min_delta` for `patience` epochs (notes B:T9).

    baseline : a value that must be passed for the wait to start again; restore_best_weights : end with the weights of
    the best epoch; start_from_epoch : epochs at the beginning that are not looked at. The first epoch never stops.
    `stopped_epoch` is the last epoch when it stopped the run, else 0; `best_epoch` the one with the best value. Raises
    ValueError for options out of range, KeyError at the first epoch that does not log `monitor`.
    """

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0.0, patience: int = 0, mode: Mode = "auto",
        baseline: float | None = None, restore_best_weights: bool = False, start_from_epoch: int = 0,
    ) -> None:
        where = "EarlyStopping"
        self.patience = whole(where, "patience", patience, 0)
        self.baseline = None if baseline is None else _number(where, "baseline", baseline)
        self.restore_best_weights = bool(restore_best_weights)
        self.start_from_epoch = whole(where, "start_from_epoch", start_from_epoch, 0)
        self._monitor = _Monitor(where, monitor, mode, min_delta)
        self._reset()

    def _reset(self) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self._monitor.best = math.inf
        self._weights: dict[str, Array] | None = None

    def on_train_begin(self) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        monitor, value = self._monitor, self._monitor.read(logs)
        if epoch <= self.start_from_epoch:
            return
        if self.restore_best_weights and self._weights is None:
            self._weights, self.best_epoch = self.run.model.state_dict(), epoch
        self.wait += 1
        if monitor.improves(value, monitor.best):
            monitor.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._weights = self.run.model.state_dict()
            if self.baseline is None or monitor.improves(value, monitor.sign * self.baseline):
                self.wait = 0
        if self.wait >= self.patience and self.wait and epoch > 1:
            self.stopped_epoch, self.run.stop = epoch, True

    def on_train_end(self) -> None:
        if self._weights is not None:
            self.run.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        return {
            "wait": self.wait, "stopped_epoch": self.stopped_epoch, "best_epoch": self.best_epoch,
            "best": self._monitor.best, "weights": self._weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.wait, self.stopped_epoch = state["wait"], state["stopped_epoch"]
        self.best_epoch, self._monitor.best = state["best_epoch"], state["best"]
        self._weights = state["weights"]


class ModelCheckpoint(Callback):
    """Writes the weights, in PyTorch's layout, after every epoch (or every `save_freq` batches when it is a number).

    filepath : the file, with fields like "w-{epoch:02d}-{val_loss:.3f}.safetensors"; its folder must exist.
    save_best_only : only when `monitor` is better than ever before (and than `initial_value_threshold`). For the state
    of a whole run see `fit(checkpoint=...)`. Raises ValueError for options out of range, KeyError for a value that is
    not logged, OSError when the file cannot be written.
    """

    def __init__(
        self, filepath: str | os.PathLike[str], monitor: str = "val_loss", save_best_only: bool = False,
        mode: Mode = "auto", save_freq: Literal["epoch"] | int = "epoch", initial_value_threshold: float | None = None,
    ) -> None:
        where = "ModelCheckpoint"
        self.filepath = os.fspath(filepath)
        self.save_best_only = bool(save_best_only)
        self.save_freq = save_freq if save_freq == "epoch" else whole(where, "save_freq", save_freq, 1)
        self._monitor = _Monitor(where, monitor, mode)
        if initial_value_threshold is not None:
            threshold = _number(where, "initial_value_threshold", initial_value_threshold)
            self._monitor.best = self._monitor.sign * threshold
        self._epoch, self._batches = 0, 0

    def on_epoch_begin(self, epoch: int) -> None:
        self._epoch = epoch

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        self._batches += 1
        if self.save_freq != "epoch" and self._batches % self.save_freq == 0:
            self._save(logs, batch)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.save_freq == "epoch":
            self._save(logs, self.run.batches - 1)

    def _save(self, logs: Logs, batch: int) -> None:
        if self.save_best_only:
            value = self._monitor.read(logs)
            if not self._monitor.improves(value, self._monitor.best):
                return
            self._monitor.best = value
        try:
            path = self.filepath.format(**{**logs, "epoch": self._epoch, "batch": batch})
        except KeyError as error:
            raise KeyError(
                f"ModelCheckpoint: {self.filepath!r}: {error} was not logged; there is {sorted(logs)}"
            ) from error
        save_weights(self.run.model, path, {"epoch": str(self._epoch)})

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._monitor.best, "batches": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._monitor.best, self._batches = state["best"], state["batches"]


class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate of every parameter group by `factor` when `monitor` has not improved for `patience`
    epochs.

    min_delta : what counts as an improvement; cooldown : epochs after a cut in which nothing is counted; min_lr : no
    rate falls below it. Raises ValueError for options out of range, KeyError when `monitor` is not logged.
    """

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, mode: Mode = "auto",
        min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0,
    ) -> None:
        where = "ReduceLROnPlateau"
        self.factor = _number(where, "factor", factor, 0.0)
        if not self.factor < 1.0:
            raise ValueError(f"{where}: factor must be below 1, got {factor!r}")
        self.patience = whole(where, "patience", patience, 0)
        self.cooldown = whole(where, "cooldown", cooldown, 0)
        self.min_lr = _number(where, "min_lr", min_lr, 0.0)
        self._monitor = _Monitor(where, monitor, mode, min_delta)
        self._wait = self._rest = 0

    def on_train_begin(self) -> None:
        self._wait = self._rest = 0
        self._monitor.best = math.inf

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self._monitor.read(logs)
        if self._rest:
            self._rest -= 1
            self._wait = 0
        if self._monitor.improves(value, self._monitor.best):
            self._monitor.best, self._wait = value, 0
        elif not self._rest:
            self._wait += 1
            groups = [g for g in self.run.optimizer.param_groups if g["lr"] > self.min_lr]
            if self._wait >= self.patience and groups:
                for group in groups:
                    group["lr"] = max(group["lr"] * self.factor, self.min_lr)
                    group.pop("initial_lr", None)  # what schedules started from
                self._wait, self._rest = 0, self.cooldown

    def state_dict(self) -> dict[str, Any]:
        return {"wait": self._wait, "rest": self._rest, "best": self._monitor.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._wait, self._rest, self._monitor.best = state["wait"], state["rest"], state["best"]


class LearningRateScheduler(Callback):
    """Sets the learning rate of every epoch to `schedule(epoch, rate so far)`; epochs count from 1.

    Raises ValueError when the schedule returns anything but a number of at least 0.
    """

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int) -> None:
        lr = self.schedule(epoch, self.run.optimizer.lr)
        self.run.optimizer.lr = _number("LearningRateScheduler", f"schedule({epoch})", lr, 0.0)


class CSVLogger(Callback):
    """Writes one line per epoch to a CSV file: epoch and every logged value, in the order of the first epoch.

    append : keep what the file holds and go on after it. A resumed run removes the lines written after its checkpoint
    and goes on from there. Numbers are written in full. Raises ValueError when an epoch logs a new value, OSError when
    the file cannot be written.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.path, self.separator, self.append = Path(filename), separator, bool(append)
        self._file: TextIO | None = None
        self._keys: list[str] = []
        self._size: int | None = None  # of the file when the checkpoint was written

    def on_train_begin(self) -> None:
        self._keys, self._size = [], None

    def _open(self, logs: Logs) -> TextIO:
        if self._size:
            os.truncate(self.path, self._size)
        kept = self._written() if self._size is None else self._size
        file = open(self.path, "a" if kept else "w", newline="", encoding="utf-8")  # noqa: SIM115 (see on_train_end)
        if kept and not self._keys:
            with open(self.path, newline="", encoding="utf-8") as old:
                self._keys = next(csv.reader(old, delimiter=self.separator))[1:]
        elif not kept:
            self._keys = list(logs)
            csv.writer(file, delimiter=self.separator).writerow(["epoch", *self._keys])
        return file

    def _written(self) -> int:
        """Bytes of the file that a new run keeps."""
        return self.path.stat().st_size if self.append and self.path.exists() else 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self._file is None:
            self._file = self._open(logs)
        if unknown := sorted(logs.keys() - set(self._keys)):
            raise ValueError(f"CSVLogger: {self.path} has columns {self._keys}, epoch {epoch} also logs {unknown}")
        row = [repr(float(logs[k])) if k in logs else "" for k in self._keys]
        csv.writer(self._file, delimiter=self.separator).writerow([epoch, *row])
        self._file.flush()

    def on_train_end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def state_dict(self) -> dict[str, Any]:
        if self._file is None:
            return {"size": self._written() if self._size is None else self._size, "keys": self._keys}
        os.fsync(self._file.fileno())
        return {"size": self.path.stat().st_size, "keys": self._keys}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._size, self._keys = state["size"], list(state["keys"])


class TerminateOnNaN(Callback):
    """Stops the run after a batch whose running loss is NaN or infinite; `fit(check_finite=True)` says where from."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        if not math.isfinite(logs["loss"]):
            self.run.stop = True


class LambdaCallback(Callback):
    """Calls the functions given by event name, with the arguments of the event: `on_epoch_end=lambda epoch, logs: ...`.

    Raises TypeError for a name that is no event or a value that cannot be called.
    """

    _EVENTS = ("on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_train_end")

    def __init__(self, **events: Callable[..., Any]) -> None:
        for name, function in events.items():
            if name not in self._EVENTS:
                raise TypeError(f"LambdaCallback: expected events of {list(self._EVENTS)}, got {name!r}")
            if not callable(function):
                raise TypeError(f"LambdaCallback: {name}: expected a function, got {type(function).__name__}")
            setattr(self, name, function)


class StopWhen(Callback):
    """The stop rules of iterative training; the first that holds ends the run, and `reason` says which.

    Parameters
    ----------
    max_iterations : after so many batches in all
    error_below : after an epoch with `monitor` below this
    weight_change : after an epoch in which no weight changed by more than this, max |w - w_before|
    no_weight_changed : after an epoch in which no weight changed at all (the perceptron's rule, notes A:M4)
    gradient_change : after an epoch whose last gradient differs from that of the epoch before by no more than this, in
        the Euclidean norm over all parameters; meant for full batches

    Raises ValueError when no rule is given or a limit is out of range, KeyError when `monitor` is not logged.
    """

    def __init__(
        self, max_iterations: int | None = None, error_below: float | None = None, weight_change: float | None = None,
        no_weight_changed: bool = False, gradient_change: float | None = None, monitor: str = "loss",
    ) -> None:
        where = "StopWhen"

        def limit(name: str, value: float | None, low: float) -> float | None:
            return None if value is None else _number(where, name, value, low)

        self.max_iterations = None if max_iterations is None else whole(where, "max_iterations", max_iterations, 1)
        self.error_below = limit("error_below", error_below, -math.inf)
        self.weight_change = limit("weight_change", weight_change, 0.0)
        self.gradient_change = limit("gradient_change", gradient_change, 0.0)
        self.no_weight_changed = bool(no_weight_changed)
        self.monitor = monitor
        self.reads_gradients = gradient_change is not None
        limits = (max_iterations, error_below, weight_change, gradient_change)
        if all(v is None for v in limits) and not no_weight_changed:
            raise ValueError(f"{where}: expected at least one rule, got none")
        self._reset()

    def _reset(self) -> None:
        self.reason = ""
        self._iterations = 0
        self._weights: dict[str, Array] | None = None
        self._gradient: dict[str, Array] | None = None
        self._gradient_step = math.inf

    def on_train_begin(self) -> None:
        self._reset()

    def _stop(self, reason: str) -> None:
        self.run.stop = True
        self.reason = self.reason or reason

    def on_epoch_begin(self, epoch: int) -> None:
        if self.weight_change is not None or self.no_weight_changed:
            self._weights = self.run.model.state_dict()

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        self._iterations += 1
        if self.max_iterations is not None and self._iterations >= self.max_iterations:
            self._stop(f"{self._iterations} iterations")
        if self.gradient_change is not None and batch == self.run.batches - 1:
            named = self.run.model.named_parameters()
            gradient = {k: p.grad.data.copy() for k, p in named if p.grad is not None}
            if self._gradient is not None and self._gradient.keys() == gradient.keys():
                squares = (np.square(g - self._gradient[k], dtype="f8").sum() for k, g in gradient.items())
                self._gradient_step = math.sqrt(sum(squares))
            self._gradient = gradient

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.error_below is not None:
            if self.monitor not in logs:
                raise KeyError(f"StopWhen: monitor {self.monitor!r} was not logged; there is {sorted(logs)}")
            if logs[self.monitor] < self.error_below:
                self._stop(f"{self.monitor} {logs[self.monitor]:g} is below {self.error_below:g}")
        if self.gradient_change is not None and self._gradient_step <= self.gradient_change:
            self._stop(f"the gradient changed by {self._gradient_step:g}")
        if self._weights is not None:
            now = self.run.model.state_dict()
            change = max((float(np.abs(now[k] - w).max(initial=0.0)) for k, w in self._weights.items()), default=0.0)
            if self.no_weight_changed and change == 0.0:
                self._stop("no weight changed")
            if self.weight_change is not None and change <= self.weight_change:
                self._stop(f"no weight changed by more than {change:g}")

    def state_dict(self) -> dict[str, Any]:
        return {
            "reason": self.reason, "iterations": self._iterations, "weights": self._weights,
            "gradient": self._gradient, "gradient_step": self._gradient_step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reason, self._iterations, self._weights = state["reason"], state["iterations"], state["weights"]
        self._gradient, self._gradient_step = state["gradient"], state["gradient_step"]
