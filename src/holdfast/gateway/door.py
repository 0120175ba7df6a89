"""One request of any dialect: a body in, an exchange through the engine, bytes out."""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from holdfast.dialects.gemini.array import ArrayFraming
from holdfast.engine.attempt import Limits
from holdfast.engine.exchange import KEEPALIVE_S, Call
from holdfast.errors import (
    Abandoned,
    BodyTooLarge,
    Draining,
    Forbidden,
    HoldfastError,
    InvalidRequest,
    LedgerUnavailable,
    ModelMissing,
    RequestRefused,
    RequestTimeout,
)
from holdfast.gateway.asgi import request_ids, respond
from holdfast.gateway.body import read_body
from holdfast.money.cost import format_usd
from holdfast.resilience.timeout import timers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.app import App
    from holdfast.config import Key
    from holdfast.engine.exchange import Exchange
    from holdfast.gateway.asgi import Request
    from holdfast.gateway.paths import Place
    from holdfast.resilience.timeout import Alarm

__all__ = ["Door", "Running", "respond_error"]

_log = structlog.get_logger("holdfast.gateway")

_TAG = re.compile(r"[\w.:/-]{1,64}")
_MAX_TAGS = 16
_WATCH_AFTER_S = 0.05


class Door:
    """Serves every dialect's requests: they differ in the place that they came to, and in nothing else."""

    __slots__ = ("_app", "_max_body", "_read_s")

    def __init__(self, app: App) -> None:
        self._app = app
        self._max_body = app.config.gateway.max_body_bytes
        self._read_s = app.config.gateway.read_s

    async def serve(self, request: Request, place: Place, key: Key | None, running: set[Running]) -> None:
        """Answers the request, whatever happens to it on the way.

        Raises:
            HoldfastError: it was refused before it was accepted; the caller of this method says so.
        """
        body = await read_body(request, limit=self._max_body, read_s=self._read_s)
        exchange = self._app.engine.exchange(self._call(request, place, key, body))
        run = Running(request, exchange, ArrayFraming() if place.array else None)
        running.add(run)
        try:
            await run.relay()
        except HoldfastError as error:
            if not exchange.accepted:
                raise
            if error.status >= 500:
                _log.warning("request failed", request_id=request.id, error=error.label, reason=error.message)
            request.told = _attribution(exchange)  # an error says as well how many attempts it took
            await respond_error(request, error)
        finally:
            running.discard(run)
            run.end()

    def _call(self, request: Request, place: Place, key: Key | None, body: bytes) -> Call:
        dialect = request.voice
        envelope = dialect.read_request(body)
        if place.model is not None or place.stream is not None:
            envelope = replace(
                envelope,
                model=envelope.model if place.model is None else place.model,
                stream=envelope.stream if place.stream is None else place.stream,
            )
        resolved = self._app.routes.resolve(envelope.model)
        if key is not None and not key.permits(resolved.route, envelope.model):
            raise Forbidden(f"the key {key.name!r} may not use the model {envelope.model!r}", param="model")
        headers = request.headers
        return Call(
            id=request.id,
            dialect=dialect,
            envelope=envelope,
            resolved=resolved,
            started_at=request.started_at,
            started_ns=request.started_ns,
            key=request.key,
            session=_session(request) if b"x-holdfast-session" in headers else None,
            tags=_tags(request) if b"x-holdfast-tags" in headers else {},
            limits=_limits(headers),
            headers=_forwarded(headers, dialect.forwarded) if dialect.forwarded else (),
            query=place.query,
        )


