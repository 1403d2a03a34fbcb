"""Checks of options that many parts share."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["whole"]


def whole(where: str, name: str, value: Any, least: int) -> int:
    """`value` as an int. Raises ValueError naming the option when it is no integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{where}: {name} must be an integer of at least {least}, got {value!r}")
    return int(value)
