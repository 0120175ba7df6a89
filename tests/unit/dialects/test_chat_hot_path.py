"""Chat Completions on the hot path: what is read of requests and answers, what is patched, what errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.chat_wire import DONE, chunk, event, stream, usage_chunk

import holdfast.errors as tree
from holdfast.dialects.base import AUDIO, REASONING, REFUSAL, TEXT, TOOL, Edit
from holdfast.dialects.openai_chat import OpenAIChat
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

CHAT = OpenAIChat()
HI = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
unknown = st.dictionaries(st.from_regex(r"x_[a-z]{1,5}", fullmatch=True), values, max_size=4)


def body(**fields: Any) -> bytes:
    return json.dumps({**HI, **fields}).encode()


# Requests.


@given(unknown, st.booleans())
def test_what_we_do_not_know_travels_as_it_came(fields, streamed):
    envelope = CHAT.read_request(body(**fields, **({"stream": True} if streamed else {})))
    written = CHAT.write_request(envelope, model="other", overrides={})
    for value in fields.values():
        assert json.dumps(value).encode() in written, "the very bytes: also 30 digits, also escapes"
    assert json.loads(written) == {
        **HI,
        **fields,
        "model": "other",
        **({"stream": True, "stream_options": {"include_usage": True}} if streamed else {}),
    }


@pytest.mark.parametrize(
    ("options", "sent", "wants"),
    [
        (None, {"include_usage": True}, False),
        ({}, {"include_usage": True}, False),
        ({"include_usage": False}, {"include_usage": True}, False),
        ({"include_usage": None, "x": 1}, {"include_usage": True, "x": 1}, False),
        ({"include_usage": True, "x": 1}, {"include_usage": True, "x": 1}, True),
    ],
)
def test_usage_is_always_asked_for(options, sent, wants):
    envelope = CHAT.read_request(body(stream=True, stream_options=options))
    assert envelope.wants_usage is wants
    assert json.loads(CHAT.write_request(envelope, model="m", overrides={}))["stream_options"] == sent


def test_a_plain_request_has_no_stream_options():
    envelope = CHAT.read_request(body(stream=False))
    assert "stream_options" not in json.loads(CHAT.write_request(envelope, model="m", overrides={}))


def test_what_the_route_sets_goes_over_the_callers_own_but_never_the_model():
    envelope = CHAT.read_request(body(temperature=1, top_p=0.5))
    written = json.loads(
        CHAT.write_request(envelope, model="m2", overrides={"temperature": 0, "seed": 7, "model": "x"})
    )
    assert (written["temperature"], written["seed"], written["top_p"], written["model"]) == (0, 7, 0.5, "m2")


@pytest.mark.parametrize("asked", [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_tokens": None}, {}])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_output_limit_by_one_name_takes_away_the_other(asked, name):
    envelope = CHAT.read_request(body(**asked))
    written = json.loads(CHAT.write_request(envelope, model="m", overrides={name: 9}))
    assert {field: value for field, value in written.items() if field.startswith("max_")} == {name: 9}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": None}, None),
        ({}, None),
    ],
)
def test_the_output_limit_by_either_name(fields, expected):
    envelope = CHAT.read_request(body(**fields))
    assert envelope.max_output_tokens == expected
    assert envelope.size == len(body(**fields))


WRONG = [
    (b"", None),
    (b"{", None),
    (b"[]", None),
    (b"null", None),
    (b"\xff\xfe", None),
    (b'{"model":"\xff","messages":[]}', None),
    (b'{"messages":[{"role":"user"}]}', "model"),
    (b'{"model":"m"}', "messages"),
    (body(model=7), "model"),
    (body(model=""), "model"),
    (body(model="  "), "model"),
    (body(messages=[]), "messages"),
    (body(messages="hi"), "messages"),
    (body(messages=[{}]), "messages[0].role"),
    (body(messages=[{"role": "user", "content": 7}]), "messages[0].content"),
    (body(messages=[{"role": "user", "content": [{"text": "no type"}]}]), "messages[0].content[0].type"),
    (body(stream="yes"), "stream"),
    (body(n=0), "n"),
    (body(n=129), "n"),
    (body(n=1.5), "n"),
    (body(temperature="hot"), "temperature"),
    (body(stop=7), "stop"),
    (body(tools={}), "tools"),
    (body(stream_options={"include_usage": True}), "stream_options"),
    (body(stream=True, stream_options=7), "stream_options"),
    (b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    (b'{"model":"m","messages":[{"role":"user","content":' + b'[{"type":"t","x":' * 5_000, None),
]


@pytest.mark.parametrize(("data", "param"), WRONG)
def test_what_is_wrong_is_named(data, param):
    with pytest.raises(InvalidRequest) as caught:
        CHAT.read_request(data)
    assert caught.value.status == 400
    if param is not None:
        assert caught.value.param == param
    assert len(caught.value.message) < 300


@given(
    st.binary(max_size=300)
    | st.builds(lambda value: json.dumps(value).encode(), values)
    | st.builds(lambda f: body(**f), unknown)
)
def test_any_body_is_read_or_refused(data):
    try:
        envelope = CHAT.read_request(data)
    except InvalidRequest:
        return
    json.loads(CHAT.write_request(envelope, model="m", overrides={}))


# Answers.


def test_a_whole_answer_is_the_signals_of_its_split():
    said = {"role": "assistant", "content": "hi"}
    answer = {
        "id": "c-1",
        "model": "m-1",
        "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}},
    }
    content, usage, end = CHAT.read_answer(json.dumps(answer).encode())
    assert (content.beats, content.text, content.id, content.model) == (
        ((0, TEXT, "stop"),),
        "hi",
        "c-1",
        "m-1",
    )
    assert (usage.usage.input_tokens, usage.usage.cache_read_tokens, usage.usage.output_tokens) == (3, 2, 4)
    assert end.end


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"), (b" \n", "empty"), (b"{}", "no choices"), (b"[]", "can't be read"), (b"<html>", "can't be read"),
        (b'{"choices":[{"index":"x"}]}', "can't be read"), (b'{"choices":[],"x":"\xff"}', "can't be read"),
        (b'{"choices":[{"message":{"content":"half', "can't be read"), (b"[" * 100_000, "can't be read"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none(data, word):
    (signal,) = CHAT.read_answer(data)
    assert word in signal.malformed


@given(st.binary(max_size=200) | st.builds(lambda value: json.dumps(value).encode(), values))
def test_any_answer_is_read_or_malformed(data):
    assert CHAT.read_answer(data)
    scanner = CHAT.scanner()
    signals = (
        scanner.feed(b"data: " + data.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n") + scanner.finish()
    )
    for signal in signals:
        assert signal.raw.endswith(b"\n\n")


@pytest.mark.parametrize(
    ("delta", "bits"),
    [
        ({"content": "a"}, TEXT), ({"reasoning_content": "a"}, REASONING), ({"reasoning": "a"}, REASONING),
        ({"refusal": "a"}, REFUSAL), ({"tool_calls": [{}]}, TOOL), ({"function_call": {"name": "f"}}, TOOL),
        ({"audio": {"id": "x"}}, AUDIO), ({"content": "a", "reasoning": "b"}, TEXT | REASONING), ({"content": ""}, 0),
        ({"content": None, "tool_calls": None}, 0), ({}, 0),
    ],
)  # fmt: skip
def test_what_a_delta_carries(delta, bits):
    (signal,) = CHAT.scanner().feed(chunk(**delta))
    assert signal.beats == ((0, bits, None),)
    assert signal.text == (delta.get("content") or "")


def test_half_an_event_at_the_end_is_a_cut_and_a_whole_one_an_event():
    scanner = CHAT.scanner()
    assert scanner.feed(chunk("a")[:-20]) == []
    assert scanner.finish() == []
    scanner = CHAT.scanner()
    scanner.feed(chunk("a")[:-2])
    assert [signal.text for signal in scanner.finish()] == ["a"]
    scanner = CHAT.scanner()
    scanner.feed(b"data: [DONE]")
    assert [signal.end for signal in scanner.finish()] == [True]


@pytest.mark.parametrize(
    "data", [b"{}", b'{"object":"x"}', b"7", b'"x"', b"[]", b"null", b"", b'{"choices":"x"}', b'{"id":7}']
)
def test_an_event_that_is_no_chunk_is_malformed(data):
    (signal,) = CHAT.scanner().feed(b"data: " + data + b"\n\n")
    assert signal.malformed


# Edits.

extra = st.fixed_dictionaries({}, optional={"x_more": values, "system_fingerprint": st.text(max_size=5)})


@given(extra, st.text(max_size=5), st.text(max_size=5))
def test_a_changed_event_keeps_everything_else(more, new_id, new_model):
    raw = json.loads(chunk("a", usage=(1, 2))[6:]) | more
    edited = CHAT.edit(event_bytes(raw), Edit(id=new_id, model=new_model))
    assert json.loads(edited[6:]) == {**raw, "id": new_id, "model": new_model}


@pytest.mark.parametrize("odd", [b"1e400", b"-0", b"1.0", b'"\\/"', b"123456789012345678901234567890"])
@pytest.mark.parametrize(
    "edit", [Edit(id="q"), Edit(usage="drop"), Edit(text="y"), Edit(drop_finish=frozenset((0,)))]
)
def test_what_is_not_changed_stays_byte_for_byte(odd, edit):
    raw = b'data: {"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"x","d":%b},"finish_reason":"stop","c":%b}]'
    raw += b',"usage":{},"t":%b}\n\n'
    edited = CHAT.edit(raw % (odd, odd, odd), edit)
    assert edited.count(odd) == (3 if edit.text is None else 2), "an edited text takes its whole delta"


def test_bytes_that_are_no_utf8_are_malformed_wherever_they_stand():
    for raw in (
        b'data: {"id":"a","choices":[],"x":"\xff"}\n\n',
        b'data: {"id":"a","choices":[],"x\xff":1}\n\n',
    ):
        (signal,) = CHAT.scanner().feed(raw)
        assert signal.malformed


def event_bytes(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def test_edits_one_by_one():
    both = chunk("a", usage=(1, 2))
    assert json.loads(CHAT.edit(both, Edit(usage="only"))[6:])["choices"] == []
    assert "usage" not in json.loads(CHAT.edit(both, Edit(usage="drop"))[6:])
    assert CHAT.edit(usage_chunk(1, 2), Edit(usage="drop")) == b""
    assert CHAT.edit(chunk(finish="stop"), Edit(drop_finish=frozenset((0,)))) == b""
    assert CHAT.edit(chunk(role="assistant", finish="stop"), Edit(drop_finish=frozenset((0,)))) == b""
    kept = json.loads(CHAT.edit(chunk("a", finish="stop"), Edit(drop_finish=frozenset((0,))))[6:])
    assert (kept["choices"][0]["delta"]["content"], kept["choices"][0]["finish_reason"]) == ("a", None)
    other = json.loads(CHAT.edit(chunk("a", index=1, finish="stop"), Edit(drop_finish=frozenset((0,))))[6:])
    assert other["choices"][0]["finish_reason"] == "stop"
    assert json.loads(CHAT.edit(chunk("abc"), Edit(text="c"))[6:])["choices"][0]["delta"]["content"] == "c"

    frames = [chunk(role="assistant"), chunk("abc"), b": x\n\n", chunk("de"), chunk("f", finish="stop"), DONE]
    several = b"".join(frames)
    (only, end), rest = _deltas(CHAT.edit(several, Edit(text="cdef"))), CHAT.edit(several, Edit(text=""))
    assert only == {"index": 0, "delta": {"content": "cdef"}, "finish_reason": None}
    assert end == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert _deltas(rest) == [end]
    assert rest.endswith(DONE)
    assert b": x\n\n" in rest
    named = CHAT.edit(several, Edit(id="other"))
    assert named.count(b'"id":"other"') == 4
    assert CHAT.edit(chunk(role="assistant") + chunk("abc"), Edit(text="")) == b""
    for raw in (DONE, b": ping\n\n"):
        assert CHAT.edit(raw, Edit(id="x", usage="drop")) == raw


def _deltas(raw: bytes) -> list[dict[str, Any]]:
    frames = [frame[6:] for frame in raw.split(b"\n\n") if frame.startswith(b"data: {")]
    return [json.loads(frame)["choices"][0] for frame in frames]


@given(st.lists(st.text(max_size=6), max_size=5))
def test_nothing_is_changed_where_nothing_is_asked(pieces):
    for raw in stream(*pieces):
        assert b"".join(signal.raw for signal in CHAT.scanner().feed(raw)) == raw


# Refusals.


def said(status: int, **error: Any) -> ProviderError:
    return CHAT.refusal(status, json.dumps({"error": error}).encode())


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {}, RequestRefused), (413, {}, RequestRefused), (422, {}, RequestRefused), (401, {}, AuthRefused),
        (403, {}, AuthRefused), (404, {}, ModelMissing), (402, {}, QuotaExhausted), (408, {}, ServerFailed),
        (409, {}, ServerFailed), (429, {}, RateLimited), (500, {}, ServerFailed), (502, {}, ServerFailed),
        (503, {}, Overloaded), (504, {}, ServerFailed), (529, {}, Overloaded),
        (302, {}, ServerFailed), (600, {}, ServerFailed),
        (429, {"code": "insufficient_quota"}, QuotaExhausted), (429, {"type": "insufficient_quota"}, QuotaExhausted),
        (400, {"code": "context_length_exceeded"}, ContextTooLong),
        (400, {"code": "content_policy_violation"}, ContentRefused),
        (400, {"code": "CONTENT_FILTER"}, ContentRefused), (404, {"code": "model_not_found"}, ModelMissing),
        (400, {"message": "context_length_exceeded insufficient_quota"}, RequestRefused),
        (403, {"code": 403, "metadata": {"reasons": ["x"]}}, ContentRefused), (403, {"metadata": {}}, AuthRefused),
    ],
)  # fmt: skip
def test_an_error_means_its_status_and_its_code_and_never_its_words(status, error, kind):
    found = said(status, **error)
    assert type(found) is kind
    assert found.upstream_status == status
    assert found.message


@pytest.mark.parametrize(
    ("inside", "kind"),
    [
        ({"code": 429}, RateLimited), ({"code": 529}, Overloaded), ({"type": "overloaded_error"}, Overloaded),
        ({"type": "rate_limit_error"}, RateLimited), ({"code": "rate_limit_exceeded"}, RateLimited),
        ({"type": "invalid_request_error"}, RequestRefused), ({"code": "context_length_exceeded"}, ContextTooLong),
        ({"type": "server_error"}, ServerFailed), ({"code": 200}, ServerFailed), ({"code": True}, ServerFailed),
        ("busy", ServerFailed), ([], ServerFailed), (7, ServerFailed), ({}, ServerFailed),
    ],
)  # fmt: skip
def test_an_error_inside_a_200_means_the_same(inside, kind):
    (whole,) = CHAT.read_answer(json.dumps({"error": inside}).encode())
    (streamed,) = CHAT.scanner().feed(event({"error": inside}))
    assert type(whole.error) is type(streamed.error) is kind
    assert whole.error.upstream_status >= 400


@given(
    st.integers(100, 700),
    st.binary(max_size=100) | st.builds(lambda value: json.dumps(value).encode(), values),
)
def test_any_error_answer_has_a_meaning(status, data):
    found = CHAT.refusal(status, data)
    assert isinstance(found, ProviderError)
    assert found.message
    assert found.body == data


def test_unusual_shapes():
    assert CHAT.refusal(500, b'[{"error":{"message":"in a list"}}]').message == "in a list"
    assert (
        CHAT.refusal(500, b'{"message":"at the top","code":"insufficient_quota"}').kind
        == "insufficient_quota"
    )
    assert CHAT.refusal(500, b'{"error":"a string"}').message == "a string"
    assert CHAT.refusal(500, b"<html>").message == "the provider answered 500"


# Our own errors.


def test_our_errors_are_openai_errors_as_body_and_as_event():
    error = tree.InvalidRequest("`n` is wrong", param="n")
    expected = {
        "error": {
            "message": "`n` is wrong",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_request",
            "request_id": "r-1",
        }
    }
    assert json.loads(CHAT.error_body(error, "r-1")) == expected
    frame = CHAT.error_frame(error, "r-1")
    assert json.loads(frame.removeprefix(b"data: ")) == expected
    assert frame.endswith(b"\n\n")
    assert frame.count(b"\n") == 2


@given(st.text(max_size=40))
def test_whatever_a_message_holds_an_event_is_one_event(message):
    frame = CHAT.error_frame(tree.HoldfastError(message.encode("utf-8", "replace").decode()), "r")
    assert frame.count(b"\n") == 2
    assert b"\r" not in frame