class Running:
    """One request on its way: the task that serves it, and what may cut it short."""

    __slots__ = (
        "_exchange",
        "_framing",
        "_request",
        "_sending_since",
        "_stall_timer",
        "_task",
        "_watch",
        "_watch_alarm",
    )

    def __init__(self, request: Request, exchange: Exchange, framing: ArrayFraming | None = None) -> None:
        self._request = request
        self._exchange = exchange
        self._framing = framing
        self._task: asyncio.Task[object] | None = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self._watch_alarm: Alarm | None = None
        self._sending_since: float | None = None
        self._stall_timer: Alarm | None = None

    async def relay(self) -> None:
        """Opens the exchange and hands its answer on."""
        # Most answers come sooner than this, and a client that leaves is noticed soon enough after it.
        self._watch_alarm = timers().call_at(
            self._exchange.clock.monotonic() + _WATCH_AFTER_S, self._start_watching
        )
        try:
            if self._exchange.call.envelope.stream:
                await self._stream()
            else:
                await self._exchange.open()
                await self._whole()
        except asyncio.CancelledError:
            reason = self._exchange.stopped
            task = self._task
            if reason is None or task is None:
                raise  # not ours: somebody ended the whole server
            task.uncancel()
            self._exchange.close()
            if isinstance(reason, Abandoned):
                await self._request.hang_up()
                return
            if not self._request.answered:
                raise reason from None
            await self._say_broken(reason)

    def stop(self, reason: HoldfastError) -> None:
        """Ends the request from outside: its client left, or the process is going down."""
        if self._task is not None and self._exchange.stopped is None:
            self._exchange.stop(reason)
            self._task.cancel()

    def end(self) -> None:
        self._task = None
        if self._watch_alarm is not None:
            self._watch_alarm.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._exchange.close()

    def _start_watching(self) -> None:
        self._watch = asyncio.create_task(self._watch_client())

    async def _watch_client(self) -> None:
        """After its body a client says nothing more: the next message is that it left, or that we are done."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.stop(Abandoned("the caller left before the answer was complete"))

    async def _whole(self) -> None:
        exchange = self._exchange
        body = await exchange.read()
        await respond(self._request, 200, body, headers=_attribution(exchange))

    async def _stream(self) -> None:
        exchange, send, framing = self._exchange, self._request.send, self._framing
        keepalive_s = exchange.call.resolved.policy.keepalive_s
        if keepalive_s > 0:
            if not await self._open_with_comments(keepalive_s):
                return
        else:
            await exchange.open()
        if not self._request.answered:
            await self._send_head(_attribution(exchange))
        self._arm_stall_timer()
        clock = exchange.clock
        while True:
            data = await exchange.read()
            more = not exchange.over
            if framing is not None:
                data = framing.feed(data) if more else framing.feed(data) + framing.finish()
            self._sending_since = clock.monotonic()
            await send({"type": "http.response.body", "body": data, "more_body": more})
            self._sending_since = None
            if not more:
                return

    async def _send_head(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Status and headers: from here on no failure can have a status of its own."""
        request = self._request
        request.answered = True
        framing = self._framing
        content_type = request.voice.stream_content_type if framing is None else framing.content_type
        fields = [
            (b"content-type", content_type.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *request_ids(request),
            *headers,
        ]
        await request.send({"type": "http.response.start", "status": 200, "headers": fields})

    async def _open_with_comments(self, keepalive_s: float) -> bool:
        """``keepalive_s``: 200 and comments before there is content. False where it then failed, and the client knows."""
        opening = asyncio.ensure_future(self._exchange.open())
        try:
            wait_s = keepalive_s
            while not (await asyncio.wait({opening}, timeout=wait_s))[0]:
                if not self._request.answered:
                    self._exchange.told_early()
                    await self._send_head([(b"x-holdfast-keepalive", b"early")])
                waiting = self._framed(self._request.voice.comment("waiting"))
                await self._request.send({"type": "http.response.body", "body": waiting, "more_body": True})
                wait_s = min(keepalive_s, KEEPALIVE_S)
            opening.result()
        except HoldfastError as error:
            if not self._request.answered:
                raise
            await self._say_broken(error)
            return False
        finally:
            if not opening.done():
                opening.cancel()
                await asyncio.wait({opening})
        return True

    async def _say_broken(self, error: HoldfastError) -> None:
        """The stream's last words: one error event, no end marker."""
        call = self._exchange.call
        frame = self._framed(call.dialect.error_frame(error, call.id))
        if self._framing is not None:
            frame += self._framing.finish()
        await self._request.send({"type": "http.response.body", "body": frame})

    def _framed(self, data: bytes) -> bytes:
        return data if self._framing is None else self._framing.feed(data)

    def _arm_stall_timer(self) -> None:
        """Looks now and then whether a send has been stuck: a timer for each send would cost more than the send."""
        limit_s = self._exchange.call.resolved.policy.client_stall_s
        when = self._exchange.clock.monotonic() + limit_s / 2
        self._stall_timer = timers().call_at(when, self._check_stall)

    def _check_stall(self) -> None:
        limit_s = self._exchange.call.resolved.policy.client_stall_s
        since = self._sending_since
        if since is not None and self._exchange.clock.monotonic() - since >= limit_s:
            self.stop(Abandoned(f"the caller did not read its stream for {limit_s:g} s (client_stall_s)"))
            return
        self._arm_stall_timer()


async def respond_error(request: Request, error: HoldfastError) -> None:
    """Says an error in the caller's dialect. What the caller got wrong, a provider that speaks it tells in its own words."""
    dialect = request.voice
    headers: list[tuple[bytes, bytes]] = [*request.told]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after_s)))
        headers.append((b"retry-after-ms", b"%d" % math.ceil(error.retry_after_s * 1000)))
    if not isinstance(error, LedgerUnavailable | Draining):
        headers.append(
            (b"x-should-retry", b"false")
        )  # we retried already: another layer of retries makes a storm
    if isinstance(error, Draining | BodyTooLarge | RequestTimeout):
        headers.append((b"connection", b"close"))
    if isinstance(error, RequestRefused | ModelMissing) and error.body and error.dialect == dialect.name:
        content_type = error.headers.get("content-type", "application/json").encode("latin-1")
        status, body = error.upstream_status, error.body
        headers += _forwarded(
            {name.encode("latin-1"): value.encode("latin-1") for name, value in error.headers.items()},
            dialect.forwarded,
        )
        await respond(request, status, body, content_type=content_type, headers=headers)
        return
    await respond(request, error.status, dialect.error_body(error, request.id), headers=headers)


