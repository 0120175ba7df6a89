"""The Responses API, as the official SDK reads it."""

import base64
import json

import openai
import pytest
from pydantic import BaseModel, Field

from holdfast.chaos import ChaosConfig, run_chaos

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "name": name, "parameters": SCHEMA, "strict": True} for name in ("weather", "news")
]
PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG not really").decode()
THINK = {"effort": "low", "summary": "auto"}
ENCRYPTED = {"include": ["reasoning.encrypted_content"]}
PROVIDERS = {
    "openai": "/v1",
    "azure": "/openai/v1",
    "openrouter": "/api/v1",
    "deepseek": "",
}


@pytest.fixture(scope="module")
def chaos():
    scripts = {
        "two-calls": "tools=2",
        "spoken": "tools=1 preamble=2",
        "thinker": "reasoning=3 tokens=2",
        "cached": "cached=2 cache-written=3",
        "echo": "echo=true",
        "filtered": "finish=content_filter",
        "broken": "finish=failed",
        "long": "tokens=30",
        "talker": "tools=1 preamble=14",
    }
    with run_chaos(ChaosConfig(tokens=6, scripts=scripts, api_keys=("secret",))) as chaos:
        yield chaos


def client_of(chaos, provider="openai"):
    return openai.OpenAI(base_url=chaos.url + PROVIDERS[provider], api_key="secret", max_retries=0)


@pytest.fixture(scope="module")
def client(chaos):
    with client_of(chaos) as client:
        yield client


def last(chaos):
    return chaos.wait_for(lambda entries: entries and entries[-1].end)[-1]


def ask(client, stream, **asked):
    """An answer, whole or put together by the SDK."""
    asked = {"model": "x", "input": "hi there", **asked}
    if not stream:
        return client.responses.create(**asked)
    with client.responses.stream(**asked) as events:
        return events.get_final_response()


both = pytest.mark.parametrize("stream", [False, True])


@both
@pytest.mark.parametrize("provider", PROVIDERS)
def test_text(chaos, provider, stream):
    with client_of(chaos, provider) as client:
        answer = ask(client, stream)
    entry = last(chaos)
    assert (answer.object, answer.status, answer.model) == ("response", "completed", "x")
    assert (answer.error, answer.incomplete_details) == (None, None)
    (message,) = answer.output
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")
    assert [part.type for part in message.content] == ["output_text"]
    assert message.content[0].annotations == []
    assert answer.output_text == entry.text != ""
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (6, 6, 12)
    assert answer.store is (provider in ("openai", "azure"))
    assert (entry.wire, entry.headers["authorization"]) == ("openai_responses", "***")


def test_the_events_of_a_stream_come_in_order(client):
    events = list(
        client.responses.create(model="thinker", input="hi", reasoning={"summary": "auto"}, stream=True)
    )
    thought, part = "response.reasoning_summary_text", "response.reasoning_summary_part"
    assert [event.type.removeprefix("response.") for event in events] == [
        name.removeprefix("response.")
        for name in (
            "created", "in_progress",
            "output_item.added", f"{part}.added", *[f"{thought}.delta"] * 3, f"{thought}.done", f"{part}.done",
            "output_item.done",
            "output_item.added", "content_part.added", *["output_text.delta"] * 2, "output_text.done",
            "content_part.done", "output_item.done",
            "completed",
        )
    ]  # fmt: skip  # item by item
    assert [event.sequence_number for event in events] == list(range(len(events)))
    indices = [event.output_index for event in events if hasattr(event, "output_index")]
    assert indices == sorted(indices)
    items = {event.item.id for event in events if hasattr(event, "item")}
    assert {event.item_id for event in events if hasattr(event, "item_id")} == items
    assert [event.response.status for event in events if hasattr(event, "response")] == [
        "in_progress",
        "in_progress",
        "completed",
    ]


@both
def test_kinds_of_usage(client, chaos, stream):
    usage = ask(client, stream, model="cached").usage
    assert (usage.input_tokens_details.cached_tokens, usage.input_tokens_details.cache_write_tokens) == (2, 3)
    usage = ask(client, stream, model="thinker").usage
    assert (usage.output_tokens, usage.output_tokens_details.reasoning_tokens) == (5, 3)
    assert last(chaos).usage.reasoning_tokens == 3


@both
@pytest.mark.parametrize(
    ("asked", "reason", "tokens"),
    [
        ({"model": "long", "max_output_tokens": 16}, "max_output_tokens", 16),
        ({"model": "filtered"}, "content_filter", 6),
    ],
)
def test_incomplete(client, chaos, stream, asked, reason, tokens):
    answer = client.responses.create(input="hi", stream=stream, **asked)
    if stream:
        events = list(answer)
        assert [event.type for event in events[-2:]] == ["response.output_item.done", "response.incomplete"]
        answer = events[-1].response
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", reason)
    assert (answer.completed_at, answer.output[-1].status) == (None, "incomplete")
    assert answer.usage.output_tokens == tokens
    assert answer.output_text == last(chaos).text


