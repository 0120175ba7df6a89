"""Reading and patching Messages requests: types are checked, bytes are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.base import Envelope
from holdfast.dialects.openai_chat.envelope import invalid
from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_request", "write_request"]


class _Typed(msgspec.Struct, gc=False):
    type: str


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[_Typed]


class _Request(msgspec.Struct, gc=False):
    """The types that Anthropic would refuse anyway: refusing here costs nobody an attempt. Ranges are Anthropic's."""

    model: str
    messages: list[_Message]
    max_tokens: int | None = None
    stream: bool | None = None
    system: str | list[_Typed] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: _Typed | None = None
    thinking: _Typed | None = None
    metadata: dict[str, Any] | None = None


_typed = msgspec.json.Decoder(_Request).decode
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_PLACES: Final[Mapping[str, str]] = {
    "max_completion_tokens": "max_tokens",
    "stop": "stop_sequences",
}
"""OpenAI's names of what has another one here."""


def read_request(body: bytes) -> Envelope:
    """The envelope of a request body. ``max_tokens`` may be missing: whoever is asked gets one.

    Raises:
        InvalidRequest: not UTF-8, not JSON, nested too deep, or a field of the wrong type; ``param`` names it.
    """
    try:
        if not body.isascii():
            body.decode()
        wire = _typed(body)
        fields = _raw_fields(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not valid UTF-8 at offset {error.start}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(error) from None
    if not wire.model.strip():
        raise InvalidRequest(
            "`model` is empty: name a model or a route (GET /v1/models lists them)", param="model"
        )
    if not wire.messages:
        raise InvalidRequest("`messages` is empty: it needs at least one message", param="messages")
    return Envelope(
        model=wire.model,
        stream=bool(wire.stream),
        wants_usage=True,
        max_output_tokens=wire.max_tokens,
        size=len(body),
        fields=fields,
    )


def write_request(envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
    """The body for a target: the caller's own bytes field by field, with the model and the route's changes."""
    fields = dict(envelope.fields)
    for name, value in overrides.items():
        if name == "user":
            metadata = _raw_fields(fields["metadata"]) if "metadata" in fields else {}
            fields["metadata"] = msgspec.Raw(_encode({**metadata, "user_id": value}))
            continue
        if name == "stop" and isinstance(value, str):
            value = [value]  # noqa: PLW2901  # OpenAI takes one text too
        fields[_PLACES.get(name, name)] = msgspec.Raw(_encode(value))
    fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)
