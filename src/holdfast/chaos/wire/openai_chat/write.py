"""Answers and events, as OpenAI writes them."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.plan import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.chaos.answer import Answer, Choice
    from holdfast.chaos.wire.openai_chat.flavours import Flavour

__all__ = ["DONE", "events", "plain"]

DONE = b"data: [DONE]\n\n"
_TEXT = b'"content":"'
_FINISH = {"stop_sequence": "stop"}
_encode = msgspec.json.Encoder().encode


def plain(answer: Answer, flavour: Flavour) -> Part:
    """A whole answer."""
    texts = ["".join(choice.text) for choice in answer.choices]
    value = {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            {
                "index": i,
                "message": _message(choice, texts[i], flavour),
                **flavour.whole(_FINISH.get(choice.finish, choice.finish)),
            }
            for i, choice in enumerate(answer.choices)
        ],
        "usage": flavour.usage(answer.usage),
        **flavour.head,
        **flavour.beside,
    }
    body = _encode(value)
    at = body.index(_TEXT) + len(_TEXT) if _TEXT in body else 0
    return Part(body, "body", answer.usage.completion_tokens, texts[0], at=at)


def _message(choice: Choice, text: str, flavour: Flavour) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text, **flavour.message(choice)}
    if choice.calls:
        message["content"] = text or None
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in choice.calls
        ]
    return message


def events(answer: Answer, flavour: Flavour, *, include_usage: bool) -> Iterator[Part]:
    """All events of an answer; of several choices, the tokens alternate as they do at a provider."""
    common = {
        "id": answer.id,
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        **flavour.head,
    }
    head = _encode(common)[:-1]
    if flavour.first_event:
        yield Part(flavour.first_event, "frame")
    tail = b',"usage":null}\n\n' if include_usage and not flavour.always_usage else b"}\n\n"
    if len(answer.choices) == 1:
        yield from _choice_events(answer.choices[0], 0, head, tail, flavour)
    else:
        running = [_choice_events(choice, i, head, tail, flavour) for i, choice in enumerate(answer.choices)]
        for row in zip_longest(*running):
            yield from filter(None, row)
    if include_usage or flavour.always_usage:
        usage = _encode(flavour.usage(answer.usage))
        beside = b',"choices":' + flavour.usage_choices + b',"usage":' + usage
        yield Part(b"data: " + head + beside + b"}\n\n", "usage")
    yield Part(DONE, "done")


def _choice_events(choice: Choice, index: int, head: bytes, tail: bytes, flavour: Flavour) -> Iterator[Part]:
    before = b"data: " + head + b',"choices":[{"index":%d,"delta":' % index
    after = b"," + _encode(flavour.finish(None))[1:] + b"]" + tail
    silent = choice.calls and not choice.text and not flavour.delta
    opening = b'{"role":"assistant","content":null}' if silent else b'{"role":"assistant","content":""}'
    opened = b"," + _encode(flavour.opened())[1:] + b"]" + tail
    yield Part(before + opening + opened, "role", choice=index)
    for token in choice.reasoning:
        delta, at = flavour.thought(_encode(token))
        yield Part(before + delta + after, "reasoning", 1, token, index, len(before) + at + 1)
    if (signed := flavour.signed(choice)) is not None:
        yield Part(before + signed + after, "frame", choice=index)
    text_before = before + b"{" + flavour.delta + b'"content":'
    text_after = b"}" + after
    at = len(text_before) + 1
    for token in choice.text:
        yield Part(text_before + _encode(token) + text_after, "text", 1, token, index, at)
    call_before = before + b"{" + (flavour.quiet and flavour.quiet + b",") + b'"tool_calls":['
    call_after = b"]}" + after
    for i, call in enumerate(choice.calls):
        named = {
            "index": i,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield Part(call_before + _encode(named) + call_after, "tool", choice=index)
        for piece in call.pieces:
            said = _encode({"index": i, "function": {"arguments": piece}})
            yield Part(call_before + said + call_after, "tool", 1, piece, index)
    reason = _encode(flavour.finish(_FINISH.get(choice.finish, choice.finish)))[1:]
    yield Part(before + b"{" + flavour.quiet + b"}," + reason + b"]" + tail, "finish", choice=index)
