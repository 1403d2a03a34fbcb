"""Softmax, cross-entropy and the losses beside it; `losses.py` has the others.

Shapes of predictions and targets must match exactly: nothing broadcasts silently.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .. import _core
from ._common import (
    OUT,
    Array,
    Tensor,
    X,
    axis_index,
    cast,
    contiguous,
    empty,
    empty_like,
    kept,
    operand,
    operands,
    record,
    whole,
)
from .elementwise import add, astype, div, exp, greater, greater_equal, mul, neg, square, sub
from .reduce import mean
from .reduce import sum as sum_
from .shape import reshape, transpose

__all__ = ["cross_entropy", "log_softmax", "mse_loss", "one_hot", "perceptron_loss", "softmax"]


def _last(name: str, x: Any, axis: int) -> tuple[Any, tuple[int, ...] | None]:
    """x with `axis` moved last, and the permutation that undoes it (None when it was last)."""
    if not isinstance(x, (Tensor, np.ndarray)):
        x = operand(name, x)
    ndim = len(x.shape)
    if axis == -1 and ndim:
        return x, None
    if not ndim:
        raise ValueError(f"{name}: expected at least one axis, got a scalar")
    i = axis_index(name, axis, ndim)
    if i == ndim - 1:
        return x, None
    order = [j for j in range(ndim) if j != i] + [i]
    back = list(range(ndim - 1))
    back.insert(i, ndim - 1)
    return transpose(x, order), tuple(back)


def _rows(a: Array) -> Array:
    a = contiguous(a)
    if a.ndim == 2:
        return a
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def _softmax_like(name: str, kernel: Any, rule: Any, x: Any, axis: int) -> Any:
    moved, back = _last(name, x, axis)
    a = operand(name, moved)
    y = empty_like(a if a.flags.c_contiguous else contiguous(a))
    kernel(_rows(a), _rows(y))
    out = record(name, y, rule, (moved,), (OUT,))
    return out if back is None else transpose(out, back)


def softmax(x: X, axis: int = -1) -> X:
    """exp(x) / sum exp(x) along `axis`, shifted by the maximum so that nothing overflows."""
    return _softmax_like("softmax", _core.softmax, _softmax_grad, x, axis)


def _softmax_grad(g: Any, needs: Any, y: Any) -> tuple[Any, ...]:
    if isinstance(g, Tensor):  # taped: the composed form
        return (mul(y, sub(g, sum_(mul(g, y), -1, keepdims=True))),)
    dx = empty_like(y)
    _core.softmax_dx(_rows(y), _rows(g), _rows(dx))
    return (dx,)


def log_softmax(x: X, axis: int = -1) -> X:
    """x - log sum exp(x) along `axis`."""
    return _softmax_like("log_softmax", _core.log_softmax, _log_softmax_grad, x, axis)


def _log_softmax_grad(g: Any, needs: Any, y: Any) -> tuple[Any, ...]:
    if isinstance(g, Tensor):
        return (sub(g, mul(exp(y), sum_(g, -1, keepdims=True))),)
    dx = empty_like(y)
    _core.log_softmax_dx(_rows(y), _rows(g), _rows(dx))
    return (dx,)


def _labels(name: str, labels: Any, shape: tuple[int, ...], classes: int, in_range: bool = True) -> Array:
    a = labels.data if isinstance(labels, Tensor) else np.asarray(labels)
    if a.dtype.kind not in "iub":
        raise TypeError(f"{name}: expected integer labels, got dtype {a.dtype}")
    if a.shape != shape:
        raise ValueError(f"{name}: expected labels of shape {shape}, got {a.shape}")
    if in_range:
        _check_range(name, a, classes)
    return np.asarray(a, np.int64, order="C")


def _check_range(name: str, labels: Array, classes: int) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"{name}: labels must be in [0, {classes}), got values from {labels.min()} to {labels.max()}")


def one_hot(labels: Any, classes: int, dtype: Any = np.float32) -> Array:
    """[...] integer labels -> [..., classes] array, 1.0 at each label.

    Raises ValueError for labels out of range, TypeError for other labels and dtypes than float32 and float64.
    """
    raw = labels.data if isinstance(labels, Tensor) else np.asarray(labels)
    classes = whole("one_hot", "classes", classes, 0)
    a = _labels("one_hot", raw, raw.shape, classes)
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"one_hot: expected float32 or float64, got {np.dtype(dtype)}")
    y = empty((a.size, classes), np.dtype(dtype))
    _core.one_hot(y, a.reshape(-1))
    return y.reshape(*a.shape, classes)


def _sample_weights(name: str, weight: Any, loss: Any) -> Any:
    """`weight` in the loss's dtype, its shape checked and extended by axes of length 1 to the loss's."""
    w = operand(f"{name}: sample_weight", weight)
    shape = tuple(loss.shape)
    if w.shape != shape[: w.ndim]:
        raise ValueError(f"{name}: expected sample_weight of shape {shape} or of its first axes, got {w.shape}")
    given: Any = weight if isinstance(weight, Tensor) and w.dtype == loss.dtype else cast(w, loss.dtype)
    return reshape(given, (*w.shape, *[1] * (len(shape) - w.ndim)))


def _reduced(
    name: str, loss: Any, reduction: str, sample_weight: Any = None, class_weights: Any = None, weighted: bool = False
) -> Any:
    """The loss reduced; `class_weights` is an array of the loss's shape, already multiplied in when `weighted`."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    weights = class_weights
    if class_weights is not None and not weighted:
        loss = mul(loss, class_weights)
    if sample_weight is not None:
        w = _sample_weights(name, sample_weight, loss)
        loss = mul(loss, w)
        weights = w if weights is None else mul(weights, w)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return sum_(loss)
    if weights is None:
        return mean(loss)
    repeats = math.prod(loss.shape) // max(math.prod(weights.shape), 1)
    return div(sum_(loss), mul(sum_(weights), float(repeats)))


