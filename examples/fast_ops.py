"""Ops on plain NumPy arrays: no tensors, no tape, no classes. Finds edges in an image and times a matrix product.

    python examples/fast_ops.py [--size 1024] [--repeat 5]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from rosenblatt import ops


def edges(image: np.ndarray) -> np.ndarray:
    """The Sobel gradient magnitude [H,W] of a grey image [H,W]."""
    down = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], np.float32)
    kernels = np.stack([down, down.T])[..., None]  # [K=2,R=3,S=3,C=1]
    g = ops.conv2d(image[None, :, :, None], kernels, padding="same")[0]  # [H,W,2]
    return np.asarray(ops.sqrt(ops.sum(ops.square(g), axis=-1)))


def best_of(repeat: int, f, *args) -> float:
    """Seconds of the fastest of `repeat` calls."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f(*args)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    n = options.size

    h, w = np.mgrid[0:n, 0:n].astype(np.float32)
    disc = ((h - n / 2) ** 2 + (w - n / 2) ** 2 < (n / 4) ** 2).astype(np.float32)  # [H,W]
    outline = edges(disc)
    print(f"edges: {outline.shape}, {np.count_nonzero(outline)} pixels on the outline of a disc")

    a = ops.normal((n, n))
    b = ops.normal((n, n))
    out = np.empty((n, n), np.float32)
    ours = best_of(options.repeat, lambda: ops.gemm(a, b, out=out))
    theirs = best_of(options.repeat, lambda: np.matmul(a, b, out=out))
    flops = 2.0 * n**3
    print(f"{n} x {n} product: ops.gemm {flops / ours / 1e9:.0f} GFLOP/s, numpy {flops / theirs / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
