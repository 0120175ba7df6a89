"""An error event in a stream, before or after some tokens."""

from collections.abc import Iterable, Iterator
from typing import Literal

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, first_tokens
from holdfast.chaos.plan import Context, Part, Reply
from holdfast.chaos.wire.errors import Problem, check_name


class ErrorEvent(FaultSettings, frozen=True):
    after: After = 0
    """Tokens served first."""
    then: Literal["end", "done", "fin", "reset"] = "end"
    """What follows: the body's proper end, the end marker and the body's end, a close in the body, a reset."""
    error: str | None = None
    """One of the known errors; a server error by default."""

    def __post_init__(self) -> None:
        if self.error is not None:
            check_name(self.error)


def _apply(reply: Reply, settings: ErrorEvent, context: Context) -> Reply:
    reply.parts = _broken_off(reply.parts, settings, context)
    if settings.then == "fin" or settings.then == "reset":
        reply.ending = settings.then
    return reply


def _broken_off(parts: Iterable[Part], settings: ErrorEvent, context: Context) -> Iterator[Part]:
    yield from first_tokens(parts, settings.after)
    error = context.error(Problem(name=settings.error))
    yield Part(context.wire.error_event(error, context.asked), "noise")
    if settings.then == "done" and (end := context.wire.end(context.asked)):
        yield Part(end, "done")


FAULT = Fault("error_event", "an error event in the stream", _apply, ErrorEvent, primary="after", plain=False)
