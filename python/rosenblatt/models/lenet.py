"""Convolutional networks of the nineties: LeNet-5 in its classic and its modern form, and its five-stage forerunner.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, Proceedings of
the IEEE 86 (11), 1998. Y. LeCun, Y. Bengio, Convolutional networks for images, speech, and time series, in The
Handbook of Brain Theory and Neural Networks, 1995.

    modern   input [N,32,32,1] -> conv 6@5x5 [N,28,28,6] -> pool [N,14,14,6] -> conv 16@5x5 [N,10,10,16]
             -> pool [N,5,5,16] -> 120 -> 84 -> classes
             156 + 2,416 + 48,120 + 10,164 + 850 = 61,706 parameters for ten classes
    classic  C1 conv 6@5x5 -> S2 subsampling -> C3 conv 16@5x5 by a connection table -> S4 subsampling
             -> C5 conv 120@5x5 -> F6 84 -> classes
             156 + 12 + 1,516 + 32 + 48,120 + 10,164 = 60,000, and 850 of the output
    stages   input [N,28,28,1] -> conv 4@5x5 [N,24,24,4] -> subsampling [N,12,12,4] -> conv 12@5x5 [N,8,8,12]
             -> subsampling [N,4,4,12] -> conv classes@4x4
             104 + 8 + 1,212 + 24 + 1,930 = 3,278 for ten classes

The modern form's feature maps are flattened channels first, so that the dense weights are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..data.augment import Affine
from ..nn import (
    LENET_C3,
    AvgPool2d,
    ConnectionTableConv2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Sequential,
    Subsampling,
)
from .registry import Recipe, register

__all__ = ["five_stage_cnn", "lenet5", "lenet5_classic"]

_DISTORTIONS = Affine(rotate=15.0, shift=0.1, scale=(0.85, 1.15), shear=10.0)


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
        augment=_DISTORTIONS,
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


@register(
    "lenet5_classic",
    family="convolutional",
    year=1998,
    paper="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, "
    "Proc. IEEE 86(11), 1998",
    what="LeNet-5 as published: connection table, trainable subsampling; softmax output",
    recipe=Recipe(epochs=100, batch_size=32, optimizer="adam", lr=2e-3, augment=_DISTORTIONS),
    image=(32, 32, 1),
    fit=28 / 32,
)
def lenet5_classic(
    *,
    input_shape: Sequence[int] = (32, 32, 1),
    classes: int | None = 10,
    activation: Literal["relu", "tanh", "sigmoid"] = "tanh",
) -> Sequential:
    """The network of 1998 on [N,32,32,1] images, returning logits [N,classes].

    Layer C3 sees the input maps of the paper's table I (`nn.LENET_C3`); S2 and S4 are activation(coefficient * mean +
    bias) with a trainable coefficient and bias per map. The paper's output of radial units is a softmax layer here.

    Parameters
    ----------
    input_shape : (32, 32, 1).
    classes : number of outputs; None leaves the output layer out and returns the 84 features (60,000 parameters).
    activation : of all layers, subsampling included; the paper's is a scaled tanh.

    Raises ValueError for another image size or activation.
    """
    if tuple(input_shape) != (32, 32, 1):
        raise ValueError(f"lenet5_classic: expected input_shape (32, 32, 1), got {tuple(input_shape)}")
    if activation not in ("relu", "tanh", "sigmoid"):
        raise ValueError(f"lenet5_classic: expected activation 'relu', 'tanh' or 'sigmoid', got {activation!r}")
    return Sequential(
        Conv2d(1, 6, 5, activation=activation),
        Subsampling(6, activation=activation),
        ConnectionTableConv2d(6, LENET_C3, 5, activation=activation),
        Subsampling(16, activation=activation),
        Conv2d(16, 120, 5, activation=activation),
        Flatten(),
        Linear(120, 84, activation=activation),
        *([] if classes is None else [Linear(84, classes)]),
    )


@register(
    "five_stage_cnn",
    family="convolutional",
    year=1995,
    paper="Y. LeCun, Y. Bengio, Convolutional networks for images, speech, and time series, in The Handbook of Brain "
    "Theory and Neural Networks, MIT Press, 1995",
    what="two convolutions, each followed by trainable subsampling, and an output convolution",
    recipe=Recipe(epochs=150, batch_size=32, optimizer="adam", lr=5e-3, augment=_DISTORTIONS),
    image=(28, 28, 1),
    fit=24 / 28,
)
def five_stage_cnn(
    *, input_shape: Sequence[int] = (28, 28, 1), classes: int = 10, maps: tuple[int, int] = (4, 12), slope: float = 4.0
) -> Sequential:
    """Convolution, subsampling, convolution, subsampling, output convolution (notes B:C2), on [N,H,W,C] images.

    Maps grow in number and shrink in size. Subsampling is sigmoid(coefficient * mean of 2x2 + bias), both trainable;
    the coefficients start at `slope`, as means of tanh units leave a sigmoid of slope 1/4 nearly constant otherwise.
    Returns logits [N,classes]. Raises ValueError for images on which the 5x5, 2x2, 5x5, 2x2 windows do not fit evenly.
    """
    if len(input_shape) != 3 or any(n < 16 or (n - 4) % 4 for n in input_shape[:2]):
        raise ValueError(
            f"five_stage_cnn: expected input_shape (H, W, C), H and W a multiple of 4 of at least 16, "
            f"got {tuple(input_shape)}"
        )
    rows, columns = ((n - 4) // 2 - 4 for n in input_shape[:2])
    return Sequential(
        Conv2d(input_shape[2], maps[0], 5, activation="tanh", weight_init="glorot_uniform"),
        Subsampling(maps[0], coefficient=slope),
        Conv2d(maps[0], maps[1], 5, activation="tanh", weight_init="glorot_uniform"),
        Subsampling(maps[1], coefficient=slope),
        Conv2d(maps[1], classes, (rows // 2, columns // 2), weight_init="glorot_uniform"),
        Flatten(),
    )
