"""What was spent of budgets, in the ledger's database: charged in the transaction that ends a request.

A request that nobody ended is charged its bound, where its intent said. An end that comes after all takes that back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from holdfast.ledger.entry import AccountPart, Charge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.ledger.entry import End
    from holdfast.ledger.statement import Connection

__all__ = ["Bound", "charge", "charge_bound", "charge_bounds", "load", "raise_bound", "sweep", "take_back"]

_CHARGE: Final = """
INSERT INTO spend (account, start_ns, until_ns, amount) VALUES (?, ?, ?, ?)
ON CONFLICT (account, start_ns) DO UPDATE SET amount = spend.amount + excluded.amount"""

_TAKE_BACK: Final = "UPDATE spend SET amount = amount - ? WHERE account = ? AND start_ns = ? AND amount >= ?"

_BOUND: Final = "SELECT accounts, bound_nano, bound_tokens FROM requests WHERE id = ?"
_RAISE: Final = "UPDATE requests SET bound_nano = ?, bound_tokens = ? WHERE id = ? AND state = 'in_flight'"
_LOAD: Final = "SELECT account, start_ns, until_ns, amount FROM spend WHERE until_ns IS NULL OR until_ns > ?"
_SWEEP: Final = """
DELETE FROM spend WHERE (account, start_ns) IN (
    SELECT account, start_ns FROM spend WHERE until_ns <= ? ORDER BY until_ns LIMIT ? /*pg FOR UPDATE SKIP LOCKED pg*/
)"""

_SWEEP_SESSIONS: Final = """
DELETE FROM sessions WHERE (key, id) IN (
    SELECT key, id FROM sessions WHERE ends_ns <= ? ORDER BY ends_ns LIMIT ? /*pg FOR UPDATE SKIP LOCKED pg*/
)"""
_REMEMBERED_NS: Final = 33 * 86_400 * 10**9
"""How long an ended session's id is refused; what it spent is kept as long (:mod:`holdfast.money.window`)."""

_Row: TypeAlias = "tuple[str, int, int | None, int]"
Bound: TypeAlias = "tuple[str | None, int | None, int | None]"
"""A request's accounts, as they are stored, and its bound in nano-dollars and in tokens."""

_decode_accounts: Final = msgspec.json.Decoder(tuple[AccountPart, ...])


def charge(connection: Connection, ends: Iterable[End]) -> None:
    """What each request spent. The caller commits."""
    rows = [(each.account, each.start_ns, each.until_ns, each.amount) for end in ends for each in end.charges]
    if rows:
        connection.executemany(_CHARGE, sorted(rows, key=_place))


def charge_bounds(connection: Connection, bounds: Iterable[Bound]) -> None:
    """The bounds of requests that nobody ended. The caller has those locked, and commits."""
    rows = [each for bound in bounds for each in _charges(*bound)]
    connection.executemany(_CHARGE, sorted(rows, key=_place))


def charge_bound(connection: Connection, request_id: str) -> None:
    """The bound of one request whose end can't be stored."""
    charge_bounds(connection, connection.execute(_BOUND, (request_id,)).fetchall())


def take_back(connection: Connection, request_id: str) -> None:
    """What :func:`charge_bound` charged for one request, as far as it still counts."""
    for row in connection.execute(_BOUND, (request_id,)).fetchall():
        for account, start_ns, _, amount in sorted(_charges(*row), key=_place):
            connection.execute(_TAKE_BACK, (amount, account, start_ns, amount))


def raise_bound(
    connection: Connection, request_id: str, bound_nano: int | None, bound_tokens: int | None
) -> bool:
    """Whether there was an open request whose bound is now that."""
    return connection.execute(_RAISE, (bound_nano, bound_tokens, request_id)).rowcount == 1


def load(connection: Connection, now_ns: int) -> list[Charge]:
    """What still counts."""
    return [Charge(*row) for row in connection.execute(_LOAD, (now_ns,)).fetchall()]


def sweep(connection: Connection, now_ns: int, most: int) -> bool:
    """Clears away up to ``most`` amounts that don't count any more, and as many sessions that were over long ago.

    Returns:
        Whether there may be more. The caller commits.
    """
    spent = connection.execute(_SWEEP, (now_ns, most)).rowcount
    over = connection.execute(_SWEEP_SESSIONS, (now_ns - _REMEMBERED_NS, most)).rowcount
    return most in (spent, over)


def _charges(accounts: str | None, nano: int | None, tokens: int | None) -> list[_Row]:
    """What a request's bound charges. A bound that nobody knows charges nothing: no hard budget let it in."""
    charges = []
    for each in _decode_accounts.decode(accounts) if accounts else ():
        amount = nano if each.measure == "usd" else tokens
        if amount:
            charges.append((each.account, each.start_ns, each.until_ns, amount))
    return charges


def _place(row: Sequence[Any]) -> Any:
    """Everybody locks accounts in this order, so nobody waits in a circle."""
    return row[:2]
