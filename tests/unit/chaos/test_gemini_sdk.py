"""Gemini's format, as the official SDK reads it."""

import json
import urllib.request

import pytest
from google import genai
from google.genai import errors, types

from holdfast.chaos import ChaosConfig, run_chaos

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(name=name, parameters_json_schema=SCHEMA)
            for name in ("weather", "news")
        ]
    )
]


@pytest.fixture(scope="module")
def chaos():
    scripts = {
        "*two-calls": "tools=2",
        "thinker": "reasoning=3 tokens=2",
        "cached": "cached=2",
        "echo": "echo=true",
        "unsafe": "finish=SAFETY",
    }
    with run_chaos(ChaosConfig(tokens=6, scripts=scripts, api_keys=("secret",), models=("a", "b"))) as chaos:
        yield chaos


@pytest.fixture(scope="module", params=["v1", "v1beta"])
def client(chaos, request):
    options = types.HttpOptions(base_url=chaos.url, api_version=request.param)
    with genai.Client(api_key="secret", http_options=options) as client:
        yield client


def last(chaos):
    return chaos.wait_for(lambda entries: entries and entries[-1].end)[-1]


class Whole:
    """A stream's responses, put together."""

    def __init__(self, responses):
        self.responses = list(responses)
        self.parts = [
            part
            for response in self.responses
            for part in response.candidates[0].content.parts
            if part.text != "" or part.thought_signature
        ]
        self.finish = [
            response.candidates[0].finish_reason
            for response in self.responses
            if response.candidates[0].finish_reason
        ]
        self.usage = self.responses[-1].usage_metadata
        self.text = "".join(part.text or "" for part in self.parts if not part.thought)
        self.thoughts = "".join(part.text or "" for part in self.parts if part.thought)
        self.calls = [part.function_call for part in self.parts if part.function_call]
        self.content = types.Content(role="model", parts=self.parts)


def ask(client, stream, contents="hi there", model="x", **config):
    """An answer, whole or streamed."""
    asked = types.GenerateContentConfig(**{"automatic_function_calling": {"disable": True}, **config})
    if stream:
        return Whole(client.models.generate_content_stream(model=model, contents=contents, config=asked))
    return Whole([client.models.generate_content(model=model, contents=contents, config=asked)])


both = pytest.mark.parametrize("stream", [False, True])


@both
def test_text(client, chaos, stream):
    answer = ask(client, stream)
    entry = last(chaos)
    assert answer.text == entry.text
    assert answer.finish == [types.FinishReason.STOP]
    assert {r.response_id for r in answer.responses} == {answer.responses[0].response_id}
    assert {r.model_version for r in answer.responses} == {"x"}
    usage = answer.usage
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (6, 6, 12)
    assert usage.prompt_tokens_details[0].token_count == 6
    assert (entry.wire, entry.headers["x-goog-api-key"]) == ("gemini", "***")
    assert entry.query == ("alt=sse" if stream else "")


def test_usage_grows_with_a_stream(client):
    counts = [r.usage_metadata.total_token_count for r in ask(client, stream=True).responses]
    assert counts == [7, 8, 9, 10, 11, 12, 12]


@both
def test_kinds_of_usage(client, chaos, stream):
    usage = ask(client, stream, model="cached").usage
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (6, 2)
    assert last(chaos).usage.cached_tokens == 2


@both
def test_limits_and_stop_sequences(client, stream):
    cut = ask(client, stream, max_output_tokens=2)
    assert (cut.finish, cut.usage.candidates_token_count) == ([types.FinishReason.MAX_TOKENS], 2)
    stopped = ask(client, stream, stop_sequences=[":3"])
    assert stopped.finish == [types.FinishReason.STOP]
    assert stopped.text.endswith(":2 " + stopped.text[:10])
    assert ask(client, stream, model="unsafe").finish == [types.FinishReason.SAFETY]


