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

from holdfast.clock import new_id
from holdfast.errors import ConfigError, LedgerUnavailable, NotFound
from holdfast.ledger import migrate
from holdfast.ledger.lock import FileLock
from holdfast.ledger.reader import LedgerReader
from holdfast.ledger.recovery import LEASE_S, Lease, give_up_abandoned
from holdfast.ledger.rows import attempt_row, end_row, intent_row
from holdfast.ledger.writer import GroupFailed, GroupWriter, Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.clock import Clock, Rng
    from holdfast.ledger.entry import Counts, End, Intent, Record
    from holdfast.ledger.rows import Row

__all__ = ["Durability", "SqliteLedger", "SqliteStore", "explain", "path_of", "repair"]

Durability = Literal["process", "power"]

_CHECKPOINT_PAGES: Final = 4_000
"""16 MB of log before it is copied into the database: less often than that copies less in all, but in longer
pauses."""

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
    id, owner, started_ns, key, session, tags, route, model, dialect, stream, request_bytes, bound_nano
)""",
    columns=12,
)
_ATTEMPTS: Final = _insert_of(
    """
INSERT INTO attempts (
    request_id, number, provider, deployment, model, started_ns, outcome, status, error, retry_after_s,
    first_byte_ms, first_token_ms, total_ms, finish_reason, input_tokens, cache_read_tokens,
    cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, output_tokens, reasoning_tokens,
    output_audio_tokens, usage_extra, cost_nano, price_id, billed, upstream_id
)""",
    columns=27,
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
        migrations: Sequence[migrate.Migration] | None = None,
    ) -> None:
        if not path.parent.is_dir():
            raise ConfigError(f"ledger.url: the folder {path.parent} doesn't exist: make it, or name another")
        self.path = path
        self.owner = owner
        self.recovered = 0
        """Requests that a dead process had left open, closed as ``unknown`` at the start."""
        self._clock = clock
        self._lease = Lease(owner, started_ns=clock.wall_ns(), lease_s=lease_s)
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            self._connection = _connect(path, durability, busy_timeout_s, max_pages)
        except BaseException:
            self._lock.release()
            raise
        try:
            migrate.migrate(self._connection, migrate.shipped() if migrations is None else migrations, clock)
            self._take_over()
        except BaseException as error:
            self._connection.close()
            self._lock.release()
            if isinstance(error, sqlite3.Error):
                raise LedgerUnavailable(explain(error)) from error
            raise

    def write(self, intents: Sequence[Intent], ends: Sequence[End]) -> Written:
        """All of them in one transaction, the intents first. A bad row fails alone.

        Raises:
            GroupFailed: nothing of it was written.
        """
        connection = self._connection
        committing = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            refused = self._insert(intents) if intents else {}
            late, ignored = self._close(ends) if ends else (0, 0)
            committing = True
            connection.execute("COMMIT")
        except Exception as error:
            # A COMMIT that failed and left nothing to roll back may have been one.
            ambiguous = committing and not self._connection.in_transaction
            self._roll_back()
            raise GroupFailed(explain(error), ambiguous=ambiguous) from error
        return Written(refused=refused, late=late, ignored=ignored)

    def renew(self) -> None:
        """Renew the lease; give up what processes without one have left open.

        Raises:
            GroupFailed: not renewed.
        """
        now_ns = self._clock.wall_ns()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._lease.renew(self._connection, now_ns)
            self.recovered += give_up_abandoned(self._connection, now_ns)
            self._connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            raise GroupFailed(explain(error), ambiguous=False) from error

    def close(self) -> None:
        """Give up the lease, empty the log into the database, let go of the lock. What fails here heals at
        the next start."""
        with contextlib.suppress(sqlite3.Error):
            self._lease.release(self._connection)
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._lock.release()

    def _take_over(self) -> None:
        now_ns = self._clock.wall_ns()
        self._connection.execute("BEGIN IMMEDIATE")
        self._lease.renew(self._connection, now_ns)
        self._lease.sole(self._connection)
        self.recovered = give_up_abandoned(self._connection, now_ns)
        self._connection.execute("COMMIT")

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
                rows = [attempt_row(end.id, attempt) for end in ends for attempt in end.attempts]
                _insert_all(connection, _ATTEMPTS, rows)
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
            return self._connection.execute(
                _CLOSE_UNREADABLE, (self._clock.wall_ns(), message, end.id)
            ).rowcount
        except _ROW_FAULTS:
            return 0  # the id itself can't be bound, so no row has it

    def _roll_back(self) -> None:
        # Some errors (disk full, I/O) have rolled back already; if this fails too, the next BEGIN will say
        # so.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


class SqliteLedger(GroupWriter):
    """The ledger that a process writes: :meth:`open` it, ``aclose`` it."""

    def __init__(self, store: SqliteStore, clock: Clock, **options: Any) -> None:
        super().__init__(store, clock, **options)
        self.path = store.path
        self.owner = store.owner
        self.recovered = store.recovered
        """Requests that a dead process had left open, closed as ``unknown`` when this one opened."""

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
        )
        return cls(store, clock, max_queued=max_queued, close_s=close_s)

    async def get(self, request_id: str) -> Record | None:
        return await asyncio.to_thread(self._get, request_id)

    async def counts(self) -> Counts:
        return await asyncio.to_thread(self._counts)

    def _get(self, request_id: str) -> Record | None:
        with LedgerReader(self.path) as reader:
            try:
                return reader.show(request_id)
            except NotFound:
                return None

    def _counts(self) -> Counts:
        with LedgerReader(self.path) as reader:
            return reader.counts()


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
