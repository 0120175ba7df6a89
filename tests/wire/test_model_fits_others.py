"""The neutral model holds Anthropic's and Gemini's answers whole, before their dialects are written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.wire.neutral_sketch import anthropic, anthropic_stream, gemini
from tests.wire.recorded import recordings

from holdfast.model import Event, Opaque, Reasoning, Text, ToolCall, fold, split

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {"assistant", "model", "message", "text", "thinking", "redacted_thinking", "tool_use"}
EVENTS = {
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
}
EVENTS |= {"message_stop", "ping", "text_delta", "thinking_delta", "signature_delta", "citations_delta"}
EVENTS |= {"input_json_delta"}
"""Words that say what a thing is: the model says it by its types."""
COUNTED = ("input_tokens", "index", "candidatesTokenCount", "output_tokens", "thoughtsTokenCount")
"""Numbers that the model holds as sums or as order; checked by themselves."""


def told(exchange: dict[str, Any]) -> list[Event]:
    if exchange["path"].endswith("/messages"):
        whole, stream = exchange.get("response"), exchange.get("events")
        return list(anthropic(whole) if whole else anthropic_stream(stream or []))
    return list(gemini(exchange.get("events") or [exchange["response"]]))


EXCHANGES = [
    pytest.param(each, id=each["id"])
    for each in recordings("anthropic_answers") + recordings("gemini_answers")
]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_nothing_that_was_said_is_missing(exchange: dict[str, Any]) -> None:
    answer = fold(told(exchange))
    held = msgspec.to_builtins(answer)
    texts = [value for _, value in leaves(held) if isinstance(value, str)]
    numbers = {value for _, value in leaves(held) if isinstance(value, int | float)}
    numbers |= {value for text in texts for value in numbers_in(text)}
    for name, value in leaves(exchange.get("events") or exchange["response"]):
        if isinstance(value, str) and value not in KINDS | EVENTS:
            escaped = json.dumps(value, ensure_ascii=False)[1:-1]
            assert any(value in text or escaped in text for text in texts), name
        elif type(value) in (int, float) and not counted(name, streamed="events" in exchange):
            assert value in numbers, name
    assert all(choice.finish is not None for choice in answer.choices)
    assert fold(split(answer)) == answer


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_usage_adds_up(exchange: dict[str, Any]) -> None:
    usage = fold(told(exchange)).usage
    assert usage is not None
    said = exchange.get("events") or [exchange["response"]]
    if exchange in recordings("gemini_answers"):
        billed = [chunk["usageMetadata"] for chunk in said if "usageMetadata" in chunk][-1]
        total = (
            (usage.input_tokens or 0) + (usage.output_tokens or 0) + billed.get("toolUsePromptTokenCount", 0)
        )
        assert total == billed["totalTokenCount"]
    else:
        billed = [each["usage"] for each in said if "usage" in each][-1]
        cached = billed["cache_read_input_tokens"] + billed["cache_creation_input_tokens"]
        assert usage.input_tokens == billed["input_tokens"] + cached
        assert usage.output_tokens == billed["output_tokens"]


def test_the_recordings_show_what_is_hard_about_them() -> None:
    answers = [fold(told(each)) for each in recordings("anthropic_answers") + recordings("gemini_answers")]
    parts = [part for answer in answers for choice in answer.choices for part in choice.parts]
    assert any(isinstance(part, Text) and part.citations for part in parts)
    assert any(isinstance(part, Text) and part.signature for part in parts)
    assert any(isinstance(part, Reasoning) and part.signature for part in parts)
    assert any(isinstance(part, Reasoning) and part.encrypted for part in parts)
    assert any(isinstance(part, ToolCall) and part.signature for part in parts)
    assert any(isinstance(part, ToolCall) and part.id is None for part in parts)
    assert len({part.data.get("type") for part in parts if isinstance(part, Opaque)}) > 5
    assert len({choice.finish for answer in answers for choice in answer.choices}) >= 3


def counted(name: str, *, streamed: bool) -> bool:
    """Whether a number is held as a sum, as order, or was only a stream's count so far: usage is checked by itself."""
    return name.rpartition(".")[2] in COUNTED or (streamed and "usage" in name.lower())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value


def numbers_in(text: str) -> list[Any]:
    """The numbers in a call's arguments, which are JSON within a text."""
    try:
        return [value for _, value in leaves(json.loads(text)) if isinstance(value, int | float)]
    except ValueError:
        return []
