"""The benchmark scripts run, compare results before timing them, and write files that compare.py understands."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
sys.path.insert(0, str(BENCH))

import compare  # noqa: E402
import memory  # noqa: E402
import run  # noqa: E402
from peers.cases import FAMILIES, Case, Conv, cases, train_arrays  # noqa: E402
from peers.client import Worker  # noqa: E402

from rosenblatt import _core  # noqa: E402


def bench(*arguments: str, script: str = "run.py", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH / script), *arguments],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **env},
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of a few products and training steps against NumPy."""
    path = tmp_path_factory.mktemp("bench") / "one.json"
    done = bench(
        "--quick", "--family", "gemm,train", "--filter", "64", "--threads", "1", "--rounds", "1", "--seconds", "0.001",
        "--libraries", "ours,numpy,jax", "--jax-python", str(path / "no python"), "--json", str(path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "jax is absent" in done.stdout and "no python" in done.stdout
    assert "nn 64x64x64" in done.stdout and "peer/ours" in done.stdout
    return path


def test_result_file(result: Path) -> None:
    data = json.loads(result.read_text())
    assert data["schema"] == run.SCHEMA and data["machine"]["cpu"] and data["commit"]
    assert set(data["libraries"]) == {"ours", "numpy", "jax"} and "absent" in data["libraries"]["jax"]
    assert data["libraries"]["ours"]["config"]["isa"] == _core.config()["isa"]
    assert {c["family"] for c in data["cases"]} == {"gemm", "train"}
    for case in data["cases"]:
        assert not case["wrong"]
        if "lenet5" in case["name"]:
            assert "unsupported" in case["libraries"]["numpy"] and case["ratio"] is None
            assert "absent" in case["libraries"]["jax"]
            continue
        assert case["difference"]["numpy"] <= case["tol"] and case["ratio"] > 0
        ours = case["libraries"]["ours"]
        assert 0 < ours["min"] <= ours["median"] <= ours["max"]
        if "1" in data["peak"] and case["flops"]:
            assert case["peak_percent"] > 0
            assert math.isclose(case["gflops"], case["flops"] / ours["median"] / 1e9)


def test_compare(result: Path, tmp_path: Path) -> None:
    same = bench(str(result), str(result), "--fail-over", "1", script="compare.py")
    assert same.returncode == 0 and "geometric mean of the times: 1.000" in same.stdout
    data = json.loads(result.read_text())
    for case in data["cases"]:
        case["libraries"]["ours"]["median"] *= 2
        case["ratio"] = case["ratio"] and case["ratio"] / 2
    slower = tmp_path / "two.json"
    slower.write_text(json.dumps(data))
    lost = bench(str(result), str(slower), "--fail-over", "10", script="compare.py")
    assert lost.returncode == 1 and "\n- nn 64x64x64 1t" in lost.stdout
    won = bench(str(slower), str(result), "--fail-over", "10", script="compare.py")
    assert won.returncode == 0 and "\n+ nn 64x64x64 1t" in won.stdout


@pytest.mark.quick
def test_compare_refuses_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text("[]")
    assert compare.main([str(other), str(other)]) == 2
    assert compare.main([str(tmp_path / "none.json"), str(other)]) == 2
    assert "not a result" not in capsys.readouterr().out


@pytest.mark.quick
def test_a_missing_peer_is_absent_and_no_win() -> None:
    absent = {"absent": "No module named 'torch'"}
    record = {
        "family": "gemm", "name": "x", "threads": 1, "flops": 2.0, "read": 1.0, "written": 1.0, "wrong": False,
        "libraries": {"ours": {"median": 1.0, "min": 1.0, "max": 1.0, "best": ""}, "torch": absent},
    }  # fmt: skip

    class NoProbe:
        def floor(self, *_: float) -> None:
            return None

    run.rate(record, NoProbe())  # type: ignore[arg-type]
    assert record["ratio"] is None and record["best_peer"] is None
    assert "absent" in run.family_table([record], ["torch"])
    assert run.verdict([record], ["torch"]) == "no peer to compare with"


@pytest.mark.quick
def test_training_table_holds_ratios_against_bars_on_one_thread() -> None:
    def record(threads: int, ours: float, **peers: float) -> dict[str, object]:
        def entry(median: float) -> dict[str, object]:
            return {"median": median, "min": median, "max": median, "best": "jit"}

        libraries = {"ours": {**entry(ours), "variants": {"eager": {"median": 2 * ours}}}}
        libraries |= {name: entry(median) for name, median in peers.items()}
        return {"name": "step", "threads": threads, "gflops": 1.0, "wrong": False, "libraries": libraries,
                "bars": {"torch": 6.0, "jax": 2.0}}  # fmt: skip

    def last(table: str) -> list[str]:
        return [line.split()[-1] for line in table.splitlines()[1:]]

    reached, missed = record(1, 1e-6, torch=6e-6, jax=2e-6), record(1, 1e-6, torch=6e-6, jax=1.9e-6)
    table = run.training_table([reached, missed, record(2, 1e-6, torch=6e-6, jax=3e-6)], ["numpy", "torch", "jax"])
    assert last(table) == ["reached", "missed", "3.00"]
    assert "2.00 jit" in table and table.splitlines()[1].split()[5] == "2.00"  # eager
    without = run.training_table([record(1, 1e-6, torch=7e-6)], ["torch", "jax"])
    assert last(without) == ["missed"]  # a peer that was not measured is no win
    near = {**record(1, 1e-6, torch=2e-6), "peak_percent": 80.0, "floor_percent": 91.0}
    assert run.training_table([near], ["torch"]).endswith("at the floor")


@pytest.mark.quick
def test_a_python_that_cannot_run_the_worker_is_absent() -> None:
    worker = Worker("jax", 1, retain=False, timeout=20, python="/bin/false")
    assert "worker ended with status 1" in worker.absent and worker.about == {}
    worker.close()


def test_forms_of_a_step_agree_and_the_vae_draws_its_own_noise() -> None:
    from peers import ours

    for case in cases(("train",), filter="vae"):
        checks = {name: make().check() for name, make in ours.TRAINERS[case.kind](case).items()}
        assert set(checks) == {"eager", "captured"}
        given, drawn = zip(*((c[:5], c[5]) for c in checks.values()), strict=True)
        assert given[0] == given[1]  # the same noise, the same bits
        assert drawn[0] != drawn[1] and drawn[0] == pytest.approx(drawn[1], rel=5e-3)
        variant = ours.TRAINERS[case.kind](case)["captured"]()
        variant.check()
        batches = len(train_arrays(case)[1])
        losses = {variant.run().item() for _ in range(2 * batches)}
        assert len(losses) == 2 * batches


def test_memory(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    done = bench(
        "--filter", "xor", "--steps", "5", "--libraries", "jax", "--jax-python", str(tmp_path / "no"), "--json",
        str(path), script="memory.py",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "absent" in done.stdout and "No such file" in done.stderr
    written = json.loads(path.read_text())
    ours = written["libraries"]["ours"]
    assert written["threads"] == ours["threads"] == 1 and ours["config"]["isa"] == _core.config()["isa"]
    (record,) = written["runs"]
    for report in record["libraries"]["ours"].values():
        assert report["peak"] >= report["imported"] + report["grown"] > report["imported"] > 10 << 20
    assert set(record["libraries"]["ours"]) == {"eager", "captured"} and not record["wrong"]


@pytest.mark.quick
def test_memory_table_takes_a_peers_smallest_form_and_marks_what_is_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def report(peak: int, grown: int, losses: list[float]) -> dict[str, object]:
        return {"imported": 1, "grown": grown << 20, "peak": peak << 20, "losses": losses}

    reports = {
        "ours": {"captured": report(40, 9, [1.0, 1.0]), "eager": report(38, 7, [1.0, 1.0])},
        "torch": {"fused": report(90, 9, [1.0, 1.0]), "default": report(80, 8, [1.0, 1.0])},
    }
    options = memory.argparse.Namespace(libraries=("torch",), threads=1)
    monkeypatch.setattr(memory, "runs", lambda case, library, options: reports[library])
    case = Case("train", "step", "train_mlp", tol=1e-2)
    record = memory.measure(case, options)
    line = memory.memory_table([record], ["torch"]).splitlines()[1].split()
    assert line == ["step", "40.0", "9.00", "38.0", "7.00", "80.0", "default", "8.00", "2.00", "0.89", "above"]
    reports["torch"]["fused"]["losses"] = [1.0, 1.1]
    assert memory.measure(case, options)["wrong"]
    reports["ours"]["captured"] = {"error": "died"}
    assert memory.measure(case, options)["wrong"]


@pytest.mark.quick
def test_difference() -> None:
    assert run.difference([1.0, 0.0, 2.0], [1.0, 0.0, 2.001]) == pytest.approx(1e-3)
    for bad in ([math.nan, 0.0], [math.inf, 0.0], [1.0]):
        assert run.difference(bad, [1.0, 0.0]) == math.inf
    assert run.difference([1.0, 0.0], [math.nan, 0.0]) == math.inf
    assert run.difference([1.0, 0.0, 1.0], [1.0, 0.0, math.nan]) == math.inf


@pytest.mark.quick
def test_every_form_of_ours_is_compared() -> None:
    right, wrong = [1.0, 0.0], [1.0, 0.5]
    forms = {("ours", "eager"): right, ("ours", "captured"): right, ("torch", ""): right, ("torch", "fused"): right}
    assert run.differences(forms) == {"ours": 0.0, "torch": 0.0}
    assert run.differences({**forms, ("ours", "captured"): wrong}) == {"ours": 0.5, "torch": 0.5}
    assert run.differences({**forms, ("torch", "fused"): wrong}) == {"ours": 0.0, "torch": 0.5}
    assert run.differences({("ours", ""): right}) == run.differences({("torch", ""): right}) == {}


@pytest.mark.quick
def test_figures_of_the_programs_carry_threads_level_and_peak(tmp_path: Path) -> None:
    answer = {
        "context": {"level": "avx2", "rb_threads": "2", "peak_gflops": "117.5"},
        "benchmarks": [
            {"name": "gemm/64", "cpu_time": 3.0, "real_time": 9.0, "time_unit": "us", "gflops": 2.0},
            {"name": "gemm/64/real_time", "cpu_time": 3.0, "real_time": 9.0, "time_unit": "us", "gflops": 2.0},
        ],
    }
    program = tmp_path / "bench_some"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    program.chmod(0o755)
    (tmp_path / "bench_none").write_text("#!/bin/sh\necho '{}'\n")
    (tmp_path / "bench_none").chmod(0o755)
    records = run.run_cpp(tmp_path, 2, "", True)
    facts = {"program": "bench_some", "rb_threads": 2, "rb_level": "avx2", "rb_peak_gflops": 117.5}
    assert records == [b | facts for b in answer["benchmarks"]]
    lines = [line.split() for line in run.cpp_table(records).splitlines()[1:]]
    assert lines == [["gemm/64", "3.00", "gflops=2"], ["gemm/64/real_time", "9.00", "gflops=2"]]  # the clock of teams
    times = [c["libraries"]["ours"]["median"] for c in compare.by_key({"cases": [], "cpp": records}).values()]
    assert times == pytest.approx([3e-6, 9e-6])


@pytest.mark.quick
def test_cases_are_unique_and_travel_as_json() -> None:
    every = cases()
    assert {c.family for c in every} == set(FAMILIES)
    assert len({(c.family, c.name) for c in every}) == len(every)
    for case in every:
        assert Case(**json.loads(json.dumps(vars(case)))) == case
        assert case.flops or case.read or case.written
    assert {c.family for c in cases(quick=True)} == set(FAMILIES)
    conv = Conv(**next(c for c in every if c.name.startswith("resnet stem")).params)
    assert (conv.P, conv.Q, conv.flops) == (112, 112, 2.0 * 8 * 112 * 112 * 64 * 147)
    lenet = next(c for c in every if c.name == "lenet5 b64 adam")
    weights, batches = train_arrays(lenet)
    assert sum(w.size for w in weights) == 61_706 and batches[0][0].shape == (64, 32, 32, 1)


@pytest.mark.quick
@pytest.mark.parametrize("wrong", [["--family", "gem"], ["--threads", "0"], ["--threads", "x"], ["--libraries", "jix"]])
def test_wrong_options(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run.parse(wrong)
    assert stop.value.code == 2
