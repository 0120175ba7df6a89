"""What running gateways have counted since they started, beside what their ledger has of the same processes.

A counter is raised when something ends, its row is written a little later: so a row that isn't counted is always wrong,
and a count that has no row is wrong once there was time to write it. A request's attempts are counted while it still runs,
so attempts and dollars can be compared exactly only while nothing runs.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.finding import EXAMPLES, Finding, several
from holdfast.ledger.retention import kept_since

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.clock import Clock
    from holdfast.ledger.reader import LedgerReader

__all__ = ["Counted", "compare", "read_counted"]

_Labels: TypeAlias = tuple[str, ...]

_LOOKS: Final = 50
"""With a tenth of a second between two: five seconds for what has ended to be written."""
_BUSY_LOOKS: Final = 10
"""So many for a gateway that is never idle."""
_PAUSE_S: Final = 0.1

_OURS: Final = """
requests.settled_by = 'end'
AND NOT (coalesce(requests.error_label, '') = :never AND coalesce(requests.total_ms, -1) = 0)
AND requests.owner IN (SELECT id FROM owners WHERE expires_ns > :now)"""
"""An intent of which nobody knows whether it was written is refused, and closed as one that was never sent: no counter has
it."""
_OWNERS: Final = "SELECT count(*), min(started_ns) FROM owners WHERE expires_ns > :now"
_REQUESTS: Final = f"SELECT state, count(*) FROM requests WHERE {_OURS} GROUP BY state"  # noqa: S608  # constants
_ATTEMPTS: Final = f"""
SELECT provider, outcome, count(*) FROM attempts JOIN requests ON requests.id = attempts.request_id
WHERE {_OURS} GROUP BY provider, outcome"""  # noqa: S608  # see above
_DOLLARS: Final = f"""
SELECT provider, billed, CAST(sum(attempts.cost_nano) AS TEXT)
FROM attempts JOIN requests ON requests.id = attempts.request_id
WHERE attempts.cost_nano > 0 AND {_OURS} GROUP BY provider, billed"""  # noqa: S608  # see above


class Counted(Struct, frozen=True, kw_only=True):
    """Sums by their labels."""

    requests: Mapping[_Labels, int]
    """By state."""
    attempts: Mapping[_Labels, int]
    """By provider and outcome."""
    nano: Mapping[_Labels, int]
    """Nano-dollars, by provider and how they are known."""
    in_flight: int = 0


_SUMS: Final = (("requests", "requests"), ("attempts", "attempts"), ("nano", "nano-dollars"))


def read_counted(texts: list[str]) -> Counted:
    """Of what gateways say at ``/metrics``, added up.

    Raises:
        ValueError: it isn't Prometheus' text format.
    """
    from prometheus_client.parser import text_string_to_metric_families  # takes long to import

    requests: Counter[_Labels] = Counter()
    attempts: Counter[_Labels] = Counter()
    nano: Counter[_Labels] = Counter()
    in_flight = 0
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                match sample.name:
                    case "holdfast_requests_total":
                        requests[labels["state"],] += int(sample.value)
                    case "holdfast_attempts_total":
                        attempts[labels["provider"], labels["outcome"]] += int(sample.value)
                    case (
                        "holdfast_cost_usd_total"
                    ):  # a float of at most $9 million is exact to the nano-dollar
                        nano[labels["provider"], labels["source"]] += round(sample.value * 10**9)
                    case "holdfast_in_flight":
                        in_flight += int(sample.value)
    return Counted(requests=requests, attempts=attempts, nano=nano, in_flight=in_flight)


def compare(
    reader: LedgerReader, clock: Clock, counted: Callable[[], Counted], pause: Callable[[float], object]
) -> Finding:
    """Looks until the two agree, or five seconds have passed.

    Args:
        counted: asks the gateways. All that write to this ledger must be among them.
        pause: sleeps so many seconds.
    """
    first = before = counted()
    look = 0
    while True:
        look += 1
        whole, owners, kept = _kept(reader, clock)
        after = counted()
        if not whole:
            said = "requests that were counted since the start have been deleted since: not comparable"
            return Finding(check="counters", standing="unsure", says=said)
        quiet = not after.in_flight and before == after
        surplus, late = _more(kept, after), _more(_only_requests(first), kept)
        if quiet and not surplus and not _more(after, kept):
            return Finding(check="counters", standing="ok", says=_equal(after, owners))
        if not quiet and look >= _BUSY_LOOKS and not surplus and not late:
            said = f"the counters of {_living(owners)} and the ledger agree, but for what ran meanwhile"
            return Finding(check="counters", standing="ok", says=said)
        if look == _LOOKS:
            break
        before = after
        pause(_PAUSE_S)
    differing = _differing(kept, after if quiet or surplus else first)
    return Finding(
        check="counters",
        standing="wrong",
        says=f"what was counted since the start isn't what the ledger has of {_living(owners)}; are all gateways named?",
        count=len(differing),
        examples=tuple(differing[:EXAMPLES]),
    )


def _kept(reader: LedgerReader, clock: Clock) -> tuple[bool, int, Counted]:
    """Whether all of them are still there; how many processes live; what the ledger has of them."""
    base = reader.base
    with base.snapshot():
        now = {"now": base.now_ns(clock.wall_ns())}
        values = now | {"never": LedgerUnavailable.label}
        ((owners, since_ns),) = base.rows(_OWNERS, now)
        counted = Counted(
            requests={(state,): count for state, count in base.rows(_REQUESTS, values)},
            attempts={
                (provider, outcome): count for provider, outcome, count in base.rows(_ATTEMPTS, values)
            },
            nano={(provider, source): int(sum_) for provider, source, sum_ in base.rows(_DOLLARS, values)},
        )
        whole = since_ns is None or kept_since(base) <= since_ns
    return whole, owners, counted


def _only_requests(counted: Counted) -> Counted:
    return Counted(requests=counted.requests, attempts={}, nano={})


def _more(one: Counted, other: Counted) -> bool:
    """Whether ``one`` has more than ``other`` of anything."""
    return any(
        amount > getattr(other, field).get(labels, 0)
        for field, _ in _SUMS
        for labels, amount in getattr(one, field).items()
    )


def _differing(kept: Counted, counted: Counted) -> list[str]:
    return [
        f"{' '.join(labels)}: {has:,} {unit} in the ledger, {says:,} counted"
        for field, unit in _SUMS
        for labels, has, says in _beside(getattr(kept, field), getattr(counted, field))
        if has != says
    ]


def _beside(one: Mapping[_Labels, int], other: Mapping[_Labels, int]) -> list[tuple[_Labels, int, int]]:
    return [(labels, one.get(labels, 0), other.get(labels, 0)) for labels in sorted({*one, *other})]


def _equal(counted: Counted, owners: int) -> str:
    requests, attempts = sum(counted.requests.values()), sum(counted.attempts.values())
    return f"the counters of {_living(owners)} equal the ledger: {requests:,} requests, {attempts:,} attempts, every dollar"


def _living(owners: int) -> str:
    return several(owners, "living process", "living processes")
