"""Statements that ride along: grouped, refused, tried again, and never in another's way."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ledger.helpers import HandClock, end, intent, ledger_at, store_at, writer_on
from tests.unit.ledger.test_writer import ToldStore, spin

from holdfast.errors import LedgerUnavailable
from holdfast.ledger import Counts
from holdfast.ledger.statement import Result, Statement
from holdfast.ledger.writer import GroupFailed, Written

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from holdfast.ledger import End, Intent


class Told(ToldStore):
    """Runs statements on a list instead of a connection. ``too_heavy``: fails what carries a payload."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Any] = []
        self.too_heavy = False
        self.asked: list[int] = []

    def write(
        self, intents: Sequence[Intent], ends: Sequence[End], statements: Sequence[Statement] = ()
    ) -> Written:
        self.asked.append(len(statements))
        if self.too_heavy and any(each.size for each in statements):
            raise GroupFailed("no room for that much", ambiguous=False)
        written = super().write(intents, ends)
        results = [Result(each.run(self.done), begun=each.intent is not None) for each in statements]
        return Written(refused=written.refused, late=0, ignored=0, results=results)


def note(word: str, **fields: Any) -> Statement:
    def run(done: list[str]) -> str:
        done.append(word)
        return f"{word}!"

    return Statement(run=run, **fields)


def run_with(main: Any) -> None:
    async def whole() -> None:
        store = Told()
        writer = writer_on(store)
        try:
            await main(store, writer)
        finally:
            store.gate.set()
            await writer.aclose()

    asyncio.run(whole())


def test_it_shares_the_group_of_intents_and_ends() -> None:
    async def main(store: Told, writer: Any) -> None:
        store.gate.clear()
        blocker = asyncio.create_task(writer.begin(intent("blocker")))
        await store.was_entered()
        asked = asyncio.create_task(writer.ask(note("a")))
        begun = asyncio.create_task(writer.begin(intent("b")))
        told = asyncio.create_task(writer.tell(note("c")))
        await spin()
        writer.end(end("b"))
        store.gate.set()
        assert await asyncio.gather(blocker, asked, begun, told) == [None, "a!", None, "c!"]
        await writer.flush()
        assert store.groups == [(["blocker"], []), (["b"], ["b"])]
        assert store.done == ["a", "c"]

    run_with(main)


def test_a_failed_group_refuses_it_and_runs_what_it_owes_later() -> None:
    async def main(store: Told, writer: Any) -> None:
        store.fail = GroupFailed("disk full", ambiguous=False)
        asked = note("a", undo=note("undo a"), instead=note("instead of a"))
        plain = note("b", undo=note("undo b"))
        for statement in (asked, plain):
            with pytest.raises(LedgerUnavailable, match="disk full"):
                await writer.ask(statement)
        store.fail = None
        assert await writer.ask(note("c")) == "c!"
        assert store.done == ["instead of a", "c"]  # nothing was written: nothing to undo
        assert writer.health().queued == 0

    run_with(main)


def test_where_nobody_knows_it_is_undone() -> None:
    async def main(store: Told, writer: Any) -> None:
        store.fail = GroupFailed("lost the answer", ambiguous=True)
        for statement in (
            note("a", undo=note("undo a")),
            note("b", instead=note("instead of b")),
            note("c", intent=intent("c"), undo=note("undo c")),
        ):
            with pytest.raises(LedgerUnavailable, match="lost the answer"):
                await writer.ask(statement)
        assert writer.health().refused == 1
        store.fail = None
        await writer.flush()
        assert store.done == ["undo a", "instead of b", "undo c"]
        assert store.groups == [([], ["c"])]  # the intent that may stand there is ended

    run_with(main)


def test_a_payload_that_has_no_room_takes_nobody_along() -> None:
    async def main(store: Told, writer: Any) -> None:
        store.gate.clear()
        blocker = asyncio.create_task(writer.begin(intent("blocker")))
        await store.was_entered()
        heavy = asyncio.create_task(writer.tell(note("heavy", size=9, instead=note("instead"))))
        light = asyncio.create_task(writer.tell(note("light")))
        begun = asyncio.create_task(writer.begin(intent("a")))
        await spin()
        store.too_heavy = True
        store.gate.set()
        with pytest.raises(LedgerUnavailable, match="no room"):
            await heavy
        assert await asyncio.gather(blocker, light, begun) == [None, "light!", None]
        await writer.flush()
        assert store.done == ["instead", "light"]
        assert store.groups == [(["blocker"], []), (["a"], [])]
        assert writer.health().ok

    run_with(main)


def test_payloads_are_spread_over_groups() -> None:
    async def main(store: Told, writer: Any) -> None:
        store.gate.clear()
        blocker = asyncio.create_task(writer.begin(intent("blocker")))
        await store.was_entered()
        store.asked.clear()
        tasks = [asyncio.create_task(writer.tell(note(f"{n}", size=3 * 2**20))) for n in range(5)]
        await spin()
        store.gate.set()
        await asyncio.gather(blocker, *tasks)
        assert store.asked == [2, 2, 1]
        assert store.done == [f"{n}" for n in range(5)]

    run_with(main)


