"""``python -m tests.e2e.conservation``: is what providers billed what the ledger has, and what the counters and budgets say?

So many requests (``--requests``) go through a gateway, and everything is compared afterwards, attempt by attempt: the
provider's own journal, the ledger's file, the budgets in memory and ``/metrics``. Exit status: 0 all agree, 1 they don't.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sqlite3
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.e2e.conservation_callers import Ask, asks, send_all
from tests.e2e.conservation_world import BUDGETS, MODELS, PRICES, chaos_of, document, price_nano
from tests.support.gateway import Running, run_gateway
from tests.support.metrics import samples

from holdfast.chaos import run_chaos
from holdfast.chaos.answer import Usage
from holdfast.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.support.http import Answer

    from holdfast.chaos import Entry
    from holdfast.ledger.entry import AttemptRow, Record
    from holdfast.money.budgets import Budgets

__all__ = ["Sums", "conserve"]

_NUMBER: Final = re.compile(rb"question (\d+)\.")
_PROVIDER: Final = {model: name for name, model in MODELS.items()}
_DEFAULT_OUTPUT: Final = 4_096
"""Tokens that are asked for where a hard budget limits dollars and the caller named no limit."""
_ANTHROPIC_OUTPUT: Final = 128
_SHOWN: Final = 20


@dataclass
class Sums:
    """What a run came to. Money is nano-dollars."""

    requests: int = 0
    over_budget: int = 0
    """Refused with 402."""
    left: int = 0
    states: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    """Attempts in the ledger, by how their bill is known."""
    served: int = 0
    """Attempts in the provider's journal."""
    spoiled: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    in_ledger: Counter[str] = field(default_factory=Counter)
    """Nano-dollars, by how they are known."""
    billed: Counter[str] = field(default_factory=Counter)
    """What the provider billed for the same attempts."""
    hedged: int = 0
    """Requests that asked two targets at once."""
    lies: int = 0
    """Attempts whose provider told another usage than it billed, and one that could be true."""
    unbelieved: Counter[str] = field(default_factory=Counter)
    told_more: set[str] = field(default_factory=set)
    """What only some provider says of usage, and the ledger has beside the counts."""
    accounts: int = 0
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def differ(self, what: str, one: object, other: object) -> None:
        if one != other:
            self.broken.append(f"{what}: {one} != {other}")


@dataclass
class _Sides:
    """All that is compared."""

    asks: Mapping[int, Ask]
    heard: Mapping[int, Answer | None]
    entries: Mapping[int, list[Entry]]
    """Of the provider's journal, by request."""
    records: Mapping[int, Record]
    spend: Mapping[str, int]
    budgets: Budgets
    metrics: Counter[tuple[str, ...]]


def conserve(requests: int, seed: int, folder: Path) -> Sums:
    """Runs so many requests, and compares."""
    every = asks(seed, requests)
    began = time.monotonic()
    with run_chaos(chaos_of(seed, requests)) as chaos:
        with run_gateway(document(chaos.url, folder / "ledger.db", requests)) as gateway:
            heard = asyncio.run(send_all(gateway.port, every))
        # It is stopped: whatever its callers had left behind was given time to end, and all is written.
        gateway.no_traceback()
        entries = chaos.wait_for(lambda journal: all(entry.end for entry in journal), 30)
        assert chaos.get_stats()["dropped"] == 0
    sides = _Sides(
        {ask.n: ask for ask in every},
        heard,
        _by_request(entries),
        _records(gateway),
        _spend(gateway.path),
        _budgets(gateway),
        samples(gateway.seen.expose().decode()),
    )
    sums = Sums(requests=requests, seconds=time.monotonic() - began)
    _requests(sides, sums)
    _attempts(sides, sums)
    _accounts(sides, sums)
    _counters(sides, sums)
    return sums


def _by_request(entries: Iterable[Entry]) -> dict[int, list[Entry]]:
    found: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        number = _NUMBER.search(entry.body)
        assert number is not None, entry.body
        found[int(number[1])].append(entry)
    return found


def _records(gateway: Running) -> dict[int, Record]:
    with LedgerReader(gateway.path) as reader:
        records = list(reader.requests(limit=None))
    found = {int(record.intent.tags["n"]): record for record in records}
    assert len(found) == len(records), "a request has two records"
    return found


