"""Rows of sessions, in memory and in the ledger's database: what each store does, and what one still has when it is opened
again."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.ledger.helpers import intent
from tests.unit.ledger.on_postgres import ledger_on

from holdfast.clock import SystemClock
from holdfast.errors import LedgerUnavailable
from holdfast.ledger.reader import LedgerReader
from holdfast.ledger.sessions import MemorySessions, SqlSessions
from holdfast.ledger.sqlite import SqliteLedger
from holdfast.money.session import COLUMNS, Session, SessionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Any

    from holdfast.ledger.sessions import SessionRow, SessionStore

NOW = 1_790_000_000_000_000_000
HOUR = 3_600 * 10**9


def row(id_: str = "s", key: str = "ann", *, ends_ns: int = NOW + HOUR, **fields: object) -> SessionRow:
    made = Session(id=id_, key=key, started_ns=NOW, ends_ns=ends_ns, **fields)
    return made.to_row()


def ended(id_: str = "s", key: str = "ann", *, ends_ns: int = NOW + HOUR) -> SessionRow:
    return row(id_, key, ends_ns=ends_ns, state=SessionState.ENDED, ended_ns=NOW + 5)


@asynccontextmanager
async def at(path: Path) -> AsyncIterator[SqlSessions]:
    ledger = await SqliteLedger.open(f"sqlite:///{path}", clock=SystemClock(), rng=random.Random(1))
    try:
        yield SqlSessions(ledger)
    finally:
        await ledger.aclose()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def prove(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], None]:
    """Runs a check on an empty store of each kind."""

    def run(check: Any) -> None:
        async def there() -> None:
            if request.param == "memory":
                await check(MemorySessions())
            elif request.param == "postgresql":
                async with ledger_on(request.getfixturevalue("postgres")) as ledger:
                    await check(SqlSessions(ledger))
            else:
                async with at(tmp_path / "ledger.db") as store:
                    await check(store)

        asyncio.run(there())

    return run


def test_a_row_is_told_as_it_was_put(prove):
    async def check(store: SessionStore) -> None:
        rows = [
            row("a"),
            row("b/ü:1", "Ann"),
            row("c", warned_ns=NOW + 1),
            row("d", state=SessionState.EXHAUSTED, ended_ns=NOW + 2, warned_ns=NOW + 1),
            ended("e"),
            row("f", state=SessionState.EXPIRED, ended_ns=NOW + HOUR),
        ]
        await store.put(rows)
        told = [await store.get(each[1], each[0]) for each in rows]
        assert told == rows
        assert [Session.from_row(each).to_row() for each in told] == rows

    prove(check)


def test_there_is_none(prove):
    async def check(store: SessionStore) -> None:
        await store.put([row("a", "ann")])
        assert await store.get("bob", "a") is None, "another key's session of that id is another one"
        assert await store.get("ann", "A") is None
        assert await store.get("", "") is None
        await store.put([])
        assert await store.active(NOW) == [row("a", "ann")]

    prove(check)


def test_two_keys_have_two_sessions_of_one_id(prove):
    async def check(store: SessionStore) -> None:
        await store.put([row("s", "ann"), ended("s", "bob")])
        await store.put([ended("s", "ann")])
        assert await store.get("ann", "s") == ended("s", "ann")
        await store.put([row("s", "cat")])
        assert [each[1] for each in await store.active(NOW)] == ["cat"]

    prove(check)


def test_what_is_put_again_is_brought_up_to_date_and_keeps_its_time(prove):
    async def check(store: SessionStore) -> None:
        await store.put([row("s")])
        later = Session(
            id="s",
            key="ann",
            started_ns=NOW + 7,
            ends_ns=NOW + 9 * HOUR,
            state=SessionState.ENDED,
            ended_ns=NOW + 5,
            warned_ns=NOW + 3,
        )
        await store.put([later.to_row()])
        assert await store.get("ann", "s") == (
            *row("s")[:4],
            NOW + 5,
            "ended",
            NOW + 3,
        ), "when it began and when its time is over doesn't change"

    prove(check)


def test_of_one_session_twice_in_one_call_both_count(prove):
    async def check(store: SessionStore) -> None:
        await store.put([row("s"), row("s", warned_ns=NOW + 1), ended("s")])
        assert await store.get("ann", "s") == (*ended("s")[:6], NOW + 1)

    prove(check)


def test_how_it_ended_and_when_its_caller_was_warned_is_as_it_was_written_first(prove):
    """Another process may know less, or later."""

    async def check(store: SessionStore) -> None:
        await store.put([row("s", warned_ns=NOW + 1)])
        await store.put([ended("s")])
        await store.put([row("s", warned_ns=NOW + 9)])
        assert await store.get("ann", "s") == (*ended("s")[:6], NOW + 1)

    prove(check)


def test_active_are_those_that_nobody_has_ended_in_the_order_of_their_ends(prove):
    async def check(store: SessionStore) -> None:
        await store.put(
            [
                row("late", ends_ns=NOW + 3 * HOUR),
                row("soon", ends_ns=NOW + HOUR),
                row("over", ends_ns=NOW),
                row("last moment", ends_ns=NOW + 1),
                ended("ended"),
                row("expired", state=SessionState.EXPIRED, ended_ns=NOW),
                row("spent", ends_ns=NOW + 4 * HOUR, state=SessionState.EXHAUSTED, ended_ns=NOW),
                row("spent, over", ends_ns=NOW, state=SessionState.EXHAUSTED, ended_ns=NOW - 1),
                row("warned", ends_ns=NOW + 2 * HOUR, warned_ns=NOW),
            ]
        )
        assert [each[0] for each in await store.active(NOW)] == [
            "last moment",
            "soon",
            "warned",
            "late",
            "spent",
        ], "what an exhausted one has spent is what has it refused"
        assert [each[0] for each in await store.active(NOW + 2 * HOUR)] == ["late", "spent"]

    prove(check)


moments = st.integers(NOW, NOW + 5)
sessions = st.builds(
    lambda id_, key, ends, end, warned: Session(
        id=id_,
        key=key,
        started_ns=NOW,
        ends_ns=ends,
        state=SessionState.ACTIVE if end is None else SessionState.ENDED,
        ended_ns=end,
        warned_ns=warned,
    ).to_row(),
    st.sampled_from("xyz"),
    st.sampled_from("ab"),
    moments,
    st.none() | moments,
    st.none() | moments,
)


@settings(max_examples=25)  # each opens a ledger
@given(st.lists(st.lists(sessions, max_size=4), max_size=6), moments)
def test_both_stores_say_the_same(tmp_path_factory: pytest.TempPathFactory, calls, now_ns):
    async def main() -> None:
        memory = MemorySessions()
        async with at(tmp_path_factory.mktemp("same") / "ledger.db") as sqlite:
            for rows in calls:
                await memory.put(rows)
                await sqlite.put(rows)
            for key in "ab":
                for id_ in "xyz":
                    assert await memory.get(key, id_) == await sqlite.get(key, id_)
            told = [await store.active(now_ns) for store in (memory, sqlite)]
            assert [each[3] for each in told[0]] == [each[3] for each in told[1]], (
                "in the order of their ends"
            )
            assert set(told[0]) == set(told[1])

    asyncio.run(main())


def test_a_file_has_them_when_it_is_opened_again(tmp_path: Path):
    path = tmp_path / "ledger.db"

    async def write() -> None:
        async with at(path) as store:
            await store.put([row("goes on"), ended("ended"), row("warned", warned_ns=NOW)])

    async def read() -> None:
        async with at(path) as store:
            assert {each[0] for each in await store.active(NOW)} == {"goes on", "warned"}
            assert await store.get("ann", "ended") == ended("ended")
            await store.put([ended("goes on")])
        async with at(path) as store:
            assert [each[0] for each in await store.active(NOW)] == ["warned"]

    asyncio.run(write())
    asyncio.run(read())


def test_a_ledger_that_takes_nothing_is_told(tmp_path: Path):
    async def main() -> None:
        async with at(tmp_path / "ledger.db") as store:
            await store._ledger.aclose()
            with pytest.raises(LedgerUnavailable):
                await store.put([row("s")])
            with pytest.raises(LedgerUnavailable):
                await store.get("ann", "s")
            with pytest.raises(LedgerUnavailable):
                await store.active(NOW)

    asyncio.run(main())


def test_they_are_written_in_the_groups_of_requests(tmp_path: Path):
    """The session is durable with what comes at the same time, and neither waits for the other's commit."""

    async def main() -> None:
        async with at(tmp_path / "ledger.db") as store:
            await asyncio.gather(
                *(store._ledger.begin(intent(f"r{n}")) for n in range(20)),
                *(store.put([row(f"s{n}")]) for n in range(20)),
            )
            assert len(await store.active(NOW)) == 20
        with LedgerReader(tmp_path / "ledger.db") as reader:
            assert reader.counts().accepted == 20

    asyncio.run(main())


def test_the_columns_are_those_of_the_table(tmp_path: Path):
    async def main() -> None:
        async with at(tmp_path / "ledger.db"):
            pass

    asyncio.run(main())
    with LedgerReader(tmp_path / "ledger.db") as reader:
        names = [each[1] for each in reader.base.raw.execute("PRAGMA table_info(sessions)")]
    assert sorted(names) == sorted(COLUMNS)
