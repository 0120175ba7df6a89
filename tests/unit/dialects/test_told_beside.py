"""What answers tell beside their tokens and has a price: tiers, images, searches; and reasoning that is counted apart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.gemini import Gemini
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.dialects.openai_responses import OpenAIResponses
from holdfast.providers.counts import told
from holdfast.providers.tiers import told_tier
from holdfast.testing.strategies import json_values

if TYPE_CHECKING:
    from holdfast.dialects.base import Dialect
    from holdfast.model.usage import Usage

DETAILS = [{"modality": "TEXT", "tokenCount": 2}, {"modality": "IMAGE", "tokenCount": 7}]


def chat(usage: dict[str, Any], **fields: Any) -> bytes:
    choice = {"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}
    return json.dumps(
        {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9, **usage}, **fields}
    ).encode()


def response(**fields: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "model": "m",
        "status": "completed",
        "output": [
            {"type": "web_search_call"},
            {"type": "message", "content": []},
            {"type": "web_search_call"},
        ],
        "usage": {"input_tokens": 9, "output_tokens": 9},
        **fields,
    }


def message(**usage: Any) -> bytes:
    counts = {"input_tokens": 9, "output_tokens": 9, **usage}
    return json.dumps(
        {
            "type": "message",
            "content": [{"type": "text", "text": "hi"}],
            "stop_reason": "end_turn",
            "usage": counts,
        }
    ).encode()


def candidate(**usage: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 9, **usage},
    }


def counted(dialect: Dialect, body: bytes) -> Usage:
    (usage,) = [signal.usage for signal in dialect.read_answer(body) if signal.usage is not None]
    return usage


def streamed(dialect: Dialect, *events: bytes) -> Usage:
    signals = dialect.scanner().feed(b"".join(events))
    assert not any(signal.malformed for signal in signals)
    return [signal.usage for signal in signals if signal.usage is not None][-1]


class TestTiers:
    def test_chat(self) -> None:
        assert told_tier("openai", counted(OpenAIChat(), chat({}, service_tier="flex"))) == (True, "flex")
        assert told_tier("openai", counted(OpenAIChat(), chat({}, service_tier="default"))) == (True, None)
        assert told_tier("openai", counted(OpenAIChat(), chat({}))) == (False, None)
        chunk = {
            "choices": [],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
            "service_tier": "priority",
        }
        usage = streamed(OpenAIChat(), b"data: " + json.dumps(chunk).encode() + b"\n\n")
        assert told_tier("openai", usage) == (True, "priority")

    def test_responses(self) -> None:
        whole = counted(OpenAIResponses(), json.dumps(response(service_tier="flex")).encode())
        assert told_tier("openai", whole) == (True, "flex")
        event = {"type": "response.completed", "response": response(service_tier="priority")}
        last = streamed(OpenAIResponses(), b"data: " + json.dumps(event).encode() + b"\n\n")
        assert told_tier("openai", last) == (True, "priority")

    def test_anthropic(self) -> None:
        assert told_tier("anthropic", counted(Anthropic(), message(service_tier="batch"))) == (True, "batch")
        assert (
            told_tier("anthropic", counted(Anthropic(), message(service_tier="standard", speed="fast")))[1]
            == "fast"
        )

    def test_a_stream_of_anthropic_says_it_at_its_begin(self) -> None:
        start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "speed": "fast"}}}
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
        frames = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in (start, end)]
        assert told_tier("anthropic", streamed(Anthropic(), *frames)) == (True, "fast")

    def test_gemini(self) -> None:
        body = json.dumps(candidate(serviceTier="priority")).encode()
        assert told_tier("gemini", counted(Gemini(), body)) == (True, "priority")
        assert told_tier(
            "vertex", counted(Gemini(), json.dumps(candidate(trafficType="ON_DEMAND")).encode())
        ) == (True, None)


class TestImagesAndSearches:
    def test_gemini(self) -> None:
        body = json.dumps(candidate(promptTokensDetails=DETAILS, candidatesTokensDetails=DETAILS)).encode()
        usage = counted(Gemini(), body)
        assert (told(usage, "input_image"), told(usage, "output_image")) == (7, 7)
        usage = streamed(Gemini(), b"data: " + body + b"\n\n")
        assert (told(usage, "input_image"), told(usage, "output_image")) == (7, 7)

    def test_chat(self) -> None:
        details = {
            "prompt_tokens_details": {"image_tokens": 3},
            "completion_tokens_details": {"image_tokens": 4},
        }
        usage = counted(OpenAIChat(), chat(details))
        assert (told(usage, "input_image"), told(usage, "output_image")) == (3, 4)

    @pytest.mark.parametrize(
        "usage", [{"num_search_queries": 2}, {"server_tool_use": {"web_search_requests": 2}}]
    )
    def test_searches_in_chat(self, usage: dict[str, Any]) -> None:
        assert told(counted(OpenAIChat(), chat(usage)), "searches") == 2

    def test_searches_in_responses_are_counted_in_the_output(self) -> None:
        assert told(counted(OpenAIResponses(), json.dumps(response()).encode()), "searches") == 2
        event = {"type": "response.completed", "response": response()}
        last = streamed(OpenAIResponses(), b"data: " + json.dumps(event).encode() + b"\n\n")
        assert told(last, "searches") == 2

    def test_searches_in_messages(self) -> None:
        usage = counted(Anthropic(), message(server_tool_use={"web_search_requests": 2}))
        assert told(usage, "searches") == 2


@given(json_values())
def test_an_answer_isn_t_lost_over_what_stands_there(value: Any) -> None:
    chat_usage = {"num_search_queries": value, "server_tool_use": value, "total_tokens": value}
    answers = [
        (OpenAIChat(), chat(chat_usage, service_tier=value)),
        (OpenAIChat(), chat({"completion_tokens_details": {"image_tokens": value}})),
        (OpenAIResponses(), json.dumps(response(service_tier=value)).encode()),
        (Anthropic(), message(service_tier=value, speed=value, server_tool_use=value)),
        (Gemini(), json.dumps(candidate(serviceTier=value, candidatesTokensDetails=value)).encode()),
    ]
    for dialect, body in answers:
        usage = counted(dialect, body)
        told_tier("openai", usage)
        told(usage, "searches")
        told(usage, "output_image")


class TestReasoningCountedApart:
    @pytest.mark.parametrize(
        ("reasoning", "total", "output"),
        [
            (30, 9 + 9 + 30, 39),  # xAI: beside the completion, and in the sum
            (5, 9 + 9, 9),  # OpenAI: part of the completion
            (5, None, 9),
            (None, 9 + 9, 9),
            (30, "48", 9),
        ],
    )
    def test_the_sum_shows_whether_it_is_part_of_the_completion(
        self, reasoning: int | None, total: Any, output: int
    ) -> None:
        usage = {"completion_tokens_details": {"reasoning_tokens": reasoning}, "total_tokens": total}
        assert counted(OpenAIChat(), chat(usage)).output_tokens == output
