"""Replicas with slow, lost and emptied stores, in virtual time (CB2, CB3, CB4): never more probes out than successes are
missing, and a target that has healed closes everywhere."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.gatehouses import QUICK, FarEnd, Link, Replica, breaks, target

from holdfast.engine.shared_breakers import PATIENCE_S, POLL_S
from holdfast.resilience.breaker import CircuitState
from holdfast.stores.memory_breakers import MemoryBreakers
from holdfast.testing.virtual_time import run_virtual

P = QUICK.success_threshold
FLUSH, CUT = "flush", "cut"
seeds = st.integers(0, 2**32)


class Watched(MemoryBreakers):
    """Keeps every change, as the store made it."""

    def __init__(self, now_ms) -> None:
        super().__init__(now_ms)
        self.epochs: list[int] = []

    def _note(self, target, machine, now_ms) -> None:
        super()._note(target, machine, now_ms)
        self.epochs.append(machine.circuit.epoch)


@settings(max_examples=60)
@example(
    replicas=3,
    slow_s=0.0,
    takes_s=2.0,
    failing=0.0,
    leaving=0.0,
    events=[(0.0, CUT)] * 3,
    seed=3,
)  # the same link again and again
@given(
    replicas=st.integers(2, 4),
    slow_s=st.sampled_from([0.0, 0.001, 0.02]),
    takes_s=st.sampled_from([0.01, 0.3, 2.0]),
    failing=st.sampled_from([0.0, 0.2, 1.0]),
    leaving=st.sampled_from([0.0, 0.3]),
    events=st.lists(st.tuples(st.floats(0.0, 20.0), st.sampled_from([FLUSH, CUT])), max_size=4),
    seed=seeds,
)
def test_probes_over_all_and_a_target_that_heals(replicas, slow_s, takes_s, failing, leaving, events, seed):
    """Losses here are shorter than the patience that is had with them: longer ones are each process's own affair."""
    rng = random.Random(seed)
    at = target(msgspec.structs.replace(QUICK, open_s=3.0, max_open_s=12.0))

    async def main(clock):
        store = Watched(lambda: int(clock.monotonic() * 1000))
        links = [Link(store, lambda: rng.uniform(0, slow_s)) for _ in range(replicas)]
        world = [Replica(f"replica-{n}", link, clock) for n, link in enumerate(links)]
        far = FarEnd(lambda: rng.uniform(0, takes_s), lambda: rng.random() < failing)
        calls: set[asyncio.Task[bool]] = set()

        def closed() -> bool:
            return any(replica.state(at) is CircuitState.CLOSED for replica in world)

        async def flood(seconds: float) -> None:
            until = clock.monotonic() + seconds
            while clock.monotonic() < until and not closed():
                for replica in world:
                    for _ in range(4):
                        calls.add(asyncio.ensure_future(replica.call(at, far)))
                await asyncio.sleep(rng.uniform(0, 0.2))
                if not closed():
                    assert far.here <= P, "over all replicas"
                for call in list(calls):
                    if rng.random() < leaving:
                        call.cancel()
                    if call.done():
                        calls.discard(call)

        async def trouble() -> None:
            for at_s, what in sorted(events):
                await asyncio.sleep(max(0.0, 1.0 + at_s - clock.monotonic()))
                if what == FLUSH:
                    store.flush()
                    store.epochs.clear()
                    continue
                link = rng.choice(links)
                link.cut()
                await asyncio.sleep(rng.uniform(0, PATIENCE_S - 4 * POLL_S))
                await link.heal()

        async with AsyncExitStack() as stack:
            for replica in world:
                await stack.enter_async_context(replica)
            await asyncio.sleep(0.1)
            await breaks(world[0], at)
            await asyncio.sleep(2 * POLL_S + 0.1)
            events_over = asyncio.ensure_future(trouble())
            await flood(30.0)
            await events_over
            assert store.epochs == sorted(set(store.epochs)), "each change is in a newer epoch"
            far.fails, left = (lambda: False), 60.0
            while left > 0 and any(replica.state(at) is not CircuitState.CLOSED for replica in world):
                await asyncio.gather(*[replica.call(at, far) for replica in world])
                await asyncio.sleep(0.5)
                left -= 0.5
            await asyncio.sleep(2 * POLL_S + 0.1)
            assert {replica.state(at) for replica in world} == {CircuitState.CLOSED}
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert [replica.house.of(at).bulkhead.in_use for replica in world] == [0] * replicas
            assert all(not replica.house.of(at).shared._out for replica in world)

    run_virtual(main)
