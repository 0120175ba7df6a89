"""What the real APIs answer 400 to is refused, in their words: a lenient judge proves nothing."""

import json
from typing import Any

import pytest
from tests.unit.chaos.raw import arrived

from holdfast.chaos import signature
from holdfast.chaos.wire.errors import Refused
from holdfast.chaos.wire.routes import find

HI = [{"role": "user", "content": "hi"}]
CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
OTHER = {**CALL, "id": "t2"}
ANSWERS = {"role": "user", "content": [RESULT, {**RESULT, "tool_use_id": "t2"}]}
OBJECT = {"type": "object"}
VERSION = {"anthropic-version": "2023-06-01"}
TOOL = {"name": "f", "input_schema": OBJECT}
MARKED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}


def turns(*contents: Any) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]


def refusal(path: str, body: Any, **headers: str) -> str | None:
    """What the API says against it; None: nothing."""
    request = arrived(path, body if isinstance(body, bytes) else json.dumps(body).encode(), **headers)
    found = find(request)
    try:
        found.wire.read(request, found.place)
    except Refused as refused:
        return refused.problem.message if refused.problem.status == 400 else None
    return None


def anthropic(change: dict[str, Any], path: str = "/v1/messages") -> str | None:
    body = {"model": "m", "max_tokens": 4096, "messages": HI, **change}
    given = {name: value for name, value in body.items() if value is not ...}
    return refusal(path, given, **VERSION)


ANTHROPIC = [
    ({"max_tokens": ...}, "max_tokens: Field required"),
    ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
    ({"model": ...}, "model: Field required"),
    ({"model": ""}, "model: String should have at least 1 character"),
    ({"messages": ...}, "messages: Field required"),
    ({"messages": []}, "messages: at least one message is required"),
    ({"messages": "hi"}, "messages: Input should be a valid list"),
    ({"messages": ["hi"]}, "messages.0: Input should be a valid dictionary"),
    ({"frequency_penalty": 1}, "frequency_penalty: Extra inputs are not permitted"),
    ({"messages": [{**HI[0], "name": "x"}]}, "messages.0.name: Extra inputs are not permitted"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: Input should be"),
    ({"messages": turns("")}, "messages.0: all messages must have non-empty content"),
    ({"messages": turns([])}, "messages.0: all messages must have non-empty content"),
    ({"messages": turns([{"type": "text", "text": ""}])}, "messages: text content blocks must be non-empty"),
    ({"messages": turns("hi", "so ")}, "messages: final assistant content cannot end with trailing whitespace"),
    ({"messages": turns([{"type": "video"}])}, "messages.0.content.0: Input tag 'video' found using 'type'"),
    ({"messages": turns([{"text": "x"}])}, "messages.0.content.0.type: Field required"),
    ({"messages": turns([RESULT])}, "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t1"),
    ({"messages": turns("a", [CALL], "b")}, "messages.1: `tool_use` ids were found without `tool_result` blocks"),
    ({"messages": turns("a", [CALL])}, "messages.1: `tool_use` ids were found without `tool_result` blocks"),
    ({"messages": turns("a", [CALL], "b", "c", [RESULT])}, "messages.1: `tool_use` ids were found"),
    ({"messages": turns("a", [CALL], [{"type": "text", "text": "so"}, RESULT])}, "messages.1: `tool_use` ids were"),
    ({"messages": turns("a", [CALL, CALL], [RESULT])}, "messages.1: `tool_use` ids must be unique"),
    ({"messages": turns([CALL])}, "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages"),
    ({"messages": turns("a", [RESULT])}, "messages.1.content.0: `tool_result` blocks can only be in `user` messages"),
    ({"messages": turns("a", [{**CALL, "id": "a.b"}], "c")}, "messages.1.content.0.tool_use.id: String should match"),
    ({"messages": turns("a", [{**CALL, "input": "{}"}], [RESULT])}, "messages.1.content.0.tool_use.input: Input should"),
    ({"messages": turns("a", [{"type": "thinking", "thinking": "x", "signature": "x"}])},
     "messages.1.content.0: Invalid `signature` in `thinking` block"),
    ({"messages": turns("a", [{"type": "thinking", "thinking": "x"}])},
     "messages.1.content.0.thinking.signature: Field required"),
    ({"messages": turns([{"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "eA=="}}])},
     "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg'"),
    ({"messages": turns([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}])},
     "messages.0.content.0.image.source.base64: invalid base64 data"),
    ({"messages": turns([{"type": "image"}])}, "messages.0.content.0.image.source: Field required"),
    ({"system": [{"type": "image"}]}, "system.0.type: Input should be 'text'"),
    ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
    ({"messages": turns([MARKED] * 5)}, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
    ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
    ({"tools": [{"name": "f", "input_schema": {"type": "string"}}]}, "tools.0.custom.input_schema.type: Input should be"),
    ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.custom.name: String should match pattern"),
    ({"tools": [{**TOOL, "parameters": {}}]}, "tools.0.custom.parameters: Extra inputs are not permitted"),
    ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    ({"tool_choice": {"type": "auto"}}, "tool_choice: tool_choice may only be specified while providing tools."),
    ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice: Input tag 'required' found"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.tool: Tool 'g' not found"),
    ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice: Input should be a valid dictionary"),
    ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
    ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "thinking.enabled.budget_tokens: Input should be greater"),
    ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "`max_tokens` must be greater than"),
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}, "tools": [TOOL], "tool_choice": {"type": "any"}},
     "Thinking may not be enabled when tool_choice forces tool use."),
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}, "temperature": 0}, "`temperature` may only be set to 1"),
    ({"temperature": 1.5}, "temperature: range: 0..1"),
    ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain non-whitespace"),
    ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type: Input should be 'json_schema'"),
    ({"stream": "yes"}, "stream: Input should be a valid boolean"),
]  # fmt: skip  # pairs side by side


