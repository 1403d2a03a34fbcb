"""Metrics: against scikit-learn and SciPy, worked numbers, and what is refused."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy import ndimage, stats
from sklearn import metrics as sk

import rosenblatt as rb
from rosenblatt import metrics

pytestmark = pytest.mark.quick
AVERAGES = ["micro", "macro", "weighted", None]


def labels(seed, n=60, classes=4):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    return truth, np.where(rng.random(n) < 0.6, truth, rng.integers(0, classes, n))


# --- classification


@pytest.mark.parametrize("seed", range(6))  # the last predicts a class that truth lacks
def test_counts_like_scikit_learn(seed):
    n, classes = ((60, 4), (7, 6), (3, 3), (1, 2), (25, 9), (3, 3))[seed]
    t, p = labels(seed, n, classes) if seed < 5 else ([0, 0, 1], [0, 2, 1])
    assert metrics.accuracy(t, p) == pytest.approx(sk.accuracy_score(t, p))
    matrix = metrics.confusion_matrix(t, p, 9)
    assert np.array_equal(matrix, sk.confusion_matrix(t, p, labels=range(9))) and matrix.dtype == np.int64
    for average in AVERAGES:
        for ours, theirs in [
            (metrics.precision, sk.precision_score), (metrics.recall, sk.recall_score),
            (metrics.f1_score, sk.f1_score), (metrics.iou, sk.jaccard_score),
        ]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                want = theirs(t, p, average=average, zero_division=0)
            np.testing.assert_allclose(ours(t, p, average), want, rtol=1e-14, err_msg=f"{ours.__name__} {average}")


def test_binary_counts():
    t, p = np.array([1, 0, 1, 1, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0, 1])
    assert metrics.precision(t, p, "binary") == 0.5 and metrics.recall(t, p, "binary") == pytest.approx(2 / 3)
    assert metrics.f1_score(t, p, "binary") == pytest.approx(4 / 7)
    assert metrics.iou(t, p, "binary") == pytest.approx(0.4)
    assert metrics.precision([0, 0], [0, 0], "binary") == 0.0
    with pytest.raises(ValueError, match="precision: average 'binary' needs labels 0 and 1, got 2"):
        metrics.precision([0, 2], [0, 1], "binary")
    with pytest.raises(ValueError, match="recall: average must be one of"):
        metrics.recall(t, p, "mean")
    with pytest.raises(ValueError, match=r"confusion_matrix: labels must be in \[0, 2\), got 3"):
        metrics.confusion_matrix([0, 3], [0, 1], 2)
    with pytest.raises(ValueError, match=r"confusion_matrix: classes must be an integer, got 4\.5"):
        metrics.confusion_matrix([0, 3], [0, 1], 4.5)


@pytest.mark.parametrize("far", [10**5, 2**40, 2**63 - 1])
def test_counts_of_labels_that_are_far_apart(far):
    t, p = np.array([0, far, far, 7]), np.array([0, far, 7, 7])
    near = np.array([0, 2, 2, 1]), np.array([0, 2, 1, 1])
    for f in (metrics.precision, metrics.recall, metrics.f1_score, metrics.iou):
        for average in AVERAGES:
            assert np.array_equal(f(t, p, average), f(*near, average))


def test_top_k():
    rng = np.random.default_rng(0)
    t, s = rng.integers(0, 6, 80), rng.standard_normal((80, 6))
    for k in (1, 2, 5, 6):
        want = sk.top_k_accuracy_score(t, s, k=k, labels=range(6), normalize=True) if k < 6 else 1.0
        assert metrics.top_k_accuracy(t, s, k) == pytest.approx(want)
    assert metrics.top_k_accuracy([0, 1], [[0.5, 0.5], [0.5, 0.5]], 1) == 0.5  # a tie goes to the lower class
    for args, says in [
        (([0], [[1.0, 2.0]], 3), r"top_k_accuracy: k must be an integer in \[1, 2\], got 3"),
        (([2], [[1.0, 2.0]], 1), r"labels must be in \[0, 2\), got 2"),
        (([0, 1], [[1.0, 2.0]], 1), r"expected truth of shape \(1,\), got \(2,\)"),
    ]:
        with pytest.raises(ValueError, match=says):
            metrics.top_k_accuracy(*args)


@pytest.mark.parametrize("ties", [False, True])
def test_curves_like_scikit_learn(ties):
    rng = np.random.default_rng(1)
    for n in (3, 10, 200):
        t = np.append([0, 1], rng.integers(0, 2, n))
        s = rng.standard_normal(n + 2) + t
        s = np.round(s) if ties else s
        assert metrics.roc_auc(t, s) == pytest.approx(sk.roc_auc_score(t, s), rel=1e-13)
        assert metrics.average_precision(t, s) == pytest.approx(sk.average_precision_score(t, s), rel=1e-13)
    t, p = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)
    assert metrics.roc_auc(t, p) == pytest.approx(sk.roc_auc_score(t, p, multi_class="ovr"), rel=1e-13)
    for f in (metrics.roc_auc, metrics.average_precision):
        for bad in ([0, 0], [0, 2]):
            with pytest.raises(ValueError, match=f"{f.__name__}: expected"):
                f(bad, [0.1, 0.2])
        with pytest.raises(ValueError, match="without NaN"):
            f([0, 1], [np.nan, 0.2])


def test_perplexity():
    assert metrics.perplexity([3, 0], np.full((2, 4), 0.25)) == pytest.approx(4.0)
    rng = np.random.default_rng(2)
    p, t = rng.dirichlet(np.ones(5), 30), rng.integers(0, 5, 30)
    assert metrics.perplexity(t, p) == pytest.approx(math.exp(sk.log_loss(t, p, labels=range(5))))
    assert metrics.perplexity(t.reshape(5, 6), p.reshape(5, 6, 5)) == pytest.approx(metrics.perplexity(t, p))
    assert metrics.perplexity([0], [[0.0, 1.0]]) == math.inf
    with pytest.raises(ValueError, match=r"perplexity: expected probabilities in \[0, 1\]"):
        metrics.perplexity([0], [[-1.0, 2.0]])


# --- regression


def test_regression_like_scikit_learn():
    rng = np.random.default_rng(3)
    for shape in [(20,), (20, 3)]:
        t, p = rng.standard_normal((2, *shape))
        assert metrics.rmse(t, p) == pytest.approx(math.sqrt(((t - p) ** 2).mean()))
        assert metrics.mse(t, p) == pytest.approx(sk.mean_squared_error(t, p))
        assert metrics.mae(t, p) == pytest.approx(sk.mean_absolute_error(t, p))
        assert metrics.r2_score(t, p) == pytest.approx(sk.r2_score(t, p))
    assert metrics.r2_score([1.0, 1.0], [1.0, 1.0]) == 1.0 and metrics.r2_score([1.0, 1.0], [1.0, 2.0]) == 0.0
    with pytest.raises(ValueError, match="r2_score: expected at least two examples"):
        metrics.r2_score([1.0], [1.0])


# --- images and boxes


def test_psnr():
    """A grey level of 16 wrong everywhere, of 256: 20 log10(255 / 16) = 24.05 dB."""
    a = np.full((4, 4), 100, np.uint8)
    assert metrics.psnr(a, a + 16, 255) == pytest.approx(20 * math.log10(255 / 16))
    assert metrics.psnr(a, a) == math.inf
    with pytest.raises(ValueError, match="psnr: data_range must be above 0"):
        metrics.psnr(a, a + 1, 0)


def test_ssim():
    """Against the same definition on SciPy's Gaussian filter, and by hand for constant images."""
    rng = np.random.default_rng(4)
    t = rng.random((23, 31))
    p = np.clip(t + 0.2 * rng.standard_normal(t.shape), 0, 1)

    def blur(a):
        return ndimage.gaussian_filter(a, 1.5, truncate=3.5)[5:-5, 5:-5]

    mt, mp = blur(t), blur(p)
    vt, vp, cov = blur(t * t) - mt * mt, blur(p * p) - mp * mp, blur(t * p) - mt * mp
    c1, c2 = 0.01**2, 0.03**2
    want = ((2 * mt * mp + c1) * (2 * cov + c2) / ((mt**2 + mp**2 + c1) * (vt + vp + c2))).mean()
    assert metrics.ssim(t, p) == pytest.approx(want, rel=1e-10) and 0 < want < 0.95
    assert metrics.ssim(255 * t, 255 * p, 255) == pytest.approx(want, rel=1e-10)
    assert metrics.ssim(t, t) == pytest.approx(1.0)
    both = metrics.ssim(np.stack([t, t], 2), np.stack([p, t], 2))
    assert both == pytest.approx((want + 1) / 2)
    flat = metrics.ssim(np.full((11, 11), 0.5), np.full((11, 11), 0.25))
    assert flat == pytest.approx((0.25 + c1) / (0.3125 + c1), rel=1e-9)
    for bad in ({"window": 10}, {"window": 25}, {"sigma": 0}):
        with pytest.raises(ValueError, match="ssim: expected an odd window"):
            metrics.ssim(t, p, **bad)
    with pytest.raises(ValueError, match=r"ssim: expected images \[H,W\] or \[H,W,C\]"):
        metrics.ssim(np.zeros(5), np.zeros(5))


