"""Every pair of policies in the seam's order: what the outer one sees of the inner one's no, its time-out, and a cancel."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.compose.policies import (
    ORDER,
    Operation,
    OverloadedError,
    at_rest,
    make,
    make_adaptive,
    make_breaker,
    make_bulkhead,
    make_hedge,
    make_rate,
    make_retry,
    make_timeout,
)

from holdfast.resilience.breaker import CircuitBreakerOpenError, CircuitState
from holdfast.resilience.bulkhead import BulkheadFullError
from holdfast.resilience.named_timeouts import OperationTimeoutError
from holdfast.resilience.rate_meter import RateLimitExceededError
from holdfast.resilience.retry import MaxRetriesExceededError, RetryAfterTooLongError, RetryStoppedError
from holdfast.resilience.seam import Refused, compose
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Coroutine


PAIRS = list(itertools.combinations(ORDER, 2))
HANG = 1e6
BROKEN = ConnectionError("broken")


def pair(test: Any) -> Any:
    return pytest.mark.parametrize(("outer", "inner"), PAIRS, ids=[f"{a}-{b}" for a, b in PAIRS])(test)


async def both(*calls: Coroutine[Any, Any, Any]) -> list[Any]:
    """What all of them came to, errors too."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def cancelled_after(seconds: float, call: Coroutine[Any, Any, Any]) -> None:
    """Cancels a call after that time; it must end as cancelled, in that moment."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(call)
    await asyncio.sleep(seconds)
    began = loop.time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loop.time() == began


class TestEveryPair:
    """What holds for all of them."""

    @pair
    def test_a_result_passes_unchanged(self, outer: str, inner: str) -> None:
        async def main(clock: VirtualClock) -> None:
            policies = make[outer](clock), make[inner](clock)
            operation = Operation(0.5)
            assert await compose(*policies).call(operation) == "result 1"
            assert clock.monotonic() == 0.5
            assert operation.runs == 1
            assert at_rest(*policies)

        run_virtual(main)

    @pair
    def test_an_error_of_the_callers_own_passes_unchanged(self, outer: str, inner: str) -> None:
        async def main(clock: VirtualClock) -> None:
            policies = make[outer](clock), make[inner](clock)
            operation = Operation((0.5, error := ValueError("his own")))
            with pytest.raises(ValueError, match="his own") as caught:
                await compose(*policies).call(operation)
            assert caught.value is error
            assert operation.runs == 1
            assert at_rest(*policies)

        run_virtual(main)

    @pair
    @pytest.mark.parametrize("after_s", [0.0, 0.5, 1.5])
    def test_a_cancel_ends_it_at_once_and_gives_everything_back(
        self, outer: str, inner: str, after_s: float
    ) -> None:
        """CB4, BH1: also while a hedge runs (after 1 s)."""

        async def main(clock: VirtualClock) -> None:
            policies = make[outer](clock), make[inner](clock)
            operation = Operation(HANG)
            await cancelled_after(after_s, compose(*policies).call(operation))
            assert operation.running == 0
            assert operation.cancelled == operation.runs
            assert at_rest(*policies)
            breaker = make_breaker(clock)
            for policy in policies:
                if isinstance(policy, type(breaker)):
                    assert policy.snapshot().calls == 0, "a cancel is neutral"

        run_virtual(main)

    @pair
    @pytest.mark.parametrize("seed", range(5))
    def test_a_storm_leaves_nothing_behind(self, outer: str, inner: str, seed: int) -> None:
        storm(outer, inner, seed=seed)


@pytest.mark.parametrize("seed", range(30))
def test_a_storm_on_all_of_them_leaves_nothing_behind(seed: int) -> None:
    storm(*ORDER, seed=seed)


def storm(*names: str, seed: int) -> None:
    """Sixty callers at random times, with answers, errors and endless waits, a third of whom leave."""

    async def main(clock: VirtualClock) -> None:
        rng = random.Random(seed)
        policies = [make[name](clock) for name in names]
        policy = compose(*policies)
        known = (Refused, RetryStoppedError, ConnectionError, OperationTimeoutError, asyncio.CancelledError)

        async def caller(arrives: float, leaves: float, operation: Operation) -> None:
            await asyncio.sleep(arrives)
            task = asyncio.create_task(policy.call(operation))
            await asyncio.wait([task], timeout=leaves)
            task.cancel()
            try:
                result = await task
            except known:
                assert not operation.running, "it is left running"
            else:
                assert result.startswith("result")
            assert operation.most <= (2 if "hedge" in names else 1)

        def drawn() -> Operation:
            steps = [rng.uniform(0, 4), (rng.uniform(0, 2), BROKEN), OverloadedError("full"), HANG]
            return Operation(*rng.choices(steps, k=3))

        await asyncio.gather(
            *(caller(rng.uniform(0, 20), rng.choice([rng.uniform(0, 3), 60, 90]), drawn()) for _ in range(60))
        )
        assert at_rest(*policies)

    run_virtual(main)


class TestRetryOutside:
    """Each try asks every gate again."""

    def test_of_a_hedge(self) -> None:
        """A hedged call that failed is one failed attempt; the next one may be hedged again."""

        async def main(clock: VirtualClock) -> None:
            retry, hedge = make_retry(clock, retries=1), make_hedge(clock)
            operation = Operation((2.0, BROKEN), (1.5, BROKEN), HANG, 0.5)
            assert await compose(retry, hedge).call(operation) == "result 4"
            # begun at 0 and, hedged, at 1; both had failed by 2.5; a pause of 1 s; then the same again
            assert operation.begun == [0, 1, 3.5, 4.5]
            assert (hedge.snapshot().requests, hedge.snapshot().hedges) == (2, 2)
            assert at_rest(retry, hedge)

        run_virtual(main)

    def test_of_a_rate_limit(self) -> None:
        """RT3, RL1: its no says when to come back, and that is when the retry comes."""

        async def main(clock: VirtualClock) -> None:
            retry, rate = make_retry(clock), make_rate(clock, requests=1, window_s=5)
            operation = Operation(0.0)
            policy = compose(retry, rate)
            assert await both(policy.call(operation), policy.call(operation)) == ["result 1", "result 2"]
            first, second = operation.begun
            assert (first, second) == (0, pytest.approx(5, abs=0.01))
            assert second - first >= 5
            assert rate.refused == 1

        run_virtual(main)

    def test_of_a_breaker_that_opens_for_less_than_the_cap(self) -> None:
        """It is tried again when it may be, and not once before."""

        async def main(clock: VirtualClock) -> None:
            retry, breaker = make_retry(clock, retries=3), make_breaker(clock)
            operation = Operation(BROKEN, BROKEN, 0.0)
            assert await compose(retry, breaker).call(operation) == "result 3"
            # It opened at 1, and refused at 3, until 6; the third pause is 4 s.
            assert operation.begun == [0, 1, 7]
            assert breaker.state is CircuitState.CLOSED

        run_virtual(main)

    def test_of_a_breaker_that_stays_open_for_longer(self) -> None:
        async def main(clock: VirtualClock) -> None:
            retry, breaker = make_retry(clock, retries=9, max_s=4), make_breaker(clock, open_s=60)
            with pytest.raises(RetryAfterTooLongError) as caught:
                await compose(retry, breaker).call(operation := Operation(BROKEN))
            assert isinstance(caught.value.last_error, CircuitBreakerOpenError)
            assert operation.runs == 2
            assert clock.monotonic() == 3, "nobody waits for a minute that he has not got"
            assert caught.value.retry_after_s == pytest.approx(58)

        run_virtual(main)

    def test_of_a_bulkhead(self) -> None:
        """A full one is asked again later; while it pauses a call holds no place."""

        async def main(clock: VirtualClock) -> None:
            retry, bulkhead = make_retry(clock), make_bulkhead(clock, max_concurrent=1, max_queue=0)
            policy = compose(retry, bulkhead)
            failing = asyncio.create_task(policy.call(Operation(BROKEN, 0.0)))
            await asyncio.sleep(0.2)
            assert await policy.call(Operation(0.5)) == "result 1", "the place is free while it pauses"
            assert await failing == "result 2"
            assert bulkhead.refused == 0
            holder = asyncio.create_task(policy.call(Operation(0.5)))
            await asyncio.sleep(0)
            began = clock.monotonic()
            assert await policy.call(late := Operation(0.0)) == "result 1"
            assert late.begun[0] - began >= 1
            assert bulkhead.refused == 1
            await holder
            assert at_rest(retry, bulkhead)

        run_virtual(main)

    def test_of_an_adaptive_limit(self) -> None:
        """Each attempt is one call in flight, a pause is none; every refusal in a round trip of its own lowers the limit."""

        async def main(clock: VirtualClock) -> None:
            retry, adaptive = make_retry(clock), make_adaptive(clock, decrease=0.5)
            task = asyncio.create_task(compose(retry, adaptive).call(Operation(OverloadedError("full"))))
            await asyncio.sleep(0.5)
            assert (adaptive.limit, adaptive.in_flight) == (5, 0)
            with pytest.raises(MaxRetriesExceededError):
                await task
            assert (adaptive.limit, adaptive.in_flight) == (1, 0)

        run_virtual(main)

    def test_of_a_timeout(self) -> None:
        """DL1: each attempt has the whole limit, and a time-out is a reason to retry."""

        async def main(clock: VirtualClock) -> None:
            retry, timeout = make_retry(clock), make_timeout(clock)
            assert await compose(retry, timeout).call(operation := Operation(HANG, 2.5)) == "result 2"
            assert operation.begun == [0, 4]
            assert clock.monotonic() == 6.5

        run_virtual(main)


class TestHedgeOutside:
    """Each call of the two asks every gate; the loser gives everything back."""

    def test_of_a_rate_limit(self) -> None:
        """RL1: a hedge takes from the limit; where there is none left the first call goes on alone."""

        async def main(clock: VirtualClock) -> None:
            hedge, rate = make_hedge(clock), make_rate(clock, requests=3)
            policy = compose(hedge, rate)
            assert await policy.call(first := Operation(HANG, 0.5)) == "result 2"
            assert first.begun == [0, 1]
            assert await policy.call(second := Operation(4.0)) == "result 1"
            assert second.begun == [1.5]
            assert (hedge.snapshot().hedges, rate.refused) == (2, 1)
            assert at_rest(hedge, rate)

        run_virtual(main)

    def test_of_a_rate_limit_with_a_queue(self) -> None:
        """A hedge that waits for its turn when the first call wins takes no turn."""

        async def main(clock: VirtualClock) -> None:
            hedge, rate = make_hedge(clock), make_rate(clock, requests=1, window_s=5, max_queue=3)
            assert await compose(hedge, rate).call(operation := Operation(2.0)) == "result 1"
            assert (operation.runs, rate.waiting, rate.admitted) == (1, 0, 1)

        run_virtual(main)

    def test_of_a_breaker(self) -> None:
        """CB4: the loser says nothing of the target, and a hedge that isn't let in spoils nothing."""

        async def main(clock: VirtualClock) -> None:
            hedge, breaker = make_hedge(clock), make_breaker(clock)
            policy = compose(hedge, breaker)
            assert await policy.call(Operation(HANG, 0.5)) == "result 2"
            assert (breaker.snapshot().calls, breaker.snapshot().failures) == (1, 0)
            await both(breaker.call(Operation(BROKEN)), breaker.call(Operation(BROKEN)))
            assert breaker.state is CircuitState.OPEN
            await asyncio.sleep(5)
            assert await policy.call(probe := Operation(2.0)) == "result 1"
            assert probe.runs == 1, "half-open it lets in one, and the hedge is none"
            assert breaker.state is CircuitState.CLOSED
            assert at_rest(hedge, breaker)

        run_virtual(main)

    def test_of_a_bulkhead(self) -> None:
        """BH1: the loser's place is back when the winner's result is there."""

        async def main(clock: VirtualClock) -> None:
            hedge, bulkhead = make_hedge(clock), make_bulkhead(clock, max_concurrent=2, max_queue=0)
            policy = compose(hedge, bulkhead)
            assert await policy.call(Operation(HANG, 0.5)) == "result 2"
            assert bulkhead.in_use == 0
            holder = asyncio.create_task(bulkhead.call(Operation(HANG)))
            await asyncio.sleep(0)
            assert await policy.call(alone := Operation(2.0)) == "result 1"
            assert (alone.runs, bulkhead.refused, bulkhead.in_use) == (1, 1, 1)
            await cancelled(holder)
            assert at_rest(hedge, bulkhead)

        run_virtual(main)

    def test_of_an_adaptive_limit(self) -> None:
        """RL3: both are in flight; the loser moves nothing."""

        async def main(clock: VirtualClock) -> None:
            hedge, adaptive = make_hedge(clock), make_adaptive(clock)
            task = asyncio.create_task(compose(hedge, adaptive).call(Operation(HANG, 0.5)))
            await asyncio.sleep(1.25)
            assert adaptive.in_flight == 2
            assert await task == "result 2"
            assert (adaptive.limit, adaptive.in_flight, adaptive.snapshot().decreases) == (10, 0, 0)

        run_virtual(main)

    def test_of_a_timeout(self) -> None:
        """Each of the two has its own limit: the hedge outlives the first one's."""

        async def main(clock: VirtualClock) -> None:
            hedge, timeout = make_hedge(clock), make_timeout(clock)
            assert await compose(hedge, timeout).call(Operation(HANG, 2.5)) == "result 2"
            assert clock.monotonic() == 3.5
            with pytest.raises(OperationTimeoutError) as caught:
                await compose(hedge, timeout).call(Operation(HANG))
            assert clock.monotonic() == 7.5
            assert len(caught.value.__notes__) == 1
            assert at_rest(hedge, timeout)

        run_virtual(main)


