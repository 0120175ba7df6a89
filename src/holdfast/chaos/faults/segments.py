"""The right bytes, one (or a few) per TCP segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..limits import Positive
from .base import Fault, FaultSettings

if TYPE_CHECKING:
    from ..plan import Context, Reply


class Segments(FaultSettings, frozen=True):
    size: Positive = 1
    """Bytes per write, headers and chunk sizes included."""


def _apply(reply: Reply, settings: Segments, _context: Context) -> Reply:
    reply.segment = settings.size
    return reply


FAULT = Fault("segments", "one byte per TCP segment", _apply, Segments, primary="size")
