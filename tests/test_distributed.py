"""Several processes: what needs no MPI, then jobs of 2 and 3 processes started by mpiexec (see distributed_jobs.py)."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import data, nn
from rosenblatt.distributed import Layout, ShardedLoader, launched_size, shard
from rosenblatt.distributed.data_parallel import _importance
from rosenblatt.distributed.environment import bucket_bytes, launched_rank, thread_share, timeout_seconds
from rosenblatt.train import Loader

HERE = Path(__file__).resolve().parent
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py and mpiexec (extra mpi)"
)


# --- parts and buckets


@pytest.mark.quick
@pytest.mark.parametrize("n", [0, 1, 2, 5, 7, 64])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_parts_are_contiguous_and_even(n, size):
    bounds = [shard(n, r, size) for r in range(size)]
    assert bounds[0][0] == 0 and bounds[-1][1] == n
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
    lengths = [stop - start for start, stop in bounds]
    assert max(lengths) - min(lengths) <= 1 and lengths == sorted(lengths, reverse=True)


class Mixed:
    """Mixes each example with its neighbour in the batch, labels too."""

    needs_labels = True

    def __call__(self, x, y, rng):
        t = rng.uniform()
        rows = np.eye(4, dtype=np.float32)[y]
        return (1 - t) * x + t * np.roll(x, 1, 0), (1 - t) * rows + t * np.roll(rows, 1, 0)


def jitter(x, rng):
    return x + rng.standard_normal(x.shape).astype(np.float32)


@pytest.mark.quick
@pytest.mark.parametrize("augment", [None, jitter, data.Affine(rotate=20.0, shift=0.2), Mixed()], ids=str)
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_parts_of_a_batch_are_the_batch(augment, shuffle):
    rng = np.random.default_rng(0)
    x, y, w = rng.standard_normal((21, 6, 6, 1)).astype("f4"), rng.integers(0, 4, 21), rng.uniform(0, 1, 21)
    options = {"batch_size": 8, "shuffle": shuffle, "seed": 4, "augment": augment, "workers": 0, "weights": w}
    whole = Loader(x.copy(), y, **options)
    parts = [ShardedLoader(r, 3, x.copy(), y, **options) for r in range(3)]
    assert parts[1].state_dict() == whole.state_dict()
    for index in range(2 * len(whole)):
        batch = whole.batch(index)
        together = zip(*[p.batch(index) for p in parts], strict=True)
        for a, pieces in zip(batch, together, strict=True):
            joined = np.concatenate(pieces)
            assert joined.dtype == a.dtype and joined.tobytes() == a.tobytes(), index
        rows, weight, _, _ = parts[0].totals(index, w)
        assert rows == len(batch[0]) and weight == pytest.approx(batch[2].sum())
        assert sum(p.totals(index, w)[2] for p in parts) == rows
        assert sum(p.totals(index, w)[3] for p in parts) == pytest.approx(weight)


@pytest.mark.quick
def test_buckets_hold_every_gradient_once_from_the_last():
    shapes = [((100, 3), "f4"), ((3,), "f4"), ((70, 2), "f4"), ((), "f8"), ((5, 5), "f4"), ((2000,), "f4")]
    parameters = [(i + 10, s, t) for i, (s, t) in enumerate(shapes)]
    layouts = Layout.plan(parameters, 1024, 3)
    order = [p.index for layout in layouts for p in layout.pieces]
    assert order == [15, 14, 13, 12, 11, 10]
    for layout in layouts:
        end = 0
        for p in layout.pieces:
            shape, dtype = shapes[p.index - 10]
            assert p.shape == shape and p.size == np.prod(shape, dtype=int) and layout.dtype == dtype
            assert p.offset >= end and p.offset * layout.dtype.itemsize % 64 == 0
            end = p.offset + p.size
        assert layout.flags >= end and 3 * layout.part >= layout.flags + len(layout.pieces)
        assert len(layout.pieces) == 1 or end * layout.dtype.itemsize <= 1024
    assert [len(layout.pieces) for layout in layouts] == [1, 1, 1, 2, 1]
    assert len(Layout.plan(parameters[:3], 1 << 20, 2)) == 1


@pytest.mark.quick
def test_settings(monkeypatch):
    assert launched_size({}) == 1 and launched_rank({}) == 0
    assert launched_size({"PMI_SIZE": "4", "PMI_RANK": "2"}) == 4
    assert launched_rank({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}) == 3
    monkeypatch.setenv("RB_MPI_TIMEOUT", "2.5")
    monkeypatch.setenv("RB_MPI_BUCKET_KIB", "64")
    assert timeout_seconds() == 2.5 and bucket_bytes() == 65536
    for name, function in (("RB_MPI_TIMEOUT", timeout_seconds), ("RB_MPI_BUCKET_KIB", bucket_bytes)):
        for bad in ("soon", "-1", "nan"):
            monkeypatch.setenv(name, bad)
            with pytest.raises(ValueError, match=f"{name}: expected a number of at least [01], got '{bad}'"):
                function()
    both = frozenset({0, 1})
    assert thread_share(2, both, [both, both]) == 1
    assert thread_share(8, frozenset(range(8)), [frozenset(range(8))] * 3) == 2
    assert thread_share(1, frozenset({0}), [frozenset({0}), frozenset({1})]) == 1  # bound by the launcher
    assert thread_share(4, frozenset(range(4)), [frozenset(range(4)), frozenset(range(4, 8))]) == 4


@pytest.mark.quick
def test_losses_that_do_not_add_up_are_refused():
    y = np.array([0, 2, 1])
    np.testing.assert_array_equal(_importance(nn.CrossEntropyLoss(class_weight=[1.0, 2.0, 4.0]), y, None), [1, 4, 2])
    assert _importance(nn.CrossEntropyLoss(), y, None) is None
    assert _importance(nn.CrossEntropyLoss("sum", class_weight=[1.0, 2.0, 4.0]), y, None) is None
    with pytest.raises(ValueError, match="RMSELoss of a batch is not the mean over its parts"):
        _importance(nn.RMSELoss(), y, None)
    with pytest.raises(ValueError, match="class_weight of BCELoss needs integer labels"):
        _importance(nn.BCELoss(class_weight=[1.0, 2.0]), np.zeros((3, 1)), None)


def test_nothing_is_loaded_in_one_process(run_python):
    code = """
