"""The command line: what it prints, leaves behind and returns, in order and when something is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import data, models, nn
from rosenblatt.cli.main import main

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
FILES = {"config.json", "history.json", "report.html", "weights.safetensors"}


def train(folder: Path, *options: str, name: str = "mlp", epochs: int = 2) -> Path:
    assert main(["train", name, "--epochs", str(epochs), "--quiet", "--out", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "mlp", epochs=15)


@pytest.fixture(autouse=True)
def same_threads():
    before = rb.get_num_threads()
    yield
    rb.set_num_threads(before)


# --- registry


def test_registry_lists_oldest_first_and_suggests():
    names = models.names()
    assert [n for n in names if n in ("lenet5", "mlp", "perceptron")] == ["perceptron", "mlp", "lenet5"]
    assert names == sorted(names, key=lambda n: (models.info(n).year, n))
    assert models.info("lenet5").year == 1998 and "LeCun" in models.info("lenet5").paper
    with pytest.raises(models.UnknownModelError, match="did you mean 'lenet5'"):
        models.info("lenet")
    with pytest.raises(ValueError, match="exists"):
        models.register("mlp", family="", year=0, paper="", what="", recipe=models.info("mlp").recipe)(models.mlp)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("perceptron", {}, 650),
        ("mlp", {}, 64 * 128 + 128 + 128 * 10 + 10),
        ("mlp", {"hidden": (32, 16), "classes": 3, "input_shape": (5,)}, 6 * 32 + 33 * 16 + 17 * 3),
        ("softmax_regression", {}, 650),
        ("partial_mlp", {}, 128 * 16 + 128 + 128 * 10 + 10),
        ("maxout", {}, 65 * 64 * 3 + 65 * 10),
        ("polynomial", {"hidden": (9, 5)}, 6 * 9 + 6 * 5 + 6 * 10),
        ("lenet5", {}, 61_706),
        ("lenet5", {"activation": "tanh", "pool": "avg"}, 61_706),
    ],
)
def test_parameter_counts(name, options, count):
    model = models.build(name, **options)
    assert sum(p.size for p in model.parameters()) == count
    shape = options.get("input_shape") or models.info(name).input_shape((8, 8, 1))
    assert model.predict(np.zeros((2, *shape), np.float32)).shape == (2, options.get("classes", 10))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"activation": "swish"}),
        ("mlp", {"hidden": (0,)}),
        ("lenet5", {"input_shape": (28, 28, 1)}),
        ("lenet5", {"pool": "sum"}),
    ],
)
def test_builders_refuse_what_does_not_fit(name, options):
    with pytest.raises(ValueError, match=name):
        models.build(name, **options)


def test_perceptron_follows_the_error_correction_rule():
    """A few epochs, from random weights, against the rule written out: w += eta (t - y) x with y = step(w.x + b)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 4, 40)
    model = models.build("perceptron", input_shape=(3,), classes=4)
    w, b = rng.normal(size=(4, 3)), rng.normal(size=4)
    start = w.copy()
    model.load_state_dict({"1.weight": w, "1.bias": b})
    optimizer = rb.optim.SGD(model.parameters(), lr=0.5)
    model.fit(
        x, y, epochs=3, batch_size=1, optimizer=optimizer, loss=rb.nn.PerceptronLoss(), shuffle=False, progress=False
    )
    for _ in range(3):
        for sample, label in zip(x.astype(np.float64), y, strict=True):
            error = np.eye(4)[label] - (w @ sample + b >= 0)
            w += 0.5 * np.outer(error, sample)
            b += 0.5 * error
    state = list(model.state_dict().values())
    assert np.allclose(state[0], w, atol=1e-5) and np.allclose(state[1], b, atol=1e-5)
    assert np.abs(w - start).max() > 1


