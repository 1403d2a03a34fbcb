"""Operations on the values of pixels: scaling, grey, binary, contrast, brightness, hue, saturation.

Images are [N,H,W,C] or [H,W,C], float in [0, 1] or uint8 (divided by 255); the result is float. Operations that adjust
colours cut their result to [0, 1]. All are pure functions without randomness; `data.transforms` has random ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from .._options import whole
from ._arrays import LUMA, Array, choice, clip, give, number, per_sample, product, take_images

__all__ = [
    "adjust_brightness",
    "adjust_channels",
    "adjust_color",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "binarize",
    "complement",
    "equalize",
    "grayscale",
    "hsv_to_rgb",
    "normalize",
    "otsu_threshold",
    "posterize",
    "rescale",
    "rgb_to_hsv",
    "solarize",
]


def normalize(x: Any, mean: float | Sequence[float] | None = None, std: float | Sequence[float] | None = None) -> Array:
    """(x - mean) / std, the statistics given for all images, or each image's own.

    mean, std : one number or one per channel [C]; None takes the mean and standard deviation of each image over all of
    its pixels and channels (an image of one value becomes 0). Raises ValueError for a shape that does not fit and
    for std <= 0.
    """
    a, single = take_images("normalize", x)
    if mean is None and std is None:
        centred = ops.sub(a, a.mean((1, 2, 3), keepdims=True))
        spread = np.sqrt(np.square(centred).mean((1, 2, 3), keepdims=True))
        return give(ops.div(centred, np.where(spread > 0, spread, spread.dtype.type(1))), single)
    m, s = np.asarray(0.0 if mean is None else mean, a.dtype), np.asarray(1.0 if std is None else std, a.dtype)
    for name, v in (("mean", m), ("std", s)):
        if v.shape not in ((), (1,), a.shape[3:]):
            raise ValueError(f"normalize: expected {name} as a number or [{a.shape[3]}], got shape {list(v.shape)}")
    if not (s > 0).all():
        raise ValueError(f"normalize: expected std > 0, got {std!r}")
    return give(ops.div(ops.sub(a, m), s), single)


def rescale(x: Any, low: float = 0.0, high: float = 1.0, *, per_channel: bool = False) -> Array:
    """Each image stretched so that its smallest value is `low` and its largest `high` (min-max normalisation).

    An image of one value becomes `low`. With per_channel=True this is what others call autocontrast.
    """
    a, single = take_images("rescale", x)
    low, high = number("rescale", "low", low), number("rescale", "high", high, low)
    axes = (1, 2) if per_channel else (1, 2, 3)
    least, most = a.min(axes, keepdims=True), a.max(axes, keepdims=True)
    span = np.where(most > least, most - least, a.dtype.type(1))
    return give(ops.add(ops.mul(ops.sub(a, least), ((high - low) / span).astype(a.dtype)), low), single)


def luma(a: Array) -> Array:
    """Grey values [N,H,W,1] of [N,H,W,1 or 3]."""
    if a.shape[3] == 1:
        return a
    return product(a, np.array(LUMA, a.dtype)[:, None])


def grayscale(x: Any, channels: int = 1) -> Array:
    """Grey values 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) [N,H,W,1], repeated when channels=3."""
    a, single = take_images("grayscale", x, (1, 3))
    if channels not in (1, 3):
        raise ValueError(f"grayscale: channels must be 1 or 3, got {channels!r}")
    grey = luma(a)
    return give(np.repeat(grey, 3, axis=3) if channels == 3 else np.array(grey), single)


def complement(x: Any) -> Array:
    """1 - x: the negative of a picture, and the complement of a binary one."""
    a, single = take_images("complement", x)
    return give(ops.sub(1.0, a), single)


def without_nan(who: str, a: Array) -> Array:
    """`a` itself. Raises ValueError for NaN, which has no place among levels and thresholds."""
    if np.isnan(a).any():
        raise ValueError(f"{who}: expected images without NaN")
    return a


def otsu_threshold(x: Any, bins: int = 256) -> Array:
    """The threshold [N] of each image that splits its grey values best: the largest variance between the two classes.

    x : [N,H,W,1 or 3] in [0, 1]; the histogram has `bins` equal cells on [0, 1]. The answer is the upper edge of the
    last cell of the lower class; between thresholds that are equally good, the middle one; 0.5 for an image whose
    pixels all lie in one cell. Source: N. Otsu, IEEE Trans. Systems, Man and Cybernetics 9(1), 1979.
    """
    a, _ = take_images("otsu_threshold", x, (1, 3))
    bins = whole("otsu_threshold", "bins", bins, 2)
    n, h, w, _ = a.shape
    grey = without_nan("otsu_threshold", luma(a)).reshape(n, h * w)
    cell = np.clip(grey * bins, 0, bins - 1).astype(np.int64)  # [N,H*W]
    cell += np.arange(len(a))[:, None] * bins
    counts = np.bincount(cell.ravel(), minlength=len(a) * bins).reshape(len(a), bins).astype(np.float64)
    centres = (np.arange(bins) + 0.5) / bins
    below, moment = counts.cumsum(1)[:, :-1], (counts * centres).cumsum(1)  # of cells 0..t
    above = counts.sum(1, keepdims=True) - below
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = moment[:, :-1] / below - (moment[:, -1:] - moment[:, :-1]) / above
        between = np.nan_to_num(below * above * gap * gap)  # [N,bins-1]
    best = between.max(1, keepdims=True, initial=0.0)
    good = between >= best * (1 - 1e-12)
    first, last = good.argmax(1), bins - 2 - good[:, ::-1].argmax(1)
    return np.where(best[:, 0] > 0, ((first + last) // 2 + 1) / bins, 0.5).astype(a.dtype)


def binarize(x: Any, threshold: float | Sequence[float] | str = "otsu") -> Array:
    """1 where the grey value is above the threshold, else 0, [N,H,W,1]; "otsu" finds one per image."""
    a, single = take_images("binarize", x, (1, 3))
    if isinstance(threshold, str):
        choice("binarize", "threshold", threshold, ("otsu",))
        limit = otsu_threshold(a)
    else:
        limit = np.asarray(threshold, a.dtype)
        if limit.shape not in ((), (len(a),)) or not np.isfinite(limit).all():
            raise ValueError(f"binarize: expected a finite threshold or one per image [{len(a)}], got {threshold!r}")
    return give(ops.greater(luma(a), per_sample(limit, a)), single)


def _blend(a: Array, other: Array, factor: float) -> Array:
    """factor * a + (1 - factor) * other, cut to [0, 1]."""
    return clip(ops.add(ops.mul(a, factor), ops.mul(other, 1.0 - factor)))


def adjust_brightness(x: Any, factor: float) -> Array:
    """factor * x, cut to [0, 1]: 0 is black, 1 the image."""
    a, single = take_images("adjust_brightness", x)
    return give(clip(ops.mul(a, number("adjust_brightness", "factor", factor, 0))), single)


def adjust_contrast(x: Any, factor: float) -> Array:
    """Distance of every value from the image's mean grey value times factor: 0 is flat grey, 1 the image."""
    a, single = take_images("adjust_contrast", x, (1, 3))
    factor = number("adjust_contrast", "factor", factor, 0)
    return give(_blend(a, luma(a).mean((1, 2, 3), keepdims=True), factor), single)


