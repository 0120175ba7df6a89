"""Requests that were over long ago are deleted, with their attempts, a few at a time. Off until somebody asks for it.

Never one that is open. What was spent of budgets is kept apart (``spend``), so a request isn't needed for what still counts;
nor is it for a stored answer, which stands under its idempotency key. A late end of a request that is gone is ignored, as
one that has nothing to close.

What was deleted can't be counted any more, so the ledger notes from when on it is whole (:func:`kept_since`): else whoever
adds it up would take a ledger that was shortened for one that lost something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from holdfast.ledger.read_only import ReadOnly

__all__ = ["DAY_NS", "STEP", "deleted", "due", "kept_since", "prune"]

DAY_NS: Final = 86_400 * 10**9
STEP: Final = 256
"""Requests in one transaction: a few milliseconds, which callers wait for."""

# Ordered by an index's column: a step begins where the one before ended, and passes over no more than what ran then.
_OLD: Final = """
FROM requests WHERE started_ns < {before} AND ended_ns < {before} AND state <> 'in_flight'"""
_SKIP: Final = "/*pg FOR UPDATE SKIP LOCKED pg*/"  # those that another process deletes just now
_NEXT: Final = f"SELECT id {_OLD.format(before='?')} ORDER BY started_ns, seq LIMIT ? {_SKIP}"
_DUE: Final = f"SELECT count(*) {_OLD.format(before=':before')}"
_THESE: Final = f"({', '.join('?' * STEP)})"
_DELETE_ATTEMPTS: Final = f"DELETE FROM attempts WHERE request_id IN {_THESE}"  # noqa: S608  # question marks
_DELETE: Final = f"DELETE FROM requests WHERE id IN {_THESE}"  # noqa: S608  # as above
_NOTE: Final = """
INSERT INTO pruned (what, before_ns, deleted) VALUES ('requests', ?, ?)
ON CONFLICT (what) DO UPDATE SET
    before_ns = CASE WHEN excluded.before_ns > pruned.before_ns THEN excluded.before_ns ELSE pruned.before_ns END,
    deleted = pruned.deleted + excluded.deleted"""
_NOTED: Final = "SELECT before_ns, deleted FROM pruned WHERE what = 'requests'"


def prune(connection: Any, before_ns: int, most: int = STEP) -> int:
    """Deletes up to ``most`` requests that ended before then, the oldest first; how many. The caller commits.

    Less than ``most``: there are no more, or another process is at them.

    Args:
        most: :data:`STEP` at most.
    """
    ids = [row[0] for row in connection.execute(_NEXT, (before_ns, before_ns, min(most, STEP))).fetchall()]
    if not ids:
        return 0
    # One statement for any number of them: the last one fills up.
    filled = ids + ids[-1:] * (STEP - len(ids))
    connection.execute(_DELETE_ATTEMPTS, filled)
    gone: int = connection.execute(_DELETE, filled).rowcount
    connection.execute(_NOTE, (before_ns, gone))
    return gone


def due(base: ReadOnly, before_ns: int) -> int:
    """How many requests :func:`prune` would delete in all. Within a snapshot."""
    ((count,),) = base.rows(_DUE, {"before": before_ns})
    return int(count)


def kept_since(base: ReadOnly) -> int:
    """Of requests that ended before then, some were deleted; 0: none ever was. Within a snapshot."""
    return _noted(base)[0]


def deleted(base: ReadOnly) -> int:
    """How many requests were deleted so far. Within a snapshot."""
    return _noted(base)[1]


def _noted(base: ReadOnly) -> tuple[int, int]:
    rows = base.rows(_NOTED, {})
    return rows[0] if rows else (0, 0)
