"""Writes python/rosenblatt/_core.pyi from the op table of the compiled module.

    python tools/gen_stubs.py           rewrite the stub
    python tools/gen_stubs.py --check   exit 1 when the checked-in stub differs (or names are missing)
"""

from __future__ import annotations

import sys
from pathlib import Path

STUB = Path(__file__).resolve().parent.parent / "python" / "rosenblatt" / "_core.pyi"

HEAD = '''"""Compiled kernels; one function per op of ops.def. Written by tools/gen_stubs.py: do not edit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .tensor import Tensor

Float = npt.NDArray[Any]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
UInt16 = npt.NDArray[np.uint16]
Bfloat16 = npt.NDArray[Any]

'''

CLASSES = '''
class TensorBase:
    _data: Float
    _node: Node | None
    _written: int
    grad: Any
    requires_grad: bool

class Node:
    name: str
    rule: Callable[..., Any]
    saved: tuple[Any, ...] | None
    inputs: tuple[Any, ...]
    needs: tuple[bool, ...]
    output: Any
    sequence: int

class Recording:
    def __init__(self, stream_counter: int) -> None: ...
    def start(self, before: Recording | None = None) -> None: ...
    def stop(self) -> None: ...
    dynamic: bool
    @property
    def calls(self) -> int: ...
    @property
    def trouble(self) -> str: ...
    def born(self, array: Any) -> bool: ...
    def check(self, inputs: list[Any], advance: int) -> str: ...
    def difference(self, other: Recording, results: list[Any], other_results: list[Any]) -> tuple[str, bool]: ...

class Guard:
    def __init__(self, facts: list[tuple[Any, Any, Any]]) -> None: ...
    def check(self) -> int: ...

class Program:
    def __init__(self, recording: Recording, results: list[Any], inputs: list[Any]) -> None: ...
    def replay(self, inputs: tuple[Any, ...], key: int, counter: int, windows: int = 0) -> list[Any]: ...
    def replay_if(self, guard: Guard, input: Float) -> Any: ...
    def expect(self, args: tuple[Any, ...]) -> bool: ...
    def accept(self, args: tuple[Any, ...]) -> tuple[Any, ...] | None: ...
    def holds(self, inputs: list[Any], which: list[int]) -> bool: ...
    def start_patch(self, call: int, /) -> None: ...
    def stop_patch(self) -> bool: ...
    def patch(self, calls: tuple[int, ...], scalars: tuple[Any, ...], /) -> None: ...
    def describe(self) -> str: ...
    @property
    def calls(self) -> int: ...
    @property
    def fused_calls(self) -> int: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def buffer_bytes(self) -> int: ...
    @property
    def work_bytes(self) -> int: ...
'''

# What cpp/bind/module.cpp defines beside the ops.
TAIL = {
    "empty": "(shape: tuple[int, ...], dtype: int | Float, /) -> Any",
    "update_all": "(op: str, tensors: list[Any], states: list[tuple[Any, ...]], scalars: tuple[Any, ...], /) -> None",
    "fft_table": "(n: int, real: int, dtype: int, /) -> Any",
    "product": "(a: Any, b: Any, /) -> Any",
    "operand": "(where: str, x: Any, /) -> Float",
    "operands": "(where: str, /, *xs: Any) -> list[Any]",
    "pair": "(where: str, a: Any, b: Any, /) -> tuple[Float, Float]",
    "kept": "(given: Any, array: Float, /) -> Any",
    "record": "(name: str, result: Any, rule: Any, inputs: tuple[Any, ...], saved: tuple[Any, ...], /) -> Any",
    "run_backward": "(root: Any, seed: Float, retain: bool, create: bool, leaf: Any, watched: Any, anomaly: Any, /)"
    " -> None",
    "wrap": "(array: Float, /) -> Tensor",
    "tick": "() -> int",
    "grad_mode": "() -> int",
    "set_grad_mode": "(mode: int, /) -> int",
    "watch_nodes": "(function: Any, /) -> None",
    "tape_use": "(given: dict[str, Any], /) -> None",
    "count_up": "(counts: list[int], indices: tuple[int, ...], /) -> int",
    "recording": "() -> bool",
    "op_table": "() -> dict[str, list[tuple[str, str, str, str, bool, bool]]]",
    "impls": "(op: str) -> list[str]",
    "config": "() -> dict[str, Any]",
    "check_settings": "() -> None",
    "num_threads": "() -> int",
    "set_num_threads": "(n: int) -> None",
    "force_impl": "(op: str, impl: str | None) -> None",
    "last_impl": "() -> str",
    "ref_calls": "() -> int",
    "pool_stats": "() -> dict[str, int]",
    "pool_reset_peak": "() -> None",
    "pool_trim": "() -> None",
}

TYPES = {"float": "Float", "int64": "Int64", "int32": "Int32", "uint16": "UInt16", "bfloat16": "Bfloat16"}


def render() -> str:
    from rosenblatt import _core

    lines = []
    for name, fields in _core.op_table().items():
        parts = []
        for field, kind, _role, elem, optional, _contiguous in fields:
            if kind == "view":
                parts.append(f"{field}: {TYPES[elem]}{' | None' if optional else ''}")
            elif kind == "seed":
                parts += [f"{field}_key: int", f"{field}_counter: int"]
            elif kind != "work":
                parts.append(f"{field}: {kind}")
        lines.append(f"def {name}({', '.join(parts)}, /) -> None: ...")
    lines += [f"def {name}{signature}: ..." for name, signature in TAIL.items()]
    present = {n for n in dir(_core) if not n.startswith("_")}
    expected = set(_core.op_table()) | set(TAIL) | {"Recording", "Guard", "Program", "TensorBase", "Node"}
    if present != expected:
        raise SystemExit(f"gen_stubs: module and stub disagree on {sorted(present ^ expected)}")
    return HEAD + "\n".join(lines) + "\n" + CLASSES


def main() -> int:
    text = render()
    if "--check" in sys.argv[1:]:
        if STUB.read_text() != text:
            print(f"gen_stubs: {STUB.name} is out of date; run python tools/gen_stubs.py", file=sys.stderr)
            return 1
        print(f"gen_stubs: {STUB.name} matches the op table ({text.count('def ')} functions)")
        return 0
    STUB.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
