"""Streamed answers: events to server-sent events, block after block, as Anthropic's SDK puts them together.

Blocks never interleave on this wire. A block ends where the next begins; a tool call whose arguments aren't whole yet stays
open, and what belongs to later blocks waits until they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from holdfast.dialects.anthropic.answer import finish_with
from holdfast.dialects.anthropic.blocks import BlockWriter, arguments_of
from holdfast.dialects.anthropic.citations import write_citation
from holdfast.dialects.anthropic.errors import error_fields
from holdfast.dialects.anthropic.names import DIALECT, finish_word
from holdfast.dialects.anthropic.usage import write_usage
from holdfast.dialects.calls import made_id
from holdfast.dialects.writing import write_json
from holdfast.errors import InvalidRequest
from holdfast.model import (
    BlockStarted,
    ChoiceLeftover,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finish,
    Finished,
    Opaque,
    OpaqueDelta,
    Part,
    Ping,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    SignatureDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["END_FRAME", "StreamEncoder", "frame"]


def frame(event: dict[str, Any]) -> bytes:
    kind: str = event["type"]
    return b"event: " + kind.encode() + b"\ndata: " + write_json(event) + b"\n\n"


END_FRAME = frame({"type": "message_stop"})


class StreamEncoder:
    """Writes one stream. There are no alternatives here: only choice 0 is told.

    Args:
        include_usage: whether usage is told. Anthropic always tells it; without it both counts are 0, for the SDK's types.
    """

    def __init__(self, *, include_usage: bool = True) -> None:
        self._include_usage = include_usage
        self._writer = BlockWriter(None, answered=True)
        self._started = Started()
        self._begun = False
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._end: dict[str, Any] = {}
        self._index = 0
        self._calls = 0
        self._open: _Open | None = None
        self._closed: set[int] = set()
        self._waiting: list[Event] = []
        self._refused = False

    def encode(self, event: Event) -> bytes:
        """The bytes that tell ``event``; empty where it says nothing that this dialect tells.

        Raises:
            InvalidRequest: it holds something that JSON or the order of blocks can't say.
        """
        match event:
            case Started():
                self._learn(event)
                return b""
            case UsageReported():
                self._usage = event.usage if self._include_usage else None
                return b""
            case Failed():
                return frame(error_fields(event.error))
            case Ping():
                return frame({"type": "ping"})
            case Ended():
                return b"".join(self._ended())
            case _ if event.choice != 0:
                return b""
            case Finished():
                self._finish = event.finish
                return b""
            case ChoiceLeftover():
                self._end |= self._writer.leftovers(event.extra | event.more, "")
                return b""
            case _:
                return b"".join(self._block_event(event))

    def _learn(self, event: Started) -> None:
        known = self._started
        if event.dialect is not None:
            self._writer = BlockWriter(event.dialect, answered=True)
        self._started = Started(
            id=known.id or event.id,
            model=known.model or event.model,
            extra=known.extra | self._writer.leftovers(event.extra, ""),
        )

    def _begin(self) -> Iterator[bytes]:
        if self._begun:
            return
        self._begun = True
        started = self._started
        extra = {} if self._usage is None else self._writer.leftovers(self._usage.extra, "usage")
        message: dict[str, Any] = {
            "id": started.id,
            "type": "message",
            "role": "assistant",
            "model": started.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(self._usage, extra),
        }
        yield frame(
            {
                "type": "message_start",
                "message": message | {k: v for k, v in started.extra.items() if k not in message},
            }
        )

    # Blocks

    def _block_event(self, event: Any) -> Iterator[bytes]:
        key = getattr(event, "key", None)
        if key is None:
            return  # a choice's beginning, a message's leftovers: nothing of them is told here
        yield from self._begin()
        opened = self._open
        if opened is not None and opened.key != key and opened.incomplete:
            self._waiting.append(event)
            return
        yield from self._tell(event, key)
        yield from self._drain()

    def _drain(self) -> Iterator[bytes]:
        """What waited for the open call's arguments, once they are whole."""
        while self._waiting and (self._open is None or not self._open.incomplete):
            event = self._waiting.pop(0)
            yield from self._tell(event, event.key)  # type: ignore[union-attr]  # only events of blocks wait

    def _tell(self, event: Any, key: int) -> Iterator[bytes]:
        if isinstance(event, BlockStarted):
            yield from self._start(key, event.part)
            return
        opened = self._open
        if opened is None or opened.key != key:
            if key in self._closed and isinstance(event, ToolCallDelta | SignatureDelta | OpaqueDelta):
                if isinstance(event, ToolCallDelta) and event.arguments.strip():
                    raise InvalidRequest("a tool call went on after its arguments were whole")
                return
            part = _part_of(event)
            if part is None:
                return
            yield from self._start(key, part)
        yield from self._delta(event)

    def _start(self, key: int, part: Part) -> Iterator[bytes]:
        yield from self._close()
        if isinstance(part, ToolCall):
            if part.id is None:
                part = replace(part, id=made_id(self._started.id, 0, self._calls))
            self._calls += 1
        written = self._writer.blocks(_bare(part), "content")
        if not written:
            self._closed.add(key)
            return
        *before, block = written
        for whole in before:  # the carrier of a signature
            yield from self._whole(whole)
        self._open = _Open(key, self._index, part)
        yield frame({"type": "content_block_start", "index": self._index, "content_block": _empty(block)})
        yield from self._said(part)

    def _said(self, part: Part) -> Iterator[bytes]:
        """What the part holds already, as deltas."""
        match part:
            case Text():
                if part.text:
                    yield self._piece({"type": "text_delta", "text": part.text})
                for citation in part.citations:
                    yield self._piece(
                        {"type": "citations_delta", "citation": write_citation(citation, self._writer)}
                    )
            case Refusal():
                self._refused = True
                if part.text:
                    yield self._piece({"type": "text_delta", "text": part.text})
            case Reasoning() if part.encrypted is None:
                if part.text:
                    yield self._piece({"type": "thinking_delta", "thinking": part.text})
                if part.signature and self._open is not None:
                    self._open.signature = part.signature
            case ToolCall():
                yield from self._arguments(part.arguments)
            case _:
                pass

    def _delta(self, event: Any) -> Iterator[bytes]:
        opened = self._open
        if opened is None:
            return
        match event:
            case TextDelta() | RefusalDelta():
                if event.text:
                    yield self._piece({"type": "text_delta", "text": event.text})
            case ReasoningDelta():
                if event.text:
                    yield self._piece({"type": "thinking_delta", "thinking": event.text})
            case ToolCallDelta():
                yield from self._arguments(event.arguments)
            case SignatureDelta():
                opened.signature += event.signature
            case CitationDelta():
                citation = write_citation(event.citation, self._writer)
                yield self._piece({"type": "citations_delta", "citation": citation})
            case OpaqueDelta() if isinstance(opened.part, Opaque) and opened.part.dialect == DIALECT:
                if isinstance(event.data.get("input"), dict):
                    yield self._piece(
                        {"type": "input_json_delta", "partial_json": write_json(event.data["input"]).decode()}
                    )
                else:
                    yield self._piece(event.data)
            case _:
                pass

    def _arguments(self, text: str) -> Iterator[bytes]:
        if text and self._open is not None:
            self._open.arguments.append(text)
            yield self._piece({"type": "input_json_delta", "partial_json": text})

    def _piece(self, delta: dict[str, Any]) -> bytes:
        return frame({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _whole(self, block: dict[str, Any]) -> Iterator[bytes]:
        yield frame({"type": "content_block_start", "index": self._index, "content_block": _empty(block)})
        if block.get("signature"):
            yield self._piece({"type": "signature_delta", "signature": block["signature"]})
        yield frame({"type": "content_block_stop", "index": self._index})
        self._index += 1

    def _close(self) -> Iterator[bytes]:
        opened, self._open = self._open, None
        if opened is None:
            return
        self._closed.add(opened.key)
        part = opened.part
        if isinstance(part, Reasoning) and opened.signature:
            proof = self._writer.proof(opened.signature, part.signed_by)
            yield self._piece({"type": "signature_delta", "signature": proof})
        yield frame({"type": "content_block_stop", "index": self._index})
        self._index += 1

    def _ended(self) -> Iterator[bytes]:
        yield from self._begin()
        while self._waiting:  # arguments that never became whole: the rest is told nevertheless
            event = self._waiting.pop(0)
            yield from self._tell(event, event.key)  # type: ignore[union-attr]  # only events of blocks wait
        yield from self._close()
        delta: dict[str, Any] = {"stop_reason": None, "stop_sequence": None}
        if self._finish is not None:
            parts: tuple[Part, ...] = (Refusal(text=""),) if self._refused else ()
            if self._calls:
                parts += (ToolCall(name=""),)
            delta["stop_reason"] = finish_word(finish_with(self._finish, parts))
        extra = {} if self._usage is None else self._writer.leftovers(self._usage.extra, "usage")
        usage = write_usage(self._usage, extra)
        yield frame({"type": "message_delta", "delta": delta | self._end, "usage": usage})
        yield END_FRAME


class _Open:
    """The block that is being told."""

    __slots__ = ("arguments", "key", "part", "signature")

    def __init__(self, key: int, _index: int, part: Part) -> None:
        self.key = key
        self.part = part
        self.signature = ""
        self.arguments: list[str] = []

    @property
    def incomplete(self) -> bool:
        """A tool call whose arguments aren't an object yet: it can't be closed."""
        if not isinstance(self.part, ToolCall):
            return False
        text = "".join(self.arguments)
        return not text.strip() or arguments_of(ToolCall(name="", arguments=text)) is None


def _bare(part: Part) -> Part:
    """The part as its block begins: what streams comes after."""
    match part:
        case Text():
            return replace(part, text="", citations=())
        case Refusal():
            return Text(text="")
        case Reasoning() if part.encrypted is None:
            return replace(part, text="", signature=None)
        case ToolCall():
            return replace(part, arguments="")
        case _:
            return part


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    """A block's beginning: an empty thought, whose signature comes last."""
    return {**block, "signature": ""} if block.get("type") == "thinking" else block


def _part_of(event: Any) -> Part | None:
    """The block that a delta begins where nobody began it."""
    match event:
        case TextDelta() | CitationDelta():
            return Text(text="")
        case RefusalDelta():
            return Refusal(text="")
        case ReasoningDelta():
            return Reasoning(encrypted=event.encrypted or None)
        case ToolCallDelta():
            return ToolCall(id=event.id, name=event.name or "")
        case _:
            return None
