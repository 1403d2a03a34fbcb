"""Metrics: float64 numbers from arrays (or tensors) of truth and prediction; truth comes first, as in scikit-learn.

Labels are integers of equal shape, predictions are labels unless a docstring says scores or probabilities. Shapes that
differ, empty input and values out of range raise ValueError naming the metric; text and complex data TypeError.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .tensor import Array, Tensor

__all__ = [
    "accuracy", "average_precision", "box_iou", "compression_ratio", "confusion_matrix", "earth_mover_distance",
    "entropy", "f1_score", "gini", "information_gain", "iou", "mae", "mean_average_precision", "mse", "perplexity",
    "precision", "psnr", "r2_score", "recall", "reward_to_volatility", "rmse", "roc_auc", "space_saving", "ssim",
    "top_k_accuracy",
]


def _real(name: str, what: str, x: Any, ndim: int | None = None) -> Array:
    """x in float64. Raises TypeError unless it holds real numbers, ValueError unless it has `ndim` axes."""
    a = x.data if isinstance(x, Tensor) else np.asarray(x)
    if a.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected {what} to be real numbers, got dtype {a.dtype}")
    if ndim is not None and a.ndim != ndim:
        raise ValueError(f"{name}: expected {what} with {ndim} axes, got shape {a.shape}")
    return np.asarray(a, np.float64)


def _some(name: str, a: Array) -> None:
    if not a.size:
        raise ValueError(f"{name}: there is nothing to measure (shape {a.shape})")


def _pair(name: str, truth: Any, prediction: Any) -> tuple[Array, Array]:
    t, p = _real(name, "the truth", truth), _real(name, "the prediction", prediction)
    if t.shape != p.shape:
        raise ValueError(f"{name}: expected a prediction of shape {t.shape} like the truth, got {p.shape}")
    _some(name, t)
    return t, p


def _labels(name: str, what: str, x: Any) -> Array:
    a = x.data if isinstance(x, Tensor) else np.asarray(x)
    if a.dtype.kind not in "iub":
        raise TypeError(f"{name}: expected {what} to be integer labels, got dtype {a.dtype}")
    if a.size and a.min() < 0:
        raise ValueError(f"{name}: expected {what} of at least 0, got {a.min()}")
    return np.asarray(a, np.int64)


def _label_pair(name: str, truth: Any, prediction: Any) -> tuple[Array, Array]:
    t, p = _labels(name, "the truth", truth), _labels(name, "the prediction", prediction)
    if t.shape != p.shape:
        raise ValueError(f"{name}: expected a prediction of shape {t.shape} like the truth, got {p.shape}")
    _some(name, t)
    return t.reshape(-1), p.reshape(-1)


def _ratio(a: Any, b: Any) -> Array:
    """a / b, and 0 where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    out: Array = np.zeros(np.broadcast_shapes(a.shape, b.shape))
    np.divide(a, b, out=out, where=b != 0)
    return out


# --- classification


def accuracy(truth: Any, prediction: Any) -> float:
    """Share of equal labels; both [...], compared element by element."""
    t, p = _label_pair("accuracy", truth, prediction)
    return float((t == p).mean())


def top_k_accuracy(truth: Any, scores: Any, k: int = 5) -> float:
    """Share of rows whose label is among the k highest scores; truth [N], scores [N,C].

    A tie for the last place counts for the lower class index. Raises ValueError unless 1 <= k <= C.
    """
    t, s = _labels("top_k_accuracy", "the truth", truth), _real("top_k_accuracy", "scores", scores, 2)
    if t.shape != s.shape[:1]:
        raise ValueError(f"top_k_accuracy: expected truth of shape {s.shape[:1]}, got {t.shape}")
    _some("top_k_accuracy", s)
    if t.max() >= s.shape[1]:
        raise ValueError(f"top_k_accuracy: labels must be in [0, {s.shape[1]}), got {t.max()}")
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= s.shape[1]:
        raise ValueError(f"top_k_accuracy: k must be an integer in [1, {s.shape[1]}], got {k!r}")
    best = np.argsort(-s, axis=1, kind="stable")[:, :k]
    return float((best == t[:, None]).any(1).mean())


