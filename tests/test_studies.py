"""Capacity and error-surface studies: against formulas, and functions whose curvature is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import data, models, nn, ops, optim, train, viz

pytestmark = pytest.mark.quick


# --- capacity


def test_memoriser_has_no_empirical_risk_and_knows_nothing_else():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    learner = models.Memoriser(otherwise=7).fit(x, y)
    assert models.empirical_risk(learner.predict(x), y, "zero_one") == 0.0
    assert models.empirical_risk(learner.predict(x), y) == 0.0
    assert (learner.predict(x + 1e-9) == 7).all() and learner.predict(-x).tolist() == [7] * 50
    mixed = np.concatenate([x[:2] + 1, x[:2]])
    assert learner.predict(mixed).tolist() == [7, 7, *y[:2]]
    twice = models.Memoriser().fit([[0.0], [-0.0], [1.0]], [1.0, 2.0, 3.0])
    assert twice.predict([[0.0], [1.0], [2.0]]).tolist() == [2.0, 3.0, 0.0]
    assert models.empirical_risk([1.0, 4.0], [1.0, 2.0]) == 2.0
    assert models.empirical_risk([1, 0, 1], [1, 1, 1], "zero_one") == pytest.approx(1 / 3)
    for call, message in [
        (lambda: models.Memoriser().predict(x), "before fit"),
        (lambda: models.Memoriser().fit(x, y[:3]), r"\[N\]"),
        (lambda: learner.predict(x[:, :2]), "samples"),
        (lambda: models.empirical_risk([1], [1, 2]), "empirical_risk"),
        (lambda: models.empirical_risk([1], [1], "hinge"), "hinge"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def polynomial(degree):
    def fit(x, y):
        return models.fit_polynomial(x, y, degree, basis="legendre").predict

    return fit


def test_bias_and_variance_of_polynomials():
    """Fixed points, noise of variance s2: the mean variance of a fit with p weights is s2 p / n at those points."""
    n, s2 = 25, 0.04
    x = np.linspace(-1, 1, n)
    truth = 1 + x - 2 * x**2 + 0.5 * x**3

    def sample(i):
        return x, truth + np.sqrt(s2) * np.random.default_rng(i).normal(size=n)

    found = {d: models.bias_variance(polynomial(d), sample, x, truth, noise=s2, repeats=300) for d in (1, 2, 3, 8)}
    for degree, split in found.items():
        assert split.variance == pytest.approx(s2 * (degree + 1) / n, rel=0.12)
        exact = truth - np.polyval(np.polyfit(x, truth, degree), x)  # what the family cannot express
        assert split.bias2 == pytest.approx((exact**2).mean(), abs=3e-4)
        error = ((split.predictions - truth) ** 2).mean() + s2
        assert split.error == pytest.approx(error, rel=1e-12)
    assert min(found, key=lambda d: found[d].error) == 3
    assert found[1].bias2 > 100 * found[3].bias2 and found[8].variance > 3 * found[1].variance
    with pytest.raises(ValueError, match="repeats"):
        models.bias_variance(polynomial(1), sample, x, truth, repeats=1)
    with pytest.raises(ValueError, match=r"\[M\]"):
        models.bias_variance(polynomial(1), sample, x, truth[:5], repeats=2)


def test_learning_curves_close_in_on_the_noise():
    """Least squares on n samples: training error s2 (1 - p/n), validation error above s2, both tend to s2."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 4000)
    y = 1 - x + 2 * x**2 + 0.3 * rng.normal(size=4000)
    curve = models.learning_curve(polynomial(2), x[:2000], y[:2000], (x[2000:], y[2000:]), [3, 10, 100, 2000])
    assert curve.sizes.tolist() == [3, 10, 100, 2000]
    assert curve.training[0] < 1e-12  # three samples, three weights
    assert curve.validation[0] > curve.validation[1] > curve.validation[3]
    assert curve.training[3] == pytest.approx(0.09, rel=0.05) and curve.validation[3] == pytest.approx(0.09, rel=0.05)

    def by_heart(a, b):
        return models.Memoriser().fit(a[:, None], b).predict

    def wrapped(a, b):
        learner = by_heart(a, b)
        return lambda q: learner(np.asarray(q)[:, None])

    heart = models.learning_curve(wrapped, x[:2000], y[:2000], (x[2000:], y[2000:]), [10, 2000])
    assert (heart.training == 0).all() and heart.validation[0] == heart.validation[1] == np.mean(y[2000:] ** 2)
    with pytest.raises(ValueError, match="sizes"):
        models.learning_curve(polynomial(1), x[:5], y[:5], (x, y), [6])


