"""Autoencoders: networks trained to give back their input through a code that is kept from copying it.

`Autoencoder` puts an encoder and a decoder together; every constructor here and in `variational` returns one. The
constructors differ in what keeps the code from being a copy: few units (`autoencoder`, `linear_autoencoder`,
`compression_autoencoder`, `stacked_autoencoder`), corruption of the input (`denoising_autoencoder`,
`conv_autoencoder`), few active units (`sparse_autoencoder`), a flat encoder (`contractive_autoencoder`), or a
regulariser (`overcomplete_autoencoder`).

    model = models.sparse_autoencoder(kind="kl")
    model.fit(x, x, penalty=nn.ActivityPenalty())
    code = model.encoder.predict(x); back = model.decoder.predict(code)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .. import ops
from .._options import whole
from ..nn import (
    ActivityKL,
    ActivityL1,
    BatchStandardize,
    BlockMasking,
    Contractive,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GaussianNoise,
    KSparse,
    LeakyReLU,
    Linear,
    MaskingNoise,
    MSELoss,
    SaltPepperNoise,
    Sequential,
    Unflatten,
)
from ..nn.coding import DropConnect
from ..nn.module import Module
from ..nn.penalties import _Activity
from ..optim import Adam
from ..train import History, LearningRateSchedule
from .registry import Recipe, register

__all__ = [
    "Autoencoder", "autoencoder", "compression_autoencoder", "contractive_autoencoder", "conv_autoencoder",
    "corruption", "denoising_autoencoder", "linear_autoencoder", "overcomplete_autoencoder", "pretrain", "settle",
    "sparse_autoencoder", "stacked_autoencoder",
]

_FAMILY = "autoencoders"


class Autoencoder(_Activity):
    """x [N,...] -> decoder(encoder(corruption(x))), of the shape of x.

    Parameters
    ----------
    encoder, decoder : modules [N,...] -> code and back; each can be called, saved and summarised by itself
    corruption : a layer that damages its input in training mode, or None; the target of training is the clean x
    contraction : `nn.Contractive`, its term taken at every input in training mode, or None

    Train with `model.fit(x, x, penalty=nn.ActivityPenalty())`, which adds the terms of activity penalties within the
    encoder and of `contraction`. An encoder Sequential(Flatten, Linear) has its Jacobian in closed form.
    Raises TypeError for parts that are not modules.
    """

    def __init__(
        self, encoder: Module, decoder: Module, corruption: Module | None = None,
        contraction: Contractive | None = None,
    ) -> None:
        super().__init__()
        for name, part in (("encoder", encoder), ("decoder", decoder), ("corruption", corruption)):
            if not isinstance(part, Module) and (part is not None or name != "corruption"):
                raise TypeError(f"Autoencoder: {name}: expected a Module, got {type(part).__name__}")
        self.corruption = corruption
        self.encoder = encoder
        self.decoder = decoder
        self.contraction = contraction

    def _contracted(self, x: Any) -> Any:
        """The contractive term at x."""
        assert self.contraction is not None
        layers = list(self.encoder) if isinstance(self.encoder, Sequential) else []
        if len(layers) == 2 and isinstance(layers[0], Flatten) and type(layers[1]) is Linear:
            return self.contraction(layers[1], ops.flatten(x, 1))
        return self.contraction(self.encoder, x)

    def forward(self, x: Any) -> Any:
        term = self._contracted(x) if self.training and self.contraction is not None else None
        object.__setattr__(self, "term", term)
        seen = x if self.corruption is None else self.corruption(x)
        return self.decoder(self.encoder(seen))


# --- parts


def corruption(kind: str, level: float) -> Module:
    """A layer that corrupts inputs in training mode.

    kind : "gaussian" (standard deviation `level`), "masking" or "salt_pepper" (share `level` of the elements),
        "block" (a square of `level` pixels)
    Raises ValueError for another kind and a block that is no whole number of pixels, and what the layers raise for
    the level.
    """
    if kind == "block":
        if not float(level).is_integer():
            raise ValueError(f"corruption: expected a whole number of pixels as level of a block, got {level!r}")
        return BlockMasking(int(level))
    kinds: dict[str, Any] = {"gaussian": GaussianNoise, "masking": MaskingNoise, "salt_pepper": SaltPepperNoise}
    if kind not in kinds:
        raise ValueError(f"corruption: expected one of {', '.join(kinds)}, block, got {kind!r}")
    layer: Module = kinds[kind](level)
    return layer


def _sizes(name: str, input_shape: Sequence[int], hidden: Sequence[int], code: int) -> list[int]:
    """Widths from the input to the code. Raises ValueError."""
    units = [whole(name, "a hidden size", u, 1) for u in hidden]
    return [math.prod(input_shape), *units, whole(name, "code", code, 1)]


def _dense(sizes: Sequence[int], activation: str | None, last: str | None) -> list[Linear]:
    """Linear layers from size to size; all but the last have `activation`, that has `last`."""
    pairs = list(itertools.pairwise(sizes))
    return [Linear(a, b, activation=last if i + 1 == len(pairs) else activation) for i, (a, b) in enumerate(pairs)]


def _mirror(sizes: Sequence[int], input_shape: Sequence[int], activation: str | None, output: str | None) -> Sequential:
    """The decoder: the encoder's sizes backwards, and the shape of the input again."""
    return Sequential(*_dense(sizes[::-1], activation, output), Unflatten(input_shape))


