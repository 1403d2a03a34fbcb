"""`rosenblatt list` and `rosenblatt info`: what there is, and what a run did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import rosenblatt as rb

from .. import models, nn
from . import runs
from .main import UsageError

__all__ = ["info", "list_models"]

_DIGITS = (8, 8, 1)


def _example(name: str) -> tuple[Any, tuple[int, ...]]:
    """(network, its input's shape): as it was published, without weights, where it has a full size; else for digits."""
    entry = models.info(name)
    if entry.full is None:
        shape = entry.input_shape(_DIGITS)
        return models.build(name, input_shape=shape, classes=10), shape
    with nn.init.without_weights():
        return models.build(name), entry.full


def _parameters(model: Any) -> int:
    return sum(int(np.asarray(p.data).size) for p in model.parameters())


def list_models() -> int:
    """Print the table of networks, oldest first; the parameters are those for the digits, or of the full size."""
    rows = [("name", "family", "year", "parameters", "what")]
    for name in models.names():
        entry = models.info(name)
        rows.append((name, entry.family, str(entry.year), f"{_parameters(_example(name)[0]):,}", entry.what))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(w) if i == 3 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    return 0


def _print_model(name: str) -> None:
    entry = models.info(name)
    recipe = entry.recipe
    print(f"{entry.name}: {entry.what}")
    print(f"{entry.paper}")
    print(
        f"recipe: {recipe.epochs} epochs, batch {recipe.batch_size}, {recipe.optimizer} at {recipe.lr:g} "
        f"({recipe.schedule}), {recipe.loss.replace('_', ' ')}"
        + (f", after {recipe.pretrain_epochs} epochs for each pair of layers" if recipe.pretrain_epochs else "")
        + (f", {entry.augmentation(_DIGITS)}" if recipe.augment else "")
    )
    if entry.needs:
        print(f'default data (digits): pip install "rosenblatt[{",".join(entry.needs)}]"')
    if entry.full and entry.image:
        small, large = ("x".join(map(str, s)) for s in (entry.image, entry.full))
        print(f"trained on {entry.data} at {small} unless --full asks for {large}, which the table is for")
    model, shape = _example(name)
    print(model.summary(shape))


def _print_run(folder: Path) -> None:
    config = runs.read_config(folder)
    print(f"run {folder}: {config['model']} on {config.get('data', '?')}")
    skipped = ("model", "data", "result", "environment", "classes", "options")
    for key, value in config.items():
        if key in skipped:
            continue
        text = " ".join(map(str, value)) if key == "command" and isinstance(value, list) else value
        if isinstance(value, dict):
            text = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
        print(f"  {key.replace('_', ' '):<15} {text}")
    result = config.get("result")
    if isinstance(result, dict):
        print("result")
        for key, value in result.items():
            if value is None:
                continue
            print(f"  {key.replace('_', ' '):<15} {value:.4f}" if isinstance(value, float) else f"  {key:<15} {value}")
    files = [f.name for f in sorted(folder.iterdir()) if f.is_file() and not f.name.startswith(".")]
    print(f"files: {', '.join(files)}")


def info(what: str | None) -> int:
    """Print the machine's configuration, a network's summary, or a run's configuration and result."""
    if what is None:
        print(rb.show_config())
    elif what in models.names():
        _print_model(what)
    elif Path(what).is_dir():
        _print_run(Path(what))
    elif "/" in what or Path(what).exists():
        raise UsageError(f"{what}: not a run folder")
    else:
        models.info(what)  # raises, with the names there are
    return 0
