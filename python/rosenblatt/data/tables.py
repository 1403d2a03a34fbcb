"""Readers for tables: CSV with a label column (Kaggle style) and NumPy's .npz archives.

Nothing in a file can execute: archives with Python objects are refused. Sizes that an archive declares are checked
against what it holds before anything is allocated.
"""

from __future__ import annotations

import csv
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from .dataset import DataError, Dataset
from .formats import _GZIP_MAX_RATIO, _read_exactly

__all__ = ["load_array", "load_csv", "load_npz"]

Array = npt.NDArray[Any]
PathLike = str | os.PathLike[str]
# what zipfile, zlib and numpy raise for bytes that are not what they should be
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _label_column(path: Path, label: str | int, names: Sequence[str] | None, width: int) -> int:
    """The index of the label column, from its name or its (possibly negative) index."""
    if isinstance(label, int):
        if not -width <= label < width:
            raise DataError(f"{path}: expected a label column {label}, found {width} columns")
        return label % width
    if names is None:
        raise DataError(f"{path}: expected a header with a column {label!r}, found none; give the column's index")
    if names.count(label) != 1:
        listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise DataError(f"{path}: expected one column named {label!r}, found {names.count(label)} among: {listed}")
    return list(names).index(label)


def _sorted_classes(labels: Sequence[str]) -> tuple[str, ...]:
    """The distinct labels: in numerical order when all are numbers, else in alphabetical order."""
    distinct = set(labels)
    if all(_is_number(v) for v in distinct):
        return tuple(sorted(distinct, key=lambda v: (float(v), v)))
    return tuple(sorted(distinct))


