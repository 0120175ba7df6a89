"""An answer is the fold of its events, and every answer can be split into events: ``fold(split(answer)) == answer``.

There is one path for streamed and whole answers, so the two can't drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.errors import BadAnswer
from holdfast.model.answer import Answer, Choice, Finish
from holdfast.model.content import Audio, Citation, Opaque, Part, Reasoning, Refusal, Text, ToolCall
from holdfast.model.events import (
    AudioDelta,
    BlockStarted,
    ChoiceLeftover,
    ChoiceStarted,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    MessageLeftover,
    OpaqueDelta,
    Ping,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from holdfast.model.message import Message, Role

if TYPE_CHECKING:
    from holdfast.model.usage import Usage

__all__ = ["Cut", "accumulate", "fold", "in_pieces", "split"]

Cut = Callable[[str], Iterable[str]]
"""Cuts a text into pieces that give the text again when joined."""

_REPLACED = frozenset({"id", "index", "type"})
"""Strings that name something: a wire that repeats them doesn't mean them to be joined."""


def accumulate(into: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """``into`` with ``more`` added, as increments of one JSON object are.

    Texts and lists grow, objects are merged, of anything else the last wins, and a null never replaces a value. The
    arguments are left as they are.
    """
    merged = dict(into)
    for name, new in more.items():
        old = merged.get(name)
        if old is None:
            merged[name] = new
        elif new is None:
            continue
        elif isinstance(old, dict) and isinstance(new, dict):
            merged[name] = accumulate(old, new)
        elif isinstance(old, list) and isinstance(new, list):
            merged[name] = [*old, *new]
        elif isinstance(old, str) and isinstance(new, str) and name not in _REPLACED:
            merged[name] = old + new
        else:
            merged[name] = new
    return merged


def fold(events: Iterable[Event]) -> Answer:
    """The answer that the events tell.

    It is what was said, complete or not: whether every choice finished is seen on the choices.

    Raises:
        BadAnswer: the stream failed, a choice has two different finish reasons, or a block changes its kind.
    """
    folding = _Folding()
    for event in events:
        folding.add(event)
    return folding.answer()


def in_pieces(size: int) -> Cut:
    """Cuts a text into pieces of ``size`` (≥ 1) characters."""
    if size < 1:
        raise ValueError(f"a piece has at least one character, not {size}")

    def cut(text: str) -> Iterator[str]:
        return (text[start : start + size] for start in range(0, len(text), size))

    return cut


def split(answer: Answer, cut: Cut = lambda text: (text,)) -> Iterator[Event]:
    """The answer as a stream, its texts cut by ``cut``, with an end marker."""
    yield Started(
        id=answer.id,
        model=answer.model,
        created=answer.created,
        dialect=answer.dialect,
        extra=answer.extra,
    )
    for choice in answer.choices:
        yield from _split_choice(choice, cut)
    if answer.usage is not None:
        yield UsageReported(usage=answer.usage)
    yield Ended()


def _split_choice(choice: Choice, cut: Cut) -> Iterator[Event]:
    index, message = choice.index, choice.message
    yield ChoiceStarted(choice=index, role=message.role, name=message.name)
    if message.extra or message.spelling:
        yield MessageLeftover(choice=index, extra=message.extra, spelling=message.spelling)
    for key, part in enumerate(message.parts):
        yield from _split_part(index, key, part, cut)
    if choice.extra:
        yield ChoiceLeftover(choice=index, extra=choice.extra)
    if choice.finish is not None:
        yield Finished(choice=index, finish=choice.finish)


def _split_part(choice: int, key: int, part: Part, cut: Cut) -> Iterator[Event]:
    change = msgspec.structs.replace
    match part:
        case Text():
            yield BlockStarted(
                choice=choice, key=key, part=change(part, text="", citations=(), signature=None)
            )
            yield from (TextDelta(choice=choice, key=key, text=piece) for piece in cut(part.text))
            yield from (CitationDelta(choice=choice, key=key, citation=each) for each in part.citations)
            yield from _split_signature(choice, key, part.signature)
        case Reasoning():
            yield BlockStarted(choice=choice, key=key, part=change(part, text="", signature=None))
            yield from (ReasoningDelta(choice=choice, key=key, text=piece) for piece in cut(part.text))
            yield from _split_signature(choice, key, part.signature)
        case Refusal():
            yield BlockStarted(choice=choice, key=key, part=change(part, text=""))
            yield from (RefusalDelta(choice=choice, key=key, text=piece) for piece in cut(part.text))
        case ToolCall():
            yield BlockStarted(choice=choice, key=key, part=change(part, arguments="", signature=None))
            yield from (
                ToolCallDelta(choice=choice, key=key, arguments=piece) for piece in cut(part.arguments)
            )
            yield from _split_signature(choice, key, part.signature)
        case _:
            yield BlockStarted(choice=choice, key=key, part=part)


def _split_signature(choice: int, key: int, signature: str | None) -> Iterator[Event]:
    if signature is not None:
        yield SignatureDelta(choice=choice, key=key, signature=signature)


class _Block:
    """A part as it grows. Texts are kept as pieces, so that a long stream stays linear."""

    __slots__ = ("citations", "more", "part", "pieces", "second", "signature")

    def __init__(self, part: Part) -> None:
        self.part: Part = part
        self.pieces: list[str] = []  # text, arguments or audio
        self.second: list[str] = []  # transcript, or encrypted reasoning
        self.signature: list[str] = []
        self.citations: list[Citation] = []
        self.more: dict[str, Any] = {}

    def grown(self) -> Part:
        part = self.part
        changes: dict[str, Any] = {}
        match part:
            case Text() | Refusal():
                changes["text"] = part.text + "".join(self.pieces)
            case Reasoning():
                changes["text"] = part.text + "".join(self.pieces)
                if self.second:
                    changes["encrypted"] = (part.encrypted or "") + "".join(self.second)
            case ToolCall():
                changes["arguments"] = part.arguments + "".join(self.pieces)
            case Audio():
                if self.pieces:
                    changes["data"] = (part.data or "") + "".join(self.pieces)
                if self.second:
                    changes["transcript"] = (part.transcript or "") + "".join(self.second)
            case Opaque():
                if self.more:
                    changes["data"] = accumulate(part.data, self.more)
            case _:
                return part
        if self.signature and isinstance(part, Text | Reasoning | ToolCall):
            changes["signature"] = (part.signature or "") + "".join(self.signature)
        if self.citations and isinstance(part, Text):
            changes["citations"] = part.citations + tuple(self.citations)
        return msgspec.structs.replace(part, **changes) if changes else part


class _FoldingChoice:
    def __init__(self, index: int) -> None:
        self.index = index
        self.role = Role.ASSISTANT
        self.name: str | None = None
        self.blocks: dict[int, _Block] = {}
        self.spelling: dict[str, str] = {}
        self.message_extra: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.finish: Finish | None = None

    def block(self, key: int, kind: type[Part], empty: Callable[[], Part]) -> _Block:
        block = self.blocks.get(key)
        if block is None:
            block = self.blocks[key] = _Block(empty())
        elif not isinstance(block.part, kind):
            was, now = type(block.part).__name__, kind.__name__
            raise BadAnswer(f"block {key} of choice {self.index} began as {was} and goes on as {now}")
        return block

    def done(self) -> Choice:
        message = Message(
            role=self.role,
            parts=tuple(self.blocks[key].grown() for key in sorted(self.blocks)),
            name=self.name,
            spelling=self.spelling,
            extra=self.message_extra,
        )
        return Choice(index=self.index, message=message, finish=self.finish, extra=self.extra)


class _Folding:
    def __init__(self) -> None:
        self._id = ""
        self._model = ""
        self._created: int | None = None
        self._dialect: str | None = None
        self._extra: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._choices: dict[int, _FoldingChoice] = {}

    def answer(self) -> Answer:
        return Answer(
            id=self._id,
            model=self._model,
            created=self._created,
            choices=tuple(choice.done() for choice in self._choices.values()),
            usage=self._usage,
            dialect=self._dialect,
            extra=self._extra,
        )

    def add(self, event: Event) -> None:
        match event:
            case Started():
                self._id = self._id or event.id
                self._model = self._model or event.model
                self._created = event.created if self._created is None else self._created
                self._dialect = self._dialect or event.dialect
                _replace(self._extra, event.extra)
            case UsageReported():
                self._usage = event.usage
            case Failed():
                raise BadAnswer(f"the stream failed: {event.error.message}")
            case Ended() | Ping():
                pass
            case _:
                choice = self._choices.get(event.choice)
                if choice is None:
                    choice = self._choices[event.choice] = _FoldingChoice(event.choice)
                _ADD[type(event)](choice, event)


def _choice_started(choice: _FoldingChoice, event: ChoiceStarted) -> None:
    choice.role = event.role
    choice.name = event.name


def _block_started(choice: _FoldingChoice, event: BlockStarted) -> None:
    if event.key in choice.blocks:
        raise BadAnswer(f"block {event.key} of choice {choice.index} begins twice")
    choice.blocks[event.key] = _Block(event.part)


def _text(choice: _FoldingChoice, event: TextDelta) -> None:
    choice.block(event.key, Text, lambda: Text(text="")).pieces.append(event.text)


def _reasoning(choice: _FoldingChoice, event: ReasoningDelta) -> None:
    block = choice.block(event.key, Reasoning, Reasoning)
    block.pieces.append(event.text)
    if event.encrypted:
        block.second.append(event.encrypted)


def _refusal(choice: _FoldingChoice, event: RefusalDelta) -> None:
    choice.block(event.key, Refusal, lambda: Refusal(text="")).pieces.append(event.text)


def _tool_call(choice: _FoldingChoice, event: ToolCallDelta) -> None:
    block = choice.block(event.key, ToolCall, lambda: ToolCall(name=""))
    block.pieces.append(event.arguments)
    call = block.part
    if isinstance(call, ToolCall) and (event.id or event.name):
        block.part = msgspec.structs.replace(call, id=call.id or event.id, name=call.name or event.name or "")


def _audio(choice: _FoldingChoice, event: AudioDelta) -> None:
    block = choice.block(event.key, Audio, Audio)
    if event.data:
        block.pieces.append(event.data)
    if event.transcript:
        block.second.append(event.transcript)


def _opaque(choice: _FoldingChoice, event: OpaqueDelta) -> None:
    block = choice.blocks.get(event.key)
    if block is None or not isinstance(block.part, Opaque):
        raise BadAnswer(f"block {event.key} of choice {choice.index} goes on without having begun")
    block.more = accumulate(block.more, event.data)


def _signature(choice: _FoldingChoice, event: SignatureDelta) -> None:
    block = choice.blocks.get(event.key)
    if block is None or not isinstance(block.part, Text | Reasoning | ToolCall):
        raise BadAnswer(f"block {event.key} of choice {choice.index} can't have a signature")
    block.signature.append(event.signature)


def _citation(choice: _FoldingChoice, event: CitationDelta) -> None:
    choice.block(event.key, Text, lambda: Text(text="")).citations.append(event.citation)


def _message_leftover(choice: _FoldingChoice, event: MessageLeftover) -> None:
    choice.message_extra = accumulate(choice.message_extra, event.extra)
    choice.spelling |= event.spelling


def _choice_leftover(choice: _FoldingChoice, event: ChoiceLeftover) -> None:
    _replace(choice.extra, event.extra)
    if event.more:
        choice.extra = accumulate(choice.extra, event.more)


def _replace(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Later values replace, but a null never replaces a value: wires repeat their fields, empty, in every chunk."""
    for name, value in new.items():
        if value is not None or name not in into:
            into[name] = value


def _finished(choice: _FoldingChoice, event: Finished) -> None:
    if choice.finish is not None and choice.finish != event.finish:
        raise BadAnswer(
            f"choice {choice.index} finishes twice: {choice.finish.raw!r}, then {event.finish.raw!r}"
        )
    choice.finish = event.finish


_ADD: dict[type[Event], Callable[[_FoldingChoice, Any], None]] = {
    AudioDelta: _audio,
    BlockStarted: _block_started,
    ChoiceLeftover: _choice_leftover,
    ChoiceStarted: _choice_started,
    CitationDelta: _citation,
    Finished: _finished,
    MessageLeftover: _message_leftover,
    OpaqueDelta: _opaque,
    ReasoningDelta: _reasoning,
    RefusalDelta: _refusal,
    SignatureDelta: _signature,
    TextDelta: _text,
    ToolCallDelta: _tool_call,
}
