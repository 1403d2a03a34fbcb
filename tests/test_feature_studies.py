"""The studies of examples/features_without_labels.py against their bars, one seed each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import features_without_labels
from autoencoders import Split

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def test_readouts_beat_chance_clearly():
    f = features_without_labels.readouts(Split(False), 7)
    assert min(f.values()) > 0.7 and all(v > 0.9 for name, v in f.items() if name.endswith("all labels"))


def test_the_winner_is_in_the_upper_half_when_trained():
    f = features_without_labels.selection(Split(False), 7)
    assert f["rank of the winner when trained"] <= len(features_without_labels.CANDIDATES) / 2


def test_networks_trained_as_a_whole():
    f = features_without_labels.tuned(Split(False), 7)
    assert min(f.values()) > 0.8
