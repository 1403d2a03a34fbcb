"""Every public op against its float64 reference, its gradients of both orders, its errors.

The templates run over SPECS of all optable files; an op of `rb.ops.__all__` without a record fails the first test.
"""

from __future__ import annotations

import functools
import re
import zlib

import numpy as np
import pytest
import reference as ref
from kerneltable import F32, F64
from optable import Sample
from optable_pool import SPECS
from test_kernels import LAYOUTS

import rosenblatt as rb
from rosenblatt import Tensor, _core

DTYPES = [F32, F64]
INDICES = ("argmax", "argmin", "argsort")  # which answer with plain integer arrays
each_op = pytest.mark.parametrize("name", list(SPECS))
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
with_gradient = pytest.mark.parametrize("name", [n for n, s in SPECS.items() if s.gradients])
CREATORS = ("zeros", "ones", "uniform", "normal", "one_hot", "gabor_bank", "gabor_kernel", "from_bfloat16")
taking_arrays = [n for n in SPECS if n not in CREATORS]


@functools.cache
def samples(name):
    drawn = SPECS[name].samples(np.random.default_rng(zlib.crc32(name.encode())))
    return [Sample(tuple(np.asarray(a) if isinstance(a, np.generic) else a for a in s.args), s.options) for s in drawn]


def is_float(a):
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def convert(args, dtype, change=lambda a: a):
    return [change(a.astype(dtype)) if is_float(a) else a for a in args]


def options_of(spec, sample, dtype):
    """A sample's options, with the dtype for ops that create arrays."""
    creates = spec.name in CREATORS
    return {**sample.options, **({"dtype": dtype} if creates else {})}


def values(x):
    return x.data if isinstance(x, Tensor) else x


# --- completeness


@pytest.mark.quick
def test_every_op_has_a_record():
    assert set(SPECS) == set(rb.ops.__all__)
    for name in rb.ops.__all__:
        assert callable(getattr(rb.ops, name)) and getattr(rb.ops, name).__doc__, name
        assert samples(name)
        assert SPECS[name].errors or name == "copy"


# --- forward


@pytest.mark.quick
@each_op
@each_dtype
def test_forward(name, dtype, factor=1):
    """`factor`: of the allowed error, for implementations with a bound of their own."""
    spec = SPECS[name]
    for sample in samples(name):
        args = convert(sample.args, dtype)
        kept = [np.array(a, copy=True) if isinstance(a, np.ndarray) else a for a in args]
        options = options_of(spec, sample, dtype)
        told = {"dtype": dtype} if spec.dtyped else {}
        want = spec.reference(*convert(args, F64), **sample.options, **told)
        want, bound = want if isinstance(want, tuple) else (want, None)
        plain = spec(*args, **options)
        label = f"{name} {sample.label} {dtype}"
        assert type(plain) is np.ndarray, label
        kind = F64 if name == "astype" else dtype
        ref.close(plain, want, plain.dtype if plain.dtype.kind in "iu" else kind, factor * spec.ulps, bound, label)
        if spec.tensors:
            grad = [Tensor(a, requires_grad=i in spec.gradients) if is_float(a) else a for i, a in enumerate(args)]
            taped = spec(*grad, **options)
            assert name in INDICES or isinstance(taped, Tensor), label
            assert ref.same_bits(values(taped), plain), f"{label}: tensors and arrays differ"
            with rb.no_grad():
                assert ref.same_bits(values(spec(*grad, **options)), plain), f"{label}: no_grad differs"
        for a, b in zip(args, kept, strict=True):
            assert not isinstance(a, np.ndarray) or ref.same_bits(a, b), f"{label}: an input was changed"


@each_op
def test_threads_and_repetition_change_no_bit(name):
    spec = SPECS[name]
    for sample in samples(name):
        args, options = convert(sample.args, F32), options_of(spec, sample, F32)
        rb.set_num_threads(1)
        first = spec(*args, **options)
        for threads in (1, 2, 5):
            rb.set_num_threads(threads)
            assert ref.same_bits(spec(*args, **options), first), f"{name} {sample.label} with {threads} threads"


@pytest.mark.parametrize("name", taking_arrays)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_layout_changes_no_bit(name, layout):
    spec = SPECS[name]
    for sample in samples(name):
        plain = spec(*convert(sample.args, F32), **sample.options)
        again = spec(*convert(sample.args, F32, layout), **sample.options)
        assert ref.same_bits(again, plain) or (name == "transpose" and np.array_equal(again, plain)), (
            f"{name} {sample.label}"
        )


