"""`rosenblatt report`, and what it shares with `train`: the data of a run, its measures, and the page about it."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import data, models, nn
from ..data import Dataset
from ..models import ModelInfo, Recipe
from ..nn.losses import Loss
from ..train.fit import mean_loss
from . import runs
from .insides import insides
from .main import UsageError
from .pictures import pictures

if TYPE_CHECKING:
    from ..viz import Run

__all__ = ["duration", "load_data", "loss_of", "measure", "outcome", "report", "write"]

Array = npt.NDArray[Any]


def load_data(
    entry: ModelInfo, source: str, label: str | int, size: tuple[int, int] | None
) -> tuple[Dataset, Dataset]:
    """(train, test) of `--data SOURCE`; pictures come in the network's size when it has one.

    Raises UsageError or DataError when there is nothing to train on, or nothing that this network can take.
    """
    if isinstance(label, str) and label.lstrip("-").isdigit():
        label = int(label)
    grey = bool(entry.image and entry.image[2] == 1)
    size = size or (entry.image[:2] if entry.image else None)
    train, test = data.load(source, size=size, grayscale=grey, label=label)
    if len(train) == 0 or len(test) == 0:
        raise UsageError(f"--data {source}: {len(train)} training and {len(test)} test samples: too few")
    if len(train.classes) < 2 and not entry.recipe.reconstructs:
        raise UsageError(f"--data {source}: at least two classes are needed, found {len(train.classes)}")
    if entry.image is not None and (train.x.ndim != 4 or train.x.shape[3] not in (1, 3)):
        raise UsageError(
            f"{entry.name} needs images [N,H,W,1 or 3]; {source} gives samples of shape {list(train.x.shape[1:])}"
        )
    return train, test


def _scores(outputs: Array, entry: ModelInfo) -> Array:
    """Probabilities [N,K] from logits, or the net inputs of threshold units as they are."""
    if entry.recipe.loss == "perceptron":
        return outputs
    shifted = np.exp(outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def loss_of(recipe: Recipe) -> Loss:
    """The loss that the recipe names."""
    losses: dict[str, type[Loss]] = {
        "perceptron": nn.PerceptronLoss, "reconstruction": nn.MSELoss, "elbo": nn.BCELoss,
        "cross_entropy": nn.CrossEntropyLoss,
    }
    return losses[recipe.loss]()


def thinned(part: Any, samples: int | None) -> Any:
    """At most so many samples of a data set, evenly spaced."""
    n = len(part)
    return part if samples is None or n <= samples else part.take(np.arange(samples) * n // samples)


def outcome(entry: ModelInfo, measured: tuple[float, float, Array], samples: int) -> str:
    """The test result in words."""
    loss, accuracy, _ = measured
    if entry.recipe.loss == "elbo":
        return f"test reconstruction: cross-entropy {loss:.5f} nats per value ({samples} samples)"
    if entry.recipe.reconstructs:
        return f"test reconstruction: squared error {loss:.6f} per value ({samples} samples)"
    return f"test accuracy {accuracy:.4f} ({round(accuracy * samples)} of {samples}), loss {loss:.4f}"


def measure(model: Any, x: Array, y: Array, entry: ModelInfo) -> tuple[float, float, Array]:
    """(mean loss, accuracy, scores [N,K]) of the model on prepared samples.

    The loss is the cross-entropy; for threshold units it is the perceptron criterion, the mean over samples of the
    net inputs' distance to the right side of the threshold. For a network that gives back its input it is the recipe's
    loss per value, without penalties; there is no accuracy (NaN) and the scores are the reconstructions [N,...].
    """
    outputs = np.asarray(model.predict(x))
    if entry.recipe.reconstructs:
        return mean_loss(loss_of(entry.recipe), outputs, x), math.nan, outputs
    scores = _scores(outputs, entry)
    if entry.recipe.loss == "perceptron":
        wrong_side = np.where(np.arange(outputs.shape[1]) == y[:, None], -outputs, outputs)  # [N,K]
        loss = float(np.maximum(wrong_side, 0).sum(axis=1).mean())
    else:
        own = np.take_along_axis(scores, y[:, None], axis=1)
        loss = float(-np.log(np.maximum(own, 1e-30)).mean())
    return loss, float((outputs.argmax(axis=1) == y).mean()), scores


def _first_filters(model: Any, entry: ModelInfo, data_shape: tuple[int, ...]) -> tuple[Array | None, str]:
    """The first layer's weights as images [K,R,S,C]: a convolution's as they are, dense ones in the data's shape."""
    from ..viz import convolutions, layer_filters

    known = convolutions(model)
    for path, module in model.named_modules():
        if path in known:
            w = layer_filters(model, path)
            return (w, "First layer: filters") if w.ndim == 4 else (None, "")
        weight = getattr(module, "weight", None)
        if weight is None:
            continue
        w = np.asarray(weight.data)
        shape = entry.input_shape(data_shape)
        if w.ndim == 2 and len(shape) == 3 and w.shape[1] == math.prod(shape):
            return w.reshape(-1, *shape), "First layer: weights as images"
        return None, ""
    return None, ""


