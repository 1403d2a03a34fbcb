"""Generated data sets, for trying networks without files: points, gates, sounds, moving shapes, volumes, figures.

Every function takes a `seed` and returns the same data for it; classes are equally frequent (their numbers differ by at
most one) and in random order. Labelled sets are `Dataset`s: x float32 [N,...], y int64 [N]. Pictures with several
objects, masks and boxes come from `scenes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._options import whole
from ._arrays import Array, choice, number
from .dataset import Dataset
from .scenes import SHAPES, TEXTURES, Scenes, inside, scenes

__all__ = [
    "SHAPES",
    "TEXTURES",
    "Scenes",
    "blobs",
    "circles",
    "gate",
    "moons",
    "moving_shapes",
    "polynomial",
    "ratings",
    "scenes",
    "skeletons",
    "sounds",
    "spectrograms",
    "spirals",
    "volumes",
    "xor",
]

GATES = {"and": 0b1000, "or": 0b1110, "nand": 0b0111, "nor": 0b0001, "xor": 0b0110, "xnor": 0b1001}


def _labels(n: int, classes: int, rng: np.random.Generator) -> Array:
    """[n] labels, each class n // classes times or once more, in random order."""
    return rng.permutation(np.arange(n) % classes).astype(np.int64)


def _rng(who: str, n: int, seed: int) -> tuple[int, np.random.Generator]:
    return whole(who, "n", n, 1), np.random.default_rng(whole(who, "seed", seed, 0))


def gate(name: str = "xor", bipolar: bool = False) -> Dataset:
    """The truth table of a gate: x [4,2] in the order 00, 01, 10, 11 and y [4]; "not" has x [2,1] and y [2].

    name : "and", "or", "nand", "nor", "xor", "xnor" or "not"; bipolar : inputs -1 and 1 instead of 0 and 1.
    """
    choice("gate", "name", name, (*GATES, "not"))
    if name == "not":
        x, y = np.array([[0], [1]], np.float32), np.array([1, 0])
    else:
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
        y = np.array([GATES[name] >> i & 1 for i in range(4)])
    return Dataset(2 * x - 1 if bipolar else x, y.astype(np.int64), ("0", "1"), name)


# --- points in the plane


def _points(x: Array, y: Array, noise: float, rng: np.random.Generator, who: str, names: Sequence[str]) -> Dataset:
    moved = x + number(who, "noise", noise, 0) * rng.standard_normal(x.shape)
    return Dataset(moved.astype(np.float32), y, tuple(names), who)


def blobs(n: int = 500, classes: int = 3, spread: float = 0.3, seed: int = 0) -> Dataset:
    """Gaussian clouds [N,2] of deviation `spread`, their centres evenly on a circle of radius 1."""
    n, rng = _rng("blobs", n, seed)
    y = _labels(n, whole("blobs", "classes", classes, 1), rng)
    angle = 2 * np.pi * y / classes
    return _points(np.stack([np.cos(angle), np.sin(angle)], 1), y, spread, rng, "blobs", list(map(str, range(classes))))


