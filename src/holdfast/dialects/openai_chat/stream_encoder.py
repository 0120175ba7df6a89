"""Streamed answers: events to server-sent events. The other way is :mod:`holdfast.dialects.openai_chat.stream`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.dialects.calls import made_id
from holdfast.dialects.openai_chat.errors import error_fields
from holdfast.dialects.openai_chat.messages import write_audio, write_citation
from holdfast.dialects.openai_chat.names import DIALECT, finish_word
from holdfast.dialects.openai_chat.parts import write_part
from holdfast.dialects.openai_chat.reasoning import DETAILS, PLAIN, SPELLING, detail_kind, write_detail
from holdfast.dialects.openai_chat.signed import place
from holdfast.dialects.openai_chat.stream import CHUNK, END
from holdfast.dialects.openai_chat.tools import write_call
from holdfast.dialects.openai_chat.usage import write_usage
from holdfast.dialects.openai_chat.writer import ChatWriter
from holdfast.dialects.sse import comment
from holdfast.dialects.writing import merged, write_json
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
        self._writer = ChatWriter(None, answered=True)
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
                    choice = self._choices[event.choice] = _ChoiceEncoder(event.choice)
                fields = choice.fields(event, self._writer, self._id)
                return self._chunk([{"index": event.choice, **fields}]) if fields else b""

    def _started(self, event: Started) -> bytes:
        self._id = self._id or event.id
        self._model = self._model or event.model
        self._created = event.created if self._created is None else self._created
        if event.dialect is not None:
            self._writer = ChatWriter(event.dialect, answered=True)
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

    def __init__(self, index: int) -> None:
        self._index = index
        self._begun = False
        self._spelling: dict[str, str] = {}
        self._blocks: dict[int, Part] = {}
        self._calls: dict[int, int] = {}  # block → index on the wire
        self._argued: set[int] = set()  # blocks of calls whose arguments have begun
        self._proven: set[tuple[int, str]] = set()  # blocks whose signature or encrypted text has begun
        self._signed_text: int | None = None
        self._answer_id = ""
        self._details: dict[int, tuple[str, int]] = {}  # block → type and index on the wire
        self._images = 0

    def fields(self, event: Any, writer: ChatWriter, answer_id: str) -> dict[str, Any]:
        """The choice in the chunk for ``event``, but for its index; empty where there is none."""
        self._answer_id = answer_id
        if isinstance(event, Finished):
            word = finish_word(event.finish, own=writer.own, called=bool(self._calls))
            return self._choice({} if writer.own else self._missing_arguments(), finish_reason=word)
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

    def _missing_arguments(self) -> dict[str, Any]:
        """Callers read a call's arguments as JSON, which an empty text isn't."""
        missing = [index for key, index in self._calls.items() if key not in self._argued]
        return (
            {"tool_calls": [{"index": index, "function": {"arguments": "{}"}} for index in missing]}
            if missing
            else {}
        )

    def choice_started(self, event: ChoiceStarted, _: ChatWriter) -> dict[str, Any]:
        return {} if event.name is None else {"name": event.name}

    def leftover(self, event: MessageLeftover, writer: ChatWriter) -> dict[str, Any]:
        spelling = writer.spelling(event.spelling)
        self._spelling |= spelling
        role = {"role": spelling["role"]} if "role" in spelling else {}
        return role | writer.leftovers(event.extra, "")

    def block(self, event: BlockStarted, writer: ChatWriter) -> dict[str, Any]:
        key, part = event.key, event.part
        self._blocks[key] = part
        match part:
            case Text():
                annotations = [write_citation(each, writer, "") for each in part.citations]
                said = merged({"content": part.text or None, "annotations": annotations or None}, {})
                return said | self._text_signature(key, part.signature, part, writer)
            case Refusal():
                return {"refusal": part.text} if part.text else {}
            case Reasoning():
                self._begin_proof(key, "encrypted", part.encrypted)
                self._begin_proof(key, "signature", part.signature)
                return self._thought(key, part, writer)
            case ToolCall():
                self._begin_proof(key, "signature", part.signature)
                return self._begin_call(key, part, writer)
            case Audio():
                return {"audio": write_audio(part, writer, "")}
            case Image():
                image = write_part(part, writer, "")
                return {} if image is None else {"images": [image]}
            case Opaque() if part.dialect == DIALECT:
                return self._opaque(key, part, part.data)
            case _:
                return {}

    def text(self, event: TextDelta, _: ChatWriter) -> dict[str, Any]:
        self._blocks.setdefault(event.key, _TEXT)
        return {"content": event.text} if event.text else {}

    def refusal(self, event: RefusalDelta, _: ChatWriter) -> dict[str, Any]:
        return {"refusal": event.text} if event.text else {}

    def reasoning(self, event: ReasoningDelta, writer: ChatWriter) -> dict[str, Any]:
        if not event.text and not event.encrypted:
            return {}
        like = self._like(event.key)
        more = Reasoning(
            text=event.text,
            encrypted=event.encrypted or None,
            signed_by=like.signed_by,
            summary=like.summary,
            id=like.id,
            extra=like.extra,
        )
        begun = self._begin_proof(event.key, "encrypted", more.encrypted)
        return self._thought(event.key, more, writer, begun=begun)

    def signature(self, event: SignatureDelta, writer: ChatWriter) -> dict[str, Any]:
        part = self._blocks.get(event.key)
        if isinstance(part, Text):
            return self._text_signature(event.key, event.signature, part, writer)
        begun = self._begin_proof(event.key, "signature", event.signature)
        if isinstance(part, ToolCall):
            if self._legacy():
                return {}  # functions as they were have no room for one
            return self._call(event.key, place(writer.proof(event.signature, part.signed_by, begun=begun)))
        like = self._like(event.key)
        signed = Reasoning(
            signature=event.signature,
            signed_by=like.signed_by,
            summary=like.summary,
            id=like.id,
            extra=like.extra,
        )
        return self._thought(event.key, signed, writer, begun=begun)

    def citation(self, event: CitationDelta, writer: ChatWriter) -> dict[str, Any]:
        return {"annotations": [write_citation(event.citation, writer, "")]}

    def audio(self, event: AudioDelta, _: ChatWriter) -> dict[str, Any]:
        said = merged({"data": event.data or None, "transcript": event.transcript or None}, {})
        return {"audio": said} if said else {}

    def call(self, event: ToolCallDelta, writer: ChatWriter) -> dict[str, Any]:
        if event.key not in self._blocks and (event.name or event.arguments or event.id):
            call = ToolCall(id=event.id, name=event.name or "", arguments=event.arguments)
            self._blocks[event.key] = call
            return self._begin_call(event.key, call, writer)
        function = merged({"name": event.name, "arguments": event.arguments or None}, {})
        id_ = event.id if writer.own else None  # others' calls got theirs, given or made, when they began
        if not function and id_ is None:
            return {}
        if event.arguments:
            self._argued.add(event.key)
        more = function if self._legacy() else merged({"id": id_, "function": function}, {})
        return self._call(event.key, more)

    def _begin_call(self, key: int, call: ToolCall, writer: ChatWriter) -> dict[str, Any]:
        if call.arguments:
            self._argued.add(key)
        if call.id is None and not writer.own:
            call = replace(call, id=made_id(self._answer_id, self._index, len(self._calls)))
        return self._call(key, write_call(call, writer, "", legacy=self._legacy()))

    def _text_signature(
        self, key: int, signature: str | None, part: Text, writer: ChatWriter
    ) -> dict[str, Any]:
        """The first signed text's signature, as the message's: it has room for one."""
        if signature is None or self._signed_text not in (None, key):
            return {}
        self._signed_text = key
        begun = self._begin_proof(key, "signature", signature)
        return place(writer.proof(signature, part.signed_by, begun=begun))

    def _begin_proof(self, key: int, kind: str, piece: str | None) -> bool:
        """Notes a piece of a proof; whether one came before, which carries the mark of its issuer."""
        if piece is None:
            return False
        begun = (key, kind) in self._proven
        self._proven.add((key, kind))
        return begun

    def opaque(self, event: OpaqueDelta, _: ChatWriter) -> dict[str, Any]:
        part = self._blocks.get(event.key)
        if not isinstance(part, Opaque) or part.dialect != DIALECT:
            return {}
        return self._opaque(event.key, part, event.data)

    def _legacy(self) -> bool:
        return self._spelling.get("tool_calls") == "function_call"

    def _like(self, key: int) -> Reasoning:
        part = self._blocks.get(key)
        return part if isinstance(part, Reasoning) else Reasoning()

    def _thought(
        self, key: int, part: Reasoning, writer: ChatWriter, *, begun: bool = False
    ) -> dict[str, Any]:
        """A thought in each of its fields. Without a spelling all are used: whether a signature follows isn't known yet."""
        spelling = self._spelling.get(SPELLING)
        out: dict[str, Any] = {}
        for name in (DETAILS, PLAIN[0]) if spelling is None else spelling.split("+"):
            if name != DETAILS:
                if part.text:
                    out[name] = part.text
                continue
            kind, index = self._place(key, part)
            if (detail := write_detail(part, writer, "", kind, begun=begun)) is not None:
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


_TEXT: Final = Text(text="")

_DELTAS: dict[type, Callable[[_ChoiceEncoder, Any, ChatWriter], dict[str, Any]]] = {
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
