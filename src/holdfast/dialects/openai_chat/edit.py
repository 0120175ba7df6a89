"""Changes to a stream's events on their way through: the slow path, taken by the few events that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.dialects.sse import SSEParser

if TYPE_CHECKING:
    from holdfast.dialects.base import Edit

__all__ = ["edit_event"]

# What isn't changed stays as it came, unread: a number too large for a float must neither be lost nor stop the stream.
_Fields = dict[str, msgspec.Raw]
_fields = msgspec.json.Decoder(_Fields).decode
_fields_or_null = msgspec.json.Decoder(_Fields | None).decode
_choices = msgspec.json.Decoder(list[_Fields] | None).decode
_index = msgspec.json.Decoder(int).decode
_encode = msgspec.json.encode
_NULL, _NONE, _EMPTY = (
    msgspec.Raw(b"null"),
    msgspec.Raw(b"[]"),
    (b"null", b"[]", b"{}", b'""', b"false", b"0"),
)


def edit_event(raw: bytes, edit: Edit) -> bytes:
    """One event's frames or several events', changed; empty where nothing worth sending is left of them."""
    out: list[bytes] = []
    text = edit.text
    for frame in SSEParser().feed(raw):
        if frame.data is None or frame.data == b"[DONE]":
            out.append(frame.raw)
            continue
        chunk = _fields(frame.data)
        if text is not None:
            had_text = _leave_text(chunk, text)
            worth_sending = (had_text and text) or _ends(chunk)
            if had_text:
                text = ""  # all of it stands in the first frame that had any
            if not worth_sending:
                continue
        out.append(_edited(chunk, edit))
    return b"".join(out)


def _edited(chunk: _Fields, edit: Edit) -> bytes:
    choices = _choices(chunk.get("choices", _NONE)) or []
    if edit.usage == "only":
        choices = []
        chunk["choices"] = _NONE
    elif edit.usage == "drop":
        had_usage = _says(chunk.pop("usage", _NULL))
        if had_usage and not choices:
            return b""
    if edit.drop_finish:
        choices = [kept for choice in choices if (kept := _without_finish(choice, edit))]
        chunk["choices"] = _raw(choices)
        if not choices and not _says(chunk.get("usage", _NULL)):
            return b""
    if edit.id is not None and "id" in chunk:
        chunk["id"] = _raw(edit.id)
    if edit.model is not None and "model" in chunk:
        chunk["model"] = _raw(edit.model)
    return b"data: " + _encode(chunk) + b"\n\n"


def _leave_text(chunk: _Fields, text: str) -> bool:
    """Leaves nothing in the only choice's delta but ``text`` in place of its text; whether it had any."""
    choices = _choices(chunk.get("choices", _NONE)) or []
    if not choices:
        return False
    delta = _fields_or_null(choices[0].get("delta", _NULL)) or {}
    had_text = _says(delta.get("content", _NULL))
    choices[0]["delta"] = _raw({"content": text} if had_text and text else {})
    chunk["choices"] = _raw(choices)
    return had_text


def _ends(chunk: _Fields) -> bool:
    """Whether the chunk says a finish reason or usage, which belong to the answer however much of its text is left."""
    choices = _choices(chunk.get("choices", _NONE)) or []
    finishes = any(_says(choice.get("finish_reason", _NULL)) for choice in choices)
    return finishes or _says(chunk.get("usage", _NULL))


def _without_finish(choice: _Fields, edit: Edit) -> _Fields | None:
    """The choice without its repeated finish reason; None where that was all it said."""
    if _index(choice.get("index", b"0")) not in edit.drop_finish:
        return choice
    delta = _fields_or_null(choice.get("delta", _NULL)) or {}
    if not any(_says(value) for name, value in delta.items() if name != "role"):
        return None
    return {**choice, "finish_reason": _NULL}


def _says(value: msgspec.Raw) -> bool:
    return bytes(value) not in _EMPTY


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
