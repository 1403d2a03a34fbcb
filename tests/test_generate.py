"""Generated data: shapes, determinism, balance, and geometry that can be checked without the generator."""

from __future__ import annotations

import numpy as np
import pytest

from rosenblatt import metrics
from rosenblatt.data import Dataset, generate

pytestmark = pytest.mark.quick

SETS = {
    "blobs": (2,),
    "circles": (2,),
    "moons": (2,),
    "spirals": (2,),
    "xor": (2,),
    "moving_shapes": (8, 32, 32, 1),
    "volumes": (16, 16, 16, 1),
    "sounds": (2000, 1),
    "skeletons": (24, 14, 2),
}


@pytest.mark.parametrize("name", SETS)
def test_sets(name):
    f = getattr(generate, name)
    data = f(50, seed=3)
    assert isinstance(data, Dataset) and data.x.shape == (50, *SETS[name]) and data.x.dtype == np.float32
    counts = np.bincount(data.y, minlength=len(data.classes))
    assert counts.max() - counts.min() <= 1 and len(counts) == len(data.classes)
    assert (np.diff(data.y) != 0).sum() > 8  # mixed order
    again, other = f(50, seed=3), f(50, seed=4)
    assert np.array_equal(again.x, data.x) and np.array_equal(again.y, data.y) and not np.array_equal(other.x, data.x)
    assert np.isfinite(data.x).all()
    with pytest.raises(ValueError, match=f"{name}: n must be"):
        f(0)
    with pytest.raises(ValueError, match="seed"):
        f(5, seed=-1)
    with pytest.raises(ValueError, match=r"noise|spread"):
        f(5, **{"spread" if name == "blobs" else "noise": -1})


def test_gates():
    tables = {
        "and": [0, 0, 0, 1],
        "or": [0, 1, 1, 1],
        "nand": [1, 1, 1, 0],
        "nor": [1, 0, 0, 0],
        "xor": [0, 1, 1, 0],
        "xnor": [1, 0, 0, 1],
    }
    for name, y in tables.items():
        g = generate.gate(name)
        assert g.y.tolist() == y and g.x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert generate.gate("not").y.tolist() == [1, 0] and generate.gate("xor", bipolar=True).x.min() == -1
    with pytest.raises(ValueError, match="xnor"):
        generate.gate("maybe")


def test_points_lie_where_they_should():
    d = generate.circles(200, noise=0.0, ratio=0.4)
    np.testing.assert_allclose(np.hypot(*d.x.T), np.where(d.y == 0, 1, 0.4), atol=1e-6)
    d = generate.moons(200, noise=0.0)
    np.testing.assert_allclose(np.hypot(*(d.x - np.where(d.y[:, None] == 0, [0, 0], [1, 0.5])).T), 1, atol=1e-6)
    assert (d.x[d.y == 0, 1] >= -1e-6).all() and (d.x[d.y == 1, 1] <= 0.5 + 1e-6).all()
    d = generate.xor(200)
    assert np.array_equal(d.y == 1, d.x[:, 0] * d.x[:, 1] < 0) and np.abs(d.x).max() <= 1
    assert min(np.bincount((d.x[:, 0] > 0) * 2 + (d.x[:, 1] > 0))) > 30  # all four quadrants
    d = generate.spirals(300, classes=3, turns=2, noise=0.0)
    r, t = np.hypot(*d.x.T), np.arctan2(d.x[:, 1], d.x[:, 0]) / (2 * np.pi)
    off = (t - 2 * r - d.y / 3 + 0.5) % 1 - 0.5
    assert abs(off).max() < 1e-5 and r.max() <= 1
    d = generate.blobs(3000, spread=0.1)
    for k in range(3):
        np.testing.assert_allclose(
            d.x[d.y == k].mean(0), [np.cos(2 * np.pi * k / 3), np.sin(2 * np.pi * k / 3)], atol=0.02
        )


def test_nearest_neighbours_tell_the_classes_apart():
    """scikit-learn's k-NN, on features a child would name, does well: labels belong to the data."""
    neighbors = pytest.importorskip("sklearn.neighbors")

    def accuracy(name, features, n=240, **options):
        d = getattr(generate, name)(n, seed=1, **options)
        z = features(d.x)
        half = n // 2
        return neighbors.KNeighborsClassifier(5).fit(z[:half], d.y[:half]).score(z[half:], d.y[half:])

    for name in ("moons", "circles", "spirals", "xor", "blobs"):
        assert accuracy(name, lambda x: x) > 0.9, name

    def motion(x):
        h, w = np.mgrid[: x.shape[2], : x.shape[3]]
        mass = x[..., 0].sum((2, 3))
        path = [(x[..., 0] * g).sum((2, 3)) / mass for g in (h, w)]
        return np.stack([p[:, -1] - p[:, 0] for p in path] + [30 * np.log(mass[:, -1] / mass[:, 0])], 1)

    assert accuracy("moving_shapes", motion) > 0.97
    assert accuracy("skeletons", lambda x: (x - x.mean((1, 2), keepdims=True)).std(1).reshape(len(x), -1)) > 0.9

    def spectrum(x):
        return np.log(np.abs(np.fft.rfft(x[:, :, 0])) + 1).reshape(len(x), -1)[:, :400].reshape(len(x), 20, 20).mean(2)

    assert accuracy("sounds", spectrum) > 0.5  # 1/6 by chance


