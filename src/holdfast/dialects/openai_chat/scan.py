"""Reading Chat Completions answers as far as the stream guard must, and no further: this runs for every chunk."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.dialects.base import AUDIO, REASONING, REFUSAL, TEXT, TOOL, Beat, Signal
from holdfast.dialects.counted import counted
from holdfast.dialects.openai_chat.refusals import inner_refusal
from holdfast.dialects.openai_chat.usage import read_usage
from holdfast.dialects.sse import SSEParser
from holdfast.model.usage import Usage

__all__ = ["ChatScanner", "read_answer"]

END_FRAME = b"data: [DONE]\n\n"


_UNCOUNTED = Usage()


class _Said(msgspec.Struct, gc=False):
    """A delta, or a whole message: the fields that are content."""

    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None
    function_call: Any = None
    audio: Any = None


class _StreamChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Said | None = None
    finish_reason: str | None = None  # some servers say "" for "not yet"


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_StreamChoice] | None = None
    usage: Any = None
    service_tier: Any = None
    error: Any = None


class _WholeChoice(msgspec.Struct, gc=False):
    index: int = 0
    message: _Said | None = None
    finish_reason: str | None = None


class _Whole(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_WholeChoice] | None = None
    usage: Any = None
    service_tier: Any = None
    error: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_whole = msgspec.json.Decoder(_Whole).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ChatScanner:
    """Bytes of one streamed answer to signals."""

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        self._parser = SSEParser()

    def feed(self, data: bytes) -> list[Signal]:
        return [
            Signal(frame.raw) if frame.data is None else _signal(frame.raw, frame.data)
            for frame in self._parser.feed(data)
        ]

    def finish(self) -> list[Signal]:
        frame = self._parser.finish()
        if frame is None or frame.data is None:
            return []
        signal = _signal(frame.raw, frame.data)
        return [] if signal.malformed else [signal]  # half an event is a cut, not a malformed answer


def _signal(raw: bytes, data: bytes) -> Signal:
    if data == b"[DONE]":
        return Signal(raw, end=True)
    try:
        if not data.isascii():
            data.decode()  # what the typed reading skips isn't checked for valid UTF-8
        chunk = _chunk(data)
    except _UNREADABLE as error:
        return Signal(raw, malformed=f"a stream event can't be read: {error}")
    if chunk.error is not None:
        return Signal(raw, error=inner_refusal(chunk.error, data), id=chunk.id, model=chunk.model)
    choices = chunk.choices
    told = chunk.usage is not None
    usage = _counted(chunk.usage, chunk.service_tier) if told else None
    if choices is None and usage is None:
        return Signal(raw, malformed="a stream event is neither a chunk nor an error")
    if not choices:  # usage without a count is an event for those who asked, all the same
        return Signal(
            raw, usage=_UNCOUNTED if told and usage is None else usage, id=chunk.id, model=chunk.model
        )
    if len(choices) == 1:  # nearly always
        choice = choices[0]
        delta = choice.delta
        if delta is None:
            return Signal(
                raw,
                ((choice.index, 0, choice.finish_reason or None),),
                "",
                usage,
                id=chunk.id,
                model=chunk.model,
            )
        text = delta.content
        if text.__class__ is not str:
            text = ""
        bits = _content_bits(delta)
        return Signal(
            raw,
            ((choice.index, bits, choice.finish_reason or None),),
            text,
            usage,
            id=chunk.id,
            model=chunk.model,
        )
    beats: tuple[Beat, ...] = tuple(
        (choice.index, _content_bits(choice.delta) if choice.delta else 0, choice.finish_reason or None)
        for choice in choices
    )
    return Signal(raw, beats, "", usage, id=chunk.id, model=chunk.model)


def _counted(told: Any, service_tier: Any) -> Usage | None:
    """``service_tier`` stands beside usage on this wire, but says at what price it counts."""
    usage = counted(told, read_usage)
    if usage is None or service_tier is None:
        return usage
    return msgspec.structs.replace(usage, extra={**usage.extra, "service_tier": service_tier})


def _content_bits(said: _Said) -> int:
    bits = TEXT if said.content else 0
    if said.reasoning_content or said.reasoning or said.reasoning_details:
        bits |= REASONING
    if said.tool_calls or said.function_call:
        bits |= TOOL
    if said.refusal:
        bits |= REFUSAL
    if said.audio:
        bits |= AUDIO
    return bits


def read_answer(body: bytes) -> list[Signal]:
    """A whole answer as the signals of its split."""
    if not body or body.isspace():
        return [Signal(body, malformed="the provider answered 200 with an empty body")]
    try:
        whole = _whole(body)
        if not body.isascii():
            body.decode()  # what the typed reading skips isn't checked for valid UTF-8
    except _UNREADABLE as error:
        return [Signal(body, malformed=f"the answer can't be read: {error}")]
    if whole.error is not None:
        return [Signal(body, error=inner_refusal(whole.error, body))]
    if whole.choices is None:
        return [Signal(body, malformed="the answer has no choices: it isn't a chat completion")]
    beats: tuple[Beat, ...] = tuple(
        (choice.index, _content_bits(choice.message) if choice.message else 0, choice.finish_reason or None)
        for choice in whole.choices
    )
    said = whole.choices[0].message if len(whole.choices) == 1 else None
    text = said.content if said is not None and isinstance(said.content, str) else ""
    usage = _counted(whole.usage, whole.service_tier)
    return [
        Signal(
            b"", beats, text, id=whole.id, model=whole.model
        ),  # no bytes: a whole answer travels as it came
        Signal(b"", usage=usage),
        Signal(b"", end=True),
    ]
