"""A tunnel through a proxy: CONNECT (RFC 9110 §9.3.6), then TLS with the origin inside it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Final, cast

from holdfast.errors import ConnectFailed
from holdfast.transport.proxy import authority_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from holdfast.transport.base import Origin
    from holdfast.transport.http1 import Connection
    from holdfast.transport.proxy import Proxy

__all__ = ["MAX_PROXY_HEAD_BYTES", "Tunnel", "refusal", "verdict"]

MAX_PROXY_HEAD_BYTES: Final = 16 * 1024
"""Of all that a proxy may say, interim answers included, before its verdict is known."""

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r\n")
_BEGIN: Final = b"HTTP/1."
_AUTHORITY: Final = re.compile(r"[!-~]+")


class Tunnel(asyncio.Protocol):
    """An asyncio protocol for the connection to a proxy, until the origin's own takes its place."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._said = b""
        self._verdict: asyncio.Future[int | str] | None = None
        """A result in every case: an exception that a cancelled caller never fetches would be reported by the loop."""
        self._lost = False

    async def connect(self, origin: Origin, proxy: Proxy) -> None:
        """Asks for the tunnel and waits until it stands.

        Raises:
            ConnectFailed: the proxy said no, or nothing that can be understood.
            ValueError: the origin's host can't be written.
        """
        authority = authority_of(origin.host, origin.port)
        if not _AUTHORITY.fullmatch(authority):
            raise ValueError("the origin's host has characters that can't be in a request")
        head = f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n".encode()
        if proxy.credentials is not None:
            head += b"proxy-authorization: %b\r\n" % proxy.authorization
        said: int | str = "closed the connection before it was asked"
        if not self._lost:
            self._verdict = asyncio.get_running_loop().create_future()
            self.transport.write(head + b"\r\n")
            said = await self._verdict
        if isinstance(said, str):
            raise ConnectFailed(f"no tunnel to {origin}: the proxy {proxy} {said}")
        if not 200 <= said < 300:
            raise ConnectFailed(refusal(origin, proxy, said))

    async def secure(
        self, origin: Origin, context: ssl.SSLContext, factory: Callable[[], Connection]
    ) -> Connection:
        """TLS with the origin; its connection is handed over to what speaks HTTP on it.

        Raises:
            OSError: the handshake failed, or the tunnel ended in it.
        """
        transport = None
        if not self._lost and not self.transport.is_closing():
            self._mend()
            transport = await asyncio.get_running_loop().start_tls(
                self.transport, self, context, server_hostname=origin.host
            )
        # Where the connection ends in the handshake without a word, asyncio may return None, and uvloop a transport that
        # never was secured and will never say anything.
        if transport is None or self._lost or transport.get_extra_info("ssl_object") is None:
            raise ConnectionResetError("the tunnel was closed")
        connection = factory()
        connection.connection_made(transport)
        transport.set_protocol(connection)
        return connection

    def abort(self) -> None:
        """Closes the socket at once."""
        self._lost = True
        self.transport.abort()

    def _mend(self) -> None:
        # In TLS inside TLS, asyncio 3.11 answers a failed handshake by calling a method of its own with one argument too
        # many: the reason is lost, and a TypeError reported. uvloop's transports take no attributes, and need none.
        transport = self.transport
        if transport.get_extra_info("ssl_object") is not None:
            with contextlib.suppress(AttributeError):
                setattr(transport, "_force_close", lambda _: transport.abort())  # noqa: B010  # private to asyncio

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class

    def data_received(self, data: bytes) -> None:
        if self._verdict is None or self._verdict.done():
            self.abort()  # neither a proxy before CONNECT nor an origin before its request has anything to say
            return
        self._said += data
        said = verdict(self._said)
        if said is not None:
            self._verdict.set_result(said)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._verdict is not None and not self._verdict.done():
            how = "closed" if exc is None else "reset"
            self._verdict.set_result(f"{how} the connection before it answered")


def verdict(said: bytes) -> int | str | None:
    """What a proxy answered to CONNECT: its status, or in words what it did instead; None: there is more to come."""
    nonsense = "answered with something that isn't HTTP"
    if len(said) > MAX_PROXY_HEAD_BYTES:
        return f"answered with more than {MAX_PROXY_HEAD_BYTES} bytes"
    while True:
        if said[: len(_BEGIN)] != _BEGIN[: len(said)]:
            return nonsense
        head, end, said = said.partition(b"\r\n\r\n")
        if not end:
            return None
        line = _STATUS_LINE.match(head + end)
        if line is None:
            return nonsense
        status = int(line[1])
        if status >= 200 or status == 101:
            return "sent bytes of its own into the tunnel" if said and status < 300 else status


def refusal(origin: Origin, proxy: Proxy, status: int) -> str:
    """A sentence for a proxy's no. None of its own words are in it: they may quote what it was shown."""
    if status != 407:
        return f"no tunnel to {origin}: the proxy {proxy} refused it with status {status}"
    if proxy.credentials is None:
        return f"no connection to {origin}: the proxy {proxy} asks for a user name and password (407)"
    return (
        f"no connection to {origin}: the proxy {proxy} refused the user name and password it was shown (407)"
    )
