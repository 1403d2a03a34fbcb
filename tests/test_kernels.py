"""Every op of the compiled table against its float64 reference: all implementations, layouts, threads, guard bands.

The templates run over KERNELS of kerneltable, kerneltable_optim, kerneltable_select and kerneltable_pool; a new op
without a record there fails `test_table_is_complete`.
"""

from __future__ import annotations

import functools
import zlib

import numpy as np
import pytest
import reference as ref
from kerneltable import F32, F64, InOut, Out
from kerneltable_pool import KERNELS

import rosenblatt as rb
from rosenblatt import _core

TABLE = _core.op_table()
DTYPES = [F32, F64]
ELEMENTWISE = [
    n
    for n, f in TABLE.items()
    if [x[2] for x in f] in (["in", "out"], ["in", "in", "out"])
    and all(not x[5] for x in f[:-1])
    and n not in ("copy", "cast", "sum", "max", "min", "argmax", "argmin")
]
each_kernel = pytest.mark.parametrize("name", list(KERNELS))
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_kernel_and_dtype = pytest.mark.parametrize(
    ("name", "dtype"), [pytest.param(n, d, id=f"{d}-{n}") for d in DTYPES for n, s in KERNELS.items() if d in s.dtypes]
)


def fields(name):
    """The declarations matching a case's arguments one to one: a seed counts twice, workspace not at all."""
    out = []
    for f in TABLE[name]:
        out += [f, f] if f[1] == "seed" else [] if f[1] == "work" else [f]
    return out


@functools.cache
def cases(name, big=False):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    spec = KERNELS[name]
    return (spec.big if big else spec.cases)(rng)


def other(name, dtype):
    """The dtype of the output: cast is the one op that changes it."""
    return (F64 if dtype == F32 else F32) if name == "cast" else dtype


def element_of(kind, a, dtype):
    """The dtype of an argument by its element class; bfloat16 is given as bit patterns or as floats."""
    if kind == "bfloat16":
        return a.dtype if a.dtype == np.uint16 else F32
    return dtype if kind == "float" else np.dtype(kind)


def prepare(name, case, dtype):
    """(arguments for the kernel with outputs full of NaN, arguments for the reference in float64)."""
    args, wanted = [], []
    for field, a in zip(fields(name), case.args, strict=True):
        element = element_of(field[3], a, dtype)
        if isinstance(a, Out):
            kind = other(name, dtype) if field[3] == "float" else element
            buffer = np.full(a.shape, {"f": np.nan, "i": -77, "u": 77}[kind.kind], kind)
            args.append(buffer)
            wanted.append(buffer)
        elif isinstance(a, InOut):
            with np.errstate(over="ignore"):
                args.append(a.array.astype(dtype))
            wanted.append(args[-1].astype(np.float64))
        elif field[1] == "view" and a is not None:
            with np.errstate(over="ignore"):
                args.append(np.array(a, element, order="C"))
            wanted.append(args[-1].astype(np.float64) if element.kind == "f" else args[-1])
        else:
            args.append(a)
            wanted.append(a)
    return args, wanted


def outputs(name, args):
    return [a for f, a in zip(fields(name), args, strict=True) if f[2] in ("out", "inout") and a is not None]


def inputs(name, args):
    return [a for f, a in zip(fields(name), args, strict=True) if f[2] == "in" and a is not None]


def expected(name, wanted, dtype):
    """One (values, bound or None) per output."""
    spec = KERNELS[name]
    result = spec.reference(*wanted, **({"dtype": dtype} if spec.takes_dtype else {}))
    results = result if isinstance(result, list) else [result]
    return [r if isinstance(r, tuple) else (r, None) for r in results]


def ulps(name):
    """Of the last call. Winograd's algorithm has more roundings, those of transforms are in proportion to a tile's
    largest values; `test_winograd.py` and `test_conv_algo.py` have their bounds in the L2 norm."""
    return KERNELS[name].ulps * next((f for part, f in (("winograd", 4), (":fft", 16)) if part in _core.last_impl()), 1)


def verify(name, case, dtype, label=""):
    args, wanted = prepare(name, case, dtype)
    before = [a.copy() for a in inputs(name, args)]
    want = expected(name, wanted, dtype)
    getattr(_core, name)(*args)
    text = f"{name} {case.label} {dtype} {label}"
    for got, (values, bound) in zip(outputs(name, args), want, strict=True):
        ref.close(got, values, got.dtype, ulps(name), bound, text)
    for a, b in zip(inputs(name, args), before, strict=True):
        assert ref.same_bits(a, b), f"{text}: an input was changed"


