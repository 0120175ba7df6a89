"""Retry, for every script of failures, against a few lines that say the same.

The documents' names: ``test_retry_limit_enforced_invariant``, ``test_max_retries_respected``,
``test_exponential_backoff_invariant``. The engine's own are in ``tests/property_tests/llm``.
"""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.resilience.backoff import Backoff
from holdfast.resilience.retry import (
    MaxRetriesExceededError,
    Retry,
    RetryAfterTooLongError,
    RetryBudgetExhaustedError,
    RetryDeadlineError,
    RetrySettings,
    RetryStoppedError,
    retry_with_backoff,
)
from holdfast.resilience.retry_budget import RetryBudget, RetryBudgetSettings
from holdfast.testing.virtual_time import run_virtual


class HTTPError(Exception):
    def __init__(self, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.retry_after_s = retry_after_s


class Operation:
    def __init__(self, clock, script) -> None:
        self.clock = clock
        self.script = list(script)
        self.begun: list[float] = []
        self.ended: list[float] = []

    async def __call__(self) -> str:
        takes_s, error = self.script.pop(0)
        self.begun.append(self.clock.monotonic())
        await asyncio.sleep(takes_s)
        self.ended.append(self.clock.monotonic())
        if error is not None:
            raise error
        return "done"

    @property
    def pauses(self) -> list[float]:
        return [then - before for before, then in zip(self.ended, self.begun[1:], strict=False)]


failures = st.builds(
    HTTPError,
    st.sampled_from([408, 429, 500, 502, 503, 504, 529, 400, 404]),
    st.none() | st.sampled_from([0.0, 0.7, 3.0, 8.0, 8.5, 40.0]),
)
scripts = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 6.0]), st.one_of(failures, failures, failures, st.none())),
    min_size=8,
    max_size=8,
)


@given(
    script=scripts,
    max_retries=st.integers(0, 6),
    jitter=st.sampled_from(["full", 0.0, 0.1, 1.0]),
    deadline=st.sampled_from([0.5, 5.0, 30.0, 1e9]),
    floor=st.integers(0, 6),
    seed=st.integers(0, 2**32),
)
@example(script=[(0.0, HTTPError(503))] * 8, max_retries=3, jitter=0.1, deadline=1e9, floor=6, seed=0)
def test_any_script(script, max_retries, jitter, deadline, floor, seed):
    """RT1, RT2, RT3, DL1: attempts, pauses and the way it ends are those of the table."""
    backoff = Backoff(base_s=0.5, max_s=8.0, jitter=jitter)

    async def main(clock):
        budget = RetryBudget(
            RetryBudgetSettings(ratio=0.0, floor_per_s=floor / 3600, window_s=3600.0), clock=clock
        )
        operation = Operation(clock, script)
        retry = Retry(
            RetrySettings(max_retries=max_retries, backoff=backoff), budget=budget, clock=clock, rng=random.Random(seed)
        )  # fmt: skip
        try:
            came = await retry.call(operation, deadline=deadline)
        except Exception as error:  # noqa: BLE001  # whatever it is, is what the test looks at
            came = error
        return came, operation, clock.monotonic(), budget.snapshot()

    came, operation, end, state = run_virtual(main)
    attempts = len(operation.begun)
    last = script[attempts - 1][1]

    assert attempts <= 1 + max_retries
    assert end == operation.ended[-1], "no pause after the last attempt"
    assert all(begun < deadline for begun in operation.begun)
    assert (state.requests, state.retries) == (1, attempts - 1)
    assert attempts - 1 <= floor
    for n, pause in enumerate(operation.pauses, 1):
        ceiling, asked = backoff.ceiling(n), script[n - 1][1].retry_after_s
        low, high = (
            (0.0, ceiling) if jitter == "full" else (ceiling * (1 - jitter), min(ceiling * (1 + jitter), 8.0))
        )
        assert max(low, asked or 0.0) - 1e-6 <= pause <= max(high, asked or 0.0) + 1e-6
        assert pause <= 8.0 + 1e-6

    assert all(error is not None and error.status not in (400, 404) for _, error in script[: attempts - 1])
    if last is None:
        assert came == "done"
    elif last.status in (400, 404):
        assert came is last
    else:
        asked = last.retry_after_s
        assert isinstance(came, RetryStoppedError)
        assert (came.attempts, came.last_error, came.retry_after_s) == (attempts, last, asked)
        if attempts == 1 + max_retries:
            assert type(came) is MaxRetriesExceededError
        elif asked is not None and asked > 8.0:
            assert type(came) is RetryAfterTooLongError
        elif type(came) is RetryDeadlineError:
            assert end + max(asked or 0.0, 8.0) >= deadline
        else:
            assert type(came) is RetryBudgetExhaustedError
            assert attempts - 1 == floor


