"""The rate limit: what it admits, what it says when it doesn't, and its queue, in virtual time."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise

import pytest
import uvloop

from holdfast.clock import SystemClock
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.rate_limit import (
    LimitStatus,
    RateLimit,
    RateLimitExceededError,
    RateLimitSettings,
    RateStatus,
)
from holdfast.testing.virtual_time import VirtualClock, run_virtual


class Clock:
    """Time by hand."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def monotonic(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return round(self.now_s * 1e9)


class Remembering(SystemClock):
    """The machine's time, and when it was last looked at."""

    last = 0.0

    def monotonic(self) -> float:
        self.last = super().monotonic()
        return self.last


def made(now_s: float = 1000.0, **settings: float) -> tuple[RateLimit, Clock]:
    clock = Clock(now_s)
    return RateLimit(RateLimitSettings(**settings), clock=clock, name="alice"), clock


def refused(limit: RateLimit, tokens: int = 0, **more: float) -> RateLimitExceededError:
    """What ``enter`` raises, which must not yield to the loop: it is driven without one."""
    entering = limit.enter(tokens=tokens, **more)
    with pytest.raises(RateLimitExceededError) as caught:
        entering.send(None)
    return caught.value


def entered(limit: RateLimit, tokens: int = 0):
    """What ``enter`` returns without yielding to any loop."""
    with pytest.raises(StopIteration) as caught:
        limit.enter(tokens=tokens).send(None)
    return caught.value.value


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"requests": 0}, "requests must be a whole number from 1 to 1000000, not 0"),
            ({"requests": 2_000_000}, "requests must be a whole number from 1 to 1000000, not 2000000"),
            ({"tokens": -1}, "tokens must be a whole number from 1 to 10000000000, not -1"),
            ({"window_s": 0}, "window_s must be a number from 0.01 to 86400, not 0"),
            ({"max_queue": -1}, "max_queue must be a whole number from 0 to 100000, not -1"),
            ({"max_wait_s": math.nan}, "max_wait_s must be a number from 0 to 86400, not nan"),
        ],
    )
    def test_impossible_ones_are_refused(self, settings, message):
        with pytest.raises(ValueError, match=message.replace("+", r"\+")):
            RateLimitSettings(**settings)

    def test_without_numbers_nothing_is_limited(self):
        limit, _ = made()
        for _ in range(1000):
            entered(limit, 10**12).settle(10**13)
        assert limit.allowed() == (None, None)
        assert limit.get_allowed_requests(7) == 7
        assert limit.get_allowed_tokens(7) == 7
        assert limit.status() == RateStatus(None, None)


