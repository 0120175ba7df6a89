"""All budgets, and what one request holds of them.

A request has one :class:`Hold` from before its intent is written until it is over. What it set aside covers every attempt
that is under way, at its upper bound::

    reserved + spent ≤ limit        of every hard budget, at every moment: checked before anything is reserved
    reserved ≥ Σ bounds             of the attempts that are under way: checked before each is sent

What an attempt cost goes from reserved to spent when it is over, whatever became of it. A bill above its bound is charged
in full, and counted (:attr:`Budgets.overruns`).

One process is the authority, and this is its memory. The ledger's database has the same: charges in the transaction that
ends the request, and for what a crash left open the bound that the intent names (:attr:`Hold.covered`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.ledger.entry import AccountPart, Charge
from holdfast.money.account import Account, account_key
from holdfast.money.rules import Amount, BudgetRule, Measure, Subject
from holdfast.money.window import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Budgets", "Full", "Hold", "Overdrawn", "Unpriced", "known", "passes", "plus", "total_of"]

_MOST_ACCOUNTS: Final = 250_000
"""Callers choose sessions and tags, so there may be any number of them."""
_FULL: Final = "as many keys, sessions or tags spend at the same time as budgets can tell apart"
_FORGET_EVERY_NS: Final = 10**9


_NOTHING: Final = Amount(0, 0)


class Overdrawn(Exception):
    """A hard budget has no room for what is asked.

    ``needed`` and the account's own numbers are in its unit; ``frees_ns`` is when there will be enough, if that is known.
    """

    def __init__(
        self, account: Account, *, needed: int, spent: int, reserved: int, frees_ns: int | None
    ) -> None:
        super().__init__(account.key)
        self.account = account
        self.needed = needed
        self.spent = spent
        self.reserved = reserved
        self.frees_ns = frees_ns


class Unpriced(Exception):
    """A hard budget can't tell what the request may cost, so it can't be held."""

    def __init__(self, account: Account) -> None:
        super().__init__(account.key)
        self.account = account


class Full(Exception):
    """More subjects than can be told apart in memory spend at the same time."""


class Budgets:
    """Finds a request's accounts, and remembers them.

    Args:
        rules: what is limited; names are unique.
        now_ns: the wall clock.
        spent: what was spent before, from the ledger.
        most_accounts: at the same time.
    """

    def __init__(
        self,
        rules: Sequence[BudgetRule] = (),
        *,
        now_ns: Callable[[], int],
        spent: Iterable[Charge] = (),
        most_accounts: int = _MOST_ACCOUNTS,
    ) -> None:
        self._now_ns = now_ns
        self._most = most_accounts
        self._forget_from_ns = 0
        self._accounts: dict[str, Account] = {}
        self._before: dict[str, list[tuple[Part, int]]] = {}
        self.holds = 0
        """Requests that hold money, or may."""
        self.refused: dict[str, int] = {}
        """Reservations that were refused since the start, by the budget's name."""
        self.overruns = 0
        """Bills above their bound, since the start."""
        self.apply(rules)
        self.load(spent)

    def load(self, spent: Iterable[Charge]) -> None:
        """What was spent before, from the ledger: once, before the first request."""
        for charge in spent:
            part = Part(charge.start_ns, charge.until_ns)
            self._before.setdefault(charge.account, []).append((part, charge.amount))
        self._take_over((*self._rules, *(rule for rules in self._of_key.values() for rule in rules)))

    def apply(self, rules: Sequence[BudgetRule]) -> None:
        """Other limits from now on. What was spent and is reserved stays, and is judged by them."""
        self._rules: tuple[BudgetRule, ...] = tuple(rule for rule in rules if not rule.of_a_key)
        self._of_key: dict[str, list[BudgetRule]] = {}
        for rule in rules:
            if rule.of_a_key:
                self._of_key.setdefault(rule.match[0].casefold(), []).append(rule)
        by_name = {rule.name: rule for rule in rules}
        self._take_over(rules)
        for key, account in list(self._accounts.items()):
            now = by_name.get(account.rule.name)
            if now is not None and account_key(now, account.subject) == key:
                account.rule = now

    def _take_over(self, rules: Sequence[BudgetRule]) -> None:
        """What the ledger has of the rules' subjects is known from now on."""
        beginnings = {account_key(rule, ""): rule for rule in rules}
        for key in list(self._before):
            if len(self._accounts) >= self._most:
                return
            end = -1
            while (end := key.find(":", end + 1)) >= 0:  # a subject may hold colons, and so may a rule's name
                rule = beginnings.get(key[: end + 1])
                if rule is not None:
                    self._account(rule, key[end + 1 :])
                    break

    @property
    def empty(self) -> bool:
        return not self._rules and not self._of_key

    def accounts(self, subject: Subject) -> tuple[Account, ...]:
        """Those that ``subject``'s spending is counted in.

        Raises:
            Full: there are too many, and each has something to remember.
        """
        rules: Iterable[BudgetRule] = self._rules
        if self._of_key and (own := self._of_key.get(subject.key.casefold())) is not None:
            rules = (*self._rules, *own)
        found = []
        for rule in rules:
            name = rule.subject_of(subject)
            if name is not None:
                found.append(self._account(rule, name))
        return tuple(found)

    def hold(self, subject: Subject, *, also: tuple[Account, ...] = ()) -> Hold:
        """For one request; nothing is reserved yet. ``also``: accounts that are no budget's, and count everything.

        Raises:
            Full: as :meth:`accounts`.
        """
        return Hold(self.accounts(subject) + also, self)

    def forget(self, key: str) -> None:
        """Nobody will ask for this account again; what is reserved of it is kept until it is given back."""
        account = self._accounts.get(key)
        if account is not None and not account.kept:
            del self._accounts[key]

    def __iter__(self) -> Iterator[Account]:
        """Every account that something is known of."""
        return iter(self._accounts.values())

    def count_refusal(self, account: Account) -> None:
        account.refused += 1
        name = account.rule.name
        self.refused[name] = self.refused.get(name, 0) + 1

    def now_ns(self) -> int:
        return self._now_ns()

    def _account(self, rule: BudgetRule, name: str) -> Account:
        key = rule.accounts + name
        account = self._accounts.get(key)
        if account is None:
            if len(self._accounts) >= self._most:
                self._forget()
            account = self._accounts[key] = self._new(rule, name, self._before.pop(key, ()))
        return account

    def _new(self, rule: BudgetRule, name: str, parts: Iterable[tuple[Part, int]]) -> Account:
        return Account(rule, name, parts)

    def _forget(self) -> None:
        """Lets go of accounts that hold nothing. All are looked at, so not for every request that finds no room."""
        now_ns = self._now_ns()
        if 0 < self._forget_from_ns - now_ns <= _FORGET_EVERY_NS:  # more, if the clock was put back
            raise Full(_FULL)
        self._forget_from_ns = now_ns + _FORGET_EVERY_NS
        idle = [key for key, account in self._accounts.items() if account.idle(now_ns)]
        if not idle:
            raise Full(_FULL)
        for key in idle:
            del self._accounts[key]


