"""When a hedge is started, and when it isn't."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from holdfast.resilience.hedge import Hedge, HedgeBudget, HedgeSettings, HedgeTimer
from holdfast.resilience.seam import compose
from holdfast.testing.virtual_time import run_virtual

if TYPE_CHECKING:
    from holdfast.resilience.race import Loser


def now() -> float:
    return asyncio.get_running_loop().time()


class Target:
    """Answers after the next time in its list; the number of the call is the answer."""

    def __init__(self, *seconds: float | Exception) -> None:
        self.script = list(seconds)
        self.calls = 0
        self.cancelled = 0

    async def __call__(self) -> int:
        number, step = self.calls, self.script[self.calls]
        self.calls += 1
        if isinstance(step, Exception):
            raise step
        try:
            await asyncio.sleep(step)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


def eager(clock, **settings: object) -> Hedge:
    """One that may always hedge."""
    return Hedge(HedgeSettings(**{"delay_s": 1.0, "ratio": 1.0, **settings}), clock=clock)


# The policy.


def test_a_call_that_answers_within_the_delay_is_made_once():
    async def main(clock) -> None:
        target = Target(0.5)
        assert await eager(clock).call(target) == 0
        assert (target.calls, now()) == (1, 0.5)

    run_virtual(main)


def test_a_slow_call_is_made_a_second_time_and_the_faster_one_wins():
    async def main(clock) -> None:
        hedge, target = eager(clock), Target(10, 2)
        assert await hedge.call(target) == 1
        assert (target.calls, target.cancelled, now()) == (2, 1, 3.0)
        state = hedge.snapshot()
        assert (state.requests, state.hedges, state.won, state.refused) == (1, 1, 1, 0)

    run_virtual(main)


def test_the_slow_one_may_win_all_the_same():
    async def main(clock) -> None:
        hedge, target = eager(clock), Target(2, 10)
        assert await hedge.call(target) == 0
        assert (target.cancelled, now()) == (1, 2.0)
        assert (hedge.snapshot().hedges, hedge.snapshot().won) == (1, 0)

    run_virtual(main)


def test_max_hedges_are_started_a_delay_apart():
    async def main(clock) -> None:
        hedge, target = eager(clock, max_hedges=3), Target(*[100] * 9)
        for _ in range(9):
            hedge.budget.request()
        assert await hedge.call(target) == 0
        assert (target.calls, target.cancelled, now()) == (4, 3, 100.0)

    run_virtual(main)


def test_hedges_run_the_other_operations_in_their_order():
    async def main(clock) -> None:
        first, second, third = Target(100), Target(100), Target(1)
        hedge = eager(clock, max_hedges=5)
        hedge.budget.request()
        assert await hedge.call(first, second, third) == 0
        assert (first.cancelled, second.cancelled, third.calls, now()) == (1, 1, 1, 3.0)

    run_virtual(main)


def test_an_error_is_no_reason_for_a_hedge():
    """Trying again is the retry's part, and has a budget of its own."""

    async def main(clock) -> None:
        hedge, target = eager(clock), Target(ValueError("no"), 1)
        with pytest.raises(ValueError, match="no"):
            await hedge.call(target)
        assert (target.calls, hedge.snapshot().hedges, now()) == (1, 0, 0.0)

    run_virtual(main)


def test_an_error_waits_for_the_hedge_that_runs():
    async def main(clock) -> None:
        target = Target(2, 5)

        async def breaks() -> int:
            await target()
            raise ValueError

        assert await eager(clock).call(breaks, target) == 1
        assert now() == 6.0

    run_virtual(main)


def test_the_hedges_error_waits_for_the_call_and_is_a_note_if_that_fails_too():
    async def main(clock) -> None:
        target = Target(2)

        async def breaks() -> int:
            await target()
            raise KeyError("mine")

        with pytest.raises(KeyError) as raised:
            await eager(clock).call(breaks, Target(OSError("the hedge's")))
        assert raised.value.__notes__ == ["call 1 of the race failed too: OSError: the hedge's"]
        assert now() == 2.0

    run_virtual(main)


def test_a_caller_that_leaves_ends_both():
    async def main(clock) -> None:
        target = Target(100, 100)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(eager(clock).call(target), 5)
        assert (target.calls, target.cancelled) == (2, 2)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main)


def test_losers_are_told():
    async def main(clock) -> None:
        told: list[Loser[object]] = []
        hedge = Hedge(HedgeSettings(delay_s=1.0, ratio=1.0), on_loser=told.append, clock=clock)
        await hedge.call(Target(100, 1))
        assert [(loser.index, type(loser.error)) for loser in told] == [(0, asyncio.CancelledError)]

    run_virtual(main)


def test_it_composes():
    async def main(clock) -> None:
        target = Target(100, 1)
        assert await compose(eager(clock), eager(clock, delay_s=50.0)).call(target) == 1

    run_virtual(main)


# The delay.


def test_without_enough_answers_there_is_no_hedge():
    async def main(clock) -> None:
        hedge = Hedge(HedgeSettings(ratio=1.0, min_samples=3), clock=clock)
        for _ in range(3):
            assert hedge.snapshot().delay_s is None
            assert await hedge.call(Target(1)) == 0
        assert hedge.snapshot().delay_s == 1.0
        slow = Target(100, 1)
        assert await hedge.call(slow) == 1
        assert slow.calls == 2

    run_virtual(main)


