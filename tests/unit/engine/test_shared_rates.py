"""Rate limits over several processes, in virtual time: each has its own side, and all share one store (RL1, RD1)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.far_rates import FarRates

from holdfast.engine.shared_limit import LOOK_AGAIN_S, SharedLimit
from holdfast.engine.shared_rates import SharedRates
from holdfast.resilience.rate_limit import RateLimitExceededError, RateLimitSettings
from holdfast.resilience.rate_meter import LimitStatus, RateStatus
from holdfast.stores.base import StoreLost
from holdfast.stores.memory_rates import MemoryRates
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from holdfast.resilience.rate_limit import RatePermit

TEN = RateLimitSettings(requests=10)


class Fleet:
    """So many processes on one store, each with one limit of the same window."""

    def __init__(
        self, clock: VirtualClock, settings: RateLimitSettings = TEN, *, count: int = 2, far: bool = False
    ) -> None:
        kind = FarRates if far else MemoryRates
        self.clock = clock
        self.store: Any = kind(lambda: clock.wall_ns() // 1000)
        self.sides = [
            SharedRates(self.store, clock=clock, rng=random.Random(number), replicas=lambda: count)
            for number in range(count)
        ]
        self.limits = [side.limit(settings, "key alice") for side in self.sides]

    async def takes(self, number: int, times: int, *, tokens: int = 0) -> list[RatePermit]:
        """What a process gets of so many that it asks for."""
        permits = []
        for _ in range(times):
            try:
                permits.append(await self.limits[number].enter(tokens=tokens))
            except RateLimitExceededError:
                break
        return permits

    def stands(self, settings: RateLimitSettings = TEN) -> SharedLimit:
        """As a process sees it that has only just begun."""
        side = SharedRates(self.store, clock=self.clock, rng=random.Random(99))
        return side.limit(settings, "key alice")


def virtual(main: Any) -> Any:
    return run_virtual(main)


async def refused(asked: Coroutine[Any, Any, object]) -> RateLimitExceededError:
    with pytest.raises(RateLimitExceededError) as caught:
        await asked
    return caught.value


class TestTogether:
    def test_all_processes_admit_one_limit(self):
        """RL1: whoever asks."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock)
            assert len(await fleet.takes(0, 6)) == 6
            await asyncio.sleep(1)
            assert len(await fleet.takes(1, 9)) == 4
            error = await refused(fleet.limits[1].enter())
            assert error.retry_after_s == pytest.approx(59, abs=1e-5)
            assert (error.kind, error.limit, error.asked) == ("requests", 10, 1)
            await asyncio.sleep(error.retry_after_s)
            assert len(await fleet.takes(1, 9)) == 6

        virtual(main)

    def test_a_moment_before_is_too_early(self):
        """RL1: the exact moment, by the store's clock."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(requests=1))
            await fleet.takes(0, 1)
            error = await refused(fleet.limits[1].enter())
            await asyncio.sleep(error.retry_after_s - 2e-6)
            await refused(fleet.limits[1].enter())
            await asyncio.sleep(2e-6)
            assert await fleet.limits[1].enter()

        virtual(main)

    def test_settling_makes_room_for_others(self):
        """RL1: what one process reserved and didn't use, another has."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(tokens=100))
            permit = await fleet.limits[0].enter(tokens=90)
            await refused(fleet.limits[1].enter(tokens=50))
            permit.settle(30)
            permit.settle(0)
            permit.give_back()
            await asyncio.sleep(0)
            assert await fleet.limits[1].enter(tokens=70)
            await refused(fleet.limits[1].enter(tokens=1))

        virtual(main)

    def test_an_overrun_blocks_others(self):
        """RL1: what was used beyond the bound counts for all from then on."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(tokens=100))
            permit = await fleet.limits[0].enter(tokens=10)
            await asyncio.sleep(59)
            permit.settle(500)
            await asyncio.sleep(30)
            error = await refused(fleet.limits[1].enter(tokens=1))
            assert error.retry_after_s == pytest.approx(30, abs=1e-5)
            assert fleet.limits[0].overruns == 1

        virtual(main)

    def test_what_was_never_sent_was_never_asked(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock)
            for permit in await fleet.takes(0, 10):
                permit.give_back()
            await asyncio.sleep(0)
            assert len(await fleet.takes(1, 99)) == 10
            assert fleet.limits[0].admitted == 0

        virtual(main)

    def test_several_limits_at_once_or_none(self):
        """RL1: nothing is taken of the one where the other is full."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, count=1)
            (side,), (wide,) = fleet.sides, fleet.limits
            narrow = side.limit(RateLimitSettings(requests=3), "model m")
            for _ in range(3):
                assert isinstance(await side.take([wide, narrow], 0), list)
            said = await side.take([wide, narrow], 0)
            assert not isinstance(said, list)
            assert [stand.requests for stand in said.stands] == [3, 3]
            assert len(await fleet.takes(0, 99)) == 7

        virtual(main)

    def test_more_than_the_whole_limit_is_not_even_asked_for(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(tokens=100), far=True)
            error = await refused(fleet.limits[0].enter(tokens=101))
            assert error.retry_after_s is None
            assert fleet.store.asked == 0
            with pytest.raises(ValueError, match="tokens"):
                await fleet.limits[0].enter(tokens=-1)

        virtual(main)

    def test_other_numbers_hold_at_once(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock)
            await fleet.takes(0, 10)
            fleet.limits[1].apply(RateLimitSettings(requests=12, window_s=60))
            assert len(await fleet.takes(1, 99)) == 2
            fleet.limits[1].apply(RateLimitSettings(requests=12, window_s=1))
            await asyncio.sleep(1.1)
            assert len(await fleet.takes(1, 99)) == 12

        virtual(main)

    def test_status_is_what_the_store_said(self):
        async def main(clock: VirtualClock) -> None:
            both = RateLimitSettings(requests=10, tokens=1000)
            fleet = Fleet(clock, both)
            assert fleet.limits[0].status() == RateStatus(LimitStatus(10, 10, 0), LimitStatus(1000, 1000, 0))
            await fleet.takes(0, 2, tokens=100)
            await fleet.takes(1, 1, tokens=50)
            await asyncio.sleep(30)
            status = fleet.limits[1].status()
            assert (status.requests.remaining, status.tokens.remaining, status.alone) == (7, 750, False)
            assert status.requests.reset_s == pytest.approx(30, abs=1e-3)
            assert fleet.limits[1].allowed() == (7, 750)
            await fleet.sides[0].look(fleet.limits[:1])
            assert fleet.limits[0].allowed() == (7, 750)
            await asyncio.sleep(31)
            assert fleet.limits[1].allowed() == (10, 1000)

        virtual(main)

    def test_a_crowd_shares_entries(self):
        """RL1: memory is bounded, whatever the limit."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(requests=1_000_000), count=64)
            for _ in range(2000):
                await fleet.limits[0].enter()
                await asyncio.sleep(0.0001)
            (window,) = fleet.store._windows.values()
            assert window.requests == 2000
            assert len(window.amounts) <= 64 + 2

        virtual(main)


class TestLeaving:
    def test_a_caller_that_leaves_takes_nothing(self):
        """RL1: cancelled while the store is asked: what it admits is given back when it says so."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, far=True)
            for after in (0.0001, 0.0015):
                task = asyncio.ensure_future(fleet.limits[0].enter())
                await asyncio.sleep(after)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.sleep(0.01)
            assert len(await fleet.takes(1, 99)) == 10

        virtual(main)

    def test_settlements_of_a_turn_go_out_together(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(tokens=1000), count=1)
            permits = await fleet.takes(0, 5, tokens=100)
            seen: list[int] = []
            amend = fleet.store.amend
            fleet.store.amend = lambda changes: (seen.append(len(changes)), amend(changes))
            for permit in permits:
                permit.settle(10)
            await asyncio.sleep(0)
            assert seen == [5]

        virtual(main)


