"""The sigmoid neuron, logistic regression and softmax regression.

D. R. Cox, The regression analysis of binary sequences, J. R. Stat. Soc. B 20, 1958; J. S. Bridle, Probabilistic
interpretation of feedforward classification network outputs, Neurocomputing, 1990 (softmax).

One sigmoid unit answers p = 1 / (1 + e**-(w . x + b)). With labels in {0, 1} it is fitted by the binary cross-entropy,
with labels in {-1, +1} by sum log(1 + e**(-y (w . x + b))): the same cost in another coding. K units with a softmax are
its form for K classes. The costs are convex; `fit_logistic` and `fit_softmax` go to their minimum by L-BFGS in float64:

    sum_i loss_i + (penalty / 2) sum w**2        (the bias is not penalised; scikit-learn's C is 1 / penalty)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole
from ..nn import Flatten, Linear, Sequential
from ..optim import LBFGS
from ..tensor import Parameter, Tensor
from .registry import Recipe, register

__all__ = [
    "LogisticFit",
    "fit_logistic",
    "fit_softmax",
    "logistic_regression",
    "sigmoid_neuron",
    "softmax_regression",
]

Array = npt.NDArray[Any]


def sigmoid_neuron(features: int) -> Sequential:
    """One sigmoid unit with its output between 0 and 1: [N,features] -> [N,1]."""
    return Sequential(Linear(features, 1, activation="sigmoid"))


def logistic_regression(features: int) -> Sequential:
    """One unit returning its net input: [N,features] -> [N,1], for `fit(task="binary")`, which adds the sigmoid."""
    return Sequential(Linear(features, 1))


@register(
    "softmax_regression",
    family="neurons",
    year=1990,
    paper="J. S. Bridle, Probabilistic interpretation of feedforward classification network outputs, "
    "Neurocomputing, 1990",
    what="one linear layer and a softmax: logistic regression for several classes",
    recipe=Recipe(epochs=300, batch_size=32, optimizer="adam", lr=3e-2, weight_decay=1e-3),
)
def softmax_regression(*, input_shape: Sequence[int] = (8, 8, 1), classes: int = 10) -> Sequential:
    """One linear unit per class on samples of `input_shape`, returning logits [N,classes]; all start at zero."""
    layer = Linear(math.prod(input_shape), classes)
    for _, parameter in layer.named_parameters():
        np.asarray(parameter.data)[...] = 0
    return Sequential(Flatten(), layer)


# --- to the minimum


@dataclass(frozen=True)
class LogisticFit:
    """A fitted logistic (one unit) or softmax (K units) regression.

    Attributes
    ----------
    weights : [D], or [K,D]; bias : a number, or [K]
    cost : sum of the losses and penalty at the end
    converged : whether no derivative of the cost, per sample, exceeds the tolerance; gradient : the largest of them
    labels : the two answers of one unit, (0, 1) or (-1, 1)
    """

    weights: Array
    bias: Any
    cost: float
    converged: bool
    gradient: float
    labels: tuple[int, int] = (0, 1)

    def net(self, x: Any) -> Array:
        """x [N,D] -> w . x + b: [N], or [N,K]. Raises ValueError for another number of features."""
        a = np.asarray(x, np.float64)
        if a.ndim != 2 or a.shape[1] != self.weights.shape[-1]:
            raise ValueError(f"LogisticFit: expected x [N,{self.weights.shape[-1]}], got shape {list(a.shape)}")
        return ops.add(ops.matmul(a, self.weights.T), self.bias)

    def probabilities(self, x: Any) -> Array:
        """[N] probability of the second label, or [N,K]."""
        net = self.net(x)
        return ops.softmax(net, 1) if net.ndim == 2 else ops.sigmoid(net)

    def predict(self, x: Any) -> Array:
        """[N] int64: the more probable label, or the most probable class."""
        net = self.net(x)
        if net.ndim == 2:
            return np.asarray(ops.argmax(net, 1), np.int64)
        return np.where(net > 0, self.labels[1], self.labels[0]).astype(np.int64)


def _arguments(where: str, x: Any, y: Any, penalty: float) -> tuple[Array, Array]:
    a, t = np.asarray(x, np.float64), np.asarray(y)
    if a.ndim != 2 or 0 in a.shape or t.shape != (len(a),):
        raise ValueError(f"{where}: expected x [N,D] and labels [N], got {list(a.shape)} and {list(t.shape)}")
    if not np.isfinite(a).all():
        raise ValueError(f"{where}: x must be finite")
    if isinstance(penalty, bool) or not isinstance(penalty, (int, float, np.number)) or not 0 <= penalty < math.inf:
        raise ValueError(f"{where}: penalty must be at least 0, got {penalty!r}")
    return a, t


def _minimise(
    a: Array, units: int, loss: Any, penalty: float, tolerance: float, max_iterations: int
) -> tuple[Parameter, Parameter, float, float]:
    """(weights [units,D], bias [units], cost, largest derivative per sample) at the minimum, found by L-BFGS."""
    w, b = Parameter(np.zeros((units, a.shape[1]))), Parameter(np.zeros(units))
    x, n = Tensor(a), len(a)
    optimizer = LBFGS(
        [w, b], max_iter=max_iterations, max_eval=4 * max_iterations, tolerance_grad=tolerance, tolerance_change=0.0,
        history_size=20,
    )  # fmt: skip

    def cost() -> Any:
        optimizer.zero_grad()
        total = ops.add(loss(ops.linear(x, w, b)), ops.mul(ops.sum(ops.square(w)), penalty / 2))
        mean = ops.div(total, n)
        mean.backward()
        return mean

    optimizer.step(cost)
    least = float(cost().item())
    assert w.grad is not None and b.grad is not None
    gradient = max(float(ops.max(ops.abs(w.grad.data))), float(ops.max(ops.abs(b.grad.data))))
    return w, b, least * n, gradient


def fit_logistic(
    x: Any, y: Any, *, penalty: float = 0.0, tolerance: float = 1e-8, max_iterations: int = 1000
) -> LogisticFit:
    """Logistic regression of x [N,D] on labels [N], 0 and 1 or -1 and 1 (the unit answers in the same coding).

    penalty : of the squared weights, half of it each; without one, separable samples have no minimum and the weights
    grow until `max_iterations`. Raises ValueError for other shapes, labels, penalties.
    """
    a, t = _arguments("fit_logistic", x, y, penalty)
    found = set(np.unique(t).tolist())
    if not (found <= {0, 1} or found <= {-1, 1}):
        raise ValueError(f"fit_logistic: labels must be 0 and 1, or -1 and 1, got {sorted(found)[:4]}")
    target = t.astype(np.float64)[:, None]  # [N,1]
    bipolar = bool(found - {0, 1})
    loss = ops.logistic_loss if bipolar else ops.bce_with_logits
    most = whole("fit_logistic", "max_iterations", max_iterations, 1)
    w, b, cost, gradient = _minimise(a, 1, lambda z: loss(z, target, reduction="sum"), penalty, tolerance, most)
    return LogisticFit(
        w.data[0], float(b.data[0]), cost, gradient <= tolerance, gradient, (-1, 1) if bipolar else (0, 1)
    )


def fit_softmax(
    x: Any,
    y: Any,
    *,
    classes: int | None = None,
    penalty: float = 0.0,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
) -> LogisticFit:
    """Softmax regression of x [N,D] on labels [N] 0 .. classes - 1 (default: as many as there are).

    Without a penalty the weights are determined only up to a vector common to all classes. Raises ValueError for other
    shapes, labels, penalties.
    """
    a, t = _arguments("fit_softmax", x, y, penalty)
    count = int(t.max()) + 1 if classes is None else whole("fit_softmax", "classes", classes, 2)
    if t.dtype.kind not in "iu" or t.min() < 0 or t.max() >= count:
        found = f"{t.dtype} {t.min()} .. {t.max()}"
        raise ValueError(f"fit_softmax: expected integer labels in 0 .. {count - 1}, got {found}")
    labels = t.astype(np.int64)
    most = whole("fit_softmax", "max_iterations", max_iterations, 1)
    w, b, cost, gradient = _minimise(
        a, max(count, 2), lambda z: ops.cross_entropy(z, labels, reduction="sum"), penalty, tolerance, most
    )
    return LogisticFit(w.data, b.data, cost, gradient <= tolerance, gradient)
