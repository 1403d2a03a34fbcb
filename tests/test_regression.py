"""Linear, polynomial, quadratic-form, logistic and softmax regression: against closed forms and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import models, nn, ops, optim

F64 = np.float64
KINDS = ["least_squares", "ridge", "lasso", "elastic_net"]


def problem(n=80, d=6, outputs=None, seed=0):
    """Correlated features of unlike scales, an offset, and noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ (np.eye(d) + 0.4 * rng.normal(size=(d, d))) * np.geomspace(0.3, 3, d) + 2
    w = rng.normal(size=(d, outputs) if outputs else d)
    return x, x @ w + 3 + 0.5 * rng.normal(size=(n, outputs) if outputs else n)


def by_penalty(x, y, kind, strength, alpha=0.3, **options):
    l1, l2 = models.penalties(kind, strength, alpha)
    return models.fit_linear(x, y, l1=l1, l2=l2, **options)


# --- linear regression and its penalties


@pytest.mark.quick
@pytest.mark.parametrize("outputs", [None, 3])
def test_no_penalty_is_least_squares(outputs):
    x, y = problem(outputs=outputs)
    w, *_ = np.linalg.lstsq(np.concatenate([x, np.ones((len(x), 1))], 1), y, rcond=None)
    for kind in KINDS:
        fit = by_penalty(x, y, kind, 0.0)
        assert fit.converged and fit.weights.shape == w[:-1].shape
        np.testing.assert_allclose(fit.weights, w[:-1], atol=1e-9)
        np.testing.assert_allclose(fit.bias, w[-1], atol=1e-8)
    np.testing.assert_allclose(fit.cost, ((fit.predict(x) - y) ** 2).sum() / len(x), rtol=1e-12)
    through = models.fit_linear(x, y, bias=False)
    np.testing.assert_allclose(through.weights, np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-8)
    assert np.all(through.bias == 0)


@pytest.mark.quick
@pytest.mark.parametrize("strength", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_equals_scikit_learn(kind, strength):
    """Ridge alpha = n lambda, lasso alpha = lambda / 2, elastic net alpha = lambda (1+a)/2, l1_ratio = (1-a)/(1+a)."""
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = problem(n=60)
    a = 0.3
    expected = {
        "ridge": {"alpha": 60 * strength},
        "lasso": {"alpha": strength / 2},
        "elastic_net": {"alpha": strength * 1.3 / 2, "l1_ratio": 0.7 / 1.3},
    }[kind]
    assert models.scikit_learn_penalty(kind, strength, 60, a) == pytest.approx(expected)
    make = {"ridge": linear.Ridge, "lasso": linear.Lasso, "elastic_net": linear.ElasticNet}[kind]
    theirs = make(**expected, tol=1e-10, **({} if kind == "ridge" else {"max_iter": 100_000})).fit(x, y)
    ours = by_penalty(x, y, kind, strength, a)
    assert ours.converged
    np.testing.assert_allclose(ours.weights, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.bias, theirs.intercept_, atol=1e-5)
    assert np.array_equal(ours.weights == 0, theirs.coef_ == 0)


@pytest.mark.quick
def test_both_conventions_of_alpha():
    """The notes' alpha is the ridge's share (0 is the lasso); the other convention's the lasso's (1 is the lasso)."""
    assert models.penalties("elastic_net", 2.0, 0.25) == (1.5, 0.5)  # exact in binary
    assert models.penalties("elastic_net", 2.0, 0.25, "lasso share") == (0.5, 1.5)
    for alpha in (0.0, 0.3, 1.0):
        other = models.penalties("elastic_net", 2.0, 1 - alpha, "lasso share")
        assert models.penalties("elastic_net", 2.0, alpha) == pytest.approx(other)
    assert models.penalties("elastic_net", 2.0, 0.0) == models.penalties("lasso", 2.0) == (2.0, 0.0)
    assert models.penalties("elastic_net", 2.0, 1.0) == models.penalties("ridge", 2.0) == (0.0, 2.0)
    assert models.penalties("least_squares", 2.0) == (0.0, 0.0)


@pytest.mark.quick
@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_large_penalty_leaves_the_bias_alone(kind):
    """lambda to infinity sends the weights to 0, and the bias to the mean of y, for it is not penalised."""
    x, y = problem()
    fit = by_penalty(x, y, kind, 1e9)
    assert np.abs(fit.weights).max() < 1e-6 and (kind == "ridge" or (fit.weights == 0).all())
    np.testing.assert_allclose(fit.bias, y.mean(), atol=1e-5)
    sizes = [np.abs(by_penalty(x, y, kind, s).weights * x.std(0)).sum() for s in (0, 0.1, 1, 10, 100)]
    assert all(a > b for a, b in itertools.pairwise(sizes)) or kind != "ridge"


@pytest.mark.quick
def test_lasso_gives_exact_zeros_and_ridge_and_subgradients_do_not():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(100, 10))
    y = x[:, :3] @ np.array([2.0, -1.0, 0.5]) + 0.1 * rng.normal(size=100)
    lasso, ridge = by_penalty(x, y, "lasso", 0.2), by_penalty(x, y, "ridge", 0.2)
    assert (lasso.weights[3:] == 0).all() and (lasso.weights[:3] != 0).all()
    assert (ridge.weights != 0).all()
    # the optimality conditions of the lasso, written out: |2/n x'(y - xw)| <= lambda, with equality where w != 0
    slope = 2 / 100 * x.T @ (y - lasso.predict(x))
    np.testing.assert_allclose(slope[:3], 0.2 * np.sign(lasso.weights[:3]), atol=1e-9)
    assert (np.abs(slope[3:]) < 0.2).all()
    rb.manual_seed(0)
    neuron = models.linear_regression(10)
    neuron.fit(
        x, y[:, None], epochs=300, batch_size=100, optimizer=optim.SGD(neuron.parameters(), 0.05), penalty=nn.L1(0.2),
        progress=False,
    )  # fmt: skip
    weights = neuron.state_dict()["0.weight"][0]
    assert (weights != 0).all() and np.abs(weights - lasso.weights).max() < 0.02


