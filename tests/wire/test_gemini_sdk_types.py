"""What we write in Gemini's name is read by Google's own types, whole and chunk by chunk."""

from __future__ import annotations

import base64
import json
import warnings

from google.genai import types
from hypothesis import given
from tests.wire.recorded import payloads

from holdfast.dialects.gemini.codec import GeminiCodec
from holdfast.dialects.gemini.signed import proof_of
from holdfast.model import (
    Answer,
    Choice,
    Finish,
    FinishReason,
    Message,
    Reasoning,
    Role,
    Text,
    ToolCall,
    Usage,
    split,
)
from holdfast.testing.strategies import foreign_answers

CODEC = GeminiCodec()
FOREIGN = Answer(
    id="msg_1",
    model="claude",
    created=1_700_000_000,
    dialect="anthropic",
    choices=(
        Choice(
            index=0,
            message=Message(
                role=Role.ASSISTANT,
                parts=(
                    Reasoning(text="hm", signature="c2ln"),
                    Reasoning(encrypted="c2VjcmV0"),
                    Text(text="so"),
                    ToolCall(id="c1", name="f", arguments='{"a": 1}'),
                    ToolCall(name="g"),
                ),
            ),
            finish=Finish(FinishReason.TOOL_CALLS, "tool_use"),
        ),
    ),
    usage=Usage(input_tokens=10, cache_read_tokens=4, output_tokens=7, reasoning_tokens=3),
)


def read(value: object) -> types.GenerateContentResponse:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the SDK warns of words that it doesn't know
        return types.GenerateContentResponse.model_validate(value)


def chunks(answer: Answer) -> list[types.GenerateContentResponse]:
    encoder = CODEC.stream_encoder()
    wire = b"".join(encoder.encode(event) for event in split(answer))
    return [read(chunk) for chunk in payloads(wire)]


def parts(response: types.GenerateContentResponse) -> list[types.Part]:
    assert response.candidates is not None
    content = response.candidates[0].content
    return [] if content is None else content.parts or []


def test_a_whole_answer() -> None:
    response = read(json.loads(CODEC.encode_answer(FOREIGN)))
    assert (response.response_id, response.model_version, response.text) == ("msg_1", "claude", "so")
    assert response.create_time is not None
    assert response.create_time.timestamp() == 1_700_000_000
    assert response.candidates is not None
    assert response.candidates[0].finish_reason is types.FinishReason.STOP
    calls = response.function_calls or []
    assert [(call.id, call.name, call.args) for call in calls] == [
        ("c1", "f", {"a": 1}),
        ("call_msg_1_0_1", "g", {}),
    ]
    usage = response.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (10, 4)
    assert (usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count) == (4, 3, 17)


def test_a_stream() -> None:
    heard = chunks(FOREIGN)
    assert all((each.response_id, each.model_version) == ("msg_1", "claude") for each in heard)
    assert "".join(part.text or "" for each in heard for part in parts(each) if not part.thought) == "so"
    calls = [part.function_call for each in heard for part in parts(each) if part.function_call]
    assert [(call.id, call.args) for call in calls] == [("c1", {"a": 1}), ("call_msg_1_0_1", {})]
    reasons = [each.candidates[0].finish_reason for each in heard if each.candidates]
    assert reasons == [None] * (len(heard) - 1) + [types.FinishReason.STOP]
    assert [each.usage_metadata is not None for each in heard] == [False] * (len(heard) - 1) + [True]


def test_foreign_proofs_survive_the_sdks_own_history() -> None:
    """The SDK keeps each chunk as a content, decodes the signature's base64 and encodes it for URLs."""
    history = [
        each.candidates[0].content.model_dump(mode="json", by_alias=True, exclude_none=True)
        for each in chunks(FOREIGN)
        if each.candidates and each.candidates[0].content
    ]
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}, *history]}
    request = CODEC.decode_request(json.dumps(body).encode())
    thoughts = [part for message in request.messages for part in message.parts if isinstance(part, Reasoning)]
    assert [(part.text, part.signature, part.encrypted, part.signed_by) for part in thoughts] == [
        ("hm", "c2ln", None, "anthropic"),
        ("", None, "c2VjcmV0", "anthropic"),
    ]


def test_signatures_are_base64_that_the_sdk_can_read() -> None:
    for each in chunks(FOREIGN):
        for part in parts(each):
            if part.thought_signature:
                encoded = base64.urlsafe_b64encode(part.thought_signature).decode()
                assert proof_of(encoded).signed_by == "anthropic"


@given(foreign_answers())
def test_any_answer_of_another_dialect(answer: Answer) -> None:
    whole = read(json.loads(CODEC.encode_answer(answer)))
    assert whole.candidates is not None
    heard = chunks(answer)
    said = [
        "".join(part.text or "" for response in responses for part in parts(response) if not part.thought)
        for responses in ([whole], heard)
    ]
    assert said[0] == said[1]
