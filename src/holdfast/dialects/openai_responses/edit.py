"""Changes to a stream's events on their way through: the slow path, taken by the few events that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.dialects.sse import SSEParser

if TYPE_CHECKING:
    from holdfast.dialects.base import Edit

__all__ = ["edit_events"]

# What isn't changed stays as it came, unread: a number too large for a float must neither be lost nor stop the stream.
_Fields = dict[str, msgspec.Raw]
_fields = msgspec.json.Decoder(_Fields).decode
_fields_or_null = msgspec.json.Decoder(_Fields | None).decode
_string = msgspec.json.Decoder(str).decode
_encode = msgspec.json.encode
_TEXT = "response.output_text.delta"
_ENDS = ("response.completed", "response.incomplete")


def edit_events(raw: bytes, edit: Edit) -> bytes:
    """The events' bytes, changed; empty where nothing worth sending is left of them. Usage stays: it is never apart here."""
    out: list[bytes] = []
    text = edit.text
    for frame in SSEParser().feed(raw):
        if frame.data is None or frame.data == b"[DONE]":
            if text is None:
                out.append(frame.raw)
            continue
        event = _fields(frame.data)
        kind = _string(event.get("type", b'""'))
        if kind in _ENDS and edit.drop_finish:
            continue
        if text is not None and kind not in _ENDS:
            if kind == _TEXT and text:
                out.append(_frame(event | {"delta": _raw(text)}, kind))
                text = ""  # all of it stands in the first event that had any
            continue
        out.append(_named(event, kind, edit) or frame.raw)
    return b"".join(out)


def _named(event: _Fields, kind: str, edit: Edit) -> bytes:
    """The event with its response under another id and model; empty where that changes nothing."""
    response = _fields_or_null(event.get("response", b"null"))
    if response is None:
        return b""
    names = {"id": edit.id, "model": edit.model}
    new = {name: _raw(value) for name, value in names.items() if value is not None and name in response}
    return _frame(event | {"response": _raw(response | new)}, kind) if new else b""


def _frame(event: _Fields, kind: str) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _encode(event) + b"\n\n"


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
