"""The server goes down: this attempt's connection is reset, and new ones are refused for a while."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import Seconds
from holdfast.chaos.plan import Context, Reply, Shut


class Refuse(FaultSettings, frozen=True):
    seconds: Seconds = 1.0
    """How long each connect gets RST; connections that are open live on."""


def _apply(reply: Reply, settings: Refuse, _context: Context) -> Reply:
    reply.status = None
    reply.ending = "reset"
    reply.shut = Shut("refused", settings.seconds)
    return reply


FAULT = Fault("refuse", "a reset, and then refused connections", _apply, Refuse, primary="seconds")