def _class_weights(name: str, weights: Any, classes: int, dtype: Any) -> Array:
    """Class weights as an array [classes]. Raises ValueError for another length, negative or infinite ones."""
    w = operand(f"{name}: class_weight", weights)
    if w.shape != (classes,):
        raise ValueError(f"{name}: expected class_weight of shape ({classes},), got {w.shape}")
    if not (np.isfinite(w).all() and (w >= 0.0).all()):
        raise ValueError(f"{name}: class_weight must be finite and not negative, got {w.tolist()}")
    return cast(w, np.dtype(dtype))


def _binary_weights(name: str, weights: Any, target: Any) -> Any:
    """w0 (1 - t) + w1 t for targets t in [0, 1], or None."""
    if weights is None:
        return None
    w = _class_weights(name, weights, 2, target.dtype)
    return add(mul(target, float(w[1]) - float(w[0])), float(w[0]))


def _promoted(name: str, *xs: Any) -> list[Any]:
    """All of one dtype, tensors staying on the tape: float64 when one is, as if the caller had converted them."""
    arrays = operands(name, *xs)
    return [
        a if not isinstance(x, Tensor) else (x if x.dtype == a.dtype else astype(x, a.dtype))
        for x, a in zip(xs, arrays, strict=True)
    ]


def _classes(name: str, target: Any, like: Array) -> Any:
    """Integer labels as one-hot rows; probabilities as they are. `like` is the prediction [...,C]."""
    t = target.data if isinstance(target, Tensor) else np.asarray(target)
    if t.dtype.kind != "f":
        return one_hot(_labels(name, t, like.shape[:-1], like.shape[-1]), like.shape[-1], like.dtype)
    if t.shape != like.shape:
        raise ValueError(f"{name}: expected target probabilities of shape {like.shape}, got {t.shape}")
    return target


def cross_entropy(
    logits: X, target: Any, *, class_weight: Any = None, label_smoothing: float = 0.0, reduction: str = "mean",
    sample_weight: Any = None,
) -> X:
    """Softmax cross-entropy -log p[target], computed from logits in one pass (notes C:6).

    Parameters
    ----------
    logits : [..., C]
    target : integer labels [...], or probabilities [..., C]
    class_weight : [C]; class c counts w_c times, and "mean" divides by the sum of the weights of the targets
    label_smoothing : e in [0, 1]; targets become (1 - e) t + e / C (Szegedy et al. 2016)
    reduction : "mean", "sum" or "none" (then of shape [...])
    sample_weight : of the shape [...] or of its first axes; "mean" divides by its sum

    Raises ValueError/TypeError for shapes that do not match, labels out of range, unknown options.
    """
    name = "cross_entropy"
    a = operand(name, logits)
    if not a.ndim:
        raise ValueError(f"{name}: expected logits [..., C], got a scalar")
    e = label_smoothing
    if isinstance(e, bool) or not isinstance(e, (int, float)) or not 0.0 <= e <= 1.0:
        raise ValueError(f"{name}: label_smoothing must be in [0, 1], got {e!r}")
    t = target.data if isinstance(target, Tensor) else np.asarray(target)
    if t.dtype.kind == "f" or (class_weight is not None and e):
        return _general_cross_entropy(logits, a, target, class_weight, float(e), reduction, sample_weight)
    labels = _labels(name, t, a.shape[:-1], a.shape[-1], in_range=False).reshape(-1)
    rows = _rows(a)
    loss = empty(a.shape[:-1], a.dtype)
    probs = empty_like(rows)
    try:
        _core.softmax_xent(rows, labels, loss.reshape(-1), probs)
    except ValueError:
        _check_range(name, labels, a.shape[-1])  # the kernel looked already: say it in our words
        raise
    out: Any = record(name, loss, _xent_grad, (logits,), (logits, probs, labels))
    if class_weight is not None:
        w = _class_weights(name, class_weight, a.shape[-1], a.dtype)
        each = empty(loss.shape, a.dtype)
        _core.take(w.reshape(1, -1, 1), labels, each.reshape(1, -1, 1))
        return _reduced(name, out, reduction, sample_weight, each)
    if e:
        out = sub(mul(out, 1.0 - e), mul(mean(log_softmax(logits), -1), float(e)))
    return _reduced(name, out, reduction, sample_weight)


