"""Rate limits over two processes on a real Redis: never passed; whatever happens to Redis, never passed twice over; and
nobody waits for it (RL1, RD1)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.rate_replicas import LoopLag, call, most_in_a_window, replicas, shuffled
from tests.support.redis_server import RedisServer, running_redis
from tests.support.tcp_proxy import TcpProxy

from holdfast.engine.rates import RateRules, RateTicket
from holdfast.errors import RateExceeded
from holdfast.resilience.rate_limit import RateLimitSettings
from holdfast.stores.redis import RedisSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.rate_replicas import Replica

PATIENT = RedisSettings(timeout_s=1.0, budget_s=1.0)
WINDOW_S = 0.5


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    shared.flush()
    return shared


def test_two_hundred_at_once_over_two_processes(server):
    """RL1: exactly the limit; and everybody else is told when to come."""

    async def main() -> bool:
        server.flush()
        rules = RateRules(caller=RateLimitSettings(requests=50))
        async with replicas(server.url, rules, settings=PATIENT) as both:
            answers = await asyncio.gather(*(both[which].ask(call()) for which in shuffled(1, 200)))
            if _losses(both):  # this machine stood still for longer than the second that Redis is given
                return False
            assert sum(isinstance(answer, RateTicket) for answer in answers) == 50
            told = [answer.retry_after_s for answer in answers if isinstance(answer, RateExceeded)]
            assert len(told) == 150
            assert all(0 < wait_s <= 60 for wait_s in told)
            assert all(replica.admitted for replica in both), "both had some"
            left = min(answer.rate.requests.remaining for answer in answers if isinstance(answer, RateTicket))
            assert left == 0
            return True

    assert any(asyncio.run(main()) for _ in range(5))


def test_no_window_anywhere_holds_more(server):
    """RL1: by the server's journal: bursts and queues from two processes, settled, given back and left, for many windows."""

    never: set[tuple[str, str]] = set()
    """What was given back: as if it had never been."""

    async def main() -> tuple[list[Replica], int]:
        limit = RateLimitSettings(requests=40, window_s=WINDOW_S, max_queue=30, max_wait_s=2)
        rules = RateRules(
            caller=limit, models={"m*": RateLimitSettings(requests=60, tokens=900, window_s=WINDOW_S)}
        )
        async with replicas(server.url, rules, settings=PATIENT) as both:
            asked = 0

            async def one(which: int, number: int) -> None:
                key = "alice" if number % 3 else "bob"
                ticket = await both[which].ask(call(key, size=20))
                if isinstance(ticket, RateTicket) and number % 10 == 0:
                    never.update((permit._window.window, permit._stored) for permit in ticket._permits)
                    ticket.settle(None)  # it was never written down

            async with asyncio.TaskGroup() as group:
                for burst in range(12):
                    for number, which in enumerate(shuffled(burst, 100)):
                        task = group.create_task(one(which, number))
                        asked += 1
                        if number % 17 == 0:
                            asyncio.get_running_loop().call_later(0.002, task.cancel)
                    await asyncio.sleep(WINDOW_S / 4)
            return both, asked

    both, asked = asyncio.run(main())
    assert asked == 1200
    journal = [
        (at, window)
        for replica in both
        for at, window, entry in replica.rates.journal
        if (window, entry) not in never
    ]
    length = int(WINDOW_S * 1_000_000)
    most = {
        name: most_in_a_window([at for at, window in journal if window == name], length)
        for name in ("key alice", "key bob", "model m*")
    }
    assert len(journal) > 200, "others came after the first"
    assert most["key alice"] <= 40
    assert most["key bob"] <= 40
    assert 40 < most["model m*"] <= 45, "900 tokens of 20 each"


def test_exactly_the_limit_in_each_window(server):
    """RL1: nothing is given back, so the journal is what counts."""

    async def main() -> list[int]:
        limit = RateLimitSettings(requests=30, window_s=0.3)
        async with replicas(server.url, RateRules(caller=limit), settings=PATIENT) as both:
            for burst in range(25):
                await asyncio.gather(*(both[which].ask(call()) for which in shuffled(burst, 20)))
                await asyncio.sleep(0.04)
            return [at for replica in both for at, _, _ in replica.rates.journal]

    times = asyncio.run(main())
    assert len(times) >= 60
    assert most_in_a_window(times, 300_000) <= 30


def test_a_key_that_is_refused_uses_up_no_model(server):
    """RL1: both limits in one call, or neither."""

    async def main() -> None:
        rules = RateRules(
            keys={"alice": RateLimitSettings(requests=1)}, models={"m": RateLimitSettings(requests=5)}
        )
        async with replicas(server.url, rules, settings=PATIENT) as (one, other):
            assert isinstance(await one.ask(call()), RateTicket)
            for _ in range(10):
                error = await other.ask(call())
                assert isinstance(error, RateExceeded)
                assert "key alice" in error.message
            for _ in range(4):
                assert isinstance(await other.ask(call("bob")), RateTicket)
            error = await one.ask(call("bob"))
            assert isinstance(error, RateExceeded)
            assert "model m" in error.message
            assert one.admission.refused == {("model", "m"): 1}
            await one.admission.look(["alice"])
            standing = one.admission.standing("alice")
            assert standing is not None
            assert standing.requests.remaining == 0
            assert one.admission.model_standings()["m"].requests.remaining == 0

    asyncio.run(main())


