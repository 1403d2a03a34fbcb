"""Residual networks: K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, CVPR 2016, and
Identity mappings in deep residual networks, ECCV 2016 (pre-activation).

    x_{l+1} = x_l + F(x_l), so that x_L = x_l + sum of the F between: the gradient reaches every layer undiminished

    basic           3x3, 3x3                        y = relu(x + bn(conv(relu(bn(conv(x))))))
    bottleneck      1x1 (a quarter), 3x3, 1x1       likewise
    pre-activation  bn, relu before each conv       y = x + conv(relu(bn(conv(relu(bn(x))))))

    ImageNet  input [N,224,224,3] -> conv 64@7x7/2 [N,112,112,64] -> max pool 3/2 [N,56,56,64]
              -> stages of 64, 128, 256, 512 channels (4 times as many behind bottlenecks), [N,56,56,.] [N,28,28,.]
              [N,14,14,.] [N,7,7,.] -> mean over the map -> classes
    small     input [N,H,W,C] -> conv 16@3x3 -> n blocks each of 16 [H], 32 [H/2], 64 [H/4] channels -> mean -> classes;
              6n + 2 layers; shortcuts that change shape take every other pixel and new channels of zeros (option A)

Parameter names of the ImageNet forms are torchvision's, and so are the strides: a bottleneck's is on its 3x3 layer
(the papers' on the first 1x1 layer: `stride_on="1x1"`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from .. import ops
from ..data.augment import Affine
from ..nn import BatchNorm2d, Conv2d, GlobalAvgPool2d, Linear, MaxPool2d, Module, ReLU, Sequential
from .registry import Recipe, register

__all__ = [
    "ResNet", "preact_resnet", "resnet18", "resnet20", "resnet34", "resnet50", "resnet56", "resnet101", "resnet110",
    "resnet152", "small_resnet",
]  # fmt: skip

PAPER = "K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, CVPR 2016"
PREACT = "K. He, X. Zhang, S. Ren, J. Sun, Identity mappings in deep residual networks, ECCV 2016"


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Conv2d:
    return Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False, weight_init="he_normal")


class _Pick(Module):
    """Option A: every `stride`-th pixel of [N,H,W,C], and channels of zeros up to `channels`. No parameters."""

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, x: Any) -> Any:
        if self.stride > 1:
            x = x[:, :: self.stride, :: self.stride]
        return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.channels - x.shape[-1])))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, channels={self.channels}"


def _shortcut(kind: str, inputs: int, outputs: int, stride: int, norm: bool = True) -> Module | None:
    """None where the sum fits without, a projection ("B") or padding ("A") where it does not."""
    if inputs == outputs and stride == 1:
        return None
    if kind == "A":
        return _Pick(stride, outputs)
    return Sequential(_conv(inputs, outputs, 1, stride), *([BatchNorm2d(outputs)] if norm else []))


class _Block(Module):
    """What all blocks share: layers conv1, bn1, conv2, ..., and `downsample`, the shortcut where one is needed."""

    expansion = 1
    downsample: Module | None

    def _layers(self, convs: Sequence[Conv2d], first: int, before: bool) -> None:
        """conv1, conv2, ...; bn1, bn2, ... after them, or before each (of `first` channels and so on)."""
        self.depth = len(convs)
        channels = first
        for i, conv in enumerate(convs, 1):
            norm = BatchNorm2d(channels if before else conv.out_channels)
            channels = conv.out_channels
            for name, layer in ((f"bn{i}", norm), (f"conv{i}", conv)) if before else (
                (f"conv{i}", conv), (f"bn{i}", norm),
            ):  # fmt: skip
                setattr(self, name, layer)
        self.relu = ReLU()

    def _pair(self, i: int) -> tuple[Module, Module]:
        """Normalisation and convolution number i, from 1 on."""
        return getattr(self, f"bn{i}"), getattr(self, f"conv{i}")


class _Post(_Block):
    """Activation behind the sum: the residual block of 2015, without the shortcut if `residual` is False."""

    def __init__(self, convs: Sequence[Conv2d], inputs: int, stride: int, shortcut: str, residual: bool) -> None:
        super().__init__()
        self._layers(convs, inputs, before=False)
        self.residual = residual
        self.downsample = _shortcut(shortcut, inputs, convs[-1].out_channels, stride) if residual else None

    def forward(self, x: Any) -> Any:
        y = x
        for i in range(1, self.depth + 1):
            norm, conv = self._pair(i)
            y = norm(conv(y))
            if i < self.depth:
                y = self.relu(y)
        if self.residual:
            y = ops.add(y, x if self.downsample is None else self.downsample(x))
        return self.relu(y)


class _Pre(_Block):
    """Normalisation and activation before each convolution; the sum itself is left alone."""

    def __init__(self, convs: Sequence[Conv2d], inputs: int, stride: int, shortcut: str, residual: bool) -> None:
        super().__init__()
        self._layers(convs, inputs, before=True)
        self.residual = residual
        outputs = convs[-1].out_channels
        self.downsample = _shortcut(shortcut, inputs, outputs, stride, norm=False) if residual else None

    def forward(self, x: Any) -> Any:
        norm, conv = self._pair(1)
        first = self.relu(norm(x))
        y = conv(first)
        for i in range(2, self.depth + 1):
            norm, conv = self._pair(i)
            y = conv(self.relu(norm(y)))
        if not self.residual:
            return y
        # a projection sees the activated input, as the paper's does
        past = x if self.downsample is None else self.downsample(x if isinstance(self.downsample, _Pick) else first)
        return ops.add(y, past)


def _block(
    kind: str, inputs: int, width: int, stride: int, preactivation: bool, shortcut: str, residual: bool, stride_on: str
) -> tuple[Module, int]:
    """A block and its number of output channels."""
    if kind == "basic":
        convs = [_conv(inputs, width, 3, stride), _conv(width, width, 3)]
    else:
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        convs = [_conv(inputs, width, 1, first), _conv(width, width, 3, second), _conv(width, 4 * width, 1)]
    make = _Pre if preactivation else _Post
    return make(convs, inputs, stride, shortcut, residual), convs[-1].out_channels


class ResNet(Module):
    """Residual networks of any depth on [N,H,W,C] images, returning logits [N,num_classes].

    Parameters
    ----------
    layers : blocks in each stage; a stage doubles the width and, but for the first, halves the map.
    block : "basic" (two 3x3) or "bottleneck" (1x1, 3x3, 1x1, four times as wide behind).
    num_classes : number of outputs.
    in_channels : C.
    width : channels of the first stage.
    stem : "imagenet" (7x7 with stride 2, max pooling) or "small" (3x3).
    preactivation : normalise and activate before each convolution, and once more at the end.
    shortcut : where shapes change, "B" for a 1x1 projection or "A" for every other pixel and channels of zeros.
    residual : False leaves all shortcuts out: the plain network.
    stride_on : the bottleneck's layer with the stride, "3x3" (torchvision) or "1x1" (the paper).

    Raises ValueError for an option that is none of these.
    """

    def __init__(
        self, layers: Sequence[int], block: Literal["basic", "bottleneck"] = "basic", num_classes: int = 1000, *,
        in_channels: int = 3, width: int = 64, stem: Literal["imagenet", "small"] = "imagenet",
        preactivation: bool = False, shortcut: Literal["A", "B"] = "B", residual: bool = True,
        stride_on: Literal["3x3", "1x1"] = "3x3",
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("block", block, ("basic", "bottleneck")), ("stem", stem, ("imagenet", "small")),
            ("shortcut", shortcut, ("A", "B")), ("stride_on", stride_on, ("3x3", "1x1")),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"ResNet: {name} must be {known[0]!r} or {known[1]!r}, got {value!r}")
        if not layers or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in layers):
            raise ValueError(f"ResNet: layers must be positive integers, got {layers!r}")
        self.conv1 = _conv(in_channels, width, 7, 2) if stem == "imagenet" else _conv(in_channels, width, 3)
        if not preactivation:
            self.bn1 = BatchNorm2d(width)
        self.relu = ReLU()
        if stem == "imagenet":
            self.maxpool = MaxPool2d(3, 2, 1)
        channels = width
        for i, count in enumerate(layers):
            blocks = []
            for j in range(count):
                stride = 2 if i and not j else 1
                made, channels = _block(
                    block, channels, width * 2**i, stride, preactivation, shortcut, residual, stride_on
                )
                blocks.append(made)
            setattr(self, f"layer{i + 1}", Sequential(blocks))
        if preactivation:
            self.bn1 = BatchNorm2d(channels)
        self.stages, self.preactivation, self.stem = len(layers), preactivation, stem
        self.avgpool = GlobalAvgPool2d()
        self.fc = Linear(channels, num_classes)

    def features(self, x: Any) -> Any:
        """[N,H,W,C] -> the last stage's maps [N,h,w,K]."""
        x = self.conv1(x)
        if not self.preactivation:
            x = self.relu(self.bn1(x))
        if self.stem == "imagenet":
            x = self.maxpool(x)
        for i in range(1, self.stages + 1):
            x = getattr(self, f"layer{i}")(x)
        return self.relu(self.bn1(x)) if self.preactivation else x

    def forward(self, x: Any) -> Any:
        return self.fc(self.avgpool(self.features(x)))


