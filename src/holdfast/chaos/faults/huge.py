"""A valid answer whose text is far too long; sent in blocks, never held in memory."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import plain_body
from holdfast.chaos.plan import Context, Part, Reply

_BLOCK = b"x" * 65_536


class Huge(FaultSettings, frozen=True):
    megabytes: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 114.0
    """Size of the text, in units of 10⁶ bytes: one string of a plain body, one event of a stream."""


def _apply(reply: Reply, settings: Huge, context: Context) -> Reply:
    size = int(settings.megabytes * 1_000_000)
    if context.stream:
        reply.parts = _one_long_event(reply.parts, size)
        return reply
    body = plain_body(reply)
    head, tail = (body.data[: body.at], body.data[body.at :]) if body.at else (body.data, b"")
    filler = (
        _blocks(size) if body.at else _blocks(size, b" " * 65_536)
    )  # white space after it is as valid, and as long
    reply.length = len(head) + size + len(tail)
    reply.parts = _joined(Part(head, "body"), filler, Part(tail, "body"))
    return reply


def _one_long_event(parts: Iterable[Part], size: int) -> Iterator[Part]:
    lengthened = False
    for part in parts:
        if lengthened or not part.at or part.kind != "text":
            yield part
            continue
        lengthened = True
        yield Part(part.data[: part.at], "noise", pause=part.pause, hold=part.hold)
        yield from _blocks(size)
        yield Part(part.data[part.at :], "text", part.tokens, part.said, part.choice, unseen=part.unseen)


def _joined(head: Part, middle: Iterator[Part], tail: Part) -> Iterator[Part]:
    yield head
    yield from middle
    yield tail


def _blocks(size: int, block: bytes = _BLOCK) -> Iterator[Part]:
    for _ in range(size // len(block)):
        yield Part(block, "noise")
    if rest := size % len(block):
        yield Part(block[:rest], "noise")


FAULT = Fault("huge", "a body of many megabytes", _apply, Huge, primary="megabytes")
