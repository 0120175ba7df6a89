"""The ledger in a SQLite file: the connection, its statements, one transaction per group.

WAL with ``synchronous = NORMAL`` survives the death of the process at any instruction; a power cut may take
the last commits with it unless ``durability = "power"``. Exactly one process writes
(:mod:`holdfast.ledger.lock`): it is what leases rely on here, and older SQLite versions have a bug in
resetting the WAL that needs two writers to show.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from holdfast import failpoints
from holdfast.clock import new_id
from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.ledger import idempotency_sql, migrate, retention, spend_sql
from holdfast.ledger.lock import FileLock
from holdfast.ledger.recovery import LEASE_S, Lease, give_up_abandoned
from holdfast.ledger.rows import attempt_row, end_row, intent_row
from holdfast.ledger.sql_ledger import DatabaseLedger
from holdfast.ledger.statement import Result
from holdfast.ledger.writer import GroupFailed, Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.clock import Clock, Rng
    from holdfast.ledger.entry import End, Intent
    from holdfast.ledger.rows import Row
    from holdfast.ledger.statement import Statement

__all__ = ["Durability", "SqliteLedger", "SqliteStore", "explain", "path_of", "repair"]

Durability = Literal["process", "power"]

_CHECKPOINT_PAGES: Final = 4_000
"""16 MB of log before it is copied into the database: less often than that copies less in all, but in longer
pauses."""

_SWEPT: Final = 16
"""Expired idempotency keys in one step; each may have megabytes, whose pages are visited one by one."""
_SWEPT_SPEND: Final = 512
"""Amounts of budgets that don't count any more, in one step."""

_SYNCHRONOUS: Final[dict[Durability, str]] = {
    "process": "PRAGMA synchronous = NORMAL",
    "power": "PRAGMA synchronous = FULL",
}


class _Insert(Struct, frozen=True):
    """``INSERT`` for one row, and for a chunk of rows: half the cost of a row is the call, not the row."""

    one: str
    chunk: str


_CHUNK: Final = 16


def _insert_of(into: str, columns: int) -> _Insert:
    row = f"({', '.join('?' * columns)})"
    return _Insert(one=f"{into} VALUES {row}", chunk=f"{into} VALUES {', '.join([row] * _CHUNK)}")


_INTENTS: Final = _insert_of(
    """
INSERT INTO requests (
    id, owner, started_ns, key, session, tags, route, model, dialect, stream, request_bytes, bound_nano,
    bound_tokens, accounts
)""",
    columns=14,
)
_ATTEMPTS: Final = _insert_of(
    """
INSERT INTO attempts (
    request_id, number, provider, deployment, model, started_ns, outcome, status, error, retry_after_s,
    first_byte_ms, first_token_ms, total_ms, finish_reason, input_tokens, cache_read_tokens,
    cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, output_tokens, reasoning_tokens,
    output_audio_tokens, usage_extra, cost_nano, price_id, billed, upstream_id, usage_flag, paid_by
)""",
    columns=29,
)

_SETTLE: Final = """
UPDATE requests SET
    state = ?, late = settled_by IS NOT NULL, settled_by = 'end', ended_ns = ?, status = ?, served_provider =
    ?, served_model = ?, finish_reason = ?, error_label = ?, error = ?, first_token_ms = ?, total_ms = ?,
    cost_nano = ?, input_tokens = ?, cache_read_tokens = ?, cache_write_tokens = ?,
    cache_write_1h_tokens = ?, input_audio_tokens = ?, output_tokens = ?, reasoning_tokens = ?,
    output_audio_tokens = ?, usage_extra = ?, delivered_bytes = ?, skipped = ?
"""
_CLOSE: Final = _SETTLE + "WHERE id = ? AND state = 'in_flight'"
_CLOSE_LATE: Final = _SETTLE + "WHERE id = ? AND settled_by = 'recovery'"

_CLOSE_UNREADABLE: Final = """
UPDATE requests
SET state = 'unknown', settled_by = 'end', ended_ns = ?, cost_nano = bound_nano, error = ?
WHERE id = ? AND state = 'in_flight'"""

# What is wrong with one row, not with the database: a value that can't be bound, a constraint.
_ROW_FAULTS: Final = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    AttributeError,
    OverflowError,
    TypeError,
    ValueError,
)

_ADVICE: Final = {
    "SQLITE_BUSY": "another process keeps the database locked: end it; writing goes on by itself",
    "SQLITE_LOCKED": "another process keeps the database locked: end it; writing goes on by itself",
    "SQLITE_FULL": "the disk (or the ledger's max_pages) is full: make room; writing goes on by itself",
    "SQLITE_READONLY": "the file can't be written: check its owner, its permissions and the mount",
    "SQLITE_CANTOPEN": "the file can't be opened: check its folder, owner and permissions",
    "SQLITE_IOERR": "the disk reported an error: check it (full, quota, unplugged, failing)",
    "SQLITE_CORRUPT": "the file is damaged: move it away and start anew, or restore a copy",
    "SQLITE_NOTADB": "the file isn't a SQLite database: give another one",
}


