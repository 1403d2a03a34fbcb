"""The native side of the tape: what it makes of unusual things that Python hands it."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import _core, autograd, ops


class Forgetful(rb.Tensor):
    """A tensor whose __init__ does not call that of `Tensor`."""

    def __init__(self, data):
        self.requires_grad = True


def leaf(*shape):
    return rb.Tensor(np.ones(shape, np.float32), requires_grad=True)


@pytest.mark.parametrize("use", [
    lambda t: ops.relu(t), lambda t: t + 1.0, lambda t: 2.0 * t, lambda t: ops.add(leaf(3), t),
    lambda t: ops.where(t, 1.0, 0.0), lambda t: ops.gemm(leaf(3, 3), t),
], ids=["operand", "left", "right", "second", "operands", "gemm"])  # fmt: skip
def test_a_tensor_without_an_array_is_an_error(use):
    with pytest.raises(RuntimeError, match=r"a tensor without an array: Tensor\.__init__ was not called"):
        use(Forgetful(np.ones((3, 3), np.float32)))


def test_a_gradient_without_an_array_is_an_error():
    x = leaf(3)
    y = autograd.record("odd", x.data * 2, lambda g, needs: (Forgetful(g),), (x,), ())
    with pytest.raises(RuntimeError, match="a tensor without an array"):
        y.backward(np.ones(3, np.float32))
    assert x.grad is None


def test_an_error_while_hooks_are_looked_up_reaches_the_caller():
    """An interrupt may arrive in any Python function that the pass calls."""
    x, y = leaf(3), leaf(3)
    x.register_hook(lambda g: None)

    def interrupted(tensor):
        raise KeyboardInterrupt

    _core.tape_use({"hooked": interrupted})
    try:
        with pytest.raises(KeyboardInterrupt):
            ops.sum(x * y).backward()
    finally:
        _core.tape_use({"hooked": autograd._hooks.__contains__})
    ops.sum(x * y).backward()
    np.testing.assert_array_equal(x.grad.data, np.ones(3))


@pytest.mark.parametrize("yes", [1, np.True_, "yes"], ids=["int", "numpy", "text"])
def test_flags_of_backward_may_be_anything_true(yes):
    x = leaf(3)
    (slope,) = rb.grad(ops.sum(x * x * x), x, create_graph=yes)
    assert slope.requires_grad
    (bend,) = rb.grad(ops.sum(slope), x)
    np.testing.assert_array_equal(bend.data, np.full(3, 6.0))
    z = ops.sum(x * x)
    z.backward(retain_graph=yes)
    z.backward()
    np.testing.assert_array_equal(x.grad.data, np.full(3, 4.0))


def test_gradients_of_a_taped_pass_share_no_memory():
    x, y = leaf(3), leaf(3)
    ops.sum(ops.square(ops.add(x, y))).backward(create_graph=True)
    assert x.grad is not y.grad
    (bend,) = rb.grad(ops.sum(x.grad), y, retain_graph=True)  # both are part of the graph, the copy too
    np.testing.assert_array_equal(bend.data, np.full(3, 2.0))
    (bend,) = rb.grad(ops.sum(y.grad), y)
    np.testing.assert_array_equal(bend.data, np.full(3, 2.0))
    x.grad.data[...] = 7.0
    np.testing.assert_array_equal(y.grad.data, np.full(3, 4.0))


@pytest.mark.parametrize("create", [False, True], ids=["plain", "taped"])
def test_a_result_written_in_place_cannot_give_its_gradient(create):
    """tanh's rule reads its result."""
    x = leaf(3)
    y = ops.tanh(x)
    y.data -= 1.0
    for root in (ops.sum(y), ops.sum(ops.square(y))):
        with pytest.raises(RuntimeError, match="that tanh saved was written after the forward pass"):
            root.backward(create_graph=create, retain_graph=True)
    with pytest.raises(RuntimeError, match="that tanh saved was written"):
        y.backward(np.ones(3))
    y = ops.tanh(x)
    y.data = y.data - 1.0  # another array: the rule's own is as it was
    (slope,) = rb.grad(ops.sum(y), x)
    np.testing.assert_allclose(slope.data, 1 - np.tanh(np.ones(3)) ** 2, rtol=1e-6)


def test_flags_that_have_no_truth_are_an_error():
    x = leaf(3)
    z = ops.sum(x * x)
    with pytest.raises(ValueError, match="truth value"):
        z.backward(create_graph=np.ones(2))
