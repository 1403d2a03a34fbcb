"""One `OpSpec` per public op of `rosenblatt.ops`: samples, float64 reference, gradients, error cases.

test_ops.py runs its templates over SPECS and asserts that every name of `rb.ops.__all__` is there. Samples hold float64
arrays (converted by the templates), integer arrays (labels) and plain parameters; inputs of functions with kinks are
drawn by `distinct`, away from ties and zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import reference as ref
from kerneltable import BROADCASTS, SHAPES, distinct

import rosenblatt as rb

ops = rb.ops


@dataclass(frozen=True)
class Sample:
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        shapes = [a.shape if isinstance(a, np.ndarray) else a for a in self.args]
        return f"{shapes} {self.options}"


@dataclass(frozen=True)
class Error:
    args: tuple[Any, ...]
    options: dict[str, Any]
    kind: type[Exception]
    says: str  # found in the message besides the name of the op


@dataclass(frozen=True)
class OpSpec:
    name: str
    samples: Callable[[np.random.Generator], list[Sample]]
    reference: Callable[..., Any]  # float64 in; values, or (values, bound) out
    ulps: float = 2.0
    gradients: tuple[int, ...] = ()  # positions of the arguments with a gradient
    second: bool = True  # whether second-order gradients are checked too
    errors: tuple[Error, ...] = ()
    call: Callable[..., Any] | None = None
    tensors: bool = True  # takes tensors (else plain arrays only)
    smooth: Callable[[np.random.Generator], list[Sample]] | None = None  # samples for gradients, default `samples`
    dtyped: bool = False  # the reference is told the dtype

    def __call__(self, *args: Any, **options: Any) -> Any:
        return (self.call or getattr(ops, self.name))(*args, **options)


SPECS: dict[str, OpSpec] = {}


def op(name: str, samples: Any, reference: Any, ulps: float = 2.0, **more: Any) -> None:
    SPECS[name] = OpSpec(name, samples, reference, ulps, **more)


def err(*args: Any, kind: type[Exception] = ValueError, says: str = "", **options: Any) -> Error:
    return Error(args, options, kind, says)


def normal(rng: Any, shape: Any) -> Any:
    return rng.standard_normal(shape)


def positive(rng: Any, shape: Any) -> Any:
    return rng.uniform(0.3, 2.5, shape)


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


# What no op takes as an array.
def unreal(*rest: Any, **options: Any) -> tuple[Error, ...]:
    return (
        err(np.ones((2, 2), np.complex64), *rest, kind=TypeError, says="expected real numbers", **options),
        err(np.array([["a", "b"], ["c", "d"]]), *rest, kind=TypeError, says="expected real numbers", **options),
        err([[1.0], [1.0, 2.0]], *rest, says="expected a regular array", **options),
    )


# --- elementwise


def binary(
    name: str, function: Any, draw: Any = normal, ulps: float = 1.0, gradients: Any = (0, 1), **more: Any
) -> None:
    def samples(rng: Any) -> list[Sample]:
        out = [Sample((draw(rng, a), draw(rng, b))) for a, b in BROADCASTS]
        out += [Sample((draw(rng, s), draw(rng, s))) for s in SHAPES]
        return [*out, Sample((draw(rng, (3, 5)), 1.5)), Sample((0.75, draw(rng, (3, 5))))]

    errors = (
        err(zeros(2, 3), zeros(4), says=f"{name}: shapes "),
        err(zeros(2, 3), zeros(3, 2), says="do not broadcast"),
        *unreal(1.0),
    )
    op(
        name,
        samples,
        lambda a, b: np.asarray(function(a, b), np.float64),
        ulps,
        gradients=gradients,
        errors=errors,
        **more,
    )


def apart(rng: Any, shape: Any) -> Any:
    """Distinct values on a grid shifted at random, so that two such arrays have no ties."""
    return distinct(rng, shape, 0.05) + rng.uniform(0.002, 0.02)


binary("add", np.add)
binary("sub", np.subtract)
binary("mul", np.multiply)
binary("div", np.divide, draw=lambda rng, s: positive(rng, s) * rng.choice([-1, 1], s))
binary("pow", np.power, draw=positive, ulps=8)
binary("maximum", np.maximum, draw=apart, ulps=0)
binary("minimum", np.minimum, draw=apart, ulps=0)
for _name, _function in [
    ("greater", np.greater),
    ("greater_equal", np.greater_equal),
    ("less", np.less),
    ("less_equal", np.less_equal),
    ("equal", np.equal),
]:
    binary(_name, _function, draw=lambda rng, s: np.asarray(rng.integers(-2, 3, s), np.float64), ulps=0, gradients=())


def unary(name: str, function: Any, draw: Any = normal, ulps: float = 1.0, gradients: Any = (0,), **more: Any) -> None:
    def samples(rng: Any) -> list[Sample]:
        return [Sample((draw(rng, s),)) for s in [*SHAPES, (65,), (5, 13)]]

    op(name, samples, function, ulps, gradients=gradients, errors=unreal(), **more)


unary("neg", np.negative, ulps=0)
unary("abs", np.abs, draw=distinct, ulps=0)
unary("sign", np.sign, ulps=0, gradients=())
unary("square", np.square)
unary("sqrt", np.sqrt, draw=positive)
unary("exp", np.exp)
unary("log", np.log, draw=positive, ulps=4)
unary("relu", lambda x: np.maximum(x, 0), draw=distinct, ulps=0)
unary("tanh", np.tanh, ulps=3)
unary("sigmoid", ref.sigmoid, ulps=3)

op(
    "astype",
    lambda rng: [Sample((normal(rng, s), np.float64)) for s in SHAPES],
    lambda x, dtype: x,
    0,
    gradients=(0,),
    errors=(
        err(zeros(3), np.int32, kind=TypeError, says="expected float32 or float64, got int32"),
        err(zeros(3), np.float16, kind=TypeError, says="got float16"),
        *unreal(np.float32),
    ),
)

# --- reductions


def reduction(
    name: str, function: Any, draw: Any = normal, ulps: float = 0.0, empty: bool = False, **more: Any
) -> None:
    def samples(rng: Any) -> list[Sample]:
        out = [
            Sample((draw(rng, s),), {"axis": None, "keepdims": k})
            for s in [(), (1,), (7,), (3, 5), (2, 3, 4)]
            for k in (False, True)
        ]
        for axis in (0, 1, -1, (0, 2), (-1, 0), (1, 2), (0, 1, 2), ()):
            out += [Sample((draw(rng, (3, 7, 5)),), {"axis": axis, "keepdims": k}) for k in (False, True)]
        out += [
            Sample((draw(rng, (300,)),), {"axis": 0}),
            Sample((draw(rng, (2, 133)),), {"axis": -1}),
            Sample((draw(rng, (4, 3, 2, 5)),), {"axis": (0, 2)}),
            Sample((draw(rng, (0, 3)),), {"axis": 1}),
        ]
        if empty:
            out += [Sample((draw(rng, (0, 3)),), {"axis": a}) for a in (None, 0)]
        return out

    errors = [
        err(zeros(2, 3), axis=2, says="axis 2 is out of range for 2 axes"),
        err(zeros(2, 3), axis=(0, -2), says="names an axis twice"),
        err(zeros(2, 3), axis=1.5, kind=TypeError, says="axis must be an integer"),
        *unreal(),
    ]
    if not empty:
        errors.append(err(zeros(0, 3), axis=0, says="shape (0, 3)"))
    op(name, samples, function, ulps, gradients=(0,), errors=tuple(errors), **more)


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


reduction(
    "sum",
    lambda x, axis, keepdims=False: (
        x.sum(_axes(axis), keepdims=keepdims),
        np.abs(x).sum(_axes(axis), keepdims=keepdims),
    ),
    ulps=4,
    empty=True,
)
reduction(
    "mean",
    lambda x, axis, keepdims=False: (
        x.mean(_axes(axis), keepdims=keepdims),
        np.abs(x).mean(_axes(axis), keepdims=keepdims),
    ),
    ulps=4,
)
reduction("max", lambda x, axis, keepdims=False: x.max(_axes(axis), keepdims=keepdims), draw=distinct)
reduction("min", lambda x, axis, keepdims=False: x.min(_axes(axis), keepdims=keepdims), draw=distinct)
op(
    "argmax",
    lambda rng: [
        Sample((np.asarray(rng.integers(-4, 5, s), np.float64), a))
        for s, a in [
            ((7,), None),
            ((7,), 0),
            ((3, 5), None),
            ((3, 5), 0),
            ((3, 5), -1),
            ((2, 3, 4), 1),
            ((0, 3), 1),
            ((), None),
        ]
    ],
    lambda x, axis: np.asarray(x.argmax(axis)),
    errors=(
        err(zeros(0, 3), 0, says="no element along axis 0"),
        err(zeros(3), 1, says="axis 1 is out of range"),
        *unreal(),
    ),
)

# --- moving data

op("copy", lambda rng: [Sample((normal(rng, s),)) for s in SHAPES], lambda x: x, 0, gradients=(0,), errors=unreal())
op(
    "broadcast_to",
    lambda rng: [
        Sample((normal(rng, a), b))
        for a, b in [((), (2, 3)), ((3,), (2, 3)), ((3, 1), (3, 4)), ((2, 1, 3), (4, 2, 5, 3)), ((3,), (0, 3))]
    ],
    lambda x, shape: np.broadcast_to(x, shape),
    0,
    gradients=(0,),
    errors=(err(zeros(3), (4,), says="broadcast"), *unreal((2, 2))),
)
op(
    "reshape",
    lambda rng: (
        [Sample((normal(rng, (4, 6)), s)) for s in [(24,), (2, -1), (3, 2, 4), (4, 6), (1, 24, 1)]]
        + [Sample((normal(rng, (0, 3)), (3, 0))), Sample((normal(rng, (1,)), ()))]
    ),
    lambda x, shape: x.reshape(shape),
    0,
    gradients=(0,),
    errors=(
        err(zeros(2, 3), (4,), says="6 elements of shape (2, 3) do not fit"),
        err(zeros(2, 3), (-1, -1), says="do not fit"),
        *unreal((4,)),
    ),
)
op(
    "flatten",
    lambda rng: [Sample((normal(rng, (2, 3, 4)), s)) for s in (0, 1, 2, -1)] + [Sample((normal(rng, ()),))],
    lambda x, start=0: x.reshape(*x.shape[:start], -1),
    0,
    gradients=(0,),
    errors=(err(zeros(2, 3), 2, says="axis 2 is out of range"), *unreal()),
)
op(
    "transpose",
    lambda rng: (
        [Sample((normal(rng, (2, 3, 4)), *a)) for a in [(), ((0, 2, 1),), (2, 0, 1), ((-1, 0, 1),)]]
        + [Sample((normal(rng, (5,)),)), Sample((normal(rng, (0, 3)),))]
    ),
    lambda x, *axes: x.transpose(*axes),
    0,
    gradients=(0,),
    errors=(
        err(zeros(2, 3), (0, 0), says="not a permutation"),
        err(zeros(2, 3), (0, 2), says="out of range"),
        err(zeros(2, 3), (0,), says="not a permutation"),
        *unreal(),
    ),
)
op(
    "getitem",
    lambda rng: [
        Sample((normal(rng, (4, 5, 6)), i))
        for i in [
            0,
            -1,
            np.s_[1:3],
            np.s_[::2, 1],
            np.s_[..., ::-1],
            np.s_[None, 2],
            np.s_[1, 2, 3],
            np.s_[:, 3:1],
            np.s_[::-2, ..., None, 4],
        ]
    ],
    lambda x, index: np.asarray(x[index]),
    0,
    gradients=(0,),
    errors=(
        err(zeros(2, 3), 2, kind=IndexError),
        err(zeros(2, 3), [0, 1], kind=TypeError, says="expected integers, slices"),
        err(zeros(2, 3), np.array([0]), kind=TypeError, says="ndarray"),
        err(zeros(2, 3), (0, 0, 0), kind=IndexError),
        err(zeros(2, 3), True, kind=TypeError, says="bool"),
    ),
)


def _joined(function: str, *axes: int) -> Any:
    def samples(rng: Any) -> list[Sample]:
        shapes = [[(2, 3), (2, 3)], [(4, 1, 2)] * 3, [(5, 7)], [(0, 3), (0, 3)]]
        return [Sample((*[normal(rng, s) for s in group], axis)) for group in shapes for axis in axes]

    return samples


op(
    "concat",
    lambda rng: [
        *_joined("concat", 0, 1, -1)(rng),
        Sample((normal(rng, (2, 3)), normal(rng, (2, 0)), normal(rng, (2, 5)), 1)),
    ],
    lambda *a: np.concatenate(a[:-1], a[-1]),
    0,
    gradients=(0, 1),
    call=lambda *a: ops.concat(a[:-1], a[-1]),
    errors=(
        err(0, says="at least one array"),
        err(zeros(2, 3), zeros(3, 3), 1, says="shape (3, 3) of array 1"),
        err(zeros(2, 3), zeros(2, 3), 2, says="axis 2 is out of range"),
    ),
)
op(
    "stack",
    _joined("stack", 0, 1, -1),
    lambda *a: np.stack(a[:-1], a[-1]),
    0,
    gradients=(0, 1),
    call=lambda *a: ops.stack(a[:-1], a[-1]),
    errors=(err(0, says="at least one array"), err(zeros(2, 3), zeros(2, 3), 3, says="out of range")),
)
for _name, _value in (("zeros", 0.0), ("ones", 1.0)):
    op(
        _name,
        lambda rng: [Sample((s,)) for s in SHAPES],
        lambda shape, dtype, v=_value: np.full(shape, v, dtype),
        0,
        tensors=False,
        dtyped=True,
        errors=(err((2,), np.int32, kind=TypeError, says="expected float32 or float64"), err((-1,), kind=ValueError)),
    )

# --- products


def _matmul(a: Any, b: Any) -> Any:
    return a @ b, np.abs(a) @ np.abs(b)


op(
    "matmul",
    lambda rng: [
        Sample((normal(rng, a), normal(rng, b)))
        for a, b in [
            ((2, 3), (3, 4)),
            ((5,), (5,)),
            ((5,), (5, 3)),
            ((2, 5), (5,)),
            ((4, 2, 3), (3, 5)),
            ((4, 2, 3), (4, 3, 5)),
            ((2, 1, 2, 3), (4, 3, 5)),
            ((3,), (2, 3, 4)),
            ((2, 4, 3), (3,)),
            ((0, 3), (3, 2)),
            ((2, 0), (0, 3)),
            ((17, 33), (33, 31)),
            ((1, 1), (1, 1)),
            ((3, 2, 0), (0, 4)),
        ]
    ],
    _matmul,
    4,
    gradients=(0, 1),
    errors=(
        err(zeros(2, 3), zeros(2, 3), says="inner sizes differ: (2, 3) @ (2, 3)"),
        err(zeros(2, 3, 4), zeros(3, 4, 5), says="leading axes do not broadcast"),
        err(zeros(2, 3), 2.0, says="at least one axis"),
        *unreal(zeros(2, 2)),
    ),
)


def _gemms(rng: Any) -> list[Sample]:
    out = []
    for i, (ta, tb, bias) in enumerate(itertools.product((False, True), (False, True), (False, True))):
        m, k, n = (3, 5, 7) if i % 2 else (17, 33, 31)
        out.append(
            Sample(
                (
                    normal(rng, (k, m) if ta else (m, k)),
                    normal(rng, (n, k) if tb else (k, n)),
                    normal(rng, (n,)) if bias else None,
                ),
                {"trans_a": ta, "trans_b": tb, "alpha": 1.0 - 0.5 * (i % 3), "activation": ref.ACTIVATIONS[i % 4]},
            )
        )
    return out


op(
    "gemm",
    _gemms,
    lambda a, b, bias=None, alpha=1.0, trans_a=False, trans_b=False, activation=None: ref.gemm(
        a.T if trans_a else a, b.T if trans_b else b, bias, alpha=alpha, act=activation
    ),
    4,
    tensors=False,
    errors=(
        err(zeros(2, 3), zeros(2, 3), says="expected [M,K] and [K,N], got (2, 3) and (2, 3)"),
        err(zeros(2, 3), zeros(3), says="got (2, 3) and (3,)"),
        err(zeros(2, 3), zeros(3, 4), zeros(3), says="bias of shape (4,), got (3,)"),
        err(zeros(2, 3), zeros(3, 4), beta=1.0, says="beta needs out"),
        err(zeros(2, 3), zeros(3, 4), out=zeros(2, 5), says="out of shape (2, 4)"),
        err(zeros(2, 3), zeros(3, 4), out=np.zeros((2, 4)), says="of float32"),
        err(zeros(2, 3), zeros(3, 4), out=zeros(4, 2).T, says="contiguous"),
        err(zeros(2, 3), zeros(3, 4), out=[1], says="got list"),
        err(zeros(2, 3), zeros(3, 4), activation="gelu", says="activation must be one of"),
        *unreal(zeros(2, 2)),
    ),
)


# --- bfloat16; the product takes float64 through `call`, which gives its arguments' dtype back


def _product_bf16(a: Any, b: Any, bias: Any = None, **options: Any) -> Any:
    wide = [x for x in (a, b, bias) if isinstance(x, np.ndarray) and x.dtype == np.float64]
    narrow = [x.astype(np.float32) if any(x is w for w in wide) else x for x in (a, b, bias)]
    y = ops.gemm_bf16(*narrow, **options)
    return y.astype(np.float64) if wide else y


def _reference_bf16(a: Any, b: Any, bias: Any = None, activation: Any = None, dtype: Any = None) -> Any:
    a, b = (ref.from_bfloat16(x if x.dtype == np.uint16 else x.astype(np.float32)) for x in (a, b))
    want, bound = ref.gemm(a, b, bias, act=activation)
    return want, bound * (1 if dtype == np.float32 else 2.0**29)


op(
    "gemm_bf16",
    lambda rng: [
        Sample(
            (normal(rng, (m, k)), (ref.to_bfloat16 if i else np.array)(normal(rng, (k, n))), normal(rng, (n,))),
            {"activation": ref.ACTIVATIONS[i]},
        )
        for i, (m, k, n) in enumerate([(3, 5, 7), (17, 33, 31), (1, 8, 40), (20, 1, 9)])
    ],
    _reference_bf16,
    4,
    call=_product_bf16,
    tensors=False,
    dtyped=True,
    errors=(
        err(zeros(2, 3), zeros(2, 3), says="expected [M,K] and [K,N], got (2, 3) and (2, 3)"),
        err(zeros(2, 3), zeros(3), says="got (2, 3) and (3,)"),
        err(zeros(2, 3), zeros(3, 4), zeros(3), says="bias of shape (4,), got (3,)"),
        err(zeros(2, 3), zeros(3, 4), activation="gelu", says="activation must be one of"),
    ),
)
op(
    "to_bfloat16",
    lambda rng: [Sample((normal(rng, s),)) for s in [(), (0,), (37,), (4, 5, 6)]],
    ref.to_bfloat16,
    tensors=False,
    errors=(err(np.zeros(3, np.complex64), kind=TypeError, says="complex64"),),
)
op(
    "from_bfloat16",
    lambda rng: [Sample((rng.integers(0, 2**15, s, np.uint16),)) for s in [(), (0,), (37,), (4, 5, 6)]],
    ref.from_bfloat16,
    0,
    tensors=False,
    errors=(
        err(zeros(3), kind=TypeError, says="expected an array of uint16, got float32"),
        err([1], kind=TypeError, says="got list"),
        err(np.zeros(2, np.uint16), dtype=np.int32, kind=TypeError, says="float32 or float64, got int32"),
    ),
)


def _linears(rng: Any) -> list[Sample]:
    out = []
    for i, s in enumerate([(1,), (4,), (2, 4), (7, 5), (2, 3, 4), (0, 4), (17, 33)]):
        w = normal(rng, (3 + 2 * i, s[-1]))
        out.append(
            Sample(
                (distinct(rng, s) if s[0] else normal(rng, s), w, normal(rng, (w.shape[0],)) if i % 3 else None),
                {"activation": ref.ACTIVATIONS[i % 4]},
            )
        )
    return [
        *out,
        *(
            Sample((normal(rng, (3, 4)), normal(rng, (5, 4)), normal(rng, (5,))), {"activation": a})
            for a in ref.ACTIVATIONS
        ),
    ]


op(
    "linear",
    _linears,
    lambda x, w, b=None, activation=None: ref.gemm(x, w.T, b, act=activation),
    4,
    gradients=(0, 1, 2),
    errors=(
        err(zeros(2, 3), zeros(4, 5), says="expected x of shape [..., 5] for weight (4, 5), got (2, 3)"),
        err(zeros(2, 3), zeros(3), says="expected weight [K,C], got shape (3,)"),
        err(zeros(2, 3), zeros(4, 3), zeros(3), says="bias of shape (4,), got (3,)"),
        err(zeros(2, 3), zeros(4, 3), activation="swish", says="relu, sigmoid, tanh"),
        *unreal(zeros(2, 2)),
    ),
)
