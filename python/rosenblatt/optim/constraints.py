"""Projections that keep parameters in a set; given to an optimiser as `constraint=`, or called on an array.

An array [K,...] of two and more axes is a list of K rows, the weights into one unit each; any other is one row.
"""

from __future__ import annotations

import math

from .. import _core
from ..tensor import Array, Tensor

__all__ = ["Box", "Constraint", "MaxNorm", "MinMaxNorm", "NonNegative", "UnitNorm"]


def _writable(where: str, x: Array | Tensor) -> Array:
    a = x.data if isinstance(x, Tensor) else x
    if not a.flags.c_contiguous or not a.flags.writeable:
        raise ValueError(f"{where}: expected an array that is contiguous in memory and writable, got shape {a.shape}")
    return a


def _limit(where: str, name: str, value: float, low: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= low:
        raise ValueError(f"{where}: {name} must be a number of at least {low}, got {value!r}")
    return float(value)


class Constraint:
    """Base of the projections. One of your own works through kernels only, so that a captured step repeats it."""

    def __call__(self, x: Array | Tensor) -> None:
        """Projects x in place."""
        raise TypeError(f"{type(self).__name__} defines no projection")


class MinMaxNorm(Constraint):
    """Scales each row to a 2-norm in [low, high]; rows of zeros stay."""

    def __init__(self, low: float, high: float) -> None:
        where = type(self).__name__
        self.low, self.high = _limit(where, "low", low), _limit(where, "high", high)
        if self.low > self.high or self.high == 0.0:
            raise ValueError(f"{where}: expected low <= high and high > 0, got {low!r} and {high!r}")

    def __call__(self, x: Array | Tensor) -> None:
        """Projects x [K,...] in place."""
        a = _writable(type(self).__name__, x)
        if a.size:
            _core.row_norm_update(a, a.shape[0] if a.ndim > 1 else 1, self.low, self.high)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.low:g}, {self.high:g})"


class MaxNorm(MinMaxNorm):
    """Each row's 2-norm is at most `value` (Srebro & Shraibman 2005; notes B:2.6, A:N6 with value 2)."""

    def __init__(self, value: float = 2.0) -> None:
        super().__init__(0.0, value)

    def __repr__(self) -> str:
        return f"MaxNorm({self.high:g})"


class UnitNorm(MinMaxNorm):
    """Each row has 2-norm 1."""

    def __init__(self) -> None:
        super().__init__(1.0, 1.0)

    def __repr__(self) -> str:
        return "UnitNorm()"


class Box(Constraint):
    """Every element lies in [low, high]: the projection of projected gradient descent onto a box."""

    def __init__(self, low: float = -math.inf, high: float = math.inf) -> None:
        where = type(self).__name__
        self.low, self.high = _limit(where, "low", low, -math.inf), _limit(where, "high", high, -math.inf)
        if self.low > self.high:
            raise ValueError(f"{where}: expected low <= high, got {low!r} and {high!r}")

    def __call__(self, x: Array | Tensor) -> None:
        """Projects x (any shape) in place; NaN stays."""
        _core.clip_update(_writable(type(self).__name__, x), self.low, self.high)

    def __repr__(self) -> str:
        return f"Box({self.low:g}, {self.high:g})"


class NonNegative(Box):
    """Negative elements become 0."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def __repr__(self) -> str:
        return "NonNegative()"
