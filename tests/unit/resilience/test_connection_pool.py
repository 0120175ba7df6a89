"""The connection pool: limits, waiting, opening, using again and closing, in virtual time."""

from __future__ import annotations

import asyncio
import math

import pytest

from holdfast.resilience.connection_pool import (
    ConnectionPool,
    ConnectionPoolClosedError,
    ConnectionPoolExhaustedError,
    Lease,
)
from holdfast.testing.virtual_time import VirtualClock, run_virtual


class Network:
    """Where connections come from: it knows which are open, and how many there ever were at a time."""

    def __init__(self, *, connect_s: float = 0.0, close_s: float = 0.0) -> None:
        self.connect_s = connect_s
        self.close_s = close_s
        self.opened: list[str] = []
        self.open: set[str] = set()
        self.most = 0
        self.refuses = False
        self.breaks = False

    async def connect(self, route: str) -> str:
        # Counted from the beginning of the connecting to the end of the closing.
        name = f"{route}#{len(self.opened)}"
        self.opened.append(name)
        self.open.add(name)
        self.most = max(self.most, len(self.open))
        try:
            await asyncio.sleep(self.connect_s)
            if self.refuses:
                raise ConnectionRefusedError(route)
        except BaseException:
            self.open.discard(name)
            raise
        return name

    async def close(self, connection: str) -> None:
        try:
            await asyncio.sleep(self.close_s)
            if self.breaks:
                raise BrokenPipeError(connection)
        finally:
            self.open.remove(connection)


def made(
    clock: VirtualClock, network: Network, total: int = 3, each: int = 2, **more: int
) -> ConnectionPool[str]:
    return ConnectionPool(total, each, connect=network.connect, close=network.close, clock=clock, **more)


async def turns(count: int = 4) -> None:
    """Lets whatever is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


class TestSettings:
    def test_defaults_are_the_documents(self):
        """E4."""
        settings = ConnectionPool().settings
        assert (settings.max_connections, settings.max_connections_per_route) == (20, 5)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_connections": 0}, "max_connections must be a whole number from 1 to 100000, not 0"),
            (
                {"max_connections_per_route": 0},
                "max_connections_per_route must be a whole number from 1 to 100000, not 0",
            ),
            ({"max_waiting": 0}, "max_waiting must be a whole number from 1 to 100000, not 0"),
        ],
    )
    def test_impossible_ones_are_refused(self, settings, message):
        with pytest.raises(ValueError, match=f"^{message}$"):
            ConnectionPool(**settings)

    @pytest.mark.parametrize("timeout", [-1, 3601, math.inf, math.nan])
    def test_impossible_timeouts(self, timeout):
        with pytest.raises(ValueError, match="timeout must be a number from 0 to 3600, not "):
            ConnectionPool().acquire(timeout=timeout).send(None)


class TestLimits:
    def test_a_route_and_the_pool(self):
        async def main(clock: VirtualClock) -> None:
            pool = ConnectionPool(3, 2, clock=clock)
            a1, a2 = await pool.acquire("a"), await pool.acquire("a")
            with pytest.raises(
                ConnectionPoolExhaustedError, match=r"^all 2 connections of route 'a' are in use$"
            ) as caught:
                await pool.acquire("a")
            assert (caught.value.route, caught.value.retry_after_s) == ("a", 0.5)
            b1 = await pool.acquire("b")
            with pytest.raises(
                ConnectionPoolExhaustedError, match=r"^all 3 connections of the pool are in use$"
            ):
                await pool.acquire("b")
            assert (pool.in_use, pool.refused) == (3, 2)
            assert clock.monotonic() == 0
            await pool.release(a1)
            with pytest.raises(ConnectionPoolExhaustedError):  # the refused ones of b hold nothing of b
                await pool.acquire("a"), await pool.acquire("a")
            await pool.release(b1)
            await pool.release(a2)
            await pool.acquire("b")

        run_virtual(main)

    def test_without_a_route_only_the_pools_limit_holds(self):
        """E4: the documents' test takes three without a route where two to each are allowed."""

        async def main(clock: VirtualClock) -> None:
            pool = ConnectionPool(3, 2, clock=clock)
            leases = [await pool.acquire() for _ in range(3)]
            with pytest.raises(ConnectionPoolExhaustedError, match="of the pool"):
                await pool.acquire()
            for lease in leases:
                assert lease.connection is None
                await pool.release(lease)
            assert pool.in_use == 0

        run_virtual(main)

    def test_who_was_refused_holds_nothing(self):
        async def main(clock: VirtualClock) -> None:
            pool = ConnectionPool(1, 1, clock=clock)
            held = await pool.acquire("a")
            for route in ("b", "b", "a"):
                with pytest.raises(ConnectionPoolExhaustedError):
                    await pool.acquire(route)
            await pool.release(held)
            await pool.release(await pool.acquire("b"))
            assert not pool._routes

        run_virtual(main)

    def test_routes_that_nobody_uses_take_no_memory(self):
        async def main(clock: VirtualClock) -> None:
            network = Network()
            pool = made(clock, network, total=3)
            for number in range(1000):
                async with pool.connection(f"host {number}"):
                    pass
            assert (len(pool._routes), pool.idle, len(network.open)) == (3, 3, 3)
            await pool.aclose()
            assert (pool._routes, network.open) == ({}, set())

        run_virtual(main)


