"""Random operations on batches of images, for `fit(augment=...)` and `train.Loader`; every image draws its own numbers.

A transform is called as transform(x, generator) with x [N,H,W,C] in [0, 1] and returns a new batch; it draws from the
generator only, so that the same generator gives the same bytes. MixUp and CutMix (`data.mixing`), which change the
labels, too, have `needs_labels = True` and are called as transform(x, y, generator) -> (x, y); so is a Compose that
holds one. The names are torchvision's; the operations are those of `data.images`.

    augment = Compose([RandomCrop(32, padding=4), RandomFlip(), ColorJitter(0.2, 0.2), RandomErasing()])
    model.fit(x, y, augment=augment, seed=0)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import ops
from .._options import whole
from ._arrays import (
    Array,
    choice,
    clip,
    interval,
    normal_like,
    number,
    per_sample,
    take_images,
    uniform_like,
)
from .audio import RandomGain, RandomPitch, RandomShift, RandomSignalNoise, RandomSpeed, RandomTimeStretch
from .augment import Affine, _pair
from .color import color_map, luma, turn_hue
from .geometry import about_centre, check_fill, check_padding, extend, sample
from .mixing import CutMix, MixUp
from .text import TokenRows

Generator = np.random.Generator
Range = float | tuple[float, float]

__all__ = [
    "Affine",
    "Apply",
    "Choice",
    "ColorJitter",
    "Compose",
    "CutMix",
    "Cutout",
    "MixUp",
    "RandomBlur",
    "RandomBrightness",
    "RandomChannels",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomGain",
    "RandomGrayscale",
    "RandomNoise",
    "RandomPitch",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShift",
    "RandomSignalNoise",
    "RandomSpeed",
    "RandomStretch",
    "RandomTimeStretch",
    "RandomTranslation",
    "RandomZoom",
    "TokenRows",
]


def _signed(who: str, name: str, value: Any, high: float = math.inf) -> tuple[float, float]:
    """(low, high) from a pair, or (-value, value) from one number."""
    if isinstance(value, (int, float, np.number)):
        return -number(who, name, value, 0, high), float(value)
    return interval(who, name, value, -high, high)


def _around_one(who: str, name: str, value: Any) -> tuple[float, float]:
    """(low, high) from a pair of factors >= 0, or (max(0, 1 - value), 1 + value) from one number."""
    if isinstance(value, (int, float, np.number)):
        value = number(who, name, value, 0)
        return max(0.0, 1 - value), 1 + value
    return interval(who, name, value, 0)


def _draw(bounds: Any, n: int, generator: Generator) -> Array:
    """n numbers uniform in a range (low, high)."""
    return generator.uniform(bounds[0], bounds[1], n)


class Transform:
    """Base of the transforms of images that keep the labels.

    A subclass implements `apply(x, generator)` for images [N,H,W,C] in float; `p` is the part of the images that it
    is applied to, each chosen by itself (only for operations that keep the size of the images).
    """

    needs_labels: ClassVar[bool] = False
    p: float = 1.0

    def apply(self, x: Array, generator: Generator) -> Array:
        raise TypeError(f"{type(self).__name__} defines no apply(x, generator)")

    def _channels(self) -> tuple[int, ...]:
        return ()

    def __call__(self, x: Any, generator: Generator) -> Array:
        """A new batch. Raises ValueError when `x` is not [N,H,W,C] or has other channels than the operation needs."""
        name = type(self).__name__
        a, single = take_images(name, x, self._channels())
        if single:
            raise ValueError(f"{name}: expected a batch [N,H,W,C], got one image {list(a.shape[1:])}")
        if not len(a):
            return np.array(a)
        if self.p >= 1:
            return self.apply(a, generator)
        chosen = generator.random(len(a)) < self.p  # [N]
        y = np.array(a)
        if chosen.any():
            y[chosen] = self.apply(a[chosen], generator)
        return y

    def _checked_p(self) -> None:
        number(type(self).__name__, "p", self.p, 0, 1)


def _set(target: Any, **values: Any) -> None:
    """Normalised options of a frozen dataclass."""
    for name, value in values.items():
        object.__setattr__(target, name, value)


# --- places


@dataclass(frozen=True)
class RandomCrop(Transform):
    """A random window of `size`, after `padding` (as in `images.pad`) by `fill`.

    Raises ValueError when the padded images are smaller than the window.
    """

    size: int | tuple[int, int]
    padding: int | tuple[int, ...] = 0
    fill: float | str = 0.0

    def __post_init__(self) -> None:
        _set(self, size=_pair(self.size, "RandomCrop"), padding=check_padding("RandomCrop", self.padding))
        check_fill("RandomCrop", self.fill)

    def apply(self, x: Array, generator: Generator) -> Array:
        size: Any = self.size  # pairs and fours since __post_init__
        padding: Any = self.padding
        (p, q), (top, bottom, left, right) = size, padding
        n, h, w, c = x.shape
        rows, columns = h + top + bottom - p, w + left + right - q  # free steps
        if rows < 0 or columns < 0:
            raise ValueError(f"RandomCrop: expected images of at least {p} x {q} with their padding, got {h} x {w}")
        tops = generator.integers(0, rows + 1, n).tolist()
        lefts = generator.integers(0, columns + 1, n).tolist()
        wide = extend(x, top, bottom, left, right, self.fill) if top + bottom + left + right else x
        y = np.empty((n, p, q, c), x.dtype)
        for i, (r, s) in enumerate(zip(tops, lefts, strict=True)):
            y[i] = wide[i, r : r + p, s : s + q]
        return y


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """A random part of the image, `scale` of its area with an aspect in `ratio`, resampled to `size` (bilinear).

    Source: C. Szegedy et al., Going deeper with convolutions, CVPR 2015, section 6.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        who = "RandomResizedCrop"
        _set(self, size=_pair(self.size, who), scale=interval(who, "scale", self.scale, 1e-6, 1.0))
        _set(self, ratio=interval(who, "ratio", self.ratio, 1e-6))

    def apply(self, x: Array, generator: Generator) -> Array:
        size: Any = self.size  # a pair since __post_init__
        p, q = size
        n, h, w, _ = x.shape
        area = _draw(self.scale, n, generator) * (h * w)
        aspect = np.exp(generator.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), n))
        tall, wide = np.minimum(np.sqrt(area / aspect), h), np.minimum(np.sqrt(area * aspect), w)
        top, left = generator.uniform(size=n) * (h - tall), generator.uniform(size=n) * (w - wide)
        m = np.zeros((n, 2, 3), np.float64)  # pixels are areas, as in resize
        m[:, 0, 0], m[:, 1, 1] = tall / p, wide / q
        m[:, 0, 2], m[:, 1, 2] = top + 0.5 * tall / p - 0.5, left + 0.5 * wide / q - 0.5
        return sample(x, m.astype(np.float32), (p, q), "edge")


