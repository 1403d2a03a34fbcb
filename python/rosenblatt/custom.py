"""Functions with gradients of their own: `stop_gradient`, `Function`, `checkpoint`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd import OUT, PROBING, SEEDS, Node, enable_grad, no_grad, overwritten, record, state
from .tensor import Array, Tensor, float_array, tick, wrap

__all__ = ["Context", "Function", "checkpoint", "stop_gradient"]


def stop_gradient(x: Any) -> Any:
    """x itself for the values, a constant for every gradient: the same data cut off from the tape (any shape)."""
    return wrap(x._data) if isinstance(x, Tensor) else x


# --- several results as one: an op has one result, so functions with more return slices of one packed vector


def _pack(where: str, arrays: Sequence[Array]) -> tuple[Array, tuple[tuple[int, ...], ...]]:
    """The arrays joined to one vector, and their shapes. Raises TypeError unless they have one dtype."""
    from .ops import concat, reshape

    if len({a.dtype for a in arrays}) != 1:
        raise TypeError(f"{where}: expected results of one dtype, got {', '.join(str(a.dtype) for a in arrays)}")
    return concat([reshape(a, (-1,)) for a in arrays]), tuple(a.shape for a in arrays)


def _unpack(packed: Any, shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, ...]:
    from .ops import getitem, reshape

    parts = []
    at = 0
    for shape in shapes:
        size = int(np.prod(shape, dtype=np.int64))
        parts.append(reshape(getitem(packed, slice(at, at + size)), shape))
        at += size
    return tuple(parts)


def _result_arrays(where: str, result: Any) -> list[Array]:
    """The arrays of a result that is a tensor, an array or a tuple of them. Raises TypeError naming `where`."""
    parts = result if isinstance(result, tuple) else (result,)
    if not parts:
        raise TypeError(f"{where}: expected a tensor, an array or a tuple of them, got an empty tuple")
    for part in parts:
        if not isinstance(part, (Tensor, np.ndarray, np.generic)):
            raise TypeError(
                f"{where}: expected a tensor, an array or a tuple of them, got {type(part).__name__}"
            )
    return [float_array(where, part) for part in parts]


# --- custom functions


class Context:
    """What `Function.forward` leaves for `Function.backward`; any other attribute may be set, too.

    needs_input_grad : tuple of bool, one per argument of forward
    """

    needs_input_grad: tuple[bool, ...]

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self._kept: tuple[Any, ...] = ()
        self._shapes: tuple[Any, ...] = ()
        self._given: tuple[Any, ...] | None = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps tensors or arrays: arguments and results as such, so that second-order gradients see them."""
        self._kept = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved, as tensors (None stays None)."""
        if self._given is None:
            raise RuntimeError("saved_tensors: only backward may ask for them")
        return self._given


class Function:
    """A differentiable function written in Python: subclass it and call `apply`.

    >>> class Cube(rb.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * x * x * 3.0
    >>> y = Cube.apply(x)

    `forward(ctx, *args)` runs untaped and returns a tensor, an array or a tuple of them of one dtype (several are
    copied into one buffer). `backward(ctx, *gradients)` gets one gradient tensor per result, zeros for results that
    were not used, and returns one gradient per argument, None where there is none. Written with ops of tensors it can
    be differentiated again. A wrong number of gradients or a wrong shape raises ValueError naming the class.
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        raise TypeError("Function: forward is not defined")

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> Any:
        raise TypeError("Function: backward is not defined")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """forward(ctx, *args), recorded when an argument is a tensor that requires a gradient."""
        where = f"{cls.__name__}.forward"
        ctx = Context(tuple([isinstance(a, Tensor) and a.requires_grad for a in args]))
        with no_grad():
            result = cls.forward(ctx, *args)
            arrays = _result_arrays(where, result)
            many = isinstance(result, tuple)
            value, shapes = _pack(where, arrays) if many else (arrays[0], (arrays[0].shape,))
        outputs = result if many else (result,)
        kept = tuple(
            [next((_Piece(i) for i, o in enumerate(outputs) if o is s and s is not None), s) for s in ctx._kept]
        )
        ctx._kept, ctx._given = (), None
        ctx._shapes = tuple([a.shape if isinstance(a, Tensor) else None for a in args])
        uses_output = any(isinstance(k, _Piece) for k in kept)
        y = record(
            cls.__name__, value, _function_grad, args,
            (cls, ctx, shapes if many else None, OUT if uses_output else None, *kept),
        )  # fmt: skip
        return _unpack(y, shapes) if many else y


class _Piece:
    """Stands for result number `index` among what a function saved."""

    def __init__(self, index: int) -> None:
        self.index = index


def _function_grad(
    g: Any, needs: Any, cls: type[Function], ctx: Context, shapes: Any, out: Any, *kept: Any
) -> tuple[Any, ...]:
    from .ops import copy

    where = f"{cls.__name__}.backward"

    def lift(a: Any) -> Any:
        return wrap(a) if isinstance(a, np.ndarray) and a.dtype in SEEDS else a

    results = () if out is None else (out,) if shapes is None else _unpack(out, shapes)
    ctx._given = tuple([lift(results[k.index] if isinstance(k, _Piece) else k) for k in kept])
    try:
        answer = cls.backward(ctx, *[lift(p) for p in ((g,) if shapes is None else _unpack(g, shapes))])
    finally:
        ctx._given = None
    grads = answer if isinstance(answer, tuple) else (answer,)
    if len(grads) != len(needs):
        raise ValueError(f"{where}: expected {len(needs)} gradients, one per argument of forward, got {len(grads)}")
    checked: list[Any] = []
    for i, (grad, need) in enumerate(zip(grads, needs, strict=True)):
        if grad is None or not need:
            checked.append(None)
            continue
        if not isinstance(grad, (Tensor, np.ndarray)):
            raise TypeError(f"{where}: gradient {i} must be a tensor or None, got {type(grad).__name__}")
        expected = ctx._shapes[i]
        if grad.shape != expected:
            raise ValueError(f"{where}: gradient {i} must have shape {expected} like the argument, got {grad.shape}")
        if isinstance(g, Tensor) and isinstance(grad, Tensor):
            checked.append(grad)
        else:  # a copy unless it is g: it may be an array that was saved, and `.grad` shares memory with nothing
            array = float_array(where, grad)
            array = array if array is g else copy(array)
            checked.append(wrap(array) if isinstance(g, Tensor) else array)
    return tuple(checked)


# --- activation checkpointing


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args) without keeping what its gradient needs: the backward pass runs it again (same bits).

    The second run starts at the same position of the random stream, so dropout draws the same masks. `function` takes
    and returns tensors (a tuple of results is copied into one buffer) and must do the same both times: side effects
    happen twice. Tensors it reaches otherwise than through `args`, such as weights, get their gradients too. Calls may
    nest. Memory is that of the arguments. (T. Chen et al., Training deep nets with sublinear memory cost, 2016.)

    Raises RuntimeError in the backward pass when a tensor it uses was written in between or the second result differs
    in shape. A gradient may be asked for inside `function` only where it
    says `enable_grad()`.
    """
    from .ops.random import stream

    if state.enabled is not True:  # nothing is kept anyway
        return function(*args)
    position = stream.key, stream.counter
    state.enabled = PROBING
    try:
        result = function(*args)
    finally:
        state.enabled = True
    parts = result if isinstance(result, tuple) else (result,)
    arrays = _result_arrays("checkpoint", result)
    if not any(isinstance(p, Tensor) for p in parts):
        return result
    if not any(isinstance(p, Tensor) and p.requires_grad for p in parts):
        constants = tuple([wrap(a) for a in arrays])
        return constants if isinstance(result, tuple) else constants[0]
    with no_grad():
        many = isinstance(result, tuple)
        value = _pack("checkpoint", arrays)[0] if many else arrays[0]
    out = wrap(value)
    out.requires_grad = True
    node = out._node = Node()
    node.name, node.rule, node.inputs, node.needs, node.output = "checkpoint", _recompute, (), (), None
    node.saved = (function, position, value.shape, args)
    node.sequence = tick()
    return _unpack(out, tuple(a.shape for a in arrays)) if many else out


def _recompute(node: Any, function: Any, position: Any, shape: Any, args: Any) -> Tensor:
    """The checkpointed result again, taped; the pass goes on from there."""
    from .ops import concat, reshape
    from .ops.random import stream

    for a in args:
        if isinstance(a, Tensor) and a._written > node.sequence:
            raise overwritten(node, a)
    start = tick()
    now = stream.key, stream.counter
    stream.seed(*position)
    try:
        with enable_grad():
            result = function(*args)
            if isinstance(result, tuple):
                result = concat([reshape(r, (-1,)) for r in result])
    finally:
        stream.seed(*now)
    if not isinstance(result, Tensor) or result.shape != shape or not result.requires_grad:
        got = f"shape {result.shape}" if isinstance(result, (Tensor, np.ndarray)) else type(result).__name__
        raise RuntimeError(
            f"checkpoint: expected the second run to give a tensor of shape {shape} with a gradient, got {got}"
        )
    _check_unwritten(node, result, start)
    return result


def _check_unwritten(node: Node, result: Tensor, start: int) -> None:
    """Raises when an op of the second run (after `start`) uses a tensor written since the first run, before it."""
    todo, seen = [result._node], set()
    while todo:
        n = todo.pop()
        if n is None or n in seen or n.sequence < start:
            continue
        seen.add(n)
        for s in (*n.inputs, *(n.saved or ())):
            if isinstance(s, Tensor):
                if node.sequence < s._written < start:
                    raise overwritten(node, s)
                todo.append(s._node)
