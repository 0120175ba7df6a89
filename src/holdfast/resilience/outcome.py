"""How a call went, in the words that every policy understands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

__all__ = ["Classify", "Outcome", "outcome_of"]


class Outcome(Enum):
    """The verdict on one call."""

    SUCCESS = "success"
    FAILURE = "failure"
    """The other side is at fault, and it isn't for having too much to do: a time-out, a broken connection, a 500."""
    OVERLOAD = "overload"
    """The other side has too much to do (503, 529): a failure, and a reason to send less."""
    LIMITED = "limited"
    """The other side is well and says that we send too much (429): no failure, and a reason to send less."""
    NEUTRAL = "neutral"
    """Nothing was learnt: the caller left, or its own request was at fault."""


Classify: TypeAlias = Callable[[BaseException], Outcome]
"""Reads an error as a verdict."""


def outcome_of(error: BaseException) -> Outcome:
    """The usual reading of an error: what is no :class:`Exception` is a caller that left, all else is a failure."""
    if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
        return Outcome.NEUTRAL
    return Outcome.FAILURE
