"""A token that comes again."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After
from holdfast.chaos.limits import Positive
from holdfast.chaos.plan import Context, Part, Reply


class Repeat(FaultSettings, frozen=True):
    after: After = 0
    """Tokens served before the one that comes again."""
    again: Positive = 1
    """Repetitions after the first."""


def _apply(reply: Reply, settings: Repeat, _context: Context) -> Reply:
    reply.parts = _again(reply.parts, settings.after, settings.again)
    return reply


def _again(parts: Iterable[Part], after: int, again: int) -> Iterator[Part]:
    seen = 0
    rest = iter(parts)
    for part in rest:
        data = part.data  # what stands after the faults may still change the part that was given out
        yield part
        if part.is_content and seen >= after:
            for _ in range(again):
                yield Part(data, "noise", choice=part.choice)  # the model said it once, and bills it once
            break
        seen += part.tokens
    yield from rest


FAULT = Fault("repeat", "a token comes again", _apply, Repeat, primary="after", plain=False)