@both
def test_only_the_item_that_was_cut_is_incomplete(client, stream):
    answer = client.responses.create(
        model="talker", input="hi", tools=TOOLS, max_output_tokens=16, stream=stream
    )
    if stream:
        answer = list(answer)[-1].response
    assert [item.type for item in answer.output] == ["message", "function_call"]
    assert [item.status for item in answer.output] == ["completed", "incomplete"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.output[1].arguments)


def test_failed(client):
    answer = ask(client, stream=False, model="broken")
    assert (answer.status, answer.error.code) == ("failed", "server_error")
    *_, end = client.responses.create(model="broken", input="hi", stream=True)
    assert (end.type, end.response.status) == ("response.failed", "failed")


@pytest.mark.parametrize(
    ("model", "choice", "names"),
    [
        ("x", "auto", []),
        ("x", "required", ["weather"]),
        ("x", {"type": "function", "name": "news"}, ["news"]),
        ("x", {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "news"}]}, ["news"]),
        ("x", {"type": "web_search_preview"}, []),
        ("two-calls", "auto", ["weather", "news"]),
        ("two-calls", "none", []),
    ],
)  # fmt: skip  # rows side by side
@both
def test_tools(client, chaos, model, choice, names, stream):
    answer = ask(client, stream, model=model, tools=[*TOOLS, {"type": "web_search"}], tool_choice=choice)
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [call.name for call in calls] == names
    assert len({call.call_id for call in calls} | {call.id for call in calls}) == 2 * len(calls)
    assert answer.status == "completed"
    for call in calls:
        said = json.loads(call.arguments)
        assert isinstance(said["city"], str)
        assert isinstance(said["days"], int)
    assert last(chaos).arguments == "".join(call.arguments for call in calls)
    assert len(answer.tools) == 3


@both
def test_text_before_calls_and_one_call_at_a_time(client, stream):
    answer = ask(client, stream, model="spoken", tools=TOOLS)
    assert [item.type for item in answer.output] == ["message", "function_call"]
    assert answer.output[0].phase == "commentary"
    answer = ask(client, stream, model="two-calls", tools=TOOLS, parallel_tool_calls=False)
    assert [item.type for item in answer.output] == ["function_call"]


@both
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_conversation_with_thoughts_and_calls_goes_on(chaos, provider, stream):
    with client_of(chaos, provider) as client:
        asked = {"tools": TOOLS, "reasoning": THINK, **ENCRYPTED, "store": False}
        answer = ask(client, stream, model="two-calls", **asked)
        assert [item.type for item in answer.output] == ["reasoning", "function_call", "function_call"]
        assert (answer.output[0].encrypted_content is None) == (provider == "deepseek")
        results = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "fine"}
            for item in answer.output[1:]
        ]
        items = [item.to_dict() for item in answer.output]
        for item in items:
            item.pop("parsed_arguments", None)
        again = ask(client, stream, input=[{"role": "user", "content": "hi"}, *items, *results], **asked)
    assert [item.type for item in again.output] == ["reasoning", "message"]


@both
def test_thoughts_are_summed_up_if_asked(client, chaos, stream):
    told = ask(client, stream, reasoning=THINK)
    assert [part.text for part in told.output[0].summary] == [last(chaos).reasoning] != [""]
    assert told.output[0].encrypted_content is None
    hidden = ask(client, stream, reasoning={"effort": "high"}, **ENCRYPTED)
    assert (hidden.output[0].summary, last(chaos).reasoning) == ([], "")
    assert hidden.output[0].encrypted_content
    assert hidden.usage.output_tokens == last(chaos).usage.completion_tokens == 10
    assert [
        item.type for item in ask(client, stream, model="thinker", reasoning={"effort": "none"}).output
    ] == ["message"]
    assert [item.type for item in ask(client, stream).output] == ["message"]


def test_deepseek_tells_thoughts_as_they_are(chaos):
    with client_of(chaos, "deepseek") as client:
        answer = client.responses.create(model="thinker", input="hi")
        thought = answer.output[0]
        assert (thought.summary, thought.content[0].text) == ([], last(chaos).reasoning)
        kinds = [event.type for event in client.responses.create(model="thinker", input="hi", stream=True)]
    assert kinds.count("response.reasoning_text.delta") == 3
    assert "response.reasoning_text.done" in kinds


def thought_of(client, model="thinker", **asked):
    return ask(client, stream=False, model=model, reasoning=THINK, **ENCRYPTED, **asked)


