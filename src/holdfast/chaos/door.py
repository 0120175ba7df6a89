"""The listening socket: open, refusing (RST to each SYN), or silent (no answer to a SYN at all).

A refusing port stays bound, so that nobody else gets it. A silent one has an accept queue that is full: Linux then drops
the SYNs that come, and a client's connect hangs until its own time limit, or until the door opens and it tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.clock import Clock, Timer
    from holdfast.chaos.plan import Shut

__all__ = ["Door", "State"]

State = Literal["open", "refused", "silent"]

_BACKLOG = 4096
_FILLERS = 8  # more than the shortest queue takes
_BIND_TRIES = 200  # an event loop may close its listening socket some turns later


class Door:
    """One address. ``await open()``, ``await close()``; ``shut`` for a while between them."""

    def __init__(self, factory: Callable[[], asyncio.BaseProtocol], clock: Clock) -> None:
        self._factory = factory
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._bound: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        self._address: tuple[str, int] = ("", 0)
        self._family = socket.AF_INET
        self._timer: Timer | None = None
        self._change: asyncio.Task[None] | None = None
        self._base: State = "open"
        self._shut: State | None = None
        self.state: State = "open"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, once open."""
        return self._address

    async def open(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. Raises OSError where that can't be."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._factory, host, port, backlog=_BACKLOG)
        sock = self._server.sockets[0]
        self._family = sock.family
        self._address = sock.getsockname()[:2]

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
        """No more connections; the port is free."""
        if self._timer is not None:
            self._timer.cancel()
        if self._change is not None:
            self._change.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._change
        self._drop()
        if self._server is not None:
            self._server.close()
            self._server = None

    async def settled(self) -> None:
        """Wait until the last change has taken effect."""
        if self._change is not None:
            await asyncio.shield(self._change)

    def _shut_no_more(self) -> None:
        self._timer = self._shut = None
        self._change_to(self._base)

    def _change_to(self, state: State) -> None:
        if state == self.state:
            return
        self.state = state
        if state != "open" and self._server is not None:
            self._server.close()  # now, not in the task's turn: who connects after a shut must meet it
            self._server = None
            self._bound = self._try_to_bind()
            if self._bound is not None and state == "silent":
                self._fall_silent(self._bound)
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        """Make the socket what ``state`` says, also when that changes on the way."""
        made = "closed"
        while made != self.state:
            made = self.state
            self._drop_fillers()
            if self._bound is None:
                self._bound = await self._bind()
            match made:
                case "refused":
                    self._drop()
                    self._bound = await self._bind()
                case "silent":
                    self._fall_silent(self._bound)
                case "open":
                    self._bound.listen(_BACKLOG)
                    self._server = await asyncio.get_running_loop().create_server(
                        self._factory, sock=self._bound, backlog=_BACKLOG
                    )
                    self._bound = None

    async def _bind(self) -> socket.socket:
        for _ in range(_BIND_TRIES):
            if (sock := self._try_to_bind()) is not None:
                return sock
            await asyncio.sleep(0.001)
        raise OSError(f"{self._address} was taken by another process while the door was shut")

    def _try_to_bind(self) -> socket.socket | None:
        sock = socket.socket(self._family)
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(self._address)
        except OSError:
            sock.close()
            return None
        return sock

    def _fall_silent(self, bound: socket.socket) -> None:
        bound.listen(0)
        for _ in range(_FILLERS):
            sock = socket.socket(self._family)
            sock.settimeout(0)
            self._fillers.append(sock)
            with contextlib.suppress(OSError):
                sock.connect(self._address)

    def _drop_fillers(self) -> None:
        for sock in self._fillers:
            sock.close()
        self._fillers.clear()

    def _drop(self) -> None:
        self._drop_fillers()
        if self._bound is not None:
            self._bound.close()
            self._bound = None
