"""Capture: what the step's Python code reads is compared before every replay, wherever it comes from."""

from __future__ import annotations

import functools
import importlib
import sys
import types

import numpy as np
import pytest
from capture_runs import F32, WARM, batch

import rosenblatt as rb
from rosenblatt import _capture, nn, ops

SCALE = 1.0
settings = types.ModuleType("settings_of_yours")
settings.factor = 1.0
exec("def scaled(ops, x):\n    return ops.mul(x, factor)\nfactor = 1.0", vars(settings))


class Options:
    factor = 1.0

    def __init__(self):
        self.inner = types.SimpleNamespace(factor=1.0)
        self.table = {"factor": 1.0, "deep": {"factor": 1.0}}
        self.rows = [0.0, 1.0]


class Slots:
    __slots__ = ("factor",)


class Scaler:
    def __init__(self):
        self.factor, self.options = 1.0, Options()

    def __call__(self, x):
        return self.scale(x)

    def scale(self, x):
        return ops.mul(x, self.factor)

    @property
    def half(self):
        return self.factor * 0.5

    @classmethod
    def by_class(cls, x):
        return ops.mul(x, cls.shared)

    @staticmethod
    def by_global(x):
        return ops.mul(x, SCALE)

    shared = 1.0

    def local(self, x):
        factor = self.factor  # a local variable of the attribute's name
        return ops.mul(x, factor)


class Layer(nn.Module):
    def forward(self, x):
        return ops.mul(x, SCALE)


class Double(rb.Function):
    @staticmethod
    def forward(ctx, x):
        return x * F32(SCALE)

    @staticmethod
    def backward(ctx, g):
        return (g * SCALE,)


