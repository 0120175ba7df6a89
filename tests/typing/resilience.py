"""Checked by mypy strict and by pyright, never run: the policies as their users would write them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar, assert_type

from holdfast import (
    AdaptiveLimit,
    Bulkhead,
    BulkheadFullError,
    BulkheadSettings,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    ConnectionPool,
    ConnectionPoolExhaustedError,
    DatabaseTimeoutError,
    Hedge,
    HedgeSettings,
    MaxRetriesExceededError,
    MemoryBulkhead,
    MemoryLimitExceededError,
    OperationTimeoutError,
    RateLimit,
    RateLimitExceededError,
    RateLimitSettings,
    Refused,
    ReliabilityMetrics,
    Retry,
    RetryBudget,
    RetrySettings,
    RetryStoppedError,
    ThreadBulkhead,
    Timeout,
    add_jitter,
    compose,
    retry_with_backoff,
    with_timeout,
)
from holdfast.clock import SystemClock
from holdfast.resilience.adaptive import AdaptiveSettings, AdaptiveState
from holdfast.resilience.backoff import Backoff
from holdfast.resilience.breaker import Breaker, BreakerPermit, BreakerSettings, BreakerSnapshot
from holdfast.resilience.bulkhead import BulkheadPermit, BulkheadSnapshot
from holdfast.resilience.connection_pool import Lease
from holdfast.resilience.hedge import HedgeState
from holdfast.resilience.memory_bulkhead import Allocation
from holdfast.resilience.named_timeouts import TimeoutName, TimeoutSettings
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.rate_limit import RatePermit, RateStatus
from holdfast.resilience.rate_limits import RateLimits
from holdfast.resilience.retry import CRITICAL, INTERACTIVE, RetryEvent, is_retryable
from holdfast.resilience.retry_budget import RetryBudgetSettings, RetryBudgetState
from holdfast.resilience.seam import Gate, Permit, Policy

T = TypeVar("T")


class Answer: ...


class Connection:
    async def aclose(self) -> None: ...


async def ask() -> Answer:
    return Answer()


async def connect(route: str) -> Connection:
    del route
    return Connection()


def read(path: str, size: int = 10) -> bytes:
    return path.encode()[:size]


def verdict(error: BaseException) -> Outcome:
    return Outcome.LIMITED if isinstance(error, PermissionError) else Outcome.FAILURE


async def each_is_a_policy() -> None:
    policies: list[Policy] = [
        AdaptiveLimit(),
        Breaker(),
        Bulkhead(BulkheadSettings(max_concurrent=5)),
        CircuitBreaker(),
        Hedge(),
        RateLimit(RateLimitSettings(requests=60)),
        Retry(),
        Timeout(2.5),
    ]
    for policy in policies:
        assert_type(await policy.call(ask), Answer)
    assert_type(await compose(*policies).call(ask), Answer)
    assert_type(await compose(Retry(), compose(CircuitBreaker(), Timeout(1))).call(lambda: ask()), Answer)


async def some_are_gates() -> None:
    gates: list[Gate] = [
        AdaptiveLimit(),
        Breaker(BreakerSettings(failure_threshold=2)),
        Bulkhead(BulkheadSettings()),
        RateLimit(RateLimitSettings()),
    ]
    for gate in gates:
        permit = await gate.enter(deadline=12.5, key="alice")
        assert_type(permit, Permit)
        permit.progressed()
        permit.leave(Outcome.SUCCESS)
    permits: list[Permit] = [
        await Breaker().enter(),
        await Bulkhead(BulkheadSettings()).enter(),
        await RateLimit(RateLimitSettings()).enter(tokens=100),
        AdaptiveLimit().started(),
    ]
    del permits


class Logged:
    """A policy of one's own."""

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await operation()


async def own_ones_fit_in() -> None:
    assert_type(await compose(Logged(), CircuitBreaker()).call(ask), Answer)


async def breaker() -> None:
    CircuitBreaker(3, 2, 60)
    it = CircuitBreaker(
        failure_threshold=5,
        success_threshold=3,
        open_timeout=60,
        half_open_timeout=30,
        window=300,
        min_requests=10,
        failure_ratio=0.5,
        jitter=0.0,
        classify=verdict,
        clock=SystemClock(),
        rng=random.Random(1),
        name="upstream",
    )
    assert_type(await it.call(ask), Answer)
    assert_type(it.state, CircuitState)
    assert_type(it.get_metrics(), dict[str, int | str])
    inner = Breaker(BreakerSettings(open_s=5), name="upstream")
    assert_type(inner.admit(), BreakerPermit)
    assert_type(inner.snapshot(), BreakerSnapshot)
    inner.on_change(changed)


def changed(before: CircuitState, after: CircuitState) -> None:
    states: list[CircuitState] = [before, after]
    names: list[str] = [before.value, after.name]
    del states, names


