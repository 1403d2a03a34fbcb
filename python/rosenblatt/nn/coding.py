"""Layers of autoencoders: codes that are kept sparse or drawn at random, dropped weights, corruption in blocks.

`GaussianCode` keeps a penalty of its last forward pass in training mode, as `ActivityL1` does; `ActivityPenalty`
collects it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..tensor import Parameter
from ._options import non_negative, positive_integer
from .layers import Linear
from .module import Module
from .penalties import _Activity

__all__ = ["BatchStandardize", "BlockMasking", "DropConnect", "GaussianCode", "KSparse", "LeakyReLU", "Unflatten"]


class LeakyReLU(Module):
    """x above 0, slope * x elsewhere; x [...]. See `ops.leaky_relu`."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = non_negative("LeakyReLU", "slope", slope)

    def forward(self, x: Any) -> Any:
        return ops.leaky_relu(x, self.slope)

    def extra_repr(self) -> str:
        return f"slope={self.slope}"


class Unflatten(Module):
    """[N, product of shape] -> [N, *shape]: the inverse of `Flatten` in memory order. Raises ValueError."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(positive_integer("Unflatten", "a size", v) for v in shape)
        if not self.shape:
            raise ValueError("Unflatten: expected at least one size, got ()")

    def forward(self, x: Any) -> Any:
        if len(x.shape) != 2 or x.shape[1] != math.prod(self.shape):
            raise ValueError(f"Unflatten: expected [N,{math.prod(self.shape)}], got {list(x.shape)}")
        return ops.reshape(x, (x.shape[0], *self.shape))

    def extra_repr(self) -> str:
        return f"shape={self.shape}"


class KSparse(Module):
    """h [N,U] with all but the k largest activations of each example set to 0 (Makhzani & Frey 2014; notes B:A9).

    Exactly k places of an example keep their value, in training and in evaluation mode; of equal activations the first
    ones stay. The gradient reaches the kept places only. Raises ValueError unless 1 <= k <= U.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = positive_integer("KSparse", "k", k)

    def forward(self, x: Any) -> Any:
        if len(x.shape) != 2 or x.shape[1] < self.k:
            raise ValueError(f"KSparse: expected [N,U] with U of at least {self.k}, got {list(x.shape)}")
        least = ops.topk(x, self.k, 1)[0][:, self.k - 1 : self.k]  # [N,1], the k-th largest
        above = ops.greater(x, least)
        equal = ops.equal(x, least)  # as many of these, from the first on, as still have room
        room = ops.sub(float(self.k), ops.sum(above, 1, keepdims=True))
        return ops.mul(x, ops.add(above, ops.mul(equal, ops.less_equal(ops.cumsum(equal, 1), room))))

    def extra_repr(self) -> str:
        return f"k={self.k}"


class DropConnect(Linear):
    """`Linear` with each weight dropped with probability p in training (Wan et al. 2013), one mask per batch.

    units : the probability of dropping an output as well; both together are DropAll (Frazao & Alexandre 2014).
    Kept weights and outputs are scaled by 1 / (1 - probability), so evaluation uses the weights as they are.
    x [...,in_features]; biases are not dropped. Raises ValueError unless p and units are in [0, 1).
    """

    def __init__(
        self, in_features: int, out_features: int, p: float = 0.5, units: float = 0.0, activation: str | None = None,
    ) -> None:
        super().__init__(in_features, out_features, activation=activation)
        self.p = non_negative("DropConnect", "p", p, 1.0)
        self.units = non_negative("DropConnect", "units", units, 1.0)
        if self.p == 1.0 or self.units == 1.0:
            raise ValueError(f"DropConnect: p and units must be below 1, got {p!r} and {units!r}")

    def forward(self, x: Any) -> Any:
        weight: Any = ops.dropout(self.weight, self.p) if self.training and self.p else self.weight
        y = ops.linear(x, weight, self.bias, activation=self.activation)
        return ops.dropout(y, self.units) if self.training and self.units else y

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}" + (f", units={self.units}" if self.units else "")


