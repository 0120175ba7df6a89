"""Requests: what is read, and what is said about one that can't be."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.dialects.fields import HARMLESS
from holdfast.dialects.openai_chat.locating import locate
from holdfast.dialects.openai_chat.request import decode_request, encode_request
from holdfast.dialects.writing import Drops
from holdfast.errors import CantExpress, InvalidRequest
from holdfast.model import (
    Audio,
    CacheMark,
    Citation,
    File,
    Image,
    Message,
    Opaque,
    OpaqueTool,
    OutputFormat,
    OutputKind,
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
            ToolResult(call_id="b"),
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
        "content": "",
    }


@pytest.mark.parametrize(
    ("options", "effort"),
    [
        (ReasoningOptions(effort="high"), "high"),
        (ReasoningOptions(enabled=False), "none"),
        (ReasoningOptions(enabled=True), "medium"),
        (ReasoningOptions(enabled=True, effort="low"), "low"),
        (ReasoningOptions(enabled=False, effort="high"), "none"),
    ],
)
def test_reasoning_options_of_other_dialects_become_an_effort(options: ReasoningOptions, effort: str) -> None:
    assert encode(Request(model="m", messages=(HELLO,), reasoning=options))["reasoning_effort"] == effort


def _said(*parts: Any, role: Role = Role.USER, **fields: Any) -> dict[str, Any]:
    return {"messages": (Message(role=role, parts=parts, **fields),)}


FIRST = "messages[0].parts[0]"
MARK = CacheMark(ttl="5m")
CALL = ToolCall(id="c", name="f", arguments="{}")


@pytest.mark.parametrize(
    ("fields", "param", "field"),
    [
        (_said(Opaque(dialect="anthropic", data={"type": "container_upload"})), FIRST, "container_upload"),
        (_said(Opaque(dialect="gemini", data={"executableCode": {}})), FIRST, "executableCode"),
        (_said(Opaque(dialect="anthropic", data={"type": "x"}), role=Role.ASSISTANT), FIRST, "x"),
        (_said(Opaque(dialect="anthropic", data={})), FIRST, FIRST),
        (_said(Image(file_id="file-1")), FIRST, "image.file_id"),
        (_said(File(file_id="file-1")), FIRST, "file.file_id"),
        (_said(File(url="https://x/a.pdf")), FIRST, "file.url"),
        (_said(Audio(url="https://x/a.wav")), FIRST, "audio.url"),
        (_said(Text(text="x"), Image(data="AA=="), role=Role.SYSTEM), "messages[0].parts[1]", "image.data"),
        (_said(Image(data="AA=="), role=Role.ASSISTANT), FIRST, "image.data"),
        (_said(Audio(data="AA=="), role=Role.ASSISTANT), FIRST, "audio.data"),
        (_said(CALL), FIRST, "tool_call"),
        (
            _said(Text(text="x", extra={"citations": {"enabled": True}}), Text(text="y")),
            f"{FIRST}.citations",
            "citations",
        ),
        (_said(Text(text="x", citations=(Citation(url="u"),)), role=Role.ASSISTANT), FIRST, "citations"),
        (_said(Text(text="x", cache=MARK)), FIRST, "cache_control"),
        (_said(replace(CALL, cache=MARK), role=Role.ASSISTANT), FIRST, "cache_control"),
        (_said(ToolResult(call_id="c", cache=MARK), role=Role.TOOL), FIRST, "cache_control"),
        (
            _said(ToolResult(call_id="c", parts=(Text(text="x", cache=MARK),))),
            f"{FIRST}.parts[0]",
            "cache_control",
        ),
        ({"tools": (Tool(name="f", cache=MARK),)}, "tools[0]", "cache_control"),
        ({"cache": MARK}, "cache", "cache_control"),
        (_said(ToolResult(call_id="c", parts=(Image(url="u"),))), f"{FIRST}.parts[0]", "tool_result.image"),
        (_said(ToolResult(call_id="c", parts=(File(data="AA=="),))), f"{FIRST}.parts[0]", "tool_result.file"),
        (_said(Reasoning(text="a", signature="s"), role=Role.ASSISTANT), FIRST, "reasoning.foreign"),
        (_said(Reasoning(encrypted="s"), role=Role.ASSISTANT), FIRST, "reasoning.foreign"),
        (_said(Text(text="a", signature="s"), role=Role.ASSISTANT), FIRST, "reasoning.foreign"),
        (_said(replace(CALL, signature="s"), role=Role.ASSISTANT), FIRST, "tool_call.signature"),
        (_said(Text(text="x"), extra={"odd": 1}), "messages[0].odd", "odd"),
        ({"tools": (OpaqueTool(dialect="anthropic", data={"type": "bash"}),)}, "tools[0]", "tools.provider"),
        ({"tool_choice": ToolChoice(mode=ToolMode.OPAQUE, extra={"a": 1})}, "tool_choice", "tool_choice"),
        ({"output": OutputFormat(kind=OutputKind.OPAQUE, extra={"a": 1})}, "output", "output"),
        ({"extra": {"container": "c"}}, "container", "container"),
        (
            {"reasoning": ReasoningOptions(budget_tokens=5)},
            "reasoning.budget_tokens",
            "reasoning.budget_tokens",
        ),
    ],
)
def test_what_only_another_dialect_can_say_is_told_not_dropped(
    fields: dict[str, Any], param: str, field: str
) -> None:
    request = Request(**{"model": "m", "messages": (HELLO,), "dialect": "anthropic", **fields})
    with pytest.raises(CantExpress) as caught:
        encode_request(request)
    assert (caught.value.param, caught.value.field) == (param, field)
    drops = Drops([field])
    body = encode_request(request, drops)
    assert drops.dropped == (field,)
    decode_request(body)  # what is left is a request


def test_what_was_said_here_before_is_said_again() -> None:
    """The strict rules are for what comes from elsewhere: a caller of this dialect knows its server."""
    message = {
        "role": "tool",
        "tool_call_id": "c",
        "content": [{"type": "image_url", "image_url": {"url": "u"}, "cache_control": {"type": "ephemeral"}}],
    }
    assert encode(decode(messages=[message]))["messages"] == [message]


def test_the_models_own_voice_is_named_by_its_id() -> None:
    spoken = Message(role=Role.ASSISTANT, parts=(Audio(file_id="audio_1"),))
    assert encode(Request(model="m", messages=(spoken,)))["messages"][0]["audio"] == {"id": "audio_1"}


def test_a_failed_tool_is_said_in_words() -> None:
    def content(*parts: Any) -> Any:
        result = ToolResult(call_id="c", parts=parts, is_error=True)
        (message,) = encode(Request(model="m", messages=(Message(role=Role.TOOL, parts=(result,)),)))[
            "messages"
        ]
        return message["content"]

    assert content(Text(text="no disk")) == "Error: no disk"
    assert content(Text(text="ERROR: no disk")) == "ERROR: no disk"
    assert content() == "Error"
    assert content(Text(text="a"), Text(text="b")) == [
        {"type": "text", "text": "Error: a"},
        {"type": "text", "text": "b"},
    ]


def test_another_dialects_calls_get_what_openai_requires() -> None:
    said = (
        Message(role=Role.ASSISTANT, parts=(ToolCall(name="f"), ToolCall(name="g", arguments="{"))),
        Message(role=Role.USER, parts=(ToolResult(name="g"), ToolResult(name="f"))),
    )
    schema = OutputFormat(kind=OutputKind.JSON_SCHEMA, schema={"type": "object"})
    written = encode(Request(model="m", messages=said, output=schema, dialect="gemini"))
    assert [(call["id"], call["function"]["arguments"]) for call in written["messages"][0]["tool_calls"]] == [
        ("call_0", "{}"),
        ("call_1", "{"),
    ]
    assert written["messages"][1:] == [
        {"role": "tool", "tool_call_id": "call_1", "content": ""},
        {"role": "tool", "tool_call_id": "call_0", "content": ""},
    ]
    assert written["response_format"]["json_schema"] == {"name": "answer", "schema": {"type": "object"}}


def test_signatures_come_back_to_their_issuers() -> None:
    """Marked ones name the issuer, OpenRouter's format does, and one with neither is this dialect's."""
    said = decode_message(
        {
            "role": "assistant",
            "content": "x",
            "extra_content": {"google": {"thought_signature": "holdfast:gemini:t", "odd": 1}},
            "reasoning_details": [
                {"type": "reasoning.text", "text": "a", "signature": "holdfast:anthropic:s"},
                {"type": "reasoning.text", "text": "b", "signature": "s", "format": "anthropic-claude-v1"},
                {"type": "reasoning.text", "text": "c", "signature": "s", "format": "unknown"},
                {"type": "reasoning.encrypted", "data": "holdfast:gemini:e"},
                {"type": "reasoning.encrypted", "data": "e", "format": "openai-responses-v1"},
            ],
            "tool_calls": [
                {
                    "id": "c",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": signature}},
                }
                for signature in ("holdfast:gemini:u", "u")
            ],
        }
    )
    proofs = [
        (getattr(part, "signature", None) or getattr(part, "encrypted", None), part.signed_by)
        for part in said.parts
        if isinstance(part, Text | Reasoning | ToolCall)
    ]
    assert proofs == [
        ("s", "anthropic"), ("s", "anthropic"), ("s", None), ("e", "gemini"), ("e", "openai_responses"),
        ("t", "gemini"), ("u", "gemini"), ("u", None),
    ]  # fmt: skip  # a list reads better packed
    assert said.extra == {"extra_content": {"google": {"odd": 1}}}


def test_only_the_targets_own_proofs_are_sent_to_it() -> None:
    own = {"type": "reasoning.text", "text": "b", "signature": "s", "format": "anthropic-claude-v1"}
    message = {
        "role": "assistant",
        "content": "x",
        "reasoning_content": "ab",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "a", "signature": "holdfast:anthropic:s"},
            own,
        ],
        "tool_calls": [
            {
                "id": "c",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": signature}},
            }
            for signature in ("holdfast:gemini:u", "u")
        ],
    }
    drops = Drops(HARMLESS)
    (written,) = json.loads(encode_request(decode(messages=[message]), drops))["messages"]
    assert drops.dropped == ("reasoning.foreign", "tool_call.signature")
    assert (written["reasoning_content"], written["reasoning_details"]) == ("b", [own])
    assert [call.get("extra_content") for call in written["tool_calls"]] == [
        None,
        {"google": {"thought_signature": "u"}},
    ]


def test_a_details_number_and_format_are_no_hindrance_elsewhere() -> None:
    """Callers hand back what a stream of OpenRouter's told them; both say nothing to anybody else."""
    details = [
        {
            "type": "reasoning.text",
            "text": "a",
            "signature": "s",
            "format": "anthropic-claude-v1",
            "index": 0,
        },
        {"type": "reasoning.summary", "summary": "b", "format": "openai-responses-v1", "index": -1},
        {"type": "reasoning.text", "text": "c"},
        {"type": "reasoning.odd", "index": 3},
        {"type": "reasoning.text", "text": "d", "format": None, "index": "4"},
        {"type": "reasoning.text", "text": "e", "format": "no word"},
    ]
    request = decode(messages=[{"role": "assistant", "content": "x", "reasoning_details": details}])
    assert encode(request)["messages"][0]["reasoning_details"] == details
    assert [part.extra for part in request.messages[0].parts if isinstance(part, Reasoning)] == [
        {}, {}, {}, {"format": None, "index": "4"}, {"format": "no word"},
    ]  # fmt: skip  # a list reads better packed
    assert locate(request, "messages[0].parts[1]") == "messages[0].reasoning_details[1]"
    changed = replace(request.messages[0], parts=request.messages[0].parts[1:2])
    (kept,) = encode(replace(request, messages=(changed,)))["messages"][0]["reasoning_details"]
    assert kept == {"type": "reasoning.summary", "summary": "b"}, "numbers of other details aren't its own"


