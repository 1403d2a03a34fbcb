"""Image operations against SciPy, Pillow and matplotlib, values worked out by hand, and laws that must hold."""

from __future__ import annotations

import numpy as np
import pytest

from rosenblatt.data import images

ndimage = pytest.importorskip("scipy.ndimage")
Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.quick


def picture(n=2, h=9, w=12, c=3, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).random((n, h, w, c)).astype(dtype)


def close(a, b, tolerance=2e-6):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


# --- what all operations share

ONE_EACH = {
    "adjust_brightness": {"factor": 0.5},
    "adjust_channels": {"factors": (0.5, 1.0, 1.5)},
    "adjust_color": {"contrast": 0.5},
    "adjust_contrast": {"factor": 0.5},
    "adjust_gamma": {"gamma": 2.0},
    "adjust_hue": {"shift": 0.2},
    "adjust_saturation": {"factor": 0.5},
    "bilateral": {},
    "binarize": {},
    "boundary": {},
    "box_blur": {},
    "canny": {},
    "center_crop": {"size": 5},
    "complement": {},
    "crop": {"top": 1, "left": 2, "height": 4, "width": 5},
    "denoise": {},
    "dilate": {},
    "edges": {},
    "emboss": {},
    "equalize": {},
    "erode": {},
    "filter2d": {"kernel": np.ones((2, 3))},
    "flip": {},
    "gaussian_blur": {"sigma": 1.0},
    "grayscale": {},
    "hsv_to_rgb": {},
    "laplacian": {},
    "median": {},
    "normalize": {},
    "pad": {"padding": 1},
    "posterize": {},
    "rescale": {},
    "resize": {"size": 7},
    "rgb_to_hsv": {},
    "rotate": {"angle": 10},
    "sharpen": {},
    "shear": {"degrees": 10},
    "sobel": {},
    "solarize": {},
    "stretch": {"vertical": 1.2},
    "translate": {"down": 1},
    "warp": {"matrix": np.eye(3)[:2]},
    "zoom": {"factor": 1.2},
}


DECIDING = {"binarize", "boundary", "canny", "edges", "equalize", "posterize", "solarize"}


def test_the_table_names_every_operation():
    other = {"affine_matrices", "gaussian_taps", "otsu_threshold", "place"}
    other |= {"connected_components", "otsu_thresholds", "segment_edges", "segment_kmeans", "segment_threshold"}
    assert set(images.__all__) == set(ONE_EACH) | other


@pytest.mark.parametrize("name", ONE_EACH)
def test_kinds_of_input(name):
    """One image, bytes, float64 and strided views give the same as a float32 batch, and no input is written to."""
    f, options = getattr(images, name), ONE_EACH[name]
    byte = (picture(h=10, w=10) * 255).astype(np.uint8)
    x = byte / np.float32(255)
    before = x.copy()
    y = f(x, **options)
    assert y.dtype == np.float32 and y.ndim == 4 and len(y) == 2 and np.isfinite(y).all()
    assert np.array_equal(x, before) and not np.shares_memory(x, y)
    assert np.array_equal(f(byte, **options), y)
    assert np.array_equal(f(x[1], **options), y[1])
    assert np.array_equal(f(np.asfortranarray(x), **options), y)
    wide = f(x.astype(np.float64), **options)
    assert wide.dtype == np.float64
    # decisions by threshold may fall differently in another precision
    same = np.abs(wide - y) < 1e-5
    assert same.mean() > 0.97 if name in DECIDING else same.all()


@pytest.mark.parametrize("name", sorted(set(ONE_EACH) - {"resize"}))
def test_no_images(name):
    f, options = getattr(images, name), ONE_EACH[name]
    some, none = f(picture(), **options), f(picture()[:0], **options)
    assert none.shape == (0, *some.shape[1:]) and none.dtype == some.dtype
    assert images.otsu_threshold(picture()[:0]).shape == (0,)


@pytest.mark.parametrize("name", ["otsu_threshold", "posterize", "equalize", "canny"])
def test_nan_has_no_level(name):
    x = picture()
    x[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match=f"{name}: expected images without NaN"):
        getattr(images, name)(x)


def test_otsu_of_values_far_outside():
    x = picture(1, 4, 4, 1)
    x[0, 0, 0] = 1e30  # in the last cell, like everything from 1 on
    clipped = np.minimum(x, 1)
    assert np.array_equal(images.otsu_threshold(x), images.otsu_threshold(clipped))


