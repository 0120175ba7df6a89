"""What becomes of requests whose process died: ``unknown``, at the upper bound of what they may have cost.

A request is given up only when its owner's lease has run out, by compare-and-set in the database: the
statement that judges the lease is the one that closes the row. An end that comes later anyway (its process
was only frozen) replaces the guess, and the row is marked ``late``.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

__all__ = ["LEASE_S", "Lease", "give_up_abandoned"]

LEASE_S: Final = 30.0
"""A process that hasn't renewed for this long is dead. It renews three times as often."""

_RENEW: Final = """
INSERT INTO owners (id, pid, host, started_ns, renewed_ns, expires_ns) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET renewed_ns = excluded.renewed_ns, expires_ns = excluded.expires_ns"""

_GIVE_UP: Final = """
UPDATE requests
SET state = 'unknown', settled_by = 'recovery', ended_ns = ?, cost_nano = bound_nano
WHERE state = 'in_flight' AND owner NOT IN (SELECT id FROM owners WHERE expires_ns > ?)"""


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

    def renew(self, connection: sqlite3.Connection, now_ns: int) -> None:
        """Also brings a row back that was cleared while this process was frozen."""
        row = (self.owner, self._pid, self._host, self._started_ns, now_ns, now_ns + self._lease_ns)
        connection.execute(_RENEW, row)

    def release(self, connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM owners WHERE id = ?", (self.owner,))

    def sole(self, connection: sqlite3.Connection) -> None:
        """End every other lease. Only for who can prove that the others are dead: the holder of the file's
        lock."""
        connection.execute("DELETE FROM owners WHERE id <> ?", (self.owner,))


def give_up_abandoned(connection: sqlite3.Connection, now_ns: int) -> int:
    """Close every open request whose owner has no living lease; how many. The caller commits."""
    given_up = connection.execute(_GIVE_UP, (now_ns, now_ns)).rowcount
    connection.execute("DELETE FROM owners WHERE expires_ns <= ?", (now_ns,))
    return given_up
