"""Whole training runs: learning, and the same bytes for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from capture_runs import network, quick_networks
from test_train import blobs, mlp, weights

import rosenblatt as rb
from rosenblatt import models, nn, optim

F32 = np.float32


def lenet_data(n=12):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 32, 32, 1)).astype(F32), np.arange(n) % 10


def test_overfits_a_small_batch():
    x, y = lenet_data(10)
    rb.manual_seed(0)
    model = models.build("lenet5")
    history = model.fit(
        x, y, epochs=60, batch_size=10, optimizer=optim.Adam(model.parameters(), 3e-3), progress=False, seed=0
    )
    assert history.last("loss") < 0.05 and history.last("accuracy") == 1.0
    assert (model.predict(x).argmax(1) == y).all()


def test_regression():
    x = np.linspace(-1, 1, 40, dtype=F32)[:, None]
    model = nn.Sequential(nn.Linear(1, 16, activation="tanh"), nn.Linear(16, 1))
    history = model.fit(
        x, x**2, epochs=200, batch_size=40, optimizer=optim.Adam(model.parameters(), 0.02), progress=False
    )
    assert history.last("loss") < 2e-3 and "accuracy" not in history.history
    assert set(model.evaluate(x, x**2)) == {"loss"}


@pytest.mark.parametrize("kind", ["mlp", "lenet5"])
def test_same_bytes_from_run_to_run_and_for_any_threads(kind):
    results = []
    for threads in (1, 2, 2, 5):
        rb.set_num_threads(threads)
        if kind == "mlp":
            model, (x, y) = mlp(), blobs(200)
            model.add(nn.Dropout(0.2))
        else:
            x, y = lenet_data(40)
            rb.manual_seed(3)
            model = models.build("lenet5")
        history = model.fit(x, y, epochs=2, batch_size=16, seed=5, progress=False)
        results.append((weights(model), tuple(history.history["loss"])))
    assert len(set(results)) == 1


def test_digits_are_learned():
    sklearn = pytest.importorskip("sklearn.datasets")
    digits = sklearn.load_digits()
    x = (digits.images[..., None] / 16).astype(F32)
    rb.manual_seed(0)
    model = models.build("mlp")
    model.fit(
        x[:898], digits.target[:898], epochs=20, optimizer=optim.Adam(model.parameters(), 8e-3), progress=False, seed=0
    )
    assert model.evaluate(x[898:], digits.target[898:])["accuracy"] > 0.9


@pytest.mark.parametrize("name", quick_networks())
def test_every_network_resumes_to_the_bit_with_one_and_two_threads(name, tmp_path):
    """Two epochs; one epoch stopped and resumed, on another number of threads each time."""
    build, shape, loss = network(name)
    rng = np.random.default_rng(1)
    x = rng.random((6, *shape)).astype(F32)
    reconstructs = models.info(name).recipe.reconstructs
    y = x if reconstructs else np.arange(6) % 10

    def run(threads, epochs, **options):
        rb.set_num_threads(threads)
        rb.manual_seed(3)
        model = build()
        optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9)
        history = model.fit(
            x, y, epochs=epochs, batch_size=4, optimizer=optimizer, loss=loss, progress=False, seed=5,
            penalty=nn.ActivityPenalty() if reconstructs else None, **options,
        )  # fmt: skip
        return {k: v.tobytes() for k, v in model.state_dict().items()}, history.history["loss"]

    whole = run(1, 2)
    assert run(2, 1, checkpoint=tmp_path / "run")[0] != whole[0]
    assert run(1, 2, checkpoint=tmp_path / "run", resume=True) == whole
    assert run(2, 2) == whole
