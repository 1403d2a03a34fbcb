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
import rosenblatt as rb
from kerneltable import BROADCASTS, SHAPES, distinct

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


def binary(name: str, function: Any, draw: Any = normal, ulps: float = 1.0, gradients: Any = (0, 1), **more: Any) -> None:
    def samples(rng: Any) -> list[Sample]:
        out = [Sample((draw(rng, a), draw(rng, b))) for a, b in BROADCASTS]
        out += [Sample((draw(rng, s), draw(rng, s))) for s in SHAPES]
        return [*out, Sample((draw(rng, (3, 5)), 1.5)), Sample((0.75, draw(rng, (3, 5))))]

    errors = (
        err(zeros(2, 3), zeros(4), says=f"{name}: shapes "),
        err(zeros(2, 3), zeros(3, 2), says="do not broadcast"),
        *unreal(1.0),
    )
    op(name, samples, lambda a, b: np.asarray(function(a, b), np.float64), ulps, gradients=gradients, errors=errors, **more)


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
for _name, _function in [("greater", np.greater), ("greater_equal", np.greater_equal), ("less", np.less),
                         ("less_equal", np.less_equal), ("equal", np.equal)]:
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

op("astype", lambda rng: [Sample((normal(rng, s), np.float64)) for s in SHAPES], lambda x, dtype: x, 0, gradients=(0,),
   errors=(err(zeros(3), np.int32, kind=TypeError, says="expected float32 or float64, got int32"),
           err(zeros(3), np.float16, kind=TypeError, says="got float16"), *unreal(np.float32)))

# --- reductions


def reduction(name: str, function: Any, draw: Any = normal, ulps: float = 0.0, empty: bool = False, **more: Any) -> None:
    def samples(rng: Any) -> list[Sample]:
        out = [Sample((draw(rng, s),), {"axis": None, "keepdims": k}) for s in [(), (1,), (7,), (3, 5), (2, 3, 4)]
               for k in (False, True)]
        for axis in (0, 1, -1, (0, 2), (-1, 0), (1, 2), (0, 1, 2), ()):
            out += [Sample((draw(rng, (3, 7, 5)),), {"axis": axis, "keepdims": k}) for k in (False, True)]
        out += [Sample((draw(rng, (300,)),), {"axis": 0}), Sample((draw(rng, (2, 133)),), {"axis": -1}),
                Sample((draw(rng, (4, 3, 2, 5)),), {"axis": (0, 2)}), Sample((draw(rng, (0, 3)),), {"axis": 1})]
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


reduction("sum", lambda x, axis, keepdims=False: (x.sum(_axes(axis), keepdims=keepdims),
                                                  np.abs(x).sum(_axes(axis), keepdims=keepdims)), ulps=4, empty=True)
reduction("mean", lambda x, axis, keepdims=False: (x.mean(_axes(axis), keepdims=keepdims),
                                                   np.abs(x).mean(_axes(axis), keepdims=keepdims)), ulps=4)
reduction("max", lambda x, axis, keepdims=False: x.max(_axes(axis), keepdims=keepdims), draw=distinct)
reduction("min", lambda x, axis, keepdims=False: x.min(_axes(axis), keepdims=keepdims), draw=distinct)
op("argmax",
   lambda rng: [Sample((np.asarray(rng.integers(-4, 5, s), np.float64), a)) for s, a in
                [((7,), None), ((7,), 0), ((3, 5), None), ((3, 5), 0), ((3, 5), -1), ((2, 3, 4), 1), ((0, 3), 1), ((), None)]],
   lambda x, axis: np.asarray(x.argmax(axis)),
   errors=(err(zeros(0, 3), 0, says="no element along axis 0"), err(zeros(3), 1, says="axis 1 is out of range"), *unreal()))

# --- moving data

op("copy", lambda rng: [Sample((normal(rng, s),)) for s in SHAPES], lambda x: x, 0, gradients=(0,), errors=unreal())
op("broadcast_to", lambda rng: [Sample((normal(rng, a), b)) for a, b in
                                [((), (2, 3)), ((3,), (2, 3)), ((3, 1), (3, 4)), ((2, 1, 3), (4, 2, 5, 3)), ((3,), (0, 3))]],
   lambda x, shape: np.broadcast_to(x, shape), 0, gradients=(0,),
   errors=(err(zeros(3), (4,), says="broadcast"), *unreal((2, 2))))
