"""Requests that spend, for tests of money: time by hand, and the way a request goes through breaker and budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import CostBreakerOpen
from holdfast.money.budgets import Budgets, Hold, Overdrawn
from holdfast.money.cost import NANO
from holdfast.money.rules import Amount, Subject

if TYPE_CHECKING:
    from holdfast.clock import Clock
    from holdfast.ledger.entry import Charge
    from holdfast.money.cost_breaker import CostBreaker

__all__ = ["NOON_NS", "USD", "HandClock", "Request", "S", "Spenders", "usd"]

S = 10**9
USD = NANO
NOON_NS = 1_790_000_000 * S


def usd(dollars: float) -> int:
    """Nano-dollars of dollars and whole cents."""
    return round(dollars * 100) * USD // 100


class HandClock:
    """Both scales move together, unless a test moves one."""

    def __init__(self, wall_ns: int = NOON_NS) -> None:
        self.wall = wall_ns
        self.mono = 0.0

    def wall_ns(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def passes(self, seconds: float) -> None:
        self.wall += round(seconds * S)
        self.mono += seconds


class Request:
    """One that was let in. Its attempts are numbered from 1."""

    def __init__(self, breaker: CostBreaker, hold: Hold) -> None:
        self._breaker = breaker
        self._permit = breaker.enter()
        self._hold = hold
        self._attempts = 0

    def reserve(self, nano: int) -> None:
        """Raises CostBreakerOpen, or Overdrawn where it is a budget's, and leaves."""
        try:
            self._hold.cover(self._attempts + 1, Amount(nano, 1))
        except Overdrawn as error:
            self.leave(ok=False)
            if error.account is self._breaker.account:
                raise self._breaker.no_room(error) from None
            raise
        self._attempts += 1

    def settle(self, nano: int, *, ok: bool = True) -> tuple[Charge, ...]:
        """Its one attempt is over, and it is too."""
        self._hold.settle(self._attempts, Amount(nano, 1))
        return self.leave(ok=ok)

    def leave(self, *, ok: bool) -> tuple[Charge, ...]:
        charges = self._hold.close()
        self._permit.leave(ok=ok)
        return charges


class Spenders:
    """Requests of several keys and sessions, over one breaker and the budgets."""

    def __init__(self, breaker: CostBreaker, clock: Clock, budgets: Budgets | None = None) -> None:
        self.breaker = breaker
        self.budgets = budgets if budgets is not None else Budgets((), now_ns=clock.wall_ns)
        self.charges: list[Charge] = []

    def begin(self, bound: int, *, key: str = "a", session: str | None = None) -> Request:
        accounts = self.budgets.accounts(Subject(key=key, model="m", session=session))
        request = Request(self.breaker, Hold((*accounts, self.breaker.account), self.budgets))
        request.reserve(bound)
        return request

    def spend(
        self, nano: int, *, bound: int | None = None, key: str = "a", session: str | None = None
    ) -> None:
        """One whole request."""
        request = self.begin(nano if bound is None else bound, key=key, session=session)
        self.charges += request.settle(nano)

    def refusal(self, bound: int = 1, *, key: str = "a", session: str | None = None) -> CostBreakerOpen:
        """Of a request that must not get in."""
        try:
            self.begin(bound, key=key, session=session)
        except CostBreakerOpen as error:
            return error
        raise AssertionError("it was let in")