def test_box_iou():
    a = [[0, 0, 2, 2], [1, 1, 1, 1]]
    b = [[1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6], [0, 0, 1, 4], [1, 1, 1, 1]]
    np.testing.assert_allclose(metrics.box_iou(a, b), [[1 / 7, 1, 0, 2 / 6, 0], [0, 0, 0, 0, 0]])
    with pytest.raises(ValueError, match=r"box_iou: expected boxes as \(x0, y0, x1, y1\)"):
        metrics.box_iou([[1, 0, 0, 1]], b)
    with pytest.raises(ValueError, match=r"box_iou: expected boxes of shape \[N,4\]"):
        metrics.box_iou([1, 2, 3, 4], b)


def test_mean_average_precision_by_hand():
    """One class: scores .9 hit, .8 false, .7 hit, .6 second hit of a taken object, one object missed.

    Precision at recall 1/3, 2/3 is 1, 2/3; the area is 1/3 (1 + 2/3) = 5/9.
    """
    truth = [([0, 0], [[0, 0, 10, 10], [20, 20, 30, 30]]), ([0], [[0, 0, 10, 10]])]
    found = [
        ([0, 0, 0], [[0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 10, 10]], [0.9, 0.8, 0.6]),
        ([0], [[1, 0, 10, 10]], [0.7]),
    ]
    assert metrics.mean_average_precision(truth, found) == pytest.approx(5 / 9)
    # at IoU 0.95 only the duplicate box (the fourth by score) hits: precision 1/4 at recall 1/3
    assert metrics.mean_average_precision(truth, found, 0.95) == pytest.approx(1 / 12)
    assert metrics.mean_average_precision(truth, found, [0.5, 0.95]) == pytest.approx((5 / 9 + 1 / 12) / 2)
    more = [(np.append(truth[0][0], 1), [*truth[0][1], [0, 0, 1, 1]]), truth[1]]  # class 1 is never found
    assert metrics.mean_average_precision(more, found) == pytest.approx(5 / 18)
    # precision rises behind a false alarm, 0, 1/2, 2/3: at recall 1/2 the later 2/3 counts
    late = [([0, 0], [[50, 50, 60, 60], [0, 0, 10, 10]], [0.9, 0.8]), ([0], [[0, 0, 10, 10]], [0.7])]
    single = [([0], [[0, 0, 10, 10]]), truth[1]]
    assert metrics.mean_average_precision(single, late) == pytest.approx(2 / 3)
    nothing = (np.zeros(0, int), np.zeros((0, 4)), np.zeros(0))
    assert metrics.mean_average_precision(single, [late[0], nothing]) == pytest.approx(1 / 4)
    assert metrics.mean_average_precision(single, [nothing, nothing]) == 0.0
    perfect = [(t, b, np.arange(len(t)) + 1.0) for t, b in truth]
    assert metrics.mean_average_precision(truth, perfect) == 1.0
    with pytest.raises(ValueError, match="mean_average_precision: there is no object"):
        metrics.mean_average_precision([], [])
    with pytest.raises(ValueError, match="expected detections for 2 images, got 1"):
        metrics.mean_average_precision(truth, found[:1])


