"""The schema, as numbered SQL files that are applied once, in order, each in a transaction of its own.

What was applied is recorded with the file's hash. A database that was written by a newer version, or whose
applied files differ from ours, is refused: guessing what its columns mean could lose money.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from importlib import resources
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.clock import Clock

__all__ = ["Migration", "check", "migrate", "shipped"]

_NAME: Final = re.compile(r"(\d{3})_(\w+)\.sql")
_RECORDS: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_ns INTEGER NOT NULL
)"""


class Migration(Struct, frozen=True):
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """The files that belong to this version, in order."""
    found = []
    for file in resources.files("holdfast.ledger").joinpath("schema").iterdir():
        name = _NAME.fullmatch(file.name)
        if name is not None:
            found.append(Migration(int(name[1]), name[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


def check(connection: sqlite3.Connection, known: Sequence[Migration]) -> int:
    """How many of ``known`` are applied.

    Raises:
        ConfigError: not a ledger, or one that this version can't read.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "migrations" not in tables:
        if tables:
            raise ConfigError("the database has tables, but isn't a Holdfast ledger: give another file")
        return 0
    applied = connection.execute("SELECT number, name, sha256 FROM migrations ORDER BY number").fetchall()
    if len(applied) > len(known):
        raise ConfigError(
            f"the ledger was written by a newer version: its schema is at {applied[-1][0]:03}, "
            f"this version knows {known[-1].number:03}. Upgrade, or use another file."
        )
    for (number, name, sha256), ours in zip(applied, known, strict=False):
        if (number, sha256) != (ours.number, ours.sha256):
            raise ConfigError(
                f"the ledger's schema {number:03}_{name} differs from this version's "
                f"{ours.number:03}_{ours.name}: it was made by a development version. Use another file."
            )
    return len(applied)


def migrate(connection: sqlite3.Connection, known: Sequence[Migration], clock: Clock) -> None:
    """Bring the schema up to ``known``. ``connection`` is in autocommit mode.

    Raises:
        ConfigError: as :func:`check`.
        sqlite3.Error: a statement failed; its file has left no trace.
    """
    for migration in known[check(connection, known) :]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(_RECORDS)
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO migrations VALUES (?, ?, ?, ?)",
                (migration.number, migration.name, migration.sha256, clock.wall_ns()),
            )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _statements(sql: str) -> Iterator[str]:
    """One at a time: ``executescript`` would commit what is open, and with it half a migration."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
