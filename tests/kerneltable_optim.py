"""`KernelSpec`s of the optimiser updates, norms and clipping: the last part of the table, see kerneltable."""

from __future__ import annotations

import math

import numpy as np
import reference as ref
from kerneltable import F32, KERNELS, SHAPES, SPECIAL, Case, InOut, kernel

__all__ = ["KERNELS"]

# --- optimisers


def _sgd(rng, s, lr, momentum, dampening, decay, nesterov, first):
    m = InOut(rng.standard_normal(s)) if momentum else None
    return Case(
        f"{s} {lr, momentum, dampening, decay, nesterov, first}",
        (InOut(rng.standard_normal(s)), rng.standard_normal(s), m, lr, momentum, dampening, decay, nesterov, first),
    )


def _sgd_reference(p, g, m, lr, momentum, dampening, decay, nesterov, first):
    new, moved = ref.sgd(p, g, m, lr, momentum, dampening, decay, nesterov, first)
    size = np.abs(g) + decay * np.abs(p) + (momentum * np.abs(m) if momentum else 0)
    return [(new, np.abs(p) + 2 * lr * size), *([(moved, size)] if momentum else [])]


kernel(
    "sgd_update",
    lambda rng: [
        _sgd(rng, s, *o)
        for s in [(1,), (0,), (37,), (3, 5), (129,)]
        for o in [
            (0.1, 0.0, 0.0, 0.0, 0, 1),
            (0.1, 0.0, 0.0, 0.3, 0, 0),
            (0.05, 0.9, 0.0, 0.01, 0, 0),
            (0.05, 0.9, 0.2, 0.0, 0, 0),
            (0.05, 0.9, 0.2, 0.0, 0, 1),
            (0.05, 0.8, 0.0, 0.1, 1, 0),
            (0.05, 0.8, 0.0, 0.1, 1, 1),
        ]
    ],
    lambda rng: [_sgd(rng, (301, 1001), 0.05, 0.9, 0.0, 0.01, 1, 0)],
    _sgd_reference,
    4,
)


def _adam(rng, s, decay, decoupled, step):
    return Case(
        f"{s} {decay, decoupled, step}",
        (
            InOut(rng.standard_normal(s)),
            rng.standard_normal(s),
            InOut(rng.standard_normal(s)),
            InOut(rng.uniform(0.01, 2, s)),
            0.01,
            0.9,
            0.999,
            1e-8,
            decay,
            decoupled,
            step,
        ),
    )


def _adam_reference(p, g, m, v, *o):
    new, m2, v2 = ref.adam(p, g, m, v, *o)
    with np.errstate(all="ignore"):
        return [
            (new, np.abs(p) + 4 * np.abs(new - p)),
            (m2, np.abs(m) + np.abs(g) + np.abs(p)),
            (v2, v2 + (np.abs(g) + np.abs(p)) ** 2 * 0.001),
        ]


kernel(
    "adam_update",
    lambda rng: [
        _adam(rng, s, *o)
        for s in [(1,), (0,), (37,), (3, 5), (129,)]
        for o in [(0.0, 0, 1), (0.1, 0, 2), (0.1, 1, 1), (0.01, 1, 1000), (0.0, 0, 10**6)]
    ],
    lambda rng: [_adam(rng, (301, 1001), 0.01, 1, 5)],
    _adam_reference,
    8,
)


def _state(rng, s, positive=0):
    """p, g and two arrays of state; the last `positive` of them above 0."""
    arrays = [rng.standard_normal(s) for _ in range(4)]
    for i in range(4 - positive, 4):
        arrays[i] = rng.uniform(0.1, 2, s)
    return InOut(arrays[0]), arrays[1], InOut(arrays[2]), InOut(arrays[3])


OPTIM_SHAPES = [(1,), (0,), (37,), (3, 5), (129,)]


def _update(name, build, options, reference, ulps):
    kernel(
        name,
        lambda rng: [Case(f"{s} {o}", build(rng, s, o)) for s in OPTIM_SHAPES for o in options],
        lambda rng: [Case("big", build(rng, (301, 1001), options[-1]))],
        reference,
        ulps,
    )


def _nesterov_reference(p, g, v, lr, momentum, behind, ahead, decay):
    d = g + decay * p
    new = momentum * v - lr * d
    size = np.abs(g) + np.abs(decay * p)
    size = np.abs(p) + (behind + momentum * (1 + ahead)) * np.abs(v) + np.abs(lr) * (1 + ahead) * size
    return [(p - behind * v + new + ahead * new, size), (new, size)]


