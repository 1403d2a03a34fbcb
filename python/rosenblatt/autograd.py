"""Reverse-mode automatic differentiation on a tape of coarse ops.

Every op returns through `record`. When an input wants a gradient the result gets a `Node`: the op's gradient rule,
what the rule needs, and a sequence number. `backward` visits the reachable nodes by falling sequence number, which is a
topological order, so nothing recurses and each node is visited once.

A gradient rule is `rule(g, needs, *saved) -> tuple of gradients`, one per input, `None` where `needs` is False. Rules
are written with `rosenblatt.ops`: with plain arrays they just compute; with tensors (`create_graph=True`) they are
taped again, which is how second-order gradients come about.

Saved tensors are not copied. A tensor that was written between forward and backward (an optimiser step,
`load_state_dict`, assigning `t.data`, `t.data -= ...`) is noticed through its time stamp; writes through NumPy into
`t.data[...]` leave no trace and are found by `detect_anomaly` only.

Griewank & Walther, "Evaluating Derivatives" (2008), chapter 3.
"""

from __future__ import annotations

import linecache
import os
import sys
import weakref
import zlib
from collections.abc import Callable, Iterable, Sequence
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from . import _core
from .tensor import Array, Tensor, float_array, tick, wrap

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[..., Any]
Hook = Callable[[Tensor], "Tensor | Array | None"]


PROBING = "probing"  # ops mark what wants a gradient but keep nothing (see `custom.checkpoint`)
_MODES = (False, True, PROBING)  # as `_core.grad_mode` numbers them


class State:
    """Whether ops of this thread are taped: True, False or PROBING."""

    __slots__ = ()

    @property
    def enabled(self) -> Any:
        return _MODES[_core.grad_mode()]

    @enabled.setter
    def enabled(self, value: Any) -> None:
        _core.set_grad_mode(_MODES.index(value))


state = State()


class _Output:
    """Stands for the op's own result in `saved`, so that a node does not keep its tensor alive in a cycle."""


OUT = _Output()

# Node: one taped op. record(name, result, rule, inputs, saved): `result` as a tensor with its node when an input is a
# tensor, or unchanged when all are plain arrays. Both, and the pass itself, are in cpp/bind/tape.cpp.
Node = _core.Node
record = _core.record


class no_grad:
    """Context manager and decorator: ops inside record nothing.

    >>> with rb.no_grad():
    ...     y = model(x)
    """

    _value = 0

    def __init__(self) -> None:
        self._previous: list[int] = []  # of each block that is open: one object may be entered again

    def __enter__(self) -> None:
        self._previous.append(_core.set_grad_mode(self._value))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _core.set_grad_mode(self._previous.pop())

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

    _value = 1


def is_grad_enabled() -> bool:
    """Whether ops on this thread are being recorded (see `no_grad`)."""
    return _core.grad_mode() != 0


def mark_written(tensors: Iterable[Tensor]) -> None:
    """Says that the arrays of `tensors` were just changed in place.

    A backward pass through an op that saved one of them before raises RuntimeError. Optimisers and `load_state_dict`
    call this; so should code that writes into `t.data[...]` itself.
    """
    now = tick()
    for t in tensors:
        t._written = now


# --- hooks

_hooks: weakref.WeakKeyDictionary[Tensor | Node, list[Hook]] = weakref.WeakKeyDictionary()
# The dict inside: empty when `_hooks` is, and asked without a Python call.
_any_hooks: dict[Any, Any] = _hooks.data  # type: ignore[attr-defined]


