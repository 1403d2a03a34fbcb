"""Capture and replay: a training step as one native call.

`step = rb.capture(train_step)` returns a function that behaves like `train_step`. For each signature (shapes and dtypes
of the array arguments, values of the others, training and gradient mode) it runs the step eagerly a few times, records
the kernel calls twice and compares the records, then replays them: forward, backward and update without Python, in an
arena where buffers share memory by lifetime. Replays give the same bits as eager steps.

Arrays passed in are read where they lie or copied into the program's buffers; parameters and optimiser state are used
in place. The learning rate and every other number an optimiser passes to its update, the random stream and the step
count are read anew at each replay. What cannot be replayed is refused with the reason: values read inside the step,
arrays computed outside `rb.ops`, a number of calls that changes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, autograd
from ._reads import Fact, reads
from .ops.random import stream
from .tensor import Array, Tensor, wrap

if TYPE_CHECKING:
    from .nn import Module
    from .optim import Optimizer

__all__ = ["CaptureError", "Captured", "ProgramInfo", "capture"]


class CaptureError(RuntimeError):
    """The step does something that a replay could not repeat; the message says what and where.

    `outcome` is None when the step was stopped, else a tuple with the result of the step that ran.
    """

    outcome: tuple[Any] | None = None


@dataclass(frozen=True)
class ProgramInfo:
    """Facts about one captured program; `str()` lists its calls."""

    calls: int
    peak_bytes: int  # arena and workspace
    saved_bytes: int  # what the step's buffers would take without sharing, less the arena
    text: str

    def __str__(self) -> str:
        mib = 1 << 20
        return (
            f"{self.text}{self.calls} calls, {self.peak_bytes / mib:.2f} MiB, "
            f"{self.saved_bytes / mib:.2f} MiB saved by sharing"
        )


@dataclass
class _Update:
    """One optimiser update of the recorded step, to be asked for its scalars again."""

    optimizer: Optimizer
    index: int  # of the parameter
    first: int  # number of the first kernel call
    last: int = 0  # one past the last


@dataclass
class _Shared:
    """Updates of one group by one kernel call each, which take the same numbers."""

    optimizer: Optimizer
    group: dict[str, Any]
    slots: tuple[str | None, ...]
    indices: tuple[int, ...]  # of the parameters
    calls: tuple[int, ...]
    numbers: tuple[Any, ...] = ()  # what the calls hold, when known

    def count(self) -> int:
        """Counts the next update of all of them: its number, or 0 when they no longer take the same numbers."""
        if self.optimizer._slots(self.group) != self.slots:
            return 0
        return _core.count_up(self.optimizer._updates, self.indices)


class _Record:
    """What is noted while a step runs once under a recording."""

    def __init__(self) -> None:
        self.native = _core.Recording(stream.counter)
        self.start = stream.counter
        self.key = stream.key
        self.updates: list[_Update] = []
        self.optimizers: list[Optimizer] = []
        self.modules: dict[int, Module] = {}
        self.advance = 0
        self.outputs: Any = None
        self.results: list[Array] = []
        self.modes: list[Any] = []

    def begin_step(self, optimizer: Optimizer) -> None:
        self.optimizers.append(optimizer)

    def begin_update(self, optimizer: Optimizer, index: int) -> None:
        self.updates.append(_Update(optimizer, index, self.native.calls))
        self.native.dynamic = True

    def end_update(self) -> None:
        self.native.dynamic = False
        self.updates[-1].last = self.native.calls

    def note_module(self, module: Module) -> None:
        self.modules[id(module)] = module


class _Local(threading.local):
    record: _Record | None = None  # under way on this thread
    inside = False  # a captured step runs: captured functions that it calls are part of it


_local = _Local()


def recording() -> _Record | None:
    """The record under way on this thread, or None."""
    return _local.record


def refuse_read(what: str) -> None:
    """Raises CaptureError when a value is read inside a captured step."""
    if _local.record is not None:
        raise CaptureError(
            f"capture: {what} inside a captured step: a replay runs without Python, so the step cannot look at values. "
            "Return the tensor and read it outside, or use capture=False"
        )


# --- what a program takes for granted

_MISSING = object()


_COMPUTED = (np.dtype(np.float32), np.dtype(np.float64))
_LENGTH = _core.Guard  # as a key: the length of the holder; no dict has it
_REMEMBERED = ("_flat", "_captured_forward")  # what a module keeps only to be quick


class _Facts:
    """Collects what a program takes for granted: (holder, key, value) for `_core.Guard`, and the tensors concerned."""

    def __init__(self, record: _Record, step: Any, args: Iterable[Any]) -> None:
        self.found: list[Fact] = []
        self.tensors: dict[int, Tensor] = {}
        self.arrays: dict[int, Array] = {}
        for holder, key, value in reads(step, args, [m.forward for m in record.modules.values()]):
            self.found.append((holder, key, value))
            for v in value if isinstance(value, (list, tuple)) else (value,):
                self._tensor(v)
        for module in record.modules.values():
            own = vars(module)
            for key, value in own.items():
                if key in _REMEMBERED:
                    continue
                self.found.append((own, key, value))
                self._content(value)
        for o in {id(o): o for o in record.optimizers}.values():
            self._content(o.parameters)
            self._content(vars(o).get("_clips"))
            for state in vars(o).get("_state", ()):
                self._content(state)
            for group in vars(o).get("param_groups", ()):
                constraint = group.get("constraint")
                self.found.append((group, "constraint", constraint))
                for key, value in getattr(constraint, "__dict__", {}).items():
                    self.found.append((constraint.__dict__, key, value))
        for t in self.tensors.values():
            self.found.append((t, "_data", t._data))
            self.found.append((t, "requires_grad", t.requires_grad))

    def _tensor(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self.tensors[id(value)] = value
        elif isinstance(value, np.ndarray):
            self.arrays[id(value)] = value

    def _content(self, value: Any) -> None:
        """The entries of a dict or list, one level deep, and its length."""
        self._tensor(value)
        if type(value) not in (dict, list):
            return
        self.found.append((value, _LENGTH, len(value)))
        for key, v in value.items() if type(value) is dict else enumerate(value):
            self.found.append((value, key, v))
            self._tensor(v)

    def since(self, before: _Facts) -> list[Fact]:
        """The facts, each once, but those that the step itself changed since `before`."""
        old = {(id(h), k): v for h, k, v in before.found}
        now = {(id(h), k): (h, k, v) for h, k, v in self.found}
        return [(h, k, v) for h, k, v in now.values() if _same(old.get((id(h), k), v), v)]

    def modes(self) -> list[Any]:
        """Training modes and wishes for gradients, in order."""
        return [v for _, k, v in self.found if k in ("training", "requires_grad")]


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, (bool, int, float, str)) and a == b)


def _settings(optimizers: list[Optimizer]) -> list[Any]:
    """The numbers that a user sets on optimisers."""
    groups = [g for o in optimizers for g in vars(o).get("param_groups", ())]
    return [(k, v) for g in groups for k, v in g.items() if isinstance(v, (bool, int, float, str, tuple))]


class _Program:
    """A replayable step for one signature."""

    def __init__(
        self,
        record: _Record,
        inputs: list[Array],
        unproven: list[int],
        facts: _Facts,
        before: _Facts,
        without: list[Tensor],
        constants: bool,
    ) -> None:
        self.outputs = record.outputs
        self.simple = False  # whether its native part can tell calls of its signature
        self.inputs = inputs
        self.unproven = unproven  # inputs that constants of the step may depend on: they must be those of the record
        self.shared, self.updates = _sort(record.updates)
        self.optimizers = record.optimizers
        self.advance = record.advance
        updated = {id(u.optimizer.parameters[u.index]) for u in record.updates}
        self.cleared: list[Tensor] = []  # gradients that an update has used up
        self.given: list[Tensor] = []  # gradients that the step leaves behind
        for t in facts.tensors.values():
            if t.grad is not None and record.native.born(t.grad._data):
                (self.cleared if id(t) in updated else self.given).append(t)
        extra = [t.grad._data for t in self.given if t.grad is not None]
        self.own_results = len(record.results)
        self.native = _core.Program(record.native, record.results + extra, inputs)
        for t in self.cleared:
            t.grad = None
        kept = facts.since(before)
        kept += [(t, "grad", None) for t in without]
        self.facts = kept
        self.guard = _core.Guard(kept)
        self.hooks = _hooks(facts.tensors.values())
        # Constants of the step may be copies, in another dtype or aligned, of arrays that it refers to.
        arrays = facts.arrays.values() if constants else ()
        self.converted = [(a, a.tobytes()) for a in arrays if a.dtype not in _COMPUTED or not a.flags.aligned]

    def mismatch(self) -> str:
        """ "" when everything is as it was recorded, else the name of the first thing that is not."""
        i = self.guard.check()
        if i >= 0:
            return str(self.facts[i][1]) or "a variable of the step"
        if self.converted and any(a.tobytes() != content for a, content in self.converted):
            return "an array of the step"
        if (autograd._any_hooks or self.hooks) and self.hooks != _hooks(self.watched):
            return "hooks"
        return ""

    @property
    def watched(self) -> list[Tensor]:
        """The tensors whose hooks matter."""
        return [h for h, k, _ in self.facts if k == "requires_grad" and isinstance(h, Tensor)]

    def plain(self) -> tuple[Any, Any] | None:
        """(guard, native program) of a step from one array to one tensor that changes nothing, for `replay_if`: layer
        modes are left out of the guard. None for any other step."""
        changes = self.optimizers or self.advance or self.cleared or self.given or self.unproven
        if changes or self.hooks or self.converted or len(self.inputs) != 1 or self.outputs != ("tensor", 0):
            return None
        return _core.Guard([f for f in self.facts if f[1] != "training"]), self.native

    def run(self, arrays: tuple[Array, ...], copy: bool = True) -> Any:
        """Results of one replay; `_MISSING`, with nothing changed, when an optimiser's state was replaced."""
        native = self.native
        done = moved = False
        begun: list[tuple[list[int], tuple[int, ...]]] = []  # counts that were raised
        for optimizer in self.optimizers:
            optimizer.steps += 1
            optimizer._last = None
        try:
            for u in self.shared:
                count = u.count()
                if moved := not count:
                    break
                begun.append((u.optimizer._updates, u.indices))
                numbers = u.optimizer._scalars(u.group, count)
                if numbers != u.numbers:
                    u.numbers = ()
                    native.patch(u.calls, numbers)
                    u.numbers = numbers
            if self.updates and not moved:
                moved = self._ask(begun)
            if not moved:
                results = native.replay(arrays, stream.key, stream.counter, 0 if copy else self.own_results)
                done = True
        finally:
            if not done:
                for optimizer in self.optimizers:
                    optimizer.steps -= 1
                for counts, indices in begun:
                    for i in indices:
                        counts[i] -= 1
        if moved:
            return _MISSING
        if self.advance:
            stream.advance(self.advance)
        for t in self.cleared:
            t.grad = None
        if self.given:
            for t, g in zip(self.given, results[-len(self.given) :], strict=True):
                t.grad = wrap(g)
        return _unflatten(self.outputs, results)

    def _ask(self, begun: list[tuple[list[int], tuple[int, ...]]]) -> bool:
        """Has each of the other updates ask for its numbers; whether an array that it uses was replaced."""
        native = self.native
        at = self.updates[0].first
        native.start_patch(at)
        try:
            for u in self.updates:
                if u.first != at:
                    native.start_patch(u.first)
                at = u.last
                begun.append((u.optimizer._updates, (u.index,)))
                u.optimizer._replay_update(u.index)
        finally:
            moved = native.stop_patch()
        return moved