@pytest.mark.quick
@pytest.mark.parametrize("name", taking_arrays)
def test_dtype_rule(name):
    """Integers, booleans and float16 count as float32; float32 with float64 gives float64; Python numbers follow."""
    spec = SPECS[name]
    for sample in samples(name)[:12]:
        with np.errstate(all="ignore"):
            whole = [np.rint(a) + 0.0 if is_float(a) else a for a in sample.args]
            small = [a.astype(np.float16) if is_float(a) else a for a in sample.args]
            targets = [i for i, a in enumerate(sample.args) if is_float(a)]
            want_whole = spec(*convert(whole, F32), **sample.options)
            if name != "cross_entropy" or len(targets) == 1:  # where integer targets mean labels
                for kind in (np.int8, np.int64):
                    got = spec(*[a.astype(kind) if is_float(a) else a for a in whole], **sample.options)
                    assert ref.same_bits(got, want_whole), f"{name} {kind} {sample.label}"
            got = spec(*small, **sample.options)
            assert ref.same_bits(got, spec(*convert(small, F32), **sample.options)), f"{name} float16 {sample.label}"
            if len(targets) > 1 and name != "cross_entropy":
                mixed = [
                    a.astype(F32 if i == targets[0] else F64) if is_float(a) else a for i, a in enumerate(sample.args)
                ]
                want = spec(*convert(mixed, F64), **sample.options)
                assert want.dtype == F64
                assert ref.same_bits(spec(*mixed, **sample.options), want), f"{name} mixed {sample.label}"


@pytest.mark.quick
def test_long_double_and_python_numbers():
    with pytest.raises(TypeError, match="add: expected float64 or narrower"):
        rb.ops.add(np.ones(2, np.longdouble), 1.0)
    assert rb.ops.add(1, 2.5).dtype == F32
    assert rb.ops.add(np.ones(2, F64), 2.5).dtype == F64
    assert rb.ops.add(np.ones(2, F32), np.pi).dtype == F32
    assert rb.ops.add(np.float64(1), np.ones(2, F32)).dtype in (F32, F64)
    assert rb.ops.sum([1.0, 2.0]).dtype == F32
    assert isinstance(rb.ops.add(Tensor([1.0]), np.ones(1, F32)), Tensor)


# --- gradients


def differentiable(name):
    """(arguments with gradients, function of those alone) for each sample with elements."""
    spec = SPECS[name]
    for sample in samples(name):
        at = [i for i in spec.gradients if i < len(sample.args) and is_float(sample.args[i])]
        if not at or any(sample.args[i].size == 0 for i in at):
            continue

        def function(*xs, sample=sample, at=at):
            args = list(sample.args)
            for i, x in zip(at, xs, strict=True):
                args[i] = x
            dtype = xs[0].dtype
            args = [a.astype(dtype) if is_float(a) else a for a in args]
            return spec(*args, **sample.options)

        yield sample, [sample.args[i] for i in at], function


@pytest.mark.quick
@with_gradient
def test_gradient(name):
    for sample, arrays, function in differentiable(name):
        try:
            rb.gradcheck(function, arrays)
        except ValueError as error:
            raise AssertionError(f"{name} {sample.label}: {error}") from None


@with_gradient
def test_second_order_gradient(name):
    """The taped gradient equals the plain one, and its own gradient holds in the inputs and in what flows in."""
    for sample, arrays, function in list(differentiable(name))[:14]:
        shape = function(*[Tensor(a.astype(F64)) for a in arrays]).shape
        weight = np.random.default_rng(5).standard_normal(shape)
        plain = [Tensor(a.astype(F64), requires_grad=True) for a in arrays]
        slopes = rb.grad(function(*plain), plain, weight)
        for i in range(len(arrays)):

            def slope(*given, i=i, function=function):
                with rb.enable_grad():
                    taped = [x if x.requires_grad else Tensor(x.data, requires_grad=True) for x in given]
                    total = rb.ops.sum(rb.ops.mul(function(*taped[:-1]), taped[-1]))
                    return rb.grad(total, [taped[i]], create_graph=True)[0]

            again = slope(*[Tensor(a.astype(F64)) for a in arrays], Tensor(weight))
            np.testing.assert_allclose(
                again.data, slopes[i].data, rtol=1e-10, atol=1e-12, err_msg=f"{name} {sample.label}"
            )
            try:
                rb.gradcheck(slope, [*arrays, weight], rtol=2e-5, atol=1e-6)
            except ValueError as error:
                raise AssertionError(f"{name} {sample.label}, gradient {i}: {error}") from None


