"""Prometheus metrics. Labels are bounded: providers, routes and outcomes are configured or ours; a model is named as its
price is, since callers choose the names that they ask for.

Everything is counted on the event loop's own thread, in plain numbers, and turned into metrics when they are asked for: the
client library's own counters take a lock for every count, eleven times a request.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from holdfast.gateway.money_metrics import MoneyMetrics
from holdfast.gateway.policy_metrics import PolicyMetrics
from holdfast.gateway.reload_metrics import keys_age, reload_metrics
from holdfast.gateway.store_metrics import store_metrics
from holdfast.gateway.workers_sums import Family
from holdfast.providers.tiers import TIERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from holdfast.app import App
    from holdfast.errors import HoldfastError
    from holdfast.gateway.dependencies import Dependency
    from holdfast.gateway.key_watch import KeyWatch
    from holdfast.gateway.reload import Reloader
    from holdfast.gateway.workers_crew import Crew
    from holdfast.ledger.base import Ledger
    from holdfast.ledger.entry import AttemptRow, End, Intent
    from holdfast.model.usage import Usage
    from holdfast.stores.base import Store

__all__ = ["CONTENT_TYPE", "Metrics", "exposed"]

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

_COUNTERS: Final = {
    "holdfast_requests": ("Requests that ended, by route and final state.", ("route", "state")),
    "holdfast_refused": ("Requests refused before they were accepted.", ("reason",)),
    "holdfast_attempts": ("Attempts at providers, by outcome.", ("provider", "outcome")),
    "holdfast_tokens": (
        "Tokens billed, by kind. Those cached and of audio are part of `input`, and of audio and reasoning of `output`.",
        ("provider", "kind"),
    ),
    "holdfast_cost_usd": ("Dollars billed, by provider and how that is known.", ("provider", "source")),
    "holdfast_model_cost_usd": (
        "Dollars billed, by model as its price names it; `other` are those without a price of their own, and those beyond "
        "the first 256.",
        ("provider", "model"),
    ),
    "holdfast_usage_flagged": (
        "Attempts whose usage couldn't be believed, or wasn't told in full, by what was wrong with it.",
        ("provider", "flag"),
    ),
    "holdfast_unpriced_attempts": ("Billed attempts whose price nobody knows.", ("provider",)),
    "holdfast_retries": (
        "Attempts at a target that the same request had asked before; they are among the attempts.",
        ("provider",),
    ),
    "holdfast_idempotency": (
        "Requests with an idempotency key: `ran`, `joined` a run, `replayed` its answer, or the label of their refusal.",
        ("result",),
    ),
}

_DOLLARS: Final = frozenset(("holdfast_cost_usd", "holdfast_model_cost_usd"))
_MOST_MODELS: Final = 256
_OTHER: Final = "other"
_PRICED: Final = re.compile(rf"(?:override|genai-prices-[^:]+):(?P<name>.+?)(?:@(?:{'|'.join(TIERS)})|#\w+)*")
"""A price's id: the list, the model's name there, and what of its prices it is. A ceiling names no model."""

_HISTOGRAMS: Final = {
    "holdfast_request_seconds": "From arrival to end.",
    "holdfast_first_token_seconds": "From arrival to first content.",
}


class Metrics:
    """The engine's observer, and a collector of what it saw.

    Args:
        ledger: whose health is shown.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counts: dict[str, dict[tuple[str, ...], int]] = {name: {} for name in _COUNTERS}
        self._times: dict[str, dict[str, _Times]] = {name: {} for name in _HISTOGRAMS}
        self._tokens: dict[str, _Tokens] = {}
        self._in_flight = 0
        self._policies = PolicyMetrics()
        self._money = MoneyMetrics()
        self._budgets: dict[str, None] = {}
        """Those of the configuration, also such as a reload took away: a series doesn't end while its process lives."""
        self._models: dict[tuple[str, str | None], tuple[str, str]] = {}
        """By provider and price: there are as many as the price list and the file have."""
        self._named: set[tuple[str, str]] = set()
        self._running: Callable[[], int] = lambda: 0
        self._reloader: Reloader | None = None
        self._store: Store | None = None
        self.key_watch: KeyWatch | None = None
        """Follows keys that other processes change; None: there are none."""
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._dependencies: Iterable[Dependency] = ()
        self.crew: Crew | None = None
        """The other workers, if this is one of several."""

    def watch(self, app: App) -> None:
        """From now on observes ``app``, and shows how its policies stand. Again after each change of its configuration."""
        app.engine.observer = self
        app.runs.counted = self
        self._policies.watch(app.engine)
        rules = (*app.config.budgets, *app.config.cost_protection.rules)
        self._budgets |= dict.fromkeys(rule.name for rule in rules)
        self._money = MoneyMetrics(app.engine.treasury, self._budgets)
        self._running = lambda: app.runs.running
        self._store = app.shared.store

    def show_reloads(self, reloader: Reloader) -> None:
        """From now on shows which configuration counts, and what became of others."""
        self._reloader = reloader

    def show_dependencies(self, dependencies: Iterable[Dependency]) -> None:
        """From now on shows how what this process hangs on stands."""
        self._dependencies = dependencies

    def expose(self) -> bytes:
        """The text format, of this process alone."""
        return generate_latest(self._registry)

    async def scrape(self) -> bytes:
        """The text format, of all workers together.

        Raises:
            HoldfastError: the other workers' numbers can't be had.
        """
        return self.expose() if self.crew is None else exposed(await self.crew.sums())

    def families(self) -> list[Family]:
        """This process's numbers, as they are told to others."""
        return [Family.of(metric) for metric in self.collect()]

    def refused(self, error: HoldfastError) -> None:
        """A request was turned away before it was accepted: no ledger row, a count."""
        self._add("holdfast_refused", (error.label,))

    def keyed(self, result: str) -> None:
        """What became of a request with an idempotency key."""
        self._add("holdfast_idempotency", (result,))

    def accepted(self, intent: Intent) -> None:  # noqa: ARG002  # the Observer protocol's shape
        self._in_flight += 1

    def attempted(self, intent: Intent, row: AttemptRow) -> None:  # noqa: ARG002  # the Observer protocol's shape
        provider = row.provider
        self._add("holdfast_attempts", (provider, row.outcome))
        if row.usage_flag is not None:
            self._add("holdfast_usage_flagged", (provider, row.usage_flag))
        if (usage := row.usage) is not None and row.billed == "provider":
            tokens = self._tokens.get(provider)
            if tokens is None:
                tokens = self._tokens[provider] = _Tokens()
            tokens.add(usage)
        if row.cost_nano is None:
            self._add("holdfast_unpriced_attempts", (provider,))
        elif row.cost_nano > 0:  # a counter only grows
            self._add("holdfast_cost_usd", (provider, row.billed), row.cost_nano)
            self._add("holdfast_model_cost_usd", self._model(provider, row.price_id), row.cost_nano)

    def ended(self, intent: Intent, end: End) -> None:
        route = intent.route or "direct"
        self._in_flight -= 1
        self._add("holdfast_requests", (route, end.state))
        self._time("holdfast_request_seconds", route, end.total_ms)
        self._time("holdfast_first_token_seconds", route, end.first_token_ms)
        if len(end.attempts) > 1:
            self._count_retries(end.attempts)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks a collector for."""
        self._counts["holdfast_tokens"] = {
            (provider, kind): amount
            for provider, tokens in self._tokens.items()
            for kind, amount in tokens.by_kind().items()
        }
        for name, (text, labels) in _COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=labels)
            scale = 10**9 if name in _DOLLARS else 1  # counted in nano-dollars, exactly
            for values, amount in self._counts[name].items():
                family.add_metric(values, amount / scale)
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
        yield GaugeMetricFamily(
            "holdfast_idempotency_running", "Runs of idempotency keys that aren't over.", self._running()
        )
        yield from self._policies.collect()
        yield from self._money.collect()
        yield from reload_metrics(self._reloader)
        yield keys_age(self.key_watch)
        yield from store_metrics(self._store)
        up = GaugeMetricFamily(
            "holdfast_dependency_up",
            "1 while what the gateway hangs on is there, as in `/health/ready`; of several workers, for all of them.",
            labels=("dependency",),
        )
        for each in self._dependencies:
            up.add_metric((each.name,), int(each.ok))
        yield up

    def _model(self, provider: str, price_id: str | None) -> tuple[str, str]:
        """The labels of what was billed at that price."""
        labels = self._models.get((provider, price_id))
        if labels is None:
            found = None if price_id is None else _PRICED.fullmatch(price_id)
            name = _OTHER if found is None else found["name"].removeprefix(f"{provider.lower()}/")
            labels = provider, name
            if labels not in self._named and len(self._named) >= _MOST_MODELS:
                labels = provider, _OTHER
            self._named.add(labels)
            self._models[provider, price_id] = labels
        return labels

    def _count_retries(self, rows: Iterable[AttemptRow]) -> None:
        asked = set()
        for row in rows:
            target = row.provider, row.deployment, row.model
            if target in asked:
                self._add("holdfast_retries", (row.provider,))
            asked.add(target)

    def _add(self, name: str, labels: tuple[str, ...], amount: int = 1) -> None:
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


class _Told:
    """A collector of what was told."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.text, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric


def exposed(families: list[Family]) -> bytes:
    """Numbers that were told, in the text format."""
    registry = CollectorRegistry()
    registry.register(_Told(families))
    return generate_latest(registry)


class _Tokens:
    """One provider's tokens. Attributes, since most are added to in every attempt."""

    __slots__ = (
        "cache_read",
        "cache_write",
        "cache_write_1h",
        "input",
        "input_audio",
        "output",
        "output_audio",
        "reasoning",
    )

    def __init__(self) -> None:
        self.input = self.cache_read = self.cache_write = self.cache_write_1h = self.input_audio = 0
        self.output = self.output_audio = self.reasoning = 0

    def add(self, usage: Usage) -> None:
        # A counter only grows: what isn't told or can't be believed adds nothing.
        self.input += max(0, usage.input_tokens or 0)
        self.output += max(0, usage.output_tokens or 0)
        if usage.cache_read_tokens:
            self.cache_read += max(0, usage.cache_read_tokens)
        if usage.cache_write_tokens:
            self.cache_write += max(0, usage.cache_write_tokens)
        if usage.cache_write_1h_tokens:
            self.cache_write_1h += max(0, usage.cache_write_1h_tokens)
        if usage.input_audio_tokens:
            self.input_audio += max(0, usage.input_audio_tokens)
        if usage.output_audio_tokens:
            self.output_audio += max(0, usage.output_audio_tokens)
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
