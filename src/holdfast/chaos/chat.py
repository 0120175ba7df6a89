"""An answer, from request to reply: refuse or number it, compose the answer, spoil it, follow it to its end."""

from __future__ import annotations

import hmac
import math
import time
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from holdfast.chaos import schema
from holdfast.chaos.answer import Usage, compose
from holdfast.chaos.draws import Draw
from holdfast.chaos.errors import ChaosError
from holdfast.chaos.journal import Entry, Texts
from holdfast.chaos.pace import paced
from holdfast.chaos.plan import Context, Reply, whole
from holdfast.chaos.quota import Quota
from holdfast.chaos.rate_limits import Meter, Refusal
from holdfast.chaos.rules import script_key
from holdfast.chaos.script import parse
from holdfast.chaos.wire.errors import Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.bank import Bank
    from holdfast.chaos.book import Book
    from holdfast.chaos.capacity import Capacity, Places, Ticket
    from holdfast.chaos.config import ChaosConfig
    from holdfast.chaos.http import Request
    from holdfast.chaos.journal import End, Journal
    from holdfast.chaos.plan import Part
    from holdfast.chaos.rules import Rules
    from holdfast.chaos.script import Script, Step
    from holdfast.chaos.wire.base import Place, Wire

__all__ = ["Chat"]

