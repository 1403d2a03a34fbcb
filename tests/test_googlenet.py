"""GoogLeNet: the paper's counts, PyTorch with torchvision's names, auxiliary classifiers."""

from __future__ import annotations

import numpy as np
import pytest
from test_vgg import coloured

import rosenblatt as rb
from rosenblatt import models, nn, ops
from rosenblatt.models.googlenet import INCEPTION, GoogLeNet, GoogLeNetOutputs

F32 = np.float32
RNG = np.random.default_rng(0)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("googlenet_paper", {}, 6_998_552),
        ("googlenet_paper", {"aux": True}, 13_378_280),
        ("googlenet_bn", {}, 7_005_832),
        ("googlenet", {}, 6_624_904),
        ("googlenet", {"aux": True}, 13_004_888),
    ],
)
def test_parameters(name, options, parameters):
    with nn.init.without_weights():
        assert models.build(name, **options).num_parameters() == parameters


@pytest.mark.quick
def test_table_1_of_the_paper():
    """Output sizes and multiply-adds in millions, but for two misprints: 34 for the first layer (the rest of the table
    counts a 224x224 input as 118) and 54 for 5a (the sum of its branches is 51)."""
    with nn.init.without_weights():
        s = models.googlenet_paper().summary((224, 224, 3))
    macs = {}
    for row in s.rows:
        part = row.name.split(".")[0]
        macs[part] = macs.get(part, 0) + row.macs
    millions = {k: round(v / 1e6) for k, v in macs.items()}
    assert round((macs["conv2"] + macs["conv3"]) / 1e6) == 360
    assert [millions[f"inception{k}"] for k in ("3a", "3b")] == [128, 304]
    assert [millions[f"inception4{k}"] for k in "bcde"] == [88, 100, 119, 170]
    assert macs["inception4a"] // 10**6 == 73 and millions["inception5b"] == 71 and millions["fc"] == 1
    assert s.macs == 1_582_671_872  # "about 1.5 billion"
    pools = [r.output_shape for r in s.rows if r.name.startswith("maxpool")]
    assert pools == [(56, 56, 64), (28, 28, 192), (14, 14, 480), (7, 7, 832)]
    assert len(INCEPTION) == 9


