"""The records for the losses of `rosenblatt.ops.losses`; references from the formulas, in float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import reference as ref
from kerneltable import distinct
from optable import Sample, err, normal, op, positive, unreal, zeros

REDUCTIONS = ("mean", "sum", "none")
SIZES = [(), (3,), (4, 5), (2, 3, 4)]


def reduced(loss: Any, bound: Any, reduction: str, weight: Any = None, classes: Any = None) -> Any:
    """Loss and bound after the reduction; `classes` are weights of the loss's shape, not yet multiplied in."""
    total = None
    for w in (classes, weight):
        if w is not None:
            w = np.broadcast_to(np.reshape(w, np.shape(w) + (1,) * (np.ndim(loss) - np.ndim(w))), np.shape(loss))
            loss, bound, total = loss * w, bound * w, w if total is None else total * w
    if reduction == "none":
        return loss, bound
    count = 1.0 if reduction == "sum" else (np.size(loss) if total is None else total.sum())
    return np.asarray(np.sum(loss) / count), np.asarray(np.sum(bound) / count) + np.abs(np.sum(loss) / count)


def weights(rng: Any, shape: Any) -> list[Any]:
    """No weights, weights per example, weights per element."""
    full = np.random.default_rng(len(shape)).uniform(0.1, 2.0, shape)
    return [None] if not shape else [None, np.linspace(0.0, 2.0, shape[0]), full]


def pairs(draw: Any, target: Any = None, sizes: Any = tuple(SIZES), **options: Any) -> Any:
    """Samples of (prediction, target) for all sizes, reductions and kinds of weights."""

    def samples(rng: Any) -> list[Sample]:
        return [
            Sample((draw(rng, s), (target or draw)(rng, s)), {**options, "reduction": r, "sample_weight": w})
            for r in REDUCTIONS
            for s in sizes
            for w in weights(rng, s)
        ]

    return samples


SHAPES_ERRORS = (
    err(zeros(2, 1), zeros(2), says="expected a target of shape (2, 1) like the prediction, got (2,)"),
    err(zeros(2, 3), zeros(3), says="expected a target of shape (2, 3)"),
)


def options_errors(*args: Any) -> tuple[Any, ...]:
    return (
        err(*args, reduction="x", says="reduction must be 'mean', 'sum' or 'none', got 'x'"),
        err(*args, sample_weight=zeros(7), says="expected sample_weight of shape"),
        err(*args, sample_weight=np.ones(2, complex), kind=TypeError, says="sample_weight: expected real numbers"),
    )


def elementwise(
    name: str, formula: Any, draw: Any = normal, target: Any = None, gradients: Any = (0, 1), ulps: float = 8,
    bound: Any = None, errors: Any = (), samples: Any = None,
    valid: Any = None, **options: Any,
) -> None:
    """A loss of equal shapes: formula(prediction, target, **its own options)."""

    def reference(p: Any, t: Any, reduction: str = "mean", sample_weight: Any = None, **more: Any) -> Any:
        loss = formula(p, t, **{k: v for k, v in more.items() if k != "class_weight"})
        size = np.abs(loss) + (0 if bound is None else bound(p, t))
        w = more.get("class_weight")
        extra = None if w is None else w[0] * (1 - t) + w[1] * t
        return reduced(loss, size, reduction, sample_weight, extra)

    good = valid if isinstance(valid, tuple) else (zeros(2), zeros(2) if valid is None else valid)
    drawn = pairs(draw, target, **options)
    op(
        name,
        lambda rng: drawn(rng) + (samples(rng) if samples else []),
        reference,
        ulps,
        gradients=gradients,
        errors=(*SHAPES_ERRORS, *unreal(np.ones((2, 2), np.float32)), *options_errors(*good), *errors),
    )


def difference(p: Any, t: Any) -> Any:
    return (np.abs(p) + np.abs(t)) ** 2


def per_example(loss: Any) -> Any:
    return loss.reshape(loss.shape[0], -1).sum(1) if loss.ndim > 1 else loss


def examples(name: str, factor: float) -> None:
    def samples(rng: Any) -> list[Sample]:
        return [
            Sample((normal(rng, s), normal(rng, s)), {"reduction": r, "sample_weight": w})
            for r in REDUCTIONS
            for s in SIZES
            for w in weights(rng, s)[:2]
        ]

    def reference(p: Any, t: Any, reduction: str = "sum", sample_weight: Any = None) -> Any:
        loss, bound = per_example(factor * (p - t) ** 2), per_example(factor * difference(p, t))
        return reduced(loss, bound, reduction, sample_weight)

    errors = (*SHAPES_ERRORS, *unreal(zeros(2, 2)), *options_errors(zeros(2, 3), zeros(2, 3)))
    op(name, samples, reference, 8, gradients=(0, 1), errors=errors)