def test_what_is_posted_is_kept_until_it_is_written() -> None:
    async def main(store: Told, writer: Any) -> None:
        store.fail = GroupFailed("disk full", ambiguous=False)
        word = note("a")
        writer.post(Statement(run=word.run, instead=word))
        with pytest.raises(LedgerUnavailable):
            await writer.begin(intent("x"))
        assert store.done == []
        store.fail = None
        await writer.flush()
        assert store.done == ["a"]

    run_with(main)


def test_nobody_needs_to_come_for_it_to_be_tried_again() -> None:
    async def main(store: Told, writer: Any) -> None:
        written = asyncio.Event()
        loop = asyncio.get_running_loop()
        owed = Statement(run=lambda _: loop.call_soon_threadsafe(written.set))
        store.fail = GroupFailed("disk full", ambiguous=False)
        with pytest.raises(LedgerUnavailable):
            await writer.tell(Statement(run=owed.run, instead=owed))
        store.fail = None
        await asyncio.wait_for(written.wait(), 10)  # the writer's own pause is 50 ms

    run_with(main)


def test_a_closed_ledger_takes_none() -> None:
    async def main(store: Told, writer: Any) -> None:
        await writer.aclose()
        for call in (writer.ask, writer.tell):
            with pytest.raises(LedgerUnavailable, match="closed"):
                await call(note("a"))
        writer.post(note("b"))
        assert store.done == []

    run_with(main)


def test_what_ends_something_is_taken_as_long_as_ends_are() -> None:
    async def main(store: Told, writer: Any) -> None:
        store.gate.clear()
        blocker = asyncio.create_task(writer.begin(intent("blocker")))
        await store.was_entered()
        closing = asyncio.create_task(writer.aclose())
        await spin()
        with pytest.raises(LedgerUnavailable, match="closed"):
            await writer.ask(note("begins"))
        told = asyncio.create_task(writer.tell(note("ends")))
        await spin()
        store.gate.set()
        assert await told == "ends!"
        await asyncio.gather(blocker, closing)

    run_with(main)


def test_who_waits_when_the_writer_stops_is_told() -> None:
    async def main() -> None:
        clock = HandClock()
        store = Told()
        writer = writer_on(store, clock, close_s=0.0, monotonic=clock.monotonic)
        store.gate.clear()
        blocker = asyncio.create_task(writer.begin(intent("blocker")))
        await store.was_entered()
        late = asyncio.create_task(writer.tell(note("late")))
        await spin()
        closing = asyncio.create_task(writer.aclose())
        await spin()
        store.gate.set()
        with pytest.raises(LedgerUnavailable, match="closed"):
            await late
        await asyncio.gather(blocker, closing)
        assert store.done == []

    asyncio.run(main())


def test_too_long_a_queue_refuses_what_begins_and_not_what_ends() -> None:
    async def main() -> None:
        store = Told()
        writer = writer_on(store, max_queued=3)
        store.gate.clear()
        blocker = asyncio.create_task(writer.begin(intent("blocker")))
        await store.was_entered()
        tasks = [asyncio.create_task(writer.tell(note(f"{n}"))) for n in range(5)]
        await spin()
        with pytest.raises(LedgerUnavailable, match="5 ends wait"):
            await writer.ask(note("a", intent=intent("a")))
        assert writer.health().refused == 1
        store.gate.set()
        await asyncio.gather(blocker, *tasks)
        assert len(store.done) == 5
        await writer.aclose()

    asyncio.run(main())


# On a real file


def count(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT count(*) FROM requests").fetchone()[0]


def test_an_intent_is_written_only_if_the_answer_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        ledger = ledger_at(tmp_path / "l.db")
        for name, yes in (("a", True), ("b", False)):
            await ledger.ask(Statement(run=lambda _, yes=yes: yes, intent=intent(name)))
        ledger.end(end("a"))
        await ledger.flush()
        assert await ledger.counts() == Counts(accepted=1, ok=1)
        assert ledger.health().intents == 1
        await ledger.aclose()

    asyncio.run(main())


def test_a_bad_one_fails_alone_and_without_a_trace(tmp_path: Path) -> None:
    def insert(name: str) -> Any:
        return lambda connection: connection.execute("INSERT INTO notes VALUES (?)", (name,)).rowcount

    path = tmp_path / "l.db"
    store = store_at(path)
    store._connection.execute("CREATE TABLE notes (name TEXT CHECK (length(name) < 5))")
    twice = intent("twice")
    written = store.write(
        [intent("x"), twice],
        [],
        [
            Statement(run=insert("a")),
            Statement(run=insert("too long")),
            Statement(run=insert("b"), intent=intent("b")),
            Statement(run=insert("c"), intent=intent("b")),  # its intent can't be stored: nor is it
            Statement(run=lambda connection: count(connection)),
        ],
    )
    said = [(each.answer, each.begun, bool(each.refused)) for each in written.results]
    assert said == [
        (1, False, False),
        (None, False, True),
        (1, True, False),
        (None, False, True),
        (1, False, False),
    ]
    assert written.refused == {}
    store.close()
    with closing(sqlite3.connect(path)) as database:
        assert [name for (name,) in database.execute("SELECT name FROM notes ORDER BY 1")] == ["a", "b"]
        assert count(database) == 3
