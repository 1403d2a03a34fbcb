"""Generated pictures: shapes with textures at any size, with classes, masks, instances and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._options import whole
from ._arrays import Array, number
from .dataset import Dataset

__all__ = ["SHAPES", "TEXTURES", "Scenes", "scenes"]

SHAPES = ("disc", "square", "triangle", "ring", "cross", "star")
TEXTURES = ("plain", "stripes", "checks", "dots")


@dataclass(frozen=True)
class Scenes:
    """Pictures of M places for objects each; a place without an object has label -1 and a box of zeros.

    Attributes
    ----------
    x : [N,H,W,C] float32 in [0, 1].
    labels : [N,M] int64, the shape of each object, an index into SHAPES, or -1.
    textures : [N,M] int64, an index into TEXTURES, or -1.
    boxes : [N,M,4] float32, (x0, y0, x1, y1) in pixels: columns x0..x1 and rows y0..y1 without the last ones.
    masks : [N,H,W] int64, 0 for the background, else 1 + the shape: the classes of semantic segmentation.
    instances : [N,H,W] int64, 0 for the background, else 1 + the place of the object.
    """

    x: Array
    labels: Array
    textures: Array
    boxes: Array
    masks: Array
    instances: Array

    def __len__(self) -> int:
        return len(self.x)

    def dataset(self, by: str = "shape") -> Dataset:
        """A labelled set by the "shape" or the "texture" of the first object. Raises ValueError for another word."""
        if by not in ("shape", "texture"):
            raise ValueError(f"Scenes.dataset: by must be 'shape' or 'texture', got {by!r}")
        y, names = (self.labels, SHAPES) if by == "shape" else (self.textures, TEXTURES)
        return Dataset(self.x, y[:, 0], names, "scenes")

    def tags(self) -> Array:
        """[N,6] float32: 1 where a picture has an object of that shape, for multi-label networks."""
        present = self.labels[:, :, None] == np.arange(len(SHAPES))
        return np.asarray(present.any(1), np.float32)


def _star(u: Array, v: Array) -> Array:
    """Five points: the polygon through radius 1 and 0.45 in turn."""
    turn = np.arctan2(u, -v) % (2 * np.pi / 5)
    turn = np.abs(turn - np.pi / 5)  # from the inner corner, 0, to the outer, pi/5
    # the edge from (0.45, 0) to (cos 36, sin 36): p is inside when it lies on the origin's side
    c, s = np.cos(np.pi / 5), np.sin(np.pi / 5)
    p, q = np.hypot(u, v) * np.cos(turn), np.hypot(u, v) * np.sin(turn)
    return np.asarray((p - 0.45) * s - q * (c - 0.45) <= 0)


def inside(kind: Array, centre: Array, radius: Array, turn: Array, size: int) -> Array:
    """[K,size,size] bool: the pixels whose centres lie in shape `kind` [K] at `centre` [K,2] (down, right), pixels."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    down = (rows[None] - centre[:, 0, None, None]) / radius[:, None, None]
    right = (columns[None] - centre[:, 1, None, None]) / radius[:, None, None]
    c, s = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    u, v = c * right + s * down, c * down - s * right
    mask = np.empty(u.shape, bool)
    for k in range(len(SHAPES)):
        of = kind == k
        a, b = u[of], v[of]
        if k == 0:
            part = a * a + b * b <= 1
        elif k == 1:
            part = np.maximum(np.abs(a), np.abs(b)) <= 0.8
        elif k == 2:  # three half planes at distance 1/2
            part = (b <= 0.5) & (0.866 * a - 0.5 * b <= 0.5) & (-0.866 * a - 0.5 * b <= 0.5)
        elif k == 3:
            part = (a * a + b * b <= 1) & (a * a + b * b >= 0.3)
        elif k == 4:
            part = (np.minimum(np.abs(a), np.abs(b)) <= 0.3) & (np.maximum(np.abs(a), np.abs(b)) <= 0.95)
        else:
            part = _star(a, b)
        mask[of] = part
    return mask


