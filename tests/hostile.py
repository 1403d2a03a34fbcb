"""A seeded random caller of the compiled module: `python hostile.py SEED COUNT` makes COUNT hostile calls.

Writes the call about to be made to the file that RB_HOSTILE_LOG names (after a crash it holds the culprit), and exits 1
when a call raises anything but TypeError, ValueError or MemoryError.
"""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np

import rosenblatt as rb
from rosenblatt import _core

SIZES = [0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 16, 17, 33]
INTEGERS = [
    0,
    1,
    1,
    1,
    2,
    2,
    3,
    5,
    7,
    -1,
    64,
    2**20,
    2**31 - 1,
    2**31,
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
    2**63,
    2**64,
    -(2**70),
]
REALS = [0.0, 1.0, -1.0, 0.5, 1e-8, 0.999, 1e300, -1e300, float("nan"), float("inf"), -float("inf"), 1, True, 2**70]
JUNK = [
    None,
    "x",
    b"x",
    [],
    [1.0],
    (1, 2),
    {},
    object(),
    1.5,
    3,
    True,
    float,
    np.float32(1),
    np.arange(3, dtype=object),
    np.array(["a"]),
    np.zeros(3, np.complex64),
    np.zeros(3, bool),
    np.zeros((1,) * 9),
    np.zeros(3, np.float16),
    np.array("2020", "M8[D]"),
    np.zeros(2, [("a", "f4")]),
    memoryview(b"abcd"),
    np.ma.masked_array([1.0], [True]),
]
RANKS = {"x": 4, "w": 4, "dy": 4, "idx": 4, "labels": 1, "bias": 1}


def shape(rng, rank):
    return tuple(int(rng.choice(SIZES)) for _ in range(rank))


def strided(rng, dtype):
    """A view with odd strides whose every element lies inside its buffer."""
    base = np.zeros(4096, dtype)
    rank = int(rng.integers(1, 5))
    while True:
        s = tuple(int(v) for v in rng.choice([1, 2, 3, 5, 8], rank))
        t = tuple(int(v) for v in rng.integers(-40, 41, rank))
        low = sum((n - 1) * k for n, k in zip(s, t, strict=True) if k < 0)
        high = sum((n - 1) * k for n, k in zip(s, t, strict=True) if k > 0)
        if high - low < 4000:
            start = base[-low:]
            return np.lib.stride_tricks.as_strided(start, s, [k * base.itemsize for k in t])


def array(rng, field, hint):
    """Mostly an array of the right kind, of a hinted or random shape; sometimes of a neighbouring kind."""
    name, _, role, element, *_ = field
    bfloat16 = np.uint16 if rng.random() < 0.5 else np.float32
    dtype = {"float": hint["dtype"], "bfloat16": bfloat16}.get(element) or np.dtype(element).type
    if rng.random() < 0.04:
        dtype = [np.float32, np.float64, np.int64, np.int32, np.uint8, np.float16][rng.integers(6)]
    roll = rng.random()
    if roll < 0.03:
        return JUNK[rng.integers(len(JUNK))]
    if roll < 0.08:
        return strided(rng, dtype)
    if roll < 0.60:
        s = hint["shapes"][rng.integers(len(hint["shapes"]))]
    else:
        s = shape(rng, int(rng.choice([0, 1, 2, 3, 4, RANKS.get(name, 2), 8])))
        if np.prod(s) > 40_000:
            s = s[:3]
    if role == "in" and np.dtype(dtype).kind == "i":
        a = rng.integers(-1 if rng.random() < 0.2 else 0, 9 if rng.random() < 0.3 else 2, s).astype(dtype)
    elif dtype is np.uint16:
        a = rng.integers(0, 2**16, s, np.uint16)
    elif np.dtype(dtype).kind == "f":
        with np.errstate(over="ignore"):
            a = rng.standard_normal(s).astype(dtype)
            if a.size and rng.random() < 0.1:
                a.reshape(-1)[rng.integers(a.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e38])
    else:
        a = np.zeros(s, dtype)
    a = np.asarray(a)
    roll = rng.random()
    if roll < 0.05:
        a = a.T
    elif roll < 0.08 and a.ndim:
        a = a[..., ::-1]
    elif roll < 0.10:
        a = a.astype(a.dtype.newbyteorder())
    elif roll < 0.12:
        a.flags.writeable = False
    elif roll < 0.14 and a.size:
        raw = np.zeros(a.nbytes + 1, np.uint8)
        a = raw[1:].view(a.dtype).reshape(a.shape)
    elif roll < 0.17 and hint["last"] is not None and isinstance(hint["last"], np.ndarray):
        a = hint["last"]  # the same memory twice
    return a


