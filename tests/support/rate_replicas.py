"""Several processes' rate admissions in one loop, on one real Redis, with the server's own journal of what was admitted."""

from __future__ import annotations

import asyncio
import bisect
import random
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from holdfast.clock import SystemClock, system_rng
from holdfast.engine.rates import RateAdmission, RateRules
from holdfast.engine.shared_rates import SharedRates
from holdfast.errors import RateExceeded
from holdfast.stores.base import Spell
from holdfast.stores.redis import RedisSettings, RedisStore
from holdfast.stores.redis_rates import RedisRates
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from holdfast.engine.rates import RateTicket
    from holdfast.stores.rates import Answer, Want

__all__ = ["Journaled", "LoopLag", "Replica", "call", "most_in_a_window", "replicas"]


def call(key: str = "alice", *, model: str = "m", size: int = 10, deadline: float = 1e9) -> Any:
    """As much of a call as admission looks at."""
    return SimpleNamespace(
        key=key,
        deadline=deadline,
        spell=Spell(),
        dialect=SimpleNamespace(free=False),
        envelope=SimpleNamespace(model=model, size=size, max_output_tokens=0, choices=1),
        resolved=SimpleNamespace(targets=()),
    )


class Journaled(RedisRates):
    """Redis, and what it admitted when, by its own clock."""

    def __init__(self, store: RedisStore) -> None:
        super().__init__(store)
        self.journal: list[tuple[int, str, str]] = []
        """When (microseconds), which window, and the entry's name."""

    async def take(
        self, wants: Sequence[Want], spell: Spell, *, orphan: Callable[[Answer], None] | None = None
    ) -> Answer:
        answer = await super().take(wants, spell, orphan=orphan)
        if answer.admitted:
            self.journal += [(answer.now + 1, want.window, want.entry) for want in wants if want.requests]
        return answer


class Replica:
    """One process' side."""

    def __init__(self, store: RedisStore, rules: RateRules, count: int) -> None:
        clock = SystemClock()
        self.store = store
        self.rates = Journaled(store)
        self.shared = SharedRates(self.rates, clock=clock, rng=system_rng(), replicas=lambda: count)
        self.admission = RateAdmission(rules, clock=clock, shared=self.shared)
        self.admitted: list[tuple[float, bool]] = []
        """When (monotonic seconds), and whether by itself alone."""
        self.spent: list[float] = []
        """Seconds that each request waited for Redis."""
        self._clock = clock

    async def ask(self, asked: Any) -> RateTicket | RateExceeded:
        """One request; a refusal is an answer."""
        try:
            ticket = await self.admission.admit(asked)
        except RateExceeded as error:
            return error
        finally:
            self.spent.append(asked.spell.spent_s)
        self.admitted.append((self._clock.monotonic(), ticket.rate is not None and ticket.rate.alone))
        return ticket


@asynccontextmanager
async def replicas(
    url: str, rules: RateRules, *, count: int = 2, settings: RedisSettings | None = None
) -> AsyncIterator[list[Replica]]:
    """So many processes, each with a connection of its own."""
    made: list[Replica] = []
    try:
        for _ in range(count):
            store = RedisStore(RedisAddress.parse(url), settings, clock=SystemClock(), rng=system_rng())
            made.append(Replica(store, rules, count))
            await store.start()
        yield made
    finally:
        for replica in made:
            replica.shared.flush()
            await replica.store.aclose()


def most_in_a_window(times: Sequence[int], length: int) -> int:
    """The most that any half-open window of that length held."""
    ordered = sorted(times)
    return max(
        (bisect.bisect_left(ordered, at + length) - place for place, at in enumerate(ordered)), default=0
    )


class LoopLag:
    """How late the loop itself was at most: no code in it can be quicker than that."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        clock = SystemClock()
        while True:
            due = clock.monotonic() + 0.002
            await asyncio.sleep(0.002)
            self.worst_s = max(self.worst_s, clock.monotonic() - due)


def shuffled(seed: int, count: int) -> list[int]:
    """Which of two replicas each request comes to."""
    rng = random.Random(seed)
    return [rng.randrange(2) for _ in range(count)]
