"""Weights on disk are PyTorch's, written atomically, and checked in full before anything is assigned."""

from __future__ import annotations

import json
import os
import stat

import numpy as np
import pytest

from rosenblatt import io, models, nn
from rosenblatt.io import WeightsError

safetensors = pytest.importorskip("safetensors.numpy")
pytestmark = pytest.mark.quick


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, (2, 5)), nn.ReLU(), nn.Flatten(order="CHW"), nn.Linear(4 * 3 * 2, 7))


def randomised(model, seed):
    rng = np.random.default_rng(seed)
    model.load_state_dict({k: rng.normal(size=v.shape).astype(v.dtype) for k, v in model.state_dict().items()})
    return model


def test_round_trip_and_layout_on_disk(tmp_path):
    file = tmp_path / "w.safetensors"
    model = randomised(small(), 1)
    io.save_weights(model, file, {"note": "größer"})
    stored = safetensors.load_file(file)
    state = model.state_dict()
    assert stored.keys() == state.keys()
    assert state["0.weight"].shape == (4, 2, 5, 3) and stored["0.weight"].shape == (4, 3, 2, 5)
    for k, c, r, s in np.ndindex(4, 3, 2, 5):
        assert stored["0.weight"][k, c, r, s] == state["0.weight"][k, r, s, c]
    assert np.array_equal(stored["3.weight"], state["3.weight"]) and stored["3.weight"].shape == (7, 24)
    other = randomised(small(), 2)
    assert io.load_weights(other, file)["note"] == "größer"
    for key, value in other.state_dict().items():
        assert np.array_equal(value, state[key]), key
    assert io.read_metadata(file)["layout"] == "pytorch"


def test_weights_in_pytorchs_layout_compute_what_pytorch_computes(tmp_path):
    """Weights as PyTorch stores them, and convolution and linear layer by PyTorch's definition in NCHW loops."""
    rng = np.random.default_rng(0)
    w = {
        "0.weight": rng.normal(size=(4, 3, 2, 5)).astype(np.float32),  # [K,C,R,S]
        "0.bias": rng.normal(size=4).astype(np.float32),
        "3.weight": rng.normal(size=(7, 24)).astype(np.float32),  # [out,in], in counted channels first
        "3.bias": rng.normal(size=7).astype(np.float32),
    }
    file = tmp_path / "torch.safetensors"
    safetensors.save_file(w, file)
    model = small()
    io.load_weights(model, file)
    x = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)  # NCHW
    maps = np.zeros((2, 4, 3, 2))
    for n, k, p, q in np.ndindex(2, 4, 3, 2):
        maps[n, k, p, q] = (x[n, :, p : p + 2, q : q + 5].astype(np.float64) * w["0.weight"][k]).sum() + w["0.bias"][k]
    want = np.maximum(maps, 0).reshape(2, -1) @ w["3.weight"].T.astype(np.float64) + w["3.bias"]
    got = model.predict(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    assert np.allclose(got, want, atol=1e-4)


def test_bytes_depend_only_on_the_weights(tmp_path):
    model = randomised(small(), 1)
    for i in range(4):
        io.save_weights(model, tmp_path / f"{i}", {"b": "1", "a": "2", "c": "3"})
    assert len({(tmp_path / f"{i}").read_bytes() for i in range(4)}) == 1


def changed(model, **arrays):
    state = {k: v.copy() for k, v in model.state_dict().items()}
    state["0.weight"] = state["0.weight"].transpose(0, 3, 1, 2).copy()
    for key, value in arrays.items():
        key = key.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"0__weight": None}, ["missing 0.weight"]),
        ({"extra": np.zeros(3, np.float32)}, ["unknown extra"]),
        ({"3__bias": np.zeros(8, np.float32)}, ["3.bias", "[7]", "[8]"]),
        (
            {"0__weight": np.zeros((4, 2, 5, 3), np.float32)},
            ["0.weight", "[4, 3, 2, 5]", "[4, 2, 5, 3]", "channels-last"],
        ),
        ({"3__weight": np.zeros((24, 7), np.float32)}, ["3.weight", "transposed"]),
        ({"3__bias": np.zeros(7, np.int32)}, ["3.bias", "I32"]),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path, arrays, words):
    file = tmp_path / "odd.safetensors"
    model = randomised(small(), 1)
    safetensors.save_file(changed(model, **arrays), file)
    before = model.state_dict()
    with pytest.raises(WeightsError) as error:
        io.load_weights(model, file)
    for word in ("odd.safetensors", *words):
        assert word in str(error.value)
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())


