"""Reading Messages answers as far as the stream guard must, and no further: this runs for every event.

Blocks are numbered on this wire: one that begins out of turn, goes on without being open or ends twice was lost or swapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.anthropic.refusals import inner_refusal
from holdfast.dialects.anthropic.usage import read_usage
from holdfast.dialects.base import OTHER, REASONING, TEXT, TOOL, Beat, Signal
from holdfast.dialects.counted import counted
from holdfast.dialects.sse import SSEParser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MessageScanner", "read_answer"]


class _Block(msgspec.Struct, gc=False):
    type: str
    text: str | None = None
    thinking: str | None = None


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: Any = None
    error: Any = None


class _Whole(msgspec.Struct, gc=False):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: Any = None
    error: Any = None


_event = msgspec.json.Decoder(_Event).decode
_whole = msgspec.json.Decoder(_Whole).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_QUIET: Final[tuple[Beat, ...]] = ((0, 0, None),)
_BITS: Final = {"redacted_thinking": REASONING, "text": TEXT, "thinking": REASONING, "tool_use": TOOL}
"""What a block is; any other kind is a server's tool, or newer than this table."""
_SILENT: Final = ("text", "thinking")
"""Blocks that say nothing until something is in them."""


class MessageScanner:
    """Bytes of one streamed answer to signals."""

    __slots__ = ("_begun", "_bits", "_finished", "_next", "_open", "_parser", "_texts", "_usage")

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._begun = False
        self._open = False
        self._next = 0  # the index of the block that is open, or else of the one that has to begin
        self._bits = 0  # what the open block is
        self._texts = 0
        self._finished = False
        self._usage: dict[str, Any] = {}

    def feed(self, data: bytes) -> list[Signal]:
        return [
            Signal(frame.raw) if frame.data is None else self._signal(frame.raw, frame.data, frame.event)
            for frame in self._parser.feed(data)
        ]

    def finish(self) -> list[Signal]:
        frame = self._parser.finish()
        if frame is None or frame.data is None:
            return []
        signal = self._signal(frame.raw, frame.data, frame.event)
        return [] if signal.malformed else [signal]  # half an event is a cut, not a malformed answer

    def _signal(self, raw: bytes, data: bytes, name: str | None) -> Signal:
        try:
            if not data.isascii():
                data.decode()  # what the typed reading skips isn't checked for valid UTF-8
            event = _event(data)
        except _UNREADABLE as error:
            return Signal(raw, malformed=f"a stream event can't be read: {error}")
        if name != event.type:
            raw = _named(event.type, data)
        if event.type == "content_block_delta":  # nearly always
            return self._delta(raw, event)
        if event.type == "error":
            return Signal(raw, error=inner_refusal(event.error, data))
        read = _READERS.get(event.type)
        if read is None:
            return Signal(raw)  # a ping, or an event of a newer version
        return read(self, raw, event)

    def _delta(self, raw: bytes, event: _Event) -> Signal:
        delta = event.delta
        if not self._open or event.index != self._next or delta is None:
            return self._out_of_turn(raw, event, "goes on")
        text = delta.text or ""
        if self._bits == TEXT:
            return Signal(raw, ((0, TEXT if text else 0, None),), text)
        said = self._bits if text or delta.thinking or delta.partial_json else 0
        return Signal(raw, ((0, said, None),), text if self._bits & TEXT else "")

    def message_start(self, raw: bytes, event: _Event) -> Signal:
        message = event.message
        if self._begun or message is None:
            return Signal(raw, malformed="the message begins twice, or as nothing")
        self._begun = True
        self._count(message.usage)
        return Signal(raw, _QUIET, id=message.id, model=message.model)

    def block_start(self, raw: bytes, event: _Event) -> Signal:
        block = event.content_block
        if not self._begun or self._open or event.index != self._next or block is None:
            return self._out_of_turn(raw, event, "begins")
        self._open = True
        self._bits = _BITS.get(block.type, OTHER)
        text = ""
        if block.type == "text":
            text = block.text or ""
            self._texts += 1
            if self._texts > 1:
                self._bits |= OTHER  # another text can't be gone on with as one
        said = self._bits if block.type not in _SILENT or text or block.thinking else 0
        return Signal(raw, ((0, said, None),), text)

    def block_stop(self, raw: bytes, event: _Event) -> Signal:
        if not self._open or event.index != self._next:
            return self._out_of_turn(raw, event, "ends")
        self._open = False
        self._next += 1
        return Signal(raw, _QUIET)

    def message_delta(self, raw: bytes, event: _Event) -> Signal:
        if not self._begun or self._open:
            return self._out_of_turn(raw, event, "isn't over, but the message")
        reason = (event.delta.stop_reason or None) if event.delta is not None else None
        self._finished = self._finished or reason is not None
        usage = None
        if event.usage is not None:
            self._count(event.usage)
            if self._finished:  # until then it is a count so far
                usage = counted(self._usage, read_usage)
        return Signal(raw, ((0, 0, reason),), usage=usage)

    def _count(self, told: Any) -> None:
        """Counts are cumulative: what is said later replaces what was said first, where it says anything."""
        if isinstance(told, dict):
            self._usage.update((name, value) for name, value in told.items() if value is not None)

    def message_stop(self, raw: bytes, _: _Event) -> Signal:
        return Signal(raw, end=True)

    def _out_of_turn(self, raw: bytes, event: _Event, what: str) -> Signal:
        turn = f"block {self._next} is open" if self._open else f"block {self._next} should begin"
        state = turn if self._begun else "the message hasn't begun"
        return Signal(raw, malformed=f"block {event.index} {what} where {state}")


def _named(type_: str, data: bytes) -> bytes:
    """An event under its own name: SDKs go by it, and pass over what has none or another. Some proxies drop it."""
    name = type_.replace("\n", " ").replace("\r", " ").encode()
    return b"event: " + name + b"\ndata: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


_READERS: Final[Mapping[str, Callable[[MessageScanner, bytes, _Event], Signal]]] = {
    "message_start": MessageScanner.message_start,
    "content_block_start": MessageScanner.block_start,
    "content_block_stop": MessageScanner.block_stop,
    "message_delta": MessageScanner.message_delta,
    "message_stop": MessageScanner.message_stop,
}


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
    texts = [block.text for block in whole.content if block.type == "text" and block.text]
    bits = OTHER if len(texts) > 1 else 0
    for block in whole.content:
        if block.type not in _SILENT or block.text or block.thinking:
            bits |= _BITS.get(block.type, OTHER)
    usage = counted(whole.usage, read_usage)
    # No bytes: a whole answer travels as it came.
    return [
        Signal(b"", ((0, bits, whole.stop_reason or None),), "".join(texts), id=whole.id, model=whole.model),
        Signal(b"", usage=usage),
        Signal(b"", end=True),
    ]
