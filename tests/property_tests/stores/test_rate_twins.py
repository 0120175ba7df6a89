"""Rate windows in Redis and in memory are asked the same, step by step, and answer the same."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.support.redis_server import RedisServer

from holdfast.clock import SystemClock, system_rng
from holdfast.stores.base import Spell
from holdfast.stores.memory_rates import MemoryRates
from holdfast.stores.rates import Change, Kept, Want
from holdfast.stores.redis import RedisSettings, RedisStore
from holdfast.stores.redis_rates import RedisRates
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.stores.rates import Answer

_START = 1_700_000_000_000_000
_NAMES = ("key:a", "key:ä b", "model:{x}*")
_OWNERS = ("p1.", "p2.")
_LENGTHS = (60_000_000, 90_000_001, 3_600_000_000)
_LIMITS = st.none() | st.integers(1, 6)
_TOKENS = st.none() | st.sampled_from((1, 10, 1_000, 10_000_000_000))
_PATIENT = RedisSettings(timeout_s=1.0, budget_s=1.0)
"""The machine is shared: a step must not be lost because others are busy."""


class Both(RuleBasedStateMachine):
    """Two stores, one clock, one history."""

    runner: asyncio.Runner
    store: RedisStore
    games = count()
    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.now = _START
        self.memory = MemoryRates(lambda: self.now)
        self.redis = RedisRates(self.store, now=lambda: self.now)
        self.game = next(self.games)
        """Its windows have names of their own, so none has to be forgotten."""
        self.length = dict.fromkeys(_NAMES, _LENGTHS[0])
        self.seq = 0

    def want(self, name: str, *rest: Any) -> Want:
        return Want(f"{name} {self.game}", self.length[name], *rest)

    def ask(self, *wants: Want) -> Answer:
        async def both() -> tuple[Answer, Answer]:
            return await self.memory.take(wants, Spell()), await self.redis.take(wants, Spell())

        in_memory, in_redis = self.runner.run(both())
        assert in_redis == in_memory
        return in_memory

    def entry(self, owner: str) -> str:
        self.seq += 1
        return f"{owner}{self.seq}"

    @rule(
        target=taken,
        names=st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True),
        owner=st.sampled_from(_OWNERS),
        requests=_LIMITS,
        limit=_TOKENS,
        tokens=st.integers(0, 12),
        ahead=st.integers(0, 3),
    )
    def take(
        self, names: list[str], owner: str, requests: int | None, limit: int | None, tokens: int, ahead: int
    ) -> tuple[list[str], str, int]:
        """Several windows at once, by limits that change from call to call."""
        entry = self.entry(owner)
        answer = self.ask(
            *(self.want(name, requests, limit, 1, tokens, entry, ahead, ahead * tokens) for name in names)
        )
        return (names if answer.admitted else []), entry, tokens

    @rule(target=taken, before=consumes(taken), tokens=st.integers(0, 5))
    def take_together(self, before: tuple[list[str], str, int], tokens: int) -> tuple[list[str], str, int]:
        """A crowd shares an entry."""
        names, entry, had = before
        if not names:
            return before
        answer = self.ask(*(self.want(name, None, None, 1, tokens, entry) for name in names))
        assert answer.admitted
        return names, entry, had + tokens

    @rule(before=taken, requests=st.integers(0, 1), used=st.integers(0, 14), owner=st.sampled_from(_OWNERS))
    def settle(self, before: tuple[list[str], str, int], requests: int, used: int, owner: str) -> None:
        """Once or twice, in time or too late."""
        names, entry, tokens = before
        changes = [
            Change(
                f"{name} {self.game}",
                self.length[name],
                entry,
                requests,
                max(0, tokens - used),
                self.entry(owner),
                0,
                max(0, used - tokens),
            )
            for name in names
        ]
        self.memory.amend(changes)
        self.redis.amend(changes)

    @rule(
        name=st.sampled_from(_NAMES),
        owner=st.sampled_from(_OWNERS),
        kept=st.lists(
            st.tuples(st.integers(0, 100_000_000), st.integers(0, 3), st.integers(0, 50)).filter(
                lambda each: each[1] or each[2]
            ),
            max_size=5,
        ),
    )
    def restore(self, name: str, owner: str, kept: list[tuple[int, int, int]]) -> None:
        """What a process knows takes the place of what stands there of it."""
        entries = [Kept(self.entry(owner), *each) for each in kept]
        self.memory.keep(f"{name} {self.game}", self.length[name], owner, entries)
        self.redis.keep(f"{name} {self.game}", self.length[name], owner, entries)

    @rule(name=st.sampled_from(_NAMES), length=st.sampled_from(_LENGTHS))
    def another_length(self, name: str, length: int) -> None:
        self.length[name] = length

    @rule(by=st.integers(0, 70_000_000) | st.integers(0, 3) | st.just(-5_000_000))
    def time_passes(self, by: int) -> None:
        """Or goes back, as when a server's clock is set."""
        self.now += by

    @rule(name=st.sampled_from(_NAMES), tick=st.integers(-1, 1), kind=st.sampled_from((2, 3)))
    def to_the_tick(self, name: str, tick: int, kind: int) -> None:
        """Just before, at, and after the moment at which all is free again."""
        (stand,) = self.ask(self.want(name, None, None, 0, 0, ".")).stands
        self.now = max(self.now, stand[kind] + tick)

    @invariant()
    def look(self) -> None:
        answer = self.ask(*(self.want(name, 3, 10, 0, 0, ".") for name in _NAMES))
        for stand in answer.stands:
            assert stand.requests >= 0
            assert stand.tokens >= 0


@pytest.fixture(scope="module")
def machine() -> Iterator[type[Both]]:
    with RedisServer() as server, asyncio.Runner() as runner:
        address = RedisAddress.parse(server.url)
        store = runner.run(RedisStore.open(address, _PATIENT, clock=SystemClock(), rng=system_rng()))
        yield type("Machine", (Both,), {"runner": runner, "store": store})
        runner.run(store.aclose())


def test_redis_and_memory_are_the_same(machine: type[Both]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # Hypothesis' own
        machine, settings=settings(max_examples=40, stateful_step_count=40)
    )
