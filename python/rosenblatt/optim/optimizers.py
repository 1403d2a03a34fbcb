"""First-order optimisers: one pass over memory per parameter. PyTorch's semantics and argument names where it has them.

In every formula g stands for the gradient plus weight_decay * p (negated when `maximize`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Unpack

from .. import _core, ops
from ..autograd import mark_written
from ..tensor import Array
from .optimizer import Common, Optimizer, Setting, number, signed

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "DeltaBarDelta",
    "Nesterov",
    "ProjectedGD",
    "RMSprop",
]


def _zeros(p: Array) -> Array:
    return ops.zeros(p.shape, p.dtype)


def _filled(p: Array, value: float) -> Array:
    a = ops.zeros(p.shape, p.dtype)
    _core.fill(a, value)
    return a


class SGD(Optimizer):
    """m = momentum*m + (1-dampening)*g; p -= lr*m (or, nesterov, lr*(g + momentum*m), the common form). Notes C:7.

    parameters, and maximize, constraint, clipnorm, clipvalue, global_clipnorm: see `Optimizer`.
    """

    momentum, dampening, weight_decay, nesterov = Setting(), Setting(), Setting(), Setting()
    _kernel = "sgd_update"

    def __init__(
        self, parameters: Iterable[Any], lr: float = 0.01, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, **common: Unpack[Common],
    ) -> None:
        own = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
               "nesterov": nesterov}
        super().__init__(parameters, own, common)

    def _check(self, group: dict[str, Any]) -> None:
        where = type(self).__name__
        group["momentum"] = number(where, "momentum", group["momentum"], 0.0)
        group["dampening"] = number(where, "dampening", group["dampening"], 0.0, 1.0, closed=True)
        group["weight_decay"] = number(where, "weight_decay", group["weight_decay"], 0.0)
        group["nesterov"] = bool(group["nesterov"])
        if group["nesterov"] and (group["momentum"] == 0.0 or group["dampening"] != 0.0):
            raise ValueError(f"{where}: nesterov needs momentum > 0 and dampening 0")

    def _allocate(self, p: Array, group: dict[str, Any]) -> dict[str, Array]:
        return {"momentum": _zeros(p)} if group["momentum"] else {}

    def _slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("momentum" if group["momentum"] else None,)

    def _scalars(self, group: dict[str, Any], count: int) -> tuple[Any, ...]:
        lr, decay = signed(group)
        return lr, group["momentum"], group["dampening"], decay, int(group["nesterov"]), int(count == 1)


class ProjectedGD(SGD):
    """p = projection(p - lr*g): gradient descent on a set. Notes B:2.7.

    projection : called with each updated array to project it in place: `optim.MaxNorm(c)`, `optim.Box(a, b)`, ..., or a
        function of yours. Raises TypeError when it cannot be called.
    """

    def __init__(
        self, parameters: Iterable[Any], lr: float = 0.01, projection: Callable[[Array], None] | None = None,
        **common: Unpack[Common],
    ) -> None:
        if not callable(projection) or common.get("constraint") is not None:
            raise TypeError(f"ProjectedGD: expected a projection that can be called (and no constraint), "
                            f"got {projection!r}")
        common["constraint"] = projection
        super().__init__(parameters, lr, **common)


class Nesterov(Optimizer):
    """Nesterov's method in its four steps (notes B:2.7): look ahead to p + momentum*v; take the gradient g there;
    v = momentum*v - lr*g; p = p + v.

    `step(closure)` does all four and leaves the parameters at p. `step()` without a closure uses gradients taken where
    the parameters are and leaves them at the next look-ahead point, ready for the next gradient; `settle()` brings them
    back to p (to evaluate or save), `look_ahead()` forth again. The common form is `SGD(nesterov=True)`.
    """

    momentum, weight_decay = Setting(), Setting()

    def __init__(
        self, parameters: Iterable[Any], lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        self._ahead: list[float] = []  # parameter i stands at p + _ahead[i] * v
        self._settled = False
        self._leave_ahead = True
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}, common)

    def _check(self, group: dict[str, Any]) -> None:
        for name in ("momentum", "weight_decay"):
            group[name] = number("Nesterov", name, group[name], 0.0)
        self._ahead += [0.0] * len(group["params"])

    def _allocate(self, p: Array, group: dict[str, Any]) -> dict[str, Array]:
        return {"v": _zeros(p)}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """See the class. Raises RuntimeError after `settle()` when there is neither a closure nor a `look_ahead()`."""
        if closure is None:
            if self._settled:
                raise RuntimeError("Nesterov: step() after settle(): call look_ahead() before taking the gradients")
            return super().step()
        self.look_ahead()
        self._leave_ahead, self._settled = False, True
        try:
            return super().step(closure)
        finally:
            self._leave_ahead = True

    def look_ahead(self) -> None:
        """Moves every parameter to p + momentum*v, unless it is ahead."""
        for i, group in enumerate(self._groups):
            if not self._ahead[i]:
                self._move(i, group["momentum"])
        self._settled = False

    def settle(self) -> None:
        """Moves every parameter back to p."""
        for i, ahead in enumerate(self._ahead):
            if ahead:
                self._move(i, 0.0)
        self._settled = True

    def _move(self, i: int, ahead: float) -> None:
        v = self._state[i].get("v")
        if v is not None:
            p = self.parameters[i].data
            _core.copy(ops.add(p, ops.mul(v, ahead - self._ahead[i])), p)
            mark_written((self.parameters[i],))
            self._ahead[i] = ahead

    def _update(self, i: int, p: Array, g: Array) -> None:
        group = self._groups[i]
        lr, decay = signed(group)
        ahead = group["momentum"] if self._leave_ahead else 0.0
        _core.nesterov_update(p, g, self._state[i]["v"], lr, group["momentum"], self._ahead[i], ahead, decay)
        self._ahead[i] = ahead

    def _extra_state(self) -> dict[str, Any]:
        return {"ahead": list(self._ahead), "settled": self._settled}

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        if len(extra["ahead"]) != len(self._ahead):
            raise ValueError(f"Nesterov: expected state for {len(self._ahead)} parameters, got {len(extra['ahead'])}")
        self._ahead[:] = [float(a) for a in extra["ahead"]]
        self._settled = bool(extra["settled"])


class Adagrad(Optimizer):
    """s += g*g; p -= lr / (1 + (n-1)*lr_decay) * g / (sqrt(s) + eps), n the update's number (Duchi et al. 2011).

    eps_inside : divide by sqrt(s + eps) instead, as printed in notes B:2.7
    initial_accumulator_value : s before the first update
    """

    weight_decay, lr_decay, eps, eps_inside = Setting(), Setting(), Setting(), Setting()
    initial_accumulator_value = Setting()
    _kernel = "adagrad_update"

    def __init__(
        self, parameters: Iterable[Any], lr: float = 0.01, lr_decay: float = 0.0, weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0, eps: float = 1e-10, eps_inside: bool = False, **common: Unpack[Common],
    ) -> None:
        own = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
               "initial_accumulator_value": initial_accumulator_value, "eps": eps, "eps_inside": eps_inside}
        super().__init__(parameters, own, common)

    def _check(self, group: dict[str, Any]) -> None:
        for name in ("lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            group[name] = number("Adagrad", name, group[name], 0.0)
        group["eps_inside"] = bool(group["eps_inside"])

    def _allocate(self, p: Array, group: dict[str, Any]) -> dict[str, Array]:
        return {"sum": _filled(p, group["initial_accumulator_value"])}

    def _slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("sum",)

    def _scalars(self, group: dict[str, Any], count: int) -> tuple[Any, ...]:
        lr, decay = signed(group)
        return lr / (1.0 + (count - 1) * group["lr_decay"]), decay, group["eps"], int(group["eps_inside"])


class RMSprop(Optimizer):
    """v = alpha*v + (1-alpha)*g*g; p -= lr * g / (sqrt(v) + eps) (Tieleman & Hinton 2012).

    eps_inside : divide by sqrt(v + eps) instead, as printed in notes B:2.7, there with alpha=0.9, eps=1e-10
    centered : use the variance v - mean**2, mean = alpha*mean + (1-alpha)*g, never below 0 (Graves 2013)
    momentum : m = momentum*m + (the quotient); p -= lr*m
    """

    alpha, eps, weight_decay, momentum = Setting(), Setting(), Setting(), Setting()
    centered, eps_inside = Setting(), Setting()
    _kernel = "rmsprop_update"

    def __init__(
        self, parameters: Iterable[Any], lr: float = 0.01, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False, eps_inside: bool = False,
        **common: Unpack[Common],
    ) -> None:
        own = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
               "centered": centered, "eps_inside": eps_inside}
        super().__init__(parameters, own, common)

    def _check(self, group: dict[str, Any]) -> None:
        group["alpha"] = number("RMSprop", "alpha", group["alpha"], 0.0, 1.0, closed=True)
        for name in ("eps", "weight_decay", "momentum"):
            group[name] = number("RMSprop", name, group[name], 0.0)
        group["centered"], group["eps_inside"] = bool(group["centered"]), bool(group["eps_inside"])

    def _allocate(self, p: Array, group: dict[str, Any]) -> dict[str, Array]:
        names = ["v", *(["mean"] if group["centered"] else []), *(["momentum"] if group["momentum"] else [])]
        return {name: _zeros(p) for name in names}

    def _slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "v", "mean" if group["centered"] else None, "momentum" if group["momentum"] else None

    def _scalars(self, group: dict[str, Any], count: int) -> tuple[Any, ...]:
        lr, decay = signed(group)
        return lr, group["alpha"], group["momentum"], decay, group["eps"], int(group["eps_inside"])


class Adadelta(Optimizer):
    """v = rho*v + (1-rho)*g*g; x = sqrt(d + eps) / sqrt(v + eps) * g; d = rho*d + (1-rho)*x*x; p -= lr*x.

    Zeiler 2012.
    """

    rho, eps, weight_decay = Setting(), Setting(), Setting()
    _kernel = "adadelta_update"

    def __init__(
        self, parameters: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6,
        weight_decay: float = 0.0, **common: Unpack[Common],
    ) -> None:
        super().__init__(parameters, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}, common)

    def _check(self, group: dict[str, Any]) -> None:
        group["rho"] = number("Adadelta", "rho", group["rho"], 0.0, 1.0, closed=True)
        group["eps"] = number("Adadelta", "eps", group["eps"], 0.0)
        group["weight_decay"] = number("Adadelta", "weight_decay", group["weight_decay"], 0.0)

    def _allocate(self, p: Array, group: dict[str, Any]) -> dict[str, Array]:
        return {"v": _zeros(p), "d": _zeros(p)}

    def _slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "v", "d"

    def _scalars(self, group: dict[str, Any], count: int) -> tuple[Any, ...]:
        lr, decay = signed(group)
        return lr, group["rho"], decay, group["eps"]


class DeltaBarDelta(Optimizer):
    """A learning rate r for every weight, from the signs of its successive derivatives (Jacobs 1988; notes B:2.7).

    r += kappa where g and bar agree in sign, r *= 1-phi where they differ; bar = (1-theta)*g + theta*bar; p -= r*g.
    r begins at `lr`; changing `lr` afterwards scales every step in proportion.
    """

    kappa, phi, theta, weight_decay = Setting(), Setting(), Setting(), Setting()

    def __init__(
        self, parameters: Iterable[Any], lr: float = 0.01, kappa: float = 1e-3, phi: float = 0.1, theta: float = 0.7,
        weight_decay: float = 0.0, **common: Unpack[Common],
    ) -> None:
        self._start: list[float] = []  # of each group: lr when it was added
        own = {"lr": lr, "kappa": kappa, "phi": phi, "theta": theta, "weight_decay": weight_decay}
        super().__init__(parameters, own, common)

    def _check(self, group: dict[str, Any]) -> None:
        where = "DeltaBarDelta"
        if group["lr"] == 0.0:
            raise ValueError(f"{where}: lr must be positive, got {group['lr']!r}")
        for name in ("kappa", "weight_decay"):
            group[name] = number(where, name, group[name], 0.0)
        for name in ("phi", "theta"):
            group[name] = number(where, name, group[name], 0.0, 1.0)
        self._start += [group["lr"]] * len(group["params"])

    def _allocate(self, p: Array, group: dict[str, Any]) -> dict[str, Array]:
        start = next(s for s, g in zip(self._start, self._groups, strict=True) if g is group)
        return {"rate": _filled(p, start), "bar": _zeros(p)}

    def _update(self, i: int, p: Array, g: Array) -> None:
        group, state = self._groups[i], self._state[i]
        lr, decay = signed(group)
        _core.delta_bar_delta_update(
            p, g, state["rate"], state["bar"], lr / self._start[i], group["kappa"], group["phi"], group["theta"], decay
        )

    def _extra_state(self) -> dict[str, Any]:
        return {"start": list(self._start)}

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        if len(extra["start"]) != len(self._start):
            raise ValueError(
                f"DeltaBarDelta: expected state for {len(self._start)} parameters, got {len(extra['start'])}"
            )
        self._start[:] = [float(s) for s in extra["start"]]


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) with bias correction; eps outside the root; weight_decay as an L2 penalty."""

    betas, eps, weight_decay = Setting(), Setting(), Setting()
    _decoupled = 0
    _kernel = "adam_update"

    def __init__(
        self, parameters: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0, **common: Unpack[Common],
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, common)

    def _check(self, group: dict[str, Any]) -> None:
        where, betas = type(self).__name__, group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{where}: betas must be a pair of numbers, got {betas!r}")
        group["betas"] = tuple(number(where, f"betas[{k}]", b, 0.0, 1.0) for k, b in enumerate(betas))
        group["eps"] = number(where, "eps", group["eps"], 0.0)
        group["weight_decay"] = number(where, "weight_decay", group["weight_decay"], 0.0)

    def _allocate(self, p: Array, group: dict[str, Any]) -> dict[str, Array]:
        return {"m": _zeros(p), "v": _zeros(p)}

    def _slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "m", "v"

    def _scalars(self, group: dict[str, Any], count: int) -> tuple[Any, ...]:
        lr, decay = signed(group)
        return lr, *group["betas"], group["eps"], decay, self._decoupled, count


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    _decoupled = 1

    def __init__(
        self, parameters: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2, **common: Unpack[Common],
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, **common)