_SECRET = frozenset(
    (b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie")
)
_NOTHING = Usage()
_PLENTY = Quota()


class Attempt:
    """One request being answered, and its entry in the journal."""

    def __init__(self, journal: Journal, entry: Entry, keep: int) -> None:
        self.entry = entry
        self.ticket: Ticket | None = None
        self.answer: Answer | None = None
        self.reply: Reply | None = None
        self._journal = journal
        self._texts = Texts(keep)
        self._unseen = 0

    def head_sent(self) -> None:
        if self.reply is not None:
            self.entry.status = self.reply.status
            self.entry.content_type = self.reply.headers.get("content-type")

    def served(self, size: int, parts: list[Part]) -> None:
        entry = self.entry
        entry.bytes_sent += size
        for part in parts:
            entry.body_bytes_sent += len(part.data)
            self._unseen += part.unseen
            if part.tokens:
                if entry.first_token_ns is None:
                    entry.first_token_ns = time.monotonic_ns()
                entry.tokens += part.tokens
                if part.kind == "body":
                    self._add_body(part)
                elif part.choice == 0:
                    self._texts.add(part.kind, part.said)

    def _add_body(self, part: Part) -> None:
        """What a plain body said: its text; where it went whole, its thoughts and calls too."""
        self._texts.add("text", part.said)
        if self.answer is None or part.tokens + part.unseen < self.answer.usage.completion_tokens:
            return
        choice = self.answer.choices[0]
        if choice.thoughts_shown:
            self._texts.add("reasoning", "".join(choice.reasoning))
        for call in choice.calls:
            self._texts.add("tool", call.arguments)

    def ended(self, end: End) -> None:
        self._journal.close(self.entry, end, self._billed(), self._texts, time.monotonic_ns())
        if self.ticket is not None:  # last: whose turn it is then, may be answered before this call returns
            self.ticket.leave()

    def _billed(self) -> Usage:
        if self.answer is None or self.reply is None or self.reply.billing == "nothing":
            return _NOTHING
        if self.ticket is not None and not self.ticket.running:  # it left while it waited: nothing was begun
            return _NOTHING
        whole_usage = self.answer.usage
        if self.reply.billing == "whole" and self.reply.status is not None:
            return whole_usage
        completion = self.entry.tokens + self._unseen
        return Usage(
            prompt_tokens=whole_usage.prompt_tokens,
            completion_tokens=completion,
            cached_tokens=whole_usage.cached_tokens,
            reasoning_tokens=min(whole_usage.reasoning_tokens, completion),
            cache_written_tokens=whole_usage.cache_written_tokens,
        )


class Chat:
    """The endpoints that answer, of all wires."""

    def __init__(
        self,
        config: ChaosConfig,
        rules: Rules,
        banks: Mapping[str, Bank],
        book: Book,
        journal: Journal,
        places: Places,
    ) -> None:
        self._book = book
        self._journal = journal
        self._places = places
        self._meter: Meter | None = None
        self._config: ChaosConfig = config
        self._refusing: tuple[Capacity, Script] | None = None
        self.configure(config, rules, banks)

    def configure(self, config: ChaosConfig, rules: Rules, banks: Mapping[str, Bank]) -> None:
        """Go by these from now on."""
        self._banks = banks
        if self._meter is None or config.limits != self._config.limits:
            self._meter = None if config.limits is None else Meter(config.limits)
        self._config = config
        self._refusing = None
        self._rules = rules
        self._keys = [key.encode() for key in (*config.api_keys, *config.keys)] if config.api_keys else []

    def reset(self) -> None:
        """All limits are full again."""
        self._meter = None if self._config.limits is None else Meter(self._config.limits)

    def handle(self, request: Request, wire: Wire, place: Place, now: float) -> tuple[Reply, Attempt]:
        """``now`` is the second since the start (or the last reset)."""
        key = wire.key(request)
        attempt = self._arrive(request, wire, place, key, now)
        attempt.reply = self._reply(request, wire, place, key, attempt, now)
        return attempt.reply, attempt

    def authorized(self, request: Request, wire: Wire) -> bool:
        """Whether the request brings a key that is let in, where that provider looks for it."""
        return self._lets_in(wire.key(request))

    def _lets_in(self, given: bytes | None) -> bool:
        return not self._keys or any(hmac.compare_digest(given or b"", key) for key in self._keys)

    def refusal(self, request: Request, wire: Wire, problem: Problem, model: str = "") -> Reply:
        """An error for a request that is no attempt at an answer."""
        # No draw is made for it: its id comes from its bytes, so that a run still replays.
        digest = sha256(request.path.encode("utf-8", "surrogateescape") + request.body).hexdigest()
        error = wire.error(problem, model, f"req_{digest[:24]}")
        reply = whole(error.status, error.body, wire.json_type)
        reply.headers.update(error.headers)
        return reply

    def _arrive(self, request: Request, wire: Wire, place: Place, key: bytes | None, now: float) -> Attempt:
        entry = Entry(
            seq=self._journal.next_seq(),
            arrived_wall_ns=time.time_ns(),
            arrived_ns=request.arrived_ns,
            arrived_s=now,
            client=request.client,
            method=request.method,
            path=request.path,
            query=_masked_query(request.query),
            wire=wire.name,
            operation=place.operation,
            headers=_masked(request.headers),
            key_sha256=sha256(key).hexdigest() if key is not None else None,
            body=request.body[: self._config.body_keep],
            body_size=len(request.body),
            head_size=sum(len(name) + len(value) for name, value in request.headers),
            body_sha256=sha256(request.body).hexdigest(),
        )
        self._journal.add(entry)
        return Attempt(self._journal, entry, self._config.text_keep)

    def _reply(
        self, request: Request, wire: Wire, place: Place, given: bytes | None, attempt: Attempt, now: float
    ) -> Reply:
        model = place.model or ""
        if request.too_large:
            return self.refusal(request, wire, Problem(413), model)
        if not self._lets_in(given):
            return self.refusal(request, wire, Problem(name="invalid_api_key"), model)
        config = self._config
        try:
            asked = wire.read(request, place)
            model = asked.model
            api_key = (given or b"").decode("latin-1")
            found = self._rules.find(asked, request.path, api_key, now)
            key = script_key(asked)
            # Counted apart, so that a count of tokens doesn't use up a script's step.
            key = key if place.operation == "answer" else f"{key} ({place.operation})"
            number = self._book.next_attempt(key)
            step = found.script.step(number).chosen(config.seed, key, number, found.scale)
            draw = Draw(config.seed, key, number)
            answer = compose(
                asked,
                step.answer,
                config.tokens,
                draw,
                wire,
                place.operation,
                attempt=number,
                key=key,
                banks=self._banks,
            )
        except Refused as error:
            return self.refusal(request, wire, error.problem, model)
        except ChaosError as error:
            message = f"Invalid chaos script in the prompt: {error}"
            problem = Problem(400, message=message, param="messages", code="invalid_chaos_script")
            return self.refusal(request, wire, problem, model)
        except schema.SchemaError as error:
            problem = Problem(
                400, message=f"Invalid schema: {error}.", param="response_format", code="invalid_schema"
            )
            return self.refusal(request, wire, problem, model)
        entry = attempt.entry
        entry.model, entry.stream, entry.rule = asked.model, asked.stream, found.rule
        entry.script_key, entry.attempt, entry.nonce = key, number, answer.nonce
        attempt.answer = answer
        context = Context(wire, asked, answer, draw, f"req_{draw.hex('request', 24)}")
        quota = _PLENTY
        if self._meter is not None:
            taken = self._meter.take(api_key, model, answer.usage.total_tokens, now)
            if isinstance(taken, Refusal):
                entry.rule = "limits"
                return _limited(
                    context, taken, retry_after=config.limits is None or config.limits.retry_after
                )
            quota = taken
        reply = _spoiled(_made(context, quota, entry.operation), step, context, entry)
        capacity = self._places.capacity
        if capacity is not None and (reply.status is None or reply.status < 400):
            return self._placed(reply, capacity, context, attempt, api_key, quota)
        return reply

    def _placed(
        self, reply: Reply, capacity: Capacity, context: Context, attempt: Attempt, api_key: str, quota: Quota
    ) -> Reply:
        """The reply in its turn; or, where there is no room left to wait in, what is said then."""
        ticket = self._places.ask(context.asked.model, api_key)
        if ticket is not None:
            attempt.ticket = ticket
            reply.wait = ticket.wait
            return reply
        entry = attempt.entry
        entry.rule = "capacity"
        # A draw of its own: the one of the attempt's script has decided already that it may ask for a place.
        step = self._beyond(capacity).step(1)
        step = step.chosen(self._config.seed, f"{entry.script_key}\0beyond", entry.attempt or 1)
        return _spoiled(_made(context, quota, entry.operation), step, context, entry)

    def _beyond(self, capacity: Capacity) -> Script:
        """What is said where the queue is full, read once for each capacity."""
        if self._refusing is None or self._refusing[0] is not capacity:
            self._refusing = capacity, parse(capacity.beyond, self._config.pace)
        return self._refusing[1]


def healthy(context: Context, quota: Quota) -> Reply:
    """The reply to a request when nothing goes wrong."""
    wire, asked, answer = context.wire, context.asked, context.answer
    headers = {"content-type": wire.content_type(asked), **wire.headers(asked, context.request_id, quota)}
    if asked.stream:
        headers["cache-control"] = "no-cache"
        return Reply(200, headers, wire.events(answer, asked), early_head=True, billing="served")
    part = wire.plain(answer, asked)
    return Reply(200, headers, (part,), length=len(part.data), billing="whole")


def _made(context: Context, quota: Quota, operation: str) -> Reply:
    """The reply as it is before anything goes wrong, whatever was asked for."""
    if operation != "count":
        return healthy(context, quota)
    wire = context.wire
    reply = whole(200, wire.count(context.asked), wire.json_type)
    reply.headers.update(wire.headers(context.asked, context.request_id, quota))
    return reply


def _limited(context: Context, refusal: Refusal, *, retry_after: bool) -> Reply:
    """The provider's 429 for a limit that was passed."""
    wait_s = max(1, math.ceil(refusal.wait_s))
    problem = Problem(name=refusal.error, wait_s=wait_s if retry_after else None, quota=refusal.quota)
    error = context.error(problem)
    reply = whole(error.status, error.body, context.wire.json_type)
    reply.headers.update(error.headers)
    if retry_after:
        reply.headers["retry-after"] = str(wait_s)
    return reply


def _spoiled(reply: Reply, step: Step, context: Context, entry: Entry) -> Reply:
    """The reply with the step's faults, in their order, and its pace."""
    settings = step.answer
    if step.faults:
        spared = settings.chance < 1.0 and context.draw.unit("chance") >= settings.chance
        entry.faults, entry.skipped = [], []
        for fault, chosen in step.faults:
            if spared or not fault.fits(context):
                entry.skipped.append(fault.name)
                continue
            entry.faults.append(fault.name)
            reply = fault.apply(reply, chosen, context)
    if entry.stream and reply.length is None:
        reply.parts = context.wire.framed(reply.parts, context.asked)
    return paced(reply, settings, context.draw, stream=entry.stream)


def _masked(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    masked: dict[str, str] = {}
    for name, value in headers:
        text = "***" if name in _SECRET else value.decode("latin-1")
        known = name.decode("latin-1")
        masked[known] = f"{masked[known]}, {text}" if known in masked else text
    return masked


def _masked_query(query: str) -> str:
    if "key=" not in query:
        return query
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode([(name, "***" if name == "key" else value) for name, value in pairs])
