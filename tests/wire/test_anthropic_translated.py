"""What requests of others become in Anthropic's words, what is refused by which name, and what a caller is told about it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.dialects.anthropic.codec import AnthropicCodec
from holdfast.dialects.fields import HARMLESS
from holdfast.dialects.signatures import mark
from holdfast.dialects.writing import Drops
from holdfast.errors import BadAnswer, CantExpress, InvalidRequest
from holdfast.model import (
    Answer,
    Audio,
    CacheMark,
    Choice,
    Citation,
    File,
    Image,
    Message,
    Opaque,
    OpaqueTool,
    OutputFormat,
    OutputKind,
    Part,
    Reasoning,
    ReasoningOptions,
    Refusal,
    Request,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
    Video,
    WireError,
    fold,
    split,
)

CODEC = AnthropicCodec()
ELSEWHERE = "elsewhere"


def say(role: Role, *parts: Part | str) -> Message:
    return Message(
        role=role, parts=tuple(Text(text=each) if isinstance(each, str) else each for each in parts)
    )


def user(*parts: Part | str) -> Message:
    return say(Role.USER, *parts)


def model(*parts: Part | str) -> Message:
    return say(Role.ASSISTANT, *parts)


def system(text: str, role: Role = Role.SYSTEM) -> Message:
    return say(role, text)


def result(call_id: str, *parts: Any, **fields: Any) -> Message:
    return say(Role.TOOL, ToolResult(call_id=call_id, parts=parts or (Text(text="r"),), **fields))


def call(call_id: str | None, arguments: str = "{}") -> ToolCall:
    return ToolCall(id=call_id, name="f", arguments=arguments)


def asked(*messages: Message, **fields: Any) -> Request:
    return Request(model="m", messages=messages or (user("x"),), dialect=ELSEWHERE, **fields)


def written(request: Request, drops: Drops | None = None) -> Any:
    return json.loads(CODEC.encode_request(request, drops))


def messages(*given: Message) -> Any:
    return written(asked(*given))["messages"]


def blocks(part: Part) -> Any:
    return messages(user("x", part))[0]["content"][1:]


def refused(request: Request) -> tuple[str | None, str | None]:
    with pytest.raises(CantExpress) as caught:
        CODEC.encode_request(request)
    return caught.value.field, caught.value.param


def test_prompts_before_the_conversation_are_system() -> None:
    assert written(asked(system("a"), user("x")))["system"] == "a"
    several = written(asked(system("a"), system("b", Role.DEVELOPER), user("x")))
    assert several["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    marked = say(Role.SYSTEM, Text(text="a", cache=CacheMark(ttl="1h")))
    assert written(asked(marked, user("x")))["system"] == [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    assert "system" not in written(asked(system(""), user("x")))


def test_a_prompt_within_the_conversation_goes_behind_the_users_next_turn() -> None:
    said = messages(user("a"), model("b"), system("s"), user("c"), model("d"))
    assert [(each["role"], each["content"]) for each in said] == [
        ("user", "a"), ("assistant", "b"), ("user", "c"), ("system", "s"), ("assistant", "d"),
    ]  # fmt: skip  # a list reads better packed
    last = messages(user("a"), system("s"), system("t"))
    assert last[1] == {
        "role": "system",
        "content": [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}],
    }
    assert refused(asked(user("a"), model("b"), system("s"))) == ("system.later", "messages[2]")


def test_results_go_into_one_message_before_anything_else() -> None:
    said = messages(
        user("x"),
        model(call("a"), call("b")),
        user("also"),
        result("b"),
        system("s"),
        result("a"),
        user("y"),
        model("z"),
    )
    assert [each["role"] for each in said] == ["user", "assistant", "user", "system", "assistant"]
    assert [block.get("tool_use_id", block.get("text")) for block in said[2]["content"]] == [
        "b",
        "a",
        "also",
        "y",
    ]


def test_turns_without_results_stay_as_they_are() -> None:
    assert [each["content"] for each in messages(user("a"), user("b"), model("c"), model("d"))] == [
        "a",
        "b",
        "c",
        "d",
    ]


def test_what_says_nothing_is_left_out_where_anthropic_would_refuse_it() -> None:
    assert messages(user("a"), model(""), user("", "b")) == [
        {"role": "user", "content": "a"}, {"role": "user", "content": "b"},
    ]  # fmt: skip  # a list reads better packed
    assert messages(user("")) == [{"role": "user", "content": []}], (
        "which the provider refuses in its own words"
    )


def test_a_result_is_as_plain_as_it_can_be() -> None:
    def content(*parts: Any, **fields: Any) -> Any:
        return messages(user("x"), model(call("a")), result("a", *parts, **fields))[2]["content"][0]

    assert content(Text(text="r")) == {"type": "tool_result", "tool_use_id": "a", "content": "r"}
    assert content(Text(text="r"), Image(url="u"), is_error=True) == {
        "type": "tool_result", "tool_use_id": "a", "is_error": True,
        "content": [{"type": "text", "text": "r"}, {"type": "image", "source": {"type": "url", "url": "u"}}],
    }  # fmt: skip  # a list reads better packed
    assert content(Text(text="")) == {"type": "tool_result", "tool_use_id": "a"}
    assert content(Refusal(text="no"))["content"] == "no"


def test_ids_are_made_where_there_are_none_and_spelled_as_anthropic_takes_them() -> None:
    said = messages(
        user("x"),
        model(call(None), call("functions.f:0")),
        say(Role.TOOL, ToolResult(name="f")),
        result("functions.f:0"),
    )
    ids = [block["id"] for block in said[1]["content"]]
    assert ids == ["call_0", "functions_2e_f_3a_0"]
    assert [block["tool_use_id"] for block in said[2]["content"]] == ids


@pytest.mark.parametrize(
    ("arguments", "object_"),
    [("", {}), (" ", {}), ("{}", {}), ('{"a": 1.50}', {"a": 1.5}), ('{"n":null}', {"n": None})],
)
def test_arguments_are_an_object(arguments: str, object_: Any) -> None:
    said = messages(user("x"), model(call("a", arguments)), result("a"))
    assert said[1]["content"][0]["input"] == object_


@pytest.mark.parametrize("arguments", ["{", "[]", "7", '"x"', "null", "{}{}", "nonsense"])
def test_arguments_that_are_no_object_cant_be_said(arguments: str) -> None:
    assert refused(asked(user("x"), model("y", call("a", arguments)))) == (
        "tool_call",
        "messages[1].parts[1]",
    )


def test_media_by_type() -> None:
    assert blocks(Image(data="iVBORw0=")) == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}}
    ]
    assert blocks(File(data="JVBERi0=", filename="a.pdf")) == [
        {"type": "document", "title": "a.pdf",
         "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    ]  # fmt: skip  # a list reads better packed
    assert blocks(File(data="w6Q=", media_type="text/plain; charset=utf-8")) == [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ä"}}
    ]
    assert blocks(File(url="https://x/a.pdf"))[0]["source"] == {"type": "url", "url": "https://x/a.pdf"}


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Image(data="Qk0=", media_type="image/bmp"), "image.data"), (Image(data="Qk0="), "image.data"),
        (Image(file_id="f"), "image.file_id"), (Image(url="u", detail="low"), "image.detail"),
        (File(data="AA==", media_type="application/zip"), "file.data"), (File(data="AA=="), "file.data"),
        (File(data="/w==", media_type="text/plain"), "file.data"), (File(file_id="f"), "file.file_id"),
        (Audio(data="A", media_type="audio/wav"), "audio.data"), (Video(url="u"), "video.url"), (Video(data="A"),
        "video.data"),
        (Opaque(dialect=ELSEWHERE, data={"type": "hologram"}), "hologram"),
        (Opaque(dialect=ELSEWHERE, data={"odd": 1}), "odd"),
        (Text(text="x", citations=(Citation(url="u"),)), "citations"), (Text(text="x", signature="s"), "reasoning.foreign"),
        (Text(text="x", extra={"odd": 1}), "odd"),
    ],
)  # fmt: skip  # a list reads better packed
def test_what_cant_be_said_has_its_name(part: Part, name: str) -> None:
    field, param = refused(asked(user("x", part)))
    assert field == name
    assert param in ("messages[0].parts[1]", f"messages[0].parts[1].{name}")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Image(data="Qk0=", media_type="image/bmp"), "tool_result.image"), (Image(file_id="f"), "image.file_id"),
        (File(data="AA==", media_type="application/zip"), "tool_result.file"), (Audio(data="A"), "audio.data"),
    ],
)  # fmt: skip  # a list reads better packed
def test_what_a_result_cant_show(part: Any, name: str) -> None:
    request = asked(user("x"), model(call("a")), result("a", Text(text="r"), part))
    assert refused(request) == (name, "messages[2].parts[0].parts[1]")


@pytest.mark.parametrize(
    ("thought", "name"),
    [
        (Reasoning(text="hm"), "reasoning.text"), (Reasoning(text="hm", signature="s"), "reasoning.foreign"),
        (Reasoning(encrypted="e"), "reasoning.foreign"), (Reasoning(text="hm", signed_by="gemini"), "reasoning.text"),
        (Reasoning(text="hm", encrypted="e", signed_by="anthropic"), "reasoning.text"),
    ],
)  # fmt: skip  # a list reads better packed
def test_only_anthropics_own_thoughts_go_back_to_it(thought: Reasoning, name: str) -> None:
    request = asked(user("x"), model(thought, "y"))
    assert refused(request) == (name, "messages[1].parts[0]")
    drops = Drops(HARMLESS)
    said = written(request, drops)["messages"][1]["content"]
    assert drops.dropped == (name,)
    kept = [{"type": "redacted_thinking", "data": "e"}, {"type": "text", "text": "y"}]
    assert said == (kept if thought.signed_by == "anthropic" else "y")


def test_anthropics_thoughts_come_back_by_way_of_another_dialect() -> None:
    signed = Reasoning(text="hm", signature="s", signed_by="anthropic")
    hidden = Reasoning(encrypted="e", signed_by="anthropic")
    assert messages(user("x"), model(signed, hidden, "y"))[1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "e"},
        {"type": "text", "text": "y"},
    ]  # fmt: skip  # a list reads better packed


def handed_back(*content: dict[str, Any]) -> Request:
    said = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": list(content)}],
    }
    return CODEC.decode_request(json.dumps(said).encode())


def marked(proof: str) -> str:
    return mark(proof, "gemini", "anthropic")


def test_a_callers_turn_of_another_providers_says_whose_it_is() -> None:
    request = handed_back(
        {"type": "thinking", "thinking": "hm", "signature": marked("a")},
        {"type": "thinking", "thinking": "ha", "signature": marked("")},
        {"type": "text", "text": "so", "citations": [
            {"type": "web_search_result_location", "url": "u", "title": "t", "cited_text": "c",
            "encrypted_index": marked("")},
        ]},
        {"type": "thinking", "thinking": "", "signature": marked("b")},
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
        {"type": "thinking", "thinking": "", "signature": marked("d")},
        {"type": "redacted_thinking", "data": marked("e")},
    )  # fmt: skip  # a list reads better packed
    signed, unsigned, text, tool, hidden = request.messages[1].parts
    assert signed == Reasoning(text="hm", signature="a", signed_by="gemini")
    assert unsigned == Reasoning(text="ha", signed_by="gemini")
    assert text == Text(
        text="so",
        citations=(Citation(url="u", title="t", cited_text="c"),),
        signature="b",
        signed_by="gemini",
    )
    assert tool == ToolCall(id="c", name="f", arguments="{}", signature="d", signed_by="gemini")
    assert hidden == Reasoning(encrypted="e", signed_by="gemini")
    drops = Drops(HARMLESS)
    assert written(request, drops)["messages"][1]["content"] == [
        {"type": "text", "text": "so"}, {"type": "tool_use", "id": "c", "name": "f", "input": {}},
    ]  # fmt: skip  # a list reads better packed
    assert set(drops.dropped) == {"reasoning.foreign", "reasoning.text", "citations", "tool_call.signature"}


def test_a_signature_without_anything_to_sign_stays_a_thought() -> None:
    alone = {"type": "thinking", "thinking": "", "signature": marked("a")}
    thoughts = handed_back(alone, {"type": "text", "text": "x"}, alone, alone).messages[1].parts
    assert [type(part) for part in thoughts] == [Reasoning, Text, Reasoning]
    unsigned = {"type": "thinking", "thinking": "", "signature": marked("")}
    assert [
        type(part) for part in handed_back({"type": "text", "text": "x"}, unsigned).messages[1].parts
    ] == [Text, Reasoning]


def test_a_stream_of_ours_is_read_as_its_whole_is() -> None:
    carrier = {"type": "thinking", "thinking": "", "signature": marked("a")}
    whole = {"content": [{"type": "text", "text": "x"}, carrier, carrier], "stop_reason": "end_turn"}
    answer = CODEC.decode_answer(json.dumps(whole).encode())
    encoder, decoder = CODEC.stream_encoder(), CODEC.stream_decoder()
    events = decoder.feed(b"".join(encoder.encode(each) for each in split(answer)))
    assert fold(events).choices[0].parts == answer.choices[0].parts
    assert [type(part) for part in answer.choices[0].parts] == [Text, Reasoning]


def test_nothing_stands_behind_the_last_text_of_another_dialects_answer() -> None:
    """Claude Code shows the last block: an empty one with a text's signature would be an empty answer."""
    message = Message(role=Role.ASSISTANT, parts=(Text(text="x", signature="a"),))
    answer = Answer(id="i", model="m", choices=(Choice(index=0, message=message),), dialect="gemini")
    assert [block["type"] for block in json.loads(CODEC.encode_answer(answer))["content"]] == ["text"]
    encoder = CODEC.stream_encoder()
    stream = b"".join(encoder.encode(each) for each in split(answer))
    assert stream.count(b'"content_block_start"') == 1