def adjust_channels(x: Any, factors: Sequence[float]) -> Array:
    """Each channel times its own factor [C] >= 0, cut to [0, 1]: another colour of the light."""
    a, single = take_images("adjust_channels", x)
    f = np.asarray(factors, a.dtype)
    if f.shape != a.shape[3:] or not (np.isfinite(f).all() and (f >= 0).all()):
        raise ValueError(f"adjust_channels: expected {a.shape[3]} factors of at least 0, got {factors!r}")
    return give(clip(ops.mul(a, f)), single)


def adjust_saturation(x: Any, factor: float) -> Array:
    """Distance of every colour [N,H,W,3] from its grey value times factor: 0 is grey, 1 the image."""
    a, single = take_images("adjust_saturation", x, (3,))
    return give(_blend(a, luma(a), number("adjust_saturation", "factor", factor, 0)), single)


def adjust_gamma(x: Any, gamma: float, gain: float = 1.0) -> Array:
    """gain * x**gamma, cut to [0, 1]: above 1 darkens, below 1 brightens the shadows."""
    a, single = take_images("adjust_gamma", x)
    gamma, gain = number("adjust_gamma", "gamma", gamma, 0), number("adjust_gamma", "gain", gain, 0)
    return give(clip(np.multiply(np.power(np.maximum(a, 0), a.dtype.type(gamma)), a.dtype.type(gain))), single)


