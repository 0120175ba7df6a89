"""The Messages format, as the official SDK reads it."""

import base64
import copy
import json

import anthropic
import pytest

from holdfast.chaos import ChaosConfig, run_chaos

HI = [{"role": "user", "content": "hi there"}]
TOOLS = [
    {
        "name": name,
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    }
    for name in ("weather", "news")
]
PIXEL = base64.b64encode(b"\x89PNG not really").decode()
THINK = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture(scope="module")
def chaos():
    scripts = {
        "two-calls": "tools=2",
        "secretive": "reasoning=1 redacted=2",
        "spoken": "tools=1 preamble=2",
        "thinker": "reasoning=3 tokens=2",
        "cached": "cached=2 cache-written=3",
        "echo": "echo=true",
        "refuser": "finish=refusal",
    }
    with run_chaos(ChaosConfig(tokens=6, scripts=scripts, api_keys=("secret",), models=("a", "b"))) as chaos:
        yield chaos


@pytest.fixture(scope="module")
def client(chaos):
    with anthropic.Anthropic(base_url=chaos.url, api_key="secret", max_retries=0) as client:
        yield client


def last(chaos):
    return chaos.wait_for(lambda entries: entries and entries[-1].end)[-1]


def ask(client, stream, **asked):
    """An answer, whole or put together by the SDK."""
    asked = {"model": "x", "max_tokens": 4096, "messages": HI, **asked}
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        return events.get_final_message()


both = pytest.mark.parametrize("stream", [False, True])


@both
def test_text(client, chaos, stream):
    answer = ask(client, stream)
    entry = last(chaos)
    assert answer.id.startswith("msg_")
    assert (answer.model, answer.role, answer.stop_reason) == ("x", "assistant", "end_turn")
    assert [block.type for block in answer.content] == ["text"]
    assert answer.content[0].text == entry.text
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4 + 2, 6)
    assert (answer.usage.cache_read_input_tokens, answer.usage.cache_creation_input_tokens) == (0, 0)
    assert entry.headers["x-api-key" if "x-api-key" in entry.headers else "authorization"] == "***"
    assert entry.headers["anthropic-version"]


def test_the_events_of_a_stream_come_in_order(client):
    events = client.messages.create(
        model="thinker", max_tokens=9000, messages=HI, thinking=THINK, stream=True
    )
    kinds = [event.type if event.type != "content_block_delta" else event.delta.type for event in events]
    assert kinds == [
        "message_start",
        "content_block_start",  # ping is the SDK's to swallow
        *["thinking_delta"] * 3,
        "signature_delta",
        "content_block_stop",
        "content_block_start",
        *["text_delta"] * 2,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@both
def test_kinds_of_usage(client, chaos, stream):
    usage = ask(client, stream, model="cached").usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (1, 2, 3)
    assert usage.cache_creation.ephemeral_5m_input_tokens == 3
    billed = last(chaos).usage
    assert (billed.prompt_tokens, billed.cached_tokens, billed.cache_written_tokens) == (6, 2, 3)


@both
def test_max_tokens_and_stop_sequences(client, stream):
    cut = ask(client, stream, max_tokens=2)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)
    stopped = ask(client, stream, stop_sequences=[":3", ":5"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", ":3")
    assert ":2 " in stopped.content[0].text
    assert ":3" not in stopped.content[0].text
    assert ask(client, stream, model="refuser").stop_reason == "refusal"


@pytest.mark.parametrize(
    ("model", "choice", "names"),
    [
        ("x", {"type": "auto"}, []),
        ("x", {"type": "any"}, ["weather"]),
        ("x", {"type": "tool", "name": "news"}, ["news"]),
        ("two-calls", {"type": "auto"}, ["weather", "news"]),
        ("two-calls", {"type": "auto", "disable_parallel_tool_use": True}, ["weather"]),
        ("two-calls", {"type": "none"}, []),
    ],
)
@both
def test_tools(client, chaos, model, choice, names, stream):
    answer = ask(client, stream, model=model, tools=TOOLS, tool_choice=choice)
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.name for call in calls] == names
    assert len({call.id for call in calls}) == len(calls)
    assert answer.stop_reason == ("tool_use" if names else "end_turn")
    for call in calls:
        assert isinstance(call.input["city"], str)
        assert isinstance(call.input["days"], int)
    said = "".join(json.dumps(call.input, separators=(",", ":")) for call in calls)
    assert last(chaos).arguments == said


@both
def test_text_before_calls(client, stream):
    stopped = ask(client, stream, model="spoken", tools=TOOLS, stop_sequences=[":1"])
    assert [block.type for block in stopped.content] == ["text"], "nothing comes after a stop sequence"
    assert stopped.stop_reason == "stop_sequence"
    answer = ask(client, stream, model="spoken", tools=TOOLS)
    assert [block.type for block in answer.content] == ["text", "tool_use"]
    assert answer.content[0].text.count(":") == 2


def test_a_call_cut_by_max_tokens(client):
    answer = ask(client, stream=False, model="two-calls", tools=TOOLS, max_tokens=3)
    assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 3)
    assert answer.content[0].input == {}