# --- ImageNet

_LARGE: dict[str, Any] = {
    "family": "convolutional",
    "year": 2015,
    "paper": PAPER,
    "recipe": Recipe(epochs=12, batch_size=32, optimizer="adam", lr=2e-3),
    "image": (32, 32, 3),
    "full": (224, 224, 3),
    "data": "scenes",
}


def _imagenet(
    name: str, layers: Sequence[int], block: Any, num_classes: int, shape: Sequence[int], **more: Any
) -> ResNet:
    if len(shape) != 3:
        raise ValueError(f"{name}: expected input_shape (H, W, C), got {tuple(shape)}")
    return ResNet(layers, block, num_classes, in_channels=shape[2], **more)


@register("resnet18", what="18 layers: basic residual blocks 2, 2, 2, 2", **_LARGE)
def resnet18(num_classes: int = 1000, *, input_shape: Sequence[int] = (224, 224, 3), **options: Any) -> ResNet:
    """ResNet-18 on [N,H,W,C] images: 11,689,512 parameters; logits [N,num_classes]. `ResNet`'s options and errors."""
    return _imagenet("resnet18", (2, 2, 2, 2), "basic", num_classes, input_shape, **options)


@register("resnet34", what="34 layers: basic residual blocks 3, 4, 6, 3", **_LARGE)
def resnet34(num_classes: int = 1000, *, input_shape: Sequence[int] = (224, 224, 3), **options: Any) -> ResNet:
    """ResNet-34 on [N,H,W,C] images: 21,797,672 parameters; logits [N,num_classes]. `ResNet`'s options and errors."""
    return _imagenet("resnet34", (3, 4, 6, 3), "basic", num_classes, input_shape, **options)


