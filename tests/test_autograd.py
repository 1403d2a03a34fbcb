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


# --- hooks


def test_hooks_see_the_whole_gradient_once_and_may_replace_it():
    x = leaf([1.0, 2.0])
    h = x * 3.0
    seen = []
    first = h.register_hook(lambda g: seen.append(("h", g.tolist())))
    h.register_hook(lambda g: g * 10.0)
    x.register_hook(lambda g: seen.append(("x", g.tolist())))
    (h * h + h).sum().backward(retain_graph=True)  # d/dh = 2h + 1 in two contributions
    assert seen == [("h", [7.0, 13.0]), ("x", [210.0, 390.0])] and x.grad.tolist() == [210.0, 390.0]
    first.remove()
    first.remove()
    y = (x * 1.0 + x * 1.0).sum()
    y.backward()
    assert seen[2:] == [("x", [2.0, 2.0])] and x.grad.tolist() == [212.0, 392.0]


def test_hooks_with_grad_and_second_order():
    x = leaf([2.0])
    h = x * x
    h.register_hook(lambda g: g * 3.0)
    handle = x.register_hook(lambda g: g * g)  # (3 * 2x * c)^2 with c = 1
    (gh, gx) = rb.grad(h.sum(), [h, x], create_graph=True)
    assert gh.item() == 3.0 and gx.item() == 144.0
    handle.remove()
    (second,) = rb.grad(gx, [x])
    assert second.item() == 144.0  # d/dx 36 x^2 = 72 x


def test_hook_errors_and_lifetime():
    x = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match="register_hook: expected a function of the gradient, got int"):
        x.register_hook(3)
    with pytest.raises(RuntimeError, match="register_hook: this tensor requires no gradient"):
        Tensor([1.0]).register_hook(print)
    h = x.exp()
    h.register_hook(lambda g: np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"hook of the result of exp: expected a gradient of shape \(2,\), got"):
        h.sum().backward()
    assert x.grad is None and rb.is_grad_enabled()
    gc.collect()
    before = len(autograd._hooks)
    del h
    assert len(autograd._hooks) == before - 1
    x.register_hook(lambda g: g.data.astype(F32) * 2)  # arrays and other precisions are taken, too
    (x * 1.0).sum().backward()
    assert x.grad.dtype == F64 and x.grad.tolist() == [2.0, 2.0]


def test_forward_hooks_of_modules():
    inner = rb.nn.Linear(2, 2)
    model = rb.nn.Sequential(inner, rb.nn.ReLU())
    calls = []
    handle = inner.register_forward_hook(lambda m, args, y: calls.append((m, args[0].shape, y.shape)))
    assert model(Tensor(np.ones((3, 2)))).shape == (3, 2) and calls == [(inner, (3, 2), (3, 2))]
    double = inner.register_forward_hook(lambda m, args, y: y * 0.0 + 2.0)
    assert (model(Tensor(np.ones((3, 2)))).data == 2.0).all() and len(calls) == 2
    handle.remove()
    double.remove()
    model(Tensor(np.ones((3, 2))))
    assert len(calls) == 2
    with pytest.raises(TypeError, match="Linear: expected a function of module, args and output, got str"):
        inner.register_forward_hook("no")


