"""Reliability metrics, as the reliability document asks for them: its keys, its calls, and the denominators it left out."""

from __future__ import annotations

import pytest

from holdfast.resilience.metrics import ReliabilityMetrics


class TestReliabilityMetrics:
    """E7."""

    def test_metrics_summary(self):
        """The document's six keys, from the document's six calls."""
        metrics = ReliabilityMetrics()
        metrics.record_timeout("chat", 30.0)
        for attempt in (1, 2):
            metrics.record_retry("chat", attempt, TimeoutError())
        for _ in range(3):
            metrics.record_circuit_breaker_open("openai")
        for _ in range(4):
            metrics.record_bulkhead_rejection("threads")
        for _ in range(5):
            metrics.record_idempotency_hit("key-1")
        for _ in range(6):
            metrics.record_saga_compensation("saga-1", "step2")
        summary = metrics.get_metrics_summary()
        assert {name: summary[name] for name in ("timeouts", "retries", "circuit_breaker_opens")} == {
            "timeouts": 1,
            "retries": 2,
            "circuit_breaker_opens": 3,
        }
        assert {
            name: summary[name] for name in ("bulkhead_rejections", "idempotency_hits", "saga_compensations")
        } == {"bulkhead_rejections": 4, "idempotency_hits": 5, "saga_compensations": 6}

    @pytest.mark.parametrize(
        ("timeouts", "alarm"), [(5, False), (6, True)], ids=["at the threshold", "above it"]
    )
    def test_high_timeout_rate(self, timeouts, alarm):
        """The document's alert, ``timeout_rate > 0.05``, means something because attempts are counted."""
        metrics = ReliabilityMetrics()
        for n in range(100):
            metrics.record_attempt("chat")
            if n < timeouts:
                metrics.record_timeout("chat", 30.0)
        assert (metrics.get_metrics_summary()["timeout_rate"] > 0.05) is alarm

    @pytest.mark.parametrize(("retries", "alarm"), [(10, False), (11, True)])
    def test_high_retry_rate(self, retries, alarm):
        metrics = ReliabilityMetrics()
        for n in range(100):
            metrics.record_operation("chat")
            if n < retries:
                metrics.record_retry("chat", 1, TimeoutError())
        assert (metrics.get_metrics_summary()["retry_rate"] > 0.1) is alarm

    @pytest.mark.parametrize(("compensations", "alarm"), [(1, False), (2, True)])
    def test_saga_compensation_rate_high(self, compensations, alarm):
        metrics = ReliabilityMetrics()
        for n in range(20):
            metrics.record_saga_step(f"saga-{n}", "pay")
            if n < compensations:
                metrics.record_saga_compensation(f"saga-{n}", "pay")
        assert (metrics.get_metrics_summary()["saga_compensation_rate"] > 0.05) is alarm
