"""Times rosenblatt against NumPy, PyTorch and JAX and says what share of the machine's peak each case reaches.

    python bench/run.py                                   every family, one thread; training also with two
    python bench/run.py --family gemm,conv --threads 1,2
    python bench/run.py --family train --jax-python ~/jax/bin/python      training steps, 1 and 2 threads, one table
    python bench/run.py --quick --filter lenet
    python bench/run.py --save                            also write bench/results/<date>-<cpu>-<commit>.json

Each library runs in a process of its own; they take turns on every case (A B A B), so that a drifting clock hits all
alike. The median of all samples counts, a library's fastest form stands for it, and results are compared before
they are timed. See README.md for what the columns mean.
Exit status: 0, or 1 when a result of ours is wrong or missing, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from compare import call_seconds
from peers import machine
from peers.cases import FAMILIES, Case, cases
from peers.client import LIBRARIES, Worker, WorkerError

RESULTS = Path(__file__).resolve().parent / "results"
SCHEMA = 1
SETTLE = 0.005  # seconds between two libraries' turns, in which the threads of the first stop spinning
PRUNE = 1.5  # a form of a library this much slower than its best is no longer timed after two rounds


def summary(samples: list[float]) -> dict[str, Any]:
    return {
        "median": statistics.median(samples), "min": min(samples), "max": max(samples), "samples": len(samples),
    }  # fmt: skip


def difference(a: list[float], b: list[float]) -> float:
    """Largest difference of two checks relative to their scale (see `worker.digest`); infinite for NaN."""
    if len(a) != len(b):
        return math.inf
    scale = max((abs(v) for v in b[:2]), default=0.0) or 1.0
    worst = max((abs(x - y) for x, y in zip(a, b, strict=True)), default=0.0) / scale
    return worst if all(map(math.isfinite, [*a, *b, worst])) else math.inf


def differences(checks: dict[tuple[str, str], list[float]]) -> dict[str, float]:
    """The largest difference of any form of ours from any form of each library, by library.

    Under "ours" that of our own forms from the first of them, where there are several: the fastest one is the figure.
    """
    mine = [c for (name, _), c in checks.items() if name == "ours"]
    worst: dict[str, float] = {}
    for (name, _), theirs in checks.items():
        for form in mine[1:] if name == "ours" else mine:
            worst[name] = max(worst.get(name, 0.0), difference(form, theirs))
    return worst


def run_case(case: Case, workers: dict[str, Worker], rounds: int, seconds: float) -> dict[str, Any]:
    """Prepares the case everywhere, times the libraries in turn and returns its record for the JSON file."""
    libraries: dict[str, dict[str, Any]] = {}
    checks: dict[tuple[str, str], list[float]] = {}
    turns: list[tuple[str, str]] = []
    first: dict[tuple[str, str], float] = {}
    for name, worker in workers.items():
        if worker.absent:
            libraries[name] = {"absent": worker.absent}
            continue
        try:
            reply = worker.prepare(case)
        except WorkerError as error:
            libraries[name] = {"error": str(error)}
            continue
        if "unsupported" in reply:
            libraries[name] = {"unsupported": reply["unsupported"]}
            continue
        libraries[name] = {"variants": {}}
        for variant, facts in reply["variants"].items():
            turns.append((name, variant))
            first[name, variant] = facts["first"]
            checks[name, variant] = facts["check"]
            libraries[name]["variants"][variant] = {"note": facts["note"]} if facts["note"] else {}
    samples: dict[tuple[str, str], list[float]] = {turn: [] for turn in turns}
    slowest = max(first.values(), default=0.0)
    rounds = rounds if slowest < 0.25 else min(rounds, 3) if slowest < 2.5 else 1
    active, last = list(turns), ""
    for round_ in range(rounds):
        for turn in list(active):
            name, variant = turn
            if last != name:
                time.sleep(SETTLE)
            last = name
            try:
                samples[turn] += workers[name].measure(variant, seconds)
            except (WorkerError, KeyError) as error:
                libraries[name]["error"] = str(error)
                active = [other for other in active if other[0] != name]
        if round_ == 1:
            best: dict[str, float] = {}
            for name, variant in active:
                time_ = statistics.median(samples[name, variant])
                best[name] = min(best.get(name, math.inf), time_)
            active = [t for t in active if statistics.median(samples[t]) <= PRUNE * best[t[0]]]
    for (name, variant), times in samples.items():
        if times:
            libraries[name]["variants"][variant].update(summary(times))
    for entry in libraries.values():
        timed = {v: facts["median"] for v, facts in entry.get("variants", {}).items() if "median" in facts}
        if timed and "error" not in entry:
            fastest = min(timed, key=lambda v: timed[v])
            entry.update(entry["variants"][fastest], best=fastest)
    worst = differences(checks)
    return {"family": case.family, "name": case.name, "peak": case.peak, "flops": case.flops, "read": case.read,
            "written": case.written, "tol": case.tol, "bars": case.bars, "difference": worst,
            "wrong": any(not d <= case.tol for d in worst.values()), "libraries": libraries}  # fmt: skip


def rate(record: dict[str, Any], probe: machine.Probe) -> None:
    """Adds the rates, the percentages of the peak and the ratio to the best peer, from the medians."""
    ours = record["libraries"].get("ours", {}).get("median")
    peers = {n: e["median"] for n, e in record["libraries"].items() if n != "ours" and "median" in e}
    record["best_peer"] = min(peers, key=lambda n: peers[n]) if peers else None
    record["ratio"] = peers[record["best_peer"]] / ours if peers and ours else None
    if not ours:
        return
    record["gflops"] = record["flops"] / ours / 1e9
    record["gbytes"] = (record["read"] + record["written"]) / ours / 1e9
    floor = probe.floor(
        record["threads"], record["flops"], record["read"], record["written"], record.get("peak", "gflops")
    )
    if floor is not None:
        record["peak_percent"] = 100.0 * (floor[0] if record["flops"] else floor[1]) / ours
        # A step's update cannot begin before its products are done: their floors add up.
        record["floor_percent"] = 100.0 * (sum(floor) if record["family"] == "train" else max(floor)) / ours


# --- tables


def micro(seconds: float) -> str:
    us = seconds * 1e6
    return f"{us:.3g}" if us < 0.1 else f"{us:.2f}" if us < 100 else f"{us:.1f}" if us < 1000 else f"{us:.0f}"


def peer_cell(entry: dict[str, Any]) -> str:
    if "median" in entry:
        return f"{micro(entry['median'])} {entry['best']}".rstrip()
    return "absent" if "absent" in entry else "error" if "error" in entry else "-"


def table(rows: list[list[str]]) -> str:
    """Columns padded to their widest cell; the first is flush left, the others flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def family_table(records: list[dict[str, Any]], peers: list[str]) -> str:
    by_bytes = all(not r["flops"] for r in records)
    head = ["case", "ours us", "min", "max", "GB/s" if by_bytes else "GFLOP/s", "% peak", "% floor", "impl"]
    rows = [[*head, *(f"{p} us" for p in peers), "peer/ours", "note"]]
    for r in records:
        ours = r["libraries"]["ours"]
        cells = [r["name"]]
        if "median" in ours:
            cells += [micro(ours[k]) for k in ("median", "min", "max")]
            cells += [f"{r['gbytes' if by_bytes else 'gflops']:.1f}"]
            cells += [f"{r[k]:.0f}" if k in r else "-" for k in ("peak_percent", "floor_percent")]
            cells += [ours.get("note", "")]
        else:
            cells += [peer_cell(ours), "", "", "", "", "", ""]
        cells += [peer_cell(r["libraries"].get(p, {})) for p in peers]
        cells += [f"{r['ratio']:.2f}" if r["ratio"] else "-", "WRONG" if r["wrong"] else ""]
        rows.append(cells)
    return table(rows)