@pytest.mark.parametrize("name", [n for n, s in SPECS.items() if s.gradients and n != "dropout"])  # whose masks differ
def test_float32_gradient_follows_float64(name):
    for sample, arrays, function in differentiable(name):
        grads = []
        weight = None
        for dtype in (F64, F32):
            xs = [Tensor(a.astype(F32).astype(dtype), requires_grad=True) for a in arrays]
            out = function(*xs)
            weight = np.random.default_rng(5).standard_normal(out.shape).astype(F32) if weight is None else weight
            grads.append([g.data for g in rb.grad(out, xs, weight.astype(out.dtype))])
        for a, b in zip(*grads, strict=True):
            assert b.dtype == F32, f"{name} {sample.label}: gradient of dtype {b.dtype}"
            scale = max(1.0, float(np.abs(a).max(initial=0)))
            assert np.abs(a - b).max(initial=0) <= 3e-5 * scale, f"{name} {sample.label}"


@with_gradient
def test_only_asked_gradients_are_computed(name):
    spec = SPECS[name]
    sample, arrays, function = next(differentiable(name))
    full = None
    for ask in range(len(arrays)):
        xs = [Tensor(a.astype(F64), requires_grad=True) for a in arrays]
        out = function(*xs)
        full = rb.grad(out, xs, np.ones(out.shape))[ask].data
        xs = [Tensor(a.astype(F64), requires_grad=i == ask) for i, a in enumerate(arrays)]
        out = function(*xs)
        out.backward(np.ones(out.shape))
        assert all((x.grad is not None) == (i == ask) for i, x in enumerate(xs)), f"{spec.name} {sample.label}"
        assert ref.same_bits(xs[ask].grad.data, full)


@pytest.mark.quick
@pytest.mark.parametrize("name", [n for n, s in SPECS.items() if s.tensors and not s.gradients and n not in INDICES])
def test_ops_without_gradient_record_nothing(name):
    sample = samples(name)[0]
    xs = [Tensor(a, requires_grad=True) if is_float(a) else a for a in convert(sample.args, F32)]
    assert not SPECS[name](*xs, **sample.options).requires_grad


@pytest.mark.quick
def test_gradients_at_kinks():
    """What is documented at ties and zeros: relu'(0) = 0, |0|' = 0, extremes share, pooling picks the first."""
    x = Tensor([0.0, -0.0], requires_grad=True)
    for f in (rb.ops.relu, rb.ops.abs):
        (g,) = rb.grad(rb.ops.sum(f(x)), [x])
        assert not g.data.any(), f.__name__
    x = Tensor([3.0, 1.0, 3.0], requires_grad=True)
    assert rb.grad(rb.ops.max(x), [x])[0].tolist() == [0.5, 0.0, 0.5]
    a, b = Tensor([2.0], requires_grad=True), Tensor([2.0], requires_grad=True)
    for f in (rb.ops.maximum, rb.ops.minimum):
        assert [g.item() for g in rb.grad(f(a, b), [a, b])] == [0.5, 0.5]
    x = Tensor(np.ones((1, 2, 2, 1), F32), requires_grad=True)
    assert rb.grad(rb.ops.max_pool2d(x, 2), [x], np.ones((1, 1, 1, 1)))[0].data.ravel().tolist() == [1, 0, 0, 0]
    x = Tensor([0.0, 2.0], requires_grad=True)
    y = Tensor([2.0, 3.0], requires_grad=True)
    gx, gy = rb.grad(rb.ops.sum(rb.ops.pow(x, y)), [x, y])
    assert gx.tolist() == [0.0, 12.0] and gy.data[0] == 0.0


# --- errors


