"""`Module`: parameters, sub-modules and a `forward`, by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import _capture
from ..autograd import HookHandle, mark_written
from ..tensor import Array, Parameter, Tensor, float_array

if TYPE_CHECKING:
    from ..train import History, Summary

Observer = Callable[["Module", Any, Any], None]
ForwardHook = Callable[["Module", tuple[Any, ...], Any], Any]
_observers: list[Observer] = []
_version = 0  # of the structure of all modules: grows with every parameter or module that is set or removed


def _restructured() -> None:
    global _version
    _version += 1


class Symbol:
    """What stands for a tensor that is not computed yet (see `nn.graph`): modules hand calls with it over to it."""

    __slots__ = ()

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise TypeError(f"{type(self).__name__} defines no call")


class Module:
    """Base class of layers and networks.

    Assign `Parameter`s and `Module`s as attributes and write `forward`; everything else follows: `parameters()`,
    `state_dict()`, `train()`/`eval()`, `summary()`, `fit()`, `predict()`, `evaluate()`.
    """

    # Axes of each own parameter on disk (PyTorch's layout) in terms of its axes in memory; missing: the same.
    disk_layout: ClassVar[dict[str, tuple[int, ...]]] = {}

    # Own buffers that count something: whole numbers (int64) on disk, as PyTorch writes them.
    disk_integers: ClassVar[tuple[str, ...]] = ()

    _parameters: dict[str, Parameter]
    _buffers: dict[str, Tensor]
    _modules: dict[str, Module]
    _forward_hooks: list[ForwardHook]
    training: bool

    def __init__(self) -> None:
        self._ready()

    def _ready(self) -> None:
        if "_parameters" not in self.__dict__:
            object.__setattr__(self, "_parameters", {})
            object.__setattr__(self, "_buffers", {})
            object.__setattr__(self, "_modules", {})
            object.__setattr__(self, "_forward_hooks", [])
            object.__setattr__(self, "training", True)

    # --- attributes
    def __setattr__(self, name: str, value: Any) -> None:
        self._ready()
        for registry in (self._parameters, self._buffers, self._modules):
            if registry.pop(name, None) is not None:
                _restructured()
                if registry is self._buffers and type(value) is Tensor:
                    self._buffers[name] = value
        if isinstance(value, (Parameter, Module)):
            _restructured()
        if isinstance(value, Parameter):
            self._parameters[name] = value
        elif isinstance(value, Module):
            self._modules[name] = value
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _restructured()
        self._parameters.pop(name, None)
        self._buffers.pop(name, None)
        self._modules.pop(name, None)
        object.__delattr__(self, name)

    def register_buffer(self, name: str, value: Any) -> None:
        """Keeps a float array as a tensor under that name: state that is saved with the weights but not trained.

        Write into it in place, by ops alone (`ops.norm.store`), so that captured steps repeat the write. Raises
        ValueError for a name that is taken or no attribute name.
        """
        self._ready()
        if not name.isidentifier() or (hasattr(self, name) and name not in self._buffers):
            raise ValueError(f"{type(self).__name__}.register_buffer: the name {name!r} is taken or no attribute name")
        self._parameters.pop(name, None)
        self._buffers[name] = buffer = Tensor(float_array(f"{type(self).__name__}.{name}", value))
        _restructured()
        object.__setattr__(self, name, buffer)

    # --- calling
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Symbol):
            return args[0].call(self, args, kwargs)
        try:
            result = self.forward(*args, **kwargs)
        except (ValueError, TypeError) as error:
            self._locate(error)
            raise
        if self._forward_hooks:
            for hook in tuple(self._forward_hooks):
                replaced = hook(self, args, result)
                if replaced is not None:
                    result = replaced
        record = _capture.recording()
        if record is not None:
            record.note_module(self)
        for observe in _observers:
            observe(self, args[0] if args else None, result)
        return result

    def register_forward_hook(self, hook: ForwardHook) -> HookHandle:
        """Calls `hook(module, args, output)` after every `forward`; what it returns, unless None, is the output.

        The handle's `remove()` takes the hook away. Raises TypeError when it cannot be called.
        """
        if not callable(hook):
            raise TypeError(
                f"{type(self).__name__}: expected a function of module, args and output, got {type(hook).__name__}"
            )

        def call(module: Module, args: tuple[Any, ...], output: Any) -> Any:  # registered twice means called twice
            return hook(module, args, output)

        self._forward_hooks.append(call)
        return HookHandle(self._forward_hooks, call)

    def _locate(self, error: Exception) -> None:
        """Prefixes the error's message with the path of the layer it came from."""
        trail: list[Module] = getattr(error, "_rb_trail", [])
        message = getattr(error, "_rb_message", str(error))
        trail.insert(0, self)
        names = []
        for parent, child in itertools.pairwise(trail):
            names.append(next((n for n, m in parent._modules.items() if m is child), type(child).__name__))
        where = ".".join(names)
        leaf = type(trail[-1]).__name__
        error._rb_trail, error._rb_message = trail, message  # type: ignore[attr-defined]
        error.args = (f"layer {where} ({leaf}): {message}" if where else f"{leaf}: {message}",)

    # --- walking
    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted path, module) for this module ("") and every one below, each once, in order of assignment."""
        yield from self._walk(prefix, set())

    def _walk(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            yield from child._walk(f"{prefix}.{name}" if prefix else name, seen)

    def _members(self) -> tuple[int, list[Module], list[Parameter]]:
        """All modules and parameters, remembered until the structure of some module changes."""
        known: tuple[int, list[Module], list[Parameter]] | None = self.__dict__.get("_flat")
        if known is None or known[0] != _version:
            modules = [m for _, m in self.named_modules()]
            known = (_version, modules, [p for _, p in self.named_parameters()])
            object.__setattr__(self, "_flat", known)
        return known

    def modules(self) -> Iterator[Module]:
        return iter(self._members()[1])

    def children(self) -> Iterator[Module]:
        yield from self._modules.values()

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), a shared parameter once under its first name."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, p in module._parameters.items():
                if id(p) not in seen:
                    seen.add(id(p))
                    yield (f"{path}.{name}" if path else name), p

    def parameters(self) -> Iterator[Parameter]:
        return iter(self._members()[2])

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer): state that is no parameter, such as running statistics."""
        for path, module in self.named_modules():
            for name, b in module._buffers.items():
                yield (f"{path}.{name}" if path else name), b

    def buffers(self) -> Iterator[Tensor]:
        for _, b in self.named_buffers():
            yield b

    def num_parameters(self) -> int:
        return sum(p.size for p in self.parameters())

    def zero_grad(self) -> None:
        for p in self.parameters():
            p.grad = None

    def train(self, mode: bool = True) -> Module:
        """Switches dropout and the like on (or off); returns self."""
        for module in self.modules():
            object.__setattr__(module, "training", bool(mode))
        return self

    def eval(self) -> Module:
        return self.train(False)

    def requires_grad_(self, mode: bool = True) -> Module:
        """Freezes (False) or unfreezes every parameter; returns self."""
        for p in self.parameters():
            p.requires_grad = bool(mode)
        return self

    def astype(self, dtype: Any) -> Module:
        """Converts every parameter and buffer (but for counts) to float32 or float64 in place; returns self."""
        from ..ops import astype

        for p in self.parameters():
            p.data = astype(p.data, dtype)
            p.grad = None
        for module in self.modules():
            for name, b in module._buffers.items():
                if name not in module.disk_integers:
                    b.data = astype(b.data, dtype)
        return self

    # --- state
    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers by dotted name, in memory layout (files convert: `rosenblatt.io`)."""
        return {name: t.data.copy() for name, t in self._state()}

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.named_parameters()
        yield from self.named_buffers()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copies the arrays into parameters and buffers. All names and shapes are checked before anything is written.

        Raises ValueError listing missing and unknown names, or the first shape that differs.
        """
        own = dict(self._state())
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unknown:
            raise ValueError(f"load_state_dict: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
        arrays = {name: np.asarray(value) for name, value in state.items()}
        for name, p in own.items():
            if arrays[name].shape != p.shape:
                raise ValueError(f"load_state_dict: {name}: expected shape {p.shape}, got {arrays[name].shape}")
            if arrays[name].dtype.kind not in "fiu":
                raise TypeError(f"load_state_dict: {name}: expected real numbers, got {arrays[name].dtype}")
        for name, p in own.items():
            p.data[...] = arrays[name]
        mark_written(own.values())

    # --- the one-line way (rosenblatt.train)
    def fit(self, x: Any, y: Any, **options: Any) -> History:
        """Trains on arrays x [N,...] and y [N,...]; see `rosenblatt.train.fit` for the options."""
        from ..train import fit

        return fit(self, x, y, **options)

    def predict(self, x: Any, batch_size: int = 256, capture: bool = True) -> Array:
        """Outputs for x [N,...] as one array, in evaluation mode, no tape; replayed natively unless `capture=False`."""
        from ..train import predict

        return predict(self, x, batch_size, capture)

    def evaluate(self, x: Any, y: Any, **options: Any) -> dict[str, float]:
        """{"loss": ..., and "accuracy": ... for integer labels}; see `rosenblatt.train.evaluate`."""
        from ..train import evaluate

        return evaluate(self, x, y, **options)

    def summary(self, input_shape: tuple[int, ...]) -> Summary:
        """Layers, output shapes, parameters, multiply-adds and receptive fields for one input of `input_shape`.

        The shape is that of one example, without the batch axis.
        """
        from ..train import summary

        return summary(self, input_shape)

    def macs(self, output_shape: tuple[int, ...]) -> int:
        """Multiply-adds of this layer alone (children excluded) for an output of this shape."""
        return 0

    def window(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[tuple[int, int | Fraction], ...]:
        """(extent, step) along each spatial axis, for shapes without the batch axis: how many neighbouring inputs an
        output depends on, and how far apart those of neighbouring outputs begin. () means position by position."""
        return ()

    def extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        head = f"{type(self).__name__}({self.extra_repr()}"
        if not self._modules:
            return head + ")"
        lines = [f"  ({n}): " + repr(m).replace("\n", "\n  ") for n, m in self._modules.items()]
        return head + "\n" + "\n".join(lines) + "\n)"
