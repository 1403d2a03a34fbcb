"""Order, running sums and rows by index: the parts that the templates of test_ops do not see."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb

ops = rb.ops


@pytest.mark.quick
def test_sort_is_stable_and_puts_nan_last():
    x = np.array([3.0, np.nan, -0.0, 1.0, 0.0, 3.0, np.nan, -np.inf, np.inf, 1.0])
    for dtype in (np.float32, np.float64):
        values, index = ops.sort(x.astype(dtype))
        assert index.tolist() == [7, 2, 4, 3, 9, 0, 5, 8, 1, 6]
        assert index.dtype == np.int64
        assert np.array_equal(values, x[index], equal_nan=True)
        assert np.signbit(values[1]) and not np.signbit(values[2])
        assert ops.argsort(x.astype(dtype), descending=True).tolist() == [8, 0, 5, 3, 9, 2, 4, 7, 1, 6]
        assert ops.topk(x.astype(dtype), 3)[1].tolist() == [8, 0, 5]
        assert ops.topk(x.astype(dtype), 10, largest=False)[1].tolist() == index.tolist()


@pytest.mark.parametrize("n", [1, 48, 49, 255, 5000])
def test_long_sorts_and_topk_agree_with_numpy(n):
    rng = np.random.default_rng(n)
    x = (rng.integers(-n, n, n) / 8).astype(np.float32)
    values, index = ops.sort(x)
    assert np.array_equal(index, np.argsort(x, kind="stable"))
    assert np.array_equal(values, np.sort(x))
    for k in (1, n // 10, n):
        assert np.array_equal(ops.topk(x, k)[1], np.argsort(-x, kind="stable")[:k])


def test_indices_of_sort_carry_the_gradient():
    x = rb.Tensor(np.array([[3.0, 1.0, 2.0]]), requires_grad=True)
    values, _ = ops.topk(x, 2)
    ops.sum(ops.mul(values, np.array([[10.0, 1.0]]))).backward()
    assert x.grad.tolist() == [[10.0, 0.0, 1.0]]


def test_cumprod_gradient_with_zeros_against_differences():
    for x in ([2.0, 0.0, 3.0, 4.0], [0.0, 2.0, 0.0, 5.0], [1.0, 2.0, 3.0, 0.0], [1.5, 2.0, 0.5, 3.0]):
        a = np.array(x)
        g = np.array([1.0, -2.0, 3.0, 0.7])
        t = rb.Tensor(a, requires_grad=True)
        ops.sum(ops.mul(ops.cumprod(t), g)).backward()
        h = 1e-6
        slope = [(g @ np.cumprod(a + h * e) - g @ np.cumprod(a - h * e)) / (2 * h) for e in np.eye(4)]
        assert np.allclose(t.grad.numpy(), slope, atol=1e-8)


def test_embedding_gradient_adds_repeated_rows_in_order_for_any_number_of_threads():
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((50, 33)).astype(np.float32)
    index = rng.integers(0, 50, (64, 20))
    g = rng.standard_normal((64, 20, 33)).astype(np.float32)
    want = np.zeros_like(weight)
    for i, row in zip(index.reshape(-1), g.reshape(-1, 33), strict=True):
        want[i] += row
    for threads in (1, 2, 5):
        rb.set_num_threads(threads)
        w = rb.Tensor(weight, requires_grad=True)
        y = ops.embedding(w, index)
        assert np.array_equal(y.data, weight[index])
        ops.sum(ops.mul(y, g)).backward()
        assert np.array_equal(w.grad.numpy(), want)  # the same order of additions: the same bits


def test_long_running_sums_stay_accurate():
    x = np.full(1_000_000, 0.1, np.float32)
    y = ops.cumsum(x)
    want = np.cumsum(x, dtype=np.float64)
    assert (np.abs(y - want) / want).max() < 5e-6
    back = ops.cumsum(x, reverse=True)
    assert np.allclose(back[::-1], y, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "factor"), [(np.float32, 2.0), (np.float64, 64.0)])
def test_long_running_products_depend_on_no_product_of_a_part(dtype, factor):
    """Runs whose own product overflows or vanishes, behind a zero and behind factors that make up for it."""
    for first, last in ((factor, 1 / factor), (1 / factor, factor)):
        x = np.ones((2, 5000), dtype)
        x[0, :120] = first
        x[:, 512:712] = last
        x[1, 3] = 0.0
        want = np.cumprod(x.astype(np.longdouble), axis=1)
        assert np.array_equal(ops.cumprod(x), want)  # powers of two: exact


def test_sort_orders_numbers_below_the_normal_ones():
    for dtype, tiny in ((np.float32, 1e-40), (np.float64, 1e-310)):
        x = np.array([0.0, tiny, -tiny, -0.0, 2 * tiny, -1.0], dtype)
        values, index = ops.sort(x)
        assert index.tolist() == [5, 2, 0, 3, 1, 4]
        assert np.array_equal(values, x[index])
        assert ops.topk(x, 6)[1].tolist() == [4, 1, 0, 3, 2, 5]


def test_everything_on_tensors_and_arrays():
    x = rb.Tensor(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    assert isinstance(ops.sort(x)[0], rb.Tensor) and isinstance(ops.sort(x.data)[0], np.ndarray)
    assert isinstance(ops.take(x, [1], 1), rb.Tensor) and isinstance(ops.take(x.data, [1], 1), np.ndarray)
    with pytest.raises(TypeError, match="expected integer indices, got dtype bool"):
        ops.take(x, np.array([True, False]))


def test_functions_with_parameters_and_indices_replay_with_the_bits_of_eager_calls():
    """Calls with scalars between arrays inside a fused chain, and indices that change from step to step."""
    rng = np.random.default_rng(4)
    table = rng.standard_normal((40, 256)).astype(np.float32)

    def step(x, index):
        y = ops.clip(ops.leaky_relu(ops.mul(x, 1.5), 0.1), -0.5, 2.0)
        y = ops.where(ops.greater(y, 0.0), ops.gelu(y), ops.softplus(y, 2.0))
        return ops.add(y, ops.take(table, index))

    replayed = rb.capture(step)
    for _ in range(6):
        x = rng.standard_normal((64, 256)).astype(np.float32)
        index = rng.integers(0, 40, 64)
        assert np.array_equal(replayed(x, index), step(x, index))
    assert replayed.replays > 0
    with pytest.raises(ValueError, match="index 40"):
        replayed(x, np.full(64, 40))


@pytest.mark.parametrize("values", [[2.0, 0.0, 3.0, 4.0], [0.0, 0.0, 3.0], [1.5, -2.0, 0.5], [0.0], []])
def test_second_order_gradients_of_products_with_zeros(values):
    """Against the Hessian of sum_i w_i x_0 .. x_i, product by product."""
    n = len(values)
    x = rb.Tensor(np.array(values), requires_grad=True)
    w = np.arange(1.0, n + 1.0)
    (g,) = rb.autograd.grad(ops.sum(ops.mul(ops.cumprod(x), w)), [x], create_graph=True)

    def without(i, *left_out):
        return np.prod([v for j, v in enumerate(values[: i + 1]) if j not in left_out])

    assert np.allclose(g.data, [sum(w[i] * without(i, k) for i in range(k, n)) for k in range(n)])
    for k in range(n):
        want = [sum(w[i] * without(i, k, m) for i in range(max(k, m), n)) if m != k else 0.0 for m in range(n)]
        (row,) = rb.autograd.grad(g[k], [x], retain_graph=True)
        assert np.allclose(row.data, want)
