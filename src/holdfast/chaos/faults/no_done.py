"""A stream with a finish reason, but without its end marker (``[DONE]``, ``message_stop``)."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import without
from holdfast.chaos.plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.parts = without(reply.parts, "done")
    return reply


FAULT = Fault(
    "no_done",
    "no end marker after the finish reason",
    _apply,
    plain=False,
    where=lambda context: bool(context.wire.end(context.asked)),
)
