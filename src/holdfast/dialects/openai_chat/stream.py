"""Streamed answers: bytes to events. The other way is :mod:`holdfast.dialects.openai_chat.stream_encoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from holdfast.dialects.counted import readable
from holdfast.dialects.openai_chat.errors import error_of
from holdfast.dialects.openai_chat.messages import read_audio, read_citation
from holdfast.dialects.openai_chat.names import DIALECT, finish_of
from holdfast.dialects.openai_chat.parts import read_image, read_part
from holdfast.dialects.openai_chat.quick import Chunk, Delta, Meta, read_quickly
from holdfast.dialects.openai_chat.reasoning import DETAILS, PLAIN, SPELLING, joined, read_detail
from holdfast.dialects.openai_chat.signed import take
from holdfast.dialects.openai_chat.usage import read_usage
from holdfast.dialects.reading import Fields, bad_answer, read_json
from holdfast.dialects.sse import SSEParser
from holdfast.model import (
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
    Opaque,
    OpaqueDelta,
    Part,
    Ping,
    ReasoningDelta,
    RefusalDelta,
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

__all__ = ["CHUNK", "END", "StreamDecoder"]

CHUNK = "chat.completion.chunk"
END = b"[DONE]"

# Where a block stands among the others of its choice: the order in which a whole message is read.
_PLAIN_REASONING = 0
_DETAIL = 1
_TEXT = 1 << 20
_CONTENT = _TEXT + 1
_REFUSAL = 2 << 20
_AUDIO = _REFUSAL + 1
_IMAGE = 3 << 20
_CALL = 4 << 20
_MOST_BLOCKS = 1 << 16
"""Blocks of one kind in one choice: far above any answer. A hostile index could cross into the next kind's keys."""