op("reshape", lambda rng: [Sample((normal(rng, (4, 6)), s)) for s in [(24,), (2, -1), (3, 2, 4), (4, 6), (1, 24, 1)]]
   + [Sample((normal(rng, (0, 3)), (3, 0))), Sample((normal(rng, (1,)), ()))],
   lambda x, shape: x.reshape(shape), 0, gradients=(0,),
   errors=(err(zeros(2, 3), (4,), says="6 elements of shape (2, 3) do not fit"),
           err(zeros(2, 3), (-1, -1), says="do not fit"), *unreal((4,))))
op("flatten", lambda rng: [Sample((normal(rng, (2, 3, 4)), s)) for s in (0, 1, 2, -1)] + [Sample((normal(rng, ()),))],
   lambda x, start=0: x.reshape(*(x.shape[:start] if start >= 0 else x.shape[:start]), -1), 0, gradients=(0,),
   errors=(err(zeros(2, 3), 2, says="axis 2 is out of range"), *unreal()))
op("transpose", lambda rng: [Sample((normal(rng, (2, 3, 4)), *a)) for a in [(), ((0, 2, 1),), (2, 0, 1), ((-1, 0, 1),)]]
   + [Sample((normal(rng, (5,)),)), Sample((normal(rng, (0, 3)),))],
   lambda x, *axes: x.transpose(*axes), 0, gradients=(0,),
   errors=(err(zeros(2, 3), (0, 0), says="not a permutation"), err(zeros(2, 3), (0, 2), says="out of range"),
           err(zeros(2, 3), (0,), says="not a permutation"), *unreal()))
op("getitem", lambda rng: [Sample((normal(rng, (4, 5, 6)), i)) for i in
                           [0, -1, np.s_[1:3], np.s_[::2, 1], np.s_[..., ::-1], np.s_[None, 2], np.s_[1, 2, 3],
                            np.s_[:, 3:1], np.s_[::-2, ..., None, 4]]],
   lambda x, index: np.asarray(x[index]), 0, gradients=(0,),
   errors=(err(zeros(2, 3), 2, kind=IndexError), err(zeros(2, 3), [0, 1], kind=TypeError, says="expected integers, slices"),
           err(zeros(2, 3), np.array([0]), kind=TypeError, says="ndarray"), err(zeros(2, 3), (0, 0, 0), kind=IndexError),
           err(zeros(2, 3), True, kind=TypeError, says="bool")))


def _joined(function: str, *axes: int) -> Any:
    def samples(rng: Any) -> list[Sample]:
        shapes = [[(2, 3), (2, 3)], [(4, 1, 2)] * 3, [(5, 7)], [(0, 3), (0, 3)]]
        return [Sample((*[normal(rng, s) for s in group], axis)) for group in shapes for axis in axes]

    return samples


op("concat", lambda rng: [*_joined("concat", 0, 1, -1)(rng), Sample((normal(rng, (2, 3)), normal(rng, (2, 0)), normal(rng, (2, 5)), 1))],
   lambda *a: np.concatenate(a[:-1], a[-1]), 0, gradients=(0, 1), call=lambda *a: ops.concat(a[:-1], a[-1]),
   errors=(err(0, says="at least one array"), err(zeros(2, 3), zeros(3, 3), 1, says="shape (3, 3) of array 1"),
           err(zeros(2, 3), zeros(2, 3), 2, says="axis 2 is out of range")))
op("stack", _joined("stack", 0, 1, -1), lambda *a: np.stack(a[:-1], a[-1]), 0, gradients=(0, 1),
   call=lambda *a: ops.stack(a[:-1], a[-1]),
   errors=(err(0, says="at least one array"), err(zeros(2, 3), zeros(2, 3), 3, says="out of range")))
