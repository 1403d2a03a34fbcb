"""What every op shares: turning arguments into arrays, allocating results, wording errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import _core
from ..autograd import OUT, record
from ..tensor import DEFAULT_DTYPE, Array, Tensor, float32, float64, float_array

__all__ = [
    "ACTIVATIONS",
    "OUT",
    "Array",
    "Kernel",
    "Tensor",
    "X",
    "activation_code",
    "axis_index",
    "contiguous",
    "empty",
    "empty_like",
    "int_pair",
    "operand",
    "operands",
    "record",
]

# What ops take and give back: tensors in, tensor out; plain arrays in, plain array out.
X = TypeVar("X", Tensor, Array)
Kernel = Callable[..., None]

_CODE = {float32: 0, float64: 1}
ACTIVATIONS = {None: 0, "none": 0, "linear": 0, "relu": 1, "tanh": 2, "sigmoid": 3}


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array on a recycled aligned buffer."""
    return _core.empty(shape, _CODE[dtype])


def empty_like(x: Array) -> Array:
    return _core.empty(x.shape, _CODE[x.dtype])


def operand(where: str, x: Any) -> Array:
    """The float array behind a tensor, an array or an array_like."""
    a = x.data if isinstance(x, Tensor) else x
    if type(a) is np.ndarray and a.dtype in _CODE and a.dtype.isnative:
        return a
    return float_array(where, a)


def cast(x: Array, dtype: np.dtype[Any]) -> Array:
    if x.dtype == dtype:
        return x
    y = empty(x.shape, dtype)
    _core.cast(x, y)
    return y


def operands(where: str, *xs: Any) -> list[Array]:
    """Float arrays of one dtype: NumPy promotion among arrays; Python numbers follow; None passes through."""
    arrays: list[Any] = []
    dtype = None
    mixed = False
    for x in xs:
        a = x.data if isinstance(x, Tensor) else x
        if type(a) is np.ndarray and a.dtype in _CODE and a.dtype.isnative:
            if dtype is None:
                dtype = a.dtype
            elif a.dtype is not dtype and a.dtype != dtype:
                dtype, mixed = float64, True
        elif a is not None and not isinstance(a, (int, float)):
            a = float_array(where, a)
            if dtype is None:
                dtype = a.dtype
            elif a.dtype != dtype:
                dtype, mixed = float64, True
        else:
            mixed = True
        arrays.append(a)
    if mixed:
        target = DEFAULT_DTYPE if dtype is None else dtype
        for i, a in enumerate(arrays):
            if isinstance(a, (int, float)):
                arrays[i] = np.array(a, target)
            elif a is not None and a.dtype != target:
                arrays[i] = cast(a, target)
    return arrays


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
    pair = (value, value) if not isinstance(value, Sequence) or isinstance(value, str) else tuple(value)
    if len(pair) != 2:
        raise ValueError(f"{where}: {name} must be an integer or a pair of integers, got {value!r}")
    try:
        h, w = (int(v.__index__()) for v in pair)
    except AttributeError:
        raise TypeError(f"{where}: {name} must be an integer or a pair of integers, got {value!r}") from None
    if h < least or w < least or max(h, w) >= 2**31:
        raise ValueError(f"{where}: {name} must be at least {least}, got {value!r}")
    return h, w
