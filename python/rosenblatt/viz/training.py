"""Plots of what happens inside a run: norms and histograms per layer, the learning-rate range test.

Like all plots they return a matplotlib Figure (extra `demo`), without pyplot or a display.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.extras import require
from .plots import _figure

if TYPE_CHECKING:
    from ..train import HistogramRecord, RateRange

__all__ = ["histogram_map", "layer_norms", "rate_range_curve"]


def rate_range_curve(result: RateRange, suggestion: float | None = None) -> Any:
    """The smoothed loss over the learning rate (logarithmic), with the suggested rate marked (Smith 2017).

    result : of `train.learning_rate_range`; suggestion : default `result.suggestion()`, where the loss falls fastest.
    Raises ValueError for fewer than 3 points, or rates that are not above 0.
    """
    rates, losses = np.asarray(result.rates, np.float64), np.asarray(result.losses, np.float64)
    if rates.shape != losses.shape or rates.ndim != 1 or len(rates) < 3 or not (rates > 0).all():
        raise ValueError(
            f"rate_range_curve: expected at least 3 rates above 0 with as many losses, got shapes {rates.shape} and "
            f"{losses.shape}"
        )
    chosen = result.suggestion() if suggestion is None else float(suggestion)
    figure = _figure(5.6, 3.4)
    axes = figure.subplots()
    axes.plot(rates, losses)
    axes.axvline(chosen, color="grey", linestyle=":", label=f"suggestion {chosen:.2g}")
    axes.plot(chosen, np.interp(math.log(chosen), np.log(rates), losses), "o", color="red")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss, smoothed")
    # the last points are the explosion that ended the test: they must not flatten the rest
    typical = losses[: max(int(0.9 * len(losses)), 3)]
    low, high = float(typical.min()), float(typical.max())
    margin = 0.1 * (high - low) or 0.1
    axes.set_ylim(min(low, float(losses.min())) - margin, high + 3 * margin)
    axes.legend()
    return figure


def _groups(where: str, records: Any, kinds: Sequence[str]) -> dict[str, dict[str, list[HistogramRecord]]]:
    """kind -> name -> records by epoch; `records` may be a `Histograms`. Raises ValueError when there are none."""
    found: dict[str, dict[str, list[HistogramRecord]]] = {}
    given: Iterable[HistogramRecord] = getattr(records, "records", records)
    for r in sorted(given, key=lambda r: r.epoch):
        if r.kind in kinds:
            found.setdefault(r.kind, {}).setdefault(r.name, []).append(r)
    if not found:
        raise ValueError(f"{where}: there are no records of {' or '.join(kinds)}")
    return {k: found[k] for k in kinds if k in found}


def _without_biases(arrays: dict[str, list[HistogramRecord]]) -> dict[str, list[HistogramRecord]]:
    """What is not a bias, if there is anything else."""
    return {name: own for name, own in arrays.items() if not name.endswith("bias")} or arrays


def _colours(count: int) -> Any:
    """Dark (near the input) to light (near the output)."""
    return require("matplotlib", "demo", "plotting").colormaps["viridis"](np.linspace(0.0, 0.9, count))


def layer_norms(records: Any, kinds: Sequence[str] = ("gradients", "activations", "weights")) -> Any:
    """One panel per kind: the root mean square of every layer over the epochs, on a logarithmic axis.

    Layers are coloured from dark (near the input) to light (near the output): gradients that vanish show dark lines
    far below the light ones, exploding ones the reverse. Biases are left out, zeros are gaps.

    records : `train.Histograms` or its records. Raises ValueError when there are none of these kinds.
    """
    groups = _groups("layer_norms", records, kinds)
    figure = _figure(4.6 * len(groups), 3.6)
    for axes, (kind, arrays) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        shown = _without_biases(arrays)
        for (name, own), colour in zip(shown.items(), _colours(len(shown)), strict=True):
            y = [r.rms or math.nan for r in own]
            (line,) = axes.plot([r.epoch for r in own], y, ".-", color=colour)
            line.set_label(name)
        axes.set(yscale="log", xlabel="epoch", ylabel="root mean square")
        axes.set_title(kind, parse_math=False)
        if len(shown) <= 12:
            axes.legend(fontsize=7)
    return figure


def histogram_map(records: Any, kind: str = "gradients", most: int = 12) -> Any:
    """One panel per layer: the histograms of its values, epoch after epoch, as columns from white to dark.

    Every column is scaled to its own highest bin; layers stand in order, the first `most` of them, without biases.

    records : `train.Histograms` or its records. Raises ValueError when there are none of this kind, or most < 1.
    """
    if most < 1:
        raise ValueError(f"histogram_map: most must be at least 1, got {most!r}")
    arrays = list(_without_biases(_groups("histogram_map", records, (kind,))[kind]).items())[:most]
    columns = min(len(arrays), 4)
    rows = math.ceil(len(arrays) / columns)
    figure = _figure(3.0 * columns, 2.4 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, own) in zip(panels, arrays, strict=False):
        epochs = np.array([r.epoch for r in own], np.float64)
        # a column reaches half-way to its neighbours
        limits = np.concatenate([epochs[:1] - 0.5, (epochs[1:] + epochs[:-1]) / 2, epochs[-1:] + 0.5])
        for i, r in enumerate(own):
            edges, peak = r.edges, int(r.counts.max())
            if not edges[0] < edges[-1]:  # a constant
                width = 1e-3 * (abs(edges[0]) or 1.0)
                edges = np.linspace(edges[0] - width, edges[0] + width, len(edges))
            shares = (r.counts / max(peak, 1))[:, None]  # [bins,1]
            axes.pcolormesh(limits[i : i + 2], edges, shares, cmap="Blues", vmin=0.0, vmax=1.0)
        axes.set_title(name, fontsize=9, parse_math=False)
        axes.set_xlim(limits[0], limits[-1])
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in panels[len(arrays) :]:
        axes.remove()
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel(kind, fontsize=9)
    return figure
