"""Plots for lessons and experiments: each function returns a matplotlib Figure (`figure.savefig("x.svg")` keeps it).

Promises: matplotlib (extra `demo`) is imported when a plot is drawn, pyplot and displays are not used, and wrong shapes
are refused with a ValueError before anything is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..io.extras import require
from ..tensor import Tensor

__all__ = [
    "activation_curves",
    "capacity_curve",
    "decision_boundary",
    "error_surface",
    "fitted_curves",
    "hidden_activities",
    "image_grid",
    "training_curves",
]

Array = npt.NDArray[Any]


def _figure(width: float, height: float) -> Any:
    return require("matplotlib.figure", "demo", "plotting").Figure(figsize=(width, height), layout="constrained")


def _curve(name: str, what: str, values: Any, length: int | None = None) -> Array:
    a = np.asarray(values, np.float64)
    if a.ndim != 1 or (length is not None and len(a) != length):
        expected = "[N]" if length is None else f"[{length}]"
        raise ValueError(f"{name}: expected {what} {expected}, got shape {list(a.shape)}")
    return a


def training_curves(history: Mapping[str, Sequence[float]], keys: Sequence[str] = ("loss", "accuracy")) -> Any:
    """One panel per key with the training curve and, where there are any, "val_" and "test_" curves, over epochs.

    history : as `History.history`, or the content of a run's history.json. Raises ValueError when no key is in it.
    """
    found = [k for k in keys if k in history]
    if not found:
        raise ValueError(f"training_curves: expected one of {', '.join(keys)}, got {', '.join(history) or 'nothing'}")
    figure = _figure(4.6 * len(found), 3.2)
    for axes, key in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        for prefix, label in (("", "training"), ("val_", "validation"), ("test_", "test")):
            if prefix + key in history:
                y = _curve("training_curves", prefix + key, history[prefix + key])
                x = _curve("training_curves", "epoch", history.get("epoch", range(1, len(y) + 1)), len(y))
                axes.plot(x, y, label=label)
        axes.set(xlabel="epoch", ylabel=key)
        axes.legend()
    return figure


def activation_curves(functions: Mapping[str, Callable[[Any], Any]], low: float = -4.0, high: float = 4.0) -> Any:
    """One panel per function of one tensor: its values and its derivative, by autograd, on [low, high]."""
    if not functions or not low < high:
        raise ValueError(f"activation_curves: expected functions and low < high, got {len(functions)}, {low}, {high}")
    x = np.linspace(low, high, 401)  # [401]
    drawn: list[tuple[str, Array, Array]] = []
    for name, function in functions.items():
        t = Tensor(x, requires_grad=True)
        y = function(t)
        if not isinstance(y, Tensor) or y.shape != t.shape:
            raise ValueError(f"activation_curves: {name}: expected a tensor of shape {list(t.shape)}")
        y.sum().backward()
        slope = np.zeros_like(x) if t.grad is None else np.asarray(t.grad.data)
        drawn.append((name, np.asarray(y.data), slope))
    columns = min(len(drawn), 3)
    rows = math.ceil(len(drawn) / columns)
    figure = _figure(3.4 * columns, 2.8 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, y, slope) in zip(panels, drawn, strict=False):
        axes.plot(x, y, label="value")
        axes.plot(x, slope, "--", label="derivative")
        axes.set_title(name, parse_math=False)
        axes.grid(alpha=0.3)
    panels[0].legend()
    for axes in panels[len(drawn) :]:
        axes.remove()
    return figure


def error_surface(
    error: Callable[[float, float], float],
    first: tuple[float, float],
    second: tuple[float, float],
    path: Any = None,
    steps: int = 60,
) -> Any:
    """Contours of error(w1, w2) on [first] x [second], and the path [T,2] that training took over them."""
    if not first[0] < first[1] or not second[0] < second[1] or steps < 2:
        raise ValueError(f"error_surface: expected (low, high) twice and steps >= 2, got {first}, {second}, {steps}")
    track = None if path is None else np.asarray(path, np.float64)
    if track is not None and (track.ndim != 2 or track.shape[1] != 2):
        raise ValueError(f"error_surface: expected a path [T,2], got shape {list(track.shape)}")
    u, v = np.linspace(*first, steps), np.linspace(*second, steps)
    z = np.array([[float(error(float(a), float(b))) for a in u] for b in v])  # [steps,steps], row: w2
    figure = _figure(5.2, 4.2)
    axes = figure.subplots()
    figure.colorbar(axes.contourf(u, v, z, levels=24, cmap="viridis"), ax=axes, label="error")
    if track is not None and len(track):
        axes.plot(track[:, 0], track[:, 1], ".-", color="white", linewidth=1)
        axes.plot(*track[-1], "o", color="red")
    axes.set(xlabel="w1", ylabel="w2", xlim=first, ylim=second)
    return figure


def capacity_curve(
    sizes: Any, training: Any, validation: Any, label: str = "error", axis: str = "capacity"
) -> Any:
    """Training and validation values over the size of the model [N] each; the best validation value is marked.

    label, axis : what the values are, and what the sizes are (for a learning curve, the number of samples).
    """
    x = _curve("capacity_curve", "sizes", sizes)
    a = _curve("capacity_curve", "training values", training, len(x))
    b = _curve("capacity_curve", "validation values", validation, len(x))
    figure = _figure(5.2, 3.4)
    axes = figure.subplots()
    axes.plot(x, a, "o-", label="training")
    axes.plot(x, b, "o-", label="validation")
    if np.isfinite(b).any():
        axes.axvline(x[int(np.nanargmin(b))], color="grey", linestyle=":", label="least validation value")
    axes.set_xlabel(axis, parse_math=False)
    axes.set_ylabel(label, parse_math=False)
    axes.legend()
    return figure


def decision_boundary(
    predict: Callable[[Any], Any], x: Any, y: Any, classes: Sequence[str] = (), steps: int = 200, margin: float = 0.15
) -> Any:
    """The regions of the plane that a classifier gives to each class, with the samples in their own classes' colours.

    predict : points [M,2] float32 -> labels [M]; x : [N,2]; y : labels [N], integers; classes : their names, by label
    margin : how far beyond the samples the picture goes, in parts of their range. Raises ValueError for other shapes.
    """
    points = np.asarray(x, np.float64)
    labels = np.asarray(y)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or labels.shape != (len(points),):
        raise ValueError(
            f"decision_boundary: expected x [N,2] and y [N], got shapes {list(points.shape)} and {list(labels.shape)}"
        )
    low, high = points.min(0), points.max(0)
    space = margin * np.where(high > low, high - low, 1.0)
    u, v = (np.linspace(a, b, steps) for a, b in zip(low - space, high + space, strict=True))
    grid = np.stack(np.meshgrid(u, v), -1).reshape(-1, 2)  # [steps**2,2]
    regions = np.asarray(predict(grid.astype(np.float32)))
    if regions.shape != (len(grid),):
        raise ValueError(f"decision_boundary: expected predict to give [{len(grid)}], got shape {list(regions.shape)}")
    values = np.unique(np.concatenate([np.unique(labels), np.unique(regions)]))
    figure = _figure(5.0, 4.4)
    axes = figure.subplots()
    colours = require("matplotlib", "demo", "plotting").colormaps["tab10"]
    shown = np.searchsorted(values, regions).reshape(steps, steps)
    levels = np.arange(len(values) + 1) - 0.5
    axes.contourf(u, v, shown, levels=levels, colors=[colours(i % 10) for i in range(len(values))], alpha=0.3)
    for i, value in enumerate(values):
        own = points[labels == value]
        name = classes[int(value)] if 0 <= int(value) < len(classes) else str(value)
        dots = axes.scatter(own[:, 0], own[:, 1], s=14, color=colours(i % 10), edgecolors="black", linewidths=0.3)
        dots.set_label(name)
    axes.set(xlabel="x1", ylabel="x2", xlim=(u[0], u[-1]), ylim=(v[0], v[-1]))
    if len(values) <= 10:
        axes.legend(fontsize=8)
    return figure


def fitted_curves(x: Any, y: Any, curves: Mapping[str, Callable[[Any], Any]], margin: float = 0.05) -> Any:
    """Samples x [N], y [N] and, in a panel of its own for each, functions of x [M] -> [M] fitted to them."""
    a = _curve("fitted_curves", "x", np.asarray(x).reshape(-1))
    b = _curve("fitted_curves", "y", np.asarray(y).reshape(-1), len(a))
    if not curves or not len(a):
        raise ValueError(f"fitted_curves: expected samples and curves, got {len(a)} and {len(curves)}")
    space = margin * (float(a.max() - a.min()) or 1.0)
    line = np.linspace(float(a.min()) - space, float(a.max()) + space, 400)
    drawn = {name: _curve("fitted_curves", name, curve(line), 400) for name, curve in curves.items()}
    figure = _figure(3.4 * len(drawn), 3.0)
    height = float(b.max() - b.min()) or 1.0
    for axes, (name, values) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True):
        axes.plot(a, b, "o", markersize=4)
        axes.plot(line, values)
        axes.set(xlabel="x", ylabel="y", ylim=(float(b.min()) - 0.3 * height, float(b.max()) + 0.3 * height))
        axes.set_title(name, parse_math=False)
    return figure


def image_grid(rows: Mapping[str, Any]) -> Any:
    """Rows of images [N,H,W] or [N,H,W,1 or 3] in [0, 1], for example original, noisy and reconstructed."""
    stacks = {name: np.asarray(x, np.float64) for name, x in rows.items()}
    for name, x in stacks.items():
        if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)) or 0 in x.shape:
            raise ValueError(f"image_grid: {name}: expected images [N,H,W] or [N,H,W,1 or 3], got {list(x.shape)}")
    if len({len(x) for x in stacks.values()}) != 1:
        raise ValueError("image_grid: expected rows of equally many images")
    count = len(next(iter(stacks.values())))
    figure = _figure(0.9 * count + 1.0, 1.0 * len(stacks))
    panels = figure.subplots(len(stacks), count, squeeze=False)
    for line, (name, x) in zip(panels, stacks.items(), strict=True):
        for axes, image in zip(line, x, strict=True):
            axes.imshow(np.clip(np.nan_to_num(image), 0, 1), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", parse_math=False)
    return figure


def hidden_activities(activities: Any, labels: Any = None) -> Any:
    """Activities [N,U] of a layer as a map, one row per unit and one column per sample, sorted by labels [N]."""
    a = np.asarray(activities, np.float64)
    if a.ndim != 2 or 0 in a.shape:
        raise ValueError(f"hidden_activities: expected activities [N,U], got shape {list(a.shape)}")
    figure = _figure(6.0, 3.6)
    axes = figure.subplots()
    if labels is not None:
        y = _curve("hidden_activities", "labels", labels, len(a))
        order = np.argsort(y, kind="stable")
        a = a[order]
        for edge in np.flatnonzero(np.diff(y[order])):
            axes.axvline(edge + 0.5, color="black", linewidth=0.6)
    limit = float(np.abs(np.nan_to_num(a)).max()) or 1.0
    drawn = axes.imshow(a.T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    figure.colorbar(drawn, ax=axes, label="activity")
    axes.set(xlabel="sample" if labels is None else "sample, by class", ylabel="unit")
    return figure
