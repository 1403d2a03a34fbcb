"""Trains a small convolutional network on handwritten digits, saves it, and loads it into a fresh one.

    python examples/train_digits.py [--epochs 20] [--out digits.safetensors]

Needs the extra `demo` (scikit-learn carries the digits).
"""

from __future__ import annotations

import argparse

import numpy as np

import rosenblatt as rb
from rosenblatt import nn


def network() -> nn.Sequential:
    """Digits [N,8,8,1] -> logits [N,10]."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding="same", activation="relu"),  # [N,8,8,16]
        nn.MaxPool2d(2),  # [N,4,4,16]
        nn.Conv2d(16, 32, 3, padding="same", activation="relu"),  # [N,4,4,32]
        nn.MaxPool2d(2),  # [N,2,2,32]
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", default="digits.safetensors")
    options = parser.parse_args()

    train, test = rb.data.digits(split=True)
    rb.manual_seed(0)  # the initial weights
    model = network()
    print(model.summary((8, 8, 1)))
    model.fit(
        train.x, train.y, epochs=options.epochs, seed=0, optimizer=rb.optim.AdamW(model.parameters(), lr=3e-3),
        augment=rb.data.Affine(rotate=10, shift=0.1, scale=(0.9, 1.1)),
        callbacks=[rb.train.LearningRateSchedule.cosine()],
    )
    print(f"test accuracy {model.evaluate(test.x, test.y)['accuracy']:.4f}")

    rb.io.save_weights(model, options.out)  # PyTorch's keys and layout on disk
    again = network()
    rb.io.load_weights(again, options.out)
    same = np.array_equal(again.predict(test.x), model.predict(test.x))
    print(f"saved to {options.out}; the loaded network gives the same bytes: {same}")


if __name__ == "__main__":
    main()
