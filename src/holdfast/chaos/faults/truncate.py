"""A plain body shorter than its content-length says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..limits import Positive
from ..plan import Part, Reply
from .base import Fault, FaultSettings
from .edit import plain_body

if TYPE_CHECKING:
    from ..plan import Context


class Truncate(FaultSettings, frozen=True):
    missing: Positive = 16
    """Bytes kept back at the end of the body (all of it at most)."""
    how: Literal["fin", "reset", "hang"] = "fin"
    """What happens instead of them."""


def _apply(reply: Reply, settings: Truncate, _context: Context) -> Reply:
    body = plain_body(reply)
    reply.parts = (Part(body[: max(0, len(body) - settings.missing)], "body"),)
    reply.ending = settings.how
    return reply


FAULT = Fault(
    "truncate", "content-length is larger than the body", _apply, Truncate, primary="missing", stream=False
)
