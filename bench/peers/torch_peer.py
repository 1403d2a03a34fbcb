"""PyTorch's side of the cases, eager, each in every form a user would try: the runner takes the fastest.

Images in both memory formats, optimisers in their default, foreach and fused forms, forward passes under
inference_mode, gradients through `convolution_backward` with only the one asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import pooling
from .cases import Array, Case, Conv, conv_weight, mlp_sizes, normal, squared_error, train_arrays
from .spectral import torch_builders
from .worker import Makers, Variant, digest, every, moments

__all__ = ["BUILDERS", "TRAINERS", "start"]

_FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def start(threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "config": {
            "capability": torch.backends.cpu.get_cpu_capability(),
            "mkldnn": torch.backends.mkldnn.is_available(),
        },
    }


def _array(t: torch.Tensor) -> Array:
    """Images come back as [N,H,W,C], weights as [K,R,S,C]."""
    t = t.detach()
    return np.asarray((t.permute(0, 2, 3, 1) if t.ndim == 4 else t).contiguous().numpy())


def _tensor(a: Array) -> torch.Tensor:
    return torch.from_numpy(a)


def _image(a: Array, form: str) -> torch.Tensor:
    """[N,H,W,C] as a tensor [N,C,H,W] laid out as `form` says."""
    return torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=_FORMATS[form])


def _one(run: Callable[[], torch.Tensor], look: Callable[[Array], list[float]] = digest) -> dict[str, Variant]:
    """The only variant: forward only, without gradients."""
    torch.set_grad_enabled(False)
    return {"": Variant(run, lambda: look(_array(run())))}


# --- matrix products
def _gemm(case: Case) -> dict[str, Variant]:
    m, k, n = (case.params[name] for name in "mkn")
    rng = case.rng()
    layout = case.params["layout"]
    a = _tensor(normal(rng, k, m)).T if layout[0] == "t" else _tensor(normal(rng, m, k))
    b = _tensor(normal(rng, n, k)).T if layout[1] == "t" else _tensor(normal(rng, k, n))
    c = torch.zeros(m, n)
    return _one(lambda: torch.mm(a, b, out=c))


def _gemm_bf16(case: Case) -> dict[str, Variant]:
    """Its result is bfloat16, too."""
    m, k, n = (case.params[name] for name in "mkn")
    rng = case.rng()
    layout = case.params["layout"]
    a = _tensor(normal(rng, k, m)).bfloat16().T if layout[0] == "t" else _tensor(normal(rng, m, k)).bfloat16()
    b = _tensor(normal(rng, n, k)).bfloat16().T if layout[1] == "t" else _tensor(normal(rng, k, n)).bfloat16()
    c = torch.zeros(m, n, dtype=torch.bfloat16)
    torch.set_grad_enabled(False)
    return {"": Variant(lambda: torch.mm(a, b, out=c), lambda: digest(_array(torch.mm(a, b, out=c).float())))}


def _gemm_batched(case: Case) -> dict[str, Variant]:
    b, m, k, n = (case.params[name] for name in "bmkn")
    rng = case.rng()
    x, y = _tensor(normal(rng, b, m, k)), _tensor(normal(rng, b, k, n))
    z = torch.zeros(b, m, n)
    return _one(lambda: torch.bmm(x, y, out=z))


# --- convolution
def _conv(which: str) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        c = Conv(**case.params)
        rng = case.rng()
        arrays = [normal(rng, c.N, c.H, c.W, c.C), conv_weight(rng, c), normal(rng, c.K)]
        arrays.append(normal(rng, c.N, c.P, c.Q, c.K))
        stride, pad = list(c.stride), list(c.pad)
        variants: dict[str, Variant] = {}
        for form in _FORMATS:
            x, w, dy = (_image(arrays[i], form) for i in (0, 1, 3))
            bias = _tensor(arrays[2])

            def forward(x: Any = x, w: Any = w, bias: Any = bias) -> torch.Tensor:
                with torch.inference_mode():
                    return F.conv2d(x, w, bias, stride, pad, 1, c.groups)

            def backward(x: Any = x, w: Any = w, dy: Any = dy) -> torch.Tensor:
                mask = [which == "dx", which == "dw", False]
                grads = torch.ops.aten.convolution_backward(
                    dy, x, w, None, stride, pad, [1, 1], False, [0, 0], c.groups, mask
                )
                return grads[0 if which == "dx" else 1]

            run = forward if which == "forward" else backward
            variants[form] = Variant(run, lambda run=run: digest(_array(run())))  # type: ignore[misc]
        return variants

    return build


# --- elementwise
def _unary(f: Any, positive: bool = False) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        a = normal(case.rng(), case.params["n"])
        x = _tensor(np.abs(a) if positive else a)
        y = torch.zeros_like(x)
        return _one(lambda: f(x, out=y))

    return build


def _relu(case: Case) -> dict[str, Variant]:
    x = _tensor(normal(case.rng(), case.params["n"]))
    y = torch.zeros_like(x)
    return {"relu": _one(lambda: torch.relu(x))[""], "clamp_min": _one(lambda: torch.clamp_min(x, 0.0, out=y))[""]}


def _sum(case: Case) -> dict[str, Variant]:
    x = _tensor(normal(case.rng(), case.params["n"]))
    return _one(lambda: torch.sum(x))


def _binary(f: Any) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        rng = case.rng()
        a, b = _tensor(normal(rng, case.params["n"])), _tensor(normal(rng, case.params["n"]))
        y = torch.zeros_like(a)
        return _one(lambda: f(a, b, out=y))

    return build


def _fill(method: str) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        fill = getattr(torch.zeros(case.params["n"]), method)
        return _one(lambda: fill(), moments)

    return build


def _dropout(case: Case) -> dict[str, Variant]:
    x = _tensor(normal(case.rng(), case.params["n"]))
    return _one(lambda: F.dropout(x, 0.5, training=True), moments)


def _sum_rows(case: Case) -> dict[str, Variant]:
    x = _tensor(normal(case.rng(), case.params["m"], case.params["n"]))
    y = torch.zeros(case.params["n"])
    return _one(lambda: torch.sum(x, 0, out=y))


def _softmax(case: Case) -> dict[str, Variant]:
    x = _tensor(normal(case.rng(), case.params["m"], case.params["c"]))
    y = torch.zeros_like(x)
    return _one(lambda: torch.softmax(x, 1, out=y))


def _logits(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    rng = case.rng()
    m, c = case.params["m"], case.params["c"]
    return _tensor(normal(rng, m, c)), _tensor(rng.integers(0, c, m))


def _xent(case: Case) -> dict[str, Variant]:
    x, labels = _logits(case)
    return _one(lambda: F.cross_entropy(x, labels))


def _xent_grad(case: Case) -> dict[str, Variant]:
    x, labels = _logits(case)
    torch.set_grad_enabled(True)
    x.requires_grad_(True)

    def run() -> torch.Tensor:
        x.grad = None
        F.cross_entropy(x, labels).backward()
        assert x.grad is not None
        return x.grad

    return {"": Variant(run, lambda: digest(_array(run())))}


# --- optimisers
# A loop over parameters, one call for all of them, one kernel for each.
_FORMS: dict[str, dict[str, bool]] = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def _optimizer(name: str, parameters: Any, form: str) -> Any:
    options: Any = _FORMS[form]
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, **options)
    return torch.optim.Adam(parameters, lr=1e-3, **options)


def _update(name: str) -> Callable[[Case], dict[str, Variant]]:
    def build(case: Case) -> dict[str, Variant]:
        torch.set_grad_enabled(True)
        variants: dict[str, Variant] = {}
        for form in _FORMS:
            rng = case.rng()
            p = nn.Parameter(_tensor(normal(rng, case.params["n"])))
            p.grad = _tensor(normal(rng, case.params["n"]))
            step = _optimizer(name, [p], form).step

            def check(p: Any = p, step: Any = step) -> list[float]:
                step()
                return digest(_array(p))

            variants[form] = Variant(step, check)
        return variants

    return build


# --- training
def _train(
    case: Case,
    make: Callable[[], nn.Module],
    loss: Callable[..., torch.Tensor],
    formats: tuple[str, ...] = ("",),
    draws: bool = False,
) -> Makers:
    """Every form of the optimiser with every memory format.

    loss : of the model, x and the target; with `draws` the steps that are timed leave the target out
    """

    def maker(layout: str, form: str) -> Callable[[], Variant]:
        return lambda: _step(case, make(), loss, layout, form, draws)

    torch.set_grad_enabled(True)
    return {" ".join(filter(None, (layout, form))): maker(layout, form) for layout in formats for form in _FORMS}


def _step(
    case: Case, model: nn.Module, loss: Callable[..., torch.Tensor], layout: str, form: str, draws: bool
) -> Variant:
    weights, batches = train_arrays(case)
    with torch.no_grad():
        for p, w in zip(model.parameters(), weights, strict=True):
            p.copy_(_tensor(w).permute(0, 3, 1, 2) if w.ndim == 4 else _tensor(w))
    if layout:
        model.to(memory_format=_FORMATS[layout])  # type: ignore[call-overload]
    optimizer = _optimizer(case.params["optimizer"], model.parameters(), form)
    given = [(_image(x, layout) if x.ndim == 4 else _tensor(x), _tensor(t)) for x, t in batches]
    timed: Any = [pair[:1] for pair in given] if draws else given
    count = 0

    def run(data: Any = timed) -> torch.Tensor:
        nonlocal count
        batch = data[count % len(data)]
        count += 1
        optimizer.zero_grad()
        value = loss(model, *batch)
        value.backward()
        optimizer.step()
        return value

    def check() -> list[float]:
        losses = [run(given).item() for _ in range(5)]
        return losses + [float(np.mean([run().item() for _ in range(5)]))] * draws

    return Variant(run, check)


def _train_mlp(case: Case) -> Makers:
    dims = mlp_sizes(case.params["sizes"])
    xor = dims[-1] == 1

    def make() -> nn.Module:
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(dims[:-1]):
            layers += [nn.Linear(a, b), nn.Tanh() if xor else nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(dims[-2], dims[-1]))

    measure = nn.MSELoss() if squared_error(dims) else nn.CrossEntropyLoss()
    return _train(case, make, lambda model, x, target: measure(model(x), target))


class _VAE(nn.Module):
    def __init__(self, pixels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(pixels, hidden)
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)
        self.hidden = nn.Linear(latent, hidden)
        self.output = nn.Linear(hidden, pixels)

    def forward(self, x: torch.Tensor, noise: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        h = F.relu(self.encoder(x))
        mean, log_variance = self.mean(h), self.log_variance(h)
        deviation = torch.exp(0.5 * log_variance)
        z = mean + deviation * (torch.randn_like(deviation) if noise is None else noise)
        return self.output(F.relu(self.hidden(z))), mean, log_variance


def _negative_elbo(model: nn.Module, x: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
    """Per pixel, as in ours."""
    logits, mean, log_variance = model(x, noise)
    divergence = torch.sum(log_variance.exp() + mean.square() - log_variance - 1.0)
    return F.binary_cross_entropy_with_logits(logits, x) + divergence * (0.5 / x.numel())


def _train_vae(case: Case) -> Makers:
    sizes = [case.params[k] for k in ("pixels", "hidden", "latent")]
    return _train(case, lambda: _VAE(*sizes), _negative_elbo, draws=True)


def _lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def _train_lenet5(case: Case) -> Makers:
    measure = nn.CrossEntropyLoss()
    return _train(case, _lenet5, lambda model, x, target: measure(model(x), target), tuple(_FORMATS))


TRAINERS: dict[str, Callable[[Case], Makers]] = {
    "train_mlp": _train_mlp,
    "train_vae": _train_vae,
    "train_lenet5": _train_lenet5,
}
BUILDERS: dict[str, Callable[[Case], dict[str, Variant]]] = {
    "gemm": _gemm,
    "gemm_batched": _gemm_batched,
    "gemm_bf16": _gemm_bf16,
    "conv2d": _conv("forward"),
    "conv2d_dx": _conv("dx"),
    "conv2d_dw": _conv("dw"),
    "relu": _relu,
    "exp": _unary(torch.exp),
    "tanh": _unary(torch.tanh),
    "sigmoid": _unary(torch.sigmoid),
    "sqrt": _unary(torch.sqrt, positive=True),
    "sum": _sum,
    "add": _binary(torch.add),
    "mul": _binary(torch.mul),
    "uniform": _fill("uniform_"),
    "normal": _fill("normal_"),
    "dropout": _dropout,
    "sum_rows": _sum_rows,
    "softmax": _softmax,
    "xent": _xent,
    "xent_grad": _xent_grad,
    "sgd": _update("sgd"),
    "adam": _update("adam"),
    **{kind: every(trainer) for kind, trainer in TRAINERS.items()},
}
BUILDERS.update(torch_builders())
BUILDERS.update(pooling.torch_builders())
