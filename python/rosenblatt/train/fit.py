"""`fit`, `predict`, `evaluate`: the loops behind `model.fit(x, y)`.

Order and augmentation come from generators seeded with (seed, pass) and (seed, pass, batch), dropout from the global
stream, so a run depends on its seed and data alone: not on threads, time, what ran before, or where it was resumed.
"""

from __future__ import annotations

import copy
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from .._config import check_settings
from .._options import whole
from ..autograd import _anomaly, _any_hooks, is_grad_enabled, no_grad
from ..distributed.comm import current
from ..nn.losses import CrossEntropyLoss, Loss, MSELoss
from ..nn.module import Module, _observers
from ..nn.tasks import Task, for_task
from ..ops.random import stream
from ..optim import LBFGS, Adam, ConjugateGradient, GeneticSearch, Nesterov, Optimizer
from ..tensor import Array, Tensor, float_array, wrap
from .callbacks import Callback, History, Run, end_training
from .captured import captured_forward, captured_step
from .loader import Augment, Loader
from .progress import Progress
from .state import Progression, Saver, Signals, deferred_signals

if TYPE_CHECKING:
    from ..distributed.data_parallel import DataParallel

__all__ = ["NonFiniteError", "evaluate", "fit", "predict"]

_CLOSURES = (LBFGS, ConjugateGradient, GeneticSearch, Nesterov)  # evaluate the loss as often as they need
Step = Callable[..., tuple[Tensor, Tensor]]


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


def predict(model: Module, x: Any, batch_size: int = 256, capture: bool = True) -> Array:
    """See `Module.predict`."""
    if type(x) is np.ndarray and capture and type(batch_size) is int:
        forward = model.__dict__.get("_captured_forward")
        known = None if forward is None else forward.known.get(x.shape)
        if known is not None and len(x) <= batch_size and not (_any_hooks or _observers or _anomaly.depth):
            guard, program = known
            out: Array | None = program.replay_if(guard, x)
            if out is not None:
                return out
    _, modules, parameters = model._members()
    if type(x) is np.ndarray and x.ndim and parameters and x.dtype == parameters[0]._data.dtype:
        array = x
    else:
        array = _inputs("predict", model, x)
    size = whole("predict", "batch_size", batch_size, 1)
    training = [m for m in modules if m.training]
    for m in training:
        object.__setattr__(m, "training", False)
    try:
        with no_grad():
            run = captured_forward(model) if capture else lambda part: model(wrap(part))._data
            if len(array) <= size:
                return run(array)
            return ops.concat([run(array[i : i + size]) for i in range(0, len(array), size)])
    finally:
        for m in training:
            object.__setattr__(m, "training", True)


def _task(where: str, name: str, loss: Loss | None) -> Task:
    if loss is not None:
        raise ValueError(f"{where}: give task or loss, not both: the task {name!r} has a loss of its own")
    return for_task(name)


def evaluate(
    model: Module, x: Any, y: Any, loss: Loss | None = None, batch_size: int = 256, task: str | None = None
) -> dict[str, float]:
    """Mean loss over the examples and a metric, in evaluation mode.

    x : [N,...]; y : [N] integer labels or targets of the prediction's shape
    loss : default as in `fit`; the metric is then "accuracy", for integer labels
    task : "regression", "binary", "multi-class" or "multi-label" instead of a loss: its loss and metric (`nn.for_task`)

    Raises ValueError when N is 0 or differs.
    """
    return _evaluate(predict, model, x, y, loss, batch_size, task)


def mean_loss(loss: Loss, out: Array, target: Array) -> float:
    """The loss per example of all outputs: a sum counts by their number, single losses by their mean."""
    with no_grad():
        losses = np.asarray(loss(wrap(out), target).data)
    return float(losses.sum()) / len(target) if loss.reduction == "sum" else float(losses.mean())


