"""What a task needs, from its name: output activation, loss and metric (notes C:6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..tensor import Array, Tensor, float_array, wrap
from .layers import Identity, Sequential, Sigmoid, Softmax
from .losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss
from .module import Module

__all__ = ["Task", "for_task"]


@dataclass(frozen=True)
class Task:
    """Output activation, loss and metric that belong together.

    The loss takes the network's raw outputs (logits): it contains the activation, in its stable form. `activate` gives
    what users read: values, probabilities.

    name : "regression", "binary", "multi-class", "multi-label"
    activation : "linear", "sigmoid" or "softmax"
    loss : `MSELoss`, `BCEWithLogitsLoss` or `CrossEntropyLoss`
    metric : name of what `score` returns: "rmse" (lower is better) or "accuracy"
    """

    name: str
    activation: str
    loss: Loss
    metric: str

    def output_layer(self) -> Module:
        """The activation as a layer."""
        return {"linear": Identity, "sigmoid": Sigmoid, "softmax": Softmax}[self.activation]()

    def complete(self, model: Module) -> Sequential:
        """`model` followed by the output activation, sharing its parameters: for predictions after training."""
        return Sequential(model, self.output_layer())

    def activate(self, outputs: Any) -> Any:
        """Raw outputs [N,K] -> values (regression), probabilities (the others) of the same shape."""
        return self.output_layer()(outputs)

    def targets(self, y: Any, outputs_shape: tuple[int, ...] | None = None, dtype: Any = np.float32) -> Array:
        """Targets as the loss wants them: int64 labels [N] for multi-class, else floats of the outputs' shape.

        Where outputs are [N,1], targets [N] become [N,1]. Raises ValueError/TypeError for shapes and values that do
        not belong to the task: labels that are no integers, binary and multi-label targets other than 0 and 1.
        """
        where = f"for_task({self.name!r})"
        a = y.data if isinstance(y, Tensor) else np.asarray(y)
        if self.name == "multi-class":
            if a.dtype.kind not in "iub" or a.ndim != 1:
                raise TypeError(f"{where}: expected integer labels [N], got dtype {a.dtype} and shape {a.shape}")
            return np.ascontiguousarray(a, np.int64)
        t = float_array(where, a, dtype)
        if self.name != "regression" and not np.isin(t, (0.0, 1.0)).all():
            raise ValueError(f"{where}: expected targets 0 and 1, got values from {t.min()} to {t.max()}")
        if self.name == "multi-label" and t.ndim != 2:
            raise ValueError(f"{where}: expected targets [N,K], got shape {t.shape}")
        if outputs_shape is not None and t.shape != tuple(outputs_shape):
            if (*t.shape, 1) != tuple(outputs_shape):
                raise ValueError(f"{where}: expected targets of shape {tuple(outputs_shape)}, got {t.shape}")
            t = t.reshape(*t.shape, 1)
        return t

    def decide(self, outputs: Any) -> Array:
        """Raw outputs -> predictions: values, labels [N], or 0 and 1 (probability at least 0.5) of the same shape."""
        a = outputs.data if isinstance(outputs, Tensor) else float_array("decide", outputs)
        if self.name == "regression":
            return a
        if self.name == "multi-class":
            return ops.argmax(a, -1)
        return np.asarray(a >= 0.0, np.int64)

    def score(self, outputs: Any, targets: Any) -> float:
        """The metric of raw outputs against `targets` as `targets()` returns them."""
        from .. import metrics

        made = self.decide(outputs)
        measure: Callable[[Any, Any], float] = metrics.rmse if self.metric == "rmse" else metrics.accuracy
        t = targets.data if isinstance(targets, Tensor) else np.asarray(targets)
        return measure(t if self.metric == "rmse" else t.astype(np.int64), made)

    def __call__(self, outputs: Any, targets: Any, sample_weight: Any = None) -> Any:
        """The loss of raw outputs against `targets`."""
        return self.loss(outputs if isinstance(outputs, Tensor) else wrap(float_array("loss", outputs)), targets,
                         sample_weight)


_TASKS: dict[str, tuple[str, Callable[[], Loss], str]] = {
    "regression": ("linear", MSELoss, "rmse"),
    "binary": ("sigmoid", BCEWithLogitsLoss, "accuracy"),
    "multi-class": ("softmax", CrossEntropyLoss, "accuracy"),
    "multi-label": ("sigmoid", BCEWithLogitsLoss, "accuracy"),
}


def for_task(name: str) -> Task:
    """The pairing of the course notes (C:6): activation, loss and metric for the task `name`.

    "regression": linear, squared error, RMSE. "binary": sigmoid, binary cross-entropy, accuracy.
    "multi-class": softmax, cross-entropy, accuracy. "multi-label": sigmoid and binary cross-entropy per label,
    accuracy over all labels. Raises ValueError for another name.
    """
    if name not in _TASKS:
        raise ValueError(f"for_task: expected one of {', '.join(_TASKS)}, got {name!r}")
    activation, loss, metric = _TASKS[name]
    return Task(name, activation, loss(), metric)
