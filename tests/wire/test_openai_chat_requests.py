"""Requests: what is read, and what is said about one that can't be."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from holdfast.dialects.openai_chat.request import decode_request, encode_request
from holdfast.errors import CantExpress, InvalidRequest
from holdfast.model import (
    CacheMark,
    Citation,
    File,
    Image,
    Message,
    Opaque,
    OpaqueTool,
    Reasoning,
    ReasoningOptions,
    Request,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)

USER = {"role": "user", "content": "x"}
HELLO = Message(role=Role.USER, parts=(Text(text="x"),))


def decode(**fields: Any) -> Request:
    return decode_request(json.dumps({"model": "m", "messages": [USER], **fields}).encode())


def decode_message(message: Any) -> Message:
    return decode(messages=[message]).messages[0]


def encode(request: Request) -> dict[str, Any]:
    return json.loads(encode_request(request))


def test_what_a_request_means() -> None:
    request = decode(
        messages=[
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "t", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"},
                    },
                    {"type": "file", "file": {"file_id": "f"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        max_tokens=5,
        stop="END",
        stream=True,
        stream_options={"include_usage": True},
        reasoning_effort="low",
        temperature=0,
    )
    assert [message.parts for message in request.messages] == [
        (Text(text="s"),),
        (
            Text(text="t", cache=CacheMark(ttl="5m")),
            Image(data="iVBO", media_type="image/png", detail="low"),
            File(file_id="f"),
        ),
        (Reasoning(text="hm"), ToolCall(id="c", name="f", arguments="{}")),
        (ToolResult(call_id="c", parts=(Text(text="r"),)),),
    ]
    assert request.tools == (Tool(name="f", parameters={"type": "object"}),)
    assert request.tool_choice == ToolChoice(mode=ToolMode.NAMED, names=("f",))
    assert (request.max_output_tokens, request.stop, request.stream) == (5, ("END",), True)
    assert request.include_usage is True
    assert request.reasoning == ReasoningOptions(effort="low")
    assert request.sampling == Sampling(temperature=0)
    assert request.spelling == {"max_output_tokens": "max_tokens", "stop": "string"}


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"model": None}, "model", "model is null; it must be the name of a model"),
        ({"model": 5}, "model", "model is a number; it must be a string"),
        ({"messages": None}, "messages", "must be a list of at least one message"),
        ({"messages": []}, "messages", "must be a list of at least one message"),
        ({"messages": "hi"}, "messages", "messages is a string; it must be a list"),
        ({"messages": ["hi"]}, "messages[0]", "messages[0] is a string; it must be an object"),
        ({"messages": [USER, {"content": "x"}]}, "messages[1].role", "is missing; it must be one of system"),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            "messages[0].role",
            "is 'robot'; it must be one of",
        ),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "messages[0].content",
            "is a number; it must be a string or",
        ),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "is null"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]", "must be an object"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type", "is missing"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
            "is a number; it must be a string",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}]},
            "messages[0].content[0].image_url",
            "is a string; it must be an object",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
            "is missing; it must be an address or a data: URL",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "is missing"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "function"}]}]},
            "messages[0].tool_calls[0].function",
            "is missing; it must be an object",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
            "is an object; it must be a string",
        ),
        ({"tools": {}}, "tools", "is an object; it must be a list"),
        ({"tools": [{"function": {}}]}, "tools[0].type", "is missing"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "is missing"),
        ({"tool_choice": "maybe"}, "tool_choice", "is 'maybe'; it must be auto, none, required or an object"),
        ({"tool_choice": 5}, "tool_choice", "is a number"),
        ({"tool_choice": {"function": 5}}, "tool_choice.function", "must be an object"),
        ({"temperature": "hot"}, "temperature", "is a string; it must be a number"),
        ({"temperature": True}, "temperature", "is true or false; it must be a number"),
        ({"n": True}, "n", "is true or false; it must be an integer"),
        ({"n": 1.5}, "n", "is a number; it must be an integer"),
        ({"max_tokens": "5"}, "max_tokens", "is a string; it must be an integer"),
        ({"stream": "yes"}, "stream", "is a string; it must be true or false"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "must be true or false"),
        ({"stop": [1]}, "stop", "it must be a string or a list of strings"),
        ({"response_format": "json"}, "response_format", "is a string; it must be an object"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "is missing"),
        (
            {"response_format": {}},
            "response_format.type",
            "is missing; it must be text, json_object or json_schema",
        ),
        ({"reasoning": "high"}, "reasoning", "is a string; it must be an object"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_right(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == param
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "isn't valid JSON"),
        (b"{", "isn't valid JSON"),
        (b"[]", "the body is a list; it must be an object"),
        (b"\xff\xfe", "isn't valid JSON"),
        (b'{"model": "\xff"}', "isn't valid UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"n": ' + b"9" * 5_000 + b"}", "isn't valid JSON"),
        (b'{"n": 1e99999999999999999999999}', "out of range"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        decode_request(body)


@pytest.mark.parametrize(
    "number",
    ["12345678901234567890123", "0.1000000000000000055511151231257827", "1e400", "1E-400", "-0.0", "1.50"],
)
def test_numbers_keep_every_digit(number: str) -> None:
    body = f'{{"model":"m","messages":[{{"role":"user","content":"x"}}],"temperature":{number}}}'.encode()
    again = encode_request(decode_request(body))
    written = again.partition(b'"temperature":')[2].partition(b"}")[0].decode()
    assert Decimal(written) == Decimal(number)


def test_tool_results_and_text_in_one_message_become_messages_of_their_own() -> None:
    together = Message(
        role=Role.USER,
        parts=(
            ToolResult(call_id="a", parts=(Text(text="1"),)),
            ToolResult(call_id="b", is_error=True),
            Text(text="go on"),
        ),
    )
    assert encode(Request(model="m", messages=(together,)))["messages"] == [
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": "go on"},
    ]


def test_reasoning_without_a_spelling_is_said_where_clients_look_and_where_it_fits() -> None:
    thoughts = (Reasoning(text="a", signature="s"), Reasoning(encrypted="e"), Text(text="x"))
    request = Request(model="m", messages=(Message(role=Role.ASSISTANT, parts=thoughts),))
    assert encode(request)["messages"][0] == {
        "role": "assistant",
        "reasoning_content": "a",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "a", "signature": "s"},
            {"type": "reasoning.encrypted", "data": "e"},
        ],
        "content": "x",
    }
    plain = Message(role=Role.ASSISTANT, parts=(Reasoning(text="a"),))
    assert encode(Request(model="m", messages=(plain,)))["messages"][0] == {
        "role": "assistant",
        "reasoning_content": "a",
    }


@pytest.mark.parametrize(
    ("options", "effort"),
    [
        (ReasoningOptions(effort="high"), "high"),
        (ReasoningOptions(enabled=False), "none"),
        (ReasoningOptions(enabled=True), "medium"),
    ],
)
def test_reasoning_options_of_other_dialects_become_an_effort(options: ReasoningOptions, effort: str) -> None:
    assert encode(Request(model="m", messages=(HELLO,), reasoning=options))["reasoning_effort"] == effort


def _said(*parts: Any, role: Role = Role.USER, **fields: Any) -> dict[str, Any]:
    return {"messages": (Message(role=role, parts=parts, **fields),)}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (_said(Opaque(dialect="anthropic", data={"type": "container_upload"})), "messages[0].content[0]"),
        (_said(Opaque(dialect="anthropic", data={}), role=Role.ASSISTANT), "messages[0].content[0]"),
        (_said(Image(file_id="file-1")), "messages[0].content[0]"),
        (
            _said(Text(text="x", extra={"citations": {"enabled": True}}), Text(text="y")),
            "messages[0].content[0].citations",
        ),
        (_said(Text(text="x"), extra={"odd": 1}), "messages[0].odd"),
        ({"tools": (OpaqueTool(dialect="anthropic", data={"type": "bash"}),)}, "tools[0]"),
        ({"extra": {"container": "c"}}, "container"),
        ({"reasoning": ReasoningOptions(budget_tokens=5)}, "reasoning.budget_tokens"),
    ],
)
def test_what_only_another_dialect_can_say_is_told_not_dropped(fields: dict[str, Any], param: str) -> None:
    request = Request(**{"model": "m", "messages": (HELLO,), "dialect": "anthropic", **fields})
    with pytest.raises(CantExpress) as caught:
        encode_request(request)
    assert caught.value.param == param


def test_another_dialects_nulls_and_spelling_say_nothing_here() -> None:
    request = Request(
        model="m",
        messages=(HELLO,),
        max_output_tokens=5,
        dialect="anthropic",
        spelling={"max_output_tokens": "max_tokens"},
        extra={"container": None},
    )
    assert encode(request) == {"model": "m", "messages": [USER], "max_completion_tokens": 5}


def test_citations_handed_back_stay_annotations() -> None:
    cited = Text(text="x", citations=(Citation(url="u", title="t", start=0, end=1),))
    (message,) = encode(Request(model="m", messages=(Message(role=Role.ASSISTANT, parts=(cited,)),)))[
        "messages"
    ]
    assert message["annotations"] == [
        {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    ]


def test_a_lone_surrogate_is_an_invalid_request_not_a_crash() -> None:
    broken = Message(role=Role.USER, parts=(Text(text="\ud800"),))
    with pytest.raises(InvalidRequest, match="can't be written as JSON"):
        encode_request(Request(model="m", messages=(broken,)))
