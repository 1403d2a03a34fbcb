"""`summary`: layers, output shapes, parameters and multiply-adds of a model, by running it once on zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import ops
from ..autograd import no_grad
from ..nn.module import Module, _observers
from ..tensor import Tensor, wrap

__all__ = ["LayerRow", "Summary", "summary"]


@dataclass(frozen=True)
class LayerRow:
    """One layer: path, class, output shape without the batch axis, own parameters, own multiply-adds per example."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """Rows in order of execution and the totals; `str(summary)` is the table."""

    model: str
    input_shape: tuple[int, ...]
    rows: tuple[LayerRow, ...]
    parameters: int
    trainable: int
    macs: int

    def __str__(self) -> str:
        head = ("layer", "output shape", "parameters", "multiply-adds")
        body = [
            (f"{r.name} ({r.kind})", str(r.output_shape), f"{r.parameters:,}", f"{r.macs:,}") for r in self.rows
        ]
        width = [max(len(row[i]) for row in [head, *body]) for i in range(4)]

        def line(row: tuple[str, ...]) -> str:
            left = (row[i].ljust(width[i]) for i in (0, 1))
            right = (row[i].rjust(width[i]) for i in (2, 3))
            return "  ".join([*left, *right])

        rule = "-" * len(line(head))
        totals = (
            f"parameters {self.parameters:,} ({self.parameters * 4 / 1e6:.2f} MB in float32), "
            f"trainable {self.trainable:,}, multiply-adds {self.macs:,}"
        )
        title = f"{self.model}, input {self.input_shape}"
        return "\n".join([title, rule, line(head), rule, *map(line, body), rule, totals])


def summary(model: Module, input_shape: tuple[int, ...]) -> Summary:
    """See `Module.summary`. Raises ValueError when the model does not accept such an input."""
    shape = tuple(input_shape)
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"summary: expected a shape of positive integers without the batch axis, got {input_shape!r}")
    names = {id(m): name for name, m in model.named_modules()}
    rows: list[LayerRow] = []
    counted: set[int] = set()

    def observe(module: Module, _: Any, out: Any) -> None:
        own = list(module._parameters.values())
        if module._modules and not own:
            return
        fresh = sum(p.size for p in own if id(p) not in counted)
        counted.update(id(p) for p in own)
        out_shape = tuple(out.shape[1:]) if isinstance(out, Tensor) else ()
        rows.append(
            LayerRow(names.get(id(module)) or "top", type(module).__name__, out_shape, fresh, module.macs(out_shape))
        )

    first = next(model.parameters(), None)
    zeros = ops.zeros((1, *shape)) if first is None else ops.zeros((1, *shape), first.dtype)
    mode = model.training
    model.eval()
    _observers.append(observe)
    try:
        with no_grad():
            model(wrap(zeros))
    finally:
        _observers.remove(observe)
        model.train(mode)
    parameters = sum(p.size for p in model.parameters())
    trainable = sum(p.size for p in model.parameters() if p.requires_grad)
    return Summary(type(model).__name__, shape, tuple(rows), parameters, trainable, sum(r.macs for r in rows))
