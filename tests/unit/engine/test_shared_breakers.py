"""Breakers that several processes share: what one finds out holds for all, and P probes are P over all of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import msgspec
import pytest
from tests.support.gatehouses import FAILED, QUICK, FarEnd, Link, Replica, breaks, target

from holdfast.engine.shared_breakers import PATIENCE_S, POLL_S
from holdfast.errors import BreakerOpen
from holdfast.resilience.breaker import CircuitState
from holdfast.stores.memory_breakers import MemoryBreakers
from holdfast.testing.virtual_time import run_virtual

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
TOLD_S = 2 * POLL_S
P = QUICK.success_threshold
AT = target()


class World:
    """Three processes on one store."""

    def __init__(self, clock, replicas: int = 3, delay=None) -> None:
        self.store = MemoryBreakers(lambda: int(clock.monotonic() * 1000))
        self.links = [Link(self.store, delay) for _ in range(replicas)]
        self.replicas = [Replica(f"replica-{n}", link, clock) for n, link in enumerate(self.links)]

    def states(self) -> list[CircuitState]:
        return [replica.state(AT) for replica in self.replicas]

    async def all_know(self, state: CircuitState) -> None:
        await asyncio.sleep(TOLD_S)
        assert self.states() == [state] * len(self.replicas)

    async def half_open(self) -> None:
        await breaks(self.replicas[0], AT)
        await asyncio.sleep(QUICK.open_s + 0.05)
        assert self.states() == [HALF_OPEN] * len(self.replicas)


def shared(test):
    """Runs an async test in virtual time, on a world of three processes."""

    def run(self=None):
        async def main(clock):
            world = World(clock)
            async with AsyncExitStack() as stack:
                for replica in world.replicas:
                    await stack.enter_async_context(replica)
                await asyncio.sleep(0)
                await (test(world) if self is None else test(self, world))

        run_virtual(main)

    run.__name__ = test.__name__
    return run


async def refused(replica: Replica, at=AT) -> BreakerOpen:
    with pytest.raises(BreakerOpen) as caught:
        await replica.enter(at)
    return caught.value


class TestOpens:
    """CB1: an opening or a closing that one process decides holds for all."""

    @shared
    async def test_the_others_refuse_within_half_a_second(self, world):
        for replica in world.replicas:
            (await replica.enter(AT)).leave(None, None)
        await breaks(world.replicas[0], AT)
        await asyncio.sleep(TOLD_S)
        for replica in world.replicas:
            error = await refused(replica)
            assert error.retry_after_s == pytest.approx(QUICK.open_s - TOLD_S, abs=0.01)

    @shared
    async def test_for_a_target_that_was_never_asked_here_too(self, world):
        await breaks(world.replicas[0], AT)
        await asyncio.sleep(TOLD_S)
        await refused(world.replicas[1])

    @shared
    async def test_each_counts_its_own_calls(self, world):
        for replica in world.replicas:
            for _ in range(QUICK.failure_threshold - 1):
                (await replica.enter(AT)).leave(FAILED, None)
        await world.all_know(CLOSED)

    @shared
    async def test_whoever_waits_for_a_place_elsewhere_is_told(self, world):
        from holdfast.resilience.bulkhead import BulkheadSettings

        one_place = target(bulkhead=BulkheadSettings(max_concurrent=1, max_wait_s=60.0))
        there = world.replicas[1]
        permit = await there.enter(one_place)
        waiting = asyncio.create_task(refused(there, one_place))
        await asyncio.sleep(0)
        for _ in range(QUICK.failure_threshold):
            (await world.replicas[0].enter(one_place)).leave(FAILED, None)
        await asyncio.wait_for(waiting, TOLD_S)
        permit.leave(None, None)

    @shared
    async def test_of_two_at_once_the_first_is_obeyed(self, world):
        first, second, _ = world.replicas
        await breaks(first, AT)
        await asyncio.sleep(0.01)
        await breaks(second, AT)
        await world.all_know(OPEN)
        assert [replica.house.of(AT).shared.view().epoch for replica in world.replicas] == [1, 1, 1]
        await asyncio.sleep(QUICK.open_s - TOLD_S - 0.009)
        assert world.states() == [HALF_OPEN] * 3, "the second one's later end counts for nobody"

    @shared
    async def test_each_opening_makes_the_next_one_longer_wherever_it_is(self, world):
        await world.half_open()
        (await world.replicas[1].enter(AT)).leave(FAILED, None)
        await world.all_know(OPEN)
        error = await refused(world.replicas[2])
        assert error.retry_after_s == pytest.approx(2 * QUICK.open_s - TOLD_S, abs=0.01)
        assert [replica.house.of(AT).breaker.reopened for replica in world.replicas] == [2, 2, 2]

    @shared
    async def test_while_it_is_closed_nobody_asks_the_store(self, world):
        replica = world.replicas[0]
        await asyncio.sleep(1.0)
        replica.link.asked.clear()
        for _ in range(100):
            (await replica.enter(AT)).leave(None, None)
        assert replica.link.asked == []
        await asyncio.sleep(10 * POLL_S + 0.01)
        assert set(replica.link.asked) == {"pull"}
        assert len(replica.link.asked) <= 11

    @shared
    async def test_an_own_route_has_its_own(self, world):
        own = msgspec.structs.replace(
            AT, gates=msgspec.structs.replace(AT.gates, route="r", own=frozenset({"breaker"}))
        )
        await breaks(world.replicas[0], own)
        await asyncio.sleep(TOLD_S)
        await refused(world.replicas[1], own)
        (await world.replicas[1].enter(AT)).leave(None, None)


class TestProbes:
    """CB2: at most P at once, over all processes; CB4: their places come back."""

    @shared
    async def test_a_thousand_callers_over_three_processes_are_three_probes(self, world):
        await world.half_open()
        far = FarEnd(lambda: 1.0)
        calls = [replica.call(AT, far) for _ in range(334) for replica in world.replicas]
        served = await asyncio.gather(*calls)
        assert (far.most, far.served, sum(served)) == (P, P, P)
        await world.all_know(CLOSED)

    @shared
    async def test_of_all_these_few_ask_the_store(self, world):
        await world.half_open()
        for link in world.links:
            link.asked.clear()
        far = FarEnd(lambda: 0.01)
        await asyncio.gather(*[replica.call(AT, far) for _ in range(334) for replica in world.replicas])
        assert all(link.asked.count("probe") <= 2 * P for link in world.links)

    @shared
    async def test_a_no_is_believed_for_a_moment(self, world):
        await world.half_open()
        out = [await world.replicas[0].enter(AT) for _ in range(P)]
        world.links[1].asked.clear()
        for _ in range(100):
            await refused(world.replicas[1])
        assert world.links[1].asked.count("probe") == 1
        assert world.replicas[1].house.of(AT).breaker.snapshot().probes == 0, "and it keeps no place here"
        for permit in out:
            permit.leave(None, None)

    @shared
    async def test_the_refused_are_told_when_to_come_back(self, world):
        await world.half_open()
        out = [await replica.enter(AT) for replica in world.replicas]
        for replica in world.replicas:
            assert 0 < (await refused(replica)).retry_after_s <= 1.0
        assert [replica.house.of(AT).bulkhead.in_use for replica in world.replicas] == [1, 1, 1]
        for permit in out:
            permit.leave(None, None)

    @shared
    async def test_successes_of_different_processes_close_it_for_all(self, world):
        await world.half_open()
        for permit in [await replica.enter(AT) for replica in world.replicas]:
            permit.leave(None, None)
        await world.all_know(CLOSED)
        assert [replica.house.of(AT).shared.view().epoch for replica in world.replicas] == [2, 2, 2]

    @shared
    async def test_a_success_is_when_its_answer_begins(self, world):
        await world.half_open()
        permits = [await replica.enter(AT) for replica in world.replicas]
        for permit in permits:
            permit.progressed()
        await world.all_know(CLOSED)
        for permit in permits:
            permit.leave(None, None)

    @shared
    async def test_a_success_counts_once(self, world):
        await world.half_open()
        permit = await world.replicas[0].enter(AT)
        permit.progressed()
        permit.leave(None, None)
        permit.leave(None, None)
        await world.all_know(HALF_OPEN)
        assert [type(await replica.enter(AT)) for replica in world.replicas[1:]]
        await refused(world.replicas[0])

    @shared
    async def test_the_first_failure_opens_it_for_all(self, world):
        await world.half_open()
        permits = [await replica.enter(AT) for replica in world.replicas]
        permits[2].leave(FAILED, None)
        await world.all_know(OPEN)
        permits[0].leave(None, None)
        permits[1].leave(FAILED, None)
        await world.all_know(OPEN)
        assert world.replicas[0].house.of(AT).shared.view().epoch == 2, "CB3: late ones change nothing"

    @shared
    async def test_one_that_says_nothing_gives_its_place_back(self, world):
        from holdfast.errors import Superseded

        await world.half_open()
        permits = [await world.replicas[0].enter(AT) for _ in range(P)]
        await refused(world.replicas[1])
        permits[0].leave(Superseded("outrun"), None)
        await asyncio.sleep(0.2)
        (await world.replicas[1].enter(AT)).leave(Superseded("outrun"), None)
        for permit in permits:
            permit.leave(None, None)

    @shared
    async def test_a_dead_process_s_places_come_back(self, world):
        dead, alive, _ = world.replicas
        await world.half_open()
        for _ in range(P):
            await dead.enter(AT)
        await dead.die()
        await refused(alive)
        await asyncio.sleep(QUICK.half_open_s + POLL_S)
        far = FarEnd(lambda: 0.1)
        assert await alive.call(AT, far)
        assert alive.state(AT) is HALF_OPEN, "that one died says nothing of the target"

    @shared
    async def test_a_living_one_s_places_don_t_lapse(self, world):
        """A success gives the others that are out the whole time again, so a lease must outlive ``half_open_s``."""
        await world.half_open()
        slow = [await world.replicas[0].enter(AT) for _ in range(2)]
        await asyncio.sleep(QUICK.half_open_s - 0.5)
        (await world.replicas[0].enter(AT)).leave(None, None)
        await asyncio.sleep(QUICK.half_open_s - 0.5)
        assert world.replicas[1].state(AT) is HALF_OPEN
        await refused(world.replicas[1])
        for permit in slow:
            permit.leave(None, None)
        await world.all_know(CLOSED)

    @shared
    async def test_probes_that_hang_open_it_for_all(self, world):
        await world.half_open()
        hung = [await world.replicas[0].enter(AT) for _ in range(P)]
        await asyncio.sleep(QUICK.half_open_s + POLL_S)
        await world.all_know(OPEN)
        assert len(hung) == P

    @shared
    async def test_a_healed_target_closes_whatever_was_before(self, world):
        await world.half_open()
        for replica in world.replicas:
            (await replica.enter(AT)).leave(FAILED, None)
            await asyncio.sleep(8 * QUICK.open_s)
        far = FarEnd(lambda: 0.05)
        for _ in range(100):
            await asyncio.gather(*[replica.call(AT, far) for replica in world.replicas])
            await asyncio.sleep(1.0)
        await world.all_know(CLOSED)


class TestCancel:
    """CB4: whoever leaves while the store is asked, or later, keeps no place."""

    @pytest.mark.parametrize("after_s", [0.0, 0.004, 0.006, 0.011, 0.5])
    def test_the_lease_comes_back(self, after_s):
        async def main(clock):
            world = World(clock, delay=lambda: 0.005)
            async with AsyncExitStack() as stack:
                for replica in world.replicas:
                    await stack.enter_async_context(replica)
                await asyncio.sleep(0.1)
                await world.half_open()
                far = FarEnd(lambda: 3.0)
                leaving = [asyncio.create_task(world.replicas[0].call(AT, far)) for _ in range(P)]
                await asyncio.sleep(after_s)
                for task in leaving:
                    task.cancel()
                await asyncio.wait(leaving)
                await asyncio.sleep(0.05)
                standing = await world.store.give_back("|a/m", epoch=0, id="nobody's")
                assert standing.probes == 0
                assert world.replicas[0].house.of(AT).breaker.snapshot().probes == 0
                assert world.replicas[0].house.of(AT).bulkhead.in_use == 0

        run_virtual(main)


class TestLost:
    """Without the store each goes on alone, after a little patience; with it again the newest epoch holds."""

    @shared
    async def test_a_short_loss_lets_no_more_probes_out(self, world):
        await world.half_open()
        out = [await world.replicas[0].enter(AT) for _ in range(P)]
        world.links[1].cut()
        await asyncio.sleep(PATIENCE_S - POLL_S - 0.1)
        await refused(world.replicas[1])
        await world.links[1].heal()
        await asyncio.sleep(TOLD_S)
        await refused(world.replicas[1])
        for permit in out:
            permit.leave(None, None)
        await world.all_know(CLOSED)

    @shared
    async def test_in_a_long_one_each_has_its_own(self, world):
        await world.half_open()
        for link in world.links:
            link.cut()
        await asyncio.sleep(POLL_S)
        await refused(world.replicas[0])
        await asyncio.sleep(PATIENCE_S + POLL_S)
        far = FarEnd(lambda: 1.0)
        await asyncio.gather(*[replica.call(AT, far) for _ in range(100) for replica in world.replicas])
        assert far.most == P * len(world.replicas)
        assert world.states() == [CLOSED] * 3

    @shared
    async def test_what_was_decided_alone_is_told_afterwards(self, world):
        for link in world.links:
            link.cut()
        await breaks(world.replicas[0], AT)
        await asyncio.sleep(2 * POLL_S)
        assert world.states() == [OPEN, CLOSED, CLOSED]
        for link in world.links:
            await link.heal()
        await world.all_know(OPEN)

    @shared
    async def test_the_newest_epoch_holds(self, world):
        """One has opened, closed and opened again; another one only opened once: later, but in an older epoch."""
        for link in world.links:
            link.cut()
        first, second, _ = world.replicas
        await breaks(first, AT)
        await asyncio.sleep(QUICK.open_s + PATIENCE_S)
        for _ in range(P):
            (await first.enter(AT)).leave(None, None)
        assert world.states()[0] is CLOSED
        await breaks(second, AT)
        for link in reversed(world.links):
            await link.heal()
        await world.all_know(CLOSED)

    @shared
    async def test_a_store_that_knows_older_things_is_told_the_newer_ones(self, world):
        """Such as one that was restored from a copy."""
        await world.half_open()
        for permit in [await replica.enter(AT) for replica in world.replicas]:
            permit.leave(None, None)
        await world.all_know(CLOSED)
        world.store.flush()
        await world.store.put("|a/m", epoch=1, opens=True, open_ms=60_000, times=1, by="replica-0")
        await world.all_know(CLOSED)
        ((_, circuit),) = (await world.store.pull(0, 0)).circuits
        assert (circuit.epoch, circuit.open) == (2, False)

    @shared
    async def test_probes_that_went_out_alone_count_afterwards(self, world):
        await world.half_open()
        world.links[0].cut()
        await asyncio.sleep(PATIENCE_S + 2 * POLL_S)
        out = [await world.replicas[0].enter(AT) for _ in range(P)]
        await world.links[0].heal()
        await refused(world.replicas[1])
        for permit in out:
            permit.leave(None, None)
        await world.all_know(CLOSED)

    @shared
    async def test_an_emptied_store_lets_no_more_probes_out(self, world):
        await world.half_open()
        out = [await world.replicas[0].enter(AT) for _ in range(P)]
        world.store.flush()
        far = FarEnd(lambda: 0.01)
        for _ in range(300):
            await asyncio.gather(*[replica.call(AT, far) for replica in world.replicas])
            await asyncio.sleep(0.01)
        assert far.served == 0
        for permit in out:
            permit.leave(None, None)
        await world.all_know(CLOSED)

    @shared
    async def test_an_emptied_store_is_told_what_was_open(self, world):
        await breaks(world.replicas[0], AT)
        await asyncio.sleep(TOLD_S)
        world.store.flush()
        await asyncio.sleep(TOLD_S)
        news = await world.store.pull(0, 0)
        assert [(name, circuit.epoch, circuit.open) for name, circuit in news.circuits] == [("|a/m", 1, True)]

    @shared
    async def test_a_process_that_ends_tells_what_it_decided_last(self, world):
        await breaks(world.replicas[0], AT)
        await world.replicas[0].breakers.aclose()
        await world.all_know(OPEN)


class TestForgets:
    def test_a_target_nobody_asks_any_more(self):
        from holdfast.engine.gates import MOST

        async def main(clock):
            world = World(clock, replicas=1)
            house = world.replicas[0].house
            settings = AT.gates
            for number in range(MOST + 3):
                house.of(msgspec.structs.replace(AT, model=f"m{number}", gates=settings))
            assert len(world.replicas[0].breakers) <= MOST + 1

        run_virtual(main)

    def test_a_name_of_any_length_is_a_short_one(self):
        async def main(clock):
            world = World(clock, replicas=1)
            gates = [
                world.replicas[0].house.of(msgspec.structs.replace(AT, model="m" * 10_000 + end))
                for end in "ab"
            ]
            names = {gate.shared.target for gate in gates}
            assert len(names) == 2
            assert max(map(len, names)) < 300

        run_virtual(main)


class TestShown:
    @shared
    async def test_who_decided_and_what_is_out_over_all(self, world):
        await world.half_open()
        first, second, _ = world.replicas
        out = [await first.enter(AT), await second.enter(AT)]
        await asyncio.sleep(TOLD_S)
        views = [replica.house.of(AT).state().shared for replica in (first, second)]
        assert [(view.epoch, view.here, view.probes) for view in views] == [(1, True, 2), (1, False, 2)]
        for permit in out:
            permit.leave(None, None)
