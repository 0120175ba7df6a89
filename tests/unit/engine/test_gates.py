"""What stands before a target: whose state it is, what a reload keeps, and what is given back."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.engine.gates import MOST, Gatehouse
from holdfast.engine.policy import Gates, Target
from holdfast.errors import BreakerOpen, NoPlace, RateExceeded, ServerFailed, Superseded, TimedOut
from holdfast.resilience.adaptive import AdaptiveSettings
from holdfast.resilience.breaker import BreakerSettings, CircuitState
from holdfast.resilience.bulkhead import BulkheadSettings
from holdfast.resilience.hedge import HedgeSettings
from holdfast.resilience.rate_meter import RateLimitSettings
from holdfast.testing.virtual_time import run_virtual

QUICK = BreakerSettings(failure_threshold=2, open_s=10.0, jitter=0.0)
FAILED = ServerFailed("500", upstream_status=500)


class Call:
    """As much of a call as gates look at."""

    def __init__(self, key: str = "k", retries: int = 0) -> None:
        self.key = key
        self.retries = retries


class Chance:
    def random(self) -> float:
        return 0.5

    def getrandbits(self, k: int, /) -> int:
        return 0


def target(model: str = "m", **gates) -> Target:
    return Target(provider="a", model=model, gates=Gates(**gates))


async def enter(house: Gatehouse, at: Target, call: Call | None = None, *, first: bool = True):
    return await house.enter(at, call or Call(), first=first, deadline=600.0)


def test_an_open_breaker_refuses_before_anything_is_taken():
    async def main(clock):
        house, at = Gatehouse(clock=clock, rng=Chance()), target(breaker=QUICK)
        for _ in range(2):
            (await enter(house, at)).leave(FAILED, None)
        with pytest.raises(BreakerOpen) as refused:
            await enter(house, at)
        assert refused.value.retry_after_s == pytest.approx(10.0)
        (state,) = house.states()
        assert state.breaker.state is CircuitState.OPEN
        assert (state.bulkhead.in_use, state.refused) == (0, {"breaker": 1})

    run_virtual(main)


def test_full_places_and_used_up_rates_are_told_apart():
    async def main(clock):
        house = Gatehouse(clock=clock, rng=Chance())
        full = target("full", bulkhead=BulkheadSettings(max_concurrent=1, max_queue=0))
        await enter(house, full)
        with pytest.raises(NoPlace):
            await enter(house, full)
        spent = target("spent", rate=RateLimitSettings(requests=1))
        await enter(house, spent)
        with pytest.raises(RateExceeded) as refused:
            await enter(house, spent)
        assert refused.value.retry_after_s == pytest.approx(60.0, abs=0.01)
        assert [state.bulkhead.in_use for state in house.states()] == [1, 1], (
            "the refused one's place is back"
        )

    run_virtual(main)


def test_all_providers_together():
    async def main(clock):
        overall = BulkheadSettings(max_concurrent=1, max_queue=0)
        house = Gatehouse(clock=clock, rng=Chance(), overall=overall)
        permit = await enter(house, target("one"))
        with pytest.raises(NoPlace):
            await enter(house, target("two"))
        assert house.of(target("two")).state().bulkhead.in_use == 0
        permit.leave(None, None)
        await enter(house, target("two"))

    run_virtual(main)


def test_routes_share_what_they_do_not_set_themselves():
    async def main(clock):
        house = Gatehouse(clock=clock, rng=Chance())
        shared = target(breaker=QUICK)
        own = target(breaker=QUICK, own=frozenset({"bulkhead"}), route="r")
        other = target(breaker=QUICK, own=frozenset({"breaker"}), route="s")
        for _ in range(2):
            (await enter(house, shared)).leave(FAILED, None)
        with pytest.raises(BreakerOpen):
            await enter(house, own)
        await enter(house, other)
        assert house.of(own).bulkhead is not house.of(shared).bulkhead

    run_virtual(main)


def test_a_reload_keeps_the_state_and_judges_by_the_new_numbers():
    async def main(clock):
        house = Gatehouse(clock=clock, rng=Chance())
        before = target(bulkhead=BulkheadSettings(max_concurrent=5, max_queue=0))
        for _ in range(3):
            await enter(house, before)
        after = target(bulkhead=BulkheadSettings(max_concurrent=3, max_queue=0))
        with pytest.raises(NoPlace):
            await enter(house, after)
        (state,) = house.states()
        assert (state.bulkhead.in_use, state.bulkhead.limit) == (3, 3)

    run_virtual(main)


def test_an_adaptive_limit_that_is_turned_off_limits_nothing_any_more():
    async def main(clock):
        house = Gatehouse(clock=clock, rng=Chance())
        places = BulkheadSettings(max_concurrent=50)
        await enter(house, target(bulkhead=places, adaptive=AdaptiveSettings(initial_limit=2)))
        assert house.states()[0].bulkhead.limit == 2
        await enter(house, target(bulkhead=places))
        assert house.states()[0].bulkhead.limit == 50

    run_virtual(main)


def test_a_clients_own_retries_use_up_the_retry_budget():
    async def main(clock):
        house, at = Gatehouse(clock=clock, rng=Chance()), target()
        assert house.of(at).budget.snapshot().left == 3
        for _ in range(3):
            await enter(house, at, Call(retries=1))
        assert not house.may_retry(at)
        assert house.states()[0].client_retries == 3

    run_virtual(main)


def test_a_retry_of_ours_is_no_new_request():
    async def main(clock):
        house, at = Gatehouse(clock=clock, rng=Chance()), target()
        await enter(house, at)
        await enter(house, at, first=False)
        assert house.states()[0].budget.requests == 1

    run_virtual(main)


def test_hedges_wait_for_a_percentile_and_count_who_was_outrun():
    async def main(clock):
        house = Gatehouse(clock=clock, rng=Chance())
        at = target(hedge=HedgeSettings(percentile=50, min_samples=2, ratio=1))
        assert house.hedge_after(at) is None
        for _ in range(2):
            permit = await enter(house, at)
            permit.leave(Superseded("outrun"), None)
        assert house.hedge_after(at) == 0.0
        assert house.may_hedge(at)
        assert house.may_hedge(at)
        assert not house.may_hedge(at), "two requests, however often the delay was asked for"
        assert house.hedge_after(target()) is None

    run_virtual(main)


def test_a_callers_tiny_limit_opens_nothing():
    async def main(clock):
        house, at = Gatehouse(clock=clock, rng=Chance()), target(breaker=QUICK)
        for _ in range(20):
            hasty = TimedOut("too slow for me", limit="total_s", silent=True, hasty=True)
            (await enter(house, at)).leave(hasty, None)
        assert house.states()[0].breaker.state is CircuitState.CLOSED

    run_virtual(main)


def test_strangers_share_one_gate_when_there_are_too_many():
    async def main(clock):
        house = Gatehouse(clock=clock, rng=Chance())
        for n in range(MOST):
            await enter(house, target(f"m{n}"))
        assert house.of(target("x")) is house.of(target("y"))
        assert len(list(house)) == MOST + 1

    run_virtual(main)


def test_who_is_idle_makes_room_and_what_others_hold_stays():
    async def main(clock):
        house = Gatehouse(clock=clock, rng=Chance())
        shared, own = target("m"), target("m", own=frozenset({"rate"}), route="r")
        assert house.of(own).breaker is house.of(shared).breaker
        await enter(house, own)
        for n in range(MOST):
            house.of(target(f"m{n}"))
        assert len(list(house)) <= MOST
        assert house.of(own).breaker is house.of(shared).breaker

    run_virtual(main)


@pytest.mark.parametrize("own", [frozenset({"bulkhead"}), frozenset({"adaptive"})], ids=["places", "limit"])
def test_an_adaptive_limit_moves_the_places_of_its_own_callers(own):
    async def main(clock):
        house = Gatehouse(clock=clock, rng=Chance())
        adaptive = AdaptiveSettings(initial_limit=3)
        house.of(target(adaptive=adaptive))
        route = target(
            adaptive=adaptive, bulkhead=BulkheadSettings(max_concurrent=50, max_queue=0), own=own, route="r"
        )
        for _ in range(3):
            await enter(house, route)
        with pytest.raises(NoPlace):
            await enter(house, route)

    run_virtual(main)


def test_an_adaptive_limit_is_never_above_the_places():
    async def main(clock):
        house = Gatehouse(clock=clock, rng=Chance())
        at = target(adaptive=AdaptiveSettings(), bulkhead=BulkheadSettings(max_concurrent=8))
        for _ in range(100):
            (await enter(house, at)).leave(None, None)
        assert house.states()[0].adaptive.limit == 8

    run_virtual(main)


@pytest.mark.parametrize(("reset", "waits"), [("6s", True), ("60s", False)])
def test_a_providers_own_limit_is_waited_for_a_moment(reset, waits):
    async def main(clock):
        house, at = Gatehouse(clock=clock, rng=Chance()), target()
        permit = await enter(house, at)
        said = {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": reset,
        }
        permit.heard(said.get, refused=True)
        permit.leave(None, None)
        if waits:
            await enter(house, at)
            assert clock.monotonic() == pytest.approx(0.1)
            return
        with pytest.raises(RateExceeded) as refused:
            await enter(house, at)
        assert refused.value.retry_after_s == pytest.approx(1.0)
        await enter(house, at, first=False)

    run_virtual(main)


def test_who_waits_for_a_providers_limit_hears_that_it_is_longer():
    """Another answer tells of it meanwhile. A little longer is waited for too, but not more than a moment in all."""

    async def main(clock):
        house, at = Gatehouse(clock=clock, rng=Chance()), target()
        gate = house.of(at)
        gate.blocked_until = 0.1
        waiting = [asyncio.ensure_future(enter(house, at)) for _ in range(3)]
        await asyncio.sleep(0.05)
        gate.blocked_until = 0.2
        await asyncio.sleep(0.1)
        assert not any(each.done() for each in waiting)
        gate.blocked_until = 60.0
        refused = await asyncio.gather(*waiting, return_exceptions=True)
        assert clock.monotonic() == pytest.approx(0.2)
        assert [type(error) for error in refused] == [RateExceeded] * 3
        assert {round(error.retry_after_s, 6) for error in refused} == {59.8}
        assert gate.state().bulkhead.in_use == 0

    run_virtual(main)
