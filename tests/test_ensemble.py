"""Ensembles against votes and means by hand, scikit-learn's rules, and the theory of averaging."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import io, nn
from rosenblatt.train import Ensemble

RNG = np.random.default_rng(5)
X = RNG.standard_normal((90, 4)).astype(np.float32)
Y = ((X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.5)).astype(np.int64)


class Says(nn.Module):
    """Answers with the same rows whatever it is asked."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Linear(1, 1).weight  # a parameter, so that there is a dtype
        self.answer = np.asarray(rows, np.float32)

    def forward(self, x):
        return rb.Tensor(self.answer[: len(x.data)])


def build():
    return nn.Sequential(nn.Linear(4, 8, activation="tanh"), nn.Linear(8, 3))


def softmax(z):
    e = np.exp(np.asarray(z, np.float64) - np.max(z, axis=1, keepdims=True))
    return e / e.sum(1, keepdims=True)


LOGITS = [
    [[4.0, 0.0, 0.0], [0.0, 1.0, 0.9]],
    [[0.0, 0.1, 0.0], [0.0, 1.0, 0.9]],
    [[0.0, 0.1, 0.0], [0.0, 0.0, 9.0]],
]


def test_soft_and_hard_votes_by_hand():
    x = np.zeros((2, 1), np.float32)
    soft = Ensemble([Says(z) for z in LOGITS])
    np.testing.assert_allclose(soft.predict(x), np.mean([softmax(z) for z in LOGITS], 0), rtol=1e-6)
    assert soft.labels(x).tolist() == [0, 2]  # one sure member outweighs two that hesitate
    hard = Ensemble([Says(z) for z in LOGITS], voting="hard")
    np.testing.assert_allclose(hard.predict(x), [[1 / 3, 2 / 3, 0], [0, 2 / 3, 1 / 3]], rtol=1e-6)
    assert hard.labels(x).tolist() == [1, 1]
    weighted = Ensemble([Says(z) for z in LOGITS], voting="hard", weights=[4, 1, 1])
    np.testing.assert_allclose(weighted.predict(x), [[4 / 6, 2 / 6, 0], [0, 5 / 6, 1 / 6]], rtol=1e-6)
    mean = Ensemble([Says(z) for z in LOGITS], voting="mean", weights=[1, 0, 3])
    np.testing.assert_allclose(mean.predict(x), np.array(LOGITS[0]) / 4 + 3 * np.array(LOGITS[2]) / 4, rtol=1e-6)


def test_ties_go_to_the_first_class_as_in_scikit_learn():
    ensemble_ = pytest.importorskip("sklearn.ensemble")
    base = pytest.importorskip("sklearn.base")

    class Fixed(base.ClassifierMixin, base.BaseEstimator):
        def __init__(self, rows=None):
            self.rows = rows

        def fit(self, x, y):
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, x):
            return softmax(self.rows)[: len(x)]

        def predict(self, x):
            return self.predict_proba(x).argmax(1)

    rows = RNG.normal(size=(4, 50, 3)).round(1)
    rows[0, 0], rows[1, 0], rows[2, 0], rows[3, 0] = [9, 0, 0], [0, 9, 0], [9, 0, 0], [0, 9, 0]
    x = np.zeros((50, 1), np.float32)
    for voting in ("soft", "hard"):
        theirs = ensemble_.VotingClassifier([(str(i), Fixed(r)) for i, r in enumerate(rows)], voting=voting)
        theirs.fit(np.zeros((3, 1)), [0, 1, 2])
        ours = Ensemble([Says(r) for r in rows], voting=voting)
        assert ours.labels(x).tolist() == theirs.predict(x).tolist()
        if voting == "soft":
            np.testing.assert_allclose(ours.predict(x), theirs.predict_proba(x), rtol=1e-5)


def test_one_logit_is_two_classes():
    ours = Ensemble([Says([[2.0], [-3.0]]), Says([[-1.0], [-1.0]])])
    p = np.mean([1 / (1 + np.exp(-np.array([2.0, -3.0]))), np.full(2, 1 / (1 + math.e))], 0)
    np.testing.assert_allclose(ours.predict(np.zeros((2, 1), np.float32)), np.stack([1 - p, p], 1), rtol=1e-6)


