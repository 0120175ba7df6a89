"""Responses, embeddings and counts of tokens: only passed through, with everything that holds for chat."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from google import genai
from tests.support.gateway import CANARY, PRICE_IN, PRICE_OUT, document_of, run_gateway
from tests.support.replay import Recorded, every, json_answer, replaying, sse_answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.gateway import Running
    from tests.support.replay import Replay

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m-1",
    "status": "completed",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "one two", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    },
}


def events(*, upto: int | None = None) -> list[dict[str, Any]]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    made = [
        {
            "type": "response.created",
            "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None},
        },
        {"type": "response.output_text.delta", "delta": "one ", "logprobs": [], **place},
        {"type": "response.output_text.delta", "delta": "two", "logprobs": [], **place},
        {"type": "response.completed", "response": RESPONSE},
    ]
    return [{**event, "sequence_number": at} for at, event in enumerate(made)][:upto]


EMBEDDING = {
    "object": "list",
    "model": "e-1",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}
BUSY = json_answer({"error": {"message": "busy", "type": "server_error", "param": None, "code": None}}, 503)
COST = Decimal(10 * PRICE_IN + 5 * PRICE_OUT).scaleb(-9)


@pytest.fixture
def one() -> Iterator[Replay]:
    with replaying({}) as server:
        yield server


@pytest.fixture
def two() -> Iterator[Replay]:
    with replaying({}) as server:
        yield server


@pytest.fixture
def gateway(one: Replay, two: Replay, tmp_path: Path) -> Iterator[Running]:
    document = document_of("", tmp_path / "ledger.db", models=["one/m", "two/m"])
    document["providers"] = {
        "one": {"dialect": "openai_chat", "base_url": f"{one.base_url}/v1", "api_key": CANARY},
        "two": {
            "dialect": "openai_chat",
            "base_url": f"{two.base_url}/v1",
            "api_key": CANARY,
            "unsupported": ["image"],
        },
        "claude": {"dialect": "anthropic", "base_url": f"{one.base_url}/v1", "api_key": CANARY},
        "google": {"dialect": "gemini", "base_url": f"{one.base_url}/v1beta", "api_key": CANARY},
    }
    document["routes"] = {
        "chat": {"targets": ["one/m", "two/m"]},
        "mixed": {"targets": ["claude/c", "one/m"]},
        "counting": {"targets": ["one/m", "claude/c", "google/g"]},
        "resuming": {"targets": ["one/m", "two/m"], "on_break": "resume"},
        "foreign": {"targets": ["claude/c", "google/g"]},
    }
    document["retry"] = {"max_retries": 0}
    with run_gateway(document) as running:
        yield running


@pytest.fixture
def client(gateway: Running) -> Iterator[openai.OpenAI]:
    url = f"http://127.0.0.1:{gateway.port}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as caller:
        yield caller


@pytest.fixture
def claude(gateway: Running) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{gateway.port}"
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as caller:
        yield caller


@pytest.fixture
def google(gateway: Running) -> Iterator[genai.Client]:
    caller = genai.Client(api_key="none", http_options={"base_url": f"http://127.0.0.1:{gateway.port}"})
    yield caller
    caller.close()


def script(server: Replay, path: str, *answers: Recorded) -> None:
    server.script[("POST", path)] = list(answers)


def the_record(gateway: Running) -> Any:
    (record,) = gateway.records().values()
    return record


class TestResponses:
    def test_plain_with_fallback_cost_and_a_record(self, gateway, client, one, two) -> None:
        script(one, "/v1/responses", BUSY)
        script(two, "/v1/responses", json_answer(RESPONSE))
        raw = client.responses.with_raw_response.create(
            model="chat", input="hi", max_output_tokens=100, extra_body={"unknown_field": {"kept": [1]}}
        )
        assert raw.parse().output_text == "one two"
        assert raw.headers["x-holdfast-provider"] == "two"
        assert raw.headers["x-holdfast-attempts"] == "2"
        assert Decimal(raw.headers["x-holdfast-cost-usd"]) == COST
        sent = json.loads(two.requests[0].body)
        assert sent == {"model": "m", "input": "hi", "max_output_tokens": 100, "unknown_field": {"kept": [1]}}
        record = the_record(gateway)
        assert (record.intent.dialect, record.end.state, record.end.finish_reason) == (
            "openai_responses",
            "ok",
            "completed",
        )
        assert (record.end.usage.input_tokens, record.end.usage.output_tokens) == (10, 5)
        assert [row.outcome for row in record.end.attempts] == ["overloaded", "ok"]
        assert record.cost_usd == COST

    @pytest.mark.parametrize("size", [1, 50, 10**6])
    def test_streamed_however_it_is_cut(self, gateway, client, one, size) -> None:
        script(one, "/v1/responses", sse_answer(events(), named=True, cut=every(size)))
        seen = list(client.responses.create(model="chat", input="hi", stream=True))
        assert [event.type for event in seen] == [event["type"] for event in events()]
        assert seen[-1].response.usage.output_tokens == 5
        record = the_record(gateway)
        assert (record.end.state, record.cost_usd) == ("ok", COST)

    def test_a_cut_is_told_and_costs_its_bound(self, gateway, client, one) -> None:
        script(one, "/v1/responses", sse_answer(events(upto=3), named=True))
        stream = client.responses.create(model="chat", input="hi", stream=True, max_output_tokens=100)
        heard = [next(stream).type for _ in events(upto=3)]
        with pytest.raises(openai.APIError):
            next(stream)
        assert heard == [event["type"] for event in events(upto=3)]
        record = the_record(gateway)
        assert (record.end.state, record.end.attempts[0].billed) == ("failed", "bound")

    def test_a_numbered_stream_is_never_gone_on_with(self, gateway, client, one, two) -> None:
        """Another attempt's events have numbers and item ids of their own: the SDK would refuse them."""
        script(one, "/v1/responses", sse_answer(events(upto=2), named=True))
        script(two, "/v1/responses", sse_answer(events(), named=True))
        stream = client.responses.create(model="resuming", input="hi", stream=True)
        assert [next(stream).type for _ in range(2)] == [event["type"] for event in events(upto=2)]
        with pytest.raises(openai.APIError):
            next(stream)
        assert two.requests == []

    def test_what_a_provider_doesnt_take_is_no_hindrance_here(self, gateway, client, two) -> None:
        script(two, "/v1/responses", json_answer(RESPONSE))
        assert client.responses.create(model="two/m", input="an image of the sea").output_text == "one two"

    def test_a_target_that_speaks_something_else_is_passed_over(self, gateway, client, one) -> None:
        script(one, "/v1/responses", json_answer(RESPONSE))
        assert client.responses.create(model="mixed", input="hi").output_text == "one two"
        record = the_record(gateway)
        assert record.end.skipped == (("claude/c", "model"),)
        assert len(record.end.attempts) == 1

    def test_where_no_target_speaks_it_nothing_is_sent(self, gateway, client, one) -> None:
        with pytest.raises(openai.BadRequestError, match=r"claude/c.*google/g") as caught:
            client.responses.create(model="foreign", input="hi")
        assert caught.value.code == "unsupported_by_target"
        assert one.requests == []

    def test_what_cant_be_recorded_honestly_is_refused(self, gateway, client, one) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="chat", input="hi", background=True)
        assert caught.value.param == "background"
        assert one.requests == []


