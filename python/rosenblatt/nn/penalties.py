"""Penalties: terms added to a loss, `loss(model(x), y) + nn.L2(1e-4)(model)` or `fit(penalty=nn.L2(1e-4))`.

A penalty is called with a module and returns a scalar tensor (0 for a module without fitting parameters). Penalties of
weights take every parameter with two or more axes; biases and other vectors only with `biases=True` (notes A:2.D: the
bias is not penalised). Penalties add up: `nn.L1(1e-5) + nn.ActivityPenalty()`. Activity penalties are layers, put
behind the layer whose outputs they watch, and collected by `ActivityPenalty`. The max-norm projection is
`optim.MaxNorm`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..autograd import enable_grad, grad
from ..tensor import Parameter, Tensor
from ._options import non_negative
from .layers import Linear
from .module import Module

__all__ = [
    "L1", "L2", "ActivityKL", "ActivityL1", "ActivityPenalty", "Contractive", "ElasticNet", "Penalty", "SoftSharing",
    "WeightDecay",
]


def _total(terms: Iterable[Any]) -> Tensor:
    total: Any = None
    for term in terms:
        total = term if total is None else ops.add(total, term)
    return Tensor(np.zeros((), np.float32)) if total is None else total


class Penalty:
    """Base class; `penalty(module)` is the sum of `of(parameter)` over the module's weights, a scalar tensor."""

    def __init__(self, biases: bool = False) -> None:
        self.biases = bool(biases)

    def parameters(self, module: Module) -> Iterator[Parameter]:
        """The parameters that count."""
        return (p for p in module.parameters() if self.biases or p.ndim >= 2)

    def of(self, parameter: Tensor) -> Any:
        """The term of one parameter, a scalar tensor."""
        raise TypeError(f"{type(self).__name__} defines no term")

    def __call__(self, module: Module) -> Tensor:
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: expected a Module, got {type(module).__name__}")
        return _total(self.of(p) for p in self.parameters(module))

    def __add__(self, other: Penalty) -> Penalty:
        if not isinstance(other, Penalty):
            return NotImplemented
        return _Sum((self, other))

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({shown})"


class _Sum(Penalty):
    """Several penalties on the same module."""

    def __init__(self, parts: Sequence[Penalty]) -> None:
        super().__init__()
        self.parts = tuple(parts)

    def __call__(self, module: Module) -> Tensor:
        return _total(p(module) for p in self.parts)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


class L1(Penalty):
    """weight * sum |w| (lasso, notes A:2.D); the gradient at 0 is 0. Raises ValueError for a negative weight."""

    def __init__(self, weight: float, biases: bool = False) -> None:
        super().__init__(biases)
        self.weight = non_negative("L1", "weight", weight)

    def of(self, parameter: Tensor) -> Any:
        return ops.mul(ops.sum(ops.abs(parameter)), self.weight)


class L2(Penalty):
    """weight * sum w**2 (ridge, notes A:2.D). Raises ValueError for a negative weight."""

    def __init__(self, weight: float, biases: bool = False) -> None:
        super().__init__(biases)
        self.weight = non_negative("L2", "weight", weight)

    def of(self, parameter: Tensor) -> Any:
        return ops.mul(ops.sum(ops.square(parameter)), self.weight)


class WeightDecay(L2):
    """weight / 2 * sum w**2, whose gradient is weight * w (notes B:2.5)."""

    def of(self, parameter: Tensor) -> Any:
        return ops.mul(ops.sum(ops.square(parameter)), 0.5 * self.weight)


class ElasticNet(Penalty):
    """weight * ((1 - alpha) sum |w| + alpha sum w**2) (notes A:2.D).

    alpha = 0 is the lasso and alpha = 1 ridge, the other way round than scikit-learn's `l1_ratio`.
    Raises ValueError for a negative weight and alpha outside [0, 1].
    """

    def __init__(self, weight: float, alpha: float = 0.5, biases: bool = False) -> None:
        super().__init__(biases)
        self.weight = non_negative("ElasticNet", "weight", weight)
        self.alpha = non_negative("ElasticNet", "alpha", alpha, 1.0)

    def of(self, parameter: Tensor) -> Any:
        l1 = ops.mul(ops.sum(ops.abs(parameter)), self.weight * (1.0 - self.alpha))
        return ops.add(l1, ops.mul(ops.sum(ops.square(parameter)), self.weight * self.alpha))


class SoftSharing(Penalty):
    """sum_i weight_i ||A_i - B_i||**2 over the parameters that two modules have in common (notes B:2.5).

    Parameters
    ----------
    first, second : modules; parameters of one dotted name and shape are tied
    weight : one number for all, or {name: number} for the tied parameters alone

    `penalty(model)` ignores its argument. Raises ValueError when nothing is shared or a named parameter is not.
    """

    def __init__(self, first: Module, second: Module, weight: float | dict[str, float]) -> None:
        super().__init__(biases=True)
        a, b = dict(first.named_parameters()), dict(second.named_parameters())
        shared = [n for n in a if n in b and a[n].shape == b[n].shape]
        strengths = weight if isinstance(weight, dict) else dict.fromkeys(shared, weight)
        unknown = sorted(strengths.keys() - set(shared))
        if unknown or not strengths:
            what = f"parameters {unknown} are not shared" if unknown else "the modules share no parameter"
            raise ValueError(f"SoftSharing: expected names and shapes in common, got {sorted(shared)}: {what}")
        self._ties = [(a[n], b[n], non_negative("SoftSharing", f"weight of {n}", w)) for n, w in strengths.items()]
        self.weight = weight

    def __call__(self, module: Module | None = None) -> Tensor:
        return _total(ops.mul(ops.sum(ops.square(ops.sub(a, b))), w) for a, b, w in self._ties)


