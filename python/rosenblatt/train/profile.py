"""`rb.profile`: time, memory and arithmetic of every layer and kernel, forward and backward.

Nothing of this costs anything while no profile is open: opening one puts timed stand-ins in the place of
`Module.__call__`, `Tensor.backward` and the kernels, and closing it puts the originals back. The backward time of a
layer runs from the moment its output's gradient is whole (a hook says so) until the pass turns to another layer.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from .. import _core, autograd, ops
from .._config import get_num_threads
from .._options import whole
from ..nn.losses import Loss
from ..nn.module import Module, _observers
from ..ops.random import stream
from ..optim import Optimizer
from ..tensor import Array, Tensor, wrap
from .fit import _default_loss, _inputs, _targets

__all__ = ["LayerProfile", "OpProfile", "Profile", "profile"]

OUTSIDE = "(outside)"  # what no layer called: a loss that is a function, the optimiser's update
_now = time.perf_counter_ns


@dataclass
class LayerProfile:
    """One layer without the layers inside it; sums over all calls while the profile was open.

    Attributes
    ----------
    name, kind : path in the model and class
    calls : of `forward`
    forward, backward : seconds, Python included
    output_bytes : of the arrays that `forward` returned
    kept_bytes : by how much the memory in use grew from the begin to the end of `forward`: the output and what the
        backward pass will need
    flops : arithmetic of its kernels in both directions
    """

    name: str
    kind: str
    calls: int = 0
    forward: float = 0.0
    backward: float = 0.0
    output_bytes: int = 0
    kept_bytes: int = 0
    flops: int = 0

    @property
    def seconds(self) -> float:
        return self.forward + self.backward


@dataclass
class OpProfile:
    """One kernel in one layer and direction: the implementation, calls, seconds, arithmetic, bytes of operands.

    phase : "forward", "backward", or "other" for what is neither inside a layer nor in a backward pass
    """

    op: str
    impl: str
    layer: str
    phase: str
    calls: int = 0
    seconds: float = 0.0
    flops: int = 0
    bytes: int = 0


# --- arithmetic per kernel

# Operations per element of the largest operand where they are not 1; a softmax is maximum, difference, exp, sum, ratio.
_PER_ELEMENT = {
    "copy": 0,
    "fill": 0,
    "cast": 0,
    "one_hot": 0,
    "max_pool_gather": 0,
    "pad": 0,
    "unfold": 0,
    "uniform": 0,
    "normal": 0,
    "relu_dx": 1,
    "tanh_dx": 3,
    "sigmoid_dx": 3,
    "bias_act_dx": 3,
    "softmax": 5,
    "log_softmax": 5,
    "softmax_dx": 4,
    "log_softmax_dx": 4,
    "softmax_xent": 5,
    "softmax_xent_dx": 2,
    "dropout": 2,
    "warp_affine": 8,
    "sgd_update": 4,
    "adam_update": 12,
    "nesterov_update": 4,
    "adagrad_update": 5,
    "rmsprop_update": 7,
    "adadelta_update": 9,
    "delta_bar_delta_update": 8,
}


def _operands(name: str, args: tuple[Any, ...]) -> dict[str, Any]:
    return {entry[0]: value for entry, value in zip(_fields[name], args, strict=False)}


def _flops(name: str, args: tuple[Any, ...]) -> int:
    """Floating-point operations of one call: a multiply-add counts 2; bias and fused activations are not counted."""
    if name == "gemm":
        return 2 * int(args[3].size) * int(args[0].shape[-1])  # c [..., M,N], a [..., M,K]
    a = _operands(name, args)
    kernel, output = a.get("dw", a.get("w")), a.get("y", a.get("dy"))
    if name.startswith("conv") and isinstance(kernel, np.ndarray) and isinstance(output, np.ndarray):
        return (
            2 * int(output.size) * int(kernel.size // max(len(kernel), 1))
        )  # kernel [K,R,S,C/groups], output [N,P,Q,K]
    if name in ("max_pool_dx", "max_unpool"):
        return int(args[0].size)
    if "kernel_h" in a and isinstance(output, np.ndarray):  # pooling, one operation per element of a window
        if a["adaptive"]:
            return int(max(x.size for x in args if isinstance(x, np.ndarray)))
        return int(output.size) * int(a["kernel_d"]) * int(a["kernel_h"]) * int(a["kernel_w"])
    sizes = [x.size for x in args if isinstance(x, np.ndarray)]
    return _PER_ELEMENT.get(name, 1) * int(max(sizes, default=0))


_fields: dict[str, list[tuple[str, str, str, str, bool, bool]]] = _core.op_table()
_peaks: dict[int, float] = {}


def gemm_speed(size: int = 512, trials: int = 8) -> float:
    """GFLOP/s of our float32 matrix product of `size` squared with the present number of threads, best of `trials`."""
    threads = get_num_threads()
    if threads not in _peaks:
        a, y = ops.ones((size, size)), ops.zeros((size, size))
        best = float("inf")
        for _ in range(trials):
            begun = _now()
            _core.gemm(a, a, None, y, 1.0, 0.0, 0)
            best = min(best, (_now() - begun) * 1e-9)
        _peaks[threads] = 2e-9 * size**3 / best
    return _peaks[threads]


# --- the stand-ins

_open: Profile | None = None


@dataclass
class _Frame:
    """A layer that is running its `forward`; `inner_*` is what the layers inside it took."""

    row: LayerProfile
    begun: int
    live: int
    inner_time: int = 0
    inner_live: int = 0


def _live() -> int:
    return _core.pool_stats()["live_bytes"]


_NATIVE = ("product", "update_all")  # functions of the core that make kernel calls themselves


def _calls(name: str, args: tuple[Any, ...], result: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """The kernel calls, (op, arguments), that a function of the core made."""
    if name == "product":
        return [] if result is None else [("gemm", (*args, None, result, 1.0, 0.0, 0))]
    if name == "update_all":
        op, tensors, states, scalars = args
        both = zip(tensors, states, strict=True)
        return [(op, (t.data, t.grad.data, *own, *scalars)) for t, own in both if t.grad is not None]
    return [(name, args)]


def _is_kernel(value: Any) -> bool:
    name = getattr(value, "__name__", None)
    if not isinstance(name, str) or not (name in _fields or name in _NATIVE):
        return False
    return callable(value) and value is getattr(_core, name, None)


@dataclass
class Profile:
    """What `profile` returns: a context manager, and afterwards the tables. `str(p)` is the report as text.

    Attributes
    ----------
    rows : `LayerProfile`s, the slowest first; ops : `OpProfile`s, likewise
    seconds : from opening to closing; peak_bytes : the most memory in use by arrays of ours meanwhile
    peak : GFLOP/s that percentages refer to; peak_from : "given", or how it was measured
    """

    model: Module
    peak: float = 0.0
    peak_from: str = "given"
    steps: int = 0
    threads: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    _rows: dict[str, LayerProfile] = field(default_factory=dict, repr=False)
    _ops: dict[tuple[str, str, str, str], OpProfile] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> list[LayerProfile]:
        shown = [r for r in self._rows.values() if r.calls or r.seconds or r.flops]
        return sorted(shown, key=lambda r: -r.seconds)

    @property
    def ops(self) -> list[OpProfile]:
        return sorted(self._ops.values(), key=lambda r: -r.seconds)

    # --- opening and closing
    def __enter__(self) -> Profile:
        global _open
        if _open is not None:
            raise RuntimeError("profile: another profile is open in this process; close it first")
        if _core.recording():
            raise RuntimeError("profile: a captured step is being recorded; open the profile outside the step")
        self.threads = get_num_threads()
        if not self.peak:
            self.peak, self.peak_from = gemm_speed(), "our gemm 512x512x512, measured here"
        self._names = {id(m): name or "top" for name, m in self.model.named_modules()}
        self._owner = threading.get_ident()
        self._stack: list[_Frame] = []
        self._owned: weakref.WeakSet[Tensor] = weakref.WeakSet()  # tensors whose layer is known
        self._pass: LayerProfile | None = None  # the layer that the backward pass is in
        self._mark = 0  # when it came there
        self._lost = 0  # what the profile's own bookkeeping took so far; `_clock` stands still meanwhile
        _core.pool_reset_peak()
        self._undo: list[Callable[[], None]] = []
        _open = self
        try:
            self._install()
        except BaseException:
            self._remove()
            raise
        self._begun = _now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += (_now() - self._begun) * 1e-9
        self.peak_bytes = max(self.peak_bytes, _core.pool_stats()["peak_bytes"])
        self._remove()

    def _install(self) -> None:
        call, backward = Module.__call__, Tensor.backward
        owner = self._owner

        def timed_call(module: Module, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != owner:
                return call(module, *args, **kwargs)
            return self._forward(call, module, args, kwargs)

        def timed_backward(tensor: Tensor, *args: Any, **kwargs: Any) -> None:
            if threading.get_ident() != owner:
                return backward(tensor, *args, **kwargs)
            return self._backward(backward, tensor, args, kwargs)

        self._replace(Module, "__call__", timed_call)
        self._replace(Tensor, "backward", timed_backward)
        stand_ins = {
            name: self._timed(name, getattr(_core, name)) for name in (*_fields, *_NATIVE) if hasattr(_core, name)
        }
        kept = {name: getattr(_core, name) for name in stand_ins}
        for name, module in list(sys.modules.items()):  # kernels that modules of ours hold under names of their own
            if not name.startswith("rosenblatt.") or module is None or module is _core or name == __name__:
                continue
            for key, value in list(vars(module).items()):
                if _is_kernel(value):
                    self._replace(module, key, stand_ins[value.__name__])
                elif type(value) is tuple and any(map(_is_kernel, value)):
                    self._replace(module, key, tuple(stand_ins[v.__name__] if _is_kernel(v) else v for v in value))
        for name, function in kept.items():
            assert getattr(_core, name) is function
            self._replace(_core, name, stand_ins[name])
        _observers.append(_watch)  # captured steps run eagerly while somebody watches
        self._undo.append(lambda: _observers.remove(_watch))

    def _replace(self, place: Any, name: str, value: Any) -> None:
        before = getattr(place, name)
        setattr(place, name, value)
        self._undo.append(lambda: setattr(place, name, before))

    def _remove(self) -> None:
        global _open
        while self._undo:
            self._undo.pop()()
        _open = None

    # --- events
    def _clock(self) -> int:
        return _now() - self._lost

    def _row(self, module: Module | None) -> LayerProfile:
        kind = "" if module is None else type(module).__name__
        name = OUTSIDE if module is None else self._names.get(id(module), f"({kind})")
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = LayerProfile(name, kind)
        return row

    def _own(self, value: Any, row: LayerProfile) -> None:
        """Remember that `row` made the tensors in `value`: when their gradient comes, its backward begins."""
        if isinstance(value, (tuple, list)):
            for part in value:
                self._own(part, row)
        elif isinstance(value, Tensor) and value.requires_grad and not value.is_leaf and value not in self._owned:
            self._owned.add(value)
            value.register_hook(lambda _: self._turn_to(row))

    def _turn_to(self, row: LayerProfile | None) -> None:
        """The backward pass goes on in `row` (None: it is over or interrupted)."""
        if _open is not self:
            return
        at = self._clock()
        if self._pass is not None:
            self._pass.backward += (at - self._mark) * 1e-9
            self._pass, self._mark = row, at
        elif row is None:
            self._mark = at

    def _forward(
        self, call: Callable[..., Any], module: Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        entered = _now()
        row = self._row(module)
        outer = self._stack[-1] if self._stack else None
        self._own(list(args), outer.row if outer else self._row(None))
        resumed = self._pass if outer is None else None  # a checkpoint computes again in the middle of the pass
        if resumed is not None:
            self._turn_to(None)
        frame = _Frame(row, 0, _live())
        self._stack.append(frame)
        self._lost += _now() - entered
        frame.begun = self._clock()
        try:
            result = call(module, *args, **kwargs)
        finally:
            took, ended = self._clock() - frame.begun, _now()
            grown = _live() - frame.live
            self._stack.pop()
            row.forward += (took - frame.inner_time) * 1e-9
            row.kept_bytes += grown - frame.inner_live
            row.calls += 1
            if outer is not None:
                outer.inner_time += took
                outer.inner_live += grown
            self._lost += _now() - ended
            if resumed is not None:
                self._pass, self._mark = resumed, self._clock()
        ended = _now()
        row.output_bytes += sum(t.data.nbytes for t in _tensors(result))
        self._own(result, row)
        self._lost += _now() - ended
        return result

    def _backward(
        self, run: Callable[..., None], tensor: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        before = self._pass
        self._turn_to(None)
        self._pass, self._mark = self._row(None), self._clock()
        try:
            run(tensor, *args, **kwargs)
        finally:
            self._turn_to(None)
            self._pass, self._mark = before, self._clock()

    def _timed(self, name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        owner = self._owner

        def stand_in(*args: Any) -> Any:
            if threading.get_ident() != owner:
                return kernel(*args)
            begun = _now()
            result = kernel(*args)
            ended = _now()
            made = _calls(name, args, result)
            for op, given in made:
                self._note(op, given, (ended - begun) * 1e-9 / len(made))
            self._lost += _now() - ended
            return result

        stand_in.__name__ = name
        return stand_in

    def _note(self, name: str, args: tuple[Any, ...], seconds: float) -> None:
        if self._stack:
            row, phase = self._stack[-1].row, "forward"
        elif self._pass is not None:
            row, phase = self._pass, "backward"
        else:
            row, phase = self._row(None), "other"
            row.forward += seconds  # nobody else times it
        key = (name, str(_core.last_impl()), row.name, phase)
        entry = self._ops.get(key)
        if entry is None:
            entry = self._ops[key] = OpProfile(*key)
        flops = _flops(name, args)
        entry.calls += 1
        entry.seconds += seconds
        entry.flops += flops
        entry.bytes += sum(x.nbytes for x in args if isinstance(x, np.ndarray))
        row.flops += flops

    # --- results
    def to_json(self) -> dict[str, Any]:
        """Everything as dicts, lists, numbers and text."""
        return {
            "model": type(self.model).__name__,
            "steps": self.steps,
            "threads": self.threads,
            "seconds": self.seconds,
            "peak_gflops": self.peak,
            "peak_from": self.peak_from,
            "peak_bytes": self.peak_bytes,
            "layers": [asdict(r) for r in self.rows],
            "ops": [asdict(r) for r in self.ops],
        }

    def to_text(self, most: int = 30) -> str:
        """The two tables, layers and kernels by time, at most `most` lines each. Raises ValueError unless most >= 1."""
        most = whole("Profile.to_text", "most", most, 1)
        percent = "% of peak" if self.peak_from == "given" else "% of gemm"
        total = sum(r.seconds for r in self.rows) or 1.0
        layers = [
            [
                r.name if r.name.startswith("(") else f"{r.name} ({r.kind})",
                str(r.calls),
                f"{1e3 * r.forward:.3f}",
                f"{1e3 * r.backward:.3f}",
                f"{100 * r.seconds / total:.1f}",
                f"{r.output_bytes / 2**20:.3f}",
                f"{r.kept_bytes / 2**20:.3f}",
                *self._speed(r.flops, r.seconds),
            ]
            for r in self.rows
        ]
        kernels: dict[tuple[str, str, str], list[float]] = {}
        for o in self.ops:
            sums = kernels.setdefault((o.op, o.impl, o.phase), [0, 0.0, 0, 0])
            for i, value in enumerate((o.calls, o.seconds, o.flops, o.bytes)):
                sums[i] += value
        spent = sum(s[1] for s in kernels.values()) or 1.0
        body = [
            [
                f"{op} ({impl})",
                phase,
                f"{calls:.0f}",
                f"{1e3 * s:.3f}",
                f"{100 * s / spent:.1f}",
                f"{size / s * 1e-9 if s else 0:.1f}",
                *self._speed(flops, s),
            ]
            for (op, impl, phase), (calls, s, flops, size) in sorted(kernels.items(), key=lambda k: -k[1][1])
        ]
        steps = f"{self.steps} steps, " if self.steps else ""
        title = (
            f"{type(self.model).__name__}: {steps}{1e3 * self.seconds:.2f} ms, {self.threads} threads, "
            f"memory {self.peak_bytes / 2**20:.2f} MiB at most; "
            f"{percent[5:]}: {self.peak:.1f} GFLOP/s ({self.peak_from})"
        )
        heads = ["layer", "calls", "forward ms", "backward ms", "% time", "output MiB", "kept MiB", "MFLOP", "GFLOP/s"]
        names = ["kernel", "phase", "calls", "ms", "% time", "GB/s", "MFLOP", "GFLOP/s"]
        return "\n".join(
            [title, "", *_table([*heads, percent], layers, most), "", *_table([*names, percent], body, most, left=2)]
        )

    def _speed(self, flops: float, seconds: float) -> list[str]:
        speed = flops / seconds * 1e-9 if seconds else 0.0
        return [f"{flops / 1e6:.3f}", f"{speed:.2f}", f"{100 * speed / self.peak:.1f}"]

    def __str__(self) -> str:
        return self.to_text()

    def save(self, path: str) -> None:
        """Write `to_json()` to a file. Raises OSError."""
        from ..io import write_text_atomic

        write_text_atomic(path, json.dumps(self.to_json(), indent=2) + "\n")


def _watch(module: Module, x: Any, result: Any) -> None:
    """An observer that only has to be there."""


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for part in value for t in _tensors(part)] if isinstance(value, (tuple, list)) else []


def _table(head: list[str], body: list[list[str]], most: int, left: int = 1) -> list[str]:
    """Lines of a table whose first `left` columns are text."""
    shown = body[:most]
    width = [max(len(row[i]) for row in [head, *shown]) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, width, strict=True)))
        for row in [head, *shown]
    ]
    if len(body) > most:
        lines.append(f"... and {len(body) - most} more")
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def profile(
    model: Module,
    x: Any = None,
    y: Any = None,
    *,
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    steps: int = 5,
    warmup: int = 1,
    peak: float | None = None,
) -> Profile:
    """Measures every layer and kernel of `model`: time both ways, memory, FLOPs, GFLOP/s and the part of the peak.

    Parameters
    ----------
    x, y : a batch [N,...] and its targets as for `fit`: `steps` training steps on it are measured after `warmup` others
        (forward passes in evaluation mode without y). Without x nothing runs yet: use the result in a `with` statement
        around code of your own
    loss : default as in `fit`; optimizer : its update is measured too; without one the weights stay as they are
    peak : GFLOP/s that 100 % stands for; default the speed of our own 512x512x512 matrix product, measured here

    >>> print(rb.profile(model, x, y))
    >>> with rb.profile(model) as p:
    ...     loss_of(model(x)).backward()
    >>> p.rows[0].name, p.rows[0].backward

    A profile runs eagerly: captured steps, those of `fit` too, run without replay while one is open. What is computed
    has the same bits. FLOPs are counted from the shapes of each kernel call: a multiply-add is 2, bias and activation
    of a fused kernel are not counted, elementwise operations are about 1 per element. Backward work outside every layer
    belongs to the layer that the pass came to last. `grad` and threads other than this one are not followed.

    Raises ValueError/TypeError for arguments that do not fit, RuntimeError when a profile is open already.
    """
    if not isinstance(model, Module):
        raise TypeError(f"profile: expected a Module, got {type(model).__name__}")
    if peak is not None and not (isinstance(peak, (int, float)) and 0 < peak < float("inf")):
        raise ValueError(f"profile: peak must be a number of GFLOP/s above 0, got {peak!r}")
    steps, warmup = whole("profile", "steps", steps, 1), whole("profile", "warmup", warmup, 0)
    result = Profile(model, float(peak or 0.0))
    if x is None:
        if y is not None or loss is not None or optimizer is not None:
            raise ValueError("profile: y, loss and optimizer go with x")
        return result
    if y is None and (loss is not None or optimizer is not None):
        raise ValueError("profile: loss and optimizer go with y")
    xs = _inputs("profile", model, x)
    chosen = _default_loss(y) if loss is None else loss
    ys = None if y is None else _targets("profile", y, len(xs), chosen, xs.dtype)
    position = stream.key, stream.counter
    mode = [(m, m.training) for m in model.modules()]
    grads = [(p, p.grad) for p in model.parameters()]
    model.train(ys is not None)
    try:
        for _ in range(warmup):
            _step(model, xs, ys, chosen, optimizer)
        with result:
            for _ in range(steps):
                _step(model, xs, ys, chosen, optimizer)
    finally:
        for m, training in mode:
            object.__setattr__(m, "training", training)
        for p, g in grads:
            p.grad = g
        stream.seed(*position)
    result.steps = steps
    return result


def _step(model: Module, x: Array, y: Array | None, loss: Loss, optimizer: Optimizer | None) -> None:
    if y is None:
        with autograd.no_grad():
            model(wrap(x))
        return
    model.zero_grad()
    loss(model(wrap(x)), y).backward()
    if optimizer is not None:
        optimizer.step()
