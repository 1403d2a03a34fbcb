"""The linear neuron: linear, polynomial and quadratic-form regression, with ridge, lasso and elastic net.

A. M. Legendre, Nouvelles methodes pour la determination des orbites des cometes, 1805 (least squares); A. E. Hoerl,
R. W. Kennard, Technometrics 12, 1970 (ridge); R. Tibshirani, J. R. Stat. Soc. B 58, 1996 (lasso); H. Zou, T. Hastie,
J. R. Stat. Soc. B 67, 2005 (elastic net); B. Widrow, M. E. Hoff, Adaptive switching circuits, 1960 (the linear neuron).

The cost is that of the notes, the mean over n samples and a penalty of the weights, never of the bias:

    (1/n) sum_i |y_i - x_i w - b|**2 + l1 sum |w| + l2 sum w**2

`fit_linear` minimises it by accelerated proximal gradient descent (A. Beck, M. Teboulle, SIAM J. Imaging Sci. 2, 2009)
in float64: a gradient step of the squared error, then the penalty's own step, which sets small weights to exactly 0;
a plain subgradient of |w| never does. The same models as networks, for `fit` with any optimiser, are
`linear_regression`, `polynomial_regression` and `quadratic_form`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole
from ..nn import Linear, Module, Sequential
from ..tensor import Parameter

__all__ = [
    "LinearFit",
    "PolynomialFit",
    "QuadraticForm",
    "QuadraticFormFit",
    "fit_linear",
    "fit_polynomial",
    "fit_quadratic_form",
    "linear_regression",
    "penalties",
    "polynomial_regression",
    "quadratic_form",
    "scikit_learn_penalty",
]

Array = npt.NDArray[Any]
Kind = Literal["least_squares", "ridge", "lasso", "elastic_net"]
Basis = Literal["power", "legendre"]


# --- penalties


def _weight(where: str, name: str, value: float, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= most:
        raise ValueError(f"{where}: {name} must be in [0, {most:g}], got {value!r}")
    return float(value)


def penalties(
    kind: Kind,
    strength: float = 0.0,
    alpha: float = 0.5,
    convention: Literal["ridge share", "lasso share"] = "ridge share",
) -> tuple[float, float]:
    """(l1, l2), the weights of sum |w| and sum w**2 in the cost, for a strength (lambda) of at least 0.

    "least_squares" has none, "ridge" l2 = strength, "lasso" l1 = strength; "elastic_net" divides it by `alpha` in
    [0, 1]. In the notes alpha is the "ridge share": l1 = (1 - alpha) strength, l2 = alpha strength, so 0 is the lasso;
    the "lasso share" is the other way round (alpha = 1 is the lasso), as scikit-learn's l1_ratio.

    Raises ValueError for other kinds, conventions and numbers.
    """
    strength, alpha = _weight("penalties", "strength", strength), _weight("penalties", "alpha", alpha, 1.0)
    if convention not in ("ridge share", "lasso share"):
        raise ValueError(f"penalties: convention must be 'ridge share' or 'lasso share', got {convention!r}")
    ridge = alpha if convention == "ridge share" else 1.0 - alpha
    shares = {"least_squares": (0.0, 0.0), "ridge": (0.0, 1.0), "lasso": (1.0, 0.0)}
    shares["elastic_net"] = (1.0 - ridge, ridge)
    if kind not in shares:
        raise ValueError(f"penalties: kind must be one of {', '.join(shares)}, got {kind!r}")
    l1, l2 = shares[kind]
    return l1 * strength, l2 * strength


def scikit_learn_penalty(kind: Kind, strength: float, samples: int, alpha: float = 0.5) -> dict[str, float]:
    """The arguments of scikit-learn's Ridge, Lasso or ElasticNet that give the same fit as `penalties(kind, ...)`.

    Their costs are RSS + alpha sum w**2 and RSS / (2n) + alpha (l1_ratio sum |w| + (1 - l1_ratio) / 2 sum w**2), hence
    ridge alpha = n strength, lasso alpha = strength / 2, elastic net alpha = strength (1 + a) / 2 and
    l1_ratio = (1 - a) / (1 + a), where a is `alpha`, the ridge share.
    """
    penalties(kind, strength, alpha)
    if kind == "least_squares":
        return {}
    if kind == "ridge":
        return {"alpha": whole("scikit_learn_penalty", "samples", samples, 1) * strength}
    if kind == "lasso":
        return {"alpha": strength / 2}
    return {"alpha": strength * (1 + alpha) / 2, "l1_ratio": (1 - alpha) / (1 + alpha)}


# --- the fit


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear neuron.

    Attributes
    ----------
    weights : [D], or [D,K] for targets [N,K]; bias : a number, or [K]
    cost : mean squared error and penalty at the end; iterations : gradient steps taken
    converged : whether the last step was below the tolerance
    """

    weights: Array
    bias: Any
    cost: float
    iterations: int
    converged: bool

    def predict(self, x: Any) -> Array:
        """x [N,D] -> [N] or [N,K] float64. Raises ValueError for another number of features."""
        a = np.asarray(x, np.float64)
        if a.ndim != 2 or a.shape[1] != len(self.weights):
            raise ValueError(f"LinearFit: expected x [N,{len(self.weights)}], got shape {list(a.shape)}")
        return ops.add(ops.matmul(a, self.weights), self.bias)


