"""Learning-rate schedules, named and counted as in PyTorch: construct one on an optimiser, call `step()` after each
epoch (or batch, where the schedule says so), or hand it to `fit` as `LearningRateSchedule(schedule)`.

Every schedule computes the rate from the number of steps taken and the group's first rate, so a resumed run gets the
same bits. t counts steps from 0; "base" is the rate a group had when its first schedule was made.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from .._options import whole
from .optimizer import Optimizer, number

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "WarmUp",
]


class Schedule:
    """Base: sets the learning rate of every parameter group at construction and at each `step()`.

    `per` says what `fit` counts as a step: "epoch" or "batch"; assign it to change that.
    """

    per: Literal["epoch", "batch"] = "epoch"

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an optimiser, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.base_lrs = [float(g.setdefault("initial_lr", g["lr"])) for g in optimizer.param_groups]
        self.count = 0
        self._apply(0)

    def lr(self, base: float, t: int) -> float:
        """The learning rate after t steps of a group that began with `base`."""
        raise TypeError(f"{type(self).__name__} defines no lr")

    def lrs(self, t: int) -> list[float]:
        """The learning rate after t steps of each parameter group."""
        return [self.lr(base, t) for base in self.base_lrs]

    def step(self) -> None:
        """Takes one step. Raises ValueError when parameter groups were added since construction."""
        self.count += 1
        self._apply(self.count)

    def _apply(self, t: int) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}: expected {len(self.base_lrs)} parameter groups, got {len(groups)}"
            )
        for group, lr in zip(groups, self.lrs(t), strict=True):
            group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """The learning rate of each parameter group now."""
        return [float(g["lr"]) for g in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """{"count", "base_lrs"}: what changes; settings are given again at construction."""
        return {"count": self.count, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned and sets the rate. Raises ValueError for another number of groups."""
        if len(state["base_lrs"]) != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}: expected state for {len(self.base_lrs)} parameter groups, "
                f"got {len(state['base_lrs'])}"
            )
        self.base_lrs = [float(b) for b in state["base_lrs"]]
        self.count = int(state["count"])
        self._apply(self.count)


class LambdaLR(Schedule):
    """base * factor(t), `factor` a function of the step."""

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        if not callable(factor):
            raise TypeError(f"LambdaLR: factor must be callable, got {factor!r}")
        self.factor = factor
        super().__init__(optimizer)

    def lr(self, base: float, t: int) -> float:
        return base * self.factor(t)


class StepLR(Schedule):
    """base * gamma**(t // step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = whole("StepLR", "step_size", step_size, 1)
        self.gamma = number("StepLR", "gamma", gamma, 0.0)
        super().__init__(optimizer)

    def lr(self, base: float, t: int) -> float:
        return base * self.gamma ** (t // self.step_size)


class MultiStepLR(Schedule):
    """base * gamma**(number of milestones <= t)."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(whole("MultiStepLR", "milestones", m, 0) for m in milestones)
        self.gamma = number("MultiStepLR", "gamma", gamma, 0.0)
        super().__init__(optimizer)

    def lr(self, base: float, t: int) -> float:
        return base * self.gamma ** bisect.bisect_right(self.milestones, t)


class ExponentialLR(Schedule):
    """base * gamma**t."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = number("ExponentialLR", "gamma", gamma, 0.0)
        super().__init__(optimizer)

    def lr(self, base: float, t: int) -> float:
        return float(base * self.gamma**t)


class ConstantLR(Schedule):
    """base * factor for the first `total_iters` steps, then base."""

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3.0, total_iters: int = 5) -> None:
        self.factor = number("ConstantLR", "factor", factor, 0.0, 1.0, closed=True)
        self.total_iters = whole("ConstantLR", "total_iters", total_iters, 0)
        super().__init__(optimizer)

    def lr(self, base: float, t: int) -> float:
        return base * self.factor if t < self.total_iters else base


class LinearLR(Schedule):
    """base times a factor that goes from start_factor to end_factor in `total_iters` steps: a warm-up, or a decay."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3.0, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        self.start_factor = number("LinearLR", "start_factor", start_factor, 0.0, 1.0, closed=True)
        self.end_factor = number("LinearLR", "end_factor", end_factor, 0.0, 1.0, closed=True)
        self.total_iters = whole("LinearLR", "total_iters", total_iters, 1)
        super().__init__(optimizer)

    def lr(self, base: float, t: int) -> float:
        part = min(t, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * part)


class PolynomialLR(Schedule):
    """base * (1 - t / total_iters)**power, 0 from `total_iters` on."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0) -> None:
        self.total_iters = whole("PolynomialLR", "total_iters", total_iters, 1)
        self.power = number("PolynomialLR", "power", power, 0.0)
        super().__init__(optimizer)

    def lr(self, base: float, t: int) -> float:
        return float(base * (1.0 - min(t, self.total_iters) / self.total_iters) ** self.power)


def _cosine(start: float, end: float, part: float) -> float:
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * part))


class CosineAnnealingLR(Schedule):
    """eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2; rises again after T_max (Loshchilov, Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = whole("CosineAnnealingLR", "T_max", T_max, 1)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min, 0.0)
        super().__init__(optimizer)

    def lr(self, base: float, t: int) -> float:
        return _cosine(base, self.eta_min, t / self.T_max)


