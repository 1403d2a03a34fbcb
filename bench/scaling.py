"""Several processes: what they gain here, and what a cost model says about clusters.

    python bench/scaling.py                  measures this machine with 1 and 2 processes (needs the extra "mpi")
    python bench/scaling.py --model          prints the tables of docs/scaling.md

A step's time is the shortest between the starts of two steps, so that other work on the machine is left out as far as
it leaves gaps; everything runs with one thread in each process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# --- measured


def _network(name: str) -> tuple[Any, Any, Any]:
    """(model, x, y) with 2,048 random examples."""
    import numpy as np

    import rosenblatt as rb
    from rosenblatt import nn

    rb.manual_seed(0)
    rng = np.random.default_rng(0)
    if name == "lenet5":
        model, shape = rb.models.build("lenet5", input_shape=(32, 32, 1), classes=10), (32, 32, 1)
    elif name == "mlp":
        model, shape = rb.models.build("mlp", input_shape=(64,), classes=10), (64,)
    else:
        relu = {"activation": "relu"}
        model = nn.Sequential(nn.Linear(784, 512, **relu), nn.Linear(512, 512, **relu), nn.Linear(512, 10))
        shape = (784,)
    return model, rng.standard_normal((2048, *shape)).astype(np.float32), rng.integers(0, 10, 2048)


class Clock:
    """An augmentation that changes nothing and notes when it is called: once for each step, in every process."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, x: Any, rng: Any) -> Any:
        self.times.append(time.perf_counter())
        return x

    def rows(self, x: Any, rng: Any, start: int, total: int) -> Any:
        return self(x, rng)

    def step(self) -> float:
        """The shortest time of a step, after the first ten, which capture uses to record."""
        return min(b - a for a, b in itertools.pairwise(self.times[10:]))