for _name, _value in (("zeros", 0.0), ("ones", 1.0)):
    op(_name, lambda rng: [Sample((s,)) for s in SHAPES],
       lambda shape, dtype, v=_value: np.full(shape, v, dtype), 0, tensors=False, dtyped=True,
       errors=(err((2,), np.int32, kind=TypeError, says="expected float32 or float64"), err((-1,), kind=ValueError)))

# --- products


def _matmul(a: Any, b: Any) -> Any:
    return a @ b, np.abs(a) @ np.abs(b)


op("matmul", lambda rng: [Sample((normal(rng, a), normal(rng, b))) for a, b in
                          [((2, 3), (3, 4)), ((5,), (5,)), ((5,), (5, 3)), ((2, 5), (5,)), ((4, 2, 3), (3, 5)),
                           ((4, 2, 3), (4, 3, 5)), ((2, 1, 2, 3), (4, 3, 5)), ((3,), (2, 3, 4)), ((2, 4, 3), (3,)),
                           ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((17, 33), (33, 31)), ((1, 1), (1, 1)), ((3, 2, 0), (0, 4))]],
   _matmul, 4, gradients=(0, 1),
   errors=(err(zeros(2, 3), zeros(2, 3), says="inner sizes differ: (2, 3) @ (2, 3)"),
           err(zeros(2, 3, 4), zeros(3, 4, 5), says="leading axes do not broadcast"),
           err(zeros(2, 3), 2.0, says="at least one axis"), *unreal(zeros(2, 2))))


def _gemms(rng: Any) -> list[Sample]:
    out = []
    for i, (ta, tb, bias) in enumerate(itertools.product((False, True), (False, True), (False, True))):
        m, k, n = (3, 5, 7) if i % 2 else (17, 33, 31)
        out.append(Sample((normal(rng, (k, m) if ta else (m, k)), normal(rng, (n, k) if tb else (k, n)),
                           normal(rng, (n,)) if bias else None),
                          {"trans_a": ta, "trans_b": tb, "alpha": 1.0 - 0.5 * (i % 3), "activation": ref.ACTIVATIONS[i % 4]}))
    return out


op("gemm", _gemms, lambda a, b, bias=None, alpha=1.0, trans_a=False, trans_b=False, activation=None:
   ref.gemm(a.T if trans_a else a, b.T if trans_b else b, bias, alpha=alpha, act=activation), 4, tensors=False,
   errors=(err(zeros(2, 3), zeros(2, 3), says="expected [M,K] and [K,N], got (2, 3) and (2, 3)"),
           err(zeros(2, 3), zeros(3), says="got (2, 3) and (3,)"),
           err(zeros(2, 3), zeros(3, 4), zeros(3), says="bias of shape (4,), got (3,)"),
           err(zeros(2, 3), zeros(3, 4), beta=1.0, says="beta needs out"),
           err(zeros(2, 3), zeros(3, 4), out=zeros(2, 5), says="out of shape (2, 4)"),
           err(zeros(2, 3), zeros(3, 4), out=np.zeros((2, 4)), says="of float32"),
           err(zeros(2, 3), zeros(3, 4), out=zeros(4, 2).T, says="contiguous"),
           err(zeros(2, 3), zeros(3, 4), out=[1], says="got list"),
           err(zeros(2, 3), zeros(3, 4), activation="gelu", says="activation must be one of"), *unreal(zeros(2, 2))))


def _linears(rng: Any) -> list[Sample]:
    out = []
    for i, s in enumerate([(1,), (4,), (2, 4), (7, 5), (2, 3, 4), (0, 4), (17, 33)]):
        w = normal(rng, (3 + 2 * i, s[-1]))
        out.append(Sample((distinct(rng, s) if s[0] else normal(rng, s), w, normal(rng, (w.shape[0],)) if i % 3 else None),
                          {"activation": ref.ACTIVATIONS[i % 4]}))
    return [*out, *(Sample((normal(rng, (3, 4)), normal(rng, (5, 4)), normal(rng, (5,))), {"activation": a})
                    for a in ref.ACTIVATIONS)]