class CosineAnnealingWarmRestarts(Schedule):
    """Half cosines from base to eta_min of T_0, T_0*T_mult, T_0*T_mult**2, ... steps (Loshchilov & Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        self.T_0 = whole("CosineAnnealingWarmRestarts", "T_0", T_0, 1)
        self.T_mult = whole("CosineAnnealingWarmRestarts", "T_mult", T_mult, 1)
        self.eta_min = number("CosineAnnealingWarmRestarts", "eta_min", eta_min, 0.0)
        super().__init__(optimizer)

    def lr(self, base: float, t: int) -> float:
        length = self.T_0
        if self.T_mult == 1:
            t %= length
        while t >= length:
            t -= length
            length *= self.T_mult
        return _cosine(base, self.eta_min, t / length)


class OneCycleLR(Schedule):
    """One cycle (Smith & Topin 2018): from max_lr/div_factor up to max_lr and down to that first rate/final_div_factor.

    Parameters
    ----------
    max_lr : the peak, one number or one per parameter group
    total_steps : length of the cycle; or `epochs` and `steps_per_epoch`
    pct_start : part of the cycle spent rising
    anneal_strategy : "cos" or "linear"
    cycle_momentum : momentum (or Adam's first beta) goes from max_momentum down to base_momentum and back
    three_phase : fall back to the first rate as fast as it rose, and only then to the last

    A step is a batch. Raises ValueError for more than `total_steps` steps and for options out of range.
    """

    per: Literal["epoch", "batch"] = "batch"

    def __init__(
        self, optimizer: Optimizer, max_lr: float | Sequence[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos", cycle_momentum: bool = True, base_momentum: float = 0.85,
        max_momentum: float = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
    ) -> None:
        where = "OneCycleLR"
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{where}: expected an optimiser, got {type(optimizer).__name__}")
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(f"{where}: expected total_steps, or epochs and steps_per_epoch")
            total_steps = whole(where, "epochs", epochs, 1) * whole(where, "steps_per_epoch", steps_per_epoch, 1)
        self.total_steps = whole(where, "total_steps", total_steps, 2)
        groups = optimizer.param_groups
        peaks = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(groups)
        if len(peaks) != len(groups):
            raise ValueError(f"{where}: expected max_lr for {len(groups)} parameter groups, got {len(peaks)}")
        self.max_lrs = [number(where, "max_lr", m, 0.0) for m in peaks]
        self.pct_start = number(where, "pct_start", pct_start, 0.0, 1.0, closed=True)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"{where}: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.anneal_strategy = anneal_strategy
        self.div_factor = number(where, "div_factor", div_factor, 1.0)
        self.final_div_factor = number(where, "final_div_factor", final_div_factor, 1.0)
        self.base_momentum = number(where, "base_momentum", base_momentum, 0.0, 1.0)
        self.max_momentum = number(where, "max_momentum", max_momentum, 0.0, 1.0)
        self.three_phase, self.cycle_momentum = bool(three_phase), bool(cycle_momentum)
        if self.cycle_momentum and not all("momentum" in g or "betas" in g for g in groups):
            raise ValueError(f"{where}: {type(optimizer).__name__} has no momentum to cycle; use cycle_momentum=False")
        super().__init__(optimizer)

    def _blend(self, t: int, first: float, peak: float, last: float) -> float:
        """The value at step t of a curve through `first`, `peak` and `last`, where it stays."""
        top = self.pct_start * self.total_steps - 1
        end = float(self.total_steps - 1)
        if self.three_phase:
            points = [(0.0, first), (top, peak), (2 * top, first), (end, last)]
        else:
            points = [(0.0, first), (top, peak), (end, last)]
        for (a, u), (b, v) in itertools.pairwise(points):
            if t <= b or b == end:
                part = min(1.0, (t - a) / (b - a)) if b > a else 1.0
                return _cosine(u, v, part) if self.anneal_strategy == "cos" else u + (v - u) * part
        raise ValueError(f"OneCycleLR: no phase holds step {t}")

    def lrs(self, t: int) -> list[float]:
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: step {t} of a cycle of {self.total_steps} steps")
        starts = [m / self.div_factor for m in self.max_lrs]
        return [
            self._blend(t, s, m, s / self.final_div_factor) for s, m in zip(starts, self.max_lrs, strict=True)
        ]

    def _apply(self, t: int) -> None:
        super()._apply(t)
        if self.cycle_momentum:
            value = self._blend(t, self.max_momentum, self.base_momentum, self.max_momentum)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (value, group["betas"][1])
                else:
                    group["momentum"] = value


class SequentialLR(Schedule):
    """schedulers[0] until step milestones[0], then schedulers[1], and so on; each counts from its own start.

    All must be of the same optimiser. Raises ValueError unless there is one milestone fewer than schedules, ascending.
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]) -> None:
        where = "SequentialLR"
        self.schedulers = list(schedulers)
        for s in self.schedulers:
            if not isinstance(s, Schedule):
                raise TypeError(f"{where}: expected schedules that depend on the step alone, got {type(s).__name__}")
            if s.optimizer is not optimizer:
                raise ValueError(f"{where}: {type(s).__name__} belongs to another optimiser")
        self.milestones = [whole(where, "milestones", m, 1) for m in milestones]
        rising = all(a < b for a, b in itertools.pairwise(self.milestones))
        if len(self.milestones) != len(self.schedulers) - 1 or not rising:
            raise ValueError(
                f"{where}: expected {len(self.schedulers) - 1} ascending milestones, got {list(milestones)}"
            )
        self.per = self.schedulers[0].per
        super().__init__(optimizer)

    def _part(self, t: int) -> tuple[Schedule, int]:
        k = bisect.bisect_right(self.milestones, t)
        return self.schedulers[k], t - (self.milestones[k - 1] if k else 0)

    def lrs(self, t: int) -> list[float]:
        schedule, own = self._part(t)
        return schedule.lrs(own)

    def _apply(self, t: int) -> None:
        schedule, own = self._part(t)
        schedule._apply(own)


