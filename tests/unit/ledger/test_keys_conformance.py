"""Every store of keys passes the same suite, and the suite finds a store that breaks a rule."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from tests.unit.ledger.on_postgres import ledger_on

from holdfast.clock import SystemClock
from holdfast.ledger import keys_conformance
from holdfast.ledger.keys_conformance import CHECKS, run_keys_conformance
from holdfast.ledger.memory_keys import MemoryKeys
from holdfast.ledger.sql_keys import SqlKeys
from holdfast.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer

    from holdfast.ledger.keys import KeyLimits, KeyText, StoredKey


@asynccontextmanager
async def in_memory(kind: type[MemoryKeys] = MemoryKeys) -> AsyncIterator[MemoryKeys]:
    yield kind()


def test_memory() -> None:
    run_keys_conformance(in_memory)


def test_sqlite(tmp_path: Path) -> None:
    numbers = itertools.count()

    @asynccontextmanager
    async def factory() -> AsyncIterator[SqlKeys]:
        url = f"sqlite:///{tmp_path}/{next(numbers)}.db"
        ledger = await SqliteLedger.open(url, clock=SystemClock(), rng=random.Random(1))
        try:
            yield SqlKeys(ledger)
        finally:
            await ledger.aclose()

    run_keys_conformance(factory)


def test_postgres(postgres: PostgresServer) -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[SqlKeys]:
        async with ledger_on(postgres) as ledger:
            yield SqlKeys(ledger)

    run_keys_conformance(factory)


class LooksFirst(MemoryKeys):
    """Looks, and makes later: the race."""

    async def create(self, key: StoredKey) -> bool:
        free = key.name.lower() not in self._keys
        await asyncio.sleep(0)
        return free and self._put(key) is key


class KnowsCase(MemoryKeys):
    async def create(self, key: StoredKey) -> bool:
        if key.name in [other.name for other in self._keys.values()]:
            return False
        self._keys[key.name] = key
        return True


class GivesNamesAgain(MemoryKeys):
    async def create(self, key: StoredKey) -> bool:
        old = self._keys.get(key.name.lower())
        if old is not None and old.revoked_ns is not None:
            del self._keys[key.name.lower()]
        return await super().create(key)


class LosesBudgets(MemoryKeys):
    async def create(self, key: StoredKey) -> bool:
        return await super().create(replace(key, limits=replace(key.limits, budgets=())))


class ReadsNothingAsAnything(MemoryKeys):
    async def create(self, key: StoredKey) -> bool:
        return await super().create(
            replace(key, limits=replace(key.limits, routes=key.limits.routes or None))
        )


class MergesLimits(MemoryKeys):
    async def change(self, name: str, limits: KeyLimits, *, instead_of: KeyLimits) -> StoredKey | None:
        merged = replace(limits, team=limits.team or instead_of.team)
        return await super().change(name, merged, instead_of=instead_of)


class ChangesWhatNobodySaw(MemoryKeys):
    async def change(self, name: str, limits: KeyLimits, *, instead_of: KeyLimits) -> StoredKey | None:
        key = self._living(name)
        return key and self._put(replace(key, limits=limits))


class ChangesTheRevoked(MemoryKeys):
    def _living(self, name: str) -> StoredKey | None:
        return self._keys.get(name.lower())


class OldTextsLive(MemoryKeys):
    async def rotate(self, name: str, text: KeyText, *, until_ns: int) -> StoredKey | None:
        key = self._living(name)
        return None if key is None else self._put(replace(key, texts=(text, *key.texts)))


class LengthensTime(MemoryKeys):
    async def rotate(self, name: str, text: KeyText, *, until_ns: int) -> StoredKey | None:
        key = self._living(name)
        if key is None:
            return None
        older = [replace(old, until_ns=until_ns) for old in key.texts]
        return self._put(replace(key, texts=(text, *older[:7])))


class DropsOldTexts(MemoryKeys):
    async def rotate(self, name: str, text: KeyText, **until: Any) -> StoredKey | None:
        key = await super().rotate(name, text, **until)
        return key and self._put(replace(key, texts=key.texts[:1]))


class KeepsEveryText(MemoryKeys):
    async def rotate(self, name: str, text: KeyText, *, until_ns: int) -> StoredKey | None:
        key = self._living(name)
        if key is None:
            return None
        older = [replace(old, until_ns=min(old.until_ns or until_ns, until_ns)) for old in key.texts]
        return self._put(replace(key, texts=(text, *older)))


class RevokesAnew(MemoryKeys):
    async def revoke(self, name: str, *, now_ns: int) -> StoredKey | None:
        key = self._keys.get(name.lower())
        return key and self._put(replace(key, revoked_ns=now_ns))


class ForgetsTheRevoked(MemoryKeys):
    async def all(self) -> list[StoredKey]:
        return [key for key in await super().all() if key.revoked_ns is None]


class GoesBackInTime(MemoryKeys):
    def touch(self, sha256: bytes, now_ns: int) -> None:
        for name, key in self._keys.items():
            texts = [
                replace(text, last_used_ns=now_ns) if text.sha256 == sha256 else text for text in key.texts
            ]
            self._keys[name] = replace(key, texts=tuple(texts))


class TouchesTheNewest(MemoryKeys):
    def touch(self, sha256: bytes, now_ns: int) -> None:
        for key in self._keys.values():
            if any(text.sha256 == sha256 for text in key.texts):
                return super().touch(key.texts[0].sha256, now_ns)
        return None


class FinishesTheCancelled(MemoryKeys):
    async def create(self, key: StoredKey) -> bool:
        made = await super().create(key)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return made


BROKEN = [
    ChangesTheRevoked,
    ChangesWhatNobodySaw,
    DropsOldTexts,
    FinishesTheCancelled,
    ForgetsTheRevoked,
    GivesNamesAgain,
    GoesBackInTime,
    KeepsEveryText,
    KnowsCase,
    LengthensTime,
    LooksFirst,
    LosesBudgets,
    MergesLimits,
    OldTextsLive,
    ReadsNothingAsAnything,
    RevokesAnew,
    TouchesTheNewest,
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_store_is_found(broken: type[MemoryKeys]) -> None:
    with pytest.raises(AssertionError, match=r"^\w+: .+ should be"):
        run_keys_conformance(lambda: in_memory(broken))


def test_the_suite_lists_every_check() -> None:
    written = {
        value
        for name, value in vars(keys_conformance).items()
        if asyncio.iscoroutinefunction(value) and not name.startswith("_")
    }
    assert set(CHECKS) == written
