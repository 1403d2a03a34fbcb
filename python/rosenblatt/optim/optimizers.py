"""Gradient descent with momentum, Adam and AdamW, with PyTorch's semantics and argument names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .. import _core
from ..ops import zeros
from ..tensor import Array, Parameter, Tensor

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]


def _number(where: str, name: str, value: Any, low: float, high: float = math.inf, closed: bool = False) -> float:
    """`value` as a float in [low, high) ([low, high] when closed). Raises ValueError naming the option."""
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or value < low or value > high or (value == high and not closed):
        raise ValueError(f"{where}: {name} must be a number in [{low}, {high}{']' if closed else ')'}, got {value!r}")
    return float(value)


class Optimizer:
    """Holds the parameters and `lr`, which may be changed at any time. `step()` uses every `.grad` that is set."""

    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.parameters = list(parameters)
        where = type(self).__name__
        if not self.parameters:
            raise ValueError(f"{where}: expected at least one parameter, got none")
        for i, p in enumerate(self.parameters):
            if not isinstance(p, Tensor):
                raise TypeError(f"{where}: expected parameters, got {type(p).__name__} at position {i}")
        self.lr = _number(where, "lr", lr, 0.0)
        self.steps = 0
        self._state: list[dict[str, Array]] = [{} for _ in self.parameters]
        self._updates = [0] * len(self.parameters)  # of each parameter: one frozen for a while has had fewer

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        self.steps += 1
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                g = p.grad.data
                if g.shape != p.data.shape or g.dtype != p.data.dtype:
                    raise ValueError(
                        f"{type(self).__name__}: expected a gradient of shape {p.shape} and {p.dtype} "
                        f"for parameter {i}, got {g.shape} and {g.dtype}"
                    )
                if not p.data.flags.c_contiguous:
                    raise ValueError(f"{type(self).__name__}: parameter {i} must be contiguous in memory")
                self._updates[i] += 1
                self._update(p.data, g, self._state[i], self._updates[i])

    def _update(self, p: Array, g: Array, state: dict[str, Array], count: int) -> None:
        raise TypeError(f"{type(self).__name__} defines no update")

    def state_dict(self) -> dict[str, Any]:
        """{"steps", "lr", "updates", "state": one dict of arrays per parameter}; arrays are copies."""
        return {
            "steps": self.steps,
            "lr": self.lr,
            "updates": list(self._updates),
            "state": [{k: v.copy() for k, v in s.items()} for s in self._state],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned. Raises ValueError when it belongs to other parameters."""
        slots, updates = state["state"], list(state["updates"])
        if len(slots) != len(self.parameters) or len(updates) != len(self.parameters):
            raise ValueError(
                f"{type(self).__name__}: expected state for {len(self.parameters)} parameters, got {len(slots)}"
            )
        for i, (p, slot) in enumerate(zip(self.parameters, slots, strict=True)):
            for name, array in slot.items():
                if array.shape != p.shape:
                    raise ValueError(
                        f"{type(self).__name__}: {name} of parameter {i}: expected shape {p.shape}, got {array.shape}"
                    )
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        self._state = [{k: v.copy() for k, v in slot.items()} for slot in slots]
        self._updates = [int(n) for n in updates]

    def options(self) -> dict[str, Any]:
        """Name and settings, for records of a run."""
        skip = ("parameters", "steps")
        own = {k: v for k, v in vars(self).items() if k not in skip and not k.startswith("_")}
        return {"name": type(self).__name__, **own}


class SGD(Optimizer):
    """m = momentum*m + (1-dampening)*(g + weight_decay*p); p -= lr*m (or, nesterov, lr*(g + momentum*m)). Notes C:7."""

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 0.01, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, lr)
        self.momentum = _number("SGD", "momentum", momentum, 0.0)
        self.dampening = _number("SGD", "dampening", dampening, 0.0, 1.0, closed=True)
        self.weight_decay = _number("SGD", "weight_decay", weight_decay, 0.0)
        self.nesterov = bool(nesterov)
        if nesterov and (self.momentum == 0.0 or self.dampening != 0.0):
            raise ValueError("SGD: nesterov needs momentum > 0 and dampening 0")

    def _update(self, p: Array, g: Array, state: dict[str, Array], count: int) -> None:
        m = None
        first = False
        if self.momentum:
            first = "momentum" not in state
            if first:
                state["momentum"] = zeros(p.shape, p.dtype)
            m = state["momentum"]
        _core.sgd_update(
            p, g, m, self.lr, self.momentum, self.dampening, self.weight_decay, int(self.nesterov), int(first)
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) with bias correction; eps outside the root; weight_decay as an L2 penalty."""

    _decoupled = 0

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr)
        where = type(self).__name__
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{where}: betas must be a pair of numbers, got {betas!r}")
        self.betas = (_number(where, "betas[0]", betas[0], 0.0, 1.0), _number(where, "betas[1]", betas[1], 0.0, 1.0))
        self.eps = _number(where, "eps", eps, 0.0)
        self.weight_decay = _number(where, "weight_decay", weight_decay, 0.0)

    def _update(self, p: Array, g: Array, state: dict[str, Array], count: int) -> None:
        if not state:
            state["m"], state["v"] = zeros(p.shape, p.dtype), zeros(p.shape, p.dtype)
        _core.adam_update(
            p, g, state["m"], state["v"], self.lr, *self.betas, self.eps, self.weight_decay, self._decoupled, count
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    _decoupled = 1

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)
