"""Streamed answers: server-sent events to events. The other way is :mod:`holdfast.dialects.anthropic.stream_encoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.dialects.anthropic.answer import OF_THE_END
from holdfast.dialects.anthropic.citations import read_citation
from holdfast.dialects.anthropic.errors import error_of
from holdfast.dialects.anthropic.names import DIALECT, finish_of
from holdfast.dialects.anthropic.parts import read_part
from holdfast.dialects.anthropic.thoughts import signed_elsewhere
from holdfast.dialects.anthropic.tools import arguments_of
from holdfast.dialects.anthropic.usage import read_usage
from holdfast.dialects.counted import readable
from holdfast.dialects.reading import Fields, bad_answer, read_json
from holdfast.dialects.sse import SSEParser
from holdfast.model import (
    BlockStarted,
    ChoiceLeftover,
    ChoiceStarted,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    Opaque,
    OpaqueDelta,
    Part,
    Ping,
    Reasoning,
    ReasoningDelta,
    SignatureDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UsageReported,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PARTIAL_JSON", "StreamDecoder", "delta_kind"]

PARTIAL_JSON: Final = "partial_json"
"""Where the input of a server's tool is kept if it isn't an object, as when it was cut short."""


class StreamDecoder:
    """Reads one stream, however its bytes are cut.

    A block's events have its index as their key. Events and deltas that aren't known here say nothing; those of a block
    that isn't open are an error.
    """

    def __init__(self) -> None:
        self._frames = SSEParser()
        self._usage: dict[str, Any] = {}
        self._open: _Block | None = None
        self._last: _Block | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes.

        Raises:
            BadAnswer: an event can't be read, comes out of turn, or is too large.
        """
        events: list[Event] = []
        for frame in self._frames.feed(data):
            events += [Ping()] if frame.data is None else self._read(frame.data)
        return events

    def finish(self) -> list[Event]:
        """The bytes have ended: what was left over, if it is a whole event."""
        frame = self._frames.finish()
        return [] if frame is None or frame.data is None else self._read(frame.data)

    def _read(self, data: bytes) -> list[Event]:
        fields = Fields(read_json(data, bad_answer), "", bad_answer)
        read = _READERS.get(fields.needed_text("type", "the name of an event"))
        return [] if read is None else read(self, fields)

    def message_start(self, fields: Fields) -> list[Event]:
        message = fields.needed_fields("message")
        usage = message.mapping("usage")
        for name in ("type", "role", "content", "stop_reason", *OF_THE_END):
            message.left.pop(name, None)
        id_, model = message.text("id") or "", message.text("model") or ""
        started = Started(id=id_, model=model, dialect=DIALECT, extra=message.left)
        return [started, ChoiceStarted(choice=0), *self._counted(usage)]

    def block_start(self, fields: Fields) -> list[Event]:
        index = _index(fields)
        if self._open is not None:
            raise fields.fault("index", f"is {index}: block {self._open.key} is still open")
        part, _ = read_part(fields.needed_fields("content_block"), answered=True)
        block = self._open = _Block(index, part)
        match part:
            case ToolCall():  # what it holds already is replaced by what streams, if anything does
                block.start, part = part.arguments, replace(part, arguments="")
            case Reasoning(text="", signature=None, encrypted=None):
                block.pending = True  # it may prove to be a signature of what stands before it
                return []
            case _:
                pass
        return [BlockStarted(choice=0, key=index, part=part)]

    def block_delta(self, fields: Fields) -> list[Event]:
        block = self._block(fields)
        key = block.key
        delta = fields.needed_fields("delta")
        kind = delta.needed_text("type", "the name of a kind of delta")
        match kind:
            case "text_delta" if isinstance(block.part, Text):
                text = delta.needed_text("text")
                return [TextDelta(choice=0, key=key, text=text)] if text else []
            case "thinking_delta" if isinstance(block.part, Reasoning):
                text = delta.needed_text("thinking")
                begun = block.begun()
                return [*begun, ReasoningDelta(choice=0, key=key, text=text)] if text else begun
            case "signature_delta" if isinstance(block.part, Reasoning):
                return self._signature(block, delta.needed_text("signature"))
            case "citations_delta" if isinstance(block.part, Text):
                citation = read_citation(delta.needed_fields("citation"), answered=True)
                return [CitationDelta(choice=0, key=key, citation=citation)]
            case "input_json_delta":
                return block.more_input(delta.needed_text("partial_json"))
            case _ if isinstance(block.part, Opaque) and kind == delta_kind(block.part):
                return [OpaqueDelta(choice=0, key=key, data=delta.left)]
            case _:
                return []

    def block_stop(self, fields: Fields) -> list[Event]:
        block = self._block(fields)
        self._open = None
        if not block.carried:
            self._last = block
        return block.ended()

    def message_delta(self, fields: Fields) -> list[Event]:
        delta = fields.fields("delta")
        usage = fields.mapping("usage")
        events: list[Event] = [Started(extra=fields.left)] if fields.left else []
        if delta is not None:
            word = delta.text("stop_reason")
            delta.left.pop("stop_reason", None)
            if delta.left:
                events.append(ChoiceLeftover(choice=0, extra=delta.left))
            if word is not None:
                events.append(Finished(choice=0, finish=finish_of(word)))
        return events + self._counted(usage)

    def message_stop(self, _: Fields) -> list[Event]:
        return [Ended()]

    def ping(self, _: Fields) -> list[Event]:
        return [Ping()]

    def error(self, fields: Fields) -> list[Event]:
        return [Failed(error=error_of(fields.left | {"type": "error"}, None))]

    def _signature(self, block: _Block, signature: str) -> list[Event]:
        last = self._last
        if (
            block.pending
            and last is not None
            and isinstance(last.part, Text | ToolCall)
            and not last.signed
            and signed_elsewhere(signature)
        ):
            last.signed = block.carried = True
            block.pending = False
            return [SignatureDelta(choice=0, key=last.key, signature=signature)]
        begun = block.begun()
        return [*begun, SignatureDelta(choice=0, key=block.key, signature=signature)] if signature else begun

    def _counted(self, usage: dict[str, Any] | None) -> list[Event]:
        """The counts so far. They are cumulative: what is said later replaces what was said first."""
        if usage is None:
            return []
        self._usage |= {
            name: value for name, value in usage.items() if value is not None or name not in self._usage
        }
        counted = readable(Fields(self._usage, "usage", bad_answer), read_usage)
        return [] if counted is None else [UsageReported(usage=counted)]

    def _block(self, fields: Fields) -> _Block:
        index = _index(fields)
        if self._open is None or index != self._open.key:
            raise fields.fault("index", f"is {index}: that block isn't open")
        return self._open


