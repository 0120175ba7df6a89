"""Events, as they are told: their ids count up."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Events", "error_of"]


class Events:
    """Makes one source's events. ``prefix`` sets their ids apart from those of all other sources."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0

    def next_id(self) -> str:
        self._count += 1
        return f"event_{self._prefix}{self._count:0{21 - len(self._prefix)}x}"

    def make(self, kind: str, /, **fields: Any) -> bytes:
        """An event of type ``kind``."""
        return msgspec.json.encode({"type": kind, "event_id": self.next_id(), **fields})

    def text(self, kind: str, said: str, /, **fields: Any) -> tuple[bytes, int]:
        """A delta, and the byte where what is said begins inside of it."""
        head = self.make(kind, **fields)[:-1] + b',"delta":"'
        return head + msgspec.json.encode(said)[1:-1] + b'"}', len(head)

    def error(self, error: dict[str, Any], event_id: str | None = None) -> bytes:
        """An ``error`` event, about the client's event with that id."""
        told = {name: error.get(name) for name in ("type", "code", "message", "param")}
        return self.make("error", error={**told, "event_id": event_id})


def error_of(body: bytes) -> dict[str, Any]:
    """The error inside a provider's error body, whatever stands there."""
    try:
        error = msgspec.json.decode(body)["error"]
        return {"type": error["type"], "code": error["code"], "message": error["message"]}
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        message = "The server had an error while processing your request."
        return {"type": "server_error", "code": None, "message": message}
