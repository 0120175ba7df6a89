"""Reading streamed Responses as far as the stream guard must, and no further: this runs for every event.

Events are numbered on this wire: one that comes out of turn was lost, repeated or swapped. The last one holds the whole
answer, with its status and usage; there is no other end marker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.base import AUDIO, OTHER, REASONING, REFUSAL, TEXT, TOOL, Beat, Signal
from holdfast.dialects.openai_responses.endings import Streamed, failure
from holdfast.dialects.openai_responses.items import ITEMS
from holdfast.dialects.sse import SSEParser

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ResponseScanner"]


class _Item(msgspec.Struct, gc=False):
    type: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    sequence_number: int | None = None
    delta: Any = None
    output_index: int | None = None
    content_index: int | None = None
    item: _Item | None = None
    response: Streamed | None = None
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


_event = msgspec.json.Decoder(_Event).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_DELTAS: Final[Mapping[str, int]] = {
    "response.output_text.delta": TEXT,
    "response.refusal.delta": REFUSAL,
    "response.reasoning_text.delta": REASONING,
    "response.reasoning_summary_text.delta": REASONING,
    "response.function_call_arguments.delta": TOOL,
    "response.custom_tool_call_input.delta": TOOL,
    "response.shell_call_command.delta": TOOL,
    "response.audio.delta": AUDIO,
    "response.audio.transcript.delta": AUDIO,
    "response.mcp_call_arguments.delta": OTHER,
    "response.code_interpreter_call_code.delta": OTHER,
    "response.shell_call_output_content.delta": OTHER,
}
"""Events that say a piece of something, unless their delta is empty."""
_WHOLE_PIECES: Final = frozenset(
    ("response.image_generation_call.partial_image", "response.output_text.annotation.added")
)
"""Content that comes in one piece."""
_STANDING: Final = frozenset(("response.created", "response.queued", "response.in_progress"))
_LAST: Final = frozenset(("response.completed", "response.incomplete", "response.failed"))
_NOTHING: Final[tuple[Beat, ...]] = ((0, 0, None),)


class ResponseScanner:
    """Bytes of one streamed answer to signals."""

    __slots__ = ("_next", "_parser", "_text_at")

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._next: int | None = None
        self._text_at: tuple[int | None, int | None] | None = None

    def feed(self, data: bytes) -> list[Signal]:
        signals: list[Signal] = []
        for frame in self._parser.feed(data):
            if frame.data is None:
                signals.append(Signal(frame.raw))
            elif frame.data != b"[DONE]":  # some servers end as they do in Chat Completions
                signals += self._signals(frame.raw, frame.data)
        return signals

    def finish(self) -> list[Signal]:
        frame = self._parser.finish()
        if frame is None or frame.data is None or frame.data == b"[DONE]":
            return []
        signals = self._signals(frame.raw, frame.data)
        return [] if signals[0].malformed else signals  # half an event is a cut, not a malformed answer

    def _signals(self, raw: bytes, data: bytes) -> list[Signal]:
        try:
            if not data.isascii():
                data.decode()  # what the typed reading skips isn't checked for valid UTF-8
            event = _event(data)
        except _UNREADABLE as error:
            return [Signal(raw, malformed=f"a stream event can't be read: {error}")]
        kind = event.type
        if event.error is not None or kind == "error":  # a proxy's error has no number
            return [Signal(raw, error=failure(_said(event)))]
        number = event.sequence_number
        if number is not None:
            if number != self._next and not (
                self._next is None and (number == 0 or kind == "response.created")
            ):
                return [Signal(raw, malformed=f"event {number} comes where event {self._next or 0} should")]
            self._next = number + 1
        if (bits := _DELTAS.get(kind)) is not None:
            return [self._delta(raw, event, bits)]
        if kind in _LAST:
            return _ended(raw, event)
        if kind in _STANDING:
            response = event.response or Streamed()
            return [Signal(raw, _NOTHING, id=response.id, model=response.model)]
        if kind == "response.output_item.added":
            item = event.item.type if event.item is not None else None
            return [Signal(raw, ((0, ITEMS.get(item or "", OTHER), None),))]
        if kind in _WHOLE_PIECES:
            return [Signal(raw, ((0, OTHER, None),))]
        return [Signal(raw, _NOTHING)]

    def _delta(self, raw: bytes, event: _Event, bits: int) -> Signal:
        delta = event.delta
        if not delta:
            return Signal(raw, _NOTHING)
        if bits != TEXT:
            return Signal(raw, ((0, bits, None),))
        place = (event.output_index, event.content_index)
        if self._text_at is None:
            self._text_at = place
        if delta.__class__ is not str:
            return Signal(raw, malformed="a text delta is no text")
        return Signal(raw, ((0, TEXT if place == self._text_at else TEXT | OTHER, None),), delta)


def _ended(raw: bytes, event: _Event) -> list[Signal]:
    """The last event is two things: why it ended, with usage, and the end."""
    response = event.response
    if response is None:
        return [Signal(raw, malformed=f"{event.type} comes without its response")]
    response.status = response.status or event.type.removeprefix("response.")
    usage = response.counted
    if response.failed or event.type == "response.failed":
        counted = [Signal(b"", usage=usage)] if usage is not None else []  # it is billed all the same
        return [*counted, Signal(raw, error=failure(response.error))]
    if response.finish is None:
        return [Signal(raw, malformed=f"{event.type} says that the status is {response.status!r}")]
    return [
        Signal(raw, ((0, 0, response.finish),), usage=usage, id=response.id, model=response.model),
        Signal(b"", end=True),
    ]


def _said(event: _Event) -> Any:
    """An ``error`` event has its fields at its top, or in an object of their own as other errors have."""
    if event.error is not None:
        return event.error
    return {"message": event.message, "param": event.param, "code": event.code}
