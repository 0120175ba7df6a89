"""Several processes' gates in one loop, on one store that can be lost, slow or emptied; and the target they all ask."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from holdfast.engine.gates import Gatehouse
from holdfast.engine.policy import Gates, Target
from holdfast.engine.shared_breakers import SharedBreakers
from holdfast.errors import BreakerOpen, HoldfastError, NoPlace, ServerFailed, Superseded
from holdfast.resilience.breaker import BreakerSettings, CircuitState
from holdfast.resilience.bulkhead import BulkheadSettings
from holdfast.stores.base import Spell, StoreLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from holdfast.clock import Clock
    from holdfast.engine.gates import TargetPermit
    from holdfast.stores.breaker_state import BreakerStore

__all__ = ["FAILED", "QUICK", "Caller", "FarEnd", "Link", "Replica", "breaks", "target"]

FAILED = ServerFailed("500", upstream_status=500)
QUICK = BreakerSettings(failure_threshold=3, success_threshold=3, open_s=10.0, half_open_s=5.0, jitter=0.0)


class Caller:
    """As much of a call as gates look at."""

    key = "k"
    retries = 0

    def __init__(self) -> None:
        self.spell = Spell()


def target(breaker: BreakerSettings = QUICK, **gates: Any) -> Target:
    places = BulkheadSettings(max_concurrent=10_000)
    return Target(provider="a", model="m", gates=Gates(**{"breaker": breaker, "bulkhead": places, **gates}))


class Link:
    """One process's way to the store: a :class:`BreakerStore` that can be cut, and takes its time.

    Args:
        store: the one that all share.
        delay: seconds for each way of a question, drawn for each.
    """

    def __init__(self, store: BreakerStore, delay: Callable[[], float] | None = None) -> None:
        self._store = store
        self._delay = delay
        self._restore: list[Callable[[BreakerStore], Awaitable[None]]] = []
        self.lost = False
        self.asked: list[str] = []

    def on_healing(self, restore: Callable[[BreakerStore], Awaitable[None]]) -> None:
        self._restore.append(restore)

    def cut(self) -> None:
        """From now on it is lost; what was on the way may have been done, and nobody hears of it."""
        self.lost = True

    async def heal(self) -> None:
        """It is there again, and knows what was decided without it before anybody else asks it."""
        for restore in self._restore:
            await restore(self._store)
        self.lost = False

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        async def ask(*args: Any, **named: Any) -> Any:
            self.asked.append(method)
            if self.lost:
                raise StoreLost("the link is cut")
            await self._travel()
            answer = await getattr(self._store, method)(*args, **named)
            await self._travel()
            return answer

        return ask

    async def _travel(self) -> None:
        if self._delay is not None:
            await asyncio.sleep(self._delay())
        if self.lost:
            raise StoreLost("the link was cut")


class Replica:
    """One process: its gates, and what it shares."""

    def __init__(self, name: str, link: Any, clock: Clock) -> None:
        self.name = name
        self.link = link
        rng = random.Random(name)
        self.breakers = SharedBreakers(link, clock=clock, rng=rng, me=name)
        self.house = Gatehouse(clock=clock, rng=rng, breakers=self.breakers)

    async def __aenter__(self) -> Self:
        self.breakers.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.breakers.aclose()

    async def die(self) -> None:
        """kill -9, as far as others can tell: it does and says nothing any more."""
        self.breakers._task.cancel()
        self.link.cut()

    async def enter(self, at: Target) -> TargetPermit:
        return await self.house.enter(at, Caller(), first=True, deadline=1e9)

    def state(self, at: Target) -> CircuitState:
        return self.house.of(at).breaker.state

    async def call(self, at: Target, far: FarEnd) -> bool:
        """Whether it got there. Its own error or none is the target's affair."""
        try:
            permit = await self.enter(at)
        except (BreakerOpen, NoPlace):
            return False
        error: HoldfastError | None = Superseded("its caller has left")
        try:
            error = await far.serve(permit)
        finally:
            permit.leave(error, None)
        return True


class FarEnd:
    """The target: counts who is there at the same time.

    Args:
        takes: seconds for each call, drawn for each.
        fails: whether the next call does.
    """

    def __init__(self, takes: Callable[[], float], fails: Callable[[], bool] = lambda: False) -> None:
        self._takes = takes
        self.fails = fails
        self.here = self.most = self.served = 0

    async def serve(self, _permit: TargetPermit) -> HoldfastError | None:
        self.here += 1
        self.most = max(self.most, self.here)
        self.served += 1
        try:
            await asyncio.sleep(self._takes())
        finally:
            self.here -= 1
        return FAILED if self.fails() else None


async def breaks(replica: Replica, at: Target) -> None:
    """The target fails as many calls of ``replica``'s as open its breaker."""
    assert at.gates.breaker is not None
    for permit in [await replica.enter(at) for _ in range(at.gates.breaker.least)]:
        permit.leave(FAILED, None)
    assert replica.state(at) is CircuitState.OPEN