_OUTPUTS = (None, "sigmoid")


def _output(name: str, output: str | None) -> None:
    if output not in _OUTPUTS:
        raise ValueError(f"{name}: expected output 'sigmoid' or None, got {output!r}")


# --- few units


@register(
    "autoencoder",
    family=_FAMILY,
    year=1986,
    paper="D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning internal representations by error propagation, "
    "in Parallel Distributed Processing 1, 1986",
    what="undercomplete: 64-32-64 on the digits, ReLU code, sigmoid output",
    recipe=Recipe(epochs=200, batch_size=32, optimizer="adam", lr=5e-3, loss="reconstruction"),
)
def autoencoder(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 0,
    code: int = 32,
    hidden: Sequence[int] = (),
    activation: Literal["relu", "tanh", "sigmoid"] | None = "relu",
    output: Literal["sigmoid"] | None = "sigmoid",
) -> Autoencoder:
    """Flatten, `hidden` and a code with one activation; the mirror image back, its last layer with `output`.

    [N,*input_shape] -> the same shape. With one hidden layer of `code` units on 784 inputs the parameters are
    784 code + code + 784 code + 784: 50,992 for 32 and 101,200 for 64 (notes B:3.2, A:M20).
    classes : not used. Raises ValueError for sizes below 1 and unknown activations.
    """
    _output("autoencoder", output)
    sizes = _sizes("autoencoder", input_shape, hidden, code)
    encoder = Sequential(Flatten(), *_dense(sizes, activation, activation))
    return Autoencoder(encoder, _mirror(sizes, input_shape, activation, output))


@register(
    "linear_autoencoder",
    family=_FAMILY,
    year=1989,
    paper="P. Baldi, K. Hornik, Neural networks and principal component analysis: learning from examples without "
    "local minima, Neural Networks 2(1), 1989",
    what="64-8-64 without activations: the space of the first principal components",
    recipe=Recipe(epochs=400, batch_size=32, optimizer="adam", lr=5e-3, loss="reconstruction"),
)
def linear_autoencoder(
    *, input_shape: Sequence[int] = (8, 8, 1), classes: int = 0, code: int = 8, bias: bool = True
) -> Autoencoder:
    """code = W1 x, reconstruction = W2 code; with `bias` the mean of the data need not be taken off first.

    At the least squared error W2 spans the same space as the first `code` principal components (Baldi & Hornik 1989),
    of centred data where there is no bias. classes : not used. Raises ValueError for a code below 1.
    """
    size = math.prod(input_shape)
    units = whole("linear_autoencoder", "code", code, 1)
    encoder = Sequential(Flatten(), Linear(size, units, bias=bias))
    return Autoencoder(encoder, Sequential(Linear(units, size, bias=bias), Unflatten(input_shape)))


