"""Initialisers: fill a float32 array of a given shape from the global random stream (`rb.manual_seed`).

fan_in and fan_out of a dense weight [K,C] are C and K; of a convolution weight [K,R,S,C] they are R*S*C and R*S*K.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import numpy as np

from .. import _core, ops
from ..ops import normal, ones, uniform, zeros
from ..ops._common import ghost, ghosts
from ..tensor import Array
from ._options import non_negative

__all__ = ["constant", "fans", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "initialise",
           "lecun_normal", "lecun_uniform", "names", "normal", "ones", "orthogonal", "small_normal", "small_uniform",
           "truncated_normal", "uniform", "without_weights", "zeros"]


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Layers built inside have weights of the right shapes that take no memory and cannot be used.

    For counting: `num_parameters`, `summary` (which infers the shapes behind convolutions and dense layers) and
    `repr` work as ever; results are NaN, and training or loading raises, as the arrays are read-only. In this thread.

    >>> with rb.nn.init.without_weights():
    ...     net = rb.models.vgg19()
    >>> net.num_parameters()
    143667240
    """
    before = ghosts.on
    ghosts.on = True
    try:
        yield
    finally:
        ghosts.on = before


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


def constant(shape: tuple[int, ...], value: float = 0.0) -> Array:
    """`value` everywhere."""
    y = zeros(shape)
    if not ghosts.on:
        _core.fill(y, value)
    return y


def small_normal(shape: tuple[int, ...], std: float = 0.01) -> Array:
    """Small random numbers: normal with mean 0 (notes B:2.8)."""
    return normal(shape, 0.0, non_negative("small_normal", "std", std))


def small_uniform(shape: tuple[int, ...], limit: float = 0.05) -> Array:
    """Small random numbers: uniform in [-limit, limit) (notes B:2.8)."""
    limit = non_negative("small_uniform", "limit", limit)
    return uniform(shape, -limit, limit)


def truncated_normal(
    shape: tuple[int, ...], mean: float = 0.0, std: float = 0.02, low: float = -2.0, high: float = 2.0
) -> Array:
    """Normal numbers, drawn again while outside [mean + low*std, mean + high*std].

    low, high : bounds in standard deviations. Raises ValueError unless low < high and std > 0.
    """
    where = "truncated_normal"
    if not non_negative(where, "std", std) > 0.0 or not low < high or not math.isfinite(mean):
        raise ValueError(f"{where}: expected std > 0, low < high and a finite mean, got {std!r}, {low!r}, {high!r}, "
                         f"{mean!r}")
    n = math.prod(shape)
    # Normal proposals are kept when inside; where few would be (a narrow band, a far tail), uniform ones are kept in
    # proportion to the density.
    common = 0.5 * (math.erf(high / math.sqrt(2.0)) - math.erf(low / math.sqrt(2.0))) > 0.2
    peak = min(max(low, 0.0), high)
    parts: list[Array] = []
    have = 0
    while have < n:
        count = max(64, 2 * (n - have))
        if common:
            z = normal(count, dtype=np.float64)
            z = z[(z >= low) & (z <= high)]
        else:
            reach = min(9.0, 40.0 / max(abs(peak), 1.0))  # beyond, the density is below e**-40 of that at the peak
            if low >= 0.0:
                a, b = low, min(high, low + reach)
            else:
                a, b = (max(low, high - reach) if high <= 0.0 else low), high
            z = uniform(count, a, b, np.float64)
            z = z[uniform(count, dtype=np.float64) <= np.exp(0.5 * (peak - z) * (peak + z))]
        parts.append(z)
        have += len(z)
    z = ops.concat(parts)[:n] if parts else zeros((0,), np.float64)
    bottom, top = np.float32(mean + low * std), np.float32(mean + high * std)
    return np.clip(ops.add(ops.mul(z, std), mean).astype(np.float32), bottom, top).reshape(shape)


def orthogonal(shape: tuple[int, ...], gain: float = 1.0) -> Array:
    """Rows (or columns, whichever are fewer) orthogonal and of length `gain`, uniformly distributed (Saxe et al. 2014).

    An array [K,...] counts as the matrix [K, rest]. The rows of a normal matrix are orthogonalised in order, by
    Gram-Schmidt done twice, in float64.
    """
    if len(shape) < 2:
        raise ValueError(f"orthogonal: expected a weight with at least two axes, got shape {shape}")
    gain = non_negative("orthogonal", "gain", gain)
    rows, columns = shape[0], math.prod(shape[1:])
    n, m = min(rows, columns), max(rows, columns)
    q = normal((n, m), dtype=np.float64)
    for begin in range(0, n, 32):
        block = q[begin : begin + 32]
        before = q[:begin]
        for _ in range(2 if begin else 0):
            block[...] = ops.sub(block, ops.matmul(ops.matmul(block, before.T), before))
        for i in range(len(block)):
            row, above = block[i : i + 1], block[:i]
            for _ in range(2 if i else 0):
                row[...] = ops.sub(row, ops.matmul(ops.matmul(row, above.T), above))
            row[...] = ops.div(row, ops.sqrt(ops.sum(ops.square(row))))
        # a row nearly inside the span of the earlier blocks has lost digits: once more against all of them
        if begin:
            block[...] = ops.sub(block, ops.matmul(ops.matmul(block, before.T), before))
            for i in range(len(block)):
                row = block[i : i + 1]
                row[...] = ops.div(row, ops.sqrt(ops.sum(ops.square(row))))
    w = q if rows <= columns else q.T
    return np.ascontiguousarray(ops.mul(w, gain), np.float32).reshape(shape)


_TABLE: dict[str, Callable[[tuple[int, ...]], Array]] = {
    f.__name__: f
    for f in (default, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal, zeros, ones,
              small_normal, small_uniform, truncated_normal, orthogonal)
}


def names() -> list[str]:
    """Names that `initialise` and the layers' `weight_init` understand."""
    return sorted(_TABLE)


def initialise(name: str | Callable[[tuple[int, ...]], Array], shape: tuple[int, ...]) -> Array:
    """An array of `shape` from the initialiser of that name, or from a function of the shape.

    Raises ValueError listing the names, or naming the shape a function returned instead.
    """
    if ghosts.on and (callable(name) or name in _TABLE):
        return ghost(shape, np.float32)
    if callable(name):
        y = name(shape)
        if np.shape(y) != shape:
            raise ValueError(f"init: expected an array of shape {shape}, got {np.shape(y)}")
        return y
    try:
        return _TABLE[name](shape)
    except KeyError:
        raise ValueError(f"init must be one of {', '.join(names())}, got {name!r}") from None
