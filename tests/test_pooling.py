"""Pooling against PyTorch in one to three dimensions, its layers, unpooling, and trainable subsampling.

The records of optable_pool.py check values and gradients against plain loops; here stand PyTorch's rules for sizes.
"""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Tensor, nn, ops


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def nchw(torch, a):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, -1, 1)))


def nhwc(t):
    return np.moveaxis(t.detach().numpy(), 1, -1)


def drawn(rng, count):
    """A batch with ties, and options of a pool that fit it."""
    x = rng.integers(-4, 5, (2, *rng.integers(5, 12, count), int(rng.choice([1, 3, 8, 19])))).astype(np.float64)
    kernel = tuple(int(k) for k in rng.integers(1, 5, count))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    stride = tuple(int(s) for s in rng.integers(1, 4, count))
    return x, kernel, stride, padding, bool(rng.integers(2))


def agree(torch, ours, theirs, x, rng):
    """Values, input gradients, and indices where there are any."""
    a, b = Tensor(x, requires_grad=True), nchw(torch, x).requires_grad_()
    y, z = ours(a), theirs(b)
    if isinstance(y, tuple):
        assert np.array_equal(y[1], nhwc(z[1]))
        y, z = y[0], z[0]
    assert y.shape == nhwc(z).shape
    np.testing.assert_allclose(y.data, nhwc(z), rtol=1e-12, atol=1e-12)
    g = rng.standard_normal(y.shape)
    y.backward(g)
    z.backward(nchw(torch, g))
    np.testing.assert_allclose(a.grad.data, nhwc(b.grad), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_torch(torch, count):
    rng = np.random.default_rng(count)
    checked = 0
    for _ in range(25):
        x, kernel, stride, padding, ceil_mode = drawn(rng, count)
        dilation = tuple(int(d) for d in rng.integers(1, 3, count))
        include = bool(rng.integers(2))
        size = tuple(int(n) for n in rng.integers(1, 7, count))
        try:
            theirs = getattr(torch.nn, f"MaxPool{count}d")(kernel, stride, padding, dilation, True, ceil_mode)
            theirs(nchw(torch, x))
        except RuntimeError:  # too small
            continue
        checked += 1
        ours = getattr(nn, f"MaxPool{count}d")(kernel, stride, padding, dilation, True, ceil_mode)
        agree(torch, ours, theirs, x, rng)
        one = {"ceil_mode": ceil_mode, "count_include_pad": include}
        agree(torch, getattr(nn, f"AvgPool{count}d")(kernel, stride, padding, **one),
              getattr(torch.nn, f"AvgPool{count}d")(kernel, stride, padding, **one), x, rng)  # fmt: skip
        name = f"AdaptiveAvgPool{count}d"
        agree(torch, getattr(nn, name)(size), getattr(torch.nn, name)(size), x, rng)
        theirs = getattr(torch.nn, f"AdaptiveMaxPool{count}d")(size, return_indices=True)
        ours = getattr(ops, f"adaptive_max_pool{count}d")
        agree(torch, lambda v, f=ours, n=size: f(v, n, return_indices=True), theirs, x, rng)
        whole = np.abs(x) + 0.5
        if count < 3:  # which PyTorch does not have everywhere
            k, s = (kernel, stride) if count > 1 else (kernel[0], stride[0])
            theirs = getattr(torch.nn, f"LPPool{count}d")(2, k, s, ceil_mode)
            agree(torch, getattr(nn, f"LPPool{count}d")(2, kernel, stride, ceil_mode), theirs, whole, rng)
        agree(torch, getattr(nn, f"MinPool{count}d")(kernel, stride, padding, dilation, False, ceil_mode),
              lambda v, k=kernel, s=stride, p=padding, d=dilation, c=ceil_mode: -getattr(
                  torch.nn.functional, f"max_pool{count}d")(-v, k, s, p, d, c), x, rng)  # fmt: skip
    assert checked >= 10


def pooled(count):
    """A batch of odd and one of even sizes, each with the size to unpool to: the odd one's cannot be the default."""
    x = np.random.default_rng(count).standard_normal((2, *(7, 6, 5)[:count], 3))
    even = np.ascontiguousarray(x[(slice(None), *(slice(0, n // 2 * 2) for n in x.shape[1:-1]))])
    return [(x, x.shape[1:-1]), (even, None), (even, even.shape[1:-1])]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_unpooling_as_pytorch(torch, count):
    pool, back = getattr(nn, f"MaxPool{count}d")(2, return_indices=True), getattr(nn, f"MaxUnpool{count}d")(2)
    for x, size in pooled(count):
        y, index = pool(x)
        theirs, at = getattr(torch.nn, f"MaxPool{count}d")(2, return_indices=True)(nchw(torch, x))
        assert np.array_equal(y, nhwc(theirs))
        want = nhwc(getattr(torch.nn, f"MaxUnpool{count}d")(2)(theirs, at, size))
        assert want.shape == x.shape and np.array_equal(back(y, index, size), want)


@pytest.mark.parametrize("size, options", [(5, (2, 3)), (6, (2, 3, 1)), (4, (1, 1)), (5, (3, 4, 1)), (6, (2,))])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_unpooling_finds_the_size_from_stride_and_padding(torch, count, size, options):
    x = np.random.default_rng(size).standard_normal((2, *(size,) * count, 3))
    y, index = getattr(nn, f"MaxPool{count}d")(*options, return_indices=True)(x)
    theirs, at = getattr(torch.nn, f"MaxPool{count}d")(*options, return_indices=True)(nchw(torch, x))
    want = nhwc(getattr(torch.nn, f"MaxUnpool{count}d")(*options)(theirs, at))
    assert want.shape == x.shape and np.array_equal(getattr(nn, f"MaxUnpool{count}d")(*options)(y, index), want)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_unpooling_puts_each_maximum_back(count):
    pool, back = getattr(nn, f"MaxPool{count}d")(2, return_indices=True), getattr(nn, f"MaxUnpool{count}d")(2)
    for x, size in pooled(count):
        y, index = pool(x)
        restored = back(y, index, size)
        assert restored.shape == x.shape and np.array_equal(restored, ops.max_unpool(y, index, x.shape[1:-1]))
        kept = restored != 0
        assert kept.sum() == y.size and np.array_equal(restored[kept], x[kept])
        assert np.array_equal(getattr(ops, f"max_pool{count}d")(np.where(kept, restored, -9.0), 2), y)


@pytest.mark.quick
def test_values_of_one_pixel_add_up():
    x = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1)
    assert ops.max_unpool(x, np.array([2, 0, 2]).reshape(1, 3, 1), 4).ravel().tolist() == [2, 0, 5, 0]


@pytest.mark.quick
def test_infinities_and_nan():
    x = np.full((1, 4, 4, 1), -np.inf)
    y, index = ops.max_pool2d(x, 2, return_indices=True)
    assert np.isneginf(y).all() and index[0, :, :, 0].tolist() == [[0, 2], [8, 10]]
    x[0, 1, 1] = np.nan
    for pool in (ops.max_pool2d, ops.min_pool2d):
        y, index = pool(x, 2, return_indices=True)
        assert np.isnan(y[0, 0, 0, 0]) and index[0, 0, 0, 0] == 5


@pytest.mark.quick
def test_global_pools_are_reductions():
    rng = np.random.default_rng(0)
    for count in (1, 2, 3):
        x = rng.standard_normal((3, *(5, 4, 6)[:count], 7)).astype(np.float32)
        axes = tuple(range(1, count + 1))
        np.testing.assert_allclose(getattr(nn, f"GlobalAvgPool{count}d")()(x), x.mean(axes), rtol=1e-5, atol=1e-6)
        assert np.array_equal(getattr(nn, f"GlobalMaxPool{count}d")()(x), x.max(axes))
        assert getattr(nn, f"GlobalMaxPool{count}d")(keepdims=True)(x).shape == (3, *(1,) * count, 7)


@pytest.mark.quick
def test_trainable_subsampling():
    """sigmoid(coefficient * mean + bias): 2 parameters per map (LeCun 1998; notes B:3.1), gradients of both."""
    layer = nn.Subsampling(6)
    assert sum(p.size for p in layer.parameters()) == 12
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 6))
    layer.coefficient.data, layer.bias.data = np.linspace(0.5, 2.0, 6), np.linspace(-1.0, 1.0, 6)
    means = x.reshape(2, 2, 2, 3, 2, 6).mean((2, 4))
    want = 1 / (1 + np.exp(-(means * layer.coefficient.data + layer.bias.data)))
    np.testing.assert_allclose(layer(x).data, want, rtol=1e-12)

    def function(a, c, b):
        return ops.sigmoid(ops.add(ops.mul(ops.avg_pool2d(a, 2), c), b))

    rb.gradcheck(function, [x, layer.coefficient.data, layer.bias.data])
    plain = nn.Subsampling(6, activation=None)
    np.testing.assert_allclose(plain(x.astype(np.float32)).data, means, rtol=1e-4, atol=1e-5)
    assert nn.Subsampling(16).summary((10, 10, 16)).parameters == 32
    with pytest.raises(ValueError, match="expected x with 6 channels"):
        layer(x[..., :5])


@pytest.mark.quick
def test_layers_describe_themselves_and_refuse():
    assert repr(nn.MaxPool2d(3, 2, 1)) == "MaxPool2d(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))"
    assert repr(nn.AvgPool1d(2, ceil_mode=True)) == "AvgPool1d(kernel_size=(2,), stride=(2,), ceil_mode=True)"
    assert repr(nn.LPPool2d(2, 3)).startswith("LPPool2d(norm_type=2, kernel_size=(3, 3)")
    for build, says in (
        (lambda: nn.MaxPool3d((1, 2)), "MaxPool3d: kernel_size must be an integer or a triple"),
        (lambda: nn.AvgPool2d(2, 0), "AvgPool2d: stride must be at least 1"),
        (lambda: nn.Subsampling(0), "channels must be a positive integer"),
        (lambda: nn.AdaptiveAvgPool2d(0)(np.ones((1, 2, 2, 1))), "output_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=says):
            build()


def test_a_network_of_them_trains_and_replays():
    """Every kind of layer in one network: a captured step gives the bits of the eager one."""
    rb.manual_seed(0)

    def build():
        rb.manual_seed(1)
        return nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(1, 4, 3, padding="same", stride=2), nn.Subsampling(4),
            nn.TiledConv2d(4, 4, 3, tiles=2, padding=1, activation="relu"), nn.Upsample(scale_factor=2),
            nn.ConnectionTableConv2d(4, [(0, 1), (2, 3), (0, 3)], 3), nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            nn.ConvTranspose2d(3, 5, 2, stride=2), nn.LocallyConnected2d(5, 2, 4, 3), nn.LPPool2d(2, 2),
            nn.Flatten(), nn.Linear(2, 3),
        )  # fmt: skip

    x = np.random.default_rng(0).standard_normal((12, 8, 8, 1)).astype(np.float32)
    t = np.arange(12) % 3
    losses = []
    for captured in (False, True):
        model = build()
        optimizer = rb.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

        def step(a, b, model=model, optimizer=optimizer):
            loss = ops.cross_entropy(model(a), b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = rb.capture(step) if captured else step
        losses.append([float(run(x, t).item()) for _ in range(6)])
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]


def test_average_layers_take_ceil_mode_before_count_include_pad():
    """The order of the op, and of the layers people know."""
    x = np.random.default_rng(0).standard_normal((1, 6, 6, 2)).astype(np.float32)
    layer = nn.AvgPool2d(3, 2, 1, True, False)
    want = ops.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)
    assert layer(x).shape == (1, 4, 4, 2)
    np.testing.assert_array_equal(layer(x), want)
