"""Capacity, generalisation and empirical risk: the memoriser, the split of an error into bias and variance, learning
curves.

S. Geman, E. Bienenstock, R. Doursat, Neural networks and the bias/variance dilemma, Neural Computation 4, 1992;
V. N. Vapnik, The nature of statistical learning theory, 1995 (empirical risk minimisation).

The empirical risk of f is the mean of its loss over the training samples. Minimising it over all functions says nothing
about other samples: `Memoriser` reaches zero and knows nothing else. Over a restricted family it does, and the expected
squared error of such fits, over training sets, is bias**2 + variance + noise (`bias_variance`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .._options import whole

__all__ = ["BiasVariance", "LearningCurve", "Memoriser", "bias_variance", "empirical_risk", "learning_curve"]

Array = npt.NDArray[Any]
Predict = Callable[[Array], Array]
Fit = Callable[[Array, Array], Predict]


def empirical_risk(predicted: Any, y: Any, loss: Literal["squared", "zero_one"] = "squared") -> float:
    """Mean over the samples of (predicted - y)**2, or of predicted != y; both [N]. Raises ValueError otherwise."""
    p, t = np.asarray(predicted), np.asarray(y)
    if p.shape != t.shape or p.ndim != 1 or not len(p):
        raise ValueError(f"empirical_risk: expected predictions and targets [N], got {list(p.shape)}, {list(t.shape)}")
    if loss == "squared":
        return float(((p.astype(np.float64) - t) ** 2).mean())
    if loss == "zero_one":
        return float((p != t).mean())
    raise ValueError(f"empirical_risk: loss must be 'squared' or 'zero_one', got {loss!r}")


class Memoriser:
    """Learning by heart: f(x) = y_i where x is the training sample x_i, to the bit, and `otherwise` everywhere else.

    `fit(x, y)` takes x [N,...] and y [N]; of equal samples the last one's y counts. `predict(x)` gives [M]. Zero
    empirical risk unless equal samples disagree, and no idea of anything else. Raises ValueError for other shapes.
    """

    def __init__(self, otherwise: float = 0.0) -> None:
        self.otherwise = otherwise
        self._known: dict[bytes, Any] = {}
        self._shape: tuple[int, ...] | None = None

    @staticmethod
    def _keys(x: Array) -> list[bytes]:
        rows = np.ascontiguousarray(np.asarray(x, np.float64) + 0.0)  # -0.0 is 0.0
        return [row.tobytes() for row in rows]

    def fit(self, x: Any, y: Any) -> Memoriser:
        a, t = np.asarray(x), np.asarray(y)
        if a.ndim < 1 or t.shape != (len(a),) or not len(a):
            raise ValueError(f"Memoriser: expected x [N,...] and y [N], got {list(a.shape)} and {list(t.shape)}")
        self._known, self._shape = dict(zip(self._keys(a), t, strict=True)), a.shape[1:]
        self._dtype = np.result_type(t, type(self.otherwise))
        return self

    def predict(self, x: Any) -> Array:
        a = np.asarray(x)
        if self._shape is None:
            raise ValueError("Memoriser: predict before fit")
        if a.ndim < 1 or a.shape[1:] != self._shape:
            raise ValueError(f"Memoriser: expected samples {list(self._shape)}, got shape {list(a.shape)}")
        return np.array([self._known.get(key, self.otherwise) for key in self._keys(a)], self._dtype)


@dataclass(frozen=True)
class BiasVariance:
    """The expected squared error at the test points: `error` = `bias2` + `variance` + `noise`, each a mean over them.

    predictions : [R,M], of each of the R fits at the M points.
    """

    bias2: float
    variance: float
    noise: float
    predictions: Array

    @property
    def error(self) -> float:
        return self.bias2 + self.variance + self.noise


def bias_variance(
    fit: Fit,
    sample: Callable[[int], tuple[Array, Array]],
    x: Any,
    truth: Any,
    *,
    noise: float = 0.0,
    repeats: int = 100,
) -> BiasVariance:
    """Fits `repeats` training sets and splits their mean squared error at x [M,...] into its parts.

    Parameters
    ----------
    fit : (x, y) -> function that predicts [M] from x; sample : number -> a training set (x, y) of its own
    x : [M,...]; truth : [M], the noiseless targets there; noise : variance of the targets about the truth

    Raises ValueError for other shapes and fewer than 2 repeats.
    """
    whole("bias_variance", "repeats", repeats, 2)
    target = np.asarray(truth, np.float64)
    rows = [np.asarray(fit(*sample(i))(x), np.float64) for i in range(repeats)]
    if target.ndim != 1 or any(row.shape != target.shape for row in rows):
        raise ValueError(
            f"bias_variance: expected truth and predictions [M], got {list(target.shape)} and {list(rows[0].shape)}"
        )
    predictions = np.array(rows)  # [R,M]
    bias2 = float(((predictions.mean(0) - target) ** 2).mean())
    return BiasVariance(bias2, float(predictions.var(0).mean()), float(noise), predictions)


@dataclass(frozen=True)
class LearningCurve:
    """Errors over the number of training samples: `sizes` [S], `training` and `validation` errors [S]."""

    sizes: Array
    training: Array
    validation: Array


def learning_curve(
    fit: Fit,
    x: Any,
    y: Any,
    validation: tuple[Any, Any],
    sizes: Sequence[int],
    *,
    error: Callable[[Any, Any], float] | None = None,
) -> LearningCurve:
    """Fits the first n samples for every n of `sizes` and measures the error there and on the validation samples.

    x [N,...], y [N]; error : (predicted, y) -> number, by default the mean squared error. Raises ValueError for sizes
    that are not in 1 .. N.
    """
    a, t = np.asarray(x), np.asarray(y)
    measure = empirical_risk if error is None else error
    if len(a) != len(t) or not sizes or any(not 1 <= n <= len(a) for n in sizes):
        raise ValueError(f"learning_curve: expected sizes in 1 .. {len(a)}, got {list(sizes)}")
    pairs = []
    for n in sizes:
        predict = fit(a[:n], t[:n])
        pairs.append((measure(predict(a[:n]), t[:n]), measure(predict(validation[0]), validation[1])))
    found = np.array(pairs, np.float64)  # [S,2]
    return LearningCurve(np.array(sizes), found[:, 0], found[:, 1])