def test_a_caller_that_goes_without_saying_is_no_hindrance() -> None:
    request = handed_back(
        {"type": "tool_use", "id": "c", "name": "f", "input": {}, "caller": {"type": "direct"}}
    )
    (part,) = request.messages[1].parts
    assert isinstance(part, ToolCall)
    assert part.extra == {}
    by_code = {"type": "code_execution_20260120", "tool_id": "s"}
    (part,) = (
        handed_back({"type": "tool_use", "id": "c", "name": "f", "input": {}, "caller": by_code})
        .messages[1]
        .parts
    )
    assert part.extra == {"caller": by_code}


@pytest.mark.parametrize(
    ("choice", "parallel", "said"),
    [
        (None, None, None), (None, True, None), (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(mode=ToolMode.REQUIRED), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(mode=ToolMode.REQUIRED), True, {"type": "any"}), (ToolChoice(mode=ToolMode.NONE), False,
        {"type": "none"}),
        (ToolChoice(mode=ToolMode.NAMED, names=("f",)), None, {"type": "tool", "name": "f"}),
    ],
)  # fmt: skip  # a list reads better packed
def test_choices(choice: ToolChoice | None, parallel: bool | None, said: Any) -> None:
    request = asked(tool_choice=choice, parallel_tool_calls=parallel, tools=(Tool(name="f"),))
    assert written(request).get("tool_choice") == said


