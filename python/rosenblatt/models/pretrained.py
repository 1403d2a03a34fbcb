"""Networks with weights from a file, whole or for fine-tuning."""

from __future__ import annotations

import os
from typing import Any

from ..io import WeightsError, load_weights, read_shapes
from ..nn import Linear, Module
from .registry import build

__all__ = ["head", "load"]


def head(model: Module) -> str:
    """The dotted name of the layer that gives the classes: the last dense one. Raises ValueError without any."""
    found = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    if not found:
        raise ValueError(f"head: {type(model).__name__} has no dense layer")
    return found[-1]


def _parent(model: Module, name: str) -> tuple[Module, str]:
    *path, last = name.split(".")
    for part in path:
        model = model._modules[part]
    return model, last


def load(
    name: str, path: str | os.PathLike[str], *, num_classes: int | None = None, freeze: bool = False, **options: Any
) -> Module:
    """The registered network `name` with the weights of a safetensors file in PyTorch's layout and names.

    Files with torchvision's names fit `alexnet`, `vgg11` to `vgg19`, `googlenet` and `resnet18` to `resnet152`; our own
    (`io.save_weights`) fit the network they were written from.

    Parameters
    ----------
    num_classes : of a new, untrained output layer, for fine-tuning; by default the file's is kept.
    freeze : leave everything but the output layer untrained (`requires_grad` False). Running statistics of batch
        normalisation follow the batches in training mode nevertheless, as in PyTorch.
    options : of the builder, such as `input_shape`.

    Raises WeightsError when the file is missing or damaged or is not of this network, UnknownModelError.
    """
    shapes = read_shapes(path)
    model = build(name, **options)
    last = head(model)
    stored = shapes.get(f"{last}.weight")
    if stored is None or len(stored) != 2:
        raise WeightsError(f"{os.fspath(path)}: expected the output layer {last}.weight of {name}, [classes,features]")
    parent, attribute = _parent(model, last)
    layer = parent._modules[attribute]
    assert isinstance(layer, Linear)
    features = layer.in_features
    if layer.out_features != stored[0]:
        setattr(parent, attribute, Linear(features, stored[0]))
    own = model.state_dict().keys()
    counts = {key for key in own if key.endswith("num_batches_tracked")}  # which older files lack
    # auxiliary classifiers serve training alone: a network without them leaves them out
    side = () if any(key.startswith("aux") for key in own) else ("aux1.", "aux2.")
    load_weights(model, path, names=lambda key: None if key.startswith(side) and side else key, optional=counts)
    if freeze:
        model.requires_grad_(False)
    if num_classes is not None and num_classes != stored[0]:
        setattr(parent, attribute, Linear(features, num_classes))
    parent._modules[attribute].requires_grad_(True)
    return model
