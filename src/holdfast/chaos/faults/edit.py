"""Cuts and changes that several faults make."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from holdfast.chaos.plan import Part, Reply, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from holdfast.chaos.plan import Context
    from holdfast.chaos.wire.errors import ErrorAnswer

__all__ = [
    "After",
    "change_token",
    "decoded",
    "first_tokens",
    "has_typed_events",
    "holder",
    "less",
    "plain_body",
    "plain_until",
    "retold",
    "rewritten",
    "said_in_200",
    "with_body",
    "without",
]

After = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
"""Tokens that are served before the fault."""

_END = ("finish", "usage", "done")
_TYPED = ("anthropic", "openai_responses")


def has_typed_events(context: Context) -> bool:
    """Whether each event of its streams has a type, in its data and in a line of its own."""
    return context.wire.name in _TYPED


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


def plain_body(reply: Reply) -> Part:
    """A plain reply's body, as one part."""
    parts = list(reply.parts)
    if len(parts) == 1:
        return parts[0]
    at = parts[0].at if parts else 0
    said = "".join(part.said for part in parts)
    return Part(b"".join(part.data for part in parts), "body", sum(p.tokens for p in parts), said, at=at)


def plain_until(reply: Reply, context: Context, count: int | None) -> Part:
    """The start of a plain body, up to the ``count``-th token of the first choice (None: its last).

    A body without text (tool calls, an error, vectors) is cut in its middle.
    """
    body = plain_body(reply)
    choice = next(iter(context.answer.choices), None)
    if choice is None or not choice.text or not body.at:
        return Part(body.data[: len(body.data) // 2], "body")
    tokens = len(choice.text) if count is None else min(count, len(choice.text))
    said = "".join(islice(choice.text, tokens))
    end = body.at + len(msgspec.json.encode(said)) - 2
    return Part(body.data[:end], "body", tokens, said, at=body.at)


def rewritten(reply: Reply, change: Callable[[bytes], bytes]) -> Reply:
    """``reply`` with a changed plain body that still says the same."""
    body = plain_body(reply)
    changed = change(body.data)
    # The text stays where it is, unless something before it changed.
    at = body.at if changed[: body.at] == body.data[: body.at] else 0
    return with_body(reply, Part(changed, "body", body.tokens, body.said, at=at, unseen=body.unseen))


def retold(part: Part, data: bytes) -> Part:
    """``part`` with other bytes before what it says."""
    if part.at:
        part.at += len(data) - len(part.data)
    part.data = data
    return part


def with_body(reply: Reply, part: Part) -> Reply:
    """``reply`` with another plain body, truthfully measured."""
    reply.parts = (part,)
    reply.length = len(part.data)
    return reply


def decoded(data: bytes) -> tuple[bytes, dict[str, Any] | None, bytes]:
    """A body or an event: what stands before its JSON object, the object, and what stands after it.

    None where there is no object (any more).
    """
    start, end = data.find(b"{"), data.rfind(b"}") + 1
    try:
        value = msgspec.json.decode(data[start:end])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data, None, b""
    return (data[:start], value, data[end:]) if isinstance(value, dict) else (data, None, b"")


def holder(value: dict[str, Any], context: Context) -> str | None:
    """The name of what holds the answer in a body or an event."""
    for name in ("delta", context.wire.names.get("answer")):
        if name in value:
            return name
    lists = {name: len(inner) for name, inner in value.items() if isinstance(inner, list | dict)}
    return max(lists, key=lists.__getitem__, default=None)


def less(context: Context, what: Literal["usage", "finish"]) -> Callable[[bytes], bytes]:
    """A change of a body or an event: without usage or finish reason. What isn't JSON (any more) stays as it is."""

    def change(data: bytes) -> bytes:
        start, value, end = decoded(data)
        if value is None:
            return data
        try:
            context.wire.less(value, what)
        except (AttributeError, TypeError):  # another fault has left no answer in it
            return data
        return start + msgspec.json.encode(value) + end

    return change


def said_in_200(reply: Reply, context: Context, error: ErrorAnswer, *, as_json: bool = False) -> Reply:
    """``error`` where an answer should be."""
    if not context.stream or as_json:
        return whole(200, error.body, context.wire.json_type)
    parts = [Part(context.wire.error_event(error, context.asked), "noise")]
    if end := context.wire.end(context.asked):
        parts.append(Part(end, "done"))
    return Reply(200, reply.headers, parts, early_head=True)
