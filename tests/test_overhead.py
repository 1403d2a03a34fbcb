"""What eager ops cost beside their arithmetic, counted in calls (which no busy machine changes), and bench/overhead.py.

The bounds are about a tenth above what the code needs today: a change that adds a call per op to the hot path fails.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Tensor, _core, ops

pytestmark = pytest.mark.quick
F32 = np.float32
BENCH = pathlib.Path(__file__).resolve().parent.parent / "bench" / "overhead.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("overhead", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def calls(function, warm=3):
    """(Python calls, calls of compiled functions, names of the latter) of one run."""
    for _ in range(warm):
        function()
    python, compiled = [], []

    def watch(frame, event, argument):
        if event == "call":
            python.append(frame.f_code.co_qualname)
        elif event == "c_call":
            compiled.append(argument.__qualname__)

    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(None)
    return python, compiled[:-1]  # less setprofile itself


def tiny(*shape):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(F32), requires_grad=True)


@pytest.mark.parametrize(
    "name, bound",
    [("add", 11), ("mul", 12), ("relu", 10), ("linear", 18), ("matmul", 11), ("conv2d", 27), ("softmax", 18),
     ("sum", 15), ("reshape", 9)],
)  # fmt: skip
def test_calls_of_a_forward_op(name, bound):
    x, w, b = tiny(4, 4), tiny(4, 4), tiny(4)
    image, kernel, bias = tiny(1, 4, 4, 1), tiny(1, 3, 3, 1), tiny(1)
    f = {
        "add": lambda: ops.add(x, w), "mul": lambda: ops.mul(x, w), "relu": lambda: ops.relu(x),
        "linear": lambda: ops.linear(x, w, b), "matmul": lambda: ops.matmul(x, w),
        "conv2d": lambda: ops.conv2d(image, kernel, bias, padding=1), "softmax": lambda: ops.softmax(x),
        "sum": lambda: ops.sum(x), "reshape": lambda: ops.reshape(x, (16,)),
    }[name]  # fmt: skip
    python, compiled = calls(f)
    kernels = [c for c in compiled if c not in ("isinstance", "len")]
    assert len(python) + len(kernels) <= bound, (python, kernels)


@pytest.mark.parametrize("case, bound", [("xent 64x10 fwd+bwd", 88), ("xor 2-2-1 step", 275)])
def test_calls_of_a_step(bench, case, bound):
    python, compiled = calls(bench.whole_cases()[case])
    assert len(python) + len([c for c in compiled if c not in ("isinstance", "len")]) <= bound
    # no NumPy arithmetic inside a step: it would be slow here and invisible to a recording
    assert not {"ufunc.reduce", "isfinite", "ndarray.min", "ndarray.max", "ascontiguousarray"} & set(compiled)


def test_labels_out_of_range_are_still_named():
    """The kernel alone looks at the labels; what it says comes in the words of the op."""
    logits = tiny(3, 4)
    for bad in ([0, 4, 1], [0, -1, 1]):
        with pytest.raises(ValueError, match=r"cross_entropy: labels must be in \[0, 4\), got values from"):
            ops.cross_entropy(logits, np.array(bad))


def test_the_caches_of_shapes_do_not_mix_dtypes_or_axes():
    for dtype in (F32, np.float64):
        x = np.arange(6, dtype=dtype).reshape(2, 3)
        for axis in (0, 1, -1, (0, 1), None):
            got = ops.sum(x, axis)
            assert got.dtype == dtype and np.array_equal(got, x.sum(axis))
        assert ops.add(x, np.ones(3, dtype)).dtype == dtype
    with pytest.raises(TypeError, match=r"sum: axis must be an integer, got 1\.0"):
        ops.sum(x, 1.0)  # equal to an axis asked for before
    with pytest.raises(TypeError, match="conv2d: stride must be an integer"):
        ops.conv2d(tiny(1, 4, 4, 1), tiny(1, 3, 3, 1), stride=(1.0, 1))


def test_the_script_runs(bench, tmp_path, capsys):
    before = rb.get_num_threads()
    try:
        assert bench.main(["--rounds", "1", "--number", "8", "--json", str(tmp_path / "o.json")]) == 0
    finally:
        rb.set_num_threads(before)
    out = capsys.readouterr().out
    written = json.loads((tmp_path / "o.json").read_text())
    found = written["microseconds"]
    assert (written["threads"], written["level"]) == (1, _core.config()["isa"]) and written["machine"]["cpu"]
    for name in [*bench.op_cases(), *bench.whole_cases()]:
        assert name in out
    assert len(found) == 2 * len(bench.op_cases()) + len(bench.whole_cases()) and min(found.values()) > 0
    assert bench.main(["--filter", "relu", "--rounds", "1", "--number", "4"]) == 0
    assert "linear" not in capsys.readouterr().out