def test_gradients_from_hooks_and_functions_share_no_memory():
    class Product(rb.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            return b, a  # right for g = 1

    a, b, own = leaf([2.0]), leaf([3.0]), np.array([7.0])
    Product.apply(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (3.0, 2.0)
    a.grad.data[:] = 0
    b.grad.data[:] = 0
    assert (a.item(), b.item()) == (2.0, 3.0)
    a.grad = None
    a.register_hook(lambda g: own)
    (a * 2.0).backward()
    a.grad.data[:] = 0
    assert own.item() == 7.0


# --- stop_gradient, custom functions


def test_stop_gradient():
    x = leaf([3.0])
    (x * rb.stop_gradient(x * x)).backward()
    assert x.grad.item() == 9.0
    a = np.ones(2)
    assert rb.stop_gradient(a) is a


class Cube(rb.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x.data**3 * scale  # NumPy inside: the tape does not see it

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x * x * (3.0 * ctx.scale), None


class ExpAndSum(rb.Function):
    """Two results, one of them saved."""

    @staticmethod
    def forward(ctx, a, b):
        e = a.exp()
        ctx.save_for_backward(e, None)
        return e, a + b

    @staticmethod
    def backward(ctx, ge, gs):
        e, nothing = ctx.saved_tensors
        assert nothing is None
        return ge * e + gs, gs


def test_custom_function():
    x = leaf([2.0, -1.0])
    y = Cube.apply(x, 2.0)
    assert y.tolist() == [16.0, -2.0] and repr(y._node) == "<Cube>"
    y.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [24.0, 6.0]
    rb.gradcheck(lambda t: Cube.apply(t, 0.5), [np.array([0.3, -1.2, 2.0])])
    rb.gradcheck(lambda t: rb.grad(Cube.apply(t, 0.5).sum(), [t], create_graph=True)[0], [np.array([0.3, -1.2])])
    assert Cube.apply(Tensor(x.data), 1.0).requires_grad is False
    with rb.no_grad():
        assert Cube.apply(x, 1.0)._node is None


def test_custom_function_with_several_results():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((2, 1))
    e, s = ExpAndSum.apply(leaf(a), leaf(b + np.zeros((2, 3))))
    np.testing.assert_allclose(e.data, np.exp(a), rtol=1e-14)
    assert s.shape == (2, 3)

    def both(p, q):
        e, s = ExpAndSum.apply(p, q)
        return e * s

    b = b + np.zeros((2, 3))
    rb.gradcheck(both, [a, b])
    rb.gradcheck(lambda p, q: ExpAndSum.apply(p, q)[0], [a, b])  # one result unused
    rb.gradcheck(lambda p, q: rb.grad(both(p, q).sum(), [p], create_graph=True)[0], [a, b])


def test_custom_function_errors_name_the_class():
    def function(answer, result=lambda x: x * 2.0):
        class Bad(rb.Function):
            @staticmethod
            def forward(ctx, x):
                return result(x)

            @staticmethod
            def backward(ctx, g):
                return answer(g)

        return Bad

    x = leaf([1.0, 2.0])
    for answer, kind, says in [
        (lambda g: (g, g), ValueError, r"Bad\.backward: expected 1 gradients, one per argument of forward, got 2"),
        (lambda g: g.sum(), ValueError, r"Bad\.backward: gradient 0 must have shape \(2,\) like the argument"),
        (lambda g: "no", TypeError, r"Bad\.backward: gradient 0 must be a tensor or None, got str"),
    ]:
        with pytest.raises(kind, match=says):
            function(answer).apply(x).sum().backward()
    with pytest.raises(TypeError, match=r"Bad\.forward: expected a tensor, an array or a tuple of them, got str"):
        function(None, lambda x: "text").apply(x)
    with pytest.raises(TypeError, match=r"Bad\.forward: expected results of one dtype, got float64, float32"):
        function(None, lambda x: (x, x.astype(F32))).apply(x)
    with pytest.raises(TypeError, match="Function: forward is not defined"):
        rb.Function.apply(x)
    x.grad = None
    function(lambda g: None).apply(x).sum().backward()
    assert x.grad is None


def test_custom_function_frees_what_it_saved():
    gc.disable()
    try:
        x = leaf(np.ones(4))
        y = ExpAndSum.apply(x, x)[0]
        inner = weakref.ref(y)
        y.sum().backward()
        del y
        assert inner() is None
    finally:
        gc.enable()
    y = Cube.apply(x, 1.0)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="was freed"):
        y.sum().backward()


# --- checkpointing


def bits(t):
    return t.data.tobytes()


def network():
    rb.manual_seed(3)
    return rb.nn.Sequential(
        rb.nn.Linear(6, 8, activation="tanh"), rb.nn.Dropout(0.4), rb.nn.Linear(8, 8, activation="relu"),
        rb.nn.Dropout(0.3), rb.nn.Linear(8, 4),
    )  # fmt: skip


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("x_wants", [False, True])
def test_checkpoint_gives_the_same_bits_with_dropout(nested, x_wants):
    data = np.random.default_rng(1).standard_normal((5, 6)).astype(F32)

    def run(wrapped):
        model, x = network(), Tensor(data, requires_grad=x_wants)
        rb.manual_seed(7)
        layers = list(model)

        def tail(h):
            return layers[4](layers[3](layers[2](h)))

        def body(h):
            h = layers[1](layers[0](h))
            return rb.checkpoint(tail, h) if nested and wrapped else tail(h)

        y = rb.checkpoint(body, x) if wrapped else body(x)
        after = rb.ops.uniform(3)  # the stream goes on as if nothing had happened
        (y * y).sum().backward()
        return [bits(y), after.tobytes(), *[bits(p.grad) for p in model.parameters()],
                bits(x.grad) if x_wants else x.grad, rb.ops.uniform(3).tobytes()]  # fmt: skip

    assert run(True) == run(False)


def test_checkpoint_keeps_nothing_and_runs_again():
    runs = []
    x = leaf(np.ones((64, 64)), F32)

    def body(t):
        runs.append(1)
        for _ in range(10):
            t = (t * 1.01).tanh()
        return t

    gc.collect()
    start = _core.pool_stats()["live_bytes"]
    y = rb.checkpoint(body, x)
    assert _core.pool_stats()["live_bytes"] - start < 3 * 64 * 64 * 4 and len(runs) == 1
    y.sum().backward(retain_graph=True)
    once = bits(x.grad)
    assert len(runs) == 2
    x.grad = None
    y.sum().backward()
    assert len(runs) == 3 and bits(x.grad) == once


def test_checkpoint_results_constants_and_second_order():
    c = Tensor([1.0, 2.0])
    y = rb.checkpoint(lambda t: t * 2.0, c)
    assert not y.requires_grad and y.tolist() == [2.0, 4.0]
    with rb.no_grad():
        assert not rb.checkpoint(lambda t: t * 2.0, leaf([1.0])).requires_grad
    w = leaf([3.0, 4.0])
    y = rb.checkpoint(lambda t: t * w, c)  # reached through the closure alone
    y.sum().backward()
    assert w.grad.tolist() == [1.0, 2.0] and c.grad is None
    h = w * 2.0
    y = rb.checkpoint(lambda t: t * h, c)  # an inner tensor of the graph outside
    assert rb.grad(y.sum(), [h, w])[1].tolist() == [2.0, 4.0]
    two = rb.checkpoint(lambda t: (t.exp(), (t * t).sum()), w)
    assert isinstance(two, tuple) and two[1].shape == ()
    got = rb.grad(two[0].sum() * two[1], [w])[0]
    np.testing.assert_allclose(got.data, np.exp(w.data) * 25 + np.exp(w.data).sum() * 2 * w.data, rtol=1e-13)
    a = np.array([0.3, -0.4])

    def slope(t):
        return rb.grad(rb.checkpoint(lambda s: (s * s).tanh() * s, t).sum(), [t], create_graph=True)[0]

    rb.gradcheck(slope, [a])


def test_checkpoint_notices_changes():
    w, x = leaf([3.0]), leaf([2.0])
    y = rb.checkpoint(lambda t: t * w, x)
    w.data = w.data * 2.0
    with pytest.raises(RuntimeError, match=r"a tensor of shape \(1,\) that checkpoint saved was written"):
        y.backward()
    y = rb.checkpoint(lambda t: t * w, x)
    x.data -= 1.0
    with pytest.raises(RuntimeError, match="that checkpoint saved was written"):
        y.backward()
    constant = Tensor([2.0])
    y = rb.checkpoint(lambda t: t.exp() * w, constant)  # no node of the second run has seen `constant`
    constant.data = [3.0]
    with pytest.raises(RuntimeError, match="that checkpoint saved was written"):
        y.backward()
    sizes = iter([(1,), (1, 1)])
    y = rb.checkpoint(lambda t: t.reshape(next(sizes)), x)
    with pytest.raises(RuntimeError, match=r"checkpoint: expected the second run to give a tensor of shape \(1,\)"):
        y.backward()
    with pytest.raises(TypeError, match="checkpoint: expected a tensor, an array or a tuple of them, got str"):
        rb.checkpoint(lambda t: "text", x)


# --- writes between forward and backward


def test_writing_to_a_saved_tensor_is_noticed():
    def graph():
        w = rb.nn.Linear(3, 2)
        x = leaf(np.ones((4, 3)), F32)
        return w, x, w(x).sum()

    def assign(w, x):
        x.data = x.data * 2.0

    def subtract(w, x):
        w.weight.data -= 0.1

    def load(w, x):
        w.load_state_dict({"weight": np.ones((2, 3)), "bias": np.ones(2)})

    def step(w, x):
        w.weight.grad = Tensor(np.ones((2, 3), F32))
        rb.optim.SGD(w.parameters(), 0.1).step()

    def told(w, x):
        x.data[0] = 5.0
        rb.mark_written([x])

    for change in (assign, subtract, load, step, told):
        w, x, y = graph()
        change(w, x)  # between forward and backward
        with pytest.raises(RuntimeError, match="that linear saved was written after the forward pass"):
            y.backward()
        assert w.bias.grad is None, change.__name__
        w, x, y = graph()
        y.backward()
        change(w, x)  # afterwards: the usual loop
        w(x).sum().backward()


def test_assigned_data_follow_the_dtype_rule():
    t = Tensor([1.0])
    t.data = [1, 2]
    assert t.dtype == F32 and t.shape == (2,)
    with pytest.raises(TypeError, match=r"Tensor\.data: expected real numbers"):
        t.data = ["a"]


# --- detect_anomaly


def test_detect_anomaly_names_the_op_and_the_line():
    x = leaf([0.0, 1.0])
    with np.errstate(all="ignore"), rb.detect_anomaly():
        y = x.sqrt() * 2.0  # the slope of sqrt is infinite at 0
        with pytest.raises(RuntimeError, match=r"gradient of sqrt, called at .*test_autograd\.py:\d+ in test_detect"
                                               r".*y = x\.sqrt\(\).* became infinite with respect to input 0"):
            y.sum().backward()
        y = x * 2.0
        with pytest.raises(RuntimeError, match=r"the gradient flowing into mul, called at .* is not finite"):
            y.backward([np.nan, 1.0])
    assert x.grad is None
    y = x.sqrt().sum()
    y.backward()  # outside: silent
    assert np.isinf(x.grad.data[0])


def test_detect_anomaly_finds_numpy_writes():
    for victim in ("input", "output"):
        x = leaf([0.5, 1.0])
        with rb.detect_anomaly():
            h = x * x if victim == "input" else x.exp()
            (x.data if victim == "input" else h.data)[0] = 9.0
            with pytest.raises(RuntimeError, match=r"saved by (mul|exp), called at .* was changed in place"):
                h.sum().backward()
    with rb.detect_anomaly():
        y = rb.checkpoint(lambda t: t.exp() * t, x).sum()
        y.backward()
    assert not autograd._anomaly.made
