"""`KernelSpec`s of functions with parameters, order, running sums, rows by index (see kerneltable.py)."""

from __future__ import annotations

import numpy as np
import scipy.special as special
from kerneltable import (
    BROADCASTS,
    EDGE,
    SHAPES,
    SPECIAL,
    Case,
    Out,
    _add,
    _normal,
    _reduction,
    _some_equal,
    _unary,
    kernel,
)
from kerneltable_optim import KERNELS

__all__ = ["KERNELS"]

_add("not_equal", np.not_equal, draw=_some_equal, ulps=0)


def _where(rng):
    out = [
        Case(f"{a},{b}", (_some_equal(rng, b), rng.standard_normal(a), rng.standard_normal(b),
                          Out(np.broadcast_shapes(a, b))))
        for a, b in BROADCASTS
    ]  # fmt: skip
    out += [Case(str(s), (_some_equal(rng, s), _normal(rng, s), _normal(rng, s), Out(s))) for s in SHAPES]
    out += [Case(f"one {n}", (_some_equal(rng, (n,)), _normal(rng, ()), _normal(rng, (n,)), Out((n,)))) for n in EDGE]
    c, x = np.meshgrid(SPECIAL, SPECIAL)
    return [*out, Case("special", (c.copy(), x.copy(), -x, Out(c.shape)))]


kernel(
    "where",
    _where,
    lambda rng: [
        Case("big", (_some_equal(rng, (301, 1001)), _normal(rng, (301, 1)), _normal(rng, (1001,)), Out((301, 1001))))
    ],
    lambda c, a, b, y: np.where(c != 0, a, b),
    0,
)

_unary("log1p", np.log1p, 2)
_unary("expm1", np.expm1, 3)
_unary("erf", special.erf, 3)
_unary("floor", np.floor, 0)
_unary("ceil", np.ceil, 0)
_unary("round", np.rint, 0, draw=lambda rng, s: np.asarray(rng.integers(-9, 9, s) / 2.0))

# --- functions with parameters: (fn, p), f, f'

WIDE = np.concatenate([np.linspace(-30, 30, 601), [1000.0, -1000.0, np.inf, -np.inf, np.nan]])
GATE = 2 * np.sqrt(2 / np.pi)


def _gate(x, sign=1):
    return special.expit(sign * GATE * (x + 0.044715 * x**3))


def _silu_slope(x):
    s = special.expit(x)
    return s + np.where(np.isinf(x), 0, x) * s * special.expit(-x)


def _gelu_tanh_slope(x):
    s, y = _gate(x), np.clip(x, -1e3, 1e3)
    return s + y * s * _gate(x, -1) * GATE * (1 + 3 * 0.044715 * y * y)


def _times(x, gate):
    return np.where(np.isneginf(x), 0.0, x * gate)


FUNCTIONS = [
    (0, 0.01, lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1.0, 0.01)),
    (1, 1.5, lambda x: np.where(x > 0, x, 1.5 * np.expm1(x)), lambda x: np.where(x > 0, 1.0, 1.5 * np.exp(x))),
    (2, 1.0, lambda x: np.logaddexp(0, x), special.expit),
    (2, 3.5, lambda x: np.logaddexp(0, 3.5 * x) / 3.5, lambda x: special.expit(3.5 * x)),
    (3, 0.0, lambda x: _times(x, special.ndtr(x)),
     lambda x: special.ndtr(x) + np.clip(x, -99, 99) * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)),
    (4, 0.0, lambda x: _times(x, _gate(x)), _gelu_tanh_slope),
    (5, 0.0, lambda x: _times(x, special.expit(x)), _silu_slope),
    (6, 0.0, lambda x: np.where(np.isinf(x), np.sign(x), x / np.hypot(1, x)), lambda x: (1 + x * x) ** -1.5),
]  # fmt: skip


def _quietly(f, x):
    with np.errstate(all="ignore"):
        return f(x)


def _inputs(rng):
    shapes = [*SHAPES, *((n,) for n in EDGE)]
    return [rng.standard_normal(s) * 3 for s in shapes] + [WIDE]


