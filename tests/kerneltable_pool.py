"""`KernelSpec`s of pooling, borders and windows (see kerneltable.py); references are plain loops over windows."""

from __future__ import annotations

import itertools

import numpy as np
from kerneltable import Case, Out, kernel
from kerneltable_fourier import KERNELS

__all__ = ["KERNELS", "taps"]

# --- pooling; (shape of x [N,D,H,W,C], kernel, stride, pad, dilation); None for all but the shape: adaptive to `kernel`

ONE, NONE = (1, 1, 1), (0, 0, 0)
POOLS = [
    ((1, 1, 1, 1, 1), ONE, ONE, NONE, ONE),
    ((2, 1, 6, 8, 3), (1, 2, 2), (1, 2, 2), NONE, ONE),
    ((1, 1, 7, 9, 6), (1, 3, 2), (1, 2, 1), (0, 1, 1), ONE),
    ((2, 1, 5, 5, 17), (1, 2, 2), ONE, NONE, ONE),
    ((1, 1, 9, 7, 32), (1, 3, 3), (1, 3, 3), (0, 1, 1), ONE),
    ((3, 1, 4, 4, 1), (1, 4, 4), (1, 4, 4), NONE, ONE),
    ((1, 1, 8, 5, 16), (1, 2, 3), (1, 3, 4), NONE, ONE),
    ((0, 1, 4, 4, 2), (1, 2, 2), (1, 2, 2), NONE, ONE),
    ((2, 1, 6, 6, 37), (1, 2, 2), (1, 2, 2), NONE, ONE),
    ((1, 1, 6, 6, 6), (1, 5, 5), ONE, (0, 2, 2), ONE),
    ((1, 1, 9, 9, 19), (1, 3, 3), (1, 2, 2), (0, 1, 1), ONE),
    ((2, 1, 1, 23, 5), (1, 1, 4), (1, 1, 3), (0, 0, 2), ONE),
    ((2, 5, 6, 7, 3), (2, 3, 2), (2, 1, 2), (1, 1, 0), ONE),
    ((1, 4, 4, 4, 66), (3, 3, 3), (1, 2, 1), (1, 1, 1), ONE),
    ((1, 7, 8, 9, 5), (2, 2, 3), (1, 2, 1), (1, 0, 1), (3, 2, 2)),
    ((1, 1, 3, 12, 20), (1, 1, 3), (1, 1, 2), (0, 0, 3), (1, 1, 3)),
    ((2, 1, 7, 5, 4), (1, 3, 2), None, None, None),
    ((1, 3, 5, 9, 21), (2, 7, 4), None, None, None),
    ((1, 1, 12, 11, 7), ONE, None, None, None),
]
BIG_POOLS = [
    ((16, 1, 29, 31, 16), (1, 2, 2), (1, 2, 2), NONE, ONE),
    ((7, 1, 30, 28, 37), (1, 3, 3), (1, 2, 2), (0, 1, 1), ONE),
    ((5, 6, 12, 10, 8), (2, 3, 3), (1, 2, 1), (1, 1, 1), ONE),
]
NO_DILATION = [g for g in POOLS if g[4] in (None, ONE)]


