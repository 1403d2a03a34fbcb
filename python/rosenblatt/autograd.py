"""Reverse-mode automatic differentiation on a tape of coarse ops.

Every op returns through `record`. When an input wants a gradient the result gets a `Node`: the op's gradient rule,
what the rule needs, and a sequence number. `backward` visits the reachable nodes by falling sequence number, which is a
topological order, so nothing recurses and each node is visited once.

A gradient rule is `rule(g, needs, *saved) -> tuple of gradients`, one per input, `None` where `needs` is False. Rules
are written with `rosenblatt.ops`: with plain arrays they just compute; with tensors (`create_graph=True`) they are
taped again, which is how second-order gradients come about.

Griewank & Walther, "Evaluating Derivatives" (2008), chapter 3.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .tensor import Array, Tensor, float_array, wrap

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[..., tuple[Any, ...]]


class _State(threading.local):
    enabled = True


_state = _State()
_sequence = itertools.count()


class _Output:
    """Stands for the op's own result in `saved`, so that a node does not keep its tensor alive in a cycle."""


OUT = _Output()


class Node:
    """One taped op: `inputs` are the tensors that want gradients (None elsewhere)."""

    __slots__ = ("inputs", "name", "output", "rule", "saved", "sequence")

    def __init__(self, name: str, rule: Rule, inputs: tuple[Tensor | None, ...], saved: tuple[Any, ...] | None) -> None:
        self.name = name
        self.rule = rule
        self.inputs = inputs
        self.saved = saved
        self.output: Array | None = None
        self.sequence = next(_sequence)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class no_grad:
    """Context manager and decorator: ops inside record nothing.

    >>> with rb.no_grad():
    ...     y = model(x)
    """

    _value = False

    def __enter__(self) -> None:
        self._previous = _state.enabled
        _state.enabled = self._value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _state.enabled = self._previous

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        import functools

        cls = type(self)

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with cls():
                return function(*args, **kwargs)

        return wrapper


class enable_grad(no_grad):
    """The opposite of `no_grad`, for use inside it."""

    _value = True


def is_grad_enabled() -> bool:
    """Whether ops on this thread are being recorded (see `no_grad`)."""
    return _state.enabled


def record(name: str, result: Array, rule: Rule, inputs: tuple[Any, ...], saved: tuple[Any, ...]) -> Any:
    """`result` as a tensor with its node when an input is a tensor, or unchanged when all are plain arrays."""
    taped = False
    wanted = False
    for x in inputs:
        if isinstance(x, Tensor):
            taped = True
            if x.requires_grad:
                wanted = True
                break
    if not taped:
        return result
    out = wrap(result)
    if wanted and _state.enabled:
        node = Node(
            name, rule, tuple([x if isinstance(x, Tensor) and x.requires_grad else None for x in inputs]), saved
        )
        for s in saved:
            if s is OUT:
                node.output = result
                break
        out._node = node
        out.requires_grad = True
    return out


def _seed_gradient(root: Tensor, grad: Any) -> Array:
    if grad is None:
        if root.size != 1:
            raise ValueError(
                f"backward: a gradient must be given for a tensor of shape {root.shape} (only one element needs none)"
            )
        return np.ones(root.shape, root.dtype)
    array = float_array("backward", grad, root.dtype)
    if array.shape != root.shape:
        raise ValueError(f"backward: expected a gradient of shape {root.shape}, got {array.shape}")
    return array


def _run(
    roots: Sequence[tuple[Tensor, Any]],
    retain_graph: bool,
    create_graph: bool,
    leaf: Callable[[Tensor, Any], None],
    watched: dict[Node, Callable[[Any], None]],
) -> None:
    from .ops.elementwise import add, astype

    pending: dict[Node, Any] = {}
    heap: list[tuple[int, Node]] = []

    def deliver(t: Tensor, g: Any) -> None:
        if g.dtype is not t.data.dtype and g.dtype != t.data.dtype:  # the op promoted its inputs to one dtype
            g = astype(g, t.data.dtype)
        node = t._node
        if node is None:
            leaf(t, g)
        elif node in pending:
            pending[node] = add(pending[node], g)
        else:
            pending[node] = g
            heapq.heappush(heap, (-node.sequence, node))

    for root, g in roots:
        deliver(root, g)
    while heap:
        node = heapq.heappop(heap)[1]
        g = pending.pop(node)
        if node in watched:
            watched[node](g)
        saved = node.saved
        if saved is None:
            raise RuntimeError(
                f"backward: the graph of {node.name} was freed by an earlier backward; retain_graph=True keeps it"
            )
        if create_graph:
            if node.output is not None:
                y = wrap(node.output)
                y._node, y.requires_grad = node, True
                saved = tuple([y if s is OUT else s for s in saved])
        else:
            output = node.output
            saved = tuple([s.data if isinstance(s, Tensor) else (output if s is OUT else s) for s in saved])
        needs = tuple([t is not None for t in node.inputs])
        grads = node.rule(g, needs, *saved)
        for t, gt in zip(node.inputs, grads, strict=True):
            if t is not None and gt is not None:
                deliver(t, gt)
        if not retain_graph:
            node.saved = None
            node.output = None
            node.inputs = ()


