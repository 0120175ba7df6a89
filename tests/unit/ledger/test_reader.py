"""Reading beside a running writer: filters, order, pages, tail."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.unit.ledger.helpers import attempt, end, intent, store_at

from holdfast.errors import ConfigError, LedgerUnavailable, NotFound
from holdfast.ledger import Counts
from holdfast.ledger.reader import Filter, LedgerReader

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.ledger.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path):
    made = store_at(tmp_path / "ledger #1?%41.db")  # a path that a careless URI would misread
    yield made
    made.close()


@pytest.fixture
def reader(store: SqliteStore):
    with LedgerReader(store.path) as made:
        yield made


def ids(records) -> list[str]:
    return [record.intent.id for record in records]


def test_filters(store: SqliteStore, reader: LedgerReader) -> None:
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


def test_order_limit_and_pages(store: SqliteStore, reader: LedgerReader) -> None:
    """More than two pages, with equal dates across the pages' edges."""
    store.write([intent(f"{n:04}", started_ns=n // 700) for n in range(1_700)], [])
    everyone = [f"{n:04}" for n in range(1_700)]
    assert ids(reader.requests(order="oldest", limit=None)) == everyone
    assert ids(reader.requests(limit=None)) == everyone[::-1]
    assert ids(reader.requests()) == everyone[:-51:-1]
    assert ids(reader.requests(limit=501)) == everyone[:-502:-1]
    assert ids(reader.requests(limit=0)) == []


def test_show(store: SqliteStore, reader: LedgerReader) -> None:
    store.write([intent("a")], [end("a", cost_nano=12_345_678_901, attempts=(attempt(2), attempt(1)))])
    record = reader.show("a")
    assert record.end is not None
    assert [each.number for each in record.end.attempts] == [1, 2]
    assert record.cost_nano == 12_345_678_901
    assert record.cost_usd == Decimal("12.345678901")
    with pytest.raises(NotFound, match="no request b"):
        reader.show("b")


def test_tail_shows_each_beginning_and_each_end_once(store: SqliteStore, reader: LedgerReader) -> None:
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


def test_tail_catches_up_with_a_flood(store: SqliteStore, reader: LedgerReader) -> None:
    looks = iter([lambda: store.write([intent(f"{n}") for n in range(1_200)], []), lambda: None])

    def wait() -> bool:
        look = next(looks, None)
        if look is not None:
            look()
        return look is not None

    assert len(list(reader.tail(wait))) == 1_200


def test_a_reader_can_not_write(reader: LedgerReader) -> None:
    assert reader._connection.execute("PRAGMA query_only").fetchone() == (1,)
    reader._connection.execute("PRAGMA query_only = OFF")  # the file itself is open for reading only
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM requests")


def test_a_reader_in_the_middle_of_a_list_does_not_hold_up_the_writer(
    store: SqliteStore, reader: LedgerReader
) -> None:
    store.write([intent(f"{n}") for n in range(600)], [])
    listing = reader.requests(limit=None)
    next(listing)
    store.write([intent("later")], [])
    assert store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_a_closed_ledger_can_be_read(store: SqliteStore) -> None:
    store.write([intent("a")], [end("a")])
    store.close()
    with LedgerReader(store.path) as reader:
        assert reader.counts() == Counts(accepted=1, ok=1)


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


def test_counts_come_from_one_moment(store: SqliteStore, reader: LedgerReader) -> None:
    store.write([intent(f"{n}") for n in range(9)], [end(f"{n}", state="cancelled") for n in range(4)])
    assert reader.counts() == Counts(accepted=9, cancelled=4, in_flight=5)
