"""Noise in training: at inputs and activations (layers), weights, gradients and labels (notes B:2.6, lines 1922-1955).

All noise comes from the stream of `rosenblatt.ops.random`, so a seed fixes it. Layers add noise in training mode only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import ops
from ..tensor import Array, Parameter, Tensor
from ._options import non_negative
from .module import Module

__all__ = [
    "GaussianNoise", "GradientNoise", "MaskingNoise", "SaltPepperNoise", "WeightNoise", "flip_labels",
    "smooth_labels",
]


def _float(x: Any) -> Any:
    return x if isinstance(x, Tensor) else Tensor(x).data


# --- inputs and activations


class GaussianNoise(Module):
    """x + normal numbers of standard deviation `std` in training, x itself in evaluation; x [...]."""

    def __init__(self, std: float = 0.1) -> None:
        super().__init__()
        self.std = non_negative("GaussianNoise", "std", std)

    def forward(self, x: Any) -> Any:
        if not self.training or not self.std:
            return x
        x = _float(x)
        return ops.add(x, ops.normal(x.shape, 0.0, self.std, x.dtype))

    def extra_repr(self) -> str:
        return f"std={self.std}"


class MaskingNoise(Module):
    """x with each element set to 0 with probability p in training; the rest is not scaled (unlike `Dropout`).

    The corruption of the denoising autoencoder (Vincent et al. 2008). Raises ValueError unless p is in [0, 1].
    """

    def __init__(self, p: float = 0.25) -> None:
        super().__init__()
        self.p = non_negative("MaskingNoise", "p", p, 1.0)

    def forward(self, x: Any) -> Any:
        if not self.training or not self.p:
            return x
        x = _float(x)
        return ops.mul(x, ops.greater_equal(ops.uniform(x.shape, dtype=x.dtype), self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"


class SaltPepperNoise(Module):
    """x with each element replaced with probability p in training, by `low` or `high` with equal chance; x [...].

    Raises ValueError unless p is in [0, 1].
    """

    def __init__(self, p: float = 0.1, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.p = non_negative("SaltPepperNoise", "p", p, 1.0)
        self.low = float(low)
        self.high = float(high)

    def forward(self, x: Any) -> Any:
        if not self.training or not self.p:
            return x
        x = _float(x)
        u = ops.uniform(x.shape, dtype=x.dtype)
        kept = ops.greater_equal(u, self.p)
        pepper = ops.less(u, 0.5 * self.p)
        salt = ops.sub(ops.sub(1.0, kept), pepper)
        return ops.add(ops.mul(x, kept), ops.add(ops.mul(pepper, self.low), ops.mul(salt, self.high)))

    def extra_repr(self) -> str:
        return f"p={self.p}, low={self.low}, high={self.high}"


# --- weights and gradients


class WeightNoise:
    """Normal noise on every parameter with two or more axes (biases too with `biases=True`) while a block runs.

    >>> noise = nn.WeightNoise(0.01)
    >>> with noise(model):
    ...     loss(model(x), y).backward()
    >>> optimizer.step()

    The backward pass belongs inside the block: the gradient is that at the noisy weights. Leaving the block brings the
    weights back to the bit, also after an error.
    """

    def __init__(self, std: float = 0.01, biases: bool = False) -> None:
        self.std = non_negative("WeightNoise", "std", std)
        self.biases = bool(biases)

    @contextmanager
    def __call__(self, module: Module) -> Iterator[None]:
        chosen: list[tuple[Parameter, Array]] = [
            (p, p.data) for p in module.parameters() if self.biases or p.ndim >= 2
        ]
        try:
            for p, clean in chosen:
                p.data = ops.add(clean, ops.normal(clean.shape, 0.0, self.std, clean.dtype))
            yield
        finally:
            for p, clean in chosen:
                p.data = clean

    def __repr__(self) -> str:
        return f"WeightNoise(std={self.std}, biases={self.biases})"


class GradientNoise:
    """Adds normal noise of variance eta / (1 + t)**gamma to the gradients, t = 0, 1, ... (Neelakantan et al. 2015).

    Call `noise(parameters)` between `backward()` and `optimizer.step()`; parameters without a gradient are left out.
    `step` is t of the next call. Raises ValueError for a negative eta or gamma.
    """

    def __init__(self, eta: float = 0.01, gamma: float = 0.55) -> None:
        self.eta = non_negative("GradientNoise", "eta", eta)
        self.gamma = non_negative("GradientNoise", "gamma", gamma)
        self.step = 0

    def std(self) -> float:
        """The standard deviation of the next call."""
        return math.sqrt(self.eta / (1.0 + self.step) ** self.gamma)

    def __call__(self, parameters: Iterable[Parameter]) -> None:
        std = self.std()
        for p in parameters:
            if p.grad is not None:
                g = p.grad.data
                p.grad = Tensor(ops.add(g, ops.normal(g.shape, 0.0, std, g.dtype)))
        self.step += 1

    def __repr__(self) -> str:
        return f"GradientNoise(eta={self.eta}, gamma={self.gamma}, step={self.step})"


# --- labels


def flip_labels(labels: Any, classes: int, p: float) -> Array:
    """Integer labels [...] of which each, with probability p, becomes one of the other classes, all equally likely.

    Raises ValueError for labels outside [0, classes), p outside [0, 1], fewer than two classes; TypeError for labels
    that are not integers.
    """
    p = non_negative("flip_labels", "p", p, 1.0)
    a = labels.data if isinstance(labels, Tensor) else np.asarray(labels)
    if a.dtype.kind not in "iub":
        raise TypeError(f"flip_labels: expected integer labels, got dtype {a.dtype}")
    if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or classes < 2:
        raise ValueError(f"flip_labels: classes must be an integer of at least 2, got {classes!r}")
    if a.size and (a.min() < 0 or a.max() >= classes):
        raise ValueError(f"flip_labels: labels must be in [0, {classes}), got values from {a.min()} to {a.max()}")
    hit = ops.uniform(a.shape, dtype=np.float64) < p
    shift = 1 + np.floor(ops.uniform(a.shape, 0.0, classes - 1.0, np.float64)).astype(np.int64)
    return np.where(hit, (a.astype(np.int64) + shift) % classes, a.astype(np.int64))


def smooth_labels(target: Any, epsilon: float = 0.1, classes: int | None = None) -> Any:
    """(1 - epsilon) t + epsilon / C of one-hot or probability rows [...,C] (Szegedy et al. 2016).

    Integer labels [...] are made one-hot first and need `classes`. `ops.cross_entropy(label_smoothing=)` does the same
    within the loss.
    Raises ValueError for epsilon outside [0, 1] or missing `classes`.
    """
    epsilon = non_negative("smooth_labels", "epsilon", epsilon, 1.0)
    raw = target.data if isinstance(target, Tensor) else np.asarray(target)
    if raw.dtype.kind in "iub":
        if classes is None:
            raise ValueError("smooth_labels: integer labels need the number of classes")
        target = ops.one_hot(raw, classes)
    elif not raw.ndim:
        raise ValueError("smooth_labels: expected probabilities [..., C], got a scalar")
    n = _float(target).shape[-1]
    return ops.add(ops.mul(target, 1.0 - epsilon), epsilon / n)
