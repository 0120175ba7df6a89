"""OpenAI Chat Completions, the provider's side; DeepSeek, OpenRouter and Azure speak it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos.wire.openai_chat import flavours, providers, read, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.http import Request
    from holdfast.chaos.plan import Part
    from holdfast.chaos.quota import Quota
    from holdfast.chaos.wire.base import Asked, Field, Place
    from holdfast.chaos.wire.errors import ErrorAnswer, Problem
    from holdfast.chaos.wire.openai_chat.flavours import Flavour
    from holdfast.chaos.wire.openai_chat.providers import Provider

__all__ = ["OpenAIChat"]


class OpenAIChat:
    """See :class:`holdfast.chaos.wire.base.Wire`."""

    name = "openai_chat"
    json_type = "application/json"
    names: Mapping[Field, str] = {"id": "id", "model": "model"}
    repeats_names = True

    def __init__(self, provider: Provider = providers.OPENAI, flavour: Flavour = flavours.OPENAI) -> None:
        self._provider = provider
        self._flavour = flavour

    def key(self, request: Request) -> bytes | None:
        return self._provider.key(request)

    def read(self, request: Request, place: Place) -> Asked:
        return read.read(request.body, place.model)

    def answer_id(self, draw: Draw) -> str:
        return self._flavour.id_prefix + draw.hex("id", 28)

    def call_id(self, draw: Draw, purpose: str) -> str:
        return f"call_{draw.hex(purpose, 24)}"

    def plain(self, answer: Answer, asked: Asked) -> Part:  # noqa: ARG002  # the protocol's
        return write.plain(answer, self._flavour)

    def events(self, answer: Answer, asked: Asked) -> Iterator[Part]:
        return write.events(answer, self._flavour, include_usage=asked.include_usage)

    def opening(self, answer: Answer, asked: Asked) -> Part:
        return next(self.events(answer, asked))

    def framed(self, parts: Iterable[Part], asked: Asked) -> Iterable[Part]:  # noqa: ARG002  # the protocol's
        return parts

    def end(self, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        return write.DONE

    def content_type(self, asked: Asked) -> str:
        return "text/event-stream; charset=utf-8" if asked.stream else self.json_type

    def headers(self, asked: Asked, request_id: str, quota: Quota) -> dict[str, str]:  # noqa: ARG002  # the protocol's
        return self._provider.headers(request_id, quota)

    def less(self, value: Any, what: Literal["usage", "finish"]) -> None:
        if what == "usage" and value.get("usage") is not None:
            del value["usage"]
        if what == "finish":
            for choice in value.get("choices", ()):
                choice.update({name: None for name in choice if name.endswith("finish_reason")})

    def count(self, asked: Asked) -> bytes:
        raise NotImplementedError("Chat Completions has no such endpoint")  # pragma: no cover

    def models(self, names: Sequence[str]) -> bytes:
        rows = [
            {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "chaos"} for name in names
        ]
        return msgspec.json.encode({"object": "list", "data": rows})

    def error(self, problem: Problem, model: str, request_id: str) -> ErrorAnswer:
        return self._provider.error(problem, model, request_id)

    def error_event(self, error: ErrorAnswer, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        return b"data: " + error.body + b"\n\n"
