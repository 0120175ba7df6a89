"""The hot reading of Gemini says what its whole reading says: for every recorded exchange and any generated one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.gemini_recorded import EXCHANGES, STREAMED, WHOLE

from holdfast.dialects.base import AUDIO, OTHER, REASONING, TEXT, TOOL
from holdfast.dialects.gemini import Gemini
from holdfast.engine.guard import Guard, State
from holdfast.model import Answer, Audio, Media, Opaque, Reasoning, Text, ToolCall, fold, split
from holdfast.testing.strategies import answers

HOT = Gemini()
CODEC = Gemini.codec
COUNTS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "input_audio_tokens", "output_tokens",
          "reasoning_tokens", "output_audio_tokens")  # fmt: skip  # a list reads better packed
KINDS = (
    (Text, TEXT),
    (Reasoning, REASONING),
    (ToolCall, TOOL),
    (Audio, AUDIO),
    (Media, OTHER),
    (Opaque, OTHER),
)


def bits(answer: Answer) -> int:
    """The kinds of content in a whole reading, as the hot reading's bits."""
    said = 0
    for choice in answer.choices:
        for part in choice.parts:
            empty = isinstance(part, Text | Reasoning) and not part.text
            said |= 0 if empty else next(bit for kind, bit in KINDS if isinstance(part, kind))
    return said


def agrees(guard: Guard, answer: Answer) -> None:
    assert guard.state is State.DONE
    assert (guard.id, guard.model) == (answer.id or None, answer.model or None)
    assert guard.content == bits(answer)
    first = min(answer.choices, key=lambda choice: choice.index)
    assert first.finish is not None
    assert guard.finish_reason == first.finish.raw
    assert answer.usage is not None
    assert guard.usage is not None
    assert [getattr(guard.usage, name) for name in COUNTS] == [getattr(answer.usage, name) for name in COUNTS]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["id"])
def test_requests(exchange: dict[str, Any]) -> None:
    body = json.dumps(exchange["request"]).encode()
    hot, whole = HOT.read_request(body), CODEC.decode_request(body)
    assert (hot.model, hot.stream, hot.wants_usage) == ("", False, True)
    assert hot.choices == (whole.n or 1)
    assert hot.max_output_tokens == whole.max_output_tokens
    assert json.loads(HOT.write_request(hot, model="other", overrides={})) == exchange["request"]


@pytest.mark.parametrize("exchange", WHOLE, ids=lambda exchange: exchange["id"])
def test_whole_answers(exchange: dict[str, Any]) -> None:
    body = json.dumps(exchange["response"]).encode()
    guard = Guard(HOT)
    assert guard.feed(HOT.read_answer(body)) == b"", "a whole answer travels as it came"
    agrees(guard, CODEC.decode_answer(body))


def folded(stream: bytes) -> Answer:
    decoder = CODEC.stream_decoder()
    return fold(decoder.feed(stream) + decoder.finish())


@pytest.mark.parametrize("exchange", STREAMED, ids=lambda exchange: exchange["id"])
def test_streams(exchange: dict[str, Any]) -> None:
    stream = exchange["stream"].encode()
    guard, scanner = Guard(HOT), HOT.scanner()
    out = guard.feed(scanner.feed(stream) + scanner.finish())
    assert guard.state is State.CLOSING, "nothing but the end of the bytes says that nothing follows"
    guard.eof()
    agrees(guard, folded(stream))
    assert folded(out + guard.closing()) == folded(stream)


@pytest.mark.parametrize("exchange", STREAMED, ids=lambda exchange: exchange["id"])
def test_a_stream_cut_anywhere_gives_the_same_signals(exchange: dict[str, Any]) -> None:
    stream = exchange["stream"].encode()[:6_000]
    whole = HOT.scanner().feed(stream)
    for at in range(1, len(stream)):
        scanner = HOT.scanner()
        assert scanner.feed(stream[:at]) + scanner.feed(stream[at:]) == whole


@pytest.mark.parametrize("exchange", STREAMED, ids=lambda exchange: exchange["id"])
def test_what_is_counted_before_the_end_is_no_bill(exchange: dict[str, Any]) -> None:
    """Every chunk counts so far; of a stream that breaks off, nothing is exact."""
    signals = HOT.scanner().feed(exchange["stream"].encode())
    finished = [any(finish for _, _, finish in signal.beats) for signal in signals]
    assert [signal.usage is not None for signal in signals] == finished
    assert finished == [False] * (len(signals) - 1) + [True]


@given(answer=answers(), cut=st.integers(1, 200))
def test_generated_streams(answer: Answer, cut: int) -> None:
    """For any answer that our own encoder streams, cut into pieces of any size."""
    encoder = CODEC.stream_encoder()
    stream = b"".join(encoder.encode(event) for event in split(answer))
    told = folded(stream)
    guard, scanner = Guard(HOT, choices=len(told.choices)), HOT.scanner()
    for at in range(0, len(stream), cut):
        guard.feed(scanner.feed(stream[at : at + cut]))
    guard.feed(scanner.finish())
    guard.eof()
    assert guard.state is State.DONE
    assert guard.content == bits(told)
    assert (guard.usage is None) == (told.usage is None)