def mutate(rng, value):
    """One argument of a valid call, spoilt."""
    if isinstance(value, np.ndarray) and rng.random() < 0.8:
        roll = rng.integers(7)
        if roll == 0 and value.ndim:
            return value[..., : value.shape[-1] // 2]
        if roll == 1 and value.ndim:
            return np.concatenate([value, value], int(rng.integers(value.ndim)))
        if roll == 2:
            return value[None] if value.ndim < 8 else value
        if roll == 3 and value.ndim:
            return value[0] if value.shape[0] else value
        if roll == 4:
            kinds = [np.float32, np.float64, np.int64, np.int32]
            return np.zeros(value.shape, kinds[rng.integers(4)])
        if roll == 5 and value.ndim:
            return value[:0]
        return value.T
    if isinstance(value, bool) or value is None:
        return JUNK[rng.integers(len(JUNK))]
    if isinstance(value, int) and rng.random() < 0.9:
        return INTEGERS[rng.integers(len(INTEGERS))]
    if isinstance(value, float) and rng.random() < 0.9:
        return REALS[rng.integers(len(REALS))]
    return JUNK[rng.integers(len(JUNK))]


def random_arguments(rng, fields):
    dims = shape(rng, 4)
    hint = {
        "dtype": rng.choice([np.float32, np.float64]),
        "last": None,
        "shapes": [dims[:k] for k in range(5)] + [(dims[0], *dims[2:]), dims[:1] + dims[3:]],
    }
    args = []
    for field in fields:
        kind = field[1]
        if kind == "view":
            args.append(array(rng, field, hint))
            hint["last"] = args[-1]
        elif kind in ("int", "seed"):
            args.append(INTEGERS[rng.integers(len(INTEGERS))])
        else:
            args.append(REALS[rng.integers(len(REALS))])
    return args


def describe(a):
    return f"array{a.shape}{a.dtype}{a.strides}" if isinstance(a, np.ndarray) else f"{a!r:.60}"


def main(seed, count):
    from test_kernels import cases, fields, prepare

    warnings.simplefilter("ignore")  # NumPy's, on spoilt arrays

    rng = np.random.default_rng(seed)
    log = open(os.environ["RB_HOSTILE_LOG"], "w", encoding="utf-8") if "RB_HOSTILE_LOG" in os.environ else None  # noqa: SIM115
    names = list(_core.op_table())
    done = refused = 0
    for i in range(count):
        name = names[rng.integers(len(names))]
        if rng.random() < 0.6:
            table = cases(name)
            args, _ = prepare(name, table[rng.integers(len(table))], np.dtype(rng.choice([np.float32, np.float64])))
            for _ in range(rng.integers(1, 3)):
                at = rng.integers(len(args))
                args[at] = mutate(rng, args[at])
        else:
            args = random_arguments(rng, fields(name))
        roll = rng.random()
        if roll < 0.02:
            args = args[:-1]
        elif roll < 0.04:
            args = [*args, 1]
        if log:
            log.seek(0)
            log.truncate()
            log.write(f"seed {seed}, call {i}: {name}({', '.join(describe(a) for a in args)})\n")
            log.flush()
        try:
            getattr(_core, name)(*args)
            done += 1
        except (TypeError, ValueError, MemoryError):
            refused += 1
    print(f"{done} done, {refused} refused")
    assert rb.ops.gemm(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)).tolist() == np.eye(3).tolist()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
