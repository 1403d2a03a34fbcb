"""`Trainer`: epochs, callbacks, history, checkpoints and exact resume around a training step of your own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .._options import whole
from ..nn.module import Module
from ..optim import Optimizer
from ..tensor import Tensor
from .callbacks import Callback, History, Run, end_training
from .loader import Loader
from .progress import Progress
from .state import Progression, Saver, deferred_signals

__all__ = ["Trainer"]


class Trainer:
    """Runs `step(*batch)` over a `Loader`; what `fit` does, with the step left to you.

    Parameters
    ----------
    model, optimizer : saved with checkpoints and shown to callbacks
    loader : gives the batches from its first one on; its seed decides their order
    parts : further things to save, by name: modules, optimisers, anything with `state_dict` and `load_state_dict`
    callbacks, progress, checkpoint, checkpoint_every, checkpoint_steps, checkpoint_keep : as in `fit`

    `run` may be called once per `Trainer`.
    """

    def __init__(
        self, model: Module, optimizer: Optimizer, loader: Loader, *, parts: Mapping[str, Any] | None = None,
        callbacks: Iterable[Callback] = (), progress: bool = True,
        checkpoint: str | os.PathLike[str] | None = None, checkpoint_every: int = 1,
        checkpoint_steps: int | None = None, checkpoint_keep: int = 2,
    ) -> None:
        self.model, self.optimizer, self.loader = model, optimizer, loader
        self.parts = dict(parts or {})
        for name, part in self.parts.items():
            if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
                raise TypeError(f"Trainer: part {name!r} has no state_dict and load_state_dict: {type(part).__name__}")
        self.callbacks = list(callbacks)
        self.progress = bool(progress)
        self.saver = None
        if checkpoint is not None:
            self.saver = Saver(checkpoint, checkpoint_every, checkpoint_steps, checkpoint_keep)

    def run(
        self, step: Callable[..., Mapping[str, float | Tensor]], epochs: int, *,
        evaluate: Callable[[], Mapping[str, float]] | None = None, resume: bool = False, fallback: bool = False,
    ) -> History:
        """Trains until `epochs` epochs are done.

        step : (x, y[, weights]) -> values to log, numbers or scalar tensors, "loss" among them; an epoch logs their
            means over its examples. It is called in training mode and does everything: gradients, updates.
        evaluate : called after every epoch; its values are logged too
        resume, fallback : as in `fit`

        Returns the `History`. Ctrl-C and SIGTERM as in `fit`. Raises ValueError for options out of range, KeyError for
        a step without "loss", CheckpointError when a checkpoint cannot be written or read.
        """
        epochs = whole("Trainer.run", "epochs", epochs, 0)
        if resume and self.saver is None:
            raise ValueError("Trainer.run: resume needs checkpoint, the folder to continue from")
        run = Run(self.model, self.optimizer, epochs, len(self.loader), History())
        watched = [*self.callbacks, _Parts(self.parts)]
        watchers: list[Callback] = [*watched, *([Progress()] if self.progress else [])]
        state = Progression(run, self.loader, watched, False, 0)
        saved = None if self.saver is None else self.saver.open(resume, fallback)
        if saved is not None:
            state.check(saved)
        for c in watchers:
            c.run = run
        mode, started = self.model.training, []
        try:
            with deferred_signals(self.saver is not None) as signals:
                for c in watchers:
                    started.append(c)
                    c.on_train_begin()
                if saved is not None:
                    state.restore(saved, watchers)
                else:
                    self.loader.position = 0
                source = self.loader.stream(epochs * run.batches)
                try:
                    while run.epoch < epochs and not run.stop:
                        logs = self._epoch(state, source, step, watchers, signals)
                        if not run.batch:  # stopped before its first batch: there is no such epoch
                            break
                        if evaluate is not None:
                            logs.update({k: float(v) for k, v in evaluate().items()})
                        run.history.append(run.epoch + 1, logs)
                        for c in watchers:
                            c.on_epoch_end(run.epoch + 1, logs)
                        state.next_epoch()
                        if self.saver is not None:
                            last = run.stop or run.epoch >= epochs
                            if last or run.epoch % self.saver.every == 0 or signals.caught:
                                self.saver.save(state, logs.get("val_loss", logs["loss"]))
                            signals.leave()
                finally:
                    source.close()
        except KeyboardInterrupt:
            run.history.interrupted = True
        finally:
            self.model.train(mode)
            end_training(started)
        return run.history

    def _epoch(
        self, state: Progression, source: Any, step: Callable[..., Mapping[str, float | Tensor]],
        watchers: list[Callback], signals: Any,
    ) -> dict[str, float]:
        """The rest of the epoch in progress; returns its logs."""
        run, sums, begun = state.run, state.sums, time.perf_counter()
        self.model.train()
        if not state.resumed:
            for c in watchers:
                c.on_epoch_begin(run.epoch + 1)
        state.resumed = False
        logs = {k: v / sums.examples for k, v in sums.values.items()}
        while run.batch < run.batches and not run.stop:
            for c in watchers:
                c.on_batch_begin(run.batch)
            batch = next(source)
            values = step(*batch)
            if "loss" not in values:
                raise KeyError(f"Trainer: the step must return 'loss', got {sorted(values)}")
            size = len(batch[0])
            sums.examples += size
            for name, value in values.items():
                number = value.item() if isinstance(value, Tensor) else float(value)
                sums.values[name] = sums.values.get(name, 0.0) + number * size
            logs = {k: v / sums.examples for k, v in sums.values.items()}
            for c in watchers:
                c.on_batch_end(run.batch, logs)
            run.batch += 1
            if self.saver is not None and run.batch < run.batches and not run.stop:
                if signals.caught or self.saver.due(state.steps):
                    self.saver.save(state, None)
                signals.leave()
        return {**logs, "lr": run.optimizer.lr, "seconds": time.perf_counter() - begun}


class _Parts(Callback):
    """Carries the further parts of a `Trainer` through checkpoints."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.keys() != self.parts.keys():
            raise ValueError(f"Trainer: expected the parts {sorted(self.parts)}, the checkpoint has {sorted(state)}")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
