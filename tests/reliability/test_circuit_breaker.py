"""Circuit breakers, as the reliability document asks for them: its class and names, in virtual time.

Where its first loop expects the breaker's own error from calls that fail, the operation's error is the right one: a call
that was let in raises what it raised.
"""

from __future__ import annotations

import asyncio

import pytest

from holdfast.resilience.circuit_breaker import CircuitBreaker, CircuitBreakerOpenError, CircuitState
from holdfast.resilience.outcome import Outcome
from holdfast.testing.virtual_time import run_virtual


class HTTPError(Exception):
    pass


async def failing_operation() -> str:
    raise HTTPError("500")


async def succeeding_operation() -> str:
    return "success"


async def opened(clock, **settings) -> CircuitBreaker:
    circuit_breaker = CircuitBreaker(
        **{"failure_threshold": 3, "success_threshold": 2, **settings}, clock=clock
    )
    for _ in range(3):
        with pytest.raises(HTTPError):
            await circuit_breaker.call(failing_operation)
    return circuit_breaker


class TestCircuitBreaker:
    def test_circuit_breaker_opens_on_failures(self):
        async def main(clock):
            circuit_breaker = await opened(clock, open_timeout=60)
            assert circuit_breaker.state == CircuitState.OPEN
            called = False

            async def operation() -> None:
                nonlocal called
                called = True

            with pytest.raises(CircuitBreakerOpenError) as refused:
                await circuit_breaker.call(operation)
            assert not called
            assert 54 <= refused.value.retry_after_s <= 66

        run_virtual(main)

    def test_circuit_breaker_closes_on_successes(self):
        async def main(clock):
            circuit_breaker = await opened(clock, open_timeout=1)
            await asyncio.sleep(1.1)
            assert circuit_breaker.state == CircuitState.HALF_OPEN
            assert await circuit_breaker.call(succeeding_operation) == "success"
            assert circuit_breaker.state == CircuitState.HALF_OPEN
            assert await circuit_breaker.call(succeeding_operation) == "success"
            assert circuit_breaker.state == CircuitState.CLOSED

        run_virtual(main)

    def test_half_open_lets_a_few_try(self):
        """CB2: of a hundred who come at once as many as successes are needed; for the others it is still open."""

        async def main(clock):
            circuit_breaker = await opened(clock, open_timeout=1, jitter=0)
            await asyncio.sleep(1)
            answer = asyncio.Event()
            callers = [asyncio.create_task(circuit_breaker.call(answer.wait)) for _ in range(100)]
            await asyncio.sleep(0)
            answer.set()
            ends = await asyncio.gather(*callers, return_exceptions=True)
            assert ends.count(True) == 2
            assert sum(isinstance(end, CircuitBreakerOpenError) for end in ends) == 98
            assert circuit_breaker.state == CircuitState.CLOSED

        run_virtual(main)

    def test_circuit_breaker_metrics(self):
        async def main(clock):
            circuit_breaker = CircuitBreaker(
                failure_threshold=3, success_threshold=2, open_timeout=60, clock=clock
            )
            for _ in range(10):
                with pytest.raises((HTTPError, CircuitBreakerOpenError)):
                    await circuit_breaker.call(failing_operation)
            assert circuit_breaker.get_metrics() == {
                "total_requests": 10,
                "successful_requests": 0,
                "failed_requests": 3,
                "circuit_open_requests": 7,
                "current_state": "OPEN",
            }

        run_virtual(main)

    def test_a_failing_probe_opens_it_again(self):
        async def main(clock):
            circuit_breaker = await opened(clock, open_timeout=1, jitter=0)
            await asyncio.sleep(1)
            with pytest.raises(HTTPError):
                await circuit_breaker.call(failing_operation)
            assert circuit_breaker.state == CircuitState.OPEN

        run_virtual(main)

    def test_half_open_expires(self):
        async def main(clock):
            circuit_breaker = await opened(clock, open_timeout=1, half_open_timeout=30, jitter=0)
            await asyncio.sleep(1)
            hung = asyncio.create_task(circuit_breaker.call(asyncio.Event().wait))
            await asyncio.sleep(29)
            assert circuit_breaker.state == CircuitState.HALF_OPEN
            await asyncio.sleep(1)
            assert circuit_breaker.state == CircuitState.OPEN
            hung.cancel()
            await asyncio.wait({hung})

        run_virtual(main)

    def test_cancelled_calls_count_as_neither(self):
        async def main(clock):
            circuit_breaker = CircuitBreaker(failure_threshold=1, clock=clock)
            for _ in range(20):
                task = asyncio.create_task(circuit_breaker.call(asyncio.Event().wait))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait({task})
            metrics = circuit_breaker.get_metrics()
            assert (metrics["total_requests"], metrics["failed_requests"]) == (20, 0)
            assert circuit_breaker.state == CircuitState.CLOSED

        run_virtual(main)

    def test_the_callers_own_faults_can_be_told_apart(self):
        async def main(clock):
            circuit_breaker = CircuitBreaker(
                failure_threshold=1, clock=clock, classify=lambda _: Outcome.NEUTRAL
            )
            with pytest.raises(HTTPError):
                await circuit_breaker.call(failing_operation)
            assert circuit_breaker.state == CircuitState.CLOSED

        run_virtual(main)

    def test_the_documents_defaults(self):
        circuit_breaker = CircuitBreaker()
        settings = circuit_breaker._breaker.settings
        assert (settings.failure_threshold, settings.success_threshold) == (5, 3)
        assert (settings.open_s, settings.half_open_s, settings.window_s) == (60, 30, 300)

    @pytest.mark.parametrize("bad", [{"failure_threshold": 0}, {"open_timeout": -1}, {"failure_ratio": 1.5}])
    def test_impossible_settings_are_refused(self, bad):
        with pytest.raises(ValueError, match="must be"):
            CircuitBreaker(**bad)
