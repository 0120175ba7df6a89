"""Reading and patching Responses requests: types are checked, bytes are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.base import Envelope
from holdfast.dialects.openai_chat.envelope import invalid
from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_request", "write_request"]


class _Request(msgspec.Struct, gc=False):
    """The types that a provider would refuse anyway: refusing here costs nobody an attempt."""

    model: str
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[dict[str, Any]] | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    previous_response_id: str | None = None


_typed = msgspec.json.Decoder(_Request).decode
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "max_tokens": ("max_output_tokens",),
    "max_completion_tokens": ("max_output_tokens",),
    "reasoning_effort": ("reasoning", "effort"),
    "verbosity": ("text", "verbosity"),
}
"""Where this dialect has what Chat Completions calls otherwise."""


def read_request(body: bytes) -> Envelope:
    """The envelope of a request body.

    Raises:
        InvalidRequest: not UTF-8, not JSON, a field of the wrong type, or one that can't be passed on honestly.
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
    if wire.background:
        raise InvalidRequest(
            "`background` answers before there is an answer: what it costs could not be recorded; leave it out",
            param="background",
        )
    return Envelope(
        model=wire.model,
        stream=bool(wire.stream),
        wants_usage=True,
        max_output_tokens=wire.max_output_tokens,
        size=len(body),
        fields=fields,
    )


def write_request(envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
    """The body for a target: the caller's own bytes field by field, with the model and the route's changes."""
    fields = dict(envelope.fields)
    for name, value in overrides.items():
        place = _PLACES.get(name, (name,))
        if len(place) == 1:
            fields[place[0]] = msgspec.Raw(_encode(value))
            continue
        outer, inner = place
        there = fields.get(outer)
        around = {} if there is None or bytes(there) == b"null" else _raw_fields(there)
        fields[outer] = msgspec.Raw(_encode({**around, inner: msgspec.Raw(_encode(value))}))
    fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)