_update(
    "nesterov_update",
    lambda rng, s, o: (*_state(rng, s)[:3], *o),
    [(0.1, 0.0, 0.0, 0.0, 0.0), (0.1, 0.9, 0.0, 0.9, 0.0), (0.05, 0.9, 0.8, 0.7, 0.1), (-0.1, 0.5, 0.5, 0.0, -0.2)],
    _nesterov_reference,
    4,
)


def _adagrad_reference(p, g, s, lr, decay, eps, inside):
    d = g + decay * p
    total = s + d * d
    root = np.sqrt(total + eps) if inside else np.sqrt(total) + eps
    size = (np.abs(g) + np.abs(decay * p)) / root
    return [(p - lr * d / root, np.abs(p) + 2 * np.abs(lr) * size), (total, s + (np.abs(g) + np.abs(decay * p)) ** 2)]


_update(
    "adagrad_update",
    lambda rng, s, o: (*_state(rng, s, 2)[:3], *o),
    [(0.1, 0.0, 1e-10, 0), (0.1, 0.0, 0.5, 1), (0.1, 0.2, 0.5, 0)],
    _adagrad_reference,
    8,
)


def _rmsprop(rng, s, o):
    centred, *rest = o
    p, g, _, v = _state(rng, s, 1)
    v = InOut(v.array + 1.0)  # above the square of the mean
    mean = InOut(rng.uniform(-0.5, 0.5, s)) if centred else None
    return (p, g, v, mean, InOut(rng.standard_normal(s)) if rest[2] else None, *rest)


def _rmsprop_reference(p, g, v, mean, m, lr, rho, momentum, decay, eps, inside):
    d = g + decay * p
    size = np.abs(g) + np.abs(decay * p)
    v = rho * v + (1 - rho) * d * d
    out = [None, (v, v + (1 - rho) * size**2)]
    spread = v
    if mean is not None:
        mean = rho * mean + (1 - rho) * d
        out.append((mean, 1 + size))
        spread = v - mean**2
    root = np.sqrt(spread + eps) if inside else np.sqrt(spread) + eps
    move, size = d / root, size / root * (1 + (v + mean**2) / spread if mean is not None else 2)
    if m is not None:
        move, size = momentum * m + move, momentum * np.abs(m) + size
        out.append((move, size))
    out[0] = (p - lr * move, np.abs(p) + np.abs(lr) * size)
    return out


_update(
    "rmsprop_update",
    _rmsprop,
    [
        (centred, 0.01, rho, momentum, decay, eps, inside)
        for centred in (0, 1)
        for rho, momentum, decay, eps, inside in [
            (0.9, 0.0, 0.0, 1e-10, 1),
            (0.9, 0.0, 0.1, 1e-8, 0),
            (0.9, 0.9, 0.0, 1e-3, 0),
            (0.9, 0.5, 0.1, 1e-2, 1),
        ]
    ],
    _rmsprop_reference,
    8,
)


def _adadelta_reference(p, g, v, d, lr, rho, decay, eps):
    g, size = g + decay * p, np.abs(g) + np.abs(decay * p)
    v2 = rho * v + (1 - rho) * g * g
    factor = np.sqrt(d + eps) / np.sqrt(v2 + eps)
    move = factor * g
    return [
        (p - lr * move, np.abs(p) + 2 * lr * factor * size),
        (v2, v2 + (1 - rho) * size**2),
        (rho * d + (1 - rho) * move**2, rho * d + 2 * (1 - rho) * (factor * size) ** 2),
    ]


_update(
    "adadelta_update",
    lambda rng, s, o: (*_state(rng, s, 2), *o),
    [(1.0, 0.9, 0.0, 1e-6), (0.5, 0.95, 0.1, 1e-3)],
    _adadelta_reference,
    8,
)


def _delta_bar_delta_reference(p, g, rate, bar, scale, kappa, phi, theta, decay):
    d = g + decay * p
    size = np.abs(g) + np.abs(decay * p)
    agree = np.sign(bar) * np.sign(d)
    new = np.where(agree > 0, rate + kappa, np.where(agree < 0, rate * (1 - phi), rate))
    return [
        (p - scale * new * d, np.abs(p) + 2 * np.abs(scale) * new * size),
        (new, new),
        ((1 - theta) * d + theta * bar, size + np.abs(bar)),
    ]