@dataclass(frozen=True)
class RandomFlip(Transform):
    """Mirrored with probability p: "horizontal" (left and right), "vertical", or "both", each by its own draw."""

    direction: str = "horizontal"
    p: float = 0.5

    def __post_init__(self) -> None:
        choice("RandomFlip", "direction", self.direction, ("horizontal", "vertical", "both"))
        self._checked_p()

    def __call__(self, x: Any, generator: Generator) -> Array:
        y = np.array(take_images("RandomFlip", x)[0])
        if np.ndim(x) != 4:
            raise ValueError(f"RandomFlip: expected a batch [N,H,W,C], got shape {list(np.shape(x))}")
        for axis, name in ((2, "horizontal"), (1, "vertical")):
            if self.direction in (name, "both"):
                chosen = generator.random(len(y)) < self.p
                y[chosen] = np.flip(y[chosen], axis)
        return y


@dataclass(frozen=True)
class _Warp(Transform):
    """Base of the maps about the centre: a subclass draws `maps` -> (forward [N,2,2], shift [N,2] in pixels)."""

    def maps(self, n: int, size: tuple[int, int], generator: Generator) -> tuple[Array, Any]:
        raise TypeError(f"{type(self).__name__} defines no maps(n, size, generator)")

    def apply(self, x: Array, generator: Generator) -> Array:
        size = (int(x.shape[1]), int(x.shape[2]))
        forward, shift = self.maps(len(x), size, generator)
        return sample(x, about_centre(len(x), size, forward, shift), size, self.fill)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class RandomRotation(_Warp):
    """Turned about the centre by degrees from [-degrees, degrees] or from a pair; positive is counter-clockwise."""

    degrees: Range
    fill: float | str = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        _set(self, degrees=_signed("RandomRotation", "degrees", self.degrees))
        check_fill("RandomRotation", self.fill)
        self._checked_p()

    def maps(self, n: int, size: tuple[int, int], generator: Generator) -> tuple[Array, Any]:
        angle = np.deg2rad(_draw(self.degrees, n, generator))
        c, s = np.cos(angle), np.sin(angle)
        return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], 1), 0.0