@pytest.mark.parametrize(("change", "message"), ANTHROPIC, ids=lambda value: str(value)[:60])
def test_anthropic_refuses(change, message):
    said = anthropic(change)
    assert said is not None
    assert message in said


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"max_tokens": 0},
        {"messages": [*HI, *HI]},
        {"messages": [{"role": "system", "content": "x"}, *HI]},
        {"messages": turns("hi", "so far")},
        {"messages": turns("hi", "")},
        {"messages": turns("a", [CALL], [RESULT])},
        {"messages": [*turns("a", [CALL]), {"role": "user", "content": [RESULT]}, *HI]},
        {"messages": [*turns("a", [CALL]), {"role": "assistant", "content": [OTHER]}, ANSWERS]},
        {"messages": turns([MARKED] * 4)},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}], "tool_choice": {"type": "auto"}},
        {"tools": [{**TOOL, "type": "custom", "strict": True, "cache_control": {"type": "ephemeral"}}]},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "temperature": 1},
        {"temperature": 0.5, "top_p": 0.1, "top_k": 5},
    ],
    ids=lambda value: str(value)[:60],
)
def test_anthropic_takes(change):
    assert anthropic(change) is None


def test_anthropic_wants_its_version_and_json():
    assert refusal("/v1/messages", {"model": "m"}) == "anthropic-version: header is required"
    version = {"anthropic-version": "2026-10-21"}
    for body in (b"", b"{", b"[]", b'{"model":"\xff"}', b"[" * 100_000):
        assert refusal("/v1/messages", body, **version) is not None


def test_a_signature_of_the_other_provider_is_none():
    thought = {"type": "thinking", "thinking": "text", "signature": signature.made("gemini", "text", "00")}
    assert "Invalid `signature`" in anthropic({"messages": turns("a", [thought], "b")})
    mine = {**thought, "signature": signature.made("anthropic", "text", "00")}
    assert anthropic({"messages": turns("a", [mine], "b")}) is None
    text = {"text": "x", "thoughtSignature": mine["signature"]}
    assert gemini(contents(TEXT, text, TEXT)) == "Corrupted thought signature."


