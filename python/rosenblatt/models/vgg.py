"""VGG: K. Simonyan, A. Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015.

    input [N,224,224,3] -> two to four 3x3 convolutions, pool, five times: 64 [N,112,112,64], 128 [N,56,56,128],
    256 [N,28,28,256], 512 [N,14,14,512], 512 [N,7,7,512] -> 4096 -> 4096 -> classes

Nothing but 3x3 kernels: three of them see 7x7 pixels with 27 C^2 weights instead of 49 C^2. Parameter names and the
order in which maps are flattened are torchvision's. `VGG.maps` gives the activations of named layers, with which
`PerceptualLoss` compares pictures (J. Johnson, A. Alahi, L. Fei-Fei, Perceptual losses for real-time style transfer
and super-resolution, ECCV 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import ops
from ..nn import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential
from ..tensor import Tensor
from .registry import Recipe, register

__all__ = ["VGG", "PerceptualLoss", "vgg11", "vgg13", "vgg16", "vgg19"]

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


class VGG(Module):
    """`depth` layers with weights (11, 13, 16 or 19) on [N,H,W,C] images, returning logits [N,num_classes].

    Parameters
    ----------
    input_shape : (H, W, C), H and W at least 32; the first dense layer takes floor(H/32) floor(W/32) 512 numbers.
    hidden : units of both hidden dense layers.
    batch_norm : normalise behind every convolution (not in the paper).
    dropout : behind the hidden dense layers.

    Raises ValueError for another depth or a smaller image.
    """

    def __init__(
        self, depth: int, num_classes: int = 1000, *, input_shape: Sequence[int] = (224, 224, 3), hidden: int = 4096,
        batch_norm: bool = False, dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise ValueError(f"VGG: depth must be 11, 13, 16 or 19, got {depth!r}")
        if len(input_shape) != 3 or min(input_shape[:2]) < 32:
            raise ValueError(f"VGG: expected input_shape (H, W, C) with H and W at least 32, got {tuple(input_shape)}")
        rows, columns, channels = input_shape
        layers: dict[str, Module] = {}
        self._places: dict[str, str] = {}  # conv1_1, ..., pool5 -> number in `features`
        place = 0
        for stage, (count, width) in enumerate(zip(CONVOLUTIONS[depth], WIDTHS, strict=True), 1):
            for i in range(1, count + 1):
                activation = None if batch_norm else "relu"
                layers[str(place)] = Conv2d(
                    channels, width, 3, padding=1, activation=activation, weight_init="he_normal"
                )
                if batch_norm:
                    layers[str(place + 1)], layers[str(place + 2)] = BatchNorm2d(width), ReLU()
                self._places[f"conv{stage}_{i}"] = str(place + 2 if batch_norm else place)
                place += 3 if batch_norm else 2  # torchvision counts the activation as a layer
                channels = width
            layers[str(place)] = MaxPool2d(2, 2)
            self._places[f"pool{stage}"] = str(place)
            place += 1
        self.features = Sequential(layers)
        self.flatten = Flatten(order="CHW")
        self.classifier = Sequential({
            "0": Linear((rows // 32) * (columns // 32) * 512, hidden, activation="relu", weight_init="he_normal"),
            "2": Dropout(dropout),
            "3": Linear(hidden, hidden, activation="relu", weight_init="he_normal"),
            "5": Dropout(dropout),
            "6": Linear(hidden, num_classes),
        })

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.features(x)))

    def maps(self, x: Any, layers: Sequence[str]) -> dict[str, Any]:
        """The activations [N,h,w,K] of layers conv1_1, ..., conv5_4, pool1, ..., pool5, by name, for x [N,H,W,C].

        Nothing behind the last of them is computed. Raises ValueError for a name that is none of these.
        """
        unknown = [name for name in layers if name not in self._places]
        if unknown:
            raise ValueError(f"VGG.maps: no layer {unknown[0]!r}; there are {', '.join(self._places)}")
        wanted = {self._places[name]: name for name in layers}
        found: dict[str, Any] = {}
        for place, layer in self.features._modules.items():
            if len(found) == len(wanted):
                break
            x = layer(x)
            if place in wanted:
                found[wanted[place]] = x
        return {name: found[name] for name in layers}


class PerceptualLoss(Module):
    """How different two pictures look to a network: the weighted sum of the mean squared differences of its maps.

    Parameters
    ----------
    network : a `VGG`; its weights are not trained (`requires_grad` becomes False), and it is put in evaluation mode.
    layers : {name of a layer (`VGG.maps`): weight}.

    Called with prediction and target [N,H,W,C] it returns a scalar whose gradient reaches the prediction. Raises
    ValueError for pictures of two shapes, unknown layers, or none.
    """

    def __init__(self, network: VGG, layers: Mapping[str, float]) -> None:
        super().__init__()
        if not layers:
            raise ValueError("PerceptualLoss: expected at least one layer")
        self.network = network
        network.requires_grad_(False).eval()
        self.layers = {name: float(weight) for name, weight in layers.items()}

    def train(self, mode: bool = True) -> Module:
        """The network stays in evaluation mode."""
        object.__setattr__(self, "training", bool(mode))
        return self

    def forward(self, prediction: Any, target: Any) -> Any:
        if tuple(prediction.shape) != tuple(target.shape):
            raise ValueError(
                f"PerceptualLoss: expected pictures of one shape, got {tuple(prediction.shape)}, {tuple(target.shape)}"
            )
        names = list(self.layers)
        ours = self.network.maps(prediction, names)
        theirs = self.network.maps(target if isinstance(target, Tensor) else Tensor(target), names)
        total: Any = 0.0
        for name, weight in self.layers.items():
            total = ops.add(ops.mul(ops.mse_loss(ours[name], theirs[name].detach()), weight), total)
        return total


_COMMON: dict[str, Any] = {
    "family": "convolutional",
    "year": 2014,
    "paper": "K. Simonyan, A. Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015",
    "recipe": Recipe(epochs=15, batch_size=32, optimizer="adam", lr=1e-4),
    "image": (32, 32, 3),
    "full": (224, 224, 3),
    "data": "scenes",
}


@register("vgg11", what="8 convolutions 3x3 and 3 dense layers", **_COMMON)
def vgg11(num_classes: int = 1000, **options: Any) -> VGG:
    """`VGG` of 11 layers: 132,863,336 parameters. Its options and errors."""
    return VGG(11, num_classes, **options)


@register("vgg13", what="10 convolutions 3x3 and 3 dense layers", **_COMMON)
def vgg13(num_classes: int = 1000, **options: Any) -> VGG:
    """`VGG` of 13 layers: 133,047,848 parameters. Its options and errors."""
    return VGG(13, num_classes, **options)


@register("vgg16", what="13 convolutions 3x3 and 3 dense layers", **_COMMON)
def vgg16(num_classes: int = 1000, **options: Any) -> VGG:
    """`VGG` of 16 layers: 138,357,544 parameters. Its options and errors."""
    return VGG(16, num_classes, **options)


@register("vgg19", what="16 convolutions 3x3 and 3 dense layers", **_COMMON)
def vgg19(num_classes: int = 1000, **options: Any) -> VGG:
    """`VGG` of 19 layers: 143,667,240 parameters. Its options and errors."""
    return VGG(19, num_classes, **options)
