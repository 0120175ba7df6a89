"""Our side of the connection ends (FIN), while we go on reading until the client leaves."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, first_tokens, plain_until
from holdfast.chaos.plan import Context, Reply


class HalfClose(FaultSettings, frozen=True):
    after: After | None = None
    """Tokens served first; None: not a byte."""


def _apply(reply: Reply, settings: HalfClose, context: Context) -> Reply:
    reply.ending = "half_close"
    if settings.after is None:
        reply.status = None
    elif context.stream:
        reply.parts = first_tokens(reply.parts, settings.after)
    else:
        reply.parts = (plain_until(reply, context, settings.after),)
    return reply


FAULT = Fault("half_close", "FIN from us, and the connection stays open", _apply, HalfClose, primary="after")
