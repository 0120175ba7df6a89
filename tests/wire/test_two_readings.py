"""The hot reading of a dialect says what its whole reading says: for every recorded exchange and any generated one.

The gateway acts on the first (guard, usage, routing); the second is the truth of the format. They may not drift.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.recorded import chat_exchanges

from holdfast.dialects.base import REASONING, REFUSAL, TEXT, TOOL
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.dialects.openai_chat.answer import decode_answer
from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
from holdfast.dialects.openai_chat.request import decode_request
from holdfast.dialects.openai_chat.stream import StreamDecoder
from holdfast.dialects.openai_chat.stream_encoder import StreamEncoder
from holdfast.engine.guard import Guard, State
from holdfast.model import Answer, Ended, Reasoning, Refusal, Text, ToolCall, fold, split
from holdfast.testing.strategies import answers

EXCHANGES = chat_exchanges()
STREAMED = [exchange for exchange in EXCHANGES if "stream" in exchange]
WHOLE = [exchange for exchange in EXCHANGES if "stream" not in exchange and exchange["status"] == 200]
HOT = OpenAIChat()

COUNTS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "input_audio_tokens", "output_tokens",
          "reasoning_tokens", "output_audio_tokens")  # fmt: skip  # a list reads better packed
KINDS = ((Text, TEXT), (Reasoning, REASONING), (Refusal, REFUSAL), (ToolCall, TOOL))


def said(answer: Answer) -> int:
    """The kinds of content in a whole reading, as the hot reading's bits."""
    bits = 0
    for choice in answer.choices:
        for part in choice.parts:
            for kind, bit in KINDS:
                if isinstance(part, kind) and any(
                    getattr(part, name, None)
                    for name in ("text", "summary", "encrypted", "name", "arguments")
                ):
                    bits |= bit
    return bits


def agrees(guard: Guard, answer: Answer) -> None:
    assert guard.state is State.DONE
    assert guard.id == (answer.id or None)
    assert guard.model == (answer.model or None)
    assert guard.content & ~said(answer) == 0, "the hot reading saw content that isn't there"
    assert said(answer) & ~guard.content == 0, "the hot reading missed content"
    first = next(choice for choice in answer.choices if choice.index == min(c.index for c in answer.choices))
    assert first.finish is not None
    assert guard.finish_reason == first.finish.raw
    if answer.usage is None:
        assert guard.usage is None
    else:
        assert guard.usage is not None
        assert [getattr(guard.usage, name) for name in COUNTS] == [
            getattr(answer.usage, name) for name in COUNTS
        ]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["id"])
def test_requests(exchange):
    body = json.dumps(exchange["request"]).encode()
    hot, whole = HOT.read_request(body), decode_request(body)
    assert hot.model == whole.model
    assert hot.stream == bool(whole.stream)
    assert hot.choices == (whole.n or 1)
    assert hot.wants_usage == bool(whole.include_usage)
    assert hot.max_output_tokens == whole.max_output_tokens


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["id"])
def test_a_patched_request_differs_in_the_patch_alone(exchange):
    """FB1: what the provider gets is the request, with model and usage request changed and nothing else."""
    original = exchange["request"]
    body = json.dumps(original).encode()
    patched = json.loads(HOT.write_request(HOT.read_request(body), model="other", overrides={}))
    assert patched.pop("model") == "other"
    options = patched.pop("stream_options", None)
    assert patched == {
        name: value for name, value in original.items() if name not in ("model", "stream_options")
    }
    if original.get("stream"):
        assert options == {**(original.get("stream_options") or {}), "include_usage": True}
    else:
        assert options is None


@pytest.mark.parametrize("exchange", WHOLE, ids=lambda exchange: exchange["id"])
def test_whole_answers(exchange):
    body = json.dumps(exchange["response"]).encode()
    answer = decode_answer(body)
    guard = Guard(HOT, choices=len(answer.choices))
    assert guard.feed(HOT.read_answer(body)) == b"", "a whole answer travels as it came"
    agrees(guard, answer)


@pytest.mark.parametrize("exchange", STREAMED, ids=lambda exchange: exchange["id"])
@pytest.mark.parametrize("wants_usage", [True, False])
def test_streams(exchange, wants_usage):
    stream = exchange["stream"].encode()
    decoder = StreamDecoder()
    answer = fold(decoder.feed(stream) + decoder.finish())
    guard = Guard(HOT, choices=len(answer.choices), wants_usage=wants_usage)
    scanner = HOT.scanner()
    out = guard.feed(scanner.feed(stream) + scanner.finish())
    agrees(guard, answer)

    # What goes out is the same answer: whole, and with usage only where it was asked for.
    sent = StreamDecoder()
    delivered = fold(sent.feed(out + guard.closing() + HOT.end_frame) + sent.finish())
    assert [choice.message for choice in delivered.choices] == [choice.message for choice in answer.choices]
    assert [choice.finish for choice in delivered.choices] == [choice.finish for choice in answer.choices]
    assert delivered.usage == (answer.usage if wants_usage else None)


@given(answer=answers(), cut=st.integers(1, 200))
def test_generated_streams(answer, cut):
    """For any answer that our own encoder streams, cut into pieces of any size."""
    encoder = StreamEncoder(include_usage=True)
    stream = b"".join(encoder.encode(event) for event in [*split(answer), Ended()])
    decoder = StreamDecoder()
    told = fold(decoder.feed(stream) + decoder.finish())
    if not told.choices or any(choice.finish is None for choice in told.choices):
        return
    guard = Guard(HOT, choices=len(told.choices))
    scanner = HOT.scanner()
    for at in range(0, len(stream), cut):
        guard.feed(scanner.feed(stream[at : at + cut]))
    guard.feed(scanner.finish())
    assert guard.state is State.DONE
    assert guard.content == said(told) | (guard.content & ~0b1111), "audio has no part of its own to compare"


def test_the_codec_and_the_hot_reading_are_of_one_dialect():
    assert OpenAIChatCodec().name == HOT.name
