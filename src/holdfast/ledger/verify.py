"""Whether a ledger keeps its word: every rule that it must keep, looked at in one snapshot, so that writers may go on.

A rule is a statement that finds what breaks it (:data:`RULES`). Three aren't: that the numbers of requests add up, what the
database itself finds damaged, and what was spent of budgets (:mod:`holdfast.ledger.verify_spend`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.finding import EXAMPLES, Finding, several
from holdfast.ledger.retention import deleted
from holdfast.ledger.verify_spend import spend_findings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.clock import Clock
    from holdfast.ledger.read_only import ReadOnly
    from holdfast.ledger.reader import LedgerReader

__all__ = ["RULES", "Rule", "verify"]


class Rule(Struct, frozen=True, kw_only=True):
    """What must hold of every row."""

    name: str
    holds: str
    """What is so where nothing breaks it."""
    broken: str
    """What those are that break it."""
    sql: str
    """Finds what breaks it: one text each. May use ``:judged``: whose lease ran out before then is dead."""
    mend: bool = False
    """``holdfast ledger repair`` mends it."""


_LIVING: Final = "(SELECT id FROM owners WHERE expires_ns > :judged)"

RULES: Final = (
    Rule(
        name="ends",
        holds="each request that is over has exactly one end, and each open one has none",
        broken="requests with half an end",
        sql="""
SELECT id FROM requests
WHERE state NOT IN ('in_flight', 'ok', 'failed', 'cancelled', 'unknown')
   OR (state = 'in_flight') <> (ended_ns IS NULL) OR (state = 'in_flight') <> (settled_by IS NULL)
   OR (state = 'in_flight' AND EXISTS (SELECT 1 FROM attempts WHERE request_id = requests.id))""",
    ),
    Rule(
        name="given-up",
        holds="each request that recovery closed is unknown and costs its bound",
        broken="requests that recovery closed, and that aren't unknown at their bound, without attempts",
        sql="""
SELECT id FROM requests
WHERE settled_by = 'recovery' AND (
    state <> 'unknown' OR coalesce(cost_nano, -1) <> coalesce(bound_nano, -1)
    OR EXISTS (SELECT 1 FROM attempts WHERE request_id = requests.id))""",
    ),
    Rule(
        name="attempts",
        holds="attempts are numbered from 1, without a gap",
        broken="requests whose attempts aren't numbered 1, 2, 3 …",
        sql="""
SELECT request_id FROM attempts GROUP BY request_id HAVING min(number) <> 1 OR max(number) <> count(*)""",
    ),
    Rule(
        name="orphans",
        holds="each attempt belongs to a request",
        broken="requests that are missing, though attempts of theirs are here",
        sql="""
SELECT DISTINCT request_id FROM attempts
WHERE NOT EXISTS (SELECT 1 FROM requests WHERE requests.id = attempts.request_id)""",
    ),
    Rule(
        name="cost",
        holds="a request costs what its attempts cost together; nobody knows it where nobody knows one of them",
        broken="requests that don't cost what their attempts cost together",
        # An end that couldn't be stored leaves its request unknown at its bound, without attempts.
        sql="""
SELECT requests.id FROM requests LEFT JOIN attempts ON attempts.request_id = requests.id
WHERE requests.settled_by = 'end'
GROUP BY requests.seq
HAVING NOT (requests.state = 'unknown' AND count(attempts.number) = 0)
   AND coalesce(requests.cost_nano, -1) <> CASE
       WHEN count(attempts.cost_nano) < count(attempts.number) THEN -1
       ELSE coalesce(sum(attempts.cost_nano), 0) END""",
    ),
    Rule(
        name="billed",
        holds="each attempt's cost agrees with how it is known",
        broken="attempts whose cost can't be known the way they say (billed)",
        sql="""
SELECT request_id || '/' || CAST(number AS TEXT) FROM attempts
WHERE billed NOT IN ('provider', 'none', 'bound', 'delivered') OR cost_nano < 0
   OR (billed = 'none' AND coalesce(cost_nano, -1) <> 0)
   OR (billed = 'provider' AND usage_extra IS NULL)
   OR (cost_nano > 0 AND price_id IS NULL)""",
    ),
    Rule(
        name="abandoned",
        holds="each open request belongs to a process that lives",
        broken="open requests whose process is dead",
        mend=True,
        sql=f"SELECT id FROM requests WHERE state = 'in_flight' AND owner NOT IN {_LIVING}",  # noqa: S608  # a constant
    ),
    Rule(
        name="sessions",
        holds="each session ends after it began, and is over where it has an end",
        broken="sessions that end before they began, or are over without an end",
        sql="""
SELECT key || '/' || id FROM sessions
WHERE ends_ns <= started_ns OR state NOT IN ('active', 'exhausted', 'ended', 'expired')
   OR (state = 'active') <> (ended_ns IS NULL)""",
    ),
    Rule(
        name="idempotency",
        holds="the run of each idempotency key is its own process' request, where it is one",
        broken="idempotency keys that name the run of another process",
        sql="""