def test_a_tool_has_an_objects_schema() -> None:
    tools = (
        Tool(name="f"),
        Tool(name="g", parameters={"properties": {}}, strict=True),
        Tool(name="h", parameters={}),
    )
    assert [tool["input_schema"] for tool in written(asked(tools=tools))["tools"]] == [
        {"type": "object", "properties": {}}, {"type": "object", "properties": {}}, {"type": "object"},
    ]  # fmt: skip  # a list reads better packed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ReasoningOptions(), {}), (ReasoningOptions(effort="low"), {"output_config": {"effort": "low"}}),
        (ReasoningOptions(effort="none"), {"thinking": {"type": "disabled"}}),
        (ReasoningOptions(enabled=True), {"thinking": {"type": "adaptive"}}),
        (ReasoningOptions(enabled=False), {"thinking": {"type": "disabled"}}),
        (ReasoningOptions(budget_tokens=1024), {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (ReasoningOptions(enabled=False, budget_tokens=0), {"thinking": {"type": "disabled"}}),
        (ReasoningOptions(enabled=True, effort="max"), {"thinking": {"type": "adaptive"},
        "output_config": {"effort": "max"}}),
    ],
)  # fmt: skip  # a list reads better packed
def test_how_much_to_think(options: ReasoningOptions, said: dict[str, Any]) -> None:
    got = written(asked(reasoning=options))
    assert {name: got[name] for name in ("thinking", "output_config") if name in got} == said