# --- codes, distributions, series


def test_compression():
    """Notes B:W17: a code of 2 for 784 pixels spares 782 of them, 99.745 %."""
    image, code = np.zeros((28, 28), np.float32), np.zeros(2, np.float32)
    assert metrics.compression_ratio(image, code) == 392.0
    assert metrics.space_saving(784, 2) == pytest.approx(782 / 784) and round(100 * 782 / 784, 3) == 99.745
    assert metrics.compression_ratio(b"x" * 30, 10) == 3.0
    with pytest.raises(ValueError, match="compression_ratio: expected sizes above 0, got 784 and 0"):
        metrics.compression_ratio(784, 0)
    with pytest.raises(TypeError, match="compression_ratio: expected the code as an array, bytes"):
        metrics.compression_ratio(784, 2.5)


def test_compression_of_files(tmp_path):
    (tmp_path / "a").write_bytes(b"0" * 100)
    (tmp_path / "b").write_bytes(b"0" * 8)
    assert metrics.compression_ratio(str(tmp_path / "a"), tmp_path / "b") == 12.5


def test_earth_mover_distance():
    rng = np.random.default_rng(5)
    for n, m in [(1, 1), (5, 9), (40, 40)]:
        a, b, u, v = rng.standard_normal(n), rng.standard_normal(m), rng.random(n), rng.random(m)
        assert metrics.earth_mover_distance(a, b) == pytest.approx(stats.wasserstein_distance(a, b))
        want = stats.wasserstein_distance(a, b, u, v)
        assert metrics.earth_mover_distance(a, b, u, v) == pytest.approx(want)
        assert metrics.earth_mover_distance(a, a[::-1]) == pytest.approx(0, abs=1e-15)
        assert metrics.earth_mover_distance(a, a + 2.5) == pytest.approx(2.5)  # a shift moves everything that far
    for args, says in [
        (([], [1.0]), "nothing to measure"),
        (([1.0], [1.0], [0.0]), "not all zero"),
        (([1.0], [1.0], [-1.0]), "not negative"),
        (([1.0], [1.0, 2.0], None, [1.0]), r"expected weights of shape \(2,\)"),
        (([np.inf], [1.0]), "finite positions"),
    ]:
        with pytest.raises(ValueError, match=f"earth_mover_distance: .*{says}"):
            metrics.earth_mover_distance(*args)