def _hexcone(a: Array) -> tuple[Array, Array, Array]:
    """(hue in sixths of a turn, in (-1, 5]; chroma; value), each [N,H,W], of colours [N,H,W,3].

    In ops on planes, and with masks that are multiplied: selecting by `np.where` takes several times as long.
    """
    planes: list[Any] = [np.ascontiguousarray(a[..., i]) for i in range(3)]
    r, g, b = planes
    v: Any = ops.maximum(ops.maximum(r, g), b)
    d: Any = ops.sub(v, ops.minimum(ops.minimum(r, g), b))
    red = ops.equal(v, r)
    green = ops.mul(ops.equal(v, g), ops.sub(1.0, red))
    blue = ops.sub(ops.sub(1.0, red), green)
    # the difference of the two smaller components, from the corner of the hexagon where the largest stands alone
    h: Any = ops.mul(red, ops.sub(g, b))
    h = ops.add(h, ops.mul(green, ops.add(ops.sub(b, r), ops.mul(d, 2.0))))
    h = ops.add(h, ops.mul(blue, ops.add(ops.sub(r, g), ops.mul(d, 4.0))))
    return ops.div(h, ops.maximum(d, float(np.finfo(a.dtype).tiny))), d, v  # grey: 0 / tiny


def _from_hexcone(h: Array, d: Array, v: Array) -> Array:
    """Colours [N,H,W,3] of any real hue h in sixths of a turn, chroma d and value v."""
    out = np.empty((*h.shape, 3), h.dtype)
    for i, corner in enumerate((5.0, 3.0, 1.0)):  # Smith's hexcone as one formula per channel
        k = ops.add(h, corner)
        k = ops.sub(k, ops.mul(np.floor(ops.mul(k, 1 / 6)), 6.0))  # in [0, 6], where both ends mean the same
        part = ops.minimum(ops.maximum(ops.minimum(k, ops.sub(4.0, k)), 0.0), 1.0)
        out[..., i] = ops.sub(v, ops.mul(d, part))
    return out


def rgb_to_hsv(x: Any) -> Array:
    """Hue (in turns, [0, 1)), saturation and value of RGB colours [N,H,W,3]; grey has hue 0.

    Source: A. R. Smith, Color gamut transform pairs, SIGGRAPH 1978.
    """
    a, single = take_images("rgb_to_hsv", x, (3,))
    h, d, v = _hexcone(a)
    hue = h / 6
    hue += hue < 0
    hue[hue >= 1] = 0  # what was just below 0
    return give(np.stack([hue, d / np.where(v > 0, v, v.dtype.type(1)), v], -1), single)


def hsv_to_rgb(x: Any) -> Array:
    """RGB colours [N,H,W,3] of hue (in turns, any real number), saturation and value; the inverse of `rgb_to_hsv`."""
    a, single = take_images("hsv_to_rgb", x, (3,))
    return give(_from_hexcone(a[..., 0] * 6, a[..., 1] * a[..., 2], np.ascontiguousarray(a[..., 2])), single)


def turn_hue(a: Array, turns: Any) -> Array:
    """Colours [N,H,W,3] with `turns` (a number, or one per image [N,1,1]) in [-1, 1] added to the hue."""
    h, d, v = _hexcone(a)
    return _from_hexcone(ops.add(h, np.asarray(turns, h.dtype) * 6), d, v)


def adjust_hue(x: Any, shift: float) -> Array:
    """Colours [N,H,W,3] with their hue turned by `shift` turns, in [-0.5, 0.5]: -0.5 and 0.5 are opposite colours."""
    a, single = take_images("adjust_hue", x, (3,))
    return give(clip(turn_hue(a, number("adjust_hue", "shift", shift, -0.5, 0.5))), single)