@dataclass(frozen=True)
class RandomZoom(_Warp):
    """Enlarged about the centre by a factor from `scale`, a pair, or [1 - scale, 1 + scale]."""

    scale: Range = (0.8, 1.2)
    fill: float | str = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        _set(self, scale=interval("RandomZoom", "scale", _around_one("RandomZoom", "scale", self.scale), 1e-6))
        check_fill("RandomZoom", self.fill)
        self._checked_p()

    def maps(self, n: int, size: tuple[int, int], generator: Generator) -> tuple[Array, Any]:
        factor = _draw(self.scale, n, generator)
        return factor[:, None, None] * np.eye(2), 0.0


@dataclass(frozen=True)
class RandomStretch(_Warp):
    """Enlarged by a factor of its own along each axis: `vertical` and `horizontal` are ranges as in RandomZoom."""

    vertical: Range = (0.8, 1.2)
    horizontal: Range = (0.8, 1.2)
    fill: float | str = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("vertical", "horizontal"):
            pair = _around_one("RandomStretch", name, getattr(self, name))
            _set(self, **{name: interval("RandomStretch", name, pair, 1e-6)})
        check_fill("RandomStretch", self.fill)
        self._checked_p()

    def maps(self, n: int, size: tuple[int, int], generator: Generator) -> tuple[Array, Any]:
        m = np.zeros((n, 2, 2))
        m[:, 0, 0] = _draw(self.vertical, n, generator)
        m[:, 1, 1] = _draw(self.horizontal, n, generator)
        return m, 0.0


@dataclass(frozen=True)
class RandomTranslation(_Warp):
    """Moved by a fraction of the side: `vertical` and `horizontal` from [-v, v] or a pair; down and right positive."""

    vertical: Range = 0.1
    horizontal: Range = 0.1
    fill: float | str = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("vertical", "horizontal"):
            _set(self, **{name: _signed("RandomTranslation", name, getattr(self, name))})
        check_fill("RandomTranslation", self.fill)
        self._checked_p()

    def maps(self, n: int, size: tuple[int, int], generator: Generator) -> tuple[Array, Any]:
        down = _draw(self.vertical, n, generator) * size[0]
        right = _draw(self.horizontal, n, generator) * size[1]
        return np.broadcast_to(np.eye(2), (n, 2, 2)), np.stack([down, right], 1)


# --- values


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Random brightness, contrast, saturation (factors) and hue (turns), in this order, cut to [0, 1] at the end.

    Each of the first three is a number v for [max(0, 1 - v), 1 + v] or a pair of factors, hue a number for [-v, v] or
    a pair within [-0.5, 0.5]. Grey images [N,H,W,1] have brightness and contrast only; see `images.adjust_color`.
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Range = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            _set(self, **{name: _around_one("ColorJitter", name, getattr(self, name))})
        _set(self, hue=_signed("ColorJitter", "hue", self.hue, 0.5))
        self._checked_p()

    def _channels(self) -> tuple[int, ...]:
        return (3,) if self.hue != (0, 0) or self.saturation != (1, 1) else (1, 3)

    def apply(self, x: Array, generator: Generator) -> Array:
        ranges = (self.brightness, self.contrast, self.saturation)
        factors = [_draw(r, len(x), generator) for r in ranges]
        y = color_map(x, *factors)
        if self.hue != (0, 0):
            y = turn_hue(y, _draw(self.hue, len(x), generator)[:, None, None])
        return clip(y)