def test_one_of_some_tools_comes_back() -> None:
    some = ToolChoice(mode=ToolMode.NAMED, names=("f", "g"))
    written = encode(Request(model="m", messages=(HELLO,), tool_choice=some))
    assert decode(tool_choice=written["tool_choice"]).tool_choice == some
    for odd in (
        {**written["tool_choice"], "odd": 1},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": 5}},
        {"type": "allowed_tools", "allowed_tools": 5},
    ):
        kept = decode(tool_choice=odd).tool_choice
        assert kept == ToolChoice(mode=ToolMode.OPAQUE, extra=odd)


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("messages[0].parts[0]", "messages[0].content"),
        ("messages[1].parts[1].citations", "messages[1].content[1].citations"),
        ("messages[2].parts[0]", "messages[2].reasoning_details[0]"),
        ("messages[2].parts[1]", "messages[2].reasoning_details[1]"),
        ("messages[2].parts[2]", "messages[2].content"),
        ("messages[2].parts[3]", "messages[2].refusal"),
        ("messages[2].parts[5]", "messages[2].tool_calls[1]"),
        ("messages[3].parts[0].parts[0]", "messages[3].content"),
        ("messages[3].parts[9]", "messages[3].parts[9]"),
        ("messages[9].parts[0]", "messages[9].parts[0]"),
        ("messages[1].odd", "messages[1].odd"),
        ("cache", "cache_control"),
        ("max_output_tokens", "max_tokens"),
        ("output", "response_format"),
        ("reasoning.budget_tokens", "reasoning.max_tokens"),
        ("sampling.top_k", "top_k"),
        ("tool_choice", "tool_choice"),
        ("tools[0]", "tools[0]"),
        ("container", "container"),
        ("", ""),
    ],
)
def test_a_path_is_told_as_the_caller_wrote_it(path: str, written: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = decode(
        messages=[
            USER,
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "reasoning_details": [{"type": "reasoning.text", "text": "a"}, {"type": "odd"}],
                "content": "x",
                "refusal": "no",
                "tool_calls": [call, {**call, "id": "d"}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        max_tokens=5,
        reasoning={"max_tokens": 5},
    )
    assert locate(request, path) == written


@pytest.mark.parametrize(
    ("fields", "path", "written"),
    [
        ({"functions": [{"name": "f"}]}, "tools[0]", "functions[0]"),
        ({"function_call": "auto"}, "tool_choice", "function_call"),
        ({"thinking": {"type": "enabled"}}, "reasoning.enabled", "thinking.type"),
        (
            {"thinking": {"type": "enabled"}, "reasoning_effort": "low"},
            "reasoning.effort",
            "reasoning_effort",
        ),
        ({"reasoning_effort": "low"}, "reasoning.effort", "reasoning_effort"),
        ({}, "max_output_tokens", "max_completion_tokens"),
    ],
)
def test_a_path_is_told_in_the_callers_spelling(fields: dict[str, Any], path: str, written: str) -> None:
    assert locate(decode(**fields), path) == written


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
    said = (Message(role=Role.ASSISTANT, parts=(cited,)),)
    (message,) = encode(Request(model="m", messages=said, dialect="openai_chat"))["messages"]
    assert message["annotations"] == [
        {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    ]


def test_a_lone_surrogate_is_an_invalid_request_not_a_crash() -> None:
    broken = Message(role=Role.USER, parts=(Text(text="\ud800"),))
    with pytest.raises(InvalidRequest, match="can't be written as JSON"):
        encode_request(Request(model="m", messages=(broken,)))
