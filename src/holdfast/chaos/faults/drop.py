"""Tokens that are lost on the way (and billed all the same)."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After
from holdfast.chaos.limits import Positive
from holdfast.chaos.plan import Context, Part, Reply


class Drop(FaultSettings, frozen=True):
    after: After = 0
    """Tokens served first."""
    count: Positive = 1
    """Tokens lost then."""


def _apply(reply: Reply, settings: Drop, _context: Context) -> Reply:
    reply.parts = _less(reply.parts, settings.after, settings.count)
    return reply


def _less(parts: Iterable[Part], after: int, count: int) -> Iterator[Part]:
    seen = lost = 0
    for part in parts:
        gone = part.is_content and after <= seen < after + count
        seen += part.tokens
        if gone:
            lost += part.tokens + part.unseen
        else:
            part.unseen, lost = part.unseen + lost, 0
            yield part


FAULT = Fault("drop", "tokens are lost", _apply, Drop, primary="after", plain=False)
