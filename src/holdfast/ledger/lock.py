"""One writer process per file: an exclusive lock on ``<database>.lock``, for as long as the process lives.

The kernel gives the lock back when its holder dies, however it dies; so holding it proves that every other
owner of the file is dead. (The lock is ``flock``'s: it holds on local disks, and is only as good as the
server on NFS.)
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from holdfast.errors import LedgerUnavailable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileLock"]


class FileLock:
    """Held from construction to :meth:`release`. The file itself stays: removing it would let two holders in.

    Raises:
        LedgerUnavailable: another process holds it (its pid is named), or the file can't be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            message = (
                f"can't open the ledger's lock file {path}: {error.strerror}. Its folder must be writable."
            )
            raise LedgerUnavailable(message) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise LedgerUnavailable(
                f"the ledger is already open for writing by process {holder} (it holds {path}). "
                "SQLite takes one writer process: stop that one, or use another file. For several, set "
                'ledger.url = "postgresql://…".'
            ) from error
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:  # a full disk: the pid is for people, the lock holds without it
            pass
        self._fd: int | None = fd

    def release(self) -> None:
        """A second call does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
