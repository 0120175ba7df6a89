"""A SQLite ledger, read beside its writer: a read-only connection, in transactions that don't hold up the log."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.ledger import migrate
from holdfast.ledger.sqlite import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.ledger.read_only import Kind

__all__ = ["SqliteReadOnly"]

_MOST_DAMAGE: Final = 5
"""Faults that the integrity check names: a torn file has one for each of its pages."""


class SqliteReadOnly:
    """See :class:`holdfast.ledger.read_only.ReadOnly`.

    Raises:
        ConfigError: no ledger there, or one of another version.
        LedgerUnavailable: it can't be read now.
    """

    kind: Final[Kind] = "sqlite"

    def __init__(self, where: Path | str, *, busy_timeout_s: float) -> None:
        path = where if isinstance(where, Path) else path_of(where)
        if not path.is_file():
            raise ConfigError(f"no ledger at {path}: give the path of ledger.url, or start the gateway once")
        self.name = str(path)
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with self._readable():
            self._connection = sqlite3.connect(
                uri, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
            )
        try:
            with self._readable():
                self._connection.execute("PRAGMA query_only = ON")
                known = migrate.shipped()
                if migrate.check(self._connection, known) < len(known):
                    raise ConfigError(f"{path} is of an older version: start the gateway once to upgrade it")
        except BaseException:
            self._connection.close()
            raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._readable():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self._readable():
            return self._connection.execute(sql, dict(values)).fetchall()

    def stream(self, sql: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        with self._readable():
            yield from self._connection.execute(sql, dict(values))

    def now_ns(self, here_ns: int) -> int:
        """This machine's: who writes to a file is on it."""
        return here_ns

    def judged_ns(self, now_ns: int) -> int:
        return now_ns

    def damage(self) -> list[str]:
        found = self.rows(f"PRAGMA integrity_check({_MOST_DAMAGE})", {})
        faults = [str(text) for (text,) in found if text != "ok"]
        strays = self.rows("PRAGMA foreign_key_check", {})
        return [
            *faults,
            *(f"{table}: a row refers to one that isn't in {parent}" for table, _, parent, _ in strays),
        ][:_MOST_DAMAGE]

    @property
    def raw(self) -> sqlite3.Connection:
        return self._connection

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"can't read {self.name}: {error}") from error