@both
def test_a_conversation_with_thoughts_and_calls_goes_on(client, stream):
    answer = ask(client, stream, model="two-calls", tools=TOOLS, thinking={"type": "adaptive"})
    assert [block.type for block in answer.content] == ["thinking", "tool_use", "tool_use"]
    assert answer.usage.output_tokens_details.thinking_tokens == 4
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "fine"} for block in answer.content[1:]
    ]
    more = [*HI, answer.to_param(), {"role": "user", "content": results}]
    again = ask(client, stream, messages=more, tools=TOOLS, thinking={"type": "adaptive"})
    assert [block.type for block in again.content] == ["thinking", "text"]


@pytest.mark.parametrize("change", ["text", "signature", "none"])
def test_only_its_own_signature_for_that_very_thought_is_taken_back(client, change):
    thought = ask(client, stream=False, model="thinker").content[0].to_dict()
    if change == "text":
        thought["thinking"] += " "
    if change == "signature":
        letter = thought["signature"][20]
        thought["signature"] = thought["signature"].replace(letter, "A" if letter != "A" else "B")
    messages = [*HI, {"role": "assistant", "content": [thought, {"type": "text", "text": "so"}]}, *HI]
    if change == "none":
        assert ask(client, stream=False, messages=messages).stop_reason == "end_turn"
        return
    with pytest.raises(anthropic.BadRequestError) as raised:
        ask(client, stream=False, messages=messages)
    assert raised.value.api_message == "messages.1.content.0: Invalid `signature` in `thinking` block"


@both
def test_thoughts_may_be_omitted_disabled_or_asked_for(client, chaos, stream):
    omitted = ask(client, stream, model="thinker", thinking={**THINK, "display": "omitted"})
    assert (omitted.content[0].thinking, len(omitted.content)) == ("", 2)
    assert omitted.usage.output_tokens == last(chaos).usage.completion_tokens == 5
    assert last(chaos).reasoning == ""
    messages = [*HI, omitted.to_param(), *HI]
    assert ask(client, stream, messages=messages).stop_reason == "end_turn"
    assert [b.type for b in ask(client, stream, model="thinker", thinking={"type": "disabled"}).content] == [
        "text"
    ]
    assert [b.type for b in ask(client, stream, thinking=THINK).content] == ["thinking", "text"]


@both
def test_redacted_thoughts_come_back_as_they_were(client, stream):
    answer = ask(client, stream, model="secretive").to_dict()
    kinds = ["thinking", "redacted_thinking", "redacted_thinking", "text"]
    assert [block["type"] for block in answer["content"]] == kinds
    first, second = (block["data"] for block in answer["content"][1:3])
    assert first != second
    messages = [*HI, {"role": "assistant", "content": answer["content"]}, *HI]
    assert ask(client, stream, messages=messages).stop_reason == "end_turn"
    answer["content"][2]["data"] = second[:-4]
    with pytest.raises(anthropic.BadRequestError, match="redacted_thinking"):
        ask(client, stream, messages=messages)


