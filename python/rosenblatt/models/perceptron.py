"""The perceptron: one layer of threshold units trained by error correction.

F. Rosenblatt, The perceptron: a probabilistic model for information storage and organization in the brain,
Psychological Review 65 (6), 1958.

Unit k has the net input w_k . x + b_k and fires (1) when it is at least 0, else 0; the bias is minus the threshold.
For a sample x with target t in {0,1} the weights move by eta (t - y) x and the bias by eta (t - y): nothing changes
while the units are right. With several classes there is one unit per class, its target 1 for its own class; the class
with the largest net input is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..nn import Flatten, Linear, Sequential
from .registry import Recipe, register

__all__ = ["perceptron"]


@register(
    "perceptron",
    family="neurons",
    year=1958,
    paper="F. Rosenblatt, The perceptron, Psychological Review 65(6), 1958",
    what="one layer of threshold units, error correction, one unit per class",
    recipe=Recipe(epochs=30, batch_size=1, optimizer="sgd", lr=1.0, loss="perceptron"),
)
def perceptron(*, input_shape: Sequence[int] = (8, 8, 1), classes: int = 10) -> Sequential:
    """A layer of `classes` threshold units on samples of `input_shape`, weights and biases at zero.

    The model returns the net inputs [N,classes]; `nn.PerceptronLoss` applies the threshold. From zero weights the
    learning rate only sets the scale of the weights, not the decisions.
    """
    layer = Linear(math.prod(input_shape), classes)
    for _, parameter in layer.named_parameters():
        np.asarray(parameter.data)[...] = 0
    return Sequential(Flatten(), layer)
