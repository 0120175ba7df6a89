"""The host goes away: this attempt's connection is reset, and connects aren't answered for a while."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import Seconds
from holdfast.chaos.plan import Context, Reply, Shut


class Deaf(FaultSettings, frozen=True):
    seconds: Seconds = 1.0
    """How long no SYN is answered (on Linux); a client tries it again after 1, 3, 7 … seconds."""


def _apply(reply: Reply, settings: Deaf, _context: Context) -> Reply:
    reply.status = None
    reply.ending = "reset"
    reply.shut = Shut("silent", settings.seconds)
    return reply


FAULT = Fault("deaf", "a reset, and then connects that hang", _apply, Deaf, primary="seconds")