def moons(n: int = 500, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Two half circles [N,2] that reach into each other: the upper one about (0, 0), the lower about (1, 0.5)."""
    n, rng = _rng("moons", n, seed)
    y, t = _labels(n, 2, rng), rng.uniform(0, np.pi, n)
    x = np.stack([np.where(y == 0, np.cos(t), 1 - np.cos(t)), np.where(y == 0, np.sin(t), 0.5 - np.sin(t))], 1)
    return _points(x, y, noise, rng, "moons", ("upper", "lower"))


def circles(n: int = 500, noise: float = 0.05, ratio: float = 0.5, seed: int = 0) -> Dataset:
    """Two circles [N,2] about the origin, of radius 1 and `ratio` in (0, 1)."""
    n, rng = _rng("circles", n, seed)
    y, t = _labels(n, 2, rng), rng.uniform(0, 2 * np.pi, n)
    radius = np.where(y == 0, 1.0, number("circles", "ratio", ratio, 1e-6, 1 - 1e-6))
    return _points(radius[:, None] * np.stack([np.cos(t), np.sin(t)], 1), y, noise, rng, "circles", ("outer", "inner"))


def spirals(n: int = 500, classes: int = 2, turns: float = 1.5, noise: float = 0.03, seed: int = 0) -> Dataset:
    """Arms [N,2] of an Archimedean spiral, `classes` of them, that turn `turns` times out to radius 1."""
    n, rng = _rng("spirals", n, seed)
    y = _labels(n, whole("spirals", "classes", classes, 1), rng)
    radius = np.sqrt(rng.uniform(0.01, 1, n))  # evenly over the area
    t = 2 * np.pi * (number("spirals", "turns", turns, 0) * radius + y / classes)
    x = radius[:, None] * np.stack([np.cos(t), np.sin(t)], 1)
    return _points(x, y, noise, rng, "spirals", list(map(str, range(classes))))


def xor(n: int = 500, noise: float = 0.0, seed: int = 0) -> Dataset:
    """Points [N,2] in [-1, 1]: class 1 where the signs of the coordinates differ. Noise moves them after labelling."""
    n, rng = _rng("xor", n, seed)
    y = _labels(n, 2, rng)
    x = rng.uniform(0, 1, (n, 2)) * np.where(rng.random((n, 1)) < 0.5, -1, 1)
    x[:, 1] *= np.where(y == 1, -1, 1)
    return _points(x, y, noise, rng, "xor", ("same", "different"))


def polynomial(
    n: int = 100,
    coefficients: Sequence[float] = (0.0, 1.0, 0.0, -1.0),
    noise: float = 0.1,
    low: float = -1.5,
    high: float = 1.5,
    seed: int = 0,
) -> tuple[Array, Array]:
    """(x [N,1], y [N,1]) float32 with y = c0 + c1 x + c2 x^2 + ... + normal noise, x uniform in [low, high]."""
    n, rng = _rng("polynomial", n, seed)
    low = number("polynomial", "low", low)
    x = rng.uniform(low, number("polynomial", "high", high, low), (n, 1))
    if not len(coefficients):
        raise ValueError("polynomial: expected at least one coefficient")
    y = np.polynomial.polynomial.polyval(x, np.asarray(coefficients, np.float64))
    y = y + number("polynomial", "noise", noise, 0) * rng.standard_normal(x.shape)
    return x.astype(np.float32), y.astype(np.float32)


# --- sequences, sounds, volumes

MOTIONS = ("left", "right", "up", "down", "growing", "shrinking")
SOUNDS = ("sine", "square", "sawtooth", "noise", "rising", "falling")
SOLIDS = ("ball", "cube", "cylinder", "ring")
ACTIONS = ("wave", "jump", "squat", "walk")


def moving_shapes(
    n: int = 120, frames: int = 8, size: int = 32, noise: float = 0.0, seed: int = 0, channels: int = 1
) -> Dataset:
    """Videos [N,T,H,W,C] in [0, 1] of one bright shape on black; the class is its motion (MOTIONS), not its shape.

    The shape moves by 1/20 of the side in a frame, or its radius changes by 1/12 of itself. channels : 1 for grey, 3
    for a shape in a random colour.
    """
    if channels not in (1, 3):
        raise ValueError(f"moving_shapes: channels must be 1 or 3, got {channels!r}")
    n, rng = _rng("moving_shapes", n, seed)
    frames, size = whole("moving_shapes", "frames", frames, 1), whole("moving_shapes", "size", size, 8)
    y, kind = _labels(n, len(MOTIONS), rng), rng.integers(len(SHAPES), size=n)
    time = np.arange(frames) - (frames - 1) / 2  # [T], 0 in the middle
    direction = np.array([[0, -1], [0, 1], [-1, 0], [1, 0], [0, 0], [0, 0]], np.float64)[y]  # (down, right)
    centre = size * (0.5 + rng.uniform(-0.1, 0.1, (n, 1, 2)) + 0.05 * direction[:, None] * time[None, :, None])
    growth = np.array([0, 0, 0, 0, 1, -1])[y][:, None] * time / 12
    radius = size * rng.uniform(0.15, 0.22, (n, 1)) * np.exp(growth)  # [N,T]
    turn = np.repeat(rng.uniform(0, 2 * np.pi, (n, 1)), frames, 1)
    mask = inside(
        np.repeat(kind, frames), centre.reshape(-1, 2), radius.reshape(-1), turn.reshape(-1), size
    )  # [N*T,H,W]
    tone = rng.uniform(0.6 if channels == 1 else 0.3, 1.0, (n, 1, 1, 1, channels))
    x = mask.reshape(n, frames, size, size, 1) * tone
    x += number("moving_shapes", "noise", noise, 0) * rng.standard_normal(x.shape)
    return Dataset(np.clip(x, 0, 1).astype(np.float32), y, MOTIONS, "moving_shapes")


def volumes(n: int = 120, size: int = 16, noise: float = 0.05, seed: int = 0) -> Dataset:
    """Scans [N,D,H,W,1] in [0, 1] of a solid body (SOLIDS) of random size, place and direction in noise."""
    n, rng = _rng("volumes", n, seed)
    size = whole("volumes", "size", size, 8)
    y = _labels(n, len(SOLIDS), rng)
    centre, radius = size * rng.uniform(0.42, 0.58, (n, 3)), size * rng.uniform(0.25, 0.36, n)
    axes = np.linalg.qr(rng.standard_normal((n, 3, 3)))[0]  # [N,3,3] random directions
    grid = np.stack(np.meshgrid(*[np.arange(size) + 0.5] * 3, indexing="ij"), -1).reshape(-1, 3)  # [D*H*W,3]
    local = np.einsum("nvi,nij->nvj", grid[None] - centre[:, None], axes) / radius[:, None, None]
    u, v, w = (local[..., i] for i in range(3))
    flat = np.hypot(u, v)
    bodies = [
        u * u + v * v + w * w <= 1,
        np.abs(local).max(-1) <= 0.75,
        (flat <= 0.6) & (np.abs(w) <= 0.95),
        (flat - 0.7) ** 2 + w * w <= 0.09,
    ]
    mask = np.choose(y[:, None], bodies).reshape(n, size, size, size, 1)
    x = mask * rng.uniform(0.6, 0.9, (n, 1, 1, 1, 1)) + 0.1
    x += number("volumes", "noise", noise, 0) * rng.standard_normal(x.shape)
    return Dataset(np.clip(x, 0, 1).astype(np.float32), y, SOLIDS, "volumes")


def sounds(n: int = 120, length: int = 2000, rate: int = 8000, noise: float = 0.02, seed: int = 0) -> Dataset:
    """Sounds [N,T,1] in about [-1, 1] of six kinds (SOUNDS) at random pitch, loudness and phase.

    Tones lie between rate/40 and rate/16 (200 to 500 Hz at 8000); "rising" and "falling" ones glide by an octave.
    """
    n, rng = _rng("sounds", n, seed)
    length, rate = whole("sounds", "length", length, 8), whole("sounds", "rate", rate, 1)
    y = _labels(n, len(SOUNDS), rng)
    glide = np.array([0, 0, 0, 0, 1, -1])[y][:, None]
    time = np.arange(length) / length - 0.5
    frequency = rng.uniform(rate / 40, rate / 16, (n, 1)) * 2.0 ** (glide * time)  # [N,T] in Hz
    phase = rng.uniform(size=(n, 1)) + np.cumsum(frequency, 1) / rate  # in turns
    sine = np.sin(2 * np.pi * phase)
    waves = [sine, np.sign(sine), 2 * (phase % 1) - 1, rng.uniform(-1, 1, (n, length)), sine, sine]
    x = np.choose(y[:, None], waves) * rng.uniform(0.4, 0.9, (n, 1))
    x += number("sounds", "noise", noise, 0) * rng.standard_normal(x.shape)
    return Dataset(x[..., None].astype(np.float32), y, SOUNDS, "sounds")


def spectrograms(
    n: int = 120, length: int = 2000, rate: int = 8000, n_fft: int = 128, noise: float = 0.02, seed: int = 0
) -> Dataset:
    """Spectrograms [N,T,F,1] in [0, 1] of `sounds`: half overlapping frames of n_fft samples, by `rosenblatt.fft.stft`.

    Magnitudes in decibels, 0 at -60 and 1 at those of a full-scale sine; F = n_fft/2 + 1, low frequencies first.
    """
    from .. import fft

    given = sounds(n, length, rate, noise, seed)
    frame = whole("spectrograms", "n_fft", n_fft, 2)
    spectrum = np.abs(fft.stft(given.x[..., 0], frame, max(frame // 2, 1)))  # [N,F,T]
    level = 20 * np.log10(np.maximum(spectrum, 1e-9) / (frame / 4))  # Hann's window sums to frame / 2
    x = np.clip(1 + level / 60, 0, 1).swapaxes(1, 2)[..., None]
    return Dataset(np.ascontiguousarray(x, np.float32), given.y, given.classes, "spectrograms")


# joints of the figure at rest: (right, up), feet at height 0, about 1.8 high
JOINTS = (
    "head",
    "neck",
    "left shoulder",
    "right shoulder",
    "left elbow",
    "right elbow",
    "left hand",
    "right hand",
    "left hip",
    "right hip",
    "left knee",
    "right knee",
    "left foot",
    "right foot",
)
_REST = np.array(
    [
        [0, 1.75],
        [0, 1.5],
        [-0.2, 1.45],
        [0.2, 1.45],
        [-0.3, 1.2],
        [0.3, 1.2],
        [-0.3, 0.95],
        [0.3, 0.95],
        [-0.12, 0.95],
        [0.12, 0.95],
        [-0.12, 0.5],
        [0.12, 0.5],
        [-0.12, 0.0],
        [0.12, 0.0],
    ]
)


def skeletons(n: int = 120, frames: int = 24, noise: float = 0.01, seed: int = 0) -> Dataset:
    """Moving stick figures [N,T,J,2], coordinates (right, up) of 14 JOINTS; the class is the action (ACTIONS).

    Figures differ in size, place, tempo and phase; one to two cycles of the action fall into the sequence.
    """
    n, rng = _rng("skeletons", n, seed)
    frames = whole("skeletons", "frames", frames, 2)
    y = _labels(n, len(ACTIONS), rng)
    cycles, start = rng.uniform(1, 2, (n, 1)), rng.uniform(size=(n, 1))
    swing = np.sin(2 * np.pi * (cycles * np.arange(frames) / frames + start))  # [N,T]
    lift = np.maximum(swing, 0)
    x = np.broadcast_to(_REST, (n, frames, *_REST.shape)).copy()  # [N,T,J,2]
    at = {name: i for i, name in enumerate(JOINTS)}
    wave, jump, squat, walk = ((y == k)[:, None] * 1.0 for k in range(4))
    # wave: the right arm is up, its hand swings
    x[:, :, at["right elbow"]] += wave[..., None] * np.array([0.08, 0.35])
    x[:, :, at["right hand"], 1] += wave * 0.95
    x[:, :, at["right hand"], 0] += wave * 0.25 * swing
    x[..., 1] += (jump * 0.5 * lift)[..., None]  # jump: all joints go up
    low = squat * 0.4 * (0.5 + 0.5 * swing)  # squat: the trunk goes down, knees go out, feet stay
    x[:, :, : at["left knee"], 1] -= low[..., None]
    for side, sign in (("left", -1), ("right", 1)):
        x[:, :, at[f"{side} knee"], 0] += sign * 0.5 * low
        x[:, :, at[f"{side} knee"], 1] -= 0.3 * low
        step = walk * sign * swing  # walk: arms and legs swing against each other
        x[:, :, at[f"{side} foot"], 0] += 0.35 * step
        x[:, :, at[f"{side} knee"], 0] += 0.2 * step
        x[:, :, at[f"{side} hand"], 0] -= 0.3 * step
        x[:, :, at[f"{side} foot"], 1] += 0.1 * walk * np.maximum(sign * swing, 0)
    x = x * rng.uniform(0.8, 1.2, (n, 1, 1, 1)) + rng.uniform(-0.3, 0.3, (n, 1, 1, 2))
    x = x + number("skeletons", "noise", noise, 0) * rng.standard_normal(x.shape)
    return Dataset(x.astype(np.float32), y, ACTIONS, "skeletons")


def ratings(
    users: int = 400, items: int = 40, tastes: int = 3, blank: float = 0.6, noise: float = 0.05, seed: int = 0
) -> Array:
    """Ratings float32 [users,items] in [0, 1], in steps of a quarter (one to five stars), NaN where blank.

    A rating is the logistic function of an item's quality plus the product of the user's and the item's `tastes`
    numbers, with normal noise of deviation `noise`, rounded. A share `blank` is missing at random; every user and
    item keeps at least one. Raises ValueError for sizes below 1 and a share outside [0, 1].
    """
    n, rng = _rng("ratings", users, seed)
    m, d = whole("ratings", "items", items, 1), whole("ratings", "tastes", tastes, 1)
    liked = rng.standard_normal((n, d)) @ rng.standard_normal((d, m)) / np.sqrt(d) * 1.5 + 0.7 * rng.standard_normal(m)
    value = 1 / (1 + np.exp(-liked)) + number("ratings", "noise", noise, 0) * rng.standard_normal((n, m))
    stars = np.round(np.clip(value, 0, 1) * 4) / 4  # [n,m]
    known = rng.random((n, m)) >= number("ratings", "blank", blank, 0, 1)
    known[np.arange(n), rng.integers(0, m, n)] = True
    known[rng.integers(0, n, m), np.arange(m)] = True
    return np.where(known, stars, np.nan).astype(np.float32)
