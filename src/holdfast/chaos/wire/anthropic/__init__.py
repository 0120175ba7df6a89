"""Anthropic Messages, the provider's side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos.wire import limit_headers
from holdfast.chaos.wire.anthropic import errors, models, read, write
from holdfast.chaos.wire.keys import bearer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.http import Request
    from holdfast.chaos.plan import Part
    from holdfast.chaos.quota import Quota
    from holdfast.chaos.wire.base import Asked, Field, Place
    from holdfast.chaos.wire.errors import ErrorAnswer, Problem

__all__ = ["Anthropic"]

_ORGANIZATION = "00000000-0000-4000-8000-000000000000"


class Anthropic:
    """See :class:`holdfast.chaos.wire.base.Wire`."""

    name = "anthropic"
    json_type = "application/json"
    names: Mapping[Field, str] = {"id": "id", "model": "model", "answer": "content"}
    repeats_names = False

    def key(self, request: Request) -> bytes | None:
        return request.header(b"x-api-key") or bearer(request)

    def read(self, request: Request, place: Place) -> Asked:
        return read.read(request, count=place.operation == "count")

    def answer_id(self, draw: Draw) -> str:
        return f"msg_01{draw.hex('id', 22)}"

    def call_id(self, draw: Draw, purpose: str) -> str:
        return f"toolu_01{draw.hex(purpose, 22)}"

    def plain(self, answer: Answer, asked: Asked) -> Part:  # noqa: ARG002  # the protocol's
        return write.plain(answer)

    def events(self, answer: Answer, asked: Asked) -> Iterator[Part]:  # noqa: ARG002  # the protocol's
        return write.events(answer)

    def opening(self, answer: Answer, asked: Asked) -> Part:  # noqa: ARG002  # the protocol's
        return write.opening(answer)

    def framed(self, parts: Iterable[Part], asked: Asked) -> Iterable[Part]:  # noqa: ARG002  # the protocol's
        return parts

    def end(self, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        return write.STOP

    def content_type(self, asked: Asked) -> str:
        return "text/event-stream; charset=utf-8" if asked.stream else self.json_type

    def headers(self, asked: Asked, request_id: str, quota: Quota) -> dict[str, str]:  # noqa: ARG002  # the protocol's
        return {
            "request-id": request_id,
            "anthropic-organization-id": _ORGANIZATION,
            **limit_headers.anthropic(quota),
        }

    def less(self, value: Any, what: Literal["usage", "finish"]) -> None:
        if what == "usage":
            value.pop("usage", None)
            if isinstance(message := value.get("message"), dict):
                message.pop("usage", None)
        elif "stop_reason" in value:
            value["stop_reason"] = None

    def count(self, asked: Asked) -> bytes:
        return msgspec.json.encode({"input_tokens": asked.prompt_tokens})

    def models(self, names: Sequence[str], request: Request) -> bytes:
        return models.page(names, request)

    def model(self, name: str) -> bytes:
        return msgspec.json.encode(models.model(name))

    def error(self, problem: Problem, model: str, request_id: str) -> ErrorAnswer:
        return errors.error(problem, model, request_id)

    def error_event(self, error: ErrorAnswer, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        return write.event("error", error.body)
