"""The connection is reset before a byte of the answer."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.status = None
    reply.ending = "reset"
    return reply


FAULT = Fault("reset", "TCP reset before a byte of the answer", _apply)
