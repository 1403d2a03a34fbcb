"""Convolution in one and three dimensions, transposed, circular and complex; all on the kernels of `conv2d`.

A row [N,L,C] is a picture of one line. A volume is a stack of pictures: the T planes under a kernel's depth are laid
side by side as channels (`unfold` along D), and one 2-D convolution with T*C channels does the arithmetic, so every
fast path of the 2-D kernels serves volumes too. The price is a copy of T times the input, made again for the weight
gradient rather than kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from ._common import OUT, Array, X, activation_code, algo_code, contiguous, kept, new_array, operands, record
from ._common import pair as pair_of
from ._geometry import AXES, Pads, explicit_padding, int_tuple, output_size, resolve_padding, shape_of, too_wide
from .conv import bordered, conv2d, conv2d_dx, flipped
from .elementwise import add, bias_activation_grad, neg, relu, sigmoid, sub, tanh
from .pad import pad
from .shape import getitem, reshape

__all__ = [
    "circular_conv", "complex_conv1d", "complex_conv2d", "complex_conv3d", "conv1d", "conv3d", "conv3d_dw",
    "conv3d_dx", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
]

Triple = tuple[int, int, int]
Geometry = tuple[Triple, Triple, Triple, int]  # stride, padding in front, dilation, groups


def _check_channels(where: str, xs: tuple[int, ...], ws: tuple[int, ...], bias: Any, groups: Any) -> None:
    """Raises ValueError unless x [...,C], weight [K,...,C/groups] and bias [K] fit together."""
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ValueError(f"{where}: groups must be a positive integer, got {groups!r}")
    if xs[-1] != ws[-1] * groups:
        raise ValueError(f"{where}: expected x with {ws[-1] * groups} channels for weight {ws} and groups={groups}, "
                         f"got shape {xs}")  # fmt: skip
    if ws[0] % groups:
        raise ValueError(f"{where}: {ws[0]} output channels do not split into {groups} groups")
    if bias is not None and shape_of(where, bias) != ws[:1]:
        raise ValueError(f"{where}: expected bias of shape ({ws[0]},), got {shape_of(where, bias)}")


class _Named:
    """Errors of the two-dimensional kernels inside are worded as those of `where`, if an algorithm was asked for."""

    def __init__(self, where: str, algo: str) -> None:
        algo_code(where, algo)
        self.where, self.active = where, algo != "auto"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self.active and isinstance(error, ValueError) and str(error).startswith("conv2d: algo"):
            raise ValueError(f"{self.where}: {str(error)[len('conv2d: ') :]}") from None


# --- one dimension


def conv1d(
    x: X, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
    activation: str | None = None, padding_mode: str = "zeros", flip: bool = False, algo: str = "auto",
) -> X:
    """y[n,q,k] = activation(bias[k] + sum over s,c of x[n, q*stride + s*dilation - pad, c] * weight[k,s,c]).

    x : [N,L,C] ; weight : [K,S,C/groups] ; bias : [K], optional. Returns [N,Q,K].
    padding : int, (before, after), "valid", "same", "full", or "causal" (all in front, so that no output sees the
    future). The other options as in `conv2d`. Raises ValueError for shapes that do not fit.
    """
    xs: tuple[int, ...] = shape_of("conv1d", x)
    ws: tuple[int, ...] = shape_of("conv1d", weight)
    if len(xs) != 3:
        raise ValueError(f"conv1d: expected x [N,L,C], got shape {xs}")
    if len(ws) != 3:
        raise ValueError(f"conv1d: expected weight [K,S,C/groups], got shape {ws}")
    _check_channels("conv1d", xs, ws, bias, groups)
    s: int = int_tuple("conv1d", "stride", stride, 1, 1)[0]
    d: int = int_tuple("conv1d", "dilation", dilation, 1, 1)[0]
    if padding_mode != "zeros":
        x, padding = bordered("conv1d", x, padding, padding_mode, ws[1:2], stride, dilation), 0
        xs = x.shape
    sides: tuple[int, int] = resolve_padding("conv1d", padding, xs[1:2], ws[1:2], (s,), (d,))[0]
    output_size("conv1d", xs[1], ws[1], s, sum(sides), d)
    with _Named("conv1d", algo):
        y: Any = conv2d(
            reshape(x, (xs[0], 1, *xs[1:])), reshape(weight, (ws[0], 1, *ws[1:])), bias, stride=(1, s),
            padding=((0, 0), sides), dilation=(1, d), groups=groups, activation=activation, flip=flip, algo=algo,
        )  # fmt: skip
    return reshape(y, (xs[0], *y.shape[2:]))


# --- three dimensions


def conv3d(
    x: X, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
    activation: str | None = None, padding_mode: str = "zeros", flip: bool = False, algo: str = "auto",
) -> X:
    """`conv2d` for volumes: x [N,D,H,W,C], weight [K,T,R,S,C/groups], bias [K] -> [N,O,P,Q,K]; options as there.

    `algo` is that of the two-dimensional convolution with T*C channels that does the work.
    """
    code = activation_code("conv3d", activation)
    xs: tuple[int, ...] = shape_of("conv3d", x)
    ws: tuple[int, ...] = shape_of("conv3d", weight)
    if len(xs) != 5:
        raise ValueError(f"conv3d: expected x [N,D,H,W,C], got shape {xs}")
    if len(ws) != 5:
        raise ValueError(f"conv3d: expected weight [K,T,R,S,C/groups], got shape {ws}")
    _check_channels("conv3d", xs, ws, bias, groups)
    if padding_mode != "zeros":
        x, padding = bordered("conv3d", x, padding, padding_mode, ws[1:4], stride, dilation), 0
        xs = x.shape
    weight = flipped(weight, 5) if flip else weight
    xa, wa, ba = operands("conv3d", x, weight, bias)
    st: Triple = _triple("stride", stride)
    dl: Triple = _triple("dilation", dilation)
    pads: Pads = resolve_padding("conv3d", padding, xs[1:4], ws[1:4], st, dl)
    if too_wide(pads, xs[1:4], ws[1:4], dl):
        x = bordered("conv3d", x, pads, "zeros", ws[1:4], st, dl)
        return conv3d(x, weight, bias, stride=st, dilation=dl, groups=groups, activation=activation, algo=algo)
    sizes: list[int] = [output_size("conv3d", xs[i + 1], ws[i + 1], st[i], sum(pads[i]), dl[i]) for i in range(3)]
    geometry: Geometry = (st, (pads[0][0], pads[1][0], pads[2][0]), dl, groups)
    way = algo_code("conv3d", algo)
    with _Named("conv3d", algo):
        y = _forward(xa, wa, ba, (xs[0], *sizes, ws[0]), geometry, code, way)
    saved = (kept(x, xa), kept(weight, wa), OUT if code else None, code, geometry, way)
    return record("conv3d", y, _conv3d_grad, (x, weight, bias), saved)


def _triple(name: str, value: Any) -> Triple:
    a, b, c = int_tuple("conv3d", name, value, 3, 1)
    return a, b, c


def _flat(g: Geometry, *codes: int) -> tuple[int, ...]:
    """The geometry of the 2-D convolution over pictures whose channels are the planes under the kernel, and codes."""
    return (*g[0][1:], *g[1][1:], *g[2][1:], g[3], *codes)


def _planes(x: Array, depth: int, outputs: int, g: Geometry) -> Array:
    """x [N,D,H,W,C] -> [N*O,H,W,G*T*C/G]: the T planes under the kernel at each depth, group by group."""
    n, d, h, w, c = x.shape
    x = contiguous(x)
    if depth == 1 and outputs == d and g[0][0] == 1 and g[1][0] == 0:
        return x.reshape(n * d, h, w, c)
    pixels = x.reshape(n, d, h * w * g[3], c // g[3])
    y = new_array((n * outputs, h, w, depth * c), x)
    _core.unfold(pixels, y.reshape(n, outputs, h * w * g[3], depth, c // g[3]), g[0][0], g[1][0], g[2][0])
    return y


def _kernel(w: Array) -> Array:
    """[K,T,R,S,C/G] -> [K,R,S,T*C/G]."""
    k, t, r, s, c = w.shape
    return contiguous(w.transpose(0, 2, 3, 1, 4)).reshape(k, r, s, t * c)


def _forward(x: Array, w: Array, bias: Array | None, shape: tuple[int, ...], g: Geometry, code: int, way: int) -> Array:
    y = new_array(shape, x)
    n, o, p, q, k = shape
    params = _flat(g, code, way)
    _core.conv2d(_planes(x, w.shape[1], o, g), _kernel(w), bias, y.reshape(n * o, p, q, k), *params)
    return y


def _conv3d_grad(
    g: Any, needs: Any, x: Any, w: Any, y: Any, code: int, geometry: Geometry, way: int
) -> tuple[Any, ...]:
    g, gb = bias_activation_grad(code, y, g, needs[2])
    gx = _dx(g, w, x.shape, geometry, way) if needs[0] else None
    gw = _dw(x, g, w.shape, geometry, way) if needs[1] else None
    return gx, gw, gb


def _plain(x: X, w: Any, like: tuple[int, ...], geometry: Geometry, way: int) -> X:
    """conv3d without bias and activation, with the output shape given: the adjoint of the two ops below."""
    xa, wa = operands("conv3d", x, w)
    y = _forward(xa, wa, None, like, geometry, 0, way)
    return record("conv3d", y, _conv3d_grad, (x, w, None), (x, w, None, 0, geometry, way))


def conv3d_dx(dy: X, weight: Any, x_shape: tuple[int, ...], geometry: Geometry) -> X:
    """Gradient of conv3d with respect to x: dy [N,O,P,Q,K], weight [K,T,R,S,C/groups] -> [N,D,H,W,C] = x_shape.

    geometry: (stride, padding in front, dilation, groups), each but the last a triple (depth, height, width).
    """
    return _dx(dy, weight, x_shape, geometry, 0)


def _dx(dy: X, weight: Any, x_shape: tuple[int, ...], geometry: Geometry, way: int) -> X:
    ga, wa = pair_of("conv3d_dx", dy, weight)
    n, d, h, w, c = x_shape
    k, t, _, _, cg = wa.shape
    o, p, q = ga.shape[1:4]
    if ga.shape != (n, o, p, q, k) or c != cg * geometry[3]:
        raise ValueError(f"conv3d_dx: dy {ga.shape} and weight {wa.shape} do not fit x of shape {tuple(x_shape)}")
    planes = new_array((n * o, h, w, t * c), ga)
    _core.conv2d_dx(contiguous(ga).reshape(n * o, p, q, k), _kernel(wa), planes, *_flat(geometry, way))
    dx = new_array(tuple(x_shape), ga)
    pixels = h * w * geometry[3]
    _core.fold(planes.reshape(n, o, pixels, t, cg), dx.reshape(n, d, pixels, cg), geometry[0][0], geometry[1][0],
               geometry[2][0])  # fmt: skip
    return record("conv3d_dx", dx, _dx_grad, (dy, weight), (dy, weight, geometry, way))


def _dx_grad(h: Any, needs: Any, dy: Any, w: Any, geometry: Geometry, way: int) -> tuple[Any, ...]:
    return (
        _plain(h, w, dy.shape, geometry, way) if needs[0] else None,
        _dw(h, dy, w.shape, geometry, way) if needs[1] else None,
    )


def conv3d_dw(x: X, dy: Any, w_shape: tuple[int, ...], geometry: Geometry) -> X:
    """Gradient of conv3d with respect to the weight: x [N,D,H,W,C], dy [N,O,P,Q,K] -> [K,T,R,S,C/groups] = w_shape."""
    return _dw(x, dy, w_shape, geometry, 0)


def _dw(x: X, dy: Any, w_shape: tuple[int, ...], geometry: Geometry, way: int) -> X:
    xa, ga = pair_of("conv3d_dw", x, dy)
    k, t, r, s, cg = w_shape
    n, o, p, q = ga.shape[:4]
    if ga.ndim != 5 or ga.shape[4] != k or xa.ndim != 5 or xa.shape[0] != n or xa.shape[4] != cg * geometry[3]:
        raise ValueError(f"conv3d_dw: x {xa.shape} and dy {ga.shape} do not fit a weight of shape {tuple(w_shape)}")
    flat = new_array((k, r, s, t * cg), xa)
    planes = _planes(xa, t, o, geometry)
    _core.conv2d_dw(planes, contiguous(ga).reshape(n * o, p, q, k), flat, *_flat(geometry, way))
    dw = contiguous(flat.reshape(k, r, s, t, cg).transpose(0, 3, 1, 2, 4))
    return record("conv3d_dw", dw, _dw_grad, (x, dy), (x, dy, geometry, way))


def _dw_grad(h: Any, needs: Any, x: Any, dy: Any, geometry: Geometry, way: int) -> tuple[Any, ...]:
    return (
        _dx(dy, h, x.shape, geometry, way) if needs[0] else None,
        _plain(x, h, dy.shape, geometry, way) if needs[1] else None,
    )


# --- transposed: the input gradient of a convolution, as an operation of its own


def _transposed(
    where: str, x: Any, weight: Any, bias: Any, count: int, stride: Any, padding: Any, output_padding: Any,
    dilation: Any, groups: int, activation: str | None,
) -> Any:
    code = activation_code(where, activation)
    xs, ws = shape_of(where, x), shape_of(where, weight)
    if len(xs) != count + 2:
        raise ValueError(f"{where}: expected x {AXES[count]}, got shape {xs}")
    if len(ws) != count + 2:
        raise ValueError(f"{where}: expected weight [C, kernel.., K/groups], got shape {ws}")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ValueError(f"{where}: groups must be a positive integer, got {groups!r}")
    if xs[-1] != ws[0] or ws[0] % groups:
        raise ValueError(f"{where}: expected x with {ws[0]} channels, a multiple of groups={groups}, got shape {xs}")
    kernel, channels = ws[1:-1], ws[-1] * groups
    st, dl = int_tuple(where, "stride", stride, count, 1), int_tuple(where, "dilation", dilation, count, 1)
    extra = int_tuple(where, "output_padding", output_padding, count, 0)
    for i in range(count):
        if extra[i] >= max(st[i], dl[i]):
            raise ValueError(f"{where}: output_padding {extra} must be smaller than stride {st} or dilation {dl}")
    if padding == "same":  # as many times the input as the stride says
        sizes = [xs[i + 1] * st[i] + extra[i] for i in range(count)]
        pads = resolve_padding(where, "same", [xs[i + 1] * st[i] for i in range(count)], kernel, st, dl)
    else:
        pads = explicit_padding(where, 0 if padding == "valid" else padding, count)
        sizes = [(xs[i + 1] - 1) * st[i] - sum(pads[i]) + dl[i] * (kernel[i] - 1) + extra[i] + 1
                 for i in range(count)]  # fmt: skip
    if min(sizes) < 1:
        raise ValueError(f"{where}: padding {pads} leaves no output for an input of {xs[1:-1]}, kernel {kernel}")
    if bias is not None and shape_of(where, bias) != (channels,):
        raise ValueError(f"{where}: expected bias of shape ({channels},), got {shape_of(where, bias)}")
    cut = None
    if too_wide(pads, sizes, kernel, dl):  # whole stamps are taken off: make them, and cut
        less = tuple((min(p[0], d * (k - 1)), min(p[1], d * (k - 1))) for p, k, d in zip(pads, kernel, dl, strict=True))
        begin = [p[0] - q[0] for p, q in zip(pads, less, strict=True)]
        cut = (slice(None), *(slice(b, b + n) for b, n in zip(begin, sizes, strict=True)))
        sizes = [n + sum(p) - sum(q) for n, p, q in zip(sizes, pads, less, strict=True)]
        pads = less
    front = tuple(p[0] for p in pads)
    shape = (xs[0], *sizes, channels)
    y: Any
    if count == 3:
        geometry: Any = (st, front, dl, groups)
        y = conv3d_dx(x, weight, shape, geometry)
    elif count == 2:
        flat: Any = (*st, *front, *dl, groups)
        size: Any = shape
        y = conv2d_dx(x, weight, size, flat)
    else:
        row = reshape(x, (xs[0], 1, *xs[1:]))
        wide = reshape(weight, (ws[0], 1, *ws[1:]))
        y = conv2d_dx(row, wide, (xs[0], 1, sizes[0], channels), (1, st[0], 0, front[0], 1, dl[0], groups))
        y = reshape(y, shape)
    if cut is not None:
        y = getitem(y, cut)
    if bias is not None:
        y = add(y, bias)
    return (relu, tanh, sigmoid)[code - 1](y) if code else y


def conv_transpose1d(
    x: X, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    dilation: Any = 1, groups: int = 1, activation: str | None = None,
) -> X:
    """`conv_transpose2d` for x [N,L,C] and weight [C,S,K/groups]."""
    return _transposed("conv_transpose1d", x, weight, bias, 1, stride, padding, output_padding, dilation, groups,
                       activation)  # fmt: skip


def conv_transpose2d(
    x: X, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    dilation: Any = 1, groups: int = 1, activation: str | None = None,
) -> X:
    """Transposed convolution: each input pixel adds a copy of the kernel, scaled by its value, to the output.

    Parameters
    ----------
    x : [N,H,W,C] ; weight : [C,R,S,K/groups] ; bias : [K], optional
    stride : output pixels between two copies
    padding : cells taken off the border (int, pair or two pairs), "valid" (none) or "same" (outputs H*stride)
    output_padding : rows and columns more at the bottom and right, fewer than stride or dilation
    dilation, groups, activation : as in `conv2d`

    Returns [N,P,Q,K] with P = (H-1)*stride - pads + dilation*(R-1) + output_padding + 1: the adjoint of `conv2d` with
    the same weight and options. Raises ValueError for shapes that do not fit.
    """
    return _transposed("conv_transpose2d", x, weight, bias, 2, stride, padding, output_padding, dilation, groups,
                       activation)  # fmt: skip


def conv_transpose3d(
    x: X, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    dilation: Any = 1, groups: int = 1, activation: str | None = None,
) -> X:
    """`conv_transpose2d` for volumes: x [N,D,H,W,C], weight [C,T,R,S,K/groups]."""
    return _transposed("conv_transpose3d", x, weight, bias, 3, stride, padding, output_padding, dilation, groups,
                       activation)  # fmt: skip


# --- circular and complex

_CONV = {1: conv1d, 2: conv2d, 3: conv3d}


def circular_conv(x: X, weight: Any) -> X:
    """Circular convolution: y[n,i,k] = sum over j,c of x[n, (i-j) mod L, c] * weight[k,j,c], in 1 to 3 dimensions.

    x : [N,L,C], [N,H,W,C] or [N,D,H,W,C] ; weight : [K, kernel.., C]. Returns x's size with K channels.
    Raises ValueError for other numbers of axes.
    """
    xs: tuple[int, ...] = shape_of("circular_conv", x)
    ws: tuple[int, ...] = shape_of("circular_conv", weight)
    count = len(xs) - 2
    if count not in _CONV or len(ws) != len(xs):
        raise ValueError(f"circular_conv: expected x {AXES.get(count, '[N,..,C]')} and a weight of as many axes, "
                         f"got shapes {xs} and {ws}")  # fmt: skip
    if 0 in xs[1:-1]:
        raise ValueError(f"circular_conv: there is nothing to repeat in an input of shape {xs}")
    if 0 in ws:
        raise ValueError(f"circular_conv: expected a weight that is not empty, got shape {ws}")
    around = pad(x, ((0, 0), *((k - 1, 0) for k in ws[1:-1]), (0, 0)), "wrap")
    conv: Any = _CONV[count]
    return conv(around, weight, flip=True)


def _parts(where: str, x: Any) -> tuple[Any, Any]:
    """(real, imaginary) of a pair, of a complex array, or of a real one (with None)."""
    if isinstance(x, tuple):
        if len(x) != 2:
            raise ValueError(f"{where}: expected a pair (real, imaginary), got {len(x)} arrays")
        return x
    if isinstance(x, np.ndarray) and x.dtype.kind == "c":
        if x.dtype not in (np.complex64, np.complex128):
            raise TypeError(f"{where}: expected complex64 or complex128, got {x.dtype}")
        return contiguous(x.real), contiguous(x.imag)
    return x, None


def _complex(where: str, count: int, x: Any, weight: Any, conjugate: bool, options: dict[str, Any]) -> Any:
    for name in ("bias", "activation"):
        if name in options:
            raise TypeError(f"{where}: {name} has no complex form")
    (xr, xi), (wr, wi) = _parts(where, x), _parts(where, weight)
    conv: Any = _CONV[count]
    if conjugate and wi is not None:
        wi = neg(wi)
    real = conv(xr, wr, **options)
    imaginary = None if xi is None else conv(xi, wr, **options)
    if wi is not None:
        across = conv(xr, wi, **options)
        if xi is not None:
            real = sub(real, conv(xi, wi, **options))
        imaginary = across if imaginary is None else add(imaginary, across)
    if imaginary is None:
        raise TypeError(f"{where}: expected a complex array or a pair (real, imaginary) among x and weight")
    if isinstance(x, tuple) or isinstance(weight, tuple):
        return real, imaginary
    y = np.empty(real.shape, np.result_type(real.dtype, np.complex64))
    y.real, y.imag = real, imaginary
    return y


def complex_conv1d(x: Any, weight: Any, *, conjugate: bool = False, **options: Any) -> Any:
    """`complex_conv2d` for [N,L,C]."""
    return _complex("complex_conv1d", 1, x, weight, conjugate, options)


def complex_conv2d(x: Any, weight: Any, *, conjugate: bool = False, **options: Any) -> Any:
    """`conv2d` over complex numbers.

    x, weight : a pair (real, imaginary) of arrays or tensors, a complex array, or a real array if the other is complex
    conjugate : True takes the kernel's complex conjugate: with flip=False the correlation of signal processing,
        the adjoint of the convolution flip=True
    options : those of `conv2d`, bias and activation apart

    Returns a pair if a pair was given (with gradients for tensors), else a complex array. Raises TypeError where
    nothing is complex.
    """
    return _complex("complex_conv2d", 2, x, weight, conjugate, options)


def complex_conv3d(x: Any, weight: Any, *, conjugate: bool = False, **options: Any) -> Any:
    """`complex_conv2d` for [N,D,H,W,C]."""
    return _complex("complex_conv3d", 3, x, weight, conjugate, options)