op("linear", _linears, lambda x, w, b=None, activation=None: ref.gemm(x, w.T, b, act=activation), 4, gradients=(0, 1, 2),
   errors=(err(zeros(2, 3), zeros(4, 5), says="expected x of shape [..., 5] for weight (4, 5), got (2, 3)"),
           err(zeros(2, 3), zeros(3), says="expected weight [K,C], got shape (3,)"),
           err(zeros(2, 3), zeros(4, 3), zeros(3), says="bias of shape (4,), got (3,)"),
           err(zeros(2, 3), zeros(4, 3), activation="swish", says="relu, sigmoid, tanh"), *unreal(zeros(2, 2))))

# --- convolution and pooling


def _pair(v: Any) -> tuple[int, int]:
    return (v, v) if isinstance(v, int) else tuple(v)


def _conv2d(x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
            activation: Any = None) -> Any:
    (sh, sw), (dh, dw) = _pair(stride), _pair(dilation)
    r, s = w.shape[1:3]
    if padding == "same":
        v, h = dh * (r - 1), dw * (s - 1)
        padding = ((v // 2, v - v // 2), (h // 2, h - h // 2))
    elif padding == "valid":
        padding = 0
    if not isinstance(padding, int) and not isinstance(padding[0], int):
        (top, bottom), (left, right) = padding
    else:
        (top, left), (bottom, right) = _pair(padding), _pair(padding)
    p = (x.shape[1] + top + bottom - dh * (r - 1) - 1) // sh + 1
    q = (x.shape[2] + left + right - dw * (s - 1) - 1) // sw + 1
    return ref.conv2d(x, w, b, p, q, (sh, sw), (top, left), (dh, dw), groups, activation)


def _convs(rng: Any) -> list[Sample]:
    table: list[tuple[Any, Any, bool, dict[str, Any]]] = [
        ((1, 4, 4, 1), (1, 3, 3, 1), True, {}),
        ((2, 6, 5, 3), (5, 3, 2, 3), False, {"stride": (2, 1), "padding": (1, 0)}),
        ((2, 5, 6, 2), (3, 2, 3, 2), True, {"padding": "same", "activation": "tanh"}),
        ((1, 7, 7, 2), (4, 3, 3, 2), True, {"dilation": 2, "activation": "sigmoid"}),
        ((2, 5, 5, 4), (6, 3, 3, 2), True, {"groups": 2, "padding": 1}),
        ((1, 5, 5, 3), (3, 3, 3, 1), False, {"groups": 3, "padding": ((0, 2), (1, 0)), "activation": "relu"}),
        ((2, 4, 4, 7), (11, 1, 1, 7), True, {"padding": "valid"}),
        ((0, 5, 5, 2), (3, 3, 3, 2), True, {}),
        ((1, 9, 4, 2), (3, 4, 3, 2), True, {"stride": 3, "padding": ((2, 1), (0, 1)), "dilation": (2, 1)}),
        ((1, 3, 3, 1), (2, 3, 3, 1), True, {"padding": 2}),
    ]
    return [Sample((normal(rng, x), normal(rng, w), normal(rng, w[:1]) if b else None), o) for x, w, b, o in table]


op("conv2d", _convs, _conv2d, 4, gradients=(0, 1, 2), errors=(
    err(zeros(1, 3, 8, 8), zeros(4, 3, 3, 3), says="looks like NCHW"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 2), says="expected x with 2 channels"),
    err(zeros(8, 8, 3), zeros(4, 3, 3, 3), says="expected x [N,H,W,C], got shape (8, 8, 3)"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3), says="expected weight [K,R,S,C/groups]"),
    err(zeros(1, 2, 2, 3), zeros(4, 3, 3, 3), says="does not fit an input of 2 with 0 padding"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), zeros(3), says="bias of shape (4,), got (3,)"),
    err(zeros(1, 8, 8, 4), zeros(3, 3, 3, 2), groups=2, says="3 output channels do not split into 2 groups"),
    err(zeros(1, 8, 8, 4), zeros(4, 3, 3, 2), groups=0, says="groups must be a positive integer"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), stride=0, says="stride must be at least 1"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), stride=(1, 2, 3), says="stride must be an integer or a pair"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), dilation=1.5, kind=TypeError, says="dilation must be an integer"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), padding=-1, says="padding must be at least 0"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), padding="full", says="'valid' or 'same', got 'full'"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), padding="same", stride=2, says="padding 'same' needs stride 1"),
    err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), activation="x", says="activation must be one of"),
))

