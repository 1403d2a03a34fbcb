"""Segmentation without learning: by edges, by clusters of alike pixels, by thresholds (notes B:S3, B:S4, B:S5).

Each function takes one image [H,W,C] or a batch [N,H,W,C] with 1 or 3 channels, float in [0, 1] or uint8, and returns
int64 labels [H,W] or [N,H,W], 0 for the background: what the picture's rim mostly consists of, or what is connected to
the rim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._options import whole
from ._arrays import Array, give, number, take_images
from .clusters import kmeans
from .color import luma, without_nan
from .filters import canny, dilate, erode

__all__ = ["connected_components", "otsu_thresholds", "segment_edges", "segment_kmeans", "segment_threshold"]


def _root(parent: Array) -> Array:
    """Every label's representative: pointers followed to their end."""
    while True:
        further = parent[parent]
        if np.array_equal(further, parent):
            return parent
        parent = further


def connected_components(areas: Any, connectivity: int = 4) -> Array:
    """Connected areas of one value, numbered 1, 2, ... in reading order; 0 where `areas` is 0 (or False).

    areas : [H,W] of whole numbers or booleans; connectivity : 4 or 8 neighbours. Returns int64 [H,W]. Raises ValueError
    for other shapes and values.
    """
    a = np.asarray(areas)
    if a.ndim != 2 or a.dtype.kind not in "iub":
        raise ValueError(f"connected_components: expected whole numbers [H,W], got {a.dtype} {list(a.shape)}")
    if connectivity not in (4, 8):
        raise ValueError(f"connected_components: connectivity must be 4 or 8, got {connectivity!r}")
    place = np.arange(a.size).reshape(a.shape)
    pairs: list[tuple[Any, Any]] = [(np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])]
    if connectivity == 8:
        pairs += [(np.s_[1:, 1:], np.s_[:-1, :-1]), (np.s_[1:, :-1], np.s_[:-1, 1:])]
    links = [np.stack([place[p][a[p] == a[q]], place[q][a[p] == a[q]]]) for p, q in pairs]
    first, second = np.concatenate(links, 1)
    parent = np.arange(a.size)
    while True:
        one, other = parent[first], parent[second]
        apart = one != other
        if not apart.any():
            break
        np.minimum.at(parent, np.maximum(one, other)[apart], np.minimum(one, other)[apart])
        parent = _root(parent)
    parent = np.where(a.ravel() != 0, parent, -1)
    names, labels = np.unique(parent, return_inverse=True)
    return (labels.reshape(a.shape) + (0 if len(names) and names[0] == -1 else 1)).astype(np.int64)


def _each(who: str, x: Any, segment: Callable[[Array], Array]) -> Array:
    """Labels of every image, [N,H,W] or [H,W]."""
    a, single = take_images(who, x, (1, 3))
    if 0 in a.shape[1:]:
        raise ValueError(f"{who}: expected images with pixels, got shape {list(a.shape)}")
    without_nan(who, a)
    labels = [segment(image) for image in a]
    return give(np.stack(labels) if labels else np.zeros(a.shape[:3], np.int64), single)


def _rim(labels: Array) -> Array:
    return np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])


def _without_small(labels: Array, least: int) -> Array:
    """Regions of fewer than `least` pixels become background, the others are numbered anew."""
    counts = np.bincount(labels.ravel())
    stays = counts >= least
    stays[0] = False
    return np.asarray((np.cumsum(stays) * stays)[labels], np.int64)


# --- edges


def segment_edges(
    x: Any, *, low: float = 0.05, high: float = 0.1, sigma: float = 1.0, close: int = 3, least: int = 8
) -> Array:
    """Objects are what closed edges keep apart from the rim: labels 1, 2, ... of connected areas.

    Canny's edges (`canny`: low, high, sigma) are closed by a dilation of `close` pixels (odd); what cannot be reached
    from the rim without crossing an edge is an object, after an erosion by as much. Areas of fewer than `least` pixels
    are left out. Raises ValueError for options out of range.
    """
    least, close = whole("segment_edges", "least", least, 1), whole("segment_edges", "close", close, 1)
    if close % 2 == 0:
        raise ValueError(f"segment_edges: close must be odd, got {close}")

    def segment(image: Array) -> Array:
        walls = dilate(canny(image, low, high, sigma), close)[..., 0] > 0.5
        # a way around everything: an edge may end at the rim
        around = np.pad(~walls, 1, constant_values=True)
        outside = (connected_components(around) == 1)[1:-1, 1:-1]
        inner = np.pad(~outside, close, mode="edge").astype(np.float32)[..., None]
        shrunk = erode(inner, close)[close:-close, close:-close, 0] > 0.5
        return _without_small(connected_components(shrunk), least)

    return _each("segment_edges", x, segment)


