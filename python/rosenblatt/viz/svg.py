"""Line charts as inline SVG that take their colours from the page (CSS variables), so that they suit any theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Series", "line_chart", "ticks"]

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 14, 40


@dataclass(frozen=True)
class Series:
    """One line: its label, one value per position (not finite: a gap), and the CSS colour variable it is drawn in."""

    label: str
    values: Sequence[float]
    colour: str


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round positions (1, 2 or 5 times a power of ten apart) within [low, high], about `count` of them."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _label(value: float, percent: bool) -> str:
    return f"{100 * value:.4g}%" if percent else f"{value:.4g}"


def line_chart(
    series: Sequence[Series], positions: Sequence[float], *, title: str, x_label: str, percent: bool = False
) -> str:
    """A chart of several lines over shared positions; all text is escaped. An empty string when nothing is finite."""
    shown = [s for s in series if any(math.isfinite(v) for v in s.values)]
    finite = sorted(v for s in shown for v in s.values if math.isfinite(v))
    if not finite or not positions:
        return ""
    low, high = finite[0], finite[-1]
    if not percent and low >= 0:
        # leave out a rare spike far above the rest, so that the rest can be read
        typical = finite[int(0.98 * (len(finite) - 1))]
        low, high = 0.0, min(high, 3 * typical) if typical > 0 else high
    margin = 0.04 * (high - low) or 0.5 * (abs(high) or 1.0)
    low, high = low - (0 if low == 0 else margin), high + margin
    if percent:
        low, high = max(low, 0.0), min(high, 1.0 + 0.02 * (1.0 - low))
    x0, x1 = positions[0], positions[-1] if positions[-1] > positions[0] else positions[0] + 1

    def px(x: float) -> float:
        return _LEFT + (x - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT)

    def py(y: float) -> float:
        y = min(max(y, low), high)
        return _TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    out = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for y in ticks(low, high):
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{py(y):.1f}" y2="{py(y):.1f}"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{py(y) + 4:.1f}" text-anchor="end">{_label(y, percent)}</text>')
    for x in ticks(x0, x1, 6):
        if x == int(x) and len(positions) > 1:
            out.append(f'<text x="{px(x):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{int(x)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    out.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    for s in shown:
        pen, path = "M", []
        for x, y in zip(positions, s.values, strict=False):
            if math.isfinite(y):
                path.append(f"{pen}{px(x):.1f} {py(y):.1f}")
                pen = "L"
            else:
                pen = "M"
        out.append(f'<path class="line" style="stroke:var({s.colour})" d="{"".join(path)}"/>')
        last = max(i for i, v in enumerate(s.values) if math.isfinite(v))
        if last < len(positions):
            x, y = px(positions[last]), py(s.values[last])
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" style="fill:var({s.colour})"/>')
    out.append("</svg>")
    legend = "".join(
        f'<span><i style="background:var({s.colour})"></i>{escape(s.label)} '
        f"<b>{_label(next(v for v in reversed(s.values) if math.isfinite(v)), percent)}</b></span>"
        for s in shown
    )
    caption = f'<figcaption>{escape(title)}<span class="legend">{legend}</span></figcaption>'
    return f'<figure class="chart">{caption}{"".join(out)}</figure>'