def test_several_candidates(client):
    answer = ask(client, stream=False, candidate_count=3).responses[0]
    assert [candidate.index for candidate in answer.candidates] == [0, 1, 2]
    assert len({candidate.content.parts[0].text for candidate in answer.candidates}) == 3
    assert answer.usage_metadata.candidates_token_count == 18
    asked = types.GenerateContentConfig(candidate_count=2)
    texts = ["", ""]
    for response in client.models.generate_content_stream(model="x", contents="hi", config=asked):
        for candidate in response.candidates:
            texts[candidate.index] += candidate.content.parts[0].text
    assert [text.count(":") for text in texts] == [6, 6]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    ("model", "calling", "names"),
    [
        ("x", {"mode": "AUTO"}, []),
        ("x", {"mode": "ANY"}, ["weather"]),
        ("x", {"mode": "ANY", "allowed_function_names": ["news"]}, ["news"]),
        ("two-calls", {"mode": "AUTO"}, ["weather", "news"]),
        ("two-calls", {"mode": "NONE"}, []),
    ],
)
@both
def test_tools(client, chaos, model, calling, names, stream):
    answer = ask(client, stream, model=model, tools=TOOLS, tool_config={"function_calling_config": calling})
    assert [call.name for call in answer.calls] == names
    for call in answer.calls:
        assert isinstance(call.args["city"], str)
        assert isinstance(call.args["days"], int)
    assert answer.finish == [types.FinishReason.STOP]
    said = "".join(json.dumps(call.args, separators=(",", ":")) for call in answer.calls)
    assert last(chaos).arguments == said


def responses(answer):
    parts = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"a": 1}))
        for call in answer.calls
    ]
    return types.Content(role="user", parts=parts)


@pytest.mark.parametrize("model", ["two-calls", "gemini-3-two-calls", "gemini-2.0-two-calls"])
@both
def test_a_conversation_with_calls_goes_on(client, model, stream):
    answer = ask(client, stream, model=model, tools=TOOLS)
    signed = [bool(part.thought_signature) for part in answer.parts]
    assert signed[:2] == [model != "gemini-2.0-two-calls", False], "only the first call is signed"
    assert all(call.id for call in answer.calls) == model.startswith("gemini-3")
    contents = [types.UserContent("hi"), answer.content, responses(answer)]
    assert ask(client, stream, contents, model=model.replace("two-calls", "x"), tools=TOOLS).text


@pytest.mark.parametrize("change", ["lost", "moved", "waived", "none"])
def test_signatures_are_asked_back(client, change):
    model = "gemini-3-two-calls"
    answer = ask(client, stream=False, model=model, tools=TOOLS)
    first, second = answer.content.parts
    if change == "lost":
        first.thought_signature = None
    if change == "moved":
        first.thought_signature, second.thought_signature = None, first.thought_signature
    if change == "waived":
        first.thought_signature = b"skip_thought_signature_validator"
    contents = [types.UserContent("hi"), answer.content, responses(answer)]
    if change in ("none", "waived"):
        assert ask(client, stream=False, contents=contents, model="gemini-3-x", tools=TOOLS).text
        return
    with pytest.raises(errors.ClientError) as raised:
        ask(client, stream=False, contents=contents, model="gemini-3-x", tools=TOOLS)
    assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")
    assert "thought" in raised.value.message
    if change == "lost":
        later = [*contents, types.ModelContent("ok"), types.UserContent("next")]
        assert ask(client, stream=False, contents=later, model="gemini-3-x", tools=TOOLS).text, "another turn"


@both
def test_thoughts_are_told_hidden_or_off(client, chaos, stream):
    told = ask(client, stream, model="thinker", thinking_config={"include_thoughts": True})
    assert told.thoughts == last(chaos).reasoning
    assert told.thoughts.count("~") == 3
    assert (told.usage.thoughts_token_count, told.usage.candidates_token_count) == (3, 2)
    assert told.parts[-1].thought_signature
    contents = [types.UserContent("hi"), told.content, types.UserContent("more")]
    assert ask(client, stream, contents).text
    hidden = ask(client, stream, model="thinker")
    entry = last(chaos)
    assert (hidden.thoughts, hidden.usage.thoughts_token_count, hidden.usage.total_token_count) == ("", 3, 11)
    assert (entry.tokens, entry.usage.completion_tokens, entry.usage.reasoning_tokens) == (2, 5, 3)
    off = ask(client, stream, model="thinker", thinking_config={"thinking_budget": 0})
    assert (off.thoughts, off.usage.thoughts_token_count) == ("", None)


