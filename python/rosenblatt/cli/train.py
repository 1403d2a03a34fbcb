"""`rosenblatt train`: data, network and recipe together, training with progress, and a run folder at the end.

Ctrl-C during training stops it, keeps the weights of the best epoch (by training loss, the test set is never asked),
writes the run folder and ends with status 130.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import platform
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rosenblatt as rb

from .. import _core, data, models, nn, optim
from .. import train as training
from ..data import Dataset
from ..io import save_weights
from ..models import ModelInfo, Recipe
from . import runs
from .main import UsageError, _version

if TYPE_CHECKING:
    from ..viz import Run

__all__ = ["train"]

Array = npt.NDArray[Any]


class _TestCurve(training.Callback):
    """Loss and accuracy on the test set after every epoch, for the report only: nothing is chosen by them."""

    def __init__(self, evaluate: Any) -> None:
        self.evaluate = evaluate
        self.curves: dict[str, list[float]] = {"test_loss": [], "test_accuracy": []}

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        loss, accuracy, _ = self.evaluate()
        self.curves["test_loss"].append(loss)
        self.curves["test_accuracy"].append(accuracy)


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
        changes["lr"] = {"adam": 1e-3, "sgd": 1e-2}[options.optimizer]
    return dataclasses.replace(entry.recipe, **changes)


def _load(entry: ModelInfo, options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """(train, test) as the options say; pictures come in the network's size when it has one."""
    label: str | int = int(options.label) if options.label.lstrip("-").isdigit() else options.label
    size = options.size or (entry.image[:2] if entry.image else None)
    grey = bool(entry.image and entry.image[2] == 1)
    train, test = data.load(options.data, size=size, grayscale=grey, label=label)
    if len(train) == 0 or len(test) == 0:
        raise UsageError(f"--data {options.data}: {len(train)} training and {len(test)} test samples: too few")
    if len(train.classes) < 2:
        raise UsageError(f"--data {options.data}: at least two classes are needed, found {len(train.classes)}")
    if entry.image is not None and (train.x.ndim != 4 or train.x.shape[3] not in (1, 3)):
        raise UsageError(
            f"{entry.name} needs images [N,H,W,1 or 3]; {options.data} gives samples of shape {list(train.x.shape[1:])}"
        )
    return train, test


