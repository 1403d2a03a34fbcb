"""What autoencoders learn from the digits, measured: one study per kind, over several seeds.

    python examples/autoencoders.py [STUDY ...] [--seeds 3] [--held-out] [--threads 1] [--json FILE]

Studies: undercomplete, linear, overcomplete, stacked, denoising, sparse, contractive, compression, compression784
(default: all).
Trained on the first half of the digits, measured on the second; --held-out trains on 600 samples of the first half and
measures on its other 298, which is how the settings here were chosen. Needs the extra `demo`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import rosenblatt as rb
from rosenblatt import data, metrics, models, nn, optim
from rosenblatt.train import LearningRateSchedule

Array = np.ndarray
Figures = dict[str, float]


class Split:
    """Images x [N,8,8,1] and labels y to train on, and those to measure on."""

    def __init__(self, held_out: bool) -> None:
        train, test = data.digits(split=True)
        if held_out:
            train, test = train.take(slice(0, 600)), train.take(slice(600, None))
        self.x, self.y, self.test_x, self.test_y = train.x, train.y, test.x, test.y


def train(
    model: nn.Module, x: Array, y: Array | None = None, *, epochs: int, seed: int, lr: float = 2e-3, batch: int = 32,
    penalty: Any = None, **options: Any,
) -> None:
    """Adam with a cosine, the target x itself unless y is given; activity penalties count where there are any."""
    model.fit(
        x, x if y is None else y, epochs=epochs, batch_size=batch, seed=seed, progress=False,
        optimizer=optim.Adam(model.parameters(), lr), callbacks=[LearningRateSchedule.cosine()],
        penalty=penalty or nn.ActivityPenalty(), **options,
    )


def error(model: nn.Module, x: Array, target: Array | None = None) -> float:
    """Mean squared error of the reconstruction."""
    wanted = x if target is None else target
    return float(((model.predict(x).astype(np.float64) - wanted) ** 2).mean())


def principal(x: Array, count: int) -> tuple[Array, Array]:
    """(mean [D], first principal axes [count,D]) of x [N,...], by NumPy's singular value decomposition."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    mean = flat.mean(0)
    return mean, np.linalg.svd(flat - mean, full_matrices=False)[2][:count]


def pca_error(x: Array, test: Array, count: int) -> float:
    """Mean squared error of the best linear code of `count` numbers."""
    mean, axes = principal(x, count)
    centred = test.reshape(len(test), -1) - mean
    return float(((centred - centred @ axes.T @ axes) ** 2).mean())


def undercomplete(d: Split, seed: int) -> Figures:
    """64-32-64, and 784-32-784 on the digits enlarged to 28x28, against PCA with half the code."""
    found = {}
    large, large_test = (data.resize(x, 28) for x in (d.x, d.test_x))
    for name, x, test, code in (
        ("64-32-64", d.x, d.test_x, 32), ("784-32-784", large, large_test, 32), ("784-64-784", large, large_test, 64)
    ):
        rb.manual_seed(seed)
        model = models.autoencoder(input_shape=x.shape[1:], code=code)
        train(model, x, epochs=200, lr=5e-3 if x is d.x else 2e-3, seed=seed)
        found[f"{name} error"] = error(model, test)
        found[f"{name}: PCA {code // 2} error"] = pca_error(x, test, code // 2)
    return found


def linear(d: Split, seed: int) -> Figures:
    """Centred data, no biases, 8 units, L-BFGS: the largest angle between decoder and principal plane, in degrees."""
    rb.manual_seed(seed)
    centred = d.x - d.x.mean(0)
    model = models.linear_autoencoder(bias=False)
    optimizer = optim.LBFGS(model.parameters(), max_iter=400)
    model.fit(centred, centred, epochs=5, batch_size=len(centred), optimizer=optimizer, progress=False, seed=seed)
    weight = np.asarray(model.decoder[0].weight.data, np.float64)  # [64,8]
    axes = principal(d.x, 8)[1]
    cosines = np.linalg.svd(np.linalg.qr(weight)[0].T @ axes.T, compute_uv=False)
    test = d.test_x - d.x.mean(0)
    return {
        "largest angle, degrees": float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1)))),
        "error": error(model, test), "PCA 8 error": pca_error(d.x, d.test_x, 8),
    }