@pytest.mark.parametrize("name", ONE_EACH)
def test_refusals_name_the_operation(name):
    f, options = getattr(images, name), ONE_EACH[name]
    with pytest.raises(ValueError, match=r"expected images .* got shape \[4, 4\]"):
        f(np.zeros((4, 4), np.float32), **options)
    with pytest.raises(TypeError, match="int64"):
        f(np.zeros((1, 9, 9, 3), np.int64), **options)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adjust_brightness", {"factor": -1}, "factor must be"),
        ("adjust_channels", {"factors": (1.0, 2.0)}, "3 factors"),
        ("adjust_hue", {"shift": 0.6}, "shift must be"),
        ("binarize", {"threshold": "mean"}, "otsu"),
        ("binarize", {"threshold": [0.1, 0.2, 0.3]}, "one per image"),
        ("box_blur", {"size": 0}, "size must be"),
        ("canny", {"low": 0.3, "high": 0.1}, "high must be"),
        ("center_crop", {"size": 20}, "at least 20 x 20"),
        ("crop", {"top": 8, "left": 0, "height": 3, "width": 3}, "leaves the image"),
        ("denoise", {"method": "magic"}, "bilateral"),
        ("dilate", {"size": 2}, "odd"),
        ("edges", {"method": "x"}, "canny"),
        ("filter2d", {"kernel": [1, 2]}, r"kernel \[R,S\]"),
        ("flip", {"direction": "x"}, "horizontal"),
        ("gaussian_blur", {"sigma": 0}, "sigma"),
        ("median", {"size": 4}, "odd"),
        ("normalize", {"mean": 0.0, "std": 0.0}, "std > 0"),
        ("normalize", {"mean": [0.0, 1.0], "std": 1.0}, r"mean as a number or \[3\]"),
        ("pad", {"padding": (1, 2, 3)}, "1, 2 or 4"),
        ("pad", {"padding": 1, "fill": "mirror"}, "reflect"),
        ("posterize", {"bits": 9}, "at most 8"),
        ("rescale", {"low": 1.0, "high": 0.0}, "high must be"),
        ("resize", {"size": 3, "mode": "lanczos"}, "bicubic"),
        ("warp", {"matrix": np.eye(3)}, r"\[2,3\]"),
        ("zoom", {"factor": 0}, "factor must be"),
    ],
)
def test_wrong_options(name, options, words):
    with pytest.raises(ValueError, match=words):
        getattr(images, name)(picture(), **options)


# --- values


def test_normalize_by_hand():
    x = np.array([0.0, 0.25, 0.5, 0.75], np.float32).reshape(1, 2, 2, 1)
    close(images.normalize(x, 0.5, 0.25).ravel(), [-2, -1, 0, 1])
    close(images.normalize(x).ravel(), np.array([-3, -1, 1, 3]) / np.sqrt(5))  # deviation sqrt(5)/8
    colours = picture()
    close(images.normalize(colours, [0.1, 0.2, 0.3], [1, 2, 4]), (colours - [0.1, 0.2, 0.3]) / [1, 2, 4])
    assert not images.normalize(np.full((1, 3, 3, 1), 0.7, np.float32)).any()


def test_rescale():
    x = np.array([0.2, 0.3, 0.4, 0.6], np.float32).reshape(1, 2, 2, 1)
    close(images.rescale(x).ravel(), [0, 0.25, 0.5, 1])
    close(images.rescale(x, -1, 1).ravel(), [-1, -0.5, 0, 1])
    y = images.rescale(picture(), per_channel=True)
    assert (y.min((1, 2)) == 0).all() and np.allclose(y.max((1, 2)), 1)
    assert (images.rescale(np.full((1, 2, 2, 1), 0.4, np.float32), 0.1, 0.9) == np.float32(0.1)).all()


def test_grayscale_is_pillows():
    byte = (picture(1, 16, 16) * 255).astype(np.uint8)
    expected = np.asarray(Image.fromarray(byte[0]).convert("L"), np.float64) / 255
    close(images.grayscale(byte)[0, :, :, 0], expected, 1.01 / 255)
    close(images.grayscale(np.array([1, 0, 0], np.float32).reshape(1, 1, 1, 3)).item(), 0.299)
    three = images.grayscale(byte, channels=3)
    assert three.shape == (1, 16, 16, 3) and np.array_equal(three[..., 0], three[..., 2])