class TestRateLimitOutside:
    """What was let in counts, whatever becomes of it: more would pass the other side's limit than it allows."""

    def test_of_a_breaker(self) -> None:
        async def main(clock: VirtualClock) -> None:
            rate, breaker = make_rate(clock), make_breaker(clock)
            policy = compose(rate, breaker)
            await both(*(policy.call(Operation(BROKEN)) for _ in range(2)))
            kinds = [type(error) for error in await both(*(policy.call(Operation(0.0)) for _ in range(3)))]
            assert kinds == [CircuitBreakerOpenError, CircuitBreakerOpenError, RateLimitExceededError]
            assert (rate.admitted, breaker.refused) == (4, 2)

        run_virtual(main)

    def test_of_a_bulkhead(self) -> None:
        """Who waits for a place has his turn already; when he leaves, the place is somebody else's."""

        async def main(clock: VirtualClock) -> None:
            rate, bulkhead = make_rate(clock), make_bulkhead(clock, max_concurrent=1, max_queue=1)
            policy = compose(rate, bulkhead)
            tasks = [asyncio.create_task(policy.call(Operation(2.0))) for _ in range(3)]
            await asyncio.wait(tasks[2:])
            assert isinstance(tasks[2].exception(), BulkheadFullError)
            await cancelled(tasks[0])
            assert await tasks[1] == "result 1"
            assert rate.admitted == 3
            assert at_rest(rate, bulkhead)

        run_virtual(main)

    def test_of_an_adaptive_limit(self) -> None:
        """Who waits for his turn isn't in flight."""

        async def main(clock: VirtualClock) -> None:
            rate, adaptive = make_rate(clock, requests=1, max_queue=2), make_adaptive(clock)
            tasks = [asyncio.create_task(compose(rate, adaptive).call(Operation(0.5))) for _ in range(2)]
            await asyncio.sleep(0.25)
            assert adaptive.in_flight == 1
            await asyncio.gather(*tasks)
            assert clock.monotonic() == pytest.approx(10.5)
            assert adaptive.in_flight == 0

        run_virtual(main)

    def test_of_a_timeout(self) -> None:
        """The wait for a turn is no part of the operation's time; a time-out gives no turn back."""

        async def main(clock: VirtualClock) -> None:
            rate, timeout = make_rate(clock, requests=1, max_queue=2), make_timeout(clock)
            policy = compose(rate, timeout)
            first, second = await both(policy.call(Operation(HANG)), policy.call(Operation(1.0)))
            assert isinstance(first, OperationTimeoutError)
            assert second == "result 1"
            assert clock.monotonic() == pytest.approx(11)
            assert rate.admitted == 2

        run_virtual(main)


