"""Bulkheads: the documents' tests made real, and BH1: one hung provider changes nothing for another."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING

import pytest

from holdfast.resilience.bulkhead import Bulkhead, BulkheadFullError, BulkheadSettings
from holdfast.resilience.connection_pool import ConnectionPool, ConnectionPoolExhaustedError
from holdfast.resilience.memory_bulkhead import MemoryBulkhead, MemoryLimitExceededError
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.thread_bulkhead import ThreadBulkhead
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024


class TestBulkheads:
    """E4."""

    def test_thread_pool_bulkhead(self):
        """BH1: five slow operations, two threads: two at a time, and all five end well."""
        begun, go = threading.Semaphore(0), threading.Event()
        lock = threading.Lock()
        inside: list[int] = []
        most = 0

        def slow_operation(number: int) -> int:
            nonlocal most
            with lock:
                inside.append(number)
                most = max(most, len(inside))
            begun.release()
            assert go.wait(10)
            with lock:
                inside.remove(number)
            return number

        with ThreadBulkhead(max_workers=2, queue_size=3) as bulkhead:
            tasks = [bulkhead.submit(slow_operation, number) for number in range(5)]
            assert begun.acquire(timeout=10)
            assert begun.acquire(timeout=10)
            assert (bulkhead.running, bulkhead.waiting) == (2, 3)
            with pytest.raises(BulkheadFullError):
                bulkhead.submit(slow_operation, 5)
            go.set()
            assert [task.result(10) for task in tasks] == [0, 1, 2, 3, 4]
        assert most == 2

    def test_connection_pool_bulkhead(self):
        """BH1: the fourth of three is refused, and passes when the others came back."""

        async def main(clock: VirtualClock) -> None:
            connection_pool = ConnectionPool(max_connections=3, max_connections_per_route=2, clock=clock)
            connections = [await connection_pool.acquire() for _ in range(3)]
            with pytest.raises(ConnectionPoolExhaustedError):
                await connection_pool.acquire()
            assert clock.monotonic() == 0
            for connection in connections:
                await connection_pool.release(connection)
            assert await connection_pool.acquire()

        run_virtual(main)

    def test_connection_pool_bulkhead_of_a_route(self):
        """BH1: a third connection to one host is refused while another host can have one."""

        async def main(clock: VirtualClock) -> None:
            connection_pool = ConnectionPool(max_connections=3, max_connections_per_route=2, clock=clock)
            await connection_pool.acquire("a")
            await connection_pool.acquire("a")
            with pytest.raises(ConnectionPoolExhaustedError, match="route 'a'"):
                await connection_pool.acquire("a")
            await connection_pool.acquire("b")
            with pytest.raises(ConnectionPoolExhaustedError, match="the pool"):
                await connection_pool.acquire("b")

        run_virtual(main)

    def test_memory_bulkhead(self):
        """BH1: more than one operation may have is refused, and so is more than there is."""

        async def main(_: VirtualClock) -> None:
            memory_bulkhead = MemoryBulkhead(max_memory_usage=100 * MIB, max_memory_per_operation=50 * MIB)
            data1 = await memory_bulkhead.allocate(30 * MIB)
            assert data1.size == 30 * MIB
            with pytest.raises(MemoryLimitExceededError):
                await memory_bulkhead.allocate(80 * MIB)
            data2 = await memory_bulkhead.allocate(50 * MIB)
            with pytest.raises(MemoryLimitExceededError):
                await memory_bulkhead.allocate(21 * MIB)
            await memory_bulkhead.release(data1)
            await memory_bulkhead.release(data2)
            assert memory_bulkhead.available == 50 * MIB

        run_virtual(main)


ARRIVALS = 400
SERVICE_S = 0.5
PLACES = 20


def visit(bulkhead_of: Callable[[str, VirtualClock], Bulkhead], hung: bool) -> list[tuple[float, str]]:
    """What each caller of the provider *well* lived through: when it got its answer, and which.

    Callers of *well* and of *sick* come in turns, at drawn times. *sick* answers like *well*, or never.
    """

    async def main(clock: VirtualClock) -> list[tuple[float, str]]:
        bulkheads = {name: bulkhead_of(name, clock) for name in ("sick", "well")}
        seen: list[tuple[float, str]] = []

        async def one(name: str, service_s: float) -> None:
            outcome = "answer"
            try:
                permit = await bulkheads[name].enter()
            except BulkheadFullError:
                outcome = "refused"
            else:
                try:
                    await asyncio.sleep(1e6 if hung and name == "sick" else service_s)
                finally:
                    permit.leave(Outcome.SUCCESS)
            if name == "well":
                seen.append((clock.monotonic(), outcome))

        rng = random.Random(5)
        tasks = []
        for number in range(ARRIVALS):
            name = "sick" if number % 2 else "well"
            tasks.append(asyncio.create_task(one(name, SERVICE_S * rng.uniform(0.5, 1.5))))
            await asyncio.sleep(rng.expovariate(40))
        await asyncio.sleep(60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(bulkhead.in_use == bulkhead.waiting == 0 for bulkhead in bulkheads.values())
        return seen

    return run_virtual(main)


def one_each(name: str, clock: VirtualClock) -> Bulkhead:
    return Bulkhead(
        BulkheadSettings(max_concurrent=PLACES, max_queue=10, max_wait_s=5), clock=clock, name=name
    )


class TestIsolation:
    def test_a_hung_provider_changes_nothing_for_another(self):
        """BH1: the same answers at the very same times, to the last bit of each float."""
        healthy, beside_a_hung_one = (visit(one_each, hung) for hung in (False, True))
        assert beside_a_hung_one == healthy
        assert len(healthy) == ARRIVALS / 2
        assert {outcome for _, outcome in healthy} == {"answer"}

    def test_without_a_bulkhead_of_its_own_it_does(self):
        """The check can fail: one bulkhead for both, and the hung one takes all places."""
        shared: dict[VirtualClock, Bulkhead] = {}

        def one_for_all(_: str, clock: VirtualClock) -> Bulkhead:
            return shared.setdefault(clock, one_each("both", clock))

        seen = visit(one_for_all, hung=True)
        assert sum(outcome == "refused" for _, outcome in seen) > ARRIVALS / 4

    def test_overflow_is_refused_at_once_with_retry_after(self):
        """BH1: within 10 ms; here within the turn of the loop, which is none."""

        async def main(clock: VirtualClock) -> None:
            bulkhead = Bulkhead(BulkheadSettings(max_concurrent=3, max_queue=5, max_wait_s=30), clock=clock)
            hung = [asyncio.create_task(bulkhead.call(asyncio.Event().wait)) for _ in range(8)]
            await asyncio.sleep(1)
            for _ in range(1000):
                began = clock.monotonic()
                with pytest.raises(BulkheadFullError) as caught:
                    await bulkhead.call(asyncio.Event().wait)
                assert clock.monotonic() == began
                assert 0.1 <= caught.value.retry_after_s <= 60
            assert (bulkhead.in_use, bulkhead.waiting) == (3, 5)
            for task in hung:
                task.cancel()

        run_virtual(main)

    def test_the_place_is_held_to_the_end_of_the_stream(self):
        """BH1: not to its first byte."""

        async def main(clock: VirtualClock) -> list[float]:
            bulkhead = Bulkhead(BulkheadSettings(max_concurrent=1), clock=clock)
            began: list[float] = []

            async def stream() -> None:
                permit = await bulkhead.enter()
                began.append(clock.monotonic())
                permit.progressed()
                for _ in range(4):
                    await asyncio.sleep(1)
                permit.leave(Outcome.SUCCESS)

            await asyncio.gather(stream(), stream(), stream())
            return began

        assert run_virtual(main) == [0, 4, 8]


class TestFairness:
    def test_a_flood_of_one_key_leaves_the_others_their_share(self):
        """RL2: also where the flood keeps the queue full. Jain index ≥ 0.95 over who was served."""

        async def main(clock: VirtualClock) -> dict[str, int]:
            bulkhead = Bulkhead(BulkheadSettings(max_concurrent=4, max_queue=12, max_wait_s=30), clock=clock)
            served = {"flood": 0, "steady": 0}

            async def one(key: str) -> None:
                try:
                    permit = await bulkhead.enter(key=key)
                except BulkheadFullError:
                    return
                await asyncio.sleep(0.4)
                permit.leave(Outcome.SUCCESS)
                served[key] += 1

            async with asyncio.TaskGroup() as group:
                for tick in range(2000):  # places for 10 a second; 200 of the one come, 7 of the other
                    for _ in range(2):
                        group.create_task(one("flood"))
                    if tick % 15 == 0:
                        group.create_task(one("steady"))
                    await asyncio.sleep(0.01)
            return served

        served = run_virtual(main)
        flood, steady = served["flood"], served["steady"]
        assert (flood + steady) ** 2 / (2 * (flood**2 + steady**2)) >= 0.95
