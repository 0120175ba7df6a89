"""Reading and patching Chat Completions requests: types are checked, bytes are kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.dialects.base import Envelope
from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["invalid", "read_request", "write_request"]


class _Typed(msgspec.Struct, gc=False):
    type: str


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: str = ""


class _ToolCall(msgspec.Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[_Typed] | None = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Request(msgspec.Struct, gc=False):
    """The types that a provider would refuse anyway: refusing here costs nobody an attempt. Ranges are the provider's."""

    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    tools: list[_Typed] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Typed | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None


_typed = msgspec.json.Decoder(_Request).decode
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_MAXIMA = ("max_completion_tokens", "max_tokens")
_TRUE = msgspec.Raw(b"true")
_USAGE_ONLY = msgspec.Raw(b'{"include_usage":true}')

_EXPECTED = re.compile(r"Expected `(?P<want>[^`]+)`(?:, got `(?P<got>[^`]+)`)?(?: - at `(?P<path>[^`]+)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`(?: - at `(?P<path>[^`]+)`)?")
_JSON_NAMES = {
    "str": "a string", "int": "an integer", "float": "a number", "bool": "true or false", "array": "an array",
    "object": "an object", "null": "null",
}  # fmt: skip


def read_request(body: bytes) -> Envelope:
    """The envelope of a request body.

    Raises:
        InvalidRequest: not UTF-8, not JSON, nested too deep, or a field of the wrong type; ``param`` names it.
    """
    _check_utf8(body)
    try:
        wire = _typed(body)
        fields = _raw_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(error) from None
    if not wire.model.strip():
        raise InvalidRequest(
            "`model` is empty: name a model or a route (GET /v1/models lists them)", param="model"
        )
    if not wire.messages:
        raise InvalidRequest("`messages` is empty: a chat needs at least one message", param="messages")
    if wire.n is not None and not 1 <= wire.n <= 128:
        raise InvalidRequest(f"`n` is {wire.n}: it must be between 1 and 128", param="n")
    options = wire.stream_options
    stream = bool(wire.stream)
    if options is not None and not stream:
        raise InvalidRequest("`stream_options` is only allowed with `stream: true`", param="stream_options")
    return Envelope(
        model=wire.model,
        stream=stream,
        choices=wire.n or 1,
        wants_usage=options is not None and bool(options.include_usage),
        max_output_tokens=_larger(wire.max_completion_tokens, wire.max_tokens),
        size=len(body),
        fields=fields,
    )


def write_request(envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
    """The body for a target: the caller's own bytes field by field, with model, usage request and the route's changes."""
    fields = dict(envelope.fields)
    for name, value in overrides.items():
        if name in _MAXIMA:  # one limit by two names: a provider that knows both refuses both together
            for other in _MAXIMA:
                fields.pop(other, None)
        fields[name] = msgspec.Raw(_encode(value))
    fields["model"] = msgspec.Raw(_encode(model))
    if envelope.stream and not envelope.wants_usage:
        options = fields.get("stream_options")
        if options is None:
            fields["stream_options"] = _USAGE_ONLY
        else:
            asked = _raw_fields(options) if bytes(options) != b"null" else {}
            fields["stream_options"] = msgspec.Raw(_encode({**asked, "include_usage": _TRUE}))
    return _encode(fields)


def _larger(one: int | None, other: int | None) -> int | None:
    """Of both names of the limit, if both are there: which of them a provider heeds is its own affair."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def _check_utf8(body: bytes) -> None:
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the body is not valid UTF-8: byte {body[error.start]:#04x} at offset {error.start}"
        ) from None


def invalid(error: Exception) -> InvalidRequest:
    """msgspec's words as ours: which field, what it is, what it should be."""
    if isinstance(error, RecursionError):
        return InvalidRequest("the JSON is nested too deeply")
    text = str(error)
    if found := _EXPECTED.match(text):
        param = _param(found["path"])
        want = " or ".join(_JSON_NAMES.get(part.strip(), part.strip()) for part in found["want"].split("|"))
        got = _JSON_NAMES.get(found["got"], found["got"]) if found["got"] else "something else"
        where = f"`{param}`" if param else "the body"
        return InvalidRequest(f"{where} must be {want}, not {got}", param=param)
    if found := _MISSING.match(text):
        at = _param(found["path"])
        param = f"{at}.{found['field']}" if at else found["field"]
        return InvalidRequest(f"`{param}` is missing", param=param)
    if isinstance(error, msgspec.ValidationError):
        return InvalidRequest(f"the body is not a valid request: {text}")
    return InvalidRequest(f"the body is not valid JSON: {text.removeprefix('JSON is malformed: ')}")


def _param(path: str | None) -> str | None:
    return path.removeprefix("$").removeprefix(".") or None if path else None