class TestBreakerOutside:
    """CB1, CB4: what is refused further in says nothing of the target."""

    def test_of_a_bulkhead(self) -> None:
        async def main(clock: VirtualClock) -> None:
            breaker, bulkhead = make_breaker(clock), make_bulkhead(clock, max_concurrent=1, max_queue=0)
            policy = compose(breaker, bulkhead)
            holder = asyncio.create_task(policy.call(Operation(HANG)))
            await asyncio.sleep(0)
            errors = await both(*(policy.call(Operation(0.0)) for _ in range(20)))
            assert {type(error) for error in errors} == {BulkheadFullError}
            assert (breaker.state, breaker.snapshot().calls) == (CircuitState.CLOSED, 0)
            await cancelled(holder)
            assert at_rest(breaker, bulkhead)

        run_virtual(main)

    def test_of_a_bulkhead_where_a_probe_waits(self) -> None:
        """CB2: a probe that is refused or leaves the queue makes room for another one."""

        async def main(clock: VirtualClock) -> None:
            breaker, bulkhead = make_breaker(clock), make_bulkhead(clock, max_concurrent=1, max_queue=1)
            policy = compose(breaker, bulkhead)
            await both(policy.call(Operation(BROKEN)), policy.call(Operation(BROKEN)))
            await asyncio.sleep(5)
            holder = asyncio.create_task(bulkhead.call(Operation(HANG)))
            await asyncio.sleep(0)
            waiting = asyncio.create_task(policy.call(Operation(0.0)))
            await asyncio.sleep(0)
            assert (breaker.snapshot().probes, bulkhead.waiting) == (1, 1)
            with pytest.raises(CircuitBreakerOpenError):
                await policy.call(Operation(0.0))
            await cancelled(waiting)
            assert (breaker.state, breaker.snapshot().probes) == (CircuitState.HALF_OPEN, 0)
            await cancelled(holder)
            assert await policy.call(Operation(0.0)) == "result 1"
            assert breaker.state is CircuitState.CLOSED
            assert at_rest(breaker, bulkhead)

        run_virtual(main)

    def test_of_an_adaptive_limit(self) -> None:
        """A target with too much to do is a failure here and a reason to send less there; open, nothing is in flight."""

        async def main(clock: VirtualClock) -> None:
            breaker, adaptive = make_breaker(clock), make_adaptive(clock)
            policy = compose(breaker, adaptive)
            await both(*(policy.call(Operation((0.5, OverloadedError("full")))) for _ in range(2)))
            assert breaker.state is CircuitState.OPEN
            assert (adaptive.limit, adaptive.snapshot().decreases) == (9, 1)
            with pytest.raises(CircuitBreakerOpenError):
                await policy.call(Operation(0.0))
            assert (adaptive.limit, adaptive.in_flight) == (9, 0)

        run_virtual(main)

    def test_of_a_timeout(self) -> None:
        """A time-out counts as the failure that it is; that the caller left before it doesn't."""

        async def main(clock: VirtualClock) -> None:
            breaker, timeout = make_breaker(clock), make_timeout(clock)
            policy = compose(breaker, timeout)
            for _ in range(5):
                await cancelled_after(2.9, policy.call(Operation(HANG)))
            assert breaker.snapshot().calls == 0
            errors = await both(*(policy.call(Operation(HANG)) for _ in range(2)))
            assert {type(error) for error in errors} == {OperationTimeoutError}
            assert breaker.state is CircuitState.OPEN

        run_virtual(main)


