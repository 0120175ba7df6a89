"""What a rate limit admits now, and when it admits more: both limits over one window, no waiting.

=====================  =============================================================================================
admitted               if both limits have room, the request and its tokens together; else neither is touched
tokens                 an upper bound is reserved, and what was used put in its place. What was not used is free as if
                       it had never been reserved. What was used beyond the bound is booked in full at the time of
                       settling, and blocks until it has left the window
larger than the limit  never admitted
clock that goes back   time stands still until the clock has caught up
=====================  =============================================================================================
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from holdfast.resilience.rate_window import TICKS_PER_S, RateWindow, in_seconds, in_ticks
from holdfast.resilience.seam import Refused
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from holdfast.clock import Clock
    from holdfast.resilience.rate_window import Entry, Kind

__all__ = ["LimitStatus", "RateLimitExceededError", "RateLimitSettings", "RateMeter", "RateStatus"]


class RateLimitSettings(Settings, frozen=True, kw_only=True):
    """What a window admits. With neither number set nothing is limited."""

    requests: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Requests in a window."""
    tokens: Annotated[int, Meta(ge=1, le=10_000_000_000)] | None = None
    """Tokens in a window."""
    window_s: Annotated[float, Meta(ge=0.01, le=86_400)] = 60.0
    """The window's length."""
    max_queue: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """How many requests may wait; 0: what isn't allowed now is refused at once."""
    max_wait_s: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    """The longest that one request waits."""


class LimitStatus(msgspec.Struct, frozen=True):
    """How one limit stands."""

    limit: int
    remaining: int
    """Allowed now. Who waits in the queue isn't taken off."""
    reset_s: float
    """Seconds until the whole limit is free again, if nobody else comes."""


class RateStatus(msgspec.Struct, frozen=True):
    """How both limits stand, as for ``x-ratelimit-*`` headers. None: not limited."""

    requests: LimitStatus | None
    tokens: LimitStatus | None
    alone: bool = False
    """Counted in this process alone, though others share the limit: what they share is lost."""


class RateLimitExceededError(Refused):
    """Not allowed now, or never.

    ``retry_after_s`` is the soonest moment at which the request passes if nobody else comes, those who wait going first;
    None: it is larger than the whole limit, and never passes.
    """

    def __init__(
        self, name: str, *, kind: Kind, limit: int, window_s: float, asked: int, retry_after_s: float | None
    ) -> None:
        who = f"rate limit {name!r}" if name else "rate limit"
        numbers = f"{limit} {kind} in {window_s:g} s"
        if retry_after_s is None:
            message = f"{who}: {asked} {kind} are more than the whole limit of {numbers}"
        else:
            message = f"{who}: {asked} more {kind} go beyond {numbers}, and pass in {retry_after_s:.3f} s"
        super().__init__(message, retry_after_s=retry_after_s)
        self.name = name
        self.kind = kind
        """``"requests"`` or ``"tokens"``: the limit that keeps the request out, or keeps it out longest."""
        self.limit = limit
        self.window_s = window_s
        self.asked = asked
        """How much of ``kind`` the request needs."""


class RateMeter:
    """Two limits over one window, in the time of one clock.

    Both kinds are recorded whether they are limited or not, so that a limit that comes with a reload knows what was.
    """

    __slots__ = ("_monotonic", "_now", "settings", "window")

    def __init__(self, settings: RateLimitSettings, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._now = 0
        self.window = RateWindow(in_ticks(settings.window_s))
        """What was admitted: where it is given back."""
        self.settings = settings

    def apply(self, settings: RateLimitSettings) -> None:
        """Other numbers from now on. What was admitted stays, and is judged by them."""
        self.settings = settings
        self.window.apply(in_ticks(settings.window_s))

    def take(self, tokens: int) -> Entry | None:
        """Admits one request with ``tokens`` reserved, if it fits now."""
        time = self._monotonic() * TICKS_PER_S
        now = floor(time)
        if now < self._now:  # the clock went back
            time = now = self._now
        else:
            self._now = now
        settings, window = self.settings, self.window
        window.expire(now)
        if settings.requests is not None and window.requests >= settings.requests:
            return None
        if settings.tokens is not None and window.tokens + tokens > settings.tokens:
            return None
        return window.add(ceil(time), 1, tokens)

    def note(self, tokens: int) -> Entry:
        """Counts a request that was admitted elsewhere, whether it fits or not."""
        now = self._moment()
        return self.window.add(max(now, in_ticks(self._monotonic())), 1, tokens)

    def book(self, tokens: int) -> None:
        """Tokens that were used beyond what was reserved, as of now: their admission may have left the window long ago."""
        now = self._moment()
        self.window.add(max(now, in_ticks(self._monotonic())), 0, tokens)

    def too_large(self, tokens: int) -> bool:
        """Whether a request is never admitted."""
        return self.settings.tokens is not None and tokens > self.settings.tokens

    def soonest(self, requests: int, tokens: int) -> int:
        """The tick at which so many pass if nobody else comes; now where they pass at once."""
        return max((ask[0] for ask in self._asks(requests, tokens)), default=self._now)

    def until(self, moment: int) -> float:
        """Seconds that bring the clock to ``moment``, and not a rounding short of it."""
        # From the clock's own tick: one that went back has further to go.
        return max(0.0, in_seconds(moment - floor(self._monotonic() * TICKS_PER_S)))

    def refusal(
        self, name: str, tokens: int, requests_ahead: int, tokens_ahead: int
    ) -> RateLimitExceededError:
        """What a request that doesn't pass is told, where so many others pass before it."""
        settings = self.settings
        kind: Kind = "tokens"
        wait_s: float | None = None
        limit = settings.tokens
        if limit is None or tokens <= limit:
            moment, kind, limit = max(self._asks(1 + requests_ahead, tokens + tokens_ahead))
            wait_s = self.until(moment)
        return RateLimitExceededError(
            name,
            kind=kind,
            limit=limit,
            window_s=settings.window_s,
            asked=1 if kind == "requests" else tokens,
            retry_after_s=wait_s,
        )

    def free(self) -> tuple[int | None, int | None]:
        """The requests and the tokens that would be admitted now; None: any number."""
        status = self.status()
        return (
            None if status.requests is None else status.requests.remaining,
            None if status.tokens is None else status.tokens.remaining,
        )

    def status(self) -> RateStatus:
        """Limit, what remains, and when all of it is free again."""
        now = self._moment()
        return RateStatus(
            self._status("requests", self.settings.requests, now),
            self._status("tokens", self.settings.tokens, now),
        )

    @property
    def idle(self) -> bool:
        """Nothing counts now."""
        self._moment()
        return not self.window.requests and not self.window.tokens

    def _moment(self) -> int:
        """Now, with the window brought up to it."""
        self._now = max(self._now, floor(self._monotonic() * TICKS_PER_S))
        self.window.expire(self._now)
        return self._now

    def _asks(self, requests: int, tokens: int) -> list[tuple[int, Kind, int]]:
        """When each limit has room for so many, its name, and its number."""
        now, window = self._moment(), self.window
        limits: tuple[tuple[Kind, int | None, int], ...] = (
            ("requests", self.settings.requests, requests),
            ("tokens", self.settings.tokens, tokens),
        )
        return [
            (window.soonest(now, kind, asked, limit), kind, limit)
            for kind, limit, asked in limits
            if limit is not None
        ]

    def _status(self, kind: Kind, limit: int | None, now: int) -> LimitStatus | None:
        if limit is None:
            return None
        remaining = max(0, limit - getattr(self.window, kind))
        return LimitStatus(limit, remaining, in_seconds(self.window.empty_at(now, kind) - now))
