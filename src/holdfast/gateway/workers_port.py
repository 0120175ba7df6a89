"""One port for several processes, each with a queue of connections of its own (``SO_REUSEPORT``).

Linux deals new connections out to the queues evenly, by a hash of where they come from. With one queue for all, who wakes
first takes a whole burst, and keeps it: most clients use their connections again and again.

A queue that isn't listening gets none, so a worker that is starting keeps nobody waiting; the one of a worker that died is
closed by the kernel, and the others get what comes next.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Port"]


class Port:
    """A port that stays this gateway's while workers come and go. The supervisor's own socket never listens.

    Args:
        host: an address, or a name of one.
        port: 0: a free one.

    Raises:
        OSError: somebody listens there, or the address isn't this machine's.
    """

    def __init__(self, host: str, port: int) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if port:  # another gateway of the same user might share the port with us, and nobody would notice
            socket.create_server((host, port), family=self._family).close()
        self._held = self._bound((host, port))

    def open(self) -> socket.socket:
        """Another socket at the port: listens when its worker says so."""
        return self._bound(self._held.getsockname())

    def close(self) -> None:
        """Gives the port up, once all workers have. A second call does nothing."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bound(self, address: tuple[str, int]) -> socket.socket:
        made = socket.socket(self._family)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if self._family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as create_server does
            made.bind(address)
        except BaseException:
            made.close()
            raise
        return made
