"""Reading and patching Messages requests: types are checked, bytes are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.base import Envelope
from holdfast.dialects.openai_chat.envelope import invalid
from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OUTPUT_LIMIT", "read_request", "write_request"]

OUTPUT_LIMIT: Final = 4_096
"""``max_tokens`` where neither the caller nor the engine says one: every model of Anthropic's can answer as much."""


class _Typed(msgspec.Struct, gc=False):
    type: str


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[_Typed]


class _Tool(msgspec.Struct, gc=False):
    name: str | None = None
    type: str | None = None


class _Metadata(msgspec.Struct, gc=False):
    user_id: str | None = None


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
    tools: list[_Tool] | None = None
    tool_choice: _Typed | None = None
    thinking: _Typed | None = None
    output_config: dict[str, Any] | None = None
    cache_control: _Typed | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None


_typed = msgspec.json.Decoder(_Request).decode
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_LIMIT: Final = "max_tokens"
_PLACES: Final[Mapping[str, str]] = {
    "max_completion_tokens": _LIMIT,
    "max_output_tokens": _LIMIT,
    "reasoning_effort": "output_config.effort",
    "stop": "stop_sequences",
    "user": "metadata.user_id",
}
"""OpenAI's names of what has another place here; one level deep at most."""


def read_request(body: bytes) -> Envelope:
    """The envelope of a request body. ``max_tokens`` may be missing, though Anthropic requires it: one is put there.

    Raises:
        InvalidRequest: not UTF-8, not JSON, nested too deep, or a field of the wrong type; ``param`` names it.
    """
    try:
        if not body.isascii():
            body.decode()  # what the typed reading skips isn't checked for valid UTF-8
        wire = _typed(body)
        fields = _raw_fields(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the body is not valid UTF-8: byte {body[error.start]:#04x} at offset {error.start}"
        ) from None
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
        wants_usage=True,  # it is part of the events here, and nobody can ask for an answer without it
        max_output_tokens=wire.max_tokens,
        size=len(body),
        fields=fields,
    )


def write_request(envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
    """The body for a target: the caller's own bytes field by field, with model, output limit and the route's changes."""
    fields = dict(envelope.fields)
    for name, value in overrides.items():
        if name == "stop" and isinstance(value, str):
            value = [value]  # noqa: PLW2901  # OpenAI takes a single text too
        outer, _, inner = _PLACES.get(name, name).partition(".")
        if inner:
            value = {**_inner(fields.get(outer)), inner: value}  # noqa: PLW2901  # beside what stands there
        fields[outer] = msgspec.Raw(_encode(value))
    if bytes(fields.get(_LIMIT, b"null")) == b"null":
        fields[_LIMIT] = msgspec.Raw(_encode(OUTPUT_LIMIT))
    fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)


def _inner(raw: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    return {} if raw is None or bytes(raw) == b"null" else _raw_fields(raw)
