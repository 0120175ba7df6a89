"""One request of any dialect: a body in, an exchange through the engine, bytes out."""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from holdfast import failpoints
from holdfast.config.own_view import CALLERS
from holdfast.dialects.gemini.array import ArrayFraming
from holdfast.engine.call import Call, Limits
from holdfast.engine.exchange import KEEPALIVE_S
from holdfast.engine.idempotency import Keyed
from holdfast.errors import (
    Abandoned,
    BodyTooLarge,
    Draining,
    Forbidden,
    HoldfastError,
    IdempotencyRunning,
    InvalidRequest,
    LedgerUnavailable,
    ModelMissing,
    OwnKeyRefused,
    RateExceeded,
    RequestRefused,
    RequestTimeout,
)
from holdfast.gateway.asgi import request_ids, respond
from holdfast.gateway.body import read_body
from holdfast.gateway.brought import Brought
from holdfast.gateway.budget_headers import warning_of
from holdfast.gateway.degraded_header import degraded_header, lost_for
from holdfast.gateway.rate_headers import rate_headers
from holdfast.gateway.session_id import SessionIds
from holdfast.gateway.tally import Tallies
from holdfast.ledger.idempotency import Answer
from holdfast.money.cost import format_usd
from holdfast.resilience.rate_meter import RateStatus
from holdfast.resilience.timeout import timers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.app import App
    from holdfast.config import Key
    from holdfast.dialects.base import Dialect
    from holdfast.engine.engine import Engine
    from holdfast.engine.exchange import Exchange
    from holdfast.engine.idempotency import Visitor
    from holdfast.gateway.asgi import Request
    from holdfast.gateway.paths import Place
    from holdfast.gateway.session_id import SessionName
    from holdfast.gateway.tally import Tally
    from holdfast.resilience.timeout import Alarm

__all__ = ["Door", "Running", "respond_error"]

_log = structlog.get_logger("holdfast.gateway")

_OK = 200
_RETRY_COUNT = b"x-stainless-retry-count"
_IDEMPOTENCY_KEY = b"idempotency-key"
_TOLD_AGAIN = (b"idempotency-replayed", b"true")
_TAG = re.compile(r"[\w.:/-]{1,64}")
_MAX_TAGS = 16
_WATCH_AFTER_S = 0.05
_SMALL = 65_536


class Door:
    """Serves every dialect's requests: they differ in the place that they came to, and in nothing else.

    There is one for each configuration: a request goes through the one that stood open when it came, and sees nothing of
    another, also where it takes a minute to send its body.

    Args:
        app: whose configuration of now it is.
        before: the door that stood open until now.
    """

    __slots__ = (
        "_brought",
        "_engine",
        "_max_body",
        "_read_s",
        "_runs",
        "_session_ids",
        "_tallies",
        "_tenants",
    )

    def __init__(self, app: App, before: Door | None = None) -> None:
        live = app.live
        config = live.config
        self._engine = live.engine
        self._tenants = live.tenants
        self._runs = app.runs
        self._brought = Brought(config) if live.tenants.takes_callers else None
        self._max_body = config.gateway.max_body_bytes
        self._read_s = config.gateway.read_s
        self._session_ids = SessionIds(config.session_ids_from)
        room = None if before is None else before._tallies.room  # noqa: SLF001  # one of us
        self._tallies: Tallies = Tallies(live.engine, room)

    def read_brought(self, request: Request, *, needed: bool) -> None:
        """Finds the keys to providers that came with ``request``; ``needed``: its caller has one of ours."""
        if self._brought is not None:
            request.brought = self._brought.of(request.headers, request.query, needed=needed)

    async def serve(self, request: Request, place: Place, key: Key | None, running: set[Running]) -> None:
        """Answers the request, whatever happens to it on the way.

        Raises:
            HoldfastError: it was refused before it was accepted; the caller of this method says so.
        """
        body = await read_body(request, limit=self._max_body, read_s=self._read_s)
        call = self._call(request, place, key, body)
        tally = self._tallies.of(call)
        exchange: Exchange | Visitor
        if _IDEMPOTENCY_KEY in request.headers and (tally is None or tally.native):
            exchange = self._runs.visit(_keyed(request, call, body, self._engine))
        else:
            exchange = self._engine.exchange(call)
        run = Running(request, exchange, ArrayFraming() if place.array else None, tally)
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
        admitted = self._tenants.resolve(request.key, envelope.model, dialect, request.brought)
        resolved = admitted.resolved
        if key is not None and not key.permits(resolved.route, envelope.model):
            raise Forbidden(f"the key {key.name!r} may not use the model {envelope.model!r}", param="model")
        headers = request.headers
        tags = _tags(request) if b"x-holdfast-tags" in headers else {}
        if key is not None and key.tags:
            tags = {**tags, **key.tags}  # its own: no caller chooses whose budget it is
        return Call(
            id=request.id,
            dialect=dialect,
            envelope=envelope,
            resolved=resolved,
            started_at=request.started_at,
            started_ns=request.started_ns,
            key=request.key,
            team=None if key is None else key.team,
            session=self._session(self._session_ids.of(headers, envelope.fields)),
            tags=tags,
            limits=_limits(headers),
            headers=_forwarded(headers, dialect.forwarded) if dialect.forwarded else (),
            retries=_count(headers.get(_RETRY_COUNT)),
            query=place.query,
            wallet=admitted.wallet,
        )

    def _session(self, name: SessionName | None) -> str | None:
        """The session's id. Where sessions have an end, a name that outlives them has another one after it."""
        if name is None:
            return None
        treasury = self._engine.treasury
        desk = None if treasury is None else treasury.sessions
        return desk.sessions.id_now(name.id) if desk is not None and name.lasting else name.id


