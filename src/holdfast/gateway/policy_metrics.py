"""What the policies before targets and callers do, as Prometheus metrics.

Nothing is counted here while requests run: policies count for themselves, and are asked when somebody scrapes. Each
number is a provider's, over all of its targets. Models are no labels: which target it is tells ``/admin/targets``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from holdfast.engine.gates import Gatehouse
from holdfast.engine.rates import RateAdmission
from holdfast.resilience.breaker import CircuitState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from holdfast.engine.gates import TargetGate
    from holdfast.engine.seams import Admission, Gate

__all__ = ["Policed", "PolicyMetrics"]

Labels: TypeAlias = tuple[str, ...]
Owned: TypeAlias = dict[tuple[object, Labels], int]
"""Numbers, each under whose it is."""

_COUNTERS: Final = {
    "holdfast_breaker_opened": (
        "How often targets' breakers opened, re-openings included.",
        ("provider",),
    ),
    "holdfast_attempts_refused": (
        "Attempts that a policy before their target didn't let through: breaker, bulkhead (the overall one too), rate, "
        "or provider_rate where the provider's own headers said so.",
        ("provider", "policy"),
    ),
    "holdfast_retries_refused": ("Retries that a target's retry budget didn't allow.", ("provider",)),
    "holdfast_client_retries": (
        "Requests that came to a target and were retries of their caller's own, as its SDK says.",
        ("provider",),
    ),
    "holdfast_hedges": ("Attempts begun beside a slow one, by the slow one's provider.", ("provider",)),
    "holdfast_hedges_refused": ("Hedges that their budget didn't allow.", ("provider",)),
    "holdfast_adaptive_decreases": ("How often adaptive limits were lowered.", ("provider",)),
}
_GAUGES: Final = {
    "holdfast_breaker_targets": ("Targets by the state of their breaker.", ("provider", "state")),
    "holdfast_places_in_use": ("Places taken at a provider's targets.", ("provider",)),
    "holdfast_places_waiting": ("Calls that wait for one.", ("provider",)),
    "holdfast_places_limit": ("Places there are, over a provider's targets.", ("provider",)),
    "holdfast_adaptive_limit": (
        "Of those, how many adaptive limits found out, over a provider's targets.",
        ("provider",),
    ),
}
_OVERALL: Final = {
    "holdfast_overall_in_use": (
        "Of the places at all providers together (`[overall]`), those taken.",
        "in_use",
    ),
    "holdfast_overall_waiting": ("Calls that wait for one.", "waiting"),
    "holdfast_overall_limit": ("Places there are at all providers together.", "limit"),
}
_STATES: Final = {state: state.value for state in CircuitState}


class Policed(Protocol):
    """Whose policies are shown: the engine."""

    @property
    def gate(self) -> Gate | None: ...
    @property
    def admission(self) -> Admission | None: ...


class PolicyMetrics:
    """A part of what is scraped.

    Args:
        engine: has the policies; None: there are none, and every metric is there without a series.
    """

    def __init__(self, engine: Policed | None = None) -> None:
        self._engine = engine
        self._grown: dict[str, _Grown] = {name: _Grown() for name in _COUNTERS}

    def watch(self, engine: Policed) -> None:
        """From now on shows that one's. What was counted stays."""
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Every metric, as things stand now."""
        engine = self._engine
        house = None if engine is None else engine.gate
        yield from self._of_targets(list(house) if isinstance(house, Gatehouse) else [])
        overall = house.overall if isinstance(house, Gatehouse) else None
        for name, (text, part) in _OVERALL.items():
            yield GaugeMetricFamily(name, text, None if overall is None else getattr(overall, part))
        refused = CounterMetricFamily(
            "holdfast_rate_refused",
            "Requests that a caller's rate limit refused, by key, or by the pattern of models that it is set for.",
            labels=("kind", "name"),
        )
        admission = None if engine is None else engine.admission
        if isinstance(admission, RateAdmission):
            for labels, count in admission.refused.items():
                refused.add_metric(labels, count)
        yield refused

    def _of_targets(self, gates: list[TargetGate]) -> Iterator[Metric]:
        counts: dict[str, Owned] = {name: {} for name in _COUNTERS}
        levels: dict[str, Owned] = {name: {} for name in _GAUGES}
        for gate in gates:
            _read(gate, counts, levels)
        for provider in {gate.provider for gate in gates if gate.breaker is not None}:
            for state in _STATES.values():  # an alert needs its series to be there before it is above 0
                levels["holdfast_breaker_targets"][None, (provider, state)] = 0
        for name, (text, label_names) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=label_names)
            for labels, count in self._grown[name].add(counts[name]).items():
                counter.add_metric(labels, count)
            yield counter
        for name, (text, label_names) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=label_names)
            for labels, level in _sums(levels[name]).items():
                gauge.add_metric(labels, level)
            yield gauge


def _read(
    gate: TargetGate,
    counts: dict[str, Owned],
    levels: dict[str, Owned],
) -> None:
    """One gate's numbers, each under whose it is: routes that set nothing of their own share a target's policies."""
    provider = (gate.provider,)
    counts["holdfast_client_retries"][gate, provider] = gate.client_retries
    for policy, count in gate.refused.items():
        counts["holdfast_attempts_refused"][gate, (gate.provider, policy)] = count
    counts["holdfast_retries_refused"][gate.budget, provider] = gate.budget.snapshot().refused
    if gate.breaker is not None:
        snapshot = gate.breaker.snapshot()
        counts["holdfast_breaker_opened"][gate.breaker, provider] = snapshot.opened
        levels["holdfast_breaker_targets"][gate.breaker, (gate.provider, _STATES[snapshot.state])] = 1
    if gate.hedging is not None:
        budget = gate.hedging.budget
        counts["holdfast_hedges"][gate.hedging, provider] = budget.hedges
        counts["holdfast_hedges_refused"][gate.hedging, provider] = budget.refused
    places = gate.bulkhead
    if places is not None:
        levels["holdfast_places_in_use"][places, provider] = places.in_use
        levels["holdfast_places_waiting"][places, provider] = places.waiting
        levels["holdfast_places_limit"][places, provider] = places.limit
    if gate.adaptive is not None:
        adaptive = gate.adaptive.snapshot()
        counts["holdfast_adaptive_decreases"][gate.adaptive, provider] = adaptive.decreases
        levels["holdfast_adaptive_limit"][gate.adaptive, provider] = adaptive.limit


class _Grown:
    """Sums of counters whose owners may be forgotten: what they had counted when they were last seen stays counted."""

    __slots__ = ("_seen", "_sums")

    def __init__(self) -> None:
        self._seen: Owned = {}
        self._sums: dict[Labels, int] = {}

    def add(self, counts: Owned) -> dict[Labels, int]:
        """The sums with what ``counts`` has more than when it was last told."""
        for owner, count in counts.items():
            labels = owner[1]
            self._sums[labels] = self._sums.get(labels, 0) + count - self._seen.get(owner, 0)
        self._seen = counts  # and no more: whoever is gone is not kept alive
        return self._sums


def _sums(levels: Owned) -> dict[Labels, int]:
    sums: dict[Labels, int] = {}
    for (_, labels), level in levels.items():
        sums[labels] = sums.get(labels, 0) + level
    return sums
