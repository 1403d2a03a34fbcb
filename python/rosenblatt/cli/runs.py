"""Run folders: what `train` leaves behind and `predict`, `report` and `info` read.

    config.json           every option, seed, version, ISA and thread count, and the result
    history.json          the curves
    weights.safetensors   PyTorch's layout
    histograms.json       norms and histograms of the layers, with --histograms
    report.html           one self-contained page; needs matplotlib, and can be written later (`rosenblatt report`)

Each file is written atomically. `config.json` is written after the weights and the curves: a folder that has one is
whole but for the report. Nothing in a folder names the folder itself, so it can be moved; the data is found by its
absolute path.
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
    from ..train import HistogramRecord

__all__ = [
    "clear", "load_run", "new_folder", "read_config", "read_histograms", "read_history", "set_threads", "write_json",
]

CONFIG, HISTORY, WEIGHTS, REPORT = "config.json", "history.json", "weights.safetensors", "report.html"
HISTOGRAMS = "histograms.json"
_MAX_VALUES = 2**26  # in one sample: what a damaged configuration may ask for


def set_threads(count: int | None) -> None:
    """Set the number of threads when one is asked for. Raises UsageError for one that cannot be had."""
    if count is not None:
        try:
            set_num_threads(count)
        except ValueError as error:
            raise UsageError(f"--threads: {error}") from error


def new_folder(wanted: str | None, name: str, overwrite: bool = False) -> Path:
    """The run folder, created: `wanted` (new or empty, unless `overwrite`) or runs/NAME-<time>. Raises UsageError."""
    if wanted is not None:
        folder = Path(wanted)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--out {folder}: exists and is not a folder")
        if not overwrite and folder.exists() and any(folder.iterdir()):
            raise UsageError(f"--out {folder}: exists and is not empty; --overwrite replaces the run in it")
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


def clear(folder: Path) -> None:
    """Remove what an earlier run left in the folder, its configuration first; other files stay."""
    for name in (CONFIG, REPORT, HISTORY, WEIGHTS, HISTOGRAMS):
        (folder / name).unlink(missing_ok=True)


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


def _read_json(folder: str | Path, name: str) -> tuple[Path, dict[str, Any]]:
    """A JSON object of a run folder, and the file. Raises UsageError naming the file that is missing or damaged."""
    file = Path(folder) / name
    try:
        content = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder}: not a run folder (no {name})") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: damaged: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{file}: damaged: expected an object {{...}}, found {type(content).__name__}")
    return file, content


def read_config(folder: str | Path) -> dict[str, Any]:
    """The configuration of a run folder. Raises UsageError naming the file that is missing or damaged."""
    file, config = _read_json(folder, CONFIG)
    required = {"model": str, "classes": list, "data_shape": list, "input_shape": list}
    for key, kind in required.items():
        if not isinstance(config.get(key), kind):
            raise UsageError(f"{file}: damaged: expected {key!r} ({kind.__name__})")
    for shape in (config["data_shape"], config["input_shape"]):
        whole = all(isinstance(v, int) and v > 0 for v in shape)
        if not whole or not shape or math.prod(shape) > _MAX_VALUES:
            raise UsageError(f"{file}: damaged: expected shapes of positive integers, found {str(shape)[:60]}")
    if not config["classes"] or not all(isinstance(c, str) for c in config["classes"]):
        raise UsageError(f"{file}: damaged: expected the names of at least one class")
    return config


def read_history(folder: str | Path) -> dict[str, list[float]]:
    """The curves of a run folder; null becomes NaN. Raises UsageError naming the file that is missing or damaged."""
    file, curves = _read_json(folder, HISTORY)
    history: dict[str, list[float]] = {}
    for key, values in curves.items():
        numbers = isinstance(values, list) and all(v is None or type(v) in (int, float) for v in values)
        if not numbers or (key == "epoch" and not all(type(v) is int for v in values)):
            raise UsageError(f"{file}: damaged: expected a list of numbers as {key!r}")
        history[key] = [math.nan if v is None else v for v in values]
    if "epoch" not in history or any(len(v) != len(history["epoch"]) for v in history.values()):
        raise UsageError(f"{file}: damaged: expected curves as long as 'epoch'")
    return history


def read_histograms(folder: str | Path) -> list[HistogramRecord]:
    """The records of --histograms, none when there is no file. Raises UsageError naming the file that is damaged."""
    from ..train import HistogramRecord

    if not (Path(folder) / HISTOGRAMS).exists():
        return []
    file, content = _read_json(folder, HISTOGRAMS)
    records = content.get("records")
    if not isinstance(records, list):
        raise UsageError(f"{file}: damaged: expected a list as 'records'")
    try:
        return [HistogramRecord.from_json(entry) for entry in records]
    except ValueError as error:
        raise UsageError(f"{file}: damaged: {error}") from None


def load_run(folder: str | Path) -> tuple[Module, dict[str, Any]]:
    """The trained network of a run folder, ready for evaluation, and the configuration.

    Raises UsageError or WeightsError, naming the file, when one is missing or damaged.
    """
    config = read_config(folder)
    try:
        model = models.build(config["model"], input_shape=tuple(config["input_shape"]), classes=len(config["classes"]))
    except ValueError as error:
        raise UsageError(f"{Path(folder) / CONFIG}: damaged: {error}") from None
    load_weights(model, Path(folder) / WEIGHTS)
    model.eval()
    return model, config
