"""A ledger on PostgreSQL as an operator writes it, beside all who live.

It takes no lease: to a gateway that starts meanwhile it must not look like another one. And it makes no ledger where none
is: the URL may be of any database.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import psycopg

from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.ledger import idempotency_sql, migrate, spend_sql
from holdfast.ledger.pg_clock import DatabaseClock
from holdfast.ledger.pg_connection import connect
from holdfast.ledger.pg_errors import explain
from holdfast.ledger.pg_lease import PgLease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.clock import Clock
    from holdfast.ledger.pg_connection import PgConnection

__all__ = ["PgMender"]

_TIMEOUT_S: Final = 30.0
_NOBODY: Final = ""
"""No owner's id."""
_SWEPT: Final = 512
"""Rows in one step."""


class PgMender:
    """See :class:`holdfast.ledger.mender.Mender`.

    Raises:
        ConfigError: the URL can't be used, no ledger there, or one of another version.
        LedgerUnavailable: the server doesn't answer, or not now.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = DatabaseClock(clock)
        self._lease = PgLease(self._clock)
        self._connection = connect(url, timeout_s=_TIMEOUT_S, name="holdfast ledger")
        try:
            known = migrate.shipped(migrate.POSTGRES)
            applied = migrate.check(self._connection, known, migrate.POSTGRES)
        except psycopg.Error as error:
            self._connection.close()
            raise LedgerUnavailable(explain(error)) from error
        except BaseException:
            self._connection.close()
            raise
        if applied < len(known):
            self._connection.close()
            raise ConfigError(
                "the ledger is of an older version: start a gateway once to upgrade it"
                if applied
                else "the database holds no ledger: start a gateway once to make one"
            )

    def sweep(self) -> bool:
        with self._transaction() as connection:
            # Nobody's row: only to know the database's time, and for how long it has been up.
            self._lease.renew(connection, _NOBODY)
        with self._transaction() as connection:
            _, more = self._lease.recover(connection, _NOBODY, _sweep)
        return more

    def run(self, work: Callable[[Any], Any]) -> Any:
        with self._transaction() as connection:
            return work(connection)

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[PgConnection]:
        connection = self._connection
        try:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")
            if isinstance(error, psycopg.Error):
                raise LedgerUnavailable(explain(error)) from error
            raise


def _sweep(connection: PgConnection, now_ns: int) -> bool:
    swept = idempotency_sql.sweep(connection, now_ns, _SWEPT) == _SWEPT
    return spend_sql.sweep(connection, now_ns, _SWEPT) or swept
