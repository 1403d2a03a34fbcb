"""Operations that move pixels: resize, crop, pad, flip, rotate, zoom, stretch, shear, translate.

Images are [N,H,W,C] or [H,W,C], float or uint8 (divided by 255); the result is float. Pixel centres lie at integer
coordinates; maps sample bilinearly, one `ops.warp_affine` call each. What lies outside an image is `fill`: a number,
or how the image goes on: "edge" (the border pixel repeated), "reflect" (mirrored at the centre of the border pixel),
"symmetric" (mirrored at the border), "wrap" (periodic).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole
from ._arrays import Array, choice, give, number, product, take_images
from .augment import _pair, affine_matrices

__all__ = [
    "center_crop",
    "crop",
    "flip",
    "pad",
    "resize",
    "rotate",
    "shear",
    "stretch",
    "translate",
    "warp",
    "zoom",
]

FILLS = ("edge", "reflect", "symmetric", "wrap")
Fill = float | str


def check_fill(who: str, fill: Any) -> Fill:
    """`fill` as a number or one of FILLS. Raises ValueError."""
    return choice(who, "fill", fill, FILLS) if isinstance(fill, str) else number(who, "fill", fill)


def extend(a: Array, top: int, bottom: int, left: int, right: int, fill: Fill) -> Array:
    """[N,H,W,C] with rows and columns added around it."""
    widths = ((0, 0), (top, bottom), (left, right), (0, 0))
    if not isinstance(fill, str):
        return np.pad(a, widths, constant_values=fill)
    any_mode: Any = fill  # one of FILLS; the stubs want to see the word itself
    wide: Array = np.pad(a, widths, mode=any_mode)
    return wide


def sample(a: Array, matrices: npt.NDArray[np.float32], size: tuple[int, int], fill: Fill) -> Array:
    """Images [N,H,W,C] read along matrices [N,2,3] (output pixel to input position) -> [N,P,Q,C]."""
    n, h, w, _ = a.shape
    if not isinstance(fill, str):
        if not fill:
            return ops.warp_affine(a, matrices, size=size)
        return ops.add(ops.warp_affine(ops.sub(a, fill), matrices, size=size), fill)  # outside: 0 + fill
    if not n or not h or not w:
        raise ValueError(f"expected images with pixels to continue by fill={fill!r}, got shape {list(a.shape)}")
    # lay out as many pixels around the image as the corners of the output reach
    p, q = size[0] - 1.0, size[1] - 1.0
    corners = np.array([[0, 0, p, p], [0, q, 0, q], [1, 1, 1, 1]], np.float64)
    reach = matrices.astype(np.float64) @ corners  # [N,2,4]
    before = [max(0, math.ceil(-float(reach[:, i].min())) + 1) for i in (0, 1)]
    after = [max(0, math.ceil(float(reach[:, i].max()) - s + 1) + 1) for i, s in ((0, h), (1, w))]
    moved = matrices.copy()
    moved[:, :, 2] += np.array(before, np.float32)
    return ops.warp_affine(extend(a, before[0], after[0], before[1], after[1], fill), moved, size=size)


def warp(x: Any, matrix: Any, size: int | Sequence[int] | None = None, *, fill: Fill = 0.0) -> Array:
    """Images read along affine maps: output pixel (p, q) takes what lies at matrix @ (p, q, 1) = (h, w).

    matrix : [2,3], or [N,2,3] for one per image; size : (P, Q), default the input's. Raises ValueError for shapes that
    do not fit.
    """
    a, single = take_images("warp", x)
    m = np.asarray(matrix, np.float32)
    if m.shape == (2, 3):
        m = np.repeat(m[None], len(a), axis=0)
    if m.shape != (len(a), 2, 3) or not np.isfinite(m).all():
        raise ValueError(f"warp: expected finite matrices [2,3] or [{len(a)},2,3], got shape {list(m.shape)}")
    target = (int(a.shape[1]), int(a.shape[2])) if size is None else _pair(size, "warp")
    return give(sample(a, m, target, check_fill("warp", fill)), single)


# --- size


def _catmull_rom(d: Array) -> Array:
    """Keys' cubic with a = -1/2 (R. G. Keys, IEEE Trans. ASSP 29(6), 1981)."""
    d = np.abs(d)
    y: Array = np.where(d < 1, (1.5 * d - 2.5) * d * d + 1, np.where(d < 2, ((-0.5 * d + 2.5) * d - 4) * d + 2, 0.0))
    return y


_SHAPES: dict[str, tuple[Any, float]] = {  # mode: (weight at a distance, reach), in pixels of the coarser grid
    "bilinear": (lambda d: np.maximum(0.0, 1 - np.abs(d)), 1.0),
    "bicubic": (_catmull_rom, 2.0),
}


