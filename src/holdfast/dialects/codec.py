"""A dialect's codec: its wire format to the neutral model and back, complete and without loss.

The hot path between callers and providers of one dialect goes by :mod:`holdfast.dialects.base` and keeps the bytes. The
codec serves every other pair. :func:`holdfast.testing.conformance.run_dialect_conformance` proves one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from holdfast.dialects.writing import Drops
    from holdfast.model import Answer, Event, Request, WireError

__all__ = ["DialectCodec", "EventDecoder", "EventEncoder"]


class EventDecoder(Protocol):
    """Reads one stream, however its bytes are cut."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes. Raises BadAnswer for what can't be read."""
        ...

    def finish(self) -> list[Event]:
        """The bytes have ended: what was left over, if it is a whole event."""
        ...


class EventEncoder(Protocol):
    """Writes one stream."""

    def encode(self, event: Event) -> bytes:
        """The bytes that tell ``event``; empty where the dialect has nothing to tell."""
        ...


class DialectCodec(Protocol):
    """A wire format, both ways."""

    @property
    def name(self) -> str:
        """As configuration names the dialect."""
        ...

    def decode_request(self, body: bytes) -> Request:
        """Raises InvalidRequest, whose ``param`` is the path of the field at fault."""
        ...

    def encode_request(self, request: Request, drops: Drops | None = None) -> bytes:
        """Raises CantExpress where the dialect has no way to say it, InvalidRequest where JSON hasn't.

        ``drops`` says what may be left out instead, and notes what was.
        """
        ...

    def locate(self, request: Request, path: str) -> str:
        """``path`` in a request that this dialect decoded (``messages[2].parts[0]``) as its caller wrote it.

        An approximation is fine where the wire has no such place: it is for error messages. Never raises.
        """
        ...

    def decode_answer(self, body: bytes) -> Answer:
        """Raises BadAnswer."""
        ...

    def encode_answer(self, answer: Answer) -> bytes:
        """What belongs to another dialect alone is left out: an answer has to arrive."""
        ...

    def stream_decoder(self) -> EventDecoder: ...

    def stream_encoder(self, *, include_usage: bool = True) -> EventEncoder: ...

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Never raises: whatever came is an error, readable or not."""
        ...

    def encode_error(self, error: WireError) -> bytes: ...
