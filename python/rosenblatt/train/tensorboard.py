"""TensorBoard event files of a run, written by tensorboardX (extra `tensorboard`), without TensorFlow or PyTorch."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from .._options import whole
from ..io.extras import require
from .callbacks import Callback, Logs
from .histograms import HistogramRecord, Histograms

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Writes everything that a run logs, and histograms, as event files: `tensorboard --logdir FOLDER` shows them.

    Parameters
    ----------
    log_dir : folder of this run; it is made when there is none
    histograms : a `Histograms`, observed and written with the run; give it here, not to `fit` as well
    steps : also write the running loss (and accuracy) after every so many batches, into the folder `log_dir`/batch,
        which TensorBoard shows as a run of its own: its steps are batches, not epochs

    Scalars have the names of the logs, at step = epoch: loss, accuracy, val_loss, lr, seconds, ...; values that are not
    finite are left out. Histograms are called kind/name, the root mean squares of their arrays "rms_kind/name". A
    resumed run goes on in the same folder, and TensorBoard forgets what was written after the checkpoint.

    Raises MissingExtraError at once without tensorboardX, ValueError for options out of range, OSError when the files
    cannot be written.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str], *, histograms: Histograms | None = None, steps: int | None = None
    ) -> None:
        self._library = require("tensorboardX", "tensorboard", "the TensorBoard callback")
        if histograms is not None and not isinstance(histograms, Histograms):
            raise ValueError(f"TensorBoard: expected a Histograms, got {type(histograms).__name__}")
        self.log_dir = os.fspath(log_dir)
        self.histograms = histograms
        self.steps = None if steps is None else whole("TensorBoard", "steps", steps, 1)
        self._writers: dict[str, Any] = {}
        self._resumed = False
        self._written = 0  # records
        self._epoch = 0

    # --- events
    def on_train_begin(self) -> None:
        self._resumed, self._written, self._epoch = False, 0, self.run.epoch + 1
        if self.histograms is not None:
            self.histograms.run = self.run
            self.histograms.on_train_begin()

    def on_epoch_begin(self, epoch: int) -> None:
        self._epoch = epoch

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        done = (self._epoch - 1) * self.run.batches + batch + 1
        if self.steps is not None and done % self.steps == 0:
            self._scalars("batch", logs, done)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._scalars("", {"lr": self.run.optimizer.lr, **logs}, epoch)
        if self.histograms is not None:
            self.histograms.on_epoch_end(epoch, logs)
            self._write_records(epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self) -> None:
        while self._writers:
            self._writers.popitem()[1].close()

    def state_dict(self) -> dict[str, Any]:
        inner = {} if self.histograms is None else self.histograms.state_dict()
        return {"written": self._written, "histograms": inner}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._resumed, self._written, self._epoch = True, int(state["written"]), self.run.epoch + 1
        if self.histograms is not None:
            self.histograms.load_state_dict(state["histograms"])

    # --- writing
    def _open(self, part: str, step: int) -> Any:
        """The writer of `log_dir` or a folder in it, made at the first value, which is for `step`.

        Of a resumed run TensorBoard drops what was written for this and later steps before.
        """
        if part not in self._writers:
            folder = os.path.join(self.log_dir, part)
            purge = {"purge_step": step} if self._resumed else {}
            # the library names files by the second and would overwrite that of a run which ended in this one
            there = len(list(Path(folder).glob("events.out.tfevents.*")))
            self._writers[part] = self._library.SummaryWriter(folder, filename_suffix=f".{there:04d}", **purge)
        return self._writers[part]

    def _scalars(self, part: str, values: Logs, step: int) -> None:
        writer = self._open(part, step)
        for name, value in values.items():
            if math.isfinite(value):
                writer.add_scalar(name, float(value), step)

    def _write_records(self, epoch: int) -> None:
        assert self.histograms is not None
        records = self.histograms.records
        for r in records[self._written :]:
            _write(self._open("", epoch), r)
        self._written = len(records)


def _write(writer: Any, r: HistogramRecord) -> None:
    if r.size > r.nonfinite:
        finite = r.size - r.nonfinite
        edges = r.edges
        if not edges[0] < edges[-1]:  # a constant: TensorBoard needs limits that grow
            edges = edges[0] + 1e-6 * (abs(edges[0]) or 1.0) * np.arange(len(edges))
        writer.add_histogram_raw(
            f"{r.kind}/{r.name}",
            min=r.low,
            max=r.high,
            num=finite,
            sum=r.mean * finite,
            sum_squares=r.norm**2,
            bucket_limits=edges[1:].tolist(),
            bucket_counts=r.counts.tolist(),
            global_step=r.epoch,
        )
    writer.add_scalar(f"rms_{r.kind}/{r.name}", r.rms, r.epoch)
