"""What we write in Anthropic's name is read by its SDK's own types, strictly: whole, and put together from a stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from anthropic import types
from anthropic.types.beta import BetaMessage
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from tests.wire.anthropic_recorded import STREAMED, WHOLE, gathered
from tests.wire.recorded import payloads

from holdfast.dialects.anthropic.codec import AnthropicCodec
from holdfast.dialects.signatures import mark
from holdfast.model import (
    Answer,
    BlockStarted,
    Choice,
    ChoiceStarted,
    Citation,
    CitationDelta,
    Ended,
    Event,
    Finish,
    Finished,
    FinishReason,
    Message,
    Opaque,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Role,
    SignatureDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
    in_pieces,
    split,
)
from holdfast.testing.strategies import answers, foreign_answers

if TYPE_CHECKING:
    from collections.abc import Iterable

CODEC = AnthropicCodec()
EVENTS: TypeAdapter[Any] = TypeAdapter(types.RawMessageStreamEvent)
KINDS = {
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
}  # fmt: skip  # a list reads better packed


def written(events: Iterable[Event]) -> bytes:
    encoder = CODEC.stream_encoder()
    return b"".join(encoder.encode(event) for event in events)


def checked(stream: bytes) -> types.Message:
    """The message that the stream tells, each event read strictly, blocks in order and never two at once."""
    opened: int | None = None
    ended = -1
    events = payloads(stream)
    names = [line[7:] for line in stream.decode().split("\n") if line.startswith("event: ")]
    assert names == [event["type"] for event in events], "the SDK goes by the event's name"
    for event in events:
        assert event["type"] in KINDS
        EVENTS.validate_json(json.dumps(event), strict=True)
        match event["type"]:
            case "content_block_start":
                assert opened is None
                assert event["index"] == ended + 1
                opened = event["index"]
            case "content_block_delta":
                assert event["index"] == opened
            case "content_block_stop":
                assert event["index"] == opened
                ended, opened = event["index"], None
            case _:
                assert opened is None
    assert [names[0], names[-2], names[-1]] == ["message_start", "message_delta", "message_stop"]
    said = gathered(events)
    del said["ends"]
    return types.Message.model_validate_json(json.dumps(said), strict=True)


def whole(answer: Answer) -> types.Message:
    return types.Message.model_validate_json(CODEC.encode_answer(answer), strict=True)


def one(*parts: Any, reason: FinishReason = FinishReason.STOP, **fields: Any) -> Answer:
    message = Message(role=Role.ASSISTANT, parts=parts)
    choice = Choice(index=0, message=message, finish=Finish(reason, "raw"))
    return Answer(id="i", model="m", choices=(choice,), dialect="openai_chat", **fields)


@given(answers() | foreign_answers(), st.integers(1, 9))
def test_any_answer_is_a_message_whole_and_streamed(answer: Answer, size: int) -> None:
    message = whole(answer)
    assert checked(written(split(answer, in_pieces(size)))) == message


def test_recorded_answers_are_what_they_were_to_the_sdk() -> None:
    """The recordings are of a beta, whose types know more blocks."""
    for exchange in WHOLE:
        body = CODEC.encode_answer(CODEC.decode_answer(json.dumps(exchange["response"]).encode()))
        assert BetaMessage.model_validate_json(body) == BetaMessage.model_validate(exchange["response"])


def test_recorded_streams_are_told_block_by_block() -> None:
    for exchange in STREAMED:
        decoder = CODEC.stream_decoder()
        again = written(decoder.feed(exchange["stream"].encode()))
        assert gathered(payloads(again)) == gathered(payloads(exchange["stream"].encode()))


def started(*events: Event) -> list[Event]:
    first: list[Event] = [Started(id="i", model="m", dialect="openai_chat"), ChoiceStarted(choice=0)]
    return [
        *first,
        *events,
        Finished(choice=0, finish=Finish(FinishReason.TOOL_CALLS, "tool_calls")),
        Ended(),
    ]


def call(key: int, name: str = "f", arguments: str = "") -> BlockStarted:
    return BlockStarted(choice=0, key=key, part=ToolCall(id=f"c{key}", name=name, arguments=arguments))


def more(key: int, arguments: str, name: str | None = None) -> ToolCallDelta:
    return ToolCallDelta(choice=0, key=key, arguments=arguments, name=name)


def text(piece: str, key: int = 1) -> TextDelta:
    return TextDelta(choice=0, key=key, text=piece)


def thought(piece: str) -> ReasoningDelta:
    return ReasoningDelta(choice=0, key=0, text=piece)


def inputs(message: types.Message) -> list[Any]:
    return [block.input for block in message.content if block.type == "tool_use"]


def test_calls_side_by_side_are_told_one_after_the_other() -> None:
    events = started(
        call(5),
        call(6),
        more(5, '{"a'),
        more(6, '{"b"'),
        more(5, '": "}"}'),
        more(6, ": [1]"),
        more(6, "}"),
        call(7, "g", "{}"),
    )
    message = checked(written(events))
    assert inputs(message) == [{"a": "}"}, {"b": [1]}, {}]
    assert [block.id for block in message.content if block.type == "tool_use"] == ["c5", "c6", "c7"]


def test_nothing_overtakes_what_waits_of_its_own_block() -> None:
    events = started(
        call(5), call(6), call(7, arguments='{"c":'), more(6, "{}"), more(7, "1}"), more(5, "{}")
    )
    assert inputs(checked(written(events))) == [{}, {}, {"c": 1}]


def test_a_quote_in_a_text_doesnt_end_the_arguments() -> None:
    events = started(call(5, arguments='{"a": "\\"}'), call(6, arguments="{}"), more(5, '"}'))
    assert inputs(checked(written(events))) == [{"a": '"}'}, {}]


def test_what_is_whole_is_told_at_once() -> None:
    """A caller sees the first call's arguments while the second's are on their way, and text doesn't wait for the end."""
    encoder = CODEC.stream_encoder()
    out = [
        encoder.encode(event)
        for event in started(call(5, arguments='{"a":'), more(5, "1}"), call(6), more(5, " "))
    ]
    assert b"tool_use" in out[2]
    assert b"partial_json" in out[3]
    assert b'"name":"f"' in out[4], "the first is whole, so the second begins"
    assert out[5] == b""
    encoder = CODEC.stream_encoder()
    assert all(encoder.encode(event) for event in [text("a"), thought("b"), text("c")])


