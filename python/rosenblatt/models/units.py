"""Networks of other units than weighted sums with an activation: maxout and polynomial units.

I. J. Goodfellow et al., Maxout networks, ICML 2013; A. G. Ivakhnenko, V. G. Lapa, Cybernetic predicting devices, 1965,
and A. G. Ivakhnenko, Polynomial theory of complex systems, IEEE Trans. Systems, Man, and Cybernetics 1(4), 1971.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ..nn import Flatten, Linear, Maxout, PolynomialUnits, Sequential
from .registry import Recipe, register

__all__ = ["maxout", "polynomial"]


def _sizes(where: str, input_shape: Sequence[int], hidden: Sequence[int]) -> list[int]:
    if any(isinstance(units, bool) or units < 1 for units in hidden):
        raise ValueError(f"{where}: hidden sizes must be positive, got {list(hidden)}")
    return [math.prod(input_shape), *hidden]


@register(
    "maxout",
    family="feed-forward",
    year=2013,
    paper="I. J. Goodfellow, D. Warde-Farley, M. Mirza, A. Courville, Y. Bengio, Maxout networks, ICML 2013",
    what="64 units, each the largest of three weighted sums, and a linear output",
    recipe=Recipe(epochs=60, batch_size=32, optimizer="adam", lr=1e-2, weight_decay=1e-3),
)
def maxout(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 10,
    hidden: Sequence[int] = (64,),
    pieces: int = 3,
) -> Sequential:
    """Flatten, one `nn.Maxout` layer of `pieces` per entry of `hidden`, and a Linear to `classes` logits.

    Raises ValueError for sizes or a number of pieces below 1.
    """
    sizes = _sizes("maxout", input_shape, hidden)
    layers = [Maxout(a, b, pieces) for a, b in itertools.pairwise(sizes)]
    return Sequential(Flatten(), *layers, Linear(sizes[-1], classes))


@register(
    "polynomial",
    family="feed-forward",
    year=1971,
    paper="A. G. Ivakhnenko, Polynomial theory of complex systems, IEEE Trans. Systems, Man, and Cybernetics 1(4), "
    "1971",
    what="two layers of units quadratic in two inputs each, and a linear output: degree 4",
    recipe=Recipe(epochs=120, batch_size=32, optimizer="adam", lr=3e-3),
)
def polynomial(
    *,
    input_shape: Sequence[int] = (8, 8, 1),
    classes: int = 10,
    hidden: Sequence[int] = (128, 64),
    seed: int = 0,
) -> Sequential:
    """Flatten, one `nn.PolynomialUnits` layer per entry of `hidden` (the degree doubles with each), and a Linear.

    The units have the polynomial form of the group method of data handling, but are trained together by gradient
    descent instead of being fitted and selected layer by layer.

    seed : of the pairs of inputs, which are part of the structure: saved weights need the same ones.

    Raises ValueError for sizes below 1, and for fewer than two inputs of a layer.
    """
    sizes = _sizes("polynomial", input_shape, hidden)
    layers = [PolynomialUnits(a, b, seed=seed + i) for i, (a, b) in enumerate(itertools.pairwise(sizes))]
    return Sequential(Flatten(), *layers, Linear(sizes[-1], classes))