def test_other_precisions_are_converted(tmp_path):
    file = tmp_path / "w"
    model = randomised(small(), 1)
    state = changed(model)
    for kind in (np.float16, np.float64):
        safetensors.save_file({k: v.astype(kind) for k, v in state.items()}, file)
        other = small()
        io.load_weights(other, file)
        got = other.state_dict()["3.weight"]
        assert got.dtype == np.float32 and np.array_equal(got, state["3.weight"].astype(kind).astype(np.float32))


def test_damaged_files_are_refused(tmp_path):
    file = tmp_path / "w.safetensors"
    model = randomised(small(), 1)
    io.save_weights(model, file)
    good = file.read_bytes()
    before = model.state_dict()
    flipped = bytearray(good)
    flipped[-5] ^= 1
    bad = [
        b"",
        b"\xff" * 64,
        good[:4],
        good[:100],
        good[:-1],
        good + b"x",
        bytes(flipped),
        good.replace(b"pytorch", b"channel"),
    ]
    for blob in bad:
        file.write_bytes(blob)
        with pytest.raises(WeightsError, match=r"w\.safetensors"):
            io.load_weights(model, file)
    with pytest.raises(WeightsError, match="missing-file"):
        io.load_weights(model, tmp_path / "missing-file")
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())


def test_metadata_must_be_text_and_not_ours(tmp_path):
    for metadata in ({"sha256": "x"}, {"a": 1}):
        with pytest.raises(ValueError, match="metadata"):
            io.save_weights(small(), tmp_path / "w", metadata)
    assert not (tmp_path / "w").exists()


def test_lenet_has_pytorchs_shapes(tmp_path):
    model = models.build("lenet5")
    io.save_weights(model, tmp_path / "w")
    shapes = [v.shape for k, v in sorted(safetensors.load_file(tmp_path / "w").items()) if k.endswith("weight")]
    assert shapes == [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]


# --- atomic writing


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch, step):
    file = tmp_path / "f.txt"
    io.write_text_atomic(file, "old")

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, broken)
    with pytest.raises(OSError, match="No space"):
        io.write_text_atomic(file, "new")
    monkeypatch.undo()
    assert file.read_text() == "old" and [f.name for f in tmp_path.iterdir()] == ["f.txt"]


def test_written_files_have_the_usual_rights(tmp_path):
    mask = os.umask(0o022)
    try:
        io.write_bytes_atomic(tmp_path / "f", b"\0\xff")
    finally:
        os.umask(mask)
    assert (tmp_path / "f").read_bytes() == b"\0\xff"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o644


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        io.write_bytes_atomic(tmp_path / "no" / "f", b"")


def test_shapes_names_and_optional_keys(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    file = tmp_path / "w.safetensors"
    io.save_weights(model, file)
    shapes = io.read_shapes(file)
    assert shapes["0.weight"] == (4, 3, 3, 3) and shapes["1.num_batches_tracked"] == () and len(shapes) == 7
    other = nn.Sequential({"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "new": nn.Linear(4, 2)})
    before = other.new.weight.data.copy()

    def names(key):
        return None if key == "0.bias" else key.replace("0.", "conv.").replace("1.", "norm.")

    with pytest.raises(WeightsError, match=r"missing conv\.bias, new\.bias, new\.weight"):
        io.load_weights(other, file, names=names)
    io.load_weights(other, file, names=names, optional=("conv.bias", "new.weight", "new.bias"))
    assert np.array_equal(other.conv.weight.data, model[0].weight.data)
    assert np.array_equal(other.new.weight.data, before)
    with pytest.raises(WeightsError, match="two of its keys"):
        io.load_weights(other, file, names=lambda key: "conv.weight" if key.endswith("weight") else None)
    for shape in ([10**12, 9], [-1, 2]):  # nothing of that size is ever made
        header = json.dumps({"fc.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
        (tmp_path / "huge").write_bytes(len(header).to_bytes(8, "little") + header + b"abcd")
        with pytest.raises(WeightsError, match="does not fit into the file"):
            io.read_shapes(tmp_path / "huge")
        with pytest.raises(WeightsError, match="does not fit into the file"):
            models.load("resnet20", tmp_path / "huge")
    (tmp_path / "bad").write_bytes(b"\x05" + bytes(7) + b"12345678")
    for path, says in ((tmp_path / "bad", "not a safetensors file"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(WeightsError, match=says):
            io.read_shapes(path)
