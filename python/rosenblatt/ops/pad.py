"""Borders around arrays, and windows laid side by side; both with every gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from ._common import Array, X, axis_index, contiguous, new_array, operand, record, whole

__all__ = ["fold", "pad", "unfold"]

# NumPy's names, PyTorch's beside them where they differ.
MODES = {"constant": 0, "zeros": 0, "edge": 1, "replicate": 1, "reflect": 2, "symmetric": 3, "wrap": 4, "circular": 4}

Widths = tuple[tuple[int, int], ...]


def pad_mode(where: str, mode: Any) -> int:
    """The kernels' number of a mode. Raises ValueError naming the op."""
    try:
        return MODES[mode]
    except (KeyError, TypeError):
        raise ValueError(f"{where}: mode must be one of {', '.join(sorted(MODES))}, got {mode!r}") from None


def _widths(where: str, width: Any, ndim: int) -> Widths:
    """(before, after) per axis by NumPy's rule: a number, (before, after), ((before, after),), or one pair per axis."""
    given = width
    if isinstance(width, np.ndarray):
        width = width.tolist()
    if not isinstance(width, Sequence):
        width = ((width, width),)
    elif len(width) == 2 and not any(isinstance(w, Sequence) for w in width):
        width = (tuple(width),)
    if isinstance(width, str) or not all(isinstance(w, Sequence) and len(w) == 2 for w in width):
        raise ValueError(f"{where}: pad_width must be a number, (before, after) or one pair per axis, got {given!r}")
    pairs = [tuple(w) for w in width]
    if len(pairs) == 1:
        pairs = pairs * ndim
    if len(pairs) != ndim:
        raise ValueError(f"{where}: expected one (before, after) for each of {ndim} axes, got {given!r}")
    for pair in pairs:
        for w in pair:
            if isinstance(w, bool) or not hasattr(w, "__index__"):
                raise TypeError(f"{where}: pad_width must hold integers, got {given!r}")
            if not 0 <= w < 2**31:
                raise ValueError(f"{where}: pad_width must not be negative, got {given!r}")
    return tuple((int(a), int(b)) for a, b in pairs)


def pad(x: X, pad_width: Any, mode: str = "constant", constant_values: float = 0.0) -> X:
    """x with cells added before and after each axis, as `numpy.pad` does.

    Parameters
    ----------
    pad_width : a number, (before, after), or one (before, after) for each axis
    mode : "constant" ("zeros"), "edge" ("replicate"), "reflect" (mirrored, the border once), "symmetric" (mirrored, the
        border twice), "wrap" ("circular"); borders wider than the array repeat the pattern

    The gradient adds up what was copied. Raises ValueError for other modes, negative widths, and axes without elements
    that are to be repeated.
    """
    a: Array = operand("pad", x)
    code: int = pad_mode("pad", mode)
    widths = _widths("pad", pad_width, a.ndim)
    if code and any(n == 0 and sum(w) for n, w in zip(a.shape, widths, strict=True)):
        raise ValueError(f"pad: mode {mode!r} has nothing to repeat in an array of shape {a.shape}")
    return _pad(x, widths, code, float(constant_values))


def _groups(shape: tuple[int, ...], widths: Widths) -> list[tuple[int, int]]:
    """Runs of at most three axes, first and one past the last, that the kernel pads in one pass."""
    runs = []
    axis = 0
    while axis < len(shape):
        if sum(widths[axis]) == 0:
            axis += 1
            continue
        last = max(i for i in range(axis, min(axis + 3, len(shape))) if sum(widths[i]))
        runs.append((axis, last + 1))
        axis = last + 1
    return runs


def _volume(shape: tuple[int, ...], first: int, end: int) -> tuple[int, ...]:
    """[N,D,H,W,C] with axes first .. end-1 as the last of D, H, W."""
    ones = (1,) * (3 - (end - first))
    return (math.prod(shape[:first]), *ones, *shape[first:end], math.prod(shape[end:]))


def _fronts(widths: Widths, first: int, end: int) -> tuple[int, ...]:
    return ((0,) * (3 - (end - first)) + tuple(w[0] for w in widths[first:end]))


def _pad(x: X, widths: Widths, mode: int, value: float) -> X:
    a: Array = contiguous(operand("pad", x))
    y = a
    for first, end in _groups(a.shape, widths):
        shape = tuple(
            n + sum(widths[i]) if first <= i < end else n for i, n in enumerate(y.shape)
        )
        wider = new_array(shape, a)
        _core.pad(y.reshape(_volume(y.shape, first, end)), wider.reshape(_volume(shape, first, end)), mode, value,
                  *_fronts(widths, first, end))  # fmt: skip
        y = wider
    if y is a:  # nothing to add: a copy all the same, as numpy.pad makes
        y = new_array(a.shape, a)
        _core.copy(a, y)
    return record("pad", y, _pad_grad, (x,), (widths, mode, a.shape))