def test_thoughts_and_text_in_turns_are_blocks_in_turns() -> None:
    message = checked(written(started(thought("a"), text("b"), thought("c"), thought("d"), text("e"))))
    said = [getattr(block, "text", None) or getattr(block, "thinking", None) for block in message.content]
    assert said == ["a", "b", "cd", "e"]


def test_a_call_that_never_becomes_whole_doesnt_hold_the_rest_back() -> None:
    stream = written(
        started(call(5, arguments='{"a": '), call(6), text("after", 9), more(6, '{"b": 1}'), more(5, "1"))
    )
    events = payloads(stream)
    pieces = dict.fromkeys(range(3), "")
    for event in events:
        if event["type"] == "content_block_delta":
            pieces[event["index"]] += event["delta"].get("partial_json", event["delta"].get("text", ""))
    assert pieces == {0: '{"a": 1', 1: '{"b": 1}', 2: "after"}


def test_a_name_that_comes_late_is_waited_for() -> None:
    message = checked(written(started(call(5, ""), more(5, '{"a":'), more(5, "1}", name="f"))))
    assert [(block.name, block.input) for block in message.content if block.type == "tool_use"] == [
        ("f", {"a": 1})
    ]


def test_calls_without_an_id_get_one_that_is_the_same_whole_and_streamed() -> None:
    answer = one(
        ToolCall(name="f", arguments="{}"),
        ToolCall(name="f", arguments='{"a":1}'),
        ToolCall(id="a.b:0", name="g"),
    )
    streamed, at_once = checked(written(split(answer))), whole(answer)
    assert streamed == at_once
    ids = [block.id for block in at_once.content if block.type == "tool_use"]
    assert ids == ["call_i_0_0", "call_i_0_1", "a_2e_b_3a_0"]
    assert at_once.stop_reason == "tool_use"


def test_an_answer_without_an_id_gets_one_that_is_the_same_whole_and_streamed() -> None:
    answer = Answer(model="m", created=7, choices=one(Text(text="x")).choices, dialect="gemini")
    first, again = whole(answer), checked(written(split(answer)))
    assert first.id == again.id
    assert first.id.startswith("msg_")
    assert whole(Answer(model="m", created=8, dialect="gemini")).id != first.id


@pytest.mark.parametrize(
    ("parts", "reason", "word"),
    [
        ((Text(text="x"),), FinishReason.STOP, "end_turn"), ((Text(text="x"),), FinishReason.LENGTH, "max_tokens"),
        ((ToolCall(name="f"),), FinishReason.STOP, "tool_use"), ((Refusal(text="no"),), FinishReason.STOP, "refusal"),
        ((), FinishReason.CONTENT_FILTER, "refusal"), ((), FinishReason.PAUSE, "pause_turn"),
        ((), FinishReason.OTHER, "max_tokens"),
    ],
)  # fmt: skip  # a list reads better packed
def test_reasons_of_others_in_anthropics_words(
    parts: tuple[Any, ...], reason: FinishReason, word: str
) -> None:
    answer = one(*parts, reason=reason)
    assert whole(answer).stop_reason == word == checked(written(split(answer))).stop_reason