def test_lenet_prepares_what_it_is_given():
    entry = models.info("lenet5")
    digits = np.random.default_rng(0).random((3, 8, 8, 1)).astype(np.float32)
    assert np.array_equal(entry.prepare(digits), data.place(digits, 32, 28 / 32))
    colour = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
    grey = entry.prepare(colour)
    assert grey.shape == (2, 32, 32, 1)
    assert np.allclose(grey[..., 0], colour @ np.array([0.299, 0.587, 0.114], np.float32), atol=1e-6)
    augment = entry.augmentation((8, 8, 1))
    assert augment(digits, np.random.default_rng(0)).shape == (3, 32, 32, 1)
    assert entry.augmentation((32, 32, 1)).fit == 1.0


# --- commands


def test_list(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["name", "family", "year", "parameters"]
    assert any(line.split()[0] == "lenet5" and "61,706" in line and "1998" in line for line in lines[1:])


def test_version_info_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rosenblatt ")
    assert main(["info"]) == 0
    assert capsys.readouterr().out.strip().splitlines()[0] == rb.show_config().splitlines()[0]
    assert main(["info", "lenet5"]) == 0
    out = capsys.readouterr().out
    assert "61,706" in out and "LeCun" in out
    assert main([]) == 2
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0


def test_run_folder(run):
    assert {f.name for f in run.iterdir()} == FILES
    config = json.loads((run / "config.json").read_text())
    assert config["model"] == "mlp" and config["seed"] == 0 and config["threads"] >= 1 and not config["interrupted"]
    assert config["options"]["epochs"] == 15 and config["recipe"]["epochs"] == 15
    assert "instruction set" in config["environment"] and config["isa"] in config["environment"]
    history = json.loads((run / "history.json").read_text())
    assert history["epoch"] == list(range(1, 16))
    for key in ("loss", "accuracy", "test_loss", "test_accuracy"):
        assert len(history[key]) == 15
    assert history["loss"][-1] < history["loss"][0]
    assert config["result"]["test_accuracy"] > 0.88
    report = (run / "report.html").read_text()
    assert f"{100 * config['result']['test_accuracy']:.2f} %" in report and "weights as images" in report


def test_weights_of_the_run_give_the_reported_accuracy(run):
    from rosenblatt.cli.runs import load_run

    model, config = load_run(run)
    _, test = data.digits(split=True)
    accuracy = float((model.predict(test.x).argmax(axis=1) == test.y).mean())
    assert accuracy == config["result"]["test_accuracy"]


def test_predict_digits_and_files(run, tmp_path, capsys):
    _, test = data.digits(split=True)
    assert main(["predict", str(run), "--digits-test", "0", "5", "--top", "3"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("digits[0]") and second.startswith("digits[5]") and ("right" in first or "wrong" in first)
    np.save(tmp_path / "one.npy", test.x[0, :, :, 0])
    np.savez(tmp_path / "two.npz", x=test.x[:2])
    image = pytest.importorskip("PIL.Image")
    image.fromarray((test.x[0, :, :, 0] * 255).astype(np.uint8)).save(tmp_path / "p.png")
    image.fromarray(255 - (test.x[0, :, :, 0] * 255).astype(np.uint8)).save(tmp_path / "inverse.png")
    files = [str(tmp_path / name) for name in ("one.npy", "two.npz", "p.png")]
    assert main(["predict", str(run), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    answers = [line.split()[1] for line in lines]
    assert answers[0] == answers[1] == answers[3] == first.split()[1]
    assert lines[0].split()[2] == lines[1].split()[2]
    assert main(["predict", str(run), "--invert", str(tmp_path / "inverse.png")]) == 0
    assert capsys.readouterr().out.split()[1:] == lines[3].split()[1:]


def test_info_of_a_run(run, capsys):
    assert main(["info", str(run)]) == 0
    out = capsys.readouterr().out
    assert "mlp" in out and "test accuracy" in out and "rosenblatt train mlp" in out


def test_same_seed_same_bytes_for_any_threads(tmp_path):
    weights = [
        (train(tmp_path / str(i), *options) / "weights.safetensors").read_bytes()
        for i, options in enumerate((["--threads", "1"], ["--threads", "2"], ["--seed", "1"]))
    ]
    assert weights[0] == weights[1] != weights[2]


def test_command_in_the_configuration_repeats_the_run(tmp_path):
    first = train(
        tmp_path / "a", "--seed", "3", "--lr", "0.01", "--optimizer", "sgd", "--no-augment", "--batch-size", "64"
    )
    command = json.loads((first / "config.json").read_text())["command"]
    assert main([*command[1:], "--out", str(tmp_path / "b")]) == 0
    assert (first / "weights.safetensors").read_bytes() == (tmp_path / "b" / "weights.safetensors").read_bytes()


def test_default_folder_and_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "perceptron", "--epochs", "1", "--no-report"]) == 0
    streams = capsys.readouterr()
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("perceptron-") and {f.name for f in folder.iterdir()} == FILES - {"report.html"}
    assert streams.out.startswith("test accuracy 0.") and streams.out.count("\n") == 1
    assert "650 parameters" in streams.err


@pytest.mark.parametrize("name", ["perceptron", "lenet5"])
def test_every_network_trains_saves_and_predicts(tmp_path, capsys, name):
    folder = train(tmp_path / "r", name=name, epochs=1)
    assert main(["predict", str(folder), "--digits-test", "0"]) == 0
    assert "digits[0]" in capsys.readouterr().out
    assert ("filters" if name == "lenet5" else "weights as images") in (folder / "report.html").read_text()


def test_train_on_files(tmp_path):
    train_set, _ = data.digits(split=True)
    table = tmp_path / "digits.csv"
    with table.open("w") as f:
        f.write("digit," + ",".join(f"p{i}" for i in range(64)) + "\n")
        for x, y in zip(train_set.x[:200], train_set.y[:200], strict=True):
            f.write(f"{y}," + ",".join(f"{v:g}" for v in x.ravel()) + "\n")
    folder = train(tmp_path / "csv", "--data", str(table), "--label", "digit")
    config = json.loads((folder / "config.json").read_text())
    assert config["data_shape"] == [64] and config["train_samples"] + config["test_samples"] == 200
    archive = tmp_path / "d.npz"
    np.savez(archive, x=train_set.x[:100], y=train_set.y[:100])
    train(tmp_path / "npz", "--data", str(archive), name="lenet5", epochs=1)


@pytest.fixture
def sized():
    """A network that trains on generated pictures of 16x16 pixels and was published with 24x24."""
    from rosenblatt.models import registry

    @registry.register(
        "sized", family="convolutional", year=2000, paper="-", what="-", image=(16, 16, 3), full=(24, 24, 3),
        recipe=registry.Recipe(epochs=1, batch_size=64, optimizer="rmsprop", lr=1e-3), data="scenes",
    )  # fmt: skip
    def build(num_classes=7, *, input_shape=(24, 24, 3)):
        size = input_shape[0] * input_shape[1] * input_shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(size, num_classes))

    yield build
    registry._REGISTRY.pop("sized")


@pytest.mark.parametrize(("options", "pixels"), [([], 16), (["--full"], 24)])
def test_default_data_and_the_published_size(tmp_path, capsys, sized, options, pixels):
    folder = train(tmp_path / "r", *options, name="sized", epochs=1)
    config = json.loads((folder / "config.json").read_text())
    assert config["data"] == "scenes" and config["input_shape"] == [pixels, pixels, 3]
    assert config["train_samples"] == 600 and config["test_samples"] == 300 and len(config["classes"]) == 6
    assert config["recipe"]["optimizer"] == "rmsprop" and ("--full" in config["command"]) == bool(options)
    assert config["parameters"] == 6 * (pixels**2 * 3 + 1)
    assert main(["report", str(folder)]) == 0
    np.save(tmp_path / "x.npy", np.zeros((2, pixels, pixels, 3), np.float32))
    assert main(["predict", str(folder), str(tmp_path / "x.npy")]) == 0
    capsys.readouterr()
    assert main(["info", "sized"]) == 0
    shown = capsys.readouterr().out
    assert "trained on scenes at 16x16x3 unless --full asks for 24x24x3" in shown and "12,103" in shown
    assert "pip install" not in shown


def test_train_on_generated_points(tmp_path, monkeypatch):
    """Points in the plane by name; the report draws the boundary, also when it is written again, and a run resumes."""
    folder = train(tmp_path / "moons", "--data", "moons", "--checkpoint-every", "1", name="maxout", epochs=2)
    config = json.loads((folder / "config.json").read_text())
    assert config["data"] == "moons" and config["data_shape"] == [2] and config["test_samples"] == 500
    assert "Decision boundary" in (folder / "report.html").read_text()
    assert "--data moons" in " ".join(config["command"])
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--resume", str(folder), "--epochs", "3", "--quiet"]) == 0
    assert json.loads((folder / "config.json").read_text())["result"]["epochs"] == 3
    (folder / "report.html").unlink()
    assert main(["report", str(folder)]) == 0
    assert "Decision boundary" in (folder / "report.html").read_text()
    digits = train(tmp_path / "digits", name="perceptron", epochs=1)
    assert "Decision boundary" not in (digits / "report.html").read_text()


@pytest.mark.parametrize("name", ["partial_mlp", "polynomial"])
def test_random_structure_is_the_same_in_a_loaded_run(name, tmp_path, capsys):
    """Connections and pairs are drawn by the builder's own seed: weights belong to them in every process."""
    folder = train(tmp_path / "run", "--seed", "3", "--no-report", name=name)
    rb.manual_seed(99)
    assert main(["report", str(folder)]) == 0
    stored = json.loads((folder / "config.json").read_text())["result"]["test_accuracy"]
    assert f"test accuracy {stored:.4f}" in capsys.readouterr().out


def test_augmentation_can_be_switched(tmp_path):
    a = train(tmp_path / "a", "--augment")
    b = train(tmp_path / "b", "--no-augment", name="lenet5", epochs=1)
    assert "Affine" in json.loads((a / "config.json").read_text())["recipe"]["augment"]
    assert json.loads((b / "config.json").read_text())["recipe"]["augment"] is None


def test_report_can_be_written_again_from_anywhere(run, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "moved" / "run"
    shutil.copytree(run, folder)
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    monkeypatch.chdir(folder)
    assert main(["report", "."]) == 0
    assert (folder / "report.html").read_bytes() == before
    assert "report.html" in capsys.readouterr().out


def test_report_needs_the_data_of_the_run(tmp_path, capsys):
    rng = np.random.default_rng(0)
    archive, other = tmp_path / "d.npz", tmp_path / "other.npz"
    x, y = rng.random((60, 4, 4, 1)), np.arange(60) % 3
    np.savez(archive, x=x, y=y)
    np.savez(other, x=x[:, :3], y=y)
    folder = train(tmp_path / "r", "--data", str(archive))
    before = (folder / "report.html").read_text()
    archive.rename(tmp_path / "new.npz")
    assert main(["report", str(folder)]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["report", str(folder), "--data", str(other)]) == 2
    assert "not the data of this run" in capsys.readouterr().err
    assert main(["report", str(folder), "--data", str(tmp_path / "new.npz")]) == 0
    assert (folder / "report.html").read_text() == before.replace("mlp on d.npz", "mlp on new.npz")
    (folder / "history.json").write_text('{"epoch": [1], "loss": []}')
    assert main(["report", str(folder), "--data", str(tmp_path / "new.npz")]) == 2
    assert "history.json" in capsys.readouterr().err


def test_train_without_matplotlib_leaves_the_rest(tmp_path, run_python):
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["matplotlib.figure"] = None
from rosenblatt.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    folder = tmp_path / "r"
    result = run_python(code, "train", "mlp", "--epochs", "1", "--quiet", "--out", folder)
    assert result.stderr.count("\n") == 1 and 'pip install "rosenblatt[demo]"' in result.stderr
    assert f"rosenblatt report {folder}" in result.stderr
    assert {f.name for f in folder.iterdir()} == FILES - {"report.html"}
    result = run_python(code, "report", folder, ok=False)
    assert result.returncode == 2 and "rosenblatt[demo]" in result.stderr


def test_matplotlib_waits_until_training_is_over(tmp_path, run_python):
    code = """
import sys
from rosenblatt.cli import train as module
from rosenblatt.cli.main import main
assert "matplotlib" not in sys.modules
real = module.measure
def measure(*arguments):
    assert "matplotlib" not in sys.modules
    return real(*arguments)
module.measure = measure
assert main(["train", "mlp", "--epochs", "1", "--quiet", "--out", sys.argv[1]]) == 0
assert "matplotlib" in sys.modules
"""
    run_python(code, tmp_path / "r")


def test_overwrite_replaces_the_run_and_nothing_else(tmp_path, capsys):
    folder = train(tmp_path / "r", "--seed", "1")
    (folder / "notes.txt").write_text("mine")
    old = (folder / "weights.safetensors").read_bytes()
    assert main(["train", "mlp", "--epochs", "1", "--quiet", "--out", str(folder)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    bad = ["--lr", "1e38", "--optimizer", "sgd", "--check-finite"]
    assert main(["train", "mlp", "--quiet", "--out", str(folder), "--overwrite", *bad]) == 2
    assert {f.name for f in folder.iterdir()} == {*FILES, "notes.txt"}  # training failed: the old run is whole
    assert (folder / "weights.safetensors").read_bytes() == old
    train(folder, "--overwrite", "--no-report", epochs=1)
    assert {f.name for f in folder.iterdir()} == {*FILES, "notes.txt"} - {"report.html"}
    assert (folder / "weights.safetensors").read_bytes() != old and (folder / "notes.txt").read_text() == "mine"
    assert "--overwrite" not in json.loads((folder / "config.json").read_text())["command"]
    file = tmp_path / "file"
    file.touch()
    assert main(["train", "mlp", "--quiet", "--out", str(file), "--overwrite"]) == 2


def test_validation_part_chooses_the_weights(tmp_path):
    folder = train(tmp_path / "a", "--validation", "0.2", "--seed", "4", epochs=6)
    config, history = (json.loads((folder / name).read_text()) for name in ("config.json", "history.json"))
    train_set, test_set = data.digits(split=True)
    assert config["validation_samples"] == 180 and config["train_samples"] == len(train_set) - 180
    assert len(history["val_loss"]) == len(history["val_accuracy"]) == 6 and "test_loss" not in history
    assert config["test_samples"] == len(test_set)
    from rosenblatt.cli.runs import load_run

    model, _ = load_run(folder)
    _, held = train_set.split(0.2, 4)
    assert model.evaluate(held.x, held.y)["loss"] == pytest.approx(min(history["val_loss"]), rel=1e-5)
    report = (folder / "report.html").read_text()
    assert "validation" in report and "180 validation" in report
    assert main([*config["command"][1:], "--out", str(tmp_path / "b")]) == 0
    assert (folder / "weights.safetensors").read_bytes() == (tmp_path / "b" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("strict", [False, True])
def test_perceptron_threshold_at_zero(strict):
    """At net = 0 the unit fires unless `strict`: the gradient is y_hat - y."""
    net = rb.Tensor(np.array([[0.0, -1.0, 2.0], [0.0, 0.0, -0.0]], np.float32), requires_grad=True)
    labels = np.array([0, 1])
    loss = rb.nn.PerceptronLoss(strict=strict)(net, labels)
    loss.backward()
    fires = net.data > 0 if strict else net.data >= 0
    assert np.array_equal(np.asarray(net.grad.data), fires - np.eye(3)[labels])
    assert loss.item() == rb.ops.perceptron_loss(net.data, labels, strict=strict) == 2.0
    assert (rb.nn.PerceptronLoss().strict, models.info("perceptron").recipe.loss) == (False, "perceptron")


def test_strict_perceptron_from_zero_weights_by_hand():
    """Strict, one sample, from zero: only the unit of the class is wrong, so only its weights move."""
    for strict, others in ((True, 0.0), (False, -1.0)):
        model = models.build("perceptron", input_shape=(2,), classes=3)
        x, y = np.array([[2.0, -1.0]], np.float32), np.array([1])
        optimizer = rb.optim.SGD(model.parameters(), lr=1.0)
        model.fit(x, y, epochs=1, optimizer=optimizer, loss=rb.nn.PerceptronLoss(strict=strict), progress=False)
        weight, bias = (np.asarray(v) for v in model.state_dict().values())
        unit = np.array([others, 1.0 if strict else 0.0, others])
        assert np.array_equal(bias, unit) and np.array_equal(weight, np.outer(unit, x[0]))


# --- what is refused


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["frobnicate"], ["frobnicate"]),
        (["train"], ["NAME"]),
        (["train", "lenet"], ["lenet5"]),
        (["train", "mlp", "--epochs", "0"], ["--epochs", "at least 1"]),
        (["train", "mlp", "--epochs", "two"], ["--epochs", "two"]),
        (["train", "mlp", "--lr", "-1"], ["--lr"]),
        (["train", "mlp", "--lr", "nan"], ["--lr"]),
        (["train", "mlp", "--seed", "-1"], ["--seed"]),
        (["train", "mlp", "--threads", "0"], ["--threads"]),
        (["train", "mlp", "--threads", "100000"], ["threads"]),
        (["train", "mlp", "--optimizer", "magic"], ["--optimizer", "magic"]),
        (["train", "mlp", "--size", "0x3"], ["--size", "28x28"]),
        (["train", "mlp", "--data", "no-such-file"], ["no-such-file", "not found"]),
        (["train", "mlp", "--out", "occupied"], ["occupied", "--overwrite"]),
        (["train", "mlp", "--full"], ["--full", "mlp has no larger form"]),
        (["train", "mlp", "--out", "occupied/file", "--overwrite"], ["occupied/file", "not a folder"]),
        (["train", "mlp", "--validation", "1"], ["--validation", "between 0 and 1"]),
        (["train", "mlp", "--validation", "some"], ["--validation", "some"]),
        (["report", "occupied"], ["occupied", "not a run folder"]),
        (["report", "occupied/file"], ["occupied/file", "not a run folder"]),
        (["predict", "no-such-run", "x.png"], ["no-such-run", "not a run folder"]),
        (["predict", "occupied"], ["give files"]),
        (["info", "no-such-name"], ["no-such-name", "lenet5"]),
        (["info", "occupied"], ["occupied", "not a run folder"]),
    ],
)
def test_wrong_usage_is_one_line_and_two(argv, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "file").touch()
    assert main(argv) == 2
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.count("\n") == 1 and streams.err.startswith("rosenblatt: ")
    for word in words:
        assert word in streams.err
    assert {f.name for f in tmp_path.iterdir()} == {"occupied"}


def test_damaged_run_folders_are_refused(run, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    config = folder / "config.json"
    good = config.read_text()
    for bad in (
        "{",
        "[]",
        "{}",
        good.replace('"mlp"', '"nothing"'),
        good.replace('"data_shape": [', '"data_shape": [-1,'),
        good.replace('"input_shape": [', '"input_shape": [1000000, 1000000,'),
    ):
        config.write_text(bad)
        assert main(["predict", str(folder), "--digits-test", "0"]) == 2
        err = capsys.readouterr().err
        assert str(config) in err and err.count("\n") == 1
    config.write_text(good)
    weights = folder / "weights.safetensors"
    whole = weights.read_bytes()
    for bad in (whole[:-1], b"", b"no weights at all", whole[:-1] + bytes([whole[-1] ^ 1]), None):
        weights.unlink()
        if bad is not None:
            weights.write_bytes(bad)
        for command in (["predict", str(folder), "--digits-test", "0"], ["report", str(folder)]):
            assert main(command) == 2
            err = capsys.readouterr().err
            assert str(weights) in err and err.count("\n") == 1


def test_inputs_that_do_not_fit_are_refused(run, tmp_path, capsys):
    np.save(tmp_path / "bad.npy", np.zeros((3, 3)))
    np.save(tmp_path / "nan.npy", np.full((8, 8), np.nan))
    (tmp_path / "x.txt").touch()
    for name in ("bad.npy", "nan.npy", "x.txt", "missing.png"):
        assert main(["predict", str(run), str(tmp_path / name)]) == 2
        err = capsys.readouterr().err
        assert name in err and err.count("\n") == 1
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "large.png")
    assert main(["predict", str(run), str(tmp_path / "large.png")]) == 0  # pictures are resampled, and it is said
    streams = capsys.readouterr()
    assert "20 x 30" in streams.err and "8 x 8" in streams.err and streams.out.count("\n") == 1
    assert main(["predict", str(run), "--digits-test", "899"]) == 2
    assert "0..898" in capsys.readouterr().err


def test_check_finite_names_the_layer(tmp_path, capsys):
    argv = ["train", "mlp", "--lr", "1e38", "--optimizer", "sgd", "--epochs", "9", "--check-finite", "--quiet"]
    assert main([*argv, "--out", str(tmp_path / "r")]) == 2
    err = capsys.readouterr().err
    assert "epoch 1" in err and err.count("\n") == 1 and not (tmp_path / "r").exists()


def test_our_own_faults_show_their_traceback(monkeypatch):
    from rosenblatt.cli import inspect

    def broken():
        raise ValueError("a bug")

    monkeypatch.setattr(inspect, "list_models", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(["list"])


# --- as a process


def start(*argv: str, cwd: Path) -> subprocess.Popen:
    root = str(Path(rb.__file__).parents[1])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    return subprocess.Popen(
        [sys.executable, "-m", "rosenblatt.cli", *argv],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
    )


def test_as_a_process(tmp_path):
    process = start("train", "nothing", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and out == "" and "Traceback" not in err and err.count("\n") == 1


def test_interrupt_keeps_the_best_weights(tmp_path):
    process = start("train", "lenet5", "--epochs", "5000", "--out", "run", cwd=tmp_path)
    shown = (line for line in process.stderr if line.startswith("epoch"))  # at most one line a second
    next(shown), next(shown)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    took = time.monotonic() - asked
    assert process.returncode == 130, err
    assert took < 5  # one second on an idle machine; room for a busy one
    assert "interrupted after" in out and "Traceback" not in err
    folder = tmp_path / "run"
    assert "rosenblatt report run" in err.splitlines()[-1]
    assert {f.name for f in folder.iterdir()} == FILES - {"report.html"}
    config = json.loads((folder / "config.json").read_text())
    assert config["interrupted"] and config["result"]["epochs"] >= 2
    assert main(["report", str(folder)]) == 0
    assert "interrupted" in (folder / "report.html").read_text()
    assert main(["predict", str(folder), "--digits-test", "0"]) == 0


# --- accuracy on the digits: first half to train, second half to test


def accuracy(tmp_path: Path, name: str, seed: int) -> float:
    folder = tmp_path / f"{name}-{seed}"
    # one thread: the bits are the same, and a busy machine slows it less
    options = ["--quiet", "--seed", str(seed), "--threads", "1", "--no-report"]
    assert main(["train", name, *options, "--out", str(folder)]) == 0
    return json.loads((folder / "config.json").read_text())["result"]["test_accuracy"]


def test_mlp_reaches_its_bar_with_every_seed(tmp_path):
    assert min(accuracy(tmp_path, "mlp", seed) for seed in range(5)) >= 0.935


def test_perceptron_reaches_its_bar(tmp_path):
    assert accuracy(tmp_path, "perceptron", 0) >= 0.88


@pytest.mark.timeout(900)  # half a minute on an idle core; room for a busy one
def test_lenet_reaches_its_bar(tmp_path):
    assert accuracy(tmp_path, "lenet5", 0) >= 0.95


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_lenet_reaches_its_bar_with_every_seed(tmp_path):
    got = [accuracy(tmp_path, "lenet5", seed) for seed in range(5)]
    assert min(got) >= 0.95 and np.mean(got) >= 0.96, got


# --- networks that give back their input


@pytest.fixture(scope="module")
def reconstruction(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "vae", "--no-report", name="vae", epochs=3)


def test_training_an_autoencoder(tmp_path, capsys):
    folder = train(tmp_path / "run", "--validation", "0.2", "--seed", "3", name="denoising_autoencoder")
    said = capsys.readouterr().out
    config = json.loads((folder / "config.json").read_text())
    history = json.loads((folder / "history.json").read_text())
    model = models.build("denoising_autoencoder")
    rb.io.load_weights(model, folder / "weights.safetensors")
    _, test = data.digits(split=True)
    error = float(((model.predict(test.x).astype(np.float64) - test.x) ** 2).mean())
    assert np.isclose(config["result"]["test_loss"], error, rtol=1e-5) and config["result"]["test_accuracy"] is None
    assert f"test reconstruction: squared error {error:.6f} per value (899 samples)" in said
    assert "val_loss" in history and "test_accuracy" not in history and "accuracy" not in history
    page = (folder / "report.html").read_text()
    for heading in ("Reconstructions", "Code", "weights as images"):
        assert f"{heading}</h2>" in page
    assert "Confusion" not in page and "accuracy" not in page.lower().split("<h2>configuration")[0]
    assert main(["info", str(folder)]) == 0 and main(["report", str(folder)]) == 0
    assert f"squared error {error:.6f}" in capsys.readouterr().out


def test_reporting_and_predicting_with_a_variational_one(reconstruction, capsys):
    assert main(["report", str(reconstruction)]) == 0
    page = (reconstruction / "report.html").read_text()
    assert "Samples</h2>" in page and "Traversals</h2>" in page
    assert "cross-entropy" in capsys.readouterr().out
    assert main(["predict", str(reconstruction), "--digits-test", "5", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    model = models.build("vae")
    rb.io.load_weights(model, reconstruction / "weights.safetensors")
    x = data.digits(split=True)[1].x[[5, 8]]
    wanted = ((model.predict(x) - x) ** 2).mean((1, 2, 3))
    assert [line.split()[0] for line in lines] == ["digits[5]", "digits[8]"]
    assert np.allclose([float(line.split()[-1]) for line in lines], wanted, atol=1e-6)


def test_layers_are_trained_one_by_one_before_the_stack(tmp_path, monkeypatch):
    calls = []
    original = models.pretrain

    def watch(model, x, **options):
        calls.append((x.shape, options))
        return original(model, x, **{**options, "epochs": 1})

    monkeypatch.setattr(models, "pretrain", watch)
    folder = train(tmp_path / "a", "--checkpoint-every", "1", "--no-report", name="stacked_autoencoder", epochs=1)
    assert calls == [((898, 8, 8, 1), {"epochs": 25, "batch_size": 32, "lr": 2e-3, "seed": 0})]
    assert main(["train", "--resume", str(folder), "--epochs", "2", "--quiet"]) == 0
    assert len(calls) == 1  # not again
    assert main(["info", "stacked_autoencoder"]) == 0


def test_autoencoders_refuse_augmentation(tmp_path, capsys):
    assert main(["train", "autoencoder", "--augment", "--quiet", "--out", str(tmp_path / "a")]) != 0
    assert "gives back its input" in capsys.readouterr().err


def test_the_penalties_of_the_network_count(tmp_path):
    folder = train(tmp_path / "a", "--no-report", name="sparse_autoencoder")
    recipe, x = models.info("sparse_autoencoder").recipe, data.digits(split=True)[0].x
    saved = models.build("sparse_autoencoder")
    rb.io.load_weights(saved, folder / "weights.safetensors")
    same = []
    for penalty in (rb.nn.ActivityPenalty(), None):
        rb.manual_seed(0)
        model = models.build("sparse_autoencoder")
        model.fit(
            x, x, epochs=2, batch_size=recipe.batch_size, optimizer=rb.optim.Adam(model.parameters(), lr=recipe.lr),
            callbacks=[rb.train.LearningRateSchedule.cosine()], penalty=penalty, progress=False, seed=0,
        )
        same.append(all(np.array_equal(a, b) for a, b in zip(
            model.state_dict().values(), saved.state_dict().values(), strict=True
        )))
    assert same == [True, False]