@pytest.mark.quick
def test_limits_and_constant_features():
    x = np.ones((5, 2))
    x[:, 1] = np.arange(5)
    fit = models.fit_linear(x, 2 * x[:, 1] + 1)
    assert fit.converged and fit.weights[0] == 0
    np.testing.assert_allclose([fit.weights[1], fit.bias], [2, 1], atol=1e-10)
    rounds = np.stack([np.full(7, 0.1), np.linspace(0, 1, 7)], 1)  # the mean of seven 0.1 is not 0.1
    assert ops.mean(rounds, 0)[0] != 0.1
    assert models.fit_linear(rounds, np.random.default_rng(0).normal(size=7)).weights[0] == 0
    short = models.fit_linear(*problem(), max_iterations=3)
    assert not short.converged and short.iterations == 3
    for call, message in [
        (lambda: models.fit_linear([1.0], [1.0]), r"x \[N,D\]"),
        (lambda: models.fit_linear([[np.nan]], [1.0]), "finite"),
        (lambda: models.fit_linear([[1.0]], [1.0], l1=-1), "l1"),
        (lambda: models.penalties("ridge", -1.0), "strength"),
        (lambda: models.penalties("elastic_net", 1.0, 1.5), "alpha"),
        (lambda: models.penalties("bridge", 1.0), "bridge"),
        (lambda: models.penalties("ridge", 1.0, 0.5, "half"), "convention"),
        (lambda: fit.predict(np.ones((2, 3))), r"\[N,2\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


# --- polynomials and quadratic forms


@pytest.mark.quick
@pytest.mark.parametrize("degree", [1, 2, 4, 9])
@pytest.mark.parametrize("basis", ["power", "legendre"])
def test_polynomials_equal_polyfit(degree, basis):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 40)
    y = np.sin(3 * x) + 0.1 * rng.normal(size=40)
    fit = models.fit_polynomial(x, y, degree, basis=basis)
    line = np.linspace(-1, 1, 30)
    assert fit.linear.converged
    np.testing.assert_allclose(fit.predict(line), np.polyval(np.polyfit(x, y, degree), line), atol=1e-6)
    if basis == "power":
        np.testing.assert_allclose(fit.linear.weights[::-1], np.polyfit(x, y, degree)[:-1], atol=1e-5)


@pytest.mark.quick
def test_legendre_terms():
    x = np.linspace(-1, 1, 11)[:, None]
    net = models.polynomial_regression(6)
    terms = net[0](rb.Tensor(x)).data
    for k in range(6):
        np.testing.assert_allclose(terms[:, k : k + 1], np.polynomial.legendre.Legendre.basis(k + 1)(x), atol=1e-14)
    powers = models.polynomial_regression(3, "power")[0](rb.Tensor(x)).data
    np.testing.assert_allclose(powers, np.concatenate([x, x**2, x**3], 1), atol=1e-15)


@pytest.mark.quick
def test_polynomial_network_learns_by_descent():
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (60, 1)).astype(np.float32)
    y = (1 - 2 * x + 3 * x**3).astype(np.float32)
    net = models.polynomial_regression(4)
    net.fit(x, y, epochs=400, batch_size=60, optimizer=optim.Adam(net.parameters(), 0.05), progress=False)
    np.testing.assert_allclose(net.predict(x), y, atol=2e-3)


