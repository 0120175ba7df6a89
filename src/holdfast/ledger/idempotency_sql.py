"""Idempotency keys as statements on a connection. The caller is within a transaction, and commits."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from holdfast.ledger.idempotency import (
    Claimed,
    Conflict,
    Event,
    Running,
    State,
    Unknown,
    Unreplayable,
    sources,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.ledger.idempotency import Claim
    from holdfast.ledger.statement import Connection

__all__ = ["Kept", "claim", "forget", "give_up", "keep", "look", "lose", "over", "secret", "sweep"]


class Kept(Struct, frozen=True, kw_only=True):
    """A stored answer as it was read: not checked yet."""

    run_id: str
    since_ns: int
    fingerprint: bytes
    status: int
    headers: bytes
    body: bytes
    digest: bytes


def _any_of(states: Sequence[State]) -> str:
    return f"({', '.join(repr(state.value) for state in states)})"


_TRIES: Final = 8
"""A claim ends at the first, where one process writes. Each further one took another process that was faster."""

_MAKE_ONE: Final = "INSERT INTO secrets (name, value) VALUES ('idempotency', ?) ON CONFLICT DO NOTHING"
_THE_ONE: Final = "SELECT value FROM secrets WHERE name = 'idempotency'"
_STANDING: Final = """
SELECT state, run_id, since_ns, fingerprint, expires_ns FROM idempotency WHERE tenant = ? AND key = ?"""
_KEPT: Final = """
SELECT run_id, since_ns, fingerprint, status, headers, body, digest
FROM idempotency WHERE tenant = ? AND key = ?"""
_FREE: Final = "DELETE FROM idempotency WHERE tenant = ? AND key = ? AND expires_ns <= ?"
_CLAIM: Final = """
INSERT INTO idempotency (tenant, key, run_id, owner, fingerprint, since_ns, ttl_ns)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, key) DO NOTHING"""
_SETTLE: Final = (
    "UPDATE idempotency SET state = ?, expires_ns = ?, status = ?, headers = ?, digest = ?, body = ?"
)
_THIS: Final = """
WHERE tenant = ? AND key = ? AND run_id = ? AND (expires_ns IS NULL OR expires_ns > ?) AND state IN """
_FINISH: Final = _SETTLE + _THIS + _any_of(sources(Event.FINISH))
_SEAL: Final = _SETTLE + _THIS + _any_of(sources(Event.SEAL))
_LOSE: Final = _SETTLE + _THIS + _any_of(sources(Event.LOSE))
_FORGET: Final = "DELETE FROM idempotency" + _THIS + _any_of(sources(Event.FORGET))  # noqa: S608  # see above
_GIVE_UP: Final = f"""
UPDATE idempotency SET state = '{State.UNKNOWN}', expires_ns = ? + ttl_ns
WHERE seq IN (
    SELECT seq FROM idempotency
    WHERE state IN {_any_of(sources(Event.LOSE))} AND owner NOT IN (SELECT id FROM owners)
    /*pg FOR UPDATE SKIP LOCKED pg*/
)"""  # noqa: S608  # see above
_SWEEP: Final = """
DELETE FROM idempotency WHERE seq IN (
    SELECT seq FROM idempotency WHERE expires_ns <= ? ORDER BY expires_ns LIMIT ? /*pg FOR UPDATE SKIP LOCKED pg*/
)"""


def secret(connection: Connection) -> bytes:
    """This database's own, made at the first call."""
    connection.execute(_MAKE_ONE, (secrets.token_bytes(32),))
    value: bytes = connection.execute(_THE_ONE).fetchone()[0]
    return value


def claim(
    connection: Connection, claim: Claim, owner: str, now_ns: int
) -> Claimed | Running | Unreplayable | Unknown | Conflict | Kept:
    row = (claim.tenant, claim.key, claim.run_id, owner, claim.fingerprint, now_ns, claim.ttl_ns)
    for _ in range(_TRIES):
        if connection.execute(_CLAIM, row).rowcount == 1:
            return Claimed()
        standing = look(connection, claim.tenant, claim.key, now_ns, fingerprint=claim.fingerprint)
        if standing is not None:
            return standing
        # It has expired, or was freed just now. Where several processes see that, one of them is the next.
        connection.execute(_FREE, (claim.tenant, claim.key, now_ns))
    raise ValueError("the key changes hands too fast: try again")


def look(
    connection: Connection, tenant: str, key: str, now_ns: int, *, fingerprint: bytes | None = None
) -> Running | Unreplayable | Unknown | Conflict | Kept | None:
    """What stands there; None: the key is free. With a ``fingerprint`` another request's is a conflict."""
    row = connection.execute(_STANDING, (tenant, key)).fetchone()
    if row is None:
        return None
    state, run_id, since_ns, theirs, expires_ns = row
    if expires_ns is not None and expires_ns <= now_ns:
        return None
    if fingerprint is not None and fingerprint != theirs:
        return Conflict(run_id=run_id, since_ns=since_ns)
    if state == State.RUNNING:
        return Running(run_id=run_id, since_ns=since_ns)
    if state == State.UNKNOWN:
        return Unknown(run_id=run_id, since_ns=since_ns)
    if state == State.NOT_REPLAYABLE:
        return Unreplayable(
            run_id=run_id, since_ns=since_ns, why="its answer was too large to keep, or couldn't be"
        )
    # The body only now: it may be megabytes, and only this caller gets to see it.
    kept = connection.execute(_KEPT, (tenant, key)).fetchone()
    if kept is None or kept[0] != run_id:  # another process was faster: it has expired just now
        return None
    return Kept(**dict(zip(Kept.__struct_fields__, kept, strict=True)))


def keep(connection: Connection, claim: Claim, answer: tuple[int, bytes, bytes, bytes], now_ns: int) -> bool:
    """``answer``: status, headers, digest, body."""
    return _settle(connection, _FINISH, claim, (State.DONE, now_ns + claim.ttl_ns, *answer), now_ns)


def over(connection: Connection, claim: Claim, now_ns: int) -> bool:
    """It ended, and its answer isn't kept."""
    values = (State.NOT_REPLAYABLE, now_ns + claim.ttl_ns, None, None, None, None)
    return _settle(connection, _SEAL, claim, values, now_ns)


def lose(connection: Connection, claim: Claim, now_ns: int) -> bool:
    values = (State.UNKNOWN, now_ns + claim.ttl_ns, None, None, None, None)
    return _settle(connection, _LOSE, claim, values, now_ns)


def forget(connection: Connection, claim: Claim, now_ns: int) -> bool:
    return _settle(connection, _FORGET, claim, (), now_ns)


def _settle(connection: Connection, sql: str, claim: Claim, values: tuple[Any, ...], now_ns: int) -> bool:
    return connection.execute(sql, (*values, claim.tenant, claim.key, claim.run_id, now_ns)).rowcount == 1


def give_up(connection: Connection, now_ns: int) -> None:
    """Runs whose owner has no lease: nobody will say how they ended. Their time to live begins now."""
    connection.execute(_GIVE_UP, (now_ns,))


def sweep(connection: Connection, now_ns: int, most: int) -> int:
    """Clear up to ``most`` expired keys away; how many it were."""
    return connection.execute(_SWEEP, (now_ns, most)).rowcount
