"""The worked examples of the lecture notes, by name, recomputed in float64.

Where a printed number is an error, the recomputed one is the truth; catalogue names (A:N4, C:2) are in the docstrings.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Parameter, Tensor, models, nn, ops, optim

F64 = np.float64
GATES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], F64)


def parameter(values):
    return Parameter(np.asarray(values, F64))


# --- A: neurons and backpropagation


@pytest.mark.quick
def test_n1_mcculloch_pitts_umbrella():
    """A:N1: weights 1, 1, threshold 1 (reached, not exceeded)."""
    fires = ops.greater_equal(ops.matmul(GATES, np.ones(2)), 1.0)
    assert fires.tolist() == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.quick
def test_n2_feed_forward():
    """A:N2: input (2, 2, 1), two sigmoid units, one sigmoid output."""
    x = np.array([2.0, 2.0, 1.0])
    scores = ops.matmul(x, np.array([[-4.0, -1 / 5], [-1.0, -1.0], [12.0, 3.0]]))
    np.testing.assert_allclose(scores, [2.0, 0.6], rtol=1e-14)
    h = ops.sigmoid(scores)
    np.testing.assert_allclose(h, [0.880797077978, 0.645656306226], rtol=1e-11)
    score = ops.add(ops.matmul(h, np.array([1.5, 1.0])), 0.5)
    np.testing.assert_allclose(score, 2.466851923193, rtol=1e-12)
    np.testing.assert_allclose(ops.sigmoid(score), 0.921785098093, rtol=1e-11)


class Backprop222:
    """A:N4: 2-2-2 sigmoid network, eta 0.5, loss sum (t-o)^2 / 2, biases shared by a layer and fixed."""

    x, target = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])

    def __init__(self):
        self.w1, self.w2 = parameter([[0.15, 0.20], [0.25, 0.30]]), parameter([[0.40, 0.45], [0.50, 0.55]])
        self.b1, self.b2 = parameter(0.35), parameter(0.60)

    def forward(self):
        self.h_net = ops.add(ops.linear(Tensor(self.x), self.w1), self.b1)
        self.h = ops.sigmoid(self.h_net)
        self.y_net = ops.add(ops.linear(self.h, self.w2), self.b2)
        self.y = ops.sigmoid(self.y_net)
        return ops.mul(ops.mse_loss(self.y, self.target, reduction="sum"), 0.5)


@pytest.mark.quick
def test_n4_forward():
    net = Backprop222()
    loss = net.forward()
    for got, want in [
        (net.h_net, [0.3775, 0.3925]),
        (net.h, [0.5932699921071872, 0.596884378259767]),
        (net.y_net, [1.10590596705977, 1.2249214040964653]),
        (net.y, [0.7513650695523157, 0.7729284653214625]),
    ]:
        np.testing.assert_allclose(got.data[0], want, rtol=1e-14)
    each = ops.mul(ops.mse_loss(net.y, net.target, reduction="none"), 0.5)
    np.testing.assert_allclose(each.data[0], [0.274811083176155, 0.023560025583847746], rtol=1e-13)
    np.testing.assert_allclose(loss.item(), 0.2983711087600027, rtol=1e-14)


@pytest.mark.quick
def test_n4_gradients_and_first_update():
    net = Backprop222()
    g_y, g_ynet, g_h, *g = rb.grad(net.forward(), [net.y, net.y_net, net.h, net.w1, net.w2, net.b1, net.b2])
    np.testing.assert_allclose(g_y.data[0, 0], 0.7413650695523157, rtol=1e-14)
    np.testing.assert_allclose(g_ynet.data[0], [0.13849856162855695, -0.038098236516556236], rtol=1e-13)
    np.testing.assert_allclose(g_h.data[0, 0], 0.0363503063931447, rtol=1e-13)  # printed 0.0364908...: a wrong addition
    np.testing.assert_allclose(
        g[0].data.ravel(),
        [4.385677344743465e-4, 8.77135468948693e-4, 4.977127352608599e-4, 9.954254705217198e-4],
        rtol=1e-13,
    )
    np.testing.assert_allclose(
        g[1].data.ravel(),
        [0.08216704056423077, 0.08266762784753325, -0.02260254047747507, -0.022740242215978222],
        rtol=1e-13,
    )
    np.testing.assert_allclose([g[2].item(), g[3].item()], [0.018725609394704128, 0.10040032511200071], rtol=1e-13)
    net.forward().backward()
    optim.SGD([net.w1, net.w2], 0.5).step()
    np.testing.assert_allclose(
        net.w1.data.ravel(),
        [0.1497807161327628, 0.19956143226552567, 0.24975114363236958, 0.29950228726473915],
        rtol=1e-14,
    )
    np.testing.assert_allclose(
        net.w2.data.ravel(),
        [0.35891647971788465, 0.4086661860762334, 0.5113012702387375, 0.5613701211079891],
        rtol=1e-14,
    )
    np.testing.assert_allclose(net.forward().item(), 0.2910277736936, rtol=1e-12)


def train222(rounds, biases=False):
    net = Backprop222()
    opt = optim.SGD([net.w1, net.w2, *([net.b1, net.b2] if biases else [])], 0.5)
    losses = []
    for _ in range(rounds):
        opt.zero_grad()
        loss = net.forward()
        losses.append(loss.item())
        loss.backward()
        opt.step()
    return net, [*losses, net.forward().item()]


def test_n4_after_ten_thousand_rounds():
    net, losses = train222(10_000)
    np.testing.assert_allclose(losses[1], 0.2910277736936, atol=1e-13)
    np.testing.assert_allclose(losses[9_999], 3.510854812e-5, rtol=1e-9)  # what the notes print as the 10,000th
    np.testing.assert_allclose(losses[10_000], 3.510187782979e-5, rtol=1e-9)
    np.testing.assert_allclose(net.y.data[0], [0.015913620444, 0.984064273515], atol=1e-12)


def test_n4_with_biases_trained():
    _, losses = train222(10_000, biases=True)
    np.testing.assert_allclose(losses[1], 0.2857508866993, atol=1e-12)
    np.testing.assert_allclose(losses[10_000], 4.355321066e-6, rtol=1e-9)


@pytest.mark.quick
@pytest.mark.parametrize(("rate", "path"), [(1.0, [-0.5, 0.5, -0.5, 0.5]), (0.1, [0.4, 0.32, 0.256, 0.2048])])
def test_n5_gradient_descent_on_a_parabola(rate, path):
    """A:N5: y = x^2 from 0.5: rate 1 oscillates, rate 0.1 falls by a fifth each time."""
    x = parameter([0.5])
    opt = optim.SGD([x], rate)
    for want in path:
        opt.zero_grad()
        ops.sum(ops.square(x)).backward()
        opt.step()
        np.testing.assert_allclose(x.item(), want, rtol=1e-14)


@pytest.mark.quick
def test_n7_ranges_of_derivatives():
    """A:N7, C:4b: sigmoid' is at most 1/4, tanh' at most 1, both at 0; tanh'(3) = 0.009866."""
    x = Tensor(np.linspace(-6, 6, 1201), requires_grad=True)
    for f, top in ((ops.sigmoid, 0.25), (ops.tanh, 1.0)):
        (g,) = rb.grad(ops.sum(f(x)), [x])
        assert g.data.max() == pytest.approx(top, rel=1e-12) and g.data.argmax() == 600 and (g.data > 0).all()
    three = Tensor(np.array([3.0, -3.0]), requires_grad=True)
    np.testing.assert_allclose(rb.grad(ops.sum(ops.tanh(three)), [three])[0].data, 0.009866, atol=5e-7)
    assert ops.sigmoid(np.array([1000.0, -1000.0])).tolist() == [1.0, 0.0]  # e^z / (1 + e^z) without overflow


