"""What every optimiser shares: parameter groups, clipping, constraints, saved state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

import numpy as np

from .. import _capture, _core, ops
from ..autograd import mark_written
from ..tensor import Array, Parameter, Tensor, wrap
from .clip import clip_by_norm, clip_by_value, norm_buffers
from .constraints import Constraint

__all__ = ["Common", "Optimizer"]

Projection = Callable[[Array], None]


class Common(TypedDict, total=False):
    """Options every first-order optimiser takes by name; see `Optimizer`."""

    maximize: bool
    constraint: Constraint | Projection | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None


def number(where: str, name: str, value: Any, low: float, high: float = math.inf, closed: bool = False) -> float:
    """`value` as a float in [low, high) ([low, high] when closed). Raises ValueError naming the option."""
    real = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
    ok = real and math.isfinite(value)
    if not ok or value < low or value > high or (value == high and not closed):
        raise ValueError(f"{where}: {name} must be a number in [{low}, {high}{']' if closed else ')'}, got {value!r}")
    return float(value)


class Setting:
    """An option of the parameter groups as an attribute: reads the first group's value, writes every group's."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Optimizer, owner: type | None = None) -> Any:
        return self if optimizer is None else optimizer.param_groups[0][self.name]

    def __set__(self, optimizer: Optimizer, value: Any) -> None:
        for group in optimizer.param_groups:
            group[self.name] = value
            if self.name == "lr":
                group.pop("initial_lr", None)  # what schedules started from