def everywhere():
    """name -> maker of (step of x that multiplies by 1, its further arguments, what makes it multiply by 2)."""

    def set_(holder, name):
        return lambda: setattr(holder, name, 2.0)

    def put(holder, key):
        return lambda: holder.__setitem__(key, 2.0)

    def from_closure():
        factor = 1.0

        def change():
            nonlocal factor
            factor = 2.0

        return lambda x: ops.mul(x, factor), (), change

    def global_():
        return lambda x: ops.mul(x, SCALE), (), put(globals(), "SCALE")

    def default():
        def step(x, factor=1.0):
            return ops.mul(x, factor)

        return step, (), lambda: setattr(step, "__defaults__", (2.0,))

    def keyword_default():
        def step(x, *, factor=1.0):
            return ops.mul(x, factor)

        return step, (), put(step.__kwdefaults__, "factor")

    def object_in_default():
        def step(x, options=Options()):  # noqa: B008
            return ops.mul(x, options.factor)

        return step, (), set_(step.__defaults__[0], "factor")

    def attribute():
        o = Options()
        return lambda x: ops.mul(x, o.factor), (), set_(o, "factor")

    def attribute_of_attribute():
        o = Options()
        return lambda x: ops.mul(x, o.inner.factor), (), set_(o.inner, "factor")

    def attribute_replaced():
        o = Options()
        return lambda x: ops.mul(x, o.inner.factor), (), lambda: setattr(o, "inner", types.SimpleNamespace(factor=2.0))

    def entry():
        o = {"factor": 1.0}
        return lambda x: ops.mul(x, o["factor"]), (), put(o, "factor")

    def entry_of_attribute():
        o = Options()
        return lambda x: ops.mul(x, o.table["factor"]), (), put(o.table, "factor")

    def deep_entry():
        o = Options()
        return lambda x: ops.mul(x, o.table["deep"]["factor"]), (), put(o.table["deep"], "factor")

    def place():
        o = Options()
        return lambda x: ops.mul(x, o.rows[1]), (), put(o.rows, 1)

    def place_from_the_end():
        o = Options()
        return lambda x: ops.mul(x, o.rows[-1]), (), put(o.rows, 1)

    def within_a_tuple():
        pair = Scaler(), Options()
        return lambda x: ops.mul(pair[0].scale(x), pair[1].factor), (), set_(pair[1], "factor")

    def unpacked():
        pair = Scaler(), Options()

        def step(x):
            scaler, _ = pair
            return scaler.scale(x)

        return step, (), set_(pair[0], "factor")

    def argument_within_a_tuple():
        pair = Scaler(), Options()
        return lambda x, pair: ops.mul(x, pair[1].factor), (pair,), set_(pair[1], "factor")

    def slots():
        o = Slots()
        o.factor = 1.0
        return lambda x: ops.mul(x, o.factor), (), set_(o, "factor")

    def of_a_class():
        class Here:
            factor = 1.0

        return lambda x: ops.mul(x, Here.factor), (), set_(Here, "factor")

    def of_a_module():
        return lambda x: ops.mul(x, settings.factor), (), set_(settings, "factor")

    def function_of_a_module():
        return lambda x: settings.scaled(ops, x), (), set_(settings, "factor")

    def argument():
        o = Options()
        return lambda x, o: ops.mul(x, o.factor), (o,), set_(o, "factor")

    def partial():
        o = Options()
        return functools.partial(lambda o, x: ops.mul(x, o.factor), o), (), set_(o, "factor")

    def keyword_of_a_partial():
        p = functools.partial(lambda x, factor: ops.mul(x, factor), factor=1.0)
        return p, (), put(p.keywords, "factor")

    def callable_object():
        s = Scaler()
        return s, (), set_(s, "factor")

    def own_method():
        s = Scaler()
        return s.local, (), set_(s, "factor")

    def method_of_an_object():
        s = Scaler()
        return lambda x: s.scale(x), (), set_(s, "factor")

    def second_of_two_objects():
        a, b = Scaler(), Scaler()
        return lambda x: b.scale(a.scale(x)), (), set_(b, "factor")

    def property_():
        s = Scaler()
        return lambda x: ops.mul(ops.add(x, x), s.half), (), set_(s, "factor")

    def class_method():
        return lambda x: Scaler.by_class(x), (), set_(Scaler, "shared")

    def static_method():
        return lambda x: Scaler.by_global(x), (), put(globals(), "SCALE")

    def decorated():
        def decorator(f):
            @functools.wraps(f)
            def outer(x):
                return f(x)

            return outer

        outer = decorator(lambda x: ops.mul(x, SCALE))
        return lambda x: outer(x), (), put(globals(), "SCALE")

    def captured_inside():
        inner = rb.capture(lambda x: ops.mul(x, SCALE))
        return lambda x: inner(x), (), put(globals(), "SCALE")

    def two_functions_of_one_code():
        made = [types.SimpleNamespace(factor=1.0) for _ in range(2)]
        first, second = ((lambda x, o=o: ops.mul(x, o.factor)) for o in made)
        return lambda x: second(first(x)), (), set_(made[1], "factor")

    def layer():
        layer = Layer()
        return lambda x: layer(rb.Tensor(x)).data, (), put(globals(), "SCALE")

    def captured_layer():
        return rb.capture(Layer()), (), put(globals(), "SCALE")

    return {f.__name__: f for f in list(locals().values()) if callable(f) and f not in (set_, put)}


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    for holder, name in ((Scaler, "shared"), (settings, "factor"), (sys.modules[__name__], "SCALE")):
        monkeypatch.setattr(holder, name, 1.0)


@pytest.mark.parametrize("name", sorted(everywhere()))
def test_a_number_changed_between_replays_is_seen(name):
    step, more, change = everywhere()[name]()
    step = rb.capture(step)
    for i in range(5):
        assert step(batch(i)[0], *more).tobytes() == batch(i)[0].tobytes()
    assert step.replays == 2
    change()
    for i in range(5):
        assert step(batch(i)[0], *more).tobytes() == (batch(i)[0] * F32(2)).tobytes()
    assert step.replays == 4


@pytest.mark.parametrize("make", [
    lambda: np.ones(6, np.int64), lambda: np.ones(6, np.float16), lambda: np.ones(6, ">f4"), lambda: np.ones(6, bool),
    lambda: np.ones(6), lambda: np.ones(6, F32), lambda: np.ones(12, F32)[::2], lambda: np.array(1.0),
], ids=["int64", "float16", "swapped", "bool", "float64", "float32", "strided", "scalar"])  # fmt: skip
def test_an_array_written_between_replays_is_seen_whatever_its_dtype(make):
    factors = make()
    step = rb.capture(lambda x: ops.mul(x, factors))
    for i in range(5):
        assert np.array_equal(step(batch(i)[0]), batch(i)[0])
    assert step.replays == 2
    factors[...] = 0
    assert np.array_equal(step(batch(9)[0]), batch(9)[0] * 0)


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.factors = np.ones(6, np.int64)

    def forward(self, x):
        return ops.mul(x, self.factors)


