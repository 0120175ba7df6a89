"""Status 200 and nothing else."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, context: Context) -> Reply:
    reply.parts = ()
    reply.length = None if context.stream else 0
    return reply


FAULT = Fault("empty", "200 with an empty body", _apply)
