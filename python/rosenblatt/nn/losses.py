"""Losses as modules: loss(prediction, target) -> scalar tensor (or per example with reduction="none")."""

from __future__ import annotations

from typing import Any

from .. import ops
from .module import Module

__all__ = ["CrossEntropyLoss", "Loss", "MSELoss", "PerceptronLoss"]


class Loss(Module):
    """Base class; `reduction` is "mean", "sum" or "none". `classifies` says whether the target is integer labels."""

    classifies = False

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(
                f"{type(self).__name__}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}"
            )
        self.reduction = reduction


class CrossEntropyLoss(Loss):
    """Softmax cross-entropy from logits [N,C] and labels [N] (or probabilities [N,C]); see `ops.cross_entropy`."""

    classifies = True

    def forward(self, prediction: Any, target: Any) -> Any:
        return ops.cross_entropy(prediction, target, reduction=self.reduction)


class MSELoss(Loss):
    """Mean squared error between arrays of equal shape; see `ops.mse_loss`."""

    def forward(self, prediction: Any, target: Any) -> Any:
        return ops.mse_loss(prediction, target, reduction=self.reduction)


class PerceptronLoss(Loss):
    """The perceptron criterion on net inputs [N,C] and labels [N]; see `ops.perceptron_loss`.

    `strict` says where a unit fires: at net >= 0 (False) or at net > 0 (True).
    """

    classifies = True

    def __init__(self, reduction: str = "sum", strict: bool = False) -> None:
        super().__init__(reduction)
        self.strict = bool(strict)

    def forward(self, prediction: Any, target: Any) -> Any:
        return ops.perceptron_loss(prediction, target, reduction=self.reduction, strict=self.strict)