def confusion_matrix(truth: Any, prediction: Any, classes: int | None = None) -> Array:
    """[C,C] counts (int64): row = truth, column = prediction; C defaults to the largest label + 1."""
    t, p = _label_pair("confusion_matrix", truth, prediction)
    most = int(max(t.max(), p.max())) + 1
    c = most if classes is None else classes
    if isinstance(c, bool) or not isinstance(c, (int, np.integer)):
        raise ValueError(f"confusion_matrix: classes must be an integer, got {classes!r}")
    if c < most:
        raise ValueError(f"confusion_matrix: labels must be in [0, {c}), got {most - 1}")
    return np.bincount(t * c + p, minlength=c * c).reshape(c, c)


_AVERAGES = ("binary", "micro", "macro", "weighted", None)


def _per_class(name: str, truth: Any, prediction: Any, average: str | None) -> tuple[Array, Array, Array, Array]:
    """(hits, predicted, actual, support) per class that occurs; one entry for "binary" and "micro"."""
    if average not in _AVERAGES:
        raise ValueError(f"{name}: average must be one of {_AVERAGES}, got {average!r}")
    t, p = _label_pair(name, truth, prediction)
    if average == "binary":
        most = max(int(t.max()), int(p.max()))
        if most > 1:
            raise ValueError(f"{name}: average 'binary' needs labels 0 and 1, got {most}")
        hits, predicted, actual = (np.array([np.count_nonzero(v)]) for v in (t & p, p, t))
    elif average == "micro":
        hits, predicted, actual = np.array([np.count_nonzero(t == p)]), np.array([p.size]), np.array([t.size])
    else:  # by rank among the labels that occur, which may be far apart
        occurring, rank = np.unique(np.concatenate([t, p]), return_inverse=True)
        t, p = rank[: t.size], rank[t.size :]
        hits, predicted, actual = (np.bincount(v, minlength=len(occurring)) for v in (t[t == p], p, t))
    return hits, predicted, actual, actual


def _averaged(values: Array, support: Array, average: str | None) -> Any:
    if average is None:
        return values
    if average == "weighted":
        return float(_ratio((values * support).sum(), support.sum()))
    return float(values.mean())


def precision(truth: Any, prediction: Any, average: str | None = "macro") -> Any:
    """Share of the predictions of a class that are right; 0 for a class never predicted.

    truth, prediction : integer labels [...]
    average : "macro" (mean over the classes that occur), "weighted" (by their frequency in truth), "micro" (over all
        examples), "binary" (class 1 of {0, 1}), or None for an array with one value per class that occurs
    """
    hits, predicted, _, support = _per_class("precision", truth, prediction, average)
    return _averaged(_ratio(hits, predicted), support, average)


def recall(truth: Any, prediction: Any, average: str | None = "macro") -> Any:
    """Share of the examples of a class that are found; 0 for a class that truth lacks. Arguments as in `precision`."""
    hits, _, actual, support = _per_class("recall", truth, prediction, average)
    return _averaged(_ratio(hits, actual), support, average)


def f1_score(truth: Any, prediction: Any, average: str | None = "macro") -> Any:
    """Harmonic mean of precision and recall, 2 hits / (predicted + actual). Arguments as in `precision`."""
    hits, predicted, actual, support = _per_class("f1_score", truth, prediction, average)
    return _averaged(_ratio(2 * hits, predicted + actual), support, average)


def _binary_scores(name: str, truth: Any, scores: Any) -> tuple[Array, Array]:
    t, s = _labels(name, "the truth", truth).reshape(-1), _real(name, "scores", scores).reshape(-1)
    if t.shape != s.shape:
        raise ValueError(f"{name}: expected as many scores as labels, got {s.size} and {t.size}")
    _some(name, t)
    if t.max() > 1:
        raise ValueError(f"{name}: expected labels 0 and 1, got {t.max()}")
    if np.isnan(s).any():
        raise ValueError(f"{name}: expected scores without NaN")
    return t, s


