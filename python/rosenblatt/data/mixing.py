"""Mixing samples with each other: MixUp and CutMix. They change the labels, too: transform(x, y, generator) -> (x, y).

`needs_labels = True` tells `fit(augment=...)` and `train.Loader` to hand over both. Integer labels [N] become rows of
probabilities [N,classes], which `ops.cross_entropy` takes; targets in floating point are mixed as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import ops
from .._options import whole
from ..tensor import float_array
from ._arrays import Array, number, per_sample, take_images

__all__ = ["CutMix", "MixUp", "soft_labels"]


def soft_labels(who: str, y: Any, classes: int | None, dtype: Any) -> Array:
    """Targets that can be mixed: integer labels [N] as one-hot rows [N,classes], floating-point targets unchanged.

    Raises ValueError for integer labels without `classes`, with another shape than [N], or out of range.
    """
    array = np.asarray(y)
    if array.dtype.kind == "f":
        return array
    if classes is None:
        raise ValueError(f"{who}: integer labels need classes=, the number of classes, to become probabilities")
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise ValueError(f"{who}: expected integer labels [N], got {array.dtype} of shape {list(array.shape)}")
    if len(array) and not 0 <= int(array.min()) <= int(array.max()) < classes:
        raise ValueError(f"{who}: expected labels in 0..{classes - 1}, got {int(array.min())}..{int(array.max())}")
    rows = np.zeros((len(array), classes), dtype)
    rows[np.arange(len(array)), array.astype(np.int64)] = 1
    return rows


@dataclass(frozen=True)
class _Mix:
    alpha: float = 1.0
    classes: int | None = None
    p: float = 1.0
    needs_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        who = type(self).__name__
        number(who, "alpha", self.alpha, 1e-6)
        number(who, "p", self.p, 0, 1)
        if self.classes is not None:
            whole(who, "classes", self.classes, 1)

    def _draw(self, n: int, generator: np.random.Generator) -> tuple[Array, Array]:
        """(partner of every sample [N], its own part [N]); samples left alone have part 1."""
        own = generator.beta(self.alpha, self.alpha, n)
        own[generator.random(n) >= self.p] = 1.0
        return generator.permutation(n), own


def _combine(a: Array, b: Array, own: Array) -> Array:
    """own * a + (1 - own) * b, own [N]."""
    w = np.asarray(own, np.float64)
    return ops.add(ops.mul(a, per_sample(w, a)), ops.mul(b, per_sample(1 - w, a)))


@dataclass(frozen=True)
class MixUp(_Mix):
    """Each sample [N,...] becomes t x + (1 - t) x', its target t y + (1 - t) y', with a random sample x' of the batch.

    alpha : t is drawn from Beta(alpha, alpha), for each sample by itself; classes : for integer labels; p : the part
    of the samples that is mixed. Source: H. Zhang et al., mixup: Beyond empirical risk minimization, ICLR 2018.
    """

    alpha: float = 0.2

    def __call__(self, x: Any, y: Any, generator: np.random.Generator) -> tuple[Array, Array]:
        """(x [N,...], y [N,classes] or [N,...]). Raises ValueError for labels that do not fit."""
        a = np.asarray(x)
        a = take_images("MixUp", a)[0] if a.dtype == np.uint8 and a.ndim == 4 else float_array("MixUp", a)
        rows = soft_labels("MixUp", y, self.classes, a.dtype)
        _same_length("MixUp", a, rows)
        partner, own = self._draw(len(a), generator)
        return _combine(a, a[partner], own), _combine(rows, rows[partner], own)


@dataclass(frozen=True)
class CutMix(_Mix):
    """A random rectangle of each image [N,H,W,C] is taken from another of the batch, and the targets by its area.

    alpha : the part of its own area that an image keeps is drawn from Beta(alpha, alpha); the rectangle has the image's
    aspect and a centre anywhere, so it may be cut by the border, and the targets follow the pixels really replaced.
    Source: S. Yun et al., CutMix, ICCV 2019.
    """

    def __call__(self, x: Any, y: Any, generator: np.random.Generator) -> tuple[Array, Array]:
        """(x [N,H,W,C], y [N,classes] or [N,...]). Raises ValueError for labels or images that do not fit."""
        a, single = take_images("CutMix", x)
        if single:
            raise ValueError(f"CutMix: expected a batch [N,H,W,C], got one image {list(a.shape[1:])}")
        rows = soft_labels("CutMix", y, self.classes, a.dtype)
        _same_length("CutMix", a, rows)
        n, h, w, _ = a.shape
        partner, own = self._draw(n, generator)
        side = np.sqrt(1 - own)
        tall, wide = np.rint(h * side).astype(int), np.rint(w * side).astype(int)
        top, left = generator.integers(0, h, n) - tall // 2, generator.integers(0, w, n) - wide // 2
        bottom, right = np.minimum(top + tall, h), np.minimum(left + wide, w)
        top, left = np.maximum(top, 0), np.maximum(left, 0)
        out = np.array(a)
        for i in range(n):
            out[i, top[i] : bottom[i], left[i] : right[i]] = a[partner[i], top[i] : bottom[i], left[i] : right[i]]
        kept = 1 - (bottom - top) * (right - left) / (h * w)
        return out, _combine(rows, rows[partner], kept)


def _same_length(who: str, x: Array, y: Array) -> None:
    if y.ndim < 1 or len(x) != len(y):
        raise ValueError(f"{who}: expected one target per sample, got x {list(x.shape)} and y {list(y.shape)}")
