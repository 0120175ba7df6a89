"""A ledger on each database, for tests that look at it and break it by hand."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.unit.ledger.helpers import HandClock, store_at

from holdfast.clock import new_id
from holdfast.ledger.reader import LedgerReader
from holdfast.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    from tests.support.postgres import PostgresServer

    from holdfast.ledger.sql_ledger import DatabaseLedger
    from holdfast.ledger.writer import Store

KINDS = ("sqlite", "postgresql")


@dataclass
class Base:
    """One ledger. Its clock (a machine's, for SQLite) is set by hand."""

    where: Path | str
    server: PostgresServer | None = None
    clock: HandClock = field(default_factory=HandClock)
    _constrained: bool = True

    def store(self, **options: Any) -> Store:
        """A writer; the caller closes it. On SQLite there can be but one."""
        if isinstance(self.where, str):
            from holdfast.ledger.postgres import PostgresStore

            owner = new_id(self.clock, random.Random())
            return PostgresStore(self.where, owner=owner, clock=self.clock, **options)
        return store_at(self.where, self.clock, **options)

    def abandon(self, store: Any) -> None:
        """What kill -9 leaves of its process, once its lease has run out."""
        if self.server is None:
            store._connection.close()
            store._lock.release()
        else:
            store._drop()
        self.run("DELETE FROM owners")

    def ledger(self, **options: Any) -> DatabaseLedger:
        """A ledger on a :meth:`store`; the caller closes it."""
        store: Any = self.store(**options)
        if isinstance(self.where, str):
            from holdfast.ledger.postgres import PostgresLedger

            return PostgresLedger(store)
        return SqliteLedger(store, self.clock)

    def now_ns(self) -> int:
        """What the ledger takes for now: PostgreSQL has a clock of its own."""
        return self.clock.wall_ns() if self.server is None else time.time_ns()

    def reader(self) -> LedgerReader:
        return LedgerReader(self.where)

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Whatever anybody may do to a database by hand; constraints don't hold."""
        if self.server is not None:
            if self._constrained:
                self._constrained = False
                self._drop_constraints()
            return self.server.run(str(self.where), sql)
        with closing(sqlite3.connect(self.where, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            return connection.execute(sql).fetchall()

    def _drop_constraints(self) -> None:
        assert self.server is not None
        for table, constraint in self.server.run(str(self.where), _CHECKS):
            self.server.run(str(self.where), f'ALTER TABLE {table} DROP CONSTRAINT "{constraint}"')


_CHECKS = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype = 'c' AND connamespace = 'public'::regnamespace"""


@contextmanager
def base_of(request: pytest.FixtureRequest, folder: Path) -> Iterator[Base]:
    """An empty one of the kind that is the fixture's parameter; nobody has opened it yet."""
    if request.param == "sqlite":
        yield Base(folder / "ledger.db")
        return
    server = request.getfixturevalue("postgres")
    url = server.database()
    yield Base(url, server)
    server.give_back(url)
