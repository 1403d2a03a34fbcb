"""The classifier of rows, pictures and volumes: PyTorch's arithmetic, sizes, its data, and small runs that learn."""

from __future__ import annotations

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import data, models
from rosenblatt.data import generate
from rosenblatt.train import LearningRateSchedule

SHAPES = {  # notes A:2.J: one channel and several, in one, two and three dimensions
    "sounds": (2000, 1), "skeletons": (24, 28), "spectrograms": (32, 65, 1), "pictures": (32, 32, 3),
    "volumes": (16, 16, 16, 1), "videos": (8, 16, 16, 3),
}


@pytest.mark.quick
@pytest.mark.parametrize("shape", [(40, 3), (5, 1), (12, 9, 2), (6, 5, 9, 3)])
def test_outputs_are_pytorchs(shape):
    torch = pytest.importorskip("torch")
    axes = len(shape) - 1
    rb.manual_seed(axes)
    model = models.conv_nd(input_shape=shape, classes=4, channels=(3, 5), pool=2, cells=2).astype(np.float64)
    x = np.random.default_rng(0).standard_normal((2, *shape))
    t = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    functional = torch.nn.functional
    conv = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[axes]
    pool = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[axes]
    mean = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}
    for layer in list(model)[:-3]:
        if layer.kernel_size and hasattr(layer, "weight"):
            w = torch.from_numpy(np.moveaxis(np.asarray(layer.weight.data), -1, 1).copy())
            t = torch.relu(conv(t, w, torch.from_numpy(np.asarray(layer.bias.data)), padding=layer.kernel_size[0] // 2))
        else:
            t = pool(t, layer.kernel_size)
    t = mean[axes](t, model[-3].output_size)
    flat = t.movedim(1, -1).reshape(2, -1).numpy()
    want = flat @ np.asarray(model[-1].weight.data).T + model[-1].bias.data
    assert np.abs(model.predict(x) - want).max() < 1e-12


@pytest.mark.quick
@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((2000, 1), [(2000,), (500,), (500,), (125,), (125,), (31,), (4,)]),
        ((24, 28), [(24,), (6,), (6,), (6,), (4,)]),
        ((32, 65, 1), [(32, 65), (16, 32), (16, 32), (8, 16), (8, 16), (4, 8), (2, 2)]),
        ((8, 16, 16, 3), [(8, 16, 16), (4, 8, 8), (4, 8, 8), (2, 4, 4), (2, 4, 4), (2, 2, 2), (2, 2, 2)]),
    ],
)
def test_sizes_of_the_maps(shape, sizes):
    """Convolutions keep the size, pools quarter (rows) or halve it, never below the number of cells."""
    rows = models.conv_nd(input_shape=shape).summary(shape).rows
    assert [r.output_shape[:-1] for r in rows[:-2]] == sizes
    assert [r.output_shape[-1] for r in rows if r.kind.startswith("Conv")] == [16, 32, 64]


@pytest.mark.quick
def test_one_set_of_weights_takes_any_size():
    """A:O18: windows of the last pool grow with the input; the number of outputs does not."""
    for shape, larger in (((64, 2), (150, 2)), ((16, 16, 1), (40, 23, 1)), ((8, 8, 8, 1), (9, 16, 8, 1))):
        model = models.conv_nd(input_shape=shape, classes=3)
        for size in (shape, larger):
            assert model.predict(np.zeros((2, *size), np.float32)).shape == (2, 3)


@pytest.mark.quick
def test_axes_are_kept_apart():
    """The kernel reaches along every axis: a value moves what lies within it and nothing else."""
    for axes in (1, 2, 3):
        size = 12
        layer = models.conv_nd(input_shape=(size,) * axes + (1,), classes=2, kernel=3)[0]
        layer.weight.data = np.ones_like(layer.weight.data)
        x = np.zeros((1, *(size,) * axes, 1), np.float32)
        x[(0, *(5,) * axes, 0)] = 1
        touched = np.argwhere(np.asarray(layer(rb.Tensor(x)).data)[0, ..., 0] > float(np.abs(layer.bias.data).max()))
        assert touched.min(0).tolist() == [4] * axes and touched.max(0).tolist() == [6] * axes


@pytest.mark.quick
def test_refuses_what_does_not_fit():
    for shape in ((8,), (2, 2, 2, 2, 2), (0, 3)):
        with pytest.raises(ValueError, match=r"\(L,C\), \(H,W,C\) or \(D,H,W,C\)"):
            models.conv_nd(input_shape=shape)
    for option in ("kernel", "pool", "cells"):
        with pytest.raises(ValueError, match=option):
            models.conv_nd(**{option: 0})
    with pytest.raises(ValueError, match="at least one convolution"):
        models.conv_nd(channels=())
    with pytest.raises(ValueError, match="channels must be 1 or 3"):
        generate.moving_shapes(4, channels=2)


# --- data


@pytest.mark.quick
def test_named_signals():
    for name, shape in SHAPES.items():
        train, test = data.load(name)
        assert train.x.shape[1:] == test.x.shape[1:] == shape and train.x.dtype == np.float32
        assert len(test) == 300 and train.classes == test.classes and len(set(train.y)) == len(train.classes)
        assert not np.array_equal(train.x[:300], test.x)
    still = generate.moving_shapes(3, 4, 16, noise=0.1, seed=5)
    assert still.x.shape == (3, 4, 16, 16, 1)
    colour = generate.moving_shapes(3, 4, 16, seed=5, channels=3).x
    lit = generate.moving_shapes(3, 4, 16, seed=5).x[..., 0] > 0
    assert ((colour.max(-1) > 0) == lit).all() and np.ptp(colour[lit], axis=-1).max() > 0.05


@pytest.mark.quick
def test_spectrograms_are_scipys():
    signal = pytest.importorskip("scipy.signal")
    sounds, found = generate.sounds(4, 800, seed=2), generate.spectrograms(4, 800, n_fft=64, seed=2)
    assert (found.y == sounds.y).all() and found.classes == sounds.classes
    padded = np.pad(sounds.x[..., 0].astype(np.float64), ((0, 0), (32, 32)), "reflect")
    window = signal.get_window("hann", 64)
    for n in range(4):
        frames = np.stack([padded[n, i : i + 64] * window for i in range(0, 800 + 1, 32)])
        level = 20 * np.log10(np.maximum(np.abs(np.fft.rfft(frames)), 1e-9) / 16)
        assert np.abs(found.x[n, ..., 0] - np.clip(1 + level / 60, 0, 1)).max() < 1e-4


# --- learning


def accuracy(name, epochs=40, seed=0):
    train, test = data.load(name)
    rb.manual_seed(seed)
    model = models.build("conv_nd", input_shape=train.x.shape[1:], classes=len(train.classes))
    model.fit(train.x, train.y, epochs=epochs, batch_size=32, optimizer=rb.optim.Adam(model.parameters(), 3e-3),
              callbacks=[LearningRateSchedule.cosine()], progress=False, seed=seed, keep_best=True)  # fmt: skip
    return model.evaluate(test.x, test.y)["accuracy"]


def test_skeletons_are_learned_from_few():
    assert accuracy("skeletons", 15) >= 0.9


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SHAPES)
def test_every_kind_of_data_is_learned(name):
    assert accuracy(name) >= 0.9
