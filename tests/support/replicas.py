"""Several processes' budgets over one database's books, in one process: for tests of what they may spend together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.ledger.entry import Intent
from holdfast.ledger.memory import MemoryLedger
from holdfast.ledger.memory_blocks import Books, MemoryAuthority
from holdfast.money.leases import Leases, Patience
from holdfast.money.rules import Amount, BudgetRule, Subject
from holdfast.money.shared import SharedBudgets, SharedHold, Short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.clock import Clock
    from holdfast.ledger.base import LedgerStore
    from holdfast.ledger.blocks import Authority
    from holdfast.ledger.entry import Charge

__all__ = ["ANN", "Replica", "Spender", "all_in_blocks", "replicas_of"]

ANN = Subject(key="ann", model="m")


@dataclass
class Replica:
    """One process."""

    ledger: LedgerStore
    authority: Authority
    leases: Leases
    budgets: SharedBudgets
    clock: Clock
    came: int = 0

    @classmethod
    def over(
        cls, ledger: LedgerStore, authority: Authority, rules: Sequence[BudgetRule], clock: Clock
    ) -> Replica:
        leases = Leases(authority, flush=ledger.flush, now_ns=clock.wall_ns)
        leases.start()
        budgets = SharedBudgets(rules, leases=leases, now_ns=clock.wall_ns)
        return cls(ledger, authority, leases, budgets, clock)

    def spender(self, subject: Subject = ANN) -> Spender:
        return Spender(self, self.budgets.hold(subject))

    async def spend(self, bound: int, cost: int | None = None, subject: Subject = ANN) -> None:
        """One whole request. Raises what refuses it."""
        spender = self.spender(subject)
        try:
            await spender.reserve(bound)
            await spender.begin()
            await spender.cover(bound)
        except BaseException:
            spender.end()
            raise
        spender.settle(bound if cost is None else cost)
        spender.end()

    async def aclose(self) -> None:
        await self.leases.aclose()
        await self.ledger.aclose()


@dataclass
class Spender:
    """One request, as the engine leads it through."""

    replica: Replica
    hold: SharedHold
    patience: Patience = field(default_factory=Patience)
    id: str = ""
    slots: int = 0

    async def reserve(self, nano: int) -> None:
        await self._take(lambda: self.hold.reserve(Amount(nano, nano)))

    async def begin(self) -> None:
        """Writes the intent."""
        replica, hold = self.replica, self.hold
        replica.came += 1
        owner = getattr(replica.ledger, "owner", "")
        self.id = f"{owner}-{replica.came:06}"
        await replica.ledger.begin(
            Intent(
                id=self.id,
                started_ns=replica.clock.wall_ns(),
                route="m",
                model="m",
                dialect="openai_chat",
                stream=False,
                request_bytes=1,
                bound_nano=hold.covered.nano,
                bound_tokens=hold.covered.tokens,
                accounts=hold.parts(),
            )
        )

    async def cover(self, nano: int) -> int:
        self.slots = slot = self.slots + 1
        await self._take(lambda: self.hold.cover(slot, Amount(nano, nano)))
        return slot

    def settle(self, nano: int, slot: int | None = None) -> None:
        self.hold.settle(self.slots if slot is None else slot, Amount(nano, nano))

    def end(self) -> tuple[Charge, ...]:
        from holdfast.ledger.entry import End

        charges = self.hold.close()
        if self.id:
            self.replica.ledger.end(
                End(id=self.id, ended_ns=self.replica.clock.wall_ns(), state="ok", charges=charges)
            )
        return charges

    async def _take(self, take) -> None:
        try:
            take()
        except Short as short:
            await self.replica.leases.fitted(take, short, self.patience)


def replicas_of(
    clock: Clock, *rules: BudgetRule, count: int = 2, latency_s: float = 0.001
) -> tuple[Books, list[Replica]]:
    """``count`` processes over one set of books in memory."""
    books = Books(clock.wall_ns)
    replicas = []
    for number in range(count):
        ledger = MemoryLedger(clock, owner=f"p{number}", books=books)
        authority = MemoryAuthority(ledger, latency_s=latency_s)
        replicas.append(Replica.over(ledger, authority, rules, clock))
    return books, replicas


def all_in_blocks(books: Books, account: str) -> int:
    """Spent and leased: what must never pass the limit."""
    return books.spent(account) + books.blocked(account)


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
