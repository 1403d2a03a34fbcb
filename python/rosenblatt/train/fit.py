"""`fit`, `predict`, `evaluate`: the loops behind `model.fit(x, y)`.

An epoch's order and augmentation come from a generator seeded with (seed, epoch), dropout from the global stream, so a
run depends on its seed and data alone: not on threads, time or what ran before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import ops
from .._config import check_settings
from ..autograd import no_grad
from ..nn.losses import CrossEntropyLoss, Loss, MSELoss
from ..nn.module import Module, _observers
from ..ops.random import stream
from ..optim import Adam, Optimizer
from ..tensor import Array, Tensor, float_array, wrap
from .callbacks import Callback, History, Run
from .progress import Progress

__all__ = ["NonFiniteError", "evaluate", "fit", "predict"]

Augment = Callable[[Array, np.random.Generator], Array]


class NonFiniteError(ArithmeticError):
    """NaN or infinity appeared in training; says in which layer and at which step."""


def _inputs(where: str, model: Module, x: Any) -> Array:
    """x as a float array in the dtype of the model's parameters."""
    first = next(model.parameters(), None)
    array = float_array(f"{where}: x", x, None if first is None else first.dtype)
    if not array.ndim:
        raise ValueError(f"{where}: expected x with a batch axis, got a scalar")
    return array


def _targets(where: str, y: Any, n: int, loss: Loss, dtype: Any) -> Array:
    array = y.data if isinstance(y, Tensor) else np.asarray(y)
    if array.ndim < 1 or len(array) != n:
        raise ValueError(f"{where}: expected y for {n} examples like x, got shape {array.shape}")
    if loss.classifies and array.dtype.kind in "iub":
        return np.ascontiguousarray(array, np.int64)
    return float_array(f"{where}: y", array, dtype)


def _default_loss(y: Any) -> Loss:
    array = y.data if isinstance(y, Tensor) else np.asarray(y)
    return CrossEntropyLoss() if array.dtype.kind in "iub" and array.ndim == 1 else MSELoss()