def damaged(model: models.Autoencoder, x: Array, units: float, weights: float, rng: np.random.Generator) -> float:
    """The error when shares of code units and of the encoder's weights are removed, the rest scaled up."""
    coder = next(m for m in model.encoder.modules() if isinstance(m, nn.Linear))
    kept = coder.weight.data.copy()
    errors = []
    for _ in range(5):
        coder.weight.data[...] = kept * (rng.random(kept.shape) >= weights) / (1 - weights)
        code = model.encoder.predict(x)
        code = (code * (rng.random(code.shape) >= units) / (1 - units)).astype(np.float32)
        errors.append(((model.decoder.predict(code) - x) ** 2).mean())
    coder.weight.data[...] = kept
    return float(np.mean(errors))


def overcomplete(d: Split, seed: int) -> Figures:
    """64-256-64 with each regulariser: what it should change, beside the same figure without one."""
    found: Figures = {}
    plain = None
    moved = data.Affine(rotate=15.0, shift=0.1, scale=(0.9, 1.1))(d.test_x, np.random.default_rng(1))
    distort = data.Affine(rotate=15.0, shift=0.1, scale=(0.9, 1.1))
    for kind in ("none", "L1", "L2", "dropout", "dropconnect", "dropall", "batch_norm", "augmentation"):
        rb.manual_seed(seed)
        layers = ("dropout", "dropconnect", "dropall", "batch_norm")
        model = models.overcomplete_autoencoder(regulariser=kind if kind in layers else "none")
        weights = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
        if kind == "augmentation":
            many = np.concatenate([d.x, *(distort(d.x, np.random.default_rng([seed, i])) for i in range(4))])
            train(model, many, epochs=20, seed=seed)  # as many updates as the others
        else:
            penalty = {"L1": nn.L1(1e-5), "L2": nn.L2(1e-4)}.get(kind)
            train(model, d.x, epochs=100, seed=seed, penalty=penalty)
        models.settle(model, d.x)
        found[f"{kind}: error"] = error(model, d.test_x)
        rng = np.random.default_rng(seed)
        measures: dict[str, Callable[[Any], float]] = {
            "share of weights below 0.001": lambda _, w=weights: float(
                np.mean(np.concatenate([np.abs(p.data).ravel() for p in w]) < 1e-3)
            ),
            "norm of the weights": lambda _, w=weights: float(np.sqrt(sum((p.data**2).sum() for p in w))),
            "error without 30 % of the units": lambda m, r=rng: damaged(m, d.test_x, 0.3, 0.0, r),
            "error without 30 % of the weights": lambda m, r=rng: damaged(m, d.test_x, 0.0, 0.3, r),
            "error without 30 % of both": lambda m, r=rng: damaged(m, d.test_x, 0.3, 0.3, r),
            "error on moved digits": lambda m: error(m, moved),
            "spread of unit variances": lambda m: float(
                np.std(np.log(np.var(nn.Sequential(*list(m.encoder)[:-1]).predict(d.x), 0) + 1e-12))
            ),
        }
        wanted = {
            "L1": "share of weights below 0.001", "L2": "norm of the weights",
            "dropout": "error without 30 % of the units", "dropconnect": "error without 30 % of the weights",
            "dropall": "error without 30 % of both", "batch_norm": "spread of unit variances",
            "augmentation": "error on moved digits",
        }
        if kind == "none":
            plain = {name: measure(model) for name, measure in measures.items() if "variances" not in name}
            before = nn.Sequential(nn.Flatten(), nn.Linear(64, 256))
            before[1].load_state_dict(list(model.encoder)[1].state_dict())
            plain["spread of unit variances"] = float(np.std(np.log(np.var(before.predict(d.x), 0) + 1e-12)))
        else:
            found[f"{kind}: {wanted[kind]}"] = measures[wanted[kind]](model)
            found[f"none: {wanted[kind]}"] = plain[wanted[kind]]
    return found


def stacked(d: Split, seed: int) -> Figures:
    """Pre-trained layer by layer for 25 epochs each and 100 as a whole, against 200 epochs from a random start."""
    found = {}
    for activation in ("sigmoid", "relu"):
        rb.manual_seed(seed)
        model = models.stacked_autoencoder(activation=activation)
        models.pretrain(model, d.x, epochs=25, seed=seed)
        found[f"{activation}: error after pre-training"] = error(model, d.test_x)
        train(model, d.x, epochs=100, seed=seed)
        found[f"{activation}: pre-trained error"] = error(model, d.test_x)
        rb.manual_seed(seed)
        model = models.stacked_autoencoder(activation=activation)
        train(model, d.x, epochs=200, seed=seed)
        found[f"{activation}: random start error"] = error(model, d.test_x)
    return found


