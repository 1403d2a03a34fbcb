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
from .conv import conv2d, conv2d_dw, conv2d_dx
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
from .image import warp_affine
from .linalg import gemm, linear, matmul
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
from .pool import avg_pool2d, max_pool2d
from .random import dropout, normal, uniform
from .reduce import argmax, max, mean, min, std, sum, var
from .select import argmin, argsort, cumprod, cumsum, embedding, gather, scatter_add, sort, take, topk
from .shape import broadcast_to, concat, copy, flatten, getitem, ones, reshape, stack, transpose, zeros

__all__ = [
    "abs", "add", "algebraic_sigmoid", "argmax", "argmin", "argsort", "astype", "avg_pool2d", "bce_loss",
    "bce_with_logits", "bipolar_sigmoid", "bipolar_step", "broadcast_to", "categorical_cross_entropy", "ceil",
    "clip", "concat", "conv2d", "conv2d_dw", "conv2d_dx", "copy", "cosine_loss", "cross_entropy", "cumprod",
    "cumsum", "dead_zone", "detection_loss", "div", "dropout", "elu", "embedding", "equal", "erf", "exp", "expm1",
    "flatten", "floor", "focal_loss", "gather", "gelu", "gemm", "getitem", "greater", "greater_equal",
    "half_sse_loss", "hard_tanh", "hinge_loss", "huber_loss", "kl_div", "leaky_relu", "less", "less_equal",
    "linear", "log", "log1p", "log_softmax", "log_sum_exp", "logistic", "logistic_loss", "mae_loss", "matmul",
    "max", "max_pool2d", "maximum", "maxout", "mean", "min", "minimum", "mse_loss", "msle_loss", "mul", "neg",
    "normal", "not_equal", "one_hot", "ones", "perceptron_loss", "pow", "prelu", "ramp", "relu", "reshape",
    "rmse_loss", "round", "scatter_add", "shifted_relu", "sigmoid", "sign", "silu", "smooth_l1_loss", "softmax",
    "softplus", "sort", "sqrt", "square", "squared_hinge_loss", "sse_loss", "stack", "std", "step", "sub", "sum",
    "take", "tanh", "topk", "transpose", "uniform", "var", "warp_affine", "where", "zeros",
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
