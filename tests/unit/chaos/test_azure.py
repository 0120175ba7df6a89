"""Azure's own ways, by the official SDK and the recordings: what its filters say of prompts and answers."""

import json
from pathlib import Path

import httpx2
import openai
import pytest
from tests.unit.chaos.raw import payload, receive, send
from tests.unit.chaos.test_embeddings import paths

from holdfast.chaos import ChaosConfig, run_chaos

HERE = Path(__file__).parent / "recordings"
RECORDED = json.loads((HERE / "beside_chat.json").read_text())["azure_chat"]
V1 = "/openai/v1/chat/completions"
DEPLOYMENT = "/openai/deployments/m/chat/completions?api-version=2024-12-01-preview"
PROMPT = [{"role": "user", "content": "hi"}]
CATEGORIES = {"hate", "self_harm", "sexual", "violence"}
MATERIAL = {"protected_material_code", "protected_material_text"}
SAFE = {"filtered": False, "severity": "safe"}
FOUND = {"filtered": True, "severity": "high"}
TOOL = {"type": "function", "function": {"name": "t", "parameters": {"type": "object", "properties": {}}}}

each_path = pytest.mark.parametrize("path", [V1, DEPLOYMENT])


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig(tokens=3)) as chaos:
        yield chaos


@pytest.fixture(scope="module", params=["deployments", "v1"])
def client(request, chaos):
    if request.param == "v1":
        made = openai.OpenAI(base_url=f"{chaos.url}/openai/v1", api_key="k", max_retries=0)
    else:
        made = openai.AzureOpenAI(
            azure_endpoint=chaos.url, api_version="2024-12-01-preview", api_key="k", max_retries=0
        )
    with made as client:
        yield client


def events(chaos, path, script="ok", **more):
    chaos.script("m", script)
    with send(chaos.port, payload(stream=True, **more), path=path) as sock:
        seen = receive(sock)
    assert seen.events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in seen.events[:-1]]


def test_a_plain_answer(client, chaos):
    chaos.script("m", "ok")
    answer = client.chat.completions.create(model="m", messages=PROMPT, n=2)
    (prompt,) = answer.prompt_filter_results
    assert prompt["prompt_index"] == 0
    assert set(prompt["content_filter_results"]) == CATEGORIES | {"jailbreak"}
    for choice in answer.choices:
        assert set(choice.content_filter_results) == CATEGORIES | MATERIAL
        assert choice.content_filter_results["hate"] == SAFE
        assert choice.message.content.endswith(":2 ")


def test_a_stream(client, chaos):
    chaos.script("m", "ok")
    first, role, *said, end = client.chat.completions.create(model="m", messages=PROMPT, stream=True)
    assert (first.choices, first.id, first.prompt_filter_results[0]["prompt_index"]) == ([], "", 0)
    assert [chunk.choices[0].content_filter_results for chunk in (role, end)] == [{}, {}]
    assert all(set(chunk.choices[0].content_filter_results) == CATEGORIES for chunk in said)
    assert "".join(chunk.choices[0].delta.content for chunk in said).count(":") == 3
    assert end.choices[0].finish_reason == "stop"


def test_the_sdks_own_folding_of_a_stream(client, chaos):
    chaos.script("m", "tools=1 preamble=1")
    with client.chat.completions.stream(model="m", messages=PROMPT, tools=[TOOL]) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.name == "t"
    assert final.choices[0].finish_reason == "tool_calls"


@each_path
def test_the_first_event_is_the_prompts(chaos, path):
    first, *rest = events(chaos, path, stream_options={"include_usage": True})
    assert set(first) == {"choices", "created", "id", "model", "object", "prompt_filter_results"}
    assert not any("prompt_filter_results" in event for event in rest)
    assert rest[-1]["choices"] == []
    assert rest[-1]["usage"]["completion_tokens"] == 3


@each_path
def test_an_answer_that_the_filter_ended(chaos, path):
    end = events(chaos, path, "tokens=1 finish=content_filter")[-1]
    assert end["choices"][0]["finish_reason"] == "content_filter"
    assert end["choices"][0]["content_filter_results"]["violence"] == FOUND
    body = httpx2.post(chaos.url + path, content=payload()).json()
    assert body["choices"][0]["content_filter_results"]["violence"] == FOUND
    assert body["choices"][0]["content_filter_results"]["hate"] == SAFE


@pytest.mark.parametrize("name", ["content_filter", "content_policy"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_the_filter_refused(client, chaos, name, stream):
    chaos.script("m", name)
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="m", messages=PROMPT, stream=stream)
    error = raised.value
    assert (error.code, error.param, error.type) == ("content_filter", "prompt", None)
    assert error.body["status"] == 400
    inner = error.body["innererror"]
    assert inner["code"] == "ResponsibleAIPolicyViolation"
    assert set(inner["content_filter_result"]) == CATEGORIES | {"jailbreak"}
    assert inner["content_filter_result"]["violence"] == FOUND
    assert error.request_id.startswith("req_")
    assert error.request_id.endswith(error.response.headers["apim-request-id"])


@each_path
def test_a_refusal_in_words_of_ones_own(chaos, path):
    chaos.script("m", {"status": {"error": "content_filter", "message": "not {model}", "code": 403}})
    answer = httpx2.post(chaos.url + path, content=payload())
    error = answer.json()["error"]
    assert (answer.status_code, error["status"], error["message"]) == (403, 403, "not m")


@each_path
def test_other_errors_are_openais(chaos, path):
    chaos.script("m", "rate_limit")
    answer = httpx2.post(chaos.url + path, content=payload())
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"


def test_openai_itself_has_no_such_filters(chaos):
    chaos.script("m", "ok")
    body = httpx2.post(chaos.url + "/v1/chat/completions", content=payload()).json()
    assert "prompt_filter_results" not in body
    assert "content_filter_results" not in body["choices"][0]
    chaos.script("m", "content_filter")
    answer = httpx2.post(chaos.url + "/v1/chat/completions", content=payload())
    assert "innererror" not in answer.json()["error"]


@pytest.mark.parametrize("recorded", RECORDED["requests"])
def test_what_was_accepted_is_answered_in_its_shape(chaos, recorded):
    chaos.script("m", "ok")
    answer = httpx2.post(chaos.url + recorded["path"], json=recorded["request"])
    assert paths(answer.json(), "", set()) == set(RECORDED["always"])


@each_path
def test_faults_know_the_first_event_for_none_of_the_answer(chaos, path):
    """It holds no token, and comes before all faults that count some."""
    chaos.script("m", "cut=clean after=0")
    with send(chaos.port, payload(stream=True), path=path) as sock:
        seen = receive(sock)
    first, role = (json.loads(event.removeprefix("data: ")) for event in seen.events)
    assert "prompt_filter_results" in first
    assert role["choices"][0]["delta"]["role"] == "assistant"
    changed = events(chaos, path, "change_id after=1")
    assert len({event["id"] for event in changed}) == 3
