"""The first token is late."""

from typing import Literal

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import change_token
from holdfast.chaos.limits import Seconds
from holdfast.chaos.plan import Context, Part, Reply


class Slow(FaultSettings, frozen=True):
    seconds: Seconds = 1.0
    headers: Literal["early", "late"] = "early"
    """Whether a stream's headers and role event come at once, or wait too."""


def _apply(reply: Reply, settings: Slow, context: Context) -> Reply:
    if not context.stream or settings.headers == "late":
        reply.delay += settings.seconds
    else:

        def late(part: Part) -> Part:
            part.hold += settings.seconds
            return part

        reply.parts = change_token(reply.parts, 0, late)
    return reply


FAULT = Fault("slow", "the first token is late", _apply, Slow, primary="seconds")