@pytest.mark.quick
def test_n25_relu_derivative():
    """A:N25: 0 for x <= 0, 1 above."""
    x = Tensor(np.array([-2.0, 0.0, 3.0]), requires_grad=True)
    assert rb.grad(ops.sum(ops.relu(x)), [x])[0].tolist() == [0.0, 0.0, 1.0]


# --- A: convolution and pooling


@pytest.mark.quick
def test_n9_volumes():
    """A:N9: 32x32x3 with 12 filters and same padding gives 32x32x12, pooled 16x16x12; a 3x3x3 filter has 27 weights."""
    x = np.zeros((1, 32, 32, 3), np.float32)
    y = ops.conv2d(x, np.zeros((12, 3, 3, 3), np.float32), padding="same", activation="relu")
    assert y.shape == (1, 32, 32, 12) and ops.max_pool2d(y, 2).shape == (1, 16, 16, 12)
    assert nn.Conv2d(3, 1, 3).weight.size == 27 and nn.Conv2d(3, 1, 3).num_parameters() == 28
    for a in (3, 5, 7):
        assert ops.conv2d(np.zeros((1, 34, 34, 3)), np.zeros((2, a, a, 3))).shape == (1, 35 - a, 35 - a, 2)


@pytest.mark.quick
def test_n10_padding():
    """A:N10: 3x3 padded to 5x5 under [[0,1],[2,3]]; how many windows see each pixel."""
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    y = ops.conv2d(x, np.array([[0.0, 1.0], [2.0, 3.0]]).reshape(1, 2, 2, 1), padding=1)
    assert y[0, :, :, 0].tolist() == [[0, 3, 8, 4], [9, 19, 25, 10], [21, 37, 43, 16], [6, 7, 8, 0]]
    for k, row in ((1, [1, 1, 1, 1, 1, 1]), (2, [1, 2, 2, 2, 2, 1]), (3, [1, 2, 3, 3, 2, 1])):
        image = Tensor(np.zeros((1, 6, 6, 1)), requires_grad=True)
        (use,) = rb.grad(ops.sum(ops.conv2d(image, np.ones((1, k, k, 1)))), [image])
        assert use.data[0, :, :, 0].tolist() == np.outer(row, row).tolist()


