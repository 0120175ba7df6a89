"""Status 200 and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Fault, FaultSettings

if TYPE_CHECKING:
    from ..plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, context: Context) -> Reply:
    reply.parts = ()
    reply.length = None if context.stream else 0
    return reply


FAULT = Fault("empty", "200 with an empty body", _apply)
