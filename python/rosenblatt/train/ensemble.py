"""Several networks that answer together: from several seeds, or bagging (L. Breiman, Bagging predictors, 1996)."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import ops
from .._options import whole
from ..nn.losses import Loss
from ..nn.module import Module
from ..ops.random import stream
from ..optim import Optimizer
from ..tensor import Array, Tensor
from .callbacks import History
from .fit import _default_loss, _inputs, _targets, fit, mean_loss
from .fit import evaluate as evaluate_model

__all__ = ["Ensemble"]

Voting = Literal["soft", "hard", "mean"]


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The random stream from `seed`; afterwards it is where it was."""
    position = stream.key, stream.counter
    stream.seed(seed)
    try:
        yield
    finally:
        stream.seed(*position)


class Ensemble(Module):
    """Networks of equal task as one `Module`: `predict`, `state_dict`, `io.save_weights` and so on include all of them.

    Parameters
    ----------
    members : function () -> Module, called `size` times from the seeds `seed`, `seed` + 1, ...; or networks as they are
    size : how many, with a function
    voting : what the members' outputs, [N,C] logits, become together, [N,C]:
        "soft" the mean of their probabilities, "hard" the share of their votes (of ties inside a member the first class
        gets the vote), "mean" the mean of the outputs themselves, for regression (any shape)
    weights : one number >= 0 per member, not all 0; default equal ones. They are scaled to the sum 1

    With one logit per example, [N,1], the two classes are 0 and 1, as for `nn.BCEWithLogitsLoss`.

    Raises ValueError for options out of range, TypeError for members that are not modules.
    """

    def __init__(
        self,
        members: Callable[[], Module] | Sequence[Module],
        size: int | None = None,
        *,
        voting: Voting = "soft",
        weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        where = "Ensemble"
        if voting not in ("soft", "hard", "mean"):
            raise ValueError(f"{where}: voting must be 'soft', 'hard' or 'mean', got {voting!r}")
        seed = whole(where, "seed", seed, 0)
        if isinstance(members, Module) or (not callable(members) and not isinstance(members, Sequence)):
            raise TypeError(f"{where}: expected a function () -> Module or networks, got {type(members).__name__}")
        built: list[Module] = []
        if callable(members):
            for i in range(whole(where, "size", 5 if size is None else size, 1)):
                with _seeded(seed + i):
                    built.append(members())
        else:
            if size is not None and size != len(members):
                raise ValueError(f"{where}: size is for a function that builds members; {len(members)} are given")
            built = list(members)
        if not built:
            raise ValueError(f"{where}: there are no members")
        for i, m in enumerate(built):
            if not isinstance(m, Module):
                raise TypeError(f"{where}: member {i}: expected a Module, got {type(m).__name__}")
            if any(m is other for other in built[:i]):
                raise ValueError(f"{where}: member {i} is there twice: the function must build a new one each time")
            setattr(self, str(i), m)
        self.voting, self.seed = voting, seed
        shares = np.ones(len(built)) if weights is None else np.asarray(weights, np.float64)
        if shares.shape != (len(built),) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
            raise ValueError(f"{where}: expected {len(built)} weights >= 0, not all 0, got {weights!r}")
        self.weights = tuple(float(w) for w in shares / shares.sum())
        self.out_of_bag: dict[str, float] | None = None

    @property
    def members(self) -> list[Module]:
        return list(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def extra_repr(self) -> str:
        return f"voting={self.voting!r}"

    # --- answering
    def forward(self, x: Any) -> Any:
        """x [N,...] -> what the members say together, see `voting`; differentiable unless it is "hard"."""
        return self._joined([self._voice(m(x)) for m in self.members], self.weights)

    def _joined(self, voices: Sequence[Any], weights: Sequence[float]) -> Any:
        shapes = {tuple(v.shape) for v in voices}
        if len(shapes) > 1:
            raise ValueError(f"Ensemble: the members answer in different shapes: {sorted(shapes)}")
        total: Any = None
        for voice, weight in zip(voices, weights, strict=True):
            part = ops.mul(voice, weight)
            total = part if total is None else ops.add(total, part)
        return total

    def _voice(self, out: Any) -> Any:
        """What one member's output counts for: itself, its probabilities [N,C] or its vote [N,C]."""
        if self.voting == "mean":
            return out
        if len(out.shape) != 2:
            raise ValueError(f"Ensemble: voting={self.voting!r} needs logits [N,C], got shape {tuple(out.shape)}")
        if out.shape[1] == 1:  # the logit of class 1 against 0
            out = ops.concat([ops.mul(out, 0.0), out], 1)
        if self.voting == "soft":
            return ops.softmax(out, 1)
        array = out.data if isinstance(out, Tensor) else out
        votes = ops.one_hot(ops.argmax(array, 1), array.shape[1], array.dtype)
        return Tensor(votes) if isinstance(out, Tensor) else votes

    def labels(self, x: Any, batch_size: int = 256) -> Array:
        """The class [N] with the largest probability or most votes, the first one of equals (scikit-learn's `predict`).

        Raises ValueError with voting="mean".
        """
        if self.voting == "mean":
            raise ValueError("Ensemble: voting='mean' has no classes: use predict")
        return ops.argmax(self.predict(x, batch_size), 1)

    def evaluate(self, x: Any, y: Any, **options: Any) -> dict[str, float]:
        """{"accuracy", "loss"} of classes, the loss being the mean of -ln p of the true class; hard votes have none.

        With voting="mean" it is `Module.evaluate` with its options. Raises ValueError when N is 0 or differs, TypeError
        for targets that are no labels.
        """
        if self.voting == "mean":
            return evaluate_model(self, x, y, **options)
        if options.keys() - {"batch_size"}:
            raise ValueError(f"Ensemble: voting={self.voting!r} has its own loss: got {sorted(options)}")
        return self._scores(self.predict(x, **options), y)

    def _scores(self, shares: Array, y: Any) -> dict[str, float]:
        labels = np.asarray(y.data if isinstance(y, Tensor) else y)
        if labels.dtype.kind not in "iub" and not (labels.size and (labels == labels.astype(np.int64)).all()):
            raise TypeError(f"Ensemble: expected integer labels, got dtype {labels.dtype}")
        labels = labels.astype(np.int64).reshape(-1)
        if len(labels) != len(shares) or not len(labels):
            raise ValueError(f"Ensemble: expected labels for {len(shares)} examples, at least one, got {len(labels)}")
        if labels.min() < 0 or labels.max() >= shares.shape[1]:
            raise ValueError(f"Ensemble: labels must be in [0, {shares.shape[1]}), got {labels.min()}..{labels.max()}")
        result = {"accuracy": float((ops.argmax(shares, 1) == labels).mean())}
        if self.voting == "soft":
            own = np.take_along_axis(shares, labels[:, None], 1)[:, 0].astype(np.float64)
            result["loss"] = float(-np.log(np.maximum(own, 1e-30)).mean())
        return result

    # --- training
    def fit(  # type: ignore[override]
        self,
        x: Any,
        y: Any,
        *,
        seed: int | None = None,
        bootstrap: bool = False,
        samples: float = 1.0,
        optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
        **options: Any,
    ) -> list[History]:
        """Trains the members one after the other, member i with seed `seed` + i, from the weights that it has.

        Parameters
        ----------
        seed : default the one given to the constructor
        bootstrap : every member gets `samples` * N examples drawn with replacement (bagging), else all of them.
            `out_of_bag` then holds the scores, as of `evaluate`, of every example by the members that did not see it
            (None when they all saw all)
        optimizer : parameters -> Optimizer, for each member; options : as in `train.fit`; with `checkpoint`, member i
            uses the folder member-i in it

        Returns the members' histories, fewer when interrupted. Raises what `fit` raises, and ValueError for options
        that only one network can have.
        """
        where = "Ensemble.fit"
        seed = self.seed if seed is None else whole(where, "seed", seed, 0)
        if isinstance(optimizer, Optimizer):
            raise ValueError(f"{where}: optimizer must be a function of the parameters, as every member needs its own")
        if isinstance(samples, bool) or not isinstance(samples, (int, float)) or not 0 < samples < math.inf:
            raise ValueError(f"{where}: samples must be a number above 0, got {samples!r}")
        if not bootstrap and samples != 1.0:
            raise ValueError(f"{where}: samples goes with bootstrap=True")
        xs = _inputs(where, self, x)
        ys = y.data if isinstance(y, Tensor) else np.asarray(y)
        if ys.ndim < 1 or len(ys) != len(xs):
            raise ValueError(f"{where}: expected y for {len(xs)} examples like x, got shape {ys.shape}")
        weights = options.pop("sample_weight", None)
        folder = options.pop("checkpoint", None)
        unseen: list[Array] = []
        histories: list[History] = []
        for i, member in enumerate(self.members):
            chosen = slice(None)  # type: Any
            if bootstrap:
                rng = np.random.default_rng((seed, i))
                chosen = rng.integers(len(xs), size=max(round(samples * len(xs)), 1))  # [samples * N]
                unseen.append(np.setdiff1d(np.arange(len(xs)), chosen))
            own = dict(options)
            if folder is not None:
                own["checkpoint"] = Path(os.fspath(folder)) / f"member-{i}"
            if weights is not None:
                own["sample_weight"] = np.asarray(weights)[chosen]
            if optimizer is not None:
                own["optimizer"] = optimizer(member.parameters())
            histories.append(fit(member, xs[chosen], ys[chosen], seed=seed + i, **own))
            if histories[-1].interrupted:
                return histories
        self.out_of_bag = self._out_of_bag(xs, ys, unseen, options.get("loss")) if bootstrap else None
        return histories

    def _out_of_bag(self, x: Array, y: Array, unseen: Sequence[Array], loss: Loss | None) -> dict[str, float] | None:
        """Scores of the examples that at least one member has not seen, each by those members."""
        total: Any = None
        weight = np.zeros(len(x))
        for member, share, rows in zip(self.members, self.weights, unseen, strict=True):
            if not len(rows) or not share:
                continue
            voice = self._voice(member.predict(x[rows]))
            if total is None:
                total = np.zeros((len(x), *voice.shape[1:]), voice.dtype)
            total[rows] += share * voice
            weight[rows] += share
        known = weight > 0
        if not known.any():
            return None
        joined = total[known] / weight[known].reshape(-1, *[1] * (total.ndim - 1)).astype(total.dtype)
        if self.voting != "mean":
            return self._scores(joined, y[known])
        loss = _default_loss(y) if loss is None else loss
        targets = _targets("Ensemble", y[known], len(joined), loss, joined.dtype)
        return {"loss": mean_loss(loss, joined, targets)}