class TestAdmission:
    def test_the_whole_limit_at_once_and_nothing_more_until_it_left_the_window(self):
        """RL1."""
        limit, clock = made(requests=3)
        assert all(limit.try_take() for _ in range(3))
        assert limit.try_take() is None
        clock.now_s = math.nextafter(1060, 0)
        assert limit.try_take() is None
        clock.now_s = 1060
        assert all(limit.try_take() for _ in range(3))
        assert limit.try_take() is None

    def test_the_edge_of_two_minutes_is_a_window_too(self):
        """RL1: a limit by the calendar's minute would let six in within two seconds."""
        limit, clock = made(now_s=1019.0, requests=3)
        assert all(limit.try_take() for _ in range(3))
        clock.now_s = 1021
        assert limit.try_take() is None

    def test_both_or_neither(self):
        """RL1: a request without room for its tokens takes no request, and the other way round."""
        limit, _ = made(requests=2, tokens=100)
        assert limit.try_take(90)
        assert limit.try_take(11) is None
        assert limit.allowed() == (1, 10)
        assert limit.try_take(1)
        assert limit.try_take(1) is None
        assert limit.allowed() == (0, 9)

    @pytest.mark.parametrize("now_s", [0.1, 0.3, 7.7, 1e6 + 0.1, 3e8 + 0.7])
    def test_retry_after_is_the_soonest_moment(self, now_s):
        """RL1: at that time the request passes, and an instant before it doesn't."""
        limit, clock = made(now_s, requests=1)
        assert limit.try_take()
        error = refused(limit)
        assert error.retry_after_s == pytest.approx(60, abs=2e-6)
        clock.now_s = now_s + error.retry_after_s - 3e-6
        assert limit.try_take() is None
        clock.now_s = now_s + error.retry_after_s
        assert limit.try_take()

    def test_a_clock_that_goes_back_admits_no_more(self):
        """RL1."""
        limit, clock = made(requests=2)
        assert limit.try_take()
        clock.now_s = 900
        assert limit.try_take()
        assert limit.try_take() is None
        clock.now_s = 1059.9
        assert limit.try_take() is None
        assert refused(limit).retry_after_s == pytest.approx(0.1, abs=2e-6)
        clock.now_s = 1060
        assert limit.try_take()

    def test_what_was_let_in_while_the_clock_was_back_counts_from_where_it_had_been(self):
        """RL1: time stands still there, though the window was empty by then."""
        limit, clock = made(requests=1)
        assert limit.try_take()
        clock.now_s = 1060
        assert limit.allowed() == (1, None)
        clock.now_s = 1030
        assert limit.try_take()
        clock.now_s = 1090
        assert limit.try_take() is None
        clock.now_s = 1120
        assert limit.try_take()

    def test_a_clock_that_went_back_has_further_to_go(self):
        limit, clock = made(requests=1)
        assert limit.try_take()
        clock.now_s = 900
        assert refused(limit).retry_after_s == 160

    def test_a_clock_that_stands_still(self):
        limit, _ = made(requests=2)
        assert [bool(limit.try_take()) for _ in range(4)] == [True, True, False, False]

    @pytest.mark.parametrize(
        "call", [lambda limit: limit.try_take(-1), lambda limit: limit.try_take(1).settle(-1)]
    )
    def test_negative_tokens_are_a_mistake(self, call):
        limit, _ = made(tokens=10)
        with pytest.raises(ValueError, match="tokens must be 0 or more, not -1"):
            call(limit)

    def test_a_deadline_in_the_past_lets_in_who_need_not_wait(self):
        limit, _ = made(requests=1)
        with pytest.raises(StopIteration):
            limit.enter(deadline=0.0).send(None)
        assert refused(limit, deadline=0.0).retry_after_s == 60


class TestSettlement:
    def test_what_was_not_used_is_free_as_if_never_reserved(self):
        limit, _ = made(tokens=100)
        permit = limit.try_take(80)
        assert limit.try_take(30) is None
        permit.settle(10)
        assert limit.allowed() == (None, 90)
        assert limit.try_take(90)
        assert limit.overruns == 0

    def test_what_was_used_beyond_it_blocks_from_then_on(self):
        """RL1: booked in full, for a whole window from when it was known."""
        limit, clock = made(tokens=100)
        permit = limit.try_take(80)
        clock.now_s = 1050
        permit.settle(280)
        assert limit.overruns == 1
        assert limit.allowed() == (None, 0)
        clock.now_s = 1060  # the 80 are gone, the 200 beyond them aren't
        assert refused(limit, 0).retry_after_s == 50
        clock.now_s = 1110
        assert limit.allowed() == (None, 100)

    def test_what_was_used_beyond_it_is_booked_though_the_admission_has_left(self):
        """RL1: a long stream can't hide behind its window."""
        limit, clock = made(tokens=100)
        permit = limit.try_take(10)
        clock.now_s = 1500
        permit.settle(60)
        assert limit.allowed() == (None, 50)

    def test_a_late_settlement_gives_nothing_back_twice(self):
        limit, clock = made(tokens=100)
        old = limit.try_take(100)
        clock.now_s = 1060
        assert limit.try_take(100)
        old.settle(0)
        assert limit.allowed() == (None, 0)

    @pytest.mark.parametrize(
        "again", [lambda p: p.settle(0), lambda p: p.settle(99), lambda p: p.give_back()]
    )
    @pytest.mark.parametrize("first", [lambda p: p.settle(40), lambda p: p.settle(50)])
    def test_only_the_first_settlement_counts(self, first, again):
        limit, _ = made(tokens=100)
        permit = limit.try_take(50)
        first(permit)
        before = limit.allowed()
        again(permit)
        assert limit.allowed() == before

    def test_leaving_settles_nothing_and_forbids_nothing(self):
        limit, _ = made(requests=5, tokens=100)
        permit = limit.try_take(50)
        permit.progressed()
        for outcome in Outcome:
            permit.leave(outcome)
        assert limit.allowed() == (4, 50)
        permit.settle(20)
        assert limit.allowed() == (4, 80)

    def test_what_was_not_sent_is_given_back_whole_and_once(self):
        limit, _ = made(requests=2, tokens=100)
        permit = limit.try_take(60)
        permit.give_back()
        permit.give_back()
        assert (limit.allowed(), limit.admitted, limit.idle) == ((2, 100), 0, True)
        permit.settle(500)
        assert limit.allowed() == (2, 100)


