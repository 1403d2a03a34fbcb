"""Residual networks: the papers' counts, the same networks in PyTorch, option A by hand, depth."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import io, models, nn
from rosenblatt.models import ResNet, resnet20, small_resnet

F32 = np.float32
RNG = np.random.default_rng(0)

# parameters; multiply-adds with the stride on the 3x3 layer, and where the paper has it, which it rounds down to one
# digit behind the point; receptive field of the last map (A. Araujo, W. Norris, J. Sim, Distill, 2019, for the latter)
IMAGENET = {
    "resnet18": (11_689_512, 1_814_073_344, 1.8, 435),
    "resnet34": (21_797_672, 3_663_761_408, 3.6, 899),
    "resnet50": (25_557_032, 4_089_184_256, 3.8, 483),
    "resnet101": (44_549_160, 7_801_405_440, 7.5, 1027),
    "resnet152": (60_192_808, 11_513_626_624, 11.2, 1507),
}
PAPER = {"resnet101": 7.6, "resnet152": 11.3}  # rounded up there


@pytest.mark.quick
@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_counts(name):
    parameters, macs, rounded, field = IMAGENET[name]
    with nn.init.without_weights():
        net, first = models.build(name), models.build(name, stride_on="1x1")
    assert net.num_parameters() == parameters
    assert net.summary((224, 224, 3)).macs == macs
    own = first.summary((224, 224, 3))
    assert own.macs // 10**8 == round(10 * rounded) and abs(own.macs / 1e9 - PAPER.get(name, rounded)) < 0.1
    assert own.receptive_field == (field, field)


@pytest.mark.quick
@pytest.mark.parametrize(("name", "count"), [("resnet20", 269_722), ("resnet56", 853_018), ("resnet110", 1_727_962)])
def test_small_counts(name, count):
    with nn.init.without_weights():
        assert models.build(name).num_parameters() == count
        assert models.build(name, input_shape=(8, 8, 1)).num_parameters() == count - 2 * 9 * 16


@pytest.mark.quick
def test_plain_and_preactivation_counts():
    with nn.init.without_weights():
        deep, plain = (models.preact_resnet(depth=200, residual=r) for r in (True, False))
        assert deep.num_parameters() == plain.num_parameters()  # shortcuts of option A have none
        # 16-channel block input instead of output normalised, twice: 2 (16 + 32) fewer there, 64 at the end instead of
        # 16 in the beginning
        assert models.preact_resnet().num_parameters() == resnet20().num_parameters() - 2 * (16 + 32) + 2 * (64 - 16)
        convs = [m for m in deep.modules() if isinstance(m, nn.Conv2d)]
        assert len(convs) + 1 == 200


@pytest.mark.quick
def test_option_a_shortcut():
    block = small_resnet(8, input_shape=(6, 6, 16)).layer2[0]
    block.eval()
    for p in block.parameters():
        p.data[...] = 0  # the residual part is 0: relu of the shortcut is left
    x = RNG.standard_normal((2, 6, 6, 16)).astype(F32)
    y = block(x)
    assert y.shape == (2, 3, 3, 32)
    np.testing.assert_array_equal(y.data[..., :16], np.maximum(x[:, ::2, ::2], 0))
    assert not y.data[..., 16:].any()
    plain = small_resnet(8, input_shape=(6, 6, 16), residual=False).layer2[0].eval()
    for p in plain.parameters():
        p.data[...] = 0
    assert not plain(x).data.any()


@pytest.mark.quick
def test_sum_of_residuals():
    """x_L = x_l + sum of F(x_i) in a stage of pre-activation blocks."""
    stage = small_resnet(20, input_shape=(8, 8, 1), preactivation=True).eval().layer1
    x = RNG.standard_normal((2, 8, 8, 16)).astype(F32)
    at, total = rb.Tensor(x), x.astype(np.float64)
    for block in stage:
        y = block.conv2(block.relu(block.bn2(block.conv1(block.relu(block.bn1(at))))))
        total = total + y.data
        at = block(at)
    np.testing.assert_allclose(stage(rb.Tensor(x)).data, total, rtol=1e-5, atol=1e-5)


@pytest.mark.quick
def test_refusals():
    for make, says in (
        (lambda: small_resnet(21), "depth must be 6n"),
        (lambda: ResNet([2], "wide"), "block must be 'basic' or 'bottleneck', got 'wide'"),
        (lambda: ResNet([0]), "layers must be positive integers"),
        (lambda: models.resnet18(input_shape=(32, 32)), "resnet18: expected input_shape"),
        (lambda: models.resnet18(10)(rb.ops.zeros((1, 3, 64, 64))), "looks like NCHW"),
    ):
        with pytest.raises(ValueError, match=says):
            make()


def torch_resnet(torch, layers, bottleneck, classes, width=64):
    """The network as torchvision names its parts, written out from the paper's table 1."""
    t = torch.nn

    class Block(t.Module):
        def __init__(self, inputs, size, stride):
            super().__init__()
            out = 4 * size if bottleneck else size
            if bottleneck:
                self.conv1, self.bn1 = t.Conv2d(inputs, size, 1, bias=False), t.BatchNorm2d(size)
                self.conv2, self.bn2 = t.Conv2d(size, size, 3, stride, 1, bias=False), t.BatchNorm2d(size)
                self.conv3, self.bn3 = t.Conv2d(size, out, 1, bias=False), t.BatchNorm2d(out)
            else:
                self.conv1, self.bn1 = t.Conv2d(inputs, size, 3, stride, 1, bias=False), t.BatchNorm2d(size)
                self.conv2, self.bn2 = t.Conv2d(size, out, 3, 1, 1, bias=False), t.BatchNorm2d(out)
            self.downsample = None
            if stride > 1 or inputs != out:
                self.downsample = t.Sequential(t.Conv2d(inputs, out, 1, stride, bias=False), t.BatchNorm2d(out))

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            if bottleneck:
                y = self.bn3(self.conv3(torch.relu(y)))
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Net(t.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = t.Conv2d(3, width, 7, 2, 3, bias=False), t.BatchNorm2d(width)
            channels = width
            for i, n in enumerate(layers):
                blocks = []
                for j in range(n):
                    blocks.append(Block(channels, width * 2**i, 2 if i and not j else 1))
                    channels = width * 2**i * (4 if bottleneck else 1)
                setattr(self, f"layer{i + 1}", t.Sequential(*blocks))
            self.fc = t.Linear(channels, classes)

        def forward(self, x):
            x = torch.nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            for i in range(len(layers)):
                x = getattr(self, f"layer{i + 1}")(x)
            return self.fc(x.mean((2, 3)))

    net = Net()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point and value.ndim == 1:
                value.copy_(torch.rand_like(value) + (0.5 if "var" in name or name.endswith("weight") else -0.5))
    return net.eval()


@pytest.mark.parametrize(("name", "layers"), [("resnet18", (2, 2, 2, 2)), ("resnet50", (3, 4, 6, 3))])
def test_weights_with_torchvision_names(name, layers, tmp_path):
    torch = pytest.importorskip("torch")
    import safetensors.torch

    torch.manual_seed(0)
    theirs = torch_resnet(torch, layers, name == "resnet50", 7, width=16)
    state = theirs.state_dict()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    net = models.load(name, path, width=16).eval()
    x = RNG.random((2, 64, 64, 3)).astype(F32)
    with torch.no_grad():
        want = theirs(torch.tensor(x.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(net.predict(x), want, rtol=1e-3, atol=1e-3 * np.abs(want).max())
    io.save_weights(net, tmp_path / "back.safetensors")
    back = safetensors.torch.load_file(tmp_path / "back.safetensors")
    assert back.keys() == state.keys() and all(torch.equal(back[k], v) for k, v in state.items())
    # fine-tuning: a new output layer, everything else frozen; files of old versions lack the counts
    for key in [k for k in state if k.endswith("num_batches_tracked")]:
        del state[key]
    safetensors.torch.save_file(state, path)
    tuned = models.load(name, path, num_classes=3, freeze=True, width=16)
    assert tuned.fc.out_features == 3 and {n for n, p in tuned.named_parameters() if p.requires_grad} == {
        "fc.weight", "fc.bias",
    }  # fmt: skip
    del state["layer1.0.conv1.weight"]
    safetensors.torch.save_file(state, path)
    with pytest.raises(io.WeightsError, match=r"missing layer1\.0\.conv1\.weight"):
        models.load(name, path, width=16)


def test_bottleneck_gradients_equal_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch_resnet(torch, (1, 1), True, 5, width=4).train()
    net = ResNet((1, 1), "bottleneck", 5, width=4)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    layout = {4: (0, 2, 3, 1)}
    net.load_state_dict({k: v.transpose(layout[v.ndim]) if v.ndim in layout else v for k, v in state.items()})
    x, y = RNG.random((4, 32, 32, 3)).astype(F32), np.array([0, 3, 1, 2])
    loss = rb.ops.cross_entropy(net(rb.Tensor(x)), y)
    loss.backward()
    want = torch.nn.functional.cross_entropy(theirs(torch.tensor(x.transpose(0, 3, 1, 2).copy())), torch.tensor(y))
    want.backward()
    assert abs(loss.item() - want.item()) < 1e-5
    grads = dict(theirs.named_parameters())
    for name, p in net.named_parameters():
        g = grads[name].grad.numpy()
        g = g.transpose(layout[g.ndim]) if g.ndim in layout else g
        np.testing.assert_allclose(p.grad.data, g, rtol=2e-3, atol=2e-4 * np.abs(g).max(), err_msg=name)


@pytest.mark.parametrize("make", [
    lambda: resnet20(10, input_shape=(8, 8, 1)), lambda: models.preact_resnet(10, input_shape=(8, 8, 1)),
])  # fmt: skip
def test_learns_a_batch_by_heart(make):
    rb.manual_seed(0)
    net = make()
    x, y = RNG.random((32, 8, 8, 1)).astype(F32), np.arange(32) % 10
    net.fit(x, y, epochs=40, batch_size=32, optimizer=rb.optim.Adam(net.parameters(), 3e-3), progress=False, seed=0)
    assert net.fit(x, y, epochs=1, batch_size=32, progress=False, seed=0).last("accuracy") == 1.0