def training_table(records: list[dict[str, Any]], peers: list[str]) -> str:
    """One line per step and number of threads; the bars are ratios peer/ours aimed at on one thread."""
    ratios = [p for p in peers if p != "numpy"]
    head = ["step", "threads", "ours us", "min", "max", "eager us", "GFLOP/s", "% peak", "% floor"]
    head += [f"{p} us" for p in peers]
    rows = [[*head, *(f"{p}/ours" for p in ratios), "bar", ""]]
    for r in sorted(records, key=lambda r: [other["name"] for other in records].index(r["name"])):
        ours = r["libraries"]["ours"]
        median = ours.get("median")
        eager = ours.get("variants", {}).get("eager", {}).get("median")
        cells = [r["name"], str(r["threads"])]
        cells += [micro(ours[k]) if median else "" for k in ("median", "min", "max")]
        cells += [micro(eager) if eager else "", f"{r['gflops']:.1f}" if median else peer_cell(ours)]
        cells += [f"{r[k]:.0f}" if k in r else "-" for k in ("peak_percent", "floor_percent")]
        cells += [peer_cell(r["libraries"].get(p, {})) for p in peers]
        found = {p: e["median"] / median for p, e in r["libraries"].items() if median and "median" in e}
        cells += [f"{found[p]:.2f}" if p in found else "-" for p in ratios]
        bars = {p: bar for p, bar in r["bars"].items() if p in peers and r["threads"] == 1}
        cells += [" ".join(f"{p} {bar:g}" for p, bar in bars.items())]
        missed = [p for p, bar in bars.items() if found.get(p, 0.0) < bar]
        met = "at the floor" if r.get("floor_percent", 0.0) >= 90.0 else "missed"
        cells += ["WRONG" if r["wrong"] else "" if not bars else met if missed else "reached"]
        rows.append(cells)
    return table(rows)


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs))


