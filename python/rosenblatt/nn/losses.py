"""Losses as modules: loss(prediction, target) -> scalar tensor (or per example with reduction="none").

Each is the function of `rosenblatt.ops` that its docstring names, with the options given once. All take
`loss(prediction, target, sample_weight)` as well; `rosenblatt.ops.losses` says what weights do.
"""

from __future__ import annotations

from typing import Any

from .. import ops
from .module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CategoricalCrossEntropyLoss", "CosineLoss", "CrossEntropyLoss", "DetectionLoss",
    "FocalLoss", "HalfMSELoss", "HalfSSELoss", "HingeLoss", "HuberLoss", "KLDivLoss", "LogisticLoss", "Loss",
    "MAELoss", "MSELoss", "MSLELoss", "PerceptronLoss", "RMSELoss", "SSELoss", "SmoothL1Loss", "SquaredHingeLoss",
]


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

    def extra_repr(self) -> str:
        shown = {k: v for k, v in vars(self).items() if not k.startswith("_") and k != "training" and v is not None}
        return ", ".join(f"{k}={v!r}" for k, v in shown.items())


# --- regression


class MSELoss(Loss):
    """Mean squared error between arrays of equal shape; see `ops.mse_loss`."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.mse_loss(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class SSELoss(Loss):
    """Sum of squared errors; see `ops.sse_loss`."""

    def __init__(self, reduction: str = "sum") -> None:
        super().__init__(reduction)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.sse_loss(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class HalfSSELoss(Loss):
    """Half the sum of squared errors, the error of the worked networks; see `ops.half_sse_loss`."""

    def __init__(self, reduction: str = "sum") -> None:
        super().__init__(reduction)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.half_sse_loss(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class HalfMSELoss(HalfSSELoss):
    """The cost 1/(2m) sum (h - y)**2 over m examples (notes C:4): `HalfSSELoss` with reduction "mean"."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)


class RMSELoss(Loss):
    """Root of the mean squared error; see `ops.rmse_loss`."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.rmse_loss(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class MSLELoss(Loss):
    """Mean squared logarithmic error; see `ops.msle_loss`."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.msle_loss(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class MAELoss(Loss):
    """Mean absolute error; see `ops.mae_loss`."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.mae_loss(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class HuberLoss(Loss):
    """Squared up to `delta`, then linear; see `ops.huber_loss`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.huber_loss(
            prediction, target, delta=self.delta, reduction=self.reduction, sample_weight=sample_weight
        )


class SmoothL1Loss(Loss):
    """Huber's loss over `beta`; see `ops.smooth_l1_loss`."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.smooth_l1_loss(
            prediction, target, beta=self.beta, reduction=self.reduction, sample_weight=sample_weight
        )


# --- margins


class HingeLoss(Loss):
    """max(0, 1 - y s) for targets -1 and +1; see `ops.hinge_loss`."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.hinge_loss(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class SquaredHingeLoss(Loss):
    """max(0, 1 - y s)**2 for targets -1 and +1; see `ops.squared_hinge_loss`."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.squared_hinge_loss(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class LogisticLoss(Loss):
    """log(1 + e**(-y s)) for targets -1 and +1; see `ops.logistic_loss`."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.logistic_loss(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class PerceptronLoss(Loss):
    """The perceptron criterion on net inputs [N,C] and labels [N]; see `ops.perceptron_loss`.

    `strict` says where a unit fires: at net >= 0 (False) or at net > 0 (True).
    """

    classifies = True

    def __init__(self, reduction: str = "sum", strict: bool = False) -> None:
        super().__init__(reduction)
        self.strict = bool(strict)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.perceptron_loss(
            prediction, target, reduction=self.reduction, strict=self.strict, sample_weight=sample_weight
        )


# --- probabilities


class CrossEntropyLoss(Loss):
    """Softmax cross-entropy from logits [N,C] and labels [N] (or probabilities [N,C]); see `ops.cross_entropy`.

    class_weight : [C]; label_smoothing : in [0, 1].
    """

    classifies = True

    def __init__(self, reduction: str = "mean", class_weight: Any = None, label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.cross_entropy(
            prediction, target, class_weight=self.class_weight, label_smoothing=self.label_smoothing,
            reduction=self.reduction, sample_weight=sample_weight,
        )


class CategoricalCrossEntropyLoss(Loss):
    """Cross-entropy from probabilities [N,C]; see `ops.categorical_cross_entropy`."""

    classifies = True

    def __init__(self, reduction: str = "mean", class_weight: Any = None) -> None:
        super().__init__(reduction)
        self.class_weight = class_weight

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.categorical_cross_entropy(
            prediction, target, class_weight=self.class_weight, reduction=self.reduction, sample_weight=sample_weight
        )


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy from logits, targets in [0, 1] of their shape; see `ops.bce_with_logits`."""

    def __init__(self, reduction: str = "mean", class_weight: Any = None) -> None:
        super().__init__(reduction)
        self.class_weight = class_weight

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.bce_with_logits(
            prediction, target, class_weight=self.class_weight, reduction=self.reduction, sample_weight=sample_weight
        )


class BCELoss(BCEWithLogitsLoss):
    """Binary cross-entropy from probabilities; see `ops.bce_loss`."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.bce_loss(
            prediction, target, class_weight=self.class_weight, reduction=self.reduction, sample_weight=sample_weight
        )


class KLDivLoss(Loss):
    """Divergence of log-probabilities from target probabilities [N,C]; "mean" is over rows; see `ops.kl_div`."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.kl_div(prediction, target, reduction=self.reduction, sample_weight=sample_weight)


class FocalLoss(Loss):
    """Binary cross-entropy that lets easy examples fade; see `ops.focal_loss`."""

    def __init__(self, reduction: str = "mean", gamma: float = 2.0, alpha: float | None = 0.25) -> None:
        super().__init__(reduction)
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.focal_loss(
            prediction, target, gamma=self.gamma, alpha=self.alpha, reduction=self.reduction,
            sample_weight=sample_weight,
        )


# --- directions and boxes


class CosineLoss(Loss):
    """1 - cos(prediction, target) along `axis`; see `ops.cosine_loss`."""

    def __init__(self, reduction: str = "mean", axis: int = -1) -> None:
        super().__init__(reduction)
        self.axis = axis

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.cosine_loss(
            prediction, target, axis=self.axis, reduction=self.reduction, sample_weight=sample_weight
        )


class DetectionLoss(Loss):
    """Class and box: prediction (logits, boxes), target (labels, boxes); see `ops.detection_loss`."""

    def __init__(
        self, reduction: str = "mean", box_weight: float = 1.0, background: int | None = 0, beta: float = 1.0
    ) -> None:
        super().__init__(reduction)
        self.box_weight = box_weight
        self.background = background
        self.beta = beta

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        return ops.detection_loss(
            prediction, target, box_weight=self.box_weight, background=self.background, beta=self.beta,
            reduction=self.reduction, sample_weight=sample_weight,
        )
