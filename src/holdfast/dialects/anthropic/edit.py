"""Changes to a stream's events on their way through: the slow path, taken by the few events that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.dialects.sse import SSEParser

if TYPE_CHECKING:
    from holdfast.dialects.base import Edit
    from holdfast.dialects.sse import Frame

__all__ = ["edit_events"]

_Fields = dict[str, msgspec.Raw]
_fields = msgspec.json.Decoder(_Fields).decode
_string = msgspec.json.Decoder(str).decode
_encode = msgspec.json.encode


def edit_events(raw: bytes, edit: Edit) -> bytes:
    """The events' bytes, changed; empty where nothing worth sending is left of them. Usage stays: it is never apart here."""
    return b"".join(_edited(frame, edit) for frame in SSEParser().feed(raw))


def _edited(frame: Frame, edit: Edit) -> bytes:
    if frame.data is None:
        return b"" if edit.text is not None else frame.raw
    event = _fields(frame.data)
    kind = _string(event.get("type", b'""'))
    if edit.text is not None:
        return _with_text(event, kind, edit.text)
    if kind == "message_delta" and edit.drop_finish:
        return b""
    if kind == "message_start" and (edit.id is not None or edit.model is not None):
        message = _fields(event["message"])
        if edit.id is not None:
            message["id"] = _raw(edit.id)
        if edit.model is not None:
            message["model"] = _raw(edit.model)
        return _frame(event | {"message": _raw(message)}, kind)
    return frame.raw


def _with_text(event: _Fields, kind: str, text: str) -> bytes:
    if kind != "content_block_delta":
        return b""
    delta = _fields(event.get("delta", b"{}"))
    if "text" not in delta or not text:
        return b""
    return _frame(event | {"delta": _raw(delta | {"text": _raw(text)})}, kind)


def _frame(event: _Fields, kind: str) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _encode(event) + b"\n\n"


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
