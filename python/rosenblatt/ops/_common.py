"""What every op shares: turning arguments into arrays, allocating results, wording errors."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import _core
from ..autograd import OUT, record
from ..tensor import DEFAULT_DTYPE, Array, Tensor, float32, float64, float_array

__all__ = [
    "ACTIVATIONS",
    "ALGORITHMS",
    "CODE",
    "OUT",
    "Array",
    "Kernel",
    "Tensor",
    "X",
    "activation_code",
    "algo_code",
    "axis_index",
    "broadcast_shape",
    "contiguous",
    "empty",
    "empty_like",
    "float32",
    "float64",
    "ghost",
    "ghosts",
    "int_pair",
    "is_ghost",
    "kept",
    "new_array",
    "operand",
    "operands",
    "pair",
    "record",
    "whole",
]

# What ops take and give back: tensors in, tensor out; plain arrays in, plain array out.
X = TypeVar("X", Tensor, Array)
Kernel = Callable[..., None]

CODE = {float32: 0, float64: 1}  # as the kernels know them; byte-swapped dtypes are not among the keys
ACTIVATIONS = {None: 0, "none": 0, "linear": 0, "relu": 1, "tanh": 2, "sigmoid": 3}

ALGORITHMS = {
    "auto": 0, "direct": 1, "gemm": 2, "winograd": 3, "winograd4x4": 4, "winograd2x2": 5, "depthwise": 6, "fft": 7,
}  # fmt: skip

ndarray = np.ndarray
new_array = _core.empty  # (shape, code or array of that dtype) -> uninitialised array on a recycled aligned buffer


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array on a recycled aligned buffer."""
    return new_array(shape, CODE[dtype])


class _Ghosts(threading.local):
    """Whether `uniform`, `normal`, `ones` and `zeros` give arrays that take no memory (`nn.without_weights`)."""

    on = False


ghosts = _Ghosts()


def ghost(shape: Sequence[int] | int, dtype: Any) -> Array:
    """A read-only array of NaN whose elements are all the same number in memory."""
    return np.broadcast_to(np.array(np.nan, dtype), shape)


def is_ghost(x: Array) -> bool:
    return x.size > 1 and not x.flags.writeable and not any(x.strides)


def empty_like(x: Array) -> Array:
    return new_array(x.shape, x)


operand = _core.operand  # (where, x) -> the float array behind a tensor, an array or an array_like
operands = _core.operands  # (where, *xs) -> float arrays of one dtype: NumPy promotion; numbers follow, None passes
pair = _core.pair  # (where, a, b): operands of two, as a tuple
kept = _core.kept  # (given, array) -> what a rule keeps of an input: the tensor, which second order needs, or its array


def cast(x: Array, dtype: np.dtype[Any]) -> Array:
    if x.dtype == dtype:
        return x
    y = empty(x.shape, dtype)
    _core.cast(x, y)
    return y


def _promote(where: str, arrays: list[Any]) -> list[Array]:
    dtype = None
    for i, a in enumerate(arrays):
        if a is None or isinstance(a, (int, float)):
            continue
        arrays[i] = a = a if type(a) is ndarray and a.dtype in CODE else float_array(where, a)
        if dtype is None:
            dtype = a.dtype
        elif a.dtype != dtype:
            dtype = float64
    target = DEFAULT_DTYPE if dtype is None else dtype
    for i, a in enumerate(arrays):
        if isinstance(a, (int, float)):
            arrays[i] = np.array(a, target)
        elif a is not None and a.dtype != target:
            arrays[i] = cast(a, target)
    return arrays


_core.tape_use({"promote": _promote})


@functools.lru_cache(maxsize=4096)
def broadcast_shape(where: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that both broadcast to. Raises ValueError naming the op and both shapes."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(f"{where}: shapes {a} and {b} do not broadcast") from None


def contiguous(x: Array) -> Array:
    """`x` itself when it is in C order, else a copy made by our own kernel."""
    if x.flags.c_contiguous:
        return x
    y = empty_like(x)
    _core.copy(x, y)
    return y


def activation_code(where: str, activation: str | None) -> int:
    try:
        return ACTIVATIONS[activation]
    except (KeyError, TypeError):
        names = ", ".join(sorted(k for k in ACTIVATIONS if k))
        raise ValueError(f"{where}: activation must be one of {names} or None, got {activation!r}") from None


def algo_code(where: str, algo: str) -> int:
    try:
        return ALGORITHMS[algo]
    except (KeyError, TypeError):
        raise ValueError(f"{where}: algo must be one of {', '.join(ALGORITHMS)}, got {algo!r}") from None


def axis_index(where: str, axis: Any, ndim: int) -> int:
    """`axis` counted from the front. Raises TypeError/ValueError naming the op."""
    try:
        i = axis.__index__()
    except AttributeError:
        raise TypeError(f"{where}: axis must be an integer, got {axis!r}") from None
    if not -ndim <= i < ndim:
        raise ValueError(f"{where}: axis {i} is out of range for {ndim} axes")
    return int(i % ndim)


def whole(where: str, name: str, value: Any, least: int, most: int = 2**31 - 1) -> int:
    """`value` as an int. Raises ValueError naming the op unless it is an integer in [least, most]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        limit = f" and at most {most}" if isinstance(value, (int, np.integer)) and value > most else ""
        raise ValueError(f"{where}: {name} must be an integer of at least {least}{limit}, got {value!r}")
    return int(value)


def int_pair(where: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """An integer or a pair of integers, each at least `least`, as (vertical, horizontal)."""
    if type(value) is int and least <= value < 2**31:
        return value, value
    if type(value) is tuple and len(value) == 2:  # the usual case, without the conversions below
        h, w = value
        if type(h) is int and type(w) is int and least <= h < 2**31 and least <= w < 2**31:
            return h, w
    both = (value, value) if not isinstance(value, Sequence) or isinstance(value, str) else tuple(value)
    if len(both) != 2:
        raise ValueError(f"{where}: {name} must be an integer or a pair of integers, got {value!r}")
    try:
        h, w = both[0].__index__(), both[1].__index__()
    except AttributeError:
        raise TypeError(f"{where}: {name} must be an integer or a pair of integers, got {value!r}") from None
    if h < least or w < least or max(h, w) >= 2**31:
        raise ValueError(f"{where}: {name} must be at least {least}, got {value!r}")
    return h, w
