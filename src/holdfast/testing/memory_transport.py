"""A transport without sockets: what the "server" answers is a value, and when it does is the loop's (virtual) time.

::

    async def handler(request: Outgoing) -> Reply:
        return Reply(200, segments=((0.5, b"data: 1\\n\\n"), (3600, b"data: [DONE]\\n\\n")))

    transport = MemoryTransport(handler)

It keeps the contract of :class:`holdfast.transport.Transport` with the same errors, so that an engine can't tell it from
sockets, and it counts what sockets would show: every exchange, how it ended, and whether its reader closed it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeAlias

import msgspec

from holdfast.errors import BadAnswer, ConnectFailed, HoldfastError
from holdfast.transport import ConnectionBroken, Headers, Outgoing, TransportStats
from holdfast.transport.base import read_whole

__all__ = ["Ending", "Exchange", "Handler", "MemoryAnswer", "MemoryTransport", "Reply"]

Ending: TypeAlias = Literal["complete", "cut", "reset", "hang", "malformed"]
"""How a reply ends: whole; the connection's clean end before the body's; a reset; never; with bytes that aren't HTTP."""


class Reply(msgspec.Struct, frozen=True):
    """What the server does with one request.

    With ``status=None`` the exchange ends as ``ending`` says before a byte of the answer came.
    """

    status: int | None = 200
    headers: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    segments: tuple[tuple[float, bytes], ...] = ()
    """``(delay_s, bytes)``: each delay counts from the segment before it, the first from the head."""
    ending: Ending = "complete"
    connect_s: float = 0.0
    """How long connecting takes; beyond the caller's limit it fails as timed out."""
    refused: bool = False
    """No connection: nothing is sent."""
    head_s: float = 0.0
    """From the request's arrival to the answer's head, or to the failure in its place."""
    end_s: float = 0.0
    """From the last segment to the ending."""
    until_eof: bool = False


Handler: TypeAlias = Callable[[Outgoing], Reply | Awaitable[Reply]]


class Exchange:
    """One request as the server saw it: what a real provider's journal would show."""

    def __init__(self, request: Outgoing, began_at: float) -> None:
        self.request = request
        self.began_at = began_at
        """The loop's time when it arrived."""
        self.ended_at: float | None = None
        self.ended: Literal["open", "complete", "broken", "closed"] = "open"
        """``closed``: the reader left before the end."""
        self.taken = 0
        """Body bytes that the reader took."""

    def end(self, how: Literal["complete", "broken", "closed"]) -> None:
        if self.ended == "open":
            self.ended = how
            self.ended_at = asyncio.get_running_loop().time()


class MemoryTransport:
    """The ``Transport`` whose other side is ``handler``: a callable or coroutine function, or a list of replies.

    A list is used up in order; one request more than replies is an ``AssertionError``.
    """

    def __init__(self, handler: Handler | list[Reply]) -> None:
        self._handler = handler if callable(handler) else _from_script(handler)
        self._open: set[MemoryAnswer] = set()
        self._closed = False
        self.exchanges: list[Exchange] = []

    async def send(
        self, request: Outgoing, *, connect_s: float, on_sent: Callable[[], None] | None = None
    ) -> MemoryAnswer:
        if self._closed:
            raise RuntimeError("this transport is closed")
        reply = self._handler(request)
        if inspect.isawaitable(reply):
            reply = await reply
        await _connect(reply, request, connect_s)
        if on_sent is not None:
            on_sent()
        exchange = Exchange(request, asyncio.get_running_loop().time())
        self.exchanges.append(exchange)
        try:
            await asyncio.sleep(reply.head_s)
            if reply.status is None:
                raise await _ending(reply.ending, silent=True)
        except asyncio.CancelledError:
            exchange.end("closed")
            raise
        except HoldfastError:
            exchange.end("broken")
            raise
        answer = MemoryAnswer(reply, reply.status, exchange, self._open.discard)
        self._open.add(answer)
        return answer

    async def aclose(self) -> None:
        self._closed = True
        for answer in list(self._open):
            answer.close()

    def stats(self) -> TransportStats:
        """``open`` counts the answers that are neither complete nor closed: 0 after a test, or something leaks."""
        created = len(self.exchanges)
        return TransportStats(open=len(self._open), idle=0, created=created, reused=0)