def _scores(outputs: Array, recipe: Recipe) -> Array:
    """Probabilities [N,K] from logits, or the net inputs of threshold units as they are."""
    if recipe.loss == "perceptron":
        return outputs
    shifted = np.exp(outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _measure(model: Any, x: Array, y: Array, recipe: Recipe) -> tuple[float, float, Array]:
    """(mean loss, accuracy, scores [N,K]) of the model on prepared samples.

    The loss is the cross-entropy; for threshold units it is the perceptron criterion, the mean over samples of the
    net inputs' distance to the right side of the threshold.
    """
    outputs = np.asarray(model.predict(x))
    scores = _scores(outputs, recipe)
    if recipe.loss == "perceptron":
        wrong_side = np.where(np.arange(outputs.shape[1]) == y[:, None], -outputs, outputs)  # [N,K]
        loss = float(np.maximum(wrong_side, 0).sum(axis=1).mean())
    else:
        own = np.take_along_axis(scores, y[:, None], axis=1)
        loss = float(-np.log(np.maximum(own, 1e-30)).mean())
    return loss, float((outputs.argmax(axis=1) == y).mean()), scores


def _first_filters(model: Any, entry: ModelInfo, data_shape: tuple[int, ...]) -> tuple[Array | None, str]:
    """The first layer's weights as images [K,R,S,C]: a convolution's as they are, dense ones in the data's shape."""
    for _, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is None:
            continue
        w = np.asarray(weight.data)
        if w.ndim == 4:
            return w, "First layer: filters"
        shape = entry.input_shape(data_shape)
        if w.ndim == 2 and len(shape) == 3 and w.shape[1] == math.prod(shape):
            return w.reshape(-1, *shape), "First layer: weights as images"
        return None, ""
    return None, ""


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def _report_of(
    entry: ModelInfo, config: Mapping[str, Any], history: Mapping[str, Any], test: Dataset, scores: Array, model: Any
) -> Run:
    from ..viz import Run

    result, recipe = config["result"], config["recipe"]
    filters, filters_title = _first_filters(model, entry, test.x.shape[1:])
    shown = {
        "network": f"{entry.name}: {entry.what}",
        "data": f"{config['data']}: {config['train_samples']} training, {config['test_samples']} test samples",
        **{k.replace("_", " "): v for k, v in recipe.items() if v is not None},
        "seed": config["seed"],
        "threads": config["threads"],
        "command": " ".join(config["command"]),
    }
    return Run(
        title=f"{entry.name} on {test.name}",
        subtitle=entry.paper,
        config=shown,
        figures={
            "test accuracy": f"{100 * result['test_accuracy']:.2f} %",
            "test loss": f"{result['test_loss']:.4f}",
            "parameters": f"{config['parameters']:,}",
            "training time": _duration(result["seconds"]),
        },
        epochs=history["epoch"],
        history={k: v for k, v in history.items() if k != "epoch"},
        y=test.y,
        scores=scores,
        score_kind="net input" if entry.recipe.loss == "perceptron" else "probability",
        classes=test.classes,
        x=test.x if test.x.ndim == 4 else None,
        filters=filters,
        filters_title=filters_title,
        environment=str(config["environment"]),
        interrupted=bool(config["interrupted"]),
    )


def train(options: argparse.Namespace) -> int:
    """Carry out `rosenblatt train`; the exit status is 0, or 130 when training was interrupted."""
    entry = models.info(options.name)
    recipe = _recipe(entry, options)
    runs.set_threads(options.threads)
    rb.manual_seed(options.seed)
    train_set, test_set = _load(entry, options)
    data_shape = tuple(int(v) for v in train_set.x.shape[1:])
    input_shape = entry.input_shape(data_shape)
    model = models.build(entry.name, input_shape=input_shape, classes=len(train_set.classes))
    entry = dataclasses.replace(entry, recipe=recipe)
    augment = entry.augmentation(data_shape)
    if options.augment and augment is None:
        raise UsageError(f"--augment: samples of shape {list(data_shape)} are not images")
    x = entry.channels(train_set.x) if augment else entry.prepare(train_set.x)
    x_test = entry.prepare(test_set.x)
    folder = runs.new_folder(options.out, entry.name)

    parameters: list[Any] = list(model.parameters())
    count = sum(int(np.asarray(p.data).size) for p in parameters)
    optimizer: Any
    if recipe.optimizer == "adam":
        optimizer = optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    else:
        optimizer = optim.SGD(parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    loss: Any = nn.PerceptronLoss() if recipe.loss == "perceptron" else nn.CrossEntropyLoss()
    curve = _TestCurve(lambda: _measure(model, x_test, test_set.y, recipe))
    callbacks: list[training.Callback] = [] if options.no_report else [curve]
    if recipe.schedule == "cosine":
        callbacks.append(training.LearningRateSchedule.cosine())
    if not options.quiet:
        print(
            f"{entry.name} ({entry.year}), {count:,} parameters, on {train_set.name}: {len(train_set)} training and "
            f"{len(test_set)} test samples",
            file=sys.stderr,
        )
    began, clock = datetime.now(UTC), time.perf_counter()
    try:
        history = model.fit(
            x,
            train_set.y,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            optimizer=optimizer,
            loss=loss,
            augment=augment,
            callbacks=callbacks,
            progress=not options.quiet,
            seed=options.seed,
            check_finite=options.check_finite,
            keep_best=recipe.keep_best,
        )
    except training.NonFiniteError as error:
        _discard(folder)
        raise UsageError(f"training stopped: {error}; try a smaller --lr") from error
    except BaseException:
        _discard(folder)
        raise
    seconds = time.perf_counter() - clock
    model.eval()
    test_loss, accuracy, scores = _measure(model, x_test, test_set.y, recipe)
    interrupted = bool(history.interrupted)
    curves: dict[str, Any] = {"epoch": list(history.epoch), **{k: list(v) for k, v in history.history.items()}}
    if not options.no_report:
        curves.update({k: v[: len(curves["epoch"])] for k, v in curve.curves.items()})
    config: dict[str, Any] = {
        "model": entry.name,
        "classes": list(train_set.classes),
        "data_shape": list(data_shape),
        "input_shape": list(input_shape),
        "parameters": count,
        "data": train_set.name if options.data == "digits" else str(Path(options.data).resolve()),
        "train_samples": len(train_set),
        "test_samples": len(test_set),
        "recipe": {k: (str(v) if k == "augment" and v else v) for k, v in dataclasses.asdict(recipe).items()},
        "seed": options.seed,
        "threads": rb.get_num_threads(),
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
            "test_accuracy": accuracy,
            "test_loss": test_loss,
            "train_loss": curves.get("loss", [math.nan])[-1] if curves["epoch"] else math.nan,
            "epochs": len(curves["epoch"]),
            "seconds": round(seconds, 3),
        },
    }
    if augment is not None:
        config["recipe"]["augment"] = str(augment)
    save_weights(model, folder / runs.WEIGHTS, {"model": entry.name, "rosenblatt": config["version"]})
    runs.write_json(folder / runs.HISTORY, curves)
    if not options.no_report:
        from ..viz import write_report

        write_report(folder / runs.REPORT, _report_of(entry, config, curves, test_set, scores, model))
    runs.write_json(folder / runs.CONFIG, config)
    right = round(accuracy * len(test_set))
    note = f"interrupted after {len(curves['epoch'])} epochs; " if interrupted else ""
    print(
        f"{note}test accuracy {accuracy:.4f} ({right} of {len(test_set)}), loss {test_loss:.4f}, "
        f"trained {_duration(seconds)}; saved in {folder}"
    )
    return 130 if interrupted else 0


def _discard(folder: Path) -> None:
    """Remove the run folder when nothing was written into it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _command(options: argparse.Namespace) -> list[str]:
    """The options as a command line that repeats the run."""
    words = ["train", options.name]
    for key, value in vars(options).items():
        flag = "--" + key.replace("_", "-")
        if (
            key in ("name", "run", "command", "version", "out")
            or value is None
            or (value is False and key != "augment")
        ):
            continue
        if key == "augment":
            words.append("--augment" if value else "--no-augment")
        elif value is True:
            words.append(flag)
        elif key == "label" and options.data == "digits":
            continue
        elif key == "size":
            words += [flag, f"{value[0]}x{value[1]}"]
        else:
            words += [flag, str(value)]
    return words
