"""Layers of units beyond activation(w . x + b): partially connected, maxout, polynomial."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from .._options import whole
from ..ops._common import activation_code
from ..ops.random import stream
from ..tensor import Array, Parameter
from ._options import positive_integer
from .layers import Linear
from .module import Module

__all__ = ["Maxout", "PartialLinear", "PolynomialUnits"]


def _seed(seed: int | None) -> np.random.Generator:
    """A generator of its own: of the seed, or drawn from the global stream."""
    return np.random.default_rng(list(stream.take(4, 4)) if seed is None else seed)


class PartialLinear(Module):
    """activation(x @ W.T + bias) in which each unit sees only some of the inputs; x [...,in_features] -> [...,units].

    Only the weights of connections that exist are parameters: `weight` [links,1], ordered by unit, then by input.

    Parameters
    ----------
    in_features : inputs of the layer
    connections : per unit the inputs that it sees, or a number of units whose inputs are drawn at random
    inputs_per_unit : how many inputs each unit draws, without repetition; only with a number of units
    bias, activation : as in `Linear`
    seed : of the draw; default: from the global stream

    Weights of a unit start uniform in +-1/sqrt(its inputs). Raises ValueError for a unit without inputs, an input named
    twice or that does not exist.

    Source: Y. LeCun, Generalization and network design strategies, in Connectionism in Perspective, 1989.
    """

    def __init__(
        self,
        in_features: int,
        connections: int | Sequence[Sequence[int]],
        inputs_per_unit: int | None = None,
        bias: bool = True,
        activation: str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        where = "PartialLinear"
        self.in_features = positive_integer(where, "in_features", in_features)
        if isinstance(connections, (int, np.integer)):
            units = positive_integer(where, "units", connections)
            if inputs_per_unit is None or not 1 <= inputs_per_unit <= in_features:
                raise ValueError(f"{where}: inputs_per_unit must be in 1 .. {in_features}, got {inputs_per_unit!r}")
            rng = _seed(seed)
            table = [np.sort(rng.choice(in_features, inputs_per_unit, replace=False)).tolist() for _ in range(units)]
        else:
            if inputs_per_unit is not None:
                raise ValueError(f"{where}: inputs_per_unit goes with a number of units, not with a table")
            table = [sorted(whole(where, "an input", i, 0) for i in row) for row in connections]
        for unit, row in enumerate(table):
            if not row or len(set(row)) != len(row) or not 0 <= row[0] <= row[-1] < in_features:
                raise ValueError(
                    f"{where}: unit {unit} must see different inputs in 0 .. {in_features - 1}, at least one, got {row}"
                )
        activation_code(where, activation)
        self.connections = tuple(tuple(row) for row in table)
        self.out_features = positive_integer(where, "units", len(table))
        self.activation = activation
        self.links = sum(len(row) for row in table)
        self._places = np.array([u * in_features + i for u, row in enumerate(table) for i in row], np.int64)  # [links]
        limits = np.array([1.0 / math.sqrt(len(row)) for row in table for _ in row], np.float32)[:, None]
        self.weight = Parameter(np.asarray(ops.uniform((self.links, 1), -1.0, 1.0)) * limits)
        self.bias: Parameter | None = None
        if bias:
            limit = np.array([1.0 / math.sqrt(len(row)) for row in table], np.float32)
            self.bias = Parameter(np.asarray(ops.uniform((self.out_features,), -1.0, 1.0)) * limit)

    def matrix(self) -> Any:
        """The weights as a full matrix [units,in_features], zero where there is no connection; a tensor."""
        full = ops.scatter_add(self.weight, self._places, self.out_features * self.in_features)
        return ops.reshape(full, (self.out_features, self.in_features))

    def forward(self, x: Any) -> Any:
        return ops.linear(x, self.matrix(), self.bias, activation=self.activation)

    def macs(self, output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape[:-1]) * self.links

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, links={self.links}"


class Maxout(Module):
    """max over `pieces` linear units: x [...,in_features] -> [...,out_features], convex and piecewise linear in x.

    The pieces of one output are neighbours among the in_features -> out_features * pieces units of `linear`. Raises
    ValueError for sizes below 1.

    Source: I. J. Goodfellow, D. Warde-Farley, M. Mirza, A. Courville, Y. Bengio, Maxout networks, ICML 2013.
    """

    def __init__(self, in_features: int, out_features: int, pieces: int = 2) -> None:
        super().__init__()
        self.out_features = positive_integer("Maxout", "out_features", out_features)
        self.pieces = positive_integer("Maxout", "pieces", pieces)
        self.linear = Linear(in_features, out_features * pieces)

    def forward(self, x: Any) -> Any:
        return ops.maxout(self.linear(x), self.pieces)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


class PolynomialUnits(Module):
    """Units that are polynomials of degree 2 of two inputs u, v: a0 + a1 u + a2 v + a3 u v + a4 u**2 + a5 v**2.

    x [N,in_features] -> [N,out_features]; `weight` [5,out_features] (a1 to a5) and `bias` [out_features] (a0). Layers
    on top of each other give polynomials of degree 2, 4, 8, ..., as in the group method of data handling.

    Parameters
    ----------
    in_features : at least 2; out_features : number of units
    pairs : the two inputs of each unit; default: all pairs in random order, again and again until every unit has one
    seed : of that order; default: from the global stream

    The linear terms start uniform in +-1/sqrt(2), the products at a quarter of that. Raises ValueError for pairs that
    do not name two different inputs.

    Source: A. G. Ivakhnenko, Polynomial theory of complex systems, IEEE Trans. Systems, Man, and Cybernetics 1, 1971.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        pairs: Sequence[tuple[int, int]] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        where = "PolynomialUnits"
        self.in_features = positive_integer(where, "in_features", in_features)
        self.out_features = positive_integer(where, "out_features", out_features)
        if in_features < 2:
            raise ValueError(f"{where}: at least 2 inputs are needed, got {in_features}")
        if pairs is None:
            every = np.array(list(itertools.combinations(range(in_features), 2)))
            rng = _seed(seed)
            rounds = -(-out_features // len(every))
            chosen = np.concatenate([rng.permutation(every) for _ in range(rounds)])[:out_features]
        else:
            chosen = np.array([tuple(p) for p in pairs])
        bad = chosen.shape != (out_features, 2) or chosen.dtype.kind not in "iu"
        if bad or (chosen[:, 0] == chosen[:, 1]).any() or chosen.min() < 0 or chosen.max() >= in_features:
            raise ValueError(
                f"{where}: expected {out_features} pairs of different inputs in 0 .. {in_features - 1}, got {pairs!r}"
            )
        self.pairs = tuple((int(u), int(v)) for u, v in chosen)
        self._left: Array = np.ascontiguousarray(chosen[:, 0], np.int64)  # [out_features]
        self._right: Array = np.ascontiguousarray(chosen[:, 1], np.int64)
        limits = np.array([1, 1, 0.25, 0.25, 0.25], np.float32)[:, None] / math.sqrt(2)
        self.weight = Parameter(np.asarray(ops.uniform((5, out_features), -1.0, 1.0)) * limits)
        self.bias = Parameter(np.zeros(out_features, np.float32))

    def forward(self, x: Any) -> Any:
        if len(x.shape) != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"PolynomialUnits: expected x [N,{self.in_features}], got shape {list(x.shape)}")
        u, v = ops.take(x, self._left, 1), ops.take(x, self._right, 1)  # [N,out_features]
        terms = ops.stack([u, v, ops.mul(u, v), ops.square(u), ops.square(v)], 1)  # [N,5,out_features]
        return ops.add(ops.sum(ops.mul(terms, self.weight), 1), self.bias)

    def macs(self, output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * 8

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"
