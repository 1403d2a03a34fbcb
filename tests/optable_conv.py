"""The records of convolutions in one and three dimensions, transposed, unshared, complex; pools, borders, resizing.

References are the loops of reference_conv and kerneltable_pool, and NumPy's `pad`.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import kerneltable_pool as loops
import numpy as np
import reference as ref
from optable import Sample, err, normal, op, ops, unreal, zeros
from optable_fourier import SPECS
from reference_conv import convolve, per_axis, sides_of, transposed

__all__ = ["SPECS"]

def samples_of(table: Any) -> Any:
    def draw(rng: Any) -> list[Sample]:
        return [Sample((normal(rng, x), normal(rng, w), None if b is None else normal(rng, b)), o)
                for x, w, b, o in table]  # fmt: skip

    return draw


# --- one and three dimensions

op(
    "conv1d",
    samples_of(
        [
            ((1, 1, 1), (1, 1, 1), (1,), {}),
            ((2, 9, 3), (5, 3, 3), None, {"stride": 2, "padding": (2, 1)}),
            ((2, 7, 2), (3, 4, 2), (3,), {"padding": "same", "activation": "tanh"}),
            ((2, 8, 2), (3, 4, 2), (3,), {"padding": "same", "stride": 3}),
            ((1, 6, 4), (4, 3, 2), (4,), {"padding": "causal", "dilation": 2, "groups": 2}),
            ((1, 5, 3), (3, 3, 1), None, {"padding": "full", "groups": 3, "flip": True}),
            ((2, 5, 2), (3, 3, 2), (3,), {"padding": 2, "padding_mode": "circular", "flip": True}),
            ((1, 6, 1), (2, 3, 1), (2,), {"padding": (3, 1), "padding_mode": "reflect"}),
            ((1, 3, 1), (2, 6, 1), (2,), {"padding": "full"}),
            ((0, 6, 2), (2, 3, 2), (2,), {}),
        ]
    ),
    convolve,
    4,
    gradients=(0, 1, 2),
    errors=(
        err(zeros(1, 2, 3, 4), zeros(2, 3, 4), says="expected x [N,L,C], got shape (1, 2, 3, 4)"),
        err(zeros(1, 5, 4), zeros(2, 3), says="expected weight [K,S,C/groups], got shape (2, 3)"),
        err(zeros(1, 2, 4), zeros(2, 3, 4), says="does not fit an input of 2"),
        err(zeros(1, 5, 4), zeros(2, 3, 4), padding="odd", says="'full' or 'causal'"),
        err(zeros(1, 5, 4), zeros(2, 3, 4), stride=0, says="stride must be at least 1"),
        err(zeros(1, 5, 4), zeros(2, 3, 4), padding=1, padding_mode="mirror", says="mode must be one of"),
        err(zeros(1, 5, 4), zeros(2, 3, 3), says="expected x with 3 channels"),
    ),
)
op(
    "conv3d",
    samples_of(
        [
            ((1, 1, 1, 1, 1), (1, 1, 1, 1, 1), (1,), {}),
            ((2, 4, 3, 4, 2), (3, 2, 3, 2, 2), (3,), {"padding": 1}),
            ((1, 5, 4, 5, 2), (4, 3, 2, 2, 1), None, {"stride": (2, 1, 2), "groups": 2, "activation": "sigmoid"}),
            ((1, 5, 5, 4, 1), (2, 2, 2, 2, 1), (2,), {"dilation": 2, "padding": "same"}),
            ((1, 3, 3, 3, 3), (3, 3, 1, 2, 1), (3,), {"groups": 3, "padding": "full", "flip": True}),
            ((1, 3, 4, 2, 2), (2, 3, 3, 3, 2), None, {"padding": ((1, 0), (2, 1), (1, 2)), "padding_mode": "circular"}),
            ((2, 3, 4, 4, 2), (5, 1, 3, 3, 2), (5,), {"padding": (0, 1, 1), "activation": "relu"}),
            ((0, 4, 4, 4, 2), (3, 2, 2, 2, 2), (3,), {}),
        ]
    ),
    convolve,
    4,
    gradients=(0, 1, 2),
    errors=(
        err(zeros(1, 4, 4, 4), zeros(2, 3, 3, 3, 4), says="expected x [N,D,H,W,C], got shape (1, 4, 4, 4)"),
        err(zeros(1, 4, 4, 4, 2), zeros(2, 3, 3, 2), says="expected weight [K,T,R,S,C/groups]"),
        err(zeros(1, 4, 4, 4, 3), zeros(2, 3, 3, 3, 2), says="expected x with 2 channels"),
        err(zeros(1, 4, 4, 4, 4), zeros(3, 3, 3, 3, 2), groups=2, says="3 output channels do not split"),
        err(zeros(1, 4, 4, 4, 4), zeros(3, 3, 3, 3, 4), zeros(2), says="bias of shape (3,), got (2,)"),
        err(zeros(1, 4, 4, 4, 4), zeros(3, 3, 3, 3, 4), stride=(1, 2), says="stride must be an integer or a triple"),
        err(zeros(1, 4, 2, 4, 4), zeros(3, 3, 3, 3, 4), says="does not fit an input of 2"),
        err(zeros(1, 4, 4, 4, 4), zeros(3, 3, 3, 3, 4), activation="x", says="activation must be one of"),
        err(zeros(1, 4, 4, 4, 4), zeros(3, 3, 3, 3, 4), groups=0, says="groups must be a positive integer"),
    ),
)

_VOLUMES: list[Any] = [
    ((1, 4, 5, 4, 4), (6, 2, 3, 2, 2), (1, 2, 3, 3, 6), ((2, 1, 1), (0, 0, 0), (1, 1, 1), 2)),
    ((2, 3, 4, 4, 1), (2, 3, 2, 2, 1), (2, 3, 4, 4, 2), ((1, 1, 1), (1, 1, 1), (1, 1, 2), 1)),
]


def _volume(x: Any, w: Any, y: Any, g: Any) -> Any:
    """The convolution of a geometry: padding behind is what y needs."""
    st, front, dl, groups = g
    behind = [
        (y[i + 1] - 1) * st[i] + dl[i] * (w.shape[i + 1] - 1) + 1 - front[i] - x.shape[i + 1] for i in range(3)
    ]
    return convolve(x, w, None, st, [(f, max(b, 0)) for f, b in zip(front, behind, strict=True)], dl, groups)[0]


def _adjoint(f: Any, like: Any, dy: Any) -> Any:
    """The transpose of the linear map f applied to dy, one unit vector at a time, and a bound."""
    value, bound = np.zeros(like), np.zeros(like)
    for at in np.ndindex(*like):
        unit = np.zeros(like)
        unit[at] = 1.0
        image = f(unit)
        value[at], bound[at] = (image * dy).sum(), np.abs(image * dy).sum()
    return value, bound


op(
    "conv3d_dx",
    lambda rng: [Sample((normal(rng, y), normal(rng, w), x, g)) for x, w, y, g in _VOLUMES],
    lambda dy, w, x, g: _adjoint(lambda u: _volume(u, w, dy.shape, g), x, dy),
    4,
    gradients=(0, 1),
    errors=(err(zeros(1, 2, 3, 3, 5), zeros(6, 2, 3, 2, 2), *_VOLUMES[0][::3], says="do not fit x of shape"),),
)
op(
    "conv3d_dw",
    lambda rng: [Sample((normal(rng, x), normal(rng, y), w, g)) for x, w, y, g in _VOLUMES],
    lambda x, dy, w, g: _adjoint(lambda u: _volume(x, u, dy.shape, g), w, dy),
    4,
    gradients=(0, 1),
    errors=(err(zeros(1, 4, 5, 4, 4), zeros(1, 2, 3, 3, 5), *_VOLUMES[0][1::2], says="do not fit a weight of shape"),),
)

# --- transposed

_TRANSPOSED_ERRORS = (
    err(zeros(5), zeros(5), says="expected x [N,"),
    err(zeros(1, 4, 4, 3), zeros(3, 2, 2, 4), groups=2, says="a multiple of groups=2"),
    err(zeros(1, 4, 4, 3), zeros(2, 2, 2, 4), says="expected x with 2 channels"),
    err(zeros(1, 4, 4, 3), zeros(3, 2, 4), says="expected weight [C, kernel.., K/groups]"),
    err(zeros(1, 4, 4, 3), zeros(3, 2, 2, 4), output_padding=1, says="must be smaller than stride"),
    err(zeros(1, 4, 4, 3), zeros(3, 2, 2, 4), zeros(3), says="bias of shape (4,), got (3,)"),
    err(zeros(1, 4, 4, 3), zeros(3, 2, 2, 4), padding=4, says="leaves no output"),
    err(zeros(1, 4, 4, 3), zeros(3, 2, 2, 4), groups=True, says="groups must be a positive integer"),
)


def _other(errors: Any, keep: int) -> Any:
    return errors[:keep]


op(
    "conv_transpose1d",
    samples_of(
        [
            ((2, 4, 3), (3, 3, 2), (2,), {"stride": 2, "padding": 1, "output_padding": 1}),
            ((1, 5, 4), (4, 2, 3), None, {"groups": 2, "dilation": 2, "padding": (1, 0)}),
            ((1, 3, 1), (1, 4, 2), (2,), {"stride": 3, "padding": "same", "activation": "relu"}),
        ]
    ),
    transposed,
    4,
    gradients=(0, 1, 2),
    errors=_other(_TRANSPOSED_ERRORS, 1),
)
op(
    "conv_transpose2d",
    samples_of(
        [
            ((1, 1, 1, 1), (1, 1, 1, 1), (1,), {}),
            ((2, 3, 4, 3), (3, 3, 2, 2), (2,), {"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0)}),
            ((1, 3, 3, 4), (4, 2, 3, 2), None, {"groups": 2, "dilation": (2, 1), "activation": "tanh"}),
            ((1, 3, 2, 2), (2, 3, 3, 3), (3,), {"stride": 2, "padding": "same", "activation": "sigmoid"}),
            ((1, 4, 4, 2), (2, 3, 3, 1), (1,), {"stride": 2, "padding": ((0, 2), (1, 0))}),
            ((0, 4, 4, 2), (2, 3, 3, 1), (1,), {}),
        ]
    ),
    transposed,
    4,
    gradients=(0, 1, 2),
    errors=_TRANSPOSED_ERRORS,
)
op(
    "conv_transpose3d",
    samples_of(
        [
            ((1, 2, 3, 2, 2), (2, 2, 3, 2, 2), (2,), {"stride": 2, "padding": 1, "output_padding": (1, 0, 1)}),
            ((1, 3, 2, 2, 2), (2, 2, 1, 2, 2), None, {"groups": 2, "dilation": (2, 1, 1)}),
        ]
    ),
    transposed,
    4,
    gradients=(0, 1, 2),
    errors=_other(_TRANSPOSED_ERRORS, 1),
)

# --- circular, complex


def _circular(x: Any, w: Any) -> Any:
    sides = [(k - 1, 0) for k in w.shape[1:-1]]
    return convolve(x, w, padding=sides, padding_mode="wrap", flip=True)


op(
    "circular_conv",
    lambda rng: [
        Sample((normal(rng, x), normal(rng, w)))
        for x, w in [
            ((2, 5, 2), (3, 3, 2)),
            ((1, 3, 1), (1, 7, 1)),
            ((1, 4, 3, 2), (2, 3, 2, 2)),
            ((1, 2, 3, 2, 1), (2, 2, 2, 2, 1)),
        ]
    ],
    _circular,
    4,
    gradients=(0, 1),
    errors=(
        err(zeros(4, 4), zeros(4, 4), says="expected x [N,..,C] and a weight"),
        err(zeros(1, 0, 1), zeros(1, 2, 1), says="nothing to repeat"),
    ),
)


def _complex_call(name: str) -> Any:
    """The op on pairs, as one array: real parts first, so that the templates can check it."""

    def call(xr: Any, xi: Any, wr: Any, wi: Any, **options: Any) -> Any:
        real, imaginary = getattr(ops, name)((xr, xi), (wr, wi), **options)
        return ops.stack([real, imaginary])

    return call


def _complex(xr: Any, xi: Any, wr: Any, wi: Any, conjugate: bool = False, **options: Any) -> Any:
    s = -1.0 if conjugate else 1.0
    (a, ba), (b, bb) = convolve(xr, wr, **options), convolve(xi, wi, **options)
    (c, bc), (d, bd) = convolve(xr, wi, **options), convolve(xi, wr, **options)
    return np.stack([a - s * b, d + s * c]), np.stack([ba + bb, bc + bd])


_SHAPES: list[Any] = [((2, 6, 2), (3, 3, 2)), ((1, 4, 5, 2), (2, 3, 2, 2)), ((1, 3, 3, 3, 1), (2, 2, 2, 2, 1))]
for _count, (_x, _w) in enumerate(_SHAPES, 1):
    op(
        f"complex_conv{_count}d",
        lambda rng, x=_x, w=_w: [
            Sample((normal(rng, x), normal(rng, x), normal(rng, w), normal(rng, w)), o)
            for o in ({}, {"conjugate": True, "padding": 1}, {"flip": True, "padding": "full"})
        ],
        _complex,
        4,
        gradients=(0, 1, 2, 3),
        call=_complex_call(f"complex_conv{_count}d"),
        errors=(err(zeros(*_x), zeros(*_x), zeros(*_w), zeros(*_w), activation="relu", kind=TypeError,
                    says="activation has no complex form"),),
    )  # fmt: skip

# --- kernels of their own


def _tiled(x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
           activation: Any = None) -> Any:  # fmt: skip
    """Output (p,q) from the ordinary convolution with its kernel."""
    t, u = w.shape[:2]
    bias = np.zeros(w.shape[2]) if b is None else b
    y = bound = None
    for i, j in itertools.product(range(t), range(u)):
        one, size = convolve(x, w[i, j], bias[i, j] if bias.ndim == 3 else bias, stride, padding, dilation)
        if y is None or bound is None:
            y, bound = np.empty(one.shape), np.empty(one.shape)
        y[:, i::t, j::u], bound[:, i::t, j::u] = one[:, i::t, j::u], size[:, i::t, j::u]
    assert y is not None and bound is not None
    y = ref.activate(y, activation)
    return y, bound + np.abs(y)


op(
    "tiled_conv2d",
    samples_of(
        [
            ((1, 4, 4, 1), (1, 1, 2, 3, 3, 1), (1, 1, 2), {}),
            ((2, 6, 5, 2), (2, 3, 3, 2, 2, 2), (2, 3, 3), {"padding": 1, "activation": "tanh"}),
            ((1, 7, 6, 2), (3, 2, 2, 3, 2, 2), (2,), {"stride": (1, 2), "padding": "same"}),
            ((1, 7, 7, 1), (2, 2, 2, 2, 2, 1), None, {"dilation": 2}),
            ((1, 3, 3, 1), (5, 4, 1, 2, 2, 1), (5, 4, 1), {}),
        ]
    ),
    _tiled,
    4,
    gradients=(0, 1, 2),
    errors=(
        err(zeros(4, 4, 1), zeros(1, 1, 2, 3, 3, 1), says="expected x [N,H,W,C], got shape (4, 4, 1)"),
        err(zeros(1, 4, 4, 1), zeros(2, 3, 3, 1), says="expected weight [tiles.., K,R,S,C]"),
        err(zeros(1, 4, 4, 2), zeros(1, 1, 2, 3, 3, 1), says="expected x with 1 channels"),
        err(zeros(1, 4, 4, 1), zeros(2, 1, 2, 3, 3, 1), zeros(2, 2), says="bias of shape (2, 1, 2) or (2,)"),
        err(zeros(1, 2, 4, 1), zeros(2, 1, 2, 3, 3, 1), says="does not fit an input of 2"),
    ),
)
op(
    "locally_connected2d",
    samples_of(
        [
            ((2, 4, 5, 2), (3, 4, 2, 2, 2, 2), (3, 4, 2), {}),
            ((1, 5, 4, 1), (3, 2, 3, 3, 3, 1), (3,), {"stride": 2, "padding": 1, "activation": "relu"}),
        ]
    ),
    _tiled,
    4,
    gradients=(0, 1, 2),
    errors=(
        err(zeros(1, 4, 4, 1), zeros(2, 3, 2, 2, 2, 1), says="expected one kernel for each of 3 x 3 outputs"),
        err(zeros(1, 4, 4, 1), zeros(3, 3, 2, 2, 2, 1), zeros(3, 3), says="bias of shape"),
    ),
)


def _tiled_row(x: Any, w: Any, b: Any = None, stride: int = 1, padding: Any = 0, dilation: int = 1,
               activation: Any = None) -> Any:  # fmt: skip
    sides = sides_of(padding, x.shape[1:2], w.shape[2:3], (stride,), (dilation,))
    bias = b[None] if b is not None and b.ndim == 2 else b
    y, bound = _tiled(x[:, None], w[None, :, :, None], bias, (1, stride), ((0, 0), sides[0]), (1, dilation), activation)
    return y[:, 0], bound[:, 0]


op(
    "locally_connected1d",
    samples_of(
        [
            ((2, 6, 2), (4, 3, 3, 2), (4, 3), {}),
            ((1, 7, 1), (4, 2, 3, 1), (2,), {"stride": 2, "padding": 1, "activation": "tanh"}),
        ]
    ),
    _tiled_row,
    4,
    gradients=(0, 1, 2),
    errors=(
        err(zeros(4, 4), zeros(2, 3, 2, 4), says="expected x [N,L,C]"),
        err(zeros(1, 4, 4), zeros(2, 3, 2), says="expected weight [Q,K,S,C]"),
        err(zeros(1, 4, 4), zeros(2, 3, 2, 4), says="expected one kernel for each of 1 x 3 outputs"),
    ),
)

_TABLE = ((0, 2), (1,), (2, 0, 1))


def _table_conv(x: Any, w: Any, b: Any, table: Any, **options: Any) -> Any:
    dense = np.zeros((len(table), *w.shape[1:], x.shape[3]))
    for link, (k, c) in enumerate((k, c) for k, row in enumerate(table) for c in row):
        dense[k, :, :, c] = w[link]
    return convolve(x, dense, b, **options)


op(
    "connection_conv2d",
    lambda rng: [
        Sample((normal(rng, (2, 5, 4, 3)), normal(rng, (6, 3, 2)), normal(rng, (3,)), _TABLE), o)
        for o in ({}, {"padding": "same", "activation": "tanh"}, {"stride": 2, "padding_mode": "reflect", "padding": 1})
    ],
    _table_conv,
    4,
    gradients=(0, 1, 2),
    call=lambda x, w, b, table, **o: ops.connection_conv2d(x, w, table, b, **o),
    errors=(
        err(zeros(5, 4, 3), zeros(6, 3, 2), None, _TABLE, says="expected x [N,H,W,C]"),
        err(zeros(1, 5, 4, 3), zeros(5, 3, 2), None, _TABLE, says="expected weight [6,R,S]"),
        err(zeros(1, 5, 4, 2), zeros(6, 3, 2), None, _TABLE, says="output map 0 must name different input maps"),
        err(zeros(1, 5, 4, 2), zeros(6, 3, 2), None, [], says="expected a table"),
        err(zeros(1, 5, 4, 3), zeros(6, 3, 2), None, _TABLE, groups=3, kind=TypeError, says="the place of groups"),
    ),
)

# --- borders and windows

op(
    "pad",
    lambda rng: [
        Sample((normal(rng, s), w, m))
        for m in ("constant", "edge", "reflect", "symmetric", "wrap")
        for s, w in [
            ((5,), 2),
            ((3, 4), (1, 2)),
            ((2, 3, 4, 2), ((0, 0), (2, 1), (0, 5), (0, 0))),
            ((2, 1, 2, 3, 2, 2), ((1, 0), (0, 2), (0, 0), (1, 1), (0, 3), (1, 0))),
            ((2, 2), 0),
            ((2, 3), np.array([[1, 2], [0, 1]])),
        ]
    ]
    + [Sample((normal(rng, (2, 3)), ((1, 2), (0, 1))), {"constant_values": 2.5})],
    lambda x, w, mode="constant", constant_values=0.0: np.pad(
        x, w, mode=mode, **({"constant_values": constant_values} if mode == "constant" else {})
    ),
    0,
    gradients=(0,),
    errors=(
        err(zeros(3), 1, "mirror", says="mode must be one of"),
        err(zeros(3), -1, says="must not be negative"),
        err(zeros(3), 1.5, kind=TypeError, says="must hold integers"),
        err(zeros(3, 3, 3), ((1, 1), (2, 2)), says="one (before, after) for each of 3 axes"),
        err(zeros(3, 0), 1, "wrap", says="nothing to repeat in an array of shape (3, 0)"),
        err(zeros(3), "1", says="pad_width must be a number"),
        *unreal(1),
    ),
)


def _unfold(x: Any, axis: int, size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Any:
    s = x.shape
    outputs = (s[axis] + 2 * padding - dilation * (size - 1) - 1) // stride + 1
    flat = x.reshape(math.prod(s[:axis]), s[axis], math.prod(s[axis + 1 : -1]), s[-1])
    shape = (*s[:axis], outputs, *s[axis + 1 : -1], size, s[-1])
    empty = np.empty((flat.shape[0], outputs, flat.shape[2], size, s[-1]))
    return loops.unfold(flat, empty, stride, padding, dilation).reshape(shape)


op(
    "unfold",
    lambda rng: [
        Sample((normal(rng, s), *p))
        for s, p in [
            ((5, 2), (0, 3)),
            ((2, 7, 3), (1, 3, 2, 1)),
            ((2, 3, 6, 2), (2, 2, 1, 0, 3)),
            ((2, 6, 3, 2), (1, 4, 3, 2, 1)),
        ]
    ],
    _unfold,
    0,
    gradients=(0,),
    errors=(
        err(zeros(4, 3), 1, 2, says="expected an axis before the last"),
        err(zeros(4, 3), 0, 5, says="do not fit 4"),
        err(zeros(4, 3), 0, 0, says="size must be an integer of at least 1"),
        err(zeros(4, 3), 0, 2, -1, says="stride must be an integer"),
        *unreal(0, 1),
    ),
)


def _fold(y: Any, axis: int, length: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Any:
    s = y.shape
    flat = y.reshape(math.prod(s[:axis]), s[axis], math.prod(s[axis + 1 : -2]), s[-2], s[-1])
    value, bound = loops.fold(flat, np.empty((flat.shape[0], length, flat.shape[2], s[-1])), stride, padding, dilation)
    shape = (*s[:axis], length, *s[axis + 1 : -2], s[-1])
    return value.reshape(shape), bound.reshape(shape)


op(
    "fold",
    lambda rng: [
        Sample((normal(rng, s), *p))
        for s, p in [((3, 3, 2), (0, 5)), ((2, 4, 3, 3), (1, 7, 2, 1)), ((2, 3, 3, 2, 2), (2, 6, 1, 0, 3))]
    ],
    _fold,
    4,
    gradients=(0,),
    errors=(err(zeros(4, 3, 2), 1, 5, says="expected an axis before the last two"), *unreal(0, 1)),
)

# --- resizing


def _resized(x: Any, size: Any, scale: Any, mode: str, align_corners: bool = False) -> Any:
    """Positions one by one, from PyTorch's definition."""
    count = x.ndim - 2
    given = per_axis(size, count) if size is not None else None
    scales = scale if isinstance(scale, tuple) else (scale,) * count
    sizes = given or tuple(int(n * s) for n, s in zip(x.shape[1:-1], scales, strict=True))
    steps = [n / o for n, o in zip(x.shape[1:-1], sizes, strict=True)] if given else [1 / s for s in scales]
    for axis in range(1, count + 1):
        n, step = x.shape[axis], steps[axis - 1]
        rows = []
        for i in range(sizes[axis - 1]):
            if mode == "nearest":
                rows.append(x.take(min(int(i * step), n - 1), axis))
                continue
            at = i * (n - 1) / max(sizes[axis - 1] - 1, 1) if align_corners else max((i + 0.5) * step - 0.5, 0.0)
            low = min(int(at), n - 1)
            part = at - low
            rows.append(x.take(low, axis) * (1 - part) + x.take(min(low + 1, n - 1), axis) * part)
        x = np.stack(rows, axis)
    return x, np.full(x.shape, np.abs(x).max(initial=0) + 4)


op(
    "interpolate",
    lambda rng: [
        Sample((normal(rng, s), *a))
        for s, a in [
            ((2, 5, 3), (7, None, "nearest")),
            ((2, 5, 3), (None, 2, "linear")),
            ((1, 3, 4, 2), ((6, 3), None, "bilinear", True)),
            ((1, 3, 4, 2), (None, (2, 1.5), "bilinear")),
            ((1, 3, 4, 2), (None, 3, "nearest")),
            ((1, 2, 3, 2, 1), (4, None, "trilinear")),
        ]
    ],
    _resized,
    8,
    gradients=(0,),
    errors=(
        err(zeros(3, 3), 3, says="one to three axes"),
        err(zeros(1, 3, 1), says="either size or scale_factor"),
        err(zeros(1, 3, 1), 3, 2.0, says="either size or scale_factor"),
        err(zeros(1, 3, 1), 3, mode="bilinear", says="the linear one of 1 axes"),
        err(zeros(1, 3, 1), 3, align_corners=True, says="align_corners has no meaning"),
        err(zeros(1, 3, 1), scale_factor=0.1, says="leave one cell at least"),
        err(zeros(1, 3, 1), 0, says="size must be at least 1"),
    ),
)