def test_it_takes_one_round_trip(server):
    """A request with a key's and a model's limit, and its settlement."""

    async def main() -> None:
        rules = RateRules(
            caller=RateLimitSettings(tokens=1000), models={"m": RateLimitSettings(requests=500)}
        )
        async with replicas(server.url, rules, count=1, settings=PATIENT) as (one,):
            await one.ask(call())
            before = _calls(server)
            for _ in range(20):
                await one.ask(call())
            assert _calls(server) - before == 20

    asyncio.run(main())


def test_keys_in_redis_end(server):
    """Nothing is left behind: each key has a time to live, a little longer than its window."""

    async def main() -> None:
        rules = RateRules(caller=RateLimitSettings(requests=100, tokens=10_000, window_s=30))
        async with replicas(server.url, rules, settings=PATIENT) as (one, other):
            for replica in (one, other):
                for name in ("alice", "bob"):
                    ticket = await replica.ask(call(name))
                    assert isinstance(ticket, RateTicket)

    asyncio.run(main())
    keys = server.command("KEYS", "*")
    assert {key.decode().rpartition(":")[2] for key in keys} == {"times", "amounts", "epoch"}
    assert len(keys) == 5
    for key in keys:
        ttl = server.command("PTTL", key)
        assert ttl > 0
        if b"epoch" not in key:
            assert ttl <= 31_000


TROUBLES = ["killed", "frozen", "flushed", "stalled", "cut", "read-only"]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_under_load(trouble):
    """RD1: service goes on, at most twice the limit, nobody spends more than 50 ms; healed, it is one limit again."""
    limit, window_s = 40, 0.6

    async def load(both: list[Replica], go_on: Callable[[], bool]) -> None:
        number = 0
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            while go_on():
                number += 1
                group.create_task(both[number % 2].ask(call()))
                await asyncio.sleep(0.004)

    def lasting(seconds: float) -> Callable[[], bool]:
        end = time.monotonic() + seconds
        return lambda: time.monotonic() < end

    async def main(url: str, lose: Callable[[], object], heal: Callable[[], object]) -> Any:
        loop = asyncio.get_running_loop()
        rules = RateRules(caller=RateLimitSettings(requests=limit, window_s=window_s))
        async with replicas(url, rules) as both, LoopLag() as lag:
            await load(both, lasting(0.3))
            await loop.run_in_executor(None, lose)
            await load(both, lasting(0.9))
            lost = [replica.store.up for replica in both]
            epochs = [replica.store.epoch for replica in both]
            await loop.run_in_executor(None, heal)
            if trouble == "flushed":  # it is up all the time: who asks it finds that it has forgotten
                stores = [replica.store for replica in both]
                await load(
                    both, lambda: not all(s.up and s.epoch != e for s, e in zip(stores, epochs, strict=True))
                )
            await asyncio.gather(*(_up(replica) for replica in both))
            healed, losses = (loop.time(), time.time()), _losses(both)
            await load(both, lasting(1.7))
            return both, lag.worst_s, lost, healed, _losses(both) > losses

    with running_redis() as server, TcpProxy(server.port) as proxy:
        lose, heal = _ways(server, proxy)[trouble]
        both, lag_s, lost, (healed_at, healed_wall), lost_again = asyncio.run(
            main(f"redis://127.0.0.1:{proxy.port}", lose, heal)
        )

    spent = sorted(each for replica in both for each in replica.spent)
    assert len(spent) >= 200
    assert spent[-1] <= 0.050 + lag_s, f"the longest of {len(spent)}; the loop itself was {lag_s:.3f} s late"
    admitted = sorted(entry for replica in both for entry in replica.admitted)
    times = [at for at, _ in admitted]
    assert most_in_a_window([int(at * 1e6) for at in times], int(window_s * 1e6)) <= 2 * limit
    if trouble != "flushed":
        assert lost == [False, False]
        assert any(alone for _, alone in admitted), "service went on"
    assert lost_again or not any(alone for at, alone in admitted if at > healed_at)
    # By Redis' own times: a caller hears a little later, one more so than another.
    journal = [at for replica in both for at, _, _ in replica.rates.journal]
    after = [at for at in journal if at > (healed_wall + window_s) * 1e6]
    assert after
    assert most_in_a_window(after, int(window_s * 1e6)) <= limit


def _ways(
    server: RedisServer, proxy: TcpProxy
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    return {
        "killed": (server.kill, server.start),
        "frozen": (server.freeze, server.thaw),
        "flushed": (server.flush, server.flush),
        "stalled": (proxy.stall, proxy.heal),
        "cut": (proxy.cut, proxy.heal),
        "read-only": (server.make_read_only, server.make_writable),
    }


def _losses(both: list[Replica]) -> int:
    return sum(replica.store.state().losses for replica in both)


async def _up(replica: Replica) -> None:
    changed = asyncio.Event()
    replica.store.on_change(changed.set)
    while not replica.store.up:
        await changed.wait()
        changed.clear()


def _calls(server: RedisServer) -> int:
    """Scripts that were run so far."""
    stats = server.command("INFO", "commandstats").decode()
    return sum(
        int(line.partition("calls=")[2].partition(",")[0])
        for line in stats.splitlines()
        if line.startswith("cmdstat_eval")
    )