SELECT run_id FROM idempotency
WHERE run_id = '' OR EXISTS (
    SELECT 1 FROM requests WHERE requests.id = idempotency.run_id AND requests.owner <> idempotency.owner)""",
    ),
    Rule(
        name="idempotency-abandoned",
        holds="each run of an idempotency key belongs to a process that lives",
        broken="idempotency keys that are held by a run whose process is dead",
        mend=True,
        sql=f"SELECT run_id FROM idempotency WHERE state = 'running' AND owner NOT IN {_LIVING}",  # noqa: S608  # see above
    ),
    Rule(
        name="blocks",
        holds="what processes hold of budgets is nothing negative",
        broken="blocks of budgets that are less than nothing",
        sql="SELECT account FROM blocks WHERE amount < 0",
    ),
    Rule(
        name="blocks-abandoned",
        holds="each block of a budget belongs to a process that lives",
        broken="blocks of budgets whose process is dead",
        mend=True,
        sql=f"SELECT account FROM blocks WHERE owner NOT IN {_LIVING}",  # noqa: S608  # see above
    ),
)

_COUNT: Final = "SELECT count(*) FROM requests"
_BY_STATE: Final = "SELECT state, count(*) FROM requests GROUP BY state"
_OVER: Final = """
SELECT (SELECT count(*) FROM spend WHERE until_ns <= :now) + (SELECT count(*) FROM idempotency WHERE expires_ns <= :now)"""


def verify(reader: LedgerReader, clock: Clock) -> list[Finding]:
    """Looks at everything, from one snapshot; a finding for each rule.

    On SQLite the log can't be emptied meanwhile: it grows with what is written in this time.

    Raises:
        LedgerUnavailable: it can't be read.
    """
    base = reader.base
    with base.snapshot():
        now_ns = base.now_ns(clock.wall_ns())
        return list(_findings(base, now_ns, {"judged": base.judged_ns(now_ns)}))


def _findings(base: ReadOnly, now_ns: int, values: Mapping[str, Any]) -> Iterator[Finding]:
    yield _damage(base)
    yield _accepted(base)
    for rule in RULES:
        yield _found(base, rule, values)
    yield from spend_findings(base, now_ns)
    yield _expired(base, {"now": now_ns})


def _damage(base: ReadOnly) -> Finding:
    faults = base.damage()
    if not faults:
        return Finding(check="database", standing="ok", says="the database finds nothing damaged in itself")
    return Finding(
        check="database",
        standing="wrong",
        says="the database is damaged: restore a copy",
        count=len(faults),
        examples=tuple(faults),
    )


def _accepted(base: ReadOnly) -> Finding:
    ((accepted,),) = base.rows(_COUNT, {})
    states: dict[str, int] = dict(base.rows(_BY_STATE, {}))
    open_, over = states.pop("in_flight", 0), [states.pop(name, 0) for name in _FINAL]
    gone = deleted(base)
    before = f"; {gone:,} more were deleted since" if gone else ""
    added = " + ".join(f"{count} {name}" for name, count in zip(_FINAL, over, strict=True))
    holds = not states and sum(over) + open_ == accepted
    return Finding(
        check="accepted",
        standing="ok" if holds else "wrong",
        says=f"{accepted} accepted {'=' if holds else '≠'} {added} + {open_} in flight{before}",
        count=0 if holds else abs(accepted - sum(over) - open_),
        examples=() if holds else tuple(sorted(map(str, states)))[:EXAMPLES],
    )


_FINAL: Final = ("ok", "failed", "cancelled", "unknown")


def _found(base: ReadOnly, rule: Rule, values: Mapping[str, Any]) -> Finding:
    used = {name: value for name, value in values.items() if f":{name}" in rule.sql}
    try:
        ((count,),) = base.rows(f"SELECT count(*) FROM ({rule.sql}) AS found", used)  # noqa: S608  # a constant
        if count == 0:
            return Finding(check=rule.name, standing="ok", says=rule.holds)
        rows = base.rows(f"{rule.sql} LIMIT {EXAMPLES}", used)
    except LedgerUnavailable as error:
        raise LedgerUnavailable(f"{rule.name}: {error.message}") from error
    return Finding(
        check=rule.name,
        standing="repair" if rule.mend else "wrong",
        says=f"{rule.broken}: {count:,}",
        count=count,
        examples=tuple(str(value) for (value,) in rows),
    )


def _expired(base: ReadOnly, values: Mapping[str, Any]) -> Finding:
    """Not wrong: a writer clears it away, a little at a time. Where none runs, nobody does."""
    ((count,),) = base.rows(_OVER, values)
    if count == 0:
        return Finding(check="expired", standing="ok", says="nothing that is over waits to be cleared away")
    waiting = several(count, "row")
    return Finding(
        check="expired",
        standing="ok",
        says=f"{waiting} of spend and idempotency count no more: a gateway clears them away, and so does repair",
        count=count,
    )
