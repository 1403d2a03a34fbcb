"""Two-dimensional convolution (cross-correlation, as everywhere in the field) and its gradients, NHWC.

Letters: N images, H x W input, C input channels, K output channels, R x S kernel, P x Q output.
P = floor((H + pads - dilation*(R-1) - 1) / stride) + 1 (notes C:5).
"""

from __future__ import annotations

import functools
from typing import Any

from .. import _core
from ._common import OUT, X, activation_code, algo_code, empty, int_pair, kept, new_array, operands, record
from ._common import pair as pair_of
from ._geometry import AXES, Pads, int_tuple, output_size, resolve_padding, shape_of, too_wide
from .elementwise import bias_activation_grad
from .pad import pad, pad_mode
from .shape import getitem

__all__ = ["conv2d", "conv2d_dw", "conv2d_dx"]  # one and three dimensions: convnd.py

Geometry = tuple[int, int, int, int, int, int, int]  # stride h w, pad top left, dilation h w, groups


def _layout_hint(shape: tuple[int, ...], channels: int) -> str:
    if len(shape) == 4 and shape[1] == channels and shape[3] != channels:
        return (
            f"; axis 1 has {channels}, which looks like NCHW: images here are [N,H,W,C], "
            "so pass x.transpose(0, 2, 3, 1)"
        )
    return ""


def flipped(w: X, ndim: int) -> X:
    """A kernel [K,...,C/groups] of `ndim` axes turned around in all its spatial ones."""
    return getitem(w, (slice(None), *(slice(None, None, -1),) * (ndim - 2)))


def bordered(
    where: str, x: X, padding: Any, padding_mode: str, kernel: tuple[int, ...], stride: Any, dilation: Any
) -> X:
    """x [N,...,C] with the borders a convolution asks for, in another mode than zeros."""
    count = len(kernel)
    shape = shape_of(where, x)
    if len(shape) != count + 2:
        raise ValueError(f"{where}: expected x {AXES[count]}, got shape {shape}")
    strides = int_tuple(where, "stride", stride, count, 1)
    dilations = int_tuple(where, "dilation", dilation, count, 1)
    sides: Pads = resolve_padding(where, padding, shape[1:-1], kernel, strides, dilations)
    pad_mode(where, padding_mode)
    return pad(x, ((0, 0), *sides, (0, 0)), padding_mode)


def conv2d(
    x: X,
    weight: Any,
    bias: Any = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
    padding_mode: str = "zeros",
    flip: bool = False,
    algo: str = "auto",
) -> X:
    """y[n,p,q,k] = activation(bias[k] + sum over r,s,c of x[n, p*stride+r*dilation-pad, ..., c] * weight[k,r,s,c]).

    Parameters
    ----------
    x : [N,H,W,C] ; weight : [K,R,S,C/groups] ; bias : [K], optional
    stride, dilation : int or (vertical, horizontal)
    padding : int, pair, ((top, bottom), (left, right)), or a name: "valid" (none), "same" (ceil(H/stride) outputs, the
        odd cell at the bottom and right, as in TensorFlow), "full" (wherever kernel and input meet)
    groups : channels are split into this many independent convolutions
    activation : None, "relu", "tanh" or "sigmoid", fused
    padding_mode : "zeros", "reflect", "replicate" or "circular", and the other modes of `pad`
    flip : True turns the kernel around, which makes this a convolution in the sense of mathematics
    algo : "auto" (the cheapest by a prediction from shape, dtype and instruction set), "direct", "gemm" (kernels of one
        pixel, or as large as the input), "winograd" (3x3, stride 1; also "winograd4x4", "winograd2x2"), "depthwise"
        (one channel per group), "fft" (stride and dilation 1). The gradients take the same where it applies to them.

    Returns [N,P,Q,K]. Raises ValueError naming the argument, expected and got, with a hint for NCHW input, and for an
    algorithm that does not apply.
    """
    code = activation_code("conv2d", activation)
    way = 0 if algo == "auto" else algo_code("conv2d", algo)
    if flip or padding_mode != "zeros":
        kernel = shape_of("conv2d", weight)
        if len(kernel) != 4:
            raise ValueError(f"conv2d: expected weight [K,R,S,C/groups], got shape {kernel}")
        if padding_mode != "zeros":
            x, padding = bordered("conv2d", x, padding, padding_mode, kernel[1:3], stride, dilation), 0
        weight = flipped(weight, 4) if flip else weight
    xa, wa, ba = operands("conv2d", x, weight, bias)
    bias_shape = None if ba is None else ba.shape
    try:
        shape, geometry = _plan(xa.shape, wa.shape, bias_shape, stride, padding, dilation, groups)
    except TypeError:  # a list among the options, or an error of its own: without the memory
        shape, geometry = _make_plan(xa.shape, wa.shape, bias_shape, stride, padding, dilation, groups)
    if geometry is None:
        wide = bordered("conv2d", x, padding, "zeros", wa.shape[1:3], stride, dilation)
        return conv2d(wide, weight, bias, stride=stride, dilation=dilation, groups=groups, activation=activation,
                      algo=algo)  # fmt: skip
    y = new_array(shape, xa)
    _core.conv2d(xa, wa, ba, y, *geometry, code, way)
    saved = (kept(x, xa), kept(weight, wa), OUT if code else None, code, geometry, way)
    return record("conv2d", y, _conv2d_grad, (x, weight, bias), saved)