def _spend(path: Path) -> dict[str, int]:
    """The ledger's table, read without the product's own code."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return dict(connection.execute("SELECT account, sum(amount) FROM spend GROUP BY account"))
    finally:
        connection.close()


def _budgets(gateway: Running) -> Budgets:
    assert gateway.app.engine.treasury is not None
    return gateway.app.engine.treasury.budgets


def _requests(sides: _Sides, sums: Sums) -> None:
    """Each caller's answer and its record agree; who was turned away has none."""
    for n, ask in sides.asks.items():
        answer, record = sides.heard[n], sides.records.get(n)
        if record is not None:
            sums.states[record.state] += 1
            if record.end is None or record.settled_by != "end":
                sums.broken.append(f"request {n} was never ended")
            sums.differ(f"session of {n}", record.intent.session, ask.session)
        if answer is None:
            sums.left += 1
            continue
        if answer.status == 402:
            sums.over_budget += 1
            sums.differ(f"should-retry of {n}", answer.headers["x-should-retry"], "false")
            if record is None and sides.entries.get(n):
                sums.broken.append(f"request {n} was refused, and sent")
        elif record is None:
            sums.broken.append(f"request {n} was answered with {answer.status}, and has no record")
        told = answer.headers.get("x-holdfast-cost-usd")
        if told is not None and record is not None:
            sums.differ(f"cost told of {n}", told, f"{record.cost_usd:.9f}")


def _attempts(sides: _Sides, sums: Sums) -> None:
    """Each attempt in the ledger and in the journal; and each request is the sum of its attempts."""
    for n, entries in sides.entries.items():
        if n not in sides.records:
            sums.broken.append(f"request {n} was sent {len(entries)} times, and has no record")
    for n, record in sides.records.items():
        if record.end is None:
            continue
        rows = record.end.attempts
        for row, entry in _joined(n, rows, sides.entries.get(n, []), sums):
            _attempt(n, row, entry, sums)
        sums.differ(f"cost of {n}", record.cost_nano, sum(row.cost_nano or 0 for row in rows))
        if record.intent.bound_nano is None or record.intent.bound_nano < sum(
            row.cost_nano or 0 for row in rows
        ):
            sums.broken.append(f"request {n} cost more than its intent's bound")
        sums.hedged += any(row.outcome == "superseded" for row in rows)


def _joined(
    n: int, rows: Sequence[AttemptRow], entries: Sequence[Entry], sums: Sums
) -> list[tuple[AttemptRow, Entry | None]]:
    """An entry belongs to the last attempt at that target which began before it arrived."""
    found: dict[int, Entry] = {}
    for entry in entries:
        begun = [
            row
            for row in rows
            if row.provider == _PROVIDER[entry.model or ""] and row.started_ns <= entry.arrived_wall_ns
        ]
        if not begun or begun[-1].number in found:
            sums.broken.append(f"request {n}: {entry.model} served an attempt that isn't in the ledger")
            continue
        found[begun[-1].number] = entry
    sums.served += len(entries)
    sums.spoiled += sum(bool(entry.faults) for entry in entries)
    return [(row, found.get(row.number)) for row in rows]


def _attempt(n: int, row: AttemptRow, entry: Entry | None, sums: Sums) -> None:
    what = f"request {n}, attempt {row.number} at {row.provider} ({row.outcome}, {row.billed})"
    bill = 0 if entry is None else price_nano(row.provider, entry.usage)
    cost = row.cost_nano
    sums.rows[row.billed] += 1
    sums.outcomes[row.outcome] += 1
    if row.usage_flag is not None:
        sums.unbelieved[row.usage_flag] += 1
    if row.usage is not None:
        sums.told_more |= row.usage.extra.keys()
    if cost is None:
        sums.broken.append(f"{what}: no cost")
        return
    if row.billed == "provider":
        if entry is None or row.usage is None:
            sums.broken.append(f"{what}: nobody can have told its usage")
            return
        told = _told(row)
        if told != _told_of(entry):
            sums.lies += 1
            if "wrong_usage" not in entry.faults:
                sums.broken.append(f"{what}: {told} was never told, {_told_of(entry)} was")
            sums.differ(f"{what}, as it was told", cost, price_nano(row.provider, told))
            return
        sums.differ(f"{what}, cost and bill", cost, bill)
    elif row.billed == "bound":
        if cost < bill:
            sums.broken.append(f"{what}: its bound is {cost}, and {bill} was billed")
    else:
        sums.differ(f"{what}, cost and bill", (cost, bill), (0, 0))
    sums.in_ledger[row.billed] += cost
    sums.billed[row.billed] += bill


def _told(row: AttemptRow) -> Usage:
    usage = row.usage
    assert usage is not None
    return Usage(usage.input_tokens or 0, usage.output_tokens or 0, usage.cache_read_tokens or 0)


def _told_of(entry: Entry) -> Usage:
    return Usage(entry.usage.prompt_tokens, entry.usage.completion_tokens, entry.usage.cached_tokens)


