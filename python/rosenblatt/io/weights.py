"""Weights on disk: safetensors files with PyTorch's keys and axis order.

In memory a convolution holds [K,R,S,C]; on disk it is [K,C,R,S], as PyTorch writes it, so that files travel both
ways. Each Module class states its own permutation in `disk_layout` (parameter name -> axes, memory to disk; absent
means the same order). A file is written atomically and its bytes depend only on the weights and the metadata; it
carries a SHA-256 of its tensors, checked on load when present. Loading validates every key, shape and type first and
assigns afterwards: a file that does not fit leaves the model as it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .atomic import write_bytes_atomic

if TYPE_CHECKING:
    from ..nn import Module

__all__ = ["WeightsError", "load_weights", "read_metadata", "read_shapes", "save_weights"]

Array = npt.NDArray[Any]
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
_INTEGERS = {"BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4"}
_DTYPES = {**_FLOATS, **_INTEGERS, "I64": "<i8", "U64": "<u8"}
_RESERVED = ("format", "layout", "sha256")


class WeightsError(ValueError):
    """A weights file that is missing, damaged or does not fit the model; the message names the file and the key."""


def _layouts(model: Module) -> dict[str, tuple[int, ...]]:
    """Dotted parameter name -> axes (memory to disk) for every parameter whose order on disk differs."""
    found: dict[str, tuple[int, ...]] = {}
    for prefix, module in model.named_modules():
        layout: Mapping[str, tuple[int, ...]] = getattr(module, "disk_layout", {})
        for name, axes in layout.items():
            found[f"{prefix}.{name}" if prefix else name] = tuple(axes)
    return found


def _integers(model: Module) -> set[str]:
    """Dotted names of the buffers that are whole numbers on disk."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in getattr(module, "disk_integers", ())
    }


def _digest(tensors: Mapping[str, Array]) -> str:
    """SHA-256 over name, type, shape and bytes of every tensor, in the order of the names."""
    h = hashlib.sha256()
    for name in sorted(tensors):
        a = np.ascontiguousarray(tensors[name])
        h.update(f"{name}\0{a.dtype.str}\0{list(a.shape)}\0".encode())
        h.update(a.tobytes())
    return h.hexdigest()


def _sorted_header(blob: bytes) -> bytes:
    """The same file with its header's keys in a fixed order (the library writes the metadata in a random one)."""
    size = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + size])
    meta = header.pop("__metadata__", {})
    ordered = {"__metadata__": dict(sorted(meta.items())), **dict(sorted(header.items()))}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + blob[8 + size :]


