"""A process' lease in PostgreSQL, where others judge it: who doesn't renew it is taken for dead, and fenced off.

All times are the database's. Whoever writes in an owner's name holds that owner's lock, shared, until it commits, and sees
within it that the owner has a row; whoever takes the row away holds the lock alone. So no request is begun, and nothing is
claimed, in the name of an owner that was given up.

Nobody is given up for not renewing while nobody could: for one lease after the server started, after this process itself
couldn't renew for as long, and after the database's clock was set.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from holdfast.ledger.pg_clock import NOW_NS
from holdfast.ledger.recovery import LEASE_S, give_up_orphans

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.ledger.pg_clock import DatabaseClock
    from holdfast.ledger.pg_connection import PgConnection

__all__ = ["ALIVE", "HOLD", "PgLease", "Renewed"]

HOLD: Final = "SELECT pg_advisory_xact_lock_shared(hashtextextended('holdfast owner ' || ?, 0))"
"""Takes the owner's lock, shared, until the transaction's end. Before, and in a statement of its own: what the next one sees
is of the moment in which that begins."""
ALIVE: Final = "SELECT 1 FROM owners WHERE id = ?"
"""Whether it wasn't given up. Holds for as long as the lock."""

_TRY_ALONE: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('holdfast owner ' || ?, 0))"
_TRY_RECOVERY: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('holdfast recovery', 0))"

_REGISTER: Final = f"""
INSERT INTO owners (id, pid, host, started_ns, renewed_ns, expires_ns)
SELECT ?, ?, ?, now_ns, now_ns, now_ns + ? FROM (SELECT {NOW_NS} AS now_ns) AS clock"""  # noqa: S608  # a constant
_RENEW: Final = f"""
UPDATE owners SET renewed_ns = now_ns, expires_ns = now_ns + ?
FROM (SELECT {NOW_NS} AS now_ns) AS clock WHERE id = ?"""  # noqa: S608  # as above
_LOOK: Final = f"""
SELECT now_ns, (SELECT count(*) FROM owners WHERE expires_ns > now_ns),
    now_ns - CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000000 AS BIGINT)
FROM (SELECT {NOW_NS} AS now_ns) AS clock"""  # noqa: S608  # as above
_EXPIRED: Final = "SELECT id FROM owners WHERE expires_ns <= ? AND id <> ? ORDER BY id"
_TAKE_AWAY: Final = "DELETE FROM owners WHERE id = ? AND expires_ns <= ?"
_RELEASE: Final = "DELETE FROM owners WHERE id = ?"


class Renewed(Struct, frozen=True):
    """What a renewal found."""

    alive: bool
    """False: others have taken this process for dead."""
    living: int
    """How many processes have a lease, this one included."""


class PgLease:
    """This process' row in ``owners``, and its look at the others'. Used by the writer's thread.

    Args:
        clock: set anew at every renewal. lease_s: seconds from one renewal to expiry.
    """

    def __init__(self, clock: DatabaseClock, *, lease_s: float = LEASE_S) -> None:
        self._clock = clock
        self._lease_ns = int(lease_s * 1e9)
        self._lease_s = lease_s
        self._renewed_at: float | None = None
        self._calm_until = float("-inf")
        """Until then, on the monotonic clock, nobody is given up."""

    def register(self, connection: PgConnection, owner: str) -> None:
        """A new owner; in a transaction of its own."""
        connection.execute(_REGISTER, (owner, os.getpid(), socket.gethostname(), self._lease_ns))

    def renew(self, connection: PgConnection, owner: str) -> Renewed:
        """In a transaction of its own. Never brings a row back that was taken away."""
        alive = connection.execute(_RENEW, (self._lease_ns, owner)).rowcount == 1
        before = self._clock.monotonic()
        now_ns, living, up_ns = connection.execute(_LOOK).fetchone() or (0, 1, 0)
        after = self._clock.monotonic()
        steady = self._clock.measured(now_ns, before, after)
        late = self._renewed_at is not None and after - self._renewed_at > self._lease_s
        self._renewed_at = after
        if late or not steady:
            self._calm_until = after + self._lease_s
        if up_ns < self._lease_ns:
            self._calm_until = max(self._calm_until, after + (self._lease_ns - up_ns) / 1e9)
        return Renewed(alive=alive, living=max(living, 1))

    def recover(
        self, connection: PgConnection, me: str, swept: Callable[[PgConnection, int], bool]
    ) -> tuple[int, bool]:
        """Give up who is dead, close what it has left open, and clear away; where another process is at that, nothing.

        In a transaction, all of it.

        Args:
            me: this process' owner. swept: clears a little away; whether there is more.

        Returns:
            How many requests were closed, and whether there is more to do.
        """
        if not _true(connection, _TRY_RECOVERY, ()):
            return 0, False
        now_ns = self._clock.wall_ns()
        if self._clock.monotonic() >= self._calm_until:
            for (owner,) in connection.execute(_EXPIRED, (now_ns, me)).fetchall():
                # Who has it is about to commit something in that name: it lives, and will renew.
                if _true(connection, _TRY_ALONE, (owner,)):
                    connection.execute(_TAKE_AWAY, (owner, now_ns))
        return give_up_orphans(connection, now_ns), swept(connection, now_ns)

    def release(self, connection: PgConnection, owner: str) -> None:
        """It ends in order. What it leaves open all the same, nobody will end. In a transaction, all of it."""
        connection.execute(_RELEASE, (owner,))
        give_up_orphans(connection, self._clock.wall_ns())


def _true(connection: PgConnection, sql: str, values: tuple[str, ...]) -> bool:
    row = connection.execute(sql, values).fetchone()
    return row is not None and row[0] is True
