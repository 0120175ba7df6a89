"""A chat completion, from request to reply: refuse or number it, compose the answer, spoil it, follow it to its end."""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from holdfast.chaos import schema
from holdfast.chaos.answer import Usage, compose
from holdfast.chaos.draws import Draw
from holdfast.chaos.errors import ChaosError
from holdfast.chaos.journal import Entry, Texts
from holdfast.chaos.pace import paced
from holdfast.chaos.plan import Context, whole
from holdfast.chaos.wire import openai_chat
from holdfast.chaos.wire.errors import NAMED, ErrorBody, body_of, for_status

if TYPE_CHECKING:
    from holdfast.chaos.answer import Answer
    from holdfast.chaos.book import Book
    from holdfast.chaos.config import ChaosConfig
    from holdfast.chaos.http import Request
    from holdfast.chaos.journal import End, Journal
    from holdfast.chaos.plan import Part, Reply
    from holdfast.chaos.script import Step
    from holdfast.chaos.settings import AnswerSettings
    from holdfast.chaos.wire.openai_chat import ChatRequest

__all__ = ["Chat"]

_SECRET = frozenset(
    (b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie")
)
_NOTHING = Usage()


class Attempt:
    """One request being answered, and its entry in the journal."""

    def __init__(self, journal: Journal, entry: Entry, keep: int) -> None:
        self.entry = entry
        self.answer: Answer | None = None
        self.reply: Reply | None = None
        self._journal = journal
        self._texts = Texts(keep)

    def head_sent(self) -> None:
        self.entry.status = self.reply.status if self.reply is not None else None

    def served(self, size: int, parts: list[Part]) -> None:
        entry = self.entry
        entry.bytes_sent += size
        for part in parts:
            entry.body_bytes_sent += len(part.data)
            if part.tokens:
                if entry.first_token_ns is None:
                    entry.first_token_ns = time.monotonic_ns()
                entry.tokens += part.tokens
                if part.choice == 0:
                    self._texts.add("text" if part.kind == "body" else part.kind, part.said)

    def ended(self, end: End) -> None:
        self._journal.close(self.entry, end, self._billed(), self._texts, time.monotonic_ns())

    def _billed(self) -> Usage:
        if self.answer is None or self.reply is None or self.reply.billing == "nothing":
            return _NOTHING
        whole_usage = self.answer.usage
        if self.reply.billing == "whole" and self.reply.status is not None:
            return whole_usage
        return Usage(
            prompt_tokens=whole_usage.prompt_tokens,
            completion_tokens=self.entry.tokens,
            cached_tokens=whole_usage.cached_tokens,
            reasoning_tokens=min(whole_usage.reasoning_tokens, self.entry.tokens),
        )


class Chat:
    """The endpoint."""

    def __init__(self, config: ChaosConfig, book: Book, journal: Journal) -> None:
        self._config = config
        self._book = book
        self._journal = journal
        self._keys = [key.encode() for key in config.api_keys]

    def handle(self, request: Request) -> tuple[Reply, Attempt]:
        attempt = self._arrive(request)
        attempt.reply = self._reply(request, attempt)
        return attempt.reply, attempt

    def authorized(self, request: Request) -> bool:
        """Whether the request brings a key that is let in."""
        given = _key(request)
        return not self._keys or any(hmac.compare_digest(given or b"", key) for key in self._keys)

    def _arrive(self, request: Request) -> Attempt:
        key = _key(request)
        entry = Entry(
            seq=self._journal.next_seq(),
            arrived_wall_ns=time.time_ns(),
            arrived_ns=request.arrived_ns,
            method=request.method,
            path=request.path,
            headers=_masked(request.headers),
            key_sha256=sha256(key).hexdigest() if key is not None else None,
            body=request.body[: self._config.body_keep],
            body_size=len(request.body),
            head_size=sum(len(name) + len(value) for name, value in request.headers),
            body_sha256=sha256(request.body).hexdigest(),
        )
        self._journal.add(entry)
        return Attempt(self._journal, entry, self._config.text_keep)

    def _reply(self, request: Request, attempt: Attempt) -> Reply:
        if request.too_large:
            return _refusal(for_status(413))
        if not self.authorized(request):
            return _refusal(NAMED["invalid_api_key"])
        try:
            chat = openai_chat.decode(request.body)
            script, key = self._book.look_up(chat)
            number = self._book.next_attempt(key)
            step = script.step(number)
            draw = Draw(self._config.seed, key, number)
            answer = compose(chat, step.answer, self._config.tokens, draw)
        except openai_chat.Refused as error:
            return _refusal(error.error)
        except ChaosError as error:
            message = f"Invalid chaos script in the prompt: {error}"
            return _refusal(
                ErrorBody(400, "invalid_request_error", "invalid_chaos_script", message, "messages")
            )
        except schema.SchemaError as error:
            message = f"Invalid schema: {error}."
            return _refusal(
                ErrorBody(400, "invalid_request_error", "invalid_schema", message, "response_format")
            )
        entry = attempt.entry
        entry.model, entry.stream = chat.model, bool(chat.stream)
        entry.script_key, entry.attempt, entry.nonce = key, number, answer.nonce
        attempt.answer = answer
        reply = openai_chat.healthy(answer, stream=entry.stream, include_usage=chat.include_usage)
        reply.headers["x-request-id"] = f"req_{draw.hex('request', 24)}"
        return _spoiled(reply, chat, step, answer, draw, entry)


def _spoiled(reply: Reply, chat: ChatRequest, step: Step, answer: Answer, draw: Draw, entry: Entry) -> Reply:
    """The reply with the step's faults, in their order, and its pace."""
    settings: AnswerSettings = step.answer
    if step.faults:
        context = Context(entry.stream, chat.include_usage, answer, draw, chat.model)
        spared = settings.chance < 1.0 and draw.unit("chance") >= settings.chance
        entry.faults, entry.skipped = [], []
        for fault, chosen in step.faults:
            if spared or not (fault.stream if entry.stream else fault.plain):
                entry.skipped.append(fault.name)
                continue
            entry.faults.append(fault.name)
            reply = fault.apply(reply, chosen, context)
    reply.batch = settings.batch
    if settings.ttft or settings.tps:
        reply.parts = paced(reply.parts, settings)
    return reply


def _refusal(error: ErrorBody) -> Reply:
    return whole(error.status, body_of(error))


def _key(request: Request) -> bytes | None:
    value = request.header(b"authorization")
    if value is None:
        return None
    scheme, _, key = value.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else value


def _masked(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    masked: dict[str, str] = {}
    for name, value in headers:
        text = "***" if name in _SECRET else value.decode("latin-1")
        known = name.decode("latin-1")
        masked[known] = f"{masked[known]}, {text}" if known in masked else text
    return masked
