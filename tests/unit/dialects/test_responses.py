"""Responses on the hot path: what is read of requests and events, what is patched, what errors mean, how ours are told."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.replay import Recorded, replaying

from holdfast.dialects.base import AUDIO, OTHER, REASONING, REFUSAL, TEXT, TOOL, Edit, Signal
from holdfast.dialects.openai_responses import OpenAIResponses
from holdfast.engine.guard import Guard, State
from holdfast.errors import (
    BadAnswer,
    ContentRefused,
    InvalidRequest,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    ServerFailed,
    TargetsFailed,
    Truncated,
)
from holdfast.testing.strategies import json_values

DIALECT = OpenAIResponses()
USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **fields}).encode()


def response(status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "model": "m-1", "status": status, "output": [], "usage": USAGE, **fields}


def frame(event: dict[str, Any] | str) -> bytes:
    data = event if isinstance(event, str) else json.dumps(event)
    return f"data: {data}\n\n".encode()


def stream(*events: dict[str, Any], numbered: bool = True) -> bytes:
    """The events after ``response.created``, all numbered."""
    created = {"type": "response.created", "response": response("in_progress", usage=None)}
    every = [created, *events]
    return b"".join(
        frame({**event, "sequence_number": at} if numbered else event) for at, event in enumerate(every)
    )


def scan(data: bytes) -> list[Signal]:
    scanner = DIALECT.scanner()
    return scanner.feed(data) + scanner.finish()


def after_created(event: dict[str, Any]) -> list[Signal]:
    return scan(stream(event))[1:]


def bits(signals: list[Signal]) -> int:
    return sum({content for signal in signals for _, content, _ in signal.beats})


def judged(signals: list[Signal]) -> Guard:
    guard = Guard(DIALECT)
    guard.feed(signals)
    guard.eof()
    return guard


# Requests.


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"model": " "}, "model"),
        ({"input": 1}, "input"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"role": 1}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 1}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"text": "hi"}]}]}, "input[0].content[0].type"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"stream": "yes"}, "stream"),
        ({"background": True}, "background"),
        ({"max_output_tokens": "9"}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {}}}, "text.format.type"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"store": "no"}, "store"),
        ({"include": "all"}, "include"),
    ],
)
def test_a_wrong_field_is_named(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.read_request(body(**fields))
    assert caught.value.param == param
    assert f"`{param}" in caught.value.message


@pytest.mark.parametrize("fields", [b"", b"{", b"[]", b"\xff", b'{"model":"\xff","input":"x"}', b"[" * 5_000])
def test_no_request_at_all(fields):
    with pytest.raises(InvalidRequest):
        DIALECT.read_request(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_0"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
    ],
)
def test_what_the_provider_keeps_may_be_the_input(fields):
    raw = json.dumps({"model": "m", **fields}).encode()
    assert DIALECT.read_request(raw).size == len(raw)


def test_the_envelope():
    envelope = DIALECT.read_request(body(stream=True, max_output_tokens=9, background=False, store=None))
    assert (envelope.model, envelope.stream, envelope.max_output_tokens) == ("m", True, 9)
    assert envelope.wants_usage, "usage stands in the last event, whoever asks"


@pytest.mark.parametrize(
    ("own", "overrides", "wanted"),
    [
        ({"max_output_tokens": 5}, {"max_tokens": 9}, {"max_output_tokens": 9}),
        ({}, {"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        ({"text": None, "reasoning": None}, {"reasoning_effort": "low"}, {"text": None, "reasoning": {"effort": "low"}}),
        (
            {"text": {"verbosity": "low"}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
            {"text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}},
        ),
        ({}, {"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
        ({}, {"service_tier": "flex", "x_new": [1]}, {"service_tier": "flex", "x_new": [1]}),
    ],
)  # fmt: skip
def test_a_routes_parameters_have_their_places(own, overrides, wanted):
    envelope = DIALECT.read_request(body(**own))
    sent = json.loads(DIALECT.write_request(envelope, model="m", overrides=overrides))
    assert sent == {"model": "m", "input": "hi", **wanted}


# Streams.


@pytest.mark.parametrize(
    ("event", "content"),
    [
        ({"type": "response.output_text.delta", "delta": "a", **PLACE}, TEXT),
        ({"type": "response.output_text.delta", "delta": "", **PLACE}, 0),
        ({"type": "response.refusal.delta", "delta": "no", **PLACE}, REFUSAL),
        ({"type": "response.reasoning_text.delta", "delta": "hm", **PLACE}, REASONING),
        ({"type": "response.reasoning_summary_text.delta", "delta": "hm"}, REASONING),
        ({"type": "response.function_call_arguments.delta", "delta": "{"}, TOOL),
        ({"type": "response.custom_tool_call_input.delta", "delta": "x"}, TOOL),
        ({"type": "response.mcp_call_arguments.delta", "delta": "{"}, OTHER),
        ({"type": "response.code_interpreter_call_code.delta", "delta": "1"}, OTHER),
        ({"type": "response.audio.delta", "delta": "AAAA"}, AUDIO),
        ({"type": "response.image_generation_call.partial_image", "partial_image_b64": "AAAA"}, OTHER),
        ({"type": "response.output_text.annotation.added", "annotation": {}}, OTHER),
        ({"type": "response.output_item.added", "item": {"type": "message", "content": []}}, 0),
        ({"type": "response.output_item.added", "item": {"type": "reasoning", "summary": []}}, 0),
        ({"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}}, TOOL),
        ({"type": "response.output_item.added", "item": {"type": "apply_patch_call"}}, TOOL),
        ({"type": "response.output_item.added", "item": {"type": "web_search_call"}}, OTHER),
        ({"type": "response.output_item.added", "item": {"type": "of next year"}}, OTHER),
        ({"type": "response.output_text.done", "text": "a", **PLACE}, 0),
        ({"type": "response.in_progress", "response": {}}, 0),
        ({"type": "response.of_next_year", "delta": {"x": 1}}, 0),
        ({"type": "keepalive"}, 0),
    ],
)
def test_what_an_event_carries(event, content):
    (signal,) = after_created(event)
    assert signal.malformed is None
    assert signal.beats == ((0, content, None),)
    assert signal.text == (event["delta"] if content & TEXT else "")


def test_text_of_a_second_part_is_more_than_one_text():
    first = {"type": "response.output_text.delta", "delta": "a", **PLACE}
    signals = scan(stream(first, {**first, "content_index": 1}, {**first, "output_index": 1}, first))
    assert [signal.beats[0][1] for signal in signals[1:]] == [TEXT, TEXT | OTHER, TEXT | OTHER, TEXT]


def test_text_that_is_no_text():
    (signal,) = after_created({"type": "response.output_text.delta", "delta": {"text": "a"}, **PLACE})
    assert signal.malformed


def test_id_and_model_are_the_responses_own():
    delta = {"type": "response.output_text.delta", "delta": "a", "id": "no", "model": "no", **PLACE}
    signals = scan(stream(delta, {"type": "response.completed", "response": response()}))
    assert [(signal.id, signal.model) for signal in signals] == [
        ("resp_1", "m-1"), (None, None), ("resp_1", "m-1"), (None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "said", "finish"),
    [
        ("completed", response(), "completed"),
        ("completed", response(status=None), "completed"),
        ("incomplete", response("incomplete", incomplete_details={"reason": "max_output_tokens"}), "max_output_tokens"),
        ("incomplete", response("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        ("incomplete", response(None, incomplete_details=None), "incomplete"),
        ("completed", response("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
    ],
)  # fmt: skip
def test_the_last_event_is_the_finish_with_usage_and_then_the_end(kind, said, finish):
    event = {"type": f"response.{kind}", "response": said}
    last, end = after_created(event)
    assert last.raw == frame({**event, "sequence_number": 1})
    assert last.beats == ((0, 0, finish),)
    assert last.usage is not None
    assert (last.usage.input_tokens, last.usage.output_tokens) == (3, 2)
    assert end == Signal(b"", end=True)


def test_usage_counts_only_once_it_is_final():
    created = {"type": "response.created", "response": response("in_progress")}
    (signal,) = scan(frame({**created, "sequence_number": 0}))
    assert signal.usage is None


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.completed"},
        {"type": "response.completed", "response": None},
        {"type": "response.completed", "response": response("in_progress")},
        {"type": "response.completed", "response": response("queued")},
        {"type": "response.incomplete", "response": response("cancelled")},
    ],
)
def test_an_ending_that_contradicts_itself_is_none(event):
    (signal,) = after_created(event)
    assert signal.malformed
    assert judged(scan(stream(event))).state is State.BROKEN


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": "server_error", "message": "no"}, ServerFailed, 502),
        ({"code": "rate_limit_exceeded", "message": "slow"}, RateLimited, 429),
        ({"code": "insufficient_quota", "message": "pay"}, QuotaExhausted, 429),
        ({"code": "invalid_prompt", "message": "flagged"}, ContentRefused, 400),
        ({"code": "image_content_policy_violation", "message": "flagged"}, ContentRefused, 400),
        ({"code": "invalid_image_url", "message": "what?", "param": "input"}, RequestRefused, 400),
        ({"code": "vector_store_timeout", "message": "slow"}, ServerFailed, 502),
        ({"code": "of_next_year", "message": "?"}, ServerFailed, 502),
        ({"code": 429, "message": "slow"}, RateLimited, 429),
    ],
)
@pytest.mark.parametrize("shape", ["failed", "flat", "nested", "chat's", "whole"])
def test_failures_are_typed_by_their_code_in_any_shape(error, kind, status, shape):
    failed = response("failed", error=error, usage=None)
    signals = {
        "failed": lambda: after_created({"type": "response.failed", "response": failed}),
        "flat": lambda: scan(frame({"type": "error", **error})),
        "nested": lambda: scan(frame({"type": "error", "error": error})),
        "chat's": lambda: scan(frame({"error": error})),
        "whole": lambda: DIALECT.read_answer(json.dumps(failed).encode()),
    }[shape]()
    (signal,) = signals
    assert type(signal.error) is kind
    assert (signal.error.status, signal.error.message) == (status, error["message"])
    assert signal.error.param == error.get("param")
    said = json.loads(signal.error.body)["error"]  # as the body of an error status has it
    assert (said["code"], said["message"]) == (error["code"], error["message"])


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error"},
        {"type": "error", "message": 7},
        {"type": "error", "error": "no"},
        {"type": "error", "error": []},
        {"type": "response.failed", "response": {}},
        {"type": "response.failed", "response": {"status": "in_progress", "error": None}},
    ],
)
def test_a_failure_without_words_is_one_all_the_same(event):
    (signal,) = after_created(event)
    assert isinstance(signal.error, ServerFailed)
    assert signal.error.message


def test_an_error_needs_no_number_and_a_wrong_one_hides_nothing():
    for number in ({}, {"sequence_number": 0}, {"sequence_number": 99}):
        data = stream() + frame({"type": "error", "code": "rate_limit_exceeded", "message": "slow", **number})
        assert isinstance(judged(scan(data)).fault, RateLimited)


def test_what_a_failure_counted_is_kept():
    failed = response("failed", error={"code": "server_error", "message": "no"})
    in_stream = judged(scan(stream({"type": "response.failed", "response": failed})))
    in_answer = judged(DIALECT.read_answer(json.dumps(failed).encode()))
    for guard in (in_stream, in_answer):
        assert isinstance(guard.fault, ServerFailed)
        assert guard.usage is not None
        assert guard.usage.output_tokens == 2


# Numbers.


def numbered(number: int | None, kind: str = "response.output_text.delta") -> bytes:
    event: dict[str, Any] = {"type": kind, "delta": "a", **PLACE}
    return frame(event if number is None else {**event, "sequence_number": number})


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        ([numbered(0, "response.created"), numbered(1), numbered(2)], 0),
        ([numbered(7, "response.created"), numbered(8)], 0),  # wherever it begins
        ([numbered(0), numbered(1)], 0),
        ([numbered(None), numbered(None)], 0),  # some servers don't number
        ([numbered(0, "response.created"), numbered(None), numbered(1)], 0),
        ([numbered(0, "response.created"), numbered(1, "response.of_next_year"), numbered(2)], 0),
        ([numbered(1), numbered(2)], 1),  # the beginning is lost
        ([numbered(0, "response.created"), numbered(2)], 1),
        ([numbered(0, "response.created"), numbered(0)], 1),
        ([numbered(0, "response.created"), numbered(1), numbered(1)], 1),
        ([numbered(0, "response.created"), numbered(2), numbered(1)], 1),
        ([numbered(0, "response.created"), numbered(-1)], 1),
    ],
)
def test_events_come_in_turn(data, faults):
    malformed = [signal for signal in scan(b"".join(data)) if signal.malformed]
    assert bool(malformed) == bool(faults)
    assert all("comes where event" in (signal.malformed or "") for signal in malformed)


@given(st.data())
def test_no_event_can_be_taken_out_said_twice_or_swapped(data):
    delta = {"type": "response.output_text.delta", "delta": "a", **PLACE}
    whole = stream(delta, delta, delta, {"type": "response.completed", "response": response()})
    frames = [each + b"\n\n" for each in whole.split(b"\n\n")[:-1]]
    at = data.draw(st.integers(0, len(frames) - 2))
    change = data.draw(st.sampled_from(["out", "twice", "swapped"]))
    if change == "out":
        del frames[at]
    elif change == "twice":
        frames.insert(at, frames[at])
    else:
        frames[at], frames[at + 1] = frames[at + 1], frames[at]
    guard = judged(scan(b"".join(frames)))
    assert guard.state is State.BROKEN
    assert isinstance(guard.fault, BadAnswer | Truncated)


# Whole answers.


def test_texts_of_several_parts_are_more_than_one_text():
    def answer(*texts: str) -> list[Signal]:
        parts = [{"type": "output_text", "text": text} for text in texts]
        return DIALECT.read_answer(
            json.dumps(response(output=[{"type": "message", "content": parts}])).encode()
        )

    assert (bits(answer("a")), answer("a")[0].text) == (TEXT, "a")
    assert (bits(answer("a", "")), answer("a", "")[0].text) == (TEXT, "a")
    assert (bits(answer("a", "b")), answer("a", "b")[0].text) == (TEXT | OTHER, "ab")
    assert bits(answer()) == 0


@pytest.mark.parametrize(
    ("item", "content"),
    [
        ({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}, REFUSAL),
        ({"type": "message", "content": [{"type": "of next year"}]}, OTHER),
        ({"type": "reasoning", "summary": []}, REASONING),
        ({"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}, REASONING),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, TOOL),
        ({"type": "web_search_call", "action": {}}, OTHER),
        ({"type": "of next year", "content": {"a": 1}}, OTHER),
        ({"type": "of next year", "content": "text"}, OTHER),
        ({}, OTHER),
    ],
)
def test_what_an_item_is(item, content):
    signals = DIALECT.read_answer(json.dumps(response(output=[item])).encode())
    assert bits(signals) == content
    assert judged(signals).state is State.DONE


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled", "of next year", None])
def test_an_answer_that_is_not_over_is_none(status):
    guard = judged(DIALECT.read_answer(json.dumps(response(status)).encode()))
    assert isinstance(guard.fault, BadAnswer)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b"{}",
        b'{"output":null,"status":"completed"}',
        b'{"output":[],"status":"completed","id":"\xff"}',
    ],
)
def test_what_is_no_answer(raw):
    assert isinstance(judged(DIALECT.read_answer(raw)).fault, BadAnswer)


# Edits.

DELTAS = [
    {"type": "response.output_text.delta", "delta": text, **PLACE} for text in ("one ", "two ", "three")
]
SAID = stream(*DELTAS, {"type": "response.completed", "response": response()})


def events_of(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: ")]


def test_text_is_said_once_and_the_ending_stays():
    left = events_of(DIALECT.edit(SAID, Edit(text="rest")))
    assert [(event["type"], event.get("delta")) for event in left] == [
        ("response.output_text.delta", "rest"),
        ("response.completed", None),
    ]
    assert DIALECT.edit(b": a comment\n\n" + stream(), Edit(text="rest")) == b""
    assert DIALECT.edit(frame(DELTAS[0]), Edit(text="")) == b""


def test_a_repeated_ending_goes_alone():
    left = events_of(DIALECT.edit(SAID, Edit(drop_finish=frozenset({0}))))
    assert [event["type"] for event in left] == ["response.created", *["response.output_text.delta"] * 3]


def test_id_and_model_change_in_every_event_that_has_them_and_nothing_else():
    before, after = events_of(SAID), events_of(DIALECT.edit(SAID, Edit(id="first", model="same")))
    for event in before:
        if "response" in event:
            event["response"] |= {"id": "first", "model": "same"}
    assert after == before
    assert DIALECT.edit(frame(DELTAS[0]), Edit(id="first")) == frame(DELTAS[0])
    assert DIALECT.edit(SAID, Edit()) == SAID


def test_an_edit_keeps_what_it_does_not_read():
    raw = b'data: {"type":"response.created","response":{"id":"a","big":' + b"9" * 40 + b',"x":1e999}}\n\n'
    edited = DIALECT.edit(raw, Edit(id="b"))
    assert b"9" * 40 in edited
    assert b"1e999" in edited
    assert edited.startswith(b"event: response.created\ndata: ")


# Our own errors.


@pytest.fixture
def provider():
    with replaying({}) as server:
        yield server


@pytest.fixture
def client(provider):
    with openai.OpenAI(base_url=f"{provider.base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


ERROR = TargetsFailed("all of them", failures=[("a/m", RateLimited("slow", upstream_status=429))], status=502)


def test_an_error_frame_raises_in_openais_sdk(provider, client):
    sse = {"content-type": "text/event-stream"}
    provider.script["POST", "/v1/responses"] = Recorded(
        stream(DELTAS[0]) + DIALECT.error_frame(ERROR, "req_1"), 200, sse
    )
    seen = []
    with pytest.raises(openai.APIError) as caught:
        seen.extend(client.responses.create(model="m", input="hi", stream=True))
    assert [event.type for event in seen] == ["response.created", "response.output_text.delta"]
    assert (caught.value.message, caught.value.code) == ("all of them", "all_targets_failed")


def test_an_error_frame_raises_in_the_helper_of_openais_sdk(provider, client):
    sse = {"content-type": "text/event-stream"}
    provider.script["POST", "/v1/responses"] = Recorded(
        stream() + DIALECT.error_frame(ERROR, "req_1"), 200, sse
    )
    with (
        client.responses.stream(model="m", input="hi") as helped,
        pytest.raises(openai.APIError, match="all of them"),
    ):
        helped.until_done()


def test_an_error_frame_is_an_error_event_as_documented():
    raw = DIALECT.error_frame(ERROR, "req_1")
    assert raw.startswith(b"event: error\ndata: ")
    (event,) = events_of(raw)
    parsed = openai.types.responses.ResponseErrorEvent.model_validate(event)
    assert (parsed.code, parsed.message, parsed.param) == ("all_targets_failed", "all of them", None)
    assert event["error"]["request_id"] == "req_1"


def test_an_error_frame_is_an_error_to_another_of_us():
    signals = scan(stream(DELTAS[0]) + DIALECT.error_frame(ERROR, "req_1"))
    assert isinstance(judged(signals).fault, ProviderError)
    assert DIALECT.end_frame == b""


def test_an_error_body_is_an_error_of_openais_sdk(provider, client):
    refused = InvalidRequest("`input` is wrong", param="input")
    provider.script["POST", "/v1/responses"] = Recorded(
        DIALECT.error_body(refused, "req_1"), 400, {"content-type": "application/json"}
    )
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="m", input="hi")
    assert (caught.value.param, caught.value.code) == ("input", "invalid_request")


# Nothing but typed errors.

KEYS = st.sampled_from(
    ["type", "response", "item", "delta", "error", "status", "usage", "output", "content", "sequence_number",
     "incomplete_details", "code", "message", "input", "model", "text", "reasoning", "tools", "output_index", "stream"]
)  # fmt: skip
KINDS = st.sampled_from(
    ["response.created", "response.completed", "response.failed", "response.incomplete", "error", "message", "failed",
     "response.output_text.delta", "response.output_item.added", "completed", "incomplete", "output_text", 0, -1, None]
)  # fmt: skip
SHAPES = st.recursive(
    KINDS | json_values(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, SHAPES, max_size=6), st.integers(1, 40))
def test_any_json_at_any_place_is_read_or_refused(shape, size):
    raw = json.dumps(shape).encode()
    try:
        envelope = DIALECT.read_request(raw)
    except InvalidRequest:
        pass
    else:
        DIALECT.write_request(envelope, model="m", overrides={"reasoning_effort": "low", "verbosity": "low"})
    judged(DIALECT.read_answer(raw))
    scanner = DIALECT.scanner()
    data = stream() + b"data: " + raw + b"\n\n" + raw
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    signals = [signal for piece in pieces for signal in scanner.feed(piece)] + scanner.finish()
    assert signals
    judged(signals)
    DIALECT.refusal(500, raw)
    for signal in signals:
        if signal.malformed is None and signal.error is None and signal.raw:
            DIALECT.edit(signal.raw, Edit(id="x", model="y"))
            DIALECT.edit(signal.raw, Edit(text="x"))
