"""Prometheus metrics. Labels are bounded: providers, routes and outcomes are configured or ours, models are neither.

Everything is counted on the event loop's own thread, in plain numbers, and turned into metrics when they are asked for: the
client library's own counters take a lock for every count, eleven times a request.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from holdfast.errors import HoldfastError
    from holdfast.ledger.base import Ledger
    from holdfast.ledger.entry import AttemptRow, End, Intent
    from holdfast.model.usage import Usage

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

_COUNTERS: Final = {
    "holdfast_requests": ("Requests that ended, by route and final state.", ("route", "state")),
    "holdfast_refused": ("Requests refused before they were accepted.", ("reason",)),
    "holdfast_attempts": ("Attempts at providers, by outcome.", ("provider", "outcome")),
    "holdfast_tokens": ("Tokens billed; cached is part of input, reasoning of output.", ("provider", "kind")),
    "holdfast_cost_usd": ("Dollars billed, by provider and how that is known.", ("provider", "source")),
    "holdfast_unpriced_attempts": ("Billed attempts whose price nobody knows.", ("provider",)),
}

_HISTOGRAMS: Final = {
    "holdfast_request_seconds": "From arrival to end.",
    "holdfast_first_token_seconds": "From arrival to first content.",
}


class Metrics:
    """The engine's observer, and a collector of what it saw."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counts: dict[str, dict[tuple[str, ...], int]] = {name: {} for name in _COUNTERS}
        self._times: dict[str, dict[str, _Times]] = {name: {} for name in _HISTOGRAMS}
        self._tokens: dict[str, _Tokens] = {}
        self._in_flight = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def expose(self) -> bytes:
        """The text format."""
        return generate_latest(self._registry)

    def refused(self, error: HoldfastError) -> None:
        """A request was turned away before it was accepted: no ledger row, a count."""
        self._add("holdfast_refused", (error.label,))

    def accepted(self, intent: Intent) -> None:  # noqa: ARG002  # the Observer protocol's shape
        self._in_flight += 1

    def attempted(self, intent: Intent, row: AttemptRow) -> None:  # noqa: ARG002  # the Observer protocol's shape
        provider = row.provider
        self._add("holdfast_attempts", (provider, row.outcome))
        if (usage := row.usage) is not None:
            tokens = self._tokens.get(provider)
            if tokens is None:
                tokens = self._tokens[provider] = _Tokens()
            tokens.add(usage)
        if row.cost_nano is None:
            self._add("holdfast_unpriced_attempts", (provider,))
        else:
            self._add("holdfast_cost_usd", (provider, row.billed), row.cost_nano)

    def ended(self, intent: Intent, end: End) -> None:
        route = intent.route or "direct"
        self._in_flight -= 1
        self._add("holdfast_requests", (route, end.state))
        self._time("holdfast_request_seconds", route, end.total_ms)
        self._time("holdfast_first_token_seconds", route, end.first_token_ms)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks a collector for."""
        self._counts["holdfast_tokens"] = {
            (provider, kind): amount
            for provider, tokens in self._tokens.items()
            for kind, amount in tokens.by_kind().items()
        }
        for name, (text, labels) in _COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=labels)
            scale = 1e-9 if name == "holdfast_cost_usd" else 1  # counted in nano-dollars, exactly
            for values, amount in self._counts[name].items():
                family.add_metric(values, amount * scale)
            yield family
        for name, text in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, text, labels=("route",))
            for route, times in self._times[name].items():
                histogram.add_metric((route,), times.cumulative(), times.total)
            yield histogram
        health = self._ledger.health()
        yield GaugeMetricFamily(
            "holdfast_in_flight", "Accepted requests that have not ended.", self._in_flight
        )
        yield GaugeMetricFamily("holdfast_ledger_queued", "Ends that wait to be written.", health.queued)
        yield GaugeMetricFamily("holdfast_ledger_ok", "1 while the ledger takes writes.", int(health.ok))

    def _add(self, name: str, labels: tuple[str, ...], amount: int | None = 1) -> None:
        if amount is not None and amount > 0:  # a counter only grows: a usage below zero is flagged elsewhere
            series = self._counts[name]
            series[labels] = series.get(labels, 0) + amount

    def _time(self, name: str, route: str, value_ms: float | None) -> None:
        if value_ms is None:
            return
        series = self._times[name]
        times = series.get(route)
        if times is None:
            times = series[route] = _Times()
        times.add(value_ms / 1e3)


class _Tokens:
    """One provider's tokens. Attributes, since all five are added to in every attempt."""

    __slots__ = ("cache_read", "cache_write", "input", "output", "reasoning")

    def __init__(self) -> None:
        self.input = self.cache_read = self.cache_write = self.output = self.reasoning = 0

    def add(self, usage: Usage) -> None:
        # A counter only grows: what isn't told or can't be believed adds nothing.
        self.input += max(0, usage.input_tokens or 0)
        self.output += max(0, usage.output_tokens or 0)
        if usage.cache_read_tokens:
            self.cache_read += max(0, usage.cache_read_tokens)
        if usage.cache_write_tokens:
            self.cache_write += max(0, usage.cache_write_tokens)
        if usage.reasoning_tokens:
            self.reasoning += max(0, usage.reasoning_tokens)

    def by_kind(self) -> dict[str, int]:
        amounts = {kind: getattr(self, kind) for kind in self.__slots__}
        return {kind: amount for kind, amount in amounts.items() if amount}


class _Times:
    """One histogram's numbers."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        sums, so_far = [], 0
        for bound, count in zip((*_SECONDS, float("inf")), self.buckets, strict=True):
            so_far += count
            sums.append(("+Inf" if bound == float("inf") else str(bound), float(so_far)))
        return sums
