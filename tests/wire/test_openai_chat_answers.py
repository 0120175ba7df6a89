"""Answers, streams and errors: what is read, and what is said about those that can't be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.wire.recorded import payloads

from holdfast.dialects.openai_chat.answer import decode_answer, encode_answer
from holdfast.dialects.openai_chat.errors import decode_error, encode_error
from holdfast.dialects.openai_chat.stream import StreamDecoder
from holdfast.dialects.openai_chat.stream_encoder import StreamEncoder
from holdfast.errors import BadAnswer
from holdfast.model import (
    Answer,
    Audio,
    BlockStarted,
    Choice,
    ChoiceStarted,
    Citation,
    Ended,
    Event,
    Failed,
    File,
    Finish,
    Finished,
    FinishReason,
    Image,
    Message,
    Opaque,
    Ping,
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
    WireError,
    fold,
    in_pieces,
    split,
)

STOP = Finish(FinishReason.STOP, "stop")


def answer_of(*parts: Any, finish: Finish = STOP, **fields: Any) -> Answer:
    message = Message(role=Role.ASSISTANT, parts=parts)
    return Answer(
        id="i", model="m", created=1, choices=(Choice(index=0, message=message, finish=finish),), **fields
    )


def encoded(answer: Answer) -> dict[str, Any]:
    return json.loads(encode_answer(answer))


def chunk(delta: Any = None, finish: Any = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return json.dumps({"id": "i", "model": "m", "created": 1, "choices": [choice], **fields}).encode()


def read(*chunks: bytes) -> list[Event]:
    decoder = StreamDecoder()
    return [event for each in chunks for event in decoder.payload(each)]


def written(events: Any, **options: Any) -> bytes:
    encoder = StreamEncoder(**options)
    return b"".join(encoder.encode(event) for event in events)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "choices"),
        (b'{"choices": null}', "choices"),
        (b'{"choices": {}}', "choices"),
        (b'{"choices": [1]}', "choices[0]"),
        (b'{"choices": [{}]}', "choices[0].message"),
        (b'{"choices": [{"message": "hi"}]}', "choices[0].message"),
        (b'{"choices": [{"message": {"content": 5}}]}', "choices[0].message.content"),
        (b'{"choices": [{"message": {"content": "x"}, "finish_reason": 1}]}', "choices[0].finish_reason"),
        (b'{"choices": [{"message": {"content": "x"}, "index": "0"}]}', "choices[0].index"),
        (b'{"error": {"message": "no"}, "choices": []}', "error"),
        (b"<html>", None),
        (b"", None),
        (b"null", None),
    ],
)
def test_an_answer_that_cant_be_read_is_the_providers_fault(body: bytes, param: str | None) -> None:
    with pytest.raises(BadAnswer) as caught:
        decode_answer(body)
    assert caught.value.param == param
    assert caught.value.message.startswith("the provider's answer can't be read: ")


@pytest.mark.parametrize("count", ['"5"', "1.5", "true"])
def test_an_answer_is_not_lost_over_its_usage(count: str) -> None:
    assert decode_answer(b'{"choices": [], "usage": {"prompt_tokens": %b}}' % count.encode()).usage is None


@pytest.mark.parametrize(
    ("usage", "meant"),
    [
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 7,
                "total_tokens": 16,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 3},
            },
            Usage(
                input_tokens=9,
                cache_read_tokens=4,
                cache_write_tokens=2,
                input_audio_tokens=1,
                output_tokens=7,
                reasoning_tokens=5,
                output_audio_tokens=3,
            ),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 0, "prompt_cache_hit_tokens": 4, "cost": 0.5},
            Usage(
                input_tokens=9,
                cache_read_tokens=4,
                output_tokens=0,
                extra={"prompt_cache_hit_tokens": 4, "cost": 0.5},
            ),
        ),
        (
            {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 5},
            Usage(input_tokens=1, output_tokens=1, extra={"total_tokens": 5}),
        ),
        ({}, Usage()),
    ],
)
def test_usage_in_each_ones_kinds(usage: dict[str, Any], meant: Usage) -> None:
    assert decode_answer(json.dumps({"choices": [], "usage": usage}).encode()).usage == meant


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("function_call", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("insufficient_system_resource", FinishReason.OTHER),
    ],
)
def test_finish_reasons_keep_the_providers_word(raw: str, reason: FinishReason) -> None:
    (*_, finished) = read(chunk(finish=raw))
    assert finished == Finished(choice=0, finish=Finish(reason, raw))
    assert encoded(answer_of(finish=Finish(reason, raw)))["choices"][0]["finish_reason"] == raw


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish(FinishReason.STOP, "end_turn"), "stop"),
        (Finish(FinishReason.LENGTH, "MAX_TOKENS"), "length"),
        (Finish(FinishReason.TOOL_CALLS, "tool_use"), "tool_calls"),
        (Finish(FinishReason.TOOL_CALLS, "STOP"), "tool_calls"),
        (Finish(FinishReason.CONTENT_FILTER, "SAFETY"), "content_filter"),
        (Finish(FinishReason.PAUSE, "pause_turn"), "length"),
        (Finish(FinishReason.TOOL_CALLS, "stop"), "tool_calls"),
        (Finish(FinishReason.CONTENT_FILTER, "refusal"), "content_filter"),
        (Finish(FinishReason.OTHER, "MALFORMED_FUNCTION_CALL"), "length"),
        (Finish(FinishReason.OTHER, "stop"), "length"),
    ],
)
def test_other_dialects_finish_reasons_are_translated(finish: Finish, word: str) -> None:
    answer = answer_of(finish=finish, dialect="anthropic")
    assert encoded(answer)["choices"][0]["finish_reason"] == word
    assert payloads(written(split(answer)))[-1]["choices"][0]["finish_reason"] == word


FOREIGN = answer_of(
    Reasoning(text="hm", signature="s", extra={"odd": 1}),
    Text(text="a", extra={"odd": 1}, signature="t", citations=(Citation(url="u", extra={"type": "w"}),)),
    Opaque(dialect="anthropic", data={"type": "server_tool_use"}),
    Text(text="b"),
    Refusal(text="no"),
    Image(data="iVBO", media_type="image/png"),
    Audio(data="UklG", transcript="hi"),
    File(file_id="f"),
    ToolCall(id="c", name="f", arguments="{}", extra={"caller": {}}),
    usage=Usage(input_tokens=3, output_tokens=2, extra={"server_tool_use": 1}),
    dialect="anthropic",
    extra={"container": "c"},
)


def test_another_dialects_answer_arrives_without_its_leftovers() -> None:
    said = encoded(FOREIGN)
    assert said == {
        "id": "i",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "reasoning_content": "hm",
                    "reasoning_details": [
                        {"type": "reasoning.text", "text": "hm", "signature": "holdfast:anthropic:s"}
                    ],
                    "content": "ab",
                    "extra_content": {"google": {"thought_signature": "holdfast:anthropic:t"}},
                    "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
                    "refusal": "no",
                    "audio": {"data": "UklG", "transcript": "hi"},
                    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}],
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


PROVEN = answer_of(
    Reasoning(text="hm", signature="one"),
    Reasoning(encrypted="two"),
    Reasoning(text="mine", signature="three", signed_by="openai_chat"),
    Text(text="a", signature="four"),
    Text(text="b", signature="five"),
    ToolCall(name="f", arguments="{}", signature="six"),
    ToolCall(name="g", signature="seven", signed_by="gemini"),
    dialect="anthropic",
    finish=Finish(FinishReason.STOP, "STOP"),
)


def _cut(event: Event) -> list[Event]:
    """A signature in two pieces: no wire promises to send it whole."""
    if not isinstance(event, SignatureDelta):
        return [event]
    return [
        replace(event, signature=event.signature[:2]),
        replace(event, signature=event.signature[2:]),
    ]


def test_every_signature_reaches_a_caller_of_this_dialect_and_names_its_issuer() -> None:
    message = encoded(PROVEN)["choices"][0]["message"]
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "hm", "signature": "holdfast:anthropic:one"},
        {"type": "reasoning.encrypted", "data": "holdfast:anthropic:two"},
        {"type": "reasoning.text", "text": "mine", "signature": "three"},
    ]
    assert message["extra_content"] == {"google": {"thought_signature": "holdfast:anthropic:four"}}
    assert message["tool_calls"] == [
        {
            "id": f"call_i_0_{at}",
            "type": "function",
            "function": {"name": name, "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": signature}},
        }
        for at, (name, signature) in enumerate(
            [("f", "holdfast:anthropic:six"), ("g", "holdfast:gemini:seven")]
        )
    ]


def test_a_stream_tells_the_same_signatures_however_they_are_cut() -> None:
    events = [piece for event in split(PROVEN, in_pieces(1)) for piece in _cut(event)]
    said = encoded(fold(StreamDecoder().feed(written(events))))
    for detail in said["choices"][0]["message"]["reasoning_details"]:
        detail.pop("index")
    assert said == encoded(PROVEN)


def test_signatures_that_came_in_pieces_before_any_text_or_late_for_a_call_are_read() -> None:
    at_google = {"extra_content": {"google": {"thought_signature": "s"}}}
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    events = read(
        chunk(at_google),
        chunk({"content": "x"}),
        chunk(at_google),
        chunk({"tool_calls": [{**call, **at_google}]}),
        chunk({"tool_calls": [{"index": 0, **at_google}]}),
    )
    (choice,) = fold(events).choices
    assert choice.parts == (
        Text(text="x", signature="s"),
        ToolCall(id="c", name="f", arguments="{}", signature="ss"),
    )
    assert choice.message.extra == at_google


DELTAS = st.sampled_from(
    [
        {"content": "a"},
        {"content": ""},
        {"content": None, "reasoning_content": "t"},
        {"content": "b", "reasoning_content": None},
        {"content": "b", "reasoning_content": "t"},
        {"role": "assistant", "content": ""},
        {"reasoning": "t"},
        {"extra_content": {"google": {"thought_signature": "s"}}},
        {},
    ]
)
AROUND = st.sampled_from(
    [
        {},
        {"created": 2},
        {"id": "j"},
        {"service_tier": None},
        {"service_tier": "t"},
        {"usage": None},
        {"obfuscation": "xxxx"},
        {"system_fingerprint": "f"},
        {"odd": 1},
    ]
)
IN_CHOICE = st.sampled_from(
    [{}, {}, {"logprobs": None}, {"logprobs": {"content": [1]}}, {"index": 1}, {"odd": 1}]
)


@given(st.lists(st.tuples(DELTAS, AROUND, IN_CHOICE), max_size=6))
def test_the_short_way_tells_what_the_long_one_tells(said: list[Any]) -> None:
    """A field that the short way doesn't expect, the same in every chunk, sends all of them the long way."""

    def events(**around: Any) -> list[Event]:
        chunks = [
            {
                **json.loads(chunk(delta)),
                "object": "chat.completion.chunk",
                **more,
                **around,
                "choices": [{"index": 0, "delta": delta, **inner}],
            }
            for delta, more, inner in said
        ]
        told = read(*(json.dumps(each).encode() for each in chunks))
        return [
            replace(event, extra={name: value for name, value in event.extra.items() if name != "unheard"})
            if isinstance(event, Started)
            else event
            for event in told
        ]

    assert events() == events(unheard=0)


