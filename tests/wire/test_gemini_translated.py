"""Other dialects' requests as Gemini's, Gemini's as others', and other dialects' answers to Gemini's callers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.wire.recorded import payloads

from holdfast.dialects.gemini.codec import GeminiCodec
from holdfast.dialects.gemini.signed import SEAL, WAIVER, WAIVERS, sealed
from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
from holdfast.dialects.writing import Drops
from holdfast.errors import BadAnswer, CantExpress
from holdfast.model import (
    Answer,
    BlockStarted,
    Choice,
    ChoiceStarted,
    CitationDelta,
    Ended,
    Finish,
    Finished,
    FinishReason,
    Image,
    Message,
    Ping,
    Reasoning,
    ReasoningOptions,
    Refusal,
    Request,
    Role,
    Started,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolMode,
    ToolResult,
    fold,
)

CODEC = GeminiCodec()
HI = Message(role=Role.USER, parts=(Text(text="hi"),))


def asked(*messages: Message, **fields: Any) -> dict[str, Any]:
    fields = {"model": "gemini-3-flash", "dialect": "openai_chat", **fields}
    return json.loads(CODEC.encode_request(Request(messages=messages or (HI,), **fields)))


def model(*parts: Any) -> Message:
    return Message(role=Role.ASSISTANT, parts=parts)


def result(text: str, **fields: Any) -> Message:
    return Message(role=Role.TOOL, parts=(ToolResult(call_id="1", parts=(Text(text=text),), **fields),))


CALL = ToolCall(id="1", name="f", arguments='{"a": 1}')


@pytest.mark.parametrize(
    ("text", "is_error", "response"),
    [
        ("sunny", None, {"output": "sunny"}),
        ('{"a": 1}', None, {"a": 1}),
        ("{}", None, {"output": "{}"}),
        ("[1]", None, {"output": "[1]"}),
        ('{"error": "x"}', None, {"output": '{"error": "x"}'}),
        ('{"output": 1, "more": 2}', None, {"output": '{"output": 1, "more": 2}'}),
        ("{broken", None, {"output": "{broken"}),
        ("no such city", True, {"error": "no such city"}),
        ('{"a": 1}', True, {"error": '{"a": 1}'}),
    ],
)
def test_what_a_function_answered(text: str, is_error: bool | None, response: Any) -> None:
    said = asked(HI, model(CALL), result(text, is_error=is_error))["contents"][-1]
    assert said == {
        "role": "user",
        "parts": [{"functionResponse": {"id": "1", "name": "f", "response": response}}],
    }
    back = CODEC.decode_request(json.dumps({"contents": [said]}).encode()).messages[0]
    (part,) = back.parts
    assert isinstance(part, ToolResult)
    (inner,) = part.parts
    assert isinstance(inner, Text)
    assert inner.text.replace(" ", "") == text.replace(" ", "")
    assert (back.role, part.is_error) == (Role.TOOL, is_error)


def test_a_result_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(CantExpress) as refused:
        asked(HI, result("sunny"))
    assert (refused.value.field, refused.value.param) == ("tool_result.text", "messages[1].parts[0]")


def test_turns_are_joined_by_speaker() -> None:
    said = asked(HI, model(Text(text="a")), model(CALL), result("x"), result("y"), HI)["contents"]
    assert [(content["role"], len(content["parts"])) for content in said] == [
        ("user", 1),
        ("model", 2),
        ("user", 3),
    ]


def test_only_a_turns_first_call_is_waived_where_another_provider_made_it() -> None:
    """Recorded: Google takes the waiver for a call that it didn't make, before Gemini 3 as well."""
    second = ToolCall(id="2", name="g", arguments="{}")
    said = asked(HI, model(Text(text="a"), CALL, second), result("x"), model(second))["contents"]
    signatures = [part.get("thoughtSignature") for content in said for part in content["parts"]]
    assert signatures == [None, None, WAIVER, None, None, WAIVER]
    own = ToolCall(id="1", name="f", signature="b3du", signed_by="gemini")
    said = asked(HI, model(own, second))["contents"]
    assert [part.get("thoughtSignature") for part in said[1]["parts"]] == ["b3du", None]


@pytest.mark.parametrize("waiver", sorted(WAIVERS))
def test_a_waiver_is_nobodys_signature_and_comes_back(waiver: str) -> None:
    body = {
        "contents": [
            {"role": "model", "parts": [{"functionCall": {"name": "f"}, "thoughtSignature": waiver}]}
        ]
    }
    request = CODEC.decode_request(json.dumps(body).encode())
    (call,) = request.messages[0].parts
    assert isinstance(call, ToolCall)
    assert call.signature is None
    assert json.loads(CODEC.encode_request(request)) == body


