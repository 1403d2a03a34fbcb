"""Compares two files written by bench/run.py: what became faster, what slower, by how much.

    python bench/compare.py OLD.json NEW.json [--threshold 5] [--fail-over 10] [--filter substring]

`time` is new over old (below 1 is faster). `peer` is the same with each run's time divided by the best peer's of that
run, so that a slower clock cancels; `peak` compares the shares of the measured peak. A line is marked + or - when time
and, where both runs have a peer, `peer` agree that the case moved by more than the threshold.
Exit status: 0, 1 with --fail-over when a marked case lost more than that, 2 for files that cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

Key = tuple[str, str, int]


def load(path: Path) -> dict[str, Any]:
    """The file's contents. Raises ValueError, naming the file, when it is not a result of run.py."""
    try:
        data = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(data, dict) or data.get("schema") != 1 or "cases" not in data:
        raise ValueError(f"{path}: not a result of bench/run.py")
    return data


def by_key(data: dict[str, Any]) -> dict[Key, dict[str, Any]]:
    """The cases by (family, name, threads), and the C++ benchmarks with "cpp" as their family."""
    found = {(c["family"], c["name"], c["threads"]): c for c in data["cases"]}
    for b in data.get("cpp", []):
        if "real_time" in b and b.get("run_type", "iteration") == "iteration":
            ours = {"median": call_seconds(b)}
            found["cpp", f"{b['program']} {b['name']}", b["rb_threads"]] = {"libraries": {"ours": ours}}
    return found


def call_seconds(benchmark: dict[str, Any]) -> float:
    """One call's time as the program measures it: the processor's, or the clock's where its name says so (teams)."""
    kind = "real_time" if benchmark["name"].endswith("/real_time") else "cpu_time"
    return float(benchmark[kind]) * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[benchmark["time_unit"]]


def median(case: dict[str, Any]) -> float | None:
    value = case["libraries"].get("ours", {}).get("median")
    return float(value) if value else None


def ratio(new: float | None, old: float | None) -> float | None:
    return new / old if new and old else None


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    p.add_argument("old", type=Path)
    p.add_argument("new", type=Path)
    p.add_argument("--threshold", type=float, default=5.0, help="percent below which a change is noise (5)")
    p.add_argument("--fail-over", type=float, metavar="PERCENT", help="exit with 1 when a marked case lost more")
    p.add_argument("--filter", default="", help="only cases whose name contains this")
    options = p.parse_args(arguments)
    try:
        old, new = load(options.old), load(options.new)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for label, data in (("old", old), ("new", new)):
        print(f"{label}: {data['date']} {data['commit']} on {data['machine']['cpu']}, load {data['machine']['load']}")
    if old["machine"]["cpu"] != new["machine"]["cpu"]:
        print("the processors differ: only the columns peer and peak mean anything")
    before, after = by_key(old), by_key(new)
    limit = math.log1p(options.threshold / 100)
    failed = False
    times: list[float] = []
    family = ""
    for key, case in after.items():
        if key not in before or options.filter not in key[1]:
            continue
        time = ratio(median(case), median(before[key]))
        if time is None:
            continue
        times.append(time)
        relative = ratio(before[key].get("ratio"), case.get("ratio"))  # ratio is peer/ours, so old over new
        share = ratio(case.get("peak_percent"), before[key].get("peak_percent"))
        votes = [math.log(v) for v in (time, relative) if v]
        mark = "+" if all(v < -limit for v in votes) else "-" if all(v > limit for v in votes) else " "
        failed |= mark == "-" and options.fail_over is not None and time > 1 + options.fail_over / 100
        if key[0] != family:
            family = key[0]
            print(f"\n{family:48} {'old us':>10} {'new us':>10} {'time':>6} {'peer':>6} {'peak':>6}")
        a, b = median(before[key]), median(case)
        assert a is not None and b is not None
        name = f"{key[1]} {key[2]}t"
        columns = " ".join(f"{v:6.2f}" if v else "     -" for v in (time, relative, share))
        print(f"{mark} {name:46} {a * 1e6:10.2f} {b * 1e6:10.2f} {columns}")
    if times:
        mean = math.exp(sum(map(math.log, times)) / len(times))
        print(f"\n{len(times)} cases, geometric mean of the times: {mean:.3f}")
    else:
        print("no case in common")
    for label, only in (("old", before.keys() - after.keys()), ("new", after.keys() - before.keys())):
        if only:
            print(f"only in {label}: {len(only)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
