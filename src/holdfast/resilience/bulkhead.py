"""A bulkhead: so many calls at a time and so many that wait, and whoever is beyond that is told so at once.

=====================  =============================================================================================
a place is free        the call is let in, without waiting
else, room to wait     it waits, at most ``max_wait_s`` and never beyond its deadline: keys in turns, first come first
                       served within a key. While anybody waits nobody overtakes
no room to wait        refused at once; but a key with fewer waiters than another takes the room of that one's newest
a permit is left       its place goes to the next in turn whose time has not passed
a waiter is cancelled  it takes nothing; if it was let in within the same turn of the loop, its place goes on
the deadline passed    refused, though a place be free: whoever begins then can't finish
=====================  =============================================================================================

That the deadline will *probably* pass in the queue is no reason to refuse: answers take from a second to minutes, so the
estimate is good enough for Retry-After and not for a no.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from holdfast.clock import SystemClock
from holdfast.resilience.fair_queue import FairQueue
from holdfast.resilience.leave_rate import SHORTEST_S, LeaveRate
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.seam import FOREVER, Gated, Refused
from holdfast.resilience.settings import Settings
from holdfast.resilience.timeout import timers

if TYPE_CHECKING:
    from holdfast.clock import Clock

__all__ = ["Bulkhead", "BulkheadFullError", "BulkheadPermit", "BulkheadSettings", "BulkheadSnapshot"]

_NEUTRAL: Final = Outcome.NEUTRAL  # looked up for every call that leaves


class BulkheadSettings(Settings, frozen=True, kw_only=True):
    """How many, and how long they may wait. The queue is bounded in both, so that it can't outgrow the callers' patience."""

    max_concurrent: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """Calls at a time, each from its beginning to the end of its answer."""
    max_queue: Annotated[int, Meta(ge=0, le=100_000)] = 100
    """Calls that may wait; 0: none, whoever finds no place is refused at once."""
    max_wait_s: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    """The longest that one call waits."""


class BulkheadFullError(Refused):
    """There is no place, and no room to wait for one, or no time.

    Args:
        message: which bulkhead, and what was the matter.
        name: the bulkhead's.
        retry_after_s: an estimate, from 0.1 to 60 seconds.
    """

    def __init__(self, message: str, *, name: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.name = name


class BulkheadSnapshot(msgspec.Struct, frozen=True):
    """How a bulkhead stands."""

    in_use: int
    """Places taken. More than ``limit`` for a while after that was lowered."""
    limit: int
    waiting: int
    longest_wait_s: float
    """Of those who wait now."""
    admitted: int
    """Calls let in since the beginning."""
    refused: int
    """Calls told no since the beginning, those whose wait was in vain included; callers that left aren't."""


class BulkheadPermit:
    """A place. It is taken until :meth:`leave`."""

    __slots__ = ("_bulkhead", "_since")

    def __init__(self, bulkhead: Bulkhead, since: float) -> None:
        self._bulkhead: Bulkhead | None = bulkhead  # None: left
        self._since = since

    def progressed(self) -> None:
        """Nothing: a place is held to the answer's end."""

    def leave(self, outcome: Outcome) -> None:
        """Gives the place back. Only the first call counts."""
        bulkhead, self._bulkhead = self._bulkhead, None
        if bulkhead is not None:
            bulkhead._left(self._since, outcome)  # noqa: SLF001  # the two are one


