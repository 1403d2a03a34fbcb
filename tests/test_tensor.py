"""`Tensor` and `Parameter`: dtype rule, operators, methods, indexing, conversions, text."""

from __future__ import annotations

import copy
import operator

import numpy as np
import pytest

import rosenblatt as rb
from rosenblatt import Parameter, Tensor

pytestmark = pytest.mark.quick
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def test_dtype_rule():
    assert Tensor([1, 2]).dtype == F32 and Tensor([1.5]).dtype == F32 and Tensor(1.5).dtype == F32
    assert Tensor(np.ones(2)).dtype == F64 and Tensor(np.ones(2, F32)).dtype == F32
    for kind in (np.float16, np.int8, np.uint64, np.bool_):
        assert Tensor(np.ones(2, kind)).dtype == F32
    assert Tensor([1, 2], dtype=np.float64).dtype == F64 and Tensor(np.ones(2), dtype="float32").dtype == F32
    assert Tensor(Tensor(np.ones(2))).dtype == F64
    assert Tensor(np.ones(2, ">f8")).dtype == F64 and Tensor(np.ones(2, ">f8")).data.dtype.isnative
    for bad in (np.ones(2, complex), ["a"], [None], np.array(["2020"], "M8[Y]"), np.ones(1, np.longdouble)):
        with pytest.raises(TypeError, match=r"^Tensor: expected"):
            Tensor(bad)
    for bad in (np.int32, np.float16, complex):
        with pytest.raises(TypeError, match="expected dtype float32 or float64"):
            Tensor([1.0], dtype=bad)
    with pytest.raises(ValueError, match=r"^Tensor: expected a regular array"):
        Tensor([[1.0], [1.0, 2.0]])


def test_sharing_and_copying():
    a = np.ones(3, np.float32)
    assert Tensor(a).data is a and np.shares_memory(Tensor(a).numpy(), a)
    assert not np.shares_memory(rb.tensor(a).data, a)
    assert not np.shares_memory(rb.tensor(Tensor(a)).data, a)
    t = rb.tensor([1.0], requires_grad=True)
    assert t.requires_grad and t.is_leaf


def test_facts():
    t = Tensor(np.zeros((2, 3, 4)))
    assert (t.shape, t.ndim, t.size, len(t), t.device) == ((2, 3, 4), 3, 24, 2, "cpu")
    with pytest.raises(TypeError, match=r"len\(\) of a 0-d tensor"):
        len(Tensor(1.0))
    assert not (t * 1.0).requires_grad and t.is_leaf
    assert hash(t) != hash(Tensor(t.data)) and t in {t}


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "matmul"])
def test_operators(name):
    f = getattr(operator, name)
    a = np.array([[1.5, 2.0], [0.5, 3.0]], np.float32)
    b = np.array([[2.0, 1.0], [1.0, 0.5]], np.float32)
    want = f(a.astype(F64), b.astype(F64))
    for x, y in [(Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b)), (Tensor(a), b.tolist())]:
        got = f(x, y)
        assert isinstance(got, Tensor) and got.dtype == F32
        np.testing.assert_allclose(got.data, want, rtol=1e-6)
    if name != "matmul":
        for got, plain in [(f(Tensor(a), 2), f(a, 2)), (f(2, Tensor(a)), f(2, a)), (f(Tensor(a), 0.5), f(a, 0.5))]:
            assert got.dtype == F32
            np.testing.assert_allclose(got.data, plain, rtol=1e-6)
        with pytest.raises(ValueError, match=r"do not broadcast"):
            f(Tensor(a), np.ones(3, np.float32))


def test_unary_operators_comparisons_methods():
    a = np.array([[-1.5, 2.0], [0.5, -3.0]], np.float32)
    t = Tensor(a)
    assert (-t).tolist() == (-a).tolist() and abs(t).tolist() == np.abs(a).tolist()
    for name in ("gt", "ge", "lt", "le"):
        f = getattr(operator, name)
        assert f(t, 0.5).tolist() == f(a, np.float32(0.5)).astype(float).tolist()
        assert f(0.5, t).tolist() == f(np.float32(0.5), a).astype(float).tolist()
    p = Tensor(np.abs(a))
    for name in ("exp", "log", "sqrt", "square", "tanh"):
        np.testing.assert_allclose(getattr(p, name)().data, getattr(np, name)(np.abs(a)), rtol=1e-5)
    assert t.relu().tolist() == [[0.0, 2.0], [0.5, 0.0]]
    np.testing.assert_allclose(t.softmax().data.sum(-1), 1, rtol=1e-6)
    assert t.sum().item() == -2.0 and t.mean().item() == -0.5 and t.max().item() == 2.0 and t.min().item() == -3.0
    assert t.sum(0, keepdims=True).shape == (1, 2) and t.argmax(1).tolist() == [1, 0]
    assert t.T.tolist() == a.T.tolist() and t.reshape(4).shape == (4,) and t.reshape(1, -1).shape == (1, 4)
    assert t.flatten().shape == (4,) and t.transpose(1, 0).shape == (2, 2) and t.astype("float64").dtype == F64
    assert t.matmul(t).tolist() == (a @ a).tolist()