def _sort(updates: list[_Update]) -> tuple[list[_Shared], list[_Update]]:
    """The updates that share their numbers, by group and count, and the others."""
    shared: dict[tuple[int, int], _Shared] = {}
    others = []
    times = Counter((id(u.optimizer), u.index) for u in updates)
    for u in updates:
        o, group = u.optimizer, u.optimizer._groups[u.index]
        again = times[id(o), u.index] > 1  # in one step: with another count each time
        if again or u.last != u.first + 1 or not o._plain() or group["constraint"] is not None:
            others.append(u)
            continue
        s = shared.setdefault((id(group), o._updates[u.index]), _Shared(o, group, o._slots(group), (), ()))
        s.indices += (u.index,)
        s.calls += (u.first,)
    return list(shared.values()), others


def _hooks(tensors: Any) -> list[Any]:
    return [(id(t), list(autograd._hooks[t])) for t in tensors if t in autograd._hooks]


def _flatten(value: Any) -> tuple[Any, list[Array]]:
    """The structure of a result and its arrays; tensors and arrays become ("tensor"|"array", position)."""
    arrays: list[Array] = []

    def walk(v: Any) -> Any:
        if isinstance(v, Tensor):
            arrays.append(v.data)
            return ("tensor", len(arrays) - 1)
        if isinstance(v, np.ndarray):
            arrays.append(v)
            return ("array", len(arrays) - 1)
        if type(v) is tuple or type(v) is list:
            return (type(v).__name__, [walk(x) for x in v])
        if isinstance(v, tuple) and hasattr(v, "_make"):
            return (type(v)._make, [walk(x) for x in v])
        if type(v) is dict:
            return ("dict", {k: walk(x) for k, x in v.items()})
        if v is None or isinstance(v, (bool, int, float, str)):
            return ("constant", v)
        raise CaptureError(
            f"capture: a step returns tensors, arrays, numbers or containers of them, got {type(v).__name__}"
        )

    return walk(value), arrays


