"""Two tokens that change places."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After
from holdfast.chaos.plan import Context, Part, Reply


class Reorder(FaultSettings, frozen=True):
    after: After = 0
    """Tokens served first; of those after them, the first two neighbours change places."""


def _apply(reply: Reply, settings: Reorder, _context: Context) -> Reply:
    reply.parts = _swapped(reply.parts, settings.after)
    return reply


def _swapped(parts: Iterable[Part], after: int) -> Iterator[Part]:
    seen = 0
    held: Part | None = None
    rest = iter(parts)
    for part in rest:
        if held is not None and part.is_content and part.kind == held.kind:
            yield part
            yield held
            held = None
            break
        if held is not None:  # its neighbour is something else: that one stays
            yield held
            seen += held.tokens
            held = None
        if part.is_content and seen >= after:
            held = part
            continue
        seen += part.tokens
        yield part
    if held is not None:
        yield held
    yield from rest


FAULT = Fault("reorder", "two tokens change places", _apply, Reorder, primary="after", plain=False)