_GEOMETRY = [((2, 6, 5, 4), (6, 3, 2, 2), (2, 5, 2, 6), (1, 2, 0, 0, 1, 1, 2)),
             ((1, 7, 7, 3), (5, 3, 3, 3), (1, 7, 7, 5), (1, 1, 1, 1, 1, 1, 1)),
             ((2, 8, 6, 1), (2, 3, 2, 1), (2, 2, 4, 2), (3, 1, 0, 0, 2, 2, 1))]


def _split(g: Any) -> tuple[Any, ...]:
    return (g[0], g[1]), (g[2], g[3]), (g[4], g[5]), g[6]


op("conv2d_dx", lambda rng: [Sample((normal(rng, y), normal(rng, w), x, g)) for x, w, y, g in _GEOMETRY],
   lambda dy, w, x, g: ref.conv2d_dx(dy, w, x, *_split(g)), 4, gradients=(0, 1),
   errors=(err(zeros(1, 4, 4, 2), zeros(3, 3, 3, 1), (1, 6, 6, 1), (1, 1, 0, 0, 1, 1, 1), says="dy"),
           err(zeros(1, 4, 4, 3), zeros(3, 3, 3, 1), (1, 6, 6, 2), (1, 1, 0, 0, 1, 1, 1), says="channels")))
op("conv2d_dw", lambda rng: [Sample((normal(rng, x), normal(rng, y), w, g)) for x, w, y, g in _GEOMETRY],
   lambda x, dy, w, g: ref.conv2d_dw(x, dy, w, *_split(g)), 4, gradients=(0, 1),
   errors=(err(zeros(1, 6, 6, 1), zeros(1, 4, 4, 2), (3, 3, 3, 1), (1, 1, 0, 0, 1, 1, 1), says="dy"),))


def _pools(rng: Any) -> list[Sample]:
    table: list[tuple[Any, tuple[Any, ...]]] = [
        ((1, 1, 1, 1), (1,)), ((2, 6, 8, 3), (2,)), ((1, 7, 9, 5), ((3, 2), (2, 1), (1, 1))), ((2, 5, 5, 17), (2, 1)),
        ((1, 9, 7, 4), (3, None, 1)), ((0, 4, 4, 2), (2,)), ((1, 8, 5, 3), ((2, 3), (3, 4))), ((1, 6, 6, 1), (3, 1)),
    ]
    return [Sample((distinct(rng, s), *p)) for s, p in table]


