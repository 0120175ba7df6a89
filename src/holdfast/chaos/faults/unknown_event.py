"""An event of a type that nobody knows yet, between the others; where events have types, clients are told to expect it."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, has_typed_events
from holdfast.chaos.plan import Context, Part, Reply

_EVENT = b'event: new_thing\ndata: {"type":"new_thing","value":1}\n\n'


class UnknownEvent(FaultSettings, frozen=True):
    after: After = 1
    """Tokens served before it."""


def _apply(reply: Reply, settings: UnknownEvent, _context: Context) -> Reply:
    reply.parts = _interrupted(reply.parts, settings.after)
    return reply


def _interrupted(parts: Iterable[Part], after: int) -> Iterator[Part]:
    seen = 0
    rest = iter(parts)
    for part in rest:
        yield part
        seen += part.tokens
        if seen >= after and part.kind != "role":
            yield Part(_EVENT, "noise")
            break
    yield from rest


FAULT = Fault(
    "unknown_event",
    "an event of a type that nobody knows",
    _apply,
    UnknownEvent,
    primary="after",
    plain=False,
    where=has_typed_events,
)
