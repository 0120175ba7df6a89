"""A second call where the first is slow, and the answer of whichever comes first.

=====================  =============================================================================================
a hedge is started     when a call has run for the delay without an answer, ``max_hedges`` times at most, each a delay
                       after the one before; if the budget has one left
the delay              ``delay_s``, or the ``percentile`` of how long the latest 256 calls took to answer; with less than
                       ``min_samples`` of those: never
the budget             each request earns ``ratio`` of a hedge, and up to ``burst`` are saved. So from the start on
                       hedges ≤ ratio × requests, and in any stretch hedges ≤ ratio × its requests + burst
an error               is no reason for a hedge: trying again is what retries are for, and they have a budget of their own
the rest               as in :mod:`~holdfast.resilience.race`: first success wins, the others are cancelled
=====================  =============================================================================================

Waiting for the 95th percentile first is J. Dean's and L. A. Barroso's ("The Tail at Scale", CACM 56, 2013): the longest
waits are cut for about 5 % more calls. The budget holds where that goes wrong: when all calls grow slow at once, each of
them passes yesterday's percentile.
"""

from __future__ import annotations

import asyncio
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from holdfast.clock import SystemClock
from holdfast.resilience.percentile import KEPT, RecentPercentile
from holdfast.resilience.race import Cause, race
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from holdfast.clock import Clock
    from holdfast.resilience.race import Loser

__all__ = ["DEFAULT_PERCENTILE", "Hedge", "HedgeBudget", "HedgeSettings", "HedgeState", "HedgeTimer"]

T = TypeVar("T")

DEFAULT_PERCENTILE: Final = 95.0
"""Where neither a delay nor a percentile is set."""

_HEDGE: Final = (
    10**9
)  # what a hedge costs: whole numbers, for a sum of many tenths is no whole number of them