def test_polynomial():
    x, y = generate.polynomial(4000, (1.0, -2.0, 0.5), noise=0.1, seed=2)
    assert x.shape == y.shape == (4000, 1) and x.dtype == y.dtype == np.float32
    np.testing.assert_allclose(np.polyfit(x[:, 0], y[:, 0], 2)[::-1], [1, -2, 0.5], atol=0.02)
    assert np.std(y - (1 - 2 * x + 0.5 * x * x)) == pytest.approx(0.1, rel=0.05)
    with pytest.raises(ValueError, match="high"):
        generate.polynomial(low=1, high=0)


@pytest.mark.parametrize("size", [16, 32, 75])
@pytest.mark.parametrize("channels", [1, 3])
def test_scenes_with_one_object(size, channels):
    s = generate.scenes(72, size, channels=channels, seed=5)
    assert s.x.shape == (72, size, size, channels) and s.x.dtype == np.float32 and 0 <= s.x.min() <= s.x.max() <= 1
    assert len(s) == 72 and s.labels.shape == (72, 1) and s.boxes.shape == (72, 1, 4)
    pairs = np.bincount(s.labels[:, 0] * 4 + s.textures[:, 0], minlength=24)
    assert (pairs == 3).all()  # shape and texture independent, all equally frequent
    assert np.array_equal(s.dataset().y, s.labels[:, 0]) and s.dataset("texture").classes == generate.TEXTURES
    again = generate.scenes(72, size, channels=channels, seed=5)
    assert all(np.array_equal(a, b) for a, b in zip(vars(s).values(), vars(again).values(), strict=True))
    bright = s.x.mean(-1)
    shape = s.masks > 0
    assert (np.array([bright[i][shape[i]].mean() - bright[i][~shape[i]].mean() for i in range(72)]) > 0.1).all()


def test_masks_instances_boxes_and_labels_agree():
    s = generate.scenes(100, 48, (1, 4), seed=1)
    found = (s.labels >= 0).sum(1)
    assert set(found) == {1, 2, 3, 4} and (s.labels[:, 0] >= 0).all()
    for i in range(100):
        for m in range(4):
            mine = s.instances[i] == m + 1
            if s.labels[i, m] < 0:
                assert not mine.any() and not s.boxes[i, m].any() and s.textures[i, m] == -1
                continue
            assert (s.masks[i][mine] == 1 + s.labels[i, m]).all()
            rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
            assert s.boxes[i, m].tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.array_equal(s.instances[i] > 0, s.masks[i] > 0)
        present = np.zeros(6)
        present[s.labels[i][s.labels[i] >= 0]] = 1
        assert s.tags()[i].tolist() == present.tolist()
    truth = [(s.labels[i, :1], s.boxes[i, :1]) for i in range(100)]
    perfect = [(a, b, np.ones(1)) for a, b in truth]
    assert metrics.box_iou(s.boxes[0, :1], s.boxes[0, :1])[0, 0] == 1
    assert metrics.mean_average_precision(truth, perfect) == 1


def test_objects_do_not_touch():
    ndimage = pytest.importorskip("scipy.ndimage")
    s = generate.scenes(60, 64, 3, seed=2)
    for i in range(60):
        assert ndimage.label(s.instances[i] > 0, np.ones((3, 3)))[1] == (s.labels[i] >= 0).sum()


def test_shapes_have_their_areas():
    """Pixels over the area that geometry gives, for radius 40."""
    expected = {
        "disc": np.pi,
        "square": 1.6**2,
        "triangle": 3 * np.sqrt(3) / 4,
        "ring": np.pi * 0.7,
        "cross": 4 * 0.3 * 0.95 * 2 - 0.36,
        "star": 5 * 0.45 * np.sin(np.pi / 5),
    }
    for k, name in enumerate(generate.SHAPES):
        for turn in (0.0, 0.7):
            one = np.array([k]), np.array([[50.0, 50.0]]), np.array([40.0]), np.array([turn])
            area = generate.inside(*one, 100).sum() / 1600
            assert area == pytest.approx(expected[name], rel=0.02), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 8}, "size"),
        ({"objects": (3, 1)}, "objects"),
        ({"channels": 2}, "channels"),
        ({"objects": 0}, "objects"),
    ],
)
def test_scenes_refuse(options, words):
    with pytest.raises(ValueError, match=f"scenes: {words}"):
        generate.scenes(3, **options)
    with pytest.raises(ValueError, match="by must be"):
        generate.scenes(3).dataset("colour")