def test_a_schema_is_said_whole() -> None:
    output = OutputFormat(
        kind=OutputKind.JSON_SCHEMA, schema={"type": "object"}, description="d", strict=False
    )
    assert written(asked(output=output))["output_config"] == {
        "format": {"type": "json_schema", "schema": {"description": "d", "type": "object"}}
    }
    assert "output_config" not in written(asked(output=OutputFormat(kind=OutputKind.TEXT)))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"reasoning": ReasoningOptions(effort="minimal")}, "reasoning.effort"),
        ({"output": OutputFormat(kind=OutputKind.JSON_OBJECT)}, "output.json_object"),
        ({"output": OutputFormat(kind=OutputKind.OPAQUE, extra={"type": "grammar"})}, "output"),
        ({"tool_choice": ToolChoice(mode=ToolMode.NAMED, names=("f", "g"))}, "tool_choice.some"),
        ({"tool_choice": ToolChoice(mode=ToolMode.OPAQUE, extra={"type": "x"})}, "tool_choice"),
        ({"tools": (OpaqueTool(dialect=ELSEWHERE, data={"type": "x"}),)}, "tools.provider"), ({"n": 2}, "n"),
        ({"metadata": {"a": "b"}}, "metadata"), ({"extra": {"modalities": ["audio"]}}, "modalities"),
        *(
            ({"sampling": Sampling(**{name: value})}, name)
            for name, value in {
                "seed": 0, "min_p": 0.1, "frequency_penalty": 0.5, "presence_penalty": -1, "repetition_penalty": 1.1,
                "logprobs": True, "top_logprobs": 0, "logit_bias": {"5": 1},
            }.items()
        ),
    ],
)  # fmt: skip  # a list reads better packed
def test_what_anthropic_hasnt(fields: dict[str, Any], name: str) -> None:
    assert refused(asked(**fields))[0] == name
    drops = Drops((name,))
    left = CODEC.decode_request(CODEC.encode_request(asked(**fields), drops))
    assert drops.dropped == (name,)
    assert replace(left, spelling={}) == replace(
        CODEC.decode_request(CODEC.encode_request(asked())), spelling={}
    )


