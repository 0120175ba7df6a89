"""Reading and patching Responses requests: types are checked, bytes are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.base import Envelope
from holdfast.dialects.whole import read_fields
from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_request", "write_request"]


class _Typed(msgspec.Struct, gc=False):
    type: str


class _Item(msgspec.Struct, gc=False):
    type: str | None = None  # a message needs none
    role: str | None = None
    content: str | list[_Typed] | None = None


class _Format(msgspec.Struct, gc=False):
    format: _Typed | None = None


class _Reasoning(msgspec.Struct, gc=False):
    effort: str | None = None


class _Request(msgspec.Struct, gc=False):
    """The types that a provider would refuse anyway: refusing here costs nobody an attempt. Ranges are the provider's."""

    model: str
    input: str | list[_Item] | None = None
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    tools: list[_Typed] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: _Format | None = None
    reasoning: _Reasoning | None = None
    metadata: dict[str, Any] | None = None
    truncation: str | None = None
    user: str | None = None


_typed = msgspec.json.Decoder(_Request).decode
_fields_or_null = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
_encode = msgspec.json.Encoder().encode

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "max_tokens": ("max_output_tokens",),
    "max_completion_tokens": ("max_output_tokens",),
    "reasoning_effort": ("reasoning", "effort"),
    "verbosity": ("text", "verbosity"),
    "response_format": ("text", "format"),
}
"""Where this dialect has what Chat Completions calls otherwise."""


def read_request(body: bytes) -> Envelope:
    """The envelope of a request body.

    Raises:
        InvalidRequest: not UTF-8, not JSON, nested too deep, a field of the wrong type, or one whose cost can't be recorded;
            ``param`` names it.
    """
    wire, fields = read_fields(body, _typed)
    if not wire.model.strip():
        raise InvalidRequest(
            "`model` is empty: name a model or a route (GET /v1/models lists them)", param="model"
        )
    if not (wire.input or wire.previous_response_id or wire.conversation or wire.prompt):
        raise InvalidRequest("`input` is empty: there is nothing to respond to", param="input")
    if wire.background:
        raise InvalidRequest(
            "`background: true` answers before there is an answer: neither the answer nor its cost could be recorded. "
            "Leave it out, and stream if it takes long",
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
        outer, *inner = _PLACES.get(name, (name,))
        new = msgspec.Raw(_encode(_format(value) if name == "response_format" else value))
        if inner:
            around = _fields_or_null(fields.get(outer, b"null")) or {}
            new = msgspec.Raw(_encode({**around, inner[0]: new}))
        fields[outer] = new
    fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)


def _format(value: Any) -> Any:
    """Chat's ``{"type": "json_schema", "json_schema": {"name", "schema"}}`` has one object less here."""
    if not isinstance(value, dict) or not isinstance(inner := value.get("json_schema"), dict):
        return value
    return {**{name: each for name, each in value.items() if name != "json_schema"}, **inner}
