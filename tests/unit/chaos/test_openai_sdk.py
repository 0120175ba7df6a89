"""The wire format, as the official SDK reads it."""

import enum
import json
from typing import Literal

import httpx2
import openai
import pytest
from pydantic import BaseModel

from holdfast.chaos import ChaosConfig, run_chaos

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}}
    for name in ("weather", "news")
]  # fmt: skip  # one schema, two names
HI = [{"role": "user", "content": "hi there"}]


@pytest.fixture(scope="module")
def chaos():
    scripts = {"two-calls": "tools=3", "thinker": "reasoning=3 tokens=2 cached=1"}
    with run_chaos(ChaosConfig(tokens=6, scripts=scripts, api_keys=("secret",), models=("a", "b"))) as chaos:
        yield chaos


@pytest.fixture
def client(chaos):
    with openai.OpenAI(base_url=chaos.base_url, api_key="secret", max_retries=0) as client:
        yield client


def test_plain(client, chaos):
    answer = client.chat.completions.create(model="x", messages=HI)
    entry = chaos.wait_for(lambda entries: entries and entries[-1].end)[-1]
    assert answer.id.startswith("chatcmpl-")
    assert (answer.model, answer.choices[0].finish_reason) == ("x", "stop")
    assert answer.choices[0].message.content == entry.text
    assert answer.usage.prompt_tokens == 4 + 2  # a message, and 8 bytes
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (6, 12)
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_limits_end_with_length(client, limit):
    answer = client.chat.completions.create(model="x", messages=HI, **{limit: 2})
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 2)
    assert (
        client.chat.completions.create(model="x", messages=HI, **{limit: 6}).choices[0].finish_reason
        == "stop"
    )


