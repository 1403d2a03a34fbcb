"""The functional way to build networks: call layers on what `Input` gives, and make a `Model` of the ends.

    x = rb.Input((8, 8, 1))
    h = nn.Conv2d(1, 16, 3, padding="same", activation="relu")(x)
    code = nn.Linear(1024, 32, activation="relu")(nn.Flatten()(h))
    encoder = rb.Model(x, code)
    network = rb.Model(x, [nn.Linear(32, 10)(code), nn.Linear(32, 1)(code)])
    network.fit(images, (labels, sizes), loss=(nn.CrossEntropyLoss(), nn.MSELoss()))

A `Node` is an output that is not computed yet: its shape without the batch axis, and what it comes from. Layers and
`Model`s that are called on several nodes share their parameters; `rb.Model` of any two ends is a network of its own
with the same parameters. Nodes add, subtract, multiply, divide and can be indexed (the batch axis first);
`apply(ops.concat, [a, b], -1)` is any other function.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..tensor import Array, Tensor, float_array, wrap
from .losses import CrossEntropyLoss, Loss, MSELoss
from .module import Module, Symbol

if TYPE_CHECKING:
    from ..train import History, Summary

__all__ = ["Input", "Model", "Node", "apply"]


class Node(Symbol):
    """An output of `source` (a module, a function or None for an input) for the arguments, not computed yet.

    shape : without the batch axis. Made by `Input`, by calling a module on nodes, and by `apply`.
    """

    __slots__ = ("args", "kwargs", "name", "shape", "source")
    __array_ufunc__ = None

    def __init__(
        self, shape: tuple[int, ...], source: Any = None, args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None, name: str = "",
    ) -> None:
        self.shape, self.source, self.args, self.kwargs, self.name = shape, source, args, kwargs or {}, name

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The node, or nodes, of module(*args, **kwargs)."""
        return _result(module, args, kwargs)

    def __repr__(self) -> str:
        origin = "Input" if self.source is None else type(self.source).__name__
        if not isinstance(self.source, Module) and self.source is not None:
            origin = getattr(self.source, "__name__", origin)
        return f"Node(shape={self.shape}, of {origin})"

    def __add__(self, other: Any) -> Any:
        return apply(ops.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return apply(ops.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return apply(ops.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return apply(ops.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return apply(ops.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return apply(ops.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return apply(ops.div, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return apply(ops.div, other, self)

    def __neg__(self) -> Any:
        return apply(ops.neg, self)

    def __getitem__(self, index: Any) -> Any:
        return apply(ops.getitem, self, index)


def Input(shape: Sequence[int], name: str = "") -> Node:
    """A place for data of `shape`, without the batch axis. Raises ValueError unless the sizes are positive integers."""
    sizes = tuple(shape)
    if any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1 for n in sizes):
        raise ValueError(f"Input: expected a shape of positive integers without the batch axis, got {shape!r}")
    return Node(tuple(int(n) for n in sizes), name=name)


def _nodes(value: Any) -> Iterator[Node]:
    """The nodes among arguments, within lists and tuples, too."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _nodes(v)


def _filled(value: Any, values: dict[int, Any]) -> Any:
    """The arguments with what was computed in place of the nodes."""
    if isinstance(value, Node):
        return values[id(value)]
    if isinstance(value, (list, tuple)):
        return type(value)(_filled(v, values) for v in value)
    return value


def _result(source: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One node, or a tuple of nodes, for a call of `source`: its shapes are found with zeros."""
    given = {id(n): wrap(np.zeros((1, *n.shape), _dtype(source))) for n in _nodes((*args, *kwargs.values()))}
    modes = [(m, m.training) for m in source.modules()] if isinstance(source, Module) else []
    for m, _ in modes:
        object.__setattr__(m, "training", False)
    try:
        with no_grad():
            out = source(*_filled(args, given), **{k: _filled(v, given) for k, v in kwargs.items()})
    finally:
        for m, mode in modes:
            object.__setattr__(m, "training", mode)
    name = type(source).__name__ if isinstance(source, Module) else getattr(source, "__name__", "function")
    outputs = out if isinstance(out, tuple) else (out,)
    for o in outputs:
        if not isinstance(o, Tensor) or not o.shape or o.shape[0] != 1:
            shape = list(o.shape) if isinstance(o, Tensor) else type(o).__name__
            raise ValueError(f"{name}: expected tensors with the batch axis first from nodes, got {shape}")
    if not isinstance(out, tuple):
        return Node(tuple(out.shape[1:]), source, args, kwargs)
    whole = Node((), source, args, kwargs)  # computed once, taken apart
    return tuple(Node(tuple(o.shape[1:]), operator.itemgetter(i), (whole,)) for i, o in enumerate(outputs))


def _dtype(source: Any) -> Any:
    first = next(source.parameters(), None) if isinstance(source, Module) else None
    return np.float32 if first is None else first.dtype


def apply(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The node of function(*args, **kwargs) where arguments, or parts of lists among them, are nodes.

    The function takes tensors, for example of `rosenblatt.ops`, and returns one, or a tuple, with the batch axis first.
    Raises ValueError without a node, and for shapes that do not fit.
    """
    if not any(True for _ in _nodes((*args, *kwargs.values()))):
        raise ValueError("apply: expected at least one node among the arguments")
    return _result(function, args, kwargs)


class Model(Module):
    """The network between nodes: `Model(inputs, outputs)`, each one node or a sequence of them.

    inputs : results of `Input`, or any nodes, from which on the network is cut out
    outputs : what it gives; one tensor for one node, a tuple for a sequence

    Calling it on tensors computes, on nodes continues the graph. With several inputs or outputs `fit`, `evaluate` and
    `predict` take and give tuples of arrays. Layers are children named after their classes, "linear", "linear_1", ...,
    in the order in which they are computed; each once, however often it is called.

    Raises ValueError when an output depends on an `Input` that is not among the inputs, or an input is not used.
    """

    def __init__(self, inputs: Node | Sequence[Node], outputs: Node | Sequence[Node]) -> None:
        super().__init__()
        starts = (inputs,) if isinstance(inputs, Node) else tuple(inputs)
        ends = (outputs,) if isinstance(outputs, Node) else tuple(outputs)
        for what, nodes in (("inputs", starts), ("outputs", ends)):
            if not nodes or not all(isinstance(n, Node) for n in nodes):
                raise TypeError(f"Model: expected nodes as {what}, got {[type(n).__name__ for n in nodes]}")
        if len({id(n) for n in starts}) != len(starts):
            raise ValueError("Model: an input is named twice")
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "_ends", ends)
        object.__setattr__(self, "_single", isinstance(outputs, Node))
        object.__setattr__(self, "_order", self._sorted(starts, ends))
        object.__setattr__(self, "_whole", None)
        seen: set[int] = set()
        counts: dict[str, int] = {}
        for node in self._order:
            source = node.source
            if isinstance(source, Module) and id(source) not in seen:
                seen.add(id(source))
                kind = type(source).__name__.lower()
                counts[kind] = counts.get(kind, -1) + 1
                setattr(self, kind if not counts[kind] else f"{kind}_{counts[kind]}", source)

    if TYPE_CHECKING:
        _starts: tuple[Node, ...]
        _ends: tuple[Node, ...]
        _single: bool
        _order: list[Node]
        _whole: _Packed | None

    @staticmethod
    def _sorted(starts: tuple[Node, ...], ends: tuple[Node, ...]) -> list[Node]:
        """What has to be computed, each node after those that it comes from; no recursion, graphs may be deep."""
        known, order, used = {id(n) for n in starts}, [], {id(n) for n in ends}
        ahead: list[tuple[Node, bool]] = [(n, False) for n in reversed(ends)]
        while ahead:
            node, ready = ahead.pop()
            if ready:
                order.append(node)
                continue
            if id(node) in known:
                continue
            if node.source is None:
                name = f" {node.name!r}" if node.name else ""
                raise ValueError(
                    f"Model: an output depends on the Input{name} of shape {node.shape}, which is not given"
                )
            known.add(id(node))
            ahead.append((node, True))
            before = list(_nodes((*node.args, *node.kwargs.values())))
            used |= {id(n) for n in before}
            ahead += [(n, False) for n in reversed(before)]
        for i, n in enumerate(starts):
            if id(n) not in used:
                raise ValueError(f"Model: no output depends on input {i}, of shape {n.shape}")
        return order

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs, without the batch axis."""
        return tuple(n.shape for n in self._starts)

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs, without the batch axis."""
        return tuple(n.shape for n in self._ends)

    def forward(self, *inputs: Any) -> Any:
        given = tuple(inputs[0]) if len(inputs) == 1 and isinstance(inputs[0], (tuple, list)) else inputs
        if len(given) != len(self._starts):
            raise ValueError(f"Model: expected {len(self._starts)} inputs, got {len(given)}")
        values = {id(n): x for n, x in zip(self._starts, given, strict=True)}
        for node in self._order:
            kwargs = {k: _filled(v, values) for k, v in node.kwargs.items()}
            values[id(node)] = node.source(*_filled(node.args, values), **kwargs)
        results = tuple(values[id(n)] for n in self._ends)
        return results[0] if self._single else results

    # --- several inputs and outputs
    def _packed(self) -> _Packed:
        if self._whole is None:
            object.__setattr__(self, "_whole", _Packed(self))
        whole = self._whole
        assert whole is not None
        object.__setattr__(whole, "training", self.training)
        return whole

    @property
    def _plain(self) -> bool:
        return len(self._starts) == 1 and self._single

    def fit(self, x: Any, y: Any, **options: Any) -> History:
        """As `Module.fit`; with several inputs x, with several outputs y is a tuple of arrays with one length.

        loss : with several outputs one for each; the loss that falls is their sum, weighted by `loss_weights` (default
        1 each). Default: cross-entropy for integer labels [N], else mean squared error. Labels then count as one-hot
        targets, and no accuracy is logged. `validation_data` is (x, y) of the same form; `task`, `class_weight` and
        augmentation are for one input and one output only. Raises ValueError for other numbers of arrays.
        """
        if self._plain:
            return super().fit(x, y, **options)
        from ..train import fit

        for key in ("task", "class_weight", "augment"):
            if options.get(key) is not None:
                raise ValueError(f"Model.fit: {key} is for networks with one input and one output")
        whole = self._packed()
        loss = whole.joint(options.pop("loss", None), options.pop("loss_weights", None), y)
        held = options.pop("validation_data", None)
        if held is not None:
            options["validation_data"] = (whole.inputs(held[0]), loss.targets(held[1]))
        return fit(whole, whole.inputs(x), loss.targets(y), loss=loss, **options)

    def predict(self, x: Any, batch_size: int = 256, capture: bool = True) -> Any:
        """As `Module.predict`; with several inputs x is a tuple of arrays, with several outputs the result is one."""
        if self._plain:
            return super().predict(x, batch_size, capture)
        whole = self._packed()
        out = Module.predict(whole, whole.inputs(x), batch_size, capture)
        parts = tuple(np.ascontiguousarray(p) for p in whole.split(out, self.output_shapes))
        return parts[0] if self._single else parts

    def evaluate(self, x: Any, y: Any, **options: Any) -> dict[str, float]:
        """As `Module.evaluate`; with several outputs {"loss": weighted sum, "loss_0": ..., "accuracy_0": ...}.

        Options are then `loss` and `loss_weights` as in `fit`, and `batch_size`.
        """
        if self._plain:
            return super().evaluate(x, y, **options)
        whole = self._packed()
        loss = whole.joint(options.pop("loss", None), options.pop("loss_weights", None), y)
        outputs = self.predict(x, **options)
        outputs = (outputs,) if self._single else outputs
        result = {"loss": 0.0}
        for i, (out, target, each) in enumerate(zip(outputs, loss.parts(y), loss.losses, strict=True)):
            labels = each.classifies and target.dtype.kind in "iu"
            with no_grad():
                value = float(np.asarray(each(wrap(out), target if labels else target.astype(out.dtype)).data))
            result["loss"] += loss.weights[i] * value
            result[f"loss_{i}"] = value
            if labels:
                result[f"accuracy_{i}"] = float((ops.argmax(out, -1) == target).mean())
        return result

    def summary(self, input_shape: Any = None) -> Summary:
        """As `Module.summary`, for the shapes that the inputs were made with."""
        if self._plain:
            return super().summary(self.input_shapes[0] if input_shape is None else input_shape)
        whole = self._packed()
        found = Module.summary(whole, (whole.width,))
        rows = tuple(_renamed(row) for row in found.rows)
        return type(found)("Model", self.input_shapes, rows, found.parameters, found.trainable, found.macs)

    def extra_repr(self) -> str:
        return f"inputs={self.input_shapes}, outputs={self.output_shapes}"


def _renamed(row: Any) -> Any:
    import dataclasses

    return dataclasses.replace(row, name=row.name.removeprefix("inner."))


class _Packed(Module):
    """A model of several inputs and outputs as one of rows [N,D]: everything side by side."""

    def __init__(self, inner: Model) -> None:
        super().__init__()
        self.inner = inner
        self.width = sum(math.prod(s) for s in inner.input_shapes)

    def split(self, rows: Any, shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
        """Rows [N,D] taken apart to [N,*shape] each."""
        parts, at = [], 0
        for shape in shapes:
            size = math.prod(shape)
            parts.append(ops.reshape(ops.getitem(rows, np.s_[:, at : at + size]), (-1, *shape)))
            at += size
        return parts

    def forward(self, x: Any) -> Any:
        out = self.inner(*self.split(x, self.inner.input_shapes))
        outputs = (out,) if self.inner._single else out
        return ops.concat([ops.reshape(o, (o.shape[0], math.prod(o.shape[1:]))) for o in outputs], 1)

    def inputs(self, x: Any) -> Array:
        """The arrays of x side by side. Raises ValueError for other numbers and shapes."""
        shapes = self.inner.input_shapes
        given = (x,) if len(shapes) == 1 and not isinstance(x, (tuple, list)) else tuple(x)
        if len(given) != len(shapes):
            raise ValueError(f"Model: expected {len(shapes)} inputs, got {len(given)}")
        dtype = _dtype(self.inner)
        arrays = [float_array(f"Model: input {i}", a, dtype) for i, a in enumerate(given)]
        for i, (a, shape) in enumerate(zip(arrays, shapes, strict=True)):
            if a.shape[1:] != shape or len(a) != len(arrays[0]):
                raise ValueError(f"Model: input {i}: expected [{len(arrays[0])}, *{shape}], got {list(a.shape)}")
        return np.concatenate([a.reshape(len(a), -1) for a in arrays], 1)

    def joint(self, losses: Any, weights: Any, y: Any) -> _Joint:
        """The loss of all outputs together, with defaults that fit the targets y."""
        shapes = self.inner.output_shapes
        targets = (y,) if self.inner._single else tuple(y)
        if len(targets) != len(shapes):
            raise ValueError(f"Model: expected targets for {len(shapes)} outputs, got {len(targets)}")
        if losses is None:
            labels = [np.asarray(t).dtype.kind in "iub" and np.ndim(t) == 1 for t in targets]
            losses = [CrossEntropyLoss() if named else MSELoss() for named in labels]
        each = (losses,) if isinstance(losses, Loss) else tuple(losses)
        scale = (1.0,) * len(each) if weights is None else tuple(float(w) for w in weights)
        if len(each) != len(shapes) or len(scale) != len(shapes):
            raise ValueError(f"Model: expected {len(shapes)} losses and weights, got {len(each)} and {len(scale)}")
        for one in each:
            if one.reduction != "mean":
                raise ValueError(f"Model: expected losses with reduction 'mean', got {one.reduction!r}")
        return _Joint(self, each, scale)


class _Joint(Loss):
    """The weighted sum of the losses of several outputs that lie side by side."""

    def __init__(self, whole: _Packed, losses: tuple[Loss, ...], weights: tuple[float, ...]) -> None:
        super().__init__()
        object.__setattr__(self, "whole", whole)
        object.__setattr__(self, "losses", losses)
        object.__setattr__(self, "weights", weights)

    if TYPE_CHECKING:
        whole: _Packed
        losses: tuple[Loss, ...]
        weights: tuple[float, ...]

    def parts(self, y: Any) -> list[Array]:
        """The targets of the outputs as arrays."""
        given = (y,) if self.whole.inner._single else tuple(y)
        if len(given) != len(self.losses):
            raise ValueError(f"Model: expected targets for {len(self.losses)} outputs, got {len(given)}")
        return [np.asarray(t.data if isinstance(t, Tensor) else t) for t in given]

    def targets(self, y: Any) -> Array:
        """All targets as rows [N,D] in the shapes of the outputs; labels become one-hot. Raises ValueError."""
        dtype, rows = _dtype(self.whole.inner), []
        arrays = self.parts(y)
        for i, (t, shape, loss) in enumerate(zip(arrays, self.whole.inner.output_shapes, self.losses, strict=True)):
            if loss.classifies and t.dtype.kind in "iub":
                t = np.asarray(ops.one_hot(t.astype(np.int64), shape[-1], dtype))
            if t.shape != (len(arrays[0]), *shape):
                raise ValueError(f"Model: target {i}: expected [{len(arrays[0])}, *{shape}], got {list(t.shape)}")
            rows.append(float_array(f"Model: target {i}", t, dtype).reshape(len(t), -1))
        return np.concatenate(rows, 1)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        shapes = self.whole.inner.output_shapes
        total: Any = None
        pairs = zip(self.whole.split(prediction, shapes), self.whole.split(target, shapes), strict=True)
        for (out, wanted), loss, weight in zip(pairs, self.losses, self.weights, strict=True):
            one = ops.mul(loss(out, wanted, sample_weight), weight)
            total = one if total is None else ops.add(total, one)
        return total
