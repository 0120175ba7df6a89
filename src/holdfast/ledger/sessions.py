"""Rows of sessions in the ledger's database: a session that is over stays over, also after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.ledger.base import SqlLedger
    from holdfast.ledger.statement import Connection

__all__ = ["MemorySessions", "SessionRow", "SessionStore", "SqlSessions"]

SessionRow: TypeAlias = tuple[str, str, int, int, "int | None", str, "int | None"]
"""``id, key, started_ns, ends_ns, ended_ns, state, warned_ns``. Times are nanoseconds since 1970 UTC."""

_GET: Final = (
    "SELECT id, key, started_ns, ends_ns, ended_ns, state, warned_ns FROM sessions WHERE key = ? AND id = ?"
)
_USABLE: Final = """
SELECT id, key, started_ns, ends_ns, ended_ns, state, warned_ns FROM sessions
WHERE ends_ns > ? AND state IN ('active', 'exhausted') ORDER BY ends_ns"""
_PUT: Final = """
INSERT INTO sessions (id, key, started_ns, ends_ns, ended_ns, state, warned_ns) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key, id) DO UPDATE SET
    ended_ns = CASE WHEN sessions.state = 'active' THEN excluded.ended_ns ELSE sessions.ended_ns END,
    state = CASE WHEN sessions.state = 'active' THEN excluded.state ELSE sessions.state END,
    warned_ns = COALESCE(sessions.warned_ns, excluded.warned_ns)"""


class SessionStore(Protocol):
    """Where rows of sessions are kept. Each call is durable when it returns.

    Raises:
        LedgerUnavailable: any of them, where the database can't be asked.
    """

    async def get(self, key: str, session_id: str) -> SessionRow | None:
        """That key's session of that id, over or not; None: there never was one."""
        ...

    async def active(self, now_ns: int) -> list[SessionRow]:
        """Those that nobody has ended and whose time isn't over, in the order in which it will be.

        The exhausted ones too: it is what they spent that has them refused, so that must be known as long as they may come.
        """
        ...

    async def put(self, rows: Sequence[SessionRow]) -> None:
        """Written, or brought up to date. When one began and when its time is over doesn't change, nor how it ended or when
        its caller was warned: whichever process wrote that first."""
        ...


class SqlSessions:
    """In the database that ``ledger`` writes, with the groups that it writes.

    Rows stay when a session is over: an id that was used is refused for good.
    """

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger

    async def get(self, key: str, session_id: str) -> SessionRow | None:
        def run(connection: Connection) -> Any:
            return connection.execute(_GET, (key, session_id)).fetchone()

        row: SessionRow | None = await self._ledger.ask(Statement(run=run, locks="sessions"))
        return row

    async def active(self, now_ns: int) -> list[SessionRow]:
        def run(connection: Connection) -> Any:
            return connection.execute(_USABLE, (now_ns,)).fetchall()

        rows: list[SessionRow] = await self._ledger.ask(Statement(run=run, locks="sessions"))
        return rows

    async def put(self, rows: Sequence[SessionRow]) -> None:
        def run(connection: Connection) -> None:
            connection.executemany(_PUT, sorted(rows, key=_place))

        await self._ledger.ask(Statement(run=run, locks="sessions"))


def _place(row: Sequence[Any]) -> Any:
    """Every process locks them in this order."""
    return row[1], row[0]


class MemorySessions:
    """Beside a ledger in memory. Survives nothing."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], SessionRow] = {}

    async def get(self, key: str, session_id: str) -> SessionRow | None:
        return self._rows.get((key, session_id))

    async def active(self, now_ns: int) -> list[SessionRow]:
        rows = [row for row in self._rows.values() if row[3] > now_ns and row[5] in ("active", "exhausted")]
        return sorted(rows, key=lambda row: row[3])

    async def put(self, rows: Sequence[SessionRow]) -> None:
        for row in rows:
            before = self._rows.get((row[1], row[0]), row)
            ended = row if before[5] == "active" else before
            warned_ns = row[6] if before[6] is None else before[6]
            self._rows[row[1], row[0]] = (*before[:4], *ended[4:6], warned_ns)
