"""Normalisation layers and their running statistics: against NumPy and PyTorch, captured, saved; containers."""

from __future__ import annotations

import numpy as np
import pytest
from capture_runs import Pair, batch

import rosenblatt as rb
from rosenblatt import Tensor, io, nn, ops

F32, F64 = np.float32, np.float64
RNG = np.random.default_rng(0)


def batches(count=3, shape=(6, 5, 4, 7)):
    return [(RNG.standard_normal(shape) * (i + 1) + 3 * i).astype(F32) for i in range(count)]


@pytest.mark.quick
@pytest.mark.parametrize("momentum", [0.1, 0.3, None])
def test_running_statistics_follow_the_batches(momentum):
    layer = nn.BatchNorm2d(7, momentum=momentum)
    mean, var = np.zeros(7), np.ones(7)
    for i, x in enumerate(batches(4)):
        rate = 1 / (i + 1) if momentum is None else momentum
        layer(Tensor(x))
        flat = x.reshape(-1, 7).astype(F64)
        mean, var = (1 - rate) * mean + rate * flat.mean(0), (1 - rate) * var + rate * flat.var(0, ddof=1)
        np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-5)
        np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-5)
        assert layer.num_batches_tracked.data == i + 1
    layer.eval()
    x = batches(1)[0]
    want = (x - mean) / np.sqrt(var + layer.eps)
    before = layer.state_dict()
    np.testing.assert_allclose(layer(Tensor(x)).data, want, rtol=1e-4, atol=1e-5)
    assert all((layer.state_dict()[k] == v).all() for k, v in before.items())  # evaluation changes nothing
    layer.reset_running_stats()
    assert not layer.running_mean.data.any() and (layer.running_var.data == 1).all()


@pytest.mark.quick
def test_without_running_statistics_the_batch_is_used_in_evaluation_too():
    layer = nn.BatchNorm1d(3, track_running_stats=False, affine=False).eval()
    x = RNG.standard_normal((8, 3)).astype(F32)
    np.testing.assert_allclose(layer(x), (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-4, atol=1e-6)
    assert not layer.state_dict()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_captured_steps_update_statistics_as_eager_ones(optimizer):
    def network():
        return nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(),
            nn.Linear(8, 5, bias=False), nn.BatchNorm1d(5, momentum=None), nn.Linear(5, 3),
        )  # fmt: skip

    pair = Pair(model=network, optimizer=optimizer)
    for i in range(7):
        pair.train(*batch(i))
    eager, captured = pair.runs
    assert captured.step.replays >= 3
    names = [n for n, _ in captured.model.named_buffers()]
    assert names[:3] == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert captured.model[1].num_batches_tracked.data == 7
    assert eager.model[1].running_mean.data.tobytes() == captured.model[1].running_mean.data.tobytes() != bytes(32)


def image_network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten(),
        nn.Linear(8, 4),
    )


def test_fit_checkpoints_and_resumes_statistics_to_the_bit(tmp_path):
    x, y = RNG.standard_normal((50, 6, 6, 3)).astype(F32), RNG.integers(0, 4, 50)
    states = []
    for epochs in ((6,), (3, 6)):
        for number, last in enumerate(epochs):
            rb.manual_seed(1)
            model = image_network()
            model.fit(x, y, epochs=last, batch_size=16, seed=3, progress=False, validation_data=(x, y),
                      checkpoint=tmp_path / str(len(epochs)), resume=number > 0)  # fmt: skip
        states.append(model.state_dict())
    assert states[0]["1.num_batches_tracked"] == 24
    assert all(states[0][k].tobytes() == states[1][k].tobytes() for k in states[0])


@pytest.mark.quick
def test_statistics_are_saved_as_pytorch_does(tmp_path):
    import safetensors.numpy

    model = image_network()
    model(Tensor(RNG.standard_normal((2, 4, 4, 3)).astype(F32)))
    io.save_weights(model, tmp_path / "w.safetensors")
    stored = safetensors.numpy.load_file(tmp_path / "w.safetensors")
    assert stored["1.num_batches_tracked"].dtype == np.int64 and stored["1.num_batches_tracked"] == 1
    other = image_network()
    io.load_weights(other, tmp_path / "w.safetensors")
    assert all((other.state_dict()[k] == v).all() for k, v in model.state_dict().items())
    assert other.astype("float64")[1].running_var.dtype == F64


@pytest.mark.quick
def test_buffers():
    module = nn.Identity()
    module.register_buffer("scale", [1, 2])
    assert dict(module.named_buffers())["scale"].dtype == F32 and not list(module.parameters())
    module.scale = Tensor(np.ones(3, F32))
    assert module.state_dict()["scale"].shape == (3,) and next(module.buffers()) is module.scale
    module.load_state_dict({"scale": np.full(3, 2.0)})
    assert module.scale.tolist() == [2, 2, 2]
    module.scale = 5.0
    assert not module.state_dict()
    for name in ("forward", "a.b"):
        with pytest.raises(ValueError, match="taken or no attribute name"):
            module.register_buffer(name, [1.0])