@pytest.mark.parametrize("odd", [b"1.0", b"true", b'"0"'])
def test_the_short_way_is_no_less_strict(odd: bytes) -> None:
    usual = b'{"id":"i","object":"o","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"x"}}]}'
    for field in (b'"index":0', b'"created":1'):
        broken = usual.replace(field, field.partition(b":")[0] + b":" + odd)
        with pytest.raises(BadAnswer):
            read(usual, usual, broken)


def test_a_call_keeps_the_id_it_began_with() -> None:
    """Callers add up what comes: a second id would be glued to the first."""
    (choice,) = fold(
        StreamDecoder().feed(
            written(
                [
                    Started(id="i", model="m", dialect="gemini"),
                    BlockStarted(choice=0, key=0, part=ToolCall(name="f")),
                    ToolCallDelta(choice=0, key=0, id="late", arguments="{}"),
                    ToolCallDelta(choice=0, key=1, id="early", name="g", arguments="{}"),
                ]
            )
        )
    ).choices
    assert [part.id for part in choice.parts if isinstance(part, ToolCall)] == ["call_i_0_0", "early"]


def test_another_dialects_stream_tells_the_same_answer() -> None:
    streamed = fold(StreamDecoder().feed(written(split(FOREIGN))))
    said = encoded(streamed)
    whole = encoded(FOREIGN)
    for detail in said["choices"][0]["message"]["reasoning_details"]:
        assert detail.pop("index") == 0  # on the wire of a stream a number is all that parts thoughts
    assert said == whole