def roc_auc(truth: Any, scores: Any) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    truth [N] of {0, 1} with scores [N]; or labels [N] with scores [N,C], the mean over the classes, one against the
    rest. Raises ValueError when a class or its opposite does not occur.
    """
    s = _real("roc_auc", "scores", scores)
    if s.ndim == 2:
        t = _labels("roc_auc", "the truth", truth)
        if t.shape != s.shape[:1] or (t.size and t.max() >= s.shape[1]):
            raise ValueError(f"roc_auc: expected {len(s)} labels in [0, {s.shape[1]}), got shape {t.shape}")
        _some("roc_auc", s)
        return float(np.mean([roc_auc((t == c).astype(np.int64), s[:, c]) for c in range(s.shape[1])]))
    t, s = _binary_scores("roc_auc", truth, s)
    positives = int(t.sum())
    negatives = t.size - positives
    if not positives or not negatives:
        raise ValueError("roc_auc: expected both positive and negative examples")
    _, group, count = np.unique(s, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2.0  # of equal scores: the mean of their ranks, from 1
    return float((rank[group][t == 1].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def average_precision(truth: Any, scores: Any) -> float:
    """Sum of (recall_k - recall_(k-1)) precision_k over falling thresholds; truth [N] of {0, 1}, scores [N].

    Raises ValueError when there is no positive.
    """
    t, s = _binary_scores("average_precision", truth, scores)
    if not t.any():
        raise ValueError("average_precision: expected at least one positive example")
    order = np.argsort(-s, kind="stable")
    s, hits = s[order], np.cumsum(t[order])
    last = np.append(s[1:] != s[:-1], True)  # a threshold lies behind the last of equal scores
    right, total = hits[last], np.flatnonzero(last) + 1
    return float((np.diff(right, prepend=0) / t.sum() * (right / total)).sum())


def perplexity(truth: Any, probabilities: Any) -> float:
    """exp of the mean of -ln p[truth]: labels [...], probabilities [...,C]; C for uniform guesses, inf for p = 0."""
    p = _real("perplexity", "probabilities", probabilities)
    t = _labels("perplexity", "the truth", truth)
    if not p.ndim or t.shape != p.shape[:-1]:
        raise ValueError(f"perplexity: expected labels of shape {p.shape[:-1]}, got {t.shape}")
    _some("perplexity", t)
    if t.max() >= p.shape[-1]:
        raise ValueError(f"perplexity: labels must be in [0, {p.shape[-1]}), got {t.max()}")
    if p.min() < 0 or p.max() > 1 + 1e-6:
        raise ValueError(f"perplexity: expected probabilities in [0, 1], got values from {p.min()} to {p.max()}")
    chosen = np.take_along_axis(p, t[..., None], -1)
    if (chosen <= 0).any():
        return math.inf
    return float(np.exp(-np.log(chosen).mean()))


# --- regression


def mse(truth: Any, prediction: Any) -> float:
    """Mean squared error over all elements of [...]."""
    t, p = _pair("mse", truth, prediction)
    return float(((t - p) ** 2).mean())


def rmse(truth: Any, prediction: Any) -> float:
    """Root of the mean squared error over all elements of [...] (notes C:6)."""
    t, p = _pair("rmse", truth, prediction)
    return math.sqrt(((t - p) ** 2).mean())


def mae(truth: Any, prediction: Any) -> float:
    """Mean absolute error over all elements of [...]."""
    t, p = _pair("mae", truth, prediction)
    return float(np.abs(t - p).mean())


def r2_score(truth: Any, prediction: Any) -> float:
    """1 - squared error over the squared deviations of the truth from its mean; [N], or [N,D] averaged over D.

    A constant truth gives 1 when it is met exactly, else 0. Raises ValueError for fewer than two examples.
    """
    t, p = _pair("r2_score", truth, prediction)
    if t.ndim < 1 or len(t) < 2:
        raise ValueError(f"r2_score: expected at least two examples, got shape {t.shape}")
    t, p = t.reshape(len(t), -1), p.reshape(len(t), -1)
    error, spread = ((t - p) ** 2).sum(0), ((t - t.mean(0)) ** 2).sum(0)
    return float(np.where(spread > 0, 1.0 - _ratio(error, spread), np.where(error > 0, 0.0, 1.0)).mean())


# --- images and boxes


def iou(truth: Any, prediction: Any, average: str | None = "macro") -> Any:
    """Intersection over union of label maps [...], per class that occurs; `average` as in `precision`."""
    hits, predicted, actual, support = _per_class("iou", truth, prediction, average)
    return _averaged(_ratio(hits, predicted + actual - hits), support, average)


def _boxes(name: str, what: str, boxes: Any) -> Array:
    b = _real(name, what, boxes)
    if b.ndim != 2 or b.shape[1] != 4:
        raise ValueError(f"{name}: expected {what} of shape [N,4], got {b.shape}")
    if not (b[:, 2:] >= b[:, :2]).all():
        raise ValueError(f"{name}: expected {what} as (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1")
    return b


def box_iou(a: Any, b: Any) -> Array:
    """[N,M] intersection over union of boxes a [N,4] and b [M,4] given as (x0, y0, x1, y1); 0 for empty unions."""
    p, q = _boxes("box_iou", "boxes", a), _boxes("box_iou", "boxes", b)
    low, high = np.maximum(p[:, None, :2], q[None, :, :2]), np.minimum(p[:, None, 2:], q[None, :, 2:])
    shared = np.clip(high - low, 0.0, None).prod(-1)
    areas = [(v[:, 2:] - v[:, :2]).prod(-1) for v in (p, q)]
    return _ratio(shared, areas[0][:, None] + areas[1][None] - shared)


Detections = Sequence[tuple[Any, Any, Any]]
Objects = Sequence[tuple[Any, Any]]


def mean_average_precision(truth: Objects, detections: Detections, threshold: float | Sequence[float] = 0.5) -> float:
    """Mean over the classes in `truth` of the area under the interpolated precision-recall curve (PASCAL VOC 2010).

    Parameters
    ----------
    truth : one (labels [M], boxes [M,4]) per image
    detections : one (labels [D], boxes [D,4], scores [D]) per image
    threshold : least IoU of a hit; several thresholds are averaged, as for COCO's 0.5:0.05:0.95

    By falling score a detection takes the object of its class and image that it overlaps most; if that object is
    overlapped too little or already taken, the detection is false. Raises ValueError when there is no object.
    """
    name = "mean_average_precision"
    if len(truth) != len(detections):
        raise ValueError(f"{name}: expected detections for {len(truth)} images, got {len(detections)}")
    objects = [(_labels(name, "labels", labels), _boxes(name, "true boxes", boxes)) for labels, boxes in truth]
    found = [
        (_labels(name, "labels", labels), _boxes(name, "boxes", boxes), _real(name, "scores", scores, 1))
        for labels, boxes, scores in detections
    ]
    for parts in (*objects, *found):
        if len({len(part) for part in parts}) != 1 or parts[0].ndim != 1:
            raise ValueError(f"{name}: expected as many labels as boxes, got shapes {[p.shape for p in parts]}")
    classes = np.unique(np.concatenate([labels for labels, _ in objects])) if objects else np.zeros(0, np.int64)
    if not classes.size:
        raise ValueError(f"{name}: there is no object in the truth")
    limits = np.atleast_1d(np.asarray(threshold, np.float64))
    return float(np.mean([_class_ap(objects, found, int(c), float(limit)) for c in classes for limit in limits]))


def _class_ap(objects: Sequence[tuple[Array, ...]], found: Sequence[tuple[Array, ...]], c: int, limit: float) -> float:
    scores, hits, total = [], [], 0
    for (labels, boxes), (guess, where, score) in zip(objects, found, strict=True):
        mine, theirs = boxes[labels == c], where[guess == c]
        total += len(mine)
        overlap, taken = box_iou(theirs, mine), np.zeros(len(mine), bool)
        s = score[guess == c]
        for d in np.argsort(-s, kind="stable"):
            best = int(overlap[d].argmax()) if len(mine) else -1
            hit = best >= 0 and bool(overlap[d, best] >= limit) and not bool(taken[best])
            if hit:
                taken[best] = True
            scores.append(float(s[d]))
            hits.append(hit)
    if not scores:
        return 0.0
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits)[order])
    part = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(part[::-1])[::-1]  # the best precision at this recall or a higher one
    return float((np.diff(right / total, prepend=0.0) * envelope).sum())


def psnr(truth: Any, prediction: Any, data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio 10 log10(data_range**2 / MSE) in dB of arrays [...]; inf for equal ones."""
    error = mse(truth, prediction)
    if not data_range > 0:
        raise ValueError(f"psnr: data_range must be above 0, got {data_range!r}")
    return math.inf if error == 0 else 10.0 * math.log10(data_range**2 / error)


