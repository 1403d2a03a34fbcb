"""AlexNet and ZFNet, the first deep networks for ImageNet, and the view back from a map to the picture.

A. Krizhevsky, I. Sutskever, G. E. Hinton, ImageNet classification with deep convolutional neural networks, NIPS 2012;
A. Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014 (torchvision's form);
M. D. Zeiler, R. Fergus, Visualizing and understanding convolutional networks, ECCV 2014.

    two groups   input [N,227,227,3] -> 96@11x11/4 [N,55,55,96], norm, pool -> 256@5x5 in 2 groups [N,27,27,256], norm,
                 pool -> 384@3x3 [N,13,13,384] -> 384@3x3 in 2 groups -> 256@3x3 in 2 groups [N,13,13,256], pool
                 [N,6,6,256] -> 4096 -> 4096 -> 1000;  the groups were the two graphics cards of the paper
    one column   the same without groups
    torchvision  input [N,224,224,3] -> 64@11x11/4 -> 192@5x5 -> 384 -> 256 -> 256@3x3, no normalisation
    ZFNet        input [N,224,224,3] -> 96@7x7/2 [N,110,110,96], pool [N,55,55,96], norm -> 256@5x5/2 [N,26,26,256],
                 pool [N,13,13,256], norm -> 384 -> 384 -> 256@3x3, pool [N,6,6,256] -> 4096 -> 4096 -> 1000

Pooling is 3x3 with stride 2. The local normalisation is x / (2 + 1e-4 sum of the squares of five channels)**0.75.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..data.augment import Affine
from ..nn import Conv2d, Dropout, Flatten, Linear, LocalResponseNorm, MaxPool2d, Module, ReLU, Sequential
from ..ops._geometry import resolve_padding
from ..tensor import Array, wrap
from .registry import Recipe, register

__all__ = ["AlexNet", "alexnet", "alexnet_single", "alexnet_two_groups", "deconvnet", "zfnet"]

_ALEXNET = (
    "A. Krizhevsky, I. Sutskever, G. E. Hinton, ImageNet classification with deep convolutional neural networks, "
    "NIPS 2012"
)
_WEIRD = "A. Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997, 2014"
_ZFNET = "M. D. Zeiler, R. Fergus, Visualizing and understanding convolutional networks, ECCV 2014"
_COMMON: dict[str, Any] = {
    "family": "convolutional",
    "recipe": Recipe(
        epochs=20, batch_size=32, optimizer="adam", lr=3e-4,
        augment=Affine(rotate=10.0, shift=0.1, scale=(0.9, 1.1)),
    ),
    "data": "scenes",
}


class AlexNet(Module):
    """Convolutions `features`, then `classifier`: dropout, 4096, dropout, 4096, classes; logits [N,num_classes].

    features : of [N,H,W,C] images with input_shape (H, W, C); its maps are flattened channels first, as PyTorch does.
    Raises ValueError, naming the network, for images that are too small.
    """

    def __init__(
        self, name: str, features: Sequential, num_classes: int, input_shape: Sequence[int], hidden: int, dropout: float
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ValueError(f"{name}: expected input_shape (H, W, C), got {tuple(input_shape)}")
        size = [int(n) for n in input_shape[:2]]
        channels = 0
        for layer in features:
            if isinstance(layer, (Conv2d, MaxPool2d)):
                pads: Any = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * 2
                size = [
                    (n + 2 * p - k) // s + 1
                    for n, k, s, p in zip(size, layer.kernel_size, layer.stride, pads, strict=True)
                ]
                if min(size) < 1:
                    raise ValueError(f"{name}: images of {tuple(input_shape)} are too small for its layers")
            if isinstance(layer, Conv2d):
                channels = layer.out_channels
        self.features = features
        self.flatten = Flatten(order="CHW")
        self.classifier = Sequential({
            "0": Dropout(dropout),
            "1": Linear(size[0] * size[1] * channels, hidden, activation="relu", weight_init="he_normal"),
            "3": Dropout(dropout),
            "4": Linear(hidden, hidden, activation="relu", weight_init="he_normal"),
            "6": Linear(hidden, num_classes),
        })

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.features(x)))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> Conv2d:
    return Conv2d(
        inputs, outputs, kernel, stride, padding, groups=groups, activation="relu", weight_init="he_normal"
    )


def _norm() -> LocalResponseNorm:
    return LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # the paper's alpha multiplies the sum of five squares


@register(
    "alexnet", year=2014, paper=_WEIRD, what="one column of 5 convolutions and 3 dense layers, torchvision's form",
    image=(64, 64, 3), full=(224, 224, 3), **_COMMON,
)
def alexnet(
    num_classes: int = 1000, *, input_shape: Sequence[int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5
) -> AlexNet:
    """The one-column AlexNet of 2014 with torchvision's names: 61,100,840 parameters; H and W at least 63.

    Raises ValueError for smaller images.
    """
    layers: dict[str, Module] = {
        "0": _conv(input_shape[-1], 64, 11, 4, 2), "2": MaxPool2d(3, 2),
        "3": _conv(64, 192, 5, 1, 2), "5": MaxPool2d(3, 2),
        "6": _conv(192, 384, 3, 1, 1), "8": _conv(384, 256, 3, 1, 1), "10": _conv(256, 256, 3, 1, 1),
        "12": MaxPool2d(3, 2),
    }  # fmt: skip
    return AlexNet("alexnet", Sequential(layers), num_classes, input_shape, hidden, dropout)


def _krizhevsky(name: str, groups: int, num_classes: int, shape: Sequence[int], hidden: int, dropout: float) -> AlexNet:
    features = Sequential(
        _conv(shape[-1], 96, 11, 4), _norm(), MaxPool2d(3, 2),
        _conv(96, 256, 5, 1, 2, groups), _norm(), MaxPool2d(3, 2),
        _conv(256, 384, 3, 1, 1), _conv(384, 384, 3, 1, 1, groups), _conv(384, 256, 3, 1, 1, groups), MaxPool2d(3, 2),
    )  # fmt: skip
    return AlexNet(name, features, num_classes, shape, hidden, dropout)


@register(
    "alexnet_two_groups", year=2012, paper=_ALEXNET,
    what="5 convolutions, three of them in two groups, local response normalisation, 3 dense layers",
    image=(67, 67, 3), full=(227, 227, 3), **_COMMON,
)
def alexnet_two_groups(
    num_classes: int = 1000, *, input_shape: Sequence[int] = (227, 227, 3), hidden: int = 4096, dropout: float = 0.5
) -> AlexNet:
    """AlexNet as published, its two cards as groups: 60,965,224 parameters. Raises ValueError below 67 pixels."""
    return _krizhevsky("alexnet_two_groups", 2, num_classes, input_shape, hidden, dropout)


@register(
    "alexnet_single", year=2012, paper=_ALEXNET,
    what="AlexNet in one column: 5 convolutions, local response normalisation, 3 dense layers",
    image=(67, 67, 3), full=(227, 227, 3), **_COMMON,
)
def alexnet_single(
    num_classes: int = 1000, *, input_shape: Sequence[int] = (227, 227, 3), hidden: int = 4096, dropout: float = 0.5
) -> AlexNet:
    """AlexNet's layers without groups: 62,378,344 parameters. Raises ValueError below 67 pixels."""
    return _krizhevsky("alexnet_single", 1, num_classes, input_shape, hidden, dropout)


