"""The runner's end of a worker process: start it, ask it, survive it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .cases import Case

__all__ = ["LIBRARIES", "Worker", "WorkerError"]

LIBRARIES = ("ours", "numpy", "torch", "jax")
_BENCH = Path(__file__).resolve().parent.parent


class WorkerError(RuntimeError):
    """The worker raised, died or did not answer in time; after the last two it is restarted by the next question."""


class Worker:
    """One library in a process of its own, kept alive between cases.

    With `retain`, the C heap keeps what is freed (no mmap, no trimming, one arena), so that kernels are compared and
    not page faults; whole programs run on the default heap. `python` is the interpreter that has the library and NumPy.
    `absent` says why the library cannot be used, or "".
    """

    def __init__(self, library: str, threads: int, retain: bool, timeout: float, python: str = sys.executable) -> None:
        self.library, self.threads, self.retain, self.timeout = library, threads, retain, timeout
        self.python = python
        self.absent = ""
        self.about: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pending, self._late = b"", False
        try:
            self._start()
        except (OSError, WorkerError) as error:
            self.absent = f"{python}: {error}"

    def _start(self) -> None:
        env = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RB_THREADS"):
            env[name] = str(self.threads)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_BENCH), os.environ.get("PYTHONPATH"))))
        if self.retain:
            env["GLIBC_TUNABLES"] = ":".join(
                f"glibc.malloc.{option}"
                for option in ("mmap_max=0", "trim_threshold=1099511627776", "top_pad=67108864", "arena_max=1")
            )
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the worker)
        self._process = subprocess.Popen(
            [self.python, "-m", "peers.worker", self.library, str(self.threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, env=env,
        )  # fmt: skip
        self._pending, self._late = b"", False
        reply = self.ask({"cmd": "hello"})
        self.absent = reply.get("absent", "")
        if not self.absent:
            self.about = reply

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to `request`. Raises WorkerError."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._line()
        except BrokenPipeError:
            line = b""
        if not line:
            raise WorkerError(self._bury())
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def prepare(self, case: Case) -> dict[str, Any]:
        return self.ask({"cmd": "prepare", "case": dataclasses.asdict(case)})

    def measure(self, variant: str, seconds: float) -> list[float]:
        """Seconds per call, one number per sample."""
        return list(self.ask({"cmd": "measure", "variant": variant, "seconds": seconds})["samples"])

    def _line(self) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        end = time.monotonic() + self.timeout
        while b"\n" not in self._pending:
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                self._process.kill()
                self._late = True
                return b""
            data = os.read(pipe, 1 << 16)
            if not data:
                return b""
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _bury(self) -> str:
        """Ends the process; says how it ended and the last line it wrote."""
        assert self._process is not None
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._stderr.seek(0)
        last = self._stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        self._close()
        how = f"no answer in {self.timeout:.0f} s" if self._late else f"worker ended with status {code}"
        return ": ".join([how, *last])

    def _close(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._stderr.close()
        self._process = None

    def close(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b'{"cmd": "quit"}\n')
            self._process.stdin.flush()
            self._process.wait(5)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._close()
