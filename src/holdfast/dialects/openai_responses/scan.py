"""Reading Responses answers as far as the stream guard must, and no further.

Events are numbered on this wire: one that comes out of turn was lost, repeated or swapped. The last one holds the whole
answer, with its status and usage; there is no other end marker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.base import AUDIO, OTHER, REASONING, REFUSAL, TEXT, TOOL, Signal
from holdfast.dialects.openai_chat.refusals import inner_refusal
from holdfast.dialects.sse import SSEParser
from holdfast.model.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ResponseScanner", "read_answer"]


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def neutral(self) -> Usage | None:
        if self.input_tokens is None and self.output_tokens is None:
            return None
        given, made = self.input_tokens_details, self.output_tokens_details
        return Usage(
            input_tokens=self.input_tokens,
            cache_read_tokens=None if given is None else given.cached_tokens,
            cache_write_tokens=None if given is None else given.cache_write_tokens,
            output_tokens=self.output_tokens,
            reasoning_tokens=None if made is None else made.reasoning_tokens,
        )


class _Piece(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    content: list[_Piece] | None = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: list[_Item] | None = None
    usage: _Usage | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None

    @property
    def finish(self) -> str | None:
        """Why it ended; None: it hasn't. Some servers say ``complete`` or nothing of a whole answer."""
        if self.status == "incomplete":
            reason = self.incomplete_details.reason if self.incomplete_details is not None else None
            return reason or "incomplete"
        return "completed" if self.status in ("completed", "complete") else None


class _Event(msgspec.Struct, gc=False):
    type: str
    sequence_number: int | None = None
    response: _Response | None = None
    item: _Item | None = None
    output_index: int | None = None
    content_index: int | None = None
    delta: Any = None
    error: Any = None
    code: Any = None
    message: str | None = None


_event = msgspec.json.Decoder(_Event).decode
_whole = msgspec.json.Decoder(_Response).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_DELTAS: Final[Mapping[str, int]] = {
    "response.output_text.delta": TEXT,
    "response.refusal.delta": REFUSAL,
    "response.reasoning_text.delta": REASONING,
    "response.reasoning_summary_text.delta": REASONING,
    "response.function_call_arguments.delta": TOOL,
    "response.custom_tool_call_input.delta": TOOL,
    "response.mcp_call_arguments.delta": TOOL,
    "response.audio.delta": AUDIO,
    "response.audio.transcript.delta": AUDIO,
    "response.code_interpreter_call_code.delta": OTHER,
    "response.image_generation_call.partial_image": OTHER,
}
_ITEMS: Final[Mapping[str, int]] = {
    "message": 0,
    "reasoning": 0,
    "function_call": TOOL,
    "custom_tool_call": TOOL,
}
"""What an output item is from its beginning; any other kind is a tool that the provider runs itself."""
_PIECES: Final[Mapping[str, int]] = {"output_text": TEXT, "refusal": REFUSAL, "reasoning_text": REASONING}


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
            elif frame.data != b"[DONE]":  # some servers end as they do in the older dialect
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
        number = event.sequence_number
        if number is not None:
            if self._next is not None and number != self._next:
                return [Signal(raw, malformed=f"event {number} comes where event {self._next} should")]
            self._next = number + 1
        if (bits := _DELTAS.get(event.type)) is not None:
            return [self._delta(raw, event, bits)]
        match event.type:
            case "response.completed" | "response.incomplete":
                return _ended(raw, event.response or _Response())
            case "response.failed" | "error":
                said = event.response.error if event.response is not None else event.error
                return [Signal(raw, error=inner_refusal(said or _flat(event), data))]
            case "response.created":
                response = event.response or _Response()
                return [Signal(raw, ((0, 0, None),), id=response.id, model=response.model)]
            case "response.output_item.added":
                kind = event.item.type if event.item is not None else None
                return [Signal(raw, ((0, _ITEMS.get(kind or "", OTHER), None),))]
            case _:
                return [Signal(raw, ((0, 0, None),))]

    def _delta(self, raw: bytes, event: _Event, bits: int) -> Signal:
        text = event.delta if isinstance(event.delta, str) else ""
        if not text and bits is not OTHER:
            bits = 0
        if bits != TEXT:
            return Signal(raw, ((0, bits, None),))
        place = (event.output_index, event.content_index)
        if self._text_at is None:
            self._text_at = place
        return Signal(raw, ((0, TEXT if place == self._text_at else TEXT | OTHER, None),), text)


def _ended(raw: bytes, response: _Response) -> list[Signal]:
    """The last event is two things: why it ended, with usage, and the end."""
    finish = response.finish
    if finish is None:
        return [Signal(raw, malformed=f"the last event's status is {response.status!r}")]
    usage = response.usage.neutral() if response.usage is not None else None
    return [Signal(raw, ((0, 0, finish),), usage=usage), Signal(b"", end=True)]


def _flat(event: _Event) -> dict[str, Any]:
    """An ``error`` event's fields stand at its top."""
    return {"message": event.message or "the provider said no more than that", "code": event.code}


def read_answer(body: bytes) -> list[Signal]:
    """A whole answer as the signals of its split."""
    if not body or body.isspace():
        return [Signal(body, malformed="the provider answered 200 with an empty body")]
    try:
        whole = _whole(body)
        if not body.isascii():
            body.decode()  # what the typed reading skips isn't checked for valid UTF-8
    except _UNREADABLE as error:
        return [Signal(body, malformed=f"the answer can't be read: {error}")]
    if whole.error is not None:
        return [Signal(body, error=inner_refusal(whole.error, body))]
    if whole.output is None:
        return [Signal(body, malformed="the answer has no output: it isn't a response")]
    bits, text = 0, ""
    for item in whole.output:
        bits |= REASONING if item.type == "reasoning" else _ITEMS.get(item.type or "", OTHER)
        for piece in item.content or ():
            bits |= _PIECES.get(piece.type or "", OTHER)
            if piece.type == "output_text":
                text += piece.text or ""
    usage = whole.usage.neutral() if whole.usage is not None else None
    return [
        Signal(b"", ((0, bits, whole.finish),), text, id=whole.id, model=whole.model),
        Signal(b"", usage=usage),
        Signal(b"", end=True),
    ]
