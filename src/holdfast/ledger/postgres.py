"""The ledger in a PostgreSQL database that several processes write, each through one connection of its writer's thread.

What a group becomes is :mod:`holdfast.ledger.pg_writing`'s. Processes are told apart by their owner's id
(:mod:`holdfast.ledger.pg_lease`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import psycopg

from holdfast import failpoints
from holdfast.clock import new_id, system_rng
from holdfast.errors import HoldfastError, LedgerUnavailable
from holdfast.ledger import idempotency_sql, migrate, retention, spend_sql
from holdfast.ledger.pg_clock import DatabaseClock
from holdfast.ledger.pg_connection import connect
from holdfast.ledger.pg_errors import explain, is_conflict, is_row_fault, said
from holdfast.ledger.pg_lease import PgLease
from holdfast.ledger.pg_listen import PgListener
from holdfast.ledger.pg_writing import BadRow, Conflict, Group
from holdfast.ledger.recovery import LEASE_S
from holdfast.ledger.sql_ledger import DatabaseLedger
from holdfast.ledger.statement import Statement
from holdfast.ledger.writer import GroupFailed, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from holdfast.clock import Clock, Rng
    from holdfast.ledger.entry import End, Intent
    from holdfast.ledger.pg_connection import PgConnection

__all__ = ["PostgresLedger", "PostgresStore"]

_TIMEOUT_S: Final = 3.0
_SWEPT: Final = 256
"""Expired idempotency keys in one step. A row that is deleted is only marked, however large it is."""
_SWEPT_SPEND: Final = 512
"""Amounts of budgets that don't count any more, in one step."""

_SILENT: Final = "see whether it runs, and isn't overloaded; writing goes on by itself when it answers again"
_STILL_THERE: Final = (
    "the server hasn't ended a connection that was lost; writing goes on by itself when it has"
)

_INTRODUCE: Final = """
SELECT pid, CAST(backend_start AS text), CASE WHEN current_setting('synchronous_commit') = 'off'
    THEN set_config('synchronous_commit', 'on', false) END
FROM pg_stat_activity WHERE pid = pg_backend_pid()"""
"""A commit that isn't on disk when it is answered is none here, whatever the server's default is."""
_END_IT: Final = """
SELECT pg_terminate_backend(pid, ?) FROM pg_stat_activity WHERE pid = ? AND backend_start = CAST(? AS timestamptz)"""