@pytest.mark.quick
def test_quadratic_form_is_recovered():
    """C: a learner y = x W x; W comes back symmetric."""
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(3, 3))
    x = rng.normal(size=(80, 3))
    form = np.einsum("ni,ij,nj->n", x, matrix, x)
    fit = models.fit_quadratic_form(x, form, linear=False, bias=False)
    np.testing.assert_allclose(fit.matrix, (matrix + matrix.T) / 2, atol=1e-8)
    np.testing.assert_allclose(fit.predict(x), form, atol=1e-7)
    full = models.fit_quadratic_form(x, form + x @ [1.0, -2.0, 0.5] + 4)
    np.testing.assert_allclose(full.matrix, (matrix + matrix.T) / 2, atol=1e-8)
    np.testing.assert_allclose([*full.weights, full.bias], [1, -2, 0.5, 4], atol=1e-7)
    net = models.quadratic_form(3)
    net.fit(
        x, (form + 4)[:, None], epochs=1500, batch_size=80, optimizer=optim.Adam(net.parameters(), 0.03), progress=False
    )
    weight = net.state_dict()["0.weight"]
    np.testing.assert_allclose(weight, weight.T, atol=1e-5)
    np.testing.assert_allclose(weight, (matrix + matrix.T) / 2, atol=0.02)


@pytest.mark.quick
def test_quadratic_form_gradients():
    module = models.QuadraticForm(3)
    x = np.random.default_rng(0).normal(size=(4, 3))

    def apply(x, w, linear, bias):
        form = ops.sum(ops.mul(ops.matmul(x, w), x), 1, keepdims=True)
        return ops.sum(ops.square(ops.add(ops.add(form, ops.linear(x, linear)), bias)))

    rng = np.random.default_rng(1)
    values = [rng.normal(size=p.shape) for p in module.parameters()]
    assert rb.gradcheck(apply, [x, *values]) < 1
    module.load_state_dict(dict(zip(module.state_dict(), values, strict=True)))
    w, linear, bias = values
    expected = np.einsum("ni,ij,nj->n", x, w, x)[:, None] + x @ linear.T + bias
    np.testing.assert_allclose(module(rb.Tensor(x.astype(np.float32))).data, expected, rtol=1e-4, atol=1e-4)


# --- logistic and softmax regression


