"""Layers. Images are [N,H,W,C]; argument names follow PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from .. import ops
from ..ops._common import activation_code
from ..tensor import Parameter, Tensor
from . import init
from ._options import positive_integer
from .module import Module

__all__ = ["Dropout", "Flatten", "Identity", "Linear", "ReLU", "Sequential", "Sigmoid", "Softmax", "Tanh"]


class Linear(Module):
    """activation(x @ weight.T + bias); x [...,in_features], weight [out_features,in_features], bias [out_features].

    Both start uniform in +-1/sqrt(in_features) unless `weight_init` names another initialiser (then bias is 0).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, activation: str | None = None,
        weight_init: str = "default",
    ) -> None:
        super().__init__()
        self.in_features = positive_integer("Linear", "in_features", in_features)
        self.out_features = positive_integer("Linear", "out_features", out_features)
        activation_code("Linear", activation)
        self.activation = activation
        self.weight = Parameter(init.initialise(weight_init, (out_features, in_features)))
        self.bias: Parameter | None = None
        if bias:
            limit = 1.0 / math.sqrt(in_features) if weight_init == "default" else 0.0
            self.bias = Parameter(ops.uniform(out_features, -limit, limit))

    def forward(self, x: Any) -> Any:
        return ops.linear(x, self.weight, self.bias, activation=self.activation)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """[..., out_features] for x of shape [..., in_features]. Raises ValueError for another."""
        if not input_shape or input_shape[-1] != self.in_features:
            raise ValueError(f"Linear: expected x [..., {self.in_features}], got shape {input_shape}")
        return (*input_shape[:-1], self.out_features)

    def macs(self, output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * self.in_features

    def extra_repr(self) -> str:
        text = f"{self.in_features}, {self.out_features}"
        if self.bias is None:
            text += ", bias=False"
        return text + (f", activation={self.activation!r}" if self.activation else "")


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        return ops.relu(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Any:
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e**-x)."""

    def forward(self, x: Any) -> Any:
        return ops.sigmoid(x)


class Softmax(Module):
    """exp(x) / sum exp(x) along `axis`."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Any) -> Any:
        return ops.softmax(x, self.axis)


class Identity(Module):
    """x itself."""

    def forward(self, x: Any) -> Any:
        return x


class Dropout(Module):
    """Inverted dropout with probability p while training; the identity in evaluation mode."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if isinstance(p, bool) or not isinstance(p, (int, float, np.integer, np.floating)) or not 0.0 <= p < 1.0:
            raise ValueError(f"Dropout: p must be in [0, 1), got {p!r}")
        self.p = float(p)

    def forward(self, x: Any) -> Any:
        return ops.dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """[N, ...] -> [N, everything]. Images flatten in memory order HWC, or as order="CHW" to match PyTorch's weights.

    Rows [N,L,C] and volumes [N,D,H,W,C] likewise: "CHW" puts the channels first.
    """

    def __init__(self, order: str = "HWC") -> None:
        super().__init__()
        if order not in ("HWC", "CHW"):
            raise ValueError(f"Flatten: order must be 'HWC' or 'CHW', got {order!r}")
        self.order = order

    def forward(self, x: Any) -> Any:
        if self.order == "CHW" and len(x.shape) > 2:
            x = ops.transpose(x, (0, len(x.shape) - 1, *range(1, len(x.shape) - 1)))
        return ops.flatten(x, 1)

    def window(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[tuple[int, int | Fraction], ...]:
        return tuple((n, n) for n in input_shape[:-1])

    def extra_repr(self) -> str:
        return f"order={self.order!r}"


class Sequential(Module):
    """Layers one after another: `Sequential(a, b)`, `Sequential([a, b])`, or `add` one by one. Named "0", "1", ...

    `Sequential({"conv": a, "norm": b})` gives them names of their own.
    """

    def __init__(self, *layers: Module | Iterable[Module] | Mapping[str, Module]) -> None:
        super().__init__()
        for layer in layers:
            if isinstance(layer, Module):
                self.add(layer)
            elif isinstance(layer, Mapping):
                for name, inner in layer.items():
                    self.add(inner, name)
            elif isinstance(layer, Iterable):
                for inner in layer:
                    self.add(inner)
            else:
                self.add(layer)

    def add(self, layer: Module, name: str | None = None) -> Sequential:
        """Appends a layer, under its number when no name is given; returns self.

        Raises TypeError when it is not a Module, ValueError for a name that is taken or has a dot.
        """
        if not isinstance(layer, Module):
            raise TypeError(f"Sequential: expected a Module, got {type(layer).__name__}")
        name = str(len(self._modules)) if name is None else name
        if "." in name or hasattr(self, name):
            raise ValueError(f"Sequential: the name {name!r} is taken or has a dot")
        setattr(self, name, layer)
        return self

    def forward(self, x: Any) -> Any:
        for layer in self._modules.values():
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int | slice) -> Module:
        layers = list(self._modules.values())
        if isinstance(index, slice):
            return Sequential(*layers[index])
        return layers[index]


def as_tensor(x: Any) -> Tensor:
    """x as a tensor sharing its data (integers and booleans become float32)."""
    return x if isinstance(x, Tensor) else Tensor(x)