def run(name, case, dtype, change=lambda field, a: a):
    """The outputs' bytes, with `change` applied to every input."""
    args, _ = prepare(name, case, dtype)
    args = [change(f, a) if f[2] == "in" and a is not None else a for f, a in zip(fields(name), args, strict=True)]
    getattr(_core, name)(*args)
    return outputs(name, args)


def assert_same(name, a, b, text):
    for x, y in zip(a, b, strict=True):
        assert ref.same_bits(x, y), f"{name}: {text}: bits differ"


# --- completeness


@pytest.mark.quick
def test_table_is_complete():
    assert set(KERNELS) == set(TABLE)
    assert _core.config()["ops"] == len(TABLE)
    for name in KERNELS:
        assert callable(getattr(_core, name))
        assert _core.impls(name)[-1] == "ref:ref"
        for case in cases(name):
            assert len(case.args) == len(fields(name)), f"{name}: {case.label}"
    with pytest.raises(ValueError, match="no op named 'nothing'"):
        _core.impls("nothing")


# --- forward


@pytest.mark.quick
@each_kernel_and_dtype
def test_reference(name, dtype):
    for case in cases(name):
        verify(name, case, dtype)


@each_kernel_and_dtype
def test_every_implementation(name, dtype):
    for impl in _core.impls(name):
        _core.force_impl(name, impl)
        for case in cases(name):
            verify(name, case, dtype, impl)
        if not impl.startswith("ref:") and len(_core.impls(name)) == 2:
            assert _core.last_impl() == impl


@each_kernel
def test_every_implementation_on_large_arrays(name):
    for case in cases(name, big=True):
        args, wanted = prepare(name, case, F32)
        want = expected(name, wanted, F32)
        for impl in _core.impls(name):
            if impl.startswith("ref:"):
                continue
            _core.force_impl(name, impl)
            args, _ = prepare(name, case, F32)
            getattr(_core, name)(*args)
            for got, (values, bound) in zip(outputs(name, args), want, strict=True):
                ref.close(got, values, got.dtype, ulps(name), bound, f"{name} {case.label} {impl}")


@pytest.mark.quick
@each_kernel
def test_default_is_not_the_fallback(name):
    if _core.config()["isa"] == "ref":
        pytest.skip("the process is limited to the reference level")
    for dtype in KERNELS[name].dtypes:
        for case in cases(name):
            args, _ = prepare(name, case, dtype)
            before = _core.ref_calls()
            getattr(_core, name)(*args)
            assert _core.ref_calls() == before, f"{name} {case.label} {dtype} ran on {_core.last_impl()}"


# --- determinism


@each_kernel_and_dtype
def test_threads_and_repetition_change_no_bit(name, dtype):
    for case in [*cases(name, big=True), *cases(name)[:3]]:
        rb.set_num_threads(1)
        first = run(name, case, dtype)
        for threads in (1, 2, 5):
            rb.set_num_threads(threads)
            assert_same(name, run(name, case, dtype), first, f"{case.label} with {threads} threads")


@each_kernel_and_dtype
def test_every_implementation_is_independent_of_threads(name, dtype):
    case = cases(name, big=True)[0]
    for impl in _core.impls(name)[1:-1]:
        _core.force_impl(name, impl)
        rb.set_num_threads(1)
        first = run(name, case, dtype)
        rb.set_num_threads(3)
        assert_same(name, run(name, case, dtype), first, impl)


@pytest.mark.quick
@pytest.mark.parametrize("name", ELEMENTWISE)
@each_dtype
def test_rows_do_not_depend_on_their_place(name, dtype):
    """An elementwise result has the same bits in a vector body, in a tail, alone, and at any alignment."""
    rng = np.random.default_rng(3)
    count = sum(f[2] == "in" for f in TABLE[name])
    data = [np.abs(rng.standard_normal(133)).astype(dtype) for _ in range(count)]
    whole = np.empty(133, dtype)
    getattr(_core, name)(*data, whole)
    for start, n in [(0, 1), (1, 7), (5, 33), (64, 69), (132, 1), (3, 130)]:
        part = np.empty(n + 1, dtype)[1:]
        getattr(_core, name)(*[d[start : start + n] for d in data], part)
        assert ref.same_bits(part, whole[start : start + n]), f"{name}[{start}:{start + n}]"


# --- layouts of inputs


def fortran(a):
    return np.asfortranarray(a) if a.ndim else a


def reversed_memory(a):
    flip = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[flip])[flip] if a.ndim else a


