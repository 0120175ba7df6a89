"""OpenAI's embeddings, the provider's side; OpenRouter and Azure speak it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos.plan import Part
from holdfast.chaos.wire.openai_chat.flavours import NANO_PER_TOKEN
from holdfast.chaos.wire.openai_chat.wire import OpenAIWire
from holdfast.chaos.wire.openai_embeddings import read
from holdfast.chaos.wire.vectors import Embedding, as_base64, vector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.chaos.answer import Answer, Usage
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.http import Request
    from holdfast.chaos.wire.base import Asked, Place

__all__ = ["OpenAIEmbeddings", "OpenRouterEmbeddings"]

_encode = msgspec.json.Encoder().encode


class OpenAIEmbeddings(OpenAIWire):
    """See :class:`holdfast.chaos.wire.base.Wire`. Nothing is streamed here."""

    name = "openai_embeddings"

    def read(self, request: Request, place: Place) -> Embedding:
        return read.read(request.body, place.model)

    def answer_id(self, draw: Draw) -> str:
        return f"gen-emb-{draw.hex('id', 28)}"

    def call_id(self, draw: Draw, purpose: str) -> str:
        raise NotImplementedError("embeddings call nothing")  # pragma: no cover

    def plain(self, answer: Answer, asked: Asked) -> Part:
        assert isinstance(asked, Embedding)  # noqa: S101  # it is what read returned
        rows = [
            # Encoded one by one: as numbers, a large batch would take many times its body's memory.
            msgspec.Raw(_encode({"object": "embedding", "index": i, "embedding": _told(text, asked)}))
            for i, text in enumerate(asked.texts)
        ]
        value = {"object": "list", "data": rows, "model": answer.model, "usage": self._usage(answer.usage)}
        return Part(_encode(value | self._beside(answer)), "body")

    def events(self, answer: Answer, asked: Asked) -> Iterator[Part]:
        raise NotImplementedError("embeddings are no stream")  # pragma: no cover

    def opening(self, answer: Answer, asked: Asked) -> Part:
        raise NotImplementedError("embeddings are no stream")  # pragma: no cover

    def end(self, asked: Asked) -> bytes:
        raise NotImplementedError("embeddings are no stream")  # pragma: no cover

    def less(self, value: Any, what: Literal["usage", "finish"]) -> None:
        if what == "usage":
            value.pop("usage", None)

    def _usage(self, usage: Usage) -> dict[str, Any]:
        return {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}

    def _beside(self, answer: Answer) -> dict[str, Any]:  # noqa: ARG002  # OpenRouter's says more
        return {}


class OpenRouterEmbeddings(OpenAIEmbeddings):
    """With an id, and what it cost."""

    def _usage(self, usage: Usage) -> dict[str, Any]:
        return {**super()._usage(usage), "cost": usage.total_tokens * NANO_PER_TOKEN / 10**9}

    def _beside(self, answer: Answer) -> dict[str, Any]:
        return {"id": answer.id, "provider": "Chaos"}


def _told(text: str, asked: Embedding) -> list[float] | str:
    values = vector(text, asked.model, asked.dimensions)
    return as_base64(values) if asked.as_base64 else values
