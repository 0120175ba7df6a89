"""Valid JSON in which something required isn't there."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, change_token, decoded, holder, rewritten
from holdfast.chaos.plan import Context, Part, Reply


class MissingFields(FaultSettings, frozen=True):
    field: Literal["answer", "id", "model"] = "answer"
    """``answer`` is what holds it: choices, content, candidates, output."""
    instead: Literal["gone", "null", "empty"] = "gone"
    """What is there instead: no such field, null, or an empty value of its kind."""
    after: After = 0
    """Tokens of a stream served first; its next event is the one (for ``id`` and ``model``: the one that tells them)."""


def _apply(reply: Reply, settings: MissingFields, context: Context) -> Reply:
    change = _change(settings, context)
    if not context.stream:
        return rewritten(reply, change)
    if settings.field != "answer" and not context.wire.repeats_names:
        reply.parts = _opened(reply.parts, change)
        return reply

    def spoil(part: Part) -> Part:
        billed = part.tokens + part.unseen
        return Part(change(part.data), "noise", pause=part.pause, hold=part.hold, unseen=billed)

    reply.parts = change_token(reply.parts, settings.after, spoil)
    return reply


def _opened(parts: Iterable[Part], change: Callable[[bytes], bytes]) -> Iterator[Part]:
    """Where only the first event tells names: that one changed."""
    for part in parts:
        if part.kind == "role":
            part.data = change(part.data)
        yield part


def _change(settings: MissingFields, context: Context) -> Callable[[bytes], bytes]:
    def less(value: dict[str, Any]) -> None:
        names = context.wire.names
        name = holder(value, context) if settings.field == "answer" else names[settings.field]
        inner = (each for each in value.values() if isinstance(each, dict) and name in each)
        place = value if name in value else next(inner, None)
        if name is None or place is None:
            return
        if settings.instead == "gone":
            del place[name]
        else:
            place[name] = None if settings.instead == "null" else type(place[name])()

    def change(data: bytes) -> bytes:
        start, value, end = decoded(data)
        if value is None:
            return data
        less(value)
        return start + msgspec.json.encode(value) + end

    return change


FAULT = Fault("missing_fields", "a required field isn't there", _apply, MissingFields, primary="field")