def test_predict_sees_an_array_written_between_its_calls(monkeypatch):
    fit = importlib.import_module("rosenblatt.train.fit")
    monkeypatch.setattr(fit, "_any_hooks", {})  # those of other tests would close its short way
    model = Weighted()
    for i in range(7):
        assert np.array_equal(model.predict(batch(i)[0]), batch(i)[0])
    model.factors[...] = 2
    for i in range(7):
        assert np.array_equal(model.predict(batch(i)[0]), batch(i)[0] * F32(2))


def test_variables_that_only_share_a_name_do_not_matter(monkeypatch):
    """A script's loop variables are often named like the step's arguments."""
    monkeypatch.setitem(globals(), "x", None)
    monkeypatch.setitem(globals(), "value", None)

    @rb.capture
    def step(x):
        value = ops.relu(x)
        return ops.mul(value, 2.0)

    for i in range(6):
        monkeypatch.setitem(globals(), "x", batch(i)[0])
        monkeypatch.setitem(globals(), "value", i)
        step(globals()["x"])
    assert step.replays == 6 - WARM


def test_what_the_step_itself_changes_does_not_keep_it_eager():
    class Log:
        count, last, seen = 0, None, ()

        def note(self, y):
            self.count += 1
            self.last = y
            self.seen = (*self.seen, self.count)

    log, table, history = Log(), {"n": 0}, []

    @rb.capture
    def step(x):
        y = ops.relu(x)
        log.note(y)
        table["n"] += 1
        history.append(table["n"])
        return y

    for i in range(7):
        step(batch(i)[0])
    assert step.replays == 7 - WARM
    assert log.count == table["n"] == len(history) == WARM  # side effects: in the eager runs only


@pytest.mark.parametrize("pair", [(1, True), (1, 1.0), (0.0, -0.0), ("1", 1), (F32(0.0), F32(-0.0)), (2.0, F32(2))])
@pytest.mark.parametrize("nested", [False, True], ids=["bare", "in a tuple"])
def test_arguments_that_compare_equal_but_differ_have_programs_of_their_own(pair, nested):
    seen = []

    @rb.capture
    def step(x, value):
        seen.append(value)
        return ops.relu(x)

    for value in pair:
        for i in range(WARM + 1):
            step(batch(i)[0], (value, "tail") if nested else value)
    assert step.replays == 2 and len(seen) == 2 * WARM
    assert repr(seen[0]) != repr(seen[-1])


def test_noise_on_weights_changed_between_replays_is_seen():
    noise, layer = nn.WeightNoise(std=0.0), nn.Linear(6, 3)

    def step(x):
        with noise(layer):
            return layer(rb.Tensor(x))

    captured = rb.capture(step)
    for i in range(5):
        captured(batch(i)[0])
    assert captured.replays == 2
    x = batch(9)[0]
    noise.std = 10.0
    assert np.abs(captured(x).data - layer(rb.Tensor(x)).data).max() > 1.0


def test_custom_functions_are_followed():
    w = rb.Parameter(np.ones(6, F32))
    facts = _capture._Facts(_capture._Record(), lambda: Double.apply(w), ())
    assert any(key == "SCALE" for _, key, _ in facts.found)


def test_none_is_a_key_like_others():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.scales = nn.Linear(6, 3), {None: 2.0, "big": 10.0}

        def forward(self, x):
            return self.layer(x) * self.scales[None]

    model = Scaled()
    step = rb.capture(lambda x: model(rb.Tensor(x)))
    x = batch()[0]
    for _ in range(WARM + 2):
        step(x)
    assert step.replays == 2
    for change in ({None: 3.0}, {"new": 1.0}):
        model.scales.update(change)
        np.testing.assert_array_equal(step(x).data, model(rb.Tensor(x)).data)
        assert step.replays == 2
