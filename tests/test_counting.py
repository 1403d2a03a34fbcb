"""Receptive fields, output shapes and counts, with and without weights: against gradients, hand calculation, PyTorch's
known figures.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Tensor, nn, ops

pytestmark = pytest.mark.quick
F32 = np.float32


def seen(model, shape, at):
    """(extent of the input positions that one output depends on) per axis, from the gradient of that output."""
    for p in model.parameters():
        p.data[...] = 0.01 + np.abs(p.data)
    model.eval()
    x = Tensor(np.ones((1, *shape), F32), requires_grad=True)
    y = model(x)
    seed = np.zeros(y.shape, F32)
    seed[(0, *at)] = 1
    y.backward(seed)
    used = np.nonzero(x.grad.data[0].any(-1))
    return tuple(int(i.max() - i.min() + 1) for i in used)


class Twice(nn.Module):
    """Ops outside layers: x + f(x), and both joined."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(4, 3, 3, dilation=3)

    def forward(self, x):
        y = ops.relu(ops.add(self.a(x), x))
        return self.b(ops.concat([x, y], -1))


AVERAGE = nn.AvgPool2d(3, 2)
CASES = [
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 5)), (21, 21, 2), (5, 5)),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, dilation=4)), (21, 21, 2), (9, 9)),  # (k - 1) d + 1
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)), (21, 21, 2), (7, 7)),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), AVERAGE, nn.Conv2d(2, 2, (3, 1))), (41, 41, 1), (15, 7)),
    (lambda: nn.Sequential(Twice(), nn.AvgPool2d(2)), (21, 21, 2), (10, 10)),
    (lambda: nn.Sequential(nn.Branches(nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 5, padding=2)), nn.Conv2d(4, 1, 3)),
     (21, 21, 1), (7, 7)),
    (lambda: nn.Sequential(nn.Residual([nn.Conv2d(1, 1, 3, padding=1)]), nn.BatchNorm2d(1)), (9, 9, 1), (3, 3)),
    (lambda: nn.Sequential(nn.AvgPool2d(2), nn.ConvTranspose2d(1, 1, 4, stride=2), nn.Conv2d(1, 1, 3)), (20, 20, 1),
     (6, 6)),
    (lambda: nn.Sequential(nn.Conv1d(1, 2, 4, stride=3), nn.LPPool1d(1, 2)), (40, 1), (7,)),
    (lambda: nn.Sequential(nn.Conv3d(1, 2, (2, 3, 1)), nn.AvgPool3d(2)), (9, 9, 9, 1), (3, 4, 2)),
    (lambda: nn.Sequential(nn.Subsampling(1, 3, 2), nn.LocallyConnected2d(1, 1, 4, 2)), (9, 9, 1), (5, 5)),
    (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Conv2d(1, 1, 2)), (9, 9, 1), (6, 6)),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)))
def test_receptive_fields(case):
    make, shape, want = CASES[case]
    model = make()
    assert rb.train.receptive_field(model, shape) == want
    out = model.summary(shape).rows[-1].output_shape
    assert seen(model, shape, [n // 2 for n in out[:-1]] + [0]) == want


def test_fields_of_a_network_with_a_dense_end():
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 10)
    )
    s = model.summary((32, 32, 1))
    assert [r.receptive_field for r in s.rows] == [(5, 5), (6, 6), (14, 14), (16, 16), (32, 32), (32, 32)]
    assert [r.step for r in s.rows] == [(1, 1), (2, 2), (2, 2), (4, 4), (), ()]
    assert s.receptive_field == (16, 16) and "16x16" in str(s)
    assert "field" not in str(nn.Sequential(nn.Linear(3, 2)).summary((3,)))
    assert nn.Sequential(nn.Linear(3, 2)).summary((3,)).receptive_field == ()
    transposed = nn.Sequential(nn.ConvTranspose2d(1, 1, 2, stride=2)).summary((4, 4, 1)).rows[0]
    assert transposed.receptive_field == (1, 1) and transposed.step == (Fraction(1, 2), Fraction(1, 2))


LAYERS = [
    (lambda: nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1), (2, 9, 8, 3)),
    (lambda: nn.Conv1d(3, 4, 3, padding="causal", dilation=2), (2, 9, 3)),
    (lambda: nn.Conv3d(2, 4, 3, padding="same", stride=2), (1, 5, 6, 7, 2)),
    (lambda: nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1, output_padding=1), (1, 5, 6, 3)),
    (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding="same"), (1, 5, 6, 3)),
    (lambda: nn.TiledConv2d(3, 4, 3, 2), (1, 6, 6, 3)),
    (lambda: nn.ConnectionTableConv2d(6, nn.LENET_C3, 5), (1, 14, 14, 6)),
    (lambda: nn.Linear(5, 7), (2, 3, 5)),
]


@pytest.mark.parametrize("case", range(len(LAYERS)))
def test_output_shapes(case):
    make, shape = LAYERS[case]
    layer = make()
    assert layer.output_shape(shape) == layer(Tensor(np.zeros(shape, F32))).shape
    with pytest.raises(ValueError, match="expected x"):
        layer.output_shape((*shape[:-1], shape[-1] + 1))


def test_networks_without_weights_are_counted_alike():
    def network():
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, weight_init="he_normal"), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Residual([nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)]), nn.Flatten(),
            nn.Dropout(0.5), nn.Linear(8 * 7 * 7, 10, weight_init="orthogonal"),
        )  # fmt: skip

    with nn.init.without_weights():
        empty = network()
        assert np.isnan(ops.zeros((2, 3))).all()
    real = network()
    assert str(empty.summary((16, 16, 3))) == str(real.summary((16, 16, 3)))
    assert empty.num_parameters() == real.num_parameters() == 8 * 28 + 16 + 8 * 72 + 16 + 3930
    assert all(p.data.strides == (0,) * p.ndim for p in empty.parameters())
    with nn.init.without_weights():
        branched = nn.Sequential(Twice(), nn.Conv2d(3, 1, 3))
    assert branched.summary((16, 16, 2)).receptive_field == (11, 11)
    with pytest.raises(ValueError, match="channels"):
        empty.summary((16, 16, 4))
    assert not ops.zeros((2, 3)).any()  # outside as ever
    with pytest.raises(ValueError, match="read-only"):
        empty.load_state_dict(real.state_dict())


def test_huge_networks_without_weights_take_no_memory():
    with nn.init.without_weights():
        layer = nn.Linear(10**6, 10**6)
        with pytest.raises(ValueError, match="init must be one of"):
            nn.init.initialise("he", (2, 2))
    assert layer.num_parameters() == 10**12 + 10**6
    assert nn.Sequential(layer).summary((10**6,)).macs == 10**12