@pytest.mark.quick
def test_n11_to_n13_pooling():
    """A:N11, N12, N13: the 4x4 picture pooled by maximum, average, minimum, and over the whole."""
    x = np.array([[2, 2, 7, 3], [9, 4, 6, 1], [8, 5, 2, 4], [3, 1, 2, 6]], F64).reshape(1, 4, 4, 1)
    assert ops.max_pool2d(x, 2)[0, :, :, 0].tolist() == [[9, 7], [8, 6]]
    assert ops.avg_pool2d(x, 2)[0, :, :, 0].tolist() == [[4.25, 4.25], [4.25, 3.5]]
    assert ops.neg(ops.max_pool2d(ops.neg(x), 2))[0, :, :, 0].tolist() == [[2, 1], [1, 2]]
    assert ops.max_pool2d(x, 2, 1)[0, :, :, 0].tolist() == [[9, 7, 7], [9, 6, 6], [8, 5, 6]]
    assert ops.max_pool2d(x, 4).item() == 9.0 and ops.avg_pool2d(x, 4).item() == 4.0625
    assert ops.max(x).item() == 9.0 and ops.mean(x).item() == 4.0625 and ops.min(x).item() == 1.0
    layers = nn.Sequential(nn.MaxPool2d(2, 2))
    assert layers.predict(x)[0, :, :, 0].tolist() == [[9, 7], [8, 6]]


@pytest.mark.quick
def test_n14_n15_n16_sizes():
    """A:N14 the pooled size is floor((n-f)/s)+1; A:N15 valid, same, full; A:N16 LeNet-5's first layers."""

    def conv(n, k, **options):
        return ops.conv2d(np.zeros((1, n, n, 1)), np.zeros((1, k, k, 1)), **options).shape[1]

    assert ops.max_pool2d(np.zeros((1, 4, 4, 1)), 2, 2).shape[1] == 2
    assert (conv(6, 3), conv(6, 3, padding="same"), conv(6, 3, padding=2)) == (4, 6, 8)
    assert conv(6, 2, padding="same") == 6  # even kernels pad one side more
    assert conv(32, 5) == 28 and conv(32, 5, stride=2) == 14
    assert [r.output_shape[:2] for r in models.build("lenet5").summary((32, 32, 1)).rows[:4]] == [
        (28, 28),
        (14, 14),
        (10, 10),
        (5, 5),
    ]


# --- A: recurrence


@pytest.mark.quick
def test_n19_backpropagation_through_time():
    """A:N19: h = sigmoid(W h + b) three times, W .7, b .1, h0 .3."""
    w, h = parameter([0.7]), Tensor(np.array([0.3]))
    states = []
    for _ in range(3):
        h = ops.sigmoid(ops.add(ops.mul(w, h), 0.1))
        states.append(h.item())
    np.testing.assert_allclose(states, [0.5768852611320463, 0.6233565500673138, 0.6309628303290925], rtol=1e-15)
    np.testing.assert_allclose(rb.grad(h, [w])[0].item(), 0.16918576741338845, rtol=1e-14)


# --- C


def unit(x, w, b):
    return ops.greater_equal(ops.add(ops.matmul(x, np.asarray(w, F64)), b), 0.0)