def _activate(x, y, fn, p):
    f = next(f for k, q, f, _ in FUNCTIONS if (k, q) == (fn, p))
    want = _quietly(f, np.asarray(x, np.float64))
    # exp(-u) of a rounded u is off by u roundings; where a function goes to 0 on its tail, that counts
    bend = np.abs(want) * (1 + np.minimum(x * x, 1e3)) + 1e-30 if fn in (2, 3, 4, 5) else np.abs(want)
    return want, np.nan_to_num(bend, nan=1.0, posinf=1.0)


def _activate_dx(x, dy, dx, fn, p):
    d = next(d for k, q, _, d in FUNCTIONS if (k, q) == (fn, p))
    want = _quietly(d, np.asarray(x, np.float64))
    with np.errstate(all="ignore"):
        bound = np.abs(dy) * (np.abs(want) * (4 + np.abs(p * x)) + (fn >= 3) * 2)
        return dy * want, np.nan_to_num(bound, nan=1.0, posinf=1.0)


kernel(
    "activate",
    lambda rng: [Case(f"{f[:2]} {x.shape}", (x, Out(x.shape), *f[:2])) for f in FUNCTIONS for x in _inputs(rng)],
    lambda rng: [Case(f"big {f[:2]}", (_normal(rng, (301, 401)), Out((301, 401)), *f[:2])) for f in FUNCTIONS],
    _activate,
    4,
)
kernel(
    "activate_dx",
    lambda rng: [
        Case(f"{f[:2]} {x.shape}", (x, rng.standard_normal(x.shape), Out(x.shape), *f[:2]))
        for f in FUNCTIONS
        for x in _inputs(rng)
    ],
    lambda rng: [
        Case(f"big {f[:2]}", (_normal(rng, (301, 401)), _normal(rng, (301, 401)), Out((301, 401)), *f[:2]))
        for f in FUNCTIONS
    ],
    _activate_dx,
    4,
)
BOUNDS = [(-0.5, 0.75), (0.0, np.inf), (-np.inf, np.inf), (1.0, 1.0)]
kernel(
    "clip",
    lambda rng: [Case(f"{x.shape} {b}", (x, Out(x.shape), *b)) for b in BOUNDS for x in _inputs(rng)],
    lambda rng: [Case("big", (_normal(rng, (301, 1001)), Out((301, 1001)), -0.5, 0.75))],
    lambda x, y, low, high: np.clip(x, low, high),
    0,
)
kernel(
    "clip_dx",
    lambda rng: [
        Case(f"{x.shape} {b}", (x, rng.standard_normal(x.shape), Out(x.shape), *b))
        for b in BOUNDS
        for x in _inputs(rng)
    ],
    lambda rng: [Case("big", (_normal(rng, (301, 1001)), _normal(rng, (301, 1001)), Out((301, 1001)), -0.5, 0.75))],
    lambda x, dy, dx, low, high: np.where((x > low) & (x < high), dy, 0.0),
    0,
)

# --- along the middle axis

_reduction("argmin", lambda x: x.argmin(1))
COLUMNS = [(1, 1, 1), (3, 7, 5), (2, 0, 3), (0, 4, 2), (5, 1, 3), (2, 49, 1), (1, 2500, 1), (2, 300, 70), (3, 64, 2)]


def _cumulate(rng):
    out = []
    for s in COLUMNS:
        for product in (0, 1):
            x = rng.choice([-1.0, 1.0], s) * rng.uniform(0.98, 1.02, s) if product else rng.standard_normal(s)
            out += [Case(f"{s} {product} {reverse}", (x, Out(s), product, reverse)) for reverse in (0, 1)]
    return out


def _running(x, y, product, reverse):
    z = x[:, ::-1] if reverse else x
    want, size = (np.cumprod(z, 1), None) if product else (np.cumsum(z, 1), np.cumsum(np.abs(z), 1))
    n = np.arange(1, x.shape[1] + 1)[None, :, None]
    bound = np.abs(want) * (2 + n) if product else size * (1 + np.sqrt(n))
    return (want[:, ::-1], bound[:, ::-1]) if reverse else (want, bound)


kernel(
    "cumulate",
    _cumulate,
    lambda rng: [
        Case(f"big {s}", (rng.standard_normal(s), Out(s), 0, r)) for r, s in enumerate([(99, 4099, 1), (3, 500, 299)])
    ],
    _running,
    2,
)


def _values(rng, s):
    x = rng.integers(-20, 20, s) / 4.0
    return np.where(rng.uniform(size=s) < 0.05, np.nan, x)


