"""Choosing what is not learned: cross-validation, grid, random and successive-halving search, the rate finder."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._options import whole
from ..nn.losses import Loss
from ..nn.module import Module
from ..ops.random import stream
from ..optim import Optimizer
from ..tensor import Array, Tensor
from .callbacks import Callback, Logs
from .fit import evaluate, fit

__all__ = [
    "RateRange", "Trial", "cross_validate", "grid", "k_fold", "learning_rate_range", "random_choices", "search",
    "successive_halving",
]

Options = dict[str, Any]


def k_fold(n: int, k: int = 5, seed: int | None = 0, labels: Any = None) -> list[tuple[Array, Array]]:
    """k pairs (training indices, held-out indices), each example held out once; sizes differ by at most one.

    seed : shuffles first; None keeps the order. labels : [n] integers; then every class is spread evenly over the
    folds (stratified). Indices are sorted. Raises ValueError unless 2 <= k <= n and the labels fit.
    """
    n, k = whole("k_fold", "n", n, 0), whole("k_fold", "k", k, 2)
    if k > n:
        raise ValueError(f"k_fold: {k} folds need at least {k} examples, got {n}")
    rng = None if seed is None else np.random.default_rng(whole("k_fold", "seed", seed, 0))
    order = np.arange(n) if rng is None else rng.permutation(n)
    if labels is not None:
        classes = np.asarray(labels)
        if classes.shape != (n,):
            raise ValueError(f"k_fold: expected labels of shape ({n},), got {classes.shape}")
        order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(n, np.int64)  # [n]: which fold holds the example out
    fold[order] = np.arange(n) % k
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]


def cross_validate(
    build: Callable[[], Module], x: Any, y: Any, *, k: int = 5, seed: int = 0, stratify: bool = True,
    optimizer: Callable[[Iterable[Any]], Optimizer] | None = None, **options: Any,
) -> dict[str, list[float]]:
    """Trains k fresh models, each without one fold, and evaluates it on that fold.

    Parameters
    ----------
    build : () -> Module; optimizer : parameters -> Optimizer, default as in `fit`
    options : as in `fit`; sample_weight [N] is that of all examples, with `checkpoint` fold i uses the folder fold-i in
        it
    stratify : for integer labels [N], spread every class evenly over the folds

    Returns {"loss": k values, "accuracy": k values for labels}. The global stream is seeded with `seed` before each
    model is built. Raises what `k_fold` and `fit` raise.
    """
    xs, ys = (v.data if isinstance(v, Tensor) else np.asarray(v) for v in (x, y))
    labels = ys if stratify and ys.ndim == 1 and ys.dtype.kind in "iub" else None
    results: dict[str, list[float]] = {}
    weights, folder = options.pop("sample_weight", None), options.pop("checkpoint", None)
    ws = weights.data if isinstance(weights, Tensor) else np.asarray(weights)
    if weights is not None and ws.shape != (len(xs),):
        raise ValueError(f"cross_validate: sample_weight: expected shape ({len(xs)},), got {ws.shape}")
    for i, (train, held) in enumerate(k_fold(len(xs), k, seed, labels)):
        stream.seed(seed)
        model = build()
        own: Options = {"seed": seed, "progress": False, **options}
        if optimizer is not None:
            own["optimizer"] = optimizer(model.parameters())
        if weights is not None:
            own["sample_weight"] = ws[train]
        if folder is not None:
            own["checkpoint"] = Path(os.fspath(folder)) / f"fold-{i}"
        fit(model, xs[train], ys[train], **own)
        for name, value in evaluate(
            model, xs[held], ys[held], loss=options.get("loss"), task=options.get("task")
        ).items():
            results.setdefault(name, []).append(value)
    return results


# --- search


@dataclass(frozen=True)
class Trial:
    """One set of options, its score (lower is better) and the budget it was given."""

    options: Options
    score: float
    budget: int = 0


def _space(where: str, space: Mapping[str, Any]) -> None:
    if not isinstance(space, Mapping) or not space:
        raise ValueError(f"{where}: expected a dict of options, got {space!r}")


def grid(space: Mapping[str, Sequence[Any]]) -> list[Options]:
    """Every combination: grid({"lr": [0.1, 0.01], "units": [8, 16]}) are four, the last name changing fastest.

    Raises ValueError when the space or the values of a name are empty.
    """
    _space("grid", space)
    for name, values in space.items():
        if isinstance(values, (str, bytes)) or not len(values):
            raise ValueError(f"grid: {name}: expected a sequence of values, got {values!r}")
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def random_choices(space: Mapping[str, Any], count: int, seed: int = 0) -> list[Options]:
    """`count` random sets of options; a value of `space` is a sequence to choose from or a function Generator -> value.

    For a rate spread evenly over its magnitudes: {"lr": lambda rng: 10 ** rng.uniform(-4, -1)}. Raises ValueError.
    """
    _space("random_choices", space)
    rng = np.random.default_rng(whole("random_choices", "seed", seed, 0))
    drawn: list[Options] = []
    for _ in range(whole("random_choices", "count", count, 1)):
        options: Options = {}
        for name, values in space.items():
            if callable(values):
                options[name] = values(rng)
            elif isinstance(values, (str, bytes)) or not len(values):
                raise ValueError(f"random_choices: {name}: expected a sequence of values, got {values!r}")
            else:
                options[name] = values[int(rng.integers(len(values)))]
        drawn.append(options)
    return drawn


def _ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Best first; NaN is worst; equal ones in the order they came."""
    return sorted(trials, key=lambda t: (math.isnan(t.score), t.score))