def sent_back(client, *items):
    return ask(client, stream=False, input=[*items, {"role": "user", "content": "go on"}])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("none", None),
        ("no id", None),
        ("no summary", None),
        ("changed", "could not be decrypted or parsed"),
        ("another provider's", "could not be decrypted or parsed"),
        ("moved", "item_id did not match the target item id"),
    ],
)
def test_only_its_own_encrypted_thoughts_are_taken_back(chaos, client, change, reason):
    answer = thought_of(client)
    thought, message = (item.to_dict() for item in answer.output)
    if change == "no id":
        del thought["id"]
    if change == "no summary":
        thought["summary"] = []
    if change == "changed":
        letter = thought["encrypted_content"][30]
        thought["encrypted_content"] = thought["encrypted_content"].replace(
            letter, "A" if letter != "A" else "B"
        )
    if change == "another provider's":
        with client_of(chaos, "azure") as azure:
            thought["encrypted_content"] = thought_of(azure).output[0].encrypted_content
    if change == "moved":
        thought["encrypted_content"] = thought_of(client).output[0].encrypted_content
    if reason is None:
        assert sent_back(client, thought, message).status == "completed"
        return
    with pytest.raises(openai.BadRequestError, match=reason) as raised:
        sent_back(client, thought, message)
    assert (raised.value.code, raised.value.param) == ("invalid_encrypted_content", None)


def test_what_was_stored_is_known_again(client):
    answer = ask(client, stream=False, model="thinker", reasoning=THINK)
    thought, message = answer.output
    bare = {"id": thought.id, "type": "reasoning", "summary": []}
    assert sent_back(client, bare, message.to_dict()).status == "completed"
    references = [{"type": "item_reference", "id": item.id} for item in answer.output]
    assert sent_back(client, *references).status == "completed"
    assert ask(client, stream=False, previous_response_id=answer.id).previous_response_id == answer.id
    result = {"type": "function_call_output", "call_id": "call_before", "output": "x"}
    assert ask(client, stream=False, previous_response_id=answer.id, input=[result]).status == "completed"


def test_what_was_not_stored_is_not_found(client):
    thought, message = ask(client, stream=False, model="thinker", reasoning=THINK, store=False).output
    bare = {"id": thought.id, "type": "reasoning", "summary": []}
    for items in (
        [bare, message.to_dict()],
        [{"type": "item_reference", "id": thought.id}],
        [{"id": "msg_1"}],
    ):
        with pytest.raises(
            openai.NotFoundError, match="Items are not persisted when `store` is set to false"
        ) as raised:
            sent_back(client, *items)
        assert (raised.value.code, raised.value.param) == (None, "input")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_unknown_previous_response(chaos, client, provider):
    foreign = (
        ask(client, stream=False).id if provider != "openai" else "resp_0123456789abcdef0123456789abcdef"
    )
    with client_of(chaos, provider) as other, pytest.raises(openai.BadRequestError) as raised:
        other.responses.create(model="x", input="hi", previous_response_id=foreign)
    assert raised.value.body == {
        "message": f"Previous response with id '{foreign}' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }


class Trip(BaseModel):
    city: str
    days: int = Field(ge=7)


@both
def test_structured_output(client, stream):
    if stream:
        with client.responses.stream(model="x", input="hi", text_format=Trip) as events:
            answer = events.get_final_response()
    else:
        answer = client.responses.parse(model="x", input="hi", text_format=Trip)
    assert answer.output_parsed.days == 7
    assert answer.text.format.type == "json_schema"


def test_parsed_calls(client):
    tool = openai.pydantic_function_tool(Trip, name="plan")
    tool = {"type": "function", **tool["function"]}
    (call,) = client.responses.parse(model="x", input="hi", tools=[tool], tool_choice="required").output
    assert call.parsed_arguments["days"] == 7


@both
def test_json_mode_wants_the_word(client, stream):
    asked = {"text": {"format": {"type": "json_object"}}}
    assert isinstance(json.loads(ask(client, stream, input="as JSON please", **asked).output_text), dict)
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        ask(client, stream, input="as you please", **asked)


def test_an_echo_names_images_and_files_wherever_they_stand(client):
    image = {"type": "input_image", "image_url": PIXEL, "detail": "auto"}
    link = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}
    paper = {
        "type": "input_file",
        "filename": "a.pdf",
        "file_data": PIXEL.replace("image/png", "application/pdf"),
    }
    stored = {"type": "input_file", "file_id": "file-123"}
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c1", "output": [image]}
    text = {"type": "input_text", "text": "and this?"}
    items = [
        {"role": "user", "content": [image, link, paper, stored]},
        call,
        result,
        {"role": "user", "content": [text]},
    ]
    lines = ask(client, stream=False, model="echo", input=items).output_text.split("\n")
    assert lines[0] == "and this?"
    assert lines[1] == lines[5]
    assert lines[1].startswith("[image image/png 15 bytes sha256:")
    assert lines[2] == "[image https://example.com/a.png]"
    assert lines[3].startswith("[file application/pdf 15 bytes")
    assert lines[4] == "[file file-123]"


