"""Convolution layers in one to three dimensions, borders and resizing. Batches are [N,L,C], [N,H,W,C], [N,D,H,W,C]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from .. import ops
from ..ops._common import activation_code, algo_code
from ..ops._geometry import explicit_padding, int_tuple, output_size, resolve_padding
from ..ops.pad import pad_mode
from ..tensor import Parameter
from . import init
from ._options import positive_integer
from .module import Module

__all__ = [
    "LENET_C3", "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConnectionTableConv2d", "Conv1d", "Conv2d",
    "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "LocallyConnected1d", "LocallyConnected2d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
    "ReplicationPad3d", "TiledConv2d", "Upsample", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]


class _Weighted(Module):
    """A layer with a kernel that slides over `count` axes, and perhaps a bias."""

    weight: Parameter
    bias: Parameter | None

    def _options(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        activation: str | None, count: int, groups: int = 1, transposed: bool = False,
    ) -> None:
        """Checks and keeps the options that all have."""
        name = type(self).__name__
        self.in_channels = positive_integer(name, "in_channels", in_channels)
        self.out_channels = positive_integer(name, "out_channels", out_channels)
        self.groups = positive_integer(name, "groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{name}: {in_channels} and {out_channels} channels do not split into {groups} groups")
        self.kernel_size = int_tuple(name, "kernel_size", kernel_size, count, 1)
        self.stride = int_tuple(name, "stride", stride, count, 1)
        self.dilation = int_tuple(name, "dilation", dilation, count, 1)
        if not transposed:
            resolve_padding(name, padding, (1,) * count, self.kernel_size, self.stride, self.dilation)
        elif not isinstance(padding, str) or padding not in ("valid", "same"):
            explicit_padding(name, padding, count)
        self.padding = padding
        activation_code(name, activation)
        self.activation = activation

    def _start(
        self, weight: tuple[int, ...], fan_in: int, bias: tuple[int, ...] | None, weight_init: str = "default"
    ) -> None:
        """Weight and bias uniform in +-1/sqrt(fan_in), or the weight by a named initialiser and the bias 0."""
        limit = 1.0 / math.sqrt(max(1, fan_in))
        default = weight_init == "default"
        self.weight = Parameter(
            ops.uniform(weight, -limit, limit) if default else init.initialise(weight_init, weight)
        )
        self.bias = None if bias is None else Parameter(ops.uniform(bias, -limit if default else 0.0,
                                                                    limit if default else 0.0))  # fmt: skip

    def window(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[tuple[int, int | Fraction], ...]:
        reach = zip(self.kernel_size, self.dilation, self.stride, strict=True)
        return tuple((d * (k - 1) + 1, s) for k, d, s in reach)

    def _outputs(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """The spatial sizes behind an input of these."""
        name = type(self).__name__
        pads = resolve_padding(name, self.padding, input_size, self.kernel_size, self.stride, self.dilation)
        return tuple(
            output_size(name, n, self.kernel_size[i], self.stride[i], sum(pads[i]), self.dilation[i])
            for i, n in enumerate(input_size)
        )

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape [N,..,out_channels] for x of shape [N,..,in_channels]. Raises ValueError when they do not fit."""
        if len(input_shape) != len(self.kernel_size) + 2 or input_shape[-1] != self.in_channels:
            raise ValueError(
                f"{type(self).__name__}: expected x with {len(self.kernel_size) + 2} axes and {self.in_channels} "
                f"channels, got shape {input_shape}"
            )
        return (input_shape[0], *self._outputs(input_shape[1:-1]), self.out_channels)


