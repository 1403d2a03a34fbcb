"""Networks, one file per family, and the registry that lists them."""

from __future__ import annotations

from .lenet import lenet5
from .mlp import mlp
from .perceptron import perceptron
from .registry import ModelInfo, Recipe, UnknownModelError, build, info, names, register

__all__ = [
    "ModelInfo",
    "Recipe",
    "UnknownModelError",
    "build",
    "info",
    "lenet5",
    "mlp",
    "names",
    "perceptron",
    "register",
]
