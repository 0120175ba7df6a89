"""The simulated PostgreSQL's table of idempotency keys: the product's own SQL, on an SQLite in memory.

A transaction is one as long as it is under way; what comes between a process and its commit is :class:`Way`'s.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from holdfast.ledger import idempotency_sql, migrate
from holdfast.ledger.statement import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from holdfast.ledger.statement import Statement

__all__ = ["SECRET", "Key", "Keys"]

SECRET: Final = bytes(32)
_SWEPT: Final = 1_000


class Key(Struct, frozen=True):
    """What stands under one."""

    tenant: str
    key: str
    run_id: str
    state: str
    body: bytes | None


class Keys:
    """The table."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.deserialize(_empty())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        yield
        self._connection.execute("COMMIT")

    def run(self, statements: Sequence[Statement], *, owner: str, alive: bool, fenced: str) -> list[Result]:
        """As :class:`holdfast.ledger.pg_writing.Group` does: what locks the same is locked in one order by everybody."""
        results = [Result()] * len(statements)
        for place in sorted(range(len(statements)), key=lambda place: statements[place].locks):
            statement = statements[place]
            if not self.may(statement, owner=owner, alive=alive):
                results[place] = Result(refused=fenced)
                continue
            answer: Any = statement.run(self._connection)
            begun = statement.intent is not None and statement.begins(answer)
            results[place] = Result(answer, begun=begun)
        return results

    def may(self, statement: Statement, *, owner: str, alive: bool) -> bool:
        """Who was given up takes nothing any more."""
        if statement.owner is not None and not (alive and statement.owner == owner):
            return False
        return statement.intent is None or alive

    def give_up(self, owners: Iterable[str], now_ns: int) -> None:
        """Runs of whoever isn't among ``owners``; and what has expired is cleared away."""
        with self.transaction():
            self._connection.execute("DELETE FROM owners")
            self._connection.executemany(
                "INSERT INTO owners VALUES (?, 0, '', 0, 0, 0)", [(owner,) for owner in owners]
            )
            self.lose(self._connection, now_ns)
            idempotency_sql.sweep(self._connection, now_ns, _SWEPT)

    def lose(self, connection: sqlite3.Connection, now_ns: int) -> None:
        idempotency_sql.give_up(connection, now_ns)

    # Looked at from outside.

    def every(self) -> list[Key]:
        """In the order of their names."""
        found = self._connection.execute(
            "SELECT tenant, key, run_id, state, body FROM idempotency ORDER BY tenant, key"
        )
        return [Key(*row) for row in found.fetchall()]


@cache
def _empty() -> bytes:
    """A database that nobody has written to."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in migrate.shipped():
        connection.executescript(migration.sql)
    return connection.serialize()