examples("sse_loss", 1.0)
examples("half_sse_loss", 0.5)


def _rmse(p: Any, t: Any, reduction: str = "mean", sample_weight: Any = None) -> Any:
    value, bound = reduced((p - t) ** 2, difference(p, t), reduction, sample_weight)
    root = np.sqrt(value)
    with np.errstate(invalid="ignore", divide="ignore"):
        return root, root + np.where(root > 0, bound / np.maximum(root, 1e-300), 0.0)


op(
    "rmse_loss",
    lambda rng: pairs(distinct, lambda r, s: distinct(r, s) * 0.3)(rng),
    _rmse,
    8,
    gradients=(0, 1),
    errors=(*SHAPES_ERRORS, *unreal(zeros(2, 2)), *options_errors(zeros(2), zeros(2))),
)
elementwise(
    "msle_loss",
    lambda p, t: (np.log1p(p) - np.log1p(t)) ** 2,
    positive,
    bound=lambda p, t: (np.log1p(p) + np.log1p(t) + 1) ** 2,
)
elementwise(
    "mae_loss", lambda p, t: np.abs(p - t), distinct, lambda r, s: distinct(r, s) * 0.3,
    bound=lambda p, t: np.abs(p) + np.abs(t),
)


def _huber(p: Any, t: Any, delta: float = 1.0) -> Any:
    e = np.abs(p - t)
    return np.where(e <= delta, e * e / 2, delta * (e - delta / 2))


elementwise(
    "huber_loss", _huber, lambda r, s: 3 * normal(r, s), bound=difference,
    samples=lambda rng: [
        Sample((normal(rng, (4, 5)), normal(rng, (4, 5))), {"delta": d, "reduction": "none"}) for d in (0.3, 2.5)
    ],
    errors=(
        err(zeros(2), zeros(2), delta=0.0, says="delta must be a number above 0.0, got 0.0"),
        err(zeros(2), zeros(2), delta=np.inf, says="delta must be a number"),
    ),
)
elementwise(
    "smooth_l1_loss",
    lambda p, t, beta=1.0: _huber(p, t, beta) / beta if beta else np.abs(p - t),
    lambda r, s: 3 * normal(r, s),
    bound=difference,
    samples=lambda rng: [
        Sample((normal(rng, (4, 5)), normal(rng, (4, 5))), {"beta": b, "reduction": "none"}) for b in (0.0, 0.3, 2.5)
    ],
    errors=(err(zeros(2), zeros(2), beta=-1.0, says="beta must be a number of at least 0.0, got -1.0"),),
)


def bipolar(rng: Any, shape: Any) -> Any:
    return np.asarray(rng.choice([-1.0, 1.0], shape))


_ONES = np.ones(2, np.float32)
_BIPOLAR_ERRORS = (
    err(zeros(2), np.array([0.0, 1.0]), says="expected targets -1 and +1, got 0"),
    err(zeros(2), np.array([1.0, np.nan]), says="expected targets -1 and +1, got nan"),
)


for _name, _formula in (
    ("hinge_loss", lambda s, y: np.maximum(0.0, 1.0 - y * s)),
    ("squared_hinge_loss", lambda s, y: np.maximum(0.0, 1.0 - y * s) ** 2),
    ("logistic_loss", lambda s, y: np.logaddexp(0.0, -y * s)),
):
    elementwise(
        _name, _formula, lambda r, s: 0.04 + distinct(r, s), bipolar, (0,), valid=_ONES, errors=_BIPOLAR_ERRORS,
        bound=lambda s, y: (1 + np.abs(s)) ** 2,
    )


def inside(rng: Any, shape: Any) -> Any:
    return rng.uniform(0.05, 0.95, shape)


def _weighted(draw: Any, target: Any) -> Any:
    return lambda rng: [
        Sample(
            (draw(rng, (4, 5)), target(rng, (4, 5))),
            {"class_weight": [0.5, 3.0], "reduction": r, "sample_weight": w},
        )
        for r in REDUCTIONS
        for w in (None, np.array([0.0, 1.0, 0.5, 2.0]))
    ]


