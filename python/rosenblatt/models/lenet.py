"""LeNet-5 in its modern form: dense second convolution, plain pooling, softmax output.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, Proceedings of
the IEEE 86 (11), 1998.

    input [N,32,32,1] -> conv 6@5x5 [N,28,28,6] -> pool [N,14,14,6] -> conv 16@5x5 [N,10,10,16] -> pool [N,5,5,16]
    -> 120 -> 84 -> classes;  156 + 2,416 + 48,120 + 10,164 + 850 = 61,706 parameters for ten classes.

The feature maps are flattened channels first, so that the dense weights are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..data.augment import Affine
from ..nn import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Sequential
from .registry import Recipe, register

__all__ = ["lenet5"]


@register(
    "lenet5",
    family="convolutional",
    year=1998,
    paper="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, "
    "Proc. IEEE 86(11), 1998",
    what="two 5x5 convolutions with pooling, 120-84-10, on 32x32 grey images",
    recipe=Recipe(
        epochs=100,
        batch_size=32,
        optimizer="adam",
        lr=2e-3,
        augment=Affine(rotate=15.0, shift=0.1, scale=(0.85, 1.15), shear=10.0),
    ),
    image=(32, 32, 1),
    fit=28 / 32,
)
def lenet5(
    *,
    input_shape: Sequence[int] = (32, 32, 1),
    classes: int = 10,
    activation: Literal["relu", "tanh"] = "relu",
    pool: Literal["max", "avg"] = "max",
) -> Sequential:
    """The network on [N,32,32,C] images, returning logits [N,classes].

    Parameters
    ----------
    input_shape : (32, 32, C).
    classes : number of outputs.
    activation : "tanh" is the historical choice, "relu" trains better.
    pool : "avg" is the historical choice, "max" trains better.

    Raises ValueError for another image size, activation or pooling.
    """
    if tuple(input_shape[:2]) != (32, 32) or len(input_shape) != 3:
        raise ValueError(f"lenet5: expected input_shape (32, 32, C), got {tuple(input_shape)}")
    if activation not in ("relu", "tanh") or pool not in ("max", "avg"):
        raise ValueError(f"lenet5: expected 'relu'|'tanh' and 'max'|'avg', got {activation!r} and {pool!r}")
    pooling = MaxPool2d if pool == "max" else AvgPool2d
    return Sequential(
        Conv2d(input_shape[2], 6, 5, activation=activation),
        pooling(2, 2),
        Conv2d(6, 16, 5, activation=activation),
        pooling(2, 2),
        Flatten(order="CHW"),
        Linear(400, 120, activation=activation),
        Linear(120, 84, activation=activation),
        Linear(84, classes),
    )
