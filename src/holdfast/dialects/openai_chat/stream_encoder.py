"""Streamed answers: events to server-sent events. The other way is :mod:`holdfast.dialects.openai_chat.stream`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.openai_chat.errors import error_fields
from holdfast.dialects.openai_chat.messages import write_audio, write_citation
from holdfast.dialects.openai_chat.names import DIALECT, finish_word
from holdfast.dialects.openai_chat.parts import write_part
from holdfast.dialects.openai_chat.reasoning import DETAILS, PLAIN, SPELLING, detail_kind, write_detail
from holdfast.dialects.openai_chat.stream import CHUNK, END
from holdfast.dialects.openai_chat.tools import write_call
from holdfast.dialects.openai_chat.usage import write_usage
from holdfast.dialects.sse import comment
from holdfast.dialects.writing import Writer, merged, write_json
from holdfast.model import (
    Audio,
    AudioDelta,
    BlockStarted,
    ChoiceLeftover,
    ChoiceStarted,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    Image,
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

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StreamEncoder"]


class StreamEncoder:
    """Writes one stream. What has no place in it (another dialect's leftovers and blocks) is left out.

    Args:
        include_usage: whether the caller asked for the usage event. It goes out once, just before the end marker,
            however often and early the provider reports.
    """

    def __init__(self, *, include_usage: bool = True) -> None:
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._writer = Writer(DIALECT, None, strict=False)
        self._id = ""
        self._model = ""
        self._created: int | None = None
        self._extra: dict[str, Any] = {}
        self._unsaid = False  # metadata that no chunk has carried yet
        self._choices: dict[int, _ChoiceEncoder] = {}

    def encode(self, event: Event) -> bytes:
        """The bytes that tell ``event``; empty where it says nothing that this dialect tells.

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
                return _frame(write_json(error_fields(event.error)))
            case Ping():
                return comment("")
            case _:
                choice = self._choices.get(event.choice)
                if choice is None:
                    choice = self._choices[event.choice] = _ChoiceEncoder()
                fields = choice.fields(event, self._writer)
                return self._chunk([{"index": event.choice, **fields}]) if fields else b""

    def _started(self, event: Started) -> bytes:
        self._id = self._id or event.id
        self._model = self._model or event.model
        self._created = event.created if self._created is None else self._created
        if event.dialect is not None:
            self._writer = Writer(DIALECT, event.dialect, strict=False)
        self._extra |= self._writer.leftovers(event.extra, "")
        self._unsaid = True
        return b""

    def _ended(self) -> bytes:
        out = b""
        if self._usage is not None and self._include_usage:
            usage = write_usage(self._usage, self._writer.leftovers(self._usage.extra, "usage"))
            out = self._chunk([], usage)
        elif self._unsaid:
            out = self._chunk([])
        return out + _frame(END)

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        self._unsaid = False
        known = {
            "id": self._id,
            "object": self._extra.get("object") or CHUNK,
            "created": self._created,
            "model": self._model,
            "choices": choices,
            "usage": usage,
        }
        return _frame(write_json(merged(known, self._extra)))


class _ChoiceEncoder:
    """One choice: which blocks it has, and how it spells them."""

    def __init__(self) -> None:
        self._begun = False
        self._spelling: dict[str, str] = {}
        self._blocks: dict[int, Part] = {}
        self._calls: dict[int, int] = {}  # block → index on the wire
        self._details: dict[int, tuple[str, int]] = {}  # block → type and index on the wire
        self._images = 0

    def fields(self, event: Any, writer: Writer) -> dict[str, Any]:
        """The choice in the chunk for ``event``, but for its index; empty where there is none."""
        if isinstance(event, Finished):
            return self._choice({}, finish_reason=finish_word(event.finish))
        if isinstance(event, ChoiceLeftover):
            own = writer.leftovers(merged(event.extra, {}) | event.extra | event.more, "")
            return {**self._choice({}), **own} if own else {}
        delta = _DELTAS[type(event)](self, event, writer)
        if delta or (isinstance(event, ChoiceStarted) and not self._begun):
            return self._choice(delta)
        return {}

    def _choice(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        if not self._begun:
            self._begun = True
            delta = {"role": "assistant"} | delta
        return {"delta": delta, "finish_reason": finish_reason}

    def choice_started(self, event: ChoiceStarted, _: Writer) -> dict[str, Any]:
        return {} if event.name is None else {"name": event.name}

    def leftover(self, event: MessageLeftover, writer: Writer) -> dict[str, Any]:
        spelling = writer.spelling(event.spelling)
        self._spelling |= spelling
        role = {"role": spelling["role"]} if "role" in spelling else {}
        return role | writer.leftovers(event.extra, "")

    def block(self, event: BlockStarted, writer: Writer) -> dict[str, Any]:
        key, part = event.key, event.part
        self._blocks[key] = part
        match part:
            case Text():
                annotations = [write_citation(each, writer, "") for each in part.citations]
                return merged({"content": part.text or None, "annotations": annotations or None}, {})
            case Refusal():
                return {"refusal": part.text} if part.text else {}
            case Reasoning():
                return self._thought(key, part, writer)
            case ToolCall():
                return self._call(key, write_call(part, writer, "", legacy=self._legacy()))
            case Audio():
                return {"audio": write_audio(part, writer, "")}
            case Image():
                image = write_part(part, writer, "")
                return {} if image is None else {"images": [image]}
            case Opaque() if part.dialect == DIALECT:
                return self._opaque(key, part, part.data)
            case _:
                return {}

    def text(self, event: TextDelta, _: Writer) -> dict[str, Any]:
        return {"content": event.text} if event.text else {}

    def refusal(self, event: RefusalDelta, _: Writer) -> dict[str, Any]:
        return {"refusal": event.text} if event.text else {}

    def reasoning(self, event: ReasoningDelta, writer: Writer) -> dict[str, Any]:
        if not event.text and not event.encrypted:
            return {}
        like = self._like(event.key)
        more = Reasoning(
            text=event.text,
            encrypted=event.encrypted or None,
            summary=like.summary,
            id=like.id,
            extra=like.extra,
        )
        return self._thought(event.key, more, writer)

    def signature(self, event: SignatureDelta, writer: Writer) -> dict[str, Any]:
        if not isinstance(self._blocks.get(event.key), Reasoning):
            return {}  # signatures on text and calls have no field here
        like = self._like(event.key)
        signed = Reasoning(signature=event.signature, summary=like.summary, id=like.id, extra=like.extra)
        return self._thought(event.key, signed, writer)

    def citation(self, event: CitationDelta, writer: Writer) -> dict[str, Any]:
        return {"annotations": [write_citation(event.citation, writer, "")]}

    def audio(self, event: AudioDelta, _: Writer) -> dict[str, Any]:
        said = merged({"data": event.data or None, "transcript": event.transcript or None}, {})
        return {"audio": said} if said else {}

    def call(self, event: ToolCallDelta, _: Writer) -> dict[str, Any]:
        function = merged({"name": event.name, "arguments": event.arguments or None}, {})
        if not function and event.id is None:
            return {}
        more = function if self._legacy() else merged({"id": event.id, "function": function}, {})
        return self._call(event.key, more)

    def opaque(self, event: OpaqueDelta, _: Writer) -> dict[str, Any]:
        part = self._blocks.get(event.key)
        if not isinstance(part, Opaque) or part.dialect != DIALECT:
            return {}
        return self._opaque(event.key, part, event.data)

    def _legacy(self) -> bool:
        return self._spelling.get("tool_calls") == "function_call"

    def _like(self, key: int) -> Reasoning:
        part = self._blocks.get(key)
        return part if isinstance(part, Reasoning) else Reasoning()

    def _thought(self, key: int, part: Reasoning, writer: Writer) -> dict[str, Any]:
        """A thought in each of its fields. Without a spelling all are used: whether a signature follows isn't known yet."""
        spelling = self._spelling.get(SPELLING)
        out: dict[str, Any] = {}
        for name in (DETAILS, PLAIN[0]) if spelling is None else spelling.split("+"):
            if name != DETAILS:
                if part.text:
                    out[name] = part.text
                continue
            kind, index = self._place(key, part)
            if (detail := write_detail(part, writer, "", kind)) is not None:
                out[name] = [detail | {"index": index}]
        return out

    def _place(self, key: int, part: Reasoning) -> tuple[str, int]:
        """A block's type and its index among those of its type, which are all that part details on the wire.

        The index is the provider's own, unless another block has it.
        """
        place = self._details.get(key)
        if place is None:
            kind = detail_kind(part)
            taken = [index for other, index in self._details.values() if other == kind]
            index = part.extra.get("index")
            if type(index) is not int or index < 0 or index in taken:
                index = max(taken, default=-1) + 1
            place = self._details[key] = (kind, index)
        return place

    def _call(self, key: int, call: dict[str, Any]) -> dict[str, Any]:
        if self._legacy():
            return {"function_call": call}
        index = self._calls.setdefault(key, len(self._calls))
        return {"tool_calls": [{**call, "index": index}]}

    def _opaque(self, key: int, part: Opaque, data: dict[str, Any]) -> dict[str, Any]:
        if part.place == "tool_calls":
            return self._call(key, data)
        return {DETAILS: [data]} if part.place == DETAILS else {"content": [data]}


def _frame(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"


_DELTAS: dict[type, Callable[[_ChoiceEncoder, Any, Writer], dict[str, Any]]] = {
    AudioDelta: _ChoiceEncoder.audio,
    BlockStarted: _ChoiceEncoder.block,
    ChoiceStarted: _ChoiceEncoder.choice_started,
    CitationDelta: _ChoiceEncoder.citation,
    MessageLeftover: _ChoiceEncoder.leftover,
    OpaqueDelta: _ChoiceEncoder.opaque,
    ReasoningDelta: _ChoiceEncoder.reasoning,
    RefusalDelta: _ChoiceEncoder.refusal,
    SignatureDelta: _ChoiceEncoder.signature,
    TextDelta: _ChoiceEncoder.text,
    ToolCallDelta: _ChoiceEncoder.call,
}