def _pattern(kind: Array, period: Array, turn: Array, shift: Array, size: int) -> Array:
    """[K,size,size] bool: the two tones of texture `kind` [K] with `period` pixels."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    c, s = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    u = (c * columns + s * rows) / period[:, None, None] + shift[:, 0, None, None]
    v = (c * rows - s * columns) / period[:, None, None] + shift[:, 1, None, None]
    first, second = u % 1 < 0.5, v % 1 < 0.5
    dots = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.1
    return np.asarray(np.choose(kind[:, None, None], [np.zeros_like(first), first, first ^ second, dots]))


def _boxes(mask: Array) -> Array:
    """[K,4] (x0, y0, x1, y1) around the pixels of mask [K,H,W]; zeros for an empty one."""
    out = np.zeros((len(mask), 4), np.float32)
    some: Array = np.asarray(mask.any((1, 2)))
    for first, axis in ((0, 1), (1, 2)):  # columns, rows
        line: Array = np.asarray(mask.any(axis))
        out[:, first] = line.argmax(1)
        out[:, first + 2] = line.shape[1] - line[:, ::-1].argmax(1)
    return out * some[:, None]


def scenes(
    n: int = 200,
    size: int = 32,
    objects: int | Sequence[int] = 1,
    *,
    channels: int = 3,
    noise: float = 0.02,
    seed: int = 0,
) -> Scenes:
    """Pictures [N,size,size,channels] with textured shapes on a shaded background.

    objects : a number, or (least, most). Objects do not touch; where one more finds no room it is left out (never the
    first). Shapes and textures of first objects are equally frequent, and independent of each other, colour, size and
    direction. channels : 3, or 1 for grey.
    """
    n, size = whole("scenes", "n", n, 1), whole("scenes", "size", size, 16)
    least, most = (objects, objects) if isinstance(objects, int) else tuple(objects)
    least, most = whole("scenes", "objects", least, 1), whole("scenes", "objects", most, least)
    if channels not in (1, 3):
        raise ValueError(f"scenes: channels must be 1 or 3, got {channels!r}")
    rng = np.random.default_rng(whole("scenes", "seed", seed, 0))
    kinds = rng.integers(len(SHAPES), size=(n, most))
    textures = rng.integers(len(TEXTURES), size=(n, most))
    both = rng.permutation(np.arange(n) % (len(SHAPES) * len(TEXTURES)))
    kinds[:, 0], textures[:, 0] = both % len(SHAPES), both // len(SHAPES)
    count = rng.integers(least, most + 1, n)
    # many objects are smaller, so that they find room
    largest = size * (0.32 if most == 1 else 0.26 if most <= 3 else 0.18)
    radius = rng.uniform(0.6, 1.0, (n, most)) * largest
    x = _background(n, size, channels, rng)
    labels, kept = np.full((n, most), -1), np.zeros((n, most), bool)
    centre = np.zeros((n, most, 2))
    boxes = np.zeros((n, most, 4), np.float32)
    masks, instances = np.zeros((n, size, size), np.int64), np.zeros((n, size, size), np.int64)
    for m in range(most):
        tries = radius[:, m, None, None] + rng.random((n, 40, 2)) * (size - 2 * radius[:, m, None, None])  # [N,40,2]
        apart = np.hypot(*np.moveaxis(tries[:, :, None] - centre[:, None, :m], -1, 0))  # [N,40,m]
        free = (apart > radius[:, None, :m] + radius[:, m, None, None] + 1) | ~kept[:, None, :m]
        good = free.all(2)  # [N,40]
        kept[:, m] = good.any(1) & (m < count)
        centre[:, m] = tries[np.arange(n), good.argmax(1)]
        turn, look = rng.uniform(0, 2 * np.pi, n), rng.uniform(0, 2 * np.pi, n)
        mask = inside(kinds[:, m], centre[:, m], radius[:, m], turn, size) & kept[:, m, None, None]
        period = size * rng.uniform(0.12, 0.18, n)
        tone = _pattern(textures[:, m], period, look, rng.random((n, 2)), size)
        colour = rng.uniform(0.65, 1.0, (n, 1, 1, channels))
        shaded = np.where(tone[..., None], 0.5 * colour, colour)
        x = np.where(mask[..., None], shaded, x)
        masks[mask] = np.broadcast_to(1 + kinds[:, m, None, None], mask.shape)[mask]
        instances[mask] = m + 1
        labels[:, m] = np.where(kept[:, m], kinds[:, m], -1)
        boxes[:, m] = _boxes(mask)
    x = x + number("scenes", "noise", noise, 0) * rng.standard_normal(x.shape)
    return Scenes(
        np.clip(x, 0, 1).astype(np.float32),
        labels.astype(np.int64),
        np.where(kept, textures, -1).astype(np.int64),
        boxes,
        masks,
        instances,
    )


def _background(n: int, size: int, channels: int, rng: np.random.Generator) -> Array:
    """Dark colours that change evenly from one corner to another, [N,size,size,C]."""
    ramp = np.linspace(-0.5, 0.5, size)
    slope = rng.uniform(-0.1, 0.1, (n, 2, 1, 1, channels))
    plane = slope[:, 0] * ramp[None, :, None, None] + slope[:, 1] * ramp[None, None, :, None]
    return np.asarray(plane + rng.uniform(0.1, 0.2, (n, 1, 1, channels)))