class TestQueue:
    WAITING = RateLimitSettings(requests=2, max_queue=5, max_wait_s=100)

    def test_who_waits_is_let_in_at_the_moment(self):
        async def main(clock: VirtualClock) -> list[float]:
            fleet = Fleet(clock, RateLimitSettings(requests=2, max_queue=5, max_wait_s=1000))
            await fleet.takes(0, 2)
            times: list[float] = []

            async def one(number: int) -> None:
                await fleet.limits[number].enter()
                times.append(clock.monotonic())

            await asyncio.gather(*(one(number % 2) for number in range(4)))
            return times

        times = virtual(main)
        assert times == pytest.approx([60, 60, 120, 120], abs=LOOK_AGAIN_S + 0.01)
        assert min(times) >= 60

    def test_others_give_back_and_the_first_notices(self):
        async def main(clock: VirtualClock) -> float:
            fleet = Fleet(clock, self.WAITING)
            permits = await fleet.takes(0, 2)
            waiting = asyncio.ensure_future(fleet.limits[1].enter())
            await asyncio.sleep(5)
            permits[0].give_back()
            await waiting
            return clock.monotonic()

        assert virtual(main) <= 5 + LOOK_AGAIN_S

    def test_in_order_of_coming(self):
        async def main(clock: VirtualClock) -> list[int]:
            fleet = Fleet(clock, RateLimitSettings(requests=1, window_s=1, max_queue=9), count=1, far=True)
            order: list[int] = []

            async def one(number: int) -> None:
                await fleet.limits[0].enter()
                order.append(number)

            async with asyncio.TaskGroup() as group:
                for number in range(5):
                    group.create_task(one(number))
                    await asyncio.sleep(0.01)
            return order

        assert virtual(main) == [0, 1, 2, 3, 4]

    def test_a_wait_in_vain_is_refused_at_once(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(requests=1, max_queue=5, max_wait_s=10), far=True)
            await fleet.takes(0, 1)
            error = await refused(fleet.limits[1].enter())
            assert fleet.store.asked == 2
            assert error.retry_after_s == pytest.approx(60, abs=0.01)
            fleet.limits[1].apply(RateLimitSettings(requests=1, max_queue=5, max_wait_s=100))
            await refused(fleet.limits[1].enter(deadline=clock.monotonic() + 59))

        virtual(main)

    def test_a_full_queue_is_told_when_it_would_pass(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(requests=1, max_queue=2, max_wait_s=1000), count=1)
            waiting = [asyncio.ensure_future(fleet.limits[0].enter()) for _ in range(3)]
            await asyncio.sleep(1)
            assert fleet.limits[0].waiting == 2
            error = await refused(fleet.limits[0].enter())
            assert error.retry_after_s == pytest.approx(179, abs=1e-4)
            assert fleet.limits[0].refused == 1
            await asyncio.gather(*waiting)

        virtual(main)

    def test_who_waits_too_long_is_refused(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, self.WAITING)
            await fleet.takes(0, 2)
            await asyncio.sleep(1)
            waiting = asyncio.ensure_future(fleet.limits[1].enter(deadline=clock.monotonic() + 59.5))
            await asyncio.sleep(58)
            fleet.limits[0].apply(RateLimitSettings(requests=50))
            assert len(await fleet.takes(0, 20)) == 20, "others have taken what would have been free"
            error = await refused(waiting)
            assert error.retry_after_s > 0
            assert fleet.limits[1].waiting == 0

        virtual(main)

    def test_whoever_leaves_makes_room(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, self.WAITING, far=True)
            await fleet.takes(0, 2)
            tasks = [asyncio.ensure_future(fleet.limits[0].enter()) for _ in range(3)]
            await asyncio.sleep(1)
            tasks[0].cancel()
            await asyncio.gather(*tasks[1:])
            assert clock.monotonic() < 61
            assert fleet.limits[0].waiting == 0

        virtual(main)

    @pytest.mark.parametrize("after", [0, 0.001, 0.002, 0.003, 59.9, 59.9975, 59.9985, 59.999, 60])
    def test_cancelled_anywhere_takes_nothing(self, after):
        """RL1: also in the moment in which it is let in."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, self.WAITING, far=True)
            await fleet.takes(0, 2)
            task = asyncio.ensure_future(fleet.limits[0].enter())
            await asyncio.sleep(after)
            task.cancel()
            said = await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.2)
            assert fleet.limits[0].waiting == 0
            counted = (await fleet.sides[1].ask_only(fleet.limits[1], 0)).stands[0].requests
            assert counted == (0 if after > 59 else 2) + (not isinstance(said[0], asyncio.CancelledError))

        virtual(main)


class TestLost:
    def test_each_counts_its_part(self):
        """RL1: all of them together, no more than the limit."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, count=3)
            fleet.store.lose()
            assert [len(await fleet.takes(number, 99)) for number in range(3)] == [3, 3, 3]
            status = fleet.limits[0].status()
            assert status.alone
            assert status.requests == LimitStatus(10, 0, pytest.approx(60, abs=1e-5))

        virtual(main)

    def test_a_part_is_never_nothing(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(requests=1), count=3)
            fleet.store.lose()
            assert len(await fleet.takes(0, 99)) == 1

        virtual(main)

    def test_what_was_admitted_before_counts(self):
        """RD1: a process has noted its own all along."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock)
            await fleet.takes(0, 4)
            fleet.store.lose()
            assert len(await fleet.takes(0, 99)) == 1
            assert len(await fleet.takes(1, 99)) == 5

        virtual(main)

    def test_the_worst_moment_is_twice_the_limit_and_no_more(self):
        """RD1: one has used the whole limit when all is lost; forgotten too, and healed."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, count=5)
            admitted = len(await fleet.takes(0, 99))
            assert admitted == 10
            fleet.store.lose(forget=True)
            admitted += sum([len(await fleet.takes(number, 99)) for number in range(5)])
            assert admitted == 18
            await fleet.store.heal()
            admitted += sum([len(await fleet.takes(number, 99)) for number in range(5)])
            assert admitted == 18, "what they had admitted is known again"

        virtual(main)

    def test_healing_writes_back_what_was_admitted_meanwhile(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock)
            await fleet.takes(0, 2)
            fleet.store.lose()
            await asyncio.sleep(20)
            await fleet.takes(0, 3)
            await fleet.store.heal()
            later = fleet.stands()
            assert (await fleet.sides[1].ask_only(fleet.limits[1], 0)).stands[0].requests == 5
            await asyncio.sleep(40.1)
            assert len([await later.enter() for _ in range(7)]) == 7, "three still count, from when they were"
            await refused(later.enter())

        virtual(main)

    def test_all_is_written_back_before_it_is_up(self):
        """Thousands of windows at once, when it is up, would take longer than a request may wait."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, count=1)
            fleet.store.lose(forget=True)
            await fleet.takes(0, 3)
            fleet.store.keep = lambda *_: pytest.fail("it is up")
            await fleet.store.heal()
            assert (await fleet.sides[0].ask_only(fleet.limits[0], 0)).stands[0].requests == 3

        virtual(main)

    def test_settled_after_healing(self):
        """RL1: what was reserved before a loss, while it lasted and while it healed is settled all the same."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(tokens=1000), count=1)
            (limit,) = fleet.limits
            before = await limit.enter(tokens=100)
            gone = await limit.enter(tokens=100)
            fleet.store.lose(forget=True)
            meanwhile = await limit.enter(tokens=100)
            gone.settle(0)

            async def late(_: object) -> None:
                late.permit = await limit.enter(tokens=100)

            fleet.store._restore.append(late)  # after the limits have written back
            await fleet.store.heal()
            for permit in (before, meanwhile, late.permit):
                permit.settle(1)
            await asyncio.sleep(0)
            assert (await fleet.sides[0].ask_only(limit, 0)).stands[0].tokens == 3

        virtual(main)

    def test_many_entries_are_put_together_and_count_no_less(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(requests=1000), count=1)
            for _ in range(600):
                await fleet.limits[0].enter()
                await asyncio.sleep(0.05)
            fleet.store.lose(forget=True)
            await fleet.store.heal()
            (window,) = fleet.store._windows.values()
            assert len(window.amounts) <= 256
            assert window.requests == 600
            await asyncio.sleep(60 - 0.13)
            assert (await fleet.sides[0].ask_only(fleet.limits[0], 0)).stands[0].requests >= 1

        virtual(main)

    def test_larger_than_a_part(self):
        """It isn't larger than the limit: it is told to come again, when the store may be there."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(tokens=100))
            fleet.store.lose()
            assert (await refused(fleet.limits[0].enter(tokens=51))).retry_after_s == 5
            assert (await refused(fleet.limits[0].enter(tokens=101))).retry_after_s is None
            assert await fleet.limits[0].enter(tokens=50)

        virtual(main)

    def test_more_processes_smaller_parts(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock)
            living = 2
            side = SharedRates(fleet.store, clock=clock, rng=random.Random(5), replicas=lambda: living)
            limit = side.limit(TEN, "key bob")
            fleet.store.lose()
            assert len([await limit.enter() for _ in range(5)]) == 5
            await refused(limit.enter())
            living = 1
            assert len([await limit.enter() for _ in range(5)]) == 5
            limit.apply(RateLimitSettings(requests=11))
            assert await limit.enter()
            living = 4
            assert limit.try_take() is None

        virtual(main)

    def test_a_request_that_has_no_time_left_is_judged_here_and_told_there(self):
        """RD1: the store is up, and didn't answer this one."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, far=True)
            fleet.store.deaf = True
            permits = await fleet.takes(0, 99)
            assert len(permits) == 5
            fleet.store.deaf = False
            permits[0].give_back()
            assert len(await fleet.takes(1, 99)) == 6

        virtual(main)

    def test_lost_while_somebody_waits(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(requests=4, max_queue=5, max_wait_s=100), far=True)
            await fleet.takes(0, 4)
            waiting = asyncio.ensure_future(fleet.limits[1].enter())
            await asyncio.sleep(1)
            assert not waiting.done()
            fleet.store.lose()
            await waiting
            assert clock.monotonic() < 1.1, "this process has admitted nothing yet"

        virtual(main)

    def test_healed_while_somebody_waits(self):
        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, RateLimitSettings(requests=4, max_queue=5, max_wait_s=100), far=True)
            fleet.store.lose()
            await fleet.takes(0, 2)
            waiting = asyncio.ensure_future(fleet.limits[0].enter())
            await asyncio.sleep(1)
            assert not waiting.done()
            await fleet.store.heal()
            await waiting
            assert clock.monotonic() < 1.1, "nobody else has admitted any"

        virtual(main)

    def test_lost_on_the_way(self):
        """RD1: nobody knows whether the store has counted it; when it heals it has what the process has."""

        async def main(clock: VirtualClock) -> None:
            fleet = Fleet(clock, far=True)
            asked = asyncio.ensure_future(fleet.limits[0].enter())
            await asyncio.sleep(0.0015)
            fleet.store.lose()
            (await asked).give_back()
            await fleet.store.heal()
            assert (await fleet.sides[1].ask_only(fleet.limits[1], 0)).stands[0].requests == 0

        virtual(main)

    @pytest.mark.parametrize("seed", range(4))
    def test_any_history(self, seed):
        """RL1, RD1: up: never above the limit. In windows that saw a loss: never above twice the limit."""

        async def main(clock: VirtualClock) -> tuple[list[float], list[tuple[float, float]]]:
            rng = random.Random(seed)
            fleet = Fleet(clock, RateLimitSettings(requests=20, window_s=10, max_queue=3), count=4, far=True)
            times: list[float] = []
            lost: list[tuple[float, float]] = []

            async def one(number: int) -> None:
                try:
                    permit = await fleet.limits[number].enter()
                except RateLimitExceededError:
                    return
                if rng.random() < 0.1:
                    permit.give_back()
                else:
                    times.append(clock.monotonic())

            async def trouble() -> None:
                while True:
                    await asyncio.sleep(25 + rng.expovariate(1 / 10))
                    fleet.store.lose(forget=rng.random() < 0.5)
                    lost.append((clock.monotonic(), float("inf")))
                    await asyncio.sleep(rng.expovariate(1 / 4))
                    await fleet.store.heal()
                    lost[-1] = lost[-1][0], clock.monotonic()

            troubled = asyncio.ensure_future(trouble())
            async with asyncio.TaskGroup() as group:
                while clock.monotonic() < 200:
                    for _ in range(rng.choice([1, 1, 3, 30])):
                        group.create_task(one(rng.choice((0, 0, 0, 1, 2, 3))))
                    await asyncio.sleep(rng.expovariate(2))
            troubled.cancel()
            return times, lost

        times, lost = virtual(main)
        assert len(times) > 200
        assert lost
        trip_s = 0.002
        for start in times:
            end = start + 10 - trip_s  # a caller hears a little after it was judged
            within = sum(start <= at < end for at in times)
            touched = any(begin - trip_s < end and healed + trip_s >= start for begin, healed in lost)
            assert within <= (40 if touched else 20)


def test_a_store_that_breaks_is_no_queue_that_spins():
    """A store that is up and fails at once is asked again now and then."""

    async def main(clock: VirtualClock) -> int:
        settings = RateLimitSettings(requests=1, max_queue=5, max_wait_s=100)
        fleet = Fleet(clock, settings, count=1, far=True)
        await fleet.takes(0, 1)
        waiting = asyncio.ensure_future(fleet.limits[0].enter())
        await asyncio.sleep(1)
        fleet.store.deaf = True
        await asyncio.gather(waiting, return_exceptions=True)
        return fleet.store.asked

    assert run_virtual(main) < 500


def test_the_store_is_lost_for_whoever_asks():
    async def main(clock: VirtualClock) -> None:
        fleet = Fleet(clock)
        fleet.store.lose()
        with pytest.raises(StoreLost):
            await fleet.sides[0].take(fleet.limits[:1], 0)
        await fleet.sides[0].look(fleet.limits[:1])

    virtual(main)
