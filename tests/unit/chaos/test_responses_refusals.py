"""What the Responses API answers 400 and 404 to is refused, with the field's name; what it takes is taken."""

import json
from typing import Any

import pytest
from tests.unit.chaos.raw import arrived
from tests.unit.chaos.test_hostile_requests import variants

from holdfast.chaos import signature
from holdfast.chaos.wire.errors import Problem, Refused
from holdfast.chaos.wire.openai_responses import ids
from holdfast.chaos.wire.routes import find

OPENAI, AZURE, OPENROUTER, DEEPSEEK = (
    "/v1/responses",
    "/openai/v1/responses",
    "/api/v1/responses",
    "/responses",
)
HI = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OTHER = {**CALL, "call_id": "c2"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x"}
THIRD = {**CALL, "call_id": "c3"}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SAID = {
    "type": "message",
    "role": "assistant",
    "id": "msg_1",
    "content": [{"type": "output_text", "text": "so"}],
}
DIGITS = "0123456789abcdef01234567"
THOUGHT = {
    "type": "reasoning",
    "id": f"rs_{DIGITS}",
    "summary": [],
    "encrypted_content": signature.made("openai responses thoughts", "", DIGITS),
}


def of(call_id: str) -> dict[str, Any]:
    """The output of a call."""
    return {**OUTPUT, "call_id": call_id}


def refused(change: dict[str, Any], path: str = OPENAI) -> Problem | None:
    body = {"model": "m", "input": "hi", **change}
    return refusal(path, {name: value for name, value in body.items() if value is not ...})


def refusal(path: str, body: Any) -> Problem | None:
    request = arrived(path, body if isinstance(body, bytes) else json.dumps(body).encode())
    found = find(request)
    assert found is not None
    try:
        found.wire.read(request, found.place)
    except Refused as refusal:
        return refusal.problem
    return None


def parts(*given: Any, role: str = "user") -> dict[str, Any]:
    return {"input": [{"role": role, "content": list(given)}]}


def output(*items: Any) -> dict[str, Any]:
    return {"input": [HI, *items]}


REFUSED = [
    ({"model": ...}, "Missing required parameter: 'model'.", "model", "missing_required_parameter"),
    ({"model": ""}, "Invalid 'model'", "model", "invalid_value"),
    ({"model": 7}, "Invalid type for 'model': expected a string, but got an integer", "model", "invalid_type"),
    ({"input": ...}, "One of 'input' or 'previous_response_id'", "input", "missing_required_parameter"),
    ({"input": []}, "One of 'input'", "input", "missing_required_parameter"),
    ({"input": 7}, "expected one of a string or array of input items, but got an integer", "input", "invalid_type"),
    ({"input": ["hi"]}, "expected an object, but got a string", "input[0]", "invalid_type"),
    ({"input": [{}]}, "Missing required parameter: 'input[0].type'.", "input[0].type", "missing_required_parameter"),
    ({"messages": [HI]}, "has moved to 'input'", "messages", "unsupported_parameter"),
    ({"max_tokens": 9}, "has moved to 'max_output_tokens'", "max_tokens", "unsupported_parameter"),
    ({"response_format": {}}, "has moved to 'text.format'", "response_format", "unsupported_parameter"),
    ({"stop": ["x"]}, "Unknown parameter: 'stop'.", "stop", "unknown_parameter"),
    ({"input": [{"role": "tool", "content": "x"}]}, "Supported values are: 'assistant', 'system', 'developer', and 'user'.",
     "input[0].role", "invalid_value"),
    ({"input": [{"role": "user"}]}, "Missing required parameter: 'input[0].content'.", "input[0].content",
     "missing_required_parameter"),
    ({"input": [{"type": "thing"}]}, "Invalid value: 'thing'", "input[0]", "invalid_value"),
    (parts({"type": "text", "text": "hi"}), "Invalid value: 'text'", "input[0].content[0]", "invalid_value"),
    (parts({"type": "input_text"}), "'input[0].content[0].text'", "input[0].content[0].text", "missing_required_parameter"),
    (parts({"type": "output_text", "text": "x"}), "'input_text'", "input[0].content[0]", "invalid_value"),
    (parts({"type": "input_text", "text": "x"}, role="assistant"),
     "Supported values are: 'output_text' and 'refusal'.", "input[0].content[0]", "invalid_value"),
    (parts({"type": "input_image"}), "'input[0].content[0].image_url'", "input[0].content[0].image_url",
     "missing_required_parameter"),
    (parts({"type": "input_image", "image_url": {"url": "x"}}), "but got an object instead",
     "input[0].content[0].image_url", "invalid_type"),
    (parts({"type": "input_image", "image_url": "data:image/png;base64,?"}), "base64", "input[0].content[0]",
     "invalid_value"),
    (parts({"type": "input_audio", "input_audio": {"data": "eA=="}}), "'input[0].content[0].input_audio.format'",
     "input[0].content[0].input_audio.format", "missing_required_parameter"),
    (output(OUTPUT), "No tool call found for function call output with call_id c1.", "input", None),
    (output(CALL), "No tool output found for function call c1.", "input", None),
    (output(CALL, OTHER, OUTPUT), "No tool output found for function call c2.", "input", None),
    (output({**CALL, "name": None}, OUTPUT), "'input[1].name'", "input[1].name", "missing_required_parameter"),
    (output({**CALL, "arguments": {}}, OUTPUT), "'input[1].arguments': expected a string, but got an object",
     "input[1].arguments", "invalid_type"),
    (output(CALL, {**OUTPUT, "output": None}), "'input[2].output'", "input[2].output", "missing_required_parameter"),
    (output({**CALL, "id": "c1"}, OUTPUT), "Expected an ID that begins with 'fc'.", "input[1].id", "invalid_value"),
    (output({**SAID, "id": "chatcmpl-1"}), "Expected an ID that begins with 'msg'.", "input[1].id", "invalid_value"),
    (output(SAID, SAID), "Duplicate item found with id msg_1.", "input", "duplicate_item"),
    (output(THOUGHT), "was provided without its required following item.", "input", None),
    (output(THOUGHT, HI), "was provided without its required following item.", "input", None),
    (output(THOUGHT, {**SAID, "id": None}), "was provided without its required following item.", "input", None),
    (output({**THOUGHT, "summary": None}, SAID), "'input[1].summary'", "input[1].summary", "missing_required_parameter"),
    (output({"type": "reasoning", "summary": []}, SAID), "'input[1].id'", "input[1].id", "missing_required_parameter"),
    (output({**THOUGHT, "encrypted_content": "gAAA"}, SAID), "could not be verified", None, "invalid_encrypted_content"),
    (output({**THOUGHT, "id": "rs_no hexadecimal, but long"}, SAID), "did not match the target item id", None,
     "invalid_encrypted_content"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "'tools[0].name'", "tools[0].name",
     "missing_required_parameter"),
    ({"tools": [{"name": "f"}]}, "'tools[0].type'", "tools[0].type", "missing_required_parameter"),
    ({"tools": [{**TOOL, "name": "a b"}]}, "string does not match pattern", "tools[0].name", "invalid_value"),
    ({"tools": [{**TOOL, "name": "a" * 129}]}, "maximum length 128", "tools[0].name", "string_above_max_length"),
    ({"tools": [{**TOOL, "parameters": "x"}]}, "'tools[0].parameters'", "tools[0].parameters", "invalid_type"),
    ({"tool_choice": "any"}, "Supported values are: 'none', 'auto', and 'required'.", "tool_choice", "invalid_value"),
    ({"tool_choice": "required"}, "must be specified with 'tools'", "tool_choice", None),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "not found in 'tools'", "tool_choice", None),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "'tool_choice.name'",
     "tool_choice.name", "missing_required_parameter"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "tools": []}}, "'tool_choice.mode'", "tool_choice.mode",
     "missing_required_parameter"),
    ({"max_output_tokens": 15}, "Expected a value >= 16, but got 15 instead.", "max_output_tokens",
     "integer_below_min_value"),
    ({"max_output_tokens": True}, "expected an integer, but got a boolean", "max_output_tokens", "invalid_type"),
    ({"max_output_tokens": 20.5}, "expected an integer, but got a decimal", "max_output_tokens", "invalid_type"),
    ({"temperature": 2.5}, "Expected a value <= 2, but got 2.5 instead.", "temperature", "decimal_above_max_value"),
    ({"temperature": "hot"}, "expected a decimal", "temperature", "invalid_type"),
    ({"top_p": 1.1}, "Expected a value <= 1", "top_p", "decimal_above_max_value"),
    ({"top_logprobs": 21}, "Expected a value <= 20", "top_logprobs", "integer_above_max_value"),
    ({"include": ["thoughts"]}, "Invalid value: 'thoughts'", "include[0]", "invalid_value"),
    ({"include": "x"}, "expected an array of strings", "include", "invalid_type"),
    ({"reasoning": {"effort": "huge"}}, "'xhigh', and 'max'", "reasoning.effort", "invalid_value"),
    ({"reasoning": {"summary": "long"}}, "'auto', 'concise', and 'detailed'", "reasoning.summary", "invalid_value"),
    ({"text": {"format": {"type": "xml"}}}, "'text', 'json_object', and 'json_schema'", "text.format.type",
     "invalid_value"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "'text.format.name'", "text.format.name",
     "missing_required_parameter"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "'text.format.schema'", "text.format.schema",
     "missing_required_parameter"),
    ({"text": {"format": {"type": "json_object"}}, "instructions": "JSON"}, "must contain the word 'json'", "input", None),
    ({"text": {"verbosity": "loud"}}, "'low', 'medium', and 'high'", "text.verbosity", "invalid_value"),
    ({"truncation": "some"}, "'auto' and 'disabled'", "truncation", "invalid_value"),
    ({"metadata": {"a": 7}}, "'metadata.a'", "metadata.a", "invalid_type"),
    ({"metadata": {str(i): "x" for i in range(17)}}, "at most 16 properties", "metadata", "object_above_max_properties"),
    ({"stream": "yes"}, "expected a boolean", "stream", "invalid_type"),
    ({"stream_options": {"include_obfuscation": False}}, "only allowed when 'stream' is enabled", "stream_options", None),
    ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "Mutually exclusive", None,
     "mutually_exclusive_parameters"),
]  # fmt: skip  # rows side by side


