"""Estimators with scikit-learn's interface: clone, Pipeline and GridSearchCV work with them; they compute here.

    from rosenblatt.estimators import LogisticClassifier, MLPClassifier

Importing this module needs scikit-learn 1.6 or newer (extra `sklearn`) and raises `MissingExtraError` without it.
Everything is float64. Data are checked by scikit-learn's own rules: X [N,D] finite and dense, targets [N] (regressors
also [N,K]); what does not fit raises its ValueError. No estimator takes sample weights. A `random_state` of None draws
from NumPy's global generator, as in scikit-learn; rosenblatt's own random stream is left as it was.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import models, nn, ops, optim
from .io.extras import MissingExtraError, require
from .ops.random import stream
from .train import LearningRateSchedule

_PURPOSE = "rosenblatt.estimators"
if not hasattr(require("sklearn.utils.validation", "sklearn", _PURPOSE), "validate_data"):
    raise MissingExtraError(f'{_PURPOSE} needs scikit-learn 1.6 or newer: pip install "rosenblatt[sklearn]"')

from sklearn.base import (  # noqa: E402
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.utils import check_random_state  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

__all__ = [
    "AutoencoderTransformer",
    "LinearRegressor",
    "LogisticClassifier",
    "MLPClassifier",
    "MLPRegressor",
    "PerceptronClassifier",
]

Array = npt.NDArray[Any]


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What all share: checked data."""

    def _training_data(self, X: Any, y: Any, several: bool = False) -> tuple[Array, Array]:
        x, t = validate_data(self, X, y, dtype=np.float64, multi_output=several, y_numeric=several)
        return np.ascontiguousarray(x), t

    def _new_data(self, X: Any) -> Array:
        check_is_fitted(self)
        return np.ascontiguousarray(validate_data(self, X, dtype=np.float64, reset=False))

    def _warn(self, reason: str) -> None:
        warnings.warn(f"{type(self).__name__}: {reason}", ConvergenceWarning, stacklevel=3)

    def _seed(self, random_state: Any) -> int:
        return int(check_random_state(random_state).randint(2**31 - 1))


class _Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """Classifiers whose `decision_function` gives [N] for two classes (above 0: the second), [N,K] for more."""

    classes_: Array

    def _labels(self, y: Array) -> Array:
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            only = self.classes_[0]
            raise ValueError(f"{type(self).__name__}: at least two classes are needed, got 1 class: {only!r}")
        return np.asarray(labels, np.int64)

    def predict(self, X: Any) -> Array:
        """The class of each row of X [N,D]: [N]."""
        scores = self.decision_function(X)
        chosen: Array = self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]
        return chosen

    def decision_function(self, X: Any) -> Array:
        raise TypeError(f"{type(self).__name__} defines no decision function")


class _Probabilities(_Classifier):
    """Classifiers with probabilities: a sigmoid of the decision function, or a softmax."""

    def predict_proba(self, X: Any) -> Array:
        """Probabilities [N,K], columns as in `classes_`."""
        scores = self.decision_function(X)
        if scores.ndim == 2:
            return np.asarray(ops.softmax(scores, 1))
        p = np.asarray(ops.sigmoid(scores))
        return np.stack([1 - p, p], axis=1)

    def predict_log_proba(self, X: Any) -> Array:
        """Their logarithms [N,K]."""
        scores = self.decision_function(X)
        if scores.ndim == 1:  # a softmax of (0, s) is (1 - sigmoid(s), sigmoid(s))
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        return np.asarray(ops.log_softmax(scores, 1))


