"""The connection pool under any traffic, in virtual time: BH1 for connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from holdfast.resilience.connection_pool import ConnectionPool, ConnectionPoolExhaustedError
from holdfast.testing.virtual_time import VirtualClock, run_virtual

TIMES = st.sampled_from((0.0, 0.0, 0.25, 0.5, 1.0, 2.0))


@dataclass(frozen=True)
class Caller:
    """One use of the pool. Times in seconds; equal ones meet in the same turn of the loop."""

    route: str
    comes: float
    timeout: float
    holds: float
    leaves: float | None
    """Cancelled so long after it came; None: it stays."""
    fails: bool


CALLERS = st.builds(
    Caller,
    route=st.sampled_from(("", "a", "b", "c")),
    comes=st.integers(0, 8).map(lambda n: n / 4),
    timeout=TIMES,
    holds=TIMES,
    leaves=st.none() | TIMES,
    fails=st.booleans(),
)


class Network:
    """Counts what is open, from the beginning of the opening to the end of the closing."""

    def __init__(self, total: int, each: int, connect_s: float, close_s: float, every_nth_fails: int) -> None:
        self.total, self.each = total, each
        self.connect_s, self.close_s = connect_s, close_s
        self.every_nth_fails = every_nth_fails
        self.made = 0
        self.open: Counter[str] = Counter()
        self.lent: set[int] = set()

    async def connect(self, route: str) -> tuple[str, int]:
        self.made += 1
        number = self.made
        self.open[route] += 1
        assert self.open.total() <= self.total
        assert route == "" or self.open[route] <= self.each
        try:
            await asyncio.sleep(self.connect_s)
            if number % self.every_nth_fails == 0:
                raise ConnectionRefusedError
        except BaseException:
            self.open[route] -= 1
            raise
        return route, number

    async def close(self, connection: tuple[str, int]) -> None:
        assert connection[1] not in self.lent
        try:
            await asyncio.sleep(self.close_s)
        finally:
            self.open[connection[0]] -= 1


@given(
    callers=st.lists(CALLERS, max_size=25),
    total=st.integers(1, 4),
    each=st.integers(1, 3),
    waiting=st.integers(1, 6),
    connect_s=TIMES,
    close_s=TIMES,
    every_nth_fails=st.integers(2, 9),
)
def test_never_more_are_open_than_may_be_and_every_place_comes_back(
    callers, total, each, waiting, connect_s, close_s, every_nth_fails
):
    """BH1: with refusals, failures to open, and cancels at any moment. Nobody shares a connection."""
    network = Network(total, each, connect_s, close_s, every_nth_fails)

    async def use(pool: ConnectionPool[tuple[str, int]], caller: Caller) -> None:
        async with pool.connection(caller.route, timeout=caller.timeout) as connection:
            route, number = connection
            assert route == caller.route
            assert number not in network.lent
            network.lent.add(number)
            try:
                await asyncio.sleep(caller.holds)
                if caller.fails:
                    raise BrokenPipeError
            finally:
                network.lent.remove(number)

    async def one(pool: ConnectionPool[tuple[str, int]], caller: Caller) -> str:
        await asyncio.sleep(caller.comes)
        task = asyncio.create_task(use(pool, caller))
        if caller.leaves is not None:
            asyncio.get_running_loop().call_later(caller.leaves, task.cancel)
        began = asyncio.get_running_loop().time()
        try:
            await task
        except ConnectionPoolExhaustedError:
            assert asyncio.get_running_loop().time() <= began + caller.timeout + 0.01
            return "refused"
        except (BrokenPipeError, ConnectionRefusedError, asyncio.CancelledError) as error:
            return type(error).__name__
        assert not caller.fails
        return "served"

    async def main(clock: VirtualClock) -> None:
        pool = ConnectionPool(
            total, each, max_waiting=waiting, connect=network.connect, close=network.close, clock=clock
        )
        results = await asyncio.gather(*(one(pool, caller) for caller in callers))
        assert results.count("refused") == pool.refused
        assert (pool.in_use, pool.waiting, network.lent) == (0, 0, set())
        assert network.open.total() == pool.idle <= total
        assert set(pool._routes) == {route for route, count in network.open.items() if count}
        await pool.aclose()
        assert network.open.total() == pool.idle == 0
        assert not pool._routes

    run_virtual(main)
