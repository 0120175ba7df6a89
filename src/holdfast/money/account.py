"""One budget for one subject: what was spent of it, and what is set aside for requests that run.

=============  ===========================================================================
room           limit - spent in the window - reserved; below 0 where a bill passed its bound
reserve        only what there is room for, if the budget is hard; else whatever is asked
charge         counts as spent, whatever it is: what a provider billed is owed
=============  ===========================================================================

Everything is synchronous and in one thread, so nothing comes between a look and the reservation that follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.money.window import Spending, window_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.money.rules import BudgetRule
    from holdfast.money.window import Part

__all__ = ["Account", "account_key"]


def account_key(rule: BudgetRule, subject: str) -> str:
    """Under which name an account is kept."""
    return rule.accounts + subject


class Account:
    """Amounts are nano-dollars or tokens, as the rule says.

    Args:
        parts: what was spent before (:class:`~holdfast.money.window.Spending`).
    """

    __slots__ = ("_warned", "holds", "key", "refused", "reserved", "rule", "spending", "subject")

    def __init__(self, rule: BudgetRule, subject: str, parts: Iterable[tuple[Part, int]] = ()) -> None:
        self.rule = rule
        self.subject = subject
        self.key = account_key(rule, subject)
        self.reserved = 0
        """For requests that run."""
        self.holds = 0
        """Requests that run, whether they have anything reserved or not: each of them knows this very account."""
        self.refused = 0
        """Requests that it had no room for, since the start."""
        self.spending = Spending(window_of(rule.window), parts)
        self._warned = False

    def spent(self, now_ns: int) -> int:
        """In the window that ends now."""
        return self.spending.total(now_ns)

    def room(self, now_ns: int) -> int:
        """What may still be reserved."""
        return self.rule.limit - self.spending.total(now_ns) - self.reserved

    def charge(self, amount: int, now_ns: int) -> Part:
        """Counts ``amount`` as spent; in which part of the window."""
        if self._warned and self.spending.total(now_ns) < self.rule.warn_from:
            self._warned = (
                False  # seen here, or one request that spends it all in a new window would go unwarned
            )
        return self.spending.add(amount, now_ns)

    def warns(self, now_ns: int) -> bool:
        """Whether the share that is warned of is spent, and this hasn't been said of this window yet.

        Of a sliding window it is said again once less was spent meanwhile.
        """
        if self.spending.total(now_ns) < self.rule.warn_from:
            self._warned = False
            return False
        first, self._warned = not self._warned, True
        return first

    def idle(self, now_ns: int) -> bool:
        """Nothing is known of it that a new account wouldn't know."""
        return not self.holds and not self.spending.total(now_ns)

    @property
    def taken(self) -> int:
        """Reserved, here or by other processes."""
        return self.reserved

    @property
    def block(self) -> int | None:
        """What this process has leased, its reservations included; None: it is the only one, and leases nothing."""
        return None

    @property
    def kept(self) -> bool:
        """Something has to be given back to it yet."""
        return self.reserved != 0

    def __repr__(self) -> str:
        return f"Account({self.key!r}, limit={self.rule.limit}, reserved={self.reserved})"
