"""Callers ⨝ provider ⨝ database: what was promised of crashes, and where it wasn't kept.

Each check is a function of all the evidence that yields a fault for each thing wrong. They know the promises, the prices and
the tables, and nothing of how the product goes about it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from tests.crash.world import HARD, PRICE_IN, PRICE_OUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.crash.evidence import Ask, Call, Evidence, Row, Served, Snapshot

__all__ = ["CHECKS", "Fault", "Kind", "judge"]

_CLOCKS_NS: Final = 20_000_000
"""By how much the clocks of database and provider may differ."""

Kind: TypeAlias = Literal["lost", "duplicated", "wrong", "money"]


@dataclass(frozen=True)
class Fault:
    """A promise that wasn't kept."""

    promise: str
    kind: Kind
    what: str
    cycle: int = -1
    """At whose end it shows; -1: somewhere in the life."""

    def __str__(self) -> str:
        return f"{self.promise} ({self.kind}){f' cycle {self.cycle}' if self.cycle >= 0 else ''}: {self.what}"


def judge(evidence: Evidence) -> list[Fault]:
    """Every fault, each once."""
    return list(dict.fromkeys(fault for check in CHECKS for fault in check(evidence)))


# The ledger's rows.


def intents(evidence: Evidence) -> Iterator[Fault]:
    """Nothing reached the provider without an intent that was durable by then. What was given out stays in the ledger."""
    last = evidence.snapshots[-1]
    written = {row.nonce for row in last.rows}
    for nonce in sorted({served.nonce for served in evidence.served} - written):
        yield Fault("LE1", "lost", f"{nonce} reached the provider, and has no intent")
    for call in evidence.calls:
        if (call.success or call.accepted) and call.nonce not in written:
            yield Fault(
                "LE1", "lost", f"{call.nonce} was accepted ({call.status}), and has no record", call.cycle
            )


def history(evidence: Evidence) -> Iterator[Fault]:
    """No row goes, no end changes, but a guess that the true end replaces."""
    before: Snapshot | None = None
    for snapshot in evidence.snapshots:
        now = {row.id: row for row in snapshot.rows}
        if len(now) != len(snapshot.rows):
            yield Fault("LE1", "duplicated", f"{snapshot.label}: an id has two rows", snapshot.cycle)
        for row in () if before is None else before.rows:
            later = now.get(row.id)
            if later is None:
                yield Fault(
                    "LE1", "lost", f"{snapshot.label}: the row of {row.nonce} is gone", snapshot.cycle
                )
            elif (
                row.state != "in_flight"
                and later != row
                and not (later.late and row.settled_by == "recovery")
            ):
                yield Fault(
                    "LE1", "wrong", f"{snapshot.label}: the end of {row.nonce} changed", snapshot.cycle
                )
        before = snapshot


def recovered(evidence: Evidence) -> Iterator[Fault]:
    """After recovery nothing of the dead is open: no request, no key, no reservation."""
    for snapshot in evidence.snapshots:
        if not snapshot.recovered:
            continue
        for row in snapshot.rows:
            if row.state == "in_flight":
                yield Fault(
                    "LE1",
                    "lost",
                    f"{snapshot.label}: {row.nonce} is in flight after recovery",
                    snapshot.cycle,
                )
        for (_, key), kept in snapshot.keys.items():
            if kept.state == "running":
                yield Fault(
                    "ID1", "wrong", f"{snapshot.label}: the key {key} runs after recovery", snapshot.cycle
                )
        for account, amount in snapshot.blocks.items():
            if amount:
                yield Fault(
                    "BU1",
                    "money",
                    f"{snapshot.label}: {amount} of {account} are held by the dead",
                    snapshot.cycle,
                )
        if snapshot.reservations:
            yield Fault(
                "BU1",
                "money",
                f"{snapshot.label}: {snapshot.reservations} reservations are open",
                snapshot.cycle,
            )


def one_run(evidence: Evidence) -> Iterator[Fault]:
    """An ask is run once; again only with a key, and only after a run that is on record as failed."""
    for nonce, rows in _by_nonce(evidence.snapshots[-1].rows).items():
        ask = evidence.asks.get(nonce)
        if ask is None:
            yield Fault("LE1", "wrong", f"{nonce} is on record, and nobody asked it")
        elif ask.key is None and len(rows) > 1:
            yield Fault("LE1", "duplicated", f"{nonce} was sent once, and has {len(rows)} records")
        for row in rows[:-1]:
            if ask is not None and ask.key is not None and row.state != "failed":
                yield Fault(
                    "ID1", "duplicated", f"the key {ask.key} was run again after a run that is {row.state}"
                )


# What callers were told.


