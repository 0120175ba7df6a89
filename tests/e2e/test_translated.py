"""What can't be said is told, not dropped: skipped targets, refusals in the caller's words, permitted omissions."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import document_of, run_gateway
from tests.support.http import ask
from tests.support.sdks import SDKS, Turn
from tests.support.six import six_providers

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway import Running

SCRIPTS = {"m-text": "tokens=6", "m-think-tool": "tools=1 reasoning=5", "m-down": "503"}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    document = document_of(
        chaos.base_url, tmp_path_factory.mktemp("translated") / "ledger.db", models=SCRIPTS
    )
    document["providers"] = six_providers(chaos.url)
    document["providers"]["blind"] = {
        "dialect": "openai_chat",
        "base_url": chaos.base_url,
        "auth": "none",
        "unsupported": ["image", "seed"],
    }
    document["providers"]["older"] = {
        **document["providers"]["blind"],
        "unsupported": ["max_completion_tokens", "seed"],
    }
    document["routes"] = {
        "seeded": {"targets": ["anthropic/m-text", "openai/m-text"]},
        "unsayable": {"targets": ["anthropic/m-text", "anthropic/m-down"]},
        "seedless": {"targets": ["anthropic/m-text"], "drop": ["seed"]},
        "strict": {"targets": ["openai/m-text"], "drop": []},
        "lenient": {"targets": ["openai/m-text"]},
        "set": {
            "targets": [{"target": "gemini/m-text", "set": {"labels": {"team": "a"}}}],
            "set": {"temperature": 0.25, "max_tokens": 33, "stop": ["END"]},
        },
        "blind-first": {"targets": ["blind/m-text", "openai/m-text"]},
        "older": {"targets": ["older/m-text"], "drop": ["seed"]},
        "seedless-blind": {"targets": ["blind/m-text"], "drop": ["seed"]},
        "down-then-unsayable": {"targets": ["openai/m-down", "anthropic/m-text"]},
    }
    document["retry"] = {"max_retries": 0}
    with run_gateway(document) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(chaos: Chaos) -> None:
    chaos.reset()


def post(gateway: Running, path: str, body: dict[str, Any], **headers: str) -> Any:
    return asyncio.run(ask(gateway.port, json.dumps(body).encode(), path=path, headers=headers))


def chat(gateway: Running, model: str, **more: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    return post(gateway, "/v1/chat/completions", body)


THOUGHTFUL = [
    {"role": "user", "content": "hi"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "so", "cache_control": {"type": "ephemeral"}},
        ],
    },
    {"role": "user", "content": "and?"},
]


def test_a_target_that_cant_say_it_is_passed_over_and_recorded(gateway, chaos) -> None:
    answer = chat(gateway, "seeded", seed=7)
    assert answer.status == 200
    assert (answer.headers["x-holdfast-provider"], answer.headers["x-holdfast-attempts"]) == ("openai", "1")
    (entry,) = chaos.journal()
    assert json.loads(entry.body)["seed"] == 7
    assert gateway.record(answer.id).end.skipped == (("anthropic/m-text", "seed"),)


@pytest.mark.parametrize(
    ("path", "body", "field", "error"),
    [
        (
            "/v1/chat/completions",
            {"model": "unsayable", "messages": [{"role": "user", "content": "hi"}], "seed": 7},
            "seed",
            lambda said: (said["error"]["param"], said["error"]["code"]),
        ),
        (
            "/v1beta/models/unsayable:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"seed": 7}},
            "generationConfig.seed",
            lambda said: (
                next(each["fieldViolations"][0]["field"] for each in said["error"]["details"] if "fieldViolations" in each),
                next(each["reason"].lower() for each in said["error"]["details"] if "reason" in each),
            ),
        ),
    ],
)  # fmt: skip
def test_if_none_can_the_caller_learns_what_and_who_in_its_own_words(
    gateway, chaos, path, body, field, error
) -> None:
    answer = post(gateway, path, body)
    assert answer.status == 400
    said = json.loads(answer.body)
    assert error(said) == (field, "unsupported_by_target")
    message = said["error"]["message"]
    assert "anthropic/m-text" in message
    assert "anthropic/m-down" in message
    assert chaos.journal() == []
    record = gateway.record(answer.id)
    assert (record.end.state, record.end.error_label, record.end.cost_nano) == ("failed", "cant_express", 0)
    assert len(record.end.skipped) == 2


def test_an_anthropic_caller_learns_it_too(gateway, chaos) -> None:
    body = {"model": "strict", "max_tokens": 9, "messages": THOUGHTFUL}
    answer = post(gateway, "/v1/messages", body)
    assert answer.status == 400
    said = json.loads(answer.body)
    assert (said["type"], said["error"]["type"]) == ("error", "invalid_request_error")
    assert said["error"]["param"].startswith("messages[1].content[")
    assert "openai/m-text" in said["error"]["message"]
    assert chaos.journal() == []


@pytest.mark.parametrize("caller", SDKS)
def test_what_a_server_of_ones_own_dialect_doesnt_take_is_a_reason_too(gateway, chaos, caller) -> None:
    """``unsupported``: the dialect could say it, this provider's models can't read it."""
    with SDKS[caller](f"http://127.0.0.1:{gateway.port}") as sdk:
        assert sdk.ask("blind-first", Turn(prompt="What is this?", image=True)).text
        assert len(chaos.journal(model="m-text")) == 1
        assert sdk.ask("blind-first", Turn(prompt="An image of the sea, in words.")).text
    skipped = [
        record.end.skipped for record in gateway.records().values() if record.intent.model == "blind-first"
    ]
    assert skipped.count((("blind/m-text", "image"),)) >= 1
    assert skipped.count(()) >= 1


def test_an_unsupported_parameter_may_be_dropped(gateway, chaos) -> None:
    answer = chat(gateway, "seedless-blind", seed=7)
    assert (answer.status, answer.headers["x-holdfast-dropped"]) == (200, "seed")
    assert b"seed" not in chaos.journal()[0].body


@pytest.mark.parametrize("more", [{}, {"seed": 7}, {"max_tokens": 5}])
def test_the_output_limit_goes_by_the_name_that_the_provider_has_for_it(gateway, chaos, more) -> None:
    """That takes nobody's permission: nothing is left out."""
    answer = chat(gateway, "older", max_completion_tokens=9, **more)
    assert answer.status == 200
    assert answer.headers.get("x-holdfast-dropped") == ("seed" if "seed" in more else None)
    sent = json.loads(chaos.journal()[0].body)
    assert sent["max_tokens"] == 9, "the larger of both, which is what was set aside"
    assert "max_completion_tokens" not in sent


