"""Counts of tokens: asked in a family's words, answered in them, for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.count_tokens import AnthropicCountTokens, GeminiCountTokens
from holdfast.dialects.gemini import Gemini
from holdfast.dialects.signatures import mark
from holdfast.engine.guard import Guard, State
from holdfast.errors import BadAnswer, InvalidRequest, Overloaded, RateLimited
from holdfast.testing.strategies import json_values

CLAUDE, GOOGLE = AnthropicCountTokens(), GeminiCountTokens()
BOTH = pytest.mark.parametrize(("dialect", "family"), [(CLAUDE, Anthropic()), (GOOGLE, Gemini())])
HI = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]


def raw(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def judged(dialect: AnthropicCountTokens | GeminiCountTokens, answer: Any) -> Guard:
    guard = Guard(dialect)
    guard.feed(dialect.read_answer(answer if isinstance(answer, bytes) else json.dumps(answer).encode()))
    guard.eof()
    return guard


def sent(dialect: AnthropicCountTokens | GeminiCountTokens, body: bytes, model: str = "other") -> Any:
    envelope = dialect.read_request(body)
    return json.loads(
        dialect.write_request(envelope, model=model, overrides={"max_tokens": 9, "temperature": 1})
    )


@BOTH
def test_what_is_the_familys(dialect, family):
    assert (dialect.request_id_header, dialect.forwarded) == (family.request_id_header, family.forwarded)
    error = InvalidRequest("no", param="p")
    assert dialect.error_body(error, "r") == family.error_body(error, "r")
    assert dialect.error_frame(error, "r") == family.error_frame(error, "r")
    assert (dialect.free, dialect.codec, dialect.end_frame) == (True, None, b"")


# Anthropic.


def test_anthropics_question_travels_as_it_came():
    body = raw(**HI, system="s", tools=[{"name": "f", "input_schema": {}}], x_new={"a": 1})
    envelope = CLAUDE.read_request(body)
    assert (envelope.model, envelope.stream, envelope.max_output_tokens) == ("m", False, 0)
    assert sent(CLAUDE, body) == {**json.loads(body), "model": "other"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({**HI, "model": ""}, "model"),
        ({**HI, "messages": []}, "messages"),
        ({**HI, "messages": [{"role": "user"}]}, "messages[0].content"),
        ({**HI, "tools": 1}, "tools"),
        ({**HI, "stream": True}, "stream"),
    ],
)
def test_anthropics_wrong_field_is_named(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        CLAUDE.read_request(raw(**fields))
    assert caught.value.param == param


def test_another_providers_thoughts_are_not_counted():
    foreign = {"type": "thinking", "thinking": "hm", "signature": mark("c2ln", "gemini", "anthropic")}
    own = {"type": "thinking", "thinking": "so", "signature": "sig"}
    turns = [
        {"role": "assistant", "content": [foreign, own, {"type": "text", "text": "a"}]},
        {"role": "user", "content": "b"},
    ]
    said = sent(CLAUDE, raw(model="m", messages=turns))
    assert said["messages"][0]["content"] == [own, {"type": "text", "text": "a"}]
    assert said.keys() == {"model", "messages"}


# Google.


def test_googles_question_travels_as_it_came():
    body = raw(contents=CONTENTS, x_new=1)
    envelope = GOOGLE.read_request(body)
    assert (envelope.model, envelope.max_output_tokens) == ("", 0)
    assert sent(GOOGLE, body) == {"contents": CONTENTS, "x_new": 1}


@pytest.mark.parametrize("place", ["generateContentRequest", "generate_content_request"])
@pytest.mark.parametrize("model", ["g", "models/g"])
def test_a_whole_request_to_count_names_the_target(place, model):
    inner = {"model": "models/asked", "contents": CONTENTS, "systemInstruction": {"parts": [{"text": "s"}]}}
    said = sent(GOOGLE, json.dumps({place: inner, "x_new": 1}).encode(), model)
    assert said == {place: {**inner, "model": "models/g"}, "x_new": 1}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"generateContentRequest": {}}, "generateContentRequest.contents"),
        ({"generateContentRequest": 7}, "generateContentRequest"),
        (
            {"generateContentRequest": {"contents": [{"role": 1}]}},
            "generateContentRequest.contents[0].role",
        ),
    ],
)
def test_googles_wrong_field_is_named(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        GOOGLE.read_request(raw(**fields))
    assert caught.value.param == param


# Answers.


@pytest.mark.parametrize(
    ("dialect", "answer"),
    [(CLAUDE, {"input_tokens": 7}), (GOOGLE, {"totalTokens": 7, "promptTokensDetails": []})],
)
def test_a_count_is_an_answer_and_no_usage(dialect, answer):
    guard = judged(dialect, answer)
    assert (guard.state, guard.finish_reason, guard.usage) == (State.DONE, "stop", None)


@BOTH
@pytest.mark.parametrize(
    "answer", [b"", b"{", b"[]", {}, {"input_tokens": "7"}, {"input_tokens": -1}, {"totalTokens": -1}]
)
def test_what_is_no_count(dialect, family, answer):
    assert isinstance(judged(dialect, answer).fault, BadAnswer)
    assert family.codec is not None


@pytest.mark.parametrize(
    ("dialect", "answer", "kind"),
    [
        (CLAUDE, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, Overloaded),
        (GOOGLE, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow"}}, RateLimited),
    ],
)
def test_an_error_with_200_is_typed_as_the_family_does(dialect, answer, kind):
    assert type(judged(dialect, answer).fault) is kind


# Counts of ours.


@BOTH
@given(tokens=st.integers(min_value=0, max_value=2**53))
def test_a_count_that_is_written_is_one_that_can_be_read(dialect, family, tokens):
    written = dialect.write_count(tokens)
    assert list(json.loads(written).values()) == [tokens]
    guard = judged(dialect, written)
    assert (guard.state, guard.usage, family.codec is not None) == (State.DONE, None, True)


def test_what_is_counted_is_the_whole_question():
    body = raw(**HI, system="s", tools=[{"name": "f", "input_schema": {}}])
    request = CLAUDE.neutral(CLAUDE.read_request(body))
    assert request == Anthropic.codec.decode_request(body)
    assert len(request.tools) == 1


@pytest.mark.parametrize("place", ["generateContentRequest", "generate_content_request", None])
def test_googles_inner_request_is_what_is_counted(place):
    inner = {"contents": CONTENTS, "systemInstruction": {"parts": [{"text": "s"}]}}
    envelope = GOOGLE.read_request(json.dumps({place: inner} if place else inner).encode())
    request = GOOGLE.neutral(envelope)
    assert [message.role for message in request.messages] == ["system", "user"]


KEYS = st.sampled_from(
    [
        "model",
        "messages",
        "contents",
        "parts",
        "generateContentRequest",
        "input_tokens",
        "totalTokens",
        "error",
        "role",
    ]
)
SHAPES = st.recursive(
    json_values(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@BOTH
@given(shape=st.dictionaries(KEYS, SHAPES, max_size=5))
def test_any_json_at_any_place_is_read_or_refused(dialect, family, shape):
    del family
    body = json.dumps(shape).encode()
    try:
        dialect.write_request(dialect.read_request(body), model="m", overrides={})
    except InvalidRequest as error:
        assert error.message  # noqa: PT017  # every refusal says why
    assert judged(dialect, body).state in (State.DONE, State.BROKEN)
