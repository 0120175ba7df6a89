"""The right bytes, one (or a few) per TCP segment."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import Positive
from holdfast.chaos.plan import Context, Reply


class Segments(FaultSettings, frozen=True):
    size: Positive = 1
    """Bytes per write, headers and chunk sizes included."""


def _apply(reply: Reply, settings: Segments, _context: Context) -> Reply:
    reply.segment = settings.size
    return reply


FAULT = Fault("segments", "one byte per TCP segment", _apply, Segments, primary="size")