def test_the_text_of_a_whole_answer_is_one_string() -> None:
    assert encoded(answer_of(Text(text="a"), Text(text="b")))["choices"][0]["message"]["content"] == "ab"
    assert encoded(answer_of())["choices"][0]["message"]["content"] is None
    assert encoded(answer_of(Text(text="")))["choices"][0]["message"]["content"] == ""


def test_a_stream_becomes_events() -> None:
    events = read(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "a"}),
        chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        chunk(finish="tool_calls"),
        json.dumps(
            {"id": "i", "model": "m", "created": 1, "choices": [], "usage": {"prompt_tokens": 1}}
        ).encode(),
        b"[DONE]",
    )
    assert [type(event).__name__ for event in events] == [
        "Started",
        "ChoiceStarted",
        "TextDelta",
        "BlockStarted",
        "ToolCallDelta",
        "Finished",
        "UsageReported",
        "Ended",
    ]


def test_a_parallel_call_with_a_used_index_is_a_call_of_its_own() -> None:
    calls = [
        {"index": 0, "id": id_, "type": "function", "function": {"name": "f", "arguments": id_}}
        for id_ in "abc"
    ]
    more = {"index": 0, "function": {"arguments": "!"}}
    parts = fold(read(*(chunk({"tool_calls": [call]}) for call in [*calls, more]))).choices[0].parts
    assert [(part.id, part.arguments) for part in parts if isinstance(part, ToolCall)] == [
        ("a", "a"),
        ("b", "b"),
        ("c", "c!"),
    ]


