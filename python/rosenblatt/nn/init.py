"""Initialisers: fill a float32 array of a given shape from the global random stream.

fan_in and fan_out of a dense weight [K,C] are C and K; of a convolution weight [K,R,S,C] they are R*S*C and R*S*K.
"""

from __future__ import annotations

import math

from ..ops import normal, ones, uniform, zeros
from ..tensor import Array

__all__ = ["fans", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "initialise", "lecun_normal",
           "lecun_uniform", "names", "ones", "zeros"]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of this shape, output axis first."""
    if len(shape) < 2:
        raise ValueError(f"fans: expected a weight with at least two axes, got shape {shape}")
    field = math.prod(shape[1:-1])
    return field * shape[-1], field * shape[0]


def _uniform(shape: tuple[int, ...], variance: float) -> Array:
    limit = math.sqrt(3.0 * variance)
    return uniform(shape, -limit, limit)


def _normal(shape: tuple[int, ...], variance: float) -> Array:
    return normal(shape, 0.0, math.sqrt(variance))


def glorot_uniform(shape: tuple[int, ...]) -> Array:
    """Variance 2 / (fan_in + fan_out), uniform (Glorot & Bengio 2010)."""
    return _uniform(shape, 2.0 / max(1, sum(fans(shape))))


def glorot_normal(shape: tuple[int, ...]) -> Array:
    """Variance 2 / (fan_in + fan_out), normal (Glorot & Bengio 2010)."""
    return _normal(shape, 2.0 / max(1, sum(fans(shape))))


def he_uniform(shape: tuple[int, ...]) -> Array:
    """Variance 2 / fan_in, uniform (He et al. 2015)."""
    return _uniform(shape, 2.0 / max(1, fans(shape)[0]))


def he_normal(shape: tuple[int, ...]) -> Array:
    """Variance 2 / fan_in, normal (He et al. 2015)."""
    return _normal(shape, 2.0 / max(1, fans(shape)[0]))


def lecun_uniform(shape: tuple[int, ...]) -> Array:
    """Variance 1 / fan_in, uniform (LeCun et al. 1998)."""
    return _uniform(shape, 1.0 / max(1, fans(shape)[0]))


def lecun_normal(shape: tuple[int, ...]) -> Array:
    """Variance 1 / fan_in, normal (LeCun et al. 1998)."""
    return _normal(shape, 1.0 / max(1, fans(shape)[0]))


def default(shape: tuple[int, ...]) -> Array:
    """Uniform in +-1/sqrt(fan_in): what PyTorch's dense and convolution layers start from."""
    return _uniform(shape, 1.0 / (3.0 * max(1, fans(shape)[0])))


_TABLE = {
    f.__name__: f
    for f in (default, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal, zeros, ones)
}


def names() -> list[str]:
    """Names that `initialise` and the layers' `weight_init` understand."""
    return sorted(_TABLE)


def initialise(name: str, shape: tuple[int, ...]) -> Array:
    """An array of `shape` from the initialiser of that name. Raises ValueError listing the names."""
    try:
        return _TABLE[name](shape)
    except KeyError:
        raise ValueError(f"init must be one of {', '.join(names())}, got {name!r}") from None