class Running:
    """One request on its way: the task that serves it, and what may cut it short."""

    __slots__ = (
        "_exchange",
        "_framing",
        "_request",
        "_sending_since",
        "_stall_timer",
        "_tally",
        "_task",
        "_watch",
        "_watch_alarm",
    )

    def __init__(
        self,
        request: Request,
        exchange: Exchange | Visitor,
        framing: ArrayFraming | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._request = request
        self._exchange = exchange
        self._framing = framing
        self._tally = tally
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
                await self._plain()
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

    async def _plain(self) -> None:
        exchange, counted = self._exchange, None
        if self._tally is None:
            await exchange.open()
        else:
            counted = await self._tally.ask(exchange)
        if counted is None:
            await self._whole(exchange.replayed)
            return
        await respond(self._request, 200, counted.body, headers=[*_attribution(exchange), *counted.headers])

    async def _whole(self, replayed: Answer | None) -> None:
        exchange = self._exchange
        body = await exchange.read()
        if failpoints.armed:
            failpoints.hit("caller.head")
        if len(body) > _SMALL:  # what fits into the socket's buffers waits for nobody
            self._sending_since = exchange.clock.monotonic()
            self._arm_stall_timer()
        if replayed is None:
            await respond(self._request, 200, body, headers=_attribution(exchange))
            if failpoints.armed:
                failpoints.hit("caller.done")
            return
        fields = dict(replayed.headers)
        content_type = fields.pop(b"content-type", b"application/json")
        headers = [*fields.items(), _TOLD_AGAIN]
        await respond(self._request, replayed.status, body, content_type=content_type, headers=headers)

    async def _stream(self) -> None:
        exchange, send, framing = self._exchange, self._request.send, self._framing
        keepalive_s = exchange.call.resolved.policy.keepalive_s
        if keepalive_s > 0:
            if not await self._open_with_comments(keepalive_s):
                return
        else:
            await exchange.open()
        replayed = exchange.replayed
        if not self._request.answered:
            if replayed is not None and replayed.status != _OK:
                await self._whole(replayed)
                return
            told = _attribution(exchange) if replayed is None else [*replayed.headers, _TOLD_AGAIN]
            await self._send_head(told)
        self._arm_stall_timer()
        clock = exchange.clock
        while True:
            data = await exchange.read()
            more = not exchange.over
            if framing is not None:
                data = framing.feed(data) if more else framing.feed(data) + framing.finish()
            if failpoints.armed and not more:
                failpoints.hit("caller.last")
            self._sending_since = clock.monotonic()
            await send({"type": "http.response.body", "body": data, "more_body": more})
            if failpoints.armed:
                failpoints.hit("caller.piece" if more else "caller.done")
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
        if failpoints.armed:
            failpoints.hit("caller.head")
        await request.send({"type": "http.response.start", "status": 200, "headers": fields})
        if failpoints.armed:
            failpoints.hit("caller.told")

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
            self.stop(Abandoned(f"the caller did not read its answer for {limit_s:g} s (client_stall_s)"))
            return
        self._arm_stall_timer()


async def respond_error(request: Request, error: HoldfastError) -> None:
    """Says an error in the caller's dialect. What the caller got wrong, a provider that speaks it tells in its own words."""
    status, content_type, body, headers = _error(error, request.voice, request.id)
    if isinstance(error, RateExceeded) and isinstance(error.rate, RateStatus):
        headers += rate_headers(error.rate, request.voice.name, request.started_ns)
        headers += degraded_header(lost_for(error.rate))
    await respond(request, status, body, content_type=content_type, headers=[*request.told, *headers])


def _error(
    error: HoldfastError, dialect: Dialect, request_id: str
) -> tuple[int, bytes, bytes, list[tuple[bytes, bytes]]]:
    """Status, content type, body and headers."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after_s)))
        headers.append((b"retry-after-ms", b"%d" % math.ceil(error.retry_after_s * 1000)))
    if not _may_come_back(error):
        # We retried already: another layer of retries makes a storm.
        headers.append((b"x-should-retry", b"false"))
    if isinstance(error, Draining | BodyTooLarge | RequestTimeout):
        headers.append((b"connection", b"close"))
    if (
        isinstance(error, RequestRefused | ModelMissing | OwnKeyRefused)
        and error.body
        and error.dialect == dialect.name
    ):
        content_type = error.headers.get("content-type", "application/json").encode("latin-1")
        status, body = error.upstream_status, error.body
        headers += _forwarded(
            {name.encode("latin-1"): value.encode("latin-1") for name, value in error.headers.items()},
            dialect.forwarded,
        )
        return status, content_type, body, headers
    return error.status, b"application/json", dialect.error_body(error, request_id), headers


def _may_come_back(error: HoldfastError) -> bool:
    """Nothing was tried, and it may pass later: the caller's own retry is as good as any."""
    if isinstance(error, RateExceeded | IdempotencyRunning):
        return error.retry_after_s is not None
    return isinstance(error, LedgerUnavailable | Draining)


def _keyed(request: Request, call: Call, body: bytes, engine: Engine) -> Keyed:
    def failure(error: HoldfastError) -> Answer:
        status, content_type, said, headers = _error(error, call.dialect, call.id)
        return Answer(status=status, headers=((b"content-type", content_type), *headers), body=said)

    return Keyed(
        call=call,
        key=request.header(_IDEMPOTENCY_KEY) or "",
        parts=(
            request.method.encode(),
            request.path.encode(),
            request.query,
            body,
            *_own_keys(request, call),
        ),
        headers=_attribution,
        failure=failure,
        engine=engine,
    )


def _own_keys(request: Request, call: Call) -> list[bytes]:
    """The caller's own that may pay: who comes with another one asks for something else, and isn't told this answer."""
    if not any(target.deployment.startswith(f"{CALLERS}:") for target in call.resolved.targets):
        return []
    return [f"{way} {key.reveal()}".encode() for way, key in sorted(request.brought.items())]


def _attribution(exchange: Exchange | Visitor) -> list[tuple[bytes, bytes]]:
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
    if exchange.told_again:
        headers.append(_TOLD_AGAIN)
    if exchange.rate is not None:
        headers += rate_headers(exchange.rate, exchange.call.dialect.name, exchange.clock.wall_ns())
        headers += degraded_header(lost_for(exchange.rate))
    if exchange.output_limit is not None:
        headers.append((b"x-holdfast-max-output-tokens", b"%d" % exchange.output_limit))
    if exchange.lowered:
        headers.append((b"x-holdfast-lowered", b"max_tokens"))
    headers += [
        (b"x-holdfast-budget-warning", warning_of(account, exchange.clock.wall_ns()))
        for account in exchange.warnings()
    ]
    if exchange.cost_nano is not None:
        headers.append((b"x-holdfast-cost-usd", format_usd(exchange.cost_nano).encode()))
    return headers


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


def _count(value: bytes | None) -> int:
    """A small whole number; nonsense counts nothing."""
    return int(value) if value is not None and len(value) <= 3 and value.isdigit() else 0


def _seconds(value: bytes | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None  # nonsense limits nothing
    return seconds if math.isfinite(seconds) and seconds > 0 else None
