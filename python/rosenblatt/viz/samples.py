"""What an augmentation does to images, as a picture by matplotlib (extra `demo`), without a display."""

from __future__ import annotations

from typing import Any

import numpy as np

from .plots import _figure

__all__ = ["augmentation_grid", "latent_plane"]


def augmentation_grid(images: Any, transform: Any, samples: int = 6, seed: int = 0) -> Any:
    """A matplotlib Figure with one row per image: the original, then `samples` results of the transform.

    images : [N,H,W,1 or 3] in [0, 1] or uint8; transform : as for `fit(augment=...)`; one that mixes images (MixUp)
    mixes those given. Sample s is drawn from a generator seeded with (seed, s). Raises ValueError for other shapes.
    """
    x = np.asarray(images)
    if x.ndim != 4 or x.shape[3] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"augmentation_grid: expected images [N,H,W,1 or 3], got shape {list(x.shape)}")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(f"augmentation_grid: samples must be an integer of at least 1, got {samples!r}")
    columns = [x]
    for s in range(samples):
        generator = np.random.default_rng([seed, s])
        if getattr(transform, "needs_labels", False):
            y = transform(x, np.eye(len(x), dtype=np.float32), generator)[0]
        else:
            y = transform(x, generator)
        y = np.asarray(y)
        if y.ndim != 4 or len(y) != len(x) or y.shape[3] not in (1, 3):
            raise ValueError(f"augmentation_grid: expected images [{len(x)},H,W,1 or 3] back, got {list(y.shape)}")
        columns.append(y)
    figure = _figure(0.9 * len(columns), 0.9 * len(x) + 0.3)
    panels = figure.subplots(len(x), len(columns), squeeze=False)
    for j, column in enumerate(columns):
        scale = 255 if column.dtype == np.uint8 else 1
        shown = np.clip(np.nan_to_num(column.astype(np.float64) / scale), 0, 1)  # [N,H,W,C]
        panels[0, j].set_title("original" if j == 0 else str(j), fontsize=8)
        for i, image in enumerate(shown):
            panels[i, j].imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            panels[i, j].set(xticks=[], yticks=[])
    return figure


def latent_plane(points: Any, labels: Any, classes: Any) -> Any:
    """A matplotlib Figure of codes [N,2], coloured by labels [N] in [0, K) with the K names `classes` as legend.

    Raises ValueError for other shapes and labels out of range.
    """
    z, y, names = np.asarray(points, np.float64), np.asarray(labels), [str(c) for c in classes]
    if z.ndim != 2 or z.shape[1] != 2 or y.shape != (len(z),):
        raise ValueError(f"latent_plane: expected points [N,2] and labels [N], got {list(z.shape)} and {list(y.shape)}")
    if len(y) and not 0 <= y.min() <= y.max() < len(names):
        raise ValueError(f"latent_plane: expected labels in 0..{len(names) - 1}, got {y.min()} to {y.max()}")
    figure = _figure(6.4, 4.8)
    axes = figure.subplots()
    from matplotlib import colormaps  # after _figure, which says what to install

    colours = colormaps["tab10" if len(names) <= 10 else "turbo"]
    for k, name in enumerate(names):
        colour = colours(k if len(names) <= 10 else k / (len(names) - 1))
        axes.scatter(*z[y == k].T, s=8, color=colour, label=name)
    if len(names) <= 20:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure
