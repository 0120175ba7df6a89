"""Keys in the ledger's file: after its writer closed or failed, beside other writes, and in its bytes."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ledger.helpers import intent

from holdfast.clock import SystemClock
from holdfast.errors import LedgerUnavailable
from holdfast.ledger.key_text import digest, make_text, prefix_of
from holdfast.ledger.keys import KeyLimits, KeyText, StoredKey
from holdfast.ledger.reader import LedgerReader
from holdfast.ledger.sql_keys import SqlKeys
from holdfast.ledger.sqlite import SqliteLedger, SqliteStore
from holdfast.ledger.writer import GroupFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW = 1_790_000_000_000_000_000


def made(name: str, number: int = 1) -> StoredKey:
    return StoredKey(id=f"id-{name}", name=name, texts=(text(number),), created_ns=NOW)


def text(number: int) -> KeyText:
    secret = make_text("caller", lambda size: bytes([number]) * size)
    sha256 = digest(secret.reveal().encode())
    return KeyText(sha256=sha256, prefix=prefix_of(secret), created_ns=NOW + number)


@asynccontextmanager
async def keys_at(path: Path) -> AsyncIterator[SqlKeys]:
    ledger = await SqliteLedger.open(f"sqlite:///{path}", clock=SystemClock(), rng=random.Random(1))
    try:
        yield SqlKeys(ledger)
    finally:
        await ledger.aclose()


class Failing(SqliteStore):
    """``fails``: how many groups do next. ``late``: they were written all the same, and nobody can say."""

    fails = 0
    late = False

    def write(self, intents: Any, ends: Any, statements: Any = ()) -> Any:
        if not self.fails:
            return super().write(intents, ends, statements)
        self.fails -= 1
        if self.late:
            super().write(intents, ends, statements)
        raise GroupFailed("the disk is gone", ambiguous=self.late)


@asynccontextmanager
async def failing_at(path: Path) -> AsyncIterator[tuple[SqlKeys, Failing, SqliteLedger]]:
    store = Failing(path, owner="test", clock=SystemClock())
    ledger = SqliteLedger(store, SystemClock())
    try:
        yield SqlKeys(ledger), store, ledger
    finally:
        await ledger.aclose()


def read(path: Path) -> list[StoredKey]:
    with LedgerReader(path) as reader:
        return reader.keys()


def test_they_are_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "l.db"

    async def write() -> StoredKey:
        async with keys_at(path) as keys:
            await keys.create(made("alice"))
            await keys.rotate("alice", text(2), until_ns=NOW + 9)
            keys.touch(text(2).sha256, NOW + 5)
            keys.flush()
            return (await keys.all())[0]

    async def reread() -> list[StoredKey]:
        async with keys_at(path) as keys:
            return await keys.all()

    kept = asyncio.run(write())
    assert asyncio.run(reread()) == read(path) == [kept]
    assert [(each.until_ns, each.last_used_ns) for each in kept.texts] == [(None, NOW + 5), (NOW + 9, None)]


def test_uses_wait_for_a_minute_and_are_one_write(tmp_path: Path) -> None:
    async def main() -> None:
        async with keys_at(tmp_path / "l.db") as keys:
            await keys.create(made("alice"))
            commits = keys._ledger.health().commits
            for second in range(50):
                keys.touch(text(1).sha256, NOW + second)
            assert (await keys.all())[0].last_used_ns is None
            assert keys._timer is not None
            assert 50 < keys._timer.when() - asyncio.get_running_loop().time() <= 60
            keys.flush()
            assert keys._timer is None
            keys.flush()
            assert (await keys.all())[0].last_used_ns == NOW + 49
            assert keys._ledger.health().commits <= commits + 3

    asyncio.run(main())


@pytest.mark.parametrize("late", [False, True], ids=["not written", "nobody can say"])
def test_what_its_caller_was_told_failed_leaves_nothing(tmp_path: Path, late: bool) -> None:
    path = tmp_path / "l.db"

    async def main() -> None:
        async with failing_at(path) as (keys, store, _):
            alice = made("alice")
            await keys.create(alice)
            store.late = late
            for call in (
                keys.create(made("bob", 2)),
                keys.change("alice", KeyLimits(team="x"), instead_of=alice.limits),
                keys.rotate("alice", text(3), until_ns=NOW),
            ):
                store.fails = 1
                with pytest.raises(LedgerUnavailable):
                    await call
            assert await keys.all() == [alice]
            assert await keys.create(made("bob", 2))  # its name is free

    asyncio.run(main())


@pytest.mark.parametrize("late", [False, True], ids=["not written", "nobody can say"])
def test_a_revocation_that_failed_is_made_up_for(tmp_path: Path, late: bool) -> None:
    path = tmp_path / "l.db"

    async def main() -> None:
        async with failing_at(path) as (keys, store, ledger):
            await keys.create(made("alice"))
            store.fails, store.late = 1, late
            with pytest.raises(LedgerUnavailable):
                await keys.revoke("alice", now_ns=NOW + 7)
            await ledger.flush()

    asyncio.run(main())
    assert [key.revoked_ns for key in read(path)] == [NOW + 7]


def test_a_damaged_row_fails_alone(tmp_path: Path) -> None:
    """A request that is written in the same group isn't refused for it."""
    path = tmp_path / "l.db"

    async def main() -> None:
        async with keys_at(path) as keys:
            await keys.create(made("alice"))
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("UPDATE keys SET rate = '{'")
            asked = asyncio.gather(
                keys._ledger.begin(intent("a")),
                keys.rotate("alice", text(2), until_ns=NOW),
                keys._ledger.begin(intent("b")),
                return_exceptions=True,
            )
            begun, rotated, also = await asked
            assert (begun, also) == (None, None)
            assert isinstance(rotated, LedgerUnavailable)
            assert "damaged" in str(rotated)

    asyncio.run(main())
    with pytest.raises(LedgerUnavailable, match="damaged"):
        read(path)


def test_the_file_has_hashes_and_no_text(tmp_path: Path) -> None:
    secret = make_text("caller", lambda size: b"\xa5" * size)

    async def main() -> None:
        async with keys_at(tmp_path / "l.db") as keys:
            sha256 = digest(secret.reveal().encode())
            known = KeyText(sha256=sha256, prefix=prefix_of(secret), created_ns=NOW)
            await keys.create(StoredKey(id="id", name="alice", texts=(known,), created_ns=NOW))
            assert sha256 in b"".join(file.read_bytes() for file in tmp_path.iterdir())

    asyncio.run(main())
    for file in tmp_path.iterdir():
        assert secret.reveal()[9:].encode() not in file.read_bytes()
