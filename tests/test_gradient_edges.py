"""Gradients where a formula is easily wrong: promoted inputs in the second pass, slopes at zero; nested `no_grad`."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Tensor, autograd

pytestmark = pytest.mark.quick
F32, F64 = np.float32, np.float64


def leaf(value, dtype=F64):
    return Tensor(np.asarray(value, dtype), requires_grad=True)


@pytest.mark.parametrize("op", ["mul", "div", "pow", "matmul", "linear", "conv1d", "conv2d", "conv3d"])
def test_second_order_gradients_through_promoted_inputs(op):
    """float32 next to float64: the converted input is no constant for the second pass."""
    shapes = {"conv1d": ((1, 4, 2), (3, 2, 2)), "conv2d": ((1, 4, 3, 2), (3, 2, 2, 2)),
              "conv3d": ((1, 3, 4, 3, 2), (3, 2, 2, 2, 2)), "matmul": ((3, 2), (2, 4)),
              "linear": ((3, 2), (4, 2))}.get(op, ((3, 2), (3, 2)))  # fmt: skip
    rng = np.random.default_rng(3)
    values = [rng.uniform(0.5, 2.0, shape).astype(F32) for shape in shapes]

    def mixed(dtypes):
        a, b = (leaf(v, d) for v, d in zip(values, dtypes, strict=True))
        y = getattr(rb.ops, op)(a, b)
        first = autograd.grad(rb.ops.sum(rb.ops.square(y)), [a, b], create_graph=True)
        slope = rb.ops.add(*(rb.ops.sum(rb.ops.square(g)) for g in first))
        return autograd.grad(slope, [a, b])

    want = mixed((F64, F64))
    for dtypes in ((F32, F64), (F64, F32)):
        for g, w, dtype in zip(mixed(dtypes), want, dtypes, strict=True):
            assert g.dtype == dtype and np.abs(w.data).max() > 0
            np.testing.assert_allclose(g.data, w.data, rtol=1e-4)


def test_power_has_slopes_at_zero():
    for power, first, second in ((0.0, 0.0, 0.0), (1.0, 1.0, 0.0), (2.0, 0.0, 2.0), (3.0, 0.0, 0.0)):
        x = leaf([0.0])
        (g,) = autograd.grad(rb.ops.pow(x, power), [x], np.ones(1), create_graph=True)
        assert g.data.tolist() == [first]
        (h,) = autograd.grad(g, [x], np.ones(1))
        assert h.data.tolist() == [second]


def test_standard_deviation_of_equal_numbers_has_gradient_zero():
    x = leaf([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
    y = rb.ops.std(x, 1)
    assert y.data[0] == 0.0
    rb.ops.sum(y).backward()
    assert x.grad.data[0].tolist() == [0.0, 0.0, 0.0] and np.allclose(x.grad.data[1], np.array([-1, 0, 1]) / np.sqrt(6))


def test_a_no_grad_object_may_be_entered_again():
    off = rb.no_grad()
    with off:
        with off:
            assert not rb.is_grad_enabled()
        assert not rb.is_grad_enabled()
    assert rb.is_grad_enabled()


def test_clip_between_arrays_and_without_a_bound():
    x = np.array([[-2.0, 0.5, 3.0], [np.nan, 1.0, -1.0]])
    low, high = np.array([-1.0, 0.0, 1.0]), np.array([[1.0], [2.0]])
    np.testing.assert_array_equal(rb.ops.clip(x, low, high), np.clip(x, low, high))
    np.testing.assert_array_equal(rb.ops.clip(x, None, 1.0), np.clip(x, None, 1.0))
    np.testing.assert_array_equal(rb.ops.clip(x, low=0), np.clip(x, 0, None))
    np.testing.assert_array_equal(rb.ops.clip(x), x)
    np.testing.assert_array_equal(rb.ops.clip(x, np.float32(-1), high), np.clip(x, -1, high))
    a, b = leaf([-2.0, 0.5, 3.0]), leaf([-1.0, 0.0, 4.0])
    rb.ops.sum(rb.ops.clip(a, b, 5.0)).backward()
    assert a.grad.data.tolist() == [0.0, 1.0, 0.0] and b.grad.data.tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(TypeError, match="clip"):
        rb.ops.clip(x, "low", 1.0)