class TestRelease:
    def test_only_the_first_time_counts(self):
        async def main(clock: VirtualClock) -> None:
            network = Network()
            pool = made(clock, network, total=2)
            one, two = await pool.acquire("a"), await pool.acquire("a")
            for _ in range(3):
                await pool.release(one)
                await pool.release(one, reuse=False)
            assert (pool.in_use, pool.idle, len(network.open)) == (1, 1, 2)
            assert two.connection != (await pool.acquire("a")).connection

        run_virtual(main)

    def test_another_pools_is_a_mistake(self):
        async def main(clock: VirtualClock) -> None:
            mine, other = ConnectionPool(1, clock=clock), ConnectionPool(1, clock=clock)
            lease = await other.acquire()
            with pytest.raises(ValueError, match="this connection was leased by another pool"):
                await mine.release(lease)
            assert (mine.in_use, other.in_use) == (0, 1)

        run_virtual(main)


class TestReuse:
    def test_the_latest_first(self):
        async def main(clock: VirtualClock) -> None:
            network = Network()
            pool = made(clock, network)
            one, two = await pool.acquire("a"), await pool.acquire("a")
            await pool.release(one)
            await pool.release(two)
            assert [(await pool.acquire("a")).connection for _ in range(2)] == ["a#1", "a#0"]
            assert network.opened == ["a#0", "a#1"]

        run_virtual(main)

    def test_never_on_another_route(self):
        async def main(clock: VirtualClock) -> None:
            pool = made(clock, Network())
            await pool.release(await pool.acquire("a"))
            assert (await pool.acquire("b")).connection == "b#1"
            assert (await pool.acquire("")).connection == "#2"

        run_virtual(main)

    def test_the_one_that_has_idled_longest_makes_room(self):
        async def main(clock: VirtualClock) -> None:
            network = Network(connect_s=1, close_s=1)
            pool = made(clock, network)
            leases = [await pool.acquire(route) for route in "aab"]
            for lease in leases:
                await pool.release(lease)
            await pool.acquire("c")
            assert network.open == {"a#1", "b#2", "c#3"}
            await pool.acquire("a")
            assert (pool.in_use, pool.idle) == (2, 1)
            assert network.most == 3  # the old one was closed before the new one was opened

        run_virtual(main)

    def test_what_is_being_closed_for_another_route_counts_on_its_own(self):
        """Until it is closed, nobody opens one more there than may be."""

        async def main(clock: VirtualClock) -> None:
            network = Network(close_s=5)
            pool = made(clock, network, total=2, each=1)
            await pool.release(await pool.acquire("a"))
            kept = await pool.acquire("b")
            other = asyncio.create_task(pool.acquire("c"))  # closes the one of a, to make room
            await asyncio.sleep(1)
            network.close_s = 0
            await pool.release(kept, reuse=False)
            again = asyncio.create_task(pool.acquire("a"))
            await asyncio.sleep(1)
            assert network.open == {"a#0"}
            await other
            await again
            assert network.opened == ["a#0", "b#1", "c#2", "a#3"]
            assert sum(name.startswith("a") for name in network.open) == 1
            assert network.most == 2

        run_virtual(main)

    @pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
    def test_not_after_an_error(self, error):
        """Nobody knows what is left on the wire."""

        async def main(clock: VirtualClock) -> None:
            network = Network()
            pool = made(clock, network)

            async def use() -> None:
                async with pool.connection("a") as connection:
                    assert connection == "a#0"
                    raise error

            with pytest.raises(error):
                await use()
            assert (pool.in_use, pool.idle, network.open) == (0, 0, set())
            async with pool.connection("a") as connection:
                assert connection == "a#1"
            assert network.open == {"a#1"}

        run_virtual(main)


