"""Where policies stand in a request's way, and how they are told that it is over.

Two places, in the order of a request's life. *Admission* is asked once, before the intent is written: idempotency, rate
limits, budgets. A *gate* is asked before each attempt: breaker, bulkhead, adaptive limit. Both answer with something that is
handed back exactly once, on every way out (success, failure, cancellation), so that what was taken is always given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.engine.call import Call
    from holdfast.engine.policy import Target
    from holdfast.errors import HoldfastError
    from holdfast.ledger.entry import End
    from holdfast.model.usage import Usage
    from holdfast.resilience.rate_meter import RateStatus

__all__ = ["Admission", "Gate", "Permit", "Ticket"]


class Ticket(Protocol):
    """What a request was admitted with."""

    @property
    def rate(self) -> RateStatus | None:
        """How its caller's rate limit stood then; None: it has none."""
        ...

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

    def heard(self, header: Callable[[str], str | None], *, refused: bool) -> None:
        """The answer's head is there; ``header`` looks one of its headers up, ``refused``: it was a 429. Must not raise."""
        ...

    def progressed(self) -> None:
        """The answer has content: its provider works. At most once; must not raise."""
        ...

    def leave(self, error: HoldfastError | None, usage: Usage | None) -> None:
        """The attempt is over; no error: it succeeded. ``usage`` is what the provider told. Must not raise."""
        ...


class Gate(Protocol):
    """Asked before each attempt."""

    async def enter(self, target: Target, call: Call, *, first: bool, deadline: float) -> Permit:
        """Lets the attempt through, waiting for a place at most until ``deadline`` (monotonic seconds).

        ``first``: it isn't a retry: this request has not asked this target before.

        Raises:
            Rejected: this target may not be asked now; the next one is.
        """
        ...

    def hedge_after(self, target: Target) -> float | None:
        """Seconds without content after which an attempt at ``target`` is hedged; None: never."""
        ...

    def may_hedge(self, target: Target) -> bool:
        """Takes one hedge of an attempt at ``target`` from its budget, if there is one left."""
        ...

    def hedge_won(self, target: Target) -> None:
        """A hedge of an attempt at ``target`` was the faster one. Must not raise."""
        ...

    def may_retry(self, target: Target) -> bool:
        """Takes one retry at ``target`` from its budget, if there is one left."""
        ...
