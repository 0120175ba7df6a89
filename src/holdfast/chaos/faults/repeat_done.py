"""The end marker comes again."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Part, Reply


class RepeatDone(FaultSettings, frozen=True):
    times: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    """Repetitions after the first."""


def _apply(reply: Reply, settings: RepeatDone, _context: Context) -> Reply:
    reply.parts = _repeated(reply.parts, settings.times)
    return reply


def _repeated(parts: Iterable[Part], times: int) -> Iterator[Part]:
    for part in parts:
        data = part.data
        yield part
        if part.kind == "done":
            for _ in range(times):
                yield Part(data, "noise")


FAULT = Fault(
    "repeat_done",
    "the end marker comes again",
    _apply,
    RepeatDone,
    primary="times",
    plain=False,
    where=lambda context: bool(context.wire.end(context.asked)),
)
