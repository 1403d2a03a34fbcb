"""Run folders: what `train` leaves behind and `predict` and `info` read.

    config.json           every option, seed, version, ISA and thread count, and the result
    history.json          the curves
    weights.safetensors   PyTorch's layout
    report.html           one self-contained page

Each file is written atomically. `config.json` is written last: a folder that has one is whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models, set_num_threads
from ..io import load_weights, write_text_atomic
from .main import UsageError

if TYPE_CHECKING:
    from ..nn import Module

__all__ = ["load_run", "new_folder", "read_config", "set_threads", "write_json"]

CONFIG, HISTORY, WEIGHTS, REPORT = "config.json", "history.json", "weights.safetensors", "report.html"


def set_threads(count: int | None) -> None:
    """Set the number of threads when one is asked for. Raises UsageError for one that cannot be had."""
    if count is not None:
        try:
            set_num_threads(count)
        except ValueError as error:
            raise UsageError(f"--threads: {error}") from error


def new_folder(wanted: str | None, name: str) -> Path:
    """The run folder, created: `wanted` (must be new or empty) or runs/NAME-<time>. Raises UsageError."""
    if wanted is not None:
        folder = Path(wanted)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"--out {folder}: exists and is not an empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for attempt in range(1, 1000):
        folder = Path("runs") / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise UsageError(f"runs/{stem}: no free name left; give --out")


def _finite(value: Any) -> Any:
    """JSON has no NaN or infinity: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Readable JSON, written atomically."""
    write_text_atomic(path, json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_config(folder: str | Path) -> dict[str, Any]:
    """The configuration of a run folder. Raises UsageError naming the file that is missing or damaged."""
    file = Path(folder) / CONFIG
    try:
        config: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{folder}: not a run folder (no {CONFIG})") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: damaged: {error}") from None
    required = {"model": str, "classes": list, "data_shape": list, "input_shape": list}
    for key, kind in required.items():
        if not isinstance(config, dict) or not isinstance(config.get(key), kind):
            raise UsageError(f"{file}: damaged: expected {key!r} ({kind.__name__})")
    shapes = [*config["data_shape"], *config["input_shape"]]
    if not all(isinstance(v, int) and 0 < v < 2**31 for v in shapes) or not config["classes"]:
        raise UsageError(f"{file}: damaged: expected shapes of positive integers and at least one class")
    return config


def load_run(folder: str | Path) -> tuple[Module, dict[str, Any]]:
    """The trained network of a run folder, ready for evaluation, and the configuration.

    Raises UsageError or WeightsError when a file is missing or damaged.
    """
    config = read_config(folder)
    model = models.build(config["model"], input_shape=tuple(config["input_shape"]), classes=len(config["classes"]))
    load_weights(model, Path(folder) / WEIGHTS)
    model.eval()
    return model, config
