"""Budgets that several processes spend of: what a request sets aside of a hard account lies within this process' block.

=============  ===========================================================================
free           of the block: what may still be set aside here without asking anybody
reserve        out of what is free; where that doesn't suffice, :class:`Short` says what is lacking, and takes nothing
settle         what it cost leaves the block with the request's end (``Charge.held``)
overrun        what passes the bound is taken off what is free as well, as far as that goes
close          what is left of it is free again
fenced         the block is gone; what runs is charged at its bound already, and holds nothing of the next block
=============  ===========================================================================

Soft accounts have no block: they refuse nobody, whatever others spend. A block is asked for and given back by
:mod:`holdfast.money.leases`. One process alone uses none of this (:mod:`holdfast.money.budgets`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from holdfast.money.account import Account
from holdfast.money.budgets import Budgets, Hold, Unpriced, known, passes, plus, total_of
from holdfast.money.rules import Amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from holdfast.ledger.entry import Charge
    from holdfast.money.leases import Leases
    from holdfast.money.rules import BudgetRule, Measure, Subject
    from holdfast.money.window import Part

__all__ = ["SharedAccount", "SharedBudgets", "SharedHold", "Short"]

_NOTHING: Final = Amount(0, 0)


class Short(Exception):
    """This process' blocks don't suffice. ``lacks``: each account that has too little free, how much is lacking to what the
    hold has of it, and how much is needed in all."""

    def __init__(self, lacks: list[tuple[SharedAccount, int, int]]) -> None:
        super().__init__(", ".join(account.key for account, _, _ in lacks))
        self.lacks = lacks


class SharedAccount(Account):
    """As :class:`~holdfast.money.account.Account`, of which others spend too."""

    __slots__ = ("awaited", "elsewhere", "free", "leased", "unleased", "used")

    def __init__(self, rule: BudgetRule, subject: str, parts: Iterable[tuple[Part, int]] = ()) -> None:
        super().__init__(rule, subject, parts)
        self.free = 0
        """Of this process' block, what no request here holds."""
        self.leased = False
        """This process has, or may have, a block."""
        self.used = False
        """Something was taken of the block since the last look."""
        self.awaited = False
        """Somebody, here or elsewhere, waits for something to get free."""
        self.elsewhere = 0
        """In others' blocks, when the database was last asked."""
        self.unleased = 0
        """Neither spent nor in anybody's block, when the database was last asked."""

    def learn(self, spent: int, now_ns: int, *, exact: bool = False) -> None:
        """What all have spent, as the database has it. Others' is counted as if it were spent now.

        Not less than is known here, unless it is ``exact``: what requests here spent may not be written yet.
        """
        known = self.spending.total(now_ns)
        if spent > known:
            self.spending.add(spent - known, now_ns)
        elif exact and spent < known:
            self.spending.take(known - spent)

    def room(self, now_ns: int) -> int:
        """What may still be reserved: of hard ones what is free here, and what nobody had when it was last asked."""
        if not self.rule.hard:
            return super().room(now_ns)
        if not self.leased:
            return self.rule.limit - self.spending.total(now_ns) - self.reserved - self.elsewhere
        return self.free + self.unleased

    def idle(self, now_ns: int) -> bool:
        return not self.leased and super().idle(now_ns)

    @property
    def taken(self) -> int:
        """As far as it is known: what others have leased they may have reserved."""
        return self.reserved + self.elsewhere

    @property
    def block(self) -> int | None:
        """What is free of it and what is reserved; None of a soft one, which has none."""
        return self.free + self.reserved if self.rule.hard else None

    @property
    def kept(self) -> bool:
        return bool(self.leased or self.reserved)


class SharedBudgets(Budgets):
    """As :class:`~holdfast.money.budgets.Budgets`; ``leases`` is who asks for blocks."""

    def __init__(
        self,
        rules: Sequence[BudgetRule] = (),
        *,
        leases: Leases,
        now_ns: Callable[[], int],
        most_accounts: int | None = None,
    ) -> None:
        self.leases = leases
        if most_accounts is None:
            super().__init__(rules, now_ns=now_ns)
        else:
            super().__init__(rules, now_ns=now_ns, most_accounts=most_accounts)

    def apply(self, rules: Sequence[BudgetRule]) -> None:
        """Blocks go back, so that other limits hold for what is leased from now on."""
        super().apply(rules)
        self.leases.recall()

    def hold(self, subject: Subject, *, also: tuple[Account, ...] = ()) -> SharedHold:
        return SharedHold(self.accounts(subject) + also, self)

    def _new(self, rule: BudgetRule, name: str, parts: Iterable[tuple[Part, int]]) -> Account:
        return SharedAccount(rule, name, parts)