@both
def test_structured_output(client, stream):
    schema = {"type": "OBJECT", "properties": {"age": {"type": "INTEGER", "minimum": 7}}, "required": ["age"]}
    asked = {"response_mime_type": "application/json"}
    assert json.loads(ask(client, stream, response_schema=schema, **asked).text) == {"age": 7}
    lower = {"type": "object", "properties": {"sure": {"type": "boolean"}}}
    assert json.loads(ask(client, stream, response_json_schema=lower, **asked).text) == {"sure": True}
    assert isinstance(json.loads(ask(client, stream, **asked).text), dict)


def test_an_echo_names_images_and_files(client):
    parts = [
        types.Part.from_bytes(data=b"\x89PNG not really", mime_type="image/png"),
        types.Part.from_bytes(data=b"%PDF", mime_type="application/pdf"),
        types.Part.from_uri(file_uri="https://example.com/a.png", mime_type="image/png"),
        types.Part.from_text(text="what is it?"),
    ]
    lines = ask(client, stream=False, contents=parts, model="echo").text.split("\n")
    assert lines[0] == "what is it?"
    assert lines[1].startswith("[image image/png 15 bytes sha256:")
    assert lines[2].startswith("[file application/pdf 4 bytes sha256:")
    assert lines[3] == "[file https://example.com/a.png]"


def test_counts_of_tokens_and_models(client, chaos):
    assert client.models.count_tokens(model="x", contents="hi there").total_tokens == 6
    assert last(chaos).operation == "count"
    assert [model.name for model in client.models.list()] == ["models/a", "models/b"]


@pytest.mark.parametrize(
    ("script", "code", "status"),
    [
        ("429 retry-after=3", 429, "RESOURCE_EXHAUSTED"),
        ("insufficient_quota", 429, "RESOURCE_EXHAUSTED"),
        ("tokens_rate_limit retry-delay=2.5", 429, "RESOURCE_EXHAUSTED"),
        ("overloaded", 503, "UNAVAILABLE"),
        ("invalid_api_key", 400, "INVALID_ARGUMENT"),
        ("context_length_exceeded", 400, "INVALID_ARGUMENT"),
        ("404", 404, "NOT_FOUND"),
        ("500", 500, "INTERNAL"),
        ("504", 504, "DEADLINE_EXCEEDED"),
    ],
)
@both
def test_errors(client, chaos, script, code, status, stream):
    with pytest.raises(errors.APIError) as raised:
        ask(client, stream, f"[[chaos: {script}]]")
    error = raised.value
    assert (error.code, error.status, error.details["error"]["code"]) == (code, status, code)
    waits = [
        d["retryDelay"] for d in error.details["error"].get("details", ()) if d["@type"].endswith("RetryInfo")
    ]
    wanted = {"429 retry-after=3": "3s", "insufficient_quota": "20s"}.get(script, "2.5s")
    assert waits == ([wanted] if code == 429 else [])
    assert error.response.headers["content-type"] == "application/json; charset=UTF-8"
    assert ("retry-after" in error.response.headers) == ("retry-after" in script)


@both
def test_a_prompt_that_is_refused_is_an_answer_without_candidates(client, stream):
    contents = "[[chaos: content_policy]]"
    if stream:
        [response] = client.models.generate_content_stream(model="x", contents=contents)
    else:
        response = client.models.generate_content(model="x", contents=contents)
    assert response.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
    assert not response.candidates


def test_a_stream_without_sse_is_one_array(chaos):
    body = json.dumps({"contents": [{"parts": [{"text": "hi there"}]}]}).encode()
    request = urllib.request.Request(
        f"{chaos.url}/v1beta/models/x:streamGenerateContent?key=secret",
        body,
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["content-type"].startswith("application/json")
        values = json.loads(answer.read())
    said = "".join(value["candidates"][0]["content"]["parts"][0]["text"] for value in values)
    entry = last(chaos)
    assert said == entry.text
    assert entry.query == "key=%2A%2A%2A"


def test_a_wrong_key_is_refused(chaos):
    options = types.HttpOptions(base_url=chaos.url)
    with genai.Client(api_key="wrong", http_options=options) as client:
        with pytest.raises(errors.ClientError) as raised:
            ask(client, stream=False)
        assert raised.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"
        with pytest.raises(errors.ClientError):
            list(client.models.list())