@pytest.mark.quick
def test_c1_gates_with_given_weights():
    """C:1: AND is w (2, 2), b -3; OR is w (2, 2), b -1."""
    assert unit(GATES, [2, 2], -3).tolist() == [0, 0, 0, 1] and unit(GATES, [2, 2], -1).tolist() == [0, 1, 1, 1]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "truth", "learnable"),
    [
        ("AND", [0, 0, 0, 1], True),
        ("OR", [0, 1, 1, 1], True),
        ("NAND", [1, 1, 1, 0], True),
        ("NOR", [1, 0, 0, 0], True),
        ("XOR", [0, 1, 1, 0], False),
        ("XNOR", [1, 0, 0, 1], False),
    ],
)
def test_c1_set_rule(name, truth, learnable):
    """C:1: random x; w += x when it should fire and does not, w -= x the other way; x carries a leading 1."""
    x = np.concatenate([np.ones((4, 1)), GATES], 1)
    rng = np.random.default_rng(0)
    w = rng.standard_normal(3)
    for _ in range(2000):
        fires = unit(x, w, 0.0)
        if fires.tolist() == truth:
            break
        i = rng.integers(4)
        w = ops.add(w, ops.mul(x[i], float(truth[i] - fires[i])))
    assert (unit(x, w, 0.0).tolist() == truth) is learnable, name


@pytest.mark.quick
@pytest.mark.parametrize(("truth", "learnable"), [([0, 0, 0, 1], True), ([0, 1, 1, 1], True), ([0, 1, 1, 0], False)])
def test_rosenblatt_rule_by_fit(truth, learnable):
    """The same through the library: PerceptronLoss and plain SGD are the error-correction rule."""
    model = models.build("perceptron", input_shape=(2,), classes=2)
    model.fit(
        GATES,
        np.array(truth),
        epochs=40,
        batch_size=1,
        loss=nn.PerceptronLoss(),
        seed=0,
        progress=False,
        optimizer=optim.SGD(model.parameters(), 1.0),
    )
    assert (model.evaluate(GATES, np.array(truth))["accuracy"] == 1.0) is learnable


def test_all_seven_gates_by_a_network():
    """A:M7: a multi-layer perceptron learns AND, OR, XOR, NAND, NOT, XNOR, NOR."""
    for truth in itertools.chain(
        [[0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 0]], [[1, 1, 0, 0]]
    ):
        rb.manual_seed(1)
        model = nn.Sequential(nn.Linear(2, 8, activation="tanh"), nn.Linear(8, 2))
        model.fit(
            GATES,
            np.array(truth),
            epochs=150,
            batch_size=4,
            seed=0,
            progress=False,
            optimizer=optim.Adam(model.parameters(), 0.05),
        )
        assert model.predict(GATES).argmax(1).tolist() == truth


def test_c2_sigmoid_neuron():
    """C:2: gradient descent from w = b = -2, eta 1, loss sum (f - y)^2 / 2."""
    w, b = parameter([-2.0]), parameter([-2.0])
    x, y = np.array([0.5, 2.5]), np.array([0.2, 0.9])
    opt = optim.SGD([w, b], 1.0)

    def error():
        return ops.mul(ops.mse_loss(ops.sigmoid(ops.add(ops.mul(w, x), b)), y, reduction="sum"), 0.5)

    np.testing.assert_allclose(error().item(), 0.41581990101999, rtol=1e-13)
    known = {
        1: (-1.99450768078436, -1.9922888407847856),
        10: (-1.9418944876777522, -1.9200053794309366),
        1000: (1.7917198301022377, -2.2821180729166732),
    }
    for step in range(1, 1001):
        opt.zero_grad()
        error().backward()
        opt.step()
        if step in known:
            np.testing.assert_allclose((w.item(), b.item()), known[step], rtol=1e-11)
    np.testing.assert_allclose(error().item(), 2.4292e-11, rtol=1e-4)


@pytest.mark.quick
def test_c3_xor_with_fixed_weights():
    """C:3: two hidden sigmoid units, weights +-20."""
    h = ops.linear(GATES, np.array([[20.0, 20.0], [-20.0, -20.0]]), np.array([-10.0, 30.0]), activation="sigmoid")
    y = ops.linear(h, np.array([[20.0, 20.0]]), np.array([-30.0]), activation="sigmoid")
    np.testing.assert_allclose(
        y[:, 0], [4.543910487654591e-05, 0.999954519621495, 0.999954519621495, 4.543910487654591e-05], rtol=1e-12
    )