def _attribution(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-holdfast-attempts", b"%d" % exchange.attempts)]
    target = exchange.target
    if target is not None:
        headers.append((b"x-holdfast-provider", target.provider.encode("latin-1", "replace")))
        headers.append((b"x-holdfast-model", target.model.encode("latin-1", "replace")))
        if target.deployment:
            headers.append((b"x-holdfast-deployment", target.deployment.encode("latin-1", "replace")))
        if exchange.dropped:
            headers.append((b"x-holdfast-dropped", ", ".join(exchange.dropped).encode("latin-1", "replace")))
        headers += exchange.forwarded
    if exchange.output_limit is not None:
        headers.append((b"x-holdfast-max-output-tokens", b"%d" % exchange.output_limit))
    if exchange.cost_nano is not None:
        headers.append((b"x-holdfast-cost-usd", format_usd(exchange.cost_nano).encode()))
    return headers


def _session(request: Request) -> str:
    session = request.header(b"x-holdfast-session") or ""
    if not _TAG.fullmatch(session):
        raise InvalidRequest(
            "x-holdfast-session must be 1 to 64 letters, digits and . : / _ -", param="x-holdfast-session"
        )
    return session


def _tags(request: Request) -> dict[str, str]:
    """``x-holdfast-tags: team=search,env=prod``."""
    tags: dict[str, str] = {}
    for pair in (request.header(b"x-holdfast-tags") or "").split(","):
        name, equals, value = pair.strip().partition("=")
        if not equals or not _TAG.fullmatch(name) or not _TAG.fullmatch(value):
            raise InvalidRequest(
                "x-holdfast-tags must look like team=search,env=prod, each part 1 to 64 letters, digits and . : / _ -",
                param="x-holdfast-tags",
            )
        tags[name] = value
    if len(tags) > _MAX_TAGS:
        raise InvalidRequest(
            f"x-holdfast-tags holds {len(tags)} tags: {_MAX_TAGS} at most", param="x-holdfast-tags"
        )
    return tags


def _limits(headers: Mapping[bytes, bytes]) -> Limits:
    """The time that the caller's SDK will wait: after it nobody listens."""
    read_s = _seconds(headers.get(b"x-stainless-read-timeout"))
    totals = [total for name in _TOTALS if (total := _seconds(headers.get(name))) is not None]
    return Limits(read_s, min(totals) if totals else None) if read_s is not None or totals else _NO_LIMITS


_NO_LIMITS = Limits()
_TOTALS = (b"x-stainless-timeout", b"x-server-timeout", b"x-request-timeout")  # the second is Google's SDK's


def _forwarded(
    headers: Mapping[bytes, bytes], prefixes: tuple[bytes, ...]
) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name, value) for name, value in headers.items() if name.startswith(prefixes))


def _seconds(value: bytes | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None  # nonsense limits nothing
    return seconds if math.isfinite(seconds) and seconds > 0 else None
