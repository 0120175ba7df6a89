"""HTTP/1.1 on the raw transport: requests in, one exchange at a time, and the notice when a client leaves."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import parse_qs

import httptools
import msgspec

from holdfast.chaos.play import Player, linger_reset

if TYPE_CHECKING:
    from holdfast.chaos.clock import Clock
    from holdfast.chaos.journal import End
    from holdfast.chaos.plan import Ending, Part, Reply, Shut

__all__ = ["Connection", "Exchange", "Handler", "Request"]

_MAX_HEAD = 65_536
_MAX_WAITING = 64  # pipelined requests
_ENDS: dict[Ending, End] = {
    "complete": "complete",
    "fin": "closed_by_us",
    "half_close": "half_closed_by_us",
    "reset": "reset_by_us",
}


class Request(msgspec.Struct):
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    keep_alive: bool
    http11: bool
    arrived_ns: int
    too_large: bool = False
    """The body was larger than allowed, and isn't here."""
    client: str | None = None
    """Address and port that it came from."""

    def header(self, name: bytes) -> bytes | None:
        """The value of the header with that lower-case name."""
        return next((value for known, value in self.headers if known == name), None)

    def argument(self, name: str) -> str | None:
        """The first value of that query parameter."""
        return next(iter(parse_qs(self.query).get(name, ())), None)


class Exchange(Protocol):
    """What wants to know how a reply went."""

    def head_sent(self) -> None: ...
    def served(self, size: int, parts: list[Part]) -> None: ...
    def ended(self, end: End) -> None: ...


class Handler(Protocol):
    """The server, as a connection sees it."""

    max_body: int
    clock: Clock

    def opened(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...
    def handle(self, request: Request) -> tuple[Reply, Exchange]: ...
    def shut(self, shut: Shut) -> None: ...
    def upgrade(
        self, request: Request, connection: Connection, transport: asyncio.Transport, rest: bytes
    ) -> tuple[Reply, Exchange] | None:
        """None: the transport has another protocol now, which got ``rest``, and takes the connection's place."""
        ...


class Connection(asyncio.Protocol):
    """One client. Requests that arrive during an exchange wait for its end."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._player: Player | None = None
        self._exchange: Exchange | None = None
        self._reply: Reply | None = None
        self._keep_alive = True
        self._half_closed = False
        self._client: str | None = None
        self._ours: End | None = None
        self._transport: asyncio.Transport
        self._new()

    def _new(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._body: list[bytes] = []
        self._body_size = 0

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class
        self._transport.set_write_buffer_limits(high=0)  # so that at most one write waits here: see play
        if peer := self._transport.get_extra_info("peername"):
            host, port = peer[:2]
            self._client = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._handler.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._half_closed:  # read, so that the client sees an open connection; nothing can be answered
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._keep_alive = False  # what would follow is another protocol
            if self._player is None and len(self._waiting) == 1:
                self._upgrade(self._waiting.popleft(), data[upgrade.args[0] :])
                return
        except httptools.HttpParserError as error:
            self._refuse_garbage(str(error))
            return
        self._go_on()

    def eof_received(self) -> bool:
        """A client that says it sends no more has left: none of ours half-closes and stays. Returns: close it."""
        if self._player is not None:
            self._player.abandon()
            self._left()
            self._transport.abort()  # a close would still flush the last write, which was not served in time
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._left()
        self._handler.closed(self)

    def pause_writing(self) -> None:
        if self._player is not None:
            self._player.block()

    def resume_writing(self) -> None:
        if self._player is not None:
            self._player.unblock()

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value) + 4
        if self._head_size <= _MAX_HEAD:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if any(name == b"expect" and value.lower() == b"100-continue" for name, value in self._headers):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size <= self._handler.max_body:
            self._body.append(body)
        else:
            self._body.clear()

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        self._waiting.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                path=path,
                query=query,
                headers=self._headers,
                body=b"".join(self._body),
                keep_alive=self._parser.should_keep_alive(),
                http11=self._parser.get_http_version() != "1.0",
                arrived_ns=time.monotonic_ns(),
                client=self._client,
                too_large=self._body_size > self._handler.max_body or self._head_size > _MAX_HEAD,
            )
        )
        self._new()

    # Exchanges.

    def _go_on(self) -> None:
        if len(self._waiting) > _MAX_WAITING:
            self.abort()
            return
        while self._player is None and self._waiting and not self._transport.is_closing():
            request = self._waiting.popleft()
            self._keep_alive = self._keep_alive and request.keep_alive
            reply, exchange = self._handler.handle(request)
            self._play(reply, exchange, http11=request.http11)

    def _upgrade(self, request: Request, rest: bytes) -> None:
        """Another protocol goes on from here; what the server has no other one for is served as plain HTTP/1.1."""
        refused = self._handler.upgrade(request, self, self._transport, rest)
        if refused is not None:
            self._play(*refused, http11=request.http11)

    def _play(self, reply: Reply, exchange: Exchange, *, http11: bool) -> None:
        self._reply = reply
        self._exchange = exchange
        self._keep_alive = self._keep_alive and (reply.length is not None or http11)
        self._player = Player(
            self._transport,
            reply,
            clock=self._handler.clock,
            http11=http11,
            close=not self._keep_alive,
            served=exchange.served,
            head_sent=exchange.head_sent,
            done=self._played,
        )
        self._player.start()

    def _played(self) -> None:
        """Our side of the exchange is over: end it as the reply says."""
        assert self._reply is not None  # noqa: S101  # only a playing player calls this
        ending, shut = self._reply.ending, self._reply.shut
        if self._player is not None:
            self._player.stop()
        self._end(_ENDS[ending])
        if shut is not None:
            self._handler.shut(shut)
        if ending == "reset":
            linger_reset(self._transport)
        elif ending == "half_close":
            self._half_closed = True
            self._transport.write_eof()
        elif ending == "fin" or not self._keep_alive:
            self._transport.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _end(self, end: End) -> None:
        exchange, self._exchange = self._exchange, None
        self._player = None
        self._reply = None
        if exchange is not None:
            exchange.ended(end)

    def _left(self) -> None:
        if self._player is not None:
            self._player.stop()
            self._end(self._ours or "client_left")

    def _refuse_garbage(self, why: str) -> None:
        if self._player is None:
            error = {"message": f"This is no HTTP/1.1 request: {why}.", "type": "invalid_request_error"}
            body = msgspec.json.encode({"error": {**error, "param": None, "code": None}})
            head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self._transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self._ours = "closed_by_us"
        self._transport.close()

    def abort(self) -> None:
        """End it now, from our side."""
        self._ours = "closed_by_us"
        self._transport.abort()