@dataclass(frozen=True)
class RandomBrightness(Transform):
    """Values times a factor from `factor`: a pair, or [max(0, 1 - v), 1 + v] for a number; cut to [0, 1]."""

    factor: Range = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        _set(self, factor=_around_one("RandomBrightness", "factor", self.factor))
        self._checked_p()

    def apply(self, x: Array, generator: Generator) -> Array:
        return clip(ops.mul(x, per_sample(_draw(self.factor, len(x), generator), x)))


@dataclass(frozen=True)
class RandomContrast(Transform):
    """Distance from the mean grey value times a factor, given as for RandomBrightness; cut to [0, 1]."""

    factor: Range = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        _set(self, factor=_around_one("RandomContrast", "factor", self.factor))
        self._checked_p()

    def _channels(self) -> tuple[int, ...]:
        return (1, 3)

    def apply(self, x: Array, generator: Generator) -> Array:
        return clip(color_map(x, 1.0, _draw(self.factor, len(x), generator), 1.0))


@dataclass(frozen=True)
class RandomChannels(Transform):
    """Each channel times a factor of its own, given as for RandomBrightness; cut to [0, 1]."""

    factor: Range = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        _set(self, factor=_around_one("RandomChannels", "factor", self.factor))
        self._checked_p()

    def apply(self, x: Array, generator: Generator) -> Array:
        n, channels = x.shape[0], x.shape[3]
        factors = _draw(self.factor, n * channels, generator).astype(x.dtype).reshape(n, 1, 1, channels)
        return clip(ops.mul(x, factors))


@dataclass(frozen=True)
class RandomGrayscale(Transform):
    """Colours [N,H,W,3] replaced by their grey value with probability p."""

    p: float = 0.1

    def __post_init__(self) -> None:
        self._checked_p()

    def _channels(self) -> tuple[int, ...]:
        return (3,)

    def apply(self, x: Array, generator: Generator) -> Array:
        return np.repeat(luma(x), 3, axis=3)


@dataclass(frozen=True)
class RandomNoise(Transform):
    """Noise of a strength drawn from `strength` (a number or a pair), cut to [0, 1] unless clip=False.

    kind : "gaussian" (strength is the standard deviation), "uniform" (in [-strength, strength]), "speckle" (Gaussian,
    times the value itself), or "salt_pepper" (strength is the part of the pixels that become black or white).
    """

    strength: Range = 0.1
    kind: str = "gaussian"
    clip: bool = True
    p: float = 1.0

    def __post_init__(self) -> None:
        choice("RandomNoise", "kind", self.kind, ("gaussian", "uniform", "speckle", "salt_pepper"))
        high = 1.0 if self.kind == "salt_pepper" else math.inf
        _set(self, strength=interval("RandomNoise", "strength", self.strength, 0, high))
        self._checked_p()

    def apply(self, x: Array, generator: Generator) -> Array:
        strength = per_sample(_draw(self.strength, len(x), generator), x)
        if self.kind == "salt_pepper":
            u = uniform_like(x[..., :1], generator)  # one draw per pixel, for all its channels
            return np.where(u < strength / 2, x.dtype.type(0), np.where(u < strength, x.dtype.type(1), x))
        noise: Any
        if self.kind == "uniform":
            noise = ops.sub(ops.mul(uniform_like(x, generator), 2.0), 1.0)
        else:
            noise = normal_like(x, generator)
        scaled: Any = ops.mul(noise, ops.mul(x, strength) if self.kind == "speckle" else strength)
        y: Array = ops.add(x, scaled)
        return clip(y) if self.clip else y


