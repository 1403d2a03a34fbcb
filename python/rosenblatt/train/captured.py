"""How `fit` and `predict` use capture and replay: by default where it works, and the same bits where it does not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._capture import Captured, CaptureError, capture
from ..ops.random import stream
from ..tensor import Array, Tensor, wrap

if TYPE_CHECKING:
    from ..nn import Module

__all__ = ["captured_forward", "captured_step"]

Step = Callable[..., tuple[Tensor, Tensor]]


def captured_step(step: Step, required: bool) -> Step:
    """`step` captured. When it cannot be replayed: CaptureError if `required`, else a warning and eager steps.

    Falling back loses nothing: a step that had run keeps its result, one that was refused half-way starts again from
    the same random position (it is refused before the optimiser's update, which comes last).
    """
    program: Captured = capture(step)
    if required:
        return program
    eager = False

    def run(*batch: Array) -> tuple[Tensor, Tensor]:
        nonlocal eager
        if eager:
            return step(*batch)
        position = stream.counter
        try:
            result: tuple[Tensor, Tensor] = program(*batch)
            return result
        except CaptureError as error:
            eager = True
            warnings.warn(f"fit: steps run without capture. {error}", RuntimeWarning, stacklevel=2)
            if error.outcome is not None:
                done: tuple[Tensor, Tensor] = error.outcome[0]
                return done
            stream.counter = position
            return step(*batch)

    return run


def captured_forward(model: Module) -> Callable[[Array], Tensor]:
    """x -> model(x), captured once per model and input shape; eager, with a warning, where it cannot be replayed."""
    known: Callable[[Array], Tensor] | None = vars(model).get("_captured_forward")
    if known is not None:
        return known

    def forward(x: Array) -> Tensor:
        out: Tensor = model(wrap(x))
        return out

    program: Captured | None = capture(forward, max_programs=4)

    def run(x: Array) -> Tensor:
        nonlocal program
        if program is None:
            return forward(x)
        position = stream.counter
        try:
            result: Tensor = program(x)
            return result
        except CaptureError as error:
            program = None
            warnings.warn(f"predict: runs without capture. {error}", RuntimeWarning, stacklevel=2)
            if error.outcome is not None:
                done: Tensor = error.outcome[0]
                return done
            stream.counter = position
            return forward(x)

    object.__setattr__(model, "_captured_forward", run)
    return run
