"""`rosenblatt zoo`: the registered networks trained with their recipes, several seeds each, and a table of the results.

Every run is a `rosenblatt train` in a process of its own with a run folder NAME-seedS under --out. A run that is there
already, whole, of the same version and with the same options is not repeated; one that was cut short continues from its
last checkpoint. `zoo.json` in the same folder holds what the table shows, and is written again after every run.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from .. import models
from . import runs
from .main import UsageError, _version, build_parser
from .train import RESUME, _command

__all__ = ["zoo"]

_QUICK = ["--epochs", "1", "--samples", "16", "--no-augment"]


def _words(name: str, seed: int, options: argparse.Namespace) -> list[str]:
    """The command line of one run, without --out."""
    words = ["train", name, "--seed", str(seed), "--quiet", "--no-report"]
    if options.quick:
        words += _QUICK
    else:
        epochs = models.info(name).recipe.epochs if options.epochs is None else options.epochs
        words += ["--epochs", str(epochs), "--checkpoint-every", str(max(1, epochs // 10))]
    if options.threads is not None:
        words += ["--threads", str(options.threads)]
    parsed = build_parser().parse_args(words)
    parsed.data = models.info(name).data
    return _command(parsed)


def _finished(folder: Path, words: list[str]) -> dict[str, Any] | None:
    """The configuration of a whole run with these options by this version, or None."""
    try:
        config = runs.read_config(folder)
    except UsageError:
        return None
    result = config.get("result")
    same = config.get("command") == ["rosenblatt", *words] and config.get("version") == _version()
    whole = isinstance(result, dict) and isinstance(result.get("test_loss"), (int, float))
    return config if same and whole and config.get("interrupted") is False else None


def _begun(folder: Path, words: list[str]) -> bool:
    """Whether the folder holds checkpoints of an unfinished run with these options, by this version if it says so."""
    try:
        _, stored = runs._read_json(folder, RESUME)
    except UsageError:
        return False
    if stored.get("command") != words:
        return False
    try:
        config = runs.read_config(folder)
    except UsageError:
        return True
    if config.get("command") != ["rosenblatt", *words]:
        return True  # what is left of the run before
    return config.get("interrupted") is True and config.get("version") == _version()


def _run(folder: Path, words: list[str]) -> dict[str, Any]:
    """Trains, or goes on training, in a process of its own. Raises UsageError with its last line when it fails."""
    if _begun(folder, words):
        words_now = ["train", "--resume", str(folder), "--quiet"]
    else:  # an earlier run in the folder stays until this one is over
        words_now = [*words, "--out", str(folder), "--overwrite"]
    done = subprocess.run(
        [sys.executable, "-m", "rosenblatt.cli", *words_now], capture_output=True, text=True, check=False
    )
    if done.returncode == 130:
        raise KeyboardInterrupt
    config = _finished(folder, words) if done.returncode == 0 else None
    if config is None:
        last = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
        raise UsageError(f"{folder.name}: {last.removeprefix('rosenblatt: ')}")
    return config


def _summary(name: str, configs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """What is kept of a network's runs: test accuracy, or the loss of one that gives back its input."""
    measure = "test_loss" if models.info(name).recipe.reconstructs else "test_accuracy"
    results = [c["result"] for c in configs.values()]
    values = [float(r[measure]) for r in results]
    first = next(iter(configs.values()))
    return {
        "family": models.info(name).family,
        "data": first["data"],
        "parameters": first["parameters"],
        "measure": measure,
        "seeds": list(configs),
        "values": values,
        "mean": statistics.fmean(values),
        "deviation": statistics.pstdev(values),
        "epochs": [r["epochs"] for r in results],
        "seconds": [r["seconds"] for r in results],
        "command": f"rosenblatt zoo {name} --seeds {len(configs)}",
    }


def _line(name: str, entry: dict[str, Any]) -> str:
    seconds = statistics.fmean(entry["seconds"])
    what = "accuracy" if entry["measure"] == "test_accuracy" else "loss"
    values = entry["values"]
    spread = f" +- {entry['deviation']:.4f} ({min(values):.4f} to {max(values):.4f})" if len(values) > 1 else ""
    return (
        f"{name:24}  {entry['data']:12}  {entry['parameters']:>11,}  {what:8} {entry['mean']:.4f}{spread}, "
        f"{len(values)} seed{'s' if len(values) > 1 else ''}, {seconds:.1f} s each"
    )


def _kept(file: Path) -> dict[str, Any]:
    """The networks in an earlier zoo.json of this version."""
    try:
        _, content = runs._read_json(file.parent, file.name)
    except UsageError:
        return {}
    networks = content.get("networks")
    return dict(networks) if content.get("version") == _version() and isinstance(networks, dict) else {}


def zoo(options: argparse.Namespace) -> int:
    """Carry out `rosenblatt zoo`; the exit status is 0, 1 when a network failed, 130 when interrupted."""
    for name in options.names:
        models.info(name)  # a name that is unknown is said before anything is trained
    if options.quick and options.epochs is not None:
        raise UsageError("zoo: --epochs cannot be given with --quick")
    names = list(dict.fromkeys(options.names)) or models.names()
    seeds = 1 if options.quick else options.seeds
    folder = Path(options.out or ("runs/zoo-quick" if options.quick else "runs/zoo"))
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder}: exists and is not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "zoo.json"
    networks = _kept(file)
    failed = []
    for i, name in enumerate(names):
        configs: dict[int, dict[str, Any]] = {}
        try:
            for seed in range(seeds):
                where, words = folder / f"{name}-seed{seed}", _words(name, seed, options)
                configs[seed] = _finished(where, words) or _run(where, words)
                networks[name] = _summary(name, configs)
                runs.write_json(file, {"version": _version(), "networks": networks})
        except UsageError as error:
            failed.append(name)
            print(f"rosenblatt: {error}", file=sys.stderr, flush=True)
            continue
        entry = networks[name]
        print(f"[{i + 1}/{len(names)}] {_line(name, entry)}", flush=True)
        if not all(math.isfinite(v) for v in entry["values"]):
            failed.append(name)
    print(f"saved in {file}" + (f"; failed: {', '.join(failed)}" if failed else ""), flush=True)
    return 1 if failed else 0
