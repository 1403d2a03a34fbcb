"""Geometric augmentation: one random affine map per image, carried out by a single `ops.warp_affine` call.

Conventions: images are [N,H,W,C]. A matrix is [2,3] and maps the homogeneous OUTPUT pixel (p, q, 1) to the INPUT
position (h, w); pixel centres lie at integer coordinates; sampling is bilinear and reads zero outside the input.
Matrices are computed in float64 and handed over in float32, so they depend on nothing but the generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Size = tuple[int, int]

__all__ = ["Affine", "affine_matrices", "place", "resize"]


def _pair(size: int | Sequence[int], what: str) -> Size:
    """`size` as two positive integers (P, Q); one integer means a square."""
    values = (size, size) if isinstance(size, int) else tuple(int(v) for v in size)
    if len(values) != 2 or min(values) < 1:
        raise ValueError(f"{what}: expected a positive size or a pair (rows, columns), got {size!r}")
    return values[0], values[1]


def _check_images(x: Array, who: str) -> tuple[int, int, int, int]:
    """The shape (N, H, W, C) of `x`, or a ValueError that names `who`."""
    if x.ndim != 4:
        raise ValueError(f"{who}: expected images [N,H,W,C], got shape {list(x.shape)}")
    n, h, w, c = (int(v) for v in x.shape)
    if c > 4 and h <= 4:
        raise ValueError(f"{who}: expected images [N,H,W,C], got shape {[n, h, w, c]}, which looks like NCHW")
    return n, h, w, c


def affine_matrices(
    count: int,
    source: Size,
    target: Size,
    *,
    fit: float = 1.0,
    angle: npt.ArrayLike = 0.0,
    scale: npt.ArrayLike = 1.0,
    shear: npt.ArrayLike = 0.0,
    shift: npt.ArrayLike = 0.0,
) -> npt.NDArray[np.float32]:
    """Matrices [count,2,3], output pixel to input position, for `ops.warp_affine`.

    The input is centred in the output and enlarged until it covers the fraction `fit` of it (aspect kept); then its
    content is sheared, scaled, turned and shifted about the centre.

    Parameters
    ----------
    count : number of images N.
    source : input size (H, W) in pixels.
    target : output size (P, Q) in pixels.
    fit : fraction of the output that the unscaled input covers, > 0.
    angle : [N] or scalar, degrees, positive turns counter-clockwise.
    scale : [N] or scalar, factor > 0.
    shear : [N] or scalar, degrees, leans the columns.
    shift : [N,2] or scalar, (down, right) as a fraction of the input's side as drawn.

    Raises
    ------
    ValueError
        a size, `fit` or `scale` that is not positive.
    """
    (h, w), (p, q) = source, target
    if min(h, w, p, q) < 1 or not fit > 0:
        raise ValueError(f"affine_matrices: sizes and fit must be positive, got {source=} {target=} {fit=}")
    theta = np.broadcast_to(np.deg2rad(np.asarray(angle, np.float64)), (count,))
    lean = np.broadcast_to(np.tan(np.deg2rad(np.asarray(shear, np.float64))), (count,))
    enlarge = fit * min(p / h, q / w)  # output pixels per input pixel
    factor = np.broadcast_to(np.asarray(scale, np.float64) * enlarge, (count,))
    if count and not float(factor.min()) > 0:
        raise ValueError("affine_matrices: scale must be positive")
    move = np.broadcast_to(np.asarray(shift, np.float64), (count, 2)) * (enlarge * np.array([h, w], np.float64))
    cos, sin = np.cos(theta), np.sin(theta)
    # content moves by A = factor * [[cos,-sin],[sin,cos]] * [[1,0],[lean,1]] over (h,w); det A = factor^2
    a, b = factor * (cos - sin * lean), -factor * sin
    c, d = factor * (sin + cos * lean), factor * cos
    det = a * d - b * c
    m = np.empty((count, 2, 3), np.float64)  # [N,2,3]
    m[:, 0, 0], m[:, 0, 1] = d / det, -b / det
    m[:, 1, 0], m[:, 1, 1] = -c / det, a / det
    centre_p = (p - 1) / 2 + move[:, 0]  # [N]
    centre_q = (q - 1) / 2 + move[:, 1]  # [N]
    m[:, 0, 2] = (h - 1) / 2 - m[:, 0, 0] * centre_p - m[:, 0, 1] * centre_q
    m[:, 1, 2] = (w - 1) / 2 - m[:, 1, 0] * centre_p - m[:, 1, 1] * centre_q
    return m.astype(np.float32)


def _warp(x: Array, m: Array, size: Size) -> Array:
    """`ops.warp_affine` on plain arrays: x [N,H,W,C], m [N,2,3] -> [N,P,Q,C]."""
    from .. import ops

    return np.asarray(ops.warp_affine(np.ascontiguousarray(x), m, size=size))


def place(x: Array, size: int | Sequence[int], fit: float = 1.0) -> Array:
    """Images [N,H,W,C] centred in [N,P,Q,C] and covering the fraction `fit` of it, zero around them.

    This is `Affine` without its randomness: what evaluation uses where training used `Affine(size=, fit=)`.

    Raises
    ------
    ValueError
        `x` is not [N,H,W,C] or the size is not positive.
    """
    n, h, w, _ = _check_images(x, "place")
    target = _pair(size, "place")
    return _warp(x, affine_matrices(n, (h, w), target, fit=fit), target)


def resize(x: Array, size: int | Sequence[int]) -> Array:
    """Images [N,H,W,C] resampled to [N,P,Q,C], bilinear, aspect not kept.

    Pixels are areas: output pixel p reads input position (p + 1/2) H/P - 1/2, clamped to the outermost pixel centres,
    so that borders do not darken. Meant for enlarging; shrinking by more than two aliases.

    Raises
    ------
    ValueError
        `x` is not [N,H,W,C] or the size is not positive.
    """
    n, h, w, c = _check_images(x, "resize")
    p, q = _pair(size, "resize")
    if (p, q) == (h, w):
        return np.array(x)
    if 0 in (n, h, w, c):
        raise ValueError(f"resize: cannot resize images of shape {[n, h, w, c]}")
    edge = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")  # [N,H+2,W+2,C]: repeats the border pixel
    m = np.zeros((n, 2, 3), np.float32)
    m[:, 0, 0], m[:, 1, 1] = h / p, w / q
    m[:, 0, 2], m[:, 1, 2] = 0.5 * h / p + 0.5, 0.5 * w / q + 0.5
    return _warp(edge, m, (p, q))


@dataclass(frozen=True)
class Affine:
    """Random rotation, shift, scale and shear; call it with images [N,H,W,C] and a generator to get [N,P,Q,C].

    Each image gets its own map, drawn uniformly and independently from the ranges; all images are then resampled
    in one bilinear pass, so that enlarging (`size`) costs nothing extra. Labels are unaffected.

    Parameters
    ----------
    rotate : degrees, drawn from [-rotate, rotate].
    shift : fraction of the image side, drawn from [-shift, shift] for each axis.
    scale : (low, high) factors.
    shear : degrees, drawn from [-shear, shear].
    size : output size (P, Q) in pixels; None keeps the input's.
    fit : fraction of the output that the image covers before scaling (the rest is a zero margin).

    Raises
    ------
    ValueError
        a range that is negative, reversed or not finite.
    """

    rotate: float = 0.0
    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    size: Size | None = None
    fit: float = 1.0

    def __post_init__(self) -> None:
        low, high = self.scale
        numbers = (self.rotate, self.shift, low, high, self.shear, self.fit)
        if not all(np.isfinite(v) for v in numbers):
            raise ValueError(f"Affine: every range must be finite, got {self}")
        if self.rotate < 0 or self.shift < 0 or self.shear < 0 or self.shear >= 90:
            raise ValueError(f"Affine: rotate and shift must be >= 0 and shear in [0, 90), got {self}")
        if not 0 < low <= high or not self.fit > 0:
            raise ValueError(f"Affine: expected 0 < scale[0] <= scale[1] and fit > 0, got {self}")
        if self.size is not None:
            object.__setattr__(self, "size", _pair(self.size, "Affine"))

    def matrices(self, count: int, source: Size, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """The random matrices [count,2,3] for images of size `source` = (H, W), output pixel to input position."""
        angle = rng.uniform(-self.rotate, self.rotate, count)
        scale = rng.uniform(self.scale[0], self.scale[1], count)
        shear = rng.uniform(-self.shear, self.shear, count)
        shift = rng.uniform(-self.shift, self.shift, (count, 2))
        target = self.size or source
        return affine_matrices(count, source, target, fit=self.fit, angle=angle, scale=scale, shear=shear, shift=shift)

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        """Images [N,H,W,C] -> [N,P,Q,C]. Raises ValueError when `x` is not [N,H,W,C]."""
        return self.rows(x, rng, 0, len(x))

    def rows(self, x: Array, rng: np.random.Generator, start: int, total: int) -> Array:
        """What rows [start, start + N) of a batch of `total` images become, given these rows x [N,H,W,C] alone."""
        n, h, w, _ = _check_images(x, "Affine")
        return _warp(x, self.matrices(total, (h, w), rng)[start : start + n], self.size or (h, w))
