"""Where a new adaptive limit begins, when other processes know the target already."""

from __future__ import annotations

import asyncio

from holdfast.engine.gates import Gatehouse
from holdfast.engine.policy import Gates, Target
from holdfast.engine.shared_limits import KEPT_S, PUBLISH_S, SharedLimits
from holdfast.resilience.adaptive import AdaptiveLimit, AdaptiveSettings
from holdfast.resilience.bulkhead import BulkheadSettings
from holdfast.resilience.outcome import Outcome
from holdfast.stores.adaptive import MemoryAdaptive
from holdfast.stores.base import StoreLost
from holdfast.testing.virtual_time import run_virtual

TARGET = "|a/m"


class Lossy(MemoryAdaptive):
    lost = False
    published = 0

    async def publish(self, me, limits, ttl_ms):
        if self.lost:
            raise StoreLost("gone")
        self.published += len(limits)
        await super().publish(me, limits, ttl_ms)

    async def others(self, me, target):
        if self.lost:
            raise StoreLost("gone")
        return await super().others(me, target)


def process(store, clock, me) -> SharedLimits:
    limits = SharedLimits(store, clock=clock, me=me)
    limits.start()
    return limits


def lowered(limit: AdaptiveLimit, times: int = 1) -> AdaptiveLimit:
    for _ in range(times):
        limit.started().leave(Outcome.LIMITED)
    return limit


def on(clock) -> Lossy:
    return Lossy(lambda: int(clock.monotonic() * 1000))


def test_it_begins_with_what_the_others_have_on_average():
    async def main(clock):
        store = on(clock)
        old = [process(store, clock, f"old-{n}") for n in range(2)]
        for times, limits in enumerate(old, 1):
            limits.share(TARGET, lowered(AdaptiveLimit(AdaptiveSettings(initial_limit=100)), times))
        await asyncio.sleep(PUBLISH_S + 0.1)
        new, places = process(store, clock, "new"), []
        limit = AdaptiveLimit(on_change=places.append)
        new.share(TARGET, limit)
        await asyncio.sleep(0.1)
        assert limit.limit == (90 + 81) // 2
        assert places == [10, 85]
        assert not limit.snapshot().slow_start
        for each in (*old, new):
            await each.aclose()

    run_virtual(main)


def test_what_it_found_out_itself_goes_before_what_others_did():
    async def main(clock):
        store = on(clock)
        await store.publish("old", {TARGET: 500}, 60_000)
        new = process(store, clock, "new")
        limit = lowered(AdaptiveLimit())
        new.share(TARGET, limit)
        await asyncio.sleep(0.1)
        assert limit.limit == 9
        await new.aclose()

    run_virtual(main)


def test_without_others_or_without_the_store_it_is_slow_start():
    async def main(clock):
        store = on(clock)
        first = process(store, clock, "first")
        alone, unheard = AdaptiveLimit(), AdaptiveLimit()
        first.share(TARGET, alone)
        await asyncio.sleep(0.1)
        assert (alone.limit, alone.snapshot().slow_start) == (10, True)
        await store.publish("other", {"|b/m": 90}, 60_000)
        store.lost = True
        first.share("|b/m", unheard)
        await asyncio.sleep(2 * PUBLISH_S)
        assert unheard.limit == 10
        store.lost = False
        await asyncio.sleep(2 * PUBLISH_S)
        assert unheard.limit == 90, "late is better than never: it knows nothing itself yet"
        await first.aclose()

    run_virtual(main)


def test_told_is_what_has_changed_and_at_most_once_a_second():
    async def main(clock):
        store = on(clock)
        limits = process(store, clock, "one")
        limit = AdaptiveLimit(AdaptiveSettings(initial_limit=1000))
        limits.share(TARGET, limit)
        await asyncio.sleep(5.5)
        assert store.published == 0, "it has found out nothing yet"
        for _ in range(10):
            lowered(limit)
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        assert store.published <= 3
        assert await store.others("two", TARGET) == (limit.limit,)
        told = store.published
        await asyncio.sleep(KEPT_S - 10)
        assert store.published == told + 1, "and again before it lapses"
        await limits.aclose()
        await asyncio.sleep(KEPT_S)
        assert await store.others("two", TARGET) == ()

    run_virtual(main)


def test_a_gate_s_limit_is_shared_and_let_go_with_its_gate():
    async def main(clock):
        store = on(clock)
        await store.publish("other", {TARGET: 30}, 60_000)
        limits = process(store, clock, "one")
        house = Gatehouse(clock=clock, rng=None, limits=limits)
        gates = Gates(bulkhead=BulkheadSettings(max_concurrent=50), adaptive=AdaptiveSettings(), breaker=None)
        gate = house.of(Target(provider="a", model="m", gates=gates))
        await asyncio.sleep(0.1)
        assert gate.bulkhead.snapshot().limit == 30
        house.apply({})
        assert list(house) == []
        assert len(limits) == 0
        await limits.aclose()

    run_virtual(main)
