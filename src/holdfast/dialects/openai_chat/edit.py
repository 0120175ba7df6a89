"""Changes to a stream's events on their way through: the slow path, taken by the few events that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.dialects.sse import SSEParser

if TYPE_CHECKING:
    from holdfast.dialects.base import Edit

__all__ = ["edit_event"]


def edit_event(raw: bytes, edit: Edit) -> bytes:
    """One event's bytes, changed; empty where nothing worth sending is left of it."""
    (frame,) = SSEParser().feed(raw)
    if frame.data is None or frame.data == b"[DONE]":
        return raw
    chunk: dict[str, Any] = msgspec.json.decode(frame.data)
    choices: list[dict[str, Any]] = chunk.get("choices") or []
    if edit.usage == "only":
        chunk["choices"] = choices = []
    elif edit.usage == "drop":
        had_usage = chunk.pop("usage", None) is not None
        if had_usage and not choices:
            return b""
    if edit.drop_finish:
        chunk["choices"] = choices = [kept for choice in choices if (kept := _without_finish(choice, edit))]
        if not choices and not chunk.get("usage"):
            return b""
    if edit.id is not None and "id" in chunk:
        chunk["id"] = edit.id
    if edit.model is not None and "model" in chunk:
        chunk["model"] = edit.model
    if edit.text is not None and choices:
        choices[0].setdefault("delta", {})["content"] = edit.text
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _without_finish(choice: dict[str, Any], edit: Edit) -> dict[str, Any] | None:
    """The choice without its repeated finish reason; None where that was all it said."""
    if choice.get("index", 0) not in edit.drop_finish:
        return choice
    delta = choice.get("delta") or {}
    if not any(value for name, value in delta.items() if name != "role"):
        return None
    return {**choice, "finish_reason": None}