class _Block:
    """What has to be remembered of a block while it is open."""

    __slots__ = ("carried", "input", "key", "part", "pending", "signed", "start")

    def __init__(self, key: int, part: Part) -> None:
        self.key = key
        self.part = part
        self.start = ""
        self.input: list[str] = []
        self.pending = False
        self.carried = False
        self.signed = False

    def begun(self) -> list[Event]:
        """The beginning that was held back."""
        if not self.pending:
            return []
        self.pending = False
        return [BlockStarted(choice=0, key=self.key, part=self.part)]

    def more_input(self, piece: str) -> list[Event]:
        if not piece or not isinstance(self.part, ToolCall | Opaque):
            return []
        self.input.append(piece)
        if isinstance(self.part, Opaque):
            return []  # told whole when it is whole
        return [ToolCallDelta(choice=0, key=self.key, arguments=piece)]

    def ended(self) -> list[Event]:
        if isinstance(self.part, ToolCall) and not self.input and self.start:
            return [ToolCallDelta(choice=0, key=self.key, arguments=self.start)]
        if isinstance(self.part, Opaque) and self.input:
            text = "".join(self.input)
            value = arguments_of(text)
            data = {PARTIAL_JSON: text} if value is None else {"input": value}
            return [OpaqueDelta(choice=0, key=self.key, data=data)]
        return self.begun()


def delta_kind(block: Opaque) -> str:
    """What the deltas of a block that isn't known here are called, by Anthropic's custom (``compaction_delta``)."""
    return f"{block.data.get('type')}_delta"


def _index(fields: Fields) -> int:
    index = fields.integer("index")
    if index is None:
        raise fields.fault("index", "is missing; it must be the block's number")
    return index


_READERS: Final[Mapping[str, Callable[[StreamDecoder, Fields], list[Event]]]] = {
    "message_start": StreamDecoder.message_start,
    "content_block_start": StreamDecoder.block_start,
    "content_block_delta": StreamDecoder.block_delta,
    "content_block_stop": StreamDecoder.block_stop,
    "message_delta": StreamDecoder.message_delta,
    "message_stop": StreamDecoder.message_stop,
    "ping": StreamDecoder.ping,
    "error": StreamDecoder.error,
}
