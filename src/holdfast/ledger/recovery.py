"""What becomes of requests whose process died: ``unknown``, at the upper bound of what they may have cost.

A request is given up only when its owner's lease has run out, and has been taken away by whoever saw that: an owner without
a row is dead. An end that comes later anyway (its process
was only frozen) replaces the guess, and the row is marked ``late``. Idempotency keys whose run was its are ``unknown``
from then on, by the same rule, and its budgets are charged that bound.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from holdfast import failpoints
from holdfast.ledger import idempotency_sql, spend_sql

if TYPE_CHECKING:
    from holdfast.ledger.statement import Connection

__all__ = ["LEASE_S", "Lease", "give_up_abandoned", "give_up_orphans"]

LEASE_S: Final = 30.0
"""A process that hasn't renewed for this long is dead. It renews three times as often."""

_RENEW: Final = """
INSERT INTO owners (id, pid, host, started_ns, renewed_ns, expires_ns) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET renewed_ns = excluded.renewed_ns, expires_ns = excluded.expires_ns"""

_EXPIRE: Final = "DELETE FROM owners WHERE expires_ns <= ?"
# Locked: where ends are written meanwhile, each comes late, or in time and then isn't waited for: it is charged once.
_ORPHANS: Final = """
SELECT id, accounts, bound_nano, bound_tokens FROM requests
WHERE state = 'in_flight' AND owner NOT IN (SELECT id FROM owners) ORDER BY id /*pg FOR UPDATE SKIP LOCKED pg*/"""
_GIVE_UP: Final = """
UPDATE requests SET state = 'unknown', settled_by = 'recovery', ended_ns = ?, cost_nano = bound_nano
WHERE id = ? AND state = 'in_flight'"""
_DROP_BLOCKS: Final = "DELETE FROM blocks WHERE owner NOT IN (SELECT id FROM owners)"


class Lease:
    """This process' row in ``owners``. The caller commits.

    Args:
        owner: an id of its own for every start.
        lease_s: seconds from one renewal to expiry.
    """

    def __init__(self, owner: str, *, started_ns: int, lease_s: float = LEASE_S) -> None:
        self.owner = owner
        self._started_ns = started_ns
        self._lease_ns = int(lease_s * 1e9)
        self._pid = os.getpid()
        self._host = socket.gethostname()

    def renew(self, connection: Connection, now_ns: int) -> None:
        """Also brings a row back that was cleared while this process was frozen."""
        row = (self.owner, self._pid, self._host, self._started_ns, now_ns, now_ns + self._lease_ns)
        connection.execute(_RENEW, row)

    def release(self, connection: Connection) -> None:
        connection.execute("DELETE FROM owners WHERE id = ?", (self.owner,))

    def sole(self, connection: Connection) -> None:
        """End every other lease. Only for who can prove that the others are dead: the holder of the file's
        lock."""
        connection.execute("DELETE FROM owners WHERE id <> ?", (self.owner,))


def give_up_abandoned(connection: Connection, now_ns: int) -> int:
    """Take expired leases away, and :func:`give_up_orphans`; how many requests that were. The caller commits."""
    connection.execute(_EXPIRE, (now_ns,))
    return give_up_orphans(connection, now_ns)


def give_up_orphans(connection: Connection, now_ns: int) -> int:
    """Close every open request whose owner has no lease; how many. What such owners had set aside of budgets is free.

    The caller commits. Of what others lock too, keys of idempotency come first, then requests, accounts, blocks.
    """
    idempotency_sql.give_up(connection, now_ns)
    orphans = connection.execute(_ORPHANS).fetchall()
    if orphans:
        connection.executemany(_GIVE_UP, [(now_ns, request_id) for request_id, *_ in orphans])
        if failpoints.armed:
            failpoints.hit("recovery.closed")
        spend_sql.charge_bounds(
            connection, [(accounts, nano, tokens) for _, accounts, nano, tokens in orphans]
        )
        if failpoints.armed:
            failpoints.hit("recovery.charged")
    connection.execute(_DROP_BLOCKS)
    return len(orphans)