def _delta_bar_delta(rng, s, o):
    p, g, bar, rate = _state(rng, s, 1)
    if g.size > 3:
        bar.array.flat[1] = 0.0
        g.flat[2] = 1e-30  # its product with 1e-30 is no float32
        bar.array.flat[2] = 1e-30
    return (p, g, rate, bar, *o)


_update(
    "delta_bar_delta_update",
    _delta_bar_delta,
    [(1.0, 0.01, 0.1, 0.7, 0.0), (0.5, 0.02, 0.3, 0.0, 0.05)],
    _delta_bar_delta_reference,
    4,
)

# --- norms and clipping


def _norm_reference(x, norms, first, dtype):
    square, top = (x * x).sum(), np.abs(x).max(initial=0.0)
    before = np.zeros(4) if first else norms
    out = np.array([np.sqrt(before[0] ** 2 + square), np.sqrt(square), np.maximum(before[2], top), top])
    return (out, out if dtype == F32 else 30 * out)  # sums of double precision in both dtypes


kernel(
    "norm_update",
    lambda rng: [
        Case(f"{s} {first}", (rng.standard_normal(s), InOut(rng.uniform(1, 2, 4)), first))
        for s in [*SHAPES, (31,), (8191,), (8192,), (8193,), (20001,)]
        for first in (0, 1)
    ]
    + [
        Case("large", (np.array([3e37, -4e37]), InOut(np.zeros(4)), 1)),  # the squares are no float32
        Case("nan", (np.array([1.0, np.nan, 2.0]), InOut(np.ones(4)), 0)),
        Case("inf", (np.array([1.0, np.inf, 2.0]), InOut(np.ones(4)), 1)),
    ],
    lambda rng: [Case("big", (rng.standard_normal((301, 1001)), InOut(np.ones(4)), 0))],
    _norm_reference,
    2,
    True,
)


def _norm_scale_reference(x, norms, which, limit, eps):
    return (x * np.minimum(1.0, limit / (norms[which] + eps)), np.abs(x))


kernel(
    "norm_scale_update",
    lambda rng: [
        Case(f"{s} {o}", (InOut(rng.standard_normal(s)), np.array([2.0, 0.5, 1.5, np.nan]), *o))
        for s in [*SHAPES, (129,)]
        for o in [(0, 1.0, 0.0), (0, 3.0, 0.0), (1, 0.5, 1e-6), (2, 0.1, 1e-6), (3, 1.0, 0.0)]
    ],
    lambda rng: [Case("big", (InOut(rng.standard_normal((301, 1001))), np.full(4, 3.0), 0, 1.0, 0.0))],
    _norm_scale_reference,
    2,
)
kernel(
    "clip_update",
    lambda rng: [
        Case(f"{s} {low, high}", (InOut(rng.standard_normal(s)), low, high))
        for s in [*SHAPES, (129,)]
        for low, high in [(-0.5, 0.25), (0.0, math.inf), (-math.inf, 0.5), (0.0, 0.0)]
    ]
    + [Case("special", (InOut(SPECIAL), -1.0, 2.0))],
    lambda rng: [Case("big", (InOut(rng.standard_normal((301, 1001))), -0.5, 0.5))],
    lambda x, low, high: np.clip(x, low, high),
    1,
)


def _row_norm_reference(x, rows, low, high):
    if not x.size:
        return x
    flat = x.reshape(rows, -1)
    norm = np.sqrt((flat * flat).sum(1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(norm > 0, np.clip(norm, low, high) / norm, 1.0)
    return (flat * factor).reshape(x.shape)


def _weights(rng, s):
    x = rng.standard_normal(s)
    x[-1:] = 0.0
    return InOut(x)


kernel(
    "row_norm_update",
    lambda rng: [
        Case(f"{s} {rows} {low, high}", (_weights(rng, s), rows, low, high))
        for s, rows in [((1,), 1), ((4, 0), 4), ((0,), 2**44), ((7, 3), 7), ((5, 70), 5), ((3, 2, 2, 19), 3)]
        for low, high in [(0.0, 1.5), (1.0, 1.0), (2.0, math.inf)]
    ],
    lambda rng: [Case("big", (_weights(rng, (301, 1001)), 301, 0.0, 20.0))],
    _row_norm_reference,
    4,
)