@register("resnet50", what="50 layers: bottleneck residual blocks 3, 4, 6, 3", **_LARGE)
def resnet50(num_classes: int = 1000, *, input_shape: Sequence[int] = (224, 224, 3), **options: Any) -> ResNet:
    """ResNet-50 on [N,H,W,C] images: 25,557,032 parameters; logits [N,num_classes]. `ResNet`'s options and errors."""
    return _imagenet("resnet50", (3, 4, 6, 3), "bottleneck", num_classes, input_shape, **options)


@register("resnet101", what="101 layers: bottleneck residual blocks 3, 4, 23, 3", **_LARGE)
def resnet101(num_classes: int = 1000, *, input_shape: Sequence[int] = (224, 224, 3), **options: Any) -> ResNet:
    """ResNet-101 on [N,H,W,C] images: 44,549,160 parameters; logits [N,num_classes]. `ResNet`'s options and errors."""
    return _imagenet("resnet101", (3, 4, 23, 3), "bottleneck", num_classes, input_shape, **options)


@register("resnet152", what="152 layers: bottleneck residual blocks 3, 8, 36, 3", **_LARGE)
def resnet152(num_classes: int = 1000, *, input_shape: Sequence[int] = (224, 224, 3), **options: Any) -> ResNet:
    """ResNet-152 on [N,H,W,C] images: 60,192,808 parameters; logits [N,num_classes]. `ResNet`'s options and errors."""
    return _imagenet("resnet152", (3, 8, 36, 3), "bottleneck", num_classes, input_shape, **options)