def test_otsu_by_exhaustive_search():
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0.1, 0.05, 150), rng.normal(0.3, 0.08, 106)]).clip(0, 0.999).astype(np.float32)
    x = x.reshape(1, 16, 16, 1)
    values = (np.floor(x.ravel().astype(np.float64) * 256) + 0.5) / 256
    best = max(
        (values <= t).mean() * (values > t).mean() * (values[values <= t].mean() - values[values > t].mean()) ** 2
        for t in np.unique(values)[:-1]
    )
    t = float(images.otsu_threshold(x)[0])
    low, high = values[values < t], values[values >= t]
    assert len(low) * len(high) / 256**2 * (low.mean() - high.mean()) ** 2 == pytest.approx(best, rel=1e-9)


def test_binarize_by_hand():
    x = np.array([[0.1, 0.2], [0.8, 0.9]], np.float32).reshape(1, 2, 2, 1)
    assert images.otsu_threshold(x)[0] == pytest.approx(0.5, abs=2 / 256)  # the middle of the gap
    assert images.binarize(x).ravel().tolist() == [0, 0, 1, 1]
    assert images.binarize(x, 0.85).ravel().tolist() == [0, 0, 0, 1]
    two = np.concatenate([x, x])
    assert images.binarize(two, [0.05, 0.95]).reshape(2, 4).tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]
    assert images.otsu_threshold(np.full((1, 4, 4, 1), 0.3, np.float32)).tolist() == [0.5]


def test_complement_brightness_gamma_solarize():
    x = picture()
    close(images.complement(x), 1 - x)
    close(images.complement(images.complement(x)), x)
    close(images.adjust_brightness(x, 1.5), np.minimum(1.5 * x, 1))
    close(images.adjust_channels(x, (0.5, 1, 2)), np.minimum(x * [0.5, 1, 2], 1))
    close(images.adjust_gamma(x, 2.2, 0.9), 0.9 * x.astype("f8") ** 2.2)
    close(images.solarize(x, 0.4), np.where(x >= 0.4, 1 - x, x))


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("adjust_brightness", "Brightness"),
        ("adjust_contrast", "Contrast"),
        ("adjust_saturation", "Color"),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_adjustments_are_pillows(name, enhancer, factor):
    from PIL import ImageEnhance

    byte = (picture(1, 20, 20, seed=5) * 255).astype(np.uint8)
    expected = getattr(ImageEnhance, enhancer)(Image.fromarray(byte[0])).enhance(factor)
    close(getattr(images, name)(byte, factor)[0], np.asarray(expected, np.float64) / 255, 2.1 / 255)  # two roundings


def test_hsv_is_matplotlibs():
    colors = pytest.importorskip("matplotlib.colors")
    x = picture(4, 8, 8)
    corners = (
        np.array(np.meshgrid([0, 0.5, 1], [0, 0.5, 1], [0, 0.5, 1]), np.float32).reshape(3, 27).T
    )  # ties and greys
    for rgb in (x, corners.reshape(1, 3, 9, 3)):
        close(images.rgb_to_hsv(rgb), colors.rgb_to_hsv(rgb))
        close(images.hsv_to_rgb(rgb), colors.hsv_to_rgb(rgb))
        close(images.hsv_to_rgb(images.rgb_to_hsv(rgb)), rgb)
    assert images.rgb_to_hsv(np.array([1, 0, 1e-9], np.float32).reshape(1, 1, 1, 3))[0, 0, 0, 0] == 0  # not a full turn


@pytest.mark.parametrize("shift", [-0.5, -0.3, 0.0, 0.1, 0.5])
def test_adjust_hue(shift):
    colors = pytest.importorskip("matplotlib.colors")
    x = picture()
    hsv = colors.rgb_to_hsv(x)
    hsv[..., 0] = (hsv[..., 0] + shift) % 1
    close(images.adjust_hue(x, shift), colors.hsv_to_rgb(hsv), 4e-6)


