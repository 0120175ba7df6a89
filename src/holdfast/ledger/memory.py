"""A ledger in memory: for simulation on virtual time, and for the library where nobody asked for a file.

It survives nothing. It has no thread and reads no time but its clock's, so that a run replays from its seed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.base import LedgerHealth
from holdfast.ledger.entry import Charge, Counts, End, Record
from holdfast.ledger.memory_blocks import Books

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.clock import Clock
    from holdfast.ledger.entry import Intent, State

__all__ = ["MemoryLedger"]


class MemoryLedger:
    """Keeps every open request and the newest ``keep`` ended ones; counts are exact over all of them.

    Args:
        clock: dates for :meth:`give_up`.
        keep: ended requests to remember.
        latency_s: how long ``begin`` takes, on the running loop's time; even 0 lets others run first.
        owner: the process that requests are booked to.
        books: what is spent of budgets, shared with other replicas; None: nobody else spends.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        keep: int = 100_000,
        latency_s: float = 0.0,
        owner: str = "memory",
        books: Books | None = None,
    ) -> None:
        self._clock = clock
        self._keep = keep
        self._latency_s = latency_s
        self.owner = owner
        self.books = Books(clock.wall_ns) if books is None else books
        self.books.owners.add(owner)
        self._on_fenced: list[Callable[[], None]] = []
        self._fenced = 0
        self._open: dict[str, Record] = {}
        self._ended: OrderedDict[str, Record] = OrderedDict()
        self._totals: dict[State, int] = {"ok": 0, "failed": 0, "cancelled": 0, "unknown": 0}
        self._accepted = self._ends = self._late = self._ignored = self._refused = 0
        self._refusal: str | None = None
        self._closed = False

    async def begin(self, intent: Intent) -> None:
        owner = self.owner
        await asyncio.sleep(self._latency_s)
        reason = self._why_not(intent.id)
        if owner != self.owner:  # what it has set aside is gone
            reason = "this process was taken for dead, and begins anew"
        if reason is not None:
            self._refused += 1
            raise LedgerUnavailable(reason)
        self._accepted += 1
        self._open[intent.id] = Record(intent=intent, owner=self.owner)

    def end(self, end: End) -> None:
        record = self._open.pop(end.id, None)
        late = False
        if record is None:
            record = self._ended.get(end.id)
            if record is None or record.settled_by != "recovery":
                self._ignored += 1
                return
            late = True
            self._late += 1
            self._charge_bound(record.intent, -1)
            self._totals["unknown"] -= 1
        self._ends += 1
        for charge in end.charges:
            self.books.charge(charge)
            if charge.held and not late:  # a late one's block went when it was given up
                self.books.take(charge.account, record.owner, charge.held)
        self._settle(Record(intent=record.intent, owner=record.owner, end=end, settled_by="end", late=late))

    async def raise_bound(self, request_id: str, *, bound_nano: int | None, bound_tokens: int | None) -> None:
        await asyncio.sleep(self._latency_s)
        reason = self._refusal or ("the ledger is closed" if self._closed else None)
        record = self._open.get(request_id)
        if reason is None and record is None:
            reason = f"request {request_id} isn't open any more: its process was taken for dead"
        if reason is not None or record is None:
            raise LedgerUnavailable(reason or "")
        intent = replace(record.intent, bound_nano=bound_nano, bound_tokens=bound_tokens)
        self._open[request_id] = replace(record, intent=intent)

    async def forget_spending(self, account: str) -> None:
        self.books.forget(account)

    async def spending(self) -> list[Charge]:
        now_ns = self._clock.wall_ns()
        return [each for each in self.books.spend.values() if each.until_ns is None or each.until_ns > now_ns]

    async def flush(self) -> None:
        """Nothing waits here."""

    def health(self) -> LedgerHealth:
        reason = "the ledger is closed" if self._closed else self._refusal
        return LedgerHealth(
            ok=reason is None,
            reason=reason,
            intents=self._accepted,
            ends=self._ends,
            late=self._late,
            ignored=self._ignored,
            refused=self._refused,
            commits=self._accepted + self._ends,
        )

    async def aclose(self) -> None:
        self._closed = True

    async def get(self, request_id: str) -> Record | None:
        return self._open.get(request_id) or self._ended.get(request_id)

    async def counts(self) -> Counts:
        return Counts(accepted=self._accepted, in_flight=len(self._open), **self._totals)

    def records(self) -> Iterator[Record]:
        """The ended requests that are remembered, in the order they ended, then the open ones."""
        yield from self._ended.values()
        yield from self._open.values()

    def refuse(self, reason: str | None) -> None:
        """From now on ``begin`` raises with this reason, as on a full disk; ``None`` heals. Ends are still
        taken."""
        self._refusal = reason

    def give_up(self) -> int:
        """What recovery does after a crash: every open request becomes ``unknown``, settled at its bound."""
        given_up = list(self._open.values())
        self._open.clear()
        for record in given_up:
            end = End(
                id=record.intent.id,
                ended_ns=self._clock.wall_ns(),
                state="unknown",
                cost_nano=record.intent.bound_nano,
            )
            self._charge_bound(record.intent, 1)
            self._settle(replace(record, end=end, settled_by="recovery"))
        return len(given_up)

    def fence(self) -> int:
        """What befalls a process that was only frozen: the others give it up, and it goes on under another name."""
        given_up, before = self.give_up(), self.owner
        self.books.drop(before)
        self._fenced += 1
        self.owner = f"{before.partition('#')[0]}#{self._fenced}"
        self.books.owners.add(self.owner)
        for told in self._on_fenced:
            told()
        return given_up

    def on_fenced(self, callback: Callable[[], None]) -> None:
        """``callback`` is called whenever this one was taken for dead, and goes on under another :attr:`owner`."""
        self._on_fenced.append(callback)

    def _charge_bound(self, intent: Intent, sign: int) -> None:
        """What nobody ended is charged its bound; ``sign`` -1 takes that back."""
        for part in intent.accounts:
            amount = intent.bound_nano if part.measure == "usd" else intent.bound_tokens
            self.books.charge(Charge(part.account, part.start_ns, part.until_ns, sign * (amount or 0)))

    def _why_not(self, request_id: str) -> str | None:
        if self._closed:
            return "the ledger is closed"
        if self._refusal is not None:
            return self._refusal
        if request_id in self._open or request_id in self._ended:
            return f"request {request_id} was already begun: every request needs an id of its own"
        return None

    def _settle(self, record: Record) -> None:
        self._totals[record.state] += 1
        self._ended[record.intent.id] = record
        self._ended.move_to_end(record.intent.id)
        if len(self._ended) > self._keep:
            self._ended.popitem(last=False)