def answers(evidence: Evidence) -> Iterator[Fault]:
    """A whole answer is some attempt's, and stands as ok or unknown; a failure that was told doesn't stand as ok."""
    rows, served = _by_nonce(evidence.snapshots[-1].rows), _served(evidence)
    for call in evidence.calls:
        state = "".join([row.state for row in rows.get(call.nonce, ())][-1:])
        keyed = evidence.asks[call.nonce].key is not None
        failed = call.whole and call.accepted and call.error
        if call.error == "unreadable":
            yield Fault("ST2", "wrong", f"{call.nonce} was told what nobody can read", call.cycle)
        elif failed and state == "ok" and not keyed:
            yield Fault("LE1", "wrong", f"{call.nonce} was told {call.error}, and stands as ok", call.cycle)
        if not call.success:
            continue
        if state not in ("ok", "unknown", ""):
            yield Fault(
                "LE1", "wrong", f"{call.nonce} was delivered whole, and stands as {state}", call.cycle
            )
        if all(call.text != each.text for each in served.get(call.nonce, ())):
            yield Fault("ST1", "wrong", f"{call.nonce} was answered with what no attempt said", call.cycle)


def keys(evidence: Evidence) -> Iterator[Fault]:
    """At most one answer for each key, the same bytes each time; one that is unknown is 409 from then on."""
    last = evidence.snapshots[-1]
    rows = _by_nonce(last.rows)
    told: dict[str, list[Call]] = defaultdict(list)
    for call in evidence.calls:
        told[call.nonce].append(call)
    for nonce, ask in evidence.asks.items():
        if ask.key is None:
            continue
        whole = {call.body for call in told[nonce] if call.success}
        if len(whole) > 1:
            yield Fault(
                "ID2", "duplicated", f"the key {ask.key} was answered with {len(whole)} different bodies"
            )
        kept = last.keys.get((ask.tenant, ask.key))
        if kept is not None and kept.state == "done" and whole and kept.body not in whole:
            yield Fault("ID2", "wrong", f"the key {ask.key} keeps another answer than it gave")
        if any(row.state == "unknown" and row.settled_by == "recovery" for row in rows.get(nonce, ())) and (
            kept is None or kept.state not in ("unknown", "done")
        ):
            yield Fault("ID1", "wrong", f"the run of the key {ask.key} is unknown, and the key is free")
        yield from _after_unknown(evidence, ask, told[nonce])


def _after_unknown(evidence: Evidence, ask: Ask, calls: Sequence[Call]) -> Iterator[Fault]:
    since = min(
        (
            snapshot.cycle
            for snapshot in evidence.snapshots
            if snapshot.recovered
            and (kept := snapshot.keys.get((ask.tenant, ask.key or ""))) is not None
            and kept.state == "unknown"
        ),
        default=None,
    )
    for call in calls:
        if since is None or call.cycle < since or not call.whole:
            continue
        if call.status != 409 and (
            call.success or call.accepted or call.status != 503
        ):  # 503: it isn't looked up
            yield Fault(
                "ID1", "duplicated", f"the key {ask.key} is unknown, and was told {call.status}", call.cycle
            )


# Money.


def accounts(evidence: Evidence) -> Iterator[Fault]:
    """What stands in ``spend`` is the sum of the rows that are closed, at every moment; nothing else, and none twice."""
    for snapshot in evidence.snapshots:
        expected: Counter[str] = Counter()
        for row in snapshot.rows:
            if row.state != "in_flight":
                for account, measure in row.accounts:
                    expected[account] += _spent(row, measure, evidence.asks)
        for account in sorted({*expected, *snapshot.spend}):
            there, wanted = snapshot.spend.get(account, 0), expected[account]
            if there != wanted:
                what = f"{snapshot.label}: {account} has {there}, its rows come to {wanted}"
                yield Fault("BU2", "money", what, snapshot.cycle)


def limits(evidence: Evidence) -> Iterator[Fault]:
    """Spent, and what open requests may still come to, never pass a hard budget."""
    for snapshot in evidence.snapshots:
        sums = Counter(snapshot.spend)
        for row in snapshot.rows:
            if row.state == "in_flight":
                for account, measure in row.accounts:
                    sums[account] += (row.bound_nano if measure == "usd" else row.bound_tokens) or 0
        for account, amount in sums.items():
            limit = HARD.get(account.split(":", 1)[0])
            if limit is not None and amount > limit:
                what = f"{snapshot.label}: {account} comes to {amount} of {limit}"
                yield Fault("BU1", "money", what, snapshot.cycle)


def bills(evidence: Evidence) -> Iterator[Fault]:
    """Each attempt that was billed is in the ledger: exactly where the provider told its usage, never for less elsewhere."""
    rows = _by_nonce(evidence.snapshots[-1].rows)
    for nonce, entries in _served(evidence).items():
        ours = rows.get(nonce, [])
        # One run may follow another at once, and clocks differ a little: the reading that explains more is the right one.
        yield from min((list(_bills(ours, entries, apart_ns)) for apart_ns in (0, _CLOCKS_NS)), key=len)
    for row in evidence.snapshots[-1].rows:
        yield from _arithmetic(row)