class HedgeSettings(Settings, frozen=True, kw_only=True):
    """When a hedge is started, and how many. Off unless asked for: it costs what it costs."""

    delay_s: Annotated[float, Meta(ge=0, le=3600)] | None = None
    """After so many seconds without an answer. Excludes ``percentile``."""
    percentile: Annotated[float, Meta(gt=0, le=99)] | None = None
    """After so long as this percentage of the latest calls took at most. 95 where ``delay_s`` isn't set either."""
    min_samples: Annotated[int, Meta(ge=1, le=KEPT)] = 20
    """Answers that a percentile is taken of, at least: until then there are no hedges."""
    max_hedges: Annotated[int, Meta(ge=1, le=5)] = 1
    """For one request."""
    ratio: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """Hedges for each request, on average."""
    burst: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Hedges that may be saved up."""

    def check(self) -> None:
        if self.delay_s is not None and self.percentile is not None:
            raise ValueError(
                f"percentile must not be set together with delay_s, which is {self.delay_s:g}: "
                f"either says when to hedge"
            )


class HedgeState(msgspec.Struct, frozen=True, kw_only=True):
    """How hedging stands; counts are since the start."""

    delay_s: float | None
    """None: not enough answers have been timed yet."""
    requests: int
    hedges: int
    won: int
    """Hedges that answered first."""
    refused: int
    """Hedges that the budget had no room for."""


class HedgeTimer:
    """How long to wait before a hedge."""

    __slots__ = ("_settings", "_times")

    def __init__(self, settings: HedgeSettings) -> None:
        self._settings = settings
        self._times = RecentPercentile()

    def observe(self, seconds: float) -> None:
        """How long a request's first call took to answer.

        One that was cancelled after the delay counts too, with what it had taken until then: it was one of the slow ones,
        and without these the percentile would sink with each hedge that wins.
        """
        self._times.add(seconds)

    def delay_s(self) -> float | None:
        """Seconds; None: no hedge."""
        settings = self._settings
        if settings.delay_s is not None:
            return settings.delay_s
        if len(self._times) < settings.min_samples:
            return None
        return self._times.at(DEFAULT_PERCENTILE if settings.percentile is None else settings.percentile)

    def apply(self, settings: HedgeSettings) -> None:
        """Other settings from now on; the times stay."""
        self._settings = settings


class HedgeBudget:
    """How many hedges there may be."""

    __slots__ = ("_credit", "_earned", "_most", "hedges", "refused", "requests")

    def __init__(self, settings: HedgeSettings) -> None:
        self._credit = 0
        self.requests = 0
        self.hedges = 0
        self.refused = 0
        self.apply(settings)

    def request(self) -> None:
        """A request has come."""
        self.requests += 1
        self._credit = min(self._credit + self._earned, self._most)

    def allow(self) -> bool:
        """Whether one more hedge may be started. If so, it is spent."""
        if self._credit < _HEDGE:
            self.refused += 1
            return False
        self._credit -= _HEDGE
        self.hedges += 1
        return True

    def apply(self, settings: HedgeSettings) -> None:
        """Other settings from now on; what is saved stays, as far as they allow."""
        self._earned = round(settings.ratio * _HEDGE)
        self._most = settings.burst * _HEDGE
        self._credit = min(self._credit, self._most)


class Hedge:
    """Hedged calls of one target: a policy. Not thread-safe: it belongs to one event loop's thread.

    The operation must be one that may run twice.

    Args:
        on_loser: told of each call that was started and didn't win; a result it had may have been paid for.
        clock: for how long calls take.
    """

    __slots__ = ("_monotonic", "_on_loser", "_settings", "_won", "budget", "timer")

    def __init__(
        self,
        settings: HedgeSettings | None = None,
        *,
        on_loser: Callable[[Loser[Any]], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings if settings is not None else HedgeSettings()
        self._monotonic = (clock if clock is not None else SystemClock()).monotonic
        self._on_loser = on_loser
        self._won = 0
        self.timer = HedgeTimer(self._settings)
        self.budget = HedgeBudget(self._settings)

    async def call(self, operation: Callable[[], Awaitable[T]], *others: Callable[[], Awaitable[T]]) -> T:
        """The first result of ``operation`` and its hedges.

        Args:
            others: what hedges run, in this order; without any they run ``operation`` too.

        Raises:
            Exception: all that were started have failed: ``operation``'s own error, with a note for each hedge's.
        """
        self.budget.request()
        delay = self.timer.delay_s()
        if delay is None:
            return await self._timed(operation, None)
        hedges = min(self._settings.max_hedges, len(others) or self._settings.max_hedges)

        def start(index: int) -> Awaitable[T]:
            if index == 0:
                return self._timed(operation, delay)
            return others[index - 1]() if others else operation()

        on_loser: Callable[[Loser[T]], None] | None = self._on_loser
        winner, result = await race(
            start, 1 + hedges, repeat(delay), allow=self._may_hedge, on_loser=on_loser
        )
        if winner:
            self.won()
        return result

    def won(self) -> None:
        """A hedge was the first to answer. For who runs races of its own with this timer and budget."""
        self._won += 1

    def snapshot(self) -> HedgeState:
        """How it stands now."""
        budget = self.budget
        return HedgeState(
            delay_s=self.timer.delay_s(),
            requests=budget.requests,
            hedges=budget.hedges,
            won=self._won,
            refused=budget.refused,
        )

    def apply(self, settings: HedgeSettings) -> None:
        """Other settings from now on. Requests that run go on by the old ones."""
        self._settings = settings
        self.timer.apply(settings)
        self.budget.apply(settings)

    def _may_hedge(self, _: int, cause: Cause) -> bool:
        return cause is Cause.SLOW and self.budget.allow()

    async def _timed(self, operation: Callable[[], Awaitable[T]], delay: float | None) -> T:
        began = self._monotonic()
        try:
            result = await operation()
        except asyncio.CancelledError:
            took = self._monotonic() - began
            # Given up before the delay, it says nothing of how slow it was.
            if delay is not None and took >= delay:
                self.timer.observe(took)
            raise
        self.timer.observe(self._monotonic() - began)
        return result
