"""One attempt at one target: send, watch, hand on. It ends in success, in one typed error, or by being closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import failpoints
from holdfast.dialects.base import Signal
from holdfast.engine.billing import Delivered
from holdfast.engine.guard import Guard, State
from holdfast.engine.pace import Pace, tokens_seen
from holdfast.errors import AuthRefused, BadAnswer, HoldfastError, OwnKeyRefused, ProviderError, TimedOut
from holdfast.resilience.retry_after import parse_retry_after
from holdfast.resilience.timeout import Limit, timers
from holdfast.transport.base import Outgoing

if TYPE_CHECKING:
    from holdfast.clock import Clock
    from holdfast.engine.call import Call
    from holdfast.engine.chain import Step
    from holdfast.engine.endpoint import Endpoint
    from holdfast.engine.lane import Lane
    from holdfast.engine.policy import Timeouts
    from holdfast.engine.resume import Replay
    from holdfast.engine.seams import Permit
    from holdfast.transport.base import Incoming, Transport

__all__ = ["MAX_ANSWER_BYTES", "Attempt"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""The largest whole answer: several images as base64 fit; a provider that never stops doesn't."""

_TOO_MANY = 429
_MAX_ERROR_BYTES = 1024 * 1024
_ERROR_BODY_S = 5.0
"""How long the body of an error answer may take: its status has said what matters."""
_TRAILER_S = 5.0
"""How long usage and the end marker may take once every choice has finished: the answer is whole by then."""
_LINGER_S = 1.0
"""How long a finished answer's connection may take to end its last chunk before it is closed instead of kept."""


