"""The progress display: one line that rewrites itself on a terminal, one line per epoch elsewhere.

It draws at most ten times a second and only reads numbers that `fit` has anyway, so it costs nothing measurable.
"""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from .callbacks import Callback, Logs

__all__ = ["Progress"]

_INTERVAL = 0.1  # seconds between two drawings


def _values(logs: Logs) -> str:
    shown = [(k, v) for k, v in logs.items() if k not in ("seconds", "lr")]
    return "  ".join(f"{k} {v:.4f}" for k, v in shown)


class Progress(Callback):
    """Shows epoch, batch, rate, loss and accuracy on `stream` (default standard error).

    With `rich` installed and a terminal it is a coloured bar; on a plain terminal a rewritten line; otherwise one line
    per epoch, at most one a second so that long logs stay short (the last epoch is always shown).
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._rich: Any = None
        self._task: Any = None
        self._epoch = 0
        self._next = 0.0

    def on_train_begin(self) -> None:
        self._next = 0.0
        if self._terminal:
            try:
                from rich.console import Console
                from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
                from rich.progress import Progress as Bar
            except ImportError:
                return
            self._rich = Bar(
                TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(), TextColumn("{task.fields[values]}"), console=Console(file=self._stream),
                auto_refresh=False,
            )
            self._task = self._rich.add_task("", total=self.run.epochs * self.run.batches, epoch="", values="")
            self._rich.start()

    def on_epoch_begin(self, epoch: int) -> None:
        self._epoch = epoch

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        if not self._terminal:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL
        self._draw(batch + 1, _values(logs))

    def _draw(self, batch: int, values: str) -> None:
        count = f"{self._epoch}/{self.run.epochs}"
        if self._rich is not None:
            done = (self._epoch - 1) * self.run.batches + batch
            self._rich.update(self._task, completed=done, epoch=count, values=values)
            self._rich.refresh()
        else:
            self._stream.write(f"\r\033[Kepoch {count}  batch {batch}/{self.run.batches}  {values}")
            self._stream.flush()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self._terminal:
            self._draw(self.run.batches, _values(logs))
            return
        now = time.monotonic()
        if now >= self._next or epoch == self.run.epochs:
            self._next = now + 1.0
            seconds = logs.get("seconds", 0.0)
            self._stream.write(f"epoch {epoch}/{self.run.epochs}  {_values(logs)}  {seconds:.2f} s\n")
            self._stream.flush()

    def on_train_end(self) -> None:
        if self._rich is not None:
            self._rich.refresh()
            self._rich.stop()
            self._rich = None
        elif self._terminal:
            self._stream.write("\n")
            self._stream.flush()
