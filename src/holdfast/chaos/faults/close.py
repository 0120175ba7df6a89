"""The connection is closed (FIN) before a byte of the answer."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.status = None
    reply.ending = "fin"
    return reply


FAULT = Fault("close", "the connection closes before a byte of the answer", _apply)