def _whole(where: str, name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{where}: {name} must be an integer of at least {least}, got {value!r}")
    return int(value)


def predict(model: Module, x: Any, batch_size: int = 256) -> Array:
    """See `Module.predict`."""
    array = _inputs("predict", model, x)
    size = _whole("predict", "batch_size", batch_size, 1)
    mode = model.training
    model.eval()
    try:
        with no_grad():
            parts = [model(wrap(array[i : i + size])).data for i in range(0, max(len(array), 1), size)]
    finally:
        model.train(mode)
    return parts[0] if len(parts) == 1 else ops.concat(parts)


def evaluate(model: Module, x: Any, y: Any, loss: Loss | None = None, batch_size: int = 256) -> dict[str, float]:
    """Mean loss over the examples and, for integer labels, accuracy, in evaluation mode.

    x : [N,...]; y : [N] integer labels or targets of the prediction's shape. Raises ValueError when N is 0 or differs.
    """
    loss = _default_loss(y) if loss is None else loss
    array = _inputs("evaluate", model, x)
    if not len(array):
        raise ValueError("evaluate: there are no examples")
    target = _targets("evaluate", y, len(array), loss, array.dtype)
    out = predict(model, array, batch_size)
    with no_grad():
        value = float(np.asarray(loss(wrap(out), target).data).sum())
    if loss.reduction != "mean":
        value /= len(array)
    result = {"loss": value}
    if loss.classifies and target.dtype.kind == "i":
        result["accuracy"] = float((ops.argmax(out, 1) == target).mean())
    return result


def _find_nonfinite(model: Module, x: Array) -> str:
    """Runs `model` on a batch and names the first layer whose output is not finite."""
    bad: list[Module] = []

    def observe(module: Module, _: Any, out: Any) -> None:
        if not bad and isinstance(out, Tensor) and not np.isfinite(out.data).all():
            bad.append(module)

    _observers.append(observe)
    try:
        with no_grad():
            model(wrap(x))
    finally:
        _observers.remove(observe)
    if not bad:
        return "the loss or a gradient (every layer's output was finite)"
    path = next(name for name, m in model.named_modules() if m is bad[0])
    return f"layer {path or 'top'} ({type(bad[0]).__name__})"


def _check_finite(model: Module, loss: Tensor, x: Array, epoch: int, batch: int) -> None:
    step = f"epoch {epoch}, batch {batch + 1}"
    if not math.isfinite(loss.item()):
        if not np.isfinite(x).all():
            raise NonFiniteError(f"fit: NaN or infinity in the input x at {step}")
        for name, p in model.named_parameters():
            if not np.isfinite(p.data).all():
                raise NonFiniteError(f"fit: NaN or infinity in parameter {name} at {step}")
        raise NonFiniteError(f"fit: NaN or infinity first in {_find_nonfinite(model, x)} at {step}")
    for name, p in model.named_parameters():
        if p.grad is not None and not np.isfinite(p.grad.data).all():
            raise NonFiniteError(f"fit: NaN or infinity in the gradient of {name} at {step}")


def fit(
    model: Module,
    x: Any,
    y: Any,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Optimizer | None = None,
    loss: Loss | None = None,
    validation_data: tuple[Any, Any] | None = None,
    shuffle: bool = True,
    augment: Augment | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    seed: int | None = None,
    check_finite: bool = False,
    keep_best: bool = False,
) -> History:
    """Trains `model` by mini-batch gradient descent.

    Parameters
    ----------
    x : [N,...] inputs; y : [N] integer labels, or targets of the model's output shape
    epochs, batch_size : the last batch of an epoch may be smaller
    optimizer : default Adam(lr=1e-3); loss : default cross-entropy for integer labels [N], else mean squared error
    validation_data : (x, y) evaluated after every epoch as val_loss, val_accuracy
    augment : function (batch of x, numpy Generator) -> batch, applied to every training batch
    callbacks : `Callback`s; progress : show the progress display
    seed : makes shuffling, augmentation and dropout repeatable; None takes it from the global stream
    check_finite : raise `NonFiniteError` naming layer and step when NaN or infinity appears
    keep_best : end with the weights of the epoch with the lowest val_loss (or training loss without validation data)

    Returns the `History`. Ctrl-C ends the run early with `history.interrupted` set (and the best weights when
    `keep_best`). Raises ValueError/TypeError for data or options that do not fit, before any weight changes.
    """
    check_settings()
    epochs = _whole("fit", "epochs", epochs, 0)
    batch_size = _whole("fit", "batch_size", batch_size, 1)
    loss = _default_loss(y) if loss is None else loss
    if loss.reduction == "none":
        raise ValueError("fit: the loss must reduce to one number, got reduction='none'")
    xs = _inputs("fit", model, x)
    n = len(xs)
    if n == 0:
        raise ValueError("fit: there are no examples")
    ys = _targets("fit", y, n, loss, xs.dtype)
    if validation_data is not None and len(validation_data) != 2:
        raise ValueError("fit: validation_data must be a pair (x, y)")
    if optimizer is None:
        optimizer = Adam(model.parameters())
    if seed is None:
        seed = (stream.key + stream.take(4, 4)[1]) % 2**63
    else:
        stream.seed(_whole("fit", "seed", seed, 0))
    batches = math.ceil(n / batch_size)
    history = History()
    run = Run(model, optimizer, epochs, batches, history)
    watchers: list[Callback] = [*callbacks, *([Progress()] if progress else [])]
    for c in watchers:
        c.run = run
    best_value, best_state = math.inf, None
    mode = model.training
    started: list[Callback] = []
    try:
        for c in watchers:
            started.append(c)
            c.on_train_begin()
        for epoch in range(1, epochs + 1):
            logs = _epoch(run, epoch, xs, ys, batch_size, loss, shuffle, augment, watchers, seed, check_finite)
            if validation_data is not None:
                for name, value in evaluate(model, *validation_data, loss=loss).items():
                    logs[f"val_{name}"] = value
            history.append(epoch, logs)
            current = logs.get("val_loss", logs["loss"])
            if keep_best and current < best_value:
                best_value, best_state = current, model.state_dict()
            for c in watchers:
                c.on_epoch_end(epoch, logs)
            if run.stop:
                break
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        model.train(mode)
        for c in started:
            c.on_train_end()
    if best_state is not None:
        model.load_state_dict(best_state)
    return history


def _epoch(
    run: Run, epoch: int, xs: Array, ys: Array, batch_size: int, loss: Loss, shuffle: bool, augment: Augment | None,
    watchers: Sequence[Callback], seed: int, check_finite: bool,
) -> dict[str, float]:
    """One pass over the data; returns its logs."""
    model, optimizer = run.model, run.optimizer
    n = len(xs)
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(n) if shuffle else None
    classify = loss.classifies and ys.dtype.kind == "i"
    begun = time.perf_counter()
    total, correct, seen = 0.0, 0, 0
    model.train()
    for c in watchers:
        c.on_epoch_begin(epoch)
    for batch in range(run.batches):
        for c in watchers:
            c.on_batch_begin(batch)
        part = slice(batch * batch_size, (batch + 1) * batch_size)
        xb, yb = (xs[part], ys[part]) if order is None else (xs[order[part]], ys[order[part]])
        if augment is not None:
            xb = float_array("fit: augment", augment(xb.copy() if order is None else xb, rng), xs.dtype)
        optimizer.zero_grad()
        out = model(wrap(xb))
        value = loss(out, yb)
        value.backward()
        if check_finite:
            _check_finite(model, value, xb, epoch, batch)
        optimizer.step()
        size = len(xb)
        total += value.item() * (size if loss.reduction == "mean" else 1)
        seen += size
        logs = {"loss": total / seen}
        if classify:
            correct += int((ops.argmax(out.data, 1) == yb).sum())
            logs["accuracy"] = correct / seen
        for c in watchers:
            c.on_batch_end(batch, logs)
        if run.stop:
            break
    optimizer.zero_grad()
    return {**logs, "lr": optimizer.lr, "seconds": time.perf_counter() - begun}