@pytest.mark.quick
def test_a_graph_keeps_the_statistics_it_has_used():
    layer = nn.BatchNorm1d(3).eval()
    x = Tensor(RNG.standard_normal((4, 3)).astype(F32), requires_grad=True)
    y = layer(x)
    layer.train()
    layer(Tensor(5 * x.data))
    y.sum().backward()
    np.testing.assert_allclose(x.grad.data, np.full((4, 3), 1 / np.sqrt(1 + 1e-5)), rtol=1e-6)  # of variance 1


@pytest.mark.quick
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.BatchNorm1d(0), "num_features must be a positive integer"),
        (lambda: nn.BatchNorm2d(3, momentum=2.0), "momentum must be a number of at least 0 and at most 1.0"),
        (lambda: nn.BatchNorm2d(3)(ops.zeros((2, 3, 4, 5))), "looks like NCHW"),
        (lambda: nn.BatchNorm2d(3)(ops.zeros((1, 1, 1, 3))), "more than one value per channel"),
        (lambda: nn.BatchNorm1d(3)(ops.zeros((2, 2, 2, 3))), r"expected x \[N,C\] or \[N,L,C\]"),
        (lambda: nn.LocalResponseNorm(0), "size must be a positive integer"),
        (lambda: nn.LocalResponseNorm(3, k=0.0), "k must be above 0"),
        (lambda: nn.Branches(), "at least one branch"),
        (lambda: nn.Branches(nn.Identity(), nn.MaxPool2d(2))(ops.zeros((1, 4, 4, 2))), "concat"),
        (lambda: nn.Residual(nn.Linear(3, 1))(ops.zeros((2, 3))), r"gives shape \(2, 1\), the shortcut \(2, 3\)"),
        (lambda: nn.Residual(nn.Identity(), activation="gelu"), "activation must be None"),
        (lambda: nn.Sequential({"a.b": nn.Identity()}), "has a dot"),
        (lambda: nn.Sequential({"forward": nn.Identity()}), "is taken"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.quick
def test_containers():
    x = RNG.standard_normal((2, 3)).astype(F32)
    joined = nn.Branches({"a": nn.Linear(3, 2), "b": nn.Identity()})
    assert np.array_equal(joined(x)[:, 2:], x) and np.array_equal(joined(x)[:, :2], joined.a(x))
    body = nn.Linear(3, 3)
    assert np.array_equal(nn.Residual(body)(x), body(x).data + x)
    short = nn.Linear(3, 3, bias=False)
    out = nn.Residual([body], short, activation="relu")(x)
    assert np.array_equal(out, np.maximum(body(x).data + short(x).data, 0))
    assert "0.weight" in dict(nn.Residual([body]).body.named_parameters())


def test_layers_equal_pytorch():
    torch = pytest.importorskip("torch")

    def there(a):
        return torch.tensor(np.moveaxis(a, -1, 1).copy(), requires_grad=True)

    def back(t):
        return np.moveaxis(t.detach().numpy(), 1, -1)

    g = RNG.standard_normal((6, 5, 4, 7)).astype(F32)
    for options in ({}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}):
        ours, theirs = nn.BatchNorm2d(7, **options), torch.nn.BatchNorm2d(7, **options)
        if ours.affine:
            for p in (ours.weight, ours.bias):
                p.data[...] = RNG.standard_normal(7)
            theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()}, strict=False)
        for mode in (True, True, False):
            ours.train(mode)
            theirs.train(mode)
            x = batches(1)[0]
            a, b = Tensor(x, requires_grad=True), there(x)
            y, want = ours(a), theirs(b)
            y.backward(g)
            want.backward(torch.tensor(np.moveaxis(g, -1, 1).copy()))
            np.testing.assert_allclose(y.data, back(want), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(a.grad.data, back(b.grad), rtol=1e-4, atol=1e-6)
        for name, value in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-5, atol=1e-6)
    for size in (1, 2, 5, 9):
        options = {"alpha": 0.3, "beta": 0.75, "k": 2.0}
        x = batches(1)[0]
        a, b = Tensor(x, requires_grad=True), there(x)
        y, want = nn.LocalResponseNorm(size, **options)(a), torch.nn.LocalResponseNorm(size, **options)(b)
        y.backward(g)
        want.backward(torch.tensor(np.moveaxis(g, -1, 1).copy()))
        np.testing.assert_allclose(y.data, back(want), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(a.grad.data, back(b.grad), rtol=1e-4, atol=1e-6)
