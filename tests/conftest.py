"""Shared fixtures. Every test starts from the same random stream and leaves kernels and thread count as they were."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import rosenblatt as rb
from rosenblatt import _core

_drawn: dict[str, dict] = {}  # per module, the state of its generator before the first test


@pytest.fixture(autouse=True)
def _clean_state(request):
    threads = rb.get_num_threads()
    rb.manual_seed(0)
    generator = getattr(request.module, "RNG", None)
    if generator is not None:  # a module's own generator, too, whichever tests ran before
        generator.bit_generator.state = _drawn.setdefault(request.module.__name__, generator.bit_generator.state)
    yield
    rb.set_num_threads(threads)
    for op in _core.op_table():
        _core.force_impl(op, None)


@pytest.fixture
def run_python():
    """Runs code in a fresh interpreter: run_python(code, *argv, env={}, ok=True, timeout=...) -> CompletedProcess."""

    def run(code, *argv, env=None, ok=True, timeout=120, prefix=()):
        package = os.path.dirname(os.path.dirname(os.path.abspath(rb.__file__)))
        tests = os.path.dirname(os.path.abspath(__file__))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RB_")}
        environment["PYTHONPATH"] = os.pathsep.join([package, tests, environment.get("PYTHONPATH", "")])
        environment.update(env or {})
        result = subprocess.run(
            [*prefix, sys.executable, "-c", code, *map(str, argv)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if ok:
            assert result.returncode == 0, f"exit status {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    return run