def test_a_schemas_name_is_left_out_if_it_may_be() -> None:
    output = OutputFormat(kind=OutputKind.JSON_SCHEMA, schema={"type": "object"}, name="n")
    assert refused(asked(output=output)) == ("output.name", "output")
    assert written(asked(output=output), Drops(HARMLESS)) == written(asked(output=replace(output, name=None)))


def test_values_that_change_nothing_are_no_hindrance() -> None:
    sampling = Sampling(
        frequency_penalty=0, presence_penalty=0.0, repetition_penalty=1, logprobs=False, logit_bias={}
    )
    request = asked(sampling=sampling, n=1, metadata={}, include_usage=True, parallel_tool_calls=True)
    assert written(request) == written(asked())


def test_a_speakers_name_cant_be_said() -> None:
    assert refused(asked(Message(role=Role.USER, parts=(Text(text="x"),), name="n")))[0] == "name"
    assert (
        refused(asked(Message(role=Role.SYSTEM, parts=(Text(text="x"),), name="n"), user("y")))[0] == "name"
    )


# What a caller of this dialect is told.

CALLERS = {
    "model": "m",
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "y"}, {"type": "tool_use", "id": "c", "name": "f"}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "r"}]}
            ],
        },
    ],
}


@pytest.mark.parametrize(
    ("path", "written_"),
    [
        ("messages[0].parts[0]", "system[0]"), ("messages[0].parts[0].odd", "system[0].odd"), ("messages[0]", "system"),
        ("messages[1].parts[0]", "messages[0].content"), ("messages[2].parts[1]", "messages[1].content[1]"),
        ("messages[2].parts[1].caller", "messages[1].content[1].caller"), ("messages[2]", "messages[1]"),
        ("messages[3].parts[0].parts[0]", "messages[2].content[0].content[0]"), ("messages[2].odd", "messages[1].odd"),
        ("messages[99].parts[7]", "messages[98].content[7]"), ("max_output_tokens", "max_tokens"), ("stop",
        "stop_sequences"),
        ("user", "metadata.user_id"), ("reasoning.effort", "output_config.effort"), ("sampling.top_k", "top_k"),
        ("output", "output_config.format"), ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
        ("tools[1]", "tools[1]"), ("cache", "cache_control"), ("container", "container"), ("", ""),
        ("messages[" + "9" * 99 + "]", "messages[" + "9" * 99 + "]"),
    ],
)  # fmt: skip  # a list reads better packed
def test_a_place_is_named_as_the_caller_wrote_it(path: str, written_: str) -> None:
    assert CODEC.locate(CODEC.decode_request(json.dumps(CALLERS).encode()), path) == written_


