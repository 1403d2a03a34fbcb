"""Networks from `Input` and `Model`: the same numbers as written by hand, shared layers, several inputs and outputs."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import nn, ops, optim

pytestmark = pytest.mark.quick
F32 = np.float32


def rows(n, *shape, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(F32)


def chain():
    """(functional network, the same layers as a Sequential) with equal parameters."""
    rb.manual_seed(3)
    layers = [nn.Conv2d(1, 4, 3, activation="relu"), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)]
    x = rb.Input((8, 8, 1))
    h = x
    for layer in layers:
        h = layer(h)
    return rb.Model(x, h), nn.Sequential(*layers)


def test_a_chain_is_sequential_to_the_bit():
    model, same = chain()
    x, y = rows(20, 8, 8, 1), np.arange(20) % 5
    assert (model.predict(x) == same.predict(x)).all()
    assert [n for n, _ in model.named_parameters()] == [
        "conv2d.weight", "conv2d.bias", "linear.weight", "linear.bias"
    ]
    start = same.state_dict()
    results = []
    for net in (model, same):
        same.load_state_dict(start)
        history = net.fit(x, y, epochs=3, batch_size=8, optimizer=optim.Adam(net.parameters(), 0.01), seed=1,
                          progress=False)  # fmt: skip
        results.append((history.history["loss"], {n: a.tobytes() for n, a in same.state_dict().items()}))
    assert results[0] == results[1]
    assert model.evaluate(x, y) == same.evaluate(x, y)


def test_summary_needs_no_shape_and_counts_each_layer_once():
    model, same = chain()
    found, wanted = model.summary(), same.summary((8, 8, 1))
    assert (found.parameters, found.macs) == (wanted.parameters, wanted.macs)
    assert [r.output_shape for r in found.rows] == [(6, 6, 4), (3, 3, 4), (36,), (5,)]
    assert [r.name for r in found.rows] == ["conv2d", "maxpool2d", "flatten", "linear"]
    x = rb.Input((6,))
    layer = nn.Linear(6, 6)
    twice = rb.Model(x, layer(layer(x)))
    assert twice.num_parameters() == 42 == twice.summary().parameters
    assert twice.summary().macs == 72 and list(twice.children()) == [layer]  # computed twice, kept once


def test_encoder_and_decoder_are_networks_of_their_own():
    rb.manual_seed(4)
    x = rb.Input((12,))
    code = nn.Linear(12, 3, activation="relu")(x)
    encoder = rb.Model(x, code)
    z = rb.Input((3,))
    decoder = rb.Model(z, nn.Linear(3, 12)(z))
    both = rb.Model(x, decoder(encoder(x)))
    data = rows(40, 12)
    both.fit(data, data, epochs=5, progress=False, seed=0)
    codes = encoder.predict(data)
    assert codes.shape == (40, 3)
    assert np.abs(decoder.predict(codes) - both.predict(data)).max() < 1e-6
    # cut out of the whole: from the code on, and up to it
    again = rb.Model(both._order[0].args[0], both._order[-1])
    assert np.abs(again.predict(data) - both.predict(data)).max() == 0
    h = nn.Linear(12, 4)(x)
    y = nn.Linear(4, 2)(h)
    upper, whole = rb.Model(h, y), rb.Model(x, y)
    lower = rb.Model(x, h)
    assert np.abs(upper.predict(lower.predict(data)) - whole.predict(data)).max() < 1e-6


def test_a_shared_layer_learns_from_both_places():
    """Its gradient is the sum of those of two copies: a network on two inputs, written out with NumPy."""
    rb.manual_seed(5)
    layer = nn.Linear(4, 3, bias=False)
    a, b = rb.Input((4,), name="left"), rb.Input((4,), name="right")
    model = rb.Model([a, b], layer(a) * layer(b)).astype(np.float64)
    x, y = rows(2, 4).astype(np.float64), rows(2, 4, seed=1).astype(np.float64)
    w = np.asarray(layer.weight.data)
    out = model(rb.Tensor(x), rb.Tensor(y))
    assert np.abs(out.data - (x @ w.T) * (y @ w.T)).max() < 1e-12
    out.sum().backward()
    want = (y @ w.T).T @ x + (x @ w.T).T @ y
    assert np.abs(layer.weight.grad.data - want).max() < 1e-12
    assert len(list(model.parameters())) == 1


def test_arithmetic_of_nodes():
    x = rb.Input((3,))
    y = rb.Input((3,))
    ends = [x + y, x - y, 2.0 * x, x / 4.0, 1.0 - y, -x, nn.apply(ops.concat, [x, y], -1), nn.apply(ops.maximum, x, y),
            x[:, 1:], 1.0 / (1.0 + y * y)]  # fmt: skip
    a, b = rows(5, 3), rows(5, 3, seed=2)
    got = rb.Model([x, y], ends).predict((a, b))
    want = [a + b, a - b, 2 * a, a / 4, 1 - b, -a, np.concatenate([a, b], 1), np.maximum(a, b), a[:, 1:],
            1 / (1 + b * b)]  # fmt: skip
    assert all(np.abs(g - w).max() < 1e-6 for g, w in zip(got, want, strict=True))
    assert repr(x + y) == "Node(shape=(3,), of add)" and repr(x) == "Node(shape=(3,), of Input)"


def test_residual_network_is_pytorchs():
    torch = pytest.importorskip("torch")
    rb.manual_seed(6)
    x = rb.Input((6, 6, 2))
    first, second = (nn.Conv2d(2, 2, 3, padding="same") for _ in range(2))
    out = nn.GlobalAvgPool2d()(nn.ReLU()(x + second(nn.ReLU()(first(x)))))
    model = rb.Model(x, out)
    a = rows(3, 6, 6, 2)
    t = torch.from_numpy(np.moveaxis(a, -1, 1).copy())

    def conv(layer, v):
        w = torch.from_numpy(np.moveaxis(np.asarray(layer.weight.data), -1, 1).copy())
        return torch.nn.functional.conv2d(v, w, torch.from_numpy(np.asarray(layer.bias.data)), padding=1)

    want = torch.relu(t + conv(second, torch.relu(conv(first, t)))).mean((2, 3)).numpy()
    assert np.abs(model.predict(a) - want).max() < 1e-5


def two_and_two():
    rb.manual_seed(7)
    image, number = rb.Input((4, 4, 1)), rb.Input((3,))
    seen = nn.Flatten()(nn.Conv2d(1, 2, 3, activation="relu")(image))
    both = nn.Linear(8 + 3, 16, activation="tanh")(nn.apply(ops.concat, [seen, number], 1))
    return rb.Model([image, number], [nn.Linear(16, 3)(both), nn.Linear(16, 2)(both)])


def test_several_inputs_and_outputs_are_fitted_together():
    """The loss that falls is the weighted sum of both; the first step is the one taken by hand."""
    x, y = (rows(24, 4, 4, 1), rows(24, 3, seed=1)), (np.arange(24) % 3, rows(24, 2, seed=2))
    losses = (nn.CrossEntropyLoss(), nn.MSELoss())
    model, other = two_and_two(), two_and_two()
    history = model.fit(x, y, loss=losses, loss_weights=(1.0, 0.5), epochs=1, batch_size=24, progress=False, seed=0,
                        shuffle=False, optimizer=optim.SGD(model.parameters(), 0.1))  # fmt: skip
    one, two = other(*(rb.Tensor(a) for a in x))
    total = losses[0](one, y[0]) + 0.5 * losses[1](two, rb.Tensor(y[1]))
    assert history.last("loss") == pytest.approx(total.item(), rel=1e-5)
    total.backward()
    optim.SGD(other.parameters(), 0.1).step()
    for (name, p), (_, q) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert np.abs(p.data - q.data).max() < 1e-6, name
    outputs = model.predict(x)
    assert isinstance(outputs, tuple) and [o.shape for o in outputs] == [(24, 3), (24, 2)]
    parts = model.evaluate(x, y, loss=losses, loss_weights=(1.0, 0.5))
    assert parts["loss"] == pytest.approx(parts["loss_0"] + 0.5 * parts["loss_1"])
    assert parts["loss_1"] == pytest.approx(((outputs[1] - y[1]) ** 2).mean(), rel=1e-5)
    assert parts["accuracy_0"] == pytest.approx((outputs[0].argmax(1) == y[0]).mean())
    history = model.fit(x, y, epochs=60, batch_size=12, progress=False, seed=0, validation_data=(x, y),
                        optimizer=optim.Adam(model.parameters(), 0.02))  # fmt: skip
    assert history.last("loss") < 0.3 * history.history["loss"][0] and "val_loss" in history.history
    summary = model.summary()
    assert summary.parameters == model.num_parameters() and summary.rows[0].name == "conv2d"
    assert summary.input_shape == ((4, 4, 1), (3,))


def test_steps_are_captured_and_equal_eager_ones():
    """Replayed and eager training give the same bytes, with several inputs and outputs, too."""
    x, y = (rows(24, 4, 4, 1), rows(24, 3, seed=1)), (np.arange(24) % 3, rows(24, 2, seed=2))
    states = []
    for capture in (True, False):
        model = two_and_two()
        model.fit(x, y, epochs=3, batch_size=8, progress=False, seed=0, capture=capture)
        states.append({n: a.tobytes() for n, a in model.state_dict().items()})
    assert states[0] == states[1]


def test_files_and_modes(tmp_path):
    x = rb.Input((5,))
    model = rb.Model(x, nn.Linear(4, 2)(nn.Dropout(0.5)(nn.Linear(5, 4)(x))))
    rb.io.save_weights(model, tmp_path / "w.safetensors")
    before = model.predict(rows(3, 5))
    for p in model.parameters():
        p.data = p.data * 0
    rb.io.load_weights(model, tmp_path / "w.safetensors")
    assert (model.predict(rows(3, 5)) == before).all()
    assert model.training and all(m.training for m in model.modules())
    deep = x
    for _ in range(3000):
        deep = deep + 1.0
    assert rb.Model(x, deep)(rb.Tensor(np.zeros((1, 5), F32))).data[0, 0] == 3000


def test_what_does_not_fit_is_refused_by_name():
    x, y = rb.Input((4,), name="left"), rb.Input((3,), name="right")
    h = nn.Linear(4, 2)(x)
    with pytest.raises(ValueError, match=r"depends on the Input 'left' of shape \(4,\)"):
        rb.Model(y, h)
    with pytest.raises(ValueError, match="no output depends on input 1"):
        rb.Model([x, y], h)
    with pytest.raises(ValueError, match="named twice"):
        rb.Model([x, x], h)
    with pytest.raises(TypeError, match="expected nodes as outputs"):
        rb.Model(x, rb.Tensor(np.zeros(3)))
    with pytest.raises(ValueError, match="Linear"):
        nn.Linear(5, 2)(x)
    with pytest.raises(ValueError, match="positive integers"):
        rb.Input((3, 0))
    with pytest.raises(ValueError, match="at least one node"):
        nn.apply(ops.add, 1.0, 2.0)
    with pytest.raises(ValueError, match="batch axis first"):
        nn.apply(ops.sum, x)
    model = two_and_two()
    a, b = rows(6, 4, 4, 1), rows(6, 3)
    with pytest.raises(ValueError, match="expected 2 inputs, got 1"):
        model.predict((a,))
    with pytest.raises(ValueError, match=r"input 1: expected \[6, \*\(3,\)\], got \[6, 2\]"):
        model.predict((a, b[:, :2]))
    with pytest.raises(ValueError, match="targets for 2 outputs, got 1"):
        model.fit((a, b), (b,), progress=False)
    with pytest.raises(ValueError, match="task is for networks with one input"):
        model.fit((a, b), (b, b), task="regression", progress=False)
    with pytest.raises(ValueError, match="2 losses and weights, got 1 and 2"):
        model.fit((a, b), (b, b[:, :2]), loss=(nn.MSELoss(),), loss_weights=(1, 2), progress=False)
    with pytest.raises(ValueError, match="target 1"):
        model.fit((a, b), (np.zeros(6, int), b), progress=False)
