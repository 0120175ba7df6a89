"""The connection is reset before a byte of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Fault, FaultSettings

if TYPE_CHECKING:
    from ..plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.status = None
    reply.ending = "reset"
    return reply


FAULT = Fault("reset", "TCP reset before a byte of the answer", _apply)
