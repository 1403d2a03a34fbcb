"""The scikit-learn estimators: scikit-learn's own checks, its solutions, its tools, and life without it."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import models

sklearn = pytest.importorskip("sklearn", minversion="1.6")

from sklearn import datasets, linear_model, model_selection, pipeline, preprocessing  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from rosenblatt import estimators  # noqa: E402

SMALL = {
    "AutoencoderTransformer": {"max_epochs": 20},
    "MLPClassifier": {"max_epochs": 60},
    "MLPRegressor": {"max_epochs": 60},
}


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings and judge them themselves
@pytest.mark.parametrize("name", estimators.__all__)
def test_passes_scikit_learns_checks(name):
    estimator = getattr(estimators, name)(**SMALL.get(name, {}))
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] not in ("passed", "skipped")}
    assert not failed and sum(r["status"] == "passed" for r in results) > 40
    assert not any(r["expected_to_fail"] for r in results)


def breast_cancer():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return preprocessing.StandardScaler().fit_transform(x), y


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_logistic_classifier_is_scikit_learns_optimum(penalty):
    x, y = breast_cancer()
    ours = estimators.LogisticClassifier(penalty=penalty, tolerance=1e-8).fit(x, y)
    theirs = linear_model.LogisticRegression(C=1 / penalty, tol=1e-9, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-5)
    np.testing.assert_allclose(ours.predict_log_proba(x), np.log(theirs.predict_proba(x)), atol=1e-3)
    iris, kinds = datasets.load_iris(return_X_y=True)
    ours, theirs = ours.fit(iris, kinds), theirs.fit(iris, kinds)
    np.testing.assert_allclose(ours.predict_proba(iris), theirs.predict_proba(iris), atol=1e-4)
    np.testing.assert_allclose(ours.predict_log_proba(iris), np.log(ours.predict_proba(iris)), atol=1e-9)


def test_linear_regressor_is_scikit_learns_fit():
    x, y = datasets.load_diabetes(return_X_y=True)
    for penalty, strength, theirs in [
        ("none", 0.0, linear_model.LinearRegression()),
        ("ridge", 0.01, linear_model.Ridge(alpha=0.01 * len(x))),
        ("lasso", 1.0, linear_model.Lasso(alpha=0.5, tol=1e-9, max_iter=100_000)),
        ("elastic_net", 0.1, linear_model.ElasticNet(alpha=0.065, l1_ratio=0.7 / 1.3, tol=1e-9, max_iter=100_000)),
    ]:
        ours = estimators.LinearRegressor(penalty, strength, alpha=0.3).fit(x, y)
        theirs.fit(x, y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), atol=1e-4)
        assert ours.score(x, y) == pytest.approx(theirs.score(x, y), abs=1e-6)
    both = np.stack([y, -2 * y], 1)
    fitted = estimators.LinearRegressor().fit(x, both)
    assert fitted.coef_.shape == (2, 10) and fitted.intercept_.shape == (2,)
    np.testing.assert_allclose(fitted.predict(x)[:, 1], -2 * fitted.predict(x)[:, 0], rtol=1e-6)
    with pytest.raises(ValueError, match="bridge"):
        estimators.LinearRegressor("bridge").fit(x, y)
    with pytest.warns(ConvergenceWarning, match="2 iterations"):
        estimators.LinearRegressor(max_iterations=2).fit(x, y)


def test_perceptron_classifier_runs_the_rule():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    names = np.where(x[:, 0] + x[:, 1] > 0, "up", "down")
    fitted = estimators.PerceptronClassifier(random_state=0).fit(x, names)
    assert fitted.converged_ and fitted.score(x, names) == 1.0 and set(fitted.predict(x)) == {"up", "down"}
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    run = models.error_correction(x, (names == "up").astype(int), seed=seed, max_epochs=100)
    np.testing.assert_array_equal(fitted.coef_[0], run.weights)
    gates = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    with pytest.warns(ConvergenceWarning, match="did not converge in 20 passes"):
        estimators.PerceptronClassifier(max_epochs=20).fit(gates, [0, 1, 1, 0])


def test_pipelines_and_grid_search():
    x, y = datasets.load_iris(return_X_y=True)
    steps = pipeline.make_pipeline(
        preprocessing.StandardScaler(), estimators.MLPClassifier(learning_rate=0.02, max_epochs=40, random_state=0)
    )
    grid = {"mlpclassifier__hidden_layer_sizes": [(), (8,)], "mlpclassifier__activation": ["relu", "tanh"]}
    search = model_selection.GridSearchCV(steps, grid, cv=3).fit(x, y)
    assert search.best_score_ > 0.9 and len(search.cv_results_["params"]) == 4


def test_networks_learn_repeat_and_leave_the_random_stream_alone():
    x, y = datasets.make_moons(300, noise=0.1, random_state=0)
    rb.manual_seed(5)
    before = rb.ops.uniform(4)
    rb.manual_seed(5)
    first = estimators.MLPClassifier((32,), random_state=1).fit(x, y)
    assert np.array_equal(rb.ops.uniform(4), before)
    assert first.score(x, y) > 0.97 and first.n_iter_ == 150 and first.loss_curve_[-1] < first.loss_curve_[0] / 5
    again = estimators.MLPClassifier((32,), random_state=1).fit(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(first.coefs_, again.coefs_, strict=True))
    other = estimators.MLPClassifier((32,), random_state=2).fit(x, y)
    assert not np.array_equal(first.coefs_[0], other.coefs_[0])
    assert estimators.MLPClassifier(()).fit(x, y).score(x, y) < 0.92  # no hidden layer: a straight line
    with pytest.raises(ValueError, match="swish"):
        estimators.MLPClassifier(activation="swish").fit(x, y)


def test_mlp_regressor_is_indifferent_to_the_targets_scale():
    x = np.linspace(-2, 2, 200)[:, None]
    y = 1e4 + 500 * np.sin(2 * x[:, 0])
    fitted = estimators.MLPRegressor((32,), activation="tanh", learning_rate=1e-2, random_state=0).fit(x, y)
    assert fitted.score(x, y) > 0.99 and fitted.predict(x).shape == (200,)
    both = estimators.MLPRegressor((32,), activation="tanh", learning_rate=1e-2, random_state=0)
    both.fit(x, np.stack([y, -y], 1))
    assert both.predict(x).shape == (200, 2) and both.score(x, np.stack([y, -y], 1)) > 0.99
    assert estimators.MLPRegressor(max_epochs=2).fit(x, np.full(200, 3.0)).predict(x) == pytest.approx(3.0, abs=0.5)


def test_without_scikit_learn_the_error_names_the_extra(run_python):
    code = """