_TWO_WEIGHTS = (
    err(zeros(2), zeros(2), class_weight=[1.0], says="expected class_weight of shape (2,), got (1,)"),
    err(zeros(2), zeros(2), class_weight=[1.0, -1.0], says="class_weight must be finite and not negative"),
    err(zeros(2), np.array([0.0, 1.5]), says="expected targets in [0, 1], got values from 0.0 to 1.5"),
    err(zeros(2), np.array([-1.0, 1.0]), says="expected targets in [0, 1]"),
)
elementwise(
    "bce_with_logits",
    lambda z, t: np.logaddexp(0.0, z) - z * t,
    lambda r, s: 4 * normal(r, s),
    inside,
    bound=lambda z, t: np.abs(z) + 1,
    samples=_weighted(normal, inside),
    errors=_TWO_WEIGHTS,
)
elementwise(
    "bce_loss",
    lambda p, t: -(t * np.log(p) + (1 - t) * np.log1p(-p)),
    inside,
    bound=lambda p, t: 1 / (p * (1 - p)),
    samples=_weighted(inside, inside),
    valid=(inside(np.random.default_rng(0), 2), zeros(2)),
    errors=(
        *_TWO_WEIGHTS,
        err(np.array([0.5, 1.25]), zeros(2), says="expected probabilities in [0, 1], got values from 0.5 to 1.25"),
    ),
)


def _focal(z: Any, t: Any, gamma: float = 2.0, alpha: float | None = 0.25) -> Any:
    p = ref.sigmoid(z)
    truth = np.where(t == 1, p, 1 - p)
    log_truth = -np.logaddexp(0.0, np.where(t == 1, -z, z))
    a = 1.0 if alpha is None else np.where(t == 1, alpha, 1 - alpha)
    return -a * (1 - truth) ** gamma * log_truth


def _bits(rng: Any, shape: Any) -> Any:
    return np.asarray(rng.integers(0, 2, shape), np.float64)


elementwise(
    "focal_loss", _focal, lambda r, s: 2 * normal(r, s), _bits, (0,), ulps=16,
    bound=lambda z, t: 0.2 + 0 * z,
    samples=lambda rng: [
        Sample((normal(rng, (4, 5)), _bits(rng, (4, 5))), {"gamma": g, "alpha": a, "reduction": "none"})
        for g, a in [(0.0, None), (0.5, 0.5), (1.0, 1.0), (5.0, None)]
    ],
    errors=(
        err(zeros(2), np.array([0.5, 1.0]), says="expected targets 0 and 1, got values from 0.5 to 1.0"),
        err(zeros(2), zeros(2), gamma=-1, says="gamma must be a number of at least 0.0, got -1"),
        err(zeros(2), zeros(2), alpha=1.5, says="alpha must be a number of at least 0.0 and at most 1.0, got 1.5"),
        err(zeros(2, 3), np.array([0, 3]), says="labels must be in [0, 3), got values from 0 to 3"),
    ),
)

# --- rows of probabilities, directions, boxes

ROWS = [(4,), (5, 3), (2, 3, 4)]


def simplex(rng: Any, shape: Any) -> Any:
    return rng.dirichlet(np.full(shape[-1], 2.0), shape[:-1])


def _categorical(
    p: Any, labels: Any, class_weight: Any = None, reduction: str = "mean", sample_weight: Any = None
) -> Any:
    loss = -np.log(np.take_along_axis(p, labels[..., None], -1))[..., 0]
    classes = None if class_weight is None else np.asarray(class_weight)[labels]
    return reduced(loss, loss + 1, reduction, sample_weight, classes)


op(
    "categorical_cross_entropy",
    lambda rng: [
        Sample(
            (simplex(rng, s), rng.integers(0, s[-1], s[:-1])),
            {"reduction": r, "sample_weight": w, "class_weight": c},
        )
        for r in REDUCTIONS
        for s in ROWS
        for w in weights(rng, s[:-1])[:2]
        for c in (None, np.linspace(0.5, 2.0, s[-1]).tolist())
    ],
    _categorical,
    8,
    gradients=(0,),
    errors=(
        err(np.full((2, 3), 0.3), np.array([0, 3]), says="labels must be in [0, 3), got values from 0 to 3"),
        err(np.full((2, 3), 0.3), zeros(2, 2), says="target probabilities of shape (2, 3), got (2, 2)"),
        err(np.full((2, 3), 1.3), np.array([0, 1]), says="expected probabilities in [0, 1]"),
        err(np.float32(1), np.array(0), says="expected probabilities [..., C], got a scalar"),
        err(np.full((2, 3), 0.3), np.array([0, 1]), class_weight=[1.0], says="class_weight of shape (3,), got (1,)"),
        *options_errors(np.full((2, 3), 0.3), np.array([0, 1])),
        *unreal(np.array([0, 1])),
    ),
)


