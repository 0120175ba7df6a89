"""Blocks in PostgreSQL: leased in transactions of their own, on a connection beside the writer's.

Whoever leases holds the accounts' locks until it commits, taken in the accounts' order, and sees in one statement behind
them what is spent and who has which block. Ends of requests move amounts from a block to what is spent, and take no lock of
an account for it: the sum stays, or grows by what a bill was above its bound. Only rows of ``blocks`` are written here, in
the accounts' order, as ends do: nobody waits in a circle.

Who is called (:mod:`holdfast.ledger.pg_listen`) gives back, and who may have missed a call does so of every account.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import psycopg

from holdfast.errors import HoldfastError, LedgerUnavailable
from holdfast.ledger.blocks import Grant, granted
from holdfast.ledger.pg_clock import NOW_NS
from holdfast.ledger.pg_connection import connect
from holdfast.ledger.pg_errors import explain, is_conflict
from holdfast.ledger.pg_lease import ALIVE, HOLD
from holdfast.ledger.pg_listen import notify
from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.ledger.blocks import Listener, Want
    from holdfast.ledger.pg_connection import PgConnection
    from holdfast.ledger.postgres import PostgresLedger

__all__ = ["CHANNEL", "PostgresAuthority"]

CHANNEL: Final = "holdfast_blocks"
_CALL: Final = "call"
_FORGET: Final = "forget"
_TIMEOUT_S: Final = 1.5
"""Of each statement: below what a request waits for an answer (:mod:`holdfast.money.leases`)."""

_NOW: Final = f"(SELECT COALESCE(CAST(? AS bigint), {NOW_NS}) AS now_ns) AS clock"
_ACCOUNTS: Final = "json_to_recordset(CAST(? AS json)) AS wanted(account text, missing bigint)"

_LOCK: Final = f"""
SELECT pg_advisory_xact_lock(hashtextextended('holdfast block ' || account, 0))
FROM (SELECT account FROM {_ACCOUNTS} ORDER BY account COLLATE "C" OFFSET 0) AS ordered"""  # noqa: S608  # constants
_LOOK: Final = f"""
SELECT wanted.account,
    (SELECT CAST(COALESCE(sum(amount), 0) AS bigint) FROM spend
     WHERE spend.account = wanted.account AND (until_ns IS NULL OR until_ns > now_ns)),
    (SELECT CAST(COALESCE(sum(amount), 0) AS bigint) FROM blocks
     WHERE blocks.account = wanted.account AND blocks.owner = ?),
    (SELECT CAST(COALESCE(sum(amount), 0) AS bigint) FROM blocks
     WHERE blocks.account = wanted.account AND blocks.owner <> ?),
    (SELECT count(*) FROM owners)
FROM {_ACCOUNTS}, {_NOW}"""  # noqa: S608  # as above
_FREES: Final = f"""
SELECT wanted.account, (
    SELECT until_ns FROM (
        SELECT until_ns, sum(amount) OVER (ORDER BY until_ns) AS freed FROM spend
        WHERE spend.account = wanted.account AND until_ns > now_ns
    ) AS leaving WHERE freed >= wanted.missing ORDER BY until_ns LIMIT 1
) FROM {_ACCOUNTS}, {_NOW}"""  # noqa: S608  # as above
_GRANT: Final = """
INSERT INTO blocks (account, owner, amount)
SELECT account, ?, amount FROM json_to_recordset(CAST(? AS json)) AS given(account text, amount bigint)
ORDER BY account COLLATE "C"
ON CONFLICT (account, owner) DO UPDATE SET amount = blocks.amount + excluded.amount"""
_ID: Final = "SELECT CAST(pg_current_xact_id() AS text)"
_STATUS: Final = "SELECT pg_xact_status(CAST(? AS xid8))"
_LOCK_MINE: Final = """
SELECT account FROM blocks
WHERE owner = ? AND account IN (SELECT account FROM json_to_recordset(CAST(? AS json)) AS back(account text))
ORDER BY account FOR UPDATE"""
_LOWER: Final = """
UPDATE blocks SET amount = greatest(blocks.amount - back.amount, 0)
FROM json_to_recordset(CAST(? AS json)) AS back(account text, amount bigint)
WHERE blocks.account = back.account AND blocks.owner = ? AND back.amount IS NOT NULL"""
_DROP: Final = """
DELETE FROM blocks USING json_to_recordset(CAST(? AS json)) AS back(account text, amount bigint)
WHERE blocks.account = back.account AND blocks.owner = ? AND back.amount IS NULL"""
_SPENT: Final = f"""
SELECT wanted.account,
    (SELECT CAST(COALESCE(sum(amount), 0) AS bigint) FROM spend
     WHERE spend.account = wanted.account AND (until_ns IS NULL OR until_ns > now_ns))
