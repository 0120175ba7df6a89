"""Gemini's generateContent, the provider's side."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos.plan import Part
from holdfast.chaos.wire.gemini import embed, errors, models, read, write
from holdfast.chaos.wire.keys import bearer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.http import Request
    from holdfast.chaos.quota import Quota
    from holdfast.chaos.wire.base import Asked, Field, Place
    from holdfast.chaos.wire.errors import ErrorAnswer, Problem

__all__ = ["Gemini"]


class Gemini:
    """See :class:`holdfast.chaos.wire.base.Wire`."""

    name = "gemini"
    json_type = "application/json; charset=UTF-8"
    names: Mapping[Field, str] = {"id": "responseId", "model": "modelVersion", "answer": "candidates"}
    repeats_names = True

    def __init__(self, *, in_array: bool = False) -> None:
        """``in_array``: errors stand in an array, as where a stream without ``alt=sse`` was asked for."""
        self._error = errors.in_array if in_array else errors.error

    def key(self, request: Request) -> bytes | None:
        argument = request.argument("key")
        given = request.header(b"x-goog-api-key") or (argument.encode() if argument else None)
        return given or bearer(request)

    def read(self, request: Request, place: Place) -> Asked:
        return read.read(request, place)

    def answer_id(self, draw: Draw) -> str:
        return base64.urlsafe_b64encode(bytes.fromhex(draw.hex("id", 34))).decode().rstrip("=")

    def call_id(self, draw: Draw, purpose: str) -> str:
        return draw.hex(purpose, 8)

    def plain(self, answer: Answer, asked: Asked) -> Part:
        if isinstance(asked, embed.Single | embed.Batch):
            return embed.plain(answer, asked)
        return write.plain(answer)

    def events(self, answer: Answer, asked: Asked) -> Iterator[Part]:
        yield from write.events(answer)
        if not asked.sse:
            yield Part(write.CLOSE, "done")

    def framed(self, parts: Iterable[Part], asked: Asked) -> Iterable[Part]:
        return parts if asked.sse else write.as_array(parts)

    def opening(self, answer: Answer, asked: Asked) -> Part:
        return next(self.events(answer, asked))

    def end(self, asked: Asked) -> bytes:
        return b"" if asked.sse else write.CLOSE

    def content_type(self, asked: Asked) -> str:
        return "text/event-stream" if asked.stream and asked.sse else self.json_type

    def headers(self, asked: Asked, request_id: str, quota: Quota) -> dict[str, str]:  # noqa: ARG002  # the protocol's
        return {}

    def less(self, value: Any, what: Literal["usage", "finish"]) -> None:
        if what == "usage":
            value.pop("usageMetadata", None)
        else:
            for candidate in value.get("candidates", ()):
                candidate.pop("finishReason", None)

    def count(self, asked: Asked) -> bytes:
        details = [{"modality": "TEXT", "tokenCount": asked.prompt_tokens}]
        return msgspec.json.encode({"totalTokens": asked.prompt_tokens, "promptTokensDetails": details})

    def models(self, names: Sequence[str], request: Request) -> bytes:
        return models.page(names, request)

    def model(self, name: str) -> bytes:
        return msgspec.json.encode(models.model(name))

    def error(self, problem: Problem, model: str, request_id: str) -> ErrorAnswer:  # noqa: ARG002  # it has none
        return self._error(problem, model)

    def error_event(self, error: ErrorAnswer, asked: Asked) -> bytes:  # noqa: ARG002  # framed later
        return write.event(msgspec.json.encode(error.value))
