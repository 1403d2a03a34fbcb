"""Limits on gradients: by value, by norm. The factor is found and applied by kernels, so no value is read in Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import _core, ops
from .._capture import refuse_read
from ..ops._common import cast, empty
from ..tensor import Array, Tensor, wrap

__all__ = ["clip_grad_norm_", "clip_grad_value_"]

_JOINT, _JOINT_MAX = 0, 2  # places in the `norms [4]` of norm_update


def norm_buffers(buffers: dict[np.dtype[Any], Array], like: Array) -> Array:
    """The `norms [4]` of this dtype, made once."""
    found = buffers.get(like.dtype)
    if found is None:
        found = buffers[like.dtype] = empty((4,), like.dtype)
    return found


def joint_norms(arrays: Sequence[Array], buffers: dict[np.dtype[Any], Array]) -> dict[np.dtype[Any], Array]:
    """norms [4] of all arrays together, in each dtype that occurs."""
    seen: dict[np.dtype[Any], Array] = {}
    for x in arrays:
        norms = norm_buffers(buffers, x)
        _core.norm_update(x, norms, int(x.dtype not in seen))
        seen[x.dtype] = norms
    if len(seen) > 1:  # both precisions: the joint 2-norm of the two norms, the larger of the two maxima
        parts = [cast(n, np.dtype(np.float64)) for n in seen.values()]
        both = norm_buffers({}, parts[0])
        for place in (_JOINT, _JOINT_MAX):
            pair = empty((4,), both.dtype)
            for i, n in enumerate(parts):
                _core.norm_update(n[place : place + 1], pair, int(i == 0))
            _core.copy(pair[place : place + 1], both[place : place + 1])
            _core.copy(pair[place : place + 1], both[place + 1 : place + 2])
        for dtype, norms in seen.items():
            _core.copy(cast(both, dtype), norms)
    return seen


def clip_by_norm(arrays: Sequence[Array], limit: float, eps: float, buffers: dict[np.dtype[Any], Array]) -> None:
    """Scales all arrays in place by min(1, limit / (joint 2-norm + eps))."""
    norms = joint_norms(arrays, buffers)
    for x in arrays:
        _core.norm_scale_update(x, norms[x.dtype], _JOINT, limit, eps)


def clip_by_value(arrays: Sequence[Array], limit: float) -> None:
    """Clips every element to [-limit, limit] in place."""
    for x in arrays:
        _core.clip_update(x, -limit, limit)


def _gradients(where: str, parameters: Iterable[Tensor] | Tensor) -> list[Array]:
    found = []
    for p in [parameters] if isinstance(parameters, Tensor) else parameters:
        if not isinstance(p, Tensor):
            raise TypeError(f"{where}: expected parameters, got {type(p).__name__}")
        if p.grad is not None:
            g = p.grad.data
            if not (g.flags.c_contiguous and g.flags.writeable):
                g = np.array(g, order="C")
                p.grad = wrap(g)
            found.append(g)
    return found


def _positive(where: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"{where}: {name} must be a positive number, got {value!r}")
    return float(value)


def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scales all gradients in place so that their joint norm is at most `max_norm`; PyTorch's function.

    norm_type : 2, or infinity for the largest magnitude
    error_if_nonfinite : raise ArithmeticError when the norm is NaN or infinite, before anything changes

    Returns the norm before clipping, a tensor []. Gradients are multiplied by min(1, max_norm / (norm + 1e-6)).
    Raises ValueError for other norms and for max_norm <= 0.
    """
    limit = _positive("clip_grad_norm_", "max_norm", max_norm)
    if norm_type not in (2, math.inf):
        raise ValueError(f"clip_grad_norm_: norm_type must be 2 or infinity, got {norm_type!r}")
    grads = _gradients("clip_grad_norm_", parameters)
    if not grads:
        return wrap(ops.zeros(()))
    place = _JOINT if norm_type == 2 else _JOINT_MAX
    norms = joint_norms(grads, {})
    widest = norms.get(np.dtype(np.float64), next(iter(norms.values())))
    total = ops.reshape(ops.copy(widest[place : place + 1]), ())
    if error_if_nonfinite:
        refuse_read("clip_grad_norm_(error_if_nonfinite=True)")
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise ArithmeticError(f"clip_grad_norm_: the joint norm of the gradients is {float(total)}")
    for g in grads:
        _core.norm_scale_update(g, norms[g.dtype], place, limit, 1e-6)
    return wrap(total)


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Clips every gradient element to [-clip_value, clip_value] in place. Raises ValueError unless clip_value > 0."""
    limit = _positive("clip_grad_value_", "clip_value", clip_value)
    clip_by_value(_gradients("clip_grad_value_", parameters), limit)