@register(
    "compression_autoencoder",
    family=_FAMILY,
    year=2006,
    paper="G. E. Hinton, R. R. Salakhutdinov, Reducing the dimensionality of data with neural networks, "
    "Science 313, 2006",
    what="64-300-2-300-64, leaky ReLU: a map of the digits in the plane",
    recipe=Recipe(epochs=300, batch_size=32, optimizer="adam", lr=2e-3, loss="reconstruction"),
)
def compression_autoencoder(
    *, input_shape: Sequence[int] = (8, 8, 1), classes: int = 0, hidden: Sequence[int] = (300,), code: int = 2,
    slope: float = 0.01,
) -> Autoencoder:
    """Dense layers, each followed by `nn.LeakyReLU(slope)`, the code and the output too (notes B:A13).

    784-300-2-300-784 has 235,500 + 602 + 900 + 235,984 = 472,986 parameters. classes : not used.
    Raises ValueError for sizes below 1.
    """
    sizes = _sizes("compression_autoencoder", input_shape, hidden, code)
    sides = [
        [layer for a, b in itertools.pairwise(s) for layer in (Linear(a, b), LeakyReLU(slope))]
        for s in (sizes, sizes[::-1])
    ]
    return Autoencoder(Sequential(Flatten(), *sides[0]), Sequential(*sides[1], Unflatten(input_shape)))


@register(
    "stacked_autoencoder",
    family=_FAMILY,
    year=2007,
    paper="Y. Bengio, P. Lamblin, D. Popovici, H. Larochelle, Greedy layer-wise training of deep networks, NIPS 19, "
    "2007",
    what="64-128-64-32-16 and back, pre-trained layer by layer, then as a whole",
    recipe=Recipe(
        epochs=100, batch_size=32, optimizer="adam", lr=2e-3, loss="reconstruction", pretrain_epochs=25
    ),
)
def stacked_autoencoder(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 0,
    hidden: Sequence[int] = (128, 64, 32),
    code: int = 16,
    activation: Literal["relu", "tanh", "sigmoid"] = "relu",
    output: Literal["sigmoid"] | None = "sigmoid",
) -> Autoencoder:
    """A deep `autoencoder`, for `pretrain` and fine-tuning. classes : not used. Raises ValueError as `autoencoder`."""
    return autoencoder(input_shape=input_shape, hidden=hidden, code=code, activation=activation, output=output)


def pretrain(
    model: Autoencoder, x: Any, *, epochs: int = 25, batch_size: int = 32, lr: float = 2e-3, seed: int = 0,
    noise: Module | None = None,
) -> list[History]:
    """Greedy layer-wise pre-training: each encoder layer and its mirror image as a shallow autoencoder, outside in.

    Layer i learns to reconstruct what layer i - 1, already trained, gives for x [N,...] (Bengio et al. 2007), the
    others staying as they are; with `noise` (a layer such as `nn.MaskingNoise`) from corrupted inputs, as stacked
    denoising autoencoders do (Vincent et al. 2010). Adam with a rate falling from `lr` by a cosine, squared error.

    Returns one history per layer. Raises ValueError unless encoder and decoder are as many Linear layers of mirrored
    sizes, and KeyboardInterrupt when a layer's training is interrupted.
    """
    coders = [m for m in model.encoder.modules() if isinstance(m, Linear)]
    back = [m for m in model.decoder.modules() if isinstance(m, Linear)][::-1]
    if [(a.in_features, a.out_features) for a in coders] != [(b.out_features, b.in_features) for b in back] or not back:
        raise ValueError("pretrain: expected Linear layers in the encoder and their mirror image in the decoder")
    values = np.asarray(x)
    values = np.ascontiguousarray(values.reshape(len(values), -1), coders[0].weight.dtype)
    histories = []
    for first, last in zip(coders, back, strict=True):
        pair = Autoencoder(Sequential(first), Sequential(last), noise)
        history = pair.fit(
            values, values, epochs=epochs, batch_size=batch_size, loss=MSELoss(), seed=seed, progress=False,
            optimizer=Adam(pair.parameters(), lr), callbacks=[LearningRateSchedule.cosine()],
        )
        if history.interrupted:
            raise KeyboardInterrupt
        histories.append(history)
        values = first.predict(values)
    return histories


# --- many units, and something that keeps them from copying


REGULARISERS = ("none", "dropout", "dropconnect", "dropall", "batch_norm")


