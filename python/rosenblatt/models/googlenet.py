"""GoogLeNet: C. Szegedy and others, Going deeper with convolutions, CVPR 2015; with batch normalisation: S. Ioffe,
C. Szegedy, ICML 2015.

    input [N,224,224,3] -> conv 64@7x7/2, pool [N,56,56,64] -> conv 64@1x1, conv 192@3x3, pool [N,28,28,192]
    -> inception 3a, 3b [N,28,28,480], pool -> 4a, ..., 4e [N,14,14,832], pool -> 5a, 5b [N,7,7,1024]
    -> mean over the map -> dropout -> classes

    inception   x -> 1x1 ------------------+
                x -> 1x1 (fewer) -> 3x3 ---+-> channels side by side
                x -> 1x1 (fewer) -> 5x5 ---+
                x -> max pool 3x3 -> 1x1 --+

22 layers with weights. Two auxiliary classifiers behind 4a and 4d bring gradients to the middle in training:
5x5 means with stride 3, 1x1, 1024, classes; their losses count 0.3 each. Module names are torchvision's; what it calls
the 5x5 branch has 3x3 kernels there (`five=3`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..nn import (
    AvgPool2d,
    BatchNorm2d,
    Branches,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Module,
    Sequential,
)
from .registry import Recipe, register

__all__ = ["GoogLeNet", "GoogLeNetOutputs", "googlenet", "googlenet_bn", "googlenet_paper"]

_PAPER = "C. Szegedy, W. Liu, Y. Jia and others, Going deeper with convolutions, CVPR 2015"
_BN = "S. Ioffe, C. Szegedy, Batch normalization: accelerating deep network training, ICML 2015"

# 1x1; reduction and 3x3; reduction and 5x5; behind the pool (the paper's table 1)
INCEPTION: dict[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNetOutputs(NamedTuple):
    """What a network with auxiliary classifiers gives in training: logits [N,K] of the end, of 4d and of 4a."""

    logits: Any
    aux_logits2: Any
    aux_logits1: Any


class _Conv(Module):
    """conv, and bn behind it when there is one, then ReLU."""

    def __init__(self, norm: bool, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = Conv2d(
            inputs, outputs, kernel, stride, padding, bias=not norm, activation=None if norm else "relu",
            weight_init="he_normal",
        )
        if norm:
            self.bn = BatchNorm2d(outputs, eps=1e-3)
        self.norm = norm

    def forward(self, x: Any) -> Any:
        return ops.relu(self.bn(self.conv(x))) if self.norm else self.conv(x)


def _inception(norm: bool, inputs: int, sizes: Sequence[int], five: int) -> Branches:
    one, three_in, three, five_in, five_out, pool = sizes
    return Branches({
        "branch1": _Conv(norm, inputs, one, 1),
        "branch2": Sequential(_Conv(norm, inputs, three_in, 1), _Conv(norm, three_in, three, 3, 1, 1)),
        "branch3": Sequential(_Conv(norm, inputs, five_in, 1), _Conv(norm, five_in, five_out, five, 1, five // 2)),
        "branch4": Sequential(MaxPool2d(3, 1, 1, ceil_mode=True), _Conv(norm, inputs, pool, 1)),
    })


class _Auxiliary(Module):
    def __init__(self, norm: bool, inputs: int, size: Sequence[int], num_classes: int) -> None:
        super().__init__()
        rows, columns = ((n - 5) // 3 + 1 for n in size)
        if min(rows, columns) < 1:
            raise ValueError(f"GoogLeNet: auxiliary classifiers need maps of at least 5x5, got {tuple(size)}")
        self.pool = AvgPool2d(5, 3)
        self.conv = _Conv(norm, inputs, 128, 1)
        self.flatten = Flatten(order="CHW")
        self.fc1 = Linear(128 * rows * columns, 1024, activation="relu")
        self.fc2 = Linear(1024, num_classes)
        self.dropout = Dropout(0.7)

    def forward(self, x: Any) -> Any:
        return self.fc2(self.dropout(self.fc1(self.flatten(self.conv(self.pool(x))))))


def _halved(n: int) -> int:
    """The size behind a 3x3 pool with stride 2 whose last window may reach over the border."""
    return -(-(n - 3) // 2) + 1


class GoogLeNet(Module):
    """Nine inception modules on [N,H,W,C] images; logits [N,num_classes].

    Parameters
    ----------
    input_shape : (H, W, C), H and W at least 32.
    batch_norm : behind every convolution, which then has no bias; otherwise local response normalisation behind the
        first pool and before the second, as in the paper.
    aux : with the auxiliary classifiers: in training mode the result is `GoogLeNetOutputs`, for `loss`.
    five, last_pool : kernel sizes of the third branch, 5, and of the last pool, 3; torchvision has 3 and 2.
    transform_input : pictures normalised by ImageNet's channel means and deviations are taken over to (x - 0.5) / 0.5,
        as torchvision's weights expect.
    dropout : before the output.

    Raises ValueError for smaller images and another kernel size.
    """

    def __init__(
        self, num_classes: int = 1000, *, input_shape: Sequence[int] = (224, 224, 3), batch_norm: bool = True,
        aux: bool = False, five: int = 5, last_pool: int = 3, transform_input: bool = False, dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[:2]) < 32:
            raise ValueError(f"GoogLeNet: expected input_shape (H, W, C) of at least 32x32, got {tuple(input_shape)}")
        if five not in (3, 5):
            raise ValueError(f"GoogLeNet: five must be 5 or 3, got {five!r}")
        norm = self.batch_norm = bool(batch_norm)
        if transform_input and input_shape[2] != 3:
            raise ValueError(f"GoogLeNet: transform_input is for 3 channels, got {input_shape[2]}")
        self.transform_input = bool(transform_input)
        # x d + m = what the picture was, (that - 0.5) / 0.5 = x 2 d + 2 m - 1
        self._scale = np.array([0.229, 0.224, 0.225], np.float32) * 2
        self._shift = np.array([0.485, 0.456, 0.406], np.float32) * 2 - 1
        size = [_halved((n + 6 - 7) // 2 + 1) for n in input_shape[:2]]
        self.conv1 = _Conv(norm, input_shape[2], 64, 7, 2, 3)
        self.maxpool1 = MaxPool2d(3, 2, ceil_mode=True)
        if not norm:
            self.norm1 = LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
            self.norm2 = LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        self.conv2 = _Conv(norm, 64, 64, 1)
        self.conv3 = _Conv(norm, 64, 192, 3, 1, 1)
        self.maxpool2 = MaxPool2d(3, 2, ceil_mode=True)
        size = [_halved(n) for n in size]
        channels = 192
        for name, sizes in INCEPTION.items():
            if name == "4a":
                self.maxpool3 = MaxPool2d(3, 2, ceil_mode=True)
                size = [_halved(n) for n in size]
            if name == "5a":
                self.maxpool4 = MaxPool2d(last_pool, 2, ceil_mode=True)
            setattr(self, f"inception{name}", _inception(norm, channels, sizes, five))
            channels = sizes[0] + sizes[2] + sizes[4] + sizes[5]
        self.aux1 = _Auxiliary(norm, 512, size, num_classes) if aux else None
        self.aux2 = _Auxiliary(norm, 528, size, num_classes) if aux else None
        self.avgpool = GlobalAvgPool2d()
        self.dropout = Dropout(dropout)
        self.fc = Linear(channels, num_classes)

    def forward(self, x: Any) -> Any:
        if self.transform_input:
            x = ops.add(ops.mul(x, self._scale), self._shift)
        x = self.maxpool1(self.conv1(x))
        if not self.batch_norm:
            x = self.norm1(x)
        x = self.conv3(self.conv2(x))
        if not self.batch_norm:
            x = self.norm2(x)
        x = self.maxpool2(x)
        sides: list[Any] = []
        for name in INCEPTION:
            if name == "4a":
                x = self.maxpool3(x)
            if name == "5a":
                x = self.maxpool4(x)
            x = getattr(self, f"inception{name}")(x)
            aux = {"4a": self.aux1, "4d": self.aux2}.get(name)
            if aux is not None and self.training:
                sides.append(aux(x))
        y = self.fc(self.dropout(self.avgpool(x)))
        return GoogLeNetOutputs(y, sides[1], sides[0]) if sides else y

    def loss(self, outputs: Any, labels: Any) -> Any:
        """Cross-entropy of logits with labels [N], plus 0.3 times that of each auxiliary classifier."""
        if not isinstance(outputs, GoogLeNetOutputs):
            return ops.cross_entropy(outputs, labels)
        side = ops.add(ops.cross_entropy(outputs.aux_logits1, labels), ops.cross_entropy(outputs.aux_logits2, labels))
        return ops.add(ops.cross_entropy(outputs.logits, labels), ops.mul(side, 0.3))


_COMMON: dict[str, Any] = {
    "family": "convolutional", "image": (64, 64, 3), "full": (224, 224, 3), "data": "scenes",
}  # fmt: skip


@register(
    "googlenet", year=2015, paper=_PAPER, what="9 inception modules with batch normalisation, torchvision's form",
    recipe=Recipe(epochs=12, batch_size=32, optimizer="adam", lr=2e-3), **_COMMON,
)
def googlenet(num_classes: int = 1000, *, dropout: float = 0.2, **options: Any) -> GoogLeNet:
    """`GoogLeNet` as torchvision builds it: 6,624,904 parameters. Options and errors of `GoogLeNet`."""
    return GoogLeNet(num_classes, five=3, last_pool=2, dropout=dropout, **options)


@register(
    "googlenet_paper", year=2014, paper=_PAPER, what="9 inception modules of 1x1, 3x3, 5x5 and pooling, side by side",
    recipe=Recipe(epochs=20, batch_size=32, optimizer="adam", lr=5e-4), **_COMMON,
)
def googlenet_paper(num_classes: int = 1000, **options: Any) -> GoogLeNet:
    """`GoogLeNet` as published, without batch normalisation: 6,998,552 parameters, 13,378,280 with `aux=True`."""
    return GoogLeNet(num_classes, batch_norm=False, **options)


@register(
    "googlenet_bn", year=2015, paper=_BN, what="GoogLeNet with batch normalisation behind every convolution",
    recipe=Recipe(epochs=12, batch_size=32, optimizer="rmsprop", lr=1e-3), **_COMMON,
)
def googlenet_bn(num_classes: int = 1000, **options: Any) -> GoogLeNet:
    """`GoogLeNet` with batch normalisation, trained by RMSprop: 7,005,832 parameters. Options of `GoogLeNet`."""
    return GoogLeNet(num_classes, batch_norm=True, **options)