def search(score: Callable[[Options], float], candidates: Sequence[Options]) -> list[Trial]:
    """`score` (lower is better) for every candidate; the trials, best first. Raises ValueError without candidates."""
    if not candidates:
        raise ValueError("search: there are no candidates")
    return _ranked(Trial(dict(c), float(score(dict(c)))) for c in candidates)


def successive_halving(
    score: Callable[[Options, int], float], candidates: Sequence[Options], budget: int = 1, factor: int = 3
) -> list[Trial]:
    """A small budget for every candidate, `factor` times as much for the best, and so on (Jamieson & Talwalkar 2016).

    score : (options, budget) -> lower is better; the budget may be epochs, or examples. Of m candidates
    ceil(m / factor) go on, until one is left. Returns the last trial of every candidate, those that got furthest first,
    then by score. Raises ValueError for no candidates, budget < 1, factor < 2.
    """
    if not candidates:
        raise ValueError("successive_halving: there are no candidates")
    budget = whole("successive_halving", "budget", budget, 1)
    factor = whole("successive_halving", "factor", factor, 2)
    rest = [dict(c) for c in candidates]
    done: list[Trial] = []
    while True:
        trials = _ranked([Trial(c, float(score(dict(c), budget)), budget) for c in rest])
        if len(trials) == 1:
            return [*trials, *done]
        kept = math.ceil(len(trials) / factor)
        done = [*trials[kept:], *done]
        rest, budget = [t.options for t in trials[:kept]], budget * factor


# --- the rate finder


@dataclass(frozen=True)
class RateRange:
    """The loss of successive batches while the learning rate grew; `losses` is smoothed, both of equal length."""

    rates: list[float]
    losses: list[float]

    def suggestion(self) -> float:
        """The rate at which the loss fell fastest per factor of the rate. Raises ValueError for fewer than 3 points."""
        if len(self.rates) < 3:
            raise ValueError(f"RateRange: expected at least 3 points, got {len(self.rates)}")
        falls = [self.losses[i + 1] - self.losses[i - 1] for i in range(1, len(self.losses) - 1)]
        return self.rates[1 + falls.index(min(falls))]


class _Sweep(Callback):
    """Multiplies the rate after every batch, and ends the run when the loss has grown to four times its best."""

    def __init__(self, low: float, high: float, steps: int) -> None:
        self.low, self.ratio, self.steps = low, (high / low) ** (1.0 / max(steps - 1, 1)), steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._sum = 0.0  # of the losses of the epoch so far
        self._mean = 0.0

    def on_epoch_begin(self, epoch: int) -> None:
        self._sum = 0.0

    def on_batch_begin(self, batch: int) -> None:
        self.run.optimizer.lr = self.low * self.ratio ** len(self.rates)

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        total = logs["loss"] * (batch + 1)
        loss, self._sum = total - self._sum, total
        self._mean = 0.9 * self._mean + 0.1 * loss
        smooth = self._mean / (1.0 - 0.9 ** (len(self.rates) + 1))
        if math.isfinite(smooth):
            self.rates.append(self.run.optimizer.lr)
            self.losses.append(smooth)
        if not math.isfinite(smooth) or smooth > 4.0 * min(self.losses) or len(self.rates) >= self.steps:
            self.run.stop = True


def learning_rate_range(
    model: Module, x: Any, y: Any, optimizer: Optimizer, *, loss: Loss | None = None, low: float = 1e-6,
    high: float = 1.0, steps: int = 100, batch_size: int = 32, seed: int = 0,
) -> RateRange:
    """The learning-rate range test (Smith 2017): training with a rate growing from `low` to `high` by equal factors.

    x [N,...], y [N,...]; `steps` batches, fewer when the loss explodes. Weights, optimiser and random stream are
    afterwards what they were. The smoothed loss of each batch is taken from equal batches: N is cut to a multiple of
    `batch_size`. Raises ValueError/TypeError as `fit` does, and unless 0 < low < high and there is a whole batch.
    """
    if not (isinstance(low, (int, float)) and isinstance(high, (int, float)) and 0.0 < low < high < math.inf):
        raise ValueError(f"learning_rate_range: expected 0 < low < high, got {low!r} and {high!r}")
    steps = whole("learning_rate_range", "steps", steps, 2)
    batch_size = whole("learning_rate_range", "batch_size", batch_size, 1)
    xs, ys = (v.data if isinstance(v, Tensor) else np.asarray(v) for v in (x, y))
    n = len(xs) // batch_size * batch_size
    if not n:
        raise ValueError(f"learning_rate_range: {len(xs)} examples are no whole batch of {batch_size}")
    sweep = _Sweep(low, high, steps)
    weights, state, position = model.state_dict(), optimizer.state_dict(), (stream.key, stream.counter)
    try:
        fit(model, xs[:n], ys[:n], epochs=math.ceil(steps * batch_size / n), batch_size=batch_size, loss=loss,
            optimizer=optimizer, callbacks=[sweep], progress=False, seed=seed)
    finally:
        model.load_state_dict(weights)
        optimizer.load_state_dict(state)
        stream.seed(*position)
    return RateRange(sweep.rates, sweep.losses)
