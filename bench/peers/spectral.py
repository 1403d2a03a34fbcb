"""The families "fft" and "filter": their cases, and each library's side of them.

A transform is one call on an array of complex64 or float32, lines last; a filter is a correlation of an image [H,W]
with zeros outside, of the image's size. SciPy stands with NumPy, in every form that can do the case.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .cases import Array, Case, normal
from .worker import Variant, digest

__all__ = ["fft_cases", "filter_cases", "numpy_builders", "ours_builders", "torch_builders"]

Builder = Callable[[Case], dict[str, Variant]]

_POWERS = [2**k for k in range(6, 21)]
_SMOOTH = [100, 243, 360, 500, 1000, 1155, 2000, 2187, 3125, 5005, 10_000, 44_100, 100_000, 1_000_000]
_OTHER = [1009, 10_007]  # primes
_BATCHES = [(1000, 64), (256, 1024), (10_000, 12)]
_SIDES = (256, 512, 1024, 2048)
_KERNELS = (3, 5, 7, 9, 11, 15, 21, 31, 45, 63)


def fft_cases() -> Iterator[Case]:
    for kind, item in (("fft", 8), ("rfft", 4)):
        for rows, n in [(1, n) for n in _POWERS + _SMOOTH + _OTHER] + _BATCHES:
            yield Case(
                "fft", f"{kind} {rows}x{n}", kind, {"rows": rows, "n": n},
                flops=5.0 * rows * n * math.log2(n) * item / 8, read=float(item * rows * n),
                written=float(item * rows * n),
                quick=n in (64, 1000, 1024),
            )  # fmt: skip
        for side in (64, 512, 1000):
            yield Case(
                "fft", f"{kind}2 {side}x{side}", f"{kind}2", {"side": side},
                flops=10.0 * side * side * math.log2(side) * item / 8, read=float(item * side**2),
                written=float(item * side**2),
            )  # fmt: skip


def filter_cases() -> Iterator[Case]:
    for name, separable in (("filter", False), ("gaussian", True)):
        for side in _SIDES:
            for k in _KERNELS:
                taps = 2 * k if separable else k * k
                yield Case(
                    "filter", f"{name} {k}x{k} {side}x{side}", "filter", {"k": k, "side": side, "separable": separable},
                    flops=2.0 * side * side * taps, read=4.0 * side**2, written=4.0 * side**2,
                    quick=side == 256 and k in (3, 31),
                )  # fmt: skip


def _signal(case: Case) -> Array:
    p = case.params
    shape = (p["side"], p["side"]) if "side" in p else (p["rows"], p["n"]) if p["rows"] > 1 else (p["n"],)
    x = normal(case.rng(), *shape, 2)
    return x.view(np.complex64)[..., 0] if case.kind.startswith("fft") else np.ascontiguousarray(x[..., 0])


def _image(case: Case) -> tuple[Array, Array, Array]:
    """Image, kernel [k,k], and its column (which is its row, too) if it is separable."""
    rng, k = case.rng(), case.params["k"]
    x = normal(rng, case.params["side"], case.params["side"])
    if not case.params["separable"]:
        return x, normal(rng, k, k), np.empty(0)
    taps = np.exp(-0.5 * (np.arange(k) - k // 2) ** 2 / (k / 6) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    return x, np.outer(taps, taps), taps


def _look(y: Any) -> list[float]:
    a = np.ascontiguousarray(y)
    return digest(a.view(np.float32) if a.dtype.kind == "c" else a)


def _variants(runs: dict[str, Callable[[], Any]], look: Callable[[Any], list[float]] = _look) -> dict[str, Variant]:
    return {name: Variant(run, lambda run=run: look(run())) for name, run in runs.items()}


_TRANSFORMS = ("fft", "rfft", "fft2", "rfft2")


def ours_builders() -> dict[str, Builder]:
    import rosenblatt as rb

    def transform(case: Case) -> dict[str, Variant]:
        x, f = _signal(case), getattr(rb.fft, case.kind)
        return _variants({"": lambda: f(x)})

    def filtered(case: Case) -> dict[str, Variant]:
        x, w, taps = _image(case)
        runs: dict[str, Callable[[], Any]] = {"": lambda: rb.ops.filter2d(x, w, mode="constant")}
        if len(taps):
            runs["sep_filter2d"] = lambda: rb.ops.sep_filter2d(x, taps, taps, mode="constant")
        return _variants(runs)

    return {**dict.fromkeys(_TRANSFORMS, transform), "filter": filtered}


def numpy_builders() -> dict[str, Builder]:
    def transform(case: Case) -> dict[str, Variant]:
        from scipy import fft

        x, f, g = _signal(case), getattr(np.fft, case.kind), getattr(fft, case.kind)
        workers = int(os.environ.get("OMP_NUM_THREADS", "1"))  # SciPy's own threads heed no variable
        return _variants({"numpy": lambda: f(x), "scipy": lambda: g(x, workers=workers)})

    def filtered(case: Case) -> dict[str, Variant]:
        from scipy import ndimage, signal

        x, w, taps = _image(case)
        flipped = np.ascontiguousarray(w[::-1, ::-1])
        runs: dict[str, Callable[[], Any]] = {
            "fftconvolve": lambda: signal.fftconvolve(x, flipped, "same"),
            "oaconvolve": lambda: signal.oaconvolve(x, flipped, "same"),
        }
        if case.flops < 1e10 and case.params["k"] <= 11:
            runs["correlate"] = lambda: ndimage.correlate(x, w, mode="constant")
        if len(taps):

            def pair() -> Any:
                return ndimage.correlate1d(ndimage.correlate1d(x, taps, 0, mode="constant"), taps, 1, mode="constant")

            runs["correlate1d"] = pair
        return _variants(runs)

    return {**dict.fromkeys(_TRANSFORMS, transform), "filter": filtered}


def torch_builders() -> dict[str, Builder]:
    import torch
    import torch.nn.functional as F

    def look(y: Any) -> list[float]:
        return _look(y.numpy().reshape(y.shape[-2:] if y.ndim == 4 else y.shape))

    def transform(case: Case) -> dict[str, Variant]:
        torch.set_grad_enabled(False)
        x, f = torch.from_numpy(_signal(case)), getattr(torch.fft, case.kind)
        return _variants({"": lambda: f(x)}, look)

    def filtered(case: Case) -> dict[str, Variant]:
        torch.set_grad_enabled(False)
        a, b, taps = _image(case)
        x, w = torch.from_numpy(a)[None, None], torch.from_numpy(b)[None, None]
        k = case.params["k"]
        runs: dict[str, Callable[[], Any]] = {}
        if k <= 31 or case.params["side"] <= 512:
            runs["conv2d"] = lambda: F.conv2d(x, w, padding=k // 2)
        if len(taps):
            row = torch.from_numpy(taps)[None, None, None]
            column = row.transpose(2, 3).contiguous()
            runs["two conv2d"] = lambda: F.conv2d(F.conv2d(x, row, padding=(0, k // 2)), column, padding=(k // 2, 0))
        return _variants(runs, look)

    return {**dict.fromkeys(_TRANSFORMS, transform), "filter": filtered}