@register(
    "zfnet", year=2013, paper=_ZFNET, what="AlexNet in one column with 7x7/2 and 5x5/2 in front",
    image=(64, 64, 3), full=(224, 224, 3), **_COMMON,
)
def zfnet(
    num_classes: int = 1000, *, input_shape: Sequence[int] = (224, 224, 3), hidden: int = 4096, dropout: float = 0.5
) -> AlexNet:
    """ZFNet: 62,357,608 parameters. Raises ValueError for images that are too small (below 53 pixels)."""
    features = Sequential(
        _conv(input_shape[-1], 96, 7, 2, 1), MaxPool2d(3, 2, 1), _norm(),
        _conv(96, 256, 5, 2), MaxPool2d(3, 2, 1), _norm(),
        _conv(256, 384, 3, 1, 1), _conv(384, 384, 3, 1, 1), _conv(384, 256, 3, 1, 1), MaxPool2d(3, 2),
    )  # fmt: skip
    return AlexNet("zfnet", features, num_classes, input_shape, hidden, dropout)


def deconvnet(layers: Sequence[Module] | Sequential, x: Any, channel: int, strongest: bool = True) -> Array:
    """What in the pictures x [N,H,W,C] makes map `channel` of the last layer respond; [N,H,W,C] (Zeiler & Fergus 2014).

    The map's activations, or its largest one alone if `strongest`, are carried back through the layers: unpooling puts
    each value where the maximum was (those of overlapping windows add up), what is negative becomes 0 behind a
    rectified layer, and convolutions are transposed with the same weights. Normalisation passes the values on.

    layers : from the picture on: `Conv2d` (activation None or "relu"), `MaxPool2d`, `LocalResponseNorm`, `ReLU`,
        `Dropout`; for example `list(net.features)[:4]`

    Raises ValueError for other layers, a channel that does not exist, and images that do not fit.
    """
    pooled: Any = ops.max_pool2d
    chain = list(layers)
    seen: list[tuple[Module, tuple[int, ...], Any]] = []
    y = wrap(np.ascontiguousarray(np.asarray(x, np.float32)))
    for layer in chain:
        before = y.shape
        switches = None
        if isinstance(layer, MaxPool2d):
            y, switches = pooled(
                y, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode, return_indices=True
            )
        elif isinstance(layer, (LocalResponseNorm, ReLU)) or (
            isinstance(layer, Conv2d) and layer.activation in (None, "relu") and not layer.flip
            and layer.padding_mode == "zeros"
        ):
            y = layer(y)
        elif not isinstance(layer, Dropout):
            raise ValueError(f"deconvnet: cannot go back through {layer!r}")
        seen.append((layer, before, switches))
    if y.ndim != 4 or not 0 <= channel < y.shape[3]:
        raise ValueError(f"deconvnet: no channel {channel} in maps of shape {y.shape}")
    signal = np.zeros(y.shape, np.float32)
    signal[..., channel] = y.data[..., channel]
    if strongest:
        top = signal.reshape(len(signal), -1).max(axis=1).reshape(-1, 1, 1, 1)
        signal[signal < top] = 0
    back: Any = signal
    for layer, before, switches in reversed(seen):
        if isinstance(layer, MaxPool2d):
            back = ops.max_unpool(back, switches, before[1:3])
        elif isinstance(layer, ReLU):
            back = ops.relu(back)
        elif isinstance(layer, Conv2d):
            rectified = ops.relu(back) if layer.activation == "relu" else back
            pads = resolve_padding(
                "deconvnet", layer.padding, before[1:3], layer.kernel_size, layer.stride, layer.dilation
            )
            geometry: Any = (*layer.stride, pads[0][0], pads[1][0], *layer.dilation, layer.groups)
            shape: Any = before
            back = ops.conv2d_dx(rectified, layer.weight.data, shape, geometry)
    return np.asarray(back)
