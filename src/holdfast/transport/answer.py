"""One answer on its way: what came and waits for its reader, and who waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.errors import BadAnswer, HoldfastError
from holdfast.transport.base import BodyTooLong, ConnectionBroken, read_whole
from holdfast.transport.encoding import Inflater

if TYPE_CHECKING:
    from holdfast.transport.headers import Headers
    from holdfast.transport.http1 import Connection

__all__ = ["Answer"]


class Answer:
    """The ``Incoming`` of a real connection."""

    __slots__ = (
        "_arrival",
        "_closed",
        "_connection",
        "_encoding",
        "_failure",
        "_held",
        "_inflater",
        "_linger",
        "_whole",
        "headers",
        "status",
        "until_eof",
    )

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.headers: Headers
        self.until_eof = False
        self._arrival: asyncio.Future[None] | None = None
        """What its reader waits for: the head, then bytes, the end or a failure."""
        self._linger: asyncio.TimerHandle | None = None
        self._connection: Connection | None = connection
        self._held: bytes | bytearray = b""
        self._encoding = ""
        self._inflater: Inflater | None = None
        self._failure: HoldfastError | None = None
        self._whole = False
        self._closed = False

    # The reader's side.

    async def head(self) -> None:
        """Waits for status and headers."""
        try:
            while not self.status:
                if self._failure is not None:
                    raise self._failure
                await self._news()
        except asyncio.CancelledError:
            self.close()  # nobody else holds it yet
            raise

    async def read_some(self) -> bytes:
        while (data := self.take()) is None:
            await self._news()
        return data

    def take(self) -> bytes | None:
        if not self._closed and (data := self._take()):
            return data
        if self._closed or self._failure is not None:
            raise self._why()
        if not self._whole:
            return None
        if self._inflater is not None:
            self._inflater.finish()
        return b""

    async def read_all(self, limit: int) -> bytes:
        if self._whole and not self._encoding and not self._closed:  # short, plain, mostly in one segment
            body = self._take()
            if len(body) > limit:
                raise BodyTooLong(limit)
            return body
        return await read_whole(self, limit)

    def close(self) -> None:
        self._closed = True
        self._held = b""
        connection = self._connection
        if connection is not None:
            self._let_go()
            connection.abort()
            self._wake()

    def release(self, linger_s: float) -> None:
        connection = self._connection
        if self._linger is not None:
            return
        if connection is None or not self.status:
            self.close()
            return
        self._closed = True
        self._held = b""
        self._linger = asyncio.get_running_loop().call_later(linger_s, self.close)
        connection.drain()

    def _take(self) -> bytes:
        held = self._held
        if held:
            self._held = b""
            if self._connection is not None:
                self._connection.resume()
        data = bytes(held)  # of bytes: itself, no copy
        return self._inflate(data) if self._encoding else data

    def _inflate(self, data: bytes) -> bytes:
        # An unknown encoding is found out here, not at the head: status and headers are worth something without it.
        try:
            if self._inflater is None:
                self._inflater = Inflater(self._encoding)
            if data or self._inflater.pending:
                return self._inflater.step(data)
        except BadAnswer as error:
            self._failure = error
        return b""

    async def _news(self) -> None:
        """Waits for the next call of :meth:`_wake`."""
        if self._arrival is not None:
            raise RuntimeError("somebody else is reading this answer")
        self._arrival = arrival = asyncio.get_running_loop().create_future()
        try:
            await arrival
        finally:
            self._arrival = None

    def _why(self) -> HoldfastError:
        connection = self._connection
        if connection is not None:  # the body's coding is at fault: what is left of it is for nobody
            self._let_go()
            connection.abort()
        return self._failure or ConnectionBroken(
            "this answer was closed by its reader", silent=False, reused=False
        )

    def _let_go(self) -> None:
        self._connection = None
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _wake(self) -> None:
        arrival = self._arrival
        if arrival is not None and not arrival.done():
            arrival.set_result(None)

    # The connection's side.

    @property
    def complete(self) -> bool:
        """The body's end is here, read or not."""
        return self._whole

    @property
    def unread(self) -> int:
        """Body bytes that wait for their reader, as they came."""
        return len(self._held)

    def begin(self, status: int, headers: Headers, encoding: str, *, until_eof: bool) -> None:
        """The head is here."""
        self.status = status
        self.headers = headers
        self.until_eof = until_eof
        self._encoding = encoding
        self._wake()

    def add(self, data: bytes) -> None:
        """Body bytes are here."""
        held = self._held
        if not held:
            self._held = data  # the usual case: given out as it came, without a copy
        elif type(held) is bytearray:
            held += data
        else:
            self._held = bytearray(held)
            self._held += data
        arrival = self._arrival
        if arrival is not None and not arrival.done():
            arrival.set_result(None)

    def finish(self, failure: HoldfastError | None = None) -> None:
        """The body's end is here, or the connection's before it."""
        if failure is None:
            self._whole = True
        else:
            self._failure = self._failure or failure
        self._let_go()
        self._wake()
