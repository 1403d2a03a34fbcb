"""Pooling layers over [N,L,C], [N,H,W,C] and [N,D,H,W,C]; argument names and size rules follow PyTorch's."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, ClassVar

from .. import ops
from ..ops._common import activation_code
from ..ops._geometry import int_tuple
from ..tensor import Parameter
from . import init
from ._options import positive_integer
from .module import Module

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "GlobalAvgPool1d", "GlobalAvgPool2d",
    "GlobalAvgPool3d", "GlobalMaxPool1d", "GlobalMaxPool2d", "GlobalMaxPool3d", "LPPool1d", "LPPool2d", "LPPool3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "MinPool1d", "MinPool2d",
    "MinPool3d", "Subsampling",
]


class _Pool(Module):
    """Sliding windows over `count` axes; subclasses name the op and add its options."""

    count: ClassVar[int]
    op: ClassVar[Any]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: bool = False) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = int_tuple(name, "kernel_size", kernel_size, self.count, 1)
        self.stride = self.kernel_size if stride is None else int_tuple(name, "stride", stride, self.count, 1)
        self.padding = int_tuple(name, "padding", padding, self.count, 0)
        self.ceil_mode = bool(ceil_mode)

    def window(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[tuple[int, int | Fraction], ...]:
        dilation = getattr(self, "dilation", (1,) * self.count)
        reach = zip(self.kernel_size, dilation, self.stride, strict=True)
        return tuple((d * (k - 1) + 1, s) for k, d, s in reach)

    def extra_repr(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}"
        if any(self.padding):
            text += f", padding={self.padding}"
        return text + (", ceil_mode=True" if self.ceil_mode else "")


class _Extreme(_Pool):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.dilation = int_tuple(type(self).__name__, "dilation", dilation, self.count, 1)
        self.return_indices = bool(return_indices)

    def forward(self, x: Any) -> Any:
        return type(self).op(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                             return_indices=self.return_indices)  # fmt: skip

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", dilation={self.dilation}" if any(d > 1 for d in self.dilation) else "")


class _Average(_Pool):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x: Any) -> Any:
        return type(self).op(x, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                             count_include_pad=self.count_include_pad)  # fmt: skip


class _Power(_Pool):
    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__(kernel_size, stride, ceil_mode=ceil_mode)
        self.norm_type = norm_type

    def forward(self, x: Any) -> Any:
        return type(self).op(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return f"norm_type={self.norm_type}, " + super().extra_repr()


class _Adaptive(Module):
    op: ClassVar[Any]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        return type(self).op(x, self.output_size)

    def window(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[tuple[int, int | Fraction], ...]:
        """The widest of the windows floor(i n/m) .. ceil((i+1) n/m)."""
        sizes = zip(input_shape[:-1], output_shape[:-1], strict=True)
        return tuple((max(-(-(i + 1) * n // m) - i * n // m for i in range(m)), Fraction(n, m)) for n, m in sizes)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _Global(Module):
    """One value per channel. keepdims: the pooled axes stay, with length 1."""

    op: ClassVar[Any]

    def __init__(self, keepdims: bool = False) -> None:
        super().__init__()
        self.keepdims = bool(keepdims)

    def forward(self, x: Any) -> Any:
        y = type(self).op(x, 1)
        return y if self.keepdims else ops.reshape(y, (y.shape[0], y.shape[-1]))

    def window(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[tuple[int, int | Fraction], ...]:
        return tuple((n, n) for n in input_shape[:-1])

    def extra_repr(self) -> str:
        return "keepdims=True" if self.keepdims else ""


class _Unpool(Module):
    """The way back from a max pool: x and the indices it gave, to the size before it."""

    count: ClassVar[int]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = int_tuple(name, "kernel_size", kernel_size, self.count, 1)
        self.stride = self.kernel_size if stride is None else int_tuple(name, "stride", stride, self.count, 1)
        self.padding = int_tuple(name, "padding", padding, self.count, 0)

    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Any:
        """output_size: the size before pooling, default (P-1)*stride - 2*padding + kernel."""
        if output_size is None:
            output_size = tuple(
                (n - 1) * s - 2 * p + k
                for n, k, s, p in zip(x.shape[1:-1], self.kernel_size, self.stride, self.padding, strict=True)
            )
        return ops.max_unpool(x, indices, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class MaxPool1d(_Extreme):
    """The largest value of each window of [N,L,C]; stride defaults to kernel_size."""

    count = 1
    op = staticmethod(ops.max_pool1d)


class MaxPool2d(_Extreme):
    """The largest value of each window of [N,H,W,C]; stride defaults to kernel_size."""

    count = 2
    op = staticmethod(ops.max_pool2d)


class MaxPool3d(_Extreme):
    """The largest value of each window of [N,D,H,W,C]; stride defaults to kernel_size."""

    count = 3
    op = staticmethod(ops.max_pool3d)


class MinPool1d(_Extreme):
    """The smallest value of each window of [N,L,C]; stride defaults to kernel_size."""

    count = 1
    op = staticmethod(ops.min_pool1d)


class MinPool2d(_Extreme):
    """The smallest value of each window of [N,H,W,C]; stride defaults to kernel_size."""

    count = 2
    op = staticmethod(ops.min_pool2d)


class MinPool3d(_Extreme):
    """The smallest value of each window of [N,D,H,W,C]; stride defaults to kernel_size."""

    count = 3
    op = staticmethod(ops.min_pool3d)


class AvgPool1d(_Average):
    """The mean of each window of [N,L,C]; padded zeros count unless count_include_pad is False."""

    count = 1
    op = staticmethod(ops.avg_pool1d)


class AvgPool2d(_Average):
    """The mean of each window of [N,H,W,C]; padded zeros count unless count_include_pad is False."""

    count = 2
    op = staticmethod(ops.avg_pool2d)


class AvgPool3d(_Average):
    """The mean of each window of [N,D,H,W,C]; padded zeros count unless count_include_pad is False."""

    count = 3
    op = staticmethod(ops.avg_pool3d)


class LPPool1d(_Power):
    """(sum of |x|**norm_type over each window of [N,L,C])**(1/norm_type)."""

    count = 1
    op = staticmethod(ops.lp_pool1d)


class LPPool2d(_Power):
    """(sum of |x|**norm_type over each window of [N,H,W,C])**(1/norm_type)."""

    count = 2
    op = staticmethod(ops.lp_pool2d)


class LPPool3d(_Power):
    """(sum of |x|**norm_type over each window of [N,D,H,W,C])**(1/norm_type)."""

    count = 3
    op = staticmethod(ops.lp_pool3d)


class AdaptiveAvgPool1d(_Adaptive):
    """The mean of each of output_size windows that share out [N,L,C]."""

    op = staticmethod(ops.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_Adaptive):
    """The mean of each of output_size windows that share out [N,H,W,C]."""

    op = staticmethod(ops.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_Adaptive):
    """The mean of each of output_size windows that share out [N,D,H,W,C]."""

    op = staticmethod(ops.adaptive_avg_pool3d)


class AdaptiveMaxPool1d(_Adaptive):
    """The largest value of each of output_size windows that share out [N,L,C]."""

    op = staticmethod(ops.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_Adaptive):
    """The largest value of each of output_size windows that share out [N,H,W,C]."""

    op = staticmethod(ops.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_Adaptive):
    """The largest value of each of output_size windows that share out [N,D,H,W,C]."""

    op = staticmethod(ops.adaptive_max_pool3d)


class GlobalAvgPool1d(_Global):
    """The mean of each channel of [N,L,C] -> [N,C]."""

    op = staticmethod(ops.adaptive_avg_pool1d)


class GlobalAvgPool2d(_Global):
    """The mean of each channel of [N,H,W,C] -> [N,C]."""

    op = staticmethod(ops.adaptive_avg_pool2d)


class GlobalAvgPool3d(_Global):
    """The mean of each channel of [N,D,H,W,C] -> [N,C]."""

    op = staticmethod(ops.adaptive_avg_pool3d)


class GlobalMaxPool1d(_Global):
    """The largest value of each channel of [N,L,C] -> [N,C]."""

    op = staticmethod(ops.adaptive_max_pool1d)


class GlobalMaxPool2d(_Global):
    """The largest value of each channel of [N,H,W,C] -> [N,C]."""

    op = staticmethod(ops.adaptive_max_pool2d)


class GlobalMaxPool3d(_Global):
    """The largest value of each channel of [N,D,H,W,C] -> [N,C]."""

    op = staticmethod(ops.adaptive_max_pool3d)


class MaxUnpool1d(_Unpool):
    """Values back to where `MaxPool1d(return_indices=True)` found them, zeros elsewhere; [N,L,C]."""

    count = 1


class MaxUnpool2d(_Unpool):
    """Values back to where `MaxPool2d(return_indices=True)` found them, zeros elsewhere; [N,H,W,C]."""

    count = 2


class MaxUnpool3d(_Unpool):
    """Values back to where `MaxPool3d(return_indices=True)` found them, zeros elsewhere; [N,D,H,W,C]."""

    count = 3


class Subsampling(Module):
    """activation(coefficient * mean of window + bias), both trainable, one per channel; [N,H,W,C].

    The pooling of the first convolutional networks (LeCun et al. 1998, with a sum for the mean; the coefficient takes
    up the difference). The coefficients start at `coefficient`, the biases at 0. stride defaults to kernel_size.
    """

    def __init__(
        self, channels: int, kernel_size: Any = 2, stride: Any = None, activation: str | None = "sigmoid",
        coefficient: float = 1.0,
    ) -> None:
        super().__init__()
        positive_integer("Subsampling", "channels", channels)
        self.kernel_size = int_tuple("Subsampling", "kernel_size", kernel_size, 2, 1)
        self.stride = self.kernel_size if stride is None else int_tuple("Subsampling", "stride", stride, 2, 1)
        self.code = activation_code("Subsampling", activation)
        self.activation = activation
        self.coefficient = Parameter(init.constant((channels,), coefficient))
        self.bias = Parameter(ops.zeros((channels,)))

    def forward(self, x: Any) -> Any:
        if x.shape[-1] != self.bias.shape[0]:
            raise ValueError(f"Subsampling: expected x with {self.bias.shape[0]} channels, got shape {tuple(x.shape)}")
        y = ops.add(ops.mul(ops.avg_pool2d(x, self.kernel_size, self.stride), self.coefficient), self.bias)
        return (ops.relu, ops.tanh, ops.sigmoid)[self.code - 1](y) if self.code else y

    def window(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[tuple[int, int | Fraction], ...]:
        return tuple(zip(self.kernel_size, self.stride, strict=True))

    def macs(self, output_shape: tuple[int, ...]) -> int:
        """One multiply-add per output; the sums of the windows are additions."""
        return math.prod(output_shape)

    def extra_repr(self) -> str:
        return (f"{self.bias.shape[0]}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"activation={self.activation!r}")  # fmt: skip
