"""`rosenblatt train`: data, network and recipe together, training with progress, and a run folder at the end.

The weights kept are those of the best epoch: by the loss on the samples held out with --validation, else by the
training loss; the test set is never asked. Ctrl-C during training stops it, writes weights, curves and configuration
at once, leaves the report out and ends with status 130. Nothing of an earlier run is replaced before training is over.

With --checkpoint-every or --checkpoint-steps the run folder also holds `resume.json`, the options, and `checkpoints/`
from the first one on; `rosenblatt train --resume RUN_FOLDER` continues such a run to the bit, however it ended.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import platform
import shlex
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import rosenblatt as rb

from .. import _core, data, models, nn, optim
from .. import train as training
from ..distributed.comm import current
from ..distributed.launch import ready
from ..io import list_checkpoints, save_weights
from ..io.extras import MissingExtraError, require
from ..models import ModelInfo, Recipe
from . import runs
from .main import UsageError, _version
from .report import duration, load_data, loss_of, measure, outcome, thinned, write

__all__ = ["train"]


class _TestCurve(training.Callback):
    """Loss and accuracy on the test set after every epoch, for the report only: nothing is chosen by them."""

    def __init__(self, evaluate: Any, classifies: bool) -> None:
        self.evaluate = evaluate
        self.curves: dict[str, list[float]] = {"test_loss": [], **({"test_accuracy": []} if classifies else {})}

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        loss, accuracy, _ = self.evaluate()
        self.curves["test_loss"].append(loss)
        if "test_accuracy" in self.curves:
            self.curves["test_accuracy"].append(accuracy)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.curves)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.curves = {k: list(state[k]) for k in self.curves}

    def padded(self, epochs: int) -> dict[str, list[float]]:
        """The curves with a gap for an epoch whose test was interrupted."""
        return {k: [*v, *[math.nan] * (epochs - len(v))] for k, v in self.curves.items()}


def _recipe(entry: ModelInfo, options: argparse.Namespace) -> Recipe:
    """The network's recipe with the options given on the command line in place of its own."""
    changes: dict[str, Any] = {}
    for key in ("epochs", "batch_size", "optimizer", "lr"):
        value = getattr(options, key)
        if value is not None:
            changes[key] = value
    if options.augment is False:
        changes["augment"] = None
    elif options.augment and entry.recipe.augment is None:
        changes["augment"] = data.Affine(rotate=10.0, shift=0.08, scale=(0.9, 1.1), shear=5.0)
    if options.lr is None and options.optimizer not in (None, entry.recipe.optimizer):
        changes["lr"] = {"adam": 1e-3, "sgd": 1e-2, "rmsprop": 1e-3}[options.optimizer]
    return dataclasses.replace(entry.recipe, **changes)


RESUME, CHECKPOINTS = "resume.json", "checkpoints"
_SAMPLE = 256  # examples that histograms are made of


def _resumed(options: argparse.Namespace) -> argparse.Namespace:
    """The options of the run that `--resume` names, with what may change taken from the command line."""
    from .main import build_parser

    folder, changeable = Path(options.resume), ("epochs", "threads", "quiet", "resume", "fallback")
    usual = vars(build_parser().parse_args(["train"]))
    for key, value in vars(options).items():
        if key not in (*changeable, "name", "run", "command", "version") and value != usual[key]:
            flag = "--" + key.replace("_", "-")
            raise UsageError(f"--resume continues with the options of the run: {flag} cannot be given")
    file, stored = runs._read_json(folder, RESUME)
    words = stored.get("command")
    if not isinstance(words, list) or not all(isinstance(w, str) for w in words) or words[:1] != ["train"]:
        raise UsageError(f"{file}: damaged: expected the options of a run")
    try:
        kept = build_parser().parse_args(words, argparse.Namespace(run=options.run))
    except UsageError as error:
        raise UsageError(f"{file}: damaged: {error}") from None
    if options.name not in (None, kept.name):
        raise UsageError(f"--resume {folder}: the run trains {kept.name}, not {options.name}")
    given = {k: v for k in changeable if (v := getattr(options, k)) is not None and v is not False}
    return argparse.Namespace(**{**vars(kept), "out": str(folder), **given})


def _begin_checkpoints(folder: Path, options: argparse.Namespace) -> None:
    """Write the options that `--resume` needs; checkpoints of an earlier run in the folder are removed."""
    if (folder / CHECKPOINTS).exists():
        shutil.rmtree(folder / CHECKPOINTS)
    where = {} if options.data in data.NAMED else {"data": str(Path(options.data).resolve())}
    if options.tensorboard is not None:
        where["tensorboard"] = str(Path(options.tensorboard).resolve())
    runs.write_json(folder / RESUME, {"command": _command(argparse.Namespace(**{**vars(options), **where}))})


