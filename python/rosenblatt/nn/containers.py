"""Containers beyond `Sequential`: branches whose channels are joined, and residual connections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import ops
from .layers import Identity, Sequential
from .module import Module

__all__ = ["Branches", "Residual"]


class Branches(Sequential):
    """The outputs of all branches for one x, joined along `axis` (the channels); named "0", "1", ... or by a mapping.

    Each branch takes x [N,...,C]; results must agree in all other axes. Raises ValueError without a branch, and as
    `ops.concat` for outputs that do not fit.
    """

    def __init__(self, *branches: Any, axis: int = -1) -> None:
        super().__init__(*branches)
        if not self._modules:
            raise ValueError("Branches: expected at least one branch")
        self.axis = axis

    def forward(self, x: Any) -> Any:
        return ops.concat([branch(x) for branch in self._modules.values()], self.axis)


class Residual(Module):
    """body(x) + shortcut(x), through `activation` when one is given; the shortcut is x itself by default.

    activation : None, "relu", "tanh" or "sigmoid". Raises ValueError when the shapes of the sum's parts differ
    (nothing broadcasts), or for another activation.
    """

    def __init__(
        self, body: Module | Iterable[Module], shortcut: Module | None = None, activation: str | None = None
    ) -> None:
        super().__init__()
        functions = {None: None, "relu": ops.relu, "tanh": ops.tanh, "sigmoid": ops.sigmoid}
        if activation not in functions:
            raise ValueError(f"Residual: activation must be None, 'relu', 'tanh' or 'sigmoid', got {activation!r}")
        self.body = body if isinstance(body, Module) else Sequential(body)
        self.shortcut = Identity() if shortcut is None else shortcut
        self.activation = activation
        self._function = functions[activation]

    def forward(self, x: Any) -> Any:
        out, past = self.body(x), self.shortcut(x)
        if tuple(out.shape) != tuple(past.shape):
            raise ValueError(f"Residual: the body gives shape {tuple(out.shape)}, the shortcut {tuple(past.shape)}")
        y = ops.add(out, past)
        return y if self._function is None else self._function(y)

    def extra_repr(self) -> str:
        return f"activation={self.activation!r}" if self.activation else ""
