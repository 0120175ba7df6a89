"""Statuses that a proxy answers in the provider's place, and dates to come again at."""

import json
import time
from email.utils import parsedate_to_datetime

import pytest
from tests.unit.chaos.raw import ask, payload
from tests.unit.chaos.speaking import SPEAKERS

from holdfast.chaos import Chaos, ChaosConfig, run_chaos


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig()) as running:
        yield running


def seen(chaos: Chaos, script: str):
    chaos.script("m", script)
    return ask(chaos.port, payload())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("speaker", SPEAKERS.values(), ids=SPEAKERS)
def test_a_bad_gateway_is_a_proxys_page_at_every_provider(chaos, speaker, stream):
    chaos.script("m", "bad_gateway")
    answer = speaker.ask(chaos.port, stream=stream)
    assert (answer.status, answer.end, answer.header("content-type")) == (502, "complete", "text/html")
    assert b"<title>502 Bad Gateway</title>" in answer.body
    assert b"<center>cloudflare</center>" in answer.body
    chaos.script("m", "502")
    assert "error" in str(json.loads(speaker.ask(chaos.port, stream=stream).body)), "its own words"


def test_any_status_can_have_a_page(chaos):
    answer = seen(chaos, "504 page=nginx")
    assert (answer.status, answer.header("content-type")) == (504, "text/html")
    assert b"<h1>504 Gateway Timeout</h1>" in answer.body
    assert b"<center>nginx</center>" in answer.body
    assert b"<title>529</title>" in seen(chaos, "529 page=nginx").body, "no standard names it"


def test_what_is_said_in_words_goes_over_the_page(chaos):
    assert json.loads(seen(chaos, "bad_gateway message=gone").body)["error"]["message"] == "gone"
    assert seen(chaos, "bad_gateway body=gone").body == b"gone"
    assert seen(chaos, "bad_gateway content_type=text/plain").header("content-type") == "text/plain"


@pytest.mark.parametrize("seconds", [-30, 0, 5, 3600])
def test_a_date_is_counted_from_now(chaos, seconds):
    before = time.time()
    header = (
        seen(chaos, f"429 retry_after=date{seconds:+}").head.partition("retry-after: ")[2].split("\r\n")[0]
    )
    assert header.endswith(" GMT")
    at = parsedate_to_datetime(header).timestamp()
    assert before + seconds <= at < time.time() + seconds + 1, "whole seconds, and none too soon"


@pytest.mark.parametrize("text", ["date", "date5", "5", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_anything_else_stands_as_it_is(chaos, text):
    assert f"retry-after: {text}\r\n" in seen(chaos, f"429 retry_after='{text}'").head + "\r\n"


def test_a_date_is_a_delay_in_geminis_body_too(chaos):
    chaos.script("m", "429 retry_after=date+7")
    details = json.loads(SPEAKERS["gemini"].ask(chaos.port).body)["error"]["details"]
    assert details[-1]["retryDelay"] == "7s"
