"""Error surfaces: descents on a function of a vector, its curvature, and what kind of point a descent has ended at.

Y. Dauphin et al., Identifying and attacking the saddle point problem in high-dimensional non-convex optimization,
NIPS 2014; R. Ge, F. Huang, C. Jin, Y. Yuan, Escaping from saddle points, COLT 2015 (noise leaves a saddle, the exact
gradient need not).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .. import ops
from .._options import whole
from ..autograd import grad
from ..optim import SGD
from ..tensor import Array, Parameter, Tensor

__all__ = ["Descent", "StationaryPoint", "descend", "hessian", "stationary_point"]

Function = Callable[[Tensor], Tensor]


def _point(where: str, point: Any) -> Array:
    x = np.array(point, np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"{where}: expected a finite point [P], got shape {list(x.shape)}")
    return x


def _value(where: str, function: Function, x: Tensor) -> Tensor:
    y = function(x)
    if not isinstance(y, Tensor) or y.size != 1:
        raise ValueError(f"{where}: the function must return one number as a tensor, got {type(y).__name__}")
    return y


@dataclass(frozen=True)
class Descent:
    """path : [steps + 1, P], from the start on; values : [steps + 1], of the function there."""

    path: Array
    values: Array


def descend(
    function: Function, start: Any, rate: float, steps: int, *, momentum: float = 0.0, noise: float = 0.0, seed: int = 0
) -> Descent:
    """Gradient descent on function(x [P]) -> one number: x -= rate * (gradient + noise * normal numbers).

    noise : deviation of what is added to each derivative, as mini-batches do; seed : of it; momentum : of `optim.SGD`.
    A step to values that are not finite ends the descent. Raises ValueError for a start that is no finite vector.
    """
    x = Parameter(_point("descend", start))
    optimizer = SGD([x], rate, momentum=momentum)
    rng = np.random.default_rng(whole("descend", "seed", seed, 0))
    path, values = [x.data.copy()], [_value("descend", function, x).item()]
    for _ in range(whole("descend", "steps", steps, 1)):
        optimizer.zero_grad()
        _value("descend", function, x).backward()
        if noise and x.grad is not None:
            x.grad = Tensor(ops.add(x.grad.data, ops.mul(rng.standard_normal(x.shape), float(noise))))
        optimizer.step()
        value = _value("descend", function, x).item()
        if not (math.isfinite(value) and np.isfinite(x.data).all()):
            break
        path.append(x.data.copy())
        values.append(value)
    return Descent(np.array(path), np.array(values))


def hessian(function: Function, point: Any) -> Array:
    """The matrix [P,P] of second derivatives of function(x [P]) at a point, one row per backward pass."""
    x = Tensor(_point("hessian", point), requires_grad=True)
    value = _value("hessian", function, x)
    rows = np.zeros((x.size, x.size))
    if not value.requires_grad:
        return rows
    (g,) = grad(value, [x], create_graph=True)
    if g.requires_grad:
        for i in range(x.size):
            (row,) = grad(ops.getitem(g, i), [x], retain_graph=True)
            rows[i] = row.data
    return rows


@dataclass(frozen=True)
class StationaryPoint:
    """kind : what the point is; gradient : length of the gradient there; curvatures : eigenvalues, rising [P]."""

    kind: Literal["minimum", "maximum", "saddle", "undecided", "not stationary"]
    gradient: float
    curvatures: Array


def stationary_point(function: Function, point: Any, tolerance: float = 1e-6) -> StationaryPoint:
    """What kind of point of function(x [P]) this is, by gradient and Hessian.

    "not stationary" when the gradient is longer than `tolerance`; "minimum" or "maximum" when every curvature is
    above `tolerance`, or below its negative; "saddle" when there are both; "undecided" when curvatures of about 0 leave
    it open (a valley's floor, or higher orders decide).
    """
    x = Tensor(_point("stationary_point", point), requires_grad=True)
    value = _value("stationary_point", function, x)
    length = 0.0
    if value.requires_grad:
        length = math.sqrt(float(ops.sum(ops.square(grad(value, [x])[0].data))))
    curvatures = np.linalg.eigvalsh(hessian(function, point))
    up, down = bool((curvatures > tolerance).any()), bool((curvatures < -tolerance).any())
    kind: Literal["minimum", "maximum", "saddle", "undecided", "not stationary"] = "undecided"
    if length > tolerance:
        kind = "not stationary"
    elif up and down:
        kind = "saddle"
    elif (curvatures > tolerance).all():
        kind = "minimum"
    elif (curvatures < -tolerance).all():
        kind = "maximum"
    return StationaryPoint(kind, length, curvatures)
