"""Geometric image operations."""

from __future__ import annotations

from typing import Any

from .. import _core
from ._common import Array, empty, int_pair, operands

__all__ = ["warp_affine"]


def warp_affine(x: Any, matrices: Any, size: Any = None) -> Array:
    """Each image sampled bilinearly along an affine map, zeros outside. Plain arrays, no gradient.

    Parameters
    ----------
    x : [N,H,W,C]
    matrices : [N,2,3]; output pixel (p,q) reads input position (h,w) = matrices[n] @ (p, q, 1)
    size : (P,Q) of the output, default (H,W)

    Returns [N,P,Q,C]. Raises ValueError for shapes that do not fit.
    """
    a, m = operands("warp_affine", x, matrices)
    if a.ndim != 4:
        raise ValueError(f"warp_affine: expected x [N,H,W,C], got shape {a.shape}")
    if m.shape != (a.shape[0], 2, 3):
        raise ValueError(f"warp_affine: expected matrices of shape {(a.shape[0], 2, 3)}, got {m.shape}")
    p, q = a.shape[1:3] if size is None else int_pair("warp_affine", "size", size, 1)
    y = empty((a.shape[0], p, q, a.shape[3]), a.dtype)
    _core.warp_affine(a, m, y)
    return y
