"""Norms and histograms of weights, gradients and activations, layer by layer and epoch by epoch.

They show what the loss does not: gradients that vanish or explode on their way back, units that are never active,
weights that grow (X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural networks,
AISTATS 2010, whose figures these are).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._options import whole
from ..autograd import enable_grad, grad, no_grad
from ..nn.losses import Loss
from ..nn.module import Module, _observers
from ..ops.random import stream
from ..tensor import Array, Tensor, wrap
from .callbacks import Callback, Logs
from .fit import _default_loss, _inputs, _targets

__all__ = ["HistogramRecord", "Histograms"]

KINDS = ("weights", "gradients", "activations")
_STATS = ("size", "norm", "mean", "std", "low", "high", "zeros", "nonfinite")


@dataclass(frozen=True)
class HistogramRecord:
    """One array (or all outputs of one layer) after one epoch; statistics are of its finite values.

    Attributes
    ----------
    epoch : epochs done, 0 before training; kind : "weights", "gradients" or "activations"
    name : of the parameter, or the path of the layer
    size, nonfinite : number of values, and how many of them are NaN or infinite
    norm, mean, std : Euclidean norm and moments; low, high : least and greatest value
    zeros : share of values that are exactly 0, for a ReLU those that are off
    counts : [bins] int64, in equal bins from low to high
    """

    epoch: int
    kind: str
    name: str
    size: int
    norm: float
    mean: float
    std: float
    low: float
    high: float
    zeros: float
    nonfinite: int
    counts: Array

    @property
    def rms(self) -> float:
        """Root of the mean square: the norm without the size, comparable between layers."""
        return self.norm / math.sqrt(self.size) if self.size else 0.0

    @property
    def edges(self) -> Array:
        """[bins+1] limits of the bins."""
        return np.linspace(self.low, self.high, len(self.counts) + 1)

    @classmethod
    def of(cls, epoch: int, kind: str, name: str, values: Array, bins: int = 30) -> HistogramRecord:
        """The record of `values` [...], in float64."""
        a = np.asarray(values, np.float64).reshape(-1)
        finite: Array = a[np.isfinite(a)]
        if not finite.size:
            return cls(epoch, kind, name, a.size, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, a.size, np.zeros(bins, np.int64))
        low, high = float(finite.min()), float(finite.max())
        scale = max(abs(low), abs(high)) or 1.0  # an exploding gradient is far from overflow, its square is not
        norm, mean, std = (
            scale * float(v) for v in (np.linalg.norm(finite / scale), (finite / scale).mean(), (finite / scale).std())
        )
        # numpy needs bins of some width: a constant, or values a few ULP apart, are all in the first one
        if high - low > bins * np.spacing(max(abs(low), abs(high))):
            counts = np.histogram(finite, bins, (low, high))[0].astype(np.int64)
        else:
            counts = np.zeros(bins, np.int64)
            counts[0] = finite.size
        return cls(
            epoch,
            kind,
            name,
            a.size,
            norm,
            mean,
            std,
            low,
            high,
            float((finite == 0).mean()),
            a.size - finite.size,
            counts,
        )

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "counts": [int(c) for c in self.counts]}

    @classmethod
    def from_json(cls, entry: Any) -> HistogramRecord:
        """Raises ValueError for what `to_json` did not return."""
        try:
            record = cls(**{**entry, "counts": np.array(entry["counts"], np.int64)})
            numbers = [float(getattr(record, k)) for k in ("epoch", *_STATS)]
            fits = record.counts.ndim == 1 and len(record.counts) > 0 and record.counts.min() >= 0
            if record.kind not in KINDS or not isinstance(record.name, str) or not fits:
                raise ValueError(f"kind {record.kind!r}, counts of shape {record.counts.shape}")
            if not all(math.isfinite(v) for v in numbers):
                raise ValueError(f"numbers {numbers}")
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ValueError(f"HistogramRecord: not a stored record: {error}") from error
        return record


class Histograms(Callback):
    """Records norms and histograms of every layer before training and after every `every` epochs, and the last one.

    Parameters
    ----------
    x, y : a sample [N,...] and its targets as for `fit`, on which activations and gradients are observed; without x
        only weights can be, without y no gradients. A few hundred examples are enough
    loss : as given to `fit`
    every : the last epoch of a run that is stopped is recorded, too, if what stopped it comes before this callback
    weights, gradients, activations : what is observed; default all that the sample allows
    bins : of each histogram

    The sample goes through the model eagerly, in evaluation mode, between the epochs: the run keeps its captured steps,
    its random numbers and its bits, and the epochs are compared on the same examples. `records` holds the results in
    order; they are kept in checkpoints. `observe(model)` makes the records of a model outside a run.

    Raises ValueError for options out of range or without the data that they need.
    """

    def __init__(
        self,
        x: Any = None,
        y: Any = None,
        *,
        loss: Loss | None = None,
        weights: bool = True,
        gradients: bool | None = None,
        activations: bool | None = None,
        every: int = 1,
        bins: int = 30,
    ) -> None:
        self.x, self.y, self.loss = x, y, loss
        self.weights = bool(weights)
        self.gradients = y is not None if gradients is None else bool(gradients)
        self.activations = x is not None if activations is None else bool(activations)
        if x is None and (y is not None or self.activations or self.gradients):
            raise ValueError("Histograms: activations and gradients are observed on a sample: give x")
        if self.gradients and y is None:
            raise ValueError("Histograms: gradients need y, the targets of x")
        if not (self.weights or self.gradients or self.activations):
            raise ValueError("Histograms: there is nothing to observe")
        self.every, self.bins = whole("Histograms", "every", every, 1), whole("Histograms", "bins", bins, 2)
        self.records: list[HistogramRecord] = []

    # --- events
    def on_train_begin(self) -> None:
        self.records = self.observe(self.run.model, self.run.epoch)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if epoch % self.every == 0 or epoch == self.run.epochs or self.run.stop:
            self.records += self.observe(self.run.model, epoch)

    def state_dict(self) -> dict[str, Any]:
        records = self.records
        return {
            "names": [[r.kind, r.name] for r in records],
            "epochs": np.array([r.epoch for r in records], np.int64),
            "stats": np.array([[getattr(r, k) for k in _STATS] for r in records], np.float64).reshape(-1, len(_STATS)),
            "counts": np.array([r.counts for r in records], np.int64).reshape(-1, self.bins),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        rows = zip(state["names"], state["epochs"], state["stats"], state["counts"], strict=True)
        self.records = []
        for (kind, name), epoch, values, counts in rows:
            stats = dict(zip(_STATS, map(float, values), strict=True))
            size, bad = int(stats.pop("size")), int(stats.pop("nonfinite"))
            self.records.append(
                HistogramRecord(
                    epoch=int(epoch), kind=kind, name=name, size=size, nonfinite=bad, counts=counts.copy(), **stats
                )
            )

    # --- observing
    def observe(self, model: Module, epoch: int = 0) -> list[HistogramRecord]:
        """The records of `model` as it is; nothing of it changes. Raises what the model raises for the sample."""
        records: list[HistogramRecord] = []
        if self.weights:
            records += [self._record(epoch, "weights", k, [p.data]) for k, p in model.named_parameters()]
        if not (self.gradients or self.activations):
            return records
        modes = [(m, m.training) for m in model.modules()]
        position = stream.key, stream.counter
        try:
            for m, _ in modes:
                object.__setattr__(m, "training", False)
            activations, gradients = self._passes(model)
        finally:
            for m, mode in modes:
                object.__setattr__(m, "training", mode)
            stream.seed(*position)
        records += [self._record(epoch, "gradients", k, [g]) for k, g in gradients.items()]
        return records + [self._record(epoch, "activations", k, a) for k, a in activations.items()]

    def _passes(self, model: Module) -> tuple[dict[str, list[Array]], dict[str, Array]]:
        """Outputs of the layers and gradients of the parameters, on the sample."""
        x = _inputs("Histograms", model, self.x)
        names = {id(m): name or "top" for name, m in model.named_modules()}
        seen: dict[str, list[Array]] = {}

        def observe(module: Module, _: Any, out: Any) -> None:
            if id(module) in names and (not module._modules or module._parameters) and isinstance(out, Tensor):
                seen.setdefault(names[id(module)], []).append(out.data)

        trained = {k: p for k, p in model.named_parameters() if p.requires_grad} if self.gradients else {}
        _observers.append(observe)
        try:
            with enable_grad() if trained else no_grad():
                out = model(wrap(x))
        finally:
            _observers.remove(observe)
        gradients: dict[str, Array] = {}
        if trained:
            loss = _default_loss(self.y) if self.loss is None else self.loss
            with enable_grad():
                value = loss(out, _targets("Histograms", self.y, len(x), loss, x.dtype))
            gradients = dict(zip(trained, (g.data for g in grad(value, list(trained.values()))), strict=True))
        return seen if self.activations else {}, gradients

    def _record(self, epoch: int, kind: str, name: str, parts: Iterable[Array]) -> HistogramRecord:
        values = np.concatenate([np.asarray(p).reshape(-1) for p in parts])
        return HistogramRecord.of(epoch, kind, name, values, self.bins)

    # --- results
    def select(self, kind: str, name: str | None = None) -> list[HistogramRecord]:
        """The records of one kind (and one array), by epoch. Raises ValueError for another kind."""
        if kind not in KINDS:
            raise ValueError(f"Histograms: expected a kind of {KINDS}, got {kind!r}")
        return [r for r in self.records if r.kind == kind and name in (None, r.name)]

    def to_json(self) -> list[dict[str, Any]]:
        """The records as dicts of numbers, text and lists; `HistogramRecord.from_json` reads one back."""
        return [r.to_json() for r in self.records]
