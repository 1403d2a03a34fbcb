"""McCulloch-Pitts units and the perceptron rules: against truth tables, and the rules written out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rosenblatt import data, models, viz

F64 = np.float64
GATES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], F64)
TRUTH = {
    "and": [0, 0, 0, 1], "or": [0, 1, 1, 1], "nor": [1, 0, 0, 0], "nand": [1, 1, 1, 0],
    "x1_and_not_x2": [0, 0, 1, 0], "xor": [0, 1, 1, 0], "xnor": [1, 0, 0, 1],
}  # fmt: skip

pytestmark = pytest.mark.quick


# --- McCulloch and Pitts


@pytest.mark.parametrize(
    ("form", "name"),
    [
        *itertools.product(["absolute"], ["and", "or", "nor", "x1_and_not_x2"]),
        *itertools.product(["weighted"], ["and", "or", "nor", "nand", "x1_and_not_x2"]),
    ],
)
def test_gates_of_one_unit(form, name):
    unit = models.mcculloch_pitts_gate(name, form)
    assert unit(GATES).tolist() == TRUTH[name]
    assert bool(unit.inhibitory) is (form == "absolute" and name in ("nor", "x1_and_not_x2"))
    assert unit([1, 0]) == TRUTH[name][2]
    inverter = models.mcculloch_pitts_gate("not", form)
    assert models.truth_table(inverter).tolist() == [[0, 1], [1, 0]]


def test_nand_is_weighted_only_and_xor_is_neither():
    """Every absolute unit of two inputs is tried: no NAND, XOR or XNOR among them; no XOR among weighted ones."""
    nand = models.mcculloch_pitts_gate("nand", "weighted")
    assert (nand.weights.tolist(), nand.threshold) == ([-1, -1], -1)
    found = set()
    for inhibitory in ([], [0], [1], [0, 1]):
        for weights, threshold in itertools.product(itertools.product((0, 1), (0, 1)), (0, 0.5, 1, 2, 3)):
            found.add(tuple(models.McCullochPitts(weights, threshold, inhibitory)(GATES).tolist()))
    assert tuple(TRUTH["and"]) in found and not {tuple(TRUTH[g]) for g in ("nand", "xor", "xnor")} & found
    weighted = set()
    for a, b, threshold in itertools.product(range(-3, 4), range(-3, 4), np.arange(-6.5, 7)):
        weighted.add(tuple(models.McCullochPitts([a, b], threshold)(GATES).tolist()))
    assert tuple(TRUTH["nand"]) in weighted and not {tuple(TRUTH["xor"]), tuple(TRUTH["xnor"])} & weighted
    for form, name in [("absolute", "nand"), ("absolute", "xor"), ("weighted", "xor"), ("weighted", "xnor")]:
        with pytest.raises(ValueError, match=f"no single unit of the {form} form computes {name}"):
            models.mcculloch_pitts_gate(name, form)


def test_inhibition_is_absolute():
    """One active inhibitor silences any excitation; a negative weight is outvoted."""
    strong = np.array([[1, 1, 1, 1, 1]])
    assert models.McCullochPitts([1] * 5, 1, inhibitory=[4])(strong).tolist() == [0]
    assert models.McCullochPitts([1, 1, 1, 1, -1], 1)(strong).tolist() == [1]
    assert models.McCullochPitts([1] * 5, 1, inhibitory=[4])([1, 0, 0, 0, 0]) == 1.0


def test_umbrella_table_and_a_network_of_units():
    """A:N1: weights 1, 1 and threshold 1, which is enough when it is reached. XOR takes three units."""
    table = models.truth_table(models.McCullochPitts([1, 1], 1))
    assert table.tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]]
    first, second = models.mcculloch_pitts_gate("x1_and_not_x2"), models.McCullochPitts([1, 1], 1, inhibitory=[0])
    either = models.mcculloch_pitts_gate("or")

    def xor(x):
        return either(np.stack([first(x), second(x)], 1))

    assert models.truth_table(xor, 2)[:, 2].tolist() == TRUTH["xor"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.McCullochPitts([], 1), "finite weights"),
        (lambda: models.McCullochPitts([1, np.nan], 1), "finite weights"),
        (lambda: models.McCullochPitts([1, 1], 1, [2]), "0 .. 1"),
        (lambda: models.McCullochPitts([1, 1], 1, [0.5]), "an inhibitory input"),
        (lambda: models.McCullochPitts([1, 1], 1)([[0, 2]]), "0 or 1"),
        (lambda: models.McCullochPitts([1, 1], 1)([[0, 1, 1]]), r"\[2\]"),
        (lambda: models.mcculloch_pitts_gate("maybe"), "maybe"),
        (lambda: models.mcculloch_pitts_gate("and", "soft"), "soft"),
        (lambda: models.truth_table(lambda x: x, 17), "1 to 16"),
    ],
)
def test_mcculloch_pitts_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- the perceptron rules


@pytest.mark.parametrize("name", ["and", "or", "nand", "nor", "x1_and_not_x2", "xor", "xnor"])
@pytest.mark.parametrize("bipolar", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_rules_learn_what_a_line_separates(name, bipolar, strict):
    y = np.array(TRUTH[name])
    labels = 2 * y - 1 if bipolar else y
    runs = [models.error_correction(GATES, labels, strict=strict, rate=0.5, max_epochs=60)]
    runs += [] if strict else [models.set_rule(GATES, labels, max_draws=800)]
    for run in runs:
        assert run.converged is (name not in ("xor", "xnor"))
        assert (run.predict(GATES) == labels).all() is np.bool_(run.converged)
        assert str(run).startswith("converged" if run.converged else "did not converge")
        assert run.wrong == int((run.predict(GATES) != labels).sum()) and run.path.shape == (run.updates + 1, 3)
    if name == "xor":
        assert f"{runs[0].wrong} of 4 samples wrong" in str(runs[0]) and runs[0].epochs == 60


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("low", [0, -1])
def test_error_correction_by_hand(strict, low):
    """w += rate (t - y) x, written out with NumPy; the threshold is reached (>=) or exceeded (>)."""
    rng = np.random.default_rng(1)
    x, t = rng.integers(-2, 3, (30, 3)).astype(F64), rng.choice([low, 1], 30)
    w = np.zeros(4)
    for _ in range(3):
        for sample, target in zip(x, t, strict=True):
            net = w[:3] @ sample + w[3]
            y = 1 if (net > 0.5 if strict else net >= 0.5) else low
            w += 0.25 * (target - y) * np.append(sample, 1)
    run = models.error_correction(x, t, rate=0.25, threshold=0.5, strict=strict, max_epochs=3, shuffle=False)
    np.testing.assert_allclose(np.append(run.weights, run.bias), w, atol=1e-12)
    assert run.epochs == 3 and not run.converged and run.outputs == (low, 1)


def test_strict_and_reached_thresholds_differ_at_zero():
    """From zero weights every net input is 0: with >= the samples labelled 0 are wrong, with > those labelled 1."""
    reached = models.error_correction([[1.0], [2.0]], [0, 0], max_epochs=1, shuffle=False)
    assert reached.updates == 1
    assert models.error_correction([[1.0], [2.0]], [0, 0], strict=True, max_epochs=1).updates == 0
    assert models.error_correction([[1.0], [2.0]], [1, 1], max_epochs=1).updates == 0
    assert models.error_correction([[1.0], [2.0]], [1, 1], strict=True, max_epochs=1, shuffle=False).updates == 1


def test_set_rule_only_moves_by_samples():
    """C:1: every move of w is plus a positive sample that was below 0, or minus a negative one that was not."""
    x, y = data.generate.moons(60, 0.3, seed=2).x.astype(F64), data.generate.moons(60, 0.3, seed=2).y
    run = models.set_rule(x, y, max_draws=300, seed=3)
    z = np.concatenate([x, np.ones((60, 1))], 1)
    assert run.updates > 10
    for before, after in itertools.pairwise(run.path):
        i = [k for k in range(60) if np.allclose(after - before, z[k] if y[k] else -z[k], atol=1e-12)]
        assert any((z[k] @ before < 1e-12) if y[k] else (z[k] @ before >= -1e-12) for k in i)


def separable(seed, margin=0.3):
    rng = np.random.default_rng(seed)
    plane = rng.standard_normal(3)
    plane[2] *= 0.2
    plane /= np.linalg.norm(plane)
    x = rng.uniform(-1, 1, (400, 2))
    distance = np.concatenate([x, np.ones((400, 1))], 1) @ plane
    keep = np.abs(distance) > margin
    return x[keep], (distance[keep] > 0).astype(int), plane


@pytest.mark.parametrize("seed", range(5))
def test_mistakes_stay_below_the_bound(seed):
    """Novikoff: at most (R / gamma)**2 updates from zero weights, whatever the rate, the coding and the order."""
    x, y, plane = separable(seed)
    bound = models.mistake_bound(x, y, plane[:2], plane[2])
    z = np.concatenate([x, np.ones((len(x), 1))], 1)
    gamma = ((2 * y - 1) * (z @ plane)).min()
    np.testing.assert_allclose(bound, (z**2).sum(1).max() / gamma**2, rtol=1e-12)
    for order, rate in itertools.product(range(4), (1.0, 0.01)):
        run = models.error_correction(x, y, seed=order, rate=rate)
        assert run.converged and 0 < run.updates <= bound
        assert models.error_correction(x, 2 * y - 1, seed=order, rate=rate).updates == run.updates
    np.testing.assert_allclose(models.mistake_bound(x, 2 * y - 1, 7 * plane[:2], 7 * plane[2]), bound, rtol=1e-12)
    with pytest.raises(ValueError, match="does not separate"):
        models.mistake_bound(x, 1 - y, plane[:2], plane[2])


def test_dead_zone_rule_by_hand():
    """Steps I to VII, written out with NumPy: three levels, w_j += rate t_j x only where unit j is wrong."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(25, 4)), rng.integers(0, 3, 25)
    t = np.where(np.arange(3) == labels[:, None], 1.0, -1.0)
    w, b = np.zeros((3, 4)), np.zeros(3)
    for _ in range(4):
        for sample, target in zip(x, t, strict=True):
            for j in range(3):
                net = w[j] @ sample + b[j]
                y = 1 if net > 0.4 else -1 if net < -0.4 else 0
                if y != target[j]:
                    w[j] += 0.5 * target[j] * sample
                    b[j] += 0.5 * target[j]
    for targets in (labels, t):
        run = models.dead_zone_rule(x, targets, dead_zone=0.4, rate=0.5, max_epochs=4)
        np.testing.assert_allclose(run.weights, w, atol=1e-12)
        np.testing.assert_allclose(run.bias, b, atol=1e-12)
    assert (run.predict(x) == (x @ w.T + b).argmax(1)).all()