def test_several_choices_differ(client):
    answer = client.chat.completions.create(model="x", messages=HI, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert answer.usage.completion_tokens == 18


@pytest.mark.parametrize("include", [True, False])
def test_stream(client, chaos, include):
    options = {"stream_options": {"include_usage": True}} if include else {}
    chunks = list(client.chat.completions.create(model="x", messages=HI, n=2, stream=True, **options))
    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts[0] == chaos.wait_for(lambda entries: entries and entries[-1].end)[-1].text
    assert texts[1].count(":") == 6
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [12] * include
    assert all(chunk.choices for chunk in chunks if not chunk.usage)


@pytest.mark.parametrize(
    ("model", "choice", "names"),
    [
        ("x", "auto", []),
        ("x", "required", ["weather"]),
        ("x", {"type": "function", "function": {"name": "news"}}, ["news"]),
        ("two-calls", "auto", ["weather", "news", "weather"]),
        ("two-calls", "none", []),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_tools(client, chaos, model, choice, names, stream):
    asked = {"model": model, "messages": HI, "tools": TOOLS, "tool_choice": choice}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            for _ in events:
                pass
            done = events.get_final_completion().choices[0]
    else:
        done = client.chat.completions.create(**asked).choices[0]
    calls = done.message.tool_calls or []
    assert [call.function.name for call in calls] == names
    assert len({call.id for call in calls}) == len(calls)
    assert done.finish_reason == ("tool_calls" if names else "stop")
    for call in calls:
        arguments = json.loads(call.function.arguments)
        assert isinstance(arguments["city"], str)
        assert isinstance(arguments["days"], int)
    entry = chaos.wait_for(lambda journal: journal[-1].end)[-1]
    assert entry.arguments == "".join(call.function.arguments for call in calls) or not stream


class Mood(enum.Enum):
    good = "good"
    bad = "bad"


class Leaf(BaseModel):
    mood: Mood
    score: float
    kind: Literal["leaf"]


class Tree(BaseModel):
    name: str
    count: int
    sure: bool
    leaves: list[Leaf]
    maybe: int | None
    child: "Tree | None"


@pytest.mark.parametrize("stream", [False, True])
def test_structured_output(client, stream):
    if stream:
        with client.chat.completions.stream(model="x", messages=HI, response_format=Tree) as events:
            parsed = events.get_final_completion().choices[0].message.parsed
    else:
        parsed = (
            client.chat.completions.parse(model="x", messages=HI, response_format=Tree)
            .choices[0]
            .message.parsed
        )
    assert isinstance(parsed, Tree)
    assert parsed.leaves[0].mood is Mood.good


def test_json_object(client):
    answer = client.chat.completions.create(model="x", messages=HI, response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_reasoning_and_cached_tokens(client, chaos):
    answer = client.chat.completions.create(model="thinker", messages=HI)
    assert answer.choices[0].message.reasoning_content.count("~") == 3
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3
    assert (answer.usage.prompt_tokens_details.cached_tokens, answer.usage.completion_tokens) == (1, 5)
    chunks = list(client.chat.completions.create(model="thinker", messages=HI, stream=True))
    thoughts = "".join(getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks)
    assert thoughts == chaos.wait_for(lambda journal: journal[-1].end)[-1].reasoning


@pytest.mark.parametrize("stream", [False, True])
def test_openrouter_signs_its_thoughts_and_wants_them_back(chaos, stream):
    with openai.OpenAI(base_url=f"{chaos.url}/api/v1", api_key="secret", max_retries=0) as client:
        asked = {"model": "thinker", "messages": HI}
        if stream:
            chunks = list(client.chat.completions.create(**asked, stream=True))
            deltas = [chunk.choices[0].delta.model_dump() for chunk in chunks]
            details = [detail for delta in deltas for detail in delta.get("reasoning_details") or ()]
            reasoning = "".join(delta.get("reasoning") or "" for delta in deltas)
            usage, named = chunks[-1].usage.model_dump(), chunks[0].model_dump()
        else:
            answer = client.chat.completions.create(**asked)
            message = answer.choices[0].message.model_dump()
            details, reasoning = message["reasoning_details"], message["reasoning"]
            usage, named = answer.usage.model_dump(), answer.model_dump()
        assert (named["id"][:4], named["provider"], usage["cost"]) == ("gen-", "Chaos", 11e-6)
        assert reasoning == "".join(detail.get("text") or "" for detail in details)
        assert reasoning.count("~") == 3
        again = [*HI, {"role": "assistant", "content": "x", "reasoning_details": details}, *HI]
        assert client.chat.completions.create(model="x", messages=again).choices
        details[0]["text"] += "!"
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(model="x", messages=again)
        assert raised.value.param == "messages[1].reasoning_details"


def test_deepseek_tells_what_its_cache_missed(chaos):
    with openai.OpenAI(base_url=chaos.url, api_key="secret", max_retries=0) as client:
        usage = client.chat.completions.create(model="thinker", messages=HI).usage.model_dump()
    assert (usage["prompt_cache_hit_tokens"], usage["prompt_cache_miss_tokens"]) == (1, 5)


def test_stop_sequences_and_text_before_calls(client):
    answer = client.chat.completions.create(model="x", messages=HI, stop=":3")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content.count(":") == 3
    spoken = [{"role": "user", "content": "[[chaos: tools=1 preamble=2]]"}]
    done = client.chat.completions.create(model="x", messages=spoken, tools=TOOLS).choices[0]
    assert (done.message.content.count(":"), len(done.message.tool_calls)) == (2, 1)
    one = client.chat.completions.create(
        model="two-calls", messages=HI, tools=TOOLS, parallel_tool_calls=False
    )
    assert len(one.choices[0].message.tool_calls) == 1


def test_an_echo_names_images_files_and_sounds(client):
    data = "iVBORw0KGgo="
    parts = [
        {"type": "text", "text": "[[chaos: echo=true]] what is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}},
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
    ]
    answer = client.chat.completions.create(model="x", messages=[{"role": "user", "content": parts}])
    lines = answer.choices[0].message.content.split("\n")
    assert [line.split(" sha256")[0] for line in lines[1:]] == [
        "[image image/png 8 bytes",
        "[image https://example.com/a.png]",
        "[file application/pdf 8 bytes",
        "[audio audio/wav 8 bytes",
    ]


def test_a_limited_request_is_told_its_limits(client):
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="x", messages=[{"role": "user", "content": "[[chaos: 429]]"}])
    headers = raised.value.response.headers
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-request-id"].startswith("req_")


def test_a_wrong_key_is_401(chaos):
    with openai.OpenAI(base_url=chaos.base_url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            client.chat.completions.create(model="x", messages=HI)
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert raised.value.code == "invalid_api_key"


def test_models(client):
    assert [model.id for model in client.models.list()] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"model": ""}, "model"),
        ({"n": 0}, "n"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"tool_choice": {"type": "function", "function": {"name": "nope"}}}, "tool_choice"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}},
            "response_format",
        ),
        ({"model": None}, "model"),
    ],
)
def test_a_bad_request_is_400_and_names_the_field(client, change, param):
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/chat/completions", body={"model": "x", "messages": HI, **change}, cast_to=object)
    assert raised.value.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"\xff","messages":[]}', b"[" * 100_000])
def test_garbage_is_400(chaos, body):
    answer = httpx2.post(
        chaos.base_url + "/chat/completions", content=body, headers={"authorization": "Bearer secret"}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