@pytest.mark.quick
@each_op
def test_errors_name_the_op_and_touch_nothing(name):
    spec = SPECS[name]
    for case in spec.errors:
        arrays = [a for a in [*case.args, *case.options.values()] if isinstance(a, np.ndarray)]
        kept = [a.copy() for a in arrays]
        with pytest.raises(case.kind) as caught:
            spec(*case.args, **case.options)
        message = str(caught.value)
        assert case.says in message, f"{name}: {message!r} lacks {case.says!r}"
        assert re.match(rf"(layer |{name}|copy|empty|conv2d)", message), f"{name}: {message!r} does not name the op"
        assert type(caught.value) is case.kind
        for a, b in zip(arrays, kept, strict=True):
            assert ref.same_bits(a, b) or a.dtype.kind not in "f"


@pytest.mark.quick
def test_gemm_out():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 3)).astype(F32), rng.standard_normal((3, 4)).astype(F32)
    frame = np.full((9, 4), 7, F32)
    out = frame[2:7]
    assert rb.ops.gemm(a, b, out=out) is out
    assert ref.same_bits(out, rb.ops.gemm(a, b)) and (frame[:2] == 7).all() and (frame[7:] == 7).all()
    before = out.copy()
    rb.ops.gemm(a, b, out=out, beta=0.5, alpha=2.0)
    want, bound = ref.gemm(a.astype(F64), b.astype(F64), None, before.astype(F64), 2.0, 0.5)
    ref.close(out, want, F32, 4, bound)
    with pytest.raises(ValueError, match="gemm: output c overlaps a in memory"):
        rb.ops.gemm(frame[:4, :], np.eye(4, dtype=F32), out=frame[1:5])
    locked = np.zeros((5, 4), F32)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        rb.ops.gemm(a, b, out=locked)
    assert not locked.any()


@pytest.mark.quick
def test_pooling_indices():
    x = np.random.default_rng(2).standard_normal((2, 5, 7, 3)).astype(F32)
    y, index = rb.ops.max_pool2d(x, (2, 3), (1, 2), (1, 1), return_indices=True)
    want, where = ref.max_pool2d(x.astype(F64), *y.shape[1:3], (2, 3), (1, 2), (1, 1))
    assert np.array_equal(y, want) and np.array_equal(index, where) and index.dtype == np.int32


@pytest.mark.quick
def test_views_share_memory_and_copies_do_not():
    x = np.arange(24, dtype=F32).reshape(2, 3, 4)
    for view in (rb.ops.reshape(x, (6, 4)), rb.ops.transpose(x), rb.ops.getitem(x, np.s_[1, ::2]), rb.ops.flatten(x)):
        assert np.shares_memory(view, x)
    for fresh in (
        rb.ops.copy(x),
        rb.ops.broadcast_to(x, (2, 3, 4)),
        rb.ops.concat([x]),
        rb.ops.neg(x),
        rb.ops.sum(x, ()),
    ):
        assert not np.shares_memory(fresh, x)
    assert rb.ops.reshape(rb.ops.transpose(x), (24,)).tolist() == x.T.reshape(-1).tolist()


@pytest.mark.quick
def test_special_values():
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e38, -1e38, 1e-38], F32)
    with np.errstate(all="ignore"):
        assert np.isnan(rb.ops.relu(x)[0]) and rb.ops.relu(x)[2] == 0
        assert rb.ops.sigmoid(np.array([1000.0, -1000.0], F32)).tolist() == [1.0, 0.0]
        assert rb.ops.tanh(np.array([np.inf, -np.inf], F32)).tolist() == [1.0, -1.0]
        assert np.isnan(rb.ops.max(x)) and np.isnan(rb.ops.min(x)) and rb.ops.argmax(x) == 0
        assert np.isnan(rb.ops.maximum(x, 0.0)[0]) and np.isnan(rb.ops.minimum(0.0, x)[0])
        assert rb.ops.log(np.array([0.0], F32))[0] == -np.inf and np.isnan(rb.ops.log(np.array([-1.0], F32))[0])
        assert np.isnan(rb.ops.sqrt(np.array([-1.0], F32))[0])
        assert rb.ops.pow(np.array([-2.0, 0.0, -8.0], F32), np.array([3.0, 0.0, 1 / 3], F32))[:2].tolist() == [
            -8.0,
            1.0,
        ]
    huge = np.array([[1e4, 0.0, -1e4]], F32)
    assert np.isfinite(rb.ops.softmax(huge)).all() and np.isfinite(rb.ops.log_softmax(huge)).all()
    assert np.isfinite(rb.ops.cross_entropy(huge, np.array([2])))


