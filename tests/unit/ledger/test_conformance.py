"""Every ledger passes the same suite, and the suite finds a ledger that breaks a rule."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from holdfast.clock import SystemClock, system_rng
from holdfast.ledger import Counts, End, Intent, LedgerHealth, MemoryLedger, Record
from holdfast.ledger.conformance import CHECKS, run_store_conformance
from holdfast.ledger.postgres import PostgresLedger
from holdfast.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresServer


def test_memory() -> None:
    async def factory() -> MemoryLedger:
        return MemoryLedger(SystemClock())

    run_store_conformance(factory)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_sqlite(tmp_path: Path, durability: str) -> None:
    numbers = itertools.count()

    async def factory() -> SqliteLedger:
        url = f"sqlite:///{tmp_path}/{next(numbers)}.db"
        return await SqliteLedger.open(url, clock=SystemClock(), rng=system_rng(), durability=durability)

    run_store_conformance(factory)


def test_postgres(postgres: PostgresServer) -> None:
    urls: list[str] = []

    async def factory() -> PostgresLedger:
        urls.append(postgres.database())
        return await PostgresLedger.open(urls[-1], clock=SystemClock(), rng=system_rng())

    run_store_conformance(factory)
    for url in urls:
        postgres.give_back(url)


class Forgetful(MemoryLedger):
    async def get(self, request_id: str) -> Record | None:
        return None


class Overwrites(MemoryLedger):
    def end(self, end: End) -> None:
        known = self._ended.pop(end.id, None)
        if known is not None:
            self._open[end.id] = replace(known, end=None, settled_by=None)
            self._totals[known.state] -= 1
        super().end(end)


class Reopens(MemoryLedger):
    async def begin(self, intent: Intent) -> None:
        self._open.pop(intent.id, None)
        await super().begin(intent)


class DropsAttempts(MemoryLedger):
    def end(self, end: End) -> None:
        super().end(replace(end, attempts=()))


class Miscounts(MemoryLedger):
    async def counts(self) -> Counts:
        return replace(await super().counts(), in_flight=0)


class StaysOpen(MemoryLedger):
    async def aclose(self) -> None:
        pass


class AlwaysWell(MemoryLedger):
    def health(self) -> LedgerHealth:
        return replace(super().health(), ok=True)


class WritesAfterCancel(MemoryLedger):
    """A cancelled intent that is written behind its end stays open for ever."""

    async def begin(self, intent: Intent) -> None:
        try:
            await super().begin(intent)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_soon(
                self._open.setdefault, intent.id, Record(intent=intent, owner="x")
            )
            raise


class InventsRows(MemoryLedger):
    def end(self, end: End) -> None:
        if end.id not in self._open and end.id not in self._ended:
            self._accepted += 1
            self._totals[end.state] += 1
        super().end(end)


@pytest.mark.parametrize(
    "broken",
    [
        Forgetful,
        Overwrites,
        Reopens,
        DropsAttempts,
        Miscounts,
        StaysOpen,
        AlwaysWell,
        WritesAfterCancel,
        InventsRows,
    ],
)
def test_a_broken_ledger_is_found(broken: type[MemoryLedger]) -> None:
    async def factory() -> MemoryLedger:
        return broken(SystemClock())

    with pytest.raises(AssertionError, match=r"^\w+: .+ (should be|accepted)"):
        run_store_conformance(factory)


def test_the_suite_lists_every_check() -> None:
    from holdfast.ledger import conformance

    written = {
        value
        for name, value in vars(conformance).items()
        if asyncio.iscoroutinefunction(value) and not name.startswith("_")
    }
    assert set(CHECKS) == written
