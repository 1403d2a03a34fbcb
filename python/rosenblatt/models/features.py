"""Convolutional features that no label made: drawn at random, designed by hand, or learned without labels.

Each function gives a frozen network, images [N,H,W,C] -> features [N,D]; `readout` trains the last layer alone on them,
a softmax regression (notes A:M26 to A:M29):

- `random_features`, `select_by_random_features`: K. Jarrett, K. Kavukcuoglu, M. Ranzato, Y. LeCun, ICCV 2009; A. Saxe,
  P. W. Koh, Z. Chen, M. Bhand, B. Suresh, A. Y. Ng, On random weights and unsupervised feature learning, ICML 2011;
- `designed_features`: edges by Sobel's kernels, and Gabor's (J. G. Daugman, 1985), as in the visual cortex;
- `kmeans_features`: A. Coates, H. Lee, A. Y. Ng, An analysis of single-layer networks in unsupervised feature learning,
  AISTATS 2011;
- `greedy_patch_features`: layer after layer, each learned in isolation as a model of a small patch (Y. Bengio,
  P. Lamblin, D. Popovici, H. Larochelle, Greedy layer-wise training of deep networks, NIPS 19, 2007, for dense layers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole
from ..data._arrays import number
from ..data.clusters import kmeans
from ..nn import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Module, MSELoss, Sequential
from ..ops.random import manual_seed
from ..optim import Adam
from ..tensor import float_array
from ..train import LearningRateSchedule
from .logistic import LogisticFit, fit_softmax

__all__ = [
    "Selection", "designed_features", "greedy_patch_features", "kmeans_features", "patches", "random_features",
    "readout", "select_by_random_features", "trainable",
]

Array = npt.NDArray[Any]


def _pictures(who: str, x: Any) -> Array:
    a = float_array(who, x)
    if a.ndim != 4 or 0 in a.shape:
        raise ValueError(f"{who}: expected images [N,H,W,C], got shape {list(a.shape)}")
    return a


def _frozen(model: Sequential) -> Sequential:
    model.requires_grad_(False)
    model.eval()
    return model


def patches(x: Any, size: int, most: int | None = None, seed: int = 0) -> Array:
    """All size x size patches of images [N,H,W,C] as rows [M,size*size*C], or `most` of them drawn by `seed`.

    A row is in the order of a kernel [size,size,C]. Raises ValueError for images smaller than a patch.
    """
    a, side = _pictures("patches", x), whole("patches", "size", size, 1)
    if side > min(a.shape[1:3]):
        raise ValueError(f"patches: expected images of at least {side} pixels, got {list(a.shape)}")
    windows = np.lib.stride_tricks.sliding_window_view(a, (side, side), (1, 2))  # [N,P,Q,C,size,size]
    n, p, q = windows.shape[:3]
    count = n * p * q
    at = np.arange(count)
    if most is not None and most < count:
        at = np.sort(np.random.default_rng(seed).choice(count, whole("patches", "most", most, 1), replace=False))
    one = windows[at // (p * q), at // q % p, at % q]  # [M,C,size,size]
    return np.ascontiguousarray(one.transpose(0, 2, 3, 1)).reshape(len(at), -1)


# --- the last layer alone


def readout(
    features: Module, x: Any, labels: Any, *, classes: int | None = None, penalty: float = 1.0
) -> tuple[Sequential, LogisticFit]:
    """(the features with a trained last layer, its fit): x [N,H,W,C] -> logits [N,classes]; only that layer learns.

    The features are standardised (mean and deviation of x), which the returned layer contains; the weights are the
    minimum of the cross-entropy's sum + penalty / 2 sum w^2 (`models.fit_softmax`). Raises ValueError for features that
    are no rows [N,D], and what `fit_softmax` raises.
    """
    rows = np.asarray(features.predict(_pictures("readout", x)), np.float64)
    if rows.ndim != 2:
        raise ValueError(f"readout: expected features [N,D], got shape {list(rows.shape)}")
    mean, spread = rows.mean(0), rows.std(0)
    scale = 1.0 / np.maximum(spread, 1e-6 * max(float(spread.max()), 1e-12))
    fit = fit_softmax((rows - mean) * scale, labels, classes=classes, penalty=penalty, tolerance=1e-5)
    weights = np.asarray(fit.weights) * scale
    last = Linear(rows.shape[1], len(weights))
    last.weight.data = weights.astype(last.weight.dtype)
    assert last.bias is not None
    last.bias.data = (np.asarray(fit.bias) - weights @ mean).astype(last.weight.dtype)
    return Sequential(*(features if isinstance(features, Sequential) else [features]), last), fit


def trainable(model: Sequential) -> Sequential:
    """The same network with every parameter free again, for training as a whole; returns it."""
    model.requires_grad_(True)
    model.train()
    return model


# --- random


def random_features(
    *, input_shape: Sequence[int] = (8, 8, 1), channels: int = 16, kernel: int = 3, pool: int = 2,
    kind: Literal["max", "avg"] = "max", layers: int = 1, seed: int = 0,
) -> Sequential:
    """Convolutions with random kernels, ReLU and pooling: frequency selective and indifferent to small shifts.

    input_shape : (H,W,C); channels, kernel : of each of `layers` convolutions, "same" padding; pool, kind : the pooling
    after each. The kernels are drawn by He's rule with `seed`; the global stream is set by it. x [N,H,W,C] -> [N,D].
    Raises ValueError for sizes below 1, images that are too small, and other kinds of pooling.
    """
    name = "random_features"
    if kind not in ("max", "avg"):
        raise ValueError(f"{name}: expected kind 'max' or 'avg', got {kind!r}")
    depth, side = whole(name, "layers", layers, 1), whole(name, "pool", pool, 1)
    if len(input_shape) != 3 or min(input_shape[:2]) < side**depth:
        raise ValueError(f"{name}: expected (H,W,C) of at least {side**depth} pixels, got {tuple(input_shape)}")
    manual_seed(whole(name, "seed", seed, 0))
    parts: list[Module] = []
    before = input_shape[2]
    for _ in range(depth):
        parts.append(Conv2d(before, channels, kernel, padding="same", activation="relu", weight_init="he_normal"))
        parts.append((MaxPool2d if kind == "max" else AvgPool2d)(side))
        before = channels
    return _frozen(Sequential(*parts, Flatten()))


@dataclass(frozen=True)
class Selection:
    """What `select_by_random_features` found.

    Attributes
    ----------
    scores : accuracy of each candidate on the validation samples with random features, by name; a mean over seeds.
    winner : the name of the best.
    model : its network with a trained last layer, the first seed's, ready for `trainable(model).fit(...)`.
    """

    scores: dict[str, float]
    winner: str
    model: Sequential


def select_by_random_features(
    candidates: Mapping[str, Mapping[str, Any]], x: Any, labels: Any, validation: tuple[Any, Any], *,
    penalty: float = 1.0, seeds: Sequence[int] = (0, 1, 2),
) -> Selection:
    """Chooses an architecture without training it: random kernels, the last layer alone, the best on held-out samples.

    candidates : options of `random_features` by name; x [N,H,W,C], labels [N] to train last layers on; validation : the
    same to choose by. The winner is then worth training as a whole (notes A:M26). Raises ValueError without candidates.
    """
    if not candidates or not len(seeds):
        raise ValueError("select_by_random_features: expected candidates and seeds")
    a, other = _pictures("select_by_random_features", x), np.asarray(validation[1])
    classes = int(max(np.max(labels), other.max())) + 1
    scores: dict[str, float] = {}
    kept: dict[str, Sequential] = {}
    for name, options in candidates.items():
        found = []
        for seed in seeds:
            extractor = random_features(input_shape=a.shape[1:], seed=seed, **options)
            model, _ = readout(extractor, a, labels, classes=classes, penalty=penalty)
            kept.setdefault(name, model)
            found.append(float((model.predict(validation[0]).argmax(1) == other).mean()))
        scores[name] = float(np.mean(found))
    winner = max(scores, key=lambda n: scores[n])
    return Selection(scores, winner, kept[winner])


# --- designed


class _Rectified(Module):
    """Both halves of each map, [N,P,Q,K] -> [N,P,Q,2K]: max(x, 0) and max(-x, 0)."""

    def forward(self, x: Any) -> Any:
        return ops.concat([ops.relu(x), ops.relu(ops.neg(x))], -1)


def _bank(kernels: Array, channels: int) -> Conv2d:
    """A convolution without bias whose kernels [K,R,S] see the mean of the channels; size is kept."""
    layer = Conv2d(channels, len(kernels), kernels.shape[1], padding="same", bias=False)
    each = np.repeat(kernels[..., None] / channels, channels, -1)
    layer.weight.data = each.astype(layer.weight.dtype)
    return layer


def designed_features(
    *, input_shape: Sequence[int] = (8, 8, 1), bank: Literal["sobel", "gabor"] = "gabor", orientations: int = 8,
    wavelengths: Sequence[float] = (3.0, 5.0), pool: int = 2,
) -> Sequential:
    """Convolution with kernels made by hand, both signs rectified, averaged over pool x pool pixels (notes A:M27).

    bank : "sobel", the derivative in `orientations` directions, each a rotation of Sobel's pair; "gabor", waves of each
        wavelength (pixels) in `orientations` directions, even and odd, without their mean
    x [N,H,W,C] -> [N,D]. Raises ValueError for another bank, sizes below 1 and images that are too small.
    """
    name = "designed_features"
    count, side = whole(name, "orientations", orientations, 1), whole(name, "pool", pool, 1)
    if len(input_shape) != 3 or min(input_shape[:2]) < side:
        raise ValueError(f"{name}: expected (H,W,C) of at least {side} pixels, got {tuple(input_shape)}")
    if bank == "sobel":
        smooth, slope = np.array([1.0, 2.0, 1.0]), np.array([-1.0, 0.0, 1.0])
        down, right = np.outer(slope, smooth) / 8, np.outer(smooth, slope) / 8
        # both signs are kept: half a turn of directions is enough
        angles = np.pi * np.arange(count) / count
        kernels = np.cos(angles)[:, None, None] * right + np.sin(angles)[:, None, None] * down
    elif bank == "gabor":
        sizes = [number(name, "wavelengths", w, 1e-3) for w in wavelengths]
        # the longest wave fits once, in an odd number of pixels
        width = 2 * math.ceil(max(sizes, default=1) / 2) + 1
        waves = [
            ops.gabor_bank(sizes, count, phase=phase, size=width, dtype=np.float64) for phase in (0.0, math.pi / 2)
        ]
        kernels = np.concatenate(waves)
        kernels -= kernels.mean((1, 2), keepdims=True)
        kernels /= np.abs(kernels).sum((1, 2), keepdims=True)
    else:
        raise ValueError(f"{name}: expected bank 'sobel' or 'gabor', got {bank!r}")
    return _frozen(Sequential(_bank(kernels, input_shape[2]), _Rectified(), AvgPool2d(side), Flatten()))


# --- learned without labels


def _convolution(kernels: Array, bias: Array, side: int, channels: int, padding: str = "valid") -> Conv2d:
    """A ReLU convolution from rows of weights [K,side*side*channels] and biases [K]."""
    layer = Conv2d(channels, len(kernels), side, padding=padding, activation="relu")
    layer.weight.data = kernels.reshape(-1, side, side, channels).astype(layer.weight.dtype)
    assert layer.bias is not None
    layer.bias.data = bias.astype(layer.weight.dtype)
    return layer


def _cluster_kernels(rows: Array, units: int, active: float, seed: int) -> tuple[Array, Array]:
    """(weights [units,D], biases [units]) of directions found by k-means in whitened rows [M,D].

    A unit fires for the share `active` of the rows.
    """
    centred = rows.astype(np.float64) - rows.mean(1, keepdims=True, dtype=np.float64)
    centred = centred / np.sqrt(centred.var(1, keepdims=True) + 1e-2)  # equal contrast
    mean = centred.mean(0)
    values, axes = np.linalg.eigh(np.cov((centred - mean).T).reshape(rows.shape[1], -1))
    white = (axes / np.sqrt(np.maximum(values, 0) + 1e-1)) @ axes.T  # ZCA
    centres, _ = kmeans((centred - mean) @ white, units, iterations=50, seed=seed)
    kernels = centres @ white
    kernels -= kernels.mean(1, keepdims=True)  # brightness says nothing
    kernels /= np.maximum(np.linalg.norm(kernels, axis=1, keepdims=True), 1e-12)
    return kernels, -np.quantile(rows @ kernels.T, 1 - active, axis=0)


def kmeans_features(
    x: Any, *, units: int = 32, size: int = 3, pool: int = 2, active: float = 0.25, most: int = 20_000, seed: int = 0
) -> Sequential:
    """Kernels that k-means finds in whitened patches of images x [N,H,W,C], without labels (notes A:M28).

    units, size : how many kernels, and their side; pool : side of the averages at the end; active : share of patches
    that a unit fires for, which sets its threshold; most : patches learned from, drawn by `seed`
    Returns a frozen network [N,H,W,C] -> [N,D]. Raises ValueError for fewer patches than units and sizes that do not
    fit.
    """
    name = "kmeans_features"
    a, share = _pictures(name, x), number(name, "active", active, 1e-6, 1.0)
    rows = patches(a, size, most, seed)
    if len(rows) < whole(name, "units", units, 1):
        raise ValueError(f"{name}: expected at least {units} patches, got {len(rows)}")
    kernels, bias = _cluster_kernels(rows, units, share, seed)
    layer = _convolution(kernels, bias, size, a.shape[3], "same")
    return _frozen(Sequential(layer, AvgPool2d(whole(name, "pool", pool, 1)), Flatten()))


def greedy_patch_features(
    x: Any, *, units: Sequence[int] = (24, 48), size: int = 3, pool: int = 2, epochs: int = 15, most: int = 20_000,
    lr: float = 3e-3, noise: float = 0.1, seed: int = 0,
) -> Sequential:
    """Layers learned one after another, each as a model of a small patch and not as a convolution (notes A:M29).

    A denoising autoencoder (size*size*C numbers -> ReLU code -> back) learns patches of what the layers before it give
    for images x [N,H,W,C]; its encoder's weights become a convolution, whose features, pooled, are computed once and
    are the next layer's images. So training never runs a convolution backward.

    units : codes of each layer; size : side of the patches; pool : of the maximum after each layer; epochs, lr : of
    Adam, the rate falling to 0 by a cosine; noise : deviation of what is added to a patch, in deviations of the data;
    most : patches that a layer learns from, drawn by `seed`, by which the global stream is set, too
    Returns a frozen network [N,H,W,C] -> [N,D]; `trainable` frees it. Raises ValueError for sizes that do not fit.
    """
    name = "greedy_patch_features"
    maps, side, step = _pictures(name, x), whole(name, "size", size, 1), whole(name, "pool", pool, 1)
    codes = [whole(name, "units", u, 1) for u in units]
    if not codes or min(maps.shape[1:3]) < step ** len(codes):
        raise ValueError(
            f"{name}: expected layers, and images of at least {step ** len(codes)} pixels, got {list(maps.shape)}"
        )
    manual_seed(whole(name, "seed", seed, 0))
    level = number(name, "noise", noise, 0)
    layers: list[Module] = []
    for i, code in enumerate(codes):
        pad = (side - 1) // 2, side - 1 - (side - 1) // 2
        padded = np.pad(maps, ((0, 0), pad, pad, (0, 0)))
        rows = patches(padded, side, most, seed + i)
        encoder = Linear(rows.shape[1], code, activation="relu")
        model = Sequential(encoder, Linear(code, rows.shape[1]))
        spread = level * float(rows.std())

        def damage(batch: Any, rng: np.random.Generator, spread: float = spread) -> Any:
            return (batch + spread * rng.standard_normal(batch.shape)).astype(batch.dtype)

        model.fit(
            rows, rows, epochs=epochs, batch_size=128, loss=MSELoss(), seed=seed, progress=False,
            augment=damage if level else None, optimizer=Adam(model.parameters(), lr),
            callbacks=[LearningRateSchedule.cosine()],
        )
        assert encoder.bias is not None
        weights, bias = np.asarray(encoder.weight.data), np.asarray(encoder.bias.data)
        stage = Sequential(_convolution(weights, bias, side, maps.shape[3], "same"), MaxPool2d(step))
        maps = stage.predict(maps)  # once
        layers += list(stage)
    return _frozen(Sequential(*layers, Flatten()))
