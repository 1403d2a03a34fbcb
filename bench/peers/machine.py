"""The machine under the figures: its name, its peak, its commit."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["Probe", "commit", "cpu_name", "describe"]

_HERE = Path(__file__).resolve().parent
_SIZES = (192 << 10, 3 << 20, 192 << 20)  # bytes in total: within a core's cache, within the shared one, memory


def cpu_name() -> str:
    """The processor's model name, or the architecture where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(_HERE), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def commit() -> str:
    """The short commit, with "-dirty" when tracked files differ from it; "unknown" outside a repository."""
    name = _git("rev-parse", "--short", "HEAD")
    return (name + ("-dirty" if _git("status", "--porcelain", "-uno") else "")) if name else "unknown"


def describe() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


class Probe:
    """Measures the peak with peak.cpp, compiled once per run; keeps the best figure of every measurement.

    Without a compiler there is no peak, and `reason` says so.
    """

    def __init__(self) -> None:
        self.best: dict[int, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.reason = ""
        self._folder = tempfile.TemporaryDirectory(prefix="rb-peak-")
        self._program = Path(self._folder.name) / "peak"
        compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
        if compiler is None:
            self.reason = "no C++ compiler"
            return
        command = [
            *compiler.split(), "-std=gnu++20", "-O3", "-ffp-contract=off", "-pthread",
            str(_HERE / "peak.cpp"), "-o", str(self._program),
        ]  # fmt: skip
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            self.reason = next(iter(built.stderr.strip().splitlines()), "the compiler failed")

    def measure(self, threads: int) -> None:
        """One more measurement with `threads` threads."""
        if self.reason:
            return
        done = subprocess.run(
            [str(self._program), str(threads), *map(str, _SIZES)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            self.reason = f"the probe ended with status {done.returncode}"
            return
        new = json.loads(done.stdout)
        self.history.append(new)
        old = self.best.setdefault(threads, new)
        self.best[threads] = {
            **new,
            "gflops": max(old["gflops"], new["gflops"]),
            "bf16_gflops": max(old["bf16_gflops"], new["bf16_gflops"]),
            "bandwidth": [
                {"bytes": a["bytes"], "read": max(a["read"], b["read"]), "copy": max(a["copy"], b["copy"])}
                for a, b in zip(old["bandwidth"], new["bandwidth"], strict=True)
            ],
        }

    def floor(
        self, threads: int, flops: float, read: float, written: float, peak: str = "gflops"
    ) -> tuple[float, float] | None:
        """(seconds for `flops` at the peak, seconds to move the bytes at the bandwidth of the level they fit in).

        peak : "bf16_gflops" for products of bfloat16 numbers; a processor without them has float's
        """
        best = self.best.get(threads)
        if best is None:
            return None
        moved = read + written
        level = min(best["bandwidth"], key=lambda b: abs(math.log(b["bytes"] / max(moved, 1.0))))
        rate = level["copy"] if written else level["read"]
        return flops / (best[peak] or best["gflops"]) / 1e9, moved / rate / 1e9

    def close(self) -> None:
        self._folder.cleanup()