@pytest.mark.parametrize(("change", "message", "param", "code"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused(change, message, param, code):
    problem = refused(change)
    assert problem is not None
    assert message in problem.message
    assert (problem.status, problem.param, problem.code) == (400, param, code)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"input": ""},
        {"input": [HI, {"role": "assistant", "content": "so"}, {"role": "developer", "content": "x"}]},
        {"input": ..., "prompt": {"id": "pmpt_1"}},
        {"input": ..., "previous_response_id": ids.made("openai responses", "resp", "12")},
        output(CALL, OTHER, OUTPUT, of("c2")),
        output(
            CALL, OUTPUT, OTHER, {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "x"}]}
        ),
        output(CALL, SAID, OUTPUT),
        output({"type": "item_reference", "id": ids.made("openai responses", "fc", "12")}, OUTPUT),
        output(THOUGHT, SAID),
        output(THOUGHT, CALL, OUTPUT),
        output(THOUGHT, {**THOUGHT, "id": None}, SAID),
        output({**THOUGHT, "id": None}, HI),
        output({"type": "web_search_call", "id": "ws_1", "status": "completed"}),
        parts({"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}),
        parts({"type": "refusal", "refusal": "no"}, role="assistant"),
        {"tools": [{"type": "web_search"}, {"type": "mcp", "server_label": "x"}], "tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [TOOL]}},
        {"text": {"format": {"type": "json_object"}}, "input": "as JSON"},
        {"max_output_tokens": 16, "temperature": 0, "top_p": 1, "top_logprobs": 20},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"reasoning": {"effort": "none", "summary": None, "context": "auto"}},
        {
            "stream": None,
            "tools": None,
            "tool_choice": None,
            "metadata": None,
            "reasoning": None,
            "text": None,
        },
    ],
    ids=lambda value: str(value)[:60],
)
def test_taken(change):
    assert refused(change) is None


