"""bfloat16: the product has the same bits from every implementation and on every level, and those of its definition."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference as ref

import rosenblatt as rb
from rosenblatt import _core

pytestmark = pytest.mark.quick

F32 = np.float32
SHAPES = [(1, 1, 1), (3, 5, 7), (14, 32, 32), (15, 33, 31), (40, 130, 70), (61, 259, 20), (5, 1283, 9), (130, 64, 8)]
# exponents of the numbers of a and b: plain; products below, around and above the range of float
RANGES = {"plain": (-6, 6), "tiny": (-80, -56), "huge": (56, 66), "any": (-126, 127)}


def _numbers(rng: Any, shape: tuple[int, ...], kind: str) -> Any:
    low, high = RANGES[kind]
    x = rng.uniform(1, 2, shape) * np.exp2(rng.integers(low, high + 1, shape)) * rng.choice([-1.0, 1.0], shape)
    if kind == "tiny":
        x = np.where(rng.random(shape) < 0.1, rng.uniform(-1, 1, shape) * 2.0**-126, x)  # subnormal
    return x.astype(F32)


def _chain(a: Any, b: Any) -> Any:
    """The definition, on float32 arrays that hold bfloat16 numbers: one fused multiply-add after the other."""

    def flushed(x: Any) -> Any:
        return np.where(np.abs(x) < np.finfo(F32).tiny, np.copysign(0.0, x), x)

    m, k, n = (*a.shape, b.shape[1])
    pairs = (k + 1) // 2
    blocks = max(1, -(-pairs // 640))
    wide_a, wide_b = np.zeros((m, 2 * pairs)), np.zeros((2 * pairs, n))
    wide_a[:, :k], wide_b[:k] = flushed(a.astype(np.float64)), flushed(b.astype(np.float64))
    total, at = None, 0
    for block in range(blocks):
        chain = np.zeros((m, n), F32)
        for p in range(at, at + pairs // blocks + (block < pairs % blocks)):
            for q in (2 * p + 1, 2 * p):  # a float and a product of two bfloat16 numbers: rounding twice is once
                chain = flushed((chain.astype(np.float64) + wide_a[:, q : q + 1] * wide_b[q]).astype(F32)).astype(F32)
        at += pairs // blocks + (block < pairs % blocks)
        total = chain if total is None else flushed(total + chain).astype(F32)
    return total


def _digest(make: Callable[[Any, Any], Any] = rb.ops.gemm_bf16) -> str:
    rng = np.random.default_rng(11)
    h = hashlib.sha256()
    for shape in SHAPES:
        for kind in RANGES:
            a, b = _numbers(rng, shape[:2], kind), _numbers(rng, shape[1:], kind)
            c = make(a, b)
            h.update(np.where(np.isnan(c), F32(np.nan), c).tobytes())  # which NaN is not said
    return h.hexdigest()


def test_every_implementation_has_the_same_bits() -> None:
    impls = _core.impls("gemm_bf16")
    want = _digest()
    for impl in impls:
        _core.force_impl("gemm_bf16", impl)
        try:
            assert _digest() == want, impl
            assert _core.last_impl() == impl or impl.endswith(":dot")
        finally:
            _core.force_impl("gemm_bf16", None)
    if "avx512_bf16" in _core.config()["cpu_features"].split() and _core.config()["isa"] == "avx512":
        rb.ops.gemm_bf16(np.eye(3, dtype=F32), np.eye(3, dtype=F32))
        assert _core.last_impl() == "avx512:dot"


@pytest.mark.parametrize("level", ["ref", "base", "avx2", "avx512"])
def test_every_level_has_the_same_bits(level: str, run_python: Any) -> None:
    levels = ["ref", "base", "avx2", "avx512"]
    if levels.index(level) > levels.index(_core.config()["machine_isa"]):
        pytest.skip(f"this machine has {_core.config()['machine_isa']} at most")
    code = "import test_bfloat16 as t; from rosenblatt import _core; print(t._digest(), _core.config()['isa'])"
    assert run_python(code, env={"RB_ISA": level}).stdout.split() == [_digest(), level]


@pytest.mark.parametrize("kind", list(RANGES))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits_are_those_of_the_definition(shape: tuple[int, int, int], kind: str) -> None:
    rng = np.random.default_rng(sum(shape))
    a = rb.ops.from_bfloat16(rb.ops.to_bfloat16(_numbers(rng, shape[:2], kind)))
    b = rb.ops.from_bfloat16(rb.ops.to_bfloat16(_numbers(rng, shape[1:], kind)))
    with np.errstate(all="ignore"):
        want = _chain(a, b)
    got = rb.ops.gemm_bf16(a, b)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    assert ref.same_bits(np.where(np.isnan(got), F32(0), got), np.where(np.isnan(want), F32(0), want))


def _layouts(a: Any) -> list[Any]:
    spaced = np.zeros((a.shape[0] * 2, a.shape[1] * 3), a.dtype)
    spaced[::2, ::3] = a
    odd = np.zeros((a.shape[0], a.shape[1] + 1 + a.shape[1] % 2), a.dtype)[:, 1:]  # rows an odd number apart or so
    odd = odd[:, : a.shape[1]]
    odd[...] = a
    return [a, np.asfortranarray(a), spaced[::2, ::3], a[::-1].copy()[::-1], odd, np.asfortranarray(odd.T).T]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layouts_and_kinds_of_input_share_bits(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(3)
    a, b = _numbers(rng, shape[:2], "plain"), _numbers(rng, shape[1:], "plain")
    ua, ub = rb.ops.to_bfloat16(a), rb.ops.to_bfloat16(b)
    want = rb.ops.gemm_bf16(a, b)
    for impl in _core.impls("gemm_bf16"):
        _core.force_impl("gemm_bf16", impl)
        try:
            for x in [*_layouts(a), *_layouts(ua)]:
                for y in [*_layouts(b), *_layouts(ub)]:
                    got = rb.ops.gemm_bf16(x, y)
                    assert ref.same_bits(got, want), (impl, x.dtype, x.strides, y.dtype, y.strides)
        finally:
            _core.force_impl("gemm_bf16", None)


def test_fused_epilogue_is_the_composed_form() -> None:
    rng = np.random.default_rng(0)
    a, b, bias = _numbers(rng, (33, 50), "plain"), _numbers(rng, (50, 41), "plain"), _numbers(rng, (41,), "plain")
    plain = rb.ops.gemm_bf16(a, b) + bias
    assert ref.same_bits(rb.ops.gemm_bf16(a, b, bias), plain)
    for name in ("relu", "tanh", "sigmoid"):
        fused, composed = rb.ops.gemm_bf16(a, b, bias, activation=name), getattr(rb.ops, name)(plain)
        np.testing.assert_allclose(fused, composed, rtol=1e-6, atol=1e-7)


def test_conversions_of_every_pattern() -> None:
    patterns = np.arange(65536, dtype=np.uint16)
    for dtype in (F32, np.float64):
        numbers = rb.ops.from_bfloat16(patterns, dtype)
        assert numbers.dtype == dtype
        back = rb.ops.to_bfloat16(numbers)
        nan = np.isnan(numbers)
        assert np.array_equal(back[~nan], patterns[~nan])
        assert np.array_equal(back[nan], patterns[nan] | 0x40)
    x = F32([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, -3.4e38, np.inf, -0.0])  # two halves, overflow
    assert rb.ops.to_bfloat16(x).tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7F80, 0xFF80, 0x7F80, 0x8000]
    assert rb.ops.to_bfloat16(np.float64([1 + 2**-8 + 2**-40])).tolist() == [0x3F81]  # by way of float32: 0x3f80


def test_dtypes_that_are_refused() -> None:
    a = np.ones((2, 2), F32)
    for bad in (a.astype(np.float64), a.astype(np.complex64)):
        for args in ((bad, a), (a, bad), (a, a, bad[0])):
            with pytest.raises(TypeError, match="gemm_bf16"):
                rb.ops.gemm_bf16(*args)


def test_arrays_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(2)
    a, b = _numbers(rng, (9, 20), "plain"), _numbers(rng, (20, 11), "plain")
    got = rb.ops.gemm_bf16(a.astype(ml_dtypes.bfloat16), np.asfortranarray(b.astype(ml_dtypes.bfloat16)))
    assert ref.same_bits(got, rb.ops.gemm_bf16(a, b))


def test_product_in_a_captured_step() -> None:
    rng = np.random.default_rng(4)
    w = rb.ops.to_bfloat16(_numbers(rng, (30, 12), "plain"))
    step = rb.capture(lambda x: rb.ops.gemm_bf16(rb.ops.to_bfloat16(x), w, activation="relu"))
    for _ in range(5):
        x = _numbers(rng, (7, 30), "plain")
        assert ref.same_bits(step(x), rb.ops.gemm_bf16(x, w, activation="relu"))
