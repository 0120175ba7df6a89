"""Reading beside a running writer: filters, order, pages, tail."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.unit.ledger.bases import Base
from tests.unit.ledger.helpers import attempt, end, intent

from holdfast.errors import ConfigError, LedgerUnavailable, NotFound
from holdfast.ledger import Counts
from holdfast.ledger.reader import Filter, LedgerReader, _Arrived

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer

    from holdfast.ledger.writer import Store


@pytest.fixture
def base(base: Base) -> Base:
    if isinstance(base.where, Path):
        base.where = base.where.with_name("ledger #1?%41.db")  # a path that a careless URI would misread
    return base


@pytest.fixture
def file(tmp_path: Path) -> Base:
    """On SQLite."""
    return Base(tmp_path / "ledger.db")


@pytest.fixture
def store(base: Base) -> Iterator[Store]:
    made = base.store()
    yield made
    made.close()


@pytest.fixture
def reader(base: Base, store: Store) -> Iterator[LedgerReader]:
    with base.reader() as made:
        yield made


def ids(records) -> list[str]:
    return [record.intent.id for record in records]


def test_filters(store: Store, reader: LedgerReader) -> None:
    store.write(
        [
            intent("a", started_ns=10, key="k1", session="s1", model="chat"),
            intent("b", started_ns=20, key="k2", session="s1", model="gpt-4o"),
            intent("c", started_ns=30, key="k1", session="s2", model="chat"),
            intent("d", started_ns=40, key="k1", model="chat"),
        ],
        [
            end("a", provider="openai", model="gpt-4o"),
            end("b", provider="wall", attempts=(attempt(1, provider="openai"), attempt(2, provider="wall"))),
            end("c", state="failed", attempts=(attempt(1, provider="wall"),)),
        ],
    )

    def found(**which) -> list[str]:
        return ids(reader.requests(Filter(**which), order="oldest"))

    assert found() == ["a", "b", "c", "d"]
    assert found(state="ok") == ["a", "b"]
    assert found(state="in_flight") == ["d"]
    assert found(model="gpt-4o") == ["a", "b"]
    assert found(provider="openai") == ["a", "b"]
    assert found(provider="wall") == ["b", "c"]
    assert found(key="k1") == ["a", "c", "d"]
    assert found(session="s1") == ["a", "b"]
    assert found(since_ns=20, until_ns=40) == ["b", "c"]
    assert found(key="k1", state="ok") == ["a"]
    assert found(key="' OR 1=1 --") == []


def test_order_limit_and_pages(base: Base, store: Store, reader: LedgerReader) -> None:
    """More than two pages, with equal dates across the pages' edges."""
    store.write([intent(f"{n:04}", started_ns=n // 700) for n in range(1_700)], [])
    everyone = [request_id for (request_id,) in base.run("SELECT id FROM requests ORDER BY started_ns, seq")]
    assert sorted(everyone) == [f"{n:04}" for n in range(1_700)]
    assert ids(reader.requests(order="oldest", limit=None)) == everyone
    assert ids(reader.requests(limit=None)) == everyone[::-1]
    assert ids(reader.requests()) == everyone[:-51:-1]
    assert ids(reader.requests(limit=501)) == everyone[:-502:-1]
    assert ids(reader.requests(limit=0)) == []


def test_show(store: Store, reader: LedgerReader) -> None:
    store.write([intent("a")], [end("a", cost_nano=12_345_678_901, attempts=(attempt(2), attempt(1)))])
    record = reader.show("a")
    assert record.end is not None
    assert [each.number for each in record.end.attempts] == [1, 2]
    assert record.cost_nano == 12_345_678_901
    assert record.cost_usd == Decimal("12.345678901")
    with pytest.raises(NotFound, match="no request b"):
        reader.show("b")


def test_tail_shows_each_beginning_and_each_end_once(store: Store, reader: LedgerReader) -> None:
    store.write(
        [intent("old", started_ns=1), intent("open", started_ns=2), intent("new", started_ns=3)], [end("old")]
    )
    looks = iter(
        [
            lambda: store.write([intent("x", started_ns=4)], []),
            lambda: None,
            lambda: store.write([], [end("open"), end("x")]),
            lambda: store.write([intent("y", started_ns=5)], [end("y", state="failed")]),
        ]
    )

    def wait() -> bool:
        look = next(looks, None)
        if look is not None:
            look()
        return look is not None

    seen = [(record.intent.id, record.state) for record in reader.tail(wait, recent=2)]
    assert seen == [
        ("open", "in_flight"),
        ("new", "in_flight"),
        ("x", "in_flight"),
        ("open", "ok"),
        ("x", "ok"),
        ("y", "failed"),
    ]


def test_tail_catches_up_with_a_flood(store: Store, reader: LedgerReader) -> None:
    looks = iter([lambda: store.write([intent(f"{n}") for n in range(1_200)], []), lambda: None])

    def wait() -> bool:
        look = next(looks, None)
        if look is not None:
            look()
        return look is not None

    assert len(list(reader.tail(wait))) == 1_200


def test_a_reader_of_a_file_can_not_write(file: Base) -> None:
    file.store().close()
    with file.reader() as reader:
        assert reader.base.raw.execute("PRAGMA query_only").fetchone() == (1,)
        reader.base.raw.execute("PRAGMA query_only = OFF")  # the file itself is open for reading only
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.base.raw.execute("DELETE FROM requests")


def test_a_reader_of_a_server_can_not_write(database: str, postgres: PostgresServer) -> None:
    Base(database, postgres).store().close()
    with LedgerReader(database) as reader:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.base.raw.execute("DELETE FROM requests")
        with reader.base.snapshot(), pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.base.raw.execute("DELETE FROM requests")


def test_a_reader_in_the_middle_of_a_list_does_not_hold_up_the_writer(file: Base) -> None:
    store = file.store()
    store.write([intent(f"{n}") for n in range(600)], [])
    with file.reader() as reader:
        listing = reader.requests(limit=None)
        next(listing)
        store.write([intent("later")], [])
        assert store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    store.close()


def test_a_reader_in_the_middle_of_a_list_holds_no_transaction_open(
    database: str, postgres: PostgresServer
) -> None:
    base = Base(database, postgres)
    store = base.store()
    store.write([intent(f"{n}") for n in range(600)], [])
    with base.reader() as reader:
        listing = reader.requests(limit=None)
        next(listing)
        states = base.run("SELECT state FROM pg_stat_activity WHERE application_name = 'holdfast ledger'")
        assert states == [("idle",)]
    store.close()


def test_a_statement_that_takes_too_long_is_ended(database: str, postgres: PostgresServer) -> None:
    Base(database, postgres).store().close()
    with (
        LedgerReader(database, statement_s=0.05) as reader,
        pytest.raises(LedgerUnavailable, match="too slow"),
        reader.base.snapshot(),
    ):
        reader.base.rows("SELECT pg_sleep(60)", {})


def test_a_closed_ledger_can_be_read(base: Base) -> None:
    store = base.store()
    store.write([intent("a")], [end("a")])
    store.close()
    with base.reader() as reader:
        assert reader.counts() == Counts(accepted=1, ok=1)


def test_any_number_of_rows_comes_and_nothing_in_between_is_seen(base: Base, store: Store) -> None:
    """In more than one batch; the snapshot is one."""
    store.write([intent(f"{n:04}", started_ns=n) for n in range(4_500)], [])
    with base.reader() as reader, reader.base.snapshot():
        rows = reader.base.stream("SELECT id FROM requests WHERE started_ns >= :since", {"since": 1})
        first = next(rows)
        store.write([intent("later", started_ns=9_999)], [])
        found = [first, *rows]
        assert reader.base.rows("SELECT count(*) FROM requests", {}) == [(4_500,)]
    assert sorted(request_id for (request_id,) in found) == [f"{n:04}" for n in range(1, 4_500)]


def test_no_ledger_in_a_database(database: str, postgres: PostgresServer) -> None:
    with pytest.raises(ConfigError, match="holds no ledger yet"):
        LedgerReader(database)
    postgres.run(database, "CREATE TABLE guests (name TEXT)")
    with pytest.raises(ConfigError, match="isn't a Holdfast ledger"):
        LedgerReader(database)


def test_a_database_of_an_older_version(database: str, postgres: PostgresServer) -> None:
    Base(database, postgres).store().close()
    postgres.run(database, "DELETE FROM migrations WHERE number > 3")
    with pytest.raises(ConfigError, match="older version") as error:
        LedgerReader(database)
    assert "canary" not in str(error.value)


def test_no_ledger_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no ledger at"):
        LedgerReader(tmp_path / "typo.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "noise.db").write_bytes(b"noise" * 1000)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        LedgerReader(tmp_path / "noise.db")
    sqlite3.connect(tmp_path / "empty.db").execute("PRAGMA user_version = 1").connection.close()
    with pytest.raises(ConfigError, match="older version"):
        LedgerReader(tmp_path / "empty.db")


def test_counts_come_from_one_moment(store: Store, reader: LedgerReader) -> None:
    store.write([intent(f"{n}") for n in range(9)], [end(f"{n}", state="cancelled") for n in range(4)])
    assert reader.counts() == Counts(accepted=9, cancelled=4, in_flight=5)


def test_a_request_that_comes_behind_a_later_one_is_new_all_the_same() -> None:
    """Of several writers one may take a number first and commit last."""
    arrived = _Arrived(10, looks=3)
    assert arrived.new([(11, "a"), (13, "c")]) == ["a", "c"]
    assert arrived.new([(11, "a"), (12, "b"), (13, "c")]) == ["b"]
    assert arrived.floor == 10
    assert arrived.new([(11, "a"), (12, "b"), (13, "c")]) == []
    assert arrived.floor == 13  # three looks ago 13 was the last: nothing below comes any more
    assert arrived.new([(14, "d")]) == ["d"]
    assert arrived.new([(14, "d")]) == []


def test_of_one_writer_nothing_comes_behind() -> None:
    arrived = _Arrived(10, looks=1)
    assert arrived.new([(11, "a"), (12, "b")]) == ["a", "b"]
    assert arrived.floor == 12
    assert arrived.new([]) == []
    assert arrived.floor == 12
