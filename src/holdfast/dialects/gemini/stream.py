"""Streamed answers: bytes to events. The other way is :mod:`holdfast.dialects.gemini.stream_encoder`.

Parts have no numbers. A text goes on while the parts are plain texts of its kind; everything else comes whole. A signature
ends its part: Google asks that a part with one isn't joined with others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from holdfast.dialects.counted import readable
from holdfast.dialects.gemini.answer import ABSENT, NO_CANDIDATE, block_reason, created_at, finish_reason
from holdfast.dialects.gemini.citations import citations_in
from holdfast.dialects.gemini.errors import error_of
from holdfast.dialects.gemini.names import DIALECT, blocked_of, finish_of
from holdfast.dialects.gemini.parts import read_part
from holdfast.dialects.gemini.usage import read_usage
from holdfast.dialects.reading import Fields, bad_answer, read_json
from holdfast.dialects.sse import SSEParser
from holdfast.model import (
    BlockStarted,
    ChoiceLeftover,
    ChoiceStarted,
    Citation,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    MessageLeftover,
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
    from collections.abc import Iterator

__all__ = ["StreamDecoder"]


class StreamDecoder:
    """Reads one stream. There is no end marker: a stream whose candidates have all finished ends where its bytes do."""

    def __init__(self) -> None:
        self._frames = SSEParser()
        self._meta: tuple[str, str, int | None, dict[str, Any]] | None = None
        self._choices: dict[int, _ChoiceDecoder] = {}

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes.

        Raises:
            BadAnswer: a chunk can't be read, or is too large.
        """
        events: list[Event] = []
        for frame in self._frames.feed(data):
            events += [Ping()] if frame.data is None else self._payload(frame.data)
        return events

    def finish(self) -> list[Event]:
        """The bytes have ended: what was left over, if it is a whole event, and the end of a stream that is whole."""
        frame = self._frames.finish()
        events = [] if frame is None or frame.data is None else self._payload(frame.data)
        if self._choices and all(choice.finished for choice in self._choices.values()):
            events.append(Ended())
        return events

    def _payload(self, data: bytes) -> list[Event]:
        value = read_json(data, bad_answer)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict) and value.get("error") is not None:
            return [Failed(error=error_of(value, None))]
        chunk = Fields(value, "", bad_answer)
        events: list[Event] = []
        usage = chunk.fields("usageMetadata")
        candidates = chunk.each("candidates")
        reason = block_reason(chunk)
        self._metadata(chunk, events)
        for at, fields in enumerate(candidates):
            index = fields.integer("index")
            self._choice(at if index is None else index, events).read(fields, events)
        if reason is not None and not candidates:
            self._choice(0, events).blocked(reason, events)
        if (counted := readable(usage, read_usage)) is not None:
            events.append(UsageReported(usage=counted))
        return events

    def _choice(self, index: int, events: list[Event]) -> _ChoiceDecoder:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _ChoiceDecoder(index)
            events.append(ChoiceStarted(choice=index))
        return choice

    def _metadata(self, chunk: Fields, events: list[Event]) -> None:
        """Started at the first chunk, and again when something has changed."""
        chunk.left.pop("usageMetadata", None)
        chunk.left.pop("candidates", None)
        created, exact = created_at(chunk.left.get("createTime"))
        if exact:
            chunk.take("createTime")
        meta = (chunk.text("responseId") or "", chunk.text("modelVersion") or "", created, chunk.left)
        if meta != self._meta:
            self._meta = meta
            id_, model, created, extra = meta
            events.append(Started(id=id_, model=model, created=created, dialect=DIALECT, extra=extra))


class _ChoiceDecoder:
    """What has to be remembered of one candidate from chunk to chunk."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._key = -1  # of the last block
        self._open: type[Part] | None = None  # what the last block is, if more of it may come
        self._text: int | None = None  # the last block with text
        self._called = False
        self._extra: dict[str, Any] = {}
        self._cited: list[Citation] = []
        self.finished = False

    def read(self, candidate: Fields, events: list[Event]) -> None:
        content = candidate.fields("content")
        if content is not None:
            for part in content.each("parts"):
                events += self._part(read_part(part, answered=True)[0])
            content.text("role")
            for name in ("role", "parts"):
                content.left.pop(name, None)
            if content.left:
                events.append(MessageLeftover(choice=self._index, extra=content.left))
        word = finish_reason(candidate)
        events += self._citations(candidate)
        changed = {
            name: value
            for name, value in candidate.left.items()
            if name not in self._extra or self._extra[name] != value
        }
        if changed:
            self._extra |= changed
            events.append(ChoiceLeftover(choice=self._index, extra=changed))
        if word is not None:
            self.finished = True
            finish = finish_of(word, called=self._called)
            events.append(Finished(choice=self._index, finish=finish))

    def blocked(self, reason: str, events: list[Event]) -> None:
        self.finished = True
        events.append(MessageLeftover(choice=self._index, spelling={NO_CANDIDATE: ABSENT}))
        events.append(Finished(choice=self._index, finish=blocked_of(reason)))

    def _part(self, part: Part) -> Iterator[Event]:
        if isinstance(part, Text | Reasoning):
            yield from self._words(part)
            return
        self._open = None
        self._key += 1
        if not isinstance(part, ToolCall):
            yield BlockStarted(choice=self._index, key=self._key, part=part)
            return
        self._called = True
        begun = replace(part, arguments="", signature=None)
        yield BlockStarted(choice=self._index, key=self._key, part=begun)
        if part.arguments:
            yield ToolCallDelta(choice=self._index, key=self._key, arguments=part.arguments)
        if part.signature is not None:
            yield SignatureDelta(choice=self._index, key=self._key, signature=part.signature)

    def _words(self, part: Text | Reasoning) -> Iterator[Event]:
        """A signature alone is the open block's; an empty text without one says nothing."""
        signature = part.signature
        if not part.text and signature is None and not part.extra:
            return
        goes_on = self._open is type(part) and not part.extra and (signature is None or not part.text)
        if not goes_on:
            self._key += 1
            begun = replace(part, text="", signature=None)
            yield BlockStarted(choice=self._index, key=self._key, part=begun)
        self._open = type(part) if signature is None and not part.extra else None
        if isinstance(part, Text):
            if part.text:
                self._text = self._key
                yield TextDelta(choice=self._index, key=self._key, text=part.text)
        elif part.text:
            yield ReasoningDelta(choice=self._index, key=self._key, text=part.text)
        if signature is not None:
            yield SignatureDelta(choice=self._index, key=self._key, signature=signature)

    def _citations(self, candidate: Fields) -> Iterator[Event]:
        """Those that are new: some chunks repeat what was found so far."""
        if self._text is None:
            return
        for citation in citations_in(candidate.left)[len(self._cited) :]:
            self._cited.append(citation)
            yield CitationDelta(choice=self._index, key=self._text, citation=citation)
