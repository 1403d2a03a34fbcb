"""The records of pooling in one to three dimensions; references: the loops of kerneltable_pool, and definitions."""

from __future__ import annotations

import math
from typing import Any

import kerneltable_pool as loops
import numpy as np
from kerneltable import distinct
from optable import Sample, err, normal, op, zeros
from optable_conv import SPECS
from reference_conv import per_axis

__all__ = ["SPECS"]


def _five(x: Any) -> Any:
    return x.reshape(x.shape[0], *(1,) * (5 - x.ndim), *x.shape[1:])


def _three(v: tuple[int, ...], missing: int) -> tuple[int, ...]:
    return (missing,) * (3 - len(v)) + v


def outputs(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """Windows that begin inside the input or its front padding; the last may be cut off where ceil_mode."""
    span = d * (k - 1) + 1
    count = 0
    while True:
        start = count * s - p
        whole = start + span <= n + p
        if not whole and not (ceil_mode and start - s + span < n + p and start < n):
            return count
        count += 1


def _geometry(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    count = x.ndim - 2
    k, p, d = per_axis(kernel, count), per_axis(padding, count), per_axis(dilation, count)
    s = k if stride is None else per_axis(stride, count)
    sizes = [outputs(x.shape[i + 1], k[i], s[i], p[i], d[i], ceil_mode) for i in range(count)]
    shape = (x.shape[0], *sizes, x.shape[-1])
    return shape, (*_three(k, 1), *_three(s, 1), *_three(p, 0)), _three(d, 1)


def _extreme(minimum: int) -> Any:
    def reference(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                  ceil_mode: bool = False) -> Any:  # fmt: skip
        shape, params, d = _geometry(x, kernel, stride, padding, dilation, ceil_mode)
        y = _five(np.empty(shape))
        return loops.max_pool(_five(x), y, y, *params, *d, 0, minimum)[0].reshape(shape)

    return reference


def _average(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True) -> Any:  # fmt: skip
    shape, params, _ = _geometry(x, kernel, stride, padding, 1, ceil_mode)
    value, bound = loops.avg_pool(_five(x), _five(np.empty(shape)), *params, 0, int(count_include_pad))
    return value.reshape(shape), bound.reshape(shape)


def _adaptive_shape(x: Any, size: Any) -> Any:
    given = size if isinstance(size, tuple) else (size,) * (x.ndim - 2)
    return (x.shape[0], *(n if o is None else o for n, o in zip(x.shape[1:-1], given, strict=True)), x.shape[-1])


def _adaptive_max(x: Any, size: Any) -> Any:
    shape = _adaptive_shape(x, size)
    y = _five(np.empty(shape))
    return loops.max_pool(_five(x), y, y, *(1,) * 6, *(0,) * 3, *(1,) * 3, 1, 0)[0].reshape(shape)


def _adaptive_avg(x: Any, size: Any) -> Any:
    shape = _adaptive_shape(x, size)
    value, bound = loops.avg_pool(_five(x), _five(np.empty(shape)), *(1,) * 6, *(0,) * 3, 1, 0)
    return value.reshape(shape), bound.reshape(shape)


def _power(x: Any, p: float, kernel: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """Sums of powers; a window that was cut off is scaled up to the size of a whole one."""
    mean, _ = _average(np.abs(x) ** p, kernel, stride, 0, ceil_mode)
    y = (mean * math.prod(per_axis(kernel, x.ndim - 2))) ** (1 / p)
    return y, y


_SHAPES = {1: (2, 9, 3), 2: (2, 7, 6, 3), 3: (1, 5, 4, 5, 2)}
_KERNELS: dict[int, Any] = {1: 3, 2: (3, 2), 3: (2, 3, 2)}
_HALF: dict[int, Any] = {1: 1, 2: (1, 1), 3: (1, 1, 0)}


def _sliding(count: int) -> list[tuple[Any, ...]]:
    """(shape, kernel, stride, padding) of the samples of a pool."""
    s, k = _SHAPES[count], _KERNELS[count]
    return [
        ((1,) * (count + 2), 1, None, 0),
        (s, k, None, 0),
        (s, k, 2, _HALF[count]),
        (s, 2, 1, 1),
        ((0, *s[1:]), 2, 2, 0),
        ((*s[:-1], 17), 2, 2, 0),
    ]


_LAYOUT = {1: "[N,L,C]", 2: "[N,H,W,C]", 3: "[N,D,H,W,C]"}


def _errors(count: int) -> Any:
    shape = (1, *(4,) * count, 2)
    return (
        err(zeros(*shape[1:]), 2, says=f"expected x {_LAYOUT[count]}, got shape {shape[1:]}"),
        err(zeros(*shape), 0, says="kernel_size must be at least 1"),
        err(zeros(*shape), (1, 2, 3, 4), says="kernel_size must be an integer"),
        err(zeros(*shape), "2", kind=TypeError, says="kernel_size must be an integer"),
        err(zeros(*shape), 2, 0, says="stride must be at least 1"),
        err(zeros(*shape), 2, 2, 2, says="more than half of kernel_size"),
        err(zeros(*shape), 5, says="does not fit an input of 4"),
    )


for _n in (1, 2, 3):
    for _name, _minimum in (("max", 0), ("min", 1)):
        if (_name, _n) == ("max", 2):
            continue  # with its history in optable_nets
        op(
            f"{_name}_pool{_n}d",
            lambda rng, n=_n: [Sample((distinct(rng, s, 0.05), k, st, p), {"ceil_mode": bool(c)})
                               for s, k, st, p in _sliding(n) for c in (0, 1)]
            + [Sample((distinct(rng, (1, *(8,) * n, 2), 0.05), 3, 2, 1, 2))],
            _extreme(_minimum),
            0,
            gradients=(0,),
            errors=_errors(_n),
        )  # fmt: skip
    if _n != 2:
        op(
            f"avg_pool{_n}d",
            lambda rng, n=_n: [
                Sample((normal(rng, s), k, st, p), {"ceil_mode": bool(i % 2), "count_include_pad": bool(c)})
                for i, (s, k, st, p) in enumerate(_sliding(n))
                for c in (0, 1)
            ],
            _average,
            4,
            gradients=(0,),
            errors=_errors(_n),
        )
    op(
        f"lp_pool{_n}d",
        lambda rng, n=_n: [
            Sample((distinct(rng, _SHAPES[n], 0.1), p, _KERNELS[n], st, c))
            for p, st, c in ((2, None, False), (3.5, 1, False), (1, 2, True), (2.0, 2, True))
        ],
        _power,
        16,
        gradients=(0,),
        errors=(
            err(zeros(1, *(4,) * _n, 2), 0.5, 2, says="norm_type must be a number of at least 1"),
            err(zeros(4), 2, 2, says="expected x [N,"),
            err(zeros(1, *(4,) * _n, 2), 2, 5, says="does not fit an input of 4"),
        ),
    )
    _sizes = lambda n: [(_SHAPES[n], 1), (_SHAPES[n], 3), (_SHAPES[n], (None, 8, 2)[:n]), ((1, *(2,) * n, 19), 3)]  # noqa: E731
    _adaptive_errors = (
        err(zeros(4), 2, says="expected x [N,"),
        err(zeros(1, *(4,) * _n, 2), 0, says="output_size must be at least 1"),
        err(zeros(1, *(4,) * _n, 2), (1, 1, 1, 1), says="output_size must be an integer"),
        err(zeros(1, *(0,) * _n, 2), 1, says="nothing to pool"),
    )
    op(
        f"adaptive_max_pool{_n}d",
        lambda rng, n=_n, sizes=_sizes: [Sample((distinct(rng, s, 0.05), o)) for s, o in sizes(n)],
        _adaptive_max,
        0,
        gradients=(0,),
        errors=_adaptive_errors,
    )
    op(
        f"adaptive_avg_pool{_n}d",
        lambda rng, n=_n, sizes=_sizes: [Sample((normal(rng, s), o)) for s, o in sizes(n)],
        _adaptive_avg,
        4,
        gradients=(0,),
        errors=_adaptive_errors,
    )


def _unpooled(x: Any, index: Any, size: Any) -> Any:
    shape = (x.shape[0], *per_axis(size, x.ndim - 2), x.shape[-1])
    value, bound = loops.scatter(_five(x), _five(index), _five(np.empty(shape)).shape)
    return value.reshape(shape), bound.reshape(shape)


op(
    "max_unpool",
    lambda rng: [
        Sample((normal(rng, s), rng.integers(0, math.prod(size), s).astype(np.int32), size))
        for s, size in [((2, 3, 3), (7,)), ((2, 2, 3, 5), (4, 6)), ((1, 2, 2, 2, 2), (4, 5, 4)), ((0, 2, 2, 1), (4, 4))]
    ],
    _unpooled,
    4,
    gradients=(0,),
    errors=(
        err(zeros(1, 2, 1), np.zeros((1, 3, 1), np.int32), 4, says="expected indices of shape (1, 2, 1)"),
        err(zeros(1, 2, 1), np.full((1, 2, 1), 4, np.int32), 4, says="idx holds 4"),
        err(zeros(1, 2, 1), np.full((1, 2, 1), 2**40), 4, says="idx holds"),
        err(zeros(1, 2, 1), np.zeros((1, 2, 1), np.float32), 4, kind=TypeError, says="integer indices"),
        err(zeros(2, 1), np.zeros((2, 1), np.int32), 4, says="expected x [N,L,C]"),
    ),
)
