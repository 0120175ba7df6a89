"""Numbered migrations: applied once, recorded, refused when they aren't ours."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest
from tests.unit.ledger.helpers import START_NS, HandClock, ledger_at, store_at

from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.ledger.migrate import Migration, check, migrate, shipped
from holdfast.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from pathlib import Path

ONE = Migration(1, "one", "CREATE TABLE a (x);\n-- a comment; with a semicolon\nCREATE INDEX i ON a (x);\n")
TWO = Migration(2, "two", "ALTER TABLE a ADD COLUMN y;\n")


@pytest.fixture
def connection(tmp_path: Path):
    made = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
    yield made
    made.close()


def names(connection: sqlite3.Connection) -> set[str]:
    return {
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    }


def test_applied_in_order_and_once(connection: sqlite3.Connection) -> None:
    migrate(connection, (ONE,), HandClock())
    migrate(connection, (ONE, TWO), HandClock())
    migrate(connection, (ONE, TWO), HandClock())
    rows = connection.execute("SELECT * FROM migrations").fetchall()
    assert rows == [(1, "one", ONE.sha256, START_NS), (2, "two", TWO.sha256, START_NS)]
    assert [column[1] for column in connection.execute("PRAGMA table_info(a)")] == ["x", "y"]


def test_a_file_that_fails_leaves_no_trace(connection: sqlite3.Connection) -> None:
    broken = Migration(2, "broken", "CREATE TABLE b (x);\nCREATE TABLE a (x);\n")
    migrate(connection, (ONE,), HandClock())
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection, (ONE, broken), HandClock())
    assert names(connection) == {"a", "i", "migrations"}
    assert check(connection, (ONE, broken)) == 1
    migrate(connection, (ONE, TWO), HandClock())


def test_a_changed_file_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, (ONE, TWO), HandClock())
    changed = Migration(1, "one", ONE.sql + "-- edited\n")
    with pytest.raises(ConfigError, match="schema 001_one differs"):
        migrate(connection, (changed, TWO), HandClock())


def test_a_newer_database_is_refused(connection: sqlite3.Connection) -> None:
    migrate(connection, (ONE, TWO), HandClock())
    with pytest.raises(ConfigError, match=r"newer version: its schema is at 002, this version knows 001"):
        migrate(connection, (ONE,), HandClock())


def test_somebody_elses_database_is_refused_and_untouched(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE photos (x)")
    with pytest.raises(ConfigError, match="isn't a Holdfast ledger"):
        migrate(connection, (ONE,), HandClock())
    assert names(connection) == {"photos"}


def test_a_ledger_of_a_newer_version_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    future = (*shipped(), Migration(len(shipped()) + 1, "future", "CREATE TABLE future (x);\n"))
    store_at(path, migrations=future).close()
    with pytest.raises(ConfigError, match="newer version"):
        ledger_at(path)
    with pytest.raises(ConfigError, match="newer version"):
        LedgerReader(path)
    store_at(path, migrations=future).close()  # the refusal let go of the lock


def test_a_migration_that_fails_at_open_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with pytest.raises(LedgerUnavailable, match="syntax error"):
        store_at(path, migrations=(Migration(1, "bad", "CREATE NONSENSE;\n"),))
    asyncio.run(ledger_at(path).aclose())


def test_shipped_files_are_numbered_from_one_without_a_gap() -> None:
    assert [each.number for each in shipped()] == list(range(1, len(shipped()) + 1))
    assert all(each.sql.rstrip().endswith(";") for each in shipped())
