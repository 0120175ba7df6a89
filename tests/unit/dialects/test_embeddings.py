"""Embeddings: one question, one answer, never a stream."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.replay import Recorded, replaying

from holdfast.dialects.openai_embeddings import OpenAIEmbeddings
from holdfast.engine.guard import Guard, State
from holdfast.errors import BadAnswer, InvalidRequest, RateLimited, TargetsFailed
from holdfast.testing.strategies import json_values

DIALECT = OpenAIEmbeddings()
VECTOR = base64.b64encode(struct.pack("<2f", 0.25, -1.5)).decode()
ANSWER: dict[str, Any] = {
    "object": "list",
    "model": "e-1",
    "data": [{"object": "embedding", "index": 0, "embedding": VECTOR}],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **fields}).encode()


def judged(answer: Any) -> Guard:
    guard = Guard(DIALECT)
    guard.feed(DIALECT.read_answer(answer if isinstance(answer, bytes) else json.dumps(answer).encode()))
    guard.eof()
    return guard


@pytest.mark.parametrize(
    "given_",
    ["hi", ["a", "b"], [1, 2, 3], [[1, 2], [3]], ["a", ""], [10**30]],
)
def test_input_in_every_form(given_):
    raw = body(input=given_, encoding_format="base64", dimensions=2, x_new=[1.0])
    envelope = DIALECT.read_request(raw)
    assert (envelope.model, envelope.stream, envelope.size) == ("m", False, len(raw))
    assert envelope.max_output_tokens == 0, "so that the bound is that of the input"
    sent = json.loads(
        DIALECT.write_request(envelope, model="other", overrides={"max_tokens": 9, "user": "u"})
    )
    assert sent == {**json.loads(raw), "model": "other", "user": "u"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": 1}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [{"text": "a"}]}, "input[0]"),
        ({"input": [["a"]]}, "input[0][0]"),
        ({"input": ["a", "b", 1]}, "input[2]"),
        ({"input": [1, [1]]}, "input[1]"),
        ({"dimensions": "2"}, "dimensions"),
        ({"encoding_format": 1}, "encoding_format"),
        ({"stream": True}, "stream"),
    ],
)
def test_a_wrong_field_is_named(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.read_request(body(**fields))
    assert caught.value.param == param


def test_an_answer_is_content_finish_usage_and_end():
    guard = judged(ANSWER)
    assert (guard.state, guard.finish_reason, guard.model) == (State.DONE, "stop", "e-1")
    assert guard.usage is not None
    assert (guard.usage.input_tokens, guard.usage.output_tokens) == (7, 0)


@pytest.mark.parametrize(
    ("usage", "tokens"), [({"total_tokens": 5}, 5), ({"prompt_tokens": 0}, 0), ({}, None), (None, None)]
)
def test_usage_that_says_less(usage, tokens):
    guard = judged({**ANSWER, "usage": usage})
    assert guard.state is State.DONE
    assert (guard.usage.input_tokens if guard.usage is not None else None) == tokens


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"[]",
        {},
        {**ANSWER, "data": []},
        {**ANSWER, "data": None},
        {**ANSWER, "data": [{}]},
        {**ANSWER, "data": [*ANSWER["data"], {"embedding": None}]},
        {**ANSWER, "data": [{"embedding": []}]},
        {**ANSWER, "data": [{"embedding": ""}]},
        {**ANSWER, "data": [1]},
    ],
)
def test_what_is_no_answer(answer):
    assert isinstance(judged(answer).fault, BadAnswer)


def test_an_error_with_200():
    fault = judged({"error": {"message": "slow", "code": "rate_limit_exceeded"}}).fault
    assert isinstance(fault, RateLimited)


def test_numbers_are_looked_at_and_not_unpacked():
    vector = b"[" + b",".join([b"1e400"] * 50_000) + b"]"  # no float could hold them
    raw = b'{"data":[{"embedding":' + vector + b'}],"usage":{"prompt_tokens":1}}'
    assert judged(raw).state is State.DONE
    assert isinstance(judged(raw.replace(b"]}],", b",]}],")).fault, BadAnswer), "but they are JSON"


def test_errors_as_openais_sdk_reads_them():
    error = TargetsFailed("all of them", failures=[], status=503)
    with replaying({}) as server:
        server.script["POST", "/v1/embeddings"] = Recorded(
            DIALECT.error_body(error, "req_1"), 503, {"content-type": "application/json"}
        )
        with (
            openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="none", max_retries=0) as client,
            pytest.raises(openai.InternalServerError) as caught,
        ):
            client.embeddings.create(model="m", input="hi")
    assert caught.value.code == "all_targets_failed"


KEYS = st.sampled_from(
    ["model", "input", "data", "embedding", "usage", "prompt_tokens", "error", "stream", "code"]
)
SHAPES = st.recursive(
    json_values(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(KEYS, SHAPES, max_size=5))
def test_any_json_at_any_place_is_read_or_refused(shape):
    raw = json.dumps(shape).encode()
    try:
        DIALECT.write_request(DIALECT.read_request(raw), model="m", overrides={})
    except InvalidRequest as error:
        assert error.message  # noqa: PT017  # every refusal says why
    assert judged(raw).state in (State.DONE, State.BROKEN)
