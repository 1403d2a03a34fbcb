"""Convolutions: the laws of algebra, other libraries, printed examples, and gradients of combinations drawn at random.

Values and gradients of every option are checked by the records of optable_conv.py; here stands what connects them.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from reference_conv import convolve

import rosenblatt as rb
from rosenblatt import Tensor, nn, ops

F64 = np.float64
CONV = {1: ops.conv1d, 2: ops.conv2d, 3: ops.conv3d}
TRANSPOSED = {1: ops.conv_transpose1d, 2: ops.conv_transpose2d, 3: ops.conv_transpose3d}


def near(a, b, tolerance=1e-12):
    scale = max(1.0, float(np.abs(b).max(initial=0)))
    assert np.shape(a) == np.shape(b)
    assert np.abs(np.asarray(a) - b).max(initial=0) <= tolerance * scale


def signals(rng, count, *shapes):
    """Arrays [1, .., 1] and kernels [1, .., 1] of the given sizes."""
    return [rng.standard_normal((1, *s, 1)) for s in shapes]


# --- laws


@pytest.mark.quick
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shift(count):
    """A moved input gives the moved output, under circular convolution exactly."""
    rng = np.random.default_rng(count)
    x, w = rng.standard_normal((2, *(6, 5, 7)[:count], 2)), rng.standard_normal((3, *(3, 2, 3)[:count], 2))
    axes, by = tuple(range(1, count + 1)), (2, 3, 4)[:count]
    y = ops.circular_conv(x, w)
    assert y.shape == (*x.shape[:-1], 3)
    near(ops.circular_conv(np.roll(x, by, axes), w), np.roll(y, by, axes))


@pytest.mark.quick
@pytest.mark.parametrize("count", [1, 2, 3])
def test_commutative_associative_distributive(count):
    rng = np.random.default_rng(count)
    a, b, c, d = signals(rng, count, *((6, 5, 4)[:count], (3, 4, 2)[:count], (2, 2, 3)[:count], (3, 4, 2)[:count]))

    def star(x, w):
        return CONV[count](x, w, padding="full", flip=True)

    near(star(a, b), star(b, a))
    near(star(star(a, b), c), star(a, star(b, c)))
    near(star(a, b + d), star(a, b) + star(a, d))
    near(star(2.5 * a, b), 2.5 * star(a, b))


@pytest.mark.quick
@pytest.mark.parametrize("count", [1, 2])
def test_cascade(count):
    """Two layers without activation are one, whose kernel is the convolution of the two (channels summed)."""
    rng = np.random.default_rng(count)
    x = rng.standard_normal((2, *(9, 8)[:count], 2))
    w1, w2 = rng.standard_normal((3, *(3, 2)[:count], 2)), rng.standard_normal((4, *(2, 3)[:count], 3))
    both = CONV[count](CONV[count](x, w1, flip=True), w2, flip=True)
    # kernel [4, .., 2]: over the middle channels, w2 as a batch of images [4, .., 3] and w1 turned to [2, .., 3]
    middle = np.ascontiguousarray(np.moveaxis(w1, 0, -1))
    kernel = CONV[count](w2, np.moveaxis(middle, -2, 0), padding="full", flip=True)
    near(both, CONV[count](x, kernel, flip=True))


@pytest.mark.quick
@pytest.mark.parametrize("count", [1, 2, 3])
def test_correlation_is_the_adjoint_of_convolution(count):
    """<x * w, y> = <x, y correlated with w>, with the conjugate kernel for complex numbers."""
    rng = np.random.default_rng(count)

    def draw(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    x, w = draw(1, *(6, 5, 4)[:count], 1), draw(1, *(3, 2, 2)[:count], 1)
    conv = {1: ops.complex_conv1d, 2: ops.complex_conv2d, 3: ops.complex_conv3d}[count]
    whole = conv(x, w, padding="full", flip=True)
    y = draw(*whole.shape)
    back = conv(y, w, conjugate=True)  # correlation, valid
    assert abs(np.vdot(y, whole) - np.vdot(back, x)) < 1e-10
    real = ops.complex_conv1d(np.ones((1, 2, 1)), np.array([1 + 2j, 3j]).reshape(1, 2, 1))
    assert real.dtype == np.complex64 or real.dtype == np.complex128
    assert real.ravel()[0] == 1 + 5j


@pytest.mark.quick
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("stride,dilation,groups", [(1, 1, 1), (2, 1, 2), (1, 2, 1), (3, 2, 2)])
def test_transposed_is_the_adjoint_of_convolution(count, stride, dilation, groups):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((2, *(9, 8, 7)[:count], 2 * groups))
    w = rng.standard_normal((4, *(3, 2, 2)[:count], 2))
    options = {"stride": stride, "padding": 1, "dilation": dilation, "groups": groups}
    y = CONV[count](x, w, **options)
    g = rng.standard_normal(y.shape)
    rest = tuple(
        (n + 2 - dilation * (k - 1) - 1) % stride for n, k in zip(x.shape[1:-1], w.shape[1:-1], strict=True)
    )
    back = TRANSPOSED[count](g, w, output_padding=rest, **options)
    assert back.shape == x.shape
    assert abs((y * g).sum() - (x * back).sum()) < 1e-9


@pytest.mark.quick
@pytest.mark.parametrize("count", [1, 2, 3])
def test_convolution_theorem(count):
    """Circular convolution is a product of spectra (NumPy's FFT)."""
    rng = np.random.default_rng(count)
    size = (8, 5, 6)[:count]
    x, w = rng.standard_normal((1, *size, 1)), rng.standard_normal((1, *(3, 5, 2)[:count], 1))
    axes = tuple(range(count))
    spectrum = np.fft.fftn(x[0, ..., 0], axes=axes) * np.fft.fftn(w[0, ..., 0], size, axes=axes)
    near(ops.circular_conv(x, w)[0, ..., 0], np.fft.ifftn(spectrum, axes=axes).real)


@pytest.mark.quick
@pytest.mark.parametrize("padding", ["valid", "same", "full", ((2, 0), (1, 3))])
@pytest.mark.parametrize("stride,dilation", [(1, 1), (2, 1), (1, 2), ((2, 3), (1, 2))])
def test_dense_matrix(padding, stride, dilation):
    """The matrix of the layer, column by column from unit images, multiplies; its transpose is the gradient."""
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((1, 5, 6, 2)), rng.standard_normal((3, 3, 2, 2))
    options = {"padding": padding, "stride": stride, "dilation": dilation}
    columns = [convolve(u.reshape(x.shape), w, **options)[0].ravel() for u in np.eye(x.size)]
    matrix = np.stack(columns, 1)
    t = Tensor(x, requires_grad=True)
    y = ops.conv2d(t, w, **options)
    near(y.data.ravel(), matrix @ x.ravel())
    g = rng.standard_normal(y.shape)
    y.backward(g)
    near(t.grad.data.ravel(), matrix.T @ g.ravel())


@pytest.mark.quick
def test_patch_of_the_whole_image_is_a_dense_layer():
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((3, 4, 5, 2)), rng.standard_normal((7, 4, 5, 2)), rng.standard_normal(7)
    near(ops.conv2d(x, w, b)[:, 0, 0], ops.linear(x.reshape(3, -1), w.reshape(7, -1), b))


@pytest.mark.quick
def test_one_tile_is_convolution_and_as_many_as_outputs_is_unshared():
    """A:2.H: the three layers are one family; equal kernels everywhere make the unshared layer an ordinary one."""
    rng = np.random.default_rng(1)
    x, w, b = rng.standard_normal((2, 7, 6, 3)), rng.standard_normal((4, 3, 2, 3)), rng.standard_normal(4)
    y = ops.conv2d(x, w, b, padding="same")
    near(ops.tiled_conv2d(x, w[None, None], b[None, None], padding="same"), y, 1e-12)
    each = np.broadcast_to(w, (7, 6, *w.shape))
    near(ops.locally_connected2d(x, each, b, padding="same"), y, 1e-12)
    near(ops.tiled_conv2d(x, each, b, padding="same"), y, 1e-12)
    own = rng.standard_normal((7, 6, 4, 3, 2, 3))
    near(ops.tiled_conv2d(x, own, padding="same"), ops.locally_connected2d(x, own, padding="same"), 0)


@pytest.mark.quick
def test_full_connection_table_is_convolution():
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((4, 3, 3, 3))
    links = np.ascontiguousarray(w.transpose(0, 3, 1, 2).reshape(12, 3, 3))
    near(ops.connection_conv2d(x, links, [(0, 1, 2)] * 4), ops.conv2d(x, w), 0)


# --- other libraries


@pytest.mark.quick
@pytest.mark.parametrize(
    "mode,boundary,ours",
    [("valid", "fill", "zeros")]  # which reads no border
    + [(m, *b) for m in ("full", "same") for b in (("fill", "zeros"), ("wrap", "circular"), ("symm", "symmetric"))],
)
def test_scipy_convolve2d(mode, boundary, ours):
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((7, 8)), rng.standard_normal((3, 5))
    for flip, function in ((True, signal.convolve2d), (False, signal.correlate2d)):
        want = function(x, w, mode=mode, boundary=boundary)
        got = ops.conv2d(x[None, :, :, None], w[None, :, :, None], padding=mode, padding_mode=ours, flip=flip)
        near(got[0, :, :, 0], want)


@pytest.mark.quick
def test_scipy_and_numpy_rows():
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal(11), rng.standard_normal(4)
    row, kernel = x[None, :, None], w[None, :, None]
    near(ops.conv1d(row, kernel, padding="full", flip=True).ravel(), np.convolve(x, w))
    near(ops.conv1d(row, kernel, padding="full").ravel(), np.correlate(x, w, "full"))
    near(ops.conv1d(row, kernel, padding="causal", flip=True).ravel(), signal.lfilter(w, 1.0, x))  # FIR filtering
    z, v = x + 1j * x[::-1], w - 2j * w
    got = ops.complex_conv1d(z[None, :, None], v[None, :, None], padding="full", flip=True)
    near(got.ravel(), np.convolve(z, v))
    got = ops.complex_conv1d(z[None, :, None], v[None, :, None], padding="full", conjugate=True)
    near(got.ravel(), signal.correlate(z, v))
    volume, cube = rng.standard_normal((4, 5, 6)), rng.standard_normal((2, 3, 2))
    got = ops.conv3d(volume[None, ..., None], cube[None, ..., None], padding="full", flip=True)
    near(got[0, ..., 0], signal.convolve(volume, cube, method="direct"))


@pytest.mark.quick
def test_same_padding_is_tensorflows():
    """ceil(n/s) outputs and the odd cell behind, for any parity of kernel and size (TensorFlow's guide on padding)."""
    for n, k, s, d in itertools.product(range(1, 9), range(1, 6), range(1, 4), range(1, 3)):
        y = ops.conv1d(np.ones((1, n, 1)), np.ones((1, k, 1)), stride=s, dilation=d, padding="same")
        assert y.shape == (1, -(-n // s), 1)
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        at = np.arange(d * (k - 1) + 1)[::d] - total // 2
        assert y[0, 0, 0] == ((at >= 0) & (at < n)).sum()


# --- printed examples (notes A, B, C)

X3 = np.arange(9.0).reshape(1, 3, 3, 1)
K2 = np.arange(4.0).reshape(1, 2, 2, 1)


@pytest.mark.quick
def test_b_w7_and_w20_sizes():
    assert ops.conv2d(np.ones((1, 8, 8, 1)), np.ones((1, 3, 3, 1))).shape == (1, 6, 6, 1)
    assert ops.conv2d(np.ones((1, 6, 6, 3)), np.ones((2, 3, 3, 3))).shape == (1, 4, 4, 2)


@pytest.mark.quick
def test_b_w8_edge_detector():
    x = np.repeat([10.0, 0.0], 3)[None, None, :, None] * np.ones((1, 6, 1, 1))
    w = np.tile([1.0, 0.0, -1.0], (3, 1))[None, :, :, None]
    assert ops.conv2d(x, w)[0, :, :, 0].tolist() == [[0, 30, 30, 0]] * 4
    assert ops.conv2d(x, w, flip=True)[0, :, :, 0].tolist() == [[0, -30, -30, 0]] * 4


@pytest.mark.quick
def test_b_w9_a_n10_padding():
    assert ops.conv2d(X3, K2, padding=1)[0, :, :, 0].tolist() == [
        [0, 3, 8, 4], [9, 19, 25, 10], [21, 37, 43, 16], [6, 7, 8, 0]
    ]  # fmt: skip
    assert ops.conv2d(X3, K2, padding="full")[0, :, :, 0].tolist() == ops.conv2d(X3, K2, padding=1)[0, :, :, 0].tolist()
    assert ops.conv2d(X3, K2, padding=1, flip=True)[0, :, :, 0].tolist() == [
        [0, 0, 1, 2], [0, 5, 11, 11], [6, 23, 29, 23], [12, 32, 37, 24]
    ]  # fmt: skip
    assert ops.conv2d(X3, K2)[0, :, :, 0].tolist() == [[19, 25], [37, 43]]


@pytest.mark.quick
def test_a_n10_use_of_pixels():
    """How many 3x3 windows touch each pixel of a 6x6 image: the adjoint of a sum over windows."""
    used = ops.conv_transpose2d(np.ones((1, 4, 4, 1)), np.ones((1, 3, 3, 1)))[0, :, :, 0]
    assert used[0].tolist() == [1, 2, 3, 3, 2, 1] and used[2].tolist() == [3, 6, 9, 9, 6, 3]


@pytest.mark.quick
def test_a_n15_widths():
    """m = 6, k = 3: valid 4, same 6, full 8."""
    sizes = [ops.conv1d(np.ones((1, 6, 1)), np.ones((1, 3, 1)), padding=p).shape[1] for p in ("valid", "same", "full")]
    assert sizes == [4, 6, 8]


@pytest.mark.quick
def test_b_w10_w11_a_n11_to_n13_pooling():
    x = np.array([[1.0, 2, 2, 3], [4, 6, 6, 8], [3, 1, 1, 0], [1, 2, 2, 4]])[None, :, :, None]
    assert ops.max_pool2d(x, 2)[0, :, :, 0].tolist() == [[6, 8], [3, 4]]
    x = np.array([[4.0, 3, 1, 5], [1, 3, 4, 8], [4, 5, 4, 3], [6, 5, 9, 4]])[None, :, :, None]
    assert ops.avg_pool2d(x, 2)[0, :, :, 0].tolist() == [[2.75, 4.5], [5, 5]]
    assert ops.max_pool2d(x, 2)[0, :, :, 0].tolist() == [[4, 8], [6, 9]]
    x = np.array([[2.0, 2, 7, 3], [9, 4, 6, 1], [8, 5, 2, 4], [3, 1, 2, 6]])[None, :, :, None]
    assert ops.min_pool2d(x, 2)[0, :, :, 0].tolist() == [[2, 1], [1, 2]]
    assert ops.max_pool2d(x, 2, 1)[0, :, :, 0].tolist() == [[9, 7, 7], [9, 6, 6], [8, 5, 6]]
    for layer, value in ((nn.GlobalMaxPool2d(), 9.0), (nn.GlobalAvgPool2d(), 4.0625)):
        assert layer(x).item() == value
    assert ops.min_pool2d(x, 4).item() == 1.0


@pytest.mark.quick
def test_b_w12_dilation():
    """3x3 with dilation 2 sees 5x5 with 9 parameters."""
    layer = nn.Conv2d(1, 1, 3, dilation=2, bias=False)
    assert sum(p.size for p in layer.parameters()) == 9 and layer(np.ones((1, 5, 5, 1))).shape == (1, 1, 1, 1)


@pytest.mark.quick
def test_b_w13_transposed_sizes():
    down, up = nn.Conv2d(1, 1, 3, stride=2), nn.ConvTranspose2d(1, 1, 3, stride=2)
    y = down(np.ones((1, 5, 5, 1)))
    assert y.shape == (1, 2, 2, 1) and up(y).shape == (1, 5, 5, 1)


@pytest.mark.quick
def test_b_w14_sobel_is_separable():
    """Y = outer([1,0,-1], [1,2,1]), X = outer([1,2,1], [-1,0,1]): two rows of 3 for 9 parameters."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 7, 6, 1))
    kernel_x = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernel_y = np.array([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])
    for kernel, column, row in ((kernel_y, [1.0, 0, -1], [1.0, 2, 1]), (kernel_x, [1.0, 2, 1], [-1.0, 0, 1])):
        tall, wide = np.reshape(column, (1, 3, 1, 1)), np.reshape(row, (1, 1, 3, 1))
        near(ops.conv2d(ops.conv2d(image, tall), wide), ops.conv2d(image, kernel[None, :, :, None]))


@pytest.mark.quick
def test_b_w15_w16_lenet_c3_counts():
    """C3 with the classic table: 60 of 96 links, 1516 parameters; dense 2416 (B:3.1)."""
    c3 = nn.ConnectionTableConv2d(6, nn.LENET_C3, 5)
    assert c3.links == 60 and sum(p.size for p in c3.parameters()) == 1516
    assert c3(np.ones((1, 14, 14, 6), np.float32)).shape == (1, 10, 10, 16) and c3.macs((10, 10, 16)) == 100 * 25 * 60
    assert sum(p.size for p in nn.Conv2d(6, 16, 5).parameters()) == 2416
    assert sorted(len(row) for row in nn.LENET_C3) == [3] * 6 + [4] * 9 + [6]


@pytest.mark.quick
def test_b_w18_w19_dense_against_shared():
    dense = nn.Linear(100 * 100, 1, bias=False)
    assert dense.weight.size == 10_000 and nn.Conv2d(1, 1, 5, bias=False).weight.size == 25
    assert dense.macs((1000,)) == 10_000_000


@pytest.mark.quick
def test_b_w21_w22_strides():
    def size(n, **options):
        return ops.conv2d(np.ones((1, n, n, 1)), np.ones((1, 3, 3, 1)), **options).shape[1]

    assert size(7, stride=2) == 3 and size(8) == 6 and size(8, stride=2, padding=1) == 4


# --- parameters and multiply-adds (A:2.H)


@pytest.mark.quick
def test_counts_of_ordinary_tiled_unshared_and_dense():
    """m inputs, n outputs, kernel k: multiply-adds kn for all three, m*n dense; parameters k, k*t, k*n and m*n."""
    size, k, c, outputs = 12, 3, 2, 5
    p = size - k + 1
    for layer, weights, biases in (
        (nn.Conv2d(c, outputs, k), k * k * c * outputs, outputs),
        (nn.TiledConv2d(c, outputs, k, tiles=1), k * k * c * outputs, outputs),
        (nn.TiledConv2d(c, outputs, k, tiles=(2, 3)), 6 * k * k * c * outputs, 6 * outputs),
        (nn.LocallyConnected2d(c, outputs, size, k), p * p * k * k * c * outputs, p * p * outputs),
        (nn.TiledConv2d(c, outputs, k, tiles=p), p * p * k * k * c * outputs, p * p * outputs),
    ):
        summary = layer.summary((size, size, c))
        assert summary.rows[0].output_shape == (p, p, outputs)
        assert summary.parameters == weights + biases
        assert summary.macs == p * p * outputs * k * k * c
    dense = nn.Sequential(nn.Flatten(), nn.Linear(size * size * c, p * p * outputs)).summary((size, size, c))
    assert dense.macs == size * size * c * p * p * outputs == dense.parameters - p * p * outputs
    row = nn.LocallyConnected1d(c, outputs, size, k, stride=2).summary((size, c))
    assert row.parameters == 5 * outputs * (k * c + 1) and row.macs == 5 * outputs * k * c
    assert nn.Conv1d(4, 6, 3, groups=2).summary((10, 4)).macs == 8 * 6 * 3 * 2
    assert nn.Conv3d(2, 4, 3).summary((5, 6, 7, 2)).macs == 3 * 4 * 5 * 4 * 27 * 2
    up = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1).summary((5, 6, 3))
    assert up.macs == 5 * 6 * 3 * 4 * 9 and up.rows[0].output_shape == (10, 12, 4)
    same = nn.ConvTranspose1d(3, 4, 5, stride=3, padding="same").summary((7, 3))
    assert same.macs == 7 * 3 * 4 * 5 and same.rows[0].output_shape == (21, 4)


# --- edges


@pytest.mark.quick
def test_padding_beyond_any_window():
    """Outputs that see nothing but zeros, forward and transposed (which takes whole stamps off)."""
    rng = np.random.default_rng(0)
    for count in (1, 2, 3):
        x, w = rng.standard_normal((1, *(3, 2, 4)[:count], 2)), rng.standard_normal((3, *(1, 2, 2)[:count], 2))
        y = CONV[count](x, w, np.ones(3), padding=9, stride=2)
        near(y, convolve(x, w, np.ones(3), padding=9, stride=2)[0])
        g = rng.standard_normal(y.shape)
        rest = tuple((n + 18 - k) % 2 for n, k in zip(x.shape[1:-1], w.shape[1:-1], strict=True))
        back = TRANSPOSED[count](g, w, padding=9, stride=2, output_padding=rest)
        assert back.shape == x.shape
        assert abs(((y - 1) * g).sum() - (x * back).sum()) < 1e-10


@pytest.mark.quick
@pytest.mark.parametrize("dtype", [np.float32, F64])
def test_one_pixel_large_kernel_prime_channels_empty_batch(dtype):
    rng = np.random.default_rng(0)
    for count in (1, 2, 3):
        for n, size, k, c, out in ((1, 1, 5, 1, 1), (2, 2, 7, 13, 17), (0, 4, 3, 2, 3), (1, 1, 1, 31, 29)):
            x = rng.standard_normal((n, *(size,) * count, c)).astype(dtype)
            w = rng.standard_normal((out, *(k,) * count, c)).astype(dtype)
            want, bound = convolve(x.astype(F64), w.astype(F64), padding="full")
            got = CONV[count](x, w, padding="full")
            assert got.dtype == dtype and got.shape == want.shape
            assert (np.abs(got - want) <= 8 * np.finfo(dtype).eps * bound).all()


# --- gradients of combinations drawn at random


def _combination(rng):
    """(function of x, weight, bias; their arrays; what was drawn) of a small convolution of any kind."""
    count = int(rng.choice([1, 2, 2, 3]))
    groups, each = int(rng.choice([1, 1, 2, 3])), int(rng.integers(1, 3))
    kind = str(rng.choice(["conv", "conv", "transposed"]))
    kernel = tuple(int(k) for k in rng.integers(1, 4, count))
    stride = tuple(int(s) for s in rng.integers(1, 4, count))
    dilation = tuple(int(d) for d in rng.integers(1, 3, count))
    size = tuple(int(n) for n in rng.integers(3, 6 if count < 3 else 5, count))
    options = {"stride": stride, "dilation": dilation, "groups": groups,
               "activation": rng.choice([None, "tanh", "sigmoid"])}  # fmt: skip
    if kind == "conv":
        options["padding_mode"] = str(rng.choice(["zeros", "reflect", "replicate", "circular"]))
        options["flip"] = bool(rng.integers(2))
        sides = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (count, 2)))
        names = ["same", "full", sides, sides, *(["causal"] if count == 1 else [])]
        options["padding"] = names[int(rng.integers(len(names)))]
        span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        if options["padding"] is sides and any(n + sum(p) < s for n, p, s in zip(size, sides, span, strict=True)):
            options["padding"] = "full"
    else:
        room = [max(s, d) for s, d in zip(stride, dilation, strict=True)]
        options["output_padding"] = tuple(int(rng.integers(0, r)) for r in room)
    ins, outs = each * groups, int(rng.integers(1, 3)) * groups
    weight = (outs, *kernel, each) if kind == "conv" else (ins, *kernel, outs // groups)
    arrays = [rng.standard_normal((int(rng.integers(1, 3)), *size, ins)), rng.standard_normal(weight),
              rng.standard_normal(outs)]  # fmt: skip
    op = (CONV if kind == "conv" else TRANSPOSED)[count]
    return (lambda x, w, b: op(x, w, b, **options)), arrays, f"{kind}{count}d {arrays[0].shape} {weight} {options}"


def _check_combinations(seed, number):
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for i in range(number):
        function, arrays, text = _combination(rng)
        try:
            rb.gradcheck(function, arrays)
        except ValueError as error:
            raise AssertionError(f"seed {seed}, combination {i}: {text}: {error}") from None


@pytest.mark.quick
def test_gradients_of_combinations():
    _check_combinations(0, 40)  # the same ones in every run; others in the long tier


@pytest.mark.long
def test_gradients_of_many_random_combinations():
    _check_combinations(int(np.random.default_rng().integers(2**31)), 2000)


# --- PyTorch, all options at once


def _nchw(torch, a):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, -1, 1)))


def _nhwc(t):
    return np.moveaxis(t.detach().numpy(), 1, -1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_torch_layers_with_their_weights(count, tmp_path):
    """Layers of both kinds from PyTorch's own weights on disk: outputs, input and weight gradients."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(count)
    size = (9, 8, 7)[:count]
    table = [
        ("Conv", {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}),
        ("Conv", {"padding": 2, "padding_mode": "reflect"}),
        ("Conv", {"padding": 2, "padding_mode": "circular"}),
        ("Conv", {"padding": 1, "padding_mode": "replicate", "bias": False}),
        ("ConvTranspose", {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2}),
        ("ConvTranspose", {"stride": 1, "padding": 0, "dilation": 2}),
    ]
    for kind, options in table:
        name = f"{kind}{count}d"
        theirs = getattr(torch.nn, name)(4, 6, 3, **options).double()
        ours = getattr(nn, name)(4, 6, 3, **options)
        for key, parameter in ours.named_parameters():
            value = theirs.state_dict()[key].numpy()
            order = ours.disk_layout.get(key)
            value = value if order is None else np.transpose(value, np.argsort(order))
            assert parameter.shape == value.shape, (name, key)
            parameter.data = np.ascontiguousarray(value)
        x = rng.standard_normal((2, *size, 4))
        a, b = Tensor(x, requires_grad=True), _nchw(torch, x).requires_grad_()
        y, z = ours(a), theirs(b)
        near(y.data, _nhwc(z))
        g = rng.standard_normal(y.shape)
        y.backward(g)
        z.backward(_nchw(torch, g))
        near(a.grad.data, _nhwc(b.grad))
        order = ours.disk_layout["weight"]
        near(np.transpose(ours.weight.grad.data, order), theirs.weight.grad.numpy())


def test_torch_borders_and_upsampling():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for count in (1, 2, 3):
        x = rng.standard_normal((2, *(5, 4, 6)[:count], 3))
        for kind in ("ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"):
            for padding in (2, (1, 2, 0, 3, 2, 1)[: 2 * count]):
                layer, other = (getattr(m, f"{kind}{count}d")(padding) for m in (nn, torch.nn))
                assert np.array_equal(layer(x).data if isinstance(layer(x), Tensor) else layer(x),
                                      _nhwc(other(_nchw(torch, x)))), (kind, padding)  # fmt: skip
    for mode, align in (("nearest", None), ("bilinear", False), ("bilinear", True)):
        x = rng.standard_normal((2, 5, 4, 3))
        for size in ({"size": (7, 9)}, {"size": 3}, {"scale_factor": 2}, {"scale_factor": (1.5, 3.0)}):
            other = torch.nn.Upsample(**size, mode=mode, align_corners=align)
            layer = nn.Upsample(**size, mode=mode, align_corners=bool(align))
            near(np.asarray(layer(x)), _nhwc(other(_nchw(torch, x))), 1e-12)


def test_layers_describe_themselves_and_refuse():
    assert repr(nn.Conv2d(1, 6, 5, padding="same", activation="relu")) == (
        "Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding='same', activation='relu')"
    )
    assert "padding_mode='circular'" in repr(nn.Conv1d(1, 6, 5, padding=2, padding_mode="circular"))
    for build, says in (
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "do not split into 2 groups"),
        (lambda: nn.Conv2d(3, 4, 3, padding="causal"), "Conv2d: padding must be"),
        (lambda: nn.Conv1d(3, 4, 3, padding_mode="mirror"), "Conv1d: mode must be one of"),
        (lambda: nn.ConvTranspose2d(3, 4, 0), "kernel_size must be at least 1"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding=(1, 2, 3)), "ConvTranspose2d: padding must be an integer or a"),
        (lambda: nn.ConvTranspose3d(3, 4, 3, padding=-1), "ConvTranspose3d: padding must be at least 0"),
        (lambda: nn.ConnectionTableConv2d(2, [(0, 2)], 3), "output map 0 must name different input maps"),
        (lambda: nn.LocallyConnected2d(1, 1, 2, 3), "does not fit an input of 2"),
        (lambda: nn.ZeroPad2d((1, 2, 3)), "a number of at least 0 or 4 such"),
        (lambda: nn.Upsample(), "either size or scale_factor"),
    ):
        with pytest.raises(ValueError, match=says):
            build()
    with pytest.raises(ValueError, match="one kernel for each of 4 x 4 outputs"):
        nn.LocallyConnected2d(1, 2, 5, 3)(np.ones((1, 6, 6, 1), np.float32))
    assert math.isclose(float(np.abs(nn.Conv3d(2, 4, 3).weight.data).max()), 1 / math.sqrt(54), rel_tol=0.1)


def test_nearest_cells_are_exact():
    """Position i of m looks at cell floor(i n / m), without the rounding of a factor m / n."""
    for n in range(1, 40):
        for m in range(1, 80):
            got = ops.interpolate(np.arange(float(n)).reshape(1, n, 1), m)
            assert got.ravel().tolist() == [i * n // m for i in range(m)], (n, m)


def test_rows_that_do_not_fit_are_refused_in_their_own_name():
    x, w = np.ones((1, 5, 3)), np.ones((2, 3, 3))
    for call, says in (
        (lambda: ops.conv1d(x, np.ones((2, 3, 4))), r"conv1d: expected x with 4 channels for weight \(2, 3, 4\) and"),
        (lambda: ops.conv1d(x, w, np.ones(3)), r"conv1d: expected bias of shape \(2,\), got \(3,\)"),
        (lambda: ops.conv1d(x, w, groups=0), "conv1d: groups must be a positive integer, got 0"),
        (lambda: ops.conv1d(x, np.ones((2, 3, 1)), groups=3), "conv1d: 2 output channels do not split into 3 groups"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def test_windows_and_sizes_are_refused_in_the_name_of_the_op():
    x = np.ones((1, 4, 2, 3))
    for call, says in (
        (lambda: ops.fold(x, 1, 5, padding=-1), "fold: padding must be an integer of at least 0, got -1"),
        (lambda: ops.fold(x, 1, 5, 0), "fold: stride must be an integer of at least 1, got 0"),
        (lambda: ops.fold(x, 1, 2.5), "fold: length must be an integer of at least 0, got 2.5"),
        (lambda: ops.unfold(x, 1, 2, 1 << 20), "unfold: stride must be an integer of at least 1 and at most 1048575"),
        (lambda: ops.interpolate(x, scale_factor=math.nan), "interpolate: scale_factor must be"),
        (lambda: ops.interpolate(x, scale_factor="2"), "interpolate: scale_factor must be"),
        (lambda: ops.tiled_conv2d(x, np.ones((0, 1, 1, 1, 1, 3))), "tiled_conv2d: expected a weight that is not empty"),
        (lambda: ops.circular_conv(x, np.ones((1, 0, 1, 3))), "circular_conv: expected a weight that is not empty"),
        (lambda: ops.broadcast_to(x, (1, 4, 2, 4)), r"broadcast_to: an array of shape \(1, 4, 2, 3\) does not"),
        (lambda: ops.broadcast_to(x, (4, 2, 3)), r"broadcast_to: an array of shape \(1, 4, 2, 3\) does not"),
        (lambda: ops.stack([x, x[0]]), "stack: expected arrays of one shape"),
        (lambda: ops.one_hot([0], -1), "one_hot: classes must be an integer of at least 0, got -1"),
        (lambda: ops.filter2d(x[0], np.ones((2, 2)), mode=["wrap"]), "filter2d: mode must be one of"),
        (lambda: ops.gaussian_filter(x[0], 1.0, truncate=-1.0), "gaussian_filter: truncate must not be negative"),
    ):
        with pytest.raises(ValueError, match=says):
            call()
    assert ops.unfold(x, 1, np.int64(2)).shape == (1, 3, 2, 2, 3)
    assert ops.topk(np.arange(4.0), np.int64(2))[1].tolist() == [3, 2]
