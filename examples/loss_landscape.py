"""Error surfaces: a convex bowl, a minimum beside a deeper one, a saddle, and the noise that leaves the saddle.

    python examples/loss_landscape.py [--out FOLDER]

Descends on functions of two weights, says by their curvature what kind of point each descent ended at, and follows the
sigmoid neuron of two weights down its error surface; `--out` draws the surfaces with the paths.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import rosenblatt as rb
from rosenblatt import ops, train, viz


def bowl(w: Any) -> Any:
    return ops.sum(ops.mul(ops.square(w), np.array([1.0, 3.0])))


def two_minima(w: Any) -> Any:
    u, v = w[0], w[1]
    return (u * u - 1.0) * (u * u - 1.0) + 0.3 * u + v * v


def saddle(w: Any) -> Any:
    u, v = w[0], w[1]
    return u * u - v * v + 0.25 * (v * v) * (v * v)


def neuron(w: Any) -> Any:
    """Half the squared error of sigmoid(w x + b) on (0.5, 0.2) and (2.5, 0.9)."""
    x, y = np.array([0.5, 2.5]), np.array([0.2, 0.9])
    return 0.5 * ops.sum(ops.square(ops.sigmoid(w[0] * x + w[1]) - y))


RUNS: list[tuple[str, Callable[[Any], Any], list[float], float, int, float, float]] = [
    # name, function, start, rate, steps, noise of the gradient, half the side of the picture
    ("convex bowl", bowl, [1.5, 1.0], 0.1, 100, 0.0, 2.0),
    ("convex bowl, rate too large", bowl, [1.5, 0.1], 0.34, 25, 0.0, 40.0),
    ("two minima, from the right: the shallow one", two_minima, [1.5, 1.0], 0.05, 200, 0.0, 2.0),
    ("two minima, from the left: the deep one", two_minima, [-1.5, 1.0], 0.05, 200, 0.0, 2.0),
    ("saddle, exact gradient", saddle, [1.5, 0.0], 0.05, 300, 0.0, 2.0),
    ("saddle, noisy gradient", saddle, [1.5, 0.0], 0.05, 300, 0.02, 2.0),
    ("sigmoid neuron", neuron, [-2.0, -2.0], 1.0, 1000, 0.0, 4.0),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="folder for the plots (needs matplotlib)")
    options = parser.parse_args()
    for name, function, start, rate, steps, noise, half in RUNS:
        run = train.descend(function, start, rate, steps, noise=noise)
        end = run.path[-1]
        point = train.stationary_point(function, end, tolerance=0.1 if noise else 1e-4)
        print(f"{name}: ends at ({end[0]:.4f}, {end[1]:.4f}), value {run.values[-1]:.4g}, "
              f"curvatures {point.curvatures[0]:.3g} and {point.curvatures[1]:.3g}: {point.kind}")  # fmt: skip
        if options.out:
            folder = Path(options.out)
            folder.mkdir(parents=True, exist_ok=True)
            figure = viz.error_surface(
                lambda a, b, f=function: f(rb.Tensor(np.array([a, b]))).item(), (-half, half), (-half, half), run.path
            )
            figure.savefig(folder / f"{''.join(c if c.isalnum() else '_' for c in name)}.png")
    # convex everywhere: no curvature of the bowl is negative, wherever it is looked at; the saddle's is, at 0
    rng = np.random.default_rng(0)
    for name, function in (("bowl", bowl), ("two minima", two_minima), ("saddle", saddle)):
        least = min(np.linalg.eigvalsh(train.hessian(function, p))[0] for p in rng.uniform(-2, 2, (200, 2)))
        print(f"{name}: least curvature at 200 random points {least:.2f}: {'convex' if least >= 0 else 'not convex'}")


if __name__ == "__main__":
    main()
