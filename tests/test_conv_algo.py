"""The `algo=` of convolutions: each name gives the same result by its own way, gradients follow, errors name the op."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import _core, nn, ops


def arrays(x, w, dtype=np.float32, seed=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(x).astype(dtype), rng.standard_normal(w).astype(dtype)


def dense(x, w, pad, groups=1):
    """A convolution of stride 1 tap by tap in float64."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    (k, r, s, cg), (n, h, width, _) = w.shape, x.shape
    wide = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    p, q = h + 2 * pad - r + 1, width + 2 * pad - s + 1
    y = np.zeros((n, p, q, k))
    for g in range(groups):
        mine = slice(g * (k // groups), (g + 1) * (k // groups))
        for i in range(r):
            for j in range(s):
                y[..., mine] += wide[:, i : i + p, j : j + q, g * cg : (g + 1) * cg] @ w[mine, i, j].T
    return y


def error(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


@pytest.mark.parametrize(
    ("algo", "x", "w", "pad", "groups"),
    [
        ("direct", (2, 9, 8, 3), (5, 3, 3, 3), 1, 1),
        ("gemm", (2, 9, 8, 3), (5, 1, 1, 3), 0, 1),
        ("winograd", (2, 9, 8, 16), (16, 3, 3, 16), 1, 1),
        ("winograd4x4", (2, 9, 8, 16), (16, 3, 3, 16), 1, 1),
        ("winograd2x2", (2, 9, 8, 16), (16, 3, 3, 16), 1, 1),
        ("depthwise", (2, 9, 8, 6), (6, 3, 3, 1), 1, 6),
        ("fft", (2, 9, 8, 3), (5, 3, 3, 3), 1, 1),
        ("fft", (2, 30, 41, 20), (20, 7, 7, 1), 3, 20),
        ("fft", (1, 7, 9, 17), (17, 3, 3, 1), 1, 17),  # one channel beyond whole registers
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_name_runs_its_own_way_and_so_do_the_gradients(algo, x, w, pad, groups, dtype):
    x, w = arrays(x, w, dtype)
    y = ops.conv2d(x, w, padding=pad, groups=groups, algo=algo)
    level = _core.config()["isa"]
    ran = _core.last_impl()
    assert level == "ref" or ran.split(":")[1].startswith(algo)
    assert error(y, dense(x, w, pad, groups)) < (2e-6 if dtype == np.float32 else 1e-14)
    for wanted in ("x", "w"):
        tx, tw = rb.tensor(x, requires_grad=wanted == "x"), rb.tensor(w, requires_grad=wanted == "w")
        ops.sum(ops.square(ops.conv2d(tx, tw, padding=pad, groups=groups, algo=algo))).backward()
        plain_x, plain_w = rb.tensor(x, requires_grad=wanted == "x"), rb.tensor(w, requires_grad=wanted == "w")
        ops.sum(ops.square(ops.conv2d(plain_x, plain_w, padding=pad, groups=groups, algo="direct"))).backward()
        got, want = (tx.grad, plain_x.grad) if wanted == "x" else (tw.grad, plain_w.grad)
        assert error(got.numpy(), want.numpy().astype(np.float64)) < (1e-5 if dtype == np.float32 else 1e-13)


SHOW = """
import numpy as np, rosenblatt as rb
from rosenblatt import ops
x = rb.tensor(np.ones((2, 12, 12, 8), np.float32), requires_grad=True)
w = rb.tensor(np.ones((8, 3, 3, 8), np.float32), requires_grad=True)
ops.sum(ops.conv2d(x, w, padding=1, algo={algo!r})).backward()
"""


def traced(result):
    """{op: implementations} of a run under RB_TRACE=1."""
    seen = {}
    for line in result.stderr.splitlines():
        if " -> " in line and "conv2d" in line:
            seen.setdefault(line.split()[1], []).append(line.split("->")[1].split(":")[1].strip())
    return seen


@pytest.mark.parametrize("algo", ["direct", "winograd2x2", "fft"])
def test_trace_names_the_same_way_for_all_three(run_python, algo):
    result = run_python(SHOW.format(algo=algo), env={"RB_TRACE": "1", "RB_ISA": "avx2"})
    assert traced(result) == {"conv2d": [algo], "conv2d_dx": [algo], "conv2d_dw": [algo]}


def test_the_argument_comes_before_the_environment(run_python):
    env = {"RB_TRACE": "1", "RB_ISA": "avx2", "RB_IMPL": "conv2d:winograd4x4,conv2d_dw:winograd4x4"}
    assert traced(run_python(SHOW.format(algo="fft"), env=env))["conv2d"] == ["fft"]
    assert traced(run_python(SHOW.format(algo="auto"), env=env))["conv2d"] == ["winograd4x4"]


def test_gradients_to_which_it_does_not_apply_take_another_way():
    """A kernel as large as its input is one product; its gradients are, too, but for padding they are not."""
    x, w = arrays((2, 4, 4, 3), (5, 4, 4, 3))
    tx = rb.tensor(x, requires_grad=True)
    ops.sum(ops.conv2d(tx, w, algo="gemm")).backward()
    want = np.broadcast_to(w.sum(axis=0), x.shape)
    assert error(tx.grad.numpy(), want.astype(np.float64)) < 1e-6


@pytest.mark.parametrize(
    ("op", "x", "w", "options", "algo"),
    [
        (ops.conv1d, (2, 9, 3), (4, 3, 3), {"stride": 2}, "fft"),
        (ops.conv1d, (2, 9, 8), (8, 3, 8), {}, "winograd"),
        (ops.conv2d, (2, 9, 8, 3), (5, 3, 3, 3), {}, "gemm"),
        (ops.conv2d, (2, 9, 8, 3), (5, 3, 3, 3), {}, "depthwise"),
        (ops.conv2d, (2, 9, 8, 3), (5, 3, 3, 3), {"dilation": 2}, "fft"),
        (ops.conv2d, (2, 9, 8, 16), (16, 3, 3, 16), {"stride": 2}, "winograd"),
        (ops.conv3d, (1, 4, 5, 6, 2), (3, 2, 3, 3, 2), {"stride": 2}, "fft"),
    ],
)
def test_what_does_not_apply_is_refused_by_name(op, x, w, options, algo):
    x, w = arrays(x, w)
    with pytest.raises(ValueError, match=f"^{op.__name__}: algo '{algo}' does not apply to x "):
        op(x, w, algo=algo, **options)
    with pytest.raises(ValueError, match=f"^{op.__name__}: algo must be one of auto, direct"):
        op(x, w, algo="quick", **options)


def test_rows_and_volumes_and_layers():
    x, w = arrays((2, 40, 3), (4, 11, 3))
    near = ops.conv1d(x, w, padding="causal", algo="direct")
    assert error(ops.conv1d(x, w, padding="causal", algo="fft"), near.astype(np.float64)) < 1e-6
    x, w = arrays((2, 4, 9, 8, 3), (5, 2, 3, 3, 3))
    near = ops.conv3d(x, w, padding="same", algo="direct")
    assert error(ops.conv3d(x, w, padding="same", algo="fft"), near.astype(np.float64)) < 1e-6
    for layer, shape in [
        (nn.Conv1d(3, 4, 5, algo="fft"), (2, 20, 3)),
        (nn.Conv2d(3, 4, 5, padding=9, algo="fft"), (2, 11, 12, 3)),  # wider than the kernel takes
        (nn.Conv3d(3, 4, 2, algo="fft"), (2, 5, 6, 7, 3)),
    ]:
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        got = layer(rb.tensor(x)).numpy()
        assert "algo='fft'" in repr(layer)
        layer.algo = "direct"
        assert error(got, layer(rb.tensor(x)).numpy().astype(np.float64)) < 1e-6
    with pytest.raises(ValueError, match="Conv2d: algo must be one of auto, direct"):
        nn.Conv2d(3, 4, 5, algo="fastest")


@pytest.mark.parametrize("algo", ["fft", "direct"])
def test_an_empty_batch(algo):
    x = rb.tensor(np.ones((0, 9, 8, 3), np.float32))
    w = rb.tensor(np.ones((5, 3, 3, 3), np.float32), requires_grad=True)
    y = ops.conv2d(x, w, padding=1, algo=algo)
    assert y.shape == (0, 9, 8, 5)
    ops.sum(y).backward()
    assert not w.grad.numpy().any()


@pytest.mark.parametrize("algo", ["fft", "winograd"])
def test_under_capture(algo):
    layer = nn.Conv2d(8, 8, 3, padding=1, algo=algo)
    start = {k: v.copy() for k, v in layer.state_dict().items()}
    x = np.random.default_rng(2).standard_normal((2, 12, 10, 8)).astype(np.float32)
    results = []
    for captured in (False, True):
        layer.load_state_dict({k: v.copy() for k, v in start.items()})
        optimizer = rb.optim.SGD(layer.parameters(), lr=1e-3)

        def step(x, optimizer=optimizer):
            optimizer.zero_grad()
            loss = ops.mean(ops.square(layer(x)))
            loss.backward()
            optimizer.step()
            return loss

        run = rb.capture(step) if captured else step
        for _ in range(6):
            loss = run(rb.tensor(x))
        results.append((float(loss.numpy()), {k: v.copy() for k, v in layer.state_dict().items()}))
    assert results[0][0] == results[1][0]
    for k, v in results[0][1].items():
        assert np.array_equal(v, results[1][1][k])


FFT_SHAPES = [
    ((1, 64, 64, 16), (16, 31, 31, 16), 15, 1),
    ((2, 56, 56, 24), (24, 31, 31, 1), 15, 24),
    ((1, 200, 150, 1), (1, 31, 31, 1), 15, 1),
    ((4, 27, 27, 32), (48, 5, 5, 32), 2, 1),
]


@pytest.mark.parametrize(("x", "w", "pad", "groups"), FFT_SHAPES)
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_error_of_transforms(x, w, pad, groups, shift):
    """Relative L2 error within 1e-6 in float32 and 1e-14 in float64, on centred and on positive data."""
    for dtype, bound in ((np.float32, 1e-6), (np.float64, 1e-14)):
        a, b = arrays(x, w, dtype)
        a += dtype(shift)
        want = dense(a, b, pad, groups)
        assert error(ops.conv2d(a, b, padding=pad, groups=groups, algo="fft"), want) < bound


@pytest.mark.parametrize(("x", "w", "pad", "groups"), FFT_SHAPES)
def test_large_kernels_are_transformed_and_threads_change_no_bit(x, w, pad, groups):
    a, b = arrays(x, w)
    rb.set_num_threads(1)
    y = ops.conv2d(a, b, padding=pad, groups=groups)
    assert _core.config()["isa"] == "ref" or _core.last_impl().endswith(":fft")
    for threads in (2, 5):
        rb.set_num_threads(threads)
        assert np.array_equal(y, ops.conv2d(a, b, padding=pad, groups=groups))


def test_small_kernels_are_not():
    a, b = arrays((2, 14, 14, 6), (16, 5, 5, 6))
    ops.conv2d(a, b)
    assert not _core.last_impl().endswith(":fft")
