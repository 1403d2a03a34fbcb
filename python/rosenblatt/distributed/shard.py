"""Which examples a process gets."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Array
from ..train.loader import Augment, Batch, Loader

__all__ = ["ShardedLoader", "shard"]


def shard(n: int, rank: int, size: int) -> tuple[int, int]:
    """(start, stop) of process `rank`'s part of n rows: contiguous, in order of rank, the first n % size one longer.

    >>> [shard(7, r, 3) for r in range(3)]
    [(0, 3), (3, 5), (5, 7)]
    """
    least, more = divmod(n, size)
    start = rank * least + min(rank, more)
    return start, start + least + (rank < more)


class ShardedLoader(Loader):
    """A `Loader` that hands out this process's rows of every batch; they may be none.

    Order, position and state are those of a `Loader` in one process. The augmentation of a batch is drawn for the
    whole batch: when `augment` has a method `rows(x, rng, start, total)`, x being rows [start, start + len(x)) of a
    batch of `total`, each process computes its rows only; else it augments the whole batch and keeps its rows. Either
    way an example gets what it would get in one process.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        x: Any,
        y: Any,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        augment: Augment | None = None,
        workers: int = 1,
        prefetch: int = 2,
        weights: Any = None,
    ) -> None:
        super().__init__(x, y, batch_size, shuffle, seed, augment, workers, prefetch, weights)
        self.rank, self.size = rank, size

    def _rows(self, index: int) -> tuple[int, int, Any]:
        """Pass and number of batch `index`, and where its examples are: a slice or numbers [rows]."""
        turn, number = divmod(index, len(self))
        part: Any = slice(number * self.batch_size, min((number + 1) * self.batch_size, len(self.x)))
        if self.shuffle:
            part = self._permutation(turn + 1)[part]
        else:
            part = np.arange(part.start, part.stop)
        return turn, number, part

    def totals(self, index: int, importance: Array | None) -> tuple[int, float, int, float]:
        """Rows and weight of the whole batch, rows and weight of this process's part; `importance` [N], None is 1."""
        _, _, part = self._rows(index)
        start, stop = shard(len(part), self.rank, self.size)
        if importance is None:
            return len(part), float(len(part)), stop - start, float(stop - start)
        whole, own = importance[part], importance[part[start:stop]]
        return len(part), float(whole.sum(dtype="f8")), stop - start, float(own.sum(dtype="f8"))

    def batch(self, index: int) -> Batch:
        """This process's rows of batch number `index`, (x, y) or (x, y, weights)."""
        turn, number, part = self._rows(index)
        start, stop = shard(len(part), self.rank, self.size)
        rows = getattr(self.augment, "rows", None)
        if self.augment is not None and rows is None:
            return tuple(a[start:stop] for a in super().batch(index))
        mine = part[start:stop]
        xb, yb = self.x[mine], self.y[mine]
        if rows is not None and start < stop:
            rng = np.random.default_rng([self.seed, turn + 1, number])
            xb = self._like_x(rows(xb, rng, start, len(part)))
        return (xb, yb) if self.weights is None else (xb, yb, self.weights[mine])
