"""The bulkhead: who is let in, who waits, who is refused and when, in virtual time."""

from __future__ import annotations

import asyncio
import copy
import math
from typing import TYPE_CHECKING

import pytest

from holdfast.resilience.bulkhead import (
    Bulkhead,
    BulkheadFullError,
    BulkheadPermit,
    BulkheadSettings,
    BulkheadSnapshot,
)
from holdfast.resilience.leave_rate import LONGEST_S, SHORTEST_S
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.seam import Refused
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

OK = Outcome.SUCCESS


class Clock:
    """Time by hand."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def monotonic(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        raise AssertionError("a bulkhead asks for no date")


def made(clock: Clock | VirtualClock | None = None, **settings: float) -> Bulkhead:
    return Bulkhead(BulkheadSettings(**settings), clock=clock or Clock(), name="wall")


def entered(bulkhead: Bulkhead, **more: float) -> BulkheadPermit:
    """What ``enter`` returns without yielding to any loop."""
    with pytest.raises(StopIteration) as caught:
        bulkhead.enter(**more).send(None)
    return caught.value.value


def refused(bulkhead: Bulkhead, **more: float) -> BulkheadFullError:
    """What ``enter`` raises without yielding to any loop: at once."""
    with pytest.raises(BulkheadFullError) as caught:
        bulkhead.enter(**more).send(None)
    return caught.value


async def turns(count: int = 3) -> None:
    """Lets whatever is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_concurrent": 0}, "max_concurrent must be a whole number from 1 to 100000, not 0"),
            ({"max_concurrent": 2.5}, "max_concurrent must be a whole number from 1 to 100000, not 2.5"),
            ({"max_queue": -1}, "max_queue must be a whole number from 0 to 100000, not -1"),
            ({"max_wait_s": -0.1}, "max_wait_s must be a number from 0 to 3600, not -0.1"),
            ({"max_wait_s": math.inf}, "max_wait_s must be a number from 0 to 3600, not inf"),
        ],
    )
    def test_impossible_ones_are_refused(self, settings, message):
        with pytest.raises(ValueError, match=f"^{message}$"):
            BulkheadSettings(**settings)


class TestPlaces:
    def test_as_many_as_there_are(self):
        """BH1."""
        bulkhead = made(max_concurrent=3)
        permits = [bulkhead.try_enter() for _ in range(3)]
        assert all(permits)
        assert bulkhead.try_enter() is None
        permits[1].leave(OK)
        assert bulkhead.try_enter()
        assert bulkhead.try_enter() is None

    @pytest.mark.parametrize("outcome", Outcome)
    def test_a_place_comes_back_once_however_the_call_went(self, outcome):
        """BH1."""
        bulkhead = made(max_concurrent=2)
        permit, _ = bulkhead.try_enter(), bulkhead.try_enter()
        permit.progressed()
        assert bulkhead.try_enter() is None  # the first token frees nothing
        for _ in range(3):
            permit.leave(outcome)
        assert bulkhead.in_use == 1
        assert bulkhead.try_enter()
        permit.leave(outcome)
        assert bulkhead.try_enter() is None

    def test_nothing_to_wait_for_is_no_turn_of_the_loop(self):
        bulkhead = made(max_concurrent=1)
        entered(bulkhead).leave(OK)
        entered(bulkhead, deadline=1000.001).leave(OK)
        assert bulkhead.snapshot() == BulkheadSnapshot(
            in_use=0, limit=1, waiting=0, longest_wait_s=0.0, admitted=2, refused=0
        )

    @pytest.mark.parametrize("deadline", [1000.0, 999.9, 0.0, -math.inf])
    def test_nobody_is_let_in_at_a_deadline_or_later(self, deadline):
        """BH1: whoever begins then can't finish."""
        bulkhead = made(max_concurrent=1)
        error = refused(bulkhead, deadline=deadline)
        assert str(error) == "bulkhead 'wall': the deadline has passed"
        assert error.retry_after_s == SHORTEST_S
        assert (bulkhead.in_use, bulkhead.refused) == (0, 1)

    def test_call_holds_a_place_as_long_as_the_operation_runs(self):
        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1, max_queue=0)
            running = asyncio.create_task(bulkhead.call(lambda: asyncio.sleep(5, "done")))
            await asyncio.sleep(1)
            with pytest.raises(BulkheadFullError):
                await bulkhead.call(lambda: asyncio.sleep(0))
            assert await running == "done"
            await bulkhead.call(lambda: asyncio.sleep(0))

        run_virtual(main)

    @pytest.mark.parametrize("error", [ValueError("bad"), asyncio.CancelledError(), SystemExit(3)])
    def test_call_gives_the_place_back_on_every_way_out(self, error):
        """BH1."""
        bulkhead = made(max_concurrent=1)

        async def operation() -> None:
            raise error

        with pytest.raises(type(error)):
            bulkhead.call(operation).send(None)
        assert bulkhead.in_use == 0


