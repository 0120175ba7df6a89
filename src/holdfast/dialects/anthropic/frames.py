"""Server-sent events as Anthropic writes them: each with its type as the event's name, which its SDK goes by."""

from __future__ import annotations

from typing import Any, Final

from holdfast.dialects.writing import write_json

__all__ = ["END_FRAME", "frame", "named"]


def frame(event: dict[str, Any]) -> bytes:
    """The event's bytes.

    Raises:
        InvalidRequest: it holds something that JSON can't say.
    """
    return named(event["type"].encode(), write_json(event))


def named(name: bytes, data: bytes) -> bytes:
    return b"event: " + name + b"\ndata: " + data + b"\n\n"


END_FRAME: Final = frame({"type": "message_stop"})
