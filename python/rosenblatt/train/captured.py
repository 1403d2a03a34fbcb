"""How `fit` and `predict` use capture and replay: by default where it works, and the same bits where it does not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._capture import Captured, CaptureError, capture
from ..ops.random import stream
from ..tensor import Array, Tensor, wrap

if TYPE_CHECKING:
    from ..nn import Module

__all__ = ["Forward", "captured_forward", "captured_step"]

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


class Forward:
    """x -> model(x) without a tape, captured once per input shape; eager, with a warning, where it cannot be replayed.

    Call it in evaluation mode. `known` holds what `predict` may replay at once, whatever the mode, by input shape.
    """

    def __init__(self, model: Module) -> None:
        def forward(x: Array) -> Tensor:
            out: Tensor = model(wrap(x))
            return out

        self._forward = forward
        self._program: Captured | None = capture(forward, max_programs=4)
        self.known: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def __call__(self, x: Array) -> Array:
        program = self._program
        if program is None:
            return self._forward(x)._data
        position = stream.counter
        replays = program.replays
        try:
            result: Tensor = program(x)
        except CaptureError as error:
            self._program = None
            self.known.clear()
            warnings.warn(f"predict: runs without capture. {error}", RuntimeWarning, stacklevel=2)
            if error.outcome is not None:
                result = error.outcome[0]
            else:
                stream.counter = position
                result = self._forward(x)
        else:
            self.known.pop(x.shape, None)
            plain = program.latest.plain() if program.replays > replays and program.latest is not None else None
            if plain is not None:
                if len(self.known) >= 4:
                    self.known.clear()
                self.known[x.shape] = plain
        return result._data


def captured_forward(model: Module) -> Forward:
    """The `Forward` that belongs to `model`."""
    known: Forward | None = vars(model).get("_captured_forward")
    if known is None:
        known = Forward(model)
        object.__setattr__(model, "_captured_forward", known)
    return known
