"""Data sets that come with installed packages."""

from __future__ import annotations

from typing import Literal, overload

import numpy as np

from ..io.extras import require
from .dataset import Dataset

__all__ = ["digits"]


@overload
def digits(split: Literal[False] = False) -> Dataset: ...
@overload
def digits(split: Literal[True]) -> tuple[Dataset, Dataset]: ...
def digits(split: bool = False) -> Dataset | tuple[Dataset, Dataset]:
    """The 1797 handwritten digits that scikit-learn carries (UCI Optical Recognition of Handwritten Digits).

    x is float32 [1797,8,8,1] with the counts 0..16 divided by 16, y int64 [1797]. With `split=True` the answer is
    (train, test): the first 898 and the last 899. The halves come from different writers, so the test is a fair one.

    Raises
    ------
    MissingExtraError
        scikit-learn is not installed.

    Source: E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998.
    """
    source = require("sklearn.datasets", "demo", "the digits data set").load_digits()
    x = (np.asarray(source.images, np.float32) / np.float32(16)).reshape(-1, 8, 8, 1)  # [1797,8,8,1]
    whole = Dataset(x, np.asarray(source.target, np.int64), tuple(str(d) for d in range(10)), "digits")
    half = len(whole) // 2
    return (whole.take(slice(None, half)), whole.take(slice(half, None))) if split else whole
