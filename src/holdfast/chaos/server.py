"""The server: addresses, life and death, and who answers which path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdfast.chaos.admin import Admin
from holdfast.chaos.book import Book
from holdfast.chaos.chat import Chat
from holdfast.chaos.config import ChaosConfig
from holdfast.chaos.http import Connection
from holdfast.chaos.journal import Journal
from holdfast.chaos.plan import whole
from holdfast.chaos.wire.errors import Problem
from holdfast.chaos.wire.routes import Found, find, spoken

if TYPE_CHECKING:
    from holdfast.chaos.http import Exchange, Request
    from holdfast.chaos.journal import End
    from holdfast.chaos.plan import Part, Reply

__all__ = ["ChaosServer"]


class _Unseen:
    """An exchange that nobody follows."""

    def head_sent(self) -> None: ...
    def served(self, size: int, parts: list[Part]) -> None: ...
    def ended(self, end: End) -> None: ...


_UNSEEN = _Unseen()


class ChaosServer:
    """A provider that fails on purpose. ``await start()``, then ``base_url``; ``await stop()`` at the end."""

    def __init__(self, config: ChaosConfig | None = None) -> None:
        self.config = config or ChaosConfig()
        self.journal = Journal(self.config)
        self.max_body = self.config.max_body
        self.host = ""
        self.port = 0
        """The port that it listens on, once started."""
        self._book = Book(self.config)
        self._chat = Chat(self.config, self._book, self.journal)
        self._admin = Admin(self.config, self._book, self.journal)
        self._connections: set[Connection] = set()
        self._gone = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL, ``/v1`` included."""
        return f"{self.url}/v1"

    @property
    def url(self) -> str:
        """The server's root."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises OSError where that can't be."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=4096)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """Stop listening and end all connections; what still ran is in the journal as ``closed_by_us``."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await self._server.wait_closed()
        while self._connections:  # aborts take effect in the loop's next turn
            self._gone.clear()
            await self._gone.wait()
        self._server = None

    def script(self, pattern: str, source: Any) -> None:
        """Set the script of a model (pattern); its attempts count from 1 again. On the server's loop only."""
        self._book.set_scripts({pattern: source})

    def reset(self) -> None:
        """Forget the journal and the count of attempts. On the server's loop only."""
        self.journal.reset()
        self._book.reset()

    # What connections call.

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._gone.set()

    def handle(self, request: Request) -> tuple[Reply, Exchange]:
        found = find(request)
        if found is not None and found.place is not None and request.method == found.method:
            return self._chat.handle(request, found.wire, found.place)
        reply = self._other(request, found)
        if request.method == "HEAD":
            reply.parts = ()
        return reply, _UNSEEN

    def _other(self, request: Request, found: Found | None) -> Reply:
        """Whatever is no attempt at an answer, and isn't in the journal."""
        if request.too_large:
            return self._chat.refusal(request, spoken(request), Problem(413))
        if request.path.startswith("/admin/"):
            return self._admin.handle(request)
        if request.path == "/health":
            return whole(200, b'{"status":"ok"}') if _reads(request) else self._wrong_method(request, "GET")
        if found is None:
            message = f"Unknown request URL: {request.method} {request.path}."
            problem = Problem(404, message=message, code="unknown_url")
            return self._chat.refusal(request, spoken(request), problem)
        if found.place is not None or not _reads(request):
            return self._wrong_method(request, found.method)
        if not self._chat.authorized(request, found.wire):
            return self._chat.refusal(request, found.wire, Problem(name="invalid_api_key"))
        return whole(200, found.wire.models(self.config.models), found.wire.json_type)

    def _wrong_method(self, request: Request, allowed: str) -> Reply:
        message = f"Not allowed to do that here; use {allowed}."
        problem = Problem(405, message=message, code="method_not_allowed")
        reply = self._chat.refusal(request, spoken(request), problem)
        reply.headers["allow"] = allowed
        return reply


def _reads(request: Request) -> bool:
    return request.method in ("GET", "HEAD")
