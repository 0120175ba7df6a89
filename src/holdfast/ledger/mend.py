"""What repairing a ledger would do, or did: told from the ledger itself.

The repair is what every writer does when it opens a ledger and at each renewal of its lease
(:mod:`holdfast.ledger.recovery`): there is one way in which the dead are given up, and no second one for operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from holdfast.ledger.reader import Filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.clock import Clock
    from holdfast.ledger.entry import Record
    from holdfast.ledger.mender import Mender
    from holdfast.ledger.reader import LedgerReader

__all__ = ["Mended", "clear", "mendable", "mended", "now_ns"]

_DEAD: Final = "owner NOT IN (SELECT id FROM owners WHERE expires_ns > :judged)"
_OPEN: Final = f"SELECT id FROM requests WHERE state = 'in_flight' AND {_DEAD} ORDER BY seq"  # noqa: S608  # a constant
_RUNNING: Final = f"SELECT count(*) FROM idempotency WHERE state = 'running' AND {_DEAD}"  # noqa: S608  # see above
_BLOCKS: Final = f"SELECT count(*) FROM blocks WHERE {_DEAD}"  # noqa: S608  # see above
_LOST: Final = "SELECT count(*) FROM idempotency WHERE state = 'unknown' AND expires_ns - ttl_ns >= :since"
_OVER: Final = """
SELECT (SELECT count(*) FROM spend WHERE until_ns <= :now) + (SELECT count(*) FROM idempotency WHERE expires_ns <= :now)"""
_LATEST_NS: Final = 2**63 - 1
_MOST_STEPS: Final = 1_000_000
"""Beside gateways that are never done with it, clearing away comes to an end all the same."""


class Mended(Struct, frozen=True, kw_only=True):
    requests: Sequence[Record]
    """Open ones whose process is dead; afterwards: as they are closed."""
    keys: int
    """Idempotency keys that such a process held."""
    blocks: int
    """Of budgets that such processes had set aside. None is left where a repair has been."""
    cleared: int
    """Rows that count no more."""

    @property
    def nothing(self) -> bool:
        return not (self.requests or self.keys or self.blocks or self.cleared)


def now_ns(reader: LedgerReader, clock: Clock) -> int:
    """The database's wall clock."""
    with reader.base.snapshot():
        return reader.base.now_ns(clock.wall_ns())


def mendable(reader: LedgerReader, clock: Clock, *, sole: bool) -> Mended:
    """What a repair would do now.

    Args:
        sole: whoever asks holds the file's lock, so that all its owners are dead, whatever their leases say.
    """
    base = reader.base
    with base.snapshot():
        now = base.now_ns(clock.wall_ns())
        lease = {"judged": _LATEST_NS if sole else base.judged_ns(now)}
        ids = [request_id for (request_id,) in base.rows(_OPEN, lease)]
        counts = [_count(reader, _RUNNING, lease), _count(reader, _BLOCKS, lease)]
        cleared = _count(reader, _OVER, {"now": now})
    return Mended(
        requests=[reader.show(each) for each in ids], keys=counts[0], blocks=counts[1], cleared=cleared
    )


def clear(mender: Mender, reader: LedgerReader, clock: Clock) -> int:
    """Clears away what counts no more; how many rows that were."""
    with reader.base.snapshot():
        values = {"now": reader.base.now_ns(clock.wall_ns())}
        before = _count(reader, _OVER, values)
    for _ in range(_MOST_STEPS):
        if not mender.sweep():
            break
    with reader.base.snapshot():
        return max(0, before - _count(reader, _OVER, values))


def mended(reader: LedgerReader, since_ns: int, cleared: int) -> Mended:
    """What has been closed since then."""
    # An unknown end of a process' own looks the same but for settled_by.
    found = [
        record
        for record in reader.requests(Filter(state="unknown"), limit=None)
        if record.settled_by == "recovery" and record.end is not None and record.end.ended_ns >= since_ns
    ]
    with reader.base.snapshot():
        keys = _count(reader, _LOST, {"since": since_ns})
    return Mended(requests=found, keys=keys, blocks=0, cleared=cleared)


def _count(reader: LedgerReader, sql: str, values: dict[str, Any]) -> int:
    ((count,),) = reader.base.rows(sql, values)
    return int(count)
