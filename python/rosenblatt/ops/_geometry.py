"""What convolutions and pools of one, two and three dimensions share: options per axis, padding, output sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._common import Array, operand

__all__ = [
    "AXES", "Pads", "explicit_padding", "int_tuple", "output_size", "resolve_padding", "shape_of", "too_wide",
]

Pads = tuple[tuple[int, int], ...]  # (before, after) for each spatial axis

# Layout of a batch by the number of spatial axes, for messages.
AXES = {1: "[N,L,C]", 2: "[N,H,W,C]", 3: "[N,D,H,W,C]"}
_WORDS = {1: "an integer", 2: "an integer or a pair of integers", 3: "an integer or a triple of integers"}


def int_tuple(where: str, name: str, value: Any, count: int, least: int) -> tuple[int, ...]:
    """An integer, or one for each of `count` axes, each at least `least`. Raises TypeError/ValueError naming the op."""
    if type(value) is int and least <= value < 2**31:
        return (value,) * count
    items = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * count
    if len(items) != count:
        raise ValueError(f"{where}: {name} must be {_WORDS[count]}, got {value!r}")
    try:
        numbers = tuple(int(v.__index__()) for v in items)
    except AttributeError:
        raise TypeError(f"{where}: {name} must be {_WORDS[count]}, got {value!r}") from None
    if min(numbers) < least or max(numbers) >= 2**31:
        raise ValueError(f"{where}: {name} must be at least {least}, got {value!r}")
    return numbers


def shape_of(where: str, x: Any) -> tuple[int, ...]:
    """The shape of a tensor, an array or an array_like. Raises TypeError naming the op for what is none."""
    a: Array = operand(where, x)
    return a.shape


def output_size(where: str, size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
    """Number of output positions along one axis for `pad` cells in total. Raises ValueError when there is none."""
    out = (size + pad - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1 and size > 0:
        raise ValueError(
            f"{where}: a kernel of {kernel} (dilation {dilation}) does not fit an input of {size} with {pad} padding"
        )
    return max(out, 0)


def too_wide(pads: Pads, sizes: Sequence[int], kernel: Sequence[int], dilation: Sequence[int]) -> bool:
    """Whether some outputs lie farther out than the convolution kernels take: whole windows beside the input."""
    return any(
        max(p) > d * (k - 1) + n for p, n, k, d in zip(pads, sizes, kernel, dilation, strict=True)
    )


def resolve_padding(
    where: str, padding: Any, sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int],
    dilation: Sequence[int],
) -> Pads:
    """(before, after) per axis from an integer, one per axis, (before, after) per axis, or a name.

    "valid": none. "same": ceil(n / stride) outputs, the odd cell behind (TensorFlow's rule). "full": every position
    that meets the input. "causal", one axis only: all in front, so that output i sees inputs up to i*stride.
    """
    axes = range(len(sizes))
    if isinstance(padding, str):
        reach = [dilation[i] * (kernel[i] - 1) for i in axes]
        if padding == "valid":
            return tuple((0, 0) for _ in axes)
        if padding == "full":
            return tuple((r, r) for r in reach)
        if padding == "causal" and len(sizes) == 1:
            return ((reach[0], 0),)
        if padding == "same":
            pads = []
            for i in axes:
                outputs = -(-sizes[i] // stride[i])
                total = max((outputs - 1) * stride[i] + reach[i] + 1 - sizes[i], 0)
                pads.append((total // 2, total - total // 2))
            return tuple(pads)
        names = "'valid', 'same', 'full' or 'causal'" if len(sizes) == 1 else "'valid', 'same' or 'full'"
        raise ValueError(f"{where}: padding must be an integer, one per axis, (before, after) per axis, {names}, "
                         f"got {padding!r}")  # fmt: skip
    return explicit_padding(where, padding, len(sizes))


def explicit_padding(where: str, padding: Any, count: int) -> Pads:
    """(before, after) per axis from an integer, one integer per axis, or (before, after) per axis."""
    if isinstance(padding, (tuple, list)) and len(padding) == count and all(
        isinstance(p, (tuple, list)) for p in padding
    ):
        sides = [int_tuple(where, "padding", p, 2, 0) for p in padding]
        return tuple((before, after) for before, after in sides)
    if count == 1 and isinstance(padding, (tuple, list)) and len(padding) == 2:
        before, after = int_tuple(where, "padding", padding, 2, 0)
        return ((before, after),)
    return tuple((p, p) for p in int_tuple(where, "padding", padding, count, 0))