def color_map(a: Array, brightness: Any, contrast: Any, saturation: Any) -> Array:
    """Brightness, contrast and saturation [N] as one linear map of the colours of each image [N,H,W,C], not yet cut.

    The three are linear: y = c b x + (1 - c) b mean(grey), then s y + (1 - s) grey(y); so one small product per image
    does them all, and nothing is cut to [0, 1] between them.
    """
    n, h, w, c = a.shape
    b, k, s = (np.broadcast_to(np.asarray(v, np.float64), (n,)) for v in (brightness, contrast, saturation))
    weights = np.ones(1) if c == 1 else np.array(LUMA)
    mean = np.asarray(ops.mean(a, (1, 2)), np.float64) @ weights  # [N]
    offset = ((1 - k) * b * mean)[:, None]  # [N,1]
    if c == 1:
        return ops.add(ops.mul(a, per_sample(k * b, a)), per_sample(offset, a))
    mix = s[:, None, None] * np.eye(3) + (1 - s)[:, None, None] * np.outer(weights, np.ones(3))  # [N,3,3]
    y = product(a.reshape(n, h * w, 3), ((k * b)[:, None, None] * mix).astype(a.dtype)).reshape(n, h * w * 3)
    y = ops.add(y, offset.astype(a.dtype))
    return y.reshape(a.shape)


def adjust_color(
    x: Any, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, hue: float = 0.0
) -> Array:
    """Brightness, contrast, saturation and hue in one go, cut to [0, 1] once at the end.

    x : [N,H,W,1 or 3]; factors as in the single operations; saturation and hue need colours. Values are not cut between
    the steps, so a bright image that is then darkened keeps its highlights.
    """
    a, single = take_images("adjust_color", x, (1, 3))
    factors = (("brightness", brightness), ("contrast", contrast), ("saturation", saturation))
    b, k, s = (number("adjust_color", name, v, 0) for name, v in factors)
    hue = number("adjust_color", "hue", hue, -0.5, 0.5)
    if a.shape[3] == 1 and (s != 1 or hue):
        raise ValueError("adjust_color: saturation and hue need images with 3 channels, got 1")
    y = color_map(a, b, k, s)
    return give(clip(turn_hue(y, hue) if hue else y), single)


def solarize(x: Any, threshold: float = 0.5) -> Array:
    """1 - x where x is at least the threshold, else x."""
    a, single = take_images("solarize", x)
    return give(np.where(a >= number("solarize", "threshold", threshold), 1 - a, a), single)


def posterize(x: Any, bits: int = 4) -> Array:
    """Values rounded down to the `bits` (1 to 8) highest bits of a byte: floor(255 x) with the rest cleared, / 255."""
    a, single = take_images("posterize", x)
    bits = whole("posterize", "bits", bits, 1)
    if bits > 8:
        raise ValueError(f"posterize: bits must be at most 8, got {bits}")
    # a byte that came as float32 may lie a rounding error below its value
    byte = np.floor(np.clip(without_nan("posterize", a), 0, 1) * 255 + a.dtype.type(1e-3)).astype(np.uint8)
    return give((byte & (256 - (1 << (8 - bits)))).astype(a.dtype) / a.dtype.type(255), single)


def equalize(x: Any) -> Array:
    """Values of each channel spread so that all 256 levels of a byte are about equally frequent.

    Histogram equalisation: level v becomes (cdf(v) - cdf(lowest)) / (1 - cdf(lowest)); a channel of one level stays.
    Source: R. C. Gonzalez, R. E. Woods, Digital Image Processing, section 3.3.
    """
    a, single = take_images("equalize", x)
    n, h, w, c = without_nan("equalize", a).shape
    level = np.rint(np.clip(a, 0, 1) * 255).astype(np.int64).transpose(0, 3, 1, 2).reshape(n * c, h * w)
    level += np.arange(n * c)[:, None] * 256
    counts = np.bincount(level.ravel(), minlength=n * c * 256).reshape(n * c, 256)
    total = counts.cumsum(1)
    lowest = np.take_along_axis(counts, (counts > 0).argmax(1)[:, None], 1) if n * c else counts[:, :1]
    span = h * w - lowest
    table = np.where(span > 0, (total - lowest) / np.maximum(span, 1), np.arange(256) / 255).clip(0, 1)
    y = table.astype(a.dtype).ravel()[level].reshape(n, c, h, w)
    return give(np.ascontiguousarray(y.transpose(0, 2, 3, 1)), single)
