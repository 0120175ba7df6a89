"""Counts of tokens by the official SDKs: a target's own where one counts, and else the gateway's."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from google import genai
from tests.support.gateway import document_of, run_gateway
from tests.support.http import ask
from tests.support.replay import json_answer, replaying
from tests.support.six import six_providers

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.gemini import Gemini
from holdfast.providers.tokens import count_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.gateway import Running
    from tests.support.http import Answer

SCRIPTS = {"claude-up": "tokens=1", "gemini-up": "tokens=1", "claude-down": "503", "claude-no": "400"}
MESSAGES: Any = [{"role": "user", "content": "How many tokens are these?"}]
CLAUDE_BODY = {"model": "plain", "messages": MESSAGES, "system": "Be brief."}
GOOGLE_BODY = {"contents": [{"role": "user", "parts": [{"text": "How many tokens are these?"}]}]}
COUNT_HEADERS = ("x-holdfast-token-count", "x-holdfast-token-model", "x-holdfast-token-upper-bound")


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


def configured(chaos: Chaos, folder: Path, **sections: Any) -> dict[str, Any]:
    document = document_of(chaos.base_url, folder / "ledger.db", **sections)
    document["providers"] = six_providers(chaos.url)
    document["routes"] = {
        "plain": {"targets": ["openai/gpt-4o"]},
        "native": {"targets": ["openai/gpt-4o", "anthropic/claude-up", "gemini/gemini-up"]},
        "down": {"targets": ["openai/gpt-4o", "anthropic/claude-down"]},
        "wrong": {"targets": ["openai/gpt-4o", "anthropic/claude-no"]},
    }
    document["retry"] = {"max_retries": 0}
    return document


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_gateway(configured(chaos, tmp_path_factory.mktemp("counts"))) as running:
        yield running
        running.no_traceback()


@pytest.fixture
def claude(gateway: Running) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{gateway.port}"
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as caller:
        yield caller


@pytest.fixture
def google(gateway: Running) -> Iterator[genai.Client]:
    with genai.Client(
        api_key="none", http_options={"base_url": f"http://127.0.0.1:{gateway.port}"}
    ) as caller:
        yield caller


def asked(gateway: Running, body: Any, *, path: str = "/v1/messages/count_tokens", **headers: str) -> Answer:
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asyncio.run(ask(gateway.port, said, path=path, headers=headers))


def told(answer: Answer) -> tuple[str | None, ...]:
    return tuple(answer.headers.get(name) for name in COUNT_HEADERS)


class TestOurs:
    def test_anthropics_sdk_gets_the_count_of_the_routes_model(self, gateway, claude) -> None:
        before = set(gateway.records())
        raw = claude.messages.with_raw_response.count_tokens(
            model="plain", messages=MESSAGES, system="Be brief."
        )
        decoded = Anthropic.codec.decode_request(json.dumps(CLAUDE_BODY).encode())
        count = count_request(decoded, "gpt-4o", "openai")
        assert raw.parse().input_tokens == count.tokens > 10
        assert tuple(raw.headers.get(name) for name in COUNT_HEADERS) == (
            "reconstructed",
            "openai/gpt-4o",
            str(count.upper),
        )
        assert raw.headers["x-holdfast-attempts"] == "0"
        assert set(gateway.records()) == before  # nothing was sent, and nothing can be owed

    def test_googles_sdk_too(self, google) -> None:
        decoded = Gemini.codec.decode_request(json.dumps(GOOGLE_BODY | {"model": "m"}).encode())
        said = google.models.count_tokens(model="plain", contents="How many tokens are these?")
        assert said.total_tokens == count_request(decoded, "gpt-4o", "openai").tokens

    def test_a_whole_request_of_googles_is_counted_whole(self, gateway) -> None:
        path = "/v1beta/models/plain:countTokens"
        whole = GOOGLE_BODY | {"systemInstruction": {"parts": [{"text": "Answer in one word."}]}}
        bare, more = (
            asked(gateway, body, path=path).json["totalTokens"]
            for body in (GOOGLE_BODY, {"generateContentRequest": {"model": "models/plain", **whole}})
        )
        assert more > bare + 3

    def test_no_bound_is_told_where_something_cannot_be_seen(self, gateway) -> None:
        source = {"type": "url", "url": "https://pictures.example/a.png"}
        body = CLAUDE_BODY | {
            "messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]
        }
        assert told(asked(gateway, body)) == ("reconstructed", "openai/gpt-4o", None)

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            (b"{", None),
            ({"model": "plain", "messages": []}, "messages"),
            ({**CLAUDE_BODY, "stream": True}, "stream"),
            (
                {**CLAUDE_BODY, "messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]},
                "text",
            ),
        ],
    )
    def test_what_is_wrong_is_said_as_anthropic_says_it(self, gateway, body, param) -> None:
        answer = asked(gateway, body)
        assert (answer.status, answer.json["type"]) == (400, "error")
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert (param or "JSON") in answer.json["error"]["message"]

    def test_an_unknown_model_is_a_404(self, claude) -> None:
        with pytest.raises(anthropic.NotFoundError):
            claude.messages.count_tokens(model="nobodys", messages=MESSAGES)

    def test_an_idempotency_key_changes_nothing(self, gateway) -> None:
        first, again = (asked(gateway, CLAUDE_BODY, **{"idempotency-key": "k1"}) for _ in range(2))
        assert (first.status, first.json) == (again.status, again.json)
        assert told(first) == told(again)

    def test_while_large_ones_are_counted_others_are_answered(self, gateway) -> None:
        large = CLAUDE_BODY | {"messages": [{"role": "user", "content": "word and 12 " * 150_000}]}

        async def both() -> tuple[list[Answer], Answer]:
            large_body, path = json.dumps(large).encode(), "/v1/messages/count_tokens"
            counting = [asyncio.create_task(ask(gateway.port, large_body, path=path)) for _ in range(3)]
            quick = await ask(gateway.port, json.dumps(CLAUDE_BODY).encode(), path=path)
            return await asyncio.gather(*counting), quick

        answers, quick = asyncio.run(both())
        assert {answer.status for answer in (*answers, quick)} == {200}
        assert {answer.json["input_tokens"] for answer in answers} == {answers[0].json["input_tokens"]}
        assert answers[0].json["input_tokens"] > 450_000


class TestTheirs:
    def test_a_target_that_counts_is_asked(self, gateway, claude, google) -> None:
        raw = claude.messages.with_raw_response.count_tokens(model="native", messages=MESSAGES)
        assert raw.headers["x-holdfast-provider"] == "anthropic"
        assert "x-holdfast-token-count" not in raw.headers
        assert raw.parse().input_tokens > 0
        request_id = raw.headers["x-holdfast-request-id"]
        record = gateway.record(request_id)
        assert (record.end.state, record.cost_usd) == ("ok", 0)
        said = google.models.count_tokens(model="native", contents="How many tokens are these?")
        assert said.total_tokens > 0

    def test_where_it_is_down_the_gateway_counts(self, gateway, claude) -> None:
        raw = claude.messages.with_raw_response.count_tokens(
            model="down", messages=MESSAGES, system="Be brief."
        )
        assert raw.parse().input_tokens > 10
        assert raw.headers["x-holdfast-token-count"] == "calibrated"  # as the model that was asked
        assert raw.headers["x-holdfast-token-model"] == "anthropic/claude-down"
        assert raw.headers["x-holdfast-attempts"] == "1"
        record = gateway.record(raw.headers["x-holdfast-request-id"])
        assert (record.end.state, record.cost_usd) == ("failed", 0)  # so it was, at the target

    def test_what_the_caller_got_wrong_is_told_and_not_counted(self, claude) -> None:
        with pytest.raises(anthropic.BadRequestError):
            claude.messages.count_tokens(model="wrong", messages=MESSAGES)

    def test_where_a_key_is_refused_the_gateway_counts(self, tmp_path, chaos) -> None:
        refused = {"type": "error", "error": {"type": "authentication_error", "message": "no"}}
        with replaying({("POST", "/v1/messages/count_tokens"): json_answer(refused, 401)}) as elsewhere:
            document = configured(chaos, tmp_path)
            document["providers"]["anthropic"]["base_url"] = f"{elsewhere.base_url}/v1"
            with run_gateway(document) as gateway:
                answer = asked(gateway, CLAUDE_BODY | {"model": "native"})
                assert told(answer)[:2] == ("calibrated", "anthropic/claude-up")
        assert len(elsewhere.requests) == 1


def test_rate_limits_hold_for_counts_as_well(tmp_path: Path, chaos: Chaos) -> None:
    document = configured(chaos, tmp_path)
    document["gateway"]["rate"] = {"requests": 2, "window_s": 3600}
    with run_gateway(document) as gateway:
        answers = [asked(gateway, CLAUDE_BODY) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[1].headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert answers[2].json["error"]["type"] == "rate_limit_error"
