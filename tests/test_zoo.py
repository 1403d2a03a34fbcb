"""`rosenblatt zoo`: every network runs, results are kept and not repeated, runs cut short go on."""

from __future__ import annotations

import json
import statistics
import sys

import pytest

from rosenblatt import models
from rosenblatt.cli import zoo
from rosenblatt.cli.main import main

pytest.importorskip("sklearn")


def results(folder):
    return json.loads((folder / "zoo.json").read_text("utf-8"))["networks"]


def test_results_are_kept_and_only_what_changed_is_repeated(tmp_path, capsys):
    words = ["zoo", "mlp", "autoencoder", "--seeds", "2", "--epochs", "2", "--out", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "[1/2] mlp" in out and "[2/2] autoencoder" in out
    found = results(tmp_path)
    assert found["mlp"]["measure"] == "test_accuracy" and found["autoencoder"]["measure"] == "test_loss"
    for name, entry in found.items():
        runs = [json.loads((tmp_path / f"{name}-seed{s}" / "config.json").read_text("utf-8")) for s in (0, 1)]
        assert [r["seed"] for r in runs] == entry["seeds"] == [0, 1]
        assert entry["values"] == [r["result"][entry["measure"]] for r in runs]
        assert entry["mean"] == pytest.approx(statistics.fmean(entry["values"]))
        assert entry["values"][0] != entry["values"][1] and entry["epochs"] == [2, 2]
    folder = tmp_path / "mlp-seed0"  # options changed, and a kill before the new run was over: both are told apart
    stored = json.loads((folder / "resume.json").read_text("utf-8"))
    other = zoo._words("mlp", 0, type("Options", (), {"quick": False, "epochs": 9, "threads": None}))
    assert not zoo._begun(folder, stored["command"]) and not zoo._begun(folder, other)
    (folder / "resume.json").write_text(json.dumps({"command": other}), "utf-8")
    assert zoo._begun(folder, other)
    (folder / "resume.json").write_text(json.dumps(stored), "utf-8")
    times = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/config.json")}
    assert main(words) == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/config.json")} == times
    assert main(["zoo", "mlp", "--seeds", "1", "--epochs", "3", "--out", str(tmp_path)]) == 0
    again = results(tmp_path)
    assert again["mlp"]["epochs"] == [3] and again["autoencoder"] == found["autoencoder"]


def test_a_run_that_was_cut_short_goes_on(tmp_path, monkeypatch):
    words = ["zoo", "mlp", "--seeds", "1", "--epochs", "3", "--out", str(tmp_path / "a")]
    assert main(words) == 0
    whole = results(tmp_path / "a")
    folder = tmp_path / "b" / "mlp-seed0"
    command = zoo._words("mlp", 0, type("Options", (), {"quick": False, "epochs": 3, "threads": None}))
    assert main([*command, "--out", str(folder)]) == 0
    for name in ("config.json", "history.json", "weights.safetensors"):
        (folder / name).unlink()
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()  # what a kill in the last epoch would have left
    asked = []
    run = zoo.subprocess.run
    monkeypatch.setattr(zoo.subprocess, "run", lambda words, **more: asked.append(words) or run(words, **more))
    assert main([*words[:-1], str(tmp_path / "b")]) == 0
    assert asked == [[sys.executable, "-m", "rosenblatt.cli", "train", "--resume", str(folder), "--quiet"]]
    assert results(tmp_path / "b")["mlp"]["values"] == whole["mlp"]["values"]


def test_what_cannot_be_done_is_said_and_the_rest_goes_on(tmp_path, capsys, monkeypatch):
    assert main(["zoo", "mlp", "lenet"]) == 2
    assert "did you mean 'lenet5'" in capsys.readouterr().err
    assert main(["zoo", "mlp", "--quick", "--epochs", "2"]) == 2
    (tmp_path / "file").write_text("")
    assert main(["zoo", "mlp", "--out", str(tmp_path / "file")]) == 2
    monkeypatch.setitem(zoo.__dict__, "_QUICK", [*zoo._QUICK, "--lr", "1e30"])
    assert main(["zoo", "mlp", "perceptron", "--quick", "--out", str(tmp_path / "zoo")]) == 1
    said = capsys.readouterr()
    assert "rosenblatt: mlp-seed0: " in said.err and "failed: mlp" in said.out
    assert list(results(tmp_path / "zoo")) == ["perceptron"]


def test_quick_takes_one_epoch_of_few_samples(tmp_path):
    assert main(["zoo", "vae", "lenet5", "--quick", "--out", str(tmp_path)]) == 0
    for name in ("vae", "lenet5"):
        config = json.loads((tmp_path / f"{name}-seed0" / "config.json").read_text("utf-8"))
        assert (config["train_samples"], config["test_samples"], config["result"]["epochs"]) == (16, 16, 1)


def test_every_network_runs(tmp_path):
    assert main(["zoo", "--quick", "--out", str(tmp_path)]) == 0
    assert sorted(results(tmp_path)) == sorted(models.names())
