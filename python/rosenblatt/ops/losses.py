"""Losses beyond cross-entropy and squared error. Prediction and target have exactly one shape: nothing broadcasts.

Every loss takes `reduction` = "mean", "sum" or "none" and `sample_weight` w, of the loss's shape or of its leading axes
([N] for a loss [N,D]). With weights, "none" and "sum" use w * loss, "mean" is sum(w * loss) / sum(w) with w repeated
over the axes it lacks; weights are not negative, and all zero gives NaN. All forms are composed of differentiable ops,
so second-order gradients are there, and none overflows at +-1000. Formulas: notes C:6 unless said otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._common import Array, Tensor, X, axis_index, operand, operands, record
from .activation import softplus
from .elementwise import (
    abs,
    add,
    div,
    equal,
    exp,
    log,
    log1p,
    maximum,
    minimum,
    mul,
    neg,
    relu,
    sigmoid,
    sqrt,
    square,
    sub,
    where,
)
from .loss import (
    _LOGISTIC,
    _binary_weights,
    _class_weights,
    _classes,
    _factor,
    _labels,
    _pair_loss,
    _promoted,
    _reduced,
    _same_shape,
    cross_entropy,
    one_hot,
)
from .reduce import root
from .reduce import sum as sum_

__all__ = [
    "bce_loss", "bce_with_logits", "categorical_cross_entropy", "cosine_loss", "detection_loss", "focal_loss",
    "half_sse_loss", "hinge_loss", "huber_loss", "kl_div", "logistic_loss", "mae_loss", "msle_loss", "rmse_loss",
    "smooth_l1_loss", "squared_hinge_loss", "sse_loss",
]

TINY = 1e-37  # probabilities are raised to this before their logarithm is taken: ln TINY = -85.2


def _option(name: str, option: str, value: Any, low: float, high: float = math.inf, above: bool = False) -> float:
    """`value` as a float in [low, high], or (low, high] when `above`. Raises ValueError naming op and option."""
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or not (low < value if above else low <= value) or value > high:
        low_text = f"above {low}" if above else f"of at least {low}"
        high_text = "" if high == math.inf else f" and at most {high}"
        raise ValueError(f"{name}: {option} must be a number {low_text}{high_text}, got {value!r}")
    return float(value)


def _pair(name: str, prediction: Any, target: Any) -> list[Array]:
    """Both as arrays of one dtype. Raises ValueError unless their shapes are equal."""
    p, t = operands(name, prediction, target)
    if p.shape != t.shape:
        raise ValueError(f"{name}: expected a target of shape {p.shape} like the prediction, got {t.shape}")
    return [p, t]


def _in_unit(name: str, what: str, a: Array) -> None:
    if a.size and (a.min() < 0.0 or a.max() > 1.0):
        raise ValueError(f"{name}: expected {what} in [0, 1], got values from {a.min()} to {a.max()}")


def _bipolar(name: str, t: Array) -> None:
    if not (np.abs(t) == 1.0).all():
        bad = t[np.abs(t) != 1.0].reshape(-1)[0]
        raise ValueError(f"{name}: expected targets -1 and +1, got {bad}")


def _per_example(loss: Any) -> Any:
    """[N,...] -> [N], summed over everything but the first axis."""
    return loss if len(loss.shape) < 2 else sum_(loss, tuple(range(1, len(loss.shape))))


# --- regression


def sse_loss(prediction: X, target: Any, *, reduction: str = "sum", sample_weight: Any = None) -> X:
    """Sum of squared errors sum_d (prediction - target)**2 of each example of [N,...] (notes A:2.D, C:4b).

    "sum" adds the examples up, "mean" averages them ([N] numbers, not elements), "none" returns [N].
    Raises ValueError for shapes that differ, unknown reductions, weights that do not fit.
    """
    _same_shape("sse_loss", prediction, target)
    return _reduced("sse_loss", _per_example(square(sub(prediction, target))), reduction, sample_weight)


def half_sse_loss(prediction: X, target: Any, *, reduction: str = "sum", sample_weight: Any = None) -> X:
    """Half the sum of squared errors, 1/2 sum_d (prediction - target)**2, of each example of [N,...] (notes B:2.5).

    "sum" is the total error E of the worked networks, "mean" the cost J = 1/(2m) sum (h - y)**2 over m examples
    (notes C:4), "none" returns [N]. Raises ValueError for shapes that differ, unknown reductions, unfit weights.
    """
    _same_shape("half_sse_loss", prediction, target)
    each = mul(_per_example(square(sub(prediction, target))), 0.5)
    return _reduced("half_sse_loss", each, reduction, sample_weight)


def rmse_loss(prediction: X, target: Any, *, reduction: str = "mean", sample_weight: Any = None) -> X:
    """Root of the squared error, taken after the reduction: "mean" is sqrt(MSE), "none" the absolute error of each.

    Prediction and target [...]. The gradient at error 0 is 0. Raises ValueError for shapes that differ.
    """
    _same_shape("rmse_loss", prediction, target)
    value: X = root(_reduced("rmse_loss", square(sub(prediction, target)), reduction, sample_weight))
    return value


def msle_loss(prediction: X, target: Any, *, reduction: str = "mean", sample_weight: Any = None) -> X:
    """Squared logarithmic error (ln(1 + prediction) - ln(1 + target))**2; too small costs more than too large.

    Prediction and target [...], both above -1 (NaN below). Raises ValueError for shapes that differ.
    """
    _same_shape("msle_loss", prediction, target)
    p, t = _promoted("msle_loss", prediction, target)
    error = sub(log1p(p), log1p(t))
    return _reduced("msle_loss", square(error), reduction, sample_weight)


def mae_loss(prediction: X, target: Any, *, reduction: str = "mean", sample_weight: Any = None) -> X:
    """Absolute error |prediction - target| of [...]; the gradient at error 0, where there is none, is 0.

    Raises ValueError for shapes that differ.
    """
    _same_shape("mae_loss", prediction, target)
    return _reduced("mae_loss", abs(sub(prediction, target)), reduction, sample_weight)


def _huber(prediction: Any, target: Any, delta: float) -> Any:
    size = abs(sub(prediction, target))
    c = minimum(size, delta)
    return mul(c, sub(size, mul(c, 0.5)))  # c = size: size**2 / 2; c = delta: delta * (size - delta / 2)


def huber_loss(
    prediction: X, target: Any, *, delta: float = 1.0, reduction: str = "mean", sample_weight: Any = None
) -> X:
    """e**2 / 2 for |e| <= delta, else delta (|e| - delta / 2), with e = prediction - target [...] (Huber 1964).

    Raises ValueError for shapes that differ and unless delta > 0.
    """
    _same_shape("huber_loss", prediction, target)
    delta = _option("huber_loss", "delta", delta, 0.0, above=True)
    return _reduced("huber_loss", _huber(prediction, target, delta), reduction, sample_weight)


def smooth_l1_loss(
    prediction: X, target: Any, *, beta: float = 1.0, reduction: str = "mean", sample_weight: Any = None
) -> X:
    """e**2 / (2 beta) for |e| <= beta, else |e| - beta / 2: Huber's loss over beta (Girshick 2015, equation 3).

    e = prediction - target [...]; beta = 0 is the absolute error. Raises ValueError for shapes that differ, beta < 0.
    """
    _same_shape("smooth_l1_loss", prediction, target)
    beta = _option("smooth_l1_loss", "beta", beta, 0.0)
    each = mul(_huber(prediction, target, beta), 1.0 / beta) if beta else abs(sub(prediction, target))
    return _reduced("smooth_l1_loss", each, reduction, sample_weight)


# --- margins: targets -1 and +1


def hinge_loss(prediction: X, target: Any, *, reduction: str = "mean", sample_weight: Any = None) -> X:
    """max(0, 1 - y s) for scores s [...] and targets y in {-1, +1} [...]; the gradient at the kink y s = 1 is 0.

    Raises ValueError for shapes that differ and other targets.
    """
    _bipolar("hinge_loss", _pair("hinge_loss", prediction, target)[1])
    return _reduced("hinge_loss", relu(sub(1.0, mul(prediction, target))), reduction, sample_weight)


def squared_hinge_loss(prediction: X, target: Any, *, reduction: str = "mean", sample_weight: Any = None) -> X:
    """max(0, 1 - y s)**2 for scores s [...] and targets y in {-1, +1} [...].

    Raises ValueError for shapes that differ and other targets.
    """
    _bipolar("squared_hinge_loss", _pair("squared_hinge_loss", prediction, target)[1])
    each = square(relu(sub(1.0, mul(prediction, target))))
    return _reduced("squared_hinge_loss", each, reduction, sample_weight)


def logistic_loss(prediction: X, target: Any, *, reduction: str = "mean", sample_weight: Any = None) -> X:
    """log(1 + e**(-y s)) for scores s [...] and targets y in {-1, +1} [...] (notes A:2.D).

    Raises ValueError for shapes that differ and other targets.
    """
    _bipolar("logistic_loss", _pair("logistic_loss", prediction, target)[1])
    return _reduced("logistic_loss", softplus(neg(mul(prediction, target))), reduction, sample_weight)


# --- probabilities


def bce_with_logits(
    logits: X, target: Any, *, class_weight: Any = None, reduction: str = "mean", sample_weight: Any = None
) -> X:
    """Binary cross-entropy -[t ln p + (1 - t) ln(1 - p)] with p = sigmoid(logits), computed from the logits.

    logits, target : [...], targets in [0, 1]; class_weight : weights (w0, w1) of targets 0 and 1.
    Raises ValueError for shapes that differ, targets outside [0, 1], class weights that are not two such numbers.
    """
    z, t = _pair("bce_with_logits", logits, target)
    _in_unit("bce_with_logits", "targets", t)
    inputs: tuple[Any, ...] = tuple(_promoted("bce_with_logits", logits, target))
    if reduction in ("mean", "sum") and class_weight is None and sample_weight is None and z.size:
        scale = 1.0 / z.size if reduction == "mean" else 1.0
        loss, slopes = _pair_loss(_LOGISTIC, z, t, scale)
        return record("bce_with_logits", loss, _bce_sum_grad, inputs, (*inputs, slopes, scale))
    y: Array = add(sub(relu(z), mul(z, t)), log1p(exp(neg(abs(z)))))
    each = record("bce_with_logits", y, _bce_grad, inputs, inputs)
    weights = _binary_weights("bce_with_logits", class_weight, inputs[1])
    return _reduced("bce_with_logits", each, reduction, sample_weight, weights)


def _bce_grad(g: Any, needs: Any, z: Any, t: Any) -> tuple[Any, ...]:
    return (mul(g, sub(sigmoid(z), t)) if needs[0] else None, neg(mul(g, z)) if needs[1] else None)


def _bce_sum_grad(g: Any, needs: Any, z: Any, t: Any, slopes: Array, scale: float) -> tuple[Any, ...]:
    if isinstance(g, Tensor):  # taped: from the inputs, which a second pass must reach
        return _bce_grad(mul(g, scale), needs, z, t)
    each = mul(g, _factor(scale, slopes.dtype))
    return (mul(slopes, each) if needs[0] else None, neg(mul(each, z)) if needs[1] else None)


def _log_probability(p: Any) -> Any:
    return log(maximum(p, TINY))


def bce_loss(
    probabilities: X, target: Any, *, class_weight: Any = None, reduction: str = "mean", sample_weight: Any = None
) -> X:
    """Binary cross-entropy -[t ln p + (1 - t) ln(1 - p)] from probabilities p [...]; targets t [...] in [0, 1].

    Probabilities are raised to 1e-37 first, so a certain mistake costs 85.2 and has no gradient: prefer
    `bce_with_logits`. class_weight : weights (w0, w1) of targets 0 and 1.
    Raises ValueError for shapes that differ and values outside [0, 1].
    """
    p, t = _pair("bce_loss", probabilities, target)
    _in_unit("bce_loss", "probabilities", p)
    _in_unit("bce_loss", "targets", t)
    p, t = _promoted("bce_loss", probabilities, target)
    rest = mul(sub(1.0, t), _log_probability(sub(1.0, p)))
    each = neg(add(mul(t, _log_probability(p)), rest))
    return _reduced("bce_loss", each, reduction, sample_weight, _binary_weights("bce_loss", class_weight, t))


def categorical_cross_entropy(
    probabilities: X, target: Any, *, class_weight: Any = None, reduction: str = "mean", sample_weight: Any = None
) -> X:
    """Cross-entropy -sum_c t_c ln p_c from probabilities p [...,C]; one number per row.

    target : integer labels [...] or probabilities [...,C]; class_weight : [C], see `cross_entropy`.
    Probabilities are raised to 1e-37 first: prefer `cross_entropy`, which takes logits.
    Raises ValueError/TypeError for shapes that do not match, labels out of range, values outside [0, 1].
    """
    name = "categorical_cross_entropy"
    p = operand(name, probabilities)
    if not p.ndim:
        raise ValueError(f"{name}: expected probabilities [..., C], got a scalar")
    _in_unit(name, "probabilities", p)
    probabilities, t = _promoted(name, probabilities, _classes(name, target, p))
    log_p = _log_probability(probabilities)
    if class_weight is None:
        return _reduced(name, neg(sum_(mul(t, log_p), -1)), reduction, sample_weight)
    w = _class_weights(name, class_weight, p.shape[-1], t.dtype)
    weights = sum_(mul(t, w), -1)
    return _reduced(name, neg(sum_(mul(mul(t, w), log_p), -1)), reduction, sample_weight, weights, weighted=True)


def kl_div(log_probabilities: X, target: Any, *, reduction: str = "mean", sample_weight: Any = None) -> X:
    """Kullback-Leibler divergence sum_c t_c (ln t_c - ln p_c) of each row; ln p and t are [...,C].

    The first argument holds logarithms, as from `log_softmax`; "mean" averages rows. Where t_c = 0 the term is 0.
    Raises ValueError for shapes that differ and targets outside [0, 1].
    """
    q, t = _pair("kl_div", log_probabilities, target)
    if not q.ndim:
        raise ValueError("kl_div: expected log-probabilities [..., C], got a scalar")
    _in_unit("kl_div", "target probabilities", t)
    log_q, truth = _promoted("kl_div", log_probabilities, target)
    none = equal(t, 0.0)
    log_t = log(add(truth, none))
    log_q = where(mul(none, equal(q, -math.inf)), 0.0, log_q)  # 0 times -inf would be NaN
    return _reduced("kl_div", sum_(mul(truth, sub(log_t, log_q)), -1), reduction, sample_weight)


def focal_loss(
    logits: X, target: Any, *, gamma: float = 2.0, alpha: float | None = 0.25, reduction: str = "mean",
    sample_weight: Any = None,
) -> X:
    """-a (1 - p)**gamma ln p with p the probability given to the truth (Lin et al. 2017, equation 5).

    logits : [...]; target : {0, 1} of that shape, or integer labels [N] for logits [N,C] (one class against the rest)
    alpha : a for targets 1, 1 - alpha for targets 0; None for a = 1. gamma = 0 leaves weighted cross-entropy.
    Raises ValueError for shapes that do not match, other targets, gamma < 0, alpha outside [0, 1].
    """
    z = operand("focal_loss", logits)
    raw = target.data if isinstance(target, Tensor) else np.asarray(target)
    if raw.dtype.kind in "iub" and raw.shape != z.shape and z.ndim and raw.shape == z.shape[:-1]:
        target = one_hot(_labels("focal_loss", raw, z.shape[:-1], z.shape[-1]), z.shape[-1], z.dtype)
    z, t = _pair("focal_loss", logits, target)
    if not ((t == 0.0) | (t == 1.0)).all():
        raise ValueError(f"focal_loss: expected targets 0 and 1, got values from {t.min()} to {t.max()}")
    gamma = _option("focal_loss", "gamma", gamma, 0.0)
    signed = mul(logits, sub(mul(t, 2.0), 1.0))  # the truth has probability sigmoid(signed)
    each = softplus(neg(signed))
    if gamma:
        each = mul(each, exp(mul(softplus(signed), -gamma)))
    if alpha is not None:
        a = _option("focal_loss", "alpha", alpha, 0.0, 1.0)
        each = mul(each, add(mul(t, 2.0 * a - 1.0), 1.0 - a))
    return _reduced("focal_loss", each, reduction, sample_weight)


# --- directions and boxes


def cosine_loss(
    prediction: X, target: Any, *, axis: int = -1, eps: float = 1e-8, reduction: str = "mean",
    sample_weight: Any = None,
) -> X:
    """1 - cos of the angle between prediction and target [...] along `axis`; norms are at least `eps`.

    Zero vectors give 1 and no gradient beyond the other's over eps. Raises ValueError for shapes that differ.
    """
    i = axis_index("cosine_loss", axis, _pair("cosine_loss", prediction, target)[0].ndim)
    eps = _option("cosine_loss", "eps", eps, 0.0, above=True)
    least = max(eps * eps, TINY)
    p, t = _promoted("cosine_loss", prediction, target)
    norms = [sqrt(maximum(sum_(square(v), i), least)) for v in (p, t)]
    each = sub(1.0, div(div(sum_(mul(p, t), i), norms[0]), norms[1]))
    return _reduced("cosine_loss", each, reduction, sample_weight)


def detection_loss(
    prediction: Any, target: Any, *, box_weight: float = 1.0, background: int | None = 0, beta: float = 1.0,
    reduction: str = "mean", sample_weight: Any = None,
) -> Any:
    """Class and box of each proposal: cross-entropy + box_weight * [label is an object] * sum of 4 smooth L1 terms.

    The multi-task loss of Girshick, Fast R-CNN (2015), equation 1 (notes B:2.5 names it without a formula).

    Parameters
    ----------
    prediction : (class logits [...,C], boxes [...,4])
    target : (integer labels [...], boxes [...,4]); boxes in any coordinates that both sides share
    background : the label whose boxes do not count, or None when every proposal holds an object
    beta : where smooth L1 turns linear

    Raises ValueError/TypeError for shapes that do not match and labels out of range.
    """
    name = "detection_loss"
    for what, pair in (("prediction", prediction), ("target", target)):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"{name}: expected {what} to be a pair (classes, boxes), got {type(pair).__name__}")
    (logits, boxes), (labels, true_boxes) = prediction, target
    z, b = operand(name, logits), operand(name, boxes)
    if not z.ndim or b.shape != (*z.shape[:-1], 4):
        raise ValueError(f"{name}: expected boxes of shape {(*z.shape[:-1], 4)} for logits {z.shape}, got {b.shape}")
    _same_shape(name, boxes, true_boxes)
    weight = _option(name, "box_weight", box_weight, 0.0)
    logits, boxes, true_boxes = _promoted(name, logits, boxes, true_boxes)
    chosen = _labels(name, labels, z.shape[:-1], z.shape[-1])
    located = sum_(smooth_l1_loss(boxes, true_boxes, beta=beta, reduction="none"), -1)
    if background is not None:
        if isinstance(background, bool) or not isinstance(background, int) or not 0 <= background < z.shape[-1]:
            raise ValueError(f"{name}: background must be a label in [0, {z.shape[-1]}) or None, got {background!r}")
        objects = sub(1.0, one_hot(chosen, z.shape[-1], boxes.dtype)[..., background])
        located = mul(located, objects)
    each = add(cross_entropy(logits, chosen, reduction="none"), mul(located, weight))
    return _reduced(name, each, reduction, sample_weight)