class Attempt:
    """One call to one provider.

    Await :meth:`start` once: it returns when content is there, with the first bytes for the caller. Then await :meth:`more`
    until :attr:`done`. Call :meth:`close` in every case; cancelling any await closes the connection too.
    """

    __slots__ = (
        "_clock",
        "_deadline",
        "_idle_left",
        "_incoming",
        "_lane",
        "_pace",
        "_path",
        "_read_s",
        "_replay",
        "_scanner",
        "_size",
        "_stream",
        "_timers",
        "_total_is_callers",
        "_transport",
        "body",
        "endpoint",
        "first_byte_at",
        "first_token_at",
        "forwarded",
        "guard",
        "headers",
        "number",
        "permit",
        "sent",
        "slot",
        "started_at",
        "started_ns",
        "status",
        "step",
        "target",
        "upstream_id",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        step: Step,
        call: Call,
        lane: Lane,
        body: bytes,
        *,
        number: int,
        transport: Transport,
        clock: Clock,
        deadline: float,
        replay: Replay | None = None,
        permit: Permit | None = None,
        slot: int = 0,
    ) -> None:
        envelope, target = call.envelope, step.target
        self.endpoint = endpoint
        self.step = step
        self.target = target
        self.permit = permit
        """What the gate let it in with; whoever ends the attempt hands it back."""
        self.slot = slot
        """Under which number its money was set aside."""
        self.body = body
        self.number = number
        self.guard = Guard(
            call.dialect,
            choices=envelope.choices,
            wants_usage=envelope.wants_usage,
            usage_apart=lane.usage_apart,
        )
        self.headers = _headers(endpoint, call) if call.headers and lane.native else endpoint.headers
        self.forwarded: tuple[tuple[bytes, bytes], ...] = ()
        """Headers of the provider's answer that go to the caller unchanged."""
        self.sent = False
        """Bytes left for the provider: from here on it may bill."""
        self.status: int | None = None
        self.upstream_id: str | None = None
        self.started_ns = clock.wall_ns()
        self.started_at = clock.monotonic()
        self.first_byte_at: float | None = None
        self.first_token_at: float | None = None
        self._transport = transport
        self._timers = timers()
        self._clock = clock
        self._deadline = deadline
        self._read_s = call.limits.read_s
        self._size = 0
        asked_s = call.limits.total_s
        self._total_is_callers = asked_s is not None and asked_s < call.resolved.policy.total_s
        self._stream = envelope.stream
        self._replay = replay
        self._lane = lane
        self._path = endpoint.path_for(target.model, stream=envelope.stream)
        if call.query and lane.native:
            self._path += ("&" if "?" in self._path else "?") + call.query
        self._scanner = lane.scanner() if envelope.stream else None
        self._incoming: Incoming | None = None
        self._idle_left = self._tightened(target.timeouts.idle_s)
        least = target.timeouts.min_tokens_per_s
        self._pace = Pace(least) if least > 0 else None

    @property
    def done(self) -> bool:
        """The answer is whole: the guard says so, and nothing else does."""
        return self.guard.state is State.DONE

    async def start(self) -> bytes:
        """Runs until the answer is committed; returns what may go out by then.

        Raises:
            HoldfastError: the attempt failed, and the caller has seen nothing of it.
        """
        timeouts = self.target.timeouts
        name = "first_token_s" if self._stream else "answer_s"
        patience = self.started_at + self._tightened(
            timeouts.first_token_s if self._stream else timeouts.answer_s
        )
        try:
            with Limit(self._timers, min(patience, self._deadline)):
                incoming = await self._open(timeouts)
                refused = not 200 <= incoming.status < 300
                if self._stream and not refused:
                    await self._check_is_stream(incoming)
                    if self._replay is None:
                        return await self._until_commit(incoming)
        except TimeoutError:
            raise self._timed_out(name, patience) from None
        if (
            refused
        ):  # outside the limit: a status that was said in time isn't a timeout because its body is late
            raise await self._refusal(incoming)
        if self._stream:
            return await self._replayed(incoming)
        return await self._whole(incoming)

    async def more(self, patience_s: float) -> bytes | None:
        """The next bytes that may go out; None where ``patience_s`` passed without any. ``b""`` goes with :attr:`done`.

        Raises:
            HoldfastError: the answer broke after content had gone out.
        """
        guard = self.guard
        incoming = self._incoming
        if guard.fault is not None:
            raise guard.fault
        if self.done or incoming is None:
            return b""
        until = self._clock.monotonic() + patience_s
        while True:
            now = self._clock.monotonic()
            closing = guard.state is State.CLOSING
            idle = min(self._idle_left, _TRAILER_S) if closing else self._idle_left
            progress = guard.progress
            try:
                data = await self._next(incoming, now, min(now + idle, until))
            except TimeoutError:
                waited = self._clock.monotonic() - now
                self._idle_left = idle - waited
                self._check_pace(now)
                if waited < idle and until < self._deadline:
                    return None
                self._end_late(now + idle)
                return b""
            except HoldfastError as error:
                guard.lost(error)
                data = None
            out = self._take(data) if data is not None else b""
            if guard.progress != progress and not closing:
                self._idle_left = self._tightened(self.target.timeouts.idle_s)
            else:  # a trailer has its time once, whatever comes in it
                self._idle_left = idle - (self._clock.monotonic() - now)
            if out or self.done:
                self._check_pace(now)
                return out
            if guard.fault is not None:
                raise guard.fault

    @property
    def delivered(self) -> Delivered:
        """What came of the answer, whatever became of it. Of a plain one its bytes are counted as if all were text."""
        guard = self.guard
        repeated = 0 if self._replay is None else self._replay.matched
        return Delivered(tokens_seen(guard.progress, max(guard.said, self._size) + repeated), guard.usage)

    def closing(self) -> bytes:
        """Once :attr:`done`, of a stream: what was held back until then, and what belongs before the end marker."""
        return self.guard.closing() + self._lane.closing()

    def close(self) -> None:
        """Lets go of the connection: kept for the next request if the answer was read to its end, else cut at once."""
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        if self.done:
            incoming.release(_LINGER_S)
        else:
            incoming.close()

    async def _open(self, timeouts: Timeouts) -> Incoming:
        """Sends the request; returns its answer's head."""
        endpoint = self.endpoint
        request = Outgoing(endpoint.origin, "POST", self._path, self.headers, self.body)
        if failpoints.armed:
            failpoints.hit("send.connect")
        incoming = self._incoming = await self._transport.send(
            request, connect_s=timeouts.connect_s, on_sent=self._mark_sent
        )
        self.first_byte_at = self._clock.monotonic()
        self.status = incoming.status
        if failpoints.armed:
            failpoints.hit("send.head")
        if self.permit is not None:
            self.permit.heard(incoming.headers.get, refused=incoming.status == _TOO_MANY)
        if (upstream_id := incoming.headers.get(endpoint.dialect.request_id_header.decode())) is not None:
            self.upstream_id = endpoint.scrub_text(upstream_id)
        if self._lane.native and endpoint.dialect.forwarded:
            self.forwarded = tuple(
                (name.lower(), endpoint.scrub(value))
                for name, value in incoming.headers.raw
                if name.lower().startswith(endpoint.dialect.forwarded)
            )
        return incoming

    def _mark_sent(self) -> None:
        self.sent = True
        if failpoints.armed:
            failpoints.hit("send.writing")

    async def _refusal(self, incoming: Incoming) -> ProviderError:
        patience = min(self._clock.monotonic() + _ERROR_BODY_S, self._deadline)
        try:
            with Limit(self._timers, patience):
                body = await incoming.read_all(_MAX_ERROR_BYTES)
        except (HoldfastError, TimeoutError):
            body = b""  # the status is verdict enough
        error = self.endpoint.scrubbed(self.endpoint.dialect.refusal(incoming.status, body))
        if isinstance(error, AuthRefused):
            error = self._refused_key(error)
        asked_s = parse_retry_after(incoming.headers.get, self._clock.wall_ns() / 1e9)
        if asked_s is not None:  # else what the body says, where its dialect has a place for it
            error.retry_after_s = asked_s
        content_type = incoming.headers.get("content-type") or "application/json"
        error.headers = {
            "content-type": self.endpoint.scrub_text(content_type),
            **{name.decode("latin-1"): value.decode("latin-1") for name, value in self.forwarded},
        }
        return error

    def _refused_key(self, error: AuthRefused) -> AuthRefused:
        """Of our key, the provider's words are for us and not for our caller; of the caller's own, its body is."""
        endpoint, said = self.endpoint, error.upstream_status
        if endpoint.key_of == "shared":
            error.message = f"{endpoint.provider} refused the gateway's API key ({said})"
            return error
        whose = "your own" if endpoint.key_of == "caller" else "this tenant's own"
        refused = OwnKeyRefused(
            f"{endpoint.provider} refused {whose} API key ({said})",
            upstream_status=said,
            body=error.body,
            kind=error.kind,
        )
        refused.dialect = error.dialect
        return refused

    async def _until_commit(self, incoming: Incoming) -> bytes:
        guard = self.guard
        while True:
            # Finished without content: nothing has gone out, so what may still spoil it is waited for.
            finished = guard.state is State.CLOSING
            out = self._take(await (self._trailer(incoming) if finished else incoming.read_some()))
            if guard.spoke or self.done:
                return out
            if guard.fault is not None:
                raise guard.fault

    async def _trailer(self, incoming: Incoming) -> bytes:
        """What follows the last finish reason; ``b""`` where that doesn't come in its time, and isn't missed."""
        now = self._clock.monotonic()
        try:
            return await self._next(incoming, now, now + _TRAILER_S)
        except (HoldfastError, TimeoutError):
            return b""

    async def _replayed(self, incoming: Incoming) -> bytes:
        """A resumption's start: as long as it repeats what was delivered it isn't silent, so only gaps are bounded."""
        guard, replay = self.guard, self._replay
        now = self._clock.monotonic()
        idle = now + self._tightened(self.target.timeouts.idle_s)
        while True:
            before = (guard.progress, replay.matched if replay is not None else 0)
            try:
                data = await self._next(incoming, now, idle)
            except TimeoutError:
                raise self._timed_out("idle_s", idle) from None
            out = self._take(data)
            if guard.fault is not None and not out:
                raise guard.fault
            if out or self.done or (replay is not None and replay.complete and guard.committed):
                return out
            now = self._clock.monotonic()
            if before != (guard.progress, replay.matched if replay is not None else 0):  # else it was a ping
                idle = now + self._tightened(self.target.timeouts.idle_s)

    async def _whole(self, incoming: Incoming) -> bytes:
        """A plain answer: read to its end, then judged as the split that it stands for."""
        parts: list[bytes] = []
        idle_s = self._tightened(self.target.timeouts.idle_s)
        while True:
            now = self._clock.monotonic()
            idle = now + idle_s
            try:
                data = await self._next(incoming, now, idle)
            except TimeoutError:
                raise self._timed_out("idle_s", idle) from None
            if not data:
                break
            parts.append(data)
            self._size += len(data)
            if self._size > MAX_ANSWER_BYTES:
                raise BadAnswer(f"the provider's answer is larger than {MAX_ANSWER_BYTES} bytes")
        answer = parts[0] if len(parts) == 1 else b"".join(parts)
        self.first_token_at = self.first_byte_at
        guard = self.guard
        guard.feed(self._read_answer(answer))
        if guard.fault is not None:
            raise guard.fault
        if not self.done:
            raise BadAnswer("the provider's answer is not complete")
        return self._lane.whole(answer)

    async def _next(self, incoming: Incoming, now: float, when: float) -> bytes:
        """The next bytes of the body, until ``when`` or the deadline. What is there already needs no timer."""
        if now >= self._deadline:
            raise TimeoutError  # a provider that never pauses is bounded too
        data = incoming.take()
        if data is None:
            with Limit(self._timers, min(when, self._deadline)):
                data = await incoming.read_some()
        return data

    async def _check_is_stream(self, incoming: Incoming) -> None:
        """A stream was asked for. An error told as a whole answer is read as one; anything else isn't an answer."""
        content_type = (incoming.headers.get("content-type") or "text/event-stream").lower()
        if content_type.startswith("text/event-stream"):
            return
        if content_type.startswith("application/json"):
            for signal in self._read_answer(await incoming.read_all(_MAX_ERROR_BYTES)):
                if signal.error is not None:
                    raise signal.error
        shown = self.endpoint.scrub_text(content_type)
        raise BadAnswer(f"the provider answered a streamed request with {shown!r}")

    def _read_answer(self, body: bytes) -> list[Signal]:
        signals = self._lane.read_answer(body)
        for signal in signals:
            if signal.error is not None:
                self.endpoint.scrubbed(signal.error)
        return signals

    def _take(self, data: bytes) -> bytes:
        """Feeds the guard; ``b""`` is the end of the bytes."""
        guard, scanner = self.guard, self._scanner
        if scanner is None:
            raise RuntimeError("a plain answer has no stream to take from")
        try:
            signals = scanner.feed(data) if data else scanner.finish()
        except BadAnswer as error:
            signals = [Signal(b"", malformed=error.message)]
        if self._replay is not None:
            signals = self._replay.filter(signals)
        out = guard.feed(signals)
        if not data:
            guard.eof()
        if self.first_token_at is None and guard.content:
            self.first_token_at = self._clock.monotonic()
        if isinstance(guard.fault, ProviderError):
            self.endpoint.scrubbed(guard.fault)
        return out

    def _check_pace(self, since: float) -> None:
        """``min_tokens_per_s``, after a wait that began at ``since``. What came meanwhile still goes out."""
        guard, pace = self.guard, self._pace
        if pace is None or guard.state is not State.SPEAKING:
            return
        if pace.crawls(self._clock.monotonic() - since, tokens_seen(guard.progress, guard.said)):
            least = self.target.timeouts.min_tokens_per_s
            guard.lost(
                TimedOut(
                    f"the provider's stream crawls: fewer than {least:g} tokens a second (min_tokens_per_s)",
                    limit="min_tokens_per_s",
                    silent=False,
                )
            )

    def _end_late(self, idle: float) -> None:
        """A limit ran out while streaming. A whole answer stays whole; anything else is broken."""
        name = "idle_s" if idle < self._deadline else "total_s"
        said = f"the provider sent nothing for too long ({name})"
        self.guard.lost(TimedOut(said, limit=name, silent=False, hasty=self._is_callers(name)))
        if self.guard.fault is not None:
            raise self.guard.fault

    def _timed_out(self, name: str, when: float) -> TimedOut:
        if self._deadline <= when:
            name = "total_s"
        silent = self.first_byte_at is None
        what = "did not answer" if silent else "sent no content" if self._stream else "stopped in mid-answer"
        said = f"the provider {what} in time ({name})"
        return TimedOut(said, limit=name, silent=silent, hasty=self._is_callers(name))

    def _is_callers(self, name: str) -> bool:
        """The limit was the caller's own, and shorter than the target's."""
        if name == "total_s":
            return self._total_is_callers
        return self._read_s is not None and self._read_s < getattr(self.target.timeouts, name)

    def _tightened(self, limit_s: float) -> float:
        return limit_s if self._read_s is None else min(limit_s, self._read_s)


def _headers(endpoint: Endpoint, call: Call) -> tuple[tuple[bytes, bytes], ...]:
    """The provider's headers under the caller's own, which are of a dialect that both speak; keys are never among them."""
    return tuple({**dict(endpoint.headers), **dict(call.headers)}.items())
