"""`summary`: layers, output shapes, parameters, multiply-adds and receptive fields of a model, by running it once on
zeros. Of a model without weights (`nn.init.without_weights`) convolutions and dense layers are not run, only measured.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .. import ops
from ..autograd import enable_grad
from ..nn.module import Module, _observers
from ..ops._common import is_ghost
from ..tensor import Tensor

__all__ = ["LayerRow", "Summary", "receptive_field", "summary"]


@dataclass(frozen=True)
class LayerRow:
    """One layer: path, class, output shape without the batch axis, own parameters, own multiply-adds per example.

    receptive_field, step : how many neighbouring positions of the model's input an output depends on, along each
        spatial axis, and how far apart those of neighbouring outputs begin; () where there is nothing spatial. Windows
        that reach over the input's border count in full, so that the field can be larger than the input.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    receptive_field: tuple[int, ...] = ()
    step: tuple[int | Fraction, ...] = ()


@dataclass(frozen=True)
class Summary:
    """Rows in order of execution and the totals; `str(summary)` is the table.

    receptive_field : of the last outputs that still lie beside each other, before flattening or global pooling takes
        their places away; () for a model without spatial layers.
    """

    model: str
    input_shape: tuple[Any, ...]
    rows: tuple[LayerRow, ...]
    parameters: int
    trainable: int
    macs: int
    receptive_field: tuple[int, ...] = ()

    def __str__(self) -> str:
        spatial = any(r.receptive_field for r in self.rows)
        head = ("layer", "output shape", "parameters", "multiply-adds", *(("field",) if spatial else ()))
        body = []
        for r in self.rows:
            row = (f"{r.name} ({r.kind})", str(r.output_shape), f"{r.parameters:,}", f"{r.macs:,}")
            body.append((*row, "x".join(map(str, r.receptive_field)) or "-") if spatial else row)
        width = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]

        def line(row: tuple[str, ...]) -> str:
            left = (row[i].ljust(width[i]) for i in (0, 1))
            right = (row[i].rjust(width[i]) for i in range(2, len(head)))
            return "  ".join([*left, *right])

        rule = "-" * len(line(head))
        totals = (
            f"parameters {self.parameters:,} ({self.parameters * 4 / 1e6:.2f} MB in float32), "
            f"trainable {self.trainable:,}, multiply-adds {self.macs:,}"
        )
        title = f"{self.model}, input {self.input_shape}"
        return "\n".join([title, rule, line(head), rule, *map(line, body), rule, totals])


@dataclass(frozen=True)
class _Field:
    """What one position of a tensor depends on, per spatial axis; no `step`: its positions are not in the plane."""

    extent: tuple[Fraction, ...]
    step: tuple[Fraction, ...]

    def through(self, windows: tuple[tuple[int, int | Fraction], ...], flat: bool) -> _Field:
        if not windows or len(windows) != len(self.step):
            return self
        pairs = list(zip(self.extent, self.step, windows, strict=True))
        extent = tuple(e + (k - 1) * s for e, s, (k, _) in pairs)
        return _Field(extent, () if flat else tuple(s * t for _, s, (_, t) in pairs))

    def joined(self, other: _Field) -> _Field:
        """Of a sum or a concatenation of two tensors."""
        if len(self.extent) != len(other.extent):
            return self if self.extent else other
        extent = tuple(map(max, self.extent, other.extent))
        return _Field(extent, self.step if len(self.step) == len(other.step) else ())


class _Fields:
    """Fields of the tensors of one run, by tensor or node. Ops outside layers count as position by position."""

    def __init__(self, x: Tensor) -> None:
        axes = max(0, x.ndim - 2)
        self.known: dict[int, tuple[_Field, Any]] = {}  # with the thing itself, whose address is the key
        self.put(x, _Field((Fraction(1),) * axes, (Fraction(1),) * axes))

    @staticmethod
    def _key(t: Tensor) -> Any:
        return t if t._node is None else t._node

    def put(self, t: Tensor, field: _Field) -> None:
        key = self._key(t)
        self.known[id(key)] = field, key

    def of(self, t: Tensor) -> _Field | None:
        """The field of a tensor that a layer gave, or of what ops made of such tensors; None for constants."""
        stack: list[Tensor] = [t]
        found: dict[int, _Field | None] = {}
        while stack:
            at = stack[-1]
            key = self._key(at)
            if id(key) in self.known:
                found[id(key)] = self.known[id(key)][0]
            elif at._node is None:
                found[id(key)] = None
            else:
                inputs = [i for i in at._node.inputs if isinstance(i, Tensor)]
                missing = [i for i in inputs if id(self._key(i)) not in found]
                if missing:
                    stack += missing
                    continue
                field = None
                for i in inputs:
                    part = found[id(self._key(i))]
                    field = part if field is None else field if part is None else field.joined(part)
                found[id(key)] = field
            stack.pop()
        return found[id(self._key(t))]


