"""Layers, losses and initialisers."""

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
from .losses import CrossEntropyLoss, Loss, MSELoss, PerceptronLoss
from .module import Module

__all__ = [
    "AvgPool2d", "Conv2d", "CrossEntropyLoss", "Dropout", "Flatten", "Identity", "Linear", "Loss", "MSELoss",
    "MaxPool2d", "Module", "PerceptronLoss", "ReLU", "Sequential", "Sigmoid", "Softmax", "Tanh", "init",
]
