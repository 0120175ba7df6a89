"""Time-outs, as the reliability document asks for them: its class and names, on the product's own code in virtual time.

The document wants 408 for an API that is too slow. That status tells a client that it was too slow to send; a server that
waited in vain for another answers 504.
"""

from __future__ import annotations

import asyncio

import pytest

from holdfast.resilience.metrics import ReliabilityMetrics
from holdfast.resilience.named_timeouts import (
    ApiTimeoutError,
    DatabaseTimeoutError,
    OperationTimeoutError,
    TimeoutSettings,
    ToolTimeoutError,
    WebSocketTimeoutError,
    with_timeout,
)
from holdfast.resilience.retry import Retry, RetrySettings
from holdfast.testing.virtual_time import run_virtual


class Slow:
    """The other side: answers after so many seconds, and knows whether anybody waited for that."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.cancelled = 0

    async def __call__(self) -> str:
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "answer"


def timed_out(name: str, takes_s: float) -> tuple[OperationTimeoutError, float, int]:
    async def main(clock):
        slow = Slow(takes_s)
        with pytest.raises(OperationTimeoutError) as caught:
            await with_timeout(name, slow)
        return caught.value, clock.monotonic(), slow.cancelled

    return run_virtual(main)


class TestTimeouts:
    """E1."""

    def test_timeout_configuration(self):
        values = TimeoutSettings()
        assert (values.api_request, values.api_response) == (30, 25)
        assert (values.tool_execution, values.tool_response) == (60, 55)
        assert (values.database_query, values.database_connection) == (10, 5)
        assert (values.external_service, values.external_service_response) == (45, 40)
        assert (values.websocket_connection, values.websocket_message) == (10, 30)

    def test_api_request_timeout(self):
        error, at, cancelled = timed_out("api_request", 35)
        assert isinstance(error, ApiTimeoutError)
        assert (error.status, error.code) == (504, "API_REQUEST_TIMEOUT")
        assert (at, cancelled) == (30, 1)

    def test_tool_execution_timeout(self):
        error, at, cancelled = timed_out("tool_execution", 65)
        assert isinstance(error, ToolTimeoutError)
        assert error.code == "TOOL_EXECUTION_TIMEOUT"
        assert (at, cancelled) == (60, 1)

    def test_database_query_timeout(self):
        error, at, cancelled = timed_out("database_query", 15)
        assert isinstance(error, DatabaseTimeoutError)
        assert (at, cancelled) == (10, 1)

    def test_websocket_message_timeout(self):
        error, at, cancelled = timed_out("websocket_message", 35)
        assert isinstance(error, WebSocketTimeoutError)
        assert error.code == "WEBSOCKET_MESSAGE_TIMEOUT"
        assert (at, cancelled) == (30, 1)

    def test_a_response_too_late_leaves_time_to_say_so(self):
        """The inner limit of a pair ends first, and its caller still has 5 s."""

        async def request() -> str:
            try:
                return await with_timeout("api_response", Slow(100))
            except ApiTimeoutError as error:
                await asyncio.sleep(4)
                return error.code

        async def main(clock):
            return await with_timeout("api_request", request), clock.monotonic()

        assert run_virtual(main) == ("API_RESPONSE_TIMEOUT", 29)

    def test_timed_out_attempts_are_retried_and_counted(self):
        """With retry and metrics around it, as the document combines them."""

        async def main(clock):
            metrics = ReliabilityMetrics()
            answers = iter((Slow(15), Slow(15), Slow(1)))

            async def attempt() -> str:
                metrics.record_attempt("query")
                try:
                    return await with_timeout("database_query", next(answers))
                except DatabaseTimeoutError as error:
                    metrics.record_timeout("query", error.limit_s)
                    raise

            retry = Retry(
                RetrySettings(),
                on_retry=lambda event: metrics.record_retry("query", event.attempt, event.error),
                clock=clock,
            )
            metrics.record_operation("query")
            assert await retry.call(attempt) == "answer"
            return metrics

        metrics = run_virtual(main)
        summary = metrics.get_metrics_summary()
        assert (summary["operations"], summary["attempts"], summary["timeouts"], summary["retries"]) == (
            1,
            3,
            2,
            2,
        )
        assert summary["timeout_seconds"] == 20.0
        assert summary["timeout_rate"] == pytest.approx(2 / 3)
        assert metrics.by_label("retry_errors") == {"DatabaseTimeoutError": 2}