FROM {_ACCOUNTS}, {_NOW}"""  # noqa: S608  # as above
_FORGOTTEN: Final = "DELETE FROM spend WHERE account = ?"

_encoder: Final = msgspec.json.Encoder()
_T = TypeVar("_T")


class PostgresAuthority:
    """One process' way to the database that its ledger is in.

    Args:
        ledger: whose owner the blocks are.
        timeout_s: how long a statement may take; the server ends it then.
        now_ns: tests' own time; None: the database's.
    """

    def __init__(
        self,
        ledger: PostgresLedger,
        *,
        timeout_s: float = _TIMEOUT_S,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        self._ledger = ledger
        self._timeout_s = timeout_s
        self._now_ns = now_ns
        self._connection: PgConnection | None = None
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="holdfast-blocks")
        self._listener: Listener | None = None
        self._closed = False

    async def lease(self, wants: Sequence[Want]) -> list[Grant]:
        owner = self._ledger.owner
        try:
            return await self._run(lambda: self._lease(owner, wants))
        except (
            _Dead
        ):  # the writer may not know it yet; and it takes a new name with the next group that it writes
            self._ledger.post(Statement(run=_nothing, owner=owner))
            raise

    async def give_back(self, amounts: Mapping[str, int | None]) -> None:
        owner = self._ledger.owner
        rows = _encode([{"account": _clean(name), "amount": amount} for name, amount in amounts.items()])

        def back(connection: PgConnection) -> None:
            connection.execute(_LOCK_MINE, (owner, rows))
            connection.execute(_LOWER, (rows, owner))
            connection.execute(_DROP, (rows, owner))

        await self._run(lambda: self._transact(back))

    async def spent(self, accounts: Sequence[str]) -> dict[str, int]:
        cleaned = {_clean(account): account for account in accounts}
        rows = _encode([{"account": account} for account in cleaned])
        now_ns = self._at()

        def look(connection: PgConnection) -> dict[str, int]:
            found = connection.execute(_SPENT, (rows, now_ns)).fetchall()
            return {cleaned[account]: amount for account, amount in found}

        return await self._run(lambda: self._transact(look))

    async def forget(self, account: str) -> None:
        owner = self._ledger.owner

        def forget(connection: PgConnection) -> None:
            connection.execute(_FORGOTTEN, (account,))
            notify(connection, CHANNEL, f"{_FORGET} {owner} {account}")

        await self._run(lambda: self._transact(forget))

    def listen(self, listener: Listener) -> None:
        self._listener = listener
        self._ledger.on_fenced(listener.fenced)
        self._ledger.listener.listen(CHANNEL, self._heard)

    async def aclose(self) -> None:
        self._closed = True
        self._listener = None
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._aside(connection.close)
        self._threads.shutdown(wait=False)

    # In the thread

    def _lease(self, owner: str, wants: Sequence[Want]) -> list[Grant]:
        names = [_clean(want.account) for want in wants]
        now_ns = self._at()

        def lease(connection: PgConnection) -> tuple[str | None, list[Grant]]:
            asked = _encode([{"account": name} for name in names])
            with connection.raw.pipeline():
                connection.execute(HOLD, (owner,))
                alive = connection.execute(ALIVE, (owner,))
                connection.execute(_LOCK, (asked,))
                looked = connection.execute(_LOOK, (owner, owner, asked, now_ns))
            if alive.fetchone() is None:
                raise _Dead("this process was taken for dead by another one, and begins anew")
            stands = {name: stand for name, *stand in looked.fetchall()}
            grants = [_judged(want, *stands[name]) for name, want in zip(names, wants, strict=True)]
            given = [
                {"account": name, "amount": grant.amount}
                for name, grant in zip(names, grants, strict=True)
                if grant.amount
            ]
            for name, grant in zip(names, grants, strict=True):
                if not grant.amount and grant.elsewhere:
                    notify(connection, CHANNEL, f"{_CALL} {owner} {name}")
            if len(given) < len(grants):
                grants = self._with_dates(connection, names, wants, grants, now_ns)
            if not given:
                return None, grants
            connection.execute(_GRANT, (owner, _encode(given)))
            row = connection.execute(_ID).fetchone()
            return (None if row is None else row[0]), grants

        begun: tuple[str | None, list[Grant]] = (None, [])

        def noted(connection: PgConnection) -> list[Grant]:
            nonlocal begun
            begun = lease(connection)
            return begun[1]

        try:
            return self._transact(noted)
        except _Ambiguous:
            if self._came_about(begun[0]):
                return begun[1]
            raise

    def _with_dates(
        self,
        connection: PgConnection,
        names: Sequence[str],
        wants: Sequence[Want],
        grants: Sequence[Grant],
        now_ns: int | None,
    ) -> list[Grant]:
        """Where there was no room: when there will be."""
        lacking = [
            {
                "account": name,
                "missing": grant.spent + grant.mine + grant.elsewhere + want.least - want.limit,
            }
            for name, want, grant in zip(names, wants, grants, strict=True)
            if not grant.amount
        ]
        dates = dict(connection.execute(_FREES, (_encode(lacking), now_ns)).fetchall())
        return [
            grant if grant.amount else msgspec.structs.replace(grant, frees_ns=dates.get(name))
            for name, grant in zip(names, grants, strict=True)
        ]

    def _came_about(self, transaction: str | None) -> bool:
        """Whether a transaction was committed whose connection was lost while it was."""
        if transaction is None:
            return False
        try:
            row = self._connected().execute(_STATUS, (transaction,)).fetchone()
        except (psycopg.Error, HoldfastError):
            self._drop()
            return False
        return row is not None and row[0] == "committed"

    def _transact(self, work: Callable[[PgConnection], _T]) -> _T:
        """In a transaction; once more where another one was in the way.

        Raises:
            LedgerUnavailable: it didn't come about.
            _Ambiguous: or nobody can say.
        """
        try:
            return self._once(work)
        except _Conflict:
            return self._once(work)

    def _once(self, work: Callable[[PgConnection], _T]) -> _T:
        connection, committing = self._connected(), False
        try:
            connection = self._begun(connection)
            answer = work(connection)
            committing = True
            connection.execute("COMMIT")
        except Exception as error:
            lost = connection.raw.closed
            self._roll_back(connection)
            if isinstance(error, LedgerUnavailable):
                raise
            if not isinstance(error, psycopg.Error):
                raise LedgerUnavailable(f"what may be spent can't be asked: {error!r}") from error
            if committing and lost:
                raise _Ambiguous(explain(error)) from error
            if is_conflict(error):
                raise _Conflict(explain(error)) from error
            raise LedgerUnavailable(explain(error)) from error
        return answer

    def _begun(self, connection: PgConnection) -> PgConnection:
        """A transaction. Where the connection was lost while it was idle, on a new one: no request is refused for that."""
        try:
            connection.execute("BEGIN")
        except psycopg.OperationalError:
            if connection.raw.gave_up or not connection.raw.closed:
                raise
            self._drop()
            connection = self._connected()
            connection.execute("BEGIN")
        return connection

    def _connected(self) -> PgConnection:
        if self._connection is None:
            try:
                self._connection = connect(
                    self._ledger.where, timeout_s=self._timeout_s, name="holdfast blocks"
                )
            except LedgerUnavailable:
                raise
            except HoldfastError as error:
                raise LedgerUnavailable(str(error)) from error
        return self._connection

    def _roll_back(self, connection: PgConnection) -> None:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _at(self) -> int | None:
        return None if self._now_ns is None else self._now_ns()

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._closed:
            raise LedgerUnavailable("the ledger is closed")
        return await self._aside(work)

    async def _aside(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _heard(self, said: str | None) -> None:
        """On the loop: what another process said, or that something may have been missed."""
        listener = self._listener
        if listener is None:
            return
        if said is None:
            listener.called(None)
            return
        kind, _, rest = said.partition(" ")
        owner, _, account = rest.partition(" ")
        if owner == self._ledger.owner:
            return
        if kind == _CALL:
            listener.called(account)
        elif kind == _FORGET:
            listener.forgotten(account)


class _Dead(LedgerUnavailable):
    """The owner was given up."""


class _Ambiguous(LedgerUnavailable):
    """The connection was lost in a commit."""


class _Conflict(LedgerUnavailable):
    """Another transaction was in the way."""


def _nothing(_: object) -> None:
    """What a group is written for that has nothing else."""


def _judged(want: Want, spent: int, mine: int, elsewhere: int, owners: int) -> Grant:
    amount = granted(want, room=want.limit - spent - mine - elsewhere, owners=max(1, owners))
    return Grant(account=want.account, amount=amount, spent=spent, mine=mine, elsewhere=elsewhere)


def _encode(rows: list[dict[str, Any]]) -> str:
    return _encoder.encode(rows).decode()


def _clean(account: str) -> str:
    """As the writer's rows have it: PostgreSQL's text has no NUL."""
    return account.replace("\0", "\ufffd")