def test_hue_of_pure_colours():
    red = np.array([1, 0, 0], np.float32).reshape(1, 1, 1, 3)
    close(images.adjust_hue(red, 1 / 3).ravel(), [0, 1, 0])
    close(images.adjust_hue(red, -1 / 3).ravel(), [0, 0, 1])
    close(images.adjust_hue(red, 0.5).ravel(), [0, 1, 1])


def test_adjust_color_is_the_steps_without_cutting_between():
    x = 0.25 + 0.5 * picture()  # nothing leaves [0, 1] on the way
    y = images.adjust_color(x, 1.1, 0.8, 1.2, 0.1)
    steps = images.adjust_saturation(images.adjust_contrast(images.adjust_brightness(x, 1.1), 0.8), 1.2)
    close(y, images.adjust_hue(steps, 0.1), 4e-6)
    grey = picture(c=1)
    close(images.adjust_color(grey, 1.1, 0.5), np.clip(0.55 * grey + 0.55 * grey.mean((1, 2, 3), keepdims=True), 0, 1))
    bright = np.full((1, 2, 2, 3), 0.8, np.float32)
    close(images.adjust_color(bright, 2.0, 0.5), 1.0)  # 1.6 is flat: cut once, at the end
    with pytest.raises(ValueError, match="3 channels"):
        images.adjust_color(grey, hue=0.1)


def test_posterize_and_equalize():
    byte = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    from PIL import ImageOps

    for bits in (1, 3, 8):
        expected = np.asarray(ImageOps.posterize(Image.fromarray(byte[0, :, :, 0]), bits))
        assert np.array_equal(np.rint(images.posterize(byte, bits)[0, :, :, 0] * 255).astype(int), expected)
    x = np.array([0.2, 0.2, 0.4, 0.6], np.float32).reshape(1, 2, 2, 1)
    close(images.equalize(x).ravel(), [0, 0, 0.5, 1])  # (cdf - 1/2) / (1/2)
    y = images.equalize(0.2 + 0.3 * picture(1, 64, 64, 1))
    assert abs(np.histogram(y, 8, (0, 1))[0] / y.size - 1 / 8).max() < 0.02
    close(images.equalize(np.full((1, 3, 3, 1), 0.4, np.float32)), 0.4)


# --- places


