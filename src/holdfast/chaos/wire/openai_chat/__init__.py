"""OpenAI Chat Completions, the provider's side; DeepSeek, OpenRouter and Azure speak it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from holdfast.chaos.wire.openai_chat import flavours, providers, read, write
from holdfast.chaos.wire.openai_chat.wire import OpenAIWire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.http import Request
    from holdfast.chaos.plan import Part
    from holdfast.chaos.wire.base import Asked, Place
    from holdfast.chaos.wire.openai_chat.flavours import Flavour
    from holdfast.chaos.wire.openai_chat.providers import Provider

__all__ = ["OpenAIChat"]


class OpenAIChat(OpenAIWire):
    """See :class:`holdfast.chaos.wire.base.Wire`."""

    name = "openai_chat"

    def __init__(self, provider: Provider = providers.OPENAI, flavour: Flavour = flavours.OPENAI) -> None:
        super().__init__(provider)
        self._flavour = flavour

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

    def end(self, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        return write.DONE

    def less(self, value: Any, what: Literal["usage", "finish"]) -> None:
        if what == "usage" and value.get("usage") is not None:
            del value["usage"]
        if what == "finish":
            for choice in value.get("choices", ()):
                choice.update({name: None for name in choice if name.endswith("finish_reason")})
