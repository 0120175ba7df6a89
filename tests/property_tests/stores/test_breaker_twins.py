"""Breakers' shared states: what Redis does is what the table says, call by call (CB1, CB2, CB3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.redis_server import RedisServer, running_redis

from holdfast.clock import SystemClock, system_rng
from holdfast.stores.breaker_state import Answer, ProbeAsk, Standing, State
from holdfast.stores.memory_breakers import MemoryBreakers
from holdfast.stores.redis import RedisSettings, RedisStore
from holdfast.stores.redis_breakers import RedisBreakers
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")
TARGETS = st.sampled_from(["|a/m", "|a/m 2", "route|a/mü"])
EPOCHS = st.integers(0, 6)
IDS = st.sampled_from([f"probe-{number}" for number in range(8)])
MOST = 2
"""Targets that are kept: one of three is forgotten now and then."""
P = 3


class Redis:
    """A server, a loop and one connection, for all examples."""

    def __init__(self, server: RedisServer, runner: asyncio.Runner) -> None:
        self.server = server
        self.run = runner.run
        self.store: RedisStore = runner.run(self._open())

    def forget(self) -> None:
        """As FLUSHALL, but for the store's own key: without that it would think itself lost."""
        each = "for _, key in ipairs(redis.call('KEYS', '*:breakers:*')) do redis.call('DEL', key) end"
        self.server.command("EVAL", each, 0)

    async def _open(self) -> RedisStore:
        patient = RedisSettings(timeout_s=1.0, budget_s=1.0)
        address = RedisAddress.parse(self.server.url)
        return await RedisStore.open(address, patient, clock=SystemClock(), rng=system_rng())


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with running_redis() as server, asyncio.Runner() as runner:
        redis = Redis(server, runner)
        yield redis
        runner.run(redis.store.aclose())