class SqliteStore:
    """The only write connection to one file. Made by any thread, then used by one.

    Args:
        path: the database; made with mode 0600 where it isn't there. Its folder must exist. owner: this
        process' id, new for every start. durability: ``process`` survives kill -9, ``power`` also a power cut
        (one disk flush per group). busy_timeout_s: how long a group waits for a lock that another program
        holds on the file. max_pages: refuse to grow the database beyond this many pages (4 KiB each);
        ``None``: the disk decides. lease_s: see :data:`holdfast.ledger.recovery.LEASE_S`.
        keep_days: requests that ended longer ago are deleted, a few at each renewal; ``None``: never.

    Raises:
        ConfigError: the path or the schema can't be used.
        LedgerUnavailable: another process writes to the file, or it can't be opened now.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: str,
        clock: Clock,
        durability: Durability = "process",
        busy_timeout_s: float = 2.0,
        max_pages: int | None = None,
        lease_s: float = LEASE_S,
        keep_days: int | None = None,
        migrations: Sequence[migrate.Migration] | None = None,
    ) -> None:
        if not path.parent.is_dir():
            raise ConfigError(f"ledger.url: the folder {path.parent} doesn't exist: make it, or name another")
        self.path = path
        self.owner = owner
        self.recovered = 0
        """Requests that a dead process had left open, closed as ``unknown`` at the start."""
        self.idempotency_secret = b""
        """Under which requests are fingerprinted in this database."""
        self._clock = clock
        self._keep_ns = None if keep_days is None else keep_days * retention.DAY_NS
        self._lease = Lease(owner, started_ns=clock.wall_ns(), lease_s=lease_s)
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            if failpoints.armed:
                failpoints.hit("recovery.locked")
            self._connection = _connect(path, durability, busy_timeout_s, max_pages)
        except BaseException:
            self._lock.release()
            raise
        try:
            migrate.migrate(self._connection, migrate.shipped() if migrations is None else migrations, clock)
            if failpoints.armed:
                failpoints.hit("recovery.migrated")
            self._take_over()
        except BaseException as error:
            self._connection.close()
            self._lock.release()
            if isinstance(error, sqlite3.Error):
                raise LedgerUnavailable(explain(error)) from error
            raise

    def write(
        self, intents: Sequence[Intent], ends: Sequence[End], statements: Sequence[Statement] = ()
    ) -> Written:
        """All of them in one transaction: the statements, the intents, the ends. What is bad fails alone.

        Raises:
            GroupFailed: nothing of it was written.
        """
        connection = self._connection
        committing = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            if failpoints.armed:
                failpoints.hit("group.begun")
            results = [self._perform(statement) for statement in statements]
            if failpoints.armed:
                failpoints.hit("group.statements")
            refused = self._insert(intents) if intents else {}
            if failpoints.armed:
                failpoints.hit("group.intents")
            late, ignored = self._close(ends) if ends else (0, 0)
            if failpoints.armed:
                failpoints.hit("group.ends")
            committing = True
            connection.execute("COMMIT")
            if failpoints.armed:
                failpoints.hit("group.committed")
        except Exception as error:
            # A COMMIT that failed and left nothing to roll back may have been one.
            ambiguous = committing and not self._connection.in_transaction
            self._roll_back()
            raise GroupFailed(explain(error), ambiguous=ambiguous) from error
        return Written(refused=refused, late=late, ignored=ignored, results=results)

    def renew(self) -> bool:
        """Renew the lease; give up what processes without one have left open; clear away some of what has expired.

        Returns:
            Whether there may be more to clear.

        Raises:
            GroupFailed: not renewed.
        """
        now_ns = self._clock.wall_ns()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            if failpoints.armed:
                failpoints.hit("lease.renewing")
            self._lease.renew(self._connection, now_ns)
            self.recovered += give_up_abandoned(self._connection, now_ns)
            swept = idempotency_sql.sweep(self._connection, now_ns, _SWEPT) == _SWEPT
            swept |= spend_sql.sweep(self._connection, now_ns, _SWEPT_SPEND)
            if failpoints.armed:
                failpoints.hit("lease.renewed")
            self._connection.execute("COMMIT")
            if failpoints.armed:
                failpoints.hit("lease.committed")
            swept |= self._prune(now_ns)
        except Exception as error:
            self._roll_back()
            raise GroupFailed(explain(error), ambiguous=False) from error
        return swept

    def _prune(self, now_ns: int) -> bool:
        """A transaction of its own: what is deleted must not hold up a lease. Whether there may be more."""
        if self._keep_ns is None:
            return False
        self._connection.execute("BEGIN IMMEDIATE")
        gone = retention.prune(self._connection, now_ns - self._keep_ns)
        self._connection.execute("COMMIT")
        return gone == retention.STEP

    def close(self) -> None:
        """Give up the lease, empty the log into the database, let go of the lock. What fails here heals at
        the next start."""
        with contextlib.suppress(sqlite3.Error):
            if failpoints.armed:
                failpoints.hit("drain.written")
            self._lease.release(self._connection)
            if failpoints.armed:
                failpoints.hit("drain.released")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._lock.release()

    def _take_over(self) -> None:
        now_ns = self._clock.wall_ns()
        self._connection.execute("BEGIN IMMEDIATE")
        self._lease.renew(self._connection, now_ns)
        self._lease.sole(self._connection)
        if failpoints.armed:
            failpoints.hit("recovery.leased")
        self.recovered = give_up_abandoned(self._connection, now_ns)
        self.idempotency_secret = idempotency_sql.secret(self._connection)
        if failpoints.armed:
            failpoints.hit("recovery.ended")
        self._connection.execute("COMMIT")
        if failpoints.armed:
            failpoints.hit("recovery.committed")

    def _perform(self, statement: Statement) -> Result:
        connection = self._connection
        connection.execute("SAVEPOINT statement")
        try:
            answer = statement.run(connection)
            if failpoints.armed:
                failpoints.hit("group.statement")
            begun = statement.intent is not None and statement.begins(answer)
            if statement.intent is not None and begun:
                connection.execute(_INTENTS.one, intent_row(statement.intent, self.owner))
        except _ROW_FAULTS as fault:
            connection.execute("ROLLBACK TO statement")
            connection.execute("RELEASE statement")
            return Result(refused=f"it can't be stored: {fault}")
        connection.execute("RELEASE statement")
        return Result(answer, begun=begun)

    def _insert(self, intents: Sequence[Intent]) -> dict[int, str]:
        """Why each refused intent was, by its place."""
        connection = self._connection
        if len(intents) > 1:
            connection.execute("SAVEPOINT intents")
            try:
                _insert_all(connection, _INTENTS, [intent_row(intent, self.owner) for intent in intents])
            except _ROW_FAULTS:  # one of them is bad: one by one
                connection.execute("ROLLBACK TO intents")
            else:
                connection.execute("RELEASE intents")
                return {}
        refused: dict[int, str] = {}
        for place, intent in enumerate(intents):
            try:
                connection.execute(_INTENTS.one, intent_row(intent, self.owner))
            except _ROW_FAULTS as fault:
                refused[place] = f"the intent can't be stored: {fault}"
        return refused

    def _close(self, ends: Sequence[End]) -> tuple[int, int]:
        """How many were late, and how many had nothing to close."""
        connection = self._connection
        connection.execute("SAVEPOINT ends")
        try:
            closed = connection.executemany(_CLOSE, [end_row(end) for end in ends]).rowcount
            if closed == len(ends):
                if failpoints.armed:
                    failpoints.hit("group.closed")
                rows = [attempt_row(end.id, attempt) for end in ends for attempt in end.attempts]
                _insert_all(connection, _ATTEMPTS, rows)
                if failpoints.armed:
                    failpoints.hit("group.attempts")
                spend_sql.charge(connection, ends)
                connection.execute("RELEASE ends")
                return 0, 0
        except _ROW_FAULTS:
            pass
        # Rare: one of them is bad, late or a second one. executemany doesn't say which: one by one.
        connection.execute("ROLLBACK TO ends")
        late = ignored = 0
        for end in ends:
            closed_late = self._close_one(end)
            if closed_late is None:
                ignored += 1
            else:
                late += closed_late
        connection.execute("RELEASE ends")
        return late, ignored

    def _close_one(self, end: End) -> bool | None:
        """Whether it was late; ``None`` if there was nothing to close."""
        connection = self._connection
        connection.execute("SAVEPOINT one")
        late = False
        try:
            row = end_row(end)
            closed = connection.execute(_CLOSE, row).rowcount
            if not closed:
                late = True
                closed = connection.execute(_CLOSE_LATE, row).rowcount
            if closed:
                connection.executemany(_ATTEMPTS.one, [attempt_row(end.id, each) for each in end.attempts])
                if late:
                    spend_sql.take_back(connection, end.id)
                spend_sql.charge(connection, [end])
        except _ROW_FAULTS as fault:
            connection.execute("ROLLBACK TO one")
            late = False
            closed = self._close_unreadable(end, fault)
        connection.execute("RELEASE one")
        return late if closed else None

    def _close_unreadable(self, end: End, fault: Exception) -> int:
        """An end that no database takes must neither be lost nor be tried for ever: the request is closed at
        its bound."""
        message = f"the end can't be stored: {fault}"
        try:
            closed = self._connection.execute(
                _CLOSE_UNREADABLE, (self._clock.wall_ns(), message, end.id)
            ).rowcount
        except _ROW_FAULTS:
            return 0  # the id itself can't be bound, so no row has it
        if closed:
            spend_sql.charge_bound(self._connection, end.id)
        return closed

    def _roll_back(self) -> None:
        # Some errors (disk full, I/O) have rolled back already; if this fails too, the next BEGIN will say
        # so.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


class SqliteLedger(DatabaseLedger):
    """The ledger that a process writes: :meth:`open` it, ``aclose`` it."""

    def __init__(self, store: SqliteStore, clock: Clock, **options: Any) -> None:
        super().__init__(store, clock, **options)
        self.path = store.path
        self.owner = store.owner
        self.idempotency_secret = store.idempotency_secret
        self.recovered = store.recovered
        """Requests that a dead process had left open, closed as ``unknown`` when this one opened."""

    @property
    def where(self) -> Path:
        return self.path

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock,
        rng: Rng,
        durability: Durability = "process",
        busy_timeout_s: float = 2.0,
        max_pages: int | None = None,
        keep_days: int | None = None,
        max_queued: int = 100_000,
        close_s: float = 5.0,
    ) -> SqliteLedger:
        """Take the file over: lock, migrate, close what a dead process left open.

        Raises:
            ConfigError, LedgerUnavailable: as :class:`SqliteStore`.
        """
        store = await asyncio.to_thread(
            SqliteStore,
            path_of(url),
            owner=new_id(clock, rng),
            clock=clock,
            durability=durability,
            busy_timeout_s=busy_timeout_s,
            max_pages=max_pages,
            keep_days=keep_days,
        )
        return cls(store, clock, max_queued=max_queued, close_s=close_s)


def repair(path: Path, *, owner: str, clock: Clock) -> int:
    """Close what dead processes left open, as a start does; how many requests that were.

    Raises:
        ConfigError: no ledger there.
        LedgerUnavailable: a living process has it, and looks after it.
    """
    if not path.is_file():
        raise ConfigError(f"no ledger at {path}: nothing to repair")
    store = SqliteStore(path, owner=owner, clock=clock)
    store.close()
    return store.recovered


def path_of(url: str) -> Path:
    """The file that ``sqlite:///relative.db`` or ``sqlite:////absolute/path.db`` names.

    Raises:
        ConfigError: it names none.
    """
    scheme, separator, rest = url.partition(":///")
    if scheme != "sqlite" or not separator:
        raise ConfigError(f"ledger.url: {url!r} is not sqlite:///relative.db or sqlite:////absolute/path.db")
    if rest == ":memory:":
        raise ConfigError("ledger.url: a ledger in memory survives nothing: name a file, or use MemoryLedger")
    if not rest or rest.endswith("/") or "\0" in rest:
        raise ConfigError(f"ledger.url: {url!r} names no file")
    return Path(rest)


def explain(error: Exception) -> str:
    """What went wrong, and what to do."""
    name = getattr(error, "sqlite_errorname", None) or ""
    advice = _ADVICE.get("_".join(name.split("_")[:2]))
    return f"the ledger can't write ({error}): {advice}" if advice else f"the ledger can't write: {error}"


def _insert_all(connection: sqlite3.Connection, insert: _Insert, rows: Sequence[Row]) -> None:
    whole = len(rows) - len(rows) % _CHUNK
    for start in range(0, whole, _CHUNK):
        connection.execute(insert.chunk, tuple(chain.from_iterable(rows[start : start + _CHUNK])))
    connection.executemany(insert.one, rows[whole:])


def _connect(
    path: Path, durability: Durability, busy_timeout_s: float, max_pages: int | None
) -> sqlite3.Connection:
    try:
        # SQLite would make it readable to all; its -wal and -shm files take the mode from it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=32
        )
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnavailable(f"can't open {path}: {explain(error)}") from error
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise LedgerUnavailable(f"{path} can't be put into WAL mode (it is {mode}): use a local disk")
        connection.execute(_SYNCHRONOUS[durability])
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA journal_size_limit = 67108864")  # a log that once grew gives its room back
        if max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {int(max_pages)}")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise LedgerUnavailable(f"can't open {path}: {explain(error)}") from error
        raise
    return connection