def _unflatten(form: Any, arrays: list[Array]) -> Any:
    kind, content = form
    if kind == "tensor":
        return wrap(arrays[content])
    if kind == "array":
        return arrays[content]
    if kind == "tuple":
        return tuple([_unflatten(f, arrays) for f in content])
    if kind == "list":
        return [_unflatten(f, arrays) for f in content]
    if kind == "dict":
        return {k: _unflatten(f, arrays) for k, f in content.items()}
    if kind == "constant":
        return content
    return kind([_unflatten(f, arrays) for f in content])


def _numbers(form: Any) -> bool:
    """Whether a result holds numbers or texts that Python computed."""
    kind, content = form
    if kind in ("tensor", "array"):
        return False
    if kind == "constant":
        return content is not None
    return any(_numbers(f) for f in (content.values() if kind == "dict" else content))


def _after(result: Any, reason: str) -> CaptureError:
    """The refusal of a step that has run, with its result."""
    error = CaptureError(f"capture: {reason}")
    error.outcome = (result,)
    return error


def _constant(value: Any) -> Any:
    """A key for an argument that is no array: equal for equal values of one type; zeros differ by their sign."""
    if type(value) is float:
        return float, value.hex()
    if type(value) is tuple:
        return tuple, tuple(map(_constant, value))
    return type(value), value.tobytes() if isinstance(value, np.generic) else value


