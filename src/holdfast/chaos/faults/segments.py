"""The right bytes, one (or a few) per TCP segment."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import Positive, Seconds
from holdfast.chaos.plan import Context, Reply


class Segments(FaultSettings, frozen=True):
    size: Positive = 1
    """Bytes per write, headers and chunk sizes included."""
    pause: Seconds = 0.0
    """Seconds between them; 0: each goes in a turn of its own, and what arrives at once may be read at once."""


def _apply(reply: Reply, settings: Segments, _context: Context) -> Reply:
    reply.segment = settings.size
    reply.segment_pause = settings.pause
    return reply


FAULT = Fault("segments", "one byte per TCP segment", _apply, Segments, primary="size")
