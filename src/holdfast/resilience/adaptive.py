"""How many calls a target bears at once, found by trying: slow start, then additive increase, multiplicative decrease.

The rule is TCP's (V. Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988; D.-M. Chiu and R. Jain, 1989), with calls
for segments and "you send too much" for a loss. Time is counted in round trips, and a round trip in calls:

=====================  =============================================================================================
a round trip           as many successes as the limit was when it began; at least 8 once the limit had to be lowered
which calls count      those that started after the last decrease: what was sent before it says nothing of what it did
SUCCESS                counts, if the limit is used: nine tenths of it, at least, were in flight at once in this round trip
OVERLOAD, LIMITED      limit × ``decrease``, rounded down; so one burst of refusals is one decrease
FAILURE, NEUTRAL       change nothing
the limit grows        in each round trip by the step, spread over its successes
the step               slow start: the limit itself, so it doubles. After a decrease: ``increase``, until
                       ``restart_after`` round trips are clean; then twice the last step, and so on, in each further one,
                       up to the limit itself: slow start again, from where the limit is
bounds                 ``min_limit`` (1 or more) and ``max_limit``, always
=====================  =============================================================================================

Why the restart doubles the step and not the limit: both are there within a dozen round trips when a target's capacity has
grown tenfold, but where it hasn't, and the limit stands right below the capacity as it mostly does, doubling it would send
twice what the target bears, every ten round trips. Steps of 2, 4, 8, … find that out with a few calls.

Why at least 8: one call more is much for a small limit. Tried in every round trip, it would keep a target that bears a
single call at one and a half.

The way down ten times is ln 0.1 / ln 0.9 = 22 decreases, one a round trip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from holdfast.resilience.outcome import Outcome, outcome_of
from holdfast.resilience.seam import FOREVER, Gated
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.resilience.outcome import Classify

__all__ = ["AdaptiveLimit", "AdaptivePermit", "AdaptiveSettings", "AdaptiveState"]

_LEAST_SUCCESSES: Final = 8
"""The shortest round trip once the limit had to be lowered."""


class AdaptiveSettings(Settings, frozen=True, kw_only=True):
    """How the limit moves, and how far."""

    min_limit: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Calls at once, however many are refused."""
    initial_limit: Annotated[int, Meta(ge=1, le=10_000)] = 10
    """Calls at once before anything is known."""
    max_limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    """Calls at once, however many succeed."""
    increase: Annotated[int, Meta(ge=1, le=100)] = 1
    """Calls that are added in a round trip."""
    decrease: Annotated[float, Meta(ge=0.1, le=0.99)] = 0.9
    """What the limit is multiplied by when the target has too much to do."""
    restart_after: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Round trips without a decrease after which slow start begins again."""

    def check(self) -> None:
        if self.min_limit > self.max_limit:
            raise ValueError(
                f"min_limit must be at most max_limit, which is {self.max_limit}, not {self.min_limit}"
            )
        if not self.min_limit <= self.initial_limit <= self.max_limit:
            raise ValueError(
                f"initial_limit must be from min_limit to max_limit, {self.min_limit} to {self.max_limit}, "
                f"not {self.initial_limit}"
            )


class AdaptiveState(msgspec.Struct, frozen=True, kw_only=True):
    """How a limit stands."""

    limit: int
    in_flight: int
    """Above the limit for a while after a decrease: what runs is never cut."""
    slow_start: bool
    """Each round trip adds more than the one before it."""
    clean_round_trips: int
    """Since the last decrease."""
    decreases: int
    """Since the start."""


class AdaptiveLimit(Gated):
    """The limit for one target, shared by all who call it. It counts and never refuses: a bulkhead does, which it resizes.

    So it stands inside of the bulkhead: ``compose(bulkhead, adaptive)``. Not thread-safe: it belongs to one event loop's
    thread.

    Args:
        on_change: told each new limit, and the first one before anything else. Must not raise.
        classify: reads an error as a verdict. The usual reading knows neither OVERLOAD nor LIMITED.
    """

    __slots__ = (
        "_base",
        "_clean",
        "_counted",
        "_decreases",
        "_length",
        "_on_change",
        "_peak",
        "_settings",
        "_settled",
        "_step",
        "classify",
        "in_flight",
        "limit",
    )

    classify: Classify
    _base: int
    _counted: int
    _length: int
    _peak: int

    def __init__(
        self,
        settings: AdaptiveSettings | None = None,
        *,
        on_change: Callable[[int], None] | None = None,
        classify: Classify = outcome_of,
    ) -> None:
        self._settings = settings if settings is not None else AdaptiveSettings()
        self._on_change = on_change
        self.classify = classify
        self.limit = self._settings.initial_limit
        """Calls that may be in flight at once, now."""
        self.in_flight = 0
        self._decreases = 0  # and the epoch: a call's verdict counts only if it started in the present one
        self._clean = 0
        self._step = self.limit
        self._settled = False
        self._begin_round()
        if on_change is not None:
            on_change(self.limit)

    def started(self) -> AdaptivePermit:
        """One call goes out."""
        self.in_flight += 1
        if self.in_flight > self._peak:
            self._peak = self.in_flight
        return AdaptivePermit(self, self._decreases)

    async def enter(self, *, deadline: float = FOREVER, key: str = "") -> AdaptivePermit:  # noqa: ARG002  # the seam's
        """:meth:`started`, as a gate that never refuses."""
        return self.started()

    @property
    def learned(self) -> bool:
        """Whether the limit says anything of the target: a round trip is over, or it had to be lowered."""
        return bool(self._clean or self._decreases)

    def begin(self, limit: int) -> None:
        """Begins at ``limit``, which is what others have found out, and without slow start: as after a decrease.

        Does nothing once it has found out something itself.
        """
        if self.learned:
            return
        settings, before = self._settings, self.limit
        self.limit = min(max(limit, settings.min_limit), settings.max_limit)
        self._step = settings.increase
        self._settled = True
        self._begin_round()
        if self.limit != before and self._on_change is not None:
            self._on_change(self.limit)

    def snapshot(self) -> AdaptiveState:
        """How it stands now."""
        return AdaptiveState(
            limit=self.limit,
            in_flight=self.in_flight,
            slow_start=self._in_slow_start(),
            clean_round_trips=self._clean,
            decreases=self._decreases,
        )

    def apply(self, settings: AdaptiveSettings) -> None:
        """Other settings hold from now on. The limit stays where it is, if they allow it; a round trip begins."""
        self._settings = settings
        before = self.limit
        self.limit = min(max(before, settings.min_limit), settings.max_limit)
        self._step = min(self._step, self.limit)
        self._begin_round()
        if self.limit != before and self._on_change is not None:
            self._on_change(self.limit)

    def _came_back(self, epoch: int) -> None:
        """A call was a success."""
        if epoch != self._decreases or self._peak * 10 < self._base * 9:
            return
        counted = self._counted = self._counted + 1
        before, most = self.limit, self._settings.max_limit
        grown = self._base + self._step * counted // self._length
        limit = self.limit = grown if grown < most else most  # noqa: FURB136  # min() costs as much as the rest
        if counted == self._length:
            self._end_round()
        # Last: who is told may start a call at once.
        if limit != before and self._on_change is not None:
            self._on_change(limit)

    def _too_much(self, epoch: int) -> None:
        """The target has too much to do, a call says."""
        if epoch != self._decreases:
            return
        before, settings = self.limit, self._settings
        self._decreases += 1
        self._clean = 0
        self._step = settings.increase
        self.limit = max(int(before * settings.decrease), settings.min_limit)
        self._begin_round()
        if self.limit != before and self._on_change is not None:
            self._on_change(self.limit)

    def _begin_round(self) -> None:
        self._base = self.limit
        self._counted = 0
        knows = self._decreases or self._settled
        self._length = max(self._base, _LEAST_SUCCESSES) if knows else self._base
        self._peak = self.in_flight

    def _end_round(self) -> None:
        self._clean += 1
        self._begin_round()
        # A step of slow start is never more than the limit itself: that may at most double in a round trip.
        self._step = min(2 * self._step, self.limit) if self._in_slow_start() else self._settings.increase

    def _in_slow_start(self) -> bool:
        return not (self._decreases or self._settled) or self._clean >= self._settings.restart_after


class AdaptivePermit:
    """One call in flight."""

    __slots__ = ("_epoch", "_heard", "_limit", "_running")

    def __init__(self, limit: AdaptiveLimit, epoch: int) -> None:
        self._limit = limit
        self._epoch = epoch
        self._heard = False
        self._running = True

    def progressed(self) -> None:
        """The target let the call in and answers: that is the success that is waited for, however long the answer takes."""
        if self._running and not self._heard:
            self._heard = True
            self._limit._came_back(self._epoch)  # noqa: SLF001  # the permit is the limit's other half

    def leave(self, outcome: Outcome) -> None:
        """The call is over. Only the first one counts."""
        if not self._running:
            return
        self._running = False
        limit = self._limit
        limit.in_flight -= 1
        if outcome is Outcome.SUCCESS:
            if not self._heard:
                limit._came_back(self._epoch)  # noqa: SLF001  # as above
        elif outcome is Outcome.OVERLOAD or outcome is Outcome.LIMITED:
            limit._too_much(self._epoch)  # noqa: SLF001  # as above
