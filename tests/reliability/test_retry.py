"""Retries, as the reliability document asks for them: its class and names, on the product's own code in virtual time."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from holdfast.resilience.retry import (
    CRITICAL,
    INTERACTIVE,
    RETRYABLE_STATUSES,
    STANDARD,
    MaxRetriesExceededError,
    Retry,
    RetryBudgetExhaustedError,
    RetryStoppedError,
    add_jitter,
    retry_with_backoff,
)
from holdfast.resilience.retry_budget import RetryBudget
from holdfast.testing.virtual_time import run_virtual


class HTTPError(Exception):
    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status


class Failing:
    """Fails so many times with one status, then answers; knows when it was called."""

    def __init__(self, clock, times: float, status: int = 500) -> None:
        self.clock = clock
        self.times = times
        self.status = status
        self.calls: list[float] = []

    async def __call__(self) -> str:
        self.calls.append(self.clock.monotonic())
        if len(self.calls) <= self.times:
            raise HTTPError(self.status, "as told")
        return "success"

    @property
    def delays(self) -> list[float]:
        return [then - before for before, then in pairwise(self.calls)]


class TestRetries:
    """E2."""

    def test_exponential_backoff_retry(self):
        """The delays are 1, 2 and 4 s, jitter apart; two failures are survived."""

        async def main(clock):
            operation, worst = Failing(clock, 2), Failing(clock, 3)
            assert await retry_with_backoff(operation, max_retries=3, jitter=0.0, clock=clock) == "success"
            assert await retry_with_backoff(worst, max_retries=3, jitter=0.0, clock=clock) == "success"
            return operation, worst

        operation, worst = run_virtual(main)
        assert len(operation.calls) == 3
        assert worst.delays == [1.0, 2.0, 4.0]

    def test_jitter_backoff(self):
        """RT2: each delay is within 10 % of its own, drawn anew, and never above the cap."""
        dice = random.Random(7)
        for retry in range(10):
            base_delay = STANDARD.backoff.ceiling(retry + 1)
            drawn = [add_jitter(base_delay, rng=dice) for _ in range(200)]
            assert all(abs(delay - base_delay) <= base_delay * 0.1 for delay in drawn)
            assert max(drawn) <= 60.0
            assert len(set(drawn)) > 190

        async def main(clock):
            operation = Failing(clock, 3)
            await retry_with_backoff(operation, clock=clock, rng=random.Random(8))
            return operation.delays

        for delay, base_delay in zip(run_virtual(main), (1.0, 2.0, 4.0), strict=True):
            assert delay != base_delay
            assert abs(delay - base_delay) <= base_delay * 0.1

    @pytest.mark.parametrize("error_code", [408, 429, 500, 502, 503, 504, 529])
    def test_retryable_error_codes(self, error_code):
        async def main(clock):
            operation = Failing(clock, 1, error_code)
            assert await retry_with_backoff(operation, max_retries=2, clock=clock) == "success"
            return operation.calls

        assert len(run_virtual(main)) == 2
        assert error_code in RETRYABLE_STATUSES

    @pytest.mark.parametrize("error_code", [400, 401, 403, 404, 422])
    def test_non_retryable_error_codes(self, error_code):
        async def main(clock):
            operation = Failing(clock, 99, error_code)
            with pytest.raises(HTTPError):
                await retry_with_backoff(operation, max_retries=3, clock=clock)
            return operation.calls, clock.monotonic()

        assert run_virtual(main) == ([0.0], 0.0)

    def test_max_retries_exceeded(self):
        """RT1: the first call and three retries; the error comes with the last one, not a pause later."""

        async def main(clock):
            operation = Failing(clock, 99)
            with pytest.raises(MaxRetriesExceededError) as caught:
                await retry_with_backoff(operation, max_retries=3, clock=clock)
            assert clock.monotonic() == operation.calls[-1]
            return caught.value, len(operation.calls)

        error, calls = run_virtual(main)
        assert error.attempts == calls == 4
        assert isinstance(error.__cause__, HTTPError)

    def test_critical_operations(self):
        async def main(clock):
            operation = Failing(clock, 5)
            assert await Retry(CRITICAL, clock=clock, rng=random.Random(1)).call(operation) == "success"
            return operation.delays

        for delay, base_delay in zip(run_virtual(main), (1.0, 2.0, 4.0, 8.0, 16.0), strict=True):
            assert abs(delay - base_delay) <= base_delay * 0.1


class TestOutage:
    """RT4: everything fails, everybody retries, and the provider doesn't get thrice the load."""

    @staticmethod
    def outage(per_s: float, seconds: int, budgeted: bool) -> tuple[int, int, list[type]]:
        async def main(clock):
            budget = RetryBudget(clock=clock) if budgeted else None
            retry = Retry(INTERACTIVE, budget=budget, clock=clock, rng=random.Random(3))
            operation = Failing(clock, float("inf"), 503)

            async def caller(at: float) -> type:
                await asyncio.sleep(at)
                try:
                    await retry.call(operation)
                except RetryStoppedError as error:
                    return type(error)
                return str

            ends = await asyncio.gather(*(caller(n / per_s) for n in range(int(per_s * seconds))))
            return len(ends), len(operation.calls), ends

        return run_virtual(main)

    def test_total_outage_at_20_requests_a_second(self):
        requests, attempts, ends = self.outage(20.0, 300, budgeted=True)
        assert requests == 6000
        assert attempts / requests <= 1.1 + 0.3 / 20
        assert attempts / requests >= 1.1, "the budget is there to be used"
        assert set(ends) <= {RetryBudgetExhaustedError, MaxRetriesExceededError}

    def test_without_a_budget_it_is_a_storm(self):
        """The measure: what a budget is for."""
        requests, attempts, _ = self.outage(20.0, 30, budgeted=False)
        assert attempts == 3 * requests

    def test_a_lonely_caller_may_retry(self):
        requests, attempts, ends = self.outage(1 / 60, 3600, budgeted=True)
        assert attempts == 3 * requests == 180
        assert set(ends) == {MaxRetriesExceededError}

    def test_it_recovers(self):
        """Live: after the outage the budget is back within a window, and a single failure is retried again."""

        async def main(clock):
            budget = RetryBudget(clock=clock)
            retry = Retry(INTERACTIVE, budget=budget, clock=clock, rng=random.Random(3))
            down = Failing(clock, float("inf"), 503)
            await asyncio.gather(*(retry.call(down) for _ in range(200)), return_exceptions=True)
            assert budget.snapshot().left == 0
            await asyncio.sleep(10.5)
            return await retry.call(Failing(clock, 2, 503))

        assert run_virtual(main) == "success"
