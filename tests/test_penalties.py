"""Penalties against formulas in NumPy, their gradients against differences; noise: distribution, mode, stream."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Tensor, nn, ops

pytestmark = pytest.mark.quick
F32, F64 = np.float32, np.float64


def network(seed=0, activation="sigmoid"):
    rb.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3, activation=activation), nn.Linear(3, 2)).astype(F64)


def arrays(model):
    return [p.data for p in model.parameters()]


def slopes(model, penalty):
    """Gradients of penalty(model) per parameter, and central differences of its value."""
    model.zero_grad()
    penalty(model).backward()
    got, want = [], []
    for p in model.parameters():
        got.append(np.zeros(p.shape) if p.grad is None else p.grad.data)
        numeric = np.zeros(p.shape)
        for i in np.ndindex(p.shape):
            old = p.data[i]
            values = []
            for step in (1e-6, -1e-6):
                p.data[i] = old + step
                values.append(penalty(model).item())
            p.data[i] = old
            numeric[i] = (values[0] - values[1]) / 2e-6
        want.append(numeric)
    return got, want


# --- penalties of weights


def test_weight_penalties_by_formula():
    model = network()
    w0, b0, w1, b1 = arrays(model)
    weights, everything = np.concatenate([w0.ravel(), w1.ravel()]), [w0, b0, w1, b1]
    for penalty, want in [
        (nn.L1(0.3), 0.3 * np.abs(weights).sum()),
        (nn.L2(0.3), 0.3 * (weights**2).sum()),
        (nn.WeightDecay(0.3), 0.15 * (weights**2).sum()),
        (nn.ElasticNet(0.3, alpha=0.25), 0.3 * (0.75 * np.abs(weights).sum() + 0.25 * (weights**2).sum())),
        (nn.ElasticNet(0.3, alpha=0.0), 0.3 * np.abs(weights).sum()),  # the notes' alpha: 0 lasso, 1 ridge
        (nn.ElasticNet(0.3, alpha=1.0), 0.3 * (weights**2).sum()),
        (nn.L2(0.3, biases=True), 0.3 * sum((a**2).sum() for a in everything)),
        (nn.L1(0.1) + nn.L2(0.2) + nn.L1(0.3), 0.4 * np.abs(weights).sum() + 0.2 * (weights**2).sum()),
    ]:
        assert penalty(model).item() == pytest.approx(want, rel=1e-13), penalty
        got, numeric = slopes(model, penalty)
        for a, b in zip(got, numeric, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8, err_msg=repr(penalty))


def test_a_penalty_of_ones_own_counts_weights_unless_told_otherwise():
    class Cubes(nn.Penalty):
        def of(self, parameter):
            return ops.sum(parameter * parameter * parameter)

    model = network()
    for penalty, counted in ((Cubes(), arrays(model)[::2]), (Cubes(biases=True), arrays(model))):
        assert penalty(model).item() == pytest.approx(sum((a**3).sum() for a in counted), rel=1e-12)


def test_weight_decay_is_the_optimisers():
    """WeightDecay in the loss and SGD's weight_decay (on the weights) give the same step."""
    steps = []
    for penalty, decay in ((nn.WeightDecay(0.1, biases=True), 0.0), (None, 0.1)):
        model = network()
        x = np.random.default_rng(0).standard_normal((5, 4))
        optimizer = rb.optim.SGD(model.parameters(), 0.1, weight_decay=decay)
        loss = ops.sum(ops.square(model(Tensor(x))))
        (loss if penalty is None else loss + penalty(model)).backward()
        optimizer.step()
        steps.append(arrays(model))
    for a, b in zip(*steps, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_soft_sharing():
    a, b = network(0), network(1)
    want = {n: ((p.data - q.data) ** 2).sum() for (n, p), (_, q) in zip(
        a.named_parameters(), b.named_parameters(), strict=True)}
    assert nn.SoftSharing(a, b, 0.5)().item() == pytest.approx(0.5 * sum(want.values()))
    two = nn.SoftSharing(a, b, {"0.weight": 2.0, "1.bias": 3.0})
    assert two(a).item() == pytest.approx(2 * want["0.weight"] + 3 * want["1.bias"])
    two().backward()
    wa, wb = a[0].weight, b[0].weight
    np.testing.assert_allclose(wa.grad.data, 4 * (wa.data - wb.data))
    np.testing.assert_allclose(wb.grad.data, -wa.grad.data)
    with pytest.raises(ValueError, match="SoftSharing: expected names and shapes in common"):
        nn.SoftSharing(a, b, {"2.weight": 1.0})
    with pytest.raises(ValueError, match="the modules share no parameter"):
        nn.SoftSharing(a, nn.Linear(7, 7), 1.0)


def test_penalty_errors():
    for make, says in [
        (lambda: nn.L1(-1.0), "L1: weight must be a number of at least 0, got -1.0"),
        (lambda: nn.L2(float("nan")), "L2: weight must be"),
        (lambda: nn.ElasticNet(1.0, 1.5), "ElasticNet: alpha must be a number of at least 0 and at most 1.0"),
        (lambda: nn.ActivityKL(1.0, 1.0), r"ActivityKL: rho must be in \(0, 1\), got 1.0"),
        (lambda: nn.Contractive(method="x"), "Contractive: method must be"),
        (lambda: nn.Contractive(method="closed")(nn.Flatten(), np.ones((2, 3))), "closed form needs a Linear encoder"),
        (lambda: nn.Contractive()(nn.Linear(3, 2), np.ones(3)), r"Contractive: expected x \[N,...\]"),
        (lambda: nn.ActivityPenalty()(nn.Linear(3, 2)), "ActivityPenalty: expected ActivityL1 or ActivityKL layers"),
    ]:
        with pytest.raises(ValueError, match=says):
            make()
    with pytest.raises(TypeError, match="L2: expected a Module, got list"):
        nn.L2(1.0)([])
    assert nn.L2(1.0)(nn.Flatten()).item() == 0.0


# --- penalties of activities


def test_activity_penalties():
    rb.manual_seed(0)
    rho = 0.2
    model = nn.Sequential(
        nn.Linear(4, 6, activation="sigmoid"), nn.ActivityKL(0.7, rho), nn.Linear(6, 3), nn.ActivityL1(0.3)
    ).astype(F64)
    x = np.random.default_rng(1).standard_normal((5, 4))
    penalty = nn.ActivityPenalty()

    def term(module):
        module(Tensor(x))
        return penalty(module)

    h = 1 / (1 + np.exp(-(x @ model[0].weight.data.T + model[0].bias.data)))
    z = h @ model[2].weight.data.T + model[2].bias.data
    m = h.mean(0)
    kl = (rho * np.log(rho / m) + (1 - rho) * np.log((1 - rho) / (1 - m))).sum()
    assert term(model).item() == pytest.approx(0.7 * kl + 0.3 * np.abs(z).sum() / 5, rel=1e-12)
    for a, b in zip(*slopes(model, term), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    model(Tensor(x))
    assert penalty(model).item() > 0 and penalty(model).item() == 0  # a pass counts once
    model.eval()
    assert term(model).item() == 0
    assert np.array_equal(model[1](h), h)


def test_sparsity_penalty_is_least_at_rho_and_survives_the_ends():
    layer = nn.ActivityKL(1.0, 0.1)
    values = [float(layer.of(np.full((2, 1), v))) for v in (0.02, 0.1, 0.3, 0.0, 1.0)]
    assert values[1] == pytest.approx(0, abs=1e-12) and min(values[0], values[2], *values[3:]) > 0.05
    assert np.isfinite(values).all()


@pytest.mark.parametrize("activation", [None, "sigmoid", "tanh", "relu"])
def test_contractive(activation):
    """Closed form and second-order form against the Jacobian by finite differences; both differentiable."""
    rb.manual_seed(2)
    encoder = nn.Linear(4, 3, activation=activation).astype(F64)
    x = np.random.default_rng(3).standard_normal((5, 4))

    def jacobian(n):
        columns = []
        for i in range(4):
            step = np.zeros(4)
            step[i] = 1e-6
            columns.append((encoder((x[n] + step)[None]).data - encoder((x[n] - step)[None]).data)[0] / 2e-6)
        return np.stack(columns, 1)

    want = 0.5 * np.mean([(jacobian(n) ** 2).sum() for n in range(5)])
    closed, general = nn.Contractive(0.5, "closed"), nn.Contractive(0.5, "gradient")
    assert closed(encoder, x).item() == pytest.approx(want, rel=1e-7)
    assert general(encoder, x).item() == pytest.approx(want, rel=1e-7)
    assert nn.Contractive(0.5)(encoder, x).item() == closed(encoder, x).item()
    for penalty in (closed, general):
        for a, b in zip(*slopes(encoder, lambda m, p=penalty: p(m, x)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    with rb.no_grad():
        assert general(encoder, x).item() == pytest.approx(want, rel=1e-7)


def test_contractive_on_a_deep_encoder():
    model = network(4, "tanh")
    x = np.random.default_rng(5).standard_normal((3, 4))
    w0, b0, w1, _ = arrays(model)
    h = np.tanh(x @ w0.T + b0)
    want = np.mean([((w1 @ np.diag(1 - v**2) @ w0) ** 2).sum() for v in h])
    assert nn.Contractive()(model, x).item() == pytest.approx(want, rel=1e-12)
    for a, b in zip(*slopes(model, lambda m: nn.Contractive()(m, x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_max_norm_projection():
    """Slices w[j] longer than the limit are scaled down to it, the others keep their bits."""
    w = np.random.default_rng(6).standard_normal((3, 3, 3, 2)).astype(F32) * 0.3
    w[0] *= 20
    norms = np.sqrt((w.astype(F64) ** 2).sum((1, 2, 3)))
    projected = w.copy()
    rb.optim.MaxNorm(2.0)(projected)
    assert norms[0] > 2 > max(norms[1:])
    np.testing.assert_allclose(projected[0], w[0] * (2 / norms[0]), rtol=1e-5)
    assert np.array_equal(projected[1:], w[1:])


# --- noise


NOISE = [nn.GaussianNoise(0.5), nn.MaskingNoise(0.3), nn.SaltPepperNoise(0.3, -1.0, 2.0)]


@pytest.mark.parametrize("layer", NOISE, ids=repr)
def test_noise_layers(layer):
    x = np.full((400, 50), 0.25, F32)
    t = Tensor(x, requires_grad=True)
    layer.train()
    y = layer(t)
    again = layer(t).data
    assert y.shape == x.shape and y.dtype == F32 and not np.array_equal(y.data, again)
    rb.manual_seed(11)
    first = layer(x)
    rb.manual_seed(11)
    assert np.array_equal(layer(x), first) and type(first) is np.ndarray
    changed = y.data != x
    (g,) = rb.grad(y.sum(), [t])
    if isinstance(layer, nn.GaussianNoise):
        noise = y.data.astype(F64) - 0.25
        assert abs(noise.mean()) < 0.02 and abs(noise.std() - 0.5) < 0.01
        assert (g.data == 1).all()
    else:
        assert abs(changed.mean() - 0.3) < 0.015
        values = np.unique(y.data[changed]).tolist()
        assert values == ([0.0] if isinstance(layer, nn.MaskingNoise) else [-1.0, 2.0])
        assert np.array_equal(g.data, 1.0 - changed)
        if len(values) == 2:
            assert abs((y.data == 2.0).mean() - 0.15) < 0.01
    layer.eval()
    assert layer(t) is t
    layer.train()
    assert layer(x.astype(F64)).dtype == F64


def test_noise_options():
    for make, says in [
        (lambda: nn.GaussianNoise(-1), "GaussianNoise: std must be a number of at least 0, got -1"),
        (lambda: nn.MaskingNoise(1.5), "MaskingNoise: p must be a number of at least 0 and at most 1.0"),
        (lambda: nn.SaltPepperNoise(-0.1), "SaltPepperNoise: p must be"),
        (lambda: nn.WeightNoise(-1), "WeightNoise: std must be"),
        (lambda: nn.GradientNoise(-1), "GradientNoise: eta must be"),
    ]:
        with pytest.raises(ValueError, match=says):
            make()
    x = np.ones((3, 4), F32)
    assert nn.GaussianNoise(0.0)(x) is x and nn.MaskingNoise(0.0)(x) is x
    assert not nn.MaskingNoise(1.0)(x).any() and set(nn.SaltPepperNoise(1.0, 5.0, 7.0)(x).ravel()) == {5.0, 7.0}


def test_weight_noise():
    model = nn.Linear(30, 40)
    weight, bias = model.weight.data, model.bias.data
    kept = weight.copy()
    x = np.ones((2, 30), F32)
    with nn.WeightNoise(0.1)(model):
        noise = model.weight.data - kept
        assert abs(noise.std() - 0.1) < 0.01 and model.bias.data is bias
        noisy = model.weight.data.copy()
        ops.sum(ops.square(model(x))).backward()
    assert model.weight.data is weight and np.array_equal(weight, kept)
    out = x.astype(F64) @ noisy.T.astype(F64) + bias
    np.testing.assert_allclose(model.weight.grad.data, 2 * out.T @ x, rtol=1e-4)  # the slope at the noisy weights
    with pytest.raises(KeyError), nn.WeightNoise(0.1, biases=True)(model):
        assert model.bias.data is not bias
        raise KeyError
    assert model.weight.data is weight and model.bias.data is bias


def test_gradient_noise():
    model = nn.Linear(100, 50)
    noise = nn.GradientNoise(eta=0.3, gamma=0.55)
    for t in range(3):
        ops.sum(model(np.ones((1, 100), F32))).backward()
        model.bias.grad = None
        want = np.sqrt(0.3 / (1 + t) ** 0.55)
        assert noise.std() == pytest.approx(want)
        noise(model.parameters())
        added = model.weight.grad.data.astype(F64) - 1.0
        assert abs(added.std() / want - 1) < 0.05 and abs(added.mean()) < 0.05 and model.bias.grad is None
        model.zero_grad()
    assert noise.step == 3


def test_label_noise():
    labels = np.random.default_rng(0).integers(0, 5, 20_000)
    noisy = nn.flip_labels(labels, 5, 0.3)
    changed = noisy != labels
    assert abs(changed.mean() - 0.3) < 0.015 and noisy.dtype == np.int64
    shift = np.bincount((noisy[changed] - labels[changed]) % 5, minlength=5) / changed.sum()
    assert shift[0] == 0 and np.abs(shift[1:] - 0.25).max() < 0.03
    assert np.array_equal(nn.flip_labels(labels, 5, 0.0), labels)
    assert (nn.flip_labels(labels, 2 + labels.max(), 1.0) != labels).all()
    for args, kind, says in [
        (([0, 5], 5, 0.1), ValueError, r"flip_labels: labels must be in \[0, 5\)"),
        (([0], 1, 0.1), ValueError, "flip_labels: classes must be an integer of at least 2"),
        (([0], 2, 1.1), ValueError, "flip_labels: p must be"),
        (([0.5], 2, 0.1), TypeError, "flip_labels: expected integer labels"),
    ]:
        with pytest.raises(kind, match=says):
            nn.flip_labels(*args)


def test_label_smoothing():
    want = [[0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05]]
    np.testing.assert_allclose(nn.smooth_labels([1, 0], 0.2, classes=4), want, rtol=1e-6)
    z, labels = np.random.default_rng(0).standard_normal((5, 3)), np.array([0, 1, 2, 1, 0])
    soft = nn.smooth_labels(np.eye(3)[labels], 0.1)
    assert ops.cross_entropy(z, soft) == pytest.approx(float(ops.cross_entropy(z, labels, label_smoothing=0.1)))
    with pytest.raises(ValueError, match="smooth_labels: integer labels need the number of classes"):
        nn.smooth_labels([0, 1])
    with pytest.raises(ValueError, match="smooth_labels: epsilon must be"):
        nn.smooth_labels([0, 1], 2.0, 2)


def test_a_layer_that_keeps_a_term_can_be_copied():
    model = nn.Sequential(nn.Linear(3, 2), nn.ActivityL1(0.1))
    model(Tensor(np.ones((4, 3), np.float32)))
    twin = copy.deepcopy(model)
    assert twin[1].term is None and model[1].term is not None
    assert np.array_equal(twin[0].weight.data, model[0].weight.data)