def test_a_refusal_is_text() -> None:
    (block,) = checked(written(split(one(Refusal(text="no"))))).content
    assert block.type == "text"
    assert block.text == "no"


def test_proofs_of_others_are_marked_so_that_nobody_takes_them_for_his_own() -> None:
    answer = one(
        Reasoning(text="hm"), Reasoning(text="ha", signature="c2ln"), Reasoning(text="ho", encrypted="ZW5j"),
        Text(text="so", signature="dHh0", citations=(Citation(url="u", title="t"),)),
        ToolCall(id="c", name="f", arguments="{}", signature="Y2Fs"), Opaque(dialect="openai_chat", data={"type": "x"}),
    )  # fmt: skip  # a list reads better packed
    message = checked(written(split(answer, in_pieces(2))))
    assert message == whole(answer)

    def marked(proof: str) -> str:
        return mark(proof, "openai_chat", "anthropic")

    said = [
        (block.type, getattr(block, "thinking", ""), getattr(block, "signature", getattr(block, "data", "")))
        for block in message.content
    ]
    assert said == [
        ("thinking", "hm", marked("")), ("thinking", "ha", marked("c2ln")), ("thinking", "ho", marked("")),
        ("redacted_thinking", "", marked("ZW5j")), ("text", "", ""),
        ("tool_use", "", ""), ("thinking", "", marked("Y2Fs")),
    ]  # fmt: skip  # a list reads better packed
    (citation,) = next(block.citations or [] for block in message.content if block.type == "text")
    assert citation.type == "web_search_result_location"
    assert citation.encrypted_index == marked("")


def test_a_proof_in_pieces_is_told_whole_with_the_end_of_its_block() -> None:
    begun = BlockStarted(choice=0, key=0, part=Reasoning(encrypted="a"))
    events = started(
        begun,
        ReasoningDelta(choice=0, key=0, encrypted="b"),
        text("x"),
        SignatureDelta(choice=0, key=0, signature="s"),
    )
    redacted, words = checked(written(events)).content
    assert redacted.type == "redacted_thinking"
    assert redacted.data == mark("ab", "openai_chat", "anthropic")
    assert words.type == "text", "a proof that comes when its block is over belongs nowhere"


def test_usage_is_counted_anthropics_way() -> None:
    usage = Usage(
        input_tokens=10,
        cache_read_tokens=3,
        cache_write_tokens=2,
        cache_write_1h_tokens=1,
        output_tokens=5,
        reasoning_tokens=4,
    )
    answer = one(Text(text="x"), usage=usage)
    counted = checked(written(split(answer))).usage
    assert counted == whole(answer).usage
    assert (counted.input_tokens, counted.cache_read_input_tokens, counted.cache_creation_input_tokens) == (
        5,
        3,
        2,
    )
    assert counted.cache_creation is not None
    assert counted.cache_creation.ephemeral_1h_input_tokens == 1
    assert counted.output_tokens_details is not None
    assert (counted.output_tokens, counted.output_tokens_details.thinking_tokens) == (5, 4)


def test_usage_that_comes_last_is_in_the_end_and_zeros_stand_where_nothing_is_known() -> None:
    late: list[Event] = [text("x"), UsageReported(usage=Usage(input_tokens=7, output_tokens=8))]
    first, *_, last, _ = payloads(written(started(*late)))
    assert first["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert last["usage"] == {"input_tokens": 7, "output_tokens": 8}
    assert CODEC.decode_answer(CODEC.encode_answer(one())).usage is None


def test_arguments_that_are_no_object_are_told_as_they_are() -> None:
    (block,) = whole(one(ToolCall(id="c", name="f", arguments='{"a": '))).content
    assert block.type == "tool_use"
    assert block.input == {"INVALID_JSON": '{"a": '}


def test_other_alternatives_are_left_out() -> None:
    other = Choice(index=1, message=Message(role=Role.ASSISTANT, parts=(Text(text="other"),)))
    answer = Answer(id="i", model="m", choices=(other, *one(Text(text="x")).choices), dialect="openai_chat")
    assert whole(answer) == checked(written(split(answer)))
    assert [block.text for block in whole(answer).content if block.type == "text"] == ["x"]


def test_a_citation_reaches_its_text() -> None:
    events = started(text("x"), CitationDelta(choice=0, key=1, citation=Citation(url="u")))
    (block,) = checked(written(events)).content
    assert block.type == "text"
    assert [
        citation.url for citation in block.citations or [] if citation.type == "web_search_result_location"
    ] == ["u"]
