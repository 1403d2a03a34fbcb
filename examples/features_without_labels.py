"""What convolutional features that no label made are worth on the digits: random, designed, clustered, patch by patch.

    python examples/features_without_labels.py [STUDY ...] [--seeds 3] [--held-out] [--threads 1] [--json FILE]

Studies: selection (architectures ranked with random kernels, then all trained), readouts (the last layer alone on each
kind of features, with all labels and with ten of each digit), tuned (the same networks trained as a whole). Default:
all. Trained on the first half of the digits, measured on the second; --held-out as in autoencoders.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autoencoders import Figures, Split, run

import rosenblatt as rb
from rosenblatt import models, nn, optim
from rosenblatt.train import LearningRateSchedule

Array = np.ndarray
CANDIDATES: dict[str, dict[str, Any]] = {
    "4@3x3, max 4": {"channels": 4, "kernel": 3, "pool": 4},
    "4@3x3, mean 8": {"channels": 4, "kernel": 3, "pool": 8, "kind": "avg"},
    "16@3x3, max 2": {"channels": 16, "kernel": 3, "pool": 2},
    "16@3x3, mean 4": {"channels": 16, "kernel": 3, "pool": 4, "kind": "avg"},
    "16@5x5, max 4": {"channels": 16, "kernel": 5, "pool": 4},
    "16@1x1, max 2": {"channels": 16, "kernel": 1, "pool": 2},
    "32@3x3, max 2, twice": {"channels": 32, "kernel": 3, "pool": 2, "layers": 2},
    "8@3x3, mean 2, thrice": {"channels": 8, "kernel": 3, "pool": 2, "kind": "avg", "layers": 3},
}


def accuracy(model: nn.Module, d: Split) -> float:
    """The share of the measuring half that is named right."""
    return float((model.predict(d.test_x).argmax(1) == d.test_y).mean())


def fine(model: nn.Module, d: Split, seed: int, epochs: int = 40, lr: float = 2e-3) -> nn.Module:
    """All layers trained: Adam with a cosine."""
    models.trainable(model)
    model.fit(
        d.x, d.y, epochs=epochs, batch_size=32, seed=seed, progress=False, keep_best=True,
        optimizer=optim.Adam(model.parameters(), lr), callbacks=[LearningRateSchedule.cosine()],
    )
    return model


def selection(d: Split, seed: int) -> Figures:
    """Architectures scored with random kernels on a third of the training samples, then each trained as a whole."""
    cut = len(d.x) * 2 // 3
    chosen = models.select_by_random_features(
        CANDIDATES, d.x[:cut], d.y[:cut], (d.x[cut:], d.y[cut:]), seeds=range(3 * seed, 3 * seed + 3)
    )
    found: Figures = {}
    trained = {}
    for name, options in CANDIDATES.items():
        extractor = models.random_features(seed=seed, **options)
        width = extractor.predict(d.x[:1]).shape[1]
        trained[name] = accuracy(fine(nn.Sequential(*extractor, nn.Linear(width, 10)), d, seed), d)
        found[f"{name}: random features"] = chosen.scores[name]
        found[f"{name}: trained"] = trained[name]
    found["rank of the winner when trained"] = 1.0 + sum(v > trained[chosen.winner] for v in trained.values())
    found["rank correlation"] = float(
        np.corrcoef(*(np.argsort(np.argsort([v[n] for n in CANDIDATES])) for v in (chosen.scores, trained)))[0, 1]
    )
    found["winner trained"] = trained[chosen.winner]
    return found


def extractors(d: Split, seed: int) -> dict[str, nn.Sequential]:
    """Features of each kind; those that learn see the training images without labels."""
    return {
        "random": models.random_features(channels=32, seed=seed),
        "Sobel": models.designed_features(bank="sobel"),
        "Gabor": models.designed_features(bank="gabor"),
        "k-means": models.kmeans_features(d.x, seed=seed),
        "greedy patches": models.greedy_patch_features(d.x, seed=seed),
    }


def few(labels: Array, seed: int) -> Array:
    """Ten samples of each digit."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == k))[:10] for k in range(10)])


def readouts(d: Split, seed: int) -> Figures:
    """The last layer alone, trained on all labels and on 100; the same on pixels."""
    some = few(d.y, seed)
    found = {}
    for name, features in {"pixels": nn.Sequential(nn.Flatten(), nn.Identity()), **extractors(d, seed)}.items():
        for how, at in (("all labels", np.arange(len(d.y))), ("100 labels", some)):
            model, _ = models.readout(features, d.x[at], d.y[at], classes=10, penalty=3.0)
            found[f"{name}: {how}"] = accuracy(model, d)
    return found


def tuned(d: Split, seed: int) -> Figures:
    """Greedy patches and random kernels as starts of one network trained as a whole, on all labels and on 100."""
    found = {}
    for how, at in (("all labels", np.arange(len(d.y))), ("100 labels", few(d.y, seed))):
        part = Split.__new__(Split)
        part.x, part.y, part.test_x, part.test_y = d.x[at], d.y[at], d.test_x, d.test_y
        epochs = 40 if len(at) > 100 else 100
        start, _ = models.readout(models.greedy_patch_features(d.x, seed=seed), part.x, part.y, classes=10, penalty=3.0)
        found[f"greedy patches: {how}"] = accuracy(fine(start, part, seed, epochs), d)
        rb.manual_seed(seed)
        fresh = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding="same", activation="relu"), nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding="same", activation="relu"), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10),
        )
        found[f"random start: {how}"] = accuracy(fine(fresh, part, seed, epochs), d)
    return found


STUDIES = {f.__name__: f for f in (selection, readouts, tuned)}

if __name__ == "__main__":
    run(STUDIES, __doc__ or "")
