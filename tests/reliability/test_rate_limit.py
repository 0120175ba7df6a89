"""Rate limits under load: many callers, bursts, long streams, people who leave. In virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.resilience.rate_limit import RateLimit, RateLimitExceededError, RateLimitSettings
from holdfast.testing.virtual_time import VirtualClock, run_virtual


def most_in_a_window(amounts: list[tuple[float, int]], window_s: float) -> int:
    """The most that any window held, by brute force over those that begin at an admission."""
    return max(sum(n for at, n in amounts if start <= at < start + window_s) for start, _ in amounts)


def jain(shares: list[float]) -> float:
    """1: all have the same; 1/n: one has everything. (R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984)"""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


class TestRateLimits:
    @pytest.mark.parametrize("seed", range(3))
    def test_no_window_is_above_the_limit_whatever_comes(self, seed):
        """RL1: bursts and trickles, settlements early and late, callers that leave, for half an hour."""

        async def main(clock: VirtualClock) -> tuple[list[float], list[tuple[float, int]]]:
            rng = random.Random(seed)
            limit = RateLimit(
                RateLimitSettings(requests=50, tokens=20_000, max_queue=60, max_wait_s=45), clock=clock
            )
            times: list[float] = []
            used: list[tuple[float, int]] = []

            async def one(key: str, bound: int) -> None:
                try:
                    permit = await limit.enter(key=key, tokens=bound)
                except RateLimitExceededError:
                    return
                at = clock.monotonic()
                times.append(at)
                spent = rng.randrange(bound + 1)
                used.append((at, spent))
                await asyncio.sleep(rng.expovariate(1 / 20))
                permit.settle(spent)

            async with asyncio.TaskGroup() as group:
                while clock.monotonic() < 1800:
                    for _ in range(rng.choice([1, 1, 2, 40])):
                        task = group.create_task(one(rng.choice("abc"), rng.randrange(1, 1000)))
                        if rng.random() < 0.1:
                            asyncio.get_running_loop().call_later(rng.random() * 30, task.cancel)
                    await asyncio.sleep(rng.expovariate(1 / 3))
            assert limit.waiting == 0
            return times, used

        times, used = run_virtual(main)
        assert len(times) > 500
        assert most_in_a_window([(at, 1) for at in times], 60) <= 50
        assert most_in_a_window(used, 60) <= 20_000

    def test_a_burst_of_a_thousand_goes_in_by_the_windows(self):
        """RL1: the whole limit at once, then the next as soon as the window has room, and nobody is lost."""

        async def main(clock: VirtualClock) -> Counter[float]:
            limit = RateLimit(RateLimitSettings(requests=100, max_queue=1000, max_wait_s=1000), clock=clock)
            times: Counter[float] = Counter()

            async def one() -> None:
                await limit.enter()
                times[clock.monotonic()] += 1

            await asyncio.gather(*(one() for _ in range(1000)))
            return times

        assert run_virtual(main) == {60.0 * n: 100 for n in range(10)}

    def test_who_comes_again_when_told_is_let_in(self):
        """RL1: refused a thousand times at random moments, and each time the moment that was named is the right one."""

        async def main(clock: VirtualClock) -> int:
            rng = random.Random(7)
            limit = RateLimit(RateLimitSettings(requests=5, tokens=1000), clock=clock)
            while limit.refused < 1000:
                tokens = rng.randrange(900)
                permit = limit.try_take(tokens)
                if permit is None:
                    with pytest.raises(RateLimitExceededError) as caught:
                        await limit.enter(tokens=tokens)
                    await asyncio.sleep(caught.value.retry_after_s)
                    permit = limit.try_take(tokens)
                permit.settle(rng.randrange(1000))
                await asyncio.sleep(rng.expovariate(1 / 2))
            return limit.refused

        assert run_virtual(main) == 1000

    def test_a_stream_longer_than_the_window_still_counts_what_it_used(self):
        """RL1: a small bound and a long answer are no way around the limit."""

        async def main(clock: VirtualClock) -> tuple[int | None, float | None]:
            limit = RateLimit(RateLimitSettings(tokens=1000), clock=clock)
            permit = limit.try_take(1)
            await asyncio.sleep(300)
            permit.settle(5000)
            with pytest.raises(RateLimitExceededError) as caught:
                await limit.enter(tokens=1)
            return limit.allowed()[1], caught.value.retry_after_s

        assert run_virtual(main) == (0, 60)

    def test_a_million_requests_a_minute_in_bounded_memory(self):
        """RL1: a second of it, a thousand each millisecond."""

        async def main(clock: VirtualClock) -> int:
            limit = RateLimit(RateLimitSettings(requests=20_000, tokens=10**9, window_s=1), clock=clock)
            admitted = 0
            for _ in range(3000):
                admitted += sum(limit.try_take(1000) is not None for _ in range(20))
                await asyncio.sleep(0.001)
            assert len(limit._window) < 8200
            return admitted

        assert 59_000 < run_virtual(main) <= 60_000


class TestFairness:
    @pytest.mark.parametrize("greedy", [40, 400, 2000])
    def test_two_backlogged_keys_get_the_same(self, greedy):
        """RL2: by requests, however many of one key stand in line."""
        shares = self._share({"greedy": (greedy, 1), "modest": (40, 1)}, requests=20)
        assert jain(list(shares.values())) >= 0.95

    @pytest.mark.parametrize("sizes", [(100, 100), (500, 100), (900, 50), (5000, 500)])
    def test_two_backlogged_keys_get_the_same_tokens(self, sizes):
        """RL2: by tokens, where those are what is scarce, however large one key's requests are."""
        shares = self._share({f"by {size}": (2 * 10_000 // size, size) for size in set(sizes)}, tokens=10_000)
        assert jain(list(shares.values())) >= 0.95

    def test_small_requests_are_shared_by_requests(self):
        """RL2: where both are limited, a request costs at least its share of the requests."""
        shares = self._share({"tiny": (100, 1), "small": (100, 90)}, requests=20, tokens=10_000)
        assert jain([shares["tiny"] / 1, shares["small"] / 90]) >= 0.95

    def _share(self, keys: dict[str, tuple[int, int]], **limits: int) -> dict[str, float]:
        """What each key got of the limit in ten minutes; each always has so many of such a size in line."""

        async def main(clock: VirtualClock) -> dict[str, float]:
            limit = RateLimit(RateLimitSettings(**limits, max_queue=5000, max_wait_s=5000), clock=clock)
            got = dict.fromkeys(keys, 0.0)

            async def caller(key: str, size: int) -> None:
                while True:
                    await limit.enter(key=key, tokens=size)
                    if clock.monotonic() > 0:  # who was first at an empty limit had no rival
                        got[key] += size

            tasks = [
                asyncio.create_task(caller(key, size))
                for key, (many, size) in keys.items()
                for _ in range(many)
            ]
            await asyncio.sleep(605)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert limit.waiting == 0
            return got

        return run_virtual(main)

    def test_nobody_starves(self):
        """RL2: ninety-nine keys with long lines, and another with one request gets in within a round."""

        async def main(clock: VirtualClock) -> float:
            limit = RateLimit(RateLimitSettings(requests=101, max_queue=5000, max_wait_s=5000), clock=clock)
            many = [asyncio.create_task(limit.enter(key=f"key {n % 99}")) for n in range(2000)]
            await asyncio.sleep(1)
            await limit.enter(key="one more")
            at = clock.monotonic()
            for task in many:
                task.cancel()
            await asyncio.gather(*many, return_exceptions=True)
            return at

        assert run_virtual(main) == 60


class TestWaiters:
    @settings(max_examples=100)
    @given(
        callers=st.lists(
            st.tuples(
                st.integers(0, 90),  # comes at
                st.sampled_from("abc"),
                st.integers(0, 12),  # tokens
                st.integers(0, 12),  # used
                st.integers(1, 40),  # runs for
                st.none() | st.integers(0, 120),  # leaves after
                st.none() | st.integers(0, 200),  # deadline
            ),
            max_size=30,
        ),
        requests=st.none() | st.integers(1, 4),
        tokens=st.none() | st.integers(1, 20),
        max_queue=st.integers(0, 10),
    )
    def test_everybody_is_told_and_nothing_is_lost(self, callers, requests, tokens, max_queue):
        """RL1, RL2: with any mix of arrivals, settlements, deadlines and callers that leave.

        Every caller ends by its deadline; no window is above a limit; in the end the queue is empty, and so is the window.
        """

        async def main(clock: VirtualClock) -> None:
            limit = RateLimit(
                RateLimitSettings(requests=requests, tokens=tokens, max_queue=max_queue, max_wait_s=100),
                clock=clock,
            )
            admitted: list[tuple[float, int]] = []
            ends: Counter[str] = Counter()
            in_time: list[bool] = []
            for_good: list[bool] = []

            async def one(at, key, bound, used, runs, leaves, deadline) -> None:
                await asyncio.sleep(at)
                latest = at + 100 if deadline is None else max(at, min(deadline, at + 100))
                loop = asyncio.get_running_loop()
                task = asyncio.current_task()
                assert task is not None
                leaving = loop.call_later(leaves, task.cancel) if leaves is not None else None
                try:
                    permit = await limit.enter(
                        key=key, tokens=bound, deadline=float("inf") if deadline is None else deadline
                    )
                except RateLimitExceededError as error:
                    ends["refused"] += 1
                    in_time.append(clock.monotonic() <= latest + 1e-6)
                    for_good.append((error.retry_after_s is None) == (tokens is not None and bound > tokens))
                    return
                except asyncio.CancelledError:
                    ends["left"] += 1
                    return
                finally:
                    if leaving is not None:
                        leaving.cancel()
                ends["admitted"] += 1
                in_time.append(clock.monotonic() <= latest + 1e-6)
                admitted.append((clock.monotonic(), min(used, bound)))
                await asyncio.sleep(runs)
                permit.settle(min(used, bound))

            await asyncio.gather(*(one(*caller) for caller in callers))
            assert ends.total() == len(callers)
            assert all(in_time)
            assert all(for_good)
            assert ends["admitted"] == limit.admitted
            assert ends["refused"] == limit.refused
            assert limit.waiting == 0
            if admitted:
                assert requests is None or most_in_a_window([(at, 1) for at, _ in admitted], 60) <= requests
                assert tokens is None or most_in_a_window(admitted, 60) <= tokens
            await asyncio.sleep(61)
            assert limit.idle

        run_virtual(main)