@both
def test_structured_output(client, stream):
    schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 7}}, "required": ["age"]}
    answer = ask(client, stream, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert json.loads(answer.content[0].text) == {"age": 7}


def test_an_echo_names_images_and_files_wherever_they_stand(client):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    link = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    paper = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PIXEL}}
    call = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [image]}
    messages = [
        {"role": "user", "content": [image, link, paper]},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result, {"type": "text", "text": "and this?"}]},
    ]
    lines = ask(client, stream=False, model="echo", messages=messages).content[0].text.split("\n")
    assert lines[0] == "and this?"
    assert lines[1] == lines[4]
    assert lines[1].startswith("[image image/png 15 bytes sha256:")
    assert lines[2] == "[image https://example.com/a.png]"
    assert lines[3].startswith("[document application/pdf 15 bytes")


def test_counts_of_tokens_and_models(client, chaos):
    assert (
        client.messages.count_tokens(model="x", messages=HI, system="be nice").input_tokens == 4 + 2 + 4 + 2
    )
    assert last(chaos).operation == "count"
    page = client.models.list()
    assert [model.id for model in page.data] == ["a", "b"]
    assert not page.has_more


def test_the_beta_endpoint_is_the_same(client, chaos):
    answer = client.beta.messages.create(
        model="x",
        max_tokens=50,
        messages=HI,
        betas=["context-management-2025-06-27"],
        extra_query={"beta": "true"},
    )
    assert answer.stop_reason == "end_turn"
    entry = last(chaos)
    assert (entry.query, entry.headers["anthropic-beta"]) == ("beta=true", "context-management-2025-06-27")


@pytest.mark.parametrize(
    ("script", "kind", "status", "type_"),
    [
        ("429", anthropic.RateLimitError, 429, "rate_limit_error"),
        ("529", anthropic.OverloadedError, 529, "overloaded_error"),
        ("overloaded", anthropic.OverloadedError, 529, "overloaded_error"),
        ("insufficient_quota", anthropic.PaymentRequiredError, 402, "billing_error"),
        ("context_length_exceeded", anthropic.BadRequestError, 400, "invalid_request_error"),
        ("401", anthropic.AuthenticationError, 401, "authentication_error"),
        ("404", anthropic.NotFoundError, 404, "not_found_error"),
        ("500", anthropic.InternalServerError, 500, "api_error"),
    ],
)
def test_errors(client, script, kind, status, type_):
    with pytest.raises(kind) as raised:
        ask(client, stream=False, messages=[{"role": "user", "content": f"[[chaos: {script}]]"}])
    error = raised.value
    assert (error.status_code, error.type) == (status, type_)
    assert error.request_id == error.body["request_id"]
    assert error.request_id.startswith("req_")
    limited = error.response.headers.get("anthropic-ratelimit-requests-remaining")
    assert (limited == "0") == (status == 429)


def test_an_error_in_a_stream_and_a_stream_without_end(client):
    with pytest.raises(anthropic.APIStatusError) as raised:
        ask(
            client,
            stream=True,
            messages=[{"role": "user", "content": "[[chaos: error_event after=1 error=overloaded]]"}],
        )
    assert raised.value.body["error"]["type"] == "overloaded_error"
    messages = [{"role": "user", "content": "[[chaos: no_finish no_done]]"}]
    events = list(client.messages.create(model="x", max_tokens=9, messages=messages, stream=True))
    assert {"message_delta", "message_stop"} & {event.type for event in events} == set()


def test_a_wrong_key_is_401_and_no_other_header_helps(chaos):
    for key in ("wrong", "secret"):
        headers = {"api-key": "secret", "x-goog-api-key": "secret"} if key == "wrong" else {}
        with anthropic.Anthropic(base_url=chaos.url, api_key=key, max_retries=0) as client:
            if key == "secret":
                assert client.messages.create(model="x", max_tokens=5, messages=HI)
                continue
            with pytest.raises(anthropic.AuthenticationError):
                client.messages.create(model="x", max_tokens=5, messages=HI, extra_headers=headers)


def test_the_same_seed_gives_the_same_signatures():
    def one() -> dict:
        with (
            run_chaos(ChaosConfig(seed=3)) as chaos,
            anthropic.Anthropic(base_url=chaos.url, api_key="k", max_retries=0) as client,
        ):
            return copy.deepcopy(ask(client, stream=False, thinking=THINK).to_dict())

    assert one() == one()
