"""What the engine knows of a transport: one request out, one answer in. No timing but the connect limit, no retries.

Errors, by what happened to the request:

- ``ValueError``: it could not be written safely (a line break in a header); nothing was sent.
- ``ConnectFailed``: no connection, or a proxy that refused us; nothing was sent to the origin.
- :class:`ConnectionBroken` (a ``ConnectionLost``): it was sent, at least in part, and the answer didn't come whole.
- ``BadAnswer``: what came isn't HTTP, or goes beyond a limit (:class:`BodyTooLong`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from holdfast.errors import BadAnswer, ConnectionLost
from holdfast.transport.proxy import DEFAULT_PORTS, Proxy, host_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.transport.headers import Headers

__all__ = [
    "BodyTooLong",
    "ConnectionBroken",
    "Incoming",
    "Origin",
    "Outgoing",
    "Transport",
    "TransportStats",
    "read_whole",
]


class Origin(msgspec.Struct, frozen=True, cache_hash=True):
    """Where to connect, and how: connections are shared only by requests that have all of it in common.

    ``host`` is a name or an IP literal, IPv6 without brackets.
    """

    scheme: str
    host: str
    port: int
    proxy: Proxy | None = None
    """Reached through it, which also looks up the host's name. The environment's proxies are never used."""
    ca_file: str | None = None
    """PEM file of the roots to trust instead of the system's."""

    @classmethod
    def parse(cls, url: str, *, proxy: Proxy | None = None, ca_file: str | None = None) -> Origin:
        """The origin of an ``http`` or ``https`` URL.

        Raises:
            ValueError: another scheme, no host, a user name in it, or a port that is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError(f"the scheme of {parts.scheme}://… must be http or https")
        if not parts.hostname:
            raise ValueError("a base URL needs a host: https://host[:port]/path")
        if "@" in parts.netloc:
            raise ValueError("a base URL carries no user name or password: set an API key instead")
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        return cls(parts.scheme, host_of(parts), port, proxy, ca_file)

    @property
    def authority(self) -> str:
        """As the ``Host`` header has it: brackets around IPv6, the port only where it isn't the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Outgoing(msgspec.Struct, frozen=True):
    """One request, ready to be written.

    ``host`` and ``content-length`` are the transport's to write, and hop-by-hop headers have no place here: naming one
    is a ``ValueError``.
    """

    origin: Origin
    method: str
    target: str
    """``/path?query``, percent-encoded."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    def __repr__(self) -> str:
        names = b", ".join(name for name, _ in self.headers).decode(
            "latin-1"
        )  # names only: a value may be a secret
        return f"Outgoing({self.method} {self.origin}{self.target}, headers: {names}, {len(self.body)} bytes)"

    def __rich_repr__(
        self,
    ) -> list[tuple[str, Any]]:  # else a pretty printer would take the fields one by one
        return [("method", self.method), ("url", f"{self.origin}{self.target}"), ("bytes", len(self.body))]


class Incoming(Protocol):
    """One answer whose head is here and whose body is on its way. One reader at a time; :meth:`close` it in the end."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def until_eof(self) -> bool:
        """The body had no stated length: its end is the connection's, and a cut can't be told from an end."""
        ...

    async def read_some(self) -> bytes:
        """All bytes that came since the last call, joined; waits for the first; ``b""`` only at the true end.

        Bytes that came before an error are given out before it is raised. Cancelling it loses nothing: the next call goes
        on, and whoever is done calls :meth:`close`.

        Raises:
            ConnectionBroken: the connection ended before the body did.
            BadAnswer: the body isn't what its headers say, or its encoding is unknown.
        """
        ...

    def take(self) -> bytes | None:
        """What :meth:`read_some` would return without waiting; None where it would wait. Raises as it does."""
        ...

    async def read_all(self, limit: int) -> bytes:
        """The rest of the body, of at most ``limit`` bytes.

        Raises:
            BodyTooLong: there is more; the connection is closed.
            ConnectionBroken, BadAnswer: as :meth:`read_some`.
        """
        ...

    def close(self) -> None:
        """Ends it, at once and for good: the socket is aborted unless the answer was already complete. Idempotent."""
        ...

    def release(self, linger_s: float) -> None:
        """Like :meth:`close`, for a reader who has what it wanted while the last bytes (a chunk terminator) are due.

        They are awaited in the background for up to ``linger_s`` seconds and 16 KiB, so that the connection can be
        used again; then it is aborted.
        """
        ...


class TransportStats(msgspec.Struct, frozen=True):
    """Connections: open and idle now; made, and used another time, since the start."""

    open: int
    idle: int
    created: int
    reused: int


class Transport(Protocol):
    """Carries requests. Bound to one event loop."""

    async def send(
        self, request: Outgoing, *, connect_s: float, on_sent: Callable[[], None] | None = None
    ) -> Incoming:
        """Sends it and returns when the answer's head is there. Cancelling closes the connection.

        Args:
            request: what to send; it is sent at most once.
            connect_s: seconds for name look-up, TCP, proxy and TLS together, where a new connection is needed.
            on_sent: called just before the first byte leaves. If it wasn't, nothing was sent, whatever happened.
                If it was, ``ConnectFailed`` still says that nothing reached the origin (its proxy refused us).

        Raises:
            ValueError, ConnectFailed, ConnectionBroken, BadAnswer: see the module.
        """
        ...

    async def aclose(self) -> None:
        """Aborts what is open and waits until it is closed. Idempotent; nothing can be sent afterwards."""
        ...


class ConnectionBroken(ConnectionLost):
    """The connection ended before the answer did.

    ``silent`` when not one byte of the answer had come; ``reused`` when the connection had served before: then it may
    be that the server closed it, idle, just as we wrote. Whether it read the request can't be known.
    """

    def __init__(self, message: str, *, silent: bool, reused: bool) -> None:
        super().__init__(message)
        self.silent = silent
        self.reused = reused


class BodyTooLong(BadAnswer):
    """The body is longer than its reader allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer's body is longer than {limit} bytes")
        self.limit = limit


async def read_whole(incoming: Incoming, limit: int) -> bytes:
    """What :meth:`Incoming.read_all` does, in terms of :meth:`Incoming.read_some`."""
    parts: list[bytes] = []
    size = 0
    while part := await incoming.read_some():
        size += len(part)
        if size > limit:
            incoming.close()
            raise BodyTooLong(limit)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
