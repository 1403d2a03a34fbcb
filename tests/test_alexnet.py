"""AlexNet in three forms and ZFNet: the papers' counts, PyTorch, the deconvnet view against the gradient."""

from __future__ import annotations

import numpy as np
import pytest
from test_vgg import coloured

import rosenblatt as rb
from rosenblatt import Tensor, models, nn, ops

F32 = np.float32
RNG = np.random.default_rng(0)

COUNTS = {  # parameters, multiply-adds of one picture of the published size, receptive field of the last pool
    "alexnet": (61_100_840, 714_188_480, 195),
    "alexnet_two_groups": (60_965_224, 724_406_816, 195),
    "alexnet_single": (62_378_344, 1_135_256_096, 195),
    "zfnet": (62_357_608, 1_168_032_896, 171),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    with nn.init.without_weights():
        net = models.build(name)
    s = net.summary(models.info(name).full)
    assert (net.num_parameters(), s.macs, s.receptive_field[0]) == COUNTS[name]


@pytest.mark.quick
def test_layers_of_the_paper():
    with nn.init.without_weights():
        two, zf = models.alexnet_two_groups(), models.zfnet()
    rows = [r for r in two.summary((227, 227, 3)).rows if r.parameters]
    assert [r.parameters for r in rows] == [34944, 307456, 885120, 663936, 442624, 37752832, 16781312, 4097000]
    assert [r.output_shape for r in rows[:5]] == [(55, 55, 96), (27, 27, 256), *[(13, 13, 384)] * 2, (13, 13, 256)]
    shapes = [r.output_shape[0] for r in zf.summary((224, 224, 3)).rows if r.kind in ("Conv2d", "MaxPool2d")]
    assert shapes == [110, 55, 26, 13, 13, 13, 13, 6]
    norms = [m for m in two.modules() if isinstance(m, nn.LocalResponseNorm)]
    x = RNG.standard_normal((1, 1, 1, 7)) * 50
    want = [x[..., c] / (2 + 1e-4 * (x[..., max(0, c - 2) : c + 3] ** 2).sum(-1)) ** 0.75 for c in range(7)]
    assert len(norms) == 2
    np.testing.assert_allclose(norms[0](x), np.stack(want, -1), rtol=1e-12)


@pytest.mark.quick
def test_too_small():
    for name, size in (("alexnet", 62), ("alexnet_two_groups", 66), ("zfnet", 52)):
        with nn.init.without_weights():
            models.build(name, input_shape=(size + 1, size + 1, 3))
            with pytest.raises(ValueError, match=f"{name}: images of .* are too small"):
                models.build(name, input_shape=(size, size, 3))


def test_two_groups_are_two_columns():
    """The second convolution's two halves see the maps of their own card alone."""
    net = models.alexnet_two_groups(5, input_shape=(67, 67, 3), hidden=8).eval()
    layers = list(net.features)
    x = RNG.random((1, 7, 7, 96)).astype(F32)
    other = x.copy()
    other[..., 48:] += 1
    a, b = (layers[3](v).data for v in (x, other))
    assert np.array_equal(a[..., :128], b[..., :128]) and not np.array_equal(a[..., 128:], b[..., 128:])


def test_weights_with_torchvision_names(tmp_path):
    torch = pytest.importorskip("torch")
    import safetensors.torch

    t = torch.nn
    torch.manual_seed(0)
    theirs = t.Module()
    theirs.features = t.Sequential(
        t.Conv2d(3, 64, 11, 4, 2), t.ReLU(), t.MaxPool2d(3, 2), t.Conv2d(64, 192, 5, padding=2), t.ReLU(),
        t.MaxPool2d(3, 2), t.Conv2d(192, 384, 3, padding=1), t.ReLU(), t.Conv2d(384, 256, 3, padding=1), t.ReLU(),
        t.Conv2d(256, 256, 3, padding=1), t.ReLU(), t.MaxPool2d(3, 2),
    )  # fmt: skip
    theirs.classifier = t.Sequential(
        t.Dropout(), t.Linear(256 * 2 * 3, 30), t.ReLU(), t.Dropout(), t.Linear(30, 30), t.ReLU(), t.Linear(30, 7)
    )
    for value in theirs.features.parameters():
        value.data *= 2
    theirs.eval()
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    net = models.load("alexnet", tmp_path / "w.safetensors", input_shape=(95, 127, 3), hidden=30)
    x = RNG.random((2, 95, 127, 3)).astype(F32)
    with torch.no_grad():
        maps = theirs.features(torch.tensor(x.transpose(0, 3, 1, 2).copy()))
        want = theirs.classifier(torch.flatten(maps, 1)).numpy()
    assert np.ptp(want) > 0.01
    np.testing.assert_allclose(net.predict(x), want, rtol=1e-3, atol=1e-3 * np.abs(want).max())


def seeing(**options):
    rb.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2, padding=1, **options), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 6, 3, **options)
    )


