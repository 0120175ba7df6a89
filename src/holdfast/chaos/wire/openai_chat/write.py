"""Answers and events, as OpenAI writes them."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.plan import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.chaos.answer import Answer, Choice, Usage

__all__ = ["DONE", "events", "plain"]

DONE = b"data: [DONE]\n\n"
_TEXT = b'"content":"'
_FINISH = {"stop_sequence": "stop"}
_encode = msgspec.json.Encoder().encode


def plain(answer: Answer) -> Part:
    """A whole answer."""
    value = _plain(answer)
    body = _encode(value)
    said = value["choices"][0]["message"]["content"] or ""
    at = body.index(_TEXT) + len(_TEXT) if _TEXT in body else 0
    return Part(body, "body", answer.usage.completion_tokens, said, at=at)


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _plain(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            {
                "index": i,
                "message": _message(choice),
                "logprobs": None,
                "finish_reason": _FINISH.get(choice.finish, choice.finish),
            }
            for i, choice in enumerate(answer.choices)
        ],
        "usage": _usage(answer.usage),
        "service_tier": "default",
        "system_fingerprint": "fp_chaos",
    }


def _message(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(choice.text),
        "refusal": None,
        "annotations": [],
    }
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in choice.calls
        ]
    return message


def events(answer: Answer, *, include_usage: bool) -> Iterator[Part]:
    """All events of an answer; of several choices, the tokens alternate as they do at a provider."""
    head = _encode(
        {
            "id": answer.id,
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model,
            "service_tier": "default",
            "system_fingerprint": "fp_chaos",
        }
    )[:-1]
    tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
    if len(answer.choices) == 1:
        yield from _choice_events(answer.choices[0], 0, head, tail)
    else:
        running = [_choice_events(choice, i, head, tail) for i, choice in enumerate(answer.choices)]
        for row in zip_longest(*running):
            yield from filter(None, row)
    if include_usage:
        usage = b"data: " + head + b',"choices":[],"usage":' + _encode(_usage(answer.usage)) + b"}\n\n"
        yield Part(usage, "usage")
    yield Part(DONE, "done")


def _choice_events(choice: Choice, index: int, head: bytes, tail: bytes) -> Iterator[Part]:
    before = b"data: " + head + b',"choices":[{"index":%d,"delta":' % index
    after = b',"logprobs":null,"finish_reason":null}]' + tail
    silent = choice.calls and not choice.text
    opening = b'{"role":"assistant","content":null}' if silent else b'{"role":"assistant","content":""}'
    yield Part(before + opening + after, "role", choice=index)
    thought_before = before + b'{"reasoning_content":'
    at = len(thought_before) + 1
    for token in choice.reasoning:
        yield Part(thought_before + _encode(token) + b"}" + after, "reasoning", 1, token, index, at)
    text_before = before + b'{"content":'
    text_after = b"}" + after
    at = len(text_before) + 1
    for token in choice.text:
        yield Part(text_before + _encode(token) + text_after, "text", 1, token, index, at)
    for i, call in enumerate(choice.calls):
        opened = {
            "index": i,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield Part(before + _encode({"tool_calls": [opened]}) + after, "tool", choice=index)
        for piece in call.pieces:
            delta = _encode({"tool_calls": [{"index": i, "function": {"arguments": piece}}]})
            yield Part(before + delta + after, "tool", 1, piece, index)
    finish = (
        before
        + b'{},"logprobs":null,"finish_reason":'
        + _encode(_FINISH.get(choice.finish, choice.finish))
        + b"}]"
        + tail
    )
    yield Part(finish, "finish", choice=index)
