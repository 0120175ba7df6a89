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
_TEXT = "response.output_text.delta"


def edit_events(raw: bytes, edit: Edit) -> bytes:
    """The events' bytes, changed; empty where nothing worth sending is left of them. Usage stays: it is never apart here."""
    return b"".join(_edited(frame, edit) for frame in SSEParser().feed(raw))


def _edited(frame: Frame, edit: Edit) -> bytes:
    if frame.data is None:
        return b"" if edit.text is not None else frame.raw
    event = _fields(frame.data)
    kind = _string(event.get("type", b'""'))
    if edit.text is not None:
        return _frame(event | {"delta": _raw(edit.text)}, kind) if kind == _TEXT and edit.text else b""
    if edit.drop_finish and kind in ("response.completed", "response.incomplete"):
        return b""
    response = event.get("response")
    if response is None or (edit.id is None and edit.model is None):
        return frame.raw
    inner = _fields(response)
    if edit.id is not None:
        inner["id"] = _raw(edit.id)
    if edit.model is not None:
        inner["model"] = _raw(edit.model)
    return _frame(event | {"response": _raw(inner)}, kind)


def _frame(event: _Fields, kind: str) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _encode(event) + b"\n\n"


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