def test_a_foreign_signature_is_dropped_where_it_may_be_and_the_call_waived() -> None:
    body = {
        "contents": [
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True, "thoughtSignature": sealed("c2ln", "anthropic")},
                    {"functionCall": {"name": "f"}, "thoughtSignature": sealed("c2ln", "anthropic")},
                ],
            }
        ]
    }
    request = CODEC.decode_request(json.dumps(body).encode())
    with pytest.raises(CantExpress) as refused:
        CODEC.encode_request(request)
    assert refused.value.field == "reasoning.foreign"
    drops = Drops({"reasoning.foreign", "tool_call.signature"})
    said = json.loads(CODEC.encode_request(request, drops))["contents"]
    assert said == [{"role": "model", "parts": [{"functionCall": {"name": "f"}, "thoughtSignature": WAIVER}]}]
    assert drops.dropped == ("reasoning.foreign", "tool_call.signature")


@pytest.mark.parametrize(
    ("name", "options", "config"),
    [
        ("gemini-3-flash", {"effort": "low"}, {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("models/gemini-2.5-pro", {"effort": "low"}, {"thinkingBudget": 1_024, "includeThoughts": True}),
        ("gemini-2.5-pro", {"effort": "high"}, {"thinkingBudget": 24_576, "includeThoughts": True}),
        ("gemini-3-flash", {"effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-3-flash", {"enabled": False}, {"thinkingBudget": 0}),
        ("gemini-3-flash", {"enabled": True}, {"thinkingBudget": -1, "includeThoughts": True}),
        ("gemini-3-flash", {"enabled": True, "effort": "high"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3-flash", {"budget_tokens": 9}, {"thinkingBudget": 9, "includeThoughts": True}),
    ],
)  # fmt: skip  # a table reads better packed
def test_how_much_to_think(name: str, options: dict[str, Any], config: dict[str, Any]) -> None:
    said = asked(model=name, reasoning=ReasoningOptions(**options))
    assert said["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gemini-3-flash", {"effort": "max"}),
        ("gemini-2.5-pro", {"effort": "xhigh"}),
        ("gemini-3-flash", {"effort": "low", "budget_tokens": 9}),
    ],
)
def test_an_effort_that_google_does_not_know_is_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(CantExpress) as refused:
        asked(model=name, reasoning=ReasoningOptions(**options))
    assert refused.value.field == "reasoning.effort"


@pytest.mark.parametrize(
    ("mode", "strict", "word"),
    [
        (None, True, "VALIDATED"),
        (ToolMode.AUTO, True, "VALIDATED"),
        (ToolMode.AUTO, False, "AUTO"),
        (ToolMode.REQUIRED, True, "ANY"),
        (ToolMode.NONE, True, "NONE"),
    ],
)
def test_strict_arguments(mode: ToolMode | None, strict: bool, word: str) -> None:
    choice = None if mode is None else ToolChoice(mode=mode)
    said = asked(tools=(Tool(name="f", strict=strict),), tool_choice=choice)
    assert said["toolConfig"] == {"functionCallingConfig": {"mode": word}}


def test_arguments_that_are_no_object_are_refused() -> None:
    with pytest.raises(CantExpress) as refused:
        asked(HI, model(ToolCall(id="1", name="f", arguments='{"a":')))
    assert refused.value.field == "tool_call"


def test_a_google_schema_is_json_schema_to_others() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"a": {"type": "ARRAY", "items": {"type": "STRING", "nullable": True}}},
    }
    body = {
        "contents": [{"parts": [{"text": "hi"}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": schema},
    }
    request = CODEC.decode_request(json.dumps(body).encode())
    plain = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": ["string", "null"]}}},
    }
    said = json.loads(OpenAIChatCodec().encode_request(request))
    assert said["tools"][0]["function"]["parameters"] == plain
    assert said["response_format"]["json_schema"]["schema"] == plain


def test_what_says_nothing_keeps_no_request_from_others() -> None:
    body = {
        "contents": [{"parts": [{"text": "hi"}]}],
        "systemInstruction": {"role": "user", "parts": [{"text": "be brief"}]},
        "generationConfig": {"responseModalities": ["TEXT"], "thinkingConfig": {"includeThoughts": True}},
    }
    said = json.loads(OpenAIChatCodec().encode_request(CODEC.decode_request(json.dumps(body).encode())))
    assert said["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]


def test_what_only_google_knows_is_refused_by_its_name() -> None:
    body = {
        "contents": [{"parts": [{"text": "hi"}]}],
        "generationConfig": {"speechConfig": {"a": 1}},
    }
    with pytest.raises(CantExpress) as refused:
        OpenAIChatCodec().encode_request(CODEC.decode_request(json.dumps(body).encode()))
    assert refused.value.field == "generationConfig.speechConfig"


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("messages[0].parts[1]", "system_instruction.parts[1]"),
        ("messages[2].parts[0].x", "contents[1].parts[0].x"),
        ("messages[9]", "messages[9]"),
        ("max_output_tokens", "generationConfig.maxOutputTokens"),
        ("sampling.top_k", "generationConfig.topK"),
        ("reasoning.effort", "generationConfig.thinkingConfig.thinkingLevel"),
        ("tool_choice", "toolConfig.functionCallingConfig"),
        ("tools[1]", "tools[0].functionDeclarations[1]"),
        ("tools[2].cache", "tools[1].functionDeclarations[0].cache"),
        ("tools[3]", "tools[1]"),
        ("tools[9]", "tools[9]"),
        ("safetySettings", "safetySettings"),
    ],
)
def test_paths_are_told_as_the_caller_wrote_them(path: str, written: str) -> None:
    body = {
        "system_instruction": {"parts": [{"text": "a"}, {"text": "b"}]},
        "contents": [{"parts": [{"text": "hi"}]}, {"parts": [{"text": "ho"}]}],
        "tools": [
            {"functionDeclarations": [{"name": "f"}, {"name": "g"}]},
            {"functionDeclarations": [{"name": "h"}], "googleSearch": {}},
        ],
    }
    assert CODEC.locate(CODEC.decode_request(json.dumps(body).encode()), path) == written


# Answers.


def streamed(*events: Any) -> list[dict[str, Any]]:
    encoder = CODEC.stream_encoder()
    first = Started(id="i", model="m", dialect="openai_chat")
    return payloads(b"".join(encoder.encode(event) for event in (first, *events)))


def calls_in(chunks: list[dict[str, Any]]) -> list[list[Any]]:
    return [
        [
            part["functionCall"]["args"]
            for part in chunk["candidates"][0]["content"]["parts"]
            if "functionCall" in part
        ]
        for chunk in chunks
    ]


def begun(key: int) -> BlockStarted:
    return BlockStarted(choice=0, key=key, part=ToolCall(id=f"c{key}", name="f"))


def more(key: int, arguments: str) -> ToolCallDelta:
    return ToolCallDelta(choice=0, key=key, arguments=arguments)


STOP = Finished(choice=0, finish=Finish(FinishReason.TOOL_CALLS, "tool_calls"))


def test_a_call_goes_out_whole_as_soon_as_it_is() -> None:
    chunks = streamed(begun(0), more(0, '{"a":'), more(0, "1}"), begun(1), more(1, "{}"), STOP, Ended())
    assert calls_in(chunks) == [[{"a": 1}], [{}]]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


def test_calls_that_interleave_are_put_together() -> None:
    chunks = streamed(
        begun(0), begun(1), more(0, '{"a"'), more(1, '{"b"'), more(0, ":1}"), more(1, ":2}"), STOP, Ended()
    )  # fmt: skip  # a sequence reads better packed
    assert [args for each in calls_in(chunks) for args in each] == [{"a": 1}, {"b": 2}]


def test_text_does_not_wait_for_a_call() -> None:
    chunks = streamed(begun(0), TextDelta(choice=0, key=1, text="x"), more(0, "{}"), STOP, Ended())
    assert chunks[0]["candidates"][0]["content"]["parts"] == [{"text": "x"}]


def test_a_call_that_can_not_be_told_is_told_as_malformed() -> None:
    chunks = streamed(begun(0), more(0, '{"a":'), STOP, Ended())
    assert (calls_in(chunks), chunks[-1]["candidates"][0]["finishReason"]) == (
        [[]],
        "MALFORMED_FUNCTION_CALL",
    )
    broken = Choice(
        index=0, message=model(ToolCall(id="1", name="f", arguments="{")), finish=Finish(FinishReason.LENGTH, "length")
    )  # fmt: skip  # reads better packed
    whole = json.loads(CODEC.encode_answer(Answer(dialect="openai_chat", choices=(broken,))))
    assert whole["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_a_stream_that_broke_off_has_no_reason() -> None:
    assert not any(
        "finishReason" in json.dumps(chunk) for chunk in streamed(begun(0), more(0, "{}"), Ended())
    )


def test_proofs_are_sealed_and_refusals_are_text() -> None:
    said = model(
        Reasoning(text="hm", signature="s"), Refusal(text="no"), Image(url="https://example.test/a.png")
    )
    choice = Choice(index=0, message=said, finish=Finish(FinishReason.CONTENT_FILTER, "refusal"))
    (candidate,) = json.loads(CODEC.encode_answer(Answer(dialect="anthropic", choices=(choice,))))[
        "candidates"
    ]
    thought, refusal, image = candidate["content"]["parts"]
    assert thought["thoughtSignature"].startswith(SEAL)
    assert (refusal, candidate["finishReason"]) == ({"text": "no"}, "SAFETY")
    assert image["fileData"] == {"fileUri": "https://example.test/a.png", "mimeType": "image/png"}


REASONS = {
    "STOP": FinishReason.STOP, "MAX_TOKENS": FinishReason.LENGTH, "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER, "BLOCKLIST": FinishReason.CONTENT_FILTER, "SPII": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER, "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": FinishReason.OTHER, "OTHER": FinishReason.OTHER, "LATER": FinishReason.OTHER,
    "CONTINUATION": FinishReason.PAUSE,
}  # fmt: skip  # a table reads better packed


@pytest.mark.parametrize("word", REASONS)
def test_why_an_answer_ended(word: str) -> None:
    candidate = {"content": {"parts": [{"text": "a"}], "role": "model"}, "finishReason": word, "index": 0}
    body = json.dumps({"candidates": [candidate]}).encode()
    answer = CODEC.decode_answer(body)
    assert answer.choices[0].finish == Finish(REASONS[word], word)
    assert json.loads(CODEC.encode_answer(answer)) == json.loads(body)


def test_stop_after_a_call_means_the_call() -> None:
    body = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}'
    assert CODEC.decode_answer(body).choices[0].finish == Finish(FinishReason.TOOL_CALLS, "STOP")


def test_grounding_is_cited_in_whole_and_in_pieces() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "u", "title": "t"}}],
        "groundingSupports": [{"segment": {"endIndex": 5, "text": "x"}, "groundingChunkIndices": [0, 7]}],
    }
    body = {
        "candidates": [
            {"content": {"parts": [{"text": "a"}]}, "groundingMetadata": grounding, "finishReason": "STOP"}
        ]
    }
    whole = CODEC.decode_answer(json.dumps(body).encode())
    (text,) = whole.choices[0].parts
    assert isinstance(text, Text)
    (cited,) = text.citations
    assert (cited.url, cited.title, cited.start, cited.end) == ("u", "t", 0, 5)
    events = decoded(body, body)
    assert [event.citation for event in events if isinstance(event, CitationDelta)] == [cited], "repeated"