def pooled(g):
    x, kernel_size, stride, pad, dil = g
    if stride is None:
        return (x[0], *kernel_size, x[4])
    size = ((x[i + 1] + 2 * pad[i] - dil[i] * (kernel_size[i] - 1) - 1) // stride[i] + 1 for i in range(3))
    return (x[0], *size, x[4])


def geometry(g, dilation=True):
    """The parameters of a call: kernel, stride, pad, dilation, adaptive."""
    if g[2] is None:
        return (*(1,) * 6, *NONE, *(ONE if dilation else ()), 1)
    return (*g[1], *g[2], *g[3], *(g[4] if dilation else ()), 0)


def taps(p, size, outputs, kernel_size, stride, pad, dil, adaptive):
    """(positions inside the axis, length of the window clipped to the padded axis) of window p."""
    if adaptive:
        inside = [i for i in range(size) if (i + 1) * outputs > p * size and i * outputs < (p + 1) * size]
        return inside, len(inside)
    all_of_them = [p * stride - pad + k * dil for k in range(kernel_size)]
    return [i for i in all_of_them if 0 <= i < size], sum(i < size + pad for i in all_of_them)


def windows(x_shape, y_shape, params):
    """(index of y's spatial axes, positions by axis, divisor with padding) of every window."""
    k, s, p, d, adaptive = params[:3], params[3:6], params[6:9], params[9:12], params[12]
    for at in itertools.product(*(range(n) for n in y_shape[1:4])):
        found = [
            taps(at[i], x_shape[i + 1], y_shape[i + 1], k[i], s[i], p[i], d[i], adaptive) for i in range(3)
        ]
        yield at, [f[0] for f in found], found[0][1] * found[1][1] * found[2][1]


def max_pool(x, y, idx, *params):
    value, index = np.empty(y.shape), np.empty(y.shape, np.int32)
    pick = np.argmin if params[13] else np.argmax  # both take the first of equals and the first NaN
    for at, (ds, hs, ws), _ in windows(x.shape, y.shape, params):
        cells = list(itertools.product(ds, hs, ws))
        stack = np.stack([x[:, d, h, w] for d, h, w in cells])  # [cells,N,C]
        number = np.array([(d * x.shape[2] + h) * x.shape[3] + w for d, h, w in cells])
        best = pick(stack, 0) if stack.size else np.zeros(stack.shape[1:], int)
        value[:, *at] = np.take_along_axis(stack, best[None], 0)[0]
        index[:, *at] = number[best]
    return [value, index]


def scatter(values, idx, shape):
    pixels = shape[1] * shape[2] * shape[3]
    out, bound = np.zeros((shape[0], pixels, shape[4])), np.zeros((shape[0], pixels, shape[4]))
    n, _, _, _, c = np.indices(values.shape)
    np.add.at(out, (n, idx, c), values)
    np.add.at(bound, (n, idx, c), np.abs(values))
    return out.reshape(shape), bound.reshape(shape)


def gather(x, idx, y):
    n, _, _, _, c = np.indices(idx.shape)
    return x.reshape(x.shape[0], -1, x.shape[4])[n, idx, c] if idx.size else np.zeros(idx.shape)


def with_ones(params):
    return (*params[:9], 1, 1, 1, *params[9:])


def avg_pool(x, y, *params):
    value, bound = np.empty(y.shape), np.empty(y.shape)
    for at, (ds, hs, ws), padded in windows(x.shape, y.shape, with_ones(params)):
        part = x[:, ds][:, :, hs][:, :, :, ws]
        count = padded if params[10] else len(ds) * len(hs) * len(ws)
        value[:, *at], bound[:, *at] = part.sum((1, 2, 3)) / count, np.abs(part).sum((1, 2, 3)) / count
    return value, bound


def avg_pool_dx(dy, dx, *params):
    value, bound = np.zeros(dx.shape), np.zeros(dx.shape)
    for at, (ds, hs, ws), padded in windows(dx.shape, dy.shape, with_ones(params)):
        count = padded if params[10] else len(ds) * len(hs) * len(ws)
        for d, h, w in itertools.product(ds, hs, ws):
            value[:, d, h, w] += dy[:, *at] / count
            bound[:, d, h, w] += np.abs(dy[:, *at]) / count
    return value, bound


def _max_case(rng, g, minimum):
    x, y = rng.integers(-9, 10, g[0]).astype(np.float64), Out(pooled(g))
    return Case(f"{g} {minimum}", (x, y, y, *geometry(g), minimum))


def _special(rng):
    x = rng.integers(-2, 3, (2, 1, 6, 6, 5)).astype(np.float64)
    x[0, 0, 1, 1] = x[0, 0, 0, 1, 2] = x[1, 0, 5, 5] = np.nan
    x[1, 0, :2, :2] = -np.inf
    x[1, 0, 2:4, :2] = np.inf
    params = geometry((x.shape, (1, 2, 2), (1, 2, 2), NONE, ONE))
    return [Case(f"NaN, ties, inf {m}", (x, Out((2, 1, 3, 3, 5)), Out((2, 1, 3, 3, 5)), *params, m)) for m in (0, 1)]


def _indices(rng, g):
    empty = np.empty(pooled(g))
    return max_pool(rng.standard_normal(g[0]), empty, empty, *geometry(g), 0)[1]


def _max_dx(rng, g):
    return Case(str(g), (rng.standard_normal(pooled(g)), _indices(rng, g), Out(g[0]), *geometry(g)))


def _gather(rng, g):
    return Case(str(g), (rng.standard_normal(g[0]), _indices(rng, g), Out(pooled(g))))


def _unpool(rng, g):
    return Case(str(g), (rng.standard_normal(pooled(g)), _indices(rng, g), Out(g[0])))


def _avg(rng, g, include):
    return Case(f"{g} {include}", (rng.standard_normal(g[0]), Out(pooled(g)), *geometry(g, False), include))


def _avg_dx(rng, g, include):
    return Case(f"{g} {include}", (rng.standard_normal(pooled(g)), Out(g[0]), *geometry(g, False), include))


def _all(make, table, flags=None):
    if flags is None:
        return lambda rng: [make(rng, g) for g in table]
    return lambda rng: [make(rng, g, f) for g in table for f in flags]


kernel(
    "max_pool",
    lambda rng: [*_all(_max_case, POOLS, (0, 1))(rng), *_special(rng)],
    _all(_max_case, BIG_POOLS, (0, 1)),
    max_pool,
    0,
)
kernel(
    "max_pool_dx",
    _all(_max_dx, POOLS),
    _all(_max_dx, BIG_POOLS),
    lambda dy, idx, dx, *params: scatter(dy, idx, dx.shape),
    4,
)
kernel("max_pool_gather", _all(_gather, POOLS), _all(_gather, BIG_POOLS), gather, 0)
kernel("max_unpool", _all(_unpool, POOLS), _all(_unpool, BIG_POOLS), lambda x, idx, y: scatter(x, idx, y.shape), 4)
kernel("avg_pool", _all(_avg, NO_DILATION, (0, 1)), _all(_avg, BIG_POOLS, (0, 1)), avg_pool, 4)
kernel("avg_pool_dx", _all(_avg_dx, NO_DILATION, (0, 1)), _all(_avg_dx, BIG_POOLS, (0, 1)), avg_pool_dx, 4)

# --- borders; (shape of x, (before, after) of D, H, W)

BORDERS = [
    ((2, 1, 1, 5, 3), ((0, 0), (0, 0), (2, 1))),
    ((1, 1, 4, 3, 1), ((0, 0), (1, 3), (2, 0))),
    ((2, 3, 2, 4, 2), ((1, 1), (2, 0), (3, 3))),
    ((1, 1, 1, 1, 17), ((2, 1), (1, 2), (3, 2))),  # one cell
    ((1, 2, 3, 2, 5), ((5, 4), (7, 8), (4, 9))),  # borders wider than the array
    ((0, 2, 3, 2, 5), ((1, 0), (1, 1), (0, 2))),
    ((3, 2, 4, 5, 8), ((0, 0), (0, 0), (0, 0))),
]
MODES = ["constant", "edge", "reflect", "symmetric", "wrap"]  # by number
BIG_BORDERS = [((4, 1, 60, 70, 16), ((0, 0), (3, 4), (5, 2))), ((2, 9, 20, 30, 8), ((2, 2), (3, 3), (1, 1)))]


def _wider(shape, sides):
    return (shape[0], *(n + a + b for n, (a, b) in zip(shape[1:4], sides, strict=True)), shape[4])


def _fronts(sides):
    return tuple(a for a, _ in sides)


def _borders(table, modes):
    return lambda rng: [
        Case(f"{s} {w} {MODES[m]}", (rng.standard_normal(s), Out(_wider(s, w)), m, -1.5, *_fronts(w)))
        for s, w in table
        for m in modes
    ]


def _borders_dx(table, modes):
    return lambda rng: [
        Case(f"{s} {w} {MODES[m]}", (rng.standard_normal(_wider(s, w)), Out(s), m, *_fronts(w)))
        for s, w in table
        for m in modes
    ]


def numpy_pad(x, shape, mode, fronts, value=0.0):
    sides = [(f, n - f - m) for f, n, m in zip(fronts, shape[1:4], x.shape[1:4], strict=True)]
    options = {"constant_values": value} if mode == 0 else {}
    return np.pad(x, [(0, 0), *sides, (0, 0)], mode=MODES[mode], **options)


def pad_dx(dy, dx, mode, *fronts):
    """Every cell is numbered, padded by NumPy, and dy added to the number it finds."""
    number = np.arange(1, dx.size + 1, dtype=np.float64).reshape(dx.shape)  # 0: the constant
    at = numpy_pad(number, dy.shape, mode, fronts).astype(np.int64)
    value, bound = np.zeros(dx.size + 1), np.zeros(dx.size + 1)
    np.add.at(value, at, dy)
    np.add.at(bound, at, np.abs(dy))
    return value[1:].reshape(dx.shape), bound[1:].reshape(dx.shape)


kernel(
    "pad",
    _borders(BORDERS, range(5)),
    _borders(BIG_BORDERS, (0, 2, 4)),
    lambda x, y, mode, value, *fronts: numpy_pad(x, y.shape, mode, fronts, value),
    0,
)
kernel("pad_dx", _borders_dx(BORDERS, range(5)), _borders_dx(BIG_BORDERS, (0, 2, 4)), pad_dx, 4)

# --- windows side by side; (shape of x [N,A,I,C], windows P, taps R, stride, pad, dilation)

UNFOLDS = [
    ((1, 1, 1, 1), 1, 1, 1, 0, 1),
    ((2, 9, 1, 3), 7, 3, 1, 0, 1),
    ((2, 9, 4, 5), 5, 3, 2, 1, 1),
    ((1, 8, 3, 17), 4, 2, 3, 2, 2),
    ((3, 5, 2, 4), 9, 4, 1, 4, 2),  # windows that miss the input altogether
    ((2, 6, 3, 2), 3, 2, 2, -1, 1),
    ((0, 6, 3, 2), 3, 2, 2, 0, 1),
    ((2, 6, 1, 32), 6, 1, 1, 0, 1),
]
BIG_UNFOLDS = [((3, 40, 30, 16), 38, 3, 1, 0, 1), ((2, 61, 40, 7), 31, 5, 2, 2, 1)]


def _gathers(x_shape, outputs, size, stride, pad, dil):
    """For every (p, r) inside: the row of x."""
    for p, r in itertools.product(range(outputs), range(size)):
        a = p * stride - pad + r * dil
        if 0 <= a < x_shape[1]:
            yield p, r, a


def _unfolded(g):
    s, outputs, size = g[:3]
    return (s[0], outputs, s[2], size, s[3])


def unfold(x, y, stride, pad, dil):
    out = np.zeros(y.shape)
    for p, r, a in _gathers(x.shape, y.shape[1], y.shape[3], stride, pad, dil):
        out[:, p, :, r] = x[:, a]
    return out


def fold(y, x, stride, pad, dil):
    out, bound = np.zeros(x.shape), np.zeros(x.shape)
    for p, r, a in _gathers(x.shape, y.shape[1], y.shape[3], stride, pad, dil):
        out[:, a] += y[:, p, :, r]
        bound[:, a] += np.abs(y[:, p, :, r])
    return out, bound


def _unfold_cases(table):
    return lambda rng: [Case(str(g), (rng.standard_normal(g[0]), Out(_unfolded(g)), *g[3:])) for g in table]


def _fold_cases(table):
    return lambda rng: [Case(str(g), (rng.standard_normal(_unfolded(g)), Out(g[0]), *g[3:])) for g in table]


kernel("unfold", _unfold_cases(UNFOLDS), _unfold_cases(BIG_UNFOLDS), unfold, 0)
kernel("fold", _fold_cases(UNFOLDS), _fold_cases(BIG_UNFOLDS), fold, 4)