class MemoryAnswer:
    """The ``Incoming`` of a :class:`Reply`."""

    def __init__(
        self, reply: Reply, status: int, exchange: Exchange, on_end: Callable[[MemoryAnswer], None]
    ) -> None:
        self.status = status
        self.headers = Headers.of(reply.headers)
        self.until_eof = reply.until_eof
        self._reply = reply
        self._exchange = exchange
        self._on_end = on_end
        self._next = 0
        self._due = asyncio.get_running_loop().time()
        self._failure: HoldfastError | None = None
        self._closed = asyncio.Event()
        self._reading = False

    async def read_some(self) -> bytes:
        if self._reading:
            raise RuntimeError("somebody else is reading this answer")
        self._reading = True
        try:
            return await self._read()
        finally:
            self._reading = False

    def take(self) -> bytes | None:
        if self._closed.is_set():
            raise _closed()
        if self._failure is not None:
            raise self._failure
        if self._exchange.ended == "complete":
            return b""
        data = self._take_due()
        self._exchange.taken += len(data)
        return data or None

    async def read_all(self, limit: int) -> bytes:
        return await read_whole(self, limit)

    def close(self) -> None:
        self._closed.set()
        self._end("closed")

    def release(self, linger_s: float) -> None:
        """What is still due within ``linger_s`` seconds completes the exchange, as it would a connection."""
        left = self._reply.segments[self._next :]
        due = self._due + sum(delay for delay, _ in left) + self._reply.end_s
        if self._reply.ending == "complete" and due <= asyncio.get_running_loop().time() + linger_s:
            self._end("complete")
        self.close()

    async def _read(self) -> bytes:
        if self._closed.is_set():
            raise _closed()
        if self._failure is not None:
            raise self._failure
        if self._exchange.ended == "complete":
            return b""
        segments = self._reply.segments
        while self._next < len(segments):
            await self._until(self._due + segments[self._next][0])
            if data := self._take_due():
                self._exchange.taken += len(data)
                return data
        await self._until(self._due + self._reply.end_s)
        if self._reply.ending == "complete" or (self._reply.ending == "cut" and self.until_eof):
            self._end("complete")
            return b""
        if self._reply.ending == "hang":
            await self._closed.wait()
            raise _closed()
        self._failure = await _ending(self._reply.ending, silent=False)
        self._end("broken")
        raise self._failure

    def _take_due(self) -> bytes:
        """All segments whose time has come, joined: as bytes that wait in a socket are read at once."""
        now = asyncio.get_running_loop().time()
        parts: list[bytes] = []
        while self._next < len(self._reply.segments):
            delay, data = self._reply.segments[self._next]
            if self._due + delay > now:
                break
            self._due += delay
            self._next += 1
            parts.append(data)
        return b"".join(parts)

    async def _until(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        if due <= loop.time():
            return
        try:
            async with asyncio.timeout_at(due):
                await self._closed.wait()
        except TimeoutError:
            return
        raise _closed()

    def _end(self, how: Literal["complete", "broken", "closed"]) -> None:
        self._exchange.end(how)
        self._on_end(self)


def _from_script(replies: list[Reply]) -> Handler:
    script = iter(replies)

    def handler(request: Outgoing) -> Reply:
        reply = next(script, None)
        if reply is None:
            raise AssertionError(
                f"the script has {len(replies)} replies, and one more request came: {request.target}"
            )
        return reply

    return handler


async def _connect(reply: Reply, request: Outgoing, connect_s: float) -> None:
    await asyncio.sleep(min(reply.connect_s, connect_s))
    if reply.connect_s > connect_s:
        raise ConnectFailed(f"no connection to {request.origin} within {connect_s:g} s", timed_out=True)
    if reply.refused:
        raise ConnectFailed(f"no connection to {request.origin}: refused")


async def _ending(ending: Ending, *, silent: bool) -> HoldfastError:
    if ending == "hang":
        await asyncio.Event().wait()
    if ending == "malformed":
        return BadAnswer("the answer is no valid HTTP")
    where = "before a byte of the answer came" if silent else "in the middle of the answer"
    verb = "was reset" if ending == "reset" else "ended"
    return ConnectionBroken(f"the connection {verb} {where}", silent=silent, reused=False)


def _closed() -> ConnectionBroken:
    return ConnectionBroken("this answer was closed by its reader", silent=False, reused=False)
