"""A training loop of one's own: a two-layer network learns XOR, and its gradients are checked first.

    python examples/own_loop.py [--steps 300]
"""

from __future__ import annotations

import argparse

import numpy as np

import rosenblatt as rb
from rosenblatt import nn, ops


class Xor(nn.Module):
    """Two inputs, `hidden` tanh units, one output: [N,2] -> [N,1] net inputs."""

    def __init__(self, hidden: int = 4) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, hidden, activation="tanh")
        self.output = nn.Linear(hidden, 1)

    def forward(self, x: rb.Tensor) -> rb.Tensor:
        return self.output(self.hidden(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()

    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)  # [N=4,2]
    y = np.array([[0], [1], [1], [0]], np.float32)  # [N=4,1]
    rb.manual_seed(0)
    model = Xor()

    error = rb.gradcheck(lambda w, b: ops.mse_loss(ops.linear(x, w, b, activation="tanh"), y), [np.ones((1, 2)), [0.1]])
    print(f"gradient check: {error:.2g} of the tolerance")

    optimizer = rb.optim.Adam(model.parameters(), lr=0.05)
    for step in range(1, options.steps + 1):
        optimizer.zero_grad()
        p = ops.sigmoid(model(rb.tensor(x)))
        loss = -ops.mean(y * ops.log(p) + (1 - y) * ops.log(1 - p))
        loss.backward()
        optimizer.step()
        if step == 1 or step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}")
    with rb.no_grad():
        p = ops.sigmoid(model(rb.tensor(x))).numpy()
    for inputs, value in zip(x.astype(int), p[:, 0], strict=True):
        print(f"{inputs[0]} xor {inputs[1]} -> {value:.3f}")


if __name__ == "__main__":
    main()
