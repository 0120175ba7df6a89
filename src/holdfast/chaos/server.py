"""The server: addresses, life and death, and who answers which path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.admin import Admin
from holdfast.chaos.bank import load_banks
from holdfast.chaos.book import Book
from holdfast.chaos.capacity import Places
from holdfast.chaos.chat import Chat
from holdfast.chaos.clock import HandClock, LoopClock
from holdfast.chaos.config import ChaosConfig
from holdfast.chaos.door import Door
from holdfast.chaos.errors import ChaosError
from holdfast.chaos.http import Connection
from holdfast.chaos.journal import Journal
from holdfast.chaos.plan import whole
from holdfast.chaos.realtime import Realtime, is_realtime
from holdfast.chaos.rules import Rules
from holdfast.chaos.wire.errors import Problem, Refused
from holdfast.chaos.wire.routes import Found, find, spoken

if TYPE_CHECKING:
    from holdfast.chaos.chat import Attempt
    from holdfast.chaos.clock import Clock, Timer
    from holdfast.chaos.http import Exchange, Request
    from holdfast.chaos.journal import End
    from holdfast.chaos.plan import Part, Reply, Shut
    from holdfast.chaos.realtime.session import RealtimeConnection
    from holdfast.chaos.wire.base import Place, Wire

__all__ = ["ChaosServer"]

_ANY_MODEL = ChaosConfig().models  # where none are named, any name is a model's


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
        self.clock: Clock
        self._rules = Rules(self.config)
        self._book = Book(self.config.max_keys)
        self._places = Places()
        self._chat = Chat(
            self.config,
            self._rules,
            load_banks(self.config.banks),
            self._book,
            self.journal,
            self._places,
        )
        self._admin = Admin(self)
        self._since = 0.0
        """The clock's second when the timeline began."""
        self._next_change: Timer | None = None
        self.realtime = Realtime(self, self.config.realtime)
        self._connections: set[Connection | RealtimeConnection] = set()
        self._gone = asyncio.Event()
        self._door: Door | None = None

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL, ``/v1`` included."""
        return f"{self.url}/v1"

    @property
    def url(self) -> str:
        """The server's root."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def now(self) -> float:
        """Seconds since the start, or the last reset, on the server's clock."""
        return self.clock.now() - self._since

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises OSError where that can't be, ChaosError for a journal's file."""
        self.clock = HandClock() if self.config.clock == "hand" else LoopClock()
        try:
            self.journal.open()
        except OSError as error:
            raise ChaosError(f"journal_file: {self.config.journal_file}: {error.strerror or error}") from None
        door = Door(lambda: Connection(self), self.clock)
        try:
            await door.open(host, port)
        except OSError:
            self.journal.close_file()
            raise
        self._door = door
        self.host, self.port = self._door.address
        self._follow_timeline()

    async def stop(self) -> None:
        """Stop listening and end all connections; what still ran is in the journal as ``closed_by_us``."""
        if self._door is None:
            return
        if self._next_change is not None:
            self._next_change.cancel()
        await self._door.close()
        for connection in tuple(self._connections):
            connection.abort()
        while self._connections:  # aborts take effect in the loop's next turn
            self._gone.clear()
            await self._gone.wait()
        self.journal.close_file()
        self._door = None

    # What may be changed while it runs, on the server's loop only.

    def script(self, pattern: str, source: Any) -> None:
        """Set the script of a model (pattern); its attempts count from 1 again. Raises :class:`ChaosError`."""
        self.set_scripts({pattern: source})

    def set_scripts(self, sources: dict[str, Any]) -> None:
        """Set the scripts of model patterns, all or none; attempts whose key fits one count from 1 again."""
        known = {
            pattern: s for pattern, s in self.config.scripts.items() if pattern.lower() not in _lower(sources)
        }
        self.reconfigure(msgspec.structs.replace(self.config, scripts={**known, **sources}))
        self._book.forget(sources)

    def reconfigure(self, config: ChaosConfig) -> None:
        """Go by ``config`` from the next attempt on; counts and journal stay. Raises :class:`ChaosError`."""
        self.config.check_live(config)
        # Whatever can fail comes first: a server never goes by half of a configuration.
        rules, banks = Rules(config), load_banks(config.banks)
        self._rules = rules
        self.config = config
        self.max_body = config.max_body
        self._chat.configure(config, rules, banks)
        self._follow_timeline()

    async def advance(self, seconds: float) -> int:
        """Let that time pass on a clock that is moved by hand; returns how many pauses ended. Raises :class:`ChaosError`."""
        if not isinstance(self.clock, HandClock):
            raise ChaosError('time passes by itself here; a clock that is moved by hand needs clock = "hand"')
        return await self.clock.advance(seconds)

    def reset(self, *, journal: bool = True, counts: bool = True) -> None:
        """Forget the journal; count attempts from 1, and begin the timeline and the limits, again."""
        if journal:
            self.journal.reset()
        if counts:
            self._book.reset()
            self._chat.reset()
            self._since = self.clock.now()
            self._follow_timeline()

    def _follow_timeline(self) -> None:
        """Set what windows decide for everybody, and come back when the next one begins or ends."""
        if self._next_change is not None:
            self._next_change.cancel()
            self._next_change = None
        if self._door is None:
            return
        timeline, now = self._rules.timeline, self.now
        self._places.set(timeline.capacity(now) or self.config.capacity)
        self._door.set(timeline.door(now))
        if (change := timeline.next_change(now)) is not None:
            self._next_change = self.clock.call_at(self._since + change, self._follow_timeline)

    # What connections call.

    def opened(self, connection: Connection | RealtimeConnection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection | RealtimeConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._gone.set()

    def shut(self, shut: Shut) -> None:
        if self._door is not None:
            self._door.shut(shut)

    def attempt(self, request: Request, wire: Wire, place: Place) -> tuple[Reply, Attempt]:
        return self._chat.handle(request, wire, place, self.now)

    def refusal(self, request: Request, wire: Wire, problem: Problem) -> Reply:
        return self._chat.refusal(request, wire, problem)

    def upgrade(
        self, request: Request, connection: Connection, transport: asyncio.Transport, rest: bytes
    ) -> tuple[Reply, Exchange] | None:
        if not is_realtime(request.path):
            return self.handle(request)
        refused = self.realtime.admit(request, transport, rest)
        if refused is None:
            self._connections.discard(connection)
            return None
        return refused[0], refused[1] or _UNSEEN

    def handle(self, request: Request) -> tuple[Reply, Exchange]:
        if is_realtime(request.path) and (refused := self.realtime.admit(request)) is not None:
            return refused[0], refused[1] or _UNSEEN
        found = find(request)
        if found is not None and found.place is not None and request.method == found.method:
            return self._chat.handle(request, found.wire, found.place, self.now)
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
        return self._models(request, found)

    def _models(self, request: Request, found: Found) -> Reply:
        """The list of models, a page of it, or one of them."""
        wire, names = found.wire, self.config.models
        if found.model is not None:
            if names != _ANY_MODEL and found.model not in names:
                return self._chat.refusal(request, wire, Problem(name="model_not_found"), found.model)
            return whole(200, wire.model(found.model), wire.json_type)
        try:
            return whole(200, wire.models(names, request), wire.json_type)
        except Refused as error:
            return self._chat.refusal(request, wire, error.problem)

    def _wrong_method(self, request: Request, allowed: str) -> Reply:
        message = f"Not allowed to do that here; use {allowed}."
        problem = Problem(405, message=message, code="method_not_allowed")
        reply = self._chat.refusal(request, spoken(request), problem)
        reply.headers["allow"] = allowed
        return reply


def _reads(request: Request) -> bool:
    return request.method in ("GET", "HEAD")


def _lower(names: dict[str, Any]) -> set[str]:
    return {name.lower() for name in names}
