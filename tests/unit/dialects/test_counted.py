"""Usage as each dialect's scanner reads it: every count has its place, what else was said is kept, and no answer is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.app import DIALECTS
from holdfast.model.usage import Usage

CHAT = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
MESSAGE = {
    "type": "message",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
}
GOOGLE = {"candidates": [{"index": 0, "content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}
RESPONSE = {
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
}
VECTOR = {"data": [{"embedding": [1.0]}]}

WIRES = {
    "openai_chat": (CHAT, "usage", "prompt_tokens", "completion_tokens"),
    "anthropic": (MESSAGE, "usage", "input_tokens", "output_tokens"),
    "gemini": (GOOGLE, "usageMetadata", "promptTokenCount", "candidatesTokenCount"),
    "openai_responses": (RESPONSE, "usage", "input_tokens", "output_tokens"),
    "openai_embeddings": (VECTOR, "usage", "prompt_tokens", None),
}
"""By the dialect: a whole answer, where its usage stands, and the names of its two counts."""


def read(wire: str, usage: object) -> tuple[Usage | None, bool]:
    """The usage that is told of, and whether the answer is one."""
    answer, place, *_ = WIRES[wire]
    signals = DIALECTS[wire].read_answer(json.dumps({**answer, place: usage}).encode())
    told = [signal.usage for signal in signals if signal.usage is not None]
    assert len(told) <= 1
    return (told[0] if told else None), not any(signal.malformed or signal.error for signal in signals)


def said(wire: str, given: object, made: object, **more: Any) -> dict[str, Any]:
    _, _, first, second = WIRES[wire]
    return {first: given, **({second: made} if second else {}), **more}


@pytest.mark.parametrize("wire", WIRES)
class TestEveryDialect:
    def test_what_only_that_provider_says_is_kept(self, wire: str) -> None:
        more = {"priority_units": 3, "nested": {"tier": "flex", "none": None}, "nothing": None, "empty": {}}
        usage, fine = read(wire, said(wire, 7, 2, **more))
        assert fine
        assert usage is not None
        assert usage.input_tokens == 7
        assert usage.extra == {"priority_units": 3, "nested": {"tier": "flex"}}

    def test_nothing_more_is_nothing(self, wire: str) -> None:
        usage, _ = read(wire, said(wire, 7, 2))
        assert usage is not None
        assert usage.extra == {}

    @pytest.mark.parametrize("count", [7.5, "7", True, [7], 1 << 63, -(1 << 64)])
    def test_a_count_that_is_none_loses_no_answer_and_counts_nothing(self, wire: str, count: object) -> None:
        usage, fine = read(wire, said(wire, count, 2))
        assert fine
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (None, None)
        assert usage.extra[WIRES[wire][2]] == count

    @pytest.mark.parametrize("usage", [None, [], "much", 7])
    def test_what_is_no_usage(self, wire: str, usage: object) -> None:
        assert read(wire, usage) == (None, True)


@pytest.mark.parametrize(
    ("wire", "details", "extra"),
    [
        (
            "openai_chat",
            {"completion_tokens_details": {"reasoning_tokens": 1, "accepted_prediction_tokens": 5}},
            {"completion_tokens_details": {"accepted_prediction_tokens": 5}},
        ),
        ("openai_chat", {"prompt_cache_miss_tokens": 4}, {"prompt_cache_miss_tokens": 4}),
        (
            "openai_responses",
            {"output_tokens_details": {"reasoning_tokens": 1, "drafted": 5}},
            {"output_tokens_details": {"drafted": 5}},
        ),
        ("anthropic", {"service_tier": "priority"}, {"service_tier": "priority"}),
        (
            "gemini",
            {"promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}]},
            {"promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}]},
        ),
    ],
)
def test_details_are_taken_apart(wire: str, details: dict[str, Any], extra: dict[str, Any]) -> None:
    usage, _ = read(wire, said(wire, 7, 2, **details))
    assert usage is not None
    assert usage.extra == extra


def test_counts_of_a_stream_add_up() -> None:
    """Anthropic says some at the beginning and some at the end; what is said later goes over it."""
    events = [
        {
            "type": "message_start",
            "message": {"id": "m", "usage": {"input_tokens": 5, "output_tokens": 1, "a": 1}},
        },
        {
            "type": "message_delta",
            "delta": {"stop_reason": "x"},
            "usage": {"output_tokens": 9, "a": None, "b": 2},
        },
    ]
    data = b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)
    *_, last = DIALECTS["anthropic"].scanner().feed(data)
    assert last.usage == Usage(input_tokens=5, output_tokens=9, extra={"a": 1, "b": 2})