def worker(steps: int) -> None:
    """What each process runs; process 0 prints one line of JSON."""
    import numpy as np

    import rosenblatt as rb
    from rosenblatt import distributed

    group = distributed.init() if distributed.launched_size() > 1 else None
    rb.set_num_threads(1)
    found: dict[str, Any] = {"steps": {}, "sums": {}}
    for name in ("mlp", "lenet5", "784-512-512-10"):
        for batch in (64, 128, 256):
            for capture in (True, False):
                model, x, y = _network(name)
                optimizer = rb.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
                clock = Clock()
                model.fit(
                    x, y, epochs=1, steps_per_epoch=steps, batch_size=batch, optimizer=optimizer, progress=False,
                    seed=0, capture=capture, augment=clock, workers=0,
                )  # fmt: skip
                found["steps"][f"{name} {batch} {'captured' if capture else 'eager'}"] = clock.step()
    if group is not None:
        from rosenblatt.distributed.buckets import Bucket, Layout

        for kib in (1, 16, 64, 256, 1024, 4096, 16384):
            bucket = Bucket(Layout.plan([(0, (kib * 256,), np.float32)], 1, group.size)[0], group, 0)
            gradient = [rb.Tensor(np.ones(kib * 256, np.float32))]
            best = math.inf
            for _ in range(max(5, 4096 // kib) if kib < 4096 else 20):
                group.barrier("a measurement")
                begun = time.perf_counter()
                bucket.start(gradient)
                bucket.finish_first()
                bucket.finish()
                best = min(best, time.perf_counter() - begun)
            found["sums"][str(kib)] = best
    if group is None or group.leads:
        print(json.dumps(found))


def measure(steps: int, rounds: int) -> None:
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if mpiexec is None:
        sys.exit('bench/scaling.py needs mpiexec: pip install "rosenblatt[mpi]"')
    results: dict[int, dict[str, dict[str, float]]] = {}
    for size in (1, 2) * rounds:  # they take turns
        words = [mpiexec, "-n", str(size), sys.executable, __file__, "--worker", "--steps", str(steps)]
        run = subprocess.run(words, check=True, capture_output=True, text=True)
        found = json.loads(run.stdout.splitlines()[-1])
        for kind, times in found.items():
            kept = results.setdefault(size, {}).setdefault(kind, {})
            kept.update({k: min(v, kept.get(k, v)) for k, v in times.items()})
    one, two = results[1], results[2]
    print("| step | 1 process | 2 processes, same batch | gain | 2 processes, twice the batch | rate |")
    print("|---|---|---|---|---|---|")
    for key, seconds in one["steps"].items():
        name, batch, mode = key.rsplit(" ", 2)
        strong = two["steps"][key]
        times = f"{seconds * 1e3:.3f} ms | {strong * 1e3:.3f} ms | {seconds / strong:.2f}"
        line = f"| {name}, batch {batch}, {mode} | {times} |"
        weak = two["steps"].get(f"{name} {2 * int(batch)} {mode}")
        print(line + (f" {weak * 1e3:.3f} ms | {2 * seconds / weak:.2f} |" if weak else "  |  |"))
    print()
    print("| bucket | sum over 2 processes | per second |")
    print("|---|---|---|")
    for kib, seconds in two["sums"].items():
        print(f"| {kib} KiB | {seconds * 1e6:.0f} us | {int(kib) * 1024 / seconds / 1e9:.2f} GB |")


# --- on paper

NETWORKS = {  # parameters, multiply-adds of one forward pass of one example
    "LeNet-5 (32x32)": (61_706, 416_520),
    "MLP 784-512-512-10": (669_706, 668_672),
    "AlexNet": (61_100_840, 714_188_480),
    "ResNet-50": (25_557_032, 4_089_184_256),
    "VGG-16": (138_357_544, 15_470_264_320),
}
LINKS = {"10 GbE": (30e-6, 1.1e9), "100 Gb/s": (3e-6, 11e9)}  # latency in s, bytes a second
OVERHEAD = 1e-6  # s of a process for each message
ADDING = 10e9  # bytes a second that a process adds up
RATE = 1e12  # multiply-adds and adds a second that a process reaches in training: one processor of a cluster
BUCKET = 1 << 20


def bucket_time(n: float, k: int, link: str, ring: bool = False) -> float:
    """Seconds until the sum of n bytes over k processes is everywhere, with nothing else under way."""
    if k == 1:
        return 0.0
    latency, bandwidth = LINKS[link]
    rounds = 2 * (k - 1) * latency if ring else 2 * (latency + (k - 1) * OVERHEAD)
    return rounds + 2 * n * (k - 1) / (k * bandwidth) + n * (k - 1) / (k * ADDING)


def step_time(name: str, batch: float, k: int, link: str) -> tuple[float, float, float]:
    """(computation, communication, step) in seconds of one process of k, each with `batch` examples."""
    parameters, macs = NETWORKS[name]
    n = 4.0 * parameters
    computation = 6.0 * macs * batch / RATE
    whole, rest = divmod(n, BUCKET)
    times = [bucket_time(BUCKET, k, link)] * int(whole) + ([bucket_time(rest, k, link)] if rest else [])
    communication = sum(times)
    # Sums are hidden behind the backward pass, two thirds of the computation, all but that of the last bucket.
    exposed = max(times[-1], communication - computation * 2 / 3)
    return computation, communication, computation + exposed


def time_text(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1.0 or unit == "us":
            return f"{seconds * scale:.3g} {unit}"
    raise AssertionError("unreachable")


def tables() -> str:
    """The tables of the cost model, in Markdown."""
    lines = [
        "| network | gradients | link | ring, K=8 | two exchanges, K=8 | ring, K=64 | two exchanges, K=64 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (parameters, _) in NETWORKS.items():
        n = 4.0 * parameters
        buckets = math.ceil(n / BUCKET)
        for link in LINKS:
            cells = [
                time_text(buckets * bucket_time(n / buckets, k, link, ring)) for k in (8, 64) for ring in (True, False)
            ]
            lines.append(f"| {name} | {n / 1e6:.3g} MB | {link} | {' | '.join(cells)} |")
    sizes = (1, 2, 4, 8, 16, 64)
    for title, weak in (("strong: 256 examples in all", False), ("weak: 64 examples each", True)):
        lines += ["", f"| {title} | link | {' | '.join(f'K={k}' for k in sizes)} |", "|---|---|" + "---|" * len(sizes)]
        for name in NETWORKS:
            for link in LINKS:
                first = step_time(name, 64 if weak else 256, 1, link)[2]
                cells = []
                for k in sizes:
                    step = step_time(name, 64 if weak else 256 / k, k, link)[2]
                    gain = first / step * (k if weak else 1)
                    cells.append(f"{time_text(step)}, {gain:.3g}x")
                lines.append(f"| {name} | {link} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="store_true", help="print the tables of the cost model and stop")
    parser.add_argument("--steps", type=int, default=150, help="of each training run (default: 150)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each size, the best counts (default: 3)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.model:
        print(tables(), end="")
    elif chosen.worker:
        worker(chosen.steps)
    else:
        measure(chosen.steps, chosen.rounds)
