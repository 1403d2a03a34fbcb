"""Random transforms: what they draw, that each sample draws its own, and that fit and Loader reproduce them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import nn, ops
from rosenblatt.data import images
from rosenblatt.data import transforms as tf
from rosenblatt.train import Callback, Loader

pytestmark = pytest.mark.quick


def generator(seed=0):
    return np.random.default_rng(seed)


def batch(n=16, h=12, w=10, c=3, seed=0):
    return np.random.default_rng(seed).random((n, h, w, c), dtype=np.float32)


IMAGES = [
    tf.Affine(rotate=10),
    tf.RandomCrop((12, 10), padding=2),
    tf.RandomResizedCrop((12, 10)),
    tf.RandomFlip("both"),
    tf.RandomRotation(20),
    tf.RandomZoom(),
    tf.RandomStretch(),
    tf.RandomTranslation(),
    tf.ColorJitter(0.3, 0.3, 0.3, 0.1),
    tf.RandomBrightness(),
    tf.RandomContrast(),
    tf.RandomChannels(),
    tf.RandomGrayscale(0.5),
    tf.RandomNoise(),
    tf.RandomNoise(kind="uniform"),
    tf.RandomNoise(kind="speckle"),
    tf.RandomNoise(kind="salt_pepper"),
    tf.RandomBlur(),
    tf.RandomErasing(),
    tf.RandomErasing(value="mean"),
    tf.Cutout(4),
    tf.Apply(images.complement, p=0.5),
    tf.Compose([tf.RandomFlip(), tf.RandomNoise()]),
    tf.Choice([tf.RandomFlip(), tf.RandomNoise()]),
]
SOUNDS = [
    tf.RandomSignalNoise(),
    tf.RandomGain(),
    tf.RandomShift((-0.3, 0.3)),
    tf.RandomSpeed(),
    tf.RandomTimeStretch(window=64),
    tf.RandomPitch(window=64),
]
names = {"ids": lambda t: repr(t)[:45]}


@pytest.mark.parametrize("transform", IMAGES, **names)
def test_images_reproducible_new_and_in_range(transform):
    x = batch()
    before = x.copy()
    y = transform(x, generator(1))
    assert y.shape == x.shape and y.dtype == np.float32 and np.isfinite(y).all()
    assert np.array_equal(x, before) and not np.shares_memory(x, y)
    assert np.array_equal(transform(x, generator(1)), y)
    assert not np.array_equal(transform(x, generator(2)), y) and not np.array_equal(y, x)
    assert y.min() >= -1e-6 and y.max() <= 1 + 1e-6
    assert transform(x.astype(np.float64), generator(1)).dtype == np.float64
    byte = (x * 255).astype(np.uint8)
    if not isinstance(transform, (tf.Affine, tf.Choice)):
        assert np.array_equal(transform(byte, generator(1)), transform(byte / np.float32(255), generator(1)))
    assert transform(x[:0], generator(1)).shape == (0, 12, 10, 3)


@pytest.mark.parametrize("transform", IMAGES[1:21], **names)
def test_every_image_draws_its_own(transform):
    same = np.repeat(batch(1), 24, axis=0)
    y = transform(same, generator(1))
    different = len(np.unique(y.reshape(24, -1), axis=0))
    expected = {tf.RandomFlip: 4, tf.RandomGrayscale: 2}.get(type(transform), 8)
    assert different >= expected


@pytest.mark.parametrize("transform", IMAGES[3:21], **names)
def test_p_is_the_part_of_the_images(transform):
    import dataclasses

    x = 0.2 + 0.6 * batch(400, 5, 5)
    if isinstance(transform, tf.RandomFlip):
        transform = tf.RandomFlip("horizontal")
    for p in (0.0, 0.3):
        y = dataclasses.replace(transform, p=p)(x, generator(3))
        share = (y != x).any((1, 2, 3)).mean()
        assert abs(share - p) < (0.09 if p else 1e-9)


@pytest.mark.parametrize("transform", SOUNDS, **names)
@pytest.mark.parametrize("shape", [(5, 400), (5, 400, 2)])
def test_sounds(transform, shape):
    x = generator().standard_normal(shape).astype(np.float32)
    before = x.copy()
    y = transform(x, generator(1))
    assert y.shape == shape and y.dtype == np.float32 and np.isfinite(y).all() and np.array_equal(x, before)
    assert np.array_equal(transform(x, generator(1)), y) and not np.array_equal(y, x)
    half = type(transform)(**{**vars(transform), "p": 0.5})(np.repeat(x, 14, axis=0), generator(2))
    share = (half != np.repeat(x, 14, axis=0)).any(tuple(range(1, x.ndim))).mean()
    assert 0.28 < share < 0.72
    with pytest.raises(ValueError, match=type(transform).__name__):
        transform(x[0, :, 0] if x.ndim == 3 else x[0], generator())


# --- what each one draws, from images that show it


def test_crop_takes_windows_everywhere():
    x = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1).repeat(300, 0)
    y = tf.RandomCrop(4)(x, generator())
    corners = y[:, 0, 0, 0]
    assert sorted(set(corners.tolist())) == [r * 6 + c for r in range(3) for c in range(3)]
    assert np.array_equal(y - corners[:, None, None, None], np.broadcast_to(x[0, :4, :4], y.shape))
    padded = tf.RandomCrop(6, padding=2, fill=9.0)(x + 10, generator())
    assert {(p == 9).sum() for p in padded} >= {0, 6 * 6 - 4 * 4}
    with pytest.raises(ValueError, match="at least 8 x 8 with their padding, got 6 x 6"):
        tf.RandomCrop(8)(x, generator())


def test_flip_directions():
    x = batch(200)
    for direction in ("horizontal", "vertical", "both"):
        y = tf.RandomFlip(direction)(x, generator())
        kinds = {(): x, 2: x[:, :, ::-1], 1: x[:, ::-1], 3: x[:, ::-1, ::-1]}
        allowed = {"horizontal": [(), 2], "vertical": [(), 1], "both": [(), 1, 2, 3]}[direction]
        share = [np.array_equal(y[i], kinds[k][i]) for i in range(200) for k in allowed]
        assert sum(share) == 200
        for k in allowed:
            assert 1 / len(allowed) - 0.13 < np.mean([np.array_equal(y[i], kinds[k][i]) for i in range(200)])


def spot(n, at=(10, 10), size=21):
    x = np.zeros((n, size, size, 1), np.float32)
    x[:, at[0], at[1]] = 1
    return x


def centroids(y):
    """[N,2] (down, right) of the mass, from the centre."""
    h, w = np.mgrid[: y.shape[1], : y.shape[2]]
    m = y[..., 0].astype(np.float64)
    total = m.sum((1, 2))
    return np.stack([(m * (h - 10)).sum((1, 2)) / total, (m * (w - 10)).sum((1, 2)) / total], 1)


def test_rotation_angles():
    y = tf.RandomRotation((10, 50))(spot(200, (10, 17)), generator())
    at = centroids(y)
    angles = np.degrees(np.arctan2(-at[:, 0], at[:, 1]))  # up is positive: counter-clockwise
    assert 9 < angles.min() < 14 and 46 < angles.max() < 51
    both = centroids(tf.RandomRotation(30)(spot(200, (10, 17)), generator()))
    assert (both[:, 0] > 1).any() and (both[:, 0] < -1).any()


def test_zoom_stretch_and_translation():
    away = spot(300, (14, 15))  # (4, 5) from the centre
    at = centroids(tf.RandomZoom((1.2, 1.6))(away, generator()))
    ratio = at / [4, 5]
    assert 1.15 < ratio.min() < 1.25 and 1.55 < ratio.max() < 1.65 and abs(ratio[:, 0] - ratio[:, 1]).max() < 0.05
    ratio = centroids(tf.RandomStretch((1.0, 1.2), 0.5)(away, generator())) / [4, 5]
    assert ratio[:, 0].max() < 1.25
    assert 0.4 < ratio[:, 1].min() < 0.65 and 1.4 < ratio[:, 1].max() < 1.55
    assert tf.RandomStretch(0.1).vertical == (0.9, 1.1)
    at = centroids(tf.RandomTranslation(0.2, (0.1, 0.3))(spot(300), generator()))
    assert -4.3 < at[:, 0].min() < -3.8 and 3.8 < at[:, 0].max() < 4.3
    assert 2.0 < at[:, 1].min() < 2.4 and 6.0 < at[:, 1].max() < 6.4


def test_fill_reaches_the_warps():
    ones = np.ones((4, 9, 9, 1), np.float32)
    for make in (tf.RandomRotation, tf.RandomZoom, tf.RandomTranslation):
        first = {"degrees": (40, 45)} if make is tf.RandomRotation else {}
        first = {"scale": (0.5, 0.6)} if make is tf.RandomZoom else first
        np.testing.assert_allclose(make(**first, fill="edge")(ones, generator()), 1, atol=1e-6)
        assert make(**first)(ones, generator()).min() < 0.5


def test_resized_crop_of_everything_is_resize():
    x = batch()
    y = tf.RandomResizedCrop((6, 5), scale=(1, 1), ratio=(10 / 12, 10 / 12))(x, generator())
    np.testing.assert_allclose(y, images.resize(x, (6, 5)), atol=2e-5)
    flat = np.linspace(0, 1, 40, dtype=np.float32)[None, None, :, None].repeat(300, 0).repeat(40, 1)
    y = tf.RandomResizedCrop(40, scale=(0.25, 0.25), ratio=(1, 1))(flat, generator())
    np.testing.assert_allclose(np.diff(y, axis=2)[:, :, 1:-1], 0.5 / 39, atol=1e-4)  # enlarged twice, wherever


def test_jitter_is_adjust_color_per_image():
    x = batch(6)
    y = tf.ColorJitter((1.2, 1.2), (0.7, 0.7), (1.4, 1.4), (0.1, 0.1))(x, generator())
    np.testing.assert_allclose(y, images.adjust_color(x, 1.2, 0.7, 1.4, 0.1), atol=1e-5)
    drawn = tf.ColorJitter(0.5)(np.full((300, 1, 1, 3), 0.5, np.float32), generator())[:, 0, 0, 0] / 0.5
    assert 0.5 <= drawn.min() < 0.53 and 1.47 < drawn.max() <= 1.5
    grey = tf.ColorJitter(0.2, 0.2)(batch(c=1), generator())
    assert grey.shape == (16, 12, 10, 1)
    with pytest.raises(ValueError, match="3 channels"):
        tf.ColorJitter(saturation=0.2)(batch(c=1), generator())
    contrast = tf.RandomContrast((0.5, 0.5))(x, generator())
    np.testing.assert_allclose(contrast, images.adjust_contrast(x, 0.5), atol=1e-6)
    np.testing.assert_allclose(tf.RandomBrightness((1.5, 1.5))(x, generator()), images.adjust_brightness(x, 1.5))


def test_channels_have_factors_of_their_own():
    y = tf.RandomChannels((0.5, 1.5))(np.full((300, 2, 2, 3), 0.5, np.float32), generator())
    factors = y[:, 0, 0] / 0.5
    assert (y == y[:, :1, :1]).all() and 0.5 <= factors.min() < 0.53 and 1.47 < factors.max() <= 1.5
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.2


def test_noise_strengths():
    x = np.full((400, 20, 20, 1), 0.5, np.float32)
    for kind, deviation in (("gaussian", 0.2), ("uniform", 0.2 / math.sqrt(3)), ("speckle", 0.1)):
        y = tf.RandomNoise(0.2, kind, clip=False)(x, generator())
        assert y.mean() == pytest.approx(0.5, abs=2e-3) and y.std() == pytest.approx(deviation, rel=0.01)
    each = tf.RandomNoise((0.0, 0.1), clip=False)(x, generator()).std((1, 2, 3))
    assert each.min() < 0.003 and 0.09 < each.max() < 0.11
    salt = tf.RandomNoise(0.3, "salt_pepper")(x.repeat(3, 3), generator())
    for value in (0, 1):
        assert (salt == value).mean() == pytest.approx(0.15, abs=0.01)
    assert (salt == salt[..., :1]).all()  # all channels of a pixel together


def test_blur_is_gaussian_blur_per_image():
    x = batch()
    y = tf.RandomBlur((0.8, 0.8), 7)(x, generator())
    np.testing.assert_allclose(y, images.gaussian_blur(x, 0.8, 7), atol=1e-6)
    ndimage = pytest.importorskip("scipy.ndimage")
    e = ndimage.gaussian_filter(x.astype("f8"), (0, 0.8, 0.8, 0), radius=(0, 3, 3, 0), mode="mirror")
    np.testing.assert_allclose(y, e, atol=1e-6)


def test_erasing_draws_areas_and_shapes():
    x = np.ones((500, 40, 40, 1), np.float32)
    y = tf.RandomErasing(1.0, (0.1, 0.2), (0.5, 2.0))(x, generator())
    share = (y == 0).mean((1, 2, 3))
    assert 0.085 < share.min() < 0.12 and 0.18 < share.max() < 0.215
    for one in y[:50, :, :, 0]:
        rows, columns = np.flatnonzero((one == 0).any(1)), np.flatnonzero((one == 0).any(0))
        assert len(rows) * len(columns) == (one == 0).sum()  # one rectangle
        assert 0.4 < len(rows) / len(columns) < 2.5
    covered = (y == 0).mean(0)[:, :, 0]
    assert covered[3:-3, 3:-3].min() > 0.02 and (covered[0] > 0).any()  # every place is reached
    mean = tf.RandomErasing(1.0, value="mean")(batch(), generator())
    changed = (mean != batch()).any(-1)
    assert np.allclose(mean[3][changed[3]], batch()[3].mean((0, 1)), atol=1e-6)
    random = tf.RandomErasing(1.0, (0.3, 0.3), value="random")(x, generator())
    assert abs(random[random != 1].mean()) < 0.02 and random[random != 1].std() == pytest.approx(1, abs=0.02)


def test_cutout():
    x = np.ones((300, 12, 12, 1), np.float32)
    y = tf.Cutout(4, value=0.5)(x, generator())
    counts = (y == 0.5).sum((1, 2, 3))
    assert counts.max() == 16 and 4 <= counts.min() < 16  # cut by the border
    assert (tf.Cutout(2, holes=3)(x, generator()) == 0).sum((1, 2, 3)).max() == 12


# --- putting together


def test_apply_choice_compose():
    x = batch(100)
    assert np.array_equal(
        tf.Apply(images.normalize, options={"mean": 0.5, "std": 0.5})(x, generator()), images.normalize(x, 0.5, 0.5)
    )
    assert np.array_equal(tf.Apply(tf.RandomNoise(), random=True)(x, generator(4)), tf.RandomNoise()(x, generator(4)))
    with pytest.raises(ValueError, match="p < 1"):
        tf.Apply(images.center_crop, p=0.5, options={"size": 4})(x, generator())
    byte = np.full((1, 4, 4, 3), 200, np.uint8)
    seen = set()
    for seed in range(8):  # chosen or not, bytes become values in [0, 1]
        got = tf.Apply(images.complement, p=0.5)(byte, generator(seed))
        seen.add((got.dtype.name, *np.rint(255 * np.unique(got)).astype(int).tolist()))
    assert seen == {("float32", 200), ("float32", 55)}
    assert tf.Apply(images.complement, p=0.5)(byte[:0], generator()).shape == (0, 4, 4, 3)
    chain = tf.Compose([tf.RandomCrop(8), tf.Apply(images.grayscale)])
    assert chain(x, generator()).shape == (100, 8, 8, 1)
    never = tf.Choice([tf.RandomNoise(), tf.Apply(images.complement)], weights=[0, 1])
    assert np.array_equal(never(x, generator()), 1 - x)
    either = tf.Choice([tf.Apply(images.complement), tf.Apply(images.flip)])
    seen = {np.array_equal(either(x[:1], generator(i)), 1 - x[:1]) for i in range(20)}
    assert seen == {True, False}
    assert "RandomCrop" in repr(chain) and "Apply" in repr(never)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tf.RandomCrop(0), "RandomCrop"),
        (lambda: tf.RandomCrop(3, padding=-1), "padding"),
        (lambda: tf.RandomCrop(3, fill="x"), "fill"),
        (lambda: tf.RandomFlip("x"), "direction"),
        (lambda: tf.RandomFlip(p=2), "p must be"),
        (lambda: tf.RandomZoom(None), "scale must be"),
        (lambda: tf.RandomCrop(3, padding=None), "padding must be"),
        (lambda: tf.RandomRotation((3, 1)), "order"),
        (lambda: tf.RandomRotation(-1), "degrees"),
        (lambda: tf.RandomZoom((0, 1)), "scale"),
        (lambda: tf.ColorJitter(hue=0.7), "hue"),
        (lambda: tf.ColorJitter(-0.1), "brightness"),
        (lambda: tf.RandomNoise(kind="pink"), "kind"),
        (lambda: tf.RandomNoise(2, "salt_pepper"), "strength"),
        (lambda: tf.RandomBlur(size=4), "odd"),
        (lambda: tf.RandomBlur(0.0), "sigma"),
        (lambda: tf.RandomErasing(value="x"), "value"),
        (lambda: tf.RandomErasing(scale=(0.5, 2)), "scale"),
        (lambda: tf.Cutout(0), "size"),
        (lambda: tf.MixUp(0), "alpha"),
        (lambda: tf.CutMix(classes=0), "classes"),
        (lambda: tf.Choice([tf.RandomFlip()], [1, 2]), "weights"),
        (lambda: tf.Apply(tf.MixUp()), "samples alone"),
        (lambda: tf.RandomPitch(window=6), "window"),
        (lambda: tf.RandomSpeed((0, 1)), "rate"),
        (lambda: tf.RandomShift(2), "part"),
        (lambda: tf.TokenRows(len, p=-1), "p must be"),
    ],
)
def test_wrong_options(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float64])
def test_numbers_of_numpy_are_ranges_like_those_of_python(kind):
    assert tf.RandomRotation(kind(10)).degrees == (-10, 10)
    assert tf.RandomTranslation(kind(1)).vertical == (-1, 1)
    assert tf.ColorJitter(kind(1)).brightness == (0, 2)
    assert tf.RandomBrightness(kind(2)).factor == (0, 3)


def test_wrong_calls():
    with pytest.raises(TypeError, match="expected transforms"):
        tf.Compose([3])
    with pytest.raises(TypeError, match="at least one transform"):
        tf.Choice([])
    with pytest.raises(TypeError, match="x, y, generator"):
        tf.Compose([tf.MixUp(classes=2)])(batch(), generator())
    with pytest.raises(TypeError, match="x, generator"):
        tf.Compose([tf.RandomFlip()])(batch(), np.zeros(3), generator())
    for t in (tf.RandomFlip(), tf.RandomErasing(), tf.RandomNoise()):
        with pytest.raises(ValueError, match=r"\[N,H,W,C\]"):
            t(batch()[0], generator())


# --- mixing


def test_mixup_by_its_formula():
    x, y = batch(64), np.arange(64) % 4
    xs, ys = tf.MixUp(1.0, classes=4)(x, y, generator(5))
    assert ys.shape == (64, 4) and ys.dtype == np.float32
    np.testing.assert_allclose(ys.sum(1), 1, atol=1e-6)
    g = generator(5)
    own, order = g.beta(1.0, 1.0, 64), None
    g.random(64)
    order = g.permutation(64)
    w = own[:, None, None, None]
    np.testing.assert_allclose(xs, w * x + (1 - w) * x[order], atol=1e-6)
    np.testing.assert_allclose(ys, own[:, None] * np.eye(4)[y] + (1 - own)[:, None] * np.eye(4)[y[order]], atol=1e-6)


def test_mixup_of_targets_and_of_any_samples():
    x, y = generator().random((8, 5)), generator(1).random((8, 3))
    xs, ys = tf.MixUp()(x, y, generator(2))
    assert xs.shape == (8, 5) and ys.shape == (8, 3) and xs.dtype == np.float64
    a = np.linalg.lstsq(x.T, xs.T, rcond=None)[0]  # the same weights mix both
    b = np.concatenate([x, y], 1)
    assert np.linalg.matrix_rank(np.concatenate([b, np.concatenate([xs, ys], 1)]), tol=1e-9) == 8
    assert a.shape == (8, 8)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_beta_of_the_parts(alpha):
    stats = pytest.importorskip("scipy.stats")
    x, y = np.zeros((500, 1), np.float32), np.arange(500)
    part = tf.MixUp(alpha, classes=500)(x, y, generator())[1]
    own = part[np.arange(500), np.arange(500)]
    assert stats.kstest(own, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_cutmix_labels_follow_the_pixels():
    n = 60
    x = (np.arange(n, dtype=np.float32) / 100)[:, None, None, None] * np.ones((n, 15, 20, 1), np.float32)
    xs, ys = tf.CutMix(1.0, classes=n)(x, np.arange(n), generator(6))
    boxes = 0
    for i in range(n):
        share = np.bincount(np.rint(xs[i].ravel() * 100).astype(int), minlength=n) / 300
        np.testing.assert_allclose(ys[i], share, atol=1e-6)
        other = xs[i, :, :, 0] != x[i, 0, 0, 0]
        rows, columns = other.any(1).sum(), other.any(0).sum()
        assert rows * columns == other.sum()
        boxes += bool(other.any())
    assert boxes > n / 2


def test_p_of_mixing():
    x, y = batch(400, 4, 4), np.arange(400)
    for make in (tf.MixUp, tf.CutMix):
        ys = make(1.0, classes=400, p=0.25)(x, y, generator())[1]
        assert abs((ys.max(1) < 1).mean() - 0.25) < 0.08


def test_mixing_refuses_labels_that_do_not_fit():
    x = batch(4)
    with pytest.raises(ValueError, match="need classes="):
        tf.MixUp()(x, np.arange(4), generator())
    with pytest.raises(ValueError, match=r"labels in 0\.\.2, got 0\.\.3"):
        tf.CutMix(classes=3)(x, np.arange(4), generator())
    with pytest.raises(ValueError, match="one target per sample"):
        tf.MixUp(classes=3)(x, np.zeros(3, int), generator())
    with pytest.raises(ValueError, match=r"integer labels \[N\]"):
        tf.MixUp(classes=3)(x, np.zeros((4, 2), int), generator())


# --- in the Loader and in fit

CHAIN = tf.Compose(
    [
        tf.RandomCrop((12, 10), padding=2),
        tf.RandomFlip(),
        tf.ColorJitter(0.2, 0.2, 0.2, 0.05),
        tf.RandomRotation(10),
        tf.RandomErasing(),
        tf.RandomNoise(0.05),
        tf.MixUp(0.4, classes=3),
        tf.CutMix(classes=3),
    ]
)


@pytest.mark.parametrize("shuffle", [True, False])
def test_loader_gives_the_same_bytes_with_any_number_of_workers(shuffle):
    x, y = batch(20), np.arange(20) % 3
    before = x.copy()
    runs = []
    for workers in (0, 1, 3):
        loader = Loader(x, y, 6, shuffle=shuffle, seed=7, augment=CHAIN, workers=workers)
        runs.append([b for _ in range(2) for b in loader])
    assert len(runs[0]) == 8 and runs[0][0][0].shape == (6, 12, 10, 3) and runs[0][3][0].shape[0] == 2
    for other in runs[1:]:
        for (xa, ya), (xb, yb) in zip(runs[0], other, strict=True):
            assert np.array_equal(xa, xb) and np.array_equal(ya, yb) and ya.shape[1] == 3 and ya.dtype == np.float32
    assert np.array_equal(x, before)
    assert not np.array_equal(runs[0][0][0], runs[0][4][0])  # the first batch of both passes
    middle = Loader(x, y, 6, shuffle=shuffle, seed=7, augment=CHAIN, workers=2)
    state = {**middle.state_dict(), "position": 5}
    middle.load_state_dict(state)
    for (xa, ya), (xb, yb) in zip(runs[0][5:], middle, strict=True):
        assert np.array_equal(xa, xb) and np.array_equal(ya, yb)


def test_loader_of_bytes_and_of_tokens():
    byte = (batch(8) * 255).astype(np.uint8)
    xb, _ = next(iter(Loader(byte, np.arange(8), 4, augment=tf.RandomFlip(), workers=0)))
    assert xb.dtype == np.float32 and xb.max() <= 1
    from rosenblatt.data import text

    tokens = np.arange(1, 41).reshape(8, 5)
    rows = tf.TokenRows(text.delete_words, options={"p": 0.5})
    xb, _ = next(iter(Loader(tokens, np.arange(8), 8, shuffle=False, augment=rows, workers=0)))
    assert xb.dtype == tokens.dtype and (xb == 0).any() and ((xb == 0) | np.isin(xb, tokens)).all()


def test_loader_refuses_what_is_no_pair():
    class Bad:
        needs_labels = True

        def __init__(self, answer):
            self.answer = answer

        def __call__(self, x, y, generator):
            return self.answer

    x = batch(4)
    for answer, words in ((x, "must return"), ((x, np.zeros(3)), "for 4 examples")):
        with pytest.raises(ValueError, match=words):
            next(iter(Loader(x, np.arange(4), 4, augment=Bad(answer), workers=0)))


def test_an_augmentation_may_write_into_what_it_gets():
    class Spoil:
        needs_labels = True

        def __call__(self, x, y, generator):
            x[:], y[:] = 7, 9
            return x, y

    x, y = batch(4), np.arange(4)
    for shuffle in (True, False):
        xb, yb = next(iter(Loader(x, y, 4, shuffle=shuffle, augment=Spoil(), workers=0)))
        assert (xb == 7).all() and (yb == 9).all()
    assert np.array_equal(x, batch(4)) and y.tolist() == [0, 1, 2, 3]


def striped(n=90):
    """Images whose class is the direction of their stripes."""
    y = np.arange(n) % 3
    h, w = np.mgrid[:8, :8]
    waves = np.stack([np.sin(1.6 * h), np.sin(1.6 * w), np.sin(1.6 * (h + w))])  # [3,8,8]
    x = 0.5 + 0.4 * waves[y] + 0.05 * np.random.default_rng(0).standard_normal((n, 8, 8))
    return x[..., None].astype(np.float32), y


def network():
    rb.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 6, 3, activation="relu"), nn.Flatten(), nn.Linear(216, 3))


MIX = tf.Compose([tf.RandomFlip(), tf.Choice([tf.MixUp(0.4, classes=3), tf.CutMix(classes=3)])])


@pytest.mark.parametrize("capture", [None, False])
def test_mixing_trains(capture):
    x, y = striped()
    model = network()
    history = model.fit(
        x, y, epochs=25, batch_size=15, augment=MIX, progress=False, seed=1, capture=capture, validation_data=(x, y)
    )
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert history.history["val_accuracy"][-1] > 0.95
    assert history.history["loss"][-1] > 0.25  # soft targets cannot be fitted exactly: the mixing was there


def test_soft_labels_are_the_loss_of_the_mixed_ones():
    """Cross-entropy is linear in the target, so mixed rows cost the mixture of the losses."""
    logits = generator().standard_normal((6, 3)).astype(np.float32)
    y = np.arange(6) % 3
    _, rows = tf.MixUp(1.0, classes=3)(np.zeros((6, 1), np.float32), y, generator(1))
    each = np.stack([ops.cross_entropy(logits, np.full(6, k), reduction="none") for k in range(3)], 1)
    np.testing.assert_allclose(ops.cross_entropy(logits, rows, reduction="none"), (each * rows).sum(1), rtol=1e-5)


def test_fit_is_the_same_with_any_number_of_workers():
    x, y = striped()
    weights = []
    for workers in (0, 1, 3):
        model = network()
        model.fit(x, y, epochs=2, batch_size=16, augment=MIX, progress=False, seed=1, workers=workers)
        weights.append(model.state_dict())
    for other in weights[1:]:
        assert all(np.array_equal(weights[0][k], other[k]) for k in other)


def test_fit_resumes_in_the_middle_to_the_bit(tmp_path):
    x, y = striped()
    options = {"epochs": 3, "batch_size": 16, "augment": MIX, "progress": False, "seed": 1}

    class Stop(Callback):
        def on_batch_end(self, batch, logs):
            if self.run.epoch == 1 and batch == 3:
                raise KeyboardInterrupt

    whole = network()
    whole.fit(x, y, **options)
    model = network()
    model.fit(x, y, **options, checkpoint=tmp_path, checkpoint_steps=1, callbacks=[Stop()])
    model = network()
    model.fit(
        x,
        y,
        **options,
        checkpoint=tmp_path,
        checkpoint_steps=1,
        resume=True,
        callbacks=[type("Stop", (Callback,), {})()],
    )
    state = whole.state_dict()
    assert all(np.array_equal(state[k], v) for k, v in model.state_dict().items())


# --- the picture


def test_augmentation_grid_shows_originals_and_samples():
    pytest.importorskip("matplotlib")
    from rosenblatt.viz import augmentation_grid

    x = batch(3)
    crop = tf.RandomCrop(6)
    figure = augmentation_grid(x, crop, samples=4, seed=5)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert len(shown) == 15 and shown[0].shape == (12, 10, 3) and shown[1].shape == (6, 6, 3)
    np.testing.assert_allclose(shown[5], x[1])
    np.testing.assert_allclose(shown[5 + 3], crop(x, np.random.default_rng([5, 2]))[1])
    mixed = augmentation_grid((x * 255).astype(np.uint8), tf.Compose([tf.RandomFlip(), tf.MixUp(1.0)]), samples=1)
    assert len(mixed.axes) == 6
    np.testing.assert_allclose(mixed.axes[0].images[0].get_array(), x[0], atol=1 / 255)
    with pytest.raises(ValueError, match=r"1 or 3\], got shape"):
        augmentation_grid(x[..., :2], crop)
    with pytest.raises(ValueError, match="samples"):
        augmentation_grid(x, crop, samples=0)
    with pytest.raises(ValueError, match="back"):
        augmentation_grid(x, lambda b, g: b[:1])


# --- the page


def test_the_page_names_every_operation_and_its_scripts_run():
    import re
    from pathlib import Path

    from rosenblatt.data import audio, generate, text

    page = (Path(__file__).resolve().parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", page))
    missing = {n for m in (images, tf, audio, text, generate) for n in m.__all__ if n not in words} - {"ADJUNCTS"}
    assert not missing
    scripts = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    assert len(scripts) >= 2
    for number, code in enumerate(scripts):
        exec(compile(code, f"data.md, script {number}", "exec"), {"__name__": "page"})
