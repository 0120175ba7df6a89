"""How long requests waited for Redis, as Prometheus metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from holdfast.stores.base import Store

__all__ = ["store_metrics"]


def store_metrics(store: Store | None) -> Iterator[Metric]:
    """Without a store they are there, and have no series."""
    waited = HistogramMetricFamily(
        "holdfast_store_seconds",
        "What calls waited for Redis: those that were `answered`, and those in which it was `lost`.",
        labels=("outcome",),
    )
    longest = GaugeMetricFamily(
        "holdfast_store_longest_seconds",
        "The longest that any one request has waited for Redis, all its calls together.",
    )
    if store is not None:
        waits = store.waits
        for outcome, buckets, total in waits.histograms():
            waited.add_metric((outcome,), buckets, total)
        longest.add_metric((), waits.longest_s)
    yield waited
    yield longest