def _data(where: str, x: Any, y: Any) -> tuple[Array, Array, bool]:
    a, t = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.ndim != 2 or 0 in a.shape or t.ndim not in (1, 2) or len(t) != len(a) or t.size == 0:
        raise ValueError(f"{where}: expected x [N,D] and y [N] or [N,K], got {list(a.shape)} and {list(t.shape)}")
    if not (np.isfinite(a).all() and np.isfinite(t).all()):
        raise ValueError(f"{where}: x and y must be finite")
    return a, (t if t.ndim == 2 else t[:, None]), t.ndim == 1


def _largest_eigenvalue(g: Array) -> float:
    """An upper bound of the largest eigenvalue of a positive semidefinite g [D,D], at most D**(1/64) times too large.

    It is trace(g**64)**(1/64), by squaring g five times; |g**32| is the Frobenius norm, whose square is that trace.
    """
    log, power = 0.0, g  # g**(2**k) is exp(2**k log) times `power`
    for k in range(6):
        norm = math.sqrt(float(ops.sum(ops.square(power))))
        if not norm > 0:
            return 0.0
        log += math.log(norm) / 2**k
        if k < 5:
            power = ops.div(power, norm)
            power = ops.matmul(power, power)
    return math.exp(log)


def fit_linear(
    x: Any,
    y: Any,
    *,
    l1: float = 0.0,
    l2: float = 0.0,
    bias: bool = True,
    tolerance: float = 1e-12,
    max_iterations: int = 200_000,
) -> LinearFit:
    """The weights and the bias of least cost (see the head of the module) by accelerated proximal gradient descent.

    Parameters
    ----------
    x : [N,D]; y : [N] or [N,K]
    l1, l2 : weights of the two penalties (`penalties` computes them); l1 = l2 = 0 is least squares
    bias : False fits through the origin
    tolerance : it ends when no weight, in units of its feature's deviation, moves by more than this times the largest
    max_iterations : or after so many steps; `converged` is then False

    Raises ValueError for other shapes, values that are not finite, negative penalties.
    """
    a, t, flat = _data("fit_linear", x, y)
    l1, l2 = _weight("fit_linear", "l1", l1), _weight("fit_linear", "l2", l2)
    most = whole("fit_linear", "max_iterations", max_iterations, 1)
    n, d = a.shape
    # the best bias is mean(y) - mean(x) w, whatever w is: centre both, then the bias is out of the way
    x_mean = ops.mean(a, 0) if bias else np.zeros(d)  # [D]
    y_mean = ops.mean(t, 0) if bias else np.zeros(t.shape[1])  # [K]
    a, t = ops.sub(a, x_mean), ops.sub(t, y_mean)
    # descend in v = scale * w, features of deviation 1: the same minimum, reached in far fewer steps
    scale = np.sqrt(ops.mean(ops.square(a), 0))  # [D]
    constant = scale <= 1e-13 * np.abs(x_mean)  # what centring left of them is rounding
    scale[constant | (scale == 0)] = 1.0
    a = ops.mul(ops.div(a, scale), 1.0 - constant)
    lasso, ridge = (l1 / scale)[:, None], (l2 / scale**2)[:, None]  # [D,1]
    gram = ops.mul(ops.matmul(a.T, a), 2.0 / n)  # [D,D]; the gradient of the squared error is gram v - moment
    moment = ops.mul(ops.matmul(a.T, t), 2.0 / n)  # [D,K]
    step = 1.0 / max(_largest_eigenvalue(gram), 1e-300)
    edge, shrink = step * lasso, 1.0 / (1.0 + 2.0 * step * ridge)  # [D,1]
    v = u = np.zeros(moment.shape)
    momentum, iterations, converged = 1.0, 0, False
    while iterations < most and not converged:
        iterations += 1
        free = ops.sub(u, ops.mul(ops.sub(ops.matmul(gram, u), moment), step))  # the gradient step
        inner = ops.maximum(ops.minimum(free, edge), -edge)  # what the lasso takes away: all of it below the edge
        new = ops.mul(ops.sub(free, inner), shrink)  # the penalties' step
        change = ops.sub(new, v)
        if float(ops.sum(ops.mul(ops.sub(u, new), change))) > 0:  # the momentum points uphill: start it again
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        u = ops.add(new, ops.mul(change, (momentum - 1) / following))
        moved = max(float(ops.max(ops.abs(change))), float(ops.max(ops.abs(ops.sub(u, new)))))
        converged = moved <= tolerance * max(float(ops.max(ops.abs(new))), 1e-300)
        v, momentum = new, following
    w: Array = ops.div(v, scale[:, None])  # [D,K]
    b: Array = ops.sub(y_mean, ops.matmul(x_mean, w))  # [K]
    cost = float(ops.sum(ops.square(ops.sub(t, ops.matmul(a, v))))) / n
    cost += float(ops.sum(ops.abs(w))) * l1 + float(ops.sum(ops.square(w))) * l2
    return LinearFit(w[:, 0] if flat else w, float(b[0]) if flat else b, cost, iterations, converged)


