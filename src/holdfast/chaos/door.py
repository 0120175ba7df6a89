"""The listening sockets: open, refusing (RST to each SYN), or silent (no answer to a SYN at all).

A refusing port stays bound, so that nobody else gets it: on Linux a listening socket that is shut down is just that. A
silent one has an accept queue that is full: Linux then drops the SYNs that come, and a client's connect hangs until its own
time limit, or until the door opens and it tries again.

Connections are accepted here and not by the loop's own server, since its end isn't an instant: whoever it is about to
accept then is neither served nor refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.clock import Clock, Timer
    from holdfast.chaos.plan import Shut

__all__ = ["Door", "State"]

State = Literal["open", "refused", "silent"]

_BACKLOG = 4096
_AT_ONCE = 64  # accepted before others get their turn
_FILLERS = 8  # more than the shortest queue takes
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # a name's IPv6 address, where there is no IPv6
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EXHAUSTED_WAIT_S = 0.1  # whoever waits to be accepted stays in the queue


class Door:
    """One host and port. ``await open()``, ``await close()``; ``shut`` for a while between them."""

    def __init__(self, factory: Callable[[], asyncio.BaseProtocol], clock: Clock) -> None:
        self._factory = factory
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._fillers: list[socket.socket] = []
        self._accepting: set[asyncio.Task[None]] = set()
        self._timer: Timer | None = None
        self._again: asyncio.TimerHandle | None = None
        self._base: State = "open"
        self._shut: State | None = None
        self.state: State = "open"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, once open."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    async def open(self, host: str, port: int) -> None:
        """Listen on all addresses of ``host``; port 0 takes a free one. Raises OSError where that can't be."""
        found = await self._loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        absent: OSError | None = None
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                try:
                    sock = _bound(family, (address[0], port, *address[2:]))
                except OSError as error:
                    if error.errno not in _ABSENT:
                        raise
                    absent = error
                    continue
                self._sockets.append(sock)
                port = sock.getsockname()[1]
            if not self._sockets:
                raise absent or OSError(f"{host!r} has no address")
            self._listen()
        except OSError:
            self._close_sockets()
            raise

    def shut(self, shut: Shut) -> None:
        """For a while, from now on, whatever :meth:`set` says."""
        if self._timer is not None:
            self._timer.cancel()
        self._shut = shut.how
        self._timer = self._clock.call_at(self._clock.now() + shut.seconds, self._shut_no_more)
        self._change_to(shut.how)

    def set(self, state: State) -> None:
        """Until further notice."""
        self._base = state
        self._change_to(self._shut or state)

    async def close(self) -> None:
        """No more connections; the port is free. Whoever was accepted before has a connection by then."""
        if self._timer is not None:
            self._timer.cancel()
        if self.state == "open":
            self._accept_no_more()
        self._drop_fillers()
        self._close_sockets()
        if self._accepting:
            await asyncio.wait(self._accepting)

    def _shut_no_more(self) -> None:
        self._timer = self._shut = None
        self._change_to(self._base)

    def _change_to(self, state: State) -> None:
        was, self.state = self.state, state
        if state == was or not self._sockets:
            return
        if was == "open":
            self._accept_no_more()
        self._drop_fillers()
        if state == "open":
            self._listen()
            return
        if was != "refused":
            self._sockets = [_hushed(sock) for sock in self._sockets]
        if state == "silent":
            self._fall_silent()

    def _listen(self) -> None:
        for sock in self._sockets:
            sock.listen(_BACKLOG)
        self._accept_again()

    def _accept_again(self) -> None:
        self._again = None
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def _accept_no_more(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for sock in self._sockets:
            self._loop.remove_reader(sock)

    def _accept(self, listening: socket.socket) -> None:
        """Whoever waits. A process without file descriptors to spare lets them wait a little longer."""
        for _ in range(_AT_ONCE):
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._accept_no_more()
                self._again = self._loop.call_later(_EXHAUSTED_WAIT_S, self._accept_again)
                return
            sock.settimeout(0)
            task = self._loop.create_task(self._connect(sock))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    async def _connect(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, sock)
        except OSError:  # it left meanwhile
            sock.close()

    def _fall_silent(self) -> None:
        for listening in self._sockets:
            listening.listen(0)
            address = listening.getsockname()
            for _ in range(_FILLERS):
                sock = socket.socket(listening.family)
                sock.settimeout(0)
                self._fillers.append(sock)
                with contextlib.suppress(OSError):
                    sock.connect(address)

    def _drop_fillers(self) -> None:
        for sock in self._fillers:
            sock.close()
        self._fillers.clear()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


def _bound(family: int, address: tuple[str | int, ...]) -> socket.socket:
    """A socket that has the address, and doesn't listen yet."""
    # With its protocol named: asyncio looks for that when it lets small writes go at once (TCP_NODELAY).
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    if address[1]:
        return sock
    # The system keeps a port that it chose only while the socket listens; one that was asked for is kept until the end.
    try:
        return _bound(family, sock.getsockname())
    finally:
        sock.close()


def _hushed(sock: socket.socket) -> socket.socket:
    """The same address without a listener: who waits in the queue is reset, who comes is refused."""
    if sys.platform != "linux":
        family, address = sock.family, sock.getsockname()
        sock.close()
        return _bound(family, address)
    sock.shutdown(socket.SHUT_RDWR)
    return sock
