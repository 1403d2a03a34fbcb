"""The tape: accumulation, freeing, sharing, no_grad, second order, errors; and `gradcheck` itself."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Tensor, _core, autograd
from rosenblatt.autograd import record

pytestmark = pytest.mark.quick
F32, F64 = np.float32, np.float64


def leaf(value, dtype=F64):
    return Tensor(np.asarray(value, dtype), requires_grad=True)


# --- backward


def test_backward_accumulates_over_uses_and_calls():
    x = leaf([1.0, 2.0])
    y = (x * x + x * 3.0).sum()
    y.backward()
    assert x.grad.tolist() == [5.0, 7.0]
    (x * 2.0).sum().backward()
    assert x.grad.tolist() == [7.0, 9.0]
    x.zero_grad()
    assert x.grad is None


def test_diamonds_visit_each_node_once():
    visits = []

    def rule(g, needs):
        visits.append(1)
        return (g,)

    x = leaf([2.0])
    y = record("probe", x.data * 1.0, rule, (x,), ())
    a, b = y * 3.0, y * y
    ((a + b) * (a - b)).sum().backward()  # 9 y^2 - y^4
    assert x.grad.item() == 18 * 2 - 4 * 8 and len(visits) == 1
    z = leaf([1.0])
    w = z
    for _ in range(60):  # 2^60 paths
        w = w + w
    w.backward()
    assert z.grad.item() == 2.0**60


def test_gradient_given_from_outside():
    x = leaf(np.ones((2, 3)))
    (x * 2.0).backward(np.arange(6).reshape(2, 3))
    assert x.grad.tolist() == [[0, 2, 4], [6, 8, 10]]
    with pytest.raises(ValueError, match=r"backward: a gradient must be given for a tensor of shape \(2, 3\)"):
        (x * 2.0).backward()
    with pytest.raises(ValueError, match=r"backward: expected a gradient of shape \(2, 3\), got \(3, 2\)"):
        (x * 2.0).backward(np.ones((3, 2)))
    with pytest.raises(TypeError, match="backward: expected real numbers"):
        (x * 2.0).backward(np.ones((2, 3), complex))
    assert x.grad.tolist() == [[0, 2, 4], [6, 8, 10]]


def test_backward_on_constants_and_leaves():
    with pytest.raises(RuntimeError, match="backward: this tensor depends on nothing that requires a gradient"):
        Tensor([1.0]).backward()
    x = leaf([1.0])
    x.backward()
    assert x.grad.item() == 1.0


def test_freed_and_retained_graphs():
    x = leaf([3.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12.0
    with pytest.raises(RuntimeError, match=r"the graph of sum was freed by an earlier backward.*retain_graph=True"):
        y.backward()
    assert x.grad.item() == 12.0
    z = (x * x).exp()
    first, second = z.sum(), z.sum()
    first.backward()
    with pytest.raises(RuntimeError, match="graph of exp was freed"):
        second.backward()


def test_grad_never_aliases():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    seed = np.array([1.0, 1.0])
    (x + y).backward(seed)
    x.grad.data[0] = 99.0
    assert y.grad.tolist() == [1.0, 1.0] and seed.tolist() == [1.0, 1.0]
    x, y = leaf(np.ones(4)), leaf(np.ones(4))
    rb.ops.concat([x, y]).backward(np.arange(8))
    x.grad.data[:] = -1
    assert y.grad.tolist() == [4, 5, 6, 7]
    x = leaf(np.ones((2, 3)))
    out = np.ones((3, 2))
    x.T.backward(out)
    x.grad.data[:] = 7
    assert (out == 1).all()
    x = leaf([1.0])
    x.backward(out[:1, 0])
    x.grad.data[:] = 5
    assert (out == 1).all()
    saved = leaf([2.0])
    product = saved * saved
    product.backward(retain_graph=True)
    before = saved.grad
    held = before.data
    product.backward()
    assert held.item() == 4.0 and saved.grad.item() == 8.0  # the earlier gradient is not written to


def test_in_place_changes_of_grad_do_not_reach_the_graph():
    x = leaf([1.0, 2.0])
    y = x.reshape(2)
    y.sum().backward(retain_graph=True)
    x.grad.data[:] = 0
    x.grad = None
    assert rb.grad(y, [x], np.ones(2))[0].tolist() == [1.0, 1.0]


# --- no_grad, detach


def test_no_grad_and_enable_grad():
    x = leaf([1.0])
    assert rb.is_grad_enabled()
    with rb.no_grad():
        assert not rb.is_grad_enabled() and not (x * 2.0).requires_grad
        with rb.enable_grad():
            assert (x * 2.0).requires_grad
        assert not (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad

    @rb.no_grad()
    def frozen(t):
        """doc"""
        return t * 2.0

    assert not frozen(x).requires_grad and frozen.__name__ == "frozen" and rb.is_grad_enabled()
    with pytest.raises(KeyError), rb.no_grad():
        raise KeyError
    assert rb.is_grad_enabled()


def test_no_grad_belongs_to_the_thread():
    seen = []
    with rb.no_grad():
        t = threading.Thread(target=lambda: seen.append(rb.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_detach_cuts():
    x = leaf([3.0])
    d = (x * 2.0).detach()
    assert d.is_leaf and not d.requires_grad
    (x * d).backward()
    assert x.grad.item() == 6.0


# --- grad()


def test_grad_on_leaves_and_inner_tensors():
    x, unused = leaf([2.0]), leaf([[1.0, 1.0]])
    h = x * 3.0
    y = h * h
    gx, gh, gu = rb.grad(y, [x, h, unused], retain_graph=True)
    assert gx.item() == 36.0 and gh.item() == 12.0 and gu.tolist() == [[0.0, 0.0]]
    assert x.grad is None and h.grad is None
    assert rb.grad(y, x, retain_graph=True)[0].item() == 36.0
    assert rb.grad(y, [x], grad_output=[0.5])[0].item() == 18.0
    with pytest.raises(RuntimeError, match="was freed"):
        rb.grad(y, [x])
    with pytest.raises(RuntimeError, match="grad: outputs depend on nothing"):
        rb.grad(Tensor([1.0]), [x])


def test_grad_of_the_output_itself():
    x = leaf([2.0])
    y = x * x
    assert rb.grad(y, [y])[0].item() == 1.0


def test_gradients_that_require_no_grad_are_skipped():
    x, c = leaf([2.0]), Tensor([5.0])
    (x * c).backward()
    assert c.grad is None and x.grad.item() == 5.0


def test_second_and_third_order():
    x = leaf([0.7])
    y = x.tanh()
    (g,) = rb.grad(y, [x], create_graph=True)
    (h,) = rb.grad(g, [x], create_graph=True)
    (k,) = rb.grad(h, [x])
    t = np.tanh(0.7)
    np.testing.assert_allclose(
        [g.item(), h.item(), k.item()], [1 - t**2, -2 * t * (1 - t**2), (1 - t**2) * (6 * t**2 - 2)], rtol=1e-14
    )
    x = leaf([1.5])
    (x**3.0).backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    x.grad = None
    first.backward()
    np.testing.assert_allclose(x.grad.item(), 9.0, rtol=1e-14)


def test_hessian_vector_product():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((5, 5))
    a = a + a.T
    x, v = leaf(rng.standard_normal(5)), rng.standard_normal(5)
    y = (x @ Tensor(a) @ x) * 0.5
    (g,) = rb.grad(y, [x], create_graph=True)
    (hv,) = rb.grad((g * Tensor(v)).sum(), [x])
    np.testing.assert_allclose(hv.data, a @ v, rtol=1e-12)


# --- memory and depth


def test_deep_chains_neither_recurse_nor_leak():
    x = leaf([1.0], F32)
    y = x
    for _ in range(20_000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    y = x
    for _ in range(20_000):
        y = y + 0.0
    inner = weakref.ref(y)
    del y
    gc.collect()
    assert inner() is None


def test_deep_chain_is_freed_with_the_stack_of_a_thread():
    """Dropping 20,000 nodes that were never run backward does not overflow the C stack."""

    def work():
        x = leaf([1.0], F32)
        y = x
        for _ in range(20_000):
            y = y * 1.0
        done.append(y.item())
        del y

    done = []
    previous = threading.stack_size(256 * 1024)
    try:
        t = threading.Thread(target=work)
        t.start()
        t.join()
    finally:
        threading.stack_size(previous)
    assert done == [1.0]


def test_memory_goes_with_the_tensors():
    gc.collect()
    gc.disable()
    try:
        start = _core.pool_stats()["live_bytes"]
        x = leaf(np.ones((256, 256)), F32)
        y = x
        for _ in range(8):
            y = (y * 1.5).tanh()
        loss = y.sum()
        grown = _core.pool_stats()["live_bytes"]
        assert grown - start >= 8 * 256 * 256 * 4
        loss.backward()
        x.grad = None
        del y
        assert _core.pool_stats()["live_bytes"] - start < 2 * 256 * 256 * 4  # backward freed the tape
        del loss
        assert _core.pool_stats()["live_bytes"] - start < 4096
        h = x.exp()
        node = weakref.ref(h)
        (h * h).sum().backward()
        x.grad = None
        del h
        assert node() is None and _core.pool_stats()["live_bytes"] - start < 4096  # no cycles: nothing waits for gc
    finally:
        gc.enable()


def test_training_reuses_memory():
    model = rb.nn.Sequential(rb.nn.Linear(64, 64, activation="tanh"), rb.nn.Linear(64, 10))
    x, y = np.ones((32, 64), F32), np.zeros(32, np.int64)
    opt = rb.optim.SGD(model.parameters(), 0.1)

    def step():
        opt.zero_grad()
        rb.ops.cross_entropy(model(Tensor(x)), y).backward()
        opt.step()

    for _ in range(3):
        step()
    before = _core.pool_stats()
    for _ in range(20):
        step()
    after = _core.pool_stats()
    assert after["fresh"] == before["fresh"] and after["live_bytes"] == before["live_bytes"]


# --- dtypes on the tape


def test_gradients_come_back_in_the_dtype_of_the_input():
    x, y = leaf([1.0, 2.0], F32), leaf([3.0, 4.0], F64)
    for f in (rb.ops.add, rb.ops.mul, rb.ops.div, rb.ops.pow, rb.ops.maximum, rb.ops.sub):
        x.grad = y.grad = None
        f(x, y).sum().backward()
        assert y.grad.dtype == F64
        assert x.grad.dtype == F32, f.__name__
    x.grad = None
    x.astype(F64).sum().backward()
    assert x.grad.dtype == F32


# --- gradcheck


def test_gradcheck_catches_wrong_gradients():
    def wrong(factor):
        def f(x):
            return record("wrong", x.data * x.data, lambda g, needs, s: (g * s * factor,), (x,), (x,))

        return f

    x = np.random.default_rng(0).standard_normal((4, 3))
    assert rb.gradcheck(wrong(2.0), [x]) <= 1.0
    for factor in (1.999, 2.001, -2.0, 0.0, np.nan):
        with pytest.raises(ValueError, match=r"gradcheck: input 0 of shape \(4, 3\): analytic slope"):
            rb.gradcheck(wrong(factor), [x])
    with pytest.raises(ValueError, match="gradcheck: input 1"):
        rb.gradcheck(lambda a, b: a * b.detach() + b * 0.0, [x, x])
    with pytest.raises(RuntimeError):
        rb.gradcheck(lambda a: a.detach(), [x])


def test_rules_with_a_gradient_of_the_wrong_shape_are_found():
    x = leaf(np.ones((2, 3)))
    y = record("bad", x.data * 1.0, lambda g, needs: (g[:1],), (x,), ())
    with pytest.raises((ValueError, RuntimeError)):
        (y * 1.0).sum().backward()
        x.grad.data.reshape(2, 3)


def test_error_inside_a_rule_reaches_the_caller():
    x = leaf([1.0])

    def rule(g, needs):
        raise KeyError("inside")

    y = record("bad", x.data * 1.0, rule, (x,), ())
    with pytest.raises(KeyError, match="inside"):
        y.backward()
    assert rb.is_grad_enabled()
    assert repr(y._node) == "<bad>" and isinstance(y._node, autograd.Node)


def test_threads_have_their_own_tapes():
    x = leaf(np.ones(50), F32)
    results = []

    def work(k):
        total = np.zeros(50)
        for _ in range(50):
            total += rb.grad((x * float(k)).sum(), [x])[0].data
        results.append((k, float(total[0])))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == [(k, 50.0 * k) for k in range(4)] and x.grad is None