class StreamDecoder:
    """Reads one stream. Empty deltas and nulls say nothing and make no event; padding (``obfuscation``) is dropped.

    ``feed`` takes bytes as they come from the network; ``payload`` takes what stands behind one ``data:``.
    """

    def __init__(self) -> None:
        self._frames = SSEParser()
        self._meta: tuple[str, str, int | None, dict[str, Any]] | None = None
        self._quick_meta: Meta | None = None  # of the last chunk, if it could be read quickly
        self._choices: dict[int, _ChoiceDecoder] = {}

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes.

        Raises:
            BadAnswer: a chunk can't be read, or is too large.
        """
        events: list[Event] = []
        for frame in self._frames.feed(data):
            events += [Ping()] if frame.data is None else self.payload(frame.data)
        return events

    def finish(self) -> list[Event]:
        """The bytes have ended: what was left over, if it is a whole event."""
        frame = self._frames.finish()
        return [] if frame is None or frame.data is None else self.payload(frame.data)

    def payload(self, data: bytes) -> list[Event]:
        """The events of one chunk.

        Raises:
            BadAnswer: it can't be read; ``param`` is the path of the field at fault.
        """
        quick = read_quickly(data)
        if quick is not None:
            more = self._more(quick)
            if more is not None:
                return [more]
        self._quick_meta = None if quick is None else quick.meta
        if data.strip() == END:
            return [Ended()]
        value = read_json(data, bad_answer)
        if isinstance(value, dict) and value.get("error") is not None:
            return [Failed(error=error_of(value, None))]
        chunk = Fields(value, "", bad_answer)
        events: list[Event] = []
        usage = chunk.fields("usage")
        choices = chunk.each("choices")
        self._metadata(chunk, events)
        for at, fields in enumerate(choices):
            index = fields.integer("index")
            index = at if index is None else index
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _ChoiceDecoder(index)
                events.append(ChoiceStarted(choice=index))
            choice.read(fields, events)
        if (counted := readable(usage, read_usage)) is not None:
            events.append(UsageReported(usage=counted))
        return events

    def _more(self, quick: Chunk) -> Event | None:
        """The one thing that the chunk says, if all else in it was said before."""
        (said,) = quick.choices
        choice = self._choices.get(said.index)
        if choice is None or quick.meta != self._quick_meta:
            return None
        return choice.more(said.delta, logprobs=said.logprobs is None)

    def _metadata(self, chunk: Fields, events: list[Event]) -> None:
        """Started at the first chunk, and again when something other than padding has changed."""
        if chunk.left.get("object") == CHUNK:
            chunk.take("object")
        for name in ("obfuscation", "usage", "choices"):
            chunk.left.pop(name, None)
        meta = (chunk.text("id") or "", chunk.text("model") or "", chunk.integer("created"), chunk.left)
        if meta != self._meta:
            self._meta = meta
            id_, model, created, extra = meta
            events.append(Started(id=id_, model=model, created=created, dialect=DIALECT, extra=extra))


class _ChoiceDecoder:
    """What has to be remembered of one choice from chunk to chunk."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._extra: dict[str, Any] = {}
        self._spelling: dict[str, str] = {}
        self._thought_in: set[str] = set()
        self._details: dict[tuple[str | None, int | None], tuple[int, bool]] = {}  # → key, is opaque
        self._calls: dict[int, _Call] = {}  # by index on the wire: the latest that has it
        self._call_keys: set[int] = set()
        self._blocks = 0  # those that have no index on the wire
        self._spoke = False
        self._texted = False

    def more(self, delta: Delta, *, logprobs: bool) -> Event | None:
        """What ``delta`` says, if that is one thing and needs no other event. ``logprobs``: they stand there, null."""
        if logprobs and "logprobs" not in self._extra:
            return None
        text, thought = delta.content, delta.reasoning_content
        if text and not thought:
            self._texted = True
            return TextDelta(choice=self._index, key=_TEXT, text=text)
        if thought and not text and PLAIN[0] in self._thought_in:
            return ReasoningDelta(choice=self._index, key=_PLAIN_REASONING, text=thought)
        return None

    def read(self, choice: Fields, events: list[Event]) -> None:
        delta = choice.fields("delta")
        word = choice.text("finish_reason")
        choice.left.pop("finish_reason", None)
        if delta is not None:
            self._read_delta(delta, events)
        logprobs = choice.mapping("logprobs")
        changed = {
            name: value
            for name, value in choice.left.items()
            if name not in self._extra or self._extra[name] != value
        }
        if changed or logprobs is not None:
            self._extra |= changed
            more = {} if logprobs is None else {"logprobs": logprobs}
            events.append(ChoiceLeftover(choice=self._index, extra=changed, more=more))
        if word is not None:
            events.append(Finished(choice=self._index, finish=finish_of(word)))

    def _read_delta(self, delta: Fields, events: list[Event]) -> None:
        spelling: dict[str, str] = {}
        role = delta.text("role")
        if role and role != "assistant":
            spelling["role"] = role
        said = [
            *self._reasoning(delta, spelling),
            *self._content(delta, spelling),
            *self._text_signature(delta),
            *self._citations(delta),
            *self._refusal(delta),
            *self._audio(delta),
            *self._images(delta),
            *self._tool_calls(delta),
            *self._function_call(delta, spelling),
        ]
        left = {name: value for name, value in delta.left.items() if value is not None and value != []}
        new = {name: word for name, word in spelling.items() if self._spelling.get(name) != word}
        if new or left:
            self._spelling |= new
            events.append(MessageLeftover(choice=self._index, extra=left, spelling=new))
        events += said

    def _reasoning(self, delta: Fields, spelling: dict[str, str]) -> Iterator[Event]:
        parts: list[Part] = []
        for detail in delta.each(DETAILS):
            self._thought_in.add(DETAILS)
            yield from self._detail(detail, parts)
        text = joined(parts) if parts else None
        for name in PLAIN:
            plain = delta.text(name)
            if not plain:
                continue
            if text is None:
                text = plain
                yield ReasoningDelta(choice=self._index, key=_PLAIN_REASONING, text=plain)
            if plain == text:
                self._thought_in.add(name)
            else:
                delta.left[name] = plain
        if self._thought_in:
            spelling[SPELLING] = "+".join(name for name in (DETAILS, *PLAIN) if name in self._thought_in)

    def _detail(self, detail: Fields, parts: list[Part]) -> Iterator[Event]:
        """Wires number the details of each type for themselves: a block is a type and an index."""
        raw = dict(detail.left)
        index = raw.get("index")
        part = read_detail(detail, answered=True)
        parts.append(part)
        place = (str(raw.get("type")), index if type(index) is int else None)
        known = self._details.get(place)
        if known is None:
            key = _DETAIL + self._bounded(len(self._details), detail)
            self._details[place] = key, isinstance(part, Opaque)
            start = part if isinstance(part, Opaque) else replace(part, text="", signature=None)
            yield BlockStarted(choice=self._index, key=key, part=start)
            encrypted = ""
        else:
            key, opaque = known
            if opaque or isinstance(part, Opaque):
                yield OpaqueDelta(choice=self._index, key=key, data=raw)
                return
            encrypted = part.encrypted or ""
        if isinstance(part, Opaque):
            return
        if part.text or encrypted:
            yield ReasoningDelta(choice=self._index, key=key, text=part.text, encrypted=encrypted)
        if part.signature is not None:
            yield SignatureDelta(choice=self._index, key=key, signature=part.signature)

    def _content(self, delta: Fields, spelling: dict[str, str]) -> Iterator[Event]:
        content = delta.take("content")
        if content is None or content == "":
            return
        if isinstance(content, str):
            self._texted = True
            yield TextDelta(choice=self._index, key=_TEXT, text=content)
            return
        if not isinstance(content, list):
            raise delta.wrong(content, "a string or a list of content parts", "content")
        for at, item in enumerate(content):
            spelling["content"] = "parts"
            fields = delta.one_item(item, "content", at)
            part = read_part(fields)
            if isinstance(part, Text):
                self._texted = True
                yield TextDelta(choice=self._index, key=_TEXT, text=part.text)
            else:
                yield BlockStarted(choice=self._index, key=self._next(_CONTENT, fields), part=part)

    def _text_signature(self, delta: Fields) -> Iterator[Event]:
        """The message's signature is its text's; one that comes before any text stays a field of the message."""
        if self._texted and (signature := take(delta.left)) is not None:
            yield SignatureDelta(choice=self._index, key=_TEXT, signature=signature)

    def _citations(self, delta: Fields) -> Iterator[Event]:
        annotations = delta.left.get("annotations")
        if not isinstance(annotations, list):
            return
        others = []
        for annotation in annotations:
            citation = read_citation(annotation)
            if citation is None:
                others.append(annotation)
            else:
                yield CitationDelta(choice=self._index, key=_TEXT, citation=citation)
        delta.left["annotations"] = others

    def _refusal(self, delta: Fields) -> Iterator[Event]:
        if refusal := delta.text("refusal"):
            yield RefusalDelta(choice=self._index, key=_REFUSAL, text=refusal)

    def _audio(self, delta: Fields) -> Iterator[Event]:
        fields = delta.fields("audio")
        if fields is None:
            return
        audio = read_audio(fields)
        if not self._spoke:
            self._spoke = True
            start = replace(audio, data=None, transcript=None)
            yield BlockStarted(choice=self._index, key=_AUDIO, part=start)
        else:
            late = audio.extra if audio.file_id is None else {"id": audio.file_id, **audio.extra}
            if late:
                delta.left["audio"] = late
        if audio.data or audio.transcript:
            yield AudioDelta(
                choice=self._index, key=_AUDIO, data=audio.data or "", transcript=audio.transcript or ""
            )

    def _images(self, delta: Fields) -> Iterator[Event]:
        for image in delta.each("images"):
            yield BlockStarted(choice=self._index, key=self._next(_IMAGE, image), part=read_image(image))

    def _tool_calls(self, delta: Fields) -> Iterator[Event]:
        for at, fields in enumerate(delta.each("tool_calls")):
            index = fields.integer("index")
            index = self._bounded(at if index is None else index, fields)
            id_ = fields.left.get("id") or None
            call = self._calls.get(index)
            if call is not None and id_ is not None and call.id not in (None, id_):
                # Some servers give every parallel call the index 0: another id is another call.
                call = None
            if call is None:
                yield from self._begin_call(fields, index, id_)
            elif call.opaque:
                yield OpaqueDelta(choice=self._index, key=call.key, data=fields.left)
            else:
                call.id = call.id or id_
                function = fields.fields("function")
                if function is not None:
                    yield ToolCallDelta(
                        choice=self._index,
                        key=call.key,
                        id=id_,
                        name=function.text("name") or None,
                        arguments=function.text("arguments") or "",
                    )
                yield from self._call_signature(call.key, take(fields.left))

    def _call_signature(self, key: int, signature: str | None) -> Iterator[Event]:
        if signature is not None:
            yield SignatureDelta(choice=self._index, key=key, signature=signature)

    def _begin_call(self, fields: Fields, index: int, id_: Any) -> Iterator[Event]:
        key = _CALL + index
        if key in self._call_keys:
            key = self._bounded(max(self._call_keys) - _CALL + 1, fields) + _CALL
        self._call_keys.add(key)
        kind = fields.text("type")
        opaque = kind not in (None, "", "function")
        self._calls[index] = _Call(key, id_, opaque=opaque)
        if opaque:
            data = {"type": kind, **fields.left}
            yield BlockStarted(
                choice=self._index, key=key, part=Opaque(dialect=DIALECT, data=data, place="tool_calls")
            )
            return
        name, arguments = "", ""
        if (function := fields.fields("function")) is not None:
            name, arguments = function.text("name") or "", function.text("arguments") or ""
            fields.keep("function", function if function.left else None)
        signature = take(fields.left)
        part = ToolCall(id=fields.text("id"), name=name, arguments=arguments, extra=fields.left)
        yield BlockStarted(choice=self._index, key=key, part=part)
        yield from self._call_signature(key, signature)

    def _function_call(self, delta: Fields, spelling: dict[str, str]) -> Iterator[Event]:
        function = delta.fields("function_call")
        if function is None:
            return
        spelling["tool_calls"] = "function_call"
        name, arguments = function.text("name") or "", function.text("arguments") or ""
        if 0 not in self._calls:
            self._calls[0] = _Call(_CALL, None, opaque=False)
            self._call_keys.add(_CALL)
            part = ToolCall(name=name, arguments=arguments)
            yield BlockStarted(choice=self._index, key=_CALL, part=part)
        else:
            yield ToolCallDelta(choice=self._index, key=_CALL, name=name or None, arguments=arguments)

    def _next(self, band: int, fields: Fields) -> int:
        self._blocks += 1
        return band + self._bounded(self._blocks, fields)

    def _bounded(self, number: int, fields: Fields) -> int:
        if 0 <= number < _MOST_BLOCKS:
            return number
        raise bad_answer(
            f"{fields.path} has the number {number}; it must be from 0 to {_MOST_BLOCKS}", fields.path
        )


class _Call:
    __slots__ = ("id", "key", "opaque")

    def __init__(self, key: int, id_: str | None, *, opaque: bool) -> None:
        self.key = key
        self.id = id_
        self.opaque = opaque
