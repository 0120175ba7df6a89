"""A plain body longer than its content-length says: what is beyond it looks like the next answer."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import plain_body, with_body
from holdfast.chaos.limits import Positive
from holdfast.chaos.plan import Context, Reply


class WrongLength(FaultSettings, frozen=True):
    extra: Positive = 16
    """Bytes of the body beyond the length (all of it at most). For bodies that are too short: ``truncate``."""


def _apply(reply: Reply, settings: WrongLength, _context: Context) -> Reply:
    body = plain_body(reply)
    reply = with_body(reply, body)
    reply.length = max(0, len(body.data) - settings.extra)
    reply.ending = "fin"
    return reply


FAULT = Fault(
    "wrong_length",
    "content-length is smaller than the body",
    _apply,
    WrongLength,
    primary="extra",
    stream=False,
)
