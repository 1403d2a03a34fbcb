"""The perceptron: one layer of threshold units trained by error correction.

F. Rosenblatt, The perceptron: a probabilistic model for information storage and organization in the brain,
Psychological Review 65 (6), 1958.

Unit k has the net input w_k . x + b_k and fires (1) when it is at least 0, else 0; the bias is minus the threshold.
For a sample x with target t in {0,1} the weights move by eta (t - y) x and the bias by eta (t - y): nothing changes
while the units are right. With several classes there is one unit per class, its target 1 for its own class; the class
with the largest net input is the answer.

`perceptron` is that layer as a network. The rules themselves are `set_rule`, `error_correction` and `dead_zone_rule`:
they run sample by sample, keep the path of the weights, and say whether they converged. On linearly separable samples
they stop by themselves, error correction after at most (R / gamma)**2 mistakes (`mistake_bound`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole
from ..nn import Flatten, Linear, Sequential
from .registry import Recipe, register

__all__ = ["PerceptronRun", "dead_zone_rule", "error_correction", "mistake_bound", "perceptron", "set_rule"]

Array = npt.NDArray[Any]


@register(
    "perceptron",
    family="neurons",
    year=1958,
    paper="F. Rosenblatt, The perceptron, Psychological Review 65(6), 1958",
    what="one layer of threshold units, error correction, one unit per class",
    recipe=Recipe(epochs=30, batch_size=1, optimizer="sgd", lr=1.0, loss="perceptron"),
)
def perceptron(*, input_shape: Sequence[int] = (8, 8, 1), classes: int = 10) -> Sequential:
    """A layer of `classes` threshold units on samples of `input_shape`, weights and biases at zero.

    The model returns the net inputs [N,classes]; `nn.PerceptronLoss` applies the threshold. From zero weights the
    learning rate only sets the scale of the weights, not the decisions.
    """
    layer = Linear(math.prod(input_shape), classes)
    for _, parameter in layer.named_parameters():
        np.asarray(parameter.data)[...] = 0
    return Sequential(Flatten(), layer)


# --- the rules, sample by sample


@dataclass(frozen=True)
class PerceptronRun:
    """What a perceptron rule did.

    Attributes
    ----------
    weights : [D], or [K,D] for K units; bias : a number, or [K]
    converged : whether every training sample is answered rightly at the end
    updates : how often the weights changed; epochs : passes over the samples (draws / N for the set rule)
    wrong : training samples answered wrongly at the end; samples : N
    path : [updates + 1, D + 1], or [updates + 1, K, D + 1]: weights and then bias, at the start and after each update
    outputs : the two answers of a unit, (0, 1) or (-1, 1); threshold, strict : of the unit, as given
    dead_zone : the half width of the three-level unit's middle, or None
    """

    weights: Array
    bias: Any
    converged: bool
    updates: int
    epochs: int
    wrong: int
    samples: int
    path: Array
    outputs: tuple[int, int]
    threshold: float = 0.0
    strict: bool = False
    dead_zone: float | None = None

    def net(self, x: Any) -> Array:
        """w . x + b: [N] for one unit, [N,K] for K, from x [N,D]. Raises ValueError for another number of inputs."""
        a = np.asarray(x, np.float64)
        if a.ndim != 2 or a.shape[1] != self.weights.shape[-1]:
            raise ValueError(f"perceptron: expected x [N,{self.weights.shape[-1]}], got shape {list(a.shape)}")
        net: Array = ops.add(ops.matmul(a, self.weights.T), self.bias)
        return net

    def predict(self, x: Any) -> Array:
        """[N] int64: the unit's output (0 or 1, or -1 or 1); with several units the class of the largest net input."""
        net = self.net(x)
        if net.ndim == 2:
            return np.asarray(ops.argmax(net, 1), np.int64)
        return _answer(net, self.outputs, self.threshold, self.strict).astype(np.int64)

    def __str__(self) -> str:
        passes = f"{self.epochs} pass{'es' if self.epochs != 1 else ''} and {self.updates} updates"
        if self.converged:
            return f"converged after {passes}: all {self.samples} samples right"
        return f"did not converge in {passes}: {self.wrong} of {self.samples} samples wrong at the end"


def _answer(net: Array, outputs: tuple[int, int], threshold: float, strict: bool) -> Array:
    fires: Array = ops.greater(net, threshold) if strict else ops.greater_equal(net, threshold)
    return fires if outputs == (0, 1) else ops.sub(ops.mul(fires, 2.0), 1.0)


def _samples(where: str, x: Any) -> Array:
    a = np.asarray(x, np.float64)
    if a.ndim != 2 or 0 in a.shape or not np.isfinite(a).all():
        raise ValueError(f"{where}: expected finite samples [N,D], got shape {list(a.shape)}")
    return a