class TestRefusal:
    def test_at_once_without_a_queue(self):
        """BH1."""
        bulkhead = made(max_concurrent=2, max_queue=0)
        entered(bulkhead), entered(bulkhead)
        error = refused(bulkhead)
        assert str(error) == "bulkhead 'wall': 2 calls are in, 0 wait, and there is no room for more"
        assert (error.name, bulkhead.refused) == ("wall", 1)
        assert isinstance(error, Refused)

    def test_at_once_without_time_to_wait(self):
        """BH1."""
        bulkhead = made(max_concurrent=1, max_queue=5, max_wait_s=0)
        entered(bulkhead)
        assert refused(bulkhead).retry_after_s

    def test_at_once_when_the_queue_is_full(self):
        """BH1: in the very turn of the loop, which is 0 s of virtual time."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1, max_queue=2)
            bulkhead.try_enter()
            waiters = [asyncio.create_task(bulkhead.enter()) for _ in range(2)]
            await turns()
            assert str(refused(bulkhead)) == (
                "bulkhead 'wall': 1 calls are in, 2 wait, and there is no room for more"
            )
            assert not any(waiter.done() for waiter in waiters)
            assert clock.monotonic() == 0
            for waiter in waiters:
                waiter.cancel()

        run_virtual(main)

    def test_without_a_name(self):
        bulkhead = Bulkhead(BulkheadSettings(max_concurrent=1, max_queue=0))
        entered(bulkhead)
        assert str(refused(bulkhead)).startswith("bulkhead: 1 calls")

    def test_an_error_can_be_copied(self):
        error = BulkheadFullError("full", name="wall", retry_after_s=2.0)
        twin = copy.copy(error)
        assert (str(twin), twin.message, twin.name, twin.retry_after_s) == ("full", "full", "wall", 2.0)

    def test_a_likely_miss_is_no_reason(self):
        """Places are held for minutes, as far as is known; whose deadline is in a second may still be lucky."""

        async def main(clock: VirtualClock) -> float:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            await asyncio.sleep(300)
            permit.leave(OK)
            permit = bulkhead.try_enter()
            waiter = asyncio.create_task(bulkhead.enter(deadline=301))
            await asyncio.sleep(0.5)
            permit.leave(OK)
            await waiter
            return clock.monotonic()

        assert run_virtual(main) == 300.5


class TestRetryAfter:
    """An estimate from the recent rate of leaving; never 0, and bounded."""

    def full(self, held_s: float, places: int = 4) -> tuple[Bulkhead, Clock]:
        """So many places whose holders took ``held_s`` each, all taken again just now."""
        clock = Clock()
        bulkhead = made(clock, max_concurrent=places, max_queue=0)
        for _ in range(2):
            permits = [bulkhead.try_enter() for _ in range(places)]
            clock.now_s += held_s
            for permit in permits:
                permit.leave(OK)
        for _ in range(places):
            bulkhead.try_enter()
        return bulkhead, clock

    @pytest.mark.parametrize(
        ("held_s", "expected"),
        [(8.0, 2.0), (2.0, 0.5), (0.001, SHORTEST_S), (0, SHORTEST_S), (4000, LONGEST_S)],
    )
    def test_it_is_the_interval_in_which_places_come_back(self, held_s, expected):
        bulkhead, _ = self.full(held_s)
        assert refused(bulkhead).retry_after_s == pytest.approx(expected)

    def test_it_follows_what_is_recent(self):
        clock = Clock()
        bulkhead = made(clock, max_concurrent=1, max_queue=0)
        for held_s in (*[8.0] * 40, *[1.0] * 40):
            permit = bulkhead.try_enter()
            clock.now_s += held_s
            permit.leave(OK)
        bulkhead.try_enter()
        assert refused(bulkhead).retry_after_s == pytest.approx(1, rel=0.05)

    def test_who_gave_its_place_up_at_once_says_nothing_of_the_others(self):
        """As attempts that another policy refused, once they had a place."""
        clock = Clock()
        bulkhead = made(clock, max_concurrent=2, max_queue=0)
        permits = [bulkhead.try_enter() for _ in range(2)]
        clock.now_s += 8
        for permit in permits:
            permit.leave(OK)
        bulkhead.try_enter()
        for _ in range(100):
            bulkhead.try_enter().leave(Outcome.NEUTRAL)
        bulkhead.try_enter()
        assert refused(bulkhead).retry_after_s == 4

    def test_silence_is_the_interval_when_the_other_side_hangs(self):
        bulkhead, clock = self.full(0.4)
        assert refused(bulkhead).retry_after_s == pytest.approx(0.1)
        clock.now_s += 7
        assert refused(bulkhead).retry_after_s == pytest.approx(7)
        clock.now_s += 1e9
        assert refused(bulkhead).retry_after_s == LONGEST_S

    def test_an_idle_hour_is_no_silence(self):
        clock = Clock()
        bulkhead = made(clock, max_concurrent=1, max_queue=0)
        permit = bulkhead.try_enter()
        clock.now_s += 0.5
        permit.leave(OK)
        clock.now_s += 3600
        bulkhead.try_enter()
        assert refused(bulkhead).retry_after_s == pytest.approx(0.5)

    def test_before_anybody_left(self):
        bulkhead = made(max_concurrent=1, max_queue=0)
        bulkhead.try_enter()
        assert refused(bulkhead).retry_after_s == 1.0

    def test_a_clock_that_goes_back(self):
        bulkhead, clock = self.full(1.0)
        clock.now_s = 0.0
        assert SHORTEST_S <= refused(bulkhead).retry_after_s <= LONGEST_S

    def test_those_who_wait_come_first(self):
        async def main(clock: VirtualClock) -> float:
            bulkhead = made(clock, max_concurrent=1, max_queue=3, max_wait_s=100)
            permit = bulkhead.try_enter()
            await asyncio.sleep(2)
            permit.leave(OK)
            bulkhead.try_enter()
            waiters = [asyncio.create_task(bulkhead.enter()) for _ in range(3)]
            await turns()
            retry_after_s = refused(bulkhead).retry_after_s
            for waiter in waiters:
                waiter.cancel()
            return retry_after_s

        assert run_virtual(main) == 4 * 2

    def test_after_a_wait_in_vain_too(self):
        async def main(clock: VirtualClock) -> BulkheadFullError:
            bulkhead = made(clock, max_concurrent=1, max_wait_s=3)
            bulkhead.try_enter()
            with pytest.raises(BulkheadFullError) as caught:
                await bulkhead.enter()
            assert 3 <= clock.monotonic() <= 3.01
            return caught.value

        error = run_virtual(main)
        assert str(error) == "bulkhead 'wall': waited 3.000 s in vain for one of 1 places"
        assert error.retry_after_s == 3


class TestQueue:
    def test_first_come_first_served_and_nobody_overtakes(self):
        async def main(clock: VirtualClock) -> list[str]:
            bulkhead = made(clock, max_concurrent=1)
            order = []

            async def one(name: str) -> None:
                permit = await bulkhead.enter()
                order.append(name)
                await asyncio.sleep(1)
                permit.leave(OK)
                assert bulkhead.waiting == 0 or bulkhead.try_enter() is None

            await asyncio.gather(*(one(name) for name in "abcde"))
            return order

        assert run_virtual(main) == list("abcde")

    def test_a_place_that_comes_free_belongs_to_who_waits(self):
        """Also in the turn of the loop in which it comes free, before the waiter has run."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            waiter = asyncio.create_task(bulkhead.enter())
            await turns()
            permit.leave(OK)
            assert bulkhead.try_enter() is None
            assert bulkhead.in_use == 1
            (await waiter).leave(OK)
            assert bulkhead.try_enter()

        run_virtual(main)

    def test_keys_in_turns(self):
        """RL2."""

        async def main(clock: VirtualClock) -> str:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            order = []

            async def one(key: str) -> None:
                permit = await bulkhead.enter(key=key)
                order.append(key)
                await asyncio.sleep(0.1)
                permit.leave(OK)

            tasks = [asyncio.create_task(one(key)) for key in "aaaaabbc"]
            await turns()
            permit.leave(OK)
            await asyncio.gather(*tasks)
            return "".join(order)

        assert run_virtual(main) == "abcabaaa"

    def test_a_key_that_fills_the_queue_makes_room_for_others(self):
        """RL2: its newest waiter goes, and is told so."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1, max_queue=3)
            permit = bulkhead.try_enter()
            greedy = [asyncio.create_task(bulkhead.enter(key="greedy")) for _ in range(3)]
            await turns()
            modest = asyncio.create_task(bulkhead.enter(key="modest"))
            await turns()
            with pytest.raises(
                BulkheadFullError, match="its room in the queue went to a key with fewer waiters"
            ):
                await greedy[2]
            assert (bulkhead.waiting, bulkhead.refused) == (3, 1)
            refused(bulkhead, key="modest")  # 2 and 1: it would only trade places
            refused(bulkhead, key="greedy")
            for waiter in (greedy[0], modest, greedy[1]):
                permit.leave(OK)
                permit = await waiter

        run_virtual(main)

    @pytest.mark.parametrize(("max_wait_s", "deadline", "until"), [(2, math.inf, 2), (2, 1, 1), (2, 5, 2)])
    def test_the_sooner_of_deadline_and_longest_wait(self, max_wait_s, deadline, until):
        """BH1."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1, max_wait_s=max_wait_s)
            permit = bulkhead.try_enter()
            with pytest.raises(BulkheadFullError, match=r"waited .* in vain for one of 1 places"):
                await bulkhead.enter(deadline=deadline)
            assert until <= clock.monotonic() <= until + 0.01
            assert (bulkhead.waiting, bulkhead.refused) == (0, 1)
            permit.leave(OK)
            assert bulkhead.in_use == 0

        run_virtual(main)

    def test_nobody_is_let_in_after_their_time_though_their_alarm_is_late(self):
        """BH1: alarms ring up to 10 ms late; the place goes to the next."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            late = asyncio.create_task(bulkhead.enter(deadline=1.001))
            patient = asyncio.create_task(bulkhead.enter())
            await asyncio.sleep(1.002)
            assert bulkhead.waiting == 2
            permit.leave(OK)
            with pytest.raises(BulkheadFullError):
                await late
            await patient
            assert clock.monotonic() == 1.002
            assert (bulkhead.in_use, bulkhead.waiting, bulkhead.refused) == (1, 0, 1)

        run_virtual(main)

    def test_the_longest_wait_is_shown(self):
        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            first = asyncio.create_task(bulkhead.enter(key="a"))
            await asyncio.sleep(1)
            second = asyncio.create_task(bulkhead.enter(key="b"))
            await asyncio.sleep(1)
            assert bulkhead.snapshot() == BulkheadSnapshot(
                in_use=1, limit=1, waiting=2, longest_wait_s=2.0, admitted=1, refused=0
            )
            permit.leave(OK)
            (await first).leave(OK)
            await second

        run_virtual(main)


class TestCancellation:
    """BH1: places always come back."""

    def test_a_waiter_that_leaves_takes_nothing(self):
        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            first, second = (asyncio.create_task(bulkhead.enter()) for _ in range(2))
            await turns()
            first.cancel()
            await turns()
            assert bulkhead.waiting == 1
            permit.leave(OK)
            assert await second
            assert (bulkhead.in_use, bulkhead.refused) == (1, 0)

        run_virtual(main)

    def test_cancelled_in_the_turn_in_which_it_is_let_in(self):
        """Its place goes to the next in line."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            first, second = (asyncio.create_task(bulkhead.enter()) for _ in range(2))
            await turns()
            permit.leave(OK)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            (await second).leave(OK)
            assert (bulkhead.in_use, bulkhead.waiting) == (0, 0)

        run_virtual(main)

    def test_a_place_comes_free_in_the_turn_in_which_the_next_is_cancelled(self):
        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            first, second = (asyncio.create_task(bulkhead.enter()) for _ in range(2))
            await turns()
            first.cancel()
            permit.leave(OK)
            with pytest.raises(asyncio.CancelledError):
                await first
            (await second).leave(OK)
            assert (bulkhead.in_use, bulkhead.waiting) == (0, 0)

        run_virtual(main)

    @pytest.mark.parametrize("tell", [lambda bulkhead: bulkhead.turn_away(Refused("no")), lambda _: None])
    def test_cancelled_in_the_turn_in_which_it_is_refused(self, tell: Callable[[Bulkhead], None]):
        """Nor is there an error that nobody took: warnings are errors here."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1)
            bulkhead.try_enter()
            waiter = asyncio.create_task(bulkhead.enter())
            await turns()
            tell(bulkhead)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            assert (bulkhead.in_use, bulkhead.waiting) == (1, 0)

        run_virtual(main)

    def test_a_wait_that_is_torn_down(self):
        """As by the end of a loop that nobody closed in order: no place is given to what will never run again."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            waiting = bulkhead.enter()
            waiting.send(None)
            assert bulkhead.waiting == 1
            waiting.close()
            assert bulkhead.waiting == 0
            permit.leave(OK)
            assert bulkhead.in_use == 0

        run_virtual(main)


