"""Gradients that vanish and explode in a deep network, and what helps.

    python examples/vanishing_gradients.py [--depth 20] [--epochs 5] [--out FOLDER]

A network of many narrow layers on the digits: the gradient of every layer's weights at the start and the accuracy after
a few epochs, for sigmoid, tanh and ReLU units, several initialisers, and the recipe of Glorot's initialiser, clipped
gradients and a limit on the weights. `--out` draws norms and histograms per layer for each case.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import rosenblatt as rb
from rosenblatt import data, nn, optim, train, viz

WIDTH = 32
CASES = {  # name: activation, initialiser, options of the optimiser
    "sigmoid, uniform +-1/sqrt(n)": ("sigmoid", "default", {}),
    "sigmoid, Glorot": ("sigmoid", "glorot_uniform", {}),
    "tanh, uniform +-1/sqrt(n)": ("tanh", "default", {}),
    "tanh, Glorot": ("tanh", "glorot_uniform", {}),
    "ReLU, uniform +-1/sqrt(n)": ("relu", "default", {}),
    "ReLU, He": ("relu", "he_normal", {}),
    "ReLU, He x 3 (exploding)": ("relu", "he_normal", {}),
    "tanh, Glorot, clipnorm 1, max-norm 2": ("tanh", "glorot_uniform", {"clipnorm": 1.0, "max_norm": 2.0}),
    "ReLU, He x 3, clipnorm 1, max-norm 2": ("relu", "he_normal", {"clipnorm": 1.0, "max_norm": 2.0}),
}


def network(name: str, depth: int) -> nn.Sequential:
    activation, start, _ = CASES[name]
    sizes = [64] + [WIDTH] * depth
    layers = [nn.Linear(a, b, activation=activation, weight_init=start) for a, b in itertools.pairwise(sizes)]
    model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(WIDTH, 10))
    if "x 3" in name:
        for p in model.parameters():
            if p.ndim == 2:
                p.data *= 3
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=20, help="hidden layers")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", help="folder for the plots (needs matplotlib)")
    options = parser.parse_args()

    train_set, test_set = data.digits(split=True)
    print(f"{options.depth} hidden layers of {WIDTH}; gradients (root mean square) before training, seed 0; "
          f"test accuracy after {options.epochs} epochs of Adam, {options.seeds} seeds")  # fmt: skip
    for name, (_, _, limits) in CASES.items():
        outcomes = []
        watches = []
        for seed in range(options.seeds):
            rb.manual_seed(seed)
            model = network(name, options.depth)
            constraint = optim.MaxNorm(limits["max_norm"]) if limits else None
            optimizer = optim.Adam(model.parameters(), 1e-3, clipnorm=limits.get("clipnorm"), constraint=constraint)
            watches.append(train.Histograms(train_set.x[:256], train_set.y[:256]))
            try:
                model.fit(
                    train_set.x, train_set.y, epochs=options.epochs, optimizer=optimizer, callbacks=[watches[-1]],
                    progress=False, seed=seed, check_finite=True,
                )  # fmt: skip
                outcomes.append(f"{model.evaluate(test_set.x, test_set.y)['accuracy']:.3f}")
            except train.NonFiniteError as error:
                outcomes.append(f"({error})")
        watch = watches[0]
        first, *_, last, _ = [
            r for r in watch.select("gradients") if r.epoch == 0 and r.name.endswith("weight")
        ]  # the last of all is the output layer's
        print(f"{name:<38} first layer {first.rms:.1e}, last hidden {last.rms:.1e}; accuracy {' '.join(outcomes)}")
        if options.out:
            folder = Path(options.out)
            folder.mkdir(parents=True, exist_ok=True)
            stem = "".join(c if c.isalnum() else "_" for c in name)
            viz.layer_norms(watch, ("gradients", "activations")).savefig(folder / f"{stem}_norms.png")
            viz.histogram_map(watch, "gradients").savefig(folder / f"{stem}_gradients.png")


if __name__ == "__main__":
    main()
