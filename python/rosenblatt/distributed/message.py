"""Values as bytes: JSON for the structure, raw bytes for arrays. Nothing that arrives is ever executed.

[0:8] length j of the JSON text    [8:8+j] the text    then the arrays one after another, each from a multiple of 8
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..tensor import Array

__all__ = ["pack", "unpack"]


def pack(value: Any) -> bytes:
    """`value`, made of None, numbers, texts, lists, tuples, dicts, arrays and dtypes, as bytes for `unpack`.

    Raises TypeError naming the type of anything else.
    """
    arrays: list[Array] = []

    def walk(v: Any) -> Any:
        if v is None or isinstance(v, (bool, str)):
            return v
        if isinstance(v, np.generic):
            v = v.item()
        if isinstance(v, (int, float)):
            return v
        if isinstance(v, list):
            return [walk(x) for x in v]
        if isinstance(v, tuple):
            return {"tuple": [walk(x) for x in v]}
        if isinstance(v, dict):
            return {"dict": [[walk(k), walk(x)] for k, x in v.items()]}
        if isinstance(v, np.dtype):
            return {"dtype": v.str}
        if isinstance(v, np.ndarray) and v.dtype.kind in "fiub":
            arrays.append(np.ascontiguousarray(v))
            return {"array": [v.dtype.str, list(v.shape)]}
        raise TypeError(f"message: expected numbers, texts, arrays or containers of them, got {type(v).__name__}")

    text = json.dumps(walk(value)).encode()
    parts = [len(text).to_bytes(8, "little"), _padded(text), *(_padded(a.tobytes()) for a in arrays)]
    return b"".join(parts)


def unpack(data: bytes) -> Any:
    """What was packed; arrays are copies of their own."""
    length = int.from_bytes(data[:8], "little")
    at = 8 + _room(length)

    def walk(v: Any) -> Any:
        nonlocal at
        if isinstance(v, list):
            return [walk(x) for x in v]
        if not isinstance(v, dict):
            return v
        ((kind, content),) = v.items()
        if kind == "tuple":
            return tuple([walk(x) for x in content])
        if kind == "dict":
            return {walk(k): walk(x) for k, x in content}
        if kind == "dtype":
            return np.dtype(content)
        dtype, shape = np.dtype(content[0]), tuple(content[1])
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(data, dtype, count, at).reshape(shape).copy()
        at += _room(count * dtype.itemsize)
        return array

    return walk(json.loads(data[8 : 8 + length]))


def _room(length: int) -> int:
    return -(-length // 8) * 8


def _padded(content: bytes) -> bytes:
    return content + bytes(_room(len(content)) - len(content))
