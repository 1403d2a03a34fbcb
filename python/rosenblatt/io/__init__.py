"""Files: weights in the safetensors format with PyTorch's keys and layout, and atomic writing."""

from __future__ import annotations

from .atomic import write_bytes_atomic, write_text_atomic
from .weights import WeightsError, load_weights, read_metadata, save_weights

__all__ = [
    "WeightsError",
    "load_weights",
    "read_metadata",
    "save_weights",
    "write_bytes_atomic",
    "write_text_atomic",
]
