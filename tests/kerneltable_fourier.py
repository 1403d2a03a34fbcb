"""`KernelSpec`s of Fourier transforms, filters and complex products; references from NumPy (see kerneltable.py)."""

from __future__ import annotations

import numpy as np
from kerneltable import Case, Out, kernel
from kerneltable_select import KERNELS

from rosenblatt import _core

__all__ = ["KERNELS"]


def _complex(z):
    return np.stack([z.real, z.imag], -1)


def _numbers(x):
    return x[..., 0] + 1j * x[..., 1]


def _energy(x, axis=1):
    """The root of the energy of each line: what rounding errors of its transform are compared with."""
    return np.sqrt(np.sum(np.abs(x) ** 2, axis, keepdims=True))


# every codelet alone and in products, both layouts, Bluestein, input too short and too long, lines in every remainder
LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 16, 17, 22, 26, 31, 32, 37, 48, 64, 100, 128, 143, 154, 243, 256, 360]
SHAPES = [(1, n, 1, n) for n in LENGTHS]
SHAPES += [(19, n, 1, n + 3) for n in (1, 2, 5, 8, 13, 30, 37, 64, 96)]
SHAPES += [(3, n, 3, max(1, n - 2)) for n in (4, 9, 17, 40, 100)]
SHAPES += [(2, n, 21, n - 1) for n in (2, 7, 12, 33, 64, 41)]
SHAPES += [(0, 8, 1, 8), (3, 8, 0, 8), (2, 12, 1, 0), (2, 7, 5, 0), (2, 64, 1, 5)]
BIG = [(1, 4096, 1, 4096), (40, 60, 30, 60), (97, 128, 1, 128), (301, 15, 1, 15), (9, 509, 1, 509), (2, 1000, 3, 999)]


def _fft(rng, s, inverse):
    a, n, b, m = s
    x = rng.standard_normal((a, m, b, 2))
    return Case(f"{s} {inverse}", (x, _core.fft_table(n, 0, 1), Out((a, n, b, 2)), inverse, 0.75))


def _fft_reference(x, table, y, inverse, scale):
    n, z = y.shape[1], _numbers(x)
    if x.shape[1] == 0:
        return np.zeros(y.shape), np.ones(y.shape)
    want = scale * (n * np.fft.ifft(z, n, 1) if inverse else np.fft.fft(z, n, 1)) if z.size else np.zeros(y.shape[:3])
    return _complex(want), np.broadcast_to(scale * _energy(z[:, :n])[..., None], y.shape)


kernel(
    "fft",
    lambda rng: [_fft(rng, s, i) for s in SHAPES for i in (0, 1)],
    lambda rng: [_fft(rng, s, 0) for s in BIG],
    _fft_reference,
    12,
)


