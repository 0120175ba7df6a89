"""The schema, as numbered SQL files that are applied once, in order, each in a transaction of its own.

What was applied is recorded with the file's hash. A database that was written by a newer version, or whose
applied files differ from ours, is refused: guessing what its columns mean could lose money. SQLite and PostgreSQL have files
of their own, of the same numbers, names, tables and columns.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from holdfast import failpoints
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.clock import Clock

__all__ = ["POSTGRES", "SQLITE", "Connection", "Dialect", "Migration", "check", "migrate", "shipped"]

_NAME: Final = re.compile(r"(\d{3})_(\w+)\.sql")
_RECORDS: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_ns {integer} NOT NULL
)"""


class Connection(Protocol):
    """What of a connection is used here. It is in autocommit mode."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...

    @property
    def in_transaction(self) -> bool: ...


class Dialect(Struct, frozen=True, kw_only=True):
    """What differs between the databases."""

    folder: tuple[str, ...]
    """Where its files are, below the package."""
    begin: tuple[str, ...]
    """Begins a transaction in which nobody else migrates."""
    tables: str
    """Which tables there are."""
    integer: str
    """A type of 64 bits."""
    another: str
    """What to give instead of a database that can't be used."""


SQLITE: Final = Dialect(
    folder=("schema",),
    begin=("BEGIN IMMEDIATE",),
    tables="SELECT name FROM sqlite_master WHERE type = 'table'",
    integer="INTEGER",
    another="another file",
)
POSTGRES: Final = Dialect(
    folder=("schema", "postgres"),
    # Who migrates may be at it for as long as it takes. The lock's number is this project's name in ASCII.
    begin=(
        "BEGIN",
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL lock_timeout = 0",
        "SELECT pg_advisory_xact_lock(x'686f6c6466617374'::bigint)",
    ),
    tables="SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()",
    integer="BIGINT",
    another='another database, or a schema of its own: ledger.url = "…?options=-csearch_path%3Dholdfast"',
)


class Migration(Struct, frozen=True):
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped(dialect: Dialect = SQLITE) -> tuple[Migration, ...]:
    """The files that belong to this version, in order."""
    found = []
    for file in resources.files("holdfast.ledger").joinpath(*dialect.folder).iterdir():
        name = _NAME.fullmatch(file.name)
        if name is not None:
            found.append(Migration(int(name[1]), name[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


def check(connection: Connection, known: Sequence[Migration], dialect: Dialect = SQLITE) -> int:
    """How many of ``known`` are applied.

    Raises:
        ConfigError: not a ledger, or one that this version can't read.
    """
    tables = {name for (name,) in connection.execute(dialect.tables)}
    if "migrations" not in tables:
        if tables:
            raise ConfigError(f"the database has tables, but isn't a Holdfast ledger: give {dialect.another}")
        return 0
    applied = connection.execute("SELECT number, name, sha256 FROM migrations ORDER BY number").fetchall()
    if len(applied) > len(known):
        raise ConfigError(
            f"the ledger was written by a newer version: its schema is at {applied[-1][0]:03}, "
            f"this version knows {known[-1].number:03}. Upgrade, or use {dialect.another}."
        )
    for (number, name, sha256), ours in zip(applied, known, strict=False):
        if (number, sha256) != (ours.number, ours.sha256):
            raise ConfigError(
                f"the ledger's schema {number:03}_{name} differs from this version's "
                f"{ours.number:03}_{ours.name}: it was made by a development version. Use {dialect.another}."
            )
    return len(applied)


def migrate(
    connection: Connection, known: Sequence[Migration], clock: Clock, dialect: Dialect = SQLITE
) -> None:
    """Bring the schema up to ``known``. Any number of processes may at once.

    Raises:
        ConfigError: as :func:`check`.
        Exception: the database's, where a statement failed; its file has left no trace.
    """
    while check(connection, known, dialect) < len(known):
        try:
            for statement in dialect.begin:
                connection.execute(statement)
            for migration in known[check(connection, known, dialect) :][
                :1
            ]:  # another process may have been here
                _apply(connection, migration, clock, dialect)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _apply(connection: Connection, migration: Migration, clock: Clock, dialect: Dialect) -> None:
    connection.execute(_RECORDS.format(integer=dialect.integer))
    for statement in _statements(migration.sql):
        connection.execute(statement)
    row = (migration.number, migration.name, migration.sha256, clock.wall_ns())
    connection.execute("INSERT INTO migrations (number, name, sha256, applied_ns) VALUES (?, ?, ?, ?)", row)
    if failpoints.armed:
        failpoints.hit("recovery.migrating")


def _statements(sql: str) -> Iterator[str]:
    """One at a time: ``executescript`` would commit what is open, and with it half a migration."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