def test_a_call_whose_id_and_name_are_repeated_is_one_call() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "x"}}
    late = {"index": 1, "id": "", "function": {"name": "", "arguments": "x"}}
    named = {"index": 1, "id": "d", "function": {"name": "g", "arguments": "y"}}
    parts = (
        fold(read(*(chunk({"tool_calls": [each]}) for each in [call, call, late, named]))).choices[0].parts
    )
    assert [(part.id or None, part.name, part.arguments) for part in parts if isinstance(part, ToolCall)] == [
        ("c", "f", "xx"),
        ("d", "g", "xy"),
    ]


@pytest.mark.parametrize("index", [-1, 1 << 16, 1 << 40])
def test_an_absurd_index_is_refused(index: int) -> None:
    call = {"index": index, "id": "c", "function": {"name": "f", "arguments": ""}}
    with pytest.raises(BadAnswer, match="it must be from 0"):
        read(chunk({"tool_calls": [call]}))


@pytest.mark.parametrize(
    ("payload", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b'{"choices": {}}', "choices"),
        (b'{"choices": [{"delta": "x"}]}', "choices[0].delta"),
        (b'{"choices": [{"delta": {"content": 1}}]}', "choices[0].delta.content"),
        (
            b'{"choices": [{"delta": {"tool_calls": [{"index": "0"}]}}]}',
            "choices[0].delta.tool_calls[0].index",
        ),
        (b'{"usage": 5}', "usage"),
        (b'{"id": 5, "choices": []}', "id"),
    ],
)
def test_a_chunk_that_cant_be_read_is_the_providers_fault(payload: bytes, param: str | None) -> None:
    with pytest.raises(BadAnswer) as caught:
        read(payload)
    assert caught.value.param == param


def test_an_error_within_a_stream_is_an_event() -> None:
    payload = (
        b'{"error": {"message": "no", "type": "server_error", "code": 502, "metadata": {"a": 1}}, "id": "x"}'
    )
    (failed,) = read(payload)
    assert failed == Failed(
        error=WireError(
            message="no",
            type="server_error",
            code=502,
            dialect="openai_chat",
            extra={"metadata": {"a": 1}},
            outer={"id": "x"},
        )
    )
    (again,) = payloads(written([failed]))
    assert again == {**json.loads(payload), "error": {**json.loads(payload)["error"], "param": None}}
    assert b"[DONE]" not in written([failed])


def test_usage_goes_out_once_before_the_end_and_only_if_asked_for() -> None:
    events = [
        Started(id="i", model="m"),
        UsageReported(usage=Usage(input_tokens=1)),
        ChoiceStarted(choice=0),
        TextDelta(choice=0, key=0, text="x"),
        Finished(choice=0, finish=STOP),
        UsageReported(usage=Usage(input_tokens=1, output_tokens=2)),
        Ended(),
    ]
    chunks = payloads(written(events))
    assert [each["usage"] for each in chunks if "usage" in each] == [
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    ]
    assert chunks[-1]["choices"] == []
    assert written(events).endswith(b"data: [DONE]\n\n")
    assert not any("usage" in each for each in payloads(written(events, include_usage=False)))