def backward(root: Tensor, grad: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """See `Tensor.backward`."""
    if not root.requires_grad:
        raise RuntimeError("backward: this tensor depends on nothing that requires a gradient")
    from .ops.elementwise import add

    seed = _seed_gradient(root, grad)

    handed_out = {id(seed): seed}

    def leaf(t: Tensor, g: Any) -> None:
        value = g if isinstance(g, Tensor) else wrap(g)
        if t.grad is not None:
            value = add(t.grad, value)
        elif not create_graph:
            # `.grad` is the user's to change: it never shares memory with another gradient or a view.
            array = value.data
            if id(array) in handed_out or isinstance(array.base, np.ndarray):
                value = wrap(array.copy())
            else:
                handed_out[id(array)] = array
        t.grad = value

    with (enable_grad if create_graph else no_grad)():
        _run([(root, wrap(seed) if create_graph else seed)], retain_graph or create_graph, create_graph, leaf, {})


def grad(
    outputs: Tensor, inputs: Sequence[Tensor] | Tensor, grad_output: Any = None, create_graph: bool = False,
    retain_graph: bool | None = None,
) -> tuple[Tensor, ...]:
    """Gradients of `outputs` with respect to each of `inputs`, without touching any `.grad`.

    An input that `outputs` does not depend on gets zeros. With `create_graph=True` the results can be differentiated
    again. Raises RuntimeError when `outputs` has no graph.
    """
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not outputs.requires_grad:
        raise RuntimeError("grad: outputs depend on nothing that requires a gradient")
    from .ops.elementwise import add

    seed = _seed_gradient(outputs, grad_output)
    found: dict[int, Any] = {}

    def leaf(t: Tensor, g: Any) -> None:
        key = id(t)
        found[key] = add(found[key], g) if key in found else g

    def watch(t: Tensor) -> Callable[[Any], None]:
        def put(g: Any) -> None:
            found[id(t)] = g

        return put

    watched = {t._node: watch(t) for t in wanted if t._node is not None}
    keep = create_graph if retain_graph is None else retain_graph
    with (enable_grad if create_graph else no_grad)():
        _run([(outputs, wrap(seed) if create_graph else seed)], keep or create_graph, create_graph, leaf, watched)
    result = []
    for t in wanted:
        g = found.get(id(t))
        if g is None:
            g = np.zeros(t.shape, t.dtype)
        result.append(g if isinstance(g, Tensor) else wrap(g))
    return tuple(result)


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[Any],
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    directions: int = 3,
    seed: int = 0,
) -> float:
    """Compares `function`'s gradients with central differences along random directions, in float64.

    Parameters
    ----------
    function : callable taking tensors of the shapes of `inputs` and returning one tensor
    inputs : array_likes; each is converted to float64 and differentiated
    eps, rtol, atol : step and tolerances: |numeric - analytic| <= atol + rtol * max(|numeric|, |analytic|)
    directions : how many random directions per input

    Returns the largest error relative to its tolerance (<= 1). Raises ValueError when one exceeds it.
    """
    rng = np.random.default_rng(seed)
    arrays = [np.array(x.data if isinstance(x, Tensor) else x, np.float64) for x in inputs]

    def value(values: Sequence[Array]) -> Array:
        # Differentiable inputs, so that `function` may itself call `grad` (second-order checks).
        return np.asarray(function(*[Tensor(v, requires_grad=True) for v in values]).data, np.float64)

    tensors = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    out = function(*tensors)
    weight = rng.standard_normal(out.shape)
    grads = grad(out, tensors, weight)
    worst = 0.0
    for i, a in enumerate(arrays):
        for _ in range(directions):
            d = rng.standard_normal(a.shape)
            norm = np.sqrt((d * d).sum())
            if norm > 0:
                d /= norm
            plus = value([v + eps * d if j == i else v for j, v in enumerate(arrays)])
            minus = value([v - eps * d if j == i else v for j, v in enumerate(arrays)])
            numeric = float((weight * (plus - minus)).sum() / (2 * eps))
            analytic = float((grads[i].data * d).sum())
            error = abs(numeric - analytic) / (atol + rtol * max(abs(numeric), abs(analytic)))
            if not error <= 1.0:
                raise ValueError(
                    f"gradcheck: input {i} of shape {a.shape}: analytic slope {analytic:.10g}, "
                    f"numeric {numeric:.10g} (error {error:.3g} times the tolerance)"
                )
            worst = max(worst, error)
    return worst
