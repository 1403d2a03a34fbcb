"""Convolutions of any dimension by plain loops over positions, in float64, each with a bound on its rounding errors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import reference as ref

__all__ = ["convolve", "per_axis", "sides_of", "transposed"]

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def per_axis(v: Any, count: int) -> tuple[int, ...]:
    return (v,) * count if isinstance(v, int) else tuple(v)


def sides_of(padding: Any, sizes: Any, kernel: Any, stride: Any, dilation: Any) -> list[tuple[int, int]]:
    """(before, after) per axis, from the definitions."""
    count = len(sizes)
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if padding == "valid":
        return [(0, 0)] * count
    if padding == "full":
        return [(s - 1, s - 1) for s in span]
    if padding == "causal":
        return [(span[0] - 1, 0)]
    if padding == "same":
        total = [max((math.ceil(n / s) - 1) * s + k - n, 0) for n, s, k in zip(sizes, stride, span, strict=True)]
        return [(t // 2, (t + 1) // 2) for t in total]
    if isinstance(padding, (tuple, list)) and isinstance(padding[0], (tuple, list)):
        return [(a, b) for a, b in padding]
    if count == 1 and isinstance(padding, (tuple, list)) and len(padding) == 2:
        return [(padding[0], padding[1])]
    return [(p, p) for p in per_axis(padding, count)]


def convolve(
    x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
    activation: Any = None, padding_mode: str = "zeros", flip: bool = False, algo: str = "auto",
) -> Any:
    """Any convolution [N,..,C] * [K,..,C/groups], one output position at a time, and its bound."""
    count = x.ndim - 2
    st, dl = per_axis(stride, count), per_axis(dilation, count)
    sides = sides_of(padding, x.shape[1:-1], w.shape[1:-1], st, dl)
    wide = np.pad(x, [(0, 0), *sides, (0, 0)], mode=MODES.get(padding_mode, padding_mode))  # type: ignore[call-overload]
    if flip:
        w = np.flip(w, tuple(range(1, w.ndim - 1)))
    span = [d * (k - 1) + 1 for d, k in zip(dl, w.shape[1:-1], strict=True)]
    sizes = [(n - s) // t + 1 for n, s, t in zip(wide.shape[1:-1], span, st, strict=True)]
    y, bound = np.zeros((x.shape[0], *sizes, w.shape[0])), np.zeros((x.shape[0], *sizes, w.shape[0]))
    cg, kg = w.shape[-1], w.shape[0] // groups
    axes = list(range(1, count + 2))
    for at in itertools.product(*(range(n) for n in sizes)):
        cut = tuple(slice(i * t, i * t + s, d) for i, t, s, d in zip(at, st, span, dl, strict=True))
        seen = wide[(slice(None), *cut)]
        for g in range(groups):
            part, kernel = seen[..., g * cg : (g + 1) * cg], w[g * kg : (g + 1) * kg]
            y[(slice(None), *at, slice(g * kg, (g + 1) * kg))] = np.tensordot(part, kernel, (axes, axes))
            bound[(slice(None), *at, slice(g * kg, (g + 1) * kg))] = np.tensordot(
                np.abs(part), np.abs(kernel), (axes, axes)
            )
    if b is not None:
        y, bound = y + b, bound + np.abs(b)
    y = ref.activate(y, activation)
    return y, bound + np.abs(y)


def transposed(
    x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1,
    groups: int = 1, activation: Any = None,
) -> Any:
    """Every input pixel stamps its kernel w [C,..,K/groups] into the output; and the bound."""
    count = x.ndim - 2
    st, dl, extra = per_axis(stride, count), per_axis(dilation, count), per_axis(output_padding, count)
    kernel = w.shape[1:-1]
    span = [d * (k - 1) + 1 for d, k in zip(dl, kernel, strict=True)]
    if padding == "same":
        sizes = [n * s + e for n, s, e in zip(x.shape[1:-1], st, extra, strict=True)]
        sides = sides_of("same", [n * s for n, s in zip(x.shape[1:-1], st, strict=True)], kernel, st, dl)
    else:
        sides = sides_of(padding, x.shape[1:-1], kernel, st, dl)
        sizes = [
            (n - 1) * s + k - sum(p) + e for n, s, k, p, e in zip(x.shape[1:-1], st, span, sides, extra, strict=True)
        ]
    whole = [(n - 1) * s + k + 64 for n, s, k in zip(x.shape[1:-1], st, span, strict=True)]
    cg, kg = w.shape[0] // groups, w.shape[-1]
    y, bound = np.zeros((x.shape[0], *whole, kg * groups)), np.zeros((x.shape[0], *whole, kg * groups))
    for at in itertools.product(*(range(n) for n in x.shape[1:-1])):
        cut = tuple(slice(i * t, i * t + s, d) for i, t, s, d in zip(at, st, span, dl, strict=True))
        for g in range(groups):
            value, part = x[(slice(None), *at)][:, g * cg : (g + 1) * cg], w[g * cg : (g + 1) * cg]
            place = (slice(None), *cut, slice(g * kg, (g + 1) * kg))
            y[place] += np.tensordot(value, part, (1, 0))
            bound[place] += np.tensordot(np.abs(value), np.abs(part), (1, 0))
    inner = (slice(None), *(slice(p[0], p[0] + n) for p, n in zip(sides, sizes, strict=True)))
    y, bound = y[inner], bound[inner]
    if b is not None:
        y, bound = y + b, bound + np.abs(b)
    y = ref.activate(y, activation)
    return y, bound + np.abs(y)