class TestWaiting:
    def test_for_a_place_on_the_route_and_in_the_pool(self):
        async def main(clock: VirtualClock) -> None:
            pool = ConnectionPool(2, 1, clock=clock)
            a, b = await pool.acquire("a"), await pool.acquire("b")
            waiter = asyncio.create_task(pool.acquire("a", timeout=5))
            other = asyncio.create_task(pool.acquire("c", timeout=5))
            await asyncio.sleep(1)
            assert (pool.waiting, waiter.done(), other.done()) == (2, False, False)
            await pool.release(b)
            await turns()
            assert (waiter.done(), other.done()) == (False, True)  # who waits for its route holds up no other
            await pool.release(a)
            assert (await waiter).route == "a"
            assert clock.monotonic() == 1
            assert (pool.waiting, pool.in_use) == (0, 2)

        run_virtual(main)

    def test_what_is_given_back_is_used_by_who_waits(self):
        async def main(clock: VirtualClock) -> None:
            network = Network()
            pool = made(clock, network, 1, 1)
            lease = await pool.acquire("a")
            waiter = asyncio.create_task(pool.acquire("a", timeout=5))
            await turns()
            await pool.release(lease)
            assert (await waiter).connection == "a#0"
            assert network.opened == ["a#0"]

        run_virtual(main)

    @pytest.mark.parametrize("route", ["a", "b"])
    def test_in_vain(self, route):
        async def main(clock: VirtualClock) -> None:
            pool = ConnectionPool(1, 1, clock=clock)
            await pool.acquire("a")
            whose = "route 'a'" if route == "a" else "the pool"
            with pytest.raises(
                ConnectionPoolExhaustedError,
                match=f"^all 1 connections of {whose} are in use, and none came free in 2 s$",
            ) as caught:
                await pool.acquire(route, timeout=2)
            assert 2 <= clock.monotonic() <= 2.01
            assert caught.value.retry_after_s >= 2
            assert (pool.in_use, pool.waiting, list(pool._routes)) == (1, 0, ["a"])

        run_virtual(main)

    def test_one_timeout_for_both_places(self):
        async def main(clock: VirtualClock) -> None:
            pool = ConnectionPool(2, 1, clock=clock)
            a = await pool.acquire("a")
            await pool.acquire("b")
            waiter = asyncio.create_task(pool.acquire("a", timeout=2))
            other = asyncio.create_task(pool.acquire("c", timeout=9))
            await asyncio.sleep(1.5)
            await pool.release(a)  # the route's place goes to the one, the pool's to the other
            await other
            with pytest.raises(ConnectionPoolExhaustedError):
                await waiter
            assert 2 <= clock.monotonic() <= 2.01

        run_virtual(main)

    def test_so_many_and_no_more(self):
        async def main(clock: VirtualClock) -> None:
            pool = ConnectionPool(1, 1, max_waiting=3, clock=clock)
            await pool.acquire("a")
            waiters = [asyncio.create_task(pool.acquire(route, timeout=9)) for route in "aab"]
            await turns()
            for route in "abc":
                with pytest.raises(ConnectionPoolExhaustedError):
                    await pool.acquire(route, timeout=9)
            assert clock.monotonic() == 0
            for waiter in waiters:
                waiter.cancel()

        run_virtual(main)

    @pytest.mark.parametrize("route", ["a", "b"])
    def test_a_cancelled_one_takes_nothing(self, route):
        """Nor one that is cancelled in the turn of the loop in which its place came."""

        async def main(clock: VirtualClock) -> None:
            pool = ConnectionPool(1, 1, clock=clock)
            lease = await pool.acquire("a")
            for release in (False, True):
                waiter = asyncio.create_task(pool.acquire(route, timeout=9))
                await turns()
                if release:
                    await pool.release(lease)
                waiter.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiter
                assert (pool.waiting, pool.in_use) == (0, 0 if release else 1)
            assert not pool._routes

        run_virtual(main)


