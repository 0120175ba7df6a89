"""Errors of Gemini's streams that aren't server-sent events: elements of an array, as their answers are."""

import json

import pytest
from tests.unit.chaos.raw import ask, receive, send
from tests.unit.chaos.speaking import SPEAKERS

from holdfast.chaos import ChaosConfig, run_chaos

ARRAY = SPEAKERS["gemini array"]
SSE = SPEAKERS["gemini"]


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig(tokens=2, api_keys=("k",))) as chaos:
        yield chaos


def said(chaos, speaker, script, *, stream=True, **more):
    chaos.script("m", script)
    path = speaker.stream_path if stream else speaker.plain_path
    with send(
        chaos.port, speaker.body("hi", stream=stream, **more), path=path, **{"x-goog-api-key": "k"}
    ) as sock:
        return receive(sock)


@pytest.mark.parametrize("script", ["503", "rate_limit", "model_not_found", "500"])
def test_an_error_is_an_array_of_one(chaos, script):
    array, event, plain = (
        said(chaos, speaker, script, stream=stream)
        for speaker, stream in ((ARRAY, True), (SSE, True), (ARRAY, False))
    )
    assert array.status == event.status == plain.status
    (told,) = json.loads(array.body)
    assert told == json.loads(event.body) == json.loads(plain.body)
    assert told["error"]["code"] == array.status
    assert array.header("content-type") == "application/json; charset=utf-8"


def test_refusals_too(chaos):
    assert json.loads(said(chaos, ARRAY, "ok", contents=7).body)[0]["error"]["status"] == "INVALID_ARGUMENT"
    wrong = ask(chaos.port, ARRAY.body("hi", stream=True), path=ARRAY.stream_path)
    assert json.loads(wrong.body)[0]["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def test_an_error_in_mid_stream_is_one_element(chaos):
    values = json.loads(said(chaos, ARRAY, "error_event after=1 then=done").body)
    assert [set(value) & {"error", "candidates"} for value in values[:2]] == [{"candidates"}, {"error"}]


@pytest.mark.parametrize("script", ["error_in_200", "error_in_200 as_json=true", "content_policy"])
def test_an_error_in_200_is_one_element(chaos, script):
    seen = said(chaos, ARRAY, script)
    (told,) = json.loads(seen.body)
    assert seen.status == 200
    assert set(told) & {"error", "promptFeedback"}