def two_classes(seed=0, n=120, d=5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, (rng.random(n) < 1 / (1 + np.exp(-(x @ rng.normal(size=d) + 0.5)))).astype(int)


@pytest.mark.quick
@pytest.mark.parametrize("penalty", [0.0, 0.1, 5.0])
def test_logistic_regression_is_scikit_learns_optimum(penalty):
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = two_classes()
    theirs = linear.LogisticRegression(C=1 / penalty if penalty else np.inf, tol=1e-10, max_iter=5000).fit(x, y)
    zero_one, bipolar = models.fit_logistic(x, y, penalty=penalty), models.fit_logistic(x, 2 * y - 1, penalty=penalty)
    for fit in (zero_one, bipolar):
        assert fit.converged
        np.testing.assert_allclose(fit.weights, theirs.coef_[0], atol=1e-5)
        np.testing.assert_allclose(fit.bias, theirs.intercept_[0], atol=1e-5)
        np.testing.assert_allclose(fit.probabilities(x), theirs.predict_proba(x)[:, 1], atol=1e-6)
    assert (zero_one.predict(x) == theirs.predict(x)).all() and (bipolar.predict(x) == 2 * theirs.predict(x) - 1).all()
    assert zero_one.cost == pytest.approx(bipolar.cost, rel=1e-12)
    # the derivative that the notes print, sum(-y x e / (1 + e)) with e = exp(-y w.x), vanishes there
    t, z = 2 * y - 1, zero_one.net(x)
    slope = -(t[:, None] * x / (1 + np.exp(t * z))[:, None]).sum(0) + penalty * zero_one.weights
    np.testing.assert_allclose(slope, 0, atol=1e-5)


@pytest.mark.quick
@pytest.mark.parametrize("penalty", [0.05, 2.0])
def test_softmax_regression_is_scikit_learns_optimum(penalty):
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 4))
    y = (x @ rng.normal(size=(4, 3)) + rng.gumbel(size=(150, 3))).argmax(1)
    theirs = linear.LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=5000).fit(x, y)
    fit = models.fit_softmax(x, y, penalty=penalty)
    assert fit.converged
    np.testing.assert_allclose(fit.weights, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(fit.bias - fit.bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-5)
    np.testing.assert_allclose(fit.probabilities(x), theirs.predict_proba(x), atol=1e-6)
    assert (fit.predict(x) == theirs.predict(x)).all()


@pytest.mark.quick
def test_two_class_softmax_is_logistic_regression():
    """Of two classes the difference of the softmax's weights is the logistic unit's; its penalty is then half."""
    x, y = two_classes(1)
    soft, logistic = models.fit_softmax(x, y, penalty=2.0), models.fit_logistic(x, y, penalty=1.0)
    np.testing.assert_allclose(soft.weights[1] - soft.weights[0], logistic.weights, atol=1e-6)
    np.testing.assert_allclose(soft.bias[1] - soft.bias[0], logistic.bias, atol=1e-6)


@pytest.mark.quick
def test_sigmoid_neuron_follows_c2():
    """C:2 through the network and `fit`: E = sum (f - y)**2 / 2, w = b = -2, eta 1, a full batch."""
    x, y = np.array([[0.5], [2.5]]), np.array([[0.2], [0.9]])
    neuron = models.sigmoid_neuron(1)
    for p in neuron.parameters():
        p.data = np.full(p.shape, -2.0)
    optimizer = optim.SGD(neuron.parameters(), 1.0)
    known = {1: (-1.99450768078436, -1.9922888407847856), 10: (-1.9418944876777522, -1.9200053794309366)}
    known[1000] = (1.7917198301022377, -2.2821180729166732)
    done = 0
    for epochs, (w, b) in known.items():
        neuron.fit(
            x, y, epochs=epochs - done, batch_size=2, loss=nn.HalfSSELoss("sum"), optimizer=optimizer, progress=False
        )
        done = epochs
        found = [p.data.item() for p in neuron.parameters()]
        np.testing.assert_allclose(found, (w, b), atol=1e-9)


@pytest.mark.quick
def test_logistic_network_and_refusals():
    x, y = two_classes(2)
    net = models.logistic_regression(5)
    optimizer = optim.Adam(net.parameters(), 0.05)
    net.fit(x, y, epochs=300, batch_size=120, task="binary", optimizer=optimizer, progress=False)
    exact = models.fit_logistic(x, y)
    assert np.abs(net.state_dict()["0.weight"][0] - exact.weights).max() < 0.05
    separable = models.fit_logistic([[-1.0], [1.0]], [0, 1], max_iterations=5)
    assert separable.weights[0] > 1 and not separable.converged
    for call, message in [
        (lambda: models.fit_logistic(x, y + 1), "labels must be"),
        (lambda: models.fit_logistic(x, y[:3]), "labels"),
        (lambda: models.fit_logistic(x, y, penalty=-1), "penalty"),
        (lambda: models.fit_softmax(x, y - 1), "integer labels"),
        (lambda: models.fit_softmax(x, y * 0.5), "integer labels"),
        (lambda: exact.predict(x[:, :2]), r"\[N,5\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