# --- polynomials


def _legendre(x: Any, degree: int) -> list[Any]:
    terms = [x]  # P1; P0 is the bias
    before = None
    for k in range(1, degree):
        following = ops.mul(ops.mul(x, terms[-1]), (2 * k + 1) / (k + 1))
        following = ops.sub(following, k / (k + 1) if before is None else ops.mul(before, k / (k + 1)))
        before = terms[-1]
        terms.append(following)
    return terms


def _powers(x: Any, degree: int) -> list[Any]:
    terms = [x]
    for _ in range(1, degree):
        terms.append(ops.mul(terms[-1], x))
    return terms


_BASES: dict[str, Callable[[Any, int], list[Any]]] = {"power": _powers, "legendre": _legendre}


def _basis(where: str, basis: str) -> Callable[[Any, int], list[Any]]:
    if basis not in _BASES:
        raise ValueError(f"{where}: basis must be 'power' or 'legendre', got {basis!r}")
    return _BASES[basis]


@dataclass(frozen=True)
class PolynomialFit:
    """A fitted polynomial of one variable: `linear` on powers, or on Legendre polynomials, of (x - middle) / half."""

    linear: LinearFit
    degree: int
    basis: Basis
    middle: float
    half: float

    def predict(self, x: Any) -> Array:
        """x [N] or [N,1] -> [N] float64."""
        z = (np.asarray(x, np.float64).reshape(-1, 1) - self.middle) / self.half
        return self.linear.predict(np.concatenate(_BASES[self.basis](z, self.degree), axis=1))


def fit_polynomial(
    x: Any, y: Any, degree: int, *, l1: float = 0.0, l2: float = 0.0, basis: Basis = "power", **options: Any
) -> PolynomialFit:
    """theta_0 + theta_1 x + ... + theta_degree x**degree fitted to x [N] or [N,1] and y [N].

    basis : "power" penalises the thetas themselves; "legendre" fits the same functions in an orthogonal basis on the
    samples' range: descent reaches the minimum of high degrees, where powers are nearly dependent, and the penalties
    are of that basis' weights. Other options are `fit_linear`'s.
    """
    degree = whole("fit_polynomial", "degree", degree, 1)
    terms = _basis("fit_polynomial", basis)
    a = np.asarray(x, np.float64)
    t = np.asarray(y, np.float64)
    if a.size == 0 or a.shape not in ((a.size,), (a.size, 1)) or t.size != a.size:
        raise ValueError(f"fit_polynomial: expected x [N] or [N,1] and y [N], got {list(a.shape)}, {list(t.shape)}")
    a = a.reshape(-1, 1)
    middle, half = 0.0, 1.0
    if basis == "legendre":
        low, high = float(a.min()), float(a.max())
        middle, half = (low + high) / 2, (high - low) / 2 or 1.0
    linear = fit_linear(np.concatenate(terms((a - middle) / half, degree), 1), t.reshape(-1), l1=l1, l2=l2, **options)
    return PolynomialFit(linear, degree, basis, middle, half)


# --- quadratic forms