def save_weights(model: Module, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write the model's state to a safetensors file at `path`, atomically, in PyTorch's layout.

    Parameters
    ----------
    model : any Module; its `state_dict` is written, convolutions as [K,C,R,S].
    path : the file; its folder must exist.
    metadata : extra strings for the header; `format`, `layout` and `sha256` are ours.

    Raises
    ------
    ValueError
        metadata that is not text, or uses a name of ours.
    OSError
        the file could not be written; a previous file is untouched.
    """
    import safetensors.numpy

    extra = dict(metadata or {})
    for key, value in extra.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f"save_weights: metadata must map text to text, got {key!r}: {value!r}")
        if key in _RESERVED:
            raise ValueError(f"save_weights: metadata key {key!r} is reserved")
    layouts, integers = _layouts(model), _integers(model)
    tensors: dict[str, Array] = {}
    for name, array in model.state_dict().items():
        a = np.asarray(array, np.int64 if name in integers else None)
        tensors[name] = np.asarray(a.transpose(layouts[name]) if name in layouts else a, order="C")
    header = {**extra, "format": "pt", "layout": "pytorch", "sha256": _digest(tensors)}
    write_bytes_atomic(path, _sorted_header(bytes(safetensors.numpy.save(tensors, metadata=header))))


def _read(path: Path) -> tuple[dict[str, tuple[str, Array]], dict[str, str]]:
    """Every tensor of a file as (stored type, array), and the metadata. Raises WeightsError."""
    import safetensors

    try:
        blob = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        entries: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(blob)  # type: ignore[no-untyped-call]
        size = int.from_bytes(blob[:8], "little")
        metadata: dict[str, str] = json.loads(blob[8 : 8 + size]).get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({len(blob)} bytes): {error}") from error
    tensors: dict[str, tuple[str, Array]] = {}
    for name, entry in entries:
        kind = str(entry["dtype"])
        if kind not in _DTYPES:
            raise WeightsError(f"{path}: {name}: type {kind} is not supported")
        a: Array = np.frombuffer(entry["data"], dtype=_DTYPES[kind]).reshape(entry["shape"])
        tensors[name] = kind, a
    return tensors, metadata


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The header's metadata of a weights file. Raises WeightsError when it cannot be read."""
    return _read(Path(path))[1]


def _some(names: Iterable[str]) -> str:
    """At most eight of `names`, for a message."""
    ordered = sorted(names)
    return ", ".join(ordered[:8]) + (f" and {len(ordered) - 8} more" if len(ordered) > 8 else "")


def _convert(
    path: Path, key: str, kind: str, value: Array, like: Array, axes: tuple[int, ...] | None, whole: bool = False
) -> Array:
    """`value` from disk in the model's axis order and type. Raises WeightsError on a shape or kind that differs."""
    disk_shape = tuple(like.shape[i] for i in axes) if axes else like.shape
    if value.shape != disk_shape:
        hint = ""
        if axes and value.shape == like.shape:
            hint = "; the file looks channels-last ([K,R,S,C]) where PyTorch's layout ([K,C,R,S]) is expected"
        elif value.ndim == 2 and value.shape[::-1] == disk_shape:
            hint = "; the file looks transposed ([in,out] where [out,in] is expected)"
        raise WeightsError(f"{path}: {key}: expected shape {list(disk_shape)} on disk, got {list(value.shape)}{hint}")
    if (kind in _FLOATS) != (like.dtype.kind == "f") and not whole:
        raise WeightsError(f"{path}: {key}: expected {like.dtype}, got {kind}")
    if kind == "BF16":
        value = (value.astype(np.uint32) << 16).view(np.float32)
    if axes:
        value = value.transpose(np.argsort(axes))
    return np.asarray(value.astype(like.dtype), order="C")


def read_shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a weights file, as on disk, from its header alone. Raises WeightsError."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(size, 2**27)))
        shapes = {k: tuple(int(n) for n in v["shape"]) for k, v in header.items() if k != "__metadata__"}
        for key, shape in shapes.items():
            if any(n < 0 for n in shape) or math.prod(shape) > file.stat().st_size:
                raise WeightsError(f"{file}: damaged: {key} of shape {list(shape)} does not fit into the file")
        return shapes
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{file}: not a safetensors file: {error!r}") from error


def load_weights(
    model: Module, path: str | os.PathLike[str], *, names: Callable[[str], str | None] | None = None,
    optional: Container[str] = (),
) -> dict[str, str]:
    """Read a safetensors file in PyTorch's layout into the model and return the file's metadata.

    Everything is checked before anything is assigned. float16, bfloat16 and float64 are converted to the type of the
    parameter.

    names : function from the file's key to the model's, or None to leave that tensor out; default: the same
    optional : keys of the model that the file may lack; they keep their values

    Raises
    ------
    WeightsError
        the file is missing or damaged, a key is missing or unknown, a shape or kind of type differs.
        The model is unchanged.
    """
    file = Path(path)
    stored, metadata = _read(file)
    layout = metadata.get("layout", "pytorch")
    if layout != "pytorch":
        raise WeightsError(f"{file}: expected layout 'pytorch', the file says {layout!r}")
    if "sha256" in metadata and metadata["sha256"] != _digest({k: a for k, (_, a) in stored.items()}):
        raise WeightsError(f"{file}: damaged: the SHA-256 of the tensors is not the one the file was written with")
    if names is not None:
        renamed: dict[str, tuple[str, Array]] = {}
        for key, value in stored.items():
            new = names(key)
            if new is None:
                continue
            if new in renamed:
                raise WeightsError(f"{file}: two of its keys, the second {key!r}, stand for {new}")
            renamed[new] = value
        stored = renamed
    state = {name: np.asarray(value) for name, value in model.state_dict().items()}
    missing = {name for name in state.keys() - stored.keys() if name not in optional}
    unknown = stored.keys() - state.keys()
    if missing or unknown:
        parts = [f"missing {_some(missing)}"] if missing else []
        parts += [f"unknown {_some(unknown)}"] if unknown else []
        raise WeightsError(f"{file}: keys do not match {type(model).__name__}: {'; '.join(parts)}")
    layouts, integers = _layouts(model), _integers(model)
    loaded = {
        name: _convert(file, name, *stored[name], like=value, axes=layouts.get(name), whole=name in integers)
        if name in stored
        else value
        for name, value in state.items()
    }
    model.load_state_dict(loaded)
    return metadata
