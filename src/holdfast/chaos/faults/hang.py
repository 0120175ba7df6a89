"""Silence before the headers: until the client leaves, or for some seconds."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import Seconds
from holdfast.chaos.plan import Context, Reply


class Hang(FaultSettings, frozen=True):
    seconds: Seconds | None = None
    """None: until the client leaves. Else the healthy answer follows."""


def _apply(reply: Reply, settings: Hang, _context: Context) -> Reply:
    if settings.seconds is not None:
        reply.delay = settings.seconds
        return reply
    reply.status = None
    reply.ending = "hang"
    return reply


FAULT = Fault("hang", "silence before the headers", _apply, Hang, primary="seconds")