class TestTurnAway:
    def test_everybody_who_waits_is_told_now(self):
        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1)
            permit = bulkhead.try_enter()
            waiters = [asyncio.create_task(bulkhead.enter(key=key)) for key in "aab"]
            await turns()
            error = Refused("the breaker opened", retry_after_s=7)
            bulkhead.turn_away(error)
            assert await asyncio.gather(*waiters, return_exceptions=True) == [error] * 3
            assert clock.monotonic() == 0
            assert (bulkhead.waiting, bulkhead.in_use, bulkhead.refused) == (0, 1, 3)
            later = asyncio.create_task(bulkhead.enter())  # whoever comes later waits as ever
            await turns()
            permit.leave(OK)
            await later

        run_virtual(main)


class TestResize:
    def test_raising_lets_in_who_waits(self):
        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=10)
            bulkhead.resize(1)
            bulkhead.try_enter()
            waiters = [asyncio.create_task(bulkhead.enter()) for _ in range(3)]
            await turns()
            bulkhead.resize(3)
            assert bulkhead.try_enter() is None
            await turns()
            assert [waiter.done() for waiter in waiters] == [True, True, False]
            assert (bulkhead.in_use, bulkhead.limit) == (3, 3)
            waiters[2].cancel()

        run_virtual(main)

    def test_lowering_is_reached_as_permits_come_back(self):
        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=3)
            permits = [bulkhead.try_enter() for _ in range(3)]
            waiter = asyncio.create_task(bulkhead.enter())
            await turns()
            bulkhead.resize(2)
            assert bulkhead.snapshot().in_use == 3
            permits[0].leave(OK)
            await turns()
            assert (bulkhead.in_use, waiter.done()) == (2, False)
            permits[1].leave(OK)
            await turns()
            assert (bulkhead.in_use, waiter.done()) == (2, True)

        run_virtual(main)

    def test_never_above_the_settings_and_never_below_one(self):
        """RL3."""
        bulkhead = made(max_concurrent=5)
        bulkhead.resize(50)
        assert bulkhead.limit == 5
        with pytest.raises(ValueError, match="limit must be a whole number from 1, not 0"):
            bulkhead.resize(0)
        assert bulkhead.limit == 5