class _Entry:
    """Progress of one signature: eager runs, the first record, then programs (one for each layer mode)."""

    def __init__(self) -> None:
        self.runs = 0
        self.inputs: list[Array] = []
        self.before: list[bytes] = []  # contents of the inputs in the first record
        self.record: _Record | None = None
        self.programs: list[_Program] = []


class Captured:
    """What `capture` returns; call it like the step, with positional arguments. Calls from several threads queue."""

    def __init__(self, step: Callable[..., Any], max_programs: int = 8, copy: bool = True) -> None:
        if not callable(step):
            raise TypeError(f"capture: expected a function, got {type(step).__name__}")
        if isinstance(max_programs, bool) or not isinstance(max_programs, int) or max_programs < 1:
            raise ValueError(f"capture: max_programs must be a positive integer, got {max_programs!r}")
        from .nn.module import _observers

        functools.update_wrapper(self, step, updated=())
        self._observers = _observers
        self._step = step
        self._limit = max_programs
        self._copy = bool(copy)
        self._entries: OrderedDict[Any, _Entry] = OrderedDict()
        self._lock = threading.RLock()
        self.replays = 0
        self.latest: _Program | None = None  # the one replayed last
        self._ready: _Program | None = None  # that one, if it is of the newest entry and can tell its calls by itself

    def __call__(self, *args: Any) -> Any:
        if _local.inside or autograd._anomaly.depth or autograd.state.enabled is autograd.PROBING or self._observers:
            return self._step(*args)  # part of another captured step, or somebody watches each op
        with self._lock:
            ready = self._ready
            if ready is not None:
                given = ready.native.accept(args)
                if given is not None and not ready.mismatch():
                    result = ready.run(given, self._copy)
                    if result is not _MISSING:
                        self.replays += 1
                        return result
                self._ready = None
            return self._call(args)

    def _call(self, args: tuple[Any, ...]) -> Any:
        arrays: list[Array] = []
        key: list[Any] = [autograd.state.enabled]
        for a in args:
            data = a._data if isinstance(a, Tensor) else a
            if isinstance(data, np.ndarray):
                if data is not a and a.requires_grad and key[0]:
                    raise CaptureError(
                        "capture: an argument requires a gradient, but arguments are copied: pass the array and make "
                        "the tensor inside the step, or use the parameter without passing it"
                    )
                arrays.append(data)
                key.append((data.shape, data.dtype.char, data is a))
            else:
                key.append(_constant(a))
        signature = tuple(key)
        try:
            entry = self._entries.get(signature)
        except TypeError:
            raise CaptureError("capture: arguments must be arrays, tensors or hashable values") from None
        if entry is None:
            entry = self._entries[signature] = _Entry()
            while len(self._entries) > self._limit:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(signature)
        for program in entry.programs:
            why = program.mismatch()
            if not why and (not program.unproven or program.native.holds(arrays, program.unproven)):
                result = program.run(tuple(arrays), self._copy)
                if result is not _MISSING:
                    self.replays += 1
                    self.latest = program
                    self._ready = program if program.simple else None
                    return result
            if why != "training":  # useless from now on, unlike a program for the other mode
                entry.programs.remove(program)
                break
        try:
            return self._advance(entry, args, arrays)
        except BaseException:
            self._entries.pop(signature, None)
            raise

    def _advance(self, entry: _Entry, args: tuple[Any, ...], arrays: list[Array]) -> Any:
        """Runs the step eagerly: first plainly, then under two records that must agree."""
        entry.runs += 1
        if entry.runs == 1:
            with _inside(None):
                return _copied(self._step(*args))
        first = entry.record
        if first is None:
            entry.inputs = [np.array(a, a.dtype.newbyteorder("="), order="C") for a in arrays]
            entry.before = [b.tobytes() for b in entry.inputs]
        else:
            for buffer, a in zip(entry.inputs, arrays, strict=True):
                np.copyto(buffer, a)
        buffers = iter(entry.inputs)
        inner: list[Any] = []
        for a in args:
            if isinstance(a, Tensor):
                inner.append(wrap(next(buffers)))
            elif isinstance(a, np.ndarray):
                inner.append(next(buffers))
            else:
                inner.append(a)
        objects = [a for a in args if not isinstance(a, (Tensor, np.ndarray))]
        before = None if first is None else _Facts(first, self._step, objects)
        if first is not None and before is not None and first.modes != before.modes():
            first = before = entry.record = None  # a layer changed between training and evaluation, or was frozen
            entry.before = [b.tobytes() for b in entry.inputs]
        without = [] if before is None else [t for t in before.tensors.values() if t.grad is None]
        record, result = self._record(inner, first, entry.inputs)
        if first is None or before is None:
            entry.record = record
            record.modes = _Facts(record, self._step, objects).modes()
            return _copied(result)
        try:
            difference, constants = first.native.difference(record.native, first.results, record.results)
        except (TypeError, ValueError) as error:
            raise _after(result, f"a result cannot be replayed: {error}") from None
        if not difference and first.advance != record.advance:
            difference = "the number of random numbers changed from step to step"
        if not difference and repr(first.outputs) != repr(record.outputs):
            difference = "a number or the structure of the result changed from step to step; return tensors instead"
        if difference:
            raise _after(result, difference)
        unproven = []
        if constants or _numbers(record.outputs):
            unproven = [i for i, b in enumerate(entry.inputs) if b.tobytes() == entry.before[i]]
        copy = _copied(result)
        facts = _Facts(record, self._step, objects)
        program = _Program(record, entry.inputs, unproven, facts, before, without, constants)
        program.simple = program.native.expect(args) and not unproven
        entry.programs = [*entry.programs[-1:], program]
        entry.record, entry.runs, entry.inputs, entry.before = None, 0, [], []
        if os.environ.get("RB_TRACE") == "program":
            print(self.program_info(program), file=sys.stderr)
        return copy

    def _record(self, args: list[Any], first: _Record | None, inputs: list[Array]) -> tuple[_Record, Any]:
        record = _Record()
        settings = _settings(first.optimizers) if first else []
        with _inside(record):
            record.native.start(first.native if first else None)
            try:
                result = self._step(*args)
            finally:
                record.native.stop()
        trouble = "the random stream was seeded inside the step" if record.key != stream.key else ""
        record.advance = (stream.counter - record.start) % 2**64
        trouble = trouble or record.native.trouble or record.native.check(inputs, record.advance)
        if not trouble and first and settings != _settings(first.optimizers):
            trouble = "the step changes an option of its optimiser; do so between steps (schedules, too)"
        if trouble:
            raise _after(result, trouble)
        record.outputs, record.results = _flatten(result)
        return record, result

    @staticmethod
    def program_info(program: _Program) -> ProgramInfo:
        n = program.native
        return ProgramInfo(n.calls, n.arena_bytes + n.work_bytes, n.buffer_bytes - n.arena_bytes, n.describe())

    @property
    def programs(self) -> list[ProgramInfo]:
        """The captured programs, the one used longest ago first."""
        return [self.program_info(p) for e in self._entries.values() for p in e.programs]