async def retry(budget: RetryBudget) -> None:
    assert_type(await retry_with_backoff(ask), Answer)
    assert_type(await retry_with_backoff(ask, 5), Answer)
    await retry_with_backoff(
        ask,
        max_retries=3,
        base=0.5,
        multiplier=2,
        cap=8,
        jitter="full",
        retryable=lambda error: is_retryable(error) or isinstance(error, KeyError),
        budget=budget,
        deadline=100,
        on_retry=print,
    )
    assert_type(add_jitter(1.0), float)
    assert_type(add_jitter(1, 0.2, cap=30, rng=random.Random(1)), float)
    settings = RetrySettings(max_retries=4, backoff=Backoff(base_s=0.1, jitter=0.5))
    presets: list[RetrySettings] = [settings, CRITICAL, INTERACTIVE]
    for preset in presets:
        assert_type(await Retry(preset, budget=budget, on_retry=told).call(ask, deadline=9.0), Answer)
    assert_type(RetryBudget(RetryBudgetSettings(ratio=0.2)).snapshot(), RetryBudgetState)
    assert_type(budget.allow(), bool)


def told(event: RetryEvent) -> None:
    assert_type(event.attempt, int)
    assert_type(event.delay_s, float)
    assert_type(event.error, Exception)


async def bulkheads() -> None:
    bulkhead = Bulkhead(BulkheadSettings(max_concurrent=2, max_queue=10, max_wait_s=1), name="search")
    assert_type(await bulkhead.call(ask), Answer)
    assert_type(bulkhead.try_enter(), BulkheadPermit | None)
    assert_type(bulkhead.snapshot(), BulkheadSnapshot)

    with ThreadBulkhead(max_workers=2, queue_size=5) as threads:
        assert_type(await threads.run(read, "file", size=3), bytes)
        assert_type(threads.submit(read, "file"), Future[bytes])

    memory = MemoryBulkhead(max_memory_usage=100, max_memory_per_operation=50)
    data = await memory.allocate(30)
    assert_type(data, Allocation)
    await memory.release(data)
    async with memory.allocation(30) as held:
        assert_type(held.size, int)


async def pools() -> None:
    places = ConnectionPool(max_connections=3, max_connections_per_route=2)
    place = await places.acquire()
    assert_type(place, Lease[None])
    await places.release(place)

    pool = ConnectionPool(connect=connect, close=Connection.aclose)
    assert_type(pool, ConnectionPool[Connection])
    assert_type((await pool.acquire("db", timeout=1)).connection, Connection)
    async with pool.connection("db") as connection:
        assert_type(connection, Connection)
    await pool.aclose()


async def rates() -> None:
    limit = RateLimit(RateLimitSettings(requests=60, tokens=90_000, max_queue=10), name="openai")
    assert_type(await limit.call(ask), Answer)
    assert_type(limit.try_take(500), RatePermit | None)
    (await limit.enter(key="alice", tokens=500)).settle(420)
    assert_type(limit.get_allowed_requests(5), int)
    assert_type(limit.get_allowed_tokens(5), int)
    assert_type(limit.allowed(), tuple[int | None, int | None])
    assert_type(limit.status(), RateStatus)
    by_key = RateLimits(limit.settings, each={"alice": RateLimitSettings(requests=600)})
    assert_type(by_key.of("alice"), RateLimit)


async def adaptive(bulkhead: Bulkhead) -> None:
    limit = AdaptiveLimit(AdaptiveSettings(max_limit=50), on_change=bulkhead.resize, classify=verdict)
    assert_type(await compose(bulkhead, limit).call(ask), Answer)
    assert_type(limit.limit, int)
    assert_type(limit.snapshot(), AdaptiveState)


async def hedge() -> None:
    hedged = Hedge(HedgeSettings(delay_s=0.2), on_loser=print)
    assert_type(await hedged.call(ask), Answer)
    assert_type(await hedged.call(ask, ask, ask), Answer)
    assert_type(hedged.snapshot(), HedgeState)


async def timeouts(name: TimeoutName) -> None:
    assert_type(await with_timeout("tool_execution", ask), Answer)
    assert_type(await with_timeout(name, ask, settings=TimeoutSettings(database_query=1)), Answer)
    assert_type(await Timeout.named("database_query").call(ask), Answer)
    await Timeout(2, name="upload", error=DatabaseTimeoutError).call(ask)
    late: list[type[TimeoutError]] = [OperationTimeoutError, DatabaseTimeoutError]
    del late


async def what_is_raised() -> None:
    refusals: list[type[Refused]] = [
        BulkheadFullError,
        CircuitBreakerOpenError,
        ConnectionPoolExhaustedError,
        MemoryLimitExceededError,
        RateLimitExceededError,
    ]
    try:
        await compose(Retry(), CircuitBreaker(), Timeout(2)).call(ask)
    except MaxRetriesExceededError as error:
        assert_type(error.attempts, int)
        assert_type(error.last_error, Exception | None)
    except RetryStoppedError as error:
        assert_type(error.retry_after_s, float | None)
    except Refused as error:
        assert_type(error.retry_after_s, float | None)
    except OperationTimeoutError as error:
        assert_type(error.code, str)
        assert_type(error.limit_s, float)
    del refusals


def metrics(counts: ReliabilityMetrics) -> None:
    counts.record_operation("chat")
    counts.record_attempt("chat")
    counts.record_timeout("chat", 30.0)
    counts.record_retry("chat", 1, TimeoutError())
    counts.record_circuit_breaker_open("openai")
    counts.record_bulkhead_rejection("threads")
    counts.record_idempotency_hit("key-1")
    counts.record_saga_compensation("saga-1", "pay")
    assert_type(counts.get_metrics_summary(), dict[str, int | float | None])
    assert_type(counts.by_label("retry_errors"), dict[str, int])
