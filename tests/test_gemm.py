"""Matrix products beyond the templates of test_kernels: the orders of summation and the batches of matmul."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference as ref

import rosenblatt as rb
from rosenblatt import _core

pytestmark = pytest.mark.quick

# one shape per road: tiles (packed, direct, packed on the way), vector (row, column), few columns, chunks of K, few k
SHAPES = [
    (40, 50, 60),
    (60, 40, 256),
    (130, 33, 96),
    (1, 203, 700),
    (700, 203, 1),
    (37, 131, 10),
    (3, 90, 200),
    (8, 4100, 9),
    (40, 3, 600),
]


def _layouts(a: Any) -> list[Any]:
    spaced = np.zeros((a.shape[0] * 2, a.shape[1] * 3), a.dtype)
    spaced[::2, ::3] = a
    return [a, np.asfortranarray(a), spaced[::2, ::3], a[::-1].copy()[::-1]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layouts_share_bits(shape: tuple[int, int, int], dtype: Any) -> None:
    m, k, n = shape
    rng = np.random.default_rng(m + n)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    want = rb.ops.gemm(a, b)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    bound = np.finfo(dtype).eps * (np.abs(a).astype(np.float64) @ np.abs(b)) * np.sqrt(k)
    assert (np.abs(want - exact) <= bound + 1e-300).all()
    for x in _layouts(a):
        for y in _layouts(b):
            assert ref.same_bits(rb.ops.gemm(x, y), want), (x.strides, y.strides)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fused_epilogue_is_the_composed_form(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng = np.random.default_rng(n)
    a, b, bias = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (k, n), (n,)))
    for name, f in (("relu", rb.ops.relu), ("tanh", rb.ops.tanh), ("sigmoid", rb.ops.sigmoid)):
        fused, composed = rb.ops.gemm(a, b, bias, activation=name), f(rb.ops.gemm(a, b) + bias)
        if _core.config()["isa"] == "ref":  # rounds once, after the whole epilogue
            np.testing.assert_allclose(fused, composed, rtol=1e-5, atol=1e-5)
        else:
            assert ref.same_bits(fused, composed), name


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4, 5), (2, 1, 5, 6)),
        ((2, 1, 4, 5), (3, 5, 6)),
        ((1, 4, 5), (7, 5, 6)),
        ((7, 4, 5), (1, 5, 1)),
        ((2, 1, 2, 1, 2, 1, 2, 3), (2, 1, 2, 1, 2, 1, 3, 2)),  # more axes than the kernel's views have
        ((0, 4, 5), (1, 5, 6)),
    ],
)
def test_matmul_broadcasts_batches(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-4, 5, left).astype(np.float32), rng.integers(-4, 5, right).astype(np.float32)
    got = rb.ops.matmul(a, b)  # small integers: exact in any order
    assert got.shape == np.matmul(a, b).shape and np.array_equal(got, np.matmul(a, b))
    swapped = rb.ops.matmul(np.swapaxes(a.swapaxes(-1, -2).copy(), -1, -2), b)
    assert np.array_equal(got, swapped)


def test_batch_axes_must_agree() -> None:
    a, c = np.zeros((2, 3, 4, 5), np.float32), np.zeros((2, 3, 4, 6), np.float32)
    with pytest.raises(ValueError, match="gemm"):
        _core.gemm(a, np.zeros((2, 2, 5, 6), np.float32), None, c, 1.0, 0.0, 0)
