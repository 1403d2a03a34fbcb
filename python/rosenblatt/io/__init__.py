"""Files: weights in the safetensors format with PyTorch's keys and layout, checkpoints, and atomic writing."""

from __future__ import annotations

from .atomic import write_bytes_atomic, write_text_atomic
from .checkpoint import Checkpoint, CheckpointError, list_checkpoints, load_checkpoint, save_checkpoint
from .weights import WeightsError, load_weights, read_metadata, read_shapes, save_weights

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "WeightsError",
    "list_checkpoints",
    "load_checkpoint",
    "load_weights",
    "read_metadata",
    "read_shapes",
    "save_checkpoint",
    "save_weights",
    "write_bytes_atomic",
    "write_text_atomic",
]
