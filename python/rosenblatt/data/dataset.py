"""The labelled set that every loader returns, and the error that every loader raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

__all__ = ["DataError", "Dataset"]


class DataError(ValueError):
    """A data file that is missing or damaged: the message says which, what was expected and what was found."""


@dataclass(frozen=True)
class Dataset:
    """Samples with their class labels.

    Attributes
    ----------
    x : samples [N,...], float32; images are [N,H,W,C].
    y : class indices [N], int64, each in [0, len(classes)).
    classes : the name of every class.
    name : where the data came from, for titles and messages.
    """

    x: Array
    y: Array
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if self.y.ndim != 1 or self.x.ndim < 1 or len(self.x) != len(self.y):
            raise DataError(
                f"{self.name}: expected one label per sample, got x {list(self.x.shape)} and y {list(self.y.shape)}"
            )
        if len(self.y) and not (int(self.y.min()) >= 0 and int(self.y.max()) < len(self.classes)):
            raise DataError(
                f"{self.name}: expected labels in 0..{len(self.classes) - 1}, "
                f"found {int(self.y.min())}..{int(self.y.max())}"
            )

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: slice | Array) -> Dataset:
        """The samples chosen by a slice or an index array, with the same classes."""
        return Dataset(self.x[index], self.y[index], self.classes, self.name)

    def hold_out(self, every: int = 5) -> tuple[Dataset, Dataset]:
        """(train, test): of each class, in file order, every `every`-th sample goes to the test set.

        The split depends on the labels only; both parts keep the order of the file. Raises ValueError when
        `every` < 2.
        """
        if every < 2:
            raise ValueError(f"hold_out: every must be at least 2, got {every}")
        test = np.zeros(len(self), bool)  # [N]
        for label in range(len(self.classes)):
            test[np.flatnonzero(self.y == label)[every - 1 :: every]] = True
        return self.take(np.flatnonzero(~test)), self.take(np.flatnonzero(test))

    def split(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """(rest, held out): a random `fraction` of the samples is held out, at least one and never all.

        The choice depends on the number of samples, the fraction and the seed; both parts keep the order of the file.
        Raises ValueError when the fraction is not between 0 and 1 or there are fewer than two samples.
        """
        n = len(self)
        if not 0 < fraction < 1:
            raise ValueError(f"split: fraction must be between 0 and 1, got {fraction}")
        if n < 2:
            raise ValueError(f"split: at least two samples are needed, got {n}")
        count = min(max(round(n * fraction), 1), n - 1)
        # a stream of its own: the same seed also drives the weights and the order of the samples
        chosen = np.random.default_rng([seed, 0x5EED]).permutation(n)[:count]
        held = np.zeros(n, bool)  # [N]
        held[chosen] = True
        return self.take(np.flatnonzero(~held)), self.take(np.flatnonzero(held))
