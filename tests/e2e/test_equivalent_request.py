"""Whoever serves was asked what the caller asked: a chain of six providers in three dialects, failing from the front.

The caller's own bytes are what its SDK sends to a provider that it reaches without us. What each provider of the chain
received is read by that provider's own codec, and must say the same in every field that both dialects promise to carry.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google
from tests.e2e.cli_process import holdfast
from tests.support.gateway import document_of, run_gateway
from tests.support.http import ask
from tests.support.replay import json_answer, replaying
from tests.support.sdks import IMAGE, TOOL
from tests.support.six import DIALECT_OF, SIX, six_providers
from tests.wire.speakers import SPEAKERS
from tests.wire.test_translate_and_back import asked_of, promised, views

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.gateway import Running
    from tests.support.replay import Replay, Script

LABELS = dict.fromkeys(((dialect, None) for dialect in SPEAKERS), "connection_lost") | {
    ("gemini", 529): "server_failed"  # a status that Google doesn't use
}
FAILURES = ("503", "529", "reset")
SCRIPTS = {"m-ok": "tokens=7"} | {f"m-{failure}": failure for failure in FAILURES}
SYSTEM, QUESTION, RESULTS = "Be brief.", "Where is it warmer?", ("17 degrees", "21 degrees")
RICH = frozenset((
    "system", "text", "image.data", "tool_call", "tool_calls.parallel", "tool_result.text", "tools", "tool_choice.auto",
    "max_output_tokens", "temperature", "stop",
))  # fmt: skip  # a list reads better packed
CITIES = ("Oslo", "Rome")
PLACES = {
    "/v1/chat/completions": "openai",
    "/v1/messages": "anthropic",
    "/chat/completions": "deepseek",
    "/v1beta/models": "gemini",
    "/openai": "azure",
    "/api/v1/chat/completions": "openrouter",
}


def failing(count: int, provider: str) -> str:
    """The target in a chain whose first ``count`` fail, each in its own way."""
    at = SIX.index(provider)
    return f"{provider}/m-{FAILURES[at % len(FAILURES)]}" if at < count else f"{provider}/m-ok"


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    document = document_of(
        chaos.base_url, tmp_path_factory.mktemp("equivalent") / "ledger.db", models=SCRIPTS
    )
    document["providers"] = six_providers(chaos.url)
    document["retry"] = {"max_retries": 0}
    document["breaker"] = {"enabled": False}
    document["routes"] = {
        f"m-chain-{count}": {"targets": [failing(count, provider) for provider in SIX]}
        for count in range(len(SIX) + 1)
    }
    document["routes"]["all-but-openai"] = {"targets": ["anthropic/m-ok", "gemini/m-ok"]}
    document["routes"]["all-but-anthropic"] = {"targets": ["openai/m-ok", "gemini/m-ok"]}
    document["routes"]["all-but-gemini"] = {"targets": ["openai/m-ok", "anthropic/m-ok"]}
    with run_gateway(document) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(chaos: Chaos) -> None:
    chaos.reset()


def by_openai(url: str, model: str, *, stream: bool) -> str:
    calls = [
        {
            "id": f"call_{at}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
        }
        for at, city in enumerate(CITIES)
    ]
    results = [
        {"role": "tool", "tool_call_id": f"call_{at}", "content": each} for at, each in enumerate(RESULTS)
    ]
    shown = "data:image/png;base64," + base64.b64encode(IMAGE).decode()
    picture = [{"type": "image_url", "image_url": {"url": shown}}]
    asked: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": [{"type": "text", "text": QUESTION}, *picture]},
            {"role": "assistant", "content": "I'll look.", "tool_calls": calls},
            *results,
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "get_weather", "description": "Weather.", "parameters": TOOL},
            }
        ],
        "tool_choice": "auto",
        "max_completion_tokens": 99,
        "temperature": 0.25,
        "stop": ["END", "STOP"],
    }
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        if not stream:
            return client.chat.completions.create(**asked).choices[0].message.content or ""
        chunks = client.chat.completions.create(**asked, stream=True)
        return "".join(
            choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.delta
        )


def by_anthropic(url: str, model: str, *, stream: bool) -> str:
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(IMAGE).decode()}
    calls = [
        {"type": "tool_use", "id": f"toolu_{at}", "name": "get_weather", "input": {"city": city}}
        for at, city in enumerate(CITIES)
    ]
    results = [
        {"type": "tool_result", "tool_use_id": f"toolu_{at}", "content": each}
        for at, each in enumerate(RESULTS)
    ]
    picture = [{"type": "image", "source": source}]
    asked: dict[str, Any] = {
        "model": model,
        "system": SYSTEM,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": QUESTION}, *picture]},
            {"role": "assistant", "content": [{"type": "text", "text": "I'll look."}, *calls]},
            {"role": "user", "content": results},
        ],
        "tools": [{"name": "get_weather", "description": "Weather.", "input_schema": TOOL}],
        "tool_choice": {"type": "auto"},
        "max_tokens": 99,
        "extra_body": {"temperature": 0.25},
        "stop_sequences": ["END", "STOP"],
    }
    with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client:
        if not stream:
            answer = client.messages.create(**asked)
        else:
            with client.messages.stream(**asked) as events:
                answer = events.get_final_message()
    return "".join(block.text for block in answer.content if block.type == "text")


def by_google(url: str, model: str, *, stream: bool) -> str:
    picture = [google.Part.from_bytes(data=IMAGE, mime_type="image/png")]
    calls = [google.Part.from_function_call(name="get_weather", args={"city": city}) for city in CITIES]
    results = [
        google.Part.from_function_response(name="get_weather", response={"output": each}) for each in RESULTS
    ]
    asked: dict[str, Any] = {
        "model": model,
        "contents": [
            google.Content(role="user", parts=[google.Part(text=QUESTION), *picture]),
            google.Content(role="model", parts=[google.Part(text="I'll look."), *calls]),
            google.Content(role="user", parts=results),
        ],
        "config": {
            "system_instruction": SYSTEM,
            "tools": [
                {
                    "function_declarations": [
                        {"name": "get_weather", "description": "Weather.", "parameters_json_schema": TOOL}
                    ]
                }
            ],
            "tool_config": {"function_calling_config": {"mode": "AUTO"}},
            "automatic_function_calling": {"disable": True},
            "max_output_tokens": 99,
            "temperature": 0.25,
            "stop_sequences": ["END", "STOP"],
        },
    }
    with closing(genai.Client(api_key="x", http_options={"base_url": url})) as client:
        if not stream:
            return client.models.generate_content(**asked).text or ""
        return "".join(chunk.text or "" for chunk in client.models.generate_content_stream(**asked))


CALLERS: dict[str, tuple[str, Callable[..., str]]] = {
    "openai": ("openai_chat", by_openai),
    "anthropic": ("anthropic", by_anthropic),
    "google": ("gemini", by_google),
}
every_caller = pytest.mark.parametrize("caller", CALLERS)


def arrived(chaos: Chaos, count: int) -> list[Any]:
    return chaos.wait_for(
        lambda entries: len(entries) >= count and all(entry.end is not None for entry in entries) and entries
    )


def provider_of(entry: Any) -> str:
    return next(name for path, name in PLACES.items() if entry.path.startswith(path))


def check_equal(caller: str, own: bytes, entry: Any) -> None:
    """What the provider received says what the caller said, in every field that both promise to carry."""
    dialect, theirs = CALLERS[caller][0], DIALECT_OF[provider_of(entry)]
    asked = SPEAKERS[dialect][0].decode_request(own)
    received = SPEAKERS[theirs][0].decode_request(_with_model(entry.body))
    names = asked_of(asked, promised(dialect, theirs), theirs)
    assert set(names) >= RICH, "the conversation isn't as rich as it should be"
    assert views(received, names, theirs) == views(asked, names, theirs)


def _with_model(body: bytes) -> bytes:
    """Where the model stands in the path."""
    return json.dumps({"model": "m", **json.loads(body)}).encode()


@every_caller
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("count", range(len(SIX)))
def test_each_provider_of_a_failing_chain_was_asked_the_same(
    gateway: Running, chaos: Chaos, caller: str, stream: bool, count: int
) -> None:
    speak = CALLERS[caller][1]
    speak(chaos.url, "m-ok", stream=stream)
    (direct,) = arrived(chaos, 1)
    chaos.reset()
    text = speak(f"http://127.0.0.1:{gateway.port}", f"m-chain-{count}", stream=stream)
    entries = arrived(chaos, count + 1)
    assert [provider_of(entry) for entry in entries] == list(SIX[: count + 1])
    assert text == entries[-1].text != ""
    for entry in entries:
        check_equal(caller, direct.body, entry)


@every_caller
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_if_all_fail_one_error_lists_what_each_said(
    gateway: Running, chaos: Chaos, caller: str, stream: bool
) -> None:
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError, google_errors.APIError)) as caught:
        CALLERS[caller][1](f"http://127.0.0.1:{gateway.port}", f"m-chain-{len(SIX)}", stream=stream)
    error: Any = caught.value
    assert (getattr(error, "status_code", None) or error.code) == 502
    entries = arrived(chaos, len(SIX))
    assert [provider_of(entry) for entry in entries] == list(SIX)
    told = [
        (failing(len(SIX), provider), LABELS.get((DIALECT_OF[provider], entry.status), "overloaded"))
        for provider, entry in zip(SIX, entries, strict=True)
    ]
    assert ATTEMPTS[caller](error) == told


def _google_attempts(error: Any) -> list[tuple[str, ...]]:
    (info,) = [each for each in error.details["error"]["details"] if each["@type"].endswith("DebugInfo")]
    return [tuple(entry.split(": ")[:2]) for entry in info["stackEntries"]]


ATTEMPTS: dict[str, Callable[[Any], list[tuple[str, ...]]]] = {
    "openai": lambda error: [(each["target"], each["error"]) for each in error.body["attempts"]],
    "anthropic": lambda error: [(each["target"], each["error"]) for each in error.body["error"]["attempts"]],
    "google": _google_attempts,
}


class TestToolsThatTheProviderRuns:
    """They mean something to one dialect alone: there they arrive as they were, and nobody else is asked."""

    TOOLS: ClassVar[dict[str, dict[str, Any]]] = {
        "openai": {"type": "web_search", "search_context_size": "low"},
        "anthropic": {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        "gemini": {"googleSearch": {"timeRangeFilter": {"startTime": "2026-01-01T00:00:00Z"}}},
    }

    def ask(self, gateway: Running, owner: str, model: str) -> Any:
        tools = [self.TOOLS[owner]]
        messages = [{"role": "user", "content": "hi"}]
        path, body = {
            "openai": ("/v1/chat/completions", {"model": model, "messages": messages, "tools": tools}),
            "anthropic": (
                "/v1/messages",
                {"model": model, "messages": messages, "tools": tools, "max_tokens": 9},
            ),
            "gemini": (
                f"/v1beta/models/{model}:generateContent",
                {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "tools": tools},
            ),
        }[owner]
        return asyncio.run(ask(gateway.port, body, path=path))

    @pytest.mark.parametrize("owner", TOOLS)
    def test_they_reach_their_own_and_the_others_are_passed_over(self, told, owner) -> None:
        gateway, provider = told
        before = len(provider.requests)
        answer = self.ask(gateway, owner, f"for-{owner}")
        assert answer.status == 200, answer.body
        (request,) = provider.requests[before:]
        assert request.json["tools"] == [self.TOOLS[owner]]
        assert answer.headers["x-holdfast-provider"] == owner
        gateway.run(gateway.app.ledger.flush())
        shown = holdfast(gateway.path.parent, "ledger", "show", answer.id, "--ledger", gateway.path).stdout
        for other in self.TOOLS.keys() - {owner}:
            assert re.search(rf"skipped +{other}/m-ok: tools", shown), shown

    @pytest.mark.parametrize("owner", TOOLS)
    def test_if_no_target_has_them_it_says_what_and_who(self, gateway, chaos, owner) -> None:
        answer = self.ask(gateway, owner, f"all-but-{owner}")
        assert answer.status == 400
        message = answer.json["error"]["message"]
        assert "tools" in message
        for other in self.TOOLS.keys() - {owner}:
            assert f"{other}/m-ok" in message
        assert chaos.journal() == []


_DONE: Script = {
    ("POST", "/v1/chat/completions"): json_answer(
        {
            "id": "a", "object": "chat.completion", "created": 1, "model": "m-ok",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        }
    ),
    ("POST", "/v1/messages"): json_answer(
        {
            "id": "a", "type": "message", "role": "assistant", "model": "m-ok", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "x"}], "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    ),
    ("POST", "/v1beta/models/m-ok:generateContent"): json_answer(
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": "STOP"}]}
    ),
}  # fmt: skip  # answers read better packed


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Replay]]:
    """Providers that take such tools, which the simulated ones needn't."""
    with replaying(_DONE) as provider:
        document = document_of("http://127.0.0.1:9/v1", tmp_path_factory.mktemp("tools") / "ledger.db")
        three = ("openai", "anthropic", "gemini")
        document["providers"] = {
            name: six for name, six in six_providers(provider.base_url).items() if name in three
        }
        document["prices"] = {"m-ok": {"input_per_1m": 1, "output_per_1m": 1}}
        document["routes"] = {
            f"for-{owner}": {
                "targets": [f"{name}/m-ok" for name in sorted(three, key=lambda name: name == owner)]
            }
            for owner in three
        }
        with run_gateway(document) as running:
            yield running, provider