def _rfft(rng, s):
    a, n, b, m = s
    return Case(str(s), (rng.standard_normal((a, m, b)), _core.fft_table(n, 1, 1), Out((a, n // 2 + 1, b, 2)), n, 1.5))


def _rfft_reference(x, table, y, n, scale):
    if x.size == 0:
        return np.zeros(y.shape), np.ones(y.shape)
    want = scale * np.fft.rfft(x, n, 1)
    return _complex(want), np.broadcast_to(scale * _energy(x[:, :n])[..., None], y.shape)


kernel(
    "rfft",
    lambda rng: [_rfft(rng, s) for s in SHAPES],
    lambda rng: [_rfft(rng, s) for s in BIG],
    _rfft_reference,
    12,
)


def _irfft(rng, s):
    a, n, b, m = s
    h = min(m, n // 2 + 2)
    return Case(str(s), (rng.standard_normal((a, h, b, 2)), _core.fft_table(n, 1, 1), Out((a, n, b)), 0.5))


def _irfft_reference(x, table, y, scale):
    n = y.shape[1]
    if x.size == 0:
        return np.zeros(y.shape), np.ones(y.shape)
    z = _numbers(x)[:, : n // 2 + 1]
    return scale * n * np.fft.irfft(z, n, 1), np.broadcast_to(2 * scale * _energy(z), y.shape)


kernel(
    "irfft",
    lambda rng: [_irfft(rng, s) for s in SHAPES],
    lambda rng: [_irfft(rng, s) for s in BIG],
    _irfft_reference,
    12,
)


def _complex_mul(rng, m, n, conj):
    return Case(
        f"{m} {n} {conj}", (rng.standard_normal((m, n, 2)), rng.standard_normal((n, 2)), Out((m, n, 2)), conj)
    )  # fmt: skip


kernel(
    "complex_mul",
    lambda rng: [_complex_mul(rng, m, n, c) for m, n in [(1, 1), (3, 17), (2, 64), (0, 3), (2, 0)] for c in (0, 1)],
    lambda rng: [_complex_mul(rng, 37, 4099, 0)],
    lambda a, b, y, conj: (
        _complex((np.conj(_numbers(a)) if conj else _numbers(a)) * _numbers(b)),
        np.broadcast_to((np.abs(_numbers(a)) * np.abs(_numbers(b)))[..., None], y.shape),
    ),
    2,
)

# --- filters

PAD = ["constant", "edge", "symmetric", "reflect", "wrap"]


def _windows(x, r, s, p, q, top, left, mode, cval):
    """The extended image seen by every result: [N,P,Q,C,R,S]."""
    h, w = x.shape[1:3]
    after = (max(0, p + r - 1 - top - h), max(0, q + s - 1 - left - w))
    before = (max(0, top), max(0, left))
    more = {"constant_values": cval} if mode == 0 else {}
    e = np.pad(x, [(0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0)], mode=PAD[mode], **more)
    e = e[:, before[0] - top : before[0] - top + p + r - 1, before[1] - left : before[1] - left + q + s - 1]
    return np.lib.stride_tricks.sliding_window_view(e, (r, s), (1, 2))


def _correlated(x, w, y, top, left, mode, cval):
    if y.size == 0:
        return np.zeros(y.shape), np.zeros(y.shape)
    e = _windows(x, *w.shape, *y.shape[1:3], top, left, mode, cval)
    return np.einsum("npqcrs,rs->npqc", e, w), np.einsum("npqcrs,rs->npqc", np.abs(e), np.abs(w))


# (image, kernel, result height and width, top, left)
FILTERS = [
    ((1, 9, 11, 1), (3, 3), (9, 11), 1, 1),
    ((2, 7, 5, 3), (5, 4), (7, 5), 2, 2),
    ((1, 1, 1, 1), (3, 5), (1, 1), 1, 2),
    ((1, 4, 70, 1), (1, 7), (4, 70), 0, 3),
    ((1, 37, 3, 2), (9, 1), (37, 3), 8, 0),
    ((1, 3, 4, 1), (13, 17), (3, 4), 6, 8),  # larger than the image, several times around
    ((1, 20, 90, 1), (2, 3), (19, 88), 0, 0),  # valid
    ((1, 6, 8, 4), (4, 3), (9, 10), 3, 2),  # full
    ((0, 6, 8, 1), (3, 3), (6, 8), 1, 1),
    ((1, 6, 8, 0), (3, 3), (6, 8), 1, 1),
]


def _filter(rng, spec, mode):
    x, w, out, top, left = spec
    y = Out((x[0], *out, x[3]))
    return Case(f"{spec} {mode}", (rng.standard_normal(x), rng.standard_normal(w), y, top, left, mode, 0.625))


kernel(
    "filter2d",
    lambda rng: [_filter(rng, s, mode) for s in FILTERS for mode in range(5)],
    lambda rng: [_filter(rng, ((2, 150, 301, 1), (5, 7), (150, 301), 2, 3), 2)],
    _correlated,
    4,
)


def _filter_sep(rng, spec, mode, terms):
    x, (r, s), out, top, left = spec
    u, v = rng.standard_normal((terms, r)), rng.standard_normal((terms, s))
    return Case(
        f"{spec} {mode} {terms}", (rng.standard_normal(x), u, v, Out((x[0], *out, x[3])), top, left, mode, -0.375)
    )  # fmt: skip


def _separated(x, u, v, y, top, left, mode, cval):
    want, _ = _correlated(x, u.T @ v, y, top, left, mode, cval)
    _, bound = _correlated(np.abs(x), np.abs(u).T @ np.abs(v), y, top, left, mode, abs(cval))
    return want, bound


kernel(
    "filter2d_sep",
    lambda rng: [_filter_sep(rng, s, mode, 1 + mode % 3) for s in FILTERS for mode in range(5)],
    lambda rng: [_filter_sep(rng, ((2, 150, 301, 1), (5, 7), (150, 301), 2, 3), 2, 2)],
    _separated,
    4,
)


def _filter_fft(rng, spec, mode, tile):
    x, w, out, top, left = spec
    tables = _core.fft_table(tile[0], 0, 1), _core.fft_table(tile[1], 1, 1)
    y = Out((x[0], *out, x[3]))
    return Case(
        f"{spec} {mode} {tile}",
        (rng.standard_normal(x), rng.standard_normal(w), *tables, y, *tile, top, left, mode, 0.625),
    )


def _by_tiles(x, w, table_h, table_w, y, tile_h, tile_w, top, left, mode, cval):
    want, _ = _correlated(x, w, y, top, left, mode, cval)
    size = np.sqrt(tile_h * tile_w) * np.linalg.norm(w) * max(1.0, float(np.abs(x).max(initial=0.0)))
    return want, np.full(want.shape, size)


kernel(
    "filter2d_fft",
    lambda rng: (
        [
            _filter_fft(rng, s, mode, (s[1][0] + extra, 2 * s[1][1] + 26))
            for s in FILTERS
            for mode, extra in zip(range(5), (0, 1, 2, 3, 7), strict=True)
            if all(n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20) for n in [s[1][0] + extra])
        ]
        + [_filter_fft(rng, FILTERS[1], 3, (16, 64)), _filter_fft(rng, FILTERS[6], 1, (1 + 1, 74))]
    ),
    lambda rng: [_filter_fft(rng, ((2, 150, 301, 1), (5, 7), (150, 301), 2, 3), 2, (48, 96))],
    _by_tiles,
    4,
)