class PerceptronClassifier(_Classifier):
    """Threshold units trained by error correction (`models.error_correction`), for several classes one unit each.

    Parameters
    ----------
    rate : of the correction; max_epochs : passes before it gives up, with a ConvergenceWarning
    shuffle : another order in every pass; random_state : of the orders

    Attributes: coef_ [K,D] or [1,D], intercept_, n_iter_ (passes), converged_, classes_. Samples that no plane
    separates end where the last pass left them.
    """

    def __init__(
        self, rate: float = 1.0, max_epochs: int = 100, shuffle: bool = True, random_state: Any = None
    ) -> None:
        self.rate = rate
        self.max_epochs = max_epochs
        self.shuffle = shuffle
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> PerceptronClassifier:
        """Fits X [N,D] to labels y [N]; returns self."""
        x, t = self._training_data(X, y)
        labels = self._labels(t)
        seed = self._seed(self.random_state)
        kinds = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        how: dict[str, Any] = {"rate": self.rate, "max_epochs": self.max_epochs, "shuffle": self.shuffle}
        runs = [models.error_correction(x, (labels == k).astype(np.int64), seed=seed, **how) for k in kinds]
        self.coef_ = np.array([run.weights for run in runs])
        self.intercept_ = np.array([run.bias for run in runs])
        self.n_iter_ = max(run.epochs for run in runs)
        self.converged_ = all(run.converged for run in runs)
        if not self.converged_:
            self._warn(str(next(run for run in runs if not run.converged)))
        return self

    def decision_function(self, X: Any) -> Array:
        """Net inputs [N], or [N,K]."""
        net: Array = ops.linear(self._new_data(X), self.coef_, self.intercept_)
        return net[:, 0] if len(self.classes_) == 2 else net


class LinearRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """Linear regression, ridge, lasso and elastic net (`models.fit_linear`): (1/n) RSS + penalty.

    Parameters
    ----------
    penalty : "none", "ridge", "lasso" or "elastic_net"; strength : lambda
    alpha : the ridge's share of an elastic net (0 is the lasso, the notes' convention; l1_ratio = (1 - a) / (1 + a))
    fit_intercept : with a bias, which is never penalised
    tolerance, max_iterations : of the descent; a ConvergenceWarning when it stops before

    Attributes: coef_ [D] or [K,D], intercept_, n_iter_.
    """

    def __init__(
        self,
        penalty: Literal["none", "ridge", "lasso", "elastic_net"] = "none",
        strength: float = 0.0,
        alpha: float = 0.5,
        fit_intercept: bool = True,
        tolerance: float = 1e-10,
        max_iterations: int = 100_000,
    ) -> None:
        self.penalty = penalty
        self.strength = strength
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.tolerance = tolerance
        self.max_iterations = max_iterations

    def fit(self, X: Any, y: Any) -> LinearRegressor:
        """Fits X [N,D] to y [N] or [N,K]; returns self. Raises ValueError for an unknown penalty."""
        x, t = self._training_data(X, y, several=True)
        kind: Any = "least_squares" if self.penalty == "none" else self.penalty
        l1, l2 = models.penalties(kind, self.strength, self.alpha)
        fit = models.fit_linear(
            x, t, l1=l1, l2=l2, bias=self.fit_intercept, tolerance=self.tolerance, max_iterations=self.max_iterations
        )
        self.coef_ = np.ascontiguousarray(fit.weights.T)
        self.intercept_ = fit.bias
        self.n_iter_ = fit.iterations
        if not fit.converged:
            self._warn(f"not converged in {fit.iterations} iterations")
        return self

    def predict(self, X: Any) -> Array:
        """[N] or [N,K]."""
        return np.asarray(ops.add(ops.matmul(self._new_data(X), self.coef_.T), self.intercept_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class LogisticClassifier(_Probabilities):
    """Logistic regression, and softmax regression for several classes, at the minimum of its cost by L-BFGS.

    Parameters
    ----------
    penalty : of the weights, penalty / 2 times their squares (scikit-learn's 1 / C); at least 0
    tolerance : of the largest derivative, per sample; max_iterations : of L-BFGS

    Attributes: coef_ [1,D] or [K,D], intercept_, converged_, classes_.
    """

    def __init__(self, penalty: float = 1.0, tolerance: float = 1e-6, max_iterations: int = 1000) -> None:
        self.penalty = penalty
        self.tolerance = tolerance
        self.max_iterations = max_iterations

    def fit(self, X: Any, y: Any) -> LogisticClassifier:
        """Fits X [N,D] to labels y [N]; returns self."""
        x, t = self._training_data(X, y)
        labels = self._labels(t)
        how: dict[str, Any] = {
            "penalty": self.penalty, "tolerance": self.tolerance, "max_iterations": self.max_iterations
        }  # fmt: skip
        if len(self.classes_) == 2:
            fit = models.fit_logistic(x, labels, **how)
        else:
            fit = models.fit_softmax(x, labels, classes=len(self.classes_), **how)
        self.coef_ = np.atleast_2d(fit.weights)
        self.intercept_ = np.atleast_1d(fit.bias)
        self.converged_ = fit.converged
        if not fit.converged:
            self._warn(f"the gradient is still {fit.gradient:.2g}, above the tolerance {self.tolerance:g}")
        return self

    def decision_function(self, X: Any) -> Array:
        """Net inputs [N], or [N,K]."""
        net: Array = ops.linear(self._new_data(X), self.coef_, self.intercept_)
        return net[:, 0] if len(self.classes_) == 2 else net


class _Network(_Estimator):
    """A multi-layer perceptron trained by Adam on shuffled mini-batches, its rate falling to 0 by a cosine."""

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (100,),
        activation: Literal["relu", "tanh", "sigmoid"] = "relu",
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-4,
        batch_size: int = 32,
        max_epochs: int = 150,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.random_state = random_state

    def _train(self, x: Array, y: Array, sizes: Sequence[int], loss: nn.Loss, linear: int = -1) -> None:
        """Fits a network of layers of those sizes; what it learned is coefs_ and intercepts_, one array per layer.

        The last layer has no activation, nor has number `linear`.
        """
        if self.activation not in ("relu", "tanh", "sigmoid"):
            raise ValueError(
                f"{type(self).__name__}: activation must be 'relu', 'tanh' or 'sigmoid', got {self.activation!r}"
            )
        seed = self._seed(self.random_state)
        position = stream.key, stream.counter
        try:
            stream.seed(seed)
            plain = (linear, len(sizes) - 2)
            pairs = enumerate(itertools.pairwise(sizes))
            model = nn.Sequential(
                *[nn.Linear(a, b, activation=None if i in plain else self.activation) for i, (a, b) in pairs]
            )
            for p in model.parameters():
                p.data = p.data.astype(np.float64)
            history = model.fit(
                x,
                y,
                epochs=self.max_epochs,
                batch_size=self.batch_size,
                optimizer=optim.Adam(model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay),
                loss=loss,
                callbacks=[LearningRateSchedule.cosine()],
                progress=False,
                seed=seed,
            )
        finally:
            stream.seed(*position)
        if history.interrupted:
            raise KeyboardInterrupt
        values = [np.array(p.data) for p in model.parameters()]
        self.coefs_, self.intercepts_ = values[::2], values[1::2]  # [out,in] and [out] per layer
        self.loss_curve_ = list(history.history["loss"])
        self.n_iter_ = len(self.loss_curve_)

    def _outputs(self, h: Array, first: int = 0, end: int | None = None) -> Array:
        """h [N,...] through the layers from `first` to before `end`, the last of them without an activation."""
        layers = list(zip(self.coefs_, self.intercepts_, strict=True))[first:end]
        for i, (w, b) in enumerate(layers):
            h = ops.linear(h, w, b, activation=None if i == len(layers) - 1 else self.activation)
        return h


class MLPClassifier(_Network, _Probabilities):
    """A multi-layer perceptron for classes: a sigmoid output for two, a softmax for more, trained by cross-entropy.

    Parameters
    ----------
    hidden_layer_sizes : units of each hidden layer; () is logistic regression
    activation : "relu", "tanh" or "sigmoid"
    learning_rate, weight_decay : of Adam; batch_size, max_epochs : of the descent
    random_state : of the first weights and the order of the samples

    Attributes: coefs_ and intercepts_ (per layer [out,in] and [out]), loss_curve_, n_iter_, classes_. Scale the
    features first (StandardScaler).
    """

    def fit(self, X: Any, y: Any) -> MLPClassifier:
        """Fits X [N,D] to labels y [N]; returns self."""
        x, t = self._training_data(X, y)
        labels = self._labels(t)
        if len(self.classes_) == 2:
            sizes = [x.shape[1], *self.hidden_layer_sizes, 1]
            self._train(x, labels[:, None].astype(np.float64), sizes, nn.BCEWithLogitsLoss())
        else:
            sizes = [x.shape[1], *self.hidden_layer_sizes, len(self.classes_)]
            self._train(x, labels, sizes, nn.CrossEntropyLoss())
        return self

    def decision_function(self, X: Any) -> Array:
        """Net inputs of the output layer [N], or [N,K]."""
        net = self._outputs(self._new_data(X))
        return net[:, 0] if len(self.classes_) == 2 else net


class MLPRegressor(RegressorMixin, _Network):  # type: ignore[misc]
    """A multi-layer perceptron with linear outputs, trained by the squared error; parameters as `MLPClassifier`.

    The targets are brought to mean 0 and deviation 1 for the training and back by `predict`: their scale does not
    matter. Attributes: coefs_, intercepts_, loss_curve_, n_iter_.
    """

    def fit(self, X: Any, y: Any) -> MLPRegressor:
        """Fits X [N,D] to y [N] or [N,K]; returns self."""
        x, t = self._training_data(X, y, several=True)
        targets = np.asarray(t, np.float64).reshape(len(x), -1)  # [N,K]
        self._single = t.ndim == 1
        self._middle, deviation = targets.mean(0), targets.std(0)
        self._scale = np.where(deviation > 0, deviation, 1.0)
        sizes = [x.shape[1], *self.hidden_layer_sizes, targets.shape[1]]
        self._train(x, (targets - self._middle) / self._scale, sizes, nn.MSELoss())
        return self

    def predict(self, X: Any) -> Array:
        """[N] or [N,K]."""
        y = np.asarray(ops.add(ops.mul(self._outputs(self._new_data(X)), self._scale), self._middle))
        return y[:, 0] if self._single else y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Network):  # type: ignore[misc]
    """An autoencoder whose code of `n_components` linear units is the transformed data: features -> code -> features.

    Parameters
    ----------
    n_components : size of the code
    hidden_layer_sizes : of the encoder; the decoder mirrors them; () is the linear autoencoder, whose code spans the
        principal components
    The others as `MLPClassifier`.

    The features are brought to mean 0 and deviation 1 first. Attributes: coefs_ and intercepts_ (encoder, then
    decoder), loss_curve_, n_iter_.

    Source: G. E. Hinton, R. Salakhutdinov, Reducing the dimensionality of data with neural networks, Science 313, 2006.
    """

    def __init__(
        self,
        n_components: int = 2,
        hidden_layer_sizes: Sequence[int] = (),
        activation: Literal["relu", "tanh", "sigmoid"] = "tanh",
        learning_rate: float = 1e-2,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        max_epochs: int = 150,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes, activation, learning_rate, weight_decay, batch_size, max_epochs, random_state
        )
        self.n_components = n_components

    def fit(self, X: Any, y: Any = None) -> AutoencoderTransformer:
        """Fits X [N,D] (y is not used); returns self. Raises ValueError for a code of less than one unit."""
        x = np.ascontiguousarray(validate_data(self, X, dtype=np.float64))
        if isinstance(self.n_components, bool) or self.n_components < 1:
            raise ValueError(f"AutoencoderTransformer: n_components must be at least 1, got {self.n_components!r}")
        self._middle, deviation = x.mean(0), x.std(0)
        self._scale = np.where(deviation > 0, deviation, 1.0)
        z = (x - self._middle) / self._scale
        encoder = [x.shape[1], *self.hidden_layer_sizes, self.n_components]
        self._encoder_layers = len(encoder) - 1
        self._train(z, z, [*encoder, *encoder[-2::-1]], nn.MSELoss(), linear=self._encoder_layers - 1)
        return self

    def transform(self, X: Any) -> Array:
        """X [N,D] -> the code [N,n_components]."""
        x = self._new_data(X)
        return self._outputs(np.asarray(ops.div(ops.sub(x, self._middle), self._scale)), 0, self._encoder_layers)

    def inverse_transform(self, X: Any) -> Array:
        """A code [N,n_components] -> reconstructed features [N,D]. Raises ValueError for another width."""
        check_is_fitted(self)
        code = np.ascontiguousarray(X, np.float64)
        if code.ndim != 2 or code.shape[1] != self._n_features_out:
            raise ValueError(
                f"AutoencoderTransformer: expected codes [N,{self._n_features_out}], got shape {list(code.shape)}"
            )
        return np.asarray(ops.add(ops.mul(self._outputs(code, self._encoder_layers), self._scale), self._middle))

    @property
    def _n_features_out(self) -> int:
        return int(self.coefs_[self._encoder_layers - 1].shape[0])
