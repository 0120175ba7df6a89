"""Answers and events, as OpenAI's Responses API writes them: events with names and numbers, the last one with it all."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.plan import Part
from holdfast.chaos.wire.openai_responses.flavours import TEXT
from holdfast.chaos.wire.openai_responses.items import items
from holdfast.chaos.wire.openai_responses.response import begun, ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.wire.openai_responses.flavours import Flavour
    from holdfast.chaos.wire.openai_responses.items import Item
    from holdfast.chaos.wire.openai_responses.read import Responding

__all__ = ["event", "events", "plain"]

_encode = msgspec.json.Encoder().encode
_TEXT = _encode(TEXT.empty)[:-2]  # up to where the text begins
_FAILED = ("failed", "incomplete")


def plain(answer: Answer, asked: Responding, flavour: Flavour) -> Part:
    """A whole answer."""
    choice = answer.choices[0]
    value = ended(answer, asked, flavour, items(choice, asked, flavour))
    body = _encode({**value, **flavour.whole()})
    at = body.index(_TEXT) + len(_TEXT) if _TEXT in body else 0
    tokens = answer.usage.completion_tokens - choice.hidden
    return Part(body, "body", tokens, "".join(choice.text), at=at, unseen=choice.hidden)


def event(name: str, number: int, fields: dict[str, Any]) -> bytes:
    """One server-sent event."""
    data = _encode({"type": name, **fields, "sequence_number": number})
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def events(answer: Answer, asked: Responding, flavour: Flavour) -> Iterator[Part]:
    """All events of an answer."""
    numbers = count()

    def told(name: str, **fields: Any) -> bytes:
        return event(name, next(numbers), fields)

    started = begun(answer, asked, flavour)
    if asked.echo["background"]:
        queued = begun(answer, asked, flavour, "queued")
        yield Part(told("response.created", response=queued), "role")
        yield Part(told("response.queued", response=queued), "frame")
    else:
        yield Part(told("response.created", response=started), "role")
    yield Part(told("response.in_progress", response=started), "frame")
    spoken = items(answer.choices[0], asked, flavour)
    for index, item in enumerate(spoken):
        yield Part(told("response.output_item.added", item=item.added, output_index=index), "frame")
        place = {"item_id": item.id, "output_index": index}
        if item.channel is None:
            name = "response.function_call_arguments"
            yield from _said(f"{name}.delta", item, place, numbers)
            yield Part(told(f"{name}.done", arguments=item.done["arguments"], **place), "frame")
        elif item.kind == "text" or item.pieces:
            channel = item.channel
            place[channel.number] = 0
            yield Part(told(f"{channel.part}.added", part=channel.empty, **place), "frame")
            yield from _said(f"{channel.said}.delta", item, {**place, **channel.beside}, numbers)
            text = "".join(item.pieces)
            yield Part(told(f"{channel.said}.done", text=text, **place, **channel.beside), "frame")
            yield Part(told(f"{channel.part}.done", part={**channel.empty, "text": text}, **place), "frame")
        done = told("response.output_item.done", item=item.done, output_index=index)
        yield Part(done, "frame", unseen=item.unseen)
    last = ended(answer, asked, flavour, spoken)
    status = last["status"] if last["status"] in _FAILED else "completed"
    yield Part(told(f"response.{status}", response=last), "finish")


def _said(name: str, item: Item, beside: dict[str, Any], numbers: Iterator[int]) -> Iterator[Part]:
    """The pieces of an item, each in an event."""
    head = b'event: %b\ndata: {"type":"%b","delta":' % (name.encode(), name.encode())
    tail = b"," + _encode(beside)[1:-1] + b',"sequence_number":'
    at = len(head) + 1
    for piece in item.pieces:
        data = head + _encode(piece) + tail + b"%d}\n\n" % next(numbers)
        yield Part(data, item.kind, 1, piece, 0, at)
