"""Buckets of gradients, and their sum over the processes in order of rank.

Gradients are packed into flat buffers in the reverse order of the parameters, which is about the order in which the
backward pass produces them. A bucket of n numbers is summed in two exchanges:

    1. all-to-all: process r receives part r, n/K numbers, of every process, [K,n/K]
    2. r adds its K rows in order of rank, with our kernel; all-gather: everybody receives the K sums

Each process sends and receives 2 n (K-1)/K numbers, as in a ring, in two rounds instead of 2 (K-1). The order of every
sum is fixed by K and the layout, so the bits depend on neither time nor the algorithms of the MPI library, which
only moves data; and one process computes each sum, so all get the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from ..tensor import Tensor, wrap

if TYPE_CHECKING:
    from .comm import Group

__all__ = ["Bucket", "Layout", "Piece"]

_ALIGN = 64  # bytes: where a gradient begins in its bucket


@dataclass(frozen=True)
class Piece:
    """A parameter's place in its bucket: its number, where it begins, and its shape."""

    index: int
    offset: int
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Layout:
    """One bucket: dtype, pieces, and `part`, the numbers that each process adds up.

    Behind the gradients come as many flags, 1 for a gradient that a process has: their sum says whether anybody has.
    """

    dtype: np.dtype[Any]
    pieces: tuple[Piece, ...]
    flags: int  # where they begin
    part: int

    @staticmethod
    def plan(parameters: Sequence[tuple[int, tuple[int, ...], Any]], limit: int, processes: int) -> list[Layout]:
        """Buckets of at most `limit` bytes (but one gradient at least), the last parameter first.

        parameters : (number, shape, dtype) of each

        Every parameter is in one bucket, a bucket has one dtype.
        """
        layouts: list[Layout] = []
        open_: list[Piece] = []
        kind: Any = None
        end = 0

        def close() -> None:
            if open_:
                part = -(-(end + len(open_)) // processes)
                grain = _ALIGN // kind.itemsize
                layouts.append(Layout(kind, tuple(open_), end, -(-part // grain) * grain))
                open_.clear()

        for index, shape, given in reversed(parameters):
            dtype = np.dtype(given)
            size = int(np.prod(shape, dtype=np.int64))
            room = -(-size * dtype.itemsize // _ALIGN) * _ALIGN // dtype.itemsize
            if kind is None or dtype != kind or (end + room) * dtype.itemsize > limit:
                close()
                kind, end = dtype, 0
            open_.append(Piece(index, end, shape, size))
            end += room
        close()
        return layouts


class Bucket:
    """The buffers of one bucket and where its sum stands: `start`, then `advance` until it is True, or `finish`."""

    def __init__(self, layout: Layout, group: Group, number: int) -> None:
        self.layout, self.group, self.number = layout, group, number
        n, k = layout.part, group.size
        self.packed = np.zeros(k * n, layout.dtype)
        self.rows = np.zeros((k, n), layout.dtype)
        self.sums = np.zeros(k * n, layout.dtype)
        self.own = np.zeros(n, layout.dtype)
        self.inward = [self.packed[p.offset : p.offset + p.size].reshape(p.shape) for p in layout.pieces]
        outward = [self.sums[p.offset : p.offset + p.size].reshape(p.shape) for p in layout.pieces]
        self.outward = [wrap(a) for a in outward]
        self.sent: list[Tensor | None] = []
        self._request: Any = None
        self._stage = 0  # 1: all-to-all, 2: all-gather under way

    def start(self, gradients: Sequence[Tensor | None]) -> None:
        """Packs the gradients of the parameters (all of them, by number) and sends the first exchange off."""
        flags = self.layout.flags
        self.sent = [gradients[p.index] for p in self.layout.pieces]
        for i, (g, place) in enumerate(zip(self.sent, self.inward, strict=True)):
            if g is None:
                _core.fill(place, 0.0)
            else:
                _core.copy(g.data, place)
            self.packed[flags + i] = g is not None
        self._request = self.group.scatter.Ialltoall(self.packed, self.rows)
        self._stage = 1

    def complete(self, gradients: Sequence[Tensor | None]) -> bool:
        """Whether what was sent are still the gradients: a later contribution would have replaced the tensor."""
        return all(gradients[p.index] is g for p, g in zip(self.layout.pieces, self.sent, strict=True))

    def advance(self) -> bool:
        """Goes on to the second exchange if the first is done; whether it is under way."""
        if self._stage == 1 and self._request.Test():
            self._gather()
        return self._stage == 2

    def _gather(self) -> None:
        _core.copy(self.rows[0], self.own)
        for row in self.rows[1:]:
            _core.add(self.own, row, self.own)
        self._request = self.group.collect.Iallgather(self.own, self.sums)
        self._stage = 2

    def finish_first(self) -> None:
        """Waits for the first exchange, which comes before `finish` in every process."""
        if self._stage == 1:
            self.group.wait(self._request, f"the sum of gradient bucket {self.number}")
            self._gather()

    def finish(self) -> list[tuple[int, Tensor | None]]:
        """Waits; (number of the parameter, its summed gradient or None when no process has one)."""
        self.group.wait(self._request, f"the exchange of gradient bucket {self.number}")
        self._stage = 0
        there = self.sums[self.layout.flags : self.layout.flags + len(self.layout.pieces)] > 0
        return [(p.index, g if t else None) for p, g, t in zip(self.layout.pieces, self.outward, there, strict=True)]
