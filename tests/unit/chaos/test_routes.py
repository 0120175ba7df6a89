"""Which path speaks which format, where keys are looked for, and in whose words a stranger is refused."""

import json

import httpx2
import pytest

from holdfast.chaos import ChaosConfig, run_chaos

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = {**CHAT, "max_tokens": 9}
CONTENT = {"contents": [{"parts": [{"text": "hi"}]}]}
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig(tokens=2, api_keys=("k",), models=("a", "b"))) as chaos:
        yield chaos


def post(chaos, path, body, **headers):
    return httpx2.post(chaos.url + path, json=body, headers=headers)


def last(chaos):
    return chaos.wait_for(lambda entries: entries and entries[-1].end)[-1]


@pytest.mark.parametrize(
    ("path", "body", "headers", "wire", "model"),
    [
        ("/v1/chat/completions", CHAT, {"authorization": "Bearer k"}, "openai_chat", "m"),
        ("/chat/completions", CHAT, {"authorization": "Bearer k"}, "openai_chat", "m"),
        ("/api/v1/chat/completions", CHAT, {"authorization": "Bearer k"}, "openai_chat", "m"),
        ("/openai/v1/chat/completions", CHAT, {"api-key": "k"}, "openai_chat", "m"),
        ("/openai/v1/chat/completions", CHAT, {"authorization": "Bearer k"}, "openai_chat", "m"),
        ("/openai/deployments/my%20gpt/chat/completions?api-version=2025-04-01-preview", {"messages": CHAT["messages"]},
         {"api-key": "k"}, "openai_chat", "my gpt"),
        ("/openai/deployments/d/chat/completions?api-version=1", CHAT, {"api-key": "k"}, "openai_chat", "d"),
        ("/v1/messages", MESSAGE, {**VERSION, "x-api-key": "k"}, "anthropic", "m"),
        ("/v1/messages?beta=true", MESSAGE, {**VERSION, "authorization": "Bearer k"}, "anthropic", "m"),
        ("/v1beta/models/g:generateContent", CONTENT, {"x-goog-api-key": "k"}, "gemini", "g"),
        ("/v1/models/g:generateContent", CONTENT, {"authorization": "Bearer k"}, "gemini", "g"),
        ("/v1beta/models/g:streamGenerateContent?alt=sse&key=k", CONTENT, {}, "gemini", "g"),
    ],
)  # fmt: skip  # rows side by side
def test_paths(chaos, path, body, headers, wire, model):
    answer = post(chaos, path, body, **headers)
    assert answer.status_code == 200, answer.text
    entry = last(chaos)
    assert (entry.wire, entry.model, entry.path) == (
        wire,
        model,
        httpx2.URL(chaos.url + path).raw_path.decode().partition("?")[0],
    )
    assert entry.key_sha256 == "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a"
    assert "k" not in {*entry.headers.values(), entry.query.removeprefix("alt=sse&")}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/chat/completions", CHAT, {"x-api-key": "k"}, 401),
        ("/v1/chat/completions", CHAT, {"api-key": "k"}, 401),
        ("/openai/v1/chat/completions", CHAT, {"x-api-key": "k"}, 401),
        ("/v1/messages", MESSAGE, {**VERSION, "api-key": "k"}, 401),
        ("/v1/messages", MESSAGE, {**VERSION, "x-goog-api-key": "k"}, 401),
        ("/v1beta/models/g:generateContent", CONTENT, {"x-api-key": "k"}, 400),
        ("/v1beta/models/g:generateContent?key=wrong", CONTENT, {}, 400),
        ("/openai/deployments/d/chat/completions", CHAT, {"api-key": "k"}, 404),
        ("/v1beta/models/g:predict", CONTENT, {"x-goog-api-key": "k"}, 404),
        ("/v1/nothing", CHAT, {"authorization": "Bearer k"}, 404),
    ],
)  # fmt: skip  # rows side by side
def test_keys_in_the_wrong_place_and_paths_that_no_provider_has(chaos, path, body, headers, status):
    answer = post(chaos, path, body, **headers)
    assert answer.status_code == status
    error = answer.json()["error"]
    if "anthropic" in str(headers):
        assert (error["type"], answer.json()["request_id"]) == (
            "authentication_error",
            answer.headers["request-id"],
        )
    elif path.startswith("/v1beta"):
        assert error["code"] == status
        assert isinstance(error["status"], str)
    else:
        assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("path", "headers", "names"),
    [
        ("/v1/models", {"authorization": "Bearer k"}, lambda body: [row["id"] for row in body["data"]]),
        ("/openai/v1/models", {"api-key": "k"}, lambda body: [row["id"] for row in body["data"]]),
        ("/v1/models", {**VERSION, "x-api-key": "k"}, lambda body: [body["first_id"], body["last_id"]]),
        ("/v1/models", {"x-goog-api-key": "k"}, lambda body: [row["name"][7:] for row in body["models"]]),
        ("/v1beta/models?key=k", {}, lambda body: [row["name"][7:] for row in body["models"]]),
    ],
)
def test_lists_of_models(chaos, path, headers, names):
    answer = httpx2.get(chaos.url + path, headers=headers)
    assert (answer.status_code, names(answer.json())) == (200, ["a", "b"])


def test_a_wrong_method_is_405(chaos):
    for path in ("/v1/messages", "/v1beta/models/g:generateContent", "/v1/chat/completions"):
        answer = httpx2.get(chaos.url + path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert httpx2.post(chaos.url + "/v1/models").headers["allow"] == "GET"


def test_the_journal_masks_keys_in_the_query(chaos):
    post(chaos, "/v1beta/models/g:generateContent?key=very-secret&x=", CONTENT)
    entry = last(chaos)
    assert entry.query == "key=%2A%2A%2A&x="
    assert "very-secret" not in json.dumps(httpx2.get(chaos.url + "/admin/journal").json())


def test_statistics_by_wire(chaos):
    chaos.reset()
    post(chaos, "/v1/messages", MESSAGE, **VERSION, **{"x-api-key": "k"})
    assert httpx2.get(chaos.url + "/admin/stats").json()["by_wire"] == {"anthropic": 1}


def test_a_script_holds_for_a_model_whatever_speaks_to_it(chaos):
    chaos.script("g*", "503; ok")
    assert post(chaos, "/v1beta/models/gx:generateContent?key=k", CONTENT).status_code == 503
    body = {**MESSAGE, "model": "gx"}
    assert post(chaos, "/v1/messages", body, **VERSION, **{"x-api-key": "k"}).status_code == 200