class Bulkhead(Gated):
    """Places for calls to one target, shared by all who call it.

    Not thread-safe: it belongs to one event loop's thread.

    Args:
        settings: the numbers.
        clock: whose monotonic seconds count; the running loop's own scale.
        name: for messages.
    """

    # Whenever control is given back, somebody waits only if every place is taken. Therefore whoever finds a free place
    # overtakes nobody.

    __slots__ = (
        "_in_use",
        "_limit",
        "_now",
        "_queue",
        "_rate",
        "_resized",
        "_settings",
        "admitted",
        "name",
        "refused",
    )

    def __init__(self, settings: BulkheadSettings, *, clock: Clock | None = None, name: str = "") -> None:
        self._now = (clock or SystemClock()).monotonic
        self._settings = settings
        self._resized = settings.max_concurrent
        self._limit = settings.max_concurrent
        self._in_use = 0
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._rate = LeaveRate()
        self.name = name
        self.admitted = 0
        """Calls let in since the beginning."""
        self.refused = 0
        """Calls told no since the beginning."""

    @property
    def settings(self) -> BulkheadSettings:
        """The numbers that hold now."""
        return self._settings

    @property
    def limit(self) -> int:
        """Places there are now: ``max_concurrent``, or less if it was resized."""
        return self._limit

    @property
    def in_use(self) -> int:
        """Places taken."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._queue)

    @property
    def retry_after_s(self) -> float:
        """When one more caller may find a place: an estimate from how long they were held lately, from 0.1 to 60 seconds."""
        return self._retry_after_s(self._now())

    def try_enter(self) -> BulkheadPermit | None:
        """Lets one call in, or says None: no place is free, or those that come free belong to who waits."""
        if self._in_use >= self._limit:
            return None
        return self._take(self._now())

    async def enter(self, *, deadline: float = FOREVER, key: str = "") -> BulkheadPermit:
        """Lets one call in, waiting for its turn if there is room. Cancelling the wait takes nothing.

        Args:
            deadline: on the clock, in seconds; nobody is let in at it or later.
            key: whose call it is: keys that wait are served in turns.

        Raises:
            BulkheadFullError: at once where there is no room to wait, or the deadline has passed; else at the end of the
                wait, or when the room went to a key with fewer waiters.
            Refused: what :meth:`turn_away` was given.
        """
        now = self._now()
        if now >= deadline:
            raise self._no("the deadline has passed", now)
        if self._in_use < self._limit:
            return self._take(now)
        latest = min(deadline, now + self._settings.max_wait_s)
        if latest <= now or not self._make_room(key, now):
            raise self._no(
                f"{self._in_use} calls are in, {self.waiting} wait, and there is no room for more", now
            )
        return await self._wait(_Waiter(self, now, latest), key)

    def resize(self, limit: int) -> None:
        """Moves the limit, for those who wait too: what an adaptive limit finds out. Above ``max_concurrent`` it is cut.

        Raising it lets in who waits; lowering it takes nothing away, and is reached as permits come back.

        Raises:
            ValueError: ``limit`` is below 1.
        """
        if limit < 1:
            raise ValueError(f"limit must be a whole number from 1, not {limit!r}")
        self._resized = limit
        self._limit_to(min(limit, self._settings.max_concurrent))

    def apply(self, settings: BulkheadSettings) -> None:
        """Other numbers from now on. Who is in stays in, who waits stays until the end of the wait it began.

        A limit that was never resized, or was resized to all there was, is the new ``max_concurrent``.
        """
        if self._resized >= self._settings.max_concurrent:
            self._resized = settings.max_concurrent
        self._settings = settings
        self._limit_to(min(self._resized, settings.max_concurrent))

    def turn_away(self, error: Refused) -> None:
        """Refuses everybody who waits, with ``error``: waiting has become pointless, as when a breaker opens."""
        for waiter in tuple(self._queue):
            self._queue.remove(waiter)
            self._refuse(waiter, error)

    def snapshot(self) -> BulkheadSnapshot:
        """How it stands now."""
        first = next(iter(self._queue), None)
        return BulkheadSnapshot(
            in_use=self._in_use,
            limit=self._limit,
            waiting=len(self._queue),
            longest_wait_s=0.0 if first is None else max(self._now() - first.since, 0.0),
            admitted=self.admitted,
            refused=self.refused,
        )

    def _take(self, now: float) -> BulkheadPermit:
        self.admitted += 1
        self._in_use = in_use = self._in_use + 1
        if in_use >= self._limit:
            self._rate.moved(now)
        return BulkheadPermit(self, now)

    def _left(self, since: float, outcome: Outcome) -> None:
        now = self._now()
        self._in_use -= 1
        if outcome is _NEUTRAL:  # it may have given up its place before it had begun
            self._rate.moved(now)
        else:
            self._rate.left(now - since, now)
        if self._in_use == self._limit - 1:  # it was full: else nobody waits
            self._serve(now)

    def _limit_to(self, limit: int) -> None:
        now = self._now()
        self._limit = limit
        self._serve(now)
        if self._in_use >= limit:
            self._rate.moved(now)

    def _serve(self, now: float) -> None:
        """Lets in whoever is next as long as there are places."""
        while self._in_use < self._limit and self._queue:
            waiter = self._queue.pop()
            if waiter.future.done():  # cancelled, and its task has not run since
                continue
            if now < waiter.latest:
                waiter.future.set_result(self._take(now))
            else:  # its alarm is late
                self._refuse(waiter, self._in_vain(waiter, now))

    def _make_room(self, key: str, now: float) -> bool:
        """Whether one more of ``key`` may wait; if need be at the cost of another key's newest."""
        if len(self._queue) < self._settings.max_queue:
            return True
        displaced = self._queue.displace(key)
        if displaced is None:
            return False
        error = self._error("its room in the queue went to a key with fewer waiters", now)
        self._refuse(displaced, error)
        return True

    async def _wait(self, waiter: _Waiter, key: str) -> BulkheadPermit:
        self._queue.push(waiter, key)
        alarm = timers().call_at(waiter.latest, waiter.expire)
        try:
            return await waiter.future
        except BaseException:
            self._give_up(waiter)
            raise
        finally:
            alarm.cancel()

    def _give_up(self, waiter: _Waiter) -> None:
        future = waiter.future
        if self._queue.remove(waiter) or future.cancelled() or future.exception() is not None:
            return
        # Let in and cancelled within the same turn of the loop: the place goes to the next.
        future.result().leave(_NEUTRAL)

    def _expire(self, waiter: _Waiter) -> None:
        if self._queue.remove(waiter):
            self._refuse(waiter, self._in_vain(waiter, self._now()))

    def _refuse(self, waiter: _Waiter, error: Refused) -> None:
        """Tells a waiter that isn't in the queue any more."""
        if not waiter.future.done():
            self.refused += 1
            waiter.future.set_exception(error)

    def _no(self, why: str, now: float) -> BulkheadFullError:
        self.refused += 1
        return self._error(why, now)

    def _in_vain(self, waiter: _Waiter, now: float) -> BulkheadFullError:
        return self._error(f"waited {now - waiter.since:.3f} s in vain for one of {self._limit} places", now)

    def _error(self, why: str, now: float) -> BulkheadFullError:
        name = f"bulkhead {self.name!r}" if self.name else "bulkhead"
        return BulkheadFullError(f"{name}: {why}", name=self.name, retry_after_s=self._retry_after_s(now))

    def _retry_after_s(self, now: float) -> float:
        if self._in_use < self._limit:
            return SHORTEST_S
        return self._rate.retry_after_s(self._limit, len(self._queue), now)


class _Waiter:
    __slots__ = ("_bulkhead", "future", "latest", "since")

    def __init__(self, bulkhead: Bulkhead, since: float, latest: float) -> None:
        self._bulkhead = bulkhead
        self.future: asyncio.Future[BulkheadPermit] = asyncio.get_running_loop().create_future()
        self.since = since
        self.latest = latest

    def expire(self) -> None:
        self._bulkhead._expire(self)  # noqa: SLF001  # the two are one
