"""Whoever serves was asked what the caller asked: a chain of six providers in three dialects, failing from the front.

The caller's own bytes are what its SDK sends to a provider that it reaches without us. What each provider of the chain
received is read by that provider's own codec, and must say the same in every field that both dialects promise to carry.
"""

from __future__ import annotations

import base64
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google
from tests.support.gateway import document_of, run_gateway
from tests.support.sdks import IMAGE, TOOL
from tests.support.six import DIALECT_OF, SIX, six_providers
from tests.wire.speakers import SPEAKERS
from tests.wire.test_translate_and_back import asked_of, promised, views

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.gateway import Running

FAILURES = ("503", "529", "reset")
SCRIPTS = {"m-ok": "tokens=7"} | {f"m-{failure}": failure for failure in FAILURES}
SYSTEM, QUESTION, RESULTS = "Be brief.", "Where is it warmer?", ("17 degrees", "21 degrees")
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


def by_openai(url: str, model: str, *, image: bool, stream: bool) -> str:
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
            {"role": "user", "content": [{"type": "text", "text": QUESTION}, *(picture if image else [])]},
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


def by_anthropic(url: str, model: str, *, image: bool, stream: bool) -> str:
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
            {"role": "user", "content": [{"type": "text", "text": QUESTION}, *(picture if image else [])]},
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


def by_google(url: str, model: str, *, image: bool, stream: bool) -> str:
    picture = [google.Part.from_bytes(data=IMAGE, mime_type="image/png")] if image else []
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


def check_equal(caller: str, own: bytes, entry: Any, *, expected: Sequence[str]) -> None:
    """What the provider received says what the caller said, in every field that both promise to carry."""
    dialect, theirs = CALLERS[caller][0], DIALECT_OF[provider_of(entry)]
    asked = SPEAKERS[dialect][0].decode_request(own)
    received = SPEAKERS[theirs][0].decode_request(_with_model(entry.body))
    names = asked_of(asked, promised(dialect, theirs), theirs)
    assert set(names) >= set(expected), "the conversation isn't as rich as it should be"
    assert views(received, names, theirs) == views(asked, names, theirs)


def _with_model(body: bytes) -> bytes:
    """Where the model stands in the path."""
    return json.dumps({"model": "m", **json.loads(body)}).encode()


RICH = (
    "system", "text", "tool_call", "tool_calls.parallel", "tool_result.text", "tools", "tool_choice.auto",
    "max_output_tokens", "temperature", "stop",
)  # fmt: skip  # a list reads better packed


@every_caller
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("image", [False, True], ids=["words", "image"])
@pytest.mark.parametrize("count", range(len(SIX)))
def test_each_provider_of_a_failing_chain_was_asked_the_same(
    gateway: Running, chaos: Chaos, caller: str, stream: bool, image: bool, count: int
) -> None:
    speak = CALLERS[caller][1]
    speak(chaos.url, "m-ok", image=image, stream=stream)
    (direct,) = arrived(chaos, 1)
    chaos.reset()
    order = [provider for provider in SIX if not (image and provider == "deepseek")]  # it takes none
    reached = [provider for provider in order if SIX.index(provider) <= count]
    if image and SIX[count] == "deepseek":
        reached.append(order[order.index("anthropic") + 1])
    text = speak(f"http://127.0.0.1:{gateway.port}", f"m-chain-{count}", image=image, stream=stream)
    entries = arrived(chaos, len(reached))
    assert [provider_of(entry) for entry in entries] == reached
    assert text == entries[-1].text != ""
    for entry in entries:
        check_equal(caller, direct.body, entry, expected=(*RICH, "image.data") if image else RICH)


@every_caller
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_if_all_fail_one_error_lists_what_each_said(
    gateway: Running, chaos: Chaos, caller: str, stream: bool
) -> None:
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError, google_errors.APIError)) as caught:
        CALLERS[caller][1](
            f"http://127.0.0.1:{gateway.port}", f"m-chain-{len(SIX)}", image=False, stream=stream
        )
    error: Any = caught.value
    assert (getattr(error, "status_code", None) or error.code) == 502
    entries = arrived(chaos, len(SIX))
    assert [provider_of(entry) for entry in entries] == list(SIX)
    told = ATTEMPTS[caller](error)
    assert [each["target"] for each in told] == [failing(len(SIX), provider) for provider in SIX]
    assert [each["error"] for each in told] == ["overloaded", "overloaded", "connection_lost"] * 2


ATTEMPTS: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "openai": lambda error: error.body["attempts"],
    "anthropic": lambda error: error.body["error"]["attempts"],
    "google": lambda error: error.details["error"]["attempts"],
}
