"""Three processes' breakers on a real Redis: flooded while half-open, frozen, emptied, killed (CB2, CB4, RD1)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.support.gatehouses import QUICK, Caller, FarEnd, Replica, breaks, target
from tests.support.redis_server import RedisServer, running_redis

from holdfast.clock import SystemClock, system_rng
from holdfast.errors import BreakerOpen
from holdfast.resilience.breaker import CircuitState
from holdfast.stores.adaptive import MemoryAdaptive
from holdfast.stores.base import Spell, StoreLost
from holdfast.stores.breaker_state import Answer, ProbeAsk
from holdfast.stores.redis import RedisStore
from holdfast.stores.redis_adaptive import RedisAdaptive
from holdfast.stores.redis_breakers import RedisBreakers
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any, Self

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
P = QUICK.success_threshold
SOON = target(msgspec.structs.replace(QUICK, open_s=0.3, half_open_s=30.0))
"""Half-open before a test has become slow."""
NAME = "|a/m"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as redis:
        yield redis


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


class World:
    """Three processes, each with a connection of its own."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.server.flush()
        clock = SystemClock()
        self.stores = [
            RedisStore(RedisAddress.parse(self.server.url), clock=clock, rng=system_rng()) for _ in range(3)
        ]
        for store in self.stores:
            self._stack.push_async_callback(store.aclose)
        self.replicas = [
            Replica(f"replica-{n}", RedisBreakers(store), clock) for n, store in enumerate(self.stores)
        ]
        for store, replica in zip(self.stores, self.replicas, strict=True):
            await store.start()
            await self._stack.enter_async_context(replica)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def all(self, state: CircuitState) -> None:
        await until(lambda: all(replica.state(SOON) is state for replica in self.replicas))

    async def half_open(self) -> None:
        await breaks(self.replicas[0], SOON)
        await until(lambda: all(replica.house.of(SOON).shared.epoch for replica in self.replicas))
        await self.all(HALF_OPEN)

    async def probes(self) -> int:
        """As Redis knows them."""
        standing = await RedisBreakers(self.stores[0]).give_back(NAME, epoch=0, id="nobody's")
        return standing.probes


