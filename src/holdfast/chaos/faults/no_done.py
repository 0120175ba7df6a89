"""A stream with a finish reason, but without ``[DONE]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Fault, FaultSettings
from .edit import without

if TYPE_CHECKING:
    from ..plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.parts = without(reply.parts, "done")
    return reply


FAULT = Fault("no_done", "no [DONE] after the finish reason", _apply, plain=False)