def every_second(a):
    big = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype) if a.ndim else a
    if a.ndim:
        big[..., ::2] = a
        return big[..., ::2]
    return a


def odd_address(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    out = raw[1:].view(a.dtype).reshape(a.shape) if a.size else a
    out[...] = a
    return out


def swapped(a):
    return a.astype(a.dtype.newbyteorder())


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = [fortran, reversed_memory, every_second, odd_address, swapped, read_only]


@each_kernel_and_dtype
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_layout_of_inputs_changes_no_bit(name, dtype, layout):
    for case in cases(name):
        plain = run(name, case, dtype)
        assert_same(name, run(name, case, dtype, lambda f, a: layout(a)), plain, f"{case.label} {layout.__name__}")


@each_kernel
def test_broadcast_views_as_inputs(name):
    def repeat(field, a):
        return np.broadcast_to(a[:1], a.shape) if a.ndim and a.shape[0] and field[3] == "float" else a

    for case in cases(name):
        plain = run(name, case, F32, lambda f, a: np.ascontiguousarray(repeat(f, a)) if a.ndim else a)
        assert_same(name, run(name, case, F32, repeat), plain, case.label)


@each_kernel
def test_alignment_of_outputs_changes_no_bit(name):
    """Outputs at element offsets inside a vector: the same bits as on an aligned buffer."""
    for case in [*cases(name), *cases(name, big=True)]:
        plain = run(name, case, F32)
        args, _ = prepare(name, case, F32)
        moved = []
        for f, a in zip(fields(name), args, strict=True):
            if f[2] in ("out", "inout") and a is not None:
                place = np.empty(a.size + 3, a.dtype)[3:].reshape(a.shape)
                place[...] = a
                a = place
            moved.append(a)
        getattr(_core, name)(*moved)
        assert_same(name, outputs(name, moved), plain, case.label)


# --- outputs


@each_kernel_and_dtype
def test_guard_bands(name, dtype):
    """Nothing outside the output is written: each output sits in a larger buffer of known bytes."""
    for case in cases(name):
        args, wanted = prepare(name, case, dtype)
        want = expected(name, wanted, dtype)
        raws, placed = [], []
        for f, a in zip(fields(name), args, strict=True):
            if f[2] in ("out", "inout") and a is not None:
                item = a.dtype.itemsize
                raw = np.full(a.nbytes + 128 + item, 0xA5, np.uint8)
                inner = raw[64 + item : 64 + item + a.nbytes].view(a.dtype).reshape(a.shape)
                inner[...] = a
                raws.append((raw, 64 + item, a.nbytes))
                a = inner
            placed.append(a)
        getattr(_core, name)(*placed)
        for got, (values, bound) in zip(outputs(name, placed), want, strict=True):
            ref.close(got, values, got.dtype, ulps(name), bound, f"{name} {case.label}")
        for raw, begin, size in raws:
            outside = np.concatenate([raw[:begin], raw[begin + size :]])
            assert (outside == 0xA5).all(), f"{name} {case.label}: wrote outside its output"


@pytest.mark.quick
@pytest.mark.parametrize("name", ["copy", "fill"])
def test_strided_outputs(name):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 6)).astype(np.float32)
    for index in [np.s_[::2, ::3], np.s_[1::2, ::-1], np.s_[::-1, 1:9], np.s_[2, ::2]]:
        frame = np.full((9, 19), 7.0, np.float32)
        want = frame.copy()
        view = frame[index]
        source = x[: view.shape[0], : view.shape[-1]] if view.ndim == 2 and view.shape <= x.shape else np.float32(3)
        source = np.broadcast_to(source, view.shape) if np.ndim(source) == 0 else np.resize(x, view.shape)
        want[index] = source if name == "copy" else 2.5
        if name == "copy":
            _core.copy(np.ascontiguousarray(source), view)
        else:
            _core.fill(view, 2.5)
        assert np.array_equal(frame, want)


def bad_outputs(name):
    """(description, function making a bad output of a good one, exception)."""
    contiguous = next(f[5] for f in TABLE[name] if f[2] in ("out", "inout"))
    yield "integer dtype", lambda a: a.astype(np.int16), TypeError
    yield "complex dtype", lambda a: a.astype(np.complex64), TypeError
    yield "a list", lambda a: a.tolist(), TypeError
    yield "byte-swapped", swapped, ValueError
    yield "read-only", read_only, ValueError
    yield "misaligned", odd_address, ValueError
    if contiguous:
        yield "not contiguous", every_second, ValueError
    if name in ("fill", "uniform", "normal"):  # which take any shape
        return
    yield "an axis too many", lambda a: a.reshape((1,) * (9 - a.ndim) + a.shape), ValueError
    if name == "one_hot":  # any number of classes that holds the labels, and no other float array to agree with
        return
    if name in ("norm_scale_update", "clip_update", "row_norm_update"):  # any shape, too
        return
    yield "one too long", lambda a: np.concatenate([a, a[..., :1]], -1), ValueError
    if name not in ("cast", "from_bfloat16"):
        yield "the other precision", lambda a: a.astype(np.float64), ValueError


