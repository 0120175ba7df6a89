"""An answer whose end comes without a finish reason."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import less, rewritten, without
from holdfast.chaos.plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, context: Context) -> Reply:
    if context.stream:
        reply.parts = without(reply.parts, "finish")
        return reply
    return rewritten(reply, less(context, "finish"))


FAULT = Fault("no_finish", "no finish reason, but the end marker", _apply)