def _evaluate(
    forward: Callable[[Module, Any, int], Array], model: Module, x: Any, y: Any, loss: Loss | None, batch_size: int,
    task: str | None,
) -> dict[str, float]:
    """`evaluate` with the outputs that `forward` gives."""
    kind = None if task is None else _task("evaluate", task, loss)
    loss = kind.loss if kind is not None else _default_loss(y) if loss is None else loss
    array = _inputs("evaluate", model, x)
    if not len(array):
        raise ValueError("evaluate: there are no examples")
    out = forward(model, array, batch_size)
    y = y if kind is None else kind.targets(y, out.shape, out.dtype)
    target = _targets("evaluate", y, len(array), loss, array.dtype)
    result = {"loss": mean_loss(loss, out, target)}
    if kind is not None:
        result[kind.metric] = kind.score(out, target)
    elif loss.classifies and target.dtype.kind == "i":
        result["accuracy"] = float((ops.argmax(out, target.ndim) == target).mean())
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


def _split(where: str, n: int, fraction: Any) -> int:
    """How many of n examples stay when the last `fraction` of them is held out. Raises ValueError."""
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0.0 < fraction < 1.0:
        raise ValueError(f"{where}: validation_split must be in [0, 1), got {fraction!r}")
    cut = math.floor(n * (1.0 - fraction))
    if not 0 < cut < n:
        raise ValueError(f"{where}: validation_split {fraction} leaves {cut} of {n} examples to train on")
    return cut