# --- error surfaces


def bowl(x):
    return ops.sum(ops.mul(ops.square(x), np.array([1.0, 3.0])))


def saddle(x):
    """x**2 - y**2 + y**4 / 4: a saddle at 0, minima at (0, +-sqrt 2)."""
    u, v = ops.getitem(x, 0), ops.getitem(x, 1)
    return ops.add(ops.sub(ops.square(u), ops.square(v)), ops.mul(ops.square(ops.square(v)), 0.25))


def test_hessians_and_kinds_of_points():
    np.testing.assert_allclose(train.hessian(bowl, [0.3, -2.0]), np.diag([2.0, 6.0]), atol=1e-12)
    np.testing.assert_allclose(train.hessian(saddle, [0.0, 1.0]), np.diag([2.0, 1.0]), atol=1e-12)
    assert train.stationary_point(bowl, [0.0, 0.0]).kind == "minimum"
    assert train.stationary_point(lambda x: ops.neg(bowl(x)), [0.0, 0.0]).kind == "maximum"
    at_zero = train.stationary_point(saddle, [0.0, 0.0])
    assert at_zero.kind == "saddle" and at_zero.curvatures.tolist() == [-2.0, 2.0]
    assert train.stationary_point(saddle, [0.0, np.sqrt(2)]).kind == "minimum"
    moving = train.stationary_point(saddle, [1.0, 0.0])
    assert moving.kind == "not stationary" and moving.gradient == pytest.approx(2.0)
    assert train.stationary_point(lambda x: ops.square(ops.getitem(x, 0)), [0.0, 5.0]).kind == "undecided"
    coupled = train.hessian(lambda x: ops.mul(ops.getitem(x, 0), ops.exp(ops.getitem(x, 1))), [2.0, 0.5])
    np.testing.assert_allclose(coupled, np.exp(0.5) * np.array([[0, 1], [1, 2]]), rtol=1e-12)
    assert (train.hessian(lambda x: ops.sum(x), [1.0, 2.0]) == 0).all()
    for call, message in [
        (lambda: train.hessian(bowl, [[1.0]]), r"\[P\]"),
        (lambda: train.stationary_point(bowl, [np.nan, 0]), "finite"),
        (lambda: train.descend(lambda x: x, [1.0, 2.0], 0.1, 1), "one number"),
        (lambda: train.descend(bowl, [1.0, 2.0], 0.1, 0), "steps"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(("rate", "path"), [(1.0, [-0.5, 0.5, -0.5]), (0.1, [0.4, 0.32, 0.256])])
def test_descent_on_a_parabola(rate, path):
    """A:N5: y = x**2 from 0.5: rate 1 swings for ever, rate 0.1 falls by a fifth each time; convex, one minimum."""
    run = train.descend(lambda x: ops.sum(ops.square(x)), [0.5], rate, 3)
    np.testing.assert_allclose(run.path[1:, 0], path, rtol=1e-14)
    np.testing.assert_allclose(run.values, run.path[:, 0] ** 2, rtol=1e-14)
    far = train.descend(lambda x: ops.sum(ops.square(x)), [0.5], 1e200, 5)
    assert len(far.path) < 6 and np.isfinite(far.path).all()


def test_noise_leaves_a_saddle_and_the_exact_gradient_does_not():
    still = train.descend(saddle, [1.0, 0.0], 0.05, 400)
    assert np.abs(still.path[:, 1]).max() == 0 and abs(still.path[-1, 0]) < 1e-12
    assert train.stationary_point(saddle, still.path[-1]).kind == "saddle"
    ends = []
    for seed in range(5):
        noisy = train.descend(saddle, [1.0, 0.0], 0.05, 400, noise=0.01, seed=seed)
        assert noisy.values[-1] < -0.99 and abs(noisy.path[-1, 0]) < 0.05
        ends.append(noisy.path[-1, 1])
    np.testing.assert_allclose(np.abs(ends), np.sqrt(2), atol=0.02)
    again = train.descend(saddle, [1.0, 0.0], 0.05, 400, noise=0.01, seed=0)
    assert np.array_equal(again.path[-1], train.descend(saddle, [1.0, 0.0], 0.05, 400, noise=0.01, seed=0).path[-1])


# --- vanishing and exploding gradients


def deep(activation, scale, depth=12, width=20):
    model = nn.Sequential(*[nn.Linear(width, width, activation=activation) for _ in range(depth)], nn.Linear(width, 2))
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.data = (rng.normal(size=p.shape) * (scale / np.sqrt(width) if p.ndim == 2 else 0)).astype(np.float32)
    return model


def test_gradients_vanish_and_explode_layer_by_layer():
    """The error at a layer is W' times that of the next times f': sigmoid loses at least 4 / |W| a layer (A:N7)."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(64, 20)).astype(np.float32), rng.integers(0, 2, 64)

    def by_layer(model):
        records = train.Histograms(x, y).observe(model)
        return [r.norm for r in records if r.kind == "gradients" and r.name.endswith("weight")][:-1]

    vanishing, exploding = by_layer(deep("sigmoid", 1.0)), by_layer(deep("relu", 4.0))
    healthy = by_layer(deep("relu", np.sqrt(2)))
    assert vanishing[0] < 1e-5 * vanishing[-1]
    ratios = [a / b for a, b in itertools.pairwise(vanishing[1:])]
    largest = max(np.linalg.norm(p.data, 2) for p in deep("sigmoid", 1.0).parameters() if p.ndim == 2)
    assert max(ratios) <= 0.25 * largest * 1.05
    assert exploding[0] > 1e4 * healthy[0] and 0.02 < healthy[0] / healthy[-1] < 50


def test_a_value_that_is_not_finite_is_named_with_its_layer():
    model = deep("relu", 1e15, depth=4)  # about 1e15, 1e30, 1e45: beyond float32 in the third layer
    x = np.ones((4, 20), np.float32)
    with pytest.raises(train.NonFiniteError, match=r"layer 2 \(Linear\)"):
        model.fit(x, np.array([0, 1, 0, 1]), epochs=1, check_finite=True, progress=False)


def test_clipping_and_the_norm_constraint_cure_an_explosion():
    """A:N6: Glorot's start, clipnorm 1 and max-norm 2; without the limits the same rate blows up."""
    x, y = data.generate.polynomial(200, (0.0, 30.0), seed=0)

    def run(**limits):
        rb.manual_seed(0)
        layers = [nn.Linear(1, 20, activation="relu", weight_init="glorot_uniform")]
        layers += [nn.Linear(20, 20, activation="relu", weight_init="glorot_uniform") for _ in range(6)]
        model = nn.Sequential(*layers, nn.Linear(20, 1, weight_init="glorot_uniform"))
        opt = optim.SGD(model.parameters(), 0.05, **limits)
        return model.fit(x, y, epochs=8, optimizer=opt, progress=False, seed=0).history["loss"], model

    wild, _ = run()
    tame, model = run(clipnorm=1.0, constraint=optim.MaxNorm(2.0))
    assert not max(wild) < 1e5 and np.isfinite(tame).all() and max(tame) < 1000 and tame[-1] < tame[0] / 2
    assert max(np.linalg.norm(p.data, axis=1).max() for p in model.parameters() if p.ndim == 2) <= 2.0 + 1e-5


def test_plots_of_fits():
    pytest.importorskip("matplotlib")
    x = np.linspace(-1, 1, 9)
    figure = viz.fitted_curves(x, x**2, {"line": lambda q: 0 * q, "parabola": lambda q: q**2})
    assert [a.get_title() for a in figure.axes] == ["line", "parabola"]
    np.testing.assert_allclose(figure.axes[1].lines[1].get_ydata(), figure.axes[1].lines[1].get_xdata() ** 2)
    learning = viz.capacity_curve([1, 2], [0, 1], [2, 1], axis="training samples")
    assert learning.axes[0].get_xlabel() == "training samples"
    with pytest.raises(ValueError, match="fitted_curves"):
        viz.fitted_curves(x, x[:3], {"line": lambda q: q})
    with pytest.raises(ValueError, match="line"):
        viz.fitted_curves(x, x, {"line": lambda q: q[:3]})
