"""What autoencoders are used for besides compression: anomaly scores, missing values, image search, recommendations.

The features of a trained network are `model.encoder.predict(x)`, also of images without labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole
from ..nn import Linear, Loss, MaskingNoise, Sequential
from ..nn.module import Module
from .autoencoders import Autoencoder, _dense

__all__ = [
    "MaskedMSELoss", "anomaly_scores", "impute", "nearest", "rating_autoencoder", "rating_inputs", "rating_targets",
]

Array = npt.NDArray[Any]


def _same(who: str, model: Module, x: Array) -> Array:
    out = np.asarray(model.predict(x))
    if out.shape != x.shape:
        raise ValueError(f"{who}: expected a network that gives back {list(x.shape)}, got {list(out.shape)}")
    return out


def anomaly_scores(model: Module, x: Any) -> Array:
    """The mean squared error of each example's reconstruction, [N] float64: large for what training did not show.

    x : [N,...]. Raises ValueError for a network whose output has another shape than its input.
    """
    values = np.asarray(x)
    error = _same("anomaly_scores", model, values).astype(np.float64) - values
    return np.asarray((error**2).reshape(len(values), -1).mean(1))


def impute(model: Module, x: Any, known: Any, start: Any = 0.0, rounds: int = 10) -> Array:
    """x [N,...] with unknown values filled in (float32 unless x has floats of its own); `known` is True where x holds,
    of x's shape or broadcast to it.

    The unknown places begin as `start` (a number, or an array such as the training mean) and take the values of the
    reconstruction `rounds` times over; the known ones stay as they are, so what x holds elsewhere (NaN, too) is not
    read. Raises ValueError for rounds < 1, shapes that do not fit and known values that are not finite.
    """
    values = np.asarray(x)
    if values.dtype.kind != "f":
        values = values.astype(np.float32)  # reconstructions lie between whole numbers
    given = np.broadcast_to(np.asarray(known, bool), values.shape)
    if not np.isfinite(values[given]).all():
        raise ValueError("impute: expected finite values where known is True")
    filled = np.where(given, values, np.broadcast_to(start, values.shape)).astype(values.dtype)
    for _ in range(whole("impute", "rounds", rounds, 1)):
        filled = np.where(given, values, _same("impute", model, filled)).astype(values.dtype)
    return filled


def nearest(codes: Any, queries: Any, k: int = 10) -> tuple[Array, Array]:
    """(distances, places), both [M,k]: the k codes [N,d] nearest to each of the queries [M,d], nearest first.

    Euclidean distance to all codes; of equal ones the first come first. Raises ValueError unless 1 <= k <= N and d
    agrees.
    """
    a, b = np.asarray(codes, np.float64), np.asarray(queries, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"nearest: expected codes [N,d] and queries [M,d], got {list(a.shape)} and {list(b.shape)}")
    if whole("nearest", "k", k, 1) > len(a):
        raise ValueError(f"nearest: k must be at most {len(a)}, got {k}")
    a_far, b_far = a - a.mean(0), b - a.mean(0)  # small numbers lose fewer digits in the products
    squared = (b_far**2).sum(1)[:, None] - 2 * np.asarray(ops.matmul(b_far, a_far.T)) + (a_far**2).sum(1)  # [M,N]
    places = np.sort(np.argsort(squared, axis=1, kind="stable")[:, :k], axis=1)
    distances = np.sqrt(((b[:, None] - a[places]) ** 2).sum(2))  # of those k from their differences
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(places, order, 1)


# --- recommender


def rating_autoencoder(
    items: int, hidden: Sequence[int] = (), code: int = 10, drop: float = 0.3
) -> Autoencoder:
    """Ratings of one user [N,items] in [0, 1] -> the ratings of all items (notes B:A14; Sedhain et al. 2015).

    tanh layers, sigmoid output. Inputs come from `rating_inputs`; in training a share `drop` of them is hidden, so that
    the network learns to foretell ratings it does not see. Train with `MaskedMSELoss` on `rating_targets`.
    Raises ValueError for sizes below 1 and a share outside [0, 1].
    """
    sizes = [whole("rating_autoencoder", "items", items, 1), *hidden, whole("rating_autoencoder", "code", code, 1)]
    back = sizes[::-1]
    decoder = Sequential(*_dense(back[:-1], "tanh", "tanh"), Linear(back[-2], back[-1], activation="sigmoid"))
    return Autoencoder(Sequential(*_dense(sizes, "tanh", "tanh")), decoder, MaskingNoise(drop))


def _ratings(who: str, ratings: Any) -> tuple[Array, Array]:
    values = np.asarray(ratings, np.float32)
    known = ~np.isnan(values)
    if values.ndim != 2 or not ((values[known] >= 0) & (values[known] <= 1)).all():
        raise ValueError(f"{who}: expected ratings [N,items] in [0, 1], NaN where blank, got {list(values.shape)}")
    return values, known


def rating_inputs(ratings: Any, mean: Any = 0.5) -> Array:
    """Ratings [N,items] in [0, 1], NaN where blank, as inputs: rating - mean, and 0 for a blank. Raises ValueError."""
    values, known = _ratings("rating_inputs", ratings)
    return np.where(known, values - np.asarray(mean, np.float32), np.float32(0))


def rating_targets(ratings: Any) -> Array:
    """Ratings [N,items], NaN where blank, for `MaskedMSELoss`: [N,2,items], the values and 1 where there is one."""
    values, known = _ratings("rating_targets", ratings)
    return np.stack([np.where(known, values, np.float32(0)), known.astype(np.float32)], 1)


class MaskedMSELoss(Loss):
    """Squared error over the values that are there: sum m (p - t)**2 / sum m for p [N,M] and targets [N,2,M] (t, m).

    Blanks have no gradient. Raises ValueError for other shapes and reductions other than "mean".
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if reduction != "mean":
            raise ValueError(f"MaskedMSELoss: expected reduction 'mean', got {reduction!r}")

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        if sample_weight is not None:
            raise ValueError("MaskedMSELoss: blanks are weights already: sample_weight is not taken")
        if len(target.shape) != 3 or target.shape[1] != 2 or target.shape[::2] != prediction.shape:
            raise ValueError(
                f"MaskedMSELoss: expected targets [N,2,M] for predictions [N,M], got {target.shape}, {prediction.shape}"
            )
        there = ops.getitem(target, (slice(None), 1))
        error = ops.mul(ops.square(ops.sub(prediction, ops.getitem(target, (slice(None), 0)))), there)
        return ops.div(ops.sum(error), ops.maximum(ops.sum(there), 1.0))