def test_scores_by_hand():
    x, y = np.zeros((2, 1), np.float32), np.array([1, 2])
    soft = Ensemble([Says(z) for z in LOGITS])
    p = np.mean([softmax(z) for z in LOGITS], 0)
    assert soft.evaluate(x, y) == {"accuracy": 0.5, "loss": pytest.approx(-np.log([p[0, 1], p[1, 2]]).mean(), rel=1e-6)}
    assert Ensemble([Says(z) for z in LOGITS], voting="hard").evaluate(x, y) == {"accuracy": 0.5}
    mean = Ensemble([Says([[1.0], [2.0]]), Says([[3.0], [6.0]])], voting="mean")
    assert mean.evaluate(x, np.array([[1.0], [1.0]]))["loss"] == pytest.approx((1 + 9) / 2)


def test_members_start_and_train_from_their_own_seeds():
    ours = Ensemble(build, 3, seed=7)
    ours.fit(X, Y, epochs=2, batch_size=30, progress=False)
    for i, member in enumerate(ours.members):
        rb.manual_seed(7 + i)
        single = build()
        single.fit(X, Y, epochs=2, batch_size=30, progress=False, seed=7 + i)
        for k, v in single.state_dict().items():
            assert (member.state_dict()[k] == v).all(), (i, k)
    assert len({m.state_dict()["0.weight"].tobytes() for m in ours.members}) == 3


def test_the_constructor_leaves_the_random_stream():
    rb.manual_seed(3)
    expected = rb.ops.uniform((4,))
    rb.manual_seed(3)
    Ensemble(build, 2, seed=9)
    assert (rb.ops.uniform((4,)) == expected).all()


def test_bagging_draws_with_replacement_and_scores_out_of_bag(monkeypatch):
    from rosenblatt.train import ensemble as module

    seen, true_fit = [], module.fit

    def spy(model, x, y, **options):
        seen.append((x, y, options))
        return true_fit(model, x, y, **options)

    monkeypatch.setattr(module, "fit", spy)
    ours = Ensemble(build, 4, seed=1)
    ours.fit(X, Y, bootstrap=True, epochs=3, progress=False, optimizer=lambda p: rb.optim.SGD(p, lr=0.1))
    rows = {r.tobytes(): i for i, r in enumerate(X)}
    drawn = [np.array([rows[r.tobytes()] for r in x]) for x, _, _ in seen]
    assert all(len(d) == len(X) for d in drawn)
    assert all((Y[d] == y).all() for d, (_, y, _) in zip(drawn, seen, strict=True))
    shares = [len(np.unique(d)) / len(X) for d in drawn]
    assert all(0.5 < s < 0.75 for s in shares)  # 1 - 1/e = 0.632 of the examples
    assert len({d.tobytes() for d in drawn}) == 4
    assert len({id(o["optimizer"]) for _, _, o in seen}) == 4
    # out of bag, by hand
    right = total = 0
    for i in range(len(X)):
        voices = [softmax(m.predict(X[i : i + 1])) for m, d in zip(ours.members, drawn, strict=True) if i not in d]
        if voices:
            total += 1
            right += int(np.mean(voices, 0).argmax() == Y[i])
    assert ours.out_of_bag is not None
    assert ours.out_of_bag["accuracy"] == pytest.approx(right / total)
    ours.fit(X, Y, epochs=1, progress=False)
    assert ours.out_of_bag is None


def test_out_of_bag_of_a_regression_and_weights_of_samples():
    target = (X @ np.array([1.0, -2.0, 0.5, 0.0], np.float32))[:, None]
    ours = Ensemble(lambda: nn.Sequential(nn.Linear(4, 1)), 5, voting="mean")
    ours.fit(
        X,
        target,
        bootstrap=True,
        samples=0.5,
        sample_weight=np.ones(len(X)),
        epochs=40,
        batch_size=15,
        progress=False,
        optimizer=lambda p: rb.optim.SGD(p, lr=0.1),
    )
    assert ours.out_of_bag is not None
    assert ours.out_of_bag["loss"] < 0.01
    assert ours.evaluate(X, target)["loss"] < 0.01