def _two_labels(where: str, y: Any, n: int) -> tuple[Array, tuple[int, int]]:
    """Labels [N] as float64, and whether they are 0 and 1 or -1 and 1."""
    t = np.asarray(y, np.float64)
    if t.shape != (n,):
        raise ValueError(f"{where}: expected one label per sample [{n}], got shape {list(t.shape)}")
    found = set(np.unique(t).tolist())
    if found <= {0.0, 1.0}:
        return t, (0, 1)
    if found <= {-1.0, 1.0}:
        return t, (-1, 1)
    raise ValueError(f"{where}: labels must be 0 and 1, or -1 and 1, got {sorted(found)[:4]}")


def _with_bias(x: Array) -> Array:
    """[N,D+1]: a last input that is always 1."""
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _start(where: str, start: Any, shape: tuple[int, ...]) -> Array:
    w = np.zeros(shape) if start is None else np.array(start, np.float64)
    if w.shape != shape or not np.isfinite(w).all():
        raise ValueError(f"{where}: expected finite start weights {list(shape)} (bias last), got shape {list(w.shape)}")
    return w


def _rate(where: str, rate: float) -> float:
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.floating)) or not 0 < rate < math.inf:
        raise ValueError(f"{where}: rate must be a positive number, got {rate!r}")
    return float(rate)


def set_rule(x: Any, y: Any, *, max_draws: int = 10_000, seed: int = 0, start: Any = None) -> PerceptronRun:
    """The perceptron algorithm in its set form: P holds the samples labelled 1, N those labelled 0 (or -1).

    A sample is drawn at random; one of P with w . x < 0 is added to w, one of N with w . x >= 0 is subtracted; it ends
    when every sample is answered rightly, or after `max_draws`. Samples carry a leading 1 in the notes; here it is the
    last input, whose weight is the bias.

    x : [N,D]; y : [N]; start : [D+1], bias last, by default normal random numbers of the seed. Raises ValueError for
    other shapes and labels. Source: F. Rosenblatt 1958; M. Minsky, S. Papert, Perceptrons, 1969, chapter 11.
    """
    a = _samples("set_rule", x)
    t, outputs = _two_labels("set_rule", y, len(a))
    rng = np.random.default_rng(whole("set_rule", "seed", seed, 0))
    z = _with_bias(a)  # [N,D+1]
    w: Array = _start("set_rule", rng.standard_normal(z.shape[1]) if start is None else start, (z.shape[1],))
    positive = t > 0
    path, draws = [w], 0
    right: Array = np.equal(ops.greater_equal(ops.matmul(z, w), 0.0), positive)  # [N]
    most = whole("set_rule", "max_draws", max_draws, 1)
    while draws < most and not right.all():
        i = int(rng.integers(len(z)))
        draws += 1
        if not right[i]:
            w = ops.add(w, z[i]) if positive[i] else ops.sub(w, z[i])
            path.append(w)
            right = np.equal(ops.greater_equal(ops.matmul(z, w), 0.0), positive)
    wrong = int((~right).sum())
    epochs = math.ceil(draws / len(z))
    return PerceptronRun(
        w[:-1], float(w[-1]), wrong == 0, len(path) - 1, epochs, wrong, len(z), np.array(path), outputs
    )


def error_correction(
    x: Any,
    y: Any,
    *,
    rate: float = 1.0,
    threshold: float = 0.0,
    strict: bool = False,
    max_epochs: int = 1000,
    shuffle: bool = True,
    seed: int = 0,
    start: Any = None,
) -> PerceptronRun:
    """One threshold unit trained by w += rate (t - y) x and b += rate (t - y), until a pass changes nothing.

    Parameters
    ----------
    x : [N,D]; y : [N] of 0 and 1, or of -1 and 1: the unit answers in the same coding
    threshold : the net input at which the unit fires; strict : it must be exceeded (>), not only reached (>=)
    max_epochs : passes after which the rule gives up; `run.converged` is then False, as it must be for samples that
        no line separates (XOR)
    shuffle : another order in every pass, by the seed
    start : [D+1], bias last; default zeros

    Raises ValueError for other shapes, labels, rates. Source: F. Rosenblatt 1958.
    """
    a, rate = _samples("error_correction", x), _rate("error_correction", rate)
    t, outputs = _two_labels("error_correction", y, len(a))
    z = _with_bias(a)
    w: Array = _start("error_correction", start, (z.shape[1],))
    rng = np.random.default_rng(whole("error_correction", "seed", seed, 0))
    path, epochs = [w], 0
    answers = _answer(ops.matmul(z, w), outputs, threshold, strict)  # [N], of the present weights
    for _ in range(whole("error_correction", "max_epochs", max_epochs, 1)):
        epochs += 1
        for i in rng.permutation(len(z)) if shuffle else range(len(z)):
            error = float(t[i] - answers[i])
            if error:
                w = ops.add(w, ops.mul(z[i], rate * error))
                path.append(w)
                answers = _answer(ops.matmul(z, w), outputs, threshold, strict)
        if (answers == t).all():
            break
    wrong = int((answers != t).sum())
    return PerceptronRun(
        w[:-1], float(w[-1]), wrong == 0, len(path) - 1, epochs, wrong, len(z), np.array(path), outputs,
        float(threshold), bool(strict),
    )  # fmt: skip


