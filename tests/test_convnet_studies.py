"""The studies of examples/convnets.py against their bars; minutes each."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import autoencoders
import convnets
from test_lenet import digits_accuracy

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("name", convnets.NETWORKS)
def test_64_pictures_are_learned_by_heart(name):
    assert convnets.overfit(name, 7)["accuracy"] >= 0.99


def test_depth():
    found = convnets.depth(autoencoders.Split(False), 7)
    assert found["200 layers, residual: accuracy"] >= 0.93
    assert found["200 layers, plain: accuracy"] < 0.5


def test_resnet20_on_digits():
    assert np.mean([digits_accuracy("resnet20", seed) for seed in range(3)]) >= 0.96
