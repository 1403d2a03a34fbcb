"""Features without labels: random, designed, clustered, learned patch by patch; against SciPy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import data, models, nn, ops

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    train, test = data.digits(split=True)
    return train, test


def accuracy(model, test):
    return float((model.predict(test.x).argmax(1) == test.y).mean())


def test_patches_are_rows_of_kernels():
    x = np.random.default_rng(0).standard_normal((3, 5, 6, 2))
    rows = models.patches(x, 3)
    assert rows.shape == (3 * 3 * 4, 18)
    assert (rows[1 * 12 + 2 * 4 + 3] == x[1, 2:5, 3:6].ravel()).all()
    some = models.patches(x, 3, 10, seed=2)
    assert some.shape == (10, 18) and all((row == rows).all(1).any() for row in some)
    with pytest.raises(ValueError, match="at least 6 pixels"):
        models.patches(x, 6)


# --- the last layer alone


def test_readout_is_scikit_learns_and_touches_nothing_else(digits):
    linear = pytest.importorskip("sklearn.linear_model")
    train, _ = digits
    extractor = models.random_features(channels=4, pool=4, seed=3)
    before = {n: a.copy() for n, a in extractor.state_dict().items()}
    model, fit = models.readout(extractor, train.x, train.y, penalty=2.0)
    rows = extractor.predict(train.x).astype(np.float64)
    varying = rows.std(0) > 1e-6 * rows.std(0).max()
    standard = (rows[:, varying] - rows[:, varying].mean(0)) / rows[:, varying].std(0)
    theirs = linear.LogisticRegression(C=0.5, tol=1e-8, max_iter=5000).fit(standard, train.y)
    assert fit.converged
    shares = np.asarray(ops.softmax(model.predict(train.x), 1))
    assert np.abs(shares - theirs.predict_proba(standard)).max() < 5e-4
    assert all((a == before[n]).all() for n, a in extractor.state_dict().items())
    assert not any(p.requires_grad for p in extractor.parameters())
    assert all(p.requires_grad for p in models.trainable(model).parameters())
    with pytest.raises(ValueError, match=r"features \[N,D\]"):
        models.readout(nn.Sequential(nn.Conv2d(1, 2, 3)), train.x, train.y)


# --- random


def test_random_features_are_translation_tolerant_convolutions():
    signal = pytest.importorskip("scipy.signal")
    x = np.random.default_rng(1).standard_normal((2, 8, 8, 1)).astype(np.float32)
    model = models.random_features(channels=3, seed=4)
    w, b = np.asarray(model[0].weight.data, np.float64), np.asarray(model[0].bias.data)
    maps = np.stack([signal.correlate2d(x[1, ..., 0], k[..., 0], "same") for k in w], -1) + b
    pooled = np.maximum(maps, 0).reshape(4, 2, 4, 2, 3).max((1, 3))
    assert np.abs(model.predict(x)[1] - pooled.ravel()).max() < 1e-5
    again, other = models.random_features(channels=3, seed=4), models.random_features(channels=3, seed=5)
    assert (again[0].weight.data == w).all() and np.abs(other[0].weight.data - w).max() > 0.1
    assert models.random_features(layers=2, kind="avg").predict(x).shape == (2, 2 * 2 * 16)


def test_the_winner_by_random_features_is_the_best_readout(digits):
    train, _ = digits
    x, y, held = train.x[:400], train.y[:400], (train.x[400:600], train.y[400:600])
    candidates = {"none": {"channels": 1, "pool": 8}, "few": {"channels": 2, "pool": 4}, "many": {"channels": 16}}
    found = models.select_by_random_features(candidates, x, y, held, seeds=(0, 1))
    for name, options in candidates.items():
        each = []
        for seed in (0, 1):
            model, _ = models.readout(models.random_features(seed=seed, **options), x, y, classes=10)
            each.append((model.predict(held[0]).argmax(1) == held[1]).mean())
        assert found.scores[name] == pytest.approx(np.mean(each))
    assert found.winner == "many" == max(found.scores, key=found.scores.get)
    assert found.model.predict(held[0]).shape == (200, 10)
    with pytest.raises(ValueError, match="candidates"):
        models.select_by_random_features({}, x, y, held)


# --- designed


def test_sobel_bank_turns_with_the_direction():
    ndimage = pytest.importorskip("scipy.ndimage")
    x = np.random.default_rng(2).random((2, 8, 8, 3)).astype(np.float32)
    model = models.designed_features(input_shape=(8, 8, 3), bank="sobel", orientations=4, pool=1)
    maps = model.predict(x).reshape(2, 8, 8, 8)
    grey = x.astype(np.float64).mean(-1)
    across, down = ndimage.sobel(grey[1], 1, mode="constant") / 8, ndimage.sobel(grey[1], 0, mode="constant") / 8
    for i in range(4):
        slope = np.cos(i * np.pi / 4) * across + np.sin(i * np.pi / 4) * down
        assert np.abs(maps[1, ..., i] - np.maximum(slope, 0)).max() < 1e-6
        assert np.abs(maps[1, ..., 4 + i] - np.maximum(-slope, 0)).max() < 1e-6


def test_gabor_bank_answers_to_its_own_wave():
    """Of all kernels those of the picture's direction and wavelength answer most; a plain picture has no answer."""
    model = models.designed_features(input_shape=(24, 24, 1), bank="gabor", orientations=4, wavelengths=(4.0, 8.0))
    rows, columns = np.mgrid[:24, :24]
    for w, wave in enumerate((4.0, 8.0)):
        for i in range(4):
            angle = i * np.pi / 4
            x = np.cos(2 * np.pi * (columns * np.cos(angle) + rows * np.sin(angle)) / wave)[None, ..., None]
            maps = model.predict(x.astype(np.float32)).reshape(12, 12, 2, 2, 2, 4)  # sign, phase, wavelength, direction
            energy = maps[3:9, 3:9].mean((0, 1, 2, 3))
            assert np.unravel_index(energy.argmax(), (2, 4)) == (w, i)
    flat = model.predict(np.ones((1, 24, 24, 1), np.float32)).reshape(12, 12, -1)
    assert np.abs(flat[3:9, 3:9]).max() < 1e-6  # at the rim the picture ends