class TwinsMachine(RuleBasedStateMachine):
    """Both are told the same at the same time, and must answer the same."""

    redis: Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis.forget()
        self.now_ms = 1_770_000_000_000
        self.twins = (
            MemoryBreakers(lambda: self.now_ms, most=MOST),
            RedisBreakers(self.redis.store, now_ms=lambda: self.now_ms, most=MOST),
        )
        self.seen = [(0, 0), (0, 0)]
        self.told: dict[str, int] = {}

    def both(self, method: str, *args: Any, **named: Any) -> Any:
        mine, theirs = (self.redis.run(getattr(twin, method)(*args, **named)) for twin in self.twins)
        assert mine == theirs, method
        return mine

    @rule(ms=st.sampled_from([1, 499, 500, 1_000, 3_000, 30_000]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(name=TARGETS, epoch=EPOCHS, opens=st.booleans(), open_ms=st.sampled_from([0, 1, 500, 60_000]))
    def put(self, name: str, epoch: int, opens: bool, open_ms: int) -> None:
        told = self.both("put", name, epoch=epoch, opens=opens, open_ms=open_ms, times=epoch, by="a b")
        if epoch:
            self.known(name, told)

    @precondition(lambda self: self.told)
    @rule(data=st.data(), ahead=st.sampled_from([0, 0, 0, -1, 1]), probe=IDS, most=st.sampled_from([1, P]))
    def probe(self, data: st.DataObject, ahead: int, probe: str, most: int) -> None:
        target = data.draw(st.sampled_from(sorted(self.told)))
        epoch = max(0, self.told[target] + ahead)
        grant = self.both("probe", target, ProbeAsk(epoch=epoch, id=probe, most=most, lease_ms=1_000))
        if grant.answer is Answer.GRANTED:
            assert grant.standing.circuit.state(self.now_ms) is State.HALF_OPEN
            assert grant.standing.circuit.epoch == epoch

    @precondition(lambda self: self.told)
    @rule(data=st.data(), probe=IDS, ahead=st.sampled_from([0, 0, 0, -1]), well=st.booleans())
    def a_probe_ends(self, data: st.DataObject, probe: str, ahead: int, well: bool) -> None:
        target = data.draw(st.sampled_from(sorted(self.told)))
        epoch = max(0, self.told[target] + ahead)
        if well:
            self.known(target, self.both("succeed", target, epoch=epoch, id=probe, most=P, by="b"))
        else:
            self.both("give_back", target, epoch=epoch, id=probe)

    @precondition(lambda self: self.told)
    @rule(data=st.data(), ids=st.lists(IDS, max_size=4, unique=True))
    def renew(self, data: st.DataObject, ids: list[str]) -> None:
        target = data.draw(st.sampled_from(sorted(self.told)))
        self.both("renew", target, epoch=self.told[target], ids=ids, lease_ms=1_000)

    @rule()
    def it_is_looked_what_changed(self) -> None:
        news = [self.redis.run(twin.pull(*seen)) for twin, seen in zip(self.twins, self.seen, strict=True)]
        assert news[0] == news[1]
        self.seen = [(each.born, each.version) for each in news]

    @rule()
    def all_is_forgotten(self) -> None:
        self.redis.forget()
        self.twins[0].flush()

    @invariant()
    def one_look_from_the_beginning_tells_the_same(self) -> None:
        news = self.both("pull", 0, 0)
        assert len(news.circuits) <= MOST

    def known(self, target: str, standing: Standing) -> None:
        if standing.circuit is not None:
            self.told[target] = standing.circuit.epoch


def test_the_one_in_redis_answers_as_the_one_in_memory(redis: Redis):
    TwinsMachine.redis = redis
    run_state_machine_as_test(TwinsMachine, settings=settings(deadline=None))


def done(asked: Coroutine[Any, Any, T]) -> T:
    """What a coroutine that never waits comes to."""
    try:
        asked.send(None)
    except StopIteration as over:
        return over.value
    raise AssertionError("it waits")


class ProbesMachine(RuleBasedStateMachine):
    """CB2: nobody forces a place, so at no time are more probes out than successes are missing."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.store = MemoryBreakers(lambda: self.now_ms)
        self.epoch = 1
        self.out: dict[str, int] = {}
        self.good = 0
        self.number = 0
        done(self.store.put("t", epoch=1, opens=True, open_ms=0, times=1, by="a"))

    @rule(ms=st.sampled_from([0, 1, 999, 1_000]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        self.out = {id_: ends for id_, ends in self.out.items() if ends > self.now_ms}

    @rule()
    def somebody_asks(self) -> None:
        self.number += 1
        ask = ProbeAsk(epoch=self.epoch, id=str(self.number), most=P, lease_ms=1_000)
        grant = done(self.store.probe("t", ask))
        assert (grant.answer is Answer.GRANTED) == (len(self.out) + self.good < P)
        if grant.answer is Answer.GRANTED:
            self.out[ask.id] = self.now_ms + 1_000
        assert grant.standing.probes == len(self.out)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), end=st.sampled_from(["well", "nothing", "badly"]), twice=st.booleans())
    def one_comes_back(self, data: st.DataObject, end: str, twice: bool) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.out)))
        for _ in range(1 + twice):  # an answer got lost, and it was asked for again
            standing = done(self._tell(id_, end))
        del self.out[id_]
        if end == "badly":
            self.again(self.epoch + 1)
        elif end == "well":
            self.good += 1
            if self.good == P:
                assert standing.circuit.open is False
                assert standing.circuit.epoch == self.epoch + 1
                self.again(self.epoch + 2)
                done(self._open())

    async def _tell(self, id_: str, end: str) -> Standing:
        if end == "well":
            return await self.store.succeed("t", epoch=self.epoch, id=id_, most=P, by="b")
        if end == "nothing":
            return await self.store.give_back("t", epoch=self.epoch, id=id_)
        return await self.store.put("t", epoch=self.epoch + 1, opens=True, open_ms=0, times=2, by="b")

    @rule(probe=IDS, well=st.booleans())
    def what_belongs_to_an_older_epoch_changes_nothing(self, probe: str, well: bool) -> None:
        before = done(self.store.give_back("t", epoch=0, id="nobody's"))
        older = self.epoch - 1
        for id_ in (probe, *self.out):
            if well:
                done(self.store.succeed("t", epoch=older, id=id_, most=1, by="late"))
            done(self.store.give_back("t", epoch=older, id=id_))
        done(self.store.renew("t", epoch=older, ids=[probe], lease_ms=1_000))
        assert done(self.store.put("t", epoch=self.epoch, opens=False, open_ms=0, times=0, by="x")) == before

    def again(self, epoch: int) -> None:
        self.epoch, self.out, self.good = epoch, {}, 0

    async def _open(self) -> None:
        await self.store.put("t", epoch=self.epoch, opens=True, open_ms=0, times=1, by="a")


TestProbesMachine = ProbesMachine.TestCase
