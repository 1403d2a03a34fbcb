"""Normalisation layers; argument names and state follow PyTorch's. Channels are the last axis."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import ops
from ..ops.norm import store
from ..tensor import Parameter, Tensor
from ._options import non_negative, positive_integer
from .module import Module

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LocalResponseNorm"]


class _BatchNorm(Module):
    """Parameters weight and bias [C]; buffers running_mean and running_var [C], and num_batches_tracked []."""

    disk_integers = ("num_batches_tracked",)
    axes: ClassVar[tuple[int, ...]]  # numbers of axes that x may have
    shape: ClassVar[str]

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.num_features = positive_integer(name, "num_features", num_features)
        self.eps = non_negative(name, "eps", eps)
        self.momentum = None if momentum is None else non_negative(name, "momentum", momentum, 1.0)
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        self.weight = Parameter(ops.ones((num_features,))) if affine else None
        self.bias = Parameter(ops.zeros((num_features,))) if affine else None
        if track_running_stats:
            self.register_buffer("running_mean", ops.zeros((num_features,)))
            self.register_buffer("running_var", ops.ones((num_features,)))
            self.register_buffer("num_batches_tracked", ops.zeros((), "float64"))
        else:
            self.running_mean = self.running_var = self.num_batches_tracked = None

    def forward(self, x: Any) -> Any:
        if len(x.shape) not in self.axes or x.shape[-1] != self.num_features:
            hint = "; this looks like NCHW" if len(x.shape) > 2 and x.shape[1] == self.num_features else ""
            raise ValueError(
                f"{type(self).__name__}: expected x {self.shape} with {self.num_features} channels, "
                f"got shape {tuple(x.shape)}{hint}"
            )
        count = self.num_batches_tracked
        if not self.training and count is not None:
            return ops.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        momentum: Any = 0.0 if self.momentum is None else self.momentum
        if count is not None:
            store(count, ops.add(count._data, 1.0))
            if self.momentum is None:  # the mean over all batches so far
                dtype = x.dtype if self.running_mean is None else self.running_mean.dtype
                momentum = ops.astype(ops.div(1.0, count._data), dtype)
        return ops.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=True, momentum=momentum,
            eps=self.eps,
        )

    def reset_running_stats(self) -> None:
        """Forgets the running statistics: mean 0, variance 1, no batch counted."""
        for buffer, value in ((self.running_mean, 0.0), (self.running_var, 1.0), (self.num_batches_tracked, 0.0)):
            if buffer is not None:
                buffer.data[...] = value
                buffer.data = buffer.data  # graphs that saved it notice

    def extra_repr(self) -> str:
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
        text += "" if self.affine else ", affine=False"
        return text + ("" if self.track_running_stats else ", track_running_stats=False")


class BatchNorm1d(_BatchNorm):
    """weight * (x - mean) / sqrt(var + eps) + bias for each channel of x [N,C] or [N,L,C] (Ioffe & Szegedy 2015).

    In training mode mean and variance are those of the batch, and running_mean and running_var move towards them by
    `momentum` (None: they are the mean over all batches); in evaluation mode the running ones are used. Without
    `track_running_stats` the batch's always are. A pass that runs twice (`checkpoint`) moves them twice. weight starts
    at 1, bias at 0; `affine=False` leaves them out. Raises ValueError for other shapes, and in training for a single
    value per channel. See `ops.batch_norm`.
    """

    axes, shape = (2, 3), "[N,C] or [N,L,C]"


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` for pictures x [N,H,W,C]: statistics of each channel over batch, rows and columns."""

    axes, shape = (4,), "[N,H,W,C]"


class BatchNorm3d(_BatchNorm):
    """`BatchNorm1d` for volumes x [N,D,H,W,C]: statistics of each channel over batch, depth, rows and columns."""

    axes, shape = (5,), "[N,D,H,W,C]"


class LocalResponseNorm(Module):
    """x [N,...,C] over (k + alpha * mean of the squares of `size` channels around)**beta (Krizhevsky et al. 2012).

    Raises ValueError for a size below 1, negative alpha or beta, k not above 0. See `ops.local_response_norm`.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = positive_integer("LocalResponseNorm", "size", size)
        self.alpha = non_negative("LocalResponseNorm", "alpha", alpha)
        self.beta = non_negative("LocalResponseNorm", "beta", beta)
        self.k = non_negative("LocalResponseNorm", "k", k)
        if self.k == 0.0:
            raise ValueError("LocalResponseNorm: k must be above 0, got 0")

    def forward(self, x: Any) -> Any:
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
