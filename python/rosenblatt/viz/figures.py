"""Charts and pictures for pages, drawn by matplotlib: charts as inline SVG, arrays as PNG in `data:` addresses.

Promises: matplotlib is imported by the functions, never with this module; nothing touches pyplot, a display or the
caller's matplotlib settings; charts take their colours from the page (CSS variables), so that they suit light and
dark; the bytes depend only on the arguments and the version of matplotlib.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from ..io.extras import require

__all__ = ["Series", "figure_uri", "image_uri", "limits", "line_chart", "signed_uri"]

Array = npt.NDArray[Any]
PURPOSE = "the report of a run"
# matplotlib wants colours, the page has variables: each variable is drawn in a colour of its own, replaced afterwards
_STAND_INS = {"--dim": "#0a0b01", "--rule": "#0a0b02", "--a": "#0a0b03", "--b": "#0a0b04", "--c": "#0a0b05"}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Series:
    """One line: its label, one value per position (not finite: a gap), and the CSS colour variable it is drawn in."""

    label: str
    values: Sequence[float]
    colour: str


def _label(value: float, percent: bool) -> str:
    return f"{100 * value:.4g}%" if percent else f"{value:.4g}"


def limits(values: Sequence[float], percent: bool = False) -> tuple[float, float]:
    """The value axis for `values` (finite, at least one): a rare spike far above the rest is left outside."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if not percent and low >= 0:
        typical = ordered[int(0.98 * (len(ordered) - 1))]
        low, high = 0.0, min(high, 3 * typical) if typical > 0 else high
    margin = 0.04 * (high - low) or 0.5 * (abs(high) or 1.0)
    low, high = low - (0 if low == 0 else margin), high + margin
    return (max(low, 0.0), min(high, 1.0 + 0.02 * (1.0 - low))) if percent else (low, high)


def line_chart(
    series: Sequence[Series], positions: Sequence[float], *, title: str, x_label: str, percent: bool = False
) -> str:
    """A <figure> of several lines over shared positions. An empty string when nothing is finite.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    shown = [s for s in series if any(math.isfinite(v) for v in s.values)]
    finite = [float(v) for s in shown for v in s.values if math.isfinite(v)]
    if not finite or not len(positions):
        return ""
    figures = require("matplotlib.figure", "demo", PURPOSE)
    ticker = require("matplotlib.ticker", "demo", PURPOSE)
    with _settings(title):
        figure = figures.Figure(figsize=(5.6, 3.0))
        axes = figure.add_axes((0.1, 0.14, 0.88, 0.82))
        low, high = limits(finite, percent)
        axes.set_ylim(low, high)
        first, last = positions[0], positions[-1]
        axes.set_xlim(first, last if last > first else first + 1)
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_locator(ticker.MaxNLocator(7, integer=True, min_n_ticks=1))
        if percent:
            axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
        axes.set_xlabel(x_label)
        for s in shown:
            y = np.full(len(positions), np.nan)  # [positions], a gap where there is no finite value
            values = np.asarray(s.values, np.float64)[: len(y)]
            y[: len(values)] = np.where(np.isfinite(values), values, np.nan)
            axes.plot(positions, y, color=_STAND_INS[s.colour], linewidth=1.6)
            known = np.flatnonzero(~np.isnan(y))
            if len(known):
                end = int(known[-1])
                y_end = min(float(y[end]), high)
                axes.plot(positions[end], y_end, "o", color=_STAND_INS[s.colour], markersize=4.5, clip_on=False)
        out = io.BytesIO()
        figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    legend = "".join(
        f'<span><i style="background:var({s.colour})"></i>{escape(s.label)} '
        f"<b>{_label(next(v for v in reversed(s.values) if math.isfinite(v)), percent)}</b></span>"
        for s in shown
    )
    caption = f'<figcaption>{escape(title)}<span class="legend">{legend}</span></figcaption>'
    return f'<figure class="chart">{caption}{_inline(out.getvalue().decode("utf-8"), title)}</figure>'


def _settings(salt: str) -> Any:
    """matplotlib's own defaults, whatever the user's are, with ours on top; to be used in a `with` statement."""
    style = require("matplotlib.style", "demo", PURPOSE)
    dim, rule = _STAND_INS["--dim"], _STAND_INS["--rule"]
    return style.context(
        ["default", {
            "svg.fonttype": "none",
            "svg.hashsalt": salt,
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 9,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "grid.color": rule,
            "grid.linewidth": 0.8,
            "axes.labelcolor": dim,
            "xtick.color": dim,
            "ytick.color": dim,
            "xtick.major.size": 0,
            "ytick.major.size": 0,
            **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
        }]
    )


def _inline(svg: str, title: str) -> str:
    """A stand-alone SVG file as an element of a page, in the page's colours and fonts."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", svg)  # HTML knows the namespaces
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s+id="(?:figure|axes|patch|line2d|text|[xy]tick|matplotlib\.axis)_\d+"', "", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*|font-family: [^;\"]*; ?", lambda m: _font(m[0], m[1]), svg)
    for variable, colour in _STAND_INS.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _font(text: str, size: str | None) -> str:
    """A font declaration of the chart without its family: that is the page's."""
    return f"font-size: {size}" if size else ""


def _uri(values: Array, **options: Any) -> str:
    image = require("matplotlib.image", "demo", PURPOSE)
    out = io.BytesIO()
    image.imsave(out, values, format="png", metadata={"Software": None}, **options)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def figure_uri(figure: Any) -> str:
    """A matplotlib Figure, for example of `rosenblatt.viz`, as a `data:` address: a PNG on white."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def image_uri(values: Array) -> str:
    """An image [H,W,C] in [0, 1] as a `data:` address; values outside are clipped, NaN is black.

    C = 3 is RGB; any other number of channels shows their mean in grey. Raises MissingExtraError without matplotlib.
    """
    x = np.clip(np.nan_to_num(np.asarray(values, np.float64)), 0.0, 1.0)
    return _uri(x) if x.shape[2] == 3 else _uri(x.mean(axis=2), cmap="gray", vmin=0.0, vmax=1.0)


def signed_uri(values: Array, limit: float) -> str:
    """Values [H,W] as a `data:` address: blue at -limit, white at 0, red at +limit; NaN counts as 0.

    Raises MissingExtraError without matplotlib.
    """
    limit = float(limit) or 1.0
    return _uri(np.nan_to_num(np.asarray(values, np.float64)), cmap="RdBu_r", vmin=-limit, vmax=limit)
