"""Writing a file so that a reader sees the old content or the new, never a part of either, even after a crash.

The bytes go to a temporary file in the same folder, are flushed to the disk, the file takes the final name in one
step (`os.replace`), and the folder is flushed too. On any error the temporary file is removed, the previous file
stays as it was and the OSError of the system call that failed reaches the caller.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["write_bytes_atomic", "write_text_atomic"]


def _sync_folder(folder: Path) -> None:
    """Flush the directory entry, where the system allows opening a folder."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, replacing it in one step. The folder must exist.

    Raises
    ------
    OSError
        the file could not be written; what was at `path` before is untouched.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """`write_bytes_atomic` for text, in UTF-8 with the line ends as given."""
    write_bytes_atomic(path, text.encode("utf-8"))