@pytest.mark.quick
def test_an_inception_module_by_hand():
    rb.manual_seed(0)
    net = models.googlenet_paper(5, input_shape=(32, 32, 3)).eval()
    x = RNG.random((1, 5, 4, 192)).astype(F32)
    module = net.inception3a
    y = module(x).data
    assert y.shape == (1, 5, 4, 256)

    def conv(x, layer):
        c = layer.conv
        return ops.relu(ops.conv2d(x, c.weight, c.bias, padding=c.kernel_size[0] // 2)).data

    parts = [
        conv(x, module.branch1), conv(conv(x, module.branch2[0]), module.branch2[1]),
        conv(conv(x, module.branch3[0]), module.branch3[1]), conv(ops.max_pool2d(x, 3, 1, 1), module.branch4[1]),
    ]  # fmt: skip
    assert [p.shape[-1] for p in parts] == [64, 128, 32, 32]
    assert module.branch3[1].conv.kernel_size == (5, 5)
    np.testing.assert_allclose(y, np.concatenate(parts, -1), rtol=1e-5, atol=1e-6)


def torch_googlenet(torch, classes):
    """As torchvision builds it, written out."""
    t = torch.nn

    def basic(a, b, k, s=1, p=0):
        block = t.Sequential()
        block.conv, block.bn = t.Conv2d(a, b, k, s, p, bias=False), t.BatchNorm2d(b, eps=0.001)
        block.append(t.ReLU())
        return block

    class Inception(t.Module):
        def __init__(self, a, one, r3, three, r5, five, pool):
            super().__init__()
            self.branch1 = basic(a, one, 1)
            self.branch2 = t.Sequential(basic(a, r3, 1), basic(r3, three, 3, 1, 1))
            self.branch3 = t.Sequential(basic(a, r5, 1), basic(r5, five, 3, 1, 1))
            self.branch4 = t.Sequential(t.MaxPool2d(3, 1, 1, ceil_mode=True), basic(a, pool, 1))

        def forward(self, x):
            return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)

    class Net(t.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = basic(3, 64, 7, 2, 3)
            self.conv2, self.conv3 = basic(64, 64, 1), basic(64, 192, 3, 1, 1)
            channels = 192
            for key, (one, r3, three, r5, five, pool) in INCEPTION.items():
                setattr(self, f"inception{key}", Inception(channels, one, r3, three, r5, five, pool))
                channels = one + three + five + pool
            self.fc = t.Linear(channels, classes)

        def forward(self, x):
            pool = torch.nn.functional.max_pool2d
            x = pool(self.conv1(x), 3, 2, ceil_mode=True)
            x = pool(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
            for key in INCEPTION:
                if key == "4a":
                    x = pool(x, 3, 2, ceil_mode=True)
                if key == "5a":
                    x = pool(x, 2, 2, ceil_mode=True)
                x = getattr(self, f"inception{key}")(x)
            return self.fc(x.mean((2, 3)))

    net = Net()
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.ndim == 1 and value.dtype.is_floating_point:
                value.copy_(torch.rand_like(value) + (0.5 if "var" in key or key.endswith("bn.weight") else -0.5))
    return net.eval()


def test_weights_with_torchvision_names(tmp_path):
    torch = pytest.importorskip("torch")
    import safetensors.torch

    torch.manual_seed(0)
    theirs = torch_googlenet(torch, 7)
    state = {**theirs.state_dict(), "aux1.fc1.weight": torch.zeros(3), "aux2.fc2.bias": torch.zeros(3)}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    x = RNG.random((2, 75, 64, 3)).astype(F32)  # sizes that the pools round up
    for transform in (False, True):
        net = models.load("googlenet", tmp_path / "w.safetensors", input_shape=(75, 64, 3), transform_input=transform)
        given = x
        if transform:  # from ImageNet's means and deviations to 0.5
            mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
            given = ((x * deviation + mean - 0.5) / 0.5).astype(F32)
        with torch.no_grad():
            want = theirs(torch.tensor(given.transpose(0, 3, 1, 2).copy())).numpy()
        assert np.ptp(want) > 0.01
        np.testing.assert_allclose(net.predict(x), want, rtol=1e-3, atol=1e-3 * np.abs(want).max())


def test_auxiliary_classifiers():
    rb.manual_seed(0)
    net = models.googlenet_paper(5, input_shape=(80, 80, 3), aux=True)
    x, y = RNG.random((2, 80, 80, 3)).astype(F32), np.array([1, 3])
    out = net(rb.Tensor(x))
    assert isinstance(out, GoogLeNetOutputs) and [o.shape for o in out] == [(2, 5)] * 3

    def cross_entropy(logits):
        z = logits.data.astype(np.float64)
        return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(2), y]))

    want = cross_entropy(out.logits) + 0.3 * (cross_entropy(out.aux_logits1) + cross_entropy(out.aux_logits2))
    loss = net.loss(out, y)
    assert loss.item() == pytest.approx(want, rel=1e-5)
    loss.backward()
    assert net.aux1.fc1.weight.grad is not None and net.inception3a.branch1.conv.weight.grad is not None
    net.eval()
    assert net(rb.Tensor(x)).shape == (2, 5) and net.predict(x).shape == (2, 5)
    assert net.loss(net(rb.Tensor(x)), y).item() == pytest.approx(cross_entropy(net(rb.Tensor(x))), rel=1e-5)
    for make, says in (
        (lambda: GoogLeNet(5, input_shape=(64, 64, 3), aux=True), "maps of at least 5x5"),
        (lambda: GoogLeNet(5, input_shape=(31, 64, 3)), "at least 32x32"),
        (lambda: GoogLeNet(5, five=7), "five must be 5 or 3"),
        (lambda: GoogLeNet(5, input_shape=(64, 64, 1), transform_input=True), "for 3 channels"),
    ):
        with nn.init.without_weights(), pytest.raises(ValueError, match=says):
            make()


def test_a_few_steps_lower_the_loss():
    rb.manual_seed(0)
    net = models.googlenet_bn(input_shape=(32, 32, 3), num_classes=5, dropout=0.0)
    x, y = coloured((32, 32, 3))
    history = net.fit(x, y, epochs=5, batch_size=8, optimizer=rb.optim.Adam(net.parameters(), 1e-3), progress=False)
    assert history.history["loss"][-1] < 0.9 * history.history["loss"][0]
