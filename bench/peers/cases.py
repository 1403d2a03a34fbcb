"""What is measured: one `Case` per line of a table, with the operations and bytes that its floor is computed from.

A case is plain data, so that it can be sent to a worker. Every library builds the same inputs from `Case.rng()`, which
depends on the case's name alone. Images are [N,H,W,C], weights [K,R,S,C/groups]; letters as in the kernels.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "FAMILIES", "Array", "Case", "Conv", "cases", "conv_weight", "mlp_sizes", "normal", "squared_error", "train_arrays",
]  # fmt: skip

Array = npt.NDArray[Any]
FAMILIES = ("gemm", "conv", "pool", "elementwise", "fft", "filter", "train")


@dataclass(frozen=True)
class Case:
    """One measurement.

    family, name : what the tables print; together they are unique
    kind : the builder in each library; params : its arguments, JSON types only
    flops : multiplications and additions; read, written : bytes of every argument once (of a training step: those that
        its update moves)
    tol : largest difference of two libraries' results, relative to their root mean square
    quick : whether --quick keeps it
    bars : the ratio peer/ours aimed at on one thread, by peer
    peak : the figure of the probe that % of peak refers to
    """

    family: str
    name: str
    kind: str
    params: dict[str, Any] = field(default_factory=dict)
    flops: float = 0.0
    read: float = 0.0
    written: float = 0.0
    tol: float = 1e-4
    quick: bool = False
    bars: dict[str, float] = field(default_factory=dict)
    peak: str = "gflops"

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.family}/{self.name}".encode()))


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """float32 normal numbers of `shape`."""
    return rng.standard_normal(shape, dtype=np.float32)


# --- matrix products -------------------------------------------------------------------------------------------------

_SQUARE = [4 * 2**i for i in range(11)]  # 4 to 4096
_OTHER = [  # M, K, N
    (1, 1024, 1024), (32, 784, 512), (64, 512, 10), (128, 4096, 4096), (4096, 64, 4096), (32, 64, 128), (1, 128, 512),
    (32, 128, 512), (64, 512, 2048), (100, 100, 100), (200, 300, 250), (1000, 1000, 1000), (3000, 700, 900),
]  # fmt: skip
_BATCHED = [(64, 64, 32, 64), (128, 16, 64, 16), (16, 256, 64, 256)]  # batch, M, K, N
_QUICK_GEMM = {(64, 64, 64), (512, 512, 512), (1, 1024, 1024), (32, 784, 512)}


def _gemm() -> Iterator[Case]:
    shapes = [(n, n, n) for n in _SQUARE] + _OTHER
    for layout in ("nn", "tn", "nt"):
        for m, k, n in shapes:
            yield Case(
                "gemm", f"{layout} {m}x{k}x{n}", "gemm", {"m": m, "k": k, "n": n, "layout": layout},
                flops=2.0 * m * k * n, read=4.0 * (m * k + k * n), written=4.0 * m * n,
                quick=(m, k, n) in _QUICK_GEMM and (layout == "nn" or m == 512),
            )  # fmt: skip
    for m, k, n in [(2**i, 2**i, 2**i) for i in range(6, 12)] + [(32, 784, 512), (128, 4096, 4096)]:
        for layout in ("nn", "tn", "nt"):
            yield Case(
                "gemm", f"bf16 {layout} {m}x{k}x{n}", "gemm_bf16", {"m": m, "k": k, "n": n, "layout": layout},
                flops=2.0 * m * k * n, read=2.0 * (m * k + k * n), written=4.0 * m * n, tol=2e-2,
                quick=m == 512 and layout == "nn", peak="bf16_gflops",
            )  # fmt: skip
    for b, m, k, n in _BATCHED:
        yield Case(
            "gemm", f"batched {b}x[{m}x{k}x{n}]", "gemm_batched", {"b": b, "m": m, "k": k, "n": n},
            flops=2.0 * b * m * k * n, read=4.0 * b * (m * k + k * n), written=4.0 * b * m * n, quick=b == 64,
        )  # fmt: skip


# --- convolution -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conv:
    """A layer: x [N,H,W,C], w [K,R,S,C/groups], y [N,P,Q,K]; stride and pad vertical, horizontal."""

    N: int
    H: int
    W: int
    C: int
    K: int
    R: int
    S: int
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def P(self) -> int:
        return (self.H + 2 * self.pad[0] - self.R) // self.stride[0] + 1

    @property
    def Q(self) -> int:
        return (self.W + 2 * self.pad[1] - self.S) // self.stride[1] + 1

    @property
    def flops(self) -> float:
        return 2.0 * self.N * self.P * self.Q * self.K * self.R * self.S * (self.C // self.groups)

    def sizes(self) -> tuple[int, int, int]:
        """Elements of x, w and y."""
        return (
            self.N * self.H * self.W * self.C,
            self.K * self.R * self.S * (self.C // self.groups),
            self.N * self.P * self.Q * self.K,
        )


def _square(n: int, size: int, c: int, k: int, r: int, stride: int = 1, pad: int = 0, groups: int = 1) -> Conv:
    return Conv(n, size, size, c, k, r, r, (stride, stride), (pad, pad), groups)


_LAYERS: dict[str, Conv] = {
    "lenet conv1 1-6 5x5 b64": _square(64, 32, 1, 6, 5),
    "lenet conv2 6-16 5x5 b64": _square(64, 14, 6, 16, 5),
    "cifar 16-16 3x3@32 b64": _square(64, 32, 16, 16, 3, pad=1),
    "alexnet conv1 3-64 11x11s4@224 b16": _square(16, 224, 3, 64, 11, stride=4, pad=2),
    "alexnet conv2 64-192 5x5@27 b16": _square(16, 27, 64, 192, 5, pad=2),
    "vgg conv1_1 3-64 3x3@224 b8": _square(8, 224, 3, 64, 3, pad=1),
    "vgg conv2_2 128-128 3x3@112 b8": _square(8, 112, 128, 128, 3, pad=1),
    "vgg conv3_3 256-256 3x3@56 b8": _square(8, 56, 256, 256, 3, pad=1),
    "vgg conv4_3 512-512 3x3@28 b8": _square(8, 28, 512, 512, 3, pad=1),
    "vgg conv5_3 512-512 3x3@14 b8": _square(8, 14, 512, 512, 3, pad=1),
    "resnet stem 3-64 7x7s2@224 b8": _square(8, 224, 3, 64, 7, stride=2, pad=3),
    "resnet 1x1 64-256@56 b8": _square(8, 56, 64, 256, 1),
    "resnet 128-128 3x3@28 b8": _square(8, 28, 128, 128, 3, pad=1),
    "resnet 1x1s2 256-512@56 b8": _square(8, 56, 256, 512, 1, stride=2),
    "depthwise 3x3 32@112 b8": _square(8, 112, 32, 32, 3, pad=1, groups=32),
    "depthwise 3x3 512@14 b8": _square(8, 14, 512, 512, 3, pad=1, groups=512),
    "depthwise 7x7 96@56 b8": _square(8, 56, 96, 96, 7, pad=3, groups=96),
    "depthwise 31x31 64@56 b8": _square(8, 56, 64, 64, 31, pad=15, groups=64),
    "dense 15x15 16-16@64 b8": _square(8, 64, 16, 16, 15, pad=7),
    "dense 31x31 16-16@64 b8": _square(8, 64, 16, 16, 31, pad=15),
    "single 31x31 1-1@512 b1": _square(1, 512, 1, 1, 31, pad=15),
    "conv1d k9 64-128 L1024 b16": Conv(16, 1, 1024, 64, 128, 1, 9, pad=(0, 4)),
    "conv1d k3 128-128 L128 b32": Conv(32, 1, 128, 128, 128, 1, 3, pad=(0, 1)),
    # A transposed convolution is the input gradient of the layer named here, and its input gradient the forward.
    "transposed 4x4s2 256-128@16 b16": _square(16, 32, 128, 256, 4, stride=2, pad=1),
    "transposed 4x4s2 64-3@32 b16": _square(16, 64, 3, 64, 4, stride=2, pad=1),
}
_QUICK_CONV = ("lenet", "cifar", "resnet 128")


def _conv() -> Iterator[Case]:
    for name, conv in _LAYERS.items():
        x, w, y = (4.0 * size for size in conv.sizes())
        params = {**vars(conv), "stride": list(conv.stride), "pad": list(conv.pad)}
        traffic = {"conv2d": (x + w, y), "conv2d_dx": (w + y, x), "conv2d_dw": (x + y, w)}
        for kind, (read, written) in traffic.items():
            label = {"conv2d": "forward", "conv2d_dx": "dx", "conv2d_dw": "dw"}[kind]
            yield Case(
                "conv", f"{name} {label}", kind, params, conv.flops, read, written, tol=1e-3,
                quick=name.startswith(_QUICK_CONV),
            )  # fmt: skip


def conv_weight(rng: np.random.Generator, c: Conv) -> Array:
    """[K,R,S,C/groups], scaled to keep the variance."""
    fan = c.R * c.S * c.C // c.groups
    return normal(rng, c.K, c.R, c.S, c.C // c.groups) * np.float32(1.0 / math.sqrt(fan))


# --- elementwise, rows, random numbers, optimisers -------------------------------------------------------------------

# bytes read and written per element, of float32 arguments
_UNARY = {"relu": (4, 4), "exp": (4, 4), "tanh": (4, 4), "sigmoid": (4, 4), "sqrt": (4, 4), "sum": (4, 0)}
_BINARY = {"add": (8, 4), "mul": (8, 4)}
_FILL = {"uniform": (0, 4), "normal": (0, 4), "dropout": (4, 4)}
_UPDATE = {"sgd": (12, 8), "adam": (16, 12)}  # momentum: p, g, m in and p, m out; Adam: also v
_SIZES = {"16K": 1 << 14, "256K": 1 << 18, "16M": 1 << 24}


def _elementwise() -> Iterator[Case]:
    for op, (r, w) in {**_UNARY, **_BINARY, **_FILL, **_UPDATE}.items():
        for label, n in _SIZES.items():
            yield Case(
                "elementwise", f"{op} {label}", op, {"n": n}, read=float(r * n), written=float(w * n),
                tol=2e-2 if op in _FILL else 1e-3 if op == "sum" else 1e-4, quick=n == 1 << 18,
            )  # fmt: skip
    for m, n in ((1024, 256), (32768, 512)):
        yield Case(
            "elementwise", f"sum rows {m}x{n}", "sum_rows", {"m": m, "n": n}, read=4.0 * m * n, written=4.0 * n,
            quick=m == 1024,
        )  # fmt: skip
    for m, c in ((64, 10), (128, 1000), (16384, 1000)):
        size = 4.0 * m * c
        shape = {"m": m, "c": c}
        yield Case("elementwise", f"softmax {m}x{c}", "softmax", shape, read=size, written=size, quick=m == 128)
        yield Case("elementwise", f"xent {m}x{c}", "xent", shape, read=size, quick=m == 128)
        yield Case(
            "elementwise", f"xent+gradient {m}x{c}", "xent_grad", shape, read=size, written=size, quick=m == 128
        )  # fmt: skip


# --- training steps --------------------------------------------------------------------------------------------------

BATCHES = 8  # batches that a training case cycles through


def mlp_sizes(name: str) -> list[int]:
    return [int(size) for size in name.split("-")]


def squared_error(dims: list[int]) -> bool:
    """Whether an MLP case is trained on the squared error: XOR, and autoencoders, whose target is their input."""
    return dims[-1] == 1 or dims[-1] == dims[0]


# sizes of an MLP: batch, label, ratios aimed at
_MLPS: dict[str, tuple[int, str, dict[str, float]]] = {
    "2-2-1": (4, "xor", {"torch": 25.0}),
    "4-16-3": (16, "iris", {"torch": 15.0}),
    "64-128-10": (32, "digits mlp", {"torch": 6.0, "jax": 2.0}),
    "784-64-784": (32, "autoencoder", {"torch": 3.0}),
    "784-512-512-10": (128, "mlp", {"torch": 2.0}),
}
_VAE = {"pixels": 784, "hidden": 400, "latent": 20, "batch": 128}


def _steps() -> Iterator[tuple[str, str, dict[str, Any], float, int, dict[str, float]]]:
    """Name, kind, parameters, operations, weights and bars of every network; the optimiser is the caller's."""

    def flops(batch: int, first: int, rest: int) -> float:
        """Forward, weight gradients and every input gradient but the first layer's; arguments in multiply-adds."""
        return 2.0 * batch * (2 * first + 3 * rest)

    for sizes, (batch, label, bars) in _MLPS.items():
        dims = mlp_sizes(sizes)
        first, *rest = (a * b for a, b in itertools.pairwise(dims))
        params, weights = {"sizes": sizes, "batch": batch}, first + sum(rest) + sum(dims[1:])
        yield f"{label} {sizes} b{batch}", "train_mlp", params, flops(batch, first, sum(rest)), weights, bars
    pixels, hidden, latent, batch = _VAE.values()
    work = flops(batch, pixels * hidden, 3 * hidden * latent + hidden * pixels)
    weights = 2 * pixels * hidden + 3 * hidden * latent + 2 * hidden + 2 * latent + pixels
    yield f"vae {pixels}-{hidden}-{latent} b{batch}", "train_vae", _VAE, work, weights, {"torch": 1.8}
    conv1, conv2, dense = 28 * 28 * 6 * 25, 10 * 10 * 16 * 25 * 6, 400 * 120 + 120 * 84 + 84 * 10
    yield "lenet5 b64", "train_lenet5", {"batch": 64}, flops(64, conv1, conv2 + dense), 61706, {"torch": 2.0}


