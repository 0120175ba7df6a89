"""Counting tokens, as Anthropic and Google are asked for it and answer. It costs nothing there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.base import OTHER, Envelope, Signal
from holdfast.dialects.fields import HARMLESS
from holdfast.dialects.gemini import Gemini
from holdfast.dialects.signatures import MARKS
from holdfast.dialects.whole import NeverStreams, read_fields, read_typed
from holdfast.dialects.writing import Drops
from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.base import Dialect
    from holdfast.dialects.codec import DialectCodec
    from holdfast.errors import HoldfastError, ProviderError
    from holdfast.model import Request

__all__ = ["AnthropicCountTokens", "CountTokens", "GeminiCountTokens"]


_INNER: Final = ("generateContentRequest", "generate_content_request")
"""Where Google takes a whole request to be counted, in either spelling."""


class _Counted(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    totalTokens: int | None = None  # noqa: N815  # the wire's own name
    error: Any = None


_counted = msgspec.json.Decoder(_Counted).decode
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class CountTokens(NeverStreams):
    """What both have in common. Everything but the question itself is the family's."""

    name: str
    free = True
    _family: Dialect
    _codec: DialectCodec
    _field: str
    """Where an answer has its count."""

    def neutral(self, envelope: Envelope) -> Request:
        """What is to be counted, in the neutral model. Takes as long as the body is large.

        Raises:
            InvalidRequest: the question was read loosely, and a closer look shows a fault.
        """
        return self._codec.decode_request(_encode({**envelope.fields, "model": envelope.model}))

    def write_count(self, tokens: int) -> bytes:
        """An answer with that count."""
        return _encode({self._field: tokens})

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
            return self._family.read_answer(body)  # which types it
        count = counted.input_tokens if counted.input_tokens is not None else counted.totalTokens
        if count is None or count < 0:
            return [Signal(body, malformed="the answer has no count in it")]
        return [Signal(b"", ((0, OTHER, "stop"),)), Signal(b"", end=True)]

    def refusal(self, status: int, body: bytes) -> ProviderError:
        return self._family.refusal(status, body)

    def error_body(self, error: HoldfastError, request_id: str) -> bytes:
        return self._family.error_body(error, request_id)

    def error_frame(self, error: HoldfastError, request_id: str) -> bytes:
        return self._family.error_frame(error, request_id)


class AnthropicCountTokens(CountTokens):
    """``POST /v1/messages/count_tokens``"""

    name = "anthropic_count_tokens"
    _family = Anthropic()
    _codec = _family.codec
    _field = "input_tokens"

    def read_request(self, body: bytes) -> Envelope:
        envelope = self._family.read_request(body)
        if envelope.stream:
            raise InvalidRequest("`stream: true` is for messages: a count comes whole", param="stream")
        return replace(envelope, max_output_tokens=0)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        del overrides  # a route's parameters are for answers
        fields = envelope.fields
        if any(mark in bytes(raw) for raw in fields.values() for mark in MARKS):
            fields = self._without_foreign_signatures(fields)
        return _encode({**fields, "model": msgspec.Raw(_encode(model))})

    def _without_foreign_signatures(self, fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        """Another provider's thoughts are left out, as they are of what Anthropic is asked: it refuses their signatures."""
        codec = self._family.codec
        return _raw_fields(codec.encode_request(codec.decode_request(_encode(fields)), Drops(HARMLESS)))


class GeminiCountTokens(CountTokens):
    """``POST /v1beta/models/{model}:countTokens``; the model stands in the path."""

    name = "gemini_count_tokens"
    _family = Gemini()
    _codec = _family.codec
    _field = "totalTokens"

    def read_request(self, body: bytes) -> Envelope:
        _, fields = read_fields(body, _object)
        place = _inner(fields)
        if place is None:
            return replace(self._family.read_request(body), max_output_tokens=0)
        try:
            self._family.read_request(bytes(fields[place]))
        except InvalidRequest as error:
            param = f"{place}.{error.param}" if error.param else place
            raise InvalidRequest(f"in `{place}`: {error.message}", param=param) from None
        return Envelope(model="", wants_usage=True, max_output_tokens=0, size=len(body), fields=fields)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        del overrides  # a route's parameters are for answers
        place = _inner(envelope.fields)
        if place is None:
            return self._family.write_request(envelope, model=model, overrides={})
        inner = self._family.read_request(bytes(envelope.fields[place]))
        written = _raw_fields(self._family.write_request(inner, model=model, overrides={}))
        name = model if model.startswith("models/") else f"models/{model}"  # here it is said once more
        written["model"] = msgspec.Raw(_encode(name))
        return _encode({**envelope.fields, place: msgspec.Raw(_encode(written))})

    def neutral(self, envelope: Envelope) -> Request:
        place = _inner(envelope.fields)
        if place is None:
            return super().neutral(envelope)
        return super().neutral(replace(envelope, fields=_raw_fields(envelope.fields[place])))


def _inner(fields: Mapping[str, msgspec.Raw]) -> str | None:
    return next((name for name in _INNER if name in fields and bytes(fields[name]) != b"null"), None)