def test_what_the_route_permits_is_left_out_and_told(gateway, chaos) -> None:
    answer = chat(gateway, "seedless", seed=7)
    assert (answer.status, answer.headers["x-holdfast-dropped"]) == (200, "seed")
    assert b"seed" not in chaos.journal()[0].body
    plain = chat(gateway, "seedless")
    assert "x-holdfast-dropped" not in plain.headers


def test_hints_and_one_providers_own_thoughts_may_go_unless_the_route_is_strict(gateway, chaos) -> None:
    answer = post(gateway, "/v1/messages", {"model": "lenient", "max_tokens": 9, "messages": THOUGHTFUL})
    assert answer.status == 200
    assert set(answer.headers["x-holdfast-dropped"].split(", ")) == {"reasoning.foreign", "cache_control"}
    sent = json.loads(chaos.journal()[0].body)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert "so" in str(sent[1])


def test_if_others_failed_their_failure_is_the_answer(gateway, chaos) -> None:
    answer = chat(gateway, "down-then-unsayable", seed=7)
    assert answer.status == 502
    assert answer.error["code"] == "all_targets_failed"
    assert [each["target"] for each in answer.error["attempts"]] == ["openai/m-down"]
    assert gateway.record(answer.id).end.skipped == (("anthropic/m-text", "seed"),)


def test_a_routes_parameters_are_said_in_the_targets_words(gateway, chaos) -> None:
    answer = chat(gateway, "set", temperature=1.0)
    assert answer.status == 200
    sent = json.loads(chaos.journal()[0].body)
    config = sent["generationConfig"]
    assert (config["temperature"], config["maxOutputTokens"], config["stopSequences"]) == (0.25, 33, ["END"])
    assert sent["labels"] == {"team": "a"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("caller", "first", "then"),
    [
        ("anthropic", "gemini", "anthropic"),
        ("anthropic", "openrouter", "anthropic"),
        ("openai", "anthropic", "openrouter"),
        ("openai", "gemini", "openai"),
        ("google", "anthropic", "gemini"),
        ("google", "openrouter", "gemini"),
        ("anthropic", "gemini", "openrouter"),
        ("google", "anthropic", "openrouter"),
    ],
)
def test_one_providers_signature_never_reaches_another(gateway, chaos, caller, first, then, stream) -> None:
    """Each provider refuses what it didn't sign: a conversation that changes providers must still go on."""
    with SDKS[caller](f"http://127.0.0.1:{gateway.port}") as sdk:
        turn = Turn(prompt="Think, then call.", tools=True, thinking=True, stream=stream)
        said = sdk.ask(f"{first}/m-think-tool", turn)
        (call,) = said.calls
        before = (*sdk.prompt(turn), said.turn)
        last = Turn(tools=True, stream=stream, before=before, results=((call, "done"),))
        answer = sdk.ask(f"{then}/m-text", last)
    assert answer.text
    entry = chaos.journal(model="m-text")[-1]
    assert b"holdfast:" not in entry.body
    assert b"aG9sZGZhc3Q6" not in entry.body
    assert b"done" in entry.body


def test_tags_and_sessions_of_every_sdk_are_recorded(gateway) -> None:
    headers = {"x-holdfast-session": "s-1", "x-holdfast-tags": "team=a"}
    body = {"model": "lenient", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    answer = post(gateway, "/v1/messages", body, **headers)
    assert answer.headers["request-id"] == answer.id
    intent = gateway.record(answer.id).intent
    assert (intent.session, intent.tags, intent.dialect) == ("s-1", {"team": "a"}, "anthropic")