# --- penalties of activities


class _Activity(Module):
    """An identity layer that keeps the penalty of what passed through it last in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self._forget()

    def _forget(self) -> None:
        object.__setattr__(self, "term", None)

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which have no forward pass of their own: a term with a graph cannot be copied either."""
        return {**vars(self), "term": None}

    def of(self, activity: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no term")

    def forward(self, x: Any) -> Any:
        object.__setattr__(self, "term", self.of(x) if self.training else None)
        return x


class ActivityL1(_Activity):
    """Identity on [N,...] with the penalty weight * sum |h| / N: few active units (notes B:A9)."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = non_negative("ActivityL1", "weight", weight)

    def of(self, activity: Any) -> Any:
        return ops.mul(ops.sum(ops.abs(activity)), self.weight / max(activity.shape[0], 1))

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


class ActivityKL(_Activity):
    """Identity on [N,...] with the penalty weight * sum_j KL(rho || mean_n h_nj): unit j active with probability rho.

    KL = rho ln(rho / m) + (1 - rho) ln((1 - rho) / (1 - m)) with m the unit's mean over the batch (notes B:A9), for
    activities in [0, 1], as after a sigmoid; m is kept in [1e-7, 1 - 1e-7].
    Raises ValueError unless 0 < rho < 1.
    """

    def __init__(self, weight: float, rho: float = 0.05) -> None:
        super().__init__()
        self.weight = non_negative("ActivityKL", "weight", weight)
        if isinstance(rho, bool) or not isinstance(rho, (int, float)) or not 0.0 < rho < 1.0:
            raise ValueError(f"ActivityKL: rho must be in (0, 1), got {rho!r}")
        self.rho = float(rho)

    def of(self, activity: Any) -> Any:
        r = self.rho
        m = ops.minimum(ops.maximum(ops.mean(activity, 0), 1e-7), 1.0 - 1e-7)
        cross = ops.add(ops.mul(ops.log(m), r), ops.mul(ops.log(ops.sub(1.0, m)), 1.0 - r))
        own = r * math.log(r) + (1.0 - r) * math.log(1.0 - r)
        return ops.mul(ops.sum(ops.sub(own, cross)), self.weight)

    def extra_repr(self) -> str:
        return f"weight={self.weight}, rho={self.rho}"


class ActivityPenalty(Penalty):
    """Sum of the terms that `ActivityL1` and `ActivityKL` layers kept from the last forward pass in training mode.

    Collecting empties them, so that a pass counts once. Raises ValueError when the module has no such layer.
    """

    def __call__(self, module: Module) -> Tensor:
        layers = [m for m in module.modules() if isinstance(m, _Activity)]
        if not layers:
            raise ValueError("ActivityPenalty: expected ActivityL1 or ActivityKL layers in the module, found none")
        terms: list[Any] = [layer.term for layer in layers]  # type: ignore[attr-defined]
        for layer in layers:
            layer._forget()
        return _total(t for t in terms if t is not None)


class Contractive:
    """weight * mean_n ||d h / d x||**2 (Frobenius) of an encoder h(x) (Rifai et al. 2011; notes B:A10).

    `penalty(encoder, x)` for x [N,...] returns a scalar tensor that is differentiable in the encoder's parameters.

    method : "closed" for a `Linear` layer, from sum_j f'(h_j)**2 sum_i W_ji**2; "gradient" for any encoder, by one
        second-order backward pass per code unit; "auto" takes the closed form where it applies
    Raises ValueError for an unknown method, a negative weight, and "closed" with another encoder.
    """

    def __init__(self, weight: float = 1.0, method: str = "auto") -> None:
        if method not in ("auto", "closed", "gradient"):
            raise ValueError(f"Contractive: method must be 'auto', 'closed' or 'gradient', got {method!r}")
        self.weight = non_negative("Contractive", "weight", weight)
        self.method = method

    def __call__(self, encoder: Module, x: Any) -> Any:
        inputs = x.data if isinstance(x, Tensor) else Tensor(x).data
        if inputs.ndim < 2 or not len(inputs):
            raise ValueError(f"Contractive: expected x [N,...] with examples, got shape {inputs.shape}")
        closed = isinstance(encoder, Linear)
        if self.method == "closed" and not closed:
            raise ValueError(f"Contractive: the closed form needs a Linear encoder, got {type(encoder).__name__}")
        if closed and self.method != "gradient":
            total = self._closed(encoder, Tensor(inputs))
        else:
            total = self._by_gradient(encoder, inputs)
        return ops.mul(total, self.weight / len(inputs))

    @staticmethod
    def _closed(encoder: Any, x: Tensor) -> Any:
        h = encoder(x)
        slopes = {
            "sigmoid": lambda: ops.mul(h, ops.sub(1.0, h)),
            "tanh": lambda: ops.sub(1.0, ops.square(h)),
            "relu": lambda: ops.greater(h, 0.0),
        }
        squared = ops.sum(ops.square(encoder.weight), 1)
        f = slopes.get(encoder.activation)
        if f is None:
            return ops.mul(ops.sum(squared), float(math.prod(h.shape[:-1])))
        return ops.sum(ops.mul(ops.square(f()), squared))

    @staticmethod
    def _by_gradient(encoder: Module, inputs: Any) -> Any:
        with enable_grad():
            x = Tensor(inputs, requires_grad=True)
            h = encoder(x)
            h = ops.reshape(h, (len(inputs), -1))
            terms = []
            for j in range(h.shape[1]):
                (slope,) = grad(ops.sum(h[:, j]), [x], create_graph=True)
                terms.append(ops.sum(ops.square(slope)))
            return _total(terms)

    def __repr__(self) -> str:
        return f"Contractive(weight={self.weight}, method={self.method!r})"