def _resampling(source: int, target: int, mode: str, antialias: bool) -> npt.NDArray[np.float64]:
    """The matrix [target,source] that resizes one axis; every row sums to 1."""
    scale = source / target
    if mode == "nearest":
        m = np.zeros((target, source))
        at = np.floor((np.arange(target) + 0.5) * scale).astype(np.int64)
        m[np.arange(target), np.minimum(at, source - 1)] = 1.0
        return m
    if mode == "area":  # overlap of the output pixel's interval with each input pixel's
        low = np.arange(target)[:, None] * scale
        first = np.arange(source)[None]
        overlap = np.minimum(low + scale, first + 1) - np.maximum(low, first)
        return np.asarray(np.maximum(overlap, 0.0) / scale)
    shape, reach = _SHAPES[mode]
    width = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(target)[:, None] + 0.5) * scale - 0.5  # [P,1]
    if antialias:  # a filter as wide as an output pixel, cut at the border
        m = shape((np.arange(source)[None] - centre) / width)
        return np.asarray(m / m.sum(1, keepdims=True))
    m = np.zeros((target, source))
    for tap in range(-int(reach) + 1, int(reach) + 1):  # the border pixel goes on outside
        at = np.floor(centre[:, 0]).astype(np.int64) + tap
        np.add.at(m, (np.arange(target), np.clip(at, 0, source - 1)), shape(at - centre[:, 0]))
    return m


def resize(x: Any, size: int | Sequence[int], mode: str = "bilinear", *, antialias: bool = False) -> Array:
    """Images of another size [N,P,Q,C], aspect not kept: two products with a sparse matrix per axis.

    mode : "bilinear", "bicubic" (Catmull-Rom), "nearest" or "area" (mean over what an output pixel covers).
    antialias : when shrinking, "bilinear" and "bicubic" weigh all pixels under the output pixel, as Pillow does.
    Pixels are areas: output pixel p is centred at (p + 1/2) H/P - 1/2. Bicubic values may leave [0, 1] by a little.
    """
    a, single = take_images("resize", x)
    p, q = _pair(size, "resize")
    choice("resize", "mode", mode, ("bilinear", "bicubic", "nearest", "area"))
    n, h, w, c = (int(v) for v in a.shape)
    if 0 in a.shape:
        raise ValueError(f"resize: cannot resize images of shape {[n, h, w, c]}")
    if (p, q) == (h, w):
        return give(np.array(a), single)
    rows = _resampling(h, p, mode, antialias).astype(a.dtype)  # [P,H]
    columns = _resampling(w, q, mode, antialias).astype(a.dtype)  # [Q,W]
    y = product(rows, a.reshape(n, h, w * c)).reshape(n, p, w, c)
    # columns in front, so that this is one wide product per image, too
    y = product(columns, ops.copy(y.transpose(0, 2, 1, 3)).reshape(n, w, p * c)).reshape(n, q, p, c)
    return give(np.asarray(ops.copy(y.transpose(0, 2, 1, 3))), single)


def crop(x: Any, top: int, left: int, height: int, width: int) -> Array:
    """Rows top..top+height and columns left..left+width. Raises ValueError for a window that leaves the image."""
    a, single = take_images("crop", x)
    top, left = whole("crop", "top", top, 0), whole("crop", "left", left, 0)
    height, width = whole("crop", "height", height, 1), whole("crop", "width", width, 1)
    if top + height > a.shape[1] or left + width > a.shape[2]:
        raise ValueError(f"crop: {height} x {width} at ({top}, {left}) leaves the image {list(a.shape[1:3])}")
    return give(np.array(a[:, top : top + height, left : left + width]), single)


