"""Layers, losses, penalties, noise, initialisers and what a task needs."""

from . import init
from .layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from .losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CategoricalCrossEntropyLoss,
    CosineLoss,
    CrossEntropyLoss,
    DetectionLoss,
    FocalLoss,
    HalfMSELoss,
    HalfSSELoss,
    HingeLoss,
    HuberLoss,
    KLDivLoss,
    LogisticLoss,
    Loss,
    MAELoss,
    MSELoss,
    MSLELoss,
    PerceptronLoss,
    RMSELoss,
    SmoothL1Loss,
    SquaredHingeLoss,
    SSELoss,
)
from .module import Module
from .noise import (
    GaussianNoise,
    GradientNoise,
    MaskingNoise,
    SaltPepperNoise,
    WeightNoise,
    flip_labels,
    smooth_labels,
)
from .penalties import (
    L1,
    L2,
    ActivityKL,
    ActivityL1,
    ActivityPenalty,
    Contractive,
    ElasticNet,
    Penalty,
    SoftSharing,
    WeightDecay,
)
from .tasks import Task, for_task

__all__ = [
    "L1", "L2", "ActivityKL", "ActivityL1", "ActivityPenalty", "AvgPool2d", "BCELoss", "BCEWithLogitsLoss",
    "CategoricalCrossEntropyLoss", "Contractive", "Conv2d", "CosineLoss", "CrossEntropyLoss", "DetectionLoss",
    "Dropout", "ElasticNet", "Flatten", "FocalLoss", "GaussianNoise", "GradientNoise", "HalfMSELoss", "HalfSSELoss",
    "HingeLoss", "HuberLoss", "Identity", "KLDivLoss", "Linear", "LogisticLoss", "Loss", "MAELoss", "MSELoss",
    "MSLELoss", "MaskingNoise", "MaxPool2d", "Module", "Penalty", "PerceptronLoss", "RMSELoss", "ReLU",
    "SSELoss", "SaltPepperNoise", "Sequential", "Sigmoid", "SmoothL1Loss", "SoftSharing", "Softmax",
    "SquaredHingeLoss", "Tanh", "Task", "WeightDecay", "WeightNoise", "flip_labels", "for_task", "init",
    "smooth_labels",
]
