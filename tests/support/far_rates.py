"""A store of rates that takes its time: asked over a network that is slow, and can be lost while something is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.stores.base import StoreLost
from holdfast.stores.memory_rates import MemoryRates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.stores.base import Spell
    from holdfast.stores.rates import Answer, Want

__all__ = ["FarRates"]


class FarRates(MemoryRates):
    """Asked now, judged half a round trip later, answered another half later; a caller that leaves is an orphan's.

    Args:
        now: microseconds.
        trip_s: a round trip.
    """

    def __init__(self, now: Callable[[], int], *, trip_s: float = 0.002) -> None:
        super().__init__(now)
        self.trip_s = trip_s
        self.asked = 0
        self.deaf = False
        """It is up and doesn't answer this request in its time."""

    async def take(
        self, wants: Sequence[Want], spell: Spell, *, orphan: Callable[[Answer], None] | None = None
    ) -> Answer:
        self.asked += 1
        if not self.up:
            raise StoreLost("lost")
        if self.deaf:
            await asyncio.sleep(self.trip_s)
            raise StoreLost("it took too long")
        under_way = asyncio.ensure_future(self._far(wants, spell))
        try:
            return await asyncio.shield(under_way)
        except asyncio.CancelledError:
            if orphan is not None:
                under_way.add_done_callback(lambda done: done.exception() or orphan(done.result()))
            raise

    async def _far(self, wants: Sequence[Want], spell: Spell) -> Answer:
        await asyncio.sleep(self.trip_s / 2)
        answer = await super().take(wants, spell)
        await asyncio.sleep(self.trip_s / 2)
        if not self.up:
            raise StoreLost("lost on the way back")
        return answer