class TestTrouble:
    def test_what_cant_be_opened_gives_its_place_back(self):
        async def main(clock: VirtualClock) -> None:
            network = Network()
            network.refuses = True
            pool = made(clock, network, 1, 1)
            for _ in range(3):
                with pytest.raises(ConnectionRefusedError):
                    await pool.acquire("a")
            assert (pool.in_use, pool._routes) == (0, {})

        run_virtual(main)

    def test_cancelled_while_it_opens(self):
        async def main(clock: VirtualClock) -> None:
            network = Network(connect_s=9)
            pool = made(clock, network, 1, 1)
            opening = asyncio.create_task(pool.acquire("a"))
            await asyncio.sleep(1)
            with pytest.raises(ConnectionPoolExhaustedError):
                await pool.acquire("a")
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert (pool.in_use, pool._routes, network.open) == (0, {}, set())

        run_virtual(main)

    def test_cancelled_while_it_closes(self):
        async def main(clock: VirtualClock) -> None:
            network = Network(close_s=9)
            pool = made(clock, network, 1, 1)
            lease = await pool.acquire("a")
            closing = asyncio.create_task(pool.release(lease, reuse=False))
            await asyncio.sleep(1)
            assert pool.in_use == 1  # it is open until it is closed
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert pool.in_use == 0

        run_virtual(main)

    def test_what_cant_be_closed_is_told_to_the_loop_and_hurts_nobody(self):
        async def main(clock: VirtualClock) -> None:
            told: list[dict[str, object]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
            network = Network()
            network.breaks = True
            pool = made(clock, network, 1, 1)
            await pool.release(await pool.acquire("a"), reuse=False)
            await pool.release(await pool.acquire("a"))
            await pool.release(await pool.acquire("b"))  # whoever comes for b closes the one of a
            await pool.aclose()
            assert [str(context["exception"]) for context in told] == ["a#0", "a#1", "b#2"]
            assert [context["message"] for context in told] == ["a pooled connection failed to close"] * 3
            assert pool.in_use == 0

        run_virtual(main)

    def test_without_a_way_to_close(self):
        async def main(clock: VirtualClock) -> None:
            network = Network()
            pool: ConnectionPool[str] = ConnectionPool(1, connect=network.connect, clock=clock)
            lease: Lease[str] = await pool.acquire("a")
            await pool.release(lease, reuse=False)
            assert (await pool.acquire("a")).connection == "a#1"

        run_virtual(main)


class TestClosing:
    def test_idle_ones_now_leased_ones_when_they_come_back(self):
        async def main(clock: VirtualClock) -> None:
            network = Network()
            pool = made(clock, network)
            leased, idle = await pool.acquire("a"), await pool.acquire("a")
            await pool.release(idle)
            await pool.aclose()
            assert network.open == {"a#0"}
            await pool.release(leased)
            assert network.open == set()
            with pytest.raises(ConnectionPoolClosedError, match="the connection pool is closed"):
                await pool.acquire("a")
            assert (pool.in_use, pool.idle) == (0, 0)

        run_virtual(main)

    def test_who_waits_is_turned_away(self):
        async def main(clock: VirtualClock) -> None:
            pool = ConnectionPool(1, 1, clock=clock)
            lease = await pool.acquire("a")
            waiters = [asyncio.create_task(pool.acquire(route, timeout=9)) for route in "ab"]
            await turns()
            await pool.aclose()
            for waiter in waiters:
                with pytest.raises(ConnectionPoolClosedError, match="the connection pool was closed"):
                    await waiter
            assert clock.monotonic() == 0
            await pool.release(lease)
            assert (pool.in_use, pool._routes) == (0, {})

        run_virtual(main)

    def test_whose_place_came_in_that_very_turn_gets_none(self):
        async def main(clock: VirtualClock) -> None:
            network = Network()
            pool = made(clock, network, 1, 1)
            lease = await pool.acquire("a")
            waiter = asyncio.create_task(pool.acquire("a", timeout=9))
            await turns()
            await pool.release(lease)
            await pool.aclose()
            with pytest.raises(ConnectionPoolClosedError):
                await waiter
            assert (pool.in_use, network.open) == (0, set())

        run_virtual(main)

    def test_what_was_being_opened_is_closed_again(self):
        async def main(clock: VirtualClock) -> None:
            network = Network(connect_s=5)
            pool = made(clock, network)
            opening = asyncio.create_task(pool.acquire("a"))
            await asyncio.sleep(1)
            await pool.aclose()
            with pytest.raises(ConnectionPoolClosedError):
                await opening
            assert (pool.in_use, network.open) == (0, set())

        run_virtual(main)