def _make_plan(
    x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...] | None, stride: Any, padding: Any, dilation: Any,
    groups: Any,
) -> tuple[tuple[int, int, int, int], Geometry | None]:
    """The shape of conv2d's result and its geometry, from the shapes of its arguments. Raises as conv2d does.

    No geometry: the padding is wider than the kernels take and has to be laid around x first.
    """
    sh, sw = int_pair("conv2d", "stride", stride, 1)
    dh, dw = int_pair("conv2d", "dilation", dilation, 1)
    if len(weight) != 4:
        raise ValueError(f"conv2d: expected weight [K,R,S,C/groups], got shape {weight}")
    if len(x) != 4:
        raise ValueError(f"conv2d: expected x [N,H,W,C], got shape {x}")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"conv2d: groups must be a positive integer, got {groups!r}")
    n, h, w, c = x
    k, r, s, cg = weight
    if c != cg * groups:
        raise ValueError(
            f"conv2d: expected x with {cg * groups} channels for weight {weight} and groups={groups}, "
            f"got shape {x}{_layout_hint(x, cg * groups)}"
        )
    if k % groups:
        raise ValueError(f"conv2d: {k} output channels do not split into {groups} groups")
    if bias is not None and bias != (k,):
        raise ValueError(f"conv2d: expected bias of shape ({k},), got {bias}")
    (top, bottom), (left, right) = resolve_padding("conv2d", padding, (h, w), (r, s), (sh, sw), (dh, dw))
    p = output_size("conv2d", h, r, sh, top + bottom, dh)
    q = output_size("conv2d", w, s, sw, left + right, dw)
    if too_wide(((top, bottom), (left, right)), (h, w), (r, s), (dh, dw)):
        return (n, p, q, k), None
    return (n, p, q, k), (sh, sw, top, left, dh, dw, groups)


_plan = functools.lru_cache(maxsize=1024, typed=True)(_make_plan)


def _conv2d_grad(
    g: Any, needs: Any, x: Any, w: Any, y: Any, code: int, geometry: Geometry, way: int
) -> tuple[Any, ...]:
    g, gb = bias_activation_grad(code, y, g, needs[2])
    gx = _dx(g, w, x.shape, geometry, way) if needs[0] else None
    gw = _dw(x, g, w.shape, geometry, way) if needs[1] else None
    return gx, gw, gb


def _plain(x: X, w: Any, like: tuple[int, ...], geometry: Geometry, way: int) -> X:
    """conv2d without bias and activation, with the output shape given: the adjoint of the two ops below."""
    xa, wa = operands("conv2d", x, w)
    y = empty(like, xa.dtype)
    _core.conv2d(xa, wa, None, y, *geometry, 0, way)
    return record("conv2d", y, _conv2d_grad, (x, w, None), (x, w, None, 0, geometry, way))


def conv2d_dx(dy: X, weight: Any, x_shape: tuple[int, int, int, int], geometry: Geometry) -> X:
    """Gradient of conv2d with respect to x: dy [N,P,Q,K], weight [K,R,S,C/groups] -> [N,H,W,C] = x_shape.

    geometry: (stride h, stride w, pad top, pad left, dilation h, dilation w, groups).
    """
    return _dx(dy, weight, x_shape, geometry, 0)


def _dx(dy: X, weight: Any, x_shape: tuple[int, ...], geometry: Geometry, way: int) -> X:
    ga, wa = pair_of("conv2d_dx", dy, weight)
    dx = new_array(tuple(x_shape), ga)
    _core.conv2d_dx(ga, wa, dx, *geometry, way)
    return record("conv2d_dx", dx, _dx_grad, (dy, weight), (dy, weight, geometry, way))


def _dx_grad(h: Any, needs: Any, dy: Any, w: Any, geometry: Geometry, way: int) -> tuple[Any, ...]:
    return (
        _plain(h, w, dy.shape, geometry, way) if needs[0] else None,
        _dw(h, dy, w.shape, geometry, way) if needs[1] else None,
    )


def conv2d_dw(x: X, dy: Any, w_shape: tuple[int, int, int, int], geometry: Geometry) -> X:
    """Gradient of conv2d with respect to the weight: x [N,H,W,C], dy [N,P,Q,K] -> [K,R,S,C/groups] = w_shape."""
    return _dw(x, dy, w_shape, geometry, 0)


def _dw(x: X, dy: Any, w_shape: tuple[int, ...], geometry: Geometry, way: int) -> X:
    xa, ga = pair_of("conv2d_dw", x, dy)
    dw = new_array(tuple(w_shape), xa)
    _core.conv2d_dw(xa, ga, dw, *geometry, way)
    return record("conv2d_dw", dw, _dw_grad, (x, dy), (x, dy, geometry, way))


def _dw_grad(h: Any, needs: Any, x: Any, dy: Any, geometry: Geometry, way: int) -> tuple[Any, ...]:
    return (
        _dx(dy, h, x.shape, geometry, way) if needs[0] else None,
        _plain(x, h, dy.shape, geometry, way) if needs[1] else None,
    )
