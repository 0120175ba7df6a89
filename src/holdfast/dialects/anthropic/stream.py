"""Streamed answers: server-sent events to events of the model. The other way is :mod:`.stream_encoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from holdfast.dialects.anthropic.answer import OF_THE_END
from holdfast.dialects.anthropic.blocks import read_block
from holdfast.dialects.anthropic.citations import read_citation
from holdfast.dialects.anthropic.errors import error_of
from holdfast.dialects.anthropic.names import DIALECT, finish_of
from holdfast.dialects.anthropic.usage import read_usage
from holdfast.dialects.reading import Fields, bad_answer, read_json
from holdfast.dialects.signatures import is_marked
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

    from holdfast.dialects.sse import Frame

__all__ = ["StreamDecoder"]


class StreamDecoder:
    """Reads one stream, however its bytes are cut."""

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, Any] = {}
        self._json: dict[int, list[str]] = {}
        self._held: BlockStarted | None = None  # a thought without text: perhaps the carrier of a signature
        self._carrier: BlockStarted | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes. Raises BadAnswer for what can't be read."""
        return [event for frame in self._parser.feed(data) for event in self._read(frame)]

    def finish(self) -> list[Event]:
        """The bytes have ended: what was left over, if it is a whole event."""
        frame = self._parser.finish()
        return [] if frame is None else self._read(frame)

    def _read(self, frame: Frame) -> list[Event]:
        if frame.data is None:
            return [Ping()]
        fields = Fields(read_json(frame.data, bad_answer), "", bad_answer)
        read = _READERS.get(fields.needed_text("type"))
        return (
            [] if read is None else read(self, fields)
        )  # an event of a newer version says nothing that we know

    def _start(self, fields: Fields) -> list[Event]:
        message = fields.needed_fields("message")
        left = message.left
        for name in ("type", "role", "content", "stop_reason", *OF_THE_END):
            left.pop(name, None)
        usage = left.pop("usage", None)
        started = Started(
            id=message.text("id") or "", model=message.text("model") or "", dialect=DIALECT, extra=left
        )
        events: list[Event] = [started, ChoiceStarted(choice=0)]
        if isinstance(usage, dict):
            self._usage = dict(usage)
            events.append(self._counted())
        return events

    def _block_start(self, fields: Fields) -> list[Event]:
        key = self._key(fields)
        part = read_block(fields.needed_fields("content_block"))
        if isinstance(part, ToolCall) and part.arguments == "{}":
            part = replace(part, arguments="")  # they come in pieces, if there are any
        self._blocks[key] = part
        self._json[key] = []
        started = BlockStarted(choice=0, key=key, part=part)
        if isinstance(part, Reasoning) and part.encrypted is None and not part.text:
            self._held = started
            return self._carried(None)
        return self._carried(started)

    def _block_delta(self, fields: Fields) -> list[Event]:
        key = self._key(fields)
        delta = fields.needed_fields("delta")
        kind = delta.needed_text("type")
        match kind:
            case "text_delta":
                return [TextDelta(choice=0, key=key, text=delta.needed_text("text"))]
            case "thinking_delta":
                text = delta.needed_text("thinking")
                return [*self._begun(), ReasoningDelta(choice=0, key=key, text=text)]
            case "signature_delta":
                return self._signature(key, delta.needed_text("signature"))
            case "citations_delta":
                return [
                    CitationDelta(choice=0, key=key, citation=read_citation(delta.needed_fields("citation")))
                ]
            case "input_json_delta":
                piece = delta.needed_text("partial_json")
                self._json.setdefault(key, []).append(piece)
                if isinstance(self._blocks.get(key), ToolCall):
                    return [ToolCallDelta(choice=0, key=key, arguments=piece)] if piece else []
                return []
            case _:
                if not isinstance(self._blocks.get(key), Opaque):
                    return []
                return [OpaqueDelta(choice=0, key=key, data=delta.left)]

    def _signature(self, key: int, signature: str) -> list[Event]:
        if self._held is not None and is_marked(signature):
            self._carrier = replace(self._held, part=Reasoning(signature=signature))
            self._held = None
            return []
        return [*self._begun(), SignatureDelta(choice=0, key=key, signature=signature)]

    def _begun(self) -> list[Event]:
        held, self._held = self._held, None
        return [] if held is None else [held]

    def _carried(self, started: BlockStarted | None) -> list[Event]:
        """``started`` with the signature that was carried before it; a carrier before anything else is a thought."""
        carrier, self._carrier = self._carrier, None
        if carrier is None:
            return [] if started is None else [started]
        part = None if started is None else started.part
        if started is not None and isinstance(part, ToolCall | Text) and isinstance(carrier.part, Reasoning):
            signed = replace(part, signature=carrier.part.signature)
            return [replace(started, part=signed)]
        return [carrier] if started is None else [carrier, started]

    def _block_stop(self, fields: Fields) -> list[Event]:
        key = self._key(fields)
        part, text = self._blocks.get(key), "".join(self._json.pop(key, []))
        if self._held is not None:
            return self._begun()
        if isinstance(part, ToolCall) and not text and not part.arguments:
            return [ToolCallDelta(choice=0, key=key, arguments="{}")]
        if isinstance(part, Opaque) and text:
            value = read_json(text.encode(), bad_answer)
            return [OpaqueDelta(choice=0, key=key, data={"input": value})]
        return []

    def _message_delta(self, fields: Fields) -> list[Event]:
        events: list[Event] = []
        delta = fields.fields("delta")
        if delta is not None:
            word = delta.text("stop_reason")
            delta.left.pop("stop_reason", None)
            said = {name: value for name, value in delta.left.items() if value is not None}
            if said:
                events.append(ChoiceLeftover(choice=0, extra=said))
            if word is not None:
                events.append(Finished(choice=0, finish=finish_of(word)))
        usage = fields.left.get("usage")
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}
            events.append(self._counted())
        return events

    def _message_stop(self, _: Fields) -> list[Event]:
        return [Ended()]

    def _ping(self, _: Fields) -> list[Event]:
        return [Ping()]

    def _error(self, fields: Fields) -> list[Event]:
        return [Failed(error=error_of(fields.left | {"type": "error"}, None))]

    def _counted(self) -> UsageReported:
        return UsageReported(usage=read_usage(Fields(self._usage, "usage", bad_answer)))

    @staticmethod
    def _key(fields: Fields) -> int:
        key = fields.integer("index")
        if key is None:
            raise fields.fault("index", "is missing; it must be the block's number")
        return key


_READERS: Mapping[str, Callable[[StreamDecoder, Fields], list[Event]]] = {
    "message_start": StreamDecoder._start,  # noqa: SLF001  # the class's own table
    "content_block_start": StreamDecoder._block_start,  # noqa: SLF001  # the class's own table
    "content_block_delta": StreamDecoder._block_delta,  # noqa: SLF001  # the class's own table
    "content_block_stop": StreamDecoder._block_stop,  # noqa: SLF001  # the class's own table
    "message_delta": StreamDecoder._message_delta,  # noqa: SLF001  # the class's own table
    "message_stop": StreamDecoder._message_stop,  # noqa: SLF001  # the class's own table
    "ping": StreamDecoder._ping,  # noqa: SLF001  # the class's own table
    "error": StreamDecoder._error,  # noqa: SLF001  # the class's own table
}
