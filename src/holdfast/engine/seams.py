"""Where policies stand in a request's way, and how they are told that it is over.

Two places, in the order of a request's life. *Admission* is asked once, before the intent is written: idempotency, rate
limits, budgets. A *gate* is asked before each attempt: breaker, bulkhead, adaptive limit. Both answer with something that is
handed back exactly once, on every way out (success, failure, cancellation), so that what was taken is always given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from holdfast.engine.exchange import Call
    from holdfast.engine.policy import Target
    from holdfast.errors import HoldfastError
    from holdfast.ledger.entry import End

__all__ = ["Admission", "Gate", "Permit", "Ticket"]


class Ticket(Protocol):
    """What a request was admitted with."""

    def settle(self, end: End | None) -> None:
        """The request is over; None: it was never accepted, because its intent could not be written. Must not raise."""
        ...


class Admission(Protocol):
    """Asked once for each request, before anything is written or sent."""

    async def admit(self, call: Call) -> Ticket:
        """Lets the request in.

        Raises:
            Rejected: it may not; the caller is told, nothing was written and nothing is owed.
        """
        ...


class Permit(Protocol):
    """What an attempt was let through with. Held until the answer's last byte."""

    def leave(self, error: HoldfastError | None) -> None:
        """The attempt is over; None: it succeeded. Must not raise."""
        ...


class Gate(Protocol):
    """Asked before each attempt."""

    async def enter(self, target: Target, *, deadline: float) -> Permit:
        """Lets the attempt through, waiting for a place at most until ``deadline`` (monotonic seconds).

        Raises:
            Rejected: this target may not be asked now; the next one is.
        """
        ...
