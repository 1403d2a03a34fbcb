"""Methods on the whole parameter vector: non-linear conjugate gradient, L-BFGS, genetic search.

`step(closure)` evaluates the loss as often as it needs. For the first two, `closure` zeroes the gradients, computes the
loss, calls `backward()` and returns the loss (a tensor or number); for the search it only returns the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

from .. import _core, ops
from .._options import whole
from ..autograd import mark_written, no_grad
from ..ops.random import Stream
from ..tensor import Array, Tensor
from .linesearch import Point, strong_wolfe
from .optimizer import Optimizer, number

__all__ = ["LBFGS", "ConjugateGradient", "GeneticSearch", "WholeVector"]

Closure = Callable[[], Any]


def _dot(a: Array, b: Array) -> float:
    return float(ops.sum(ops.mul(a, b)))


def _largest(a: Array) -> float:
    return float(ops.max(ops.abs(a))) if a.size else 0.0


class WholeVector(Optimizer):
    """Base: all parameters, of one dtype and in one group, as one vector [n]."""

    def __init__(self, parameters: Iterable[Any], lr: float) -> None:
        super().__init__(parameters, {"lr": lr}, {})
        where = type(self).__name__
        if len(self.param_groups) > 1:
            raise ValueError(f"{where}: expected one parameter group, got {len(self.param_groups)}")
        dtypes = sorted({str(p.dtype) for p in self.parameters})
        if len(dtypes) > 1:
            raise ValueError(f"{where}: expected parameters of one dtype, got {' and '.join(dtypes)}")
        self.size = sum(p.size for p in self.parameters)

    def gather(self) -> Array:
        """A copy of all parameters [n]."""
        return ops.concat([ops.reshape(p.data, (p.size,)) for p in self.parameters])

    def scatter(self, x: Array) -> None:
        """Sets all parameters from x [n]."""
        at = 0
        for p in self.parameters:
            _core.copy(x[at : at + p.size].reshape(p.shape), p.data)
            at += p.size
        mark_written(self.parameters)

    def _gradient(self) -> Array:
        parts = []
        for i, p in enumerate(self.parameters):
            if p.grad is None:
                parts.append(ops.zeros((p.size,), p.dtype))
            else:
                self._fits(i, p.data, p.grad.data)
                parts.append(ops.reshape(p.grad.data, (p.size,)))
        return ops.concat(parts)

    def _evaluate(self, closure: Closure) -> tuple[float, Array]:
        value = closure()
        if value is None:
            raise TypeError(f"{type(self).__name__}: the closure must return the loss, got None")
        return float(value.item() if isinstance(value, Tensor) else value), self._gradient()

    def _along(self, closure: Closure, x: Array, d: Array) -> Callable[[float], Point]:
        """The loss as a function of the step t along d from x; the parameters are left where it was last evaluated."""

        def at(t: float) -> Point:
            self.scatter(ops.add(x, ops.mul(d, t)))
            f, g = self._evaluate(closure)
            return Point(t, f, g, _dot(g, d))

        return at

    def step(self, closure: Closure | None = None) -> Any:
        if closure is None:
            raise TypeError(f"{type(self).__name__}: step needs a closure that evaluates the loss")
        self.steps += 1
        return self._search(closure)

    def _search(self, closure: Closure) -> Any:
        raise TypeError(f"{type(self).__name__} defines no search")

    def options(self) -> dict[str, Any]:
        """Name and settings, for records of a run."""
        skip = ("defaults", "param_groups", "parameters", "steps", "size", "iterations")
        own = {k: v for k, v in vars(self).items() if k not in skip and not k.startswith("_")}
        return {**super().options(), **own}


def _vector(extra: dict[str, Any], name: str, size: int, where: str) -> Array | None:
    value = extra[name]
    if value is None:
        return None
    if value.shape != (size,):
        raise ValueError(f"{where}: {name}: expected shape ({size},), got {value.shape}")
    return np.array(value)


class LBFGS(WholeVector):
    """Limited-memory BFGS: two-loop recursion over the last `history_size` steps (Nocedal & Wright 2006, alg. 7.5).

    Parameters
    ----------
    lr : first trial step of each line search; the step itself without one
    max_iter : iterations per `step`; max_eval : evaluations of the closure per `step`, default 5/4 of that
    tolerance_grad : stop when no gradient element is larger
    tolerance_change : stop when the loss, or every parameter, changes by less
    line_search_fn : "strong_wolfe" (default), or None for steps of fixed length

    `step(closure)` returns the loss at its start. Options as in PyTorch, where the default is no line search.
    """

    def __init__(
        self, parameters: Iterable[Any], lr: float = 1.0, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: Literal["strong_wolfe"] | None = "strong_wolfe",
    ) -> None:
        super().__init__(parameters, lr)
        self.max_iter = whole("LBFGS", "max_iter", max_iter, 1)
        self.max_eval = self.max_iter * 5 // 4 if max_eval is None else whole("LBFGS", "max_eval", max_eval, 1)
        self.tolerance_grad = number("LBFGS", "tolerance_grad", tolerance_grad, 0.0)
        self.tolerance_change = number("LBFGS", "tolerance_change", tolerance_change, 0.0)
        self.history_size = whole("LBFGS", "history_size", history_size, 1)
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(f"LBFGS: line_search_fn must be 'strong_wolfe' or None, got {line_search_fn!r}")
        self.line_search_fn = line_search_fn
        self._s: list[Array] = []  # moves and changes of gradient, oldest first
        self._y: list[Array] = []
        self._scale = 1.0  # of the first approximation of the inverse Hessian
        self._last_g: Array | None = None
        self._last_move: Array | None = None
        self.iterations = 0

    def _direction(self, g: Array) -> Array:
        """-H g, H the approximation of the inverse Hessian."""
        q = ops.neg(g)
        alphas: list[float] = []
        rhos = [1.0 / _dot(y, s) for s, y in zip(self._s, self._y, strict=True)]
        for s, y, rho in zip(reversed(self._s), reversed(self._y), reversed(rhos), strict=True):
            alphas.append(rho * _dot(s, q))
            q = ops.sub(q, ops.mul(y, alphas[-1]))
        q = ops.mul(q, self._scale)
        for s, y, rho, alpha in zip(self._s, self._y, rhos, reversed(alphas), strict=True):
            q = ops.add(q, ops.mul(s, alpha - rho * _dot(y, q)))
        return q

    def _remember(self, s: Array, y: Array) -> None:
        ys = _dot(y, s)
        if ys > 1e-10:  # curvature: H stays positive definite
            self._s.append(s)
            self._y.append(y)
            del self._s[: -self.history_size], self._y[: -self.history_size]
            self._scale = ys / _dot(y, y)

    def _search(self, closure: Closure) -> Any:
        f, g = self._evaluate(closure)
        first_loss = f
        evaluations = 1
        lr = self.lr
        for k in range(self.max_iter):
            if not _largest(g) > self.tolerance_grad:
                break
            if self._last_g is not None and self._last_move is not None:
                self._remember(self._last_move, ops.sub(g, self._last_g))
            d = self._direction(g)
            slope = _dot(g, d)
            if slope > -self.tolerance_change:
                break
            t = min(1.0, 1.0 / float(ops.sum(ops.abs(g)))) * lr if self.iterations == 0 else lr
            self.iterations += 1
            x, before = self.gather(), f
            self._last_g = g
            if self.line_search_fn == "strong_wolfe":
                found, used = strong_wolfe(
                    self._along(closure, x, d), Point(0.0, f, g, slope), t, max_evaluations=25,
                    least=self.tolerance_change / max(_largest(d), 1e-300),
                )
                t, f, g = found.t, found.f, found.g
                evaluations += used
                self.scatter(ops.add(x, ops.mul(d, t)))
            else:
                self.scatter(ops.add(x, ops.mul(d, t)))
                if k + 1 < self.max_iter:
                    f, g = self._evaluate(closure)
                    evaluations += 1
            self._last_move = ops.mul(d, t)
            if evaluations >= self.max_eval or _largest(self._last_move) <= self.tolerance_change:
                break
            if abs(f - before) < self.tolerance_change:
                break
        return first_loss

    def _extra_state(self) -> dict[str, Any]:
        return {
            "s": np.array(self._s), "y": np.array(self._y), "scale": self._scale, "iterations": self.iterations,
            "last_g": None if self._last_g is None else self._last_g.copy(),
            "last_move": None if self._last_move is None else self._last_move.copy(),
        }

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        last_g = _vector(extra, "last_g", self.size, "LBFGS")
        last_move = _vector(extra, "last_move", self.size, "LBFGS")
        self._s, self._y = [np.array(v) for v in extra["s"]], [np.array(v) for v in extra["y"]]
        self._scale, self.iterations = float(extra["scale"]), int(extra["iterations"])
        self._last_g, self._last_move = last_g, last_move


class ConjugateGradient(WholeVector):
    """Non-linear conjugate gradient, Polak-Ribiere+ with restarts (Nocedal & Wright 2006, section 5.2).

    d = -g + max(0, g.(g - g_before) / g_before.g_before) * d; a line search along d to the strong Wolfe conditions with
    c2 = 0.1; d = -g again after `restart` iterations (default: as many as there are parameters) and when d does not
    descend.

    lr : first trial step, relative to 1 / sum |g|; max_iter : iterations per `step`; tolerances as in `LBFGS`.
    `step(closure)` returns the loss at its start.
    """

    def __init__(
        self, parameters: Iterable[Any], lr: float = 1.0, max_iter: int = 20, restart: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9,
    ) -> None:
        super().__init__(parameters, lr)
        self.max_iter = whole("ConjugateGradient", "max_iter", max_iter, 1)
        self.restart = max(1, self.size) if restart is None else whole("ConjugateGradient", "restart", restart, 1)
        self.tolerance_grad = number("ConjugateGradient", "tolerance_grad", tolerance_grad, 0.0)
        self.tolerance_change = number("ConjugateGradient", "tolerance_change", tolerance_change, 0.0)
        self._d: Array | None = None  # last direction
        self._g: Array | None = None  # where _d was followed from
        self._moved = 0.0  # last step times its slope: the guess for the next
        self.iterations = 0

    def _search(self, closure: Closure) -> Any:
        f, g = self._evaluate(closure)
        first_loss = f
        for _ in range(self.max_iter):
            if not _largest(g) > self.tolerance_grad:
                break
            d: Array = ops.neg(g)
            steepest = True
            if self._d is not None and self._g is not None and self.iterations % self.restart:
                beta = max(0.0, _dot(g, ops.sub(g, self._g)) / _dot(self._g, self._g))
                mixed: Array = ops.add(d, ops.mul(self._d, beta))
                if _dot(g, mixed) < 0.0:
                    d, steepest = mixed, beta == 0.0
            slope = _dot(g, d)
            t = self._moved / slope if self._moved else self.lr / float(ops.sum(ops.abs(g)))
            x, before = self.gather(), f
            found, _used = strong_wolfe(
                self._along(closure, x, d), Point(0.0, f, g, slope), t, c2=0.1, max_evaluations=25,
                least=self.tolerance_change / max(_largest(d), 1e-300),
            )
            self._d, self._g, self._moved = d, g, found.t * slope
            self.iterations += 1
            f, g = found.f, found.g
            self.scatter(ops.add(x, ops.mul(d, found.t)))
            if found.t == 0.0 and not steepest:
                self._d = None  # once more along -g before giving up
            elif found.t * _largest(d) <= self.tolerance_change or abs(f - before) < self.tolerance_change:
                break
        return first_loss

    def _extra_state(self) -> dict[str, Any]:
        return {
            "d": None if self._d is None else self._d.copy(), "g": None if self._g is None else self._g.copy(),
            "moved": self._moved, "iterations": self.iterations,
        }

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        d = _vector(extra, "d", self.size, "ConjugateGradient")
        g = _vector(extra, "g", self.size, "ConjugateGradient")
        self._d, self._g = d, g
        self._moved, self.iterations = float(extra["moved"]), int(extra["iterations"])


class GeneticSearch(WholeVector):
    """A genetic algorithm over the parameter vector (Holland 1975; notes B:K8); needs no gradients.

    A generation: every individual's loss is evaluated; the `elite` best survive; every other place is taken by a child
    of two parents, each the best of `tournament` drawn ones, whose genes come from either parent with equal chance and
    change with probability `mutation` by normal noise of standard deviation `scale`.

    Parameters
    ----------
    population : individuals; the first is the parameters as they stand, the others lie around it
    spread : standard deviation of the first population
    seed : of the search's own random stream; the global one is not touched

    `step(closure)` runs one generation, leaves the best individual in the parameters and returns its loss. A loss that
    is NaN counts as worst.
    """

    def __init__(
        self, parameters: Iterable[Any], population: int = 32, elite: int = 2, tournament: int = 3,
        mutation: float = 0.2, scale: float = 0.1, spread: float = 1.0, seed: int = 0,
    ) -> None:
        super().__init__(parameters, 0.0)
        where = "GeneticSearch"
        self.population = whole(where, "population", population, 2)
        self.elite = whole(where, "elite", elite, 1)
        if self.elite >= self.population:
            raise ValueError(f"{where}: elite must be below population {population}, got {elite}")
        self.tournament = whole(where, "tournament", tournament, 1)
        self.mutation = number(where, "mutation", mutation, 0.0, 1.0, closed=True)
        self.scale, self.spread = number(where, "scale", scale, 0.0), number(where, "spread", spread, 0.0)
        self._stream = Stream(seed)
        self._genes: Array | None = None  # [population, n]

    def _normal(self, shape: tuple[int, ...], std: float) -> Array:
        y = ops.zeros(shape, self.parameters[0].dtype)
        _core.normal(y, 0.0, std, *self._stream.take(y.size, y.itemsize))
        return y

    def _uniform(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        y = ops.zeros(shape, self.parameters[0].dtype if dtype is None else dtype)
        _core.uniform(y, 0.0, 1.0, *self._stream.take(y.size, y.itemsize))
        return y

    def _search(self, closure: Closure) -> Any:
        if self._genes is None:
            noise = self._normal((self.population, self.size), self.spread)
            _core.fill(noise[:1], 0.0)
            genes: Array = ops.add(noise, self.gather())
        else:
            genes = self._genes
        losses = []
        with no_grad():
            for row in genes:
                self.scatter(row)
                value = closure()
                loss = float(value.item() if isinstance(value, Tensor) else value)
                losses.append(math.inf if math.isnan(loss) else loss)
        order = sorted(range(self.population), key=losses.__getitem__)  # ties: the earlier one
        self.scatter(genes[order[0]])
        children = self.population - self.elite
        # ranks of the parents: the least of `tournament` uniform draws is the best individual drawn
        draws = self._uniform((2, children, self.tournament), np.float64)
        ranks = np.minimum(ops.min(draws, -1) * self.population, self.population - 1)
        parents = np.array(order)[ranks.astype(np.int64)]  # [2, children]
        mother, father = np.take(genes, parents[0], 0), np.take(genes, parents[1], 0)
        pick = ops.greater(self._uniform(mother.shape), 0.5)
        child = ops.add(mother, ops.mul(pick, ops.sub(father, mother)))
        change = ops.greater(self.mutation, self._uniform(child.shape))
        child = ops.add(child, ops.mul(change, self._normal(child.shape, self.scale)))
        self._genes = ops.concat([np.take(genes, order[: self.elite], 0), child])
        return losses[order[0]]

    def _extra_state(self) -> dict[str, Any]:
        genes = None if self._genes is None else self._genes.copy()
        return {"genes": genes, "key": self._stream.key, "counter": self._stream.counter}

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        genes = extra["genes"]
        if genes is not None and genes.shape != (self.population, self.size):
            raise ValueError(
                f"GeneticSearch: genes: expected shape {(self.population, self.size)}, got {genes.shape}"
            )
        self._genes = None if genes is None else np.array(genes)
        self._stream.seed(int(extra["key"]), int(extra["counter"]))
