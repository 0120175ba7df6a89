"""Shared rate windows, in memory and in a real Redis: the same cases for both (RL1). Twins in all histories:
``tests/property_tests/stores/test_rate_twins.py``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.redis_server import RedisServer

from holdfast.clock import SystemClock, system_rng
from holdfast.stores.base import Spell, StoreLost
from holdfast.stores.memory_rates import MemoryRates
from holdfast.stores.rates import Change, Kept, Want
from holdfast.stores.redis import RedisSettings, RedisStore
from holdfast.stores.redis_rates import RedisRates
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.stores.rates import Answer, RateStore, Stand

MINUTE = 60_000_000
START = 1_700_000_000_000_000
PATIENT = RedisSettings(timeout_s=1.0, budget_s=1.0)


class Windows:
    """A store, a clock, and short words for what tests ask."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.now = START
        self.rates: RateStore
        self.names = 0

    def entry(self) -> str:
        self.names += 1
        return f"p1.{self.names}"

    def ask(self, *wants: Want) -> Answer:
        async def take() -> Answer:
            return await self.rates.take(wants, Spell())

        return self.runner.run(take())

    def take(self, limit: int | None = None, limit_tokens: int | None = None, **more: Any) -> Answer:
        """One request of window ``w``, or what ``more`` says."""
        return self.ask(self.want(limit, limit_tokens, **more))

    def want(self, limit: int | None = None, limit_tokens: int | None = None, **more: Any) -> Want:
        asked = {"window": "w", "length": MINUTE, "requests": 1, "tokens": 0, "entry": self.entry(), **more}
        return Want(limit_requests=limit, limit_tokens=limit_tokens, **asked)

    def look(self, **more: Any) -> Stand:
        asked = {"window": "w", "length": MINUTE, **more}
        return self.ask(
            Want(limit_requests=None, limit_tokens=None, requests=0, tokens=0, entry=".", **asked)
        ).stands[0]

    def counted(self) -> tuple[int, int]:
        stand = self.look()
        return stand.requests, stand.tokens

    def amend(self, *changes: Change) -> None:
        self.rates.amend(changes)

    def keep(self, *kept: Kept, own: str = "p1.") -> None:
        self.rates.keep("w", MINUTE, own, kept)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(params=["memory", "redis"])
def windows(request: pytest.FixtureRequest) -> Iterator[Windows]:
    made = Windows()
    if request.param == "memory":
        made.rates = MemoryRates(lambda: made.now)
        yield made
        made.runner.close()
        return
    server: RedisServer = request.getfixturevalue("server")
    server.flush()
    address = RedisAddress.parse(server.url)
    store = made.runner.run(RedisStore.open(address, PATIENT, clock=SystemClock(), rng=system_rng()))
    made.rates = RedisRates(store, now=lambda: made.now)
    yield made
    made.runner.run(store.aclose())
    made.runner.close()


class TestAdmission:
    def test_the_limit_and_no_more(self, windows):
        assert [windows.take(3).admitted for _ in range(5)] == [True, True, True, False, False]
        assert windows.counted() == (3, 0)

    def test_to_the_tick(self, windows):
        """An admission counts from the tick after it, for the length."""
        windows.take(1)
        (stand,) = windows.take(1).stands
        assert stand.requests_pass_at == stand.requests_empty_at == START + 1 + MINUTE
        windows.now = stand.requests_pass_at - 1
        assert not windows.take(1).admitted
        windows.now += 1
        assert windows.take(1).admitted

    def test_tokens(self, windows):
        assert windows.take(None, 100, tokens=60).admitted
        windows.now += 7
        assert not windows.take(None, 100, tokens=41).admitted
        assert windows.take(None, 100, tokens=40).admitted
        (stand,) = windows.take(None, 100, tokens=61).stands
        assert stand.tokens_pass_at == START + 8 + MINUTE, "when both are gone"
        assert stand.requests_pass_at == windows.now

    def test_all_or_none(self, windows):
        for _ in range(2):
            windows.take(2)
        answer = windows.ask(windows.want(9, window="a"), windows.want(2), windows.want(9, window="b"))
        assert not answer.admitted
        assert [stand.requests for stand in answer.stands] == [0, 2, 0]

    def test_behind_others(self, windows):
        """More than the whole limit is so many limits, each a length apart."""
        windows.take(2)
        (stand,) = windows.take(2, requests_ahead=4).stands
        assert stand.requests == 2, "it was let in: what waits is no matter"
        (stand,) = windows.take(2, requests_ahead=4).stands
        assert stand.requests_pass_at == START + 1 + 3 * MINUTE

    def test_a_look_takes_nothing_and_knows_when(self, windows):
        windows.take(1)
        (stand,) = windows.take(1, requests=0, requests_ahead=2).stands
        assert stand.requests_pass_at == START + 1 + 2 * MINUTE
        assert windows.counted() == (1, 0)

    def test_when_all_is_free(self, windows):
        windows.take()
        windows.now += 10
        windows.take()
        stand = windows.look()
        assert stand.requests_empty_at == START + 11 + MINUTE
        assert stand.tokens_empty_at == windows.now

    def test_when_all_tokens_are_free(self, windows):
        windows.take(tokens=5)
        windows.now += 10
        for _ in range(9):
            windows.take()
        assert windows.look().tokens_empty_at == START + 1 + MINUTE

    def test_a_clock_that_goes_back(self, windows):
        """Time stands still until it has caught up."""
        windows.take(1)
        windows.now -= 30_000_000
        assert not windows.take(1).admitted
        answer = windows.take(None)
        assert answer.now == START
        windows.amend(Change("w", MINUTE, ".", 0, 0, windows.entry(), 0, 7))
        assert windows.look().tokens_empty_at == START + 1 + MINUTE

    def test_another_length(self, windows):
        windows.take(1)
        windows.now += 10_000_000
        assert not windows.take(1).admitted
        assert windows.take(1, length=9_000_000).admitted

    def test_some_leave_and_some_stay(self, windows):
        for _ in range(4):
            windows.take()
            windows.now += 20_000_000
        assert windows.counted() == (3, 0)
        windows.now += 1
        assert windows.counted() == (2, 0)

    def test_a_crowd_counts_from_its_last(self, windows):
        windows.take(entry="p1.x")
        windows.now += 100
        windows.take(entry="p1.x")
        windows.now = START + 1 + MINUTE
        assert windows.counted() == (2, 0)
        windows.now += 100
        assert windows.counted() == (0, 0)