class SharedHold(Hold):
    """What one request has set aside, where blocks decide."""

    __slots__ = ("_blocks", "_epoch", "_leases", "_orphan", "_written")

    def __init__(self, accounts: tuple[Account, ...], budgets: SharedBudgets) -> None:
        super().__init__(accounts, budgets)
        self._leases = budgets.leases
        self._epoch = budgets.leases.epoch
        # As it is now: a budget that turns hard has no block behind what was set aside before.
        self._blocks = tuple(
            account if account.rule.hard and isinstance(account, SharedAccount) else None
            for account in accounts
        )
        self._written: bool | None = None
        """Whether its intent is this block's owner's, so that its bound is charged if that one is taken for dead."""
        self._orphan = False
        """Its blocks were dropped: it holds nothing of the next ones."""

    def cover(self, number: int, bound: Amount) -> None:
        """As :meth:`Hold.cover`, and Short."""
        if (
            self._written is None
        ):  # the intent has just been written, perhaps by a new owner that has no block for it
            self._written = self._epoch == self._leases.epoch
        super().cover(number, bound)

    def settle(self, number: int, cost: Amount) -> None:
        """As :meth:`Hold.settle`. Must not raise."""
        self._look()
        bound = self._open.pop(number, _NOTHING)
        charged = known(cost, bound) if None in cost else cost
        self.spent = plus(self.spent, charged) if self.spent != _NOTHING else charged
        if passes(charged.nano, bound.nano) or passes(charged.tokens, bound.tokens):
            self._budgets.overruns += 1
        now_ns = self._budgets.now_ns()
        still = total_of(self._open.values()) if self._open else _NOTHING
        reserved = self._reserved
        for place, account in enumerate(self.accounts):
            counts, block = account.rule.counts, self._blocks[place]
            amount, before = counts(charged) or 0, reserved[place]
            held = 0
            if not (self._orphan and block is not None):
                kept = max(before - amount, counts(still) or 0)
                account.reserved -= before - kept
                reserved[place] = kept
                if block is not None:
                    held = before - kept
                    over = min(amount - held, block.free)
                    block.free -= over
                    held += over
            if amount:
                if isinstance(account, SharedAccount):
                    self._leases.watch(account)
                self._note(account.key, account.charge(amount, now_ns), amount, held)

    def close(self, *, refused: bool = False) -> tuple[Charge, ...]:
        """As :meth:`Hold.close`."""
        self._look()
        freed = []
        for place, block in enumerate(self._blocks):
            if block is not None and (left := self._reserved[place]):
                block.free += left
                if block.awaited:
                    freed.append(block)
        charges = super().close(refused=refused)
        for block in freed:
            self._leases.freed(block)
        return charges

    def _room(self, measure: Measure) -> int | None:
        self._look()
        rooms = [
            max(0, block.free + block.unleased + self._reserved[place])
            for place, block in enumerate(self._blocks)
            if block is not None and block.rule.measure == measure
        ]
        return min(rooms) if rooms else None

    def _reserve(self, wanted: Amount) -> None:
        """Raises Short where blocks don't suffice."""
        self._look()
        more = [0] * len(self.accounts)
        lacks: list[tuple[SharedAccount, int, int]] = []
        for place, account in enumerate(self.accounts):
            needed, block = account.rule.counts(wanted), self._blocks[place]
            if needed is None:
                if block is not None:
                    self._lacking = account
                    raise Unpriced(account)
                continue
            if block is not None and self._orphan and self._written:
                continue  # charged at its bound already; more than that the ledger won't write down
            lack = needed - self._reserved[place]
            if lack <= 0:
                continue
            more[place] = lack
            if block is not None and lack > block.free:
                lacks.append((block, lack, needed))
        if lacks:
            raise Short(lacks)
        if not self._written:
            self._orphan = False
        for place, account in enumerate(self.accounts):
            account.reserved += more[place]
            self._reserved[place] += more[place]
            if more[place] and (block := self._blocks[place]) is not None:
                block.free -= more[place]
                block.used = True

    def _look(self) -> None:
        """Whether the blocks that it holds parts of are still there."""
        if self._epoch == self._leases.epoch:
            return
        self._epoch = self._leases.epoch
        self._orphan = True
        for place, block in enumerate(self._blocks):
            if block is not None:
                block.reserved -= self._reserved[place]
                self._reserved[place] = 0
        for at, charge in self._charges.items():
            self._charges[at] = replace(charge, held=0)
