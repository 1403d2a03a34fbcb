"""Resident memory of training runs: ours, captured and eager, against PyTorch and JAX.

    python bench/memory.py [--jax-python PATH] [--threads 1] [--steps 100] [--filter vae] [--json FILE]

Each run has a process of its own that imports one library, trains one network in one form and reports the most memory
that was ever resident (`peak`), and how far it rose above what was resident after the import (`grown`). Both hold the
batches, which are the same for all. The form of a peer with the lowest peak counts. Linux only. Load does not matter.
Exit status: 0, or 1 when a run of ours failed or differs from a peer's, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from peers import machine
from peers.cases import Case, cases
from peers.client import LIBRARIES
from run import difference, table

PEERS = tuple(name for name in LIBRARIES if name not in ("ours", "numpy"))
MIB = 1 << 20


def footprint(case: Case, library: str, variant: str, options: argparse.Namespace) -> dict[str, Any]:
    """What the process of one run reports; {"absent"|"error": reason} when it could not."""
    python = options.jax_python if library == "jax" else sys.executable
    command = [python, "-m", "peers.footprint", library, str(options.threads), str(options.steps), variant]
    env = {**os.environ, "RB_THREADS": str(options.threads), "OMP_NUM_THREADS": str(options.threads)}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            command, input=json.dumps(dataclasses.asdict(case)), capture_output=True, text=True, check=False, env=env,
            timeout=options.timeout,
        )  # fmt: skip
    except OSError as error:
        return {"absent": str(error)}
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {options.timeout:g} s"}
    if done.returncode or not done.stdout:
        last = done.stderr.strip().splitlines()[-1:]
        return {"error": ": ".join([f"ended with status {done.returncode}", *last])}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def runs(case: Case, library: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every form's report, by name; a single report under "" when the library is absent or failed."""
    first = footprint(case, library, "?", options)
    if "variants" not in first:
        return {"": first}
    return {variant: footprint(case, library, variant, options) for variant in first["variants"]}


def best(reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The report of the form with the lowest peak, with its name; else the reason why there is none."""
    good = {v: r for v, r in reports.items() if "peak" in r}
    if not good:
        return next(iter(reports.values()), {"absent": "no such step"})
    name = min(good, key=lambda v: good[v]["peak"])
    return {**good[name], "best": name}


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """The record of one case: all reports by library, and the largest difference of the losses from ours."""
    libraries = {name: runs(case, name, options) for name in ("ours", *PEERS) if name in ("ours", *options.libraries)}
    ours = libraries["ours"].get("captured", {}).get("losses")
    others = [r["losses"] for reports in libraries.values() for r in reports.values() if "losses" in r]
    worst = max((difference(ours, losses) for losses in others), default=0.0) if ours else float("inf")
    return {"name": case.name, "threads": options.threads, "libraries": libraries, "difference": worst,
            "wrong": not worst <= case.tol}  # fmt: skip


def abouts(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What each library that ran says about itself, taken out of the reports."""
    found: dict[str, Any] = {}
    for record in records:
        for name, reports in record["libraries"].items():
            for report in reports.values():
                if "about" in report:
                    found[name] = report.pop("about")
    return found


def cells(report: dict[str, Any], best_form: bool = False) -> list[str]:
    """Peak and growth in MiB."""
    if "peak" not in report:
        return ["absent" if "absent" in report else "error", "-"]
    name = f" {report['best']}" if best_form else ""
    return [f"{report['peak'] / MIB:.1f}{name}", f"{report['grown'] / MIB:.2f}"]


def memory_table(records: list[dict[str, Any]], peers: list[str]) -> str:
    head = ["step, MiB", "captured peak", "grown", "eager peak", "grown"]
    rows = [[*head, *(text for p in peers for text in (f"{p} peak", "grown")), "torch/ours peak", "grown", ""]]
    for r in records:
        ours, torch = r["libraries"]["ours"], best(r["libraries"].get("torch", {"": {}}))
        captured = ours.get("captured", ours.get("", {}))
        row = [r["name"], *cells(captured), *cells(ours.get("eager", captured))]
        for p in peers:
            row += cells(best(r["libraries"][p]), best_form=True)
        both = "peak" in captured and "peak" in torch
        quotients = [torch[k] / captured[k] for k in ("peak", "grown")] if both else []
        row += [f"{q:.2f}" for q in quotients] or ["-", "-"]
        row += ["WRONG" if r["wrong"] else "above" if quotients and min(quotients) <= 1 else ""]
        rows.append(row)
    return table(rows)


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    p.add_argument("--libraries", default=",".join(PEERS), help=f"comma-separated peers, of {', '.join(PEERS)} (all)")
    p.add_argument("--jax-python", default=sys.executable, metavar="PATH", help="the interpreter with JAX (this one)")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--steps", type=int, default=100, help="steps after the first five (100)")
    p.add_argument("--optimizer", default="adam", choices=("sgd", "adam"))
    p.add_argument("--filter", default="", help="only steps whose name contains this")
    p.add_argument("--timeout", type=float, default=300.0, help="seconds a run may take (300)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    options = p.parse_args(arguments)
    options.libraries = tuple(name for name in options.libraries.split(",") if name)
    if unknown := [name for name in options.libraries if name not in PEERS]:
        p.error(f"--libraries: expected {', '.join(PEERS)}, got {', '.join(unknown)}")
    if options.threads < 1 or options.steps < 0:
        p.error("--threads must be positive, --steps not negative")
    chosen = [c for c in cases(("train",), filter=options.filter) if c.params["optimizer"] == options.optimizer]
    records = []
    for case in chosen:
        records.append(measure(case, options))
        if sys.stderr.isatty():
            print(f"\r\x1b[K{case.name}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    peers = [name for name in PEERS if name in options.libraries]
    print(memory_table(records, peers))
    for r in records:
        for library, reports in r["libraries"].items():
            for variant, report in reports.items():
                if why := report.get("error", report.get("absent")):
                    print(f"{r['name']}: {library} {variant}: {why}", file=sys.stderr)
    if options.json:
        result = {
            "commit": machine.commit(), "machine": machine.describe(), "threads": options.threads,
            "steps": options.steps, "libraries": abouts(records), "runs": records,
        }  # fmt: skip
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    failed = not records or any(r["wrong"] or "peak" not in r["libraries"]["ours"].get("captured", {}) for r in records)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
