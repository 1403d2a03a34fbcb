"""Convolutions that do not share one kernel everywhere: tiled, unshared, and with a connection table.

Tiled convolution (notes A:2.H, Goodfellow et al., Deep Learning, 9.5) cycles t kernels through space: output p uses
kernel p mod t. t = 1 is the ordinary convolution, t = number of outputs the unshared one, so one function does all
three: the windows are laid side by side (`unfold`), sorted by kernel, and multiplied in one batched matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._common import Array, X, activation_code
from ._geometry import Pads, int_tuple, output_size, resolve_padding, shape_of
from .conv import conv2d
from .elementwise import add, relu, sigmoid, tanh
from .linalg import matmul
from .pad import windows
from .select import scatter_add
from .shape import getitem, reshape, transpose

__all__ = ["connection_conv2d", "locally_connected1d", "locally_connected2d", "tiled_conv2d"]


def _patches(
    x: X, kernel: tuple[int, ...], stride: tuple[int, ...], front: tuple[int, ...], dilation: tuple[int, ...],
    outputs: tuple[int, ...],
) -> X:
    """x [N,H,W,C] -> [N,P,Q,R*S*C]: what each output sees, zeros outside."""
    n, h, _, c = x.shape
    wide = windows(x, 2, kernel[1], stride[1], front[1], dilation[1], outputs[1])  # [N,H,Q,S,C]
    wide = reshape(wide, (n, h, outputs[1], kernel[1] * c))
    tall = windows(wide, 1, kernel[0], stride[0], front[0], dilation[0], outputs[0])  # [N,P,Q,R,S*C]
    return reshape(tall, (n, *outputs, kernel[0] * kernel[1] * c))


def _tiled(
    where: str, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, activation: str | None,
    unshared: bool,
) -> Any:
    code = activation_code(where, activation)
    xs, ws = shape_of(where, x), shape_of(where, weight)
    if len(xs) != 4:
        raise ValueError(f"{where}: expected x [N,H,W,C], got shape {xs}")
    if len(ws) != 6:
        raise ValueError(f"{where}: expected weight [tiles.., K,R,S,C], got shape {ws}")
    tiles, k, kernel = ws[:2], ws[2], ws[3:5]
    if 0 in ws:
        raise ValueError(f"{where}: expected a weight that is not empty, got shape {ws}")
    if ws[5] != xs[3]:
        raise ValueError(f"{where}: expected x with {ws[5]} channels for weight {ws}, got shape {xs}")
    st, dl = int_tuple(where, "stride", stride, 2, 1), int_tuple(where, "dilation", dilation, 2, 1)
    pads = resolve_padding(where, padding, xs[1:3], kernel, st, dl)
    p, q = (output_size(where, xs[i + 1], kernel[i], st[i], sum(pads[i]), dl[i]) for i in (0, 1))
    if unshared and tiles != (p, q):
        raise ValueError(f"{where}: expected one kernel for each of {p} x {q} outputs, got weight {ws}")
    if bias is not None and shape_of(where, bias) not in ((*tiles, k), (k,)):
        raise ValueError(f"{where}: expected bias of shape {(*tiles, k)} or ({k},), got {shape_of(where, bias)}")
    n, (u, v) = xs[0], tiles
    # Rows and columns up to a whole number of cycles; what is too many is cut off below.
    rows, columns = -(-p // u), -(-q // v)
    front = (pads[0][0], pads[1][0])
    seen = _patches(x, kernel, st, front, dl, (rows * u, columns * v))
    size = seen.shape[3]
    seen = reshape(seen, (n, rows, u, columns, v, size))
    seen = reshape(transpose(seen, (2, 4, 0, 1, 3, 5)), (u * v, n * rows * columns, size))
    y: Any = matmul(seen, transpose(reshape(weight, (u * v, k, size)), (0, 2, 1)))  # [u*v, n*rows*columns, K]
    if bias is not None:
        each = len(shape_of(where, bias)) == 3
        y = add(y, reshape(bias, (u * v, 1, k)) if each else bias)
    if code:
        y = (relu, tanh, sigmoid)[code - 1](y)
    y = transpose(reshape(y, (u, v, n, rows, columns, k)), (2, 3, 0, 4, 1, 5))
    y = reshape(y, (n, rows * u, columns * v, k))
    return y if (rows * u, columns * v) == (p, q) else getitem(y, np.s_[:, :p, :q])


def tiled_conv2d(
    x: X, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    activation: str | None = None,
) -> X:
    """Convolution with a grid of kernels that take turns: output (p,q) uses weight[p mod t, q mod u].

    x : [N,H,W,C] ; weight : [t,u,K,R,S,C] ; bias : [t,u,K] or [K], optional; options as in `conv2d`, zeros outside.
    Returns [N,P,Q,K]. t = u = 1 is `conv2d`, (t,u) = (P,Q) is `locally_connected2d`. Raises ValueError for shapes
    that do not fit.
    """
    return _tiled("tiled_conv2d", x, weight, bias, stride, padding, dilation, activation, False)


def locally_connected2d(
    x: X, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    activation: str | None = None,
) -> X:
    """Unshared convolution: every output pixel has a kernel of its own.

    x : [N,H,W,C] ; weight : [P,Q,K,R,S,C] ; bias : [P,Q,K] or [K], optional. Returns [N,P,Q,K]. Raises ValueError when
    the weight does not have the size of the output.
    """
    return _tiled("locally_connected2d", x, weight, bias, stride, padding, dilation, activation, True)


def locally_connected1d(
    x: X, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    activation: str | None = None,
) -> X:
    """`locally_connected2d` for x [N,L,C], weight [Q,K,S,C], bias [Q,K] or [K]. Returns [N,Q,K]."""
    where: str = "locally_connected1d"
    xs: tuple[int, ...] = shape_of(where, x)
    ws: tuple[int, ...] = shape_of(where, weight)
    if len(xs) != 3:
        raise ValueError(f"{where}: expected x [N,L,C], got shape {xs}")
    if len(ws) != 4:
        raise ValueError(f"{where}: expected weight [Q,K,S,C], got shape {ws}")
    s: int = int_tuple(where, "stride", stride, 1, 1)[0]
    d: int = int_tuple(where, "dilation", dilation, 1, 1)[0]
    pads: Pads = resolve_padding(where, padding, xs[1:2], ws[2:3], (s,), (d,))
    if bias is not None and len(shape_of(where, bias)) == 2:
        bias = reshape(bias, (1, *shape_of(where, bias)))
    y: Any = _tiled(
        where, reshape(x, (xs[0], 1, *xs[1:])), reshape(weight, (1, ws[0], ws[1], 1, *ws[2:])), bias, (1, s),
        ((0, 0), pads[0]), (1, d), activation, True,
    )  # fmt: skip
    return reshape(y, (xs[0], *y.shape[2:]))


def _links(where: str, table: Any, channels: int) -> Array:
    """Positions k*C + c of the links in a kernel [K,C], in order of the table."""
    if not isinstance(table, Sequence) or not table or not all(isinstance(row, Sequence) and row for row in table):
        raise ValueError(f"{where}: expected a table of the input maps of each output map, got {table!r}")
    at = []
    for k, row in enumerate(table):
        if len(set(row)) != len(row) or not all(hasattr(c, "__index__") and 0 <= c < channels for c in row):
            raise ValueError(f"{where}: output map {k} must name different input maps in 0 .. {channels - 1}, "
                             f"got {list(row)}")  # fmt: skip
        at += [k * channels + int(c) for c in row]
    return np.asarray(at, np.int64)


def connection_conv2d(x: X, weight: Any, table: Any, bias: Any = None, **options: Any) -> X:
    """A convolution in which output map k sees only the input maps table[k] (LeNet-5's layer C3).

    x : [N,H,W,C] ; weight : [links,R,S], one kernel for each link in the order of the table ; bias : [K], optional
    table : K sequences of input maps; options : those of `conv2d`, groups apart

    Returns [N,P,Q,K]. Raises ValueError for maps that do not exist and a weight with another number of links.
    """
    where = "connection_conv2d"
    xs, ws = shape_of(where, x), shape_of(where, weight)
    if len(xs) != 4:
        raise ValueError(f"{where}: expected x [N,H,W,C], got shape {xs}")
    if "groups" in options:
        raise TypeError(f"{where}: the table takes the place of groups")
    at = _links(where, table, xs[3])
    if len(ws) != 3 or ws[0] != len(at):
        raise ValueError(f"{where}: expected weight [{len(at)},R,S] for the links of the table, got shape {ws}")
    r, s = ws[1:]
    dense: Any = scatter_add(reshape(weight, (ws[0], r * s)), at, len(table) * xs[3])  # zeros where there is no link
    kernel = transpose(reshape(dense, (len(table), xs[3], r, s)), (0, 2, 3, 1))
    return conv2d(x, kernel, bias, **options)
