"""What several processes spend, in memory: the twin of the database's tables, for simulation and tests.

Replicas that share one :class:`Books` are as several processes on one database.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.blocks import Grant, granted
from holdfast.ledger.sessions import MemorySessions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.ledger.blocks import Listener, Want
    from holdfast.ledger.entry import Charge
    from holdfast.ledger.memory import MemoryLedger

__all__ = ["Books", "MemoryAuthority"]

_CLEAR_AT: Final = 1024
"""Amounts spent at which those that don't count any more are cleared away."""


class Books:
    """What is spent, and who has which blocks.

    Args:
        now_ns: the wall clock that counts.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns
        self.spend: dict[tuple[str, int], Charge] = {}
        self.blocks: dict[str, dict[str, int]] = {}
        """By account, then by owner."""
        self.owners: set[str] = set()
        """Living ones."""
        self.listeners: list[Listener] = []
        self.sessions = MemorySessions()
        """Rows of callers' sessions."""
        self._clear_at = _CLEAR_AT

    def charge(self, charge: Charge) -> None:
        at = (charge.account, charge.start_ns)
        before = self.spend.get(at)
        amount = charge.amount + (before.amount if before is not None else 0)
        self.spend[at] = replace(charge, amount=amount, held=0)
        if len(self.spend) >= self._clear_at:
            now_ns = self.now_ns()
            for at, each in list(self.spend.items()):
                if each.until_ns is not None and each.until_ns <= now_ns:
                    del self.spend[at]
            self._clear_at = max(_CLEAR_AT, 2 * len(self.spend))

    def take(self, account: str, owner: str, held: int) -> None:
        """What was held in a block is spent now."""
        blocks = self.blocks.get(account, {})
        if owner in blocks:
            blocks[owner] = max(0, blocks[owner] - held)

    def drop(self, owner: str) -> None:
        """An owner is gone, and its blocks with it."""
        self.owners.discard(owner)
        for blocks in self.blocks.values():
            blocks.pop(owner, None)

    def parts(self, account: str) -> list[Charge]:
        """What counts now, the first to leave first."""
        now_ns = self.now_ns()
        found = [
            each
            for each in self.spend.values()
            if each.account == account and (each.until_ns is None or each.until_ns > now_ns)
        ]
        return sorted(found, key=lambda each: (each.until_ns is None, each.until_ns or 0))

    def spent(self, account: str) -> int:
        return sum(each.amount for each in self.parts(account))

    def blocked(self, account: str) -> int:
        return sum(self.blocks.get(account, {}).values())

    def lease(self, owner: str, want: Want) -> Grant:
        parts, blocks = self.parts(want.account), self.blocks.setdefault(want.account, {})
        spent, blocked, mine = sum(each.amount for each in parts), sum(blocks.values()), blocks.get(owner, 0)
        amount = granted(want, room=want.limit - spent - blocked, owners=max(1, len(self.owners)))
        frees_ns = None
        if amount:
            blocks[owner] = mine + amount
        else:
            missing = spent + blocked + want.least - want.limit
            for each in parts:
                missing -= each.amount
                if missing <= 0:
                    frees_ns = each.until_ns
                    break
        return Grant(
            account=want.account,
            amount=amount,
            spent=spent,
            mine=mine,
            elsewhere=blocked - mine,
            frees_ns=frees_ns,
        )

    def give_back(self, owner: str, account: str, amount: int | None) -> None:
        blocks = self.blocks.get(account, {})
        left = 0 if amount is None else max(0, blocks.get(owner, 0) - amount)
        if left:
            blocks[owner] = left
        else:
            blocks.pop(owner, None)

    def forget(self, account: str) -> None:
        for at in [at for at in self.spend if at[0] == account]:
            del self.spend[at]


class MemoryAuthority:
    """One replica's way to the shared :class:`Books`.

    Args:
        ledger: the replica's own; its requests' ends write into the same books.
        latency_s: of each call, on the running loop's time; even 0 lets others run first.
    """

    def __init__(self, ledger: MemoryLedger, *, latency_s: float = 0.0) -> None:
        self._ledger = ledger
        self._books = ledger.books
        self._latency_s = latency_s
        self._listener: Listener | None = None
        self.calls = 0
        """Leases and returns that were asked for."""
        self.lost: str | None = None
        """Set: nothing can be asked, and why."""

    async def lease(self, wants: Sequence[Want]) -> list[Grant]:
        owner = await self._reach()
        if owner not in self._books.owners:
            raise LedgerUnavailable("this process was taken for dead, and begins anew")
        grants = [self._books.lease(owner, want) for want in wants]
        for grant in grants:
            if not grant.amount and grant.elsewhere:
                for other in self._others():
                    asyncio.get_running_loop().call_soon(other.called, grant.account)
        return grants

    async def give_back(self, amounts: Mapping[str, int | None]) -> None:
        owner = await self._reach()
        for account, amount in amounts.items():
            self._books.give_back(owner, account, amount)

    async def spent(self, accounts: Sequence[str]) -> dict[str, int]:
        await self._reach()
        return {account: self._books.spent(account) for account in accounts}

    async def forget(self, account: str) -> None:
        await self._reach()
        self._books.forget(account)
        for other in self._others():
            asyncio.get_running_loop().call_soon(other.forgotten, account)

    def listen(self, listener: Listener) -> None:
        self._listener = listener
        self._books.listeners.append(listener)
        self._ledger.on_fenced(listener.fenced)

    async def aclose(self) -> None:
        if self._listener in self._books.listeners:
            self._books.listeners.remove(self._listener)

    async def _reach(self) -> str:
        """The owner that asks: the one of now, for who wakes up later."""
        self.calls += 1
        owner = self._ledger.owner
        await asyncio.sleep(self._latency_s)
        if self.lost is not None:
            raise LedgerUnavailable(self.lost)
        return owner

    def _others(self) -> list[Listener]:
        """Who is told, as by a notification: a moment later, and not this one."""
        return [each for each in self._books.listeners if each is not self._listener]