@pytest.mark.parametrize("size", [(5, 7), (18, 24), (9, 30)])
@pytest.mark.parametrize(("mode", "name"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC")])
def test_resize_with_antialias_is_pillows(size, mode, name):
    x = picture(1, 9, 12, 1)
    expected = Image.fromarray(x[0, :, :, 0]).resize(size[::-1], getattr(Image.Resampling, name))
    close(images.resize(x, size, mode, antialias=True)[0, :, :, 0], np.asarray(expected), 1e-5)


def test_resize_area_and_nearest_are_pillows():
    x = picture(1, 9, 12, 1)
    for mode, name in (("area", "BOX"), ("nearest", "NEAREST")):
        for size in ((3, 4), (2, 5)) if mode == "area" else ((3, 4), (20, 7)):
            expected = Image.fromarray(x[0, :, :, 0]).resize(size[::-1], getattr(Image.Resampling, name))
            # Pillow's box gives a pixel that is covered in part no fraction of its weight: compare where none is
            if mode == "nearest" or (9 % size[0], 12 % size[1]) == (0, 0):
                close(images.resize(x, size, mode)[0, :, :, 0], np.asarray(expected), 1e-6)
    close(images.resize(x, (2, 5), "area").mean(), x.mean(), 1e-6)  # areas add up
    close(
        images.resize(np.array([1, 2, 3], np.float32).reshape(1, 1, 3, 1) / 4, (1, 2), "area").ravel(),
        np.array([4 / 3, 8 / 3]) / 4,
    )


def test_resize_bilinear_is_the_old_one():
    from rosenblatt import data

    x = picture(2, 6, 5, 3)
    for size in ((9, 11), (4, 3), (6, 5)):
        close(images.resize(x, size), data.resize(x, size))


def test_crop_pad_flip():
    x = np.arange(2 * 5 * 6 * 1, dtype=np.float32).reshape(2, 5, 6, 1)
    assert np.array_equal(images.crop(x, 1, 2, 3, 4), x[:, 1:4, 2:6])
    assert np.array_equal(images.center_crop(x, (3, 2)), x[:, 1:4, 2:4])
    assert images.pad(x, (1, 2, 3, 0), fill=7)[0, :, :, 0].shape == (8, 9)
    assert images.pad(x, (1, 2, 3, 0), fill=7)[1, 0, 0, 0] == 7
    row = np.array([1, 2, 3], np.float32).reshape(1, 1, 3, 1)
    wide = {
        "edge": [1, 1, 1, 2, 3, 3, 3],
        "reflect": [3, 2, 1, 2, 3, 2, 1],
        "symmetric": [2, 1, 1, 2, 3, 3, 2],
        "wrap": [2, 3, 1, 2, 3, 1, 2],
    }
    for fill, expected in wide.items():
        assert images.pad(row, (0, 2), fill).ravel().tolist() == expected
    for direction, axes in (("horizontal", 1), ("vertical", 0), ("both", (0, 1))):
        assert np.array_equal(images.flip(x, direction)[1], np.flip(x[1], axes))


@pytest.mark.parametrize("angle", [90, 180, 270, -90, 360])
def test_quarter_turns_are_exact(angle):
    square, oblong = picture(h=7, w=7), picture(h=5, w=8)
    assert np.array_equal(images.rotate(square, angle), np.rot90(square, angle // 90 % 4, (1, 2)))
    assert np.array_equal(images.rotate(oblong, angle, expand=True), np.rot90(oblong, angle // 90 % 4, (1, 2)))


@pytest.mark.parametrize("angle", [13.0, -40.0, 100.0])
def test_rotate_is_scipys(angle):
    x = picture(1, 11, 14, 2, dtype=np.float64)
    inner = (slice(None), slice(2, -2), slice(2, -2))
    for fill, mode in (
        (0.0, "grid-constant"),
        ("edge", "nearest"),
        ("reflect", "mirror"),
        ("symmetric", "grid-mirror"),
        ("wrap", "grid-wrap"),
    ):
        options = {"order": 1, "mode": mode, "reshape": False}
        expected = ndimage.rotate(x, angle, (2, 1), **options)  # from the second axis given to the first
        other = ndimage.rotate(x, -angle, (2, 1), **options)
        y = images.rotate(x, angle, fill=fill)
        good = min(abs(y - e)[inner].max() for e in (expected, other))
        assert good < 1e-5, fill
    # counter-clockwise: what is right of the centre goes up
    spot = np.zeros((1, 11, 11, 1), np.float32)
    spot[0, 5, 9] = 1
    turned = images.rotate(spot, 45.0)[0, :, :, 0]
    assert np.unravel_index(turned.argmax(), turned.shape) == (2, 8)
    assert images.rotate(picture(h=10, w=20), 30, expand=True).shape[1:3] == (19, 23)  # 20 sin 30 + 10 cos 30, ...


@pytest.mark.parametrize("fill", [0.0, 0.25, "edge", "reflect", "symmetric", "wrap"])
def test_maps_are_scipys(fill):
    x = picture(1, 10, 13, 1, dtype=np.float64)
    mode = {"edge": "nearest", "reflect": "mirror", "symmetric": "grid-mirror", "wrap": "grid-wrap"}.get(
        fill, "grid-constant"
    )
    centre = np.array([4.5, 6.0])

    def expected(inverse, shift=(0.0, 0.0)):
        inverse = np.asarray(inverse, np.float64)
        offset = centre - inverse @ (centre + shift)
        value = fill if isinstance(fill, float) else 0.0
        return ndimage.affine_transform(x[0, :, :, 0], inverse, offset, order=1, mode=mode, cval=value)

    def check(y, e):
        close(y[0, :, :, 0], e, 2e-5)

    check(images.zoom(x, 1.3, fill=fill), expected(np.eye(2) / 1.3))
    check(images.zoom(x, 0.4, fill=fill), expected(np.eye(2) / 0.4))
    check(images.stretch(x, 0.7, 1.4, fill=fill), expected(np.diag([1 / 0.7, 1 / 1.4])))
    check(images.translate(x, 2.3, -7.6, fill=fill), expected(np.eye(2), (2.3, -7.6)))
    lean = np.tan(np.deg2rad(20))
    check(images.shear(x, 20, fill=fill), expected([[1, 0], [-lean, 1]]))


def test_whole_pixel_translation_is_a_shift():
    x = picture()
    y = images.translate(x, 2, -3)
    assert np.array_equal(y[:, 2:, :-3], x[:, :-2, 3:]) and not y[:, :2].any() and not y[:, :, -3:].any()


def test_warp_takes_one_matrix_or_many():
    x = picture(2, 6, 6)
    m = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    y = images.warp(x, m, (4, 4))
    assert np.array_equal(y, x[:, 1:5, :4])
    both = images.warp(x, np.stack([m, np.eye(3, dtype=np.float32)[:2]]), (4, 4))
    assert np.array_equal(both[0], y[0]) and np.array_equal(both[1], x[1, :4, :4])


# --- kernels

BORDERS = {"reflect": "mirror", "edge": "nearest", "symmetric": "reflect", "wrap": "wrap", 0.3: "constant"}


@pytest.mark.parametrize("border", BORDERS)
def test_filters_are_scipys(border):
    x = picture(2, 9, 12, 3, dtype=np.float64)
    options = {"mode": BORDERS[border], "cval": border if isinstance(border, float) else 0.0}
    kernel = np.random.default_rng(1).standard_normal((3, 5))
    close(images.filter2d(x, kernel, border=border), ndimage.correlate(x, kernel[None, :, :, None], **options), 1e-12)
    taps = 2 * 4 + 1  # ceil(3 * 1.2) = 4
    expected = ndimage.gaussian_filter(x, (0, 1.2, 1.2, 0), radius=(0, 4, 4, 0), **options)
    close(images.gaussian_blur(x, 1.2, border=border), expected, 1e-12)
    assert len(images.gaussian_taps(1.2)) == taps
    close(images.box_blur(x, 3, border=border), ndimage.uniform_filter(x, (0, 3, 3, 0), **options), 1e-12)
    close(images.median(x, 3, border=border), ndimage.median_filter(x, (1, 3, 3, 1), **options), 1e-12)
    close(images.median(x, 5, border=border), ndimage.median_filter(x, (1, 5, 5, 1), **options), 1e-12)
    d = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]) / 8
    down, right = (ndimage.correlate(x, k[None, :, :, None], **options) for k in (d, d.T))
    close(images.sobel(x, border=border), np.hypot(down, right), 1e-12)
    close(images.laplacian(x, border=border)[0, :, :, 0], ndimage.laplace(x[0, :, :, 0], **options), 1e-12)


def test_even_kernels_are_centred_as_documented():
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    assert images.filter2d(x, [[0, 1]], border=9).ravel().tolist() == [1, 2, 3, 4, 9]
    assert images.filter2d(x, [[1, 0, 0]], border=9).ravel().tolist() == [9, 0, 1, 2, 3]


def test_sharpen_and_emboss():
    x = 0.3 + 0.4 * picture(dtype=np.float64)
    blurred = ndimage.gaussian_filter(x, (0, 1, 1, 0), radius=(0, 3, 3, 0), mode="mirror")
    close(images.sharpen(x, 0.5), np.clip(x + 0.5 * (x - blurred), 0, 1), 1e-12)
    kernel = np.array([[-0.2, -0.2, 0], [-0.2, 1, 0.2], [0, 0.2, 0.2]])
    close(images.emboss(x, 0.2), np.clip(ndimage.correlate(x, kernel[None, :, :, None], mode="nearest"), 0, 1), 1e-12)
    flat = np.full((1, 5, 5, 1), 0.4, np.float32)
    close(images.emboss(flat), flat)
    close(images.sharpen(flat), flat)


def test_erode_dilate_boundary_are_scipys():
    x = picture(1, 12, 12, 1)
    close(images.dilate(x, 3), ndimage.grey_dilation(x, (1, 3, 3, 1), mode="nearest"))
    close(images.erode(x, 5), ndimage.grey_erosion(x, (1, 5, 5, 1), mode="nearest"))
    shape = np.zeros((1, 7, 7, 1), np.float32)
    shape[0, 2:6, 1:5] = 1
    outline = shape.copy()
    outline[0, 3:5, 2:4] = 0
    assert np.array_equal(images.boundary(shape), outline)
    assert not images.boundary(np.ones((1, 4, 4, 1), np.float32)).any()


def test_bilateral_by_plain_loops():
    x = picture(1, 5, 6, 2, dtype=np.float64)
    wide = np.pad(x[0], ((1, 1), (1, 1), (0, 0)), mode="symmetric")
    expected = np.zeros((5, 6, 2))
    for h in range(5):
        for w in range(6):
            near = wide[h : h + 3, w : w + 3].reshape(9, 2)
            d2 = np.array([2, 1, 2, 1, 0, 1, 2, 1, 2])
            weight = np.exp(-d2 / (2 * 1.5**2) - ((near - x[0, h, w]) ** 2).sum(1) / (2 * 0.2**2))
            expected[h, w] = (weight[:, None] * near).sum(0) / weight.sum()
    close(images.bilateral(x, 3, 1.5, 0.2)[0], expected, 1e-12)


def test_each_denoiser_helps_against_its_noise():
    rng = np.random.default_rng(0)
    h, w = np.mgrid[:40, :40]
    clean = (0.2 + 0.6 * ((h - 20) ** 2 + (w - 20) ** 2 < 150))[None, :, :, None].astype(np.float32)
    white = clean + 0.1 * rng.standard_normal(clean.shape).astype(np.float32)
    salt = np.where(rng.random(clean.shape) < 0.1, rng.integers(0, 2, clean.shape), clean).astype(np.float32)

    def error(x):
        return float(np.square(x - clean).mean())

    assert error(images.denoise(salt)) < 0.1 * error(salt)
    for method, options in (("gaussian", {}), ("mean", {}), ("bilateral", {"sigma_value": 0.3})):
        assert error(images.denoise(white, method, **options)) < 0.6 * error(white), method
    assert error(images.denoise(white, "bilateral", sigma_value=0.3)) < error(images.denoise(white, "mean"))


def test_canny():
    x = np.zeros((1, 20, 20, 1), np.float32)
    x[0, :, 10:] = 1
    step = images.canny(x)[0, :, :, 0]
    assert set(np.unique(step)) == {0, 1}
    assert step.sum(1).tolist() == [1] * 20 and step[:, 9:11].any(1).all()  # one pixel wide, on the step
    tie = images.canny(x, sigma=0.1)  # both pixels at the step have exactly the same slope
    assert (tie[0, :, :, 0].sum(1) == 1).all()
    h, w = np.mgrid[:40, :40]
    disc = ((h - 20) ** 2 + (w - 20) ** 2 < 100).astype(np.float32)[None, :, :, None]
    ring = images.canny(disc)[0, :, :, 0]
    radius = np.hypot(h - 20, w - 20)[ring > 0]
    assert abs(radius - 10).max() < 1.5 and 45 < ring.sum() < 80  # circumference 63
    assert ndimage.label(ring, np.ones((3, 3)))[1] == 1  # closed
    assert not images.canny(np.full((1, 9, 9, 1), 0.5, np.float32)).any()


def test_canny_hysteresis():
    """A weak edge stays when it is connected to a strong one and goes when it is not."""
    x = np.zeros((1, 60, 24, 1), np.float32)
    ramp = np.linspace(1.0, 0.15, 30)[:, None]
    x[0, :30, 12:, 0] = ramp  # strong above, weak below: one connected edge
    x[0, 40:, 12:, 0] = 0.2  # weak alone
    y = images.canny(x, 0.03, 0.2)[0, :, :, 0]
    assert y[2:26].any(1).all() and not y[46:56, 10:14].any()
    assert images.canny(x, 0.03, 0.03)[0, 46:56, 10:14].any()


def test_edges_picks():
    x = picture()
    assert np.array_equal(images.edges(x), images.sobel(x))
    assert np.array_equal(images.edges(x, "laplacian"), np.abs(images.laplacian(x)))
    assert np.array_equal(images.edges(x, "canny", low=0.01), images.canny(x, 0.01))


def test_the_repository_kernels_do_the_work(monkeypatch):
    """Filters go through conv2d and maps through warp_affine: without them they fail."""
    from rosenblatt import ops

    def gone(*_, **__):
        raise RuntimeError("gone")

    monkeypatch.setattr(ops, "conv2d", gone)
    monkeypatch.setattr(ops, "warp_affine", gone)
    for name in ("gaussian_blur", "sharpen", "emboss", "sobel", "rotate", "zoom", "translate"):
        with pytest.raises(RuntimeError, match="gone"):
            getattr(images, name)(picture(), **ONE_EACH[name])
