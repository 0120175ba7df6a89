"""Whether what was spent of each budget is what the requests that are kept were charged.

A request's charges aren't kept one by one, so they are told from what is: the accounts that its intent names, what its
attempts cost, and for how many tokens. That gives the least and the most that each account can have; the two are the same
but where

- nobody knows what an attempt cost, or how many tokens it took (``billed = 'bound'``): it may be more;
- a request began in a part of the window that doesn't count any more, and ended in one that does: it may be either;
- requests were deleted (:mod:`holdfast.ledger.retention`) which may have spent of what still counts: it may be more;
- an account can be set to nothing by an operator (the cost breaker's): it may be less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.ledger.entry import AccountPart
from holdfast.ledger.finding import EXAMPLES, Finding, several
from holdfast.ledger.retention import kept_since

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.ledger.read_only import ReadOnly

__all__ = ["spend_findings"]

_NEGATIVE: Final = "SELECT account FROM spend WHERE amount < 0 OR until_ns <= start_ns"
_SPENT: Final = """
SELECT account, CAST(sum(amount) AS TEXT), min(start_ns) FROM spend
WHERE until_ns IS NULL OR until_ns > :now GROUP BY account"""
# Of each request that is over and was charged to somebody: what it cost, and how many tokens it took, and of how many
# attempts nobody can tell. CAST: PostgreSQL adds integers up to a decimal.
_CHARGED: Final = """
SELECT requests.id, requests.accounts, requests.ended_ns, requests.state,
    requests.bound_nano, requests.bound_tokens, count(attempts.number),
    CAST(coalesce(sum(attempts.cost_nano), 0) AS BIGINT),
    count(attempts.number) - count(attempts.cost_nano),
    CAST(coalesce(sum(CASE WHEN attempts.billed = 'provider'
        THEN coalesce(attempts.input_tokens, 0) + coalesce(attempts.output_tokens, 0) ELSE 0 END), 0) AS BIGINT),
    coalesce(sum(CASE WHEN attempts.billed IN ('bound', 'delivered') THEN 1 ELSE 0 END), 0)
FROM requests LEFT JOIN attempts ON attempts.request_id = requests.id
WHERE requests.accounts IS NOT NULL AND requests.state <> 'in_flight'
GROUP BY requests.seq"""

_decode: Final = msgspec.json.Decoder(tuple[AccountPart, ...])


class _Account:
    """What is known of one account's spending in the parts that count."""

    __slots__ = ("known", "least", "more", "spent", "straddling", "unknown")

    def __init__(self, spent: int = 0) -> None:
        self.spent = spent
        self.least = 0
        self.more = 0
        """What may come on top: requests that began before what counts, and ended in it."""
        self.unknown = 0
        """Attempts of which nobody can tell."""

    def broken(self, *, resettable: bool, pruned: bool) -> bool:
        if self.spent < self.least and not resettable:
            return True
        return self.spent > self.least + self.more and not self.unknown and not pruned

    def sure(self, *, resettable: bool, pruned: bool) -> bool:
        return not (self.more or self.unknown or pruned or resettable)


def spend_findings(base: ReadOnly, now_ns: int) -> Iterator[Finding]:
    """Within a snapshot."""
    yield _sane(base)
    yield _adds_up(base, now_ns)


def _sane(base: ReadOnly) -> Finding:
    negative = [account for (account,) in base.rows(_NEGATIVE, {})]
    if not negative:
        return Finding(check="spend", standing="ok", says="nothing was spent that is less than nothing")
    return Finding(
        check="spend",
        standing="wrong",
        says=f"amounts of spend that are negative, or over before they began: {len(negative):,}",
        count=len(negative),
        examples=tuple(negative[:EXAMPLES]),
    )


def _adds_up(base: ReadOnly, now_ns: int) -> Finding:
    since: dict[str, int] = {}
    accounts: dict[str, _Account] = {}
    unreadable: list[str] = []
    for name, amount, start_ns in base.rows(_SPENT, {"now": now_ns}):
        accounts[name] = _Account(int(amount))
        since[name] = start_ns
    for request_id, said, ended_ns, *cost in base.stream(_CHARGED, {}):
        try:
            parts = _decode.decode(said)
        except msgspec.DecodeError:
            unreadable.append(request_id)
            continue
        for part in parts:
            counts = part.until_ns is None or part.until_ns > now_ns
            if not counts and ended_ns < since.get(part.account, ended_ns + 1):
                continue
            account = accounts.setdefault(part.account, _Account())
            amount, unknown = _charged(part, *cost)
            account.unknown += unknown
            if counts:
                account.least += amount
                since[part.account] = min(part.start_ns, since.get(part.account, part.start_ns))
            else:
                account.more += amount
    if unreadable:
        return Finding(
            check="spend-sums",
            standing="wrong",
            says=f"requests of which nobody can read which accounts they name: {len(unreadable):,}",
            count=len(unreadable),
            examples=tuple(unreadable[:EXAMPLES]),
        )
    before_ns = kept_since(base)
    broken, unsure = [], []
    for name, account in sorted(accounts.items()):
        may = {"resettable": ":" not in name, "pruned": since.get(name, before_ns) < before_ns}
        if account.broken(**may):
            broken.append(name)
        elif not account.sure(**may):
            unsure.append(name)
    if broken:
        return Finding(
            check="spend-sums",
            standing="wrong",
            says=f"accounts of budgets that aren't what their requests were charged: {len(broken):,}: "
            + "; ".join(_shown(name, accounts[name]) for name in broken[:EXAMPLES]),
            count=len(broken),
            examples=tuple(broken[:EXAMPLES]),
        )
    said = (
        f"{several(len(accounts) - len(unsure), 'account')} of budgets add up to what requests were charged"
    )
    if not unsure:
        return Finding(check="spend-sums", standing="ok", says=said)
    return Finding(
        check="spend-sums",
        standing="unsure",
        says=f"{said}; of {len(unsure):,} more only a part can be told from the requests that are kept",
        count=len(unsure),
        examples=tuple(unsure[:EXAMPLES]),
    )


def _charged(part: AccountPart, state: str, *costs: Any) -> tuple[int, int]:
    """What a request was charged at least, and of how many attempts nobody can tell."""
    bound_nano, bound_tokens, attempts, nano, unpriced, tokens, uncounted = costs
    dollars = part.measure == "usd"
    if state == "unknown" and attempts == 0:  # its process died, or its end couldn't be stored
        return (bound_nano if dollars else bound_tokens) or 0, 0
    return (nano, unpriced) if dollars else (tokens, uncounted)


def _shown(name: str, account: _Account) -> str:
    most = "or more" if account.unknown else f"to {account.least + account.more}"
    expected = f"{account.least}" if not account.more and not account.unknown else f"{account.least} {most}"
    return f"{name} has {account.spent}, and should have {expected}"
