"""Checks of the options that layers, noise, penalties and initialisers share; errors name the layer and the option."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["non_negative", "positive_integer"]


def positive_integer(where: str, name: str, value: Any) -> int:
    """`value` as an int. Raises ValueError unless it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{where}: {name} must be a positive integer, got {value!r}")
    return int(value)


def non_negative(where: str, name: str, value: Any, high: float = math.inf) -> float:
    """`value` as a float. Raises ValueError unless it is a finite number in [0, high]."""
    kinds = (int, float, np.integer, np.floating)
    ok = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or not 0.0 <= value <= high:
        upper = "" if high == math.inf else f" and at most {high}"
        raise ValueError(f"{where}: {name} must be a number of at least 0{upper}, got {value!r}")
    return float(value)
