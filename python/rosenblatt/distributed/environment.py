"""What the environment says about the job, without loading MPI."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["LAUNCHERS", "bucket_bytes", "launched_rank", "launched_size", "thread_share", "timeout_seconds"]

# (size, rank) of the job in the variables of MPICH (also Intel MPI and Slurm's PMI), Open MPI, MVAPICH2.
LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
)
DEFAULT_TIMEOUT = 600.0  # seconds
DEFAULT_BUCKET = 1024  # KiB

T = TypeVar("T", int, float)


def _launcher(place: int, environ: Mapping[str, str]) -> int | None:
    for names in LAUNCHERS:
        value = environ.get(names[place], "")
        if value.isdecimal():
            return int(value)
    return None


def launched_size(environ: Mapping[str, str] | None = None) -> int:
    """The number of processes that mpiexec started, 1 when it did not start this one (see `LAUNCHERS`)."""
    return max(_launcher(0, os.environ if environ is None else environ) or 1, 1)


def launched_rank(environ: Mapping[str, str] | None = None) -> int:
    """This process's number in the job, 0 when mpiexec did not start it."""
    return _launcher(1, os.environ if environ is None else environ) or 0


def _setting(name: str, text: str, kind: Callable[[str], T], least: float, default: T) -> T:
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value < float("inf"):
        raise ValueError(f"{name}: expected a number of at least {least:g}, got {text!r}")
    return value


def timeout_seconds() -> float:
    """RB_MPI_TIMEOUT: seconds a process waits for the others, 0 for ever. Raises ValueError."""
    return _setting("RB_MPI_TIMEOUT", os.environ.get("RB_MPI_TIMEOUT", ""), float, 0.0, DEFAULT_TIMEOUT)


def bucket_bytes() -> int:
    """RB_MPI_BUCKET_KIB as bytes: gradients that travel together. Raises ValueError."""
    return _setting("RB_MPI_BUCKET_KIB", os.environ.get("RB_MPI_BUCKET_KIB", ""), int, 1, DEFAULT_BUCKET) << 10


def thread_share(threads: int, own: frozenset[int], everybody: list[frozenset[int]]) -> int:
    """Threads for a process that may use `threads` on the processors `own`, among all the processes of its machine.

    Processes that a launcher bound to processors of their own keep them; those that share some divide.
    """
    sharing = sum(1 for other in everybody if own & other) if own else len(everybody)
    return max(1, threads // max(sharing, 1))