@dataclass(frozen=True)
class RandomBlur(Transform):
    """A Gaussian blur with a sigma from `sigma` (a number or a pair, in pixels) on size x size pixels (odd)."""

    sigma: Range = (0.1, 2.0)
    size: int = 5
    p: float = 1.0

    def __post_init__(self) -> None:
        _set(self, sigma=interval("RandomBlur", "sigma", self.sigma, 1e-3))
        if whole("RandomBlur", "size", self.size, 1) % 2 == 0:
            raise ValueError(f"RandomBlur: size must be odd, got {self.size}")
        self._checked_p()

    def apply(self, x: Array, generator: Generator) -> Array:
        sigma = _draw(self.sigma, len(x), generator)
        half, (h, w) = self.size // 2, x.shape[1:3]
        d = np.arange(self.size) - half
        taps = np.exp(-0.5 * (d / sigma[:, None]) ** 2)  # [N,size], every image its own
        taps /= taps.sum(1, keepdims=True)
        weights: list[Any] = [per_sample(t, x) for t in taps.T]
        wide = extend(x, half, half, 0, 0, "reflect")
        y: Any = ops.mul(wide[:, :h], weights[0])
        for i in range(1, self.size):
            y = ops.add(y, ops.mul(wide[:, i : i + h], weights[i]))
        wide = extend(y, 0, 0, half, half, "reflect")
        y = ops.mul(wide[:, :, :w], weights[0])
        for i in range(1, self.size):
            y = ops.add(y, ops.mul(wide[:, :, i : i + w], weights[i]))
        return np.asarray(y)


# --- erasing


@dataclass(frozen=True)
class RandomErasing(Transform):
    """A random rectangle replaced, with probability p.

    scale : part of the area; ratio : height over width, drawn evenly in its logarithm; of ten draws the first that fits
    into the image is taken, and the image stays when none does.
    value : a number, "mean" (each channel's mean over the image) or "random" (normal numbers, of deviation 1).
    Source: Z. Zhong et al., Random erasing data augmentation, AAAI 2020.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float | str = 0.0

    def __post_init__(self) -> None:
        _set(self, scale=interval("RandomErasing", "scale", self.scale, 0, 1))
        _set(self, ratio=interval("RandomErasing", "ratio", self.ratio, 1e-6))
        if isinstance(self.value, str):
            choice("RandomErasing", "value", self.value, ("mean", "random"))
        else:
            number("RandomErasing", "value", self.value)
        self._checked_p()

    def __call__(self, x: Any, generator: Generator) -> Array:
        a, single = take_images("RandomErasing", x)
        if single:
            raise ValueError(f"RandomErasing: expected a batch [N,H,W,C], got one image {list(a.shape[1:])}")
        y = np.array(a)
        n, h, w, _ = y.shape
        chosen = generator.random(n) < self.p
        area = generator.uniform(*self.scale, (n, 10)) * (h * w)
        aspect = np.exp(generator.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), (n, 10)))
        tall, wide = np.rint(np.sqrt(area * aspect)).astype(int), np.rint(np.sqrt(area / aspect)).astype(int)
        fits = (tall <= h) & (wide <= w)
        first = fits.argmax(1)
        place = generator.random((n, 2))
        for i in np.flatnonzero(chosen & fits.any(1)).tolist():
            p, q = int(tall[i, first[i]]), int(wide[i, first[i]])
            top, left = int(place[i, 0] * (h - p + 1)), int(place[i, 1] * (w - q + 1))
            part = y[i, top : top + p, left : left + q]
            if self.value == "random":
                part[...] = generator.standard_normal(part.shape, np.float32)
            else:
                part[...] = a[i].mean((0, 1)) if self.value == "mean" else self.value
        return y


@dataclass(frozen=True)
class Cutout(Transform):
    """`holes` squares of `size` pixels replaced by `value`; centres lie anywhere, so squares may be cut by the border.

    Source: T. DeVries, G. W. Taylor, Improved regularization with Cutout, arXiv 1708.04552, 2017.
    """

    size: int = 8
    holes: int = 1
    value: float = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        whole("Cutout", "size", self.size, 1)
        whole("Cutout", "holes", self.holes, 1)
        number("Cutout", "value", self.value)
        self._checked_p()

    def apply(self, x: Array, generator: Generator) -> Array:
        y = np.array(x)
        n, h, w, _ = y.shape
        tops = generator.integers(0, h, (n, self.holes)) - self.size // 2
        lefts = generator.integers(0, w, (n, self.holes)) - self.size // 2
        for i in range(n):
            for r, s in zip(tops[i].tolist(), lefts[i].tolist(), strict=True):
                y[i, max(r, 0) : max(r + self.size, 0), max(s, 0) : max(s + self.size, 0)] = self.value
        return y


# --- putting together


@dataclass(frozen=True)
class Apply:
    """A function x -> x without randomness, for example one of `images`, on a part p of the samples.

    options are passed on: Apply(images.normalize, options={"mean": 0.5, "std": 0.25}). With p < 1 the function must
    keep the size of the samples. A transform (transform(x, generator)) goes in by random=True.
    """

    function: Callable[..., Any]
    p: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)
    random: bool = False
    needs_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        number("Apply", "p", self.p, 0, 1)
        if getattr(self.function, "needs_labels", False):
            raise ValueError("Apply: expected a function of samples alone; mixing has a probability p of its own")

    def __call__(self, x: Array, generator: Generator) -> Array:
        def run(part: Array) -> Array:
            return np.asarray(self.function(part, *((generator,) if self.random else ()), **self.options))

        if self.p >= 1:
            return run(x)
        chosen = generator.random(len(x)) < self.p
        if not chosen.any() and (np.asarray(x).dtype != np.uint8 or not len(x)):
            return np.array(x)
        changed = run(x[chosen] if chosen.any() else x[:1])  # bytes: for the dtype alone, the same in every batch
        if changed.shape[1:] != x.shape[1:]:
            raise ValueError(f"Apply: expected samples {list(x.shape[1:])} for p < 1, got {list(changed.shape[1:])}")
        y = np.array(x, changed.dtype)
        if np.asarray(x).dtype == np.uint8 and changed.dtype.kind == "f":  # bytes that the function took for images
            y /= changed.dtype.type(255)
        if chosen.any():
            y[chosen] = changed
        return y


def _call(transform: Any, x: Any, y: Any, generator: Generator) -> tuple[Any, Any]:
    """(x, y) after one transform of either kind."""
    if getattr(transform, "needs_labels", False):
        pair: tuple[Any, Any] = transform(x, y, generator)
        return pair
    return transform(x, generator), y


class Compose:
    """Transforms one after the other: called as compose(x, generator), or compose(x, y, generator) when one mixes.

    Raises TypeError for an entry that cannot be called.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.transforms = tuple(transforms)
        for t in self.transforms:
            if not callable(t):
                raise TypeError(f"Compose: expected transforms, got {t!r}")
        self.needs_labels = any(getattr(t, "needs_labels", False) for t in self.transforms)

    def __call__(self, x: Any, *rest: Any) -> Any:
        y, generator = _arguments("Compose", self.needs_labels, rest)
        for t in self.transforms:
            x, y = _call(t, x, y, generator)
        return (x, y) if self.needs_labels else x

    def __repr__(self) -> str:
        return f"Compose({list(self.transforms)!r})"