class TestReload:
    def test_a_limit_that_was_not_lowered_follows_the_settings(self):
        bulkhead = made(max_concurrent=5)
        bulkhead.apply(BulkheadSettings(max_concurrent=9))
        assert (bulkhead.limit, bulkhead.settings.max_concurrent) == (9, 9)
        bulkhead.apply(BulkheadSettings(max_concurrent=2))
        assert bulkhead.limit == 2
        bulkhead.apply(BulkheadSettings(max_concurrent=6))
        assert bulkhead.limit == 6

    def test_a_limit_that_was_lowered_stays_where_it_was_found(self):
        bulkhead = made(max_concurrent=50)
        bulkhead.resize(7)
        bulkhead.apply(BulkheadSettings(max_concurrent=100))
        assert bulkhead.limit == 7
        bulkhead.apply(BulkheadSettings(max_concurrent=5))
        assert bulkhead.limit == 5

    def test_more_places_let_in_who_waits_and_they_keep_their_time(self):
        async def main(clock: VirtualClock) -> None:
            bulkhead = made(clock, max_concurrent=1, max_queue=5, max_wait_s=9)
            bulkhead.try_enter()
            waiters = [asyncio.create_task(bulkhead.enter()) for _ in range(2)]
            await turns()
            bulkhead.apply(BulkheadSettings(max_concurrent=2, max_queue=0, max_wait_s=0.5))
            await waiters[0]
            refused(bulkhead)
            with pytest.raises(BulkheadFullError, match=r"waited 9\.0"):
                await waiters[1]

        run_virtual(main)


def test_a_clock_that_stands_still_neither_spins_nor_hangs():
    """Its waiters' alarms are the loop's."""

    async def main(_: VirtualClock) -> None:
        bulkhead = made(Clock(1.0), max_concurrent=1, max_wait_s=3)
        permit = bulkhead.try_enter()
        waiter = asyncio.create_task(bulkhead.enter())
        await turns()
        permit.leave(OK)
        await waiter
        with pytest.raises(BulkheadFullError):
            await bulkhead.enter()

    run_virtual(main)
