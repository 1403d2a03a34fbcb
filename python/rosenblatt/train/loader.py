"""`Loader`: batches in a reproducible order, prepared ahead by background threads.

Batch number i of a run is a function of (data, batch size, shuffle, seed, i) and nothing else: its pass over the data
is i // batches, shuffled by a generator seeded with (seed, pass), and augmented by one seeded with (seed, pass, batch).
So order and bytes depend neither on the number of threads nor on timing, and a position is one integer.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from .._options import whole
from ..tensor import Array, Tensor, float_array

__all__ = ["Loader"]

Augment = Callable[..., Any]  # (x, generator) -> x, or (x, y, generator) -> (x, y) with needs_labels = True
Batch = tuple[Array, ...]


def _array(value: Any) -> Array:
    return value.data if isinstance(value, Tensor) else np.asarray(value)


def _both(result: Any, n: int) -> tuple[Array, Array]:
    """(x, y) from an augmentation of both. Raises ValueError when it returned something else."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"augment: with needs_labels it must return (x, y), got {type(result).__name__}")
    x, y = np.asarray(result[0]), np.asarray(result[1])
    if x.shape[:1] != (n,) or y.shape[:1] != (n,):
        raise ValueError(f"augment: expected x and y for {n} examples, got shapes {x.shape} and {y.shape}")
    return x, y


class Loader:
    """Batches of arrays, pass after pass; `for xb, yb in loader` is the rest of one pass.

    Parameters
    ----------
    x : [N,...]; y : [N,...]; weights : [N] or None, a third member of every batch
    batch_size : the last batch of a pass may be smaller; shuffle : a new order in every pass, from `seed`
    augment : function (batch of x, numpy Generator) -> batch, called in a background thread on a copy; it should draw
        from the generator it is given, not from the global stream. One with the attribute `needs_labels = True` is
        called with (batch of x, batch of y, Generator) and returns both: for mixing, which makes labels [N] into rows
        of probabilities [N,K]
    workers : background threads (never processes); 0 prepares each batch when it is asked for
    prefetch : batches prepared ahead

    `position` counts the batches handed out since the first pass; `state_dict` and `load_state_dict` save and restore
    it. Raises ValueError/TypeError for sizes that do not agree and options out of range; an error in `augment` reaches
    the caller at the batch it belongs to.
    """

    def __init__(
        self, x: Any, y: Any, batch_size: int = 32, shuffle: bool = True, seed: int = 0, augment: Augment | None = None,
        workers: int = 1, prefetch: int = 2, weights: Any = None,
    ) -> None:
        self.x, self.y = _array(x), _array(y)
        self.weights = None if weights is None else _array(weights)
        if not self.x.ndim or not len(self.x):
            raise ValueError(f"Loader: expected x with at least one example, got shape {self.x.shape}")
        for name, array in (("y", self.y), ("weights", self.weights)):
            if array is not None and (not array.ndim or len(array) != len(self.x)):
                raise ValueError(f"Loader: expected {name} for {len(self.x)} examples like x, got shape {array.shape}")
        self.batch_size = whole("Loader", "batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.seed = whole("Loader", "seed", seed, 0)
        self.augment = augment
        self.workers = whole("Loader", "workers", workers, 0)
        self.prefetch = whole("Loader", "prefetch", prefetch, 1)
        self.position = 0
        self._order: tuple[int, Array] | None = None

    def __len__(self) -> int:
        """Batches in a pass."""
        return math.ceil(len(self.x) / self.batch_size)

    def _permutation(self, turn: int) -> Array:
        """The order of pass `turn` (from 1), [N]. Kept for one pass; two threads at a border work it out twice."""
        known = self._order
        if known is None or known[0] != turn:
            known = turn, np.random.default_rng([self.seed, turn]).permutation(len(self.x))
            self._order = known
        return known[1]

    def _like_x(self, value: Any) -> Array:
        """`value` in the dtype of x; integer data (bytes, tokens) may stay integers or become floats."""
        if self.x.dtype.kind == "f":
            return float_array("augment", value, self.x.dtype)
        array = np.asarray(value)
        return array if array.dtype.kind in "iu" else float_array("augment", array)

    def batch(self, index: int) -> Batch:
        """Batch number `index` of the run, (x, y) or (x, y, weights), whatever the position is."""
        turn, number = divmod(index, len(self))
        part: Any = slice(number * self.batch_size, (number + 1) * self.batch_size)
        if self.shuffle:
            part = self._permutation(turn + 1)[part]
        xb, yb = self.x[part], self.y[part]
        if self.augment is not None:
            rng = np.random.default_rng([self.seed, turn + 1, number])
            if not self.shuffle:  # slices of the data: the augmentation may write into what it gets
                xb, yb = xb.copy(), yb.copy()
            if getattr(self.augment, "needs_labels", False):
                xb, yb = _both(self.augment(xb, yb, rng), len(xb))
                yb = self._like_x(yb) if yb.dtype.kind == "f" else yb
            else:
                xb = self.augment(xb, rng)
            xb = self._like_x(xb)
            if xb.shape[:1] != yb.shape[:1]:
                raise ValueError(f"augment: expected x for {len(yb)} examples, got shape {xb.shape}")
        return (xb, yb) if self.weights is None else (xb, yb, self.weights[part])

    def stream(self, stop: int | None = None) -> Generator[Batch, None, None]:
        """Batches from the position on, up to number `stop` (endless when None). Close it to end its threads."""
        if not self.workers:
            while stop is None or self.position < stop:
                batch = self.batch(self.position)
                self.position += 1
                yield batch
            return
        ahead = self.prefetch + self.workers - 1
        waiting: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.workers, "rosenblatt-loader")
        try:
            while stop is None or self.position < stop:
                while len(waiting) <= ahead and (stop is None or self.position + len(waiting) < stop):
                    waiting.append(pool.submit(self.batch, self.position + len(waiting)))
                batch = waiting.popleft().result()
                self.position += 1
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        return self.stream((self.position // len(self) + 1) * len(self))

    def state_dict(self) -> dict[str, Any]:
        """{"position", "seed", "batch_size", "shuffle", "examples"}."""
        return {
            "position": self.position, "seed": self.seed, "batch_size": self.batch_size, "shuffle": self.shuffle,
            "examples": len(self.x),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken. Raises ValueError when it belongs to another order of batches."""
        own = self.state_dict()
        for name in ("seed", "batch_size", "shuffle", "examples"):
            if state.get(name) != own[name]:
                raise ValueError(f"Loader: expected {name} {own[name]}, the saved position has {state.get(name)!r}")
        self.position = whole("Loader", "position", state.get("position"), 0)
