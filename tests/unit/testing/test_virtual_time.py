"""Virtual time: jumps, order, threads, and the two mistakes that it must name."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.testing.virtual_time import (
    DEFAULT_WALL_NS,
    DeadlockError,
    VirtualClock,
    VirtualLoop,
    run_virtual,
)


def test_a_day_passes_at_once_and_both_clocks_show_it():
    async def main(clock: VirtualClock) -> tuple[float, int]:
        await asyncio.sleep(86_400 * 3)
        return clock.monotonic(), clock.wall_ns()

    began = time.monotonic()
    assert run_virtual(main) == (259_200.0, DEFAULT_WALL_NS + 259_200_000_000_000)
    assert time.monotonic() - began < 5


def test_the_wall_clock_starts_where_it_is_told():
    async def main(clock: VirtualClock) -> int:
        await asyncio.sleep(1.5)
        return clock.wall_ns()

    assert run_virtual(main, start_wall_ns=10) == 1_500_000_010


@given(st.lists(st.floats(0, 1e6, allow_subnormal=False), max_size=20))
def test_timers_fire_in_order_and_never_early(delays):
    async def main(clock: VirtualClock) -> list[tuple[float, float]]:
        fired = []

        async def sleeper(delay: float) -> None:
            await asyncio.sleep(delay)
            fired.append((delay, clock.monotonic()))

        await asyncio.gather(*map(sleeper, delays))
        return fired

    fired = run_virtual(main)
    assert [at for _, at in fired] == sorted(at for _, at in fired)
    assert len(fired) == len(delays)
    assert all(at >= delay - 1e-8 and at <= delay + 1e-6 for delay, at in fired)


def test_time_moves_on_where_floats_are_coarse():
    async def main(clock: VirtualClock) -> float:
        await asyncio.sleep(3e9)  # a century: one float step is 477 ns here
        for _ in range(100):
            await asyncio.sleep(1e-8)
        return clock.monotonic()

    assert run_virtual(main) == pytest.approx(3e9)


def test_a_time_limit_runs_out_in_virtual_time():
    async def main(clock: VirtualClock) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await asyncio.Event().wait()
        return clock.monotonic()

    assert run_virtual(main) == pytest.approx(600)


def test_a_deadlock_is_named_with_the_tasks_that_wait():
    async def never_woken() -> None:
        await asyncio.Event().wait()

    async def main(clock: VirtualClock) -> None:
        await asyncio.sleep(5)
        await asyncio.create_task(never_woken(), name="the culprit")

    with pytest.raises(
        DeadlockError, match=r"no timer is set at 5\.000 s; .*the culprit in .*never_woken, line \d+"
    ):
        run_virtual(main)


def test_an_executor_job_takes_no_virtual_time():
    started = threading.Event()

    async def main(clock: VirtualClock) -> tuple[str, float]:
        ticker = asyncio.create_task(asyncio.sleep(3600))
        release = threading.Event()

        def job() -> str:
            started.set()
            release.wait(5)
            return "done"

        future = asyncio.get_running_loop().run_in_executor(None, job)
        await asyncio.get_running_loop().run_in_executor(None, started.wait, 5)
        release.set()
        result = await future
        at = clock.monotonic()
        ticker.cancel()
        return result, at

    assert run_virtual(main) == ("done", 0.0)


def test_a_thread_of_ones_own_is_awaited_inside_hold():
    async def main(clock: VirtualClock) -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        ticker = asyncio.create_task(asyncio.sleep(3600))
        done = asyncio.Event()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(done.set))
        with loop.hold():
            await asyncio.sleep(0)
            thread.start()
            await done.wait()
        thread.join()
        at = clock.monotonic()
        ticker.cancel()
        return at

    assert run_virtual(main) == 0.0


def test_real_sockets_are_refused_with_the_remedy():
    async def main(clock: VirtualClock) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            asyncio.get_running_loop().add_reader(ours, print)

    with pytest.raises(RuntimeError, match="MemoryTransport"):
        run_virtual(main)


def test_two_runs_see_the_same_history():
    async def main(clock: VirtualClock) -> list[tuple[int, float]]:
        history = []

        async def worker(n: int) -> None:
            for step in range(5):
                await asyncio.sleep((n * 7 + step * 3) % 5 / 10)
                history.append((n, clock.monotonic()))

        await asyncio.gather(*map(worker, range(10)))
        return history

    assert run_virtual(main) == run_virtual(main)
