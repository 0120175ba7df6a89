"""What faults do to the numbers, the names and the end of a stream of the Responses API."""

import json

import openai
import pytest
from tests.unit.chaos.raw import receive, send
from tests.unit.chaos.speaking import SPEAKERS, TOKENS

from holdfast.chaos import ChaosConfig, run_chaos

RESPONSES = SPEAKERS["responses"]
PATHS = ("/v1/responses", "/openai/v1/responses", "/api/v1/responses", "/responses")


@pytest.fixture(scope="module")
def server():
    with run_chaos(ChaosConfig(tokens=TOKENS)) as chaos:
        yield chaos


@pytest.fixture
def chaos(server):
    server.reset()
    return server


def events(chaos, script, path="/v1/responses", **asked):
    chaos.script("m", script)
    body = RESPONSES.body("hi", stream=True, **asked)
    with send(chaos.port, body, path=path) as sock:
        return RESPONSES.events(receive(sock))


def numbers(values):
    return [value["sequence_number"] for value in values]


def last(chaos):
    return chaos.wait_for(lambda journal: journal and journal[-1].end)[-1]


HEALTHY = list(range(4 + TOKENS + 4))
FIRST = 4  # the number of the first token


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("ok", HEALTHY),
        ("drop after=1 count=2", [n for n in HEALTHY if n not in (FIRST + 1, FIRST + 2)]),
        ("repeat after=1", [*range(FIRST + 2), *range(FIRST + 1, len(HEALTHY))]),
        ("reorder after=1", [*range(FIRST + 1), FIRST + 2, FIRST + 1, *range(FIRST + 3, len(HEALTHY))]),
        ("no_finish", HEALTHY[:-1]),
        ("repeat_finish", [*HEALTHY, HEALTHY[-1]]),
        ("cut=clean after=2", HEALTHY[: FIRST + 2]),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_what_is_lost_repeated_or_swapped_shows_in_the_numbers(chaos, path, script, told):
    assert numbers(events(chaos, script, path)) == told


@pytest.mark.parametrize("script", ["", "crlf", "comments", "comments crlf"])
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("path", PATHS)
def test_after_an_error_the_response_has_failed(chaos, path, after, script):
    values = events(chaos, f"error_event after={after} error=rate_limit {script}", path)
    *before, error, failed = values
    assert numbers(values) == list(range(len(values)))
    assert (error["type"], failed["type"]) == ("error", "response.failed")
    assert (len(before), before[-1]["type"]) == (
        FIRST + after,
        "response.output_text.delta" if after else "response.content_part.added",
    )
    assert error["error"]["code"] == failed["response"]["error"]["code"] == "rate_limit_exceeded"
    first = values[0]["response"]
    assert failed["response"] == {**first, "status": "failed", "error": failed["response"]["error"]}


def test_a_failed_responses_lines_end_as_the_others_do(chaos):
    chaos.script("m", "error_event crlf")
    body = RESPONSES.ask(chaos.port, stream=True).body
    assert b"response.failed" in body
    assert body.count(b"\n") == body.count(b"\r\n")


def test_an_error_says_what_comes_after_the_number_that_was_last(chaos):
    values = events(chaos, "drop after=0 count=2 error_event after=1")
    assert numbers(values)[-4:] == [FIRST - 1, FIRST + 2, FIRST + 3, FIRST + 4]


def test_a_server_error_has_a_code_in_the_response(chaos):
    *_, error, failed = events(chaos, "error_event")
    assert error["error"]["code"] is None
    assert failed["response"]["error"]["code"] == "server_error"


def test_an_error_before_anything_stands_alone(chaos):
    (value,) = events(chaos, "error_in_200")
    assert (value["type"], value["sequence_number"]) == ("error", 0)


def test_words_that_look_like_an_error_are_none(chaos):
    values = events(chaos, "repeat_finish text='event: error'")
    assert [value["type"] for value in values[-2:]] == ["response.completed"] * 2


@pytest.mark.parametrize("path", PATHS)
def test_a_changed_id_is_the_last_events(chaos, path):
    values = events(chaos, "change_id", path)
    told = [value["response"]["id"] for value in values if "response" in value]
    assert told[0] == told[1] != told[2]
    assert len(told[0]) == len(told[2])


def test_an_id_that_changed_is_still_one_of_chaos(chaos):
    last_event = events(chaos, "change_id")[-1]
    chaos.reset()
    with openai.OpenAI(base_url=chaos.base_url, api_key="k") as client:
        answer = client.responses.create(
            model="x", input="hi", previous_response_id=last_event["response"]["id"]
        )
    assert answer.status == "completed"


@pytest.mark.parametrize("path", PATHS)
def test_a_body_without_finish_or_usage(chaos, path):
    def body(script):
        chaos.script("m", script)
        with send(chaos.port, RESPONSES.body("hi", stream=False), path=path) as sock:
            return json.loads(receive(sock).body)

    assert (body("no_finish")["status"], body("ok")["status"]) == (None, "completed")
    assert "usage" not in body("no_usage")
    assert body("no_usage no_finish")["output"][0]["content"][0]["text"] == last(chaos).text


def test_hidden_thoughts_are_billed_where_they_end(chaos):
    """They come first, so that whoever has seen a token of text owes for all of them."""
    think = {"reasoning": {"effort": "low"}}
    assert events(chaos, "cut=clean after=2", **think)
    assert (last(chaos).tokens, last(chaos).usage.completion_tokens) == (2, 2 + 4)
    assert events(chaos, "ok", **think)
    assert (last(chaos).tokens, last(chaos).usage.completion_tokens) == (TOKENS, TOKENS + 4)


def test_hidden_thoughts_of_a_body_are_billed_and_not_seen(chaos):
    for script, billing in (("ok", "whole"), ("cut=fin after=2", "cut")):
        chaos.script("m", script)
        RESPONSES.ask(chaos.port, reasoning={"effort": "low"})
        assert last(chaos).tokens == (TOKENS if billing == "whole" else 2)
        assert last(chaos).usage.completion_tokens == TOKENS + 4


def test_thoughts_and_calls_are_cut_like_text(chaos):
    tool = {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
    }
    asked = {"reasoning": {"summary": "auto"}, "tools": [tool], "tool_choice": "required"}
    values = events(chaos, "cut=clean after=5", **asked)
    deltas = [value["type"] for value in values if value["type"].endswith(".delta")]
    assert deltas == [
        *["response.reasoning_summary_text.delta"] * 4,
        "response.function_call_arguments.delta",
    ]
    assert last(chaos).reasoning == "".join(v["delta"] for v in values if v["type"] == deltas[0])
    assert last(chaos).arguments == values[-1]["delta"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_plain_answer_with_thoughts_is_cut_in_its_text(chaos, stream):
    chaos.script("m", "reasoning=3 cut=fin after=2")
    seen = RESPONSES.ask(chaos.port, stream=stream, reasoning={"summary": "auto"})
    assert seen.end == "fin"
    entry = last(chaos)
    assert entry.text == ("" if stream else f"{entry.nonce}:0 {entry.nonce}:1 ")
    assert seen.body.endswith(entry.text.encode())
