"""Valid JSON in which something required isn't there."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, change_token, decoded, holder, retold, rewritten
from holdfast.chaos.plan import Context, Part, Reply

_NAMED_WITHIN = ("message", "response")
"""Where events hold an answer's id and model, if not on top."""


class MissingFields(FaultSettings, frozen=True):
    field: Literal["answer", "id", "model"] = "answer"
    """``answer`` is what holds it: choices, content, candidates, output."""
    instead: Literal["gone", "null", "empty"] = "gone"
    """What is there instead: no such field, null, or an empty value of its kind."""
    after: After = 0
    """Tokens of a stream served before the event without its answer; ``id`` and ``model`` are missing in all events."""


def _apply(reply: Reply, settings: MissingFields, context: Context) -> Reply:
    change = _change(settings, context)
    if not context.stream:
        return rewritten(reply, change)
    if settings.field != "answer":
        reply.parts = (retold(part, change(part.data)) for part in reply.parts)
        return reply

    def spoil(part: Part) -> Part:
        billed = part.tokens + part.unseen
        return Part(change(part.data), "noise", pause=part.pause, hold=part.hold, unseen=billed)

    reply.parts = change_token(reply.parts, settings.after, spoil)
    return reply


def _change(settings: MissingFields, context: Context) -> Callable[[bytes], bytes]:
    def less(value: dict[str, Any]) -> None:
        names = context.wire.names
        name = holder(value, context) if settings.field == "answer" else names[settings.field]
        places = (value, *(value.get(inner) for inner in _NAMED_WITHIN))
        place = next((each for each in places if isinstance(each, dict) and name in each), None)
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
