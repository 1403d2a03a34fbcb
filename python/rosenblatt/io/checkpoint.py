"""Checkpoints: a folder of numbered sub-folders, each a whole training state, that survives a crash at any instant.

    FOLDER/checkpoint-00000007/arrays.safetensors   every array
                               state.json           the rest, and length and SHA-256 of both files

A state is a tree of dicts, lists, tuples, arrays, numbers, text and None; arrays go to safetensors, the rest to JSON,
nothing is ever pickled. A checkpoint is written to a temporary folder beside the others, flushed, read again and
compared, renamed, and the folder flushed; only then are older ones removed. A failure at any point raises
`CheckpointError` and leaves the previous checkpoints as they were. One process writes to a folder at a time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._version import __version__
from . import atomic
from .weights import _DTYPES, _sorted_header

__all__ = ["Checkpoint", "CheckpointError", "list_checkpoints", "load_checkpoint", "save_checkpoint"]

Array = npt.NDArray[Any]
ARRAYS, STATE = "arrays.safetensors", "state.json"
_FORMAT, _VERSION = "rosenblatt checkpoint", 1
_NAME = re.compile(r"checkpoint-(\d{8,})")
_STALE = re.compile(r"\.(new|old)-\d+-[0-9a-f]{8}")
_KINDS = {np.dtype(v) for k, v in _DTYPES.items() if k != "BF16"}


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, is missing, damaged or does not fit.

    `path` is the file or folder, `reason` what is wrong with it; `previous` is an older checkpoint that is whole, where
    there is one.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, previous: Path | None = None) -> None:
        self.path, self.reason, self.previous = Path(path), reason, previous
        offer = f"; the previous one is whole: {previous} (fallback=True takes it)" if previous else ""
        super().__init__(f"{path}: {reason}{offer}")


@dataclass(frozen=True)
class Checkpoint:
    """A state as it was saved: its folder, the tree, and the error of every newer one that was damaged."""

    path: Path
    state: dict[str, Any]
    damaged: tuple[CheckpointError, ...] = ()


# --- trees


def _pack(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """`value` as JSON, its arrays moved to `arrays`. Raises TypeError naming what cannot be saved."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, np.ndarray):
        array = np.array(value, value.dtype.newbyteorder("<") if value.dtype.kind in "fiu" else None, order="C")
        if array.dtype not in _KINDS:
            raise TypeError(f"save_checkpoint: {name}: arrays of {value.dtype} cannot be saved")
        key = name
        while key in arrays or key == "__metadata__":  # which safetensors keeps for itself
            key += "'"
        arrays[key] = array
        return {"$array": key}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(f"save_checkpoint: {name}: keys must be text that does not begin with '$', got {key!r}")
        return {k: _pack(v, f"{name}/{k}" if name else k, arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_pack(v, f"{name}/{i}", arrays) for i, v in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    raise TypeError(
        f"save_checkpoint: {name}: expected arrays, numbers, text, None, dicts, lists and tuples, "
        f"got {type(value).__name__}"
    )


def _unpack(value: Any, arrays: dict[str, Array]) -> Any:
    """The inverse of `_pack`; arrays are writable copies. Raises ValueError, KeyError for what `_pack` never writes."""
    if isinstance(value, list):
        return [_unpack(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return arrays[value["$array"]].copy()
    if "$float" in value:
        return float(value["$float"])
    if "$tuple" in value:
        return tuple(_unpack(v, arrays) for v in value["$tuple"])
    return {k: _unpack(v, arrays) for k, v in value.items()}


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True, ensure_ascii=True, allow_nan=False).encode()


def _sealed(content: dict[str, Any]) -> bytes:
    """JSON with the SHA-256 of the rest in it; one content has one form, so every changed bit is found."""
    return _canonical({**content, "sha256": hashlib.sha256(_canonical(content)).hexdigest()})


# --- reading


def list_checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints in `folder`, oldest first; none when it does not exist. Raises CheckpointError."""
    return [path for _, path in _numbered(Path(folder))]


def _names(folder: Path) -> list[str]:
    try:
        return atomic.files.names(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(folder, f"cannot be read: {error.strerror or error}") from error


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """(number, path), by number."""
    matches = [(match, name) for name in _names(folder) if (match := _NAME.fullmatch(name))]
    return sorted((int(match[1]), folder / name) for match, name in matches)


def _bytes(path: Path) -> bytes:
    try:
        return atomic.files.read(path)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error


def _header(path: Path) -> dict[str, Any]:
    """The checked content of state.json."""
    blob = _bytes(path)
    try:
        content = json.loads(blob)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"damaged: not JSON ({len(blob)} bytes): {error}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(path, "damaged: not the state of a checkpoint")
    content.pop("sha256", None)
    try:
        whole = _sealed(content) == blob
    except ValueError:  # a NaN, which is never written
        whole = False
    if not whole:
        raise CheckpointError(path, "damaged: the SHA-256 is not the one the file was written with")
    if content.get("version") != _VERSION:
        raise CheckpointError(path, f"expected format version {_VERSION}, got {content.get('version')!r}")
    return content


def _read(path: Path) -> dict[str, Any]:
    """The state in one checkpoint. Raises CheckpointError naming the file that is missing or damaged."""
    import safetensors

    content = _header(path / STATE)
    file = path / ARRAYS
    blob = _bytes(file)
    try:
        length, digest = content["arrays"]["bytes"], content["arrays"]["sha256"]
        if len(blob) != length:
            raise CheckpointError(file, f"damaged: expected {length} bytes, got {len(blob)}")
        if hashlib.sha256(blob).hexdigest() != digest:
            raise CheckpointError(file, "damaged: the SHA-256 is not the one the file was written with")
        entries: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(blob)  # type: ignore[no-untyped-call]
        arrays = {
            name: np.frombuffer(entry["data"], dtype=_DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in entries
        }
        state = _unpack(content["state"], arrays)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(path, f"damaged: {type(error).__name__}: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(path / STATE, "damaged: the state is no object")
    return state


def load_checkpoint(folder: str | os.PathLike[str], *, fallback: bool = False) -> Checkpoint:
    """The newest checkpoint in `folder`.

    A damaged one is refused, unless `fallback`: then the newest that is whole is taken, with a warning.

    Raises
    ------
    CheckpointError
        there is none; the newest is damaged (`previous` then offers an older one that is whole).
    """
    paths = list_checkpoints(folder)
    if not paths:
        raise CheckpointError(folder, "there is no checkpoint here")
    damaged: list[CheckpointError] = []
    for path in reversed(paths):
        try:
            state = _read(path)
        except CheckpointError as error:
            damaged.append(error)
            continue
        if not damaged:
            return Checkpoint(path, state)
        if fallback:
            for fault in damaged:
                warnings.warn(f"{fault}; the checkpoint is left out", RuntimeWarning, stacklevel=2)
            return Checkpoint(path, state, tuple(damaged))
        raise CheckpointError(damaged[0].path, damaged[0].reason, path) from damaged[0]
    raise damaged[0]


# --- writing


def _remove(path: Path) -> None:
    for name in atomic.files.names(path):
        atomic.files.remove(path / name)
    atomic.files.remove_folder(path)


def _discard(path: Path) -> None:
    """Move a checkpoint out of sight in one step, then remove it: what a crash leaves is no damaged checkpoint."""
    hidden = path.with_name(f".old-{os.getpid()}-{secrets.token_hex(4)}")
    atomic.files.replace(path, hidden)
    _remove(hidden)


def _score(path: Path) -> float | None:
    try:
        value = _header(path / STATE).get("score")
    except CheckpointError:
        return None  # damaged: it cannot be the best; reading it says why
    return value if isinstance(value, float) else None


def _prune(folder: Path, keep: int, keep_best: bool) -> None:
    """Remove all but the newest `keep` checkpoints and, when `keep_best`, the one with the lowest score."""
    paths = list_checkpoints(folder)
    old = paths[:-keep]
    if keep_best:
        scores = [(s, -i) for i, s in enumerate(map(_score, paths)) if s is not None]
        best = paths[-min(scores)[1]] if scores else None
        old = [path for path in old if path != best]
    for path in old:
        _discard(path)


def save_checkpoint(
    folder: str | os.PathLike[str], state: dict[str, Any], *, keep: int = 2, score: float | None = None,
    keep_best: bool = False,
) -> Path:
    """Write `state` as the newest checkpoint in `folder` (made when missing) and return its path.

    Parameters
    ----------
    state : a tree of dicts with text keys, lists, tuples, arrays, numbers, text and None.
    keep : how many of the newest checkpoints stay, at least 1.
    score, keep_best : lower is better; the checkpoint with the lowest score of those there stays too.

    Raises
    ------
    CheckpointError
        a system call failed; the path and the reason are in the message, and the previous checkpoints are untouched.
    TypeError, ValueError
        the state holds something that cannot be saved; `keep` is no positive integer. Nothing is written.
    """
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise ValueError(f"save_checkpoint: keep must be an integer of at least 1, got {keep!r}")
    if not isinstance(state, dict):
        raise TypeError(f"save_checkpoint: expected a dict, got {type(state).__name__}")
    import safetensors.numpy

    arrays: dict[str, Array] = {}
    packed = _pack(state, "", arrays)
    blob = _sorted_header(bytes(safetensors.numpy.save(arrays)))
    header = _sealed({
        "format": _FORMAT, "version": _VERSION, "library": __version__, "state": packed,
        "arrays": {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()},
        "score": None if score is None or not math.isfinite(score) else float(score),
    })
    target = Path(folder)
    try:
        return _write(target, blob, header, keep, keep_best)
    except OSError as error:
        path = error.filename or target
        raise CheckpointError(os.fspath(path), f"cannot be written: {error.strerror or error}") from error


def _make(folder: Path) -> None:
    """`folder` and its parents, each flushed into the folder that holds it."""
    if folder.is_dir():
        return
    _make(folder.parent)
    atomic.files.make_folder(folder)
    atomic.files.sync_folder(folder.parent)


def _write(folder: Path, blob: bytes, header: bytes, keep: int, keep_best: bool) -> Path:
    _make(folder)
    for name in _names(folder):
        if _STALE.fullmatch(name):
            _remove(folder / name)
    temporary = folder / f".new-{os.getpid()}-{secrets.token_hex(4)}"
    numbered = _numbered(folder)
    final = folder / f"checkpoint-{(numbered[-1][0] if numbered else 0) + 1:08d}"
    try:
        atomic.files.make_folder(temporary)
        atomic.write_new(temporary / ARRAYS, blob)
        atomic.write_new(temporary / STATE, header)
        atomic.files.sync_folder(temporary)
        for name, data in ((ARRAYS, blob), (STATE, header)):
            if _bytes(temporary / name) != data:
                raise CheckpointError(temporary / name, "cannot be written: the file read back differs")
        atomic.files.replace(temporary, final)
    except BaseException as error:
        try:
            if temporary.exists():
                _remove(temporary)
        except OSError as second:
            error.add_note(f"{temporary} could not be removed either: {second}; the next checkpoint removes it")
        raise
    atomic.files.sync_folder(folder)
    _prune(folder, keep, keep_best)
    return final
