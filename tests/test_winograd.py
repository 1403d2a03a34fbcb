"""Winograd's algorithm from Python: when it runs, its off switch, and its error on data as networks have it."""

from __future__ import annotations

import numpy as np
import pytest

from rosenblatt import _core, ops

# Prints which implementation each of the three operations takes.
SHOW = """
import numpy as np
from rosenblatt import _core, ops
x, w = np.ones((2, 16, 16, 64), np.float32), np.ones((64, 3, 3, 64), np.float32)
geometry = (1, 1, 1, 1, 1, 1, 1)
y = ops.conv2d(x, w, padding=1)
print(_core.last_impl())
ops.conv2d_dx(y, w, x.shape, geometry)
print(_core.last_impl())
ops.conv2d_dw(x, y, w.shape, geometry)
print(_core.last_impl())
"""


@pytest.mark.parametrize(
    ("setting", "name"), [(None, "winograd4x4"), ("", "winograd4x4"), ("1", "winograd4x4"), ("0", "direct")]
)
def test_rb_winograd_switches_it_off(run_python, setting, name):
    out = run_python(SHOW, env={"RB_ISA": "avx2"} | ({} if setting is None else {"RB_WINOGRAD": setting})).stdout
    assert [line.split(":")[1] for line in out.split()] == [name] * 3


def test_off_means_off_even_where_forced(run_python):
    out = run_python(SHOW, env={"RB_WINOGRAD": "0", "RB_IMPL": "conv2d:winograd4x4"}).stdout
    assert "winograd" not in out


def test_other_values_are_refused(run_python):
    result = run_python(SHOW, env={"RB_WINOGRAD": "off"}, ok=False)
    assert result.returncode != 0
    assert "RB_WINOGRAD: expected 0 or 1, got 'off'" in result.stderr


def dense(x, w):
    """The convolution with padding 1 as nine matrix products in float64."""
    _, h, wd, _ = x.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [(r, s) for r in range(3) for s in range(3)]
    return sum(padded[:, r : r + h, s : s + wd] @ w[:, r, s].astype(np.float64).T for r, s in taps)


@pytest.mark.parametrize("name", ["winograd4x4", "winograd2x2"])
@pytest.mark.parametrize("kind", ["normal", "relu", "image"])
def test_error_on_data_of_networks(name, kind):
    """Centred, rectified and smooth positive inputs, 256 channels: relative L2 error within the documented 1e-5."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 13, 14, 256)).astype(np.float32)
    if kind == "relu":
        x = np.maximum(x, 0)
    if kind == "image":
        x = (np.cumsum(x, axis=1) * 0.1 + 5).astype(np.float32)
    w = (rng.standard_normal((40, 3, 3, 256)) * 0.02).astype(np.float32)
    _core.force_impl("conv2d", name)
    try:
        y = ops.conv2d(x, w, padding=1)
        assert _core.last_impl().endswith(name)
    finally:
        _core.force_impl("conv2d", "")
    want = dense(x, w)
    assert np.linalg.norm(y - want) <= 1e-5 * np.linalg.norm(want)


@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [
        ((2, 16, 16, 64), (64, 5, 5, 64), 1),  # not 3x3
        ((2, 16, 16, 64), (64, 3, 3, 64), 2),  # a stride
        ((1, 4, 4, 4), (64, 3, 3, 4), 1),  # too few channels
    ],
)
def test_other_convolutions_do_without(shape, kernel, stride):
    ops.conv2d(np.ones(shape, np.float32), np.ones(kernel, np.float32), stride=stride, padding=1)
    assert _core.last_impl().endswith(":direct")
