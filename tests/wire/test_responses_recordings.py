"""Every recorded exchange of /responses is read as what it was, however the bytes are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.recorded import recordings

from holdfast.dialects.base import TEXT, TOOL, Edit, Signal
from holdfast.dialects.openai_embeddings import OpenAIEmbeddings
from holdfast.dialects.openai_responses import OpenAIResponses
from holdfast.engine.guard import Guard, State
from holdfast.errors import InvalidRequest, RateLimited, ServerFailed

DIALECT = OpenAIResponses()
EXCHANGES = recordings("responses")
STREAMS = [each for each in EXCHANGES if "stream" in each]
WHOLES = [each for each in EXCHANGES if "response" in each]
ids = [each["id"] for each in EXCHANGES]


def heard(signals: list[Signal]) -> dict[str, Any]:
    usage = next((signal.usage for signal in signals if signal.usage is not None), None)
    finishes = [finish for signal in signals for _, _, finish in signal.beats if finish]
    return {
        "text": "".join(signal.text for signal in signals),
        "finish": finishes,
        "usage": usage
        and (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens),
        "ended": [signal.end for signal in signals].count(True),
        "malformed": [signal.malformed for signal in signals if signal.malformed],
    }


def expected(response: dict[str, Any]) -> dict[str, Any]:
    """What the recorded answer says, read here without the product's code."""
    usage = response["usage"]
    pieces = [piece for item in response["output"] for piece in item.get("content") or ()]
    return {
        "text": "".join(piece["text"] for piece in pieces if piece["type"] == "output_text"),
        "finish": ["completed"],
        "usage": (
            usage["input_tokens"],
            (usage.get("input_tokens_details") or {}).get("cached_tokens"),
            usage["output_tokens"],
            (usage.get("output_tokens_details") or {}).get("reasoning_tokens"),
        ),
        "ended": 1,
        "malformed": [],
    }


def scanned(stream: bytes, size: int) -> list[Signal]:
    scanner = DIALECT.scanner()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    return [signal for piece in pieces for signal in scanner.feed(piece)] + scanner.finish()


def guarded(signals: list[Signal]) -> Guard:
    guard = Guard(DIALECT)
    guard.feed(signals)
    guard.eof()
    return guard


@pytest.mark.parametrize("exchange", EXCHANGES, ids=ids)
def test_requests_are_read_and_written_as_they_came(exchange):
    body = json.dumps(exchange["request"]).encode()
    if exchange["request"].get("background"):
        with pytest.raises(InvalidRequest) as caught:
            DIALECT.read_request(body)
        assert caught.value.param == "background"
        return
    envelope = DIALECT.read_request(body)
    assert envelope.model == exchange["request"]["model"]
    assert envelope.stream == bool(exchange["request"].get("stream"))
    sent = json.loads(DIALECT.write_request(envelope, model="other", overrides={}))
    assert sent == {**exchange["request"], "model": "other"}


@pytest.mark.parametrize("exchange", WHOLES, ids=[each["id"] for each in WHOLES])
def test_whole_answers(exchange):
    response = exchange["response"]
    body = json.dumps(response).encode()
    if exchange["status"] != 200:
        error = DIALECT.refusal(exchange["status"], body)
        assert error.message == response["error"]["message"]
        return
    signals = DIALECT.read_answer(body)
    guard = guarded(signals)
    if response["status"] not in ("completed", "complete"):
        assert guard.state is State.BROKEN  # queued: there is no answer yet
        return
    assert heard(signals) == expected(response)
    assert guard.state is State.DONE
    calls = any(item["type"] == "function_call" for item in response["output"])
    assert bool(guard.content & TOOL) == calls


@pytest.mark.parametrize("size", [1, 7, 10**9])
@pytest.mark.parametrize("exchange", STREAMS, ids=[each["id"] for each in STREAMS])
def test_streams_however_they_are_cut(exchange, size):
    stream = exchange["stream"].encode()
    signals = scanned(stream, size)
    last = [json.loads(line[6:]) for line in exchange["stream"].split("\n") if line.startswith("data: {")][-1]
    assert heard(signals) == expected(last["response"])
    guard = guarded(signals)
    assert guard.state is State.DONE
    assert guard.usage is not None
    raw = b"".join(signal.raw for signal in signals)
    assert raw.replace(b"\n", b"") == stream.replace(b"data: [DONE]", b"").replace(b"\r", b"").replace(
        b"\n", b""
    )


def events(*kinds: str, first: int = 0) -> list[bytes]:
    made = []
    for number, kind in enumerate(kinds, first):
        event: dict[str, Any] = {"type": kind, "sequence_number": number}
        if kind.endswith("delta"):
            event |= {"delta": f"t{number}", "output_index": 0, "content_index": 0}
        if kind in ("response.created", "response.completed"):
            status = "completed" if kind.endswith("completed") else "in_progress"
            usage = {"input_tokens": 1, "output_tokens": 2}
            event["response"] = {"id": "r", "model": "m", "status": status, "output": [], "usage": usage}
        made.append(f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode())
    return made