def _bills(rows: Sequence[Row], entries: Sequence[Served], apart_ns: int) -> Iterator[Fault]:
    by_row: dict[str, list[Served]] = defaultdict(list)
    for entry in entries:
        begun = [row for row in rows if row.started_ns <= entry.arrived_ns + apart_ns]
        if begun:
            by_row[begun[-1].id].append(entry)
    for row in rows:
        yield from _bills_of(row, by_row[row.id])


def _bills_of(row: Row, entries: Sequence[Served]) -> Iterator[Fault]:
    billed = sum(entry.bill_nano for entry in entries)
    if row.cost_nano is None or row.cost_nano < billed:
        yield Fault(
            "BU2", "money", f"{row.nonce} costs {row.cost_nano}, and {billed} was billed ({row.state})"
        )
    may = sum(entry.may_nano for entry in entries)
    if row.settled_by == "recovery" and (row.cost_nano or 0) < may:
        yield Fault("BU2", "money", f"{row.nonce} costs {row.cost_nano}, and might have been billed {may}")
    if row.settled_by == "end":
        for provider in sorted({entry.provider for entry in entries}):
            yield from _tries_of(row, provider, [entry for entry in entries if entry.provider == provider])


def _tries_of(row: Row, provider: str, entries: Sequence[Served]) -> Iterator[Fault]:
    """In order: the provider saw them as they were sent, but for those that were never sent."""
    tries = [each for each in row.tries if each.provider == provider]
    if len(tries) > len(entries):
        unsent = [each for each in tries if each.billed == "none"][: len(tries) - len(entries)]
        tries = [each for each in tries if each not in unsent]
    if len(entries) > len(tries):
        yield Fault("BU2", "lost", f"{row.nonce}: {provider} served an attempt that isn't on record")
    for each, entry in zip(tries, entries, strict=False):
        cost = each.cost_nano or 0
        if cost < entry.bill_nano or (each.billed == "provider" and cost != entry.bill_nano):
            what = f"attempt {each.number} costs {cost} ({each.billed}), {entry.bill_nano} was billed"
            yield Fault("BU2", "money", f"{row.nonce}: {what}")


def _arithmetic(row: Row) -> Iterator[Fault]:
    if row.settled_by == "end":
        total = sum(each.cost_nano or 0 for each in row.tries)
        if row.cost_nano != total:
            yield Fault("BU2", "money", f"{row.nonce} costs {row.cost_nano}, its attempts {total}")
        if row.bound_nano is not None and total > row.bound_nano:
            yield Fault("BU1", "money", f"{row.nonce} costs {total}, more than its bound of {row.bound_nano}")
    elif row.settled_by == "recovery" and row.cost_nano != row.bound_nano:
        yield Fault("BU2", "money", f"{row.nonce} is unknown, and costs {row.cost_nano} of {row.bound_nano}")


def sessions(evidence: Evidence) -> Iterator[Fault]:
    """A request's session had begun, durably, before the request had."""
    for snapshot in evidence.snapshots:
        for row in snapshot.rows:
            if row.session is not None and (row.tenant, row.session) not in snapshot.sessions:
                yield Fault(
                    "WS1", "lost", f"{snapshot.label}: the session of {row.nonce} isn't known", snapshot.cycle
                )


CHECKS: Final[tuple[Callable[[Evidence], Iterator[Fault]], ...]] = (
    intents, history, recovered, one_run, answers, keys, accounts, limits, bills, sessions,
)  # fmt: skip  # a list reads better packed


def _by_nonce(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda each: each.seq):
        found[row.nonce].append(row)
    return found


def _served(evidence: Evidence) -> dict[str, list[Served]]:
    found: dict[str, list[Served]] = defaultdict(list)
    for served in evidence.served:
        found[served.nonce].append(served)
    return found


def _spent(row: Row, measure: str, asks: Mapping[str, Ask]) -> int:
    """What a closed row comes to in one measure."""
    if measure == "usd":
        return row.cost_nano or 0
    if row.settled_by == "recovery":
        return row.bound_tokens or 0
    return sum(
        _tokens(each.billed, each.cost_nano or 0, each.tokens, asks[row.nonce].max_tokens)
        for each in row.tries
    )


def _tokens(billed: str, cost_nano: int, told: int, max_tokens: int) -> int:
    if billed == "provider":
        return told
    if billed == "none":
        return 0
    # A bound is all of the output that was asked for, and the rest is input.
    return (cost_nano - max_tokens * PRICE_OUT) // PRICE_IN + max_tokens
