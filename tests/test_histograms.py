"""Histograms of weights, gradients and activations: against NumPy, without a trace in the run, and as plots."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import nn, viz
from rosenblatt.train import HistogramRecord, Histograms

RNG = np.random.default_rng(1)
X = RNG.standard_normal((60, 4)).astype(np.float32)
Y = (np.arange(60) % 3).astype(np.int64)


def net(seed=0, dropout=0.0):
    rb.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8, activation="relu"), nn.Dropout(dropout), nn.Linear(8, 3))


def by_name(records, kind):
    return {r.name: r for r in records if r.kind == kind}


def test_statistics_against_numpy():
    values = RNG.standard_normal((5, 7)).astype(np.float32)
    values[0, :3] = 0.0
    r = HistogramRecord.of(3, "weights", "w", values, bins=10)
    v = values.astype(np.float64).ravel()
    assert (r.epoch, r.kind, r.name, r.size, r.nonfinite) == (3, "weights", "w", 35, 0)
    assert r.norm == pytest.approx(math.sqrt((v * v).sum()), rel=1e-12)
    assert r.rms == pytest.approx(math.sqrt((v * v).mean()), rel=1e-12)
    assert (r.mean, r.std) == (pytest.approx(v.mean(), abs=1e-12), pytest.approx(v.std(), rel=1e-12))
    assert (r.low, r.high, r.zeros) == (v.min(), v.max(), 3 / 35)
    assert r.counts.sum() == 35
    inside = [np.sum((v >= a) & (v < b)) for a, b in zip(r.edges[:-2], r.edges[1:-1], strict=True)]
    assert r.counts[:-1].tolist() == inside


@pytest.mark.parametrize("values", [np.full(5, 3.0), np.zeros(4), [1.0, np.nextafter(1.0, 2.0)], [1e300, -1e300]])
def test_values_without_width_and_huge_ones(values):
    r = HistogramRecord.of(0, "weights", "w", np.asarray(values))
    assert r.counts.sum() == len(values)
    assert r.rms >= 0


def test_nonfinite_values_are_counted_apart():
    r = HistogramRecord.of(0, "gradients", "w", np.array([1.0, np.nan, np.inf, 3.0]))
    assert (r.size, r.nonfinite, r.mean, r.low, r.high, r.counts.sum()) == (4, 2, 2.0, 1.0, 3.0, 2)
    empty = HistogramRecord.of(0, "gradients", "w", np.array([np.nan]))
    assert (empty.nonfinite, empty.norm, empty.counts.sum()) == (1, 0.0, 0)


def test_gradients_and_activations_by_hand():
    """One linear layer with the mean squared error: dL/dw = 2/(N K) (x w' + b - y)' x."""
    model = nn.Sequential(nn.Linear(4, 2))
    target = RNG.standard_normal((60, 2)).astype(np.float32)
    records = Histograms(X, target).observe(model)
    w, b = (p.data.astype(np.float64) for p in model.parameters())
    out = X @ w.T + b
    error = 2.0 / out.size * (out - target)
    gradients = by_name(records, "gradients")
    assert gradients["0.weight"].norm == pytest.approx(np.linalg.norm(error.T @ X), rel=1e-5)
    assert gradients["0.bias"].norm == pytest.approx(np.linalg.norm(error.sum(0)), rel=1e-5)
    activation = by_name(records, "activations")["0"]
    assert activation.norm == pytest.approx(np.linalg.norm(out), rel=1e-5)
    assert activation.size == 120
    assert by_name(records, "weights")["0.weight"].norm == pytest.approx(np.linalg.norm(w), rel=1e-6)


def test_relu_units_that_are_off_are_seen():
    model = net()
    model[0].bias.data[...] = -100.0
    records = Histograms(X, Y).observe(model)
    assert by_name(records, "activations")["0"].zeros == 1.0
    assert by_name(records, "gradients")["0.weight"].norm == 0.0


def test_vanishing_gradients_are_seen():
    layers = [nn.Linear(8, 8, activation="sigmoid") for _ in range(8)]
    model = nn.Sequential(nn.Linear(4, 8, activation="sigmoid"), *layers, nn.Linear(8, 3))
    gradients = by_name(Histograms(X, Y).observe(model), "gradients")
    assert gradients["0.weight"].rms < 1e-5 * gradients["9.weight"].rms


def test_a_run_has_the_same_bits_and_keeps_its_capture():
    def run(callbacks):
        model = net(dropout=0.3)
        history = model.fit(X, Y, epochs=5, batch_size=20, seed=2, progress=False, callbacks=callbacks, capture=True)
        return model.state_dict(), history.history["loss"], rb.ops.uniform((3,))

    watch = Histograms(X, Y, every=2)
    (a, loss_a, next_a), (b, loss_b, next_b) = run([]), run([watch])
    assert loss_a == loss_b
    assert (next_a == next_b).all()
    assert all((a[k] == b[k]).all() for k in a)
    assert sorted({r.epoch for r in watch.records}) == [0, 2, 4, 5]
    for kind, names in (("weights", 4), ("gradients", 4), ("activations", 3)):
        assert len(by_name(watch.records, kind)) == names
    assert by_name(watch.records, "weights")["0.weight"].norm == pytest.approx(np.linalg.norm(b["0.weight"]), rel=1e-6)
    assert [r.epoch for r in watch.select("gradients", "2.weight")] == [0, 2, 4, 5]
    net().fit(X, Y, epochs=9, progress=False, callbacks=[rb.train.StopWhen(error_below=99.0), watch])
    assert sorted({r.epoch for r in watch.records}) == [0, 1]


def test_observing_leaves_the_model_alone():
    model = net(dropout=0.5)
    model[2].requires_grad_(False)
    model.train()
    records = Histograms(X, Y).observe(model)
    assert set(by_name(records, "gradients")) == {"0.weight", "0.bias"}
    assert all(p.grad is None for p in model.parameters())
    activations = by_name(records, "activations")
    assert activations["0"].norm == activations["1"].norm  # evaluation mode: nothing is dropped
    assert all(m.training for m in model.modules())
    again = Histograms(X, Y).observe(model)
    assert [r.to_json() for r in again] == [r.to_json() for r in records]  # no dropout in evaluation mode
    with rb.no_grad():
        assert len(Histograms(X, Y).observe(model)) == len(records)


def test_records_survive_a_checkpoint(tmp_path):
    def run(epochs, resume):
        model, watch = net(), Histograms(X, Y, bins=7)
        model.fit(
            X,
            Y,
            epochs=epochs,
            batch_size=20,
            seed=1,
            progress=False,
            callbacks=[watch],
            checkpoint=tmp_path / "a",
            resume=resume,
        )
        return watch.to_json()

    run(2, False)
    resumed = run(4, True)
    model, whole = net(), Histograms(X, Y, bins=7)
    model.fit(X, Y, epochs=4, batch_size=20, seed=1, progress=False, callbacks=[whole])
    assert resumed == whole.to_json()


def test_json_there_and_back():
    records = Histograms(X, Y).observe(net())
    text = json.dumps([r.to_json() for r in records])
    back = [HistogramRecord.from_json(e) for e in json.loads(text)]
    assert [r.to_json() for r in back] == [r.to_json() for r in records]
    for damage in ({"counts": []}, {"counts": [-1]}, {"kind": "x"}, {"norm": "a"}, {"norm": math.nan}, {"more": 1}):
        with pytest.raises(ValueError, match="not a stored record"):
            HistogramRecord.from_json({**records[0].to_json(), **damage})
    with pytest.raises(ValueError, match="not a stored record"):
        HistogramRecord.from_json(3)


def test_options_that_do_not_fit():
    for options, message in [
        ({"gradients": True}, "give x"),
        ({"x": X, "gradients": True}, "need y"),
        ({"y": Y}, "give x"),
        ({"weights": False}, "nothing to observe"),
        ({"every": 0}, "every"),
        ({"bins": 1}, "bins"),
    ]:
        with pytest.raises(ValueError, match=message):
            Histograms(**options)
    with pytest.raises(ValueError, match="expected a kind"):
        Histograms().select("biases")


# --- plots


def recorded():
    watch = Histograms(X, Y, every=1)
    net().fit(X, Y, epochs=4, batch_size=20, progress=False, callbacks=[watch])
    return watch


def test_layer_norms_show_every_layer_over_the_epochs():
    pytest.importorskip("matplotlib")
    watch = recorded()
    figure = viz.layer_norms(watch)
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == ["gradients", "activations", "weights"]
    lines = {line.get_label(): line for line in panels["gradients"].lines}
    assert set(lines) == {"0.weight", "2.weight"}
    expected = [r.rms for r in watch.select("gradients", "2.weight")]
    assert lines["2.weight"].get_ydata().tolist() == expected
    assert lines["2.weight"].get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert panels["gradients"].get_yscale() == "log"


def test_histogram_map_shows_the_counts():
    pytest.importorskip("matplotlib")
    watch = recorded()
    figure = viz.histogram_map(watch, "weights")
    assert [a.get_title() for a in figure.axes] == ["0.weight", "2.weight"]
    axes = next(a for a in figure.axes if a.get_title() == "0.weight")
    columns = axes.collections
    assert len(columns) == 5
    for column, r in zip(columns, watch.select("weights", "0.weight"), strict=True):
        shares = np.asarray(column.get_array()).ravel()
        np.testing.assert_allclose(shares, r.counts / r.counts.max())
        assert column.get_coordinates()[0, :, 0].tolist() == [r.epoch - 0.5, r.epoch + 0.5]
        assert column.get_coordinates()[[0, -1], 0, 1].tolist() == [r.low, r.high]
    figure.canvas.draw()  # constants (a dead layer) can be drawn as well
    viz.histogram_map([HistogramRecord.of(0, "weights", "c", np.zeros(3))], "weights").canvas.draw()


def test_plots_refuse_what_is_not_there():
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="no records of gradients"):
        viz.histogram_map([])
    with pytest.raises(ValueError, match="no records of weights"):
        viz.layer_norms([], ["weights"])
    with pytest.raises(ValueError, match="most"):
        viz.histogram_map(recorded(), most=0)


def test_rate_range_plot_marks_the_suggestion():
    pytest.importorskip("matplotlib")
    from rosenblatt.train import RateRange

    result = RateRange([1e-3, 1e-2, 1e-1, 1.0, 10.0], [2.0, 1.9, 1.0, 0.8, 5.0])
    axes = viz.rate_range_curve(result).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.lines[0].get_ydata().tolist() == result.losses
    assert axes.lines[1].get_xdata()[0] == 1e-2 or axes.lines[1].get_xdata()[0] == 1e-1
    assert axes.lines[1].get_xdata()[0] == result.suggestion()
    mark = axes.lines[2]
    assert float(np.ravel(mark.get_ydata())[0]) == pytest.approx(result.losses[result.rates.index(result.suggestion())])
    assert "suggestion" in axes.get_legend().get_texts()[0].get_text()
    with pytest.raises(ValueError, match="at least 3"):
        viz.rate_range_curve(RateRange([1.0, 2.0], [1.0, 2.0]))
    with pytest.raises(ValueError, match="above 0"):
        viz.rate_range_curve(RateRange([0.0, 1.0, 2.0], [1.0, 2.0, 1.0]))


def test_rate_range_of_a_model_can_be_drawn():
    pytest.importorskip("matplotlib")
    model = net()
    result = rb.train.learning_rate_range(
        model, X, Y, rb.optim.SGD(model.parameters(), lr=0.1), steps=30, batch_size=10, high=100.0
    )
    viz.rate_range_curve(result).canvas.draw()


# --- the command line and the report


def command(*words):
    from rosenblatt.cli.main import main

    return main([*map(str, words)])


def test_command_line_keeps_the_records_and_the_report_shows_them(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    folder = tmp_path / "run"
    assert command("train", "perceptron", "--epochs", 2, "--quiet", "--histograms", "--out", folder) == 0
    stored = json.loads((folder / "histograms.json").read_text())["records"]
    assert {(r["kind"], r["epoch"]) for r in stored} == {
        (k, e) for k in ("weights", "gradients", "activations") for e in (0, 1, 2)
    }
    model = rb.models.build("perceptron")
    rb.io.load_weights(model, folder / "weights.safetensors")  # those of the better of two epochs
    for name, value in model.state_dict().items():
        norms = [r["norm"] for r in stored if r["kind"] == "weights" and r["name"] == name and r["epoch"] > 0]
        assert min(abs(n / np.linalg.norm(value) - 1) for n in norms) < 1e-5
    page = (folder / "report.html").read_text()
    assert "<h2>Layers</h2>" in page
    assert page.count('<figure class="wide">') == 4
    assert command("report", folder) == 0
    assert (folder / "report.html").read_text() == page
    (folder / "histograms.json").write_text('{"records": [1]}')
    capsys.readouterr()
    assert command("report", folder) == 2
    assert "histograms.json: damaged" in capsys.readouterr().err
    assert command("train", "perceptron", "--epochs", 1, "--quiet", "--overwrite", "--out", folder) == 0
    assert not (folder / "histograms.json").exists()
    assert "<h2>Layers</h2>" not in (folder / "report.html").read_text()


def test_perceptron_and_images_can_be_observed(tmp_path):
    pytest.importorskip("sklearn")
    for name in ("perceptron", "lenet5"):
        words = ("--epochs", 1, "--quiet", "--no-report", "--histograms", "--out", tmp_path / name)
        assert command("train", name, *words) == 0
        records = json.loads((tmp_path / name / "histograms.json").read_text())["records"]
        assert any(r["kind"] == "gradients" and r["norm"] > 0 for r in records)
