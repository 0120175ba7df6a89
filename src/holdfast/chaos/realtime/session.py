"""One session: the connection after its handshake, and what each of the client's events does."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from holdfast.chaos.draws import Draw
from holdfast.chaos.realtime.commands import COMMANDS
from holdfast.chaos.realtime.conversation import Conversation
from holdfast.chaos.realtime.events import Events
from holdfast.chaos.realtime.hearing import Hearing
from holdfast.chaos.realtime.line import Line
from holdfast.chaos.realtime.preferences import Preferences
from holdfast.chaos.realtime.scene import scene
from holdfast.chaos.realtime.speech import Speech
from holdfast.chaos.realtime.talk import Talk
from holdfast.chaos.realtime.wrong import Wrong, checked
from holdfast.chaos.wire.base import Place

if TYPE_CHECKING:
    from websockets.server import ServerProtocol

    from holdfast.chaos.chat import Attempt
    from holdfast.chaos.clock import Clock, Timer
    from holdfast.chaos.http import Request
    from holdfast.chaos.journal import End
    from holdfast.chaos.plan import Reply, Shut
    from holdfast.chaos.realtime.conversation import Stored
    from holdfast.chaos.realtime.handshake import Visit
    from holdfast.chaos.realtime.settings import RealtimeSettings
    from holdfast.chaos.settings import Pace
    from holdfast.chaos.wire.base import Wire

__all__ = ["Host", "RealtimeConnection"]

_GOING_AWAY = 1001
_BURST = 256  # events of one client before others get their turn


class Host(Protocol):
    """The server, as a session sees it."""

    settings: RealtimeSettings

    @property
    def clock(self) -> Clock: ...
    @property
    def seed(self) -> int: ...
    @property
    def pace(self) -> Pace: ...
    def attempt(self, request: Request, wire: Wire, place: Place) -> tuple[Reply, Attempt]: ...
    def closed(self, session: RealtimeConnection) -> None: ...
    def shut(self, shut: Shut) -> None: ...


class RealtimeConnection(asyncio.Protocol):
    """One client in its session, from the answer to its handshake on."""

    line: Line

    def __init__(self, host: Host, visit: Visit, attempt: Attempt, number: int) -> None:
        model = visit.model or ""
        draw = Draw(host.seed, f"{model} (session)", number)
        self.clock = host.clock
        self.azure = visit.azure
        self.conversation = Conversation()
        self.preferences = Preferences(
            f"sess_{draw.hex('session', 21)}", model, int(time.time() + host.settings.session_s)
        )
        self.events = Events(draw.hex("events", 10))
        self.hearing = Hearing(self, host.settings.turn_s)
        self._host = host
        self._visit = visit
        self._attempt = attempt  # the connection's own
        self._draw = draw
        self._ids = 0
        self._conversation_id = f"conv_{draw.hex('conversation', 21)}"
        self._spoken = False
        self._talks: dict[str, Talk] = {}
        self._inbox: deque[bytes | None] = deque()
        self._turn: asyncio.Handle | None = None
        self._reading = True
        self._end: End | None = None
        self._expiry: Timer | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport

    @property
    def pace(self) -> Pace:
        return self._host.pace

    def take_over(
        self, transport: asyncio.Transport, protocol: ServerProtocol, head: bytes, rest: bytes
    ) -> None:
        """Go on where HTTP ended: ``head`` answers the handshake, ``rest`` came behind it."""
        self._transport = transport
        transport.set_protocol(self)
        self.line = Line(transport, protocol, self.clock, count=self._count, free=self._free)
        self._attempt.head_sent()
        self.line.greet(head)
        expires = self.clock.now() + self._host.settings.session_s
        self._expiry = self.clock.call_at(expires, self._expire)
        self.tell("session.created", session=self.preferences.values)
        if rest:
            self.data_received(rest)

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        if self.line.deaf:
            return
        self._inbox.extend(self.line.receive(data))
        if self._turn is None:
            self._work()
        if self.line.over:
            self._over(self.line.end)

    def eof_received(self) -> bool:
        """A client that says it sends no more has left. Returns: close it."""
        self.line.abandon()
        self._over(self.line.end)
        self._transport.abort()  # a close would still flush the last write, which was not served in time
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._over(self.line.end)
        self.line.stop()
        if self._expiry is not None:
            self._expiry.cancel()
        if self._turn is not None:
            self._turn.cancel()
        self._host.closed(self)

    def pause_writing(self) -> None:
        self.line.block()

    def resume_writing(self) -> None:
        self.line.unblock()

    def abort(self) -> None:
        """End it now, from our side."""
        self.ending("closed_by_us")
        self._transport.abort()

    # What the client says.

    def _work(self) -> None:
        """Do what the client's events say, while there is room for what they call forth."""
        self._turn = None
        for _ in range(_BURST):
            if not self._inbox or self.line.full or self.line.deaf:
                break
            self._hear(self._inbox.popleft())
        if self._inbox and not self.line.full and not self.line.deaf:
            self._turn = self._loop.call_soon(self._work)
        reading = self.line.deaf or not (self._inbox or self.line.full)
        if reading != self._reading and not self._transport.is_closing():
            self._reading = reading
            (self._transport.resume_reading if reading else self._transport.pause_reading)()

    def _hear(self, message: bytes | None) -> None:
        event_id: str | None = None
        try:
            value = _decoded(message)
            given = value.get("event_id")
            event_id = given if isinstance(given, str) else None
            if (command := COMMANDS.get(str(value.get("type")))) is None:
                raise _unknown(value)
            command.do(self, checked(value, command.shape), message or b"")
        except Wrong as wrong:
            error = {
                "type": "invalid_request_error",
                "code": wrong.code,
                "message": wrong.message,
                "param": wrong.param,
            }
            self.line.send(self.events.error(error, event_id))

    def tell(self, kind: str, /, **fields: Any) -> None:
        """An event of the session's own."""
        self.line.send(self.events.make(kind, **fields))

    def new_id(self, prefix: str) -> str:
        """An id that nothing else in this session has."""
        self._ids += 1
        return f"{prefix}_{self._draw.hex(f'{prefix} {self._ids}', 21)}"

    # Responses.

    @property
    def active(self) -> Talk | None:
        """The response that adds to the conversation."""
        return next((talk for talk in self._talks.values() if talk.in_conversation), None)

    @property
    def spoken(self) -> bool:
        """Whether there was audio output."""
        return self._spoken

    def respond(self, given: dict[str, Any], prompt: list[Stored] | None, body: bytes) -> None:
        """Begin a response; ``given`` is the object ``response``. Raises :class:`Wrong`."""
        apart = given.get("conversation") == "none"
        if not apart and (active := self.active) is not None:
            message = (
                f"Conversation already has an active response in progress: {active.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise Wrong("conversation_already_has_active_response", message)
        stage = scene(
            self.preferences, given, self.conversation, prompt, self._conversation_id, azure=self.azure
        )
        spare = self.new_id("resp")
        speech = Speech(self._visit.key, stage, spare)
        request = msgspec.structs.replace(self._visit.request, body=body, arrived_ns=time.monotonic_ns())
        self._spoken = self._spoken or stage.audio
        reply, attempt = self._host.attempt(
            request, speech, Place(model=stage.asked.model, stream=True, sse=False)
        )
        talk = self._talks[spare] = Talk(self, speech, reply, attempt)
        talk.start()

    def cancel(self, response_id: str | None) -> bool:
        """Break off a response, by default the conversation's; whether there is one."""
        talk = self.active
        if response_id is not None:
            talk = next((talk for talk in self._talks.values() if talk.id == response_id), None)
        if talk is None:
            return False
        talk.cancel("client_cancelled")
        return True

    # What responses call.

    def over(self, talk: Talk) -> None:
        for name in [name for name, known in self._talks.items() if known is talk]:
            del self._talks[name]

    def ending(self, end: End) -> None:
        """We end the connection; all that runs on it ends so."""
        self._over(end)

    def shut(self, shut: Shut) -> None:
        self._host.shut(shut)

    def _over(self, end: End) -> None:
        if self._end is None:
            self._end = end
            for talk in tuple(self._talks.values()):  # a goodbye in the middle of one is no end of it
                talk.left("client_left" if end == "complete" else end)
            self._talks.clear()
            self._attempt.ended(end)

    def _expire(self) -> None:
        if not self.line.open:  # hung, or ending already
            return
        minutes = self._host.settings.session_s / 60
        message = f"Your session hit the maximum duration of {minutes:g} minutes."
        error = {"type": "invalid_request_error", "code": "session_expired", "message": message}
        self.line.send(self.events.error(error))
        self.ending("closed_by_us")
        self.line.close(_GOING_AWAY)

    # What the line calls.

    def _count(self, size: int) -> None:
        """All bytes are the connection's; those of a response are also its own."""
        if self._end is None:
            self._attempt.entry.bytes_sent += size

    def _free(self) -> None:
        talks = list(self._talks.items())
        if len(talks) > 1:  # each is first in turn
            self._talks = dict([*talks[1:], talks[0]])
        for _, talk in talks:
            talk.free()
        if self._turn is None:
            self._work()


def _decoded(message: bytes | None) -> dict[str, Any]:
    if message is None:
        raise Wrong("invalid_event", "Events are sent as text messages.")
    try:
        value = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Wrong("invalid_json", "We could not parse the JSON of your event.") from None
    if not isinstance(value, dict):
        raise Wrong("invalid_type", "An event is a JSON object.")
    if "type" not in value:
        raise Wrong("missing_required_parameter", "Missing required parameter: 'type'.", "type")
    return cast("dict[str, Any]", value)


def _unknown(value: dict[str, Any]) -> Wrong:
    known = ", ".join(f"'{name}'" for name in COMMANDS)
    return Wrong("invalid_value", f"Invalid value: '{value['type']}'. Supported values are: {known}.", "type")
