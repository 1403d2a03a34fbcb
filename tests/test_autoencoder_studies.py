"""The studies of examples/autoencoders.py and autoencoder_uses.py against their bars, one seed each; minutes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("scipy")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import autoencoder_uses
import autoencoders

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def split():
    return autoencoders.Split(False)


def study(name, split, seed=7):
    source = autoencoders if name in autoencoders.STUDIES else autoencoder_uses
    return source.STUDIES[name](split, seed)


def test_undercomplete(split):
    f = study("undercomplete", split)
    assert f["64-32-64 error"] < f["64-32-64: PCA 16 error"]


def test_linear(split):
    assert study("linear", split)["largest angle, degrees"] < 1.0


def test_overcomplete(split):
    f = study("overcomplete", split)
    assert f["L1: share of weights below 0.001"] > 10 * f["none: share of weights below 0.001"]
    for changed in (
        "L2: norm of the weights", "dropout: error without 30 % of the units",
        "dropconnect: error without 30 % of the weights", "dropall: error without 30 % of both",
        "batch_norm: spread of unit variances", "augmentation: error on moved digits",
    ):
        assert f[changed] < f["none" + changed[changed.index(":") :]], changed


def test_stacked(split):
    f = study("stacked", split)
    for activation in ("sigmoid", "relu"):
        assert f[f"{activation}: pre-trained error"] < f[f"{activation}: random start error"]


def test_denoising(split):
    f = study("denoising", split)
    others = ("local Wiener filter (3x3) error", "linear Wiener filter error", "mean image error")
    assert f["gaussian 0.3 error"] < min(f[name] for name in others)
    for kind in ("masking 0.3", "salt_pepper 0.2"):
        assert f[f"{kind} error"] < 0.5 * f[f"{kind} input error"]


def test_sparse(split):
    f = study("sparse", split)
    assert 0.045 <= f["KL 0.05: mean activity"] <= 0.055
    assert f["k = 10: active units, least"] == f["k = 10: active units, most"] == 10
    assert f["L1: mean activity"] < 0.5 * f["no penalty: mean activity"]


def test_contractive(split):
    runs = [study("contractive", split, seed) for seed in range(3)]
    for name in ("SGD", "Adam", "conjugate gradient", "L-BFGS"):
        assert min(f[f"{name}: the norm falls by a factor of"] for f in runs) >= 2
        errors = [sum(f[f"{name}, {w} penalty: error"] for f in runs) for w in ("with", "without")]
        assert 0.9 <= errors[0] / errors[1] <= 1.1


def test_compression(split):
    runs = [study("compression", split, seed) for seed in range(3)]  # some starts end 0.1 lower than others
    assert sum(f["5-NN accuracy"] for f in runs) / 3 >= 0.70 and runs[0]["space saved"] == pytest.approx(62 / 64)
    f = study("compression784", split)
    assert f["5-NN accuracy"] >= 0.70 and f["space saved"] == pytest.approx(782 / 784)


def test_variational(split):
    f = study("variational", split)
    assert f["ELBO"] > f["10 Bernoulli components"] and f["active units of 16"] >= 8


def test_inpainting(split):
    f = study("inpainting", split)
    assert f["error in the block"] <= 0.5 * min(f["mean of the known pixels"], f["mean image"])


def test_anomaly(split):
    f = study("anomaly", split)
    assert f["mean area"] >= 0.85 and f["mean area"] > f["mean area, PCA 16"]


def test_other_uses(split):
    f = study("imputation", split)
    assert f["error"] < 0.6 * f["mean image"]
    f = study("recommender", split)
    assert f["RMSE"] < f["item mean"] and f["table of five users: known ratings given back"] == 1.0
    f = study("features", split)
    assert f["accuracy from codes, all labels"] > f["accuracy from pixels, all labels"]
    f = study("retrieval", split)
    assert f["code of 16: precision at 10"] > 0.75
