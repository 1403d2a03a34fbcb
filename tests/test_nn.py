"""Layers, losses and initialisers, `Module`, `Sequential`, `summary`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference as ref

import rosenblatt as rb
from rosenblatt import Parameter, Tensor, models, nn, ops

pytestmark = pytest.mark.quick
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, activation="tanh"),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5, activation="tanh"),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120, activation="tanh"),
        nn.Linear(120, 84, activation="tanh"),
        nn.Linear(84, 10),
    )


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(F32)


# --- layers against numbers


def test_linear():
    layer = nn.Linear(5, 3, activation="sigmoid")
    x = draw(4, 5)
    want = ref.gemm(x.astype(F64), layer.weight.data.astype(F64).T, layer.bias.data.astype(F64), act="sigmoid")
    ref.close(layer(Tensor(x)).data, want[0], F32, 4, want[1])
    assert nn.Linear(5, 3, bias=False).bias is None and len(list(nn.Linear(5, 3, bias=False).parameters())) == 1
    assert np.abs(layer.weight.data).max() <= 1 / math.sqrt(5) and layer.weight.shape == (3, 5)
    for bad in ((0, 1), (1, -1), (1.5, 1), (True, 1)):
        with pytest.raises(ValueError, match=r"Linear: (in|out)_features must be a positive integer"):
            nn.Linear(*bad)
    with pytest.raises(ValueError, match="Linear: activation must be one of"):
        nn.Linear(1, 1, activation="gelu")
    with pytest.raises(ValueError, match=r"init must be one of .*he_normal"):
        nn.Linear(1, 1, weight_init="best")


def test_conv2d():
    layer = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2), groups=2, activation="relu")
    x = draw(2, 7, 8, 4)
    got = layer(Tensor(x)).data
    want, bound = ref.conv2d(
        x.astype(F64),
        layer.weight.data.astype(F64),
        layer.bias.data.astype(F64),
        *got.shape[1:3],
        (2, 1),
        (1, 1),
        (1, 2),
        2,
        "relu",
    )
    ref.close(got, want, F32, 4, bound)
    assert layer.weight.shape == (6, 3, 2, 2)
    for args, options, message in [
        ((3, 4, 3), {"groups": 2}, "do not split into 2 groups"),
        ((0, 4, 3), {}, "in_channels"),
        ((3, 4, 0), {}, "kernel_size must be at least 1"),
        ((3, 4, 3), {"stride": 0}, "stride"),
    ]:
        with pytest.raises(ValueError, match=f"Conv2d: .*{message}"):
            nn.Conv2d(*args, **options)


def test_activations_and_simple_layers():
    x = Tensor(draw(3, 4))
    for layer, want in [
        (nn.ReLU(), np.maximum(x.data, 0)),
        (nn.Tanh(), np.tanh(x.data)),
        (nn.Sigmoid(), ref.sigmoid(x.data)),
        (nn.Softmax(), ref.softmax(x.data.astype(F64))[0]),
        (nn.Softmax(0), ref.softmax(x.data.T.astype(F64))[0].T),
    ]:
        np.testing.assert_allclose(layer(x).data, want, rtol=1e-5, atol=1e-7)
    assert nn.Identity()(x) is x


def test_dropout_module():
    layer = nn.Dropout(0.4)
    x = Tensor(np.ones((50, 50), F32))
    y = layer(x)
    assert 0.3 < (y.data == 0).mean() < 0.5
    layer.eval()
    assert layer(x) is x
    for bad in (1.0, -0.1, "a", True):
        with pytest.raises(ValueError, match=r"Dropout: p must be in \[0, 1\)"):
            nn.Dropout(bad)


def test_flatten_orders():
    x = draw(2, 3, 4, 5)
    assert np.array_equal(nn.Flatten()(Tensor(x)).data, x.reshape(2, -1))
    assert np.array_equal(nn.Flatten("CHW")(Tensor(x)).data, x.transpose(0, 3, 1, 2).reshape(2, -1))
    for shape in ((2, 3), (2, 3, 4), (2, 2, 3, 4, 5)):
        x = draw(*shape)
        want = np.moveaxis(x, -1, 1).reshape(2, -1)
        assert np.array_equal(nn.Flatten("CHW")(Tensor(x)).data, want)
        assert np.array_equal(nn.Flatten()(Tensor(x)).data, x.reshape(2, -1))
    with pytest.raises(ValueError, match="order must be 'HWC' or 'CHW', got 'WHC'"):
        nn.Flatten("WHC")


def test_losses():
    logits, labels = draw(4, 3), np.array([0, 2, 1, 1])
    values = ref.cross_entropy(logits.astype(F64), labels)[0]
    for reduction, want in (("mean", values.mean()), ("sum", values.sum()), ("none", values)):
        np.testing.assert_allclose(nn.CrossEntropyLoss(reduction)(Tensor(logits), labels).data, want, rtol=1e-5)
    a, b = draw(4, 3), np.ones((4, 3), F32)
    np.testing.assert_allclose(nn.MSELoss()(Tensor(a), b).item(), ((a - b) ** 2).mean(), rtol=1e-5)
    assert nn.PerceptronLoss().reduction == "sum" and nn.CrossEntropyLoss.classifies and not nn.MSELoss.classifies
    for kind in (nn.CrossEntropyLoss, nn.MSELoss, nn.PerceptronLoss):
        with pytest.raises(ValueError, match=f"{kind.__name__}: reduction must be"):
            kind("max")


# --- initialisers


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("default", 1 / (3 * 300)),
        ("glorot_uniform", 2 / 700),
        ("glorot_normal", 2 / 700),
        ("he_uniform", 2 / 300),
        ("he_normal", 2 / 300),
        ("lecun_uniform", 1 / 300),
        ("lecun_normal", 1 / 300),
        ("zeros", 0.0),
    ],
)
def test_initialisers(name, variance):
    a = nn.init.initialise(name, (400, 300)).astype(F64)
    assert abs(a.mean()) < 4 * math.sqrt(variance / a.size) + 1e-12 and abs(a.var() - variance) <= 0.02 * variance
    if name.endswith("uniform") or name == "default":
        assert np.abs(a).max() <= math.sqrt(3 * variance) * (1 + 1e-6)
    rb.manual_seed(5)
    b = nn.init.initialise(name, (7, 3))
    rb.manual_seed(5)
    assert ref.same_bits(nn.init.initialise(name, (7, 3)), b)


def test_fans():
    assert nn.init.fans((4, 3)) == (3, 4) and nn.init.fans((8, 5, 3, 2)) == (30, 120)
    with pytest.raises(ValueError, match="at least two axes"):
        nn.init.fans((3,))
    assert "he_normal" in nn.init.names()


# --- Module


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4, activation="tanh")
        self.scale = Parameter(np.ones(4, F32))
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(x) * self.scale)


def test_names_and_counts():
    model = Two()
    assert [n for n, _ in model.named_parameters()] == [
        "scale",
        "first.weight",
        "first.bias",
        "last.weight",
        "last.bias",
    ]
    assert [n for n, _ in model.named_modules()] == ["", "first", "last"]
    assert model.num_parameters() == 4 + 16 + 10 and len(list(model.children())) == 2
    model.last = nn.Linear(4, 5)
    assert model.num_parameters() == 4 + 16 + 25
    del model.scale
    assert "scale" not in dict(model.named_parameters()) and not hasattr(model, "scale")
    model.first = None
    assert [n for n, _ in model.named_parameters()] == ["last.weight", "last.bias"]


def test_shared_parameters_count_once():
    model = Two()
    model.again = model.first
    assert model.num_parameters() == 30 and len(model.state_dict()) == 5
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert [n for n, _ in tied.named_parameters()] == ["0.weight", "0.bias", "1.bias"]


def test_modes_freezing_and_casting():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.1)))
    assert all(m.training for m in model.modules()) and model.eval() is model
    assert not any(m.training for m in model.modules())
    model.train()
    assert model[2][0].training
    model.requires_grad_(False)
    assert not model.eval()(Tensor(draw(2, 3))).requires_grad
    model.requires_grad_().astype(np.float64)
    out = model(Tensor(draw(2, 3).astype(F64)))
    out.sum().backward()
    assert out.dtype == F64 and all(p.grad.dtype == F64 for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(TypeError, match="float32 or float64"):
        model.astype(np.int32)


def test_state_dict_round_trip():
    a, b = Two(), Two()
    state = a.state_dict()
    b.load_state_dict(state)
    assert all(ref.same_bits(v, state[k]) for k, v in b.state_dict().items())
    state["scale"][:] = 9
    assert a.scale.data[0] == 1.0  # copies
    x = Tensor(draw(2, 3))
    assert ref.same_bits(a(x).data, b(x).data)


def test_state_dict_errors_change_nothing():
    model = Two()
    before = model.state_dict()
    good = Two().state_dict()
    for spoil, error, message in [
        (lambda s: s.pop("scale"), ValueError, r"missing \['scale'\], unknown nothing"),
        (lambda s: s.update(extra=np.ones(1)), ValueError, r"missing nothing, unknown \['extra'\]"),
        (lambda s: s.update(scale=np.ones(5)), ValueError, r"scale: expected shape \(4,\), got \(5,\)"),
        (lambda s: s.update(scale=np.array(["a"] * 4)), TypeError, "scale: expected real numbers"),
    ]:
        state = dict(good)
        spoil(state)
        with pytest.raises(error, match=f"load_state_dict: {message}"):
            model.load_state_dict(state)
    assert all(ref.same_bits(v, before[k]) for k, v in model.state_dict().items())


def test_sequential():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    for model in (
        nn.Sequential(a, b, c),
        nn.Sequential([a, b, c]),
        nn.Sequential(a, [b, c]),
        nn.Sequential().add(a).add(b).add(c),
    ):
        assert len(model) == 3 and list(model) == [a, b, c] and model[-1] is c and list(model[:2]) == [a, b]
        assert [n for n, _ in model.named_modules()] == ["", "0", "1", "2"]
    with pytest.raises(TypeError, match="Sequential: expected a Module, got int"):
        nn.Sequential(1)
    with pytest.raises(TypeError, match="expected a Module, got str"):
        nn.Sequential([a, "b"])
    with pytest.raises(IndexError):
        nn.Sequential(a)[3]
    with pytest.raises(TypeError, match="Module defines no forward"):
        nn.Module()(1)


def test_errors_carry_the_path_of_the_layer():
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3)))
    model.head = nn.Linear(4, 2)
    with pytest.raises(ValueError, match=r"^layer 1\.1 \(Conv2d\): conv2d: .*looks like NCHW"):
        model(Tensor(np.zeros((1, 3, 8, 8), F32)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(nn.Sequential(nn.Linear(3, 3)), nn.ReLU())
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return self.conv(self.blocks(x))

    with pytest.raises(ValueError, match=r"^layer blocks\.0\.0 \(Linear\): linear: expected x of shape \[\.\.\., 3\]"):
        Net()(Tensor(np.zeros((2, 4), F32)))
    with pytest.raises(ValueError, match=r"^layer conv \(Conv2d\): conv2d: expected x \[N,H,W,C\]"):
        Net()(Tensor(np.zeros((2, 3), F32)))
    with pytest.raises(ValueError, match=r"^Linear: linear: expected x"):
        nn.Linear(3, 2)(Tensor(np.zeros((2, 4), F32)))


def test_text_of_modules():
    text = repr(
        nn.Sequential(nn.Conv2d(1, 6, 5, padding=2, activation="relu"), nn.MaxPool2d(2), nn.Linear(3, 2, bias=False))
    )
    assert "(0): Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding=2, activation='relu')" in text
    assert "(1): MaxPool2d(kernel_size=(2, 2), stride=(2, 2))" in text and "(2): Linear(3, 2, bias=False)" in text
    assert repr(nn.Dropout(0.25)) == "Dropout(p=0.25)" and repr(nn.Flatten("CHW")) == "Flatten(order='CHW')"


# --- summary


def test_summary_of_lenet():
    s = lenet().summary((32, 32, 1))
    assert s.parameters == s.trainable == 61_706
    assert [r.parameters for r in s.rows] == [156, 0, 2_416, 0, 0, 48_120, 10_164, 850]
    assert [r.macs for r in s.rows] == [117_600, 0, 240_000, 0, 0, 48_000, 10_080, 840] and s.macs == 416_520
    assert [r.output_shape for r in s.rows] == [
        (28, 28, 6),
        (14, 14, 6),
        (10, 10, 16),
        (5, 5, 16),
        (400,),
        (120,),
        (84,),
        (10,),
    ]
    assert s.rows[2].name == "2" and s.rows[2].kind == "Conv2d"
    text = str(s)
    for piece in ("61,706", "117,600", "240,000", "416,520", "2 (Conv2d)", "(10, 10, 16)"):
        assert piece in text


def test_summary_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    before = model.state_dict()
    s = model.summary((3,))
    assert model.training and model[1].training and s.macs == 12
    assert all(ref.same_bits(v, before[k]) for k, v in model.state_dict().items())
    model[0].requires_grad_(False)
    assert model.summary((3,)).trainable == 0
    with pytest.raises(ValueError, match=r"layer 0 \(Linear\)"):
        model.summary((4,))
    assert model.training
    for bad in ((0,), (-1,), (3.5,), (True,)):
        with pytest.raises(ValueError, match="summary: expected a shape of positive integers"):
            model.summary(bad)
    shared = nn.Linear(3, 3)
    assert nn.Sequential(shared, shared).summary((3,)).parameters == 12
    assert nn.Conv2d(4, 6, 3, groups=2).summary((5, 5, 4)).macs == 9 * 6 * 9 * 2


# --- the networks


@pytest.mark.parametrize("name", models.names())
def test_networks(name):
    info = models.info(name)
    shape = info.input_shape((8, 8, 1))
    model = models.build(name, input_shape=shape, classes=10)
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype(F32)
    out = model(Tensor(x))
    if info.recipe.reconstructs:
        assert out.shape == x.shape and out.dtype == F32
        loss = ops.mse_loss(out, x)
    else:
        assert out.shape == (3, 10) and out.dtype == F32
        loss = ops.cross_entropy(out, np.array([0, 1, 2]))
    loss.backward()
    assert all(p.grad is not None and np.isfinite(p.grad.data).all() for p in model.parameters())
    assert info.paper and info.what and 1940 < info.year < 2030


def test_exact_parameter_counts():
    for name, count in [("perceptron", 650), ("mlp", 9_610), ("lenet5", 61_706)]:
        assert models.build(name).num_parameters() == count, name
    with pytest.raises(models.UnknownModelError, match="did you mean 'lenet5'"):
        models.build("lenet")


@pytest.mark.parametrize("name", models.names())
def test_no_layer_runs_on_the_fallback(name):
    from rosenblatt import _core

    if _core.config()["isa"] == "ref":
        pytest.skip("the process is limited to the reference level")
    shape = models.info(name).input_shape((8, 8, 1))
    x = np.random.default_rng(0).standard_normal((8, *shape)).astype(F32)
    reconstructs = models.info(name).recipe.reconstructs
    y = x if reconstructs else np.arange(8) % 10
    for make in (rb.optim.Adam, lambda p: rb.optim.SGD(p, 0.01, momentum=0.9)):
        model = models.build(name, input_shape=shape, classes=10)
        before = _core.ref_calls()
        model.fit(
            x, y, epochs=1, batch_size=5, optimizer=make(model.parameters()), progress=False, validation_data=(x, y),
            penalty=nn.ActivityPenalty() if reconstructs else None,
        )
        assert _core.ref_calls() == before


def test_layers_take_numpys_numbers_as_options():
    x = np.ones((4, 8), np.float32)
    assert nn.Dropout(np.float32(0.5)).p == 0.5
    assert nn.Linear(np.int64(8), np.int64(3))(x).shape == (4, 3)
    assert ops.dropout(x, np.float64(0.25)).shape == x.shape
    with pytest.raises(ValueError, match="positive integer"):
        nn.Linear(np.float32(8), 3)
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        nn.Dropout(np.float32(1.0))