ORDERLY = events("response.created", *["response.output_text.delta"] * 4, "response.completed")


@pytest.mark.parametrize(
    "order",
    [[0, 1, 3, 4, 5], [0, 1, 3, 2, 4, 5], [0, 1, 1, 2, 3, 4, 5], [0, 5, 1]],
    ids=["gap", "swap", "repeat", "end first"],
)
def test_an_event_out_of_turn_breaks_the_stream(order):
    guard = guarded(scanned(b"".join(ORDERLY[at] for at in order), 10**9))
    assert guard.state is State.BROKEN or order == [0, 5, 1]
    if order == [0, 5, 1]:
        assert any(signal.malformed for signal in scanned(b"".join(ORDERLY[at] for at in order), 10**9))


def test_a_cut_is_no_end():
    for upto in range(len(ORDERLY)):
        assert guarded(scanned(b"".join(ORDERLY[:upto]), 5)).state is not State.DONE
    assert guarded(scanned(b"".join(ORDERLY), 5)).state is State.DONE


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "no"}}},
            ServerFailed,
        ),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, RateLimited),
    ],
)
def test_a_failure_in_the_stream(event, kind):
    scanner = DIALECT.scanner()
    (signal,) = scanner.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert isinstance(signal.error, kind)


def test_an_incomplete_answer_ends_with_its_reason():
    response = {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [],
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    signals = DIALECT.read_answer(json.dumps(response).encode())
    assert heard(signals)["finish"] == ["max_output_tokens"]


def test_edits_of_several_events():
    raw = b"".join(ORDERLY[:3])
    only = DIALECT.edit(raw, Edit(text="x"))
    assert b"response.created" not in only
    assert json.loads(only.split(b"data: ")[1].split(b"\n")[0])["delta"] == "x"
    renamed = DIALECT.edit(raw, Edit(id="first", model="same"))
    created = json.loads(renamed.split(b"data: ")[1].split(b"\n")[0])
    assert (created["response"]["id"], created["response"]["model"]) == ("first", "same")
    assert DIALECT.edit(ORDERLY[-1], Edit(drop_finish=frozenset({0}))) == b""


def test_text_in_a_second_place_cant_be_resumed_as_one():
    first, second = ORDERLY[1], ORDERLY[2].replace(b'"content_index": 0', b'"content_index": 1')
    signals = scanned(ORDERLY[0] + first + second, 10**9)
    assert signals[1].beats[0][1] == TEXT
    assert signals[2].beats[0][1] & ~TEXT


@pytest.mark.parametrize(
    ("overrides", "field", "value"),
    [
        ({"max_tokens": 9}, "max_output_tokens", 9),
        ({"max_completion_tokens": 8}, "max_output_tokens", 8),
        ({"reasoning_effort": "low"}, "reasoning", {"summary": "auto", "effort": "low"}),
        ({"temperature": 0.5}, "temperature", 0.5),
    ],
)
def test_a_routes_parameters_go_where_this_dialect_has_them(overrides, field, value):
    envelope = DIALECT.read_request(b'{"model":"m","input":"hi","reasoning":{"summary":"auto"}}')
    sent = json.loads(DIALECT.write_request(envelope, model="m", overrides=overrides))
    assert sent[field] == value
    assert "max_tokens" not in sent


@given(st.binary(max_size=200))
def test_anything_is_read_or_refused(body):
    for dialect in (DIALECT, OpenAIEmbeddings()):
        try:
            dialect.read_request(body)
        except InvalidRequest as error:
            assert error.message  # noqa: PT017  # every refusal says why
        assert dialect.read_answer(body)
    scanned(body, 3)
    scanned(b"data: " + body + b"\n\n", 1000)


EMBEDDINGS = recordings("embeddings")


@pytest.mark.parametrize("exchange", EMBEDDINGS, ids=[each["id"] for each in EMBEDDINGS])
def test_embeddings(exchange):
    dialect = OpenAIEmbeddings()
    envelope = dialect.read_request(json.dumps(exchange["request"]).encode())
    sent = json.loads(
        dialect.write_request(envelope, model="other", overrides={"max_tokens": 5, "temperature": 1})
    )
    assert sent == {**exchange["request"], "model": "other"}
    signals = dialect.read_answer(json.dumps(exchange["response"]).encode())
    guard = Guard(dialect)
    guard.feed(signals)
    assert guard.state is State.DONE
    assert guard.usage is not None
    assert (guard.usage.input_tokens, guard.usage.output_tokens) == (
        exchange["response"]["usage"]["prompt_tokens"],
        0,
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":"m","input":""}', "input"),
        (b'{"model":"m","input":[]}', "input"),
        (b'{"model":"","input":"x"}', "model"),
        (b'{"input":"x"}', "model"),
        (b'{"model":"m","input":5}', "input"),
        (b'{"model":"m","input":"x","stream":true}', "stream"),
    ],
)
def test_what_is_no_request_for_embeddings(body, param):
    with pytest.raises(InvalidRequest) as caught:
        OpenAIEmbeddings().read_request(body)
    assert caught.value.param == param
