"""Data-parallel training: K processes, each with a slice of every batch, that stay equal to the bit.

`mpiexec -n K rosenblatt train NAME ...` needs nothing more; a program of one's own calls `init()` once, in every
process, and then `fit` as always. Needs the extra "mpi"; nothing here imports mpi4py before `init`.

`docs/scaling.md` says what is equal to one process, what is not, and what it costs.
"""

from __future__ import annotations

from .buckets import Layout, Piece
from .comm import DistributedError, Group, current, init
from .environment import launched_size
from .shard import ShardedLoader, shard

__all__ = ["DistributedError", "Group", "Layout", "Piece", "ShardedLoader", "current", "init", "launched_size", "shard"]