@pytest.mark.quick
def test_c4_linear_221():
    """C:4: x (2, 3), y 1, no bias, eta .05, one simultaneous update."""
    w1, w2 = parameter([[0.11, 0.21], [0.12, 0.08]]), parameter([[0.14, 0.15]])
    x = Tensor(np.array([[2.0, 3.0]]))

    def forward():
        h = ops.linear(x, w1)
        return h, ops.linear(h, w2)

    h, y = forward()
    np.testing.assert_allclose(h.data[0], [0.85, 0.48], rtol=1e-14)
    np.testing.assert_allclose(y.item(), 0.191, rtol=1e-14)
    loss = ops.mul(ops.mse_loss(y, np.array([[1.0]]), reduction="sum"), 0.5)
    np.testing.assert_allclose(loss.item(), 0.3272405, rtol=1e-14)
    loss.backward()
    optim.SGD([w1, w2], 0.05).step()
    np.testing.assert_allclose(w2.data[0], [0.1743825, 0.169416], rtol=1e-14)
    np.testing.assert_allclose(w1.data.ravel(), [0.121326, 0.226989, 0.132135, 0.0982025], rtol=1e-14)
    _, y = forward()
    np.testing.assert_allclose(y.item(), 0.2557457808075, rtol=1e-12)
    np.testing.assert_allclose(0.5 * (y.item() - 1) ** 2, 0.276957, atol=1e-6)


@pytest.mark.quick
def test_c5_convolution_and_sizes():
    """C:5: the 3x3 by 2x2 cross-correlation; output floor((n+2p-k)/s)+1; pooling keeps channels."""
    x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.arange(4.0).reshape(1, 2, 2, 1)
    assert ops.conv2d(x, w)[0, :, :, 0].tolist() == [[19, 25], [37, 43]]
    five, three = np.zeros((1, 5, 5, 1)), np.zeros((1, 3, 3, 1))
    assert ops.conv2d(five, three).shape == (1, 3, 3, 1) and ops.conv2d(five, three, stride=2).shape == (1, 2, 2, 1)
    for n, k, s, p in itertools.product((5, 6, 28), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2)):
        got = ops.conv2d(np.zeros((1, n, n, 1)), np.zeros((1, k, k, 1)), stride=s, padding=p).shape[1]
        assert got == (n + 2 * p - k) // s + 1
    image = np.random.default_rng(0).standard_normal((2, 4, 4, 3))
    for pool in (ops.max_pool2d, ops.avg_pool2d):
        whole = pool(image, 2)
        assert whole.shape == (2, 2, 2, 3)
        for c in range(3):
            assert np.array_equal(whole[..., c : c + 1], pool(np.ascontiguousarray(image[..., c : c + 1]), 2))
    assert nn.Flatten()(Tensor(np.zeros((1, 28, 28, 1)))).shape == (1, 784)


@pytest.mark.quick
def test_c5_patch_of_the_whole_image_is_a_dense_layer():
    """A:M21: a kernel as large as the image makes convolution a dense layer."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 4, 5, 2)), rng.standard_normal((6, 4, 5, 2))
    np.testing.assert_allclose(ops.conv2d(x, w)[:, 0, 0], ops.linear(x.reshape(3, -1), w.reshape(6, -1)), rtol=1e-12)


@pytest.mark.quick
def test_c6_losses():
    """C:6: mean squared error, categorical cross-entropy -sum y ln p."""
    p, y = np.array([[0.2, 0.5, 0.3]]), np.array([[0.0, 1.0, 0.0]])
    np.testing.assert_allclose(ops.mse_loss(p, y), ((p - y) ** 2).mean(), rtol=1e-15)
    np.testing.assert_allclose(ops.cross_entropy(np.log(p), np.array([1])), -np.log(0.5), rtol=1e-14)


@pytest.mark.quick
def test_c7_momentum():
    """C:7: dw(t) = -eps dE/dw + alpha dw(t-1)."""
    w = parameter([1.0])
    opt = optim.SGD([w], 0.1, momentum=0.9)
    value, step = 1.0, 0.0
    for _ in range(20):
        opt.zero_grad()
        ops.sum(ops.square(w)).backward()
        opt.step()
        step = -0.1 * 2 * value + 0.9 * step
        value += step
        np.testing.assert_allclose(w.item(), value, rtol=1e-12, atol=1e-15)


@pytest.mark.quick
def test_c9_dropout_keeps_the_expectation():
    """C:9: inverted dropout: dropped with probability p while training, scaled so that the mean stays."""
    rb.manual_seed(0)
    y = ops.dropout(np.ones(100_000), 0.25)
    assert abs(y.mean() - 1) < 0.01 and set(np.unique(y)) == {0.0, 1 / 0.75}
