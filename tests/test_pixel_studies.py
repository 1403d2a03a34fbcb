"""The studies of examples/pixels_and_boxes.py against their bars, one seed each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import pixels_and_boxes

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def pictures():
    return pixels_and_boxes.Pictures(False)


def test_classical(pictures):
    f = pixels_and_boxes.classical(pictures, 7)
    assert min(f.values()) > 0.6


def test_dilated(pictures):
    assert pixels_and_boxes.dilated(pictures, 7)["mean IoU"] >= 0.85


def test_recurrent(pictures):
    f = pixels_and_boxes.recurrent(pictures, 7)
    right = [f[f"guess {t}: accuracy of the pixels"] for t in (1, 2, 3)]
    assert right == sorted(right) and right[2] > right[0] + 0.02
    assert min(f["guess 2: mean IoU"], f["guess 3: mean IoU"]) > f["guess 1: mean IoU"] + 0.1


def test_detection(pictures):
    f = pixels_and_boxes.detection(pictures, 7)
    assert f["mAP at IoU 0.5"] >= 0.80 and f["mean IoU of masks in true boxes"] >= 0.7
