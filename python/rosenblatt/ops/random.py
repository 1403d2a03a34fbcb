"""Random numbers and dropout from one counter-based stream (Philox4x32-10, Salmon et al. 2011).

The stream is a key (the seed) and a counter that each call advances by the number of 128-bit blocks it used, so the
numbers depend on the seed and the order of calls alone: not on threads, and the state is two integers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from ._common import Array, Tensor, X, contiguous, empty, empty_like, ghost, ghosts, operand, record

__all__ = ["Stream", "dropout", "manual_seed", "normal", "stream", "uniform"]


class Stream:
    """A position in the random stream: `key` and `counter`, both in [0, 2**64)."""

    def __init__(self, key: int = 0, counter: int = 0) -> None:
        self.seed(key, counter)
        self._lock = threading.Lock()

    def seed(self, key: int, counter: int = 0) -> None:
        for name, value in (("seed", key), ("counter", counter)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**64:
                raise ValueError(f"manual_seed: {name} must be an integer in [0, 2**64), got {value!r}")
        self.key, self.counter = int(key), int(counter)

    def take(self, elements: int, itemsize: int) -> tuple[int, int]:
        """Reserves the blocks that `elements` numbers of `itemsize` bytes need; returns (key, counter)."""
        with self._lock:
            start = self.counter
            self.counter = (start + math.ceil(elements * itemsize / 16)) % 2**64
            return self.key, start

    def advance(self, blocks: int) -> None:
        """Moves on by a number of blocks: what a replayed step has used."""
        with self._lock:
            self.counter = (self.counter + blocks) % 2**64


stream = Stream()


def manual_seed(seed: int) -> None:
    """Restarts the global random stream (initialisers, dropout, `ops.uniform`, `ops.normal`) from `seed`."""
    stream.seed(seed)


def _target(name: str, shape: Sequence[int] | int, dtype: Any) -> Array:
    target = np.dtype(dtype)
    if target not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{name}: expected float32 or float64, got {target}")
    return empty((int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape), target)


def uniform(shape: Sequence[int] | int, low: float = 0.0, high: float = 1.0, dtype: Any = np.float32) -> Array:
    """A plain array of numbers uniform in [low, high).

    Where low is not 0, rounding may give `high` itself. Raises ValueError for low above high, and for bounds, or a
    distance between them, beyond the range of the dtype.
    """
    if ghosts.on:
        return ghost(shape, dtype)
    y = _target("uniform", shape, dtype)
    _core.uniform(y, low, high, *stream.take(y.size, y.itemsize))
    return y


def normal(shape: Sequence[int] | int, mean: float = 0.0, std: float = 1.0, dtype: Any = np.float32) -> Array:
    """A plain array of normal numbers with the given mean and standard deviation.

    Raises ValueError for a negative deviation and for parameters beyond the range of the dtype.
    """
    if ghosts.on:
        return ghost(shape, dtype)
    y = _target("normal", shape, dtype)
    _core.normal(y, mean, std, *stream.take(y.size, y.itemsize))
    return y


def dropout(x: X, p: float = 0.5) -> X:
    """x with each element zeroed with probability p and the rest scaled by 1/(1-p) (inverted dropout, notes C:9).

    Raises ValueError unless 0 <= p < 1. The gradient regenerates the same mask from the stream position.
    """
    if isinstance(p, bool) or not isinstance(p, (int, float, np.integer, np.floating)) or not 0.0 <= p < 1.0:
        raise ValueError(f"dropout: p must be in [0, 1), got {p!r}")
    a = operand("dropout", x)
    if p == 0.0:
        return x if isinstance(x, Tensor) else a
    return _masked(x, float(p), stream.take(a.size, a.itemsize))


def _masked(x: X, p: float, position: tuple[int, int]) -> X:
    a = contiguous(operand("dropout", x))
    y = empty_like(a)
    _core.dropout(a, y, p, *position)
    return record("dropout", y, _dropout_grad, (x,), (p, position))


def _dropout_grad(g: Any, needs: Any, p: float, position: tuple[int, int]) -> tuple[Any, ...]:
    return (_masked(g, p, position),)
