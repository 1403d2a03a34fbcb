"""Hostile calls straight into the compiled module: always TypeError, ValueError or MemoryError, never a crash."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_kernels import TABLE, cases, fields, prepare

import rosenblatt as rb
from rosenblatt import _core

F32 = np.float32
ROOT = Path(__file__).resolve().parent.parent
each_kernel = pytest.mark.parametrize("name", list(TABLE))


def valid(name):
    table = cases(name)
    return prepare(name, table[min(1, len(table) - 1)], np.dtype(F32))[0]


@pytest.mark.quick
@each_kernel
def test_arity(name):
    f = getattr(_core, name)
    args = valid(name)
    for wrong in ([], args[:-1], [*args, 1], [*args] * 2):
        with pytest.raises(TypeError, match=rf"^{name}: (expected \d+ arguments, got {len(wrong)}|\w+ must be)"):
            f(*wrong)
    with pytest.raises(TypeError):
        f(**{TABLE[name][0][0]: args[0]})


@pytest.mark.quick
@each_kernel
def test_wrong_kinds(name):
    f = getattr(_core, name)
    for i, field in enumerate(fields(name)):
        kind = field[1]
        if kind == "view":
            junk = [
                "x",
                1.0,
                [1.0],
                {},
                object(),
                np.float32(1),
                np.zeros(3, np.complex64),
                np.zeros(3, np.float16),
                np.zeros(3, bool),
                np.array([object()]),
            ]
            junk += [] if field[4] else [None]
        else:
            junk = ["x", None, [1], object(), np.zeros(3)] + ([1.5] if kind != "float" else [])
        for j in junk:
            args = valid(name)
            args[i] = j
            with pytest.raises(TypeError, match=rf"^{name}: {field[0]} must be"):
                f(*args)


@pytest.mark.quick
@each_kernel
def test_absurd_numbers(name):
    f = getattr(_core, name)
    for i, field in enumerate(fields(name)):
        if field[1] not in ("int", "seed"):
            continue
        for value in (2**63, 2**64, 2**70, -(2**63) - 1, -(2**70)):
            if field[1] == "seed" and 0 <= value < 2**64:
                continue
            args = valid(name)
            args[i] = value
            with pytest.raises(ValueError, match=rf"^{name}: {field[0]} (does not fit in 64 bits|must be in)"):
                f(*args)
        for value in (-(2**63), 2**63 - 1, -1, 2**31, 2**40, 2**62):
            args = valid(name)
            args[i] = value
            try:
                f(*args)
            except ValueError as error:
                assert str(error).startswith(f"{name}: "), error


@pytest.mark.quick
@each_kernel
def test_nine_axes(name):
    for i, field in enumerate(fields(name)):
        if field[1] == "view":
            args = valid(name)
            args[i] = np.zeros((1,) * 9, {"float": F32, "bfloat16": F32}.get(field[3], field[3]))
            with pytest.raises(ValueError, match=rf"^{name}: {field[0]} must have at most 8 axes, got 9"):
                getattr(_core, name)(*args)


def float_views(name):
    return [i for i, f in enumerate(fields(name)) if f[1] == "view" and f[3] == "float"]


@pytest.mark.quick
@pytest.mark.parametrize("name", [n for n in TABLE if len(float_views(n)) > 1 and n != "cast"])
def test_mixed_precisions_are_refused(name):
    args = valid(name)
    i = next(i for i in float_views(name)[1:] if args[i] is not None)
    args[i] = args[i].astype(np.float64)
    with pytest.raises(ValueError, match=rf"^{name}: .* share a dtype"):
        getattr(_core, name)(*args)


@pytest.mark.quick
def test_strided_views_within_bounds():
    base = np.arange(64, dtype=F32)
    as_strided = np.lib.stride_tricks.as_strided
    for shape, strides in [
        ((3, 4), (4, 4)),
        ((3, 4), (0, 0)),
        ((2, 2, 2), (100, 28, -4)),
        ((5,), (-8,)),
        ((4, 4), (32, 12)),
    ]:
        view = as_strided(base[20:], shape, strides)
        out = np.empty(shape, F32)
        _core.copy(view, out)
        assert np.array_equal(out, view)
        _core.add(view, view, out)
        assert np.array_equal(out, view + view)
    odd = as_strided(base, (3,), (6,))
    out = np.empty(3, F32)
    _core.copy(odd, out)
    assert np.array_equal(out, odd, equal_nan=True)
    huge = as_strided(base, (1, 1), (2**62, -(2**62)))
    _core.copy(huge, np.empty((1, 1), F32))
    with pytest.raises(ValueError, match=r"too large|broadcast|contiguous"):
        _core.copy(as_strided(base, (2**30, 2**30), (0, 0)), np.empty((2, 2), F32))


@pytest.mark.quick
def test_empty_arrays_of_any_kind():
    for shape, code, dtype in [
        ((2, 3), 0, F32),
        ((), 1, np.float64),
        ((0, 5), 2, np.int64),
        ((4,), 3, np.int32),
        ((4,), 4, np.uint16),
    ]:
        a = _core.empty(shape, code)
        assert a.shape == shape and a.dtype == dtype and a.flags.writeable and a.flags.c_contiguous
        assert a.ctypes.data % 64 == 0
    for args, error in [
        ((), TypeError),
        (((2,),), TypeError),
        (([2], 0), TypeError),
        (((2,), 5), ValueError),
        (((2,), -1), (ValueError, TypeError)),
        (((1,) * 9, 0), ValueError),
        (((-1,), 0), ValueError),
        (((2**62, 8), 0), (ValueError, MemoryError)),
        (((2**50,), 0), MemoryError),
        ((("a",), 0), TypeError),
        (((2**64,), 0), OverflowError),
        (((2.0,), 0), TypeError),
    ]:
        with pytest.raises(error):
            _core.empty(*args)


@pytest.mark.quick
def test_pool_accounts_for_every_array():
    _core.pool_trim()
    before = _core.pool_stats()
    a = _core.empty((1000,), 1)
    assert _core.pool_stats()["live_bytes"] - before["live_bytes"] >= 8000
    part = a[10:20]
    del a
    assert _core.pool_stats()["live_bytes"] > before["live_bytes"]  # a view keeps its buffer
    del part
    after = _core.pool_stats()
    assert after["live_bytes"] == before["live_bytes"] and after["cached_bytes"] >= 8000
    _core.pool_reset_peak()
    assert _core.pool_stats()["peak_bytes"] == after["live_bytes"]
    _core.pool_trim()
    assert _core.pool_stats()["cached_bytes"] == 0


@pytest.mark.quick
def test_references_are_not_leaked():
    x = np.zeros((4, 6), F32).T
    out = np.zeros((4, 5), F32)
    counts = sys.getrefcount(x), sys.getrefcount(out)
    for _ in range(100):
        with pytest.raises(ValueError):
            _core.softmax(x, out)
        _core.softmax(x, np.zeros((6, 4), F32))
    assert (sys.getrefcount(x), sys.getrefcount(out)) == counts


@pytest.mark.quick
def test_administration_refuses_nonsense():
    for call, args in [
        (_core.impls, (1,)),
        (_core.force_impl, (1, 2)),
        (_core.set_num_threads, ("2",)),
        (_core.impls, ()),
    ]:
        with pytest.raises(TypeError):
            call(*args)
    for n in (0, -1, 257, 10**6):
        with pytest.raises(ValueError, match=f"set_num_threads: expected 1..256, got {n}"):
            _core.set_num_threads(n)
    with pytest.raises(TypeError):
        _core.set_num_threads(2**40)


def hostile(tmp_path, seed, count):
    """Runs hostile.py in a process of its own, so that a crash is a failure with the call that caused it."""
    log = tmp_path / "call.txt"
    tests = Path(__file__).parent
    package = Path(_core.__file__).parent.parent
    env = {**os.environ, "RB_HOSTILE_LOG": str(log), "PYTHONPATH": os.pathsep.join([str(package), str(tests)])}
    result = subprocess.run(
        [sys.executable, str(tests / "hostile.py"), str(seed), str(count)],
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    last = log.read_text() if log.exists() else "no call"
    assert result.returncode == 0, f"exit status {result.returncode} at {last}\n{result.stderr[-2000:]}"
    done, refused = (int(w) for w in result.stdout.split() if w.isdigit())
    assert done > count // 20 and refused > count // 4


@pytest.mark.parametrize("seed", [101, 102])
def test_random_calls(tmp_path, seed):
    hostile(tmp_path, seed, 3000)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_many_random_calls(tmp_path, seed):
    hostile(tmp_path, 1000 + seed, 20_000)


@pytest.mark.quick
def test_stubs_are_current():
    script = ROOT / "tools" / "gen_stubs.py"
    if not script.exists():
        pytest.skip("the tests run without the source tree")
    package = Path(_core.__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": str(package)}
    result = subprocess.run(
        [sys.executable, str(script), "--check"], env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_gradient_dropped_by_another_thread_lasts_until_its_update_is_done():
    """Kernels run without the interpreter's lock; the pool would hand the array's memory to the next in need."""
    n = 1 << 23
    for _ in range(3):
        p = rb.Tensor(np.zeros(n, F32), requires_grad=True)
        p.grad = rb.Tensor(rb.ops.add(np.ones(n, F32), 0.0))

        def drop(p=p):
            time.sleep(0.0005)
            p.grad = None
            _core.empty((n,), 0)[:] = 1000.0

        other = threading.Thread(target=drop)
        other.start()
        _core.update_all("sgd_update", [p], [(None,)], (1.0, 0.0, 0.0, 0.0, 0, 0))
        other.join()
        assert set(np.unique(p.data)) <= {F32(-1.0), F32(0.0)}  # 0: dropped before it was read
