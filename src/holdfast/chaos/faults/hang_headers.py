"""The first bytes of the head, and then silence."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import Positive
from holdfast.chaos.plan import FOREVER, Context, Reply


class HangHeaders(FaultSettings, frozen=True):
    sent: Positive = 12
    """Bytes of the head that are sent; 12 are the version and the status, more than the head is all of it."""


def _apply(reply: Reply, settings: HangHeaders, _context: Context) -> Reply:
    reply.head_step = settings.sent
    reply.head_pause = FOREVER
    return reply


FAULT = Fault("hang_headers", "silence within the headers", _apply, HangHeaders, primary="sent")
