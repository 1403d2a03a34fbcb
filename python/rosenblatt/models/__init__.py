"""Networks, one file per family, and the registry that lists them; neurons and regressions with their own rules."""

from __future__ import annotations

from .capacity import BiasVariance, LearningCurve, Memoriser, bias_variance, empirical_risk, learning_curve
from .lenet import lenet5
from .logistic import (
    LogisticFit,
    fit_logistic,
    fit_softmax,
    logistic_regression,
    sigmoid_neuron,
    softmax_regression,
)
from .mlp import Activation, mlp, partial_mlp
from .neurons import McCullochPitts, mcculloch_pitts_gate, truth_table
from .perceptron import PerceptronRun, dead_zone_rule, error_correction, mistake_bound, perceptron, set_rule
from .registry import ModelInfo, Recipe, UnknownModelError, build, info, names, register
from .regression import (
    LinearFit,
    PolynomialFit,
    QuadraticForm,
    QuadraticFormFit,
    fit_linear,
    fit_polynomial,
    fit_quadratic_form,
    linear_regression,
    penalties,
    polynomial_regression,
    quadratic_form,
    scikit_learn_penalty,
)
from .units import maxout, polynomial

__all__ = [
    "Activation",
    "BiasVariance",
    "LearningCurve",
    "LinearFit",
    "LogisticFit",
    "McCullochPitts",
    "Memoriser",
    "ModelInfo",
    "PerceptronRun",
    "PolynomialFit",
    "QuadraticForm",
    "QuadraticFormFit",
    "Recipe",
    "UnknownModelError",
    "bias_variance",
    "build",
    "dead_zone_rule",
    "empirical_risk",
    "error_correction",
    "fit_linear",
    "fit_logistic",
    "fit_polynomial",
    "fit_quadratic_form",
    "fit_softmax",
    "info",
    "learning_curve",
    "lenet5",
    "linear_regression",
    "logistic_regression",
    "maxout",
    "mcculloch_pitts_gate",
    "mistake_bound",
    "mlp",
    "names",
    "partial_mlp",
    "penalties",
    "perceptron",
    "polynomial",
    "polynomial_regression",
    "quadratic_form",
    "register",
    "scikit_learn_penalty",
    "set_rule",
    "sigmoid_neuron",
    "softmax_regression",
    "truth_table",
]