@pytest.mark.quick
@each_kernel
def test_bad_outputs_are_refused_before_anything_is_written(name):
    lone = name == "pair_loss"  # its loss is one number, of which no bad form can be made
    case = next(
        c
        for c in cases(name)
        if all(
            a.shape and a.shape[-1] > 1 and 0 not in a.shape
            for a in outputs(name, prepare(name, c, F32)[0])[: 1 if lone else None]
        )
    )
    at = [i for i, f in enumerate(fields(name)) if f[2] in ("out", "inout") and case.args[i] is not None]
    for i in at[: 1 if lone else None]:
        if fields(name)[i][3] != "float":
            continue
        for what, spoil, error in bad_outputs(name):
            args, _ = prepare(name, case, F32)
            for j in at:
                args[j][...] = 1.25 if args[j].dtype.kind == "f" else 3
            args[i] = spoil(args[i])
            kept = [np.array(a, copy=True) for a in args if isinstance(a, np.ndarray)]
            with pytest.raises(error, match=rf"^{name}: "):
                getattr(_core, name)(*args)
            for a, b in zip([a for a in args if isinstance(a, np.ndarray)], kept, strict=True):
                assert ref.same_bits(a, b), f"{name}: {what}: a buffer was touched"


SHARED_DTYPE = [
    n
    for n, f in TABLE.items()
    if n != "cast"
    and any(x[2] == "in" and x[3] == "float" for x in f)
    and any(x[2] in ("out", "inout") and x[3] == "float" for x in f)
]


@pytest.mark.quick
@pytest.mark.parametrize("name", SHARED_DTYPE)
def test_overlapping_buffers(name):
    """An output may be exactly an input of an elementwise op; every other overlap is refused."""
    declared = fields(name)
    i = next(k for k, f in enumerate(declared) if f[2] == "in" and f[3] == "float")
    o = next(k for k, f in enumerate(declared) if f[2] in ("out", "inout") and f[3] == "float")
    case = next(c for c in cases(name) if min(a.size for a in (prepare(name, c, F32)[0][k] for k in (i, o))) > 2)
    args, _ = prepare(name, case, F32)
    raw = np.zeros(max(args[i].size, args[o].size) + 1, F32)
    args[i] = raw[: args[i].size].reshape(args[i].shape)
    args[o] = raw[1 : 1 + args[o].size].reshape(args[o].shape)
    with pytest.raises(ValueError, match=rf"^{name}: output \w+ overlaps \w+ in memory"):
        getattr(_core, name)(*args)
    assert not raw.any()


@pytest.mark.quick
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_in_place(name):
    rng = np.random.default_rng(1)
    count = sum(f[2] == "in" for f in TABLE[name])
    data = [rng.uniform(0.5, 2, 77).astype(np.float32) for _ in range(count)]
    want = np.empty(77, np.float32)
    getattr(_core, name)(*data, want)
    for i in range(count):
        copies = [d.copy() for d in data]
        try:
            getattr(_core, name)(*copies, copies[i])
        except ValueError as error:
            assert "overlaps" in str(error)
            assert all(ref.same_bits(a, b) for a, b in zip(copies, data, strict=True))
        else:
            assert ref.same_bits(copies[i], want), name


# --- selection


@pytest.mark.quick
def test_force_impl_refuses_what_does_not_exist():
    for op, impl in [("gemm", "nothing"), ("nothing", "ref"), ("gemm", "sse9:packed"), ("gemm", "ref:packed")]:
        with pytest.raises(ValueError, match=f"'{op}' has no implementation '{impl}'"):
            _core.force_impl(op, impl)
    a = np.ones((2, 2), np.float32)
    _core.force_impl("gemm", "ref")
    _core.gemm(a, a, None, a.copy(), 1.0, 0.0, 0)
    assert _core.last_impl() == "ref:ref"
    _core.force_impl("gemm", None)
    _core.gemm(a, a, None, a.copy(), 1.0, 0.0, 0)
    assert _core.last_impl() == _core.impls("gemm")[0] or _core.config()["isa"] != "ref"
