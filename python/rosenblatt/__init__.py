"""rosenblatt: deep learning on hand-written kernels.

`rb.ops` has fast operations for NumPy arrays and tensors, `rb.nn` layers, `rb.optim` optimisers, `rb.train` fitting,
`rb.data` loaders, `rb.models` networks by name. Importing this package starts no thread, runs no vector instruction
beyond the baseline and touches no file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import ops
from ._capture import Captured, CaptureError, capture
from ._config import get_num_threads, set_num_threads, show_config
from ._version import __version__
from .autograd import detect_anomaly, enable_grad, grad, gradcheck, is_grad_enabled, mark_written, no_grad
from .custom import Function, checkpoint, stop_gradient
from .ops.random import manual_seed
from .tensor import Parameter, Tensor, tensor

if TYPE_CHECKING:
    from . import data, distributed, fft, io, metrics, models, nn, optim, train, viz
    from .nn.graph import Input, Model
    from .train.profile import profile

_LAZY = ("cli", "data", "distributed", "fft", "io", "metrics", "models", "nn", "optim", "train", "viz")

__all__ = [
    "CaptureError", "Captured", "Function", "Input", "Model", "Parameter", "Tensor", "__version__", "capture",
    "checkpoint", "data", "detect_anomaly", "distributed", "enable_grad", "fft", "get_num_threads", "grad",
    "gradcheck", "io", "is_grad_enabled", "manual_seed", "mark_written", "metrics", "models", "nn", "no_grad", "ops",
    "optim", "profile", "set_num_threads", "show_config", "stop_gradient", "tensor", "train", "viz",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "profile":
        return importlib.import_module(f"{__name__}.train").profile
    if name in ("Input", "Model"):
        return getattr(importlib.import_module(f"{__name__}.nn"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "Input", "Model", "profile"})
