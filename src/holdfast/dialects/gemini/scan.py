"""Reading answers as far as the stream guard must, and no further: this runs for every chunk."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.dialects.base import AUDIO, OTHER, REASONING, TEXT, TOOL, Beat, Signal
from holdfast.dialects.counted import counted
from holdfast.dialects.gemini.names import UNSPECIFIED
from holdfast.dialects.gemini.refusals import inner_refusal
from holdfast.dialects.gemini.usage import read_usage
from holdfast.dialects.sse import SSEParser

__all__ = ["GeminiScanner", "read_answer"]


class _Blob(msgspec.Struct, gc=False, rename="camel"):
    mime_type: str | None = None


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: Any = None
    inline_data: _Blob | None = None
    file_data: Any = None
    executable_code: Any = None
    code_execution_result: Any = None
    tool_call: Any = None
    tool_response: Any = None


class _Content(msgspec.Struct, gc=False, rename="camel"):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, gc=False, rename="camel"):
    block_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Any = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_chunks = msgspec.json.Decoder(_Chunk | list[_Chunk]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class GeminiScanner:
    """Bytes of one streamed answer to signals.

    Every chunk counts what was used so far. Only the count that comes with or after the last finish reason is the bill.
    """

    __slots__ = ("_finished", "_parser", "_seen")

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._seen: set[int] = set()
        self._finished: set[int] = set()

    def feed(self, data: bytes) -> list[Signal]:
        return [
            Signal(frame.raw) if frame.data is None else self._signal(frame.raw, frame.data)
            for frame in self._parser.feed(data)
        ]

    def finish(self) -> list[Signal]:
        frame = self._parser.finish()
        if frame is None or frame.data is None:
            return []
        signal = self._signal(frame.raw, frame.data)
        return [] if signal.malformed else [signal]  # half an event is a cut, not a malformed answer

    def _signal(self, raw: bytes, data: bytes) -> Signal:
        try:
            if not data.isascii():
                data.decode()  # what the typed reading skips isn't checked for valid UTF-8
            chunk = _chunk(data) if data[:1] != b"[" else _only(_chunks(data))
        except _UNREADABLE as error:
            return Signal(raw, malformed=f"a stream event can't be read: {error}")
        if chunk is None:
            return Signal(raw, malformed="a stream event is a list, not an object")
        if chunk.error is not None:
            return Signal(
                raw, error=inner_refusal(chunk.error, data), id=chunk.response_id, model=chunk.model_version
            )
        beats, text = _beats(chunk)
        if not beats and chunk.usage_metadata is None and chunk.response_id is None:
            return Signal(raw, malformed="a stream event is neither a chunk nor an error")
        for index, _, finish in beats:
            self._seen.add(index)
            if finish is not None:
                self._finished.add(index)
        whole = bool(self._finished) and len(self._finished) == len(self._seen)
        return Signal(
            raw,
            beats,
            text,
            counted(chunk.usage_metadata, read_usage) if whole else None,
            id=chunk.response_id,
            model=chunk.model_version,
        )


def read_answer(body: bytes) -> list[Signal]:
    """A whole answer as the signals of its split."""
    if not body or body.isspace():
        return [Signal(body, malformed="the provider answered 200 with an empty body")]
    try:
        whole = _only(_chunks(body))
        if not body.isascii():
            body.decode()  # what the typed reading skips isn't checked for valid UTF-8
    except _UNREADABLE as error:
        return [Signal(body, malformed=f"the answer can't be read: {error}")]
    if whole is None:
        return [Signal(body, malformed="the answer is a list, not an object")]
    if whole.error is not None:
        return [Signal(body, error=inner_refusal(whole.error, body))]
    beats, text = _beats(whole)
    if not beats and whole.candidates is None:
        return [Signal(body, malformed="the answer has no candidates, and no reason why")]
    usage = counted(whole.usage_metadata, read_usage)
    return [
        # No bytes: a whole answer travels as it came.
        Signal(b"", beats, text, id=whole.response_id, model=whole.model_version),
        Signal(b"", usage=usage),
        Signal(b"", end=True),
    ]


def _only(value: _Chunk | list[_Chunk]) -> _Chunk | None:
    """The one chunk, which may stand in a list: so it comes without ``alt=sse``."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else None
    return value


def _beats(chunk: _Chunk) -> tuple[tuple[Beat, ...], str]:
    """The beats, and the text where there is one candidate. A prompt that was blocked is answered by its reason."""
    candidates = chunk.candidates
    if not candidates:
        reason = chunk.prompt_feedback.block_reason if chunk.prompt_feedback is not None else None
        return (((0, 0, reason),) if reason and reason not in UNSPECIFIED else ()), ""
    if len(candidates) == 1:  # nearly always
        only = candidates[0]
        bits, text = _content(only.content)
        return ((only.index or 0, bits, _finish(only)),), text
    return tuple(
        (at if each.index is None else each.index, _content(each.content)[0], _finish(each))
        for at, each in enumerate(candidates)
    ), ""


def _finish(candidate: _Candidate) -> str | None:
    word = candidate.finish_reason
    return word if word and word not in UNSPECIFIED else None


def _content(content: _Content | None) -> tuple[int, str]:
    """The kinds of content, and the text that is no thought."""
    bits, text = 0, ""
    for part in content.parts or () if content is not None else ():
        if part.text is not None:
            if not part.text:
                continue
            if part.thought:
                bits |= REASONING
            else:
                bits |= TEXT
                text += part.text
        elif part.function_call is not None:
            bits |= TOOL
        elif part.inline_data is not None:
            media_type = part.inline_data.mime_type or ""
            bits |= AUDIO if media_type.startswith("audio/") and not part.thought else OTHER
        elif (
            part.executable_code is not None
            or part.code_execution_result is not None
            or part.file_data is not None
            or part.tool_call is not None
            or part.tool_response is not None
        ):
            bits |= OTHER
    return bits, text
