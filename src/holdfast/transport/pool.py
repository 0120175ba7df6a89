"""Connections, kept per origin and used again; last in, first out, so that the rest can go cold and be closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from holdfast import failpoints
from holdfast.errors import ConnectFailed
from holdfast.transport.base import TransportStats
from holdfast.transport.connect import Connector
from holdfast.transport.http1 import Connection
from holdfast.transport.request_head import request_head
from holdfast.transport.tls import Trust
from holdfast.transport.tunnel import refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.transport.answer import Answer
    from holdfast.transport.base import Origin, Outgoing

__all__ = ["DEFAULT_IDLE_S", "HttpTransport"]

DEFAULT_IDLE_S: Final = 20.0
"""Shorter than the idle limit of common servers and balancers (60 s and more, 75 s in nginx), because a request that
meets their close in flight is lost, and a second one might be a second bill."""


class HttpTransport:
    """The ``Transport`` over real sockets: HTTP/1.1, pooled, as many connections as there are requests at a time.

    Proxies and CA files come with each :class:`Origin`. No environment variable is read: ``HTTPS_PROXY``, ``NO_PROXY``
    and their like change nothing. An ``https`` origin is reached by CONNECT, with TLS to the origin inside; a plain one is
    asked for at its proxy, whose own errors then look like the origin's, but for the one that nobody else says (407).

    Bound to the loop it is first used on. A request is written once and never again: where a used connection turns out
    to be closed before we wrote, another is taken; once bytes left, what happens is the caller's to know.
    """

    def __init__(
        self,
        *,
        idle_s: float = DEFAULT_IDLE_S,
        max_idle_per_origin: int = 256,
        ca_file: Path | str | None = None,
        verify: bool = True,
    ) -> None:
        """No I/O but reading ``ca_file``, at the first TLS connection.

        Args:
            idle_s: seconds an unused connection is kept, less where the server's ``Keep-Alive: timeout=`` says so.
            max_idle_per_origin: how many are kept for each origin.
            ca_file: PEM file of roots to trust beside the system's, for origins that name no file of their own.
            verify: False accepts any certificate: for tests on one's own machine.
        """
        self._idle_s = idle_s
        self._max_idle = max_idle_per_origin
        self._connector = Connector(Trust(ca_file=ca_file, verify=verify))
        self._pools: dict[
            Origin, _Pool
        ] = {}  # an entry for each origin ever used: they come from configuration
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def send(
        self, request: Outgoing, *, connect_s: float, on_sent: Callable[[], None] | None = None
    ) -> Answer:
        pool = self._pools.get(request.origin) or self._new_pool(request.origin)
        head = request_head(request, pool.host, pool.shown)
        if self._closed:
            raise RuntimeError("this transport is closed")
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("this transport belongs to another event loop: make one for each")
        connection = pool.take()
        if connection is None:
            connection = await self._connect(pool, request.origin, connect_s)
        if on_sent is not None:
            on_sent()
        answer = connection.start(head, request.body, no_body=request.method == "HEAD")
        if failpoints.armed:
            failpoints.hit("send.written")
        await answer.head()
        if answer.status == 407 and pool.shown is not None and request.origin.proxy is not None:
            answer.close()
            raise ConnectFailed(refusal(request.origin, request.origin.proxy, 407))
        return answer

    async def aclose(self) -> None:
        self._closed = True
        await self._connector.aclose()
        for pool in self._pools.values():
            await pool.aclose()

    def stats(self) -> TransportStats:
        """Over all origins."""
        pools = self._pools.values()
        return TransportStats(
            open=sum(len(pool.open) for pool in pools),
            idle=sum(len(pool.idle) for pool in pools),
            created=sum(pool.created for pool in pools),
            reused=sum(pool.reused for pool in pools),
        )

    def _new_pool(self, origin: Origin) -> _Pool:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        pool = self._pools[origin] = _Pool(origin, loop, idle_s=self._idle_s, max_idle=self._max_idle)
        return pool

    async def _connect(self, pool: _Pool, origin: Origin, connect_s: float) -> Connection:
        connection = await self._connector.connect(origin, pool.make, connect_s)
        if self._closed:
            connection.abort()
            raise ConnectFailed("the transport was closed while it connected")
        if connection.lost:
            raise ConnectFailed(f"{origin} closed the connection before anything was sent")
        pool.adopt(connection)
        return connection


class _Pool:
    """The connections of one origin."""

    def __init__(
        self, origin: Origin, loop: asyncio.AbstractEventLoop, *, idle_s: float, max_idle: int
    ) -> None:
        self.host = origin.authority.encode("latin-1")
        plain = origin.proxy if origin.scheme == "http" else None
        self.shown = plain.authorization if plain is not None else None
        """To the proxy with every request, where requests go to a proxy: else it is told once, with CONNECT."""
        self.open: set[Connection] = set()
        self.idle: list[Connection] = []  # in the order of their release: the coldest first
        self.created = 0
        self.reused = 0
        self._loop = loop
        self._idle_s = idle_s
        self._max_idle = max_idle
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None

    def make(self) -> Connection:
        return Connection(self._idled, self._lost)

    def adopt(self, connection: Connection) -> None:
        self.open.add(connection)
        self.created += 1

    def take(self) -> Connection | None:
        """The connection that was used last, if it is still good."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.expires_at > self._loop.time() and connection.usable():
                self.reused += 1
                return connection
            connection.abort()
        return None

    async def aclose(self) -> None:
        self._emptied = asyncio.Event()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.idle.clear()
        for connection in list(self.open):
            connection.shut("the transport was closed")
        if self.open:
            await self._emptied.wait()

    def _idled(self, connection: Connection) -> None:
        keep_s = min(self._idle_s, connection.idle_limit_s)
        if keep_s <= 0 or len(self.idle) >= self._max_idle or self._emptied is not None:
            connection.abort()
            return
        connection.expires_at = self._loop.time() + keep_s
        self.idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_at(connection.expires_at, self._sweep)

    def _lost(self, connection: Connection) -> None:
        self.open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if self._emptied is not None and not self.open:
            self._emptied.set()

    def _sweep(self) -> None:
        """One timer for all that are idle, instead of one to set and cancel for each request."""
        self._sweeper = None
        now = self._loop.time()
        kept = [connection for connection in self.idle if connection.expires_at > now]
        for connection in self.idle:
            if connection.expires_at <= now:
                connection.abort()
        self.idle = kept
        if kept:
            soonest = min(connection.expires_at for connection in kept)
            self._sweeper = self._loop.call_at(soonest, self._sweep)
