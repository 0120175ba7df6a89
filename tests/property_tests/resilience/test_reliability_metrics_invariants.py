"""E7: for every sequence of events the counters are the counts of the sequence, and the rates their quotients."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from holdfast.resilience.metrics import OTHER, RATES, ReliabilityMetrics

names = st.sampled_from(["chat", "embed", "a", "b", "c", OTHER])
counters = st.sampled_from([name for pair in RATES.values() for name in pair])
METHOD = {
    "operations": lambda m, label: m.record_operation(label),
    "attempts": lambda m, label: m.record_attempt(label),
    "timeouts": lambda m, label: m.record_timeout(label, 1.0),
    "retries": lambda m, label: m.record_retry(label, 1, ValueError()),
    "circuit_breaker_calls": lambda m, label: m.record_circuit_breaker_call(label),
    "circuit_breaker_opens": lambda m, label: m.record_circuit_breaker_open(label),
    "bulkhead_requests": lambda m, label: m.record_bulkhead_request(label),
    "bulkhead_rejections": lambda m, label: m.record_bulkhead_rejection(label),
    "idempotency_lookups": lambda m, label: m.record_idempotency_lookup(label),
    "idempotency_hits": lambda m, label: m.record_idempotency_hit(label),
    "saga_steps": lambda m, label: m.record_saga_step("id", label),
    "saga_compensations": lambda m, label: m.record_saga_compensation("id", label),
}


@given(st.lists(st.tuples(counters, names), max_size=100), st.integers(1, 4))
def test_counts_are_exact(events, max_labels):
    metrics = ReliabilityMetrics(max_labels=max_labels)
    for counter, label in events:
        METHOD[counter](metrics, label)
    expected = Counter(counter for counter, _ in events)
    summary = metrics.get_metrics_summary()
    assert {counter: summary[counter] for counter in METHOD} == {name: expected[name] for name in METHOD}
    for rate, (part, whole) in RATES.items():
        assert summary[rate] == (expected[part] / expected[whole] if expected[whole] else None)
    for counter in set(METHOD) - {"idempotency_lookups", "idempotency_hits"}:
        by_label = metrics.by_label(counter)
        assert sum(by_label.values()) == expected[counter], "every event has exactly one label"
        assert len(set(by_label) - {OTHER}) <= max_labels