class WarmUp(Schedule):
    """Rises linearly over `steps` steps from start_factor times the first rate of `then`, and then follows `then`.

    then : a schedule, or an optimiser whose rate stays as it is after the warm-up. At step t < steps the factor is
    start_factor + (1 - start_factor) * t / steps (Goyal et al. 2017).
    """

    def __init__(self, then: Schedule | Optimizer, steps: int, start_factor: float = 0.0) -> None:
        self.then = LambdaLR(then, _one) if isinstance(then, Optimizer) else then
        if not isinstance(self.then, Schedule):
            raise TypeError(f"WarmUp: expected a schedule or an optimiser, got {type(then).__name__}")
        self.steps = whole("WarmUp", "steps", steps, 1)
        self.start_factor = number("WarmUp", "start_factor", start_factor, 0.0, 1.0, closed=True)
        self.per = self.then.per
        super().__init__(self.then.optimizer)

    def lrs(self, t: int) -> list[float]:
        if t >= self.steps:
            return self.then.lrs(t - self.steps)
        factor = self.start_factor + (1.0 - self.start_factor) * t / self.steps
        return [factor * lr for lr in self.then.lrs(0)]

    def _apply(self, t: int) -> None:
        self.then._apply(max(0, t - self.steps))
        super()._apply(t)


def _one(t: int) -> float:
    return 1.0


class ReduceLROnPlateau:
    """Multiplies the learning rates by `factor` when a metric has not improved for more than `patience` steps.

    Parameters
    ----------
    mode : "min" or "max": which way the metric improves
    threshold, threshold_mode : an improvement is below best - threshold*|best| ("rel") or best - threshold ("abs");
        mirrored for "max"
    cooldown : steps after a reduction in which nothing is counted
    min_lr : no rate goes below; eps : reductions by less are not made
    """

    per: Literal["epoch", "batch"] = "epoch"

    def __init__(
        self, optimizer: Optimizer, mode: Literal["min", "max"] = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: Literal["rel", "abs"] = "rel", cooldown: int = 0, min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        where = "ReduceLROnPlateau"
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{where}: expected an optimiser, got {type(optimizer).__name__}")
        if mode not in ("min", "max"):
            raise ValueError(f"{where}: mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"{where}: threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}")
        self.optimizer = optimizer
        self.mode, self.threshold_mode = mode, threshold_mode
        self.factor = number(where, "factor", factor, 0.0, 1.0)
        self.patience = whole(where, "patience", patience, 0)
        self.threshold = number(where, "threshold", threshold, 0.0)
        self.cooldown = whole(where, "cooldown", cooldown, 0)
        self.min_lr = number(where, "min_lr", min_lr, 0.0)
        self.eps = number(where, "eps", eps, 0.0)
        self.best: float | None = None
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.count = 0

    def step(self, metric: float) -> None:
        """Takes one step with the metric's new value. NaN counts as no improvement."""
        value = float(metric)
        self.count += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group in self.optimizer.param_groups:
                lr = max(group["lr"] * self.factor, self.min_lr)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _better(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)
        margin = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1.0)
        return value < self.best - margin if self.mode == "min" else value > self.best + margin

    def get_last_lr(self) -> list[float]:
        """The learning rate of each parameter group now."""
        return [float(g["lr"]) for g in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes; the rates themselves are in the optimiser's state."""
        return {"best": self.best, "num_bad_epochs": self.num_bad_epochs, "cooldown_counter": self.cooldown_counter,
                "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.best = None if state["best"] is None else float(state["best"])
        self.num_bad_epochs = int(state["num_bad_epochs"])
        self.cooldown_counter = int(state["cooldown_counter"])
        self.count = int(state["count"])
