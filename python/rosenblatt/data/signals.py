"""Sound and text from files: WAV recordings as samples [N,C], plain text as token numbers [T].

Nothing is resampled, lower-cased or cleaned: what the file holds is what comes back.
"""

from __future__ import annotations

import os
import re
import wave
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .dataset import DataError

__all__ = ["load_text", "load_wav"]

Array = npt.NDArray[Any]
PathLike = str | os.PathLike[str]


def load_wav(path: PathLike) -> tuple[Array, int]:
    """(samples float32 [N,C] in [-1, 1), frames per second) of a WAV file with 8, 16, 24 or 32 bit integer samples.

    Raises
    ------
    DataError
        the file is missing or damaged, shorter than its header says, or has samples of another kind.
    """
    file = Path(path)
    try:
        with wave.open(str(file), "rb") as sound:
            channels, width, rate, count = sound.getparams()[:4]
            raw = sound.readframes(count)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (wave.Error, EOFError, RuntimeError, ValueError) as error:
        reason = str(error) or "it ends too early"
        raise DataError(f"{file}: expected a WAV file with integer samples: {reason}") from error
    if width not in (1, 2, 3, 4) or channels < 1 or rate < 1:
        raise DataError(f"{file}: expected 8, 16, 24 or 32 bits, found {8 * width}, {channels} channels at {rate} Hz")
    if len(raw) != count * channels * width:
        raise DataError(f"{file}: the header declares {count * channels * width} bytes of sound, found {len(raw)}")
    if width == 1:  # the only unsigned kind
        values = np.frombuffer(raw, np.uint8).astype(np.int64) - 128
    elif width == 3:
        parts = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int64)  # [N*C,3], low byte first
        values = parts @ np.array([1, 256, 65536])
        values -= (values >= 2**23) * 2**24
    else:
        values = np.frombuffer(raw, f"<i{width}").astype(np.int64)
    scaled: Array = (values / float(2 ** (8 * width - 1))).astype(np.float32)
    return scaled.reshape(count, channels), rate


def load_text(
    path: PathLike,
    by: Literal["character", "word", "byte"] = "character",
    *,
    vocabulary: Sequence[str] | None = None,
    limit: int | None = None,
) -> tuple[Array, tuple[str, ...]]:
    """(tokens int64 [T], vocabulary) of a UTF-8 text file; a token is the index of its piece in the vocabulary.

    Parameters
    ----------
    path : the file.
    by : "character" (code points), "word" (runs of letters and digits, every other mark but space on its own), or
        "byte" (0..255, any file; the vocabulary is then Latin-1's characters).
    vocabulary : the training text's, when reading another one; without it, the pieces of this text, the most frequent
        first and equals in the order of their code points.
    limit : keep that many most frequent pieces, the rest becomes "<unknown>", which is then the last entry.

    Raises
    ------
    DataError
        the file is missing or empty, not UTF-8, or holds a piece that the vocabulary lacks (unless it has "<unknown>").
    """
    file = Path(path)
    if by not in ("character", "word", "byte"):
        raise ValueError(f"load_text: by must be 'character', 'word' or 'byte', got {by!r}")
    if limit is not None and (limit < 1 or vocabulary is not None or by == "byte"):
        raise ValueError("load_text: limit must be at least 1, and goes with neither a vocabulary nor bytes")
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    if not raw:
        raise DataError(f"{file}: expected text, found an empty file")
    if by == "byte":
        return np.frombuffer(raw, np.uint8).astype(np.int64), tuple(map(chr, range(256)))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}: line {where}: expected UTF-8 text, found byte {raw[error.start]:#04x}") from error
    pieces = list(text) if by == "character" else re.findall(r"\w+|[^\w\s]", text)
    if vocabulary is None:
        counts = Counter(pieces)
        ordered = sorted(counts, key=lambda p: (-counts[p], p))
        cut = limit is not None and limit < len(ordered)
        known = (*ordered[:limit], "<unknown>") if cut else tuple(ordered)
    else:
        known = tuple(vocabulary)
    index = {piece: i for i, piece in enumerate(known)}
    other = index.get("<unknown>", -1)
    tokens = np.array([index.get(piece, other) for piece in pieces], np.int64)  # [T]
    if len(tokens) and tokens.min() < 0:
        stranger = pieces[int(np.flatnonzero(tokens < 0)[0])]
        raise DataError(f"{file}: {stranger!r} is not in the vocabulary of {len(known)} entries")
    return tokens, known