def center_crop(x: Any, size: int | Sequence[int]) -> Array:
    """The middle [N,P,Q,C] of the images. Raises ValueError when they are smaller than that."""
    a, single = take_images("center_crop", x)
    p, q = _pair(size, "center_crop")
    h, w = a.shape[1:3]
    if p > h or q > w:
        raise ValueError(f"center_crop: expected images of at least {p} x {q}, got shape {list(a.shape)}")
    return give(crop(a, (h - p) // 2, (w - q) // 2, p, q), single)


def pad(x: Any, padding: int | Sequence[int], fill: Fill = 0.0) -> Array:
    """Pixels added around the images; padding: one number, (vertical, horizontal), or (top, bottom, left, right)."""
    a, single = take_images("pad", x)
    return give(extend(a, *check_padding("pad", padding), check_fill("pad", fill)), single)


def check_padding(who: str, padding: Any) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) from one, two or four integers of at least 0. Raises ValueError."""
    values = (padding,) if isinstance(padding, (int, np.integer)) else padding
    if not isinstance(values, (tuple, list)) or len(values) not in (1, 2, 4):
        raise ValueError(f"{who}: padding must be 1, 2 or 4 integers, got {padding!r}")
    v = [whole(who, "padding", value, 0) for value in values]
    top, bottom, left, right = v if len(v) == 4 else (v[0], v[0], v[-1], v[-1])
    return top, bottom, left, right


# --- symmetries and maps about the centre


def flip(x: Any, direction: str = "horizontal") -> Array:
    """Mirrored images: "horizontal" swaps left and right, "vertical" top and bottom, "both" turns by 180 degrees."""
    a, single = take_images("flip", x)
    choice("flip", "direction", direction, ("horizontal", "vertical", "both"))
    rows = slice(None, None, -1 if direction != "horizontal" else 1)
    columns = slice(None, None, -1 if direction != "vertical" else 1)
    return give(np.array(a[:, rows, columns]), single)


def about_centre(count: int, size: tuple[int, int], forward: npt.NDArray[np.float64], shift: Any = 0.0) -> Any:
    """Matrices [N,2,3], output to input, that move content by `forward` [2,2] or [N,2,2] about the centre, then by
    `shift` (down, right), a pair or [N,2], in pixels."""
    inverse = np.broadcast_to(np.linalg.inv(forward), (count, 2, 2))
    centre = (np.array(size, np.float64) - 1) / 2
    m = np.empty((count, 2, 3), np.float64)
    m[:, :, :2] = inverse
    m[:, :, 2] = centre - np.einsum("nij,nj->ni", inverse, np.broadcast_to(centre + shift, (count, 2)))
    return m.astype(np.float32)


def rotate(x: Any, angle: float, *, fill: Fill = 0.0, expand: bool = False) -> Array:
    """Images turned counter-clockwise by `angle` degrees about their centre.

    expand : make the output large enough for the whole turned image; otherwise corners are cut off. Quarter turns of
    what they keep in place are exact.
    """
    a, single = take_images("rotate", x)
    angle, fill = number("rotate", "angle", angle), check_fill("rotate", fill)
    n, h, w, _ = a.shape
    quarter, rest = divmod(angle, 90)
    if not rest and (expand or h == w or not quarter % 2):
        return give(np.array(np.rot90(a, int(quarter) % 4, (1, 2))), single)
    size = (int(h), int(w))
    if expand:
        c, s = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
        size = (math.ceil(h * c + w * s - 1e-9), math.ceil(h * s + w * c - 1e-9))
    # affine_matrices enlarges to fit the output; here the scale stays
    scale = 1 / min(size[0] / h, size[1] / w)
    return give(sample(a, affine_matrices(n, (h, w), size, angle=angle, scale=scale), size, fill), single)


def _map(who: str, x: Any, forward: Any, fill: Any, shift: Any = 0.0) -> Array:
    a, single = take_images(who, x)
    size = (int(a.shape[1]), int(a.shape[2]))
    m = about_centre(len(a), size, np.array(forward, np.float64), np.asarray(shift, np.float64))
    return give(sample(a, m, size, check_fill(who, fill)), single)


def zoom(x: Any, factor: float, *, fill: Fill = 0.0) -> Array:
    """Content enlarged by `factor` > 0 about the centre, size kept: above 1 zooms in, below 1 out."""
    return stretch(x, factor, factor, fill=fill)


def stretch(x: Any, vertical: float = 1.0, horizontal: float = 1.0, *, fill: Fill = 0.0) -> Array:
    """Content enlarged by a factor > 0 along each axis about the centre, size kept."""
    v, h = (number("stretch", "factor", f, 1e-6) for f in (vertical, horizontal))
    return _map("stretch", x, [[v, 0], [0, h]], fill)


def shear(x: Any, degrees: float, *, fill: Fill = 0.0) -> Array:
    """Content leaning by (-90, 90) degrees: rows above the centre move left, rows below right, for positive ones."""
    lean = math.tan(math.radians(number("shear", "degrees", degrees, -89.9, 89.9)))
    return _map("shear", x, [[1, 0], [lean, 1]], fill)


def translate(x: Any, down: float = 0.0, right: float = 0.0, *, fill: Fill = 0.0) -> Array:
    """Content moved by pixels, also fractions of them; negative numbers move it up and left."""
    shift = (number("translate", "down", down), number("translate", "right", right))
    return _map("translate", x, np.eye(2), fill, shift)
