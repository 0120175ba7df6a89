"""Where sessions begin: a request is let in, or refused as any other would be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from holdfast.chaos.realtime.settings import RealtimeSettings
from holdfast.chaos.realtime.wire import Greeting
from holdfast.chaos.wire.base import Place
from holdfast.chaos.wire.errors import Problem

if TYPE_CHECKING:
    import asyncio

    from holdfast.chaos.chat import Attempt
    from holdfast.chaos.clock import Clock
    from holdfast.chaos.config import ChaosConfig
    from holdfast.chaos.http import Request
    from holdfast.chaos.plan import Reply, Shut
    from holdfast.chaos.realtime.session import RealtimeConnection
    from holdfast.chaos.settings import Pace
    from holdfast.chaos.wire.base import Wire

__all__ = ["Realtime", "Server"]


class Server(Protocol):
    """What sessions need of the server."""

    config: ChaosConfig
    clock: Clock
    max_body: int

    def attempt(self, request: Request, wire: Wire, place: Place) -> tuple[Reply, Attempt]:
        """An attempt at an answer: its reply, spoilt as the rules say, and its entry in the journal."""
        ...

    def refusal(self, request: Request, wire: Wire, problem: Problem) -> Reply: ...
    def opened(self, connection: RealtimeConnection) -> None: ...
    def closed(self, connection: RealtimeConnection) -> None: ...
    def shut(self, shut: Shut) -> None: ...


class Realtime:
    """The sessions of one server."""

    def __init__(self, server: Server, settings: RealtimeSettings | None = None) -> None:
        self.settings = settings or RealtimeSettings()
        self._server = server
        self._count = 0

    @property
    def clock(self) -> Clock:
        return self._server.clock

    @property
    def seed(self) -> int:
        return self._server.config.seed

    @property
    def pace(self) -> Pace:
        return self._server.config.pace

    def admit(
        self, request: Request, transport: asyncio.Transport | None = None, rest: bytes = b""
    ) -> tuple[Reply, Attempt | None] | None:
        """Let a request to a realtime path in, to a session on ``transport``; or the reply that refuses it."""
        # Not before they are needed: websockets comes with an extra, and who uses no session needs none.
        from holdfast.chaos.realtime.handshake import shake, visit
        from holdfast.chaos.realtime.session import RealtimeConnection

        guest = visit(request)
        wire = Greeting(guest.key, guest.model or "", azure=guest.azure)
        if guest.model is None:
            name = "model" if request.path != "/openai/realtime" else "deployment and api-version"
            message = f"Missing required parameter: '{name}'."
            problem = Problem(400, message=message, param="model", code="missing_required_parameter")
            return self._server.refusal(guest.request, wire, problem), None
        shaken = shake(request, self._server.max_body)
        if isinstance(shaken, Problem) or transport is None:
            problem = shaken if isinstance(shaken, Problem) else Problem(426)
            reply = self._server.refusal(guest.request, wire, problem)
            if problem.status == 426:
                reply.headers["upgrade"] = "websocket"
            return reply, None
        place = Place(operation="connect", model=guest.model, stream=True, sse=False)
        reply, attempt = self._server.attempt(guest.request, wire, place)
        if reply.length is not None and reply.status != 200:
            return reply, attempt
        # Whatever else was to happen to it happens to its responses.
        attempt.entry.skipped = [*attempt.entry.skipped, *attempt.entry.faults]
        attempt.entry.faults = []
        if attempt.ticket is not None:  # a capacity is for what is answered
            attempt.ticket.leave()
            attempt.ticket = None
        reply.status, reply.billing = 101, "nothing"
        self._count += 1
        session = RealtimeConnection(self, guest, attempt, self._count)
        protocol, head = shaken
        self._server.opened(session)
        session.take_over(transport, protocol, head, rest)
        return None

    # What sessions call.

    def attempt(self, request: Request, wire: Wire, place: Place) -> tuple[Reply, Attempt]:
        return self._server.attempt(request, wire, place)

    def closed(self, session: RealtimeConnection) -> None:
        self._server.closed(session)

    def shut(self, shut: Shut) -> None:
        self._server.shut(shut)
