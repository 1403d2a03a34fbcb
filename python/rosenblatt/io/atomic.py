"""Writing a file so that a reader sees the old content or the new, never a part of either, even after a crash.

The bytes go to a temporary file in the same folder, are flushed to the disk, the file takes the final name in one
step (`os.replace`), and the folder is flushed too. On any error the temporary file is removed, the previous file
stays as it was and the OSError of the system call that failed reaches the caller.

Every system call that files and checkpoints are written with is a method of `Files`; `files` is the one in use, and
tests put one in its place whose N-th call fails.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

__all__ = ["Files", "files", "write_bytes_atomic", "write_text_atomic"]


class Files:
    """The system calls behind every file that is written, one method each; all raise OSError."""

    def create(self, path: Path) -> int:
        """Open a file that must not exist yet for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of `data`; the number of bytes that were taken."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Flush a file to the disk."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def replace(self, old: Path, new: Path) -> None:
        """Rename, in one step; a file at `new` is replaced."""
        os.replace(old, new)

    def make_folder(self, path: Path) -> None:
        os.mkdir(path)

    def sync_folder(self, path: Path) -> None:
        """Flush a folder's entries to the disk, where the system allows opening a folder."""
        if os.name != "posix":
            return
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def names(self, path: Path) -> list[str]:
        """The names in a folder, sorted."""
        return sorted(os.listdir(path))

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        os.rmdir(path)


files = Files()


def temporary_name(target: Path) -> Path:
    """A name next to `target` that nobody else uses."""
    return target.with_name(f".{target.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet and flush it to the disk. Raises OSError; a part of it may then be there."""
    fd = files.create(path)
    try:
        rest = memoryview(data)
        while len(rest):
            count = files.write(fd, rest)
            if count <= 0:
                raise OSError(errno.EIO, "the disk took no bytes", str(path))
            rest = rest[count:]
        files.sync(fd)
    except BaseException:
        os.close(fd)
        raise
    files.close(fd)


def write_bytes_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, replacing it in one step. The folder must exist.

    Raises
    ------
    OSError
        the file could not be written; what was at `path` before is untouched.
    """
    target = Path(path)
    temporary = temporary_name(target)
    try:
        write_new(temporary, data)
        files.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    files.sync_folder(target.parent)


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """`write_bytes_atomic` for text, in UTF-8 with the line ends as given."""
    write_bytes_atomic(path, text.encode("utf-8"))
