"""What the ledger in memory has beyond the common suite: refusing, giving up, a bounded memory, no thread."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.unit.ledger.helpers import START_NS, HandClock, end, intent

from holdfast.errors import LedgerUnavailable
from holdfast.ledger import Counts, MemoryLedger


def test_it_refuses_when_told_and_heals() -> None:
    async def main() -> None:
        ledger = MemoryLedger(HandClock())
        await ledger.begin(intent("a"))
        ledger.refuse("disk full")
        with pytest.raises(LedgerUnavailable, match="disk full"):
            await ledger.begin(intent("b"))
        assert (ledger.health().ok, ledger.health().reason) == (False, "disk full")
        ledger.end(end("a"))
        ledger.refuse(None)
        await ledger.begin(intent("c"))
        assert await ledger.counts() == Counts(accepted=2, ok=1, in_flight=1)

    asyncio.run(main())


def test_giving_up_and_late_ends() -> None:
    async def main() -> None:
        ledger = MemoryLedger(HandClock())
        await ledger.begin(intent("a", bound_nano=70))
        await ledger.begin(intent("b"))
        assert ledger.give_up() == 2
        assert ledger.give_up() == 0
        record = await ledger.get("a")
        assert record is not None
        assert record.end is not None
        assert (record.state, record.settled_by, record.cost_nano) == ("unknown", "recovery", 70)
        assert record.end.ended_ns == START_NS
        ledger.end(end("a"))
        ledger.end(end("a", state="failed"))
        record = await ledger.get("a")
        assert record is not None
        assert (record.state, record.late, record.settled_by) == ("ok", True, "end")
        assert await ledger.counts() == Counts(accepted=2, ok=1, unknown=1)
        assert (ledger.health().late, ledger.health().ignored) == (1, 1)

    asyncio.run(main())


def test_it_forgets_the_oldest_ended_and_still_counts_them() -> None:
    async def main() -> None:
        ledger = MemoryLedger(HandClock(), keep=2)
        for name in "abcd":
            await ledger.begin(intent(name))
        for name in "bca":
            ledger.end(end(name))
        assert [record.intent.id for record in ledger.records()] == ["c", "a", "d"]
        assert await ledger.get("b") is None
        assert await ledger.counts() == Counts(accepted=4, ok=3, in_flight=1)

    asyncio.run(main())


def test_begin_takes_its_time_on_the_loop_and_starts_no_thread() -> None:
    async def main() -> None:
        before = threading.enumerate()
        ledger = MemoryLedger(HandClock())
        caller = asyncio.ensure_future(ledger.begin(intent("a")))
        await asyncio.sleep(0)
        assert not caller.done()
        await caller
        assert threading.enumerate() == before

    asyncio.run(main())