class _Conv(_Weighted):
    """A convolution over `count` axes; subclasses name the op."""

    count: ClassVar[int]
    op: ClassVar[Any]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, activation: str | None = None,
        weight_init: str = "default", padding_mode: str = "zeros", flip: bool = False, algo: str = "auto",
    ) -> None:
        super().__init__()
        self._options(in_channels, out_channels, kernel_size, stride, padding, dilation, activation, self.count, groups)
        pad_mode(type(self).__name__, padding_mode)
        algo_code(type(self).__name__, algo)
        self.padding_mode = padding_mode
        self.flip = bool(flip)
        self.algo = algo
        shape = (out_channels, *self.kernel_size, in_channels // groups)
        self._start(shape, math.prod(shape[1:]), (out_channels,) if bias else None, weight_init)

    def forward(self, x: Any) -> Any:
        return type(self).op(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
            groups=self.groups, activation=self.activation, padding_mode=self.padding_mode, flip=self.flip,
            algo=self.algo,
        )

    def macs(self, output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * math.prod(self.weight.shape[1:])

    def extra_repr(self) -> str:
        one = self.count == 1  # as PyTorch shows it: numbers for rows, tuples for pictures
        kernel, stride = (self.kernel_size, self.stride) if not one else (self.kernel_size[0], self.stride[0])
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={kernel}, stride={stride}"
        for name, plain in (("padding", 0), ("dilation", (1,) * self.count), ("groups", 1), ("activation", None),
                            ("padding_mode", "zeros"), ("flip", False), ("algo", "auto")):
            if getattr(self, name) != plain:
                text += f", {name}={getattr(self, name)!r}"
        return text + (", bias=False" if self.bias is None else "")


class Conv1d(_Conv):
    """Cross-correlation of rows; x [N,L,in_channels], weight [out_channels,S,in_channels/groups], bias [out_channels].

    `padding` may also be "causal". See `Conv2d` and `rosenblatt.ops.conv1d`.
    """

    disk_layout = {"weight": (0, 2, 1)}  # noqa: RUF012  (declared ClassVar in Module)
    count = 1
    op = staticmethod(ops.conv1d)


class Conv2d(_Conv):
    """Cross-correlation; x [N,H,W,in_channels], weight [out_channels,R,S,in_channels/groups], bias [out_channels].

    `padding` is an integer, a pair, two pairs ((top, bottom), (left, right)), "valid", "same" or "full", with what
    `padding_mode` says ("zeros", "reflect", "replicate", "circular"); `flip` turns the kernel around; `algo` names
    the way to compute it. Weights start as in `Linear` with fan_in R*S*in_channels/groups. See `rosenblatt.ops.conv2d`.
    """

    disk_layout = {"weight": (0, 3, 1, 2)}  # noqa: RUF012
    count = 2
    op = staticmethod(ops.conv2d)


class Conv3d(_Conv):
    """Cross-correlation of volumes; x [N,D,H,W,in_channels], weight [out_channels,T,R,S,in_channels/groups].

    Options as in `Conv2d`. See `rosenblatt.ops.conv3d`.
    """

    disk_layout = {"weight": (0, 4, 1, 2, 3)}  # noqa: RUF012
    count = 3
    op = staticmethod(ops.conv3d)


class _ConvTranspose(_Weighted):
    count: ClassVar[int]
    op: ClassVar[Any]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, activation: str | None = None,
        weight_init: str = "default",
    ) -> None:
        super().__init__()
        self._options(in_channels, out_channels, kernel_size, stride, padding, dilation, activation, self.count, groups,
                      transposed=True)  # fmt: skip
        self.output_padding = int_tuple(type(self).__name__, "output_padding", output_padding, self.count, 0)
        shape = (in_channels, *self.kernel_size, out_channels // groups)
        # PyTorch's fan_in of a transposed layer, too: the axis after the first
        self._start(shape, math.prod(shape[1:]), (out_channels,) if bias else None, weight_init)

    def forward(self, x: Any) -> Any:
        return type(self).op(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding, output_padding=self.output_padding,
            dilation=self.dilation, groups=self.groups, activation=self.activation,
        )

    def window(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[tuple[int, int | Fraction], ...]:
        """An output lies under the kernels of at most ceil(extent / stride) inputs in a row."""
        reach = zip(self.kernel_size, self.dilation, self.stride, strict=True)
        return tuple((-(-(d * (k - 1) + 1) // s), Fraction(1, s)) for k, d, s in reach)

    def _outputs(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        reach = [d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        if self.padding == "same":
            return tuple(n * s + o for n, s, o in zip(input_size, self.stride, self.output_padding, strict=True))
        ones = (1,) * self.count
        pads = resolve_padding(type(self).__name__, self.padding, ones, ones, self.stride, self.dilation)
        return tuple(
            (n - 1) * self.stride[i] - sum(pads[i]) + reach[i] + self.output_padding[i]
            for i, n in enumerate(input_size)
        )

    def macs_of(self, input_shape: tuple[int, ...]) -> int:
        """Multiply-adds for an input [..,C] without its batch axis: every input value meets one kernel of its group."""
        return math.prod(input_shape) * math.prod(self.weight.shape[1:])

    def macs(self, output_shape: tuple[int, ...]) -> int:
        """As `macs_of`, for the input that gives this output."""
        size = []
        for i, n in enumerate(output_shape[:-1]):
            k, s, d, extra = self.kernel_size[i], self.stride[i], self.dilation[i], self.output_padding[i]
            if self.padding == "same":
                size.append((n - extra) // s)
                continue
            pads = resolve_padding(type(self).__name__, self.padding, (1,) * self.count, (1,) * self.count,
                                   self.stride, self.dilation)  # fmt: skip
            size.append((n - 1 - extra - d * (k - 1) + sum(pads[i])) // s + 1)
        return self.macs_of((*size, self.in_channels))

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        none = (0,) * self.count
        for name, plain in (("padding", 0), ("output_padding", none), ("dilation", (1,) * self.count), ("groups", 1),
                            ("activation", None)):
            if getattr(self, name) != plain:
                text += f", {name}={getattr(self, name)!r}"
        return text + (", bias=False" if self.bias is None else "")


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of rows; x [N,L,in_channels], weight [in_channels,S,out_channels/groups]."""

    disk_layout = {"weight": (0, 2, 1)}  # noqa: RUF012
    count = 1
    op = staticmethod(ops.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution; x [N,H,W,in_channels], weight [in_channels,R,S,out_channels/groups], bias.

    See `rosenblatt.ops.conv_transpose2d`.
    """

    disk_layout = {"weight": (0, 3, 1, 2)}  # noqa: RUF012
    count = 2
    op = staticmethod(ops.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of volumes; x [N,D,H,W,in_channels], weight [in_channels,T,R,S,out_channels/groups]."""

    disk_layout = {"weight": (0, 4, 1, 2, 3)}  # noqa: RUF012
    count = 3
    op = staticmethod(ops.conv_transpose3d)


# --- kernels that are not shared everywhere


class _Unshared(_Weighted):
    """What tiled and unshared layers have in common: the call, counts, output sizes."""

    def macs(self, output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * math.prod(self.kernel_size) * self.in_channels

    def _apply(self, op: Any, x: Any) -> Any:
        return op(x, self.weight, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
                  activation=self.activation)  # fmt: skip


class LocallyConnected1d(_Unshared):
    """A kernel and a bias of its own for every output; x [N,input_size,in_channels], weight [Q,K,S,in_channels].

    Q follows from input_size and the options, which are those of `Conv1d`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, input_size: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, bias: bool = True, activation: str | None = None,
    ) -> None:
        super().__init__()
        self._options(in_channels, out_channels, kernel_size, stride, padding, dilation, activation, 1)
        self.input_size = int_tuple("LocallyConnected1d", "input_size", input_size, 1, 1)
        kernels = (*self._outputs(self.input_size), out_channels)
        self._start((*kernels, *self.kernel_size, in_channels), self.kernel_size[0] * in_channels,
                    kernels if bias else None)  # fmt: skip

    def forward(self, x: Any) -> Any:
        return self._apply(ops.locally_connected1d, x)

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, input_size={self.input_size[0]}, "
                f"kernel_size={self.kernel_size[0]}, stride={self.stride[0]}")  # fmt: skip


class LocallyConnected2d(_Unshared):
    """A kernel and a bias of its own for every output pixel; x [N,H,W,in_channels], weight [P,Q,K,R,S,in_channels].

    (H,W) = input_size; P and Q follow from it and the options, which are those of `Conv2d` (zeros outside).
    """

    def __init__(
        self, in_channels: int, out_channels: int, input_size: Any, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, bias: bool = True, activation: str | None = None,
    ) -> None:
        super().__init__()
        self._options(in_channels, out_channels, kernel_size, stride, padding, dilation, activation, 2)
        self.input_size = int_tuple("LocallyConnected2d", "input_size", input_size, 2, 1)
        kernels = (*self._outputs(self.input_size), out_channels)
        self._start((*kernels, *self.kernel_size, in_channels), math.prod(self.kernel_size) * in_channels,
                    kernels if bias else None)  # fmt: skip

    def forward(self, x: Any) -> Any:
        return self._apply(ops.locally_connected2d, x)

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, input_size={self.input_size}, "
                f"kernel_size={self.kernel_size}, stride={self.stride}")  # fmt: skip


class TiledConv2d(_Unshared):
    """Convolution with `tiles` (an integer or a pair) kernels per axis that take turns; weight [t,u,K,R,S,C].

    tiles=1 is `Conv2d`, as many tiles as outputs is `LocallyConnected2d` (notes A:2.H).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, tiles: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, bias: bool = True, activation: str | None = None,
    ) -> None:
        super().__init__()
        self._options(in_channels, out_channels, kernel_size, stride, padding, dilation, activation, 2)
        self.tiles = int_tuple("TiledConv2d", "tiles", tiles, 2, 1)
        self._start((*self.tiles, out_channels, *self.kernel_size, in_channels),
                    math.prod(self.kernel_size) * in_channels,
                    (*self.tiles, out_channels) if bias else None)  # fmt: skip

    def forward(self, x: Any) -> Any:
        return self._apply(ops.tiled_conv2d, x)

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, tiles={self.tiles}, "
                f"stride={self.stride}")  # fmt: skip


# Input maps of the 16 output maps of LeNet-5's layer C3 (LeCun et al., Gradient-based learning applied to document
# recognition, Proc. IEEE 86(11), 1998, table I): 60 of 96 links.
LENET_C3: tuple[tuple[int, ...], ...] = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class ConnectionTableConv2d(_Weighted):
    """A convolution in which output map k sees only the input maps table[k]; weight [links,R,S], bias [K].

    `table` is a sequence of K sequences, `LENET_C3` for example. Multiply-adds count the links alone.
    """

    def __init__(
        self, in_channels: int, table: Sequence[Sequence[int]], kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, bias: bool = True, activation: str | None = None,
    ) -> None:
        super().__init__()
        name = "ConnectionTableConv2d"
        positive_integer(name, "in_channels", in_channels)
        self.table = tuple(tuple(row) for row in table)
        for k, row in enumerate(self.table):
            known = all(isinstance(c, int) and 0 <= c < in_channels for c in row)
            if not row or len(set(row)) != len(row) or not known:
                raise ValueError(f"{name}: output map {k} must name different input maps in 0 .. {in_channels - 1}, "
                                 f"got {row}")  # fmt: skip
        maps = positive_integer(name, "rows of the table", len(self.table))
        self.links = sum(len(row) for row in self.table)
        self._options(in_channels, maps, kernel_size, stride, padding, dilation, activation, 2)
        fan_in = math.prod(self.kernel_size) * max(1, self.links // self.out_channels)
        self._start((self.links, *self.kernel_size), fan_in, (self.out_channels,) if bias else None)

    def forward(self, x: Any) -> Any:
        return ops.connection_conv2d(
            x, self.weight, self.table, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
            activation=self.activation,
        )

    def macs(self, output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape[:-1]) * math.prod(self.kernel_size) * self.links

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, links={self.links}, kernel_size={self.kernel_size}, "
                f"stride={self.stride}")  # fmt: skip


# --- borders


class _Pad(Module):
    """Cells around the spatial axes; `padding` as in PyTorch: one number, or before and after, last axis first."""

    count: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        sides = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * (2 * self.count)
        if len(sides) != 2 * self.count or not all(isinstance(p, int) and p >= 0 for p in sides):
            raise ValueError(f"{type(self).__name__}: padding must be a number of at least 0 or {2 * self.count} such, "
                             f"got {padding!r}")  # fmt: skip
        self.padding = sides
        pairs = [(sides[2 * i], sides[2 * i + 1]) for i in range(self.count)]
        self.pad_width = ((0, 0), *reversed(pairs), (0, 0))

    def forward(self, x: Any) -> Any:
        if len(x.shape) != self.count + 2:
            raise ValueError(f"{type(self).__name__}: expected {self.count + 2} axes, got shape {tuple(x.shape)}")
        return ops.pad(x, self.pad_width, self.mode)

    def extra_repr(self) -> str:
        return str(self.padding)


class ZeroPad1d(_Pad):
    """Zeros around rows [N,L,C]: padding p, or (left, right)."""

    count, mode = 1, "constant"


class ZeroPad2d(_Pad):
    """Zeros around pictures [N,H,W,C]: padding p, or (left, right, top, bottom)."""

    count, mode = 2, "constant"


class ZeroPad3d(_Pad):
    """Zeros around volumes [N,D,H,W,C]: padding p, or (left, right, top, bottom, front, back)."""

    count, mode = 3, "constant"


class ReflectionPad1d(_Pad):
    """Rows mirrored at their ends, without the last cell itself."""

    count, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Pictures mirrored at their borders, without the border itself."""

    count, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes mirrored at their borders, without the border itself."""

    count, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Rows continued by their last cell."""

    count, mode = 1, "edge"


class ReplicationPad2d(_Pad):
    """Pictures continued by their border."""

    count, mode = 2, "edge"


class ReplicationPad3d(_Pad):
    """Volumes continued by their border."""

    count, mode = 3, "edge"


class CircularPad1d(_Pad):
    """Rows continued by themselves."""

    count, mode = 1, "wrap"


class CircularPad2d(_Pad):
    """Pictures continued by themselves."""

    count, mode = 2, "wrap"


class CircularPad3d(_Pad):
    """Volumes continued by themselves."""

    count, mode = 3, "wrap"


class Upsample(Module):
    """x [N,..,C] brought to `size` or by `scale_factor`; see `rosenblatt.ops.interpolate`."""

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
    ) -> None:
        super().__init__()
        if (size is None) == (scale_factor is None):
            raise ValueError("Upsample: expected either size or scale_factor")
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = bool(align_corners)

    def forward(self, x: Any) -> Any:
        return ops.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}" + (", align_corners=True" if self.align_corners else "")