def _pad_grad(g: Any, needs: Any, widths: Widths, mode: int, shape: tuple[int, ...]) -> tuple[Any, ...]:
    return (_unpad(g, widths, mode, shape),)


def _unpad(g: X, widths: Widths, mode: int, shape: tuple[int, ...]) -> X:
    """The adjoint of `_pad`: what each cell of `shape` was copied to, added up."""
    a: Array = contiguous(operand("pad", g))
    for first, end in reversed(_groups(shape, widths)):
        inner = tuple(shape[i] if first <= i < end else n for i, n in enumerate(a.shape))
        dx = new_array(inner, a)
        _core.pad_dx(a.reshape(_volume(a.shape, first, end)), dx.reshape(_volume(inner, first, end)), mode,
                     *_fronts(widths, first, end))  # fmt: skip
        a = dx
    return record("pad_dx", a, _unpad_grad, (g,), (widths, mode))


def _unpad_grad(h: Any, needs: Any, widths: Widths, mode: int) -> tuple[Any, ...]:
    return (_pad(h, widths, mode, 0.0),)


# --- windows

_MOST = 2**20 - 1  # largest option of a window that the kernels take


def _window_options(where: str, stride: Any, padding: Any, dilation: Any) -> tuple[int, int, int]:
    return (
        whole(where, "stride", stride, 1, _MOST), whole(where, "padding", padding, 0, _MOST),
        whole(where, "dilation", dilation, 1, _MOST),
    )  # fmt: skip


def unfold(x: X, axis: int, size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> X:
    """The windows along one axis side by side: y[..., p, ..., r, c] = x[..., p*stride - padding + r*dilation, ..., c].

    x : [..., A, ..., C], axis : any but the last; zeros outside
    Returns x's shape with A replaced by the number of windows and an axis of length `size` put before the last.
    Raises ValueError for parameters below their least and windows larger than the padded axis.
    """
    a: Array = operand("unfold", x)
    i: int = axis_index("unfold", axis, a.ndim)
    if a.ndim < 2 or i == a.ndim - 1:
        raise ValueError(f"unfold: expected an axis before the last, got axis {axis} of shape {a.shape}")
    size = whole("unfold", "size", size, 1, _MOST)
    stride, padding, dilation = _window_options("unfold", stride, padding, dilation)
    outputs = (a.shape[i] + 2 * padding - dilation * (size - 1) - 1) // stride + 1
    if outputs < 1 and a.shape[i] > 0:
        raise ValueError(f"unfold: windows of {size} (dilation {dilation}) do not fit {a.shape[i]} with {padding} "
                         "padding")  # fmt: skip
    return windows(x, i, size, stride, padding, dilation, max(outputs, 0))


def windows(x: X, axis: int, size: int, stride: int, pad: int, dilation: int, outputs: int) -> X:
    """`unfold` with the number of windows given: padding behind is whatever they need."""
    a: Array = contiguous(operand("unfold", x))
    s: tuple[int, ...] = a.shape
    y = new_array((*s[:axis], outputs, *s[axis + 1 : -1], size, s[-1]), a)
    n, inner = math.prod(s[:axis]), math.prod(s[axis + 1 : -1])
    _core.unfold(a.reshape(n, s[axis], inner, s[-1]), y.reshape(n, outputs, inner, size, s[-1]), stride, pad, dilation)
    return record("unfold", y, _windows_grad, (x,), (axis, s[axis], stride, pad, dilation))


def _windows_grad(
    g: Any, needs: Any, axis: int, length: int, stride: int, pad: int, dilation: int
) -> tuple[Any, ...]:
    return (fold(g, axis, length, stride, pad, dilation),)


def fold(y: X, axis: int, length: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> X:
    """The adjoint of `unfold`: windows [..., P, ..., R, C] added back where they came from, [..., length, ..., C].

    Raises ValueError for an axis among the last two, or parameters below their least.
    """
    a: Array = contiguous(operand("fold", y))
    s: tuple[int, ...] = a.shape
    i: int = axis_index("fold", axis, a.ndim)
    if a.ndim < 3 or i >= a.ndim - 2:
        raise ValueError(f"fold: expected an axis before the last two, got axis {axis} of shape {a.shape}")
    length = whole("fold", "length", length, 0)
    stride, padding, dilation = _window_options("fold", stride, padding, dilation)
    x = new_array((*s[:i], length, *s[i + 1 : -2], s[-1]), a)
    n, inner = math.prod(s[:i]), math.prod(s[i + 1 : -2])
    _core.fold(a.reshape(n, s[i], inner, s[-2], s[-1]), x.reshape(n, length, inner, s[-1]), stride, padding, dilation)
    return record("fold", x, _fold_grad, (y,), (i, s[-2], stride, padding, dilation, s[i]))


def _fold_grad(
    h: Any, needs: Any, axis: int, size: int, stride: int, pad: int, dilation: int, outputs: int
) -> tuple[Any, ...]:
    return (windows(h, axis, size, stride, pad, dilation, outputs),)
