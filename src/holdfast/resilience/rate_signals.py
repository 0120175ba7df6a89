"""What the other side says about its own rate limits, in the headers of each answer.

Each family of headers says the limit, what remains of it, and when all of it is free again. A reset is read in every form
that servers use: a duration (``6m0s``, ``1.5s``, ``20ms``), seconds (``30``), or a date (RFC 3339).

==================  ================================================================================================
the newest answer   counts; the one before it is forgotten
nothing remains     blocked until the reset that was said with it; without a usable reset nobody knows, and nothing is
                    blocked
the reset is past   the family is forgotten: it says nothing about now
no usable reset     forgotten after :data:`KEPT_S`
nonsense            a family whose remaining is no whole number, or above its limit, is ignored; so is a reset that is
                    malformed or further away than a day
==================  ================================================================================================
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from holdfast.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.clock import Clock

__all__ = ["FAMILIES", "KEPT_S", "MAX_RESET_S", "Family", "RateSignal", "RateSignals", "parse_reset"]

KEPT_S: Final = 60.0
"""How long a family without a reset is believed, in seconds."""

_PARTS: Final = 20
"""Of a token limit, what one request needs."""

MAX_RESET_S: Final = 86_400.0
"""Limits are at most by the day: a reset further away is nonsense."""


class Family(NamedTuple):
    """The headers of one limit, by their lower-case names."""

    kind: str
    limit: str
    remaining: str
    reset: str


FAMILIES: Final = (
    *(
        Family(kind, *(f"x-ratelimit-{word}-{kind}" for word in ("limit", "remaining", "reset")))
        for kind in ("requests", "tokens")
    ),
    *(
        Family(kind, *(f"anthropic-ratelimit-{kind}-{word}" for word in ("limit", "remaining", "reset")))
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)


class RateSignal(msgspec.Struct, frozen=True):
    """One limit of the other side's, as its newest answer told it."""

    kind: str
    """``"requests"``, ``"tokens"``, ``"input-tokens"`` or ``"output-tokens"``."""
    remaining: int
    limit: int | None
    reset_at: float | None
    """When all of it is free again, in the clock's monotonic seconds."""
    seen_at: float


class RateSignals:
    """The other side's limits. One for each thing that it limits: a target, with a key."""

    __slots__ = ("_clock", "_seen")

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._seen: dict[Family, RateSignal] = {}

    def read(self, header: Callable[[str], str | None]) -> None:
        """Takes in one answer's headers. Never raises for what they say.

        Args:
            header: looks a header up by its lower-case name.
        """
        for family in FAMILIES:
            said = header(family.remaining)
            if said is None:
                continue
            remaining, limit = _count(said), _count(header(family.limit))
            if remaining is None or (limit is not None and remaining > limit):
                continue
            now = self._clock.monotonic()
            reset_s = parse_reset(header(family.reset), self._clock.wall_ns() / 1e9)
            reset_at = None if reset_s is None else now + reset_s
            self._seen[family] = RateSignal(family.kind, remaining, limit, reset_at, now)

    def blocked_until(self) -> float | None:
        """When every limit that is used up is free again, in monotonic seconds; None: none is used up."""
        resets = [signal.reset_at for signal in self.limits() if not signal.remaining]
        return max((reset for reset in resets if reset is not None), default=None)

    def passes_at(self) -> float | None:
        """When one more request may pass, in monotonic seconds; None: nothing is known to be used up.

        OpenAI's and Anthropic's resets are those of the whole limit, which fills up steadily: of requests the next one is
        there after its share of that time, of tokens a twentieth of the limit is taken to be enough.
        """
        moments = [
            signal.seen_at
            + (signal.reset_at - signal.seen_at) / (signal.limit if signal.kind == "requests" else _PARTS)
            for signal in self.limits()
            if not signal.remaining and signal.limit and signal.reset_at is not None
        ]
        return max(moments, default=None)

    def limits(self) -> tuple[RateSignal, ...]:
        """What was said and still holds, in the order of :data:`FAMILIES`."""
        now = self._clock.monotonic()
        for family, signal in list(self._seen.items()):
            ends = signal.seen_at + KEPT_S if signal.reset_at is None else signal.reset_at
            if now >= ends:
                del self._seen[family]
        return tuple(self._seen[family] for family in FAMILIES if family in self._seen)


_COUNT = re.compile(r"\d{1,15}", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}(?:\.\d{1,12})?", re.ASCII)
_DURATION = re.compile(
    r"(?=\d)"  # at least one part
    + "".join(rf"(?:(\d{{1,12}}(?:\.\d{{1,12}})?){unit})?" for unit in ("d", "h", "m(?!s)", "s", "ms")),
    re.ASCII,
)
_UNITS_S: Final = (86_400, 3600, 60, 1, 0.001)


def parse_reset(value: str | None, wall_s: float) -> float | None:
    """Seconds from now until a reset, or None where nothing usable was said. A date in the past means now.

    Args:
        value: the header's value.
        wall_s: seconds since 1970 UTC, which a date is compared with.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    elif (parts := _DURATION.fullmatch(value)) is not None:
        seconds = sum(float(part) * unit for part, unit in zip(parts.groups(), _UNITS_S, strict=True) if part)
    else:
        until = _date(value)
        if until is None:
            return None
        seconds = max(0.0, until - wall_s)
    return seconds if seconds <= MAX_RESET_S else None


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and _COUNT.fullmatch(value.strip()) else None


def _date(value: str) -> float | None:
    """Seconds since 1970. A date without a zone is ambiguous, and ignored."""
    try:
        date = datetime.fromisoformat(value)
        return date.timestamp() if date.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
