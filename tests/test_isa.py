"""Every instruction-set level, chosen by RB_ISA in fresh processes, and the other RB_* settings."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import _core

LEVELS = ["ref", "base", "avx2", "avx512"]

# Prints the level, a digest of the first layer after three steps (float64), and the losses.
WORK = """
import sys
import numpy as np, rosenblatt as rb
from rosenblatt import _core, nn, ops
rng = np.random.default_rng(0)
rb.manual_seed(1)
model = nn.Sequential(nn.Conv2d(1, 3, 3, activation="tanh"), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 4))
x, y = rng.standard_normal((6, 8, 8, 1)), rng.integers(0, 4, 6)
for dtype in (np.float64, np.float32):
    rb.manual_seed(1)
    for p, init in zip(model.parameters(), [np.random.default_rng(i).standard_normal(p.shape) * 0.3
                                            for i, p in enumerate(model.parameters())]):
        p.data = init.astype(dtype)
    opt = rb.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(3):
        opt.zero_grad()
        loss = ops.cross_entropy(model(rb.Tensor(x.astype(dtype))), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    print(_core.config()["isa"], *[v.hex() for v in losses])
"""

CHECK = """
import sys
import numpy as np
from test_kernels import KERNELS, cases, verify
from rosenblatt import _core
assert _core.config()["isa"] == sys.argv[1], _core.config()
for name in KERNELS:
    for case in cases(name)[:6]:
        for dtype in KERNELS[name].dtypes:
            verify(name, case, dtype, sys.argv[1])
    assert _core.last_impl().startswith(sys.argv[1]), (name, _core.last_impl())
"""


def losses(output):
    return [[float.fromhex(v) for v in line.split()[1:]] for line in output.splitlines()]


def machine_has(level):
    return LEVELS.index(level) <= LEVELS.index(_core.config()["machine_isa"])


@pytest.mark.parametrize("level", LEVELS)
def test_level(level, run_python):
    if not machine_has(level):
        pytest.skip(f"this machine has {_core.config()['machine_isa']} at most")
    run_python(CHECK, level, env={"RB_ISA": level})
    want = losses(run_python(WORK, env={"RB_ISA": "ref"}).stdout)
    result = run_python(WORK, env={"RB_ISA": level}).stdout
    assert result.startswith(level + " ")
    got = losses(result)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-12)
    np.testing.assert_allclose(got[1], want[1], rtol=3e-6)
    assert run_python(WORK, env={"RB_ISA": level, "RB_THREADS": "3"}).stdout == result


def test_a_machine_without_avx(run_python):
    """The whole package on an emulated Nehalem (SSE4.2): no instruction beyond x86-64-v2 is reached."""
    qemu = shutil.which("qemu-x86_64")
    if qemu is None:
        pytest.skip("qemu-x86_64 (package qemu-user) is not installed")
    code = """
import numpy as np, rosenblatt as rb
from rosenblatt import _core, models, ops
config = _core.config()
assert config["isa"] == config["machine_isa"] == "base", config
a = np.arange(12, dtype=np.float32).reshape(3, 4)
assert np.array_equal(ops.gemm(a, a.T), a @ a.T)
assert np.allclose(ops.softmax(a).sum(1), 1) and ops.sum(a).item() == 66
rb.manual_seed(0)
model = models.build("lenet5")
opt = rb.optim.Adam(model.parameters(), 1e-3)
x, y = np.random.default_rng(0).standard_normal((2, 32, 32, 1)).astype(np.float32), np.array([1, 2])
first = ops.cross_entropy(model(rb.Tensor(x)), y)
first.backward()
opt.step()
print(first.item().hex(), ops.cross_entropy(model(rb.Tensor(x)), y).item() < first.item())
"""
    emulated = run_python(code, prefix=(qemu, "-cpu", "Nehalem"), timeout=280).stdout.split()
    assert emulated[1] == "True"
    assert (
        _core.config()["isa"] == "base"
        or run_python(code.replace('config["machine_isa"] == ', ""), env={"RB_ISA": "base"}).stdout.split() == emulated
    )  # the same bits as the base level here


ASK = "import rosenblatt as rb, numpy as np; from rosenblatt import _core; "


@pytest.mark.quick
def test_threads_setting(run_python):
    assert run_python(ASK + "print(rb.get_num_threads())", env={"RB_THREADS": "3"}).stdout == "3\n"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RB_ISA", "sse9", "ref, base, avx2 or avx512"),
        ("RB_THREADS", "0", "a positive integer"),
        ("RB_THREADS", "two", "a positive integer"),
        ("RB_THREADS", "-1", "a positive integer"),
        ("RB_IMPL", "gemm", "op:implementation"),
        ("RB_IMPL", "gemm:nothing", "op:implementation"),
    ],
)
def test_settings_that_make_no_sense(name, value, expected, run_python):
    """Importing works; the first op and `fit` refuse, naming the variable, what is expected and what was found."""
    code = (
        ASK
        + """
def op():
    rb.ops.gemm(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))
def fit():
    rb.nn.Sequential(rb.nn.ReLU()).fit(np.ones((2, 2), np.float32), [0, 1], epochs=1, progress=False)
for action in (op, fit):
    try:
        action()
    except ValueError as error:
        print(error)
"""
    )
    messages = run_python(code, env={name: value}).stdout.splitlines()
    assert len(messages) == 2
    for message in messages:
        assert message.startswith(f"{name}: expected {expected}") and repr(value) in message


def test_impl_and_trace_settings(run_python):
    code = (
        ASK
        + """
a = np.eye(3, dtype=np.float32)
rb.ops.gemm(a, a)
print(_core.last_impl())
rb.ops.add(a, a)
"""
    )
    result = run_python(code, env={"RB_IMPL": "gemm:ref,add:base:simd", "RB_TRACE": "1"})
    assert result.stdout == "ref:ref\n"
    assert result.stderr.splitlines() == ["rosenblatt: gemm f32 -> ref:ref", "rosenblatt: add f32 -> base:simd"]
    assert run_python(code).stderr == ""
    assert run_python(code, env={"RB_ISA": "base"}).stdout.startswith("base:")


@pytest.mark.quick
def test_show_config():
    text = rb.show_config()
    for word in (
        "cpu features",
        "instruction set",
        "threads",
        "openmp",
        "caches",
        "buffers",
        "op table",
        _core.config()["isa"],
    ):
        assert word in text