class TestAnswers:
    def test_the_refusal_says_which_limit_and_its_numbers(self):
        limit, clock = made(requests=1, tokens=1000, window_s=30)
        assert limit.try_take(500)
        clock.now_s = 1010
        error = refused(limit, 400)
        assert (error.name, error.kind, error.limit, error.window_s, error.asked) == (
            "alice",
            "requests",
            1,
            30,
            1,
        )
        assert error.retry_after_s == 20
        assert (
            str(error)
            == "rate limit 'alice': 1 more requests go beyond 1 requests in 30 s, and pass in 20.000 s"
        )

    def test_the_limit_that_keeps_it_out_longest_is_the_one_that_is_named(self):
        limit, clock = made(requests=2, tokens=1000)
        assert limit.try_take(0)
        clock.now_s = 1010
        assert limit.try_take(900)
        error = refused(limit, 200)
        assert (error.kind, error.limit, error.asked, error.retry_after_s) == ("tokens", 1000, 200, 60)
        error = refused(limit, 50)
        assert (error.kind, error.limit, error.asked, error.retry_after_s) == ("requests", 2, 1, 50)
        assert limit.refused == 2

    def test_larger_than_the_whole_limit_is_refused_for_good(self):
        limit, _ = made(requests=5, tokens=1000, max_queue=10)
        error = refused(limit, 1001)
        assert (error.kind, error.limit, error.asked, error.retry_after_s) == ("tokens", 1000, 1001, None)
        assert (
            str(error)
            == "rate limit 'alice': 1001 tokens are more than the whole limit of 1000 tokens in 60 s"
        )
        assert limit.allowed() == (5, 1000)

    def test_without_a_name(self):
        assert str(refused(RateLimit(RateLimitSettings(tokens=1), clock=Clock()), 2)).startswith(
            "rate limit: 2 tokens"
        )

    def test_status(self):
        limit, clock = made(requests=10, tokens=1000)
        assert limit.status() == RateStatus(LimitStatus(10, 10, 0.0), LimitStatus(1000, 1000, 0.0))
        assert limit.try_take(300)
        clock.now_s = 1020
        assert limit.try_take()
        assert limit.status() == RateStatus(LimitStatus(10, 8, 60.0), LimitStatus(1000, 700, 40.0))
        assert limit.get_allowed_requests(9) == 8
        assert limit.get_allowed_requests(3) == 3
        assert limit.get_allowed_tokens(2000) == 700

    def test_asking_takes_nothing(self):
        limit, _ = made(requests=1, tokens=5)
        for _ in range(5):
            limit.status(), limit.allowed(), limit.get_allowed_tokens(3)
        assert limit.try_take(5)


