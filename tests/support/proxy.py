"""A real forward proxy on a free port: CONNECT and absolute-form requests, recorded; it can ask for credentials and
misbehave. It shares no code with the product."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

__all__ = ["ForwardProxy", "Seen", "serving_proxy"]


@dataclass(frozen=True)
class Seen:
    """One request, as the proxy got it."""

    method: str
    target: str
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes = b""


@dataclass
class ForwardProxy:
    """What it is to do, and what it saw.

    Args:
        login: ``user:password`` that it demands, else 407.
        hosts: where names (and addresses) lead that only the proxy knows; others are looked up.
        misbehave: takes the place of all answers: gets reader and writer after the request was recorded.
    """

    login: str | None = None
    hosts: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    misbehave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    """Accepted since the start."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """A request was read."""
    deserted: asyncio.Event = field(default_factory=asyncio.Event)
    """No client is connected any more."""
    _open: int = 0

    def __post_init__(self) -> None:
        self.deserted.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open += 1
        self.deserted.clear()
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # a client that left
        finally:
            self._open -= 1
            if not self._open:
                self.deserted.set()
            await _close(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serves a request; True if another may follow on this connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _version = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.seen.append(Seen(method, target, headers, body))
        self.asked.set()
        if self.misbehave is not None:
            await self.misbehave(reader, writer)
            return False
        if not self._admits(headers):
            writer.write(
                b"HTTP/1.1 407 Who are you\r\nproxy-authenticate: Basic realm=x\r\ncontent-length: 0\r\n\r\n"
            )
            return True
        if method == "CONNECT":
            await self.tunnel(target, reader, writer)
            return False
        await self._forward(self.seen[-1], writer)
        return True

    def _admits(self, headers: dict[str, str]) -> bool:
        if self.login is None:
            return True
        return headers.get("proxy-authorization") == "Basic " + base64.b64encode(self.login.encode()).decode()

    async def _connect(self, authority: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = authority.rpartition(":")
        return await asyncio.open_connection(*self.hosts.get(authority, (host.strip("[]"), int(port))))

    async def tunnel(
        self,
        target: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        yes: bytes = b"HTTP/1.1 200 Connection established\r\nvia: 1.1 test\r\n\r\n",
    ) -> None:
        """Says ``yes`` and carries bytes both ways until a side is gone; says 502 if ``target`` can't be reached."""
        try:
            inner, outer = await self._connect(target)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
            return
        writer.write(yes)
        there, back = asyncio.create_task(_pump(reader, outer)), asyncio.create_task(_pump(inner, writer))
        try:  # when one side is gone, so is the tunnel
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        finally:
            outer.close()  # before any wait: it may be cancelled
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            await _close(outer)

    async def _forward(self, asked: Seen, writer: asyncio.StreamWriter) -> None:
        """Asks the origin on a connection of its own and passes the whole answer on."""
        _, _, rest = asked.target.partition("://")
        authority, slash, path = rest.partition("/")
        inner, outer = await self._connect(authority if ":" in authority else f"{authority}:80")
        kept = {
            name: value
            for name, value in asked.headers.items()
            if name not in ("proxy-authorization", "connection")
        }
        fields = "".join(f"{name}: {value}\r\n" for name, value in kept.items())
        outer.write(f"{asked.method} {slash}{path} HTTP/1.1\r\n{fields}\r\n".encode("latin-1") + asked.body)
        try:
            head = await inner.readuntil(b"\r\n\r\n")
            writer.write(head)
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            if length is not None:
                writer.write(await inner.readexactly(int(length[1])))
            else:  # chunked, piece by piece as it comes
                size = 1
                while size:
                    line = await inner.readuntil(b"\r\n")
                    size = int(line, 16)
                    writer.write(line + await inner.readexactly(size + 2))
        finally:
            await _close(outer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def serving_proxy(
    proxy: ForwardProxy, *, ssl: ssl.SSLContext | None = None
) -> AsyncIterator[ForwardProxy]:
    """``proxy`` on 127.0.0.1, its port set; ends with all its connections closed."""
    tasks: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await proxy.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        except Exception as error:  # noqa: BLE001  # raised again, in the test, when the proxy ends
            failures.append(error)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=ssl)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
    if failures:
        raise failures[0]
