"""A failing plan made small: parts are taken out, one after the other, as long as the same promise is still broken.

Halves first, then quarters, down to single ones (A. Zeller and R. Hildebrandt, "Simplifying and Isolating
Failure-Inducing Input", IEEE TSE 28(2), 2002). What a provider does with a request doesn't depend on what else is there,
so most parts can go.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec.structs import replace
from tests.simulation.monitors import MONITORS
from tests.simulation.run import Report, run

from holdfast.engine.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.simulation.draw import Ask, Plan, ProviderPlan
    from tests.simulation.monitors import Monitor
    from tests.simulation.stories import Violation

__all__ = ["MOST_RUNS", "Shrunk", "shrink"]

T = TypeVar("T")

MOST_RUNS: Final = 600
"""Runs after which what has been reached is small enough. Most of them take milliseconds."""


class Shrunk:
    """The smallest plan that was found, and how many runs that took."""

    def __init__(self, plan: Plan, runs: int) -> None:
        self.plan = plan
        self.runs = runs


def shrink(
    plan: Plan,
    violation: Violation,
    *,
    make_engine: type[Engine] = Engine,
    monitors: Sequence[type[Monitor]] = MONITORS,
    most_runs: int = MOST_RUNS,
) -> Shrunk:
    """A smaller plan that breaks the same promise.

    Args:
        violation: the first one of a run of ``plan``.
        most_runs: how often it may be tried.
    """
    search = _Search(plan, violation.promise, make_engine, monitors, most_runs)
    search.try_(_until(plan, violation.at))
    alone = tuple(ask for ask in plan.asks if ask.n == violation.n)
    if alone:
        search.try_(replace(search.plan, asks=alone))
    before = None
    while before != search.plan:  # a part that could not go before may go now
        before = search.plan
        for step in _STEPS:
            step(search)
    return Shrunk(search.plan, search.runs)


class _Search:
    """The smallest plan so far."""

    def __init__(
        self,
        plan: Plan,
        promise: str,
        make_engine: type[Engine],
        monitors: Sequence[type[Monitor]],
        most_runs: int,
    ) -> None:
        self.plan = plan
        self.runs = 0
        self._promise = promise
        self._make_engine = make_engine
        self._monitors = monitors
        self._most_runs = most_runs

    def try_(self, plan: Plan) -> bool:
        """Takes ``plan`` if it breaks the same promise."""
        if plan == self.plan or self.runs >= self._most_runs:
            return False
        self.runs += 1
        report: Report = run(plan, make_engine=self._make_engine, monitors=self._monitors)
        if not any(violation.promise == self._promise for violation in report.violations):
            return False
        self.plan = plan
        return True

    def fewer(
        self, parts: Sequence[T], put: Callable[[Plan, tuple[T, ...]], Plan], *, least: int = 0
    ) -> None:
        """Takes out as many of ``parts`` as can go."""
        kept = list(parts)
        size = len(kept)
        while size:
            at = 0
            while at < len(kept) and len(kept) - min(size, len(kept) - at) >= least:
                fewer = kept[:at] + kept[at + size :]
                if self.try_(put(self.plan, tuple(fewer))):
                    kept = fewer
                else:
                    at += size
            size //= 2


def _until(plan: Plan, at_s: float) -> Plan:
    """Only what happens up to ``at_s``."""
    asks = tuple(ask for ask in plan.asks if ask.at_s <= at_s)
    return replace(plan, asks=asks, length_s=min(plan.length_s, at_s + 1.0))


def _fewer_asks(search: _Search) -> None:
    search.fewer(search.plan.asks, lambda plan, asks: replace(plan, asks=asks))


def _fewer_providers(search: _Search) -> None:
    search.fewer(search.plan.providers, lambda plan, left: replace(plan, providers=left), least=1)


def _fewer_policies(search: _Search) -> None:
    names = tuple(search.plan.policies)
    search.fewer(
        names,
        lambda plan, left: replace(plan, policies={name: plan.policies[name] for name in left}),
    )


def _fewer_faults(search: _Search) -> None:
    search.try_(replace(search.plan, ledger_down=()))
    search.fewer(search.plan.crashes, lambda plan, left: replace(plan, crashes=left))
    for index in range(len(search.plan.providers)):
        provider = search.plan.providers[index]
        search.fewer(provider.episodes, partial(_with, index, "episodes"))
        search.fewer(provider.capacity, partial(_with, index, "capacity"))
        search.fewer(tuple(provider.rates.items()), partial(_with, index, "rates"))


def _plainer_asks(search: _Search) -> None:
    """Nobody leaves, pauses or has a deadline of its own, where that isn't the point."""
    for index in range(len(search.plan.asks)):
        for plainer in _plainer(search.plan.asks[index]):
            search.try_(_ask(search.plan, index, plainer))


def _plainer(ask: Ask) -> Iterator[Ask]:
    yield replace(
        ask,
        leaves_s=None,
        total_s=None,
        read_s=None,
        pause_s=0.0,
        usage=False,
        agreed=False,
        retry=0,
        key="local",
        session=None,
        team=None,
        project=None,
    )
    for name in ("leaves_s", "total_s", "read_s"):
        yield replace(ask, **{name: None})
    yield replace(ask, pause_s=0.0)
    yield replace(ask, usage=False)
    yield replace(ask, words=min(ask.words, 2))


def _sooner(search: _Search) -> None:
    """The silence before the first request, and between requests."""
    plan = search.plan
    if not plan.asks:
        search.try_(replace(plan, length_s=1.0))
        return
    search.try_(replace(plan, length_s=plan.asks[-1].at_s + 1.0))
    plan = search.plan
    shift_s = plan.asks[0].at_s
    moved = [
        _moved(provider, shift_s) if provider.episodes or provider.capacity else provider
        for provider in plan.providers
    ]
    asks = tuple(replace(ask, at_s=round(ask.at_s - shift_s, 6)) for ask in plan.asks)
    crashes = tuple(replace(each, at_s=each.at_s - shift_s) for each in plan.crashes if each.at_s > shift_s)
    length_s = max(1.0, plan.length_s - shift_s)
    search.try_(replace(plan, asks=asks, providers=tuple(moved), crashes=crashes, length_s=length_s))


def _moved(provider: ProviderPlan, shift_s: float) -> ProviderPlan:
    return replace(
        provider,
        episodes=tuple(
            replace(each, start_s=max(0.0, each.start_s - shift_s), end_s=each.end_s - shift_s)
            for each in provider.episodes
            if each.end_s > shift_s
        ),
        capacity=tuple(replace(each, at_s=max(0.0, each.at_s - shift_s)) for each in provider.capacity),
    )


def _with(index: int, faults: str, plan: Plan, left: tuple[Any, ...]) -> Plan:
    """``plan`` with only those faults of one kind at its provider number ``index``."""
    providers = list(plan.providers)
    providers[index] = replace(providers[index], **{faults: dict(left) if faults == "rates" else left})
    return replace(plan, providers=tuple(providers))


def _ask(plan: Plan, index: int, ask: Ask) -> Plan:
    asks = list(plan.asks)
    asks[index] = ask
    return replace(plan, asks=tuple(asks))


_STEPS: Final = (_fewer_asks, _fewer_providers, _fewer_policies, _fewer_faults, _plainer_asks, _sooner)
