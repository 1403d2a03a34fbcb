"""k-means: clusters of alike points, for segmentation and for learning features without labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from .._options import whole
from ..tensor import float_array
from ._arrays import Array

__all__ = ["kmeans"]


def _squared(points: Array, centres: Array) -> Array:
    """Squared distances [N,K], from products: exact enough to tell clusters apart."""
    products = ops.gemm(points, np.ascontiguousarray(centres.T))
    own = np.einsum("nd,nd->n", points, points)
    return np.asarray(np.maximum(own[:, None] - 2 * products + np.einsum("kd,kd->k", centres, centres), 0))


def _spread(points: Array, k: int, rng: np.random.Generator) -> Array:
    """k of the points, each drawn with a chance that grows with its squared distance from those drawn (k-means++)."""
    chosen = [int(rng.integers(len(points)))]
    far = _squared(points, points[chosen])[:, 0].astype(np.float64)
    for _ in range(k - 1):
        total = far.sum()
        # all points lie on those chosen: any will do
        one = rng.choice(len(points), p=far / total) if total > 0 else rng.integers(len(points))
        chosen.append(int(one))
        far = np.minimum(far, _squared(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def kmeans(points: Any, k: int, *, iterations: int = 100, start: Any = None, seed: int = 0) -> tuple[Array, Array]:
    """(centres [k,D], labels int64 [N]) of points [N,D] by S. P. Lloyd's iterations.

    points : float; each goes to the nearest centre, each centre to the mean of its points, until nothing changes or
        `iterations` are done; a centre without points stays
    start : centres [k,D] to begin with; default drawn by k-means++ (D. Arthur, S. Vassilvitskii, 2007) with `seed`

    Raises ValueError for fewer points than clusters and other shapes, NaN and infinity.
    """
    x = np.ascontiguousarray(float_array("kmeans", points))
    k, limit = whole("kmeans", "k", k, 1), whole("kmeans", "iterations", iterations, 1)
    if x.ndim != 2 or len(x) < k or not np.isfinite(x).all():
        raise ValueError(f"kmeans: expected at least {k} finite points [N,D], got shape {list(x.shape)}")
    if start is None:
        centres = _spread(x, k, np.random.default_rng(whole("kmeans", "seed", seed, 0)))
    else:
        centres = np.array(start, x.dtype)
        if centres.shape != (k, x.shape[1]):
            raise ValueError(f"kmeans: expected a start [{k},{x.shape[1]}], got shape {list(centres.shape)}")
    labels = np.full(len(x), -1)
    for _ in range(limit):
        nearest = _squared(x, centres).argmin(1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        counts = np.bincount(labels, minlength=k)
        sums = np.stack([np.bincount(labels, x[:, d], k) for d in range(x.shape[1])], 1)  # float64
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres).astype(x.dtype)
    return centres, np.asarray(labels, np.int64)
