"""The same numbers as PyTorch, where it is installed: a second oracle beside the float64 references."""

from __future__ import annotations

import numpy as np
import pytest
from test_nn import F64, draw
from test_optim import ADAM, SGD, gradients, run

import rosenblatt as rb
from rosenblatt import Tensor, nn, optim

torch = pytest.importorskip("torch")


def test_layers():
    x = draw(3, 10, 9, 4)
    theirs = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    for options in ({}, {"stride": 2, "padding": 1}, {"groups": 2, "padding": (0, 1)}, {"dilation": 2}):
        layer, other = nn.Conv2d(4, 6, 3, **options), torch.nn.Conv2d(4, 6, 3, **options)
        with torch.no_grad():
            other.weight.copy_(torch.tensor(layer.weight.data.transpose(0, 3, 1, 2).copy()))
            other.bias.copy_(torch.tensor(layer.bias.data))
        theirs.grad = None
        a = Tensor(x, requires_grad=True)
        ours, want = layer(a), other(theirs)
        ours.sum().backward()
        want.sum().backward()
        for got, expected in [
            (ours.data, want),
            (a.grad.data, theirs.grad),
            (layer.weight.grad.data, other.weight.grad),
        ]:
            np.testing.assert_allclose(got.transpose(0, 3, 1, 2), expected.detach().numpy(), rtol=2e-4, atol=2e-4)
    for ours, other in [
        (nn.MaxPool2d(3, 2, 1), torch.nn.MaxPool2d(3, 2, 1)),
        (nn.AvgPool2d(2), torch.nn.AvgPool2d(2)),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), torch.nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    ]:
        a, theirs.grad = Tensor(x, requires_grad=True), None
        y, want = ours(a), other(theirs)
        (y * y).sum().backward()
        (want * want).sum().backward()
        np.testing.assert_allclose(y.data.transpose(0, 3, 1, 2), want.detach().numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(a.grad.data.transpose(0, 3, 1, 2), theirs.grad.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_optimisers(kind):
    for options in SGD if kind == "SGD" else [o for o in ADAM if o.get("betas") != (0.0, 0.0)]:
        start, steps = gradients()
        p = torch.nn.Parameter(torch.tensor(start))
        opt = getattr(torch.optim, kind)([p], **options)
        want = []
        for g in steps:
            p.grad = torch.tensor(g)
            opt.step()
            want.append(p.detach().numpy().copy())
        for a, b in zip(run(lambda ps, o=options: getattr(optim, kind)(ps, **o), F64), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_losses():
    rng = np.random.default_rng(0)
    logits, labels, soft = rng.standard_normal((7, 5)), rng.integers(0, 5, 7), rng.dirichlet(np.ones(5), 7)
    theirs = torch.tensor(logits, requires_grad=True)
    for target, other in [(labels, torch.tensor(labels)), (soft, torch.tensor(soft))]:
        for reduction in ("mean", "sum"):
            ours = Tensor(logits, requires_grad=True)
            got = rb.ops.cross_entropy(ours, target, reduction=reduction)
            want = torch.nn.functional.cross_entropy(theirs, other, reduction=reduction)
            got.backward()
            (slope,) = torch.autograd.grad(want, [theirs])
            np.testing.assert_allclose(got.item(), want.item(), rtol=1e-12)
            np.testing.assert_allclose(ours.grad.data, slope.numpy(), rtol=1e-10, atol=1e-14)


def test_a_network_trains_alike():
    """Three Adam steps of LeNet-5 from the same weights on the same batch."""
    rb.manual_seed(0)
    ours = rb.models.build("lenet5")
    t = torch.nn
    theirs = t.Sequential(
        t.Conv2d(1, 6, 5),
        t.ReLU(),
        t.MaxPool2d(2),
        t.Conv2d(6, 16, 5),
        t.ReLU(),
        t.MaxPool2d(2),
        t.Flatten(),
        t.Linear(400, 120),
        t.ReLU(),
        t.Linear(120, 84),
        t.ReLU(),
        t.Linear(84, 10),
    )
    with torch.no_grad():
        for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
            value = q.data.transpose(0, 3, 1, 2) if q.ndim == 4 else q.data
            p.copy_(torch.tensor(value.copy()))
    x = np.random.default_rng(1).standard_normal((6, 32, 32, 1)).astype(np.float32)
    y = np.arange(6)
    a, b = optim.Adam(ours.parameters(), 1e-3), torch.optim.Adam(theirs.parameters(), 1e-3)
    for _ in range(3):
        a.zero_grad()
        b.zero_grad()
        loss = rb.ops.cross_entropy(ours(Tensor(x)), y)
        other = torch.nn.functional.cross_entropy(theirs(torch.tensor(x.transpose(0, 3, 1, 2).copy())), torch.tensor(y))
        loss.backward()
        other.backward()
        a.step()
        b.step()
        np.testing.assert_allclose(loss.item(), other.item(), rtol=2e-5)
