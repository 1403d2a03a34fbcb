"""Softmax and losses. Shapes of predictions and targets must match exactly: nothing broadcasts silently."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _core
from ._common import OUT, Array, Tensor, X, axis_index, contiguous, empty_like, operand, operands, record
from .elementwise import exp, greater, greater_equal, mul, neg, square, sub
from .reduce import mean
from .reduce import sum as sum_
from .shape import reshape, transpose

__all__ = ["cross_entropy", "log_softmax", "mse_loss", "one_hot", "perceptron_loss", "softmax"]


def _last(name: str, x: Any, axis: int) -> tuple[Any, tuple[int, ...] | None]:
    """x with `axis` moved last, and the permutation that undoes it (None when it was last)."""
    if not hasattr(x, "shape"):
        x = operand(name, x)
    ndim = len(x.shape)
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


def _labels(name: str, labels: Any, shape: tuple[int, ...], classes: int) -> Array:
    a = labels.data if isinstance(labels, Tensor) else np.asarray(labels)
    if a.dtype.kind not in "iub":
        raise TypeError(f"{name}: expected integer labels, got dtype {a.dtype}")
    if a.shape != shape:
        raise ValueError(f"{name}: expected labels of shape {shape}, got {a.shape}")
    if a.size and (a.min() < 0 or a.max() >= classes):
        raise ValueError(f"{name}: labels must be in [0, {classes}), got values from {a.min()} to {a.max()}")
    return np.asarray(a, np.int64, order="C")


def one_hot(labels: Any, classes: int, dtype: Any = np.float32) -> Array:
    """[...] integer labels -> [..., classes] array, 1.0 at each label. Raises ValueError for labels out of range."""
    raw = np.asarray(labels)
    a = _labels("one_hot", raw, raw.shape, classes)
    y = np.zeros((a.size, classes), dtype)
    y[np.arange(a.size), a.reshape(-1)] = 1.0
    return y.reshape(*a.shape, classes)


def _reduced(name: str, loss: Any, reduction: str) -> Any:
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum_(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def cross_entropy(logits: X, target: Any, *, reduction: str = "mean") -> X:
    """Softmax cross-entropy -log p[target], computed from logits in one pass (notes C:6).

    Parameters
    ----------
    logits : [..., C]
    target : integer labels [...], or probabilities [..., C]
    reduction : "mean", "sum" or "none" (then of shape [...])

    Raises ValueError/TypeError for shapes that do not match, labels out of range, unknown reductions.
    """
    a = operand("cross_entropy", logits)
    if not a.ndim:
        raise ValueError("cross_entropy: expected logits [..., C], got a scalar")
    t = target.data if isinstance(target, Tensor) else np.asarray(target)
    if t.dtype.kind == "f":
        if t.shape != a.shape:
            raise ValueError(f"cross_entropy: expected target probabilities of shape {a.shape}, got {t.shape}")
        return _reduced(
            "cross_entropy", neg(sum_(mul(log_softmax(logits), target), -1)), reduction
        )
    labels = _labels("cross_entropy", t, a.shape[:-1], a.shape[-1]).reshape(-1)
    rows = _rows(a)
    loss = _core.empty((rows.shape[0],), 0 if a.dtype == np.float32 else 1)
    probs = empty_like(rows)
    _core.softmax_xent(rows, labels, loss, probs)
    out = record("cross_entropy", loss.reshape(a.shape[:-1]), _xent_grad, (logits,), (logits, probs, labels))
    return _reduced("cross_entropy", out, reduction)


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


def mse_loss(prediction: X, target: Any, *, reduction: str = "mean") -> X:
    """Mean (or sum, or each) of (prediction - target)**2; the shapes must be equal."""
    _same_shape("mse_loss", prediction, target)
    return _reduced("mse_loss", square(sub(prediction, target)), reduction)


def perceptron_loss(net: X, labels: Any, *, reduction: str = "sum", strict: bool = False) -> X:
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
    return _reduced("perceptron_loss", sum_(mul(net, error), 1), reduction)
