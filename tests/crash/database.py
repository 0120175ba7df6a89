"""Reading a ledger's database without a line of the product's: plain SQL, for SQLite's file and for PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from tests.crash.evidence import KeyRow, Row, Snapshot, Try

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Database", "PostgresDatabase", "SqliteDatabase"]

_Query: TypeAlias = "Callable[[str], list[Any]]"

_TABLES: Final = {"requests", "attempts", "spend", "sessions", "idempotency"}
_REQUESTS: Final = """
SELECT seq, id, tags, key, session, owner, state, settled_by, late, started_ns, bound_nano, bound_tokens, cost_nano, accounts
FROM requests ORDER BY seq"""
_ATTEMPTS: Final = """
SELECT request_id, number, provider, started_ns, outcome, billed, cost_nano,
    coalesce(input_tokens, 0) + coalesce(output_tokens, 0)
FROM attempts ORDER BY request_id, number"""


_OTHERS: Final = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""


class Database(Protocol):
    """Where a ledger is kept, as the crash loop needs it."""

    url: str
    """As the configuration has it."""

    def snapshot(self, label: str, cycle: int, *, recovered: bool) -> Snapshot:
        """All of it, at one moment."""
        ...

    def bury(self) -> None:
        """Every process that had it is dead, and that is known: let their leases be over, as time would."""
        ...


class SqliteDatabase:
    """A file. It is copied before it is looked at: opening it would do a part of what the next start must do alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def snapshot(self, label: str, cycle: int, *, recovered: bool) -> Snapshot:
        if recovered:  # a gateway has it: looking on changes nothing
            return self._snapshot(f"file:{self.path}?mode=ro", label, cycle, recovered=True)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.db"
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(f"{self.path}{suffix}", f"{copy}{suffix}")
            return self._snapshot(f"file:{copy}", label, cycle, recovered=False)

    def _snapshot(self, uri: str, label: str, cycle: int, *, recovered: bool) -> Snapshot:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("BEGIN")
            made = {
                name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            if not made >= _TABLES:  # it died before its schema was whole
                return Snapshot(label, cycle, recovered)
            return _read(
                lambda sql: connection.execute(sql).fetchall(),
                label,
                cycle,
                recovered=recovered,
                shared="blocks" in made,
            )

    def bury(self) -> None:
        """Nothing: who has the file's lock knows."""


class PostgresDatabase:
    """A database of a server that outlives the gateways."""

    def __init__(self, url: str) -> None:
        self.url = url

    def snapshot(self, label: str, cycle: int, *, recovered: bool) -> Snapshot:
        with self._connected() as query:
            query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            if not query("SELECT 1 FROM information_schema.tables WHERE table_name = 'blocks'"):
                return Snapshot(label, cycle, recovered)
            return _read(query, label, cycle, recovered=recovered, shared=True)

    def bury(self) -> None:
        with self._connected() as query:
            # What the dead were at: committed, or rolled back when the server sees that they are gone.
            while query(_OTHERS):  # a transaction sees what it saw first, unless it is told to look again
                query("SELECT pg_sleep(0.005), pg_stat_clear_snapshot()")
        with self._connected() as query:
            if query("SELECT 1 FROM information_schema.tables WHERE table_name = 'owners'"):
                query("UPDATE owners SET expires_ns = 0 RETURNING id")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[_Query]:
        import psycopg  # only where it is asked for

        with psycopg.connect(self.url) as connection:

            def query(sql: str) -> list[Any]:
                cursor = connection.execute(sql)
                return cursor.fetchall() if cursor.description else []

            yield query


def _read(query: _Query, label: str, cycle: int, *, recovered: bool, shared: bool) -> Snapshot:
    tries: dict[str, list[Try]] = defaultdict(list)
    for request_id, *columns in query(_ATTEMPTS):
        tries[request_id].append(Try(*columns))
    rows = []
    for row in query(_REQUESTS):
        seq, request_id, tags, key, session, owner, state, settled_by, late, started_ns, *bounds, accounts = (
            row
        )
        bound_nano, bound_tokens, cost_nano = bounds
        rows.append(
            Row(
                seq=seq,
                id=request_id,
                nonce=json.loads(tags or "{}").get("n", ""),
                tenant=key,
                session=session,
                owner=owner,
                state=state,
                settled_by=settled_by,
                late=bool(late),
                started_ns=started_ns,
                bound_nano=bound_nano,
                bound_tokens=bound_tokens,
                cost_nano=cost_nano,
                accounts=tuple((each[0], each[1]) for each in json.loads(accounts or "[]")),
                tries=tuple(tries.get(request_id, ())),
            )
        )
    keys = query("SELECT tenant, key, state, run_id, body FROM idempotency")
    return Snapshot(
        label,
        cycle,
        recovered,
        rows=tuple(rows),
        spend=_sums(query("SELECT account, sum(amount) FROM spend GROUP BY account")),
        keys={
            (tenant, key): KeyRow(state, run_id, None if body is None else bytes(body))
            for tenant, key, state, run_id, body in keys
        },
        sessions=frozenset((key, session) for key, session in query("SELECT key, id FROM sessions")),
        blocks=_sums(query("SELECT account, sum(amount) FROM blocks GROUP BY account")) if shared else {},
    )


def _sums(rows: list[Any]) -> dict[str, int]:
    return {account: int(amount) for account, amount in rows}  # PostgreSQL's sums are Decimals
