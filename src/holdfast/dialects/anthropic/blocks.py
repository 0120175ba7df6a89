"""One streamed block after another, from its beginning to its end, as Anthropic's SDK puts them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from holdfast.dialects.anthropic.citations import write_citation
from holdfast.dialects.anthropic.frames import frame
from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.anthropic.parts import write_part
from holdfast.dialects.anthropic.stream import PARTIAL_JSON, delta_kind
from holdfast.dialects.anthropic.thoughts import carrier, write_redacted
from holdfast.dialects.calls import made_id
from holdfast.dialects.writing import write_json
from holdfast.model import (
    BlockStarted,
    CitationDelta,
    Event,
    Opaque,
    OpaqueDelta,
    Part,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    SignatureDelta,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.dialects.anthropic.writer import AnthropicWriter

__all__ = ["BlockTeller"]


class BlockTeller:
    """Tells events that come block after block (see :mod:`holdfast.dialects.anthropic.turns`)."""

    def __init__(self) -> None:
        self.answer_id = ""
        self.called = False
        """Whether a tool call was told."""
        self.refused = False
        """Whether a refusal was told, as text."""
        self._index = 0
        self._calls = 0
        self._open: _Open | None = None
        self._told: set[int] = set()

    def tell(self, event: Event, writer: AnthropicWriter) -> Iterator[bytes]:
        """The frames for ``event``. Some of a block's are told with its end."""
        key: int = event.key  # type: ignore[union-attr]  # callers pass events of blocks alone
        if isinstance(event, BlockStarted):
            yield from self._begin(key, event.part, writer)
            return
        if self._open is None or self._open.key != key:
            if key in self._told and not isinstance(event, TextDelta | RefusalDelta | ReasoningDelta):
                return  # its block has ended: a proof or an argument that comes now belongs nowhere
            part = _part_of(event)
            if part is None:
                return
            yield from self._begin(key, part, writer)
        if self._open is not None:
            yield from self._more(self._open, event, writer)

    def close(self, writer: AnthropicWriter) -> Iterator[bytes]:
        """The end of the open block."""
        opened, self._open = self._open, None
        if opened is None:
            return
        self._told.add(opened.key)
        part = opened.part
        if isinstance(part, ToolCall):
            yield from self._start(opened, writer)  # if its name never came, it has none
        if opened.started:
            if isinstance(part, Reasoning) and (proof := opened.proof(writer)):
                yield self._delta({"type": "signature_delta", "signature": proof})
            yield self._stop()
        if isinstance(part, Reasoning) and opened.encrypted:
            yield from self._whole(
                write_redacted(writer.proof(opened.encrypted, part.signed_by)), part.extra, writer
            )
        # A text's signature is nothing that its provider insists on, and a block behind the last text would be taken
        # for the answer by callers that show the last one: Claude Code does.
        kept = isinstance(part, ToolCall) or (isinstance(part, Text) and writer.same)
        if kept and opened.signature:
            proof = opened.proof(writer)
            yield self._block_start(carrier(""))
            yield self._delta({"type": "signature_delta", "signature": proof})
            yield self._stop()

    def _begin(self, key: int, part: Part, writer: AnthropicWriter) -> Iterator[bytes]:
        yield from self.close(writer)
        match part:
            case ToolCall():
                self.called = True
                if part.id is None and not writer.same:
                    part = replace(part, id=made_id(self.answer_id, 0, self._calls))
                self._calls += 1
            case Refusal():
                self.refused = True
            case _:
                pass
        opened = self._open = _Open(key, part)
        match part:
            case Text() | Refusal():
                yield from self._start(opened, writer)
                yield from self._text(part.text)
                for citation in part.citations if isinstance(part, Text) else ():
                    yield self._delta(
                        {"type": "citations_delta", "citation": write_citation(citation, writer)}
                    )
            case Reasoning():
                opened.encrypted = part.encrypted or ""
                if part.encrypted is None or part.text:
                    yield from self._start(opened, writer)
                    yield from self._thought(part.text)
            case ToolCall():
                yield from self._arguments(opened, part.arguments, writer)
            case _:  # comes whole
                yield from self._start(opened, writer)
        if isinstance(part, Text | Reasoning | ToolCall):
            opened.signature = part.signature or ""

    def _start(self, opened: _Open, writer: AnthropicWriter) -> Iterator[bytes]:
        """The block's beginning. A part that can't be said here has none, and then no end either."""
        if opened.started:
            return
        for block in write_part(_bare(opened.part), writer, "content"):
            opened.started = True
            yield self._block_start({**block, "signature": ""} if "signature" in block else block)
        held, opened.held = opened.held, ""
        if held and opened.started:
            yield self._delta({"type": "input_json_delta", "partial_json": held})

    def _more(self, opened: _Open, event: Event, writer: AnthropicWriter) -> Iterator[bytes]:
        part = opened.part
        match event:
            case TextDelta() | RefusalDelta() if isinstance(part, Text | Refusal):
                yield from self._text(event.text)
            case ReasoningDelta() if isinstance(part, Reasoning):
                opened.encrypted += event.encrypted
                if event.text:
                    yield from self._start(opened, writer)
                    yield from self._thought(event.text)
            case ToolCallDelta() if isinstance(part, ToolCall):
                name = part.name or event.name or ""
                opened.part = replace(part, name=name)
                yield from self._arguments(opened, event.arguments, writer)
            case SignatureDelta():
                if isinstance(part, Reasoning):
                    yield from self._start(opened, writer)
                opened.signature += event.signature
            case CitationDelta() if isinstance(part, Text):
                citation = write_citation(event.citation, writer)
                yield self._delta({"type": "citations_delta", "citation": citation})
            case OpaqueDelta() if isinstance(part, Opaque) and part.dialect == DIALECT:
                yield self._delta(_opaque_delta(part, event.data))
            case _:
                pass

    def _text(self, text: str) -> Iterator[bytes]:
        if text:
            yield self._delta({"type": "text_delta", "text": text})

    def _thought(self, text: str) -> Iterator[bytes]:
        if text:
            yield self._delta({"type": "thinking_delta", "thinking": text})

    def _arguments(self, opened: _Open, text: str, writer: AnthropicWriter) -> Iterator[bytes]:
        """A call begins when its name is known, which not every server says first."""
        if not opened.started and isinstance(opened.part, ToolCall) and not opened.part.name:
            opened.held += text
            return
        yield from self._start(opened, writer)
        if text:
            yield self._delta({"type": "input_json_delta", "partial_json": text})

    def _whole(
        self, block: dict[str, Any], extra: dict[str, Any], writer: AnthropicWriter
    ) -> Iterator[bytes]:
        yield self._block_start({**writer.leftovers(extra, ""), **block})
        yield self._stop()

    def _block_start(self, block: dict[str, Any]) -> bytes:
        return frame({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return frame({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _stop(self) -> bytes:
        end = frame({"type": "content_block_stop", "index": self._index})
        self._index += 1
        return end


class _Open:
    """The block that is being told."""

    __slots__ = ("encrypted", "held", "key", "part", "signature", "started")

    def __init__(self, key: int, part: Part) -> None:
        self.key = key
        self.part = part
        self.started = False
        self.held = ""  # arguments that came before the call's name
        self.signature = ""
        self.encrypted = ""

    def proof(self, writer: AnthropicWriter) -> str:
        signed_by = self.part.signed_by if isinstance(self.part, Text | Reasoning | ToolCall) else None
        return writer.proof(self.signature, signed_by)


def _bare(part: Part) -> Part:
    """The part as its block begins: what streams comes after."""
    match part:
        case Text():
            return replace(part, text="", citations=(), signature=None)
        case Refusal():
            return Text(text="", extra=part.extra)
        case Reasoning():
            return replace(part, text="", signature=None, encrypted=None)
        case ToolCall():
            return replace(part, arguments="", signature=None)
        case _:
            return part


def _part_of(event: Event) -> Part | None:
    """The block that a delta begins where nobody began it."""
    match event:
        case TextDelta() | CitationDelta():
            return Text(text="")
        case RefusalDelta():
            return Refusal(text="")
        case ReasoningDelta():
            return Reasoning(encrypted="" if event.encrypted else None)
        case ToolCallDelta():
            return ToolCall(id=event.id, name=event.name or "")
        case _:
            return None


def _opaque_delta(block: Opaque, data: dict[str, Any]) -> dict[str, Any]:
    if PARTIAL_JSON in data:
        return {"type": "input_json_delta", PARTIAL_JSON: data[PARTIAL_JSON]}
    if data.keys() == {"input"}:
        return {"type": "input_json_delta", PARTIAL_JSON: write_json(data["input"]).decode()}
    return {"type": delta_kind(block), **data}
