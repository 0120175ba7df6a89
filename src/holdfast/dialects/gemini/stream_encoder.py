"""Streamed answers: events to server-sent events. The other way is :mod:`holdfast.dialects.gemini.stream`.

A call goes out whole, since its arguments are an object here. Finish reasons and usage go out together, last, as Google has
them; only then is it known what both are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec.structs import replace

from holdfast.dialects.calls import made_id
from holdfast.dialects.gemini.answer import NO_CANDIDATE, told_word, write_created, write_usage_of
from holdfast.dialects.gemini.citations import grounding_of
from holdfast.dialects.gemini.errors import error_fields
from holdfast.dialects.gemini.names import MODEL
from holdfast.dialects.gemini.parts import write_part
from holdfast.dialects.gemini.results import as_object
from holdfast.dialects.gemini.writer import GeminiWriter
from holdfast.dialects.writing import merged, write_json
from holdfast.model import (
    Audio,
    AudioDelta,
    BlockStarted,
    ChoiceLeftover,
    ChoiceStarted,
    Citation,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finish,
    Finished,
    MessageLeftover,
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
from holdfast.model.fold import accumulate

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SIGN_OF_LIFE", "StreamEncoder"]

SIGN_OF_LIFE: Final = b"\n\n"
"""Google's SDKs take every line that isn't ``data:`` for JSON, comments too; a blank line is nothing to anybody."""

_Parts: TypeAlias = "list[dict[str, Any]]"


class StreamEncoder:
    """Writes one stream. What has no place in it (another dialect's leftovers and blocks) is left out.

    Args:
        include_usage: whether the last chunk tells the usage.
    """

    def __init__(self, *, include_usage: bool = True) -> None:
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._writer = GeminiWriter(None, answered=True)
        self._id = ""
        self._model = ""
        self._created: int | None = None
        self._extra: dict[str, Any] = {}
        self._unsaid = False  # metadata that no chunk has carried yet
        self._choices: dict[int, _ChoiceEncoder] = {}

    def encode(self, event: Event) -> bytes:
        """The bytes that tell ``event``; empty where it says nothing that this dialect tells, or not yet.

        Raises:
            InvalidRequest: it holds something that JSON can't say.
        """
        match event:
            case Started():
                return self._started(event)
            case UsageReported():
                self._usage = event.usage
                return b""
            case Ended():
                return self._ended()
            case Failed():
                return _frame(error_fields(event.error))
            case Ping():
                return SIGN_OF_LIFE
            case _:
                choice = self._choices.get(event.choice)
                if choice is None:
                    choice = self._choices[event.choice] = _ChoiceEncoder(event.choice)
                fields = choice.fields(event, self._writer, self._id)
                return self._chunk([*self._silent_before(choice), fields]) if fields else b""

    def _silent_before(self, choice: _ChoiceEncoder) -> _Parts:
        """Candidates that began earlier and haven't come up yet, so that readers meet them in their order."""
        silent: _Parts = []
        for each in self._choices.values():
            if each is choice:
                break
            silent += each.introduced()
        choice.introduced()
        return silent

    def _started(self, event: Started) -> bytes:
        self._id = self._id or event.id
        self._model = self._model or event.model
        self._created = event.created if self._created is None else self._created
        if event.dialect is not None:
            self._writer = GeminiWriter(event.dialect, answered=True)
        self._extra |= self._writer.leftovers(event.extra, "")
        self._unsaid = True
        return b""

    def _ended(self) -> bytes:
        candidates = [
            last for choice in self._choices.values() if (last := choice.last(self._writer)) is not None
        ]
        usage = write_usage_of(self._usage, self._writer) if self._include_usage else None
        self._usage = None
        if not candidates and usage is None and not self._unsaid:
            return b""
        return self._chunk(candidates, usage)

    def _chunk(self, candidates: _Parts, usage: dict[str, Any] | None = None) -> bytes:
        self._unsaid = False
        known = {
            "candidates": candidates or None,
            "usageMetadata": usage,
            "modelVersion": self._model or None,
            "responseId": self._id or None,
            "createTime": write_created(self._created, self._extra),
        }
        return _frame(merged(known, self._extra))


class _ChoiceEncoder:
    """One candidate: the blocks that aren't over yet, and how it ends."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._open: dict[int, _Block] = {}  # in the order in which they began
        self._begun: set[int] = set()
        self._citations: list[Citation] = []
        self._finish: Finish | None = None
        self._answer_id = ""
        self._calls = 0
        self._met = False
        self._silent = False  # a blocked prompt has no candidate
        self._unsaid_calls = False

    def fields(self, event: Any, writer: GeminiWriter, answer_id: str) -> dict[str, Any]:
        """The candidate in the chunk for ``event``; empty where there is none."""
        self._answer_id = answer_id
        match event:
            case ChoiceStarted():
                return {}
            case Finished():
                self._finish = event.finish
                return {}
            case ChoiceLeftover():
                own = writer.leftovers(event.extra | event.more, "")
                return {"index": self._index, **own} if own else {}
            case MessageLeftover():
                self._silent |= writer.own and NO_CANDIDATE in event.spelling
                own = writer.leftovers(event.extra, "")
                return {"index": self._index, "content": {"role": MODEL, **own}} if own else {}
            case CitationDelta():
                self._citations.append(event.citation)
                return {}
            case _:
                parts = self._close_before(event.key, writer) + self._block(event, writer)
                return self._candidate(parts) if parts else {}

    def introduced(self) -> _Parts:
        """An empty candidate, where none has come up so far."""
        met, self._met = self._met, True
        return [] if met or self._silent else [self._candidate([{"text": ""}])]

    def last(self, writer: GeminiWriter) -> dict[str, Any] | None:
        """The candidate in the last chunk; None where there is nothing left to say."""
        parts = [part for key in list(self._open) for part in self._close(key, writer)]
        if self._silent or (self._finish is None and not parts and not self._citations):
            return None
        candidate = self._candidate(parts or [{"text": ""}])
        if self._finish is not None:
            candidate["finishReason"] = told_word(
                self._finish, own=writer.own, unsaid_calls=self._unsaid_calls
            )
        if not writer.same:
            candidate |= grounding_of(self._citations)
        self._finish = None
        self._citations = []
        return candidate

    def _candidate(self, parts: _Parts) -> dict[str, Any]:
        return {"content": {"parts": parts, "role": MODEL}, "index": self._index}

    def _block(self, event: Any, writer: GeminiWriter) -> _Parts:
        block = self._open.get(event.key)
        if block is None:
            if event.key in self._begun and not isinstance(event, BlockStarted):
                return self._late(event, writer)
            part = event.part if isinstance(event, BlockStarted) else _IMPLIED[type(event)]
            self._begun.add(event.key)
            block = self._open[event.key] = _Block(part, own=writer.own)
        return block.add(event, writer)

    def _late(self, event: Any, writer: GeminiWriter) -> _Parts:
        """More of a text that another block interrupted: parts have no numbers, so it begins anew."""
        part = _IMPLIED.get(type(event))
        if not isinstance(part, Text | Reasoning | Refusal):
            return []
        block = self._open[event.key] = _Block(part, own=writer.own)
        return block.add(event, writer)

    def _close_before(self, key: int, writer: GeminiWriter) -> _Parts:
        """Another block begins or goes on: those before it are over, but for calls whose arguments aren't whole yet."""
        parts: _Parts = []
        waiting = False  # calls keep their order
        for other in [each for each in self._open if each != key]:
            block = self._open[other]
            if isinstance(block.part, ToolCall) and (waiting or not block.complete):
                waiting = True
                continue
            parts += self._close(other, writer)
        return parts

    def _close(self, key: int, writer: GeminiWriter) -> _Parts:
        block = self._open.pop(key)
        if isinstance(call := block.part, ToolCall):
            if call.id is None and not writer.own:
                block.part = replace(call, id=made_id(self._answer_id, self._index, self._calls))
            self._calls += 1
        parts = block.rest(writer)
        self._unsaid_calls |= isinstance(block.part, ToolCall) and not parts
        return parts


class _Block:
    """A part as it grows. Plain text goes out as it comes; what has to be whole waits for the end of its block."""

    __slots__ = ("_encrypted", "_more", "_pieces", "_signature", "_waits", "part")

    def __init__(self, part: Part, *, own: bool) -> None:
        self.part = part
        self._pieces: list[str] = []
        self._encrypted: list[str] = []
        self._signature: list[str] = []
        self._more: dict[str, Any] = {}
        # Leftovers of a text go with all of it: its own dialect, which alone has any to say, reads it again as one part.
        self._waits = (own and bool(part.extra)) or not isinstance(part, Text | Reasoning | Refusal)

    @property
    def complete(self) -> bool:
        """Whether the arguments are an object, so that nothing but their signature can follow."""
        return as_object(self._arguments()) is not None

    def add(self, event: Any, writer: GeminiWriter) -> _Parts:
        """What of ``event`` goes out at once."""
        match event:
            case BlockStarted():
                self.part = event.part
                return self._begin(writer)
            case TextDelta() | RefusalDelta():
                return self._say(event.text, writer)
            case ReasoningDelta():
                self._encrypted += [event.encrypted] if event.encrypted else []
                return self._say(event.text, writer)
            case ToolCallDelta():
                if isinstance(call := self.part, ToolCall):
                    self.part = replace(call, id=call.id or event.id, name=call.name or event.name or "")
                self._pieces.append(event.arguments)
            case AudioDelta():
                self._pieces.append(event.data)
            case SignatureDelta():
                self._signature.append(event.signature)
            case OpaqueDelta():
                self._more = accumulate(self._more, event.data)
        return []

    def rest(self, writer: GeminiWriter) -> _Parts:
        """What is left to say when the block is over."""
        part = self.part
        if not self._waits:
            if not (self._signature or self._encrypted):
                return []
            part = replace(part, text="", **self._proofs(part))
        else:
            part = self._whole(part)
        written = write_part(part, writer, "")
        return [] if written is None else [written]

    def _begin(self, writer: GeminiWriter) -> _Parts:
        part = self.part
        if isinstance(part, Text | Reasoning):
            self._signature += [part.signature] if part.signature is not None else []
            if isinstance(part, Reasoning) and part.encrypted is not None:
                self._encrypted.append(part.encrypted)
        if isinstance(part, Text | Reasoning | Refusal) and part.text:
            return self._say(part.text, writer)
        return []

    def _say(self, text: str, writer: GeminiWriter) -> _Parts:
        if self._waits:
            self._pieces.append(text)
            return []
        if not text:
            return []
        bare: Part = Reasoning(text=text) if isinstance(self.part, Reasoning) else Text(text=text)
        written = write_part(bare, writer, "")
        return [] if written is None else [written]

    def _whole(self, part: Part) -> Part:
        match part:
            case Text() | Reasoning():
                return replace(part, text="".join(self._pieces), **self._proofs(part))
            case Refusal():
                return replace(part, text="".join(self._pieces))
            case ToolCall():
                signature = (part.signature or "") + "".join(self._signature) or None
                return replace(part, arguments=self._arguments(), signature=signature)
            case Audio() if self._pieces:
                return replace(part, data=(part.data or "") + "".join(self._pieces))
            case Opaque() if self._more:
                return replace(part, data=accumulate(part.data, self._more))
            case _:
                return part

    def _proofs(self, part: Part) -> dict[str, Any]:
        proofs: dict[str, Any] = {"signature": "".join(self._signature) if self._signature else None}
        if isinstance(part, Reasoning):
            proofs["encrypted"] = "".join(self._encrypted) if self._encrypted else None
        return proofs

    def _arguments(self) -> str:
        begun = self.part.arguments if isinstance(self.part, ToolCall) else ""
        return begun + "".join(self._pieces)


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + write_json(value) + b"\n\n"


_IMPLIED: Final[Mapping[type, Part]] = {
    AudioDelta: Audio(),
    OpaqueDelta: Opaque(dialect="", data={}),
    ReasoningDelta: Reasoning(),
    RefusalDelta: Refusal(text=""),
    SignatureDelta: Text(text=""),
    TextDelta: Text(text=""),
    ToolCallDelta: ToolCall(name=""),
}
"""What a block is whose deltas come without a beginning."""
