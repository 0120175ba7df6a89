"""The finish reason comes again, the same each time."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Part, Reply


class RepeatFinish(FaultSettings, frozen=True):
    times: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    """Repetitions after the first."""


def _apply(reply: Reply, settings: RepeatFinish, _context: Context) -> Reply:
    reply.parts = _repeated(reply.parts, settings.times)
    return reply


def _repeated(parts: Iterable[Part], times: int) -> Iterator[Part]:
    for part in parts:
        data = part.data  # what stands after the faults may still change the part that was given out
        yield part
        if part.kind == "finish":
            for _ in range(times):
                yield Part(data, "noise", choice=part.choice)


FAULT = Fault(
    "repeat_finish", "the finish reason comes again", _apply, RepeatFinish, primary="times", plain=False
)