def test_deconvnet_of_linear_layers_is_the_gradient():
    """Without rectification the way back is the adjoint: the gradient of half the sum of the map's squares."""
    net = seeing()
    x = RNG.random((2, 32, 32, 3)).astype(F32)
    for strongest in (False, True):
        t = Tensor(x, requires_grad=True)
        y = net(t)[..., 2]
        seed = y.data.copy()
        if strongest:
            top = seed.reshape(2, -1).max(1)[:, None, None]
            seed = np.where(seed == np.maximum(top, 0), seed, 0)
        y.backward(seed)
        view = models.deconvnet(net, x, 2, strongest=strongest)
        assert view.shape == x.shape and view.any()
        np.testing.assert_allclose(view, t.grad.data, rtol=1e-4, atol=1e-5)


def test_deconvnet_rectifies_what_comes_back():
    net = seeing(activation="relu")
    x = RNG.random((1, 32, 32, 3)).astype(F32)
    first, _, second = net
    maps = first(Tensor(x))
    small, where = ops.max_pool2d(maps, 3, 2, 1, return_indices=True)
    y = second(small).data
    signal = np.zeros_like(y)
    signal[..., 1] = y[..., 1]

    def stamp(signal, layer, shape):
        """Each value puts its kernel into the picture, by plain loops."""
        _, r, s, c = layer.weight.shape
        step, pad = layer.stride[0], layer.padding if isinstance(layer.padding, int) else layer.padding[0]
        out = np.zeros((shape[0], shape[1] + 2 * pad + r, shape[2] + 2 * pad + s, c))
        for p in range(signal.shape[1]):
            for q in range(signal.shape[2]):
                out[:, p * step : p * step + r, q * step : q * step + s] += np.tensordot(
                    signal[:, p, q], layer.weight.data.astype(np.float64), ([1], [0])
                )
        return out[:, pad : pad + shape[1], pad : pad + shape[2]]

    back = stamp(np.maximum(signal, 0), second, small.shape)
    wide = np.zeros((1, maps.shape[1] * maps.shape[2], 4))
    for p, q, c in np.ndindex(back.shape[1:]):
        wide[0, where[0, p, q, c], c] += back[0, p, q, c]
    want = stamp(np.maximum(wide.reshape(maps.shape), 0), first, x.shape)
    np.testing.assert_allclose(models.deconvnet(net, x, 1, strongest=False), want, rtol=1e-4, atol=1e-5)


def test_deconvnet_of_zfnet_stays_in_the_receptive_field():
    rb.manual_seed(0)
    net = models.zfnet(6, input_shape=(128, 128, 3), hidden=8).eval()
    x = RNG.random((1, 128, 128, 3)).astype(F32)
    layers = list(net.features)[:4]  # to the second convolution, which sees 27 pixels
    best = int(nn.Sequential(layers)(Tensor(x)).data.max((0, 1, 2)).argmax())
    view = models.deconvnet(layers, x, best)
    field = rb.train.receptive_field(nn.Sequential(layers), (128, 128, 3))[0]
    rows = np.nonzero(view[0].any((1, 2)))[0]
    assert 0 < np.ptp(rows) + 1 <= field
    for make, says in (
        (lambda: models.deconvnet(net.features, x, 256), "no channel 256"),
        (lambda: models.deconvnet([nn.AvgPool2d(2)], x, 0), "cannot go back through AvgPool2d"),
    ):
        with pytest.raises(ValueError, match=says):
            make()


@pytest.mark.parametrize("name", ["alexnet_two_groups", "zfnet"])
def test_a_few_steps_lower_the_loss(name):
    rb.manual_seed(0)
    shape = models.info(name).image
    net = models.build(name, input_shape=shape, classes=5, hidden=64, dropout=0.0)
    x, y = coloured(shape)
    history = net.fit(x, y, epochs=5, batch_size=8, optimizer=rb.optim.Adam(net.parameters(), 1e-3), progress=False)
    assert history.history["loss"][-1] < 0.9 * history.history["loss"][0]