def wiener(x: Array, noise: Array, test: Array) -> Array:
    """The best linear estimate of clean images from noisy ones: E[x|y] = m + C (C + s**2 I)**-1 (y - m)."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    mean, cov = flat.mean(0), np.cov(flat.T)
    gain = cov @ np.linalg.inv(cov + noise**2 * np.eye(len(cov)))
    return (mean + (test.reshape(len(test), -1) - mean) @ gain.T).reshape(test.shape)


def denoising(d: Split, seed: int) -> Figures:
    """Noise of each kind taken away; Gaussian 0.3 against Wiener filters and the mean image."""
    from scipy.signal import wiener as local_wiener

    found: Figures = {}
    noisy = (d.test_x + np.random.default_rng([seed, 9]).normal(0, 0.3, d.test_x.shape)).astype(np.float32)
    found["noisy input error"] = float(((noisy - d.test_x) ** 2).mean())
    local = np.stack([local_wiener(image[..., 0], 3, 0.09) for image in noisy])[..., None]
    found["local Wiener filter (3x3) error"] = float(((local - d.test_x) ** 2).mean())
    found["linear Wiener filter error"] = float(((wiener(d.x, 0.3, noisy) - d.test_x) ** 2).mean())
    found["mean image error"] = float(((d.test_x - d.x.mean(0)) ** 2).mean())
    for kind, level in (("gaussian", 0.3), ("masking", 0.3), ("salt_pepper", 0.2)):
        rb.manual_seed(seed)
        model = models.denoising_autoencoder(noise=kind, level=level)
        train(model, d.x, epochs=300, seed=seed)
        seen = noisy
        if kind != "gaussian":
            rb.manual_seed(1000 + seed)
            seen = np.asarray(models.corruption(kind, level)(d.test_x))
            found[f"{kind} {level} input error"] = float(((seen - d.test_x) ** 2).mean())
        found[f"{kind} {level} error"] = error(model, seen, d.test_x)
    return found


def sparse(d: Split, seed: int) -> Figures:
    """Mean activity of the code on the measuring half: with KL for a target of 0.05, L1, neither; k largest of 128."""
    found: Figures = {}
    for name, options in (
        ("KL 0.05", {"kind": "kl"}), ("L1", {"kind": "l1"}), ("no penalty", {"kind": "l1", "weight": 0.0}),
        ("k = 10", {"kind": "k"}),
    ):
        rb.manual_seed(seed)
        model = models.sparse_autoencoder(**options)
        train(model, d.x, epochs=200, seed=seed, lr=5e-3, batch=128)
        code = model.encoder.predict(d.test_x)
        found[f"{name}: error"] = error(model, d.test_x)
        if options["kind"] == "k":
            found[f"{name}: active units, least"] = float((code != 0).sum(1).min())
            found[f"{name}: active units, most"] = float((code != 0).sum(1).max())
        else:
            found[f"{name}: mean activity"] = float(code.mean(dtype=np.float64))
            found[f"{name}: mean activity in training"] = float(model.encoder.predict(d.x).mean(dtype=np.float64))
    return found


def jacobian(model: models.Autoencoder, x: Array) -> float:
    """Mean squared Frobenius norm of the encoder's Jacobian at x, by NumPy from sigmoid codes."""
    layer = list(model.encoder)[1]
    h = model.encoder.predict(x).astype(np.float64)
    return float(((h * (1 - h)) ** 2 @ (np.asarray(layer.weight.data, np.float64) ** 2).sum(1)).mean())


