"""VGG: the paper's counts, the same network in PyTorch with torchvision's names, maps by name, perceptual loss."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Tensor, models, nn

F32 = np.float32
RNG = np.random.default_rng(0)

# parameters (in millions in the paper's table 2: 133, 133, 138, 144); multiply-adds of one 224x224 picture
COUNTS = {
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg13": (133_047_848, 11_308_466_176),
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg19": (143_667_240, 19_632_062_464),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    with nn.init.without_weights():
        net = models.build(name)
    s = net.summary((224, 224, 3))
    assert (net.num_parameters(), s.macs) == COUNTS[name]
    assert len([m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]) == int(name[3:])
    assert [r.output_shape for r in s.rows if r.kind == "MaxPool2d"][-1] == (7, 7, 512)


@pytest.mark.quick
def test_receptive_field_of_vgg16():
    with nn.init.without_weights():  # A. Araujo, W. Norris, J. Sim, Distill, 2019
        assert rb.train.receptive_field(models.vgg16(), (224, 224, 3)) == (212, 212)
        assert models.vgg16(batch_norm=True).num_parameters() == COUNTS["vgg16"][0] + 2 * 4224


def torch_vgg(torch, name, classes, size, batch_norm):
    """As torchvision builds it, from the configuration of the paper's table 1."""
    t = torch.nn
    plan = {"vgg11": "64M128M256,256M512,512M512,512M", "vgg16": "64,64M128,128M256,256,256M512,512,512M512,512,512M"}
    layers, channels = [], 3
    for stage in plan[name].split("M")[:-1]:
        for width in map(int, stage.split(",")):
            layers += [t.Conv2d(channels, width, 3, padding=1), *([t.BatchNorm2d(width)] * batch_norm), t.ReLU()]
            channels = width
        layers.append(t.MaxPool2d(2, 2))
    net = t.Module()
    net.features = t.Sequential(*layers)
    rows, columns = size[0] // 32, size[1] // 32
    net.classifier = t.Sequential(
        t.Linear(512 * rows * columns, 40), t.ReLU(), t.Dropout(), t.Linear(40, 40), t.ReLU(), t.Dropout(),
        t.Linear(40, classes),
    )  # fmt: skip
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if "running_var" in key:
                value.copy_(torch.rand_like(value) + 0.5)
            elif value.ndim == 4:
                value.mul_(3.0)  # so that something arrives
    return net.eval()


@pytest.mark.parametrize(("name", "batch_norm"), [("vgg11", False), ("vgg16", True)])
def test_weights_with_torchvision_names(name, batch_norm, tmp_path):
    torch = pytest.importorskip("torch")
    import safetensors.torch

    torch.manual_seed(0)
    theirs = torch_vgg(torch, name, 7, (64, 96), batch_norm)
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    net = models.load(name, tmp_path / "w.safetensors", input_shape=(64, 96, 3), hidden=40, batch_norm=batch_norm)
    x = RNG.random((2, 64, 96, 3)).astype(F32)
    with torch.no_grad():
        maps = theirs.features(torch.tensor(x.transpose(0, 3, 1, 2).copy()))
        want = theirs.classifier(torch.flatten(maps, 1)).numpy()
    assert np.ptp(want) > 0.01
    np.testing.assert_allclose(net.predict(x), want, rtol=1e-3, atol=1e-3 * np.abs(want).max())
    tuned = models.load(
        name, tmp_path / "w.safetensors", num_classes=3, freeze=True, input_shape=(64, 96, 3), hidden=40,
        batch_norm=batch_norm,
    )
    assert {n for n, p in tuned.named_parameters() if p.requires_grad} == {"classifier.6.weight", "classifier.6.bias"}
    assert tuned.predict(x).shape == (2, 3)


def small(**options):
    rb.manual_seed(0)
    return models.vgg11(5, input_shape=(32, 32, 3), hidden=16, **options)


def test_maps_by_name():
    net = small().eval()
    x = RNG.random((2, 32, 32, 3)).astype(F32)
    found = net.maps(Tensor(x), ["pool2", "conv1_1", "conv5_2"])
    assert {k: v.shape for k, v in found.items()} == {
        "pool2": (2, 8, 8, 128), "conv1_1": (2, 32, 32, 64), "conv5_2": (2, 2, 2, 512),
    }  # fmt: skip
    first = net.features[0]
    np.testing.assert_array_equal(found["conv1_1"].data, first(Tensor(x)).data)
    normed = small(batch_norm=True).eval()
    layers = list(normed.features)
    np.testing.assert_array_equal(
        normed.maps(Tensor(x), ["conv1_1"])["conv1_1"].data, layers[2](layers[1](layers[0](Tensor(x)))).data
    )
    with pytest.raises(ValueError, match=r"no layer 'conv1_2'; there are conv1_1, pool1, conv2_1"):
        net.maps(Tensor(x), ["conv1_2"])


def test_perceptual_loss():
    net = small()
    x, y = (RNG.random((2, 32, 32, 3)).astype(F32) for _ in range(2))
    weights = {"conv1_1": 1.0, "pool3": 0.5}
    loss = models.PerceptualLoss(net, weights)
    assert loss(Tensor(x), x).item() == 0.0
    p = Tensor(x, requires_grad=True)
    value = loss(p, y)
    ours, theirs = (net.maps(Tensor(v), list(weights)) for v in (x, y))
    want = sum(
        w * ((ours[k].data.astype(np.float64) - theirs[k].data) ** 2).mean() for k, w in weights.items()
    )
    assert value.item() == pytest.approx(want, rel=1e-5)
    value.backward()
    assert all(q.grad is None for q in net.parameters()) and not loss.train().network.training
    step = 1e-2 * p.grad.data / np.abs(p.grad.data).max()
    change = (loss(Tensor(x + step), y).item() - loss(Tensor(x - step), y).item()) / 2
    assert change == pytest.approx((p.grad.data.astype(np.float64) * step).sum(), rel=2e-2)
    for make, says in (
        (lambda: models.PerceptualLoss(net, {}), "at least one layer"),
        (lambda: loss(Tensor(x), y[:1]), "of one shape"),
        (lambda: models.vgg11(input_shape=(31, 32, 3)), "at least 32"),
        (lambda: models.VGG(12), "depth must be 11, 13, 16 or 19"),
    ):
        with pytest.raises(ValueError, match=says):
            make()


def coloured(shape):
    """Pictures whose classes are their colours."""
    y = np.arange(8) % 4
    colours = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])[y][:, None, None]
    return (colours * np.random.default_rng(1).random((8, *shape))).astype(F32), y


def test_a_few_steps_lower_the_loss():
    rb.manual_seed(0)
    net = small(dropout=0.0)
    x, y = coloured((32, 32, 3))
    optimizer = rb.optim.Adam(net.parameters(), 1e-3)
    history = net.fit(x, y, epochs=10, seed=0, batch_size=8, optimizer=optimizer, progress=False)
    assert history.history["loss"][-1] < 0.9 * history.history["loss"][0]
