"""Every store of sealed keys passes the same suite, and the suite finds one that breaks a rule."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from tests.unit.ledger.on_postgres import ledger_on

from holdfast.clock import SystemClock, system_rng
from holdfast.errors import LedgerUnavailable
from holdfast.ledger.memory_provider_keys import MemoryProviderKeys
from holdfast.ledger.provider_keys import SealedKey
from holdfast.ledger.provider_keys_conformance import CHECKS, run_provider_keys_conformance
from holdfast.ledger.reader import LedgerReader
from holdfast.ledger.sql_provider_keys import SqlProviderKeys
from holdfast.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.postgres import PostgresServer

ROW = SealedKey(tenant="acme", provider="openai", master=b"m", sealed=b"\x00s", set_ns=5)


@asynccontextmanager
async def in_memory(kind: type[MemoryProviderKeys] = MemoryProviderKeys) -> AsyncIterator[MemoryProviderKeys]:
    yield kind()


def test_memory() -> None:
    run_provider_keys_conformance(in_memory)


@asynccontextmanager
async def in_file(path: Path) -> AsyncIterator[SqlProviderKeys]:
    ledger = await SqliteLedger.open(f"sqlite:///{path}", clock=SystemClock(), rng=system_rng())
    try:
        yield SqlProviderKeys(ledger)
    finally:
        await ledger.aclose()


def test_sqlite(tmp_path: Path) -> None:
    files = (tmp_path / f"{number}.db" for number in range(len(CHECKS)))
    run_provider_keys_conformance(lambda: in_file(next(files)))


def test_postgres(postgres: PostgresServer) -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[SqlProviderKeys]:
        async with ledger_on(postgres) as ledger:
            yield SqlProviderKeys(ledger)

    run_provider_keys_conformance(factory)


class KeepsTheOld(MemoryProviderKeys):
    async def put(self, row: SealedKey) -> bool:
        there = (row.tenant, row.provider) in self._rows
        return True if there else await super().put(row)


class ForgetsTheAddress(MemoryProviderKeys):
    async def put(self, row: SealedKey) -> bool:
        return await super().put(replace(row, base_url=None))


class RemovesThemAll(MemoryProviderKeys):
    async def remove(self, tenant: str, provider: str) -> bool:
        there = await super().remove(tenant, provider)
        self._rows.clear()
        return there


class BringsOldOnesBack(MemoryProviderKeys):
    async def reseal(self, old: SealedKey, new: SealedKey) -> bool:
        await asyncio.sleep(0)
        self._rows[old.tenant, old.provider] = new
        return True


class ChecksThenActs(MemoryProviderKeys):
    async def reseal(self, old: SealedKey, new: SealedKey) -> bool:
        same = self._rows.get((old.tenant, old.provider)) == old
        await asyncio.sleep(0)
        if same:
            self._rows[old.tenant, old.provider] = new
        return same


class InAnyOrder(MemoryProviderKeys):
    async def all(self) -> tuple[SealedKey, ...]:
        return tuple(self._rows.values())


class OneForAll(MemoryProviderKeys):
    async def put(self, row: SealedKey) -> bool:
        for place in [place for place in self._rows if place[1] == row.provider and place[0] != row.tenant]:
            del self._rows[place]
        return await super().put(row)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (KeepsTheOld, "a_later_one_replaces_it_whole"),
        (ForgetsTheAddress, "what_is_put_is_there_byte_for_byte"),
        (RemovesThemAll, "what_is_removed_is_gone_and_nothing_else"),
        (BringsOldOnesBack, "it_is_sealed_anew_only_where_it_is_the_same"),
        (ChecksThenActs, "one_of_many_that_seal_it_anew_does"),
        (InAnyOrder, "what_is_put_is_there_byte_for_byte"),
        (OneForAll, "each_tenant_has_one_for_each_provider"),
    ],
)
def test_the_suite_finds_a_store_that(kind: type[MemoryProviderKeys], check: str) -> None:
    with pytest.raises(AssertionError, match=check):
        run_provider_keys_conformance(lambda: in_memory(kind))


def test_what_is_set_is_there_after_a_restart_and_for_who_only_reads(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    async def main(work: Callable[[SqlProviderKeys], Any]) -> Any:
        async with in_file(path) as store:
            return await work(store)

    assert asyncio.run(main(lambda store: store.put(ROW))) is False
    assert asyncio.run(main(lambda store: store.all())) == (ROW,)
    with LedgerReader(path) as reader:
        assert reader.provider_keys() == (ROW,)


def test_where_the_file_cant_be_written_it_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with in_file(tmp_path / "ledger.db") as store:
            await store.put(ROW)
            await store._ledger.aclose()
            for work in (store.put(ROW), store.remove("acme", "openai"), store.reseal(ROW, ROW), store.all()):
                with pytest.raises(LedgerUnavailable):
                    await work

    asyncio.run(main())