def _train() -> Iterator[Case]:
    for name, kind, params, flops, weights, bars in _steps():
        for optimizer, (read, written) in _UPDATE.items():
            yield Case(
                "train", f"{name} {optimizer}", kind, {**params, "optimizer": optimizer}, flops,
                read=float(read * weights), written=float(written * weights), tol=1e-2, quick="512" not in name,
                bars=bars,
            )  # fmt: skip


def train_arrays(case: Case) -> tuple[list[Array], list[tuple[Array, Array]]]:
    """The first weights in the order of the layers (weight, bias, ...) and the batches (x, target).

    Dense weights are [K,C], convolution weights [K,R,S,C], images [N,H,W,C]; labels are int64, XOR's targets
    [N,1], an autoencoder's are x. The VAE's layers are encoder, mean, log-variance, hidden and output; its target is
    the noise [N,latent] of the steps that are compared.
    """
    rng = case.rng()
    batch = int(case.params["batch"])

    def layer(*shape: int) -> list[Array]:
        scale = np.float32(1.0 / math.sqrt(math.prod(shape[1:])))
        return [normal(rng, *shape) * scale, normal(rng, shape[0]) * np.float32(0.1)]

    weights: list[Array] = []
    inputs: tuple[int, ...] = (32, 32, 1)
    if case.kind == "train_lenet5":
        for shape in ((6, 5, 5, 1), (16, 5, 5, 6), (120, 400), (84, 120), (10, 84)):
            weights += layer(*shape)
        classes = 10
    elif case.kind == "train_vae":
        pixels, hidden, latent = (case.params[k] for k in ("pixels", "hidden", "latent"))
        for shape in ((hidden, pixels), (latent, hidden), (latent, hidden), (hidden, latent), (pixels, hidden)):
            weights += layer(*shape)
        images = [rng.random((batch, pixels), dtype=np.float32) for _ in range(BATCHES)]
        return weights, [(x, normal(rng, batch, latent)) for x in images]
    else:
        dims = mlp_sizes(case.params["sizes"])
        for a, b in itertools.pairwise(dims):
            weights += layer(b, a)
        inputs, classes = (dims[0],), dims[-1]
    batches = []
    for _ in range(BATCHES):
        if classes == 1:
            x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
            batches.append((x, (x[:, :1] != x[:, 1:]).astype(np.float32)))
        elif inputs == (classes,):
            x = normal(rng, batch, *inputs)
            batches.append((x, x))
        else:
            batches.append((normal(rng, batch, *inputs), rng.integers(0, classes, batch)))
    return weights, batches


def cases(families: tuple[str, ...] = FAMILIES, quick: bool = False, filter: str = "") -> list[Case]:
    """The cases of `families` whose name contains every word of `filter`, in the order of the tables."""
    from .pooling import pool_cases
    from .spectral import fft_cases, filter_cases

    lists = {
        "gemm": _gemm, "conv": _conv, "pool": pool_cases, "elementwise": _elementwise, "fft": fft_cases,
        "filter": filter_cases, "train": _train,
    }  # fmt: skip
    words = filter.split()
    return [
        case
        for family in families
        for case in lists[family]()
        if (case.quick or not quick) and all(word in case.name for word in words)
    ]