class Optimizer:
    """Base of the optimisers. `step()` uses every `.grad` that is set.

    Parameters
    ----------
    parameters : parameters of any shapes, or parameter groups: dicts with "params" and options that differ from the
        defaults, e.g. `[{"params": weights}, {"params": biases, "weight_decay": 0.0}]`
    defaults : the options of a group that names none
    maximize : ascend instead of descend
    constraint : called with each array after its update, to project it in place: `optim.MaxNorm(2.0)` and the like, or
        a function of yours (which a captured step cannot repeat: `capture=False`)
    clipvalue : gradients are clipped to [-clipvalue, clipvalue] before the update
    clipnorm : the 2-norm of each parameter's gradient is limited to this
    global_clipnorm : the joint 2-norm of all gradients is limited to this

    Clipping works in place: `.grad` then holds what was used. At most one of the three (as in Keras), for good.
    `maximize` and `constraint` may differ between groups. `lr` and the other options are attributes (of all groups) and
    entries of `param_groups[i]`; both may be changed at any time.

    Raises ValueError for options out of range, parameters given twice, and a gradient of the wrong shape or dtype.
    """

    lr = Setting()

    def __init__(self, parameters: Iterable[Any], defaults: dict[str, Any], common: Common) -> None:
        where = type(self).__name__
        unknown = set(common) - set(Common.__annotations__)
        if unknown:
            raise TypeError(f"{where}: unexpected option {min(unknown)!r}")
        clips: dict[str, Any] = {k: common.get(k) for k in ("clipnorm", "clipvalue", "global_clipnorm")}
        if sum(v is not None for v in clips.values()) > 1:
            raise ValueError(f"{where}: expected at most one of clipnorm, clipvalue, global_clipnorm, got {clips}")
        for name, value in clips.items():
            if value is not None and not number(where, name, value, 0.0) > 0.0:
                raise ValueError(f"{where}: {name} must be positive, got {value!r}")
        self._clips = clips
        self.defaults = {**defaults, "maximize": common.get("maximize", False), "constraint": common.get("constraint")}
        self.param_groups: list[dict[str, Any]] = []
        self.parameters: list[Parameter] = []
        self.steps = 0
        self._state: list[dict[str, Array]] = []
        self._updates: list[int] = []  # of each parameter: one frozen for a while has had fewer
        self._groups: list[dict[str, Any]] = []  # of each parameter
        self._norms: dict[np.dtype[Any], Array] = {}
        self._last: Any = None  # within one step: group, count, slots, scalars and kernel of the update before
        self._replayed: dict[int, tuple[Array, Array]] = {}  # parameter and gradient of updates under capture
        items: list[Any] = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if not items:
            raise ValueError(f"{where}: expected at least one parameter, got none")
        for group in items if isinstance(items[0], Mapping) else [{"params": items}]:
            self.add_param_group(group)
        if not self.parameters:
            raise ValueError(f"{where}: expected at least one parameter, got none")

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds a group: a dict with "params" and options. Raises ValueError/TypeError for what does not fit."""
        where = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"{where}: expected a parameter group: a dict with 'params', got {group!r:.80}")
        unknown = set(group) - set(self.defaults) - {"params", "initial_lr"}
        if unknown:
            raise ValueError(
                f"{where}: a parameter group has no option {min(unknown)!r}; there are {', '.join(self.defaults)}"
            )
        params: list[Any] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        known = {id(p): i for i, p in enumerate(self.parameters)}
        for i, p in enumerate(params, len(self.parameters)):
            if not isinstance(p, Tensor):
                raise TypeError(f"{where}: expected parameters, got {type(p).__name__} at position {i}")
            if id(p) in known:
                raise ValueError(f"{where}: parameter {i} is parameter {known[id(p)]} again")
            known[id(p)] = i
        full = {**self.defaults, **group, "params": params}
        full["lr"] = number(where, "lr", full["lr"], 0.0)
        full["maximize"] = bool(full["maximize"])
        if full["constraint"] is not None and not callable(full["constraint"]):
            raise TypeError(f"{where}: constraint must be callable or None, got {full['constraint']!r}")
        self._check(full)
        self.param_groups.append(full)
        for p in params:
            self.parameters.append(p)
            self._state.append({})
            self._updates.append(0)
            self._groups.append(full)

    def zero_grad(self) -> None:
        """Drops every gradient."""
        for p in self.parameters:
            p.grad = None

    def prepare(self) -> None:
        """Allocates the state of every parameter that wants gradients; without it, the first update does."""
        for i, p in enumerate(self.parameters):
            if p.requires_grad and not self._state[i]:
                self._state[i].update(self._allocate(p.data, self._groups[i]))
        for p in self.parameters:
            norm_buffers(self._norms, p.data)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient.

        `closure`, if given, is called first; it computes the loss and its gradients. Returns what it returned.
        """
        loss = None if closure is None else closure()
        self.steps += 1
        self._last = None
        record = _capture.recording()
        if record is not None:
            record.begin_step(self)
        if any(limit is not None for limit in self._clips.values()):
            self._clip()
        if record is None and self._step_together():
            return loss
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                data, g = p.data, p.grad.data
                self._fits(i, data, g)
                if not self._state[i]:
                    self._state[i].update(self._allocate(data, self._groups[i]))
                if record is not None:
                    self._capturable(i)
                    record.begin_update(self, i)
                    self._replayed[i] = (data, g)
                self._apply(i, data, g)
                if record is not None:
                    record.end_update()
        mark_written(p for p in self.parameters if p.grad is not None)
        return loss

    def _step_together(self) -> bool:
        """The updates of all groups as one native call each; False, with nothing done, where they differ within one."""
        if not self._kernel:
            return False
        calls = []
        for group in self.param_groups:
            members = [i for i, own in enumerate(self._groups) if own is group and self.parameters[i].grad is not None]
            if not members:
                continue
            counts = {self._updates[i] for i in members}
            if len(counts) > 1 or group["constraint"] is not None:
                return False
            calls.append((group, members, counts.pop() + 1))
        for _, members, _ in calls:
            for i in members:
                p = self.parameters[i]
                assert p.grad is not None
                self._fits(i, p._data, p.grad._data)
        for group, members, count in calls:
            slots = self._slots(group)
            states = []
            for i in members:
                state = self._ready(i, slots)
                states.append(tuple([None if name is None else state[name] for name in slots]))
                self._updates[i] = count
            tensors: list[Any] = [self.parameters[i] for i in members]
            _core.update_all(self._kernel, tensors, states, self._scalars(group, count))
        return True

    def _ready(self, i: int, slots: tuple[str | None, ...]) -> dict[str, Array]:
        """The state of parameter i with all of `slots` in it."""
        state = self._state[i]
        if not state:
            state.update(self._allocate(self.parameters[i]._data, self._groups[i]))
        for name in slots:  # an option switched on later
            if name is not None and name not in state:
                state[name] = ops.zeros(self.parameters[i].shape, self.parameters[i].dtype)
        return state

    def _apply(self, i: int, p: Array, g: Array) -> None:
        self._updates[i] += 1
        self._update(i, p, g)
        constraint = self._groups[i]["constraint"]
        if constraint is not None:
            constraint(p)

    def _capturable(self, i: int) -> None:
        constraint = self._groups[i]["constraint"]
        if constraint is not None and not isinstance(constraint, Constraint):
            raise _capture.CaptureError(
                f"capture: {type(self).__name__}: the constraint {constraint!r} is a Python function, which a replay "
                "would not run. Use optim.MaxNorm, Box and the like, or capture=False"
            )

    def _replay_update(self, i: int) -> None:
        """Asks for the scalars of parameter i's next update: kernel calls made here are not run (see capture)."""
        self._apply(i, *self._replayed[i])

    def _plain(self) -> bool:
        """Whether an update is one call of `_kernel` with the state of `_slots` and the numbers of `_scalars`."""
        own = type(self)
        return bool(self._kernel) and own._update is Optimizer._update and own._apply is Optimizer._apply

    def _fits(self, i: int, data: Array, g: Array) -> None:
        if g.shape != data.shape or g.dtype != data.dtype:
            raise ValueError(
                f"{type(self).__name__}: expected a gradient of shape {data.shape} and {data.dtype} "
                f"for parameter {i}, got {g.shape} and {g.dtype}"
            )
        if not data.flags.c_contiguous:
            raise ValueError(f"{type(self).__name__}: parameter {i} must be contiguous in memory")

    def _clip(self) -> None:
        grads = []
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                g = p.grad.data
                self._fits(i, p.data, g)
                if not (g.flags.c_contiguous and g.flags.writeable):
                    g = np.array(g, order="C")
                    p.grad = wrap(g)
                grads.append(g)
        limits = self._clips
        if limits["clipvalue"] is not None:
            clip_by_value(grads, limits["clipvalue"])
        elif limits["clipnorm"] is not None:
            for g in grads:
                clip_by_norm([g], limits["clipnorm"], 0.0, self._norms)
        elif limits["global_clipnorm"] is not None:
            clip_by_norm(grads, limits["global_clipnorm"], 0.0, self._norms)

    # --- what an optimiser defines

    def _check(self, group: dict[str, Any]) -> None:
        """Checks and normalises a group's own options."""

    def _allocate(self, p: Array, group: dict[str, Any]) -> dict[str, Array]:
        """The state of a parameter before its first update: arrays of p's shape."""
        return {}

    _kernel = ""  # name of the kernel: kernel(p, g, *slots, *scalars) updates in place

    def _slots(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        """The names of the state arrays that the kernel takes, None for one that the options leave out."""
        return ()

    def _scalars(self, group: dict[str, Any], count: int) -> tuple[Any, ...]:
        """What the kernel takes after the arrays for update number `count` (from 1): all that may change from step to
        step."""
        return ()

    def _update(self, i: int, p: Array, g: Array) -> None:
        """Update number `_updates[i]` of parameter i, in place, as one kernel call."""
        if not self._kernel:
            raise TypeError(f"{type(self).__name__} defines no update")
        group, count = self._groups[i], self._updates[i]
        last = self._last
        if last is None or last[0] is not group or last[1] != count:  # parameters of a group mostly share their numbers
            kernel = getattr(_core, self._kernel)
            self._last = last = group, count, self._slots(group), self._scalars(group, count), kernel
        _, _, slots, scalars, kernel = last
        state = self._state[i]
        if len(state) < len(slots):
            state = self._ready(i, slots)
        kernel(p, g, *[None if name is None else state[name] for name in slots], *scalars)

    def _extra_state(self) -> dict[str, Any]:
        """State that belongs to no single parameter: numbers, lists and arrays."""
        return {}

    def _load_extra_state(self, extra: dict[str, Any]) -> None:
        if extra:
            raise ValueError(f"{type(self).__name__}: the state holds {sorted(extra)}, which this optimiser has not")

    # --- records

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on but the parameters: numbers, lists and copies of arrays.

        {"name", "steps", "updates": one count per parameter, "param_groups": the options of each group and its number
        of "params", "state": one dict of arrays per parameter, "extra": of the optimiser as a whole}
        """
        groups = []
        for group in self.param_groups:
            own = {k: list(v) if isinstance(v, tuple) else v for k, v in group.items() if k != "constraint"}
            groups.append({**own, "params": len(group["params"])})
        return {
            "name": type(self).__name__,
            "steps": self.steps,
            "updates": list(self._updates),
            "param_groups": groups,
            "state": [{k: v.copy() for k, v in s.items()} for s in self._state],
            "extra": self._extra_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned; constraints stay as they are. Arrays in use are written in place.

        Raises ValueError when it belongs to another optimiser or other parameters, before anything changes.
        """
        where = type(self).__name__
        if state.get("name", where) != where:
            raise ValueError(f"{where}: expected state of {where}, got {state['name']!r}")
        slots, updates = state["state"], [int(n) for n in state["updates"]]
        if len(slots) != len(self.parameters) or len(updates) != len(self.parameters):
            raise ValueError(f"{where}: expected state for {len(self.parameters)} parameters, got {len(slots)}")
        for i, (p, slot) in enumerate(zip(self.parameters, slots, strict=True)):
            for name, array in slot.items():
                if array.shape != p.shape or array.dtype != p.dtype:
                    raise ValueError(
                        f"{where}: {name} of parameter {i}: expected shape {p.shape} and {p.dtype}, "
                        f"got {array.shape} and {array.dtype}"
                    )
        groups = state["param_groups"]
        sizes = [len(g["params"]) for g in self.param_groups]
        if [g["params"] for g in groups] != sizes:
            raise ValueError(
                f"{where}: expected parameter groups of sizes {sizes}, got {[g['params'] for g in groups]}"
            )
        for saved in groups:
            unknown = set(saved) - set(self.defaults) - {"params", "initial_lr"}
            if unknown:
                raise ValueError(f"{where}: a parameter group has no option {min(unknown)!r}")
        self._load_extra_state(state.get("extra", {}))
        for group, saved in zip(self.param_groups, groups, strict=True):
            if "initial_lr" not in saved:
                group.pop("initial_lr", None)
            group.update({k: tuple(v) if isinstance(v, list) else v for k, v in saved.items() if k != "params"})
        for own, slot in zip(self._state, slots, strict=True):
            for name in [k for k in own if k not in slot]:
                del own[name]
            for name, array in slot.items():
                if name in own:
                    _core.copy(array, own[name])
                else:
                    own[name] = np.array(array, order="C")
        self.steps, self._updates[:] = int(state["steps"]), updates

    def options(self) -> dict[str, Any]:
        """Name and settings, for records of a run: those of the first group, and of every group when there are more."""
        groups = []
        for group in self.param_groups:
            own = {k: v for k, v in group.items() if k not in ("params", "maximize", "constraint", "initial_lr")}
            if group["maximize"]:
                own["maximize"] = True
            if group["constraint"] is not None:
                own["constraint"] = repr(group["constraint"])
            groups.append(own)
        more = {"param_groups": groups} if len(groups) > 1 else {}
        return {
            "name": type(self).__name__,
            **groups[0],
            **{k: v for k, v in self._clips.items() if v is not None},
            **more,
        }


def signed(group: dict[str, Any]) -> tuple[float, float]:
    """(lr, weight_decay) for a kernel: both negated to ascend, which is the update with the gradient negated."""
    lr, decay = group["lr"], group["weight_decay"]
    return (-lr, -decay) if group["maximize"] else (lr, decay)
