"""What was spent, by when it leaves its window.

Time is cut into parts, and what was spent in a part leaves the window together:

=========  ==============================  =====================================
window     a part                          leaves
=========  ==============================  =====================================
hour       a second                        an hour after the part's end
day        the day, UTC                    at its end
month      the month, UTC                  at its end
forever    everything                      never
session    a day, UTC                      32 days after its end
=========  ==============================  =====================================

A session lasts a month at most, so what it spent counts for as long as it may, and is cleared away later.

A sliding window is cut into 3,600 parts whatever its length, and counts each until its last moment has left: so at no time
is less counted than was spent in the window, and at most 1/3600 of its length more.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["DAY_NS", "HOUR_NS", "Part", "Spending", "sliding", "window_of"]

HOUR_NS: Final = 3600 * 10**9
DAY_NS: Final = 24 * HOUR_NS
_PARTS: Final = 3600


class Part(NamedTuple):
    """A stretch of time, in nanoseconds since 1970 UTC."""

    start_ns: int
    until_ns: int | None
    """From when on nothing of it counts; None: it always does."""


def window_of(name: str) -> Callable[[int], Part]:
    """The part that a moment belongs to, for a window by its name in :data:`~holdfast.money.rules.WindowName`."""
    return _WINDOWS[name]


def sliding(length_ns: int) -> Callable[[int], Part]:
    """As :func:`window_of`, for a window of any length."""
    step = max(1, length_ns // _PARTS)

    def part(now_ns: int) -> Part:
        start = now_ns - now_ns % step
        return Part(start, start + step + length_ns)

    return part


def _day(now_ns: int) -> Part:
    start = now_ns - now_ns % DAY_NS
    return Part(start, start + DAY_NS)


def _month(now_ns: int) -> Part:
    return _month_of_day(now_ns // DAY_NS)


@lru_cache(maxsize=64)
def _month_of_day(day: int) -> Part:
    first = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).replace(day=1)
    next_first = (first + timedelta(days=31)).replace(day=1)
    return Part(int(first.timestamp()) * 10**9, int(next_first.timestamp()) * 10**9)


def _session(now_ns: int) -> Part:
    start = now_ns - now_ns % DAY_NS
    return Part(start, start + 33 * DAY_NS)


def _always(_: int) -> Part:
    return Part(0, None)


_WINDOWS: Final[dict[str, Callable[[int], Part]]] = {
    "hour": sliding(HOUR_NS),
    "day": _day,
    "month": _month,
    "forever": _always,
    "session": _session,
}


class Spending:
    """What was spent in one window. Amounts are whole numbers, 0 or more.

    Args:
        part_of: the window, from :func:`window_of` or :func:`sliding`.
        parts: what was spent before, as :meth:`add` told it.
    """

    __slots__ = ("_part_of", "_parts", "_total")

    def __init__(self, part_of: Callable[[int], Part], parts: Iterable[tuple[Part, int]] = ()) -> None:
        self._part_of = part_of
        self._parts: deque[tuple[Part, int]] = deque(sorted(parts, key=_leaves))
        self._total = sum(amount for _, amount in self._parts)

    def part(self, now_ns: int) -> Part:
        """Where something that is spent now is counted. A clock that was put back doesn't take it back."""
        part = self._part_of(now_ns)
        if self._parts and part.start_ns < self._parts[-1][0].start_ns:
            return self._parts[-1][0]
        return part

    def add(self, amount: int, now_ns: int) -> Part:
        """Counts ``amount`` as spent now; where it is counted."""
        part = self.part(now_ns)
        if self._parts and self._parts[-1][0].start_ns == part.start_ns:
            part, before = self._parts.pop()
            self._parts.append((part, before + amount))
        else:
            self._parts.append((part, amount))
        self._total += amount
        return part

    def total(self, now_ns: int) -> int:
        """What was spent in the window that ends now."""
        parts = self._parts
        while parts and (until := parts[0][0].until_ns) is not None and until <= now_ns:
            self._total -= parts.popleft()[1]
        return self._total

    def frees_ns(self, amount: int, now_ns: int) -> int | None:
        """When at least ``amount`` of what counts now won't any more; None: never."""
        self.total(now_ns)
        if amount <= 0:
            return now_ns
        freed = 0
        for part, spent in self._parts:
            if part.until_ns is None:
                return None
            freed += spent
            if freed >= amount:
                return part.until_ns
        return None

    def take(self, amount: int) -> None:
        """``amount`` of what counts doesn't: the oldest first. No more than there is."""
        while amount > 0 and self._parts:
            part, spent = self._parts[0]
            less = min(amount, spent)
            amount -= less
            self._total -= less
            if less == spent:
                self._parts.popleft()
            else:
                self._parts[0] = (part, spent - less)

    def clear(self) -> None:
        """Forgets everything."""
        self._parts.clear()
        self._total = 0


def _leaves(entry: tuple[Part, int]) -> float:
    until = entry[0].until_ns
    return float("inf") if until is None else until