def _weight(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0.0 <= value < math.inf:
        raise ValueError(f"{where}: expected a weight of at least 0, got {value!r}")
    return float(value)


def _example_weights(classes: Mapping[int, float] | None, samples: Any, y: Array, dtype: Any) -> Array | None:
    """The weight of every example, [N], or None without weights. Raises ValueError naming the option."""
    if classes is None and samples is None:
        return None
    weights = np.ones(len(y), dtype)
    if samples is not None:
        given = float_array("fit: sample_weight", samples, dtype)
        if given.shape != weights.shape:
            raise ValueError(f"fit: sample_weight: expected shape {weights.shape}, got {given.shape}")
        if not np.isfinite(given).all() or bool((given < 0).any()):
            raise ValueError("fit: sample_weight: expected finite weights of at least 0")
        weights = given.copy()
    if classes is not None:
        if y.ndim != 1 or y.dtype.kind != "i":
            raise ValueError(f"fit: class_weight needs integer labels [N], got y of {y.dtype} and shape {y.shape}")
        for label, value in classes.items():
            chosen = y == whole("fit", "class_weight: a label", label, 0)  # [N]
            weights[chosen] *= _weight(f"fit: class_weight[{label}]", value)
    return weights


def _per_example(loss: Loss) -> Loss:
    """The same loss without reduction."""
    each = copy.copy(loss)
    object.__setattr__(each, "reduction", "none")
    return each


def _weighted(each: Loss, reduction: str, out: Tensor, y: Array, w: Array) -> Tensor:
    """sum(w * l), over sum(w) when the reduction is "mean", of the losses l [N] of the examples.

    A loss with further axes counts as its mean over them (its sum when the reduction is "sum").
    """
    losses: Any = each(out, y)
    if not losses.ndim or losses.shape[0] != len(w):
        raise ValueError(f"{type(each).__name__}: weights need one loss per example, got shape {losses.shape}")
    if losses.ndim > 1:
        rest = tuple(range(1, losses.ndim))
        losses = ops.sum(losses, rest) if reduction == "sum" else ops.mean(losses, rest)
    total: Tensor = ops.sum(ops.mul(losses, w))
    if reduction != "sum":
        total = ops.div(total, ops.maximum(ops.sum(w), float(np.finfo(w.dtype).tiny)))
    return total


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
    task: str | None = None,
    penalty: Callable[[Module], Tensor] | None = None,
    validation_data: tuple[Any, Any] | None = None,
    validation_split: float = 0.0,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    shuffle: bool = True,
    augment: Augment | None = None,
    workers: int | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    seed: int | None = None,
    check_finite: bool = False,
    keep_best: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    checkpoint_steps: int | None = None,
    checkpoint_keep: int = 2,
    resume: bool = False,
    fallback: bool = False,
    capture: bool | None = None,
) -> History:
    """Trains `model` by mini-batch gradient descent.

    Parameters
    ----------
    x : [N,...] inputs; y : [N] integer labels, or targets of the model's output shape
    epochs, batch_size : the last batch of an epoch may be smaller
    optimizer : default Adam(lr=1e-3); loss : default cross-entropy for integer labels [N], else mean squared error
    task : "regression", "binary", "multi-class" or "multi-label": picks loss, targets' form and the metric that
        validation data are judged by (val_rmse, val_accuracy); the model returns raw outputs (`nn.for_task`)
    penalty : function model -> scalar tensor, added to the loss of every batch; the loss that is logged is without it
    validation_data : (x, y) evaluated after every epoch as val_loss, val_accuracy
    validation_split : in [0, 1); this part of the examples, the last ones, is the validation data instead
    class_weight : {label: weight >= 0}, 1 for labels not named; sample_weight : [N] weights >= 0. Both are multiplied.
        The loss of a batch is sum(w * l) / sum(w) over the losses l of its examples (sum(w * l) for a loss that sums)
    initial_epoch : epochs regarded as done; steps_per_epoch : batches in an epoch (default: one pass over the data;
        the passes follow each other whatever the length of an epoch is)
    augment : function (batch of x, numpy Generator) -> batch, applied to every training batch; with the attribute
        `needs_labels = True` (MixUp, CutMix), (batch of x, batch of y, Generator) -> (x, y), y perhaps probabilities
    workers : background threads that prepare batches (default: 1 with `augment`, else 0); the result does not depend
        on it
    callbacks : `Callback`s; progress : show the progress display
    seed : makes shuffling, augmentation and dropout repeatable; None takes it from the global stream
    check_finite : raise `NonFiniteError` naming layer and step when NaN or infinity appears
    keep_best : end with the weights of the epoch with the lowest val_loss (or training loss without validation data)
    checkpoint : folder for checkpoints, see `rosenblatt.io.save_checkpoint`: one after every `checkpoint_every` epochs,
        after every `checkpoint_steps` batches and at the end; the newest `checkpoint_keep` stay, and the best
    resume : continue from the newest checkpoint in the folder, to the bit, or begin when it has none; model, data and
        options must be those of the first call, `epochs` may be larger
    capture : replay the training step natively (`rosenblatt.capture`, the same bits): None where it works, with a
        warning where it does not; True to insist (CaptureError); False for eager steps
    fallback : when the newest checkpoint is damaged, continue from the newest whole one instead of refusing

    In a job of several processes (`rosenblatt.distributed`) every process calls `fit` with the same data and options;
    each takes its rows of every batch, and all end with the same weights and history. Callbacks, display and
    checkpoints are those of process 0.

    Returns the `History`, of a resumed run from its beginning. Ctrl-C ends the run early with `history.interrupted` set
    (and the best weights when `keep_best`); with `checkpoint`, the step is finished and a checkpoint written first (a
    second Ctrl-C does not wait), and SIGTERM does the same and exits with status 143. Raises ValueError/TypeError for
    data or options that do not fit, before any weight changes, and CheckpointError when a checkpoint cannot be written
    or read.
    """
    check_settings()
    epochs = whole("fit", "epochs", epochs, 0)
    batch_size = whole("fit", "batch_size", batch_size, 1)
    first = whole("fit", "initial_epoch", initial_epoch, 0)
    kind = None if task is None else _task("fit", task, loss)
    loss = kind.loss if kind is not None else _default_loss(y) if loss is None else loss
    if loss.reduction == "none":
        raise ValueError("fit: the loss must reduce to one number, got reduction='none'")
    if augment is not None and getattr(x, "dtype", None) == np.uint8:
        warnings.warn(
            "fit: x is uint8, which trains as 0 to 255, while the transforms of rosenblatt.data work on [0, 1]: "
            "pass x / 255",
            stacklevel=2,
        )
    xs = _inputs("fit", model, x)
    n = len(xs)
    if n == 0:
        raise ValueError("fit: there are no examples")
    if kind is not None:
        y = kind.targets(y, (n, *predict(model, xs[:1], capture=False).shape[1:]), xs.dtype)
    ys = _targets("fit", y, n, loss, xs.dtype)
    ws = _example_weights(class_weight, sample_weight, ys, xs.dtype)
    if validation_data is not None and len(validation_data) != 2:
        raise ValueError("fit: validation_data must be a pair (x, y)")
    if validation_split:
        if validation_data is not None:
            raise ValueError("fit: give validation_data or validation_split, not both")
        cut = _split("fit", n, validation_split)
        validation_data, xs, ys = (xs[cut:], ys[cut:]), xs[:cut], ys[:cut]
        ws = None if ws is None else ws[:cut]
    if ws is not None and not ws.any():
        raise ValueError("fit: every example has weight 0")
    if optimizer is None:
        optimizer = Adam(model.parameters())
    saver = None
    if checkpoint is not None:
        saver = Saver(checkpoint, checkpoint_every, checkpoint_steps, checkpoint_keep)
    elif resume:
        raise ValueError("fit: resume needs checkpoint, the folder to continue from")
    group, parallel = current(), None
    if group is None:
        saved = saver.open(resume, fallback) if saver is not None else None
    else:
        from ..distributed.data_parallel import DataParallel

        if isinstance(optimizer, _CLOSURES):
            raise ValueError(f"fit: {type(optimizer).__name__} evaluates the loss itself: one process only")
        parallel = DataParallel(group, model, optimizer, loss)
        saved = parallel.open(saver, resume, fallback)
        saver = parallel.saver(saver)
    if saver is not None and saved is not None and seed is None:
        seed = saver.seed(saved)
    elif seed is None:
        seed = (stream.key + stream.take(4, 4)[1]) % 2**63
        if group is not None:
            seed = group.share(seed)
    else:
        stream.seed(whole("fit", "seed", seed, 0))
    threads = (0 if augment is None else 1) if workers is None else whole("fit", "workers", workers, 0)
    made = Loader if parallel is None else parallel.make_loader
    loader = made(xs, ys, batch_size, shuffle, seed, augment, threads, weights=ws)
    batches = len(loader) if steps_per_epoch is None else whole("fit", "steps_per_epoch", steps_per_epoch, 1)
    own = list(callbacks) if group is None or group.leads else []
    run = Run(model, optimizer, epochs, batches, History())
    watchers: list[Callback] = [*own, *([Progress()] if progress else [])]
    state = Progression(run, loader, own, keep_best, first)
    if parallel is not None:
        watchers = parallel.watchers(watchers)
        parallel.begin(state)
    if saved is not None:
        state.check(saved)
    for c in watchers:
        c.run = run
    each = None if ws is None else _per_example(loss)
    gradients = _gradients(model, optimizer, loss, each, penalty, run if check_finite else None)
    watched = check_finite or any(c.reads_gradients for c in watchers) or isinstance(optimizer, _CLOSURES)
    if capture is True and watched:
        raise ValueError("fit: capture=True excludes check_finite, callbacks that read gradients and line searches")
    step: Step
    if parallel is not None:
        step = parallel.step(gradients, capture, watched)
    else:
        step = _training_step(optimizer, gradients)
        if capture is not False and not watched:
            step = captured_step(step, required=capture is True)
    mode = model.training
    started: list[Callback] = []
    try:
        with deferred_signals(saver is not None) as signals:
            for c in watchers:
                started.append(c)
                c.on_train_begin()
            if saved is not None:
                state.restore(saved, watchers)
            else:
                loader.position = first * batches
            if parallel is not None:
                signals = parallel.watch(signals)
            _train(state, step, loss, task, validation_data, watchers, saver, signals, parallel)
            if parallel is not None:
                parallel.finish()
    except KeyboardInterrupt:
        run.history.interrupted = True
        if parallel is not None:
            parallel.interrupted()
    finally:
        model.train(mode)
        end_training(started)
    if parallel is not None:
        parallel.send_changed_weights()
    if state.best_state is not None:
        model.load_state_dict(state.best_state)
    return run.history