def duration(seconds: float) -> str:
    """Seconds for people."""
    return f"{seconds:.1f} s" if seconds < 100 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def _page(
    config: Mapping[str, Any], history: Mapping[str, Any], test: Dataset, measured: tuple[float, float, Array],
    model: Any,
) -> Run:
    """The report's content, from what a run folder holds and the network's answers on the test set."""
    from ..viz import Run, decision_boundary

    entry = models.info(config["model"]).at(config["input_shape"])
    loss, accuracy, scores = measured
    filters, filters_title = _first_filters(model, entry, test.x.shape[1:])
    recipe, result, held = config.get("recipe") or {}, config.get("result") or {}, config.get("validation_samples")
    shown = {
        "network": f"{entry.name}: {entry.what}",
        "data": f"{config.get('data', '?')}: {config.get('train_samples', '?')} training, "
        + (f"{held} validation, " if held else "")
        + f"{len(test)} test samples",
        **{str(k).replace("_", " "): v for k, v in recipe.items() if v is not None},
        **{k: config[k] for k in ("seed", "threads", "isa", "version", "began") if k in config},
    }
    if isinstance(config.get("command"), list):
        shown["command"] = " ".join(map(str, config["command"]))
    reconstructs = entry.recipe.reconstructs
    figures = {} if reconstructs else {"test accuracy": f"{100 * accuracy:.2f} %"}
    figures["test loss"] = f"{loss:.6f}" if reconstructs else f"{loss:.4f}"
    if isinstance(config.get("parameters"), int):
        figures["parameters"] = f"{config['parameters']:,}"
    if isinstance(result.get("seconds"), (int, float)):
        figures["training time"] = duration(result["seconds"])
    boundary = None
    if test.x.shape[1:] == (2,):
        boundary = decision_boundary(
            lambda points: np.asarray(model.predict(entry.prepare(points))).argmax(axis=1), test.x, test.y, test.classes
        )
    return Run(
        title=f"{entry.name} on {test.name}",
        subtitle=entry.paper,
        config=shown,
        figures=figures,
        epochs=history["epoch"],
        history={k: v for k, v in history.items() if k != "epoch"},
        y=test.y[:0] if reconstructs else test.y,
        scores=np.zeros((0, len(test.classes))) if reconstructs else scores,
        pictures=(pictures if reconstructs else insides)(model, entry, test, scores),
        score_kind="net input" if entry.recipe.loss == "perceptron" else "probability",
        classes=test.classes,
        x=test.x if test.x.ndim == 4 and not reconstructs else None,
        filters=filters,
        filters_title=filters_title,
        environment=str(config.get("environment", "")),
        interrupted=bool(config.get("interrupted")),
        boundary=boundary,
    )


def write(
    folder: Path, config: Mapping[str, Any], history: Mapping[str, Any], test: Dataset,
    measured: tuple[float, float, Array], model: Any,
) -> None:
    """Write report.html into a run folder, with the histograms that lie in it.

    Raises MissingExtraError without matplotlib, UsageError for damaged histograms, OSError.
    """
    from ..viz import write_report

    page = _page(config, history, test, measured, model)
    write_report(folder / runs.REPORT, dataclasses.replace(page, records=runs.read_histograms(folder)))


def report(options: argparse.Namespace) -> int:
    """Carry out `rosenblatt report`: evaluate the run's network on its data again and write its report.html."""
    runs.set_threads(options.threads)
    folder = Path(options.folder)
    model, config = runs.load_run(folder)
    history = runs.read_history(folder)
    entry = models.info(config["model"]).at(config["input_shape"])
    given = config.get("options") if isinstance(config.get("options"), dict) else {}
    assert given is not None
    source = options.data or config.get("data")
    if not isinstance(source, str):
        raise UsageError(f"{folder / runs.CONFIG}: does not say what data the run used; give --data")
    size = given.get("size")
    if size is not None and not (
        isinstance(size, list) and len(size) == 2 and all(type(v) is int and 0 < v < 2**16 for v in size)
    ):
        raise UsageError(f"{folder / runs.CONFIG}: damaged: expected two positive integers as 'size', found {size!r}")
    if source not in data.NAMED and not Path(source).exists():
        raise UsageError(f"{source}: the data of the run is not there any more; give its new place with --data")
    label = given.get("label", "label")
    pair = None if size is None else (int(size[0]), int(size[1]))
    _, test = load_data(entry, source, label if isinstance(label, (str, int)) else "label", pair)
    samples = given.get("samples")
    test = thinned(test, samples if isinstance(samples, int) and samples > 0 else None)
    shape = tuple(config["data_shape"])
    if test.x.shape[1:] != shape or list(test.classes) != config["classes"]:
        raise UsageError(
            f"{source}: not the data of this run: expected samples {list(shape)} of {len(config['classes'])} classes, "
            f"found {list(test.x.shape[1:])} of {len(test.classes)}"
            + (" (other names)" if len(test.classes) == len(config["classes"]) else "")
        )
    measured = measure(model, entry.prepare(test.x), test.y, entry)
    write(folder, config, history, test, measured, model)
    said = outcome(entry, measured, len(test)) if entry.recipe.reconstructs else (
        f"test accuracy {measured[1]:.4f}, loss {measured[0]:.4f}"
    )
    print(f"{said}; report: {folder / runs.REPORT}")
    return 0
