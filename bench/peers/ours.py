"""rosenblatt's side of the cases: the public functions, on NumPy arrays; training steps eager and captured."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import rosenblatt as rb
from rosenblatt import _core

from . import pooling
from .cases import Case, Conv, conv_weight, mlp_sizes, normal, squared_error, train_arrays
from .spectral import ours_builders
from .worker import Makers, Variant, digest, every, moments

__all__ = ["BUILDERS", "TRAINERS", "start"]


def start(threads: int) -> dict[str, Any]:
    rb.set_num_threads(threads)
    config = _core.config()
    return {
        "version": rb.__version__,
        "threads": rb.get_num_threads(),
        "config": {k: v for k, v in config.items() if isinstance(v, (str, int, float, bool, list))},
    }


def _noted(op: str, run: Callable[[], Any]) -> Callable[[], str]:
    """Runs once more and names the implementation; "ref" when a plain reference loop ran."""

    def note() -> str:
        before = _core.ref_calls()
        run()
        if _core.ref_calls() > before:
            return "ref"
        return str(_core.last_impl()) if len(_core.impls(op)) > 1 else ""

    return note


def _one(run: Callable[[], Any], op: str = "", look: Callable[[Any], list[float]] = digest) -> dict[str, Variant]:
    """The only variant, for a `run` that returns its result."""
    return {"": Variant(run, lambda: look(run()), _noted(op, run) if op else lambda: "")}


# --- matrix products
def _gemm(case: Case) -> dict[str, Variant]:
    m, k, n = (case.params[name] for name in "mkn")
    rng = case.rng()
    layout = case.params["layout"]
    a = normal(rng, k, m).T if layout[0] == "t" else normal(rng, m, k)
    b = normal(rng, n, k).T if layout[1] == "t" else normal(rng, k, n)
    c = np.zeros((m, n), np.float32)
    return _one(lambda: rb.ops.gemm(a, b, out=c), "gemm")


def _gemm_bf16(case: Case) -> dict[str, Variant]:
    m, k, n = (case.params[name] for name in "mkn")
    rng = case.rng()
    layout = case.params["layout"]
    a = normal(rng, k, m).T if layout[0] == "t" else normal(rng, m, k)
    b = normal(rng, n, k).T if layout[1] == "t" else normal(rng, k, n)
    ua = rb.ops.to_bfloat16(a.T).T if layout[0] == "t" else rb.ops.to_bfloat16(a)
    ub = rb.ops.to_bfloat16(b.T).T if layout[1] == "t" else rb.ops.to_bfloat16(b)
    return _one(lambda: rb.ops.gemm_bf16(ua, ub), "gemm_bf16")


def _gemm_batched(case: Case) -> dict[str, Variant]:
    b, m, k, n = (case.params[name] for name in "bmkn")
    rng = case.rng()
    x, y = normal(rng, b, m, k), normal(rng, b, k, n)
    return _one(lambda: rb.ops.matmul(x, y), "gemm")


# --- convolution
def _layer(case: Case) -> tuple[Conv, Any, Any, Any, Any, tuple[int, ...]]:
    c = Conv(**case.params)
    rng = case.rng()
    x, w, bias = normal(rng, c.N, c.H, c.W, c.C), conv_weight(rng, c), normal(rng, c.K)
    dy = normal(rng, c.N, c.P, c.Q, c.K)
    return c, x, w, bias, dy, (*c.stride, *c.pad, 1, 1, c.groups)


def _conv2d(case: Case) -> dict[str, Variant]:
    c, x, w, bias, _, _ = _layer(case)
    stride, pad = tuple(c.stride), tuple(c.pad)
    return _one(lambda: rb.ops.conv2d(x, w, bias, stride=stride, padding=pad, groups=c.groups), "conv2d")


def _conv2d_dx(case: Case) -> dict[str, Variant]:
    _, x, w, _, dy, geometry = _layer(case)
    return _one(lambda: rb.ops.conv2d_dx(dy, w, x.shape, geometry), "conv2d_dx")  # type: ignore[arg-type]


def _conv2d_dw(case: Case) -> dict[str, Variant]:
    _, x, w, _, dy, geometry = _layer(case)
    return _one(lambda: rb.ops.conv2d_dw(x, dy, w.shape, geometry), "conv2d_dw")  # type: ignore[arg-type]


# --- elementwise
def _unary(f: Callable[[Any], Any], positive: bool = False) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        x = normal(case.rng(), case.params["n"])
        x = np.abs(x) if positive else x
        return _one(lambda: f(x), f.__name__)

    return build


def _binary(f: Callable[[Any, Any], Any]) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        rng = case.rng()
        a, b = normal(rng, case.params["n"]), normal(rng, case.params["n"])
        return _one(lambda: f(a, b), f.__name__)

    return build


def _random(f: Callable[[int], Any]) -> Callable[[Case], dict[str, Variant]]:
    return lambda case: _one(lambda: f(case.params["n"]), look=moments)


def _dropout(case: Case) -> dict[str, Variant]:
    x = normal(case.rng(), case.params["n"])
    return _one(lambda: rb.ops.dropout(x, 0.5), look=moments)


def _sum_rows(case: Case) -> dict[str, Variant]:
    x = normal(case.rng(), case.params["m"], case.params["n"])
    return _one(lambda: rb.ops.sum(x, 0), "sum")


def _softmax(case: Case) -> dict[str, Variant]:
    x = normal(case.rng(), case.params["m"], case.params["c"])
    return _one(lambda: rb.ops.softmax(x), "softmax")


def _logits(case: Case) -> tuple[Any, Any]:
    rng = case.rng()
    m, c = case.params["m"], case.params["c"]
    return normal(rng, m, c), rng.integers(0, c, m)


def _xent(case: Case) -> dict[str, Variant]:
    x, labels = _logits(case)
    return _one(lambda: rb.ops.cross_entropy(x, labels), "softmax_xent")


def _xent_grad(case: Case) -> dict[str, Variant]:
    array, labels = _logits(case)
    x = rb.Tensor(array, requires_grad=True)

    def run() -> Any:
        x.grad = None
        rb.ops.cross_entropy(x, labels).backward()
        return x.grad

    return _one(run, "softmax_xent_dx")


def _optimizer(name: str, parameters: Any) -> Any:
    if name == "sgd":
        return rb.optim.SGD(parameters, lr=0.01, momentum=0.9)
    return rb.optim.Adam(parameters, lr=1e-3)


def _update(name: str) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        rng = case.rng()
        p = rb.Parameter(normal(rng, case.params["n"]))
        p.grad = rb.Tensor(normal(rng, case.params["n"]))
        optimizer = _optimizer(name, [p])

        def check() -> list[float]:
            optimizer.step()
            return digest(p.data)

        return {"": Variant(optimizer.step, check, _noted(f"{name}_update", optimizer.step))}

    return build


# --- training
def _train(case: Case, model: Callable[[], Any], loss: Callable[..., Any], draws: bool = False) -> Makers:
    """The same step twice, each with weights and an optimiser of its own: eager, and replayed from the 4th call on.

    loss : of the model, x and the target; with `draws` the steps that are timed leave the target out
    """
    return {
        "eager": lambda: _step(case, model(), loss, draws, False),
        "captured": lambda: _step(case, model(), loss, draws, True),
    }


def _step(case: Case, model: Any, loss: Callable[..., Any], draws: bool, capture: bool) -> Variant:
    weights, batches = train_arrays(case)
    parameters = list(model.parameters())
    for p, w in zip(parameters, weights, strict=True):
        p.data[...] = w
    optimizer = _optimizer(case.params["optimizer"], parameters)
    given = [(rb.Tensor(x), rb.Tensor(t) if t.dtype == np.float32 else t) for x, t in batches]
    timed = [pair[:1] for pair in given] if draws else given
    count = 0

    def step(*batch: Any) -> Any:
        optimizer.zero_grad()
        value = loss(model, *batch)
        value.backward()
        optimizer.step()
        return value

    call = rb.capture(step) if capture else step

    def run(data: Any = timed) -> Any:
        nonlocal count
        batch = data[count % len(data)]
        count += 1
        return call(*batch)

    def check() -> list[float]:  # two of five losses come from replays
        losses = [run(given).item() for _ in range(5)]
        return losses + [float(np.mean([run().item() for _ in range(5)]))] * draws

    def note() -> str:
        before = _core.ref_calls()
        run()
        return "ref" if _core.ref_calls() > before else ""

    return Variant(run, check, note)


def _train_mlp(case: Case) -> Makers:
    dims = mlp_sizes(case.params["sizes"])
    xor = dims[-1] == 1
    activation = "tanh" if xor else "relu"

    def model() -> Any:
        layers = [rb.nn.Linear(a, b, activation=activation) for a, b in itertools.pairwise(dims[:-1])]
        return rb.nn.Sequential(*layers, rb.nn.Linear(dims[-2], dims[-1]))

    measure = rb.nn.MSELoss() if squared_error(dims) else rb.nn.CrossEntropyLoss()
    return _train(case, model, lambda model, x, target: measure(model(x), target))


class _VAE(rb.nn.Module):
    """Encoder with two heads, decoder to logits (Kingma and Welling 2014)."""

    def __init__(self, pixels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = rb.nn.Linear(pixels, hidden, activation="relu")
        self.mean = rb.nn.Linear(hidden, latent)
        self.log_variance = rb.nn.Linear(hidden, latent)
        self.hidden = rb.nn.Linear(latent, hidden, activation="relu")
        self.output = rb.nn.Linear(hidden, pixels)

    def forward(self, x: Any, noise: Any) -> Any:
        """Logits [N,pixels], mean and log-variance [N,latent]; noise [N,latent]."""
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + rb.ops.exp(log_variance * 0.5) * noise
        return self.output(self.hidden(z)), mean, log_variance


def _negative_elbo(model: Any, x: Any, noise: Any = None) -> Any:
    """Per pixel: cross-entropy of the logits and x, plus the divergence of the code from the standard normal."""
    if noise is None:
        noise = rb.ops.normal((x.shape[0], model.mean.weight.shape[0]))
    logits, mean, log_variance = model(x, noise)
    divergence = rb.ops.sum(rb.ops.exp(log_variance) + rb.ops.square(mean) - log_variance - 1.0)
    return rb.ops.bce_with_logits(logits, x) + divergence * (0.5 / x.size)


def _train_vae(case: Case) -> Makers:
    sizes = [case.params[k] for k in ("pixels", "hidden", "latent")]
    return _train(case, lambda: _VAE(*sizes), _negative_elbo, draws=True)


def _train_lenet5(case: Case) -> Makers:
    measure = rb.nn.CrossEntropyLoss()
    return _train(case, rb.models.lenet5, lambda model, x, target: measure(model(x), target))


TRAINERS: dict[str, Callable[[Case], Makers]] = {
    "train_mlp": _train_mlp,
    "train_vae": _train_vae,
    "train_lenet5": _train_lenet5,
}
BUILDERS: dict[str, Callable[[Case], dict[str, Variant]]] = {
    "gemm": _gemm,
    "gemm_batched": _gemm_batched,
    "gemm_bf16": _gemm_bf16,
    "conv2d": _conv2d,
    "conv2d_dx": _conv2d_dx,
    "conv2d_dw": _conv2d_dw,
    "relu": _unary(rb.ops.relu),
    "exp": _unary(rb.ops.exp),
    "tanh": _unary(rb.ops.tanh),
    "sigmoid": _unary(rb.ops.sigmoid),
    "sqrt": _unary(rb.ops.sqrt, positive=True),
    "sum": _unary(rb.ops.sum),
    "add": _binary(rb.ops.add),
    "mul": _binary(rb.ops.mul),
    "uniform": _random(rb.ops.uniform),
    "normal": _random(rb.ops.normal),
    "dropout": _dropout,
    "sum_rows": _sum_rows,
    "softmax": _softmax,
    "xent": _xent,
    "xent_grad": _xent_grad,
    "sgd": _update("sgd"),
    "adam": _update("adam"),
    **{kind: every(trainer) for kind, trainer in TRAINERS.items()},
}
BUILDERS.update(ours_builders())
BUILDERS.update(pooling.ours_builders())