def contractive(d: Split, seed: int) -> Figures:
    """Jacobian norm and error with and without the penalty, by Adam, conjugate gradient and L-BFGS."""
    found: Figures = {}
    n = len(d.x)
    makers: dict[str, tuple[float, Any]] = {
        "SGD": (1e-4, lambda p: optim.SGD(p, 15.0, momentum=0.9)),
        "Adam": (5e-5, None),
        "conjugate gradient": (5e-5, lambda p: optim.ConjugateGradient(p, max_iter=600)),
        "L-BFGS": (5e-5, lambda p: optim.LBFGS(p, max_iter=400)),
    }
    for name, (strength, make) in makers.items():
        for weight in (0.0, strength):
            rb.manual_seed(seed)
            model = models.contractive_autoencoder(weight=weight)
            if name == "Adam":
                train(model, d.x, epochs=200, lr=5e-3, seed=seed)
            else:
                whole = name != "SGD"
                model.fit(
                    d.x, d.x, epochs=1 if whole else 200, batch_size=n if whole else 32, penalty=nn.ActivityPenalty(),
                    optimizer=make(model.parameters()), progress=False, seed=seed,
                    callbacks=[] if whole else [LearningRateSchedule.cosine()],
                )
            label = f"{name}, {'with' if weight else 'without'} penalty"
            found[f"{label}: Jacobian norm"] = jacobian(model, d.test_x)
            found[f"{label}: error"] = error(model, d.test_x)
        with_, without = (f"{name}, {w} penalty" for w in ("with", "without"))
        found[f"{name}: the norm falls by a factor of"] = (
            found[f"{without}: Jacobian norm"] / found[f"{with_}: Jacobian norm"]
        )
        found[f"{name}: the error grows by a factor of"] = found[f"{with_}: error"] / found[f"{without}: error"]
    return found


def neighbours(codes: Array, labels: Array, queries: Array, true: Array, k: int = 5) -> float:
    """Accuracy of a vote among the k nearest codes."""
    _, places = models.nearest(codes, queries, k)
    votes = np.stack([np.bincount(labels[row], minlength=10) for row in places])
    return float((votes.argmax(1) == true).mean())


def compression(d: Split, seed: int, enlarged: bool = False) -> Figures:
    """Two numbers per image, 64-300-2-300-64: the vote of the 5 nearest codes of the training half."""
    rb.manual_seed(seed)
    found: Figures = {}
    if enlarged:
        distort = data.Affine(rotate=8.0, shift=0.05, scale=(0.95, 1.05))
        many = np.concatenate([d.x, *(distort(d.x, np.random.default_rng([0, i])) for i in range(4))])
        x, test, shown = (data.resize(v, 28) for v in (d.x, d.test_x, many))
    else:
        x, test, shown = d.x, d.test_x, d.x
    model = models.compression_autoencoder(input_shape=x.shape[1:])
    train(model, shown, epochs=100 if enlarged else 300, lr=2e-3, seed=seed)
    found["5-NN accuracy"] = neighbours(model.encoder.predict(x), d.y, model.encoder.predict(test), d.test_y)
    found["error"] = error(model, test)
    mean, axes = principal(x, 2)
    flat = [(v.reshape(len(v), -1) - mean) @ axes.T for v in (x, test)]
    found["5-NN accuracy, PCA 2"] = neighbours(flat[0], d.y, flat[1], d.test_y)
    found["error, PCA 2"] = pca_error(x, test, 2)
    size = int(np.prod(x.shape[1:]))
    found["space saved"] = metrics.space_saving(size, 2)
    return found


def compression784(d: Split, seed: int) -> Figures:
    """The same with 784-300-2-300-784 on digits enlarged to 28x28, and four moved copies of each training image."""
    return compression(d, seed, enlarged=True)


STUDIES: dict[str, Callable[[Split, int], Figures]] = {
    f.__name__: f
    for f in (undercomplete, linear, overcomplete, stacked, denoising, sparse, contractive, compression, compression784)
}


def run(
    studies: dict[str, Callable[[Any, int], Figures]], description: str, make: Callable[[bool], Any] = Split
) -> None:
    """Carry studies out over seeds on make(held out) and print each figure's mean, standard deviation and range."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"of {', '.join(studies)} (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on (default: 3)")
    parser.add_argument("--held-out", action="store_true", help="measure within the training half")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", help="write the figures of every seed there")
    options = parser.parse_args()
    unknown = sorted(set(options.studies) - set(studies))
    if unknown:
        parser.error(f"no study {', '.join(unknown)}: there are {', '.join(studies)}")
    rb.set_num_threads(options.threads)
    split = make(options.held_out)
    results: dict[str, Any] = {}
    for name in options.studies or studies:
        began = time.perf_counter()
        runs = [studies[name](split, seed) for seed in range(options.seeds)]
        seconds = (time.perf_counter() - began) / options.seeds
        results[name] = {"seconds per seed": seconds, "runs": runs}
        print(f"{name} ({options.seeds} seeds, {seconds:.1f} s each)")
        for key in runs[0]:
            values = np.array([r[key] for r in runs])
            print(f"  {key:<44} {values.mean():9.5f} +- {values.std():.5f}  ({values.min():.5f} to {values.max():.5f})",
                  flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    run(STUDIES, __doc__ or "")
