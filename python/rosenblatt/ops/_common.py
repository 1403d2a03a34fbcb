"""What every op shares: turning arguments into arrays, allocating results, wording errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import _core
from ..autograd import OUT, record
from ..tensor import DEFAULT_DTYPE, Array, Tensor, float32, float64, float_array

__all__ = [
    "ACTIVATIONS",
    "CODE",
    "OUT",
    "Array",
    "Kernel",
    "Tensor",
    "X",
    "activation_code",
    "axis_index",
    "broadcast_shape",
    "contiguous",
    "empty",
    "empty_like",
    "int_pair",
    "kept",
    "new_array",
    "operand",
    "operands",
    "pair",
    "record",
]

# What ops take and give back: tensors in, tensor out; plain arrays in, plain array out.
X = TypeVar("X", Tensor, Array)
Kernel = Callable[..., None]

CODE = {float32: 0, float64: 1}  # as the kernels know them; byte-swapped dtypes are not among the keys
ACTIVATIONS = {None: 0, "none": 0, "linear": 0, "relu": 1, "tanh": 2, "sigmoid": 3}

ndarray = np.ndarray
new_array = _core.empty  # (shape, code) -> uninitialised array on a recycled aligned buffer


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array on a recycled aligned buffer."""
    return new_array(shape, CODE[dtype])


def empty_like(x: Array) -> Array:
    return new_array(x.shape, CODE[x.dtype])


def operand(where: str, x: Any) -> Array:
    """The float array behind a tensor, an array or an array_like."""
    if isinstance(x, Tensor):
        return x._data
    if type(x) is ndarray and x.dtype in CODE:
        return x
    return float_array(where, x)


def cast(x: Array, dtype: np.dtype[Any]) -> Array:
    if x.dtype == dtype:
        return x
    y = empty(x.shape, dtype)
    _core.cast(x, y)
    return y


def operands(where: str, *xs: Any) -> list[Array]:
    """Float arrays of one dtype: NumPy promotion among arrays; Python numbers follow; None passes through."""
    arrays: list[Any] = []
    dtype: Any = None
    plain = True  # arrays of one and the same dtype: nothing to convert
    for x in xs:
        a = x._data if isinstance(x, Tensor) else x
        arrays.append(a)
        if type(a) is ndarray:
            if dtype is None:
                dtype = a.dtype
            elif a.dtype is not dtype:
                plain = False
        elif a is not None:
            plain = False
    if plain and dtype in CODE:
        return arrays
    return _promote(where, arrays)


def pair(where: str, a: Any, b: Any) -> tuple[Array, Array]:
    """`operands` of two."""
    x = a._data if isinstance(a, Tensor) else a
    z = b._data if isinstance(b, Tensor) else b
    if type(x) is ndarray:
        dtype = x.dtype
        if dtype in CODE:
            if type(z) is ndarray:
                if z.dtype is dtype:
                    return x, z
            elif type(z) is float or type(z) is int:
                return x, np.array(z, dtype)
    x, z = _promote(where, [x, z])
    return x, z


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


def kept(given: Any, array: Array) -> Any:
    """What a rule keeps of an input: the tensor (so that second-order gradients see it) or its array."""
    return given if isinstance(given, Tensor) and given._data is array else array


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


def axis_index(where: str, axis: Any, ndim: int) -> int:
    """`axis` counted from the front. Raises TypeError/ValueError naming the op."""
    try:
        i = axis.__index__()
    except AttributeError:
        raise TypeError(f"{where}: axis must be an integer, got {axis!r}") from None
    if not -ndim <= i < ndim:
        raise ValueError(f"{where}: axis {i} is out of range for {ndim} axes")
    return int(i % ndim)


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