def _pool_geometry(x: Any, kernel: Any, stride: Any, padding: Any) -> tuple[Any, ...]:
    k, p = _pair(kernel), _pair(padding)
    s = k if stride is None else _pair(stride)
    size = [(x.shape[i + 1] + 2 * p[i] - k[i]) // s[i] + 1 for i in (0, 1)]
    return (*size, k, s, p)


_POOL_ERRORS = (
    err(zeros(4, 4, 1), 2, says="expected x [N,H,W,C], got shape (4, 4, 1)"),
    err(zeros(1, 4, 4, 1), 0, says="kernel_size must be at least 1"),
    err(zeros(1, 4, 4, 1), (1, 2, 3), says="kernel_size must be an integer or a pair"),
    err(zeros(1, 4, 4, 1), "2", kind=TypeError, says="kernel_size must be an integer"),
    err(zeros(1, 4, 4, 1), 2, 0, says="stride must be at least 1"),
    err(zeros(1, 4, 4, 1), 2, 2, 2, says="more than half of kernel_size (2, 2)"),
    err(zeros(1, 4, 4, 1), 5, says="does not fit an input of 4"),
)
op("max_pool2d", _pools, lambda x, k, s=None, p=0: ref.max_pool2d(x, *_pool_geometry(x, k, s, p))[0], 0, gradients=(0,),
   errors=_POOL_ERRORS)
op("avg_pool2d", lambda rng: [Sample(s.args, {"count_include_pad": bool(c)}) for s in _pools(rng) for c in (0, 1)],
   lambda x, k, s=None, p=0, count_include_pad=True:
   ref.avg_pool2d(x, *_pool_geometry(x, k, s, p), count_include_pad), 4, gradients=(0,), errors=_POOL_ERRORS)
op("warp_affine",
   lambda rng: [Sample((normal(rng, (n, 5, 6, c)), np.tile(np.eye(2, 3), (n, 1, 1)) + rng.uniform(-0.3, 0.3, (n, 2, 3)), s))
                for n, c, s in [(2, 1, None), (1, 3, (4, 9)), (0, 2, None), (3, 17, 5)]],
   lambda x, m, s: ref.warp_affine(x, m, *(x.shape[1:3] if s is None else _pair(s))), 8, tensors=False,
   errors=(err(zeros(5, 5, 1), zeros(1, 2, 3), says="expected x [N,H,W,C]"),
           err(zeros(2, 5, 5, 1), zeros(1, 2, 3), says="expected matrices of shape (2, 2, 3), got (1, 2, 3)"),
           err(zeros(2, 5, 5, 1), zeros(2, 2, 3), 0, says="size must be at least 1")))

# --- softmax and losses


def _moved(function: Any) -> Any:
    def reference(x: Any, axis: int = -1) -> Any:
        y, bound = function(np.moveaxis(x, axis, -1))
        return np.moveaxis(y, -1, axis), np.moveaxis(bound, -1, axis)

    return reference


for _name, _moving in (("softmax", ref.softmax), ("log_softmax", ref.log_softmax)):
    op(_name, lambda rng: [Sample((normal(rng, s) * 3, a)) for s, a in
                           [((5,), -1), ((3, 7), 1), ((3, 7), 0), ((2, 3, 4), 1), ((0, 4), 1), ((1, 1), -1), ((2, 129), -1)]],
       _moved(_moving), 8, gradients=(0,),
       errors=(err(np.float32(1.0), says="at least one axis"), err(zeros(2, 3), 2, says="axis 2 is out of range"),
               err(zeros(2, 3), "1", kind=TypeError, says="axis must be an integer"), *unreal()))


def _reduce(loss: Any, bound: Any, reduction: str) -> Any:
    if reduction == "none":
        return loss, bound
    f = np.mean if reduction == "mean" else np.sum
    return np.asarray(f(loss)), np.asarray(f(bound)) + np.abs(f(loss))


REDUCTIONS = ("mean", "sum", "none")


def _cross_entropy(x: Any, target: Any, reduction: str = "mean") -> Any:
    if np.asarray(target).dtype.kind == "f":
        y, bound = ref.log_softmax(x)
        return _reduce(-(y * target).sum(-1), (bound * np.abs(target)).sum(-1), reduction)
    return _reduce(*ref.cross_entropy(x, target), reduction)


def _xents(rng: Any) -> list[Sample]:
    out = []
    for r, s in itertools.product(REDUCTIONS, [(1, 2), (5, 3), (2, 3, 7), (4,), (17, 10)]):
        out.append(Sample((normal(rng, s) * 2, rng.integers(0, s[-1], s[:-1])), {"reduction": r}))
    out += [Sample((normal(rng, (4, 5)), rng.dirichlet(np.ones(5), 4)), {"reduction": r}) for r in REDUCTIONS]
    return [*out, Sample((normal(rng, (0, 3)), np.zeros(0, np.int64)), {"reduction": "sum"})]


_LABELS = np.array([0, 1])
op("cross_entropy", _xents, _cross_entropy, 8, gradients=(0,), errors=(
    err(zeros(2, 3), np.array([0, 3]), says="labels must be in [0, 3), got values from 0 to 3"),
    err(zeros(2, 3), np.array([-1, 0]), says="labels must be in [0, 3)"),
    err(zeros(2, 3), np.array([0, 1, 2]), says="expected labels of shape (2,), got (3,)"),
    err(zeros(2, 3), zeros(2, 2), says="target probabilities of shape (2, 3), got (2, 2)"),
    err(zeros(2, 3), np.array(["a", "b"]), kind=TypeError, says="expected integer labels"),
    err(zeros(2, 3), _LABELS, reduction="max", says="reduction must be 'mean', 'sum' or 'none', got 'max'"),
    err(np.float32(1), np.array(0), says="expected logits [..., C], got a scalar"), *unreal(_LABELS)))
op("mse_loss",
   lambda rng: [Sample((normal(rng, s), normal(rng, s)), {"reduction": r}) for r in REDUCTIONS
                for s in [(), (3,), (4, 5), (2, 3, 4)]],
   lambda a, b, reduction: _reduce((a - b) ** 2, (np.abs(a) + np.abs(b)) ** 2, reduction), 6, gradients=(0, 1),
   errors=(err(zeros(2, 3), zeros(2), says="expected a target of shape (2, 3) like the prediction, got (2,)"),
           err(zeros(2, 1), zeros(2), says="expected a target of shape (2, 1)"),
           err(zeros(2), zeros(2), reduction="x", says="reduction must be"), *unreal(zeros(2, 2))))


def _perceptron(net: Any, labels: Any, reduction: str = "sum") -> Any:
    error = (net >= 0) - ref.one_hot(labels, net.shape[1])
    return _reduce((error * net).sum(1), np.abs(error * net).sum(1), reduction)


op("perceptron_loss",
   lambda rng: [Sample((distinct(rng, s), rng.integers(0, s[1], s[0])), {"reduction": r}) for r in REDUCTIONS
                for s in [(1, 2), (5, 3), (7, 10)]],
   _perceptron, 6, gradients=(0,),
   errors=(err(zeros(3), np.array([0]), says="expected net inputs [N,C], got shape (3,)"),
           err(zeros(2, 3), np.array([0, 5]), says="labels must be in [0, 3)"),
           err(zeros(2, 3), np.array([0.0, 1.0]), kind=TypeError, says="expected integer labels"),
           err(zeros(2, 3), _LABELS, reduction="x", says="reduction must be")))
op("one_hot", lambda rng: [Sample((rng.integers(0, 5, s), 5)) for s in [(), (4,), (2, 3), (0,)]],
   lambda labels, classes, dtype: ref.one_hot(labels, classes).reshape(*np.shape(labels), classes), 0, tensors=False,
   dtyped=True,
   errors=(err(np.array([5]), 5, says="labels must be in [0, 5)"), err(np.array([0.5]), 5, kind=TypeError, says="integer labels")))

# --- random numbers: the stream restarts before each call

SEED = 1234


def _seeded(function: Any) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        rb.manual_seed(SEED)
        return function(*args, **options)

    return call


op("uniform", lambda rng: [Sample((s, -1.0, 2.0)) for s in [*SHAPES, 5]],
   lambda shape, low, high, dtype: ref.uniform((shape,) if isinstance(shape, int) else shape, low, high, dtype, SEED, 0), 2,
   call=_seeded(ops.uniform), tensors=False, dtyped=True,
   errors=(err((2,), dtype=np.int32, kind=TypeError, says="expected float32 or float64"), err((2,), 1.0, 0.0, says="low"),
           err((2,), np.nan, says="finite")))
op("normal", lambda rng: [Sample((s, 0.5, 2.0)) for s in [*SHAPES, 5]],
   lambda shape, mean, std, dtype: ref.normal((shape,) if isinstance(shape, int) else shape, mean, std, dtype, SEED, 0), 4,
   call=_seeded(ops.normal), tensors=False, dtyped=True,
   errors=(err((2,), dtype=np.int32, kind=TypeError, says="expected float32 or float64"), err((2,), 0.0, -1.0, says="std")))
op("dropout", lambda rng: [Sample((normal(rng, s), p)) for s in [*SHAPES, (5, 13)] for p in (0.0, 0.25, 0.5)],
   lambda x, p, dtype: ref.dropout(x, p, dtype, SEED, 0), 2, gradients=(0,), call=_seeded(ops.dropout), dtyped=True,
   errors=(err(zeros(3), 1.0, says="p must be in [0, 1), got 1.0"), err(zeros(3), -0.1, says="p must be in"),
           err(zeros(3), "0.5", says="p must be in"), *unreal()))