def _gradients(
    model: Module, optimizer: Optimizer, loss: Loss, each: Loss | None, penalty: Callable[[Module], Tensor] | None,
    checked: Run | None,
) -> Step:
    """The function that computes the gradients of a batch: (x, y, weights or None) -> (loss, output), both tensors.

    `each` is the loss without reduction, for weights; `checked` the run whose numbers must be finite. In a job of
    several processes two more arrays [] follow, this process's share in the batch's weight and in its examples: the
    loss counts by the first, the penalty by the second. What was differentiated is appended to `objective`.
    """

    def gradients(
        xb: Array, yb: Array, wb: Array | None, share: Array | None = None, part: Array | None = None,
        objective: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad()
        out = model(wrap(xb))
        value = loss(out, yb) if wb is None or each is None else _weighted(each, loss.reduction, out, yb, wb)
        total: Tensor = value if share is None else ops.mul(value, share)
        if penalty is not None:
            extra = penalty(model)
            total = ops.add(total, extra if part is None else ops.mul(extra, part))
        if objective is not None:
            objective.append(total)
        if is_grad_enabled():  # a search that compares losses asks for no gradients
            total.backward()
        if checked is not None:
            _check_finite(model, total, xb, checked.epoch + 1, checked.batch)
        return value, out

    return gradients


def _training_step(optimizer: Optimizer, gradients: Step) -> Step:
    """The function that is carried out for every batch: (x, y[, weights]) -> (loss, output), both tensors.

    An optimiser that evaluates the loss itself gets a closure; what is returned then is its first evaluation.
    """

    def step(xb: Array, yb: Array, wb: Array | None = None) -> tuple[Tensor, Tensor]:
        result = gradients(xb, yb, wb)
        optimizer.step()
        return result

    def closure_step(xb: Array, yb: Array, wb: Array | None = None) -> tuple[Tensor, Tensor]:
        results: list[tuple[Tensor, Tensor]] = []

        def closure() -> Tensor:
            objective: list[Tensor] = []  # with the penalty, whose gradient the search follows
            result = gradients(xb, yb, wb, objective=objective)
            if not results:
                results.append(result)
            return objective[0]

        optimizer.step(closure)
        return results[0]

    return closure_step if isinstance(optimizer, _CLOSURES) else step


def _train(
    state: Progression, step: Step, loss: Loss, task: str | None, validation_data: tuple[Any, Any] | None,
    watchers: Sequence[Callback], saver: Saver | None, signals: Signals, parallel: DataParallel | None,
) -> None:
    """The epochs from where `state` stands."""
    run, loader = state.run, state.loader
    source = loader.stream(run.epochs * run.batches)
    try:
        while run.epoch < run.epochs and not run.stop:
            logs = _epoch(state, source, step, loss, watchers, saver, signals, parallel)
            if not run.batch:  # stopped before its first batch: there is no such epoch
                break
            if validation_data is not None:
                own = loss if task is None else None
                forward = predict if parallel is None else parallel.predict
                for name, value in _evaluate(forward, run.model, *validation_data, own, 256, task).items():
                    logs[f"val_{name}"] = value
            if parallel is not None:
                logs = parallel.logs(logs)
            run.history.append(run.epoch + 1, logs)
            state.note_best(logs)
            for c in watchers:
                c.on_epoch_end(run.epoch + 1, logs)
            state.next_epoch()
            if saver is not None:
                last = run.stop or run.epoch >= run.epochs
                if last or run.epoch % saver.every == 0 or signals.caught:
                    saver.save(state, logs.get("val_loss", logs["loss"]))
                signals.leave()
    finally:
        source.close()


def _epoch(
    state: Progression, source: Iterator[tuple[Array, ...]], step: Step, loss: Loss, watchers: Sequence[Callback],
    saver: Saver | None, signals: Signals, parallel: DataParallel | None,
) -> dict[str, float]:
    """The rest of the epoch in progress; returns its logs."""
    run, sums = state.run, state.sums
    begun = time.perf_counter()
    run.model.train()
    if not state.resumed:
        for c in watchers:
            c.on_epoch_begin(run.epoch + 1)
    state.resumed = False
    while run.batch < run.batches and not run.stop:
        for c in watchers:
            c.on_batch_begin(run.batch)
        batch = next(source)
        value, out = step(*batch)
        if parallel is None:
            sums.add(loss, value, out, batch)
        else:
            parallel.add(sums, loss, batch[1])
        logs = sums.logs()
        for c in watchers:
            c.on_batch_end(run.batch, logs)
        run.batch += 1
        if saver is not None and run.batch < run.batches and not run.stop:
            if signals.caught or saver.due(state.steps):
                saver.save(state, None)
            signals.leave()
    run.optimizer.zero_grad()
    return {**sums.logs(), "lr": run.optimizer.lr, "seconds": time.perf_counter() - begun}
