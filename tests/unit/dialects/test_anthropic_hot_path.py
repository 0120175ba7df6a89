"""Anthropic's Messages as the engine uses them: envelopes, signals, edits, refusals, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors as tree
from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.base import OTHER, REASONING, TEXT, TOOL, Edit, Signal
from holdfast.engine.guard import Guard, State
from holdfast.errors import (
    AuthRefused,
    ContentRefused,
    ContextTooLong,
    InvalidRequest,
    ModelMissing,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    ServerFailed,
)
from holdfast.testing.strategies import json_values

HOT = Anthropic()
ASK = [{"role": "user", "content": "hi"}]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, "messages": ASK, **fields}).encode()


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def start(**fields: Any) -> bytes:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1}
    return event("message_start", message={"id": "msg_1", "model": "m-1", "usage": usage, **fields})


def begin(index: int = 0, kind: str = "text", **fields: Any) -> bytes:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def delta(index: int = 0, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta=fields)


def text(said: str, index: int = 0) -> bytes:
    return delta(index, type="text_delta", text=said)


def stop(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def end(reason: str | None = "end_turn", **usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 9, **usage})


def scanned(*frames: bytes) -> list[Signal]:
    return HOT.scanner().feed(b"".join(frames))


# Requests.


def test_an_envelope_says_what_must_be_known() -> None:
    envelope = HOT.read_request(body(stream=True, system="s", later={"x": 1}))
    assert (envelope.model, envelope.stream, envelope.max_output_tokens) == ("m", True, 9)
    assert (envelope.choices, envelope.wants_usage, envelope.size) == (
        1,
        True,
        len(body(stream=True, system="s", later={"x": 1})),
    )
    assert bytes(envelope.fields["later"]) == b'{"x": 1}'


@pytest.mark.parametrize(
    ("overrides", "written"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}), ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"max_output_tokens": 5}, {"max_tokens": 5}), ({"stop": "a"}, {"stop_sequences": ["a"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}), ({"user": "u"}, {"metadata": {"a": 1, "user_id": "u"}}),
        ({"reasoning_effort": "low"}, {"output_config": {"effort": "low"}}), ({"temperature": 0}, {"temperature": 0}),
        ({"later": [1]}, {"later": [1]}), ({"model": "x"}, {}),
    ],
)  # fmt: skip  # a list reads better packed
def test_a_routes_parameters_go_where_this_dialect_has_them(
    overrides: dict[str, Any], written: dict[str, Any]
) -> None:
    envelope = HOT.read_request(body(metadata={"a": 1}, temperature=1))
    got = json.loads(HOT.write_request(envelope, model="m2", overrides=overrides))
    asked = {"max_tokens": 9, "messages": ASK, "metadata": {"a": 1}, "temperature": 1}
    assert got == {**asked, "model": "m2", **written}


def test_a_user_stands_in_metadata_of_nothing_too() -> None:
    for fields in ({}, {"metadata": None}, {"metadata": {}}):
        envelope = HOT.read_request(body(**fields))
        got = json.loads(HOT.write_request(envelope, model="m", overrides={"user": "u"}))
        assert got["metadata"] == {"user_id": "u"}


@pytest.mark.parametrize(
    ("asked", "overrides", "limit"),
    [({}, {}, 4_096), ({"max_tokens": None}, {}, 4_096), ({"max_tokens": 0}, {}, 0), ({}, {"max_tokens": 64_000}, 64_000)],
)  # fmt: skip  # a list reads better packed
def test_there_is_always_an_output_limit(
    asked: dict[str, Any], overrides: dict[str, Any], limit: int
) -> None:
    request = json.dumps({"model": "m", "messages": ASK, **asked}).encode()
    envelope = HOT.read_request(request)
    assert envelope.max_output_tokens == asked.get("max_tokens")
    assert json.loads(HOT.write_request(envelope, model="m", overrides=overrides))["max_tokens"] == limit


def test_numbers_and_order_travel_as_they_came() -> None:
    raw = b'{"later":1.50,"model":"m","messages":[{"role":"user","content":"x"}],"n":123456789012345678901,"max_tokens":1}'
    written = HOT.write_request(HOT.read_request(raw), model="m", overrides={})
    assert written == raw


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b"", None), (b"{", None), (b"[]", None), (b"\xff", None), (b'{"messages":[]}', "model"),
        (b'{"model":"m"}', "messages"),
        (body(model=7), "model"), (body(model=" "), "model"), (body(messages=[]), "messages"), (body(messages="x"),
        "messages"),
        (body(messages=[{"content": "x"}]), "messages[0].role"), (body(messages=[{"role": "user"}]), "messages[0].content"),
        (body(messages=[{"role": "user", "content": 7}]), "messages[0].content"),
        (body(messages=[{"role": "user", "content": [{}]}]), "messages[0].content[0].type"),
        (body(max_tokens="9"), "max_tokens"), (body(stream=1), "stream"), (body(system=7), "system"),
        (body(system=[{"text": "x"}]), "system[0].type"), (body(temperature="hot"), "temperature"), (body(top_k=1.5),
        "top_k"),
        (body(stop_sequences="x"), "stop_sequences"), (body(tools={}), "tools"), (body(tools=[{"name": 1}]),
        "tools[0].name"),
        (body(tool_choice="auto"), "tool_choice"), (body(thinking=True), "thinking"), (body(metadata=[]), "metadata"),
        (body(metadata={"user_id": 7}), "metadata.user_id"), (body(output_config=[]), "output_config"),
        (b'{"model":"m","messages":' + b"[" * 100_000, None), (b'{"model":"m\xff","messages":[]}', None),
    ],
)  # fmt: skip  # a list reads better packed
def test_what_is_wrong_is_named(data: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        HOT.read_request(data)
    assert caught.value.status == 400
    assert caught.value.param == param or param is None
    assert len(caught.value.message) < 300


@given(st.binary(max_size=200) | json_values().map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        envelope = HOT.read_request(data)
    except InvalidRequest:
        return
    json.loads(HOT.write_request(envelope, model="m", overrides={"user": "u"}))


# Streams.


def test_a_stream_in_signals() -> None:
    signals = scanned(
        start(), begin(text=""), event("ping"), text("a"), text("b"), stop(), end(), event("message_stop")
    )
    assert [signal.text for signal in signals] == ["", "", "", "a", "b", "", "", ""]
    assert [signal.beats for signal in signals] == [
        ((0, 0, None),), ((0, 0, None),), (), ((0, TEXT, None),), ((0, TEXT, None),), ((0, 0, None),),
        ((0, 0, "end_turn"),), (),
    ]  # fmt: skip  # a list reads better packed
    assert (signals[0].id, signals[0].model) == ("msg_1", "m-1")
    assert [signal.end for signal in signals] == [False] * 7 + [True]


def test_usage_is_told_once_it_is_final_and_later_counts_win() -> None:
    frames = [start(), end(None, input_tokens=5), end(), end(None, output_tokens=12)]
    signals = scanned(*frames)
    assert [signal.usage is not None for signal in signals] == [False, False, True, True]
    first, last = signals[2].usage, signals[3].usage
    assert first is not None
    assert (first.input_tokens, first.cache_read_tokens, first.output_tokens) == (9, 4, 9)
    assert last is not None
    assert last.output_tokens == 12


def test_usage_in_every_kind() -> None:
    usage = {
        "input_tokens": 1, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 3, "output_tokens": 4,
        "cache_creation": {"ephemeral_1h_input_tokens": 2}, "output_tokens_details": {"thinking_tokens": 1},
        "server_tool_use": {"web_search_requests": 5},
    }  # fmt: skip  # a list reads better packed
    _, counted, _ = HOT.read_answer(
        json.dumps({"content": [], "stop_reason": "end_turn", "usage": usage}).encode()
    )
    (_, streamed) = scanned(
        start(usage={"input_tokens": 0}), event("message_delta", delta={"stop_reason": "x"}, usage=usage)
    )
    for found in (counted.usage, streamed.usage):
        assert found is not None
        assert (found.input_tokens, found.cache_read_tokens, found.cache_write_tokens) == (6, 2, 3)
        assert (found.cache_write_1h_tokens, found.output_tokens, found.reasoning_tokens) == (2, 4, 1)
        assert found.extra == {
            "server_tool_use": {"web_search_requests": 5},
            "cache_creation": {"ephemeral_1h_input_tokens": 2},
        }


@pytest.mark.parametrize(
    ("begun", "more", "bits"),
    [
        (begin(kind="text", text=""), text("x"), (0, TEXT)), (begin(kind="text", text="y"), text(""), (TEXT, 0)),
        (begin(kind="thinking", thinking=""), delta(type="thinking_delta", thinking="x"), (0, REASONING)),
        (begin(kind="thinking", thinking=""), delta(type="signature_delta", signature="x"), (0, 0)),
        (begin(kind="redacted_thinking", data="x"), delta(type="later"), (REASONING, 0)),
        (begin(kind="tool_use", name="f"), delta(type="input_json_delta", partial_json="{"), (TOOL, TOOL)),
        (begin(kind="server_tool_use"), delta(type="input_json_delta", partial_json="{"), (OTHER, OTHER)),
        (begin(kind="later"), delta(type="later_delta"), (OTHER, 0)),
    ],
)  # fmt: skip  # a list reads better packed
def test_what_a_block_carries(begun: bytes, more: bytes, bits: tuple[int, int]) -> None:
    _, first, second = scanned(start(), begun, more)
    assert (first.beats, second.beats) == (((0, bits[0], None),), ((0, bits[1], None),))


def test_text_in_a_second_block_is_no_more_of_the_first() -> None:
    signals = scanned(start(), begin(text=""), text("a"), stop(), begin(1, text=""), text("b", 1))
    assert signals[-1].beats == ((0, TEXT | OTHER, None),)
    assert signals[-1].text == "b"
    (whole, _, _) = HOT.read_answer(b'{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}')
    assert (whole.beats, whole.text) == (((0, TEXT | OTHER, None),), "ab")


OUT_OF_TURN = {
    "no beginning": (begin(),), "a delta before the beginning": (text("x"),), "an end before the beginning": (end(),),
    "two beginnings": (start(), start()), "nothing begins": (event("message_start"),), "a gap": (start(), begin(1)),
    "a gap later": (start(), begin(), stop(), begin(2)), "a block in a block": (start(), begin(), begin(1)),
    "the same block again": (start(), begin(), stop(), begin()), "a delta of none": (start(), text("x")),
    "a delta of another": (start(), begin(), text("x", 1)), "a delta after its end": (start(), begin(), stop(), text("x")),
    "an end of none": (start(), stop()), "an end of another": (start(), begin(), stop(1)),
    "two ends": (start(), begin(), stop(), stop()),
    "no index": (start(), event("content_block_start", content_block={"type": "text"})),
    "no block": (start(), event("content_block_start", index=0)), "no delta": (start(),
    begin(), event("content_block_delta", index=0)),
    "an end within a block": (start(), begin(), end()),
}  # fmt: skip  # a list reads better packed


@pytest.mark.parametrize("name", OUT_OF_TURN)
def test_blocks_out_of_turn_are_malformed(name: str) -> None:
    *before, last = scanned(*OUT_OF_TURN[name])
    assert last.malformed
    assert not any(signal.malformed for signal in before)


WHOLE = [
    start(), begin(kind="thinking", thinking=""), delta(type="thinking_delta", thinking="h"), stop(), begin(1, text=""),
    text("a", 1), text("b", 1), stop(1), begin(2, "tool_use", name="f"), stop(2), end("tool_use"), event("message_stop"),
]  # fmt: skip  # a list reads better packed


def guarded(frames: list[bytes]) -> Guard:
    guard = Guard(HOT)
    guard.feed(scanned(*frames))
    guard.eof()
    return guard


def test_a_whole_stream_is_done_and_one_that_lost_or_swapped_a_block_event_is_not() -> None:
    assert guarded(WHOLE).state is State.DONE
    texts = {5, 6}  # the wire doesn't number deltas
    ends = {len(WHOLE) - 1}
    for at in range(len(WHOLE)):
        lost = guarded(WHOLE[:at] + WHOLE[at + 1 :])
        innocent = at in texts | ends | {2}
        assert (lost.state is State.DONE) is innocent, at
    for at in range(len(WHOLE) - 1):
        swapped = guarded([*WHOLE[:at], WHOLE[at + 1], WHOLE[at], *WHOLE[at + 2 :]])
        assert (swapped.state is State.DONE) is (at == 5), at


def test_a_stream_that_is_cut_is_never_done() -> None:
    wire = b"".join(WHOLE[:-2])
    for at in range(len(wire)):
        guard, scanner = Guard(HOT), HOT.scanner()
        guard.feed(scanner.feed(wire[:at]) + scanner.finish())
        guard.eof()
        assert guard.state is State.BROKEN


@pytest.mark.parametrize(
    "data", [b"7", b"[]", b"{}", b"null", b'{"type":7}', b'{"type":"ping","x":"\xff"}', b"{", b"[" * 99_999]
)
def test_an_event_that_is_none_is_malformed(data: bytes) -> None:
    (signal,) = HOT.scanner().feed(b"data: " + data + b"\n\n")
    assert signal.malformed


def test_events_of_a_later_version_pass_unread() -> None:
    for frame in (event("ping"), event("meditation", index=7), b": comment\n\n"):
        assert scanned(frame) == [Signal(frame)]


def test_half_an_event_at_the_end_is_a_cut_and_a_whole_one_an_event() -> None:
    scanner = HOT.scanner()
    assert scanner.feed(event("message_stop")[:-2]) == []
    assert [signal.end for signal in scanner.finish()] == [True]
    scanner = HOT.scanner()
    scanner.feed(start()[:-20])
    assert scanner.finish() == []


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"), (b" \n", "empty"), (b"{}", "no content"), (b"[]", "can't be read"), (b"<html>", "can't be read"),
        (b'{"content":[{}]}', "can't be read"), (b'{"content":[],"x":"\xff"}', "can't be read"),
    ],
)  # fmt: skip  # a list reads better packed
def test_an_answer_that_is_none(data: bytes, word: str) -> None:
    (signal,) = HOT.read_answer(data)
    assert signal.malformed is not None
    assert word in signal.malformed


# Edits.


def test_id_and_model_are_changed_where_they_stand() -> None:
    raw = start(content=[], usage={"input_tokens": 1}) + begin(text="") + text("x")
    edited = HOT.edit(raw, Edit(id="other", model="m-9"))
    first, rest = edited.split(b"\n\n", 1)
    message = json.loads(first.split(b"data: ")[1])["message"]
    assert message == {"id": "other", "model": "m-9", "usage": {"input_tokens": 1}, "content": []}
    assert first.startswith(b"event: message_start\n")
    assert rest == begin(text="") + text("x")
    assert HOT.edit(event("message_start", message={}), Edit(id="other")) == (
        b'event: message_start\ndata: {"type":"message_start","message":{}}\n\n'
    )


def test_what_isnt_changed_stays_byte_for_byte() -> None:
    raw = b'event: message_start\ndata: {"type":"message_start","message":{"id":"a","x":1.50,"y":1e400}}\n\n'
    assert HOT.edit(raw, Edit(id="b")) == raw.replace(b'"a"', b'"b"')
    odd = text("x") + b": remark\n\n" + event("later", x=1) + end()
    assert HOT.edit(odd, Edit(id="b", usage="keep", drop_finish=frozenset({1}))) == odd


def test_only_the_text_is_left_and_all_of_it_stands_in_the_first() -> None:
    raw = (
        start()
        + begin(text="")
        + text("abc")
        + event("ping")
        + text("de")
        + stop()
        + end()
        + event("message_stop")
    )
    left = HOT.edit(raw, Edit(text="cde"))
    assert left.endswith(end() + event("message_stop"))
    (only,) = left.removesuffix(end() + event("message_stop")).removesuffix(b"\n\n").split(b"\n\n")
    assert json.loads(only.split(b"data: ")[1]) == json.loads(text("cde").split(b"data: ")[1])
    assert HOT.edit(start() + text("abc"), Edit(text="")) == b""
    at_once = HOT.edit(begin(text="abc"), Edit(text="c"))
    assert json.loads(at_once.split(b"data: ")[1]) == {
        "type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "c"},
    }  # fmt: skip  # a list reads better packed


def test_a_repeated_finish_is_taken_out() -> None:
    assert HOT.edit(end(), Edit(drop_finish=frozenset({0}))) == b""
    guard = Guard(HOT)
    out = guard.feed(scanned(start(), end(), end(), event("message_stop")))
    assert (out + guard.closing()).count(b"message_delta\n") == 1
    assert guard.state is State.DONE


# Refusals and our own errors.


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"type": "invalid_request_error"}, RequestRefused), (401, {"type": "authentication_error"}, AuthRefused),
        (402, {"type": "billing_error"}, QuotaExhausted), (403, {"type": "permission_error"}, AuthRefused),
        (404, {"type": "not_found_error"}, ModelMissing), (413, {"type": "request_too_large"}, RequestRefused),
        (429, {"type": "rate_limit_error"}, RateLimited), (500, {"type": "api_error"}, ServerFailed),
        (504, {"type": "timeout_error"}, ServerFailed), (529, {"type": "overloaded_error"}, Overloaded),
        (400, {"type": "billing_error"}, QuotaExhausted), (503, {"type": "api_error"}, Overloaded),
        (429, {"type": "invalid_request_error"}, RateLimited), (409, {"type": "conflict_error"}, ServerFailed),
        (400, {}, RequestRefused), (422, {}, RequestRefused), (401, {}, AuthRefused), (404, {}, ModelMissing),
        (408, {}, ServerFailed), (500, {}, ServerFailed), (502, {}, ServerFailed), (302, {}, ServerFailed),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}, RequestRefused),
        (400, {"type": "invalid_request_error", "details": {"error_code": "context_length_exceeded"}}, ContextTooLong),
        (400, {"type": "invalid_request_error", "details": {"error_code": "content_policy_violation"}}, ContentRefused),
        (429, {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}, QuotaExhausted),
        (400, {"type": 7, "details": 7}, RequestRefused),
    ],
)  # fmt: skip  # a list reads better packed
def test_an_error_means_its_status_and_type_and_never_its_words(
    status: int, error: dict[str, Any], kind: type[ProviderError]
) -> None:
    found = HOT.refusal(status, json.dumps({"type": "error", "error": error}).encode())
    assert type(found) is kind
    assert found.upstream_status == status
    assert found.message
    assert found.status == status or not isinstance(found, RequestRefused | ModelMissing)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error"}, Overloaded), ({"type": "rate_limit_error"}, RateLimited),
        ({"type": "invalid_request_error"}, RequestRefused), ({"type": "api_error"}, ServerFailed),
        ({"type": "later_error"}, ServerFailed), ({}, ServerFailed), ("busy", ServerFailed), (None, ServerFailed),
    ],
)  # fmt: skip  # a list reads better packed
def test_an_error_inside_a_200_means_the_same(error: Any, kind: type[ProviderError]) -> None:
    (whole,) = HOT.read_answer(json.dumps({"type": "error", "error": error}).encode())
    (streamed,) = scanned(event("error", error=error))
    assert type(whole.error) is type(streamed.error) is kind


@given(
    st.integers(100, 700),
    st.binary(max_size=100) | json_values().map(lambda value: json.dumps(value).encode()),
)
def test_any_error_answer_has_a_meaning(status: int, data: bytes) -> None:
    found = HOT.refusal(status, data)
    assert found.message
    assert found.body == data


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (tree.InvalidRequest("x", param="max_tokens"), "invalid_request_error"), (tree.Unauthenticated("x"),
        "authentication_error"),
        (tree.HoldfastError("x", status=402), "billing_error"), (tree.Forbidden("x"), "permission_error"),
        (tree.UnknownModel("x"), "not_found_error"), (tree.BodyTooLarge("x"), "request_too_large"),
        (tree.HoldfastError("x", status=429), "rate_limit_error"), (tree.NotSupported("x"), "api_error"),
        (tree.TimedOut("x", limit="first_token_s", silent=True), "timeout_error"), (tree.Draining("x"), "overloaded_error"),
        (tree.Truncated("x"), "api_error"), (tree.HoldfastError("x", status=529), "overloaded_error"),
        (tree.MethodNotAllowed("x"), "invalid_request_error"),
    ],
)  # fmt: skip  # a list reads better packed
def test_our_errors_in_anthropics_words(error: tree.HoldfastError, kind: str) -> None:
    said = json.loads(HOT.error_body(error, "r-1"))
    assert (said["type"], said["request_id"]) == ("error", "r-1")
    assert said["error"]["type"] == kind
    assert said["error"]["message"] == "x"
    assert said["error"]["details"] == {"error_code": error.code}
    assert said["error"].get("param") == error.param
    frame = HOT.error_frame(error, "r-1")
    assert frame.startswith(b"event: error\ndata: ")
    assert json.loads(frame.split(b"data: ")[1]) == said


def test_every_failed_target_is_named() -> None:
    failures = (("a/m", tree.Overloaded("busy", upstream_status=529)), ("b/m", tree.ConnectFailed("no way")))
    error = tree.TargetsFailed("all failed", failures=failures, status=502)
    assert json.loads(HOT.error_body(error, "r"))["error"]["attempts"] == [
        {"target": "a/m", "error": "overloaded", "message": "busy"},
        {"target": "b/m", "error": "connect_failed", "message": "no way"},
    ]


@given(st.text(max_size=40))
def test_whatever_a_message_holds_an_event_is_one_event(message: str) -> None:
    frame = HOT.error_frame(tree.HoldfastError(message.encode("utf-8", "replace").decode()), "r")
    assert frame.count(b"\n") == 3


def test_what_the_engine_goes_by() -> None:
    assert HOT.end_frame == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    assert (HOT.usage_apart, HOT.needs_output_limit, HOT.free) == (False, True, False)
    assert (HOT.request_id_header, HOT.forwarded) == (b"request-id", (b"anthropic-",))
    assert HOT.comment("x") == b": x\n\n"
