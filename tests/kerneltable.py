"""One `KernelSpec` per op of the compiled table: calls and their float64 reference, for the templates of test_kernels.

Arguments are listed in the order of the op's fields (workspace left out; a seed is two integers). Float views are
float64 arrays that the templates convert, outputs are `Out(shape)`, buffers that are read and written are
`InOut(array)`. A reference returns one (expected, bound) or expected per output; integers compare exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference as ref

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


@dataclass(frozen=True)
class Out:
    shape: tuple[int, ...]


@dataclass(frozen=True)
class InOut:
    array: np.ndarray


@dataclass(frozen=True)
class Case:
    label: str
    args: tuple[Any, ...]


@dataclass(frozen=True)
class KernelSpec:
    name: str
    cases: Callable[[np.random.Generator], list[Case]]
    big: Callable[[np.random.Generator], list[Case]]  # enough work for several threads
    reference: Callable[..., Any]
    ulps: float = 2.0
    takes_dtype: bool = False  # the reference is told the dtype
    dtypes: tuple[Any, ...] = (F32, F64)  # of its float arrays


KERNELS: dict[str, KernelSpec] = {}


def kernel(name, cases, big, reference, ulps=2.0, takes_dtype=False, dtypes=(F32, F64)):
    KERNELS[name] = KernelSpec(name, cases, big, reference, ulps, takes_dtype, dtypes)


def distinct(rng, shape, gap=0.03):
    """Values of both signs, no two closer than `gap` and none nearer to 0: away from ties and kinks."""
    n = math.prod(shape)
    return (rng.permutation(n) - n // 2 + 0.5).reshape(shape) * 2 * gap


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e30, -1e30, 1e-30, 100.5, -100.5, 1000.0, -1000.0])
SHAPES = [(), (1,), (0,), (7,), (16,), (37,), (3, 5), (4, 0, 3), (2, 3, 1, 19), (1, 1, 2, 2, 1, 3, 1, 2)]
BROADCASTS = [
    ((3, 5), (5,)),
    ((5,), (3, 5)),
    ((3, 1), (1, 17)),
    ((), (4, 3)),
    ((2, 1, 13), (4, 1)),
    ((1,), (1,)),
    ((0,), (1,)),
    ((4, 1, 33), (4, 2, 1)),
    ((2, 3, 4), (2, 3, 4)),
    ((1, 70), (5, 70)),
]
EDGE = [31, 32, 33, 63, 64, 65, 129]  # around vector lengths


# --- moving data


def _copy(rng):
    cases = [Case(str(s), (rng.standard_normal(s), Out(s))) for s in SHAPES]
    return cases + [
        Case(f"{a}->{b}", (rng.standard_normal(a), Out(b)))
        for a, b in [((), (3, 4)), ((5, 1), (5, 9)), ((1, 3), (2, 4, 3)), ((7,), (0, 7)), ((2, 1, 3), (2, 5, 3))]
    ]


kernel(
    "copy",
    _copy,
    lambda rng: [Case("big", (rng.standard_normal((301, 1001)), Out((301, 1001))))],
    lambda x, y: np.broadcast_to(x, y.shape),
    ulps=0,
)
kernel(
    "fill",
    lambda rng: [Case(str(s), (Out(s), v)) for s in SHAPES for v in (0.0, -1.5)],
    lambda rng: [Case("big", (Out((301, 1001)), 2.5))],
    lambda y, value: np.full(y.shape, value),
    ulps=0,
)
kernel(
    "cast",
    lambda rng: [Case(str(s), (rng.standard_normal(s), Out(s))) for s in SHAPES],
    lambda rng: [Case("big", (rng.standard_normal((301, 1001)), Out((301, 1001))))],
    lambda x, y: x,
    ulps=1,
)

# --- elementwise


def _binary(draw, special=True):
    def cases(rng):
        out = [Case(f"{a},{b}", (draw(rng, a), draw(rng, b), Out(np.broadcast_shapes(a, b)))) for a, b in BROADCASTS]
        out += [Case(str(s), (draw(rng, s), draw(rng, s), Out(s))) for s in [*SHAPES, *((n,) for n in EDGE)]]
        if special:
            a, b = np.meshgrid(SPECIAL, SPECIAL)
            out.append(Case("special", (a.copy(), b.copy(), Out(a.shape))))
        return out

    def big(rng):
        return [
            Case("big", (draw(rng, (301, 1001)), draw(rng, (301, 1001)), Out((301, 1001)))),
            Case("big broadcast", (draw(rng, (301, 1)), draw(rng, (1001,)), Out((301, 1001)))),
        ]

    return cases, big


def _normal(rng, shape):
    return rng.standard_normal(shape)


def _some_equal(rng, shape):
    return np.asarray(rng.integers(-2, 3, shape), np.float64)


def _positive(rng, shape):
    return rng.uniform(0.2, 3.0, shape)


def _add(kernel_name, function, draw=_normal, ulps=1.0, special=True):
    cases, big = _binary(draw, special)

    def reference(a, b, y):
        with np.errstate(all="ignore"):
            return np.asarray(function(a, b), np.float64)

    kernel(kernel_name, cases, big, reference, ulps)


_add("add", np.add)
_add("sub", np.subtract)
_add("mul", np.multiply)
_add("div", np.divide, ulps=1)
_add("pow", np.power, draw=_positive, ulps=8, special=False)
_add("maximum", np.maximum, ulps=0)
_add("minimum", np.minimum, ulps=0)
_add("greater", np.greater, draw=_some_equal, ulps=0)
_add("greater_equal", np.greater_equal, draw=_some_equal, ulps=0)
_add("equal", np.equal, draw=_some_equal, ulps=0)


def _unary(name, function, ulps=1.0, draw=_normal, special=SPECIAL):
    def cases(rng):
        out = [Case(str(s), (draw(rng, s), Out(s))) for s in [*SHAPES, *((n,) for n in EDGE)]]
        out.append(Case("special", (special.copy(), Out(special.shape))))
        out.append(Case("wide", (np.linspace(-90, 90, 1001), Out((1001,)))))
        out.append(Case("broadcast", (draw(rng, (5, 1)), Out((5, 4)))))
        return out

    def reference(x, y):
        with np.errstate(all="ignore"):
            return np.broadcast_to(function(x), y.shape)

    kernel(name, cases, lambda rng: [Case("big", (draw(rng, (301, 1001)), Out((301, 1001))))], reference, ulps)


_unary("neg", np.negative, 0)
_unary("abs", np.abs, 0)
_unary("sign", np.sign, 0)
_unary("square", np.square)
_unary("sqrt", np.sqrt)
_unary("exp", np.exp, 2)
_unary("log", np.log, 2)
_unary("relu", lambda x: np.where(np.isnan(x), x, np.maximum(x, 0)), 0)
_unary("tanh", np.tanh, 3)
_unary("sigmoid", ref.sigmoid, 3)


def _act_dx(name, value, slope):
    def cases(rng):
        out = []
        for s in [*SHAPES, *((n,) for n in EDGE)]:
            out.append(Case(str(s), (value(rng, s), rng.standard_normal(s), Out(s))))
        return out

    def reference(y, dy, dx):
        d = slope(y)
        return dy * d, np.abs(dy) * (np.abs(d) + 1)

    kernel(
        name,
        cases,
        lambda rng: [Case("big", (value(rng, (301, 1001)), rng.standard_normal((301, 1001)), Out((301, 1001))))],
        reference,
        3,
    )


_act_dx("relu_dx", lambda rng, s: np.maximum(rng.standard_normal(s), 0), lambda y: (y > 0) * 1.0)
_act_dx("tanh_dx", lambda rng, s: np.tanh(rng.standard_normal(s)), lambda y: 1 - y * y)
_act_dx("sigmoid_dx", lambda rng, s: ref.sigmoid(rng.standard_normal(s)), lambda y: y * (1 - y))

# --- reductions [A,R,B] -> [A,B]

ROWS = [
    (1, 1, 1),
    (3, 7, 5),
    (1, 1000, 1),
    (5, 1, 3),
    (2, 129, 1),
    (1, 64, 70),
    (7, 33, 17),
    (0, 3, 2),
    (2, 3, 0),
    (1, 5000, 1),
    (3, 300, 2),
]


def _reduction(name, function, draw=_normal, empty=False, params=(), ulps=0.0, special=True):
    def cases(rng):
        shapes = ROWS + ([(2, 0, 3)] if empty else [])
        out = [Case(str(s), (draw(rng, s), Out((s[0], s[2])), *params)) for s in shapes]
        if special:
            x = rng.integers(-3, 4, (6, 40, 3)).astype(np.float64)
            x[1, 5, 0] = np.nan
            x[2, 0, 1] = x[2, 7, 1] = np.nan
            x[3, 9, 2] = np.inf
            x[4, :, 0] = -np.inf
            x[5, 39, 2] = np.nan
            out.append(Case("ties, NaN, inf", (x, Out((6, 3)), *params)))
        return out

    def big(rng):
        return [
            Case("big rows", (draw(rng, (301, 997, 1)), Out((301, 1)), *params)),
            Case("big columns", (draw(rng, (1, 997, 301)), Out((1, 301)), *params)),
            Case("big one", (draw(rng, (1, 400_003, 1)), Out((1, 1)), *params)),
        ]

    def reference(x, y, *p):
        with np.errstate(all="ignore"):
            return function(x, *p)

    kernel(name, cases, big, reference, ulps)


_reduction(
    "sum",
    lambda x, scale: (scale * x.sum(1), abs(scale) * np.abs(x).sum(1)),
    empty=True,
    params=(0.37,),
    ulps=4,
    special=False,
)
_reduction("max", lambda x: x.max(1) if x.shape[1] else np.zeros((x.shape[0], x.shape[2])))
_reduction("min", lambda x: x.min(1) if x.shape[1] else np.zeros((x.shape[0], x.shape[2])))
_reduction("argmax", lambda x: x.argmax(1))

# --- softmax family [M,C]

MATRICES = [(1, 1), (1, 10), (5, 3), (7, 33), (2, 1000), (17, 10), (0, 4), (3, 0)]


def _rows(rng, shape):
    return rng.standard_normal(shape) * 4


def _softmax(name, function):
    def cases(rng):
        out = [Case(str(s), (_rows(rng, s), Out(s))) for s in MATRICES]
        steep = np.array([[1000.0, 0.0, -1000.0], [5.0, 5.0, 5.0], [-1e4, -1e4, -1e4 - 2]])
        return [*out, Case("steep", (steep, Out(steep.shape)))]

    kernel(
        name, cases, lambda rng: [Case("big", (_rows(rng, (997, 101)), Out((997, 101))))], lambda x, y: function(x), 4
    )


_softmax("softmax", ref.softmax)
_softmax("log_softmax", ref.log_softmax)


def _softmax_dx(name, value, function):
    def one(rng, s):
        return Case(str(s), (value(rng, s), rng.standard_normal(s), Out(s)))

    kernel(name, lambda rng: [one(rng, s) for s in MATRICES], lambda rng: [one(rng, (997, 101))], function, 4)


def _softmax_dx_reference(y, dy, dx):
    s, size = (y * dy).sum(-1, keepdims=True), np.abs(y * dy).sum(-1, keepdims=True)
    return y * (dy - s), np.abs(y) * (np.abs(dy) + size)


def _log_softmax_dx_reference(y, dy, dx):
    p = np.exp(y)
    s, size = dy.sum(-1, keepdims=True), np.abs(dy).sum(-1, keepdims=True)
    return dy - p * s, np.abs(dy) + p * (2 + np.abs(y)) * size


_softmax_dx("softmax_dx", lambda rng, s: ref.softmax(_rows(rng, s))[0], _softmax_dx_reference)
_softmax_dx("log_softmax_dx", lambda rng, s: ref.log_softmax(_rows(rng, s))[0], _log_softmax_dx_reference)

LABELLED = [s for s in MATRICES if s[1]]


def _xent(rng, s):
    return Case(str(s), (_rows(rng, s), rng.integers(0, s[1], s[0]), Out(s[:1]), Out(s)))


def _xent_dx(rng, s):
    return Case(str(s), (ref.softmax(_rows(rng, s))[0], rng.integers(0, s[1], s[0]), rng.standard_normal(s[0]), Out(s)))


kernel(
    "one_hot",
    lambda rng: [Case(str(s), (Out(s), rng.integers(0, s[1], s[0]))) for s in LABELLED],
    lambda rng: [Case("big", (Out((9973, 101)), rng.integers(0, 101, 9973)))],
    lambda y, labels: ref.one_hot(labels, y.shape[1]),
    ulps=0,
)
kernel(
    "softmax_xent",
    lambda rng: [_xent(rng, s) for s in LABELLED],
    lambda rng: [_xent(rng, (997, 101))],
    lambda x, labels, loss, probs: [ref.cross_entropy(x, labels), ref.softmax(x)],
    4,
)
kernel(
    "softmax_xent_dx",
    lambda rng: [_xent_dx(rng, s) for s in LABELLED],
    lambda rng: [_xent_dx(rng, (997, 101))],
    lambda p, labels, g, dx: ((p - ref.one_hot(labels, p.shape[1])) * g[:, None], np.abs(g)[:, None] * (p + 1)),
    2,
)


def _pair(rng, n, kind):
    x, t = rng.standard_normal(n) * 4, rng.uniform(0, 1, n)
    return Case(f"{n} kind={kind}", (x, t, Out((n,)), Out((1,)), kind, 0.25))


def _pair_loss(x, t, d, loss, kind, scale):
    if kind == 0:
        terms, slopes, sizes = (x - t) ** 2, x - t, (np.abs(x) + t) ** 2
    else:
        terms = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))
        slopes, sizes = ref.sigmoid(x) - t, 2 * np.abs(x) + 1
    total = (np.array([terms.sum() * scale]), np.array([sizes.sum() * scale]))
    return [(slopes, np.abs(x) + t + 1), total]


kernel(
    "pair_loss",
    lambda rng: [_pair(rng, n, kind) for n in (0, 1, 9, 1000, 5001) for kind in (0, 1)],
    lambda rng: [_pair(rng, 300_001, kind) for kind in (0, 1)],
    _pair_loss,
    4,
)

# --- matrix product


def _gemm_case(rng, m, k, n, bias=True, alpha=1.0, beta=0.0, act=0, batch=(), shared=True):
    return Case(
        f"{batch}{m}x{k}x{n} bias={bias} alpha={alpha} beta={beta} act={act}",
        (
            rng.standard_normal((*batch, m, k)),
            rng.standard_normal((*batch, k, n)),
            rng.standard_normal((n,) if shared else (*batch, n)) if bias else None,
            InOut(rng.standard_normal((*batch, m, n)) if beta else np.full((*batch, m, n), np.nan)),
            alpha,
            beta,
            act,
        ),
    )


def _gemm(rng):
    out = [
        _gemm_case(rng, m, k, n, bias=bool(i % 2), act=i % 4)
        for i, (m, k, n) in enumerate(
            [
                (1, 1, 1),
                (1, 7, 5),
                (5, 7, 1),
                (14, 32, 32),
                (15, 33, 31),
                (13, 64, 65),
                (3, 300, 2),
                (37, 5, 97),
                (64, 17, 48),
                (1, 200, 129),
                (129, 31, 1),
                (2, 3, 300),
                (61, 259, 67),
                (1, 131, 600),  # vectors
                (600, 131, 1),
                (33, 203, 10),  # few columns
                (21, 300, 3),
                (17, 258, 12),
                (60, 40, 256),  # b packed on the way
                (120, 33, 70),
                (23, 5, 300),  # few k: along the rows of c
                (40, 1, 600),
            ]
        )
    ]
    out += [
        _gemm_case(rng, 9, 11, 35, True, alpha, beta, act)
        for alpha, beta, act in [(0.5, 0.0, 0), (1.0, 1.0, 0), (-2.0, 0.25, 3), (1.0, -1.0, 1), (0.0, 0.5, 2)]
    ]
    out += [_gemm_case(rng, *s, batch=(3,), act=i) for i, s in enumerate([(4, 5, 6), (1, 33, 17), (17, 2, 9)])]
    out += [_gemm_case(rng, 4, 5, 37, batch=(2,), shared=False, beta=1.0)]
    out += [_gemm_case(rng, 5, 6, 7, batch=(2, 3), act=1), _gemm_case(rng, 1, 40, 9, batch=(2, 1, 3), beta=1.0)]
    out += [_gemm_case(rng, *s) for s in [(0, 3, 4), (3, 0, 4), (3, 4, 0)]]
    return out


kernel(
    "gemm",
    _gemm,
    lambda rng: [
        _gemm_case(rng, 301, 149, 257),
        _gemm_case(rng, 7, 1500, 60),
        _gemm_case(rng, 40, 60, 50, batch=(11,)),
        _gemm_case(rng, 1, 300, 1200, act=2),
        _gemm_case(rng, 1200, 300, 1),
        _gemm_case(rng, 190, 150, 10),
    ],
    ref.gemm,
    4,
)

# --- bfloat16: to_bfloat16 over all kinds of numbers, products of bit patterns and of float32 in turn


def _to_bfloat16(rng):
    wide = rng.standard_normal(3001) * np.exp2(rng.integers(-160, 160, 3001).astype(np.float64))
    halves = (1 + np.arange(512) / 256.0) * np.repeat(2.0 ** np.array([0, -126, 100, -130]), 128)
    out = [Case(str(s), (rng.standard_normal(s), Out(s))) for s in [*SHAPES, *((n,) for n in EDGE)]]
    near = np.concatenate([np.nextafter(halves, 0), halves, np.nextafter(halves, np.inf)])
    more = (("wide", wide), ("halves", near), ("special", SPECIAL))
    return [*out, *(Case(label, (x, Out(x.shape))) for label, x in more)]


def _patterns(rng, shape):
    return ref.to_bfloat16(rng.standard_normal(shape))


def _bf16_case(rng, i, m, k, n, bias=True, act=0):
    factors = (_patterns if i % 2 else _normal, _patterns if i % 4 < 2 else _normal)
    row = rng.standard_normal(n) if bias else None
    return Case(
        f"{m}x{k}x{n} bias={bias} act={act} {i % 4}",
        (Out((m, n)), factors[0](rng, (m, k)), factors[1](rng, (k, n)), row, act),
    )


BF16_SHAPES = [(1, 1, 1), (14, 32, 32), (15, 33, 31), (1, 7, 5), (5, 8, 1), (64, 17, 48), (37, 5, 97), (29, 259, 67),
               (2, 3, 300), (129, 31, 8), (9, 1283, 20), (6, 2600, 33), (0, 3, 4), (3, 0, 4), (3, 4, 0)]  # fmt: skip

kernel(
    "to_bfloat16",
    _to_bfloat16,
    lambda rng: [Case("big", (rng.standard_normal((301, 1001)), Out((301, 1001))))],
    lambda x, y: ref.to_bfloat16(x),
)
kernel(
    "from_bfloat16",
    lambda rng: [Case(str(s), (Out(s), rng.integers(0, 2**15, s, np.uint16))) for s in SHAPES],
    lambda rng: [Case("big", (Out((256, 256)), np.arange(65536, dtype=np.uint16).reshape(256, 256)))],
    lambda y, x: ref.from_bfloat16(x),
    ulps=0,
)
kernel(
    "gemm_bf16",
    lambda rng: [_bf16_case(rng, i, *s, bias=i % 4 != 3, act=i % 4) for i, s in enumerate(BF16_SHAPES)],
    lambda rng: [_bf16_case(rng, i, *s) for i, s in enumerate([(301, 149, 257), (7, 1500, 600), (600, 1301, 60)])],
    lambda c, a, b, bias, act: ref.gemm(ref.from_bfloat16(a), ref.from_bfloat16(b), bias, act=act),
    4,
    dtypes=(F32,),
)

# --- convolution; geometry: (N,H,W,C, K,R,S, stride, pad, dilation, groups)

CONVOLUTIONS = [
    (1, 1, 1, 1, 1, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    (2, 5, 6, 1, 3, 3, 3, (1, 1), (0, 0), (1, 1), 1),
    (2, 7, 8, 3, 5, 3, 2, (2, 1), (1, 1), (1, 1), 1),
    (1, 9, 9, 4, 17, 3, 3, (1, 1), (1, 1), (2, 2), 1),
    (3, 6, 5, 6, 4, 2, 3, (1, 2), (1, 2), (1, 1), 2),
    (2, 8, 7, 5, 5, 3, 3, (1, 1), (1, 1), (1, 1), 5),
    (2, 8, 7, 4, 8, 3, 3, (2, 2), (1, 1), (1, 1), 4),
    (1, 12, 12, 6, 16, 5, 5, (1, 1), (0, 0), (1, 1), 1),
    (2, 6, 6, 33, 37, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    (2, 5, 5, 16, 32, 1, 1, (2, 2), (0, 0), (1, 1), 1),
    (1, 4, 3, 2, 3, 4, 3, (1, 1), (3, 2), (1, 1), 1),
    (1, 11, 5, 2, 3, 3, 2, (3, 2), (2, 0), (2, 3), 1),
    (2, 6, 7, 32, 64, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    (0, 5, 5, 2, 3, 3, 3, (1, 1), (0, 0), (1, 1), 1),
]
BIG_CONVOLUTIONS = [
    (5, 20, 21, 3, 16, 5, 5, (1, 1), (2, 2), (1, 1), 1),
    (4, 15, 16, 32, 37, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    (9, 28, 28, 1, 6, 5, 5, (1, 1), (0, 0), (1, 1), 1),
]


def _sizes(g):
    n, h, w, c, k, r, s, stride, pad, dil, groups = g
    p = (h + 2 * pad[0] - dil[0] * (r - 1) - 1) // stride[0] + 1
    q = (w + 2 * pad[1] - dil[1] * (s - 1) - 1) // stride[1] + 1
    return (n, h, w, c), (k, r, s, c // groups), (n, p, q, k), (*stride, *pad, *dil, groups)


def _conv(rng, g, i):
    x, w, y, geometry = _sizes(g)
    bias = rng.standard_normal(w[0]) if i % 2 else None
    return Case(f"{g} act={i % 4}", (rng.standard_normal(x), rng.standard_normal(w), bias, Out(y), *geometry, i % 4, 0))


def _conv_dx(rng, g, i):
    x, w, y, geometry = _sizes(g)
    return Case(str(g), (rng.standard_normal(y), rng.standard_normal(w), Out(x), *geometry, 0))


def _conv_dw(rng, g, i):
    x, w, y, geometry = _sizes(g)
    return Case(str(g), (rng.standard_normal(x), rng.standard_normal(y), Out(w), *geometry, 0))


def _each(make, table):
    return lambda rng: [make(rng, g, i) for i, g in enumerate(table)]


kernel(
    "conv2d",
    _each(_conv, CONVOLUTIONS),
    _each(_conv, BIG_CONVOLUTIONS),
    lambda x, w, b, y, sh, sw, ph, pw, dh, dw, groups, act, algo: ref.conv2d(
        x, w, b, y.shape[1], y.shape[2], (sh, sw), (ph, pw), (dh, dw), groups, act
    ),
    4,
)
kernel(
    "conv2d_dx",
    _each(_conv_dx, CONVOLUTIONS),
    _each(_conv_dx, BIG_CONVOLUTIONS),
    lambda dy, w, dx, sh, sw, ph, pw, dh, dw, groups, algo: ref.conv2d_dx(
        dy, w, dx.shape, (sh, sw), (ph, pw), (dh, dw), groups
    ),
    4,
)
kernel(
    "conv2d_dw",
    _each(_conv_dw, CONVOLUTIONS),
    _each(_conv_dw, BIG_CONVOLUTIONS),
    lambda x, dy, dw, sh, sw, ph, pw, dh, dwi, groups, algo: ref.conv2d_dw(
        x, dy, dw.shape, (sh, sw), (ph, pw), (dh, dwi), groups
    ),
    4,
)

# --- images


def _warp(rng, shape, size):
    """Rotations and shears that keep most samples inside, and none within rounding of the border."""
    m = np.tile(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), (shape[0], 1, 1))
    m += rng.uniform(-0.3, 0.3, m.shape)
    return Case(f"{shape}->{size}", (rng.standard_normal(shape), m, Out((shape[0], *size, shape[3]))))


kernel(
    "warp_affine",
    lambda rng: [
        _warp(rng, *s)
        for s in [
            ((2, 5, 6, 1), (5, 6)),
            ((3, 7, 4, 3), (5, 9)),
            ((1, 8, 8, 17), (8, 8)),
            ((0, 4, 4, 1), (4, 4)),
            ((1, 1, 1, 2), (3, 3)),
        ]
    ],
    lambda rng: [_warp(rng, (40, 32, 32, 1), (32, 32))],
    lambda x, m, y: ref.warp_affine(x, m, *y.shape[1:3]),
    8,
)

# --- random numbers

SEEDS = [(0, 0), (1234, 7), (2**64 - 1, 2**64 - 2), (2**33 + 5, 2**40)]


def _random(a, b):
    return lambda rng: [Case(f"{s} {seed}", (Out(s), a, b, *seed)) for s in [*SHAPES, (129,), (65,)] for seed in SEEDS]


kernel(
    "uniform",
    _random(-1.5, 2.0),
    lambda rng: [Case("big", (Out((301, 1001)), 0.0, 1.0, 5, 9))],
    lambda y, low, high, key, counter, dtype: ref.uniform(y.shape, low, high, dtype, key, counter),
    2,
    True,
)
kernel(
    "normal",
    _random(0.5, 2.0),
    lambda rng: [Case("big", (Out((301, 1001)), 0.0, 1.0, 5, 9))],
    lambda y, mean, std, key, counter, dtype: ref.normal(y.shape, mean, std, dtype, key, counter),
    4,
    True,
)
kernel(
    "dropout",
    lambda rng: [
        Case(f"{s} {p}", (rng.standard_normal(s), Out(s), p, 11, 3))
        for s in [*SHAPES, (129,)]
        for p in (0.0, 0.3, 0.5, 0.9)
    ],
    lambda rng: [Case("big", (rng.standard_normal((301, 1001)), Out((301, 1001)), 0.4, 11, 3))],
    lambda x, y, p, key, counter, dtype: ref.dropout(x, p, dtype, key, counter),
    2,
    True,
)