@pytest.mark.quick
def test_pow_follows_ieee():
    base = np.array([-np.inf, -8.0, -2.5, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, np.inf, np.nan])
    exponent = np.array([-np.inf, -3.0, -2.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0, np.inf, np.nan])
    a, b = np.meshgrid(base, exponent)
    for dtype in DTYPES:
        with np.errstate(all="ignore"):
            ref.close(rb.ops.pow(a.astype(dtype), b.astype(dtype)), np.power(a, b), dtype, 8)


# --- the random stream


@pytest.mark.quick
def test_random_stream():
    rb.manual_seed(7)
    a, b = rb.ops.uniform(5), rb.ops.uniform(5)
    rb.manual_seed(7)
    assert ref.same_bits(rb.ops.uniform(5), a) and ref.same_bits(rb.ops.uniform(5), b) and not ref.same_bits(a, b)
    rb.manual_seed(7)
    assert ref.same_bits(rb.ops.uniform(10)[:4], a[:4])
    for bad in (-1, 2**64, 1.5, True, "1"):
        with pytest.raises(ValueError, match="manual_seed: seed must be an integer"):
            rb.manual_seed(bad)
    words = ref.philox_words(0, 0, 1)[0]
    assert [hex(w) for w in words] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]  # published test vector


@pytest.mark.quick
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_call_takes_its_own_blocks(dtype):
    """The counter moves on by ceil(bytes / 16): no two calls share a block, and none is left out."""
    x = np.ones(5, dtype)
    draws = [
        (lambda: rb.ops.uniform(5, dtype=dtype), lambda c: ref.uniform((5,), 0.0, 1.0, dtype, 9, c)[0]),
        (lambda: rb.ops.normal((3, 3), dtype=dtype), lambda c: ref.normal((3, 3), 0.0, 1.0, dtype, 9, c)[0]),
        (lambda: rb.ops.dropout(x, 0.5), lambda c: ref.dropout(x.astype(F64), 0.5, dtype, 9, c)),
    ]
    rb.manual_seed(9)
    counter = 0
    for draw, want in draws * 3:
        got = draw()
        np.testing.assert_allclose(got, want(counter), rtol=1e-5, atol=1e-6)
        counter += -(-got.nbytes // 16)


@pytest.mark.quick
def test_random_moments():
    n = 200_000
    rb.manual_seed(3)
    u = rb.ops.uniform(n, -1.0, 3.0).astype(F64)
    assert u.min() >= -1 and u.max() < 3 and abs(u.mean() - 1) < 0.02 and abs(u.var() - 16 / 12) < 0.02
    z = rb.ops.normal(n, 2.0, 0.5).astype(F64)
    s = (z - z.mean()) / z.std()
    assert abs(z.mean() - 2) < 0.01 and abs(z.std() - 0.5) < 0.01
    assert abs((s**3).mean()) < 0.03 and abs((s**4).mean() - 3) < 0.06
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.01 and abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.01
    kept = rb.ops.dropout(np.ones(n, F32), 0.3)
    assert abs((kept == 0).mean() - 0.3) < 0.01 and np.allclose(kept[kept != 0], 1 / 0.7)


# --- every implementation through the public ops


PUBLIC = {"softmax_xent": "cross_entropy", "softmax_xent_dx": "cross_entropy", "cast": "astype", "fill": "zeros"}


def public_op(kernel):
    """The public op that runs a kernel, or None."""
    name = PUBLIC.get(kernel, kernel if kernel in SPECS else kernel.removesuffix("_gather").removesuffix("_dx"))
    return name if name in SPECS else None


@pytest.mark.parametrize("kernel", [k for k in _core.op_table() if public_op(k)])
def test_public_ops_on_every_level(kernel):
    """Under each implementation of a kernel, the op above it agrees with the reference and its gradient holds."""
    name = public_op(kernel)
    for impl in _core.impls(kernel):
        _core.force_impl(kernel, impl)
        # Errors of transforms are in proportion to a tile's largest values; tests/test_conv_algo.py bounds them.
        factor = 16 if impl.endswith(":fft") and kernel.startswith("conv2d") else 1
        for dtype in DTYPES:
            test_forward(name, dtype, factor)
        if SPECS[name].gradients:
            for _, arrays, function in list(differentiable(name))[:4]:
                rb.gradcheck(function, arrays)