def test_reward_to_volatility():
    r = np.array([0.01, 0.03, -0.01, 0.02])
    want = 0.0125 / np.std(r, ddof=1)
    assert metrics.reward_to_volatility(r) == pytest.approx(want)
    assert metrics.reward_to_volatility(r, periods=252) == pytest.approx(want * math.sqrt(252))
    assert metrics.reward_to_volatility(r, 0.005) == pytest.approx(0.0075 / np.std(r, ddof=1))
    assert metrics.reward_to_volatility(r, np.full(4, 0.005)) == pytest.approx(0.0075 / np.std(r, ddof=1))
    for bad, says in [([0.01], "at least two returns"), ([0.1, 0.1, 0.1], "the returns do not vary")]:
        with pytest.raises(ValueError, match=f"reward_to_volatility: .*{says}"):
            metrics.reward_to_volatility(bad)


# --- trees: worked examples of the notes


def test_notes_w4_fair_coin():
    assert metrics.entropy([0.5, 0.5]) == 1.0


def test_notes_w5_fair_four_sided_die():
    assert metrics.entropy([0.25] * 4) == 2.0  # more than 1, against the printed "always in [0, 1]" (B:E7)


def test_notes_w6_loaded_coin():
    assert metrics.entropy([0.99, 0.01]) == pytest.approx(0.0807931359, abs=1e-10)


def test_entropy_gain_gini():
    assert metrics.entropy([1.0, 0.0]) == 0.0 and metrics.entropy([0.5, 0.5], math.e) == pytest.approx(math.log(2))
    assert metrics.entropy([0.2, 0.3, 0.5]) == pytest.approx(stats.entropy([0.2, 0.3, 0.5], base=2))
    y = [1, 1, 1, 0, 0, 0]
    assert metrics.information_gain(y, ["a", "a", "a", "b", "b", "b"]) == 1.0  # a perfect split
    assert metrics.information_gain(y, [0] * 6) == 0.0
    third = -(1 / 3 * math.log2(1 / 3) + 2 / 3 * math.log2(2 / 3))
    assert metrics.information_gain(y, [0, 0, 1, 1, 1, 0]) == pytest.approx(1 - third)
    rng = np.random.default_rng(6)
    a, b = rng.integers(0, 3, 90), rng.integers(0, 4, 90)
    assert metrics.information_gain(a, b, math.e) == pytest.approx(sk.mutual_info_score(a, b))
    assert metrics.gini(y) == 0.5 and metrics.gini([2, 2]) == 0.0 and metrics.gini(list("abcd")) == 0.75
    for bad in ([0.5, 0.6], [1.5, -0.5], [0.5, np.nan]):
        with pytest.raises(ValueError, match="entropy: expected probabilities that sum to 1"):
            metrics.entropy(bad)
    with pytest.raises(ValueError, match=r"information_gain: expected labels and groups \[N\]"):
        metrics.information_gain([0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="gini: there is nothing to measure"):
        metrics.gini([])


# --- what all share


def test_arguments():
    t, p = rb.Tensor([1.0, 2.0]), np.array([1.0, 4.0], np.float32)
    assert metrics.rmse(t, p) == pytest.approx(math.sqrt(2)) and type(metrics.rmse(t, p)) is float
    for f in (metrics.accuracy, metrics.precision, metrics.rmse, metrics.mae, metrics.r2_score, metrics.psnr):
        with pytest.raises(ValueError, match=r"expected a prediction of shape \(2,\) like the truth, got \(2, 1\)"):
            f([0, 1], [[0], [1]])
        with pytest.raises(ValueError, match="nothing to measure"):
            f(np.zeros(0, int), np.zeros(0, int))
        with pytest.raises(TypeError, match=r"expected the truth to be (integer labels|real numbers), got dtype <U1"):
            f(["a"], ["a"])
    with pytest.raises(TypeError, match="accuracy: expected the prediction to be integer labels, got dtype float64"):
        metrics.accuracy([0, 1], [0.2, 0.8])
    with pytest.raises(ValueError, match="accuracy: expected the truth of at least 0, got -1"):
        metrics.accuracy([-1, 1], [1, 1])
    with pytest.raises(ValueError, match="roc_auc: there is nothing to measure"):
        metrics.roc_auc(np.zeros(0, int), np.zeros((0, 0)))
    big = np.full(10, 1e8, np.float32)
    assert metrics.mse(big, big + 8) == 64.0  # computed in float64
