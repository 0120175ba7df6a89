"""The numbers of several processes as one: what each has counted, summed, and kept when it dies.

Counters and histograms are summed; a process that is gone leaves its last numbers behind, so that none goes backwards. What
a level means over processes stands in :data:`LEVELS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["LEVELS", "Family", "Level", "Sample", "Tally"]

Labels: TypeAlias = tuple[tuple[str, str], ...]
Level: TypeAlias = Literal["sum", "max", "min"]

LEVELS: Final[Mapping[str, Level]] = {
    # Each process has its own:
    "holdfast_in_flight": "sum",
    "holdfast_ledger_queued": "sum",
    "holdfast_idempotency_running": "sum",
    "holdfast_places_in_use": "sum",
    "holdfast_places_waiting": "sum",
    "holdfast_places_limit": "sum",
    "holdfast_adaptive_limit": "sum",
    "holdfast_overall_in_use": "sum",
    "holdfast_overall_waiting": "sum",
    "holdfast_overall_limit": "sum",
    "holdfast_reservations_open": "sum",
    "holdfast_budget_blocks": "sum",
    # It is bad news if one process says so:
    "holdfast_ledger_ok": "min",
    "holdfast_dependency_up": "min",
    "holdfast_config_generation": "min",
    # They look at the same thing, some a moment later than others:
    "holdfast_keys_age_seconds": "max",
    "holdfast_store_longest_seconds": "max",
    "holdfast_breaker_targets": "max",
    "holdfast_budget_used_ratio": "max",
    "holdfast_budget_subjects": "max",
    "holdfast_cost_breaker": "max",
    "holdfast_cost_breaker_spent_usd": "max",
    "holdfast_cost_breaker_threshold_usd": "max",
    "holdfast_sessions_active": "max",
}
"""What becomes of each process's level. One that isn't here is summed."""

_GROWS: Final = frozenset(("counter", "histogram"))
_JOIN: Final[Mapping[str, Callable[[float, float], float]]] = {
    "sum": lambda one, other: one + other,
    "max": max,
    "min": min,
}


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One number."""

    name: str
    labels: Labels
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """A metric with all its series, as prometheus_client's own ``Metric``, which can't be sent."""

    name: str
    kind: str
    text: str
    samples: list[Sample]

    @classmethod
    def of(cls, metric: Any) -> Family:
        """From a ``Metric``."""
        samples = [
            Sample(sample.name, tuple(sample.labels.items()), float(sample.value))
            for sample in metric.samples
        ]
        return cls(metric.name, metric.type, metric.documentation, samples)


class Tally:
    """What each of several processes said last, and what those counted that are gone."""

    def __init__(self) -> None:
        self._said: dict[int, list[Family]] = {}
        self._gone: list[Family] = []

    def note(self, process: int, families: list[Family]) -> None:
        """Takes the place of what ``process`` said before."""
        self._said[process] = families

    def leave(self, process: int) -> None:
        """``process`` is gone: what it counted stays, its levels don't."""
        last = self._said.pop(process, None)
        if last is not None:
            self._gone = _joined([self._gone, [family for family in last if family.kind in _GROWS]])

    def total(self) -> list[Family]:
        """Everyone's numbers as one process's."""
        return _joined([*self._said.values(), self._gone])


def _joined(parts: Iterable[list[Family]]) -> list[Family]:
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, Labels], float]] = {}
    for family in (each for part in parts for each in part):
        families.setdefault(family.name, family)
        join = _JOIN["sum" if family.kind in _GROWS else LEVELS.get(family.name, "sum")]
        series = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, sample.labels)
            series[key] = join(series[key], sample.value) if key in series else sample.value
    return [
        Family(
            family.name,
            family.kind,
            family.text,
            [Sample(name, labels, value) for (name, labels), value in values[family.name].items()],
        )
        for family in families.values()
    ]