def test_the_delay_is_the_percentile_of_what_calls_took():
    timer = HedgeTimer(HedgeSettings(percentile=90))
    for tenths in range(1, 101):
        timer.observe(tenths / 10)
    assert timer.delay_s() == 9.0


def test_of_a_hundred_calls_the_95th_is_the_default():
    timer = HedgeTimer(HedgeSettings())
    for number in range(1, 101):
        timer.observe(float(number))
    assert timer.delay_s() == 95.0


def test_a_fixed_delay_needs_no_answers():
    assert HedgeTimer(HedgeSettings(delay_s=2)).delay_s() == 2


def test_a_call_that_lost_to_its_hedge_counts_as_slow():
    """Else the slowest would never be heard of, and the delay would sink and sink."""

    async def main(clock) -> None:
        hedge = Hedge(HedgeSettings(percentile=50, min_samples=1, ratio=1.0), clock=clock)
        hedge.timer.observe(1.0)
        assert await hedge.call(Target(100, 3)) == 1
        assert hedge.timer._times.at(100) == 4.0
        assert len(hedge.timer._times) == 2

    run_virtual(main)


def test_a_call_that_was_given_up_before_the_delay_counts_for_nothing():
    async def main(clock) -> None:
        hedge = Hedge(HedgeSettings(percentile=50, min_samples=1), clock=clock)
        hedge.timer.observe(10.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hedge.call(Target(100)), 1)
        assert len(hedge.timer._times) == 1

    run_virtual(main)


def test_a_failure_counts_for_nothing():
    async def main(clock) -> None:
        hedge = Hedge(HedgeSettings(percentile=50, min_samples=1), clock=clock)
        with pytest.raises(ValueError, match="no"):
            await hedge.call(Target(ValueError("no")))
        assert len(hedge.timer._times) == 0

    run_virtual(main)


def test_the_hedges_own_time_does_not_count():
    """It was started because the call was slow, and wins because it was fast: no sample of what calls take."""

    async def main(clock) -> None:
        hedge = eager(clock)
        await hedge.call(Target(100, 0.25))
        assert [hedge.timer._times.at(100), len(hedge.timer._times)] == [1.25, 1]

    run_virtual(main)


# The budget.


def test_each_request_earns_its_share():
    budget = HedgeBudget(HedgeSettings(ratio=0.1))
    allowed = []
    for _ in range(30):
        budget.request()
        allowed.append(budget.allow())
    assert [index for index, yes in enumerate(allowed) if yes] == [9, 19, 29]
    assert (budget.requests, budget.hedges, budget.refused) == (30, 3, 27)


@pytest.mark.parametrize("ratio", [0.05, 0.07, 0.1, 0.29, 0.58])
def test_a_hundred_requests_earn_exactly_so_many_hedges(ratio):
    budget = HedgeBudget(HedgeSettings(ratio=ratio, burst=100))
    for _ in range(100):
        budget.request()
    assert sum(budget.allow() for _ in range(101)) == round(100 * ratio)


def test_no_more_than_burst_are_saved():
    budget = HedgeBudget(HedgeSettings(ratio=0.5, burst=3))
    for _ in range(1000):
        budget.request()
    assert sum(budget.allow() for _ in range(10)) == 3


def test_with_a_ratio_of_0_there_are_none():
    async def main(clock) -> None:
        hedge, target = eager(clock, ratio=0), Target(10, 1)
        assert await hedge.call(target) == 0
        assert (target.calls, hedge.snapshot().refused) == (1, 1)

    run_virtual(main)


def test_what_was_not_needed_is_not_spent():
    async def main(clock) -> None:
        hedge = eager(clock, ratio=0.5)
        await hedge.call(Target(0.5))
        await hedge.call(Target(0.5))
        assert hedge.budget.allow()
        assert not hedge.budget.allow()

    run_virtual(main)


# Settings.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"delay_s": 1.0, "percentile": 95}, "percentile must not be set together with delay_s, which is 1"),
        ({"delay_s": -1}, "delay_s must be a number from 0 to 3600, not -1"),
        ({"delay_s": float("nan")}, "delay_s must be"),
        ({"percentile": 0}, "percentile must be a number above 0 and at most 99, not 0"),
        ({"percentile": 99.5}, "percentile must be"),
        ({"min_samples": 0}, "min_samples must be a whole number from 1 to 256, not 0"),
        ({"min_samples": 257}, "min_samples must be"),
        ({"max_hedges": 0}, "max_hedges must be"),
        ({"ratio": 1.01}, "ratio must be a number from 0 to 1, not 1.01"),
        ({"burst": 0}, "burst must be"),
    ],
)
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        HedgeSettings(**given)


def test_new_settings_hold_for_the_next_request_and_what_is_known_stays():
    async def main(clock) -> None:
        hedge = eager(clock, ratio=1.0, burst=10)
        for _ in range(10):
            await hedge.call(Target(0.5))
        hedge.apply(HedgeSettings(percentile=50, min_samples=10, ratio=0.5, burst=2))
        assert hedge.snapshot().delay_s == 0.5
        target = Target(10, 10)
        assert await hedge.call(target) == 0
        assert target.calls == 2
        assert hedge.budget.allow()
        assert not hedge.budget.allow()

    run_virtual(main)