def test_every_choice_begins_with_its_role_once() -> None:
    for begin in ([], [ChoiceStarted(choice=0)]):
        chunks = payloads(
            written([*begin, TextDelta(choice=0, key=0, text="a"), TextDelta(choice=0, key=0, text="b")])
        )
        assert [each["choices"][0]["delta"].get("role") for each in chunks].count("assistant") == 1
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"


def test_events_without_a_place_on_this_wire_write_nothing() -> None:
    encoder = StreamEncoder()
    encoder.encode(Started(id="i", model="m", dialect="anthropic"))
    encoder.encode(ChoiceStarted(choice=0))
    silent: list[Event] = [
        TextDelta(choice=0, key=0, text=""),
        ReasoningDelta(choice=0, key=1),
        ToolCallDelta(choice=0, key=2),
        BlockStarted(choice=0, key=3, part=Opaque(dialect="anthropic", data={})),
        BlockStarted(choice=0, key=4, part=File(file_id="f")),
    ]
    assert [encoder.encode(event) for event in silent] == [b""] * len(silent)


def test_metadata_is_told_even_if_nothing_else_is() -> None:
    (said,) = payloads(written([Started(id="i", model="m", extra={"tier": "t"}), Ended()]))
    assert said == {"id": "i", "object": "chat.completion.chunk", "model": "m", "choices": [], "tier": "t"}
    late = written([Started(id="i"), ChoiceStarted(choice=0), Started(extra={"tier": "t"}), Ended()])
    assert [each.get("tier") for each in payloads(late)] == [None, "t"]


def test_annotations_of_two_kinds_stand_together_in_the_answer() -> None:
    cited, filed = (
        {"type": "url_citation", "url_citation": {"url": "u"}},
        {"type": "file_citation", "file_citation": {}},
    )
    answer = fold(read(chunk({"annotations": [filed]}), chunk({"annotations": [cited], "content": "x"})))
    assert encoded(answer)["choices"][0]["message"]["annotations"] == [cited, filed]


def test_thoughts_under_one_number_stay_apart_in_a_stream() -> None:
    thoughts = tuple(
        Reasoning(text=text, signature=text, extra={"index": index})
        for text, index in (("a", 0), ("b", 0), ("c", -1))
    )
    streamed = fold(StreamDecoder().feed(written(split(answer_of(*thoughts)))))
    assert [part.text for part in streamed.choices[0].parts if isinstance(part, Reasoning)] == ["a", "b", "c"]


def test_comments_become_pings_and_pings_comments() -> None:
    assert StreamDecoder().feed(b": still here\n\n") == [Ping()]
    assert StreamEncoder().encode(Ping()).startswith(b":")


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        (
            b'{"error":{"message":"m","type":"t","param":"p","code":"c"}}',
            {"message": "m", "type": "t", "param": "p", "code": "c"},
        ),
        (
            b'{"error":{"message":"m","code":429,"metadata":{"raw":"x"}},"user_id":"u"}',
            {"message": "m", "code": 429},
        ),
        (
            b'[{"error":{"message":"m","code":400,"status":"INVALID_ARGUMENT"}}]',
            {"message": "m", "code": 400},
        ),
        (b'{"error":"m"}', {"message": "m"}),
        (b'{"message":"m","type":"t"}', {"message": "m", "type": "t"}),
        (b'{"detail":"m"}', {"message": "m"}),
        (b'{"error":{"message":{"a":1}}}', {"message": "the provider gave no message (status 502)"}),
        (b"<html>bad gateway</html>", {"message": "<html>bad gateway</html>"}),
        (b"", {"message": "status 502 without a body"}),
        (b"\xff\xfe", {"message": "\ufffd\ufffd"}),
        (b"null", {"message": "None"}),
    ],
)
def test_errors_in_every_shape(body: bytes, meant: dict[str, Any]) -> None:
    error = decode_error(502, body)
    assert {name: getattr(error, name) for name in meant} == meant
    assert error.status == 502
    assert json.loads(encode_error(error))["error"]["message"] == meant["message"]


def test_a_huge_unreadable_error_is_cut_short() -> None:
    assert len(decode_error(500, b"<" + "é".encode() * 10_000_000).message) <= 2_000


def test_another_dialects_error_keeps_its_words_only() -> None:
    error = WireError(
        message="m", type="overloaded_error", dialect="anthropic", extra={"a": 1}, outer={"request_id": "r"}
    )
    assert json.loads(encode_error(error)) == {
        "error": {"message": "m", "type": "overloaded_error", "param": None, "code": None}
    }
