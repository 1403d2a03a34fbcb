"""Training runs for the tests of capture: one eager and one captured, made alike, compared after every step."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import models, nn, ops, optim

F32 = np.float32
WARM = 3  # calls of a signature before the first replay
OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: optim.Adam(p, lr=1e-2),
}


def small(dropout=0.0, activation="relu"):
    layers = [nn.Linear(6, 8, activation=activation)]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(8, 3))


def batch(i=0, n=4):
    rng = np.random.default_rng(100 + i)
    return rng.standard_normal((n, 6)).astype(F32), rng.integers(0, 3, n)


class Run:
    """A network, an optimiser and their step; two of them made alike start from the same bits."""

    def __init__(self, capture, model=small, optimizer="sgd", loss=ops.cross_entropy, **options):
        rb.manual_seed(7)
        self.model = model()
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        rb.manual_seed(8)
        penalty = nn.ActivityPenalty()

        def step(x, y):
            self.optimizer.zero_grad()
            value = loss(self.model(rb.Tensor(x)), y)
            if isinstance(self.model, models.Autoencoder):
                value = ops.add(value, penalty(self.model))
            value.backward()
            self.optimizer.step()
            return value

        self.step = rb.capture(step, **options) if capture else step

    def bits(self):
        return {k: v.tobytes() for k, v in self.model.state_dict().items()}


class Pair:
    """The captured run beside the eager one, each with its own position in the random stream."""

    def __init__(self, **options):
        self.runs = [Run(False, **options), Run(True, **options)]
        self.positions = [(8, 0), (8, 0)]

    @property
    def step(self):
        return self.runs[1].step

    def both(self, call):
        results = []
        for i, run in enumerate(self.runs):
            rb.manual_seed(self.positions[i][0])
            ops.random.stream.seed(*self.positions[i])
            results.append(call(run))
            self.positions[i] = (ops.random.stream.key, ops.random.stream.counter)
        return results

    def train(self, *args):
        eager, captured = self.both(lambda run: run.step(*args))
        assert eager.data.tobytes() == captured.data.tobytes()
        assert self.runs[0].bits() == self.runs[1].bits()
        assert self.positions[0] == self.positions[1]
        return captured


def quick_networks():
    """Every registered network, those whose twenty steps take long in the long tier."""
    slow = ("preact_resnet", "resnet20", "resnet56", "resnet110")
    return [
        pytest.param(n, marks=pytest.mark.long) if models.info(n).full or n in slow else n for n in models.names()
    ]


def network(name):
    model_info = models.info(name)
    shape = model_info.image or (8, 8, 1)
    options = {"input_shape": shape, "classes": 10} if model_info.family == "convolutional" else {"input_shape": shape}
    kind = model_info.recipe.loss
    loss = {"perceptron": nn.PerceptronLoss, "reconstruction": nn.MSELoss, "elbo": nn.BCELoss}.get(
        kind, nn.CrossEntropyLoss
    )()
    return (lambda: models.build(name, **options)), shape, loss
