"""A plain body shorter than its content-length says."""

from typing import Literal

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import plain_body
from holdfast.chaos.limits import Positive
from holdfast.chaos.plan import Context, Part, Reply


class Truncate(FaultSettings, frozen=True):
    missing: Positive = 16
    """Bytes kept back at the end of the body (all of it at most)."""
    how: Literal["fin", "reset", "hang"] = "fin"
    """What happens instead of them."""


def _apply(reply: Reply, settings: Truncate, _context: Context) -> Reply:
    body = plain_body(reply).data
    reply.parts = (Part(body[: max(0, len(body) - settings.missing)], "body"),)
    reply.ending = settings.how
    return reply


FAULT = Fault(
    "truncate", "content-length is larger than the body", _apply, Truncate, primary="missing", stream=False
)