@dataclass(frozen=True)
class QuadraticFormFit:
    """x W x + w . x + b with symmetric `matrix` W [D,D], `weights` w [D] (zeros without a linear part) and `bias`."""

    matrix: Array
    weights: Array
    bias: float

    def predict(self, x: Any) -> Array:
        """x [N,D] -> [N] float64."""
        a = np.asarray(x, np.float64)
        if a.ndim != 2 or a.shape[1] != len(self.matrix):
            raise ValueError(f"QuadraticFormFit: expected x [N,{len(self.matrix)}], got shape {list(a.shape)}")
        form = ops.sum(ops.mul(ops.matmul(a, self.matrix), a), 1)
        return ops.add(ops.add(form, ops.matmul(a, self.weights)), self.bias)


def fit_quadratic_form(
    x: Any, y: Any, *, linear: bool = True, l1: float = 0.0, l2: float = 0.0, **options: Any
) -> QuadraticFormFit:
    """W, w, b of x W x + w . x + b fitted to x [N,D] and y [N]: a linear fit on the products x_i x_j with i <= j.

    linear : False leaves w . x out. Penalties are of those products' weights; other options are `fit_linear`'s.
    """
    a, t, flat = _data("fit_quadratic_form", x, y)
    if not flat:
        raise ValueError(f"fit_quadratic_form: expected y [N], got shape {list(t.shape)}")
    d = a.shape[1]
    pairs = list(itertools.combinations_with_replacement(range(d), 2))
    left, right = np.array(pairs).T
    products = ops.mul(ops.take(a, left, 1), ops.take(a, right, 1))  # [N, D (D+1) / 2]
    features = np.concatenate([products, a], axis=1) if linear else products
    fit = fit_linear(features, t[:, 0], l1=l1, l2=l2, **options)
    matrix = np.zeros((d, d))
    matrix[left, right] += fit.weights[: len(pairs)] / 2
    matrix[right, left] += fit.weights[: len(pairs)] / 2
    return QuadraticFormFit(matrix, fit.weights[len(pairs) :] if linear else np.zeros(d), fit.bias)


# --- the same as networks


class _Terms(Module):
    """x [N,1] -> [N,degree]: x, x**2, ..., or Legendre polynomials."""

    def __init__(self, degree: int, basis: str) -> None:
        super().__init__()
        self.degree, self.basis = degree, basis

    def forward(self, x: Any) -> Any:
        if len(x.shape) != 2 or x.shape[1] != 1:
            raise ValueError(f"polynomial_regression: expected x [N,1], got shape {list(x.shape)}")
        return ops.concat(_BASES[self.basis](x, self.degree), 1)

    def extra_repr(self) -> str:
        return f"degree={self.degree}, basis={self.basis!r}"


class QuadraticForm(Module):
    """x W x + w . x + b: [N,features] -> [N,1]; weight [features,features], linear [1,features], bias [1].

    `linear=False` leaves w out. Only the symmetric part of W matters: its gradient is symmetric when W starts so, and
    it starts so, normal with deviation 1 / features.
    """

    def __init__(self, features: int, linear: bool = True, bias: bool = True) -> None:
        super().__init__()
        self.features = whole("QuadraticForm", "features", features, 1)
        start = np.asarray(ops.normal((features, features)))
        self.weight = Parameter(((start + start.T) / (2 * features)).astype(np.float32))
        self.linear = Parameter(np.zeros((1, features), np.float32)) if linear else None
        self.bias = Parameter(np.zeros(1, np.float32)) if bias else None

    def forward(self, x: Any) -> Any:
        if len(x.shape) != 2 or x.shape[1] != self.features:
            raise ValueError(f"QuadraticForm: expected x [N,{self.features}], got shape {list(x.shape)}")
        y = ops.sum(ops.mul(ops.matmul(x, self.weight), x), 1, keepdims=True)
        if self.linear is not None:
            y = ops.add(y, ops.linear(x, self.linear))
        return y if self.bias is None else ops.add(y, self.bias)

    def extra_repr(self) -> str:
        return f"{self.features}, linear={self.linear is not None}, bias={self.bias is not None}"


def linear_regression(features: int, outputs: int = 1) -> Sequential:
    """The linear neuron y = x w + b as a network: [N,features] -> [N,outputs]."""
    return Sequential(Linear(features, outputs))


def polynomial_regression(degree: int, basis: Basis = "legendre") -> Sequential:
    """A polynomial of one variable as a network: x [N,1] -> [N,1]. Legendre's terms suit x in [-1, 1]."""
    _basis("polynomial_regression", basis)
    degree = whole("polynomial_regression", "degree", degree, 1)
    return Sequential(_Terms(degree, basis), Linear(degree, 1))


def quadratic_form(features: int, linear: bool = True) -> Sequential:
    """`QuadraticForm` as a network: [N,features] -> [N,1]."""
    return Sequential(QuadraticForm(features, linear))