def test_counts_of_prompt_tokens(client, chaos):
    def tokens(**asked):
        return ask(client, stream=False, **asked).usage.input_tokens

    user = {"role": "user", "content": "hi there"}
    assert tokens() == tokens(input=[user]) == 4 + 2
    assert tokens(instructions="be nice") == 6 + 4 + 2
    assert tokens(tools=TOOLS) == 6 + 2 * 10
    assert tokens(input=[{**user, "content": [{"type": "input_image", "image_url": PIXEL}]}]) == 4 + 85
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
    assert (
        tokens(input=[user, call, {"type": "function_call_output", "call_id": "c1", "output": "fine"}])
        == 6 + 5
    )
    counted = client.responses.input_tokens.count(model="x", input="hi there", instructions="be nice")
    assert counted.input_tokens == 12
    assert last(chaos).operation == "count"


def test_an_answer_repeats_what_was_asked(client):
    answer = client.responses.create(
        model="x",
        input="hi",
        instructions="be nice",
        max_output_tokens=99,
        metadata={"a": "b"},
        temperature=0.5,
        top_p=0.5,
        truncation="auto",
        user="me",
        safety_identifier="s",
        prompt_cache_key="p",
        service_tier="flex",
        parallel_tool_calls=False,
        text={"verbosity": "low"},
    )
    assert (answer.instructions, answer.max_output_tokens, answer.metadata) == ("be nice", 99, {"a": "b"})
    assert (answer.temperature, answer.top_p, answer.truncation, answer.user) == (0.5, 0.5, "auto", "me")
    assert (answer.safety_identifier, answer.prompt_cache_key, answer.service_tier) == ("s", "p", "flex")
    assert (answer.parallel_tool_calls, answer.text.verbosity, answer.text.format.type) == (
        False,
        "low",
        "text",
    )


@pytest.mark.parametrize(
    ("script", "kind", "code", "param"),
    [
        ("429", openai.RateLimitError, "rate_limit_exceeded", None),
        ("insufficient_quota", openai.RateLimitError, "insufficient_quota", None),
        ("context_length_exceeded", openai.BadRequestError, "context_length_exceeded", "input"),
        ("model_not_found", openai.BadRequestError, "model_not_found", "model"),
        ("404", openai.NotFoundError, "model_not_found", "model"),
        ("401", openai.AuthenticationError, "invalid_api_key", None),
        ("500", openai.InternalServerError, None, None),
    ],
)
def test_errors(client, script, kind, code, param):
    with pytest.raises(kind) as raised:
        ask(client, stream=False, input=f"[[chaos: {script}]]")
    error = raised.value
    assert (error.code, error.param) == (code, param)
    assert error.request_id.startswith("req_")


def test_an_error_in_a_stream_and_a_stream_without_end(client):
    with pytest.raises(openai.APIError, match="Overloaded"):
        ask(client, stream=True, input="[[chaos: error_event after=1 error=overloaded]]")
    events = list(client.responses.create(model="x", input="[[chaos: no_finish]]", stream=True))
    assert events[-1].type == "response.output_item.done"


def test_a_wrong_script_is_told_by_the_name_of_its_field(client):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, stream=False, input="[[chaos: nonsense]]")
    assert raised.value.param == "input"
    schema = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}
    format_ = {"type": "json_schema", "name": "n", "schema": schema}
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, stream=False, text={"format": format_})
    assert raised.value.param == "text.format.schema"


def test_azures_dated_path_and_its_filters(chaos):
    with openai.AzureOpenAI(
        azure_endpoint=chaos.url, api_key="secret", api_version="2025-04-01-preview", max_retries=0
    ) as client:
        answer = client.responses.create(model="filtered", input="hi")
    prompt, said = answer.content_filters
    assert (prompt["source_type"], prompt["blocked"]) == ("prompt", False)
    assert (said["source_type"], said["blocked"]) == ("completion", True)
    assert last(chaos).path == "/openai/responses"


def test_openrouter_tells_the_cost(chaos):
    with client_of(chaos, "openrouter") as client:
        answer = client.responses.create(model="x", input="hi there")
    assert answer.id.startswith("gen-")
    assert answer.usage.cost == pytest.approx(12e-6)


def test_the_same_seed_gives_the_same_answers():
    def one() -> dict:
        with (
            run_chaos(ChaosConfig(seed=3)) as chaos,
            openai.OpenAI(base_url=chaos.base_url, api_key="k", max_retries=0) as client,
        ):
            return thought_of(client, "x").to_dict()

    assert one() == one()
