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
from holdfast.ledger.entry import Counts, End, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """

    def __init__(
        self, clock: Clock, *, keep: int = 100_000, latency_s: float = 0.0, owner: str = "memory"
    ) -> None:
        self._clock = clock
        self._keep = keep
        self._latency_s = latency_s
        self._owner = owner
        self._open: dict[str, Record] = {}
        self._ended: OrderedDict[str, Record] = OrderedDict()
        self._totals: dict[State, int] = {"ok": 0, "failed": 0, "cancelled": 0, "unknown": 0}
        self._accepted = self._ends = self._late = self._ignored = self._refused = 0
        self._refusal: str | None = None
        self._closed = False

    async def begin(self, intent: Intent) -> None:
        await asyncio.sleep(self._latency_s)
        reason = self._why_not(intent.id)
        if reason is not None:
            self._refused += 1
            raise LedgerUnavailable(reason)
        self._accepted += 1
        self._open[intent.id] = Record(intent=intent, owner=self._owner)

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
            self._totals["unknown"] -= 1
        self._ends += 1
        self._settle(Record(intent=record.intent, owner=record.owner, end=end, settled_by="end", late=late))

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
            self._settle(replace(record, end=end, settled_by="recovery"))
        return len(given_up)

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