import sys
sys.modules["sklearn"] = None
import rosenblatt
from rosenblatt.io.extras import MissingExtraError
try:
    import rosenblatt.estimators
except MissingExtraError as error:
    print(error)
"""
    message = run_python(code).stdout
    assert "rosenblatt.estimators needs scikit-learn" in message and 'pip install "rosenblatt[sklearn]"' in message


def test_an_interrupt_is_not_taken_for_the_end_of_training(monkeypatch):
    """`fit` of a model ends a run early on Ctrl-C; an estimator, perhaps one of many in a search, must not go on."""
    from rosenblatt import nn

    real = nn.Module.fit

    def interrupted(self, *args, **options):
        history = real(self, *args, **options)
        history.interrupted = True
        return history

    monkeypatch.setattr(nn.Module, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        estimators.MLPClassifier(max_epochs=1).fit([[0.0], [1.0]], [0, 1])


def test_linear_autoencoder_spans_the_principal_components():
    """Baldi and Hornik: without hidden layers the code spans the first principal components; more layers go further."""
    x = preprocessing.StandardScaler().fit_transform(datasets.load_wine().data)
    _, _, directions = np.linalg.svd(x, full_matrices=False)
    best = ((x - x @ directions[:2].T @ directions[:2]) ** 2).mean()
    coder = estimators.AutoencoderTransformer(2, max_epochs=300, random_state=0)
    code = coder.fit_transform(x)
    assert code.shape == (178, 2) and list(coder.get_feature_names_out()) == [
        "autoencodertransformer0",
        "autoencodertransformer1",
    ]
    back = coder.inverse_transform(code)
    assert best <= ((x - back) ** 2).mean() < 1.005 * best
    spanned = np.linalg.qr(coder.coefs_[1])[0].T @ directions[:2].T  # cosines of the principal angles
    assert np.linalg.svd(spanned)[1].min() > np.cos(np.radians(3))
    deep = estimators.AutoencoderTransformer(2, (32,), max_epochs=300, random_state=0).fit(x)
    assert ((x - deep.inverse_transform(deep.transform(x))) ** 2).mean() < 0.95 * best
    scaled = estimators.AutoencoderTransformer(2, max_epochs=30, random_state=0).fit(x * 1e3 + 5e4)
    assert ((scaled.inverse_transform(scaled.transform(x * 1e3 + 5e4)) - (x * 1e3 + 5e4)) ** 2).mean() < 1.3e6 * best
    with pytest.raises(ValueError, match=r"\[N,2\]"):
        coder.inverse_transform(x)
    with pytest.raises(ValueError, match="n_components"):
        estimators.AutoencoderTransformer(0).fit(x)
