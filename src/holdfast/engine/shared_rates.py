"""A process' side of rate limits that hold over all processes.

======================  ==============================================================================================
a request               asks all its windows in one call; what the store admits is noted in the process' own meters too
the store is lost       each process goes by its own meter: the limit, divided by how many processes live (at least 1). It
                        has noted its own admissions all along, so the parts add up to the limit, and to no more than
                        twice the limit in windows that began before
healing                 what the own meters hold takes the place of what the store has of this process, before it is asked
                        again: also what it never heard of, or has forgotten
settling                is collected over a turn of the loop and sent together; nobody waits for it
a caller that leaves    while it is asked for: what was admitted is given back when the answer comes
======================  ==============================================================================================

Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from holdfast.engine.shared_limit import SharedLimit, SharedPermit
from holdfast.stores.base import Spell, StoreLost
from holdfast.stores.rates import Change, Want

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.clock import Clock, Rng
    from holdfast.resilience.rate_meter import RateLimitSettings
    from holdfast.stores.rates import Answer, RateStore, Restore

__all__ = ["SharedRates", "one_replica"]

_TOGETHER: Final = 64
"""Windows that are written back at a time."""


def one_replica() -> int:
    """Nobody else shares the limits."""
    return 1


class SharedRates:
    """All limits of this process that others share.

    Args:
        store: where they are shared.
        clock: the loop's.
        rng: for this process' name in the store.
        replicas: how many processes live, this one too: asked while the store is lost.
    """

    def __init__(
        self, store: RateStore, *, clock: Clock, rng: Rng, replicas: Callable[[], int] = one_replica
    ) -> None:
        self._store = store
        self._clock = clock
        self._replicas = replicas
        self._limits: WeakValueDictionary[str, SharedLimit] = WeakValueDictionary()
        self._changes: list[Change] = []
        self.owner = f"{rng.getrandbits(48):012x}."
        """How the names of this process' entries begin."""
        self.generation = 0
        """How often entries were written back: they have other names since."""
        store.on_healing(self._heal)
        store.on_change(self._changed)

    def reachable(self) -> bool:
        """The store may be asked."""
        return self._store.up

    @property
    def replicas(self) -> int:
        """How many processes live, this one too."""
        return max(1, self._replicas())

    def limit(self, settings: RateLimitSettings, name: str, *, window: str | None = None) -> SharedLimit:
        """A limit that is shared by all who name the same window.

        Args:
            settings: the numbers.
            name: for messages.
            window: its name in the store; None: ``name``.
        """
        key = name if window is None else window
        known = self._limits.get(key)
        if (
            known is not None
        ):  # one that permits still hold: there must not be two that write the same entries back
            known.apply(settings)
            return known
        limit = SharedLimit(settings, self, window=key, clock=self._clock, name=name)
        self._limits[key] = limit
        return limit

    async def take(
        self, limits: Sequence[SharedLimit], tokens: int, spell: Spell | None = None
    ) -> list[SharedPermit] | Answer:
        """Lets a request into all limits at once.

        Returns:
            The permits; or the store's answer, if one of them has no room.

        Raises:
            StoreLost: the store can't be asked, so each counts alone.
        """
        wants = [limit.want(tokens) for limit in limits]

        def left(answer: Answer) -> None:
            if answer.admitted:
                self.amend(*(_undone(want) for want in wants))

        try:
            answer = await self._store.take(wants, Spell() if spell is None else spell, orphan=left)
        except BaseException:  # lost, or cancelled
            for limit in limits:
                limit.unsure = True
            raise
        for limit, stand in zip(limits, answer.stands, strict=True):
            limit.hear(answer.now, stand)
        if not answer.admitted:
            return answer
        return [limit.admit(want) for limit, want in zip(limits, wants, strict=True)]

    async def ask_only(self, limit: SharedLimit, tokens: int, spell: Spell | None = None) -> Answer:
        """When a request passes behind all who wait. Takes nothing.

        Raises:
            StoreLost: the store can't be asked.
        """
        answer = await self._store.take([limit.look_behind(tokens)], Spell() if spell is None else spell)
        limit.hear(answer.now, answer.stands[0])
        return answer

    async def look(self, limits: Sequence[SharedLimit]) -> None:
        """Asks how limits stand, for those who want to see it."""
        for start in range(0, len(limits), _TOGETHER):
            some = limits[start : start + _TOGETHER]
            try:
                answer = await self._store.take(
                    [limit.want(0)._replace(requests=0) for limit in some], Spell()
                )
            except StoreLost:  # then what it said last is shown
                return
            for limit, stand in zip(some, answer.stands, strict=True):
                limit.hear(answer.now, stand)

    def amend(self, *changes: Change) -> None:
        """Tells the store what became of entries, with all else that happens in this turn of the loop."""
        if not self._store.up:
            return  # the own meters know, and they are written back
        if not self._changes:
            asyncio.get_running_loop().call_soon(self.flush)
        self._changes += changes

    def flush(self) -> None:
        """Tells the store now what was collected."""
        changes, self._changes = self._changes, []
        if changes:
            self._store.amend(changes)

    async def _heal(self, restore: Restore) -> None:
        """Writes back what this process knows. What comes meanwhile is written when the store is up."""
        self.generation += 1
        limits = [limit for limit in list(self._limits.values()) if not limit.unused]
        for start in range(0, len(limits), _TOGETHER):
            some = limits[start : start + _TOGETHER]
            await asyncio.gather(*(restore(*limit.known()) for limit in some))

    def _changed(self) -> None:
        self._changes.clear()  # of the time before: written back since, or to be written back
        for limit in list(self._limits.values()):
            if self._store.up and limit.moved and not limit.unused:
                self._store.keep(*limit.known())
            limit.wake()


def _undone(want: Want) -> Change:
    return Change(want.window, want.length, want.entry, want.requests, want.tokens)