def verdict(records: list[dict[str, Any]], peers: list[str]) -> str:
    parts = []
    for label, ratios in [
        ("best peer", [r["ratio"] for r in records if r["ratio"]]),
        *(
            (
                p,
                [
                    r["libraries"][p]["median"] / r["libraries"]["ours"]["median"]
                    for r in records
                    if "median" in r["libraries"].get(p, {}) and "median" in r["libraries"]["ours"]
                ],
            )
            for p in peers
        ),
    ]:
        if ratios:
            wins = sum(q >= 1.0 for q in ratios)
            parts.append(f"{label} {geometric_mean(ratios):.2f} (ahead in {wins} of {len(ratios)})")
    return "geometric mean of peer/ours: " + ", ".join(parts) if parts else "no peer to compare with"


# --- Google Benchmark binaries


def run_cpp(build: Path, threads: int, filter: str, quick: bool) -> list[dict[str, Any]]:
    """Runs every bench* program under `build`; what Google Benchmark reports, with program, threads, level and peak."""
    programs = sorted(
        p for p in build.rglob("bench*") if p.is_file() and os.access(p, os.X_OK) and p.suffix in ("", ".exe")
    )
    if not programs:
        print(f"no bench* program under {build}: build with -DRB_BENCH=ON", file=sys.stderr)
    records: list[dict[str, Any]] = []
    env = {**os.environ, "RB_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    for program in programs:
        command = [str(program), "--benchmark_format=json", f"--benchmark_min_time={0.02 if quick else 0.2}"]
        if filter:
            command.append(f"--benchmark_filter={'.*'.join(map(re.escape, filter.split()))}")
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        try:
            answer = json.loads(done.stdout)
            found, context = answer["benchmarks"], answer["context"]
            facts = {"program": program.name, "rb_threads": threads, "rb_level": context["level"],
                     "rb_peak_gflops": float(context["peak_gflops"])}  # fmt: skip
        except (KeyError, ValueError):
            last = " ".join(done.stderr.strip().splitlines()[-1:])
            print(f"{program.name}: status {done.returncode}, no result {last}".rstrip(), file=sys.stderr)
            continue
        records += [b | facts for b in found]
    return records


_COMMON = {"family_index", "per_family_instance_index", "repetitions", "repetition_index", "threads", "iterations",
           "real_time", "cpu_time", "rb_threads", "rb_peak_gflops"}  # fmt: skip


def cpp_table(records: list[dict[str, Any]]) -> str:
    rows = [["case", "us", "rates"]]
    for r in records:
        if "error_message" in r:
            rows.append([r["name"], "-", r["error_message"]])
            continue
        rates = {k: v for k, v in r.items() if isinstance(v, (int, float)) and k not in _COMMON}
        text = " ".join(f"{k}={v:.4g}" for k, v in rates.items())
        rows.append([r["name"], micro(call_seconds(r)), text])
    return table(rows)


# --- the command


def parse(arguments: list[str] | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    p.add_argument("--family", default=",".join(FAMILIES), help=f"comma-separated, of {', '.join(FAMILIES)} (all)")
    p.add_argument("--threads", help="comma-separated thread counts (1; training steps 1,2)")
    p.add_argument("--filter", default="", help="only cases whose name contains each of these words")
    p.add_argument("--libraries", default=",".join(LIBRARIES), help="comma-separated; ours is always measured")
    p.add_argument("--jax-python", default=sys.executable, metavar="PATH", help="the interpreter with JAX (this one)")
    p.add_argument("--quick", action="store_true", help="a few shapes, few samples")
    p.add_argument("--rounds", type=int, help="turns each library gets per case (7; 3 with --quick)")
    p.add_argument("--seconds", type=float, help="seconds per turn (0.04; 0.02 with --quick)")
    p.add_argument("--timeout", type=float, default=300.0, help="seconds a library may take over one request (300)")
    p.add_argument("--cpp", type=Path, metavar="BUILD", help="also run the Google Benchmark programs under BUILD")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    p.add_argument("--save", action="store_true", help="write them to bench/results/<date>-<cpu>-<commit>.json")
    p.add_argument("--list", action="store_true", help="print the cases and stop")
    options = p.parse_args(arguments)
    for name, known in (("family", FAMILIES), ("libraries", LIBRARIES)):
        chosen = [v for v in getattr(options, name).split(",") if v]
        if unknown := [v for v in chosen if v not in known]:
            p.error(f"--{name}: expected {', '.join(known)}, got {', '.join(unknown)}")
        setattr(options, name, tuple(v for v in known if v in chosen))
    try:
        given = [int(t) for t in (options.threads or "1").split(",")]
    except ValueError:
        p.error(f"--threads: expected integers, got {options.threads!r}")
    if min(given) < 1:
        p.error("--threads: expected at least 1")
    several = [1, 2] if options.threads is None and (os.cpu_count() or 1) > 1 else given
    options.threads = {family: several if family == "train" else given for family in options.family}
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (0.02 if options.quick else 0.04)
    if options.rounds < 1 or options.seconds <= 0:
        p.error("--rounds and --seconds must be positive")
    return options


def measure(options: argparse.Namespace, chosen: list[Case], probe: machine.Probe, result: dict[str, Any]) -> bool:
    """Runs the cases, prints the tables, fills `result`; False when something of ours was wrong or missing."""
    good = True
    training: list[dict[str, Any]] = []
    for threads in sorted({t for several in options.threads.values() for t in several}):
        probe.measure(threads)
        for family in options.family:
            mine = [c for c in chosen if c.family == family]
            if not mine or threads not in options.threads[family]:
                continue
            names = names_of(family, options)
            records, absent = run_family(mine, threads, names, options, result)
            if records is None:
                return False
            probe.measure(threads)
            for record in records:
                rate(record, probe)
            result["cases"] += records
            print(f"\n{family}, {threads} thread{'s' if threads > 1 else ''}; {peak_line(probe, threads)}")
            if family == "train":
                training += records
            else:
                print(family_table(records, names[1:]))
            print(verdict(records, names[1:]))
            for record in records:
                good &= complain(record)
            for name, why in absent.items():
                print(f"{name} is absent: {why}")
    if training:
        print(f"\n{training_table(training, names_of('train', options)[1:])}")
    return good


def names_of(family: str, options: argparse.Namespace) -> list[str]:
    """Ours and the peers measured in a family; JAX has training steps only."""
    peers = [n for n in LIBRARIES if n != "ours" and n in options.libraries]
    return ["ours", *(n for n in peers if n != "jax" or family == "train")]


def run_family(
    mine: list[Case], threads: int, names: list[str], options: argparse.Namespace, result: dict[str, Any]
) -> tuple[list[dict[str, Any]] | None, dict[str, str]]:
    """The records of one family's cases, None without a package of ours; and why peers are absent."""
    workers: dict[str, Worker] = {}
    family = mine[0].family
    try:
        for name in names:
            python = options.jax_python if name == "jax" else sys.executable
            workers[name] = Worker(name, threads, family != "train", options.timeout, python)
            facts = workers[name].about or {"absent": workers[name].absent}
            result["libraries"].setdefault(name, facts)
        absent = {name: worker.absent for name, worker in workers.items() if worker.absent}
        if "ours" in absent:
            print(f"rosenblatt cannot be imported: {absent['ours']}", file=sys.stderr)
            return None, absent
        records = []
        for i, case in enumerate(mine):
            if sys.stderr.isatty():
                print(f"\r\x1b[K{family} {i + 1}/{len(mine)} {case.name}", end="", file=sys.stderr, flush=True)
            records.append(run_case(case, workers, options.rounds, options.seconds) | {"threads": threads})
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return records, absent
    finally:
        for worker in workers.values():
            worker.close()


def complain(record: dict[str, Any]) -> bool:
    """Prints what went wrong with a case; True when ours was right."""
    for name, entry in record["libraries"].items():
        if "error" in entry:
            print(f"{record['name']}: {name}: {entry['error']}", file=sys.stderr)
    if record["wrong"]:
        print(f"{record['name']}: ours differs: {record['difference']}, allowed {record['tol']}", file=sys.stderr)
    return not record["wrong"] and "median" in record["libraries"]["ours"]


def peak_line(probe: machine.Probe, threads: int) -> str:
    best = probe.best.get(threads)
    if best is None:
        return f"peak unknown ({probe.reason})"
    levels = ", ".join(f"{b['bytes'] >> 10} KiB {b['read']:.0f}/{b['copy']:.0f}" for b in best["bandwidth"])
    dots = f", bfloat16 {best['bf16_gflops']:.0f}" if best["bf16_gflops"] else ""
    return f"peak {best['gflops']:.0f} GFLOP/s ({best['isa']}){dots}, read/copy GB/s at {levels}"


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    chosen = cases(options.family, options.quick, options.filter)
    if options.list:
        for case in chosen:
            print(f"{case.family:12} {case.name}")
        return 0
    now = datetime.datetime.now(datetime.UTC)
    facts = machine.describe()
    result: dict[str, Any] = {
        "schema": SCHEMA, "date": now.isoformat(timespec="seconds"), "commit": machine.commit(), "machine": facts,
        "options": {"threads": options.threads, "rounds": options.rounds, "seconds": options.seconds,
                    "quick": options.quick, "filter": options.filter},
        "libraries": {}, "peak": {}, "cases": [], "cpp": [],
    }  # fmt: skip
    print(f"{facts['cpu']}, {facts['processors']} processors, load {facts['load']}, commit {result['commit']}")
    if facts["load"] > 0.5:
        print("the machine is busy: these figures are not to be quoted")
    if not chosen:
        print("no case matches", file=sys.stderr)
    probe = machine.Probe()
    try:
        good = measure(options, chosen, probe, result)
    finally:
        probe.close()
    if options.cpp is not None:
        for threads in sorted({t for several in options.threads.values() for t in several}):
            records = run_cpp(options.cpp, threads, options.filter, options.quick)
            result["cpp"] += records
            if records:
                print(f"\nC++ benchmarks, {threads} thread{'s' if threads > 1 else ''}\n{cpp_table(records)}")
    result["peak"] = {str(t): b for t, b in probe.best.items()}
    result["peak_history"] = probe.history
    targets = [options.json] if options.json else []
    if options.save:
        slug = re.sub(r"[^a-z0-9]+", "-", facts["cpu"].lower()).strip("-")
        targets.append(RESULTS / f"{now:%Y-%m-%d}-{slug}-{result['commit']}.json")
    for path in targets:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
        print(f"written: {path}")
    return 0 if good and (chosen or options.cpp is not None) else 1


if __name__ == "__main__":
    sys.exit(main())
