"""Microseconds per call of eager ops on tensors too small for arithmetic to matter, forward and backward.

    python bench/overhead.py [--rounds 15] [--number 400] [--filter conv] [--json FILE]

No peers. Each figure is the median over rounds of the mean of `number` calls; all cases take turns, so that a drifting
clock hits all alike. Everything runs on one thread and its processor time is what counts, so that other work on the
machine does not add to it. "backward" is the time of a pass over a chain of 16, divided by 16.
"""

from __future__ import annotations

import argparse
import gc
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import rosenblatt as rb
from rosenblatt import Tensor, _core, ops

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from peers import machine

F32 = np.float32
CHAIN = 16
TARGETS = {  # microseconds
    "xent 64x10 fwd+bwd": 20.0,
    "xor 2-2-1 step": 40.0,
}
PER_OP = 3.0

Call = Callable[[], Any]


def tiny(*shape: int, grad: bool = True) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(F32), requires_grad=grad)


def op_cases() -> dict[str, Callable[[], Callable[[Tensor], Tensor]]]:
    """Makers of ops x -> y with y of x's shape, so that they chain; each maker draws parameters of its own."""

    def with_one(op: Any) -> Callable[[], Callable[[Tensor], Tensor]]:
        def make() -> Callable[[Tensor], Tensor]:
            other = tiny(4, 4)
            return lambda x: op(x, other)

        return make

    def linear() -> Callable[[Tensor], Tensor]:
        w, b = tiny(4, 4), tiny(4)
        return lambda x: ops.linear(x, w, b)

    def conv() -> Callable[[Tensor], Tensor]:
        w, b = tiny(1, 3, 3, 1), tiny(1)
        return lambda x: ops.conv2d(x, w, b, padding=1)

    def plain(op: Callable[[Any], Any]) -> Callable[[], Callable[[Tensor], Tensor]]:
        return lambda: op

    return {
        "add": with_one(ops.add),
        "add number": plain(lambda x: ops.add(x, 1.5)),
        "mul": with_one(ops.mul),
        "mul number": plain(lambda x: ops.mul(x, 0.5)),
        "relu": plain(ops.relu),
        "tanh": plain(ops.tanh),
        "linear": linear,
        "matmul": with_one(ops.matmul),
        "conv2d 4x4": conv,
        "softmax": plain(ops.softmax),
        "log_softmax": plain(ops.log_softmax),
        "reshape": plain(lambda x: ops.reshape(x, (16,)) if x.ndim == 2 else ops.reshape(x, (4, 4))),
        "transpose": plain(ops.transpose),
    }


# How many gradients a backward pass of one op computes, where that is not one.
GRADIENTS = {"mul": 2, "add": 2, "linear": 3, "matmul": 2, "conv2d 4x4": 3}


def step_of(model: Any, optimizer: Any, loss: Callable[[Any], Any], x: Tensor) -> Call:
    def step() -> None:
        optimizer.zero_grad()
        loss(model(x)).backward()
        optimizer.step()

    return step


def whole_cases() -> dict[str, Call]:
    rng = np.random.default_rng(1)
    logits, labels = tiny(64, 10), rng.integers(0, 10, 64)

    def xent() -> None:
        logits.grad = None
        ops.cross_entropy(logits, labels).backward()

    x = tiny(4, 4)

    def total() -> None:
        x.grad = None
        ops.sum(x).backward()

    xor = rb.nn.Sequential(rb.nn.Linear(2, 2, activation="sigmoid"), rb.nn.Linear(2, 1, activation="sigmoid"))
    corners = Tensor(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], F32))
    wanted = np.array([[0], [1], [1], [0]], F32)
    lenet = rb.models.lenet5()
    image, digit = Tensor(rng.standard_normal((1, 32, 32, 1)).astype(F32)), np.array([3])
    return {
        "sum fwd+bwd": total,
        "xent 64x10 fwd+bwd": xent,
        "xor 2-2-1 step": step_of(xor, rb.optim.SGD(xor.parameters(), 0.1), lambda y: ops.mse_loss(y, wanted), corners),
        "lenet5 b1 step (kernels included)": step_of(
            lenet, rb.optim.SGD(lenet.parameters(), 0.01, momentum=0.9), lambda y: ops.cross_entropy(y, digit), image
        ),
    }


def forward_call(f: Callable[[Tensor], Tensor], x: Tensor) -> Call:
    return lambda: f(x)


def backward_call(make: Callable[[], Callable[[Tensor], Tensor]], x: Tensor) -> Call:
    """A pass over CHAIN of them, the graph kept."""
    y = x
    for _ in range(CHAIN):
        y = make()(y)
    seed = np.ones(y.shape, F32)
    return lambda: rb.grad(y, x, seed, retain_graph=True)


def measure(calls: dict[str, tuple[Call, int]], rounds: int, number: int) -> dict[str, float]:
    """Median microseconds by name; each call counts as so many."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, (call, counts) in calls.items():
                n = max(number // (4 * counts if counts > 1 else 1), 5)
                call()
                start = time.thread_time()
                for _ in range(n):
                    call()
                samples[name].append((time.thread_time() - start) / n / counts * 1e6)
    finally:
        gc.enable()
    return {name: statistics.median(s) for name, s in samples.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--number", type=int, default=400)
    parser.add_argument("--filter", default="")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args(arguments)
    rb.set_num_threads(1)
    calls: dict[str, tuple[Call, int]] = {}
    names = [n for n in op_cases() if options.filter in n]
    for name in names:
        make = op_cases()[name]
        x = tiny(1, 4, 4, 1) if name.startswith("conv") else tiny(4, 4)
        calls[f"{name}/forward"] = forward_call(make(), x), 1
        calls[f"{name}/backward"] = backward_call(make, x), CHAIN
    whole = {n: c for n, c in whole_cases().items() if options.filter in n}
    calls |= {n: (c, 1) for n, c in whole.items()}
    found = measure(calls, options.rounds, options.number)
    if names:
        print(f"{'op':16} {'forward us':>11} {'backward us':>12} {'gradients':>10}   (target {PER_OP:g} us each)")
        for name in names:
            forward, backward = found[f"{name}/forward"], found[f"{name}/backward"]
            print(f"{name:16} {forward:11.2f} {backward:12.2f} {GRADIENTS.get(name, 1):10}")
    for name in whole:
        target = f"   (target {TARGETS[name]:g})" if name in TARGETS else ""
        print(f"{name:34} {found[name]:8.1f} us{target}")
    if options.json:
        result = {
            "commit": machine.commit(), "machine": machine.describe(), "threads": rb.get_num_threads(),
            "level": _core.config()["isa"], "microseconds": found,
        }  # fmt: skip
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
