"""What Google really said comes back as it was, but for the listed differences."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.wire.gemini_recorded import EXCHANGES, REFUSED, STREAMED, WHOLE, gathered, listed
from tests.wire.recorded import Found, diff, payloads

from holdfast.dialects.gemini.codec import GeminiCodec
from holdfast.dialects.gemini.differences import DIFFERENCES
from holdfast.dialects.openai_chat.differences import Where
from holdfast.errors import BadAnswer
from holdfast.model import Answer, Ended, fold, in_pieces, split

CODEC = GeminiCodec()

PLAIN = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
TOOLS = [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}]


def asked(**fields: Any) -> dict[str, Any]:
    return PLAIN | fields


def parts(*parts_: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": list(parts_)}]}


LOSSLESS_REQUESTS = {
    "everything in generationConfig": asked(
        generationConfig={
            "temperature": 0.5, "topP": 0.9, "topK": 40.0, "candidateCount": 2, "maxOutputTokens": 9, "seed": 3,
            "stopSequences": ["a", "b"], "presencePenalty": 1, "frequencyPenalty": -1, "responseLogprobs": True,
            "logprobs": 4, "responseModalities": ["IMAGE"], "speechConfig": {"voiceConfig": {}}, "unknown": None,
            "thinkingConfig": {"includeThoughts": False, "thinkingBudget": -1, "unknown": 1},
        }
    ),
    "an empty generationConfig": asked(generationConfig={}),
    "text alone": asked(generationConfig={"responseModalities": ["TEXT"]}),
    "no thinking": asked(generationConfig={"thinkingConfig": {"thinkingBudget": 0}}),
    "a thinking level": asked(generationConfig={"thinkingConfig": {"thinkingLevel": "low"}}),
    "an unknown thinking level": asked(generationConfig={"thinkingConfig": {"thinkingLevel": "ULTRA"}}),
    "an empty thinkingConfig": asked(generationConfig={"thinkingConfig": {}}),
    "plain text": asked(generationConfig={"responseMimeType": "text/plain"}),
    "an enum": asked(generationConfig={"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}}),
    "a Schema": asked(
        generationConfig={
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}},
        }
    ),
    "a Schema that isn't one": asked(
        generationConfig={"responseMimeType": "application/json", "responseSchema": {"type": "object"}}
    ),
    "a schema without a media type": asked(generationConfig={"responseJsonSchema": {"type": "object"}}),
    "both schemas": asked(
        generationConfig={
            "responseMimeType": "application/json", "responseJsonSchema": {}, "responseSchema": {"type": "OBJECT"},
        }
    ),
    "tools in groups": asked(
        tools=[
            {"functionDeclarations": [{"name": "f"}, {"name": "g", "parameters": {"type": "OBJECT"}}], "googleSearch": {}},
            {"functionDeclarations": [{"name": "h", "behavior": "BLOCKING", "description": ""}]},
            {"functionDeclarations": [{"name": "i"}]}, {"urlContext": {}}, {"codeExecution": {}}, {},
        ]
    ),
    "any of some": asked(
        tools=TOOLS,
        toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}, "retrievalConfig": {}},
    ),
    "validated": asked(tools=TOOLS, toolConfig={"functionCallingConfig": {"mode": "VALIDATED"}}),
    "validated among some": asked(
        tools=TOOLS, toolConfig={"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}}
    ),
    "an unknown mode": asked(toolConfig={"functionCallingConfig": {"mode": "PERHAPS", "more": 1}}),
    "a toolConfig that says nothing": asked(toolConfig={"functionCallingConfig": {}}),
    "the rest": asked(
        safetySettings=[{"category": "c", "threshold": "t"}], cachedContent="c/1", labels={"a": "b"}, store=False,
        serviceTier="flex", later=None, model="models/gemini-x",
    ),
    "a system instruction": asked(systemInstruction={"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}),
    "an empty system instruction": asked(systemInstruction={"parts": []}),
    "snake case": {
        "contents": [
            {"parts": [{"inline_data": {"mime_type": "image/png", "data": "YQ=="}}, {"file_data": {"file_uri": "x"}}]},
            {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"in_side": 1}}, "thought_signature": "s"}]},
            {"parts": [{"function_response": {"name": "f", "response": {"out_put": 1}}}]},
        ],
        "system_instruction": {"parts": [{"text": "a"}]},
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"a_b": 1}}]}, {"google_search": {}}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
        "generation_config": {"max_output_tokens": 3, "thinking_config": {"thinking_budget": 5, "include_thoughts": True}},
    },
    "one instead of a list": {
        "contents": {"parts": {"text": "a"}},
        "tools": {"function_declarations": {"name": "f"}},
        "system_instruction": {"parts": {"text": "a"}},
    },
    "media": parts(
        {"inlineData": {"mimeType": "audio/wav", "data": "YQ=="}},
        {"inlineData": {"mimeType": "video/mp4", "data": "YQ=="}, "videoMetadata": {"fps": 0.5}},
        {"inlineData": {"mimeType": "application/pdf", "data": "YQ==", "displayName": "a.pdf"}},
        {"inlineData": {"mimeType": "image/png", "data": "YQ==", "displayName": "a.png"}},
        {"inlineData": {"mimeType": "image/png", "data": "YQ=="}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
        {"inlineData": {"data": "YQ=="}},
        {"fileData": {"fileUri": "https://example.test/a.png"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/1", "mimeType": "image/png"}},
    ),
    "what the model said": parts(
        {"text": "hm", "thought": True}, {"text": "", "thought": True, "thoughtSignature": "cw=="},
        {"text": "so", "thoughtSignature": "cw=="}, {"text": "plain", "thought": False}, {"thoughtSignature": "alone"},
        {"executableCode": {"language": "PYTHON", "code": "1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK"}},
        {"toolCall": {"toolType": "URL_CONTEXT"}}, {"toolResponse": {"id": "1"}}, {"later": 1}, {},
        {"functionCall": {"name": "f"}}, {"functionCall": {"id": "1", "name": "f", "args": {}}, "partMetadata": {"a": 1}},
        {"functionCall": {"name": "f", "partialArgs": [], "willContinue": True}},
        {"inlineData": {"mimeType": "image/png", "data": "YQ=="}, "thought": True},
        role="model",
    ),
    "results": parts(
        *({"functionResponse": {"name": "f", "response": response}} for response in (
            {}, {"output": "a"}, {"output": '{"a":1}'}, {"output": {"a": 1}}, {"output": [1]}, {"output": None},
            {"output": ""},
            {"error": "e"}, {"error": {"code": 1}}, {"output": 1, "error": 2}, {"a": {"b": 1.5}}, {"output": "{}"},
            {"error": ""},
        )),
        {"functionResponse": {"id": "1", "name": "f", "scheduling": "SILENT"}},
        {"functionResponse": {"name": "f", "response": {"a": 1}, "parts": [
            {"inlineData": {"mimeType": "image/png", "data": "YQ=="}}, {"fileData": {"fileUri": "x"}}, {"later": 1},
        ]}},
    ),
    "speakers": {
        "contents": [
            {"parts": [{"text": "a"}]}, {"role": None, "parts": [{"text": "a"}]}, {"role": "", "parts": [{"text": "a"}]},
            {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}, {"text": "a"}], "more": 1},
            {"role": "user", "parts": []}, {"role": "user"},
        ]
    },
    "big numbers": parts({"functionCall": {"name": "f", "args": {"n": 123456789012345678901234567890}}}, role="model"),
}  # fmt: skip  # cases read better packed

CANDIDATE = {"content": {"parts": [{"text": "a"}], "role": "model"}, "finishReason": "STOP", "index": 0}
LOSSLESS_ANSWERS = {
    "several candidates": {"candidates": [CANDIDATE, CANDIDATE | {"index": 1, "finishReason": "MAX_TOKENS"}]},
    "a blocked prompt": {
        "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": []},
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 0, "totalTokenCount": 3},
    },
    "feedback that blocks nothing": {
        "promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"},
        "candidates": [CANDIDATE],
    },
    "Vertex AI's clock": {"candidates": [CANDIDATE], "createTime": "2026-11-20T10:00:00.123456Z"},
    "a clock of seconds": {"candidates": [CANDIDATE], "createTime": "2026-11-20T10:00:00Z"},
    "what stands beside": {
        "candidates": [
            CANDIDATE
            | {"avgLogprobs": -0.5, "logprobsResult": {"chosenCandidates": []}}
            | {"citationMetadata": {"citationSources": [{}]}}
        ],
        "modelStatus": {"modelStage": "STABLE"},
        "responseId": "r", "modelVersion": "m",
    },
    "usage in its kinds": {
        "candidates": [CANDIDATE],
        "usageMetadata": {
            "promptTokenCount": 30, "cachedContentTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 7,
            "thoughtsTokenCount": 2, "totalTokenCount": 44, "serviceTier": "standard",
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}, {"modality": "TEXT", "tokenCount": 26}],
        },
    },
    "a total that doesn't add up": {
        "candidates": [CANDIDATE],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 9},
    },
}  # fmt: skip  # cases read better packed
DIFFERENT: dict[str, tuple[Where, Any]] = {
    "one object for an error": (
        Where.ERROR,
        [{"error": {"code": 500, "message": "m", "status": "INTERNAL"}}],
    ),
    "an error's three fields": (Where.ERROR, {"error": {"details": []}}),
}


def differences(where: Where, original: Any) -> list[Found]:
    """How ``original`` differs from what we make of it."""
    if where is Where.STREAM:
        again = _streamed_again(original.encode())
        return list(diff(gathered(payloads(original.encode())), gathered(payloads(again))))
    body = json.dumps(original).encode()
    if where is Where.REQUEST:
        again = CODEC.encode_request(CODEC.decode_request(body))
    elif where is Where.ANSWER:
        again = CODEC.encode_answer(CODEC.decode_answer(body))
    else:
        again = CODEC.encode_error(CODEC.decode_error(500, body))
    return list(diff(original, json.loads(again)))


def _streamed_again(stream: bytes) -> bytes:
    decoder, encoder = CODEC.stream_decoder(), CODEC.stream_encoder()
    events = decoder.feed(stream) + decoder.finish()
    return b"".join(encoder.encode(event) for event in events)


def _folded(stream: bytes) -> Answer:
    decoder = CODEC.stream_decoder()
    return fold(decoder.feed(stream) + decoder.finish())


def _recorded() -> list[tuple[Where, Any, str]]:
    return [
        *((Where.REQUEST, exchange["request"], exchange["id"]) for exchange in EXCHANGES),
        *((Where.STREAM, exchange["stream"], exchange["id"]) for exchange in STREAMED),
        *((Where.ANSWER, exchange["response"], exchange["id"]) for exchange in WHOLE),
        *((Where.ERROR, exchange["response"], exchange["id"]) for exchange in REFUSED),
    ]


def test_the_recordings_are_all_here() -> None:
    assert (len(EXCHANGES), len(STREAMED), len(WHOLE), len(REFUSED)) == (138, 9, 126, 2)


def test_no_recording_differs_but_as_listed() -> None:
    unlisted = [
        (id_, found)
        for where, original, id_ in _recorded()
        for found in differences(where, original)
        if not listed(where, found)
    ]
    assert not unlisted


@pytest.mark.parametrize("name", LOSSLESS_REQUESTS)
def test_a_made_request_comes_back_as_it_was(name: str) -> None:
    assert differences(Where.REQUEST, LOSSLESS_REQUESTS[name]) == []


@pytest.mark.parametrize("name", LOSSLESS_ANSWERS)
def test_a_made_answer_comes_back_as_it_was(name: str) -> None:
    assert differences(Where.ANSWER, LOSSLESS_ANSWERS[name]) == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_as_listed(name: str) -> None:
    where, original = DIFFERENT[name]
    found = differences(where, original)
    assert found
    assert set.union(*(listed(where, each) for each in found)) >= {name}
    assert [each for each in found if not listed(where, each)] == []


def test_every_listed_difference_really_occurs() -> None:
    cases = [(where, original) for where, original, _ in _recorded()] + list(DIFFERENT.values())
    seen = {
        name
        for where, original in cases
        for found in differences(where, original)
        for name in listed(where, found)
    }
    assert seen == {difference.name for difference in DIFFERENCES}


def test_names_are_unique_and_reasons_are_sentences() -> None:
    assert len({difference.name for difference in DIFFERENCES}) == len(DIFFERENCES)
    assert all(difference.reason.endswith(".") for difference in DIFFERENCES)


@pytest.mark.parametrize("exchange", STREAMED, ids=lambda exchange: exchange["id"])
def test_a_stream_tells_one_answer_in_every_form(exchange: dict[str, Any]) -> None:
    wire = exchange["stream"].encode()
    answer = _folded(wire)
    assert answer.choices
    assert all(choice.finish for choice in answer.choices)
    assert _folded(_streamed_again(wire)) == answer
    encoder = CODEC.stream_encoder()
    split_again = b"".join(encoder.encode(event) for event in split(answer, in_pieces(3)))
    assert json.loads(CODEC.encode_answer(_folded(split_again))) == json.loads(CODEC.encode_answer(answer))
    whole = CODEC.decode_answer(CODEC.encode_answer(answer))
    assert json.loads(CODEC.encode_answer(whole)) == json.loads(CODEC.encode_answer(answer))
    assert (whole.choices[0].text, whole.usage) == (answer.choices[0].text, answer.usage)


@pytest.mark.parametrize("exchange", STREAMED, ids=lambda exchange: exchange["id"])
def test_a_recorded_stream_is_the_same_in_single_bytes(exchange: dict[str, Any]) -> None:
    wire = exchange["stream"].encode()
    decoder, whole = CODEC.stream_decoder(), CODEC.stream_decoder()
    events = [event for at in range(len(wire)) for event in decoder.feed(wire[at : at + 1])]
    assert events == whole.feed(wire)
    assert [type(event) for event in decoder.finish()] == [Ended]


def test_a_count_of_tokens_is_no_answer() -> None:
    counted = next(
        each for each in EXCHANGES if each["path"].endswith("countTokens") and each["status"] == 200
    )
    with pytest.raises(BadAnswer, match="candidates"):
        CODEC.decode_answer(json.dumps(counted["response"]).encode())