def test_a_system_prompt_as_a_text_has_nothing_within() -> None:
    request = CODEC.decode_request(json.dumps({**CALLERS, "system": "s"}).encode())
    assert CODEC.locate(request, "messages[0].parts[0]") == "system"


ASK = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"), ({"messages": []}, "messages"), ({"messages": [7]}, "messages[0]"),
        ({"system": 7}, "system"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"), ({"messages": [{"role": "user"}]},
        "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"), ({"stop_sequences": "x"}, "stop_sequences"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]},
         "messages[0].content[0].source.data"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [
            {"type": "tool_use", "name": "f"}]}]}]}, "messages[0].content[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": 7}]}]},
         "messages[0].content[0].content"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": "x"}]}]},
         "messages[0].content[0].input"),
        ({"messages": [{"role": "assistant", "content": [{"type": "thinking"}]}]}, "messages[0].content[0].thinking"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"), ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"), ({"metadata": {"user_id": 7}}, "metadata.user_id"),
        ({"output_config": {"effort": 7}}, "output_config.effort"), ({"thinking": {"type": "enabled", "budget_tokens": "x"}},
         "thinking.budget_tokens"), ({"max_tokens": "9"}, "max_tokens"), ({"temperature": "x"}, "temperature"),
    ],
)  # fmt: skip  # a list reads better packed
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.decode_request(json.dumps({"model": "m", "messages": [ASK], **fields}).encode())
    assert caught.value.param == param


def event(kind: str, **fields: Any) -> bytes:
    return b"data: " + json.dumps({"type": kind, **fields}).encode() + b"\n\n"


BEGIN = event("message_start", message={"id": "i", "model": "m"})
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})


@pytest.mark.parametrize(
    "wire",
    [
        b"data: 7\n\n", b"data: {}\n\n", event("message_start"),
        event("content_block_start", content_block={"type": "text", "text": ""}),
        BLOCK + BLOCK, event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"}),
        BLOCK + event("content_block_delta", index=1, delta={"type": "text_delta", "text": "x"}),
        BLOCK + event("content_block_delta", index=0), BLOCK + event("content_block_stop", index=1),
        BLOCK + event("content_block_stop", index=0) + event("content_block_stop", index=0),
    ],
)  # fmt: skip  # a list reads better packed
def test_a_stream_out_of_turn_is_none(wire: bytes) -> None:
    with pytest.raises(BadAnswer):
        CODEC.stream_decoder().feed(BEGIN + wire)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"type":"error","error":{}}', b'{"content":[{}]}', b'{"content":[],"usage":7}'],
)
def test_a_body_that_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CODEC.decode_answer(body)


@pytest.mark.parametrize(
    ("body", "message", "type_"),
    [
        (b"<html>busy</html>", "<html>busy</html>", None), (b"", "status 503 without a body", None), (b"[1]", "[1]", None),
        (b'{"error":"busy"}', "busy", None), (b'{"message":"busy","type":"t"}', "busy", "t"),
        (b'{"error":{"type":"t"}}', "the provider gave no message (status 503)", "t"),
    ],
)  # fmt: skip  # a list reads better packed
def test_an_error_in_any_shape_is_read(body: bytes, message: str, type_: str | None) -> None:
    error = CODEC.decode_error(503, body)
    assert (error.message, error.type, error.status, error.dialect) == (message, type_, 503, "anthropic")
    said = json.loads(CODEC.encode_error(error))
    assert said["type"] == "error"
    assert said["error"]["type"] == (type_ or "overloaded_error")


def test_another_dialects_error_is_told_by_its_status() -> None:
    error = WireError(
        message="m", type="server_error", status=429, dialect="openai_chat", extra={"x": 1}, outer={"y": 2}
    )
    assert json.loads(CODEC.encode_error(error)) == {
        "type": "error", "error": {"type": "rate_limit_error", "message": "m"},
    }  # fmt: skip  # a list reads better packed