import sys
import numpy as np
import rosenblatt as rb, rosenblatt.distributed
from rosenblatt.cli.main import main
main(["train", "nobody"])
rb.nn.Linear(3, 2).fit(np.ones((4, 3), np.float32), np.array([0, 1, 0, 1]), epochs=1, progress=False)
print([m for m in sys.modules if m.startswith("mpi4py") or m == "rosenblatt.distributed.data_parallel"])
"""
    assert run_python(code).stdout.splitlines()[-1] == "[]"


def test_the_tables_of_the_cost_model_are_current():
    script = HERE.parent / "bench" / "scaling.py"
    result = subprocess.run([sys.executable, script, "--model"], check=True, capture_output=True, text=True)
    assert result.stdout in (HERE.parent / "docs" / "scaling.md").read_text("utf-8")


# --- jobs

RUNNING: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    yield
    for job in RUNNING:
        job.kill()
        job.communicate()
    RUNNING.clear()


def start(size, *words, env=None):
    """A job of `size` processes; 0 is one that mpiexec does not start."""
    package = str(Path(rb.__file__).resolve().parent.parent)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RB_", "OMP_NUM"))}
    environment["PYTHONPATH"] = os.pathsep.join([package, str(HERE), environment.get("PYTHONPATH", "")])
    environment.update(env or {})
    job = subprocess.Popen(
        [*([MPIEXEC, "-n", str(size)] if size else []), sys.executable, *map(str, words)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    RUNNING.append(job)
    return job


def finished(job, status=0, timeout=60.0):
    """(stdout, stderr) of a job that must end with `status`, or with any but 0 when that is None."""
    out, err = job.communicate(timeout=timeout)
    RUNNING.remove(job)
    good = job.returncode != 0 if status is None else job.returncode == status
    assert good, f"exit status {job.returncode}, expected {status}\n{out}\n{err}"
    return out, err


def run(size, name, *arguments, status=0, env=None):
    return finished(start(size, HERE / "distributed_jobs.py", name, *arguments, env=env), status)


@needs_mpi
@pytest.mark.parametrize("words", ["3 sums", "2 equal", "3 equal plain weighted validated", "2 overlapped", "2 agreed"])
def test_job(words):
    size, *words = words.split()
    run(int(size), *words)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out, _ = run(2, "train", tmp_path_factory.mktemp("undisturbed") / "c", 4)
    return json.loads(out)


@needs_mpi
@pytest.mark.parametrize(
    ("trouble", "status", "message"),
    [
        ("kill", None, r"EXIT CODE: 9|[Kk]illed|signal 9"),
        ("raise", 1, r"process 1 of 2: ValueError: this batch cannot be read"),
        ("hang", 1, r"process 0 of 2: .* is not done after 1 s \(RB_MPI_TIMEOUT\)"),
        pytest.param("terminate", 143, "", marks=pytest.mark.long),
        ("interrupt", 0, ""),
    ],
)
def test_a_process_that_fails_ends_the_job_and_the_run_resumes(tmp_path, undisturbed, trouble, status, message):
    begun = time.monotonic()
    out, err = run(2, "train", tmp_path / "c", 4, trouble, 8, status=status, env={"RB_MPI_TIMEOUT": "1"})
    assert time.monotonic() - begun < 20.0  # the process that hangs would for 60
    assert re.search(message, out + err)
    if trouble == "interrupt":  # the step is finished in both processes
        assert json.loads(out)["interrupted"] and json.loads(out)["epochs"] == [1, 2]
    assert list((tmp_path / "c").glob("checkpoint-*"))
    out, _ = run(2, "train", tmp_path / "c", 4)
    assert json.loads(out) == undisturbed


# --- the command line

CLI = ("-m", "rosenblatt.cli", "train")


def weights(folder):
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A data set that needs no other package: three clouds in ten dimensions."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 151)
    x = (rng.standard_normal((151, 10)) + 2 * np.eye(3, 10)[y]).astype(np.float32)
    file = tmp_path_factory.mktemp("data") / "clouds.npz"
    np.savez(file, x=x, y=y)
    return file


@needs_mpi
def test_command_line(tmp_path, sample):
    words = (*CLI, "mlp", "--data", sample, "--epochs", "3", "--no-report", "--validation", "0.2")
    jobs = [start(2, *words, "--checkpoint-every", "1", "--out", tmp_path / n) for n in "ab"]
    (out, err), _ = [finished(job) for job in jobs]
    assert out.count("test accuracy") == 1 and err.count("mlp (1986)") == 1 and "2 processes: " in err
    expected = weights(tmp_path / "a")
    assert weights(tmp_path / "b") == expected
    config = json.loads((tmp_path / "a/config.json").read_text())
    assert config["processes"] == 2 and config["threads"] == max(1, rb.get_num_threads() // 2)
    # without the last checkpoint the third epoch is trained again
    newest = max((tmp_path / "a/checkpoints").glob("checkpoint-*"))
    shutil.rmtree(newest)
    one = start(1, *words, "--quiet", "--out", tmp_path / "one")
    finished(start(2, *CLI, "--resume", tmp_path / "a", "--quiet"))
    assert newest.exists() and weights(tmp_path / "a") == expected
    finished(one)
    first, second = (json.loads((tmp_path / n / "history.json").read_text()) for n in ("a", "one"))
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(first[key], second[key], rtol=1e-4)


@needs_mpi
def test_command_line_errors(tmp_path, sample):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    unknown = start(2, *CLI, "lenet")
    occupied = start(2, *CLI, "mlp", "--data", sample, "--quiet", "--out", tmp_path / "full")
    diverges = start(
        2,
        *CLI,
        "mlp",
        "--data",
        sample,
        "--quiet",
        "--check-finite",
        "--lr",
        "1e30",
        "--out",
        tmp_path / "nan",
        "--checkpoint-steps",
        "1",
    )
    # a launcher that counts two processes, and an MPI that sees one
    stray = start(0, *CLI, "mlp", env={"MV2_COMM_WORLD_SIZE": "2"})
    assert finished(unknown, 2)[1].count("did you mean 'lenet5'") == 1
    assert finished(occupied, 2)[1].count("is not empty") == 1
    assert "mpiexec started 2 processes, but mpi4py sees 1" in finished(stray, 2)[1]
    err = finished(diverges, 2)[1]
    assert re.search(r"rosenblatt: process [01] of 2: training stopped: fit: NaN or infinity", err)
    assert f"mpiexec -n 2 rosenblatt train --resume {tmp_path / 'nan'}" in err


# --- messages


def test_messages_carry_values_exactly():
    from rosenblatt.distributed.message import pack, unpack

    value = (
        None, True, 3, 2**70, 0.1, float("-inf"), "\u00fc", [1, (2, "x")], {"a": 1, 5: {(1, 2): np.float32(2.5)}},
        np.dtype("f4"),
    )  # fmt: skip
    assert unpack(pack(value)) == value and type(unpack(pack(value))[7][1]) is tuple
    assert np.isnan(unpack(pack(float("nan"))))
    turned = np.arange(6).reshape(2, 3).T
    for array in (np.zeros((0, 2)), np.array(3.0, np.float32), np.arange(7, dtype=np.uint8), turned):
        first, second = unpack(pack([array, {"again": array}]))
        for back in (first, second["again"]):
            assert back.dtype == array.dtype and back.shape == array.shape and np.array_equal(back, array)
            assert back.flags.writeable
    with pytest.raises(TypeError, match=r"message: expected numbers, .*got set"):
        pack({"a": {1, 2}})
