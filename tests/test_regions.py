"""Segmentation without learning, against SciPy's labels and all thresholds tried."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rosenblatt import metrics
from rosenblatt.data import generate, images

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("connectivity", [4, 8])
def test_components_are_scipys(connectivity):
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(0)
    for h, w, share in ((1, 1, 0.5), (1, 9, 0.5), (20, 30, 0.4), (33, 17, 0.6), (40, 40, 0.9), (7, 7, 0.0)):
        mask = rng.random((h, w)) < share
        structure = np.ones((3, 3)) if connectivity == 8 else None
        assert (images.connected_components(mask, connectivity) == ndimage.label(mask, structure)[0]).all()
    spiral = np.zeros((15, 15), int)  # a long way from one end to the other
    for i in range(0, 7, 2):
        spiral[i, i : 15 - i] = spiral[i : 15 - i, 14 - i] = spiral[14 - i, i : 15 - i] = 1
        spiral[i + 2 : 15 - i, i] = 1
        spiral[i + 2, i : i + 3] = 1
    assert (images.connected_components(spiral) == ndimage.label(spiral)[0]).all()
    values = rng.integers(0, 3, (12, 13))  # areas of one value: each value on its own
    got = images.connected_components(values)
    for v in (1, 2):
        alone = ndimage.label(values == v)[0]
        assert len(np.unique(np.stack([got[values == v], alone[values == v]]), axis=1).T) == alone.max()
    assert (got[values == 0] == 0).all()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_otsu_tries_all_thresholds(classes):
    rng = np.random.default_rng(classes)
    image = np.concatenate([rng.normal(m, 0.04, 60 + 40 * i) for i, m in enumerate((0.2, 0.5, 0.7, 0.9))])
    image = np.clip(image, 0, 1).reshape(-1, 10, 1)
    cells = np.clip(image.ravel() * 16, 0, 15).astype(int)

    def within(edges):
        parts = np.split(np.sort(cells), np.searchsorted(np.sort(cells), edges))
        return sum(((p - p.mean()) ** 2).sum() for p in parts if len(p))

    best = min(within(edges) for edges in itertools.combinations(range(1, 16), classes - 1))
    found = images.otsu_thresholds(image, classes, 16)
    assert found.shape == (classes - 1,) and within(np.rint(found * 16)) == pytest.approx(best)
    one = images.otsu_thresholds(image, 2, 256)[0]
    assert within([one * 16]) <= 1.02 * within([float(images.otsu_threshold(image[None])[0]) * 16])


def scene():
    """Two bright rectangles and a ring on dark, 30 x 40, and where they are."""
    truth = np.zeros((30, 40), int)
    truth[4:12, 5:15], truth[20:28, 20:36] = 1, 2
    rows, columns = np.mgrid[:30, :40]
    far = np.hypot(rows - 9, columns - 28)
    truth[(far < 7) & (far > 3)] = 3
    image = np.where(truth > 0, 0.8, 0.2)[..., None] + 0.01 * np.random.default_rng(0).standard_normal((30, 40, 1))
    return np.clip(image, 0, 1).astype(np.float32), truth


def as_pairs(labels, truth):
    return {tuple(p) for p in np.stack([labels, truth], -1).reshape(-1, 2)}


def test_regions_of_a_plain_picture_are_exact():
    image, truth = scene()
    labels = images.segment_threshold(image)
    assert len(as_pairs(labels, truth)) == 4 and labels.max() == 3 and ((labels == 0) == (truth == 0)).all()
    clusters = images.segment_kmeans(image)
    assert ((clusters > 0) == (truth > 0)).all()
    assert (images.segment_threshold(image, [0.5]) == labels).all()
    assert (images.segment_threshold(1 - image) == labels).all()  # the rim says what is background
    assert images.segment_threshold(image, least=100).max() == 2  # the smallest of the three is left out
    filled = truth > 0
    filled[np.hypot(*np.mgrid[-9:21, -28:12]) <= 3] = True  # a closed edge keeps its inside
    edges = images.segment_edges(image, sigma=1.0)
    assert edges.max() == 3 and metrics.iou(filled.astype(int), (edges > 0).astype(int), None)[1] > 0.8
    both = images.segment_threshold(np.stack([image, image[::-1]]))
    assert both.shape == (2, 30, 40) and (both[0] == labels).all()
    assert (images.segment_threshold(np.full((8, 8, 1), 0.5)) == 0).all()


def test_the_rim_tells_the_background():
    """A large object is none the less an object, and a band from side to side does not close off what is below it."""
    large = np.full((20, 20, 1), 0.1)
    large[2:18, 2:18] = 0.9  # 256 of 400 pixels
    for segment in (images.segment_kmeans, images.segment_threshold):
        assert (segment(large) == (large[..., 0] > 0.5)).all()
    band = np.full((30, 30, 1), 0.1)
    band[10:16] = 0.9
    assert (images.segment_edges(band)[20:] == 0).all() and (images.segment_edges(band)[:5] == 0).all()


def test_pictures_with_shapes_are_told_from_their_background():
    """The three methods on generated shapes: IoU of all objects with what is not background."""
    found = generate.scenes(40, 48, (1, 3), seed=4)
    truth = (found.masks > 0).astype(int)
    for segment, least in (
        (images.segment_threshold, 0.6), (images.segment_kmeans, 0.6), (images.segment_edges, 0.6),
    ):
        labels = segment(found.x)
        assert metrics.iou(truth, (labels > 0).astype(int), None)[1] > least, segment.__name__


def test_place_holds_clusters_together():
    rng = np.random.default_rng(5)
    image = rng.random((24, 24, 1)).astype(np.float32)
    loose = images.segment_kmeans(image, 4)
    tight = images.segment_kmeans(image, 4, position=20.0)
    assert images.connected_components(tight + 1).max() == 4 < images.connected_components(loose + 1).max()
    sizes = np.bincount(tight.ravel(), minlength=4)
    assert sizes[1:].tolist() == sorted(sizes[1:], reverse=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: images.segment_edges(x, close=2), "close must be odd"),
        (lambda x: images.segment_threshold(x, [0.5, 0.2]), "rising thresholds"),
        (lambda x: images.segment_kmeans(x, 0), "k must be"),
        (lambda x: images.segment_kmeans(x[..., :0]), "1 or 3 channels"),
        (lambda x: images.segment_threshold(x * np.nan), "NaN"),
        (lambda x: images.otsu_thresholds(np.zeros((4, 4, 1)), 2), "different levels"),
        (lambda x: images.connected_components(x[..., 0]), "whole numbers"),
        (lambda x: images.connected_components(x[..., 0] > 0, 6), "4 or 8"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0).random((9, 9, 1)))