def _accounts(sides: _Sides, sums: Sums) -> None:
    """Each budget is what the attempts that count in it cost: in memory, in the ledger's table, and summed here."""
    expected: Counter[str] = Counter()
    limits: dict[str, int] = {}
    for n, record in sides.records.items():
        ask = sides.asks[n]
        rows = () if record.end is None else record.end.attempts
        nano, tokens = sum(row.cost_nano or 0 for row in rows), sum(_tokens(ask, row) for row in rows)
        for budget in BUDGETS:
            if (account := budget.account(ask)) is not None:
                expected[account] += nano if budget.usd is not None else tokens
    in_memory: dict[str, int] = {}
    now_ns = sides.budgets.now_ns()
    for account in sides.budgets:
        in_memory[account.key] = account.spent(now_ns)
        sums.differ(f"reserved of {account.key}", account.reserved, 0)
        if account.rule.hard:
            limits[account.key] = account.rule.limit
    sums.accounts = len(in_memory)
    wanted = {key: amount for key, amount in expected.items() if amount}
    sums.differ("spent, in memory and summed", {k: v for k, v in in_memory.items() if v}, wanted)
    sums.differ(
        "spent, in the ledger's table and summed", {k: v for k, v in sides.spend.items() if v}, wanted
    )
    sums.differ("bills above their bound", sides.budgets.overruns, 0)
    for key, limit in limits.items():
        if in_memory[key] > limit:
            sums.broken.append(f"{key}: {in_memory[key]} of {limit}")


def _tokens(ask: Ask, row: AttemptRow) -> int:
    if row.billed == "provider":
        told = _told(row)
        return told.prompt_tokens + told.completion_tokens
    if row.billed == "none":
        return 0
    most = ask.max_tokens or (_ANTHROPIC_OUTPUT if ask.wire == "anthropic" else _DEFAULT_OUTPUT)
    output = most * ask.choices
    return PRICES[row.provider].input_of_bound(row.cost_nano or 0, output) + output


def _counters(sides: _Sides, sums: Sums) -> None:
    """``/metrics``: dollars by how they are known, and tokens that were billed."""
    cost: Counter[tuple[str, str]] = Counter()
    tokens: Counter[tuple[str, str]] = Counter()
    for record in sides.records.values():
        for row in () if record.end is None else record.end.attempts:
            cost[row.provider, row.billed] += row.cost_nano or 0
            if row.billed == "provider":
                told = _told(row)
                tokens[row.provider, "input"] += told.prompt_tokens
                tokens[row.provider, "output"] += told.completion_tokens
    for (provider, source), nano in cost.items():
        shown = sides.metrics["holdfast_cost_usd_total", f"provider={provider}", f"source={source}"]
        sums.differ(f"dollars of {provider}, {source}", round(shown * 1e9), nano)
    for (provider, kind), count in tokens.items():
        shown = sides.metrics["holdfast_tokens_total", f"kind={kind}", f"provider={provider}"]
        sums.differ(f"{kind} tokens of {provider}", int(shown), count)


def _shown(sums: Sums) -> list[str]:
    """A table in Markdown."""
    usd = {name: f"{amount / 10**9:.9f}" for name, amount in sums.in_ledger.items()}
    billed = {name: f"{amount / 10**9:.9f}" for name, amount in sums.billed.items()}
    counts = {
        "requests": f"{sums.requests:,}: "
        + ", ".join(f"{count:,} {state}" for state, count in sorted(sums.states.items()))
        + f"; {sums.over_budget:,} answered with 402, {sums.left:,} callers left",
        "attempts": f"{sum(sums.rows.values()):,} in the ledger, {sums.served:,} in the journal, "
        f"{sums.spoiled:,} of those spoiled ({sums.spoiled / max(1, sums.served):.1%})",
        "hedged": f"{sums.hedged:,} requests in which one attempt outran another",
        "`provider`": f"{sums.rows['provider']:,} attempts: ${usd.get('provider')} in the ledger, "
        f"${billed.get('provider')} billed; {sums.lies:,} more were billed otherwise than told",
        "`bound`": f"{sums.rows['bound']:,} attempts: ${usd.get('bound')} in the ledger, ${billed.get('bound')} billed",
        "`none`": f"{sums.rows['none']:,} attempts: $0 in the ledger, ${billed.get('none', 0)} billed",
        "usage not believed": ", ".join(f"{count} {flag}" for flag, count in sorted(sums.unbelieved.items())),
        "budgets": f"{sums.accounts:,} accounts: memory = table = Σ attempts, nothing reserved",
        "differences": f"{len(sums.broken)}",
        "wall time": f"{sums.seconds:.1f} s",
    }
    return ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in counts.items())]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.conservation", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000, help="how many (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of what callers ask and what goes wrong (0)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        sums = conserve(options.requests, options.seed, Path(folder))
    print(*_shown(sums), sep="\n")  # noqa: T201  # what the command is for
    for difference in sums.broken[:_SHOWN]:
        print(difference, file=sys.stderr)  # noqa: T201  # likewise
    return 1 if sums.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
