"""The records for activations, NumPy-like functions, order and rows by index; references from NumPy and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special as special
from kerneltable import BROADCASTS, SHAPES, distinct
from optable import Sample, binary, err, normal, op, ops, positive, unary, unreal, zeros
from optable_nets import SPECS

__all__ = ["SPECS"]


def wide(rng: Any, shape: Any) -> Any:
    return rng.standard_normal(shape) * 2


def with_bound(f: Any, bend: float = 3.0) -> Any:
    """f and what it is compared with: |f| plus a part of |x|, for functions that reach 0 on a tail."""
    return lambda x, *a, **o: (f(x, *a, **o), np.abs(f(x, *a, **o)) + bend * np.exp(-np.abs(x)))


# --- elementwise

binary(
    "not_equal", np.not_equal, draw=lambda rng, s: np.asarray(rng.integers(-2, 3, s), np.float64), ulps=0, gradients=()
)
op(
    "where",
    lambda rng: (
        [Sample((np.asarray(rng.integers(0, 2, b), np.float64), normal(rng, a), normal(rng, b))) for a, b in BROADCASTS]
        + [Sample((np.array([True, False, True]), normal(rng, (3,)), 0.5))]
    ),
    lambda c, a, b: np.where(c, a, b),
    0,
    gradients=(1, 2),
    errors=(err(zeros(2), zeros(2, 3), 0.0, says="do not broadcast"), *unreal(1.0, 0.0)),
)
unary("log1p", np.log1p, draw=positive, ulps=2)
unary("expm1", np.expm1, draw=wide, ulps=3)
unary("erf", special.erf, draw=wide, ulps=3)
for _name, _function in [("floor", np.floor), ("ceil", np.ceil), ("round", np.rint)]:
    unary(_name, _function, draw=lambda rng, s: np.asarray(rng.integers(-9, 9, s) / 2.0), ulps=0, gradients=())


def shaped(name: str, function: Any, draw: Any = wide, ulps: float = 4.0, options: Any = ({},), **more: Any) -> None:
    def samples(rng: Any) -> list[Sample]:
        return [Sample((draw(rng, s),), o) for s in [*SHAPES, (65,)] for o in options]

    op(name, samples, function, ulps, **{"gradients": (0,), "errors": unreal(), **more})


op(
    "clip",
    lambda rng: [Sample((distinct(rng, s, 0.05), -0.61, 0.87)) for s in SHAPES],
    np.clip,
    1,
    gradients=(0,),
    errors=(err(zeros(2), 2.0, 1.0, says="low must not be above high"), *unreal(0.0, 1.0)),
)

# --- activations


def gelu(x: Any, approximate: bool = False) -> Any:
    if approximate:
        return x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return x * special.ndtr(x)


def steps(name: str, function: Any, options: Any) -> None:
    shaped(name, function, lambda rng, s: np.asarray(rng.integers(-2, 3, s), np.float64), 0, options, gradients=())


STRICT = ({}, {"strict": True})
steps("step", lambda x, strict=False: (x > 0 if strict else x >= 0) * 1.0, STRICT)
steps("bipolar_step", lambda x, strict=False: np.where(x > 0 if strict else x >= 0, 1.0, -1.0), STRICT)
op(
    "dead_zone",
    lambda rng: [Sample((np.asarray(rng.integers(-3, 4, s) / 2.0), 0.5)) for s in SHAPES],
    lambda x, t: np.where(x > t, 1.0, np.where(x < -t, -1.0, 0.0)),
    0,
    errors=(err(zeros(2), -1.0, says="must not be negative"), err(zeros(2), "x", says="finite number"), *unreal(0.5)),
)
STEEP = ({}, {"steepness": 2.5})
BAD_STEEP = (err(zeros(2), steepness=np.inf, says="steepness must be a finite number"), *unreal())
shaped("logistic", lambda x, steepness=1.0: special.expit(steepness * x), options=STEEP, errors=BAD_STEEP, ulps=8)
shaped("bipolar_sigmoid", lambda x, steepness=1.0: np.tanh(steepness * x / 2), options=STEEP, errors=BAD_STEEP)
shaped("algebraic_sigmoid", lambda x: x / np.sqrt(1 + x * x))
kinked = lambda rng, s: distinct(rng, s, 0.11)  # noqa: E731
shaped("hard_tanh", lambda x: np.clip(x, -1, 1), kinked, 0)
shaped("ramp", lambda x: np.clip(x, 0, 1), kinked, 0)
shaped(
    "leaky_relu", lambda x, slope=0.01: np.where(x > 0, x, slope * x), kinked, 2, ({}, {"slope": 0.1}),
    errors=(err(zeros(2), slope="a", says="slope must be a finite number"), *unreal()),
)  # fmt: skip
op(
    "prelu",
    lambda rng: [Sample((kinked(rng, s), positive(rng, t))) for s, t in [((4, 3), (3,)), ((2, 5), ()), ((7,), (7,))]],
    lambda x, a: np.where(x > 0, x, a * x),
    2,
    gradients=(0, 1),
    errors=(err(zeros(2, 3), zeros(2), says="do not broadcast"), *unreal(1.0)),
)
op(
    "shifted_relu",
    lambda rng: [Sample((kinked(rng, s), 0.7)) for s in SHAPES],
    lambda x, a: np.maximum(-a, x),
    1,
    gradients=(0,),
    errors=(err(zeros(2), np.nan, says="shift must be a finite number"), *unreal(1.0)),
)
shaped("elu", lambda x, scale=1.0: np.where(x > 0, x, scale * np.expm1(x)), kinked, 4, ({}, {"scale": 0.1}),
       errors=(err(zeros(2), scale=None, says="scale must be a finite number"), *unreal()))  # fmt: skip
shaped("gelu", with_bound(gelu), options=({}, {"approximate": True}))
shaped("silu", with_bound(lambda x: x * special.expit(x)))
shaped("softplus", lambda x, sharpness=1.0: np.logaddexp(0, sharpness * x) / sharpness, ulps=8,
       options=({}, {"sharpness": 3.0}),
       errors=(err(zeros(2), sharpness=0.0, says="sharpness must be a finite number above 0"), *unreal()))  # fmt: skip


def log_sum_exp(x: Any, axis: int = -1, keepdims: bool = False, zero: bool = False) -> Any:
    y = special.logsumexp(x, axis=axis, keepdims=keepdims)
    y = np.logaddexp(y, 0.0) if zero else y
    return y, np.abs(y) + 2


op(
    "log_sum_exp",
    lambda rng: [
        Sample((wide(rng, s),), {"axis": a, "keepdims": k, "zero": z})
        for s, a in [((7,), 0), ((3, 5), -1), ((3, 5), 0), ((2, 3, 4), 1)]
        for k in (False, True)
        for z in (False, True)
    ],
    log_sum_exp,
    4,
    gradients=(0,),
    errors=(
        err(zeros(2, 0), says="no element along axis 1"),
        err(zeros(2, 3), axis=2, says="axis 2 is out of range"),
        *unreal(),
    ),
)
op(
    "maxout",
    lambda rng: (
        [Sample((distinct(rng, (2, 6, 3)), p), {"axis": 1}) for p in (1, 2, 3, 6)]
        + [Sample((distinct(rng, (4, 6)), 2))]
    ),
    lambda x, p, axis=-1: np.stack([s.max(axis) for s in np.split(x, x.shape[axis] // p, axis)], axis),
    0,
    gradients=(0,),
    errors=(err(zeros(2, 6), 4, says="positive divisor of 6"), err(zeros(2, 6), 0, says="got 0"), *unreal(1)),
)

# --- reductions

AXES = [((7,), None), ((3, 5), None), ((3, 5), 0), ((3, 5), -1), ((2, 3, 4), (0, 2))]
for _name, _function in [("var", np.var), ("std", np.std)]:
    op(
        _name,
        lambda rng: [Sample((normal(rng, s),), {"axis": a, "ddof": d}) for s, a in AXES for d in (0, 1)],
        lambda x, axis, ddof, f=_function: (f(x, axis, ddof=ddof), f(x, axis, ddof=ddof) + 1),
        4,
        gradients=(0,),
        errors=(err(zeros(1), ddof=1, says="leave nothing to divide by"), *unreal()),
    )
op(
    "argmin",
    lambda rng: [
        Sample((np.asarray(rng.integers(-4, 5, s), np.float64), a))
        for s, a in [((7,), None), ((7,), 0), ((3, 5), None), ((3, 5), 0), ((3, 5), -1), ((2, 3, 4), 1), ((), None)]
    ],
    lambda x, axis: np.asarray(x.argmin(axis)),
    errors=(err(zeros(0, 3), 0, says="no element along axis 0"), err(zeros(3), 1, says="out of range"), *unreal()),
)

# --- order and running sums

CASES = [((7,), 0), ((3, 5), -1), ((3, 5), 0), ((2, 60, 3), 1), ((0, 3), -1)]


def ordered(x: Any, axis: int = -1, descending: bool = False) -> Any:
    return -np.sort(-x, axis, kind="stable") if descending else np.sort(x, axis, kind="stable")


def order(x: Any, axis: int = -1, descending: bool = False) -> Any:
    return np.argsort(-x if descending else x, axis, kind="stable")


BAD_AXIS = (err(zeros(2, 3), axis=2, says="axis 2 is out of range"), *unreal())


def along(draw: Any, *options: Any) -> Any:
    return lambda rng: [Sample((draw(rng, s),), {"axis": a, **o}) for s, a in CASES for o in options or ({},)]


DIRECTIONS = ({}, {"descending": True})
op("sort", along(distinct, *DIRECTIONS), ordered, 0, gradients=(0,), errors=BAD_AXIS,
   call=lambda x, *a, **o: ops.sort(x, *a, **o)[0])  # fmt: skip
op("argsort", along(distinct, *DIRECTIONS), order, 0, errors=BAD_AXIS)
op(
    "topk",
    lambda rng: [
        Sample((distinct(rng, s), k), {"axis": a, "largest": d})
        for s, a, k in [((7,), 0, 3), ((3, 50), -1, 2), ((9, 5), 0, 9), ((3, 5), 1, 0)]
        for d in (False, True)
    ],
    lambda x, k, axis, largest: np.take(ordered(x, axis, largest), range(k), axis),
    0,
    gradients=(0,),
    errors=(err(zeros(3), 4, says="k must be in 0 .. 3"), err(zeros(3), 1.5, says="got 1.5"), *unreal(1)),
    call=lambda x, *a, **o: ops.topk(x, *a, **o)[0],
)
op(
    "cumsum",
    along(normal, {}, {"reverse": True}),
    lambda x, axis, reverse=False: (
        np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis),
        np.full(x.shape, np.abs(x).sum() + 1),
    ),
    4,
    gradients=(0,),
    errors=BAD_AXIS,
)


op("cumprod", along(positive), lambda x, axis: np.cumprod(x, axis), 40, gradients=(0,), errors=BAD_AXIS)

# --- rows by index

INDEX = np.array([2, 0, 2, 1])
op(
    "take",
    lambda rng: [
        Sample((normal(rng, s), i), {"axis": a})
        for s, a in [((3,), 0), ((3, 4), 0), ((2, 3), -1), ((2, 3, 4), 1)]
        for i in (INDEX, INDEX.reshape(2, 2), np.array(1), np.zeros(0, np.int64))
    ],
    lambda x, index, axis: np.take(x, index, axis),
    0,
    gradients=(0,),
    errors=(
        err(zeros(3), np.array([3]), says="index 3 at element 0 is outside 0 .. 2"),
        err(zeros(3), np.array([-1]), says="index -1"),
        err(zeros(3), np.array([1.0]), kind=TypeError, says="expected integer indices, got dtype float64"),
        *unreal(INDEX),
    ),
)  # fmt: skip


def scattered(values: Any, index: Any, size: int, axis: int = 0) -> Any:
    v = values.reshape(*values.shape[:axis], index.size, *values.shape[axis + index.ndim :])
    y, total = (np.zeros((*v.shape[:axis], size, *v.shape[axis + 1 :])) for _ in range(2))
    for k, r in enumerate(index.reshape(-1)):
        at = (slice(None),) * axis
        y[(*at, r)] += v[(*at, k)]
        total[(*at, r)] += np.abs(v[(*at, k)])
    return y, total


op(
    "scatter_add",
    lambda rng: [
        Sample((normal(rng, s), i, 5), {"axis": a})
        for s, i, a in [((4,), INDEX, 0), ((2, 2, 3), INDEX.reshape(2, 2), 0), ((2, 4, 3), INDEX, 1)]
    ],
    scattered,
    2,
    gradients=(0,),
    errors=(
        err(zeros(4), INDEX, 2, says="index 2 at element 0 is outside 0 .. 1"),
        err(zeros(5), INDEX, 3, says="expected index of shape (5,)"),
        err(zeros(4), INDEX, -1, says="size must be a whole number"),
        *unreal(np.array([0, 1]), 2),
    ),
)
op(
    "embedding",
    lambda rng: [Sample((normal(rng, (3, 4)), i)) for i in (INDEX, INDEX.reshape(2, 2), np.zeros((0, 2), np.int64))],
    lambda w, index: w[index],
    0,
    gradients=(0,),
    errors=(err(zeros(3), INDEX, says="expected weight [V,D], got shape (3,)"), *unreal(INDEX)),
)
op(
    "gather",
    lambda rng: [
        Sample((normal(rng, (3, 4)), rng.integers(0, 4, (3, 6))), {"axis": 1}),
        Sample((normal(rng, (3, 4)), rng.integers(0, 3, (2, 4))), {"axis": 0}),
        Sample((normal(rng, (2, 3, 4)), rng.integers(0, 3, (2, 5, 4))), {"axis": -2}),
    ],
    lambda x, index, axis: np.take_along_axis(x, index, axis),
    0,
    gradients=(0,),
    errors=(
        err(zeros(2, 3), np.zeros((3, 1), np.int64), says="expected index of x's shape (2, 3) except along axis 1"),
        err(zeros(2, 3), np.full((2, 1), 3), says="index 3 at element 0"),
        *unreal(np.zeros((2, 1), np.int64)),
    ),
)