def _sort_case(rng, s, k, descending):
    a, _, b = s
    return Case(f"{s} k={k} {descending}", (_values(rng, s), Out((a, k, b)), Out((a, k, b)), descending))


def _sorted(x, y, idx, descending):
    key = np.where(np.isnan(x), np.inf, -x if descending else x)
    order = np.lexsort((key, np.isnan(x)), axis=1)[:, : y.shape[1]]
    return [np.take_along_axis(x, order, 1), order.astype(np.int64)]


kernel(
    "sort",
    lambda rng: [
        _sort_case(rng, s, k, d)
        for s in [*COLUMNS, (2, 48, 3), (2, 700, 2)]
        for k in sorted({0, min(1, s[1]), s[1] // 9, s[1] // 2, s[1]})
        for d in (0, 1)
    ],
    lambda rng: [_sort_case(rng, (37, 1999, 1), 1999, 0), _sort_case(rng, (3, 501, 40), 7, 1)],
    _sorted,
    0,
)

ROWS = [(1, 1, 1), (3, 7, 5), (1, 10, 1), (2, 33, 17), (0, 4, 2), (2, 3, 0), (1, 5, 300)]


def _added(shape, dy, index):
    want, size = np.zeros(shape), np.zeros(shape)
    for k, r in enumerate(index):
        want[:, r] += dy[:, k]
        size[:, r] += np.abs(dy[:, k])
    return want, size


def _scattered(shape, dy, index):
    want, size = np.zeros(shape), np.zeros(shape)
    for at in np.ndindex(dy.shape):
        to = (at[0], index[at], at[2])
        want[to] += dy[at]
        size[to] += abs(dy[at])
    return want, size


def _take(rng, s, k):
    return Case(f"{s} {k}", (rng.standard_normal(s), rng.integers(0, s[1], k), Out((s[0], k, s[2]))))


def _take_dx(rng, s, k):
    return Case(f"{s} {k}", (rng.standard_normal((s[0], k, s[2])), rng.integers(0, s[1], k), Out(s)))


def _gather(rng, s, k):
    at = (s[0], k, s[2])
    return Case(f"{s} {k}", (rng.standard_normal(s), rng.integers(0, s[1], at), Out(at)))


def _gather_dx(rng, s, k):
    at = (s[0], k, s[2])
    return Case(f"{s} {k}", (rng.standard_normal(at), rng.integers(0, s[1], at), Out(s)))


def _indexed(name, make, reference):
    kernel(
        name,
        lambda rng: [make(rng, s, k) for s in ROWS for k in (0, 1, 19)],
        lambda rng: [make(rng, (2, 500, 101), 997), make(rng, (1, 50, 3), 9973)],
        reference,
        4,
    )


_indexed("take", _take, lambda x, idx, y: x[:, idx])
_indexed("take_dx", _take_dx, lambda dy, idx, dx: _added(dx.shape, dy, idx))
_indexed("gather", _gather, lambda x, idx, y: np.take_along_axis(x, idx, 1))
_indexed("gather_dx", _gather_dx, lambda dy, idx, dx: _scattered(dx.shape, dy, idx))


def _bias_act(rng, s, act):
    y = [np.asarray, lambda v: np.maximum(v, 0), np.tanh, special.expit][act](rng.standard_normal(s))
    return Case(f"{s} act={act}", (y, rng.standard_normal(s), Out(s), Out(s[1:]), act))


def _bias_act_dx(y, dy, dx, db, act):
    d = [lambda v: np.ones_like(v), lambda v: (v > 0) * 1.0, lambda v: 1 - v * v, lambda v: v * (1 - v)][act](y)
    return [(dy * d, np.abs(dy) * (np.abs(d) + 1)), ((dy * d).sum(0), (np.abs(dy) * (d + 1)).sum(0))]


kernel(
    "bias_act_dx",
    lambda rng: [
        _bias_act(rng, s, a) for s in [(1, 1), (3, 10), (64, 33), (65, 300), (200, 7), (0, 4), (4, 0)] for a in range(4)
    ],
    lambda rng: [_bias_act(rng, (997, 301), 1), _bias_act(rng, (17_000, 9), 2)],
    _bias_act_dx,
    4,
)