def _smooth(a: Array, kernel: Array) -> Array:
    """a [H,W,C] correlated with the kernel along both image axes, where it fits."""
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(a, len(kernel), axis)
        a = windows @ kernel
    return a


def ssim(truth: Any, prediction: Any, data_range: float = 1.0, window: int = 11, sigma: float = 1.5) -> float:
    """Structural similarity of two images [H,W] or [H,W,C], in [-1, 1] (Wang et al. 2004), averaged over channels.

    Gaussian window of `window` pixels and standard deviation `sigma`, K1 = 0.01, K2 = 0.03, population variances, only
    windows that fit. Raises ValueError for images smaller than the window or an even window.
    """
    t, p = _pair("ssim", truth, prediction)
    if t.ndim not in (2, 3):
        raise ValueError(f"ssim: expected images [H,W] or [H,W,C], got shape {t.shape}")
    if window < 1 or window % 2 == 0 or min(t.shape[:2]) < window or not sigma > 0 or not data_range > 0:
        raise ValueError(
            f"ssim: expected an odd window of at most {min(t.shape[:2])}, sigma and data_range above 0, "
            f"got {window!r}, {sigma!r} and {data_range!r}"
        )
    t, p = t.reshape(*t.shape[:2], -1), p.reshape(*t.shape[:2], -1)
    kernel = np.exp(-0.5 * ((np.arange(window) - window // 2) / sigma) ** 2)
    kernel /= kernel.sum()
    mt, mp = _smooth(t, kernel), _smooth(p, kernel)
    vt, vp, cov = _smooth(t * t, kernel) - mt**2, _smooth(p * p, kernel) - mp**2, _smooth(t * p, kernel) - mt * mp
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return float((((2 * mt * mp + c1) * (2 * cov + c2)) / ((mt**2 + mp**2 + c1) * (vt + vp + c2))).mean())


# --- codes, distributions, series


def _bytes(name: str, what: str, x: Any) -> int:
    """A number of bytes: given as such, or that of an array, of bytes, or of a file by its path."""
    if isinstance(x, Tensor):
        return x.data.nbytes
    if isinstance(x, np.ndarray):
        return x.nbytes
    if isinstance(x, (bytes, bytearray, memoryview)):
        return len(x)
    if isinstance(x, (str, os.PathLike)):
        return os.path.getsize(x)
    if isinstance(x, bool) or not isinstance(x, (int, np.integer)):
        raise TypeError(f"{name}: expected {what} as an array, bytes, a path or a number, got {type(x).__name__}")
    return int(x)


def compression_ratio(original: Any, compressed: Any) -> float:
    """Size of the original over the size of its code; arrays, bytes, paths of files, or sizes as integers.

    Raises ValueError unless both sizes are above 0.
    """
    a, b = _bytes("compression_ratio", "the original", original), _bytes("compression_ratio", "the code", compressed)
    if a <= 0 or b <= 0:
        raise ValueError(f"compression_ratio: expected sizes above 0, got {a} and {b}")
    return a / b


def space_saving(original: Any, compressed: Any) -> float:
    """1 - compressed / original: 0.99745 for a code of 2 numbers for 784 pixels (notes B:W17)."""
    return 1.0 - 1.0 / compression_ratio(original, compressed)


def _masses(name: str, weights: Any, like: Array) -> Array:
    w = np.ones(like.shape) if weights is None else _real(name, "weights", weights, 1)
    if w.shape != like.shape:
        raise ValueError(f"{name}: expected weights of shape {like.shape}, got {w.shape}")
    if not (w >= 0).all() or not np.isfinite(w).all() or not w.sum() > 0:
        raise ValueError(f"{name}: expected weights that are not negative and not all zero")
    return np.asarray(w / w.sum())


def earth_mover_distance(a: Any, b: Any, a_weights: Any = None, b_weights: Any = None) -> float:
    """Earth-mover (Wasserstein-1) distance of two distributions on the line: the area between their step functions.

    a [N], b [M] : positions; weights [N], [M] : masses, each scaled to 1, equal by default (notes B: lines 5299, 5307)
    """
    name = "earth_mover_distance"
    x, y = _real(name, "positions", a, 1), _real(name, "positions", b, 1)
    _some(name, x)
    _some(name, y)
    places = np.concatenate([x, y])
    masses = np.concatenate([_masses(name, a_weights, x), -_masses(name, b_weights, y)])
    if not np.isfinite(places).all():
        raise ValueError(f"{name}: expected finite positions")
    order = np.argsort(places, kind="stable")
    places, excess = places[order], np.cumsum(masses[order])
    return float((np.abs(excess[:-1]) * np.diff(places)).sum())


def reward_to_volatility(returns: Any, risk_free: Any = 0.0, periods: float = 1.0) -> float:
    """Mean excess return over its standard deviation (n - 1), times sqrt(periods) (Sharpe 1966; notes B: line 2934).

    returns [N] per period; risk_free : a number or [N]; periods per year to annualise
    Raises ValueError for fewer than two returns or returns that do not vary.
    """
    name = "reward_to_volatility"
    r, free = _real(name, "returns", returns, 1), _real(name, "risk_free", risk_free)
    if r.size < 2 or free.shape not in ((), r.shape) or not periods > 0:
        raise ValueError(
            f"{name}: expected at least two returns, as many risk-free ones and periods above 0, "
            f"got shapes {r.shape} and {free.shape}, periods {periods!r}"
        )
    excess = r - free
    spread = excess.std(ddof=1)
    if not spread > 1e-12 * np.abs(excess).max():
        raise ValueError(f"{name}: the returns do not vary")
    return float(excess.mean() / spread * math.sqrt(periods))


# --- trees


def _frequencies(name: str, labels: Any) -> Array:
    a = labels.data if isinstance(labels, Tensor) else np.asarray(labels)
    _some(name, a)
    return np.unique(a, return_counts=True)[1] / a.size


def entropy(probabilities: Any, base: float = 2.0) -> float:
    """-sum p log p of a distribution [C] that sums to 1, in bits (notes B:W4 to W6).

    Raises ValueError for negative probabilities and sums other than 1 (to 1e-6).
    """
    p = _real("entropy", "probabilities", probabilities, 1)
    if not base > 1 or not (p >= 0).all() or abs(p.sum() - 1.0) > 1e-6:
        raise ValueError(f"entropy: expected probabilities that sum to 1, a base above 1, got {p.tolist()}, {base!r}")
    p = p[p > 0]
    return float(-(p * np.log(p)).sum() / math.log(base)) + 0.0


def information_gain(labels: Any, groups: Any, base: float = 2.0) -> float:
    """Entropy of the labels [N] less the mean entropy within the groups [N] that a test splits them into."""
    y, g = (v.data if isinstance(v, Tensor) else np.asarray(v) for v in (labels, groups))
    if y.ndim != 1 or y.shape != g.shape:
        raise ValueError(f"information_gain: expected labels and groups [N], got shapes {y.shape} and {g.shape}")
    total = entropy(_frequencies("information_gain", y), base)
    inside = sum((g == v).mean() * entropy(_frequencies("information_gain", y[g == v]), base) for v in np.unique(g))
    return float(total - inside)


def gini(labels: Any) -> float:
    """Gini impurity 1 - sum p**2 of the labels [N]: the chance that two draws differ."""
    return float(1.0 - (_frequencies("gini", labels) ** 2).sum())