@contextlib.contextmanager
def _inside(record: _Record | None) -> Iterator[None]:
    _local.inside, _local.record = True, record
    try:
        yield
    finally:
        _local.inside, _local.record = False, None


def _copied(result: Any) -> Any:
    form, arrays = _flatten(result)
    return _unflatten(form, [np.array(a) for a in arrays])


def capture(step: Callable[..., Any], max_programs: int = 8, copy: bool = True) -> Captured:
    """`step` as a function replayed natively from its fourth call per signature on.

    Parameters
    ----------
    step : function of arrays, tensors and hashable values that computes only through `rosenblatt`, returning tensors,
        arrays, numbers or tuples, lists, dicts of them (results are copies without gradients)
    max_programs : signatures kept, the one unused longest is dropped first; a last partial batch is a signature of
        its own
    copy : results are the caller's to keep. With False a replay returns read-only windows on the program's own memory,
        which hold until the next replay: for large results that are looked at and dropped

    Gradients that an update inside the step has used are gone after a replay (`.grad` is None); those of a step without
    an update are left as an eager step leaves them. What changes between calls (weights, options, layer modes, numbers
    that the step reads) is seen; `docs/capture.md` lists what is not.

    Raises CaptureError when the step cannot be replayed faithfully: it reads a value (`item()`, `bool()`, printing),
    its calls differ from run to run, or it computes outside `rosenblatt.ops`.
    """
    return Captured(step, max_programs, copy)