class HookHandle:
    """What `register_hook` returns; `remove()` takes the hook away (twice is no error)."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        for i, h in enumerate(self._hooks):
            if h is self._hook:
                del self._hooks[i]
                return


def register_hook(tensor: Tensor, hook: Hook) -> HookHandle:
    """See `Tensor.register_hook`. The hook of a computed tensor lives as long as its node."""
    if not callable(hook):
        raise TypeError(f"register_hook: expected a function of the gradient, got {type(hook).__name__}")
    if not tensor.requires_grad:
        raise RuntimeError("register_hook: this tensor requires no gradient")
    own = _hooks.setdefault(tensor if tensor._node is None else tensor._node, [])

    def call(g: Tensor) -> Any:  # one of its own, so that the same function may be registered twice
        return hook(g)

    own.append(call)
    return HookHandle(own, call)


def _call_hooks(key: Tensor | Node, g: Any) -> Any:
    """The gradient g (array, or tensor when taped) after the hooks of a leaf or node, of the same kind and shape."""
    for hook in tuple(_hooks.get(key, ())):
        taped = isinstance(g, Tensor)
        given = g if taped else wrap(g)
        back = hook(given)
        if back is None or back is given:
            continue
        array = float_array("hook", back)
        if array.shape != g.shape:
            raise ValueError(f"hook of {_name_of(key)}: expected a gradient of shape {g.shape}, got {array.shape}")
        if taped and isinstance(back, Tensor) and back.dtype == given.dtype:
            g = back
        else:  # a copy: the array may be the caller's own, and `.grad` shares memory with nothing
            array = _copy(array) if array.dtype == g.dtype else _astype(array, g.dtype)
            g = wrap(array) if taped else array
    return g


def _name_of(key: Tensor | Node) -> str:
    return f"the result of {key.name}" if isinstance(key, Node) else f"a leaf of shape {key.shape}"


# --- the pass

_add: Any = None


def use_ops(add: Any, astype: Any, copy: Any) -> None:
    """The ops the pass itself calls, handed over by `ops.elementwise`, which this module cannot import."""
    global _add, _astype, _copy
    _add, _astype, _copy = add, astype, copy
    _core.tape_use({"add": add, "astype": astype, "copy": copy})


_astype: Any = None
_copy: Any = None


def _seed_gradient(root: Tensor, grad: Any) -> Array:
    if grad is None:
        if root._data.size != 1:
            raise ValueError(
                f"backward: a gradient must be given for a tensor of shape {root.shape} (only one element needs none)"
            )
        return np.ones(root.shape, root.dtype) if root.shape else SEEDS[root.dtype]
    array = float_array("backward", grad, root.dtype)
    if array.shape != root.shape:
        raise ValueError(f"backward: expected a gradient of shape {root.shape}, got {array.shape}")
    return array


def _unit(dtype: Any) -> Array:
    one = np.ones((), dtype)
    one.flags.writeable = False
    return one


SEEDS = {np.dtype(t): _unit(t) for t in (np.float32, np.float64)}


def _freed(node: Node) -> RuntimeError:
    return RuntimeError(
        f"backward: the graph of {node.name} was freed by an earlier backward; retain_graph=True keeps it"
    )


def overwritten(node: Node, t: Tensor) -> RuntimeError:
    return RuntimeError(
        f"backward: a tensor of shape {t.shape} that {node.name} saved was written after the forward pass "
        "(by an optimiser step, load_state_dict or an assignment to .data); its gradient would be wrong"
    )


_core.tape_use(
    {
        "OUT": OUT, "hooks": _any_hooks, "hooked": _hooks.__contains__, "call_hooks": _call_hooks, "freed": _freed,
        "overwritten": overwritten,
    }
)  # fmt: skip


def _run(
    root: Tensor, seed: Array, retain_graph: bool, create_graph: bool, leaf: Callable[[Tensor, Any], None] | None,
    watched: dict[Node, Callable[[Any], None]] | None,
) -> None:
    """Carries `seed` from `root` to the leaves: leaf(t, gradient) for each use, watched[node](gradient) once.

    Without `leaf` the gradients are added to `.grad`, which never shares memory with another gradient or a view.
    """
    anomaly = _anomaly if _anomaly.depth else None
    _core.run_backward(root, seed, retain_graph or create_graph, create_graph, leaf, watched, anomaly)


def backward(root: Tensor, grad: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """See `Tensor.backward`."""
    if not root.requires_grad:
        raise RuntimeError("backward: this tensor depends on nothing that requires a gradient")
    seed = _seed_gradient(root, grad)
    _run(root, seed, retain_graph, create_graph, None, None)


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
    seed = _seed_gradient(outputs, grad_output)
    found: dict[int, Any] = {}
    leaves = {id(t) for t in wanted}

    def leaf(t: Tensor, g: Any) -> None:
        key = id(t)
        if key in leaves:
            found[key] = _add(found[key], g) if key in found else g

    def watch(t: Tensor) -> Callable[[Any], None]:
        def put(g: Any) -> None:
            found[id(t)] = g

        return put

    watched = {t._node: watch(t) for t in wanted if t._node is not None}
    _run(outputs, seed, bool(retain_graph), create_graph, leaf, watched)
    result = []
    for t in wanted:
        g = found.get(id(t))
        if g is None:
            g = np.zeros(t.shape, t.dtype)
        elif isinstance(g, np.ndarray) and not g.flags.writeable:  # the seed of a scalar is shared
            g = g.copy()
        result.append(g if isinstance(g, Tensor) else wrap(g))
    return tuple(result)


# --- looking for trouble


class _Anomaly:
    """State of `detect_anomaly`: where each node was made and what the arrays it saved looked like."""

    def __init__(self) -> None:
        self.depth = 0
        self.made: weakref.WeakKeyDictionary[Node, tuple[str, list[int]]] = weakref.WeakKeyDictionary()

    def note(self, node: Node) -> None:
        self.made[node] = (_caller(), _checksums(node))

    def where(self, node: Node) -> str:
        known = self.made.get(node)
        return f"{node.name}, called at {known[0]}" if known else f"{node.name}, called before detect_anomaly"

    def check(self, node: Node) -> None:
        known = self.made.get(node)
        if known is not None and _checksums(node) != known[1]:
            raise RuntimeError(
                f"backward: an array saved by {self.where(node)} was changed in place after the forward pass"
            )

    def inspect(self, node: Node, g: Any, grads: tuple[Any, ...]) -> None:
        if not _finite(g):
            raise RuntimeError(f"backward: the gradient flowing into {self.where(node)} is not finite")
        for i, each in enumerate(grads):
            if each is not None and not _finite(each):
                kind = "NaN" if np.isnan(_raw(each)).any() else "infinite"
                raise RuntimeError(
                    f"backward: the gradient of {self.where(node)} became {kind} with respect to input {i}"
                )


def _raw(x: Any) -> Array:
    array: Array = x._data if isinstance(x, Tensor) else x
    return array


def _finite(x: Any) -> bool:
    return bool(np.isfinite(_raw(x)).all())


def _checksums(node: Node) -> list[int]:
    found = []
    for s in (*(node.saved or ()), node.output):
        if isinstance(s, (Tensor, np.ndarray)):
            found.append(zlib.crc32(np.ascontiguousarray(_raw(s)).tobytes()))
    return found


_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def _caller() -> str:
    """'file:line in function: source' of the innermost frame outside this package (or the outermost inside it)."""
    frame: FrameType | None = sys._getframe(1)
    last = frame
    while frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_PACKAGE):
        last, frame = frame, frame.f_back
    found = frame or last
    assert found is not None
    file, line = found.f_code.co_filename, found.f_lineno
    source = linecache.getline(file, line).strip()
    return f"{file}:{line} in {found.f_code.co_name}" + (f": {source}" if source else "")


_anomaly = _Anomaly()


class detect_anomaly:
    """Context manager for debugging: backward passes inside name the op, and the line that called it, whose gradient
    was the first to become NaN or infinite, or whose saved arrays were written in place after the forward pass.

    Both passes must be inside. Every saved array is summed twice and every op's caller looked up, so it is slow; it
    concerns all threads.

    >>> with rb.detect_anomaly():
    ...     loss_of(model(x)).backward()
    """

    def __enter__(self) -> None:
        _anomaly.depth += 1
        _core.watch_nodes(_anomaly.note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _anomaly.depth -= 1
        if not _anomaly.depth:
            _core.watch_nodes(None)
            _anomaly.made.clear()


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
