"""The multi-layer perceptron: fully connected layers with a smooth or piecewise linear activation, trained by
back-propagation.

D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning representations by back-propagating errors, Nature 323, 1986.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from ..nn import Flatten, Linear, Sequential
from .registry import Recipe, register

__all__ = ["mlp"]


@register(
    "mlp",
    family="feed-forward",
    year=1986,
    paper="D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning representations by back-propagating errors, "
    "Nature 323, 1986",
    what="dense layers, 64-128-10 on the digits",
    recipe=Recipe(epochs=120, batch_size=32, optimizer="adam", lr=1e-2, weight_decay=1e-3),
)
def mlp(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 10,
    hidden: Sequence[int] = (128,),
    activation: Literal["relu", "tanh", "sigmoid"] = "relu",
) -> Sequential:
    """Flatten, one Linear+activation per entry of `hidden`, and a Linear to `classes` logits.

    Raises ValueError for a hidden size below 1 or an unknown activation.
    """
    if activation not in ("relu", "tanh", "sigmoid"):
        raise ValueError(f"mlp: expected activation 'relu', 'tanh' or 'sigmoid', got {activation!r}")
    if any(units < 1 for units in hidden):
        raise ValueError(f"mlp: hidden sizes must be positive, got {list(hidden)}")
    sizes = [math.prod(input_shape), *hidden]
    layers = [Linear(a, b, activation=activation) for a, b in itertools.pairwise(sizes)]
    return Sequential(Flatten(), *layers, Linear(sizes[-1], classes))
