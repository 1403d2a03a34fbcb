"""The family "pool": its cases, and each library's side of them.

Maximum and average over windows of images [N,H,W,C], and the mean over whole images; a case is the forward pass alone
or forward and backward through the library's own differentiation, with the gradient of the result given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .cases import Array, Case, normal
from .worker import Variant, digest

__all__ = ["ours_builders", "pool_cases", "torch_builders"]

Builder = Callable[[Case], dict[str, Variant]]

_IMAGES = [(64, 28, 6), (16, 112, 64), (8, 28, 512)]  # N, H = W, C
_POOLS = [("max", 2, 2), ("max", 3, 2), ("average", 2, 2), ("global", 0, 0)]  # kind, kernel, stride


def pool_cases() -> Iterator[Case]:
    for n, size, c in _IMAGES:
        for kind, kernel, stride in _POOLS:
            out = (size - kernel) // stride + 1 if kernel else 1
            x, y = 4.0 * n * size * size * c, 4.0 * n * out * out * c
            label = f"{kind} {kernel}x{kernel} s{stride}" if kernel else "global average"
            params = {"n": n, "size": size, "c": c, "out": out, "kernel": kernel, "stride": stride}
            params["max"] = kind == "max"
            indices = y * (kind == "max")  # written once, read once
            yield Case(
                "pool", f"{label} {n}x{size}x{size}x{c}", "pool", params, read=x, written=y + indices, quick=n == 8
            )
            yield Case(
                "pool", f"{label} {n}x{size}x{size}x{c} with gradient", "pool_grad", params, read=x + y + indices,
                written=x + y + indices, quick=n == 64,
            )  # fmt: skip


def _arrays(case: Case) -> tuple[Array, Array]:
    """The images and the gradient of the result."""
    rng = case.rng()
    n, size, c, out = (case.params[k] for k in ("n", "size", "c", "out"))
    return normal(rng, n, size, size, c), normal(rng, n, out, out, c)


def ours_builders() -> dict[str, Builder]:
    import rosenblatt as rb

    def pool(case: Case) -> Callable[[Any], Any]:
        kernel, stride = case.params["kernel"], case.params["stride"]
        if not kernel:
            return lambda x: rb.ops.adaptive_avg_pool2d(x, 1)
        if case.params["max"]:
            return lambda x: rb.ops.max_pool2d(x, kernel, stride)
        return lambda x: rb.ops.avg_pool2d(x, kernel, stride)

    def forward(case: Case) -> dict[str, Variant]:
        x, f = _arrays(case)[0], pool(case)
        return {"": Variant(lambda: f(x), lambda: digest(f(x)))}

    def both(case: Case) -> dict[str, Variant]:
        image, gradient = _arrays(case)
        x, g, f = rb.Tensor(image, requires_grad=True), rb.Tensor(gradient), pool(case)

        def run() -> Any:
            x.grad = None
            f(x).backward(g)
            return x.grad

        return {"": Variant(run, lambda: digest(np.asarray(run())))}

    return {"pool": forward, "pool_grad": both}


def torch_builders() -> dict[str, Builder]:
    import torch
    import torch.nn.functional as F

    formats = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}

    def image(a: Array, form: str) -> torch.Tensor:
        return torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=formats[form])

    def look(t: torch.Tensor) -> list[float]:
        return digest(t.detach().permute(0, 2, 3, 1).contiguous().numpy())

    def pool(case: Case) -> Callable[[torch.Tensor], torch.Tensor]:
        kernel, stride = case.params["kernel"], case.params["stride"]
        if not kernel:
            return lambda x: F.adaptive_avg_pool2d(x, 1)
        if case.params["max"]:
            return lambda x: F.max_pool2d(x, kernel, stride)
        return lambda x: F.avg_pool2d(x, kernel, stride)

    def forward(case: Case) -> dict[str, Variant]:
        f, variants = pool(case), {}
        for form in formats:
            x = image(_arrays(case)[0], form)

            def run(x: torch.Tensor = x) -> torch.Tensor:
                with torch.inference_mode():
                    return f(x)

            variants[form] = Variant(run, lambda run=run: look(run()))  # type: ignore[misc]
        return variants

    def both(case: Case) -> dict[str, Variant]:
        torch.set_grad_enabled(True)
        f, variants = pool(case), {}
        for form in formats:
            x, g = (image(a, form) for a in _arrays(case))
            x.requires_grad_(True)

            def run(x: torch.Tensor = x, g: torch.Tensor = g) -> torch.Tensor:
                x.grad = None
                f(x).backward(g)
                assert x.grad is not None
                return x.grad

            variants[form] = Variant(run, lambda run=run: look(run()))  # type: ignore[misc]
        return variants

    return {"pool": forward, "pool_grad": both}
