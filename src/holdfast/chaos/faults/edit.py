"""Cuts and changes that several faults make."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import msgspec

from holdfast.chaos.plan import Part, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from holdfast.chaos.plan import Context

__all__ = [
    "After",
    "change_token",
    "first_tokens",
    "plain_body",
    "plain_until",
    "rewritten",
    "with_body",
    "without",
]

After = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
"""Tokens that are served before the fault."""

_END = ("finish", "usage", "done")


def first_tokens(parts: Iterable[Part], count: int | None) -> Iterator[Part]:
    """The stream up to its ``count``-th token (None: its last), without any end. 0 leaves the role event."""
    seen = 0
    for part in parts:
        if part.kind in _END or (part.is_content and count is not None and seen >= count):
            return
        seen += part.tokens
        yield part


def without(parts: Iterable[Part], *kinds: str) -> Iterator[Part]:
    """The stream less all events of ``kinds``."""
    return (part for part in parts if part.kind not in kinds)


def change_token(parts: Iterable[Part], after: int, change: Callable[[Part], Part]) -> Iterator[Part]:
    """The stream with the token that follows ``after`` tokens changed; where there is none, with its next event."""
    seen = 0
    rest = iter(parts)
    for part in rest:
        if (part.is_content and seen >= after) or part.kind in _END:
            yield change(part)
            break
        seen += part.tokens
        yield part
    yield from rest


def plain_body(reply: Reply) -> bytes:
    """The bytes of a plain reply's body."""
    return b"".join(part.data for part in reply.parts)


def plain_until(reply: Reply, context: Context, count: int | None) -> Part:
    """The start of a plain body, up to the ``count``-th token of the first choice (None: its last).

    A body without text (tool calls, an error) is cut in its middle.
    """
    body = plain_body(reply)
    choice = context.answer.choices[0]
    opening = b'"content":"'
    if not choice.text or opening not in body:
        return Part(body[: len(body) // 2], "body")
    tokens = len(choice.text) if count is None else min(count, len(choice.text))
    said = "".join(islice(choice.text, tokens))
    end = body.index(opening) + len(opening) + len(msgspec.json.encode(said)) - 2
    return Part(body[:end], "body", tokens, said)


def rewritten(reply: Reply, change: Callable[[bytes], bytes]) -> Reply:
    """``reply`` with a changed plain body that still says the same."""
    parts = list(reply.parts)
    body = change(b"".join(part.data for part in parts))
    tokens = sum(part.tokens for part in parts)
    return with_body(reply, Part(body, "body", tokens, "".join(part.said for part in parts)))


def with_body(reply: Reply, part: Part) -> Reply:
    """``reply`` with another plain body, truthfully measured."""
    reply.parts = (part,)
    reply.length = len(part.data)
    return reply
