"""Event files of a run, read back by a reader of their own: TFRecord frames, checksums and protocol buffers by hand."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import nn
from rosenblatt.io.extras import MissingExtraError
from rosenblatt.train import Histograms, TensorBoard

RNG = np.random.default_rng(1)
X = RNG.standard_normal((60, 4)).astype(np.float32)
Y = (np.arange(60) % 3).astype(np.int64)
needs_library = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import tensorboardX"], capture_output=True).returncode != 0,
    reason="tensorboardX is not installed",
)


# --- the reader: https://www.tensorflow.org/tutorials/load_data/tfrecord and tensorflow/core/util/event.proto


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_the_checksum_of_the_reader():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4


def frames(path):
    data, at = path.read_bytes(), 0
    while at < len(data):
        head = data[at : at + 8]
        (length,) = struct.unpack("<Q", head)
        assert struct.unpack_from("<I", data, at + 8)[0] == masked(head)
        body = data[at + 12 : at + 12 + length]
        assert len(body) == length
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(body)
        at += 16 + length
        yield body


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def message(data):
    """{field number: [values]}: numbers, 8 and 4 byte words and bytes as they are."""
    fields, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        else:
            if kind == 2:
                size, at = varint(data, at)
            else:
                size = {1: 8, 5: 4}[kind]
            value, at = data[at : at + size], at + size
        fields.setdefault(key >> 3, []).append(value)
    return fields


def doubles(parts):
    return np.frombuffer(b"".join(parts), "<f8")


def read(folder):
    """([(tag, step, value)], [(tag, step, histogram)], steps of restarts) of the event files in a folder, in order."""
    scalars, histograms, starts = [], [], []
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda p: (p.name.split(".")[3], p.name)):
        for body in frames(path):
            event = message(body)
            step = event.get(2, [0])[0]
            if 7 in event and message(event[7][0]).get(1) == [1]:  # session_log: START
                starts.append(step)
            for summary in event.get(5, []):
                for value in message(summary).get(1, []):
                    fields = message(value)
                    tag = fields[1][0].decode()
                    if 2 in fields:
                        scalars.append((tag, step, struct.unpack("<f", fields[2][0])[0]))
                    if 5 in fields:
                        histograms.append((tag, step, message(fields[5][0])))
    return scalars, histograms, starts


def net():
    rb.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8, activation="relu"), nn.Linear(8, 3))


class Dies(rb.train.Callback):
    """Ends the run by an error after an epoch."""

    def __init__(self, at=None):
        self.at = at

    def on_epoch_end(self, epoch, logs):
        if epoch == self.at:
            raise OSError("out of power")


def run(folder, epochs=3, at=None, **options):
    board = TensorBoard(folder, **options.pop("board", {}))
    callbacks = [board, Dies(at)]
    return net().fit(X, Y, epochs=epochs, batch_size=20, seed=1, progress=False, callbacks=callbacks, **options), board


@needs_library
def test_scalars_are_those_of_the_history(tmp_path):
    history, _ = run(tmp_path, validation_data=(X, Y))
    scalars, _, starts = read(tmp_path)
    assert {tag for tag, _, _ in scalars} == {*history.history}
    for name, values in history.history.items():
        found = [(step, value) for tag, step, value in scalars if tag == name]
        assert found == [(i + 1, np.float32(v)) for i, v in enumerate(values)], name
    assert "lr" in history.history
    assert starts == []


@needs_library
def test_histograms_and_norms(tmp_path):
    watch = Histograms(X, Y, bins=9, every=2)
    run(tmp_path, board={"histograms": watch})
    scalars, histograms, _ = read(tmp_path)
    assert [(tag, step) for tag, step, _ in histograms] == [(f"{r.kind}/{r.name}", r.epoch) for r in watch.records]
    assert {step for _, step, _ in histograms} == {0, 2, 3}
    for (_, _, h), r in zip(histograms, watch.records, strict=True):
        zero = [bytes(8)]  # which is left out of the file
        low, high, number, total, squares = (struct.unpack("<d", h.get(i, zero)[0])[0] for i in range(1, 6))
        assert (low, high, number) == (r.low, r.high, r.size)
        assert total == pytest.approx(r.mean * r.size)
        assert squares == pytest.approx(r.norm**2)
        limits, counts = doubles(h[6]), doubles(h[7])
        assert len(limits) == len(counts)
        assert (np.diff(limits) > 0).all()
        assert counts.sum() == r.size
        assert limits[-1] == pytest.approx(r.high)
    norms = {(tag, step): value for tag, step, value in scalars if tag.startswith("rms_")}
    assert norms == {(f"rms_{r.kind}/{r.name}", r.epoch): np.float32(r.rms) for r in watch.records}


@needs_library
def test_batches_go_into_a_folder_of_their_own(tmp_path):
    run(tmp_path, epochs=2, board={"steps": 2})
    scalars, _, _ = read(tmp_path / "batch")
    assert [(tag, step) for tag, step, _ in scalars if tag == "loss"] == [("loss", s) for s in (2, 4, 6)]
    assert {step for tag, step, _ in read(tmp_path)[0] if tag == "loss"} == {1, 2}


@needs_library
def test_a_resumed_run_goes_on_and_marks_what_it_repeats(tmp_path):
    options = {"checkpoint": tmp_path / "c", "checkpoint_every": 2, "resume": True}
    with pytest.raises(OSError, match="power"):
        run(tmp_path / "first", 4, at=3, board={"histograms": Histograms(bins=4)}, **options)
    assert max(step for _, step, _ in read(tmp_path / "first")[0]) == 3
    history, _ = run(tmp_path / "second", 4, board={"histograms": Histograms(bins=4)}, **options)
    scalars, histograms, starts = read(tmp_path / "second")
    assert starts == [3]  # TensorBoard forgets steps from 3 on
    assert [s for t, s, _ in scalars if t == "loss"] == [3, 4]
    assert [v for t, s, v in scalars if t == "loss"] == [np.float32(v) for v in history.history["loss"][2:]]
    assert sorted({s for _, s, _ in histograms}) == [3, 4]
    run(tmp_path / "second", 5, board={"histograms": Histograms(bins=4)}, **options)  # in the same second perhaps
    assert [s for t, s, _ in read(tmp_path / "second")[0] if t == "loss"] == [3, 4, 5]


@needs_library
def test_a_trainer_writes_what_its_step_logs(tmp_path):
    model = net()
    optimizer = rb.optim.SGD(model.parameters(), lr=0.25)
    board = TensorBoard(tmp_path, histograms=Histograms())
    trainer = rb.train.Trainer(model, optimizer, rb.train.Loader(X, Y, 20), callbacks=[board], progress=False)
    trainer.run(lambda x, y: {"loss": 2.0, "margin": 3.0}, 2)
    scalars, histograms, _ = read(tmp_path)
    values = {(tag, step): value for tag, step, value in scalars if "/" not in tag}
    assert {k: values[k] for k in (("margin", 2), ("lr", 1), ("loss", 1))} == {
        ("margin", 2): 3.0,
        ("lr", 1): 0.25,
        ("loss", 1): 2.0,
    }
    assert {step for _, step, _ in histograms} == {0, 1, 2}


@needs_library
def test_values_that_are_not_finite_are_left_out(tmp_path):
    class Bad(rb.train.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["bad"] = float("nan")

    net().fit(X, Y, epochs=1, progress=False, callbacks=[Bad(), TensorBoard(tmp_path)])
    tags = {tag for tag, _, _ in read(tmp_path)[0]}
    assert "loss" in tags
    assert "bad" not in tags


@needs_library
def test_the_run_has_the_same_bits(tmp_path):
    with_board, _ = run(tmp_path, board={"histograms": Histograms(X, Y), "steps": 1})
    without = net().fit(X, Y, epochs=3, batch_size=20, seed=1, progress=False)
    assert with_board.history["loss"] == without.history["loss"]


@needs_library
def test_tensorboard_itself_reads_the_files(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history, _ = run(tmp_path, board={"histograms": Histograms(X, Y)})
    events = reader.EventAccumulator(str(tmp_path), {"histograms": 0})
    events.Reload()
    assert [e.value for e in events.Scalars("loss")] == [np.float32(v) for v in history.history["loss"]]
    assert [h.step for h in events.Histograms("gradients/0.weight")] == [0, 1, 2, 3]


@needs_library
def test_tensorboard_itself_forgets_what_came_after_the_checkpoint(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = {"checkpoint": tmp_path / "c", "checkpoint_every": 2, "resume": True}
    with pytest.raises(OSError, match="power"):
        run(tmp_path / "a", 5, at=3, board={"steps": 1}, **options)
    run(tmp_path / "a", 5, board={"steps": 1}, **options)
    events = reader.EventAccumulator(str(tmp_path / "a"))
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == [1, 2, 3, 4, 5]
    events = reader.EventAccumulator(str(tmp_path / "a" / "batch"))
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == list(range(1, 16))


@needs_library
def test_options_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="steps"):
        TensorBoard(tmp_path, steps=0)
    with pytest.raises(ValueError, match="expected a Histograms, got bool"):
        TensorBoard(tmp_path, histograms=True)


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"needs tensorboardX.*rosenblatt\[tensorboard\]"):
        TensorBoard(tmp_path)


# --- the command line


def command(*words):
    from rosenblatt.cli.main import main

    return main([*map(str, words)])


@needs_library
def test_command_line_writes_events_and_resumes(tmp_path):
    pytest.importorskip("sklearn")
    words = ("--epochs", 2, "--quiet", "--no-report", "--histograms", "--checkpoint-every", 1)
    assert command("train", "perceptron", *words, "--tensorboard", tmp_path / "tb", "--out", tmp_path / "run") == 0
    scalars, histograms, _ = read(tmp_path / "tb")
    assert [step for tag, step, _ in scalars if tag == "loss"] == [1, 2]
    assert {tag.split("/")[0] for tag, _, _ in histograms} == {"weights", "gradients", "activations"}
    assert (tmp_path / "run" / "histograms.json").exists()
    assert command("train", "--resume", tmp_path / "run", "--epochs", 3, "--quiet") == 0
    scalars, _, starts = read(tmp_path / "tb")
    assert sorted(step for tag, step, _ in scalars if tag == "loss") == [1, 2, 3]
    assert starts == [3]


def test_command_line_names_the_extra_before_anything_is_made(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert command("train", "perceptron", "--tensorboard", tmp_path / "tb", "--out", tmp_path / "run") == 2
    assert "rosenblatt[tensorboard]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
