"""Both databases have the same schema: the same files, tables and columns."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.unit.ledger.helpers import HandClock

from holdfast.ledger.migrate import POSTGRES, SQLITE, migrate, shipped
from holdfast.ledger.pg_connection import connect

if TYPE_CHECKING:
    from tests.support.postgres import PostgresServer

TYPES = {
    "INTEGER": {"bigint", "boolean", "integer"},
    "TEXT": {"text"},
    "REAL": {"double precision"},
    "BLOB": {"bytea"},
}


def test_the_files_are_the_same() -> None:
    ours, theirs = ([(each.number, each.name) for each in shipped(one)] for one in (SQLITE, POSTGRES))
    assert ours == theirs


def test_tables_and_columns_are_the_same(postgres: PostgresServer, database: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, shipped(), HandClock())
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        ours = {
            (table, name): (kind, bool(required or place))
            for table in tables
            for _, name, kind, required, _, place in connection.execute(f"PRAGMA table_info({table})")
        }
    made = connect(database, timeout_s=3.0, name="test")
    migrate(made, shipped(POSTGRES), HandClock(), POSTGRES)
    made.close()
    found = postgres.run(
        database,
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'public'",
    )
    theirs = {(table, name): (kind, required == "NO") for table, name, kind, required in found}
    assert set(theirs) == set(ours)
    for place, (kind, required) in ours.items():
        assert theirs[place][0] in TYPES[kind], place
        assert theirs[place][1] == required, place