# --- small images

_SMALL: dict[str, Any] = {
    "family": "convolutional",
    "year": 2015,
    "paper": PAPER,
    "recipe": Recipe(
        epochs=60, batch_size=32, optimizer="adam", lr=1e-2,
        augment=Affine(rotate=15.0, shift=0.1, scale=(0.85, 1.15), shear=10.0),
    ),
}  # fmt: skip


def small_resnet(
    depth: int, num_classes: int = 10, *, input_shape: Sequence[int] = (32, 32, 3), preactivation: bool = False,
    residual: bool = True, shortcut: Literal["A", "B"] = "A",
) -> ResNet:
    """The networks of depth 6n + 2 for small images [N,H,W,C]: n basic blocks each of 16, 32 and 64 channels.

    shortcut : "A" is the paper's for these, without parameters; residual=False is the plain network of that depth.
    Returns logits [N,num_classes]. Raises ValueError for another depth or shape.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 8 or (depth - 2) % 6:
        raise ValueError(f"small_resnet: depth must be 6n + 2 with n of at least 1, got {depth!r}")
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"small_resnet: expected input_shape (H, W, C), got {tuple(input_shape)}")
    return ResNet(
        [(depth - 2) // 6] * 3, "basic", num_classes, in_channels=input_shape[2], width=16, stem="small",
        preactivation=preactivation, shortcut=shortcut, residual=residual,
    )


@register("resnet20", what="20 layers for small images: 3 basic blocks each of 16, 32, 64 channels", **_SMALL)
def resnet20(num_classes: int = 10, *, input_shape: Sequence[int] = (32, 32, 3), **options: Any) -> ResNet:
    """`small_resnet` of depth 20: 269,722 parameters for colour images and ten classes."""
    return small_resnet(20, num_classes, input_shape=input_shape, **options)


@register("resnet56", what="56 layers for small images: 9 basic blocks each of 16, 32, 64 channels", **_SMALL)
def resnet56(num_classes: int = 10, *, input_shape: Sequence[int] = (32, 32, 3), **options: Any) -> ResNet:
    """`small_resnet` of depth 56: 853,018 parameters for colour images and ten classes."""
    return small_resnet(56, num_classes, input_shape=input_shape, **options)


@register("resnet110", what="110 layers for small images: 18 basic blocks each of 16, 32, 64 channels", **_SMALL)
def resnet110(num_classes: int = 10, *, input_shape: Sequence[int] = (32, 32, 3), **options: Any) -> ResNet:
    """`small_resnet` of depth 110: 1,727,962 parameters for colour images and ten classes."""
    return small_resnet(110, num_classes, input_shape=input_shape, **options)


@register("preact_resnet", what="pre-activation blocks for small images, 20 layers (any 6n + 2, as 200)",
          **{**_SMALL, "year": 2016, "paper": PREACT})  # fmt: skip
def preact_resnet(
    num_classes: int = 10, *, depth: int = 20, input_shape: Sequence[int] = (32, 32, 3), residual: bool = True,
) -> ResNet:
    """`small_resnet` with normalisation and activation before each convolution; trains at hundreds of layers."""
    return small_resnet(depth, num_classes, input_shape=input_shape, preactivation=True, residual=residual)
