"""Networks with unshared and tiled kernels, against windows multiplied one by one with NumPy (notes A:2.H)."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import models, nn

pytestmark = pytest.mark.quick


def local_by_hand(x, weight, bias):
    """ReLU of each 3x3 window of x [N,H,W,C], zeros outside, times the kernel whose turn it is, of [t,u,K,3,3,C]."""
    n, h, w, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = np.empty((n, h, w, weight.shape[2]))
    for p in range(h):
        for q in range(w):
            own = p % weight.shape[0], q % weight.shape[1]
            y[:, p, q] = np.einsum("nrsc,krsc->nk", padded[:, p : p + 3, q : q + 3], weight[own]) + bias[own]
    return np.maximum(y, 0)


def network_by_hand(model, x):
    """The whole network in float64, from the arrays of its parameters."""
    first, _, second, _, _, last = model
    for layer in (first, second):
        weight, bias = np.asarray(layer.weight.data, np.float64), np.asarray(layer.bias.data, np.float64)
        x = local_by_hand(x, weight, bias)
        n, h, w, k = x.shape
        x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, k).max((2, 4))
    return x.reshape(len(x), -1) @ np.asarray(last.weight.data, np.float64).T + last.bias.data


def builds(shape):
    options = {"input_shape": shape, "classes": 5, "channels": (3, 4)}
    yield models.locally_connected(**options)
    for tiles in (1, 2, (2, 3), (1, 4), "all"):
        yield models.tiled(tiles=tiles, **options)


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 10, 2)])
def test_networks_are_windows_times_their_kernels(shape):
    rb.manual_seed(1)
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    for model in builds(shape):
        want = network_by_hand(model, x.astype(np.float64))
        assert np.abs(model.predict(x) - want).max() <= 1e-6 * max(1.0, np.abs(want).max())


def copy_into(target, source, grow):
    """Parameters of `source`, local kernels through `grow(array, tiles of the target)`."""
    state = source.state_dict()
    for name, p in target.named_parameters():
        if isinstance(target[int(name[0])], (nn.TiledConv2d, nn.LocallyConnected2d)):
            state[name] = grow(state[name], p.shape[:2])
    target.load_state_dict(state)


def test_one_tile_is_the_ordinary_network_and_all_tiles_the_unshared_one():
    """A:2.H to 1e-6, the whole network: outputs and the gradient that reaches the input."""
    x = np.random.default_rng(2).standard_normal((3, 8, 8, 1)).astype(np.float32)

    def answers(model):
        t = rb.Tensor(x, requires_grad=True)
        y = model(t)
        (y * y).sum().backward()
        return np.asarray(y.data), np.asarray(t.grad.data)

    rb.manual_seed(3)
    one = models.tiled(tiles=1)
    layers = [
        nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding="same", activation="relu")
        if isinstance(layer, nn.TiledConv2d) else layer
        for layer in one
    ]
    for layer, other in zip(layers, one, strict=True):
        if layer is not other:
            layer.load_state_dict({name: a[0, 0] for name, a in other.state_dict().items()})
    every, own = models.tiled(tiles="all"), models.locally_connected()
    copy_into(every, one, lambda a, tiles: np.broadcast_to(a, (*tiles, *a.shape[2:])))
    own.load_state_dict(every.state_dict())
    want = answers(nn.Sequential(*layers))
    for model in (one, every, own):
        for got, right in zip(answers(model), want, strict=True):
            assert np.abs(got - right).max() <= 1e-6 * max(1.0, np.abs(right).max())
    own[0].weight.data[3, 4] += 0.5  # unshared: a kernel of its own changes its own place only
    moved = np.abs(np.asarray(own[0](rb.Tensor(x)).data) - np.asarray(every[0](rb.Tensor(x)).data)).max((0, 3)) > 0
    assert np.argwhere(moved).tolist() == [[3, 4]]


def test_counts_of_the_table():
    """A:2.H, one map: m = 64 inputs, n = 36 outputs, k = 9 weights a window, l kernels."""
    m, n, k = 64, 36, 9
    rows = {
        "fully connected": (nn.Sequential(nn.Flatten(), nn.Linear(m, n, bias=False)), m * n, m * n),
        "locally connected": (nn.LocallyConnected2d(1, 1, 8, 3, bias=False), k * n, k * n),
        "tiled, l = 4": (nn.TiledConv2d(1, 1, 3, 2, bias=False), k * 4, k * n),
        "tiled, l = 6": (nn.TiledConv2d(1, 1, 3, (2, 3), bias=False), k * 6, k * n),
        "traditional": (nn.Conv2d(1, 1, 3, bias=False), k, k * n),
    }
    for name, (layer, parameters, macs) in rows.items():
        summary = layer.summary((8, 8, 1))
        assert (summary.parameters, summary.macs) == (parameters, macs), name


@pytest.mark.parametrize(
    ("tiles", "kernels"), [(1, (1, 1)), (2, (4, 4)), ((2, 3), (6, 6)), ("all", (64, 16))]
)
def test_counts_of_the_networks(tiles, kernels):
    first, second = kernels
    model = models.tiled(tiles=tiles)
    parameters = first * 16 * (9 + 1) + second * 32 * (9 * 16 + 1) + 10 * (128 + 1)
    assert model.num_parameters() == parameters
    assert model.summary((8, 8, 1)).macs == 64 * 16 * 9 + 16 * 32 * 9 * 16 + 1280
    if tiles == "all":
        assert models.locally_connected().num_parameters() == parameters


def test_networks_refuse_what_does_not_fit():
    for build in (models.tiled, models.locally_connected):
        with pytest.raises(ValueError, match=r"input_shape \(H,W,C\)"):
            build(input_shape=(3, 8, 1))
        with pytest.raises(ValueError, match="channels"):
            build(channels=(4, 0))
    with pytest.raises(ValueError, match="'all'"):
        models.tiled(tiles="every")
    with pytest.raises(ValueError, match="tiles"):
        models.tiled(tiles=0)


def test_registered_networks_learn_the_digits():
    pytest.importorskip("sklearn")
    train, test = rb.data.digits(split=True)
    for name in ("tiled", "locally_connected"):
        rb.manual_seed(0)
        model = models.build(name)
        optimizer = rb.optim.Adam(model.parameters(), 3e-3)
        model.fit(train.x, train.y, epochs=6, optimizer=optimizer, progress=False, seed=0)
        assert model.evaluate(test.x, test.y)["accuracy"] > 0.9
