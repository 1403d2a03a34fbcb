"""What the Python code of a step reads: variables, defaults, attributes and entries of the objects behind them.

A replay runs none of that code, so capture compares these before it replays. The code is followed through functions and
methods of yours (not of this package, NumPy or the standard library), the objects through a few levels of attributes.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import inspect
import sys
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .tensor import Tensor

__all__ = ["Fact", "reads"]

Fact = tuple[Any, Any, Any]  # holder, key, value: for `_core.Guard`
_CALLS, _LEVELS = 5, 4  # functions called by functions, attributes of attributes that are followed
_MISSING = object()
_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.ndarray, np.generic, Tensor)


class _Names(NamedTuple):
    """Names of a function's code, and of the functions within it."""

    variables: frozenset[str]
    attributes: frozenset[str]
    keys: frozenset[Any]  # constants that may be keys of dicts and places in lists


@functools.lru_cache(maxsize=512)
def _names(code: types.CodeType) -> _Names:
    variables: set[str] = set()
    attributes: set[str] = set()
    keys: set[Any] = set()
    codes = [code]
    for c in codes:
        codes += [k for k in c.co_consts if isinstance(k, types.CodeType)]
        keys.update(k for k in c.co_consts if type(k) in (str, int))
        for i in dis.get_instructions(c):
            if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                variables.add(i.argval)
            elif i.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
                attributes.add(i.argval)
            elif i.opname == "LOAD_SMALL_INT":
                keys.add(i.argval)
    return _Names(frozenset(variables), frozenset(attributes), frozenset(keys))


def _home(thing: Any) -> str:
    """The module that a function or type is from, or that a module is."""
    name = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None)
    return str(name or "")


def _yours(thing: Any) -> bool:
    """Whether a function, type or module is neither of this package nor of NumPy or Python."""
    top = _home(thing).partition(".")[0]
    return top not in ("rosenblatt", "numpy") and top not in sys.stdlib_module_names


def _static(value: Any, name: str) -> Any:
    return inspect.getattr_static(value, name, _MISSING)


class _Walk:
    def __init__(self) -> None:
        self.found: list[Fact] = []
        self._functions: set[tuple[int, int]] = set()
        self._objects: set[tuple[int, int]] = set()
        self._kept: list[Any] = []  # what the ids above belong to

    def function(self, f: Any, depth: int = 0, given: Iterable[Any] = ()) -> None:
        """Follows a function, method, partial or callable object; `given` : objects it gets as arguments."""
        owner = None
        if isinstance(f, types.MethodType):
            owner, f = f.__self__, f.__func__
        elif isinstance(f, functools.partial):
            self.found += [(f.keywords, k, v) for k, v in f.keywords.items()]
            self.function(f.func, depth, [*given, *f.args, *f.keywords.values()])
            return
        elif not isinstance(f, types.FunctionType) and _static(f, "__wrapped__") is not _MISSING:
            self.function(f.__wrapped__, depth, given)
            return
        elif not isinstance(f, (types.FunctionType, type)):
            owner, f = f, _static(type(f), "__call__")
        if not isinstance(f, types.FunctionType) or depth > _CALLS or (depth and not _yours(f)):
            return
        if (id(f), id(owner)) in self._functions:
            return
        self._functions.add((id(f), id(owner)))
        self._kept += [f, owner]
        names = _names(f.__code__)
        values = [owner, *given]
        if f.__defaults__:
            self._fact(f, "__defaults__", f.__defaults__)
            values += f.__defaults__
        for k, v in (f.__kwdefaults__ or {}).items():
            self._fact(f.__kwdefaults__, k, v)
            values.append(v)
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # a cell not filled yet
                values.append(self._fact(cell, name, cell.cell_contents))
        for name in sorted(names.variables & f.__globals__.keys()):
            values.append(self._fact(f.__globals__, name, f.__globals__[name]))
        for value in values:
            self._value(value, f, names, depth, 0)

    def _fact(self, holder: Any, key: Any, value: Any) -> Any:
        self.found.append((holder, key, value))
        return value

    def _value(self, value: Any, f: Any, names: _Names, depth: int, level: int) -> None:
        """Follows an object that the code of `f` reads."""
        if isinstance(value, _PLAIN) or level > _LEVELS or (id(value), id(f)) in self._objects:
            return
        self._objects.add((id(value), id(f)))
        self._kept += [value, f]
        if isinstance(value, tuple):  # its entries stay; what they refer to may change
            for entry in value:
                self._value(entry, f, names, depth, level + 1)
        if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
            self.function(value, depth + 1)
        elif type(value) is dict:
            for key in names.keys:
                if key in value:
                    self._value(self._fact(value, key, value[key]), f, names, depth, level + 1)
        elif type(value) is list:
            for key in names.keys:
                if type(key) is int and -len(value) <= key < len(value):
                    self._value(self._fact(value, key % len(value), value[key]), f, names, depth, level + 1)
        elif isinstance(value, (types.ModuleType, type)):
            if level == 0 or _yours(value):
                self._attributes(value, f, names, depth, level)
            if isinstance(value, type) and _yours(value) and _static(value, "apply") is not _MISSING:
                for name in ("forward", "backward"):  # of a `Function`, called by `apply`
                    self.function(getattr(value, name, None), depth + 1)
        elif level == 0 or not _home(type(value)).startswith(("rosenblatt.", "numpy")):
            self._attributes(value, f, names, depth, level)
            if _static(value, "__wrapped__") is not _MISSING or _yours(type(value)):
                self.function(value, depth + 1)  # the step may call it
        if _home(type(value)).startswith("rosenblatt.nn."):  # noise and the like, read by code of this package
            for name, own in vars(value).items() if hasattr(value, "__dict__") else ():
                if isinstance(own, (bool, int, float, str)):
                    self._fact(vars(value), name, own)

    def _attributes(self, value: Any, f: Any, names: _Names, depth: int, level: int) -> None:
        own = getattr(value, "__dict__", {})
        for name in sorted(names.attributes):
            static = _static(value, name)
            if isinstance(static, types.MemberDescriptorType):  # of __slots__
                static = getattr(value, name, _MISSING)
            elif isinstance(static, property):
                if static.fget is not None:
                    self.function(types.MethodType(static.fget, value), depth + 1)
                continue
            elif isinstance(static, (staticmethod, classmethod)):
                inner = static.__func__
                self.function(types.MethodType(inner, value) if isinstance(static, classmethod) else inner, depth + 1)
                continue
            elif isinstance(static, types.FunctionType) and isinstance(value, type):
                self.function(static, depth + 1)
                continue
            elif isinstance(static, types.FunctionType) and name not in own:
                self.function(types.MethodType(static, value), depth + 1)
                continue
            if static is _MISSING or (name not in own and hasattr(type(static), "__get__")):
                continue
            if not isinstance(static, (types.ModuleType, type)):
                self._fact(value, name, static)
            self._value(static, f, names, depth, level + 1)


def reads(step: Any, arguments: Iterable[Any], forwards: Iterable[Any]) -> list[Fact]:
    """(holder, key, value) of what the step reads; `arguments` it gets, `forwards` of the layers that ran."""
    walk = _Walk()
    walk.function(step, given=arguments)
    for forward in forwards:
        if _yours(forward):
            walk.function(forward)
    return walk.found
