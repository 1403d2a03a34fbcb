"""Partially connected, maxout and polynomial units, networks of them, and multi-layer perceptrons of any shape."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import data, models, nn, ops, optim

F64, F32 = np.float64, np.float32
GATES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], F64)


def as_float64(module, rng):
    """The module with random float64 parameters."""
    for p in module.parameters():
        p.data = rng.normal(size=p.shape)
    return module


def gradient_of_module(module, x):
    """gradcheck of sum(f(x)**2) by x and every parameter, without touching the module."""
    names = [name for name, _ in module.named_parameters()]

    def apply(x, *values):
        for name, value in zip(names, values, strict=True):
            holder = module
            *path, last = name.split(".")
            for part in path:
                holder = holder._modules[part]
            object.__setattr__(holder, last, value)
        return ops.sum(ops.square(module.forward(x)))

    kept = [p.data.copy() for p in module.parameters()]
    return rb.gradcheck(apply, [x, *kept])


# --- partially connected layers


@pytest.mark.quick
def test_partial_layer_is_a_dense_one_with_zeros():
    rng = np.random.default_rng(0)
    table = [[0, 2], [1], [0, 1, 3]]
    layer = as_float64(nn.PartialLinear(4, table, activation="tanh"), rng)
    assert layer.links == 6 and layer.num_parameters() == 6 + 3
    full, values = np.zeros((3, 4)), iter(layer.weight.data.ravel())
    for unit, row in enumerate(table):
        for i in row:
            full[unit, i] = next(values)
    x = rng.normal(size=(5, 4))
    np.testing.assert_allclose(layer(rb.Tensor(x)).data, np.tanh(x @ full.T + layer.bias.data), rtol=1e-12)
    np.testing.assert_array_equal(layer.matrix().data, full)
    moved = x.copy()
    moved[:, 1] += 1  # unit 0 does not see input 1
    assert np.array_equal(layer(rb.Tensor(moved)).data[:, 0], layer(rb.Tensor(x)).data[:, 0])
    assert (layer(rb.Tensor(moved)).data[:, 1] != layer(rb.Tensor(x)).data[:, 1]).all()
    assert gradient_of_module(layer, x) < 1
    assert nn.Sequential(nn.PartialLinear(4, table)).summary((4,)).macs == 6


@pytest.mark.quick
def test_missing_connections_stay_missing_in_training():
    x, y = data.generate.moons(100, seed=0).x, data.generate.moons(100, seed=0).y
    model = models.partial_mlp(input_shape=(2,), classes=2, hidden=(16,), density=0.5)
    before = model[1].matrix().data != 0
    assert before.sum(1).tolist() == [1] * 16
    model.fit(x, y, epochs=3, optimizer=optim.Adam(model.parameters(), 0.01, weight_decay=0.1), progress=False, seed=0)
    assert np.array_equal(model[1].matrix().data != 0, before)


@pytest.mark.quick
def test_random_connections_belong_to_the_structure():
    a, b = models.partial_mlp(hidden=(32, 16)), models.partial_mlp(hidden=(32, 16))
    assert a[1].connections == b[1].connections and a[1].connections != models.partial_mlp(seed=1)[1].connections
    assert all(len(row) == 16 for row in a[1].connections) and all(len(row) == 8 for row in a[2].connections)
    assert a.num_parameters() == 32 * 16 + 32 + 16 * 8 + 16 + 17 * 10
    b.load_state_dict(a.state_dict())
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(F32)
    assert np.array_equal(a.predict(x), b.predict(x))
    everything = models.partial_mlp(density=1.0)
    assert everything.num_parameters() == models.mlp().num_parameters()


@pytest.mark.quick
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.PartialLinear(3, [[0], []]), "unit 1"),
        (lambda: nn.PartialLinear(3, [[0, 0]]), "unit 0"),
        (lambda: nn.PartialLinear(3, [[3]]), "0 .. 2"),
        (lambda: nn.PartialLinear(3, [[0.5]]), "an input"),
        (lambda: nn.PartialLinear(3, 2), "inputs_per_unit"),
        (lambda: nn.PartialLinear(3, 2, 4), "1 .. 3"),
        (lambda: nn.PartialLinear(3, [[0]], 1), "with a number"),
        (lambda: models.partial_mlp(density=0), "density"),
        (lambda: models.partial_mlp(hidden=(0,)), "partial_mlp: hidden"),
        (lambda: models.mlp(activation="swish"), "mlp: expected activation"),
        (lambda: models.Activation("swish"), "Activation"),
        (lambda: models.maxout(hidden=(0,)), "maxout: hidden"),
        (lambda: models.maxout(pieces=0), "pieces"),
        (lambda: models.polynomial(hidden=(-1,)), "polynomial: hidden"),
        (lambda: nn.PolynomialUnits(1, 2), "at least 2"),
        (lambda: nn.PolynomialUnits(3, 1, [(1, 1)]), "different"),
        (lambda: nn.PolynomialUnits(3, 2, [(0, 1)]), "2 pairs"),
        (lambda: nn.PolynomialUnits(3, 1)(rb.Tensor(np.zeros((2, 4), F32))), r"\[N,3\]"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- maxout and polynomial units


@pytest.mark.quick
@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_maxout_is_the_largest_of_its_pieces(pieces):
    rng = np.random.default_rng(1)
    layer = as_float64(nn.Maxout(4, 3, pieces), rng)
    x = rng.normal(size=(6, 4))
    parts = (x @ layer.linear.weight.data.T + layer.linear.bias.data).reshape(6, 3, pieces)
    np.testing.assert_allclose(layer(rb.Tensor(x)).data, parts.max(2), rtol=1e-12)
    assert layer.num_parameters() == 5 * 3 * pieces
    assert gradient_of_module(layer, x) < 1
    (g,) = rb.grad(ops.sum(layer(rb.Tensor(x))), [layer.linear.bias])
    np.testing.assert_array_equal(g.data.reshape(3, pieces).sum(1), [6, 6, 6])  # one piece per sample and unit


@pytest.mark.quick
def test_maxout_pieces_make_relu_and_absolute_value():
    """max(x, ax): two pieces give ReLU, leaky ReLU and |x| (notes B:N17)."""
    x = np.linspace(-2, 2, 9)[:, None]
    for slopes, want in [((1, 0), np.maximum(x, 0)), ((1, 0.1), np.where(x > 0, x, 0.1 * x)), ((1, -1), np.abs(x))]:
        layer = nn.Maxout(1, 1, 2)
        layer.linear.weight.data, layer.linear.bias.data = np.array(slopes, F64)[:, None], np.zeros(2)
        np.testing.assert_allclose(layer(rb.Tensor(x)).data, want, atol=1e-15)


@pytest.mark.quick
def test_polynomial_units_by_hand():
    rng = np.random.default_rng(2)
    pairs = [(0, 1), (2, 0), (1, 2)]
    layer = as_float64(nn.PolynomialUnits(3, 3, pairs), rng)
    x = rng.normal(size=(7, 3))
    want = np.empty((7, 3))
    for unit, (i, j) in enumerate(pairs):
        u, v, a = x[:, i], x[:, j], layer.weight.data[:, unit]
        want[:, unit] = layer.bias.data[unit] + a[0] * u + a[1] * v + a[2] * u * v + a[3] * u**2 + a[4] * v**2
    np.testing.assert_allclose(layer(rb.Tensor(x)).data, want, rtol=1e-11, atol=1e-12)
    assert layer.num_parameters() == 18 and gradient_of_module(layer, x) < 1
    drawn = nn.PolynomialUnits(4, 9, seed=0).pairs
    assert set(drawn[:6]) == set(itertools.combinations(range(4), 2)) and len(drawn) == 9


@pytest.mark.quick
def test_stacked_polynomial_units_are_polynomials_of_degree_four():
    """Along a line two layers give a polynomial of degree 4: its fifth differences vanish, its fourth do not."""
    model = models.polynomial(input_shape=(3,), classes=2, hidden=(6, 4))
    rng = np.random.default_rng(3)
    as_float64(model, rng)
    start, direction = rng.normal(size=3), rng.normal(size=3)
    y = model.predict(start + np.arange(8.0)[:, None] / 8 * direction)
    assert np.abs(np.diff(y, 5, axis=0)).max() < 1e-9 < 1e-4 < np.abs(np.diff(y, 4, axis=0)).max()


@pytest.mark.parametrize("name", ["maxout", "polynomial", "partial_mlp", "mlp"])
def test_two_moons(name):
    """500 points to train, 500 others to test, three seeds each at 0.97 or more; linear units stay below."""
    train, test = data.load("moons")
    recipe = models.info(name).recipe
    for seed in range(3):
        rb.manual_seed(seed)
        model = models.build(name, input_shape=(2,), classes=2)
        model.fit(
            train.x, train.y, epochs=40, optimizer=optim.Adam(model.parameters(), recipe.lr), progress=False, seed=seed
        )
        assert model.evaluate(test.x, test.y)["accuracy"] >= 0.97
    straight = models.mlp(input_shape=(2,), classes=2, activation="linear")
    straight.fit(
        train.x, train.y, epochs=40, optimizer=optim.Adam(straight.parameters(), 0.01), progress=False, seed=0
    )
    assert straight.evaluate(test.x, test.y)["accuracy"] < 0.95


# --- multi-layer perceptrons


@pytest.mark.quick
@pytest.mark.parametrize("hidden", [(), (3,), (7, 5), (4, 4, 4, 4, 4)])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "leaky_relu", "elu", "softplus", "linear"])
def test_mlp_of_any_depth_and_activation(hidden, activation):
    functions = {
        "relu": lambda z: np.maximum(z, 0), "tanh": np.tanh, "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z), "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
        "softplus": lambda z: np.log1p(np.exp(z)), "linear": lambda z: z,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    model = as_float64(models.mlp(input_shape=(6,), classes=4, hidden=hidden, activation=activation), rng)
    h = x = rng.normal(size=(5, 6))
    values = [p.data for p in model.parameters()]
    layers = list(zip(values[::2], values[1::2], strict=True))
    for i, (w, b) in enumerate(layers):
        z = h @ w.T + b
        h = z if i == len(layers) - 1 else functions[activation](z)
    np.testing.assert_allclose(model.predict(x), h, rtol=1e-10, atol=1e-12)
    assert len(layers) == len(hidden) + 1


@pytest.mark.quick
def test_two_path_chain_rule():
    """C:4b: in a 4-3-2-1 network a first-layer weight reaches the output by two paths; its derivative is the sum."""
    rng = np.random.default_rng(4)
    sizes = [4, 3, 2, 1]
    net = nn.Sequential(*[nn.Linear(a, b, activation="sigmoid") for a, b in itertools.pairwise(sizes)])
    assert net.num_parameters() == 26 and sum(p.size for p in net.parameters() if p.ndim == 2) == 20
    as_float64(net, rng)
    (w1, b1), (w2, b2), (w3, b3) = [(layer.weight.data, layer.bias.data) for layer in net]
    x, target = rng.normal(size=4), 0.7

    def f(z):
        return 1 / (1 + np.exp(-z))

    o1 = f(w1 @ x + b1)
    o2 = f(w2 @ o1 + b2)
    o3 = f(w3 @ o2 + b3)
    (y,) = o3
    outer = (y - target) * y * (1 - y)
    loss = ops.mul(ops.sum(ops.square(ops.sub(net(rb.Tensor(x[None])), target))), 0.5)
    (g,) = rb.grad(loss, [net[0].weight])
    for i, j in itertools.product(range(3), range(4)):  # the weight from input j to O1i
        inner = o1[i] * (1 - o1[i]) * x[j]
        paths = [outer * w3[0, k] * o2[k] * (1 - o2[k]) * w2[k, i] * inner for k in range(2)]
        np.testing.assert_allclose(g.data[i, j], sum(paths), rtol=1e-11)
        assert all(abs(g.data[i, j] - p) > 1e-9 for p in paths)  # one path alone is not the derivative


N3_X = np.array([[1, 2], [1, 3], [2, 3], [3, 4], [5, 6], [6, 7]], F64)
N3_Y = np.array([[0, 0], [0, 0], [1, 0], [1, 0], [0, 1], [0, 1]], F64)


def n3(seed, hidden, epochs):
    rb.manual_seed(seed)
    sizes = [2, *hidden, 2]
    net = nn.Sequential(*[nn.Linear(a, b, activation="sigmoid") for a, b in itertools.pairwise(sizes)])
    x, y = N3_X.astype(F32), N3_Y.astype(F32)
    net.fit(
        x, y, epochs=epochs, batch_size=1, loss=nn.HalfSSELoss("sum"), optimizer=optim.SGD(net.parameters(), 0.1),
        progress=False, seed=seed,
    )  # fmt: skip
    return ((net.predict(x) > 0.5) == N3_Y).all(1).sum()


def test_n3_needs_a_hidden_layer():
    """A:N3: three groups, two sigmoid outputs; output 1 is not linearly separable, so one layer gets at most 5 of 6."""
    assert n3(0, (4,), 5000) == 6
    assert n3(0, (), 1000) < 6


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_n3_as_in_the_notes(seed):
    """A:N3: 2-4-2 sigmoid, rate 0.1, sample by sample, 20,000 epochs: 6 of 6 for 5 of 5 seeds."""
    assert n3(seed, (4,), 20_000) == 6