class TestBulkheadOutside:
    """BH1, RL3."""

    def test_of_an_adaptive_limit(self) -> None:
        """It moves the number of places: less after a refusal, and who waits gets in when there are more."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = make_bulkhead(clock, max_concurrent=8, max_queue=20)
            adaptive = make_adaptive(clock, initial_limit=2, max_limit=8, on_change=bulkhead.resize)
            policy = compose(bulkhead, adaptive)
            operations = [Operation(1.0) for _ in range(14)]
            await asyncio.gather(*(policy.call(operation) for operation in operations))
            begun = sorted(operation.begun[0] for operation in operations)
            assert [begun.count(float(second)) for second in range(3)] == [2, 4, 8]
            assert bulkhead.limit == 8
            await both(policy.call(Operation(OverloadedError("full"))))
            assert adaptive.limit == bulkhead.limit == 7
            assert at_rest(bulkhead, adaptive)

        run_virtual(main)

    def test_of_a_timeout(self) -> None:
        """The wait for a place is no part of the operation's time; a time-out gives the place to the next one."""

        async def main(clock: VirtualClock) -> None:
            bulkhead, timeout = make_bulkhead(clock, max_concurrent=1), make_timeout(clock)
            policy = compose(bulkhead, timeout)
            waiting = Operation(2.5)
            first, second = await both(policy.call(Operation(HANG)), policy.call(waiting))
            assert isinstance(first, OperationTimeoutError)
            assert second == "result 1"
            assert waiting.begun == [3]
            assert at_rest(bulkhead, timeout)

        run_virtual(main)