class Choice:
    """One of several transforms for each batch, drawn with the given weights (evenly by default).

    Raises TypeError for an entry that cannot be called, ValueError for weights that do not fit.
    """

    def __init__(self, transforms: Sequence[Any], weights: Sequence[float] | None = None) -> None:
        self.transforms = tuple(transforms)
        if not self.transforms or not all(callable(t) for t in self.transforms):
            raise TypeError(f"Choice: expected at least one transform, got {list(self.transforms)!r}")
        w = np.ones(len(self.transforms)) if weights is None else np.asarray(weights, np.float64)
        if w.shape != (len(self.transforms),) or not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
            raise ValueError(f"Choice: expected {len(self.transforms)} weights >= 0, got {weights!r}")
        self.weights = w / w.sum()
        self.needs_labels = any(getattr(t, "needs_labels", False) for t in self.transforms)

    def __call__(self, x: Any, *rest: Any) -> Any:
        y, generator = _arguments("Choice", self.needs_labels, rest)
        x, y = _call(self.transforms[int(generator.choice(len(self.weights), p=self.weights))], x, y, generator)
        return (x, y) if self.needs_labels else x

    def __repr__(self) -> str:
        return f"Choice({list(self.transforms)!r})"


def _arguments(who: str, labels: bool, rest: tuple[Any, ...]) -> tuple[Any, Generator]:
    """(y or None, generator) from the arguments after x. Raises TypeError that says how to call."""
    if len(rest) != 1 + labels or not isinstance(rest[-1], Generator):
        raise TypeError(f"{who}: expected ({'x, y, generator' if labels else 'x, generator'}), got {len(rest)} after x")
    return (rest[0] if labels else None), rest[-1]