def test_a_count_takes_no_limit():
    path = "/v1/messages/count_tokens"
    assert anthropic({}, path) == "max_tokens: Extra inputs are not permitted"
    assert anthropic({"max_tokens": ...}, path) is None


def gemini(
    change: dict[str, Any], model: str = "gemini-2.5-flash", method: str = "generateContent"
) -> str | None:
    body = {"contents": [{"parts": [{"text": "hi"}]}], **change}
    given = {name: value for name, value in body.items() if value is not ...}
    return refusal(f"/v1beta/models/{model}:{method}", given)


def contents(*parts: Any) -> dict[str, Any]:
    """Turns of user and model, each with one part or a list of them."""
    roles = ("user", "model")
    return {
        "contents": [
            {"role": roles[i % 2], "parts": each if isinstance(each, list) else [each]}
            for i, each in enumerate(parts)
        ]
    }


TEXT = {"text": "hi"}
FCALL = {"functionCall": {"name": "f", "args": {}}}
FRESULT = {"functionResponse": {"name": "f", "response": {}}}
DECLARED = {"tools": [{"functionDeclarations": [{"name": "f"}]}]}
GEMINI = [
    ({"contents": ...}, "* GenerateContentRequest.contents: contents is not specified\n"),
    ({"contents": []}, "* GenerateContentRequest.contents: contents is not specified\n"),
    ({"contents": "hi"}, "Invalid value at 'contents'"),
    ({"messages": HI}, 'Invalid JSON payload received. Unknown name "messages": Cannot find field.'),
    ({"generationConfig": {"maxTokens": 3}}, "Unknown name \"maxTokens\" at 'generation_config': Cannot find field."),
    ({"contents": [{"parts": [{"txt": "x"}]}]}, "Unknown name \"txt\" at 'contents[0].parts[0]': Cannot find field."),
    ({"contents": [{"role": "assistant", "parts": [TEXT]}]}, "Please use a valid role: user, model."),
    ({"contents": [{"role": "user", "parts": []}]}, "contents.parts must not be empty."),
    ({"contents": [{"parts": [{"thought": True}]}]}, "required oneof field 'data' must have one initialized field"),
    ({"contents": [{"parts": [{**TEXT, **FCALL}]}]}, "required oneof field 'data' must have one initialized field"),
    ({"contents": [{"parts": [{"text": 3}]}]}, "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 3"),
    (contents(TEXT, FCALL, TEXT), "number of function response parts is equal to the number of function call parts"),
    (contents(TEXT, [FCALL, FCALL], FRESULT), "number of function response parts is equal"),
    (contents(FRESULT), "function response turn comes immediately after a function call turn"),
    (contents(TEXT, {"functionCall": {"args": {}}}, FRESULT), "function_call.name: Name cannot be empty."),
    (contents(TEXT, FCALL, {"functionResponse": {"response": {}}}), "function_response.name: Name cannot be empty."),
    (contents(TEXT, {**FCALL, "thoughtSignature": "eHh4"}, FRESULT), "Corrupted thought signature."),
    (contents({"inlineData": {"mimeType": "image/png", "data": "?"}}), "inline_data.data' (TYPE_BYTES), 'Base64"),
    (contents({"inlineData": {"data": "eA=="}}), "inline_data.mime_type"),
    ({"tools": [{"functionDeclarations": [{"name": "a b"}]}]}, "Invalid function name."),
    ({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {}, "parametersJsonSchema": {}}]}]},
     "parameters_json_schema must not be set when parameters is set."),
    ({**DECLARED, "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}}},
     "allowed_function_names should be set only when mode is ANY."),
    ({**DECLARED, "toolConfig": {"functionCallingConfig": {"mode": "REQUIRED"}}}, "function_calling_config.mode"),
    ({**DECLARED, "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}}}, "[g]"),
    ({"generationConfig": {"candidateCount": 9}}, "candidate_count: must be in the range [1, 8]."),
    ({"generationConfig": {"maxOutputTokens": "many"}}, "Invalid value at 'generation_config.max_output_tokens'"),
    ({"generationConfig": {"stopSequences": ["a"] * 6}}, "stop_sequences"),
    ({**DECLARED, "generationConfig": {"responseMimeType": "application/json"}},
     "Function calling with a response mime type: 'application/json' is unsupported"),
]  # fmt: skip  # pairs side by side


@pytest.mark.parametrize(("change", "message"), GEMINI, ids=lambda value: str(value)[:60])
def test_gemini_refuses(change, message):
    said = gemini(change)
    assert said is not None
    assert message in said


def test_gemini_3_wants_its_signatures_and_takes_structured_calls():
    unsigned = contents(TEXT, FCALL, FRESULT)
    assert gemini(unsigned) is None
    said = gemini(unsigned, "gemini-3-pro")
    assert said is not None
    assert "`default_api:f` , position 2" in said
    assert gemini(contents(TEXT, FCALL, FRESULT, TEXT, TEXT), "gemini-3-pro") is None, "another turn"
    assert gemini(contents(TEXT, [{"text": "so"}, FCALL], FRESULT), "gemini-3-pro") is not None, (
        "its own text"
    )
    both = {**DECLARED, "generationConfig": {"responseMimeType": "application/json"}}
    assert gemini(both, "gemini-3-pro") is None


@pytest.mark.parametrize(
    "change",
    [
        {"contents": {"parts": {"text": "one message is a list of one"}}},
        {"system_instruction": {"parts": [TEXT]}, "generation_config": {"max_output_tokens": 3}},
        {"contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "_-8"}}]}]},
        contents(TEXT, {"functionCall": {"name": "f", "args": {"any_key": 1}}}, FRESULT),
        {"tools": [{"googleSearch": {}}], "safetySettings": [{"category": "x", "threshold": "y"}]},
    ],
    ids=lambda value: str(value)[:60],
)
def test_gemini_takes(change):
    assert gemini(change) is None


def test_gemini_wants_an_object():
    for body in (b"", b"{", b"[]", b'{"contents":"\xff"}', b"[" * 100_000):
        assert refusal("/v1/models/m:generateContent", body) is not None


def test_a_gemini_count_takes_contents_or_a_request():
    assert gemini({}, method="countTokens") is None
    assert gemini({"generationConfig": {}}, method="countTokens") is not None
    inner = {"contents": ..., "generateContentRequest": {"contents": [{"parts": [TEXT]}]}}
    assert gemini(inner, method="countTokens") is None


TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASSISTANT = {"role": "assistant", "tool_calls": [TOOL_CALL]}
ANSWER = {"role": "tool", "tool_call_id": "c1", "content": "x"}


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (
            [*HI, ANSWER],
            "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'",
        ),
        ([*HI, ASSISTANT, *HI], "did not have response messages: c1"),
        ([*HI, ASSISTANT], "did not have response messages: c1"),
        ([*HI, ASSISTANT, {**ANSWER, "tool_call_id": "c2"}], "must be a response to a preceeding message"),
        (
            [*HI, ASSISTANT, {"role": "tool", "content": "x"}],
            "Missing required parameter: 'messages[2].tool_call_id'",
        ),
        ([*HI, ASSISTANT, ANSWER], None),
    ],
)
def test_openai_refuses(messages, message):
    said = refusal("/v1/chat/completions", {"model": "m", "messages": messages})
    assert said is None if message is None else message in said


def test_openai_refuses_a_picture_that_is_none():
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}
    messages = [{"role": "user", "content": [part]}]
    assert "base64" in refusal("/v1/chat/completions", {"model": "m", "messages": messages})