class TestAdaptiveOutside:
    """RL3: slowness has many reasons; only a word of the other side's moves the limit."""

    def test_of_a_timeout(self) -> None:
        async def main(clock: VirtualClock) -> None:
            adaptive, timeout = make_adaptive(clock), make_timeout(clock)
            errors = await both(*(compose(adaptive, timeout).call(Operation(HANG)) for _ in range(10)))
            assert {type(error) for error in errors} == {OperationTimeoutError}
            assert (adaptive.limit, adaptive.in_flight, adaptive.snapshot().decreases) == (10, 0, 0)

        run_virtual(main)


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_all_pairs_have_a_test_of_their_own() -> None:
    """The classes above are the outer policies', their tests the inner ones'."""
    names = {"retry": "Retry", "hedge": "Hedge", "rate": "RateLimit"}
    inner = {"hedge": "hedge", "rate": "rate_limit", "adaptive": "adaptive_limit"}
    for outer, inside in PAIRS:
        of = globals()[f"Test{names.get(outer, outer.title())}Outside"]
        wanted = f"of_an?_{inner.get(inside, inside)}"
        tests = [name for name in vars(of) if name.startswith("test_of_")]
        assert any(wanted.replace("an?", article) in name for article in ("a", "an") for name in tests), (
            outer,
            inside,
        )
