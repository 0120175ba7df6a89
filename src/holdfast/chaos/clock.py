"""The time that pauses, timelines, limits and capacity go by: real, or moved by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock", "HandClock", "LoopClock", "Timer"]


_SLACK = 1e-9  # seconds; ten times 0.1 is 1, whatever floats make of it


class Timer(Protocol):
    """A call that is yet to come."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Seconds since the server started."""

    def now(self) -> float: ...

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        """Have ``call`` made at ``when``, on the server's loop."""
        ...


class LoopClock:
    """Real time, by the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()

    def now(self) -> float:
        return self._loop.time() - self._start

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        return self._loop.call_at(self._start + when, call)


class _Planned:
    """A call of a :class:`HandClock`."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class HandClock:
    """Time that stands still but for :meth:`advance`: hours pass in no time, the same way in every run."""

    def __init__(self) -> None:
        self._now = 0.0
        self._moving = asyncio.Lock()
        self._order = itertools.count()
        self._planned: list[tuple[float, int, _Planned]] = []

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        planned = _Planned(call)
        heapq.heappush(self._planned, (when, next(self._order), planned))
        return planned

    async def advance(self, seconds: float) -> int:
        """Let ``seconds`` pass, and make the calls that fall due, each at its time; returns how many.

        Between two of them the event loop has its turns, so that what a call sets off on sockets happens before the next.
        Who asks while time is passing has it pass after that.
        """
        async with self._moving:
            until = self._now + seconds
            made = 0
            await _settled()
            while self._planned and self._planned[0][0] <= until + _SLACK:
                when, _, planned = heapq.heappop(self._planned)
                self._now = max(self._now, when)
                if planned.call is not None:
                    planned.call()
                    made += 1
                    await _settled()
            self._now = max(self._now, until)
            return made


async def _settled() -> None:
    """A few turns of the loop: a write, the notice that the socket is free again, and what follows from it."""
    for _ in range(4):
        await asyncio.sleep(0)
