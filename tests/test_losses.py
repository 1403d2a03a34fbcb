"""Losses: worked numbers, extremes, weights, agreement with PyTorch and scikit-learn; loss modules; tasks.

The records of optable_losses.py check values, gradients of both orders and errors of every loss against NumPy.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

import rosenblatt as rb
from rosenblatt import Tensor, nn, ops

pytestmark = pytest.mark.quick
F32, F64 = np.float32, np.float64


def draw(*shape, seed=0, dtype=F64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# --- worked numbers


def test_losses_by_hand():
    p, t = np.array([2.0, -1.0, 0.5, 4.0]), np.array([1.0, -1.0, 2.0, 1.0])  # errors 1, 0, -1.5, 3
    assert ops.sse_loss(p, t) == pytest.approx(12.25)
    assert ops.half_sse_loss(p, t) == pytest.approx(6.125)
    assert ops.half_sse_loss(p, t, reduction="mean") == pytest.approx(12.25 / 8)  # 1/(2m)
    assert ops.mse_loss(p, t) == pytest.approx(12.25 / 4)
    assert ops.rmse_loss(p, t) == pytest.approx(1.75)
    assert ops.mae_loss(p, t) == pytest.approx(5.5 / 4)
    assert ops.huber_loss(p, t, reduction="none").tolist() == [0.5, 0.0, 1.0, 2.5]
    assert ops.huber_loss(p, t, delta=2.0, reduction="none").tolist() == [0.5, 0.0, 1.125, 4.0]
    assert ops.smooth_l1_loss(p, t, beta=2.0, reduction="none").tolist() == [0.25, 0.0, 0.5625, 2.0]
    assert ops.smooth_l1_loss(p, t, reduction="none").tolist() == [0.5, 0.0, 1.0, 2.5]
    s, y = np.array([0.5, 2.0, -1.0, 1.0]), np.array([1.0, 1.0, 1.0, -1.0])
    assert ops.hinge_loss(s, y, reduction="none").tolist() == [0.5, 0.0, 2.0, 2.0]
    assert ops.squared_hinge_loss(s, y, reduction="none").tolist() == [0.25, 0.0, 4.0, 4.0]
    np.testing.assert_allclose(ops.logistic_loss(s, y, reduction="none"), np.log1p(np.exp(-s * y)), rtol=1e-14)


def test_notes_c4_error_and_cost():
    """The linear 2-2-1 network: prediction .191 of 1, error 1/2 (.809)**2 = .3272405; its slope is prediction - 1."""
    p = Tensor(np.array([0.191]), requires_grad=True)
    e = nn.HalfSSELoss()(p, np.array([1.0]))
    e.backward()
    assert e.item() == pytest.approx(0.3272405, abs=1e-12) and p.grad.item() == pytest.approx(-0.809)
    # The cost J = 1/(2m) sum (h - y)**2 has the update (1/m) sum (h - y) x: m counts examples, not outputs.
    h = Tensor(draw(5, 2), requires_grad=True)
    y = draw(5, 2, seed=1)
    nn.HalfMSELoss()(h, y).backward()
    np.testing.assert_allclose(h.grad.data, (h.data - y) / 5, rtol=1e-14)


def test_notes_c2_error_surface():
    """The sigmoid neuron of C:2: E0 = 0.41581990101999 at w = b = -2."""
    x, y = np.array([0.5, 2.5]), np.array([0.2, 0.9])
    assert ops.half_sse_loss(ops.sigmoid(-2.0 * x - 2.0), y) == pytest.approx(0.41581990101999, abs=1e-13)


def test_notes_c6_cross_entropies():
    """Binary with its minus sign (printed without), categorical as -sum y ln p."""
    p, t = np.array([0.9, 0.2, 0.6]), np.array([1.0, 0.0, 0.0])
    want = -(math.log(0.9) + math.log(0.8) + math.log(0.4)) / 3
    assert ops.bce_loss(p, t) == pytest.approx(want) and want > 0
    assert ops.bce_with_logits(np.log(p / (1 - p)), t) == pytest.approx(want)
    q = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    want = -(math.log(0.7) + math.log(0.5)) / 2
    assert ops.categorical_cross_entropy(q, [0, 2]) == pytest.approx(want)
    assert ops.categorical_cross_entropy(q, np.eye(3)[[0, 2]]) == pytest.approx(want)
    assert ops.cross_entropy(np.log(q), np.array([0, 2])) == pytest.approx(want)
    assert ops.kl_div(np.log(q), np.full((2, 3), 1 / 3), reduction="none")[0] == pytest.approx(
        sum(math.log(1 / 3 / v) for v in q[0]) / 3
    )


def test_msle_costs_too_little_more_than_too_much():
    low, high = (ops.msle_loss(np.array([v]), np.array([100.0])) for v in (60.0, 140.0))
    assert low == pytest.approx(math.log(61 / 101) ** 2) and low > 2 * high


def test_focal_loss_by_hand():
    """Lin et al. 2017: at p = 0.9 and gamma 2 an easy example costs 100 times less than by cross-entropy."""
    z = np.array([math.log(9.0)])
    bce = ops.bce_with_logits(z, [1.0])
    assert ops.focal_loss(z, [1.0], alpha=None) == pytest.approx(bce / 100)
    assert ops.focal_loss(z, [1.0]) == pytest.approx(0.25 * bce / 100)
    assert ops.focal_loss(-z, [0.0]) == pytest.approx(0.75 * bce / 100)
    z = draw(4, 3)
    labels = np.array([2, 0, 1, 1])
    assert ops.focal_loss(z, labels) == pytest.approx(float(ops.focal_loss(z, np.eye(3)[labels])))


def test_cosine_loss_by_hand():
    a = np.array([[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0], [0.0, 0.0]])
    b = np.array([[3.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(ops.cosine_loss(a, b, reduction="none"), [0, 1 - math.sqrt(0.5), 2, 1], atol=1e-15)
    zero = Tensor(np.zeros((2, 3)), requires_grad=True)
    ops.cosine_loss(zero, np.ones((2, 3))).backward()
    assert np.isfinite(zero.grad.data).all()


def test_detection_counts_boxes_of_objects_only():
    logits, boxes = np.zeros((3, 2)), np.array([[0.0, 0, 0, 0], [0, 0, 0, 0], [0.5, 0, 0, 3]])
    truth = np.full((3, 4), 1.0)
    each = ops.detection_loss((logits, boxes), ([0, 1, 1], truth), reduction="none", box_weight=2.0)
    ln2 = math.log(2)
    np.testing.assert_allclose(each, [ln2, ln2 + 2 * 2.0, ln2 + 2 * (0.125 + 0.5 + 0.5 + 1.5)])
    with pytest.raises(TypeError, match="detection_loss: expected target to be a pair"):
        ops.detection_loss((logits, boxes), truth)


# --- extremes


@pytest.mark.parametrize("dtype", [F32, F64])
def test_nothing_overflows_at_a_thousand(dtype):
    z = np.array([1000.0, -1000.0, 1000.0, -1000.0], dtype)
    bits = np.array([1.0, 0.0, 0.0, 1.0], dtype)
    signs = 2 * bits - 1
    for name, target, want in [
        ("bce_with_logits", bits, [0, 0, 1000, 1000]),
        ("logistic_loss", signs, [0, 0, 1000, 1000]),
        ("hinge_loss", signs, [0, 0, 1001, 1001]),
        ("focal_loss", bits, [0, 0, 750, 250]),
        ("mae_loss", bits, [999, 1000, 1000, 1001]),
        ("huber_loss", bits, [998.5, 999.5, 999.5, 1000.5]),
    ]:
        x = Tensor(z, requires_grad=True)
        loss = getattr(ops, name)(x, target, reduction="none")
        assert loss.data.tolist() == want, name
        (g,) = rb.grad(loss.sum(), [x], create_graph=True)
        assert np.isfinite(g.data).all(), name
        if g.requires_grad:
            assert np.isfinite(rb.grad(g.sum(), [x])[0].data).all(), name
    rows = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]], dtype)
    for options in ({}, {"label_smoothing": 0.1}, {"class_weight": [1.0, 2.0]}):
        x = Tensor(rows, requires_grad=True)
        loss = ops.cross_entropy(x, np.array([0, 0]), **options)
        loss.backward()
        assert np.isfinite(loss.item()) and np.isfinite(x.grad.data).all()
    certain = Tensor(np.array([0.0, 1.0, 0.0, 1.0], dtype), requires_grad=True)
    loss = ops.bce_loss(certain, np.array([0.0, 1.0, 1.0, 0.0]), reduction="none")
    ops.sum(loss).backward()
    np.testing.assert_allclose(loss.data, [0, 0, 85.2, 85.2], atol=0.01)
    assert np.isfinite(certain.grad.data).all()
    assert ops.kl_div(np.array([-1000.0, 0.0], dtype), np.array([1.0, 0.0], dtype)) == 1000


def test_small_losses_keep_their_digits():
    """log(1 + e**-20) is far below the rounding of 1 in float32."""
    got = ops.bce_with_logits(np.array([20.0, -30.0, 5.0], F32), np.array([1.0, 0.0, 1.0], F32), reduction="none")
    np.testing.assert_allclose(got, np.log1p(np.exp([-20.0, -30.0, -5.0])), rtol=2e-6)
    np.testing.assert_allclose(ops.logistic_loss(np.array([25.0], F32), np.array([1.0], F32)), np.exp(-25.0), rtol=2e-6)


def test_slopes_where_there_is_none():
    """Documented choices: 0 for absolute error and RMSE at no error, for the hinge at margin 1."""
    x = Tensor([1.0, 2.0], requires_grad=True)
    for f in (ops.mae_loss, ops.rmse_loss, ops.huber_loss):
        assert rb.grad(f(x, [1.0, 2.0]), [x])[0].tolist() == [0.0, 0.0], f.__name__
    assert rb.grad(ops.hinge_loss(x, [1.0, 1.0]), [x])[0].tolist() == [0.0, 0.0]
    zero = Tensor([0.0], requires_grad=True)
    (g,) = rb.grad(ops.bce_with_logits(zero, [1.0]), [zero], create_graph=True)
    assert g.item() == -0.5 and rb.grad(g, [zero])[0].item() == 0.25  # also at the seam of the stable form


# --- weights


def test_sample_weights_repeat_examples():
    """Whole weights do what repeating examples does, in "mean" and "sum", for every loss."""
    n, counts = 5, np.array([1, 0, 3, 2, 1])
    again = np.repeat(np.arange(n), counts)
    rng = np.random.default_rng(3)
    real, unit, sign = rng.standard_normal((n, 3)), rng.uniform(0.1, 0.9, (n, 3)), rng.choice([-1.0, 1.0], (n, 3))
    rows, labels, bits = rng.dirichlet(np.ones(3), n), rng.integers(0, 3, n), rng.integers(0, 2, (n, 3)) + 0.0
    for name, p, t in [
        ("mse_loss", real, unit), ("sse_loss", real, unit), ("half_sse_loss", real, unit), ("rmse_loss", real, unit),
        ("msle_loss", unit, unit[::-1]), ("mae_loss", real, unit), ("huber_loss", real, unit),
        ("smooth_l1_loss", real, unit), ("hinge_loss", real, sign), ("squared_hinge_loss", real, sign),
        ("logistic_loss", real, sign), ("bce_loss", unit, bits), ("bce_with_logits", real, bits),
        ("focal_loss", real, bits), ("cosine_loss", real, unit), ("kl_div", np.log(rows), rows[::-1]),
        ("cross_entropy", real, labels), ("categorical_cross_entropy", rows, labels), ("cross_entropy", real, rows),
        ("perceptron_loss", real, labels),
    ]:
        f = getattr(ops, name)
        for reduction in ("mean", "sum"):
            want = f(p[again], t[again], reduction=reduction)
            got = f(p, t, reduction=reduction, sample_weight=counts)
            np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=f"{name} {reduction}")
    boxes, truth = rng.standard_normal((2, n, 4))
    got = ops.detection_loss((real, boxes), (labels, truth), sample_weight=counts)
    assert got == pytest.approx(float(ops.detection_loss((real[again], boxes[again]), (labels[again], truth[again]))))


def test_class_weights_are_sample_weights_of_the_label():
    z, labels, weight = draw(6, 3), np.array([0, 2, 1, 1, 0, 2]), [0.5, 2.0, 3.0]
    per_row = np.array(weight)[labels]
    for reduction in ("mean", "sum", "none"):
        want = ops.cross_entropy(z, labels, sample_weight=per_row, reduction=reduction)
        for target in (labels, np.eye(3)[labels]):
            got = ops.cross_entropy(z, target, class_weight=weight, reduction=reduction)
            np.testing.assert_allclose(got, want, rtol=1e-13)
        p = ops.softmax(z)
        got = ops.categorical_cross_entropy(p, labels, class_weight=weight, reduction=reduction)
        np.testing.assert_allclose(got, want, rtol=1e-13)
        bits = (labels == 1) + 0.0
        got = ops.bce_with_logits(z[:, 0], bits, class_weight=[0.5, 4.0], reduction=reduction)
        want = ops.bce_with_logits(z[:, 0], bits, sample_weight=0.5 + 3.5 * bits, reduction=reduction)
        np.testing.assert_allclose(got, want, rtol=1e-13)


def test_weights_pass_gradients_and_keep_the_dtype():
    w = np.array([1.0, 3.0])  # float64 weights beside a float32 loss
    x = Tensor(np.array([1.0, 2.0], F32), requires_grad=True)
    loss = ops.mse_loss(x, np.zeros(2, F32), sample_weight=w)
    loss.backward()
    assert loss.dtype == F32 and x.grad.tolist() == [0.5, 3.0]
    t = Tensor(w, requires_grad=True)  # a weight may be learnt
    (g,) = rb.grad(ops.mse_loss(np.array([1.0, 2.0]), np.zeros(2), sample_weight=t), [t])
    np.testing.assert_allclose(g.data, (np.array([1.0, 4.0]) - 3.25) / 4)


# --- other implementations


def test_like_scikit_learn():
    rng = np.random.default_rng(1)
    y, s, w = rng.choice([-1.0, 1.0], 50), rng.standard_normal(50), rng.uniform(0, 2, 50)
    assert ops.hinge_loss(s, y, sample_weight=w) == pytest.approx(sk.hinge_loss(y, s, sample_weight=w))
    a, b = rng.uniform(0, 9, (2, 50))
    assert ops.msle_loss(a, b, sample_weight=w) == pytest.approx(sk.mean_squared_log_error(b, a, sample_weight=w))
    assert ops.mae_loss(a, b, sample_weight=w) == pytest.approx(sk.mean_absolute_error(b, a, sample_weight=w))
    assert ops.rmse_loss(a, b, sample_weight=w) == pytest.approx(sk.root_mean_squared_error(b, a, sample_weight=w))
    p, labels = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    want = sk.log_loss(labels, p, sample_weight=w, labels=range(4))
    assert ops.categorical_cross_entropy(p, labels, sample_weight=w) == pytest.approx(want)


@pytest.mark.parametrize("r", ["none", "mean", "sum"])
def test_like_pytorch(r):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    rng = np.random.default_rng(2)
    z, t, unit, labels = draw(6, 4), draw(6, 4, seed=1), rng.uniform(0.1, 0.9, (6, 4)), rng.integers(0, 4, 6)
    rows, ones = rng.dirichlet(np.ones(4), 6), torch.ones(6)
    log_rows, others = np.log(rows), rows[::-1].copy()

    def compare(ours, theirs, p, target, **options):
        renamed = dict(options)
        if "class_weight" in renamed:
            renamed["weight"] = torch.tensor(renamed.pop("class_weight"), dtype=torch.float64)
        a, b = Tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
        x = ours(a, target, reduction=r, **options)
        y = theirs(b, torch.tensor(target), reduction=r, **renamed)
        np.testing.assert_allclose(x.data, y.detach().numpy(), rtol=1e-12)
        x.sum().backward()
        y.sum().backward()
        np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=1e-10, atol=1e-14)

    compare(ops.huber_loss, f.huber_loss, z, t, delta=0.7)
    compare(ops.smooth_l1_loss, f.smooth_l1_loss, z, t, beta=0.7)
    compare(ops.bce_with_logits, f.binary_cross_entropy_with_logits, z, unit)
    compare(ops.bce_loss, f.binary_cross_entropy, unit, rng.uniform(0, 1, (6, 4)))
    compare(ops.logistic_loss, f.soft_margin_loss, z, np.sign(t))
    compare(ops.cosine_loss, lambda a, b, **o: f.cosine_embedding_loss(a, b, ones, **o), z, t)
    for e in (0.0, 0.2):
        compare(ops.cross_entropy, f.cross_entropy, z, labels, label_smoothing=e)
        compare(ops.cross_entropy, f.cross_entropy, z, rows, label_smoothing=e)
        compare(ops.cross_entropy, f.cross_entropy, z, labels, label_smoothing=e, class_weight=[0.5, 1.0, 2.0, 3.0])
    if r == "mean":
        compare(ops.kl_div, lambda a, b, reduction: f.kl_div(a, b, reduction="batchmean"), log_rows, others)


# --- modules


def classes():
    public = [getattr(nn, n) for n in nn.__all__]
    return [c for c in public if isinstance(c, type) and issubclass(c, nn.Loss) and c is not nn.Loss]


def arguments(loss):
    p, t = np.random.default_rng(0).uniform(0.1, 0.9, (2, 4, 3))
    t = t / t.sum(1, keepdims=True)
    if isinstance(loss, nn.DetectionLoss):
        return (p, t[:, [0, 1, 2, 0]]), (np.array([0, 2, 1, 1]), p[:, [0, 1, 2, 0]])
    if loss.classifies:
        return p / p.sum(1, keepdims=True), np.array([0, 2, 1, 1])
    if isinstance(loss, (nn.HingeLoss, nn.SquaredHingeLoss, nn.LogisticLoss)):
        return p, np.sign(t - 0.3)
    return p, np.round(t) if isinstance(loss, nn.FocalLoss) else t


@pytest.mark.parametrize("kind", classes(), ids=lambda c: c.__name__)
def test_loss_modules(kind):
    """Every module forwards its reduction and weights; "none" weighted and averaged by hand is "mean"."""
    whole, each, total = kind(reduction="mean"), kind(reduction="none"), kind(reduction="sum")
    p, t = arguments(whole)
    values = each(p, t)
    weight = np.arange(1.0, 5.0)
    if kind is nn.RMSELoss:
        values = values**2
    spread = np.broadcast_to(weight.reshape(4, *[1] * (values.ndim - 1)), values.shape)
    root = np.sqrt if kind is nn.RMSELoss else (lambda v: v)
    np.testing.assert_allclose(whole(p, t), root(values.mean()), rtol=1e-12)
    np.testing.assert_allclose(total(p, t), root(values.sum()), rtol=1e-12)
    np.testing.assert_allclose(whole(p, t, weight), root((values * spread).sum() / spread.sum()), rtol=1e-12)
    assert f"reduction={whole.reduction!r}" in repr(whole)
    with pytest.raises(ValueError, match=f"{kind.__name__}: reduction must be"):
        kind(reduction="max")


def test_loss_modules_pass_their_options():
    p, t = np.array([[3.0, -1.0, 0.5]]), np.array([[0.0, 0.5, 0.0]])
    for loss, want in [
        (nn.HuberLoss(delta=0.5), ops.huber_loss(p, t, delta=0.5)),
        (nn.SmoothL1Loss(beta=0.5), ops.smooth_l1_loss(p, t, beta=0.5)),
        (nn.FocalLoss(gamma=1.0, alpha=None), ops.focal_loss(p, np.round(t), gamma=1.0, alpha=None)),
        (nn.CosineLoss(axis=0), ops.cosine_loss(p, t, axis=0)),
        (nn.BCEWithLogitsLoss(class_weight=[1, 5]), ops.bce_with_logits(p, t, class_weight=[1, 5])),
    ]:
        got = loss(p, np.round(t) if isinstance(loss, nn.FocalLoss) else t)
        assert got == want, loss
    q, labels = np.abs(p) / 5, np.array([1])
    assert nn.BCELoss(class_weight=[1, 5])(q, t) == ops.bce_loss(q, t, class_weight=[1, 5])
    smooth = nn.CrossEntropyLoss(class_weight=[1, 2, 3], label_smoothing=0.3)
    assert smooth(p, labels) == ops.cross_entropy(p, labels, class_weight=[1, 2, 3], label_smoothing=0.3)
    boxes = np.ones((1, 4))
    got = nn.DetectionLoss(box_weight=3.0, background=None, beta=0.5)((p, boxes), (np.array([0]), 3 * boxes))
    assert got == ops.detection_loss((p, boxes), ([0], 3 * boxes), box_weight=3.0, background=None, beta=0.5)
    weighed = nn.CategoricalCrossEntropyLoss("sum", class_weight=[1, 4, 1])(q, labels)
    assert weighed == pytest.approx(-4 * math.log(0.2))


CAPTURED = [
    nn.MSELoss(), nn.RMSELoss(), nn.HuberLoss(), nn.MAELoss(), nn.CosineLoss(),
    nn.BCEWithLogitsLoss(class_weight=[1, 3]), nn.FocalLoss(), nn.CrossEntropyLoss(label_smoothing=0.1),
    nn.CrossEntropyLoss(class_weight=[1, 2, 3]), nn.PerceptronLoss(), nn.LogisticLoss(),
]


@pytest.mark.parametrize("loss", CAPTURED, ids=lambda v: type(v).__name__)
def test_capture_changes_no_bit(loss):
    """With weights, noise, weight and activity penalties in the step; batches and labels differ from call to call."""
    runs = []
    for wrapped in (lambda f: f, rb.capture):
        rb.manual_seed(3)
        rng = np.random.default_rng(0)
        model = nn.Sequential(
            nn.GaussianNoise(0.1), nn.Linear(5, 6, activation="tanh"), nn.ActivityL1(0.01), nn.SaltPepperNoise(0.2),
            nn.Linear(6, 3),
        )
        optimizer = rb.optim.SGD(model.parameters(), 0.05)
        penalty, activity = nn.L2(0.01) + nn.L1(0.001), nn.ActivityPenalty()

        def step(x, y, w, model=model, optimizer=optimizer, penalty=penalty, activity=activity):
            optimizer.zero_grad()
            total = loss(model(x), y, w) + penalty(model) + activity(model)
            total.backward()
            optimizer.step()
            return total

        step, values = wrapped(step), []
        for _ in range(7):
            x, w = Tensor(rng.standard_normal((8, 5)).astype(F32)), rng.uniform(0, 1, 8).astype(F32)
            y = rng.integers(0, 3, 8) if loss.classifies else rng.integers(0, 2, (8, 3)).astype(F32)
            values.append(step(x, 2 * y - 1 if isinstance(loss, nn.LogisticLoss) else y, w).item())
        runs.append((values, [p.data.tobytes() for p in model.parameters()]))
    assert runs[0] == runs[1] and len(set(runs[0][0])) == 7


# --- tasks


def test_task_regression():
    task = nn.for_task("regression")
    assert (task.activation, type(task.loss), task.metric) == ("linear", nn.MSELoss, "rmse")
    out, y = np.array([[1.0], [3.0]]), task.targets([0, 1], (2, 1), F64)
    assert y.tolist() == [[0.0], [1.0]] and float(task.loss(out, y)) == 2.5
    assert task.score(out, y) == pytest.approx(math.sqrt(2.5)) and task.decide(out) is out
    assert task.activate(out) is out


def test_task_binary():
    task = nn.for_task("binary")
    assert (task.activation, type(task.loss), task.metric) == ("sigmoid", nn.BCEWithLogitsLoss, "accuracy")
    out, y = np.array([[2.0], [-1.0], [0.5]]), task.targets(np.array([1, 0, 0]), (3, 1), F64)
    assert task(out, y).item() == pytest.approx(
        -np.log([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1)), 1 - 1 / (1 + math.exp(-0.5))]).mean()
    )
    assert task.decide(out).tolist() == [[1], [0], [1]] and task.score(out, y) == pytest.approx(2 / 3)
    np.testing.assert_allclose(task.activate(out), 1 / (1 + np.exp(-out)))
    with pytest.raises(ValueError, match=r"for_task\('binary'\): expected targets 0 and 1, got values from -1"):
        task.targets([-1, 1])
    with pytest.raises(ValueError, match=r"expected targets of shape \(2, 3\), got \(2,\)"):
        task.targets([0, 1], (2, 3))


def test_task_multi_class():
    task = nn.for_task("multi-class")
    assert (task.activation, type(task.loss), task.metric) == ("softmax", nn.CrossEntropyLoss, "accuracy")
    out, y = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]), task.targets(np.array([0, 2], np.int8))
    e = np.exp(out) / np.exp(out).sum(1, keepdims=True)
    assert y.dtype == np.int64 and float(task.loss(out, y)) == pytest.approx(-(np.log(e[0, 0]) + np.log(e[1, 2])) / 2)
    assert task.decide(out).tolist() == [0, 1] and task.score(out, y) == 0.5
    np.testing.assert_allclose(task.activate(out), e)
    with pytest.raises(TypeError, match=r"for_task\('multi-class'\): expected integer labels \[N\], got dtype float64"):
        task.targets([0.0, 1.0])


def test_task_multi_label():
    task = nn.for_task("multi-label")
    assert (task.activation, type(task.loss), task.metric) == ("sigmoid", nn.BCEWithLogitsLoss, "accuracy")
    out, y = draw(3, 4), task.targets(np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]), (3, 4), F64)
    p = 1 / (1 + np.exp(-out))
    assert float(task.loss(out, y)) == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
    assert task.score(out, y) == pytest.approx(((out >= 0) == y).mean())
    with pytest.raises(ValueError, match=r"expected targets \[N,K\], got shape \(3,\)"):
        task.targets([0, 1, 1])


def test_task_names_and_training():
    with pytest.raises(ValueError, match="for_task: expected one of regression, binary, multi-class, multi-label"):
        nn.for_task("x")
    rb.manual_seed(1)
    task, x = nn.for_task("binary"), draw(64, 2, dtype=F32)
    y = task.targets(x[:, 0] > x[:, 1], (64, 1))
    model = nn.Linear(2, 1)
    optimizer = rb.optim.Adam(model.parameters(), 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        task(model(Tensor(x)), y).backward()
        optimizer.step()
    assert task.score(model(x), y) > 0.95
    p = task.complete(model)(x).data
    assert p.min() >= 0 and p.max() <= 1 and np.array_equal(p >= 0.5, task.decide(model(x)) == 1)


@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (0, 3), (300, 70)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize("dtypes", [(F32, F32), (F32, F64), (F64, F32), (F64, F64)], ids=str)
def test_mse_is_its_composed_form(shape, reduction, wanted, dtypes):
    """The one-pass form has the bits of square(p - t) reduced, and second-order gradients through both inputs."""
    if reduction == "mean" and 0 in shape:
        with pytest.raises(ValueError, match="nothing to average"):
            ops.mse_loss(np.zeros(shape, F32), np.zeros(shape, F32))
        return
    arrays = [draw(*shape, seed=s).astype(t) for s, t in zip((1, 2), dtypes, strict=True)]

    def run(f):
        p, t = (Tensor(a.copy(), requires_grad=w) for a, w in zip(arrays, wanted, strict=True))
        inputs = [x for x, w in zip((p, t), wanted, strict=True) if w]
        loss = f(p, t)
        first = rb.grad(loss, inputs, create_graph=True)
        total = ops.mul(loss, 1.0)
        for g in first:
            total = ops.add(total, ops.mul(loss, ops.sum(ops.square(g))))
        second = rb.grad(total, inputs)
        return loss.numpy(), [g.numpy() for g in first], [g.numpy() for g in second]

    reduce = ops.mean if reduction == "mean" else ops.sum
    one = run(lambda p, t: ops.mse_loss(p, t, reduction=reduction))
    many = run(lambda p, t: reduce(ops.square(ops.sub(p, t))))
    assert one[0].tobytes() == many[0].tobytes()
    for a, b in zip(one[1], many[1], strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    for a, b in zip(one[2], many[2], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4 if F32 in dtypes else 1e-12)


@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (300, 70)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_logistic_loss_from_logits_is_its_composed_form(shape, reduction, dtype):
    """The one-pass form has the bits of the terms reduced; gradients of both orders through logits and targets."""
    z0, t0 = draw(*shape, seed=1).astype(dtype) * dtype(9), np.abs(draw(*shape, seed=2)).astype(dtype) % dtype(1)
    reduce = ops.mean if reduction == "mean" else ops.sum

    def composed(z, t):
        return reduce(ops.add(ops.sub(ops.relu(z), ops.mul(z, t)), ops.log1p(ops.exp(ops.neg(ops.abs(z))))))

    def run(f):
        inputs = z, t = Tensor(z0.copy(), requires_grad=True), Tensor(t0.copy(), requires_grad=True)
        loss = f(z, t)
        plain = rb.grad(loss, inputs, retain_graph=True)
        first = rb.grad(loss, inputs, create_graph=True)
        total = ops.add(loss, ops.mul(loss, ops.add(*(ops.sum(ops.square(g)) for g in first))))
        return loss.numpy(), [g.numpy() for g in (*plain, *first, *rb.grad(total, inputs))]

    one = run(lambda z, t: ops.bce_with_logits(z, t, reduction=reduction))
    many = run(composed)
    assert one[0].dtype == dtype and one[0].tobytes() == many[0].tobytes()
    rounding = 1e-6 if dtype == F32 else 1e-14
    for i, (a, b) in enumerate(zip(one[1], many[1], strict=True)):
        assert a.dtype == b.dtype
        slack = rounding if i < 4 else 100 * rounding
        np.testing.assert_allclose(a, b, rtol=slack, atol=slack * np.abs(b).max())


def test_masked_logits_and_class_weights():
    """Classes that a mask gave -inf: weights of the other classes do not make NaN of them."""
    logits = Tensor(np.array([[1.0, 2.0, -np.inf], [0.0, 1.0, 2.0]]), requires_grad=True)
    labels, w = np.array([0, 2]), np.array([1.0, 2.0, 3.0])
    each = ops.cross_entropy(logits.data, labels, reduction="none")
    loss = ops.cross_entropy(logits, labels, class_weight=w)
    assert float(loss) == pytest.approx((each * w[labels]).sum() / w[labels].sum(), rel=1e-15)
    loss.backward()
    p = ops.softmax(logits.data)
    np.testing.assert_allclose(logits.grad.data, (p - np.eye(3)[labels]) * w[labels, None] / 4.0, atol=1e-15)


def test_divergence_from_impossible_classes():
    log_q = Tensor(np.log(np.array([[0.25, 0.75, 1.0]])) + np.array([0.0, 0.0, -np.inf]), requires_grad=True)
    loss = ops.kl_div(log_q, np.array([[0.5, 0.5, 0.0]]))
    assert float(loss) == pytest.approx(0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))
    loss.backward()
    assert log_q.grad.data.tolist() == [[-0.5, -0.5, 0.0]]
    assert float(ops.kl_div(log_q.data, np.array([[0.5, 0.0, 0.5]]))) == math.inf


def test_logarithmic_error_of_small_numbers():
    assert float(ops.msle_loss(np.array([1e-9], F32), np.array([3e-9], F32))) == pytest.approx(4e-18, rel=1e-5)
