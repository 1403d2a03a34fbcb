"""Line search to the strong Wolfe conditions, by bracketing and cubic interpolation.

J. Nocedal, S. J. Wright, Numerical Optimization, 2nd edition (2006), algorithms 3.5 and 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..tensor import Array

__all__ = ["Point", "strong_wolfe"]


@dataclass(frozen=True)
class Point:
    """The function along the line at step t: value, gradient [n], slope = gradient . direction."""

    t: float
    f: float
    g: Array
    slope: float

    @property
    def finite(self) -> bool:
        return math.isfinite(self.f) and math.isfinite(self.slope)


def cubic_minimum(a: Point, b: Point) -> float:
    """Where the cubic through both values and slopes is least; NaN when it has no minimum."""
    width = b.t - a.t
    if not width or not (a.finite and b.finite):
        return math.nan
    d1 = a.slope + b.slope - 3.0 * (b.f - a.f) / width
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0.0:
        return math.nan
    d2 = math.copysign(math.sqrt(square), width)
    bottom = b.slope - a.slope + 2.0 * d2
    return b.t - width * (b.slope + d2 - d1) / bottom if bottom else math.nan


def _inside(t: float, low: float, high: float) -> float:
    """t, or the middle of [low, high] for NaN, kept inside the interval."""
    return min(max(t, low), high) if math.isfinite(t) else 0.5 * (low + high)


def strong_wolfe(
    at: Callable[[float], Point], start: Point, t: float, c1: float = 1e-4, c2: float = 0.9, max_evaluations: int = 25,
    least: float = 1e-12,
) -> tuple[Point, int]:
    """A step with f <= f(0) + c1*t*slope(0) and |slope| <= c2*|slope(0)|.

    at : evaluates the function; start : the point at 0, whose slope is negative; t : first trial
    least : intervals shorter than this are not searched on

    Returns (point, evaluations). The point with the lowest value that descends enough when no point found satisfies
    both; `start` when none does. Values that are not finite count as too far.
    """

    def descends(p: Point) -> bool:
        return p.finite and p.f <= start.f + c1 * p.t * start.slope

    def flat(p: Point) -> bool:
        return abs(p.slope) <= -c2 * start.slope

    used = 0
    low, high = start, None
    while used < max_evaluations:  # bracket: walk outwards while the function falls
        here = at(t)
        used += 1
        if not descends(here) or (low is not start and here.f >= low.f):
            high = here
            break
        if flat(here):
            return here, used
        if here.slope >= 0.0:
            low, high = here, low
            break
        reach = here.t - low.t
        ahead = cubic_minimum(low, here)
        low, t = here, _inside(ahead if ahead > here.t else math.nan, here.t + 0.1 * reach, here.t + 9.0 * reach)
    # zoom: `low` descends and is the lowest so far; a good step lies between it and `high`
    while high is not None and used < max_evaluations and abs(high.t - low.t) > least:
        left, right = min(low.t, high.t), max(low.t, high.t)
        margin = 0.1 * (right - left)
        here = at(_inside(cubic_minimum(low, high), left + margin, right - margin))
        used += 1
        if not descends(here) or here.f >= low.f:
            high = here
            continue
        if flat(here):
            return here, used
        if here.slope * (high.t - low.t) >= 0.0:
            high = low
        low = here
    return low, used
