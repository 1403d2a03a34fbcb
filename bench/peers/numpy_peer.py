"""NumPy's side of the cases: one call where it has one, otherwise what a careful user writes, without temporaries.

There is no NumPy side of convolution and of LeNet-5. The training steps are written out by hand, one function per
network, as someone without a framework would.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import Array, Case, mlp_sizes, normal, squared_error, train_arrays
from .spectral import numpy_builders
from .worker import Variant, digest, moments

__all__ = ["BUILDERS", "start"]


def start(threads: int) -> dict[str, Any]:
    try:
        from threadpoolctl import threadpool_info

        pools = [f"{p['internal_api']} {p.get('version')} {p['num_threads']}t" for p in threadpool_info()]
    except ImportError:
        pools = []
    return {"version": np.__version__, "threads": threads, "config": {"pools": pools}}


def _one(run: Callable[[], Any], look: Callable[[Any], list[float]] = digest) -> dict[str, Variant]:
    return {"": Variant(run, lambda: look(run()))}


# --- matrix products
def _gemm(case: Case) -> dict[str, Variant]:
    m, k, n = (case.params[name] for name in "mkn")
    rng = case.rng()
    layout = case.params["layout"]
    a = normal(rng, k, m).T if layout[0] == "t" else normal(rng, m, k)
    b = normal(rng, n, k).T if layout[1] == "t" else normal(rng, k, n)
    c = np.zeros((m, n), np.float32)
    return _one(lambda: np.matmul(a, b, out=c))


def _gemm_batched(case: Case) -> dict[str, Variant]:
    b, m, k, n = (case.params[name] for name in "bmkn")
    rng = case.rng()
    x, y = normal(rng, b, m, k), normal(rng, b, k, n)
    z = np.zeros((b, m, n), np.float32)
    return _one(lambda: np.matmul(x, y, out=z))


# --- elementwise
def _relu(x: Array, out: Array) -> Array:
    return np.maximum(x, np.float32(0), out=out)


def _sigmoid(x: Array, out: Array) -> Array:
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += np.float32(1)
    return np.reciprocal(out, out=out)


def _unary(f: Any, positive: bool = False) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        x = normal(case.rng(), case.params["n"])
        x = np.abs(x) if positive else x
        y = np.zeros_like(x)
        return _one(lambda: f(x, out=y))

    return build


def _sum(case: Case) -> dict[str, Variant]:
    x = normal(case.rng(), case.params["n"])
    return _one(lambda: np.sum(x))


def _binary(f: Any) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        rng = case.rng()
        a, b = normal(rng, case.params["n"]), normal(rng, case.params["n"])
        y = np.zeros_like(a)
        return _one(lambda: f(a, b, out=y))

    return build


def _uniform(case: Case) -> dict[str, Variant]:
    rng, y = np.random.default_rng(0), np.zeros(case.params["n"], np.float32)
    return _one(lambda: rng.random(dtype=np.float32, out=y), moments)


def _normal(case: Case) -> dict[str, Variant]:
    rng, y = np.random.default_rng(0), np.zeros(case.params["n"], np.float32)
    return _one(lambda: rng.standard_normal(dtype=np.float32, out=y), moments)


def _dropout(case: Case) -> dict[str, Variant]:
    x = normal(case.rng(), case.params["n"])
    rng = np.random.default_rng(0)
    u, y, keep = np.zeros_like(x), np.zeros_like(x), np.zeros(x.shape, np.bool_)

    def run() -> Array:
        rng.random(dtype=np.float32, out=u)
        np.greater_equal(u, np.float32(0.5), out=keep)
        np.multiply(x, np.float32(2), out=y)
        return np.multiply(y, keep, out=y)

    return _one(run, moments)


def _sum_rows(case: Case) -> dict[str, Variant]:
    x = normal(case.rng(), case.params["m"], case.params["n"])
    y = np.zeros(case.params["n"], np.float32)
    return _one(lambda: np.sum(x, axis=0, out=y))


def _softmax_of(x: Array, y: Array) -> Array:
    np.subtract(x, x.max(axis=1, keepdims=True), out=y)
    np.exp(y, out=y)
    y /= y.sum(axis=1, keepdims=True)
    return y


def _softmax(case: Case) -> dict[str, Variant]:
    x = normal(case.rng(), case.params["m"], case.params["c"])
    y = np.zeros_like(x)
    return _one(lambda: _softmax_of(x, y))


def _logits(case: Case) -> tuple[Array, Array, Array, Array]:
    rng = case.rng()
    m, c = case.params["m"], case.params["c"]
    x = normal(rng, m, c)
    return x, rng.integers(0, c, m), np.arange(m), np.zeros_like(x)


def _xent(case: Case) -> dict[str, Variant]:
    x, labels, rows, y = _logits(case)

    def run() -> Any:
        top = x.max(axis=1)
        np.subtract(x, top[:, None], out=y)
        np.exp(y, out=y)
        return np.mean(np.log(y.sum(axis=1)) + top - x[rows, labels])

    return _one(run)


def _xent_grad(case: Case) -> dict[str, Variant]:
    x, labels, rows, y = _logits(case)

    def run() -> Array:
        _softmax_of(x, y)
        y[rows, labels] -= np.float32(1)
        return np.multiply(y, np.float32(1.0 / len(x)), out=y)

    return _one(run)


# --- optimisers: one state per array, updated in place
class _SGD:
    def __init__(self, p: Array) -> None:
        self.p, self.m, self.t, self.first = p, np.zeros_like(p), np.zeros_like(p), True

    def step(self, g: Array) -> None:
        if self.first:
            self.m[...] = g
            self.first = False
        else:
            self.m *= np.float32(0.9)
            self.m += g
        np.multiply(self.m, np.float32(0.01), out=self.t)
        self.p -= self.t


class _Adam:
    def __init__(self, p: Array) -> None:
        self.p, self.m, self.v, self.t = p, np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
        self.count = 0

    def step(self, g: Array) -> None:
        self.count += 1
        t = self.t
        self.m *= np.float32(0.9)
        np.multiply(g, np.float32(0.1), out=t)
        self.m += t
        self.v *= np.float32(0.999)
        np.multiply(g, g, out=t)
        t *= np.float32(0.001)
        self.v += t
        np.sqrt(self.v, out=t)
        t *= np.float32(1.0 / math.sqrt(1.0 - 0.999**self.count))
        t += np.float32(1e-8)
        np.divide(self.m, t, out=t)
        t *= np.float32(1e-3 / (1.0 - 0.9**self.count))
        self.p -= t


_OPTIMIZERS: dict[str, Any] = {"sgd": _SGD, "adam": _Adam}


def _update(name: str) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        rng = case.rng()
        p, g = normal(rng, case.params["n"]), normal(rng, case.params["n"])
        state = _OPTIMIZERS[name](p)

        def run() -> Array:
            state.step(g)
            return p

        return _one(run)

    return build


# --- training
def _train_mlp(case: Case) -> dict[str, Variant]:
    weights, batches = train_arrays(case)
    dims = mlp_sizes(case.params["sizes"])
    xor, squares = dims[-1] == 1, squared_error(dims)
    layers = list(zip(weights[::2], weights[1::2], strict=True))  # (weight [K,C], bias [K])
    states = [_OPTIMIZERS[case.params["optimizer"]](w) for w in weights]
    rows = np.arange(case.params["batch"])
    count = 0

    def run() -> float:
        nonlocal count
        x, target = batches[count % len(batches)]
        count += 1
        outs = [x]  # activations [N, units]
        for w, b in layers[:-1]:
            h = outs[-1] @ w.T
            h += b
            outs.append(np.tanh(h, out=h) if xor else np.maximum(h, np.float32(0), out=h))
        w, b = layers[-1]
        y = outs[-1] @ w.T
        y += b
        if squares:
            y = y - target
            loss = float(np.mean(y * y))
            g = y
            g *= np.float32(2.0 / y.size)
        else:
            y -= y.max(axis=1, keepdims=True)
            picked = y[rows, target]
            np.exp(y, out=y)
            total = y.sum(axis=1)
            loss = float(np.mean(np.log(total) - picked))
            y /= total[:, None]
            y[rows, target] -= np.float32(1)
            y *= np.float32(1.0 / len(y))
            g = y
        grads: list[Array] = []
        for i in range(len(layers) - 1, -1, -1):
            h = outs[i]
            grads += [g.sum(axis=0), g.T @ h]
            if i:
                g = g @ layers[i][0]
                g *= (1 - h * h) if xor else (h > 0)
        for state, grad in zip(states, reversed(grads), strict=True):
            state.step(grad)
        return loss

    return {"by hand": Variant(run, lambda: [run() for _ in range(5)])}


BUILDERS: dict[str, Callable[[Case], dict[str, Variant]]] = {
    "gemm": _gemm,
    "gemm_batched": _gemm_batched,
    "relu": _unary(_relu),
    "exp": _unary(np.exp),
    "tanh": _unary(np.tanh),
    "sigmoid": _unary(_sigmoid),
    "sqrt": _unary(np.sqrt, positive=True),
    "sum": _sum,
    "add": _binary(np.add),
    "mul": _binary(np.multiply),
    "uniform": _uniform,
    "normal": _normal,
    "dropout": _dropout,
    "sum_rows": _sum_rows,
    "softmax": _softmax,
    "xent": _xent,
    "xent_grad": _xent_grad,
    "sgd": _update("sgd"),
    "adam": _update("adam"),
    "train_mlp": _train_mlp,
}
BUILDERS.update(numpy_builders())
