"""LeNet-5 in its classic form and the five-stage network: the papers' counts, NumPy, and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import models, nn

F32 = np.float32
RNG = np.random.default_rng(0)


@pytest.mark.quick
def test_counts_of_the_paper():
    """156, 12, 1,516, 32, 48,120, 10,164: 60,000 parameters; 340,908 connections with the 84 x 10 of the output."""
    net = models.lenet5_classic(classes=None)
    rows = [r for r in net.summary((32, 32, 1)).rows if r.parameters]
    assert [r.parameters for r in rows] == [156, 12, 1516, 32, 48120, 10164]
    assert net.num_parameters() == 60000 and models.lenet5_classic().num_parameters() == 60850
    # connections: every output has its inputs and a bias; a subsampling unit has the four of its window
    outputs = [int(np.prod(r.output_shape)) for r in rows]
    inputs = [r.macs for r in rows]
    inputs[1], inputs[3] = 4 * outputs[1], 4 * outputs[3]
    connections = [a + b for a, b in zip(inputs, outputs, strict=True)]
    assert connections == [122304, 5880, 151600, 2000, 48120, 10164]
    assert sum(connections) + 84 * 10 == 340908
    assert net.summary((32, 32, 1)).receptive_field == (32, 32)


@pytest.mark.quick
def test_counts_of_the_five_stages():
    net = models.five_stage_cnn()
    rows = [r for r in net.summary((28, 28, 1)).rows if r.parameters]
    assert [r.output_shape for r in rows] == [(24, 24, 4), (12, 12, 4), (8, 8, 12), (4, 4, 12), (1, 1, 10)]
    assert [r.parameters for r in rows] == [104, 8, 1212, 24, 1930]


def correlate(x, weight, bias):
    """[N,H,W,C] with [K,R,S,C], valid, in float64."""
    k, r, s, _ = weight.shape
    n, h, w, _ = x.shape
    y = np.empty((n, h - r + 1, w - s + 1, k))
    for p in range(y.shape[1]):
        for q in range(y.shape[2]):
            y[:, p, q] = np.tensordot(x[:, p : p + r, q : q + s], weight, ([1, 2, 3], [1, 2, 3]))
    return y + bias


def subsample(x, layer):
    n, h, w, c = x.shape
    mean = x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))
    return mean * layer.coefficient.data + layer.bias.data


def disturb(net):
    for p in net.parameters():
        p.data[...] += 0.3 * RNG.standard_normal(p.shape)
    return list(net)


@pytest.mark.quick
def test_classic_form_by_hand():
    net = models.lenet5_classic()
    c1, s2, c3, s4, c5, _, f6, out = disturb(net)
    x = RNG.random((2, 32, 32, 1))
    y = np.tanh(correlate(x, c1.weight.data, c1.bias.data))
    y = np.tanh(subsample(y, s2))
    full = np.zeros((16, 5, 5, 6))  # table I of the paper, X where a map is seen
    table = ["X   XXX  XXXX XX", "XX   XXX  XXXX X", "XXX   XXX  X XXX", " XXX  XXXX  X XX", "  XXX  XXXX XX X",
             "   XXX  XXXX XXX"]  # fmt: skip
    links = [(k, c) for k in range(16) for c in range(6) if table[c][k] == "X"]
    assert len(links) == 60
    for number, (k, c) in enumerate(links):
        full[k, :, :, c] = c3.weight.data[number]
    y = np.tanh(correlate(y, full, c3.bias.data))
    y = np.tanh(subsample(y, s4))
    y = np.tanh(correlate(y, c5.weight.data, c5.bias.data)).reshape(2, 120)
    y = np.tanh(y @ f6.weight.data.T + f6.bias.data) @ out.weight.data.T + out.bias.data
    np.testing.assert_allclose(net.predict(x.astype(F32)), y, rtol=2e-4, atol=2e-4)


@pytest.mark.quick
def test_five_stages_by_hand():
    net = models.five_stage_cnn()
    c1, s1, c2, s2, c3, _ = disturb(net)
    x = RNG.random((2, 28, 28, 1))
    y = 1 / (1 + np.exp(-subsample(np.tanh(correlate(x, c1.weight.data, c1.bias.data)), s1)))
    y = 1 / (1 + np.exp(-subsample(np.tanh(correlate(y, c2.weight.data, c2.bias.data)), s2)))
    y = correlate(y, c3.weight.data, c3.bias.data).reshape(2, 10)
    np.testing.assert_allclose(net.predict(x.astype(F32)), y, rtol=2e-4, atol=2e-4)


@pytest.mark.quick
def test_refusals():
    with pytest.raises(ValueError, match="lenet5_classic: expected input_shape"):
        models.lenet5_classic(input_shape=(28, 28, 1))
    with pytest.raises(ValueError, match="activation"):
        models.lenet5_classic(activation="gelu")
    with pytest.raises(ValueError, match="multiple of 4"):
        models.five_stage_cnn(input_shape=(30, 30, 1))


@pytest.mark.parametrize("name", ["lenet5_classic", "five_stage_cnn"])
def test_a_batch_is_learned_by_heart(name):
    rb.manual_seed(0)
    net = models.build(name)
    x, y = RNG.random((10, *models.info(name).image)).astype(F32), np.arange(10)
    net.fit(x, y, epochs=400, batch_size=10, optimizer=rb.optim.Adam(net.parameters(), 1e-2), progress=False, seed=0)
    assert net.evaluate(x, y)["accuracy"] == 1.0


def digits_accuracy(name, seed):
    """Of a run with the recipe, as `rosenblatt train NAME --seed SEED` does it."""
    train, test = rb.data.digits(split=True)
    entry = models.info(name)
    recipe = entry.recipe
    rb.manual_seed(seed)
    net = models.build(name, input_shape=entry.input_shape((8, 8, 1)), classes=10)
    optimizer = rb.optim.Adam(net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    net.fit(
        entry.channels(train.x), train.y, epochs=recipe.epochs, batch_size=recipe.batch_size, optimizer=optimizer,
        loss=nn.CrossEntropyLoss(), augment=entry.augmentation((8, 8, 1)), keep_best=recipe.keep_best,
        callbacks=[rb.train.LearningRateSchedule.cosine()], progress=False, seed=seed,
    )  # fmt: skip
    return net.evaluate(entry.prepare(test.x), test.y)["accuracy"]


@pytest.mark.long
@pytest.mark.parametrize(("name", "bar"), [("lenet5_classic", 0.96), ("five_stage_cnn", 0.93)])
def test_digits(name, bar):
    pytest.importorskip("sklearn")
    assert np.mean([digits_accuracy(name, seed) for seed in range(3)]) >= bar