def on(server: RedisServer, test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with World(server) as world:
            await test(world)

    asyncio.run(main())


def test_a_thousand_callers_over_three_processes_are_p_probes(server):
    async def test(world: World) -> None:
        await world.half_open()
        answer = asyncio.Event()
        far = FarEnd(lambda: 0.0)

        async def serve(_permit: object) -> None:
            far.here += 1
            far.most = max(far.most, far.here)
            await answer.wait()
            far.here -= 1

        far.serve = serve
        calls = [
            asyncio.ensure_future(replica.call(SOON, far)) for _ in range(334) for replica in world.replicas
        ]
        await until(lambda: sum(call.done() for call in calls) == len(calls) - P)
        assert (far.here, far.most, await world.probes()) == (P, P, P)
        answer.set()
        assert sum(await asyncio.gather(*calls)) == P
        await world.all(CLOSED)

    on(server, test)


def test_a_frozen_redis_costs_nobody_more_than_its_allowance_and_lets_no_more_probes_out(server):
    async def test(world: World) -> None:
        await world.half_open()
        out = [await world.replicas[0].enter(SOON) for _ in range(P)]
        server.freeze()
        try:
            callers = [Caller() for _ in range(300)]
            loop = asyncio.get_running_loop()
            began = loop.time()

            async def call(caller: Caller, replica: Replica) -> bool:
                try:
                    await replica.house.enter(SOON, caller, first=True, deadline=1e9)
                except BreakerOpen:
                    return False
                return True

            served = await asyncio.gather(
                *[
                    call(caller, replica)
                    for caller, replica in zip(callers, world.replicas * 100, strict=True)
                ]
            )
            took_s = loop.time() - began
        finally:
            server.thaw()
        assert not any(served)
        assert 0 < max(caller.spell.spent_s for caller in callers) < 0.050
        assert took_s < 1.0, "all together; each of them far less"
        for permit in out:
            permit.leave(None, None)
        await until(lambda: all(store.up for store in world.stores))
        await world.all(CLOSED)

    on(server, test)


def test_an_emptied_redis_learns_what_is_out_before_it_lets_anybody_else_out(server):
    async def test(world: World) -> None:
        await world.half_open()
        out = [await world.replicas[0].enter(SOON) for _ in range(P)]
        server.flush()
        far, loop = FarEnd(lambda: 0.0), asyncio.get_running_loop()
        ends = loop.time() + 2.0
        while loop.time() < ends:
            await asyncio.gather(*[replica.call(SOON, far) for replica in world.replicas])
            await asyncio.sleep(0.002)
        assert far.served == 0
        assert await world.probes() == P
        for permit in out:
            permit.leave(None, None)
        await world.all(CLOSED)

    on(server, test)


def test_a_killed_redis_is_told_what_happened_without_it(server):
    async def test(world: World) -> None:
        for replica in world.replicas:
            (await replica.enter(SOON)).leave(None, None)
        server.kill()
        await breaks(world.replicas[0], SOON)
        assert world.replicas[0].state(SOON) is OPEN
        server.start()
        await until(lambda: all(replica.house.of(SOON).shared.epoch == 1 for replica in world.replicas))
        await world.all(HALF_OPEN)
        far = FarEnd(lambda: 0.01)
        while any(replica.state(SOON) is not CLOSED for replica in world.replicas):
            await asyncio.gather(*[replica.call(SOON, far) for replica in world.replicas])
            await asyncio.sleep(0.05)
            if all(replica.state(SOON) is not CLOSED for replica in world.replicas):
                assert far.most <= P

    on(server, test)


def test_cancelled_callers_leave_no_lease_behind(server):
    async def test(world: World) -> None:
        await world.half_open()
        far = FarEnd(lambda: 30.0)
        for turns in range(12):
            calls = [asyncio.ensure_future(replica.call(SOON, far)) for replica in world.replicas]
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        async with asyncio.timeout(5):
            while await world.probes():
                await asyncio.sleep(0.01)
        for replica in world.replicas:
            assert replica.house.of(SOON).breaker.snapshot().probes == 0

    on(server, test)


def test_everything_in_redis_has_an_end(server):
    async def test(world: World) -> None:
        await world.half_open()
        await world.replicas[0].enter(SOON)
        await RedisAdaptive(world.stores[0]).publish("me", {NAME: 7}, 60_000)
        keys = server.command("KEYS", "*")
        assert len(keys) >= 5
        assert all(0 < server.command("PTTL", key) <= 172_800_000 for key in keys)
        assert all(key.startswith(b"{holdfast}:") for key in keys), "one slot"

    on(server, test)


@pytest.mark.parametrize("packed", ["", "no circuit", "1 1 x 1 0 me"])
def test_what_another_version_left_there_is_as_good_as_nothing(server, packed):
    async def test(world: World) -> None:
        world.replicas[0].house.of(SOON)
        server.command("HSET", "{holdfast}:breakers:circuits", NAME, packed)
        server.command("ZADD", "{holdfast}:breakers:changed", 1, NAME)
        server.command("HSET", "{holdfast}:breakers:about", "born", 1, "version", 1)
        standing = await RedisBreakers(world.stores[0]).give_back(NAME, epoch=1, id="x")
        assert standing.circuit is None
        await world.half_open()
        (await world.replicas[1].enter(SOON)).leave(None, None)

    on(server, test)


@pytest.mark.parametrize(
    "reply", [None, 7, b"OK", [], [0], [9, 1, 2], [0, 1, 2, b"x", 4], [0, 1, 2, 3, 4, 5, 6, 7, 8]]
)
@pytest.mark.parametrize("ask", ["probe", "pull"])
def test_an_answer_that_is_none_of_ours_is_as_good_as_none(reply, ask):
    class Odd:
        def key(self, *parts: str) -> str:
            return ":".join(parts)

        async def call(self, *_: object) -> object:
            return reply

    async def main() -> None:
        twin = RedisBreakers(Odd())
        probe = ProbeAsk(epoch=1, id="p", most=1, lease_ms=3_000)
        with pytest.raises(StoreLost):
            await (twin.pull(0, 0) if ask == "pull" else twin.probe(NAME, probe))

    asyncio.run(main())


def test_the_server_s_own_clock_counts(server):
    async def test(world: World) -> None:
        twin = RedisBreakers(world.stores[0])
        standing = await twin.put(NAME, epoch=1, opens=True, open_ms=50, times=1, by="me")
        seconds, micros = server.command("TIME")
        assert abs(int(seconds) * 1000 + int(micros) // 1000 - standing.now_ms) < 5_000
        assert standing.circuit.until_ms == standing.now_ms + 50
        ask = ProbeAsk(epoch=1, id="p", most=1, lease_ms=3_000)
        assert (await twin.probe(NAME, ask, Spell())).answer is Answer.RESTING
        await asyncio.sleep(0.06)
        assert (await twin.probe(NAME, ask, Spell())).answer is Answer.GRANTED

    on(server, test)


def test_limits_in_redis_are_those_in_memory(server):
    async def test(world: World) -> None:
        now_ms = [1_770_000_000_000]
        twins = MemoryAdaptive(lambda: now_ms[0]), RedisAdaptive(world.stores[0], now_ms=lambda: now_ms[0])
        for twin in twins:
            now_ms[0] = 1_770_000_000_000
            assert await twin.others("a", NAME) == ()
            await twin.publish("a", {f"|a/m{n}": n + 1 for n in range(300)} | {NAME: 70}, 60_000)
            now_ms[0] += 30_000
            await twin.publish("b", {NAME: 9}, 60_000)
            await twin.publish("c", {NAME: 9}, 60_000)
            await twin.publish("c", {NAME: 80}, 60_000)
            assert await twin.others("a", NAME) == (9, 80)
            assert await twin.others("d", NAME) == (9, 70, 80)
            assert await twin.others("b", "|a/m299") == (300,)
            now_ms[0] += 30_000
            assert await twin.others("d", NAME) == (9, 80), "a's has lapsed"

    on(server, test)