# --- learned without labels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kmeans_is_scikit_learns_from_the_same_start(dtype):
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(3)
    points = (rng.standard_normal((300, 5)) + 3 * rng.integers(0, 3, (300, 1))).astype(dtype)
    start = points[:4]
    centres, labels = models.kmeans(points, 4, start=start)
    theirs = cluster.KMeans(4, init=start, n_init=1, algorithm="lloyd", tol=0, max_iter=100).fit(points)
    assert (labels == theirs.labels_).all() and np.abs(centres - theirs.cluster_centers_).max() < 1e-4
    # its own start: a fixed point, near scikit-learn's best of ten
    centres, labels = models.kmeans(points, 3, seed=1)
    assert (((points[:, None] - centres) ** 2).sum(2).argmin(1) == labels).all()
    for j in range(3):
        assert np.abs(points[labels == j].mean(0, dtype=np.float64) - centres[j]).max() < 1e-5
    best = cluster.KMeans(3, n_init=10, random_state=0).fit(points).inertia_
    assert ((points - centres[labels]) ** 2).sum() <= 1.05 * best
    same = models.kmeans(np.ones((5, 2), dtype), 2)
    assert (same[0] == 1).all() and len(same[1]) == 5
    for bad in (points[:2], points[0], np.full((5, 2), np.nan)):
        with pytest.raises(ValueError, match="at least 3 finite points"):
            models.kmeans(bad, 3)
    with pytest.raises(ValueError, match="start"):
        models.kmeans(points, 3, start=start)


def test_clustered_kernels_are_edges_without_brightness(digits):
    train, _ = digits
    model = models.kmeans_features(train.x, units=12, seed=1)
    w = np.asarray(model[0].weight.data, np.float64).reshape(12, 9)
    assert np.abs(w.sum(1)).max() < 1e-5 and np.allclose((w**2).sum(1), 1, atol=1e-5)
    rows = models.patches(train.x, 3, 20_000, 1)
    share = (rows @ w.T + model[0].bias.data > 0).mean(0)
    assert np.abs(share - 0.25).max() < 0.01
    assert (np.abs(np.corrcoef(w)) - np.eye(12)).max() < 0.99  # no two alike
    with pytest.raises(ValueError, match="at least 50 patches"):
        models.kmeans_features(train.x[:1], units=50)