# --- clusters


def segment_kmeans(x: Any, k: int = 2, *, position: float = 0.0, iterations: int = 50, seed: int = 0) -> Array:
    """Clusters of pixels alike in colour: labels 0..k-1, 0 the cluster that most of the rim belongs to.

    k : how many clusters; the others are numbered by falling size. position : weight of the place (0 to 1 along each
    side) beside the colour, for clusters that hang together. Raises ValueError for fewer pixels than clusters.
    """
    k, weight = whole("segment_kmeans", "k", k, 1), number("segment_kmeans", "position", position, 0)

    def segment(image: Array) -> Array:
        h, w, c = image.shape
        points = [image.reshape(-1, c)]
        if weight:
            place = np.indices((h, w)).reshape(2, -1).T / max(h - 1, w - 1, 1)
            points.append((weight * place).astype(image.dtype))
        labels = kmeans(np.concatenate(points, 1), k, iterations=iterations, seed=seed)[1].reshape(h, w)
        size = np.bincount(labels.ravel(), minlength=k).astype(np.float64)
        size[np.bincount(_rim(labels), minlength=k).argmax()] = np.inf
        rank = np.empty(k, np.int64)
        rank[np.argsort(-size, kind="stable")] = np.arange(k)
        return np.asarray(rank[labels])

    return _each("segment_kmeans", x, segment)


# --- thresholds


def otsu_thresholds(image: Any, classes: int = 2, bins: int = 64) -> Array:
    """The classes - 1 thresholds that split an image's grey values best: the largest variance between the classes.

    image : [H,W,1 or 3] in [0, 1] or uint8; the histogram has `bins` equal cells. Returns float64 [classes-1], rising,
    edges of cells. Found exactly, by dynamic programming. Raises ValueError for more classes than occupied cells.

    N. Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 9(1), 1979.
    """
    who = "otsu_thresholds"
    a, _ = take_images(who, image, (1, 3))
    classes, bins = whole(who, "classes", classes, 1), whole(who, "bins", bins, 2)
    grey = without_nan(who, luma(a)).ravel()
    counts = np.bincount(np.clip(grey * bins, 0, bins - 1).astype(np.int64), minlength=bins).astype(np.float64)
    if np.count_nonzero(counts) < classes:
        raise ValueError(f"{who}: expected at least {classes} different levels, got {np.count_nonzero(counts)}")
    mass = np.concatenate([[0.0], counts.cumsum()])
    moment = np.concatenate([[0.0], (counts * (np.arange(bins) + 0.5)).cumsum()])
    i, j = np.triu_indices(bins + 1, 1)
    gain = np.full((bins + 1, bins + 1), -np.inf)  # of one class with the cells i..j-1: its mass times its mean squared
    full = mass[j] > mass[i]
    gain[i[full], j[full]] = (moment[j] - moment[i])[full] ** 2 / (mass[j] - mass[i])[full]
    best, came = gain[0], []
    for _ in range(classes - 1):
        total = best[:, None] + gain  # [last edge, next edge]
        came.append(total.argmax(0))
        best = total.max(0)
    edge, edges = bins, []
    for origin in reversed(came):
        edge = int(origin[edge])
        edges.append(edge)
    return np.array(edges[::-1], np.float64) / bins


def segment_threshold(x: Any, thresholds: float | Sequence[float] | None = None, *, least: int = 8) -> Array:
    """Connected regions of grey values between thresholds: labels 1, 2, ..., 0 for the level of the rim.

    thresholds : one or several rising levels; default Otsu's single one for each image. Regions of fewer than `least`
    pixels count as background. Raises ValueError for thresholds that do not rise.
    """
    who = "segment_threshold"
    least = whole(who, "least", least, 1)
    given = None
    if thresholds is not None:
        given = np.atleast_1d(np.asarray(thresholds, np.float64))
        if given.ndim != 1 or not (np.diff(given) > 0).all() or not np.isfinite(given).all():
            raise ValueError(f"{who}: expected rising thresholds, got {thresholds!r}")

    def segment(image: Array) -> Array:
        grey = luma(image[None])[0, ..., 0]
        if given is None and float(grey.min()) == float(grey.max()):
            return np.zeros(grey.shape, np.int64)
        level = np.digitize(grey, otsu_thresholds(image) if given is None else given)
        ground = np.bincount(_rim(level)).argmax()
        return _without_small(connected_components(np.where(level == ground, 0, level + 1)), least)

    return _each(who, x, segment)