@register(
    "overcomplete_autoencoder",
    family=_FAMILY,
    year=2014,
    paper="N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, Dropout: a simple way to prevent "
    "neural networks from overfitting, JMLR 15, 2014",
    what="64-256-64 with dropout of the code",
    recipe=Recipe(epochs=100, batch_size=32, optimizer="adam", lr=2e-3, loss="reconstruction"),
)
def overcomplete_autoencoder(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 0,
    code: int = 256,
    regulariser: Literal["none", "dropout", "dropconnect", "dropall", "batch_norm"] = "dropout",
    p: float = 0.3,
) -> Autoencoder:
    """More code units than inputs, ReLU, and a regulariser: dropped units, weights, both, or a standardised code.

    L1, L2 and elastic penalties and augmentation are options of `fit` (`penalty=nn.L1(...)`, `augment=...`).
    "batch_norm" standardises before the ReLU; call `settle(model, x)` after training. classes : not used.
    Raises ValueError for an unknown regulariser or probability.
    """
    if regulariser not in REGULARISERS:
        raise ValueError(
            f"overcomplete_autoencoder: expected one of {', '.join(REGULARISERS)}, got {regulariser!r}"
        )
    size, units = math.prod(input_shape), whole("overcomplete_autoencoder", "code", code, 1)
    layers: list[Module]
    if regulariser in ("dropconnect", "dropall"):
        layers = [DropConnect(size, units, p, p if regulariser == "dropall" else 0.0, activation="relu")]
    elif regulariser == "batch_norm":
        layers = [Linear(size, units), BatchStandardize(units), LeakyReLU(0.0)]
    else:
        layers = [Linear(size, units, activation="relu"), *([Dropout(p)] if regulariser == "dropout" else [])]
    decoder = Sequential(Linear(units, size, activation="sigmoid"), Unflatten(input_shape))
    return Autoencoder(Sequential(Flatten(), *layers), decoder)


def settle(model: Module, x: Any) -> None:
    """Gives every `nn.BatchStandardize` of the model the mean and variance of what reaches it for x [N,...].

    One pass over x per layer, in evaluation mode. Does nothing to a model without such layers.
    """
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        for layer in (m for m in model.modules() if isinstance(m, BatchStandardize)):
            layer.settling = True
            try:
                model.predict(x, batch_size=max(len(x), 1), capture=False)
            finally:
                layer.settling = False
    finally:
        for module, mode in modes:
            object.__setattr__(module, "training", mode)


@register(
    "denoising_autoencoder",
    family=_FAMILY,
    year=2008,
    paper="P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol, Extracting and composing robust features with "
    "denoising autoencoders, ICML 2008",
    what="64-256-64, Gaussian noise of 0.3 at the input, clean target",
    recipe=Recipe(epochs=300, batch_size=32, optimizer="adam", lr=2e-3, loss="reconstruction"),
)
def denoising_autoencoder(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 0,
    code: int = 256,
    hidden: Sequence[int] = (),
    noise: Literal["gaussian", "masking", "salt_pepper", "block"] = "gaussian",
    level: float = 0.3,
) -> Autoencoder:
    """min L(x, g(f(x + w))): corrupted input, clean target (notes B:A8). `corruption` says what noise and level mean.

    In evaluation mode nothing is corrupted: `model.predict(noisy)` is the restored image, `model.predict(x)` a clean
    image's neighbour on the manifold, which can be put among the training images as augmentation (notes A:M16).
    classes : not used. Raises ValueError for sizes below 1 and unknown noise.
    """
    sizes = _sizes("denoising_autoencoder", input_shape, hidden, code)
    encoder = Sequential(Flatten(), *_dense(sizes, "relu", "relu"))
    return Autoencoder(encoder, _mirror(sizes, input_shape, "relu", "sigmoid"), corruption(noise, level))


@register(
    "sparse_autoencoder",
    family=_FAMILY,
    year=2011,
    paper="A. Ng, Sparse autoencoder, CS294A lecture notes, Stanford, 2011",
    what="64-128-64, sigmoid code held at a mean activity of 0.05 by a KL penalty",
    recipe=Recipe(epochs=200, batch_size=128, optimizer="adam", lr=5e-3, loss="reconstruction", keep_best=False),
)
def sparse_autoencoder(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 0,
    code: int = 128,
    kind: Literal["kl", "l1", "k"] = "kl",
    rho: float = 0.05,
    weight: float | None = None,
    k: int = 10,
) -> Autoencoder:
    """An overcomplete code of which little is active (notes A:M17, B:A9).

    kind : "kl", sigmoid code, penalty weight * sum_j KL(rho || mean activity of unit j), default weight 0.06;
        "l1", sigmoid code, penalty weight * mean_n sum_j |h_nj|, default 1e-3; "k", linear code of which the k largest
        of each example stay (Makhzani & Frey 2014)
    Train with `penalty=nn.ActivityPenalty()`. classes : not used. Raises ValueError for another kind, and what the
    layers raise.
    """
    size, units = math.prod(input_shape), whole("sparse_autoencoder", "code", code, 1)
    watcher: Module
    if kind == "k":
        watcher = KSparse(k)
    elif kind == "kl":
        watcher = ActivityKL(0.06 if weight is None else weight, rho)
    elif kind == "l1":
        watcher = ActivityL1(1e-3 if weight is None else weight)
    else:
        raise ValueError(f"sparse_autoencoder: expected kind 'kl', 'l1' or 'k', got {kind!r}")
    coder = Linear(size, units, activation=None if kind == "k" else "sigmoid")
    decoder = Sequential(Linear(units, size, activation="sigmoid"), Unflatten(input_shape))
    return Autoencoder(Sequential(Flatten(), coder, watcher), decoder)


