"""Changes to a stream's events on their way through: the slow path, taken by the few events that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.anthropic.frames import named
from holdfast.dialects.sse import SSEParser

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.base import Edit

__all__ = ["edit_event"]

# What isn't changed stays as it came, unread: a number too large for a float must neither be lost nor stop the stream.
_Fields = dict[str, msgspec.Raw]
_fields = msgspec.json.Decoder(_Fields).decode
_word = msgspec.json.Decoder(str).decode
_encode = msgspec.json.encode
_NOTHING: Final = msgspec.Raw(b"{}")
_NO_WORD: Final = msgspec.Raw(b'""')
_HOLDERS: Final = {"content_block_start": "content_block", "content_block_delta": "delta"}
_ENDS: Final = ("message_delta", "message_stop", "error")
"""Events that belong to the answer however much of its text is left."""


def edit_event(raw: bytes, edit: Edit) -> bytes:
    """One event's frames or several events', changed; empty where nothing worth sending is left of them.

    Usage is part of events that say more, so it is never taken out and never left alone. The only choice is 0.
    """
    out: list[bytes] = []
    text = edit.text
    for frame in SSEParser().feed(raw):
        if frame.data is None:
            out.append(frame.raw)
            continue
        event = _fields(frame.data)
        kind = _word(event.get("type", _NO_WORD))
        if text is not None and kind not in _ENDS:
            changed = _with_text(event, kind, text)
            if changed:
                out.append(changed)
                text = ""  # all of it stands in the first event that had any
        elif kind == "message_delta" and 0 in edit.drop_finish:
            continue
        else:
            out.append(_renamed(event, edit) if kind == "message_start" else frame.raw)
    return b"".join(out)


def _renamed(event: _Fields, edit: Edit) -> bytes:
    message = _fields(event.get("message", _NOTHING))
    for name, value in (("id", edit.id), ("model", edit.model)):
        if value is not None and name in message:
            message[name] = _raw(value)
    return _framed(event | {"message": _raw(message)}, "message_start")


def _with_text(event: _Fields, kind: str, text: str) -> bytes:
    """A delta that says ``text`` in place of the event's text; empty if it has none, or none is left.

    A block's beginning is the caller's already, and only the text in it, which servers may put there, goes on as a delta.
    """
    holder = _HOLDERS.get(kind)
    if (
        holder is None
        or not text
        or bytes(_fields(event.get(holder, _NOTHING)).get("text", _NO_WORD)) == b'""'
    ):
        return b""
    delta = {"type": "text_delta", "text": text}
    changed = {"type": "content_block_delta", "index": event["index"], "delta": delta}
    return _framed(changed, "content_block_delta")


def _framed(event: Mapping[str, Any], kind: str) -> bytes:
    return named(kind.encode(), _encode(event))


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
