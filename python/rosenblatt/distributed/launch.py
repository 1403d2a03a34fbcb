"""`mpiexec -n K rosenblatt train ...`: how a command runs in several processes, and how it ends when one fails."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable

from . import comm
from .comm import DistributedError, Group, PeerError
from .environment import launched_rank, launched_size

__all__ = ["launch", "ready"]

_ready = False


def ready(group: Group | None) -> None:
    """All processes have read their options and data. Raises PeerError when one could not."""
    global _ready
    if group is not None:
        _ready = not any(_exchange(group, ""))
        if not _ready:
            raise PeerError("another process could not read options or data")


def _exchange(group: Group, text: str) -> list[str]:
    """What went wrong in each process, if anything; process 0 says it, once when it is the same everywhere."""
    errors = group.texts(text, "reading options and data")
    if group.leads:
        for line in dict.fromkeys(e for e in errors if e):
            who = "" if line == errors[0] else f"process {errors.index(line)}: "
            print(f"rosenblatt: {who}{line}", file=sys.stderr)
    return errors


def launch(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Carries out `command`, in a job of several processes with the rules of one.

    Before `ready` an error is reported by process 0 and ends every process with its status; afterwards it is reported
    by the process it happens in, and ends the job at once.
    """
    from ..cli.main import user_errors

    if launched_size() == 1:
        return command(options)
    try:
        group = comm.init()
    except (DistributedError, ImportError, ValueError) as error:
        if launched_rank() == 0:
            print(f"rosenblatt: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    try:
        places = group.texts(f"{os.uname().nodename}:{os.getpid()}", "joining the job")
        if group.leads and not options.quiet:
            print(f"{group.size} processes: {' '.join(places)}", file=sys.stderr)
        status = command(options)
        group.barrier("the end of process 0's work")
        return status
    except KeyboardInterrupt:
        group.abort("interrupted", 130)
    except SystemExit as request:  # SIGTERM, agreed on by all processes
        return int(request.code or 0)
    except PeerError:
        if _ready:
            time.sleep(group.timeout or 1e9)  # the process that failed ends this one
        return 2
    except Exception as error:
        mine = isinstance(error, (*user_errors(), DistributedError))
        text = " ".join(str(error).split()) or type(error).__name__
        if not mine:
            traceback.print_exc()
            text = f"{type(error).__name__}: {text}"
        if _ready:
            group.abort(text, 2 if mine else 1)
        _exchange(group, text)
        return 2 if mine else 1