def _zeros(shape: tuple[int, ...], dtype: Any) -> Tensor:
    return Tensor(ops.zeros(shape, dtype), requires_grad=True)  # what is computed from it stays on the tape


@contextlib.contextmanager
def _measured_only(model: Module) -> Iterator[None]:
    """Layers that have no weights give zeros of the shape that their results would have."""
    changed = []
    for module in model.modules():
        weight, shape = getattr(module, "weight", None), getattr(module, "output_shape", None)
        if shape is not None and isinstance(weight, Tensor) and is_ghost(weight._data):
            changed.append(module)
            object.__setattr__(module, "forward", lambda x, of=shape: _zeros(of(tuple(x.shape)), x.dtype))
    try:
        yield
    finally:
        for module in changed:
            object.__delattr__(module, "forward")


def summary(model: Module, input_shape: tuple[int, ...]) -> Summary:
    """See `Module.summary`. Raises ValueError when the model does not accept such an input."""
    shape = tuple(input_shape)
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"summary: expected a shape of positive integers without the batch axis, got {input_shape!r}")
    names = {id(m): name for name, m in model.named_modules()}
    rows: list[LayerRow] = []
    counted: set[int] = set()
    ends: list[_Field] = []

    def observe(module: Module, x: Any, out: Any) -> None:
        own = list(module._parameters.values())
        if module._modules and not own:
            return
        fresh = sum(p.size for p in own if id(p) not in counted)
        counted.update(id(p) for p in own)
        out_shape = tuple(out.shape[1:]) if isinstance(out, Tensor) else ()
        field = fields.of(x) if isinstance(x, Tensor) else None
        if field is not None and isinstance(out, Tensor) and not module._modules:
            before = field
            field = field.through(module.window(tuple(x.shape[1:]), out_shape), len(out_shape) <= 1)
            fields.put(out, field)
            if before.step and not field.step:
                ends.append(before)
        rows.append(
            LayerRow(
                names.get(id(module)) or "top", type(module).__name__, out_shape, fresh, module.macs(out_shape),
                () if field is None else tuple(math.ceil(e) for e in field.extent),
                () if field is None else tuple(int(s) if s.denominator == 1 else s for s in field.step),
            )
        )

    first = next(model.parameters(), None)
    zeros = ops.zeros((1, *shape)) if first is None else ops.zeros((1, *shape), first.dtype)
    training = [m for m in model.modules() if m.training]
    model.eval()
    x = Tensor(zeros, requires_grad=True)
    fields = _Fields(x)
    _observers.append(observe)
    try:
        with enable_grad(), _measured_only(model):
            y = model(x)
    finally:
        _observers.remove(observe)
        for m in training:
            object.__setattr__(m, "training", True)
    last = fields.of(y) if isinstance(y, Tensor) else None
    if last is not None and last.step:
        ends.append(last)
    seen = tuple(math.ceil(e) for e in ends[-1].extent) if ends else ()
    parameters = sum(p.size for p in model.parameters())
    trainable = sum(p.size for p in model.parameters() if p.requires_grad)
    return Summary(type(model).__name__, shape, tuple(rows), parameters, trainable, sum(r.macs for r in rows), seen)


def receptive_field(model: Module, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many neighbouring input positions an output depends on along each spatial axis; input_shape [H,W,C].

    The outputs are the last ones whose positions still lie beside each other; a window of k positions,
    `dilation` d apart, behind a step of s input positions adds d (k - 1) s. `summary` has the field of every layer.
    () for a model without spatial layers. Raises ValueError when the model does not accept such an input.
    """
    return summary(model, input_shape).receptive_field
