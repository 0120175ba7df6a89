"""A retry budget: in an outage all callers of a target together retry a share of their requests, and not each of them.

=====================  =============================================================================================
a retry is allowed     if the retries of the last ``window_s``, it included, are at most
                       ``ratio`` × the requests of the last ``window_s`` + ``floor_per_s`` × ``window_s``
somebody else's retry  counts, and is never refused: it has happened already
taken, but not made    (the caller was cancelled while it paused) counts: nothing is given back
=====================  =============================================================================================

So for every span of a length *L*, wherever it starts: the retries allowed in it are at most ``ratio`` × the requests in it
and in the ``window_s`` before it, + ``floor_per_s`` × ``window_s`` × ⌈L / ``window_s``⌉. (The windows that end with the last
retry, then with the last one before that window, and so on, are disjoint, and the rule held at the end of each.)

Time is cut into slots of a twentieth of the window, so that the memory doesn't grow with the traffic. What falls on the edge
is counted against the retry: requests are forgotten up to a slot early, retries up to a slot late.

Ratio and floor are those of Finagle's RetryBudget (deposits by requests, withdrawals by retries, a minimum a second).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from holdfast.clock import SystemClock
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from holdfast.clock import Clock

__all__ = ["SLOTS", "RetryBudget", "RetryBudgetSettings", "RetryBudgetState"]

SLOTS: Final = 20
"""Parts of a window."""

_RING: Final = SLOTS + 1
"""With the slot that a window's beginning has cut."""


class RetryBudgetSettings(Settings, frozen=True, kw_only=True):
    """How much of the traffic may be retries."""

    ratio: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """Retries for each request."""
    floor_per_s: Annotated[float, Meta(ge=0, le=1000)] = 0.3
    """Retries a second that are there without any requests.

    Three in a window of 10 s: enough for a lonely caller to make all 3 retries of the usual backoff (1, 2, 4 s), and all 5
    of the critical one; little beside a target's 20 requests a second (1.5 %).
    """
    window_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    """How long requests and retries count."""


class RetryBudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands."""

    requests: int
    """Of the window."""
    retries: int
    """Of the window, other people's included."""
    left: int
    """How many would be allowed now."""
    refused: int
    """Retries that weren't allowed, since the start."""


class RetryBudget:
    """One for each target, shared by all who call it. Not thread-safe: it belongs to one event loop's thread.

    Args:
        clock: what counts as now; while one goes back, time stands still until it has caught up.
    """

    __slots__ = (
        "_floor",
        "_monotonic",
        "_ratio",
        "_refused",
        "_requests",
        "_requests_by_slot",
        "_retries",
        "_retries_by_slot",
        "_slot",
        "_slot_ends",
        "_slots_per_s",
    )

    def __init__(self, settings: RetryBudgetSettings | None = None, *, clock: Clock | None = None) -> None:
        self._monotonic = (clock if clock is not None else SystemClock()).monotonic
        self._refused = 0
        self._begin(settings if settings is not None else RetryBudgetSettings(), self._monotonic())

    def request(self) -> None:
        """A first attempt is made."""
        if self._monotonic() >= self._slot_ends:
            self._move_on()
        self._requests += 1

    def allow(self) -> bool:
        """Whether a retry may be made now. If so, it is taken."""
        if self._monotonic() >= self._slot_ends:
            self._move_on()
        if self._retries + 1 > self._ratio * self._requests + self._floor:
            self._refused += 1
            return False
        self._retries += 1
        return True

    def charge(self) -> None:
        """Somebody else made a retry, such as a client of ours that says so. It is no :meth:`request` besides."""
        if self._monotonic() >= self._slot_ends:
            self._move_on()
        self._retries += 1

    def snapshot(self) -> RetryBudgetState:
        """How it stands now."""
        if self._monotonic() >= self._slot_ends:
            self._move_on()
        left = math.floor(self._ratio * self._requests + self._floor) - self._retries
        return RetryBudgetState(
            requests=self._requests, retries=self._retries, left=max(0, left), refused=self._refused
        )

    def apply(self, settings: RetryBudgetSettings) -> None:
        """Other settings hold from now on, also for what is in the window; a longer one begins with what there is."""
        self._move_on()
        slot_s = 1 / self._slots_per_s
        if SLOTS / settings.window_s == self._slots_per_s:
            # Nothing moves: moved a slot further at each of many reloads, retries would never be forgotten.
            self._limit(settings)
            return
        counted = [
            (number * slot_s, self._requests_by_slot[number % _RING], self._retries_by_slot[number % _RING])
            for number in range(self._slot - SLOTS, self._slot + 1)
        ]
        self._begin(settings, max(self._monotonic(), self._slot * slot_s))
        for start_s, requests, retries in counted:
            # As ever in doubt against the retry: requests came when their slot began, retries when it ended.
            came = min(math.floor(start_s * self._slots_per_s), self._slot)
            if came > self._slot - SLOTS:
                self._requests_by_slot[came % _RING] += requests
                self._requests += requests
            went = min(math.floor((start_s + slot_s) * self._slots_per_s), self._slot)
            if went >= self._slot - SLOTS:
                self._retries_by_slot[went % _RING] += retries
                self._retries += retries

    def _begin(self, settings: RetryBudgetSettings, now: float) -> None:
        self._limit(settings)
        self._slots_per_s = SLOTS / settings.window_s
        self._slot = int(now * self._slots_per_s)
        self._slot_ends = (self._slot + 1) / self._slots_per_s
        # Of the present slot the rings don't know yet what came since it began: that is in the sums alone.
        self._requests_by_slot = [0] * _RING
        self._retries_by_slot = [0] * _RING
        self._requests = self._retries = 0

    def _limit(self, settings: RetryBudgetSettings) -> None:
        self._ratio = settings.ratio
        self._floor = settings.floor_per_s * settings.window_s

    def _move_on(self) -> None:
        """To the present slot, forgetting what has left the window: at most one round of the rings."""
        requests, retries = self._requests_by_slot, self._retries_by_slot
        at = self._slot % _RING
        requests[at] += self._requests - sum(requests)
        retries[at] += self._retries - sum(retries)
        slot = max(self._slot, int(self._monotonic() * self._slots_per_s))
        for number in range(max(self._slot, slot - _RING) + 1, slot + 1):
            # A slot of requests is forgotten before its first one is a window old, one of retries after its last one is.
            requests[(number - SLOTS) % _RING] = 0
            retries[(number - _RING) % _RING] = 0
        self._requests, self._retries = sum(requests), sum(retries)
        self._slot = slot
        self._slot_ends = (slot + 1) / self._slots_per_s
