"""Counts of what the policies did, with what they are to be divided by.

A count without its denominator says nothing: 40 retries are a storm in 50 calls and nothing in 50,000. So each kind of event
stands beside what it is a part of, and a rate is None as long as that is zero.

==========================  ==========================  ========================
rate                        is                          divided by
==========================  ==========================  ========================
timeout_rate                timeouts                    attempts
retry_rate                  retries                     operations
circuit_breaker_open_rate   circuit_breaker_opens       circuit_breaker_calls
bulkhead_rejection_rate     bulkhead_rejections         bulkhead_requests
idempotency_hit_rate        idempotency_hits            idempotency_lookups
saga_compensation_rate      saga_compensations          saga_steps
==========================  ==========================  ========================
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OTHER", "RATES", "ReliabilityMetrics"]

RATES: Final[Mapping[str, tuple[str, str]]] = {
    "timeout_rate": ("timeouts", "attempts"),
    "retry_rate": ("retries", "operations"),
    "circuit_breaker_open_rate": ("circuit_breaker_opens", "circuit_breaker_calls"),
    "bulkhead_rejection_rate": ("bulkhead_rejections", "bulkhead_requests"),
    "idempotency_hit_rate": ("idempotency_hits", "idempotency_lookups"),
    "saga_compensation_rate": ("saga_compensations", "saga_steps"),
}
"""Each rate's events, and what they are divided by."""

_COUNTERS: Final = tuple(name for pair in RATES.values() for name in pair)

OTHER: Final = "other"
"""The label of everything that comes when there are labels enough."""

_LONGEST_LABEL = 100


class ReliabilityMetrics:
    """Counters that only grow. Not thread-safe: they belong to one event loop's thread. Recording never raises.

    Events are also counted by a label: the operation, the service or the resource, and for retries the error's class too.
    Idempotency keys and sagas' ids are as many as there are calls, and are no labels.

    Args:
        max_labels: of one kind of event, from 1; later ones are counted as :data:`OTHER`. What is longer than 100 characters
            is cut.
    """

    def __init__(self, *, max_labels: int = 100) -> None:
        if max_labels < 1:
            raise ValueError(f"max_labels must be a whole number from 1, not {max_labels!r}")
        self._max_labels = max_labels
        self._counts = dict.fromkeys(_COUNTERS, 0)
        self._labels: dict[str, Counter[str]] = {}
        self._timeout_s = 0.0

    def record_operation(self, operation: str) -> None:
        """Somebody wants something done, however many attempts it takes."""
        self._add("operations", operation)

    def record_attempt(self, operation: str) -> None:
        """One attempt is made, the first or a retry."""
        self._add("attempts", operation)

    def record_timeout(self, operation: str, duration: float) -> None:
        """An attempt ran out of time, after ``duration`` seconds."""
        self._add("timeouts", operation)
        if duration >= 0 and math.isfinite(duration):
            self._timeout_s += duration

    def record_retry(self, operation: str, attempt: int, error: Exception) -> None:  # noqa: ARG002  # the documents' signature
        """An attempt failed with ``error``, and another one follows."""
        self._add("retries", operation)
        self._label("retry_errors", type(error).__name__)

    def record_circuit_breaker_call(self, service: str) -> None:
        """A breaker was asked."""
        self._add("circuit_breaker_calls", service)

    def record_circuit_breaker_open(self, service: str) -> None:
        """A breaker opened."""
        self._add("circuit_breaker_opens", service)

    def record_bulkhead_request(self, resource: str) -> None:
        """A bulkhead was asked for a place."""
        self._add("bulkhead_requests", resource)

    def record_bulkhead_rejection(self, resource: str) -> None:
        """A bulkhead had no place."""
        self._add("bulkhead_rejections", resource)

    def record_idempotency_lookup(self, key: str) -> None:  # noqa: ARG002  # keys are no labels; the pair to a hit
        """A call came with an idempotency key."""
        self._counts["idempotency_lookups"] += 1

    def record_idempotency_hit(self, key: str) -> None:  # noqa: ARG002  # keys are no labels; the documents' signature
        """It was answered from what is stored."""
        self._counts["idempotency_hits"] += 1

    def record_saga_step(self, saga_id: str, step: str) -> None:  # noqa: ARG002  # ids are no labels; the pair to a compensation
        """A saga's step was run."""
        self._add("saga_steps", step)

    def record_saga_compensation(self, saga_id: str, step: str) -> None:  # noqa: ARG002  # ids are no labels; the documents' signature
        """A saga's step was undone."""
        self._add("saga_compensations", step)

    def get_metrics_summary(self) -> dict[str, int | float | None]:
        """Every counter, ``timeout_seconds`` (spent in attempts that ran out of time), and the rates; None: of nothing."""
        summary: dict[str, int | float | None] = {**self._counts, "timeout_seconds": self._timeout_s}
        for rate, (events, whole) in RATES.items():
            of = self._counts[whole]
            summary[rate] = self._counts[events] / of if of else None
        return summary

    def by_label(self, counter: str) -> dict[str, int]:
        """One counter by operation, service, resource or step; ``retry_errors`` by the error's class."""
        return dict(self._labels.get(counter, ()))

    def _add(self, counter: str, label: str) -> None:
        self._counts[counter] += 1
        self._label(counter, label)

    def _label(self, counter: str, label: str) -> None:
        counts = self._labels.get(counter)
        if counts is None:
            counts = self._labels[counter] = Counter()
        label = label[:_LONGEST_LABEL]
        if label not in counts and len(counts) >= self._max_labels:
            label = OTHER
        counts[label] += 1