def test_dead_zone_keeps_a_distance_and_stops_after_a_quiet_epoch():
    blobs = data.generate.blobs(90, 3, 0.1, seed=0)
    run = models.dead_zone_rule(blobs.x, blobs.y, dead_zone=0.5)
    assert run.converged and run.wrong == 0 and "converged after" in str(run)
    assert np.abs(run.net(blobs.x)).min() > 0.5 and (run.predict(blobs.x) == blobs.y).all()
    again = models.dead_zone_rule(blobs.x, blobs.y, dead_zone=0.5, start=run.path[-1])
    assert again.updates == 0 and again.epochs == 1
    assert not models.dead_zone_rule(GATES, np.array([0, 1, 1, 0]), max_epochs=50).converged


def test_zero_targets_are_refused_or_mapped():
    """A target of 0 moves nothing (t x = 0): with it the rule would stop at weights that are wrong."""
    onehot = np.array([[1, 0], [0, 1], [0, 1], [0, 1]])
    with pytest.raises(ValueError, match="target of 0"):
        models.dead_zone_rule(GATES, onehot)
    mapped = models.dead_zone_rule(GATES, onehot, zero_targets="map")
    same = models.dead_zone_rule(GATES, 2 * onehot - 1)
    assert np.array_equal(mapped.path, same.path) and mapped.converged


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.error_correction([[1.0]], [2]), "labels must be"),
        (lambda: models.error_correction([1.0], [1]), r"\[N,D\]"),
        (lambda: models.error_correction([[1.0]], [1], rate=0), "rate"),
        (lambda: models.error_correction([[1.0]], [1], start=[1.0]), "bias last"),
        (lambda: models.set_rule([[np.inf]], [1]), "finite"),
        (lambda: models.set_rule([[1.0]], [1, 0]), "one label per sample"),
        (lambda: models.dead_zone_rule([[1.0]], [[2]]), "targets"),
        (lambda: models.dead_zone_rule([[1.0]], [[1]], zero_targets="drop"), "refuse"),
        (lambda: models.error_correction([[1.0]], [1]).predict([[1.0, 2.0]]), r"\[N,1\]"),
        (lambda: models.mistake_bound([[1.0]], [1], [1.0, 2.0]), r"\[1\]"),
    ],
)
def test_rules_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_boundary_plot():
    """The regions drawn are those of predict; the line of the unit separates them."""
    pytest.importorskip("matplotlib")
    run = models.error_correction(GATES, TRUTH["and"])
    seen = []

    def predict(points):
        seen.append(points)
        return run.predict(points)

    figure = viz.decision_boundary(predict, GATES, np.array(TRUTH["and"]), ("off", "on"), steps=40)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["off", "on"]
    assert seen[0].shape == (1600, 2) and seen[0].min() < -0.1 and seen[0].max() > 1.1
    with pytest.raises(ValueError, match="decision_boundary"):
        viz.decision_boundary(run.predict, np.zeros((3, 3)), np.zeros(3, int))
    with pytest.raises(ValueError, match="predict"):
        viz.decision_boundary(lambda p: p, GATES, np.array(TRUTH["and"]))
