"""How the end of an attempt reads to the policies, which know no LLM word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.errors import (
    Abandoned,
    AuthRefused,
    HoldfastError,
    ModelMissing,
    NoTimeLeft,
    OutcomeUnknown,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    RequestRefused,
    Superseded,
    TimedOut,
)
from holdfast.resilience.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OUTCOMES", "outcome_of"]

OUTCOMES: Final[Mapping[type[HoldfastError], Outcome]] = {
    RequestRefused: Outcome.NEUTRAL,  # the caller's own fault; content policy and context length are kinds of it
    ModelMissing: Outcome.NEUTRAL,
    AuthRefused: Outcome.NEUTRAL,  # our key: an open breaker would hide from the operator what is wrong
    RateLimited: Outcome.LIMITED,
    Overloaded: Outcome.OVERLOAD,
    ProviderError: Outcome.FAILURE,  # quota exhausted and server errors: the target serves nobody
    Abandoned: Outcome.NEUTRAL,
    Superseded: Outcome.NEUTRAL,
    OutcomeUnknown: Outcome.FAILURE,
    NoTimeLeft: Outcome.NEUTRAL,  # it was never asked
    Rejected: Outcome.FAILURE,  # of these an attempt knows only that no connection could be made
    HoldfastError: Outcome.NEUTRAL,  # a fault of our own
}
"""The nearest kind counts."""


def outcome_of(error: HoldfastError | None) -> Outcome:
    """The verdict on an attempt; no error: it succeeded."""
    if error is None:
        return Outcome.SUCCESS
    if isinstance(error, TimedOut) and error.hasty:
        return Outcome.NEUTRAL  # the caller's patience was shorter than ours: others may have more
    return next(OUTCOMES[kind] for kind in type(error).__mro__ if kind in OUTCOMES)
