"""A process that runs one library's side of the cases: JSON lines in, JSON lines out.

    {"cmd": "hello"}                                   -> {"library": ..., "version": ..., ...} or {"absent": reason}
    {"cmd": "prepare", "case": {...}}                  -> {"variants": {name: {"first": s, "check": [...]}}}
                                                          or {"unsupported": reason}
    {"cmd": "measure", "variant": name, "seconds": s}  -> {"samples": [seconds per call, ...], "calls": n}
    {"cmd": "quit"}

An exception becomes {"error": text}. Standard output carries the protocol alone: whatever a library prints goes to
standard error. Run as `python -m peers.worker LIBRARY THREADS` with bench/ on the path.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .cases import Array, Case

__all__ = ["MODULES", "Makers", "Variant", "digest", "every", "moments"]

MODULES = {"ours": "peers.ours", "numpy": "peers.numpy_peer", "torch": "peers.torch_peer", "jax": "peers.jax_peer"}
_SAMPLE = 2e-3  # seconds a sample should last, so that the clock does not matter
_WARM = 0.05  # seconds of calls before the first sample of a case


class Variant(NamedTuple):
    """One way a library can run a case: `run` is timed; `check` calls it from a known state and sums up the result.

    `note` says, after a call, what ran (the implementation chosen), or "". `finish` waits for calls that return before
    their work is done; its time is part of the sample.
    """

    run: Callable[[], Any]
    check: Callable[[], list[float]]
    note: Callable[[], str] = lambda: ""
    finish: Callable[[], Any] = lambda: None


Makers = dict[str, Callable[[], Variant]]  # the forms of a training case, each made when it is wanted


def every(trainer: Callable[[Case], Makers]) -> Callable[[Case], dict[str, Variant]]:
    """The builder that makes all forms of a training case."""
    return lambda case: {name: make() for name, make in trainer(case).items()}


def digest(array: Array) -> list[float]:
    """Root mean square, mean and up to 256 elements of `array`, taken at places that depend on its size alone."""
    flat = np.asarray(array).reshape(-1)
    places = np.random.default_rng(flat.size).integers(0, flat.size, min(256, flat.size))
    rms = float(np.sqrt(np.mean(np.square(flat, dtype=np.float64))))
    return [rms, float(np.mean(flat, dtype=np.float64)), *(float(v) for v in flat[places])]


def moments(array: Array) -> list[float]:
    """Mean, standard deviation and share of zeros: all that two random streams have in common."""
    wide = np.asarray(array, np.float64)
    return [float(wide.mean()), float(wide.std()), float((wide == 0).mean())]


class _Timed:
    """A variant with the number of calls that make up a sample."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.check = [float(v) for v in variant.check()]
        self.first = self._seconds(1)
        self.note = variant.note()
        self.loops = 1
        if self.first < 1.0:
            spent, calls = self.first, 1
            while spent < _WARM:  # doubles the calls, so that the clock is read rarely
                spent += self._seconds(calls)
                calls *= 2
            calls = max(1, calls // 4)
            self.loops = max(1, round(_SAMPLE / min(self._seconds(calls) / calls, self.first)))

    def _seconds(self, loops: int) -> float:
        run = self.variant.run
        start = time.perf_counter()
        for _ in range(loops):
            run()
        self.variant.finish()
        return time.perf_counter() - start

    def measure(self, seconds: float) -> dict[str, Any]:
        """Samples for about `seconds`, at least one, after a call that wakes threads and caches."""
        if self.first < 0.3:  # a longer call needs no waking
            self.variant.run()
            self.variant.finish()
        end = time.perf_counter() + seconds
        samples = [self._seconds(self.loops) / self.loops]
        while time.perf_counter() < end:
            samples.append(self._seconds(self.loops) / self.loops)
        return {"samples": samples, "calls": self.loops * len(samples)}


class _Server:
    def __init__(self, library: str, threads: int) -> None:
        self.library, self.threads = library, threads
        self.timed: dict[str, _Timed] = {}
        self.module: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request["cmd"]
        if command == "hello":
            try:
                self.module = importlib.import_module(MODULES[self.library])
            except ImportError as error:
                return {"absent": str(error)}
            return {"library": self.library, **self.module.start(self.threads)}
        if command == "prepare":
            self.timed.clear()
            gc.collect()
            case = Case(**request["case"])
            if case.family == "train":  # whole programs collect garbage; inside a kernel's sample it would be noise
                gc.enable()
            else:
                gc.disable()
            build = self.module.BUILDERS.get(case.kind)
            if build is None:
                return {"unsupported": f"{self.library} has no {case.kind}"}
            self.timed = {name: _Timed(variant) for name, variant in build(case).items()}
            return {
                "variants": {
                    name: {"first": t.first, "check": t.check, "note": t.note} for name, t in self.timed.items()
                }
            }
        if command == "measure":
            return self.timed[request["variant"]].measure(float(request["seconds"]))
        raise ValueError(f"unknown command {command!r}")


def main(library: str, threads: int) -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    server = _Server(library, threads)
    for line in sys.stdin:
        request = json.loads(line)
        if request["cmd"] == "quit":
            break
        try:
            reply = server.answer(request)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
