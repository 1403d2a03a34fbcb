"""Capacity and generalisation: polynomials of degree 1, 2, 4 and more, a memoriser, and learning curves.

    python examples/bias_variance.py [--repeats 200] [--out FOLDER]

Prints bias^2, variance and error against the degree, measured over many training sets, and the errors of fits and of
the memoriser over the number of samples; `--out` draws the fits, the errors against capacity and the learning curves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from rosenblatt import models, viz

NOISE = 0.2  # deviation of the targets about the truth
SAMPLES = 15


def truth(x: np.ndarray) -> np.ndarray:
    return 1.0 + 0.5 * x - 2.0 * x**2


def draw(seed: int, n: int = SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """A training set of its own for every seed: x [n], evenly on [-1, 1] and in random order, and noisy y [n]."""
    rng = np.random.default_rng(seed)
    x = rng.permutation(np.linspace(-1, 1, n))
    return x, truth(x) + NOISE * rng.standard_normal(n)


def polynomial(degree: int):
    return lambda x, y: models.fit_polynomial(x, y, degree, basis="legendre").predict


def by_heart(x, y):
    learner = models.Memoriser().fit(np.reshape(x, (-1, 1)), y)
    return lambda points: learner.predict(np.reshape(points, (-1, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--out", help="folder for the plots (needs matplotlib)")
    options = parser.parse_args()

    points = np.linspace(-1, 1, 61)
    degrees = [1, 2, 3, 4, 6, 8, 10]
    risks, errors = [], []
    print(f"{SAMPLES} samples, noise variance {NOISE**2:.3f}, {options.repeats} training sets")
    print("degree  empirical risk  bias^2   variance  expected error")
    for degree in degrees:
        fit = polynomial(degree)
        split = models.bias_variance(fit, draw, points, truth(points), noise=NOISE**2, repeats=options.repeats)
        sets = [draw(i) for i in range(options.repeats)]
        risk = float(np.mean([models.empirical_risk(fit(x, y)(x), y) for x, y in sets]))
        risks.append(risk)
        errors.append(split.error)
        print(f"{degree:>6}  {risk:14.4f}  {split.bias2:.4f}  {split.variance:8.4f}  {split.error:14.4f}")
    best = degrees[int(np.argmin(errors))]
    print(f"least expected error: degree {best}")

    x, y = draw(1)
    heart = by_heart(x, y)
    fresh = draw(2, 1999)
    print(f"memoriser: empirical risk {models.empirical_risk(heart(x), y):.4f}, "
          f"on new samples {models.empirical_risk(heart(fresh[0]), fresh[1]):.4f}")  # fmt: skip

    sizes = [5, 10, 20, 50, 100, 300]
    train = draw(3, max(sizes))
    curves = {f"degree {d}": models.learning_curve(polynomial(d), *train, fresh, sizes) for d in (1, 2, 4)}
    for name, curve in curves.items():
        pairs = "  ".join(
            f"{n}: {a:.3f}/{b:.3f}" for n, a, b in zip(curve.sizes, curve.training, curve.validation, strict=True)
        )
        print(f"{name}, training/validation error over samples:  {pairs}")

    if options.out:
        folder = Path(options.out)
        folder.mkdir(parents=True, exist_ok=True)
        fits = {f"degree {d}": polynomial(d)(x, y) for d in (1, 2, 4, 8)}
        viz.fitted_curves(x, y, fits).savefig(folder / "fits.png")
        viz.capacity_curve(degrees, risks, errors, "squared error").savefig(folder / "capacity.png")
        curve = curves["degree 2"]
        figure = viz.capacity_curve(curve.sizes, curve.training, curve.validation, "squared error", "training samples")
        figure.savefig(folder / "learning_curve.png")
        print(f"drawn: {folder}")


if __name__ == "__main__":
    main()