class TestSettlement:
    def test_what_was_not_used(self, windows):
        windows.take(tokens=0, entry="p1.a")
        windows.take(entry="p1.b", tokens=100)
        windows.amend(Change("w", MINUTE, "p1.b", 0, 70))
        assert windows.counted() == (2, 30)
        windows.amend(Change("w", MINUTE, "p1.b", 1, 30))
        assert windows.counted() == (1, 0)

    def test_never_more_than_there_was(self, windows):
        windows.take(entry="p1.b", tokens=100)
        windows.amend(Change("w", MINUTE, "p1.b", 1, 70), Change("w", MINUTE, "p1.b", 1, 70))
        assert windows.counted() == (0, 0)
        assert windows.take(1).admitted

    def test_what_has_left_is_not_given_back(self, windows):
        windows.take(entry="p1.b", tokens=100)
        windows.now += MINUTE + 1
        windows.take(tokens=5)
        windows.amend(Change("w", MINUTE, "p1.b", 1, 100))
        assert windows.counted() == (1, 5)

    def test_nor_under_a_name_that_is_taken_again(self, windows):
        windows.take(entry="p1.b", tokens=100)
        windows.now += MINUTE // 2
        windows.take(tokens=1)
        windows.now += MINUTE // 2 + 1
        windows.take(entry="p1.b", tokens=5)
        windows.amend(Change("w", MINUTE, "p1.b", 2, 105))
        assert windows.counted() == (1, 1)

    def test_an_overrun_counts_from_now(self, windows):
        windows.take(entry="p1.b", tokens=10)
        windows.now += 50_000_000
        windows.amend(Change("w", MINUTE, "p1.b", 0, 0, "p1.c", 0, 90))
        windows.now = START + 1 + MINUTE
        assert windows.counted() == (0, 90)


class TestRestoring:
    def test_in_the_place_of_what_was_there(self, windows):
        windows.take()
        windows.take(entry="p2.1")
        windows.keep(Kept("p1.a", 10_000_000, 3, 30), Kept("p1.b", 0, 1, 5))
        assert windows.counted() == (5, 35)
        windows.keep(Kept("p1.a", 10_000_000, 3, 30), Kept("p1.b", 0, 1, 5))
        assert windows.counted() == (5, 35), "again is the same"
        windows.now += 50_000_001
        assert windows.counted() == (2, 5), "from when it was"

    def test_nothing_is_nothing(self, windows):
        windows.take()
        windows.keep()
        assert windows.counted() == (0, 0)

    def test_what_has_left_meanwhile(self, windows):
        windows.keep(Kept("p1.a", MINUTE, 3, 30), Kept("p1.b", MINUTE + 1, 4, 40))
        assert windows.counted() == (3, 30), "to the tick"
        windows.now += 1
        assert windows.counted() == (0, 0)


class TestRedis:
    @pytest.fixture
    def redis(self, server: RedisServer) -> Iterator[Windows]:
        server.flush()
        made = Windows()
        address = RedisAddress.parse(server.url)
        self.store = made.runner.run(RedisStore.open(address, PATIENT, clock=SystemClock(), rng=system_rng()))
        made.rates = RedisRates(self.store)
        yield made
        made.runner.run(self.store.aclose())
        made.runner.close()

    def test_the_servers_clock(self, redis, server):
        answer = redis.take(1)
        seconds, micros = server.command("TIME")
        assert 0 <= int(seconds) * 1_000_000 + int(micros) - answer.now < 10_000_000

    def test_a_flush_is_a_loss(self, redis, server):
        """RD1: whoever asks next finds out, and takes nothing."""
        redis.take(1)
        server.flush()
        with pytest.raises(StoreLost):
            redis.take(1)
        assert not self.store.up
        assert server.command("DBSIZE") == 0

    def test_sums_without_entries(self, redis, server):
        """One of the two keys was evicted: what is left of the window doesn't stop it for good."""
        redis.take(1)
        server.command("DEL", "{holdfast}:rate:w:times")
        assert redis.take(1).admitted

    def test_entries_without_sums(self, redis, server):
        redis.take(1)
        server.command("DEL", "{holdfast}:rate:w:amounts")
        assert redis.take(1).admitted
        assert not redis.take(1).admitted

    def test_large_numbers(self, redis):
        """Below 2^53 nothing is rounded."""
        most = 10_000_000_000
        for _ in range(3):
            redis.ask(redis.want(tokens=most - 1))
        assert redis.counted() == (3, 3 * most - 3)

    def test_many_leave_at_once(self, redis):
        redis.rates._now = lambda: redis.now
        for _ in range(1100):
            redis.take()
        redis.now += 30_000_000
        redis.take()
        redis.now += 30_000_001
        assert redis.counted() == (1, 0)
