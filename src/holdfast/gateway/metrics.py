"""Prometheus metrics. Labels are bounded: providers, routes and outcomes are configured or ours, models are neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

    from holdfast.errors import HoldfastError
    from holdfast.ledger.base import Ledger
    from holdfast.ledger.entry import AttemptRow, End, Intent

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_KINDS: Final = (
    ("input_tokens", "input"),
    ("cache_read_tokens", "cache_read"),
    ("cache_write_tokens", "cache_write"),
    ("output_tokens", "output"),
    ("reasoning_tokens", "reasoning"),
)


class Metrics:
    """Counts what the engine tells. Children are bound once per label set: a look-up by label costs more than the count."""

    def __init__(self, ledger: Ledger) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "holdfast_requests",
            "Requests that ended, by route and final state.",
            ["route", "state"],
            registry=registry,
        )
        self._refused = Counter(
            "holdfast_refused", "Requests refused before they were accepted.", ["reason"], registry=registry
        )
        self._attempts = Counter(
            "holdfast_attempts",
            "Attempts at providers, by outcome.",
            ["provider", "outcome"],
            registry=registry,
        )
        self._tokens = Counter(
            "holdfast_tokens",
            "Tokens that providers billed; cached is part of input, reasoning of output.",
            ["provider", "kind"],
            registry=registry,
        )
        self._cost = Counter(
            "holdfast_cost_usd",
            "Dollars billed, by provider and by how that is known.",
            ["provider", "source"],
            registry=registry,
        )
        self._unpriced = Counter(
            "holdfast_unpriced_attempts",
            "Billed attempts whose price nobody knows.",
            ["provider"],
            registry=registry,
        )
        self._duration = Histogram(
            "holdfast_request_seconds", "From arrival to end.", ["route"], buckets=_SECONDS, registry=registry
        )
        self._first_token = Histogram(
            "holdfast_first_token_seconds",
            "From arrival to first content.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        in_flight = self._in_flight = Gauge(
            "holdfast_in_flight", "Accepted requests that have not ended.", registry=registry
        )
        in_flight.set(0)
        queued = Gauge("holdfast_ledger_queued", "Ends that wait to be written.", registry=registry)
        queued.set_function(lambda: ledger.health().queued)
        healthy = Gauge("holdfast_ledger_ok", "1 while the ledger takes writes.", registry=registry)
        healthy.set_function(lambda: float(ledger.health().ok))
        self._bound: dict[tuple[int, tuple[str, ...]], MetricWrapperBase] = {}

    def expose(self) -> bytes:
        """The text format."""
        return generate_latest(self._registry)

    def refused(self, error: HoldfastError) -> None:
        """A request was turned away before it was accepted: no ledger row, a count."""
        self._count(self._refused, error.label)

    def accepted(self, intent: Intent) -> None:  # noqa: ARG002  # the Observer protocol's shape
        self._in_flight.inc()

    def attempted(self, intent: Intent, row: AttemptRow) -> None:  # noqa: ARG002  # the Observer protocol's shape
        self._count(self._attempts, row.provider, row.outcome)
        if row.usage is not None:
            for field, kind in _KINDS:
                if amount := getattr(row.usage, field):
                    self._count(self._tokens, row.provider, kind, amount=max(0, amount))
        if row.cost_nano is None:
            self._count(self._unpriced, row.provider)
        elif row.cost_nano:
            self._count(self._cost, row.provider, row.billed, amount=row.cost_nano / 1e9)

    def ended(self, intent: Intent, end: End) -> None:
        route = intent.route or "direct"
        self._in_flight.dec()
        self._count(self._requests, route, end.state)
        self._observe(self._duration, route, end.total_ms)
        self._observe(self._first_token, route, end.first_token_ms)

    def _count(self, metric: Counter, *labels: str, amount: float = 1.0) -> None:
        child = self._child(metric, labels)
        if isinstance(child, Counter):
            child.inc(amount)

    def _observe(self, metric: Histogram, route: str, value_ms: float | None) -> None:
        child = self._child(metric, (route,))
        if isinstance(child, Histogram) and value_ms is not None:
            child.observe(value_ms / 1e3)

    def _child(self, metric: MetricWrapperBase, labels: tuple[str, ...]) -> MetricWrapperBase:
        key = (id(metric), labels)
        child = self._bound.get(key)
        if child is None:
            child = self._bound[key] = metric.labels(*labels)
        return child