class TestRetryInvariants:
    """As the documents name them."""

    @given(retry_count=st.integers(0, 8), max_retries=st.integers(0, 5))
    def test_retry_limit_enforced_invariant(self, retry_count, max_retries):
        """INVARIANT: with ``max_retries = N`` there are at most N retries after the first try, and then an error (A8)."""

        async def main(clock):
            operation = Operation(clock, [(0.0, HTTPError(503))] * retry_count + [(0.0, None)])
            try:
                result = await retry_with_backoff(operation, max_retries, clock=clock)
            except MaxRetriesExceededError as error:
                result = error
            return result, len(operation.begun)

        result, attempts = run_virtual(main)
        assert attempts == min(retry_count, max_retries) + 1
        assert (result == "done") == (retry_count <= max_retries)
        if result != "done":
            assert result.attempts == attempts

    @given(max_retries=st.integers(1, 5), callers=st.integers(1, 5))
    def test_max_retries_respected(self, max_retries, callers):
        """INVARIANT: nobody makes more than ``max_retries`` retries, however many share one policy."""

        async def main(clock):
            retry = Retry(RetrySettings(max_retries=max_retries), clock=clock)
            operations = [Operation(clock, [(0.0, HTTPError(500))] * 20) for _ in range(callers)]
            errors = await asyncio.gather(*map(retry.call, operations), return_exceptions=True)
            return [type(error) for error in errors], [len(operation.begun) for operation in operations]

        kinds, attempts = run_virtual(main)
        assert kinds == [MaxRetriesExceededError] * callers
        assert attempts == [max_retries + 1] * callers

    @given(
        base=st.floats(0.1, 5.0),
        multiplier=st.floats(1.5, 4.0),
        cap=st.floats(5.0, 60.0),
        retries=st.integers(3, 6),
    )
    def test_exponential_backoff_invariant(self, base, multiplier, cap, retries):
        """INVARIANT: each pause is at least 1.5 times the one before until the cap; jitter apart (A8)."""

        async def main(clock):
            operation = Operation(clock, [(0.0, HTTPError(503))] * (retries + 1))
            with pytest.raises(MaxRetriesExceededError):
                await retry_with_backoff(
                    operation, retries, base=base, multiplier=multiplier, cap=cap, jitter=0.0, clock=clock
                )
            return operation.pauses

        pauses = run_virtual(main)
        assert len(pauses) == retries
        assert pauses[0] == pytest.approx(base)
        for before, then in pairwise(pauses):
            assert then >= min(1.5 * before, cap) - 1e-6
            assert then <= cap + 1e-6


@given(at_s=st.integers(0, 80).map(lambda n: n / 4 + 0.1), seed=st.integers(0, 1000))
def test_a_caller_that_leaves_ends_it_at_once(at_s, seed):
    """DL2: in an attempt or in a pause, and nothing runs afterwards."""

    async def main(clock):
        operation = Operation(clock, [(1.0, HTTPError(503))] * 20)
        retry = Retry(RetrySettings(max_retries=10), clock=clock, rng=random.Random(seed))
        task = asyncio.create_task(retry.call(operation))
        await asyncio.sleep(at_s)
        task.cancel()
        await asyncio.wait([task])
        left, attempts = clock.monotonic(), len(operation.begun)
        await asyncio.sleep(3600)
        return task.cancelled(), left, attempts == len(operation.begun)

    assert run_virtual(main) == (True, at_s, True)