class TestReload:
    def test_what_was_admitted_is_judged_by_the_new_numbers(self):
        limit, clock = made(requests=10, tokens=1000)
        for _ in range(4):
            assert limit.try_take(100)
        limit.apply(RateLimitSettings(requests=3, tokens=500))
        assert limit.allowed() == (0, 100)
        limit.apply(RateLimitSettings(requests=5))
        assert limit.allowed() == (1, None)
        limit.apply(RateLimitSettings(requests=5, tokens=450, window_s=10))
        clock.now_s = 1009
        assert limit.allowed() == (1, 50)
        clock.now_s = 1010
        assert limit.allowed() == (5, 450)

    def test_an_old_permit_settles_by_what_it_reserved(self):
        limit, _ = made(requests=10, tokens=1000)
        permit = limit.try_take(800)
        limit.apply(RateLimitSettings(requests=10))
        limit.apply(RateLimitSettings(tokens=900))
        permit.settle(300)
        assert limit.allowed() == (None, 600)


def waits(**settings: float) -> RateLimitSettings:
    return RateLimitSettings(**{"max_queue": 100, "max_wait_s": 1000, **settings})


class TestQueue:
    def test_a_waiter_goes_in_at_the_soonest_moment(self):
        """RL1."""

        async def main(clock: VirtualClock) -> list[float]:
            limit = RateLimit(waits(requests=2), clock=clock)
            times = []

            async def one(key: str) -> None:
                await limit.enter(key=key)
                times.append(clock.monotonic())

            await asyncio.gather(*(one("a") for _ in range(5)))
            assert (limit.waiting, limit.admitted) == (0, 5)
            return times

        assert run_virtual(main) == [0, 0, 60, 60, 120]

    def test_nobody_overtakes(self):
        """RL2: who needs less does not pass who needs more and came before."""

        async def main(clock: VirtualClock) -> list[str]:
            limit = RateLimit(waits(tokens=100), clock=clock)
            limit.try_take(60)
            order = []

            async def one(name: str, tokens: int) -> None:
                await limit.enter(tokens=tokens)
                order.append(name)

            async with asyncio.TaskGroup() as group:
                group.create_task(one("large", 90))
                await asyncio.sleep(1)
                assert limit.try_take(1) is None
                group.create_task(one("small", 5))
            return order

        assert run_virtual(main) == ["large", "small"]

    def test_a_settlement_wakes_who_waits(self):
        async def main(clock: VirtualClock) -> float:
            limit = RateLimit(waits(tokens=100), clock=clock)
            permit = limit.try_take(100)
            waiter = asyncio.create_task(limit.enter(tokens=50))
            await asyncio.sleep(7)
            permit.settle(50)
            await waiter
            return clock.monotonic()

        assert run_virtual(main) == 7

    def test_what_was_used_beyond_the_bound_makes_the_waiter_wait_longer(self):
        """RL1."""

        async def main(clock: VirtualClock) -> float:
            limit = RateLimit(waits(tokens=100), clock=clock)
            permit = limit.try_take(50)
            limit.try_take(50)
            waiter = asyncio.create_task(limit.enter(tokens=50))
            await asyncio.sleep(30)
            permit.settle(120)
            await waiter
            return clock.monotonic()

        assert run_virtual(main) == 90

    def test_a_cancelled_waiter_takes_nothing_and_holds_up_nobody(self):
        async def main(clock: VirtualClock) -> tuple[float, int]:
            limit = RateLimit(waits(tokens=100), clock=clock)
            limit.try_take(50)
            first = asyncio.create_task(limit.enter(tokens=100))
            second = asyncio.create_task(limit.enter(tokens=50))
            await asyncio.sleep(1)
            first.cancel()
            await second
            assert (limit.waiting, limit.admitted, limit.refused) == (0, 2, 0)
            assert limit.allowed() == (None, 0)
            return clock.monotonic()

        assert run_virtual(main) == 1

    def test_let_in_and_cancelled_in_the_same_turn_hands_the_place_on(self):
        """Nobody holds a permit that nobody knows of."""

        async def main(clock: VirtualClock) -> None:
            limit = RateLimit(waits(requests=1), clock=clock)
            permit = limit.try_take()
            first, second = (asyncio.create_task(limit.enter()) for _ in range(2))
            await asyncio.sleep(1)
            permit.give_back()  # lets the first one in, whose task has not run yet
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            await second
            assert clock.monotonic() == 1
            assert (limit.waiting, limit.admitted, limit.allowed()) == (0, 1, (0, None))

        run_virtual(main)

    def test_cancelled_and_served_in_the_same_turn_the_other_way_round(self):
        async def main(clock: VirtualClock) -> None:
            limit = RateLimit(waits(requests=1), clock=clock)
            permit = limit.try_take()
            first, second = (asyncio.create_task(limit.enter()) for _ in range(2))
            await asyncio.sleep(1)
            first.cancel()
            permit.give_back()  # the first one is still in the queue, and has gone
            await second
            assert clock.monotonic() == 1
            assert (limit.waiting, limit.admitted) == (0, 1)

        run_virtual(main)

    def test_refused_and_cancelled_in_the_same_turn(self):
        """The refusal is nobody's: the loop doesn't complain of an error that was never looked at."""

        async def main(clock: VirtualClock) -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: pytest.fail(str(context)))
            limit = RateLimit(waits(tokens=10), clock=clock)
            limit.try_take(10)
            waiter = asyncio.create_task(limit.enter(tokens=10))
            await asyncio.sleep(1)
            limit.apply(waits(tokens=5))
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            assert limit.waiting == 0

        run_virtual(main)

    def test_a_full_queue_refuses_and_counts_those_who_wait(self):
        async def main(clock: VirtualClock) -> None:
            limit = RateLimit(waits(requests=2, max_queue=3), clock=clock)
            assert limit.try_take()
            await asyncio.sleep(10)
            assert limit.try_take()
            waiting = [asyncio.create_task(limit.enter()) for _ in range(3)]
            await asyncio.sleep(0)
            assert limit.waiting == 3
            with pytest.raises(RateLimitExceededError) as caught:
                await limit.enter()
            # They pass at 60, 70 and 120: the fourth at 130.
            assert caught.value.retry_after_s == 120
            await asyncio.gather(*waiting)
            assert clock.monotonic() == 120

        run_virtual(main)

    @pytest.mark.parametrize(("max_wait_s", "deadline"), [(59.9, math.inf), (1000, 59.9), (0, math.inf)])
    @pytest.mark.parametrize("others", [0, 1])
    def test_a_wait_in_vain_is_refused_at_once(self, max_wait_s, deadline, others):
        """DL1."""

        async def main(clock: VirtualClock) -> None:
            limit = RateLimit(waits(requests=1), clock=clock)
            limit.try_take()
            before = [asyncio.create_task(limit.enter()) for _ in range(others)]
            await asyncio.sleep(0)
            limit.apply(waits(requests=1, max_wait_s=max_wait_s))
            with pytest.raises(RateLimitExceededError) as caught:
                await limit.enter(deadline=deadline)
            assert caught.value.retry_after_s == 60 + 60 * others
            assert clock.monotonic() == 0
            await asyncio.gather(*before)

        run_virtual(main)

    @pytest.mark.parametrize(("max_wait_s", "deadline"), [(60, math.inf), (1000, 60)])
    def test_the_deadline_itself_is_in_time(self, max_wait_s, deadline):
        async def main(clock: VirtualClock) -> float:
            limit = RateLimit(waits(requests=1, max_wait_s=max_wait_s), clock=clock)
            limit.try_take()
            await limit.enter(deadline=deadline)
            return clock.monotonic()

        assert run_virtual(main) == 60

    def test_who_waits_behind_others_is_refused_at_its_deadline(self):
        async def main(clock: VirtualClock) -> None:
            limit = RateLimit(waits(requests=1), clock=clock)
            limit.try_take()
            first = asyncio.create_task(limit.enter())
            await asyncio.sleep(0)
            with pytest.raises(RateLimitExceededError) as caught:
                await limit.enter(deadline=90)
            assert clock.monotonic() == 60  # the first one has gone in: no place is left before 120
            assert caught.value.retry_after_s == 60
            await first
            assert (limit.waiting, limit.refused) == (0, 1)

        run_virtual(main)

    def test_the_last_in_a_long_line_is_refused_at_its_deadline(self):
        async def main(clock: VirtualClock) -> None:
            limit = RateLimit(waits(requests=1), clock=clock)
            limit.try_take()
            first, second = (asyncio.create_task(limit.enter()) for _ in range(2))
            await asyncio.sleep(30)
            late = asyncio.create_task(limit.enter(deadline=65))
            second_late = asyncio.create_task(limit.enter(deadline=62))
            results = await asyncio.gather(late, second_late, return_exceptions=True)
            assert [type(result) for result in results] == [RateLimitExceededError] * 2
            assert clock.monotonic() == 65
            await asyncio.gather(first, second)
            assert clock.monotonic() == 120

        run_virtual(main)

    def test_a_reload_reaches_those_who_wait(self):
        async def main(clock: VirtualClock) -> None:
            limit = RateLimit(waits(tokens=100), clock=clock)
            limit.try_take(100)
            small = asyncio.create_task(limit.enter(tokens=30))
            large = asyncio.create_task(limit.enter(tokens=100))
            await asyncio.sleep(5)
            limit.apply(waits(tokens=130))
            await small
            assert clock.monotonic() == 5
            limit.apply(waits(tokens=90))
            with pytest.raises(
                RateLimitExceededError, match="100 tokens are more than the whole limit of 90"
            ) as caught:
                await large
            assert caught.value.retry_after_s is None
            assert clock.monotonic() == 5

        run_virtual(main)

    def test_no_timer_outlives_the_queue(self):
        async def main(clock: VirtualClock) -> int:
            limit = RateLimit(waits(requests=1), clock=clock)
            limit.try_take()
            waiter = asyncio.create_task(limit.enter())
            await asyncio.sleep(1)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            return sum(not timer.cancelled() for timer in asyncio.get_running_loop()._scheduled)

        assert run_virtual(main) == 0

    def test_the_same_limit_in_one_loop_after_another(self):
        """A loop that ends with waiters in the queue leaves a limit that works."""
        clock = Clock()
        limit = RateLimit(waits(requests=1), clock=clock)

        async def gone() -> None:
            limit.try_take()
            asyncio.create_task(limit.enter())  # noqa: RUF006  # cancelled by the end of the loop
            await asyncio.sleep(0)

        asyncio.run(gone())
        assert limit.waiting == 0
        clock.now_s += 60
        assert limit.try_take()

    def test_a_clock_that_stands_still_does_not_spin(self):
        """The loop's time goes on and the clock's doesn't: it looks again after the same wait, and not in between."""

        async def main(clock: VirtualClock) -> int:
            still = Clock(0.0)
            looks = 0

            class Counting(Clock):
                def monotonic(self) -> float:
                    nonlocal looks
                    looks += 1
                    return 0.0

            still = Counting()
            limit = RateLimit(waits(requests=1, max_wait_s=300), clock=still)
            limit.try_take()
            with pytest.raises(RateLimitExceededError):
                await limit.enter()
            assert clock.monotonic() == pytest.approx(300)
            return looks

        assert run_virtual(main) < 60

    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
    def test_on_real_loops_nobody_is_let_in_early(self, new_loop):
        """RL1: uvloop's timers may ring a millisecond early."""

        async def main() -> list[float]:
            clock = Remembering()
            limit = RateLimit(waits(requests=1, window_s=0.01), clock=clock)
            times = []
            for _ in range(10):
                await limit.enter()
                times.append(clock.last)  # the very time at which it was let in
            return times

        with asyncio.Runner(loop_factory=new_loop) as runner:
            times = runner.run(main())
        assert all(later - earlier >= 0.01 for earlier, later in pairwise(times))

    def test_call_runs_through_the_gate(self):
        async def main(clock: VirtualClock) -> list[float]:
            limit = RateLimit(waits(requests=1), clock=clock)

            async def operation() -> float:
                return clock.monotonic()

            return [await limit.call(operation) for _ in range(3)]

        assert run_virtual(main) == [0, 60, 120]
