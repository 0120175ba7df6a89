"""The journal's file: a line of JSON for each attempt that ends, appended and handed to the system at once.

So a server that is killed loses no line of an attempt that had ended; only the machine's own end can. A disk that is full,
or gone, doesn't stop the server: lines are lost and counted, and that is told once.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from holdfast.chaos.journal_rows import line

if TYPE_CHECKING:
    from holdfast.chaos.journal import Entry

__all__ = ["JournalFile"]

_log = logging.getLogger(__name__)
_PRIVATE = 0o600  # it holds prompts


class JournalFile:
    """Appends entries to a file, once it is open."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None
        self._torn = False
        """Whether the file ends in the middle of a line."""
        self._written = 0
        self._lost = 0
        self._error: str | None = None

    def open(self) -> None:
        """Raises OSError with the file's name where it can't be written."""
        # Non-blocking: a pipe that nobody reads is an error, not a server that doesn't start. Files don't care.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._fd = os.open(self._path, flags, _PRIVATE)
        self._torn = _ends_torn(self._path)

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def append(self, entry: Entry) -> None:
        """One line more. Never raises: what can't be written is counted as lost."""
        if self._fd is None:
            return
        data = line(entry) + b"\n"
        if self._torn:  # what was cut off stays one bad line, and doesn't spoil this one
            data = b"\n" + data
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                self._torn = True
                done += os.write(self._fd, data[done:])
        except OSError as error:
            self._lost += 1
            if self._error is None:
                _log.warning("attempts are no longer written to %s: %s", self._path, error.strerror)
            self._error = error.strerror or str(error)
            return
        self._torn = False
        self._written += 1
        if self._error is not None:
            _log.warning("attempts are written to %s again; %d were lost", self._path, self._lost)
            self._error = None

    def told(self) -> dict[str, Any]:
        """For the admin API."""
        return {"path": self._path, "written": self._written, "lost": self._lost, "error": self._error}


def _ends_torn(path: str) -> bool:
    """Whether a process that died, or a full disk, left half a line."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # the same name that was opened above
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # empty, or no file at all: a pipe, a terminal
        return False
