"""The head drips in, a few bytes at a time."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import Positive, Seconds
from holdfast.chaos.plan import Context, Reply


class SlowHeaders(FaultSettings, frozen=True):
    pause: Seconds = 0.05
    """Seconds between writes."""
    step: Positive = 16
    """Bytes per write."""


def _apply(reply: Reply, settings: SlowHeaders, _context: Context) -> Reply:
    reply.head_step = settings.step
    reply.head_pause = settings.pause
    return reply


FAULT = Fault("slow_headers", "the headers drip in", _apply, SlowHeaders, primary="pause")
