"""Answers and events, as Anthropic writes them: blocks with numbers, usage at both ends of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos import signature
from holdfast.chaos.plan import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.chaos.answer import Answer, Choice, ToolCall, Usage

__all__ = ["ISSUER", "STOP", "event", "events", "opening", "plain"]

ISSUER = "anthropic"
_encode = msgspec.json.Encoder().encode
_TEXT = b'"type":"text","text":"'
_FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def event(name: str, data: bytes) -> bytes:
    """One server-sent event."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


STOP = event("message_stop", b'{"type":"message_stop"}')
_PING = event("ping", b'{"type": "ping"}')


def plain(answer: Answer) -> Part:
    """A whole answer."""
    choice = answer.choices[0]
    message = {
        **_message(answer, _blocks(choice)),
        **_ending(choice),
        "usage": {
            **_usage(answer.usage),
            "output_tokens": answer.usage.completion_tokens,
            **_details(answer.usage),
            "service_tier": "standard",
        },
    }
    body = _encode(message)
    at = body.index(_TEXT) + len(_TEXT) if _TEXT in body else 0
    said = "".join(choice.text)
    return Part(
        body, "body", answer.usage.completion_tokens - choice.hidden, said, at=at, unseen=choice.hidden
    )


def opening(answer: Answer) -> Part:
    """``message_start``, which alone tells id and model."""
    message = {
        **_message(answer, []),
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**_usage(answer.usage), "output_tokens": 1, "service_tier": "standard"},
    }
    data = _encode({"type": "message_start", "message": message})
    return Part(event("message_start", data), "role")


def events(answer: Answer) -> Iterator[Part]:
    """All events of an answer."""
    choice = answer.choices[0]
    yield opening(answer)
    for index, block in enumerate(_spoken(choice)):
        for i, part in enumerate(_block(block, index, choice)):
            yield part
            if i == 0 and index == 0:
                yield Part(_PING, "frame")
    usage = {
        **_totals(answer.usage),
        "output_tokens": answer.usage.completion_tokens,
        **_details(answer.usage),
    }
    ending = {"type": "message_delta", "delta": _ending(choice), "usage": usage}
    yield Part(event("message_delta", _encode(ending)), "finish")
    yield Part(STOP, "done")


def _spoken(choice: Choice) -> Iterator[str | ToolCall]:
    """The blocks of an answer in their order. Something is always said, if only an empty text."""
    if choice.reasoning:
        yield "thinking"
    for number in range(choice.redacted):
        yield f"redacted {number}"
    if choice.text or not (choice.calls or choice.reasoning):
        yield "text"
    yield from choice.calls


def _block(block: str | ToolCall, index: int, choice: Choice) -> Iterator[Part]:
    delta = b'{"type":"content_block_delta","index":%d,"delta":{"type":' % index
    if block == "thinking":
        yield _start(index, {"type": "thinking", "thinking": "", "signature": ""})
        if choice.thoughts_shown:
            yield from _said(delta + b'"thinking_delta","thinking":', choice.reasoning, "reasoning")
        signed = _encode(_signature(choice))
        data = event("content_block_delta", delta + b'"signature_delta","signature":' + signed + b"}}")
        yield Part(data, "frame", unseen=choice.hidden)
    elif block == "text":
        yield _start(index, {"type": "text", "text": ""})
        yield from _said(delta + b'"text_delta","text":', choice.text, "text")
    elif isinstance(block, str):
        yield _start(index, _redacted(block, choice))
    else:
        yield _start(index, {"type": "tool_use", "id": block.id, "name": block.name, "input": {}})
        before = delta + b'"input_json_delta","partial_json":'
        yield Part(event("content_block_delta", before + b'""}}'), "frame")
        yield from _said(before, block.pieces, "tool")
    yield Part(event("content_block_stop", b'{"type":"content_block_stop","index":%d}' % index), "frame")


def _start(index: int, block: dict[str, Any]) -> Part:
    value = {"type": "content_block_start", "index": index, "content_block": block}
    return Part(event("content_block_start", _encode(value)), "frame")


def _said(before: bytes, pieces: Any, kind: Any) -> Iterator[Part]:
    head = b"event: content_block_delta\ndata: " + before
    at = len(head) + 1
    for piece in pieces:
        yield Part(head + _encode(piece) + b"}}\n\n", kind, 1, piece, 0, at)


def _message(answer: Answer, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": answer.model,
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "content": content,
    }


def _blocks(choice: Choice) -> list[dict[str, Any]]:
    return [_whole(block, choice) for block in _spoken(choice)]


def _whole(block: str | ToolCall, choice: Choice) -> dict[str, Any]:
    if block == "thinking":
        thought = "".join(choice.reasoning) if choice.thoughts_shown else ""
        return {"type": "thinking", "thinking": thought, "signature": _signature(choice)}
    if block == "text":
        return {"type": "text", "text": "".join(choice.text)}
    if isinstance(block, str):
        return _redacted(block, choice)
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": _input(block)}


def _redacted(block: str, choice: Choice) -> dict[str, Any]:
    salt = choice.salt[len(block) :] + block.encode().hex()
    return {"type": "redacted_thinking", "data": signature.made(f"{ISSUER} redacted", "", salt[-24:])}


def _input(call: ToolCall) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:  # cut by max_tokens
        return {}
    return value if isinstance(value, dict) else {}


def _signature(choice: Choice) -> str:
    thought = "".join(choice.reasoning) if choice.thoughts_shown else ""
    return signature.made(ISSUER, thought, choice.salt)


def _ending(choice: Choice) -> dict[str, Any]:
    reason = _FINISH.get(choice.finish, choice.finish)
    return {"stop_reason": reason, "stop_sequence": choice.stopped_by}


def _totals(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_written_tokens,
        "cache_creation_input_tokens": usage.cache_written_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    written = {"ephemeral_5m_input_tokens": usage.cache_written_tokens, "ephemeral_1h_input_tokens": 0}
    return {**_totals(usage), "cache_creation": written}


def _details(usage: Usage) -> dict[str, Any]:
    if not usage.reasoning_tokens:
        return {}
    return {"output_tokens_details": {"thinking_tokens": usage.reasoning_tokens}}