def _general_cross_entropy(
    logits: Any, a: Array, target: Any, class_weight: Any, e: float, reduction: str, sample_weight: Any
) -> Any:
    """For target probabilities and class weights; with one-hot rows it agrees with labels."""
    name = "cross_entropy"
    logits, t = _promoted(name, logits, _classes(name, target, a))
    smooth = add(mul(t, 1.0 - e), e / a.shape[-1]) if e else t
    log_p = log_softmax(logits)
    if class_weight is None:
        return _reduced(name, neg(sum_(mul(log_p, smooth), -1)), reduction, sample_weight)
    w = _class_weights(name, class_weight, a.shape[-1], t.dtype)
    each = neg(sum_(mul(log_p, mul(smooth, w)), -1))
    return _reduced(name, each, reduction, sample_weight, sum_(mul(t, w), -1), weighted=True)


def _xent_grad(g: Any, needs: Any, logits: Any, probs: Array, labels: Array) -> tuple[Any, ...]:
    if isinstance(g, Tensor):  # taped: softmax again, so that the second pass reaches the logits
        onehot = one_hot(labels, probs.shape[-1], probs.dtype).reshape(logits.shape)
        return (mul(sub(softmax(logits), onehot), reshape(g, (*g.shape, 1))),)
    dx = empty_like(probs)
    _core.softmax_xent_dx(probs, labels, contiguous(g).reshape(-1), dx)
    return (dx.reshape(logits.shape),)


def _same_shape(name: str, prediction: Any, target: Any) -> None:
    p, t = operands(name, prediction, target)
    if p.shape != t.shape:
        raise ValueError(f"{name}: expected a target of shape {p.shape} like the prediction, got {t.shape}")


def mse_loss(prediction: X, target: Any, *, reduction: str = "mean", sample_weight: Any = None) -> X:
    """Mean (or sum, or each) of (prediction - target)**2 of [...]; the shapes must be equal.

    sample_weight : of the shape [...] or of its first axes; "mean" divides by its sum.
    """
    name = "mse_loss"
    p, t = operands(name, prediction, target)
    _same_shape(name, p, t)
    if reduction not in ("mean", "sum") or sample_weight is not None or not p.size:
        return _reduced(name, square(sub(prediction, target)), reduction, sample_weight)
    scale = 1.0 / p.size if reduction == "mean" else 1.0
    loss, away = _pair_loss(_SQUARE, p, t, scale)
    saved = (kept(prediction, p), kept(target, t), away, 2.0 * scale)
    return record(name, loss, _mse_grad, (prediction, target), saved)


_SQUARE, _LOGISTIC = 0, 1  # as `rb::Pair` numbers them


def _pair_loss(kind: int, x: Array, t: Array, scale: float) -> tuple[Array, Array]:
    """The sum of the losses of all pairs times `scale`, and the slope of each by x (half of it for squares)."""
    loss, slopes = empty((), x.dtype), empty_like(x)
    x, t = contiguous(x).reshape(-1), contiguous(t).reshape(-1)
    _core.pair_loss(x, t, slopes.reshape(-1), loss.reshape(1), kind, scale)
    return loss, slopes


@functools.lru_cache(maxsize=256)
def _factor(value: float, dtype: np.dtype[Any]) -> Array:
    """A number that depends on shapes alone, as one array for every step: capture need not ask where it comes from."""
    one = np.array(value, dtype)
    one.flags.writeable = False
    return one


def _mse_grad(g: Any, needs: Any, prediction: Any, target: Any, away: Array, scale: float) -> tuple[Any, ...]:
    if isinstance(g, Tensor):  # taped: from the inputs, which a second pass must reach
        dp = mul(sub(prediction, target), mul(g, scale))
        return dp, neg(dp)
    grads: list[Any] = []
    for wanted, factor in zip(needs, (scale, -scale), strict=True):
        grads.append(mul(away, mul(g, _factor(factor, away.dtype))) if wanted else None)
    return tuple(grads)


def perceptron_loss(
    net: X, labels: Any, *, reduction: str = "sum", strict: bool = False, sample_weight: Any = None
) -> X:
    """The perceptron criterion sum (y_hat - y) * net with y_hat = step(net), one unit per class.

    net : [N,C] net inputs; labels : [N] integers, one-hot encoded as {0,1} targets y.
    strict : a unit fires at net > 0 (notes A:M4, C:4b) instead of net >= 0 (notes C:1); they differ at net = 0 only,
    where every unit stands before the first step from zero weights.
    Its gradient with respect to net is y_hat - y, so plain gradient descent with rate eta is Rosenblatt's error
    correction w += eta (y - y_hat) x (Rosenblatt 1958; notes C:1).
    """
    a = operand("perceptron_loss", net)
    if a.ndim != 2:
        raise ValueError(f"perceptron_loss: expected net inputs [N,C], got shape {a.shape}")
    target = one_hot(_labels("perceptron_loss", labels, a.shape[:1], a.shape[1]), a.shape[1], a.dtype)
    error = sub(greater(a, 0.0) if strict else greater_equal(a, 0.0), target)
    return _reduced("perceptron_loss", sum_(mul(net, error), 1), reduction, sample_weight)
