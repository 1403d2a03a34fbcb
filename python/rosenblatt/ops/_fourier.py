"""What `rb.fft` and `rb.ops` share of the Fourier transform: its tables, and one pass along one axis."""

from __future__ import annotations

import math
import threading
from typing import Any

from .. import _core
from ._common import CODE, Array, contiguous, new_array

__all__ = ["TABLE_BYTES", "good_length", "scale_of", "table", "transform", "transform_back", "transform_real"]

TABLE_BYTES = 64 << 20  # what the tables may take together; those made first go first

_tables: dict[tuple[int, bool, int], Array] = {}
_lock = threading.Lock()
_bytes = 0


def table(n: int, real: bool, code: int) -> Array:
    """The constants of a transform of length n; `real`: for rfft and irfft; code: see CODE. Kept for the next call."""
    key = (n, real, code)
    found = _tables.get(key)
    if found is None:
        found = _core.fft_table(n, real, code)
        _keep(key, found)
    return found


def _keep(key: tuple[int, bool, int], made: Array) -> None:
    global _bytes
    with _lock:
        if key in _tables:
            return
        _tables[key] = made
        _bytes += made.nbytes
        while _bytes > TABLE_BYTES and len(_tables) > 1:
            _bytes -= _tables.pop(next(iter(_tables))).nbytes


def scale_of(where: str, n: int, norm: str | None, inverse: bool) -> float:
    """The factor in front of the sum. Raises ValueError for an unknown norm."""
    if norm is None or norm == "backward":
        return 1.0 / n if inverse else 1.0
    if norm == "ortho":
        return 1.0 / math.sqrt(n)
    if norm == "forward":
        return 1.0 if inverse else 1.0 / n
    raise ValueError(f"{where}: norm must be 'backward', 'ortho', 'forward' or None, got {norm!r}")


def good_length(n: int) -> int:
    """The shortest length >= n that transforms fast: 2**a, times 3, 5, 9 or 15 where that is shorter."""
    best = 1 << max(n - 1, 0).bit_length()
    for odd in (3, 5, 9, 15):
        m = odd << max(-(-n // odd) - 1, 0).bit_length()
        if n <= m < best and m % 8 == 0:
            best = m
    return best


def _split(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    return math.prod(shape[:axis]), math.prod(shape[axis + 1 :])


def transform(a: Array, axis: int, n: int, inverse: bool, scale: float) -> Array:
    """scale * (inverse) transform of length n along `axis` of complex numbers a [..., 2]."""
    shape = a.shape[:-1]
    before, after = _split(shape, axis)
    code = CODE[a.dtype]
    y = new_array((before, n, after, 2), code)
    x = contiguous(a).reshape(before, shape[axis], after, 2)
    _core.fft(x, table(n, False, code), y, inverse, scale)
    return y.reshape(*shape[:axis], n, *shape[axis + 1 :], 2)


def transform_real(a: Array, axis: int, n: int, scale: float) -> Array:
    """scale * transform of length n along `axis` of numbers a: the bins 0 .. n/2, as [..., 2]."""
    shape = a.shape
    before, after = _split(shape, axis)
    code = CODE[a.dtype]
    y = new_array((before, n // 2 + 1, after, 2), code)
    x = contiguous(a).reshape(before, shape[axis], after)
    _core.rfft(x, table(n, True, code), y, n, scale)
    return y.reshape(*shape[:axis], n // 2 + 1, *shape[axis + 1 :], 2)


def transform_back(a: Array, axis: int, n: int, scale: float) -> Array:
    """scale * the real transform of length n along `axis` whose bins 0 .. n/2 are a [..., 2]."""
    shape = a.shape[:-1]
    before, after = _split(shape, axis)
    code = CODE[a.dtype]
    y = new_array((before, n, after), code)
    x = contiguous(a).reshape(before, shape[axis], after, 2)
    _core.irfft(x, table(n, True, code), y, scale)
    return y.reshape(*shape[:axis], n, *shape[axis + 1 :])


def length(where: str, n: Any, default: int, name: str = "n") -> int:
    """The length n of a transform, or what else `name` says, as an integer of at least 1; None is `default`."""
    if n is None:
        value = default
    else:
        try:
            value = n.__index__()
        except AttributeError:
            raise TypeError(f"{where}: {name} must be an integer or None, got {n!r}") from None
    if value < 1:
        what = "the length n of the transform" if name == "n" else name
        raise ValueError(f"{where}: {what} must be at least 1, got {value}")
    return int(value)
