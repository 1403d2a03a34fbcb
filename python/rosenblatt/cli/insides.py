"""What the report of a convolutional network shows beside its filters: maps, and where in the picture it looks.

How many pictures are made depends on the network's multiply-adds, so that a report takes seconds.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import viz
from ..data import Dataset
from ..models import ModelInfo
from ..nn import Dropout, Identity, LeakyReLU, Module, ReLU, Sequential, Sigmoid, Tanh
from ..nn.convolution import _ConvTranspose

__all__ = ["insides"]

Array = npt.NDArray[Any]
_SAMPLES, _LAYERS, _CLASSES = 6, 6, 10
_BUDGET = 10**11  # multiply-adds that each kind of picture may take
_KEEP_SIZE = (Dropout, Identity, LeakyReLU, ReLU, Sigmoid, Tanh)


def _some(paths: list[str], most: int) -> list[str]:
    """At most so many, evenly chosen, first and last among them."""
    if len(paths) <= most:
        return paths
    return [paths[i] for i in sorted({round(i) for i in np.linspace(0, len(paths) - 1, most)})]


def _windowed(layer: Any) -> bool:
    """Whether pixels can be counted through this layer."""
    if isinstance(layer, _KEEP_SIZE):
        return True
    plain = hasattr(layer, "kernel_size") and hasattr(layer, "stride") and not isinstance(layer, _ConvTranspose)
    return plain and getattr(layer, "padding_mode", "zeros") == "zeros"


def _used(model: Module, shape: tuple[int, ...]) -> dict[str, Array]:
    """How often pixels are used by the first convolution, and by a chain of layers that begins with it."""
    first: Any = dict(model.named_modules())[viz.convolutions(model)[0]]
    if first.in_channels != shape[2] or not _windowed(first):
        return {}
    found = {"first layer": viz.pixel_utilisation(first, shape)}
    chain = list(takewhile(_windowed, model)) if isinstance(model, Sequential) else []
    windows = [m for m in chain if not isinstance(m, _KEEP_SIZE)]
    if len(windows) > 1 and windows[0] is first:
        found[f"first {len(windows)} layers"] = viz.pixel_utilisation(chain, shape)
    return found


def insides(model: Any, entry: ModelInfo, test: Dataset, scores: Array) -> list[tuple[str, str, Any]]:
    """(heading, explanation, Figure) for each picture of a convolutional network; scores [N,K] of the test samples.

    None for other networks and for samples that are no pictures.
    """
    x = entry.prepare(test.x)
    paths = viz.convolutions(model)
    if not paths or x.ndim != 4 or x.shape[3] not in (1, 3) or min(x.shape[1:3]) < 4:
        return []
    side, shape = int(min(x.shape[1:3])), tuple(int(n) for n in x.shape[1:])
    x, labels = x[:_SAMPLES], test.y[:_SAMPLES]
    guesses = scores[:_SAMPLES].argmax(1)
    titles = [
        test.classes[t] if t == g else f"{test.classes[t]} read as {test.classes[g]}"
        for t, g in zip(labels, guesses, strict=True)
    ]
    passes = _BUDGET // max(model.summary(shape).macs, 1)
    shown: list[tuple[str, str, Any]] = []
    layers = _some(paths, _LAYERS)
    maps = {name: a[0] for name, a in viz.feature_maps(model, x[:1], layers).items() if a.ndim == 4}
    if maps:
        note = "The first test sample: the first maps of convolution layers, with their sizes."
        shown.append(("Feature maps", note, viz.feature_map_grid(maps)))

    rows: dict[str, Array] = {}
    window = max(2, side // 4)
    for stride in (max(1, side // 16), max(1, side // 8), max(1, side // 4)):
        if len(x) * ((side - window) // stride + 1) ** 2 <= passes:
            fill = float(x.mean())
            rows["occlusion"] = viz.occlusion(model, x, labels, window, stride=stride, fill=fill, probability=False)
            break
    rows["saliency"] = viz.saliency(model, x, labels)
    note = (
        f"Occlusion: red where the true class's net input falls when {window} x {window} pixels are covered, blue "
        "where it rises. Saliency: the largest slope of that net input with respect to each pixel."
    )
    shown.append(("Where it looks", note, viz.heat_maps(x, rows, titles)))

    views: dict[str, Array] = {}
    refused = ""
    for name in _some(list(maps), 3):
        try:
            views[name] = viz.deconvnet(model, x, name)
        except ValueError as error:
            refused = str(error)
    note = "For each sample the strongest activation of a layer, carried back to the pixels (Zeiler and Fergus 2014)."
    if views:
        shown.append(("Deconvnet view", f"{note} {refused}".strip(), viz.heat_maps(x, views, titles)))
    elif refused:
        shown.append(("Deconvnet view", f"None: {refused}", viz.heat_maps(x, {}, titles)))

    classes = min(len(test.classes), _CLASSES)
    steps = min(100, passes // (3 * classes))
    if steps >= 20:
        best = [viz.maximise_activation(model, shape, k, steps=int(steps)) for k in range(classes)]
        note = f"Images in [0, 1] that drive each class's net input up: {steps} steps of gradient ascent from noise."
        names = [f"{test.classes[k]}: {value:.1f}" for k, (_, value) in enumerate(best)]
        shown.append(("Activation maximisation", note, viz.heat_maps(np.stack([i for i, _ in best]), {}, names)))
    used = _used(model, shape)
    if used:
        note = "How many windows touch each pixel; for several layers, how many paths lead from it to their outputs. "
        note += "; ".join(f"{name}: {int(a.min()):,} to {int(a.max()):,}" for name, a in used.items()) + "."
        shown.append(("Use of pixels", note, viz.heat_maps(x[:1], {name: a[None] for name, a in used.items()})))
    return shown
