"""Which configuration and which keys count, and what became of reloads, as Prometheus metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from holdfast.gateway.reload import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from holdfast.gateway.key_watch import KeyWatch
    from holdfast.gateway.reload import Reloader

__all__ = ["keys_age", "reload_metrics"]


def reload_metrics(reloader: Reloader | None) -> Iterator[Metric]:
    """As things stand now; None: every metric is there, as at a start."""
    yield GaugeMetricFamily(
        "holdfast_config_generation",
        "The configuration that counts: 1 is the start's, and each reload that changed something adds one.",
        1 if reloader is None else reloader.generation,
    )
    reloads = CounterMetricFamily(
        "holdfast_reloads",
        "Reloads of the configuration: `applied`, `unchanged`, or `refused` because something was wrong with it.",
        labels=("result",),
    )
    for result in RESULTS:
        reloads.add_metric((result,), 0 if reloader is None else reloader.counts[result])
    yield reloads


def keys_age(watch: KeyWatch | None) -> Metric:
    """As it stands now; None: no other process changes them."""
    return GaugeMetricFamily(
        "holdfast_keys_age_seconds",
        "Since keys were last known to be as the ledger has them. They go on as they were read last where it can't be read; "
        "0 where no other process changes them.",
        0.0 if watch is None else watch.age_s,
    )
