"""McCulloch-Pitts neurons: fixed binary threshold units, in both forms, and the gates that one of them computes.

W. S. McCulloch, W. Pitts, A logical calculus of the ideas immanent in nervous activity, Bulletin of Mathematical
Biophysics 5, 1943.

Inputs and outputs are 0 and 1, and nothing is learned. A unit fires when the threshold is reached (>=), not only when
it is exceeded. With *absolute* inhibition, McCulloch and Pitts's own form, one active inhibitory input keeps the unit
silent whatever the others do; in the *weighted* form an inhibitory input has a negative weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .. import ops
from .._options import whole

__all__ = ["McCullochPitts", "mcculloch_pitts_gate", "truth_table"]

Array = npt.NDArray[Any]

# (excitatory, inhibitory inputs, threshold) and (weights, threshold); "x1_and_not_x2" fires for (1, 0) alone
_ABSOLUTE: dict[str, tuple[tuple[int, ...], tuple[int, ...], float]] = {
    "and": ((0, 1), (), 2.0),
    "or": ((0, 1), (), 1.0),
    "not": ((), (0,), 0.0),
    "nor": ((), (0, 1), 0.0),
    "x1_and_not_x2": ((0,), (1,), 1.0),
}
_WEIGHTED: dict[str, tuple[tuple[float, ...], float]] = {
    "and": ((1, 1), 2.0),
    "or": ((1, 1), 1.0),
    "not": ((-1,), 0.0),
    "nor": ((-1, -1), 0.0),
    "nand": ((-1, -1), -1.0),
    "x1_and_not_x2": ((1, -1), 1.0),
}
_WHY_NOT = {
    "nand": "it fires for (1, 0) and (0, 1), so neither input may inhibit, and then (1, 1) cannot silence it",
    "xor": "it is not linearly separable",
    "xnor": "it is not linearly separable",
}


class McCullochPitts:
    """One unit: y = 1 when the weighted sum of its inputs reaches the threshold and no inhibitor is active, else 0.

    Parameters
    ----------
    weights : [D], one per input; the absolute form uses 1 for every excitatory input
    threshold : the sum at which the unit fires
    inhibitory : numbers of the inputs that silence the unit when they are 1 (absolute inhibition); their weight is
        not used

    Calling it with x [D] or [N,D] of zeros and ones gives a number or [N]. Raises ValueError for other inputs, for
    weights that are not finite or no vector, and for inhibitory inputs that do not exist.
    """

    def __init__(self, weights: Sequence[float], threshold: float, inhibitory: Sequence[int] = ()) -> None:
        w = np.array(weights, np.float64)
        if w.ndim != 1 or not len(w) or not np.isfinite(w).all() or not np.isfinite(threshold):
            raise ValueError(
                f"McCullochPitts: expected finite weights [D] and a finite threshold, got {weights!r}, {threshold!r}"
            )
        self.inhibitory = tuple(whole("McCullochPitts", "an inhibitory input", i, 0) for i in inhibitory)
        if any(i >= len(w) for i in self.inhibitory):
            raise ValueError(f"McCullochPitts: inhibitory inputs must be in 0 .. {len(w) - 1}, got {inhibitory!r}")
        self.inhibits = np.zeros(len(w))  # [D], 1 for an inhibitor
        for i in self.inhibitory:
            self.inhibits[i], w[i] = 1.0, 0.0
        self.weights, self.threshold = w, float(threshold)

    def __call__(self, x: Any) -> Any:
        a = np.asarray(x, np.float64)
        if a.ndim not in (1, 2) or a.shape[-1] != len(self.weights):
            d = len(self.weights)
            raise ValueError(f"McCullochPitts: expected inputs [{d}] or [N,{d}], got shape {list(a.shape)}")
        if not ((a == 0) | (a == 1)).all():
            raise ValueError("McCullochPitts: expected inputs 0 or 1")
        batch = np.atleast_2d(a)  # [N,D]
        reached = ops.greater_equal(ops.matmul(batch, self.weights), self.threshold)  # [N]
        if self.inhibitory:
            reached = ops.mul(reached, ops.equal(ops.matmul(batch, self.inhibits), 0.0))
        return reached if a.ndim == 2 else float(reached[0])

    def __repr__(self) -> str:
        absolute = f", inhibitory={self.inhibitory}" if self.inhibitory else ""
        return f"McCullochPitts(weights={self.weights.tolist()}, threshold={self.threshold:g}{absolute})"


def mcculloch_pitts_gate(name: str, form: Literal["absolute", "weighted"] = "absolute") -> McCullochPitts:
    """The unit that computes a gate: "and", "or", "not", "nor", "x1_and_not_x2", and "nand" in the weighted form.

    Raises ValueError for a gate that no single unit of that form computes, saying why: NAND with absolute inhibition,
    XOR and XNOR in both.
    """
    if form not in ("absolute", "weighted"):
        raise ValueError(f"mcculloch_pitts_gate: form must be 'absolute' or 'weighted', got {form!r}")
    known = _ABSOLUTE if form == "absolute" else _WEIGHTED
    if name not in known:
        why = f"no single unit of the {form} form computes {name}: {_WHY_NOT[name]}" if name in _WHY_NOT else None
        raise ValueError(f"mcculloch_pitts_gate: {why or f'expected one of {sorted(known)}, got {name!r}'}")
    if form == "absolute":
        excitatory, inhibitory, threshold = _ABSOLUTE[name]
        return McCullochPitts([1.0] * (len(excitatory) + len(inhibitory)), threshold, inhibitory)
    weights, threshold = _WEIGHTED[name]
    return McCullochPitts(weights, threshold)


def truth_table(unit: Any, inputs: int | None = None) -> Array:
    """[2**D, D+1]: every row of zeros and ones in counting order, and what `unit` (called with [2**D,D]) answers.

    inputs : D, by default the number of weights of the unit. Raises ValueError when it is not between 1 and 16.
    """
    d = len(unit.weights) if inputs is None else inputs
    if not 1 <= d <= 16:
        raise ValueError(f"truth_table: expected 1 to 16 inputs, got {d}")
    x = (np.arange(2**d)[:, None] >> np.arange(d - 1, -1, -1) & 1).astype(np.float64)  # [2**D,D]
    return np.concatenate([x, np.asarray(unit(x), np.float64).reshape(-1, 1)], axis=1)