def dead_zone_rule(
    x: Any,
    targets: Any,
    *,
    dead_zone: float = 0.2,
    rate: float = 1.0,
    max_epochs: int = 1000,
    zero_targets: Literal["refuse", "map"] = "refuse",
    start: Any = None,
) -> PerceptronRun:
    """The perceptron algorithm for several classes with three-level units and bipolar targets, in the notes' steps.

    I. weights and biases start at zero; II. each epoch takes every sample; III. its inputs are set; IV. unit j answers
    1 above `dead_zone`, -1 below its negative, 0 between; V. where the answer is not the target t_j, w_j += rate t_j x
    and b_j += rate t_j; VI. else nothing changes; VII. an epoch without a change ends the run. A unit in its dead zone
    is wrong whatever its target is, so that the borders keep a distance from the samples.

    Parameters
    ----------
    x : [N,D]
    targets : [N,K] of -1 and 1, one column per unit; or labels [N] 0 .. K-1 of K classes, one unit per class
    dead_zone : half the width of the zone, at least 0
    zero_targets : a target of 0 would never move a weight (t_j x = 0): "refuse" raises ValueError, "map" makes it -1
    start : [K,D+1], bias last; default zeros

    Raises ValueError for other shapes, targets, rates.
    """
    where = "dead_zone_rule"
    a, rate = _samples(where, x), _rate(where, rate)
    t = np.asarray(targets)
    if zero_targets not in ("refuse", "map"):
        raise ValueError(f"{where}: zero_targets must be 'refuse' or 'map', got {zero_targets!r}")
    if t.ndim == 1 and t.dtype.kind in "iu" and len(t) == len(a) and t.min() >= 0:
        t = np.where(np.arange(int(t.max()) + 1) == t[:, None], 1, -1)
    t = np.array(t, np.float64)
    if t.ndim != 2 or len(t) != len(a) or not np.isin(t, (-1.0, 0.0, 1.0)).all():
        raise ValueError(
            f"{where}: expected targets -1 and 1 [N,K], or labels [N] from 0 on, for {len(a)} samples, "
            f"got shape {list(t.shape)}"
        )
    if (t == 0).any():
        if zero_targets == "refuse":
            raise ValueError(f"{where}: a target of 0 never moves a weight: use -1, or zero_targets='map'")
        t[t == 0] = -1.0
    z = _with_bias(a)
    w: Array = _start(where, start, (t.shape[1], z.shape[1]))  # [K,D+1]
    path, epochs = [w], 0
    for _ in range(whole(where, "max_epochs", max_epochs, 1)):
        epochs += 1
        changed = False
        for sample, target in zip(z, t, strict=True):
            answer: Array = ops.dead_zone(ops.matmul(w, sample), dead_zone)  # [K]
            move: Array = ops.mul(ops.not_equal(answer, target), target)  # [K], t_j where unit j is wrong
            if move.any():
                w = ops.add(w, ops.matmul(ops.mul(move, rate)[:, None], sample[None]))
                path.append(w)
                changed = True
        if not changed:
            break
    answers: Array = ops.dead_zone(ops.matmul(z, w.T), dead_zone)  # [N,K]
    wrong = int((answers != t).any(axis=1).sum())
    return PerceptronRun(
        w[:, :-1], w[:, -1], wrong == 0, len(path) - 1, epochs, wrong, len(z), np.array(path), (-1, 1),
        dead_zone=float(dead_zone),
    )  # fmt: skip


def mistake_bound(x: Any, y: Any, weights: Any, bias: float = 0.0) -> float:
    """(R / gamma)**2, which the updates of `error_correction` from zero weights cannot exceed.

    R is the largest length of a sample with its constant 1, gamma the least distance t (w . x + b) / |(w, b)| of a
    sample from the separating plane (weights [D], bias) that is given: any one will do, the one with the largest
    gamma gives the sharpest bound.

    x : [N,D]; y : [N] of 0 and 1 or of -1 and 1. Raises ValueError when that plane does not separate the samples.
    Source: A. B. J. Novikoff, On convergence proofs for perceptrons, 1962.
    """
    a = _samples("mistake_bound", x)
    t, outputs = _two_labels("mistake_bound", y, len(a))
    plane = np.append(np.asarray(weights, np.float64), float(bias))
    if plane.shape != (a.shape[1] + 1,):
        raise ValueError(f"mistake_bound: expected weights [{a.shape[1]}], got shape {list(np.shape(weights))}")
    z = _with_bias(a)
    signs = t if outputs == (-1, 1) else 2 * t - 1
    gamma = float((signs * ops.matmul(z, plane)).min()) / max(float(np.sqrt(ops.sum(ops.square(plane)))), 1e-300)
    if not gamma > 0:
        raise ValueError(f"mistake_bound: the plane does not separate the samples: least distance {gamma:g}")
    return float(ops.max(ops.sum(ops.square(z), 1))) / gamma**2
