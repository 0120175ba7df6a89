"""Counting tokens, passed through to Anthropic's and Google's own counters. It costs nothing there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.base import OTHER, Envelope, Signal
from holdfast.dialects.gemini import Gemini
from holdfast.dialects.whole import NeverStreams, read_fields, read_typed
from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.errors import HoldfastError, ProviderError

__all__ = ["AnthropicCountTokens", "GeminiCountTokens"]


class _Message(msgspec.Struct, gc=False):
    model: str
    messages: list[dict[str, Any]]


class _Content(msgspec.Struct, gc=False):
    contents: list[dict[str, Any]] | dict[str, Any] | str | None = None
    generateContentRequest: dict[str, Any] | None = None  # noqa: N815  # the wire's own name


class _Counted(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    totalTokens: int | None = None  # noqa: N815  # the wire's own name
    error: Any = None


_message = msgspec.json.Decoder(_Message).decode
_content = msgspec.json.Decoder(_Content).decode
_counted = msgspec.json.Decoder(_Counted).decode
_encode = msgspec.json.Encoder().encode


class _Counter(NeverStreams):
    """What both have in common. Everything but the question itself is the family's."""

    free = True
    _family: Anthropic | Gemini

    @property
    def request_id_header(self) -> bytes:
        return self._family.request_id_header

    @property
    def forwarded(self) -> tuple[bytes, ...]:
        return self._family.forwarded

    def read_answer(self, body: bytes) -> list[Signal]:
        counted = read_typed(body, _counted)
        if isinstance(counted, Signal):
            return [counted]
        if counted.error is not None:
            return [Signal(body, error=self._family.refusal(500, body))]
        if counted.input_tokens is None and counted.totalTokens is None:
            return [Signal(body, malformed="the answer has no count in it")]
        return [Signal(b"", ((0, OTHER, "stop"),)), Signal(b"", end=True)]

    def refusal(self, status: int, body: bytes) -> ProviderError:
        return self._family.refusal(status, body)

    def error_body(self, error: HoldfastError, request_id: str) -> bytes:
        return self._family.error_body(error, request_id)

    def error_frame(self, error: HoldfastError, request_id: str) -> bytes:
        return self._family.error_frame(error, request_id)


class AnthropicCountTokens(_Counter):
    """``POST /v1/messages/count_tokens``"""

    name = "anthropic_count_tokens"
    _family = Anthropic()

    def read_request(self, body: bytes) -> Envelope:
        wire, fields = read_fields(body, _message)
        if not wire.model.strip():
            raise InvalidRequest("`model` is empty: name a model or a route", param="model")
        if not wire.messages:
            raise InvalidRequest("`messages` is empty: it needs at least one message", param="messages")
        return Envelope(model=wire.model, max_output_tokens=0, size=len(body), fields=fields)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        del overrides  # a route's parameters are for answers
        return _encode({**envelope.fields, "model": msgspec.Raw(_encode(model))})


class GeminiCountTokens(_Counter):
    """``POST /v1beta/models/{model}:countTokens``; the model stands in the path."""

    name = "gemini_count_tokens"
    _family = Gemini()

    def read_request(self, body: bytes) -> Envelope:
        wire, fields = read_fields(body, _content)
        if not wire.contents and wire.generateContentRequest is None:
            raise InvalidRequest("`contents` is missing: it needs at least one content", param="contents")
        return Envelope(model="", max_output_tokens=0, size=len(body), fields=fields)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        del overrides  # a route's parameters are for answers
        fields = dict(envelope.fields)
        inner = fields.get("generateContentRequest")
        if inner is not None:  # it names the model once more
            said = msgspec.json.decode(inner, type=dict[str, msgspec.Raw])
            name = model if model.startswith("models/") else f"models/{model}"
            fields["generateContentRequest"] = msgspec.Raw(_encode({**said, "model": name}))
        return _encode(fields)