def test_indexing():
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    t = Tensor(a, requires_grad=True)
    for index in [0, -1, np.s_[1, 2], np.s_[:, 1:], np.s_[..., ::-2], np.s_[None, 1], np.s_[1, 2, 3], np.int64(1)]:
        assert np.array_equal(t[index].data, a[index]) and t[index].requires_grad
    (t[1, 1:, ::2] * 3.0).sum().backward()
    want = np.zeros_like(a)
    want[1, 1:, ::2] = 3
    assert np.array_equal(t.grad.data, want)
    with pytest.raises(IndexError, match="getitem"):
        t[5]
    for bad in ([0], np.array([True, False]), True, "a", 1.5):
        with pytest.raises(TypeError, match="getitem: expected integers, slices, None or Ellipsis"):
            t[bad]
    assert [row.shape for row in t] == [(3, 4), (3, 4)]


def test_conversions():
    t = Tensor([[2.5]])
    assert t.item() == 2.5 and float(t) == 2.5 and bool(t) and not Tensor(0.0)
    assert type(t.item()) is float
    two = Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"item: expected a tensor with one element, got shape \(2,\)"):
        two.item()
    with pytest.raises(ValueError, match="truth value"):
        bool(two)
    assert two.tolist() == [1.0, 2.0]
    assert two.__array__(copy=False) is two.data and two.__array__(copy=True) is not two.data
    with pytest.raises(ValueError, match="a tensor of float32 becomes float64 only by a copy"):
        two.__array__(F64, copy=False)
    assert np.asarray(two) is two.data and np.array(two) is not two.data and np.asarray(two, F64).dtype == F64
    assert two.to("cpu") is two and two.to(np.float64).dtype == F64
    with pytest.raises(ValueError, match="device 'cuda:0' is not available"):
        two.to("cuda:0")


def test_text():
    assert repr(Tensor([1.0, 2.5])) == "tensor([1. , 2.5])"
    assert "float64" in repr(Tensor(np.ones(2)))
    assert "requires_grad=True" in repr(Tensor([1.0], requires_grad=True))
    assert "grad_fn=mul" in repr(Tensor([1.0], requires_grad=True) * 2.0)
    assert repr(Parameter(np.ones((2, 3), F32))) == "Parameter(shape=(2, 3), dtype=float32)"
    assert len(repr(Tensor(np.ones((1000, 1000))))) < 1000


def test_parameters():
    p = Parameter(np.ones(3))
    assert p.requires_grad and p.dtype == F64 and isinstance(p, Tensor)
    assert not Parameter([1.0], requires_grad=False).requires_grad


def test_copies_keep_the_numbers():
    p = Parameter(np.arange(3.0))
    for make in (copy.copy, copy.deepcopy):
        q = make(p)
        assert q.data.tolist() == [0.0, 1.0, 2.0] and q.requires_grad
    copy.deepcopy(p).data[0] = 5.0
    assert p.data[0] == 0.0


def test_numpy_functions_leave_tensors_alone():
    t = Tensor([1.0, 2.0], requires_grad=True)
    assert isinstance(np.ones(2, F32) + t, Tensor) and isinstance(np.float32(2) * t, Tensor)
    with pytest.raises(TypeError):
        np.add(np.ones(2), t)


def test_everything_exported_exists():
    for module in (rb, rb.ops, rb.nn, rb.optim, rb.train, rb.models, rb.data, rb.io):
        for name in module.__all__:
            assert getattr(module, name) is not None
        assert module.__doc__
    assert set(dir(rb)) >= {"nn", "optim", "train"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rb.nothing


def test_membership_is_by_value():
    t = rb.Tensor([[1.0, 2.0], [3.0, np.nan]])
    assert 3 in t and rb.Tensor(2.0) in t and 4.0 not in t and np.nan not in t
    step = rb.capture(lambda x: rb.Tensor(x) if 1.0 in rb.Tensor(x) else rb.Tensor(-x))
    step(np.ones(2, np.float32))
    with pytest.raises(rb.CaptureError, match="looking for a value in a tensor"):
        step(np.ones(2, np.float32))
