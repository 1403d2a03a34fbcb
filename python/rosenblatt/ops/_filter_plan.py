"""How a filter is computed: which way is cheapest for a shape, in which tiles, with which separable terms.

Costs are nanoseconds of one thread for float32, fitted to docs/convolution.md; they depend on shapes alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._common import Array

__all__ = ["Plan", "choose", "separable_terms", "tile_costs"]

DIRECT, DIRECT_BASE = 0.0205, 0.45  # per multiply-add; per result
TERM, TERM_BASE = 0.039, 0.45  # the same for a separable term
POINT = 1.85  # per point of a transformed tile
SMALLEST_TILE = 64

Plan = tuple[str, int, int]  # algorithm, tile height and width (0 but for "fft")


@functools.lru_cache(maxsize=1024)
def _tile_lengths(kernel: int, results: int) -> tuple[int, ...]:
    """Tile lengths worth trying along an axis: fast ones, up to the first that holds all results."""
    if results + kernel - 1 == 1:
        return (1,)
    good = sorted({odd << k for k in range(1, 26) for odd in (1, 3, 5, 9, 15)})
    out = []
    for n in good:
        if n < max(kernel + kernel // 4, SMALLEST_TILE) or n % 4:
            continue
        out.append(n)
        if n >= results + kernel - 1:
            break
    return tuple(out)


def tile_costs(p: int, q: int, r: int, s: int) -> Iterable[tuple[float, int, int]]:
    """(nanoseconds, tile height, tile width) of a result [p,q] of a kernel [r,s] by transforms."""
    for th in _tile_lengths(r, p):
        rows = -(-p // (th - r + 1))
        for tw in _tile_lengths(s, q):
            tile_w = max(tw, SMALLEST_TILE)
            points = th * tile_w
            each = points * POINT * (1.0 if points <= 1 << 17 else 1.3)  # beyond, tiles leave the caches
            each *= 1.0 if tile_w <= 1024 else 1.4  # rows of wider tiles go one by one
            yield (rows * -(-q // (tile_w - s + 1)) + 0.6) * each, th, tile_w


@functools.lru_cache(maxsize=1024)
def choose(p: int, q: int, r: int, s: int, rank: int) -> Plan:
    """The cheapest way to a result [p,q] of a kernel [r,s]; rank: its separable terms, 0 for too many."""
    results = p * q
    ways: list[tuple[float, Plan]] = [(results * (DIRECT_BASE + DIRECT * r * s), ("direct", 0, 0))]
    if rank and r > 1 and s > 1:
        ways.append((results * (TERM_BASE + TERM * rank * (r + s)), ("separable", 0, 0)))
    if r * s > 25:
        cost, th, tw = min(tile_costs(p, q, r, s))
        ways.append((cost, ("fft", th, tw)))
    return min(ways)[1]


def best_tile(p: int, q: int, r: int, s: int) -> tuple[int, int]:
    """The cheapest tile for a result [p,q] of a kernel [r,s]."""
    _, th, tw = min(tile_costs(p, q, r, s))
    return th, tw


def separable_terms(w: Array, most: int, eps: float) -> tuple[Array, Array] | None:
    """u [K,R], v [K,S] with w = sum_k u[k]^T v[k] up to 2 eps max|w|, K <= most; None if that is not enough.

    Elimination with complete pivoting finds the terms of a kernel of exactly low rank as a singular value decomposition
    would, at a fraction of its cost; for a kernel of full rank it gives up after `most` steps.
    """
    rest = w.astype(np.float64)
    limit = 2 * eps * float(np.abs(rest).max(initial=0.0))
    us: list[Any] = []
    vs: list[Any] = []
    for _ in range(most + 1):
        flat = int(np.abs(rest).argmax())
        i, j = divmod(flat, rest.shape[1])
        pivot = rest[i, j]
        if not np.isfinite(pivot):
            return None
        if abs(pivot) <= limit:
            break
        if len(us) == most:
            return None
        scale = np.sqrt(abs(pivot))
        u, v = rest[:, j] / pivot * scale, rest[i] / scale
        us.append(u)
        vs.append(v)
        rest = rest - np.outer(u, v)
    if not us:  # a kernel of zeros
        us, vs = [np.zeros(w.shape[0])], [np.zeros(w.shape[1])]
    return np.array(us), np.array(vs)
