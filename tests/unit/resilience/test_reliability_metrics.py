"""Reliability metrics: what counts, what it is divided by, and how many labels there may be."""

from __future__ import annotations

import pytest

from holdfast.resilience.metrics import OTHER, RATES, ReliabilityMetrics

EVENTS = {
    "operations": ("record_operation", ("chat",)),
    "attempts": ("record_attempt", ("chat",)),
    "timeouts": ("record_timeout", ("chat", 30.0)),
    "retries": ("record_retry", ("chat", 1, ConnectionResetError("gone"))),
    "circuit_breaker_calls": ("record_circuit_breaker_call", ("chat",)),
    "circuit_breaker_opens": ("record_circuit_breaker_open", ("chat",)),
    "bulkhead_requests": ("record_bulkhead_request", ("chat",)),
    "bulkhead_rejections": ("record_bulkhead_rejection", ("chat",)),
    "idempotency_lookups": ("record_idempotency_lookup", ("key-1",)),
    "idempotency_hits": ("record_idempotency_hit", ("key-1",)),
    "saga_steps": ("record_saga_step", ("saga-1", "chat")),
    "saga_compensations": ("record_saga_compensation", ("saga-1", "chat")),
}
NO_LABEL = {"idempotency_lookups", "idempotency_hits"}


@pytest.mark.parametrize("counter", EVENTS)
def test_each_event_moves_its_own_counter_and_no_other(counter):
    metrics = ReliabilityMetrics()
    name, arguments = EVENTS[counter]
    before = metrics.get_metrics_summary()
    getattr(metrics, name)(*arguments)
    getattr(metrics, name)(*arguments)
    after = metrics.get_metrics_summary()
    assert {key: after[key] - before[key] for key in EVENTS} == {key: 2 * (key == counter) for key in EVENTS}
    assert metrics.by_label(counter) == ({} if counter in NO_LABEL else {"chat": 2})


def test_nothing_has_happened():
    summary = ReliabilityMetrics().get_metrics_summary()
    assert set(summary) == {*EVENTS, *RATES, "timeout_seconds"}
    assert all(summary[rate] is None for rate in RATES), "a rate of nothing isn't zero"
    assert all(summary[counter] == 0 for counter in EVENTS)


@pytest.mark.parametrize("rate", RATES)
def test_rates(rate):
    metrics = ReliabilityMetrics()
    part, whole = RATES[rate]
    for counter, times in ((part, 3), (whole, 8)):
        name, arguments = EVENTS[counter]
        for _ in range(times):
            getattr(metrics, name)(*arguments)
    assert metrics.get_metrics_summary()[rate] == 0.375


@pytest.mark.parametrize(
    ("durations", "sum_s"), [((1.5, 2.0), 3.5), ((1.0, -5.0), 1.0), ((float("nan"), float("inf"), 2.0), 2.0)]
)
def test_time_lost_is_a_sum_of_what_are_durations(durations, sum_s):
    metrics = ReliabilityMetrics()
    for duration in durations:
        metrics.record_timeout("chat", duration)
    summary = metrics.get_metrics_summary()
    assert (summary["timeouts"], summary["timeout_seconds"]) == (len(durations), sum_s)


def test_retries_by_the_errors_class():
    metrics = ReliabilityMetrics()
    for n, error in enumerate((TimeoutError("a"), TimeoutError("b"), ValueError("c")), 1):
        metrics.record_retry("chat", n, error)
    assert metrics.by_label("retry_errors") == {"TimeoutError": 2, "ValueError": 1}


def test_labels_are_bounded():
    """A caller that puts an id into the name costs a counter, and no memory without end."""
    metrics = ReliabilityMetrics(max_labels=3)
    for n in range(1000):
        metrics.record_operation(f"op-{n}")
    metrics.record_operation("op-0")
    assert metrics.by_label("operations") == {"op-0": 2, "op-1": 1, "op-2": 1, OTHER: 997}
    assert metrics.get_metrics_summary()["operations"] == 1001


def test_long_labels_are_cut():
    metrics = ReliabilityMetrics()
    metrics.record_operation("x" * 10_000_000)
    metrics.record_operation("x" * 100 + "y")
    assert metrics.by_label("operations") == {"x" * 100: 2}


def test_keys_and_ids_leave_no_trace():
    metrics = ReliabilityMetrics()
    for n in range(500):
        metrics.record_idempotency_lookup(f"key-{n}")
        metrics.record_idempotency_hit(f"key-{n}")
        metrics.record_saga_step(f"saga-{n}", "pay")
        metrics.record_saga_compensation(f"saga-{n}", "pay")
    assert {key for counter in EVENTS for key in metrics.by_label(counter)} == {"pay"}


@pytest.mark.parametrize("max_labels", [0, -1])
def test_no_labels_at_all_is_refused(max_labels):
    with pytest.raises(ValueError, match=r"^max_labels must be a whole number from 1, not"):
        ReliabilityMetrics(max_labels=max_labels)


def test_what_is_given_out_is_a_copy():
    metrics = ReliabilityMetrics()
    metrics.record_operation("chat")
    metrics.by_label("operations")["chat"] = 99
    metrics.get_metrics_summary()["operations"] = 99
    assert metrics.by_label("operations") == {"chat": 1}
    assert metrics.get_metrics_summary()["operations"] == 1