class TestEmbeddings:
    def test_vectors_usage_and_cost(self, gateway, client, one, two) -> None:
        script(one, "/v1/embeddings", BUSY)
        script(two, "/v1/embeddings", json_answer(EMBEDDING))
        answer = client.embeddings.create(model="chat", input="hi", encoding_format="float")
        assert answer.data[0].embedding == [0.25, -1.5]
        record = the_record(gateway)
        assert record.intent.dialect == "openai_embeddings"
        assert record.cost_usd == Decimal(7 * PRICE_IN).scaleb(-9)

    def test_an_error_of_the_callers_comes_in_the_providers_words(self, gateway, client, one, two) -> None:
        refused = {
            "error": {"message": "too long", "type": "invalid_request_error", "param": "input", "code": None}
        }
        script(one, "/v1/embeddings", json_answer(refused, 400))
        with pytest.raises(openai.BadRequestError, match="too long"):
            client.embeddings.create(model="chat", input="hi")
        assert two.requests == []


class TestCounting:
    def test_anthropic_counts_by_an_anthropic_target_for_nothing(self, gateway, claude, one) -> None:
        script(one, "/v1/messages/count_tokens", json_answer({"input_tokens": 42}))
        messages: Any = [{"role": "user", "content": "hi"}]
        assert claude.messages.count_tokens(model="counting", messages=messages).input_tokens == 42
        (request,) = one.requests
        assert request.headers["anthropic-version"] == "2026-10-21"  # the caller's own, not ours
        assert json.loads(request.body) == {"model": "c", "messages": messages}
        record = the_record(gateway)
        assert (record.cost_usd, record.end.attempts[0].billed) == (0, "none")
        assert record.end.skipped == (("one/m", "model"),)

    def test_google_counts_by_a_google_target(self, gateway, google, one) -> None:
        script(one, "/v1beta/models/g:countTokens", json_answer({"totalTokens": 7}))
        assert google.models.count_tokens(model="counting", contents="hi").total_tokens == 7
        assert the_record(gateway).cost_usd == 0
