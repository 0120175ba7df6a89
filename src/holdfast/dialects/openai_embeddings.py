"""OpenAI's Embeddings, passed through to providers that speak them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.dialects.base import OTHER, Envelope, Signal
from holdfast.dialects.openai_chat.refusals import inner_refusal, refusal
from holdfast.dialects.openai_chat.say import error_body, error_frame
from holdfast.dialects.whole import NeverStreams, read_fields, read_typed
from holdfast.errors import InvalidRequest
from holdfast.model.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.errors import HoldfastError, ProviderError

__all__ = ["OpenAIEmbeddings"]


class _Request(msgspec.Struct, gc=False):
    model: str
    input: str | list[Any]
    dimensions: int | None = None
    encoding_format: str | None = None
    user: str | None = None
    stream: bool | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct, gc=False):
    model: str | None = None
    data: list[Any] | None = None
    usage: _Usage | None = None
    error: Any = None


_request = msgspec.json.Decoder(_Request).decode
_answer = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


class OpenAIEmbeddings(NeverStreams):
    """Texts in, vectors out."""

    name = "openai_embeddings"
    free = False
    request_id_header = b"x-request-id"
    forwarded: tuple[bytes, ...] = ()

    def read_request(self, body: bytes) -> Envelope:
        wire, fields = read_fields(body, _request)
        if not wire.model.strip():
            raise InvalidRequest("`model` is empty: name a model or a route", param="model")
        if not wire.input:
            raise InvalidRequest("`input` is empty: it needs at least one text or token", param="input")
        if wire.stream:
            raise InvalidRequest("`stream`: embeddings come whole", param="stream")
        return Envelope(model=wire.model, max_output_tokens=0, size=len(body), fields=fields)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        fields = dict(envelope.fields)
        for name, value in overrides.items():
            if name not in _OF_ANSWERS:
                fields[name] = msgspec.Raw(_encode(value))
        fields["model"] = msgspec.Raw(_encode(model))
        return _encode(fields)

    def read_answer(self, body: bytes) -> list[Signal]:
        answer = read_typed(body, _answer)
        if isinstance(answer, Signal):
            return [answer]
        if answer.error is not None:
            return [Signal(body, error=inner_refusal(answer.error, body))]
        if not answer.data:
            return [Signal(body, malformed="the answer has no data: it isn't a list of embeddings")]
        given = answer.usage.prompt_tokens if answer.usage is not None else None
        usage = None if given is None else Usage(input_tokens=given, output_tokens=0)
        return [
            Signal(b"", ((0, OTHER, "stop"),), usage=usage, model=answer.model),
            Signal(b"", end=True),
        ]

    def refusal(self, status: int, body: bytes) -> ProviderError:
        return refusal(status, body)

    def error_body(self, error: HoldfastError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def error_frame(self, error: HoldfastError, request_id: str) -> bytes:
        return error_frame(error, request_id)


_OF_ANSWERS = frozenset({"max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed", "n"})
"""A route's parameters that mean nothing here: a route may serve chats and embeddings alike."""