def test_azure_is_as_strict_about_thoughts_of_its_own():
    thought = {**THOUGHT, "encrypted_content": signature.made("azure responses thoughts", "", DIGITS)}
    assert refused(output(thought, SAID), AZURE) is None
    assert refused(output(thought, HI), AZURE).code is None
    assert refused(output(THOUGHT, SAID), AZURE).code == "invalid_encrypted_content"
    assert refused(output(thought, SAID), OPENAI).code == "invalid_encrypted_content"


@pytest.mark.parametrize("path", [OPENROUTER, DEEPSEEK])
def test_others_take_what_they_dont_know(path):
    for change in (
        {"provider": {"only": ["openai"]}},
        {"max_output_tokens": 1},
        output({**SAID, "id": "x"}, {**SAID, "id": "x"}),
        output({"type": "reasoning", "id": "1", "content": [{"type": "reasoning_text", "text": "x"}]}, HI),
    ):
        assert refused(change, path) is None
    assert (
        refused(
            {"input": [{"type": "item_reference", "id": ids.made("openai responses", "msg", "1")}]}, path
        ).status
        == 404
    )


@pytest.mark.parametrize(
    ("items", "call"),
    [
        ((CALL, SAID, OUTPUT), "c1"),
        ((CALL, OUTPUT), None),
        ((CALL, OTHER, OUTPUT, of("c2")), None),
        ((CALL, OTHER, OUTPUT, HI), "c2"),
        ((CALL, OTHER, OUTPUT, THIRD), "c2"),
        ((CALL,), "c1"),
        ((CALL, OTHER, OUTPUT, THIRD, of("c2"), of("c3")), "c2"),
        ((CALL, OUTPUT, OTHER, THIRD, of("c2"), of("c3")), None),
    ],
)
def test_deepseek_wants_outputs_right_after_the_calls(items, call):
    problem = refused(output(*items), DEEPSEEK)
    if call is None:
        assert problem is None
        return
    assert (problem.message, problem.code) == (
        f"No tool output found for tool call {call}.",
        "invalid_request_error",
    )


def test_a_body_that_is_no_request():
    for body in (b"", b"{", b"[]", b"7", b'{"model":"\xff"}', b"[" * 100_000):
        assert refusal(OPENAI, body).status == 400


def test_any_value_at_any_place_is_read_or_refused():
    request = {
        "model": "m",
        "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,eA=="}]},
            THOUGHT,
            {**CALL, "id": "fc_1"},
        ],
        "previous_response_id": ids.made("openai responses", "resp", "12"),
        "tools": [TOOL],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [TOOL]},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "metadata": {"a": "b"},
    }
    outputs = {"model": "m", "input": [{**OUTPUT, "output": [{"type": "input_text", "text": "x"}]}, SAID]}
    for path in (OPENAI, DEEPSEEK):
        for each in (request, {**request, **outputs}):
            for variant in variants(each):
                came = arrived(path, json.dumps(variant).encode())
                found = find(came)
                try:
                    asked = found.wire.read(came, found.place)
                    asked.tools_to_call(2)
                except Refused as refusal:
                    assert found.wire.error(refusal.problem, "m", "req").body  # noqa: PT017  # its words can be written
                except Exception as error:
                    raise AssertionError(f"{type(error).__name__} for {variant}") from error
