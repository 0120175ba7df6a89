"""The rate limit as a gate: what is allowed now goes in, the rest waits its turn or is refused.

What is allowed is :mod:`~holdfast.resilience.rate_meter`'s rule. The queue's:

=====================  =============================================================================================
nobody overtakes       while somebody waits, only the queue is served: keys in turns (deficit round robin), first come
                       first served within a key. Whoever is first and doesn't fit yet holds the line, so that large
                       requests get their turn
a wait in vain         is refused at once: the soonest moment lies beyond the deadline or ``max_wait_s``
cancelled waiter       takes nothing; one that was let in within the same turn of the loop hands its place on
=====================  =============================================================================================

Not thread-safe: a limit belongs to one event loop's thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.clock import SystemClock
from holdfast.resilience.fair_queue import FairQueue
from holdfast.resilience.rate_meter import (
    LimitStatus,
    RateLimitExceededError,
    RateLimitSettings,
    RateMeter,
    RateStatus,
)
from holdfast.resilience.rate_window import in_seconds
from holdfast.resilience.seam import FOREVER, Gated

if TYPE_CHECKING:
    from holdfast.clock import Clock
    from holdfast.resilience.outcome import Outcome
    from holdfast.resilience.rate_window import Entry

__all__ = [
    "LimitStatus",
    "RateLimit",
    "RateLimitExceededError",
    "RateLimitSettings",
    "RatePermit",
    "RateStatus",
]


class RatePermit:
    """What a request was let in with: its place and its reserved tokens."""

    __slots__ = ("_entry", "_limit", "reserved")

    def __init__(self, limit: RateLimit, entry: Entry, reserved: int) -> None:
        self._limit = limit
        self._entry: Entry | None = entry  # None: settled, or given back
        self.reserved = reserved
        """Tokens."""

    def settle(self, tokens: int) -> None:
        """The request used so many tokens, which may be more than it reserved. Only the first settlement counts.

        Raises:
            ValueError: ``tokens`` is negative.
        """
        if tokens < 0:
            raise ValueError(f"tokens must be 0 or more, not {tokens!r}")
        entry, self._entry = self._entry, None
        if entry is not None and tokens != self.reserved:
            self._limit._settle(entry, self.reserved - tokens)  # noqa: SLF001  # the two are one

    def give_back(self) -> None:
        """The request was not sent after all: as if it had never come. Does nothing once it was settled."""
        entry, self._entry = self._entry, None
        if entry is not None:
            self._limit._give_back(entry, self.reserved)  # noqa: SLF001  # the two are one

    def progressed(self) -> None:
        """Nothing: a rate is about beginnings."""

    def leave(self, outcome: Outcome) -> None:
        """Nothing: what was taken stays taken, at the reserved tokens if nobody knows better. It may be settled later."""


class RateLimit(Gated):
    """One limit, shared by all who use it.

    Args:
        settings: the numbers.
        clock: whose monotonic seconds count; the running loop's own scale.
        name: for messages.
    """

    def __init__(self, settings: RateLimitSettings, *, clock: Clock | None = None, name: str = "") -> None:
        self._clock = clock or SystemClock()
        self._meter = RateMeter(settings, self._clock)
        self._window = self._meter.window
        self._queue: FairQueue[_Waiter] = FairQueue()
        # Whom the queue gave out last and who doesn't fit yet. None: nobody waits.
        self._first: _Waiter | None = None
        self._waiting_tokens = 0
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0
        self.name = name
        self.admitted = 0
        """Requests let in, and not given back."""
        self.refused = 0
        self.overruns = 0
        """Settlements above what was reserved."""

    @property
    def settings(self) -> RateLimitSettings:
        """The numbers that hold now."""
        return self._meter.settings

    def apply(self, settings: RateLimitSettings) -> None:
        """Other numbers from now on, for those who wait too. What was admitted stays, and is judged by them."""
        self._meter.apply(settings)
        if self._first is not None:
            self._serve()

    def try_take(self, tokens: int = 0) -> RatePermit | None:
        """Lets one request in, with ``tokens`` reserved at their upper bound, or says None: not now, or others wait.

        Raises:
            ValueError: ``tokens`` is negative.
        """
        if tokens < 0:
            raise ValueError(f"tokens must be 0 or more, not {tokens!r}")
        if self._first is not None or (entry := self._meter.take(tokens)) is None:
            return None
        self.admitted += 1
        return self._permit(entry, tokens)

    async def enter(self, *, deadline: float = FOREVER, key: str = "", tokens: int = 0) -> RatePermit:
        """Lets one request in, waiting for its turn if the settings have a queue. Cancelling the wait takes nothing.

        Args:
            deadline: on the clock, in seconds; nobody waits beyond it.
            key: whose request it is: keys that wait are served in turns.
            tokens: reserved, at their upper bound.

        Raises:
            RateLimitExceededError: not now, or not within the time, or never.
            ValueError: ``tokens`` is negative.
        """
        permit = self.try_take(tokens)
        if permit is not None:
            return permit
        latest = min(deadline, self._clock.monotonic() + self.settings.max_wait_s)
        if self.waiting >= self.settings.max_queue or not self._passes_by(latest, tokens):
            self.refused += 1
            raise self._refusal(tokens)
        return await self._wait(key, tokens, latest)

    def status(self) -> RateStatus:
        """Limit, what remains, and when all of it is free again."""
        return self._meter.status()

    def allowed(self) -> tuple[int | None, int | None]:
        """The requests and the tokens that are allowed now; None: any number."""
        return self._meter.free()

    def get_allowed_requests(self, requests: int) -> int:
        """How many of so many requests are allowed now, tokens apart."""
        free, _ = self.allowed()
        return requests if free is None else min(requests, free)

    def get_allowed_tokens(self, tokens: int) -> int:
        """How many of so many tokens are allowed now, requests apart."""
        _, free = self.allowed()
        return tokens if free is None else min(tokens, free)

    @property
    def waiting(self) -> int:
        """How many stand in the queue."""
        return len(self._queue) + (self._first is not None)

    @property
    def idle(self) -> bool:
        """Nothing counts and nobody waits: a new limit in its place would answer the same."""
        return self._first is None and self._meter.idle

    def _permit(self, entry: Entry, tokens: int) -> RatePermit:
        return RatePermit(self, entry, tokens)

    def _settle(self, entry: Entry, unused: int) -> None:
        if unused < 0:
            self.overruns += 1
            self._meter.book(-unused)
            return
        self._window.give_back(entry, 0, unused)
        if self._first is not None:
            self._serve()

    def _give_back(self, entry: Entry, reserved: int) -> None:
        self.admitted -= 1
        self._window.give_back(entry, 1, reserved)
        if self._first is not None:
            self._serve()

    def _passes_by(self, latest: float, tokens: int) -> bool:
        """Whether a request that stands first passes before it is too late, if nothing is given back."""
        meter = self._meter
        return not meter.too_large(tokens) and in_seconds(meter.soonest(1, tokens)) <= latest

    def _refusal(self, tokens: int) -> RateLimitExceededError:
        return self._meter.refusal(self.name, tokens, self.waiting, self._waiting_tokens)

    async def _wait(self, key: str, tokens: int, latest: float) -> RatePermit:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), tokens, latest)
        self._queue.push(waiter, key, self._cost(tokens))
        self._waiting_tokens += tokens
        alarm = loop.call_later(latest - self._clock.monotonic(), self._too_late, waiter)
        self._serve()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            future = waiter.future
            if not future.cancelled() and future.exception() is None:
                # Let in and cancelled within the same turn of the loop: the place goes to the next.
                future.result().give_back()
            raise
        finally:
            alarm.cancel()
            if waiter.waits:
                self._dismiss(waiter)
                self._serve()

    def _cost(self, tokens: int) -> int:
        """A request's share of what is scarcest for it, the requests or the tokens, in tokens if those are limited."""
        requests, limit = self.settings.requests, self.settings.tokens
        if limit is None:
            return 1
        return max(tokens, 1 if requests is None else -(-limit // requests))

    def _serve(self) -> None:
        """Lets in whoever is next and fits, and sets the timer for the one who doesn't yet."""
        while (first := self._next()) is not None:
            if first.future.done():  # cancelled, and its task has not run since
                self._dismiss(first)
            elif (entry := self._meter.take(first.tokens)) is not None:
                self._dismiss(first)
                self.admitted += 1
                first.future.set_result(self._permit(entry, first.tokens))
            elif self._passes_by(first.latest, first.tokens):
                self._ring_at(self._meter.soonest(1, first.tokens), first.future.get_loop())
                return
            else:
                self._refuse(first)
        self._silence()

    def _next(self) -> _Waiter | None:
        if self._first is None and len(self._queue):
            self._first = self._queue.pop()
        return self._first

    def _dismiss(self, waiter: _Waiter) -> None:
        waiter.waits = False
        self._waiting_tokens -= waiter.tokens
        if waiter is self._first:
            self._first = None
        else:
            self._queue.remove(waiter)

    def _refuse(self, waiter: _Waiter) -> None:
        self._dismiss(waiter)
        self.refused += 1
        waiter.future.set_exception(self._refusal(waiter.tokens))

    def _too_late(self, waiter: _Waiter) -> None:
        self._serve()  # who fits at this very moment is let in
        if waiter.waits and not waiter.future.done():
            self._refuse(waiter)
            self._serve()

    def _ring_at(self, moment: int, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None and self._rings_at == moment:
            return
        self._silence()
        self._rings_at = moment
        # A delay and not a time: where the clock stands still, this waits once more and doesn't spin.
        self._timer = loop.call_later(self._meter.until(moment), self._rung)

    def _silence(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rung(self) -> None:
        self._timer = None
        self._serve()


class _Waiter:
    __slots__ = ("future", "latest", "tokens", "waits")

    def __init__(self, future: asyncio.Future[RatePermit], tokens: int, latest: float) -> None:
        self.future = future
        self.tokens = tokens
        self.latest = latest
        self.waits = True
        """It stands in the queue, or first."""
