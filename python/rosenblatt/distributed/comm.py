"""`Group`: the processes of a job, and what they say to each other.

Every exchange is started without blocking and then waited for by polling. So a process that waits leaves its processor
to the others, and one that waits for longer than RB_MPI_TIMEOUT ends the job with a message that says what it waited
for. Exchanges of one kind happen in the same order in every process.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from .. import _config, _core
from .._version import __version__
from ..io.extras import require
from ..tensor import Array
from . import environment
from .message import pack, unpack

__all__ = ["DistributedError", "Group", "PeerError", "current", "init"]

_PACKET = 1 << 12  # bytes of an object that travel with its length
_CHUNK = 1 << 30  # bytes in one message: MPI counts in int


class DistributedError(RuntimeError):
    """The processes of a job do not fit together; the message says in what they differ."""


class PeerError(DistributedError):
    """Another process has failed, and tells why itself."""


class Group:
    """The processes of a job; made by `init`. `rank` is this one's number, `size` how many there are."""

    def __init__(self, mpi: Any, timeout: float, bucket_bytes: int) -> None:
        self.mpi = mpi
        world = mpi.COMM_WORLD
        self.rank, self.size = int(world.Get_rank()), int(world.Get_size())
        self.timeout, self.bucket_bytes = timeout, bucket_bytes
        # One communicator for each kind of exchange, so that only exchanges of the same kind need one order.
        self.talk, self.scatter, self.collect = world.Dup(), world.Dup(), world.Dup()
        self.hint = ""  # what to do when the job fails, for its last message
        self._dying = False

    @property
    def leads(self) -> bool:
        """Whether this is process 0, which alone writes files and prints."""
        return self.rank == 0

    # --- waiting

    def wait(self, request: Any, what: str, forever: bool = False) -> None:
        """Until `request` is done; ends the job when that takes longer than the timeout."""
        for _ in range(200):  # most are done at once
            if request.Test():
                return
            os.sched_yield()
        begun, pause = time.monotonic(), 2e-5
        while not request.Test():
            time.sleep(pause)
            pause = min(pause * 1.5, 1e-3)
            if not forever and self.timeout and time.monotonic() - begun > self.timeout:
                self.abort(f"{what} is not done after {self.timeout:g} s (RB_MPI_TIMEOUT): another process hangs", 1)

    def barrier(self, what: str) -> None:
        """Waits for the others, however long they take."""
        self.wait(self.talk.Ibarrier(), what, forever=True)

    # --- data

    def broadcast(self, array: Array, root: int = 0, what: str = "a broadcast") -> None:
        """Fills the contiguous `array` with that of process `root`."""
        data = array.reshape(-1).view(np.uint8)
        for i in range(0, data.size, _CHUNK):
            self.wait(self.talk.Ibcast(data[i : i + _CHUNK], root), what)

    def share(self, value: Any, what: str = "a message of process 0") -> Any:
        """`value` of process 0, in every process; the others' own is not looked at."""
        packet = np.zeros(_PACKET, np.uint8)
        content = b""
        if self.leads:
            content = pack(value)
            packet[:8].view(np.int64)[0] = len(content)
            head = content[: _PACKET - 8]
            packet[8 : 8 + len(head)] = np.frombuffer(head, np.uint8)
        self.broadcast(packet, 0, what)
        length = int(packet[:8].view(np.int64)[0])
        if length <= _PACKET - 8:
            return value if self.leads else unpack(packet[8 : 8 + length].tobytes())
        rest = np.frombuffer(content, np.uint8).copy() if self.leads else np.empty(length, np.uint8)
        self.broadcast(rest, 0, what)
        return value if self.leads else unpack(rest.tobytes())

    def gather(self, values: Array, what: str) -> Array:
        """values [n] of every process, [K,n], in order of rank."""
        everything = np.empty((self.size, *values.shape), values.dtype)
        self.wait(self.start_gather(values, everything), what)
        return everything

    def start_gather(self, values: Array, everything: Array) -> Any:
        """Starts `gather` into everything [K,n]; to be waited for."""
        return self.talk.Iallgather(values.view(np.uint8), everything.reshape(-1).view(np.uint8))

    def texts(self, text: str, what: str) -> list[str]:
        """The text of every process, in order of rank."""
        data = np.frombuffer(text.encode(), np.uint8)
        sizes = self.gather(np.array([data.size], np.int64), what)[:, 0]
        longest = int(sizes.max())
        if not longest:
            return [""] * self.size
        padded = np.zeros(longest, np.uint8)
        padded[: data.size] = data
        rows = self.gather(padded, what)
        return [rows[r, : sizes[r]].tobytes().decode() for r in range(self.size)]

    # --- agreement and the end

    def agree(self, facts: dict[str, Any], what: str) -> None:
        """Raises DistributedError, in every process, naming the first fact that is not the same everywhere."""
        own = {k: repr(v) for k, v in facts.items()}
        theirs: dict[str, str] = self.share(own, what)
        wrong = next((k for k in theirs if own.get(k) != theirs[k]), "")
        text = f"{wrong}: process 0 has {theirs[wrong]}, process {self.rank} {own.get(wrong)}" if wrong else ""
        first = next((t for t in self.texts(text, what) if t), "")
        if first:
            raise DistributedError(f"{what}: the processes differ in {first}")

    def abort(self, reason: str, status: int) -> NoReturn:
        """Says on standard error which process ends the job and why, and ends all of them."""
        if not self._dying:
            self._dying = True
            lines = [f"rosenblatt: process {self.rank} of {self.size}: {reason}"]
            if self.hint:
                lines.append(f"rosenblatt: {self.hint}")
            sys.stdout.flush()
            sys.stderr.write("\n".join(lines) + "\n")
            sys.stderr.flush()
            time.sleep(0.1)  # mpiexec passes the message on before it hears of the end
        self.mpi.COMM_WORLD.Abort(status)
        os._exit(status)

    def _excepthook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """An exception that nobody caught ends the whole job: the others would wait for ever."""
        traceback.print_exception(kind, error, trace)
        self.abort(f"{kind.__name__}: {error}", 1)