def train(options: argparse.Namespace) -> int:
    """Carry out `rosenblatt train`; the exit status is 0, or 130 when training was interrupted."""
    if options.resume is not None:
        options = _resumed(options)
    elif options.name is None:
        raise UsageError("train: expected NAME or --resume RUN_FOLDER (see rosenblatt train --help)")
    elif options.fallback:
        raise UsageError("--fallback goes with --resume")
    entry = models.info(options.name)
    if options.data is None:
        options.data = entry.data
    if options.full:
        if entry.full is None:
            raise UsageError(f"--full: {entry.name} has no larger form")
        entry = entry.at(entry.full)
    recipe = _recipe(entry, options)
    if options.tensorboard is not None:
        require("tensorboardX", "tensorboard", "--tensorboard")
    runs.set_threads(options.threads)
    rb.manual_seed(options.seed)
    train_set, test_set = load_data(entry, options.data, options.label, options.size)
    train_set, test_set = (thinned(part, options.samples) for part in (train_set, test_set))
    held = None
    if options.validation is not None:
        if len(train_set) < 2:
            raise UsageError(f"--validation: the training part has {len(train_set)} sample")
        train_set, held = train_set.split(options.validation, options.seed)
    data_shape = tuple(int(v) for v in train_set.x.shape[1:])
    input_shape = entry.input_shape(data_shape)
    model = models.build(entry.name, input_shape=input_shape, classes=len(train_set.classes))
    entry = dataclasses.replace(entry, recipe=recipe)
    augment = entry.augmentation(data_shape)
    if options.augment and augment is None:
        raise UsageError(f"--augment: samples of shape {list(data_shape)} are not images")
    x = entry.channels(train_set.x) if augment else entry.prepare(train_set.x)
    x_test = entry.prepare(test_set.x)
    validation = None if held is None else (entry.prepare(held.x), held.y)
    y = train_set.y
    if recipe.reconstructs:
        if augment is not None:
            raise UsageError(f"--augment: {entry.name} gives back its input, of which there is no augmented target")
        y, validation = x, None if validation is None else (validation[0], validation[0])
    resume = options.resume is not None
    group = current()
    leads = group is None or group.leads  # the process that prints and writes files
    folder = Path(options.out or ".")
    if leads and not resume:
        folder = runs.new_folder(options.out, entry.name, options.overwrite)
    ready(group)
    saving = resume or options.checkpoint_every is not None or options.checkpoint_steps is not None

    parameters: list[Any] = list(model.parameters())
    count = sum(int(np.asarray(p.data).size) for p in parameters)
    optimizer: Any
    if recipe.optimizer == "adam":
        optimizer = optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    elif recipe.optimizer == "rmsprop":
        optimizer = optim.RMSprop(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    else:
        optimizer = optim.SGD(parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    loss: Any = loss_of(recipe)
    curve = _TestCurve(lambda: measure(model, x_test, test_set.y, entry), not recipe.reconstructs)
    with_curve = held is None and not options.no_report
    callbacks: list[training.Callback] = [curve] if with_curve else []
    if recipe.schedule == "cosine":
        callbacks.append(training.LearningRateSchedule.cosine())
    observed = None
    if options.histograms:  # on a few training samples as they are, without augmentation
        sample = slice(0, _SAMPLE)
        some = entry.prepare(train_set.x[sample])
        observed = training.Histograms(some, some if recipe.reconstructs else train_set.y[sample], loss=loss)
    if options.tensorboard is not None:
        callbacks.append(training.TensorBoard(options.tensorboard, histograms=observed))
    elif observed is not None:
        callbacks.append(observed)
    if group is not None and saving:
        folder = Path(group.share(str(folder)))
        again = f"mpiexec -n {group.size} rosenblatt train --resume {shlex.quote(str(folder))}"
        group.hint = f"to continue from the last checkpoint, if there is one: {again}"
    if leads and not options.quiet:
        print(
            f"{entry.name} ({entry.year}), {count:,} parameters, on {train_set.name}: {len(train_set)} training, "
            + ("" if held is None else f"{len(held)} validation, ")
            + f"{len(test_set)} test samples",
            file=sys.stderr,
        )
    began, clock = datetime.now(UTC), time.perf_counter()
    try:
        if leads and saving and not resume:
            _begin_checkpoints(folder, options)
        if recipe.pretrain_epochs and not resume and isinstance(model, models.Autoencoder):
            models.pretrain(
                model, x, epochs=recipe.pretrain_epochs, batch_size=recipe.batch_size, lr=recipe.lr, seed=options.seed
            )
        history = model.fit(
            x,
            y,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            optimizer=optimizer,
            loss=loss,
            penalty=nn.ActivityPenalty() if recipe.reconstructs else None,
            validation_data=validation,
            augment=augment,
            callbacks=callbacks,
            progress=leads and not options.quiet,
            seed=options.seed,
            check_finite=options.check_finite,
            keep_best=recipe.keep_best,
            checkpoint=folder / CHECKPOINTS if saving else None,
            checkpoint_every=options.checkpoint_every or (recipe.epochs if options.checkpoint_steps else 1),
            checkpoint_steps=options.checkpoint_steps,
            resume=resume,
            fallback=options.fallback,
        )
    except training.NonFiniteError as error:
        if leads:
            _discard(folder)
        raise UsageError(f"training stopped: {error}; try a smaller --lr") from error
    except BaseException:
        if leads:
            _discard(folder)
        raise
    seconds = time.perf_counter() - clock
    model.eval()
    interrupted = bool(history.interrupted)
    if not leads:
        return 130 if interrupted else 0
    curves: dict[str, Any] = {"epoch": list(history.epoch), **{k: list(v) for k, v in history.history.items()}}
    if with_curve:
        curves.update(curve.padded(len(curves["epoch"])))
    config: dict[str, Any] = {
        "model": entry.name,
        "classes": list(train_set.classes),
        "data_shape": list(data_shape),
        "input_shape": list(input_shape),
        "parameters": count,
        "data": train_set.name if options.data in data.NAMED else str(Path(options.data).resolve()),
        "train_samples": len(train_set),
        **({} if held is None else {"validation_samples": len(held)}),
        "test_samples": len(test_set),
        "recipe": {k: (str(v) if k == "augment" and v else v) for k, v in dataclasses.asdict(recipe).items()},
        "seed": options.seed,
        "threads": rb.get_num_threads(),
        "processes": 1 if group is None else group.size,
        "isa": str(_core.config()["isa"]),
        "options": {k: v for k, v in vars(options).items() if k not in ("run", "command", "version")},
        "command": ["rosenblatt", *_command(options)],
        "version": _version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "environment": rb.show_config(),
        "began": began.isoformat(timespec="seconds"),
        "interrupted": interrupted,
        "result": {
            "test_accuracy": None,
            "test_loss": None,
            "train_loss": curves["loss"][-1] if curves["epoch"] else math.nan,
            "epochs": len(curves["epoch"]),
            "seconds": round(seconds, 3),
        },
    }
    if augment is not None:
        config["recipe"]["augment"] = str(augment)
    runs.clear(folder)
    if not saving:  # what is left of an earlier run's
        (folder / RESUME).unlink(missing_ok=True)
        if (folder / CHECKPOINTS).exists():
            shutil.rmtree(folder / CHECKPOINTS)
    save_weights(model, folder / runs.WEIGHTS, {"model": entry.name, "rosenblatt": config["version"]})
    runs.write_json(folder / runs.HISTORY, curves)
    if observed is not None:
        runs.write_json(folder / runs.HISTOGRAMS, {"records": observed.to_json()})
    runs.write_json(folder / runs.CONFIG, config)
    measured = measure(model, x_test, test_set.y, entry)
    test_loss, accuracy, _ = measured
    config["result"].update(test_accuracy=None if recipe.reconstructs else accuracy, test_loss=test_loss)
    runs.write_json(folder / runs.CONFIG, config)
    note = f"interrupted after {len(curves['epoch'])} epochs; " if interrupted else ""
    print(
        f"{note}{outcome(entry, measured, len(test_set))}, trained {duration(seconds)}; saved in {folder}",
        flush=True,
    )
    if interrupted:
        if saving:
            launcher = "" if group is None else f"mpiexec -n {group.size} "
            print(f"rosenblatt: to continue: {launcher}rosenblatt train --resume {shlex.quote(str(folder))}",
                  file=sys.stderr)
        print(f"rosenblatt: no report written; for one: rosenblatt report {shlex.quote(str(folder))}", file=sys.stderr)
        return 130
    if not options.no_report:
        try:
            write(folder, config, curves, test_set, measured, model)
        except MissingExtraError as error:
            print(f"rosenblatt: no report written: {error}, then rosenblatt report {shlex.quote(str(folder))}",
                  file=sys.stderr)
    return 0


def _discard(folder: Path) -> None:
    """Remove the run folder when nothing was written into it; options without a checkpoint count as nothing."""
    if not list_checkpoints(folder / CHECKPOINTS):
        (folder / RESUME).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _command(options: argparse.Namespace) -> list[str]:
    """The options as a command line that repeats the run."""
    words = ["train", options.name]
    for key, value in vars(options).items():
        flag = "--" + key.replace("_", "-")
        if (
            key in ("name", "run", "command", "version", "out", "overwrite", "resume", "fallback")
            or value is None
            or (value is False and key != "augment")
        ):
            continue
        if key == "augment":
            words.append("--augment" if value else "--no-augment")
        elif value is True:
            words.append(flag)
        elif key == "label" and options.data in data.NAMED:
            continue
        elif key == "size":
            words += [flag, f"{value[0]}x{value[1]}"]
        else:
            words += [flag, str(value)]
    return words
