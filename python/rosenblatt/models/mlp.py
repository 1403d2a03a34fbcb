"""The multi-layer perceptron: layers of units with a smooth or piecewise linear activation, trained by
back-propagation; fully or partially connected.

D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning representations by back-propagating errors, Nature 323, 1986.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..nn import Flatten, Linear, Module, PartialLinear, Sequential
from .registry import Recipe, register

__all__ = ["Activation", "mlp", "partial_mlp"]

FUSED = ("relu", "tanh", "sigmoid")  # computed by the dense layer itself
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "algebraic_sigmoid": ops.algebraic_sigmoid,
    "bipolar_sigmoid": ops.bipolar_sigmoid,
    "elu": ops.elu,
    "gelu": ops.gelu,
    "hard_tanh": ops.hard_tanh,
    "leaky_relu": ops.leaky_relu,
    "silu": ops.silu,
    "softplus": ops.softplus,
}


class Activation(Module):
    """One of the library's activation functions as a layer, by name, with its default parameters."""

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in _FUNCTIONS:
            raise ValueError(f"Activation: expected one of {', '.join(sorted(_FUNCTIONS))}, got {name!r}")
        self.name = name

    def forward(self, x: Any) -> Any:
        return _FUNCTIONS[self.name](x)

    def extra_repr(self) -> str:
        return repr(self.name)


def _dense(
    where: str, sizes: Sequence[int], activation: str, layer: Callable[[int, int, str | None], Module]
) -> list[Module]:
    """The hidden layers of those sizes; activations that a layer does not compute follow it."""
    if activation not in (*FUSED, *_FUNCTIONS, "linear"):
        names = ", ".join(sorted((*FUSED, *_FUNCTIONS, "linear")))
        raise ValueError(f"{where}: expected activation one of {names}, got {activation!r}")
    if any(isinstance(units, bool) or units < 1 for units in sizes[1:]):
        raise ValueError(f"{where}: hidden sizes must be positive, got {list(sizes[1:])}")
    layers: list[Module] = []
    for a, b in itertools.pairwise(sizes):
        layers.append(layer(a, b, activation if activation in FUSED else None))
        if activation in _FUNCTIONS:
            layers.append(Activation(activation))
    return layers


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
    activation: str = "relu",
) -> Sequential:
    """Flatten, one dense layer with the activation per entry of `hidden`, and a Linear to `classes` logits.

    activation : "relu", "tanh", "sigmoid", "linear", "leaky_relu", "elu", "gelu", "silu", "softplus", "hard_tanh",
        "bipolar_sigmoid" or "algebraic_sigmoid"

    Raises ValueError for a hidden size below 1 or an unknown activation.
    """
    sizes = [math.prod(input_shape), *hidden]
    layers = _dense("mlp", sizes, activation, lambda a, b, f: Linear(a, b, activation=f))
    return Sequential(Flatten(), *layers, Linear(sizes[-1], classes))


@register(
    "partial_mlp",
    family="feed-forward",
    year=1989,
    paper="Y. LeCun, Generalization and network design strategies, in Connectionism in Perspective, Elsevier, 1989",
    what="64-128-10, each hidden unit connected to a random quarter of the layer below",
    recipe=Recipe(epochs=120, batch_size=32, optimizer="adam", lr=1e-2, weight_decay=1e-3),
)
def partial_mlp(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 10,
    hidden: Sequence[int] = (128,),
    activation: str = "relu",
    density: float = 0.25,
    seed: int = 0,
) -> Sequential:
    """`mlp` whose hidden units each see a random part of the layer below; the output layer stays fully connected.

    density : the part that a unit sees, in (0, 1], rounded to at least one input
    seed : of the connections, which are part of the structure: saved weights need the same ones

    Raises ValueError for a density outside (0, 1], and as `mlp`.
    """
    if isinstance(density, bool) or not 0 < density <= 1:
        raise ValueError(f"partial_mlp: density must be in (0, 1], got {density!r}")

    def layer(a: int, b: int, f: str | None) -> Module:
        made.append(b)
        return PartialLinear(a, b, max(1, round(density * a)), activation=f, seed=seed + len(made))

    made: list[int] = []
    sizes = [math.prod(input_shape), *hidden]
    return Sequential(Flatten(), *_dense("partial_mlp", sizes, activation, layer), Linear(sizes[-1], classes))