_current: Group | None = None


def current() -> Group | None:
    """The group that `init` made, or None: `fit` then trains in this process alone."""
    return _current


def init() -> Group:
    """Joins the job that mpiexec started; `fit` trains data-parallel from here on. The same group when called again.

    Sets the number of threads to this process's share of the processors unless RB_THREADS or OMP_NUM_THREADS is set,
    and lets an exception that nobody catches end the whole job. Raises MissingExtraError without mpi4py,
    DistributedError when the processes differ in version or instruction set or mpiexec belongs to another MPI,
    ValueError for RB_MPI_* settings that cannot be understood.
    """
    global _current
    if _current is not None:
        return _current
    timeout, bucket = environment.timeout_seconds(), environment.bucket_bytes()
    try:
        mpi = require("mpi4py.MPI", "mpi", "training in several processes")
    except RuntimeError as error:  # mpi4py is there, but no library of MPI
        first = str(error).splitlines()[0]
        raise DistributedError(f"mpi4py: {first}; pip install mpich brings one (extra mpi)") from error
    group = Group(mpi, timeout, bucket)
    wanted = environment.launched_size()
    if wanted > 1 and group.size != wanted:
        raise DistributedError(
            f"mpiexec started {wanted} processes, but mpi4py sees {group.size}: they belong to different installations "
            f"of MPI; mpi4py uses {mpi.Get_library_version().splitlines()[0].strip()}"
        )
    config = _core.config()
    facts = {"rosenblatt": __version__, "ops": config["table_hash"], "instruction set (RB_ISA)": config["isa"]}
    group.agree(facts, "joining the job")
    if not (os.environ.get("RB_THREADS") or os.environ.get("OMP_NUM_THREADS")):
        _config.set_num_threads(_share_of_threads(group))
    sys.excepthook = group._excepthook
    _current = group
    return group


def _share_of_threads(group: Group) -> int:
    own = frozenset(os.sched_getaffinity(0))
    texts = group.texts(f"{os.uname().nodename} {' '.join(map(str, sorted(own)))}", "counting processors")
    neighbours = [t.split()[1:] for t in texts if t.split()[0] == os.uname().nodename]
    return environment.thread_share(
        _config.get_num_threads(), own, [frozenset(map(int, words)) for words in neighbours]
    )
