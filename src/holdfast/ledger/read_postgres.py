"""A ledger on PostgreSQL, read beside its writers: a session that can't write, in transactions that each see one moment."""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.ledger import migrate
from holdfast.ledger.pg_connection import connect
from holdfast.ledger.pg_errors import explain
from holdfast.ledger.recovery import LEASE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.ledger.pg_connection import PgConnection
    from holdfast.ledger.read_only import Kind

__all__ = ["PostgresReadOnly", "judged_ns"]

_BATCH: Final = 2_000
"""Rows that are fetched at once where any number may come."""
_NAMED: Final = re.compile(r"(?<!:):([a-z_]+)\b")
_READ_ONLY: Final = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_NOW: Final = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000000 AS BIGINT)"
_STARTED: Final = "SELECT CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000000 AS BIGINT)"


class PostgresReadOnly:
    """See :class:`holdfast.ledger.read_only.ReadOnly`.

    Args:
        statement_s: how long one statement may take.

    Raises:
        ConfigError: the URL can't be used, no ledger there, or one of another version.
        LedgerUnavailable: it can't be read now.
    """

    kind: Final[Kind] = "postgresql"

    def __init__(self, url: str, *, statement_s: float) -> None:
        self._connection: PgConnection = connect(url, timeout_s=statement_s, name="holdfast ledger")
        self.name = _shown(url)
        try:
            with self._readable():
                self._connection.execute(_READ_ONLY)
                known = migrate.shipped(migrate.POSTGRES)
                applied = migrate.check(self._connection, known, migrate.POSTGRES)
        except BaseException:
            self._connection.close()
            raise
        if applied < len(known):
            self._connection.close()
            what = (
                "is of an older version: start the gateway once to upgrade it"
                if applied
                else "holds no ledger yet"
            )
            raise ConfigError(f"{self.name} {what}")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._readable():
            self._connection.execute(_BEGIN)
            try:
                yield
            finally:
                with contextlib.suppress(
                    psycopg.Error
                ):  # a connection that was lost has nothing to roll back
                    self._connection.execute("ROLLBACK")

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self._readable():
            return self._connection.raw.execute(_translated(sql), values).fetchall()

    def stream(self, sql: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        with self._readable(), self._connection.raw.cursor(name="holdfast_stream") as cursor:
            cursor.itersize = _BATCH
            cursor.execute(_translated(sql), values)
            yield from cursor

    def now_ns(self, here_ns: int) -> int:  # noqa: ARG002  # SQLite has no clock but this machine's
        ((now,),) = self.rows(_NOW, {})
        return int(now)

    def judged_ns(self, now_ns: int) -> int:
        ((started_ns,),) = self.rows(_STARTED, {})
        return judged_ns(now_ns, started_ns)

    def damage(self) -> list[str]:
        """It has no look of its own that any user may take; its pages have checksums, and reading one that is torn fails."""
        return []

    @property
    def raw(self) -> PgConnection:
        return self._connection

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            said = explain(error).replace("can't write", "can't be read", 1)
            raise LedgerUnavailable(said) from error


def judged_ns(now_ns: int, started_ns: int) -> int:
    """While the server was down nobody could renew: until one lease after it started nobody is taken for dead, as
    :mod:`holdfast.ledger.pg_lease` has it."""
    return now_ns if now_ns - started_ns >= LEASE_S * 1e9 else 0


def _shown(url: str) -> str:
    """For people, without password and options."""
    given = conninfo_to_dict(url)
    user, host, port, name = (str(given.get(part) or "") for part in ("user", "host", "port", "dbname"))
    return f"postgresql://{user}{'@' if user else ''}{host}{':' if port else ''}{port}/{name}"


@lru_cache(maxsize=256)
def _translated(sql: str) -> bytes:
    """``:name`` in psycopg's spelling. As bytes: a statement that was put together of constants."""
    return _NAMED.sub(r"%(\1)s", sql.replace("%", "%%")).encode()
