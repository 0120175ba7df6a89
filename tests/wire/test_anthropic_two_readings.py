"""The hot reading of Messages says what its whole reading says: for every recorded exchange and any generated one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.anthropic_recorded import EXCHANGES, STREAMED, WHOLE
from tests.wire.test_anthropic_recordings import LOSSLESS

from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.base import OTHER, REASONING, TEXT, TOOL
from holdfast.dialects.openai_chat.differences import Where
from holdfast.engine.guard import Guard, State
from holdfast.model import Answer, Opaque, Reasoning, Text, ToolCall, fold, split
from holdfast.testing.strategies import answers

HOT = Anthropic()
CODEC = Anthropic.codec
COUNTS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens",
          "reasoning_tokens")  # fmt: skip  # a list reads better packed
STREAMS = [exchange["stream"] for exchange in STREAMED] + list(LOSSLESS[Where.STREAM].values())


def bits(answer: Answer) -> int:
    """The kinds of content in a whole reading, as the hot reading's bits."""
    (choice,) = answer.choices
    texts = [part for part in choice.parts if isinstance(part, Text) and part.text]
    said = OTHER if len(texts) > 1 else 0
    for part in choice.parts:
        match part:
            case Text():
                said |= TEXT if part.text else 0
            case Reasoning():
                said |= REASONING if part.text or part.encrypted else 0
            case ToolCall():
                said |= TOOL
            case _:
                assert isinstance(part, Opaque)
                said |= OTHER
    return said


def agrees(guard: Guard, answer: Answer) -> None:
    assert guard.state is State.DONE
    assert (guard.id, guard.model) == (answer.id or None, answer.model or None)
    assert guard.content == bits(answer)
    (choice,) = answer.choices
    assert choice.finish is not None
    assert guard.finish_reason == choice.finish.raw
    assert answer.usage is not None
    assert guard.usage is not None
    assert [getattr(guard.usage, name) for name in COUNTS] == [getattr(answer.usage, name) for name in COUNTS]
    assert guard.usage.extra.get("server_tool_use") == answer.usage.extra.get("server_tool_use")


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["id"])
def test_requests(exchange: dict[str, Any]) -> None:
    body = json.dumps(exchange["request"]).encode()
    hot, whole = HOT.read_request(body), CODEC.decode_request(body)
    assert (hot.model, hot.stream, hot.choices, hot.wants_usage) == (whole.model, bool(whole.stream), 1, True)
    assert hot.max_output_tokens == whole.max_output_tokens


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["id"])
def test_a_patched_request_differs_in_the_model_alone(exchange: dict[str, Any]) -> None:
    """FB1: what the provider gets is the request, with the model changed and nothing else."""
    body = json.dumps(exchange["request"]).encode()
    patched = HOT.write_request(HOT.read_request(body), model="other", overrides={})
    assert json.loads(patched) == {**exchange["request"], "model": "other"}


@pytest.mark.parametrize("exchange", WHOLE, ids=lambda exchange: exchange["id"])
def test_whole_answers(exchange: dict[str, Any]) -> None:
    body = json.dumps(exchange["response"]).encode()
    guard = Guard(HOT)
    assert guard.feed(HOT.read_answer(body)) == b"", "a whole answer travels as it came"
    agrees(guard, CODEC.decode_answer(body))


@pytest.mark.parametrize("stream", STREAMS)
def test_streams(stream: str) -> None:
    wire = stream.encode()
    decoder = CODEC.stream_decoder()
    answer = fold(decoder.feed(wire) + decoder.finish())
    guard, scanner = Guard(HOT), HOT.scanner()
    out = guard.feed(scanner.feed(wire) + scanner.finish())
    agrees(guard, answer)
    sent, _, end = wire.rpartition(b"event: message_stop")
    assert out + guard.closing() == sent, "what goes out is what came"
    assert end, "but for the end marker, which is ours to write"


@pytest.mark.parametrize("stream", STREAMS)
def test_streams_in_single_bytes(stream: str) -> None:
    wire = stream.encode()
    scanner, at_once = HOT.scanner(), HOT.scanner()
    signals = [signal for at in range(len(wire)) for signal in scanner.feed(wire[at : at + 1])]
    assert signals == at_once.feed(wire)
    assert signals[-1].end


@given(answer=answers(), cut=st.integers(1, 200))
def test_generated_streams(answer: Answer, cut: int) -> None:
    """For any answer that our own encoder streams, cut into pieces of any size."""
    encoder, decoder = CODEC.stream_encoder(), CODEC.stream_decoder()
    stream = b"".join(encoder.encode(event) for event in split(answer))
    told = fold(decoder.feed(stream) + decoder.finish())
    guard, scanner = Guard(HOT), HOT.scanner()
    for at in range(0, len(stream), cut):
        guard.feed(scanner.feed(stream[at : at + cut]))
    assert guard.state is State.DONE
    assert guard.content == bits(told)


def test_the_codec_and_the_hot_reading_are_of_one_dialect() -> None:
    assert CODEC.name == HOT.name
