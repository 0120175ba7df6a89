"""One connection to Redis that all of a process' requests share.

Commands go out at once and answers come back in the same order, so many requests are under way together, and there is no
pool to be used up. A caller that is cancelled leaves its place in the order: its answer is taken off the wire when it comes
and never reaches another.

One time limit for all: if the oldest command has no answer in time, the connection is given up, and with it all that
stands behind. Which of them the server has carried out, nobody knows then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import hiredis

from holdfast.stores.base import Reply, StoreLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.clock import Clock
    from holdfast.stores.base import Argument

__all__ = ["MOST_UNDER_WAY", "MOST_UNREAD", "Heard", "RedisWire"]

Heard: TypeAlias = "Reply | hiredis.ReplyError"
"""What comes back: an error of the server's is a result as well."""

MOST_UNDER_WAY: Final = 20_000
"""Commands. At 20 ms each, more would mean a million in a second."""
MOST_UNREAD: Final = 16 * 1024 * 1024
"""Bytes of one answer. What we ask has answers of less than 1 KiB: whoever sends more isn't Redis."""

_MORE: Final = object()


class RedisWire(asyncio.Protocol):
    """Speaks RESP2 on one connection.

    Args:
        clock: the loop's.
        timeout_s: within which every answer must come.
        on_lost: told once why, when the connection is gone.
    """

    def __init__(self, *, clock: Clock, timeout_s: float, on_lost: Callable[[RedisWire, str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._on_lost = on_lost
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._waiting: deque[_Waiting] = deque()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsent: list[bytes] = []
        self._unread = 0
        self.over = ""
        """Why the connection is gone; empty: it isn't."""
        self.timeout_s = timeout_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                self._unread = 0
                if not self._waiting:
                    self.close("it said something that nobody asked for")
                    return
                self._waiting.popleft().answer(reply)
        except hiredis.ProtocolError:  # its message quotes what was read
            self.close("it doesn't speak Redis' protocol")
            return
        if self._unread > MOST_UNREAD:
            self.close("its answer doesn't end")

    def connection_lost(self, exc: Exception | None) -> None:
        self.close("connection closed" if exc is None else f"connection lost ({type(exc).__name__})")

    def send(
        self, *command: Argument, orphan: Callable[[Heard], None] | None = None
    ) -> asyncio.Future[Heard]:
        """Sends a command.

        Args:
            orphan: told the answer where the future doesn't take it any more.

        Raises:
            StoreLost: the connection is gone, or too much is under way. What the future raises too.
        """
        transport = self._transport
        if self.over or transport is None or len(self._waiting) >= MOST_UNDER_WAY:
            raise StoreLost(self.over or "too many commands under way")
        now = self._clock.monotonic()
        waiting = _Waiting(self._loop.create_future(), now + self.timeout_s, orphan)
        self._waiting.append(waiting)
        data = hiredis.pack_command(command)  # type: ignore[arg-type]  # a tuple of any length; its stub says of one
        if len(self._waiting) == 1 and not self._unsent:
            transport.write(data)
        else:
            # Others are under way: what comes in this turn of the loop goes out together. A system call costs more than
            # all the rest.
            if not self._unsent:
                self._loop.call_soon(self._send_together)
            self._unsent.append(data)
        if self._timer is None:
            self._timer = self._loop.call_later(self.timeout_s, self._look)
        return waiting.future

    def _send_together(self) -> None:
        data, self._unsent = b"".join(self._unsent), []
        if not self.over and self._transport is not None:
            self._transport.write(data)

    def limit(self, timeout_s: float) -> None:
        """Another time limit from now on, for what is sent from now on."""
        self.timeout_s = timeout_s
        if self._timer is not None:  # it may be set for later than what comes now has time
            self._timer.cancel()
            self._look()

    def close(self, reason: str) -> None:
        """Gives the connection up, at once."""
        if self.over:
            return
        self.over = reason
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()  # nothing is flushed: a server that hangs would never read it
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            each.lose(reason)
        self._on_lost(self, reason)

    def _look(self) -> None:
        """Whether the oldest command's time is over. One timer serves all: they end in the order in which they began."""
        self._timer = None
        if not self._waiting:
            return
        left_s = self._waiting[0].until - self._clock.monotonic()
        if left_s <= 0:  # loops read sockets before they look at timers: what has come is no time-out
            self.close("timed out")
            return
        self._timer = self._loop.call_later(left_s, self._look)


class _Waiting:
    """A command without an answer."""

    __slots__ = ("future", "orphan", "until")

    def __init__(
        self, future: asyncio.Future[Heard], until: float, orphan: Callable[[Heard], None] | None
    ) -> None:
        self.future = future
        self.until = until
        self.orphan = orphan

    def answer(self, reply: Heard) -> None:
        if not self.future.done():
            self.future.set_result(reply)
        elif self.orphan is not None:
            self.orphan(reply)

    def lose(self, reason: str) -> None:
        if not self.future.done():
            self.future.set_exception(StoreLost(reason))
