"""Convolutional networks whose kernels are not shared everywhere: unshared (locally connected) and tiled.

Y. LeCun, Generalization and network design strategies, Univ. of Toronto CRG-TR-89-4, 1989, compared digit networks
with unshared and with shared local connections; Q. V. Le, J. Ngiam, Z. Chen, D. Chia, P. W. Koh, A. Y. Ng, Tiled
convolutional neural networks, NIPS 23, 2010, let t kernels take turns (notes A:M23, A:M24, A:2.H).

    input [N,H,W,C] -> local 16@3x3 [N,H,W,16] -> pool [N,H/2,W/2,16] -> local 32@3x3 -> pool [N,H/4,W/4,32] -> classes

One tile is the ordinary convolution, as many as there are outputs the unshared one: `tiled(tiles=1)` and
`tiled(tiles="all")` are those networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from .._options import whole
from ..nn import Flatten, Linear, LocallyConnected2d, MaxPool2d, Module, Sequential, TiledConv2d
from .registry import Recipe, register

__all__ = ["locally_connected", "tiled"]


def _sides(name: str, input_shape: Sequence[int], channels: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """(height, width, input maps, output maps) of each stage, a pooling of 2 after every one. Raises ValueError."""
    maps = [whole(name, "channels", c, 1) for c in channels]
    least = 2 ** len(maps)
    if len(input_shape) != 3 or not maps or min(input_shape[:2]) < least:
        shape = tuple(input_shape)
        raise ValueError(f"{name}: expected input_shape (H,W,C) of at least {least} x {least}, got {shape}")
    height, width, before = input_shape
    stages = []
    for after in maps:
        stages.append((height, width, before, after))
        height, width, before = height // 2, width // 2, after
    return stages


def _network(stages: Sequence[tuple[int, int, int, int]], layers: Sequence[Module], classes: int) -> Sequential:
    """The layers with a pooling of 2 after each, and a linear output."""
    height, width, _, maps = stages[-1]
    pooled = [part for layer in layers for part in (layer, MaxPool2d(2))]
    return Sequential(*pooled, Flatten(), Linear(math.prod((height // 2, width // 2, maps)), classes))


@register(
    "locally_connected",
    family="convolutional",
    year=1989,
    paper="Y. LeCun, Generalization and network design strategies, University of Toronto CRG-TR-89-4, 1989",
    what="two layers of 3x3 windows with a kernel of its own for every output, pooling, linear output",
    recipe=Recipe(epochs=100, batch_size=32, optimizer="adam", lr=5e-3, weight_decay=1e-3),
)
def locally_connected(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 10,
    channels: Sequence[int] = (16, 32),
    kernel: int = 3,
) -> Sequential:
    """Unshared convolutions with ReLU, each followed by a 2x2 maximum; x [N,H,W,C] -> logits [N,classes].

    Parameters
    ----------
    input_shape : (H,W,C); the number of weights grows with H W.
    classes : number of outputs.
    channels : maps of each layer.
    kernel : side of the windows, padded so that a layer keeps its size.

    Raises ValueError for sizes below 1 and images smaller than 2 ** len(channels).
    """
    stages = _sides("locally_connected", input_shape, channels)
    layers = [
        LocallyConnected2d(before, after, (h, w), kernel, padding="same", activation="relu")
        for h, w, before, after in stages
    ]
    return _network(stages, layers, classes)


@register(
    "tiled",
    family="convolutional",
    year=2010,
    paper="Q. V. Le, J. Ngiam, Z. Chen, D. Chia, P. W. Koh, A. Y. Ng, Tiled convolutional neural networks, "
    "NIPS 23, 2010",
    what="two layers of 3x3 windows in which 2x2 kernels take turns, pooling, linear output",
    recipe=Recipe(epochs=100, batch_size=32, optimizer="adam", lr=1e-2, weight_decay=1e-3),
)
def tiled(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 10,
    channels: Sequence[int] = (16, 32),
    kernel: int = 3,
    tiles: int | tuple[int, int] | Literal["all"] = 2,
) -> Sequential:
    """As `locally_connected`, but `tiles` kernels per axis take turns instead of one for every output.

    tiles : an integer or a pair (down, right); 1 is the ordinary convolutional network, "all" the unshared one.
    x [N,H,W,C] -> logits [N,classes]. Raises ValueError for sizes below 1, images smaller than 2 ** len(channels)
    and other words.
    """
    stages = _sides("tiled", input_shape, channels)
    if isinstance(tiles, str) and tiles != "all":
        raise ValueError(f"tiled: expected a number, a pair or 'all' as tiles, got {tiles!r}")
    layers = [
        TiledConv2d(before, after, kernel, (h, w) if tiles == "all" else tiles, padding="same", activation="relu")
        for h, w, before, after in stages
    ]
    return _network(stages, layers, classes)