@register(
    "contractive_autoencoder",
    family=_FAMILY,
    year=2011,
    paper="S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio, Contractive auto-encoders: explicit invariance "
    "during feature extraction, ICML 2011",
    what="64-64-64, sigmoid code, squared Frobenius norm of its Jacobian as penalty",
    recipe=Recipe(epochs=200, batch_size=32, optimizer="adam", lr=5e-3, loss="reconstruction", keep_best=False),
)
def contractive_autoencoder(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 0,
    code: int = 64,
    hidden: Sequence[int] = (),
    weight: float = 5e-5,
) -> Autoencoder:
    """Penalty weight * mean_n ||d code / d x_n||_F**2 (notes B:A10); sigmoid code and output.

    In closed form without `hidden`, else by one second-order pass per code unit. Train with
    `penalty=nn.ActivityPenalty()`, by Adam or, in one batch, by `optim.LBFGS` or `optim.ConjugateGradient`.
    classes : not used. Raises ValueError for sizes below 1 and a negative weight.
    """
    sizes = _sizes("contractive_autoencoder", input_shape, hidden, code)
    encoder = Sequential(Flatten(), *_dense(sizes, "sigmoid", "sigmoid"))
    return Autoencoder(encoder, _mirror(sizes, input_shape, "sigmoid", "sigmoid"), None, Contractive(weight))


# --- convolutional


@register(
    "conv_autoencoder",
    family=_FAMILY,
    year=2011,
    paper="J. Masci, U. Meier, D. Ciresan, J. Schmidhuber, Stacked convolutional auto-encoders for hierarchical "
    "feature extraction, ICANN 2011",
    what="two strided convolutions, a dense code, two transposed ones; fills a missing 3x3 block",
    recipe=Recipe(epochs=150, batch_size=32, optimizer="adam", lr=5e-3, loss="reconstruction"),
)
def conv_autoencoder(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 0,
    channels: Sequence[int] = (32, 64),
    code: int = 128,
    block: int = 3,
) -> Autoencoder:
    """Convolutions of 3x3 and stride 2, a dense code, transposed convolutions of 4x4 and stride 2 back (notes A:M19).

    input_shape : (H,W,C) with H and W divisible by 2 ** len(channels). The code [N,code] sees the whole image.
    block : side of the square that is missing in training, at a random place; 0 leaves images whole.
    classes : not used. Raises ValueError for other shapes and sizes below 1.
    """
    name = "conv_autoencoder"
    stages = [whole(name, "channels", c, 1) for c in channels]
    factor = 2 ** len(stages)
    if len(input_shape) != 3 or not stages or input_shape[0] % factor or input_shape[1] % factor:
        shape = tuple(input_shape)
        raise ValueError(f"{name}: expected input_shape (H,W,C) with H and W divisible by {factor}, got {shape}")
    small = (input_shape[0] // factor, input_shape[1] // factor, stages[-1])
    units, size = whole(name, "code", code, 1), math.prod(small)
    down = [
        Conv2d(a, b, 3, stride=2, padding=1, activation="relu")
        for a, b in itertools.pairwise([input_shape[2], *stages])
    ]
    up = [
        ConvTranspose2d(a, b, 4, stride=2, padding=1, activation="relu" if i + 1 < len(stages) else "sigmoid")
        for i, (a, b) in enumerate(itertools.pairwise([*stages[::-1], input_shape[2]]))
    ]
    encoder = Sequential(*down, Flatten(), Linear(size, units, activation="relu"))
    decoder = Sequential(Linear(units, size, activation="relu"), Unflatten(small), *up)
    return Autoencoder(encoder, decoder, BlockMasking(block) if whole(name, "block", block, 0) else None)