def decoded(*chunks: dict[str, Any]) -> list[Any]:
    decoder = CODEC.stream_decoder()
    return decoder.feed(b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks))


def test_a_signed_part_is_not_joined_with_others() -> None:
    said = (
        {"text": "a"},
        {"text": "b", "thoughtSignature": "s"},
        {"text": "c"},
        {"text": "", "thoughtSignature": "t"},
    )
    answer = fold(decoded(*({"candidates": [{"content": {"parts": [part]}}]} for part in said)))
    texts = [part for part in answer.choices[0].parts if isinstance(part, Text)]
    assert [(text.text, text.signature) for text in texts] == [("a", None), ("b", "s"), ("c", "t")]


def test_candidates_come_up_in_their_order() -> None:
    started = [ChoiceStarted(choice=0), ChoiceStarted(choice=1)]
    first, *_ = streamed(*started, TextDelta(choice=1, key=0, text="x"))
    assert [candidate["index"] for candidate in first["candidates"]] == [0, 1]


def test_a_ping_is_a_blank_line() -> None:
    """Google's SDKs take a comment for JSON, and fail."""
    assert CODEC.stream_encoder().encode(Ping()).isspace()


def test_a_list_of_one_is_that_one_and_others_are_no_answer() -> None:
    candidate = b'{"candidates":[{"finishReason":"STOP"}]}'
    assert CODEC.decode_answer(b"[" + candidate + b"]").choices[0].finish
    for body in (b"[]", b"{}", b'{"error":{"code":500}}', b'{"candidates":5}'):
        with pytest.raises(BadAnswer):
            CODEC.decode_answer(body)
