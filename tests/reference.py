"""Plain definitions of the operations in float64 NumPy, written from the mathematics and never from our own code.

Every function takes and returns float64 arrays. Functions whose rounding error grows with the terms they add also
return a bound: the sum of the absolute values of the terms, in the shape of the result.
Letters: N images, H x W input, C channels, K output channels, R x S kernel, P x Q output.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

ACTIVATIONS = (None, "relu", "tanh", "sigmoid")


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0 / (1.0 + e), e / (1.0 + e))


def activate(x, act):
    """act: a name of ACTIVATIONS or its position there."""
    name = ACTIVATIONS[act] if isinstance(act, (int, np.integer)) else act
    if name in (None, "none", "linear"):
        return x
    return {"relu": lambda v: np.where(v > 0, v, v * 0.0), "tanh": np.tanh, "sigmoid": sigmoid}[name](x)


def gemm(a, b, bias=None, c=None, alpha=1.0, beta=0.0, act=None):
    """act(alpha a@b + bias + beta c) over the last two axes, and its bound."""
    y, bound = alpha * (a @ b), abs(alpha) * (np.abs(a) @ np.abs(b))
    if bias is not None:
        row = bias[..., None, :] if bias.ndim == 2 else bias
        y, bound = y + row, bound + np.abs(row)
    if beta:
        y, bound = y + beta * c, bound + abs(beta) * np.abs(c)
    y = activate(y, act)
    return y, bound + np.abs(y)


def to_bfloat16(x):
    """Bit patterns of the bfloat16 numbers nearest to float64 numbers, halves to even; a NaN becomes quiet."""
    x = np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        unit = np.exp2(np.maximum(np.frexp(x)[1] - 1, -126) - 7.0)  # distance of bfloat16 numbers at x
        near = np.where(np.isfinite(x), np.copysign(np.rint(x / unit) * unit, x), x)
        bits = near.astype(np.float32).view(np.uint32)
    return ((bits >> 16) | np.where(np.isnan(x), 0x40, 0)).astype(np.uint16)


def from_bfloat16(u):
    """float64 numbers of bit patterns; of floats, those of their nearest bfloat16."""
    u = u if u.dtype.kind == "u" else to_bfloat16(u)
    with np.errstate(invalid="ignore"):  # of NaN
        return (u.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def _tap(x, p, q, r, s, stride, pad, dil):
    """x [N,H,W,C] read at (p*stride + r*dil - pad, ...) for all p < P, q < Q: [N,P,Q,C], zeros outside."""
    out = np.zeros((x.shape[0], p, q, x.shape[3]))
    for i, j in itertools.product(range(p), range(q)):
        h, w = i * stride[0] + r * dil[0] - pad[0], j * stride[1] + s * dil[1] - pad[1]
        if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]:
            out[:, i, j] = x[:, h, w]
    return out


def _conv(x, w, p, q, stride, pad, dil, groups):
    k, r, s, cg = w.shape
    kg = k // groups
    y = np.zeros((x.shape[0], p, q, k))
    for i, j in itertools.product(range(r), range(s)):
        t = _tap(x, p, q, i, j, stride, pad, dil)
        for g in range(groups):
            y[..., g * kg : (g + 1) * kg] += t[..., g * cg : (g + 1) * cg] @ w[g * kg : (g + 1) * kg, i, j].T
    return y


def conv2d(x, w, bias, p, q, stride, pad, dil, groups, act=None):
    """Cross-correlation [N,H,W,C] * [K,R,S,C/groups] -> [N,P,Q,K], and its bound. pad: (top, left)."""
    y = _conv(x, w, p, q, stride, pad, dil, groups)
    bound = _conv(np.abs(x), np.abs(w), p, q, stride, pad, dil, groups)
    if bias is not None:
        y, bound = y + bias, bound + np.abs(bias)
    y = activate(y, act)
    return y, bound + np.abs(y)


def _conv_dx(dy, w, shape, stride, pad, dil, groups):
    k, r, s, cg = w.shape
    kg = k // groups
    dx = np.zeros(shape)
    for i, j, p, q in itertools.product(range(r), range(s), range(dy.shape[1]), range(dy.shape[2])):
        h, v = p * stride[0] + i * dil[0] - pad[0], q * stride[1] + j * dil[1] - pad[1]
        if 0 <= h < shape[1] and 0 <= v < shape[2]:
            for g in range(groups):
                dx[:, h, v, g * cg : (g + 1) * cg] += (
                    dy[:, p, q, g * kg : (g + 1) * kg] @ w[g * kg : (g + 1) * kg, i, j]
                )
    return dx


def conv2d_dx(dy, w, shape, stride, pad, dil, groups):
    """Gradient with respect to x of the given shape, and its bound."""
    return (
        _conv_dx(dy, w, shape, stride, pad, dil, groups),
        _conv_dx(np.abs(dy), np.abs(w), shape, stride, pad, dil, groups),
    )


def _conv_dw(x, dy, shape, stride, pad, dil, groups):
    k, r, s, cg = shape
    kg = k // groups
    dw = np.zeros(shape)
    for i, j in itertools.product(range(r), range(s)):
        t = _tap(x, dy.shape[1], dy.shape[2], i, j, stride, pad, dil)
        for g in range(groups):
            dw[g * kg : (g + 1) * kg, i, j] = np.tensordot(
                dy[..., g * kg : (g + 1) * kg], t[..., g * cg : (g + 1) * cg], ([0, 1, 2], [0, 1, 2])
            )
    return dw


def conv2d_dw(x, dy, shape, stride, pad, dil, groups):
    """Gradient with respect to the weight of the given shape, and its bound."""
    return (
        _conv_dw(x, dy, shape, stride, pad, dil, groups),
        _conv_dw(np.abs(x), np.abs(dy), shape, stride, pad, dil, groups),
    )


def windows(x, p, q, kernel, stride, pad):
    """Yields (i, j, rows, columns, cells counted with padding) of each pooling window; ranges clipped to the image."""
    h, w = x.shape[1:3]
    for i, j in itertools.product(range(p), range(q)):
        top, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
        rows = range(max(top, 0), min(top + kernel[0], h))
        columns = range(max(left, 0), min(left + kernel[1], w))
        padded = (min(top + kernel[0], h + pad[0]) - top) * (min(left + kernel[1], w + pad[1]) - left)
        yield i, j, rows, columns, padded


def max_pool2d(x, p, q, kernel, stride, pad):
    """[N,P,Q,C] maxima and int32 positions h*W + w: the first of equals, the first NaN over everything."""
    n, _, w, c = x.shape
    y, index = np.empty((n, p, q, c)), np.empty((n, p, q, c), np.int32)
    for i, j, rows, columns, _ in windows(x, p, q, kernel, stride, pad):
        for a, ch in itertools.product(range(n), range(c)):
            cells = [(x[a, h, v, ch], h * w + v) for h in rows for v in columns]
            nans = [cell for cell in cells if cell[0] != cell[0]]
            y[a, i, j, ch], index[a, i, j, ch] = nans[0] if nans else max(cells, key=lambda cell: (cell[0], -cell[1]))
    return y, index


def scatter(dy, index, shape):
    """dx [N,H,W,C] with dy added at each position of index."""
    dx = np.zeros((shape[0], shape[1] * shape[2], shape[3]))
    bound = np.zeros_like(dx)
    n, _, _, c = np.indices(dy.shape)
    np.add.at(dx, (n, index, c), dy)
    np.add.at(bound, (n, index, c), np.abs(dy))
    return dx.reshape(shape), bound.reshape(shape)


def gather(x, index):
    flat = x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])
    n, _, _, c = np.indices(index.shape)
    return flat[n, index, c]


def avg_pool2d(x, p, q, kernel, stride, pad, include):
    y, bound = np.empty((x.shape[0], p, q, x.shape[3])), np.empty((x.shape[0], p, q, x.shape[3]))
    for i, j, rows, columns, padded in windows(x, p, q, kernel, stride, pad):
        part = x[:, rows.start : rows.stop, columns.start : columns.stop]
        count = padded if include else len(rows) * len(columns)
        y[:, i, j], bound[:, i, j] = part.sum((1, 2)) / count, np.abs(part).sum((1, 2)) / count
    return y, bound


def avg_pool2d_dx(dy, shape, kernel, stride, pad, include):
    dx, bound = np.zeros(shape), np.zeros(shape)
    for i, j, rows, columns, padded in windows(dx, dy.shape[1], dy.shape[2], kernel, stride, pad):
        count = padded if include else len(rows) * len(columns)
        cells = np.s_[:, rows.start : rows.stop, columns.start : columns.stop]
        dx[cells] += dy[:, i : i + 1, j : j + 1] / count
        bound[cells] += np.abs(dy[:, i : i + 1, j : j + 1]) / count
    return dx, bound


def warp_affine(x, m, p, q):
    """Bilinear samples of x [N,H,W,C] at m [N,2,3] @ (p, q, 1), zeros outside, and a bound on the rounding error."""
    n, h, w, c = x.shape
    y, bound = np.zeros((n, p, q, c)), np.zeros((n, p, q, c))
    padded = np.zeros((n, h + 4, w + 4, c))
    padded[:, 2 : h + 2, 2 : w + 2] = x
    for a, i, j in itertools.product(range(n), range(p), range(q)):
        v, u = m[a] @ (i, j, 1.0)
        size = np.abs(m[a]) @ (i, j, 1.0)
        if not (-1 < v < h and -1 < u < w):
            continue
        top, left = math.floor(v), math.floor(u)
        dv, du = v - top, u - left
        cell = padded[a, top + 2 : top + 4, left + 2 : left + 4]  # [2,2,C]
        weights = np.outer([1 - dv, dv], [1 - du, du])
        y[a, i, j] = np.tensordot(weights, cell, ([0, 1], [0, 1]))
        # the position is rounded at the size of its terms; neighbours differ by at most twice the largest pixel
        near = np.abs(padded[a, max(top + 1, 0) : top + 5, max(left + 1, 0) : left + 5]).max((0, 1))
        bound[a, i, j] = near * (1 + 2 * size.sum())
    return y, bound


def softmax(x):
    """Over the last axis, and its bound (the argument of exp is rounded at its own size)."""
    if x.shape[-1] == 0:
        return x, x
    d = x - x.max(-1, keepdims=True)
    e = np.exp(d)
    y = e / e.sum(-1, keepdims=True)
    return y, y * (2 + np.abs(d).max(-1, keepdims=True))


def log_softmax(x):
    if x.shape[-1] == 0:
        return x, x
    top = x.max(-1, keepdims=True)
    lse = np.log(np.exp(x - top).sum(-1, keepdims=True)) + top
    return x - lse, np.abs(x) + np.abs(lse) + 1


def cross_entropy(x, labels):
    """-log softmax(x)[label] per row of x [..., C], and its bound."""
    y, bound = log_softmax(x)
    at = np.asarray(labels)[..., None]
    return -np.take_along_axis(y, at, -1)[..., 0], bound.max(-1, initial=0.0)


def one_hot(labels, classes):
    return np.eye(classes)[np.asarray(labels)]


# --- random numbers: Philox4x32-10 (Salmon et al., SC 2011), words in stream order


def philox_words(key, counter, blocks):
    """[blocks, 4] words of 32 bits."""
    mask = 0xFFFFFFFF
    start = np.array([(counter + i) % 2**64 for i in range(blocks)], np.uint64)
    c = [start & np.uint64(mask), start >> np.uint64(32), np.zeros(blocks, np.uint64), np.zeros(blocks, np.uint64)]
    k0, k1 = key & mask, key >> 32
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        low = np.uint64(mask)
        c = [
            (p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0),
            p1 & low,
            (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1),
            p0 & low,
        ]
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return np.stack(c, 1).astype(np.uint32) if blocks else np.zeros((0, 4), np.uint32)


def _draws(n, dtype, key, counter):
    """(u in [0,1), u in (0,1]) for n elements: float32 from one word each, float64 from two."""
    per = 4 if dtype == np.float32 else 2
    words = philox_words(key, counter, -(-n // per)).reshape(-1)
    if dtype == np.float32:
        u = (words >> np.uint32(8)).astype(np.float64) * 2.0**-24
        v = ((words >> np.uint32(1)).astype(np.float32) + np.float32(1)).astype(np.float64) * 2.0**-31
    else:
        pair = words.reshape(-1, 2).astype(np.uint64)
        u = ((pair[:, 1] << np.uint64(32) | pair[:, 0]) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        v = u + 2.0**-53
    return u, v


def uniform(shape, low, high, dtype, key, counter):
    n = math.prod(shape)
    u, _ = _draws(n, dtype, key, counter)
    return (low + (high - low) * u[:n]).reshape(shape), np.full(shape, abs(low) + abs(high))


def normal(shape, mean, std, dtype, key, counter):
    """Box-Muller on neighbouring elements."""
    n = math.prod(shape)
    u, v = _draws(n, dtype, key, counter)
    r, angle = np.sqrt(-2 * np.log(v[0::2])), 2 * np.pi * u[1::2]
    z = np.stack([r * np.cos(angle), r * np.sin(angle)], 1).reshape(-1)
    bound = np.repeat(r * 8, 2) * abs(std) + abs(mean)
    return (mean + std * z[:n]).reshape(shape), bound[:n].reshape(shape)


def dropout(x, p, dtype, key, counter):
    u, _ = _draws(x.size, dtype, key, counter)
    keep = u[: x.size].reshape(x.shape) >= p
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(keep, x / (1 - p), 0.0)


# --- optimisers, one step; each returns the new (p, state...)


def sgd(p, g, m, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, first=False):
    d = g + weight_decay * p
    if momentum:
        m = d if first else momentum * m + (1 - dampening) * d
        d = d + momentum * m if nesterov else m
    return p - lr * d, m


def adam(p, g, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return p - lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps), m, v


# --- comparing


def close(got, want, dtype, ulps, bound=None, label=""):
    """Asserts |got - want| <= ulps * eps * bound (default bound |want|), NaN and infinities in the same places."""
    got = np.asarray(got)
    want = np.asarray(want)
    assert got.shape == want.shape, f"{label}: shape {got.shape}, expected {want.shape}"
    if want.dtype.kind in "iub":
        assert np.array_equal(got, want), f"{label}: {got} expected {want}"
        return
    assert got.dtype == dtype, f"{label}: dtype {got.dtype}, expected {dtype}"
    info = np.finfo(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(want.astype(dtype))
        bound = np.abs(want) if bound is None else np.broadcast_to(np.asarray(bound), want.shape)
        error = np.abs(got.astype(np.float64) - want)
        allowed = ulps * info.eps * bound + 4 * info.tiny
        # at the very edge of overflow, rounding up to infinity is right too
        bad = np.where(finite, ~(error <= allowed), False)
        bad |= ~finite & ~((got == want.astype(dtype)) | (np.isnan(got) & np.isnan(want)))
    if bad.any():
        at = tuple(int(i[0]) for i in np.nonzero(bad)) if bad.ndim else ()
        raise AssertionError(
            f"{label}: {int(bad.sum())} of {bad.size} elements off, first at {at}: got {got[at]!r}, expected "
            f"{want[at]!r} (error {error[at]:.3g}, allowed {allowed[at]:.3g})"
        )


def same_bits(a, b):
    """Whether two arrays have the same dtype, shape and bytes (so NaN equals NaN, and -0 differs from 0)."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
