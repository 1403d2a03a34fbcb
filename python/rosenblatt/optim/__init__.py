"""Optimisers: fused updates in place, one pass over memory per parameter; schedules, clipping, constraints."""

from .clip import clip_grad_norm_, clip_grad_value_
from .constraints import Box, Constraint, MaxNorm, MinMaxNorm, NonNegative, UnitNorm
from .optimizer import Optimizer
from .optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, DeltaBarDelta, Nesterov, ProjectedGD, RMSprop
from .schedules import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    Schedule,
    SequentialLR,
    StepLR,
    WarmUp,
)
from .whole import LBFGS, ConjugateGradient, GeneticSearch

__all__ = [
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Box",
    "ConjugateGradient",
    "ConstantLR",
    "Constraint",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "DeltaBarDelta",
    "ExponentialLR",
    "GeneticSearch",
    "LambdaLR",
    "LinearLR",
    "MaxNorm",
    "MinMaxNorm",
    "MultiStepLR",
    "Nesterov",
    "NonNegative",
    "OneCycleLR",
    "Optimizer",
    "PolynomialLR",
    "ProjectedGD",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "UnitNorm",
    "WarmUp",
    "clip_grad_norm_",
    "clip_grad_value_",
]
