"""Studies of convolutional networks: what depth does with and without shortcuts, and learning 64 pictures by heart.

    python examples/convnets.py [STUDY ...] [--seeds 3] [--json FILE]

`depth` trains networks of 200 layers on the digits, pre-activation residual and plain, with the same recipe, which was
chosen on the training half, `depth20` such of 20 layers. `overfit_NAME` trains a registered network on 64 generated
pictures until it names 0.99 of them right in evaluation mode; it counts the epochs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from autoencoders import Figures, Split, run

import rosenblatt as rb
from rosenblatt import data, models, optim, train

NETWORKS = [
    "alexnet_two_groups", "alexnet_single", "alexnet", "zfnet", "vgg11", "vgg13", "vgg16", "vgg19", "googlenet_paper",
    "googlenet_bn", "googlenet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet20", "resnet56",
    "resnet110",
]  # fmt: skip


def depth(d: Split, seed: int, layers: int = 200, epochs: int = 20) -> Figures:
    """Accuracy on the measuring half after 20 epochs of Adam at 0.004 falling to 0, batch 32, augmented digits."""
    found: Figures = {}
    for name, residual in (("residual", True), ("plain", False)):
        rb.manual_seed(seed)
        net = models.preact_resnet(10, depth=layers, input_shape=(8, 8, 1), residual=residual)
        net.fit(
            d.x, d.y, epochs=epochs, batch_size=32, optimizer=optim.Adam(net.parameters(), 4e-3), seed=seed,
            augment=models.info("preact_resnet").augmentation((8, 8, 1)), progress=False,
            callbacks=[train.LearningRateSchedule.cosine()],
        )  # fmt: skip
        found[f"{layers} layers, {name}: accuracy"] = net.evaluate(d.test_x, d.test_y)["accuracy"]
    return found


class UntilKnown(train.Callback):
    """Ends training when 0.99 of the pictures are named right in evaluation mode."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y, self.accuracy = x, y, 0.0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if epoch % 5 == 0:
            self.accuracy = self.run.model.evaluate(self.x, self.y)["accuracy"]
            self.run.stop = self.accuracy >= 0.99


def overfit(name: str, seed: int, epochs: int = 200) -> Figures:
    """Epochs until 64 pictures are known, with the optimiser of the network's recipe and batches of 32."""
    entry = models.info(name)
    shape = entry.image or (32, 32, 3)
    scenes = data.generate.scenes(64, shape[0], seed=seed).dataset()
    rb.manual_seed(seed)
    net = models.build(name, input_shape=shape, classes=6)
    make = {"adam": optim.Adam, "rmsprop": optim.RMSprop}[entry.recipe.optimizer]
    known = UntilKnown(scenes.x, scenes.y)
    began = time.perf_counter()
    history = net.fit(
        scenes.x, scenes.y, epochs=epochs, batch_size=32, optimizer=make(net.parameters(), lr=entry.recipe.lr),
        callbacks=[known], progress=False, seed=seed,
    )  # fmt: skip
    return {"accuracy": known.accuracy, "epochs": len(history.epoch), "seconds": time.perf_counter() - began}


def depth20(d: Split, seed: int) -> Figures:
    """The same with 20 layers, where the plain network learns, too."""
    return depth(d, seed, 20)


STUDIES: dict[str, Callable[[Split, int], Figures]] = {"depth": depth, "depth20": depth20}
for _name in NETWORKS:
    STUDIES[f"overfit_{_name}"] = lambda d, seed, name=_name: overfit(name, seed)


if __name__ == "__main__":
    run(STUDIES, __doc__ or "")
