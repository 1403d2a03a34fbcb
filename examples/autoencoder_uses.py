"""Generative and convolutional autoencoders and what autoencoders are used for, measured on the digits.

    python examples/autoencoder_uses.py [STUDY ...] [--seeds 3] [--held-out] [--threads 1] [--json FILE]

Studies: variational, inpainting, anomaly, imputation, features, retrieval, recommender (default: all). Data and options
as in autoencoders.py; the recommender's ratings are generated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from autoencoders import Array, Figures, Split, error, neighbours, principal, run, train

import rosenblatt as rb
from rosenblatt import data, metrics, models, nn, optim


def bernoulli_mixture(x: Array, test: Array, components: int, seed: int, rounds: int = 200) -> float:
    """Mean log-likelihood in nats of a mixture of products of Bernoulli pixels, by expectation-maximisation in NumPy.

    Counts are smoothed by half an image in either direction; the best of five starts on the training images is taken.
    """
    best, answer = -np.inf, 0.0
    for start in range(5):
        rng = np.random.default_rng([seed, start])
        p = 0.25 + 0.5 * rng.random((components, x.shape[1]))
        share = np.full(components, 1 / components)

        def joint(v: Array, p: Array = p, share: Array = share) -> Array:
            return v @ np.log(p).T + (1 - v) @ np.log1p(-p).T + np.log(share)

        for _ in range(rounds):
            terms = joint(x, p, share)
            r = np.exp(terms - terms.max(1, keepdims=True))
            r /= r.sum(1, keepdims=True)
            total = r.sum(0)
            p = (r.T @ x + 0.5) / (total[:, None] + 1.0)
            share = (total + 0.5) / (len(x) + 0.5 * components)
        fits = [np.logaddexp.reduce(joint(v, p, share), axis=1).mean() for v in (x, test)]
        if fits[0] > best:
            best, answer = fits
    return float(answer)


def variational(d: Split, seed: int) -> Figures:
    """Binarised digits: bounds of log p(x) in nats against a 10-component Bernoulli mixture; active code units."""
    x, test = ((v > 0.5).astype(np.float32) for v in (d.x, d.test_x))
    rb.manual_seed(seed)
    model = models.vae()
    train(model, x, epochs=200, seed=seed, loss=nn.BCELoss())
    flat = [v.reshape(len(v), -1).astype(np.float64) for v in (x, test)]
    return {
        "ELBO": float(model.bound(test, seed=seed).mean()),
        "importance-weighted bound, 100 samples": float(model.bound(test, 100, seed=seed).mean()),
        "training ELBO": float(model.bound(x, seed=seed).mean()),
        "10 Bernoulli components": bernoulli_mixture(*flat, 10, seed),
        "active units of 16": float(model.active_units(test)),
    }


def blocks(x: Array, size: int, seed: int) -> Array:
    """Which pixels are known [N,H,W,1]: all but a square at a random place of each image."""
    rng = np.random.default_rng(seed)
    known = np.ones(x.shape, bool)
    for image, (top, left) in zip(known, rng.integers(0, x.shape[1] - size + 1, (len(x), 2)), strict=True):
        image[top : top + size, left : left + size] = False
    return known


def inpainting(d: Split, seed: int) -> Figures:
    """A missing 3x3 block of each image: squared error there, against the mean of the known pixels, the mean image."""
    rb.manual_seed(seed)
    model = models.conv_autoencoder()
    train(model, d.x, epochs=150, seed=seed, lr=5e-3)
    known = blocks(d.test_x, 3, seed)
    filled = models.impute(model, np.where(known, d.test_x, 0), known, rounds=1)
    own = np.where(known, d.test_x, 0).sum((1, 2, 3)) / known.sum((1, 2, 3))
    guesses = {
        "error in the block": filled, "mean of the known pixels": own[:, None, None, None],
        "mean image": d.x.mean(0),
    }
    return {
        name: float(((np.broadcast_to(guess, known.shape) - d.test_x)[~known] ** 2).mean())
        for name, guess in guesses.items()
    }


def anomaly(d: Split, seed: int) -> Figures:
    """Each digit left out of training in turn: area under the ROC curve of the reconstruction error, against PCA."""
    areas, linear = [], []
    for digit in range(10):
        x = d.x[d.y != digit]
        rb.manual_seed(100 * seed + digit)
        model = models.autoencoder(hidden=(128,), code=16)
        train(model, x, epochs=200, seed=seed)
        strange = (d.test_y == digit).astype(np.int64)
        areas.append(metrics.roc_auc(strange, models.anomaly_scores(model, d.test_x)))
        mean, axes = principal(x, 16)
        centred = d.test_x.reshape(len(d.test_x), -1) - mean
        linear.append(metrics.roc_auc(strange, ((centred - centred @ axes.T @ axes) ** 2).mean(1)))
    return {
        "mean area": float(np.mean(areas)), "least area": float(np.min(areas)),
        "mean area, PCA 16": float(np.mean(linear)),
    }


def imputation(d: Split, seed: int) -> Figures:
    """30 % of the pixels unknown: squared error there, against the training mean of each pixel."""
    rb.manual_seed(seed)
    model = models.denoising_autoencoder(noise="masking", level=0.3)
    train(model, d.x, epochs=300, seed=seed)
    known = np.random.default_rng(seed).random(d.test_x.shape) >= 0.3
    filled = models.impute(model, np.where(known, d.test_x, np.nan), known, rounds=1)
    mean = np.broadcast_to(d.x.mean(0), known.shape)
    return {
        "error": float(((filled - d.test_x)[~known] ** 2).mean()),
        "mean image": float(((mean - d.test_x)[~known] ** 2).mean()),
    }


def logistic(x: Array, y: Array, test: Array, true: Array, seed: int) -> float:
    """Test accuracy of softmax regression on standardised features."""
    mean, std = x.mean(0), x.std(0) + 1e-3
    a, b = (((v - mean) / std).astype(np.float32) for v in (x, test))
    rb.manual_seed(seed)
    model = nn.Linear(a.shape[1], 10)
    model.fit(a, y, epochs=1, batch_size=len(a), optimizer=optim.LBFGS(model.parameters(), max_iter=100),
              penalty=nn.L2(1e-2), progress=False, seed=seed)
    return model.evaluate(b, true)["accuracy"]


def features(d: Split, seed: int) -> Figures:
    """Codes learned from unlabelled images: softmax regression on 10 labelled ones per class, against pixels."""
    rb.manual_seed(seed)
    model = models.denoising_autoencoder()
    train(model, d.x, epochs=100, seed=seed)
    rng = np.random.default_rng(seed)
    some = np.concatenate([rng.permutation(np.flatnonzero(d.y == k))[:10] for k in range(10)])
    flat, flat_test = d.x.reshape(len(d.x), -1), d.test_x.reshape(len(d.test_x), -1)
    code, code_test = model.encoder.predict(d.x), model.encoder.predict(d.test_x)
    return {
        "accuracy from codes, 100 labels": logistic(code[some], d.y[some], code_test, d.test_y, seed),
        "accuracy from pixels, 100 labels": logistic(flat[some], d.y[some], flat_test, d.test_y, seed),
        "accuracy from codes, all labels": logistic(code, d.y, code_test, d.test_y, seed),
        "accuracy from pixels, all labels": logistic(flat, d.y, flat_test, d.test_y, seed),
    }


def retrieval(d: Split, seed: int) -> Figures:
    """Image search by a code of 16 numbers: share of the 10 nearest training images that show the query's digit."""
    rb.manual_seed(seed)
    model = models.autoencoder(hidden=(128,), code=16, activation="tanh")
    train(model, d.x, epochs=200, seed=seed)
    flat, flat_test = d.x.reshape(len(d.x), -1), d.test_x.reshape(len(d.test_x), -1)
    mean, axes = principal(d.x, 16)
    found = {}
    for name, codes, queries in (
        ("code of 16", model.encoder.predict(d.x), model.encoder.predict(d.test_x)),
        ("PCA 16", (flat - mean) @ axes.T, (flat_test - mean) @ axes.T), ("64 pixels", flat, flat_test),
    ):
        _, places = models.nearest(codes, queries, 10)
        found[f"{name}: precision at 10"] = float((d.y[places] == d.test_y[:, None]).mean())
        found[f"{name}: 5-NN accuracy"] = neighbours(codes, d.y, queries, d.test_y)
    found["code of 16: error"] = error(model, d.test_x)
    return found