class Hold:
    """What one request has set aside, and what it has spent.

    Await nothing between :meth:`cover` and the sending of what it covers but the ledger's own writing.
    """

    __slots__ = (
        "_budgets",
        "_charges",
        "_closed",
        "_lacking",
        "_open",
        "_reserved",
        "accounts",
        "covered",
        "spent",
    )

    def __init__(self, accounts: tuple[Account, ...], budgets: Budgets) -> None:
        self.accounts = accounts
        for account in accounts:
            account.holds += 1
        self._budgets = budgets
        self._closed = False
        self._lacking: Account | None = None
        """What the last refusal was for."""
        budgets.holds += 1
        self._open: dict[int, Amount] = {}
        """Attempts that are under way, at their bounds."""
        self._reserved = [0] * len(accounts)
        self._charges: dict[tuple[str, int], Charge] = {}
        self.spent = _NOTHING
        """What its attempts cost so far."""
        self.covered = _NOTHING
        """The most that the request may come to, as far as it is allowed: what the ledger must know before anything is sent.
        Never shrinks."""

    @property
    def running(self) -> bool:
        """Whether an attempt is under way, or about to be."""
        return bool(self._open)

    @property
    def hard_usd(self) -> bool:
        """Whether a hard budget in dollars limits it."""
        return any(account.rule.hard and account.rule.limit_nano is not None for account in self.accounts)

    @property
    def hard(self) -> bool:
        return any(account.rule.hard for account in self.accounts)

    def parts(self) -> tuple[AccountPart, ...]:
        """Where a crash is to charge its bound: account, unit and the part of its window that it is in now."""
        now_ns = self._budgets.now_ns()
        return tuple(
            AccountPart(account.key, account.rule.measure, *account.spending.part(now_ns))
            for account in self.accounts
        )

    def reserve(self, bound: Amount) -> None:
        """Sets aside that much ahead of the first attempt. All accounts or none.

        Raises:
            Overdrawn, Unpriced: as :meth:`cover`.
        """
        if self.accounts:
            self._reserve(bound)
        self._grow(bound)

    def room_nano(self) -> int | None:
        """The most that :meth:`reserve` has room for in nano-dollars; None: no hard budget limits them."""
        return self._room("usd")

    def room_tokens(self) -> int | None:
        """Likewise, in tokens."""
        return self._room("tokens")

    def cover(self, number: int, bound: Amount) -> None:
        """Sets aside what attempt ``number`` may cost. All accounts or none.

        Where :attr:`covered` grew, the ledger must know it before the attempt is sent.

        Raises:
            Overdrawn: a hard budget has no room for it.
            Unpriced: nobody knows what it may cost, and a hard budget limits that.
        """
        wanted = total_of([*self._open.values(), bound]) if self._open else bound
        if self.accounts:
            self._reserve(wanted)
        self._open[number] = bound
        self._grow(plus(self.spent, wanted) if self.spent != _NOTHING else wanted)

    def settle(self, number: int, cost: Amount) -> None:
        """Attempt ``number`` is over, and cost that. Once for each; must not raise.

        A dollar cost that nobody knows is charged at what was set aside for it, if that is known.
        """
        bound = self._open.pop(number, _NOTHING)
        charged = cost
        if cost.nano is None or cost.tokens is None:
            charged = known(cost, bound)
        self.spent = plus(self.spent, charged) if self.spent != _NOTHING else charged
        if passes(charged.nano, bound.nano) or passes(charged.tokens, bound.tokens):
            self._budgets.overruns += 1
        if not self.accounts:
            return
        now_ns = self._budgets.now_ns()
        still = total_of(self._open.values()) if self._open else _NOTHING
        reserved = self._reserved
        for place, account in enumerate(self.accounts):
            counts = account.rule.counts
            amount, before = counts(charged) or 0, reserved[place]
            kept = before - amount
            if (least := counts(still) or 0) > kept:
                kept = least
            account.reserved -= before - kept
            reserved[place] = kept
            if amount:
                part = account.charge(amount, now_ns)
                self._note(account.key, part, amount)

    def close(self, *, refused: bool = False) -> tuple[Charge, ...]:
        """Gives back what is still set aside; what was spent, for the ledger. Idempotent; must not raise.

        ``refused``: the request was told no in the end, so that is counted: not every look that found no room.
        """
        for place, account in enumerate(self.accounts):
            account.reserved -= self._reserved[place]
            self._reserved[place] = 0
        self._open.clear()
        if not self._closed:
            self._closed = True
            self._budgets.holds -= 1
            for account in self.accounts:
                account.holds -= 1
            if refused and self._lacking is not None:
                self._budgets.count_refusal(self._lacking)
        return tuple(self._charges.values())

    def lacks(self, account: Account) -> None:
        """It is to be refused over this one."""
        self._lacking = account

    def _room(self, measure: Measure) -> int | None:
        now_ns = self._budgets.now_ns()
        rooms = [
            max(0, account.room(now_ns) + self._reserved[place])
            for place, account in enumerate(self.accounts)
            if account.rule.hard and account.rule.measure == measure
        ]
        return min(rooms) if rooms else None

    def _reserve(self, wanted: Amount) -> None:
        now_ns = self._budgets.now_ns()
        more = [0] * len(self.accounts)
        for place, account in enumerate(self.accounts):
            rule = account.rule
            needed = rule.counts(wanted)
            if needed is None:
                if rule.hard:
                    self._lacking = account
                    raise Unpriced(account)
                continue
            lack = needed - self._reserved[place]
            if lack <= 0:
                continue
            more[place] = lack
            if rule.hard:
                spent = account.spending.total(now_ns)
                missing = spent + account.reserved + lack - rule.limit
                if missing > 0:
                    self._lacking = account
                    raise Overdrawn(
                        account,
                        needed=needed,
                        spent=spent,
                        reserved=account.reserved,
                        frees_ns=account.spending.frees_ns(missing, now_ns) if missing <= spent else None,
                    )
        for place, account in enumerate(self.accounts):
            account.reserved += more[place]
            self._reserved[place] += more[place]

    def _grow(self, total: Amount) -> None:
        if total != self.covered:
            nano, tokens = self.covered
            self.covered = Amount(_larger(nano, total.nano), _larger(tokens, total.tokens))

    def _note(self, key: str, part: Part, amount: int, held: int = 0) -> None:
        at = (key, part.start_ns)
        before = self._charges.get(at)
        if before is not None:
            amount, held = amount + before.amount, held + before.held
        self._charges[at] = Charge(key, part.start_ns, part.until_ns, amount, held)


def known(cost: Amount, bound: Amount) -> Amount:
    """What nobody knows of a cost is charged at what was set aside for it."""
    return Amount(
        bound.nano if cost.nano is None else cost.nano,
        bound.tokens if cost.tokens is None else cost.tokens,
    )


def total_of(amounts: Iterable[Amount]) -> Amount:
    """Unknown where any of them is."""
    total = Amount(0, 0)
    for amount in amounts:
        total = plus(total, amount)
    return total


def plus(one: Amount, other: Amount) -> Amount:
    """Likewise."""
    return Amount(
        None if one.nano is None or other.nano is None else one.nano + other.nano,
        None if one.tokens is None or other.tokens is None else one.tokens + other.tokens,
    )


def _larger(one: int | None, other: int | None) -> int | None:
    """What nobody knows stays unknown."""
    return None if one is None or other is None else max(one, other)


def passes(amount: int | None, bound: int | None) -> bool:
    """Whether a bill is above its bound, as far as both are known."""
    return amount is not None and bound is not None and amount > bound
