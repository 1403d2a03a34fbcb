"""The records for convolution, pooling, losses and random numbers; with those of `optable` they are all of `SPECS`."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import optable_losses as losses
import reference as ref
from kerneltable import SHAPES, distinct
from optable import SPECS, Sample, err, normal, op, ops, unreal, zeros
from reference_conv import convolve

__all__ = ["SPECS"]

import rosenblatt as rb

# --- convolution and pooling


def _pair(v: Any) -> tuple[int, int]:
    return (v, v) if isinstance(v, int) else tuple(v)


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
        ((1, 6, 5, 2), (3, 3, 2, 2), True, {"padding": "same", "stride": (2, 3)}),
        ((1, 4, 3, 2), (3, 3, 2, 2), True, {"padding": "full", "flip": True}),
        ((1, 4, 3, 2), (4, 3, 2, 1), True, {"padding": (2, 1), "padding_mode": "reflect", "groups": 2, "dilation": 2}),
        ((2, 3, 4, 1), (2, 3, 3, 1), False, {"padding": "same", "padding_mode": "circular", "activation": "relu"}),
        ((2, 3, 4, 1), (2, 3, 3, 1), True, {"padding": ((0, 3), (2, 0)), "padding_mode": "replicate", "flip": True}),
        ((2, 7, 6, 2), (3, 5, 4, 2), True, {"padding": "same", "activation": "tanh", "algo": "fft"}),
        ((1, 6, 6, 3), (3, 3, 3, 1), True, {"padding": 1, "groups": 3, "algo": "fft"}),
        ((1, 5, 6, 8), (8, 3, 3, 8), True, {"padding": 1, "algo": "winograd"}),
        ((2, 4, 4, 3), (4, 1, 1, 3), True, {"algo": "gemm"}),
    ]
    return [Sample((normal(rng, x), normal(rng, w), normal(rng, w[:1]) if b else None), o) for x, w, b, o in table]


op(
    "conv2d",
    _convs,
    convolve,
    4,
    gradients=(0, 1, 2),
    errors=(
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
        err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), padding="causal", says="'valid', 'same' or 'full', got 'causal'"),
        err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), padding_mode="mirror", says="mode must be one of"),
        err(zeros(1, 8, 8, 3), zeros(4, 3, 3), flip=True, says="expected weight [K,R,S,C/groups]"),
        err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), activation="x", says="activation must be one of"),
        err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), algo="fast", says="algo must be one of auto, direct"),
        err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), algo=None, says="algo must be one of auto, direct"),
        err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), algo="depthwise", says="algo 'depthwise' does not apply to x [1,"),
        err(zeros(1, 8, 8, 3), zeros(4, 3, 3, 3), stride=2, algo="fft", says="algo 'fft' does not apply to x [1,"),
    ),
)

_GEOMETRY = [
    ((2, 6, 5, 4), (6, 3, 2, 2), (2, 5, 2, 6), (1, 2, 0, 0, 1, 1, 2)),
    ((1, 7, 7, 3), (5, 3, 3, 3), (1, 7, 7, 5), (1, 1, 1, 1, 1, 1, 1)),
    ((2, 8, 6, 1), (2, 3, 2, 1), (2, 2, 4, 2), (3, 1, 0, 0, 2, 2, 1)),
]


def _split(g: Any) -> tuple[Any, ...]:
    return (g[0], g[1]), (g[2], g[3]), (g[4], g[5]), g[6]


op(
    "conv2d_dx",
    lambda rng: [Sample((normal(rng, y), normal(rng, w), x, g)) for x, w, y, g in _GEOMETRY],
    lambda dy, w, x, g: ref.conv2d_dx(dy, w, x, *_split(g)),
    4,
    gradients=(0, 1),
    errors=(
        err(zeros(1, 4, 4, 2), zeros(3, 3, 3, 1), (1, 6, 6, 1), (1, 1, 0, 0, 1, 1, 1), says="dy"),
        err(zeros(1, 4, 4, 3), zeros(3, 3, 3, 1), (1, 6, 6, 2), (1, 1, 0, 0, 1, 1, 1), says="channels"),
    ),
)
op(
    "conv2d_dw",
    lambda rng: [Sample((normal(rng, x), normal(rng, y), w, g)) for x, w, y, g in _GEOMETRY],
    lambda x, dy, w, g: ref.conv2d_dw(x, dy, w, *_split(g)),
    4,
    gradients=(0, 1),
    errors=(err(zeros(1, 6, 6, 1), zeros(1, 4, 4, 2), (3, 3, 3, 1), (1, 1, 0, 0, 1, 1, 1), says="dy"),),
)


def _pools(rng: Any) -> list[Sample]:
    table: list[tuple[Any, tuple[Any, ...]]] = [
        ((1, 1, 1, 1), (1,)),
        ((2, 6, 8, 3), (2,)),
        ((1, 7, 9, 5), ((3, 2), (2, 1), (1, 1))),
        ((2, 5, 5, 17), (2, 1)),
        ((1, 9, 7, 4), (3, None, 1)),
        ((0, 4, 4, 2), (2,)),
        ((1, 8, 5, 3), ((2, 3), (3, 4))),
        ((1, 6, 6, 1), (3, 1)),
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
op(
    "max_pool2d",
    _pools,
    lambda x, k, s=None, p=0: ref.max_pool2d(x, *_pool_geometry(x, k, s, p))[0],
    0,
    gradients=(0,),
    errors=_POOL_ERRORS,
)
op(
    "avg_pool2d",
    lambda rng: [Sample(s.args, {"count_include_pad": bool(c)}) for s in _pools(rng) for c in (0, 1)],
    lambda x, k, s=None, p=0, count_include_pad=True: ref.avg_pool2d(x, *_pool_geometry(x, k, s, p), count_include_pad),
    4,
    gradients=(0,),
    errors=_POOL_ERRORS,
)
op(
    "warp_affine",
    lambda rng: [
        Sample((normal(rng, (n, 5, 6, c)), np.tile(np.eye(2, 3), (n, 1, 1)) + rng.uniform(-0.3, 0.3, (n, 2, 3)), s))
        for n, c, s in [(2, 1, None), (1, 3, (4, 9)), (0, 2, None), (3, 17, 5)]
    ],
    lambda x, m, s: ref.warp_affine(x, m, *(x.shape[1:3] if s is None else _pair(s))),
    8,
    tensors=False,
    errors=(
        err(zeros(5, 5, 1), zeros(1, 2, 3), says="expected x [N,H,W,C]"),
        err(zeros(2, 5, 5, 1), zeros(1, 2, 3), says="expected matrices of shape (2, 2, 3), got (1, 2, 3)"),
        err(zeros(2, 5, 5, 1), zeros(2, 2, 3), 0, says="size must be at least 1"),
    ),
)

# --- softmax and losses


def _moved(function: Any) -> Any:
    def reference(x: Any, axis: int = -1) -> Any:
        y, bound = function(np.moveaxis(x, axis, -1))
        return np.moveaxis(y, -1, axis), np.moveaxis(bound, -1, axis)

    return reference


for _name, _moving in (("softmax", ref.softmax), ("log_softmax", ref.log_softmax)):
    op(
        _name,
        lambda rng: [
            Sample((normal(rng, s) * 3, a))
            for s, a in [
                ((5,), -1),
                ((3, 7), 1),
                ((3, 7), 0),
                ((2, 3, 4), 1),
                ((0, 4), 1),
                ((1, 1), -1),
                ((2, 129), -1),
            ]
        ],
        _moved(_moving),
        8,
        gradients=(0,),
        errors=(
            err(np.float32(1.0), says="at least one axis"),
            err(zeros(2, 3), 2, says="axis 2 is out of range"),
            err(zeros(2, 3), "1", kind=TypeError, says="axis must be an integer"),
            *unreal(),
        ),
    )


_reduce = losses.reduced


REDUCTIONS = ("mean", "sum", "none")


def _cross_entropy(
    x: Any, target: Any, class_weight: Any = None, label_smoothing: float = 0.0, reduction: str = "mean",
    sample_weight: Any = None,
) -> Any:
    labels = np.asarray(target).dtype.kind != "f"
    if class_weight is None and not label_smoothing and labels:
        return _reduce(*ref.cross_entropy(x, target), reduction, sample_weight)
    t = ref.one_hot(target, x.shape[-1]).reshape(x.shape) if labels else target
    e, w = label_smoothing, np.ones(x.shape[-1]) if class_weight is None else np.asarray(class_weight)
    y, bound = ref.log_softmax(x)
    t_smooth = ((1 - e) * t + e / x.shape[-1]) * w
    loss, size = -(y * t_smooth).sum(-1), (bound * t_smooth).sum(-1)
    rows = None if class_weight is None else (t * w).sum(-1)
    if rows is None:
        return _reduce(loss, size, reduction, sample_weight)
    return _reduce(loss / rows, size / rows, reduction, sample_weight, rows)


def _xents(rng: Any) -> list[Sample]:
    out = []
    for r, s in itertools.product(REDUCTIONS, [(1, 2), (5, 3), (2, 3, 7), (4,), (17, 10)]):
        out.append(Sample((normal(rng, s) * 2, rng.integers(0, s[-1], s[:-1])), {"reduction": r}))
    out += [Sample((normal(rng, (4, 5)), rng.dirichlet(np.ones(5), 4)), {"reduction": r}) for r in REDUCTIONS]
    for r, s in itertools.product(REDUCTIONS, [(5, 3), (2, 3, 7)]):
        for more in (
            {"label_smoothing": 0.1},
            {"class_weight": np.linspace(0.5, 2.0, s[-1]).tolist(), "label_smoothing": 0.3},
            {"sample_weight": np.linspace(0.0, 2.0, s[0])},
            {"class_weight": np.linspace(0.5, 2.0, s[-1]).tolist(), "sample_weight": np.linspace(0.0, 2.0, s[0])},
        ):
            labels = rng.integers(0, s[-1], s[:-1])
            out.append(Sample((normal(rng, s), labels), {"reduction": r, **more}))
            out.append(Sample((normal(rng, s), rng.dirichlet(np.ones(s[-1]), s[:-1])), {"reduction": r, **more}))
    return [*out, Sample((normal(rng, (0, 3)), np.zeros(0, np.int64)), {"reduction": "sum"})]


_LABELS = np.array([0, 1])
op(
    "cross_entropy",
    _xents,
    _cross_entropy,
    8,
    gradients=(0,),
    errors=(
        err(zeros(2, 3), np.array([0, 3]), says="labels must be in [0, 3), got values from 0 to 3"),
        err(zeros(2, 3), np.array([-1, 0]), says="labels must be in [0, 3)"),
        err(zeros(2, 3), np.array([0, 1, 2]), says="expected labels of shape (2,), got (3,)"),
        err(zeros(2, 3), zeros(2, 2), says="target probabilities of shape (2, 3), got (2, 2)"),
        err(zeros(2, 3), np.array(["a", "b"]), kind=TypeError, says="expected integer labels"),
        err(zeros(2, 3), _LABELS, reduction="max", says="reduction must be 'mean', 'sum' or 'none', got 'max'"),
        err(np.float32(1), np.array(0), says="expected logits [..., C], got a scalar"),
        err(zeros(2, 3), _LABELS, label_smoothing=1.5, says="label_smoothing must be in [0, 1], got 1.5"),
        err(zeros(2, 3), _LABELS, class_weight=[1.0, 2.0], says="expected class_weight of shape (3,), got (2,)"),
        err(zeros(2, 3), _LABELS, class_weight=[1.0, 2.0, -1.0], says="class_weight must be finite and not negative"),
        err(zeros(2, 3), _LABELS, sample_weight=zeros(3), says="expected sample_weight of shape (2,)"),
        *unreal(_LABELS),
    ),
)
op(
    "mse_loss",
    lambda rng: [
        Sample((normal(rng, s), normal(rng, s)), {"reduction": r})
        for r in REDUCTIONS
        for s in [(), (3,), (4, 5), (2, 3, 4)]
    ],
    lambda a, b, reduction: _reduce((a - b) ** 2, (np.abs(a) + np.abs(b)) ** 2, reduction),
    6,
    gradients=(0, 1),
    errors=(
        err(zeros(2, 3), zeros(2), says="expected a target of shape (2, 3) like the prediction, got (2,)"),
        err(zeros(2, 1), zeros(2), says="expected a target of shape (2, 1)"),
        err(zeros(2), zeros(2), reduction="x", says="reduction must be"),
        *unreal(zeros(2, 2)),
    ),
)


def _perceptron(net: Any, labels: Any, reduction: str = "sum") -> Any:
    error = (net >= 0) - ref.one_hot(labels, net.shape[1])
    return _reduce((error * net).sum(1), np.abs(error * net).sum(1), reduction)


op(
    "perceptron_loss",
    lambda rng: [
        Sample((distinct(rng, s), rng.integers(0, s[1], s[0])), {"reduction": r})
        for r in REDUCTIONS
        for s in [(1, 2), (5, 3), (7, 10)]
    ],
    _perceptron,
    6,
    gradients=(0,),
    errors=(
        err(zeros(3), np.array([0]), says="expected net inputs [N,C], got shape (3,)"),
        err(zeros(2, 3), np.array([0, 5]), says="labels must be in [0, 3)"),
        err(zeros(2, 3), np.array([0.0, 1.0]), kind=TypeError, says="expected integer labels"),
        err(zeros(2, 3), _LABELS, reduction="x", says="reduction must be"),
    ),
)
op(
    "one_hot",
    lambda rng: [Sample((rng.integers(0, 5, s), 5)) for s in [(), (4,), (2, 3), (0,)]],
    lambda labels, classes, dtype: ref.one_hot(labels, classes).reshape(*np.shape(labels), classes),
    0,
    tensors=False,
    dtyped=True,
    errors=(
        err(np.array([5]), 5, says="labels must be in [0, 5)"),
        err(np.array([0.5]), 5, kind=TypeError, says="integer labels"),
        err(np.array([1]), 5, dtype=np.int32, kind=TypeError, says="expected float32 or float64, got int32"),
    ),
)

# --- normalisation


def _batch_norm(
    x: Any, mean: Any = None, var: Any = None, weight: Any = None, bias: Any = None, training: bool = False,
    eps: float = 1e-5,
) -> Any:
    axes = tuple(range(x.ndim - 1))
    if training:
        mean, var = x.mean(axes), x.var(axes)
    scale = 1 / np.sqrt(var + eps)
    scale = scale if weight is None else scale * weight
    y, bound = (x - mean) * scale, (np.abs(x) + np.abs(mean)) * np.abs(scale)
    return (y, bound) if bias is None else (y + bias, bound + np.abs(bias))


def _batch_norms(rng: Any) -> list[Sample]:
    found = []
    for shape in [(4, 3), (2, 5, 3), (3, 4, 5, 2), (2, 3, 2, 2, 17), (7, 1)]:
        c = shape[-1:]
        pair = (normal(rng, c), rng.uniform(0.3, 2.5, c))
        for affine in ((None, None), (normal(rng, c), normal(rng, c))):
            found.append(Sample((normal(rng, shape) * 2 + 1, *pair, *affine), {"eps": 0.01}))
            found.append(Sample((normal(rng, shape) * 2 + 1, None, None, *affine), {"training": True}))
    found.append(Sample((normal(rng, (0, 3)), normal(rng, 3), rng.uniform(0.3, 2.5, 3))))
    return found


op(
    "batch_norm",
    _batch_norms,
    _batch_norm,
    12,
    gradients=(0, 3, 4),
    errors=(
        err(zeros(2, 3), zeros(3), says="give running_mean and running_var, or neither"),
        err(zeros(2, 3), says="are needed when not training"),
        err(zeros(3), training=True, says="expected x [N,...,C], got shape (3,)"),
        err(zeros(2, 3), zeros(2), zeros(3), says="expected running_mean of shape (3,), got (2,)"),
        err(zeros(2, 3), zeros(3), zeros(1), says="expected running_var of shape (3,), got (1,)"),
        err(zeros(2, 3), training=True, weight=zeros(2), says="expected weight of shape (3,), got (2,)"),
        err(zeros(2, 3), training=True, bias=zeros(4), says="expected bias of shape (3,), got (4,)"),
        err(zeros(1, 3), training=True, says="more than one value per channel"),
        err(zeros(0, 3), training=True, says="more than one value per channel"),
        err(zeros(2, 3), zeros(3), zeros(3), training=True, says="must be tensors"),
        err(zeros(2, 3), training=True, eps=-1.0, says="eps must be a number of at least 0"),
        err(zeros(2, 3), training=True, momentum=1.5, says="at most 1.0, got 1.5"),
    ),
)


def _local_response_norm(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        near = x[..., max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        y[..., c] = x[..., c] / (k + alpha / size * (near**2).sum(-1)) ** beta
    return y


op(
    "local_response_norm",
    lambda rng: [
        Sample((normal(rng, shape), size), options)
        for shape, size, options in [
            ((2, 3), 1, {}),
            ((2, 5), 2, {"alpha": 0.5}),
            ((2, 3, 4, 7), 3, {"alpha": 0.7, "beta": 0.5, "k": 2.0}),
            ((1, 2, 2, 6), 5, {"alpha": 0.3, "k": 0.5}),
            ((2, 1, 3), 9, {"alpha": 1.0, "beta": 0.0}),
            ((0, 4), 3, {}),
        ]
    ],
    _local_response_norm,
    12,
    gradients=(0,),
    errors=(
        err(zeros(3), 2, says="expected x [N,...,C], got shape (3,)"),
        err(zeros(2, 3), 0, says="size must be an integer of at least 1"),
        err(zeros(2, 3), 2, alpha=-1.0, says="alpha must be a number of at least 0"),
        err(zeros(2, 3), 2, beta=-1.0, says="beta must be a number of at least 0"),
        err(zeros(2, 3), 2, k=0.0, says="k must be above 0"),
        *unreal(3),
    ),
)

# --- random numbers: the stream restarts before each call

SEED = 1234


def _seeded(function: Any) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        rb.manual_seed(SEED)
        return function(*args, **options)

    return call


op(
    "uniform",
    lambda rng: [Sample((s, -1.0, 2.0)) for s in [*SHAPES, 5]],
    lambda shape, low, high, dtype: ref.uniform(
        (shape,) if isinstance(shape, int) else shape, low, high, dtype, SEED, 0
    ),
    2,
    call=_seeded(ops.uniform),
    tensors=False,
    dtyped=True,
    errors=(
        err((2,), dtype=np.int32, kind=TypeError, says="expected float32 or float64"),
        err((2,), 1.0, 0.0, says="low"),
        err((2,), np.nan, says="finite"),
    ),
)
op(
    "normal",
    lambda rng: [Sample((s, 0.5, 2.0)) for s in [*SHAPES, 5]],
    lambda shape, mean, std, dtype: ref.normal(
        (shape,) if isinstance(shape, int) else shape, mean, std, dtype, SEED, 0
    ),
    4,
    call=_seeded(ops.normal),
    tensors=False,
    dtyped=True,
    errors=(
        err((2,), dtype=np.int32, kind=TypeError, says="expected float32 or float64"),
        err((2,), 0.0, -1.0, says="std"),
    ),
)
op(
    "dropout",
    lambda rng: [Sample((normal(rng, s), p)) for s in [*SHAPES, (5, 13)] for p in (0.0, 0.25, 0.5)],
    lambda x, p, dtype: ref.dropout(x, p, dtype, SEED, 0),
    2,
    gradients=(0,),
    call=_seeded(ops.dropout),
    dtyped=True,
    errors=(
        err(zeros(3), 1.0, says="p must be in [0, 1), got 1.0"),
        err(zeros(3), -0.1, says="p must be in"),
        err(zeros(3), "0.5", says="p must be in"),
        *unreal(),
    ),
)