class PostgresStore:
    """The connection that a process' writer has. Made by any thread, then used by one.

    Args:
        url: ``postgresql://…``, as libpq reads it. owner: this process' id, new for every start. clock: its monotonic time
        is used, and its wall until the database said its own. rng: for ids of later owners. timeout_s: how long a statement
        may take; the server ends it then, and a second later its connection is given up. lease_s: see
        :data:`holdfast.ledger.recovery.LEASE_S`. keep_days: requests that ended longer ago are deleted, a few at each
        renewal; ``None``: never.

    Raises:
        ConfigError: the URL or what is there can't be used.
        LedgerUnavailable: the server doesn't answer, or not now.
    """

    def __init__(
        self,
        url: str,
        *,
        owner: str,
        clock: Clock,
        rng: Rng | None = None,
        timeout_s: float = _TIMEOUT_S,
        lease_s: float = LEASE_S,
        keep_days: int | None = None,
        migrations: Sequence[migrate.Migration] | None = None,
    ) -> None:
        self.url = url
        self.owner = owner
        """Another one after this process was taken for dead."""
        self.clock = DatabaseClock(clock)
        self.recovered = 0
        """Requests of dead processes that were closed as ``unknown`` by this one."""
        self.living = 1
        """Processes that have a lease, as of the last renewal."""
        self.idempotency_secret = b""
        self.fenced: Callable[[], None] | None = None
        """Called in the writer's thread when this process finds itself taken for dead."""
        self._rng = rng or system_rng()
        self.timeout_s = timeout_s
        self._lease = PgLease(self.clock, lease_s=lease_s)
        self._keep_ns = None if keep_days is None else keep_days * retention.DAY_NS
        self._dead = False
        """It was taken for dead: nothing is begun until it has another id."""
        self._acknowledged = False
        """Nobody relies on the old id any more."""
        self._here: tuple[Any, ...] | None = None
        """The server's process behind the connection: its number, and when it began."""
        self._lost: tuple[Any, ...] | None = None
        """That of a connection that was lost."""
        self._connection: PgConnection | None = connect(url, timeout_s=timeout_s, name="holdfast")
        try:
            self._open(self._connection, migrations)
        except BaseException as error:
            self._drop()
            if isinstance(error, psycopg.Error):
                raise LedgerUnavailable(explain(error)) from error
            raise

    def write(
        self, intents: Sequence[Intent], ends: Sequence[End], statements: Sequence[Statement] = ()
    ) -> Written:
        """All of them in one transaction: the statements, the intents, the ends. What is bad fails alone.

        Raises:
            GroupFailed: nothing of it was written.
        """
        if self._dead and self._acknowledged:
            self._begin_anew()
        group = Group(self, intents, ends, statements)
        try:
            written = self._written(group)
        except Conflict:
            written = self._written(group)
        if failpoints.armed:
            failpoints.hit("group.committed")
        return written

    def renew(self) -> bool:
        """Renew the lease; give up what processes without one have left open; clear away some of what has expired.

        Returns:
            Whether there may be more to clear.

        Raises:
            GroupFailed: not renewed.
        """
        if self._dead and self._acknowledged:
            self._begin_anew()
        with self._transaction() as connection:
            if failpoints.armed:
                failpoints.hit("lease.renewing")
            renewed = self._lease.renew(connection, self.owner)
            if failpoints.armed:
                failpoints.hit("lease.renewed")
        if failpoints.armed:
            failpoints.hit("lease.committed")
        self.living = renewed.living
        if not renewed.alive:
            self.found_dead()
        with self._transaction() as connection:
            given_up, more = self._lease.recover(connection, self.owner, _sweep)
        self.recovered += given_up
        return self._prune() or more

    def _prune(self) -> bool:
        """A transaction of its own: what is deleted must not hold up a lease. Whether there may be more."""
        if self._keep_ns is None:
            return False
        with self._transaction() as connection:
            gone = retention.prune(connection, self.clock.wall_ns() - self._keep_ns)
        return gone == retention.STEP

    def close(self) -> None:
        """Give the lease up. What fails here heals when it has run out."""
        if failpoints.armed:
            failpoints.hit("drain.written")
        with contextlib.suppress(GroupFailed), self._transaction() as connection:
            self._lease.release(connection, self.owner)
        if failpoints.armed:
            failpoints.hit("drain.released")
        self._drop()

    def found_dead(self) -> None:
        """Others have taken this process for dead. From now on nothing is begun in its name."""
        if not self._dead:
            self._dead = True
            if self.fenced is not None:
                self.fenced()

    def acknowledge(self) -> None:
        """Nobody relies on what the old owner had: a new one may take its place. In the writer's thread."""
        self._acknowledged = True

    @property
    def dead(self) -> bool:
        return self._dead

    # How

    def _open(self, connection: PgConnection, migrations: Sequence[migrate.Migration] | None) -> None:
        self._introduce(connection)
        if failpoints.armed:
            failpoints.hit("recovery.locked")
        known = migrate.shipped(migrate.POSTGRES) if migrations is None else migrations
        patience, connection.raw.patience_s = connection.raw.patience_s, None  # another process may be at it
        migrate.migrate(connection, known, self.clock, migrate.POSTGRES)
        connection.raw.patience_s = patience
        if failpoints.armed:
            failpoints.hit("recovery.migrated")
        connection.execute("BEGIN")
        self._lease.register(connection, self.owner)
        self.living = self._lease.renew(connection, self.owner).living
        self.idempotency_secret = idempotency_sql.secret(connection)
        connection.execute("COMMIT")
        if failpoints.armed:
            failpoints.hit("recovery.leased")
        connection.execute("BEGIN")
        self.recovered, _ = self._lease.recover(connection, self.owner, _nothing)
        if failpoints.armed:
            failpoints.hit("recovery.ended")
        connection.execute("COMMIT")
        if failpoints.armed:
            failpoints.hit("recovery.committed")

    def _begin_anew(self) -> None:
        owner = new_id(self.clock, self._rng)
        with self._transaction() as connection:
            self._lease.register(connection, owner)
        self.owner = owner
        self._dead = self._acknowledged = False

    def _written(self, group: Group) -> Written:
        try:
            if not group.statements:
                return self._written_at_once(group)
            with self._transaction() as connection:
                if failpoints.armed:
                    failpoints.hit("group.begun")
                return group.write(connection)
        except BadRow:
            pass
        with self._transaction() as connection:
            return group.write_carefully(connection)

    def _written_at_once(self, group: Group) -> Written:
        """In one round trip: what stands in a pipeline is one transaction, which its end commits."""
        connection = self._connected()
        if failpoints.armed:
            failpoints.hit("group.begun")
        try:
            with connection.raw.pipeline():
                queued = group.queue(connection, alive=not self._dead)
        except Exception as error:
            lost = connection.raw.closed
            raise self._failed(connection, error, ambiguous=lost) from error
        written, left = group.read(queued)
        if not (left or (written.refused and not self._dead)):
            return written
        try:
            with self._transaction() as connection:
                group.explain(connection, written.refused)
                late, ignored = group.close_each(connection, left)
        except GroupFailed as failed:  # the others are written
            raise GroupFailed(failed.reason, ambiguous=True) from failed
        return Written(refused=written.refused, late=late, ignored=ignored)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[PgConnection]:
        """Raises GroupFailed: BadRow and Conflict where it is rolled back and may be tried in another way, or again."""
        connection = self._connected()
        committing = False
        try:
            connection.execute("BEGIN")
            yield connection
            committing = True
            connection.execute("COMMIT")
        except Exception as error:
            lost = connection.raw.closed
            raise self._failed(connection, error, ambiguous=committing and lost) from error

    def _failed(self, connection: PgConnection, error: Exception, *, ambiguous: bool) -> GroupFailed:
        """Rolls back. What to raise."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except psycopg.Error:
            pass
        reason = explain(error)
        if connection.raw.gave_up:
            reason = f"the ledger can't write (the server hasn't answered for {connection.raw.patience_s:g} s): {_SILENT}"
        if connection.raw.closed or connection.in_transaction:
            self._lost = self._here
            self._drop()
        if ambiguous:
            return GroupFailed(reason, ambiguous=True)
        if is_conflict(error):
            return Conflict(reason, ambiguous=False)
        if is_row_fault(error):
            return BadRow(said(error), ambiguous=False)
        return GroupFailed(reason, ambiguous=False)

    def _connected(self) -> PgConnection:
        """Where the server has ended the connection while nothing was asked of it, a new one."""
        if self._connection is not None and not self._connection.is_well():
            self._drop()
        if self._connection is None:
            try:
                self._connection = connect(self.url, timeout_s=self.timeout_s, name="holdfast")
                self._introduce(self._connection)
            except (HoldfastError, psycopg.Error) as error:
                self._drop()
                reason = str(error) if isinstance(error, HoldfastError) else explain(error)
                raise GroupFailed(reason, ambiguous=False) from error
        return self._connection

    def _introduce(self, connection: PgConnection) -> None:
        """What a new connection begins with. What was sent on one that was lost may be done yet, by a server that was only
        frozen: nothing is to come behind what is written from now on.

        Raises:
            LedgerUnavailable: the server still has the lost one.
        """
        if self._lost is not None:
            wait_ms = int(self.timeout_s * 500)
            ended = connection.execute(_END_IT, (wait_ms, *self._lost)).fetchone()
            if ended is not None and not ended[0]:
                raise LedgerUnavailable(f"the ledger can't write: {_STILL_THERE}")
            self._lost = None
        here = connection.execute(_INTRODUCE).fetchone()
        self._here = None if here is None else here[:2]

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()


def _sweep(connection: PgConnection, now_ns: int) -> bool:
    swept = idempotency_sql.sweep(connection, now_ns, _SWEPT) == _SWEPT
    return spend_sql.sweep(connection, now_ns, _SWEPT_SPEND) or swept


def _nothing(_connection: PgConnection, _now_ns: int) -> bool:
    return False


class PostgresLedger(DatabaseLedger):
    """The ledger that a process writes beside others: :meth:`open` it, ``aclose`` it."""

    shared = True

    def __init__(self, store: PostgresStore, **options: Any) -> None:
        self._store: PostgresStore
        super().__init__(store, store.clock, **options)
        self.clock = store.clock
        """Dates as all replicas have them: the database's."""
        self.idempotency_secret = store.idempotency_secret
        self.recovered = store.recovered
        """Requests that dead processes had left open, closed as ``unknown`` when this one opened."""
        self._loop = asyncio.get_running_loop()
        self._fenced: list[Callable[[], None]] = []
        store.fenced = self._found_dead
        self.listener = PgListener(store.url, timeout_s=store.timeout_s)
        """For what other processes say."""

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock,
        rng: Rng,
        timeout_s: float = _TIMEOUT_S,
        lease_s: float = LEASE_S,
        keep_days: int | None = None,
        max_queued: int = 100_000,
        close_s: float = 5.0,
    ) -> PostgresLedger:
        """Connect, migrate, take a lease, and close what dead processes left open.

        Raises:
            ConfigError, LedgerUnavailable: as :class:`PostgresStore`.
        """

        def opened() -> PostgresStore:
            owner = new_id(clock, rng)
            return PostgresStore(
                url,
                owner=owner,
                clock=clock,
                rng=rng,
                timeout_s=timeout_s,
                lease_s=lease_s,
                keep_days=keep_days,
            )

        store = await asyncio.to_thread(opened)
        return cls(store, max_queued=max_queued, close_s=close_s, lease_s=lease_s)

    @property
    def where(self) -> str:
        return self._store.url

    @property
    def owner(self) -> str:
        """This process' id: another one after it was taken for dead."""
        return self._store.owner

    @property
    def living(self) -> int:
        """Processes that have a lease, this one included, as of its last renewal."""
        return self._store.living

    async def aclose(self) -> None:
        await self.listener.aclose()
        await super().aclose()

    def on_fenced(self, callback: Callable[[], None]) -> None:
        """``callback`` is called, on the event loop, whenever this process finds that others took it for dead: what it had
        set aside of budgets is gone, and its open requests are ``unknown`` and charged at their bounds. Until all callbacks
        are through nothing is begun; then it goes on under another :attr:`owner`. It must not raise."""
        self._fenced.append(callback)

    def _found_dead(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody begins anything any more
            self._loop.call_soon_threadsafe(self._tell_fenced)

    def _tell_fenced(self) -> None:
        for callback in self._fenced:
            callback()
        # Behind everything that was queued while the callbacks didn't know.
        acknowledge = Statement(run=lambda _: self._store.acknowledge())
        self.post(Statement(run=acknowledge.run, instead=acknowledge))
