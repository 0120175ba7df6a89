"""Budgets, reservations, sessions and the cost breaker as Prometheus metrics.

They count for themselves, and are asked when somebody scrapes. A budget's subjects (keys, sessions, tags) are no labels:
there may be any number of them. Of each budget the fullest one shows; who that is tells ``/admin/budgets``. The budgets that
keys bring with them are one series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from holdfast.money.cost import NANO
from holdfast.money.cost_breaker import CostState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from holdfast.engine.sessions import SessionDesk
    from holdfast.engine.treasury import Treasury
    from holdfast.money.account import Account
    from holdfast.money.budgets import Budgets
    from holdfast.money.cost_breaker import CostBreaker
    from holdfast.money.leases import Leases

__all__ = ["MoneyMetrics", "share_of"]

_OF_KEYS: Final = "(of keys)"


class MoneyMetrics:
    """A part of what is scraped.

    Args:
        treasury: whose budgets, sessions and breaker are shown; None: every metric is there without a series.
        budgets: the configuration's names of them. All others are keys' own, and are shown together.
    """

    def __init__(self, treasury: Treasury | None = None, budgets: Iterable[str] = ()) -> None:
        self._treasury = treasury
        self._names = dict.fromkeys(budgets)
        if treasury is not None and treasury.breaker is not None:
            self._named = {*self._names, treasury.breaker.account.rule.name}
        else:
            self._named = set(self._names)

    def collect(self) -> Iterator[Metric]:
        """Every metric, as things stand now."""
        treasury = self._treasury
        yield _counter(
            "holdfast_money_refused",
            "Requests that were refused over money, by the kind of error: `budget_exceeded`, `cost_unbounded`, "
            "`cost_breaker_open`, `session_ended`.",
            "reason",
            {} if treasury is None else treasury.refused,
        )
        yield from self._shares(None if treasury is None else treasury.budgets)
        yield _counter(
            "holdfast_budget_refused",
            "Requests that a budget, or the cost breaker's sum, had no room for.",
            "budget",
            {} if treasury is None else self._by_name(treasury.budgets.refused),
        )
        yield _counter(
            "holdfast_budget_warnings",
            "How often a caller was told that most of a budget is spent.",
            "budget",
            {} if treasury is None else self._by_name(treasury.warned),
        )
        yield GaugeMetricFamily(
            "holdfast_reservations_open",
            "Requests under way for which money is set aside, or may be.",
            None if treasury is None else treasury.budgets.holds,
        )
        yield CounterMetricFamily(
            "holdfast_budget_overruns",
            "Attempts that were billed more than the most that they could cost; they are charged in full.",
            None if treasury is None else treasury.budgets.overruns,
        )
        yield from _leases(None if treasury is None else treasury.leases)
        yield from _breaker(None if treasury is None else treasury.breaker)
        yield from _sessions(None if treasury is None else treasury.sessions)

    def _shares(self, budgets: Budgets | None) -> Iterator[Metric]:
        # An alert needs its series to be there before it is above 0.
        shares = dict.fromkeys(self._names, 0.0)
        subjects = dict.fromkeys(self._names, 0)
        if budgets is not None:
            now_ns = budgets.now_ns()
            for account in budgets:
                name = self._label(account.rule.name)
                shares[name] = max(share_of(account, now_ns), shares.get(name, 0.0))
                subjects[name] = subjects.get(name, 0) + 1
        used = GaugeMetricFamily(
            "holdfast_budget_used_ratio",
            "Spent and reserved, over the limit, of the subject that has used the most of a budget.",
            labels=("budget",),
        )
        known = GaugeMetricFamily(
            "holdfast_budget_subjects",
            "Keys, sessions, teams, models or tag values of which a budget remembers something.",
            labels=("budget",),
        )
        for name, share in shares.items():
            used.add_metric((name,), share)
            known.add_metric((name,), subjects[name])
        yield from (used, known)

    def _by_name(self, counts: Mapping[str, int]) -> dict[str, int]:
        found = dict.fromkeys(self._names, 0)
        for name, count in counts.items():
            label = self._label(name)
            found[label] = found.get(label, 0) + count
        return found

    def _label(self, name: str) -> str:
        return name if name in self._named else _OF_KEYS


def share_of(account: Account, now_ns: int) -> float:
    """How much of its limit is spent or set aside; above 1 where a bill passed its bound, or a soft budget its limit."""
    taken, limit = account.spent(now_ns) + account.taken, account.rule.limit
    return taken / limit if limit else float(taken > 0)


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def _leases(leases: Leases | None) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "holdfast_budget_blocks",
        "Accounts of which this process has leased a part, where several processes share budgets.",
        None if leases is None else leases.leased,
    )
    yield CounterMetricFamily(
        "holdfast_budget_leases",
        "Leases of a budget that the ledger's database was asked for.",
        None if leases is None else leases.asked,
    )
    yield CounterMetricFamily(
        "holdfast_budget_calls",
        "How often another process had no room, and called for what is free here.",
        None if leases is None else leases.called_on,
    )


def _breaker(breaker: CostBreaker | None) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "holdfast_cost_breaker",
        "1 for the state that the cost breaker is in, 0 for the others.",
        labels=("state",),
    )
    opened = CounterMetricFamily("holdfast_cost_breaker_opened", "How often the cost breaker opened.")
    spent = GaugeMetricFamily("holdfast_cost_breaker_spent_usd", "Dollars that everyone spent in its window.")
    threshold = GaugeMetricFamily("holdfast_cost_breaker_threshold_usd", "Dollars at which it opens.")
    if breaker is not None:
        snapshot = breaker.snapshot()
        for each in CostState:
            state.add_metric((each.value,), int(snapshot.state is each))
        opened.add_metric((), snapshot.opened)
        spent.add_metric((), snapshot.spent_nano / NANO)
        threshold.add_metric((), snapshot.threshold_nano / NANO)
    yield from (state, opened, spent, threshold)


def _sessions(desk: SessionDesk | None) -> Iterator[Metric]:
    active = GaugeMetricFamily("holdfast_sessions_active", "Sessions that go on.")
    started = CounterMetricFamily("holdfast_sessions_started", "Sessions that began.")
    over = CounterMetricFamily(
        "holdfast_sessions_over", "Sessions that are over, by what ended them.", labels=("state",)
    )
    warned = CounterMetricFamily(
        "holdfast_sessions_warned", "Sessions whose caller was told that most of its money is spent."
    )
    refused = CounterMetricFamily(
        "holdfast_sessions_refused",
        "Uses of sessions that were over, and new ones for which there was no place.",
    )
    if desk is not None:
        snapshot = desk.sessions.snapshot()
        active.add_metric((), snapshot.active)
        started.add_metric((), snapshot.started)
        for state, count in snapshot.over.items():
            over.add_metric((state.value,), count)
        warned.add_metric((), snapshot.warned)
        refused.add_metric((), snapshot.refused)
    yield from (active, started, over, warned, refused)