def test_kernels_are_centres_seen_through_the_whitening(digits, monkeypatch):
    """k-means looks at patches of equal contrast whose directions have equal variance; a kernel is W times a centre."""
    train, _ = digits
    seen = []

    def clusters(points, k, **options):
        seen.append(np.array(points))
        return np.eye(9)[:k], np.zeros(len(points), int)

    monkeypatch.setattr("rosenblatt.models.features.kmeans", clusters)
    model = models.kmeans_features(train.x, units=5, seed=1)
    rows = models.patches(train.x, 3, 20_000, 1).astype(np.float64)
    rows -= rows.mean(1, keepdims=True)
    rows /= np.sqrt(rows.var(1, keepdims=True) + 0.01)
    rows -= rows.mean(0)
    u, spread, _ = np.linalg.svd(rows.T @ rows / (len(rows) - 1))
    white = u @ np.diag(1 / np.sqrt(spread + 0.1)) @ u.T
    assert np.abs(seen[0] - rows @ white).max() < 1e-6
    want = white[:5] - white[:5].mean(1, keepdims=True)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    assert np.abs(np.asarray(model[0].weight.data).reshape(5, 9) - want).max() < 1e-5


def test_a_layer_learned_on_patches_is_their_model_everywhere(digits):
    """The convolution's answer at a pixel is the patch encoder's answer to the patch around it; the second layer was
    trained on the first one's pooled answers."""
    train, _ = digits
    x = train.x[:40]
    model = models.greedy_patch_features(x, units=(5, 6), epochs=1, most=400, seed=2)
    first = np.asarray(model[0](rb.Tensor(x)).data)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    w, b = np.asarray(model[0].weight.data).reshape(5, 9), np.asarray(model[0].bias.data)
    codes = np.maximum(models.patches(padded, 3) @ w.T + b, 0)
    assert np.abs(first.reshape(-1, 5) - codes).max() < 1e-5
    pooled = codes.reshape(40, 4, 2, 4, 2, 5).max((2, 4))
    second = np.asarray(model[2](rb.Tensor(pooled)).data)
    assert model.predict(x).shape == (40, 2 * 2 * 6)
    assert np.abs(model.predict(x) - second.reshape(40, 2, 2, 2, 2, 6).max((2, 4)).reshape(40, -1)).max() < 1e-5


def test_patch_models_reconstruct_better_than_random_ones(digits):
    """What a layer keeps of a patch: the best linear reconstruction from its codes."""
    train, test = digits
    rows = models.patches(np.pad(test.x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 5000)

    def error(layer):
        w, b = np.asarray(layer.weight.data).reshape(len(layer.weight.data), -1), np.asarray(layer.bias.data)
        codes = np.column_stack([np.maximum(rows @ w.T + b, 0), np.ones(len(rows))])
        back = codes @ np.linalg.lstsq(codes, rows, rcond=None)[0]
        return ((back - rows) ** 2).mean()

    learned = models.greedy_patch_features(train.x, units=(6,), epochs=15, seed=0)
    randoms = [error(models.random_features(channels=6, seed=s)[0]) for s in range(5)]
    assert error(learned[0]) < 0.5 * np.mean(randoms)


def test_each_kind_beats_chance_clearly(digits):
    train, test = digits
    kinds = {
        "random": models.random_features(seed=0), "sobel": models.designed_features(bank="sobel"),
        "gabor": models.designed_features(), "k-means": models.kmeans_features(train.x),
        "greedy": models.greedy_patch_features(train.x, epochs=3),
    }
    for name, extractor in kinds.items():
        model, _ = models.readout(extractor, train.x[:300], train.y[:300])
        assert accuracy(model, test) > 0.8, name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: models.random_features(kind="min"), "'max' or 'avg'"),
        (lambda x: models.random_features(layers=4), "at least 16 pixels"),
        (lambda x: models.designed_features(bank="haar"), "'sobel' or 'gabor'"),
        (lambda x: models.designed_features(wavelengths=(0,)), "wavelengths"),
        (lambda x: models.kmeans_features(x[0]), r"\[N,H,W,C\]"),
        (lambda x: models.kmeans_features(x, active=0), "active"),
        (lambda x: models.greedy_patch_features(x, units=()), "expected layers"),
        (lambda x: models.greedy_patch_features(x, noise=-1), "noise"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((2, 8, 8, 1), np.float32))
