"""Reading Messages answers as far as the stream guard must, and no further: this runs for every event.

Blocks are numbered on this wire: one that begins out of turn, goes on without being open or ends twice was lost or swapped.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from holdfast.dialects.anthropic.refusals import inner_refusal
from holdfast.dialects.base import OTHER, REASONING, TEXT, TOOL, Beat, Signal
from holdfast.dialects.sse import SSEParser
from holdfast.model.usage import Usage

__all__ = ["MessageScanner", "read_answer"]


class _ByAge(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _ByAge | None = None
    output_tokens_details: _OutputDetails | None = None


class _Message(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None


class _Block(msgspec.Struct, gc=False):
    type: str
    text: str | None = None
    thinking: str | None = None


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int | None = None
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: Any = None


class _Whole(msgspec.Struct, gc=False):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: Any = None


_event = msgspec.json.Decoder(_Event).decode
_whole = msgspec.json.Decoder(_Whole).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BITS: Final = {"thinking": REASONING, "redacted_thinking": REASONING, "tool_use": TOOL}
"""What a block is that isn't text; any other kind is a server tool's or newer than we are."""
_NOTHING: Final[tuple[Beat, ...]] = ()


class MessageScanner:
    """Bytes of one streamed answer to signals."""

    __slots__ = ("_bits", "_next", "_open", "_parser", "_said", "_text_block", "_usage")

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._open: int | None = None
        self._next = 0
        self._bits = 0
        self._said = False
        self._text_block: int | None = None
        self._usage = _Usage()

    def feed(self, data: bytes) -> list[Signal]:
        return [
            Signal(frame.raw) if frame.data is None else self._signal(frame.raw, frame.data)
            for frame in self._parser.feed(data)
        ]

    def finish(self) -> list[Signal]:
        frame = self._parser.finish()
        if frame is None or frame.data is None:
            return []
        signal = self._signal(frame.raw, frame.data)
        return [] if signal.malformed else [signal]  # half an event is a cut, not a malformed answer

    def _signal(self, raw: bytes, data: bytes) -> Signal:
        try:
            if not data.isascii():
                data.decode()  # what the typed reading skips isn't checked for valid UTF-8
            event = _event(data)
        except _UNREADABLE as error:
            return Signal(raw, malformed=f"a stream event can't be read: {error}")
        match event.type:
            case "content_block_delta":
                return self._delta(raw, event)
            case "content_block_start":
                return self._start(raw, event)
            case "content_block_stop":
                if event.index is None or event.index != self._open:
                    return Signal(raw, malformed=f"block {event.index} ends without being open")
                self._open = None
                return Signal(raw, ((0, 0, None),))
            case "message_start":
                message = event.message or _Message()
                self._usage = message.usage or self._usage
                return Signal(raw, ((0, 0, None),), id=message.id, model=message.model)
            case "message_delta":
                return self._end(raw, event)
            case "message_stop":
                return Signal(raw, end=True)
            case "error":
                return Signal(raw, error=inner_refusal(event.error, data))
            case _:
                return Signal(raw)  # a ping, or an event of a newer version

    def _start(self, raw: bytes, event: _Event) -> Signal:
        block = event.content_block
        if self._open is not None or event.index != self._next or block is None:
            return Signal(raw, malformed=f"block {event.index} begins where block {self._next} should")
        self._open = self._next
        self._next += 1
        if block.type == "text":
            first = self._text_block is None
            if first:
                self._text_block = self._open
            self._bits = TEXT if first else TEXT | OTHER
            text = block.text or ""
            return Signal(raw, ((0, self._bits if text else 0, None),), text)
        self._bits = _BITS.get(block.type, OTHER)
        said = self._bits if block.type != "thinking" or block.thinking else 0
        return Signal(raw, ((0, said, None),))

    def _delta(self, raw: bytes, event: _Event) -> Signal:
        delta = event.delta
        if event.index is None or event.index != self._open or delta is None:
            return Signal(raw, malformed=f"block {event.index} goes on without being open")
        text = delta.text or ""
        said = self._bits if text or delta.thinking or delta.partial_json else 0
        return Signal(raw, ((0, said, None),), text if self._bits & TEXT else "")

    def _end(self, raw: bytes, event: _Event) -> Signal:
        reason = event.delta.stop_reason if event.delta is not None else None
        usage = None
        if event.usage is not None:
            self._usage = _later(self._usage, event.usage)
            if reason is not None:
                usage = neutral(self._usage)
        return Signal(raw, ((0, 0, reason),), usage=usage)


def neutral(usage: _Usage) -> Usage | None:
    """The counts as totals: Anthropic counts cached input beside the rest."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    plain = usage.input_tokens
    return Usage(
        input_tokens=None if plain is None else plain + (read or 0) + (written or 0),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=None
        if usage.cache_creation is None
        else usage.cache_creation.ephemeral_1h_input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=None
        if usage.output_tokens_details is None
        else usage.output_tokens_details.thinking_tokens,
    )


def _later(first: _Usage, then: _Usage) -> _Usage:
    """Counts are cumulative: what is said later replaces what was said first, where it says anything."""
    return _Usage(
        *(
            mine if (new := getattr(then, name)) is None else new
            for name in _Usage.__struct_fields__
            for mine in (getattr(first, name),)
        )
    )


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
    if whole.error is not None or whole.type == "error":
        return [Signal(body, error=inner_refusal(whole.error, body))]
    if whole.content is None:
        return [Signal(body, malformed="the answer has no content: it isn't a message")]
    bits, texts = 0, 0
    for block in whole.content:
        if block.type == "text":
            texts += 1
            bits |= (TEXT if texts == 1 else TEXT | OTHER) if block.text else 0
        else:
            bits |= _BITS.get(block.type, OTHER)
    text = "".join(block.text or "" for block in whole.content if block.type == "text")
    usage = neutral(whole.usage) if whole.usage is not None else None
    return [
        Signal(b"", ((0, bits, whole.stop_reason),), text, id=whole.id, model=whole.model),
        Signal(b"", usage=usage),
        Signal(b"", end=True),
    ]
