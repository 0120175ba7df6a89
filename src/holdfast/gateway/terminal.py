"""Whether the terminal that a process was started from is still there.

SIGHUP means two things: an operator's "read your configuration", and a terminal's last word. Who closes the window in
which a gateway runs wants it to end, as any other program there does.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["Terminal"]

_OWN: Final = "/dev/tty"


class Terminal:
    """The one that controlled this process when this was made, if one did."""

    def __init__(self) -> None:
        self._had = _has()

    @property
    def gone(self) -> bool:
        """There was one, and it has hung up."""
        return self._had and not _has()


def _has() -> bool:
    try:
        descriptor = os.open(_OWN, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(descriptor)
    return True
