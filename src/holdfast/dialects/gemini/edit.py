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
_list = msgspec.json.Decoder(list[_Fields] | None).decode
_index = msgspec.json.Decoder(int | None).decode
_encode = msgspec.json.encode
_NULL, _NONE = msgspec.Raw(b"null"), msgspec.Raw(b"[]")
_EMPTY = (b"null", b"[]", b"{}", b'""')
_USAGE = "usageMetadata"


def edit_event(raw: bytes, edit: Edit) -> bytes:
    """One event's frames or several events', changed; empty where nothing worth sending is left of them."""
    out: list[bytes] = []
    text = edit.text
    for frame in SSEParser().feed(raw):
        if frame.data is None:
            out.append(frame.raw)
            continue
        chunk = _fields(frame.data)
        if text is not None:
            candidates = _list(chunk.get("candidates", _NONE)) or []
            had_text = bool(candidates) and _has_text(candidates[0])
            ends = _ends(candidates)
            if not ((had_text and text) or ends):
                continue
            if candidates:
                candidates[0] = _with_text(candidates[0], text if had_text else "")
                chunk["candidates"] = _raw(candidates)
            if had_text:
                text = ""  # all of it stands in the first frame that had any
        out.append(_edited(chunk, edit))
    return b"".join(out)


def _edited(chunk: _Fields, edit: Edit) -> bytes:
    if edit.usage == "only":
        chunk.pop("candidates", None)
        if not _says(chunk.get(_USAGE, _NULL)):
            return b""
    elif edit.usage == "drop":
        had_usage = _says(chunk.pop(_USAGE, _NULL))
        if had_usage and not _says(chunk.get("candidates", _NONE)):
            return b""
    if edit.drop_finish:
        candidates = _list(chunk.get("candidates", _NONE)) or []
        kept = [
            left
            for at, each in enumerate(candidates)
            if (left := _without_finish(each, at, edit)) is not None
        ]
        if not kept and not _says(chunk.get(_USAGE, _NULL)):
            return b""
        chunk.pop("candidates", None)
        if kept:
            chunk["candidates"] = _raw(kept)
        else:
            chunk.pop("promptFeedback", None)
    if edit.id is not None and "responseId" in chunk:
        chunk["responseId"] = _raw(edit.id)
    if edit.model is not None and "modelVersion" in chunk:
        chunk["modelVersion"] = _raw(edit.model)
    return b"data: " + _encode(chunk) + b"\n\n"


def _parts(candidate: _Fields) -> list[_Fields]:
    content = _fields_or_null(candidate.get("content", _NULL)) or {}
    return _list(content.get("parts", _NONE)) or []


def _has_text(candidate: _Fields) -> bool:
    return any(
        _says(part.get("text", _NULL)) and bytes(part.get("thought", _NULL)) != b"true"
        for part in _parts(candidate)
    )


def _with_text(candidate: _Fields, text: str) -> _Fields:
    """The candidate with nothing in it but ``text``."""
    return {**candidate, "content": _raw({"parts": [{"text": text}], "role": "model"})}


def _ends(candidates: list[_Fields]) -> bool:
    """Whether the chunk says a finish reason, or nothing but what stands around one.

    Those belong to the answer however much of its text is left; what was used so far stands in every chunk.
    """
    if not candidates:
        return True
    return any(_says(candidate.get("finishReason", _NULL)) for candidate in candidates)


def _without_finish(candidate: _Fields, at: int, edit: Edit) -> _Fields | None:
    """The candidate without its repeated finish reason; None where that was all it said."""
    index = _index(candidate.get("index", _NULL))
    if (at if index is None else index) not in edit.drop_finish:
        return candidate
    says = any(
        _says(value) for part in _parts(candidate) for name, value in part.items() if name != "thought"
    )
    if not says:
        return None
    return {name: value for name, value in candidate.items() if name != "finishReason"}


def _says(value: msgspec.Raw) -> bool:
    return bytes(value) not in _EMPTY


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
