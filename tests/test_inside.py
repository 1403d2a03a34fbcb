"""Views into networks against hand-made ones: SciPy's convolutions, loops, closed forms, PyTorch's gradients."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import models, nn, ops, viz
from rosenblatt.cli.main import main

pytestmark = pytest.mark.quick
F64 = np.float64


def small(seed=0, activation="relu"):
    """conv - ReLU - pool - conv - ReLU - dense, with a few channels, in float64."""
    rb.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, activation=activation), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, activation=activation), nn.Flatten(), nn.Linear(5 * 4, 3),
    )
    return model.astype(F64)


def images(n=3, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 8, 8, 2))


def correlate(x, layer, pad):
    """ReLU of the layer on one image [H,W,C], by SciPy."""
    signal = pytest.importorskip("scipy.signal")
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    w, b = np.asarray(layer.weight.data), np.asarray(layer.bias.data)
    maps = [sum(signal.correlate2d(x[..., c], k[..., c], "valid") for c in range(x.shape[2])) for k in w]
    return np.maximum(np.stack(maps, -1) + b, 0)


def test_feature_maps_are_what_scipy_computes():
    model, x = small(), images()
    found = viz.feature_maps(model, x)
    assert list(found) == viz.convolutions(model) == ["0", "2"]
    for n in range(len(x)):
        first = correlate(x[n], model[0], 1)
        assert np.abs(found["0"][n] - first).max() < 1e-12
        pooled = first.reshape(4, 2, 4, 2, 4).max((1, 3))
        assert np.abs(found["2"][n] - correlate(pooled, model[2], 0)).max() < 1e-12
    assert viz.feature_maps(model, x, ["1"])["1"].shape == (3, 4, 4, 4)
    assert model.training and all(p.requires_grad for p in model.parameters())


def transposed(signal, weight, size, pad):
    """[P,Q,K] stamped with the kernels [K,R,S,C] into [size,size,C]."""
    r = weight.shape[1]
    out = np.zeros((size + 2 * pad, size + 2 * pad, weight.shape[3]))
    for p, q, k in np.argwhere(signal):
        out[p : p + r, q : q + r] += signal[p, q, k] * weight[k]
    return out[pad : pad + size, pad : pad + size]


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
def test_deconvnet_by_hand(rule):
    """Rectify, stamp the kernels, put values back where the maxima were, rectify, stamp."""
    model, x = small(2), images(4, 3)
    w1, w2 = (np.asarray(layer.weight.data) for layer in (model[0], model[2]))

    def rectify(g, forward):
        g = np.maximum(g, 0) if rule != "gradient" else g
        return g * (forward > 0) if rule != "deconvnet" else g

    for unit in (None, 1):
        got = viz.deconvnet(model, x, "2", unit, rule)
        for n in range(len(x)):
            first = correlate(x[n], model[0], 1)
            cells = first.reshape(4, 2, 4, 2, 4).transpose(0, 2, 4, 1, 3).reshape(4, 4, 4, 4)  # [P,Q,K,window]
            second = correlate(cells.max(-1), model[2], 0)
            only = np.zeros_like(second)
            wanted = second if unit is None else np.where(np.arange(5) == unit, second, -1)
            at = np.unravel_index(wanted.argmax(), second.shape)
            only[at] = second[at]
            back = transposed(rectify(only, second), w2, 4, 0)
            switches = cells.argmax(-1)
            unpooled = np.zeros((4, 4, 4, 4))
            np.put_along_axis(unpooled, switches[..., None], back[..., None], -1)
            unpooled = unpooled.reshape(4, 4, 4, 2, 2).transpose(0, 3, 1, 4, 2).reshape(8, 8, 4)
            want = transposed(rectify(unpooled, first), w1, 8, 1)
            assert np.abs(got[n] - want).max() < 1e-12
    assert np.abs(got).max() > 0.01


def test_deconvnet_leaves_the_network_as_it_was_and_takes_relu_layers():
    model, x = small(4), images()
    plain = small(4, None)
    plain = nn.Sequential(plain[0], nn.ReLU(), plain[1], plain[2], nn.ReLU(), *list(plain)[3:])
    before = model.predict(x, capture=False)
    assert np.abs(viz.deconvnet(model, x, "2") - viz.deconvnet(plain, x, "4")).max() == 0
    assert (model.predict(x, capture=False) == before).all() and model[0].activation == "relu"
    assert not model[0]._forward_hooks and not plain[1]._forward_hooks

    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)

        def forward(self, x):
            return self.conv(ops.relu(x))

    with pytest.raises(ValueError, match=r"calls ops\.relu"):
        viz.deconvnet(Bare().astype(F64), x, "conv")


def test_saliency_is_pytorchs_gradient():
    torch = pytest.importorskip("torch")
    model, x, y = small(5), images(4), np.array([0, 2, 1, 2])
    got = viz.saliency(model, x, y)
    t = torch.from_numpy(np.moveaxis(x, -1, 1).copy()).requires_grad_()
    w = [torch.from_numpy(np.moveaxis(np.asarray(model[i].weight.data), -1, 1).copy()) for i in (0, 2)]
    b = [torch.from_numpy(np.asarray(model[i].bias.data)) for i in (0, 2)]
    h = torch.nn.functional.max_pool2d(torch.relu(torch.nn.functional.conv2d(t, w[0], b[0], padding=1)), 2)
    h = torch.relu(torch.nn.functional.conv2d(h, w[1], b[1])).permute(0, 2, 3, 1).reshape(4, -1)
    out = h @ torch.from_numpy(np.asarray(model[4].weight.data)).T
    out[torch.arange(4), torch.from_numpy(y)].sum().backward()
    want = t.grad.abs().amax(1).numpy()
    assert np.abs(got - want).max() < 1e-12
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 2), (8, 1)])
def test_occlusion_covers_square_after_square(size, stride):
    model, x, y = small(6), images(2), np.array([1, 2])
    got = viz.occlusion(model, x, y, size, stride=stride, fill=0.25)

    def probability(image, label):
        z = np.asarray(model(rb.Tensor(image[None])).data)[0]
        return np.exp(z[label]) / np.exp(z).sum()

    places = range(0, 8 - size + 1, stride)
    assert got.shape == (2, len(places), len(places))
    for n in range(2):
        for i, r in enumerate(places):
            for j, c in enumerate(places):
                covered = x[n].copy()
                covered[r : r + size, c : c + size] = 0.25
                want = probability(x[n], y[n]) - probability(covered, y[n])
                assert abs(got[n, i, j] - want) < 1e-12
    raw = viz.occlusion(model, x, y, size, stride=stride, fill=0.25, probability=False)
    assert raw.shape == got.shape and np.abs(raw - got).max() > 1e-6


def test_maximised_activation_of_a_linear_unit_is_its_weight():
    """max w.x - l2/2 |x|^2 is at w / l2, and at its nearest point within limits."""
    rb.manual_seed(7)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).astype(F64)
    w = np.asarray(model[1].weight.data)[1].reshape(2, 3, 2)
    image, value = viz.maximise_activation(model, (2, 3, 2), 1, l2=0.5, limits=None, lr=0.05, steps=400)
    assert np.abs(image - w / 0.5).max() < 1e-3
    assert value == pytest.approx((w * image).sum() + model[1].bias.data[1])
    image, _ = viz.maximise_activation(model, (2, 3, 2), 1, l2=0.5, limits=(-0.1, 0.2), steps=300)
    assert np.abs(image - np.clip(w / 0.5, -0.1, 0.2)).max() < 1e-3
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_maximised_map_takes_the_unit_in_the_middle():
    """The best image within [0, 1] for one convolution unit without decay: 1 where its kernel is positive."""
    model = small(8, None)
    image, value = viz.maximise_activation(model, (8, 8, 2), 2, "0", l2=0.0, steps=150, seed=1)
    w = np.asarray(model[0].weight.data)[2]
    assert np.abs(image[3:6, 3:6] - (w > 0)).max() < 1e-3
    assert value == pytest.approx(w[w > 0].sum() + model[0].bias.data[2], abs=1e-3)


def test_filters_of_every_kind_of_convolution():
    w = viz.layer_filters(small())
    assert w.shape == (4, 3, 3, 2)
    assert viz.layer_filters(models.tiled()).shape == (4 * 16, 3, 3, 1)
    assert viz.layer_filters(models.locally_connected(), "2").shape == (16 * 32, 3, 3, 16)
    table = nn.ConnectionTableConv2d(3, ((0, 1), (1, 2)), 3)
    assert viz.layer_filters(nn.Sequential(table)).shape == (4, 3, 3, 1)
    assert viz.layer_filters(nn.Sequential(nn.Conv1d(2, 4, 5))).shape == (4, 5, 2)


# --- the use of pixels


def windows_of(size, kernel, stride, pads, dilation):
    """Counts by stepping through all windows of a row and marking what they touch."""
    used = np.zeros(size, int)
    start = -pads[0]
    while start + dilation * (kernel - 1) < size + pads[1]:
        for tap in range(kernel):
            if 0 <= start + tap * dilation < size:
                used[start + tap * dilation] += 1
        start += stride
    return used


def test_a_n10_use_of_pixels():
    """k x k windows on 6 x 6: k = 1 all 1; k = 2 and 3 as in the notes; full padding uses all alike."""
    used = {k: viz.pixel_utilisation(nn.Conv2d(1, 1, k), (6, 6, 1)) for k in (1, 2, 3)}
    assert (used[1] == 1).all()
    assert used[2][:2].tolist() == [[1, 2, 2, 2, 2, 1], [2, 4, 4, 4, 4, 2]]
    assert used[3][:3].tolist() == [[1, 2, 3, 3, 2, 1], [2, 4, 6, 6, 4, 2], [3, 6, 9, 9, 6, 3]]
    assert (viz.pixel_utilisation(nn.Conv2d(1, 1, 3, padding="full"), (6, 6, 1)) == 9).all()


def test_use_of_pixels_of_other_windows_and_of_chains():
    conv = nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=((1, 0), (0, 2)), dilation=(1, 3))
    want = np.multiply.outer(windows_of(9, 3, 2, (1, 0), 1), windows_of(7, 2, 1, (0, 2), 3))
    assert (viz.pixel_utilisation(conv, (9, 7, 2)) == want).all()
    assert (viz.pixel_utilisation(nn.Conv1d(1, 1, 4, stride=3), (11, 1)) == windows_of(11, 4, 3, (0, 0), 1)).all()
    assert viz.pixel_utilisation(nn.Conv3d(1, 1, 2), (3, 3, 3, 1))[1, 1, 1] == 8
    # a chain: paths, counted by the gradient of layers whose kernels are all ones
    chain = nn.Sequential(
        nn.Conv2d(1, 1, 3, padding="same", bias=False), nn.Dropout(0.5), nn.AvgPool2d(2),
        nn.Conv2d(1, 1, 2, dilation=2, bias=False),
    ).astype(F64)
    for p in chain.parameters():
        p.data = np.ones_like(p.data)
    chain.eval()
    x = rb.Tensor(np.zeros((1, 10, 8, 1)), requires_grad=True)
    chain(x).sum().backward()
    assert np.abs(viz.pixel_utilisation(chain, (10, 8, 1)) - 4 * np.asarray(x.grad.data)[0, ..., 0]).max() < 1e-12


# --- pictures and refusals


@pytest.mark.parametrize(("name", "data"), [("tiled", "digits"), ("lenet5", "folder")])
def test_reports_show_the_insides(name, data, tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    source = "digits"
    if data == "folder":  # colour pictures of two classes
        x = np.random.default_rng(0).random((12, 9, 9, 3)).astype(np.float32)
        np.savez(tmp_path / "set.npz", x=x, y=np.arange(12) % 2)
        source = str(tmp_path / "set.npz")
    out = tmp_path / "run"
    assert main(["train", name, "--data", source, "--epochs", "1", "--quiet", "--out", str(out)]) == 0
    page = (out / "report.html").read_text()
    for heading in ("Feature maps", "Where it looks", "Deconvnet view", "Activation maximisation", "Use of pixels",
                    "First layer: filters"):
        assert f"<h2>{heading}</h2>" in page, heading
    assert main(["train", "mlp", "--epochs", "1", "--quiet", "--out", str(tmp_path / "other")]) == 0
    assert "Feature maps" not in (tmp_path / "other" / "report.html").read_text()


def test_figures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    model, x = small(), images()
    maps = {name: a[0] for name, a in viz.feature_maps(model, x).items()}
    viz.feature_map_grid(maps, 4).savefig(tmp_path / "maps.png")
    grey = np.random.default_rng(0).random((3, 8, 8, 1))
    rows = {"saliency": viz.saliency(model, x, [0, 1, 2]), "deconvnet": viz.deconvnet(model, x, "0")[..., :1]}
    viz.heat_maps(grey, rows, ["a", "b", "c"]).savefig(tmp_path / "heat.png")
    assert (tmp_path / "maps.png").stat().st_size > 1000 and (tmp_path / "heat.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: viz.feature_maps(m, x, ["9"]), "no layer '9'"),
        (lambda m, x: viz.feature_maps(m, x[0, 0]), "batch of images"),
        (lambda m, x: viz.deconvnet(m, x, "0", 4), "units 0..3, got 4"),
        (lambda m, x: viz.deconvnet(m, x, "0", rule="other"), "'guided', got 'other'"),
        (lambda m, x: viz.saliency(m, x, [0, 1, 3]), r"labels in 0\.\.K-1"),
        (lambda m, x: viz.saliency(m, x, [0, 1]), r"integer labels \[3\]"),
        (lambda m, x: viz.occlusion(m, x, [0, 1, 2], 9), "at least 9 pixels"),
        (lambda m, x: viz.occlusion(m, x, [0, 1, 2], 3, stride=0), "stride"),
        (lambda m, x: viz.maximise_activation(m, (8, 8, 2), 3), r"unit in 0\.\.2, got 3"),
        (lambda m, x: viz.maximise_activation(m, (8, 8, 2), 0, limits=(1, 0)), "low < high"),
        (lambda m, x: viz.maximise_activation(m, (8, 8, 2), 0, start=np.zeros((4, 4, 2))), "start of shape"),
        (lambda m, x: viz.layer_filters(m, "1"), r"convolution layer \(0, 2\), got '1'"),
        (lambda m, x: viz.layer_filters(nn.Sequential(nn.Linear(2, 2))), "there is none"),
        (lambda m, x: viz.pixel_utilisation(nn.ConvTranspose2d(1, 1, 2), (4, 4, 1)), "ConvTranspose2d changes"),
        (lambda m, x: viz.pixel_utilisation(nn.AdaptiveAvgPool2d(2), (4, 4, 1)), "AdaptiveAvgPool2d changes"),
        (lambda m, x: viz.pixel_utilisation(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), (4, 4, 1)), "zeros"),
        (lambda m, x: viz.feature_map_grid({}), "got nothing"),
        (lambda m, x: viz.heat_maps(x[..., :1], {"a": x[:2, ..., 0]}), r"a: expected \[3,P,Q\]"),
        (lambda m, x: viz.heat_maps(x[..., :1], {}, ["one"]), "3 titles, got 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(small(), images())