def test_the_mean_is_never_worse_than_the_members_on_average():
    """E[(mean - y)^2] <= mean of E[(f_i - y)^2]: the ambiguity decomposition (Krogh & Vedelsby 1995), with equality of
    the difference and the spread of the members."""
    target = np.sin(2 * X[:, :1])
    ours = Ensemble(lambda: nn.Sequential(nn.Linear(4, 16, activation="tanh"), nn.Linear(16, 1)), 4, voting="mean")
    ours.fit(X, target, bootstrap=True, epochs=20, progress=False)
    singles = np.array([m.predict(X) for m in ours.members], np.float64)
    mean = ours.predict(X)
    errors = ((singles - target) ** 2).mean((1, 2))
    spread = ((singles - singles.mean(0)) ** 2).mean()
    assert ours.evaluate(X, target)["loss"] == pytest.approx(errors.mean() - spread, rel=1e-4)
    np.testing.assert_allclose(mean, singles.mean(0), rtol=1e-4, atol=1e-6)


def test_weights_files_hold_all_members(tmp_path):
    ours = Ensemble(build, 3, seed=1)
    ours.fit(X, Y, epochs=1, progress=False)
    io.save_weights(ours, tmp_path / "e.safetensors")
    other = Ensemble(build, 3, seed=50)
    assert (other.predict(X) != ours.predict(X)).any()
    io.load_weights(other, tmp_path / "e.safetensors")
    assert (other.predict(X) == ours.predict(X)).all()
    with pytest.raises(io.WeightsError):
        io.load_weights(Ensemble(build, 2), tmp_path / "e.safetensors")


def test_checkpoints_and_resume_by_member(tmp_path):
    whole = Ensemble(build, 2)
    whole.fit(X, Y, epochs=4, batch_size=30, progress=False)
    options = {"batch_size": 30, "progress": False, "checkpoint": tmp_path / "c"}
    Ensemble(build, 2).fit(X, Y, epochs=2, **options)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["member-0", "member-1"]
    resumed = Ensemble(build, 2)
    resumed.fit(X, Y, epochs=4, resume=True, **options)
    for k, v in whole.state_dict().items():
        assert (resumed.state_dict()[k] == v).all()


def test_an_ensemble_is_a_module():
    ours = Ensemble(build, 2)
    assert ours.num_parameters() == 2 * build().num_parameters()
    assert len(ours.summary((4,)).rows) == 4
    assert (ours.predict(X, capture=False) == ours.predict(X)).all()
    for voting in ("soft", "mean"):  # it can be trained as one network too
        joint = Ensemble(build, 2, voting=voting)
        joint(rb.Tensor(X)).sum().backward()
        assert all(p.grad is not None for p in joint.parameters())
    assert "voting='soft'" in repr(ours)


def test_wrong_arguments():
    same = build()
    for arguments, options, error, message in [
        ((build, 0), {}, ValueError, "size"),
        ((build, 2), {"voting": "loud"}, ValueError, "voting must be"),
        ((build, 2), {"weights": [1]}, ValueError, "expected 2 weights"),
        ((build, 2), {"weights": [0, 0]}, ValueError, "expected 2 weights"),
        (([],), {}, ValueError, "no members"),
        (([same, same],), {}, ValueError, "member 1 is there twice"),
        ((lambda: same, 2), {}, ValueError, "member 1 is there twice"),
        (([build(), 3],), {}, TypeError, "member 1: expected a Module, got int"),
        ((same,), {}, TypeError, "expected a function"),
        (([same], 2), {}, ValueError, "size is for a function"),
    ]:
        with pytest.raises(error, match=message):
            Ensemble(*arguments, **options)
    ours = Ensemble(build, 2)
    for options, message in [
        ({"optimizer": rb.optim.SGD(ours.parameters(), lr=0.1)}, "function of the parameters"),
        ({"samples": 0.5}, "goes with bootstrap"),
        ({"samples": 0, "bootstrap": True}, "above 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            ours.fit(X, Y, **options)
    with pytest.raises(ValueError, match="expected y for 90"):
        ours.fit(X, Y[:5])
    with pytest.raises(ValueError, match="has no classes"):
        Ensemble(build, 1, voting="mean").labels(X)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\)"):
        ours.evaluate(X, Y + 1)
    with pytest.raises(ValueError, match="its own loss"):
        ours.evaluate(X, Y, loss=nn.MSELoss())
    with pytest.raises(ValueError, match="different shapes"):
        Ensemble([nn.Linear(4, 2), nn.Linear(4, 3)]).predict(X)
    with pytest.raises(TypeError, match="integer labels"):
        ours.evaluate(X, Y + 0.5)