class BatchStandardize(Module):
    """gamma * (x - mean) / sqrt(var + eps) + beta over a batch x [N,U] (Ioffe & Szegedy 2015).

    In training mean and (biased) variance are those of the batch. In evaluation they are the `mean` and `variance`
    that `settle` took from the whole training set, as the paper's algorithm 2 does after training; before that
    evaluation raises ValueError. `models.settle(network, x)` settles every such layer of a network.
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.features = positive_integer("BatchStandardize", "features", features)
        self.eps = non_negative("BatchStandardize", "eps", eps)
        self.gamma, self.beta = Parameter(ops.ones((features,))), Parameter(ops.zeros((features,)))
        self.mean = Parameter(ops.zeros((features,)), requires_grad=False)
        self.variance = Parameter(ops.zeros((features,)), requires_grad=False)  # 0: not settled
        self.settling = False

    def forward(self, x: Any) -> Any:
        if len(x.shape) != 2 or x.shape[1] != self.features:
            raise ValueError(f"BatchStandardize: expected [N,{self.features}], got {list(x.shape)}")
        if self.settling:
            values = np.asarray(x.data)
            self.mean.data[...] = values.mean(0, dtype=np.float64)
            self.variance.data[...] = np.maximum(values.var(0, dtype=np.float64), np.finfo(np.float32).tiny)
        mean: Any = self.mean
        variance: Any = self.variance
        if self.training:
            mean = ops.mean(x, 0)
            variance = ops.mean(ops.square(ops.sub(x, mean)), 0)
        elif not np.asarray(self.variance.data).any():
            raise ValueError("BatchStandardize: no statistics yet: call models.settle(network, x) after training")
        scale = ops.div(self.gamma, ops.sqrt(ops.add(variance, self.eps)))
        return ops.add(ops.mul(ops.sub(x, mean), scale), self.beta)

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"


class GaussianCode(_Activity):
    """[N,2d], the mean m and log-variance s of q(z|x), -> z [N,d]: m + exp(s/2) e, e standard normal, or m alone.

    The reparametrised sample of the variational autoencoder (Kingma & Welling 2014) in training mode, the mean in
    evaluation mode. The penalty kept is weight * mean_n KL(q(z|x_n) || N(0, I)), in closed form
    1/2 sum_d (m**2 + exp(s) - 1 - s). s is kept in [-12, 12]. Raises ValueError for a last axis of odd length.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = non_negative("GaussianCode", "weight", weight)

    def split(self, x: Any) -> tuple[Any, Any]:
        """(means [N,d], log-variances [N,d]) of [N,2d]."""
        if len(x.shape) != 2 or x.shape[1] % 2:
            raise ValueError(f"GaussianCode: expected [N,2d], got {list(x.shape)}")
        d = x.shape[1] // 2
        return x[:, :d], ops.clip(x[:, d:], -12.0, 12.0)

    def of(self, activity: Any) -> Any:
        """weight * mean KL of [N,2d], a scalar tensor."""
        mean, log_variance = self.split(activity)
        inner = ops.sub(ops.add(ops.square(mean), ops.exp(log_variance)), ops.add(log_variance, 1.0))
        return ops.mul(ops.sum(inner), 0.5 * self.weight / max(activity.shape[0], 1))

    def forward(self, x: Any) -> Any:
        mean, log_variance = self.split(x)
        object.__setattr__(self, "term", self.of(x) if self.training else None)
        if not self.training:
            return mean
        noise = ops.normal(mean.shape, 0.0, 1.0, mean.dtype)
        return ops.add(mean, ops.mul(ops.exp(ops.mul(log_variance, 0.5)), noise))

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


class BlockMasking(Module):
    """Images [N,H,W,C] with a square of `size` pixels at a random place of each set to 0 in training mode.

    All places where the square fits are equally probable. Raises ValueError when it does not fit.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = positive_integer("BlockMasking", "size", size)

    def forward(self, x: Any) -> Any:
        if not self.training:
            return x
        if len(x.shape) != 4 or min(x.shape[1:3]) < self.size:
            raise ValueError(f"BlockMasking: expected images [N,H,W,C] of at least {self.size} pixels, got {x.shape}")
        n, h, w, _ = x.shape
        inside: Any = None
        for length, shape in ((h, (1, h, 1, 1)), (w, (1, 1, w, 1))):
            places = length - self.size + 1
            drawn = ops.minimum(ops.floor(ops.mul(ops.uniform((n, 1, 1, 1), dtype=x.dtype), places)), places - 1.0)
            at = np.arange(length, dtype=x.dtype).reshape(shape)
            within = ops.mul(ops.greater_equal(at, drawn), ops.less(at, ops.add(drawn, float(self.size))))
            inside = within if inside is None else ops.mul(inside, within)
        return ops.mul(x, ops.sub(1.0, inside))

    def extra_repr(self) -> str:
        return f"size={self.size}"
