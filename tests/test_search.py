"""Cross-validation, searches and the rate finder, on functions and data whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import nn, optim
from rosenblatt.train import (
    RateRange,
    cross_validate,
    grid,
    k_fold,
    learning_rate_range,
    random_choices,
    search,
    successive_halving,
)

pytestmark = pytest.mark.quick
F32 = np.float32


def blobs(n=60):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return (rng.standard_normal((n, 4)) * 0.3 + np.eye(3, 4)[y] * 3).astype(F32), y


def test_k_fold():
    for n, k in ((10, 2), (11, 3), (7, 7)):
        folds = k_fold(n, k)
        assert len(folds) == k and sorted(np.concatenate([h for _, h in folds])) == list(range(n))
        sizes = [len(h) for _, h in folds]
        assert max(sizes) - min(sizes) <= 1
        assert all(sorted([*t, *h]) == list(range(n)) for t, h in folds)
    assert k_fold(4, 2, seed=None)[0][1].tolist() == [0, 2]
    assert [h.tolist() for _, h in k_fold(20, 4, 1)] == [h.tolist() for _, h in k_fold(20, 4, 1)]
    assert [h.tolist() for _, h in k_fold(20, 4, 1)] != [h.tolist() for _, h in k_fold(20, 4, 2)]
    labels = np.repeat([0, 1], [6, 9])
    assert [np.bincount(labels[h]).tolist() for _, h in k_fold(15, 3, 5, labels)] == [[2, 3]] * 3
    for arguments, message in (((3, 4), "4 folds need"), ((9, 1), "k must be"), ((9, 3, 0, [1]), "expected labels")):
        with pytest.raises(ValueError, match=f"k_fold: {message}"):
            k_fold(*arguments)


def test_cross_validate():
    x, y = blobs()
    seen = []

    def build():
        seen.append(rb.ops.random.stream.counter)
        return nn.Sequential(nn.Linear(4, 3))

    results = cross_validate(build, x, y, k=4, epochs=20, optimizer=lambda p: optim.Adam(p, 0.05))
    assert set(results) == {"loss", "accuracy"} and seen == [0] * 4
    assert len(results["accuracy"]) == 4 and min(results["accuracy"]) > 0.9
    untrained = cross_validate(build, x, y, k=4, epochs=0)
    assert np.mean(untrained["loss"]) > 5 * np.mean(results["loss"])
    assert cross_validate(build, x, y, k=4, epochs=2) == cross_validate(build, x, y, k=4, epochs=2)


def test_cross_validation_keeps_the_folds_apart(tmp_path):
    x, y = blobs()

    def build():
        return nn.Sequential(nn.Linear(4, 3))

    options = {"k": 4, "epochs": 3, "checkpoint": tmp_path / "c"}
    plain = cross_validate(build, x, y, k=4, epochs=3)
    assert cross_validate(build, x, y, **options) == plain
    assert sorted(f.name for f in (tmp_path / "c").iterdir()) == [f"fold-{i}" for i in range(4)]
    assert cross_validate(build, x, y, **options, resume=True) == plain
    weights = np.where(np.arange(len(x)) % 2, 1.0, 0.25)
    weighted = cross_validate(build, x, y, k=4, epochs=3, sample_weight=weights)
    by_hand = []
    for train, held in k_fold(len(x), 4, 0, y):
        rb.manual_seed(0)
        model = build()
        model.fit(x[train], y[train], epochs=3, seed=0, sample_weight=weights[train], progress=False)
        by_hand.append(model.evaluate(x[held], y[held])["loss"])
    assert weighted["loss"] == by_hand != plain["loss"]
    with pytest.raises(ValueError, match=r"cross_validate: sample_weight: expected shape \(60,\), got \(59,\)"):
        cross_validate(build, x, y, k=4, sample_weight=weights[1:])


def test_candidates():
    assert grid({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]
    drawn = random_choices({"a": [1, 2, 3], "lr": lambda rng: 10 ** rng.uniform(-4, -1)}, 50, seed=3)
    assert {d["a"] for d in drawn} == {1, 2, 3} and all(1e-4 <= d["lr"] <= 1e-1 for d in drawn)
    assert drawn != random_choices({"a": [1, 2, 3], "lr": lambda rng: 10 ** rng.uniform(-4, -1)}, 50, seed=4)
    for make in (lambda: grid({}), lambda: grid({"a": []}), lambda: random_choices({"a": []}, 2),
                 lambda: random_choices({"a": [1]}, 0), lambda: grid({"a": "xy"})):
        with pytest.raises(ValueError, match=r"grid:|random_choices:"):
            make()


def test_search():
    trials = search(lambda o: math.nan if o["x"] == 2 else (o["x"] - 1.2) ** 2, grid({"x": [0, 1, 2, 3]}))
    assert [t.options["x"] for t in trials] == [1, 0, 3, 2] and trials[0].score == pytest.approx(0.04)
    with pytest.raises(ValueError, match="search: there are no candidates"):
        search(lambda o: 0.0, [])


def test_successive_halving():
    calls = []

    def score(options, budget):
        calls.append((options["x"], budget))
        return abs(options["x"] - 5) + 10 / budget

    trials = successive_halving(score, grid({"x": range(9)}), budget=2, factor=3)
    assert calls[:9] == [(x, 2) for x in range(9)]
    assert sorted(calls[9:12]) == [(4, 6), (5, 6), (6, 6)] and calls[12:] == [(5, 18)]
    assert [(t.options["x"], t.budget) for t in trials[:3]] == [(5, 18), (4, 6), (6, 6)]
    assert len(trials) == 9 and [t.budget for t in trials[3:]] == [2] * 6
    assert trials[0].score == pytest.approx(10 / 18)
    for options, message in (({"budget": 0}, "budget"), ({"factor": 1}, "factor"), ({"candidates": []}, "are no can")):
        with pytest.raises(ValueError, match=message):
            successive_halving(**{"score": score, "candidates": [{"x": 1}], **options})


def test_learning_rate_range():
    """Squared error of w*x with x = 1: descent multiplies w by 1 - 2*lr, so it explodes beyond lr = 1, not before."""
    rb.manual_seed(4)
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    model[0].weight.data[...] = 1.0
    opt = optim.SGD(model.parameters(), 0.3, momentum=0.0)
    x, y = np.ones((64, 1), F32), np.zeros((64, 1), F32)
    before = rb.ops.random.stream.counter
    found = learning_rate_range(model, x, y, opt, low=1e-4, high=100.0, steps=121, batch_size=8)
    assert model[0].weight.data[0, 0] == 1.0 and opt.lr == 0.3 and opt.steps == 0
    assert rb.ops.random.stream.counter == before
    np.testing.assert_allclose(np.diff(np.log10(found.rates)), 0.05, rtol=1e-6)
    assert found.rates[0] == 1e-4 and 1.0 < found.rates[-1] < 100.0  # it ended when the loss exploded
    assert found.losses[0] == pytest.approx(1.0) and min(found.losses) < 0.5
    assert 0.003 < found.suggestion() < 0.5
    assert RateRange([1, 2, 3, 4], [9, 8, 4, 3.5]).suggestion() == 2  # 8 -> between 9 and 4 is the steepest
    with pytest.raises(ValueError, match="at least 3 points"):
        RateRange([1], [1]).suggestion()
    for options in ({"low": 1.0, "high": 0.1}, {"low": 0}, {"steps": 1}, {"batch_size": 65}):
        with pytest.raises(ValueError, match="learning_rate_range"):
            learning_rate_range(model, x, y, opt, **options)