def _kl(q: Any, t: Any, reduction: str = "mean", sample_weight: Any = None) -> Any:
    terms = t * (np.log(np.where(t > 0, t, 1.0)) - q)
    return reduced(terms.sum(-1), np.abs(terms).sum(-1) + 1, reduction, sample_weight)


op(
    "kl_div",
    lambda rng: [
        Sample((ref.log_softmax(normal(rng, s))[0], simplex(rng, s)), {"reduction": r, "sample_weight": w})
        for r in REDUCTIONS
        for s in ROWS
        for w in weights(rng, s[:-1])[:2]
    ],
    _kl,
    8,
    gradients=(0, 1),
    errors=(
        *SHAPES_ERRORS,
        err(zeros(2), np.array([0.5, 1.5]), says="expected target probabilities in [0, 1]"),
        err(np.float32(1), np.float32(1), says="expected log-probabilities [..., C], got a scalar"),
        *options_errors(zeros(2, 3), zeros(2, 3)),
        *unreal(zeros(2, 2)),
    ),
)


def _cosine(p: Any, t: Any, axis: int = -1, reduction: str = "mean", sample_weight: Any = None) -> Any:
    norms = np.sqrt((p * p).sum(axis) * (t * t).sum(axis))
    loss = 1 - (p * t).sum(axis) / norms
    return reduced(loss, 1 + np.abs(p * t).sum(axis) / norms, reduction, sample_weight)


op(
    "cosine_loss",
    lambda rng: [
        Sample((normal(rng, s), normal(rng, s)), {"reduction": r, "axis": a, "sample_weight": None})
        for r in REDUCTIONS
        for s, a in [((4,), -1), ((5, 3), -1), ((5, 3), 0), ((2, 3, 4), 1)]
    ],
    _cosine,
    8,
    gradients=(0, 1),
    errors=(
        *SHAPES_ERRORS,
        err(zeros(2, 3), zeros(2, 3), axis=2, says="axis 2 is out of range"),
        err(zeros(2, 3), zeros(2, 3), eps=0.0, says="eps must be a number above 0.0"),
        *options_errors(zeros(2, 3), zeros(2, 3)),
        *unreal(zeros(2, 2)),
    ),
)


def _detection(
    z: Any, boxes: Any, labels: Any, truth: Any, box_weight: float = 1.0, background: Any = 0, beta: float = 1.0,
    reduction: str = "mean", sample_weight: Any = None,
) -> Any:
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    where = (_huber(boxes, truth, beta) / beta).sum(-1) * (labels != background) * box_weight
    classes = -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    return reduced(classes + where, np.abs(z).sum(-1) + 1 + difference(boxes, truth).sum(-1), reduction, sample_weight)


def _boxes(rng: Any) -> list[Sample]:
    out = []
    for reduction in REDUCTIONS:
        for lead in [(5,), (2, 3)]:
            for more in ({}, {"box_weight": 0.5, "background": None, "beta": 0.25}, {"background": 2}):
                logits, boxes, truth = (normal(rng, (*lead, n)) for n in (3, 4, 4))
                args = (logits, boxes, rng.integers(0, 3, lead), truth)
                out.append(Sample(args, {"reduction": reduction, **more}))
    return out


_Z, _B, _L = zeros(2, 3), zeros(2, 4), np.array([0, 2])


def _detect(z: Any, boxes: Any, labels: Any, truth: Any, **options: Any) -> Any:
    from optable import ops

    return ops.detection_loss((z, boxes), (labels, truth), **options)


op(
    "detection_loss",
    _boxes,
    _detection,
    8,
    gradients=(0, 1, 3),
    call=_detect,
    errors=(
        err(_Z, zeros(2, 3), _L, _B, says="expected boxes of shape (2, 4) for logits (2, 3), got (2, 3)"),
        err(_Z, _B, _L, zeros(1, 4), says="expected a target of shape (2, 4)"),
        err(_Z, _B, np.array([0, 3]), _B, says="labels must be in [0, 3)"),
        err(_Z, _B, _L, _B, background=3, says="background must be a label in [0, 3) or None, got 3"),
        err(_Z, _B, _L, _B, box_weight=-1.0, says="box_weight must be a number of at least 0.0"),
        *options_errors(_Z, _B, _L, _B),
    ),
)
