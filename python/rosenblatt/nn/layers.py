"""Layers. Images are [N,H,W,C]; argument names follow PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from .. import ops
from ..ops._common import activation_code, int_pair
from ..tensor import Parameter, Tensor
from . import init
from .module import Module

__all__ = ["AvgPool2d", "Conv2d", "Dropout", "Flatten", "Identity", "Linear", "MaxPool2d", "ReLU", "Sequential",
           "Sigmoid", "Softmax", "Tanh"]


def _count(where: str, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{where}: {name} must be a positive integer, got {value!r}")
    return value


class Linear(Module):
    """activation(x @ weight.T + bias); x [...,in_features], weight [out_features,in_features], bias [out_features].

    Both start uniform in +-1/sqrt(in_features) unless `weight_init` names another initialiser (then bias is 0).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, activation: str | None = None,
        weight_init: str = "default",
    ) -> None:
        super().__init__()
        self.in_features = _count("Linear", "in_features", in_features)
        self.out_features = _count("Linear", "out_features", out_features)
        activation_code("Linear", activation)
        self.activation = activation
        self.weight = Parameter(init.initialise(weight_init, (out_features, in_features)))
        self.bias: Parameter | None = None
        if bias:
            limit = 1.0 / math.sqrt(in_features) if weight_init == "default" else 0.0
            self.bias = Parameter(ops.uniform(out_features, -limit, limit))

    def forward(self, x: Any) -> Any:
        return ops.linear(x, self.weight, self.bias, activation=self.activation)

    def macs(self, output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * self.in_features

    def extra_repr(self) -> str:
        text = f"{self.in_features}, {self.out_features}"
        if self.bias is None:
            text += ", bias=False"
        return text + (f", activation={self.activation!r}" if self.activation else "")


class Conv2d(Module):
    """Cross-correlation; x [N,H,W,in_channels], weight [out_channels,R,S,in_channels/groups], bias [out_channels].

    `padding` is an integer, a pair, two pairs ((top, bottom), (left, right)), "valid" or "same". Weights start as in
    `Linear` with fan_in R*S*in_channels/groups. See `rosenblatt.ops.conv2d`.
    """

    disk_layout = {"weight": (0, 3, 1, 2)}  # noqa: RUF012  (declared ClassVar in Module)

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, activation: str | None = None,
        weight_init: str = "default",
    ) -> None:
        super().__init__()
        self.in_channels = _count("Conv2d", "in_channels", in_channels)
        self.out_channels = _count("Conv2d", "out_channels", out_channels)
        self.groups = _count("Conv2d", "groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: {in_channels} and {out_channels} channels do not split into {groups} groups")
        self.kernel_size = int_pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = int_pair("Conv2d", "stride", stride, 1)
        self.dilation = int_pair("Conv2d", "dilation", dilation, 1)
        self.padding = padding
        activation_code("Conv2d", activation)
        self.activation = activation
        shape = (out_channels, *self.kernel_size, in_channels // groups)
        self.weight = Parameter(init.initialise(weight_init, shape))
        self.bias: Parameter | None = None
        if bias:
            limit = 1.0 / math.sqrt(math.prod(shape[1:])) if weight_init == "default" else 0.0
            self.bias = Parameter(ops.uniform(out_channels, -limit, limit))

    def forward(self, x: Any) -> Any:
        return ops.conv2d(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
            groups=self.groups, activation=self.activation,
        )

    def macs(self, output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * math.prod(self.weight.shape[1:])

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, plain in (("padding", 0), ("dilation", (1, 1)), ("groups", 1), ("activation", None)):
            if getattr(self, name) != plain:
                text += f", {name}={getattr(self, name)!r}"
        return text + (", bias=False" if self.bias is None else "")


class _Pool2d(Module):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = int_pair(name, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else int_pair(name, "stride", stride, 1)
        self.padding = int_pair(name, "padding", padding, 0)

    def extra_repr(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}"
        return text + (f", padding={self.padding}" if self.padding != (0, 0) else "")


class MaxPool2d(_Pool2d):
    """The largest value of each window of [N,H,W,C]; stride defaults to kernel_size."""

    def forward(self, x: Any) -> Any:
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool2d):
    """The mean of each window of [N,H,W,C]; padded zeros count unless count_include_pad is False."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, count_include_pad: bool = True
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Any:
        return ops.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, count_include_pad=self.count_include_pad
        )


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
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0.0 <= p < 1.0:
            raise ValueError(f"Dropout: p must be in [0, 1), got {p!r}")
        self.p = float(p)

    def forward(self, x: Any) -> Any:
        return ops.dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """[N, ...] -> [N, everything]. Images flatten in memory order HWC, or as order="CHW" to match PyTorch's weights."""

    def __init__(self, order: str = "HWC") -> None:
        super().__init__()
        if order not in ("HWC", "CHW"):
            raise ValueError(f"Flatten: order must be 'HWC' or 'CHW', got {order!r}")
        self.order = order

    def forward(self, x: Any) -> Any:
        if self.order == "CHW" and len(x.shape) == 4:
            x = ops.transpose(x, (0, 3, 1, 2))
        return ops.flatten(x, 1)

    def extra_repr(self) -> str:
        return f"order={self.order!r}"


class Sequential(Module):
    """Layers one after another: `Sequential(a, b)`, `Sequential([a, b])`, or `add` one by one. Named "0", "1", ..."""

    def __init__(self, *layers: Module | Iterable[Module]) -> None:
        super().__init__()
        for layer in layers:
            if isinstance(layer, Module):
                self.add(layer)
            elif isinstance(layer, Iterable):
                for inner in layer:
                    self.add(inner)
            else:
                self.add(layer)

    def add(self, layer: Module) -> Sequential:
        """Appends a layer; returns self. Raises TypeError when it is not a Module."""
        if not isinstance(layer, Module):
            raise TypeError(f"Sequential: expected a Module, got {type(layer).__name__}")
        setattr(self, str(len(self._modules)), layer)
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