def load_csv(
    path: PathLike,
    label: str | int = "label",
    *,
    header: bool | Literal["auto"] = "auto",
    delimiter: str = ",",
    classes: Sequence[str] | None = None,
    shape: Sequence[int] | None = None,
    scale: float = 1.0,
) -> Dataset:
    """A CSV file with one sample per row, one label column and numbers everywhere else.

    Parameters
    ----------
    path : the file, UTF-8.
    label : name or index of the label column; labels may be any text.
    header : whether the first row holds names; "auto" takes it for a header when a cell outside the label column
        is not a number.
    delimiter : one character.
    classes : the class names in order; without it, the distinct labels sorted (as numbers where all are). Give
        the training set's classes when reading a test set.
    shape : the shape of one sample, for example (28, 28, 1); default one row [D].
    scale : every value is divided by it (255 for pixels).

    Returns
    -------
    x float32 [N,D] or [N,*shape], y int64 [N].

    Raises
    ------
    DataError
        the file is missing or empty, a row has another length, a cell is not a finite number, the label
        column does not exist, a label is not among `classes`, or `shape` does not hold D values.
    """
    file = Path(path)
    if not scale > 0 or len(delimiter) != 1:
        raise ValueError(f"load_csv: expected scale > 0 and a one-character delimiter, got {scale!r}, {delimiter!r}")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return _parse_csv(file, stream, label, header, delimiter, classes, shape, scale)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected UTF-8 text, found byte {error.object[error.start]:#04x}") from error
    except csv.Error as error:
        raise DataError(f"{file}: not a CSV file: {error}") from error


def _parse_csv(
    file: Path,
    stream: IO[str],
    label: str | int,
    header: bool | Literal["auto"],
    delimiter: str,
    classes: Sequence[str] | None,
    shape: Sequence[int] | None,
    scale: float,
) -> Dataset:
    rows = csv.reader(stream, delimiter=delimiter)
    first = next((row for row in rows if row), None)
    if first is None:
        raise DataError(f"{file}: expected rows of numbers, found an empty file")
    names = [cell.strip() for cell in first]
    if header == "auto":
        at = label % len(first) if isinstance(label, int) else -1
        header = isinstance(label, str) or any(not _is_number(cell) for i, cell in enumerate(names) if i != at)
    width = len(first)
    column = _label_column(file, label, names if header else None, width)
    table = _Table(file, names if header else None, delimiter, width, column)
    if not header:
        table.add_rows([(rows.line_num, first)])
    table.add_lines(stream, rows.line_num)
    labels = table.labels
    if not labels:
        raise DataError(f"{file}: expected rows below the header, found none")
    x = np.concatenate(table.values)  # [N,D]
    if scale != 1:
        x /= np.float32(scale)
    if not np.isfinite(x).all():
        raise DataError(f"{file}: expected finite numbers after division by {scale}, found an overflow")
    known = tuple(classes) if classes is not None else _sorted_classes(labels)
    index = {name: i for i, name in enumerate(known)}
    strangers = [v for v in labels if v not in index]
    if strangers:
        raise DataError(f"{file}: label {strangers[0]!r} is not among the {len(known)} classes given")
    if shape is not None:
        if math.prod(shape) != x.shape[1]:
            raise DataError(f"{file}: expected {math.prod(shape)} values for shape {list(shape)}, found {x.shape[1]}")
        x = x.reshape(len(x), *shape)
    return Dataset(x, np.array([index[v] for v in labels], np.int64), known, file.name)


class _Table:
    """The rows of a CSV file below its header: the labels [N] as text, the other cells as blocks [n,D] in float32.

    Blocks of lines without quotes are split and read by NumPy's reader. A block it does not take goes to the csv
    module row by row, with all that follows: that reads what only Python takes for a number, or words the error.
    """

    LINES = 2048

    def __init__(self, file: Path, names: Sequence[str] | None, delimiter: str, width: int, column: int) -> None:
        self.file, self.names, self.delimiter = file, names, delimiter
        self.width, self.column = width, column
        self.labels: list[str] = []
        self.values: list[Array] = []

    def add_lines(self, stream: Iterable[str], read: int) -> None:
        """All lines of the stream, of which `read` were taken before. Raises DataError for the first that is wrong."""
        lines = iter(stream)
        while block := list(islice(lines, self.LINES)):
            if not self._add_block(block):
                rows = csv.reader(chain(block, lines), delimiter=self.delimiter)
                self.add_rows((read + rows.line_num, row) for row in rows)
                return
            read += len(block)

    def _add_block(self, block: list[str]) -> bool:
        """Add lines by the fast way; False, with nothing added, when one of them needs the careful way."""
        cut, column, width = self.delimiter, self.column, self.width
        labels, rests = [], []
        for line in block:
            line = line.rstrip("\r\n")
            if '"' in line or line.count(cut) != width - 1:
                return False
            if column == 0:
                label, _, rest = line.partition(cut)
            elif column == width - 1:
                rest, _, label = line.rpartition(cut)
            else:
                cells = line.split(cut, column + 1)
                label, rest = cells.pop(column), cut.join(cells)
            if not rest.strip():
                return False
            labels.append(label.strip())
            rests.append(rest)
        try:
            x = np.loadtxt(rests, np.float32, comments=None, delimiter=cut, ndmin=2)  # [n,D]
        except ValueError:
            return False
        if x.shape != (len(block), width - 1) or not np.isfinite(x).all():
            return False
        self.labels += labels
        self.values.append(x)
        return True

    def add_rows(self, rows: Iterable[tuple[int, list[str]]]) -> None:
        """Add (line number, cells) one by one. Raises DataError naming line and column of the first bad cell."""
        for line, row in rows:
            if not row:
                continue  # a blank line
            if len(row) != self.width:
                raise DataError(
                    f"{self.file}: line {line}: expected {self.width} columns as in the first row, found {len(row)}"
                )
            self.labels.append(row.pop(self.column).strip())
            with np.errstate(over="ignore"):
                try:
                    x = np.array([row], np.float64).astype(np.float32)  # [1,D]
                except ValueError:
                    at = next((i for i, cell in enumerate(row) if not _is_number(cell)), 0)
                    raise DataError(f"{self._cell(line, at)}: expected a number, found {row[at]!r}") from None
            if not np.isfinite(x).all():
                at = int(np.flatnonzero(~np.isfinite(x[0]))[0])
                raise DataError(f"{self._cell(line, at)}: expected a finite number, found {row[at]!r}")
            self.values.append(x)

    def _cell(self, line: int, at: int) -> str:
        """Where a number is: file, line, and column by number (from 1) and name; `at` leaves the label out."""
        at += at >= self.column
        name = f" ({self.names[at]})" if self.names else ""
        return f"{self.file}: line {line}, column {at + 1}{name}"


def _read_npy(where: str, file: IO[bytes], length: int) -> Array:
    """One array in .npy form from `file`, which holds `length` bytes; nothing larger is allocated."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise DataError(f"{where}: expected .npy version 1.0 or 2.0, found {version}")
    if dtype.kind not in "buifU":
        raise DataError(f"{where}: expected numbers or text, found {dtype} (Python objects are never loaded)")
    size, rest = math.prod(shape) * dtype.itemsize, length - file.tell()
    if size != rest or min(shape, default=0) < 0:
        raise DataError(f"{where}: header declares {list(shape)} = {size} bytes, found {rest}")
    data = _read_exactly(file, size)
    if len(data) != size or file.read(1):
        raise DataError(f"{where}: expected {size} bytes, found {'more' if len(data) == size else len(data)}")
    values: Array = np.frombuffer(data, dtype) if size else np.empty(math.prod(shape), dtype)
    values = values.reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.newbyteorder("="))


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> Array:
    """One array of an .npz archive."""
    try:
        info = archive.getinfo(f"{key}.npy")
    except KeyError:
        listed = ", ".join(n.removesuffix(".npy") for n in archive.namelist()[:8]) or "nothing"
        raise DataError(f"{path}: expected an array named {key!r}, found {listed}") from None
    if info.file_size > max(info.compress_size, 1) * _GZIP_MAX_RATIO:
        raise DataError(f"{path}: {key}: declares {info.file_size} bytes from {info.compress_size}: refused")
    with archive.open(info) as file:
        return _read_npy(f"{path}: {key}", file, info.file_size)


def load_array(path: PathLike, key: str = "x") -> Array:
    """The array of an .npy file, or the one named `key` of an .npz archive; Python objects are refused.

    Raises
    ------
    DataError
        the file is missing or damaged, or holds no such array.
    """
    file = Path(path)
    try:
        if file.suffix.lower() == ".npz":
            with zipfile.ZipFile(file) as archive:
                return _member(file, archive, key)
        with file.open("rb") as stream:
            return _read_npy(str(file), stream, os.path.getsize(file))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise DataError(f"{file}: not a whole {file.suffix.lower() or '.npy'} file: {error}") from error


def load_npz(path: PathLike, x: str = "x", y: str = "y") -> Dataset:
    """Samples and labels from an .npz archive.

    `x` names the samples [N,...]: floats are taken as they are, uint8 is divided by 255, [N,H,W] images get their
    channel axis. `y` names the labels: integers [N] or one-hot rows [N,K]. An optional array "classes" of text
    names the classes.

    Raises
    ------
    DataError
        the file is missing or damaged, an array is missing, holds Python objects, or has another form.
    """
    file = Path(path)
    try:
        with zipfile.ZipFile(file) as archive:
            samples, labels = _member(file, archive, x), _member(file, archive, y)
            listed = _member(file, archive, "classes") if "classes.npy" in archive.namelist() else None
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise DataError(f"{file}: not a whole .npz archive: {error}") from error
    if samples.ndim < 1 or samples.dtype.kind not in "buif":
        raise DataError(f"{file}: {x}: expected numbers [N,...], found {samples.dtype} {list(samples.shape)}")
    data = samples.astype(np.float32)
    if samples.dtype == np.uint8:
        data /= np.float32(255)
    if data.ndim == 3:
        data = data[..., None]  # [N,H,W,1]
    if not np.isfinite(data).all():
        raise DataError(f"{file}: {x}: expected finite numbers, found NaN or inf")
    if labels.ndim == 2 and labels.dtype.kind in "buif" and labels.shape[1]:
        if not ((labels == 0) | (labels == 1)).all() or not (labels.sum(axis=1) == 1).all():
            raise DataError(f"{file}: {y}: expected one-hot rows or labels [N], found {list(labels.shape)}")
        count = labels.shape[1]
        labels = labels.argmax(axis=1)
    elif labels.ndim != 1 or labels.dtype.kind not in "bui":
        raise DataError(f"{file}: {y}: expected integer labels [N], found {labels.dtype} {list(labels.shape)}")
    elif len(labels) and int(labels.max()) >= max(len(labels), 65536):
        raise DataError(f"{file}: {y}: expected class indices, found {int(labels.max())}")
    else:
        count = int(labels.max()) + 1 if len(labels) else 0
    names = tuple(str(v) for v in listed) if listed is not None and listed.ndim == 1 else ()
    if len(names) < count:
        names = tuple(str(i) for i in range(count))
    return Dataset(data, labels.astype(np.int64), names, file.name)
