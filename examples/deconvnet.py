"""What maps of ZFNet respond to: the way back from a map to the picture, after training on generated pictures.

    python examples/deconvnet.py [--epochs 10] [--out zfnet.png]

For the first, second and last convolution, the nine maps with the largest activations on the test pictures: for each
the picture that gives the largest one, and what in it that comes from (`models.deconvnet`). Needs matplotlib for --out.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import rosenblatt as rb
from rosenblatt import data, models, nn, optim, train

LAYERS = {"conv1": 1, "conv2": 4, "conv5": 9}  # layers of `features` up to each convolution


def strongest(layers: list[Any], x: np.ndarray, count: int = 9) -> list[tuple[int, int]]:
    """(map, picture) of the `count` maps with the largest activations, each with the picture that gives it."""
    peak = nn.Sequential(layers).predict(x).max((1, 2))  # [N,K]
    maps = np.argsort(-peak.max(0))[:count]
    return [(int(k), int(peak[:, k].argmax())) for k in maps]


def views(net: Any, x: np.ndarray) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """For each layer pairs (picture [H,W,3], view back [H,W,3])."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, count in LAYERS.items():
        layers = list(net.features)[:count]
        found[name] = [(x[i], models.deconvnet(layers, x[i : i + 1], k)[0]) for k, i in strongest(layers, x)]
    return found


def draw(found: dict[str, list[tuple[np.ndarray, np.ndarray]]], path: str) -> None:
    """One row per layer: picture and view by turns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 2 * max(map(len, found.values()))
    figure, axes = pyplot.subplots(len(found), columns, figsize=(columns * 0.8, len(found) * 1.1), squeeze=False)
    for row, (name, pairs) in zip(axes, found.items(), strict=True):
        for axis in row:
            axis.axis("off")
        row[0].set_title(name, fontsize=8)
        for i, (picture, view) in enumerate(pairs):
            row[2 * i].imshow(picture)
            row[2 * i + 1].imshow(0.5 + 0.5 * view / max(float(np.abs(view).max()), 1e-12))
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.9)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=600, help="generated pictures to train on")
    parser.add_argument("--pictures", type=int, default=100, help="new pictures to choose from")
    parser.add_argument("--hidden", type=int, default=512, help="units of the dense layers, 4096 in the paper")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", metavar="FILE", help="write the picture there")
    options = parser.parse_args()
    rb.set_num_threads(options.threads)
    rb.manual_seed(0)
    sets = ((options.samples, 0), (3 * options.pictures, 1))
    known, new = (data.generate.scenes(n, 64, seed=seed).dataset() for n, seed in sets)
    net = models.zfnet(6, input_shape=(64, 64, 3), hidden=options.hidden)
    net.fit(
        known.x, known.y, epochs=options.epochs, batch_size=32, optimizer=optim.Adam(net.parameters(), 3e-4), seed=0,
        callbacks=[train.LearningRateSchedule.cosine()], progress=False,
    )  # fmt: skip
    print(f"accuracy on new pictures {net.evaluate(new.x, new.y)['accuracy']:.3f}")
    found = views(net, new.x[: options.pictures])
    for name, pairs in found.items():
        field = rb.train.receptive_field(nn.Sequential(list(net.features)[: LAYERS[name]]), (64, 64, 3))
        extent = []
        for _, view in pairs:
            used = np.nonzero(np.abs(view).max(2) > 0)
            extent.append(max((int(np.ptp(u)) + 1 for u in used if len(u)), default=0))
        print(f"{name}: a unit sees {field[0]}x{field[1]} pixels, the views reach over {min(extent)} to {max(extent)}")
    if options.out:
        draw(found, options.out)


if __name__ == "__main__":
    main()
