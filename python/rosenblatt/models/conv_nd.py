"""One convolutional classifier for rows, pictures and volumes, of one channel or several (notes A:2.J).

            one channel                        several channels
    1-D     sound [L,1]                        moving skeleton [T, 2 x joints]
    2-D     spectrogram [T,F,1]                colour picture [H,W,3]
    3-D     CT volume [D,H,W,1]                colour video [T,H,W,3]

The form is that of A. Waibel, T. Hanazawa, G. Hinton, K. Shikano, K. Lang, Phoneme recognition using time-delay neural
networks, IEEE Trans. ASSP 37(3), 1989 (1-D), and of S. Ji, W. Xu, M. Yang, K. Yu, 3D convolutional neural networks for
human action recognition, IEEE Trans. PAMI 35(1), 2013 (3-D):

    input [N,..,C] -> (conv, ReLU, max pool) x 3 -> mean over `cells` parts of each axis -> flatten -> classes

The last pool's windows grow with the input, so that one set of weights takes inputs of any size (notes A:O18).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._options import whole
from ..nn import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    Conv1d,
    Conv2d,
    Conv3d,
    Flatten,
    Linear,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    Module,
    Sequential,
)
from .registry import Recipe, register

__all__ = ["conv_nd"]

_KINDS = {
    1: (Conv1d, MaxPool1d, AdaptiveAvgPool1d),
    2: (Conv2d, MaxPool2d, AdaptiveAvgPool2d),
    3: (Conv3d, MaxPool3d, AdaptiveAvgPool3d),
}
_KERNEL, _POOL, _CELLS = {1: 9, 2: 3, 3: 3}, {1: 4, 2: 2, 3: 2}, {1: 4, 2: 2, 3: 2}


@register(
    "conv_nd",
    family="convolutional",
    year=1989,
    paper="A. Waibel, T. Hanazawa, G. Hinton, K. Shikano, K. Lang, Phoneme recognition using time-delay neural "
    "networks, IEEE Trans. ASSP 37(3), 1989",
    what="three convolutions with pooling over one, two or three axes: sound, pictures, volumes, video",
    recipe=Recipe(epochs=40, batch_size=32, optimizer="adam", lr=3e-3),
)
def conv_nd(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 10,
    channels: Sequence[int] = (16, 32, 64),
    kernel: int | None = None,
    pool: int | None = None,
    cells: int | None = None,
) -> Sequential:
    """x [N,L,C], [N,H,W,C] or [N,D,H,W,C] -> logits [N,classes].

    Parameters
    ----------
    input_shape : (L,C), (H,W,C) or (D,H,W,C).
    classes : number of outputs.
    channels : maps of each convolution; kernels keep the size, a pool follows each where an axis is long enough.
    kernel, pool : side of the windows; 9 and 4 for rows, else 3 and 2.
    cells : parts of each axis that the last maps are averaged over; 4 for rows, else 2.

    Raises ValueError for an input of another number of axes, and sizes below 1.
    """
    name, shape = "conv_nd", tuple(input_shape)
    axes = len(shape) - 1
    if axes not in _KINDS or min(shape) < 1:
        raise ValueError(f"{name}: expected input_shape (L,C), (H,W,C) or (D,H,W,C), got {shape}")
    conv, maximum, average = _KINDS[axes]
    window = whole(name, "kernel", _KERNEL[axes] if kernel is None else kernel, 1)
    step = whole(name, "pool", _POOL[axes] if pool is None else pool, 1)
    parts = whole(name, "cells", _CELLS[axes] if cells is None else cells, 1)
    maps = [whole(name, "channels", c, 1) for c in channels]
    if not maps:
        raise ValueError(f"{name}: expected at least one convolution")
    layers: list[Module] = []
    size, before = shape[:-1], shape[-1]
    for after in maps:
        layers.append(conv(before, after, window, padding="same", activation="relu"))
        by = tuple(step if n >= step * parts else 1 for n in size)  # never fewer places than cells
        if max(by) > 1:
            layers.append(maximum(by))
        size, before = tuple(n // b for n, b in zip(size, by, strict=True)), after
    kept = tuple(min(parts, n) for n in size)
    return Sequential(*layers, average(kept), Flatten(), Linear(math.prod(kept) * before, classes))
