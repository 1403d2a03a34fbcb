"""Public operations. Each takes tensors (taped) or plain NumPy arrays (no tape) and returns the same kind.

>>> import numpy as np, rosenblatt as rb
>>> rb.ops.gemm(np.ones((2, 3), np.float32), np.ones((3, 2), np.float32))
array([[3., 3.],
       [3., 3.]], dtype=float32)
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .activation import (
    algebraic_sigmoid,
    bipolar_sigmoid,
    bipolar_step,
    dead_zone,
    elu,
    gelu,
    hard_tanh,
    leaky_relu,
    log_sum_exp,
    logistic,
    maxout,
    prelu,
    ramp,
    shifted_relu,
    silu,
    softplus,
    step,
)
from .bfloat16 import from_bfloat16, gemm_bf16, to_bfloat16
from .conv import conv2d, conv2d_dw, conv2d_dx
from .convnd import (
    circular_conv,
    complex_conv1d,
    complex_conv2d,
    complex_conv3d,
    conv1d,
    conv3d,
    conv3d_dw,
    conv3d_dx,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from .elementwise import (
    abs,
    add,
    astype,
    ceil,
    clip,
    div,
    equal,
    erf,
    exp,
    expm1,
    floor,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    log1p,
    maximum,
    minimum,
    mul,
    neg,
    not_equal,
    pow,
    relu,
    round,
    sigmoid,
    sign,
    sqrt,
    square,
    sub,
    tanh,
    where,
)
from .filters import deconvolve, fftconv, filter2d, filter_bank, lfilter_fir, sep_filter2d
from .fourier import fft, ifft, irfft, rfft
from .image import warp_affine
from .image_filters import blur, gabor_bank, gabor_kernel, gaussian_filter, scharr, sharpen, sobel
from .linalg import gemm, linear, matmul
from .local import (
    connection_conv2d,
    locally_connected1d,
    locally_connected2d,
    tiled_conv2d,
)
from .loss import cross_entropy, log_softmax, mse_loss, one_hot, perceptron_loss, softmax
from .losses import (
    bce_loss,
    bce_with_logits,
    categorical_cross_entropy,
    cosine_loss,
    detection_loss,
    focal_loss,
    half_sse_loss,
    hinge_loss,
    huber_loss,
    kl_div,
    logistic_loss,
    mae_loss,
    msle_loss,
    rmse_loss,
    smooth_l1_loss,
    squared_hinge_loss,
    sse_loss,
)
from .norm import batch_norm, local_response_norm
from .pad import (
    fold,
    pad,
    unfold,
)
from .pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool,
    min_pool1d,
    min_pool2d,
    min_pool3d,
)
from .random import dropout, normal, uniform
from .reduce import argmax, max, mean, min, std, sum, var
from .resize import (
    interpolate,
)
from .select import argmin, argsort, cumprod, cumsum, embedding, gather, scatter_add, sort, take, topk
from .shape import broadcast_to, concat, copy, flatten, getitem, ones, reshape, stack, transpose, zeros

__all__ = [
    "abs", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "add", "algebraic_sigmoid", "argmax", "argmin", "argsort", "astype",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm", "bce_loss", "bce_with_logits", "bipolar_sigmoid",
    "bipolar_step", "blur",
    "broadcast_to", "categorical_cross_entropy", "ceil", "circular_conv", "clip", "complex_conv1d", "complex_conv2d",
    "complex_conv3d", "concat", "connection_conv2d", "conv1d", "conv2d", "conv2d_dw", "conv2d_dx", "conv3d",
    "conv3d_dw", "conv3d_dx", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "copy", "cosine_loss",
    "cross_entropy", "cumprod", "cumsum", "dead_zone", "deconvolve", "detection_loss", "div", "dropout", "elu",
    "embedding", "equal", "erf", "exp", "expm1", "fft", "fftconv", "filter2d", "filter_bank", "flatten", "floor",
    "focal_loss", "fold", "from_bfloat16", "gabor_bank", "gabor_kernel", "gather", "gaussian_filter", "gelu", "gemm",
    "gemm_bf16", "getitem", "greater", "greater_equal", "half_sse_loss", "hard_tanh", "hinge_loss", "huber_loss",
    "ifft", "interpolate", "irfft", "kl_div", "leaky_relu", "less", "less_equal", "lfilter_fir", "linear",
    "local_response_norm", "locally_connected1d",
    "locally_connected2d", "log", "log1p", "log_softmax", "log_sum_exp", "logistic",
    "logistic_loss", "lp_pool1d", "lp_pool2d", "lp_pool3d", "mae_loss", "matmul", "max", "max_pool1d", "max_pool2d",
    "max_pool3d", "max_unpool", "maximum", "maxout", "mean", "min", "min_pool1d", "min_pool2d", "min_pool3d", "minimum",
    "mse_loss", "msle_loss", "mul", "neg", "normal", "not_equal", "one_hot", "ones", "pad", "perceptron_loss", "pow",
    "prelu", "ramp", "relu", "reshape", "rfft", "rmse_loss", "round", "scatter_add", "scharr", "sep_filter2d",
    "sharpen", "shifted_relu", "sigmoid", "sign", "silu", "smooth_l1_loss", "sobel", "softmax", "softplus", "sort",
    "sqrt", "square", "squared_hinge_loss", "sse_loss", "stack", "std", "step", "sub", "sum", "take", "tanh",
    "tiled_conv2d", "to_bfloat16", "topk", "transpose", "unfold", "uniform", "var", "warp_affine", "where", "zeros",
]


def _reflected(f: Any) -> Any:
    return lambda self, other: f(other, self)


def _attach() -> None:
    """Gives Tensor its operators and methods."""
    t: Any = Tensor
    for name, f in (("add", add), ("sub", sub), ("mul", mul), ("truediv", div), ("pow", pow), ("matmul", matmul)):
        setattr(t, f"__{name}__", f)
        setattr(t, f"__r{name}__", _reflected(f))
    for name, g in (("neg", neg), ("abs", abs), ("gt", greater), ("ge", greater_equal), ("lt", less),
                    ("le", less_equal), ("getitem", getitem)):
        setattr(t, f"__{name}__", g)
    for h in (exp, log, sqrt, square, abs, relu, tanh, sigmoid, softmax, log_softmax, sum, mean, max, min, argmax,
              reshape, flatten, transpose, astype, matmul):
        setattr(t, h.__name__, h)
    t.T = property(transpose)


_attach()