TABLE = np.array(  # ratings of five users for six films, NaN where blank
    [[1, 0, np.nan, 1, 1, 1], [0, 1, 0, 0, 1, 0], [np.nan, 1, 1, 0, 0, np.nan], [1, 0, 1, 1, 0, 1],
     [0, np.nan, 1, 1, np.nan, 1]]
)


def recommender(d: Split, seed: int) -> Figures:
    """Generated ratings with blanks, a tenth of them held out: root mean squared error there, against the item mean."""
    ratings = data.generate.ratings(400, 40, seed=seed)  # [400,40], NaN where blank
    there = np.argwhere(~np.isnan(ratings))
    held = there[np.random.default_rng([seed, 1]).permutation(len(there))[: len(there) // 10]]
    seen = ratings.copy()
    seen[held[:, 0], held[:, 1]] = np.nan
    truth = ratings[held[:, 0], held[:, 1]]
    item = np.nanmean(seen, 0)
    rb.manual_seed(seed)
    model = models.rating_autoencoder(40)
    train(model, models.rating_inputs(seen, item), models.rating_targets(seen), epochs=300, seed=seed,
          loss=models.MaskedMSELoss())
    made = model.predict(models.rating_inputs(seen, item))[held[:, 0], held[:, 1]]
    user = np.nanmean(seen - item, 1)
    found = {
        "RMSE": metrics.rmse(truth, made), "item mean": metrics.rmse(truth, item[held[:, 1]]),
        "item mean + user's deviation": metrics.rmse(truth, item[held[:, 1]] + user[held[:, 0]]),
    }
    rb.manual_seed(seed)
    small = models.rating_autoencoder(6, code=3, drop=0.2)
    x, y = models.rating_inputs(TABLE), models.rating_targets(TABLE)
    train(small, x, y, epochs=500, seed=seed, lr=2e-2, loss=models.MaskedMSELoss())
    answer = small.predict(x)
    known = ~np.isnan(TABLE)
    found["table of five users: known ratings given back"] = float(((answer > 0.5) == (TABLE > 0.5))[known].mean())
    for user_, film in np.argwhere(~known):
        found[f"table: user {user_ + 1}, film {film + 1} (blank)"] = float(answer[user_, film])
    return found


STUDIES: dict[str, Callable[[Any, int], Figures]] = {
    f.__name__: f for f in (variational, inpainting, anomaly, imputation, features, retrieval, recommender)
}

if __name__ == "__main__":
    run(STUDIES, __doc__ or "")
